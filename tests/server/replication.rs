//! Replicas hold what their primary holds, byte for byte: by the stream, by full and partial resynchronisation,
//! through promotion and demotion.

use crate::dataset::{counts, fingerprint, index_is_right, job_field, total, total_counts, tubes};
use crate::harness::{Server, has_module};
use crate::reply::{array, bytes, cmd, err, int, ok_int, reserved, reserved_many, run, text};
use crate::waiting::{Blocked, eventually};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redis::{Connection, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Sends random commands of all kinds, valid or not, over a few tubes in three databases.
struct Chaos {
    random: SmallRng,
    con: Connection,
    leases: Vec<(String, String)>,
}

impl Chaos {
    fn new(server: &Server, seed: u64) -> Chaos {
        println!("seed {seed}");
        Chaos { random: SmallRng::seed_from_u64(seed), con: server.connect(), leases: Vec::new() }
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.random.random_range(0..words.len())]
    }

    fn tube(&mut self) -> String {
        self.pick(&["a", "b", "c", "d", "e"]).to_owned()
    }

    /// A lease that was good once, an id, or the id of no job.
    fn handle(&mut self, tube: &str) -> String {
        if self.random.random_bool(0.2) {
            return self.random.random_range(1..200).to_string();
        }
        let own: Vec<usize> = (0..self.leases.len()).filter(|at| self.leases[*at].0 == tube).collect();
        match own.len() {
            0 => "1".to_owned(),
            count => {
                let at = own[self.random.random_range(0..count)];
                self.leases.swap_remove(at).1
            }
        }
    }

    fn handles(&mut self, tube: &str) -> String {
        let count = self.random.random_range(1..4);
        (0..count).map(|_| self.handle(tube)).collect::<Vec<_>>().join(" ")
    }

    fn seconds(&mut self) -> &'static str {
        self.pick(&["0", "0.001", "0.002", "0.01", "0.03", "5", "1000"])
    }

    fn line(&mut self) -> String {
        let tube = self.tube();
        let pri = self.pick(&["", "PRI 0", "PRI 7", "PRI 4294967295"]);
        let seconds = self.seconds();
        let ttr = self.pick(&["", "TTR 0.002", "TTR 0.02", "TTR 1000"]);
        let state = self.pick(&["READY", "DELAYED", "BURIED", "RESERVED", "READY BURIED", ""]);
        let count = self.random.random_range(1..6);
        match self.random.random_range(0..40) {
            0..6 => format!("PHEAN.PUT {tube} body {pri} {ttr}"),
            6..8 => format!("PHEAN.PUT {tube} body DELAY {seconds} {pri} {ttr}"),
            8..10 => format!("PHEAN.MPUT {tube} 3 x y z {pri} {ttr}"),
            10..15 => format!("PHEAN.RESERVE {tube} COUNT {count} {ttr}"),
            15..17 => format!("PHEAN.MRESERVE 3 {tube} a b COUNT {count} {ttr} BOUND"),
            17 => format!("PHEAN.RESERVEJOB {tube} {} {ttr}", self.handle(&tube)),
            18..21 => format!("PHEAN.DELETE {tube} {}", self.handles(&tube)),
            21..23 => format!("PHEAN.RELEASE {tube} {} {pri}", self.handles(&tube)),
            23 => format!("PHEAN.RELEASE {tube} {} DELAY {seconds} UNTRIED", self.handles(&tube)),
            24..26 => format!("PHEAN.BURY {tube} {} {pri}", self.handles(&tube)),
            26 => format!("PHEAN.TOUCH {tube} {} FOR {seconds}", self.handles(&tube)),
            27 => format!("PHEAN.KICK {tube} {count}"),
            28 => format!("PHEAN.KICKJOB {tube} {}", self.handles(&tube)),
            29 => format!("PHEAN.PRIORITIZE {tube} {} {count}", self.handle(&tube)),
            30 => format!("PHEAN.DELAY {tube} {} {seconds}", self.handle(&tube)),
            31 => format!("PHEAN.PAUSE {tube} {}", self.pick(&["0", "0.005", "0.03"])),
            32 if count == 1 => format!("PHEAN.CLEAR {tube} {state}"),
            33 if count == 1 => format!("{} {tube}", self.pick(&["DEL", "UNLINK", "GETDEL", "PERSIST"])),
            34 if count == 1 => format!("RENAME {tube} {}", self.tube()),
            35 if count == 1 => format!("COPY {tube} {} REPLACE", self.tube()),
            36 if count == 1 => {
                self.pick(&["SWAPDB 0 1", "SWAPDB 1 2", "MOVE a 2", "FLUSHDB", "PEXPIRE b 3"]).to_owned()
            }
            36..38 => format!("SELECT {}", self.random.random_range(0..3)),
            38 => format!("SET {} x PX 5", self.pick(&["a", "other", "other"])),
            _ => format!("PHEAN.STATS {tube}"),
        }
    }

    /// Sends one command, or a few in a transaction or a script. Errors are answers, too.
    fn act(&mut self) {
        match self.random.random_range(0..20) {
            0 => {
                run(&mut self.con, "MULTI");
                for _ in 0..3 {
                    let line = self.line();
                    let _ = self.send(&line);
                }
                let _ = self.send("EXEC");
            }
            1 => {
                let lines: Vec<String> = (0..3).map(|_| self.line()).collect();
                let script = "for _, line in ipairs(ARGV) do
                        local words = {}
                        for word in string.gmatch(line, '%S+') do words[#words + 1] = word end
                        redis.pcall(unpack(words))
                    end";
                let mut args = vec!["EVAL", script, "0"];
                args.extend(lines.iter().map(String::as_str));
                let _ = cmd(&mut self.con, &args);
            }
            _ => {
                let line = self.line();
                let tube = line.split(' ').nth(1).unwrap_or_default().to_owned();
                let reply = self.send(&line);
                if let Some(Value::Array(jobs)) = reply.filter(|_| line.starts_with("PHEAN.RESERVE ")) {
                    for job in jobs.iter().filter_map(reserved) {
                        self.leases.push((tube.clone(), job.lease));
                    }
                }
            }
        }
    }

    fn send(&mut self, line: &str) -> Option<Value> {
        cmd(&mut self.con, &line.split_whitespace().collect::<Vec<_>>()).ok()
    }

    /// As often as said; now and then the connection is a new one, and with it all bound reservations end.
    fn run(&mut self, server: &Server, count: usize) {
        for _ in 0..count {
            if self.random.random_bool(0.01) {
                self.con = server.connect();
            }
            self.act();
        }
    }
}

/// Holds the primary still (no timer of the module writes while writes are paused), and compares it with its
/// replicas, each given with the server that it follows.
#[track_caller]
fn all_alike(primary: &Server, replicas: &[(&Server, &Server)]) {
    hold_still(primary);
    index_is_right(primary);
    let whole = fingerprint(primary);
    let sums = total_counts(&mut primary.connect());
    for (replica, followed) in replicas {
        replica.wait_synced(followed);
        assert_eq!(fingerprint(replica), whole);
        index_is_right(replica);
        let mut con = replica.connect();
        assert_eq!(total_counts(&mut con), sums);
        assert_eq!(total(&mut con, "current-tubes"), whole.tubes() as i64);
        assert_eq!(replica.info("phean")["phean_apply_errors"], "0");
    }
    run(&mut primary.connect(), "CLIENT UNPAUSE");
}

#[track_caller]
fn hold_still(server: &Server) {
    // A key whose time is over is there on one server, and not on another.
    eventually(|| server.info("keyspace").values().all(|db| db.contains("expires=0")));
    run(&mut server.connect(), "CLIENT PAUSE 1000000 WRITE");
}

/// For a server that must start without its primary and without becoming one.
const FOLLOWS_NOBODY: &str = "replicaof 127.0.0.1 1";

/// One time in four the sub-replica's totals were wrong. It gets what its primary sends in larger portions, and a
/// key that had appeared was looked at after SWAPDB had put another one in its place, but before that was heard.
#[test]
fn replicas_are_alike_after_everything_that_can_happen() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&["appendonly yes", "phean.tube-linger 0.05", "phean.retry-count 3"]);
    // What a replica is configured to makes no difference.
    let mut replica = Server::start(&["appendonly yes", "appendfsync always", "phean.retry-count 0"]);
    let mut sub = Server::start(&["phean.tube-linger 0", "phean.ttr 1"]);
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    sub.replica_of(&replica);
    let mut chaos = Chaos::new(&primary, 1);
    for _ in 0..8 {
        chaos.run(&primary, 500);
        all_alike(&primary, &[(&replica, &primary), (&sub, &replica)]);
    }
    // The replica's own append-only file holds it all; so does the primary's, and a snapshot of the sub-replica.
    hold_still(&primary);
    sub.wait_synced(&replica);
    let whole = fingerprint(&primary);
    run(&mut sub.connect(), "SAVE");
    for server in [&mut replica, &mut sub] {
        server.kill9();
        server.add_config(&[FOLLOWS_NOBODY]);
        server.restart();
        assert_eq!(fingerprint(server), whole);
    }
    // And with all this they follow again.
    run(&mut primary.connect(), "CLIENT UNPAUSE");
    replica.replica_of(&primary);
    sub.replica_of(&replica);
    chaos.run(&primary, 300);
    all_alike(&primary, &[(&replica, &primary), (&sub, &replica)]);
}

#[test]
fn a_full_resynchronisation_under_load_misses_nothing() {
    if !has_module() {
        return;
    }
    let diskless = ["repl-diskless-sync yes", "repl-diskless-sync no"];
    let loads =
        ["repl-diskless-load disabled", "repl-diskless-load swapdb", "repl-diskless-load on-empty-db"];
    for (round, sync) in diskless.into_iter().enumerate() {
        let primary = Server::start(&[sync, "phean.tube-linger 0.05"]);
        for (number, load) in loads.into_iter().enumerate() {
            let replica = Server::start(&[load]);
            run(&mut replica.connect(), "PHEAN.MPUT of-old 3 a b c");
            under_load(&primary, (10 * round + number) as u64, || {
                replica.replica_of(&primary);
                replica.wait_synced_once(&primary);
            });
            all_alike(&primary, &[(&replica, &primary)]);
        }
    }
}

/// Does something while a random run goes on, which is longer by a bit.
fn under_load(server: &Server, seed: u64, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut chaos = Chaos::new(server, seed);
            while !stop.load(Ordering::SeqCst) {
                chaos.run(server, 20);
            }
            chaos.run(server, 20);
        });
        work();
        stop.store(true, Ordering::SeqCst);
        load.join().unwrap();
    });
}

impl Server {
    /// Waits until the link is up: the first synchronisation is over, though more may follow.
    #[track_caller]
    fn wait_synced_once(&self, primary: &Server) {
        eventually(|| self.info("replication")["master_link_status"] == "up");
        eventually(|| primary.info("replication")["connected_slaves"] != "0");
    }
}

#[test]
fn a_partial_resynchronisation_goes_on_where_it_was() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&["repl-backlog-size 64mb"]);
    let replica = Server::start(&[]);
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    let resynced = |server: &Server| server.info("stats")["sync_partial_ok"].parse::<u64>().unwrap();
    for round in 0..5 {
        let before = resynced(&primary);
        under_load(&primary, 100 + round, || {
            run(&mut primary.connect(), "CLIENT KILL TYPE replica");
            eventually(|| resynced(&primary) > before);
            replica.wait_synced_once(&primary);
        });
        all_alike(&primary, &[(&replica, &primary)]);
    }
    assert_eq!(primary.info("stats")["sync_full"], "1");
}

/// A data set loaded beside the old one: while it loads the old one is shown, and then nothing of it is left.
///
/// Redis 7.0 says of each tube that it loads so that it belongs to database 0, and the replica did not know those
/// of other databases: it counted them nowhere, and promoted it would have ended none of their reservations.
#[test]
fn swapdb_loading_leaves_nothing_of_the_old_data_set() {
    if !has_module() {
        return;
    }
    // So small a backlog makes every resynchronisation a full one.
    let primary = Server::start(&["repl-diskless-sync yes", "repl-backlog-size 16kb"]);
    let replica = Server::start(&["repl-diskless-load swapdb", "phean.max-job-size 100000"]);
    let (mut con, mut there) = (primary.connect(), replica.connect());
    for line in ["PHEAN.MPUT own 3 a b c", "PHEAN.PUT own d DELAY 1000", "PHEAN.PUT both a", "SET x y"] {
        run(&mut there, line);
    }
    run(&mut replica.connect_db(1), "PHEAN.PUT own-in-1 a");
    run(&mut con, "PHEAN.PUT both b");
    run(&mut con, "PHEAN.PUT theirs b");
    run(&mut primary.connect_db(2), "PHEAN.PUT theirs-in-2 b");
    run(&mut primary.connect_db(2), "PHEAN.PUT theirs b");
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    all_alike(&primary, &[(&replica, &primary)]);
    assert_eq!(tubes(&mut there), ["both", "theirs"]);
    // The same history, so that the replica serves while it loads.
    for round in 0..3 {
        let full = primary.info("stats")["sync_full"].clone();
        let body = vec![b'x'; 60_000];
        run(&mut con, "MULTI");
        run(&mut con, "CLIENT KILL TYPE replica");
        for number in 0..3 {
            cmd(&mut con, &[b"PHEAN.PUT", format!("big{round}{number}").as_bytes(), &body]).unwrap();
        }
        run(&mut con, "DEL theirs big00 big01");
        run(&mut con, "EXEC");
        eventually(|| primary.info("stats")["sync_full"] != full);
        replica.wait_synced(&primary);
        all_alike(&primary, &[(&replica, &primary)]);
    }
    // Promoted, its timers know the new tubes only.
    for db in 0..3 {
        run(&mut primary.connect_db(db), "PHEAN.PUT soon body TTR 0.05");
        run(&mut primary.connect_db(db), "PHEAN.RESERVE soon");
    }
    run(&mut con, "CLIENT PAUSE 1000000 WRITE");
    run(&mut con, "CLIENT KILL TYPE replica");
    replica.wait_synced(&primary);
    replica.promote();
    for db in 0..3 {
        // The timer alone, no command, ends the reservations.
        eventually(|| total_counts(&mut replica.connect())[2] == 0);
        assert_eq!(counts(&mut replica.connect_db(db), "soon"), [1, 0, 0, 0]);
    }
}

/// A full resynchronisation that fails half way: what the replica had, it still has.
#[test]
fn swapdb_loading_that_fails_leaves_the_old_data_set_as_it_was() {
    if !has_module() {
        return;
    }
    let mut primary =
        Server::start(&["repl-diskless-sync yes", "repl-backlog-size 16kb", "rdbcompression no"]);
    // A server looks after its clients while it loads, after each so many bytes.
    let replica = Server::start(&["repl-diskless-load swapdb", "loading-process-events-interval-bytes 1024"]);
    let mut con = primary.connect();
    // Redis 8 has a child of the primary send the data set, which would go on without its parent. Older servers
    // have no such setting.
    for server in [&primary, &replica] {
        let _ = cmd(&mut server.connect(), &["CONFIG", "SET", "repl-rdb-channel", "no"]);
    }
    // Each tube is larger than those so many bytes.
    let body = "x".repeat(1000);
    for number in 0..300 {
        run(&mut con, &format!("PHEAN.MPUT t{number} 2 {body} {body}"));
    }
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    hold_still(&primary);
    let whole = fingerprint(&primary);
    run(&mut con, "CLIENT UNPAUSE");
    // Each key takes 50 ms to send from now on, so that it is far from the end when the primary dies.
    run(&mut con, "CONFIG SET rdb-key-save-delay 50000");
    let body = vec![b'x'; 60_000];
    run(&mut con, "MULTI");
    run(&mut con, "CLIENT KILL TYPE replica");
    cmd(&mut con, &[b"PHEAN.PUT", &b"t0"[..], &body]).unwrap();
    run(&mut con, "EXEC");
    eventually(|| replica.info("persistence").get("async_loading").is_some_and(|loading| loading == "1"));
    assert_eq!(total_counts(&mut replica.connect()), [600, 0, 0, 0], "it serves while it loads");
    assert_eq!(tubes(&mut replica.connect()).len(), 300);
    primary.kill9();
    eventually(|| replica.info("persistence")["async_loading"] == "0");
    assert_eq!(fingerprint(&replica), whole);
    assert_eq!(total_counts(&mut replica.connect()), [600, 0, 0, 0]);
    replica.promote();
    assert!(reserved(&run(&mut replica.connect(), "PHEAN.RESERVE t7")).is_some());
}

#[test]
fn a_promoted_replica_goes_on() {
    if !has_module() {
        return;
    }
    let mut primary = Server::start(&[]);
    let replica = Server::start(&[]);
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    let mut con = primary.connect();
    let mut ids: HashSet<i64> = (0..10).map(|_| ok_int(&mut con, &["PHEAN.PUT", "t", "body"])).collect();
    let held = reserved(&run(&mut con, "PHEAN.RESERVE t TTR 1000")).unwrap();
    let bound = reserved(&run(&mut con, "PHEAN.RESERVE t TTR 1000 BOUND")).unwrap();
    let short = reserved(&run(&mut con, "PHEAN.RESERVE t TTR 0.2")).unwrap();
    run(&mut con, "PHEAN.PUT delayed a DELAY 0.2");
    run(&mut con, "PHEAN.PUT paused a");
    run(&mut con, "PHEAN.PAUSE paused 0.2");
    run(&mut con, "PHEAN.PUT idle a");
    run(&mut con, "PHEAN.CLEAR idle");
    replica.wait_synced(&primary);
    primary.kill9();
    let mut con = replica.connect();
    run(&mut con, "CONFIG SET phean.tube-linger 0.3");
    replica.promote();
    // Old leases hold, also the bound one, whose connection is gone: it is a plain lease now.
    for lease in [&held.lease, &bound.lease] {
        assert_eq!(ok_int(&mut con, &["PHEAN.TOUCH", "t", lease]), 1);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", lease]), 1);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", lease]), 0);
    }
    for tube in ["delayed", "paused"] {
        let job = reserved(&run(&mut con, &format!("PHEAN.RESERVE {tube} TIMEOUT 15"))).expect("it came due");
        assert_eq!(job.attempt, 1);
        assert_eq!(run(&mut con, &format!("PHEAN.RESERVE {tube}")), Value::Nil, "it is given once");
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", tube, &job.lease]), 1);
    }
    eventually(|| counts(&mut con, "t") == [8, 0, 0, 0]);
    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &short.lease]), 0, "its time is over");
    let all = reserved_many(&run(&mut con, "PHEAN.RESERVE t COUNT 100"));
    assert_eq!((all.len(), all[0].id, all[0].attempt), (8, short.id, 2));
    // Numbering jumps to the clock, so that ids that never came over are not given again.
    for _ in 0..10 {
        let id = ok_int(&mut con, &["PHEAN.PUT", "t", "body"]);
        assert!(id > 1 << 50 && ids.insert(id));
    }
    eventually(|| tubes(&mut con) == ["t"]);
}

/// Nothing comes due on a replica by itself: it waits for its primary's word, however late that is.
#[test]
fn timers_run_on_the_primary_only() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&[]);
    let replica = Server::start(&["phean.tube-linger 0"]);
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    let mut con = primary.connect();
    run(&mut con, "PHEAN.PUT t a DELAY 0.05");
    run(&mut con, "PHEAN.PUT t b TTR 0.05");
    run(&mut con, "PHEAN.RESERVE t");
    run(&mut con, "PHEAN.PAUSE paused 0.05");
    run(&mut con, "PHEAN.PUT idle a");
    run(&mut con, "PHEAN.CLEAR idle");
    replica.wait_synced(&primary);
    run(&mut con, "CLIENT PAUSE 1000000 WRITE");
    // Longer than all those times, by the replica's clock.
    let before = fingerprint(&replica);
    run(&mut replica.connect(), "DEBUG SLEEP 0.1");
    assert_eq!(fingerprint(&replica), before);
    assert_eq!(fingerprint(&primary), before, "paused writes keep the primary's timer from writing, too");
    run(&mut con, "CLIENT UNPAUSE");
    eventually(|| counts(&mut replica.connect(), "t") == [2, 0, 0, 0]);
    all_alike(&primary, &[(&replica, &primary)]);
}

/// A replica's backlog begins when it is synchronised, which forks nothing and brings no replica. Right after its
/// promotion the module still held that nobody could ask for events, and left them out; the old primary then took
/// up the stream where it had been and missed them.
#[test]
fn what_is_put_right_after_a_promotion_reaches_the_old_primary() {
    if !has_module() {
        return;
    }
    let mut taken_up = 0;
    for _ in 0..5 {
        // A PING to the replica that it does not wait for any more would put the old primary ahead of the new one.
        let first = Server::start(&["repl-ping-replica-period 3600"]);
        let second = Server::start(&["repl-ping-replica-period 3600"]);
        second.replica_of(&first);
        second.wait_synced(&first);
        second.promote();
        let mut con = second.connect();
        (0..10).for_each(|_| drop(run(&mut con, "PHEAN.PUT t body")));
        first.replica_of(&second);
        all_alike(&second, &[(&first, &second)]);
        taken_up +=
            usize::from(second.info("stats").get("sync_partial_ok").is_some_and(|count| count == "1"));
    }
    // A machine under load may now and then leave the old primary ahead of the new one.
    assert!(taken_up > 0, "the stream was never taken up where it had been");
}

#[test]
fn a_demoted_primary_becomes_a_replica_like_any_other() {
    if !has_module() {
        return;
    }
    let first = Server::start(&[]);
    let second = Server::start(&[]);
    second.replica_of(&first);
    second.wait_synced(&first);
    let mut chaos = Chaos::new(&first, 7);
    chaos.run(&first, 300);
    hold_still(&first);
    second.wait_synced(&first);
    run(&mut first.connect(), "CLIENT UNPAUSE");
    // A bound reservation, a worker in line and a job that is about to be due: all of it belongs to another time.
    let mut holder = first.connect();
    run(&mut holder, "PHEAN.PUT lost a");
    run(&mut holder, "PHEAN.RESERVE lost BOUND");
    run(&mut holder, "PHEAN.PUT lost b DELAY 0.05");
    let worker = Blocked::start(&first, &["PHEAN.RESERVE", "nothing", "TIMEOUT", "100"]);
    second.promote();
    let mut chaos = Chaos::new(&second, 8);
    chaos.run(&second, 300);
    first.replica_of(&second);
    assert!(worker.join().is_err());
    drop(holder);
    chaos.run(&second, 300);
    all_alike(&second, &[(&first, &second)]);
    // And back again.
    hold_still(&second);
    first.wait_synced(&second);
    run(&mut second.connect(), "CLIENT UNPAUSE");
    first.promote();
    second.replica_of(&first);
    Chaos::new(&first, 9).run(&first, 300);
    all_alike(&first, &[(&second, &first)]);
}

#[test]
fn replicas_can_be_looked_at_and_not_written_to() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&[]);
    let replica = Server::start(&[]);
    replica.replica_of(&primary);
    let mut con = primary.connect();
    run(&mut con, "PHEAN.MPUT t 3 a b c");
    run(&mut con, "PHEAN.RESERVE t TTR 1000");
    run(&mut con, "PHEAN.BURY t 1");
    run(&mut con, "PHEAN.RESERVE t TTR 1000");
    run(&mut con, "PHEAN.PUT t d DELAY 1000");
    replica.wait_synced(&primary);
    let before = fingerprint(&replica);
    let mut there = replica.connect();
    for line in [
        "PHEAN.PEEK t 1",
        "PHEAN.PEEK t READY",
        "PHEAN.PEEK t DELAYED",
        "PHEAN.PEEK t BURIED",
        "PHEAN.PEEK t RESERVED",
        "PHEAN.SCAN t 0",
        "PHEAN.TUBES",
        "PHEAN.PEEK missing 1",
        "PHEAN.JOB missing 1",
    ] {
        assert_eq!(run(&mut there, line), run(&mut con, line), "{line}");
    }
    assert_eq!(array(&run(&mut there, "PHEAN.CLAIMED t")).len(), 1);
    assert_eq!(array(&run(&mut there, "PHEAN.TUBES WITHSTATS")).len(), 1);
    for line in [
        "PHEAN.PUT t x",
        "PHEAN.MPUT t 1 x",
        "PHEAN.RESERVE t",
        "PHEAN.RESERVE t TIMEOUT 100",
        "PHEAN.MRESERVE 1 t TIMEOUT 100",
        "PHEAN.RESERVEJOB t 3",
        "PHEAN.DELETE t 1",
        "PHEAN.RELEASE t 2",
        "PHEAN.BURY t 2",
        "PHEAN.TOUCH t 2",
        "PHEAN.KICK t 1",
        "PHEAN.KICKJOB t 1",
        "PHEAN.PRIORITIZE t 1 1",
        "PHEAN.DELAY t 1 1",
        "PHEAN.PAUSE t 1",
        "PHEAN.CLEAR t",
        "PHEAN.APPLY t x",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        assert!(err(&mut there, &args).starts_with("READONLY"), "{line}");
    }
    assert_eq!(fingerprint(&replica), before);
    assert_eq!(fingerprint(&primary), before);
    all_alike(&primary, &[(&replica, &primary)]);
}

/// Producers that never stop: single puts, transactions and scripts, and workers that take half of it.
fn producing<T>(server: &Server, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..3 {
            let stop = &stop;
            scope.spawn(move || {
                let mut con = server.connect();
                let script = "
                    redis.call('PHEAN.PUT', 'lua', 'a')
                    redis.call('PHEAN.MPUT', 'lua', 2, 'b', 'c')
                    return redis.call('PHEAN.RESERVE', 'lua', 'TTR', 100000)";
                let put = "PHEAN.PUT t a TTR 100000 DELAY";
                while !stop.load(Ordering::SeqCst) {
                    match number {
                        0 => {
                            run(&mut con, &format!("{put} 0"));
                            run(&mut con, &format!("{put} 100000"));
                            run(&mut con, "PHEAN.RESERVE t");
                        }
                        1 => {
                            run(&mut con, "MULTI");
                            run(&mut con, "PHEAN.PUT multi a");
                            run(&mut con, "PHEAN.RESERVE multi TTR 100000");
                            run(&mut con, "INCR other");
                            run(&mut con, "EXEC");
                        }
                        _ => drop(cmd(&mut con, &["EVAL", script, "0"]).unwrap()),
                    }
                }
            });
        }
        let result = work();
        stop.store(true, Ordering::SeqCst);
        result
    })
}

/// While nobody listens the module writes no events down. Replicas that come, go and come back must not notice.
#[test]
fn replicas_that_come_and_go_miss_nothing() {
    if !has_module() {
        return;
    }
    for sync in ["repl-diskless-sync yes", "repl-diskless-sync no"] {
        let primary = Server::start(&[sync, "repl-backlog-ttl 1"]);
        let replica = Server::start(&[]);
        for round in 0..4 {
            producing(&primary, || {
                replica.replica_of(&primary);
                if round % 2 == 0 {
                    replica.wait_synced_once(&primary);
                }
            });
            all_alike(&primary, &[(&replica, &primary)]);
            if round == 3 {
                break;
            }
            producing(&primary, || {
                replica.promote();
                if round < 2 {
                    // The backlog outlives the replica; then nobody listens any more.
                    let info = |name: &str| primary.info("replication")[name].clone();
                    eventually(|| info("connected_slaves") == "0" && info("repl_backlog_active") == "0");
                    // The module asks ten times a second.
                    let before = uptime(&primary);
                    eventually(|| uptime(&primary) > before + 1);
                }
            });
        }
    }
}

/// For how many seconds the server has run.
fn uptime(server: &Server) -> u64 {
    server.info("server")["uptime_in_seconds"].parse().unwrap()
}

/// A backlog outlives its last replica: a partial resynchronisation must find in it what came meanwhile.
#[test]
fn a_replica_that_comes_back_finds_all_events_in_the_backlog() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&["repl-backlog-size 64mb"]);
    let replica = Server::start(&[]);
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    for _ in 0..5 {
        producing(&primary, || {
            // It stays away for longer than the module takes between two looks at who listens.
            let asleep = thread::spawn({
                let mut con = replica.connect();
                move || run(&mut con, "DEBUG SLEEP 0.5")
            });
            eventually(|| {
                let _ = cmd(&mut primary.connect(), &["CLIENT", "KILL", "TYPE", "replica"]);
                asleep.is_finished()
            });
            eventually(|| replica.info("replication")["master_link_status"] == "up");
        });
        all_alike(&primary, &[(&replica, &primary)]);
    }
    assert_eq!(primary.info("stats")["sync_full"], "1");
}

#[test]
fn an_append_only_file_switched_on_while_jobs_stream_in_misses_nothing() {
    if !has_module() {
        return;
    }
    for round in 0..4 {
        let preamble = ["aof-use-rdb-preamble yes", "aof-use-rdb-preamble no"][round % 2];
        let mut server = Server::start(&[preamble]);
        let mut con = server.connect();
        producing(&server, || {
            for switch in 0..2 + round {
                let word = ["yes", "no"][switch % 2];
                match round {
                    0 => drop(run(&mut con, &format!("CONFIG SET appendonly {word}"))),
                    1 => {
                        run(&mut con, "MULTI");
                        run(&mut con, "PHEAN.PUT t before DELAY 1000");
                        run(&mut con, &format!("CONFIG SET appendonly {word}"));
                        run(&mut con, "PHEAN.PUT t after DELAY 1000");
                        run(&mut con, "EXEC");
                    }
                    _ => {
                        // A snapshot is being made already, so that the rewrite has to wait.
                        let _ = cmd(&mut con, &["BGSAVE", "SCHEDULE"]);
                        run(&mut con, &format!("CONFIG SET appendonly {word}"));
                    }
                }
                let id = ok_int(&mut con, &["PHEAN.PUT", "t", "right after"]);
                assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &id.to_string()]), 1);
            }
            run(&mut con, "CONFIG SET appendonly yes");
            eventually(|| {
                let info = server.info("persistence");
                ["aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress"]
                    .iter()
                    .all(|name| info[*name] == "0")
                    && info["aof_enabled"] == "1"
            });
        });
        hold_still(&server);
        let whole = fingerprint(&server);
        server.shutdown_nosave();
        server.add_config(&["appendonly yes"]);
        server.restart();
        assert_eq!(fingerprint(&server), whole);
        let mut con = server.connect();
        assert!(text(&run(&mut con, "TYPE t")) == "pheantube" && !bytes(&run(&mut con, "DUMP t")).is_empty());
    }
}

/// Its timer went on where Redis refuses every command: an old primary, cut off from its replicas, handed jobs that
/// fell due to workers that waited there, while the new one handed them to others.
#[test]
fn a_primary_without_enough_replicas_hands_out_nothing() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&["min-replicas-to-write 1", "repl-backlog-size 1mb"]);
    let mut replica = Server::start(&[]);
    let mut con = primary.connect();
    let refused = |con: &mut Connection, line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(err(con, &words).starts_with("NOREPLICAS "), "{line}");
    };
    refused(&mut con, "PHEAN.PUT t early");
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    let good = |primary: &Server| primary.info("replication")["min_slaves_good_slaves"] != "0";
    eventually(|| good(&primary));
    run(&mut con, "PHEAN.PUT held x TTR 1000");
    let held = reserved(&run(&mut con, "PHEAN.RESERVE held")).expect("there is a job").lease;
    let is_delayed =
        |con: &mut Connection, id| job_field(con, "t", id, "state").as_deref() == Some("delayed");
    let claims = |con: &mut Connection| array(&run(con, "PHEAN.CLAIMED over"));
    // On a slow machine the time is over before the replica is gone: then again, with more of it.
    for seconds in [1, 4, 16] {
        run(&mut con, "PHEAN.PUT over x");
        let over = reserved(&run(&mut con, &format!("PHEAN.RESERVE over TTR {seconds}")));
        let over = over.expect("there is a job").lease;
        let wait = |timeout: u32| {
            Blocked::start(&primary, &["PHEAN.RESERVE", "t", "TIMEOUT", timeout.to_string().as_str()])
        };
        let (worker, brief) = (wait(1000), wait(2 * seconds));
        let id = int(&run(&mut con, &format!("PHEAN.PUT t due DELAY {seconds}")));
        assert_eq!(int(&run(&mut con, "WAIT 1 10000")), 1);
        replica.kill9();
        eventually(|| !good(&primary));
        let is_in_time = is_delayed(&mut con, id) && claims(&mut con).len() == 1;
        if is_in_time {
            assert_eq!(int(&run(&mut con, "WAIT 1 10")), 0);
            for line in ["PHEAN.PUT t x", "PHEAN.RESERVE t", "PHEAN.RESERVE t TIMEOUT 10", "PHEAN.KICK t 1"] {
                refused(&mut con, line);
            }
            refused(&mut con, &format!("PHEAN.DELETE held {held}"));
            // The second wait is over later than the job's delay and the reservation: nothing became of these.
            assert_eq!(brief.join().unwrap(), Value::Nil);
            assert!(is_delayed(&mut con, id) && !worker.is_over());
            assert_eq!(text(&array(&claims(&mut con)[0])[0]), over);
        }
        // The replica is back: what is overdue happens at once.
        replica.restart();
        replica.replica_of(&primary);
        let job = reserved(&worker.join().unwrap()).expect("it is served");
        assert_eq!((job.id, job.attempt), (id, 1));
        eventually(|| claims(&mut con).is_empty());
        eventually(|| good(&primary));
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "over", &over]), 0);
        run(&mut con, "PHEAN.CLEAR over");
        if is_in_time {
            assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "held", &held]), 1);
            return all_alike(&primary, &[(&replica, &primary)]);
        }
    }
    panic!("the machine is too slow for this test");
}

/// A setting that makes Redis refuse writes holds for what happens by itself, too, and at once: jobs were handed out for a
/// tenth of a second.
#[test]
fn replicas_that_are_asked_for_are_missed_at_once() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["repl-backlog-size 1mb"]);
    let mut con = server.connect();
    for _ in 0..5 {
        let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "a", "TIMEOUT", "100"]);
        // Its wait is over later than the job is due, and later than Redis' cron.
        let brief = Blocked::start(&server, &["PHEAN.RESERVE", "nothing", "TIMEOUT", "0.3"]);
        let _: Value = redis::pipe()
            .cmd("PHEAN.PUT")
            .arg(&["a", "x", "DELAY", "0.02"])
            .cmd("CONFIG")
            .arg(&["SET", "min-replicas-to-write", "1"])
            .query(&mut con)
            .unwrap();
        assert_eq!(brief.join().unwrap(), Value::Nil);
        assert!(!waiter.is_over());
        assert_eq!(counts(&mut con, "a"), [0, 1, 0, 0]);
        run(&mut con, "CONFIG SET min-replicas-to-write 0");
        let job = reserved(&waiter.join().unwrap()).expect("a job");
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "a", &job.lease]), 1);
    }
}

/// A replica that takes writes lets workers wait, and serves nobody; once it was promoted, it did not serve them either,
/// though there was a job.
#[test]
fn who_waited_on_a_replica_is_served_once_it_is_promoted() {
    if !has_module() {
        return;
    }
    let (primary, replica) = (Server::start(&[]), Server::start(&["replica-read-only no"]));
    replica.replica_of(&primary);
    replica.wait_synced(&primary);
    let waits = Blocked::start(&replica, &["PHEAN.RESERVE", "t", "TIMEOUT", "1000"]);
    run(&mut primary.connect(), "PHEAN.PUT t x");
    replica.wait_synced(&primary);
    assert!(!waits.is_over());
    replica.promote();
    let job = waits.join().expect("it is served, not disconnected");
    assert_eq!(reserved(&job).expect("there is a job").body, b"x");
}
