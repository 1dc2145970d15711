//! When those who wait are told.
//!
//! Redis answers a client that was let go when it next goes through all such clients. What may come in between differs:
//!
//! | server | goes through them | a `CLIENT UNBLOCK` before that |
//! |---|---|---|
//! | Redis 7.0 | right after it has told us that it is about to sleep | leaves the client without an answer: it takes the next command's for it |
//! | Redis 7.2, Valkey 7.2 | before it tells us that | ends the server by an assertion |
//! | Redis 7.4, Valkey 8, and later | before it tells us that | does nothing or, with `ERROR`, takes the client away, and the job goes back |
//!
//! So a client is let go where no command comes in between: before the server sleeps or, since 7.2, in a timer, as those
//! run after all commands of a turn. Where nothing can come in between, it is let go within the command that has a job for
//! it. That is not for transactions and scripts, of which nobody may see a part, nor for clusters, where a command sees no
//! other keys than its own. In all of these the client is answered in the turn in which its job came.

use std::ffi::{c_int, c_void};

use super::api::{Ctx, RedisModuleCtx};
use super::clock::now_ms;
use super::guard::guard;
use super::state::{self, State};
use super::world::{Arguments, RedisWorld};

/// How those who wait are told.
pub(super) struct Telling {
    lets_go: LetsGo,
    /// Whether a timer is to let go whoever can be.
    is_timer_set: bool,
}

/// Where clients are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LetsGo {
    BeforeSleep,
    InTimer,
    Anywhere,
}

impl LetsGo {
    /// By the server's version: major, minor and patch, a byte each.
    fn on(version: c_int) -> LetsGo {
        match version {
            ..0x7_01_00 => LetsGo::BeforeSleep,
            0x7_01_00..0x7_04_00 => LetsGo::InTimer,
            _ => LetsGo::Anywhere,
        }
    }
}

impl Telling {
    pub(super) fn on(version: c_int) -> Telling {
        Telling { lets_go: LetsGo::on(version), is_timer_set: false }
    }

    /// Whether those who wait are told when the event loop is about to sleep, and only then.
    pub(super) fn is_before_sleep(&self) -> bool {
        self.lets_go == LetsGo::BeforeSleep
    }
}

impl State {
    /// Whether somebody is to be told, and no timer sees to that.
    pub(super) fn has_to_tell(&self) -> bool {
        (self.broker.has_deliveries() || self.means.waits.has_ended()) && !self.telling.is_timer_set
    }

    /// A command has left something to be told. `may_wait` says whether it could itself be kept waiting, as commands of
    /// transactions and scripts cannot.
    pub(super) fn tell_after_command(
        &mut self,
        ctx: Ctx,
        db: u32,
        arguments: Arguments<'_>,
        may_wait: impl FnOnce() -> bool,
    ) {
        match self.telling.lets_go {
            LetsGo::BeforeSleep => {}
            LetsGo::Anywhere if may_wait() && !self.means.found.in_cluster() => {
                let (broker, means) = self.parts();
                broker.deliver(&mut RedisWorld::in_command(ctx, db, means, arguments), now_ms());
                self.means.waits.release();
            }
            LetsGo::InTimer | LetsGo::Anywhere => self.tell_soon(ctx),
        }
    }

    /// Clients may have ended to wait, outside of commands: lets them go, if that does no harm here.
    pub(super) fn let_go_at_once(&mut self) {
        if self.telling.lets_go == LetsGo::Anywhere {
            self.means.waits.release();
        }
    }

    /// Has a timer tell those who wait, after the commands of this turn.
    fn tell_soon(&mut self, ctx: Ctx) {
        if !self.telling.is_timer_set {
            self.telling.is_timer_set = true;
            ctx.create_timer(0, Some(on_timer));
        }
    }

    /// A timer that is set has not fired since long: if the clock stepped back just then, it may not do so for long.
    pub(super) fn look_at_telling(&mut self, ctx: Ctx) {
        if std::mem::take(&mut self.telling.is_timer_set) {
            self.tell_soon(ctx);
        }
    }

    /// Tells those who wait, in a timer.
    pub(super) fn tell_in_timer(&mut self, ctx: Ctx) {
        if self.telling.is_before_sleep() {
            return;
        }
        if self.broker.has_deliveries() {
            self.deliver(ctx);
        }
        self.means.waits.release();
    }

    /// Tells the broker's waiters, outside of commands.
    fn deliver(&mut self, ctx: Ctx) {
        let (broker, means) = self.parts();
        broker.deliver(&mut RedisWorld::outside(ctx, means), now_ms());
    }

    /// Tells those who wait, or has a timer do that, as the server is about to sleep.
    pub(super) fn tell_before_sleep(&mut self, ctx: Ctx) {
        let in_timer = self.telling.lets_go == LetsGo::InTimer;
        if state::has_news() || self.broker.has_deliveries() {
            if in_timer {
                let (broker, means) = self.parts();
                broker.catch_up(&mut RedisWorld::outside(ctx, means));
            } else {
                self.deliver(ctx);
            }
        }
        if !in_timer {
            self.means.waits.release();
        } else if self.has_to_tell() {
            self.tell_soon(ctx);
        }
    }
}

unsafe extern "C" fn on_timer(ctx: *mut RedisModuleCtx, _: *mut c_void) {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    guard((), || {
        state::enter(|state| {
            state.telling.is_timer_set = false;
            state.tell_in_timer(ctx);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::LetsGo::{self, Anywhere, BeforeSleep, InTimer};

    #[test]
    fn where_clients_are_let_go_is_told_by_the_version() {
        let by_version = [
            (0x7_00_0f, BeforeSleep),
            (0x7_02_00, InTimer),
            (0x7_02_0b, InTimer),
            (0x7_04_00, Anywhere),
            (0x8_00_06, Anywhere),
            (0x9_01_02, Anywhere),
            (0xff_ff_ff, Anywhere),
        ];
        for (version, expected) in by_version {
            assert_eq!(LetsGo::on(version), expected, "{version:x}");
        }
    }
}
