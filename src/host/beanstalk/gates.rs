//! What Redis checks before it runs a client's command, checked for the commands of the port.
//!
//! Answers hold for one batch: everything that the sessions do between two sleeps of the server. Those about rights hold
//! for as long as Redis runs no other command, since it takes one to change them.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::api::{self, Answer, Ctx, Filter, OnTube, OwnedString, RedisModuleCommandFilterCtx, flag};
use crate::beanstalk::{Facts, Gates, Refusal, Trouble};
use crate::commands::quoted;

use super::facts;

/// So many answers about rights, and about slots, are kept.
const RIGHTS: usize = 32;

/// At most one line of the log tells of refusals in so many milliseconds.
const COMPLAINT_MS: u64 = 5_000;

/// What is kept between batches.
pub(super) struct Memory {
    /// The port's database.
    db: u32,
    user: OwnedString,
    /// Any key, for questions that are about none.
    no_key: OwnedString,
    /// The commands that were asked about, as strings of Redis.
    commands: Vec<(&'static str, OnTube)>,
    rights: Vec<Right>,
    /// How many of them hold.
    rights_used: usize,
    /// Whether Redis ran commands before this batch. Others, which it had told of then, may run after it untold: from 7.2
    /// on those that a pause had held up. So what is asked now holds for this batch alone.
    is_passing: bool,
    /// What tells that Redis runs commands.
    filter: Option<Filter>,
    /// The tubes that are asked about in this batch, in a cluster.
    slots: Vec<(Box<[u8]>, bool)>,
    /// Whether Redis has let writes through, and nothing has happened since that could change that.
    is_open: bool,
    /// When the log was last told of something (Unix ms).
    complained_ms: u64,
    left_out: u64,
    facts: facts::Known,
}

struct Right {
    command: &'static str,
    tube: Vec<u8>,
    granted: bool,
}

impl Memory {
    pub(super) fn new(user: &str, db: u32) -> Memory {
        Memory {
            db,
            user: OwnedString::new(user.as_bytes()),
            no_key: OwnedString::new(b"phean.port"),
            commands: Vec::new(),
            rights: Vec::new(),
            rights_used: 0,
            is_passing: false,
            filter: None,
            slots: Vec::new(),
            is_open: false,
            complained_ms: 0,
            left_out: 0,
            facts: facts::Known::look(),
        }
    }

    pub(super) fn set_user(&mut self, user: &str) {
        self.user = OwnedString::new(user.as_bytes());
        self.rights_used = 0;
    }

    pub(super) fn user(&self) -> &OwnedString {
        &self.user
    }

    /// Whether the port's user may run this command on this tube.
    fn may_use(&mut self, command: &'static str, tube: &[u8]) -> bool {
        let known = self.rights.iter().take(self.rights_used);
        // Mostly one constant stands for both.
        let is_same = |name: &'static str| std::ptr::eq(name, command) || name == command;
        let mut known = known.filter(|right| is_same(right.command) && *right.tube == *tube);
        if let Some(right) = known.next() {
            return right.granted;
        }
        let at = self.commands.iter().position(|(name, _)| *name == command).unwrap_or_else(|| {
            self.commands.push((command, OnTube::new(command)));
            self.commands.len() - 1
        });
        let granted = self
            .commands
            .get(at)
            .is_some_and(|(_, command)| api::user_may_use(&self.user, self.db, command, tube));
        if self.rights_used == RIGHTS {
            self.rights_used = 0;
        }
        match self.rights.get_mut(self.rights_used) {
            Some(right) => {
                (right.command, right.granted) = (command, granted);
                right.tube.clear();
                right.tube.extend_from_slice(tube);
            }
            None => self.rights.push(Right { command, tube: tube.into(), granted }),
        }
        self.rights_used += 1;
        granted
    }

    /// Whether it is known that Redis lets writes through, so that it need not be asked.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether Redis tells that it runs commands.
    pub(super) fn is_listening(&self) -> bool {
        self.filter.is_some()
    }

    /// Something has happened that could make Redis refuse writes, or commands may have run that it did not tell of.
    pub(super) fn doubt(&mut self) {
        self.is_open = false;
        HAS_RUN.store(true, Ordering::Relaxed);
    }

    /// What may have changed since the last batch is to be asked again.
    fn forget(&mut self) {
        if std::mem::take(&mut self.is_passing) {
            self.rights_used = 0;
        }
        self.forget_rights();
        self.slots.clear();
    }

    fn forget_rights(&mut self) {
        if self.filter.is_none() || HAS_RUN.load(Ordering::Relaxed) {
            HAS_RUN.store(false, Ordering::Relaxed);
            self.is_passing = true;
            self.rights_used = 0;
        }
    }

    /// Whether the port's user may still have a job of this tube.
    pub(super) fn may_have(&mut self, tube: &[u8]) -> bool {
        self.forget_rights();
        if self.is_passing {
            self.rights_used = 0;
        }
        self.may_use("PHEAN.RESERVE", tube)
    }

    /// Has Redis tell that it runs commands.
    pub(super) fn listen(&mut self, ctx: Ctx) {
        self.filter = Filter::add(ctx, Some(on_command));
    }

    /// The end: Redis need not tell any longer.
    pub(super) fn end(self, ctx: Ctx) {
        self.filter.into_iter().for_each(|filter| filter.remove(ctx));
    }

    /// Tells the log, but not too often.
    fn complain(&mut self, ctx: Ctx, now_ms: u64, text: &str) {
        // The clock may step back.
        if now_ms.abs_diff(self.complained_ms) < COMPLAINT_MS {
            self.left_out += 1;
            return;
        }
        let others = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            count => format!(" ({count} more like this since the last time)"),
        };
        self.complained_ms = now_ms;
        ctx.log(c"warning", &format!("a client of phean.port was refused: {text}{others}"));
    }
}

/// The gates, for the time of one batch.
pub(super) struct Gatekeeper<'a> {
    ctx: Ctx,
    flags: c_int,
    now_ms: u64,
    started_ms: u64,
    memory: &'a mut Memory,
    /// Whether something may be written, once that was asked.
    write: Option<bool>,
    /// Whether stale data may be shown, once that was asked.
    look: Option<bool>,
}

impl<'a> Gatekeeper<'a> {
    pub(super) fn new(
        ctx: Ctx,
        flags: c_int,
        now_ms: u64,
        started_ms: u64,
        memory: &'a mut Memory,
    ) -> Gatekeeper<'a> {
        memory.forget();
        Gatekeeper { ctx, flags, now_ms, started_ms, memory, write: None, look: None }
    }

    fn ask_to_write(&mut self) -> bool {
        if self.flags & flag::MASTER == 0 {
            self.memory.complain(self.ctx, self.now_ms, "this server is a replica, which takes no writes");
            return false;
        }
        // With an append-only file, each write of it may show that the disk fails. All else is told of by an event:
        // settings, replicas that come and go, and what the server finds out in its cron.
        let is_told = self.flags & flag::AOF == 0;
        if is_told && self.memory.is_open {
            return true;
        }
        let is_open = self.ask_redis();
        self.memory.is_open = is_open && is_told;
        is_open
    }

    fn ask_redis(&mut self) -> bool {
        match asking(|| api::try_apply(self.ctx, &self.memory.no_key)) {
            Some(reason) if locality_by(&reason) == Locality::Here => {
                self.memory.complain(self.ctx, self.now_ms, &reason);
                false
            }
            _ => true,
        }
    }
}

impl Gates for Gatekeeper<'_> {
    fn may_write(&mut self, grows: bool) -> Result<(), Refusal> {
        if grows && self.flags & flag::OOM != 0 {
            return Err(Refusal::OutOfMemory);
        }
        let may = match self.write {
            Some(may) => may,
            None => self.ask_to_write(),
        };
        self.write = Some(may);
        if may { Ok(()) } else { Err(Refusal::NotNow) }
    }

    fn may_look(&mut self) -> bool {
        if self.flags & flag::STALE == 0 {
            return true;
        }
        let ctx = self.ctx;
        let may = *self.look.get_or_insert_with(|| {
            let serves = ctx.setting(c"replica-serve-stale-data");
            serves.is_none_or(|value| value != "no")
        });
        if !may {
            let text =
                "this server is a replica that has lost its primary, and replica-serve-stale-data is no";
            self.memory.complain(ctx, self.now_ms, text);
        }
        may
    }

    fn may_use(&mut self, command: &'static str, tube: &[u8]) -> bool {
        self.memory.may_use(command, tube)
    }

    fn may_run(&mut self, command: &'static str) -> bool {
        api::user_may_run(&self.memory.user, self.memory.db, &[command.as_bytes()])
    }

    fn is_local(&mut self, tube: &[u8]) -> bool {
        if self.flags & flag::CLUSTER == 0 {
            return true;
        }
        if let Some((_, local)) = self.memory.slots.iter().find(|(name, _)| **name == *tube) {
            return *local;
        }
        let local = locality(self.ctx, &OwnedString::new(tube)) == Locality::Here;
        if self.memory.slots.len() < RIGHTS {
            self.memory.slots.push((tube.into(), local));
        }
        local
    }

    fn trouble(&mut self, tube: &[u8], trouble: Trouble) {
        let tube = quoted(tube);
        let text = match trouble {
            Trouble::WrongType => format!("the key '{tube}' holds something that is no tube"),
            Trouble::NotAllowed => {
                let user = self.memory.user.as_ptr().cast_const();
                format!(
                    "the user '{}' (phean.user) has no right to do this to tube '{tube}'",
                    quoted(api::bytes_of(&user))
                )
            }
            Trouble::NotLocal => {
                format!("the slot of tube '{tube}' is served by another node of the cluster")
            }
            Trouble::NoIdsLeft => "all job ids are used up".into(),
        };
        self.memory.complain(self.ctx, self.now_ms, &text);
    }

    fn facts(&mut self) -> Facts {
        self.memory.facts.now(self.now_ms.saturating_sub(self.started_ms) / 1000)
    }
}

/// Whether Redis has run a command since this was last asked. Other modules may run one in a thread of their own, while
/// they hold the lock of Redis.
static HAS_RUN: AtomicBool = AtomicBool::new(true);

/// Whether Redis has run no command since the last [`all_is_quiet`], so that none can be running.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn on_command(_: *mut RedisModuleCommandFilterCtx) {
    HAS_RUN.store(true, Ordering::Relaxed);
    IS_QUIET.store(false, Ordering::Relaxed);
}

/// No command is running.
pub(super) fn all_is_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Whether Redis has run no command since then.
pub(super) fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

thread_local! {
    /// Whether PHEAN.APPLY is only asked whether it could run.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the running PHEAN.APPLY is only asked whether it could run, and has nothing to do.
pub(in crate::host) fn is_asking() -> bool {
    ASKING.get()
}

/// Asks Redis whether a write would be let through now; if not, why. PHEAN.APPLY is the command to ask for, because
/// it is no client's: it shows up in `INFO commandstats`.
fn asking(ask: impl FnOnce() -> Option<Answer>) -> Option<String> {
    ASKING.set(true);
    let answer = ask();
    ASKING.set(false);
    answer.map_or_else(|| Some("Redis does not say why".into()), |answer| answer.error())
}

/// Whether Redis would let writes through now, for all that it asks but memory.
pub(in crate::host) fn lets_write(ctx: Ctx) -> bool {
    let no_key = OwnedString::new(b"phean");
    asking(|| api::try_apply(ctx, &no_key)).is_none_or(|reason| locality_by(&reason) != Locality::Here)
}

/// Whether this node of a cluster serves a tube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::host) enum Locality {
    /// It does.
    Here,
    /// The tube's slot is served elsewhere, or is on its way.
    Elsewhere,
    /// No node serves anything now.
    ClusterDown,
}

/// Asks Redis whether this node serves a tube.
pub(in crate::host) fn locality(ctx: Ctx, tube: &OwnedString) -> Locality {
    asking(|| api::try_slot(ctx, tube)).map_or(Locality::Here, |reason| locality_by(&reason))
}

/// Whether Redis refused because of the cluster's slots. It has no code for that.
fn locality_by(reason: &str) -> Locality {
    match reason {
        _ if reason.contains("non local key") => Locality::Elsewhere,
        _ if reason.contains("the cluster is down") => Locality::ClusterDown,
        _ => Locality::Here,
    }
}
