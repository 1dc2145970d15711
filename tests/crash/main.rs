//! Crashes: producers and workers at both doors, a server that is killed at any moment, and an auditor who knows
//! what was acknowledged.
//!
//! | variable | meaning |
//! |---|---|
//! | `PHEAN_CRASH_KILLS` | how often each of the four tests kills its server; 3 (`make crash`: 60) |
//! | `PHEAN_CRASH_SEED` | what the moments and the work are drawn from; the time, printed if a test fails |
//! | those of tests/server | how redis-server is started |

mod audit;
#[path = "../server/harness.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod harness;
mod ledger;
mod load;
mod port;
#[path = "../server/reply.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod reply;
#[path = "../server/tools.rs"]
mod tools;
#[path = "../server/waiting.rs"]
#[expect(dead_code, reason = "some of it is for the server tests")]
mod waiting;

use audit::{Audit, Memory};
use harness::{Server, free_port, has_module};
use ledger::Ledger;
use load::Load;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};
use tools::{accepted_by, checked_by, tool};

/// How often a test kills its server by default.
const KILLS: u64 = 3;

/// When a server is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// While everybody works.
    Load,
    /// While a snapshot is written.
    Snapshot,
    /// While the append-only file is rewritten.
    Rewrite,
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

/// Says which seed it was, if a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("PHEAN_CRASH_SEED={}", self.0);
        }
    }
}

/// A server under load that is killed again and again.
struct Crashes {
    server: Server,
    port: u16,
    ledger: Ledger,
    rng: SmallRng,
    memory: Memory,
    cuts_tail: bool,
    _seed: Seed,
}

impl Crashes {
    fn new(config: &[&str], memory: Memory) -> Crashes {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = number("PHEAN_CRASH_SEED").unwrap_or(now.map_or(0, |now| now.as_millis() as u64));
        let port = free_port();
        let port_line = format!("phean.port {port}");
        // Saving takes its time, so that there is time to kill the server meanwhile.
        let mut lines = vec!["appendonly yes", "rdb-key-save-delay 200", &port_line];
        lines.extend(config);
        let server = Server::start(&lines);
        let crashes = Crashes {
            server,
            port,
            ledger: Ledger::default(),
            rng: SmallRng::seed_from_u64(seed),
            memory,
            cuts_tail: false,
            _seed: Seed(seed),
        };
        crashes.populate();
        crashes
    }

    /// Thousands of jobs in every state, and keys that are none of ours.
    fn populate(&self) {
        let mut con = self.server.connect();
        for key in 0..500 {
            reply::run(&mut con, &format!("SET filler:{key} x"));
        }
        load::populate(&mut con, &self.ledger);
    }

    fn run(mut self) {
        for kill in 0..number("PHEAN_CRASH_KILLS").unwrap_or(KILLS) {
            let moment = [Moment::Load, Moment::Snapshot, Moment::Rewrite][(kill % 3) as usize];
            let killed_at = self.work_until_killed(moment);
            if self.cuts_tail {
                self.cut_tail();
            } else {
                self.mend_tail();
            }
            let snapshot = self.server.dir().join("dump.rdb");
            if snapshot.exists() {
                accepted_by("check-rdb", &snapshot);
            }
            self.server.restart();
            let audit = Audit { memory: self.memory, killed_at };
            let lost = audit.run(&self.server, &self.ledger);
            println!("kill {kill}, {moment:?}: {} jobs, {lost} lost", self.ledger.count());
        }
    }

    fn work_until_killed(&mut self, moment: Moment) -> Instant {
        let mut load = Load::new(&self.server, self.port, &self.ledger);
        let mut con = self.server.connect();
        let (seed, pause_ms) = (self.rng.random(), self.rng.random_range(20..300));
        thread::scope(|scope| {
            load.start(scope, seed);
            thread::sleep(Duration::from_millis(pause_ms));
            let (command, flag) = match moment {
                Moment::Load => ("PING", None),
                Moment::Snapshot => ("BGSAVE", Some("rdb_bgsave_in_progress")),
                Moment::Rewrite => ("BGREWRITEAOF", Some("aof_rewrite_in_progress")),
            };
            reply::run(&mut con, command);
            if let Some(flag) = flag {
                waiting::eventually(|| self.server.info("persistence")[flag] == "1");
                thread::sleep(Duration::from_millis(pause_ms % 60));
            }
            self.server.kill9();
            Instant::now()
        })
    }

    /// A kill may cut short what the server is just writing. The tool for it cuts off what is left of that, and only
    /// at the end of the newest part; had it more against the file, it would refuse it or lose what was acknowledged.
    fn mend_tail(&self) {
        let manifest = self.server.dir().join("appendonlydir/appendonly.aof.manifest");
        let Err(said) = checked_by("check-aof", &manifest) else { return };
        println!("{said}");
        let mut child = tool("check-aof")
            .arg("--fix")
            .arg(&manifest)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the tool that mends files is there");
        let mut answers = child.stdin.take().expect("it asks");
        answers.write_all(b"y\n").expect("it takes an answer");
        child.wait().expect("it ends");
        accepted_by("check-aof", &manifest);
    }

    /// Cuts off the end of the append-only file, as a power cut may: what was there last is forgotten.
    fn cut_tail(&mut self) {
        let files = self.server.dir().join("appendonlydir");
        let manifest =
            fs::read_to_string(files.join("appendonly.aof.manifest")).expect("there is a manifest");
        let last = manifest.lines().rfind(|line| line.ends_with("type i")).expect("there is a newest part");
        let name = last.split(' ').nth(1).expect("a line of the manifest has a name");
        let path: PathBuf = files.join(name);
        let text = fs::read(&path).expect("the newest part can be read");
        let mut left = text.len() - self.rng.random_range(0..=text.len() / 2);
        // Where a command inside a transaction is cut, Redis 7.0 leaves the MULTI standing, and what is written
        // behind it is nested when it is loaded again. That is not ours to mend: the cut goes into the MULTI.
        let last = |word: &[u8]| text[..left].windows(word.len()).rposition(|part| part == word);
        let (begun, ended) = (last(b"*1\r\n$5\r\nMULTI\r\n"), last(b"*1\r\n$4\r\nEXEC\r\n"));
        if let Some(begun) = begun.filter(|begun| ended.is_none_or(|ended| ended < *begun)) {
            left = begun + 3;
        }
        let file = OpenOptions::new().write(true).open(&path).expect("the newest part can be opened");
        file.set_len(left as u64).expect("a file can be cut");
    }
}

#[test]
fn with_an_fsync_for_each_write_nothing_acknowledged_is_lost() {
    if has_module() {
        Crashes::new(&["appendfsync always"], Memory::Everything).run();
    }
}

/// The same without a snapshot's format in the append-only file.
#[test]
fn without_a_preamble_nothing_acknowledged_is_lost() {
    if has_module() {
        Crashes::new(&["appendfsync always", "aof-use-rdb-preamble no"], Memory::Everything).run();
    }
}

/// A killed server has lost what it had not written yet. With an fsync for each second it puts a write off only
/// while an fsync takes longer, and for less than three seconds.
#[test]
fn with_an_fsync_for_each_second_only_the_last_seconds_are_lost() {
    if has_module() {
        Crashes::new(&["appendfsync everysec"], Memory::UpTo(Duration::from_secs(3))).run();
    }
}

/// After a cut, reservations and ids that workers know are unknown to the server. No such lease may ever be good
/// again, and no such id may be given to another job.
#[test]
fn what_a_cut_tail_forgot_is_never_given_again() {
    if has_module() {
        let mut crashes = Crashes::new(&["appendfsync everysec", "aof-load-truncated yes"], Memory::Nothing);
        crashes.cuts_tail = true;
        crashes.run();
    }
}

/// The auditor can fail: this is a server that forgets what it must not.
#[test]
#[should_panic(expected = "though")]
fn what_is_lost_is_found() {
    assert!(has_module(), "though there is no module, this test has nothing to say");
    let mut crashes = Crashes::new(&["appendfsync always"], Memory::Everything);
    crashes.cuts_tail = true;
    crashes.run();
}
