//! FLOOR 2. Many tubes: ids, those who wait, the next deadline over all tubes, and who is connected.
//!
//! The broker works on any [`World`]: it opens keys there, makes [changes](crate::queue::Change) in the tubes it
//! finds, and hands the world one event for everything that one command did to one tube. All persistent state is
//! in the tubes. What the broker keeps itself can be rebuilt (the index of names and deadlines), or ends with
//! the connections (waiters and bound reservations).
//!
//! | file | subject |
//! |---|---|
//! | `world` | what the broker needs of the world outside |
//! | `step` | what one command does to one tube |
//! | `plain` | the same where that is a single change and nothing more |
//! | `tick` | what happens by itself when its time has come |
//! | `deliver` | telling waiters what was reserved for them |
//! | `give_backs` | reservations that go back because nobody holds them |
//! | `hear` | following the keyspace and the clients |
//! | `names` | the index of tubes, deadlines and counts |
//! | `line` | the waiters |
//! | `sessions` | reservations bound to connections |
//! | `watched` | the tubes that one connection watches |
//! | `garbage` | what is freed bit by bit |
//! | `by_name` | a map from very many names |
//! | `pairs` | pairs of numbers in order, and things by number |
//! | `port` | what is kept for the beanstalk protocol, while it is served |

#![forbid(unsafe_code)]

mod by_name;
mod deliver;
mod garbage;
mod give_backs;
mod hear;
mod line;
mod names;
mod pairs;
mod plain;
mod port;
mod sessions;
mod step;
mod tick;
mod watched;
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

pub use hear::{Refused, swapped};
pub use line::Wait;
pub use names::Name;
pub use pairs::{Numbered, Pairs};
pub use port::DEFAULT;
pub use sessions::Bound;
pub use step::Step;
pub use tick::Ticked;
pub use watched::Watched;
pub use world::{Access, End, Key, Kind, Kinds, News, Record, World, WrongType};

use crate::queue::decide::Retry;
use crate::queue::{Counts, ID_MAX, Totals, over_ms};
use garbage::Garbage;
use give_backs::{GiveBack, GiveBacks};
use line::Line;
use names::Names;
use port::PortIndex;
use sessions::Sessions;

/// The settings that the queue works by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest body that can be put, in bytes.
    pub max_job_size: u64,
    /// The time to run of a job that names none, in milliseconds.
    pub ttr_ms: u64,
    /// How long an idle tube stays, in milliseconds.
    pub linger_ms: u64,
    /// Whether new jobs are refused.
    pub drain: bool,
    /// What becomes of jobs that go back.
    pub retry: Retry,
    /// How much of what is due is done at once.
    pub slices: Slices,
}

/// How much of what is due is done at once. What is left is done later, so that nothing is kept waiting for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// A command or a tick ends, or promotes, at most so many overdue jobs of a tube before it does its own work. Where
    /// somebody waits, a command leaves them to the tick, and that hands over an eighth as many.
    pub jobs: usize,
    /// A tick looks at no more tubes than this.
    pub tubes: usize,
}

impl Default for Slices {
    fn default() -> Slices {
        Slices { jobs: 256, tubes: 128 }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_job_size: 65_535,
            ttr_ms: 60_000,
            linger_ms: 3_600_000,
            drain: false,
            retry: Retry::default(),
            slices: Slices::default(),
        }
    }
}

/// What this server is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides what happens.
    Primary,
    /// It follows a primary, or is loading: events are applied, nothing happens by itself.
    Follower,
}

/// The broker.
pub struct Broker {
    /// The settings. After shortening `linger_ms`, call [`Broker::sweep`].
    pub settings: Settings,
    role: Role,
    next_id: u64,
    names: Names,
    line: Line,
    sessions: Sessions,
    give_backs: GiveBacks,
    /// Who could not be served when what was set aside for them was gone, as nothing might be written, or too much was to be
    /// looked at.
    unserved: VecDeque<Rc<Wait>>,
    /// Keys that appeared out of [sight](World::sight) and are still to be looked at.
    unseen: BTreeSet<(u32, Box<[u8]>)>,
    /// How far a walk over all tubes has come that looks at each one's deadline anew.
    sweep: Option<Option<(u32, Name)>>,
    totals: Totals,
    peeks: u64,
    apply_errors: u64,
    /// The events' buffer, kept between commands.
    buffer: Vec<u8>,
    /// What the beanstalk protocol needs, while it is served.
    port: Option<Box<PortIndex>>,
    garbage: Garbage,
}

impl Broker {
    /// A broker that knows no tube. The first id it gives is 1.
    pub fn new(settings: Settings) -> Broker {
        Broker {
            settings,
            role: Role::Primary,
            next_id: 1,
            names: Names::default(),
            line: Line::default(),
            sessions: Sessions::default(),
            give_backs: GiveBacks::default(),
            unserved: VecDeque::new(),
            unseen: BTreeSet::new(),
            sweep: None,
            totals: Totals::default(),
            peeks: 0,
            apply_errors: 0,
            buffer: Vec::new(),
            port: None,
            garbage: Garbage::default(),
        }
    }

    /// What this server is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Changes what this server is. Becoming a primary makes numbering jump to at least `now_us`, the clock in
    /// microseconds, so that no id comes twice even if the last ones never reached us.
    pub fn set_role(&mut self, role: Role, now_us: u64) {
        if role == Role::Primary && self.role == Role::Follower {
            self.jump_ids(now_us);
            // Whoever waited on a replica that takes writes was not served there.
            for db in self.names.dbs() {
                self.attend_waited_on(db);
            }
        }
        if role == Role::Follower || self.role == Role::Follower {
            // Connections that close after the server became a follower leave something to give back, too.
            self.sessions.clear();
            self.give_backs.clear();
            self.unserved.clear();
        }
        self.role = role;
    }

    /// Makes numbering go on at `at_least` or above: after loading, with the clock in microseconds.
    pub fn jump_ids(&mut self, at_least: u64) {
        self.next_id = self.next_id.max(at_least.min(ID_MAX));
    }

    /// Lifts numbering above an id that a tube has held.
    pub fn lift_ids(&mut self, last_id: u64) {
        self.next_id = self.next_id.max(last_id.saturating_add(1));
    }

    /// The first of `count` ids in a row for a tube whose last one was `last_id`, or `None` if so many are not
    /// left.
    pub fn new_ids(&mut self, last_id: u64, count: u64) -> Option<u64> {
        self.lift_ids(last_id);
        let first = self.next_id;
        let next = first.checked_add(count).filter(|next| *next <= ID_MAX + 1)?;
        self.next_id = next;
        Some(first)
    }

    /// How often things happened here since the server started.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// How often jobs were looked at.
    pub fn peeks(&self) -> u64 {
        self.peeks
    }

    /// Counts a look at a job.
    pub fn count_peek(&mut self) {
        self.peeks += 1;
    }

    /// How many events from outside were refused.
    pub fn apply_errors(&self) -> u64 {
        self.apply_errors
    }

    /// The jobs in all databases.
    pub fn jobs(&self) -> Counts {
        self.names.jobs()
    }

    /// How many tubes there are in all databases.
    pub fn tubes(&self) -> usize {
        self.names.tubes()
    }

    /// The names of a database's tubes from `from` on, in byte order.
    pub fn tubes_from(&self, db: u32, from: &[u8]) -> impl Iterator<Item = &Name> {
        self.names.from(db, from)
    }

    /// How many clients wait.
    pub fn waiting(&self) -> usize {
        self.line.waiting()
    }

    /// How many clients wait on a tube.
    pub fn waiting_on(&self, db: u32, name: &[u8]) -> usize {
        let number = if self.line.has_wide() { self.wide_number(db, name) } else { None };
        self.line.waiting_on(db, name, number)
    }

    /// Those who stand in line, with their numbers, from this number on.
    pub fn waits_from(&self, number: u64) -> impl Iterator<Item = (u64, &Wait)> {
        self.line.from(number)
    }

    /// Puts a client at the end of the line, and returns its number. Nothing in its tubes can be reserved now.
    pub fn wait(&mut self, wait: Wait) -> u64 {
        self.line.join(wait)
    }

    /// Whether a reservation is, or was, bound to a client.
    pub fn has_bound(&self, client: u64) -> bool {
        self.sessions.knows(client)
    }

    /// Binds a reservation to a client. When it ends is learned when it is touched, or not at all.
    pub fn bind(&mut self, client: u64, db: u32, name: &[u8], id: u64, n: u64) {
        self.bind_until(client, db, &Name::from(name), (id, n), u64::MAX);
    }

    /// Binds a reservation, a job's id and the lease's number, to a client. It ends at `deadline_ms` (Unix ms).
    pub fn bind_until(&mut self, client: u64, db: u32, name: &Name, (id, n): (u64, u64), deadline_ms: u64) {
        let uid = self.names.uid(db);
        self.sessions.bind(client, Bound { uid, name: Name::clone(name), id, n, deadline_ms });
    }

    /// When [`Broker::tick`] has something to do (Unix ms); 0 for at once, `None` for never.
    pub fn next_tick_ms(&self) -> Option<u64> {
        if self.has_port_work() {
            return Some(0);
        }
        let wait = self.line.next_ms();
        if self.role != Role::Primary {
            return wait.map(over_ms);
        }
        if self.is_due_at_once() {
            return Some(0);
        }
        [wait, self.names.next_ms()].into_iter().flatten().min().map(over_ms)
    }

    /// Whether the next tick may be due sooner than when this was last asked.
    #[inline]
    pub fn take_sooner(&mut self) -> bool {
        self.names.take_sooner() | self.line.take_sooner() | self.is_due_at_once()
    }

    /// What [`Broker::take_sooner`] would return.
    pub fn is_sooner(&self) -> bool {
        self.names.is_sooner() || self.line.is_sooner() || self.is_due_at_once()
    }

    #[inline(always)]
    fn is_due_at_once(&self) -> bool {
        !self.give_backs.is_empty()
            || !self.unserved.is_empty()
            || self.sweep.is_some()
            || self.port.is_some() && (self.has_port_work() || self.has_ended_pauses())
    }

    /// Whether [`Broker::deliver`] has something to do.
    pub fn has_deliveries(&self) -> bool {
        self.line.has_granted() || !self.unseen.is_empty()
    }

    /// Starts a walk over all tubes that looks at each one's deadline anew.
    pub fn sweep(&mut self) {
        self.sweep = Some(None);
    }
}
