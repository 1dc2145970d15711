//! The segments of a tube, by their first ids.
//!
//! Jobs mostly come and go in the order of their ids. So the first segment and the last stand apart from the
//! [shelves](super::shelves) of the others, and what is done there needs no search.

use super::segment::Segment;
use super::shelves::{Finger, Item, Shelves};

/// A segment and its first id, which is so found without a look at the segment.
type Named = (u64, Box<Segment>);

impl Item for Named {
    type Key = u64;

    #[inline]
    fn key(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Default)]
pub(super) struct Segments {
    /// The segment of the lowest ids. There is one unless there is none at all.
    first: Option<Box<Segment>>,
    rest: Shelves<Named>,
    /// Jobs of one segment are mostly asked for one after the other.
    finger: Finger,
    /// The segment of the highest ids, if there are two or more.
    last: Option<Box<Segment>>,
    /// How many there are.
    count: usize,
}

impl Segments {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn first(&self) -> Option<&Segment> {
        self.first.as_deref()
    }

    pub(super) fn last(&self) -> Option<&Segment> {
        self.last.as_deref().or(self.first())
    }

    #[inline]
    pub(super) fn last_mut(&mut self) -> Option<&mut Segment> {
        self.last.as_deref_mut().or(self.first.as_deref_mut())
    }

    /// The segment with this first id.
    #[inline]
    pub(super) fn get(&self, base: u64) -> Option<&Segment> {
        match &self.first {
            Some(first) if first.base_id() == base => Some(first),
            _ => self.get_of_rest(base),
        }
    }

    #[inline(never)]
    fn get_of_rest(&self, base: u64) -> Option<&Segment> {
        let last = self.last.as_deref().filter(|last| last.base_id() == base);
        last.or_else(|| self.rest.get(base, &self.finger).map(|(_, segment)| &**segment))
    }

    /// As [`Segments::get`], to change or replace it by one of the same first id.
    pub(super) fn get_mut(&mut self, base: u64) -> Option<&mut Box<Segment>> {
        match &mut self.first {
            Some(first) if first.base_id() == base => Some(first),
            _ => match &mut self.last {
                Some(last) if last.base_id() == base => Some(last),
                _ => self.rest.get_mut(base, &self.finger).map(|(_, segment)| segment),
            },
        }
    }

    /// The segment that holds the job `id`, if any does.
    #[inline]
    pub(super) fn of(&self, id: u64) -> Option<&Segment> {
        match &self.first {
            Some(first) if id <= first.last_id() => Some(first),
            _ => self.of_rest(id),
        }
    }

    #[inline(never)]
    fn of_rest(&self, id: u64) -> Option<&Segment> {
        let last = self.last.as_deref().filter(|last| last.base_id() <= id);
        last.or_else(|| self.rest.last_up_to(id, &self.finger).map(|(_, segment)| &**segment))
    }

    /// As [`Segments::of`], to change it.
    #[inline]
    pub(super) fn of_mut(&mut self, id: u64) -> Option<&mut Segment> {
        match &mut self.first {
            Some(first) if id <= first.last_id() => Some(first),
            _ => of_rest_mut(&mut self.rest, &self.finger, &mut self.last, id),
        }
    }

    /// The segment before the one with this first id.
    pub(super) fn before(&self, base: u64) -> Option<&Segment> {
        let last = self.last.as_deref().filter(|last| last.base_id() < base);
        let before = || self.rest.last_below(base).map(|(_, segment)| &**segment);
        last.or_else(before).or(self.first().filter(|first| first.base_id() < base))
    }

    /// The segment after where one with this first id is, or was: none has it.
    pub(super) fn after(&self, base: u64) -> Option<&Segment> {
        let first = self.first().filter(|first| first.base_id() > base);
        let after = || self.rest.from(base).next().map(|(_, segment)| &**segment);
        first.or_else(after).or(self.last.as_deref().filter(|last| last.base_id() > base))
    }

    /// The segments from the one on that holds, or would hold, the job `id`.
    pub(super) fn from(&self, id: u64) -> impl Iterator<Item = &Segment> {
        let base = match &self.last {
            Some(last) if last.base_id() <= id => Some(last.base_id()),
            _ => self.rest.last_up_to(id, &self.finger).map(|(base, _)| *base),
        };
        let first = self.first().filter(|_| base.is_none());
        let rest = self.rest.from(base.unwrap_or(0)).map(|(_, segment)| &**segment);
        first.into_iter().chain(rest).chain(self.last.as_deref())
    }

    /// All segments.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        let rest = self.rest.iter().map(|(_, segment)| &**segment);
        self.first().into_iter().chain(rest).chain(self.last.as_deref())
    }

    /// Adds a segment.
    pub(super) fn insert(&mut self, mut segment: Box<Segment>) {
        self.count += 1;
        let Some(first) = &mut self.first else { return self.first = Some(segment) };
        if segment.base_id() < first.base_id() {
            std::mem::swap(first, &mut segment);
        }
        if let Some(last) = &mut self.last
            && last.base_id() < segment.base_id()
        {
            std::mem::swap(last, &mut segment);
        }
        self.rest.insert((segment.base_id(), segment));
        if self.last.is_none() {
            self.last = self.rest.pop_last().map(|(_, segment)| segment);
        }
    }

    /// Takes away the segment with this first id.
    pub(super) fn remove(&mut self, base: u64) -> Option<Box<Segment>> {
        let taken = self.take(base);
        self.count -= usize::from(taken.is_some());
        taken
    }

    fn take(&mut self, base: u64) -> Option<Box<Segment>> {
        if self.first().is_some_and(|first| first.base_id() == base) {
            let second = self.rest.pop_first().map(|(_, segment)| segment).or_else(|| self.last.take());
            return std::mem::replace(&mut self.first, second);
        }
        if self.last.as_ref().is_some_and(|last| last.base_id() == base) {
            let before = self.rest.pop_last().map(|(_, segment)| segment);
            return std::mem::replace(&mut self.last, before);
        }
        self.rest.remove(base).map(|(_, segment)| segment)
    }

    /// What must hold of the structure; `Err` says what does not.
    pub(super) fn check(&self) -> Result<(), String> {
        self.rest.check()?;
        let are_named = self.rest.iter().all(|(base, segment)| *base == segment.base_id());
        let is_sorted = self.iter().map(Segment::base_id).is_sorted_by(|base, next| base < next);
        let are_apart = match (&self.first, &self.last) {
            (None, Some(_)) => false,
            (_, None) => self.rest.is_empty(),
            (Some(_), Some(_)) => true,
        };
        let is_counted = self.iter().count() == self.count;
        let is_true = are_named && is_sorted && are_apart && is_counted;
        if is_true { Ok(()) } else { Err("a segment is misnamed or misplaced".to_string()) }
    }

    /// Takes all segments of `other` over. None has the same first id as one here. O(n log n) for n of the fewer.
    pub(super) fn append(&mut self, mut other: Segments) {
        if self.len() < other.len() {
            std::mem::swap(self, &mut other);
        }
        let Segments { first, rest, last, .. } = other;
        let rest = rest.into_items().map(|(_, segment)| segment);
        first.into_iter().chain(rest).chain(last).for_each(|segment| self.insert(segment));
    }
}

impl FromIterator<Box<Segment>> for Segments {
    fn from_iter<I: IntoIterator<Item = Box<Segment>>>(segments: I) -> Segments {
        let mut rest: Shelves<Named> =
            segments.into_iter().map(|segment| (segment.base_id(), segment)).collect();
        let count = rest.len();
        let first = rest.pop_first().map(|(_, segment)| segment);
        let last = rest.pop_last().map(|(_, segment)| segment);
        Segments { first, rest, last, count, ..Segments::default() }
    }
}

#[inline(never)]
fn of_rest_mut<'a>(
    rest: &'a mut Shelves<Named>,
    finger: &Finger,
    last: &'a mut Option<Box<Segment>>,
    id: u64,
) -> Option<&'a mut Segment> {
    match last {
        Some(last) if last.base_id() <= id => Some(last),
        _ => rest.last_up_to_mut(id, finger).map(|(_, segment)| &mut **segment),
    }
}
