//! Tests against a real redis-server with the module loaded: everything that only Redis itself can show,
//! such as blocking, persistence, replication, access control and the two versions of its protocol.
//!
//! One binary, so that it links once and its tests share two cores fairly. Each test starts a server of its
//! own. Variables that steer it (none is needed):
//!
//! | variable | meaning |
//! |---|---|
//! | `PHEAN_TEST_MODULE` | the module to load; `none` loads none, and tests that need it are skipped |
//! | `PHEAN_TEST_SERVER` | the server program; `redis-server` |
//! | `PHEAN_TEST_SERVER_LOADER` | words put before the program, such as `valgrind -q`; all waits grow tenfold |
//! | `PHEAN_HOSTILE` | how many damaged payloads are restored; 20000 |
//! | `PHEAN_CROWD` | how many connections vanish at once; 700 |
//! | `PHEAN_LIVES` | how many jobs live and go in the test for leaks; 50000 |
//! | `PHEAN_TEST_KEEP` | if set, the servers' folders are kept |

mod acl;
mod beanstalk_alone;
mod beanstalk_doors;
mod beanstalk_gates;
mod beanstalk_sockets;
mod beanstalk_talk;
mod blocks;
mod commands_inspect;
mod commands_operator;
mod commands_producer;
mod commands_worker;
mod config_example;
mod crowds;
mod dataset;
mod errors;
mod harness;
mod harness_proof;
mod hostile;
mod keyspace;
mod leaks;
mod letting_go;
mod looking;
mod neighbours;
mod persistence;
mod raw;
mod replication;
mod reply;
mod smoke;
mod surface;
mod time;
mod tools;
mod waiting;
mod waiting_reserve;

#[path = "../fuzz/mutate.rs"]
mod mutate;
