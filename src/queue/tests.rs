//! Stories of bugs that a tube has had. `tests/model` is where most of them were found.

use std::time::{Duration, Instant};

use super::decide::{self, Retry, Worker};
use super::time::U48_MAX;
use super::tube::BURIALS_MAX;
use super::*;

const NOW_MS: u64 = 1_790_000_000_000;

fn put(id: u64, body: &[u8]) -> Change<'_> {
    Change::Put { id, pri: 5, delay_ms: 0, ttr_ms: 1_000, body }
}

fn tube(jobs: u64) -> Tube {
    let mut tube = Tube::new(NOW_MS);
    for id in 1..=jobs {
        tube.apply(NOW_MS, &put(id, b"hello"));
    }
    tube
}

/// Verifies and makes a change, as a replica does.
fn make(tube: &mut Tube, at_ms: u64, change: &Change<'_>) {
    tube.verify(at_ms, &[*change]).unwrap();
    tube.apply(at_ms, change);
    tube.check().unwrap();
}

fn restored(job: Job<'_>) -> Tube {
    let mut tube = Tube::default();
    make(&mut tube, 0, &Change::Restore(job));
    tube
}

/// A copied `Vec` has no room to spare, so a copy took less memory than its original said; every later growth
/// was then added to a sum that was too big.
#[test]
fn a_copy_knows_how_much_memory_it_takes() {
    let mut copy = tube(850).clone();
    copy.check().unwrap();
    make(&mut copy, NOW_MS, &put(851, b"another"));
}

/// A delayed job that is due at the beginning of time looked to its segment as if nothing had to be remembered
/// about it. It stood in no order, while the order's smallest key said that one is due: ticks found none, and
/// neither this job nor those behind it ever became ready.
#[test]
fn a_job_due_at_the_beginning_of_time_is_promoted() {
    let mut tube = Tube::default();
    make(&mut tube, 0, &put(1, b""));
    make(&mut tube, 0, &Change::Delay { id: 1, delay_ms: 0 });
    assert_eq!(tube.ordered(Order::Delayed, 9), [1]);
    assert_eq!(decide::due(&tube, NOW_MS, Retry::default()), Some(Change::Promote { id: 1 }));
}

/// A snapshot may claim to have counted to the end of the numbers; the next change then overflowed.
#[test]
fn counters_that_came_full_stay_full() {
    let mut tube = tube(1);
    let totals = Totals { reserves: u64::MAX, ..Totals::default() };
    let head = Change::Head(Header { totals, ..*tube.header() });
    make(&mut tube, NOW_MS, &head);
    let change = decide::reserve(&tube, NOW_MS, Worker::default()).unwrap();
    make(&mut tube, NOW_MS, &change);
    assert_eq!(tube.header().totals.reserves, u64::MAX);
}

/// A tube that came with the highest number of burials buried the next job under a number that its own snapshot
/// may not hold: it could be saved but not loaded.
#[test]
fn burials_do_not_outgrow_a_snapshot() {
    let mut tube = tube(2);
    let head = Change::Head(Header { burials: BURIALS_MAX, ..*tube.header() });
    make(&mut tube, NOW_MS, &head);
    for id in [2, 1] {
        make(&mut tube, NOW_MS, &Change::Reserve { id, n: 1, worker: 0, ttr_ms: 1 });
        make(&mut tube, NOW_MS, &Change::Bury { id, pri: 0 });
    }
    assert_eq!(tube.header().burials, BURIALS_MAX);
    assert_eq!(tube.ordered(Order::Buried, 9), [1, 2]);
}

/// A job that came with the largest lease number could be reserved on the primary, under the same number, but
/// its replicas refused the event, and the primary's own file did not load.
#[test]
fn a_job_with_the_largest_lease_number_can_be_reserved() {
    let history = History { last_n: U48_MAX, ..History::default() };
    let job = Job {
        id: 1,
        pri: 0,
        created_ms: NOW_MS,
        ttr_ms: 1,
        state: State::Ready,
        timing: Timing { at: NOW_MS, delay_ms: 0 },
        reservation: None,
        history,
        body: b"",
    };
    let mut tube = restored(job);
    let change = decide::reserve(&tube, NOW_MS, Worker::default()).unwrap();
    make(&mut tube, NOW_MS, &change);
    restored(tube.job(1).unwrap());
}

/// Finding the oldest ready job looked at every job behind it, too: seconds for a list of big tubes. Then it looked at every
/// segment before it that has none.
#[test]
fn the_oldest_ready_job_is_found_without_a_look_at_all_others() {
    let mut tube = tube(50_000);
    tube.apply(NOW_MS, &Change::Delete { id: 1 });
    let look = |tube: &Tube| {
        let started = Instant::now();
        for _ in 0..100_000 {
            assert_eq!(std::hint::black_box(tube).oldest_ready_since_ms(), Some(NOW_MS));
        }
        assert!(started.elapsed() < Duration::from_secs(8), "took {:?}", started.elapsed());
    };
    look(&tube);
    for id in 2..50_000 {
        tube.apply(NOW_MS, &Change::Delay { id, delay_ms: 1_000 });
    }
    look(&tube);
}
