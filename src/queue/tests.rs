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

/// Each change of an event must be possible after those before it.
#[test]
fn a_change_is_checked_after_those_before_it() {
    use Change::{Bury, Clear, Delete, Head, Pause, Put, Remove, Reserve, Restore, Resume, Return};
    let reserve = |id, n| Reserve { id, n, worker: 0, ttr_ms: 1 };
    let back = |id, then| Return { id, why: Why::Released, then, pri: 0 };
    let mut held = tube(2);
    held.apply(NOW_MS, &reserve(1, 9));
    let mut paused = Tube::new(NOW_MS);
    paused.apply(NOW_MS, &Pause { for_ms: 5 });
    let (empty, ready) = (Tube::new(NOW_MS), States::NONE.with(State::Ready));
    let header = *held.header();
    let job = held.job(1).unwrap();
    let buried =
        Job { id: 3, state: State::Buried, timing: Timing { at: 7, delay_ms: 0 }, reservation: None, ..job };
    let restored_head = Header { last_id: 3, burials: 6, ..header };
    let put = |id| Put { id, pri: 0, delay_ms: 0, ttr_ms: 1, body: b"" };
    let cases: &[(&Tube, &[Change<'_>], Result<(), Invalid>)] = &[
        // Who the worker is.
        (&held, &[Reserve { id: 2, n: 1, worker: U48_MAX, ttr_ms: 1 }], Ok(())),
        (&held, &[Reserve { id: 2, n: 1, worker: U48_MAX + 1, ttr_ms: 1 }], Err(Invalid::Range(U48_MAX + 1))),
        // That nothing is removed with a pause or a job in it.
        (&empty, &[Remove], Ok(())),
        (&paused, &[Remove], Err(Invalid::Remove)),
        (&paused, &[Resume, Remove], Ok(())),
        (&empty, &[Pause { for_ms: 5 }, Remove], Err(Invalid::Remove)),
        (&empty, &[Pause { for_ms: 5 }, Pause { for_ms: 0 }, Remove], Ok(())),
        (&empty, &[put(1), Remove], Err(Invalid::Remove)),
        (&empty, &[put(1), Delete { id: 1 }, Remove], Ok(())),
        (&held, &[Delete { id: 1 }, Delete { id: 2 }, Remove], Ok(())),
        (&held, &[Clear { states: States::ALL }, Remove], Ok(())),
        (&held, &[Clear { states: ready }, Remove], Err(Invalid::Remove)),
        (&empty, &[Remove, put(1)], Err(Invalid::Remove)),
        // What a clear takes.
        (&held, &[Clear { states: ready }, Delete { id: 1 }], Ok(())),
        (&held, &[Clear { states: ready }, Delete { id: 2 }], Err(Invalid::NoJob(2))),
        (&held, &[put(3), Clear { states: ready }, Delete { id: 3 }], Err(Invalid::NoJob(3))),
        (&held, &[reserve(2, 1), Clear { states: ready }, Delete { id: 2 }], Ok(())),
        (&held, &[Delete { id: 2 }, Delete { id: 2 }], Err(Invalid::NoJob(2))),
        // Which leases there were.
        (&held, &[back(1, Then::Ready), reserve(1, 9)], Err(Invalid::Lease(1))),
        (&held, &[back(1, Then::Ready), reserve(1, 10)], Ok(())),
        (&empty, &[Restore(job), back(1, Then::Ready), reserve(1, 9)], Err(Invalid::Lease(1))),
        (&empty, &[Restore(job), back(1, Then::Ready), reserve(1, 10)], Ok(())),
        // How many burials there were.
        (&held, &[back(1, Then::Buried), Head(header)], Err(Invalid::Head)),
        (&held, &[back(1, Then::Buried), Head(Header { burials: 1, ..header })], Ok(())),
        (&held, &[Bury { id: 1, pri: 0 }, Head(header)], Err(Invalid::Head)),
        (&held, &[Bury { id: 1, pri: 0 }, Head(Header { burials: 1, ..header })], Ok(())),
        (&held, &[Restore(buried), Head(restored_head)], Err(Invalid::Head)),
        (&held, &[Restore(buried), Head(Header { burials: 7, ..restored_head })], Ok(())),
    ];
    for (tube, changes, verdict) in cases {
        assert_eq!(tube.verify(NOW_MS, changes), *verdict, "{changes:?}");
        if verdict.is_ok() {
            let mut after = (*tube).clone();
            changes.iter().for_each(|change| drop(after.apply(NOW_MS, change)));
            after.check().unwrap();
        }
    }
}

/// The burials of restored jobs count wherever the highest of them stands: among jobs, and among the chunks of a
/// snapshot, whose header must not have fewer. And no job comes twice.
#[test]
fn restored_jobs_tell_the_tube_how_many_burials_there_were() {
    let mut old = tube(2);
    for id in [2, 1] {
        old.apply(NOW_MS, &Change::Reserve { id, n: 1, worker: 0, ttr_ms: 1 });
        old.apply(NOW_MS, &Change::Bury { id, pri: 0 });
    }
    let mut copy = Tube::new(NOW_MS);
    old.jobs().for_each(|job| make(&mut copy, NOW_MS, &Change::Restore(job)));
    assert_eq!(copy.header().burials, 2);
    let mut later = Tube::new(NOW_MS);
    later.apply(NOW_MS, &put(3, b"x"));
    let loaded = |header: Header, tubes: &[&Tube]| {
        let mut restore = Restore::default();
        for (chunk, bodies) in tubes.iter().flat_map(|tube| tube.chunks()) {
            restore.add(&chunk, bodies.into_owned())?;
        }
        restore.finish(header).map(|tube| tube.check().unwrap())
    };
    let header = Header { last_id: 3, burials: 2, ..*old.header() };
    assert_eq!(loaded(header, &[&old, &later]), Ok(()));
    assert_eq!(loaded(Header { burials: 1, ..header }, &[&old, &later]), Err(Invalid::Head));
    assert_eq!(loaded(Header { last_id: 2, ..header }, &[&old, &later]), Err(Invalid::Head));
    assert_eq!(loaded(header, &[&later, &later]), Err(Invalid::Id(3)));
    assert_eq!(loaded(header, &[&later, &old]), Err(Invalid::Id(1)));
}

/// A worker is told which attempt this is, not how often the job was handed out in all; and a count that came full stays.
#[test]
fn who_holds_a_job_is_told_the_attempt() {
    let history = History { last_n: 3, attempts: 2, reserves: 9, ..History::default() };
    let reservation =
        Reservation { n: 4, deadline_ms: NOW_MS + 1, reserved_at_ms: NOW_MS, worker: 7, ttr_ms: 1 };
    for attempts in [0, 2, u32::MAX] {
        let tube = restored(Job {
            id: 1,
            pri: 0,
            created_ms: NOW_MS,
            ttr_ms: 1,
            state: State::Reserved,
            timing: Timing::default(),
            reservation: Some(reservation),
            history: History { attempts, ..history },
            body: b"body",
        });
        let (held, job) = (tube.held(1).unwrap(), tube.job(1).unwrap());
        assert_eq!([held.attempt, job.attempt()], [attempts.saturating_add(1); 2]);
        assert_eq!((held.id, held.n, held.worker, held.body), (1, 4, 7, &b"body"[..]));
    }
}

/// What is due of one job is due when it is due of the tube.
#[test]
fn nothing_is_due_of_a_job_before_its_time_is_over() {
    let mut tube = tube(3);
    tube.apply(NOW_MS, &Change::Delay { id: 1, delay_ms: 5 });
    tube.apply(NOW_MS, &Change::Reserve { id: 2, n: 1, worker: 0, ttr_ms: 5 });
    let due = |id, now_ms| decide::due_of(&tube, id, now_ms, Retry::default());
    for id in 1..=4 {
        assert_eq!(due(id, NOW_MS + 5), None, "job {id}");
    }
    assert_eq!(due(1, NOW_MS + 6), Some(Change::Promote { id: 1 }));
    assert!(matches!(due(2, NOW_MS + 6), Some(Change::Return { id: 2, why: Why::TimedOut, .. })));
    assert_eq!([3, 4].map(|id| due(id, NOW_MS + 6)), [None, None]);
}

/// `tally` counts several tubes together, and whatever happens to one of them.
#[test]
fn a_tally_follows_every_change() {
    let mut tally = Counts::default();
    let mut one = Tube::new(NOW_MS);
    let mut other = Tube::new(NOW_MS);
    let changes = |id| {
        [
            put(id, b"a"),
            Change::Put { id: id + 1, pri: 2_000, delay_ms: 0, ttr_ms: 1, body: b"b" },
            Change::Put { id: id + 2, pri: 5, delay_ms: 9, ttr_ms: 1, body: b"c" },
            Change::Reserve { id, n: 1, worker: 0, ttr_ms: 1 },
            Change::Prioritize { id: id + 1, pri: 3 },
            Change::Return { id, why: Why::Lost, then: Then::Ready, pri: 2_000 },
            Change::Kick { id: id + 2 },
            Change::Delay { id: id + 1, delay_ms: 7 },
            Change::Delete { id },
            Change::Clear { states: States::NONE.with(State::Delayed) },
        ]
    };
    for (number, change) in changes(1).into_iter().chain(changes(4)).enumerate() {
        for tube in [&mut one, &mut other] {
            tube.apply_counting(NOW_MS, &change, &mut tally);
        }
        let mut sum = one.counts();
        sum.plus(&other.counts());
        assert_eq!(tally, sum, "after {number} changes: {change:?}");
    }
}

#[test]
fn a_tube_that_lingers_for_no_time_goes_at_once_and_another_only_later() {
    let tube = Tube::new(NOW_MS);
    let goes = |linger_ms, now_ms| decide::remove(&tube, now_ms, linger_ms).is_some();
    assert!(goes(0, NOW_MS) && !goes(5, NOW_MS + 5) && goes(5, NOW_MS + 6));
}

/// Together they could be more than a snapshot may hold in one chunk, and the tube could be saved but not loaded.
#[test]
fn a_very_large_body_shares_no_segment() {
    for first in [1, 2_049, 4_300, 8_193, 600_000] {
        for large in [1024 * 1024 + 1, 5 * 1024 * 1024] {
            let mut tube = Tube::new(NOW_MS);
            tube.apply(NOW_MS, &put(1, &vec![b'a'; first]));
            tube.apply(NOW_MS, &put(2, &vec![b'b'; large]));
            assert_eq!(tube.pieces(), 2, "{large} behind {first}");
            let mut restore = Restore::default();
            tube.chunks().for_each(|(chunk, bodies)| restore.add(&chunk, bodies.into_owned()).unwrap());
            let copy = restore.finish(*tube.header()).unwrap();
            assert!(copy.jobs().eq(tube.jobs()));
        }
    }
}

/// Segments that have become small are made one only if the first can tell the times and ids of all in the second.
#[test]
fn jobs_of_segments_that_come_together_keep_their_times_and_ids() {
    // What is so far is covered by the second segment, which begins at job 129, but not by the first.
    const FAR: u64 = u32::MAX as u64;
    for (far_id, far_ms) in [(0, FAR), (FAR - 128, 0), (0, 0)] {
        let mut tube = Tube::new(NOW_MS);
        for id in 1..=128 {
            tube.apply(NOW_MS, &put(id, b"a"));
        }
        tube.apply(NOW_MS + 10, &put(129, b"b"));
        for id in 130..=256 {
            // The first and the last of the second segment are near.
            let at_ms = if id < 256 { NOW_MS + 10 + far_ms } else { NOW_MS + 10 };
            tube.apply(at_ms, &put(id + far_id, b"c"));
        }
        let before = tube.clone();
        let kept: Vec<u64> = tube
            .jobs()
            .map(|job| job.id)
            .enumerate()
            .filter(|(n, _)| n % 8 == 0 || *n == 255)
            .map(|(_, id)| id)
            .collect();
        let gone = |id: u64| !kept.contains(&id);
        let ids: Vec<u64> = tube.jobs().map(|job| job.id).filter(|id| gone(*id)).collect();
        for id in ids {
            tube.apply(NOW_MS + 20 + FAR, &Change::Delete { id });
            tube.check().unwrap();
        }
        assert_eq!(tube.pieces(), if (far_id, far_ms) == (0, 0) { 1 } else { 2 });
        assert!(tube.jobs().eq(before.jobs().filter(|job| !gone(job.id))));
    }
}

/// What an idle tube, or one whose workers gave everything back, keeps of the memory it once needed.
#[test]
fn memory_for_what_is_over_is_given_back() {
    let mut tube = tube(1_000);
    let bytes = tube.memory_bytes();
    for round in 1..=3 {
        let now_ms = NOW_MS + round;
        for id in 1..=1_000 {
            tube.apply(now_ms, &Change::Reserve { id, n: now_ms, worker: 1, ttr_ms: 9 });
        }
        assert!(tube.memory_bytes() > bytes + 20_000);
        for id in 1..=1_000 {
            let (why, then) = (Why::Lost, Then::Ready);
            tube.apply(now_ms, &Change::Return { id, why, then, pri: 5 });
        }
    }
    for id in 1..=1_000 {
        // Taken and brought back, so that no job has a reservation, and nothing but histories and timings is left.
        assert!(tube.job(id).unwrap().reservation.is_none());
    }
    let full = tube.memory_bytes();
    assert!(full < bytes + 1_000 * 80, "{full} bytes, {bytes} before");
    for id in 1..=1_000 {
        tube.apply(NOW_MS + 9, &Change::Reserve { id, n: NOW_MS + 9, worker: 1, ttr_ms: 9 });
    }
    for id in 1..=1_000 {
        tube.apply(NOW_MS + 9, &Change::Delete { id });
    }
    assert!(tube.memory_bytes() < 2_560, "{} bytes for an idle tube", tube.memory_bytes());
}
