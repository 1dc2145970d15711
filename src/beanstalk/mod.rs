//! FLOOR 3, beside [`commands`](crate::commands). The beanstalk protocol, as a state machine fed with bytes: there
//! is no socket here, and no clock.
//!
//! A [`Session`] is one connection. The host [feeds](Session::feed) it what arrived, lets the [`Port`] run it, and
//! sends what stands in its [output](Session::output). What only the host can decide about a command (memory,
//! rights, slots) it says through [`Gates`].
//!
//! | file | subject |
//! |---|---|
//! | `session` | one connection: its input, its output, what it uses and watches |
//! | `gates` | what the host decides |
//! | `port` | what all sessions share, and the running of commands |

#![forbid(unsafe_code)]

mod gates;
mod port;
mod session;

pub use gates::{Facts, Gates, Refusal, Trouble};
pub use port::{Port, PortSettings};
pub use session::{Output, Session};
