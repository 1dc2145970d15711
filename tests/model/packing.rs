//! Tubes of some thousand jobs, most of which go again: segments fill, are packed anew and are merged.

use phean::queue::decide::Retry;
use phean::queue::{Change, State, States, Tube};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::hostile::states_of_byte;
use crate::steps::{beginnings, bulks, retries};
use crate::world::{START_MS, World, assert_same, body, rewritten, saved_and_loaded};

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

/// A segment keeps the base that its first job gave it, when that job goes. The farthest id, and the latest time, that it
/// covers are then told from there, alone or behind others: in a snapshot, too.
#[test]
fn the_farthest_job_of_a_segment_outlives_the_first() {
    const FARTHEST: u64 = u32::MAX as u64;
    for others in [0, 1, 40] {
        for (id, at_ms) in [
            (FARTHEST, START_MS),
            (1 + FARTHEST, START_MS),
            (2 + FARTHEST, START_MS),
            (others + 2, START_MS + FARTHEST),
            (others + 2, START_MS + FARTHEST + 1),
            (1 + FARTHEST, START_MS + FARTHEST),
        ] {
            let mut tube = Tube::new(START_MS);
            let jobs = (1..=others + 1).map(|id| (id, START_MS)).chain([(id, at_ms)]);
            for (id, at_ms) in jobs.clone() {
                tube.apply(at_ms, &Change::Put { id, pri: 0, delay_ms: 0, ttr_ms: 1, body: b"x" });
            }
            for (gone, _) in jobs {
                tube.check().unwrap();
                assert_same(&tube, &saved_and_loaded(&tube));
                assert_same(&tube, &rewritten(&tube));
                tube.apply(at_ms, &Change::Delete { id: gone });
            }
        }
    }
}

/// The jobs of a clear go out of the middle of their segments, which then hold what stays where it was, or are packed
/// anew if that is little. It must be the same jobs in either case, by id and in every order.
#[test]
fn what_a_clear_leaves_is_as_it_was() {
    for (byte, every) in (1..16).flat_map(|byte| [2, 3, 10, 200].map(|every| (byte, every))) {
        let states = states_of_byte(byte);
        let mut tube = Tube::new(START_MS);
        for id in 1..=1_000 {
            let change =
                Change::Put { id, pri: (id % 7) as u32, delay_ms: 0, ttr_ms: 1, body: &body(id, 50) };
            tube.apply(START_MS, &change);
            // One of so many is in another state than the rest, in turn.
            let number = if id % every == 0 { id / every } else { 0 };
            let (n, worker, ttr_ms) = (id, 9, 1_000 + id);
            match number % 5 {
                1 => drop(tube.apply(START_MS, &Change::Delay { id, delay_ms: 1_000 - id })),
                2 => drop(tube.apply(START_MS, &Change::Reserve { id, n, worker, ttr_ms })),
                3 => {
                    tube.apply(START_MS, &Change::Reserve { id, n, worker, ttr_ms });
                    tube.apply(START_MS, &Change::Bury { id, pri: 5 });
                }
                4 => drop(tube.apply(START_MS, &Change::Delete { id })),
                _ => {}
            }
        }
        let before = tube.clone();
        tube.apply(START_MS, &Change::Clear { states });
        tube.check().unwrap_or_else(|error| panic!("{states:?}, one of {every}: {error}"));
        for id in 1..=1_000 {
            let stays = before.job(id).filter(|job| !states.has(job.state));
            assert_eq!(tube.job(id), stays, "{states:?}, one of {every}");
        }
        // Then the segments that lost much are packed when something more goes.
        for id in (1..=1_000).filter(|id| id % 50 != 0) {
            tube.apply(START_MS, &Change::Delete { id });
        }
        tube.check().unwrap_or_else(|error| panic!("{states:?}, one of {every}, then deleted: {error}"));
        tube.apply(START_MS, &Change::Clear { states: States::ALL });
        assert_eq!(tube.counts().all(), 0);
        tube.check().unwrap();
    }
}

/// A clear that leaves few jobs gives the memory of the others back.
#[test]
fn a_clear_that_leaves_little_gives_memory_back() {
    let mut tube = Tube::new(START_MS);
    for id in 1..=20_000 {
        let delay_ms = if id % 10 == 0 { 0 } else { 1_000 };
        tube.apply(START_MS, &Change::Put { id, pri: 0, delay_ms, ttr_ms: 1, body: &body(id, 100) });
    }
    let bytes = tube.memory_bytes();
    tube.apply(START_MS, &Change::Clear { states: States::NONE.with(State::Delayed) });
    assert_eq!(tube.counts().all(), 2_000);
    assert!(tube.memory_bytes() * 6 < bytes, "{} bytes of {bytes} are left", tube.memory_bytes());
}

/// What a clear left of each segment stayed there alone, and where that was too little to pay for packing it anew, no delete
/// brought it together with the rest either.
#[test]
fn what_a_clear_leaves_comes_together() {
    for every in [3, 10, 100, 1_000] {
        let mut tube = Tube::new(START_MS);
        for id in 1..=50_000 {
            let delay_ms = if id % every == 0 { 9_000 } else { 0 };
            tube.apply(START_MS, &Change::Put { id, pri: 0, delay_ms, ttr_ms: 1, body: &[7; 100] });
        }
        tube.apply(START_MS, &Change::Clear { states: States::NONE.with(State::Ready) });
        tube.check().unwrap();
        let jobs = tube.counts().all();
        let few = jobs as usize / 16 + 2;
        assert!(tube.pieces() <= few, "{} segments for {jobs} jobs, one of {every}", tube.pieces());
        for id in (1..=25_000).filter(|id| id % every == 0) {
            tube.apply(START_MS, &Change::Delete { id });
        }
        tube.check().unwrap();
        assert!(tube.pieces() <= few / 2 + 2, "{} segments for half as many", tube.pieces());
    }
}
