//! Commands on jobs: putting them, and what becomes of them.

use crate::broker::{Access, Key, Name, Step, World};
use crate::queue::decide::{self, Release, Worker};
use crate::queue::{Change, Handle, Job, Order, Tube};

use super::answer::{Answer, BURIED, DELETED, DRAINING, EXPECTED_CRLF, KICKED, NOT_FOUND, RELEASED, TOUCHED};
use super::gates::{Gates, Trouble};
use super::parse::Put;
use super::run::{Intent, Run};

impl<W: World, G: Gates> Run<'_, W, G> {
    /// `put <pri> <delay> <ttr> <bytes>`, once its body is there, with what stands in its CRLF's place.
    pub(super) fn put(&mut self, put: Put, body: &[u8]) {
        if let Err(answer) = self.try_put(put, body) {
            self.say(answer);
        }
    }

    fn try_put(&mut self, put: Put, body: &[u8]) -> Result<(), Answer> {
        let body = body.strip_suffix(b"\r\n").ok_or(EXPECTED_CRLF)?;
        if self.broker.settings.drain {
            return Err(DRAINING);
        }
        let name = Name::clone(&self.session.used);
        self.enter("PHEAN.PUT", &name, Intent::Grow)?;
        let id = self.on_tube(&name, |step| {
            let id = step.new_ids(1)?;
            step.create();
            step.make(&Change::Put {
                id,
                pri: put.pri,
                delay_ms: u64::from(put.delay_s) * 1000,
                ttr_ms: u64::from(put.ttr_s.max(1)) * 1000,
                body,
            });
            Some(id)
        })?;
        let id = id.ok_or_else(|| self.trouble(&name, Trouble::NoIdsLeft))?;
        self.session.output.push_line(b"INSERTED ", id);
        Ok(())
    }

    /// Changes a tube.
    pub(super) fn on_tube<'s, T>(
        &'s mut self,
        name: &'s [u8],
        work: impl FnOnce(&mut Step<'_, W>) -> T,
    ) -> Result<T, Answer> {
        let db = self.port.settings.db;
        let done = Step::run(self.broker, self.world, db, name, self.now_ms, work);
        done.map_err(|_| self.trouble(name, Trouble::WrongType))
    }

    /// Opens a tube to look at it.
    pub(super) fn look(&mut self, name: &[u8]) -> Result<W::Key, Answer> {
        let key = self.world.open(self.port.settings.db, name, Access::Look);
        key.map_err(|_| self.trouble(name, Trouble::WrongType))
    }

    /// Makes one change of a tube, if it comes to one: of a job that this session holds, or of any.
    fn change(
        &mut self,
        name: &[u8],
        id: u64,
        is_own: bool,
        decide: impl FnOnce(&Tube, u64) -> Option<Change<'static>>,
    ) -> Result<bool, Answer> {
        let client = self.session.client;
        self.on_tube(name, |step| {
            step.end_overdue_of([id]);
            let change = step.tube().and_then(|tube| decide(tube, step.now_ms()));
            if let Some(change) = &change {
                if is_own {
                    step.is_held_by(client);
                }
                step.make(change);
            }
            change.is_some()
        })
    }

    /// Says that it was done, or that there is no such job.
    fn say_done(&mut self, done: bool, answer: Answer) -> Result<(), Answer> {
        self.say(if done { answer } else { NOT_FOUND });
        Ok(())
    }

    /// `delete <id>`: one's own, or one that nobody holds.
    pub(super) fn delete(&mut self, id: u64) -> Result<(), Answer> {
        let (name, n) = self.find(id)?;
        self.enter("PHEAN.DELETE", &name, Intent::Write)?;
        let deleted = self.change(&name, id, n.is_some(), |tube, now_ms| {
            let own = n.and_then(|n| decide::delete(tube, Handle::lease(id, n), now_ms));
            own.or_else(|| match tube.reservation(id) {
                Some(_) => None,
                None => decide::delete(tube, Handle::id(id), now_ms),
            })
        })?;
        self.say_done(deleted, DELETED)
    }

    /// `release <id> <pri> <delay>`: one's own.
    pub(super) fn release(&mut self, id: u64, pri: u32, delay_s: u32) -> Result<(), Answer> {
        let (name, n) = self.find_own(id)?;
        self.enter("PHEAN.RELEASE", &name, Intent::Write)?;
        let retry = self.broker.settings.retry;
        let release = Release { pri: Some(pri), delay_ms: Some(u64::from(delay_s) * 1000), untried: false };
        let released = self.change(&name, id, true, |tube, now_ms| {
            decide::release(tube, Handle::lease(id, n), now_ms, release, retry)
        })?;
        self.say_done(released, RELEASED)
    }

    /// `bury <id> <pri>`: one's own.
    pub(super) fn bury(&mut self, id: u64, pri: u32) -> Result<(), Answer> {
        let (name, n) = self.find_own(id)?;
        self.enter("PHEAN.BURY", &name, Intent::Write)?;
        let buried = self.change(&name, id, true, |tube, now_ms| {
            decide::bury(tube, Handle::lease(id, n), now_ms, Some(pri))
        })?;
        self.say_done(buried, BURIED)
    }

    /// `touch <id>`: one's own.
    pub(super) fn touch(&mut self, id: u64) -> Result<(), Answer> {
        let (name, n) = self.find_own(id)?;
        self.enter("PHEAN.TOUCH", &name, Intent::Write)?;
        let touched = self.change(&name, id, true, |tube, now_ms| {
            decide::touch(tube, Handle::lease(id, n), now_ms, None)
        })?;
        self.say_done(touched, TOUCHED)
    }

    /// `kick-job <id>`: any that is buried or delayed.
    pub(super) fn kick_job(&mut self, id: u64) -> Result<(), Answer> {
        let (name, _) = self.find(id)?;
        self.enter("PHEAN.KICKJOB", &name, Intent::Write)?;
        let kicked =
            self.change(&name, id, false, |tube, now_ms| decide::kick_job(tube, Handle::id(id), now_ms))?;
        self.say_done(kicked, KICKED)
    }

    /// `kick <bound>`: jobs of the used tube.
    pub(super) fn kick(&mut self, bound: u32) -> Result<(), Answer> {
        let name = Name::clone(&self.session.used);
        self.enter("PHEAN.KICK", &name, Intent::Write)?;
        let kicked = self.on_tube(&name, |step| step.kick(u64::from(bound)))?;
        self.session.output.push_line(b"KICKED ", kicked);
        Ok(())
    }

    /// `peek <id>`: any.
    pub(super) fn peek(&mut self, id: u64) -> Result<(), Answer> {
        self.broker.count_peek();
        let (name, _) = self.find(id)?;
        self.enter("PHEAN.PEEK", &name, Intent::Look)?;
        let key = self.look(&name)?;
        self.say_found(key.tube().and_then(|tube| tube.job(id)));
        Ok(())
    }

    /// `peek-ready`, `peek-delayed`, `peek-buried`: the next one to go of the used tube.
    pub(super) fn peek_first(&mut self, order: Order) -> Result<(), Answer> {
        self.broker.count_peek();
        let name = Name::clone(&self.session.used);
        self.enter("PHEAN.PEEK", &name, Intent::Look)?;
        let key = self.look(&name)?;
        self.say_found(key.tube().and_then(|tube| tube.first(order)));
        Ok(())
    }

    fn say_found(&mut self, job: Option<Job<'_>>) {
        match job {
            Some(job) => self.session.output.push_job(b"FOUND ", job.id, job.body),
            None => self.say(NOT_FOUND),
        }
    }

    /// `reserve-job <id>`: any that is not reserved, in whatever tube.
    pub(super) fn reserve_job(&mut self, id: u64) -> Result<(), Answer> {
        let (name, _) = self.find(id)?;
        self.enter("PHEAN.RESERVEJOB", &name, Intent::Write)?;
        let taken = self
            .take(&name, (Some(id), false), |tube, now_ms| decide::takeable(tube, Handle::id(id), now_ms))?;
        if !taken {
            return Err(NOT_FOUND);
        }
        self.be_worker();
        Ok(())
    }

    /// Takes a job of a tube, this one or any, for this connection, if it comes to one, and answers with it. If not, the
    /// connection `will_wait`, perhaps.
    pub(super) fn take(
        &mut self,
        name: &Name,
        (id, will_wait): (Option<u64>, bool),
        choose: impl FnOnce(&Tube, u64) -> Option<Job<'_>>,
    ) -> Result<bool, Answer> {
        let (client, db) = (self.session.client, self.port.settings.db);
        let worker = Worker::of(client);
        let taken = Step::run(self.broker, self.world, db, name, self.now_ms, |step| {
            match id {
                Some(id) => step.end_overdue_of([id]),
                None if will_wait => {}
                None => step.find_due(),
            }
            // The answer is written while the job is at hand: what is decided cannot fail.
            let change = step.tube().and_then(|tube| choose(tube, step.now_ms())).map(|job| {
                self.session.output.push_job(b"RESERVED ", job.id, job.body);
                decide::hand_out(&job, step.now_ms(), worker)
            });
            let Some(change @ Change::Reserve { id, n, ttr_ms, .. }) = change else { return None };
            step.make(&change);
            Some((id, n, step.now_ms().saturating_add(ttr_ms)))
        });
        let taken = taken.map_err(|_| self.trouble(name, Trouble::WrongType))?;
        if let Some((id, n, deadline_ms)) = taken {
            self.broker.bind_until(client, db, name, (id, n), deadline_ms);
        }
        Ok(taken.is_some())
    }
}
