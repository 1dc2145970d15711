//! Property tests of `queue` and `codec`: a tube against a naive model of one, against its replicas, and
//! against an enemy's bytes.
//!
//! | file | subject |
//! |---|---|
//! | `naive` | the model: every field spelled out, every order found by looking at every job |
//! | `world` | requests put to a tube, its replica and the model, and everything compared after each |
//! | `steps` | random requests |
//! | `agreement` | the tube, its replicas and its copies agree with the model |
//! | `packing` | tubes big enough that segments fill, are packed anew and are merged |
//! | `rules` | which changes are possible, in plain words |
//! | `hostile` | events and snapshots that nobody honest has written |
//! | `scan` | what an iteration must see while the tube changes under it |
//! | `memory` | bytes per job |
//!
//! `PROPTEST_CASES` says how many cases each property tries. A failure's seed is kept in
//! `tests/model/regressions.txt`, and tried first from then on.

mod agreement;
mod hostile;
mod memory;
mod naive;
mod packing;
mod rules;
mod scan;
mod steps;
mod world;

use phean::codec::{self, Corrupt};
use phean::queue::Change;
use proptest::test_runner::{Config, FileFailurePersistence};

/// All of an event: its time and its changes.
fn decode_event(bytes: &[u8]) -> Result<(u64, Vec<Change<'_>>), Corrupt> {
    let event = codec::read_event(bytes)?;
    Ok((event.at_ms, event.changes().collect::<Result<_, _>>()?))
}

/// As many cases, and steps of shrinking a failure, as the environment asks for; or else `default`, and many.
fn cases(default: u32) -> Config {
    let mut config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model/regressions.txt"))),
        ..Config::default()
    };
    let is_unset = |name| std::env::var_os(name).is_none();
    if is_unset("PROPTEST_CASES") {
        config.cases = default;
    }
    if is_unset("PROPTEST_MAX_SHRINK_ITERS") {
        config.max_shrink_iters = 20_000;
    }
    config
}
