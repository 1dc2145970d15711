//! Whatever is asked of it, a tube is what the model says, and its replica and copies are what it is.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::steps::{bulks, requests, retries};
use crate::world::World;

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn a_tube_is_what_the_model_says(retry in retries(), steps in vec(requests(), 1..250)) {
        let mut world = World::new(retry);
        steps.iter().for_each(|step| world.step(step));
    }
}

proptest! {
    #![proptest_config(cases(14))]

    #[test]
    fn a_tube_of_hundreds_of_jobs_is_what_the_model_says(
        retry in retries(),
        steps in vec(prop_oneof![bulks(), requests()], 1..50),
    ) {
        let mut world = World::new(retry);
        steps.iter().for_each(|step| world.step(step));
    }
}
