//! A set of slots: a bit for each.

use std::ops::ControlFlow;

use super::SLOTS_MAX;

const WORD: usize = u64::BITS as usize;
const WORDS: usize = SLOTS_MAX / WORD;

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotSet([u64; WORDS]);

// A slot is named by a word and a bit in it, because shifting all bits at once takes long. No slot is above
// `SLOTS_MAX`; one that were would be taken for another instead of being looked for outside the set.
#[inline(always)]
fn place(slot: usize) -> (usize, u64) {
    debug_assert!(slot < SLOTS_MAX);
    (slot / WORD % WORDS, 1 << (slot % WORD))
}

impl SlotSet {
    pub(super) const EMPTY: SlotSet = SlotSet([0; WORDS]);

    /// The `count` lowest slots.
    pub(super) fn up_to(count: usize) -> SlotSet {
        SlotSet(std::array::from_fn(|word| match count.saturating_sub(word * WORD) {
            WORD.. => u64::MAX,
            bits => (1 << bits) - 1,
        }))
    }

    #[inline(always)]
    pub(super) fn has(&self, slot: usize) -> bool {
        let (word, bit) = place(slot);
        self.0[word] & bit != 0
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, slot: usize) {
        let (word, bit) = place(slot);
        self.0[word] |= bit;
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, slot: usize) {
        let (word, bit) = place(slot);
        self.0[word] &= !bit;
    }

    /// This set and a slot.
    pub(super) fn with(mut self, slot: usize) -> SlotSet {
        self.insert(slot);
        self
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self == SlotSet::EMPTY
    }

    /// The lowest slot.
    #[inline(always)]
    pub(super) fn first(self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * WORD + self.0[word].trailing_zeros() as usize)
    }

    pub(super) fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The slots below this one.
    #[inline(always)]
    pub(super) fn below(self, slot: usize) -> SlotSet {
        let (word, bit) = place(slot);
        let mut below = self.0;
        below[word] &= bit - 1;
        below[word + 1..].fill(0);
        SlotSet(below)
    }

    /// The slots of either set.
    pub(super) fn and(self, other: SlotSet) -> SlotSet {
        self.each(other, |mine, theirs| mine | theirs)
    }

    /// The slots of both sets.
    pub(super) fn among(self, other: SlotSet) -> SlotSet {
        self.each(other, |mine, theirs| mine & theirs)
    }

    /// The slots that are not in the other set.
    pub(super) fn without(self, other: SlotSet) -> SlotSet {
        self.each(other, |mine, theirs| mine & !theirs)
    }

    /// The places of these slots among the `living`, in which all of them are.
    pub(super) fn places_among(self, living: SlotSet) -> SlotSet {
        self.fold(SlotSet::EMPTY, |places, slot| places.with(living.below(slot).len()))
    }

    /// Shows the slots to `visit`, lowest first, until it has seen enough: faster than an iterator.
    #[inline]
    pub(super) fn visit(self, mut visit: impl FnMut(usize) -> ControlFlow<()>) {
        for (word, mut bits) in self.0.into_iter().enumerate() {
            while bits != 0 {
                if visit(word * WORD + bits.trailing_zeros() as usize).is_break() {
                    return;
                }
                bits &= bits - 1;
            }
        }
    }

    fn each(mut self, other: SlotSet, with: impl Fn(u64, u64) -> u64) -> SlotSet {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine = with(*mine, theirs));
        self
    }
}

/// Lowest first.
impl Iterator for SlotSet {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        let bit = self.0[word].trailing_zeros() as usize;
        self.0[word] &= self.0[word] - 1;
        Some(word * WORD + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_and_go() {
        let slots = [0, 1, 63, 64, 100, 127];
        let mut set = slots.into_iter().fold(SlotSet::EMPTY, SlotSet::with);
        assert!(slots.iter().all(|slot| set.has(*slot)) && !set.has(2) && !set.has(65));
        assert_eq!((set.collect::<Vec<_>>(), set.len()), (slots.to_vec(), 6));
        assert_eq!([0, 1, 63, 64, 65, 127].map(|slot| set.below(slot).len()), [0, 1, 2, 3, 4, 5]);
        let first = SlotSet::up_to(64);
        assert_eq!((first.len(), first.has(63), first.has(64)), (64, true, false));
        assert_eq!(set.among(first).collect::<Vec<_>>(), [0, 1, 63]);
        assert_eq!(set.without(first).collect::<Vec<_>>(), [64, 100, 127]);
        assert_eq!(set.and(first).len(), 67);
        slots.into_iter().for_each(|slot| set.remove(slot));
        assert!(set.is_empty() && SlotSet::up_to(SLOTS_MAX).len() == SLOTS_MAX);
    }
}
