//! Many servers at a time, as they run in earnest: a primary with replicas that Redis Sentinel watches over, and a
//! Redis Cluster of three primaries with a replica each. Tubes are moved and primaries killed under load.
//!
//! | variable | meaning |
//! |---|---|
//! | `PHEAN_CLUSTER_ROUNDS` | how often slots are moved and primaries killed in each test; 1 (`make cluster`: 12) |
//! | those of tests/server | how redis-server is started |

#[path = "../server/beanstalk_talk.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod beanstalk_talk;
mod failover;
#[path = "../server/harness.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod harness;
mod kept;
mod ledger;
mod load;
mod nodes;
#[path = "../server/reply.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod reply;
mod reshard;
mod routing;
mod sentinel;
mod sentinels;
mod states;
#[path = "../server/tools.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod tools;
mod waiters;
#[path = "../server/waiting.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod waiting;
mod wire;

/// How often a test does what it is about.
fn rounds() -> usize {
    let Ok(text) = std::env::var("PHEAN_CLUSTER_ROUNDS") else { return 1 };
    text.parse().unwrap_or_else(|_| panic!("PHEAN_CLUSTER_ROUNDS must be a number, not {text}"))
}
