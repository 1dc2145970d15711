//! The fuzz targets as plain functions: each takes any bytes, and panics if anything does not hold.
//!
//! `tests/fuzz` includes this file too, and runs it on mutations of [`seeds`].

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "shared with the protocol's tests, which use all of it")]
#[path = "../../tests/protocol/driver.rs"]
mod driver;
#[expect(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "../../tests/simulation/reply.rs"]
mod reply;
#[expect(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "../../tests/simulation/server.rs"]
mod server;
#[expect(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "../../tests/simulation/world.rs"]
mod world;

pub mod targets;
