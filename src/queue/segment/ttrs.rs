//! The times to run of a segment's jobs: mostly all have the same.

use super::super::time::U48;

/// One time to run for each slot, in milliseconds.
#[derive(Clone)]
pub(super) enum Ttrs {
    Same(U48),
    Each(Vec<U48>),
}

impl Ttrs {
    pub(super) const fn new() -> Ttrs {
        Ttrs::Same(U48::ZERO)
    }

    pub(super) fn get(&self, slot: usize) -> u64 {
        match self {
            Ttrs::Same(ttr_ms) => ttr_ms.get(),
            Ttrs::Each(each) => each[slot].get(),
        }
    }

    /// Appends that of the next slot, before which there are `slots`. Returns how many bytes of memory that took.
    #[inline]
    pub(super) fn push(&mut self, slots: usize, ttr_ms: U48) -> usize {
        match self {
            Ttrs::Same(same) if *same == ttr_ms => 0,
            _ => self.push_another(slots, ttr_ms),
        }
    }

    #[cold]
    fn push_another(&mut self, slots: usize, ttr_ms: U48) -> usize {
        let before = self.bytes();
        match self {
            Ttrs::Same(same) if slots == 0 => *same = ttr_ms,
            Ttrs::Same(same) => {
                let mut each = vec![*same; slots];
                each.push(ttr_ms);
                *self = Ttrs::Each(each);
            }
            Ttrs::Each(each) => each.push(ttr_ms),
        }
        self.bytes() - before
    }

    /// Gives back the room that is not used.
    pub(super) fn shrink(&mut self) {
        if let Ttrs::Each(each) = self {
            each.shrink_to_fit();
        }
    }

    /// Bytes of memory besides its own.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Ttrs::Same(_) => 0,
            Ttrs::Each(each) => each.capacity() * size_of::<U48>(),
        }
    }
}
