//! What few jobs of a segment have.

use std::collections::VecDeque;

use super::SLOTS_MAX;

/// An empty [`Sparse`] keeps room for so many.
const KEPT: usize = 16;

/// What few jobs of a segment have, in the order of their slots. Jobs mostly come and go in that order, so both ends
/// are cheap. Grows by a quarter of a segment at most, so that little is spare.
#[derive(Clone)]
pub(super) struct Sparse<T> {
    /// The slots that have an entry, as bits.
    pub(super) slots: u128,
    pub(super) entries: VecDeque<T>,
}

/// A slot as a bit.
#[inline]
pub(super) fn bit(slot: usize) -> u128 {
    1 << slot
}

impl<T: Copy> Sparse<T> {
    pub(super) const fn new() -> Sparse<T> {
        Sparse { slots: 0, entries: VecDeque::new() }
    }

    /// How many entries stand before that of the slot.
    #[inline]
    fn position(&self, bit: u128) -> usize {
        // Counting bits takes long where the processor may lack an instruction for it, and mostly it is an end.
        match self.slots & (bit - 1) {
            0 => 0,
            before if before == self.slots => self.entries.len(),
            before => before.count_ones() as usize,
        }
    }

    #[inline]
    pub(super) fn get(&self, bit: u128) -> Option<T> {
        if self.slots & bit == 0 { None } else { self.entries.get(self.position(bit)).copied() }
    }

    /// Gives the slot an entry, or takes it away, and adds to `grown` by how many bytes the memory grew.
    #[inline]
    pub(super) fn set(&mut self, bit: u128, value: Option<T>, grown: &mut isize) {
        match value {
            Some(value) => self.insert(bit, value, grown),
            None => drop(self.take(bit, grown)),
        }
    }

    pub(super) fn insert(&mut self, bit: u128, value: T, grown: &mut isize) {
        let at = self.position(bit);
        if self.slots & bit != 0 {
            self.entries[at] = value;
            return;
        }
        if self.entries.len() == self.entries.capacity() {
            let before = self.bytes();
            self.entries.reserve_exact(self.entries.len().clamp(2, SLOTS_MAX / 4));
            *grown += (self.bytes() - before) as isize;
        }
        self.slots |= bit;
        if at == self.entries.len() {
            self.entries.push_back(value);
        } else {
            self.entries.insert(at, value);
        }
    }

    /// Takes the entry of the slot away, and subtracts from `grown` by how many bytes the memory shrank.
    #[inline]
    pub(super) fn take(&mut self, bit: u128, grown: &mut isize) -> Option<T> {
        if self.slots & bit == 0 { None } else { self.take_out(bit, grown) }
    }

    #[inline(never)]
    fn take_out(&mut self, bit: u128, grown: &mut isize) -> Option<T> {
        let entry = match self.position(bit) {
            0 => self.entries.pop_front(),
            at => self.entries.remove(at),
        };
        self.slots &= !bit;
        // Room is kept while there are others: jobs of a segment come and go together.
        if self.slots == 0 && self.entries.capacity() > KEPT {
            *grown -= self.bytes() as isize;
            self.entries = VecDeque::new();
        }
        entry
    }

    /// Takes all entries away, and keeps room for a few.
    pub(super) fn clear(&mut self) {
        self.slots = 0;
        self.entries.clear();
        self.entries.shrink_to(8);
    }

    /// Takes away the entries of all other slots than these.
    pub(super) fn keep(&mut self, slots: u128) {
        if self.slots & slots == 0 {
            (self.slots, self.entries) = (0, VecDeque::new());
        } else if self.slots & !slots != 0 {
            let mut mine = Bits(self.slots);
            self.entries.retain(|_| mine.next().is_some_and(|slot| slots >> slot & 1 != 0));
            self.slots &= slots;
        }
    }

    /// The entries as they stand once there are no slots but the `living`, in which all of them are.
    pub(super) fn among(&self, living: u128) -> Sparse<T> {
        let place = |slot: usize| (living & (bit(slot) - 1)).count_ones();
        let slots = Bits(self.slots).fold(0, |slots, slot| slots | 1 << place(slot));
        Sparse { slots, entries: self.entries.clone() }
    }

    /// Slots and entries, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        Bits(self.slots).zip(&self.entries)
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<T>()
    }
}

/// The positions of the bits that are set, lowest first.
pub(super) struct Bits(pub(super) u128);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
