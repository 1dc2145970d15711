//! The turns of the sessions.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use crate::beanstalk::Port;
use crate::broker::Broker;

use super::super::api::{self, Ctx, Ready, RedisModuleCtx, flag};
use super::super::clock::now_ms;
use super::super::guard::guard;
use super::super::state::{self, State};
use super::super::world::{Last, RedisWorld};
use super::flow::READS;
use super::gates::{Gatekeeper, Memory};
use super::{Door, Inside};

/// How often to look whether clients are still paused, in milliseconds: nothing tells.
const POLL_MS: u64 = 10;

impl State {
    /// Runs the sessions that have something to do, each of them a while. Nothing runs while clients are paused.
    pub(in crate::host) fn run_sessions(&mut self, ctx: Ctx, flags: c_int) {
        self.open_port(ctx);
        if let Some(why) = self.means.door.closing.take() {
            self.means.door.close_all(&mut self.broker, why);
        }
        self.means.door.read_on();
        if self.means.door.due.is_empty() {
            return;
        }
        if flags & flag::MASTER != 0 && api::avoid_replica_traffic() {
            return self.means.door.poll(ctx);
        }
        // The timer that looks for that may be far away, if the clock has stepped back: so far that Redis does not sleep
        // until then.
        if let Some(timer) = self.means.door.polling.take() {
            ctx.stop_timer(timer);
        }
        if state::has_news() {
            let (broker, means) = self.parts();
            broker.catch_up(&mut RedisWorld::outside(ctx, means));
        }
        let mut refusal = None;
        if self.means.door.has_new()
            && let Some(inside) = &self.means.door.inside
        {
            refusal = look_at_user(ctx, &inside.memory).err();
        }
        self.means.found.alone(true);
        self.run_due(ctx, flags, refusal);
        self.means.found.alone(false);
        self.means.door.leave_tube();
    }

    /// Runs the sessions that are due. New ones are let in, unless there is a reason to refuse them.
    pub(super) fn run_due(&mut self, ctx: Ctx, flags: c_int, refusal: Option<&str>) {
        let Some(mut inside) = self.means.door.inside.take() else { return self.means.door.due.clear() };
        let Inside { port, memory, last } = &mut *inside;
        let mut at_ms = now_ms();
        let mut closes = 0;
        let mut gates = Gatekeeper::new(ctx, flags, at_ms, self.started_ms, memory);
        for index in 0..self.means.door.due.len() {
            if index > 0 {
                at_ms = now_ms();
            }
            let Some(fd) = self.means.door.due.pop_front() else { break };
            let Some(mut connection) = self.means.door.slot(fd).and_then(Option::take) else { continue };
            connection.due = false;
            if std::mem::take(&mut connection.is_new)
                && let Some(reason) = refusal
            {
                connection.broken = true;
                self.means.door.complain(reason);
            }
            if !connection.broken {
                let (broker, means) = self.parts();
                let mut world = RedisWorld::of_port(ctx, means, std::mem::take(last));
                port.run(&mut connection.session, broker, &mut world, &mut gates, at_ms);
                *last = world.take_last();
            }
            let is_empty = connection.session.output().is_empty();
            let is_over = connection.broken || (connection.session.is_over() && is_empty);
            let has_work = connection.session.has_work();
            let end = connection.end();
            if let Some(slot) = self.means.door.slot(fd) {
                *slot = Some(connection);
            }
            if is_over {
                self.means.door.close(&mut self.broker, port, fd);
                closes += end;
                if closes >= READS {
                    // The others are due in the next turn, too.
                    break;
                }
                continue;
            }
            // What has output goes on when that was sent.
            if !is_empty {
                self.means.door.send_soon(fd);
            } else if has_work {
                self.means.door.run_soon(fd);
            }
            self.means.door.watch_input(fd);
        }
        self.means.door.inside = Some(inside);
    }
}

impl Door {
    /// The turn is over: other commands may run, and begin to watch the tube that was last worked on, and clients that track
    /// keys by prefix are told once of each turn in which one changed.
    pub(super) fn leave_tube(&mut self) {
        self.inside.iter_mut().for_each(|inside| inside.last.leave());
    }

    /// The tube that was last worked on.
    pub(super) fn take_tube(&mut self) -> Last {
        self.inside.as_mut().map(|inside| std::mem::take(&mut inside.last)).unwrap_or_default()
    }

    /// The same tube may be worked on again before any other command runs.
    pub(super) fn keep_tube(&mut self, mut last: Last) {
        self.inside.iter_mut().for_each(|inside| inside.last = std::mem::take(&mut last));
    }

    pub(super) fn has_new(&mut self) -> bool {
        let due = std::mem::take(&mut self.due);
        let has_new = due.iter().any(|fd| self.at(*fd).is_some_and(|connection| connection.is_new));
        self.due = due;
        has_new
    }

    /// Looks again after a while.
    pub(super) fn poll(&mut self, ctx: Ctx) {
        if self.polling.is_none() {
            self.polling = Some(ctx.create_timer(POLL_MS, Some(on_poll)));
        }
    }

    /// Closes a connection. What its client had reserved goes back.
    pub(super) fn close(&mut self, broker: &mut Broker, port: &mut Port, fd: RawFd) {
        let Some(connection) = self.slot(fd).and_then(Option::take) else { return };
        if connection.reading {
            api::forget_fd(fd, Ready::Input);
        }
        if connection.writing {
            api::forget_fd(fd, Ready::Room);
        }
        self.clients.remove(&connection.session.client());
        port.close(connection.session, broker);
        connection.stream.end();
    }

    /// Closes all connections.
    pub(super) fn close_all(&mut self, broker: &mut Broker, why: &str) {
        let Some(mut inside) = self.inside.take() else { return };
        if !self.clients.is_empty() {
            let count = self.clients.len();
            api::log(
                std::ptr::null_mut(),
                c"notice",
                &format!("phean.port closes {count} connections: {why}"),
            );
        }
        let fds: Vec<RawFd> = self.clients.values().copied().collect();
        fds.into_iter().for_each(|fd| self.close(broker, &mut inside.port, fd));
        self.unread.clear();
        self.due.clear();
        self.sending.clear();
        self.woken.clear();
        self.inside = Some(inside);
    }
}

/// Whether the user exists and is on, as Redis asks of clients that authenticate; if not, why nobody is let in.
fn look_at_user(ctx: Ctx, memory: &Memory) -> Result<(), &'static str> {
    let answer = api::get_user(ctx, memory.user());
    let Some(user) = answer.filter(|answer| answer.error().is_none()) else {
        return Err(
            "phean.port refuses a connection: whether phean.user is on cannot be asked by ACL GETUSER",
        );
    };
    let is_on = user.whole().part(1).is_some_and(|flags| flags.parts().any(|flag| flag.text() == "on"));
    if is_on { Ok(()) } else { Err("phean.port refuses a connection: phean.user is off, or missing") }
}

pub(super) unsafe extern "C" fn on_poll(_: *mut RedisModuleCtx, _: *mut c_void) {
    guard((), || {
        state::enter(|state| state.means.door.polling = None);
    });
}
