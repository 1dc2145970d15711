//! Telling waiters what was reserved for them.
//!
//! A job that becomes ready is reserved for the first in line in the same step. The waiter is told later, at the end of
//! the command or of the event loop's turn; until then the job may have been deleted, its time may be over, its tube may have
//! gone to a name or database where the waiter does not wait (`MULTI`, a put, `RENAME`, `EXEC`), or its user may have
//! lost the right to it. So everything is looked at again here.
//!
//! A tube that is gone by then may have gone to another server, reservations and all, where nobody could ever learn of
//! those that were not told of here. So what is set aside is copied when a tube is written out, and told all the same.

use std::rc::Rc;

use crate::queue::{Held, Tube, is_over};

use super::line::Grant;
use super::sessions::Bound;
use super::tick::by_urgency;
use super::{Access, Broker, End, GiveBack, Key, Name, Wait, World};

/// A reserved job with a body of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    job: Held<'static>,
    body: Box<[u8]>,
}

impl Copied {
    fn new(job: &Held<'_>) -> Copied {
        Copied { job: Held { body: &[], ..*job }, body: job.body.into() }
    }

    fn job(&self) -> Held<'_> {
        Held { body: &self.body, ..self.job }
    }
}

impl Broker {
    /// A tube is being written out, perhaps to go to another server (`MIGRATE`; `DUMP`, then `DEL`). Costs nothing
    /// unless there are jobs that are set aside; only then is `place` asked for the tube's database and name.
    pub fn written_out(&mut self, tube: &Tube, place: impl FnOnce() -> Option<(u32, Box<[u8]>)>) {
        if self.line.has_granted()
            && let Some((db, name)) = place()
        {
            let uid = self.names.uid(db);
            let copy = |id, n| tube.held(id).filter(|job| job.n == n).map(|job| Copied::new(&job));
            self.line.keep_copies(uid, &name, copy);
        }
    }

    /// Tells every waiter for which jobs are set aside. Those whose jobs are gone take their old place in line
    /// again.
    pub fn deliver<W: World>(&mut self, world: &mut W, now_ms: u64) {
        self.catch_up(world);
        loop {
            let again = self.deliver_granted(world, now_ms);
            if again.is_empty() {
                return;
            }
            // All of them stand in line again before the first is served, so that nobody overtakes.
            again.iter().for_each(|wait| self.serve_again(world, wait, now_ms));
        }
    }

    /// Tells every waiter for which jobs are set aside, and answers those that stand in line again.
    fn deliver_granted<W: World>(&mut self, world: &mut W, now_ms: u64) -> Vec<Rc<Wait>> {
        let mut again = Vec::new();
        while let Some((number, wait, grant)) = self.line.take_granted() {
            let known = wait.wide.as_ref().and_then(|_| self.wide_number(wait.db, &grant.name));
            if self.names.db_of(grant.uid) != Some(wait.db) || !wait.is_for(&grant.name, known) {
                self.take_back(&wait, &grant);
                again.extend(self.line.take_place_again(number));
                continue;
            }
            let key = world.open(wait.db, &grant.name, Access::Look).ok();
            let tube = key.as_ref().and_then(Key::tube);
            // A copy of another tube may be where the job was, with the same ids, and with lease numbers of the same
            // millisecond; but not with the same worker.
            let worker = wait.worker().kept();
            let is_its =
                |job: &Held<'_>, at_ms: u64| job.worker == worker && !is_over(job.deadline_ms, at_ms);
            let held = |(id, n): &(u64, u64), at_ms: u64| {
                tube?.held(*id).filter(|job| job.n == *n && is_its(job, at_ms))
            };
            // Mostly it is a single job, which needs no memory.
            let (one, several): (Option<Held<'_>>, Vec<Held<'_>>);
            let jobs = match (tube, &*grant.jobs) {
                (Some(_), [job]) => {
                    one = held(job, now_ms);
                    one.as_slice()
                }
                (Some(_), jobs) => {
                    several = jobs.iter().filter_map(|job| held(job, now_ms)).collect();
                    &several
                }
                (None, _) => {
                    let copies = grant.copies.iter().map(Copied::job);
                    several = copies.filter(|job| is_its(job, now_ms)).collect();
                    &several
                }
            };
            if jobs.is_empty() {
                // A clock that steps back would have a reservation hold again that nobody was told of.
                let is_kept = grant.jobs.iter().any(|job| held(job, 0).is_some());
                drop(key);
                if is_kept {
                    self.take_back(&wait, &grant);
                }
                again.extend(self.line.take_place_again(number));
                continue;
            }
            let may_have = world.may_have(number, wait.db, &grant.name);
            if !may_have && let Some(tube) = known {
                // Among very many tubes, it is like an empty one.
                drop(key);
                self.take_back(&wait, &grant);
                // Else it would be copied there, with all that are barred already.
                drop(wait);
                self.line.bar(number, tube);
                again.extend(self.line.take_place_again(number));
                continue;
            }
            let end = if may_have { End::Jobs(&grant.name, jobs) } else { End::Denied };
            world.end_wait(number, end);
            self.line.leave(number);
            let told = if may_have { jobs } else { &[] };
            if wait.bound {
                for Held { id, n, deadline_ms, .. } in told.iter().copied() {
                    let (uid, name) = (grant.uid, grant.name.clone());
                    self.sessions.bind(wait.client, Bound { uid, name, id, n, deadline_ms });
                }
            }
            if told.len() < grant.jobs.len() {
                // The time of some may be over already. Those that were told stand in the same order.
                let mut told = told.iter().peekable();
                self.take_back_but(&wait, &grant, |id| told.next_if(|job| job.id == id).is_some());
            }
            self.line.told(wait, grant);
        }
        again
    }

    /// What was set aside for a waiter goes back.
    pub(super) fn take_back(&mut self, wait: &Wait, grant: &Grant) {
        self.take_back_but(wait, grant, |_| false);
    }

    /// What was set aside for a waiter goes back, but for the jobs that it was told of, which is asked for one after the
    /// other.
    fn take_back_but(&mut self, wait: &Wait, grant: &Grant, mut is_told: impl FnMut(u64) -> bool) {
        let worker = wait.worker().kept();
        for (id, n) in grant.jobs.iter().copied().filter(|(id, _)| !is_told(*id)) {
            let (uid, name) = (grant.uid, grant.name.clone());
            self.give_backs.untold.insert(GiveBack { uid, name, id, n, worker });
        }
    }

    /// Looks whether a waiter that stands in line again can be served from another of its tubes, or by a job
    /// that became ready meanwhile; if nothing may be written now, by a later tick.
    pub(super) fn serve_again<W: World>(&mut self, world: &mut W, wait: &Rc<Wait>, now_ms: u64) {
        if !world.may_write() {
            self.unserved.push_back(Rc::clone(wait));
            return;
        }
        self.serve_wide(world, wait, now_ms);
        let tubes = wait.names.iter().map(|name| (wait.db, Name::clone(name))).collect();
        for (db, name) in by_urgency(world, now_ms, tubes) {
            self.look_after(world, db, &name, now_ms);
        }
    }
}
