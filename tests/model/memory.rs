//! What a job costs in memory. The numbers are promises: a tube of ten million jobs must fit.

use phean::queue::{Change, States, Tube};

use crate::world::{START_MS, body, saved_and_loaded};

const JOBS: u64 = 100_000;

/// A tube of jobs with bodies of 100 bytes whose ids are a third of the server's.
fn tube(delay_ms: u64) -> Tube {
    let mut tube = Tube::new(START_MS);
    for i in 1..=JOBS {
        let body = body(i, 100);
        let put = Change::Put { id: i * 3, pri: 1024, delay_ms, ttr_ms: 60_000, body: &body };
        tube.apply(START_MS + i, &put);
    }
    tube
}

fn bytes_per_job(tube: &Tube) -> usize {
    assert_eq!(tube.counts().all(), JOBS);
    tube.memory_bytes().div_ceil(JOBS as usize)
}

#[test]
fn a_ready_job_takes_48_bytes_besides_its_body() {
    let bytes = bytes_per_job(&tube(0));
    assert!(bytes <= 148, "{bytes} bytes");
}

#[test]
fn a_delayed_job_takes_72_bytes_besides_its_body() {
    let bytes = bytes_per_job(&tube(500));
    assert!(bytes <= 172, "{bytes} bytes");
}

#[test]
fn a_reserved_job_takes_72_bytes_besides_its_body() {
    let mut tube = tube(0);
    let n = START_MS + JOBS;
    for i in 1..=JOBS {
        tube.apply(n, &Change::Reserve { id: i * 3, n, worker: 7, ttr_ms: 60_000 });
    }
    let bytes = bytes_per_job(&tube);
    assert!(bytes <= 172, "{bytes} bytes");
}

/// A tube of so many jobs with bodies of `len` bytes.
fn tube_of(jobs: u64, len: usize) -> Tube {
    let mut tube = Tube::new(START_MS);
    (1..=jobs).for_each(|id| put(&mut tube, id, len));
    tube
}

fn put(tube: &mut Tube, id: u64, len: usize) {
    let body = body(id, len);
    tube.apply(START_MS, &Change::Put { id, pri: 1024, delay_ms: 0, ttr_ms: 60_000, body: &body });
}

const LARGE: [usize; 16] = [
    1_025, 2_049, 4_096, 4_097, 4_300, 5_000, 7_169, 8_192, 8_193, 8_400, 8_600, 10_241, 16_385, 20_000,
    32_769, 65_537,
];

/// A body just above one of the allocator's sizes took up to a quarter more, and its segment came on top of that.
#[test]
fn a_large_body_takes_a_quarter_more_at_most() {
    for len in LARGE {
        let jobs = 420;
        let each = tube_of(jobs, len).memory_bytes() / jobs as usize;
        assert!(each * 4 <= len * 5, "{each} bytes for a body of {len}");
    }
    // The same where no two are alike.
    let mut tube = Tube::new(START_MS);
    (1..=400).for_each(|id| put(&mut tube, id, 8_193 + id as usize));
    let bodies: usize = tube.jobs().map(|job| job.body.len()).sum();
    assert!(tube.memory_bytes() * 4 <= bodies * 5, "{} bytes for {bodies}", tube.memory_bytes());
}

/// A large body and a small one did not share a segment, and a small one that was the last to fit left a third of the block.
#[test]
fn bodies_of_different_lengths_take_a_quarter_more_at_most() {
    let pairs = LARGE.iter().flat_map(|a| [1, 20, 100, 700, 3_072].map(|b| [*a, *a, b]));
    let triples = (0..LARGE.len())
        .flat_map(|n| (1..4).map(move |step| [0, 1, 2].map(|k| LARGE[(n + k * step * step) % LARGE.len()])));
    let known =
        [[8_193, 4_096, 48], [20, 20, 16_385], [2_049, 2_049, 4_096], [1, 1, 4_095], [4_096, 3_073, 1_025]];
    for lengths in pairs.chain(triples).chain(known) {
        let mut tube = Tube::new(START_MS);
        (1..=180).for_each(|id| put(&mut tube, id, lengths[id as usize % 3]));
        tube.check().unwrap();
        let (bodies, taken) = (60 * lengths.iter().sum::<usize>(), tube.memory_bytes());
        assert!(taken * 4 <= bodies * 5, "{taken} bytes for {bodies} in bodies of {lengths:?}");
        assert!(saved_and_loaded(&tube).memory_bytes() * 4 <= bodies * 5, "loaded, {lengths:?}");
    }
}

/// Room is made for several large bodies at once, so that none has to be moved when the next one comes.
#[test]
fn several_large_bodies_are_stored_without_moving_one() {
    let mut tube = tube_of(3, 8_193);
    for id in 4..100 {
        let (pieces, bytes) = (tube.pieces(), tube.memory_bytes());
        put(&mut tube, id, 8_193);
        assert_eq!(tube.pieces() > pieces, id % 3 == 1);
        assert_eq!(tube.memory_bytes() != bytes, id % 3 == 1, "job {id}");
    }
}

/// What shares a block with others does not hold on to their memory for long.
#[test]
fn the_last_large_job_takes_no_more_than_its_body() {
    for len in LARGE.into_iter().filter(|len| *len > 4_096) {
        for (jobs, stays) in (1..=12).flat_map(|jobs| (1..=jobs).map(move |stays| (jobs, stays))) {
            for backwards in [false, true] {
                let mut tube = tube_of(jobs, len);
                for id in (1..=jobs).filter(|id| *id != stays) {
                    let id = if backwards { 1 + jobs - id } else { id };
                    tube.apply(START_MS, &Change::Delete { id });
                    tube.check().unwrap();
                    let (living, taken) = (tube.counts().all() as usize * len, tube.memory_bytes());
                    assert!(taken <= living * 4, "{taken} bytes for {living}");
                }
                assert_eq!(tube.counts().all(), 1);
                let taken = tube.memory_bytes();
                assert!(taken * 4 <= (len + 850) * 5, "{taken} bytes for a single body of {len}");
            }
        }
    }
}

/// An emptied segment stays for the next jobs, which is memory, too. A clear keeps none.
#[test]
fn a_spare_segment_is_counted() {
    let mut tube = tube_of(300, 100);
    (1..=299).for_each(|id| drop(tube.apply(START_MS, &Change::Delete { id })));
    let (bytes, copy) = (tube.memory_bytes(), saved_and_loaded(&tube).memory_bytes());
    assert!(bytes > copy + 8_192, "{bytes} bytes with a spare segment, {copy} without");
    tube.apply(START_MS, &Change::Clear { states: States::ALL });
    assert!(tube.memory_bytes() < 2_048, "{} bytes", tube.memory_bytes());
}
