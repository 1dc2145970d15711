//! Reserves that wait: who is served, when, and what happens if the job, the tube or the worker vanishes.

use crate::dataset::{counts, job_field, restore, stat, total, total_counts, until_waiting};
use crate::harness::{Server, has_module};
use crate::raw::{Raw, packed};
use crate::reply::{
    Reserved, array, bytes, cmd, err, error_line, int, map, ok_int, reserved, reserved_many, run, text,
};
use crate::waiting::{Blocked, eventually, eventually_some};
use redis::{Connection, Value};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A worker with a bare connection that waits for a job of one tube; the next one may come only once this one
/// stands in line.
#[track_caller]
fn in_line(server: &Server, con: &mut Connection, tube: &str, options: &[&str]) -> Raw {
    let before = stat(con, tube, "current-waiting");
    let mut raw = Raw::connect(server);
    let mut args = vec!["PHEAN.RESERVE", tube, "TIMEOUT", "100"];
    args.extend(options);
    raw.send_cmd(&args);
    until_waiting(con, tube, before as usize + 1);
    raw
}

/// The job in a RESP2 reply as it came over the wire: lease, body, attempt.
#[track_caller]
fn job_of(reply: &str) -> (String, String, i64) {
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let ["*5", _, _tube, _, lease, _, body, attempt, ..] = lines.as_slice() else {
        panic!("no job: {reply:?}")
    };
    let attempt = attempt.strip_prefix(':').and_then(|attempt| attempt.parse().ok());
    ((*lease).to_owned(), (*body).to_owned(), attempt.expect("an attempt is an integer"))
}

/// The body of the job in a reply.
#[track_caller]
fn body_of(reply: &str) -> String {
    job_of(reply).1
}

/// Reserves until there is a job, as a poller would.
#[track_caller]
fn eventually_reserved(con: &mut Connection, tube: &str) -> Reserved {
    eventually_some(|| reserved(&run(con, &format!("PHEAN.RESERVE {tube}"))))
}

#[test]
fn workers_are_served_first_come_first_served() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut workers: Vec<Raw> = (0..20).map(|_| in_line(&server, &mut con, "t", &[])).collect();
    for (number, worker) in workers.iter_mut().enumerate().take(10) {
        run(&mut con, &format!("PHEAN.PUT t {number}"));
        assert_eq!(body_of(&worker.reply()), number.to_string());
    }
    // Many at once: the most urgent job goes to whoever came first.
    run(&mut con, "PHEAN.PAUSE t 1000");
    for number in (10..20).rev() {
        run(&mut con, &format!("PHEAN.PUT t {number} PRI {number}"));
    }
    assert_eq!(stat(&mut con, "t", "current-waiting"), 10);
    run(&mut con, "PHEAN.PAUSE t 0");
    for (number, worker) in workers.iter_mut().enumerate().skip(10) {
        assert_eq!(body_of(&worker.reply()), number.to_string());
    }
    assert_eq!(stat(&mut con, "t", "current-waiting"), 0);
    assert_eq!(counts(&mut con, "t"), [0, 0, 20, 0]);
}

#[test]
fn a_worker_waits_on_several_tubes_at_once() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut both = Raw::connect(&server);
    // A name given twice counts once.
    both.send_cmd(&["PHEAN.MRESERVE", "4", "a", "b", "c", "a", "TIMEOUT", "100"]);
    until_waiting(&mut con, "a", 1);
    let mut only_a = in_line(&server, &mut con, "a", &[]);
    let mut only_b = in_line(&server, &mut con, "b", &[]);
    assert_eq!(total(&mut con, "current-waiting"), 3);
    run(&mut con, "PHEAN.PUT b first");
    let (lease, body, _) = job_of(&both.reply());
    assert_eq!(body, "first");
    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "b", &lease]), 1);
    assert_eq!(["a", "b", "c"].map(|tube| stat(&mut con, tube, "current-waiting")), [1, 1, 0]);
    run(&mut con, "PHEAN.PUT a second");
    assert_eq!(body_of(&only_a.reply()), "second");
    run(&mut con, "PHEAN.PUT b third");
    assert_eq!(body_of(&only_b.reply()), "third");
    // The reply names the tube that had the job.
    let worker = Blocked::start(&server, &["PHEAN.MRESERVE", "2", "x", "y", "TIMEOUT", "100"]);
    run(&mut con, "PHEAN.PUT y body");
    assert_eq!(reserved(&worker.join().unwrap()).expect("a job").tube, b"y");
}

/// Once nobody has begun to wait for a while, Redis no longer tells of the turns of its event loop. Those who wait then
/// are told all the same, whatever ends their wait.
#[test]
fn who_has_waited_for_long_is_told_as_well() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["hz 50"]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PUT source body");
    let dump = bytes(&run(&mut con, "DUMP source"));
    // Several runs of Redis' cron, after which it is quiet. Nothing tells of them.
    let grow_quiet = || thread::sleep(Duration::from_millis(150));
    let wait = || {
        let worker = in_line(&server, &mut server.connect(), "t", &[]);
        grow_quiet();
        worker
    };
    let step = |con: &mut Connection, act: &mut dyn FnMut(&mut Connection)| {
        run(con, "DEL t");
        let mut worker = wait();
        act(con);
        let (lease, body, attempt) = job_of(&worker.reply());
        assert_eq!((body.as_str(), attempt), ("body", 1));
        assert_eq!(ok_int(con, &["PHEAN.DELETE", "t", &lease]), 1);
    };
    for line in ["PHEAN.PUT t body", "PHEAN.MPUT t 2 body other", "PHEAN.PUT t body DELAY 0.05"] {
        step(&mut con, &mut |con| {
            assert_ne!(run(con, line), Value::Nil);
        });
    }
    step(&mut con, &mut |con| {
        run(con, "COPY source u");
        run(con, "RENAME u t");
    });
    step(&mut con, &mut |con| {
        restore(con, "t", &dump, &[]).unwrap();
    });
    step(&mut con, &mut |con| {
        cmd(con, &["EVAL", "return redis.call('PHEAN.PUT', KEYS[1], 'body')", "1", "t"]).unwrap();
    });
    step(&mut con, &mut |con| {
        run(con, "MULTI");
        run(con, "PHEAN.PUT t body");
        run(con, "EXEC");
    });
    // Commands of clients that were just let go: the server has said already that it is about to sleep.
    let mut other = Raw::connect(&server);
    other.send([packed(&["BLPOP", "list", "100"]), packed(&["PHEAN.PUT", "t", "body"])].concat());
    step(&mut con, &mut |con| assert_eq!(run(con, "RPUSH list x"), Value::Int(1)));
    let mut other = in_line(&server, &mut con, "other", &[]);
    other.send_cmd(&["PHEAN.PUT", "t", "body"]);
    step(&mut con, &mut |con| {
        run(con, "PHEAN.PUT other x");
    });
    // Waits that end without a job.
    for (how, reply) in [("TIMEOUT", "*-1"), ("ERROR", "-UNBLOCKED")] {
        let mut worker = Raw::connect(&server);
        let id = worker.client_id().to_string();
        worker.send_cmd(&["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
        until_waiting(&mut con, "t", 1);
        grow_quiet();
        assert_eq!(ok_int(&mut con, &["CLIENT", "UNBLOCK", &id, how]), 1);
        assert!(worker.reply().starts_with(reply));
    }
    let mut worker = Raw::connect(&server);
    worker.send_cmd(&["PHEAN.RESERVE", "t", "TIMEOUT", "0.3"]);
    grow_quiet();
    assert!(worker.reply().starts_with("*-1"));
    drop(wait());
    until_waiting(&mut con, "t", 0);
    step(&mut con, &mut |con| {
        run(con, "PHEAN.PUT t body");
    });
}

#[test]
fn a_wait_ends_in_null_and_never_early() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for (hello, null) in [("2", "*-1\r\n"), ("3", "_\r\n")] {
        for args in [
            vec!["PHEAN.RESERVE", "t", "TIMEOUT", "0.123"],
            vec!["PHEAN.RESERVE", "t", "TIMEOUT", "0.123", "COUNT", "7"],
            vec!["PHEAN.MRESERVE", "2", "t", "u", "TIMEOUT", "0.123"],
            vec!["PHEAN.RESERVE", "t", "TIMEOUT", "1e-9"],
        ] {
            let mut raw = Raw::connect(&server);
            raw.ask(&["HELLO", hello]);
            let start = Instant::now();
            assert_eq!(raw.ask(&args), null, "{args:?}");
            let least = if args.contains(&"1e-9") { 0 } else { 123 };
            assert!(start.elapsed() >= Duration::from_millis(least), "{args:?} took {:?}", start.elapsed());
        }
    }
    // Nobody is left behind in a line.
    assert_eq!(total(&mut con, "current-waiting"), 0);
    run(&mut con, "PHEAN.PUT t body");
    assert_eq!(counts(&mut con, "t"), [1, 0, 0, 0]);
}

#[test]
fn a_wait_without_time_does_not_wait() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    assert_eq!(run(&mut con, "PHEAN.RESERVE t TIMEOUT 0"), Value::Nil);
    run(&mut con, "MULTI");
    run(&mut con, "PHEAN.RESERVE t TIMEOUT 100");
    run(&mut con, "PHEAN.MRESERVE 1 t TIMEOUT 100 COUNT 5");
    assert_eq!(run(&mut con, "EXEC"), Value::Array(vec![Value::Nil, Value::Nil]));
    let script = "return redis.call('PHEAN.RESERVE', 't', 'TIMEOUT', 100) == false";
    assert_eq!(ok_int(&mut con, &["EVAL", script, "0"]), 1);
    assert_eq!(total(&mut con, "current-waiting"), 0);
}

#[test]
fn a_waiting_worker_takes_up_to_count_jobs() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let count = |worker: Blocked| reserved_many(&worker.join().unwrap()).len();
    let three = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100", "COUNT", "3"]);
    let next = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100", "COUNT", "1000"]);
    let last = Blocked::start(&server, &["PHEAN.MRESERVE", "2", "u", "t", "TIMEOUT", "100", "COUNT", "2"]);
    run(&mut con, "PHEAN.MPUT t 5 a b c d e");
    assert_eq!((count(three), count(next)), (3, 2));
    run(&mut con, "PHEAN.PUT t one");
    assert_eq!(count(last), 1);
}

#[test]
fn client_unblock_ends_a_wait() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
    assert_eq!(ok_int(&mut con, &["CLIENT", "UNBLOCK", &worker.client_id().to_string()]), 1);
    assert_eq!(worker.join().unwrap(), Value::Nil);
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
    assert_eq!(ok_int(&mut con, &["CLIENT", "UNBLOCK", &worker.client_id().to_string(), "ERROR"]), 1);
    assert_eq!(error_line(&worker.join().unwrap_err()).split(' ').next(), Some("UNBLOCKED"));
    assert_eq!(total(&mut con, "current-waiting"), 0);
    run(&mut con, "PHEAN.PUT t body");
    assert_eq!(counts(&mut con, "t"), [1, 0, 0, 0]);
}

/// The hand-over and the unblocking reach the server in one read, or shortly after one another: the worker gets
/// exactly one reply, its next command exactly its own, and the job is neither lost nor counted as tried.
#[test]
fn client_unblock_at_the_moment_of_a_hand_over_loses_nothing() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut worker = Raw::connect(&server);
    let mut other = Raw::connect(&server);
    let id = worker.client_id().to_string();
    let is_newer = !server.info("server")["redis_version"].starts_with("7.0.");
    let (mut served, mut unblocked) = (0, 0);
    for round in 0..600 {
        let bound: &[&str] = if round % 2 == 0 { &["BOUND"] } else { &[] };
        worker.send_cmd(&[&["PHEAN.RESERVE", "t", "TIMEOUT", "100"], bound].concat());
        until_waiting(&mut con, "t", 1);
        let put = packed(&["PHEAN.PUT", "t", "body"]);
        let how: &[&str] = if round % 3 == 0 { &["ERROR"] } else { &["TIMEOUT"] };
        let unblock = packed(&[&["CLIENT", "UNBLOCK", &id], how].concat());
        match round % 4 {
            0 => other.send([put, unblock].concat()),
            1 => {
                other.send(put);
                other.send(unblock);
            }
            2 => {
                other.send(put);
                // Some turns of the event loop.
                (0..round / 20).for_each(|_| std::hint::spin_loop());
                other.send(unblock);
            }
            _ => other.send([unblock, put].concat()),
        }
        let (first, second) = (other.reply(), other.reply());
        let was_unblocked = first == ":1\r\n" && round % 4 == 3 || second == ":1\r\n" && round % 4 != 3;
        let reply = worker.reply();
        assert_eq!(worker.ask(&["ECHO", &round.to_string()]), {
            let text = round.to_string();
            format!("${}\r\n{text}\r\n", text.len())
        });
        let lease = if reply.starts_with("*5") {
            // Newer servers say so of a client whose reply is on its way already.
            assert!(
                !was_unblocked || is_newer,
                "it was served, but CLIENT UNBLOCK says that it was unblocked"
            );
            served += 1;
            job_of(&reply).0
        } else {
            let expected = if how == ["ERROR"] { "-UNBLOCKED" } else { "*-1" };
            assert!(reply.starts_with(expected), "{reply:?}");
            assert!(was_unblocked);
            unblocked += 1;
            let job = eventually_reserved(&mut con, "t");
            assert_eq!(job.attempt, 1, "nobody has seen the job before");
            job.lease
        };
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &lease]), 1);
        assert_eq!(counts(&mut con, "t"), [0; 4]);
    }
    assert!(unblocked > 0 && served + unblocked == 600);
}

#[test]
fn a_timeout_at_the_moment_of_a_hand_over_loses_nothing() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut worker = Raw::connect(&server);
    for round in 0..300 {
        worker.send_cmd(&["PHEAN.RESERVE", "t", "TIMEOUT", "0.003"]);
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(2_000 + 10 * (round % 150)) {
            std::hint::spin_loop();
        }
        run(&mut con, "PHEAN.PUT t body");
        let reply = worker.reply();
        assert_eq!(worker.ask(&["PING"]), "+PONG\r\n");
        let lease = if reply == "*-1\r\n" {
            let job = eventually_reserved(&mut con, "t");
            assert_eq!(job.attempt, 1);
            job.lease
        } else {
            job_of(&reply).0
        };
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &lease]), 1);
    }
}

#[test]
fn a_worker_that_leaves_the_line_is_passed_over() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let first = in_line(&server, &mut con, "t", &[]);
    let mut second = in_line(&server, &mut con, "t", &[]);
    drop(first);
    until_waiting(&mut con, "t", 1);
    run(&mut con, "PHEAN.PUT t body");
    let (lease, _, attempt) = job_of(&second.reply());
    assert_eq!(attempt, 1);
    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &lease]), 1);
}

/// The job was set aside for a worker whose connection ends before it is told: the next one gets it, and it counts
/// as untried.
#[test]
fn a_worker_killed_at_the_moment_of_a_hand_over_gives_the_job_back() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut other = Raw::connect(&server);
    for round in 0..200 {
        let options: &[&str] = [&[][..], &["BOUND"], &["COUNT", "2"], &["BOUND", "COUNT", "2"]][round % 4];
        let mut victim = Raw::connect(&server);
        let id = victim.client_id().to_string();
        victim.send_cmd(&[&["PHEAN.RESERVE", "t", "TIMEOUT", "100"], options].concat());
        until_waiting(&mut con, "t", 1);
        let heir = (round % 2 == 0).then(|| in_line(&server, &mut con, "t", &[]));
        let mut bytes = packed(&["PHEAN.PUT", "t", "body"]);
        bytes.extend(packed(&["CLIENT", "KILL", "ID", &id]));
        other.send(bytes);
        assert!(other.reply().starts_with(':'));
        assert_eq!(other.reply(), ":1\r\n");
        let (lease, attempt) = match heir {
            Some(mut heir) => {
                let (lease, _, attempt) = job_of(&heir.reply());
                (lease, attempt)
            }
            None => {
                let job = eventually_reserved(&mut con, "t");
                (job.lease, job.attempt)
            }
        };
        assert_eq!(attempt, 1, "nobody has seen the job before");
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &lease]), 1);
        assert_eq!(counts(&mut con, "t"), [0; 4]);
    }
    assert_eq!(stat(&mut con, "t", "job-timeouts"), 0);
}

/// The socket closes while the job is on its way. Whether it reached the worker nobody can tell, so a plain
/// reservation may stay; a bound one must end.
#[test]
fn a_worker_that_hangs_up_at_the_moment_of_a_hand_over_loses_no_job() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for round in 0..200 {
        let worker = in_line(&server, &mut con, "t", &["BOUND"]);
        let pause = Duration::from_micros(round % 40 * 5);
        let closing = thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < pause {
                std::hint::spin_loop();
            }
            drop(worker);
        });
        run(&mut con, "PHEAN.PUT t body");
        closing.join().unwrap();
        let job = eventually_reserved(&mut con, "t");
        assert!(job.attempt <= 2);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &job.lease]), 1);
    }
    assert_eq!(total_counts(&mut con), [0; 4]);
    assert_eq!(stat(&mut con, "t", "job-timeouts"), 0);
}

#[test]
fn a_job_that_goes_again_at_once_leaves_the_waiter_its_place() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for undo in
        ["DEL t", "UNLINK t", "PHEAN.CLEAR t RESERVED", "FLUSHALL", "FLUSHDB ASYNC", "SET t x", "RENAME t u"]
    {
        let mut first = in_line(&server, &mut con, "t", &[]);
        let mut second = in_line(&server, &mut con, "t", &[]);
        run(&mut con, "MULTI");
        run(&mut con, "PHEAN.PUT t gone");
        run(&mut con, undo);
        run(&mut con, "EXEC");
        assert_eq!(stat(&mut server.connect(), "v", "current-waiting"), 0);
        if undo != "SET t x" {
            until_waiting(&mut con, "t", 2);
        }
        run(&mut con, "DEL t u");
        run(&mut con, "PHEAN.PUT t 1");
        run(&mut con, "PHEAN.PUT t 2");
        assert_eq!((body_of(&first.reply()), body_of(&second.reply())), ("1".into(), "2".into()), "{undo}");
        run(&mut con, "DEL t");
    }
}

#[test]
fn a_waiter_whose_job_goes_again_is_served_from_another_tube() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut worker = Raw::connect(&server);
    worker.send_cmd(&["PHEAN.MRESERVE", "2", "a", "b", "TIMEOUT", "100"]);
    until_waiting(&mut con, "a", 1);
    run(&mut con, "MULTI");
    run(&mut con, "PHEAN.PUT a gone");
    // The only waiter is served from a already.
    run(&mut con, "PHEAN.PUT b stays");
    run(&mut con, "DEL a");
    run(&mut con, "EXEC");
    assert_eq!(body_of(&worker.reply()), "stays");
}

/// A script that runs longer than the reservation that it brought about: the worker is not told of a lease that
/// is over already.
#[test]
fn a_script_longer_than_the_ttr_hands_over_no_dead_lease() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut first = in_line(&server, &mut con, "t", &[]);
    let mut second = in_line(&server, &mut con, "t", &[]);
    let script = "
        redis.call('PHEAN.PUT', 't', 'short', 'TTR', 0.02)
        local function us() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
        local start = us()
        while us() - start < 100000 do end
        redis.call('PHEAN.PUT', 't', 'long', 'TTR', 1000)
        return 'OK'";
    run_args(&mut con, &["EVAL", script, "0"]);
    // Both are served. The first in line is served first; the short job may time out again in the meantime.
    let (a, b) = (job_of(&first.reply()), job_of(&second.reply()));
    for (lease, body, attempt) in [&a, &b] {
        match body.as_str() {
            "short" => assert_eq!(*attempt, 1, "nobody was told of the reservation that was over"),
            _ => assert_eq!((ok_int(&mut con, &["PHEAN.DELETE", "t", lease]), *attempt), (1, 1)),
        }
    }
    assert_eq!(BTreeSet::from([a.1, b.1]), BTreeSet::from(["short".to_owned(), "long".to_owned()]));
}

#[track_caller]
fn run_args(con: &mut Connection, args: &[&str]) -> Value {
    cmd(con, args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

#[test]
fn a_job_goes_from_hand_to_hand() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut workers: Vec<Raw> = (0..50).map(|_| in_line(&server, &mut con, "t", &[])).collect();
    let id = ok_int(&mut con, &["PHEAN.PUT", "t", "body"]);
    let mut leases = BTreeSet::new();
    for (number, worker) in workers.iter_mut().enumerate() {
        let (lease, _, attempt) = job_of(&worker.reply());
        assert_eq!(attempt, number as i64 + 1);
        assert!(leases.insert(lease.clone()), "no two reservations share a lease");
        assert_eq!(worker.ask(&["PHEAN.RELEASE", "t", &lease]), ":1\r\n");
        assert_eq!(worker.ask(&["PHEAN.RELEASE", "t", &lease]), ":0\r\n");
    }
    assert_eq!(counts(&mut con, "t"), [1, 0, 0, 0]);
    assert_eq!(job_field(&mut con, "t", id, "releases").as_deref(), Some("50"));
    for lease in leases {
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &lease]), 0, "an old lease is refused");
    }
}

/// One worker's answer is another one's work, over a chain of tubes: nothing waits for a timer.
#[test]
fn chained_hand_overs_reach_the_end() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let tube = |number: usize| format!("t{number}");
    let mut workers: Vec<Raw> = (0..20).map(|n| in_line(&server, &mut con, &tube(n), &[])).collect();
    run(&mut con, "PHEAN.PUT t0 body");
    for (number, worker) in workers.iter_mut().enumerate() {
        let (lease, body, _) = job_of(&worker.reply());
        let forward = packed(&["PHEAN.PUT", &tube(number + 1), &body]);
        worker.send([forward, packed(&["PHEAN.DELETE", &tube(number), &lease])].concat());
        assert!(worker.reply().starts_with(':'));
        assert_eq!(worker.reply(), ":1\r\n");
    }
    assert_eq!(total_counts(&mut con), [1, 0, 0, 0]);
}

#[test]
fn two_hundred_workers_get_each_job_once() {
    if !has_module() {
        return;
    }
    const WORKERS: usize = 200;
    const PRODUCERS: usize = 4;
    const JOBS: usize = 500;
    let server = Arc::new(Server::start(&[]));
    let done = Arc::new(Mutex::new(Vec::new()));
    let open = Arc::new(AtomicUsize::new(PRODUCERS * JOBS));
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let (server, done, open) = (Arc::clone(&server), Arc::clone(&done), Arc::clone(&open));
            let work = move || {
                let mut con = server.connect();
                loop {
                    let reply = run(&mut con, "PHEAN.RESERVE t TIMEOUT 15");
                    let job = reserved(&reply).expect("a job or the word to stop comes in time");
                    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &job.lease]), 1);
                    if job.body == b"stop" {
                        return;
                    }
                    done.lock().unwrap().push(job.id);
                    if open.fetch_sub(1, Ordering::SeqCst) == 1 {
                        (0..WORKERS).for_each(|_| drop(run(&mut con, "PHEAN.PUT t stop PRI 4294967295")));
                    }
                    if number % 50 == 0 {
                        // A few come and go.
                        con = server.connect();
                    }
                }
            };
            thread::Builder::new().stack_size(256 * 1024).spawn(work).unwrap()
        })
        .collect();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || {
                let mut con = server.connect();
                (0..JOBS).map(|_| ok_int(&mut con, &["PHEAN.PUT", "t", "body"])).collect::<Vec<i64>>()
            })
        })
        .collect();
    let put: BTreeSet<i64> = producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let done = std::mem::take(&mut *done.lock().unwrap());
    assert_eq!(done.len(), PRODUCERS * JOBS, "each job exactly once");
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>(), put);
    let mut con = server.connect();
    assert_eq!((total_counts(&mut con), total(&mut con, "job-timeouts")), ([0; 4], 0));
}

#[test]
fn two_hundred_workers_are_served_in_their_order() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut workers: Vec<Raw> = (0..200).map(|_| in_line(&server, &mut con, "t", &[])).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut con = server.connect();
                (0..50).for_each(|_| drop(run(&mut con, "PHEAN.PUT t body")));
            });
        }
    });
    let ids: Vec<i64> = workers
        .iter_mut()
        .map(|worker| job_of(&worker.reply()).0.split_once('-').unwrap().0.parse().unwrap())
        .collect();
    assert_eq!(ids, (1..=200).collect::<Vec<i64>>());
}

/// Tubes that appear under a name that somebody waits on, without a put there.
#[test]
fn a_tube_that_appears_serves_those_who_wait() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut db1 = server.connect_db(1);
    run(&mut con, "PHEAN.PUT source body");
    let dump = bytes(&run(&mut con, "DUMP source"));
    let step = |con: &mut Connection, act: &mut dyn FnMut(&mut Connection)| {
        let worker = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
        let line_after = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
        act(con);
        let job = reserved(&worker.join().unwrap()).expect("the job that appeared");
        assert_eq!((job.tube.as_slice(), job.body.as_slice(), job.attempt), (&b"t"[..], &b"body"[..], 1));
        assert_eq!(ok_int(con, &["PHEAN.DELETE", "t", &job.lease]), 1);
        run(con, "PHEAN.PUT t next");
        let job = reserved(&line_after.join().unwrap()).expect("the next job");
        assert_eq!(job.body, b"next");
        run(con, "DEL t");
    };
    step(&mut con, &mut |con| {
        restore(con, "t", &dump, &[]).unwrap();
    });
    step(&mut con, &mut |con| {
        run(con, "PHEAN.PUT t old DELAY 1000");
        restore(con, "t", &dump, &["REPLACE"]).unwrap();
    });
    step(&mut con, &mut |con| {
        assert_eq!(ok_int(con, &["COPY", "source", "t"]), 1);
    });
    step(&mut con, &mut |con| {
        run(con, "SET t x");
        assert_eq!(ok_int(con, &["COPY", "source", "t", "REPLACE"]), 1);
    });
    step(&mut con, &mut |con| {
        run(con, "COPY source u");
        run(con, "RENAME u t");
    });
    step(&mut con, &mut |con| {
        run(con, "COPY source u");
        assert_eq!(ok_int(con, &["RENAMENX", "u", "t"]), 1);
    });
    step(&mut con, &mut |_| {
        run(&mut db1, "PHEAN.PUT t body");
        assert_eq!(ok_int(&mut db1, &["MOVE", "t", "0"]), 1);
    });
    step(&mut con, &mut |con| {
        run(&mut db1, "PHEAN.PUT t body");
        run(con, "SWAPDB 0 1");
        run(con, "SWAPDB 1 2");
    });
    // The tube is there all the time, and what swaps in is of another type first.
    run(&mut con, "FLUSHALL");
    step(&mut con, &mut |con| {
        run(con, "SET t x");
        run(&mut db1, "PHEAN.PUT t body");
        run(con, "SWAPDB 0 1");
    });
}

#[test]
fn a_key_of_another_type_comes_and_goes() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "SET wrong x");
    assert!(err(&mut con, &["PHEAN.RESERVE", "wrong", "TIMEOUT", "100"]).starts_with("WRONGTYPE"));
    let both = ["PHEAN.MRESERVE", "2", "t", "wrong", "TIMEOUT", "100"];
    assert!(err(&mut con, &both).starts_with("WRONGTYPE"));
    let mut first = in_line(&server, &mut con, "t", &[]);
    let mut second = in_line(&server, &mut con, "t", &[]);
    for key in ["SET t x", "LPUSH t x", "XADD t * f v"] {
        run(&mut con, key);
        assert!(err(&mut con, &["PHEAN.PUT", "t", "body"]).starts_with("WRONGTYPE"));
        run(&mut con, "DEL t");
    }
    run(&mut con, "PHEAN.PUT t 1");
    run(&mut con, "PHEAN.PUT t 2");
    assert_eq!((body_of(&first.reply()), body_of(&second.reply())), ("1".into(), "2".into()));
}

#[test]
fn a_flush_leaves_the_line_as_it_is() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.tube-linger 0"]);
    let mut con = server.connect();
    let mut elsewhere = server.connect_db(1);
    let mut workers: Vec<Raw> = (0..4).map(|_| in_line(&server, &mut con, "t", &[])).collect();
    for (number, flush) in ["FLUSHALL", "FLUSHALL ASYNC", "FLUSHDB", "FLUSHDB ASYNC"].iter().enumerate() {
        run(&mut con, "PHEAN.PUT t delayed DELAY 1000");
        run(&mut elsewhere, "PHEAN.PUT other body");
        run(&mut con, flush);
        assert_eq!(counts(&mut con, "t"), [0; 4]);
        let others = stat(&mut elsewhere, "other", "current-jobs-ready");
        assert_eq!(others > 0, flush.starts_with("FLUSHDB"));
        assert_eq!(total_counts(&mut con), [others, 0, 0, 0]);
        assert_eq!(total(&mut con, "current-waiting"), 4 - number as i64);
        run(&mut con, &format!("PHEAN.PUT t {number}"));
        assert_eq!(body_of(&workers[number].reply()), number.to_string());
    }
}

#[test]
fn a_bound_reservation_ends_with_its_connection() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for waits in [false, true] {
        let mut worker = Raw::connect(&server);
        if waits {
            worker.send_cmd(&["PHEAN.RESERVE", "t", "BOUND", "TIMEOUT", "100"]);
            until_waiting(&mut con, "t", 1);
            run(&mut con, "PHEAN.PUT t body");
        } else {
            run(&mut con, "PHEAN.PUT t body");
            worker.send_cmd(&["PHEAN.RESERVE", "t", "BOUND"]);
        }
        let (lease, _, attempt) = job_of(&worker.reply());
        assert_eq!(attempt, 1);
        // The lease works from other connections, too.
        assert_eq!(ok_int(&mut con, &["PHEAN.TOUCH", "t", &lease, "FOR", "1000"]), 1);
        let heir = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
        assert!(!heir.is_over());
        drop(worker);
        let job = reserved(&heir.join().unwrap()).expect("the job is ready at once");
        assert_eq!(job.attempt, 2);
        assert_eq!(job_field(&mut con, "t", job.id, "timeouts").as_deref(), Some("0"));
        assert_eq!(job_field(&mut con, "t", job.id, "releases").as_deref(), Some("0"));
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &lease]), 0);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &job.lease]), 1);
    }
    assert_eq!(stat(&mut con, "t", "job-timeouts"), 0);
}

#[test]
fn a_bound_reservation_follows_its_tube_under_other_names() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let moves: [(&[&str], &str, i64); 5] = [
        (&["RENAME t u"], "u", 0),
        (&["RENAME t u", "RENAME u v"], "v", 0),
        (&["MOVE t 2"], "t", 2),
        (&["SWAPDB 0 1"], "t", 1),
        (&["RENAME t u", "SWAPDB 0 1"], "u", 1),
    ];
    for (moves, tube, db) in moves {
        let mut worker = Raw::connect(&server);
        run(&mut con, "PHEAN.MPUT t 2 a b");
        let reply = worker.ask(&["PHEAN.RESERVE", "t", "BOUND", "COUNT", "2"]);
        assert!(reply.starts_with("*2\r\n*5"), "{reply:?}");
        moves.iter().for_each(|line| drop(run(&mut con, line)));
        let mut there = server.connect_db(db);
        assert_eq!(counts(&mut there, tube), [0, 0, 2, 0]);
        drop(worker);
        eventually(|| counts(&mut there, tube) == [2, 0, 0, 0]);
        assert_eq!(stat(&mut there, tube, "job-timeouts"), 0);
        run(&mut con, "FLUSHALL");
    }
    // A copy's reservations belong to nobody's connection; the original's do.
    let mut worker = Raw::connect(&server);
    run(&mut con, "PHEAN.PUT t a");
    job_of(&worker.ask(&["PHEAN.RESERVE", "t", "BOUND"]));
    run(&mut con, "COPY t u");
    drop(worker);
    eventually(|| counts(&mut con, "t") == [1, 0, 0, 0]);
    assert_eq!(counts(&mut con, "u"), [0, 0, 1, 0]);
}

/// A job that was reserved anew, bound or not, no longer belongs to the connection that had it first.
#[test]
fn a_bound_reservation_that_is_over_binds_no_longer() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = ok_int(&mut con, &["PHEAN.PUT", "t", "body"]);
    let mut first = Raw::connect(&server);
    let (lease, ..) = job_of(&first.ask(&["PHEAN.RESERVE", "t", "BOUND"]));
    assert_eq!(ok_int(&mut con, &["PHEAN.RELEASE", "t", &lease]), 1);
    let job = reserved(&run(&mut con, "PHEAN.RESERVE t")).expect("it is ready");
    let first_id = first.client_id();
    drop(first);
    eventually(|| !text(&run(&mut con, "CLIENT LIST")).contains(&format!("id={first_id} ")));
    // Whatever followed from it has happened by the time that a delayed job is due that was put afterwards.
    run(&mut con, "PHEAN.PUT later body DELAY 0.02");
    eventually_reserved(&mut con, "later");
    assert_eq!(job_field(&mut con, "t", id, "state").as_deref(), Some("reserved"));
    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &job.lease]), 1);
}

#[test]
fn a_lost_connection_obeys_the_retry_settings() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.retry-count 1", "phean.retry-interval 1000"]);
    let mut con = server.connect();
    let id = ok_int(&mut con, &["PHEAN.PUT", "t", "body"]);
    let mut worker = Raw::connect(&server);
    job_of(&worker.ask(&["PHEAN.RESERVE", "t", "BOUND"]));
    drop(worker);
    eventually(|| counts(&mut con, "t") == [0, 1, 0, 0]);
    let mut worker = Raw::connect(&server);
    let (_, _, attempt) = job_of(&worker.ask(&["PHEAN.RESERVEJOB", "t", &id.to_string(), "BOUND"]));
    assert_eq!(attempt, 2);
    drop(worker);
    eventually(|| counts(&mut con, "t") == [0, 0, 0, 1]);
    assert_eq!(stat(&mut con, "t", "job-timeouts"), 0);
}

#[test]
fn bound_is_refused_in_scripts_but_not_in_transactions() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PUT t body");
    let script = "return redis.call('PHEAN.RESERVE', 't', 'BOUND')";
    assert!(err(&mut con, &["EVAL", script, "0"]).starts_with("ERR"));
    let mut worker = Raw::connect(&server);
    worker.ask(&["MULTI"]);
    worker.ask(&["PHEAN.RESERVE", "t", "BOUND"]);
    assert!(worker.ask(&["EXEC"]).starts_with("*1\r\n*5"));
    assert_eq!(counts(&mut con, "t"), [0, 0, 1, 0]);
    drop(worker);
    eventually(|| counts(&mut con, "t") == [1, 0, 0, 0]);
}

#[test]
fn many_bound_reservations_end_together() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut worker = server.connect();
    let mut expected = Vec::new();
    for tube in 0..50 {
        let bodies: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        run(&mut con, &format!("PHEAN.MPUT t{tube} 100 {}", bodies.join(" ")));
        let reply = run(&mut worker, &format!("PHEAN.RESERVE t{tube} COUNT 100 BOUND"));
        assert_eq!(reserved_many(&reply).len(), 100);
        expected.push(bodies);
    }
    assert_eq!(total_counts(&mut con), [0, 0, 5000, 0]);
    drop(worker);
    eventually(|| total_counts(&mut con) == [5000, 0, 0, 0]);
    for (tube, bodies) in expected.iter().enumerate() {
        let jobs = reserved_many(&run(&mut con, &format!("PHEAN.RESERVE t{tube} COUNT 100")));
        let got: Vec<String> = jobs.iter().map(|job| String::from_utf8(job.body.clone()).unwrap()).collect();
        assert_eq!(&got, bodies, "in the order of their ids");
    }
}

#[test]
fn waiting_clients_are_sent_away_when_the_server_becomes_a_replica() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&[]);
    let server = Server::start(&[]);
    let workers: Vec<Blocked> =
        (0..5).map(|_| Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"])).collect();
    server.replica_of(&primary);
    for worker in workers {
        let error = worker.join().unwrap_err();
        assert_eq!(error.code(), Some("UNBLOCKED"), "{error}");
    }
    server.wait_synced(&primary);
    let mut con = server.connect();
    assert_eq!(total(&mut con, "current-waiting"), 0);
    run(&mut primary.connect(), "PHEAN.PUT t body");
    server.wait_synced(&primary);
    assert_eq!(counts(&mut con, "t"), [1, 0, 0, 0]);
    assert!(err(&mut con, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]).starts_with("READONLY"));
    server.promote();
    assert!(reserved(&run(&mut con, "PHEAN.RESERVE t TIMEOUT 100")).is_some());
}

/// The put, the demotion and the bound reservations in one go: nothing is written by a server that is a replica
/// already.
#[test]
fn a_hand_over_at_the_moment_of_demotion_stays_out_of_the_stream() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&[]);
    let server = Server::start(&["appendonly yes"]);
    let mut con = server.connect();
    let mut holder = Raw::connect(&server);
    run(&mut con, "PHEAN.PUT held body");
    job_of(&holder.ask(&["PHEAN.RESERVE", "held", "BOUND"]));
    let worker = in_line(&server, &mut con, "t", &["BOUND"]);
    let port = primary.port().to_string();
    run(&mut con, "MULTI");
    run(&mut con, "PHEAN.PUT t body");
    run(&mut con, &format!("REPLICAOF 127.0.0.1 {port}"));
    run(&mut con, "EXEC");
    drop((worker, holder));
    server.wait_synced(&primary);
    assert_eq!(total_counts(&mut con), [0; 4]);
    assert_eq!(ok_int(&mut con, &["DBSIZE"]), 0);
    run(&mut primary.connect(), "PHEAN.PUT t body");
    server.wait_synced(&primary);
    assert_eq!(total_counts(&mut con), [1, 0, 0, 0]);
}

#[test]
fn those_who_wait_are_counted_per_tube_and_once_in_all() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut raw = Raw::connect(&server);
    raw.send_cmd(&["PHEAN.MRESERVE", "3", "a", "b", "c", "TIMEOUT", "100"]);
    until_waiting(&mut con, "c", 1);
    let _other = in_line(&server, &mut con, "a", &[]);
    assert_eq!(["a", "b", "c", "d"].map(|tube| stat(&mut con, tube, "current-waiting")), [2, 1, 1, 0]);
    assert_eq!(total(&mut con, "current-waiting"), 2);
    assert_eq!(server.info("phean")["phean_current_waiting"], "2");
    // Waiting creates no tube.
    assert_eq!(ok_int(&mut con, &["DBSIZE"]), 0);
    let stats = map(&run(&mut con, "PHEAN.STATS a"));
    assert_eq!(int(&stats["total-jobs"]), 0);
    assert_eq!(array(&run(&mut con, "PHEAN.TUBES")), Vec::new());
}
