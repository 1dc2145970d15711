//! The segments of a tube in one order: by the smallest key among the jobs in each.
//!
//! The first stands beside the [shelves](super::shelves) that hold the others, so that a tube of a single segment needs none,
//! and a first segment whose key changes, but which stays the first, is found without a search.

use super::segment::NO_KEY;
use super::shelves::{Item, Shelves};

/// The smallest key in a segment, and the id at which the segment begins.
pub(super) type Entry = (u64, u64);

/// What stands for an entry that is none. It is above all others: no segment begins at this id.
const NOWHERE: Entry = (NO_KEY, u64::MAX);

/// Both parts in one number, which is compared in two instructions.
impl Item for Entry {
    type Key = u128;

    #[inline(always)]
    fn key(&self) -> u128 {
        u128::from(self.0) << u64::BITS | u128::from(self.1)
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ranking {
    first: Entry,
    others: Shelves<Entry>,
}

impl Default for Ranking {
    fn default() -> Ranking {
        Ranking { first: NOWHERE, others: Shelves::default() }
    }
}

impl Ranking {
    /// The first entry. Where there is none, its key is [`NO_KEY`], and it names no segment.
    #[inline]
    pub(super) fn first(&self) -> Entry {
        self.first
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.others.len() + usize::from(self.first != NOWHERE)
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        let first = Some(self.first).filter(|first| *first != NOWHERE);
        first.into_iter().chain(self.others.iter().copied())
    }

    /// Moves a segment whose smallest key went from `before` to `after`; [`NO_KEY`] where it had, or has, none.
    pub(super) fn change(&mut self, base: u64, before: u64, after: u64) {
        let entry = if after == NO_KEY { NOWHERE } else { (after, base) };
        if self.first == (before, base) {
            if self.others.first().is_none_or(|next| entry < *next) {
                self.first = entry;
                return;
            }
            self.first = self.others.pop_first().unwrap_or(NOWHERE);
        } else if before != NO_KEY {
            self.others.remove((before, base).key());
        }
        let later = self.first.max(entry);
        self.first = self.first.min(entry);
        if later != NOWHERE {
            self.others.insert(later);
        }
    }
}

impl FromIterator<Entry> for Ranking {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Ranking {
        let mut others: Shelves<Entry> = entries.into_iter().collect();
        Ranking { first: others.pop_first().unwrap_or(NOWHERE), others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stand_in_order_whatever_changes() {
        let mut keys = [NO_KEY; 6];
        let mut ranking = Ranking::default();
        // Few keys, so that segments often share one, and often have none.
        for step in 0..10_000_u64 {
            let base = (step * 7 + step / 11) % 6;
            let after = [NO_KEY, 0, 1, 2, 3][(step * 3 + step / 13) as usize % 5];
            let before = std::mem::replace(&mut keys[base as usize], after);
            if before != after {
                ranking.change(base, before, after);
            }
            let entries = (0..).zip(keys).filter(|(_, key)| *key != NO_KEY).map(|(base, key)| (key, base));
            let mut expected: Vec<Entry> = entries.collect();
            expected.sort_unstable();
            assert_eq!(ranking.iter().collect::<Vec<_>>(), expected);
            assert_eq!(ranking.first(), expected.first().copied().unwrap_or(NOWHERE));
        }
    }
}
