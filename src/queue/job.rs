//! A job as everybody outside `queue/` sees it.

use serde::{Deserialize, Serialize};

/// The largest job id: ids stay exact in JavaScript's and Lua's doubles.
pub const ID_MAX: u64 = (1 << 53) - 1;

/// The longest body, in bytes. What Redis accepts as an argument is shorter by default.
pub(super) const BODY_MAX: u64 = u32::MAX as u64;

/// Where a job stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Waits to be reserved.
    Ready,
    /// Becomes ready at a given time.
    Delayed,
    /// Is held by a worker until its deadline.
    Reserved,
    /// Was set aside, and stays there until it is kicked.
    Buried,
}

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [State; 4] = [State::Ready, State::Delayed, State::Reserved, State::Buried];

    /// The state's name in commands and replies.
    pub fn name(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Delayed => "delayed",
            State::Reserved => "reserved",
            State::Buried => "buried",
        }
    }
}

/// When something happens, or happened, to a job that is not reserved, and the delay it was last given.
///
/// A job that was put without a delay and never left `ready` has none: it became ready when it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Delayed: when the job becomes ready (Unix ms). Ready: when it last became so (Unix ms). Buried: its number
    /// in the tube's row of burials, the oldest burial having the lowest. Reserved: 0.
    pub at: u64,
    /// The delay that put, release or delay last gave, in milliseconds; it stays when the job becomes ready.
    pub delay_ms: u64,
}

/// Who holds a reserved job, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The number in the lease `ID-N`. No two reservations of a job share it.
    pub n: u64,
    /// When the reservation ends (Unix ms).
    pub deadline_ms: u64,
    /// When it began (Unix ms).
    pub reserved_at_ms: u64,
    /// The id of the client that made it; 0 when there was none.
    pub worker: u64,
    /// How long a touch makes it last from then on, in milliseconds.
    pub ttr_ms: u64,
}

impl Reservation {
    /// Whether it is this worker's reservation `n`. The number alone does not tell: of a tube and its copy, each may hold
    /// the same job by the same number for somebody else, and the one may come to stand where the other was.
    pub fn is(&self, n: u64, worker: u64) -> bool {
        (self.n, self.worker) == (n, worker)
    }
}

/// What has happened to a job in the reservations that are over. The one that holds now is not counted in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The number of the last lease that is over; 0 when there was none.
    pub last_n: u64,
    /// How often it was handed out since it was put or kicked, the untried ones aside.
    pub attempts: u32,
    /// How often it was handed out at all.
    pub reserves: u32,
    /// How often its time to run was over.
    pub timeouts: u32,
    /// How often a worker released it.
    pub releases: u32,
    /// How often it was buried.
    pub buries: u32,
    /// How often it was kicked.
    pub kicks: u32,
}

/// One job, whole. It is read out of a tube as a view, and is also how a job is written to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job<'a> {
    /// Its id, above 0 and at most [`ID_MAX`].
    pub id: u64,
    /// Its priority; a smaller number is more urgent.
    pub pri: u32,
    /// When it was put (Unix ms).
    pub created_ms: u64,
    /// Its own time to run, in milliseconds, at least 1.
    pub ttr_ms: u64,
    /// Where it stands.
    pub state: State,
    /// See [`Timing`].
    pub timing: Timing,
    /// There is one exactly when the job is reserved.
    pub reservation: Option<Reservation>,
    /// All zero when nothing has happened to it yet.
    pub history: History,
    /// What the producer put in; never looked into.
    #[serde(borrow, with = "serde_bytes")]
    pub body: &'a [u8],
}

impl Job<'_> {
    /// How often the job has been handed out since it was put or kicked, the present reservation included.
    pub fn attempt(&self) -> u32 {
        self.history.attempts.saturating_add(u32::from(self.reservation.is_some()))
    }

    /// How often the job has been handed out at all, the present reservation included.
    pub fn reserves(&self) -> u32 {
        self.history.reserves.saturating_add(u32::from(self.reservation.is_some()))
    }

    /// Whether the job is as it was when it was put without a delay: ready, and nothing has happened to it.
    pub(super) fn is_as_put(&self) -> bool {
        let timing = Timing { at: self.created_ms, delay_ms: 0 };
        self.state == State::Ready && self.timing == timing && self.history == History::default()
    }

    /// Since when a ready job is ready (Unix ms).
    pub fn ready_since_ms(&self) -> u64 {
        self.timing.at
    }
}

/// A reserved job, as the worker that holds it is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// The job's id.
    pub id: u64,
    /// The number in the lease `ID-N`.
    pub n: u64,
    /// When the reservation ends (Unix ms).
    pub deadline_ms: u64,
    /// The client that holds it; 0 if that is not known.
    pub worker: u64,
    /// How often the job has been handed out, this time included; see [`Job::attempt`].
    pub attempt: u32,
    /// The job's body.
    pub body: &'a [u8],
}

/// How a request names a job: by its id, as an operator does, or by a lease `ID-N`, which is good only while
/// that very reservation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The job's id.
    pub id: u64,
    /// The lease's number; `None` for a bare id.
    pub n: Option<u64>,
}

impl Handle {
    /// The handle of whoever holds the job.
    pub fn id(id: u64) -> Handle {
        Handle { id, n: None }
    }

    /// The handle of one reservation.
    pub fn lease(id: u64, n: u64) -> Handle {
        Handle { id, n: Some(n) }
    }
}
