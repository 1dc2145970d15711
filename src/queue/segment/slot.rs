//! What every job of a segment has.

use super::super::job::State;

/// The number of no state.
const DEAD: u8 = 4;

/// The bits of a place that say where a body starts; those above say the job's state.
const START: u32 = (1 << 24) - 1;

/// A job's id, when it was put, where its body is, and its state. Ids and creation times count from the segment's first.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) id: u32,
    pub(super) created: u32,
    place: u32,
}

impl Slot {
    /// A ready job whose body starts at `start`, below 2^24: no other than the first starts behind 4 MiB.
    #[inline]
    pub(super) fn ready(id: u32, created: u32, start: u32) -> Slot {
        debug_assert!(start <= START);
        Slot { id, created, place: start & START }
    }

    /// The same job, its body starting elsewhere.
    pub(super) fn moved(self, start: u32) -> Slot {
        debug_assert!(start <= START);
        Slot { place: (self.place & !START) | (start & START), ..self }
    }

    /// Where its body starts.
    #[inline]
    pub(super) fn start(self) -> u32 {
        self.place & START
    }

    /// The number of its state.
    #[inline]
    pub(super) fn state_number(self) -> u8 {
        (self.place >> 24) as u8
    }

    /// Its state; `None` if it is dead.
    #[inline]
    pub(super) fn state(self) -> Option<State> {
        match self.state_number() {
            0 => Some(State::Ready),
            1 => Some(State::Delayed),
            2 => Some(State::Reserved),
            3 => Some(State::Buried),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn is_dead(self) -> bool {
        self.state_number() == DEAD
    }

    #[inline]
    pub(super) fn set_state(&mut self, state: State) {
        self.set_number(state as u8);
    }

    #[inline]
    pub(super) fn die(&mut self) {
        self.set_number(DEAD);
    }

    #[inline]
    fn set_number(&mut self, number: u8) {
        self.place = (self.place & START) | u32::from(number) << 24;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_start_and_state_apart() {
        let mut slot = Slot::ready(1, 2, START);
        assert_eq!((slot.start(), slot.state()), (START, Some(State::Ready)));
        for state in State::ALL {
            slot.set_state(state);
            assert_eq!((slot.start(), slot.state(), slot.is_dead()), (START, Some(state), false));
        }
        let slot = slot.moved(5);
        assert_eq!((slot.id, slot.created, slot.start(), slot.state()), (1, 2, 5, Some(State::Buried)));
        let mut dead = slot;
        dead.die();
        assert_eq!((dead.start(), dead.state(), dead.is_dead()), (5, None, true));
        assert_eq!(size_of::<Slot>(), 12);
    }
}
