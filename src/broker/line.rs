//! Those who wait for a job: one fair line for each tube, first come, first served.
//!
//! A waiter may stand in the lines of several tubes. Its number says when it came, and it keeps the number, and
//! so its place, until it is told how its wait ended. Joining, leaving and being served cost O(log n) with n
//! waiters.
//!
//! Who watches many tubes would pay for each of them with every wait. Such *wide* waiters stand in one line of
//! their own, and a tube's job goes to the first in its own line or the first wide waiter that watches it, whoever
//! came first. That costs a look at each wide waiter who came earlier and does not watch the tube.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::deliver::Copied;
use super::names::Name;
use super::watched::Watched;

/// What a waiter asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The database of its tubes.
    pub db: u32,
    /// The tubes, in any order; a name given twice counts once. Empty for a wide waiter.
    pub names: Vec<Name>,
    /// The tubes of a wide waiter.
    pub wide: Option<Rc<Watched>>,
    /// How many jobs it takes at most; `None` if it asked for a single one.
    pub count: Option<u32>,
    /// The time to run it wants, in milliseconds; `None` for each job's own.
    pub ttr_ms: Option<u64>,
    /// Whether the reservation ends with the connection.
    pub bound: bool,
    /// The client's id.
    pub client: u64,
    /// When it stops waiting (Unix ms).
    pub until_ms: u64,
}

impl Wait {
    /// Whether it is for this tube's jobs, too. Wide waiters know the tube by this number, if any does.
    pub fn is_for(&self, name: &Name, number: Option<u32>) -> bool {
        self.names.contains(name) || self.wide.as_ref().is_some_and(|wide| wide.contains(name, number))
    }
}

/// Jobs that were reserved for a waiter that has not been told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the tube's database is [called](super::names::Names::uid): it may change places.
    pub uid: u64,
    /// The tube. It may get another name before the waiter is told.
    pub name: Name,
    /// Ids and lease numbers.
    pub jobs: Vec<(u64, u64)>,
    /// The jobs themselves, if the tube was written out since: it may have gone to another server.
    pub copies: Vec<Copied>,
}

struct Waiter {
    wait: Rc<Wait>,
    grant: Option<Grant>,
}

/// All waiters.
#[derive(Default)]
pub struct Line {
    waiters: BTreeMap<u64, Waiter>,
    tubes: BTreeMap<u32, BTreeMap<Name, BTreeSet<u64>>>,
    /// The wide waiters, by database.
    wide: BTreeMap<u32, BTreeSet<u64>>,
    ends: BTreeSet<(u64, u64)>,
    granted: BTreeSet<u64>,
    last: u64,
    /// Whether somebody has come to wait.
    sooner: bool,
}

impl Line {
    /// Adds a waiter at the end, and returns its number.
    pub fn join(&mut self, wait: Wait) -> u64 {
        self.last += 1;
        self.join_again(self.last, wait);
        self.last
    }

    /// Adds a waiter that was in line before, at the place that its number gives it.
    pub fn join_again(&mut self, number: u64, wait: Wait) {
        self.waiters.insert(number, Waiter { wait: Rc::new(wait), grant: None });
        self.stand(number);
    }

    /// Lets a waiter stand in the lines of its tubes, at the place that its number gives it.
    fn stand(&mut self, number: u64) {
        let Some(waiter) = self.waiters.get(&number) else { return };
        let wait = &waiter.wait;
        let tubes = self.tubes.entry(wait.db).or_default();
        for name in &wait.names {
            tubes.entry(Rc::clone(name)).or_default().insert(number);
        }
        if wait.wide.is_some() {
            self.wide.entry(wait.db).or_default().insert(number);
        }
        self.ends.insert((wait.until_ms, number));
        self.sooner = true;
    }

    /// Whether a wait may be over sooner than when this was last asked.
    pub fn take_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    /// Takes a waiter out of all lines; it keeps its number.
    fn step_aside(&mut self, number: u64) {
        let Some(waiter) = self.waiters.get(&number) else { return };
        let wait = Rc::clone(&waiter.wait);
        if let Some(tubes) = self.tubes.get_mut(&wait.db) {
            for name in &wait.names {
                if let Some(line) = tubes.get_mut(name) {
                    line.remove(&number);
                    if line.is_empty() {
                        tubes.remove(name);
                    }
                }
            }
        }
        if wait.wide.is_some()
            && let Some(wide) = self.wide.get_mut(&wait.db)
        {
            wide.remove(&number);
            if wide.is_empty() {
                self.wide.remove(&wait.db);
            }
        }
        self.ends.remove(&(wait.until_ms, number));
    }

    /// Takes a waiter away for good, and returns what was granted to it.
    pub fn leave(&mut self, number: u64) -> Option<(Rc<Wait>, Option<Grant>)> {
        // Who is about to be told stands in no line.
        if !self.granted.remove(&number) {
            self.step_aside(number);
        }
        self.waiters.remove(&number).map(|waiter| (waiter.wait, waiter.grant))
    }

    /// The first in a tube's line. `number_of` tells by which number wide waiters know the tube, if any does.
    pub fn first(&self, db: u32, name: &[u8], number_of: Option<u32>) -> Option<(u64, Rc<Wait>)> {
        let line = self.tubes.get(&db).and_then(|tubes| tubes.get(name));
        let mut number = line.and_then(|line| line.first().copied());
        if !self.wide.is_empty() {
            let wide = self.wide_on(db, number_of).next();
            number = [number, wide].into_iter().flatten().min();
        }
        let number = number?;
        self.waiters.get(&number).map(|waiter| (number, Rc::clone(&waiter.wait)))
    }

    /// The wide waiters that watch the tube of this number, in the order in which they came.
    fn wide_on(&self, db: u32, number: Option<u32>) -> impl Iterator<Item = u64> {
        let watches = move |wait: &Wait| {
            wait.wide.as_ref().zip(number).is_some_and(|(wide, number)| wide.is_marked(number))
        };
        let waiters = self.wide.get(&db).into_iter().flatten();
        waiters.copied().filter(move |waiter| self.waiters.get(waiter).is_some_and(|w| watches(&w.wait)))
    }

    /// Whether there are wide waiters.
    pub fn has_wide(&self) -> bool {
        !self.wide.is_empty()
    }

    /// How many stand in a tube's line, which wide waiters know by this number.
    pub fn waiting_on(&self, db: u32, name: &[u8], number: Option<u32>) -> usize {
        let narrow = self.tubes.get(&db).and_then(|tubes| tubes.get(name)).map_or(0, BTreeSet::len);
        if self.wide.is_empty() { narrow } else { narrow + self.wide_on(db, number).count() }
    }

    /// The tubes of a database that somebody waits on. O(n) for all of them, those of wide waiters included.
    pub fn tubes_waited_on(&self, db: u32) -> BTreeSet<Name> {
        let narrow = self.tubes.get(&db).into_iter().flat_map(|tubes| tubes.keys().cloned());
        let waiters = self.wide.get(&db).into_iter().flatten().filter_map(|number| self.waiters.get(number));
        let wide = waiters.filter_map(|waiter| waiter.wait.wide.as_ref());
        narrow.chain(wide.flat_map(|wide| wide.names().iter().cloned())).collect()
    }

    /// Those who stand in line, by number, from this number on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = (u64, &Wait)> {
        let waiters = self.waiters.range(number..).filter(|(_, waiter)| waiter.grant.is_none());
        waiters.map(|(number, waiter)| (*number, &*waiter.wait))
    }

    /// How many wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.ends.len()
    }

    /// Sets jobs aside for a waiter: it leaves the lines and is about to be told.
    pub fn grant(&mut self, number: u64, grant: Grant) {
        self.step_aside(number);
        if let Some(waiter) = self.waiters.get_mut(&number) {
            waiter.grant = Some(grant);
            self.granted.insert(number);
        }
    }

    /// A tube has another name, and what is set aside in it goes along.
    pub fn rename(&mut self, from: (u64, &Name), to: (u64, &Name)) {
        for number in &self.granted {
            let grant = self.waiters.get_mut(number).and_then(|waiter| waiter.grant.as_mut());
            if let Some(grant) = grant.filter(|grant| (grant.uid, &grant.name) == from) {
                (grant.uid, grant.name) = (to.0, Rc::clone(to.1));
            }
        }
    }

    /// Keeps a copy of what is set aside in this tube, as far as `copy` finds it by id and lease number.
    pub fn keep_copies(&mut self, uid: u64, name: &[u8], copy: impl Fn(u64, u64) -> Option<Copied>) {
        for number in &self.granted {
            let grant = self.waiters.get_mut(number).and_then(|waiter| waiter.grant.as_mut());
            if let Some(grant) = grant.filter(|grant| grant.uid == uid && *grant.name == *name) {
                grant.copies = grant.jobs.iter().filter_map(|(id, n)| copy(*id, *n)).collect();
            }
        }
    }

    /// A waiter that is about to be told, with what is set aside for it.
    pub fn next_granted(&self) -> Option<(u64, Rc<Wait>, Grant)> {
        let number = *self.granted.first()?;
        let waiter = self.waiters.get(&number)?;
        Some((number, Rc::clone(&waiter.wait), waiter.grant.clone()?))
    }

    /// Whether somebody is about to be told.
    pub fn has_granted(&self) -> bool {
        !self.granted.is_empty()
    }

    /// Whether a reservation is set aside for a waiter that has not been told yet.
    pub fn is_granted(&self, uid: u64, name: &[u8], id: u64, n: u64) -> bool {
        let mut grants = self.granted.iter().filter_map(|number| self.waiters.get(number)?.grant.as_ref());
        grants.any(|grant| grant.uid == uid && *grant.name == *name && grant.jobs.contains(&(id, n)))
    }

    /// What was set aside is gone: the waiter takes its old place again.
    pub fn take_place_again(&mut self, number: u64) {
        self.granted.remove(&number);
        if let Some(waiter) = self.waiters.get_mut(&number) {
            waiter.grant = None;
            self.stand(number);
        }
    }

    /// When the next wait is over (Unix ms).
    pub fn next_ms(&self) -> Option<u64> {
        self.ends.first().map(|(until_ms, _)| *until_ms)
    }

    /// A waiter whose time is over.
    pub fn next_over(&self, now_ms: u64) -> Option<u64> {
        self.ends.first().filter(|(until_ms, _)| *until_ms <= now_ms).map(|(_, number)| *number)
    }
}
