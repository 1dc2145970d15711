//! Jobs in every state that a replica has when its primary is killed, and what must become of them.

use crate::harness::Server;
use crate::reply::{array, cmd, int, map, reserved, run, text};
use crate::sentinels::link_of;
use crate::waiting::{Blocked, eventually, patience};
use crate::wire::{Wire, connect};
use redis::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// So many delayed jobs fall due while there is no primary, or right after.
const DUE: usize = 40;

/// The jobs, in tubes of their own that share a slot.
pub struct Kept {
    tag: String,
    ready: i64,
    held: String,
    overdue: String,
    delayed: BTreeSet<i64>,
    later: i64,
    buried: i64,
    /// Workers who wait at the primary that is killed.
    waiters: Vec<Blocked>,
    /// How many delayed jobs a replica had when its primary was gone, by port.
    delayed_on: BTreeMap<u16, i64>,
}

impl Kept {
    /// Puts the jobs, and returns once a replica has them. No two calls may have the same tag.
    pub fn new(primary: &Server, tag: &str) -> Kept {
        let con = &mut primary.connect();
        let tube = |name: &str| format!("{{{tag}}}:{name}");
        let ready = put(con, &tube("ready"), "0");
        put(con, &tube("held"), "0");
        let held = take(con, &tube("held"), "1000");
        put(con, &tube("overdue"), "0");
        let overdue = take(con, &tube("overdue"), "1");
        let later = put(con, &tube("later"), "1000");
        let buried = put(con, &tube("buried"), "0");
        let lease = take(con, &tube("buried"), "1000");
        assert_eq!(int(&cmd(con, &["PHEAN.BURY", &tube("buried"), &lease]).expect("a bury")), 1);
        run(con, &format!("PHEAN.PUT {} x", tube("paused")));
        run(con, &format!("PHEAN.PAUSE {} 1000", tube("paused")));
        let delays = (0..DUE).map(|number| format!("{}", 0.8 + 0.05 * number as f64));
        let delayed = delays.map(|delay| put(con, &tube("delayed"), &delay)).collect();
        let replicas = cmd(con, &["WAIT", "1", "10000"]).expect("WAIT answers");
        assert!(int(&replicas) >= 1, "a replica has it all");
        let empty = tube("empty");
        let waiters = (0..3)
            .map(|_| Blocked::start(primary, &["PHEAN.RESERVE", empty.as_str(), "TIMEOUT", "1000"]))
            .collect();
        Kept {
            tag: tag.to_owned(),
            ready,
            held,
            overdue,
            delayed,
            later,
            buried,
            waiters,
            delayed_on: BTreeMap::new(),
        }
    }

    fn tube(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.tag)
    }

    /// Whoever waited at the primary that was killed has lost its connection, which every client takes for a reason
    /// to connect anew.
    pub fn waiters_are_disconnected(&mut self) {
        for waiter in self.waiters.drain(..) {
            let error = waiter.join().expect_err("nobody is served by a dead server");
            assert!(error.is_connection_dropped(), "{error}");
        }
    }

    /// Whoever waited at the primary that has become a replica is told so, and disconnected. Sentinel kills all its
    /// clients in the same moment, which some learn of before the answer has left; newer servers of a cluster say where
    /// the tube is now.
    pub fn waiters_are_unblocked(&mut self) {
        for waiter in self.waiters.drain(..) {
            let error = waiter.join().expect_err("nobody is served by a replica");
            let is_told = [Some("UNBLOCKED"), Some("MOVED")].contains(&error.code());
            assert!(is_told || error.is_connection_dropped(), "{error}");
        }
    }

    /// On a replica whose primary is gone nothing happens by itself, also when the time has come.
    pub fn stands_still_on(&mut self, replica: &Server) {
        let is_alone = || link_of(replica.port()).is_some_and(|link| link != "connected");
        if !is_alone() {
            return;
        }
        // This names no key, so that it is answered while a cluster is down, too. A sentinel may cut it off.
        let from = self.tube("delayed");
        let ask = ["PHEAN.TUBES", "FROM", &from, "COUNT", "1", "WITHSTATS"];
        let tubes = connect(replica.port()).and_then(|mut con| cmd(&mut con, &ask));
        let Some(tubes) = tubes.ok().filter(|_| is_alone()) else { return };
        // One replica is sure to have the tube; the other one may lag behind.
        let tubes = array(&tubes);
        let Some(tube) = tubes.first().map(array).filter(|tube| text(&tube[0]) == from) else { return };
        let delayed = int(&tube[2]);
        let before = *self.delayed_on.entry(replica.port()).or_insert(delayed);
        assert_eq!(delayed, before, "a replica moves no job by itself");
    }

    /// Deletes all of it, so that there is room for the next.
    pub fn forget(self, wire: &mut dyn Wire) {
        for name in ["ready", "held", "overdue", "later", "buried", "paused", "delayed", "empty"] {
            wire.ask(&["DEL", &self.tube(name)]).expect("a tube can be deleted");
        }
    }

    /// What fell due is given to one worker each, by the new primary. `wires` are clients that compete for what has fallen due.
    pub fn is_all_there(&self, wires: Vec<Box<dyn Wire>>) {
        let given = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for mut wire in wires {
                let given = &given;
                scope.spawn(move || {
                    let tube = self.tube("delayed");
                    // The last of them fall due a while after the failover.
                    let bound = Instant::now() + patience();
                    while given.lock().expect("no worker panicked").len() < DUE && Instant::now() < bound {
                        let answer = wire.ask(&["PHEAN.RESERVE", &tube, "TIMEOUT", "0.2", "TTR", "1000"]);
                        let job = answer.expect("the new primary answers");
                        given.lock().expect("no worker panicked").extend(reserved(&job));
                    }
                });
            }
        });
        let given = given.into_inner().expect("no worker panicked");
        let ids: BTreeSet<i64> = given.iter().map(|job| job.id).collect();
        assert_eq!(given.len(), DUE, "each is given once, and none is left: {given:?}");
        assert_eq!(ids, self.delayed);
        assert!(given.iter().all(|job| job.attempt == 1));
    }

    /// The rest of it: what was held is held by the same lease, and what was over is over.
    pub fn is_as_it_was(&self, wire: &mut dyn Wire) {
        let mut ask = |words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            wire.ask(&words).unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")))
        };
        let state = |job: redis::Value| text(&map(&job)["state"]);
        let at = |name: &str| self.tube(name);
        assert_eq!(state(ask(&format!("PHEAN.JOB {} {}", at("ready"), self.ready))), "ready");
        assert_eq!(state(ask(&format!("PHEAN.JOB {} {}", at("held"), self.held))), "reserved");
        assert_eq!(int(&ask(&format!("PHEAN.TOUCH {} {}", at("held"), self.held))), 1);
        assert_eq!(int(&ask(&format!("PHEAN.DELETE {} {}", at("held"), self.held))), 1);
        eventually(|| int(&ask(&format!("PHEAN.TOUCH {} {}", at("overdue"), self.overdue))) == 0);
        let anew = reserved(&ask(&format!("PHEAN.RESERVE {} TIMEOUT 10", at("overdue")))).expect("a job");
        assert_eq!(anew.attempt, 2);
        assert_ne!(anew.lease, self.overdue);
        assert_eq!(int(&ask(&format!("PHEAN.DELETE {} {}", at("overdue"), self.overdue))), 0);
        assert_eq!(int(&ask(&format!("PHEAN.DELETE {} {}", at("overdue"), anew.lease))), 1);
        assert_eq!(state(ask(&format!("PHEAN.JOB {} {}", at("later"), self.later))), "delayed");
        assert_eq!(state(ask(&format!("PHEAN.JOB {} {}", at("buried"), self.buried))), "buried");
        assert_eq!(ask(&format!("PHEAN.RESERVE {}", at("paused"))), redis::Value::Nil);
        let stats = map(&ask(&format!("PHEAN.STATS {}", at("paused"))));
        assert_eq!(int(&stats["current-jobs-ready"]), 1);
        // No id comes twice, though the old primary may have given some that nobody else knows of.
        let id = int(&ask(&format!("PHEAN.PUT {} new", at("ready"))));
        assert!(id > self.buried && id > 1_000_000_000_000_000, "numbering has jumped to the clock: {id}");
    }
}

fn put(con: &mut Connection, tube: &str, delay: &str) -> i64 {
    int(&cmd(con, &["PHEAN.PUT", tube, "body", "DELAY", delay]).expect("a put"))
}

fn take(con: &mut Connection, tube: &str, ttr: &str) -> String {
    let job = cmd(con, &["PHEAN.RESERVE", tube, "TTR", ttr]).expect("a reserve");
    reserved(&job).expect("there is a job").lease
}
