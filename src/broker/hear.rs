//! Following what happens outside: keys that come and go without a command of ours, databases that are emptied
//! or change places, clients that vanish, and events that a primary or the append-only file sends.

use std::fmt;

use crate::codec::{self, Corrupt};
use crate::queue::{Invalid, State, Tube};

use super::names::AT_ONCE;
use super::port;
use super::{Access, Broker, GiveBack, Key, Name, News, Role, Step, World, WrongType};

/// So many bound reservations are looked at at once.
const LOOKS: usize = 8_192;

/// So much garbage is freed at once: within a millisecond.
const FREED: usize = 2_000;

/// Why an event from outside was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key holds something else.
    WrongType,
    /// The event makes no sense, or not for this tube.
    Corrupt(Corrupt),
}

/// Where a database is once two of them have changed places.
pub fn swapped(db: u32, a: u32, b: u32) -> u32 {
    match db {
        _ if db == a => b,
        _ if db == b => a,
        _ => db,
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::WrongType => write!(f, "the key holds another type"),
            Refused::Corrupt(corrupt) => corrupt.fmt(f),
        }
    }
}

impl From<WrongType> for Refused {
    fn from(_: WrongType) -> Refused {
        Refused::WrongType
    }
}

impl From<Corrupt> for Refused {
    fn from(corrupt: Corrupt) -> Refused {
        Refused::Corrupt(corrupt)
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Refused {
        Refused::Corrupt(invalid.into())
    }
}

impl Broker {
    /// Applies an event that came from outside. It is checked first, and refused whole if anything is wrong.
    ///
    /// On a primary, somebody replays a stream: what follows from the change, follows.
    pub fn apply<W: World>(
        &mut self,
        world: &mut W,
        db: u32,
        name: &[u8],
        event: &[u8],
        now_ms: u64,
    ) -> Result<(), Refused> {
        let applied = codec::read_event(event)
            .map_err(Refused::from)
            .and_then(|event| Step::replay(self, world, db, name, now_ms, &event));
        if applied.is_err() {
            self.apply_errors += 1;
        } else if self.role == Role::Primary {
            self.look_after(world, db, name, now_ms);
        }
        applied
    }

    /// Hears everything that has happened. Keys that appeared are looked at last, where they are by then: what is
    /// in them now is all that counts, and one that went again meanwhile must not be counted in its stead. Those that
    /// are out of [sight](World::sight) are looked at when they are not.
    #[inline]
    pub fn catch_up<W: World>(&mut self, world: &mut W) {
        // Every command asks, and mostly there is none.
        if world.has_news() || !self.unseen.is_empty() {
            self.hear_all(world);
        }
    }

    #[cold]
    fn hear_all<W: World>(&mut self, world: &mut W) {
        let mut here: Vec<(u32, Box<[u8]>)> = Vec::new();
        if world.sight().is_none() {
            here.extend(std::mem::take(&mut self.unseen));
        }
        loop {
            while let Some(news) = world.next_news() {
                match news {
                    News::Here { db, name } => here.push((db, name)),
                    News::Swapped(a, b) => {
                        here.iter_mut().for_each(|(db, _)| *db = swapped(*db, a, b));
                        let unseen = std::mem::take(&mut self.unseen).into_iter();
                        self.unseen = unseen.map(|(db, name)| (swapped(db, a, b), name)).collect();
                        self.hear(world, news);
                    }
                    news => self.hear(world, news),
                }
            }
            let next = match world.sight() {
                None => here.pop(),
                Some(names) => {
                    self.unseen.extend(here.drain(..));
                    self.next_of(names)
                }
            };
            // To look at a key may end its life, which is news again.
            let Some((db, name)) = next else { return };
            self.find(world, db, &name);
        }
    }

    /// A key that appeared out of sight, and has one of these names. Costs O(log n) for each name and database.
    fn next_of(&mut self, names: &[&[u8]]) -> Option<(u32, Box<[u8]>)> {
        let mut from = 0;
        while let Some((db, _)) = self.unseen.range((from, Box::default())..).next() {
            let db = *db;
            let mut places = names.iter().map(|name| (db, Box::from(*name)));
            if let Some(place) = places.find_map(|place| self.unseen.take(&place)) {
                return Some(place);
            }
            from = db.checked_add(1)?;
        }
        None
    }

    /// Takes note of what happened outside. Changes nothing there: what follows, follows at the next tick.
    fn hear<W: World>(&mut self, world: &mut W, news: News) {
        match news {
            News::Gone { db, name, counts } => {
                if self.names.remove(db, &name) {
                    self.names.jobs_of(db).minus(&counts);
                }
                self.sessions.doubt(counts.of(State::Reserved));
                if let Some(port) = self.port_of(db) {
                    port.gone(&name);
                }
            }
            News::Here { db, name } => self.find(world, db, &name),
            News::Renamed { from, to } => {
                let from = (self.names.uid(from.0), &Name::from(from.1));
                let to = (self.names.uid(to.0), &Name::from(to.1));
                self.sessions.rename(from, to);
                self.line.rename(from, to);
                self.give_backs.rename(from, to);
            }
            News::Flushed(db) => {
                for db in db.map_or_else(|| self.names.dbs(), |db| vec![db]) {
                    self.names.flush(db, &mut self.garbage);
                    self.flush_port(db);
                    let uid = self.names.uid(db);
                    self.sessions.flush(uid);
                }
            }
            News::Swapped(a, b) => {
                self.names.swap(a, b);
                // A walk over all tubes begins anew, or it would miss those that went to where it has been.
                self.sweep = self.sweep.as_ref().map(|_| None);
                for db in [a, b] {
                    self.attend_waited_on(db);
                }
                self.port_swapped(world, a, b);
            }
            News::Seen { id } => self.lift_ids(id),
            News::Closed { client } => self.client_closed(client, None),
            News::Undelivered { db, name, worker, id, n } => {
                let uid = self.names.uid(db);
                self.give_backs.untold.insert(GiveBack { uid, name: name.into(), id, n, worker });
            }
            News::Left { waiter } => self.left(waiter),
        }
    }

    /// Has all tubes looked at on which somebody waits.
    pub(super) fn attend_waited_on(&mut self, db: u32) {
        for name in self.line.tubes_waited_on(db) {
            self.names.attend(db, &name, AT_ONCE);
        }
    }

    /// What need not be done at once. To be called now and then, but not within a command: all keys are to be seen.
    pub fn tidy<W: World>(&mut self, world: &mut W) {
        self.garbage.free(FREED);
        self.forget_vanished(world);
    }

    /// Forgets the bound reservations that went with their tubes, once they may be many among those that are bound: they
    /// would stay until their connections close. Looks at a slice of them.
    fn forget_vanished<W: World>(&mut self, world: &mut W) {
        if !self.sessions.is_doubtful() {
            return;
        }
        // A tube that is gone may be there under another name.
        self.catch_up(world);
        let names = &self.names;
        self.sessions.look(LOOKS, |client, bound| {
            let db = names.db_of(bound.uid);
            db.is_some_and(|db| port::reservation(world, db, client, bound).is_some())
        });
    }

    /// A waiter is no longer there. What was set aside for it goes back.
    pub(super) fn left(&mut self, waiter: u64) {
        if let Some((wait, Some(grant))) = self.line.leave(waiter) {
            self.take_back(&wait, &grant);
        }
    }

    /// Looks at a key that appeared: if it holds a tube, the index learns of it.
    fn find<W: World>(&mut self, world: &mut W, db: u32, name: &[u8]) {
        let Ok(key) = world.open(db, name, Access::Look) else { return };
        let Some(tube) = key.tube() else { return };
        let is_ready = tube.counts().of(State::Ready) > 0;
        self.learn(db, name, tube);
        drop(key);
        if is_ready && self.waiting_on(db, name) > 0 {
            self.names.attend(db, name, AT_ONCE);
        }
    }

    /// Learns of a tube, which may be known already.
    pub(super) fn learn(&mut self, db: u32, name: &[u8], tube: &Tube) {
        if let Some(port) = self.port_of(db) {
            port.here(name, tube);
        }
        if self.names.add(db, name) {
            self.names.jobs_of(db).plus(&tube.counts());
        }
        self.lift_ids(tube.header().last_id);
        if let Some(at_ms) = tube.next_deadline_ms(self.settings.linger_ms) {
            self.names.attend(db, name, at_ms);
        }
    }
}
