//! What every job of a segment has from the beginning: its id, when it was put, and where its body lies.
//!
//! ```text
//! gaps      how many ids were left out up to this job             4 bytes a job, unless none was left out
//! created   milliseconds since the first job was put              4 bytes a job, unless all have the same
//! starts    where the job's body starts                           4 bytes a job, unless all are equally long
//! ```

use super::super::blocks;
use super::super::check::{Invalid, in_range};
use super::super::time::TIME_MAX_MS;
use super::alike::{Alike, push_growing};
use super::chunk::{Chunk, Column};

/// A row for each slot.
#[derive(Clone)]
pub(super) struct Rows {
    base_id: u64,
    base_created_ms: u64,
    /// The highest id; the base where there is none.
    last_id: u64,
    gaps: Alike<u32>,
    created: Alike<u32>,
    starts: Starts,
    len: u16,
    /// So many slots are expected.
    room: u16,
}

/// Where bodies start that lie one behind the other.
#[derive(Clone)]
enum Starts {
    /// All bodies have this length.
    Even(u32),
    Each(Vec<u32>),
}

/// A row that is to be appended.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) created_ms: u64,
    /// Where the body starts: behind the one before.
    pub(super) start: usize,
    pub(super) body_len: usize,
}

impl Rows {
    /// No rows, of jobs whose ids and creation times are at least these.
    pub(super) const fn new(base_id: u64, base_created_ms: u64) -> Rows {
        let (gaps, created, starts) = (Alike::Same(0), Alike::Same(0), Starts::Even(0));
        Rows { base_id, base_created_ms, last_id: base_id, gaps, created, starts, len: 0, room: 0 }
    }

    /// How many jobs there are, dead ones included.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn base_id(&self) -> u64 {
        self.base_id
    }

    pub(super) fn base_created_ms(&self) -> u64 {
        self.base_created_ms
    }

    /// So many jobs are expected.
    pub(super) fn expect(&mut self, jobs: usize) {
        self.room = jobs as u16;
    }

    /// So many jobs there is room for, where room is made for each.
    pub(super) fn room(&self) -> usize {
        usize::from(self.room.max(self.len))
    }

    #[inline]
    pub(super) fn id(&self, slot: usize) -> u64 {
        self.base_id + slot as u64 + u64::from(self.gaps.get(slot))
    }

    #[inline]
    pub(super) fn created_ms(&self, slot: usize) -> u64 {
        self.base_created_ms + u64::from(self.created.get(slot))
    }

    /// The highest id; the base where there is none.
    #[inline]
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The slot of the job `id`, dead or alive.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        let distance = id.checked_sub(self.base_id)?;
        match &self.gaps {
            Alike::Same(gap) => {
                let slot =
                    distance.checked_sub(u64::from(*gap)).filter(|slot| *slot < u64::from(self.len))?;
                Some(slot as usize)
            }
            Alike::Each(gaps) => find_among(gaps, distance),
        }
    }

    /// The first slot of a job whose id is at least `id`.
    pub(super) fn at_least(&self, id: u64) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = (from + to) / 2;
            (from, to) = if self.id(middle) < id { (middle + 1, to) } else { (from, middle) };
        }
        from
    }

    /// Where the body of a job is, if all bodies together have `bytes`.
    #[inline]
    pub(super) fn body_range(&self, slot: usize, bytes: usize) -> std::ops::Range<usize> {
        match &self.starts {
            Starts::Even(len) => {
                let len = *len as usize;
                slot * len..(slot + 1) * len
            }
            Starts::Each(starts) => {
                starts[slot] as usize..starts.get(slot + 1).map_or(bytes, |next| *next as usize)
            }
        }
    }

    /// Whether id and creation time can be told as a small distance from the base.
    #[inline(always)]
    pub(super) fn covers(&self, id: u64, created_ms: u64) -> bool {
        let is_near =
            |value: u64, base: u64| value.checked_sub(base).is_some_and(|d| d <= u64::from(u32::MAX));
        is_near(id, self.base_id) && is_near(created_ms, self.base_created_ms)
    }

    /// What of a row is kept: how many ids were left out before it, and how much later it was created.
    #[inline(always)]
    fn distances(&self, row: &Row) -> (u32, u32) {
        let gap = row.id - self.base_id - u64::from(self.len);
        (gap as u32, (row.created_ms - self.base_created_ms) as u32)
    }

    /// Appends a row whose id is above all others, and which is [covered](Rows::covers). Returns how many bytes of memory
    /// that took.
    #[inline(always)]
    pub(super) fn push(&mut self, row: Row) -> usize {
        let (gap, created) = self.distances(&row);
        let is_even = matches!(self.starts, Starts::Even(len) if len as usize == row.body_len);
        let grown = if is_even && self.gaps.is_same(gap) && self.created.is_same(created) {
            0
        } else {
            self.note_distances(row)
        };
        self.len += 1;
        self.last_id = row.id;
        grown
    }

    #[inline(never)]
    fn note_distances(&mut self, row: Row) -> usize {
        let (slots, room) = (self.len(), self.room());
        let (gap, created) = self.distances(&row);
        self.gaps.push(slots, room, gap)
            + self.created.push(slots, room, created)
            + self.starts.push(slots, room, &row)
    }

    /// Forgets all rows, and the room for them, but not how long all bodies were: the next ones mostly are as long.
    pub(super) fn clear(&mut self) {
        let even = match self.starts {
            Starts::Even(len) => len,
            Starts::Each(_) => 0,
        };
        *self = Rows { starts: Starts::Even(even), ..Rows::new(self.base_id, self.base_created_ms) };
    }

    /// Starts anew with jobs whose ids and creation times are at least these. There are no rows.
    pub(super) fn start(&mut self, base_id: u64, base_created_ms: u64) {
        (self.base_id, self.base_created_ms, self.last_id) = (base_id, base_created_ms, base_id);
    }

    /// Gives back the room that is not used.
    pub(super) fn shrink(&mut self) {
        self.gaps.shrink();
        self.created.shrink();
        if let Starts::Each(starts) = &mut self.starts {
            blocks::shrink(starts);
        }
    }

    /// Bytes of memory besides its own.
    pub(super) fn bytes(&self) -> usize {
        self.gaps.bytes() + self.created.bytes() + self.starts.bytes()
    }
}

/// The columns that a snapshot makes of the rows of living jobs: distances, and lengths.
pub(super) struct Columns {
    /// The distance of each id from the one before; that of the first from before the base.
    pub(super) ids: Column<'static>,
    /// As far as 32 bits tell, the distance of each creation time from the one before.
    pub(super) created: Column<'static>,
    pub(super) lengths: Column<'static>,
}

/// What stands in the row before a slot's; 0 before the first.
fn before<T: Default>(slot: usize, of: impl Fn(usize) -> T) -> T {
    slot.checked_sub(1).map_or(T::default(), of)
}

impl Rows {
    /// The rows as columns, if all bodies together have `bytes`. There is at least one row.
    pub(super) fn columns(&self, bytes: usize) -> Columns {
        let ids = match &self.gaps {
            Alike::Same(0) => Column::Same(1),
            gaps => {
                // As a distance from before the base: the farthest id that is covered is 2^32 from there.
                let id = |slot: usize| slot as u64 + u64::from(gaps.get(slot)) + 1;
                Column::each(self.len(), |slot| id(slot) - before(slot, id))
            }
        };
        let created = match &self.created {
            Alike::Same(0) => Column::Same(0),
            created => {
                let at = |slot: usize| created.get(slot);
                Column::each(self.len(), |slot| u64::from(at(slot).wrapping_sub(before(slot, at))))
            }
        };
        let lengths = match &self.starts {
            Starts::Even(len) => Column::Same(u64::from(*len)),
            Starts::Each(_) => Column::each(self.len(), |slot| self.body_range(slot, bytes).len() as u64),
        };
        Columns { ids, created, lengths }
    }

    /// The rows of a chunk that was checked.
    pub(super) fn of_columns(chunk: &Chunk<'_>) -> Result<Rows, Invalid> {
        let slots = usize::from(chunk.jobs);
        let mut rows = Rows::new(chunk.after_id + chunk.ids.get(0), chunk.since_ms);
        rows.len = slots as u16;
        if chunk.ids != Column::Same(1) {
            // The first is where the base is.
            let mut gap = 1_u32.wrapping_sub(chunk.ids.get(0) as u32);
            rows.gaps = Alike::of_each(chunk.ids.each_as(slots, |distance| {
                gap = gap.wrapping_add(distance as u32).wrapping_sub(1);
                gap
            }));
        }
        rows.last_id = rows.id(slots - 1);
        if chunk.created != Column::Same(0) {
            let (mut created, mut latest) = (0_u32, 0);
            rows.created = Alike::of_each(chunk.created.each_as(slots, |distance| {
                created = created.wrapping_add(distance as u32);
                latest = latest.max(created);
                created
            }));
            in_range(chunk.since_ms + u64::from(latest), 0, TIME_MAX_MS)?;
        }
        rows.starts = match &chunk.lengths {
            Column::Same(len) => Starts::Even(*len as u32),
            lengths => {
                let mut end = 0_u32;
                Starts::Each(lengths.each_as(slots, |len| {
                    let start = end;
                    end = end.wrapping_add(len as u32);
                    start
                }))
            }
        };
        Ok(rows)
    }
}

/// The slot of the job at that distance from the base, where some ids were left out: no more than that many before it.
#[inline(never)]
fn find_among(gaps: &[u32], distance: u64) -> Option<usize> {
    let (mut from, mut to) = (0, gaps.len());
    while from < to {
        let middle = (from + to) / 2;
        let at = middle as u64 + u64::from(gaps[middle]);
        if at == distance {
            return Some(middle);
        }
        (from, to) = if at < distance { (middle + 1, to) } else { (from, middle) };
    }
    None
}

impl Starts {
    fn push(&mut self, slots: usize, room: usize, row: &Row) -> usize {
        let (start, len) = (row.start as u32, row.body_len as u32);
        match self {
            Starts::Even(even) if *even == len => 0,
            Starts::Even(even) if slots == 0 => {
                *even = len;
                0
            }
            Starts::Even(even) => {
                let mut starts = Vec::with_capacity(blocks::room_for::<u32>(room.max(slots + 1)));
                starts.extend((0..slots as u32).map(|slot| slot * *even));
                starts.push(start);
                *self = Starts::Each(starts);
                self.bytes()
            }
            Starts::Each(starts) => push_growing(starts, room, start),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Starts::Even(_) => 0,
            Starts::Each(starts) => starts.capacity() * size_of::<u32>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: impl Iterator<Item = (u64, u64, usize)>) -> (Rows, usize) {
        let (mut rows, mut start, mut bytes) = (Rows::new(10, 1_000), 0, 0);
        for (id, created_ms, body_len) in of {
            bytes += rows.push(Row { id, created_ms, start, body_len });
            start += body_len;
        }
        (rows, bytes)
    }

    #[test]
    fn rows_that_are_alike_take_nothing() {
        let (rows, bytes) = rows((0..100).map(|n| (10 + n, 1_000, 7)));
        assert_eq!((rows.len(), bytes, rows.bytes()), (100, 0, 0));
        assert_eq!((rows.id(99), rows.last_id(), rows.created_ms(99)), (109, 109, 1_000));
        assert_eq!(rows.body_range(99, 700), 693..700);
        assert_eq!([9, 10, 109, 110].map(|id| rows.find(id)), [None, Some(0), Some(99), None]);
        assert_eq!([0, 10, 55, 109, 110].map(|id| rows.at_least(id)), [0, 0, 45, 99, 100]);
    }

    #[test]
    fn rows_that_differ_are_told_one_by_one() {
        let all = [(12, 1_000, 0), (13, 1_005, 3), (20, 1_001, 3), (u64::from(u32::MAX), 1_001, 9)];
        let (mut rows, bytes) = rows(all.into_iter());
        let mut start = 0;
        for (slot, (id, created_ms, len)) in all.into_iter().enumerate() {
            assert_eq!((rows.id(slot), rows.created_ms(slot), rows.find(id)), (id, created_ms, Some(slot)));
            assert_eq!(rows.body_range(slot, 15), start..start + len);
            start += len;
        }
        assert_eq!([10, 14, 21].map(|id| rows.find(id)), [None; 3]);
        assert_eq!([11, 14, 21].map(|id| rows.at_least(id)), [0, 2, 3]);
        assert_eq!((bytes, rows.last_id()), (rows.bytes(), all[3].0));
        rows.shrink();
        assert_eq!(rows.bytes(), 3 * 4 * 4);
    }

    #[test]
    fn room_that_is_not_used_is_given_back() {
        let (mut rows, mut start) = (Rows::new(10, 1_000), 0);
        rows.expect(128);
        for n in 0..20 {
            let body_len = n as usize;
            rows.push(Row { id: 10 + n * n, created_ms: 1_000 + n, start, body_len });
            start += body_len;
        }
        assert_eq!(rows.bytes(), 3 * 128 * 4);
        rows.shrink();
        assert_eq!(rows.bytes(), 3 * 24 * 4);
    }
}
