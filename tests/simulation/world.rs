//! A keyspace in memory, with the habits of Redis' own: the order in which it tells of what happened, keys that
//! expire when they are looked at, and a log of everything that replicas and the append-only file would get.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use phean::broker::{Access, End, Key, Kinds, News, Record, World, WrongType};
use phean::codec;
use phean::queue::{Change, Held, Trash, Tube};

/// The names that keys can have. Names are bytes.
pub const NAMES: [&[u8]; 17] = [
    b"a",
    b"b",
    b"c",
    b"\xffd%s\n",
    b"",
    b"d",
    b"e",
    b"f",
    b"g",
    b"h",
    b"t",
    b"abc",
    b"missing",
    b"paused",
    b"waited",
    b"\xff",
    b"x",
];

/// The simulation uses the first few of them, so that something happens there.
pub const NAMES_USED: usize = 5;

/// How many databases there are.
pub const DBS: u32 = 2;

/// A key's database and name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub db: u32,
    pub name: usize,
}

/// Every name that was made: they live on when their thread has ended, and a sanitizer is to know that.
static MADE: Mutex<Vec<&'static [u8]>> = Mutex::new(Vec::new());

/// Names that are none of [`NAMES`].
#[derive(Default)]
pub struct MoreNames {
    list: Vec<&'static [u8]>,
    positions: BTreeMap<&'static [u8], usize>,
}

impl MoreNames {
    fn position(&mut self, name: &[u8]) -> usize {
        if let Some(position) = self.positions.get(name) {
            return *position;
        }
        let name: &'static [u8] = Box::leak(name.into());
        MADE.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        self.positions.insert(name, self.list.len());
        self.list.push(name);
        self.list.len() - 1
    }
}

thread_local! {
    /// Once there is something here, keys can have any name in this thread; until then, a name that nobody made is
    /// an error.
    pub static MORE_NAMES: RefCell<Option<MoreNames>> = const { RefCell::new(None) };
}

impl Place {
    pub fn of(db: u32, name: &[u8]) -> Place {
        let known = NAMES.iter().position(|known| *known == name);
        let name = known.unwrap_or_else(|| {
            MORE_NAMES.with_borrow_mut(|more| {
                let more = more.as_mut().expect("a name that nobody made");
                NAMES.len() + more.position(name)
            })
        });
        Place { db, name }
    }

    pub fn name(self) -> &'static [u8] {
        let more = |position| MORE_NAMES.with_borrow(|more| more.as_ref().map(|more| more.list[position]));
        match NAMES.get(self.name) {
            Some(name) => name,
            None => more(self.name - NAMES.len()).expect("a name that was made"),
        }
    }

    fn pair(self) -> (u32, Box<[u8]>) {
        (self.db, self.name().into())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:\"{}\"", self.db, self.name().escape_ascii())
    }
}

#[derive(Clone)]
pub enum Value {
    /// `birth` tells one tube from another that had the name before. It goes along where the tube is renamed.
    Tube {
        tube: Rc<Tube>,
        birth: u64,
    },
    Text,
}

#[derive(Clone)]
pub struct Entry {
    pub value: Value,
    pub expires_at_ms: Option<u64>,
}

/// All keys of a server. A clone costs nothing until one of the two changes.
#[derive(Clone, Default)]
pub struct Keyspace(pub Rc<BTreeMap<Place, Entry>>);

impl Keyspace {
    pub fn is_same(&self, other: &Keyspace) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    fn change(&mut self) -> &mut BTreeMap<Place, Entry> {
        Rc::make_mut(&mut self.0)
    }

    /// Calls every tube of the same place as its likeness does.
    pub fn take_births(&mut self, likeness: &Keyspace) {
        for (place, entry) in self.change() {
            if let (Value::Tube { birth, .. }, Some((_, known))) = (&mut entry.value, likeness.tube(*place)) {
                *birth = known;
            }
        }
    }

    pub fn tube(&self, place: Place) -> Option<(&Rc<Tube>, u64)> {
        match &self.0.get(&place)?.value {
            Value::Tube { tube, birth } => Some((tube, *birth)),
            Value::Text => None,
        }
    }

    pub fn tubes(&self) -> impl Iterator<Item = (Place, &Rc<Tube>, u64)> {
        self.0.iter().filter_map(|(place, entry)| match &entry.value {
            Value::Tube { tube, birth } => Some((*place, tube, *birth)),
            Value::Text => None,
        })
    }
}

/// One thing that replicas and the append-only file are told.
#[derive(Clone)]
pub enum Op {
    Apply(Place, Vec<u8>),
    Del(Place),
    SetText(Place),
    Rename(Place, Place),
    Copy(Place, Place),
    Swap(u32, u32),
    Flush(Option<u32>),
    Restore(Place, Rc<Vec<Vec<u8>>>),
    Expire(Place, u64),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Apply(place, event) => {
                let event = codec::read_event(event).map_err(|_| fmt::Error)?;
                write!(f, "APPLY {place:?} at {}:", event.at_ms)?;
                event.changes().try_for_each(|change| match change {
                    Ok(Change::Put { id, pri, delay_ms, ttr_ms, body }) => {
                        let body = body.escape_ascii();
                        write!(f, " Put {id} \"{body}\" pri {pri} delay_ms {delay_ms} ttr_ms {ttr_ms};")
                    }
                    Ok(other) => write!(f, " {other:?};"),
                    Err(corrupt) => write!(f, " {corrupt}"),
                })
            }
            Op::Del(place) => write!(f, "DEL {place:?}"),
            Op::SetText(place) => write!(f, "SET {place:?}"),
            Op::Rename(from, to) if from.db == to.db => write!(f, "RENAME {from:?} {to:?}"),
            Op::Rename(from, to) => write!(f, "MOVE {from:?} {to:?}"),
            Op::Copy(from, to) => write!(f, "COPY {from:?} {to:?} REPLACE"),
            Op::Swap(a, b) => write!(f, "SWAPDB {a} {b}"),
            Op::Flush(Some(db)) => write!(f, "FLUSHDB {db}"),
            Op::Flush(None) => write!(f, "FLUSHALL"),
            Op::Restore(place, _) => write!(f, "RESTORE {place:?} REPLACE"),
            Op::Expire(place, at_ms) => write!(f, "PEXPIREAT {place:?} {at_ms}"),
        }
    }
}

/// What was told, and what the keyspace was like afterwards: what everybody who was told must come to.
pub struct Told {
    pub op: Op,
    pub after: Keyspace,
}

/// How a wait ended.
#[derive(Debug)]
pub enum Ended {
    TimedOut,
    Denied,
    Jobs(&'static [u8], Vec<Taken>),
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} \"{}\" attempt {}", self.id, self.n, self.body.escape_ascii(), self.attempt)
    }
}

/// A job as a waiter was told of it.
#[derive(Clone)]
pub struct Taken {
    pub id: u64,
    pub n: u64,
    pub worker: u64,
    pub body: Vec<u8>,
    pub attempt: u32,
    pub deadline_ms: u64,
}

impl Taken {
    fn of(held: &Held<'_>) -> Taken {
        let Held { id, n, worker, deadline_ms, attempt, body } = *held;
        Taken { id, n, worker, body: body.to_vec(), attempt, deadline_ms }
    }
}

/// What a server's keyspace and its surroundings are at the moment.
#[derive(Default)]
pub struct State {
    pub keys: Keyspace,
    pub news: VecDeque<News>,
    pub told: Vec<Told>,
    pub ended: Vec<(u64, Ended)>,
    pub now_ms: u64,
    pub is_primary: bool,
    /// `CLIENT PAUSE … WRITE`, or a failover that is being prepared.
    pub is_paused: bool,
    pub needs_events: bool,
    /// Whether tubes are at hand: most commands then take a shorter way.
    pub is_at_hand: bool,
    /// How often that way was taken.
    pub at_hand: u64,
    /// Whether users have lost their rights.
    pub denies: bool,
    /// A tube that they have lost them for.
    pub denied: Option<&'static [u8]>,
    /// The event that is being applied as it came.
    pub as_it_came: Option<Vec<u8>>,
    births: u64,
    changing: Option<Place>,
}

impl State {
    fn tell(&mut self, op: Op) {
        if self.is_primary && self.needs_events {
            self.told.push(Told { op, after: self.keys.clone() });
        }
    }

    fn birth(&mut self) -> u64 {
        self.births += 1;
        self.births
    }

    /// The values that come into being from now on are none of those that were before.
    pub fn skip_births(&mut self, births: u64) {
        self.births = self.births.max(births);
    }

    pub fn births(&self) -> u64 {
        self.births
    }

    /// Whether the key counts as gone, though it may still be there.
    pub fn is_over(&self, place: Place) -> bool {
        let expires_at_ms = self.keys.0.get(&place).and_then(|entry| entry.expires_at_ms);
        self.is_primary && expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms)
    }

    fn expire(&mut self, place: Place) {
        if self.is_over(place) && !self.is_paused {
            self.take(place);
            self.tell(Op::Del(place));
        }
    }

    /// Takes a key away, and says so if it was a tube.
    fn take(&mut self, place: Place) -> Option<Entry> {
        let entry = self.keys.change().remove(&place)?;
        if let Value::Tube { tube, .. } = &entry.value {
            let (db, name) = place.pair();
            self.news.push_back(News::Gone { db, name, counts: tube.counts() });
        }
        Some(entry)
    }

    fn put(&mut self, place: Place, entry: Entry) {
        let is_tube = matches!(entry.value, Value::Tube { .. });
        self.keys.change().insert(place, entry);
        if is_tube {
            let (db, name) = place.pair();
            self.news.push_back(News::Here { db, name });
        }
    }

    /// Does what a command of Redis' own does. `false` if it found nothing to do.
    pub fn execute(&mut self, op: &Op) -> bool {
        let done = self.change(op);
        if done {
            self.tell(op.clone());
        }
        done
    }

    fn change(&mut self, op: &Op) -> bool {
        match op {
            Op::Del(place) => {
                self.expire(*place);
                self.take(*place).is_some()
            }
            Op::SetText(place) => {
                self.expire(*place);
                self.take(*place);
                self.put(*place, Entry { value: Value::Text, expires_at_ms: None });
                true
            }
            Op::Rename(from, to) => {
                self.expire(*from);
                self.expire(*to);
                let is_move = from.db != to.db;
                if from == to || !self.keys.0.contains_key(from) || is_move && self.keys.0.contains_key(to) {
                    return false;
                }
                self.take(*to);
                let Some(entry) = self.take(*from) else { return false };
                if let Value::Tube { .. } = entry.value {
                    self.news.push_back(News::Renamed { from: from.pair(), to: to.pair() });
                }
                self.put(*to, entry);
                true
            }
            Op::Copy(from, to) => {
                self.expire(*from);
                self.expire(*to);
                let Some(mut entry) = self.keys.0.get(from).filter(|_| from != to).cloned() else {
                    return false;
                };
                self.take(*to);
                if let Value::Tube { tube, birth } = &mut entry.value {
                    *tube = Rc::new(Tube::clone(tube));
                    *birth = self.birth();
                }
                self.put(*to, entry);
                true
            }
            Op::Swap(a, b) => {
                let swapped = |db: u32| match db {
                    _ if db == *a => *b,
                    _ if db == *b => *a,
                    _ => db,
                };
                let keys = std::mem::take(self.keys.change()).into_iter();
                let keys = keys.map(|(place, entry)| (Place { db: swapped(place.db), ..place }, entry));
                *self.keys.change() = keys.collect();
                self.news.push_back(News::Swapped(*a, *b));
                true
            }
            Op::Flush(db) => {
                self.keys.change().retain(|place, _| db.is_some_and(|db| place.db != db));
                self.news.push_back(News::Flushed(*db));
                true
            }
            Op::Restore(place, pieces) => {
                self.expire(*place);
                let tube = Rc::new(load(pieces));
                self.take(*place);
                let value = Value::Tube { tube, birth: self.birth() };
                self.put(*place, Entry { value, expires_at_ms: None });
                true
            }
            Op::Expire(place, at_ms) => {
                self.expire(*place);
                let entry = self.keys.change().get_mut(place);
                let is_there = entry.is_some();
                entry.into_iter().for_each(|entry| entry.expires_at_ms = Some(*at_ms));
                is_there
            }
            Op::Apply(..) => unreachable!("events go through the commands"),
        }
    }

    /// A key that loading brought, as the server's `loaded` notification tells of it.
    pub fn loaded(&mut self, place: Place, entry: Entry) {
        self.put(place, entry);
    }

    /// Redis' own hunt for expired keys.
    pub fn expire_all(&mut self) {
        let places: Vec<Place> = self.keys.0.keys().copied().collect();
        places.into_iter().for_each(|place| self.expire(place));
    }
}

/// A tube as `DUMP` writes it.
pub fn save(tube: &Tube) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    codec::save_snapshot(tube, |piece| pieces.push(piece.to_vec()));
    pieces
}

/// A tube as `RESTORE` reads it.
pub fn load(pieces: &[Vec<u8>]) -> Tube {
    let (head, rest) = pieces.split_first().expect("a snapshot has a head");
    let mut loader = codec::Loader::new(head).expect("the head is sound");
    rest.iter().for_each(|piece| loader.piece(piece.clone()).expect("the pieces are sound"));
    loader.finish().expect("the snapshot is sound")
}

/// A handle on the state, which open keys share.
#[derive(Clone, Default)]
pub struct MemoryWorld {
    pub state: Rc<RefCell<State>>,
}

/// An open key. Changes reach the keyspace when it is closed.
pub struct MemoryKey {
    state: Rc<RefCell<State>>,
    place: Place,
    tube: Option<Rc<Tube>>,
    is_changed: bool,
    access: Access,
}

impl MemoryKey {
    fn change(&mut self) {
        assert_eq!(self.access, Access::Change, "{:?} was opened to look", self.place);
        self.is_changed = true;
        self.state.borrow_mut().changing = Some(self.place);
    }
}

impl Key for MemoryKey {
    fn tube(&self) -> Option<&Tube> {
        self.tube.as_deref()
    }

    fn tube_mut(&mut self) -> Option<&mut Tube> {
        self.change();
        self.tube.as_mut().map(Rc::make_mut)
    }

    fn create(&mut self, tube: Tube) {
        assert!(self.tube.is_none(), "{:?} is there already", self.place);
        self.change();
        self.tube = Some(Rc::new(tube));
    }

    fn expires(&self) -> bool {
        self.state.borrow().keys.0.get(&self.place).is_some_and(|entry| entry.expires_at_ms.is_some())
    }

    fn close(&mut self) {
        if !std::mem::take(&mut self.is_changed) || std::thread::panicking() {
            self.tube = None;
            return;
        }
        let mut state = self.state.borrow_mut();
        state.changing = None;
        let Some(tube) = self.tube.take() else { return };
        match state.keys.change().get_mut(&self.place) {
            Some(Entry { value: Value::Tube { tube: old, .. }, .. }) => *old = tube,
            _ => {
                let value = Value::Tube { tube, birth: state.birth() };
                state.keys.change().insert(self.place, Entry { value, expires_at_ms: None });
            }
        }
    }
}

impl Drop for MemoryKey {
    fn drop(&mut self) {
        self.close();
    }
}

impl World for MemoryWorld {
    type Key = MemoryKey;

    fn remove(&mut self, db: u32, name: &[u8]) {
        let place = Place::of(db, name);
        let mut state = self.state.borrow_mut();
        assert_eq!(state.changing, None, "{place:?} is deleted while a key is being changed");
        let Some(Entry { value: Value::Tube { tube, .. }, .. }) = state.keys.change().remove(&place) else {
            return;
        };
        let (db, name) = place.pair();
        state.news.push_back(News::Gone { db, name, counts: tube.counts() });
    }

    fn open(&mut self, db: u32, name: &[u8], access: Access) -> Result<MemoryKey, WrongType> {
        let place = Place::of(db, name);
        let mut state = self.state.borrow_mut();
        assert_ne!(state.changing, Some(place), "{place:?} is opened while it is being changed");
        state.expire(place);
        let tube = match state.keys.0.get(&place).filter(|_| !state.is_over(place)) {
            Some(Entry { value: Value::Text, .. }) => return Err(WrongType),
            Some(Entry { value: Value::Tube { tube, .. }, .. }) => Some(Rc::clone(tube)),
            None => None,
        };
        drop(state);
        Ok(MemoryKey { state: Rc::clone(&self.state), place, tube, is_changed: false, access })
    }

    fn needs_events(&mut self) -> bool {
        self.state.borrow().needs_events
    }

    fn commit(&mut self, db: u32, name: &[u8], record: Record<'_>, _kinds: Kinds) {
        let mut state = self.state.borrow_mut();
        assert_eq!(state.changing, None, "the key is not closed yet");
        assert!(!state.is_primary || !state.is_paused, "a change while changes are not allowed");
        let event = match record {
            Record::Event(event) => event.to_vec(),
            Record::AsItCame => state.as_it_came.clone().expect("an event is being applied"),
            Record::Nobody => {
                assert!(!state.needs_events, "somebody was not told");
                return;
            }
        };
        assert!(state.is_primary || matches!(record, Record::AsItCame), "a follower decided something");
        state.tell(Op::Apply(Place::of(db, name), event));
    }

    fn open_at_hand(&mut self, db: u32, name: &[u8]) -> Option<MemoryKey> {
        let place = Place::of(db, name);
        let mut state = self.state.borrow_mut();
        assert_ne!(state.changing, Some(place), "{place:?} is opened while it is being changed");
        if !state.is_at_hand || !state.news.is_empty() {
            return None;
        }
        let Some(Entry { value: Value::Tube { tube, .. }, expires_at_ms: None }) = state.keys.0.get(&place)
        else {
            return None;
        };
        let tube = Some(Rc::clone(tube));
        state.at_hand += 1;
        drop(state);
        Some(MemoryKey {
            state: Rc::clone(&self.state),
            place,
            tube,
            is_changed: false,
            access: Access::Change,
        })
    }

    fn commit_unheard(&mut self, db: u32, name: &[u8]) -> bool {
        let is_unheard = self.state.borrow().is_at_hand;
        if is_unheard {
            self.commit(db, name, Record::Nobody, Kinds::default());
        }
        is_unheard
    }

    fn has_news(&self) -> bool {
        !self.state.borrow().news.is_empty()
    }

    fn next_news(&mut self) -> Option<News> {
        self.state.borrow_mut().news.pop_front()
    }

    fn may_write(&mut self) -> bool {
        let state = self.state.borrow();
        state.is_primary && !state.is_paused
    }

    fn may_have(&mut self, _waiter: u64, _db: u32, name: &[u8]) -> bool {
        let state = self.state.borrow();
        !state.denies && state.denied.is_none_or(|denied| denied != name)
    }

    fn end_wait(&mut self, waiter: u64, end: End<'_>) {
        let ended = match end {
            End::TimedOut => Ended::TimedOut,
            End::Denied => Ended::Denied,
            End::Jobs(name, jobs) => {
                Ended::Jobs(Place::of(0, name).name(), jobs.iter().map(Taken::of).collect())
            }
        };
        self.state.borrow_mut().ended.push((waiter, ended));
    }

    fn discard(&mut self, trash: Trash) {
        drop(trash);
    }
}
