//! A job's timing and its reservation as they stand in a segment: in integers of six bytes.

use super::super::job::{Reservation, Timing};
use super::super::time::U48;

#[derive(Clone, Copy)]
pub(super) struct PackedTiming {
    pub(super) at: U48,
    pub(super) delay_ms: U48,
}

impl PackedTiming {
    pub(super) fn of(timing: Timing) -> PackedTiming {
        PackedTiming { at: U48::new(timing.at), delay_ms: U48::new(timing.delay_ms) }
    }

    pub(super) fn get(self) -> Timing {
        Timing { at: self.at.get(), delay_ms: self.delay_ms.get() }
    }
}

#[derive(Clone, Copy)]
pub(super) struct PackedReservation {
    pub(super) n: U48,
    pub(super) deadline_ms: U48,
    pub(super) reserved_at_ms: U48,
    pub(super) worker: U48,
    pub(super) ttr_ms: U48,
}

impl PackedReservation {
    pub(super) fn of(r: &Reservation) -> PackedReservation {
        PackedReservation {
            n: U48::new(r.n),
            deadline_ms: U48::new(r.deadline_ms),
            reserved_at_ms: U48::new(r.reserved_at_ms),
            worker: U48::new(r.worker),
            ttr_ms: U48::new(r.ttr_ms),
        }
    }

    pub(super) fn get(self) -> Reservation {
        Reservation {
            n: self.n.get(),
            deadline_ms: self.deadline_ms.get(),
            reserved_at_ms: self.reserved_at_ms.get(),
            worker: self.worker.get(),
            ttr_ms: self.ttr_ms.get(),
        }
    }
}
