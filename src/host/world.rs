//! Redis as the broker's world.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::broker::{Access, End, Key, Kind, Kinds, News, Record, World, WrongType};
use crate::queue::{Trash, Tube};

use super::api::{self, Ctx, OwnedString, RawKey, RedisModuleString, flag, notify};
use super::beanstalk::{Door, lets_write};
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

/// A name as a string of Redis, and the tube that was found there.
#[derive(Default)]
pub(super) struct Last {
    name: Option<Rc<OwnedString>>,
    found: Option<Found>,
}

/// Where a tube was found to be changed. It stays there while no news comes: a key that goes is told of at once,
/// whoever takes it away.
struct Found {
    db: u32,
    told: u64,
    tube: NonNull<Tube>,
    /// Whether those who watch the key have been told.
    signalled: bool,
    /// Whether its life may end by itself, which only a look at the key brings about.
    expires: bool,
}

impl Last {
    /// Other commands may run now: a tube must be looked up again.
    pub(super) fn leave(&mut self) {
        self.found = None;
    }

    /// Time may pass now, but no other command runs.
    pub(super) fn pause(&mut self) {
        self.found = self.found.take().filter(|found| !found.expires);
    }

    /// The name as a string of Redis.
    fn name(&mut self, name: &[u8]) -> &Rc<OwnedString> {
        if self.name.as_ref().is_none_or(|last| !last.is(name)) {
            self.name = None;
            self.found = None;
        }
        self.name.get_or_insert_with(|| Rc::new(OwnedString::new(name)))
    }

    /// The tube, if it was found there and nothing has happened since.
    fn found(&mut self, db: u32, name: &[u8]) -> Option<(&Rc<OwnedString>, &mut Found)> {
        let found = self.found.as_mut().filter(|found| found.db == db && found.told == state::told())?;
        let last = self.name.as_ref().filter(|last| last.is(name))?;
        Some((last, found))
    }

    /// Its name, and whether those who watch the key have been told of a change: before another command runs nobody
    /// begins to watch it, so that once is enough.
    #[inline(never)]
    fn signal_again(&mut self, db: u32, name: &[u8]) -> Option<(*mut RedisModuleString, bool)> {
        let (name, found) = self.found(db, name)?;
        let is_signalled = std::mem::replace(&mut found.signalled, true);
        Some((name.as_ptr(), is_signalled))
    }
}

/// Redis, for the time of one callback.
pub(super) struct RedisWorld<'a> {
    ctx: Ctx,
    waits: &'a mut Waits,
    door: &'a mut Door,
    listeners: &'a Listeners,
    arguments: Arguments<'a>,
    /// The last name that was no argument: the next one is mostly the same.
    last: Last,
    /// Whether nothing but the commands of the port runs, so that the tube of that name need not be looked up again.
    remembers: bool,
    /// Whether a client's command is running, and with which flags of its context.
    command: Option<c_int>,
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
        flags: c_int,
        db: u32,
        waits: &'a mut Waits,
        door: &'a mut Door,
        listeners: &'a Listeners,
        arguments: Arguments<'a>,
    ) -> RedisWorld<'a> {
        RedisWorld {
            ctx,
            waits,
            door,
            listeners,
            arguments,
            last: Last::default(),
            remembers: false,
            command: Some(flags),
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

    /// The world of commands that came to the beanstalk port, with what the last such world remembers of the same
    /// turn. They can be counted without an event like any others: `replicate_verbatim` passes nothing on where nobody
    /// listens.
    pub(super) fn of_port(
        ctx: Ctx,
        flags: c_int,
        waits: &'a mut Waits,
        door: &'a mut Door,
        listeners: &'a Listeners,
        last: Last,
    ) -> RedisWorld<'a> {
        let db = ctx.selected_db();
        let arguments = Arguments { strings: &[], bytes: &[] };
        let mut world = RedisWorld::in_command(ctx, flags, db, waits, door, listeners, arguments);
        (world.last, world.remembers) = (last, true);
        world
    }

    /// What it remembers.
    pub(super) fn take_last(&mut self) -> Last {
        std::mem::take(&mut self.last)
    }

    /// The world of a timer or an event.
    pub(super) fn outside(
        ctx: Ctx,
        waits: &'a mut Waits,
        door: &'a mut Door,
        listeners: &'a Listeners,
    ) -> RedisWorld<'a> {
        let db = ctx.selected_db();
        let arguments = Arguments { strings: &[], bytes: &[] };
        let mut world = RedisWorld::in_command(ctx, 0, db, waits, door, listeners, arguments);
        world.command = None;
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

    /// The tube that was found there before, if no other command can have run since.
    #[inline(never)]
    fn open_again(&mut self, db: u32, name: &[u8]) -> Option<RedisKey> {
        let (name, found) = self.last.found(db, name)?;
        Some(RedisKey { raw: Raw::Remembered(self.ctx, Rc::clone(name)), tube: Some(found.tube) })
    }

    /// The name as a string of Redis: the argument itself, where it is one.
    fn with_name<T>(&mut self, name: &[u8], work: impl FnOnce(*mut RedisModuleString) -> T) -> T {
        // Most commands name their tube first.
        match (self.arguments.bytes, self.arguments.strings) {
            ([_, first, ..], [_, string, ..]) if std::ptr::eq(*first, name) => work(*string),
            (bytes, strings) => {
                match bytes.iter().zip(strings).find(|(bytes, _)| std::ptr::eq(**bytes, name)) {
                    Some((_, string)) => work(*string),
                    None => work(self.last.name(name).as_ptr()),
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

    fn open(&mut self, db: u32, name: &[u8], access: Access) -> Result<RedisKey, WrongType> {
        if !self.select(db) {
            return Ok(RedisKey { raw: Raw::None, tube: None });
        }
        if self.remembers
            && let Some(key) = self.open_again(db, name)
        {
            return Ok(key);
        }
        let ctx = self.ctx;
        let raw = self.with_name(name, |name| match access {
            Access::Look => ctx.open_to_look(name),
            Access::Change => ctx.open_to_change(name),
        });
        let Some(raw) = raw else { return Ok(RedisKey { raw: Raw::None, tube: None }) };
        match raw.value(state::data_type()) {
            Some(value) => {
                let tube = value.cast::<Tube>();
                if self.remembers && access == Access::Change {
                    let (told, expires) = (state::told(), raw.expires());
                    self.last.found = Some(Found { db, told, tube, signalled: false, expires });
                }
                Ok(RedisKey { raw: Raw::Open(raw), tube: Some(tube) })
            }
            None if raw.is_empty() => Ok(RedisKey { raw: Raw::Open(raw), tube: None }),
            None => Err(WrongType),
        }
    }

    fn needs_events(&mut self) -> bool {
        // Only a command of its own can be counted without an event (see `commit`): what stands in a transaction
        // or script is propagated later, when a listener may have come.
        self.command.is_none_or(|flags| flags & (flag::MULTI | flag::LUA | flag::AOF) != 0)
            || self.listeners.may_be_there()
    }

    fn commit(&mut self, db: u32, name: &[u8], record: Record<'_>, kinds: Kinds) {
        if !self.select(db) {
            return;
        }
        let ctx = self.ctx;
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
        let again = if self.remembers { self.last.signal_again(db, name) } else { None };
        match again {
            Some((name, is_signalled)) => make_known(name, is_signalled),
            None => self.with_name(name, |name| make_known(name, false)),
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
            && (!self.listeners.may_be_needed() || lets_write(self.ctx))
    }

    fn may_have(&mut self, waiter: u64, _db: u32, name: &[u8]) -> bool {
        match self.door.waiting(waiter) {
            Some(_) => self.door.may_have(name),
            None => self.waits.may_have(waiter, name),
        }
    }

    fn end_wait(&mut self, waiter: u64, end: End<'_>) {
        match self.door.waiting(waiter) {
            Some(fd) => self.door.end_wait(fd, end),
            None => self.waits.end(waiter, end),
        }
    }

    fn discard(&mut self, trash: Trash) {
        trash::free(trash);
    }
}

/// An open key, and the tube in it.
pub(super) struct RedisKey {
    raw: Raw,
    tube: Option<NonNull<Tube>>,
}

/// The key itself.
enum Raw {
    /// There is none.
    None,
    Open(RawKey),
    /// It was open before in the same turn of the port, under this name.
    Remembered(Ctx, Rc<OwnedString>),
}

impl Key for RedisKey {
    fn tube(&self) -> Option<&Tube> {
        // SAFETY: the key is open and holds this tube; Redis frees it only when the key is deleted, and nothing
        // that could delete it is called while a key is open, but `remove`, which forgets the pointer.
        self.tube.map(|tube| unsafe { tube.as_ref() })
    }

    fn tube_mut(&mut self) -> Option<&mut Tube> {
        // SAFETY: as above; and a tube is changed only through a key opened for that, one at a time.
        self.tube.map(|mut tube| unsafe { tube.as_mut() })
    }

    fn create(&mut self, tube: Tube) {
        let Raw::Open(raw) = &self.raw else { return };
        let value = datatype::into_value(tube);
        if raw.set_value(state::data_type(), value.as_ptr().cast()) {
            self.tube = Some(value);
        } else {
            datatype::free_value(value);
        }
    }

    fn remove(&mut self) {
        self.tube = None;
        match &self.raw {
            Raw::None => {}
            Raw::Open(raw) => raw.delete(),
            Raw::Remembered(ctx, name) => {
                ctx.open_to_change(name.as_ptr()).iter().for_each(RawKey::delete);
            }
        }
    }

    fn close(&mut self) {
        self.tube = None;
        self.raw = Raw::None;
    }
}
