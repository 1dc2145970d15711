//! What happens by itself: delayed jobs, reservations and pauses whose time is over, idle tubes. Never early, and
//! at some time: how late is for a benchmark to say.

use crate::beanstalk_talk::{ON, Talk};
use crate::dataset::{counts, job_field, stat, total, total_counts, tubes};
use crate::harness::{Server, has_module};
use crate::raw::Raw;
use crate::reply::{Reserved, array, cmd, ok_int, reserved, reserved_many, run};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};
use std::time::{Duration, Instant};

/// What the work answers, which may not come earlier than so many milliseconds after its beginning.
#[track_caller]
fn not_before<T>(ms: u64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = work();
    assert!(start.elapsed() >= Duration::from_millis(ms), "after {:?} already", start.elapsed());
    answer
}

#[track_caller]
fn wait_for_job(con: &mut Connection, tube: &str) -> Reserved {
    reserved(&run(con, &format!("PHEAN.RESERVE {tube} TIMEOUT 15"))).expect("it is due by and by")
}

/// Sends commands in one transaction, so that no deadline passes in between on a slow machine.
#[track_caller]
fn in_one(con: &mut Connection, lines: &[&str]) -> Vec<Value> {
    run(con, "MULTI");
    lines.iter().for_each(|line| drop(run(con, line)));
    array(&run(con, "EXEC"))
}

/// Times are whole milliseconds, but nothing is over by a part of one too early: neither for who waits nor for who asks
/// again and again.
#[test]
fn nothing_ends_early() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    let mut bean = Talk::new(&server);
    let again_and_again = |con: &mut Connection| while run(con, "PHEAN.RESERVE t") == Value::Nil {};
    for waits in [true, false].repeat(25) {
        let get = |con: &mut Connection| {
            if waits {
                drop(wait_for_job(con, "t"))
            } else {
                again_and_again(con)
            }
            run(con, "DEL t");
        };
        not_before(7, || {
            run(&mut con, "PHEAN.PUT t x DELAY 0.007");
            get(&mut con);
        });
        run(&mut con, "PHEAN.PUT t x TTR 0.007");
        not_before(7, || {
            run(&mut con, "PHEAN.RESERVE t");
            get(&mut con);
        });
        run(&mut con, "PHEAN.PUT t x");
        not_before(7, || {
            run(&mut con, "PHEAN.PAUSE t 0.007");
            get(&mut con);
        });
        not_before(7, || assert_eq!(run(&mut con, "PHEAN.RESERVE t TIMEOUT 0.007"), Value::Nil));
    }
    not_before(1_000, || assert_eq!(bean.ask("reserve-with-timeout 1"), "TIMED_OUT"));
}

#[test]
fn a_delayed_job_serves_a_waiting_worker_when_it_is_due() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let job = not_before(120, || {
        run(&mut con, "PHEAN.PUT t body DELAY 0.12");
        wait_for_job(&mut con, "t")
    });
    assert_eq!(job.attempt, 1);
    not_before(70, || {
        assert_eq!(ok_int(&mut con, &["PHEAN.RELEASE", "t", &job.lease, "DELAY", "0.07"]), 1);
        assert_eq!(wait_for_job(&mut con, "t").attempt, 2);
    });
    // An earlier one moves the timer forward, also behind one that is far off, and in another tube.
    not_before(30, || {
        run(&mut con, "PHEAN.PUT t body DELAY 1000");
        run(&mut con, "PHEAN.PUT u body DELAY 0.03");
        wait_for_job(&mut con, "u")
    });
    // One that is delayed anew is not given at the old time.
    not_before(90, || {
        let id = ok_int(&mut con, &["PHEAN.PUT", "v", "body", "DELAY", "0.02"]);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELAY", "v", &id.to_string(), "0.09"]), 1);
        wait_for_job(&mut con, "v")
    });
}

#[test]
fn a_reservation_that_is_over_serves_a_waiting_worker() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PUT t body TTR 0.08");
    let (first, second) = not_before(80, || {
        let first = reserved(&run(&mut con, "PHEAN.RESERVE t")).unwrap();
        (first, wait_for_job(&mut con, "t"))
    });
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "t", &first.lease]), 0);
    assert_eq!(stat(&mut con, "t", "job-timeouts"), 1);
    // A reservation with a TTR of its own, and one that is touched.
    eventually(|| counts(&mut con, "t") == [1, 0, 0, 0]);
    not_before(150, || {
        in_one(&mut con, &["PHEAN.RESERVE t TTR 0.1", "PHEAN.TOUCH t 1 FOR 0.15"]);
        wait_for_job(&mut con, "t")
    });
}

#[test]
fn a_pause_that_ends_serves_those_who_wait() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let workers: Vec<Blocked> = not_before(100, || {
        run(&mut con, "PHEAN.PAUSE t 0.1");
        run(&mut con, "PHEAN.MPUT t 3 a b c");
        let workers = (0..3).map(|_| Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "15"]));
        let workers: Vec<Blocked> = workers.collect();
        eventually(|| workers.iter().all(Blocked::is_over));
        workers
    });
    for worker in workers {
        assert!(reserved(&worker.join().unwrap()).is_some());
    }
    // A longer pause in place of a shorter one, and the end of one by command.
    run(&mut con, "PHEAN.PUT t d");
    not_before(90, || {
        run(&mut con, "PHEAN.PAUSE t 0.02");
        run(&mut con, "PHEAN.PAUSE t 0.09");
        wait_for_job(&mut con, "t")
    });
    run(&mut con, "PHEAN.PAUSE t 1000");
    run(&mut con, "PHEAN.PUT t e");
    assert_eq!(run(&mut con, "PHEAN.RESERVE t TIMEOUT 0.01"), Value::Nil);
    run(&mut con, "PHEAN.PAUSE t 0");
    assert!(reserved(&run(&mut con, "PHEAN.RESERVE t")).is_some());
}

#[test]
fn an_idle_tube_goes_and_a_used_one_stays() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.tube-linger 0.05"]);
    let mut con = server.connect();
    not_before(50, || {
        run(&mut con, "PHEAN.PUT idle body");
        run(&mut con, "PHEAN.CLEAR idle");
        run(&mut con, "PHEAN.PUT buried body");
        let job = reserved(&run(&mut con, "PHEAN.RESERVE buried")).unwrap();
        run(&mut con, &format!("PHEAN.BURY buried {}", job.lease));
        run(&mut con, "PHEAN.PAUSE paused 1000");
        eventually(|| ok_int(&mut con, &["EXISTS", "idle"]) == 0);
    });
    assert_eq!(tubes(&mut con), ["buried", "paused"]);
    assert_eq!(total(&mut con, "current-tubes"), 2);
    // A pause that ends leaves an idle tube behind.
    run(&mut con, "PHEAN.PAUSE paused 0.01");
    eventually(|| tubes(&mut con) == ["buried"]);
    // One that somebody waits on stays, so that its counters do.
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "wanted", "TIMEOUT", "100"]);
    run(&mut con, "PHEAN.PUT wanted body");
    let job = reserved(&worker.join().unwrap()).unwrap();
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "wanted", "TIMEOUT", "100"]);
    assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "wanted", &job.lease]), 1);
    // By now it would have gone: another one that was idle later has.
    run(&mut con, "PHEAN.PUT later body");
    run(&mut con, "PHEAN.CLEAR later");
    eventually(|| ok_int(&mut con, &["EXISTS", "later"]) == 0);
    assert_eq!(stat(&mut con, "wanted", "cmd-delete"), 1);
    assert_eq!(ok_int(&mut con, &["CLIENT", "UNBLOCK", &worker.client_id().to_string()]), 1);
    assert_eq!(worker.join().unwrap(), Value::Nil);
    eventually(|| ok_int(&mut con, &["EXISTS", "wanted"]) == 0);
    // At once, if that is what the setting says; also those that are idle already.
    run(&mut con, "CONFIG SET phean.tube-linger 1000");
    run(&mut con, "PHEAN.PUT old body");
    run(&mut con, "PHEAN.CLEAR old");
    run(&mut con, "CONFIG SET phean.tube-linger 0");
    eventually(|| tubes(&mut con) == ["buried"]);
    run(&mut con, "PHEAN.PUT new body");
    run(&mut con, "PHEAN.CLEAR new");
    assert_eq!(ok_int(&mut con, &["EXISTS", "new"]), 0);
    assert_eq!(total(&mut con, "current-tubes"), 1);
}

/// Writing from a timer while clients are paused aborts the server: the module has to wait with it.
#[test]
fn what_comes_due_while_clients_are_paused_happens_after() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["appendonly yes", "phean.tube-linger 0.02"]);
    let mut con = server.connect();
    for how in ["WRITE", "ALL"] {
        let reserve_timeout = ["PHEAN.RESERVE", "nothing", "TIMEOUT", "0.05"];
        run(&mut con, "PHEAN.PUT delayed body DELAY 0.05");
        run(&mut con, "PHEAN.PUT held body TTR 0.05");
        run(&mut con, "PHEAN.RESERVE held");
        run(&mut con, "PHEAN.PUT paused body");
        run(&mut con, "PHEAN.PAUSE paused 0.05");
        run(&mut con, "PHEAN.PUT idle body");
        run(&mut con, "PHEAN.CLEAR idle");
        let gone = Blocked::start(&server, &reserve_timeout);
        let served = Blocked::start(&server, &["PHEAN.RESERVE", "served", "TIMEOUT", "100"]);
        run(&mut con, "PHEAN.PUT served body DELAY 0.05");
        let mut bound = Raw::connect(&server);
        run(&mut con, "PHEAN.PUT bound body TTR 1000");
        assert!(bound.ask(&["PHEAN.RESERVE", "bound", "BOUND"]).starts_with("*5"));
        let mut waiting: Vec<Raw> = ["delayed", "held", "paused", "bound"]
            .iter()
            .map(|tube| {
                let mut raw = Raw::connect(&server);
                raw.send_cmd(&["CLIENT", "SETNAME", tube]);
                raw.reply();
                raw
            })
            .collect();
        not_before(200, || {
            run(&mut con, &format!("CLIENT PAUSE 200 {how}"));
            drop(bound);
            // Sent while paused, answered when the pause is over: whatever is due by then can be had at once.
            for (raw, tube) in waiting.iter_mut().zip(["delayed", "held", "paused", "bound"]) {
                raw.send_cmd(&["PHEAN.RESERVE", tube]);
            }
            for (raw, tube) in waiting.iter_mut().zip(["delayed", "held", "paused"]) {
                assert!(raw.reply().starts_with("*5"), "{tube}");
            }
        });
        // A closed connection is no deadline: the job comes back with the next tick.
        if waiting[3].reply().starts_with("*-1") {
            wait_for_job(&mut con, "bound");
        }
        assert_eq!(gone.join().unwrap(), Value::Nil);
        assert!(reserved(&served.join().unwrap()).is_some());
        eventually(|| ok_int(&mut con, &["EXISTS", "idle"]) == 0);
        run(&mut con, "FLUSHALL");
    }
}

/// A timer cannot fire while the server is busy. The very next command sees what is due all the same.
#[test]
fn what_comes_due_while_the_server_is_busy_can_be_had_at_once() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let busy = "local function us() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
        local start = us()
        while us() - start < 60000 do end";
    for busy in [&["DEBUG", "SLEEP", "0.06"][..], &["EVAL", busy, "0"]] {
        run(&mut con, "PHEAN.PUT held body TTR 0.03");
        for reserve in ["PHEAN.RESERVE held", "PHEAN.MRESERVE 2 delayed held COUNT 2"] {
            run(&mut con, "PHEAN.RESERVE held TTR 0.03");
            run(&mut con, "PHEAN.PUT delayed body DELAY 0.03");
            run(&mut con, "PHEAN.PUT paused body");
            run(&mut con, "PHEAN.PAUSE paused 0.03");
            let mut raw = Raw::connect(&server);
            let mut bytes = Vec::new();
            let reserve: Vec<&str> = reserve.split(' ').collect();
            for args in [busy, &reserve, &["PHEAN.RESERVE", "paused"], &["PHEAN.RESERVE", "delayed"]] {
                let mut command = redis::Cmd::new();
                args.iter().for_each(|arg| {
                    command.arg(*arg);
                });
                bytes.extend(command.get_packed_command());
            }
            raw.send(bytes);
            raw.reply();
            let many = reserve[0] == "PHEAN.MRESERVE";
            assert!(raw.reply().starts_with(if many { "*2\r\n*5" } else { "*5" }));
            assert!(raw.reply().starts_with("*5"), "the pause is over");
            assert!(raw.reply().starts_with(if many { "*-1" } else { "*5" }));
            run(&mut con, "DEL delayed paused");
            run(&mut con, "PHEAN.RELEASE held 1");
        }
        run(&mut con, "FLUSHALL");
    }
    // An old lease is refused as soon as its time is over, whether a timer fired or not.
    run(&mut con, "PHEAN.PUT t body TTR 0.02");
    let job = reserved(&run(&mut con, "PHEAN.RESERVE t")).unwrap();
    run(&mut con, "MULTI");
    run(&mut con, "DEBUG SLEEP 0.03");
    for verb in ["TOUCH", "RELEASE", "BURY", "DELETE"] {
        cmd(&mut con, &[&format!("PHEAN.{verb}"), "t", &job.lease]).unwrap();
    }
    let Value::Array(answers) = run(&mut con, "EXEC") else { panic!("an array") };
    assert_eq!(answers[1..], [Value::Int(0), Value::Int(0), Value::Int(0), Value::Int(0)]);
}

/// In slices, so that nobody waits for all of them, and in the order of their ids all the same.
#[test]
fn ten_thousand_jobs_due_at_once_come_in_order() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let bodies = vec!["body"; 1000].join(" ");
    for how in ["delayed", "reserved", "paused"] {
        run(&mut con, "FLUSHALL");
        run(&mut con, "MULTI");
        for _ in 0..10 {
            let delay = if how == "delayed" { "DELAY 0.1" } else { "" };
            run(&mut con, &format!("PHEAN.MPUT t 1000 {bodies} TTR 0.1 {delay}"));
        }
        match how {
            "reserved" => drop(run(&mut con, "PHEAN.RESERVE t COUNT 10000")),
            "paused" => drop(run(&mut con, "PHEAN.PAUSE t 0.1")),
            _ => {}
        }
        run(&mut con, "EXEC");
        // A worker that takes what there is while the slices come.
        let mut last = 0;
        let mut taken = 0;
        while taken < 10_000 {
            let reply = run(&mut con, "PHEAN.RESERVE t COUNT 700 TTR 1000 TIMEOUT 15");
            let jobs = reserved_many(&reply);
            assert!(!jobs.is_empty(), "{taken} of 10,000 came");
            for job in jobs {
                assert!(job.id > last, "{} came after {last} ({how})", job.id);
                last = job.id;
                taken += 1;
            }
        }
        assert_eq!(counts(&mut con, "t"), [0, 0, 10_000, 0]);
        let timeouts = if how == "reserved" { 10_000 } else { 0 };
        assert_eq!(stat(&mut con, "t", "job-timeouts"), timeouts);
    }
    // And without anybody who asks.
    run(&mut con, "FLUSHALL");
    for _ in 0..10 {
        run(&mut con, &format!("PHEAN.MPUT t 1000 {bodies} DELAY 0.05"));
    }
    eventually(|| total_counts(&mut con) == [10_000, 0, 0, 0]);
}

/// More tubes than one tick looks at.
#[test]
fn a_thousand_tubes_due_at_once_all_have_their_turn() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.tube-linger 0.1"]);
    let mut con = server.connect();
    let mut workers: Vec<Raw> = Vec::new();
    run(&mut con, "MULTI");
    for number in 0..1000 {
        run(&mut con, &format!("PHEAN.PUT t{number} body DELAY 0.05"));
    }
    run(&mut con, "EXEC");
    for number in (0..1000).step_by(50) {
        let mut raw = Raw::connect(&server);
        raw.send_cmd(&["PHEAN.RESERVE", &format!("t{number}"), "TIMEOUT", "100", "TTR", "1000"]);
        workers.push(raw);
    }
    for worker in &mut workers {
        assert!(worker.reply().starts_with("*5"));
    }
    eventually(|| total_counts(&mut con) == [980, 0, 20, 0]);
    for number in 0..1000 {
        run(&mut con, &format!("PHEAN.CLEAR t{number} READY RESERVED"));
    }
    eventually(|| ok_int(&mut con, &["DBSIZE"]) == 0);
    assert_eq!(total(&mut con, "current-tubes"), 0);
}

/// Many waits that end at about the same time, among jobs that come due at about the same time.
#[test]
fn waits_and_jobs_that_end_together_are_all_accounted_for() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut workers: Vec<Raw> = (0..60)
        .map(|number| {
            let mut raw = Raw::connect(&server);
            raw.send_cmd(&[
                "PHEAN.RESERVE",
                "t",
                "TTR",
                "1000",
                "TIMEOUT",
                &format!("0.{}", 300 + number % 3),
            ]);
            raw
        })
        .collect();
    run(&mut con, "PHEAN.PAUSE t 0.2");
    for number in 0..30 {
        run(&mut con, &format!("PHEAN.PUT t body DELAY 0.{}", 195 + number % 10));
    }
    let replies: Vec<String> = workers.iter_mut().map(Raw::reply).collect();
    let served = replies.iter().filter(|reply| reply.starts_with("*5")).count();
    assert!(replies.iter().all(|reply| reply.starts_with("*5") || reply == "*-1\r\n"));
    eventually(|| counts(&mut con, "t") == [30 - served as i64, 0, served as i64, 0]);
    let first = reserved(&run(&mut con, "PHEAN.RESERVE t"));
    assert!(first.is_none_or(|job| job.attempt == 1), "what nobody was told of was not tried");
    assert_eq!(total(&mut con, "current-waiting"), 0);
}

/// A job's time to run that is over while it is delayed, buried or kicked is nobody's.
#[test]
fn only_what_is_still_reserved_times_out() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.MPUT t 4 a b c d");
    let deeds = [
        "PHEAN.RESERVE t COUNT 4",
        "PHEAN.TOUCH t 1 2 3 4 FOR 0.3",
        "PHEAN.BURY t 1",
        "PHEAN.RELEASE t 2 DELAY 1000",
        "PHEAN.DELETE t 3",
        "PHEAN.PUT clock body DELAY 0.6",
    ];
    in_one(&mut con, &deeds);
    eventually(|| stat(&mut con, "t", "job-timeouts") == 1);
    wait_for_job(&mut con, "clock");
    assert_eq!((counts(&mut con, "t"), stat(&mut con, "t", "job-timeouts")), ([1, 1, 0, 1], 1));
    assert_eq!(job_field(&mut con, "t", 4, "timeouts").as_deref(), Some("1"));
}

#[test]
fn a_timer_that_is_hours_away_lets_the_server_sleep() {
    if !has_module() {
        return;
    }
    // Redis counts the time until a module's next timer in microseconds of 32 bits, once another timer has fired: with
    // hours left it did not sleep any more, and used a whole processor to do nothing.
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PUT far x DELAY 7200");
    run(&mut con, "PHEAN.PUT near x DELAY 0.05");
    wait_for_job(&mut con, "near");
    let cpu = || -> u64 {
        let times = std::fs::read_to_string(format!("/proc/{}/schedstat", server.pid())).expect("it runs");
        times.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("a number")
    };
    let (start, before) = (Instant::now(), cpu());
    std::thread::sleep(Duration::from_secs(1));
    let (used, passed) = (Duration::from_nanos(cpu() - before), start.elapsed());
    assert!(used < passed / 20, "{used:?} of processor time in {passed:?} of doing nothing");
}
