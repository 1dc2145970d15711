//! What few jobs of a segment have.

use std::collections::VecDeque;

use super::super::blocks;
use super::SLOTS_MAX;
use super::slot_set::SlotSet;

/// An empty [`Sparse`] keeps room for so many.
const KEPT: usize = 16;

/// What few jobs of a segment have, in the order of their slots. Jobs mostly come and go in that order, so both ends
/// are cheap. Grows by a quarter of a segment at most, so that little is spare.
#[derive(Clone)]
pub(super) struct Sparse<T> {
    /// The slots that have an entry.
    pub(super) slots: SlotSet,
    pub(super) entries: VecDeque<T>,
}

impl<T: Copy> Sparse<T> {
    pub(super) const fn new() -> Sparse<T> {
        Sparse { slots: SlotSet::EMPTY, entries: VecDeque::new() }
    }

    /// How many entries stand before that of the slot.
    #[inline]
    fn position(&self, slot: usize) -> usize {
        // Counting bits takes long where the processor may lack an instruction for it, and mostly it is an end.
        match self.slots.below(slot) {
            SlotSet::EMPTY => 0,
            before if before == self.slots => self.entries.len(),
            before => before.len(),
        }
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<T> {
        if self.slots.has(slot) { self.entries.get(self.position(slot)).copied() } else { None }
    }

    /// Gives the slot an entry, or takes it away, and adds to `grown` by how many bytes the memory grew.
    #[inline]
    pub(super) fn set(&mut self, slot: usize, value: Option<T>, grown: &mut isize) {
        match value {
            Some(value) => self.insert(slot, value, grown),
            None => drop(self.take(slot, grown)),
        }
    }

    pub(super) fn insert(&mut self, slot: usize, value: T, grown: &mut isize) {
        let at = self.position(slot);
        if self.slots.has(slot) {
            self.entries[at] = value;
            return;
        }
        if self.entries.len() == self.entries.capacity() {
            let before = self.bytes();
            let len = self.entries.len();
            self.entries.reserve_exact(blocks::room_for::<T>(len + len.clamp(2, SLOTS_MAX / 4)) - len);
            *grown += (self.bytes() - before) as isize;
        }
        self.slots.insert(slot);
        if at == self.entries.len() {
            self.entries.push_back(value);
        } else {
            self.entries.insert(at, value);
        }
    }

    /// Takes the entry of the slot away, and subtracts from `grown` by how many bytes the memory shrank.
    #[inline]
    pub(super) fn take(&mut self, slot: usize, grown: &mut isize) -> Option<T> {
        if self.slots.has(slot) { self.take_out(slot, grown) } else { None }
    }

    #[inline(never)]
    fn take_out(&mut self, slot: usize, grown: &mut isize) -> Option<T> {
        let entry = match self.position(slot) {
            0 => self.entries.pop_front(),
            at => self.entries.remove(at),
        };
        self.slots.remove(slot);
        // Room is kept while there are others: jobs of a segment come and go together.
        if self.slots.is_empty() && self.entries.capacity() > KEPT {
            *grown -= self.bytes() as isize;
            self.entries = VecDeque::new();
        }
        entry
    }

    /// Takes all entries away, and keeps room for a few.
    pub(super) fn clear(&mut self) {
        self.slots = SlotSet::EMPTY;
        self.entries.clear();
        self.entries.shrink_to(8);
    }

    /// Takes away the entries of all other slots than these.
    pub(super) fn keep(&mut self, slots: SlotSet) {
        let kept = self.slots.among(slots);
        if kept.is_empty() {
            self.entries = VecDeque::new();
        } else if kept != self.slots {
            let mut mine = self.slots;
            self.entries.retain(|_| mine.next().is_some_and(|slot| slots.has(slot)));
        }
        self.slots = kept;
    }

    /// The entries as they stand once there are no slots but the `living`, in which all of them are.
    pub(super) fn among(&self, living: SlotSet) -> Sparse<T> {
        Sparse { slots: self.slots.places_among(living), entries: self.entries.clone() }
    }

    /// Slots and entries, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slots.zip(&self.entries)
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<T>()
    }
}
