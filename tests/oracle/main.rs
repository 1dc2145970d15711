//! The beanstalk protocol against a real beanstalkd: the same generated script to both, and the same answers,
//! but for the ids' absolute values, times, and the choice among several waiting workers.
//!
//! | variable | meaning |
//! |---|---|
//! | `PHEAN_ORACLE_SCRIPTS` | how many scripts without times are put to the port; 3000 |
//! | `PHEAN_ORACLE_TIMED` | how many in which time passes; 96 |
//! | `PHEAN_ORACLE_SEED` | only the script of this seed runs |
//! | `PHEAN_TEST_BEANSTALKD` | the program; `beanstalkd` |
//! | those of tests/server | how redis-server is started |

mod answer;
mod contestant;
mod duel;
mod framing;
mod generate;
#[path = "../server/harness.rs"]
#[expect(dead_code, reason = "most of it is for the server tests")]
mod harness;
mod judge;
mod proof;
#[path = "../server/reply.rs"]
#[expect(dead_code, reason = "most of it is for the server tests")]
mod reply;
mod script;
mod side;
mod tamper;
mod timed;
#[path = "../server/waiting.rs"]
#[expect(dead_code, reason = "most of it is for the server tests")]
mod waiting;

use duel::Against;
use judge::Kind;

/// How many scripts run by default, without times and with them.
const SCRIPTS: u64 = 3000;
const TIMED_SCRIPTS: u64 = 96;

#[test]
fn beanstalkd_agrees_with_itself() {
    judge::run(Against::Itself, Kind::AtOnce, 300);
    judge::run(Against::Itself, Kind::Draining, 4);
}

#[test]
fn beanstalkd_agrees_with_itself_as_time_passes() {
    judge::run(Against::Itself, Kind::Timed, 32);
}

#[test]
fn the_port_answers_as_beanstalkd() {
    judge::run(Against::Module, Kind::AtOnce, judge::number("PHEAN_ORACLE_SCRIPTS").unwrap_or(SCRIPTS));
}

#[test]
fn the_port_refuses_as_beanstalkd_when_drained() {
    judge::run(Against::Module, Kind::Draining, 12);
}

#[test]
fn the_port_answers_as_beanstalkd_as_time_passes() {
    judge::run(Against::Module, Kind::Timed, judge::number("PHEAN_ORACLE_TIMED").unwrap_or(TIMED_SCRIPTS));
}
