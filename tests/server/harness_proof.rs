//! The harness itself: what other tests rely on, shown with plain Redis commands.

use crate::harness::{Server, client_id};
use crate::raw::Raw;
use crate::reply::{array, bytes, cmd, err, error_line, int, map, ok_int, run, seconds, text};
use crate::waiting::{Blocked, eventually};
use redis::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_killed_server_comes_back_with_its_aof() {
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]);
    let (port, first_pid) = (server.port(), server.pid());
    run(&mut server.connect(), "SET key kept");
    server.kill9();
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), first_pid);
    assert_eq!(text(&run(&mut server.connect(), "GET key")), "kept");
}

#[test]
fn a_shutdown_saves_or_not_as_told() {
    let mut server = Server::start(&[]);
    run(&mut server.connect(), "SET key first");
    server.shutdown_save();
    assert!(server.dir().join("dump.rdb").exists());
    server.restart();
    run(&mut server.connect(), "SET key second");
    server.shutdown_nosave();
    server.add_config(&["maxmemory-policy noeviction", "databases 3"]);
    server.restart();
    let mut con = server.connect();
    assert_eq!(text(&run(&mut con, "GET key")), "first");
    assert_eq!(err(&mut con, &["SELECT", "3"]), "ERR DB index is out of range");
}

#[test]
fn a_replica_syncs_and_is_promoted() {
    let primary = Server::start(&[]);
    let replica = Server::start(&[]);
    replica.replica_of(&primary);
    run(&mut primary.connect(), "SET key value");
    replica.wait_synced(&primary);
    let mut con = replica.connect();
    assert_eq!(text(&run(&mut con, "GET key")), "value");
    assert!(err(&mut con, &["SET", "key", "other"]).starts_with("READONLY "));
    replica.promote();
    eventually(|| replica.info("replication")["role"] == "master");
    run(&mut replica.connect(), "SET key other");
}

#[test]
fn a_blocked_command_is_seen_and_joined() {
    let server = Server::start(&[]);
    let mut con = server.connect();
    let waiting = Blocked::start(&server, &["BLPOP", "list", "0"]);
    assert!(!waiting.is_over());
    assert_eq!(ok_int(&mut con, &[b"RPUSH".as_slice(), b"list", b"\x00\xff"]), 1);
    assert_eq!(bytes(&array(&waiting.join().unwrap())[1]), b"\x00\xff");

    let in_another_db = Blocked::start_on(&server, server.connect_db(1), &["BLPOP", "list", "0"]);
    run(&mut con, &format!("CLIENT UNBLOCK {} ERROR", in_another_db.client_id()));
    assert!(error_line(&in_another_db.join().unwrap_err()).starts_with("UNBLOCKED "));
}

#[test]
fn a_vanished_client_is_noticed() {
    let server = Server::start(&[]);
    let mut raw = Raw::connect(&server);
    let id = raw.client_id();
    raw.send_cmd(&["BLPOP", "list", "0"]);
    server.wait_blocked(id);
    drop(raw);
    eventually(|| server.info("clients")["blocked_clients"] == "0");
}

#[test]
fn exact_bytes_show_which_null_it_is() {
    let server = Server::start(&[]);
    let mut raw = Raw::connect(&server);
    assert_eq!(raw.ask(&["BLPOP", "none", "0.01"]), "*-1\r\n");
    assert_eq!(raw.ask(&["GET", "none"]), "$-1\r\n");
    assert!(raw.ask(&["HELLO", "3"]).starts_with('%'));
    assert_eq!(raw.ask(&["BLPOP", "none", "0.01"]), "_\r\n");
    assert_eq!(raw.ask(&["ECHO", "a\r\nb"]), "$4\r\na\r\nb\r\n");
    raw.send("PING\r\n");
    assert_eq!(raw.reply(), "+PONG\r\n");
    raw.send("ECHO é\r\n");
    assert_eq!(raw.reply(), "$2\r\n\\xc3\\xa9\r\n");
    assert_eq!(raw.finish(), b"");
}

#[test]
fn maps_and_numbers_read_the_same_in_both_protocols() {
    let server = Server::start(&[]);
    for mut con in [server.connect(), server.connect_resp3()] {
        run(&mut con, "HSET hash name value");
        run(&mut con, "ZADD zset 1.5 member");
        assert_eq!(map(&run(&mut con, "HGETALL hash"))["name"], Value::BulkString(b"value".to_vec()));
        assert_eq!(seconds(&run(&mut con, "ZSCORE zset member")), 1.5);
        assert_eq!(int(&run(&mut con, "DBSIZE")), 2);
        assert!(client_id(&mut con) > 0);
    }
}

#[test]
fn errors_come_whole() {
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "SET text value");
    assert_eq!(err(&mut con, &["GET"]), "ERR wrong number of arguments for 'get' command");
    assert_eq!(
        err(&mut con, &["LPUSH", "text", "x"]),
        "WRONGTYPE Operation against a key holding the wrong kind of value"
    );
    run(&mut con, "ACL SETUSER weak on >secret ~* +ping");
    let mut weak = server.connect_as("weak", "secret");
    assert!(err(&mut weak, &["GET", "text"]).starts_with("NOPERM "));
    run(&mut con, "MULTI");
    cmd(&mut con, &["INCR", "text"]).unwrap();
    assert!(matches!(array(&run(&mut con, "EXEC"))[0], Value::ServerError(_)));
}

#[test]
fn a_refused_start_is_an_answer() {
    let log = Server::try_start(&["no-such-setting yes"]).err().expect("the server refuses");
    assert!(log.contains("no-such-setting"), "{log}");
    let mut server = Server::start_plain(&[]);
    assert!(server.url().ends_with(&server.port().to_string()));
    server.shutdown_nosave();
    server.add_config(&["no-such-setting yes"]);
    assert!(server.try_restart().unwrap_err().contains("no-such-setting"));
}

/// Without this, a module that brings its server down could pass every test that does not ask again.
#[test]
fn a_crash_fails_the_test() {
    let server = Server::start(&[]);
    let mut con = server.connect();
    assert!(cmd(&mut con, &["DEBUG", "SEGFAULT"]).is_err());
    let outcome = catch_unwind(AssertUnwindSafe(|| drop(server)));
    let message = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("REDIS BUG REPORT") || message.contains("VALKEY BUG REPORT"), "{message}");
}

/// Redis only logs it when a replica refuses what its primary sent.
#[test]
fn a_refused_event_fails_the_test_unless_forgiven() {
    for forgiving in [false, true] {
        let primary = Server::start(&[]);
        let mut replica = Server::start(&[]);
        if forgiving {
            replica.forgive_apply_errors();
        }
        replica.replica_of(&primary);
        replica.wait_synced(&primary);
        // The replica's key is of another type, as a diverged one's would be.
        run(&mut replica.connect(), "CONFIG SET replica-read-only no");
        run(&mut replica.connect(), "SET key text");
        run(&mut primary.connect(), "RPUSH key element");
        eventually(|| replica.log().contains("== CRITICAL =="));
        let outcome = catch_unwind(AssertUnwindSafe(|| drop(replica)));
        assert_eq!(outcome.is_ok(), forgiving);
    }
}
