//! FLOOR 3. PHEAN.*: arguments are bytes, replies go into a [`Reply`], everything in between is the
//! [broker](crate::broker)'s.
//!
//! | file | subject |
//! |---|---|
//! | `table` | every command: its name, arity, flags, keys and documentation |
//! | `producer`, `worker`, `operator`, `inspect` | the commands, by family |
//! | `args`, `number` | reading arguments |
//! | `glob` | patterns of names |
//! | `reply` | where replies go |
//! | `error` | errors, in their exact words |

#![forbid(unsafe_code)]

mod args;
mod error;
mod glob;
mod inspect;
mod number;
mod operator;
mod producer;
mod reply;
pub mod table;
mod worker;

use std::collections::BTreeSet;

pub use args::Args;
pub use error::{CommandError, quoted, seconds_text};
pub use number::{leading_digits, seconds as parse_seconds};
pub use reply::{Lease, Reply, Text};
pub use table::{COMMANDS, Command, Keys, Verb};

use crate::broker::{Broker, Key, Step, Wait, World};
use crate::queue::{Change, Handle, Held, Tube};
use args::{Handles, Keyword, Options};

/// Who sent a command. Most commands ask nothing of it.
pub trait Client {
    /// The connection's id; 0 for none.
    fn id(&self) -> u64;
    /// Whether it can be kept waiting for its reply.
    fn may_wait(&self) -> bool;
    /// Whether the command runs in a script or function.
    fn in_script(&self) -> bool;
}

/// One command that is running.
pub struct Call<'a, W, R> {
    /// The broker.
    pub broker: &'a mut Broker,
    /// The world that the broker works on.
    pub world: &'a mut W,
    /// Where the reply goes.
    pub reply: &'a mut R,
    /// The arguments, the command's name not among them.
    pub args: Args<'a>,
    /// The database that the client has selected.
    pub db: u32,
    /// The time (Unix ms).
    pub now_ms: u64,
    /// When the server started (Unix ms).
    pub started_ms: u64,
    /// Who sent it.
    pub client: &'a dyn Client,
}

/// What has become of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The reply is written.
    Replied,
    /// The client is to be kept waiting for this: hand it to [`Broker::wait`].
    Waits(Wait),
}

/// Runs the command that is the `INDEX`th of the [table](COMMANDS), as [`run`] does. The way of those that are run for
/// each job is laid out in one piece with what calls this: a jump that is not made costs nothing, and a processor's first
/// cache holds little beside Redis' own code.
#[inline(always)]
pub fn run_nth<const INDEX: usize, W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
) -> Result<Done, CommandError> {
    const PUT: u8 = Verb::Put as u8;
    const RESERVE: u8 = Verb::Reserve as u8;
    const DELETE: u8 = Verb::Delete as u8;
    // A number that is known when this is compiled, so that only one of these is.
    match const { COMMANDS[INDEX].verb as u8 } {
        PUT => producer::put(call),
        RESERVE => worker::reserve(call),
        DELETE => worker::delete(call),
        _ => run(COMMANDS[INDEX].verb, call),
    }
}

/// Runs a command. On an error nothing was written and nothing was changed.
pub fn run<W: World, R: Reply>(verb: Verb, call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    match verb {
        Verb::Put => producer::put(call),
        Verb::Mput => producer::mput(call),
        Verb::Reserve => worker::reserve(call),
        Verb::Mreserve => worker::mreserve(call),
        Verb::ReserveJob => worker::reservejob(call),
        Verb::Delete => worker::delete(call),
        Verb::Release => worker::release(call),
        Verb::Bury => worker::bury(call),
        Verb::Touch => worker::touch(call),
        Verb::Kick => operator::kick(call),
        Verb::KickJob => operator::kickjob(call),
        Verb::Prioritize => operator::prioritize(call),
        Verb::Delay => operator::delay(call),
        Verb::Pause => operator::pause(call),
        Verb::Clear => operator::clear(call),
        Verb::Peek => inspect::peek(call),
        Verb::Job => inspect::job(call),
        Verb::Claimed => inspect::claimed(call),
        Verb::Scan => inspect::scan(call),
        Verb::Stats => inspect::stats(call),
        Verb::Tubes => inspect::tubes(call),
        Verb::Apply => apply(call),
    }
}

/// `PHEAN.APPLY tube event`. Who may send it is for the host to check.
fn apply<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let event = call.args.take()?;
    call.args.finish()?;
    call.broker.apply(call.world, call.db, name, event, call.now_ms)?;
    call.reply.ok();
    Ok(Done::Replied)
}

/// Does the same to each of one or more jobs, and replies with how many it was done to.
#[inline(always)]
fn each<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    keywords: &[Keyword],
    decide: impl Fn(&Options<'_>, &Tube, Handle, u64) -> Option<Change<'static>>,
) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let handles = call.args.handles(!keywords.is_empty())?;
    let options = if call.args.is_empty() { Options::default() } else { call.args.options(keywords)? };
    let now_ms = call.now_ms;
    let plain = match handles.only() {
        Some(handle) => call.broker.open_plain(call.world, call.db, name, now_ms).map(|key| (handle, key)),
        None => None,
    };
    let count = match plain {
        Some((handle, key)) => {
            let change = key.tube().and_then(|tube| decide(&options, tube, handle, now_ms));
            if let Some(change) = &change {
                call.broker.make_plain(call.world, key, (call.db, name), now_ms, change);
            }
            u64::from(change.is_some())
        }
        None => {
            let decide = |tube: &Tube, handle| decide(&options, tube, handle, now_ms);
            make_each(call.broker, call.world, (call.db, name), now_ms, &handles, decide)?
        }
    };
    call.reply.integer(count);
    Ok(Done::Replied)
}

/// Makes the change that is decided for each of these jobs, if there is one. Returns how many there were.
#[inline(never)]
fn make_each<W: World>(
    broker: &mut Broker,
    world: &mut W,
    (db, name): (u32, &[u8]),
    now_ms: u64,
    handles: &Handles,
    decide: impl Fn(&Tube, Handle) -> Option<Change<'static>>,
) -> Result<u64, CommandError> {
    Ok(Step::run(broker, world, db, name, now_ms, |step| {
        step.end_overdue_of(handles.iter().map(|handle| handle.id));
        let mut count = 0;
        // A job may be named twice, and counts once. Mostly ids ascend, so that none comes twice.
        let ascend = handles.iter().is_sorted_by(|handle, next| handle.id < next.id);
        let mut changed = BTreeSet::new();
        for handle in handles.iter() {
            let change =
                step.tube().filter(|_| !changed.contains(&handle.id)).and_then(|tube| decide(tube, handle));
            if let Some(change) = change {
                step.make(&change);
                count += 1;
                changed.extend((!ascend).then_some(handle.id));
            }
        }
        count
    })?)
}

/// `[tube, lease, body, attempt, ttr]`, for a job that was just reserved.
pub fn job_reply<R: Reply>(reply: &mut R, name: &[u8], job: &Held<'_>, now_ms: u64) {
    reply.array(5);
    reply.bytes(name);
    reply.lease(job.id, job.n);
    reply.bytes(job.body);
    reply.integer(u64::from(job.attempt));
    reply.seconds(job.deadline_ms.saturating_sub(now_ms));
}
