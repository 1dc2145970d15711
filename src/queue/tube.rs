//! A tube: its jobs, its pause, its counters and its deadlines.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::blocks;
use super::event::{Change, Why};
use super::job::{Held, Job, Reservation, State};
use super::jobs::{Counts, Jobs, Order};
use super::segment::{Chunk, NO_KEY};
use super::time::{U48_MAX, is_over};

/// How often things happened. Every number counts jobs: a command for several jobs counts several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Jobs put.
    pub puts: u64,
    /// Jobs handed out.
    pub reserves: u64,
    /// Jobs deleted one by one.
    pub deletes: u64,
    /// Jobs released.
    pub releases: u64,
    /// Jobs buried by a worker.
    pub buries: u64,
    /// Jobs kicked.
    pub kicks: u64,
    /// Jobs touched.
    pub touches: u64,
    /// Reservations that ran out.
    pub timeouts: u64,
    /// Pauses set or ended by command.
    pub pauses: u64,
    /// Jobs deleted by clearing.
    pub cleared: u64,
}

impl Totals {
    /// Counts a change; `cleared` is how many jobs it cleared.
    #[inline(always)]
    pub fn count(&mut self, change: &Change<'_>, cleared: u64) {
        let (total, more) = match change {
            Change::Put { .. } => (&mut self.puts, 1),
            Change::Reserve { .. } => (&mut self.reserves, 1),
            Change::Delete { .. } => (&mut self.deletes, 1),
            Change::Return { why: Why::Released | Why::Untried, .. } => (&mut self.releases, 1),
            Change::Return { why: Why::TimedOut, .. } => (&mut self.timeouts, 1),
            Change::Bury { .. } => (&mut self.buries, 1),
            Change::Touch { .. } => (&mut self.touches, 1),
            Change::Kick { .. } => (&mut self.kicks, 1),
            Change::Pause { .. } => (&mut self.pauses, 1),
            Change::Clear { .. } => (&mut self.cleared, cleared),
            Change::Return { why: Why::Lost | Why::Undelivered, .. }
            | Change::Promote { .. }
            | Change::Prioritize { .. }
            | Change::Delay { .. }
            | Change::Resume
            | Change::Restore(_)
            | Change::Head(_)
            | Change::Remove => return,
        };
        // A snapshot may claim anything.
        *total = total.saturating_add(more);
    }
}

/// What a tube has besides its jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The highest id that the tube ever held; 0 for none.
    pub last_id: u64,
    /// How many burials there were: the number of the last one.
    pub burials: u64,
    /// When the pause ends (Unix ms); 0 when the tube is not paused.
    pub paused_until_ms: u64,
    /// How long the present pause was set for, in milliseconds; 0 when the tube is not paused.
    pub pause_ms: u64,
    /// When the tube last changed (Unix ms).
    pub used_at_ms: u64,
    /// The counters.
    pub totals: Totals,
}

/// The largest number of a burial. Later ones share it, so that not even a tube that came with this number can
/// bury a job in a way that its own snapshot must not say.
pub(super) const BURIALS_MAX: u64 = U48_MAX / 2;

impl Header {
    /// Counts a burial, and returns its number.
    pub(super) fn next_burial(&mut self) -> u64 {
        self.burials = self.burials.saturating_add(1).min(BURIALS_MAX);
        self.burials
    }
}

/// One tube.
#[derive(Clone, Default)]
pub struct Tube {
    pub(super) jobs: Jobs,
    pub(super) header: Header,
}

const _: () = assert!(blocks::is_even::<Tube>());

/// Memory that a cleared tube no longer needs. Dropping it may take long, and can be done in any thread.
#[derive(Default)]
pub struct Trash {
    jobs: Option<Box<Jobs>>,
    cleared: u64,
}

impl Trash {
    pub(super) fn of(jobs: Jobs, cleared: u64) -> Trash {
        Trash { jobs: Some(Box::new(jobs)), cleared }
    }

    /// How many jobs were cleared.
    pub fn jobs(&self) -> u64 {
        self.cleared
    }

    /// How many pieces of memory there are to free.
    pub fn pieces(&self) -> usize {
        self.jobs.as_ref().map_or(0, |jobs| jobs.pieces_of_trash())
    }
}

impl Tube {
    /// An empty tube, last used at `now_ms`.
    pub fn new(now_ms: u64) -> Tube {
        Tube { jobs: Jobs::default(), header: Header { used_at_ms: now_ms, ..Header::default() } }
    }

    /// What the tube has besides its jobs.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many jobs stand in which state.
    pub fn counts(&self) -> Counts {
        self.jobs.counts()
    }

    /// Whether there is a ready job.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.jobs.counts().of(State::Ready) > 0
    }

    /// The job `id`. O(log n).
    pub fn job(&self, id: u64) -> Option<Job<'_>> {
        self.jobs.get(id)
    }

    /// Whether there is a job `id`. O(log n).
    pub fn has(&self, id: u64) -> bool {
        self.jobs.has(id)
    }

    /// Whether the reservation `n` of the job `id` holds at `now_ms`. O(log n).
    pub fn is_held(&self, id: u64, n: u64, now_ms: u64) -> bool {
        self.jobs.is_held(id, n, now_ms)
    }

    /// The reservation of the job `id`, if there is such a job and it is reserved. O(log n).
    pub fn reservation(&self, id: u64) -> Option<Reservation> {
        self.jobs.reservation(id)
    }

    /// The job `id` for the worker that holds it, if there is such a job and it is reserved. O(log n).
    pub fn held(&self, id: u64) -> Option<Held<'_>> {
        self.jobs.held(id)
    }

    /// The next job to go in an order. O(1) segments.
    pub fn first(&self, order: Order) -> Option<Job<'_>> {
        self.jobs.first(order)
    }

    /// The ids of the next `count` jobs to go in an order.
    pub fn ordered(&self, order: Order, count: usize) -> Vec<u64> {
        self.jobs.ordered(order, count)
    }

    /// All jobs, by id.
    pub fn jobs(&self) -> impl Iterator<Item = Job<'_>> {
        self.jobs.from(0)
    }

    /// All jobs, as a snapshot holds them, with their bodies.
    pub fn chunks(&self) -> impl Iterator<Item = (Chunk<'static>, Cow<'_, [u8]>)> {
        self.jobs.chunks()
    }

    /// Walks over the jobs from `id` on, by id, for at most `count` steps, and shows those in `state` (any if
    /// `None`) to `visit`. Returns the id to go on from, or `None` at the end.
    pub fn scan(
        &self,
        id: u64,
        state: Option<State>,
        count: usize,
        visit: impl FnMut(&Job<'_>),
    ) -> Option<u64> {
        self.jobs.scan(id, state, count, visit)
    }

    /// Since when the ready job of the lowest id is ready (Unix ms).
    pub fn oldest_ready_since_ms(&self) -> Option<u64> {
        self.jobs.oldest_ready().map(|job| job.ready_since_ms())
    }

    /// Whether reserve takes nothing from the tube at this time.
    pub fn is_paused(&self, now_ms: u64) -> bool {
        self.header.paused_until_ms > 0 && !is_over(self.header.paused_until_ms, now_ms)
    }

    /// How long the tube is still paused, in milliseconds.
    pub fn pause_left_ms(&self, now_ms: u64) -> u64 {
        self.header.paused_until_ms.saturating_sub(now_ms)
    }

    /// When the pause ends (Unix ms); [`NO_KEY`] if there is none.
    #[inline]
    pub(super) fn pause_ends_ms(&self) -> u64 {
        if self.header.paused_until_ms == 0 { NO_KEY } else { self.header.paused_until_ms }
    }

    /// Whether nothing would be lost if the tube went: no job and no pause.
    pub fn is_idle(&self) -> bool {
        self.counts().all() == 0 && self.header.paused_until_ms == 0
    }

    /// When something next happens by itself (Unix ms): a delayed job becomes ready, a reservation or the pause
    /// ends, or the idle tube has lingered for `linger_ms`.
    pub fn next_deadline_ms(&self, linger_ms: u64) -> Option<u64> {
        let due_ms = self.due_ms();
        if due_ms != NO_KEY {
            return Some(due_ms);
        }
        self.is_idle().then(|| self.header.used_at_ms.saturating_add(linger_ms))
    }

    /// When a delayed job becomes ready, or a reservation or the pause ends (Unix ms); `u64::MAX` for never.
    #[inline]
    pub fn due_ms(&self) -> u64 {
        let first = self.jobs.first_key(Order::Delayed).min(self.jobs.first_key(Order::Deadline));
        first.min(self.pause_ends_ms())
    }

    /// Bytes of memory that the tube takes, as far as they can be known from here.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Tube>() + self.jobs.bytes()
    }

    /// How many pieces of memory there are to free.
    pub fn pieces(&self) -> usize {
        self.jobs.pieces()
    }
}
