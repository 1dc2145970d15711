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

use crate::queue::decide::Worker;
use crate::queue::{Reservation, is_over};

use super::deliver::Copied;
use super::names::Name;
use super::pairs::{Numbered, Pairs};
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
    /// Those of them that it may not use, by their numbers, in ascending order.
    pub barred: Vec<u32>,
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
    /// It is not kept waiting for longer than until so many milliseconds before the first of the reservations ends that it
    /// holds; `None` if it holds none, or if that is nothing to it. `until_ms` heeds it.
    pub margin_ms: Option<u64>,
}

impl Wait {
    /// Who reserves, and for how long.
    pub fn worker(&self) -> Worker {
        Worker { client: self.client, ttr_ms: self.ttr_ms }
    }

    /// Whether it is for this tube's jobs, too. Wide waiters know the tube by this number, if any does.
    pub fn is_for(&self, name: &Name, number: Option<u32>) -> bool {
        self.names.contains(name)
            || self.wide.as_ref().is_some_and(|wide| wide.contains(name, number))
                && number.is_none_or(|number| !self.is_barred(number))
    }

    /// Whether this wide waiter may not use the tube of this number.
    pub fn is_barred(&self, number: u32) -> bool {
        self.barred.binary_search(&number).is_ok()
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

/// The lines of a database's tubes.
#[derive(Default)]
struct Lines {
    /// Those who stand in each: their numbers and places. Empty lines are kept for a while, as who finishes a job
    /// mostly waits again.
    by_name: BTreeMap<Name, Pairs>,
    /// How many are empty.
    empty: usize,
}

/// So many empty lines are kept besides as many as are not empty.
const EMPTY: usize = 16;

impl Lines {
    fn join(&mut self, name: &Name, number: u64, place: u64) {
        match self.by_name.get_mut(name) {
            Some(line) => {
                self.empty -= usize::from(line.is_empty());
                line.insert(number, place);
            }
            None => self.begin(name, number, place),
        }
    }

    #[cold]
    fn begin(&mut self, name: &Name, number: u64, place: u64) {
        self.by_name.entry(Rc::clone(name)).or_default().insert(number, place);
    }

    fn leave(&mut self, name: &Name, number: u64, place: u64) {
        let Some(line) = self.by_name.get_mut(name) else { return };
        if line.remove(number, place) && line.is_empty() {
            self.empty += 1;
            if self.empty > EMPTY + self.by_name.len() / 2 {
                self.forget_empty();
            }
        }
    }

    #[cold]
    fn forget_empty(&mut self) {
        self.by_name.retain(|_, line| !line.is_empty());
        self.empty = 0;
    }
}

/// All waiters.
#[derive(Default)]
pub struct Line {
    waiters: Numbered<Waiter>,
    tubes: BTreeMap<u32, Lines>,
    /// The wide waiters, by database: their numbers and places.
    wide: BTreeMap<u32, Pairs>,
    /// When each wait is over, and the waiter's number.
    ends: Pairs,
    /// The clients that have a margin, and their numbers, about to be told or not.
    holding: Pairs,
    /// Who is about to be told: their numbers and places.
    granted: Pairs,
    /// No lease that is set aside for them has a smaller number.
    granted_from_n: u64,
    last: u64,
    /// Whether somebody has come to wait whose wait is over first.
    sooner: bool,
    /// What is left of the last waiter that was told. It is freed when the next one comes: no job is on its way then.
    told: Option<(Rc<Wait>, Grant)>,
}

impl Line {
    /// Adds a waiter at the end, and returns its number.
    pub fn join(&mut self, wait: Wait) -> u64 {
        self.told = None;
        self.last += 1;
        self.join_again(self.last, wait);
        self.last
    }

    /// Adds a waiter that was in line before, at the place that its number gives it.
    pub fn join_again(&mut self, number: u64, wait: Wait) {
        if wait.margin_ms.is_some() {
            self.holding.insert(wait.client, number);
        }
        let place = self.waiters.insert(number, Waiter { wait: Rc::new(wait), grant: None });
        self.stand(number, place);
    }

    /// Lets a waiter stand in the lines of its tubes, at the place that its number gives it.
    fn stand(&mut self, number: u64, place: u64) {
        let Some(Waiter { wait, .. }) = self.waiters.at(place) else { return };
        let lines = self.tubes.entry(wait.db).or_default();
        wait.names.iter().for_each(|name| lines.join(name, number, place));
        if wait.wide.is_some() {
            self.wide.entry(wait.db).or_default().insert(number, place);
        }
        self.ends.insert(wait.until_ms, number);
        self.sooner |= self.ends.first() == Some((wait.until_ms, number));
    }

    /// A reservation that this client holds ends at this time from now on (Unix ms), which somebody else chose if it waits.
    /// O(log n).
    pub fn holds_until(&mut self, client: u64, deadline_ms: u64) {
        let Some(number) = self.holding.get(client) else { return };
        let Some(place) = self.waiters.place(number) else { return };
        let Some(waiter) = self.waiters.at_mut(place) else { return };
        let Some(margin_ms) = waiter.wait.margin_ms else { return };
        let until_ms = deadline_ms.saturating_sub(margin_ms);
        if until_ms >= waiter.wait.until_ms {
            return;
        }
        let before_ms = std::mem::replace(&mut Rc::make_mut(&mut waiter.wait).until_ms, until_ms);
        // Who is about to be told stands in no line.
        if self.ends.remove(before_ms, number) {
            self.ends.insert(until_ms, number);
            self.sooner |= self.ends.first() == Some((until_ms, number));
        }
    }

    /// Whether a wait may be over sooner than when this was last asked.
    pub fn take_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    /// The same, which can be asked again.
    pub fn is_sooner(&self) -> bool {
        self.sooner
    }

    /// Takes a waiter out of all lines; it keeps its number.
    fn step_aside(&mut self, number: u64, place: u64) {
        let Some(Waiter { wait, .. }) = self.waiters.at(place) else { return };
        if let Some(lines) = self.tubes.get_mut(&wait.db) {
            wait.names.iter().for_each(|name| lines.leave(name, number, place));
        }
        if wait.wide.is_some()
            && let Some(wide) = self.wide.get_mut(&wait.db)
        {
            wide.remove(number, place);
            if wide.is_empty() {
                self.wide.remove(&wait.db);
            }
        }
        self.ends.remove(wait.until_ms, number);
    }

    /// Takes a waiter away for good, and returns what was granted to it.
    pub fn leave(&mut self, number: u64) -> Option<(Rc<Wait>, Option<Grant>)> {
        let place = self.waiters.place(number)?;
        // Who is about to be told stands in no line.
        if !self.granted.remove(number, place) {
            self.step_aside(number, place);
        }
        let Waiter { wait, grant } = self.waiters.remove_at(number, place)?;
        if wait.margin_ms.is_some() {
            self.holding.remove(wait.client, number);
        }
        Some((wait, grant))
    }

    /// The first in a tube's line. `number_of` tells by which number wide waiters know the tube, if any does.
    pub fn first(&self, db: u32, name: &[u8], number_of: Option<u32>) -> Option<(u64, Rc<Wait>)> {
        let mut first = self.line_of(db, name).and_then(Pairs::first);
        if !self.wide.is_empty() {
            let wide = self.wide_on(db, number_of).next();
            first = [first, wide].into_iter().flatten().min();
        }
        let (number, place) = first?;
        self.waiters.at(place).map(|waiter| (number, Rc::clone(&waiter.wait)))
    }

    /// Those who wait on a tube, but for wide waiters, if there were any lately.
    fn line_of(&self, db: u32, name: &[u8]) -> Option<&Pairs> {
        self.tubes.get(&db)?.by_name.get(name)
    }

    /// The wide waiters that watch the tube of this number, in the order in which they came.
    fn wide_on(&self, db: u32, number: Option<u32>) -> impl Iterator<Item = (u64, u64)> {
        let watches = move |wait: &Wait| {
            wait.wide
                .as_ref()
                .zip(number)
                .is_some_and(|(wide, number)| wide.is_marked(number) && !wait.is_barred(number))
        };
        // Where the tube has no number, none of them needs to be looked at.
        let waiters = number.and(self.wide.get(&db)).into_iter().flat_map(Pairs::iter);
        waiters.filter(move |(_, place)| self.waiters.at(*place).is_some_and(|w| watches(&w.wait)))
    }

    /// Whether there are wide waiters.
    pub fn has_wide(&self) -> bool {
        !self.wide.is_empty()
    }

    /// Whether it is certain that nobody waits on a tube.
    #[inline(always)]
    pub fn nobody_waits_on(&self, db: u32, name: &[u8]) -> bool {
        self.waiting() == 0 || self.waits_elsewhere(db, name)
    }

    #[cold]
    fn waits_elsewhere(&self, db: u32, name: &[u8]) -> bool {
        self.wide.is_empty() && self.line_of(db, name).is_none_or(Pairs::is_empty)
    }

    /// How many stand in a tube's line, which wide waiters know by this number.
    pub fn waiting_on(&self, db: u32, name: &[u8], number: Option<u32>) -> usize {
        let narrow = self.line_of(db, name).map_or(0, Pairs::len);
        if self.wide.is_empty() { narrow } else { narrow + self.wide_on(db, number).count() }
    }

    /// The tubes of a database that somebody waits on. O(n) for all of them, those of wide waiters included.
    pub fn tubes_waited_on(&self, db: u32) -> BTreeSet<Name> {
        let lines = self.tubes.get(&db).into_iter().flat_map(|lines| &lines.by_name);
        let narrow = lines.filter(|(_, line)| !line.is_empty()).map(|(name, _)| Rc::clone(name));
        let wide = self.wide.get(&db).into_iter().flat_map(Pairs::iter);
        let waiters = wide.filter_map(|(_, place)| self.waiters.at(place));
        let wide = waiters.filter_map(|waiter| waiter.wait.wide.as_ref());
        narrow.chain(wide.flat_map(|wide| wide.names().iter().cloned())).collect()
    }

    /// Those who stand in line, by number, from this number on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = (u64, &Wait)> {
        let waiters = self.waiters.from(number).filter(|(_, waiter)| waiter.grant.is_none());
        waiters.map(|(number, waiter)| (number, &*waiter.wait))
    }

    /// How many wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.ends.len()
    }

    /// Sets jobs aside for a waiter: it leaves the lines and is about to be told.
    pub fn grant(&mut self, number: u64, grant: Grant) {
        let Some(place) = self.waiters.place(number) else { return };
        self.step_aside(number, place);
        if self.granted.is_empty() {
            self.granted_from_n = u64::MAX;
        }
        // Where the clock has stepped back, later leases have smaller numbers.
        for (_, n) in &grant.jobs {
            self.granted_from_n = self.granted_from_n.min(*n);
        }
        if let Some(waiter) = self.waiters.at_mut(place) {
            waiter.grant = Some(grant);
            self.granted.insert(number, place);
        }
    }

    /// A tube has another name, and what is set aside in it goes along.
    pub fn rename(&mut self, from: (u64, &Name), to: (u64, &Name)) {
        for (_, place) in self.granted.iter() {
            let grant = self.waiters.at_mut(place).and_then(|waiter| waiter.grant.as_mut());
            if let Some(grant) = grant.filter(|grant| (grant.uid, &grant.name) == from) {
                (grant.uid, grant.name) = (to.0, Rc::clone(to.1));
            }
        }
    }

    /// Keeps a copy of what is set aside in this tube, as far as `copy` finds it by id and lease number.
    pub fn keep_copies(&mut self, uid: u64, name: &[u8], copy: impl Fn(u64, u64) -> Option<Copied>) {
        for (_, place) in self.granted.iter() {
            let grant = self.waiters.at_mut(place).and_then(|waiter| waiter.grant.as_mut());
            if let Some(grant) = grant.filter(|grant| grant.uid == uid && *grant.name == *name) {
                grant.copies = grant.jobs.iter().filter_map(|(id, n)| copy(*id, *n)).collect();
            }
        }
    }

    /// A waiter that is about to be told, and what is set aside for it, which the caller has from now on. Then either
    /// it [leaves](Line::leave), or it [takes its place again](Line::take_place_again).
    pub fn take_granted(&mut self) -> Option<(u64, Rc<Wait>, Grant)> {
        let (number, place) = self.granted.first()?;
        let waiter = self.waiters.at_mut(place)?;
        Some((number, Rc::clone(&waiter.wait), waiter.grant.take()?))
    }

    /// A waiter was told, and has left: this is left of it. Not of a wide one, whose connection would have to copy all that
    /// it watches when it watches one more.
    #[inline(always)]
    pub fn told(&mut self, wait: Rc<Wait>, grant: Grant) {
        if wait.wide.is_none() {
            self.told = Some((wait, grant));
        }
    }

    /// Whether somebody is about to be told.
    pub fn has_granted(&self) -> bool {
        !self.granted.is_empty()
    }

    /// Whether this reservation of a job is set aside for a waiter that has not been told yet. O(n) for n of them, unless it
    /// is older than all that is set aside, as it mostly is.
    pub fn is_granted(&self, uid: u64, name: &[u8], id: u64, reservation: &Reservation) -> bool {
        if reservation.n < self.granted_from_n {
            return false;
        }
        self.granted.iter().filter_map(|(_, place)| self.waiters.at(place)).any(|waiter| {
            waiter.grant.as_ref().is_some_and(|grant| {
                grant.uid == uid && *grant.name == *name && grant.jobs.contains(&(id, reservation.n))
            }) && waiter.wait.worker().kept() == reservation.worker
        })
    }

    /// A wide waiter may not use the tube of this number.
    pub fn bar(&mut self, number: u64, tube: u32) {
        let waiter = self.waiters.place(number).and_then(|place| self.waiters.at_mut(place));
        waiter.into_iter().for_each(|waiter| {
            let barred = &mut Rc::make_mut(&mut waiter.wait).barred;
            if let Err(at) = barred.binary_search(&tube) {
                barred.insert(at, tube);
            }
        });
    }

    /// What was set aside is gone: the waiter takes its old place again. Returns what it waits for.
    pub fn take_place_again(&mut self, number: u64) -> Option<Rc<Wait>> {
        let place = self.waiters.place(number)?;
        self.granted.remove(number, place);
        let waiter = self.waiters.at_mut(place)?;
        waiter.grant = None;
        let wait = Rc::clone(&waiter.wait);
        self.stand(number, place);
        Some(wait)
    }

    /// When the next wait is over (Unix ms).
    pub fn next_ms(&self) -> Option<u64> {
        self.ends.first().map(|(until_ms, _)| until_ms)
    }

    /// A waiter whose time is over.
    pub fn next_over(&self, now_ms: u64) -> Option<u64> {
        self.ends.first().filter(|(until_ms, _)| is_over(*until_ms, now_ms)).map(|(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(name: &Name) -> Wait {
        let names = vec![Rc::clone(name)];
        let barred = Vec::new();
        Wait {
            db: 0,
            names,
            wide: None,
            barred,
            count: None,
            ttr_ms: None,
            bound: false,
            client: 1,
            until_ms: 5,
            margin_ms: None,
        }
    }

    /// Timeouts ask of each reservation whether it is set aside. Those from before are not looked for.
    #[test]
    fn what_is_older_than_all_that_is_set_aside_is_not_looked_for() {
        let mut line = Line::default();
        let name = Name::from(&b"a"[..]);
        let grant = |jobs: &[(u64, u64)]| {
            let (name, jobs, copies) = (Rc::clone(&name), jobs.to_vec(), Vec::new());
            Grant { uid: 1, name, jobs, copies }
        };
        let is_granted = |line: &Line, id, n| {
            let reservation = Reservation { n, worker: 1, ..Reservation::default() };
            line.is_granted(1, b"a", id, &reservation)
        };
        let numbers: Vec<u64> = (0..4).map(|_| line.join(wait(&name))).collect();
        line.grant(numbers[0], grant(&[(1, 100), (2, 101)]));
        assert_eq!(line.granted_from_n, 100);
        assert!(is_granted(&line, 1, 100) && is_granted(&line, 2, 101) && !is_granted(&line, 1, 99));
        // The clock has stepped back.
        line.grant(numbers[1], grant(&[(3, 50)]));
        line.grant(numbers[2], grant(&[(4, 102)]));
        assert!(is_granted(&line, 3, 50) && is_granted(&line, 1, 100) && is_granted(&line, 4, 102));
        // The first loses what was set aside, and gets something else before anybody is told.
        assert!(line.take_granted().is_some() && line.take_place_again(numbers[0]).is_some());
        assert!(!is_granted(&line, 1, 100));
        line.grant(numbers[0], grant(&[(1, 103)]));
        assert!(is_granted(&line, 3, 50) && is_granted(&line, 1, 103));
        numbers.iter().for_each(|number| assert!(line.leave(*number).is_some()));
        let number = line.join(wait(&name));
        line.grant(number, grant(&[(5, 200)]));
        assert_eq!(line.granted_from_n, 200, "what is smaller was told long ago");
        assert!(is_granted(&line, 5, 200));
    }

    #[test]
    fn what_a_wide_waiter_watches_is_its_own_again_once_it_is_told() {
        let mut line = Line::default();
        let mut watched = Watched::default();
        watched.widen(std::iter::empty());
        let watched = Rc::new(watched);
        let name = Name::from(&b"a"[..]);
        let number = line.join(Wait { names: Vec::new(), wide: Some(Rc::clone(&watched)), ..wait(&name) });
        line.grant(number, Grant { uid: 1, name, jobs: vec![(1, 1)], copies: Vec::new() });
        let (_, wait, grant) = line.take_granted().expect("one is to be told");
        line.leave(number);
        line.told(wait, grant);
        assert_eq!(Rc::strong_count(&watched), 1);
    }

    #[test]
    fn lines_in_which_nobody_stands_are_forgotten() {
        let mut line = Line::default();
        let names: Vec<Name> = (0..1_000).map(|n: u32| Name::from(n.to_be_bytes())).collect();
        for _ in 0..2 {
            let numbers: Vec<u64> = names.iter().map(|name| line.join(wait(name))).collect();
            assert_eq!(line.tubes_waited_on(0).len(), names.len());
            numbers.iter().for_each(|number| assert!(line.leave(*number).is_some()));
            assert!(line.tubes_waited_on(0).is_empty());
            assert!(names.iter().all(|name| line.first(0, name, None).is_none()));
            let lines = &line.tubes[&0];
            assert_eq!(lines.by_name.len(), lines.empty);
            assert!(lines.empty <= 2 * EMPTY, "{} empty lines stay", lines.empty);
        }
    }
}
