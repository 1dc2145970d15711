//! Taking a job, or waiting for one.

use std::rc::Rc;

use crate::broker::{Access, Key, Name, Wait, World};
use crate::queue::decide;
use crate::queue::{DURATION_MAX_MS, is_over};

use super::answer::{Answer, DEADLINE_SOON, INTERNAL_ERROR, TIMED_OUT};
use super::gates::{Gates, Trouble};
use super::run::{Intent, Run};
use super::session::{Stage, Waiting};

/// So long before the first of its reservations ends, a worker is not kept waiting, in milliseconds.
const MARGIN_MS: u64 = 1000;

/// A reserve that never times out.
const NEVER: u64 = u64::MAX;

const RESERVE: &str = "PHEAN.RESERVE";

impl<W: World, G: Gates> Run<'_, W, G> {
    /// `reserve`, `reserve-with-timeout <seconds>`
    pub(super) fn reserve(&mut self, timeout_s: Option<u64>) -> Result<(), Answer> {
        self.be_worker();
        let until_ms = timeout_s.map_or(NEVER, |seconds| self.now_ms.saturating_add(seconds * 1000));
        let mut barred = Vec::new();
        if !self.take_most_urgent(until_ms > self.now_ms, &mut barred)? {
            self.wait(until_ms, None, barred);
        }
        Ok(())
    }

    /// A wait was interrupted: for its end, for a margin, or for nothing, if the deadline has moved meanwhile.
    pub(super) fn go_on_waiting(&mut self, waiting: Waiting) {
        // If nothing may be given out just now, that is no reason to end the wait.
        let mut barred = Vec::new();
        if self.take_most_urgent(false, &mut barred) != Ok(true) {
            self.wait(waiting.until_ms, Some(waiting.number), barred);
        }
    }

    /// There is no job now: waits, unless there is a reason not to. Of very many watched tubes, these are barred.
    fn wait(&mut self, until_ms: u64, number: Option<u64>, barred: Vec<u32>) {
        let soonest = self.broker.soonest_held(self.world, self.session.client, self.now_ms);
        let holds = soonest.is_some();
        let margin_ms = soonest.map_or(NEVER, |held| held.deadline_ms.saturating_sub(MARGIN_MS));
        if margin_ms <= self.now_ms {
            return self.say(DEADLINE_SOON);
        }
        // A wait of no time does not begin. One that has begun lasts until its last millisecond is over.
        let has_time =
            if number.is_some() { !is_over(until_ms, self.now_ms) } else { until_ms > self.now_ms };
        if !has_time || self.session.is_half_closed() {
            return self.say(TIMED_OUT);
        }
        let is_wide = self.session.watched.is_wide();
        let wait = Wait {
            db: self.port.settings.db,
            names: if is_wide { Vec::new() } else { self.usable() },
            wide: is_wide.then(|| Rc::clone(&self.session.watched)),
            barred,
            count: None,
            ttr_ms: None,
            bound: true,
            client: self.session.client,
            until_ms: until_ms.min(margin_ms).min(self.now_ms.saturating_add(DURATION_MAX_MS)),
            margin_ms: holds.then_some(MARGIN_MS),
        };
        let number = match number {
            Some(number) => {
                self.broker.wait_again(number, wait);
                number
            }
            None => self.broker.wait(wait),
        };
        self.port.waiters.insert(number, self.session.client);
        self.session.stage = Stage::Waiting(Waiting { number, until_ms });
    }

    /// Takes the most urgent job over all watched tubes. `false` if there is none. Of very many, tells by their numbers
    /// those with jobs that may not be taken.
    fn take_most_urgent(&mut self, will_wait: bool, barred: &mut Vec<u32>) -> Result<bool, Answer> {
        if self.session.watched.is_wide() {
            return self.take_wide(barred);
        }
        if let [only] = self.session.watched.names() {
            let name = Name::clone(only);
            self.enter(RESERVE, &name, Intent::Write)?;
            return self.take(&name, (None, will_wait), decide::next);
        }
        self.may_write(Intent::Write)?;
        let usable = self.usable();
        if usable.is_empty() {
            return Err(self.trouble(b"", Trouble::NotAllowed));
        }
        match self.choose(&usable)? {
            Some(name) => self.take(&name, (None, will_wait), decide::next),
            None => Ok(false),
        }
    }

    /// The watched tubes that jobs may be taken from. The others are like empty ones.
    fn usable(&mut self) -> Vec<Name> {
        let watched = Rc::clone(&self.session.watched);
        watched.names().iter().filter(|name| is_usable(self.gates, name)).cloned().collect()
    }

    /// Of very many watched tubes that jobs may be taken from, the one with the most urgent job. Those with more urgent
    /// jobs, which may not be taken, are like empty ones, and told by their numbers, in ascending order.
    fn most_urgent(&mut self, barred: &mut Vec<u32>) -> Option<Name> {
        barred.clear();
        let name = self.broker.most_urgent(&self.session.watched, |number, name| {
            let is_usable = is_usable(self.gates, name);
            barred.extend((!is_usable).then_some(number));
            is_usable
        });
        barred.sort_unstable();
        name
    }

    /// The tube with the most urgent job. What is over by now is ended first, a slice of it over all tubes, and those who wait
    /// are served. Costs a look at each. `Err` if none is a tube, nor could be one.
    fn choose(&mut self, names: &[Name]) -> Result<Option<Name>, Answer> {
        let (db, now_ms) = (self.port.settings.db, self.now_ms);
        let mut overdue: Vec<&[u8]> = Vec::new();
        let mut heads = Vec::new();
        for name in names {
            let Ok(key) = self.world.open(db, name, Access::Look) else { continue };
            if self.broker.needs_look(db, name, key.tube(), now_ms) {
                overdue.push(name);
            }
            heads.push((key.tube().and_then(|tube| decide::head(tube, now_ms)), name));
        }
        if heads.is_empty() {
            return Err(self.trouble(names.first().map_or(b"", |name| name), Trouble::WrongType));
        }
        if !overdue.is_empty() {
            let mut left = self.broker.settings.slices.jobs;
            self.broker.look_after_all(self.world, db, &overdue, now_ms, &mut left);
            heads.clear();
            for name in names {
                let Ok(key) = self.world.open(db, name, Access::Look) else { continue };
                heads.push((key.tube().and_then(|tube| decide::head(tube, now_ms)), name));
            }
        }
        let most_urgent = heads.into_iter().filter_map(|(head, name)| Some((head?, name))).min();
        Ok(most_urgent.map(|(_, name)| Name::clone(name)))
    }

    /// Takes the most urgent job over very many tubes.
    fn take_wide(&mut self, barred: &mut Vec<u32>) -> Result<bool, Answer> {
        self.may_write(Intent::Write)?;
        self.broker.end_due(self.world, self.now_ms);
        while let Some(name) = self.most_urgent(barred) {
            match self.take(&name, (None, false), decide::next) {
                Ok(true) => return Ok(true),
                // Those who waited there were served first, or there is no tube any longer.
                Ok(false) | Err(INTERNAL_ERROR) => self.broker.not_urgent(&name),
                Err(answer) => return Err(answer),
            }
        }
        Ok(false)
    }
}

/// Whether jobs may be taken from a tube.
fn is_usable<G: Gates>(gates: &mut G, name: &[u8]) -> bool {
    gates.is_local(name) && gates.may_use(RESERVE, name)
}
