//! The time. Here alone is a clock read.
//!
//! To ask the system takes as long as a thirtieth of a put, most of it in waiting for the processor to finish what it has
//! begun. So commands, thousands of which run within a millisecond, read the processor's counter instead, which takes a
//! third of that, and ask again once it has moved by more than a moment.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::queue::TIME_MAX_MS;

use super::api;
use super::state::MainThread;

/// The counter moves by so much within a moment: 20 to 100 µs on processors from 1 to 5 GHz. That is far less than the
/// millisecond in which all times are counted.
const MOMENT: u64 = 100_000;

/// The counter and the time (Unix ms) when the system was last asked.
static ASKED: MainThread<Cell<(u64, u64)>> = MainThread(Cell::new((0, 0)));

/// The time (Unix ms).
pub(super) fn now_ms() -> u64 {
    let now_ms = api::milliseconds().min(TIME_MAX_MS);
    ASKED.0.set((counter().unwrap_or(0), now_ms));
    now_ms
}

/// The time (Unix ms) as it was less than a moment ago.
#[inline(always)]
pub(super) fn recent_ms() -> u64 {
    let (asked, asked_ms) = ASKED.0.get();
    match counter() {
        // A counter that was set back is far away as well.
        Some(count) if count.wrapping_sub(asked) < MOMENT => asked_ms,
        _ => ask_anew(),
    }
}

#[cold]
fn ask_anew() -> u64 {
    now_ms()
}

/// The time (Unix µs).
pub(super) fn now_us() -> u64 {
    in_us(since_1970())
}

/// How long it is until then (Unix ms), in whole microseconds; 0 if it is over.
pub(super) fn until_us(at_ms: u64) -> u64 {
    in_us(Duration::from_millis(at_ms).saturating_sub(since_1970()))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn in_us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The processor's counter, where there is one that runs at an even pace and is quickly read.
#[inline(always)]
fn counter() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has this instruction, and Linux lets every process use it.
    return Some(unsafe { std::arch::x86_64::_rdtsc() });
    #[cfg(not(target_arch = "x86_64"))]
    None
}
