//! The beanstalk protocol's machine on a world in memory: scripts of several connections, fed whole, byte by byte
//! and in random pieces, with a clock that the test turns.
//!
//! | file | subject |
//! |---|---|
//! | `driver` | connections, their scripts, and the clock |
//! | `framing` | lines, bodies, numbers and names |
//! | `jobs` | the life of a job |
//! | `waiting` | waiting, deadlines, half-closed connections |
//! | `tubes` | using, watching, pausing, and which tubes there are |
//! | `statistics` | every field, in order |
//! | `two_doors` | `PHEAN.*` commands on the same tubes |
//! | `gates` | what the host forbids |
//! | `many` | thousands of tubes |
//! | `mixed` | all of it at once, with everything looked up in the keys after each step |
//! | `hostile` | random bytes and random scripts |

mod driver;
mod framing;
mod gates;
mod hostile;
mod jobs;
mod many;
mod mixed;
mod statistics;
mod tubes;
mod two_doors;
mod waiting;

#[expect(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "../simulation/reply.rs"]
mod reply;
#[expect(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "../simulation/server.rs"]
mod server;
#[expect(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "../simulation/world.rs"]
mod world;
