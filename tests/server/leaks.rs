//! Memory comes back: many jobs live their whole lives, through both doors, and afterwards the server uses as much
//! memory as before. `PHEAN_LIVES=n` lets so many jobs live through each door.

use crate::beanstalk_talk::{ON, Talk, info};
use crate::dataset::counts;
use crate::harness::{Server, has_module};
use crate::raw::{Raw, packed};
use crate::reply::{array, bytes, cmd, int, reserved_many, run};
use crate::waiting::{eventually, eventually_some};
use redis::{Connection, Value};
use std::env;
use std::time::{Duration, Instant};

/// Jobs that live at the same time.
const AT_ONCE: usize = 100;

fn lives() -> usize {
    env::var("PHEAN_LIVES").map_or(50_000, |text| text.parse().expect("PHEAN_LIVES is a number"))
}

fn words<'a>(first: &[&'a str], rest: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    first.iter().copied().chain(rest.into_iter().map(String::as_str)).collect()
}

#[track_caller]
fn done(con: &mut Connection, words: &[&str]) -> Value {
    cmd(con, words).unwrap_or_else(|error| panic!("{:?}: {error}", &words[..2]))
}

#[track_caller]
fn all(con: &mut Connection, words: &[&str]) {
    assert_eq!(int(&done(con, words)), AT_ONCE as i64, "{:?}", &words[..2]);
}

/// A hundred jobs: put, reserved, released, reserved, buried, kicked, delayed, kicked, reserved with the connection,
/// touched, deleted. With every other hundred, one more is put for somebody who waits.
fn live_by_commands(con: &mut Connection, waiter: &mut Raw, number: usize) {
    let bodies: Vec<String> = (0..AT_ONCE).map(|n| format!("{number}-{n}-{}", "x".repeat(n % 200))).collect();
    let count = AT_ONCE.to_string();
    let ids: Vec<String> = array(&done(con, &words(&["PHEAN.MPUT", "t", &count], &bodies)))
        .iter()
        .map(|id| int(id).to_string())
        .collect();
    let take = |con: &mut Connection, options: &[&str]| -> Vec<String> {
        let words = [&["PHEAN.RESERVE", "t", "COUNT", &count], options].concat();
        let jobs = reserved_many(&done(con, &words));
        assert_eq!(jobs.len(), AT_ONCE);
        jobs.into_iter().map(|job| job.lease).collect()
    };
    let leases = take(con, &[]);
    all(con, &words(&["PHEAN.RELEASE", "t"], &leases));
    let leases = take(con, &["TTR", "50"]);
    all(con, &words(&["PHEAN.BURY", "t"], &leases));
    assert_eq!(int(&done(con, &["PHEAN.KICK", "t", &count])), AT_ONCE as i64);
    let leases = take(con, &[]);
    all(con, &words(&["PHEAN.RELEASE", "t"], leases.iter().chain(&["DELAY".into(), "100".into()])));
    all(con, &words(&["PHEAN.KICKJOB", "t"], &ids));
    let leases = take(con, &["BOUND"]);
    all(con, &words(&["PHEAN.TOUCH", "t"], &leases));
    all(con, &words(&["PHEAN.DELETE", "t"], &leases));
    if number % 2 == 1 {
        waiter.send_cmd(&["PHEAN.RESERVE", "u", "TIMEOUT", "100"]);
        done(con, &["PHEAN.PUT", "u", "x"]);
        let job = waiter.reply();
        let lease = job.split("\r\n").nth(4).unwrap_or_else(|| panic!("no job: {job}"));
        assert_eq!(int(&done(con, &["PHEAN.DELETE", "u", lease])), 1);
    }
}

/// The same at the port.
fn live_at_the_port(talk: &mut Talk, number: usize) {
    let puts: String = (0..AT_ONCE)
        .map(|n| format!("{number}-{n}-{}", "x".repeat(n % 150)))
        .map(|body| format!("put 9 0 100 {}\r\n{body}\r\n", body.len()))
        .collect();
    talk.send(puts);
    let ids: Vec<String> = (0..AT_ONCE)
        .map(|_| talk.line().strip_prefix("INSERTED ").expect("it is inserted").to_owned())
        .collect();
    let all = |talk: &mut Talk, line: &dyn Fn(&str) -> String, answer: &str| {
        talk.send(ids.iter().map(|id| line(id) + "\r\n").collect::<String>());
        ids.iter().for_each(|id| assert_eq!(talk.line(), answer, "{}", line(id)));
    };
    let take = |talk: &mut Talk| {
        talk.send("reserve\r\n".repeat(AT_ONCE));
        (0..AT_ONCE).for_each(|_| drop(talk.job()));
    };
    take(talk);
    all(talk, &|id| format!("release {id} 5 0"), "RELEASED");
    take(talk);
    all(talk, &|id| format!("bury {id} 5"), "BURIED");
    assert_eq!(talk.ask(&format!("kick {AT_ONCE}")), format!("KICKED {AT_ONCE}"));
    take(talk);
    all(talk, &|id| format!("release {id} 5 100"), "RELEASED");
    all(talk, &|id| format!("kick-job {id}"), "KICKED");
    take(talk);
    all(talk, &|id| format!("touch {id}"), "TOUCHED");
    all(talk, &|id| format!("delete {id}"), "DELETED");
}

fn used(server: &Server) -> i64 {
    server.info("memory")["used_memory"].parse().expect("a number")
}

/// The least that the server uses in three seconds: it gives the buffers of its clients back at leisure.
fn least_used(server: &Server) -> i64 {
    let end = Instant::now() + Duration::from_secs(3);
    let mut least = i64::MAX;
    eventually_some(|| {
        least = least.min(used(server));
        (Instant::now() >= end).then_some(least)
    })
}

/// A tube can go in many ways, with reservations that are bound to a connection that stays: nothing of them is kept, though
/// the client may never bind one again. Each left 184 bytes behind.
#[test]
fn bound_reservations_that_go_with_their_tubes_leave_no_memory_behind() {
    if !has_module() {
        return;
    }
    const ROUNDS: usize = 4_000;
    let server = Server::start(&[ON, "maxmemory 1gb", "slowlog-max-len 0"]);
    let (mut con, mut worker, mut talk) = (server.connect(), Raw::connect(&server), Talk::new(&server));
    done(&mut con, &["PHEAN.PAUSE", "empty", "1000"]);
    let dump = bytes(&done(&mut con, &["DUMP", "empty"]));
    let pack = |words: &[&str]| packed(words);
    let del = pack(&["DEL", "u"]);
    let ways = [
        vec![del.clone()],
        vec![pack(&["SET", "u", "x"])],
        vec![pack(&["PEXPIRE", "u", "-1"])],
        vec![pack(&["COPY", "empty", "u", "REPLACE"])],
        vec![packed(&[&b"RESTORE"[..], b"u", b"0", &dump, b"REPLACE"])],
        vec![pack(&["COPY", "empty", "v"]), pack(&["RENAME", "v", "u"])],
    ];
    let mut live = |rounds: usize| {
        for way in &ways {
            let taken = [pack(&["PHEAN.PUT", "u", "x"]), pack(&["PHEAN.RESERVE", "u", "BOUND"])];
            let round = [&taken[..], way, std::slice::from_ref(&del)].concat();
            for _ in 0..rounds / 100 {
                worker.send(round.concat().repeat(100));
                (0..100 * round.len()).for_each(|_| assert!(!worker.reply().starts_with('-')));
            }
        }
        for _ in 0..rounds / 100 {
            talk.send("put 0 0 60 1\r\nx\r\nreserve\r\n".repeat(100));
            (0..100).for_each(|_| {
                assert!(talk.line().starts_with("INSERTED "));
                talk.job();
            });
            assert_eq!(int(&done(&mut con, &["DEL", "default"])), 1);
        }
    };
    live(400);
    let before = least_used(&server);
    live(ROUNDS);
    let grown = least_used(&server) - before;
    let bound = (ROUNDS * 7 * 8) as i64;
    assert!(grown < bound, "{grown} bytes stay, more than {bound}");
    // Both are connected still, and what they hold then is bound to them as ever, whatever its tube is called.
    worker.send([pack(&["PHEAN.PUT", "u", "x"]), pack(&["PHEAN.RESERVE", "u", "BOUND"])].concat());
    (0..2).for_each(|_| assert!(!worker.reply().starts_with('-')));
    talk.put_id("x");
    talk.reserve();
    for (tube, other) in [("u", "other-u"), ("default", "other-default")] {
        done(&mut con, &["RENAME", tube, other]);
        assert_eq!(counts(&mut con, other), [0, 0, 1, 0]);
    }
    drop((worker, talk));
    eventually(|| {
        counts(&mut con, "other-u") == [1, 0, 0, 0] && counts(&mut con, "other-default") == [1, 0, 0, 0]
    });
}

/// Redis tells modules of each key that it loads, whatever the key holds.
#[test]
fn keys_that_are_no_tubes_cost_nothing_when_they_are_loaded() {
    if !has_module() {
        return;
    }
    const KEYS: i64 = 200_000;
    let mut server = Server::start(&["maxmemory 1gb"]);
    let mut con = server.connect();
    run(&mut con, &format!("DEBUG POPULATE {KEYS}"));
    run(&mut con, "PHEAN.PUT t x");
    let before = least_used(&server);
    server.shutdown_save();
    server.restart();
    let mut con = server.connect();
    assert_eq!(int(&run(&mut con, "DBSIZE")), KEYS + 1);
    let grown = least_used(&server) - before;
    assert!(grown < KEYS * 4, "it uses {grown} bytes more than before");
    run(&mut con, "PHEAN.DELETE t 1");
}

#[test]
fn jobs_leave_no_memory_behind() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "maxmemory 1gb", "slowlog-max-len 0"]);
    let lives = lives();
    let live = |rounds: usize| {
        let (mut con, mut waiter, mut talk) = (server.connect(), Raw::connect(&server), Talk::new(&server));
        for number in 0..rounds {
            live_by_commands(&mut con, &mut waiter, number);
            live_at_the_port(&mut talk, number);
        }
    };
    // The first of them leave behind what every later one uses again.
    live(20);
    let before = least_used(&server);
    live(lives / AT_ONCE);
    assert_eq!(info(&server, "current_jobs_ready") + info(&server, "current_jobs_reserved"), 0);
    // Buffers that the server keeps, however many jobs there were, and half a byte for each job, which is no job's memory.
    let bound = before + 65_536 + lives as i64;
    let after = least_used(&server);
    assert!(after <= bound, "{lives} jobs through each door left {} bytes behind", after - before);
    println!("{before} bytes before, {after} after {lives} jobs through each door");
    let mut con = server.connect();
    assert_eq!(int(&run(&mut con, "DEL t u default")), 3);
}
