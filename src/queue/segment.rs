//! About a hundred jobs packed together: the unit in which a tube grows, shrinks and is searched.
//!
//! ```text
//! slots   [id created start state] [..] [..]             12 bytes a job, in the order of ids
//! pris    pri pri pri ...                                4 bytes a job: what a search for the most urgent one reads
//! bodies  body of slot 0 | body of slot 1 | body of slot 2 ...
//! ttrs    ttr, or ttr ttr ttr ...                        6 bytes a job, unless all have the same
//! timings, reservations, histories                       only of the jobs that have them
//! keys    for each order the smallest key among the jobs here
//! ```
//!
//! Ids of a tube only grow, so jobs are only ever appended. A deleted job leaves a dead slot and a hole among
//! the bodies; when half of the bodies or more than half of the slots are dead, the segment is packed anew. That costs
//! each job at most one copy of its body on average, and keeps the memory within twice of what the living jobs need.
//! Clearing some states of a tube, which must be done at once, leaves up to three quarters dead, until a job of the
//! segment is next deleted. Large bodies have a segment each, or share one with two others (see [`room`]).

mod chunk;
mod room;
mod ttrs;

use std::collections::VecDeque;

pub use chunk::Chunk;
pub(super) use room::FEW;

use super::event::States;
use super::job::{History, Job, Reservation, State, Timing};
use super::jobs::{ORDERS, Order};
use super::time::{U24, U48};
use room::{BODIES_TARGET, LARGE, room_for_large};
use ttrs::Ttrs;

/// So many jobs fit in a segment, dead ones included: the ready ones are the bits of a `u128`.
pub(super) const SLOTS_MAX: usize = 128;

/// The key of an order that has no job in a segment.
pub(super) const NO_KEY: u64 = u64::MAX;

const DEAD: u8 = 4;

/// What every job has. Ids and creation times count from the segment's first.
#[derive(Clone, Copy)]
struct Slot {
    id: u32,
    created: u32,
    /// Where its body starts. No other than the first starts behind 4 MiB.
    start: U24,
    state: u8,
}

#[derive(Clone, Copy)]
struct PackedTiming {
    at: U48,
    delay_ms: U48,
}

impl Slot {
    /// The job's state; `None` if it is dead.
    fn state(&self) -> Option<State> {
        match self.state {
            0 => Some(State::Ready),
            1 => Some(State::Delayed),
            2 => Some(State::Reserved),
            3 => Some(State::Buried),
            _ => None,
        }
    }
}

impl PackedTiming {
    fn get(self) -> Timing {
        Timing { at: self.at.get(), delay_ms: self.delay_ms.get() }
    }
}

#[derive(Clone, Copy)]
struct PackedReservation {
    n: U48,
    deadline_ms: U48,
    reserved_at_ms: U48,
    worker: U48,
    ttr_ms: U48,
}

impl PackedReservation {
    fn of(r: &Reservation) -> PackedReservation {
        PackedReservation {
            n: U48::new(r.n),
            deadline_ms: U48::new(r.deadline_ms),
            reserved_at_ms: U48::new(r.reserved_at_ms),
            worker: U48::new(r.worker),
            ttr_ms: U48::new(r.ttr_ms),
        }
    }

    fn get(self) -> Reservation {
        Reservation {
            n: self.n.get(),
            deadline_ms: self.deadline_ms.get(),
            reserved_at_ms: self.reserved_at_ms.get(),
            worker: self.worker.get(),
            ttr_ms: self.ttr_ms.get(),
        }
    }
}

/// An empty [`Sparse`] keeps room for so many.
const KEPT: usize = 16;

/// What few jobs of a segment have, in the order of their slots. Jobs mostly come and go in that order, so both ends
/// are cheap. Grows by a quarter of a segment at most, so that little is spare.
#[derive(Clone)]
struct Sparse<T> {
    /// The slots that have an entry, as bits.
    slots: u128,
    entries: VecDeque<T>,
}

/// A slot as a bit.
#[inline]
fn bit(slot: usize) -> u128 {
    1 << slot
}

impl<T: Copy> Sparse<T> {
    const fn new() -> Sparse<T> {
        Sparse { slots: 0, entries: VecDeque::new() }
    }

    /// How many entries stand before that of the slot.
    #[inline]
    fn position(&self, bit: u128) -> usize {
        // Counting bits takes long where the processor may lack an instruction for it, and mostly it is an end.
        match self.slots & (bit - 1) {
            0 => 0,
            before if before == self.slots => self.entries.len(),
            before => before.count_ones() as usize,
        }
    }

    #[inline]
    fn get(&self, bit: u128) -> Option<T> {
        if self.slots & bit == 0 { None } else { self.entries.get(self.position(bit)).copied() }
    }

    /// Gives the slot an entry, or takes it away, and adds to `grown` by how many bytes the memory grew.
    #[inline]
    fn set(&mut self, bit: u128, value: Option<T>, grown: &mut isize) {
        match value {
            Some(value) => self.insert(bit, value, grown),
            None => drop(self.take(bit, grown)),
        }
    }

    fn insert(&mut self, bit: u128, value: T, grown: &mut isize) {
        let at = self.position(bit);
        if self.slots & bit != 0 {
            self.entries[at] = value;
            return;
        }
        if self.entries.len() == self.entries.capacity() {
            let before = self.bytes();
            self.entries.reserve_exact(self.entries.len().clamp(2, SLOTS_MAX / 4));
            *grown += (self.bytes() - before) as isize;
        }
        self.slots |= bit;
        if at == self.entries.len() {
            self.entries.push_back(value);
        } else {
            self.entries.insert(at, value);
        }
    }

    /// Takes the entry of the slot away, and subtracts from `grown` by how many bytes the memory shrank.
    #[inline]
    fn take(&mut self, bit: u128, grown: &mut isize) -> Option<T> {
        if self.slots & bit == 0 { None } else { self.take_out(bit, grown) }
    }

    #[inline(never)]
    fn take_out(&mut self, bit: u128, grown: &mut isize) -> Option<T> {
        let entry = match self.position(bit) {
            0 => self.entries.pop_front(),
            at => self.entries.remove(at),
        };
        self.slots &= !bit;
        // Room is kept while there are others: jobs of a segment come and go together.
        if self.slots == 0 && self.entries.capacity() > KEPT {
            *grown -= self.bytes() as isize;
            self.entries = VecDeque::new();
        }
        entry
    }

    /// Takes all entries away, and keeps room for a few.
    fn clear(&mut self) {
        self.slots = 0;
        self.entries.clear();
        self.entries.shrink_to(8);
    }

    /// Takes away the entries of all other slots than these.
    fn keep(&mut self, slots: u128) {
        if self.slots & slots == 0 {
            (self.slots, self.entries) = (0, VecDeque::new());
        } else if self.slots & !slots != 0 {
            let mut mine = Bits(self.slots);
            self.entries.retain(|_| mine.next().is_some_and(|slot| slots >> slot & 1 != 0));
            self.slots &= slots;
        }
    }

    /// The entries as they stand once there are no slots but the `living`, in which all of them are.
    fn among(&self, living: u128) -> Sparse<T> {
        let place = |slot: usize| (living & (bit(slot) - 1)).count_ones();
        let slots = Bits(self.slots).fold(0, |slots, slot| slots | 1 << place(slot));
        Sparse { slots, entries: self.entries.clone() }
    }

    /// Slots and entries, by slot.
    fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        Bits(self.slots).zip(&self.entries)
    }

    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<T>()
    }
}

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
    base_id: u64,
    base_created_ms: u64,
    ready: u128,
    keys: [u64; ORDERS],
    slots: Vec<Slot>,
    pris: Vec<u32>,
    ttrs_ms: Ttrs,
    bodies: Vec<u8>,
    timings: Sparse<PackedTiming>,
    reservations: Sparse<PackedReservation>,
    histories: Sparse<History>,
    live: u16,
    dead_bytes: u32,
    /// So many of the first slots are dead.
    dead_first: u16,
}

/// One byte more, and the allocator would take 64 more for each segment.
const _: () = assert!(size_of::<Segment>() <= 320);

impl Segment {
    /// An empty segment for jobs whose ids and creation times are at least these.
    pub(super) const fn new(base_id: u64, base_created_ms: u64) -> Segment {
        Segment {
            base_id,
            base_created_ms,
            ready: 0,
            keys: [NO_KEY; ORDERS],
            slots: Vec::new(),
            pris: Vec::new(),
            ttrs_ms: Ttrs::new(),
            bodies: Vec::new(),
            timings: Sparse::new(),
            reservations: Sparse::new(),
            histories: Sparse::new(),
            live: 0,
            dead_bytes: 0,
            dead_first: 0,
        }
    }

    /// Empties the segment to be filled anew some time, and keeps its room, or only a `little` of it.
    pub(super) fn empty(&mut self, little: bool) {
        self.slots.clear();
        self.pris.clear();
        self.ttrs_ms = Ttrs::new();
        self.bodies.clear();
        self.timings = Sparse::new();
        self.reservations.clear();
        self.histories = Sparse::new();
        self.ready = 0;
        self.keys = [NO_KEY; ORDERS];
        self.live = 0;
        self.dead_bytes = 0;
        self.dead_first = 0;
        if little || self.has_large_room() {
            self.slots.shrink_to(16);
            self.pris.shrink_to(16);
            self.bodies.shrink_to(1024);
        }
    }

    /// Starts to fill the empty segment, with jobs whose ids and creation times are at least these.
    pub(super) fn start(&mut self, base_id: u64, base_created_ms: u64) {
        self.base_id = base_id;
        self.base_created_ms = base_created_ms;
    }

    /// Makes as much room at once as the one before was filled with, if that was full. The first body will have
    /// `body_len` bytes.
    pub(super) fn make_room_like(&mut self, before: &Segment, body_len: usize) {
        let is_large = body_len > LARGE;
        let room = if is_large { room_for_large(body_len) } else { BODIES_TARGET };
        if before.slots.len() == SLOTS_MAX || before.bodies.len() > room / 2 {
            self.slots.reserve_exact(before.slots.len());
            self.pris.reserve_exact(before.slots.len());
            let like_before = before.bodies.len().next_power_of_two().clamp(64, BODIES_TARGET);
            self.bodies.reserve_exact(if is_large { room } else { like_before });
        }
    }

    pub(super) fn live(&self) -> usize {
        usize::from(self.live)
    }

    pub(super) fn base_id(&self) -> u64 {
        self.base_id
    }

    /// The highest id that a job here has, or had since the segment was packed.
    pub(super) fn last_id(&self) -> u64 {
        self.base_id + self.slots.last().map_or(0, |slot| u64::from(slot.id))
    }

    /// The smallest key of an order.
    pub(super) fn key(&self, order: Order) -> u64 {
        self.keys[order as usize]
    }

    /// The smallest key of each order.
    pub(super) fn keys(&self) -> [u64; ORDERS] {
        self.keys
    }

    /// Bytes of memory, as far as they can be known from here.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Segment>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.pris.capacity() * size_of::<u32>()
            + self.ttrs_ms.bytes()
            + self.bodies.capacity()
            + self.timings.bytes()
            + self.reservations.bytes()
            + self.histories.bytes()
    }

    /// Whether a job with this id, creation time and length of body can be appended.
    #[inline(always)]
    pub(super) fn fits(&self, id: u64, created_ms: u64, body_len: usize) -> bool {
        let bodies = self.bodies.len() + body_len;
        let has_room = self.slots.len() < SLOTS_MAX && bodies <= BODIES_TARGET;
        (has_room || self.has_room_for_few(body_len, bodies)) && self.covers(id, created_ms)
    }

    /// Whether there is room where there is none for one more small body among others: for any body in an empty segment,
    /// for a large one where the bodies are large ones, and so many bytes of them belong together.
    #[cold]
    fn has_room_for_few(&self, body_len: usize, bodies: usize) -> bool {
        if self.slots.is_empty() {
            return true;
        }
        let first = self.body_range(0).len();
        self.slots.len() < SLOTS_MAX && body_len > LARGE && first > LARGE && bodies <= room_for_large(first)
    }

    /// Whether the bodies have more room than small ones ever have.
    pub(super) fn has_large_room(&self) -> bool {
        self.bodies.capacity() > BODIES_TARGET
    }

    /// Whether id and creation time can be told as a small distance from the segment's base.
    fn covers(&self, id: u64, created_ms: u64) -> bool {
        let is_near =
            |value: u64, base: u64| value.checked_sub(base).is_some_and(|d| d <= u64::from(u32::MAX));
        is_near(id, self.base_id) && is_near(created_ms, self.base_created_ms)
    }

    /// Appends a ready job with no history. Its id is above all ids here, and it [fits](Segment::fits). Returns how
    /// many bytes of memory that took anew.
    #[inline(always)]
    pub(super) fn push(&mut self, id: u64, created_ms: u64, pri: u32, ttr_ms: u64, body: &[u8]) -> usize {
        let slot = self.slots.len();
        let start = self.bodies.len();
        let is_full = slot == self.slots.capacity() || start + body.len() > self.bodies.capacity();
        let mut grown = if is_full { self.make_room(body.len()) } else { 0 };
        grown += self.ttrs_ms.push(slot, ttr_ms);
        self.bodies.extend_from_slice(body);
        self.slots.push(Slot {
            id: (id - self.base_id) as u32,
            created: (created_ms - self.base_created_ms) as u32,
            start: U24::new(start as u32),
            state: State::Ready as u8,
        });
        self.pris.push(pri);
        self.live += 1;
        self.ready |= bit(slot);
        self.enter_order(Order::Ready, u64::from(pri));
        grown
    }

    /// Makes room for one more slot, and for its body in steps that the allocator has exact sizes for. Returns how
    /// many bytes of memory that took.
    #[cold]
    fn make_room(&mut self, body_len: usize) -> usize {
        let before = self.bytes();
        self.slots.reserve(1);
        self.pris.reserve_exact(self.slots.capacity() - self.pris.len());
        let needed = self.bodies.len() + body_len;
        if needed > self.bodies.capacity() {
            let is_small = body_len <= LARGE && needed <= BODIES_TARGET;
            let capacity = if is_small { needed.next_power_of_two().max(64) } else { needed };
            self.bodies.reserve_exact(capacity - self.bodies.len());
        }
        self.bytes() - before
    }

    /// Appends a job in whatever state.
    pub(super) fn push_job(&mut self, job: &Job<'_>) {
        let slot = self.slots.len();
        self.push(job.id, job.created_ms, job.pri, job.ttr_ms, job.body);
        self.take_on(slot, job);
    }

    /// The job in `slot`, ready until now, is as `job` is.
    fn take_on(&mut self, slot: usize, job: &Job<'_>) {
        if !job.is_as_put() {
            self.update(slot, |shape| *shape = Shape::of(job));
        }
    }

    /// Gives back the room that will not be used, once nothing more is appended.
    pub(super) fn seal(&mut self) {
        if self.bodies.capacity() - self.bodies.len() > self.bodies.len() / 16 {
            self.bodies.shrink_to_fit();
        }
        self.slots.shrink_to_fit();
        self.pris.shrink_to_fit();
        self.ttrs_ms.shrink();
    }

    /// The slot of the living job `id`.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        let offset = u32::try_from(id.checked_sub(self.base_id)?).ok()?;
        // Where no id was left out, an id's distance is its slot; it is never below that.
        let slot = match self.slots.get(offset as usize) {
            Some(slot) if slot.id == offset => offset as usize,
            _ => self.slots.binary_search_by(|slot| slot.id.cmp(&offset)).ok()?,
        };
        (self.slots[slot].state != DEAD).then_some(slot)
    }

    fn state(&self, slot: usize) -> Option<State> {
        self.slots[slot].state()
    }

    pub(super) fn id(&self, slot: usize) -> u64 {
        self.base_id + u64::from(self.slots[slot].id)
    }

    fn created_ms(&self, slot: usize) -> u64 {
        self.base_created_ms + u64::from(self.slots[slot].created)
    }

    fn body_range(&self, slot: usize) -> std::ops::Range<usize> {
        let end = self.slots.get(slot + 1).map_or(self.bodies.len(), |next| next.start.get() as usize);
        self.slots[slot].start.get() as usize..end
    }

    /// What can change about the living job in `slot`.
    #[inline(always)]
    pub(super) fn shape(&self, slot: usize) -> Shape {
        let (state, bit) = (self.state(slot).unwrap_or(State::Ready), bit(slot));
        let timing = self.timing(slot, bit, state);
        let reservation = self.reservations.get(bit).map(PackedReservation::get).unwrap_or_default();
        let history = self.histories.get(bit).unwrap_or_default();
        Shape { pri: self.pris[slot], state, timing, reservation, history }
    }

    /// Whether the reservation `n` of the job in `slot` holds at `now_ms`.
    #[inline]
    pub(super) fn is_held(&self, slot: usize, n: u64, now_ms: u64) -> bool {
        self.reservations.get(bit(slot)).is_some_and(|r| r.n.get() == n && r.deadline_ms.get() > now_ms)
    }

    /// The reservation of the job in `slot`, if it is reserved.
    #[inline]
    pub(super) fn reservation(&self, slot: usize) -> Option<Reservation> {
        self.reservations.get(bit(slot)).map(PackedReservation::get)
    }

    /// [`Timing::at`] of a job that has no entry of its own.
    fn implied_at(&self, slot: usize, state: State) -> u64 {
        if state == State::Ready { self.created_ms(slot) } else { 0 }
    }

    /// The living job in `slot`.
    pub(super) fn job(&self, slot: usize) -> Job<'_> {
        let (state, bit) = (self.state(slot).unwrap_or(State::Ready), bit(slot));
        Job {
            id: self.id(slot),
            pri: self.pris[slot],
            created_ms: self.created_ms(slot),
            ttr_ms: self.ttrs_ms.get(slot),
            state,
            timing: self.timing(slot, bit, state),
            reservation: self.reservations.get(bit).map(PackedReservation::get),
            history: self.histories.get(bit).unwrap_or_default(),
            body: &self.bodies[self.body_range(slot)],
        }
    }

    #[inline]
    fn timing(&self, slot: usize, bit: u128, state: State) -> Timing {
        match self.timings.get(bit) {
            Some(timing) => timing.get(),
            None => Timing { at: self.implied_at(slot, state), delay_ms: 0 },
        }
    }

    /// Changes the living job in `slot`.
    #[inline]
    pub(super) fn update(&mut self, slot: usize, change: impl FnOnce(&mut Shape)) -> Changed {
        let old = self.shape(slot);
        let mut new = old;
        change(&mut new);
        let (bit, mut grown) = (bit(slot), 0);
        self.pris[slot] = new.pri;
        self.slots[slot].state = new.state as u8;
        let moves = new.state != old.state;
        if moves || new.timing != old.timing {
            let implied = Timing { at: self.implied_at(slot, new.state), delay_ms: 0 };
            let packed =
                PackedTiming { at: U48::new(new.timing.at), delay_ms: U48::new(new.timing.delay_ms) };
            // Two orders are read from these entries, so that their jobs must have one.
            let is_ordered = matches!(new.state, State::Delayed | State::Buried);
            let has_one = is_ordered || new.timing != implied;
            self.timings.set(bit, has_one.then_some(packed), &mut grown);
        }
        if moves || new.reservation != old.reservation {
            let packed = PackedReservation::of(&new.reservation);
            self.reservations.set(bit, (new.state == State::Reserved).then_some(packed), &mut grown);
        }
        if new.history != old.history {
            let has_one = new.history != History::default();
            self.histories.set(bit, has_one.then_some(new.history), &mut grown);
        }
        if moves {
            self.mark_ready(bit, new.state == State::Ready);
        }
        if old.place() != new.place() {
            self.enter(new.place());
            self.leave(old.place());
        }
        Changed { old, new, grown }
    }

    /// Hands the job in `slot` to a worker, as [`Segment::update`] would, if it is ready and has no timing of its own:
    /// then nothing but the reservation need be written down. Returns the job's priority and by how many bytes the
    /// memory grew; `None` if this is not such a job.
    #[inline]
    pub(super) fn reserve(&mut self, slot: usize, reservation: &Reservation) -> Option<(u32, isize)> {
        let (bit, mut grown) = (bit(slot), 0);
        if self.ready & bit == 0 || self.timings.slots & bit != 0 {
            return None;
        }
        self.slots[slot].state = State::Reserved as u8;
        self.ready &= !bit;
        self.reservations.insert(bit, PackedReservation::of(reservation), &mut grown);
        self.enter_order(Order::Deadline, reservation.deadline_ms);
        self.enter_order(Order::Held, reservation.reserved_at_ms);
        let pri = self.pris[slot];
        self.leave_order(Order::Ready, u64::from(pri));
        Some((pri, grown))
    }

    /// Deletes the living job in `slot`. Returns its state and priority, and by how many bytes the memory grew.
    pub(super) fn remove(&mut self, slot: usize) -> (State, u32, isize) {
        let state = self.state(slot).unwrap_or(State::Ready);
        let pri = self.pris[slot];
        let (bit, mut grown) = (bit(slot), 0);
        let timing = self.timings.take(bit, &mut grown);
        let reservation = self.reservations.take(bit, &mut grown);
        self.histories.take(bit, &mut grown);
        self.slots[slot].state = DEAD;
        self.live -= 1;
        self.dead_bytes += self.body_range(slot).len() as u32;
        while self.slots.get(usize::from(self.dead_first)).is_some_and(|slot| slot.state == DEAD) {
            self.dead_first += 1;
        }
        self.mark_ready(bit, false);
        match (state, timing, reservation) {
            (State::Ready, ..) => self.leave_order(Order::Ready, u64::from(pri)),
            (State::Reserved, _, Some(reservation)) => {
                self.leave_order(Order::Deadline, reservation.deadline_ms.get());
                self.leave_order(Order::Held, reservation.reserved_at_ms.get());
            }
            (_, Some(timing), _) => self.leave_order(Order::of(state), timing.at.get()),
            _ => {}
        }
        (state, pri, grown)
    }

    fn mark_ready(&mut self, bit: u128, ready: bool) {
        self.ready = if ready { self.ready | bit } else { self.ready & !bit };
    }

    /// Keeps the smallest keys true after a job came to a place.
    #[inline]
    fn enter(&mut self, place: Place) {
        self.enter_order(Order::of(place.state), place.key);
        self.enter_order(Order::Held, place.held);
    }

    #[inline]
    fn enter_order(&mut self, order: Order, key: u64) {
        let smallest = &mut self.keys[order as usize];
        *smallest = (*smallest).min(key);
    }

    /// Keeps the smallest keys true after a job left its place.
    #[inline]
    fn leave(&mut self, place: Place) {
        self.leave_order(Order::of(place.state), place.key);
        if place.state == State::Reserved {
            self.leave_order(Order::Held, place.held);
        }
    }

    #[inline]
    fn leave_order(&mut self, order: Order, key: u64) {
        if key == self.keys[order as usize] {
            self.keys[order as usize] = self.smallest(order, key);
        }
    }

    /// The smallest key in `order`, known to be no smaller than `at_least`: the search ends where that is found,
    /// which is soon among jobs of one priority or reserved together.
    fn smallest(&self, order: Order, at_least: u64) -> u64 {
        match order {
            Order::Ready => least(Bits(self.ready).map(|slot| u64::from(self.pris[slot])), at_least),
            Order::Deadline => least(self.reservations.entries.iter().map(|r| r.deadline_ms.get()), at_least),
            Order::Held => least(self.reservations.entries.iter().map(|r| r.reserved_at_ms.get()), at_least),
            Order::Delayed => least(self.timed(State::Delayed).map(|(key, _)| key), at_least),
            Order::Buried => least(self.timed(State::Buried).map(|(key, _)| key), at_least),
        }
    }

    /// Key and slot of every job in a state whose order is read from the timings, by slot.
    fn timed(&self, state: State) -> impl Iterator<Item = (u64, usize)> + '_ {
        let is_such = move |(slot, _): &(usize, &PackedTiming)| self.slots[*slot].state == state as u8;
        self.timings.iter().filter(is_such).map(|(slot, timing)| (timing.at.get(), slot))
    }

    /// Key and slot of every reserved job, by slot.
    fn held(&self, key: fn(&PackedReservation) -> U48) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.reservations.iter().map(move |(slot, reservation)| (key(reservation).get(), slot))
    }

    /// Shows key and slot of every job that stands in `order`, by slot, until `visit` has seen enough.
    #[inline]
    fn find_entry(&self, order: Order, visit: impl FnMut(&(u64, usize)) -> bool) -> Option<(u64, usize)> {
        match order {
            Order::Ready => Bits(self.ready).map(|slot| (u64::from(self.pris[slot]), slot)).find(visit),
            Order::Delayed => self.timed(State::Delayed).find(visit),
            Order::Deadline => self.held(|r| r.deadline_ms).find(visit),
            Order::Held => self.held(|r| r.reserved_at_ms).find(visit),
            Order::Buried => self.timed(State::Buried).find(visit),
        }
    }

    /// Key and slot of every job that stands in `order`, by slot.
    pub(super) fn entries(&self, order: Order) -> Vec<(u64, usize)> {
        let mut entries = Vec::new();
        self.find_entry(order, |entry| {
            entries.push(*entry);
            false
        });
        entries
    }

    /// The slot of the first job in `order`: the lowest id among those with the smallest key.
    pub(super) fn first(&self, order: Order) -> Option<usize> {
        let smallest = self.keys[order as usize];
        self.find_entry(order, |(key, _)| *key == smallest).map(|(_, slot)| slot)
    }

    /// The slots of the living jobs with an id of at least `id`, in the order of ids.
    pub(super) fn living_from(&self, id: u64) -> impl Iterator<Item = usize> + Clone + '_ {
        let offset = id.saturating_sub(self.base_id);
        let from = self.slots.partition_point(|slot| u64::from(slot.id) < offset);
        (from..self.slots.len()).filter(|slot| self.slots[*slot].state != DEAD)
    }

    /// Whether the dead jobs are those of the lowest ids: the segment is being emptied in order.
    pub(super) fn is_emptied_in_order(&self) -> bool {
        usize::from(self.dead_first + self.live) == self.slots.len()
    }

    /// Whether so much is dead that packing anew pays.
    pub(super) fn is_wasteful(&self) -> bool {
        let (dead, dead_bytes) = (self.slots.len() - self.live(), self.dead_bytes as usize);
        (dead >= 16 && dead > self.live()) || (dead_bytes >= 1024 && dead_bytes * 2 >= self.bodies.len())
    }

    /// Deletes all jobs in `states`.
    pub(super) fn clear(&mut self, states: States) {
        let mut gone = 0;
        for state in State::ALL.into_iter().filter(|state| states.has(*state)) {
            gone |= self.slots_in(state);
            Order::all_of(state).iter().for_each(|order| self.keys[*order as usize] = NO_KEY);
        }
        for slot in Bits(gone) {
            self.slots[slot].state = DEAD;
            self.dead_bytes += self.body_range(slot).len() as u32;
            self.live -= 1;
        }
        self.ready &= !gone;
        self.timings.keep(!gone);
        self.reservations.keep(!gone);
        self.histories.keep(!gone);
        self.dead_first = self.slots.iter().take_while(|slot| slot.state == DEAD).count() as u16;
    }

    /// The slots of the living jobs in a state, as bits.
    fn slots_in(&self, state: State) -> u128 {
        match state {
            State::Ready => self.ready,
            State::Reserved => self.reservations.slots,
            State::Delayed | State::Buried => self.timed(state).fold(0, |slots, (_, slot)| slots | bit(slot)),
        }
    }

    /// Whether so little is left that packing anew costs less than what it gives back is worth, where all segments of
    /// a tube lose jobs at once: less than a quarter.
    pub(super) fn is_nearly_empty(&self) -> bool {
        self.live() * 4 < self.slots.len() || self.body_bytes() * 4 < self.bodies.len()
    }

    /// The living jobs, packed anew. The base stays: it is the name by which the tube knows the segment.
    pub(super) fn packed(&self) -> Segment {
        let mut packed = Segment::new(self.base_id, self.base_created_ms);
        packed.slots.reserve_exact(self.live());
        packed.pris.reserve_exact(self.live());
        packed.bodies.reserve_exact(self.body_bytes());
        let mut living = 0;
        for slot in self.living_from(0) {
            let start = U24::new(packed.bodies.len() as u32);
            packed.ttrs_ms.push(packed.slots.len(), self.ttrs_ms.get(slot));
            packed.ready |= (self.ready >> slot & 1) << packed.slots.len();
            packed.bodies.extend_from_slice(&self.bodies[self.body_range(slot)]);
            packed.slots.push(Slot { start, ..self.slots[slot] });
            packed.pris.push(self.pris[slot]);
            living |= bit(slot);
        }
        packed.ttrs_ms.shrink();
        packed.timings = self.timings.among(living);
        packed.reservations = self.reservations.among(living);
        packed.histories = self.histories.among(living);
        packed.keys = self.keys;
        packed.live = self.live;
        packed
    }

    /// Whether the jobs of `next`, all of higher ids, can be taken over and both stay small.
    pub(super) fn can_absorb(&self, next: &Segment) -> bool {
        self.slots.len() + next.live() <= SLOTS_MAX / 2
            && self.bodies.len() + next.body_bytes() <= LARGE
            && (0..next.slots.len()).all(|slot| self.covers(next.id(slot), next.created_ms(slot)))
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

/// The smallest of `keys`, none of which is below `at_least`; [`NO_KEY`] if there are none.
#[inline]
fn least(keys: impl Iterator<Item = u64>, at_least: u64) -> u64 {
    let mut smallest = NO_KEY;
    for key in keys {
        smallest = smallest.min(key);
        if smallest == at_least {
            break;
        }
    }
    smallest
}

/// The positions of the bits that are set, lowest first.
struct Bits(u128);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
