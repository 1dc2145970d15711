//! Redis as the broker's world.

use std::hint::cold_path;
use std::ptr::NonNull;

use crate::broker::{Access, End, Key, Kind, Kinds, News, Record, World, WrongType};
use crate::queue::{Trash, Tube};

use super::api::{self, Ctx, OwnedString, RawKey, RedisModuleString, flag, notify};
use super::beanstalk::{Door, lets_write};
use super::found::Found;
use super::listeners::Listeners;
use super::trash;
use super::waits::Waits;
use super::{datatype, state};

/// The arguments of a command that is running: names among them need no string of their own.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) strings: &'a [*mut RedisModuleString],
    pub(super) bytes: &'a [&'a [u8]],
}

/// A name as a string of Redis, and what is known of its key.
#[derive(Default)]
pub(super) struct Last {
    name: Option<OwnedString>,
    /// The database in which those who watch the key of that name have been told of a change.
    signalled: Option<u32>,
}

impl Last {
    /// Other commands may run now, and begin to watch the key.
    pub(super) fn leave(&mut self) {
        self.signalled = None;
    }

    /// The name as a string of Redis.
    fn name(&mut self, name: &[u8]) -> *mut RedisModuleString {
        if self.name.as_ref().is_none_or(|last| !last.is(name)) {
            *self = Last { name: Some(OwnedString::new(name)), signalled: None };
        }
        self.name.as_ref().map_or(std::ptr::null_mut(), OwnedString::as_ptr)
    }

    /// The name, and whether those who watch the key have been told of a change: before another command runs nobody
    /// begins to watch it, so that once is enough.
    #[inline(never)]
    fn signal(&mut self, db: u32, name: &[u8]) -> (*mut RedisModuleString, bool) {
        let name = self.name(name);
        (name, self.signalled.replace(db) == Some(db))
    }
}

/// What a world is made of, besides the context.
pub(super) struct Means {
    pub(super) waits: Waits,
    pub(super) door: Door,
    pub(super) listeners: Listeners,
    pub(super) found: Found,
}

/// A name is looked for among so many arguments. To look through all of them for each of very many tubes takes longer than
/// to make strings of the others.
const NAMED: usize = 16;

/// Redis, for the time of one callback.
pub(super) struct RedisWorld<'a> {
    ctx: Ctx,
    means: &'a mut Means,
    arguments: Arguments<'a>,
    /// The last name that was no argument: the next one is mostly the same.
    last: Last,
    /// Whether nothing but the commands of the port runs.
    is_port: bool,
    /// Whether this is a command's world, so that a change can be counted without an event.
    is_command: bool,
    first_db: u32,
    selected_db: u32,
    /// The only keys that can be found.
    sight: Option<&'a [&'a [u8]]>,
}

impl<'a> RedisWorld<'a> {
    /// The world of a command in the database `db`.
    #[inline(always)]
    pub(super) fn in_command(
        ctx: Ctx,
        db: u32,
        means: &'a mut Means,
        arguments: Arguments<'a>,
    ) -> RedisWorld<'a> {
        RedisWorld {
            ctx,
            means,
            arguments,
            last: Last::default(),
            is_port: false,
            is_command: true,
            first_db: db,
            selected_db: db,
            sight: None,
        }
    }

    /// A command of a cluster that names these keys is running: Redis 8 and Valkey look for any key in its slot,
    /// whatever slot the key is in.
    pub(super) fn see_only(&mut self, keys: &'a [&'a [u8]]) {
        self.sight = Some(keys);
    }

    /// The world of commands that came to the beanstalk port, with what the last such world keeps. They can be counted
    /// without an event like any others: `replicate_verbatim` passes nothing on where nobody listens.
    pub(super) fn of_port(ctx: Ctx, means: &'a mut Means, last: Last) -> RedisWorld<'a> {
        let arguments = Arguments { strings: &[], bytes: &[] };
        let mut world = RedisWorld::in_command(ctx, ctx.selected_db(), means, arguments);
        (world.last, world.is_port) = (last, true);
        world
    }

    /// What it keeps for the next.
    pub(super) fn take_last(&mut self) -> Last {
        std::mem::take(&mut self.last)
    }

    /// The world of a timer or an event.
    pub(super) fn outside(ctx: Ctx, means: &'a mut Means) -> RedisWorld<'a> {
        let arguments = Arguments { strings: &[], bytes: &[] };
        let mut world = RedisWorld::in_command(ctx, ctx.selected_db(), means, arguments);
        world.is_command = false;
        world
    }

    #[inline]
    fn select(&mut self, db: u32) -> bool {
        self.selected_db == db || self.select_other(db)
    }

    #[cold]
    fn select_other(&mut self, db: u32) -> bool {
        let selected = self.ctx.select_db(db);
        if selected {
            self.selected_db = db;
        }
        selected
    }

    /// Looks a tube up, and notes where it is.
    #[inline(never)]
    fn look_up(&mut self, db: u32, name: &[u8], access: Access) -> Result<RedisKey, WrongType> {
        let nothing = RedisKey { raw: None, tube: None, expires: false };
        if !self.select(db) {
            return Ok(nothing);
        }
        let ctx = self.ctx;
        let raw = self.with_name(name, |name| match access {
            Access::Look => ctx.open_to_look(name),
            Access::Change => ctx.open_to_change(name),
        });
        let Some(raw) = raw else { return Ok(nothing) };
        match raw.value(state::data_type()) {
            Some(value) => {
                let tube = value.cast::<Tube>();
                let expires = access == Access::Change && raw.expires();
                if access == Access::Change && !expires {
                    self.means.found.note(db, name, tube);
                }
                Ok(RedisKey { raw: Some(raw), tube: Some(tube), expires })
            }
            None if raw.is_empty() => Ok(RedisKey { raw: Some(raw), tube: None, expires: false }),
            None => Err(WrongType),
        }
    }

    /// The name as a string of Redis: the argument itself, where it is one.
    fn with_name<T>(&mut self, name: &[u8], work: impl FnOnce(*mut RedisModuleString) -> T) -> T {
        // Most commands name their tube first.
        match (self.arguments.bytes, self.arguments.strings) {
            ([_, first, ..], [_, string, ..]) if std::ptr::eq(*first, name) => work(*string),
            (bytes, strings) => {
                // The first stands for the name of the command, whatever an empty name of a tube looks like.
                let mut named = bytes.iter().zip(strings).take(NAMED).skip(1);
                match named.find(|(bytes, _)| std::ptr::eq(**bytes, name)) {
                    Some((_, string)) => work(*string),
                    None => work(self.last.name(name)),
                }
            }
        }
    }
}

impl Drop for RedisWorld<'_> {
    fn drop(&mut self) {
        if self.selected_db != self.first_db {
            self.ctx.select_db(self.first_db);
        }
    }
}

impl World for RedisWorld<'_> {
    type Key = RedisKey;

    #[inline(always)]
    fn open(&mut self, db: u32, name: &[u8], access: Access) -> Result<RedisKey, WrongType> {
        match self.means.found.find(db, name) {
            tube @ Some(_) if self.select(db) => Ok(RedisKey { raw: None, tube, expires: false }),
            _ => {
                cold_path();
                self.look_up(db, name, access)
            }
        }
    }

    fn remove(&mut self, db: u32, name: &[u8]) {
        if self.select(db) {
            let ctx = self.ctx;
            self.with_name(name, |name| ctx.open_to_change(name)).iter().for_each(RawKey::delete);
        }
    }

    fn needs_events(&mut self) -> bool {
        // Only in a command can a change be counted without an event (see `commit`).
        !self.is_command || self.means.listeners.may_be_there()
    }

    fn commit(&mut self, db: u32, name: &[u8], record: Record<'_>, kinds: Kinds) {
        if !self.select(db) {
            return;
        }
        let ctx = self.ctx;
        let kinds = if self.means.listeners.may_hear_of_keys() { kinds } else { Kinds::default() };
        let make_known = |name: *mut RedisModuleString, is_signalled: bool| {
            match record {
                Record::Event(event) => ctx.replicate_apply(name, event),
                // Nobody gets to see it, but the change counts for the RDB file's save points.
                Record::Nobody | Record::AsItCame => ctx.replicate_verbatim(),
            }
            if !is_signalled {
                ctx.signal_modified(name);
            }
            for kind in kinds.iter() {
                let class = if kind == Kind::Remove { notify::GENERIC } else { notify::MODULE };
                ctx.notify(class, kind.name(), name);
            }
        };
        if self.is_port {
            let (name, is_signalled) = self.last.signal(db, name);
            make_known(name, is_signalled);
        } else {
            self.with_name(name, |name| make_known(name, false));
        }
    }

    #[inline(always)]
    fn open_at_hand(&mut self, db: u32, name: &[u8]) -> Option<RedisKey> {
        let may_be_known = self.selected_db == db && !state::has_news();
        let tube = if may_be_known { self.means.found.find(db, name) } else { None };
        tube.map(|tube| RedisKey { raw: None, tube: Some(tube), expires: false })
    }

    #[inline(always)]
    fn commit_unheard(&mut self, db: u32, name: &[u8]) -> bool {
        if self.means.listeners.may_hear_of_keys() || self.selected_db != db {
            return false;
        }
        match (self.arguments.bytes, self.arguments.strings) {
            // Most commands name their tube first.
            ([_, first, ..], [_, string, ..]) if std::ptr::eq(*first, name) => {
                // As in `commit`.
                self.ctx.replicate_verbatim();
                self.ctx.signal_modified(*string);
                true
            }
            _ => false,
        }
    }

    fn sight(&self) -> Option<&[&[u8]]> {
        self.sight
    }

    fn has_news(&self) -> bool {
        state::has_news()
    }

    fn next_news(&mut self) -> Option<News> {
        state::next_news()
    }

    fn may_write(&mut self) -> bool {
        self.ctx.has(flag::MASTER)
            && !api::avoid_replica_traffic()
            && (!self.means.listeners.may_refuse() || lets_write(self.ctx))
    }

    fn may_have(&mut self, waiter: u64, _db: u32, name: &[u8]) -> bool {
        match self.means.door.waiting(waiter) {
            Some(_) => self.means.door.may_have(name),
            None => self.means.waits.may_have(self.ctx, waiter, name),
        }
    }

    fn end_wait(&mut self, waiter: u64, end: End<'_>) {
        match self.means.door.waiting(waiter) {
            Some(fd) => self.means.door.end_wait(fd, end),
            None => self.means.waits.end(waiter, end),
        }
    }

    fn discard(&mut self, trash: Trash) {
        trash::free(trash);
    }
}

/// A key, and the tube in it.
pub(super) struct RedisKey {
    /// The key itself, unless it is known without a look where the tube is.
    raw: Option<RawKey>,
    tube: Option<NonNull<Tube>>,
    /// Whether it was opened to be changed, and has a time to live. Where such a tube was found is not noted.
    expires: bool,
}

impl Key for RedisKey {
    fn tube(&self) -> Option<&Tube> {
        // SAFETY: the key holds this tube. Redis frees it only when the key is deleted, which it tells, and nothing that
        // could delete it is called while the tube is in use.
        self.tube.map(|tube| unsafe { tube.as_ref() })
    }

    fn tube_mut(&mut self) -> Option<&mut Tube> {
        // SAFETY: as above; and a tube is changed only through a key opened for that, one at a time.
        self.tube.map(|mut tube| unsafe { tube.as_mut() })
    }

    fn create(&mut self, tube: Tube) {
        let Some(raw) = &self.raw else { return };
        let value = datatype::into_value(tube);
        if raw.set_value(state::data_type(), value.as_ptr().cast()) {
            self.tube = Some(value);
        } else {
            datatype::free_value(value);
        }
    }

    #[inline]
    fn expires(&self) -> bool {
        self.expires
    }

    fn close(&mut self) {
        self.tube = None;
        self.raw = None;
    }
}
