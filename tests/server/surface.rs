//! What Redis shows of the module and does with it around the commands themselves: their documentation, settings,
//! notifications, WATCH and tracking, memory, transactions and scripts.

use crate::dataset::tells_where_transactions_move;
use crate::harness::{Server, client_id, has_module, module_path};
use crate::looking::{count, job_int, put, stat, state, take, texts};
use crate::raw::Raw;
use crate::reply::{array, bytes, cmd, err, int, map, ok_int, reserved, reserved_many, run, seconds, text};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Every command: its name, its keys as `COMMAND INFO` says them, and its flags.
const COMMANDS: [(&str, [i64; 3], &str); 22] = [
    ("put", [1, 1, 1], "write denyoom"),
    ("mput", [1, 1, 1], "write denyoom"),
    ("reserve", [1, 1, 1], "write blocking"),
    ("mreserve", [0, 0, 0], "write blocking movablekeys"),
    ("reservejob", [1, 1, 1], "write"),
    ("delete", [1, 1, 1], "write"),
    ("release", [1, 1, 1], "write"),
    ("bury", [1, 1, 1], "write"),
    ("touch", [1, 1, 1], "write"),
    ("kick", [1, 1, 1], "write"),
    ("kickjob", [1, 1, 1], "write"),
    ("prioritize", [1, 1, 1], "write"),
    ("delay", [1, 1, 1], "write"),
    ("pause", [1, 1, 1], "write"),
    ("clear", [1, 1, 1], "write"),
    ("peek", [1, 1, 1], "readonly"),
    ("job", [1, 1, 1], "readonly"),
    ("claimed", [1, 1, 1], "readonly"),
    ("scan", [1, 1, 1], "readonly"),
    ("stats", [1, 1, 1], "readonly"),
    ("tubes", [0, 0, 0], "readonly"),
    ("apply", [1, 1, 1], "write"),
];

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn redis_knows_every_command() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let listed: BTreeSet<String> =
        texts(&run(&mut con, "COMMAND LIST FILTERBY MODULE phean")).into_iter().collect();
    let expected: BTreeSet<String> = COMMANDS.iter().map(|(name, ..)| format!("phean.{name}")).collect();
    assert_eq!(listed, expected);
    let plain = count(&mut Server::start_plain(&[]).connect(), "COMMAND COUNT");
    assert_eq!(count(&mut con, "COMMAND COUNT"), plain + 22);
    for (name, keys, flags) in COMMANDS {
        let info = array(&array(&run(&mut con, &format!("COMMAND INFO PHEAN.{name}")))[0]);
        assert_eq!(text(&info[0]), format!("phean.{name}"));
        let has: BTreeSet<String> = texts(&info[2]).into_iter().collect();
        for flag in [
            "write",
            "readonly",
            "denyoom",
            "blocking",
            "movablekeys",
            "admin",
            "noscript",
            "loading",
            "stale",
        ] {
            let expected = flags.split(' ').any(|word| word == flag);
            assert_eq!(has.contains(flag), expected, "{name}: {flag} in {has:?}");
        }
        assert_eq!([3, 4, 5].map(|at: usize| int(&info[at])), keys, "{name}");
    }
}

#[test]
fn every_command_is_documented() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for (name, ..) in COMMANDS {
        let docs = map(&run(&mut con, &format!("COMMAND DOCS phean.{name}")));
        let docs = map(&docs[&format!("phean.{name}")]);
        assert!(text(&docs["summary"]).len() > 10 && text(&docs["complexity"]).starts_with("O("), "{name}");
        assert_eq!(
            (text(&docs["group"]).as_str(), text(&docs["since"]).as_str()),
            ("module", "0.1.0"),
            "{name}"
        );
        let arguments: Vec<_> = array(&docs["arguments"]).iter().map(map).collect();
        let tokens: Vec<String> =
            arguments.iter().filter_map(|argument| argument.get("token").map(text)).collect();
        let expected: &[&str] = match name {
            "put" | "mput" => &["PRI", "DELAY", "TTR"],
            "reserve" | "mreserve" => &["TIMEOUT", "COUNT", "TTR", "BOUND"],
            "reservejob" => &["TTR", "BOUND"],
            "release" => &["PRI", "DELAY", "UNTRIED"],
            "bury" => &["PRI"],
            "touch" => &["FOR"],
            "claimed" => &["COUNT", "OLDEST"],
            "scan" => &["STATE", "COUNT"],
            "tubes" => &["MATCH", "FROM", "COUNT", "WITHSTATS"],
            _ => &[],
        };
        assert_eq!(tokens, expected, "{name}");
        if name != "tubes" {
            let tube =
                arguments.iter().find(|argument| text(&argument["name"]) == "tube").expect("it has a tube");
            assert_eq!(text(&tube["type"]), "key", "{name}");
        }
    }
}

#[test]
fn redis_finds_the_keys_of_every_command() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for (line, keys, flags) in [
        ("put t b", "t", "RW insert"),
        ("mput t 2 b b PRI 5", "t", "RW insert"),
        ("reserve t TIMEOUT 5", "t", "RW access update"),
        ("mreserve 1 t", "t", "RW access update"),
        ("mreserve 3 a b c TIMEOUT 5", "a b c", "RW access update"),
        ("mreserve 2 TIMEOUT COUNT COUNT 5", "TIMEOUT COUNT", "RW access update"),
        ("reservejob t 1", "t", "RW access update"),
        ("delete t 1 2", "t", "RW delete"),
        ("release t 1 2 PRI 5", "t", "RW update"),
        ("bury t 1", "t", "RW update"),
        ("touch t 1", "t", "RW update"),
        ("kick t 1", "t", "RW update"),
        ("kickjob t 1", "t", "RW update"),
        ("prioritize t 1 1", "t", "RW update"),
        ("delay t 1 1", "t", "RW update"),
        ("pause t 1", "t", "RW update"),
        ("clear t READY", "t", "RW delete"),
        ("peek t 1", "t", "RO access"),
        ("job t 1", "t", "RO access"),
        ("claimed t", "t", "RO access"),
        ("scan t 0", "t", "RO access"),
        ("stats t", "t", "RO access"),
        ("apply t x", "t", "RW insert"),
    ] {
        let keys: Vec<&str> = keys.split(' ').collect();
        assert_eq!(texts(&run(&mut con, &format!("COMMAND GETKEYS PHEAN.{line}"))), keys, "{line}");
        let reply = array(&run(&mut con, &format!("COMMAND GETKEYSANDFLAGS PHEAN.{line}")));
        let found: Vec<_> =
            reply.iter().map(|pair| (text(&array(pair)[0]), texts(&array(pair)[1]))).collect();
        let flags: Vec<String> = words(flags);
        assert_eq!(
            found,
            keys.iter().map(|key| ((*key).to_owned(), flags.clone())).collect::<Vec<_>>(),
            "{line}"
        );
    }
    for line in [
        "tubes",
        "stats",
        "mreserve 0 t",
        "mreserve x t",
        "mreserve 2 t",
        "mreserve -1 t",
        "mreserve 4294967295 t",
    ] {
        let args = words(&format!("COMMAND GETKEYS PHEAN.{line}"));
        assert!(cmd(&mut con, &args).is_err(), "{line} has no keys that could be told");
    }
}

/// What `CONFIG GET phean.*` says, but for the settings of the beanstalk port.
fn settings(con: &mut Connection) -> BTreeMap<String, String> {
    map(&run(con, "CONFIG GET phean.*")).into_iter().map(|(name, value)| (name, text(&value))).collect()
}

#[test]
fn settings_have_the_defaults_of_the_contract() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let settings = settings(&mut server.connect());
    for (name, value) in [
        ("max-job-size", "65535"),
        ("ttr", "60"),
        ("tube-linger", "3600"),
        ("drain", "no"),
        ("retry-count", "-1"),
        ("retry-interval", "0"),
    ] {
        assert_eq!(settings[&format!("phean.{name}")], value, "{name}");
    }
}

#[test]
fn settings_are_set_at_run_time_kept_by_rewrite_and_read_from_redis_conf() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&["phean.ttr 30.5", "phean.max-job-size 100kb", "phean.drain yes"]);
    let mut con = server.connect();
    let found = settings(&mut con);
    let three = ["phean.ttr", "phean.max-job-size", "phean.drain"].map(|name| found[name].clone());
    assert_eq!(three, ["30.5", "102400", "yes"]);
    for (name, value, shown) in [
        ("ttr", "0.001", "0.001"),
        ("ttr", "4294967295", "4294967295"),
        ("ttr", "1e2", "100"),
        ("tube-linger", "0", "0"),
        ("tube-linger", "0.0001", "0.001"),
        ("retry-interval", "2.50", "2.5"),
        ("retry-count", "0", "0"),
        ("retry-count", "4294967295", "4294967295"),
        ("retry-count", "-1", "-1"),
        ("retry-count", "3", "3"),
        ("max-job-size", "0", "0"),
        ("max-job-size", "1gb", "1073741824"),
        ("max-job-size", "1mb", "1048576"),
        ("drain", "NO", "no"),
    ] {
        assert_eq!(text(&run(&mut con, &format!("CONFIG SET phean.{name} {value}"))), "OK");
        assert_eq!(settings(&mut con)[&format!("phean.{name}")], shown, "{name} {value}");
    }
    let before = settings(&mut con);
    assert_eq!(text(&run(&mut con, "CONFIG REWRITE")), "OK");
    server.restart();
    assert_eq!(settings(&mut server.connect()), before);
}

#[test]
fn impossible_settings_are_refused_with_a_reason() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let before = settings(&mut con);
    for (name, values) in [
        ("ttr", &["0", "-1", "nan", "inf", "x", "", "4294967296", "0x10", "1s", "0.0"][..]),
        ("tube-linger", &["-1", "nan", "x", "", "4294967296", "1e10"]),
        ("retry-interval", &["-0.5", "nan", "x", "4294967296"]),
        ("retry-count", &["-2", "x", "1.5", "4294967296", "", "nan"]),
        ("max-job-size", &["-1", "1073741825", "2gb", "x", "1.5"]),
        ("drain", &["maybe", "2", ""]),
    ] {
        let name = format!("phean.{name}");
        for value in values {
            let error = err(&mut con, &["CONFIG", "SET", &name, value]);
            let (start, reason) = error.split_once(" - ").unwrap_or((&error, ""));
            assert_eq!(
                start,
                format!("ERR CONFIG SET failed (possibly related to argument '{name}')"),
                "{value}"
            );
            assert!(reason.len() > 10, "{name} {value}: {error}");
        }
    }
    // Several at once: all or none.
    let args = ["CONFIG", "SET", "phean.ttr", "5", "phean.retry-count", "x"];
    assert!(cmd(&mut con, &args).is_err());
    assert_eq!(settings(&mut con), before);
    assert_eq!(text(&run(&mut con, "CONFIG SET phean.ttr 5 phean.retry-count 7")), "OK");
    let reason = err(&mut con, &["CONFIG", "SET", "phean.ttr", "soon"]);
    assert!(reason.ends_with("argument must be a number of seconds from 0.001 to 4294967295"), "{reason}");
}

#[test]
fn a_server_with_an_impossible_setting_does_not_start() {
    if !has_module() {
        return;
    }
    for line in [
        "phean.ttr 0",
        "phean.retry-count -2",
        "phean.max-job-size 2gb",
        "phean.drain maybe",
        "phean.nonsense 1",
    ] {
        let Err(log) = Server::try_start(&[line]) else { panic!("it started with {line}") };
        let name = line.split(' ').next().unwrap_or_default();
        assert!(log.contains(name) || log.contains("phean"), "{line}:\n{log}");
    }
}

fn is_loaded(con: &mut Connection) -> bool {
    array(&run(con, "MODULE LIST")).iter().any(|module| text(&map(module)["name"]) == "phean")
}

/// Where there are data, or a snapshot, there may have been tubes, whose ids do not come again.
#[test]
fn loaded_into_a_server_with_data_it_goes_on_at_the_clock() {
    let Some(path) = module_path() else { return };
    for (db, before, is_fresh) in
        [(0, "PING", true), (0, "SET a b", false), (9, "SET a b", false), (0, "SAVE", false)]
    {
        let server = Server::start_plain(&[]);
        run(&mut server.connect_db(db), before);
        let mut con = server.connect();
        let before_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        run(&mut con, &format!("MODULE LOAD {}", path.display()));
        let id = put(&mut con, "t");
        assert!(if is_fresh { id == 1 } else { i128::from(id) >= before_us.cast_signed() }, "{before}: {id}");
    }
}

#[test]
fn loadex_takes_settings_and_no_arguments() {
    let Some(path) = module_path() else { return };
    let path = path.display().to_string();
    let server = Server::start_plain(&[]);
    let mut con = server.connect();
    for bad in ["CONFIG phean.ttr 0", "CONFIG phean.ttr soon", "ARGS x", "CONFIG phean.ttr 5 ARGS x"] {
        let args = words(&format!("MODULE LOADEX {path} {bad}"));
        assert!(cmd(&mut con, &args).is_err(), "{bad}");
        // Newer servers have modules of their own.
        assert!(!is_loaded(&mut con), "{bad}");
        assert!(err(&mut con, &["PHEAN.PUT", "t", "b"]).starts_with("ERR unknown command"), "{bad}");
    }
    run(&mut con, &format!("MODULE LOADEX {path} CONFIG phean.ttr 5 CONFIG phean.drain no"));
    assert_eq!(settings(&mut con)["phean.ttr"], "5");
    let id = put(&mut con, "t");
    assert_eq!(take(&mut con, &format!("PHEAN.RESERVEJOB t {id}")).ttr, 5.0);
    // A module with a data type cannot be unloaded, and is not loaded twice.
    assert!(cmd(&mut con, &["MODULE", "UNLOAD", "phean"]).is_err());
    assert!(cmd(&mut con, &["MODULE", "LOAD", &path]).is_err());
    assert_eq!(state(&mut con, "t", id), "reserved");
    let modules = array(&run(&mut con, "MODULE LIST"));
    let module =
        modules.iter().map(map).find(|module| text(&module["name"]) == "phean").expect("it is there");
    assert_eq!((text(&module["name"]).as_str(), int(&module["ver"])), ("phean", 100));
}

#[test]
fn info_has_the_totals_gauges_and_waits() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for options in ["PRI 1", "", "DELAY 100"] {
        put(&mut con, &format!("emails {options}"));
    }
    put(&mut server.connect_db(2), "sms");
    take(&mut con, "PHEAN.RESERVE emails");
    count(&mut con, "PHEAN.BURY emails 1");
    take(&mut con, "PHEAN.RESERVE emails TTR 0.01");
    eventually(|| state(&mut con, "emails", 2) == "ready");
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "fax", "TIMEOUT", "100"]);
    let info = server.info("phean");
    assert!(info.keys().all(|name| name.starts_with("phean_")), "{info:?}");
    let stats = map(&run(&mut con, "PHEAN.STATS"));
    for (name, value) in &info {
        let name = name.trim_start_matches("phean_").replace('_', "-");
        if let Some(Value::Int(number)) = stats.get(&name) {
            assert_eq!(value, &number.to_string(), "{name}");
        }
    }
    for (name, value) in [
        ("current_tubes", "2"),
        ("current_jobs_ready", "2"),
        ("current_jobs_delayed", "1"),
        ("current_jobs_buried", "1"),
        ("current_jobs_reserved", "0"),
        ("current_waiting", "1"),
        ("total_jobs", "4"),
        ("cmd_reserve", "2"),
        ("job_timeouts", "1"),
        ("apply_errors", "0"),
    ] {
        assert_eq!(info[&format!("phean_{name}")], value, "{name}");
    }
    assert!(server.info("everything").contains_key("phean_total_jobs"));
    assert!(text(&run(&mut con, "INFO phean")).contains("# phean_"));
    drop(waiter);
}

/// Reads published messages up to the one that says `done`, as `channel message`.
fn published(raw: &mut Raw, con: &mut Connection) -> Vec<String> {
    run(con, "PUBLISH __keydone done");
    let mut messages = Vec::new();
    loop {
        let reply = raw.reply();
        let parts: Vec<&str> = reply.split("\r\n").collect();
        let (channel, message) = (parts[6], parts[8]);
        if message == "done" {
            return messages;
        }
        messages.push(format!("{channel} {message}"));
    }
}

#[test]
fn every_change_is_notified_by_its_kind() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["notify-keyspace-events Kd"]);
    let mut con = server.connect();
    let mut raw = Raw::connect(&server);
    raw.ask(&["PSUBSCRIBE", "__key*"]);
    for (line, kinds) in [
        ("PUT emails x", "put"),
        ("MPUT emails 3 x y z", "put"),
        ("RESERVE emails", "reserve"),
        ("RESERVE emails COUNT 9", "reserve"),
        ("RESERVE emails COUNT 9", ""),
        ("TOUCH emails 1 2", "touch"),
        ("RELEASE emails 1 2", "release"),
        ("RELEASE emails 1 2", ""),
        ("RESERVEJOB emails 1", "reserve"),
        ("RELEASE emails 1 UNTRIED", "release"),
        ("BURY emails 3 4", "bury"),
        ("KICK emails 1", "kick"),
        ("KICKJOB emails 4", "kick"),
        ("KICK emails 5", ""),
        ("DELETE emails 3 4", "delete"),
        ("DELETE emails 3 4", ""),
        ("PAUSE emails 100", "pause"),
        ("PAUSE emails 0", "pause"),
        ("PAUSE missing 0", ""),
        ("CLEAR emails", "clear"),
        ("CLEAR emails", ""),
        ("STATS emails", ""),
        ("PEEK emails READY", ""),
        ("TUBES", ""),
    ] {
        run(&mut con, &format!("PHEAN.{line}"));
        let expected: Vec<String> =
            kinds.split_whitespace().map(|kind| format!("__keyspace@0__:emails {kind}")).collect();
        assert_eq!(published(&mut raw, &mut con), expected, "{line}");
    }
    // What happens by itself.
    let id = put(&mut con, "sms DELAY 0.01 TTR 0.01");
    eventually(|| state(&mut con, "sms", id) == "ready");
    assert_eq!(published(&mut raw, &mut con), ["__keyspace@0__:sms put", "__keyspace@0__:sms promote"]);
    take(&mut con, "PHEAN.RESERVE sms");
    eventually(|| state(&mut con, "sms", id) == "ready");
    assert_eq!(published(&mut raw, &mut con), ["__keyspace@0__:sms reserve", "__keyspace@0__:sms timeout"]);
    // A timeout that leaves no more attempts buries as well.
    run(&mut con, "CONFIG SET phean.retry-count 0");
    take(&mut con, "PHEAN.RESERVE sms");
    eventually(|| state(&mut con, "sms", id) == "buried");
    let expected = ["reserve", "timeout", "bury"].map(|kind| format!("__keyspace@0__:sms {kind}"));
    assert_eq!(published(&mut raw, &mut con), expected);
    run(&mut con, "CONFIG SET phean.retry-count -1");
    // A put that serves who waits is both.
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "fax", "TIMEOUT", "100"]);
    put(&mut con, "fax");
    waiter.join().unwrap();
    assert_eq!(published(&mut raw, &mut con), ["__keyspace@0__:fax put", "__keyspace@0__:fax reserve"]);
    // A bound reservation that ends with its connection was released.
    count(&mut con, "PHEAN.RELEASE fax 6");
    published(&mut raw, &mut con);
    take(&mut server.connect(), "PHEAN.RESERVE fax BOUND");
    eventually(|| stat(&mut con, "fax", "current-jobs-ready") == 1);
    assert_eq!(published(&mut raw, &mut con), ["__keyspace@0__:fax reserve", "__keyspace@0__:fax release"]);
}

#[test]
fn notifications_follow_the_classes_that_are_asked_for() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["phean.tube-linger 0"]);
    let mut con = server.connect();
    let mut raw = Raw::connect(&server);
    raw.ask(&["PSUBSCRIBE", "__key*"]);
    for (classes, expected) in [
        ("", &[][..]),
        ("Kd", &["__keyspace@0__:emails put", "__keyspace@0__:emails clear"]),
        ("Ed", &["__keyevent@0__:put emails", "__keyevent@0__:clear emails"]),
        ("Kg$lshzxet", &["__keyspace@0__:emails del"]),
        // The alias for all classes includes modules' own.
        ("EA", &["__keyevent@0__:put emails", "__keyevent@0__:clear emails", "__keyevent@0__:del emails"]),
    ] {
        cmd(&mut con, &["CONFIG", "SET", "notify-keyspace-events", classes]).unwrap();
        put(&mut con, "emails");
        run(&mut con, "PHEAN.CLEAR emails");
        let seen: Vec<String> =
            published(&mut raw, &mut con).into_iter().filter(|line| !line.contains(":new")).collect();
        assert_eq!(seen, expected, "{classes}");
    }
}

/// Every looking command, on a tube with jobs in all states.
const LOOKS: [&str; 9] = [
    "PEEK emails 1",
    "PEEK emails READY",
    "PEEK emails DELAYED",
    "JOB emails 1",
    "CLAIMED emails",
    "CLAIMED emails OLDEST",
    "SCAN emails 0",
    "STATS emails",
    "TUBES WITHSTATS",
];

fn look(con: &mut Connection) {
    LOOKS.iter().for_each(|line| drop(run(con, &format!("PHEAN.{line}"))));
}

#[test]
fn looking_does_not_even_touch_the_idle_time_or_frequency() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "source");
    let dump = bytes(&run(&mut con, "DUMP source"));
    let restore = |con: &mut Connection, how: &str, value: &str| {
        let args =
            [b"RESTORE".as_slice(), b"emails", b"0", &dump, b"REPLACE", how.as_bytes(), value.as_bytes()];
        cmd(con, &args).unwrap();
    };
    restore(&mut con, "IDLETIME", "5000");
    assert!(count(&mut con, "OBJECT IDLETIME emails") >= 5000);
    look(&mut con);
    assert!(count(&mut con, "OBJECT IDLETIME emails") >= 5000, "looking is no use of the key");
    take(&mut con, "PHEAN.RESERVE emails");
    assert!(count(&mut con, "OBJECT IDLETIME emails") < 5000, "taking is");
    run(&mut con, "CONFIG SET maxmemory-policy volatile-lfu");
    restore(&mut con, "FREQ", "200");
    assert_eq!(count(&mut con, "OBJECT FREQ emails"), 200);
    (0..50).for_each(|_| look(&mut con));
    assert_eq!(count(&mut con, "OBJECT FREQ emails"), 200);
    assert_eq!(text(&run(&mut con, "OBJECT ENCODING emails")), "raw");
    assert_eq!(count(&mut con, "OBJECT REFCOUNT emails"), 1);
}

/// Where a tube was found is noted, and most commands do not look for its key. Redis is to see all the same that it is used,
/// or would evict the busiest tubes first.
#[test]
fn redis_sees_that_a_tube_is_used_all_the_time() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    // Redis counts in whole seconds.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        put(&mut con, "emails");
    }
    let both = redis::pipe()
        .cmd("PHEAN.PUT")
        .arg(&["emails", "x"])
        .cmd("OBJECT")
        .arg(&["IDLETIME", "emails"])
        .query::<(i64, i64)>(&mut con)
        .expect("both are answered");
    assert!(both.1 <= 2, "idle for {} of {:?}", both.1, since.elapsed());
}

#[test]
fn memory_usage_grows_and_shrinks_with_the_jobs() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.PAUSE emails 1000");
    let usage = |con: &mut Connection| count(con, "MEMORY USAGE emails");
    let empty = usage(&mut con);
    assert!(empty > 0 && empty < 10_000, "{empty}");
    let body = "x".repeat(50_000);
    for _ in 0..10 {
        ok_int(&mut con, &["PHEAN.PUT", "emails", &body]);
    }
    let full = usage(&mut con);
    assert!(full > empty + 500_000 && full < empty + 2_000_000, "{full}");
    assert!((stat(&mut con, "emails", "memory") - full).abs() < 10_000);
    count(&mut con, "PHEAN.CLEAR emails");
    assert!(usage(&mut con) < empty + 10_000);
    assert_eq!(run(&mut con, "MEMORY USAGE missing"), Value::Nil);
}

#[test]
fn a_digest_tells_tubes_apart_by_all_that_is_in_them() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for options in ["", "PRI 3", "DELAY 100"] {
        put(&mut con, &format!("emails {options}"));
    }
    run(&mut con, "COPY emails copy");
    let digests = |con: &mut Connection| texts(&run(con, "DEBUG DIGEST-VALUE emails copy"));
    let same = digests(&mut con);
    assert_eq!(same[0], same[1]);
    look(&mut con);
    assert_eq!(digests(&mut con), same);
    let mut seen = BTreeSet::from([same[0].clone()]);
    for line in [
        "PRIORITIZE emails 1 5",
        "RESERVE emails",
        "TOUCH emails 2 FOR 500",
        "BURY emails 2",
        "KICK emails 1",
        "DELAY emails 1 50",
        "PAUSE emails 5000",
        "DELETE emails 3",
    ] {
        run(&mut con, &format!("PHEAN.{line}"));
        let now = digests(&mut con);
        assert!(seen.insert(now[0].clone()), "{line} is in the digest");
        assert_eq!(now[1], same[1], "the copy is its own");
    }
}

#[test]
fn watch_is_aborted_by_a_change_and_by_nothing_else() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let (mut con, mut other) = (server.connect(), server.connect());
    let mut is_aborted = |other: &mut Connection, line: &str| {
        run(&mut con, "WATCH emails missing");
        run(other, line);
        run(&mut con, "MULTI");
        run(&mut con, "PING");
        run(&mut con, "EXEC") == Value::Nil
    };
    for _ in 0..3 {
        put(&mut other, "emails");
    }
    put(&mut other, "sms");
    take(&mut other, "PHEAN.RESERVE emails");
    for line in [
        "PUT emails x",
        "MPUT emails 1 x",
        "RESERVE emails",
        "TOUCH emails 1",
        "RELEASE emails 1",
        "DELAY emails 1 100",
        "KICK emails 5",
        "PRIORITIZE emails 1 5",
        "RESERVEJOB emails 1",
        "BURY emails 1",
        "KICKJOB emails 1",
        "PAUSE emails 100",
        "DELETE emails 1",
        "CLEAR emails RESERVED",
        "MRESERVE 2 sms missing",
        "PAUSE missing 100",
    ] {
        let changes = !line.starts_with("MRESERVE");
        assert_eq!(is_aborted(&mut other, &format!("PHEAN.{line}")), changes, "{line}");
    }
    run(&mut other, "DEL missing");
    let looks = LOOKS.iter().map(|line| (*line).to_owned());
    let nothings = [
        "RESERVE emails",
        "RESERVE missing",
        "MRESERVE 2 emails missing COUNT 5",
        "RESERVE missing TIMEOUT 0.01",
        "RESERVEJOB emails 999",
        "DELETE emails 999 998",
        "RELEASE emails 4",
        "BURY emails 4",
        "TOUCH emails 4 999",
        "KICK emails 5",
        "KICKJOB emails 4",
        "PRIORITIZE emails 999 1",
        "DELAY emails 999 1",
        "CLEAR emails DELAYED",
        "PAUSE missing 0",
        "CLEAR missing",
    ];
    for line in looks.chain(nothings.into_iter().map(str::to_owned)) {
        assert!(!is_aborted(&mut other, &format!("PHEAN.{line}")), "{line}");
    }
    // What happens by itself is a change as well.
    let id = put(&mut other, "fax");
    let mut con = server.connect();
    let mut delay = 0.05;
    loop {
        count(&mut other, &format!("PHEAN.DELAY fax {id} {delay}"));
        run(&mut con, "WATCH fax");
        if state(&mut other, "fax", id) == "delayed" {
            break;
        }
        // The machine is slow: it was ready before we could watch.
        delay *= 2.0;
        run(&mut con, "UNWATCH");
    }
    eventually(|| state(&mut other, "fax", id) == "ready");
    run(&mut con, "MULTI");
    assert_eq!(run(&mut con, "EXEC"), Value::Nil);
}

#[test]
fn client_side_caches_hear_of_changes_and_of_nothing_else() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    let mut raw = Raw::connect(&server);
    raw.ask(&["HELLO", "3"]);
    raw.ask(&["CLIENT", "TRACKING", "ON"]);
    let told = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nemails\r\n";
    for read in ["PEEK emails READY", "STATS emails", "JOB emails 1", "SCAN emails 0", "CLAIMED emails"] {
        raw.ask(&words(&format!("PHEAN.{read}")));
        look(&mut con);
        run(&mut con, "PHEAN.DELETE emails 999");
        run(&mut con, "PHEAN.RESERVE missing");
        assert_eq!(raw.ask(&["PING"]), "+PONG\r\n", "nothing has changed since {read}");
        count(&mut con, &format!("PHEAN.PRIORITIZE emails {id} 5"));
        assert_eq!(raw.reply(), told, "{read}");
    }
    // Also by what happens by itself.
    let mut delay = 0.05;
    loop {
        count(&mut con, &format!("PHEAN.DELAY emails {id} {delay}"));
        if raw.ask(&["PHEAN.PEEK", "emails", "DELAYED"]) != "_\r\n" {
            break;
        }
        // The machine is slow: it was ready before we could ask.
        delay *= 2.0;
        count(&mut con, &format!("PHEAN.PRIORITIZE emails {id} 5"));
        assert_eq!(raw.reply(), told);
    }
    assert_eq!(raw.reply(), told);
}

/// A tube that was found lately is not looked up again, so that one in constant use looked as if it were hardly used.
#[test]
fn redis_counts_how_often_a_tube_is_used_where_it_evicts_by_that() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["lfu-log-factor 0"]);
    let mut con = server.connect();
    let frequency = |con: &mut Connection| {
        run(con, "DEL emails");
        for _ in 0..100 {
            put(con, "emails");
        }
        count(con, "OBJECT FREQ emails")
    };
    for policy in ["allkeys-lfu", "volatile-lfu"] {
        run(&mut con, &format!("CONFIG SET maxmemory-policy {policy}"));
        assert!(frequency(&mut con) >= 100, "{policy}");
        run(&mut con, "CONFIG SET maxmemory-policy noeviction");
        put(&mut con, "emails");
    }
}

/// A policy that is for all keys may take tubes away. That was not said where it was set in a running server, and was said
/// of those that are for keys with a time to live.
#[test]
fn the_log_warns_of_policies_that_evict_tubes() {
    if !has_module() {
        return;
    }
    let warnings = |server: &Server| server.log().matches("maxmemory-policy may evict tubes").count();
    let server = Server::start(&["maxmemory 1gb", "maxmemory-policy volatile-lru"]);
    let mut con = server.connect();
    assert_eq!(warnings(&server), 0);
    run(&mut con, "CONFIG SET maxmemory-policy allkeys-lru");
    eventually(|| warnings(&server) == 1);
    run(&mut con, "CONFIG SET maxmemory 0");
    run(&mut con, "CONFIG SET timeout 0");
    run(&mut con, "CONFIG SET maxmemory 2gb");
    eventually(|| warnings(&server) == 2);
    assert_eq!(warnings(&Server::start(&["maxmemory 1gb", "maxmemory-policy allkeys-random"])), 1);
}

#[test]
fn a_full_server_takes_no_jobs_but_workers_drain_it() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for _ in 0..5 {
        put(&mut con, "emails");
    }
    run(&mut con, "CONFIG SET maxmemory 1");
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(err(&mut con, &["PHEAN.PUT", "emails", "x"]), oom);
    assert_eq!(err(&mut con, &["PHEAN.MPUT", "emails", "1", "x"]), oom);
    let script = "return redis.call('PHEAN.PUT', KEYS[1], 'x')";
    assert!(err(&mut con, &["EVAL", script, "1", "emails"]).starts_with("OOM "));
    run(&mut con, "MULTI");
    assert_eq!(err(&mut con, &["PHEAN.PUT", "emails", "x"]), oom);
    assert!(err(&mut con, &["EXEC"]).starts_with("EXECABORT "));
    assert_eq!(stat(&mut con, "emails", "total-jobs"), 5);
    let job = take(&mut con, "PHEAN.RESERVE emails");
    assert_eq!(count(&mut con, &format!("PHEAN.TOUCH emails {}", job.lease)), 1);
    assert_eq!(count(&mut con, &format!("PHEAN.RELEASE emails {} DELAY 100", job.lease)), 1);
    assert_eq!(count(&mut con, "PHEAN.KICK emails 1"), 1);
    let job = take(&mut con, "PHEAN.MRESERVE 1 emails");
    assert_eq!(count(&mut con, &format!("PHEAN.BURY emails {}", job.lease)), 1);
    run(&mut con, "PHEAN.PAUSE emails 100");
    run(&mut con, "PHEAN.PAUSE emails 0");
    assert_eq!(count(&mut con, "PHEAN.DELETE emails 2"), 1);
    let script =
        "local j = redis.call('PHEAN.RESERVE', KEYS[1]) return redis.call('PHEAN.DELETE', KEYS[1], j[2])";
    assert_eq!(int(&cmd(&mut con, &["EVAL", script, "1", "emails"]).unwrap()), 1);
    assert_eq!(count(&mut con, "PHEAN.CLEAR emails"), 3);
    run(&mut con, "CONFIG SET maxmemory 0");
    put(&mut con, "emails");
}

const FOREVER: &str = "4294967295";

#[test]
fn nothing_waits_in_a_transaction() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "MULTI");
    run(&mut con, &format!("PHEAN.RESERVE emails TIMEOUT {FOREVER}"));
    run(&mut con, "PHEAN.PUT emails a");
    run(&mut con, &format!("PHEAN.RESERVE emails TIMEOUT {FOREVER} BOUND"));
    run(&mut con, &format!("PHEAN.MRESERVE 2 emails sms TIMEOUT {FOREVER} COUNT 3"));
    run(&mut con, "PHEAN.PUT emails b");
    let replies = array(&run(&mut con, "EXEC"));
    assert_eq!((&replies[0], &replies[3]), (&Value::Nil, &Value::Nil));
    assert_eq!(reserved(&replies[2]).unwrap().body, b"a");
    // A transaction has a connection, which a reservation can be bound to.
    drop(con);
    let mut con = server.connect();
    eventually(|| state(&mut con, "emails", 1) == "ready");
    assert_eq!(
        (state(&mut con, "emails", 2), stat(&mut con, "emails", "current-waiting")),
        ("ready".to_owned(), 0)
    );
}

#[test]
fn nothing_waits_in_a_script_or_function() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let wait = format!("redis.call('PHEAN.RESERVE', KEYS[1], 'TIMEOUT', '{FOREVER}')");
    let script = format!(
        "local null = {wait} redis.call('PHEAN.PUT', KEYS[1], 'x') local job = {wait} return {{tostring(null), job}}"
    );
    let reply = array(&cmd(&mut con, &["EVAL", &script, "1", "emails"]).unwrap());
    assert_eq!(text(&reply[0]), "false");
    assert_eq!(reserved(&reply[1]).unwrap().attempt, 1);
    let library =
        format!("#!lua name=mine\nredis.register_function('take', function(KEYS) return {wait} end)");
    cmd(&mut con, &["FUNCTION", "LOAD", &library]).unwrap();
    assert_eq!(run(&mut con, "FCALL take 1 emails"), Value::Nil);
    let id = put(&mut con, "emails");
    assert_eq!(reserved(&run(&mut con, "FCALL take 1 emails")).unwrap().id, id);
}

#[test]
fn bound_in_a_script_or_function_is_an_error() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let id = put(&mut con, "emails");
    for call in [
        "'PHEAN.RESERVE', KEYS[1], 'BOUND'",
        "'PHEAN.MRESERVE', 1, KEYS[1], 'COUNT', 2, 'bound'",
        "'PHEAN.RESERVEJOB', KEYS[1], 1, 'BOUND'",
    ] {
        let script = format!("local r = redis.pcall({call}) return r.err");
        let error = text(&cmd(&mut con, &["EVAL", &script, "1", "emails"]).unwrap());
        assert!(error.starts_with("ERR BOUND "), "{error}");
        assert_eq!(state(&mut con, "emails", id), "ready");
    }
    let library = "#!lua name=mine\nredis.register_function('take', function(KEYS) return redis.call('PHEAN.RESERVE', KEYS[1], 'BOUND') end)";
    cmd(&mut con, &["FUNCTION", "LOAD", library]).unwrap();
    assert!(err(&mut con, &["FCALL", "take", "1", "emails"]).starts_with("ERR BOUND "));
    assert_eq!(state(&mut con, "emails", id), "ready");
}

/// What the README tells: finish a job and put its follow-up, only if the job is still yours.
#[test]
fn a_script_finishes_a_job_and_puts_the_next_only_if_it_still_holds_it() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let script = "if redis.call('PHEAN.TOUCH', KEYS[1], ARGV[1]) == 0 then return 0 end
        local id = redis.call('PHEAN.PUT', KEYS[2], ARGV[2])
        redis.call('PHEAN.DELETE', KEYS[1], ARGV[1])
        return id";
    let id = put(&mut con, "emails");
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    let finish = |con: &mut Connection| {
        int(&cmd(con, &["EVAL", script, "2", "emails", "sent", &lease, "next"]).unwrap())
    };
    assert_eq!(finish(&mut con), id + 1);
    assert_eq!(
        (state(&mut con, "emails", id).as_str(), state(&mut con, "sent", id + 1).as_str()),
        ("gone", "ready")
    );
    assert_eq!(finish(&mut con), 0, "done once");
    assert_eq!(stat(&mut con, "sent", "total-jobs"), 1);
}

#[test]
fn lua_sees_plain_values_in_both_protocols() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "emails TTR 90.5");
    let script = "local job = redis.call('PHEAN.JOB', KEYS[1], 1) return {type(job[2]), job[2], job[16]}";
    let reply = array(&cmd(&mut con, &["EVAL", script, "1", "emails"]).unwrap());
    assert_eq!((text(&reply[0]).as_str(), int(&reply[1]), text(&reply[2]).as_str()), ("number", 1, "90.5"));
    let script = "redis.setresp(3) local job = redis.call('PHEAN.JOB', KEYS[1], 1) return tostring(job.map.ttr.double)";
    assert_eq!(text(&cmd(&mut con, &["EVAL", script, "1", "emails"]).unwrap()), "90.5");
    let script = "redis.setresp(3) return tostring(redis.call('PHEAN.JOB', KEYS[1], 99))";
    assert_eq!(text(&cmd(&mut con, &["EVAL", script, "1", "emails"]).unwrap()), "nil");
    // The protocol of the caller says how the reply looks, not that of who woke it.
    let waiter =
        Blocked::start_on(&server, server.connect_resp3(), &["PHEAN.RESERVE", "sms", "TIMEOUT", "100"]);
    let script = "return redis.call('PHEAN.PUT', KEYS[1], 'x')";
    cmd(&mut con, &["EVAL", script, "1", "sms"]).unwrap();
    assert!(matches!(array(&waiter.join().unwrap())[4], Value::Double(_)));
}

/// Runs lines in a transaction.
fn transaction(con: &mut Connection, lines: &str) -> Vec<Value> {
    run(con, "MULTI");
    lines.split('|').for_each(|line| drop(run(con, line.trim())));
    array(&run(con, "EXEC"))
}

#[test]
fn a_job_put_in_a_transaction_goes_to_who_waits_before_the_next_command_runs() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let wait = |tube: &str| Blocked::start(&server, &["PHEAN.RESERVE", tube, "TIMEOUT", "100"]);
    let waiters = [wait("emails"), wait("emails")];
    let replies = transaction(
        &mut con,
        "PHEAN.PUT emails a|PHEAN.RESERVE emails|PHEAN.PUT emails b|PHEAN.PUT emails c|PHEAN.RESERVE emails",
    );
    assert_eq!(replies[1], Value::Nil, "the first job was the waiter's");
    assert_eq!(reserved(&replies[4]).unwrap().body, b"c");
    let bodies = waiters.map(|waiter| reserved(&waiter.join().unwrap()).unwrap().body);
    assert_eq!(bodies, [b"a", b"b"]);
}

#[test]
fn a_job_that_is_gone_before_its_transaction_ends_is_handed_to_nobody() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
    let mut id = 1;
    for undo in [
        "DEL emails",
        "UNLINK emails",
        "FLUSHALL",
        "SET emails text|DEL emails",
        "PHEAN.DELETE emails ID",
        "PHEAN.CLEAR emails RESERVED",
        "PHEAN.BURY emails ID",
        "PHEAN.RELEASE emails ID DELAY 500",
        "PHEAN.TOUCH emails ID FOR 0|PHEAN.PAUSE emails 100|PHEAN.DELETE emails ID|PHEAN.PAUSE emails 0",
    ] {
        transaction(&mut con, &format!("PHEAN.PUT emails x|{}", undo.replace("ID", &id.to_string())));
        // A turn of the event loop, in which the waiter would have been told.
        run(&mut con, "PING");
        assert!(!waiter.is_over(), "{undo}");
        id += 1;
    }
    run(&mut con, "DEL emails");
    assert_eq!(stat(&mut con, "emails", "current-waiting"), 1);
    put(&mut con, "emails");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
}

/// A job was set aside for a waiter, and in the same transaction its tube went elsewhere. The waiter, who was told
/// nothing, waited on, but the job stayed reserved for nobody until its TTR was over.
#[test]
fn a_job_that_moves_away_before_its_transaction_ends_is_ready_where_it_is() {
    if !has_module() {
        return;
    }
    for (there, db, moves) in
        [("sms", 0, "RENAME emails sms"), ("emails", 1, "MOVE emails 1"), ("emails", 1, "SWAPDB 0 1")]
    {
        let server = Server::start(&[]);
        if moves.starts_with("MOVE") && !tells_where_transactions_move(&server) {
            continue;
        }
        let mut con = server.connect();
        let mut elsewhere = server.connect_db(db);
        let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
        transaction(&mut con, &format!("PHEAN.PUT emails x|{moves}"));
        eventually(|| state(&mut elsewhere, there, 1) == "ready");
        assert_eq!(job_int(&mut elsewhere, there, 1, "attempt"), 0, "{moves}");
        assert!(!waiter.is_over(), "{moves}");
        let id = put(&mut con, "emails");
        assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id, "{moves}");
    }
}

/// The connection was closed and the tube renamed in one turn of the event loop: the reservation was looked for
/// under the tube's old name, and stayed until its TTR was over.
#[test]
fn a_bound_reservation_ends_though_its_tube_is_renamed_at_the_same_time() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let mut worker = server.connect();
    let id = put(&mut con, "emails");
    take(&mut worker, "PHEAN.RESERVE emails BOUND");
    let worker_id = client_id(&mut worker);
    transaction(&mut con, &format!("CLIENT KILL ID {worker_id}|RENAME emails sms"));
    eventually(|| state(&mut con, "sms", id) == "ready");
}

/// A script or transaction may take longer than the reservation that was made for a waiter meanwhile lasts.
#[test]
fn a_reservation_that_is_over_before_its_transaction_ends_is_made_anew() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100", "TTR", "0.1"]);
    transaction(&mut con, "PHEAN.PUT emails x|DEBUG SLEEP 0.3");
    let job = reserved(&waiter.join().unwrap()).unwrap();
    assert_eq!(job.id, 1);
}

#[test]
fn a_transaction_can_take_from_several_tubes_and_put_into_others() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    put(&mut con, "a");
    put(&mut con, "b");
    let waiter = Blocked::start(&server, &["PHEAN.MRESERVE", "2", "c", "d", "TIMEOUT", "100", "COUNT", "5"]);
    let replies = transaction(
        &mut con,
        "PHEAN.MRESERVE 2 a b COUNT 2|PHEAN.DELETE a 1|PHEAN.DELETE b 2|PHEAN.PUT d y|PHEAN.PUT c x",
    );
    assert_eq!(reserved_many(&replies[0]).len(), 2);
    assert_eq!((int(&replies[1]), int(&replies[2])), (1, 1));
    // Served by the first put; what came after it is for the next.
    let jobs = reserved_many(&waiter.join().unwrap());
    assert_eq!((jobs.len(), jobs[0].tube.as_slice()), (1, b"d".as_slice()));
    assert_eq!(stat(&mut con, "c", "current-jobs-ready"), 1);
    assert!(seconds(&map(&run(&mut con, "PHEAN.STATS c"))["oldest-ready-age"]) >= 0.0);
}
