//! What jobs of a segment mostly have alike: times to run, priorities.

use super::super::blocks;

/// One value for each slot. While all have the same, it is kept once.
#[derive(Clone)]
pub(super) enum Alike<T> {
    Same(T),
    Each(Vec<T>),
}

impl<T: Copy + Default + PartialEq> Alike<T> {
    /// What each slot, at least one, has.
    pub(super) fn of_each(each: Vec<T>) -> Alike<T> {
        let first = each[0];
        if each.iter().all(|value| *value == first) { Alike::Same(first) } else { Alike::Each(each) }
    }

    /// The value of a slot.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> T {
        match self {
            Alike::Same(value) => *value,
            Alike::Each(each) => each[slot],
        }
    }

    /// Gives a slot, of so many, another value. Returns how many bytes of memory that took.
    pub(super) fn set(&mut self, slot: usize, slots: usize, value: T) -> usize {
        match self {
            Alike::Same(same) if *same == value => 0,
            Alike::Same(same) => {
                let mut each = Vec::with_capacity(blocks::room_for::<T>(slots));
                each.resize(slots, *same);
                each[slot] = value;
                self.become_each(each)
            }
            Alike::Each(each) => {
                each[slot] = value;
                0
            }
        }
    }

    /// Whether the next slot's value, after `slots` others, can be appended without a word.
    #[inline]
    pub(super) fn is_same(&self, value: T) -> bool {
        matches!(self, Alike::Same(same) if *same == value)
    }

    /// Appends the value of the next slot, before which there are `slots`, and for which there is `room` in all. Returns
    /// how many bytes of memory that took.
    #[inline]
    pub(super) fn push(&mut self, slots: usize, room: usize, value: T) -> usize {
        if self.is_same(value) { 0 } else { self.push_another(slots, room, value) }
    }

    #[inline(never)]
    fn push_another(&mut self, slots: usize, room: usize, value: T) -> usize {
        match self {
            Alike::Same(same) if slots == 0 => {
                *same = value;
                0
            }
            Alike::Same(same) => {
                let mut each = Vec::with_capacity(blocks::room_for::<T>(room.max(slots + 1)));
                each.resize(slots, *same);
                each.push(value);
                self.become_each(each)
            }
            Alike::Each(each) => push_growing(each, room, value),
        }
    }

    /// Forgets the values of all slots, but for one that all had: the next ones mostly have it, too.
    pub(super) fn clear(&mut self) {
        if let Alike::Each(_) = self {
            *self = Alike::Same(T::default());
        }
    }

    fn become_each(&mut self, each: Vec<T>) -> usize {
        *self = Alike::Each(each);
        self.bytes()
    }

    /// Gives back the room that is not used.
    pub(super) fn shrink(&mut self) {
        if let Alike::Each(each) = self {
            blocks::shrink(each);
        }
    }

    /// Bytes of memory besides its own.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Alike::Same(_) => 0,
            Alike::Each(each) => each.capacity() * size_of::<T>(),
        }
    }
}

/// Appends to what is to have `room` for so many, and grows by its half where that is not enough. Returns how many bytes
/// of memory that took.
pub(super) fn push_growing<T>(each: &mut Vec<T>, room: usize, value: T) -> usize {
    let before = each.capacity();
    if each.len() == before {
        let wanted = room.max(before + (before / 2).max(4));
        each.reserve_exact(blocks::room_for::<T>(wanted) - before);
    }
    each.push(value);
    (each.capacity() - before) * size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_once_while_they_are_alike() {
        let mut values = Alike::Same(0_u32);
        let mut bytes = values.push(0, 8, 7);
        bytes += values.push(1, 8, 7);
        bytes += values.set(0, 2, 7);
        assert_eq!((bytes, values.bytes(), values.get(1)), (0, 0, 7));
        bytes += values.push(2, 8, 9);
        bytes += values.set(1, 3, 8);
        assert_eq!([0, 1, 2].map(|slot| values.get(slot)), [7, 8, 9]);
        assert_eq!((bytes, values.bytes()), (32, 32));
        for slot in 3..20 {
            bytes += values.push(slot, 8, 1);
        }
        assert_eq!(bytes, values.bytes());
        assert_eq!(values.get(19), 1);
    }

    #[test]
    fn forgotten_values_leave_what_all_had() {
        let mut values = Alike::Same(5_u32);
        values.clear();
        assert!(values.is_same(5));
        values.set(0, 2, 6);
        values.clear();
        assert_eq!((values.bytes(), values.push(0, 8, 7), values.get(0)), (0, 0, 7));
    }

    #[test]
    fn another_value_of_an_old_slot_ends_that_too() {
        let mut values = Alike::Same(3_u64);
        assert_eq!(values.set(1, 2, 4), 32);
        assert_eq!([0, 1].map(|slot| values.get(slot)), [3, 4]);
        assert_eq!(values.bytes(), 32);
    }
}
