//! The segments of a tube, by their first ids.
//!
//! Jobs mostly go in the order of their ids. So the first segment stands apart from the tree of the others, and what
//! is done there needs no way down the tree.

use std::collections::BTreeMap;

use super::segment::Segment;

#[derive(Clone, Default)]
pub(super) struct Segments {
    /// The segment of the lowest ids. There is one unless there is none at all.
    first: Option<Box<Segment>>,
    rest: BTreeMap<u64, Box<Segment>>,
}

impl Segments {
    pub(super) fn len(&self) -> usize {
        self.rest.len() + usize::from(self.first.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn first(&self) -> Option<&Segment> {
        self.first.as_deref()
    }

    pub(super) fn last(&self) -> Option<&Segment> {
        self.rest.last_key_value().map(|(_, last)| &**last).or(self.first())
    }

    #[inline]
    pub(super) fn last_mut(&mut self) -> Option<&mut Segment> {
        match self.rest.last_entry() {
            Some(last) => Some(last.into_mut()),
            None => self.first.as_deref_mut(),
        }
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
        self.rest.get(&base).map(|segment| &**segment)
    }

    /// As [`Segments::get`], to change or replace it by one of the same first id.
    pub(super) fn get_mut(&mut self, base: u64) -> Option<&mut Box<Segment>> {
        match &mut self.first {
            Some(first) if first.base_id() == base => Some(first),
            _ => self.rest.get_mut(&base),
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
        self.rest.range(..=id).next_back().map(|(_, segment)| &**segment)
    }

    /// As [`Segments::of`], to change it.
    #[inline]
    pub(super) fn of_mut(&mut self, id: u64) -> Option<&mut Segment> {
        match &mut self.first {
            Some(first) if id <= first.last_id() => Some(first),
            _ => of_rest_mut(&mut self.rest, id),
        }
    }

    /// The segment before the one with this first id.
    pub(super) fn before(&self, base: u64) -> Option<&Segment> {
        let before = self.rest.range(..base).next_back().map(|(_, segment)| &**segment);
        before.or(self.first().filter(|first| first.base_id() < base))
    }

    /// The segment after where one with this first id is, or was: none has it.
    pub(super) fn after(&self, base: u64) -> Option<&Segment> {
        let first = self.first().filter(|first| first.base_id() > base);
        first.or_else(|| self.rest.range(base..).next().map(|(_, segment)| &**segment))
    }

    /// The segments from the one on that holds, or would hold, the job `id`.
    pub(super) fn from(&self, id: u64) -> impl Iterator<Item = &Segment> {
        let base = self.rest.range(..=id).next_back().map(|(base, _)| *base);
        let first = self.first().filter(|_| base.is_none());
        first.into_iter().chain(self.rest.range(base.unwrap_or(0)..).map(|(_, segment)| &**segment))
    }

    /// All segments.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.first().into_iter().chain(self.rest.values().map(|segment| &**segment))
    }

    /// Adds a segment.
    pub(super) fn insert(&mut self, segment: Box<Segment>) {
        let (base, mut later) = (segment.base_id(), segment);
        if let Some(first) = self.first.as_mut().filter(|first| base < first.base_id()) {
            std::mem::swap(first, &mut later);
        }
        if self.first.is_none() {
            self.first = Some(later);
        } else {
            self.rest.insert(later.base_id(), later);
        }
    }

    /// Takes away the segment with this first id.
    pub(super) fn remove(&mut self, base: u64) -> Option<Box<Segment>> {
        if self.first().is_some_and(|first| first.base_id() == base) {
            let second = self.rest.pop_first().map(|(_, segment)| segment);
            return std::mem::replace(&mut self.first, second);
        }
        self.rest.remove(&base)
    }

    /// What must hold of the structure; `Err` says what does not.
    pub(super) fn check(&self) -> Result<(), String> {
        let first = self.first.as_ref().map(|first| first.base_id());
        let is_true =
            self.rest.iter().all(|(base, segment)| *base == segment.base_id() && first < Some(*base));
        let is_apart = first.is_some() || self.rest.is_empty();
        if is_true && is_apart { Ok(()) } else { Err("a segment is misnamed or misplaced".to_string()) }
    }

    /// Takes all segments of `other` over. None has the same first id as one here.
    pub(super) fn append(&mut self, other: Segments) {
        let Segments { first, mut rest } = other;
        self.rest.append(&mut rest);
        first.into_iter().for_each(|segment| self.insert(segment));
        // Those that came may begin before those that were here.
        if let Some((_, segment)) = self.rest.pop_first() {
            self.insert(segment);
        }
    }
}

impl FromIterator<Box<Segment>> for Segments {
    fn from_iter<I: IntoIterator<Item = Box<Segment>>>(segments: I) -> Segments {
        let mut rest: BTreeMap<_, _> =
            segments.into_iter().map(|segment| (segment.base_id(), segment)).collect();
        Segments { first: rest.pop_first().map(|(_, segment)| segment), rest }
    }
}

#[inline(never)]
fn of_rest_mut(rest: &mut BTreeMap<u64, Box<Segment>>, id: u64) -> Option<&mut Segment> {
    rest.range_mut(..=id).next_back().map(|(_, segment)| &mut **segment)
}
