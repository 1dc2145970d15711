//! PHEAN.PUT and PHEAN.MPUT.

use crate::harness::{Server, has_module};
use crate::looking::{count, everything, job, job_int, job_seconds, put, stat, state, stats, take, take_ids};
use crate::raw::Raw;
use crate::reply::{array, bytes, cmd, err, int, ok_int, reserved, run, seconds, text};
use crate::waiting::{Blocked, eventually};
use redis::Value;

const MOST: &str = "4294967295";

#[test]
fn a_job_put_without_options_has_the_defaults() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    for mut con in [server.connect(), server.connect_resp3()] {
        let id = ok_int(&mut con, &["PHEAN.PUT", "emails", "hello"]);
        let job = job(&mut con, "emails", id);
        assert_eq!(
            (int(&job["id"]), text(&job["tube"]), text(&job["state"])),
            (id, "emails".into(), "ready".into())
        );
        assert_eq!((int(&job["pri"]), int(&job["size"]), int(&job["attempt"])), (1024, 5, 0));
        assert_eq!(
            (seconds(&job["delay"]), seconds(&job["ttr"]), seconds(&job["time-left"])),
            (0.0, 60.0, 0.0)
        );
        for counter in ["reserves", "timeouts", "releases", "buries", "kicks"] {
            assert_eq!(int(&job[counter]), 0, "{counter}");
        }
        assert!(!job.contains_key("worker") && !job.contains_key("held-for"), "{job:?}");
        assert!(seconds(&job["age"]) >= 0.0);
        assert!(seconds(&job["created"]) > 1.7e9);
    }
}

#[test]
fn options_come_in_any_order_and_case() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for line in ["pri 7 delay 100 ttr 9", "TTR 9 PRI 7 DELAY 100", "Delay 1e2 tTr 9.0 pRi 7"] {
        let id = put(&mut con, &format!("emails {line}"));
        let job = job(&mut con, "emails", id);
        assert_eq!((int(&job["pri"]), text(&job["state"])), (7, "delayed".to_owned()), "{line}");
        assert_eq!((seconds(&job["delay"]), seconds(&job["ttr"])), (100.0, 9.0), "{line}");
        assert!(seconds(&job["time-left"]) > 0.0 && seconds(&job["time-left"]) <= 100.0);
    }
}

#[test]
fn the_limits_of_each_option_are_taken() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, &format!("emails PRI {MOST} DELAY {MOST} TTR {MOST}"));
    let found = job(&mut con, "emails", id);
    assert_eq!(int(&found["pri"]), 4_294_967_295);
    assert_eq!((seconds(&found["delay"]), seconds(&found["ttr"])), (4_294_967_295.0, 4_294_967_295.0));
    let id = put(&mut con, "emails PRI 0 DELAY 0 TTR 0.001");
    let found = job(&mut con, "emails", id);
    assert_eq!((int(&found["pri"]), text(&found["state"])), (0, "ready".to_owned()));
    assert_eq!(seconds(&found["ttr"]), 0.001);
    // What is finer than a millisecond is rounded up, also as clients print it.
    let id = put(&mut con, "emails DELAY 4.0E-5 TTR 0.0000001");
    assert_eq!(
        (job_seconds(&mut con, "emails", id, "delay"), job_seconds(&mut con, "emails", id, "ttr")),
        (0.001, 0.001)
    );
}

#[test]
fn ids_begin_at_1_and_grow_over_tubes_databases_and_deletions() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    assert_eq!(put(&mut con, "a"), 1);
    assert_eq!(put(&mut con, "b"), 2);
    assert_eq!(put(&mut server.connect_db(3), "a"), 3);
    run(&mut con, "DEL a b");
    assert_eq!(put(&mut con, "a"), 4);
    assert_eq!(count(&mut con, "PHEAN.DELETE a 4"), 1);
    assert_eq!(put(&mut con, "a"), 5);
    run(&mut con, "FLUSHALL");
    assert_eq!(put(&mut con, "a"), 6);
    run(&mut con, "RENAME a c");
    assert_eq!(put(&mut con, "a"), 7);
}

#[test]
fn a_body_is_any_bytes() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let all: Vec<u8> = (0..=255).collect();
    let longest = vec![b'x'; 65_535];
    let bodies: [&[u8]; 6] = [b"", b"\0", b"PRI", b"%s%n\r\n", &all, &longest];
    for body in bodies {
        ok_int(&mut con, &[b"PHEAN.PUT".as_slice(), b"emails", body]);
        let job = take(&mut con, "PHEAN.RESERVE emails");
        assert_eq!(job.body, body);
        assert_eq!(job_int(&mut con, "emails", job.id, "size"), body.len() as i64);
    }
    let mput = [&[b"PHEAN.MPUT".as_slice(), b"emails", b"6"], bodies.as_slice()].concat();
    let ids = array(&cmd(&mut con, &mput).unwrap());
    for (id, body) in ids.iter().zip(bodies) {
        let found = array(&run(&mut con, &format!("PHEAN.PEEK emails {}", int(id))));
        assert_eq!(bytes(&found[1]), body);
    }
}

#[test]
fn a_tubes_name_is_any_bytes() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let huge = vec![b'n'; 1 << 20];
    for name in [b"".as_slice(), b"\0", b"a b", b"%s%n", b"\xff\xfe", b"{tag}x", &huge] {
        let id = ok_int(&mut con, &[b"PHEAN.PUT".as_slice(), name, b"body"]);
        let found = reserved(&cmd(&mut con, &[b"PHEAN.RESERVE".as_slice(), name]).unwrap()).unwrap();
        assert_eq!((found.tube.as_slice(), found.id), (name, id));
        let lease = found.lease.as_bytes();
        assert_eq!(ok_int(&mut con, &[b"PHEAN.DELETE".as_slice(), name, lease]), 1);
    }
    assert_eq!(array(&run(&mut con, "PHEAN.TUBES")).len(), 7);
}

#[test]
fn put_answers_an_integer_and_mput_an_array_of_them() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut raw = Raw::connect(&server);
    for (id, version) in [(1, "2"), (5, "3")] {
        raw.ask(&["HELLO", version]);
        assert_eq!(raw.ask(&["PHEAN.PUT", "emails", "x"]), format!(":{id}\r\n"));
        let three = format!("*3\r\n:{}\r\n:{}\r\n:{}\r\n", id + 1, id + 2, id + 3);
        assert_eq!(raw.ask(&["PHEAN.MPUT", "emails", "3", "x", "y", "z"]), three);
    }
}

#[test]
fn mput_gives_every_job_the_options() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    // Bodies that look like keywords are bodies: numjobs says how many there are.
    let ids = array(&run(&mut con, "PHEAN.MPUT emails 3 PRI DELAY 5 TTR 9 PRI 3 DELAY 50"));
    assert_eq!(ids.len(), 3);
    for (id, body) in ids.iter().zip(["PRI", "DELAY", "5"]) {
        let id = int(id);
        let job = job(&mut con, "emails", id);
        assert_eq!((int(&job["pri"]), text(&job["state"])), (3, "delayed".to_owned()));
        assert_eq!((seconds(&job["delay"]), seconds(&job["ttr"])), (50.0, 9.0));
        let peeked = array(&run(&mut con, &format!("PHEAN.PEEK emails {id}")));
        assert_eq!(bytes(&peeked[1]), body.as_bytes());
    }
    assert_eq!(stat(&mut con, "emails", "cmd-put"), 3);
    assert_eq!(stat(&mut con, "emails", "total-jobs"), 3);
}

#[test]
fn mput_puts_all_or_none() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.max-job-size 5"]);
    let mut con = server.connect();
    let before = everything(&mut con);
    let toobig = "TOOBIG job body of 6 bytes exceeds phean.max-job-size (5)";
    assert_eq!(err(&mut con, &["PHEAN.MPUT", "emails", "3", "short", "short", "longer"]), toobig);
    let leftover = "ERR syntax error, unexpected 'short'";
    assert_eq!(err(&mut con, &["PHEAN.MPUT", "emails", "1", "short", "short"]), leftover);
    let arity = "ERR wrong number of arguments for 'phean.mput' command";
    assert_eq!(err(&mut con, &["PHEAN.MPUT", "emails", "3", "short", "short"]), arity);
    assert_eq!(err(&mut con, &["PHEAN.MPUT", "emails", MOST, "short"]), arity);
    let range = "ERR numjobs must be an integer from 1 to 4294967295";
    for count in ["0", "-1", "x", "", "4294967296", "1.0", "01", "18446744073709551616"] {
        assert_eq!(err(&mut con, &["PHEAN.MPUT", "emails", count, "short"]), range, "{count}");
    }
    assert_eq!(everything(&mut con), before);
    assert_eq!(text(&run(&mut con, "TYPE emails")), "none");
    assert_eq!(put(&mut con, "emails"), 1);
}

#[test]
fn the_largest_body_is_a_setting() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let (limit, over) = ("x".repeat(65_535), "x".repeat(65_536));
    ok_int(&mut con, &["PHEAN.PUT", "emails", &limit]);
    let toobig = "TOOBIG job body of 65536 bytes exceeds phean.max-job-size (65535)";
    assert_eq!(err(&mut con, &["PHEAN.PUT", "emails", &over]), toobig);
    run(&mut con, "CONFIG SET phean.max-job-size 64kb");
    ok_int(&mut con, &["PHEAN.PUT", "emails", &over]);
    run(&mut con, "CONFIG SET phean.max-job-size 0");
    ok_int(&mut con, &["PHEAN.PUT", "emails", ""]);
    let toobig = "TOOBIG job body of 1 bytes exceeds phean.max-job-size (0)";
    assert_eq!(err(&mut con, &["PHEAN.PUT", "emails", "x"]), toobig);
    // What is there stays.
    assert_eq!(take_ids(&mut con, "PHEAN.RESERVE emails COUNT 9"), [1, 2, 3]);
    run(&mut con, "CONFIG SET phean.max-job-size 10mb");
    let mb = "x".repeat(10 << 20);
    let id = ok_int(&mut con, &["PHEAN.PUT", "emails", &mb]);
    let job = take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!((job.id, job.body.len()), (id, 10 << 20));
}

#[test]
fn a_default_ttr_is_a_setting_for_jobs_put_from_then_on() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.ttr 7"]);
    let mut con = server.connect();
    let first = put(&mut con, "emails");
    run(&mut con, "CONFIG SET phean.ttr 0.25");
    let second = put(&mut con, "emails");
    assert_eq!(job_seconds(&mut con, "emails", first, "ttr"), 7.0);
    assert_eq!(job_seconds(&mut con, "emails", second, "ttr"), 0.25);
}

#[test]
fn a_draining_server_takes_no_new_jobs_and_finishes_the_old_ones() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    run(&mut con, "CONFIG SET phean.drain yes");
    let draining = "DRAINING the server takes no new jobs";
    let before = everything(&mut con);
    assert_eq!(err(&mut con, &["PHEAN.PUT", "emails", "x"]), draining);
    assert_eq!(err(&mut con, &["PHEAN.MPUT", "emails", "1", "x"]), draining);
    assert_eq!(
        err(&mut con, &["EVAL", "return redis.call('PHEAN.PUT', KEYS[1], 'x')", "1", "emails"])
            .split(' ')
            .next(),
        Some("DRAINING")
    );
    let mut after = everything(&mut con);
    after.0 = before.0.clone();
    assert_eq!(after, before);
    assert_eq!(text(&crate::reply::map(&run(&mut con, "PHEAN.STATS"))["draining"]), "true");
    let job = take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {}", job.lease)), 1);
    let job = take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(count(&mut con, &format!("PHEAN.BURY emails {}", job.lease)), 1);
    assert_eq!(count(&mut con, "PHEAN.KICK emails 1"), 1);
    assert_eq!(count(&mut con, &format!("PHEAN.DELETE emails {id}")), 1);
    run(&mut con, "CONFIG SET phean.drain no");
    put(&mut con, "emails");
}

#[test]
fn a_put_into_something_else_is_refused() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "SET text value");
    let before = everything(&mut con);
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(err(&mut con, &["PHEAN.PUT", "text", "x"]), wrong);
    assert_eq!(err(&mut con, &["PHEAN.MPUT", "text", "2", "x", "y"]), wrong);
    assert_eq!(everything(&mut con), before);
    // Neither does a tube take what is for a string.
    put(&mut con, "emails");
    assert_eq!(err(&mut con, &["GET", "emails"]), wrong);
    assert_eq!(text(&run(&mut con, "TYPE emails")), "pheantube");
    assert_eq!(put(&mut con, "emails"), 2);
}

#[test]
fn a_delayed_job_becomes_ready_by_itself() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let later = put(&mut con, "emails DELAY 1000");
    let soon = put(&mut con, "emails DELAY 0.02");
    // Nobody asks for it: the server does it in its own time.
    eventually(|| state(&mut con, "emails", soon) == "ready");
    assert_eq!(state(&mut con, "emails", later), "delayed");
    let found = job(&mut con, "emails", soon);
    assert_eq!((seconds(&found["delay"]), seconds(&found["time-left"])), (0.02, 0.0));
    assert_eq!(take(&mut con, "PHEAN.RESERVE emails").id, soon);
    assert_eq!(run(&mut con, "PHEAN.RESERVE emails"), Value::Nil);
}

#[test]
fn a_put_serves_those_who_wait() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let first = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    let second = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    let many = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100", "COUNT", "5"]);
    assert_eq!(stat(&mut con, "emails", "current-waiting"), 3);
    run(&mut con, "PHEAN.MPUT emails 4 a b c d");
    assert_eq!(reserved(&first.join().unwrap()).unwrap().body, b"a");
    assert_eq!(reserved(&second.join().unwrap()).unwrap().body, b"b");
    let rest = crate::reply::reserved_many(&many.join().unwrap());
    assert_eq!(rest.iter().map(|job| job.body.as_slice()).collect::<Vec<_>>(), [b"c", b"d"]);
    let stats = stats(&mut con, "emails");
    assert_eq!((int(&stats["current-waiting"]), int(&stats["current-jobs-reserved"])), (0, 4));
    // A delayed job serves nobody before its time.
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "sms", "TIMEOUT", "100"]);
    let late = put(&mut con, "sms DELAY 1000");
    let soon = put(&mut con, "sms DELAY 0.01");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, soon);
    assert_eq!(state(&mut con, "sms", late), "delayed");
}
