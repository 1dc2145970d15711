//! The gates of Redis hold at the beanstalk port too: memory, replication, pauses, rights, slots, and the disk.

use crate::beanstalk_talk::{ON, Talk, info};
use crate::harness::{Server, has_module};
use crate::reply::{int, reserved, run, text};
use crate::waiting::{Blocked, eventually, eventually_some};
use redis::Value;
use std::time::{Duration, Instant};

#[test]
fn what_was_inserted_survives_a_power_cut() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[ON, "appendonly yes", "appendfsync always"]);
    let mut bean = Talk::new(&server);
    bean.send("put 5 0 60 1\r\na\r\n".repeat(200));
    let ids: Vec<u64> = (0..200)
        .map(|_| bean.line().strip_prefix("INSERTED ").expect("it is inserted").parse().expect("a number"))
        .collect();
    let (done, _) = bean.reserve();
    assert_eq!(bean.ask(&format!("delete {done}")), "DELETED");
    let (held, _) = bean.reserve();
    let (buried, _) = bean.reserve();
    assert_eq!(bean.ask(&format!("bury {buried} 3")), "BURIED");
    server.kill9();
    server.restart();
    let mut con = server.connect();
    let state = |con: &mut _, id: u64| run(con, &format!("PHEAN.JOB default {id}"));
    assert_eq!(state(&mut con, done), Value::Nil);
    let mut bean = Talk::new(&server);
    bean.send(format!("stats-job {buried}\r\n"));
    assert!(bean.line().starts_with("OK "));
    assert_eq!(text(&crate::reply::map(&state(&mut con, held))["state"]), "reserved");
    assert_eq!(text(&crate::reply::map(&state(&mut con, buried))["state"]), "buried");
    assert_eq!(text(&crate::reply::map(&state(&mut con, ids[199]))["state"]), "ready");
    assert_eq!(int(&run(&mut con, "DEL default")), 1);
}

#[test]
fn a_full_server_takes_no_jobs_but_workers_drain_it() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    let mut bean = Talk::new(&server);
    let id = bean.put_id("x");
    run(&mut con, "CONFIG SET maxmemory 1000");
    assert_eq!(bean.put("y"), "OUT_OF_MEMORY");
    assert_eq!(bean.reserve().0, id);
    assert_eq!(bean.ask(&format!("delete {id}")), "DELETED");
    run(&mut con, "CONFIG SET maxmemory 0");
    assert!(bean.put("z").starts_with("INSERTED "));
}

#[test]
fn a_replica_shows_and_changes_nothing() {
    if !has_module() {
        return;
    }
    let (primary, replica) = (Server::start(&[ON]), Server::start(&[ON]));
    replica.replica_of(&primary);
    let mut bean = Talk::new(&primary);
    let id = bean.put_id("x");
    let held = bean.put_id("y");
    bean.reserve();
    replica.wait_synced(&primary);
    let mut there = Talk::new(&replica);
    assert_eq!(there.put("z"), "INTERNAL_ERROR");
    assert_eq!(there.ask(&format!("delete {held}")), "INTERNAL_ERROR");
    assert_eq!(there.ask("reserve-with-timeout 0"), "INTERNAL_ERROR");
    assert_eq!(there.ask("kick 1"), "INTERNAL_ERROR");
    there.send(format!("peek {held}\r\n"));
    assert_eq!(there.job(), (held, "y".to_owned()));
    assert_eq!(bean.ask(&format!("delete {id}")), "DELETED");
    eventually(|| there.ask(&format!("peek {id}")) == "NOT_FOUND");
    assert!(replica.log().contains("this server is a replica"), "the log says why");
    // One that has lost its primary shows what it has, unless it must not.
    let mut con = replica.connect();
    run(&mut con, "REPLICAOF 127.0.0.1 1");
    let mut there = Talk::new(&replica);
    there.send(format!("peek {held}\r\n"));
    assert_eq!(there.job(), (held, "y".to_owned()));
    run(&mut con, "CONFIG SET replica-serve-stale-data no");
    eventually(|| there.ask("stats-tube default") == "INTERNAL_ERROR");
    assert_eq!(there.ask(&format!("peek {held}")), "INTERNAL_ERROR");
    run(&mut con, "CONFIG SET replica-serve-stale-data yes");
    there.send(format!("peek {held}\r\n"));
    assert_eq!(there.job(), (held, "y".to_owned()));
}

#[test]
fn a_server_that_becomes_a_replica_closes_its_connections_and_loses_nothing() {
    if !has_module() {
        return;
    }
    let (old, new) = (Server::start(&[ON, "appendonly yes"]), Server::start(&[ON]));
    new.replica_of(&old);
    let mut holder = Talk::new(&old);
    let id = holder.put_id("x");
    holder.reserve();
    let mut waiter = Talk::new(&old);
    waiter.send("reserve\r\n");
    eventually(|| info(&old, "current_waiting") == 1);
    new.wait_synced(&old);
    // The old one may learn a moment later that the new one is ready.
    eventually(|| old.info("replication")["slave0"].contains("state=online"));
    let mut con = old.connect();
    // The primary takes a moment to see that its replica is online.
    let port = new.port().to_string();
    let failover = ["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "10000"];
    eventually(|| crate::reply::cmd(&mut con, &failover).is_ok());
    assert_eq!(holder.rest(), b"");
    assert_eq!(waiter.rest(), b"");
    eventually(|| new.info("replication")["role"] == "master");
    assert_eq!(info(&old, "current_waiting"), 0);
    // The reservation goes on as a plain lease.
    let mut con = new.connect();
    assert_eq!(
        text(&crate::reply::map(&run(&mut con, &format!("PHEAN.JOB default {id}")))["state"]),
        "reserved"
    );
    run(&mut con, &format!("PHEAN.RELEASE default {id}"));
    let mut bean = Talk::new(&new);
    assert_eq!(bean.reserve().0, id);
    old.wait_synced(&new);
    assert_eq!(Talk::new(&old).put("y"), "INTERNAL_ERROR");
}

#[test]
fn with_too_few_replicas_nothing_is_written() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    let mut bean = Talk::new(&server);
    let id = bean.put_id("x");
    run(&mut con, "CONFIG SET min-replicas-to-write 1");
    assert_eq!(bean.put("y"), "INTERNAL_ERROR");
    assert_eq!(bean.ask("reserve-with-timeout 0"), "INTERNAL_ERROR");
    bean.send("peek-ready\r\n");
    assert_eq!(bean.job().0, id);
    assert!(server.log().contains("NOREPLICAS"), "the log says why");
    run(&mut con, "CONFIG SET min-replicas-to-write 0");
    assert_eq!(bean.reserve().0, id);
}

#[test]
fn commands_wait_while_clients_are_paused() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "appendonly yes"]);
    let mut con = server.connect();
    let mut holder = Talk::new(&server);
    holder.put_id("held");
    holder.reserve();
    let mut bean = Talk::new(&server);
    // A pause of everything pauses CLIENT UNPAUSE too.
    for (mode, ms) in [("WRITE", 600_000), ("ALL", 1_500)] {
        run(&mut con, &format!("CLIENT PAUSE {ms} {mode}"));
        bean.send("put 0 0 60 1\r\nx\r\nreserve\r\n");
        assert!(!bean.is_answered_within(Duration::from_millis(200)), "clients are paused ({mode})");
        if mode == "ALL" {
            // What the vanished one held comes back after the pause.
            holder.half_close();
            drop(std::mem::replace(&mut holder, Talk::new(&server)));
        }
        if mode == "WRITE" {
            run(&mut con, "CLIENT UNPAUSE");
        }
        assert!(bean.line().starts_with("INSERTED "), "the pause is over");
        let (id, body) = bean.job();
        assert_eq!(body, "x");
        assert_eq!(bean.ask(&format!("delete {id}")), "DELETED");
    }
    assert_eq!(eventually_some(|| reserved(&run(&mut con, "PHEAN.RESERVE default"))).body, b"held");
}

#[test]
fn the_port_acts_as_its_user() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER bean on nopass ~mine* +phean.put +phean.reserve +phean.delete +phean.peek");
    run(&mut con, "CONFIG SET phean.user bean");
    let mut bean = Talk::new(&server);
    assert_eq!(bean.ask("use mine"), "USING mine");
    let id = bean.put_id("x");
    assert_eq!(bean.ask("watch mine"), "WATCHING 2");
    assert_eq!(bean.ask("ignore default"), "WATCHING 1");
    assert_eq!(bean.reserve().0, id);
    assert_eq!(bean.ask(&format!("bury {id} 0")), "INTERNAL_ERROR", "the command is not granted");
    assert_eq!(bean.ask(&format!("delete {id}")), "DELETED");
    let id = int(&run(&mut con, "PHEAN.PUT yours x"));
    assert_eq!(bean.ask(&format!("peek {id}")), "INTERNAL_ERROR", "the key is not granted");
    bean.ask("use yours");
    assert_eq!(bean.put("y"), "INTERNAL_ERROR");
    assert!(server.log().contains("the user 'bean' (phean.user) has no right"), "the log says why");
    // A right that is taken away while somebody waits.
    bean.send("reserve\r\n");
    eventually(|| info(&server, "current_waiting") == 1);
    run(&mut con, "ACL SETUSER bean -phean.reserve");
    run(&mut con, "PHEAN.PUT mine z");
    assert_eq!(bean.line(), "INTERNAL_ERROR");
    eventually(|| reserved(&run(&mut con, "PHEAN.RESERVE mine")).is_some());
    // The same with the key; the job is whole for the next in line.
    run(&mut con, "ACL SETUSER bean +phean.reserve");
    bean.send("reserve\r\n");
    eventually(|| info(&server, "current_waiting") == 1);
    run(&mut con, "ACL SETUSER bean resetkeys %W~mine");
    let next = Blocked::start(&server, &["PHEAN.RESERVE", "mine", "TIMEOUT", "100"]);
    run(&mut con, "PHEAN.PUT mine z");
    assert_eq!(bean.line(), "INTERNAL_ERROR", "who may only write gets no body");
    assert_eq!(reserved(&next.join().expect("it is served")).expect("there is a job").attempt, 1);
    // A user that is off, or missing, lets nobody in.
    run(&mut con, "ACL SETUSER bean off");
    let mut refused = Talk::new(&server);
    let _ = refused.try_send("list-tube-used\r\n");
    assert_eq!(refused.rest(), b"");
    assert!(server.log().contains("phean.user is off, or missing"), "the log says why");
    run(&mut con, "ACL DELUSER bean");
    assert_eq!(bean.put("y"), "INTERNAL_ERROR");
    run(&mut con, "CONFIG SET phean.user default");
    assert!(bean.put("y").starts_with("INSERTED "));
}

/// The log said that the user was off, or missing.
#[test]
fn who_may_not_be_asked_for_lets_nobody_in() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "rename-command ACL \"\""]);
    let mut refused = Talk::new(&server);
    let _ = refused.try_send("list-tube-used\r\n");
    assert_eq!(refused.rest(), b"");
    let log = server.log();
    assert!(log.contains("cannot be asked by ACL GETUSER") && !log.contains("is off, or missing"), "{log}");
}

#[test]
fn in_a_cluster_the_port_serves_the_slots_of_its_node() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "cluster-enabled yes", "cluster-require-full-coverage no"]);
    let mut con = server.connect();
    // foo is in slot 12182, bar in slot 5061.
    run(&mut con, "CLUSTER ADDSLOTSRANGE 0 8191");
    eventually(|| text(&run(&mut con, "CLUSTER INFO")).contains("cluster_state:ok"));
    let mut bean = Talk::new(&server);
    bean.ask("use bar");
    let id = bean.put_id("x");
    assert_eq!(bean.ask("use foo"), "INTERNAL_ERROR");
    assert_eq!(bean.ask("watch foo"), "INTERNAL_ERROR");
    bean.ask("watch bar");
    assert_eq!(bean.ask("ignore default"), "WATCHING 1");
    assert_eq!(bean.reserve().0, id);
    assert!(server.log().contains("the slot of tube 'foo' is served by another node"), "the log says why");
    let refused = crate::reply::err(&mut con, &["CONFIG", "SET", "phean.database", "1"]);
    assert!(refused.contains("only database 0"), "{refused}");
    // What was asked a moment ago holds no longer once the slot is gone.
    assert_eq!(run(&mut con, "CLUSTER DELSLOTS 5061"), Value::Okay);
    bean.send("put 0 0 60 1\r\nx\r\n");
    assert_eq!(bean.line(), "INTERNAL_ERROR");
}

#[test]
fn nothing_runs_while_a_script_does_and_everything_after() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "busy-reply-threshold 1"]);
    let mut bean = Talk::new(&server);
    bean.put_id("x");
    let script = std::thread::spawn({
        let mut con = server.connect();
        move || crate::reply::cmd(&mut con, &["EVAL", "while true do end", "0"])
    });
    let mut con = server.connect();
    eventually(|| crate::reply::cmd(&mut con, &["PING"]).is_err());
    bean.send("reserve\r\n");
    let mut other = Talk::new(&server);
    other.send("put 0 0 60 1\r\ny\r\n");
    assert!(!bean.is_answered_within(Duration::from_millis(200)), "the script still runs");
    eventually(|| crate::reply::cmd(&mut con, &["SCRIPT", "KILL"]).is_ok());
    let _ = script.join().expect("the script's thread ends");
    assert_eq!(bean.job().1, "x");
    assert!(other.line().starts_with("INSERTED "));
}

#[test]
fn commands_that_come_while_data_are_loaded_are_answered_after() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[ON, "save 3600 1"]);
    let mut con = server.connect();
    (0..100).for_each(|n| drop(run(&mut con, &format!("SET key:{n} x"))));
    let id = Talk::new(&server).put_id("x");
    server.shutdown_save();
    // Loading takes a second or more, with looks at the sockets in between.
    server.add_config(&["key-load-delay 10000", "loading-process-events-interval-bytes 1024"]);
    let socket = server.dir().join("beanstalk.sock");
    let early = std::thread::spawn(move || {
        let mut talk = eventually_some(|| Talk::at(&socket).ok());
        let since = Instant::now();
        talk.send("reserve\r\n");
        (talk.job(), since, talk)
    });
    server.restart();
    let ready = Instant::now();
    let (job, since, _talk) = early.join().expect("the early one is served");
    assert!(since < ready, "it came while data were loaded");
    assert_eq!(job, (id, "x".to_owned()));
}

/// From 7.2 on Redis does not tell of commands that it had held up during a pause. The port's user had rights for as long
/// as no other command ran.
#[test]
fn rights_that_are_taken_away_during_a_pause_are_gone_after_it() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER porter reset on nopass ~* +@all");
    run(&mut con, "CONFIG SET phean.user porter");
    let mut bean = Talk::new(&server);
    for round in 0..10 {
        run(&mut con, "ACL SETUSER porter +phean.put");
        assert!(bean.put("x").starts_with("INSERTED "));
        let mut other = server.connect();
        run(&mut con, "CLIENT PAUSE 100 ALL");
        let taken = std::thread::spawn(move || run(&mut other, "ACL SETUSER porter -phean.put"));
        // It is held up by now, most likely; nothing tells.
        std::thread::sleep(Duration::from_millis(30));
        if round % 5 > 0 {
            bean.send("put 0 0 60 1\r\nx\r\n");
            // Before the rights went, or after.
            bean.line();
        }
        taken.join().unwrap();
        assert_eq!(bean.put("x"), "INTERNAL_ERROR", "its rights are gone, as the one who took them was told");
    }
}
