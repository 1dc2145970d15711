//! KICK, KICKJOB, PRIORITIZE, DELAY, PAUSE, CLEAR; and how long an idle tube stays.

use crate::harness::{Server, has_module};
use crate::looking::{count, everything, job, job_int, job_seconds, put, stat, state, stats, take, take_ids};
use crate::raw::Raw;
use crate::reply::{array, err, int, reserved, reserved_many, run, seconds, text};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};

/// Puts a job and buries it.
fn bury(con: &mut Connection, tube: &str) -> i64 {
    let id = put(con, &format!("{tube} PRI 0"));
    take(con, &format!("PHEAN.RESERVEJOB {tube} {id}"));
    assert_eq!(count(con, &format!("PHEAN.BURY {tube} {id} PRI 1024")), 1);
    id
}

fn exists(con: &mut Connection, tube: &str) -> bool {
    count(con, &format!("EXISTS {tube}")) == 1
}

#[test]
fn kick_takes_the_oldest_buried_jobs_and_delayed_ones_only_if_none_is_buried() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let late = put(&mut con, "emails DELAY 900");
    let soon = put(&mut con, "emails DELAY 500");
    // Buried in another order than put.
    let ids: Vec<i64> = (0..3).map(|_| put(&mut con, "emails")).collect();
    assert_eq!(take_ids(&mut con, "PHEAN.RESERVE emails COUNT 3"), ids);
    for at in [2, 0, 1] {
        count(&mut con, &format!("PHEAN.BURY emails {} PRI {at}", ids[at]));
    }
    let states = |con: &mut Connection| ids.iter().map(|id| state(con, "emails", *id)).collect::<Vec<_>>();
    assert_eq!(count(&mut con, "PHEAN.KICK emails 0"), 0);
    assert_eq!(count(&mut con, "PHEAN.KICK emails 1"), 1);
    assert_eq!(states(&mut con), ["buried", "buried", "ready"]);
    // Two are buried: no delayed job is taken to make up the number.
    assert_eq!(count(&mut con, "PHEAN.KICK emails 4294967295"), 2);
    assert_eq!(states(&mut con), ["ready", "ready", "ready"]);
    assert_eq!(state(&mut con, "emails", soon), "delayed");
    assert_eq!(count(&mut con, "PHEAN.KICK emails 1"), 1);
    assert_eq!(
        (state(&mut con, "emails", soon), state(&mut con, "emails", late)),
        ("ready".into(), "delayed".into())
    );
    assert_eq!(count(&mut con, "PHEAN.KICK emails 9"), 1);
    assert_eq!(count(&mut con, "PHEAN.KICK emails 9"), 0);
    assert_eq!(count(&mut con, "PHEAN.KICK missing 9"), 0);
    assert!(!exists(&mut con, "missing"));
    assert_eq!(stat(&mut con, "emails", "cmd-kick"), 5);
    for bad in ["-1", "x", "4294967296", "1.5", ""] {
        let range = "ERR count must be an integer from 0 to 4294967295";
        assert_eq!(err(&mut con, &["PHEAN.KICK", "emails", bad]), range);
    }
}

#[test]
fn a_kick_of_many_jobs_kicks_them_all() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let bodies = vec!["x"; 3000].join(" ");
    run(&mut con, &format!("PHEAN.MPUT emails 3000 {bodies} DELAY 1000"));
    assert_eq!(count(&mut con, "PHEAN.KICK emails 2999"), 2999);
    assert_eq!(stat(&mut con, "emails", "current-jobs-ready"), 2999);
    assert_eq!(stat(&mut con, "emails", "current-jobs-delayed"), 1);
}

#[test]
fn kickjob_kicks_buried_and_delayed_jobs_by_id() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let buried = bury(&mut con, "emails");
    let delayed = put(&mut con, "emails DELAY 100");
    let held = put(&mut con, "emails PRI 0");
    take(&mut con, "PHEAN.RESERVE emails");
    let ready = put(&mut con, "emails");
    let line = format!("PHEAN.KICKJOB emails {ready} {held} 999 {delayed} {buried} {buried}");
    assert_eq!(count(&mut con, &line), 2);
    for (id, expected) in [(buried, "ready"), (delayed, "ready"), (ready, "ready"), (held, "reserved")] {
        assert_eq!(state(&mut con, "emails", id), expected);
    }
    assert_eq!(
        (job_int(&mut con, "emails", buried, "kicks"), job_int(&mut con, "emails", ready, "kicks")),
        (1, 0)
    );
    assert_eq!(count(&mut con, "PHEAN.KICKJOB missing 1"), 0);
    assert_eq!(err(&mut con, &["PHEAN.KICKJOB", "emails", "1", "x"]), "ERR invalid job id 'x'");
}

#[test]
fn prioritize_changes_a_job_in_any_state() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let (ready, other) = (put(&mut con, "emails"), put(&mut con, "emails"));
    let delayed = put(&mut con, "emails DELAY 100");
    let buried = bury(&mut con, "emails");
    let held = put(&mut con, "emails PRI 0");
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    for (id, expected) in [(other, "ready"), (delayed, "delayed"), (buried, "buried"), (held, "reserved")] {
        assert_eq!(count(&mut con, &format!("PHEAN.PRIORITIZE emails {id} 7")), 1);
        assert_eq!(
            (state(&mut con, "emails", id).as_str(), job_int(&mut con, "emails", id, "pri")),
            (expected, 7)
        );
    }
    // A held job keeps it when it goes back, and what is ready is reordered at once.
    assert_eq!(count(&mut con, &format!("PHEAN.PRIORITIZE emails {lease} 3")), 1);
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {lease}")), 1);
    assert_eq!(take_ids(&mut con, "PHEAN.RESERVE emails COUNT 9"), [held, other, ready]);
    assert_eq!(count(&mut con, "PHEAN.PRIORITIZE emails 999 7"), 0);
    assert_eq!(count(&mut con, "PHEAN.PRIORITIZE missing 1 7"), 0);
    assert!(!exists(&mut con, "missing"));
    let range = "ERR pri must be an integer from 0 to 4294967295";
    assert_eq!(err(&mut con, &["PHEAN.PRIORITIZE", "emails", "1", "4294967296"]), range);
    assert_eq!(err(&mut con, &["PHEAN.PRIORITIZE", "emails", "1", "-1"]), range);
}

#[test]
fn delay_delays_what_is_not_reserved() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let ready = put(&mut con, "emails");
    let delayed = put(&mut con, "emails DELAY 10");
    let buried = bury(&mut con, "emails");
    for id in [ready, delayed, buried] {
        assert_eq!(count(&mut con, &format!("PHEAN.DELAY emails {id} 500")), 1);
        let found = job(&mut con, "emails", id);
        assert_eq!((text(&found["state"]).as_str(), seconds(&found["delay"])), ("delayed", 500.0));
        assert!((400.0..=500.0).contains(&seconds(&found["time-left"])));
    }
    let held = put(&mut con, "emails PRI 0");
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    for handle in [held.to_string(), lease, "999".to_owned()] {
        assert_eq!(count(&mut con, &format!("PHEAN.DELAY emails {handle} 500")), 0);
    }
    assert_eq!(state(&mut con, "emails", held), "reserved");
    // For no time: it is ready.
    assert_eq!(count(&mut con, &format!("PHEAN.DELAY emails {buried} 0")), 1);
    assert_eq!(state(&mut con, "emails", buried), "ready");
    assert_eq!(count(&mut con, &format!("PHEAN.DELAY emails {delayed} 0.01")), 1);
    eventually(|| state(&mut con, "emails", delayed) == "ready");
    assert_eq!(count(&mut con, "PHEAN.DELAY missing 1 5"), 0);
    assert!(!exists(&mut con, "missing"));
    let range = "ERR seconds must be a number of seconds from 0 to 4294967295";
    assert_eq!(err(&mut con, &["PHEAN.DELAY", "emails", "1", "-5"]), range);
}

#[test]
fn no_reserve_takes_from_a_paused_tube() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    let other = put(&mut con, "sms PRI 4294967295");
    assert_eq!(text(&run(&mut con, "PHEAN.PAUSE emails 500")), "OK");
    let stats = stats(&mut con, "emails");
    assert_eq!((seconds(&stats["pause"]), int(&stats["cmd-pause-tube"])), (500.0, 1));
    assert!((400.0..=500.0).contains(&seconds(&stats["pause-time-left"])));
    for line in ["PHEAN.RESERVE emails", "PHEAN.RESERVE emails COUNT 5", "PHEAN.RESERVE emails TIMEOUT 0.01"]
    {
        assert_eq!(run(&mut con, line), Value::Nil, "{line}");
    }
    assert_eq!(take(&mut con, "PHEAN.MRESERVE 2 emails sms").id, other);
    // What was handed out before can be finished, put and kicked.
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    put(&mut con, "emails PRI 5");
    assert!(!waiter.is_over());
    assert_eq!(state(&mut con, "emails", id), "ready");
    assert_eq!(text(&run(&mut con, "PHEAN.PAUSE emails 0")), "OK");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id + 2);
    assert_eq!(seconds(&crate::looking::stats(&mut con, "emails")["pause"]), 0.0);
    // A pause is over by itself.
    run(&mut con, "PHEAN.PAUSE emails 0.02");
    eventually(|| seconds(&crate::looking::stats(&mut con, "emails")["pause"]) == 0.0);
    assert_eq!(take(&mut con, "PHEAN.RESERVE emails").id, id);
}

#[test]
fn a_pause_creates_the_tube_but_resuming_does_not() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.tube-linger 0"]);
    let mut con = server.connect();
    assert_eq!(text(&run(&mut con, "PHEAN.PAUSE emails 0")), "OK");
    assert!(!exists(&mut con, "emails"));
    assert_eq!(text(&run(&mut con, "PHEAN.PAUSE emails 100")), "OK");
    assert!(exists(&mut con, "emails"));
    assert_eq!(text(&run(&mut con, "PHEAN.PAUSE emails 0")), "OK");
    assert!(!exists(&mut con, "emails"), "nothing is left to remember");
    run(&mut con, "PHEAN.PAUSE emails 0.02");
    eventually(|| !exists(&mut con, "emails"));
    let range = "ERR seconds must be a number of seconds from 0 to 4294967295";
    for bad in ["-1", "nan", "inf", "0x5", "4294967296", "1e99", ""] {
        assert_eq!(err(&mut con, &["PHEAN.PAUSE", "emails", bad]), range, "{bad}");
    }
    run(&mut con, "SET text value");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(err(&mut con, &["PHEAN.PAUSE", "text", "0"]), wrong);
    assert_eq!(err(&mut con, &["PHEAN.PAUSE", "text", "5"]), wrong);
}

#[test]
fn clear_deletes_the_jobs_in_the_states_named() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let fill = |con: &mut Connection| {
        run(con, "DEL emails");
        bury(con, "emails");
        let held = put(con, "emails PRI 0");
        let lease = take(con, "PHEAN.RESERVE emails").lease;
        put(con, "emails DELAY 100");
        put(con, "emails DELAY 200");
        for _ in 0..3 {
            put(con, "emails");
        }
        (held, lease)
    };
    let left = |con: &mut Connection| {
        let stats = stats(con, "emails");
        ["ready", "delayed", "buried", "reserved"].map(|state| int(&stats[&format!("current-jobs-{state}")]))
    };
    for (states, cleared, after) in [
        ("", 6, [0, 0, 0, 1]),
        ("READY", 3, [0, 2, 1, 1]),
        ("delayed", 2, [3, 0, 1, 1]),
        ("Buried", 1, [3, 2, 0, 1]),
        ("RESERVED", 1, [3, 2, 1, 0]),
        ("reserved READY", 4, [0, 2, 1, 0]),
        ("READY DELAYED BURIED RESERVED", 7, [0, 0, 0, 0]),
    ] {
        let (held, lease) = fill(&mut con);
        let line = format!("PHEAN.CLEAR emails {states}");
        assert_eq!(count(&mut con, &line), cleared, "{states}");
        assert_eq!(left(&mut con), after, "{states}");
        assert_eq!(count(&mut con, &line), 0, "{states}");
        let works = i64::from(after[3] == 1);
        assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {lease}")), works);
        assert_eq!(count(&mut con, &format!("PHEAN.DELETE emails {held}")), works);
    }
    assert_eq!(count(&mut con, "PHEAN.CLEAR missing"), 0);
    assert!(!exists(&mut con, "missing"));
    let before = everything(&mut con);
    let error = err(&mut con, &["PHEAN.CLEAR", "emails", "READY", "FOO"]);
    assert_eq!(error, "ERR syntax error, unexpected 'FOO'");
    let error = err(&mut con, &["PHEAN.CLEAR", "emails", "READY", "ready"]);
    assert_eq!(error, "ERR syntax error, unexpected 'ready'");
    assert_eq!(everything(&mut con), before);
}

#[test]
fn a_big_tube_is_cleared() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let bodies = vec!["x"; 20_000].join(" ");
    run(&mut con, &format!("PHEAN.MPUT emails 20000 {bodies}"));
    let held = reserved_many(&run(&mut con, "PHEAN.RESERVE emails COUNT 3"));
    assert_eq!(count(&mut con, "PHEAN.CLEAR emails"), 19_997);
    assert_eq!(stat(&mut con, "emails", "current-jobs-reserved"), 3);
    for job in held {
        assert_eq!(count(&mut con, &format!("PHEAN.DELETE emails {}", job.lease)), 1);
    }
    assert!(exists(&mut con, "emails"));
    assert!(stat(&mut con, "emails", "memory") < 10_000, "the memory is given back");
}

#[test]
fn an_idle_tube_is_removed_at_once_without_linger() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.tube-linger 0"]);
    let mut con = server.connect();
    for steps in [
        "PHEAN.PUT emails x|PHEAN.RESERVE emails|PHEAN.CLEAR emails RESERVED",
        "PHEAN.PUT emails x|PHEAN.CLEAR emails",
        "PHEAN.PUT emails x PRI 1|PHEAN.RELEASE emails 1 2 3 4 5 6 7|PHEAN.DELETE emails 1 2 3 4 5 6 7",
        "PHEAN.PAUSE emails 5|PHEAN.PAUSE emails 0",
    ] {
        let steps: Vec<&str> = steps.split('|').collect();
        for step in &steps[..steps.len() - 1] {
            run(&mut con, step);
            assert!(exists(&mut con, "emails"), "{step}");
        }
        run(&mut con, steps[steps.len() - 1]);
        assert!(!exists(&mut con, "emails"), "{steps:?}");
    }
    assert!(array(&run(&mut con, "PHEAN.TUBES")).is_empty());
    // Ids go on, and waiting too.
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    let id = put(&mut con, "emails");
    assert!(id > 3);
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    count(&mut con, &format!("PHEAN.DELETE emails {id}"));
    assert!(!exists(&mut con, "emails"));
    let id = put(&mut con, "emails");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
}

#[test]
fn an_idle_tube_is_removed_when_its_linger_is_over_and_not_before() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "idle");
    count(&mut con, "PHEAN.CLEAR idle");
    put(&mut con, "busy");
    put(&mut con, "delayed DELAY 100");
    run(&mut con, "PHEAN.PAUSE paused 100");
    assert_eq!(stat(&mut con, "idle", "total-jobs"), 1, "its counters outlast its jobs");
    // Shortening the linger counts for tubes that are idle already.
    run(&mut con, "CONFIG SET phean.tube-linger 0.05");
    eventually(|| !exists(&mut con, "idle"));
    assert_eq!(stat(&mut con, "idle", "total-jobs"), 0);
    for tube in ["busy", "delayed", "paused"] {
        assert!(exists(&mut con, tube), "{tube}");
    }
    count(&mut con, "PHEAN.CLEAR delayed");
    eventually(|| !exists(&mut con, "delayed"));
    run(&mut con, "PHEAN.PAUSE paused 0");
    eventually(|| !exists(&mut con, "paused"));
    take(&mut con, "PHEAN.RESERVE busy TTR 0.1");
    eventually(|| state(&mut con, "busy", 2) == "ready");
    run(&mut con, "CONFIG SET phean.tube-linger 3600");
    run(&mut con, "PHEAN.CLEAR busy");
    assert!(exists(&mut con, "busy"));
}

#[test]
fn operators_answer_plainly() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut raw = Raw::connect(&server);
    for version in ["2", "3"] {
        raw.ask(&["HELLO", version]);
        assert_eq!(raw.ask(&["PHEAN.PAUSE", "emails", "1e2"]), "+OK\r\n");
        assert_eq!(raw.ask(&["PHEAN.KICK", "emails", "5"]), ":0\r\n");
        assert_eq!(raw.ask(&["PHEAN.KICKJOB", "emails", "5", "6"]), ":0\r\n");
        assert_eq!(raw.ask(&["PHEAN.PRIORITIZE", "emails", "5", "0"]), ":0\r\n");
        assert_eq!(raw.ask(&["PHEAN.DELAY", "emails", "5", ".5"]), ":0\r\n");
        assert_eq!(raw.ask(&["PHEAN.CLEAR", "emails"]), ":0\r\n");
    }
    // A job's delay outlasts the promotion, as PHEAN.JOB shows it.
    let mut con = server.connect();
    let id = put(&mut con, "sms DELAY 100");
    count(&mut con, &format!("PHEAN.KICKJOB sms {id}"));
    assert_eq!(job_seconds(&mut con, "sms", id, "delay"), 100.0);
}
