//! A session's turn as soon as it has input.
//!
//! Where clients wait for each answer, most turns of the event loop bring one command. Then more than half of the
//! work would be Redis telling us that it wakes and is about to sleep. So such a command runs in the callback of its
//! file descriptor, and Redis [need not tell](State::ignore_turns).
//!
//! Such a callback has no context in which anything could be replicated, and may be called in the middle of another
//! module's command. So this is done only where nobody is to hear of changes (no append-only file, no replica, no
//! cluster), where Redis need not be asked anything, and where Redis has run no command since its cron last found all
//! this to be so. Whatever could change it takes a command, or is told of by an event.

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::super::api::{self, Ctx, flag};
use super::super::clock::now_ms;
use super::super::events;
use super::super::state::{self, State};
use super::super::world::RedisWorld;
use super::{Door, gates};
use crate::broker::Role;

/// If more sessions than this have input in one turn of the event loop, they share what a turn costs.
const FEW: usize = 2;

/// After so many turns of single sessions comes one that all share, to see how many there are.
const IN_A_ROW: u32 = 64;

/// Whether a session may run alone.
#[derive(Default)]
pub(super) struct Calm {
    /// The flags of a context, if they and all else that was looked at allow it.
    flags: Option<c_int>,
    /// Whether few sessions had input in the last turn that they shared.
    few: bool,
    /// How many sessions ran alone since then.
    in_a_row: u32,
}

impl Door {
    /// Counts those who are about to share a turn.
    pub(in crate::host) fn count_due(&mut self) {
        if !self.due.is_empty() {
            self.calm.few = self.due.len() <= FEW;
        }
        self.calm.in_a_row = 0;
    }

    /// Whether this connection's session is the only thing to be done, and Redis need not be asked anything.
    fn is_alone(&mut self, fd: RawFd) -> bool {
        let is_open = self.inside.as_ref().is_some_and(|inside| inside.memory.is_open());
        is_open
            && self.due.len() == 1
            && self.unread.is_empty()
            && !self.has_answers()
            && self.closing.is_none()
            && !self.opening
            && self.polling.is_none()
            && self.at(fd).is_some_and(|connection| connection.due && !connection.is_new)
    }
}

impl State {
    /// Looks whether sessions may run alone until a command of Redis runs. Called some ten times a second, by the cron
    /// of Redis, in whose middle no command can be.
    pub(in crate::host) fn look_whether_calm(&mut self, ctx: Ctx) {
        const MATTERS: c_int = flag::MASTER
            | flag::AOF
            | flag::CLUSTER
            | flag::LOADING
            | flag::ASYNC_LOADING
            | flag::LUA
            | flag::MULTI;
        self.means.door.calm.flags = None;
        if !self.means.door.is_listening() {
            return;
        }
        let flags = ctx.flags();
        let is_calm = flags & MATTERS == flag::MASTER
            && !self.means.listeners.may_refuse()
            && !api::avoid_replica_traffic();
        if is_calm {
            events::make_own_context(ctx);
            self.means.door.calm.flags = Some(flags);
            gates::all_is_quiet();
        }
    }

    /// Runs the session of a connection that has input, and sends its answer, if that may be done now. `false` if
    /// something is left to be done before the event loop sleeps.
    pub(super) fn run_alone(&mut self, fd: RawFd) -> bool {
        let Some(mut flags) =
            self.means.door.calm.flags.filter(|_| self.means.door.calm.few && gates::is_quiet())
        else {
            return false;
        };
        let Some(ctx) = events::own_context() else { return false };
        if self.means.door.calm.in_a_row >= IN_A_ROW
            || self.means.listeners.may_be_there()
            || self.broker.role() != Role::Primary
            || state::has_news()
            || !self.means.door.is_alone(fd)
        {
            return false;
        }
        self.means.door.calm.in_a_row += 1;
        self.means.door.counters.runs_alone += 1;
        if flags & flag::MAXMEMORY != 0 {
            // Memory may have become full, or free.
            flags = ctx.flags();
        }
        // The event loop is awake.
        self.timer.about_to_sleep = false;
        self.means.door.reads = 0;
        self.run_due(ctx, flags, None);
        let mut last = self.means.door.take_tube();
        if self.broker.has_deliveries() {
            let (broker, means) = self.parts();
            // Outside of a command, changes would be replicated in any case.
            let mut world = RedisWorld::of_port(ctx, means, last);
            broker.deliver(&mut world, now_ms());
            last = world.take_last();
            drop(world);
            self.let_go_at_once();
        }
        self.means.door.keep_tube(last);
        self.means.door.leave_tube();
        self.means.door.send_all();
        self.settle(ctx);
        let is_done = !self.has_work();
        if is_done {
            self.ignore_turns();
        }
        is_done
    }
}
