//! From a command of Redis to `commands` and back, with as little in between as can be.

use std::ffi::c_int;
use std::hint::cold_path;
use std::mem::MaybeUninit;

use crate::broker::Wait;
use crate::commands::{self, Args, COMMANDS, Call, Client, Command, CommandError, Done, Keys, Reply, Verb};

use super::api::{self, CmdFunc, Ctx, RedisModuleCtx, RedisModuleString, flag};
use super::beanstalk;
use super::clock::recent_ms;
use super::events;
use super::guard::guard;
use super::register::key_flags;
use super::reply::RedisReply;
use super::state::{self, State};
use super::waits::WaitsFor;
use super::world::{Arguments, RedisWorld};

/// Commands of so many arguments and fewer need no memory for them.
const FEW: usize = 8;

/// The function that Redis calls for each command.
pub(super) static TRAMPOLINES: [CmdFunc; 22] = [
    Some(command::<0>),
    Some(command::<1>),
    Some(command::<2>),
    Some(command::<3>),
    Some(command::<4>),
    Some(command::<5>),
    Some(command::<6>),
    Some(command::<7>),
    Some(command::<8>),
    Some(command::<9>),
    Some(command::<10>),
    Some(command::<11>),
    Some(command::<12>),
    Some(command::<13>),
    Some(command::<14>),
    Some(command::<15>),
    Some(command::<16>),
    Some(command::<17>),
    Some(command::<18>),
    Some(command::<19>),
    Some(command::<20>),
    Some(command::<21>),
];

const _: () = assert!(TRAMPOLINES.len() == COMMANDS.len());

unsafe extern "C" fn command<const INDEX: usize>(
    ctx: *mut RedisModuleCtx,
    argv: *mut *mut RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: Redis passed the context to this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    // SAFETY: Redis passed so many arguments, which live as long as the callback.
    let strings = unsafe { std::slice::from_raw_parts(argv, usize::try_from(argc).unwrap_or(0)) };
    let command = &COMMANDS[INDEX];
    let failed = guard(true, || {
        if command.keys == Keys::Counted && api::is_asked_for_keys(ctx) {
            tell_keys(ctx, command, strings);
        } else {
            with_bytes(strings, |bytes| run::<INDEX>(ctx, Arguments { strings, bytes }));
        }
        false
    });
    if failed {
        ctx.reply_error(c"ERR internal error in phean, see the server's log");
    }
    api::OK
}

/// Shows the arguments as bytes, but for the command's name, which is known.
#[inline(always)]
fn with_bytes(strings: &[*mut RedisModuleString], work: impl FnOnce(&[&[u8]])) {
    fn bytes(string: &*mut RedisModuleString) -> &[u8] {
        // SAFETY: a pointer to a mutable pointer is read as one to a constant pointer.
        api::bytes_of(unsafe { &*std::ptr::from_ref(string).cast::<*const RedisModuleString>() })
    }
    let mut few = [const { MaybeUninit::<&[u8]>::uninit() }; FEW];
    let many: Vec<&[u8]>;
    let all = match (few.get_mut(..strings.len()), strings) {
        (Some(few), [_, rest @ ..]) => {
            few[0].write(&[]);
            for (n, string) in rest.iter().enumerate().take(FEW - 1) {
                few[n + 1].write(bytes(string));
            }
            // SAFETY: there are as many of them as there are strings, so that each was just written.
            unsafe { std::slice::from_raw_parts(few.as_ptr().cast::<&[u8]>(), few.len()) }
        }
        _ => {
            cold_path();
            many = strings.iter().map(bytes).collect();
            &many
        }
    };
    work(all);
}

/// Runs a command. There is one of these for each, so that its way down to the tube lies in one piece.
#[inline(always)]
fn run<const INDEX: usize>(ctx: Ctx, arguments: Arguments<'_>) {
    let command = &COMMANDS[INDEX];
    let mut reply = RedisReply::new(ctx);
    if !takes(command, arguments.bytes.len()) {
        cold_path();
        return refuse(ctx, command, arguments, &CommandError::Arity);
    }
    if command.verb == Verb::Apply && is_answered(ctx, &mut reply) {
        return;
    }
    let asked = Asked { ctx, command, arguments, db: ctx.selected_db() };
    match state::enter(|state| state.run::<INDEX>(&asked, &mut reply)) {
        Some(Ok(())) => {}
        Some(Err(error)) => refuse(ctx, command, arguments, &error),
        None => busy(&mut reply),
    }
}

#[cold]
fn busy(reply: &mut RedisReply) {
    reply.error("ERR phean is busy: it cannot be called from within its own notifications");
}

/// Answers a command that failed.
#[cold]
fn refuse(ctx: Ctx, command: &Command, arguments: Arguments<'_>, error: &CommandError) {
    RedisReply::new(ctx).error(&error.text(command.name));
    if command.verb == Verb::Apply && *error != CommandError::Arity {
        let key = arguments.bytes.get(1).copied().unwrap_or_default();
        let text = format!("an event for tube '{}' was refused: {error:?}", commands::quoted(key));
        ctx.log(c"warning", &text);
    }
}

/// Answers an event that was only asked about, or that must not come from here; `false` if it is to be applied.
#[inline(never)]
fn is_answered(ctx: Ctx, reply: &mut RedisReply) -> bool {
    if beanstalk::is_asking() {
        reply.integer(0);
    } else if !may_apply(ctx) {
        reply.error("NOPERM PHEAN.APPLY is for primaries and the append-only file; others need REPLICAOF");
    } else {
        return false;
    }
    true
}

fn takes(command: &Command, count: usize) -> bool {
    let least = command.least_words();
    if command.arity < 0 { count >= least } else { count == least }
}

/// Whether an event may come from here: from our primary, from the append-only file, or from somebody who could
/// make this server follow another one anyway.
fn may_apply(ctx: Ctx) -> bool {
    ctx.has(flag::REPLICATED | flag::LOADING)
        || ctx
            .user_of(ctx.client_id())
            .is_some_and(|user| api::user_may_run(&user, ctx.selected_db(), &[b"REPLICAOF", b"NO", b"ONE"]))
}

/// A command that a client sent.
struct Asked<'a> {
    ctx: Ctx,
    command: &'static Command,
    arguments: Arguments<'a>,
    /// The client's database. It is asked for before anything is heard of: looking at keys elsewhere selects theirs.
    db: u32,
}

// Most commands ask for nothing of this: the context's flags take a fortieth of a put to be told.
impl Client for Asked<'_> {
    fn id(&self) -> u64 {
        self.ctx.client_id()
    }

    fn may_wait(&self) -> bool {
        let forbids = flag::LUA | flag::MULTI | flag::DENY_BLOCKING | flag::REPLICATED | flag::LOADING;
        !self.ctx.has(forbids)
    }

    fn in_script(&self) -> bool {
        self.ctx.has(flag::LUA)
    }
}

impl State {
    #[inline(always)]
    fn run<const INDEX: usize>(
        &mut self,
        asked: &Asked<'_>,
        reply: &mut RedisReply,
    ) -> Result<(), CommandError> {
        let done = self.answer::<INDEX>(asked, reply);
        let done = done.map(|done| {
            if let Done::Waits(wait) = done {
                cold_path();
                self.keep_waiting(asked, wait);
            }
        });
        if self.broker.has_deliveries() {
            cold_path();
            let Asked { ctx, arguments, db, .. } = *asked;
            self.tell_after_command(ctx, db, arguments, || asked.may_wait());
        }
        self.settle(asked.ctx);
        done
    }

    #[inline(never)]
    fn keep_waiting(&mut self, asked: &Asked<'_>, wait: Wait) {
        let Asked { ctx, command, db, .. } = *asked;
        let waits_for = WaitsFor { verb: command.verb, db, many: wait.count.is_some(), flags: ctx.flags() };
        if self.telling.is_before_sleep() {
            // A job may come for it at any time.
            events::hear_turns();
            self.waited_lately = true;
        }
        let broker = &mut self.broker;
        self.means.waits.block(ctx, asked.id(), waits_for, || broker.wait(wait));
    }

    #[inline(always)]
    fn answer<const INDEX: usize>(
        &mut self,
        asked: &Asked<'_>,
        reply: &mut RedisReply,
    ) -> Result<Done, CommandError> {
        let Asked { ctx, command, arguments, db, .. } = *asked;
        let now_ms = recent_ms();
        let in_cluster = self.means.found.in_cluster();
        let started_ms = self.started_ms;
        let (broker, means) = self.parts();
        let mut world = RedisWorld::in_command(ctx, db, means, arguments);
        if in_cluster {
            cold_path();
            see_only_keys(ctx, command, arguments, &mut world);
        }
        broker.catch_up(&mut world);
        let args = Args::new(arguments.bytes.get(1..).unwrap_or_default());
        commands::run_nth::<INDEX, _, _>(&mut Call {
            broker,
            world: &mut world,
            reply,
            args,
            db,
            now_ms,
            started_ms,
            client: asked,
        })
    }

    /// After anything happened: the timer stands right, and whoever is to be told something is told.
    #[inline(always)]
    pub(super) fn settle(&mut self, ctx: Ctx) {
        if self.broker.take_sooner() {
            cold_path();
            self.arm(ctx);
        }
        // Where we are deaf to its turns, whoever leaves the state sees to that.
        if self.timer.about_to_sleep && self.has_to_tell() && !events::is_deaf() {
            cold_path();
            api::turn_event_loop();
        }
    }
}

/// In a cluster, a command sees no other keys than its own.
#[inline(never)]
fn see_only_keys<'a>(ctx: Ctx, command: &Command, arguments: Arguments<'a>, world: &mut RedisWorld<'a>) {
    if ctx.has(flag::LOADING) {
        return;
    }
    // What stands behind several keys does no harm among them.
    let keys = match command.keys {
        Keys::None => None,
        Keys::First => arguments.bytes.get(1..2),
        Keys::Counted => arguments.bytes.get(2..),
    };
    if let Some(keys) = keys {
        world.see_only(keys);
    }
}

/// Says where the keys of a command with `numtubes` are.
fn tell_keys(ctx: Ctx, command: &Command, strings: &[*mut RedisModuleString]) {
    with_bytes(strings, |bytes| {
        let count = bytes.get(1).and_then(|count| std::str::from_utf8(count).ok()?.parse::<usize>().ok());
        let Some(count) = count.filter(|count| *count <= bytes.len().saturating_sub(2)) else { return };
        let flags = key_flags(command.key_use);
        (2..2 + count).for_each(|position| api::key_at(ctx, position, flags as c_int));
    });
}
