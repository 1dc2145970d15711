//! phean: a beanstalkd-style work queue that lives inside redis-server, as a module.
//!
//! The house has floors, and a lower one never knows of a higher one:
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | ground | [`queue`] | one tube's state machine: no Redis, no clock, no I/O |
//! | 1 | [`codec`] | events and snapshots as bytes |
//! | 2 | [`broker`] | many tubes, waiters, deadlines, sessions, on a world that is a trait |
//! | 3 | [`commands`] | the `PHEAN.*` commands |
//! | 3 | [`beanstalk`] | the beanstalk protocol, fed with bytes |
//! | 4 | `host` | Redis itself, and the only unsafe code |
//!
//! A command comes in at `host::command`, is read and decided in [`commands`] and [`queue::decide`], changes a
//! tube in [`queue::Tube::apply`] by way of a [`broker::Step`], and leaves as a reply and, for replicas and the
//! append-only file, as one event.

pub mod beanstalk;
pub mod broker;
pub mod codec;
pub mod commands;
mod host;
pub mod queue;
