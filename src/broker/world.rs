//! What the broker needs of the world outside: a keyspace, replication, and somebody to tell. Redis is one such
//! world (`host`), a few maps in memory are another (the simulation in `tests`).

use crate::queue::{Counts, Held, Trash, Tube};

/// The key holds something that is no tube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What a key is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look. Nothing about the key changes, not even when it was last used.
    Look,
    /// To change the tube, or to create it.
    Change,
}

/// An open key; dropping it closes it.
pub trait Key {
    /// The tube, if there is one.
    fn tube(&self) -> Option<&Tube>;
    /// The tube, to be changed.
    fn tube_mut(&mut self) -> Option<&mut Tube>;
    /// Puts a tube where none was.
    fn create(&mut self, tube: Tube);
    /// Whether the tube, opened to be changed, goes at a time of its own: it may then have been out of sight when it was
    /// heard of.
    fn expires(&self) -> bool;
    /// Closes the key: there is no tube in it any more.
    fn close(&mut self);
}

/// How a change is made known to replicas and the append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// This event is to be applied there.
    Event(&'a [u8]),
    /// There is nobody to tell now: the world said that it [needs no events](World::needs_events).
    Nobody,
    /// The change came from such an event; it is passed on as it came.
    AsItCame,
}

/// How a wait ends.
#[derive(Debug)]
pub enum End<'a> {
    /// There was no job in time.
    TimedOut,
    /// There is a job, but the waiting user may no longer have it.
    Denied,
    /// These jobs of this tube are reserved for the waiting client.
    Jobs(&'a [u8], &'a [Held<'a>]),
}

/// What happened outside, in the keyspace or among the clients. The broker is told of it by
/// [`Broker::catch_up`](super::Broker::catch_up).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A tube's key is gone from this name: deleted, overwritten, or about to appear under another one.
    Gone {
        /// The database.
        db: u32,
        /// The key's name.
        name: Box<[u8]>,
        /// The jobs that were in it.
        counts: Counts,
    },
    /// Under this name a key appeared without a command of ours: restored, copied, renamed, moved, loaded.
    Here {
        /// The database.
        db: u32,
        /// The key's name.
        name: Box<[u8]>,
    },
    /// A key went from one name to another, and its reservations with it.
    Renamed {
        /// The database and name it had.
        from: (u32, Box<[u8]>),
        /// The database and name it has.
        to: (u32, Box<[u8]>),
    },
    /// A tube that was loaded has held this id.
    Seen {
        /// The id.
        id: u64,
    },
    /// A database was emptied; `None` for all of them.
    Flushed(Option<u32>),
    /// Two databases changed places.
    Swapped(u32, u32),
    /// A client's connection is closed.
    Closed {
        /// The client's id.
        client: u64,
    },
    /// A job that was told to a waiter never reached it.
    Undelivered {
        /// The database.
        db: u32,
        /// The tube's name.
        name: Box<[u8]>,
        /// Who was to be told, as the reservation names it.
        worker: u64,
        /// The job's id.
        id: u64,
        /// The lease's number.
        n: u64,
    },
    /// A waiter is no longer there: it disconnected, or somebody else ended its wait.
    Left {
        /// The waiter's number.
        waiter: u64,
    },
}

/// The world outside.
pub trait World {
    /// An open key.
    type Key: Key;

    /// Opens a key.
    fn open(&mut self, db: u32, name: &[u8], access: Access) -> Result<Self::Key, WrongType>;

    /// Deletes the key of a tube, which is not open.
    fn remove(&mut self, db: u32, name: &[u8]);

    /// Whether an event must be written down for what is about to change.
    fn needs_events(&mut self) -> bool;

    /// Makes a finished change known: to replicas and the append-only file, to those who watch the key, and to
    /// those who listen to its notifications. The key is closed by then.
    fn commit(&mut self, db: u32, name: &[u8], record: Record<'_>, kinds: Kinds);

    /// Opens a tube to be changed that is at hand, without a look that could change anything, if whatever happened
    /// outside has been heard of. `None` says nothing about the tube.
    fn open_at_hand(&mut self, _db: u32, _name: &[u8]) -> Option<Self::Key> {
        None
    }

    /// Makes a finished change known that needs [no events](World::needs_events), if nobody listens to notifications
    /// either; `false`, and nothing, if somebody may. What happens for each job should take this way.
    fn commit_unheard(&mut self, _db: u32, _name: &[u8]) -> bool {
        false
    }

    /// The only names, of the running command's database, under which keys can be found at this moment; `None` if all
    /// can be. In a cluster, newer servers look for keys only among those of the running command's slot.
    fn sight(&self) -> Option<&[&[u8]]> {
        None
    }

    /// Whether something has happened outside that the broker has not heard of.
    fn has_news(&self) -> bool;

    /// What happened since this was last asked, oldest first.
    fn next_news(&mut self) -> Option<News>;

    /// Whether changes may be made at this moment without a command that asked for them.
    fn may_write(&mut self) -> bool;

    /// Whether the user of this waiter may have a job of this tube.
    fn may_have(&mut self, waiter: u64, db: u32, name: &[u8]) -> bool;

    /// Tells a waiter how its wait ended. It is not heard of again.
    fn end_wait(&mut self, waiter: u64, end: End<'_>);

    /// Frees memory at leisure.
    fn discard(&mut self, trash: Trash);
}

/// What kinds of things happened to a tube, as keyspace notifications name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

/// One kind of thing that happens to a tube, in the order in which one command can bring them about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A job was put.
    Put,
    /// A delayed job became ready.
    Promote,
    /// A reservation's time was over.
    Timeout,
    /// A job was kicked.
    Kick,
    /// A job was released, or given back for a worker that vanished.
    Release,
    /// A job's priority changed.
    Prioritize,
    /// A job was delayed by an operator.
    Delay,
    /// A pause began or ended.
    Pause,
    /// A job was reserved.
    Reserve,
    /// A reservation got more time.
    Touch,
    /// A job was buried.
    Bury,
    /// A job was deleted.
    Delete,
    /// Jobs were cleared away.
    Clear,
    /// The tube was taken away.
    Remove,
}

impl Kind {
    const ALL: [Kind; 14] = [
        Kind::Put,
        Kind::Promote,
        Kind::Timeout,
        Kind::Kick,
        Kind::Release,
        Kind::Prioritize,
        Kind::Delay,
        Kind::Pause,
        Kind::Reserve,
        Kind::Touch,
        Kind::Bury,
        Kind::Delete,
        Kind::Clear,
        Kind::Remove,
    ];

    /// The name in notifications, with a NUL at its end as Redis wants it.
    pub fn name(self) -> &'static std::ffi::CStr {
        match self {
            Kind::Put => c"put",
            Kind::Reserve => c"reserve",
            Kind::Delete => c"delete",
            Kind::Release => c"release",
            Kind::Bury => c"bury",
            Kind::Kick => c"kick",
            Kind::Touch => c"touch",
            Kind::Promote => c"promote",
            Kind::Timeout => c"timeout",
            Kind::Pause => c"pause",
            Kind::Clear => c"clear",
            Kind::Prioritize => c"prioritize",
            Kind::Delay => c"delay",
            Kind::Remove => c"del",
        }
    }
}

impl Kinds {
    /// One kind.
    pub fn of(kind: Kind) -> Kinds {
        Kinds(1 << kind as u16)
    }

    /// These kinds and those.
    #[must_use]
    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// The kinds, in their order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let kind = Kind::ALL.get(left.trailing_zeros() as usize).copied()?;
            left &= left - 1;
            Some(kind)
        })
    }
}
