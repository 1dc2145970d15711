//! PEEK, JOB, CLAIMED, SCAN, STATS, TUBES: what they show, and that looking changes nothing.

use crate::harness::{Server, client_id, has_module};
use crate::looking::{count, everything, job, put, stat, stats, take, take_ids, texts};
use crate::raw::Raw;
use crate::reply::{array, bytes, cmd, err, int, map, ok_int, run, seconds, text};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};
use std::collections::BTreeSet;

#[test]
fn a_missing_tube_is_an_empty_tube() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    let mut raw = Raw::connect(&server);
    for (version, null) in [("2", "*-1\r\n"), ("3", "_\r\n")] {
        raw.ask(&["HELLO", version]);
        for line in
            ["PEEK emails 1", "PEEK emails READY", "PEEK emails RESERVED", "JOB emails 1", "JOB emails 1-1"]
        {
            let words: Vec<String> = format!("PHEAN.{line}").split(' ').map(str::to_owned).collect();
            assert_eq!(raw.ask(&words), null, "{line}");
        }
        assert_eq!(raw.ask(&["PHEAN.CLAIMED", "emails"]), "*0\r\n");
        assert_eq!(raw.ask(&["PHEAN.SCAN", "emails", "0"]), "*2\r\n$1\r\n0\r\n*0\r\n");
        assert_eq!(raw.ask(&["PHEAN.TUBES"]), "*0\r\n");
    }
    for mut con in [server.connect(), server.connect_resp3()] {
        let mut stats = stats(&mut con, "emails");
        assert_eq!(bytes(&stats.remove("name").unwrap()), b"emails");
        assert_eq!(stats.remove("current-waiting"), Some(Value::Int(1)));
        for (name, value) in stats {
            let zero = matches!(value, Value::Int(0)) || seconds(&value) == 0.0;
            assert!(zero, "{name}: {value:?}");
        }
        assert_eq!(count(&mut con, "EXISTS emails"), 0);
    }
    assert!(!waiter.is_over());
    put(&mut server.connect(), "emails");
    waiter.join().unwrap();
}

#[test]
fn maps_are_maps_in_resp3_and_flat_arrays_in_resp2() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails TTR 90.5").to_string();
    let mut raw = Raw::connect(&server);
    let two = raw.ask(&["PHEAN.JOB", "emails", &id]);
    assert!(two.starts_with("*32\r\n$2\r\nid\r\n:1\r\n"), "{two}");
    assert!(two.contains("$3\r\nttr\r\n$4\r\n90.5\r\n"), "{two}");
    assert!(two.contains("$5\r\ndelay\r\n$1\r\n0\r\n"), "{two}");
    assert!(raw.ask(&["PHEAN.STATS", "emails"]).starts_with("*"));
    assert!(raw.ask(&["PHEAN.STATS"]).starts_with("*"));
    raw.ask(&["HELLO", "3"]);
    let three = raw.ask(&["PHEAN.JOB", "emails", &id]);
    assert!(three.starts_with("%16\r\n$2\r\nid\r\n:1\r\n"), "{three}");
    assert!(three.contains("$3\r\nttr\r\n,90.5\r\n"), "{three}");
    assert!(three.contains("$5\r\ndelay\r\n,0\r\n"), "{three}");
    assert!(raw.ask(&["PHEAN.STATS", "emails"]).starts_with("%"));
    assert!(raw.ask(&["PHEAN.STATS"]).starts_with("%"));
    take(&mut con, "PHEAN.RESERVE emails");
    assert!(raw.ask(&["PHEAN.JOB", "emails", &id]).starts_with("%18\r\n"));
    let claimed = raw.ask(&["PHEAN.CLAIMED", "emails"]);
    assert!(claimed.starts_with("*1\r\n*4\r\n$"), "{claimed}");
    assert_eq!(claimed.matches("\r\n,").count(), 2, "{claimed}");
    let tubes = raw.ask(&["PHEAN.TUBES", "WITHSTATS"]);
    assert_eq!(tubes, "*1\r\n*8\r\n$6\r\nemails\r\n:0\r\n:0\r\n:1\r\n:0\r\n:0\r\n,0\r\n,0\r\n");
}

#[test]
fn durations_have_at_most_three_decimals_in_resp2() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "emails");
    put(&mut con, "emails DELAY 99.9999");
    take(&mut con, "PHEAN.RESERVE emails");
    let mut seen = Vec::new();
    for id in [1, 2] {
        let job = job(&mut con, "emails", id);
        seen.extend(["age", "created", "delay", "ttr", "time-left"].map(|name| text(&job[name])));
    }
    seen.extend(array(&array(&run(&mut con, "PHEAN.CLAIMED emails"))[0])[1..3].iter().map(text));
    seen.push(text(&map(&run(&mut con, "PHEAN.STATS"))["uptime"]));
    for number in seen {
        let (whole, decimals) = number.split_once('.').unwrap_or((&number, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        assert!(!whole.is_empty() && digits(whole) && digits(decimals) && decimals.len() <= 3, "{number}");
    }
}

#[test]
fn job_shows_the_fields_of_the_contract_in_every_state() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let names: BTreeSet<&str> = [
        "id",
        "tube",
        "state",
        "pri",
        "age",
        "created",
        "delay",
        "ttr",
        "time-left",
        "size",
        "attempt",
        "reserves",
        "timeouts",
        "releases",
        "buries",
        "kicks",
    ]
    .into();
    let id = put(&mut con, "emails");
    let fields = |con: &mut Connection| job(con, "emails", id).into_keys().collect::<BTreeSet<_>>();
    let plain: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut held = plain.clone();
    held.extend(["held-for".to_owned(), "worker".to_owned()]);
    assert_eq!(fields(&mut con), plain);
    take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(fields(&mut con), held);
    count(&mut con, &format!("PHEAN.BURY emails {id}"));
    assert_eq!(fields(&mut con), plain);
    count(&mut con, &format!("PHEAN.DELAY emails {id} 100"));
    assert_eq!(fields(&mut con), plain);
}

#[test]
fn peek_shows_the_next_to_go_in_each_state() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let peek = |con: &mut Connection, what: &str| match run(con, &format!("PHEAN.PEEK emails {what}")) {
        Value::Nil => None,
        found => Some(int(&array(&found)[0])),
    };
    for _ in 0..2 {
        ok_int(&mut con, &["PHEAN.PUT", "emails", "x"]);
    }
    let urgent = put(&mut con, "emails PRI 1");
    put(&mut con, "emails DELAY 900");
    let soon = put(&mut con, "emails DELAY 100");
    assert_eq!((peek(&mut con, "READY"), peek(&mut con, "delayed")), (Some(urgent), Some(soon)));
    assert_eq!((peek(&mut con, "Buried"), peek(&mut con, "RESERVED")), (None, None));
    assert_eq!(take_ids(&mut con, "PHEAN.RESERVE emails COUNT 3 TTR 500"), [3, 1, 2]);
    count(&mut con, "PHEAN.TOUCH emails 2 FOR 100");
    assert_eq!((peek(&mut con, "READY"), peek(&mut con, "RESERVED")), (None, Some(2)));
    count(&mut con, "PHEAN.BURY emails 2");
    count(&mut con, "PHEAN.BURY emails 1 PRI 0");
    assert_eq!((peek(&mut con, "BURIED"), peek(&mut con, "RESERVED")), (Some(2), Some(3)));
    let found = array(&run(&mut con, &format!("PHEAN.PEEK emails {soon}")));
    assert_eq!((int(&found[0]), bytes(&found[1]).as_slice(), found.len()), (soon, b"body".as_slice(), 2));
    for bad in ["", "x", "READYX", "0", "-1", "1.5", "9007199254740992", "1-", "1-2-3", "0x1"] {
        assert_eq!(err(&mut con, &["PHEAN.PEEK", "emails", bad]), format!("ERR invalid job id '{bad}'"));
    }
}

#[test]
fn claimed_is_in_the_order_of_deadlines_or_of_holding() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let worker = client_id(&mut con);
    let ids: Vec<i64> = (0..3).map(|_| put(&mut con, "emails")).collect();
    put(&mut con, "emails DELAY 100");
    let mut leases = Vec::new();
    for (id, ttr) in ids.iter().zip([300, 100, 200]) {
        let before = run(&mut con, "TIME");
        leases.push(take(&mut con, &format!("PHEAN.RESERVEJOB emails {id} TTR {ttr}")).lease);
        // Held since different milliseconds.
        let ms = |time: &Value| {
            array(time).iter().map(text).map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>()
        };
        let start = ms(&before);
        eventually(|| {
            let now = ms(&run(&mut con, "TIME"));
            (now[0], now[1] / 1000) > (start[0], start[1] / 1000 + 1)
        });
    }
    let claimed = |con: &mut Connection, options: &str| {
        array(&run(con, &format!("PHEAN.CLAIMED emails {options}")))
            .iter()
            .map(|entry| text(&array(entry)[0]))
            .collect::<Vec<_>>()
    };
    let order = |at: &[usize]| at.iter().map(|at| leases[*at].clone()).collect::<Vec<_>>();
    assert_eq!(claimed(&mut con, ""), order(&[1, 2, 0]));
    assert_eq!(claimed(&mut con, "OLDEST"), order(&[0, 1, 2]));
    assert_eq!(claimed(&mut con, "COUNT 2"), order(&[1, 2]));
    assert_eq!(claimed(&mut con, "oldest count 1"), order(&[0]));
    assert_eq!(claimed(&mut con, "COUNT 4294967295 OLDEST"), order(&[0, 1, 2]));
    let first = array(&array(&run(&mut con, "PHEAN.CLAIMED emails"))[0]);
    assert_eq!((first.len(), int(&first[3])), (4, worker));
    assert!((50.0..=100.0).contains(&seconds(&first[1])) && seconds(&first[2]) >= 0.0);
    // A touch moves the deadline, not since when it is held.
    count(&mut con, &format!("PHEAN.TOUCH emails {} FOR 50", leases[0]));
    assert_eq!(claimed(&mut con, ""), order(&[0, 1, 2]));
    count(&mut con, &format!("PHEAN.TOUCH emails {} FOR 900", leases[0]));
    assert_eq!(claimed(&mut con, "OLDEST"), order(&[0, 1, 2]));
    let range = "ERR COUNT must be an integer from 1 to 4294967295";
    assert_eq!(err(&mut con, &["PHEAN.CLAIMED", "emails", "COUNT", "0"]), range);
}

#[test]
fn claimed_shows_100_unless_told_otherwise() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let bodies = vec!["x"; 150].join(" ");
    run(&mut con, &format!("PHEAN.MPUT emails 150 {bodies}"));
    run(&mut con, "PHEAN.RESERVE emails COUNT 150");
    assert_eq!(array(&run(&mut con, "PHEAN.CLAIMED emails")).len(), 100);
    assert_eq!(array(&run(&mut con, "PHEAN.CLAIMED emails OLDEST")).len(), 100);
    assert_eq!(array(&run(&mut con, "PHEAN.CLAIMED emails COUNT 149")).len(), 149);
}

/// Walks to the end, and returns every id shown.
fn scan_all(con: &mut Connection, options: &str, mut between: impl FnMut(&mut Connection)) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = array(&run(con, &format!("PHEAN.SCAN emails {cursor} {options}")));
        ids.extend(array(&reply[1]).iter().map(|entry| int(&array(entry)[0])));
        cursor = text(&reply[0]);
        if cursor == "0" {
            return ids;
        }
        between(con);
    }
}

#[test]
fn scan_returns_everything_that_is_there_all_along() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let bodies = vec!["x"; 1000].join(" ");
    run(&mut con, &format!("PHEAN.MPUT emails 1000 {bodies}"));
    for options in ["", "COUNT 1", "COUNT 7", "COUNT 999", "COUNT 1000", "COUNT 4294967295"] {
        assert_eq!(scan_all(&mut con, options, |_| ()), (1..=1000).collect::<Vec<_>>(), "{options}");
    }
    // Jobs come, go, and change their places and states meanwhile.
    let mut turn = 0;
    let seen = scan_all(&mut con, "COUNT 13", |con| {
        turn += 1;
        put(con, "emails PRI 0");
        count(con, &format!("PHEAN.DELETE emails {}", 1000 - turn));
        count(con, &format!("PHEAN.PRIORITIZE emails {} {turn}", turn * 2));
        count(con, &format!("PHEAN.DELAY emails {} 100", 500 - turn));
    });
    let distinct: BTreeSet<i64> = seen.iter().copied().collect();
    assert_eq!(distinct.len(), seen.len(), "none comes twice");
    for id in 1..=1000 - turn - 1 {
        assert!(distinct.contains(&id), "{id} was there all along");
    }
}

#[test]
fn scan_can_show_one_state_only() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for at in 0..300 {
        put(&mut con, if at % 100 == 50 { "emails DELAY 100" } else { "emails PRI 3" });
    }
    assert_eq!(scan_all(&mut con, "STATE DELAYED COUNT 1", |_| ()), [51, 151, 251]);
    assert_eq!(scan_all(&mut con, "count 4294967295 state delayed", |_| ()), [51, 151, 251]);
    assert_eq!(scan_all(&mut con, "STATE Ready", |_| ()).len(), 297);
    assert!(scan_all(&mut con, "STATE BURIED", |_| ()).is_empty());
    take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(scan_all(&mut con, "STATE RESERVED COUNT 2", |_| ()), [1]);
}

#[test]
fn scans_entries_are_id_state_and_pri() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "emails PRI 3 DELAY 100");
    put(&mut con, "emails");
    let mut raw = Raw::connect(&server);
    let reply =
        "*2\r\n$1\r\n0\r\n*2\r\n*3\r\n:1\r\n$7\r\ndelayed\r\n:3\r\n*3\r\n:2\r\n$5\r\nready\r\n:1024\r\n";
    assert_eq!(raw.ask(&["PHEAN.SCAN", "emails", "0"]), reply);
    raw.ask(&["HELLO", "3"]);
    assert_eq!(raw.ask(&["PHEAN.SCAN", "emails", "0", "count", "5"]), reply);
    // Cursors that no scan returned: any number is somewhere, everything else is no cursor.
    for cursor in ["5", "18446744073709551615"] {
        assert_eq!(raw.ask(&["PHEAN.SCAN", "emails", cursor]), "*2\r\n$1\r\n0\r\n*0\r\n");
    }
    for cursor in ["", "-1", "x", "1.0", "18446744073709551616"] {
        assert_eq!(err(&mut con, &["PHEAN.SCAN", "emails", cursor]), "ERR invalid cursor", "{cursor}");
    }
    let range = "ERR COUNT must be an integer from 1 to 4294967295";
    assert_eq!(err(&mut con, &["PHEAN.SCAN", "emails", "0", "COUNT", "0"]), range);
    let error = err(&mut con, &["PHEAN.SCAN", "emails", "0", "STATE", "foo"]);
    assert_eq!(error, "ERR STATE must be READY, DELAYED, BURIED or RESERVED");
}

#[test]
fn a_tubes_stats_count_what_happened() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for options in ["PRI 1023", "PRI 1024", "", "DELAY 100", "PRI 0 DELAY 100"] {
        put(&mut con, &format!("emails {options}"));
    }
    let found = stats(&mut con, "emails");
    for name in [
        "name",
        "current-jobs-urgent",
        "current-jobs-ready",
        "current-jobs-reserved",
        "current-jobs-delayed",
        "current-jobs-buried",
        "total-jobs",
        "current-using",
        "current-watching",
        "current-waiting",
        "cmd-delete",
        "cmd-pause-tube",
        "pause",
        "pause-time-left",
        "cmd-put",
        "cmd-reserve",
        "cmd-release",
        "cmd-bury",
        "cmd-kick",
        "job-timeouts",
        "oldest-ready-age",
        "memory",
    ] {
        assert!(found.contains_key(name), "{name}");
    }
    let states = ["urgent", "ready", "delayed", "reserved", "buried"];
    let counts =
        |con: &mut Connection| states.map(|state| stat(con, "emails", &format!("current-jobs-{state}")));
    // Urgent are the ready ones below 1024, as in beanstalkd.
    assert_eq!(counts(&mut con), [1, 3, 2, 0, 0]);
    run(&mut con, "PHEAN.RESERVE emails COUNT 2");
    assert_eq!(counts(&mut con), [0, 1, 2, 2, 0]);
    count(&mut con, "PHEAN.BURY emails 1");
    assert_eq!(counts(&mut con), [0, 1, 2, 1, 1]);
    assert!(stat(&mut con, "emails", "memory") > 0);
    let names = ["cmd-put", "cmd-reserve", "cmd-bury", "total-jobs", "cmd-delete"];
    assert_eq!(names.map(|name| stat(&mut con, "emails", name)), [5, 2, 1, 5, 0]);
}

#[test]
fn the_oldest_ready_age_is_that_of_the_lowest_id_since_it_last_became_ready() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let age = |con: &mut Connection| seconds(&stats(con, "emails")["oldest-ready-age"]);
    put(&mut con, "emails DELAY 100");
    assert_eq!(age(&mut con), 0.0);
    let id = put(&mut con, "emails");
    eventually(|| age(&mut con) > 0.05);
    let before = age(&mut con);
    // A more urgent job is no older.
    put(&mut con, "emails PRI 0");
    assert!(age(&mut con) >= before);
    // Given back, it is ready anew; the other one still waits longer, but has the higher id.
    eventually(|| age(&mut con) > 0.2);
    take(&mut con, &format!("PHEAN.RESERVEJOB emails {id}"));
    count(&mut con, &format!("PHEAN.RELEASE emails {id}"));
    let anew = age(&mut con);
    count(&mut con, &format!("PHEAN.DELETE emails {id}"));
    assert!(age(&mut con) > anew || anew > 0.2, "the other one waits longer");
    // TUBES tells the same.
    let tube = array(&array(&run(&mut con, "PHEAN.TUBES WITHSTATS"))[0]);
    assert!(seconds(&tube[6]) > 0.0);
}

#[test]
fn the_servers_stats_are_the_totals_over_all_databases() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut other = server.connect_db(7);
    put(&mut con, "emails");
    put(&mut con, "sms DELAY 100");
    put(&mut other, "emails PRI 1");
    put(&mut other, "emails");
    take(&mut other, "PHEAN.RESERVE emails");
    let waiter = Blocked::start(&server, &["PHEAN.MRESERVE", "2", "a", "b", "TIMEOUT", "100"]);
    run(&mut con, "PHEAN.PEEK emails READY");
    let total = |con: &mut Connection, name: &str| int(&map(&run(con, "PHEAN.STATS"))[name]);
    for (name, expected) in [
        ("current-jobs-urgent", 0),
        ("current-jobs-ready", 2),
        ("current-jobs-delayed", 1),
        ("current-jobs-reserved", 1),
        ("current-jobs-buried", 0),
        ("cmd-put", 4),
        ("cmd-reserve", 1),
        ("cmd-delete", 0),
        ("total-jobs", 4),
        ("max-job-size", 65_535),
        ("current-tubes", 3),
        ("current-waiting", 1),
        ("job-timeouts", 0),
    ] {
        assert_eq!(total(&mut con, name), expected, "{name}");
    }
    let stats = map(&run(&mut con, "PHEAN.STATS"));
    assert_eq!(text(&stats["draining"]), "false");
    assert!(seconds(&stats["uptime"]) >= 0.0);
    // However jobs and tubes vanish, they are counted out.
    let tubes_and_ready =
        |con: &mut Connection| (total(con, "current-tubes"), total(con, "current-jobs-ready"));
    run(&mut con, "COPY emails emails2");
    assert_eq!(tubes_and_ready(&mut con), (4, 3));
    run(&mut con, "RENAME emails emails2");
    assert_eq!(tubes_and_ready(&mut con), (3, 2));
    run(&mut con, "MOVE emails2 3");
    run(&mut con, "SWAPDB 3 0");
    assert_eq!(tubes_and_ready(&mut con), (3, 2));
    run(&mut con, "SET emails2 text");
    assert_eq!(tubes_and_ready(&mut con), (2, 1));
    run(&mut other, "FLUSHDB");
    assert_eq!(tubes_and_ready(&mut con), (1, 0));
    run(&mut con, "FLUSHALL");
    assert_eq!((tubes_and_ready(&mut con), total(&mut con, "current-jobs-delayed")), ((0, 0), 0));
    assert_eq!(total(&mut con, "total-jobs"), 4, "what happened has happened");
    drop(waiter);
}

#[test]
fn tubes_lists_names_in_byte_order() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for tube in ["b", "a", "ab", "A", "mail:eu", "mail:us", "~"] {
        put(&mut con, tube);
    }
    ok_int(&mut con, &[b"PHEAN.PUT".as_slice(), b"\xff", b"x"]);
    ok_int(&mut con, &[b"PHEAN.PUT".as_slice(), b"", b"x"]);
    run(&mut con, "SET b2 text");
    put(&mut server.connect_db(1), "elsewhere");
    let all = array(&run(&mut con, "PHEAN.TUBES")).iter().map(bytes).collect::<Vec<_>>();
    let expected: [&[u8]; 9] = [b"", b"A", b"a", b"ab", b"b", b"mail:eu", b"mail:us", b"~", b"\xff"];
    assert_eq!(all, expected);
    let mut names = |line: &str| texts(&run(&mut con, line));
    assert_eq!(names("PHEAN.TUBES MATCH mail:*"), ["mail:eu", "mail:us"]);
    assert_eq!(names("PHEAN.TUBES match [Aa]*"), ["A", "a", "ab"]);
    assert_eq!(names("PHEAN.TUBES MATCH nothing"), Vec::<String>::new());
    assert_eq!(names("PHEAN.TUBES FROM ab COUNT 2"), ["ab", "b"]);
    assert_eq!(names("PHEAN.TUBES COUNT 2 FROM aa"), ["ab", "b"], "FROM need not exist");
    assert_eq!(names("PHEAN.TUBES FROM b MATCH *:* COUNT 1"), ["mail:eu"]);
    let all = array(&run(&mut con, "PHEAN.TUBES COUNT 4294967295")).len();
    assert_eq!(all, 9);
    let range = "ERR COUNT must be an integer from 1 to 4294967295";
    assert_eq!(err(&mut con, &["PHEAN.TUBES", "COUNT", "0"]), range);
    assert_eq!(
        err(&mut con, &["PHEAN.TUBES", "MATCH"]),
        "ERR wrong number of arguments for 'phean.tubes' command"
    );
    assert_eq!(err(&mut con, &["PHEAN.TUBES", "emails"]), "ERR syntax error, unexpected 'emails'");
    assert_eq!(texts(&run(&mut server.connect_db(1), "PHEAN.TUBES")), ["elsewhere"]);
}

#[test]
fn tubes_with_stats_tells_about_each() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for options in ["", "PRI 9", "DELAY 100", ""] {
        put(&mut con, &format!("emails {options}"));
    }
    run(&mut con, "PHEAN.PUT sms x DELAY 100");
    take(&mut con, "PHEAN.RESERVE emails");
    take(&mut con, "PHEAN.RESERVE emails");
    count(&mut con, "PHEAN.BURY emails 1");
    run(&mut con, "PHEAN.PAUSE sms 500");
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "sms", "TIMEOUT", "100"]);
    let tubes = array(&run(&mut con, "PHEAN.TUBES WITHSTATS MATCH *s"));
    let rows: Vec<_> = tubes
        .iter()
        .map(|row| {
            let row = array(row);
            assert_eq!(row.len(), 8);
            (
                text(&row[0]),
                [1, 2, 3, 4, 5].map(|at: usize| int(&row[at])),
                seconds(&row[6]),
                seconds(&row[7]),
            )
        })
        .collect();
    // ready, delayed, reserved, buried, waiting
    assert_eq!((rows[0].0.as_str(), rows[0].1, rows[0].3), ("emails", [1, 1, 1, 1, 0], 0.0));
    assert_eq!((rows[1].0.as_str(), rows[1].1, rows[1].2), ("sms", [0, 1, 0, 0, 1], 0.0));
    assert!((400.0..=500.0).contains(&rows[1].3));
    drop(waiter);
}

#[test]
fn looking_at_something_else_is_refused() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "SET text value");
    put(&mut con, "emails");
    let before = everything(&mut con);
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    for line in ["PEEK text 1", "PEEK text READY", "JOB text 1", "CLAIMED text", "SCAN text 0", "STATS text"]
    {
        let words: Vec<String> = format!("PHEAN.{line}").split(' ').map(str::to_owned).collect();
        assert_eq!(err(&mut con, &words), wrong, "{line}");
    }
    assert_eq!(everything(&mut con), before);
}

/// All of it runs on a replica, and in a script that says it only reads.
#[test]
fn looking_works_on_replicas_and_in_read_only_scripts() {
    if !has_module() {
        return;
    }
    let (primary, replica) = (Server::start(&[]), Server::start(&[]));
    replica.replica_of(&primary);
    let mut con = primary.connect();
    put(&mut con, "emails");
    put(&mut con, "emails");
    take(&mut con, "PHEAN.RESERVE emails");
    replica.wait_synced(&primary);
    let mut there = replica.connect();
    for line in ["PEEK emails 1", "SCAN emails 0", "TUBES", "PEEK emails RESERVED"] {
        let line = format!("PHEAN.{line}");
        assert_eq!(run(&mut there, &line), run(&mut con, &line), "{line}");
    }
    assert_eq!(array(&run(&mut there, "PHEAN.CLAIMED emails")).len(), 1);
    let fields = ["state", "worker", "pri", "reserves", "attempt"];
    let (here, there_job) = (job(&mut con, "emails", 1), job(&mut there, "emails", 1));
    fields.iter().for_each(|name| assert_eq!(here[*name], there_job[*name], "{name}"));
    for name in ["current-jobs-ready", "current-jobs-reserved", "cmd-put", "total-jobs"] {
        assert_eq!(stat(&mut there, "emails", name), stat(&mut con, "emails", name), "{name}");
    }
    for line in [
        "PUT emails x",
        "RESERVE emails",
        "DELETE emails 1",
        "TOUCH emails 1",
        "PAUSE emails 5",
        "CLEAR emails",
    ] {
        let words: Vec<String> = format!("PHEAN.{line}").split(' ').map(str::to_owned).collect();
        assert!(err(&mut there, &words).starts_with("READONLY "), "{line}");
    }
    let script = "return redis.call('PHEAN.PEEK', KEYS[1], 'READY')[2]";
    assert_eq!(text(&run_script(&mut there, "EVAL_RO", script)), "body");
    let script = "return redis.call('PHEAN.RESERVE', KEYS[1])";
    assert!(cmd(&mut con, &["EVAL_RO", script, "1", "emails"]).is_err());
}

fn run_script(con: &mut Connection, eval: &str, script: &str) -> Value {
    cmd(con, &[eval, script, "1", "emails"]).unwrap()
}
