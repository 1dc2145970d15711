//! FLOOR 3, beside [`commands`](crate::commands). The beanstalk protocol, as a state machine fed with bytes: there
//! is no socket here, and no clock.
//!
//! A [`Session`] is one connection. The host [feeds](Session::feed) it what arrived, lets the [`Port`] run it, and
//! sends what stands in its [output](Session::output). What only the host can decide about a command (memory,
//! rights, slots) it says through [`Gates`].
//!
//! ```text
//!            .--> Body ----.        put
//!  Command --+--> Discard -+        a put that is too big, the end of an overlong line
//!     ^      '--> Overlong |        a line of more than 224 bytes
//!     |           Waiting -+-> Woken: its time in line is over, so it is looked at again
//!     '--------------------'
//! ```
//!
//! A tube is the key of the same name in the port's database, and every change is made by a
//! [`Step`](crate::broker::Step), as those of `PHEAN.*` are. A reservation is bound to the connection, and who
//! waits stands in the broker's line. `use` and `watch` create no key: which tubes there are in beanstalkd's eyes the
//! broker keeps apart from the keyspace, and a tube's counters begin anew with each of its lives.
//!
//! What differs from beanstalkd, where it must: whoever came first is served first; a job that is released more
//! often than `phean.retry-count` allows is buried, and the answer is still `RELEASED`; where an id is in two tubes
//! (by `COPY` or `RESTORE`), it means the job that the session holds, or else the one that this server has known for
//! longer, or after a restart either; a pause that `PHEAN.PAUSE` set outlasts the last connection that uses or watches
//! the tube (one that `pause-tube` set ends with the tube, as in beanstalkd).
//!
//! What a client sends costs no more memory than 64 KiB and the body that is arriving, which is at most
//! `phean.max-job-size`; what it does not read no more than 1 MiB and one reply.
//!
//! | file | subject |
//! |---|---|
//! | `session` | one connection: its input, its output, what it uses and watches |
//! | `input`, `output` | bytes that arrived, bytes to be sent |
//! | `parse` | reading a command line |
//! | `port` | what all sessions share |
//! | `run` | command after command |
//! | `jobs`, `reserve`, `tubes`, `stats` | the commands, by family |
//! | `answer` | answers that are always the same |
//! | `gates` | what the host decides |

#![forbid(unsafe_code)]

mod answer;
mod gates;
mod input;
mod jobs;
mod output;
mod parse;
mod port;
mod reserve;
mod run;
mod session;
mod stats;
mod tubes;

pub use gates::{Facts, Gates, Refusal, Trouble};
pub use output::Output;
pub use port::{Port, PortSettings};
pub use session::{INPUT_MAX, OUTPUT_MAX, Session};
