//! The first job of an order among those of a segment.

use std::ops::ControlFlow;

use super::slot_set::SlotSet;
use super::{NO_KEY, SLOTS_MAX};

/// A job's key in an order, and its slot: in one number, so that the smallest one is the first job's. Jobs with the
/// same key stand by id, and so do slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct First(u64);

/// Keys are priorities, times and numbers of burials, all of which leave so many bits.
const SLOT_BITS: u32 = SLOTS_MAX.ilog2();

const _: () = assert!(SLOTS_MAX.is_power_of_two());

impl First {
    /// What stands where there is no job. It is above all others.
    pub(super) const NONE: First = First(u64::MAX);

    #[inline(always)]
    pub(super) fn of(key: u64, slot: usize) -> First {
        debug_assert!(key < NO_KEY >> SLOT_BITS && slot < SLOTS_MAX);
        First(key << SLOT_BITS | slot as u64)
    }

    /// The job's key; [`NO_KEY`] where there is none.
    #[inline(always)]
    pub(super) fn key(self) -> u64 {
        if self == First::NONE { NO_KEY } else { self.0 >> SLOT_BITS }
    }

    /// The job's slot.
    #[inline(always)]
    pub(super) fn slot(self) -> Option<usize> {
        (self != First::NONE).then_some(self.0 as usize % SLOTS_MAX)
    }

    /// Takes another job's place if this one goes before it. Whether it has the key `at_least`: none goes before it then,
    /// if jobs are shown in the order of their slots and none has a smaller key.
    #[inline(always)]
    fn meet(&mut self, key: u64, slot: usize, at_least: u64) -> bool {
        *self = (*self).min(First::of(key, slot));
        key == at_least
    }

    /// The first of the jobs in these slots, none of which has a smaller key than `at_least`: the search ends with the
    /// first one that has that key, which is soon found among jobs of few priorities.
    #[inline]
    pub(super) fn of_slots(slots: SlotSet, key: impl Fn(usize) -> u64, at_least: u64) -> First {
        let mut first = First::NONE;
        slots.visit(|slot| match first.meet(key(slot), slot, at_least) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        first
    }

    /// The same of keys and slots, in the order of the slots.
    #[inline]
    pub(super) fn of_entries(mut entries: impl Iterator<Item = (u64, usize)>, at_least: u64) -> First {
        let mut first = First::NONE;
        entries.find(|(key, slot)| first.meet(*key, *slot, at_least));
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_is_the_first_job() {
        let entries = [(7, 3), (5, 9), (5, 100), (6, 101)];
        assert_eq!(First::of_entries(entries.into_iter(), 0), First::of(5, 9));
        assert_eq!(First::of_entries(entries.into_iter(), 7), First::of(7, 3));
        let last = First::of(1 << 48, SLOTS_MAX - 1);
        assert_eq!((last.key(), last.slot()), (1 << 48, Some(SLOTS_MAX - 1)));
        let slots = SlotSet::EMPTY.with(9).with(70).with(100);
        assert_eq!(First::of_slots(slots, |slot| 170 - slot as u64, 0), First::of(70, 100));
        assert_eq!(First::of_slots(slots, |slot| 170 - slot as u64, 100), First::of(100, 70));
        let none = First::of_entries(std::iter::empty(), 0);
        assert_eq!((none, none.key(), none.slot()), (First::NONE, NO_KEY, None));
        assert!(last < none);
    }
}
