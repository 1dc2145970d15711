//! About a hundred jobs packed together: the unit in which a tube grows, shrinks and is searched.
//!
//! ```text
//! rows    id, when it was put, where its body starts     4 bytes each, of those in which the jobs differ
//! pris    pri, or pri pri pri ...                        4 bytes a job, unless all have the same
//! ttrs    ttr, or ttr ttr ttr ...                        8 bytes a job, unless all have the same
//! bodies  body of slot 0 | body of slot 1 | body of slot 2 ...
//! ready, dead                                            a bit a job
//! reservations, timings, histories                       only of the jobs that have them
//! firsts  for each order the first job here, with its key
//! ```
//!
//! Ids of a tube only grow, so jobs are only ever appended. A deleted job leaves a dead slot and a hole among
//! the bodies; when half of the bodies or more than half of the slots are dead, the segment is packed anew. That costs
//! each job at most one copy of its body on average, and keeps the memory within twice of what the living jobs need.
//! Clearing some states of a tube, which must be done at once, leaves up to three quarters dead, until a job of the
//! segment is next deleted. Large bodies have a segment each, or share one with a few others (see [`room`]).

mod alike;
mod chunk;
mod first;
mod packed;
mod rare;
mod room;
mod rows;
mod slot_set;
mod sparse;

pub use chunk::Chunk;
pub(super) use room::FEW;

use super::blocks;
use super::event::States;
use super::job::{Held, History, Job, Reservation, State, Timing};
use super::jobs::{ORDERS, Order};
use super::time::{U48, is_over};
use alike::Alike;
use first::First;
use packed::{PackedReservation, PackedTiming};
use rare::Rare;
use room::{BODIES_TARGET, ENOUGH, LARGE, is_better_with, room_for_large, room_for_small, room_to_keep};
use rows::{Row, Rows};
use slot_set::SlotSet;
use sparse::Sparse;

/// So many jobs fit in a segment, dead ones included.
pub(super) const SLOTS_MAX: usize = 128;

/// The key of an order that has no job in a segment.
pub(super) const NO_KEY: u64 = u64::MAX;

/// Everything about a job that can change, read out of its segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) pri: u32,
    pub(super) state: State,
    pub(super) timing: Timing,
    pub(super) reservation: Reservation,
    pub(super) history: History,
}

impl Shape {
    pub(super) fn of(job: &Job<'_>) -> Shape {
        let reservation = job.reservation.unwrap_or_default();
        Shape { pri: job.pri, state: job.state, timing: job.timing, reservation, history: job.history }
    }

    #[inline]
    fn place(&self) -> Place {
        let held = self.reservation.reserved_at_ms;
        match self.state {
            State::Ready => Place { state: self.state, key: u64::from(self.pri), held: NO_KEY },
            State::Delayed | State::Buried => Place { state: self.state, key: self.timing.at, held: NO_KEY },
            State::Reserved => Place { state: self.state, key: self.reservation.deadline_ms, held },
        }
    }
}

/// Where a job stands in the orders: in that of its state and, if it is reserved, in [`Order::Held`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    state: State,
    key: u64,
    held: u64,
}

/// The orders in which the smallest key of a segment is another one after a change, and what it was.
#[derive(Default)]
pub(super) struct Moved {
    orders: u8,
    before: [u64; ORDERS],
}

impl Moved {
    #[cold]
    fn note(&mut self, order: Order, before: u64) {
        let bit = 1 << order as u8;
        if self.orders & bit == 0 {
            self.orders |= bit;
            self.before[order as usize] = before;
        }
    }

    /// Whether there are any.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.orders != 0
    }

    /// The smallest keys as they were, if these are what they are now.
    pub(super) fn before(&self, now: [u64; ORDERS]) -> [u64; ORDERS] {
        let was = |order: usize| if self.orders & 1 << order == 0 { now[order] } else { self.before[order] };
        std::array::from_fn(was)
    }
}

/// What a change of one job meant for its segment.
pub(super) struct Changed {
    /// What the job was.
    pub(super) old: Shape,
    /// What it is now.
    pub(super) new: Shape,
    /// By how many bytes the segment's memory grew.
    pub(super) grown: isize,
}

#[derive(Clone)]
pub(super) struct Segment {
    rows: Rows,
    ready: SlotSet,
    dead: SlotSet,
    firsts: [First; ORDERS],
    pris: Alike<u32>,
    ttrs_ms: Alike<u64>,
    bodies: Vec<u8>,
    reservations: Sparse<PackedReservation>,
    rare: Rare,
    live: u16,
    dead_bytes: u32,
    _filling: [u64; 2],
}

const _: () = assert!(blocks::is_even::<Segment>() && size_of::<Segment>() <= 384);

impl Segment {
    /// An empty segment for jobs whose ids and creation times are at least these.
    pub(super) const fn new(base_id: u64, base_created_ms: u64) -> Segment {
        Segment {
            rows: Rows::new(base_id, base_created_ms),
            ready: SlotSet::EMPTY,
            dead: SlotSet::EMPTY,
            firsts: [First::NONE; ORDERS],
            pris: Alike::Same(0),
            ttrs_ms: Alike::Same(0),
            bodies: Vec::new(),
            reservations: Sparse::new(),
            rare: Rare::new(),
            live: 0,
            dead_bytes: 0,
            _filling: [0; 2],
        }
    }

    /// Empties the segment to be filled anew some time, and keeps its room, or only a `little` of it.
    pub(super) fn empty(&mut self, little: bool) {
        let keeps_little = little || self.has_large_room();
        self.rows.clear();
        self.pris.clear();
        self.ttrs_ms.clear();
        self.bodies.clear();
        self.reservations.clear();
        self.rare = Rare::new();
        self.ready = SlotSet::EMPTY;
        self.dead = SlotSet::EMPTY;
        self.firsts = [First::NONE; ORDERS];
        self.live = 0;
        self.dead_bytes = 0;
        if keeps_little {
            self.bodies.shrink_to(1024);
        }
    }

    /// Starts to fill the empty segment, with jobs whose ids and creation times are at least these.
    pub(super) fn start(&mut self, base_id: u64, base_created_ms: u64) {
        self.rows.start(base_id, base_created_ms);
    }

    /// Makes as much room at once as the one before was filled with, if that was full. The first body will have
    /// `body_len` bytes.
    pub(super) fn make_room_like(&mut self, before: &Segment, body_len: usize) {
        let is_large = body_len > LARGE;
        let room = if is_large { room_for_large(body_len) } else { BODIES_TARGET };
        if before.rows.len() == SLOTS_MAX || before.bodies.len() > room / 2 {
            self.rows.expect(before.rows.len());
            let like_before = room_for_small(before.bodies.len());
            self.bodies.reserve_exact(if is_large { room } else { like_before });
        }
    }

    pub(super) fn live(&self) -> usize {
        usize::from(self.live)
    }

    pub(super) fn base_id(&self) -> u64 {
        self.rows.base_id()
    }

    /// The highest id that a job here has, or had since the segment was packed.
    #[inline]
    pub(super) fn last_id(&self) -> u64 {
        self.rows.last_id()
    }

    /// The smallest key of each order.
    pub(super) fn keys(&self) -> [u64; ORDERS] {
        self.firsts.map(First::key)
    }

    /// Bytes of memory, as the allocator counts them.
    pub(super) fn bytes(&self) -> usize {
        blocks::size_class(size_of::<Segment>())
            + self.rows.bytes()
            + self.pris.bytes()
            + self.ttrs_ms.bytes()
            + blocks::size_class(self.bodies.capacity())
            + self.reservations.bytes()
            + self.rare.bytes()
    }

    /// Whether a job with this id, creation time and length of body can be appended.
    #[inline(always)]
    pub(super) fn fits(&self, id: u64, created_ms: u64, body_len: usize) -> bool {
        let (jobs, bodies) = (self.rows.len(), self.bodies.len() + body_len);
        let room = if jobs < ENOUGH { BODIES_TARGET } else { self.bodies.capacity().min(BODIES_TARGET) };
        let has_room = jobs < SLOTS_MAX && bodies <= room;
        (has_room || self.has_room_for_few(body_len, bodies)) && self.rows.covers(id, created_ms)
    }

    /// Whether there is room where there is none for one more small body among others: for any body in an empty segment,
    /// for a large one where the bodies are large ones, and so many bytes of them belong together, and for any that helps
    /// to fill the block.
    #[cold]
    fn has_room_for_few(&self, body_len: usize, bodies: usize) -> bool {
        if self.rows.is_empty() {
            return true;
        }
        let first = self.body_range(0).len();
        let is_of_few = || body_len > LARGE && first > LARGE && bodies <= room_for_large(first);
        self.rows.len() < SLOTS_MAX && (is_of_few() || is_better_with(self.bodies.len(), body_len))
    }

    /// Whether the bodies are large ones, or have more room than small ones ever have.
    pub(super) fn has_large_room(&self) -> bool {
        let is_large = !self.rows.is_empty() && self.body_range(0).len() > LARGE;
        is_large || self.bodies.capacity() > BODIES_TARGET
    }

    /// Appends a ready job with no history. Its id is above all ids here, and it [fits](Segment::fits). Returns how
    /// many bytes of memory that took anew.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        id: u64,
        created_ms: u64,
        pri: u32,
        ttr_ms: u64,
        body: &[u8],
        moved: &mut Moved,
    ) -> usize {
        let slot = self.rows.len();
        let start = self.bodies.len();
        let mut grown = 0;
        if start + body.len() > self.bodies.capacity() {
            grown += self.make_room(body.len());
        }
        if !self.ttrs_ms.is_same(ttr_ms) || !self.pris.is_same(pri) {
            grown += self.push_others(slot, pri, ttr_ms);
        }
        self.bodies.extend_from_slice(body);
        grown += self.rows.push(Row { id, created_ms, start, body_len: body.len() });
        self.live += 1;
        self.ready.insert(slot);
        self.enter_order(Order::Ready, u64::from(pri), slot, moved);
        grown
    }

    /// Appends priority and time to run of the next job, where not all have the same. Returns how many bytes of memory
    /// that took.
    #[inline(never)]
    fn push_others(&mut self, slot: usize, pri: u32, ttr_ms: u64) -> usize {
        let room = self.rows.room();
        self.pris.push(slot, room, pri) + self.ttrs_ms.push(slot, room, ttr_ms)
    }

    /// Makes room for one more body, in steps that the allocator has exact sizes for. Returns how many bytes of memory
    /// that took.
    #[cold]
    fn make_room(&mut self, body_len: usize) -> usize {
        let before = blocks::size_class(self.bodies.capacity());
        let needed = self.bodies.len() + body_len;
        let is_small = body_len <= LARGE && needed <= BODIES_TARGET;
        let capacity = if is_small { room_for_small(needed) } else { blocks::size_class(needed) };
        self.bodies.reserve_exact(capacity - self.bodies.len());
        blocks::size_class(self.bodies.capacity()) - before
    }

    /// Appends a job in whatever state.
    pub(super) fn push_job(&mut self, job: &Job<'_>) {
        let slot = self.rows.len();
        self.push(job.id, job.created_ms, job.pri, job.ttr_ms, job.body, &mut Moved::default());
        self.take_on(slot, job);
    }

    /// The job in `slot`, ready until now, is as `job` is.
    fn take_on(&mut self, slot: usize, job: &Job<'_>) {
        if !job.is_as_put() {
            self.update(slot, &mut Moved::default(), |shape| *shape = Shape::of(job));
        }
    }

    /// Gives back the room that will not be used, once nothing more is appended.
    pub(super) fn seal(&mut self) {
        if self.bodies.capacity() - self.bodies.len() > self.bodies.len() / 16 {
            self.bodies.shrink_to(room_to_keep(self.bodies.len()));
        }
        self.rows.shrink();
        self.pris.shrink();
        self.ttrs_ms.shrink();
    }

    /// The slot of the living job `id`.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        self.rows.find(id).filter(|slot| !self.dead.has(*slot))
    }

    /// The state of the job in `slot`; `None` if it is dead.
    #[inline]
    fn state(&self, slot: usize) -> Option<State> {
        if self.ready.has(slot) {
            Some(State::Ready)
        } else if self.reservations.slots.has(slot) {
            Some(State::Reserved)
        } else if self.dead.has(slot) {
            None
        } else if self.rare.buried().has(slot) {
            Some(State::Buried)
        } else {
            Some(State::Delayed)
        }
    }

    #[inline]
    pub(super) fn id(&self, slot: usize) -> u64 {
        self.rows.id(slot)
    }

    #[inline]
    fn created_ms(&self, slot: usize) -> u64 {
        self.rows.created_ms(slot)
    }

    #[inline]
    fn body_range(&self, slot: usize) -> std::ops::Range<usize> {
        self.rows.body_range(slot, self.bodies.len())
    }

    /// What can change about the living job in `slot`.
    #[inline(always)]
    pub(super) fn shape(&self, slot: usize) -> Shape {
        let state = self.state(slot).unwrap_or(State::Ready);
        let timing = self.timing(slot, state);
        let reservation = self.reservations.get(slot).map(PackedReservation::get).unwrap_or_default();
        let history = self.rare.history(slot).unwrap_or_default();
        Shape { pri: self.pris.get(slot), state, timing, reservation, history }
    }

    /// Whether the reservation `n` of the job in `slot` holds at `now_ms`.
    #[inline]
    pub(super) fn is_held(&self, slot: usize, n: u64, now_ms: u64) -> bool {
        self.reservations.get(slot).is_some_and(|r| r.n.get() == n && !is_over(r.deadline_ms.get(), now_ms))
    }

    /// The reservation of the job in `slot`, if it is reserved.
    #[inline]
    pub(super) fn reservation(&self, slot: usize) -> Option<Reservation> {
        self.reservations.get(slot).map(PackedReservation::get)
    }

    /// The job in `slot` for the worker that holds it, if it is reserved.
    pub(super) fn held_job(&self, slot: usize) -> Option<Held<'_>> {
        let reservation = self.reservations.get(slot)?;
        let attempts = self.rare.history(slot).map_or(0, |history| history.attempts);
        Some(Held {
            id: self.id(slot),
            n: reservation.n.get(),
            deadline_ms: reservation.deadline_ms.get(),
            worker: reservation.worker.get(),
            attempt: attempts.saturating_add(1),
            body: &self.bodies[self.body_range(slot)],
        })
    }

    /// [`Timing::at`] of a job that has no entry of its own.
    fn implied_at(&self, slot: usize, state: State) -> u64 {
        if state == State::Ready { self.created_ms(slot) } else { 0 }
    }

    /// The living job in `slot`.
    pub(super) fn job(&self, slot: usize) -> Job<'_> {
        // Nearly all that are handed out are ready, and nothing ever happened to them.
        let is_as_put = self.ready.has(slot) && self.rare.has_nothing_of(slot);
        if is_as_put { self.job_as_put(slot) } else { self.job_of_any(slot) }
    }

    /// The job in `slot` as it was when it was put, but for its priority.
    #[inline(always)]
    fn job_as_put(&self, slot: usize) -> Job<'_> {
        let created_ms = self.created_ms(slot);
        Job {
            id: self.id(slot),
            pri: self.pris.get(slot),
            created_ms,
            ttr_ms: self.ttrs_ms.get(slot),
            state: State::Ready,
            timing: Timing { at: created_ms, delay_ms: 0 },
            reservation: None,
            history: History::default(),
            body: &self.bodies[self.body_range(slot)],
        }
    }

    /// The job in `slot`, whatever it has been through.
    #[inline(never)]
    fn job_of_any(&self, slot: usize) -> Job<'_> {
        let state = self.state(slot).unwrap_or(State::Ready);
        Job {
            state,
            timing: self.timing(slot, state),
            reservation: self.reservations.get(slot).map(PackedReservation::get),
            history: self.rare.history(slot).unwrap_or_default(),
            ..self.job_as_put(slot)
        }
    }

    #[inline]
    fn timing(&self, slot: usize, state: State) -> Timing {
        match self.rare.timing(slot) {
            Some(timing) => timing.get(),
            None => Timing { at: self.implied_at(slot, state), delay_ms: 0 },
        }
    }

    /// Changes the living job in `slot`.
    #[inline]
    pub(super) fn update(
        &mut self,
        slot: usize,
        moved: &mut Moved,
        change: impl FnOnce(&mut Shape),
    ) -> Changed {
        let old = self.shape(slot);
        let mut new = old;
        change(&mut new);
        let mut grown = 0;
        if new.pri != old.pri {
            grown += self.pris.set(slot, self.rows.len(), new.pri) as isize;
        }
        let moves = new.state != old.state;
        if moves || new.timing != old.timing {
            let implied = Timing { at: self.implied_at(slot, new.state), delay_ms: 0 };
            let packed = PackedTiming::of(new.timing);
            // Two orders are read from these entries, so that their jobs must have one.
            let is_ordered = matches!(new.state, State::Delayed | State::Buried);
            let has_one = is_ordered || new.timing != implied;
            let is_buried = new.state == State::Buried;
            self.rare.set_timing(slot, has_one.then_some(packed), is_buried, &mut grown);
        }
        if moves || new.reservation != old.reservation {
            let packed = PackedReservation::of(&new.reservation);
            self.reservations.set(slot, (new.state == State::Reserved).then_some(packed), &mut grown);
        }
        if new.history != old.history {
            let has_one = new.history != History::default();
            self.rare.set_history(slot, has_one.then_some(new.history), &mut grown);
        }
        if moves {
            self.mark_ready(slot, new.state == State::Ready);
        }
        if old.place() != new.place() {
            self.enter(new.place(), slot, moved);
            self.leave(old.place(), slot, moved);
        }
        Changed { old, new, grown }
    }

    /// Hands the job in `slot` to a worker, as [`Segment::update`] would, if it is ready and has no timing of its own:
    /// then nothing but the reservation need be written down. Returns the job's priority and by how many bytes the
    /// memory grew; `None` if this is not such a job.
    #[inline]
    pub(super) fn reserve(
        &mut self,
        slot: usize,
        reservation: &Reservation,
        moved: &mut Moved,
    ) -> Option<(u32, isize)> {
        let mut grown = 0;
        if !self.ready.has(slot) || self.rare.timed().has(slot) {
            return None;
        }
        self.ready.remove(slot);
        self.reservations.insert(slot, PackedReservation::of(reservation), &mut grown);
        self.enter_order(Order::Deadline, reservation.deadline_ms, slot, moved);
        self.enter_order(Order::Held, reservation.reserved_at_ms, slot, moved);
        let pri = self.pris.get(slot);
        self.leave_order(Order::Ready, u64::from(pri), slot, moved);
        Some((pri, grown))
    }

    /// Deletes the living job in `slot`. Returns its state and priority, and by how many bytes the memory grew.
    #[inline(always)]
    pub(super) fn remove(&mut self, slot: usize, moved: &mut Moved) -> (State, u32, isize) {
        let state = self.state(slot).unwrap_or(State::Ready);
        let pri = self.pris.get(slot);
        let mut grown = 0;
        let timing = self.rare.take(slot, &mut grown);
        let reservation = self.reservations.take(slot, &mut grown);
        self.ready.remove(slot);
        self.dead.insert(slot);
        self.live -= 1;
        self.dead_bytes += self.body_range(slot).len() as u32;
        match (state, timing, reservation) {
            (State::Ready, ..) => self.leave_order(Order::Ready, u64::from(pri), slot, moved),
            (State::Reserved, _, Some(reservation)) => {
                self.leave_order(Order::Deadline, reservation.deadline_ms.get(), slot, moved);
                self.leave_order(Order::Held, reservation.reserved_at_ms.get(), slot, moved);
            }
            (_, Some(timing), _) => self.leave_order(Order::of(state), timing.at.get(), slot, moved),
            _ => {}
        }
        (state, pri, grown)
    }

    fn mark_ready(&mut self, slot: usize, ready: bool) {
        if ready { self.ready.insert(slot) } else { self.ready.remove(slot) }
    }

    /// Keeps the first jobs true after one came to a place.
    #[inline]
    fn enter(&mut self, place: Place, slot: usize, moved: &mut Moved) {
        self.enter_order(Order::of(place.state), place.key, slot, moved);
        if place.state == State::Reserved {
            self.enter_order(Order::Held, place.held, slot, moved);
        }
    }

    #[inline]
    fn enter_order(&mut self, order: Order, key: u64, slot: usize, moved: &mut Moved) {
        let first = self.firsts[order as usize];
        if First::of(key, slot) < first {
            self.firsts[order as usize] = First::of(key, slot);
            if key != first.key() {
                moved.note(order, first.key());
            }
        }
    }

    /// Keeps the first jobs true after one left its place.
    #[inline]
    fn leave(&mut self, place: Place, slot: usize, moved: &mut Moved) {
        self.leave_order(Order::of(place.state), place.key, slot, moved);
        if place.state == State::Reserved {
            self.leave_order(Order::Held, place.held, slot, moved);
        }
    }

    #[inline]
    fn leave_order(&mut self, order: Order, key: u64, slot: usize, moved: &mut Moved) {
        if self.firsts[order as usize] == First::of(key, slot) {
            let first = self.first_from(order, key);
            self.firsts[order as usize] = first;
            if first.key() != key {
                moved.note(order, key);
            }
        }
    }

    /// The first job in `order`, whose key is known to be no smaller than `at_least`.
    #[inline]
    fn first_from(&self, order: Order, at_least: u64) -> First {
        let key: fn(&PackedReservation) -> U48 = match order {
            Order::Deadline => |r| r.deadline_ms,
            Order::Held => |r| r.reserved_at_ms,
            _ => return self.first_of_all(order, at_least),
        };
        // Jobs that are reserved together are mostly finished in that order.
        match (self.reservations.entries.front(), self.reservations.slots.first()) {
            (Some(first), Some(slot)) if key(first).get() == at_least => First::of(at_least, slot),
            _ => self.first_of_all(order, at_least),
        }
    }

    #[inline(never)]
    fn first_of_all(&self, order: Order, at_least: u64) -> First {
        match order {
            Order::Ready => match &self.pris {
                Alike::Same(pri) => {
                    self.ready.first().map_or(First::NONE, |slot| First::of(u64::from(*pri), slot))
                }
                Alike::Each(pris) => First::of_slots(self.ready, |slot| u64::from(pris[slot]), at_least),
            },
            Order::Deadline => First::of_entries(self.held(|r| r.deadline_ms), at_least),
            Order::Held => First::of_entries(self.held(|r| r.reserved_at_ms), at_least),
            Order::Delayed => First::of_entries(self.timed(State::Delayed), at_least),
            Order::Buried => First::of_entries(self.timed(State::Buried), at_least),
        }
    }

    /// Key and slot of every job in a state whose order is read from the timings, by slot.
    fn timed(&self, state: State) -> impl Iterator<Item = (u64, usize)> + '_ {
        let slots = self.slots_in(state);
        let timings = self.rare.timings().filter(move |(slot, _)| slots.has(*slot));
        timings.map(|(slot, timing)| (timing.at.get(), slot))
    }

    /// Key and slot of every reserved job, by slot.
    fn held(&self, key: fn(&PackedReservation) -> U48) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.reservations.iter().map(move |(slot, reservation)| (key(reservation).get(), slot))
    }

    /// Key and slot of every job that stands in `order`, by slot.
    pub(super) fn entries(&self, order: Order) -> Vec<(u64, usize)> {
        match order {
            Order::Ready => self.ready.map(|slot| (u64::from(self.pris.get(slot)), slot)).collect(),
            Order::Delayed => self.timed(State::Delayed).collect(),
            Order::Deadline => self.held(|r| r.deadline_ms).collect(),
            Order::Held => self.held(|r| r.reserved_at_ms).collect(),
            Order::Buried => self.timed(State::Buried).collect(),
        }
    }

    /// The slot of the first job in `order`: the lowest id among those with the smallest key.
    #[inline]
    pub(super) fn first(&self, order: Order) -> Option<usize> {
        self.firsts[order as usize].slot()
    }

    /// The ready job of the lowest id.
    pub(super) fn oldest_ready(&self) -> Option<Job<'_>> {
        self.ready.first().map(|slot| self.job(slot))
    }

    /// The slots of the living jobs with an id of at least `id`, in the order of ids.
    pub(super) fn living_from(&self, id: u64) -> impl Iterator<Item = usize> + Clone + '_ {
        (self.rows.at_least(id)..self.rows.len()).filter(|slot| !self.dead.has(*slot))
    }

    /// Whether the dead jobs are those of the lowest ids: the segment is being emptied in order.
    pub(super) fn is_emptied_in_order(&self) -> bool {
        self.dead == SlotSet::up_to(self.rows.len() - self.live())
    }

    /// Whether so much is dead that packing anew pays.
    pub(super) fn is_wasteful(&self) -> bool {
        let (dead, dead_bytes) = (self.rows.len() - self.live(), self.dead_bytes as usize);
        (dead >= 16 && dead > self.live()) || (dead_bytes >= 1024 && dead_bytes * 2 >= self.bodies.len())
    }

    /// Deletes all jobs in `states`.
    pub(super) fn clear(&mut self, states: States) {
        let mut gone = SlotSet::EMPTY;
        for state in State::ALL.into_iter().filter(|state| states.has(*state)) {
            gone = gone.and(self.slots_in(state));
            Order::all_of(state).iter().for_each(|order| self.firsts[*order as usize] = First::NONE);
        }
        for slot in gone {
            self.dead_bytes += self.body_range(slot).len() as u32;
            self.live -= 1;
        }
        self.dead = self.dead.and(gone);
        self.ready = self.ready.without(gone);
        self.reservations.keep(self.reservations.slots.without(gone));
        self.rare.forget(gone);
    }

    /// The slots of the living jobs in a state.
    fn slots_in(&self, state: State) -> SlotSet {
        match state {
            State::Ready => self.ready,
            State::Reserved => self.reservations.slots,
            State::Buried => self.rare.buried(),
            State::Delayed => {
                let elsewhere = self.ready.and(self.reservations.slots).and(self.rare.buried());
                self.rare.timed().without(elsewhere)
            }
        }
    }

    /// Whether so little is left that packing anew costs less than what it gives back is worth, where all segments of
    /// a tube lose jobs at once: less than a quarter.
    pub(super) fn is_nearly_empty(&self) -> bool {
        self.live() * 4 < self.rows.len() || self.body_bytes() * 4 < self.bodies.len()
    }

    /// The living jobs, packed anew. The base stays: it is the name by which the tube knows the segment.
    pub(super) fn packed(&self) -> Segment {
        let mut packed = Segment::new(self.base_id(), self.rows.base_created_ms());
        packed.rows.expect(self.live());
        packed.bodies.reserve_exact(room_to_keep(self.body_bytes()));
        let mut living = SlotSet::EMPTY;
        for slot in self.living_from(0) {
            let (start, body) = (packed.bodies.len(), &self.bodies[self.body_range(slot)]);
            packed.mark_ready(packed.rows.len(), self.ready.has(slot));
            packed.push_others(packed.rows.len(), self.pris.get(slot), self.ttrs_ms.get(slot));
            packed.bodies.extend_from_slice(body);
            let (id, created_ms) = (self.id(slot), self.created_ms(slot));
            packed.rows.push(Row { id, created_ms, start, body_len: body.len() });
            living.insert(slot);
        }
        packed.rows.shrink();
        packed.pris.shrink();
        packed.ttrs_ms.shrink();
        packed.reservations = self.reservations.among(living);
        packed.rare = self.rare.among(living);
        packed.firsts = self.firsts.map(|first| match first.slot() {
            Some(slot) => First::of(first.key(), living.below(slot).len()),
            None => First::NONE,
        });
        packed.live = self.live;
        packed
    }

    /// Whether the jobs of `next`, all of higher ids, can be taken over and both stay small.
    pub(super) fn can_absorb(&self, next: &Segment) -> bool {
        self.rows.len() + next.live() <= SLOTS_MAX / 2
            && self.bodies.len() + next.body_bytes() <= BODIES_TARGET / 2
            && (0..next.rows.len()).all(|slot| self.rows.covers(next.id(slot), next.created_ms(slot)))
    }

    /// Takes over the living jobs of `next`.
    pub(super) fn absorb(&mut self, next: &Segment) {
        for slot in next.living_from(0) {
            self.push_job(&next.job(slot));
        }
    }

    /// Bytes in the bodies of the living jobs.
    pub(super) fn body_bytes(&self) -> usize {
        self.bodies.len() - self.dead_bytes as usize
    }
}
