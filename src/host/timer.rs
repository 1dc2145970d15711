//! One module timer, at the time of the broker's next tick, and a [finer one](super::fine) for the last millisecond.

use std::ffi::{c_int, c_void};

use crate::broker::Ticked;

use super::api::{self, Ctx, RedisModuleCtx};
use super::clock::{now_ms, until_us};
use super::events;
use super::fine::FineTimer;
use super::guard::guard;
use super::state::{self, State};
use super::world::RedisWorld;

/// How often to ask whether changes are allowed again, in milliseconds: nothing tells.
const POLL_MS: u64 = 10;

/// No timer is armed for longer, in milliseconds: Redis counts the microseconds until a module's next timer in 32
/// bits, and turns without sleep if these overflow (after 36 minutes). An early tick does no harm.
const LONGEST_MS: u64 = 1_000_000;

/// The event loop sleeps no longer than this, in milliseconds: its own cron runs at least once a second.
const LONGEST_SLEEP_MS: u64 = 1_000;

/// A timer that is so late, in milliseconds, did not notice a step of the clock.
const OVERDUE_MS: u64 = 50;

/// The timer.
#[derive(Default)]
pub(super) struct Timer {
    /// What fires, and when (Unix ms).
    armed: Option<(Armed, u64)>,
    fine: Option<FineTimer>,
    /// Whether the event loop is between its last look at timers and its sleep.
    pub(super) about_to_sleep: bool,
    /// Not before this (Unix ms), because changes are not allowed; 0 if they are.
    not_before_ms: u64,
}

/// What fires next.
#[derive(Clone, Copy)]
enum Armed {
    /// The module timer of this id.
    Module(u64),
    /// The finer one.
    Fine,
}

impl Timer {
    /// Makes what it needs of the system, once. Without it, the module timer alone does.
    pub(super) fn prepare(&mut self) {
        self.fine = FineTimer::new(on_fine);
    }

    /// Has the finer timer fire in so many microseconds, if that is not too long for it; `false` if the module timer must.
    fn set_fine(&self, left_us: u64) -> bool {
        (1..1_000).contains(&left_us) && self.fine.as_ref().is_some_and(|fine| fine.set(left_us + 1))
    }
}

impl State {
    /// Makes sure that the timer fires no later than the broker's next tick.
    #[inline(never)]
    pub(super) fn arm(&mut self, ctx: Ctx) {
        let Some(at_ms) = self.broker.next_tick_ms() else { return };
        let at_ms = at_ms.max(self.not_before_ms());
        if let Some((timer, armed_ms)) = self.timer.armed {
            if armed_ms <= at_ms {
                return;
            }
            timer.stop(ctx);
        }
        let at_ms = at_ms.min(now_ms() + LONGEST_MS);
        let left_us = until_us(at_ms);
        if self.timer.set_fine(left_us) {
            self.timer.armed = Some((Armed::Fine, at_ms));
            return;
        }
        let period_ms = period_ms(left_us);
        self.timer.armed = Some((Armed::Module(ctx.create_timer(period_ms, Some(on_timer))), at_ms));
        if self.timer.about_to_sleep && period_ms < LONGEST_SLEEP_MS {
            // The event loop has already decided how long to sleep.
            api::turn_event_loop();
        }
    }

    /// When to ask at the earliest whether changes are allowed again (Unix ms). If the clock has stepped back meanwhile,
    /// that is not as far away as it was.
    fn not_before_ms(&self) -> u64 {
        match self.timer.not_before_ms {
            0 => 0,
            not_before_ms => not_before_ms.min(now_ms() + POLL_MS),
        }
    }

    /// Redis waits for a timer by a clock that never steps. If the wall clock has stepped forward, the timer's
    /// time may be over long before it fires: then it is armed anew. So it is if the clock has stepped back, so that it is
    /// farther away than [`LONGEST_MS`], or while changes are not allowed.
    pub(super) fn catch_up_with_clock(&mut self, ctx: Ctx) {
        if let Some((timer, armed_ms)) = self.timer.armed
            && (armed_ms.saturating_add(OVERDUE_MS) < now_ms()
                || armed_ms > now_ms() + LONGEST_MS
                || self.timer.not_before_ms > self.not_before_ms())
        {
            self.timer.not_before_ms = self.not_before_ms();
            timer.stop(ctx);
            self.timer.armed = None;
            self.arm(ctx);
        }
    }

    fn tick(&mut self, ctx: Ctx) {
        self.timer.armed = None;
        let now_ms = now_ms();
        let (broker, means) = self.parts();
        let ticked = broker.tick(&mut RedisWorld::outside(ctx, means), now_ms);
        self.timer.not_before_ms = if ticked == Ticked::Refused { now_ms + POLL_MS } else { 0 };
        self.tell_in_timer(ctx);
        // It is armed anew in any case.
        self.broker.take_sooner();
        self.arm(ctx);
    }
}

impl Armed {
    /// It is not to fire. That the finer timer may do so all the same does no harm.
    fn stop(self, ctx: Ctx) {
        if let Armed::Module(timer) = self {
            ctx.stop_timer(timer);
        }
    }
}

/// The whole milliseconds after which to look whether something is due in so many microseconds: less than one too early.
/// What is left then is a matter of the finer timer or, where there is none, of one more millisecond.
fn period_ms(left_us: u64) -> u64 {
    if left_us == 0 { 0 } else { (left_us / 1_000).max(1) }
}

unsafe extern "C" fn on_timer(ctx: *mut RedisModuleCtx, _: *mut c_void) {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    guard((), || {
        state::enter(|state| state.tick(ctx));
    });
}

/// The time of the finer timer has come.
unsafe extern "C" fn on_fine(_: c_int, _: *mut c_void, _: c_int) {
    guard((), || {
        state::enter_deaf(|state| {
            let timer = &mut state.timer;
            timer.fine.iter().for_each(FineTimer::read);
            if let (Some((Armed::Fine, at_ms)), Some(ctx)) = (timer.armed, events::own_context()) {
                timer.armed = Some((Armed::Module(ctx.create_timer(0, Some(on_timer))), at_ms));
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::period_ms;

    #[test]
    fn a_timer_is_set_to_less_than_a_millisecond_too_early() {
        let left_us = [0, 1, 999, 1_000, 1_999, 2_000, 59_999_500];
        assert_eq!(left_us.map(period_ms), [0, 1, 1, 1, 1, 2, 59_999]);
    }
}
