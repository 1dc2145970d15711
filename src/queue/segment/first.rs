//! The first job of an order among those of a segment.

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

    /// The first of these, none of which has a smaller key than `at_least`, in the order of their slots: the search ends
    /// with the first one that has that key, which is soon found among jobs of one priority or reserved together.
    #[inline]
    pub(super) fn among(entries: impl Iterator<Item = (u64, usize)>, at_least: u64) -> First {
        let mut first = First::NONE;
        for (key, slot) in entries {
            first = first.min(First::of(key, slot));
            if key == at_least {
                break;
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_is_the_first_job() {
        let entries = [(7, 3), (5, 9), (5, 100), (6, 101)];
        assert_eq!(First::among(entries.into_iter(), 0), First::of(5, 9));
        assert_eq!(First::among(entries.into_iter(), 7), First::of(7, 3));
        let last = First::of(1 << 48, SLOTS_MAX - 1);
        assert_eq!((last.key(), last.slot()), (1 << 48, Some(SLOTS_MAX - 1)));
        let none = First::among(std::iter::empty(), 0);
        assert_eq!((none, none.key(), none.slot()), (First::NONE, NO_KEY, None));
        assert!(last < none);
    }
}
