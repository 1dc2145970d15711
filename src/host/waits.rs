//! Clients that are kept waiting.
//!
//! The broker knows a waiter by its number; here stands the blocked client behind it. When it is let go is a matter of
//! the server's version (see [`tell`](super::tell)). Redis wants every blocked client let go exactly once, also when it
//! has disconnected.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use crate::broker::{End, News, Numbered, Pairs};
use crate::commands::{Reply, Verb, job_reply};
use crate::queue::Held;

use super::api::{self, BlockedClient, Ctx, OnTube, OwnedString, RedisModuleCtx, RedisModuleString};
use super::clock::now_ms;
use super::guard::guard;
use super::reply::RedisReply;
use super::state;

/// The memory that is kept for the next hand-over: so many jobs, and so many bytes of their bodies, at most.
const KEPT: (usize, usize) = (64, 65_536);

/// A client that waits.
struct Waiting {
    blocked: *mut BlockedClient,
    client: u64,
    user: Option<OwnedString>,
    asked: WaitsFor,
}

/// What a client that waits asked for, and how it is to be told.
#[derive(Clone, Copy)]
pub(super) struct WaitsFor {
    pub(super) verb: Verb,
    pub(super) db: u32,
    /// Whether it asked for an array of jobs.
    pub(super) many: bool,
    /// The flags of its command's context.
    pub(super) flags: c_int,
}

/// All of them.
#[derive(Default)]
pub(super) struct Waits {
    waiting: Numbered<Waiting>,
    /// The blocked clients' addresses, and their numbers.
    numbers: Pairs,
    /// Those that can be let go, with what their reply callback is to write.
    ended: Vec<(*mut BlockedClient, Option<Box<Ended>>)>,
    /// What was handed to Redis and is not freed yet: newer servers write the replies in their next turn, and until then a
    /// tube may get another name.
    on_their_way: VecDeque<NonNull<Ended>>,
    /// One that was written, to be used again with the memory it has.
    spare: Option<Box<Ended>>,
    /// The user of the last one that was told, freed when the next one comes: no job is on its way then.
    told: Option<OwnedString>,
    /// The command PHEAN.RESERVE, once it was needed.
    reserve: Option<OnTube>,
}

/// What the reply callback writes.
struct Ended {
    outcome: Outcome,
    asked: WaitsFor,
    /// Whether it was written.
    written: bool,
    /// The tube's name by now, if it has another one: the reply tells of it as it was handed over.
    moved_to: Option<Box<[u8]>>,
    /// The tube, its jobs, and their bodies one after another.
    name: Vec<u8>,
    jobs: Vec<Reserved>,
    bodies: Vec<u8>,
}

enum Outcome {
    TimedOut,
    Denied,
    Redirected(String),
    Jobs,
}

/// A reserved job, whose body stands elsewhere.
struct Reserved {
    job: Held<'static>,
    body_len: usize,
}

impl Waits {
    /// Keeps a client waiting. `join` puts it in line and tells its number.
    pub(super) fn block(&mut self, ctx: Ctx, client: u64, asked: WaitsFor, join: impl FnOnce() -> u64) {
        self.told = None;
        let user = ctx.user_of(client);
        let blocked = ctx.block_client(Some(on_reply), Some(on_timeout), on_free, Some(on_disconnect));
        let number = join();
        self.numbers.insert(blocked.addr() as u64, number);
        self.waiting.insert(number, Waiting { blocked, client, user, asked });
    }

    /// Whether the waiter's user may still run its command on this tube.
    pub(super) fn may_have(&mut self, ctx: Ctx, number: u64, name: &[u8]) -> bool {
        let Some(waiting) = self.waiting.get(number) else { return false };
        let Some(user) = &waiting.user else { return true };
        if !user.is(b"default") && !acts_as(ctx, waiting.client, user) {
            return false;
        }
        if waiting.asked.verb == Verb::Mreserve {
            return api::user_may_run(user, waiting.asked.db, &[b"phean.mreserve", b"1", name]);
        }
        let reserve = self.reserve.get_or_insert_with(|| OnTube::new("phean.reserve"));
        api::user_may_use(user, waiting.asked.db, reserve, name)
    }

    /// A wait is over.
    pub(super) fn end(&mut self, number: u64, end: End<'_>) {
        match end {
            End::TimedOut => self.end_with(number, Outcome::TimedOut, &[], &[]),
            End::Denied => self.end_with(number, Outcome::Denied, &[], &[]),
            End::Jobs(name, jobs) => self.end_with(number, Outcome::Jobs, name, jobs),
        };
    }

    /// A wait ends with this error, because the node serves its tubes no longer.
    pub(super) fn redirect(&mut self, number: u64, error: String) {
        if self.end_with(number, Outcome::Redirected(error), &[], &[]) {
            state::tell(News::Left { waiter: number });
        }
    }

    /// Has a client let go; `false` if it does not wait.
    fn end_with(&mut self, number: u64, outcome: Outcome, name: &[u8], jobs: &[Held<'_>]) -> bool {
        let Some(Waiting { blocked, user, asked, .. }) = self.waiting.remove(number) else { return false };
        self.told = user;
        self.numbers.remove(blocked.addr() as u64, number);
        let ended = match self.spare.take() {
            Some(mut spare) => {
                (spare.outcome, spare.asked, spare.written) = (outcome, asked, false);
                spare.moved_to = None;
                spare
            }
            None => {
                let (name, jobs, bodies) = (Vec::new(), Vec::new(), Vec::new());
                Box::new(Ended { outcome, asked, written: false, moved_to: None, name, jobs, bodies })
            }
        };
        self.ended.push((blocked, Some(ended.with(name, jobs))));
        true
    }

    /// A blocked client is gone, or got its reply from Redis.
    fn left(&mut self, blocked: *mut BlockedClient) {
        let address = blocked.addr() as u64;
        let Some(number) = self.numbers.get(address) else { return };
        self.numbers.remove(address, number);
        self.waiting.remove(number);
        self.ended.push((blocked, None));
        state::tell(News::Left { waiter: number });
    }

    /// Whether somebody can be let go.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Lets go whoever can be. Not wherever this would do: see [`tell`](super::tell).
    pub(super) fn release(&mut self) {
        for (blocked, ended) in self.ended.drain(..) {
            let data = ended.map_or(std::ptr::null_mut(), Box::into_raw);
            self.on_their_way.extend(NonNull::new(data));
            api::unblock(blocked, data.cast::<c_void>());
        }
    }

    /// Something is freed now. Mostly it is the first that was handed over.
    fn arrived(&mut self, data: NonNull<Ended>) {
        if let Some(at) = self.on_their_way.iter().position(|it| *it == data) {
            self.on_their_way.remove(at);
        }
    }

    /// Tubes are elsewhere now, as `place_of` tells by database and name: what goes back goes there.
    pub(super) fn moved(&mut self, place_of: impl Fn(u32, &[u8]) -> Option<(u32, Box<[u8]>)>) {
        for data in &mut self.on_their_way {
            // SAFETY: it is not freed yet, and nobody else looks at it meanwhile: the callbacks that do run by themselves.
            let ended = unsafe { data.as_mut() };
            if let Some((db, name)) = place_of(ended.asked.db, ended.name()) {
                ended.asked.db = db;
                ended.moved_to = Some(name);
            }
        }
    }
}

/// Whether a client still acts as this user. When a user is deleted, or loaded anew, Redis makes its clients the default
/// user's, and closes them a little later; whatever they are told until then, they do not read.
fn acts_as(ctx: Ctx, client: u64, user: &OwnedString) -> bool {
    let user = user.as_ptr().cast_const();
    ctx.user_of(client).is_some_and(|now| now.is(api::bytes_of(&user)))
}

impl Ended {
    /// Copies what is to be written.
    fn with(mut self: Box<Ended>, name: &[u8], jobs: &[Held<'_>]) -> Box<Ended> {
        self.name.clear();
        self.name.extend_from_slice(name);
        self.jobs.clear();
        self.bodies.clear();
        for job in jobs {
            self.jobs.push(Reserved { job: Held { body: &[], ..*job }, body_len: job.body.len() });
            self.bodies.extend_from_slice(job.body);
        }
        self
    }

    fn write(&mut self, reply: &mut RedisReply, command: impl FnOnce() -> String) {
        self.written = true;
        match &self.outcome {
            Outcome::TimedOut => reply.null(),
            Outcome::Denied => reply.error(&format!(
                "NOPERM this user lost the permission to run '{}' or to access one of its tubes while waiting",
                command()
            )),
            Outcome::Redirected(error) => reply.error(error),
            Outcome::Jobs => {
                if self.asked.many {
                    reply.array(self.jobs.len());
                }
                let now_ms = now_ms();
                let mut bodies = &*self.bodies;
                for Reserved { job, body_len } in &self.jobs {
                    let (body, rest) = bodies.split_at_checked(*body_len).unwrap_or_default();
                    job_reply(reply, &self.name, &Held { body, ..*job }, now_ms);
                    bodies = rest;
                }
            }
        }
    }

    /// The tube's name by now.
    fn name(&self) -> &[u8] {
        self.moved_to.as_deref().unwrap_or(&self.name)
    }

    /// Jobs that never reached the client go back.
    fn give_back(&self) {
        if self.written || !matches!(self.outcome, Outcome::Jobs) {
            return;
        }
        for Reserved { job, .. } in &self.jobs {
            let (db, name) = (self.asked.db, self.name().into());
            state::tell(News::Undelivered { db, name, worker: job.worker, id: job.id, n: job.n });
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
        let command = || {
            if argc == 0 {
                return String::new();
            }
            // SAFETY: Redis passed so many arguments.
            let name = unsafe { *argv }.cast_const();
            String::from_utf8_lossy(api::bytes_of(&name)).to_ascii_lowercase()
        };
        // SAFETY: the data are what `release` handed over; `on_free` frees them after this callback.
        if let Some(ended) = unsafe { ended.as_mut() } {
            // A client that waits cannot ask for another protocol.
            ended.write(&mut RedisReply::with_flags(ctx, ended.asked.flags), command);
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
    let left = state::enter(|state| state.means.waits.left(blocked));
    debug_assert!(left.is_some(), "no command of ours runs while Redis ends a wait");
}

unsafe extern "C" fn on_free(_: *mut RedisModuleCtx, data: *mut c_void) {
    guard((), || {
        let Some(place) = NonNull::new(data.cast::<Ended>()) else { return };
        let is_arrived = state::enter_deaf(|state| state.means.waits.arrived(place)).is_some();
        // SAFETY: the data are what `release` handed over, and Redis calls this once.
        let ended = unsafe { Box::from_raw(place.as_ptr()) };
        ended.give_back();
        if !is_arrived {
            debug_assert!(false, "no command of ours runs while Redis frees what it was handed");
            return std::mem::forget(ended);
        }
        if ended.jobs.capacity() <= KEPT.0 && ended.bodies.capacity() <= KEPT.1 {
            state::enter_deaf(|state| state.means.waits.spare = Some(ended));
        }
    });
}
