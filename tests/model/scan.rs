//! What SCAN promises: a job that is there from the first call to the last is seen, and one that never was is
//! not, whatever else comes and goes between the calls.

use std::collections::BTreeSet;

use phean::queue::{Change, State, Tube};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::world::{START_MS, body};

/// What happens between two calls.
#[derive(Clone, Debug)]
struct Between {
    puts: u64,
    /// The jobs deleted: every so many, from a place on.
    delete: Option<(usize, usize)>,
    /// The jobs that change their state.
    turn: Option<(usize, usize)>,
}

fn betweens() -> impl Strategy<Value = Between> {
    let some = || proptest::option::weighted(0.6, (1..9usize, 0..400usize));
    (0..40u64, some(), some()).prop_map(|(puts, delete, turn)| Between { puts, delete, turn })
}

fn put(tube: &mut Tube, id: u64) {
    let delay_ms = u64::from(id.is_multiple_of(4));
    let body = body(id, (id % 150) as usize);
    tube.apply(START_MS, &Change::Put { id, pri: 5, delay_ms, ttr_ms: 1_000, body: &body });
}

/// Ready jobs go to a worker, the others become ready or go.
fn turn(tube: &mut Tube, id: u64) {
    let Some(job) = tube.job(id) else { return };
    let change = match job.state {
        State::Ready => Change::Reserve { id, n: job.history.last_n + 1, worker: 0, ttr_ms: 1_000 },
        State::Delayed => Change::Promote { id },
        State::Reserved => Change::Bury { id, pri: 0 },
        State::Buried => Change::Kick { id },
    };
    tube.apply(START_MS, &change);
}

fn in_state(tube: &Tube, state: Option<State>) -> BTreeSet<u64> {
    tube.jobs().filter(|job| state.is_none_or(|state| state == job.state)).map(|job| job.id).collect()
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn a_job_that_is_there_all_the_time_is_seen(
        jobs in 1..1_200u64,
        gap in 1..6u64,
        counts in vec(1..120usize, 1..8),
        state in prop_oneof![2 => Just(None), 1 => Just(Some(State::Ready)), 1 => Just(Some(State::Delayed)),
            1 => Just(Some(State::Reserved))],
        between in vec(betweens(), 1..30),
        spare in 2..9u64,
    ) {
        let mut tube = Tube::new(START_MS);
        for i in 1..=jobs {
            put(&mut tube, i * gap);
        }
        for i in (1..=jobs).step_by(3) {
            turn(&mut tube, i * gap);
        }
        let mut last_id = jobs * gap;
        // Some jobs are never touched; which others stay in their state is found out on the way.
        let mut always = in_state(&tube, state);
        let mut ever = always.clone();
        let mut seen = BTreeSet::new();
        let mut cursor = Some(0);
        let mut calls = 0;
        while let Some(id) = cursor {
            cursor = tube.scan(id, state, counts[calls % counts.len()], |job| {
                prop_assert_once(seen.insert(job.id), job.id);
            });
            let between = &between[calls % between.len()];
            calls += 1;
            // Nothing is put for ever, or a scan of small COUNTs would never end.
            for _ in 0..between.puts * u64::from(calls < 30) {
                last_id += gap;
                put(&mut tube, last_id);
            }
            let ids: Vec<u64> = tube.jobs().map(|job| job.id).filter(|id| id % spare != 0).collect();
            if let Some((step, from)) = between.delete {
                for id in ids.iter().skip(from).step_by(step) {
                    tube.apply(START_MS, &Change::Delete { id: *id });
                }
            }
            if let Some((step, from)) = between.turn {
                for id in ids.iter().skip(from).step_by(step) {
                    turn(&mut tube, *id);
                }
            }
            let now = in_state(&tube, state);
            always.retain(|id| now.contains(id));
            ever.extend(&now);
            prop_assert!(calls < 10_000, "the scan does not end");
        }
        tube.check().unwrap();
        prop_assert!(always.is_subset(&seen), "not seen: {:?}", always.difference(&seen).collect::<Vec<_>>());
        prop_assert!(seen.is_subset(&ever));
    }
}

fn prop_assert_once(is_new: bool, id: u64) {
    assert!(is_new, "job {id} was shown twice");
}
