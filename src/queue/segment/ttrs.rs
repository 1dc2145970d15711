//! The times to run of a segment's jobs: mostly all have the same.

use super::super::time::U48;

/// One time to run for each slot, in milliseconds, below 2^48.
#[derive(Clone)]
pub(super) enum Ttrs {
    Same(u64),
    Each(Vec<U48>),
}

impl Ttrs {
    pub(super) const fn new() -> Ttrs {
        Ttrs::Same(0)
    }

    pub(super) fn get(&self, slot: usize) -> u64 {
        match self {
            Ttrs::Same(ttr_ms) => *ttr_ms,
            Ttrs::Each(each) => each[slot].get(),
        }
    }

    /// Appends that of the next slot, before which there are `slots`. Returns how many bytes of memory that took.
    #[inline]
    pub(super) fn push(&mut self, slots: usize, ttr_ms: u64) -> usize {
        match self {
            Ttrs::Same(same) if *same == ttr_ms => 0,
            _ => self.push_another(slots, ttr_ms),
        }
    }

    #[cold]
    fn push_another(&mut self, slots: usize, ttr_ms: u64) -> usize {
        let before = self.bytes();
        match self {
            Ttrs::Same(same) if slots == 0 => *same = ttr_ms,
            Ttrs::Same(same) => {
                let mut each = vec![U48::new(*same); slots];
                each.push(U48::new(ttr_ms));
                *self = Ttrs::Each(each);
            }
            Ttrs::Each(each) => each.push(U48::new(ttr_ms)),
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
