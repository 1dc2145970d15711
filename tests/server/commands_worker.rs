//! RESERVE, MRESERVE, RESERVEJOB, DELETE, RELEASE, BURY, TOUCH; and what a lease is good for.

use crate::harness::{Server, client_id, has_module};
use crate::looking::{count, everything, job, job_int, job_seconds, put, stat, state, stats, take, take_ids};
use crate::raw::Raw;
use crate::reply::{array, cmd, err, error_line, int, reserved, reserved_many, run, seconds, text};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};

#[test]
fn nothing_to_reserve_is_null() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut raw = Raw::connect(&server);
    put(&mut server.connect(), "delayed DELAY 100");
    for (version, null) in [("2", "*-1\r\n"), ("3", "_\r\n")] {
        raw.ask(&["HELLO", version]);
        for tube in ["emails", "delayed"] {
            assert_eq!(raw.ask(&["PHEAN.RESERVE", tube]), null);
            assert_eq!(raw.ask(&["PHEAN.RESERVE", tube, "TIMEOUT", "0"]), null);
            assert_eq!(raw.ask(&["PHEAN.RESERVE", tube, "TIMEOUT", "0.001"]), null);
            assert_eq!(raw.ask(&["PHEAN.RESERVE", tube, "COUNT", "9"]), null);
            assert_eq!(
                raw.ask(&["PHEAN.MRESERVE", "2", tube, "sms", "TIMEOUT", "0.001", "COUNT", "2"]),
                null
            );
            assert_eq!(raw.ask(&["PHEAN.RESERVEJOB", tube, "99"]), null);
        }
    }
    // Asking creates nothing.
    assert_eq!(raw.ask(&["EXISTS", "emails", "sms"]), ":0\r\n");
}

#[test]
fn a_job_is_five_elements_with_the_ttr_as_a_double_in_resp3() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut raw = Raw::connect(&server);
    for (version, ttr) in [("2", "$2\r\n90\r\n"), ("3", ",90\r\n")] {
        raw.ask(&["HELLO", version]);
        for (line, count) in
            [("PHEAN.RESERVE t", ""), ("PHEAN.MRESERVE 1 t", ""), ("PHEAN.RESERVE t COUNT 5", "*1\r\n")]
        {
            let id = put(&mut con, "t TTR 90");
            let reply = raw.ask(&line.split(' ').collect::<Vec<_>>());
            let (before_lease, after_lease) =
                (format!("{count}*5\r\n$1\r\nt\r\n$"), format!("$4\r\nbody\r\n:1\r\n{ttr}"));
            assert!(reply.starts_with(&before_lease), "{reply:?}");
            assert!(reply.ends_with(&after_lease), "{reply:?}");
            assert!(reply[before_lease.len()..].contains(&format!("\r\n{id}-")), "{reply:?}");
        }
    }
}

/// A reply that came by way of a wait is formatted elsewhere than one that came at once.
#[test]
fn who_waited_gets_the_same_reply() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut raw = Raw::connect(&server);
    for (version, ttr) in [("2", "$5\r\n90000\r\n"), ("3", ",90000\r\n")] {
        raw.ask(&["HELLO", version]);
        let client = raw.client_id();
        for (many, starts) in [(false, "*5\r\n"), (true, "*1\r\n*5\r\n")] {
            let line: &[&str] = &["PHEAN.RESERVE", "t", "TIMEOUT", "100", "TTR", "90000", "COUNT", "2"];
            raw.send_cmd(if many { line } else { &line[..6] });
            server.wait_blocked(client);
            put(&mut con, "t");
            let reply = raw.reply();
            assert!(reply.starts_with(starts), "{reply:?}");
            // The deadline may be a few milliseconds away already.
            assert!(reply.ends_with(ttr) || reply.contains("8999"), "{reply:?}");
        }
        raw.send_cmd(&["PHEAN.RESERVE", "t", "TIMEOUT", "0.02"]);
        assert_eq!(raw.reply(), if version == "2" { "*-1\r\n" } else { "_\r\n" });
    }
}

#[test]
fn the_lowest_pri_goes_first_then_the_lowest_id() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let pris = [5, 1, 4294967295_u32, 0, 1, 1024, 0];
    let ids: Vec<i64> = pris.iter().map(|pri| put(&mut con, &format!("emails PRI {pri}"))).collect();
    let order = [3, 6, 1, 4, 0, 5, 2].map(|at: usize| ids[at]);
    assert_eq!(take_ids(&mut con, "PHEAN.RESERVE emails COUNT 4"), order[..4]);
    assert_eq!(take_ids(&mut con, "PHEAN.RESERVE emails COUNT 4294967295"), order[4..]);
    assert!(take_ids(&mut con, "PHEAN.RESERVE emails COUNT 4294967295").is_empty());
}

/// What the text of a lease or of a time to run has in common with the one before is not written again.
#[test]
fn several_jobs_have_each_its_own_lease_and_ttr() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let ttrs = ["60", "60", "90", "60.125", "60", "4294967295", "60"];
    let ids: Vec<i64> = (0..40).map(|n| put(&mut con, &format!("t TTR {}", ttrs[n % ttrs.len()]))).collect();
    for (n, id) in ids.iter().enumerate() {
        // Some are gone, and some were reserved before, so that the next lease has another number.
        if n % 5 == 1 {
            assert_eq!(count(&mut con, &format!("PHEAN.DELETE t {id}")), 1);
        } else if n % 5 == 3 {
            let lease = take(&mut con, &format!("PHEAN.RESERVEJOB t {id}")).lease;
            assert_eq!(count(&mut con, &format!("PHEAN.RELEASE t {lease}")), 1);
        }
    }
    let left = (0..40).filter(|n| n % 5 != 1);
    let expected: Vec<(i64, f64)> =
        left.map(|n| (ids[n], ttrs[n % ttrs.len()].parse().expect("a number of seconds"))).collect();
    let jobs = reserved_many(&run(&mut con, "PHEAN.RESERVE t COUNT 100"));
    assert_eq!(jobs.iter().map(|job| (job.id, job.ttr)).collect::<Vec<_>>(), expected);
    let leases: Vec<&str> = jobs.iter().map(|job| &*job.lease).collect();
    let claimed = array(&run(&mut con, "PHEAN.CLAIMED t OLDEST"));
    assert_eq!(claimed.iter().map(|claim| text(&array(claim)[0])).collect::<Vec<_>>(), leases);
    assert_eq!(count(&mut con, &format!("PHEAN.DELETE t {}", leases.join(" "))), 32);
}

#[test]
fn mreserve_takes_the_most_urgent_over_all_tubes() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let a1 = put(&mut con, "a PRI 5");
    let b1 = put(&mut con, "b PRI 5");
    let c1 = put(&mut con, "c PRI 1");
    let a2 = put(&mut con, "a PRI 5");
    let b2 = put(&mut con, "b PRI 0");
    let other = put(&mut con, "other PRI 0");
    // Neither the order in which tubes are named nor naming one twice makes a difference.
    let jobs = reserved_many(&run(&mut con, "PHEAN.MRESERVE 5 a missing c b a COUNT 3"));
    let seen: Vec<_> = jobs.iter().map(|job| (job.tube.as_slice(), job.id)).collect();
    assert_eq!(seen, [(b"b".as_slice(), b2), (b"c", c1), (b"a", a1)]);
    assert_eq!(take(&mut con, "PHEAN.MRESERVE 2 a b").id, b1);
    assert_eq!(take(&mut con, "PHEAN.MRESERVE 2 b a").id, a2);
    assert_eq!(run(&mut con, "PHEAN.MRESERVE 3 a b c"), Value::Nil);
    assert_eq!(state(&mut con, "other", other), "ready");
}

#[test]
fn numtubes_that_lies_is_an_error() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "a");
    let before = everything(&mut con);
    let range = "ERR numtubes must be an integer from 1 to 4294967295";
    let arity = "ERR wrong number of arguments for 'phean.mreserve' command";
    for (args, error) in [
        ("0 a", range),
        ("-1 a", range),
        ("x a", range),
        ("4294967296 a", range),
        ("99999999999999999999 a", range),
        ("2 a", arity),
        ("4294967295 a b", arity),
        ("1 a b", "ERR syntax error, unexpected 'b'"),
        ("3 a TIMEOUT 5", "OK"),
    ] {
        let line = format!("PHEAN.MRESERVE {args}");
        let words: Vec<&str> = line.split(' ').collect();
        if error == "OK" {
            // Words that look like options are tubes where numtubes says so.
            assert_eq!(take(&mut con, &line).tube, b"a");
        } else {
            assert_eq!(err(&mut con, &words), error, "{line}");
            assert_eq!(everything(&mut con), before, "{line}");
        }
    }
}

#[test]
fn a_wrong_type_among_several_tubes_is_an_error_that_takes_nothing() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "SET text value");
    put(&mut con, "a");
    let before = everything(&mut con);
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(err(&mut con, &["PHEAN.MRESERVE", "2", "a", "text"]), wrong);
    assert_eq!(err(&mut con, &["PHEAN.MRESERVE", "2", "text", "a", "TIMEOUT", "9"]), wrong);
    assert_eq!(err(&mut con, &["PHEAN.RESERVE", "text", "TIMEOUT", "9", "COUNT", "2"]), wrong);
    assert_eq!(everything(&mut con), before);
}

#[test]
fn attempts_count_what_was_handed_out_but_for_the_untried() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    let handed_out = |con: &mut Connection| {
        let job = take(con, "PHEAN.RESERVE emails");
        assert_eq!(job_int(con, "emails", id, "attempt"), job.attempt);
        (job.attempt, job_int(con, "emails", id, "reserves"))
    };
    assert_eq!(handed_out(&mut con), (1, 1));
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {id}")), 1);
    assert_eq!(job_int(&mut con, "emails", id, "attempt"), 1);
    assert_eq!(handed_out(&mut con), (2, 2));
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {id} UNTRIED")), 1);
    assert_eq!(job_int(&mut con, "emails", id, "attempt"), 1);
    assert_eq!(handed_out(&mut con), (2, 3));
    // A timeout is an attempt.
    count(&mut con, &format!("PHEAN.TOUCH emails {id} FOR 0.01"));
    eventually(|| state(&mut con, "emails", id) == "ready");
    assert_eq!(handed_out(&mut con), (3, 4));
    count(&mut con, &format!("PHEAN.BURY emails {id}"));
    assert_eq!(job_int(&mut con, "emails", id, "attempt"), 3);
    // A kick starts them anew, not what is counted for good.
    count(&mut con, "PHEAN.KICK emails 1");
    assert_eq!(job_int(&mut con, "emails", id, "attempt"), 0);
    assert_eq!(handed_out(&mut con), (1, 5));
    count(&mut con, &format!("PHEAN.RELEASE emails {id} DELAY 100"));
    count(&mut con, &format!("PHEAN.KICKJOB emails {id}"));
    assert_eq!(handed_out(&mut con), (1, 6));
    let job = job(&mut con, "emails", id);
    let counters = ["reserves", "timeouts", "releases", "buries", "kicks"].map(|name| int(&job[name]));
    assert_eq!(counters, [6, 1, 3, 1, 2]);
}

/// Every command that takes a lease, for one that is stale in some way: it counts 0 and changes nothing.
#[track_caller]
fn assert_stale(con: &mut Connection, lease: &str) {
    let before = everything(con).0;
    for line in [
        "PHEAN.DELETE emails HANDLE",
        "PHEAN.RELEASE emails HANDLE",
        "PHEAN.RELEASE emails HANDLE PRI 1 DELAY 3 UNTRIED",
        "PHEAN.BURY emails HANDLE",
        "PHEAN.BURY emails HANDLE PRI 7",
        "PHEAN.TOUCH emails HANDLE",
        "PHEAN.TOUCH emails HANDLE FOR 100",
        "PHEAN.KICKJOB emails HANDLE",
        "PHEAN.PRIORITIZE emails HANDLE 5",
        "PHEAN.DELAY emails HANDLE 5",
    ] {
        assert_eq!(count(con, &line.replace("HANDLE", lease)), 0, "{line}");
    }
    for line in ["PHEAN.RESERVEJOB emails HANDLE", "PHEAN.PEEK emails HANDLE", "PHEAN.JOB emails HANDLE"] {
        assert_eq!(run(con, &line.replace("HANDLE", lease)), Value::Nil, "{line}");
    }
    assert_eq!(everything(con).0, before, "a stale lease changed something");
}

#[test]
fn a_lease_is_stale_as_soon_as_its_reservation_is_over() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    let mut leases: Vec<String> = Vec::new();
    let take_it = |con: &mut Connection, leases: &[String]| {
        let job = take(con, "PHEAN.RESERVE emails");
        assert_eq!(job.id, id);
        assert!(!leases.contains(&job.lease), "no two reservations share a lease");
        job.lease
    };
    for ending in [
        format!("PHEAN.RELEASE emails {id}"),
        format!("PHEAN.RELEASE emails {id} UNTRIED"),
        format!("PHEAN.TOUCH emails {id} FOR 0"),
        format!("PHEAN.BURY emails {id}"),
    ] {
        let lease = take_it(&mut con, &leases);
        assert_eq!(count(&mut con, &ending), 1);
        eventually(|| state(&mut con, "emails", id) != "reserved");
        assert_stale(&mut con, &lease);
        leases.push(lease);
        if ending.contains("BURY") {
            assert_eq!(count(&mut con, "PHEAN.KICK emails 1"), 1);
        }
    }
    // Reserved anew: still stale, and only the new one works.
    let held = take_it(&mut con, &leases);
    leases.iter().for_each(|lease| assert_stale(&mut con, lease));
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {held}")), 1);
    // A lease that nobody ever got.
    let (_, n) = held.split_once('-').unwrap();
    let never = format!("{id}-{}", n.parse::<u64>().unwrap() + 1);
    for lease in [never, format!("{id}-0"), format!("{id}-18446744073709551615"), format!("{}-{n}", id + 1)] {
        assert_stale(&mut con, &lease);
    }
    // Gone with the job.
    assert_eq!(count(&mut con, &format!("PHEAN.DELETE emails {held}")), 1);
    assert_stale(&mut con, &held);
}

#[test]
fn a_lease_works_from_any_connection_but_only_in_its_tube() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    put(&mut con, "sms");
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    let before = everything(&mut con).0;
    for command in ["DELETE", "RELEASE", "BURY", "TOUCH", "KICKJOB"] {
        assert_eq!(count(&mut con, &format!("PHEAN.{command} sms {lease}")), 0, "{command}");
        assert_eq!(
            count(&mut server.connect_db(1), &format!("PHEAN.{command} emails {lease}")),
            0,
            "{command}"
        );
    }
    assert_eq!(everything(&mut con).0, before);
    drop(con);
    let mut con = server.connect();
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {lease}")), 1);
    // Accepted wherever an id is, looking included.
    assert_eq!(int(&crate::reply::map(&run(&mut con, &format!("PHEAN.JOB emails {lease}")))["id"]), id);
    assert_eq!(int(&array(&run(&mut con, &format!("PHEAN.PEEK emails {lease}")))[0]), id);
    assert_eq!(count(&mut con, &format!("PHEAN.PRIORITIZE emails {lease} 3")), 1);
    assert_eq!(count(&mut server.connect(), &format!("PHEAN.DELETE emails {lease}")), 1);
}

#[test]
fn a_bare_id_acts_as_an_operator_would() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let (mut worker, mut operator) = (server.connect(), server.connect());
    for (command, after) in
        [("RELEASE", "ready"), ("BURY", "buried"), ("DELETE", "gone"), ("TOUCH", "reserved")]
    {
        let id = put(&mut operator, "emails PRI 0");
        let job = take(&mut worker, "PHEAN.RESERVE emails");
        assert_eq!(job.id, id);
        assert_eq!(count(&mut operator, &format!("PHEAN.{command} emails {id}")), 1);
        assert_eq!(state(&mut operator, "emails", id), after);
        let still = i64::from(command == "TOUCH");
        assert_eq!(count(&mut worker, &format!("PHEAN.DELETE emails {}", job.lease)), still);
        run(&mut operator, "DEL emails");
    }
}

#[test]
fn delete_takes_jobs_in_any_state() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let delayed = put(&mut con, "emails DELAY 100");
    let buried = put(&mut con, "emails");
    take(&mut con, "PHEAN.RESERVE emails");
    count(&mut con, &format!("PHEAN.BURY emails {buried}"));
    let reserved = put(&mut con, "emails");
    take(&mut con, "PHEAN.RESERVE emails");
    let ready = put(&mut con, "emails");
    // Named twice, it is deleted once.
    let line = format!("PHEAN.DELETE emails {ready} {ready} 9999 {delayed} {buried} {reserved}");
    assert_eq!(count(&mut con, &line), 4);
    assert_eq!(count(&mut con, &line), 0);
    assert_eq!(stat(&mut con, "emails", "cmd-delete"), 4);
    assert_eq!(count(&mut con, "PHEAN.DELETE missing 1 2 3"), 0);
    assert_eq!(text(&run(&mut con, "TYPE missing")), "none");
}

#[test]
fn release_sets_pri_and_delay_where_told() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails PRI 7");
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {lease}")), 1);
    assert_eq!(
        (state(&mut con, "emails", id).as_str(), job_int(&mut con, "emails", id, "pri")),
        ("ready", 7)
    );
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {lease} delay 100 pri 3")), 1);
    let found = job(&mut con, "emails", id);
    assert_eq!((text(&found["state"]).as_str(), int(&found["pri"])), ("delayed", 3));
    assert_eq!(seconds(&found["delay"]), 100.0);
    // Only reserved jobs can be released, buried or touched.
    for command in ["RELEASE", "BURY", "TOUCH"] {
        assert_eq!(count(&mut con, &format!("PHEAN.{command} emails {id}")), 0);
    }
    count(&mut con, &format!("PHEAN.KICKJOB emails {id}"));
    for command in ["RELEASE", "BURY", "TOUCH"] {
        assert_eq!(count(&mut con, &format!("PHEAN.{command} emails {id}")), 0);
    }
    // Several at once.
    let other = put(&mut con, "emails");
    let leases: Vec<String> = reserved_many(&run(&mut con, "PHEAN.RESERVE emails COUNT 9"))
        .into_iter()
        .map(|job| job.lease)
        .collect();
    let line = format!("PHEAN.RELEASE emails {} 999 {} PRI 1", leases[0], leases[1]);
    assert_eq!(count(&mut con, &line), 2);
    assert_eq!(job_int(&mut con, "emails", other, "pri"), 1);
    assert_eq!(stat(&mut con, "emails", "cmd-release"), 4);
    assert_eq!(count(&mut con, "PHEAN.RELEASE missing 1"), 0);
}

#[test]
fn retry_interval_delays_releases_that_name_no_delay_and_timeouts() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.retry-interval 100"]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    let again = |con: &mut Connection, release: &str| {
        count(con, &format!("PHEAN.KICKJOB emails {id}"));
        take(con, "PHEAN.RESERVE emails");
        assert_eq!(count(con, &format!("PHEAN.{release}")), 1);
    };
    again(&mut con, &format!("RELEASE emails {id}"));
    assert_eq!(state(&mut con, "emails", id), "delayed");
    assert_eq!(job_seconds(&mut con, "emails", id, "delay"), 100.0);
    again(&mut con, &format!("RELEASE emails {id} DELAY 0"));
    assert_eq!(state(&mut con, "emails", id), "ready");
    again(&mut con, &format!("RELEASE emails {id} DELAY 50"));
    assert_eq!(job_seconds(&mut con, "emails", id, "delay"), 50.0);
    again(&mut con, &format!("RELEASE emails {id} UNTRIED"));
    assert_eq!(state(&mut con, "emails", id), "ready");
    again(&mut con, &format!("RELEASE emails {id} UNTRIED DELAY 50"));
    assert_eq!(state(&mut con, "emails", id), "delayed");
    again(&mut con, &format!("TOUCH emails {id} FOR 0.01"));
    eventually(|| state(&mut con, "emails", id) == "delayed");
    assert_eq!(job_seconds(&mut con, "emails", id, "delay"), 100.0);
    // A lost connection.
    count(&mut con, &format!("PHEAN.KICKJOB emails {id}"));
    take(&mut server.connect(), "PHEAN.RESERVE emails BOUND");
    eventually(|| state(&mut con, "emails", id) == "delayed");
    assert_eq!(job_int(&mut con, "emails", id, "timeouts"), 1);
}

#[test]
fn retry_count_buries_what_was_tried_too_often() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.retry-count 1"]);
    let mut con = server.connect();
    let id = put(&mut con, "emails PRI 9");
    let release = format!("PHEAN.RELEASE emails {id} PRI 3");
    take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(count(&mut con, &release), 1);
    assert_eq!(state(&mut con, "emails", id), "ready", "one retry is allowed");
    take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {id} UNTRIED")), 1);
    assert_eq!(state(&mut con, "emails", id), "ready", "it was not tried");
    take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(count(&mut con, &format!("{release} DELAY 50")), 1);
    let found = job(&mut con, "emails", id);
    assert_eq!((text(&found["state"]).as_str(), int(&found["pri"]), int(&found["buries"])), ("buried", 3, 1));
    // Kicked, it may be tried as often again; timeouts count too.
    assert_eq!(count(&mut con, "PHEAN.KICK emails 1"), 1);
    for after in ["ready", "buried"] {
        take(&mut con, "PHEAN.RESERVE emails TTR 0.01");
        eventually(|| state(&mut con, "emails", id) == after);
    }
    assert_eq!(job_int(&mut con, "emails", id, "timeouts"), 2);
    // And lost connections.
    run(&mut con, "CONFIG SET phean.retry-count 0");
    count(&mut con, "PHEAN.KICK emails 1");
    take(&mut server.connect(), "PHEAN.RESERVE emails BOUND");
    eventually(|| state(&mut con, "emails", id) == "buried");
    run(&mut con, "CONFIG SET phean.retry-count -1");
    count(&mut con, "PHEAN.KICK emails 1");
    for _ in 0..5 {
        take(&mut con, "PHEAN.RESERVE emails");
        count(&mut con, &release);
        assert_eq!(state(&mut con, "emails", id), "ready");
    }
}

#[test]
fn bury_keeps_the_pri_or_sets_it() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let (a, b) = (put(&mut con, "emails PRI 7"), put(&mut con, "emails PRI 7"));
    run(&mut con, "PHEAN.RESERVE emails COUNT 2");
    assert_eq!(count(&mut con, &format!("PHEAN.BURY emails {a}")), 1);
    assert_eq!(count(&mut con, &format!("PHEAN.BURY emails {b} {a} PRI 2")), 1);
    assert_eq!([a, b].map(|id| job_int(&mut con, "emails", id, "pri")), [7, 2]);
    assert_eq!([a, b].map(|id| state(&mut con, "emails", id)), ["buried", "buried"]);
    let stats = stats(&mut con, "emails");
    assert_eq!((int(&stats["current-jobs-buried"]), int(&stats["cmd-bury"])), (2, 2));
    // Nobody gets a buried job but by name.
    assert_eq!(run(&mut con, "PHEAN.RESERVE emails"), Value::Nil);
    assert_eq!(take(&mut con, &format!("PHEAN.RESERVEJOB emails {b}")).id, b);
    assert_eq!(count(&mut con, "PHEAN.BURY missing 1"), 0);
}

#[test]
fn touch_gives_the_whole_ttr_or_what_for_says() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails TTR 5000");
    let job = take(&mut con, "PHEAN.RESERVE emails TTR 1000");
    assert_eq!(job.ttr, 1000.0);
    let left = |con: &mut Connection| job_seconds(con, "emails", id, "time-left");
    // The reservation's own time, not the job's.
    assert!((900.0..=1000.0).contains(&left(&mut con)));
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {} FOR 300", job.lease)), 1);
    assert!((200.0..=300.0).contains(&left(&mut con)));
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {}", job.lease)), 1);
    assert!((900.0..=1000.0).contains(&left(&mut con)));
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {} {id} 77 FOR 9000", job.lease)), 1);
    assert!((8900.0..=9000.0).contains(&left(&mut con)));
    assert_eq!(job_seconds(&mut con, "emails", id, "ttr"), 5000.0);
    // The next reservation has the job's own time again.
    count(&mut con, &format!("PHEAN.RELEASE emails {id}"));
    assert_eq!(take(&mut con, "PHEAN.RESERVE emails").ttr, 5000.0);
    count(&mut con, &format!("PHEAN.TOUCH emails {id}"));
    assert!((4900.0..=5000.0).contains(&left(&mut con)));
    // FOR 0 ends it.
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {id} FOR 0")), 1);
    eventually(|| state(&mut con, "emails", id) == "ready");
    assert_eq!(job_int(&mut con, "emails", id, "timeouts"), 1);
    assert_eq!(stat(&mut con, "emails", "cmd-touch"), 5);
    assert_eq!(count(&mut con, "PHEAN.TOUCH missing 1 FOR 5"), 0);
}

#[test]
fn a_reservation_that_is_over_makes_the_job_ready() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails TTR 0.02");
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    // Nobody asks: the server does it in its own time, and hands it to who waits.
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100", "TTR", "500"]);
    let job = reserved(&waiter.join().unwrap()).unwrap();
    assert_eq!((job.id, job.attempt), (id, 2));
    assert_stale(&mut con, &lease);
    assert_eq!(
        (job_int(&mut con, "emails", id, "timeouts"), stat(&mut con, "emails", "job-timeouts")),
        (1, 1)
    );
}

/// Redis' timers do not run while a slow script or command does, but what is due is due.
#[test]
fn what_is_due_can_be_reserved_before_the_timer_fires() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let held = put(&mut con, "emails TTR 0.05 PRI 2");
    assert_eq!(take(&mut con, "PHEAN.RESERVE emails").id, held);
    let delayed = put(&mut con, "emails DELAY 0.05 PRI 1");
    run(&mut con, "MULTI");
    run(&mut con, "DEBUG SLEEP 0.2");
    run(&mut con, &format!("PHEAN.TOUCH emails {held}"));
    run(&mut con, "PHEAN.RESERVE emails COUNT 5");
    let replies = array(&run(&mut con, "EXEC"));
    assert_eq!(replies[1], Value::Int(0), "the reservation was over");
    let ids: Vec<i64> = reserved_many(&replies[2]).iter().map(|job| job.id).collect();
    assert_eq!(ids, [delayed, held]);
}

#[test]
fn reservejob_takes_a_job_that_is_ready_delayed_or_buried() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let (first, ready) = (put(&mut con, "emails PRI 1"), put(&mut con, "emails"));
    let delayed = put(&mut con, "emails DELAY 100");
    let buried = put(&mut con, "emails PRI 0");
    take(&mut con, "PHEAN.RESERVE emails");
    count(&mut con, &format!("PHEAN.BURY emails {buried}"));
    for id in [ready, delayed, buried] {
        let job = take(&mut con, &format!("PHEAN.RESERVEJOB emails {id} TTR 500"));
        assert_eq!((job.tube.as_slice(), job.id, job.ttr), (b"emails".as_slice(), id, 500.0));
        assert_eq!(job.attempt, if id == buried { 2 } else { 1 });
        assert_eq!(state(&mut con, "emails", id), "reserved");
        assert_eq!(run(&mut con, &format!("PHEAN.RESERVEJOB emails {id}")), Value::Nil, "it is held");
        assert_eq!(count(&mut con, &format!("PHEAN.DELETE emails {}", job.lease)), 1);
        assert_eq!(run(&mut con, &format!("PHEAN.RESERVEJOB emails {id}")), Value::Nil, "it is gone");
    }
    assert_eq!(state(&mut con, "emails", first), "ready");
    assert_eq!(run(&mut con, &format!("PHEAN.RESERVEJOB missing {first}")), Value::Nil);
    let unexpected = "ERR syntax error, unexpected 'TIMEOUT'";
    assert_eq!(err(&mut con, &["PHEAN.RESERVEJOB", "emails", "1", "TIMEOUT", "5"]), unexpected);
}

/// As in beanstalkd, a pause keeps reserve away; whoever names the job gets it.
#[test]
fn reservejob_takes_from_a_paused_tube() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    run(&mut con, "PHEAN.PAUSE emails 100");
    assert_eq!(run(&mut con, "PHEAN.RESERVE emails"), Value::Nil);
    assert_eq!(take(&mut con, &format!("PHEAN.RESERVEJOB emails {id}")).id, id);
}

#[test]
fn waiters_are_served_first_come_first_served() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let waiters: Vec<Blocked> = (0..5)
        .map(|at| {
            let tubes: &[&str] = if at % 2 == 0 { &["1", "emails"] } else { &["2", "sms", "emails"] };
            Blocked::start(&server, &[&["PHEAN.MRESERVE"], tubes, &["TIMEOUT", "100"]].concat())
        })
        .collect();
    assert_eq!(
        (stat(&mut con, "emails", "current-waiting"), stat(&mut con, "sms", "current-waiting")),
        (5, 2)
    );
    let ids: Vec<i64> = (0..5).map(|at| put(&mut con, &format!("emails PRI {}", 9 - at))).collect();
    for (waiter, id) in waiters.into_iter().zip(ids) {
        assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
    }
    assert_eq!(stat(&mut con, "sms", "current-waiting"), 0);
}

#[test]
fn everything_that_makes_jobs_ready_serves_those_who_wait() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    let wait = || Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    for steps in [
        "PHEAN.RESERVE emails|PHEAN.RELEASE emails 1",
        "PHEAN.RESERVE emails|PHEAN.RELEASE emails 1 UNTRIED",
        "PHEAN.RESERVE emails|PHEAN.RELEASE emails 1 DELAY 0.01",
        "PHEAN.RESERVE emails|PHEAN.TOUCH emails 1 FOR 0.01",
        "PHEAN.DELAY emails 1 100|PHEAN.KICK emails 1",
        "PHEAN.DELAY emails 1 100|PHEAN.KICKJOB emails 1",
        "PHEAN.DELAY emails 1 100|PHEAN.DELAY emails 1 0.01",
        "PHEAN.DELAY emails 1 100|PHEAN.DELAY emails 1 0",
        "PHEAN.PAUSE emails 100|PHEAN.PAUSE emails 0",
        "PHEAN.PAUSE emails 100|PHEAN.PAUSE emails 0.01",
        "RENAME emails hidden|RENAME hidden emails",
        "MOVE emails 5|SWAPDB 0 5",
    ] {
        let (hide, show) = steps.split_once('|').unwrap();
        run(&mut con, hide);
        let waiter = wait();
        assert!(!waiter.is_over(), "{steps}");
        run(&mut con, show);
        assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id, "{steps}");
        count(&mut con, &format!("PHEAN.RELEASE emails {id}"));
    }
}

#[test]
fn a_wait_ends_in_time_or_by_client_unblock() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let start = || Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "4294967295"]);
    let by_timeout = start();
    assert_eq!(count(&mut con, &format!("CLIENT UNBLOCK {}", by_timeout.client_id())), 1);
    assert_eq!(by_timeout.join().unwrap(), Value::Nil);
    let by_error = start();
    assert_eq!(count(&mut con, &format!("CLIENT UNBLOCK {} ERROR", by_error.client_id())), 1);
    let error = error_line(&by_error.join().unwrap_err());
    assert_eq!(error, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    let by_death = start();
    assert_eq!(count(&mut con, &format!("CLIENT KILL ID {}", by_death.client_id())), 1);
    assert!(by_death.join().is_err());
    eventually(|| stat(&mut con, "emails", "current-waiting") == 0);
    // Nobody was left behind to take a job.
    let id = put(&mut con, "emails");
    assert_eq!(state(&mut con, "emails", id), "ready");
    let mut short = server.connect();
    assert_eq!(run(&mut short, "PHEAN.RESERVE other TIMEOUT 0.03"), Value::Nil);
    assert_eq!(take(&mut short, "PHEAN.RESERVE emails TIMEOUT 100").id, id);
}

#[test]
fn a_waiting_connection_serves_nothing_else_meanwhile() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut raw = Raw::connect(&server);
    let client = raw.client_id();
    raw.send_cmd(&["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    raw.send_cmd(&["PHEAN.RESERVE", "emails", "TIMEOUT", "0.05"]);
    raw.send_cmd(&["PING"]);
    server.wait_blocked(client);
    put(&mut con, "emails");
    assert!(raw.reply().starts_with("*5"));
    assert_eq!(raw.reply(), "*-1\r\n");
    assert_eq!(raw.reply(), "+PONG\r\n");
}

#[test]
fn a_bound_reservation_ends_with_its_connection() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let ids = [put(&mut con, "emails"), put(&mut con, "emails"), put(&mut con, "sms"), put(&mut con, "fax")];
    let mut worker = server.connect();
    let first = take(&mut worker, "PHEAN.RESERVE emails BOUND");
    assert_eq!(take(&mut worker, "PHEAN.RESERVE emails").id, ids[1]);
    assert_eq!(take(&mut worker, "PHEAN.MRESERVE 2 sms none BOUND").id, ids[2]);
    assert_eq!(take(&mut worker, &format!("PHEAN.RESERVEJOB fax {} BOUND", ids[3])).id, ids[3]);
    // Until then it works from any connection.
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {}", first.lease)), 1);
    drop(worker);
    for (tube, id) in [("emails", ids[0]), ("sms", ids[2]), ("fax", ids[3])] {
        eventually(|| state(&mut con, tube, id) == "ready");
        assert_eq!((job_int(&mut con, tube, id, "timeouts"), job_int(&mut con, tube, id, "attempt")), (0, 1));
    }
    assert_eq!(state(&mut con, "emails", ids[1]), "reserved", "this one was not bound");
    assert_stale(&mut con, &first.lease);
}

#[test]
fn a_bound_wait_is_bound_too_and_what_is_released_is_bound_no_longer() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let waiter =
        Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100", "BOUND", "COUNT", "3"]);
    let id = put(&mut con, "emails");
    // The reply is the connection's last one: the waiting thread closes it.
    assert_eq!(reserved_many(&waiter.join().unwrap())[0].id, id);
    eventually(|| state(&mut con, "emails", id) == "ready");
    let mut worker = server.connect();
    let lease = take(&mut worker, "PHEAN.RESERVE emails BOUND").lease;
    count(&mut con, &format!("PHEAN.RELEASE emails {lease}"));
    let plain = take(&mut con, "PHEAN.RESERVE emails").lease;
    let gone = client_id(&mut worker);
    drop(worker);
    eventually(|| text(&run(&mut con, &format!("CLIENT LIST ID {gone}"))).is_empty());
    // Even after a turn of the event loop.
    run(&mut con, "PING");
    assert_eq!(count(&mut con, &format!("PHEAN.DELETE emails {plain}")), 1);
}

#[test]
fn a_reserved_job_knows_its_worker() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut worker = server.connect();
    let worker_id = client_id(&mut worker);
    let id = put(&mut con, "emails");
    take(&mut worker, "PHEAN.RESERVE emails");
    let found = job(&mut con, "emails", id);
    assert_eq!(int(&found["worker"]), worker_id);
    assert!(seconds(&found["held-for"]) >= 0.0);
    count(&mut con, &format!("PHEAN.RELEASE emails {id}"));
    assert!(!job(&mut con, "emails", id).contains_key("worker"));
}

#[test]
fn deleting_the_key_deletes_its_jobs_and_waiting_goes_on() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "emails DELAY 100");
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    for line in ["DEL emails", "SET emails text", "DEL emails", "FLUSHALL", "FLUSHDB", "UNLINK emails"] {
        run(&mut con, line);
        assert!(!waiter.is_over(), "{line}");
        assert_eq!(cmd(&mut con, &["PHEAN.STATS", "emails"]).is_err(), line.starts_with("SET"), "{line}");
    }
    let id = put(&mut con, "emails");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
}
