//! What can happen to a tube. A [`Change`] is an outcome: it names the one job it is about and carries
//! everything it was decided with. What one command does to one tube is one event: a time and its changes in
//! order (see `codec` for how an event is written down).

use serde::{Deserialize, Serialize};

use super::job::{Job, State};
use super::tube::Header;

/// Why a reservation ended without its job being finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The worker released it.
    Released,
    /// The worker released it without having worked on it; the attempt does not count.
    Untried,
    /// The time to run was over.
    TimedOut,
    /// The connection that held it closed.
    Lost,
    /// The worker never learned that it held it; the attempt does not count.
    Undelivered,
}

/// Where a job goes when its reservation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// At once ready.
    Ready,
    /// Ready after so many milliseconds.
    Delayed {
        /// The delay in milliseconds, at least 1.
        delay_ms: u64,
    },
    /// Buried: it was tried as often as it may be.
    Buried,
}

/// A set of job states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct States(u8);

impl States {
    /// No state.
    pub const NONE: States = States(0);
    /// All states.
    pub const ALL: States = States((1 << State::ALL.len()) - 1);

    /// This set and `state`.
    #[must_use]
    pub fn with(self, state: State) -> States {
        States(self.0 | 1 << state as u8)
    }

    /// Whether `state` is in the set.
    pub fn has(self, state: State) -> bool {
        self.0 & 1 << state as u8 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether only known states are in it (a set from outside may hold anything).
    pub(super) fn is_valid(self) -> bool {
        self.0 < 1 << State::ALL.len()
    }
}

/// One change of a tube. All but four are about one job.
///
/// The order of the variants is the order of their numbers in the append-only file: append new ones at the end
/// and never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change<'a> {
    /// A new job, ready or delayed. Its id is above every id that the tube has ever held.
    Put {
        /// The new job's id.
        id: u64,
        /// Its priority.
        pri: u32,
        /// Milliseconds until it is ready; 0 for at once.
        delay_ms: u64,
        /// Its time to run in milliseconds, at least 1.
        ttr_ms: u64,
        /// Its body.
        #[serde(borrow, with = "serde_bytes")]
        body: &'a [u8],
    },
    /// A ready, delayed or buried job is handed to a worker.
    Reserve {
        /// The job.
        id: u64,
        /// The lease's number, above all earlier ones of this job.
        n: u64,
        /// The id of the client that takes it; 0 when there is none.
        worker: u64,
        /// How long the reservation lasts, in milliseconds, at least 1.
        ttr_ms: u64,
    },
    /// A job in any state is finished and gone.
    Delete {
        /// The job.
        id: u64,
    },
    /// A reservation ends without its job being finished.
    Return {
        /// The job, reserved until now.
        id: u64,
        /// Why it ends.
        why: Why,
        /// Where the job goes.
        then: Then,
        /// The job's priority from now on.
        pri: u32,
    },
    /// A reserved job is set aside.
    Bury {
        /// The job.
        id: u64,
        /// Its priority from now on.
        pri: u32,
    },
    /// A reservation gets a new deadline.
    Touch {
        /// The job.
        id: u64,
        /// Milliseconds from the event's time to the new deadline.
        for_ms: u64,
    },
    /// A buried or delayed job is made ready by an operator; its attempts start anew.
    Kick {
        /// The job.
        id: u64,
    },
    /// A delayed job's time has come.
    Promote {
        /// The job.
        id: u64,
    },
    /// A job gets another priority, in any state.
    Prioritize {
        /// The job.
        id: u64,
        /// Its priority from now on.
        pri: u32,
    },
    /// A ready, delayed or buried job is delayed.
    Delay {
        /// The job.
        id: u64,
        /// Milliseconds until it is ready.
        delay_ms: u64,
    },
    /// No reserve takes from the tube for so long; 0 ends a pause at an operator's word.
    Pause {
        /// Milliseconds from the event's time on.
        for_ms: u64,
    },
    /// A pause is over because its time is.
    Resume,
    /// All jobs in these states are deleted.
    Clear {
        /// The states.
        states: States,
    },
    /// A job as a snapshot holds it, in whatever state. Its id is above that of every job in the tube.
    Restore(#[serde(borrow)] Job<'a>),
    /// The tube's own data as a snapshot holds them; they follow the jobs.
    Head(Header),
    /// The empty tube is taken away. Nothing may follow.
    Remove,
}
