//! The only place where a tube changes.

use super::event::{Change, Then, Why};
use super::job::{Reservation, State, Timing};
use super::jobs::{Counts, Jobs};
use super::segment::Shape;
use super::tube::{Trash, Tube};

impl Tube {
    /// Makes one change, at the time it was decided (Unix ms). The change was decided for this very tube, or
    /// [verified](Tube::verify) against it; a change of a job that is not there does nothing.
    ///
    /// Returns what may take long to free. `Remove` changes nothing here: whoever keeps the tube takes it away.
    pub fn apply(&mut self, at_ms: u64, change: &Change<'_>) -> Trash {
        self.apply_counting(at_ms, change, &mut Counts::default())
    }

    /// The same, and keeps `tally`, the counts of this tube and others together, true.
    #[inline(always)]
    pub fn apply_counting(&mut self, at_ms: u64, change: &Change<'_>, tally: &mut Counts) -> Trash {
        let mut trash = Trash::default();
        match *change {
            Change::Put { id, pri, delay_ms, ttr_ms, body } => {
                self.jobs.put(id, at_ms, pri, ttr_ms, body, tally);
                self.header.last_id = id;
                if delay_ms > 0 {
                    self.jobs.update(id, tally, |job| job.become_delayed(at_ms, delay_ms));
                }
            }
            Change::Reserve { id, n, worker, ttr_ms } => {
                let deadline_ms = at_ms.saturating_add(ttr_ms);
                let reservation = Reservation { n, deadline_ms, reserved_at_ms: at_ms, worker, ttr_ms };
                self.jobs.reserve(id, &reservation, tally);
            }
            Change::Delete { id } => {
                self.jobs.remove(id, tally);
            }
            Change::Return { id, why, then, pri } => self.send_back(at_ms, tally, id, why, then, pri),
            Change::Bury { id, pri } => {
                let burial = self.header.next_burial();
                self.jobs.update(id, tally, |job| {
                    job.end_reservation(true);
                    job.pri = pri;
                    job.become_buried(burial);
                });
            }
            Change::Touch { id, for_ms } => {
                self.jobs.update(id, tally, |job| job.reservation.deadline_ms = at_ms.saturating_add(for_ms));
            }
            Change::Kick { id } => {
                self.jobs.update(id, tally, |job| {
                    job.history.attempts = 0;
                    job.history.kicks = job.history.kicks.saturating_add(1);
                    job.become_ready(at_ms);
                });
            }
            Change::Promote { id } => {
                self.jobs.update(id, tally, |job| job.become_ready(at_ms));
            }
            Change::Prioritize { id, pri } => {
                self.jobs.update(id, tally, |job| job.pri = pri);
            }
            Change::Delay { id, delay_ms } => {
                self.jobs.update(id, tally, |job| job.become_delayed(at_ms, delay_ms));
            }
            Change::Pause { for_ms } => {
                self.header.paused_until_ms = if for_ms == 0 { 0 } else { at_ms.saturating_add(for_ms) };
                self.header.pause_ms = for_ms;
            }
            Change::Resume => {
                self.header.paused_until_ms = 0;
                self.header.pause_ms = 0;
            }
            Change::Clear { states } => {
                let before = self.counts().all();
                let jobs: Jobs = self.jobs.clear(states, tally);
                trash = Trash::of(jobs, before - self.counts().all());
            }
            Change::Restore(job) => {
                self.jobs.restore(&job, tally);
                self.header.last_id = job.id;
                if job.state == State::Buried {
                    self.header.burials = self.header.burials.max(job.timing.at);
                }
                return trash;
            }
            Change::Head(header) => {
                self.header = header;
                return trash;
            }
            Change::Remove => return trash,
        }
        self.header.totals.count(change, trash.jobs());
        self.header.used_at_ms = at_ms;
        trash
    }

    fn send_back(&mut self, at_ms: u64, tally: &mut Counts, id: u64, why: Why, then: Then, pri: u32) {
        let burial = if then == Then::Buried { self.header.next_burial() } else { 0 };
        self.jobs.update(id, tally, |job| {
            job.end_reservation(!matches!(why, Why::Untried | Why::Undelivered));
            match why {
                Why::Released | Why::Untried => job.history.releases = job.history.releases.saturating_add(1),
                Why::TimedOut => job.history.timeouts = job.history.timeouts.saturating_add(1),
                Why::Lost | Why::Undelivered => {}
            }
            job.pri = pri;
            match then {
                Then::Ready => {
                    // Told to wait for no time: the delay of an earlier release no longer holds.
                    if matches!(why, Why::Released | Why::Untried) {
                        job.timing.delay_ms = 0;
                    }
                    job.become_ready(at_ms);
                }
                Then::Delayed { delay_ms } => job.become_delayed(at_ms, delay_ms),
                Then::Buried => job.become_buried(burial),
            }
        });
    }
}

impl Shape {
    fn end_reservation(&mut self, counts: bool) {
        self.history.last_n = self.reservation.n;
        self.history.reserves = self.history.reserves.saturating_add(1);
        self.history.attempts = self.history.attempts.saturating_add(u32::from(counts));
        self.reservation = Reservation::default();
    }

    fn become_ready(&mut self, at_ms: u64) {
        self.state = State::Ready;
        self.timing.at = at_ms;
    }

    fn become_delayed(&mut self, at_ms: u64, delay_ms: u64) {
        self.state = State::Delayed;
        self.timing = Timing { at: at_ms.saturating_add(delay_ms), delay_ms };
    }

    fn become_buried(&mut self, burial: u64) {
        self.state = State::Buried;
        self.timing.at = burial;
        self.history.buries = self.history.buries.saturating_add(1);
    }
}
