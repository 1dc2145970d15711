//! Commands of the port that come one by one, while nothing else goes on in the server, run in the callback of their
//! file descriptor. What Redis does in between must count all the same.

use crate::beanstalk_talk::{ON, Talk, info};
use crate::harness::{Server, has_module};
use crate::raw::Raw;
use crate::reply::{array, int, reserved, run, text};
use crate::waiting::{Blocked, eventually};
use redis::Value;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many commands of the port ran like that.
fn alone(server: &Server) -> u64 {
    info(server, "port_runs_alone")
}

/// Puts jobs one by one until the server runs them like that. Asking for it is a command of Redis, which ends it until
/// the server's next look.
fn until_alone(server: &Server, talk: &mut Talk) {
    let before = alone(server);
    eventually(|| {
        (0..50).for_each(|_| {
            talk.put_id("x");
        });
        alone(server) > before + 10
    });
}

/// The ids of all jobs of a tube.
fn ids(con: &mut redis::Connection, tube: &str) -> BTreeSet<u64> {
    let (mut ids, mut from) = (BTreeSet::new(), "0".to_owned());
    loop {
        let reply = array(&run(con, &format!("PHEAN.SCAN {tube} {from} COUNT 1000")));
        for job in array(&reply[1]) {
            ids.insert(int(&array(&job)[0]) as u64);
        }
        from = text(&reply[0]);
        if from == "0" {
            return ids;
        }
    }
}

#[test]
fn commands_one_by_one_run_as_they_come() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut talk = Talk::new(&server);
    until_alone(&server, &mut talk);
    let before = alone(&server);
    eventually(|| {
        for _ in 0..50 {
            let (id, body) = talk.reserve();
            assert_eq!(body, "x");
            assert_eq!(talk.ask(&format!("delete {id}")), "DELETED");
            talk.put_id("x");
            talk.put_id("x");
        }
        alone(&server) > before + 50
    });
}

/// Redis tells clients that track keys by prefix before each sleep, and forgets; the port said only once in a while that a
/// tube had changed.
#[test]
fn who_tracks_tubes_by_prefix_hears_of_each_change() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut talk = Talk::new(&server);
    let mut tracking = Raw::connect(&server);
    tracking.ask(&["HELLO", "3"]);
    assert_eq!(tracking.ask(&["CLIENT", "TRACKING", "ON", "BCAST"]), "+OK\r\n");
    let before = alone(&server);
    eventually(|| {
        (0..500).for_each(|_| {
            talk.put_id("x");
            assert_eq!(tracking.reply(), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$7\r\ndefault\r\n");
        });
        alone(&server) > before + 10
    });
}

#[test]
fn nothing_runs_alone_where_somebody_is_to_hear_of_it() {
    if !has_module() {
        return;
    }
    let primary = Server::start(&[ON, "appendonly yes"]);
    let mut talk = Talk::new(&primary);
    (0..500).for_each(|_| {
        talk.put_id("x");
    });
    assert_eq!(alone(&primary), 0);
}

/// A job that is put when the tube's time is over would go with the tube, if the tube were not looked up.
#[test]
fn a_tube_whose_time_is_over_is_left() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut con, mut talk) = (server.connect(), Talk::new(&server));
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as i64;
    for _ in 0..5 {
        until_alone(&server, &mut talk);
        assert_eq!(int(&run(&mut con, "PEXPIRE default 300")), 1);
        let over_ms = int(&run(&mut con, "PEXPIRETIME default"));
        let mut after = Vec::new();
        // No command of Redis runs until then.
        while now_ms() < over_ms + 50 {
            let is_over = now_ms() > over_ms;
            let id = talk.put_id("x");
            after.extend(is_over.then_some(id));
        }
        after.push(talk.put_id("x"));
        let left = ids(&mut con, "default");
        assert!(after.iter().all(|id| left.contains(id)), "of {after:?} are left {left:?}");
    }
}

#[test]
fn what_redis_does_to_a_tube_in_between_counts() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut con, mut talk) = (server.connect(), Talk::new(&server));
    for command in ["DEL default", "RENAME default other", "FLUSHALL", "SWAPDB 0 1", "MOVE default 1"] {
        until_alone(&server, &mut talk);
        let before = talk.put_id("before");
        run(&mut con, command);
        let after = talk.put_id("after");
        if !command.starts_with("RENAME") {
            assert_eq!(talk.ask(&format!("peek {before}")), "NOT_FOUND", "after {command}");
        }
        until_alone(&server, &mut talk);
        assert_eq!(ids(&mut con, "default").first(), Some(&after), "after {command}");
        run(&mut con, "FLUSHALL");
        assert_eq!(talk.ask("peek-ready"), "NOT_FOUND");
    }
}

#[test]
fn one_who_watches_the_key_sees_each_change() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut con, mut talk) = (server.connect(), Talk::new(&server));
    until_alone(&server, &mut talk);
    for _ in 0..20 {
        assert_eq!(run(&mut con, "WATCH default"), Value::Okay);
        talk.put_id("x");
        assert_eq!(run(&mut con, "MULTI"), Value::Okay);
        run(&mut con, "PING");
        assert_eq!(run(&mut con, "EXEC"), Value::Nil, "the key has changed");
    }
}

#[test]
fn those_who_wait_are_woken_by_a_put_that_runs_alone() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut worker, mut talk) = (Talk::new(&server), Talk::new(&server));
    assert_eq!(worker.ask("watch t"), "WATCHING 2");
    assert_eq!(worker.ask("ignore default"), "WATCHING 1");
    until_alone(&server, &mut talk);
    assert_eq!(talk.ask("use t"), "USING t");
    let before = alone(&server);
    eventually(|| {
        for n in 0..50 {
            worker.send("reserve\r\n");
            let id = talk.put_id(&n.to_string());
            assert_eq!(worker.job(), (id, n.to_string()));
            assert_eq!(worker.ask(&format!("delete {id}")), "DELETED");
        }
        alone(&server) > before + 50
    });
    let mut other = Talk::new(&server);
    eventually(|| {
        let before = alone(&server);
        let blocked = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "60"]);
        eventually(|| info(&server, "current_waiting") == 1);
        // Time for the server to find that all is quiet again: to ask for it would be a command.
        std::thread::sleep(Duration::from_millis(150));
        (0..3).for_each(|_| {
            other.put_id("elsewhere");
        });
        let id = talk.put_id("x");
        let job = reserved(&blocked.join().expect("the wait ends well")).expect("there is a job");
        assert!(job.lease.starts_with(&format!("{id}-")));
        assert_eq!(int(&run(&mut server.connect(), &format!("PHEAN.DELETE t {}", job.lease))), 1);
        alone(&server) >= before + 3
    });
}

#[test]
fn an_append_only_file_that_begins_at_run_time_has_every_job() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[ON, "appendfsync always"]);
    let (mut con, mut talk) = (server.connect(), Talk::new(&server));
    until_alone(&server, &mut talk);
    assert_eq!(run(&mut con, "CONFIG SET appendonly yes"), Value::Okay);
    let put: BTreeSet<u64> = (0..500).map(|_| talk.put_id("y")).collect();
    eventually(|| {
        let info = server.info("persistence");
        info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
    });
    let all = ids(&mut con, "default");
    server.add_config(&["appendonly yes"]);
    server.kill9();
    server.restart();
    assert!(put.is_subset(&all));
    assert_eq!(ids(&mut server.connect(), "default"), all);
}

#[test]
fn a_replica_that_comes_gets_every_job() {
    if !has_module() {
        return;
    }
    let (primary, replica) = (Server::start(&[ON]), Server::start(&[]));
    let mut talk = Talk::new(&primary);
    until_alone(&primary, &mut talk);
    replica.replica_of(&primary);
    eventually(|| {
        (0..20).for_each(|_| {
            talk.put_id("z");
        });
        replica.info("replication").get("master_link_status").is_some_and(|status| status == "up")
    });
    (0..20).for_each(|_| {
        talk.put_id("z");
    });
    replica.wait_synced(&primary);
    assert_eq!(ids(&mut replica.connect(), "default"), ids(&mut primary.connect(), "default"));
}

#[test]
fn nothing_runs_while_clients_are_paused() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut con, mut talk) = (server.connect(), Talk::new(&server));
    until_alone(&server, &mut talk);
    assert_eq!(run(&mut con, "CLIENT PAUSE 60000 WRITE"), Value::Okay);
    let (puts, bytes) = (info(&server, "cmd_put"), info(&server, "port_input_bytes"));
    talk.send("put 0 0 60 1\r\nx\r\n");
    eventually(|| info(&server, "port_input_bytes") > bytes);
    assert_eq!(info(&server, "cmd_put"), puts);
    assert_eq!(run(&mut con, "CLIENT UNPAUSE"), Value::Okay);
    assert!(talk.line().starts_with("INSERTED "));
}
