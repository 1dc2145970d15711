//! How many instructions a put, a reserve, a delete and a tick take in a tube of so many jobs. Run under callgrind by
//! `scripts/instructions.sh`, which compares them with what is written down: counts do not depend on how busy
//! the machine is, so that a change that makes them grow is noticed.

use std::hint::black_box;

use phean::queue::decide::{self, Retry, Worker};
use phean::queue::{Change, Handle, Tube};

const BODY: &[u8] = &[b'x'; 100];
const NOW_MS: u64 = 1_790_000_000_000;

/// So many of each are counted.
const COUNTED: u64 = 1_000;

fn main() {
    let jobs = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(COUNTED);
    let mut tube = Tube::new(NOW_MS);
    for id in 1..=jobs {
        make(&mut tube, &put_of(id, 0));
    }
    counted_puts(&mut tube, jobs + 1);
    let leases = counted_reserves(&mut tube);
    counted_deletes(&mut tube, &leases);
    // Delayed jobs and reservations that are due, half and half.
    for id in jobs + 1 + COUNTED..jobs + 1 + COUNTED + COUNTED / 2 {
        make(&mut tube, &put_of(id, 1));
    }
    for _ in 0..COUNTED / 2 {
        let worker = Worker { ttr_ms: Some(1), ..Worker::default() };
        let change = decide::reserve(&tube, NOW_MS, worker).expect("a ready job");
        make(&mut tube, &change);
    }
    counted_ticks(&mut tube);
    tube.check().expect("a sound tube");
}

fn put_of(id: u64, delay_ms: u64) -> Change<'static> {
    Change::Put { id, pri: 1024, delay_ms, ttr_ms: 60_000, body: BODY }
}

fn make(tube: &mut Tube, change: &Change<'_>) {
    tube.apply(NOW_MS, black_box(change));
}

#[inline(never)]
fn counted_puts(tube: &mut Tube, first_id: u64) {
    for id in first_id..first_id + COUNTED {
        make(tube, &put_of(id, 0));
    }
}

#[inline(never)]
fn counted_reserves(tube: &mut Tube) -> Vec<(u64, u64)> {
    let mut leases = Vec::with_capacity(COUNTED as usize);
    for _ in 0..COUNTED {
        let change = decide::reserve(tube, NOW_MS, Worker::default());
        if let Some(Change::Reserve { id, n, .. }) = change {
            make(tube, &change.expect("a ready job"));
            leases.push((id, n));
        }
    }
    leases
}

#[inline(never)]
fn counted_deletes(tube: &mut Tube, leases: &[(u64, u64)]) {
    for (id, n) in leases {
        let change = decide::delete(tube, Handle::lease(*id, *n), NOW_MS).expect("a lease that holds");
        make(tube, &change);
    }
}

#[inline(never)]
fn counted_ticks(tube: &mut Tube) {
    while let Some(change) = decide::due(tube, NOW_MS + 2, Retry::default()) {
        make(tube, &change);
    }
}
