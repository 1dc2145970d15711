//! Every error, in its exact words, for every kind of bad input; and after each of them nothing has changed.

use crate::harness::{Server, has_module};
use crate::looking::{count, everything, put, stat, state, take};
use crate::raw::Raw;
use crate::reply::{array, cmd, err, error_line, int, map, ok_int, reserved, run, text};
use crate::waiting::Blocked;
use phean::codec::{begin_event, push_change};
use phean::queue::{Change, Then, Why};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redis::{Connection, Value};

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// A tube `t` with a ready job 1, a held job 2, a delayed job 3 and a buried job 4, and a string `text`.
fn filled(server: &Server) -> Connection {
    let mut con = server.connect();
    for options in ["PRI 5", "PRI 0 TTR 4000000", "DELAY 4000000", "PRI 9"] {
        put(&mut con, &format!("t {options}"));
    }
    take(&mut con, "PHEAN.RESERVE t");
    take(&mut con, "PHEAN.RESERVEJOB t 4");
    assert_eq!(count(&mut con, "PHEAN.BURY t 4"), 1);
    run(&mut con, "SET text value");
    con
}

/// Each line must be refused with its error, and leave everything as it was.
#[track_caller]
fn assert_refused<A: AsRef<[u8]>>(con: &mut Connection, cases: &[(Vec<A>, String)]) {
    let before = everything(con);
    for (args, error) in cases {
        let shown: Vec<String> = args
            .iter()
            .map(|arg| arg.as_ref().escape_ascii().to_string().chars().take(80).collect())
            .collect();
        assert_eq!(err(con, args), *error, "{}", shown.join(" "));
        assert_eq!(everything(con), before, "changed by {}", shown.join(" "));
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn missing_and_leftover_arguments_have_redis_own_words() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = filled(&server);
    let lines = "PUT|PUT t|PUT t b PRI|PUT t b PRI 5 DELAY|PUT t b TTR|\
        MPUT|MPUT t|MPUT t 1|MPUT t 2 b|MPUT t 1 b PRI|MPUT t 4294967295 b b b|\
        RESERVE|RESERVE t TIMEOUT|RESERVE t COUNT|RESERVE t TTR|\
        MRESERVE|MRESERVE 1|MRESERVE 2 t|MRESERVE 4294967295 t t|MRESERVE 1 t TIMEOUT|\
        RESERVEJOB|RESERVEJOB t|RESERVEJOB t 1 TTR|\
        DELETE|DELETE t|RELEASE|RELEASE t|RELEASE t 2 PRI|RELEASE t 2 DELAY|BURY|BURY t|BURY t 2 PRI|\
        TOUCH|TOUCH t|TOUCH t 2 FOR|KICK|KICK t|KICK t 1 1|KICKJOB|KICKJOB t|\
        PRIORITIZE|PRIORITIZE t|PRIORITIZE t 1|PRIORITIZE t 1 1 1|DELAY|DELAY t|DELAY t 1|DELAY t 1 1 1|\
        PAUSE|PAUSE t|PAUSE t 1 1|CLEAR|PEEK|PEEK t|PEEK t 1 1|JOB|JOB t|JOB t 1 1|\
        CLAIMED|CLAIMED t COUNT|SCAN|SCAN t|SCAN t 0 COUNT|SCAN t 0 STATE|STATS t t|\
        TUBES COUNT|TUBES MATCH|TUBES FROM|APPLY|APPLY t|APPLY t x x";
    let cases: Vec<_> = lines
        .split('|')
        .map(|line| {
            let name = line.split(' ').next().unwrap_or_default().to_lowercase();
            let error = format!("ERR wrong number of arguments for 'phean.{name}' command");
            (words(&format!("PHEAN.{line}")), error)
        })
        .collect();
    assert_refused(&mut con, &cases);
}

#[test]
fn unknown_and_repeated_keywords_are_unexpected() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = filled(&server);
    let lines = "PUT t b FOO|PUT t b pri 1 FOO|PUT t b PRI 1 pri|PUT t b DELAY 1 TTR 1 DELAY|PUT t b TIMEOUT|PUT t b COUNT|\
        PUT t b PRI 1 |MPUT t 1 b c|MPUT t 1 b PRI 5 FOO|MPUT t 2 b c PRI 1 PRI|\
        RESERVE t PRI|RESERVE t TIMEOUT 1 TIMEOUT|RESERVE t BOUND BOUND|RESERVE t COUNT 1 Count|RESERVE t 5|\
        MRESERVE 1 t u|MRESERVE 2 t u DELAY|RESERVEJOB t 1 COUNT|RESERVEJOB t 1 TIMEOUT|RESERVEJOB t 1 BOUND bound|\
        RELEASE t 2 FOO|RELEASE t 2 PRI 1 PRI|RELEASE t 2 UNTRIED UNTRIED|RELEASE t 2 PRI 1 7|\
        BURY t 2 DELAY|BURY t 2 PRI 1 PRI|TOUCH t 2 TTR|TOUCH t 2 FOR 1 FOR|\
        CLAIMED t FOO|CLAIMED t OLDEST OLDEST|CLAIMED t COUNT 1 COUNT|SCAN t 0 MATCH|SCAN t 0 COUNT 1 COUNT|\
        TUBES t|TUBES WITHSTATS WITHSTATS|TUBES FROM a FROM";
    let cases: Vec<_> = lines
        .split('|')
        .map(|line| {
            let last = line.split(' ').next_back().unwrap_or_default();
            (words(&format!("PHEAN.{line}")), format!("ERR syntax error, unexpected '{last}'"))
        })
        .collect();
    assert_refused(&mut con, &cases);
}

#[test]
fn numbers_out_of_range_are_named_with_their_range() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = filled(&server);
    let no_integers = [
        "-1",
        "+1",
        "",
        " ",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "01",
        "0x1",
        "nan",
        "inf",
        "x",
        "4294967296",
        "1,000",
        "18446744073709551616",
        "99999999999999999999999999",
        "-0",
        "١",
    ];
    let mut cases = Vec::new();
    for (line, name, min) in [
        ("PUT t b PRI", "PRI", 0),
        ("MPUT t 1 b PRI", "PRI", 0),
        ("RELEASE t 2 PRI", "PRI", 0),
        ("BURY t 2 PRI", "PRI", 0),
        ("PRIORITIZE t 1", "pri", 0),
        ("KICK t", "count", 0),
        ("RESERVE t COUNT", "COUNT", 1),
        ("MRESERVE 1 t COUNT", "COUNT", 1),
        ("CLAIMED t COUNT", "COUNT", 1),
        ("SCAN t 0 COUNT", "COUNT", 1),
        ("TUBES COUNT", "COUNT", 1),
    ] {
        let error = format!("ERR {name} must be an integer from {min} to 4294967295");
        for value in no_integers.iter().chain(if min == 1 { &["0"][..] } else { &[] }) {
            cases
                .push(([words(&format!("PHEAN.{line}")), vec![(*value).to_owned()]].concat(), error.clone()));
        }
    }
    for (line, name) in [("MPUT t VALUE b", "numjobs"), ("MRESERVE VALUE t", "numtubes")] {
        for value in no_integers.iter().chain(&["0"]) {
            let args = words(&format!("PHEAN.{line}"));
            let args =
                args.into_iter().map(|arg| if arg == "VALUE" { (*value).to_owned() } else { arg }).collect();
            cases.push((args, format!("ERR {name} must be an integer from 1 to 4294967295")));
        }
    }
    assert_refused(&mut con, &cases);
}

#[test]
fn seconds_out_of_range_are_named_with_their_range() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = filled(&server);
    let huge = "9".repeat(1 << 20);
    let no_seconds = [
        "-1",
        "+1",
        "-0",
        "",
        " ",
        "1 ",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "infinity",
        "0x10",
        "1s",
        "1:00",
        ".",
        "e",
        "1e",
        "1e+",
        "1..2",
        "1,5",
        "4294967296",
        "4294967295.001",
        "1e10",
        "1e999999999999999999999",
        "x",
        &huge,
    ];
    let mut cases = Vec::new();
    for (line, name, min) in [
        ("PUT t b DELAY", "DELAY", "0"),
        ("PUT t b TTR", "TTR", "0.001"),
        ("MPUT t 1 b DELAY", "DELAY", "0"),
        ("RESERVE t TIMEOUT", "TIMEOUT", "0"),
        ("RESERVE t TTR", "TTR", "0.001"),
        ("MRESERVE 1 t TIMEOUT", "TIMEOUT", "0"),
        ("RESERVEJOB t 1 TTR", "TTR", "0.001"),
        ("RELEASE t 2 DELAY", "DELAY", "0"),
        ("TOUCH t 2 FOR", "FOR", "0"),
        ("DELAY t 1", "seconds", "0"),
        ("PAUSE t", "seconds", "0"),
    ] {
        let error = format!("ERR {name} must be a number of seconds from {min} to 4294967295");
        for value in no_seconds.iter().chain(if min == "0" { &[][..] } else { &["0", "0.0", "0e5"] }) {
            cases
                .push(([words(&format!("PHEAN.{line}")), vec![(*value).to_owned()]].concat(), error.clone()));
        }
    }
    assert_refused(&mut con, &cases);
}

#[test]
fn what_is_no_id_and_no_lease_is_quoted_short_and_printable() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = filled(&server);
    let (long, huge) = ("1".repeat(65), "7".repeat(1 << 20));
    let shown: Vec<(&[u8], String)> = vec![
        (b"x", "x".into()),
        (b"", "".into()),
        (b"0", "0".into()),
        (b"-1", "-1".into()),
        (b"+1", "+1".into()),
        (b"1.0", "1.0".into()),
        (b"1-", "1-".into()),
        (b"1-x", "1-x".into()),
        (b"1-1-1", "1-1-1".into()),
        (b"9007199254740992", "9007199254740992".into()),
        (b"18446744073709551617", "18446744073709551617".into()),
        (b"1-18446744073709551616", "1-18446744073709551616".into()),
        (b"0x1", "0x1".into()),
        (b"1 ", "1 ".into()),
        (b"%s%n%s", "%s%n%s".into()),
        (b"1\0", "1\\x00".into()),
        (b"\r\n+OK\r\n", "\\r\\n+OK\\r\\n".into()),
        (b"\xff\xfe'", "\\xff\\xfe\\'".into()),
        (long.as_bytes(), format!("{}...", "1".repeat(64))),
        (huge.as_bytes(), format!("{}...", "7".repeat(64))),
    ];
    let mut cases: Vec<(Vec<Vec<u8>>, String)> = Vec::new();
    for (id, quoted) in &shown {
        // A bad one after good ones: none of them is acted upon.
        for line in [
            "DELETE t 1 ID",
            "DELETE t ID",
            "RELEASE t ID",
            "BURY t ID",
            "TOUCH t ID",
            "KICKJOB t 3 4 ID",
            "KICKJOB t ID 3",
            "PRIORITIZE t ID 1",
            "DELAY t ID 1",
            "RESERVEJOB t ID",
            "JOB t ID",
            "PEEK t ID",
            "DELETE missing ID",
        ] {
            let args = words(&format!("PHEAN.{line}"));
            let args = args.into_iter().map(|arg| if arg == "ID" { id.to_vec() } else { arg.into_bytes() });
            cases.push((args.collect(), format!("ERR invalid job id '{quoted}'")));
        }
    }
    assert_refused(&mut con, &cases);
    // A keyword is quoted in the same way.
    let keyword = [b"PHEAN.PUT".as_slice(), b"t", b"b", &[b'\0'; 100]];
    assert_eq!(err(&mut con, &keyword), format!("ERR syntax error, unexpected '{}...'", "\\x00".repeat(64)));
}

/// The error line goes to the client as one line, whatever was quoted in it.
#[test]
fn an_error_is_one_line() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut raw = Raw::connect(&server);
    let bad: [&[u8]; 3] = [b"PHEAN.DELETE", b"t", b"\r\n+OK\r\n%s\0\xff"];
    let line = "-ERR invalid job id '\\r\\n+OK\\r\\n%s\\x00\\xff'\r\n";
    assert_eq!(raw.ask(&bad), line);
    assert_eq!(raw.ask(&["PING"]), "+PONG\r\n");
    raw.ask(&["HELLO", "3"]);
    assert_eq!(raw.ask(&bad), line);
    assert_eq!(raw.ask(&["PING"]), "+PONG\r\n");
}

#[test]
fn every_command_with_a_key_refuses_another_type() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = filled(&server);
    let lines = "PUT text b|MPUT text 1 b|RESERVE text|RESERVE text TIMEOUT 5|MRESERVE 2 t text|RESERVEJOB text 1|\
        DELETE text 1|RELEASE text 1|BURY text 1|TOUCH text 1|KICK text 1|KICK text 0|KICKJOB text 1|\
        PRIORITIZE text 1 1|DELAY text 1 1|PAUSE text 0|PAUSE text 1|CLEAR text|CLEAR text READY|PEEK text 1|\
        PEEK text READY|JOB text 1|CLAIMED text|SCAN text 0|STATS text";
    let cases: Vec<_> =
        lines.split('|').map(|line| (words(&format!("PHEAN.{line}")), WRONG_TYPE.to_owned())).collect();
    assert_refused(&mut con, &cases);
    assert_eq!(text(&run(&mut con, "GET text")), "value");
}

/// Bad arguments are found before the key is looked at, so that a command's answer does not depend on the data.
#[test]
fn bad_arguments_are_found_first() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.drain yes", "phean.max-job-size 3"]);
    let mut con = server.connect();
    run(&mut con, "SET text value");
    let cases = [
        ("PHEAN.PUT text body PRI x", "ERR PRI must be an integer from 0 to 4294967295"),
        ("PHEAN.PUT text body", "TOOBIG job body of 4 bytes exceeds phean.max-job-size (3)"),
        ("PHEAN.PUT text b", "DRAINING the server takes no new jobs"),
        ("PHEAN.RESERVE text TIMEOUT x", "ERR TIMEOUT must be a number of seconds from 0 to 4294967295"),
        ("PHEAN.DELETE text x", "ERR invalid job id 'x'"),
        ("PHEAN.KICK text x", "ERR count must be an integer from 0 to 4294967295"),
    ];
    let cases: Vec<_> = cases.iter().map(|(line, error)| (words(line), (*error).to_owned())).collect();
    assert_refused(&mut con, &cases);
}

#[test]
fn an_error_in_a_transaction_or_script_stops_only_its_own_command() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "MULTI");
    run(&mut con, "PHEAN.PUT t a");
    run(&mut con, "PHEAN.PUT t b PRI x");
    run(&mut con, "PHEAN.PUT t c");
    let replies = array(&run(&mut con, "EXEC"));
    assert_eq!((&replies[0], &replies[2]), (&Value::Int(1), &Value::Int(2)));
    assert!(matches!(&replies[1], Value::ServerError(_)), "{replies:?}");
    // A wrong count of arguments is found when the command is queued, and none of them runs.
    run(&mut con, "MULTI");
    run(&mut con, "PHEAN.PUT t a");
    assert_eq!(err(&mut con, &["PHEAN.PUT", "t"]), "ERR wrong number of arguments for 'phean.put' command");
    assert!(err(&mut con, &["EXEC"]).starts_with("EXECABORT "));
    let script = "local r = redis.pcall('PHEAN.DELETE', KEYS[1], 'x') redis.call('PHEAN.PUT', KEYS[1], 'd') return r.err";
    let error = text(&cmd(&mut con, &["EVAL", script, "1", "t"]).unwrap());
    assert!(error.starts_with("ERR invalid job id 'x'"), "{error}");
    assert_eq!(count(&mut con, "PHEAN.CLEAR t"), 3);
}

/// `COUNT` may be as large as it is written, whatever is there.
#[test]
fn huge_counts_cost_nothing() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = filled(&server);
    for line in ["CLAIMED t COUNT 4294967295", "SCAN t 0 COUNT 4294967295", "TUBES COUNT 4294967295"] {
        run(&mut con, &format!("PHEAN.{line}"));
    }
    assert_eq!(count(&mut con, "PHEAN.KICK t 4294967295"), 1);
    assert_eq!(array(&run(&mut con, "PHEAN.MRESERVE 2 t u COUNT 4294967295")).len(), 2);
    let waiter =
        Blocked::start(&server, &["PHEAN.RESERVE", "t", "COUNT", "4294967295", "TIMEOUT", "4294967295"]);
    put(&mut con, "t");
    assert_eq!(array(&waiter.join().unwrap()).len(), 1);
}

fn event(at_ms: u64, changes: &[Change<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin_event(at_ms, &mut bytes);
    changes.iter().for_each(|change| push_change(change, &mut bytes));
    bytes
}

const AT_MS: u64 = 1_790_000_000_000;

fn put_change(id: u64) -> Change<'static> {
    Change::Put { id, pri: 5, delay_ms: 0, ttr_ms: 60_000, body: b"hello" }
}

#[test]
fn an_event_that_makes_no_sense_is_refused() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[]);
    server.forgive_apply_errors();
    let mut con = filled(&server);
    let before = everything(&mut con);
    let good = put_change(1 << 40);
    let reserve = |id, n, ttr_ms| Change::Reserve { id, n, worker: 3, ttr_ms };
    let back = Change::Return { id: 1, why: Why::TimedOut, then: Then::Ready, pri: 5 };
    let bad: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"garbage".to_vec(),
        b"%s%n".to_vec(),
        vec![1],
        vec![0; 1 << 20],
        vec![0xff; 1 << 20],
        vec![1, 0],
        event(AT_MS, &[]),
        event(u64::MAX, &[good]),
        // Ids of 2^53 and more, and 0, from outside are bad data.
        event(AT_MS, &[put_change(1 << 53)]),
        event(AT_MS, &[put_change(u64::MAX)]),
        event(AT_MS, &[put_change(0)]),
        // The first change is good, the second is not: neither is made.
        event(AT_MS, &[good, put_change(1 << 40)]),
        event(AT_MS, &[good, put_change(1 << 53)]),
        event(AT_MS, &[good, Change::Delete { id: 999 }]),
        event(AT_MS, &[Change::Put { id: 1 << 40, pri: 5, delay_ms: 0, ttr_ms: 0, body: b"" }]),
        event(AT_MS, &[Change::Put { id: 1 << 40, pri: 5, delay_ms: u64::MAX, ttr_ms: 5, body: b"" }]),
        event(AT_MS, &[reserve(2, u64::MAX >> 17, 5)]),
        event(AT_MS, &[reserve(1, 0, 5)]),
        event(AT_MS, &[reserve(1, AT_MS, 0)]),
        event(AT_MS, &[reserve(1, AT_MS, u64::MAX)]),
        event(AT_MS, &[back]),
        event(AT_MS, &[Change::Bury { id: 1, pri: 5 }]),
        event(AT_MS, &[Change::Touch { id: 1, for_ms: 5 }]),
        event(AT_MS, &[Change::Kick { id: 1 }]),
        event(AT_MS, &[Change::Promote { id: 1 }]),
        event(AT_MS, &[Change::Remove]),
        event(AT_MS, &[Change::Pause { for_ms: u64::MAX }]),
        [event(AT_MS, &[good]), vec![0xff]].concat(),
        event(AT_MS, &[good])[..8].to_vec(),
    ];
    for event in &bad {
        let shown =
            event.iter().take(40).flat_map(|byte| byte.escape_ascii()).map(char::from).collect::<String>();
        let error = err(&mut con, &[b"PHEAN.APPLY".as_slice(), b"t", event]);
        assert!(error.starts_with("ERR invalid event: "), "{shown}: {error}");
        assert_eq!(everything(&mut con), before, "{shown}");
        // On a missing tube as well, and none is created.
        let error = err(&mut con, &[b"PHEAN.APPLY".as_slice(), b"missing", event]);
        assert!(error.starts_with("ERR invalid event: "), "{shown}: {error}");
        assert_eq!(count(&mut con, "EXISTS missing"), 0, "{shown}");
    }
    let info = server.info("phean");
    assert_eq!(info["phean_apply_errors"], (bad.len() * 2).to_string());
    // Fine for a tube that has not been there, but not for one that has held higher ids.
    let old = event(AT_MS, &[put_change(2)]);
    assert!(err(&mut con, &[b"PHEAN.APPLY".as_slice(), b"t", &old]).starts_with("ERR invalid event: "));
    assert_eq!(everything(&mut con), before);
    let good = event(AT_MS, &[good]);
    assert_eq!(err(&mut con, &[b"PHEAN.APPLY".as_slice(), b"text", &good]), WRONG_TYPE);
    // An id that far away was refused, not remembered.
    assert_eq!(put(&mut con, "t"), 5);
    assert_eq!(text(&cmd(&mut con, &[b"PHEAN.APPLY".as_slice(), b"t", &good]).unwrap()), "OK");
    assert_eq!(state(&mut con, "t", 1 << 40), "ready");
    assert!(put(&mut con, "u") > 1 << 40);
}

/// Whatever an event says, the server lives, and the tube can be saved and comes back as it was.
#[test]
fn damaged_events_do_no_damage() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[]);
    server.forgive_apply_errors();
    let mut con = server.connect();
    let good = event(
        AT_MS,
        &[
            put_change(7),
            put_change(8),
            Change::Reserve { id: 7, n: AT_MS, worker: 3, ttr_ms: 3_000_000_000 },
            Change::Bury { id: 7, pri: 9 },
            Change::Pause { for_ms: 3_000_000_000 },
        ],
    );
    let mut accepted = 0;
    for at in 0..good.len() {
        for byte in [0, 1, 2, 7, 9, 13, 127, 128, 250, 251, 252, 253, 254, 255] {
            let mut damaged = good.clone();
            damaged[at] = byte;
            let name = format!("t{at}-{byte}");
            accepted +=
                u32::from(cmd(&mut con, &[b"PHEAN.APPLY".as_slice(), name.as_bytes(), &damaged]).is_ok());
        }
    }
    assert!(accepted > 0);
    let digest = run(&mut con, "DEBUG DIGEST");
    run(&mut con, "DEBUG RELOAD");
    assert_eq!(run(&mut con, "DEBUG DIGEST"), digest);
    for name in array(&run(&mut con, "PHEAN.TUBES")) {
        let name = text(&name);
        run(&mut con, &format!("PHEAN.STATS {name}"));
        run(&mut con, &format!("PHEAN.RESERVE {name} COUNT 5"));
        run(&mut con, &format!("PHEAN.CLEAR {name} READY DELAYED BURIED RESERVED"));
    }
}

/// Who replays a stream into a primary (`redis-cli --pipe`, a proxy) sees what follows from it.
#[test]
fn an_applied_event_serves_those_who_wait() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
    let put = event(AT_MS, &[put_change(77)]);
    assert_eq!(text(&cmd(&mut con, &[b"PHEAN.APPLY".as_slice(), b"t", &put]).unwrap()), "OK");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, 77);
}

#[test]
fn apply_needs_the_right_to_replicaof() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER half on >pw ~* +@all -@admin -@dangerous +phean.apply");
    run(&mut con, "ACL SETUSER none on >pw ~* +@all -phean.apply");
    run(&mut con, "ACL SETUSER full on >pw ~* +phean.apply +replicaof");
    run(&mut con, "ACL SETUSER elsewhere on >pw ~other +phean.apply +replicaof");
    let good = event(AT_MS, &[put_change(77)]);
    let apply = [b"PHEAN.APPLY".as_slice(), b"t", &good];
    for user in ["half", "none", "elsewhere"] {
        let error = err(&mut server.connect_as(user, "pw"), &apply);
        assert!(error.starts_with("NOPERM "), "{user}: {error}");
        // Not by way of a transaction or script either.
        let mut con = server.connect_as(user, "pw");
        if user == "half" {
            run(&mut con, "MULTI");
            cmd(&mut con, &apply).unwrap();
            let replies = array(&run(&mut con, "EXEC"));
            assert!(matches!(&replies[0], Value::ServerError(_)), "{replies:?}");
            let script = b"return redis.call('PHEAN.APPLY', KEYS[1], ARGV[1])".as_slice();
            let error = cmd(&mut con, &[b"EVAL".as_slice(), script, b"1", b"t", &good]).unwrap_err();
            assert!(error_line(&error).contains("PHEAN.APPLY"), "{error}");
        }
    }
    assert_eq!(count(&mut con, "EXISTS t"), 0);
    assert_eq!(text(&cmd(&mut server.connect_as("full", "pw"), &apply).unwrap()), "OK");
    assert_eq!(state(&mut con, "t", 77), "ready");
}

#[test]
fn redis_own_errors_come_by_the_commands_flags() {
    if !has_module() {
        return;
    }
    let (primary, replica) = (Server::start(&[]), Server::start(&["requirepass pw"]));
    let mut raw = Raw::connect(&replica);
    for line in
        ["PHEAN.PUT t b", "PHEAN.RESERVE t TIMEOUT 5", "PHEAN.STATS", "PHEAN.TUBES", "PHEAN.PEEK t READY"]
    {
        assert_eq!(raw.ask(&words(line)), "-NOAUTH Authentication required.\r\n", "{line}");
    }
    assert_eq!(raw.ask(&["AUTH", "pw"]), "+OK\r\n");
    assert_eq!(raw.ask(&["CONFIG", "SET", "requirepass", ""]), "+OK\r\n");
    replica.replica_of(&primary);
    ok_int(&mut primary.connect(), &["PHEAN.PUT", "t", "b"]);
    replica.wait_synced(&primary);
    let read_only = "READONLY You can't write against a read only replica.";
    let mut con = replica.connect();
    for line in [
        "PUT t b",
        "MPUT t 1 b",
        "RESERVE t TIMEOUT 5",
        "MRESERVE 1 t",
        "RESERVEJOB t 1",
        "DELETE t 1",
        "RELEASE t 1",
        "BURY t 1",
        "TOUCH t 1",
        "KICK t 1",
        "KICKJOB t 1",
        "PRIORITIZE t 1 1",
        "DELAY t 1 1",
        "PAUSE t 1",
        "CLEAR t",
        "APPLY t x",
    ] {
        assert_eq!(err(&mut con, &words(&format!("PHEAN.{line}"))), read_only, "{line}");
    }
    assert_eq!(text(&map(&run(&mut con, "PHEAN.JOB t 1"))["state"]), "ready");
}

#[test]
fn when_all_ids_are_used_up_everything_but_putting_works() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "t");
    let last = (1 << 53) - 1;
    let one_before = event(AT_MS, &[put_change(last - 1)]);
    cmd(&mut con, &[b"PHEAN.APPLY".as_slice(), b"u", &one_before]).unwrap();
    let used_up = "ERR all job ids are used up";
    // There is one left, but not two.
    assert_refused(&mut con, &[(words("PHEAN.MPUT t 2 a b"), used_up.to_owned())]);
    assert_eq!(put(&mut con, "t"), last as i64);
    let cases = ["PHEAN.PUT t a", "PHEAN.PUT new a", "PHEAN.MPUT u 1 a"];
    let cases: Vec<_> = cases.iter().map(|line| (words(line), used_up.to_owned())).collect();
    assert_refused(&mut con, &cases);
    assert_eq!(count(&mut con, "EXISTS new"), 0);
    let job = take(&mut con, &format!("PHEAN.RESERVEJOB t {last}"));
    assert_eq!(count(&mut con, &format!("PHEAN.DELETE t {}", job.lease)), 1);
    assert_eq!(take(&mut con, "PHEAN.RESERVE t").id, 1);
}

/// Any words in any order (but for TIMEOUT, which would wait): the server lives, and what it holds can be saved and
/// loaded.
#[test]
fn nonsense_does_no_harm() {
    if !has_module() {
        return;
    }
    const NAMES: [&str; 21] = [
        "PUT",
        "MPUT",
        "RESERVE",
        "MRESERVE",
        "RESERVEJOB",
        "DELETE",
        "RELEASE",
        "BURY",
        "TOUCH",
        "KICK",
        "KICKJOB",
        "PRIORITIZE",
        "DELAY",
        "PAUSE",
        "CLEAR",
        "PEEK",
        "JOB",
        "CLAIMED",
        "SCAN",
        "STATS",
        "TUBES",
    ];
    const WORDS: [&str; 33] = [
        "PRI",
        "DELAY",
        "TTR",
        "COUNT",
        "BOUND",
        "FOR",
        "UNTRIED",
        "OLDEST",
        "STATE",
        "READY",
        "DELAYED",
        "BURIED",
        "RESERVED",
        "MATCH",
        "FROM",
        "WITHSTATS",
        "*",
        "0",
        "1",
        "2",
        "3",
        "5",
        "0.001",
        "4294967295",
        "4294967296",
        "-1",
        "nan",
        "",
        "1-1",
        "9007199254740991",
        "a",
        "b",
        "text",
    ];
    let server = Server::start(&["phean.tube-linger 0"]);
    let mut con = server.connect();
    run(&mut con, "SET text value");
    let mut random = SmallRng::seed_from_u64(11300);
    let mut answered = 0;
    for _ in 0..10_000 {
        let name = NAMES[random.random_range(0..NAMES.len())];
        let tube = ["a", "b", "2", "text"][random.random_range(0..4)];
        let mut line = vec![format!("PHEAN.{name}"), tube.to_owned()];
        let more = random.random_range(0..4);
        line.extend((0..more).map(|_| WORDS[random.random_range(0..WORDS.len())].to_owned()));
        answered += usize::from(cmd(&mut con, &line).is_ok());
    }
    assert!(answered > 500, "{answered}");
    // Jobs without a deadline stay as they are: what is counted is what is there, and all of it is saved.
    run(&mut con, "PHEAN.CLEAR a READY DELAYED RESERVED");
    run(&mut con, "PHEAN.CLEAR b READY DELAYED RESERVED");
    run(&mut con, "PHEAN.CLEAR 2 READY DELAYED RESERVED");
    for tube in array(&run(&mut con, "PHEAN.TUBES")) {
        run(&mut con, &format!("PHEAN.PAUSE {} 5000", text(&tube)));
    }
    put(&mut con, "kept");
    let digest = run(&mut con, "DEBUG DIGEST");
    let totals = map(&run(&mut con, "PHEAN.STATS"));
    for state in ["ready", "delayed", "reserved", "buried"] {
        let name = format!("current-jobs-{state}");
        let tubes = array(&run(&mut con, "PHEAN.TUBES"));
        let sum: i64 = tubes.iter().map(|tube| stat(&mut con, &text(tube), &name)).sum();
        assert_eq!(int(&totals[&name]), sum, "{name}");
    }
    run(&mut con, "DEBUG RELOAD");
    assert_eq!(run(&mut con, "DEBUG DIGEST"), digest);
}
