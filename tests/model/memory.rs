//! What a job costs in memory. The numbers are promises: a tube of ten million jobs must fit.

use phean::queue::{Change, Tube};

use crate::world::{START_MS, body};

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
