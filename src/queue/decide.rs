//! What a request comes to. Every function reads the tube and names the change to make, or `None` when there is
//! nothing to do. None of them fails and none changes anything.

use std::hint::black_box;

use super::event::{Change, Then, Why};
use super::job::{Handle, Job, Reservation, State};
use super::jobs::Order;
use super::time::{U48_MAX, is_over};
use super::tube::Tube;

/// What becomes of jobs that go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// A job whose attempt is above this is buried instead; `None` for no limit.
    pub count: Option<u32>,
    /// How long a job waits after a timeout, a lost connection, or a release that names no delay.
    pub interval_ms: u64,
}

/// Who reserves, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// The client's id; 0 when there is none.
    pub client: u64,
    /// The reservation's time to run in milliseconds; `None` for the job's own.
    pub ttr_ms: Option<u64>,
}

impl Worker {
    /// One who takes each job for the job's own time to run.
    pub fn of(client: u64) -> Worker {
        Worker { client, ttr_ms: None }
    }

    /// The client as a reservation keeps it.
    pub fn kept(&self) -> u64 {
        if self.client <= U48_MAX { self.client } else { 0 }
    }
}

/// The job that a handle names: for a lease, only while that reservation holds. One that is over does not hold,
/// even if nobody has ended it yet.
pub fn named(tube: &Tube, handle: Handle, now_ms: u64) -> Option<Job<'_>> {
    let job = tube.job(handle.id)?;
    match handle.n {
        Some(n) => {
            job.reservation.is_some_and(|r| r.n == n && !is_over(r.deadline_ms, now_ms)).then_some(job)
        }
        None => Some(job),
    }
}

fn reserved(tube: &Tube, handle: Handle, now_ms: u64) -> Option<Job<'_>> {
    named(tube, handle, now_ms).filter(|job| job.state == State::Reserved)
}

/// As [`named`], without a look at more of the job than that takes.
fn is_named(tube: &Tube, handle: Handle, now_ms: u64) -> bool {
    match handle.n {
        Some(n) => tube.is_held(handle.id, n, now_ms),
        None => tube.has(handle.id),
    }
}

/// The reservation that a handle names.
fn reservation(tube: &Tube, handle: Handle, now_ms: u64) -> Option<Reservation> {
    let holds = |r: &Reservation| handle.n.is_none_or(|n| r.n == n && !is_over(r.deadline_ms, now_ms));
    tube.reservation(handle.id).filter(holds)
}

/// The most urgent ready job, unless the tube is paused.
pub fn next(tube: &Tube, now_ms: u64) -> Option<Job<'_>> {
    if tube.is_paused(now_ms) { None } else { tube.first(Order::Ready) }
}

/// Priority and id of that job: of several tubes, the one where this is least has the most urgent one.
pub fn head(tube: &Tube, now_ms: u64) -> Option<(u32, u64)> {
    next(tube, now_ms).map(|job| (job.pri, job.id))
}

/// Hands out a job that is not reserved.
pub fn hand_out(job: &Job<'_>, now_ms: u64, worker: Worker) -> Change<'static> {
    // Its worker is told the body next. Where no cache knows it, it is on its way from here, with the rest of the job.
    if let [first, .., last] = job.body {
        black_box(first ^ last);
    }
    // Above the last lease even where that one is remembered, above those that a crash forgot by the clock.
    let n = job.history.last_n.saturating_add(1).max(now_ms).min(U48_MAX);
    Change::Reserve { id: job.id, n, worker: worker.kept(), ttr_ms: worker.ttr_ms.unwrap_or(job.ttr_ms) }
}

/// Hands out the most urgent ready job, unless the tube is paused.
pub fn reserve(tube: &Tube, now_ms: u64, worker: Worker) -> Option<Change<'static>> {
    next(tube, now_ms).as_ref().map(|job| hand_out(job, now_ms, worker))
}

/// A job that is ready, delayed or buried.
pub fn takeable(tube: &Tube, handle: Handle, now_ms: u64) -> Option<Job<'_>> {
    named(tube, handle, now_ms).filter(|job| job.state != State::Reserved)
}

/// Deletes a job in any state.
pub fn delete(tube: &Tube, handle: Handle, now_ms: u64) -> Option<Change<'static>> {
    is_named(tube, handle, now_ms).then_some(Change::Delete { id: handle.id })
}

/// How a worker wants its job released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The job's priority from now on; `None` keeps it.
    pub pri: Option<u32>,
    /// How long it waits, in milliseconds; `None` leaves that to [`Retry`], and is 0 for an untried job.
    pub delay_ms: Option<u64>,
    /// Whether it was not worked on, so that the attempt does not count.
    pub untried: bool,
}

/// Releases a reserved job.
pub fn release(
    tube: &Tube,
    handle: Handle,
    now_ms: u64,
    release: Release,
    retry: Retry,
) -> Option<Change<'static>> {
    let why = if release.untried { Why::Untried } else { Why::Released };
    let job = reserved(tube, handle, now_ms)?;
    Some(send_back(&job, why, release.pri, release.delay_ms, retry))
}

/// Gives back a reserved job whose connection closed.
pub fn lose(tube: &Tube, handle: Handle, now_ms: u64, retry: Retry) -> Option<Change<'static>> {
    reserved(tube, handle, now_ms).map(|job| send_back(&job, Why::Lost, None, None, retry))
}

/// Gives back a reserved job that its worker never heard of.
pub fn undeliver(tube: &Tube, handle: Handle, now_ms: u64) -> Option<Change<'static>> {
    reserved(tube, handle, now_ms).map(|job| send_back(&job, Why::Undelivered, None, None, Retry::default()))
}

fn send_back(
    job: &Job<'_>,
    why: Why,
    pri: Option<u32>,
    delay_ms: Option<u64>,
    retry: Retry,
) -> Change<'static> {
    let counts = !matches!(why, Why::Untried | Why::Undelivered);
    let attempts = if counts { job.attempt() } else { job.history.attempts };
    let delay_ms = delay_ms.unwrap_or(if counts { retry.interval_ms } else { 0 });
    let then = match delay_ms {
        _ if retry.count.is_some_and(|limit| attempts > limit) => Then::Buried,
        0 => Then::Ready,
        delay_ms => Then::Delayed { delay_ms },
    };
    Change::Return { id: job.id, why, then, pri: pri.unwrap_or(job.pri) }
}

/// Buries a reserved job.
pub fn bury(tube: &Tube, handle: Handle, now_ms: u64, pri: Option<u32>) -> Option<Change<'static>> {
    reserved(tube, handle, now_ms).map(|job| Change::Bury { id: job.id, pri: pri.unwrap_or(job.pri) })
}

/// Gives a reservation a new deadline: `for_ms` from now, or its whole time to run.
pub fn touch(tube: &Tube, handle: Handle, now_ms: u64, for_ms: Option<u64>) -> Option<Change<'static>> {
    let reservation = reservation(tube, handle, now_ms)?;
    Some(Change::Touch { id: handle.id, for_ms: for_ms.unwrap_or(reservation.ttr_ms) })
}

/// Kicks the next job: the oldest buried one or, if none is buried, the delayed one that is due soonest.
/// `order` stays the same for all jobs of one kick; [`kickable`] tells it.
pub fn kick(tube: &Tube, order: Order) -> Option<Change<'static>> {
    tube.first(order).map(|job| Change::Kick { id: job.id })
}

/// The order in which a kick takes jobs now.
pub fn kickable(tube: &Tube) -> Order {
    if tube.counts().of(State::Buried) > 0 { Order::Buried } else { Order::Delayed }
}

/// Kicks one job if it is buried or delayed.
pub fn kick_job(tube: &Tube, handle: Handle, now_ms: u64) -> Option<Change<'static>> {
    let job =
        named(tube, handle, now_ms).filter(|job| matches!(job.state, State::Buried | State::Delayed))?;
    Some(Change::Kick { id: job.id })
}

/// Gives a job in any state another priority.
pub fn prioritize(tube: &Tube, handle: Handle, now_ms: u64, pri: u32) -> Option<Change<'static>> {
    is_named(tube, handle, now_ms).then_some(Change::Prioritize { id: handle.id, pri })
}

/// Delays a ready, delayed or buried job.
pub fn delay(tube: &Tube, handle: Handle, now_ms: u64, delay_ms: u64) -> Option<Change<'static>> {
    takeable(tube, handle, now_ms).map(|job| Change::Delay { id: job.id, delay_ms })
}

/// What is due at this time, the most overdue first: a promotion, a timeout, or the end of the pause. Called
/// early or again it names nothing, so ticks do no harm.
pub fn due(tube: &Tube, now_ms: u64, retry: Retry) -> Option<Change<'static>> {
    let promotion = tube.jobs.first_key(Order::Delayed);
    let timeout = tube.jobs.first_key(Order::Deadline);
    let resumption = tube.pause_ends_ms();
    let first = promotion.min(timeout).min(resumption);
    if !is_over(first, now_ms) {
        None
    } else if first == resumption {
        Some(Change::Resume)
    } else if first == promotion {
        due_promotion(tube, now_ms)
    } else {
        tube.first(Order::Deadline).map(|job| send_back(&job, Why::TimedOut, None, None, retry))
    }
}

/// The promotion that is due at this time, whatever else is.
pub fn due_promotion(tube: &Tube, now_ms: u64) -> Option<Change<'static>> {
    let is_due = is_over(tube.jobs.first_key(Order::Delayed), now_ms);
    is_due.then(|| tube.first(Order::Delayed).map(|job| Change::Promote { id: job.id })).flatten()
}

/// What is due of one job at this time: its promotion, or its timeout.
pub fn due_of(tube: &Tube, id: u64, now_ms: u64, retry: Retry) -> Option<Change<'static>> {
    let job = tube.job(id)?;
    match (job.state, job.reservation) {
        (State::Delayed, _) if is_over(job.timing.at, now_ms) => Some(Change::Promote { id }),
        (State::Reserved, Some(reservation)) if is_over(reservation.deadline_ms, now_ms) => {
            Some(send_back(&job, Why::TimedOut, None, None, retry))
        }
        _ => None,
    }
}

/// Takes the tube away once it has been idle for `linger_ms`.
pub fn remove(tube: &Tube, now_ms: u64, linger_ms: u64) -> Option<Change<'static>> {
    let until_ms = tube.header.used_at_ms.saturating_add(linger_ms);
    // Where tubes do not linger, they go at once.
    let is_for_long = is_over(until_ms, now_ms) || linger_ms == 0 && until_ms == now_ms;
    (tube.is_idle() && is_for_long).then_some(Change::Remove)
}
