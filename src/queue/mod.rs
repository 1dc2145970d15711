//! GROUND FLOOR. One tube's state machine: beanstalkd's life of a job, and nothing else.
//!
//! ```text
//!    put with delay               release with delay
//!   ----------------> [delayed] <------------.
//!                         |                   |
//!                         | (time passes)     |
//!                         v                   |
//!    put              [ready] ----reserve--> [reserved] --delete--> gone
//!   ---------------->   ^  ^ <--release / time out-- |
//!                       |                            |
//!                     kick                           |
//!                       '------- [buried] <---bury---'
//! ```
//!
//! There is no Redis here, no clock, no randomness and no I/O. A command is *decide → apply*: a function of
//! [`decide`] reads the tube and names the [`Change`] to make, or nothing; [`Tube::apply`] alone changes the
//! tube, and a change that was just decided cannot fail. A change is an outcome (it names its job and carries
//! the times it was decided with), so applying the same changes to a copy gives the same tube, byte for byte.
//! That is how replicas and the append-only file are fed; what comes from outside goes through
//! [`Tube::verify`] first.
//!
//! | file | subject |
//! |---|---|
//! | `time` | milliseconds, their limits, and six-byte integers |
//! | `job` | a job, its states and what few jobs have |
//! | `segment` | about a hundred jobs packed together, in memory and in a snapshot |
//! | `segments` | a tube's segments, by their first ids |
//! | `ranking` | the segments in one order |
//! | `shelves` | sorted lists in pieces: what the segments stand in |
//! | `blocks` | how long the blocks of memory are in which all that lies |
//! | `jobs` | all jobs of a tube, and the five orders they are taken in |
//! | `event` | the changes |
//! | `tube` | a tube: its jobs, pause, counters, deadlines |
//! | `decide` | what a request comes to |
//! | `apply` | the only place where a tube changes |
//! | `restore` | building a tube from a snapshot |
//! | `check` | what a change from outside must satisfy, and what must hold of every tube |

#![forbid(unsafe_code)]

mod apply;
mod blocks;
mod check;
pub mod decide;
mod event;
mod job;
mod jobs;
mod ranking;
mod restore;
mod segment;
mod segments;
mod shelves;
#[cfg(test)]
mod tests;
mod time;
mod tube;

pub use check::Invalid;
pub use event::{Change, States, Then, Why};
pub use job::{Handle, Held, History, ID_MAX, Job, Reservation, State, Timing};
pub use jobs::{Counts, Order};
pub use restore::Restore;
pub use segment::Chunk;
pub use time::{DURATION_MAX_MS, TIME_MAX_MS, is_over, over_ms};
pub use tube::{Header, Totals, Trash, Tube};
