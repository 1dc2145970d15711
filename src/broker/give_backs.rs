//! Reservations that go back because nobody holds them.

use std::collections::VecDeque;

use crate::queue::{Reservation, Tube};

use super::names::Name;

/// One reservation that goes back.
#[derive(Clone, Debug)]
pub struct GiveBack {
    /// What the tube's database is called.
    pub uid: u64,
    /// The tube.
    pub name: Name,
    /// The job.
    pub id: u64,
    /// The lease's number.
    pub n: u64,
    /// Whose it was.
    pub worker: u64,
}

impl GiveBack {
    /// Whether it is this reservation of the job. Where a copy of another tube stands by now, one of the same id and
    /// number may be somebody else's.
    fn is(&self, reservation: &Reservation) -> bool {
        (self.n, self.worker) == (reservation.n, reservation.worker)
    }

    /// Whether the tube still has it.
    pub fn is_in(&self, tube: &Tube) -> bool {
        tube.reservation(self.id).is_some_and(|reservation| self.is(&reservation))
    }
}

/// The reservations that go back, in the order in which they were given up.
#[derive(Debug, Default)]
pub struct GiveBacks {
    /// Those that their workers never heard of.
    pub untold: VecDeque<GiveBack>,
    /// Those whose connections are closed.
    pub lost: VecDeque<GiveBack>,
}

impl GiveBacks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.untold.is_empty() && self.lost.is_empty()
    }

    /// Whether this reservation of a job is among those that its worker never heard of. O(n) for n of them.
    pub fn is_untold(&self, uid: u64, name: &[u8], id: u64, reservation: &Reservation) -> bool {
        let is_it =
            |back: &GiveBack| back.id == id && back.is(reservation) && back.uid == uid && *back.name == *name;
        self.untold.iter().any(is_it)
    }

    /// A tube has another name. O(n).
    pub fn rename(&mut self, from: (u64, &Name), to: (u64, &Name)) {
        let all = self.untold.iter_mut().chain(&mut self.lost);
        for back in all.filter(|back| (back.uid, &back.name) == from) {
            (back.uid, back.name) = (to.0, Name::clone(to.1));
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.untold.clear();
        self.lost.clear();
    }
}
