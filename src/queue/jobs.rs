//! All jobs of a tube: found by id, and taken in five orders.
//!
//! The jobs are packed in [segments](super::segment) of about a hundred, in the order of their ids, and the
//! segments stand on [shelves](super::shelves) by their first id. An order is a [ranking](super::ranking) of the
//! segments by the smallest key in each: the first of them holds the first job, and the few jobs in there are looked
//! through. So five orders cost less than a byte a job, a put that does not change its segment's smallest keys changes no order,
//! and everything grows by small pieces.
//!
//! With n jobs, finding, adding, changing, deleting one and naming the first of an order cost O(log n) steps
//! over the segments plus a look at no more than [`SLOTS_MAX`] jobs.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hint::cold_path;

use super::event::States;
use super::job::{Held, Job, Reservation, State};
use super::ranking::{Entry, Ranking};
#[cfg(doc)]
use super::segment::SLOTS_MAX;
use super::segment::{Changed, Chunk, FEW, Moved, NO_KEY, Segment, Shape};
use super::segments::Segments;

/// The orders in which jobs are taken. Jobs with the same key are taken by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ready jobs, the most urgent first.
    Ready,
    /// Delayed jobs, the soonest due first.
    Delayed,
    /// Reserved jobs, the soonest deadline first.
    Deadline,
    /// Reserved jobs, the longest held first.
    Held,
    /// Buried jobs, the first buried first.
    Buried,
}

/// How many orders there are.
pub(super) const ORDERS: usize = 5;

impl Order {
    pub(super) const ALL: [Order; ORDERS] =
        [Order::Ready, Order::Delayed, Order::Deadline, Order::Held, Order::Buried];

    /// The order in which the jobs of a state go.
    pub fn of(state: State) -> Order {
        match state {
            State::Ready => Order::Ready,
            State::Delayed => Order::Delayed,
            State::Reserved => Order::Deadline,
            State::Buried => Order::Buried,
        }
    }

    /// The orders in which the jobs of a state stand.
    pub(super) fn all_of(state: State) -> &'static [Order] {
        match state {
            State::Ready => &[Order::Ready],
            State::Delayed => &[Order::Delayed],
            State::Reserved => &[Order::Deadline, Order::Held],
            State::Buried => &[Order::Buried],
        }
    }
}

/// A priority below this is urgent in beanstalkd's statistics.
const URGENT_BELOW: u32 = 1024;

/// How many jobs stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_state: [u64; 4],
    /// Ready jobs with a priority below 1024.
    pub urgent: u64,
}

impl Counts {
    /// Jobs in a state.
    pub fn of(&self, state: State) -> u64 {
        self.by_state[state as usize]
    }

    /// Jobs in all states.
    pub fn all(&self) -> u64 {
        self.by_state.iter().sum()
    }

    /// The counts of so many ready jobs with this priority.
    pub(super) fn of_ready(jobs: usize, pri: u32) -> Counts {
        let jobs = jobs as u64;
        let mut counts = Counts { urgent: if pri < URGENT_BELOW { jobs } else { 0 }, ..Counts::default() };
        counts.by_state[State::Ready as usize] = jobs;
        counts
    }

    pub(super) fn add(&mut self, state: State, pri: u32) {
        let count = &mut self.by_state[state as usize];
        *count = count.wrapping_add(1);
        self.urgent = self.urgent.wrapping_add(u64::from(state == State::Ready && pri < URGENT_BELOW));
    }

    fn take(&mut self, state: State, pri: u32) {
        let count = &mut self.by_state[state as usize];
        *count = count.wrapping_sub(1);
        self.urgent = self.urgent.wrapping_sub(u64::from(state == State::Ready && pri < URGENT_BELOW));
    }

    /// The counts after those of `other` came to them.
    pub fn plus(&mut self, other: &Counts) {
        self.each(other, u64::wrapping_add);
    }

    /// The counts after those of `other` left them.
    pub fn minus(&mut self, other: &Counts) {
        self.each(other, u64::wrapping_sub);
    }

    fn each(&mut self, other: &Counts, with: impl Fn(u64, u64) -> u64) {
        let mine = self.by_state.iter_mut().zip(other.by_state);
        mine.for_each(|(mine, theirs)| *mine = with(*mine, theirs));
        self.urgent = with(self.urgent, other.urgent);
    }
}

/// The key of all segments that hold a ready job.
const IS_READY: u64 = 0;

/// The segments that hold a ready job, by id.
fn by_id(ready: &[Entry]) -> Ranking {
    ready.iter().map(|(_, base)| (IS_READY, *base)).collect()
}

#[derive(Default)]
pub(super) struct Jobs {
    segments: Segments,
    orders: [Ranking; ORDERS],
    /// The segments that hold a ready job, by id: their keys are all the same.
    ready: Ranking,
    counts: Counts,
    bytes: usize,
    /// An emptied segment, kept for a tube that keeps running empty.
    spare: Option<Box<Segment>>,
}

impl Clone for Jobs {
    fn clone(&self) -> Jobs {
        let segments = self.segments.clone();
        // A copied segment has no room to spare, so it is smaller.
        let bytes = segments.iter().map(|segment| segment.bytes()).sum();
        let (orders, ready) = (self.orders.clone(), self.ready.clone());
        Jobs { segments, orders, ready, counts: self.counts, bytes, spare: None }
    }
}

impl Jobs {
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of memory: the segments, the spare one, and about what the shelves take on which they stand.
    pub(super) fn bytes(&self) -> usize {
        const PER_SEGMENT: usize = 3 * (size_of::<Entry>() + 1);
        let spare = self.spare.as_ref().map_or(0, |spare| spare.bytes());
        self.bytes + spare + self.segments.len() * PER_SEGMENT
    }

    /// How many pieces of memory there are to free.
    pub(super) fn pieces(&self) -> usize {
        self.segments.len()
    }

    /// The same where little but orders may be left, by about what their nodes hold.
    pub(super) fn pieces_of_trash(&self) -> usize {
        const PER_NODE: usize = 8;
        let orders = self.orders.iter().chain([&self.ready]);
        self.segments.len() + orders.map(Ranking::len).sum::<usize>() / PER_NODE
    }

    /// The ready job of the lowest id. O(1) but for a look at its segment.
    pub(super) fn oldest_ready(&self) -> Option<Job<'_>> {
        let (_, base) = self.ready.first();
        self.segments.get(base)?.oldest_ready()
    }

    /// Appends a ready job without history. Its id must be above every id in the tube.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        id: u64,
        created_ms: u64,
        pri: u32,
        ttr_ms: u64,
        body: &[u8],
        tally: &mut Counts,
    ) {
        self.counts.add(State::Ready, pri);
        tally.add(State::Ready, pri);
        if let Some(segment) = self.segments.last_mut()
            && segment.fits(id, created_ms, body.len())
        {
            let mut moved = Moved::default();
            self.bytes += segment.push(id, created_ms, pri, ttr_ms, body, &mut moved);
            if moved.any() {
                cold_path();
                let (base, keys) = (segment.base_id(), segment.keys());
                self.reorder(base, moved.before(keys), keys);
            }
            return;
        }
        self.start_segment(id, created_ms, pri, ttr_ms, body);
    }

    /// Appends a job in whatever state. Its id must be above every id in the tube.
    pub(super) fn restore(&mut self, job: &Job<'_>, tally: &mut Counts) {
        self.put(job.id, job.created_ms, job.pri, job.ttr_ms, job.body, tally);
        if !job.is_as_put() {
            self.update(job.id, tally, |shape| *shape = Shape::of(job));
        }
    }

    /// Appends a segment with its first job, ready and without history. Its id is above every id in the tube.
    #[cold]
    fn start_segment(&mut self, id: u64, created_ms: u64, pri: u32, ttr_ms: u64, body: &[u8]) {
        self.seal_last();
        let mut segment = self.spare.take().unwrap_or_else(|| Box::new(Segment::new(id, created_ms)));
        segment.start(id, created_ms);
        if let Some(last) = self.segments.last() {
            segment.make_room_like(last, body.len());
        }
        segment.push(id, created_ms, pri, ttr_ms, body, &mut Moved::default());
        self.insert(segment);
    }

    /// Gives back what room the last segment has to spare.
    fn seal_last(&mut self) {
        if let Some(last) = self.segments.last_mut() {
            let bytes = last.bytes();
            last.seal();
            self.bytes = self.bytes + last.bytes() - bytes;
        }
    }

    /// The last segment that is left does not keep room for several large bodies, nor a spare one beside them.
    fn shrink_lonely(&mut self) {
        let Some(segment) = self.segments.first() else { return };
        if self.segments.len() > 1 || !segment.has_large_room() {
            return;
        }
        self.spare = None;
        if segment.is_wasteful() { self.tidy(segment.base_id()) } else { self.seal_last() }
    }

    /// The jobs of these segments, which stand in the order of their ids. Costs O(n log n) for n segments.
    #[expect(clippy::vec_box, reason = "boxes are what a tube holds")]
    pub(super) fn of_segments(segments: Vec<Box<Segment>>) -> Jobs {
        let mut jobs = Jobs::default();
        let mut entries: [Vec<Entry>; ORDERS] = Default::default();
        // Each of them is looked at once: there may be many more than a processor's caches hold.
        for segment in &segments {
            jobs.counts.plus(&segment.count());
            jobs.bytes += segment.bytes();
            for (entries, key) in entries.iter_mut().zip(segment.keys()).filter(|(_, key)| *key != NO_KEY) {
                entries.push((key, segment.base_id()));
            }
        }
        jobs.ready = by_id(&entries[Order::Ready as usize]);
        jobs.orders = entries.map(Ranking::from_iter);
        jobs.segments = segments.into_iter().collect();
        jobs
    }

    fn insert(&mut self, segment: Box<Segment>) {
        self.bytes += segment.bytes();
        self.reorder(segment.base_id(), [NO_KEY; ORDERS], segment.keys());
        self.segments.insert(segment);
    }

    fn take_segment(&mut self, base: u64) -> Option<Box<Segment>> {
        let segment = self.segments.remove(base)?;
        self.bytes -= segment.bytes();
        self.reorder(base, segment.keys(), [NO_KEY; ORDERS]);
        Some(segment)
    }

    /// Moves a segment within the orders where its smallest key changed.
    #[inline(never)]
    fn reorder(&mut self, base: u64, before: [u64; ORDERS], after: [u64; ORDERS]) {
        for order in Order::ALL {
            let (before, after) = (before[order as usize], after[order as usize]);
            if before != after {
                self.orders[order as usize].change(base, before, after);
            }
        }
        let is_ready = |keys: [u64; ORDERS]| {
            if keys[Order::Ready as usize] == NO_KEY { NO_KEY } else { IS_READY }
        };
        let (before, after) = (is_ready(before), is_ready(after));
        if before != after {
            self.ready.change(base, before, after);
        }
    }

    /// The job `id`.
    pub(super) fn get(&self, id: u64) -> Option<Job<'_>> {
        let segment = self.segments.of(id)?;
        segment.find(id).map(|slot| segment.job(slot))
    }

    /// Whether there is a job `id`.
    pub(super) fn has(&self, id: u64) -> bool {
        self.segments.of(id).is_some_and(|segment| segment.find(id).is_some())
    }

    /// Whether the reservation `n` of the job `id` holds at `now_ms`.
    pub(super) fn is_held(&self, id: u64, n: u64, now_ms: u64) -> bool {
        let segment = self.segments.of(id);
        segment.is_some_and(|segment| segment.find(id).is_some_and(|slot| segment.is_held(slot, n, now_ms)))
    }

    /// The reservation of the job `id`.
    pub(super) fn reservation(&self, id: u64) -> Option<Reservation> {
        let segment = self.segments.of(id)?;
        segment.find(id).and_then(|slot| segment.reservation(slot))
    }

    /// The job `id` for the worker that holds it.
    pub(super) fn held(&self, id: u64) -> Option<Held<'_>> {
        let segment = self.segments.of(id)?;
        segment.find(id).and_then(|slot| segment.held_job(slot))
    }

    /// Changes the job `id`; `false` if there is none.
    #[inline]
    pub(super) fn update(&mut self, id: u64, tally: &mut Counts, change: impl FnOnce(&mut Shape)) -> bool {
        let Some(segment) = self.segments.of_mut(id) else { return false };
        let Some(slot) = segment.find(id) else { return false };
        let mut moved = Moved::default();
        let Changed { old, new, grown } = segment.update(slot, &mut moved, change);
        self.bytes = self.bytes.wrapping_add_signed(grown);
        if moved.any() {
            let (base, keys) = (segment.base_id(), segment.keys());
            self.reorder(base, moved.before(keys), keys);
        }
        for counts in [&mut self.counts, tally] {
            counts.take(old.state, old.pri);
            counts.add(new.state, new.pri);
        }
        true
    }

    /// Hands the job `id` to a worker; `false` if there is none.
    #[inline]
    pub(super) fn reserve(&mut self, id: u64, reservation: &Reservation, tally: &mut Counts) -> bool {
        let Some(segment) = self.segments.of_mut(id) else { return false };
        let Some(slot) = segment.find(id) else { return false };
        let mut moved = Moved::default();
        let Some((pri, grown)) = segment.reserve(slot, reservation, &mut moved) else {
            return self.reserve_any(id, reservation, tally);
        };
        self.bytes = self.bytes.wrapping_add_signed(grown);
        if moved.any() {
            cold_path();
            let (base, keys) = (segment.base_id(), segment.keys());
            self.reorder(base, moved.before(keys), keys);
        }
        for counts in [&mut self.counts, tally] {
            counts.take(State::Ready, pri);
            counts.add(State::Reserved, pri);
        }
        true
    }

    /// As [`Jobs::reserve`], whatever the job has been through.
    #[cold]
    fn reserve_any(&mut self, id: u64, reservation: &Reservation, tally: &mut Counts) -> bool {
        self.update(id, tally, |job| {
            job.state = State::Reserved;
            job.timing.at = 0;
            job.reservation = *reservation;
        })
    }

    /// Deletes the job `id`; `false` if there is none.
    pub(super) fn remove(&mut self, id: u64, tally: &mut Counts) -> bool {
        let Some(segment) = self.segments.of_mut(id) else { return false };
        let Some(slot) = segment.find(id) else { return false };
        let mut moved = Moved::default();
        let (state, pri, grown) = segment.remove(slot, &mut moved);
        self.bytes = self.bytes.wrapping_add_signed(grown);
        let base = segment.base_id();
        let (is_empty, is_wasteful) = (segment.live() == 0, segment.is_wasteful());
        let goes_soon = is_wasteful && segment.is_emptied_in_order();
        let is_large = goes_soon && segment.has_large_room();
        if moved.any() {
            cold_path();
            let keys = segment.keys();
            self.reorder(base, moved.before(keys), keys);
        }
        self.counts.take(state, pri);
        tally.take(state, pri);
        if is_empty {
            self.spare = self.take_segment(base);
            let is_last = self.segments.is_empty();
            if let Some(spare) = &mut self.spare {
                spare.empty(is_last);
            }
            self.shrink_lonely();
        } else if is_wasteful && !(goes_soon && self.may_wait(base, is_large)) {
            self.tidy(base);
        }
        true
    }

    /// Whether a segment that is emptied in order may be wasteful until it is empty. The first one mostly goes whole
    /// before long, so one for each tube may, unless large bodies in it make up much of the tube.
    fn may_wait(&self, base: u64, is_large: bool) -> bool {
        let is_first = self.segments.first().is_some_and(|first| first.base_id() == base);
        is_first && (!is_large || self.segments.len() > FEW)
    }

    /// Packs a segment anew, and makes it one with its neighbours if they have become small, too. Jobs mostly go
    /// in the order of their ids, so it is the one before that is small already.
    fn tidy(&mut self, base: u64) {
        let Some(segment) = self.take_segment(base) else { return };
        let mut packed = segment.packed();
        let before = self.segments.before(base).filter(|before| before.can_absorb(&packed));
        if let Some(before) = before.map(Segment::base_id)
            && let Some(before) = self.take_segment(before)
        {
            let mut merged = before.packed();
            merged.absorb(&packed);
            packed = merged;
        }
        let next = self.segments.after(base).filter(|next| packed.can_absorb(next));
        if let Some(next) = next.map(Segment::base_id)
            && let Some(next) = self.take_segment(next)
        {
            packed.absorb(&next);
        }
        self.insert(Box::new(packed));
    }

    /// The first job in an order.
    pub(super) fn first(&self, order: Order) -> Option<Job<'_>> {
        let (_, base) = self.orders[order as usize].first();
        let segment = self.segments.get(base)?;
        segment.first(order).map(|slot| segment.job(slot))
    }

    /// The smallest key in an order: a priority, a time, or a burial's number; [`NO_KEY`] where there is none.
    #[inline]
    pub(super) fn first_key(&self, order: Order) -> u64 {
        self.orders[order as usize].first().0
    }

    /// The ids of the first `count` jobs in an order. Costs O(count) looks at segments at most.
    pub(super) fn ordered(&self, order: Order, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        let mut waiting = BinaryHeap::new();
        let mut segments = self.orders[order as usize].iter().peekable();
        while ids.len() < count {
            // A segment's jobs join as soon as its smallest key could be the next one.
            while let Some(entry) =
                segments.next_if(|entry| waiting.peek().is_none_or(|Reverse(w)| entry <= w))
            {
                let Some(segment) = self.segments.get(entry.1) else { continue };
                waiting.extend(
                    segment.entries(order).into_iter().map(|(key, slot)| Reverse((key, segment.id(slot)))),
                );
            }
            let Some(Reverse((_, id))) = waiting.pop() else { break };
            ids.push(id);
        }
        ids
    }

    /// The jobs with an id of at least `id`, by id.
    pub(super) fn from(&self, id: u64) -> impl Iterator<Item = Job<'_>> {
        self.segments
            .from(id)
            .flat_map(move |segment| segment.living_from(id).map(move |slot| segment.job(slot)))
    }

    /// All jobs, as a snapshot holds them, with their bodies.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (Chunk<'static>, Cow<'_, [u8]>)> {
        self.segments.iter().map(|segment| segment.chunk())
    }

    /// Walks over the jobs with an id of at least `id`, by id, for at most `count` steps, and gives those in
    /// `state` (in any state if `None`) to `visit`. A segment with no job in that state takes a single step.
    /// Returns the id to go on from, or `None` at the end.
    pub(super) fn scan(
        &self,
        id: u64,
        state: Option<State>,
        count: usize,
        mut visit: impl FnMut(&Job<'_>),
    ) -> Option<u64> {
        let mut steps = 0;
        for segment in self.segments.from(id) {
            if state.is_some_and(|state| segment.keys()[Order::of(state) as usize] == NO_KEY) {
                if steps >= count {
                    return Some(segment.base_id().max(id));
                }
                steps += 1;
                continue;
            }
            for slot in segment.living_from(id) {
                if steps >= count {
                    return Some(segment.id(slot));
                }
                steps += 1;
                let job = segment.job(slot);
                if state.is_none_or(|state| state == job.state) {
                    visit(&job);
                }
            }
        }
        None
    }

    /// Deletes all jobs in `states`, and returns what can be freed at leisure. Looks at the jobs that go where others
    /// stay in their segment, and copies those others only where they are less than a quarter; looks at no other job.
    pub(super) fn clear(&mut self, states: States, tally: &mut Counts) -> Jobs {
        tally.minus(&self.counts);
        let kept = self.segments_with(|state| !states.has(state));
        let cleared = self.segments_with(|state| states.has(state));
        let mut trash = Jobs::default();
        for state in State::ALL.into_iter().filter(|state| states.has(*state)) {
            self.counts.by_state[state as usize] = 0;
            if state == State::Ready {
                self.counts.urgent = 0;
                trash.ready = std::mem::take(&mut self.ready);
            }
            for order in Order::all_of(state) {
                trash.orders[*order as usize] = std::mem::take(&mut self.orders[*order as usize]);
            }
        }
        self.clear_among(&kept, &cleared, states, &mut trash);
        trash.spare = self.spare.take();
        let gone = cleared.difference(&kept);
        if cleared.len() < kept.len() {
            for base in gone {
                let Some(segment) = self.segments.remove(*base) else { continue };
                self.bytes -= segment.bytes();
                trash.segments.insert(segment);
            }
        } else {
            // Most of the segments go: take all away, and the kept ones back.
            let mut old = std::mem::take(&mut self.segments);
            self.segments = kept.iter().filter_map(|base| old.remove(*base)).collect();
            self.bytes = self.segments.iter().map(|segment| segment.bytes()).sum();
            trash.segments.append(old);
        }
        self.shrink_lonely();
        tally.plus(&self.counts);
        trash
    }

    /// Clears the segments in which jobs are kept. What little is left of several that follow each other comes together in
    /// one.
    fn clear_among(
        &mut self,
        kept: &BTreeSet<u64>,
        cleared: &BTreeSet<u64>,
        states: States,
        trash: &mut Jobs,
    ) {
        let mut few: Option<Box<Segment>> = None;
        for base in kept {
            let small = if cleared.contains(base) { self.clear_segment(*base, states) } else { None };
            match (small, &mut few) {
                (Some(small), Some(few)) if few.can_absorb(&small) => {
                    few.absorb(&small);
                    trash.segments.insert(small);
                }
                (small, few) => {
                    few.take().into_iter().for_each(|few| self.insert(few));
                    *few = small.as_ref().map(|small| Box::new(small.packed()));
                    small.into_iter().for_each(|small| trash.segments.insert(small));
                }
            }
        }
        few.into_iter().for_each(|few| self.insert(few));
    }

    /// Clears a segment, and takes it away if little is left in it.
    fn clear_segment(&mut self, base: u64, states: States) -> Option<Box<Segment>> {
        let segment = self.segments.get_mut(base)?;
        let before = segment.bytes();
        segment.clear(states);
        let is_small = segment.is_nearly_empty();
        self.bytes = self.bytes - before + segment.bytes();
        if is_small { self.take_segment(base) } else { None }
    }

    /// The segments that hold a job in such a state.
    fn segments_with(&self, is_such: impl Fn(State) -> bool) -> BTreeSet<u64> {
        let orders = State::ALL.into_iter().filter(|state| is_such(*state)).map(Order::of);
        orders.flat_map(|order| self.orders[order as usize].iter().map(|(_, base)| base)).collect()
    }

    /// What must hold of the structure; `Err` says what does not.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut counts = Counts::default();
        let mut bytes = 0;
        let mut entries: [Vec<Entry>; ORDERS] = Default::default();
        let mut last_id = 0;
        self.segments.check()?;
        for segment in self.segments.iter() {
            let base = segment.base_id();
            if segment.live() == 0 {
                return Err(format!("segment {base} is empty"));
            }
            bytes += segment.bytes();
            for order in Order::ALL {
                let first = segment.entries(order).into_iter().min();
                let smallest = first.map_or(NO_KEY, |(key, _)| key);
                let slot = first.map(|(_, slot)| slot);
                if smallest != segment.keys()[order as usize] || slot != segment.first(order) {
                    return Err(format!("segment {base}: the first of {order:?} is {first:?}"));
                }
                if smallest != NO_KEY {
                    entries[order as usize].push((smallest, base));
                }
            }
            let mut living = 0;
            let mut body_bytes = 0;
            for slot in segment.living_from(0) {
                let job = segment.job(slot);
                if job.id <= last_id || job.id < base {
                    return Err(format!("job {} stands after {last_id} in segment {base}", job.id));
                }
                last_id = job.id;
                living += 1;
                body_bytes += job.body.len();
                counts.add(job.state, job.pri);
            }
            if living != segment.live() || body_bytes != segment.body_bytes() {
                return Err(format!("segment {base} miscounts its living"));
            }
        }
        let ready = by_id(&entries[Order::Ready as usize]);
        if entries.map(Ranking::from_iter) != self.orders || ready != self.ready {
            return Err("an order names the wrong segments".to_string());
        }
        if counts != self.counts || bytes != self.bytes {
            return Err(format!("counts {:?} are {counts:?}, bytes {} are {bytes}", self.counts, self.bytes));
        }
        Ok(())
    }
}
