//! A seeded simulation of the broker and its commands on a world in memory: producers, workers that wait,
//! disconnect and come too late, operators, Redis' own commands on keys, crashes, failovers, clocks that jump.
//! After every step an auditor checks what must hold.
//!
//! `PHEAN_SEEDS=n` runs so many seeds, from `PHEAN_FIRST_SEED` on; `PHEAN_SEED=n` repeats one. A failing run prints
//! its seed and the last things that happened.

mod auditor;
mod commands;
mod deed;
mod mishaps;
mod plain;
mod reply;
mod server;
mod simulation;
mod stories;
mod trace;
mod transcripts;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use simulation::Simulation;
use trace::Trace;

/// How many seeds run by default.
const SEEDS: u64 = 1_500;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

/// Runs one seed. `false` if something did not hold.
fn run(seed: u64) -> bool {
    let trace = Trace::default();
    let result = catch_unwind(AssertUnwindSafe(|| Simulation::new(seed, trace.clone()).run()));
    let Err(panic) = result else { return true };
    let what = panic.downcast_ref::<String>().map(String::as_str);
    let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    eprintln!("{}\n\n{what}\nThe simulation failed. Repeat it with PHEAN_SEED={seed}", trace.text());
    false
}

#[test]
fn what_must_hold_holds_after_every_step() {
    if let Some(seed) = number("PHEAN_SEED") {
        assert!(run(seed), "seed {seed} failed");
        return;
    }
    let seeds = number("PHEAN_SEEDS").unwrap_or(SEEDS);
    let first = number("PHEAN_FIRST_SEED").unwrap_or(0);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    if !run(seed) {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::Relaxed), "a seed failed: see above");
}
