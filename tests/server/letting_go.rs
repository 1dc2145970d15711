//! In which turn of the event loop a worker that waits is answered, and what comes in between.

use crate::dataset::{counts, until_waiting};
use crate::harness::{Server, has_module};
use crate::raw::{Raw, packed};
use crate::reply::{ok_int, reserved, run};
use crate::waiting::eventually_some;

/// The server reads some 16 KiB of a connection in a turn, and goes on in the next one.
const TURN: usize = 16 * 1024;

/// Commands that fill this many bytes, and how many they are.
fn filling(bytes: usize) -> (Vec<u8>, usize) {
    let ping = packed(&["PING", &"x".repeat(1_000)]);
    let count = bytes / ping.len();
    (ping.repeat(count), count)
}

/// The number in a field of what INFO answered.
fn field(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

/// A job comes in one turn of the event loop and `CLIENT UNBLOCK` in that one, the next one or a later one: the worker
/// gets exactly one reply, and the job is neither lost nor counted as tried by somebody who was not told of it.
#[test]
fn client_unblock_in_whatever_turn_after_a_hand_over_loses_nothing() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let (mut worker, mut other) = (Raw::connect(&server), Raw::connect(&server));
    let id = worker.client_id().to_string();
    for round in 0..80 {
        let how = if round % 2 == 0 { "TIMEOUT" } else { "ERROR" };
        let (pings, count) = filling(TURN * round / 16);
        worker.send_cmd(&["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
        until_waiting(&mut con, "t", 1);
        let (put, unblock) = (packed(&["PHEAN.PUT", "t", "body"]), packed(&["CLIENT", "UNBLOCK", &id, how]));
        other.send([put, pings, unblock].concat());
        let replies: Vec<String> = (0..count + 2).map(|_| other.reply()).collect();
        assert!(replies[0].starts_with(':') && replies[count + 1].starts_with(':'), "{replies:?}");
        let reply = worker.reply();
        assert_eq!(worker.ask(&["ECHO", "own"]), "$3\r\nown\r\n");
        if !reply.starts_with("*5") {
            assert!(reply.starts_with(if how == "ERROR" { "-UNBLOCKED" } else { "*-1" }), "{reply:?}");
            let job = eventually_some(|| reserved(&run(&mut con, "PHEAN.RESERVE t")));
            assert_eq!(job.attempt, 1, "nobody has seen the job before");
        }
        assert_eq!(counts(&mut con, "t"), [0, 0, 1, 0], "one job, which somebody has");
        assert_eq!(ok_int(&mut con, &["DEL", "t"]), 1);
    }
}

/// Whatever made the job ready, the worker is answered at the end of the turn. What the next one brings comes too late.
#[test]
fn a_worker_is_answered_in_the_turn_in_which_its_job_came() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let version = &server.info("server")["redis_version"];
    if version.starts_with("7.0.") {
        // Its turns are not counted. There is but one way there.
        return;
    }
    let (mut worker, mut other) = (Raw::connect(&server), Raw::connect(&server));
    let asked = packed(&["INFO", "everything"]);
    let put = ["PHEAN.PUT", "t", "body"];
    let transaction = [packed(&["MULTI"]), packed(&put), packed(&["EXEC"])].concat();
    let script = packed(&["EVAL", "return redis.call('PHEAN.PUT', KEYS[1], 'body')", "1", "t"]);
    let ways = [(packed(&put), 1), (transaction, 3), (script, 1)];
    let mut next_turns = [0; 3];
    for round in 0..96 {
        let (way, replies) = &ways[round % 3];
        let (pings, count) = filling(TURN * (round / 3) / 8);
        worker.send_cmd(&["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
        until_waiting(&mut con, "t", 1);
        other.send([way, &asked, &pings, &asked].map(Vec::as_slice).concat());
        (0..*replies).for_each(|_| assert!(!other.reply().starts_with('-')));
        let before = other.reply();
        (0..count).for_each(|_| assert!(other.reply().starts_with('$')));
        let after = other.reply();
        let turn = |info: &str| field(info, "eventloop_cycles").expect("newer servers count turns");
        let blocked = |info: &str| field(info, "blocked_clients").expect("INFO has this field");
        assert_eq!(blocked(&before), 1, "it is answered after the commands of a turn");
        if turn(&after) == turn(&before) + 1 {
            next_turns[round % 3] += 1;
            assert_eq!(blocked(&after), 0, "it is answered a turn later");
        }
        assert!(worker.reply().starts_with("*5"));
        assert_eq!(ok_int(&mut con, &["DEL", "t"]), 1);
    }
    assert!(next_turns.iter().all(|count| *count > 0), "{next_turns:?}");
}
