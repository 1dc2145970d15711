//! What outlives the server: append-only files and snapshots, restarts and crashes, ids and leases that come
//! never twice, and values that travel by DUMP and RESTORE.

use crate::dataset::{
    Fingerprint, counts, fingerprint, index_is_right, job_field, restore, stat, total, tubes, until_waiting,
};
use crate::harness::{Server, has_module};
use crate::hostile::crc64;
use crate::raw::Raw;
use crate::reply::{array, bytes, cmd, err, error_line, int, ok_int, reserved, reserved_many, run, text};
use crate::tools::{accepted_by, checked_by};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tubes with jobs in every state and with every kind of past, in three databases. Nothing in them is due soon.
#[track_caller]
pub fn populate(server: &Server) {
    let mut con = server.connect();
    for line in [
        "PHEAN.PUT ready a",
        "PHEAN.PUT ready b PRI 0 TTR 0.001",
        "PHEAN.PUT ready c PRI 4294967295 TTR 4294967295",
        "PHEAN.MPUT delayed 2 a b DELAY 4294967295",
        "PHEAN.PUT delayed c DELAY 1000.001 PRI 7",
        "PHEAN.MPUT reserved 4 a b c d TTR 1000",
        "PHEAN.RESERVE reserved COUNT 3",
        "PHEAN.RESERVE reserved TTR 4294967295",
        "PHEAN.MPUT past 6 a b c d e f TTR 1000",
        "PHEAN.RESERVE past COUNT 6",
        "PHEAN.RELEASE past 11 12 PRI 5",
        "PHEAN.BURY past 13 14 15 PRI 6",
        "PHEAN.KICKJOB past 13",
        "PHEAN.RELEASE past 16 UNTRIED DELAY 1000",
        "PHEAN.PRIORITIZE past 14 1",
        "PHEAN.RESERVE past",
        "PHEAN.TOUCH past 11 FOR 5000",
        "PHEAN.PAUSE paused 100000",
        "PHEAN.PUT paused a",
        "PHEAN.MPUT cleared 3 a b c",
        "PHEAN.CLEAR cleared",
        "PHEAN.PUT expires a",
        "EXPIRE expires 100000",
        "SET string x",
        "LPUSH list x",
    ] {
        run(&mut con, line);
    }
    cmd(&mut con, &[&b"PHEAN.PUT"[..], b"tube \x00\xff\r\n", b"body \x00\xff\r\n"]).unwrap();
    cmd(&mut con, &["PHEAN.PUT", "", "in the tube of the empty name", "DELAY", "1000"]).unwrap();
    run(&mut con, "PHEAN.PUT short a DELAY 0.001");
    eventually(|| counts(&mut con, "short") == [1, 0, 0, 0]);
    for db in 1..3 {
        let mut con = server.connect_db(db);
        run(&mut con, "PHEAN.MPUT ready 2 a b");
        run(&mut con, &format!("PHEAN.PUT only-in-{db} a DELAY 1000"));
    }
}

fn manifest(server: &Server) -> PathBuf {
    server.dir().join("appendonlydir/appendonly.aof.manifest")
}

/// Whether the server's tool accepts what the server writes without a module. That of Valkey 9.1.2 does not know how
/// Valkey's RDB files begin.
fn check_aof_is_of_use() -> bool {
    static IS_OF_USE: OnceLock<bool> = OnceLock::new();
    *IS_OF_USE.get_or_init(|| {
        let mut server = Server::start_plain(&["appendonly yes", "appendfsync always"]);
        run(&mut server.connect(), "SET string x");
        server.kill9();
        checked_by("check-aof", &manifest(&server)).is_ok()
    })
}

#[track_caller]
fn aof_is_accepted(server: &Server) {
    if check_aof_is_of_use() {
        accepted_by("check-aof", &manifest(server));
    }
}

#[track_caller]
fn rewrite_aof(server: &Server) {
    run(&mut server.connect(), "BGREWRITEAOF");
    eventually(|| {
        let info = server.info("persistence");
        info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
    });
    assert_eq!(server.info("persistence")["aof_last_bgrewrite_status"], "ok");
}

/// The first command after loading went to the wrong database: hearing of the loaded tubes selected theirs, and
/// only then was the command's own database asked for. Here that was the first event of the append-only file's
/// newer part, and what came after it was refused.
#[test]
fn every_state_outlives_a_crash_by_the_append_only_file() {
    if !has_module() {
        return;
    }
    for preamble in ["yes", "no"] {
        let preamble = format!("aof-use-rdb-preamble {preamble}");
        let mut server = Server::start(&["appendonly yes", "appendfsync always", &preamble]);
        populate(&server);
        let held = hold_bound(&server);
        let whole = fingerprint(&server);
        assert_eq!(whole.tubes(), 15);
        for round in 0..3 {
            if round > 0 {
                rewrite_aof(&server);
            }
            assert_eq!(fingerprint(&server), whole);
            if round == 2 {
                // Some events after the rewritten part.
                run(&mut server.connect(), "PHEAN.MPUT after 3 a b c DELAY 1000");
                run(&mut server.connect(), "PHEAN.KICK after 2");
            }
            let before = fingerprint(&server);
            server.kill9();
            aof_is_accepted(&server);
            server.restart();
            assert_eq!(fingerprint(&server), before);
            index_is_right(&server);
        }
        // A bound reservation is a plain lease now.
        let mut con = server.connect();
        assert_eq!(counts(&mut con, "bound"), [0, 0, 1, 0]);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "bound", &held.1]), 1);
    }
}

/// A connection that holds a bound reservation, and the lease.
#[track_caller]
fn hold_bound(server: &Server) -> (Raw, String) {
    run(&mut server.connect(), "PHEAN.PUT bound body TTR 1000");
    let mut raw = Raw::connect(server);
    let reply = raw.ask(&["PHEAN.RESERVE", "bound", "BOUND"]);
    let lease = reply.split("\r\n").nth(4).expect("a lease").to_owned();
    (raw, lease)
}

#[test]
fn every_state_outlives_a_restart_by_the_snapshot() {
    if !has_module() {
        return;
    }
    for how in ["SAVE", "BGSAVE", "SHUTDOWN SAVE"] {
        let mut server = Server::start(&[]);
        populate(&server);
        let held = hold_bound(&server);
        let whole = fingerprint(&server);
        match how {
            "SAVE" => drop(run(&mut server.connect(), "SAVE")),
            "BGSAVE" => {
                run(&mut server.connect(), "BGSAVE");
                eventually(|| server.info("persistence")["rdb_bgsave_in_progress"] == "0");
                assert_eq!(server.info("persistence")["rdb_last_bgsave_status"], "ok");
            }
            _ => server.shutdown_save(),
        }
        if how != "SHUTDOWN SAVE" {
            // What came after is forgotten.
            run(&mut server.connect(), "PHEAN.PUT after body");
            server.kill9();
        }
        accepted_by("check-rdb", &server.dir().join("dump.rdb"));
        server.restart();
        assert_eq!(fingerprint(&server), whole, "{how}");
        index_is_right(&server);
        assert_eq!(ok_int(&mut server.connect(), &["PHEAN.DELETE", "bound", &held.1]), 1);
    }
}

#[test]
fn every_state_outlives_a_reload() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["appendonly yes", "appendfsync always"]);
    let mut con = server.connect();
    populate(&server);
    let held = hold_bound(&server);
    let whole = fingerprint(&server);
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "waits", "TIMEOUT", "100"]);
    for how in ["DEBUG RELOAD", "DEBUG LOADAOF", "DEBUG RELOAD", "DEBUG LOADAOF"] {
        run(&mut con, how);
        // Valkey 8.1 leaves the client in the database that was loaded last (valkey-io/valkey#4024).
        run(&mut con, "SELECT 0");
        assert_eq!(fingerprint(&server), whole, "{how}");
        index_is_right(&server);
    }
    assert_eq!(stat(&mut con, "waits", "current-waiting"), 1);
    let id = ok_int(&mut con, &["PHEAN.PUT", "waits", "body"]);
    assert_eq!(reserved(&worker.join().unwrap()).expect("the line stays").id, id);
    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "bound", &held.1]), 1);
    // DEBUG RELOAD with NOSAVE goes back to the file: a job that becomes ready by that serves who waits.
    run(&mut con, "PHEAN.PUT back body");
    run(&mut con, "SAVE");
    assert_eq!(ok_int(&mut con, &["PHEAN.CLEAR", "back"]), 1);
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "back", "TIMEOUT", "100"]);
    run(&mut con, "DEBUG RELOAD NOSAVE");
    assert_eq!(reserved(&worker.join().unwrap()).expect("it is back").body, b"body");
}

#[test]
fn a_waiting_client_leaves_nothing_behind() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]);
    let worker = Blocked::start(&server, &["PHEAN.MRESERVE", "2", "a", "b", "TIMEOUT", "100", "BOUND"]);
    server.kill9();
    assert!(worker.join().is_err());
    server.restart();
    let mut con = server.connect();
    assert_eq!(total(&mut con, "current-waiting"), 0);
    assert_eq!(ok_int(&mut con, &["DBSIZE"]), 0);
}

/// Deadlines that pass while the server is down are met once it is up.
#[test]
fn what_came_due_while_the_server_was_down_happens_at_the_start() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&["appendonly yes", "appendfsync always", "phean.tube-linger 0.001"]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.MPUT delayed 2 a b DELAY 0.05");
    run(&mut con, "PHEAN.MPUT reserved 2 a b TTR 0.05");
    run(&mut con, "PHEAN.RESERVE reserved COUNT 2");
    run(&mut con, "PHEAN.PAUSE paused 0.05");
    run(&mut con, "PHEAN.PAUSE idle 0.05");
    run(&mut con, "PHEAN.PUT paused a");
    server.kill9();
    server.restart();
    let mut con = server.connect();
    for (tube, attempt) in [("delayed", 1), ("reserved", 2), ("paused", 1)] {
        let job = reserved(&run(&mut con, &format!("PHEAN.RESERVE {tube} TIMEOUT 15"))).expect("it is due");
        assert_eq!((job.body.as_slice(), job.attempt), (&b"a"[..], attempt));
    }
    eventually(|| tubes(&mut con) == ["delayed", "paused", "reserved"]);
    eventually(|| ok_int(&mut con, &["DBSIZE"]) == 3);
}

#[test]
fn an_empty_server_begins_with_id_1() {
    if !has_module() {
        return;
    }
    for config in [&[][..], &["appendonly yes"], &["appendonly yes", "aof-use-rdb-preamble no"]] {
        let server = Server::start(config);
        assert_eq!(ok_int(&mut server.connect(), &["PHEAN.PUT", "t", "body"]), 1);
        assert_eq!(ok_int(&mut server.connect(), &["PHEAN.PUT", "u", "body"]), 2);
    }
}

#[test]
fn no_id_comes_twice() {
    if !has_module() {
        return;
    }
    for preamble in ["aof-use-rdb-preamble yes", "aof-use-rdb-preamble no"] {
        let mut server = Server::start(&["appendonly yes", "appendfsync always", preamble]);
        let mut seen = HashSet::new();
        let mut highest = 0;
        let mut check = |server: &Server, after: &str| {
            let mut con = server.connect();
            for tube in ["t", "u", "t"] {
                let id = ok_int(&mut con, &["PHEAN.PUT", tube, "body"]);
                assert!(seen.insert(id) && id > highest && id < 1 << 53, "{id} after {after}");
                highest = id;
            }
        };
        check(&server, "the start");
        for line in [
            "DEL t",
            "FLUSHALL",
            "FLUSHDB ASYNC",
            "DEBUG RELOAD",
            "DEBUG LOADAOF",
            "PHEAN.CLEAR t",
            "UNLINK t u",
            "SWAPDB 0 1",
            "SET t x",
            "SET u x",
            "DEL t u",
            "BGREWRITEAOF",
        ] {
            let mut con = server.connect();
            run(&mut con, line);
            if line.starts_with("SET") {
                run(&mut con, "DEL t u");
            }
            check(&server, line);
        }
        // Everything is gone, and then the server, too: with and without the tubes' end in the rewritten file.
        for rewrite in [false, true] {
            run(&mut server.connect(), "FLUSHALL");
            if rewrite {
                rewrite_aof(&server);
            }
            server.kill9();
            server.restart();
            check(&server, "a crash without any tube");
        }
        server.kill9();
        server.restart();
        check(&server, "a crash");
    }
}

/// A file that was rewritten while there was no key may have no bytes at all, and Redis says nothing of loading it: ids
/// began at 1 again. Wherever the file is, and whatever it is called.
#[test]
fn no_id_comes_twice_where_the_append_only_file_is_empty() {
    if !has_module() {
        return;
    }
    let names = ["appenddirname \"a folder\"", "appendfilename \"a file\""];
    let renamed = ["rename-command CONFIG \"\""];
    for more in [&[][..], &names, &renamed] {
        let settings = ["appendonly yes", "appendfsync always", "aof-use-rdb-preamble no"];
        let mut server = Server::start(&[&settings[..], more].concat());
        let is_fresh = more != renamed;
        let mut con = server.connect();
        let first = ok_int(&mut con, &["PHEAN.PUT", "t", "body"]);
        assert!(!is_fresh || first == 1, "{more:?}: {first}");
        run(&mut con, "DEL t");
        rewrite_aof(&server);
        server.kill9();
        let before_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        server.restart();
        let id = ok_int(&mut server.connect(), &["PHEAN.PUT", "t", "body"]);
        assert!(i128::from(id) >= before_us.cast_signed(), "{more:?}: {id}");
    }
}

/// A restored tube brings its ids along, and even if it is deleted again at once they stay taken.
#[test]
fn ids_of_restored_tubes_stay_taken() {
    if !has_module() {
        return;
    }
    let elsewhere = Server::start(&[]);
    let mut there = elsewhere.connect();
    // Loading makes numbering jump to the clock.
    run(&mut there, "SET x y");
    run(&mut there, "DEBUG RELOAD");
    let theirs = ok_int(&mut there, &["PHEAN.PUT", "t", "body"]);
    assert!(theirs > 1 << 40);
    let dump = bytes(&run(&mut there, "DUMP t"));
    run(&mut there, "PHEAN.CLEAR t");
    let empty = bytes(&run(&mut there, "DUMP t"));
    for payload in [&dump, &empty] {
        let server = Server::start(&[]);
        let mut con = server.connect();
        assert_eq!(ok_int(&mut con, &["PHEAN.PUT", "t", "body"]), 1);
        run(&mut con, "MULTI");
        restore(&mut con, "u", payload, &[]).unwrap();
        run(&mut con, "DEL u");
        run(&mut con, "PHEAN.PUT t body");
        let answers = array(&run(&mut con, "EXEC"));
        assert!(int(&answers[2]) > theirs, "{answers:?}");
        let ours = ok_int(&mut con, &["PHEAN.PUT", "t", "body"]);
        assert_eq!(ours, int(&answers[2]) + 1);
    }
}

/// A reservation that a crash forgot: its lease is refused, and the job's next reservation has another one.
#[test]
fn a_lease_that_a_crash_forgot_is_refused() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[]);
    let mut con = server.connect();
    let id = ok_int(&mut con, &["PHEAN.PUT", "t", "body"]);
    run(&mut con, "SAVE");
    let mut leases = HashSet::new();
    for _ in 0..5 {
        let mut con = server.connect();
        let job = reserved(&run(&mut con, "PHEAN.RESERVE t")).expect("the crash forgot the reservation");
        assert_eq!((job.id, job.attempt), (id, 1));
        assert!(leases.insert(job.lease.clone()));
        for lease in leases.iter().filter(|lease| **lease != job.lease) {
            for verb in ["TOUCH", "RELEASE", "BURY", "DELETE"] {
                assert_eq!(ok_int(&mut con, &[&format!("PHEAN.{verb}"), "t", lease]), 0);
            }
            assert_eq!(run(&mut con, &format!("PHEAN.PEEK t {lease}")), Value::Nil);
            assert_eq!(run(&mut con, &format!("PHEAN.RESERVEJOB t {lease}")), Value::Nil);
        }
        server.kill9();
        server.restart();
        let mut con = server.connect();
        for lease in &leases {
            assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", lease]), 0);
        }
    }
}

/// As above, with an older copy of the tube in the place of the newer one.
#[test]
fn a_lease_that_an_older_copy_forgot_is_refused() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PUT t body");
    let older = bytes(&run(&mut con, "DUMP t"));
    let mut leases = HashSet::new();
    for _ in 0..20 {
        let job = reserved(&run(&mut con, "PHEAN.RESERVE t")).expect("it is ready again");
        assert!(leases.insert(job.lease.clone()), "{} came twice", job.lease);
        for lease in leases.iter().filter(|lease| **lease != job.lease) {
            assert_eq!(ok_int(&mut con, &["PHEAN.TOUCH", "t", lease]), 0);
        }
        restore(&mut con, "t", &older, &["REPLACE"]).unwrap();
        assert_eq!(ok_int(&mut con, &["PHEAN.TOUCH", "t", &job.lease]), 0);
        // Lease numbers follow the clock: let it go on by more than its grain.
        run(&mut con, "PHEAN.PUT clock body DELAY 0.002");
        let tick = reserved(&run(&mut con, "PHEAN.RESERVE clock TIMEOUT 15")).expect("it is due soon");
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "clock", &tick.lease]), 1);
    }
}

#[test]
fn bodies_of_all_sizes_come_back() {
    if !has_module() {
        return;
    }
    for preamble in ["aof-use-rdb-preamble yes", "aof-use-rdb-preamble no"] {
        let mut server =
            Server::start(&["appendonly yes", "appendfsync always", preamble, "phean.max-job-size 1048576"]);
        let mut con = server.connect();
        let mut random = 1_u32;
        let bodies: Vec<Vec<u8>> = [0, 1, 16, 255, 4096, 65_535, 65_536, 1_000_000, 1_048_576]
            .into_iter()
            .flat_map(|size| {
                let noise = (0..size).map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                });
                [noise.collect(), vec![b'x'; size]]
            })
            .collect();
        for body in &bodies {
            cmd(&mut con, &[&b"PHEAN.PUT"[..], b"t", body]).unwrap();
        }
        let reject = cmd(&mut con, &[&b"PHEAN.PUT"[..], b"t", &vec![0; 1_048_577]]).unwrap_err();
        assert!(error_line(&reject).starts_with("TOOBIG"));
        let whole = fingerprint(&server);
        for round in 0..4 {
            match round {
                0 => {}
                1 => rewrite_aof(&server),
                2 => drop(run(&mut server.connect(), "DEBUG RELOAD")),
                _ => {
                    let mut con = server.connect();
                    let dump = bytes(&run(&mut con, "DUMP t"));
                    restore(&mut con, "t", &dump, &["REPLACE"]).unwrap();
                    rewrite_aof(&server);
                }
            }
            server.kill9();
            server.restart();
            assert_eq!(fingerprint(&server), whole);
        }
        let jobs = reserved_many(&run(&mut server.connect(), "PHEAN.RESERVE t COUNT 100"));
        assert!(jobs.iter().map(|job| &job.body).eq(&bodies));
    }
}

#[test]
fn fifty_thousand_jobs_come_back_in_order() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&["appendonly yes", "appendfsync everysec"]);
    let mut con = server.connect();
    for block in 0..50 {
        let bodies: Vec<String> = (0..1000).map(|n| format!("{block}-{n}")).collect();
        let options = ["", "PRI 5", "DELAY 1000", "TTR 77"][block % 4];
        run(&mut con, &format!("PHEAN.MPUT t 1000 {} {options}", bodies.join(" ")));
    }
    run(&mut con, "PHEAN.RESERVE t COUNT 5000 TTR 1000");
    let buried: Vec<String> = (12_001..14_001).map(|id| id.to_string()).collect();
    let bury: Vec<&str> = ["PHEAN.BURY", "t"].into_iter().chain(buried.iter().map(String::as_str)).collect();
    let buried_count = ok_int(&mut con, &bury);
    let whole = fingerprint(&server);
    for round in 0..3 {
        match round {
            0 => {}
            1 => rewrite_aof(&server),
            _ => {
                run(&mut server.connect(), "CONFIG SET aof-use-rdb-preamble no");
                rewrite_aof(&server);
            }
        }
        server.restart();
        assert_eq!(fingerprint(&server), whole);
        index_is_right(&server);
    }
    let mut con = server.connect();
    let mut last = (0, 0);
    let mut found = 0;
    loop {
        let jobs = reserved_many(&run(&mut con, "PHEAN.RESERVE t COUNT 1000"));
        if jobs.is_empty() {
            break;
        }
        found += jobs.len();
        for job in jobs {
            let pri = if job.id % 4000 > 1000 && job.id % 4000 <= 2000 { 5 } else { 1024 };
            assert!((pri, job.id) > last, "{} after {last:?}", job.id);
            last = (pri, job.id);
        }
    }
    let [ready, delayed, _, buried] = counts(&mut con, "t");
    assert_eq!((ready, delayed), (0, 12_000));
    // Some of the first 5,000 were buried.
    assert_eq!(found as i64, 50_000 - 12_000 - 5_000);
    assert_eq!(buried, buried_count);
}

#[test]
fn loading_takes_over_what_other_settings_made() {
    if !has_module() {
        return;
    }
    for aof in ["appendonly yes", "appendonly no"] {
        let mut server = Server::start(&[
            aof,
            "appendfsync always",
            "aof-use-rdb-preamble no",
            "phean.max-job-size 1000000",
            "phean.ttr 5000",
        ]);
        let mut con = server.connect();
        let big = vec![b'x'; 200_000];
        cmd(&mut con, &[&b"PHEAN.PUT"[..], b"big", &big]).unwrap();
        for _ in 0..5 {
            run(&mut con, "PHEAN.RESERVE big");
            run(&mut con, "PHEAN.RELEASE big 1");
        }
        run(&mut con, "PHEAN.PUT held body");
        run(&mut con, "PHEAN.RESERVE held");
        run(&mut con, "PHEAN.PUT long body DELAY 4294967295");
        run(&mut con, "PHEAN.PUT idle body");
        run(&mut con, "PHEAN.CLEAR idle");
        if aof == "appendonly no" {
            run(&mut con, "SAVE");
        }
        let names = tubes(&mut con);
        assert_eq!(names.len(), 4);
        server.kill9();
        server.add_config(&[
            "phean.max-job-size 10",
            "phean.ttr 1",
            "phean.retry-count 0",
            "phean.retry-interval 7",
            "phean.drain yes",
            "phean.tube-linger 1000",
        ]);
        server.restart();
        let mut con = server.connect();
        assert_eq!(tubes(&mut con), names);
        assert_eq!(job_field(&mut con, "big", 1, "size").as_deref(), Some("200000"));
        assert_eq!(job_field(&mut con, "big", 1, "ttr").as_deref(), Some("5000"));
        assert_eq!(counts(&mut con, "held"), [0, 0, 1, 0]);
        assert!(err(&mut con, &["PHEAN.PUT", "t", "body"]).starts_with("DRAINING"));
        // Now the new settings hold: it was tried too often already.
        let job = reserved(&run(&mut con, "PHEAN.RESERVE big")).expect("it is ready");
        assert_eq!((job.attempt, job.body.len()), (6, 200_000));
        assert_eq!(ok_int(&mut con, &["PHEAN.RELEASE", "big", &job.lease]), 1);
        assert_eq!(counts(&mut con, "big"), [0, 0, 0, 1]);
        // And a short linger takes the idle tube away, though it was loaded.
        run(&mut con, "CONFIG SET phean.tube-linger 0");
        eventually(|| tubes(&mut con) == ["big", "held", "long"]);
    }
}

#[test]
fn a_torn_end_of_the_append_only_file_is_cut_off() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.MPUT t 3 a b c");
    let whole = fingerprint(&server);
    let path = server.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
    let kept = std::fs::metadata(&path).unwrap().len();
    run(&mut con, "PHEAN.RESERVE t COUNT 3");
    server.kill9();
    let full = std::fs::read(&path).unwrap();
    for cut in [kept as usize + 1, (kept as usize + full.len()) / 2, full.len() - 1] {
        std::fs::write(&path, &full[..cut]).unwrap();
        server.restart();
        assert_eq!(fingerprint(&server), whole, "the event is there as a whole, or not at all");
        server.kill9();
    }
}

#[test]
fn a_tube_travels_by_dump_and_restore() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let other = Server::start(&[]);
    populate(&server);
    let (mut con, mut there) = (server.connect(), other.connect());
    for tube in ["ready", "delayed", "reserved", "past", "paused", "cleared"] {
        let dump = bytes(&run(&mut con, &format!("DUMP {tube}")));
        restore(&mut there, tube, &dump, &[]).unwrap();
        let digest = |con: &mut Connection| text(&array(&run(con, &format!("DEBUG DIGEST-VALUE {tube}")))[0]);
        assert_eq!(digest(&mut con), digest(&mut there));
        assert_eq!(counts(&mut con, tube), counts(&mut there, tube));
        let busy = restore(&mut there, tube, &dump, &[]).unwrap_err();
        assert_eq!(busy.code(), Some("BUSYKEY"));
        restore(&mut there, tube, &dump, &["REPLACE"]).unwrap();
        assert_eq!(counts(&mut con, tube), counts(&mut there, tube));
    }
    assert_eq!(tubes(&mut there).len(), 6);
    index_is_right(&other);
    // The lease came along.
    let dump = bytes(&run(&mut con, "DUMP ready"));
    restore(&mut there, "idle", &dump, &["IDLETIME", "1000"]).unwrap();
    run(&mut there, "PHEAN.STATS idle");
    run(&mut there, "PHEAN.PEEK idle READY");
    assert!(ok_int(&mut there, &["OBJECT", "IDLETIME", "idle"]) >= 1000, "looking is no use");
    restore(&mut there, "ttl", &dump, &["REPLACE"]).unwrap();
    cmd(&mut there, &[&b"RESTORE"[..], b"ttl", b"1000000", &dump, b"REPLACE"]).unwrap();
    assert!(ok_int(&mut there, &["PTTL", "ttl"]) > 0);
    cmd(&mut there, &[&b"RESTORE"[..], b"abs", b"4102444800000", &dump, b"ABSTTL"]).unwrap();
    assert!(ok_int(&mut there, &["PTTL", "abs"]) > 0);
    assert_eq!(counts(&mut there, "abs"), [3, 0, 0, 0]);
    // A time that has passed: there is no key, nor anything of it in the totals, also where one is replaced.
    cmd(&mut there, &[&b"RESTORE"[..], b"gone", b"1", &dump, b"ABSTTL"]).unwrap();
    cmd(&mut there, &[&b"RESTORE"[..], b"abs", b"1", &dump, b"ABSTTL", b"REPLACE"]).unwrap();
    assert_eq!(ok_int(&mut there, &["EXISTS", "gone", "abs"]), 0);
    index_is_right(&other);
    // A tube that replaces another type, and the other way round.
    run(&mut there, "SET string x");
    let string = bytes(&run(&mut there, "DUMP string"));
    restore(&mut there, "string", &dump, &["REPLACE"]).unwrap();
    restore(&mut there, "ttl", &string, &["REPLACE"]).unwrap();
    assert_eq!(text(&run(&mut there, "TYPE string")), "pheantube");
    index_is_right(&other);
}

#[test]
fn a_corrupt_payload_is_an_error_and_never_a_crash() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    populate(&server);
    let _held = hold_bound(&server);
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "other", "TIMEOUT", "100"]);
    let whole = fingerprint(&server);
    let (mut refused, mut accepted) = (0, 0);
    for tube in ["past", "reserved", "delayed", "cleared", "paused"] {
        let dump = bytes(&run(&mut con, &format!("DUMP {tube}")));
        let (content, _) = dump.split_at(dump.len() - 8);
        assert_eq!(crc64(content).to_le_bytes(), dump[dump.len() - 8..], "the checksum is made right");
        let mut try_out = |content: &[u8]| {
            let payload = [content, &crc64(content).to_le_bytes()].concat();
            match restore(&mut con, "corrupt", &payload, &["REPLACE"]) {
                Err(error) => {
                    assert_eq!(error_line(&error), "ERR Bad data format");
                    refused += 1;
                }
                Ok(_) => {
                    // Another value, but a sound one.
                    accepted += 1;
                    for line in [
                        "PHEAN.STATS corrupt",
                        "PHEAN.SCAN corrupt 0 COUNT 100",
                        "PHEAN.RESERVE corrupt COUNT 100",
                        "PHEAN.KICK corrupt 100",
                        "PHEAN.PUT corrupt body",
                        "PHEAN.CLEAR corrupt READY DELAYED BURIED RESERVED",
                    ] {
                        // Ids may be used up, or the type may be another one.
                        let _ = cmd(&mut con, &line.split(' ').collect::<Vec<_>>());
                    }
                    run(&mut con, "DEL corrupt");
                }
            }
        };
        // The type, the module's name and the two bytes of the version stay as they are.
        for at in 10..content.len() - 2 {
            for flip in [1, 0x80, 0xff] {
                let mut bent = content.to_vec();
                bent[at] ^= flip;
                try_out(&bent);
            }
        }
        for keep in 10..content.len() - 2 {
            try_out(&[&content[..keep], &content[content.len() - 2..]].concat());
        }
    }
    assert!(refused > 500, "refused {refused}, accepted {accepted}");
    run(&mut con, "DEL corrupt");
    assert_eq!(fingerprint(&server), whole);
    index_is_right(&server);
    until_waiting(&mut con, "other", 1);
    drop(worker);
}

#[test]
fn a_snapshot_of_nothing_but_other_types_needs_no_module() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PUT t body");
    run(&mut con, "DEL t");
    run(&mut con, "SET string x");
    run(&mut con, "SAVE");
    let plain = Server::start_plain(&[]);
    std::fs::copy(server.dir().join("dump.rdb"), plain.dir().join("dump.rdb")).unwrap();
    let mut con = plain.connect();
    run(&mut con, "DEBUG RELOAD NOSAVE");
    assert_eq!(text(&run(&mut con, "GET string")), "x");
}

#[test]
fn a_fingerprint_sees_what_differs() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PUT t body");
    let mut seen: Vec<Fingerprint> = Vec::new();
    for line in
        ["PING", "PHEAN.PRIORITIZE t 1 7", "PHEAN.RESERVE t", "PHEAN.TOUCH t 1 FOR 99", "PHEAN.BURY t 1"]
    {
        run(&mut con, line);
        let now = fingerprint(&server);
        assert!(seen.iter().all(|before| *before != now), "{line}");
        seen.push(now);
    }
}

/// Where files cannot be written, Redis refuses every command that changes something. Jobs were handed out all the same,
/// and came back as nobody could delete them, until they were buried.
#[test]
fn while_files_cannot_be_written_nothing_happens_by_itself() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["save 3600 1"]);
    let mut con = server.connect();
    let in_the_way = server.dir().join("dump.rdb");
    let save = |con: &mut Connection, status: &str| {
        run(con, "BGSAVE");
        eventually(|| {
            let info = server.info("persistence");
            info["rdb_bgsave_in_progress"] == "0" && info["rdb_last_bgsave_status"] == status
        });
    };
    // On a slow machine the time is over before the save has failed: then again, with more of it.
    for seconds in [1, 4, 16] {
        run(&mut con, "PHEAN.PUT over x");
        let over = reserved(&run(&mut con, &format!("PHEAN.RESERVE over TTR {seconds}"))).expect("a job");
        let id = int(&run(&mut con, &format!("PHEAN.PUT t due DELAY {seconds}")));
        let wait =
            |timeout: u32| Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", &timeout.to_string()]);
        let (worker, brief) = (wait(1000), wait(2 * seconds));
        std::fs::create_dir(&in_the_way).expect("the folder can be made");
        save(&mut con, "err");
        let is_delayed =
            |con: &mut Connection| job_field(con, "t", id, "state").as_deref() == Some("delayed");
        let is_held = |con: &mut Connection| stat(con, "over", "current-jobs-reserved") == 1;
        let is_in_time = is_delayed(&mut con) && is_held(&mut con);
        if is_in_time {
            for line in ["PHEAN.PUT t x", "PHEAN.RESERVE t", &format!("PHEAN.DELETE over {}", over.lease)] {
                let words: Vec<&str> = line.split(' ').collect();
                assert!(err(&mut con, &words).starts_with("MISCONF "), "{line}");
            }
            // The second wait is over later than the job's delay and the reservation: nothing became of these.
            assert_eq!(brief.join().unwrap(), Value::Nil);
            assert!(is_delayed(&mut con) && is_held(&mut con) && !worker.is_over());
        }
        // What is overdue happens as soon as the disk is well.
        std::fs::remove_dir(&in_the_way).expect("it is empty");
        save(&mut con, "ok");
        let job = reserved(&worker.join().unwrap()).expect("it is served");
        eventually(|| !is_held(&mut con));
        if is_in_time {
            assert_eq!((job.id, job.attempt), (id, 1));
            return;
        }
        run(&mut con, "PHEAN.CLEAR over");
        run(&mut con, "PHEAN.CLEAR t");
        std::fs::remove_file(&in_the_way).expect("the snapshot");
    }
    panic!("the machine is too slow for this test");
}
