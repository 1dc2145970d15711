//! Reservations that go back because nobody holds them.

use std::collections::{BTreeSet, VecDeque};

use crate::queue::{Reservation, Tube};

use super::names::Name;

/// One reservation that goes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Whether the tube still has it.
    pub fn is_in(&self, tube: &Tube) -> bool {
        tube.reservation(self.id).is_some_and(|reservation| reservation.is(self.n, self.worker))
    }
}

/// The reservations that go back.
#[derive(Debug, Default)]
pub struct GiveBacks {
    /// Those that their workers never heard of.
    pub untold: BTreeSet<GiveBack>,
    /// Those whose connections are closed, in the order in which they were.
    pub lost: VecDeque<GiveBack>,
}

impl GiveBacks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.untold.is_empty() && self.lost.is_empty()
    }

    /// Whether this reservation of a job is among those that its worker never heard of. O(log n) for n of them.
    pub fn is_untold(&self, uid: u64, name: &[u8], id: u64, reservation: &Reservation) -> bool {
        let (n, worker) = (reservation.n, reservation.worker);
        !self.untold.is_empty() && self.untold.contains(&GiveBack { uid, name: name.into(), id, n, worker })
    }

    /// A tube has another name. O(n log n).
    pub fn rename(&mut self, from: (u64, &Name), to: (u64, &Name)) {
        let is_there = |back: &GiveBack| (back.uid, &back.name) == from;
        let moved = |back: GiveBack| GiveBack { uid: to.0, name: Name::clone(to.1), ..back };
        let (there, mut rest): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.untold).into_iter().partition(is_there);
        rest.extend(there.into_iter().map(moved));
        self.untold = rest;
        for back in self.lost.iter_mut().filter(|back| is_there(back)) {
            (back.uid, back.name) = (to.0, Name::clone(to.1));
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.untold.clear();
        self.lost.clear();
    }
}
