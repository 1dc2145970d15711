//! Tubes are keys: what Redis' own commands do to them, the module's index, totals and timers follow.

use crate::dataset::{counts, index_is_right, restore, stat, total, total_counts, tubes, until_waiting};
use crate::harness::{Server, has_module};
use crate::raw::{Raw, packed};
use crate::reply::{array, bytes, cmd, int, map, ok_int, reserved, run, text};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};

/// A tube with a job in every state. The delay and the reservation end after so many seconds.
#[track_caller]
fn fill(con: &mut Connection, tube: &str, seconds: &str) {
    run(con, &format!("PHEAN.MPUT {tube} 3 a b c TTR {seconds}"));
    run(con, &format!("PHEAN.PUT {tube} d DELAY {seconds}"));
    let buried = reserved(&run(con, &format!("PHEAN.RESERVE {tube} TTR 1000"))).expect("a job");
    run(con, &format!("PHEAN.BURY {tube} {}", buried.lease));
    run(con, &format!("PHEAN.RESERVE {tube}"));
}

/// What Redis can do to tubes `a` and `b` of database 0 and `b` of database 1, and how many tubes there are then.
const DEEDS: [(&str, usize); 34] = [
    ("DEL a", 2),
    ("DEL a b missing", 1),
    ("UNLINK a b", 1),
    ("RENAME a c", 3),
    ("RENAME a b", 2),
    ("RENAME a a", 3),
    ("RENAMENX a c", 3),
    ("RENAMENX a b", 3),
    ("COPY a c", 4),
    ("COPY a b", 3),
    ("COPY a b REPLACE", 3),
    ("COPY a c DB 1", 4),
    ("COPY a b DB 1 REPLACE", 3),
    ("COPY missing b REPLACE", 3),
    ("MOVE a 1", 3),
    ("MOVE b 1", 3),
    ("MOVE a 7", 3),
    ("SWAPDB 0 1", 3),
    ("SWAPDB 1 9", 3),
    ("SWAPDB 0 0", 3),
    ("FLUSHDB", 1),
    ("FLUSHDB ASYNC", 1),
    ("FLUSHALL", 0),
    ("FLUSHALL ASYNC", 0),
    ("SET a x", 2),
    ("MSET a x b y", 1),
    ("SUNIONSTORE a missing", 2),
    ("SORT missing STORE a", 2),
    ("EXPIRE a 1000", 3),
    ("EXPIRE a -1", 2),
    ("PEXPIREAT a 1", 2),
    ("GETEX a", 3),
    ("APPEND a x", 3),
    ("TOUCH a b", 3),
];

/// What is checked here spans all databases, not the three of [`index_is_right`] alone.
#[track_caller]
fn all_there(con: &mut Connection, deed: &str, count: usize, each: [i64; 4]) {
    let sums = each.map(|jobs| jobs * count as i64);
    assert_eq!((total(con, "current-tubes"), total_counts(con)), (count as i64, sums), "{deed}");
}

#[test]
fn the_index_follows_whatever_redis_does_to_a_key() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for (deed, count) in DEEDS {
        run(&mut con, "FLUSHALL");
        fill(&mut con, "a", "1000");
        fill(&mut con, "b", "1000");
        fill(&mut server.connect_db(1), "b", "1000");
        all_there(&mut con, "before", 3, [1, 1, 1, 1]);
        // Not all of it can be done.
        let _ = cmd(&mut con, &deed.split(' ').collect::<Vec<_>>());
        index_is_right_up_to(&server, deed);
        all_there(&mut con, deed, count, [1, 1, 1, 1]);
    }
}

#[track_caller]
fn index_is_right_up_to(server: &Server, deed: &str) {
    // Only three databases are looked through, and these two deeds lead beyond them.
    if !["MOVE a 7", "SWAPDB 1 9"].contains(&deed) {
        index_is_right(server);
    }
}

/// Where a tube was found is remembered for a while: what is done to its key in between must be noticed at once.
#[test]
fn a_tube_is_never_sought_where_its_key_is_no_longer() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let (mut con, mut other, mut raw) = (server.connect(), server.connect_db(1), Raw::connect(&server));
    let more = [
        "EVAL redis.call('DEL','a');redis.call('PHEAN.PUT','a','x') 0",
        "EVAL redis.call('PHEAN.PUT','a','x');redis.call('RENAME','a','b') 0",
        "DEBUG RELOAD",
        "PHEAN.CLEAR a",
    ];
    for deed in DEEDS.iter().map(|(deed, _)| *deed).chain(more) {
        run(&mut con, "FLUSHALL");
        fill(&mut con, "a", "1000");
        fill(&mut con, "b", "1000");
        fill(&mut other, "b", "1000");
        // All in one go; not all of it can be done.
        let lines =
            ["PHEAN.PUT a x", "PHEAN.PUT b x", deed, "PHEAN.PUT a y", "PHEAN.PUT b y", "PHEAN.PUT a z"];
        lines.iter().for_each(|line| raw.send_cmd(&line.split(' ').collect::<Vec<_>>()));
        lines.iter().for_each(|_| drop(raw.reply()));
        run(&mut other, "PHEAN.PUT b x");
        for (db, tube) in [(0, "a"), (0, "b"), (1, "b")] {
            let con = if db == 0 { &mut con } else { &mut other };
            // Redis itself finds what it copies.
            if text(&run(con, &format!("TYPE {tube}"))) == "pheantube" {
                run(con, &format!("COPY {tube} copy REPLACE"));
                let states = (counts(con, tube), stat(con, tube, "cmd-put"));
                assert_eq!(
                    states,
                    (counts(con, "copy"), stat(con, "copy", "cmd-put")),
                    "{deed}: {db} {tube}"
                );
            } else {
                assert!(cmd(con, &["PHEAN.STATS", tube]).is_err(), "{deed}: {db} {tube}");
            }
        }
        run(&mut con, "DEL copy");
        run(&mut other, "DEL copy");
        index_is_right_up_to(&server, deed);
    }
}

/// Nobody sends a command for these tubes any more: the timer alone finds them under their new names.
#[test]
fn timers_follow_whatever_redis_does_to_a_key() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for (deed, count) in DEEDS {
        run(&mut con, "FLUSHALL");
        fill(&mut con, "a", "0.03");
        fill(&mut con, "b", "0.03");
        fill(&mut server.connect_db(1), "b", "0.03");
        let _ = cmd(&mut con, &deed.split(' ').collect::<Vec<_>>());
        let sums = [3, 0, 0, 1].map(|jobs| jobs * count as i64);
        eventually(|| total_counts(&mut con) == sums);
        index_is_right_up_to(&server, deed);
    }
}

#[test]
fn a_tube_expires_with_its_jobs() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    fill(&mut con, "a", "1000");
    run(&mut con, "EXPIRE a 1000");
    assert_eq!(ok_int(&mut con, &["PERSIST", "a"]), 1);
    assert_eq!(ok_int(&mut con, &["TTL", "a"]), -1);
    // Changing a tube does not touch the time that it has.
    run(&mut con, "EXPIRE a 1000");
    run(&mut con, "PHEAN.PUT a x");
    assert!(ok_int(&mut con, &["TTL", "a"]) > 0);
    index_is_right(&server);
    run(&mut con, "PEXPIRE a 20");
    eventually(|| total_counts(&mut con) == [0; 4]);
    assert_eq!((total(&mut con, "current-tubes"), tubes(&mut con).len()), (0, 0));
    // Expiry is found out by the very command that comes to a tube, too.
    run(&mut con, "DEBUG SET-ACTIVE-EXPIRE 0");
    for line in ["PHEAN.PUT a new", "PHEAN.RESERVE a", "PHEAN.MRESERVE 2 a b COUNT 3", "PHEAN.PAUSE a 0"] {
        fill(&mut con, "a", "1000");
        run(&mut con, "MULTI");
        run(&mut con, "PEXPIRE a 1");
        run(&mut con, "DEBUG SLEEP 0.01");
        run(&mut con, line);
        run(&mut con, "EXEC");
        run(&mut con, line);
        let puts = 2 * i64::from(line.contains("PUT"));
        assert!([puts, puts / 2].contains(&counts(&mut con, "a")[0]), "{line}");
        eventually(|| {
            run(&mut con, "EXISTS a");
            total_counts(&mut con)[1..] == [0, 0, 0]
        });
        index_is_right(&server);
        run(&mut con, "DEL a");
    }
}

#[test]
fn redis_sees_a_tube_as_a_key_of_its_own_type() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for number in 0..30 {
        run(&mut con, &format!("PHEAN.PUT tube{number} body"));
        run(&mut con, &format!("SET string{number} x"));
    }
    assert_eq!(text(&run(&mut con, "TYPE tube1")), "pheantube");
    let mut found = 0;
    let mut cursor = "0".to_owned();
    loop {
        let page = array(&run(&mut con, &format!("SCAN {cursor} TYPE pheantube")));
        found += array(&page[1]).len();
        cursor = text(&page[0]);
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, 30);
    assert_eq!(ok_int(&mut con, &["OBJECT", "REFCOUNT", "tube1"]), 1);
    text(&run(&mut con, "OBJECT ENCODING tube1"));
    let small = ok_int(&mut con, &["MEMORY", "USAGE", "tube1"]);
    cmd(&mut con, &[&b"PHEAN.PUT"[..], b"tube1", &vec![0; 60_000]]).unwrap();
    assert!(ok_int(&mut con, &["MEMORY", "USAGE", "tube1"]) > small + 60_000);
    assert_eq!(ok_int(&mut con, &["EXISTS", "tube1", "tube2", "none"]), 2);
    assert!(text(&run(&mut con, "RANDOMKEY")).starts_with(['t', 's']));
}

#[test]
fn looking_at_a_tube_is_no_use_of_it() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    fill(&mut con, "source", "1000");
    let dump = bytes(&run(&mut con, "DUMP source"));
    restore(&mut con, "t", &dump, &["IDLETIME", "5000"]).unwrap();
    let mut other = server.connect();
    let id = int(&array(&run(&mut con, "PHEAN.PEEK t READY"))[0]);
    run(&mut con, "WATCH t");
    for line in [
        "PHEAN.STATS t",
        "PHEAN.STATS",
        "PHEAN.PEEK t READY",
        "PHEAN.CLAIMED t",
        "PHEAN.SCAN t 0",
        "PHEAN.TUBES WITHSTATS",
        "PHEAN.DELETE t 1",
        "PHEAN.KICKJOB t 999",
        "PHEAN.RELEASE t 999",
        "PHEAN.TOUCH t 999",
        "PHEAN.CLEAR missing",
    ] {
        if line.starts_with("PHEAN.DELETE") {
            assert!(ok_int(&mut other, &["OBJECT", "IDLETIME", "t"]) >= 5000, "before {line}");
        }
        // Commands that find nothing to do change nothing, either.
        let line = line.replace("DELETE t 1", "DELETE t 999");
        run(&mut other, &line);
    }
    run(&mut con, "MULTI");
    run(&mut con, "PING");
    assert!(matches!(run(&mut con, "EXEC"), Value::Array(_)), "a watched tube did not change");
    for line in
        [format!("PHEAN.TOUCH source {id}"), format!("PHEAN.PRIORITIZE t {id} 1"), "PHEAN.PUT t x".into()]
    {
        let watched = line.split(' ').nth(1).unwrap();
        run(&mut con, &format!("WATCH {watched}"));
        let changed = run(&mut other, &line) != Value::Int(0);
        run(&mut con, "MULTI");
        run(&mut con, "PING");
        assert_eq!(run(&mut con, "EXEC") == Value::Nil, changed, "{line}");
    }
    // A delayed job that becomes ready is a change, too.
    for delay_ms in (1..).map(|n| n * 20) {
        run(&mut con, &format!("PHEAN.PUT soon x DELAY {}", f64::from(delay_ms) / 1e3));
        run(&mut con, "WATCH soon");
        // On a slow machine it may be ready already.
        if counts(&mut other, "soon") == [0, 1, 0, 0] {
            break;
        }
        run(&mut con, "UNWATCH");
        run(&mut con, "DEL soon");
    }
    eventually(|| counts(&mut other, "soon") == [1, 0, 0, 0]);
    run(&mut con, "MULTI");
    run(&mut con, "PING");
    assert_eq!(run(&mut con, "EXEC"), Value::Nil);
}

/// Commands for several databases in one read: each works in its own, whatever was heard of in between.
///
/// A command that came right after something had happened to a key of another database went to that one.
#[test]
fn each_command_works_in_its_own_database() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let deeds = ["COPY a b", "RENAME a b", "COPY a b DB 2", "MOVE a 2", "SWAPDB 1 2", "DEL a", "FLUSHDB"];
    for deed in deeds {
        run(&mut con, "FLUSHALL");
        let mut raw = Raw::connect(&server);
        let lines = [
            "SELECT 1",
            "PHEAN.PUT a body",
            deed,
            "SELECT 0",
            "PHEAN.PUT home body",
            "PHEAN.RESERVE home",
            "SELECT 1",
            "PHEAN.PUT away body",
            "SELECT 0",
            "PHEAN.BURY home 2",
            "DBSIZE",
        ];
        let mut bytes = Vec::new();
        for line in lines {
            let mut command = redis::Cmd::new();
            line.split(' ').for_each(|word| {
                command.arg(word);
            });
            bytes.extend(command.get_packed_command());
        }
        raw.send(bytes);
        let replies: Vec<String> = lines.iter().map(|_| raw.reply()).collect();
        assert_eq!(replies[10], ":1\r\n", "{deed}: {replies:?}");
        assert_eq!(tubes(&mut con), ["home"], "{deed}");
        assert!(tubes(&mut server.connect_db(1)).contains(&"away".to_owned()), "{deed}");
        index_is_right(&server);
    }
}

#[test]
fn a_transaction_may_turn_the_keyspace_over() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for line in [
        "MULTI",
        "PHEAN.PUT a 1",
        "SWAPDB 0 1",
        "PHEAN.PUT a 2",
        "PHEAN.PUT a 3",
        "RENAME a b",
        "PHEAN.PUT a 4",
        "SELECT 1",
        "PHEAN.RESERVE a",
        "COPY a c",
        "SELECT 0",
        "COPY b a REPLACE",
        "PHEAN.RESERVE a",
        "EXEC",
    ] {
        run(&mut con, line);
    }
    index_is_right(&server);
    let mut there = server.connect_db(1);
    assert_eq!((counts(&mut con, "a"), counts(&mut con, "b")), ([1, 0, 1, 0], [2, 0, 0, 0]));
    assert_eq!((counts(&mut there, "a"), counts(&mut there, "c")), ([0, 0, 1, 0], [0, 0, 1, 0]));
    assert_eq!(stat(&mut con, "a", "cmd-reserve"), 1);
    let script = "
        redis.call('FLUSHALL')
        redis.call('PHEAN.PUT', 'x', '1')
        redis.call('RENAME', 'x', 'y')
        redis.call('PHEAN.PUT', 'x', '2')
        redis.call('DEL', 'x')
        redis.call('SET', 'x', 's')
        return redis.call('PHEAN.STATS')";
    let stats = cmd(&mut con, &["EVAL", script, "0"]).unwrap();
    assert_eq!(int(&crate::reply::map(&stats)["current-tubes"]), 1);
    index_is_right(&server);
}

/// A key that appears and is replaced, or changes its database, before the module's next command: what counts is
/// the tube that appeared, not the one that stands there later.
#[test]
fn tubes_that_appear_and_go_at_once_are_counted_right() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let transactions: [&[&str]; 7] = [
        &["COPY one t", "COPY two t REPLACE"],
        &["COPY one t", "SWAPDB 0 1"],
        &["COPY one t", "SWAPDB 0 1", "COPY one t", "SWAPDB 1 0"],
        &["RENAME one t", "RENAME two t", "COPY t one"],
        &["COPY one t DB 1 REPLACE", "DEL one", "MOVE two 1", "SWAPDB 1 0"],
        &["COPY one t", "DEL t", "COPY two t", "RENAME t u", "COPY one t"],
        &["COPY two t", "FLUSHALL"],
    ];
    for lines in transactions {
        run(&mut con, "FLUSHALL");
        run(&mut con, "PHEAN.PUT one a");
        run(&mut con, "PHEAN.MPUT two 2 a b");
        run(&mut con, "PHEAN.RESERVE two");
        run(&mut server.connect_db(1), "PHEAN.MPUT t 7 a b c d e f g DELAY 1000");
        run(&mut con, "MULTI");
        lines.iter().for_each(|line| drop(run(&mut con, line)));
        run(&mut con, "EXEC");
        index_is_right(&server);
    }
}

#[test]
fn big_tubes_go_in_the_background() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let bodies = vec!["body"; 1000].join(" ");
    for deed in [
        "DEL t",
        "UNLINK t",
        "FLUSHALL ASYNC",
        "FLUSHDB ASYNC",
        "PHEAN.CLEAR t",
        "SET t x",
        "COPY s t REPLACE",
    ] {
        run(&mut con, "PHEAN.PUT s body");
        (0..60).for_each(|_| drop(run(&mut con, &format!("PHEAN.MPUT t 1000 {bodies}"))));
        assert_eq!(counts(&mut con, "t")[0], 60_000);
        run(&mut con, deed);
        index_is_right(&server);
        assert!(total_counts(&mut con)[0] <= 2, "{deed}");
        run(&mut con, "DEL s t");
    }
}

/// Newer servers keep the keys of each slot apart, and look for every key among those of the running command's slot.
/// A tube that had appeared was looked at by the next command, whatever its slot was, and not found: nobody listed it,
/// and its delays were never over, until some command named it. Resharding under load on Valkey 8.1 showed it.
#[test]
fn in_a_cluster_tubes_that_appear_right_before_a_command_of_another_slot_are_known() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["cluster-enabled yes"]);
    let mut con = server.connect();
    run(&mut con, "CLUSTER ADDSLOTSRANGE 0 16383");
    eventually(|| text(&run(&mut con, "CLUSTER INFO")).contains("cluster_state:ok"));
    // foo is in slot 12182, bar in slot 5061.
    run(&mut con, "PHEAN.PUT foo x DELAY 1");
    let dump = bytes(&run(&mut con, "DUMP foo"));
    run(&mut con, "DEL foo");
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "foo", "TIMEOUT", "10"]);

    let mut pipe = redis::pipe();
    pipe.cmd("RESTORE").arg("foo").arg(0).arg(&dump);
    pipe.cmd("PHEAN.PUT").arg("bar").arg("y");
    pipe.cmd("PHEAN.PEEK").arg("{foo}s").arg("READY");
    pipe.cmd("PHEAN.TUBES").cmd("PHEAN.STATS");
    let replies: Vec<Value> = pipe.query(&mut con).expect("all is answered");
    assert_eq!(array(&replies[3]).iter().map(text).collect::<Vec<_>>(), ["bar", "foo"]);
    let stats = map(&replies[4]);
    let jobs = ["ready", "delayed", "reserved"].map(|state| int(&stats[&format!("current-jobs-{state}")]));
    assert_eq!(jobs.iter().sum::<i64>(), 2);
    assert_eq!(reserved(&worker.join().unwrap()).expect("its delay is over").body, b"x");

    // Named by a command itself, gone again, renamed: in each case what is there is known, and counted once.
    let mut pipe = redis::pipe();
    pipe.cmd("RESTORE").arg("{foo}2").arg(0).arg(&dump);
    pipe.cmd("RESTORE").arg("{foo}3").arg(0).arg(&dump);
    pipe.cmd("RESTORE").arg("{foo}4").arg(0).arg(&dump);
    pipe.cmd("PHEAN.PUT").arg("bar").arg("y");
    pipe.cmd("PHEAN.PUT").arg("{foo}2").arg("y");
    pipe.cmd("DEL").arg("{foo}3");
    pipe.cmd("PHEAN.PUT").arg("bar").arg("y");
    pipe.cmd("RENAME").arg("{foo}4").arg("{foo}5");
    pipe.cmd("PHEAN.PUT").arg("bar").arg("y");
    pipe.cmd("PHEAN.MRESERVE").arg(2).arg("{foo}4").arg("{foo}5");
    pipe.cmd("PHEAN.PUT").arg("bar").arg("y");
    let _: Vec<Value> = pipe.query(&mut con).expect("all is answered");
    let names = array(&run(&mut con, "PHEAN.TUBES"));
    assert_eq!(names.iter().map(text).collect::<Vec<_>>(), ["bar", "foo", "{foo}2", "{foo}5"]);
    let sums = ["bar", "foo", "{foo}2", "{foo}5"].map(|tube| counts(&mut con, tube));
    let sum: Vec<i64> = (0..4).map(|state| sums.iter().map(|counts| counts[state]).sum()).collect();
    assert_eq!(total_counts(&mut con).to_vec(), sum);
    assert_eq!([counts(&mut con, "{foo}2"), counts(&mut con, "{foo}5")], [[2, 0, 0, 0], [0, 0, 1, 0]]);
}

/// A tube goes to another server in the very turn in which a job was handed to a worker that waits for it: the worker is
/// told all the same, and its lease is good there.
///
/// The tube was gone when the worker was to be told, so that it waited on, while the job arrived at the other server as
/// reserved by nobody, and lay there until its time to run was over. Found by moving slots of a cluster under load.
#[test]
fn a_tube_that_leaves_right_after_a_hand_over_leaves_the_job_with_its_worker() {
    if !has_module() {
        return;
    }
    let (here, there) = (Server::start(&[]), Server::start(&[]));
    let (mut con, mut other) = (here.connect(), there.connect());
    let migrate = format!("MIGRATE 127.0.0.1 {} t 0 30000", there.port());
    for way in [&[migrate.as_str()][..], &["DUMP t", "DEL t"]] {
        let worker = Blocked::start(&here, &["PHEAN.RESERVE", "t", "TIMEOUT", "1000", "TTR", "1000"]);
        let many = ["PHEAN.RESERVE", "t", "TIMEOUT", "1000", "COUNT", "2", "TTR", "1000"];
        let two = Blocked::start(&here, &many);
        run(&mut con, "MULTI");
        run(&mut con, "PHEAN.MPUT t 4 a b c d");
        way.iter().for_each(|line| drop(run(&mut con, line)));
        let done = array(&run(&mut con, "EXEC"));
        assert_eq!(int(&run(&mut con, "EXISTS t")), 0);
        if done.len() == 3 {
            restore(&mut other, "t", &bytes(&done[1]), &[]).unwrap();
        }
        let job = reserved(&worker.join().unwrap()).expect("the first job");
        assert_eq!(job.body, b"a");
        let jobs: Vec<_> =
            array(&two.join().unwrap()).iter().map(|job| reserved(job).expect("a job")).collect();
        assert_eq!(jobs.iter().map(|job| job.body.clone()).collect::<Vec<_>>(), [b"b", b"c"]);
        assert_eq!(counts(&mut other, "t"), [1, 0, 3, 0]);
        for lease in [&job.lease, &jobs[0].lease, &jobs[1].lease] {
            assert_eq!(int(&run(&mut other, &format!("PHEAN.DELETE t {lease}"))), 1);
        }
        assert_eq!(total(&mut con, "current-waiting"), 0);
        run(&mut other, "DEL t");
    }
    // A job that is deleted together with its tube is no more, as ever.
    let worker = Blocked::start(&here, &["PHEAN.RESERVE", "t", "TIMEOUT", "1000"]);
    run(&mut con, "MULTI");
    run(&mut con, "PHEAN.PUT t gone");
    run(&mut con, "DEL t");
    run(&mut con, "EXEC");
    assert!(!worker.is_over());
    run(&mut con, "PHEAN.PUT t there");
    assert_eq!(reserved(&worker.join().unwrap()).expect("a job").body, b"there");
}

/// A file that the server writes for itself takes a tube nowhere: a job that is deleted with its tube right afterwards is no
/// more, and the worker that it was meant for waits on. It got a lease of nothing, as if the tube had been dumped.
#[test]
fn a_tube_that_is_saved_and_deleted_right_after_a_hand_over_is_no_more() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    if !server.info("server")["redis_version"].starts_with("7.0.") {
        // Newer servers tell the worker before the tube is saved: no transaction may save one.
        return;
    }
    let mut other = Raw::connect(&server);
    for dump in [["EXISTS", "t"], ["DUMP", "t"]] {
        let worker = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "1000"]);
        let turn = [&["PHEAN.PUT", "t", "gone"][..], &["SAVE"], &dump, &["DEL", "t"]];
        other.send(turn.map(packed).concat());
        let replies = turn.map(|_| other.reply());
        assert!(replies[1] == "+OK\r\n" && replies[3] == ":1\r\n", "{replies:?}");
        // Whoever dumps it may restore it elsewhere.
        if dump[0] == "DUMP" {
            assert_eq!(reserved(&worker.join().unwrap()).expect("a job").body, b"gone");
            continue;
        }
        assert!(!worker.is_over());
        run(&mut con, "PHEAN.PUT t there");
        assert_eq!(reserved(&worker.join().unwrap()).expect("a job").body, b"there");
        run(&mut con, "DEL t");
    }
}

/// A name may be empty. The broker hears of the tube in a command on another one, when it looks for a string of Redis with
/// that name.
#[test]
fn the_tube_of_the_empty_name_is_one_like_any_other() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "PHEAN.MPUT PHEAN.PUT 4 a b c d");
    run(&mut con, "PHEAN.MPUT a 3 a b c TTR 0.05");
    run(&mut con, "PHEAN.RESERVE a");
    let _: Value = redis::pipe()
        .atomic()
        .cmd("RENAME")
        .arg("a")
        .arg("")
        .cmd("PHEAN.PUT")
        .arg("b")
        .arg("x")
        .query(&mut con)
        .unwrap();
    index_is_right(&server);
    assert_eq!(total(&mut con, "current-tubes"), 3);
    // The time to run ends there, and who waits there is served.
    eventually(|| counts(&mut con, "") == [3, 0, 0, 0]);
    cmd(&mut con, &["PHEAN.CLEAR", ""]).unwrap();
    let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "", "TIMEOUT", "100"]);
    until_waiting(&mut con, "", 1);
    cmd(&mut con, &["PHEAN.PUT", "", "y", "DELAY", "0.01"]).unwrap();
    assert_eq!(reserved(&waiter.join().unwrap()).expect("a job").body, b"y");
    cmd(&mut con, &["DEL", ""]).unwrap();
    run(&mut con, "DEL PHEAN.PUT");
    index_is_right(&server);
    assert_eq!((total(&mut con, "current-tubes"), total_counts(&mut con)), (1, [1, 0, 0, 0]));
}

/// Newer servers write the reply of a client that waited in their next turn. When it was killed before that, and the tube got
/// another name or database, the job was held by nobody until its time was over.
#[test]
fn a_job_that_did_not_reach_its_worker_goes_back_wherever_its_tube_is() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    for (moves, (db, name)) in [
        (&[][..], (0, "q")),
        (&["RENAME q r"], (0, "r")),
        (&["RENAME q s", "RENAME s r"], (0, "r")),
        (&["SWAPDB 0 1"], (1, "q")),
        (&["SWAPDB 0 1", "SWAPDB 1 2"], (2, "q")),
        (&["RENAME q r", "MOVE r 1"], (1, "r")),
    ] {
        let mut con = server.connect();
        run(&mut con, "FLUSHALL");
        let waiter = Blocked::start(&server, &["PHEAN.RESERVE", "q", "TIMEOUT", "100"]);
        let kill = format!("CLIENT KILL ID {}", waiter.client_id());
        // Redis reads no more than about 16 KiB at a time: what stands behind that runs in the turn after the hand-over.
        let mut pipe = redis::pipe();
        pipe.cmd("PHEAN.PUT").arg(&["q", "x"]).cmd("ECHO").arg("x".repeat(30_000));
        for line in [kill.as_str()].iter().chain(moves) {
            let words: Vec<&str> = line.split(' ').collect();
            pipe.cmd(words[0]).arg(&words[1..]);
        }
        let _: Value = pipe.query(&mut con).unwrap();
        let is_told = waiter.join().is_ok();
        let mut there = server.connect_db(db);
        eventually(|| counts(&mut there, name) == if is_told { [0, 0, 1, 0] } else { [1, 0, 0, 0] });
    }
}
