//! The living jobs of a segment as a snapshot holds them: column by column, as most jobs that stand together have
//! most in common, and their bodies in one piece, as they lie in memory.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use super::super::check::{Invalid, check_job, in_range};
use super::super::job::{History, ID_MAX, Job, Reservation, State, Timing};
use super::super::jobs::{Counts, Order};
use super::super::time::{DURATION_MAX_MS, TIME_MAX_MS, U48};
use super::room::BODIES_MAX;
use super::{DEAD, PackedReservation, PackedTiming, SLOTS_MAX, Segment, Slot, Sparse};

/// Reads bytes of which a length only says that they are there: memory is taken for what is there.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    serde_bytes::deserialize::<&[u8], D>(from).map(<[u8]>::to_vec)
}

/// One value for each job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Column {
    /// All have the same.
    Same(u64),
    /// All are below 256.
    Small(#[serde(serialize_with = "serde_bytes::serialize", deserialize_with = "bytes")] Vec<u8>),
    Each(Vec<u64>),
}

impl Column {
    fn of(values: impl Iterator<Item = u64> + Clone, jobs: usize) -> Column {
        let (mut differ, mut all) = (0, 0);
        let first = values.clone().next().unwrap_or(0);
        values.clone().for_each(|value| (differ, all) = (differ | (value ^ first), all | value));
        if differ == 0 {
            return Column::Same(first);
        }
        if all <= u64::from(u8::MAX) {
            let mut bytes = Vec::with_capacity(jobs);
            bytes.extend(values.map(|value| value as u8));
            return Column::Small(bytes);
        }
        let mut each = Vec::with_capacity(jobs);
        each.extend(values);
        Column::Each(each)
    }

    fn is_for(&self, jobs: usize) -> bool {
        match self {
            Column::Same(_) => true,
            Column::Small(bytes) => bytes.len() == jobs,
            Column::Each(values) => values.len() == jobs,
        }
    }

    /// The value of a job; 0 where there is none.
    fn get(&self, job: usize) -> u64 {
        match self {
            Column::Same(value) => *value,
            Column::Small(bytes) => bytes.get(job).map_or(0, |byte| u64::from(*byte)),
            Column::Each(values) => values.get(job).copied().unwrap_or(0),
        }
    }

    /// Gives each job its value.
    fn give<T>(&self, slots: &mut [T], mut set: impl FnMut(&mut T, u64)) {
        match self {
            Column::Same(value) => slots.iter_mut().for_each(|slot| set(slot, *value)),
            Column::Small(bytes) => {
                slots.iter_mut().zip(bytes).for_each(|(slot, v)| set(slot, u64::from(*v)))
            }
            Column::Each(values) => slots.iter_mut().zip(values).for_each(|(slot, v)| set(slot, *v)),
        }
    }

    /// The smallest and the largest value.
    fn bounds(&self) -> (u64, u64) {
        fn of(values: impl Iterator<Item = u64>) -> (u64, u64) {
            values.fold((u64::MAX, 0), |(min, max), value| (min.min(value), max.max(value)))
        }
        match self {
            Column::Same(value) => (*value, *value),
            Column::Small(bytes) => of(bytes.iter().map(|byte| u64::from(*byte))),
            Column::Each(values) => of(values.iter().copied()),
        }
    }

    /// All values together; `None` if that is no number.
    fn sum(&self, jobs: usize) -> Option<u64> {
        match self {
            Column::Same(value) => value.checked_mul(jobs as u64),
            Column::Small(bytes) => Some(bytes.iter().map(|byte| u64::from(*byte)).sum()),
            Column::Each(values) => values.iter().try_fold(0u64, |sum, value| sum.checked_add(*value)),
        }
    }
}

/// What few jobs have: each with its place among the jobs, in order.
type Few<T> = Vec<(u8, T)>;

/// Up to 128 jobs of a tube that follow each other, without their bodies. Those lie apart in one piece, at most 4 MiB
/// long or the body of a single job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    jobs: u8,
    /// The distance of each id from the one before; that of the first from `after_id`.
    after_id: u64,
    ids: Column,
    /// When each was created, as a distance from `since_ms`.
    since_ms: u64,
    created: Column,
    pris: Column,
    ttrs_ms: Column,
    /// The number of each job's [`State`].
    states: Column,
    /// Where there is none, a ready job became ready when it was created, and 0 stands for any other.
    timings: Few<Timing>,
    reservations: Few<Reservation>,
    histories: Few<History>,
    /// The lengths of the bodies.
    lengths: Column,
}

impl Chunk {
    /// How many jobs there are.
    pub fn jobs(&self) -> u64 {
        u64::from(self.jobs)
    }

    /// Whether all jobs are ready and nothing ever happened to them.
    fn is_plain(&self) -> bool {
        self.states == Column::Same(State::Ready as u64)
            && self.timings.is_empty()
            && self.reservations.is_empty()
            && self.histories.is_empty()
    }

    /// Checks what every job has from the beginning, and that the columns fit each other and the limits of a
    /// segment.
    fn check(&self, bodies: &[u8]) -> Result<(), Invalid> {
        let jobs = usize::from(self.jobs);
        let columns = [&self.ids, &self.created, &self.pris, &self.ttrs_ms, &self.states, &self.lengths];
        let is_whole = (1..=SLOTS_MAX).contains(&jobs)
            && (jobs == 1 || bodies.len() <= BODIES_MAX)
            && columns.iter().all(|column| column.is_for(jobs))
            && self.lengths.sum(jobs) == Some(bodies.len() as u64);
        if !is_whole {
            return Err(Invalid::Chunk);
        }
        let span = self.ids.sum(jobs).and_then(|sum| Some((sum, self.after_id.checked_add(sum)?)));
        let (span, last_id) = span.ok_or(Invalid::Chunk)?;
        in_range(span - self.ids.get(0), 0, u64::from(u32::MAX))?;
        in_range(self.ids.bounds().0, 1, ID_MAX)?;
        in_range(last_id, 1, ID_MAX)?;
        let latest = self.created.bounds().1;
        in_range(latest, 0, u64::from(u32::MAX))?;
        in_range(self.since_ms, 0, TIME_MAX_MS - latest)?;
        in_range(self.pris.bounds().1, 0, u64::from(u32::MAX))?;
        let (shortest, longest) = self.ttrs_ms.bounds();
        in_range(shortest, 1, longest)?;
        in_range(longest, 1, DURATION_MAX_MS)
    }
}

/// Takes the entries of a [`Few`] one by one.
struct Cursor<'c, T> {
    left: &'c [(u8, T)],
}

impl<T: Copy> Cursor<'_, T> {
    fn of(&mut self, job: usize) -> Option<T> {
        let ((at, value), rest) = self.left.split_first()?;
        (usize::from(*at) == job).then(|| {
            self.left = rest;
            *value
        })
    }
}

impl Segment {
    /// The living jobs, and their bodies.
    pub(in super::super) fn chunk(&self) -> (Chunk, Cow<'_, [u8]>) {
        let ends = self.slots.iter().skip(1).map(|next| next.start).chain([self.bodies.len() as u32]);
        let slots = self.slots.iter().zip(&self.pris).zip(ends).map(|((slot, pri), end)| (slot, *pri, end));
        if self.live == self.slots.len() {
            return (self.chunk_of(slots), Cow::Borrowed(&self.bodies));
        }
        let living = slots.filter(|(slot, ..)| slot.state != DEAD);
        let mut bodies = Vec::with_capacity(self.body_bytes());
        for (slot, _, end) in living.clone() {
            bodies.extend_from_slice(&self.bodies[slot.start as usize..end as usize]);
        }
        (self.chunk_of(living), Cow::Owned(bodies))
    }

    /// The chunk of these slots, each with its priority and the end of its body.
    fn chunk_of<'s>(&self, slots: impl Iterator<Item = (&'s Slot, u32, u32)> + Clone) -> Chunk {
        let after_id = self.base_id.saturating_sub(1);
        let ids = slots.clone().scan(after_id, |before, (slot, ..)| {
            let id = self.base_id + u64::from(slot.id);
            Some(id - std::mem::replace(before, id))
        });
        let slots = || slots.clone();
        Chunk {
            jobs: self.live as u8,
            after_id,
            ids: Column::of(ids, self.live),
            since_ms: self.base_created_ms,
            created: Column::of(slots().map(|(slot, ..)| u64::from(slot.created)), self.live),
            pris: Column::of(slots().map(|(_, pri, _)| u64::from(pri)), self.live),
            ttrs_ms: Column::of(slots().map(|(slot, ..)| slot.ttr_ms.get()), self.live),
            states: Column::of(slots().map(|(slot, ..)| u64::from(slot.state)), self.live),
            timings: self.few(&self.timings, PackedTiming::get),
            reservations: self.few(&self.reservations, PackedReservation::get),
            histories: self.few(&self.histories, |history| history),
            lengths: Column::of(slots().map(|(slot, _, end)| u64::from(end - slot.start)), self.live),
        }
    }

    fn few<P: Copy, T>(&self, sparse: &Sparse<P>, unpack: impl Fn(P) -> T) -> Few<T> {
        if sparse.entries.is_empty() {
            return Vec::new();
        }
        let living = self.living_from(0).enumerate();
        living.filter_map(|(job, slot)| Some((job as u8, unpack(sparse.get(slot)?)))).collect()
    }

    /// A segment of a chunk's jobs, each checked, and the number of the last burial among them.
    pub(in super::super) fn of_chunk(chunk: &Chunk, bodies: Vec<u8>) -> Result<(Segment, u64), Invalid> {
        chunk.check(&bodies)?;
        let jobs = usize::from(chunk.jobs);
        let mut segment = Segment::new(chunk.after_id + chunk.ids.get(0), chunk.since_ms);
        segment.bodies = bodies;
        let blank = Slot { id: 0, created: 0, start: 0, ttr_ms: U48::default(), state: State::Ready as u8 };
        segment.slots = vec![blank; jobs];
        segment.pris = vec![0; jobs];
        chunk.pris.give(&mut segment.pris, |mine, pri| *mine = pri as u32);
        let slots = &mut segment.slots[..];
        let (mut id, mut end) = (0u32.wrapping_sub(chunk.ids.get(0) as u32), 0u32);
        chunk.ids.give(slots, |slot, distance| {
            id = id.wrapping_add(distance as u32);
            slot.id = id;
        });
        chunk.lengths.give(slots, |slot, length| (slot.start, end) = (end, end.wrapping_add(length as u32)));
        chunk.created.give(slots, |slot, distance| slot.created = distance as u32);
        chunk.ttrs_ms.give(slots, |slot, ttr_ms| slot.ttr_ms = U48::new(ttr_ms));
        segment.live = jobs;
        segment.ready = u128::MAX >> (SLOTS_MAX - jobs);
        segment.keys[Order::Ready as usize] = chunk.pris.bounds().0;
        let burials = if chunk.is_plain() { 0 } else { segment.take_on_all(chunk)? };
        Ok((segment, burials))
    }

    /// The jobs, new until now, are as those of the chunk are. Returns the number of the last burial.
    fn take_on_all(&mut self, chunk: &Chunk) -> Result<u64, Invalid> {
        let mut timings = Cursor { left: &chunk.timings };
        let mut reservations = Cursor { left: &chunk.reservations };
        let mut histories = Cursor { left: &chunk.histories };
        let mut burials = 0;
        for slot in 0..self.slots.len() {
            let (id, number) = (self.id(slot), chunk.states.get(slot));
            let state = State::ALL.into_iter().find(|state| *state as u64 == number);
            let state = state.ok_or(Invalid::Job(id))?;
            let implied = Timing { at: self.implied_at(slot, state), delay_ms: 0 };
            let job = Job {
                id,
                pri: self.pris[slot],
                created_ms: self.created_ms(slot),
                ttr_ms: self.slots[slot].ttr_ms.get(),
                state,
                timing: timings.of(slot).unwrap_or(implied),
                reservation: reservations.of(slot),
                history: histories.of(slot).unwrap_or_default(),
                body: &[],
            };
            check_job(&job)?;
            burials = if state == State::Buried { burials.max(job.timing.at) } else { burials };
            self.take_on(slot, &job);
        }
        // An entry that was not used is out of order, or beyond the jobs.
        let is_used_up = timings.left.is_empty() && reservations.left.is_empty() && histories.left.is_empty();
        if is_used_up { Ok(burials) } else { Err(Invalid::Chunk) }
    }

    /// Counts the living jobs.
    pub(in super::super) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for (slot, pri) in self.slots.iter().zip(&self.pris) {
            if let Some(state) = slot.state() {
                counts.add(state, *pri);
            }
        }
        counts
    }
}
