//! Clients that are kept waiting.
//!
//! The broker knows a waiter by its number; here stands the blocked client behind it. A client is let go only
//! when the server is about to sleep (see `events`): one that was let go earlier could be unblocked a second time
//! by `CLIENT UNBLOCK` before its reply is written. Redis wants every blocked client let go exactly once, also
//! when it has disconnected.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};

use crate::broker::{End, News};
use crate::commands::{Reply, Verb, job_reply};
use crate::queue::{Job, Reservation};

use super::api::{self, BlockedClient, Ctx, OwnedString, RedisModuleCtx, RedisModuleString};
use super::guard::guard;
use super::reply::RedisReply;
use super::state::{self, now_ms};

/// A client that waits.
struct Waiting {
    blocked: *mut BlockedClient,
    user: Option<OwnedString>,
    verb: Verb,
    db: u32,
    /// Whether it asked for an array of jobs.
    many: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Waits {
    waiting: BTreeMap<u64, Waiting>,
    numbers: BTreeMap<usize, u64>,
    /// Those that can be let go, with what their reply callback is to write.
    ended: Vec<(*mut BlockedClient, Option<Box<Ended>>)>,
}

/// What the reply callback writes.
pub(super) struct Ended {
    outcome: Outcome,
    db: u32,
    /// Whether it was written.
    written: bool,
}

enum Outcome {
    TimedOut,
    Denied,
    Redirected(String),
    Jobs { name: Box<[u8]>, jobs: Vec<OwnedJob>, many: bool },
}

/// A job, with a body of its own.
struct OwnedJob {
    job: Job<'static>,
    reservation: Reservation,
    body: Box<[u8]>,
}

impl Waits {
    /// Keeps a client waiting. `join` puts it in line and tells its number.
    pub(super) fn block(
        &mut self,
        ctx: Ctx,
        client: u64,
        verb: Verb,
        db: u32,
        many: bool,
        join: impl FnOnce() -> u64,
    ) {
        let user = ctx.user_of(client);
        let blocked = ctx.block_client(Some(on_reply), Some(on_timeout), on_free, Some(on_disconnect));
        let number = join();
        self.numbers.insert(blocked.addr(), number);
        self.waiting.insert(number, Waiting { blocked, user, verb, db, many });
    }

    /// Whether the waiter's user may still run its command on this tube.
    pub(super) fn may_have(&self, number: u64, name: &[u8]) -> bool {
        let Some(waiting) = self.waiting.get(&number) else { return false };
        let Some(user) = &waiting.user else { return true };
        let command: &[&[u8]] = match waiting.verb {
            Verb::Mreserve => &[b"phean.mreserve", b"1", name],
            _ => &[b"phean.reserve", name],
        };
        api::user_may_run(user, command)
    }

    /// A wait is over.
    pub(super) fn end(&mut self, number: u64, end: End<'_>) {
        let Some(waiting) = self.waiting.remove(&number) else { return };
        self.numbers.remove(&waiting.blocked.addr());
        let outcome = match end {
            End::TimedOut => Outcome::TimedOut,
            End::Denied => Outcome::Denied,
            End::Jobs(name, jobs) => Outcome::Jobs {
                name: name.into(),
                jobs: jobs.iter().filter_map(OwnedJob::new).collect(),
                many: waiting.many,
            },
        };
        let ended = Ended { outcome, db: waiting.db, written: false };
        self.ended.push((waiting.blocked, Some(Box::new(ended))));
    }

    /// A wait ends with this error, because the node serves its tubes no longer.
    pub(super) fn redirect(&mut self, number: u64, error: String) {
        let Some(waiting) = self.waiting.remove(&number) else { return };
        self.numbers.remove(&waiting.blocked.addr());
        let ended = Ended { outcome: Outcome::Redirected(error), db: waiting.db, written: false };
        self.ended.push((waiting.blocked, Some(Box::new(ended))));
        state::tell(News::Left { waiter: number });
    }

    /// A blocked client is gone, or got its reply from Redis.
    fn left(&mut self, blocked: *mut BlockedClient) {
        let Some(number) = self.numbers.remove(&blocked.addr()) else { return };
        self.waiting.remove(&number);
        self.ended.push((blocked, None));
        state::tell(News::Left { waiter: number });
    }

    /// Whether somebody can be let go.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Lets go whoever can be. Called when the server is about to sleep.
    pub(super) fn release(&mut self) {
        for (blocked, ended) in self.ended.drain(..) {
            let data = ended.map_or(std::ptr::null_mut(), Box::into_raw);
            api::unblock(blocked, data.cast::<c_void>());
        }
    }
}

impl OwnedJob {
    fn new(job: &Job<'_>) -> Option<OwnedJob> {
        let reservation = job.reservation?;
        Some(OwnedJob { job: Job { body: &[], ..*job }, reservation, body: job.body.into() })
    }

    fn job(&self) -> Job<'_> {
        Job { body: &self.body, ..self.job }
    }
}

impl Ended {
    fn write(&mut self, reply: &mut RedisReply, command: &str) {
        self.written = true;
        match &self.outcome {
            Outcome::TimedOut => reply.null(),
            Outcome::Denied => reply.error(&format!(
                "NOPERM this user lost the permission to run '{command}' or to access one of its tubes while waiting"
            )),
            Outcome::Redirected(error) => reply.error(error),
            Outcome::Jobs { name, jobs, many } => {
                if *many {
                    reply.array(jobs.len());
                }
                let now_ms = now_ms();
                jobs.iter().for_each(|job| job_reply(reply, name, &job.job(), now_ms));
            }
        }
    }

    /// Jobs that never reached the client go back.
    fn give_back(self) {
        let (false, Outcome::Jobs { name, jobs, .. }) = (self.written, self.outcome) else { return };
        for job in jobs {
            let (id, n) = (job.job.id, job.reservation.n);
            state::tell(News::Undelivered { db: self.db, name: name.clone(), id, n });
        }
    }
}

unsafe extern "C" fn on_reply(
    ctx: *mut RedisModuleCtx,
    argv: *mut *mut RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    guard(api::OK, || {
        let ended = ctx.private_data().cast::<Ended>();
        let command = if argc > 0 {
            // SAFETY: Redis passed so many arguments.
            let name = unsafe { *argv }.cast_const();
            String::from_utf8_lossy(api::bytes_of(&name)).to_ascii_lowercase()
        } else {
            String::new()
        };
        // SAFETY: the data are what `release` handed over; `on_free` frees them after this callback.
        if let Some(ended) = unsafe { ended.as_mut() } {
            ended.write(&mut RedisReply::new(ctx), &command);
        }
        api::OK
    })
}

/// Redis ends the wait: `CLIENT UNBLOCK`.
unsafe extern "C" fn on_timeout(ctx: *mut RedisModuleCtx, _: *mut *mut RedisModuleString, _: c_int) -> c_int {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    guard(api::OK, || {
        RedisReply::new(ctx).null();
        leave(ctx.blocked_client());
        api::OK
    })
}

/// The client is gone, or Redis ends the wait with an error.
unsafe extern "C" fn on_disconnect(_: *mut RedisModuleCtx, blocked: *mut BlockedClient) {
    guard((), || leave(blocked));
}

fn leave(blocked: *mut BlockedClient) {
    let left = state::enter(|state| state.waits.left(blocked));
    debug_assert!(left.is_some(), "no command of ours runs while Redis ends a wait");
}

unsafe extern "C" fn on_free(_: *mut RedisModuleCtx, data: *mut c_void) {
    guard((), || {
        if data.is_null() {
            return;
        }
        // SAFETY: the data are what `release` handed over, and Redis calls this once.
        unsafe { Box::from_raw(data.cast::<Ended>()) }.give_back();
    });
}
