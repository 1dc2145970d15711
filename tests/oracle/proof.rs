//! The comparison can fail: each of these faults is found.

use crate::duel::Against;
use crate::judge::{Kind, Runner};
use crate::tamper::Tamper;
use crate::timed;
use crate::waiting::patience;
use std::thread;

/// How many scripts may pass before a fault must have shown.
const SCRIPTS: u64 = 150;

#[test]
fn faults_in_the_answers_are_found() {
    let faults = [
        Tamper::Replaces(b"BURIED", b"RELEASED"),
        Tamper::Replaces(b"DEADLINE_SOON", b"TIMED_OUT"),
        Tamper::Replaces(b"BAD_FORMAT", b"UNKNOWN_COMMAND"),
        Tamper::Replaces(b"EXPECTED_CRLF", b"BAD_FORMAT"),
        Tamper::Replaces(b"NOT_IGNORED", b"WATCHING 1"),
        Tamper::Replaces(b"FOUND", b"found"),
        Tamper::Replaces(b"state: ready", b"state: delayed"),
        Tamper::Exchanges("current-using", "current-watching"),
        Tamper::Exchanges("kicks", "buries"),
        Tamper::Omits("binlog-max-size"),
        Tamper::Omits("cmd-pause-tube"),
        Tamper::Miscounts("current-waiting: "),
        Tamper::Miscounts("current-producers: "),
        Tamper::Miscounts("total-jobs: "),
        Tamper::Miscounts("KICKED "),
        Tamper::Miscounts("pri: "),
        Tamper::Swallows(b"JOB_TOO_BIG"),
        Tamper::Swallows(b"TIMED_OUT"),
        Tamper::Repeats(b"PAUSED"),
        Tamper::SpoilsBodies,
    ];
    for fault in faults {
        let mut runner = Runner::new(Against::Itself, fault);
        let found = (0..SCRIPTS).any(|seed| runner.run(Kind::AtOnce, seed).is_err());
        assert!(found, "{fault:?} was not found in {SCRIPTS} scripts");
    }
}

#[test]
fn faults_that_show_in_time_are_found() {
    let faults = [
        Tamper::Replaces(b"DEADLINE_SOON", b"TIMED_OUT"),
        Tamper::Replaces(b"TIMED_OUT", b"DEADLINE_SOON"),
        Tamper::Miscounts("timeouts: "),
    ];
    thread::scope(|scope| {
        let runs = faults.map(|fault| {
            let differs = move |seed| {
                let mut runner = Runner::new(Against::Itself, fault);
                scope.spawn(move || runner.run_once(&timed::script(seed), patience()).is_err())
            };
            (fault, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(differs))
        });
        for (fault, runs) in runs {
            let found = runs.map(|run| run.join().expect("no thread panicked"));
            assert!(found.contains(&true), "{fault:?} was not found");
        }
    });
}
