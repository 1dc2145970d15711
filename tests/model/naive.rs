//! A tube that cannot be wrong about its structure, as it has none: a map of jobs, with every field spelled
//! out. It is written from the words of the commands, and knows nothing of changes and how they are applied.

use std::collections::BTreeMap;

use phean::queue::decide::{Release, Retry, Worker};
use phean::queue::{Handle, Order, State, Totals};

/// Who holds a reserved job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub n: u64,
    pub since_ms: u64,
    pub deadline_ms: u64,
    pub worker: u64,
    pub ttr_ms: u64,
}

/// Where a job is, with what only matters there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Ready { since_ms: u64 },
    Delayed { due_ms: u64 },
    Reserved(Held),
    Buried { number: u64 },
}

impl Place {
    pub fn state(self) -> State {
        match self {
            Place::Ready { .. } => State::Ready,
            Place::Delayed { .. } => State::Delayed,
            Place::Reserved(_) => State::Reserved,
            Place::Buried { .. } => State::Buried,
        }
    }
}

/// A job as `PHEAN.JOB` would show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelJob {
    pub place: Place,
    pub pri: u32,
    pub created_ms: u64,
    pub delay_ms: u64,
    pub ttr_ms: u64,
    pub attempt: u32,
    pub reserves: u32,
    pub timeouts: u32,
    pub releases: u32,
    pub buries: u32,
    pub kicks: u32,
    /// The number of the job's latest lease.
    pub last_n: u64,
    pub body: Vec<u8>,
}

impl ModelJob {
    pub fn held(&self) -> Option<Held> {
        match self.place {
            Place::Reserved(held) => Some(held),
            _ => None,
        }
    }
}

/// What the clock brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Resume,
    Promote(u64),
    TimeOut(u64),
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub jobs: BTreeMap<u64, ModelJob>,
    pub paused_until_ms: u64,
    pub pause_ms: u64,
    pub used_at_ms: u64,
    pub burials: u64,
    pub totals: Totals,
}

impl Model {
    pub fn new(now_ms: u64) -> Model {
        Model { used_at_ms: now_ms, ..Model::default() }
    }

    // ---- Looking

    pub fn in_state(&self, state: State) -> impl Iterator<Item = (u64, &ModelJob)> {
        self.jobs.iter().filter(move |(_, job)| job.place.state() == state).map(|(id, job)| (*id, job))
    }

    /// All jobs of an order, the next one to go first; on a draw the lower id goes first.
    pub fn order(&self, order: Order) -> Vec<u64> {
        let mut keys: Vec<(u64, u64)> = self
            .jobs
            .iter()
            .filter_map(|(id, job)| match (order, job.place) {
                (Order::Ready, Place::Ready { .. }) => Some((u64::from(job.pri), *id)),
                (Order::Delayed, Place::Delayed { due_ms }) => Some((due_ms, *id)),
                (Order::Deadline, Place::Reserved(held)) => Some((held.deadline_ms, *id)),
                (Order::Held, Place::Reserved(held)) => Some((held.since_ms, *id)),
                (Order::Buried, Place::Buried { number }) => Some((number, *id)),
                _ => None,
            })
            .collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, id)| id).collect()
    }

    fn first(&self, order: Order) -> Option<u64> {
        self.order(order).first().copied()
    }

    pub fn is_paused(&self, now_ms: u64) -> bool {
        self.paused_until_ms > 0 && now_ms <= self.paused_until_ms
    }

    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.paused_until_ms == 0
    }

    /// The time of whatever comes next by itself.
    pub fn next_deadline_ms(&self, linger_ms: u64) -> Option<u64> {
        if self.is_idle() {
            return Some(self.used_at_ms + linger_ms);
        }
        let of_jobs = self.jobs.values().filter_map(|job| match job.place {
            Place::Delayed { due_ms } => Some(due_ms),
            Place::Reserved(held) => Some(held.deadline_ms),
            _ => None,
        });
        of_jobs.chain((self.paused_until_ms > 0).then_some(self.paused_until_ms)).min()
    }

    /// Everything that is due and could come next: the most overdue ones.
    pub fn due(&self, now_ms: u64) -> Vec<Due> {
        let Some(at_ms) = self.next_deadline_ms(0).filter(|at_ms| *at_ms < now_ms && !self.is_idle()) else {
            return Vec::new();
        };
        let resume = (self.paused_until_ms == at_ms).then_some(Due::Resume);
        let promotion = self.first(Order::Delayed).filter(|id| match self.jobs[id].place {
            Place::Delayed { due_ms } => due_ms == at_ms,
            _ => false,
        });
        let timeout = self
            .first(Order::Deadline)
            .filter(|id| self.jobs[id].held().is_some_and(|held| held.deadline_ms == at_ms));
        [resume, promotion.map(Due::Promote), timeout.map(Due::TimeOut)].into_iter().flatten().collect()
    }

    /// Whether the handle names a job now. A lease is good only while its reservation holds.
    pub fn names(&self, handle: Handle, now_ms: u64) -> bool {
        match (self.jobs.get(&handle.id), handle.n) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(job), Some(n)) => job.held().is_some_and(|held| held.n == n && now_ms <= held.deadline_ms),
        }
    }

    fn named_in(&self, handle: Handle, now_ms: u64, states: &[State]) -> Option<u64> {
        (self.names(handle, now_ms) && states.contains(&self.jobs[&handle.id].place.state()))
            .then_some(handle.id)
    }

    fn job(&mut self, id: u64, now_ms: u64) -> &mut ModelJob {
        self.used_at_ms = now_ms;
        self.jobs.get_mut(&id).expect("the model knows the job")
    }

    // ---- Requests. Each returns the id of the job that it changed.

    pub fn put(&mut self, now_ms: u64, id: u64, pri: u32, delay_ms: u64, ttr_ms: u64, body: &[u8]) {
        let place = match delay_ms {
            0 => Place::Ready { since_ms: now_ms },
            _ => Place::Delayed { due_ms: now_ms + delay_ms },
        };
        let job = ModelJob {
            place,
            pri,
            created_ms: now_ms,
            delay_ms,
            ttr_ms,
            attempt: 0,
            reserves: 0,
            timeouts: 0,
            releases: 0,
            buries: 0,
            kicks: 0,
            last_n: 0,
            body: body.to_vec(),
        };
        self.jobs.insert(id, job);
        self.used_at_ms = now_ms;
        self.totals.puts += 1;
    }

    fn hand_out(&mut self, id: u64, now_ms: u64, worker: Worker) -> u64 {
        let job = self.job(id, now_ms);
        let ttr_ms = worker.ttr_ms.unwrap_or(job.ttr_ms);
        let n = now_ms.max(job.last_n + 1);
        job.last_n = n;
        job.attempt += 1;
        job.reserves += 1;
        job.place = Place::Reserved(Held {
            n,
            since_ms: now_ms,
            deadline_ms: now_ms + ttr_ms,
            worker: worker.client,
            ttr_ms,
        });
        self.totals.reserves += 1;
        id
    }

    pub fn reserve(&mut self, now_ms: u64, worker: Worker) -> Option<u64> {
        let id = self.first(Order::Ready).filter(|_| !self.is_paused(now_ms))?;
        Some(self.hand_out(id, now_ms, worker))
    }

    pub fn reserve_job(&mut self, handle: Handle, now_ms: u64, worker: Worker) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Ready, State::Delayed, State::Buried])?;
        Some(self.hand_out(id, now_ms, worker))
    }

    pub fn delete(&mut self, handle: Handle, now_ms: u64) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &State::ALL)?;
        self.jobs.remove(&id);
        self.used_at_ms = now_ms;
        self.totals.deletes += 1;
        Some(id)
    }

    /// A job whose attempt is above the limit is buried; else it waits.
    fn go_back(&mut self, id: u64, now_ms: u64, delay_ms: u64, retry: Retry) {
        let number = self.burials + 1;
        let job = self.job(id, now_ms);
        if retry.count.is_some_and(|count| job.attempt > count) {
            job.buries += 1;
            job.place = Place::Buried { number };
            self.burials = number;
        } else if delay_ms > 0 {
            job.delay_ms = delay_ms;
            job.place = Place::Delayed { due_ms: now_ms + delay_ms };
        } else {
            job.place = Place::Ready { since_ms: now_ms };
        }
    }

    pub fn release(&mut self, handle: Handle, now_ms: u64, release: Release, retry: Retry) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Reserved])?;
        let job = self.job(id, now_ms);
        job.releases += 1;
        job.pri = release.pri.unwrap_or(job.pri);
        let otherwise_ms = if release.untried { 0 } else { retry.interval_ms };
        if release.untried {
            job.attempt -= 1;
        }
        let delay_ms = release.delay_ms.unwrap_or(otherwise_ms);
        self.go_back(id, now_ms, delay_ms, retry);
        // A release says anew how long the job is delayed: no time at all, too.
        let job = self.job(id, now_ms);
        if job.place.state() == State::Ready {
            job.delay_ms = 0;
        }
        self.totals.releases += 1;
        Some(id)
    }

    pub fn lose(&mut self, handle: Handle, now_ms: u64, retry: Retry) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Reserved])?;
        self.go_back(id, now_ms, retry.interval_ms, retry);
        Some(id)
    }

    pub fn undeliver(&mut self, handle: Handle, now_ms: u64) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Reserved])?;
        let job = self.job(id, now_ms);
        job.attempt -= 1;
        job.place = Place::Ready { since_ms: now_ms };
        Some(id)
    }

    pub fn bury(&mut self, handle: Handle, now_ms: u64, pri: Option<u32>) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Reserved])?;
        self.burials += 1;
        self.totals.buries += 1;
        let number = self.burials;
        let job = self.job(id, now_ms);
        job.pri = pri.unwrap_or(job.pri);
        job.buries += 1;
        job.place = Place::Buried { number };
        Some(id)
    }

    pub fn touch(&mut self, handle: Handle, now_ms: u64, for_ms: Option<u64>) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Reserved])?;
        if let Place::Reserved(held) = &mut self.job(id, now_ms).place {
            held.deadline_ms = now_ms + for_ms.unwrap_or(held.ttr_ms);
        }
        self.totals.touches += 1;
        Some(id)
    }

    fn kick_one(&mut self, id: u64, now_ms: u64) -> u64 {
        let job = self.job(id, now_ms);
        job.attempt = 0;
        job.kicks += 1;
        job.place = Place::Ready { since_ms: now_ms };
        self.totals.kicks += 1;
        id
    }

    /// Buried jobs, oldest first; delayed ones, soonest first, only if none is buried. All of one kick.
    pub fn kick(&mut self, now_ms: u64, count: usize) -> Vec<u64> {
        let buried = self.order(Order::Buried);
        let ids = if buried.is_empty() { self.order(Order::Delayed) } else { buried };
        ids.into_iter().take(count).map(|id| self.kick_one(id, now_ms)).collect()
    }

    pub fn kick_job(&mut self, handle: Handle, now_ms: u64) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Buried, State::Delayed])?;
        Some(self.kick_one(id, now_ms))
    }

    pub fn prioritize(&mut self, handle: Handle, now_ms: u64, pri: u32) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &State::ALL)?;
        self.job(id, now_ms).pri = pri;
        Some(id)
    }

    pub fn delay(&mut self, handle: Handle, now_ms: u64, delay_ms: u64) -> Option<u64> {
        let id = self.named_in(handle, now_ms, &[State::Ready, State::Delayed, State::Buried])?;
        let job = self.job(id, now_ms);
        job.delay_ms = delay_ms;
        job.place = Place::Delayed { due_ms: now_ms + delay_ms };
        Some(id)
    }

    pub fn pause(&mut self, now_ms: u64, for_ms: u64) {
        self.paused_until_ms = if for_ms > 0 { now_ms + for_ms } else { 0 };
        self.pause_ms = for_ms;
        self.used_at_ms = now_ms;
        self.totals.pauses += 1;
    }

    /// Makes what is due happen.
    pub fn happen(&mut self, due: Due, now_ms: u64, retry: Retry) {
        match due {
            Due::Resume => {
                self.paused_until_ms = 0;
                self.pause_ms = 0;
                self.used_at_ms = now_ms;
            }
            Due::Promote(id) => self.job(id, now_ms).place = Place::Ready { since_ms: now_ms },
            Due::TimeOut(id) => {
                self.job(id, now_ms).timeouts += 1;
                self.totals.timeouts += 1;
                self.go_back(id, now_ms, retry.interval_ms, retry);
            }
        }
    }

    pub fn clear(&mut self, now_ms: u64, states: &[State]) {
        let before = self.jobs.len();
        self.jobs.retain(|_, job| !states.contains(&job.place.state()));
        self.totals.cleared += (before - self.jobs.len()) as u64;
        self.used_at_ms = now_ms;
    }
}
