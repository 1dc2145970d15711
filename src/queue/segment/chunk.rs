//! The living jobs of a segment as a snapshot holds them: column by column, as most jobs that stand together have
//! most in common, and their bodies one after the other, as they lie in memory.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use super::super::blocks;
use super::super::check::{Invalid, check_job, in_range};
use super::super::job::{BODY_MAX, History, ID_MAX, Job, Reservation, State, Timing};
use super::super::jobs::{Counts, Order};
use super::super::time::{DURATION_MAX_MS, TIME_MAX_MS};
use super::alike::Alike;
use super::packed::PackedTiming;
use super::room::BODIES_MAX;
use super::rows::Rows;
use super::slot_set::SlotSet;
use super::{SLOTS_MAX, Segment};

/// One value for each job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Column<'a> {
    /// All have the same.
    Same(u64),
    /// All are below 256.
    Small(#[serde(borrow, with = "serde_bytes")] Cow<'a, [u8]>),
    Each(Vec<u64>),
}

/// What the values of a column have in common.
#[derive(Clone, Copy)]
struct Seen {
    first: u64,
    /// The bits in which any differs from the first.
    differ: u64,
}

impl Seen {
    fn new(first: u64) -> Seen {
        Seen { first, differ: 0 }
    }

    #[inline(always)]
    fn see(&mut self, value: u64) {
        self.differ |= value ^ self.first;
    }

    /// The column of these values, all of which were seen.
    fn column<'a>(self, values: impl Iterator<Item = u64>, jobs: usize) -> Column<'a> {
        if self.differ == 0 {
            return Column::Same(self.first);
        }
        if self.first | self.differ <= u64::from(u8::MAX) {
            let mut bytes = Vec::with_capacity(jobs);
            bytes.extend(values.map(|value| value as u8));
            return Column::Small(Cow::Owned(bytes));
        }
        let mut each = Vec::with_capacity(jobs);
        each.extend(values);
        Column::Each(each)
    }
}

impl Default for Column<'_> {
    fn default() -> Self {
        Column::Same(0)
    }
}

impl Column<'_> {
    /// The column of what each job has.
    fn of<T: Copy + Into<u64>>(values: &Alike<T>) -> Column<'static> {
        match values {
            Alike::Same(value) => Column::Same((*value).into()),
            Alike::Each(each) => {
                let mut seen = Seen::new(each[0].into());
                each.iter().for_each(|value| seen.see((*value).into()));
                seen.column(each.iter().map(|value| (*value).into()), each.len())
            }
        }
    }

    /// The column of what each of so many jobs has.
    pub(super) fn each<'a>(jobs: usize, of: impl Fn(usize) -> u64) -> Column<'a> {
        let mut seen = Seen::new(of(0));
        (0..jobs).for_each(|job| seen.see(of(job)));
        seen.column((0..jobs).map(of), jobs)
    }

    /// What each of so many jobs has.
    pub(super) fn alike<T: Copy + Default>(&self, jobs: usize, of: impl Fn(u64) -> T) -> Alike<T> {
        match self {
            Column::Same(value) => Alike::Same(of(*value)),
            Column::Small(_) | Column::Each(_) => Alike::Each(self.each_as(jobs, of)),
        }
    }

    /// What is made of the values of so many jobs, one after the other.
    pub(super) fn each_as<T: Copy + Default>(&self, jobs: usize, mut of: impl FnMut(u64) -> T) -> Vec<T> {
        let mut each = Vec::with_capacity(blocks::room_for::<T>(jobs));
        each.resize(jobs, T::default());
        match self {
            Column::Same(value) => each.iter_mut().for_each(|mine| *mine = of(*value)),
            Column::Small(bytes) => each.iter_mut().zip(&**bytes).for_each(|(m, v)| *m = of(u64::from(*v))),
            Column::Each(values) => each.iter_mut().zip(values).for_each(|(mine, value)| *mine = of(*value)),
        }
        each
    }

    fn into_owned(self) -> Column<'static> {
        match self {
            Column::Same(value) => Column::Same(value),
            Column::Small(bytes) => Column::Small(Cow::Owned(bytes.into_owned())),
            Column::Each(values) => Column::Each(values),
        }
    }

    fn is_for(&self, jobs: usize) -> bool {
        match self {
            Column::Same(_) => true,
            Column::Small(bytes) => bytes.len() == jobs,
            Column::Each(values) => values.len() == jobs,
        }
    }

    /// The value of a job; 0 where there is none.
    pub(super) fn get(&self, job: usize) -> u64 {
        match self {
            Column::Same(value) => *value,
            Column::Small(bytes) => bytes.get(job).map_or(0, |byte| u64::from(*byte)),
            Column::Each(values) => values.get(job).copied().unwrap_or(0),
        }
    }

    /// The smallest and the largest value.
    fn bounds(&self) -> (u64, u64) {
        fn of<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
            let first = *values.first()?;
            Some(values.iter().fold((first, first), |(min, max), value| (min.min(*value), max.max(*value))))
        }
        match self {
            Column::Same(value) => (*value, *value),
            Column::Small(bytes) => of(bytes).map_or((u64::MAX, 0), |(min, max)| (min.into(), max.into())),
            Column::Each(values) => of(values).unwrap_or((u64::MAX, 0)),
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

/// Up to 128 jobs of a tube that follow each other, without their bodies. Those are at most 4 MiB long together, or
/// there is a single job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk<'a> {
    pub(super) jobs: u8,
    /// The distance of each id from the one before; that of the first from `after_id`.
    pub(super) after_id: u64,
    #[serde(borrow)]
    pub(super) ids: Column<'a>,
    /// When each was created, as a distance from the one before, that of the first from `since_ms`. It counts modulo
    /// 2^32, as clocks may step back; no job is older than `since_ms`.
    pub(super) since_ms: u64,
    pub(super) created: Column<'a>,
    pris: Column<'a>,
    ttrs_ms: Column<'a>,
    /// The number of each job's [`State`].
    states: Column<'a>,
    /// Where there is none, a ready job became ready when it was created, and 0 stands for any other.
    timings: Few<Timing>,
    reservations: Few<Reservation>,
    histories: Few<History>,
    /// The lengths of the bodies.
    pub(super) lengths: Column<'a>,
}

impl Chunk<'_> {
    /// How many jobs there are.
    pub fn jobs(&self) -> u64 {
        u64::from(self.jobs)
    }

    /// How long the bodies are together; `None` if that is no number.
    pub fn body_bytes(&self) -> Option<usize> {
        self.lengths.sum(usize::from(self.jobs)).and_then(|sum| usize::try_from(sum).ok())
    }

    /// The same, without what it borrowed.
    pub fn into_owned(self) -> Chunk<'static> {
        Chunk {
            jobs: self.jobs,
            after_id: self.after_id,
            ids: self.ids.into_owned(),
            since_ms: self.since_ms,
            created: self.created.into_owned(),
            pris: self.pris.into_owned(),
            ttrs_ms: self.ttrs_ms.into_owned(),
            states: self.states.into_owned(),
            timings: self.timings,
            reservations: self.reservations,
            histories: self.histories,
            lengths: self.lengths.into_owned(),
        }
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
        in_range(self.created.bounds().1, 0, u64::from(u32::MAX))?;
        in_range(self.since_ms, 0, TIME_MAX_MS)?;
        in_range(self.pris.bounds().1, 0, u64::from(u32::MAX))?;
        in_range(self.lengths.bounds().1, 0, BODY_MAX)?;
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
    pub(in super::super) fn chunk(&self) -> (Chunk<'static>, Cow<'_, [u8]>) {
        if self.live() == self.rows.len() {
            return (self.chunk_of_all(), Cow::Borrowed(&self.bodies));
        }
        let packed = self.packed();
        (packed.chunk_of_all(), Cow::Owned(packed.bodies))
    }

    /// The chunk of all jobs, none of which is dead.
    fn chunk_of_all(&self) -> Chunk<'static> {
        let jobs = self.rows.len();
        let columns = self.rows.columns(self.bodies.len());
        let states = match self.ready.len() == jobs {
            true => Column::Same(State::Ready as u64),
            false => Column::each(jobs, |slot| self.state(slot).unwrap_or(State::Ready) as u64),
        };
        Chunk {
            jobs: jobs as u8,
            after_id: self.base_id().saturating_sub(1),
            ids: columns.ids,
            since_ms: self.rows.base_created_ms(),
            created: columns.created,
            pris: Column::of(&self.pris),
            ttrs_ms: Column::of(&self.ttrs_ms),
            states,
            timings: self.few(self.rare.timed(), |slot| self.rare.timing(slot).map(PackedTiming::get)),
            reservations: self.few(self.reservations.slots, |slot| self.reservation(slot)),
            histories: self.few(self.rare.histories(), |slot| self.rare.history(slot)),
            lengths: columns.lengths,
        }
    }

    /// What the jobs in these slots have. None is dead.
    fn few<T>(&self, slots: SlotSet, of: impl Fn(usize) -> Option<T>) -> Few<T> {
        slots.filter_map(|slot| Some((slot as u8, of(slot)?))).collect()
    }

    /// A segment of a chunk's jobs, each checked, and the number of the last burial among them.
    pub(in super::super) fn of_chunk(chunk: &Chunk<'_>, bodies: Vec<u8>) -> Result<(Segment, u64), Invalid> {
        chunk.check(&bodies)?;
        let jobs = usize::from(chunk.jobs);
        let mut segment = Segment::new(0, 0);
        segment.bodies = bodies;
        segment.rows = Rows::of_columns(chunk)?;
        segment.ttrs_ms = chunk.ttrs_ms.alike(jobs, |ttr_ms| ttr_ms);
        segment.pris = chunk.pris.alike(jobs, |pri| pri as u32);
        segment.live = jobs as u16;
        segment.ready = SlotSet::up_to(jobs);
        segment.firsts[Order::Ready as usize] = segment.first_of_all(Order::Ready, chunk.pris.bounds().0);
        let burials = if chunk.is_plain() { 0 } else { segment.take_on_all(chunk)? };
        Ok((segment, burials))
    }

    /// The jobs, new until now, are as those of the chunk are. Returns the number of the last burial.
    fn take_on_all(&mut self, chunk: &Chunk<'_>) -> Result<u64, Invalid> {
        let mut timings = Cursor { left: &chunk.timings };
        let mut reservations = Cursor { left: &chunk.reservations };
        let mut histories = Cursor { left: &chunk.histories };
        let mut burials = 0;
        for slot in 0..self.rows.len() {
            let (id, number) = (self.id(slot), chunk.states.get(slot));
            let state = State::ALL.into_iter().find(|state| *state as u64 == number);
            let state = state.ok_or(Invalid::Job(id))?;
            let implied = Timing { at: self.implied_at(slot, state), delay_ms: 0 };
            let job = Job {
                id,
                pri: self.pris.get(slot),
                created_ms: self.created_ms(slot),
                ttr_ms: self.ttrs_ms.get(slot),
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
        if let Alike::Same(pri) = self.pris
            && self.ready.len() == self.rows.len()
        {
            return Counts::of_ready(self.rows.len(), pri);
        }
        let mut counts = Counts::default();
        for slot in self.living_from(0) {
            counts.add(self.state(slot).unwrap_or(State::Ready), self.pris.get(slot));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ready jobs, with bodies of one byte.
    fn sound() -> Chunk<'static> {
        let same = Column::Same;
        let (ids, created, pris, ttrs_ms, states, lengths) =
            (same(1), same(0), same(5), same(7), same(0), same(1));
        let few = Chunk::default();
        Chunk { jobs: 2, after_id: 6, ids, since_ms: 9, created, pris, ttrs_ms, states, lengths, ..few }
    }

    /// Whether the chunk is refused once something about it is changed.
    fn is_refused(bodies: usize, change: impl FnOnce(&mut Chunk<'static>)) -> bool {
        let mut chunk = sound();
        change(&mut chunk);
        Segment::of_chunk(&chunk, vec![b'x'; bodies]).is_err()
    }

    #[test]
    fn a_column_has_one_value_for_each_job() {
        assert!(!is_refused(2, |_| {}));
        let columns: [for<'c> fn(&'c mut Chunk<'static>) -> &'c mut Column<'static>; 6] = [
            |chunk| &mut chunk.ids,
            |chunk| &mut chunk.created,
            |chunk| &mut chunk.pris,
            |chunk| &mut chunk.ttrs_ms,
            |chunk| &mut chunk.states,
            |chunk| &mut chunk.lengths,
        ];
        for (number, column) in columns.into_iter().enumerate() {
            // The states are all `ready`, and the lengths come to two bytes in any case.
            let values: [&[u64]; 3] = match number {
                4 => [&[0, 0], &[0], &[0, 0, 0]],
                5 => [&[1, 1], &[2], &[1, 1, 0]],
                _ => [&[1, 1], &[1], &[1, 1, 1]],
            };
            let refused = values.map(|values| {
                let bytes: Vec<u8> = values.iter().map(|value| *value as u8).collect();
                let small = is_refused(2, |chunk| *column(chunk) = Column::Small(Cow::Owned(bytes)));
                assert_eq!(small, is_refused(2, |chunk| *column(chunk) = Column::Each(values.to_vec())));
                small
            });
            assert_eq!(refused, [false, true, true], "column {number}");
        }
    }

    #[test]
    fn what_no_job_can_have_is_refused() {
        const WIDE: u64 = 1 << 32;
        let each = |a, b| Column::Each(vec![a, b]);
        assert!(!is_refused(2, |chunk| chunk.ids = each(1, WIDE - 1)));
        assert!(is_refused(2, |chunk| chunk.ids = each(1, WIDE)));
        assert!(is_refused(2, |chunk| chunk.ids = Column::Same(0)));
        assert!(is_refused(2, |chunk| chunk.ids = each(1, 0)));
        assert!(!is_refused(2, |chunk| chunk.after_id = ID_MAX - 2));
        assert!(is_refused(2, |chunk| chunk.after_id = ID_MAX - 1));
        assert!(is_refused(2, |chunk| chunk.after_id = u64::MAX - 1));
        assert!(is_refused(2, |chunk| chunk.created = each(0, WIDE)));
        assert!(!is_refused(2, |chunk| chunk.since_ms = TIME_MAX_MS));
        assert!(is_refused(2, |chunk| chunk.since_ms = TIME_MAX_MS + 1));
        // The first is five milliseconds after the base, the second one not: clocks step back.
        let stepping = |since_ms| {
            move |chunk: &mut Chunk<'static>| (chunk.since_ms, chunk.created) = (since_ms, each(5, WIDE - 5))
        };
        assert!(!is_refused(2, stepping(TIME_MAX_MS - 5)));
        assert!(is_refused(2, stepping(TIME_MAX_MS - 4)));
        assert!(!is_refused(2, |chunk| chunk.pris = each(0, WIDE - 1)));
        assert!(is_refused(2, |chunk| chunk.pris = each(0, WIDE)));
        assert!(is_refused(2, |chunk| chunk.ttrs_ms = Column::Same(0)));
        assert!(is_refused(2, |chunk| chunk.ttrs_ms = each(7, 0)));
        assert!(!is_refused(2, |chunk| chunk.ttrs_ms = each(7, DURATION_MAX_MS)));
        assert!(is_refused(2, |chunk| chunk.ttrs_ms = each(7, DURATION_MAX_MS + 1)));
        assert!(is_refused(2, |chunk| chunk.states = each(0, 4)));
    }

    #[test]
    fn a_chunk_is_no_more_than_a_segment_holds() {
        for (jobs, refused) in [(0, true), (1, false), (128, false), (129, true), (255, true)] {
            assert_eq!(is_refused(usize::from(jobs), |chunk| chunk.jobs = jobs), refused, "{jobs} jobs");
        }
        let half = BODIES_MAX / 2;
        assert!(!is_refused(2 * half, |chunk| chunk.lengths = Column::Same(half as u64)));
        assert!(is_refused(2 * half + 2, |chunk| chunk.lengths = Column::Same(half as u64 + 1)));
        assert!(!is_refused(2 * half + 2, |chunk| {
            (chunk.jobs, chunk.lengths) = (1, Column::Same(2 * half as u64 + 2));
        }));
    }

    #[test]
    fn entries_of_few_stand_in_order_and_name_jobs_that_are_there() {
        let history = History { kicks: 1, ..History::default() };
        let timing = Timing { at: 9, delay_ms: 3 };
        let reservation = Reservation { n: 1, ttr_ms: 1, ..Reservation::default() };
        let reserved = || Column::Same(State::Reserved as u64);
        for (slots, refused) in [
            (&[][..], false),
            (&[0], false),
            (&[1], false),
            (&[0, 1], false),
            (&[1, 0], true),
            (&[0, 0], true),
            (&[0, 1, 1], true),
            (&[2], true),
            (&[0, 1, 2], true),
        ] {
            let of = |slots: &[u8]| slots.to_vec();
            assert_eq!(
                is_refused(2, |chunk| chunk.histories =
                    of(slots).into_iter().map(|s| (s, history)).collect()),
                refused,
                "histories {slots:?}"
            );
            assert_eq!(
                is_refused(2, |chunk| chunk.timings = of(slots).into_iter().map(|s| (s, timing)).collect()),
                refused,
                "timings {slots:?}"
            );
            // Every reserved job has a reservation.
            assert_eq!(
                is_refused(2, |chunk| {
                    chunk.states = reserved();
                    chunk.reservations = of(slots).into_iter().map(|s| (s, reservation)).collect();
                }),
                slots != [0, 1],
                "reservations {slots:?}"
            );
        }
        // No other job has one.
        assert!(is_refused(2, |chunk| chunk.reservations = vec![(1, reservation)]));
    }
}
