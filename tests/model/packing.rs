//! Tubes of some thousand jobs, most of which go again: segments fill, are packed anew and are merged.

use phean::queue::decide::Retry;
use phean::queue::{Change, Tube};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::steps::{beginnings, bulks, retries};
use crate::world::{START_MS, World, body};

proptest! {
    #![proptest_config(cases(5))]

    #[test]
    fn a_tube_of_thousands_of_jobs_is_what_the_model_says(
        retry in retries(),
        beginning in beginnings(),
        steps in vec(bulks(), 1..20),
    ) {
        let mut world = World::new(retry);
        world.step(&beginning);
        steps.iter().for_each(|step| world.step(step));
    }
}

/// Where jobs go in the order of their ids and a few stay (buried, delayed for long), a segment that has become
/// small stands before a full one. It was only ever made one with the segment behind it, so never: a few jobs kept
/// as many segments as there once were.
#[test]
fn a_tube_that_shrank_takes_little_memory() {
    let mut tube = Tube::new(START_MS);
    for id in 1..=20_000 {
        tube.apply(START_MS, &Change::Put { id, pri: 0, delay_ms: 0, ttr_ms: 1, body: &body(id, 100) });
    }
    let (pieces, bytes) = (tube.pieces(), tube.memory_bytes());
    for id in (1..=20_000).filter(|id| id % 20 != 0) {
        tube.apply(START_MS, &Change::Delete { id });
    }
    tube.check().unwrap();
    assert_eq!(tube.counts().all(), 1_000);
    assert!(tube.pieces() * 4 < pieces, "{} segments of {pieces} are left", tube.pieces());
    assert!(tube.memory_bytes() * 6 < bytes, "{} bytes of {bytes} are left", tube.memory_bytes());
}

/// Ids and times too far from each other to be told as a short distance.
#[test]
fn jobs_far_apart_keep_their_ids_and_times() {
    let mut world = World::new(Retry::default());
    for power in [31, 32, 33, 45, 51] {
        for gap in [1, (1 << power) - 1, 1 << power] {
            world.step(&crate::steps::Step::Put { gap, pri: 9, delay_ms: 0, ttr_ms: 1, len: 3 });
        }
        world.step(&crate::steps::Step::Clock { forward_ms: 1 << power.min(44) });
    }
}
