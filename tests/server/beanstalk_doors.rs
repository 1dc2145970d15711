//! One queue, two doors: what comes in by the beanstalk port goes out by PHEAN.* commands, and the other way round.

use crate::beanstalk_talk::{ON, Talk, info};
use crate::harness::{Server, has_module};
use crate::reply::{array, int, reserved, run, text};
use crate::waiting::{Blocked, eventually};
use redis::Value;

#[test]
fn a_job_put_by_one_side_is_done_by_the_other() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut con, mut bean) = (server.connect(), Talk::new(&server));
    assert_eq!(bean.ask("use mails"), "USING mails");
    let id = bean.put_id("from the port");
    let job = reserved(&run(&mut con, "PHEAN.RESERVE mails")).expect("the job is there");
    assert_eq!(job.body, b"from the port");
    assert!(job.lease.starts_with(&format!("{id}-")), "{} is no lease of {id}", job.lease);
    assert_eq!(bean.ask(&format!("delete {id}")), "NOT_FOUND", "somebody else holds it");
    assert_eq!(int(&run(&mut con, &format!("PHEAN.DELETE mails {}", job.lease))), 1);

    let id = int(&run(&mut con, "PHEAN.PUT mails from-redis PRI 7 TTR 30")) as u64;
    assert_eq!(bean.ask("watch mails"), "WATCHING 2");
    assert_eq!(bean.reserve(), (id, "from-redis".to_owned()));
    let claimed = array(&run(&mut con, "PHEAN.CLAIMED mails"));
    assert_eq!(claimed.len(), 1, "PHEAN.* sees the reservation with its lease");
    let lease = text(&array(&claimed[0])[0]);
    assert_eq!(int(&run(&mut con, &format!("PHEAN.TOUCH mails {lease} FOR 100"))), 1);
    assert_eq!(bean.ask(&format!("bury {id} 9")), "BURIED");
    assert_eq!(int(&run(&mut con, "PHEAN.KICK mails 1")), 1);
    bean.send(format!("peek {id}\r\n"));
    assert_eq!(bean.job(), (id, "from-redis".to_owned()));
    assert_eq!(bean.ask(&format!("delete {id}")), "DELETED");
    assert_eq!(run(&mut con, &format!("PHEAN.JOB mails {id}")), Value::Nil);
}

#[test]
fn those_who_wait_at_either_door_stand_in_one_line() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    let mut first = Talk::new(&server);
    assert_eq!(first.ask("watch t"), "WATCHING 2");
    first.send("reserve\r\n");
    eventually(|| info(&server, "current_waiting") == 1);
    let second = Blocked::start(&server, &["PHEAN.RESERVE", "t", "TIMEOUT", "60"]);
    let mut third = Talk::new(&server);
    assert_eq!(third.ask("watch t"), "WATCHING 2");
    third.send("reserve-with-timeout 60\r\n");
    eventually(|| info(&server, "current_waiting") == 3);
    for body in ["1", "2", "3"] {
        run(&mut con, &format!("PHEAN.PUT t {body}"));
    }
    assert_eq!(first.job().1, "1");
    let job = reserved(&second.join().expect("the wait ends well")).expect("there is a job");
    assert_eq!(job.body, b"2");
    assert_eq!(third.job().1, "3");
    assert_eq!(info(&server, "current_waiting"), 0);
}

#[test]
fn a_put_by_the_port_wakes_a_waiting_redis_client_and_its_own() {
    if !has_module() {
        return;
    }
    for aof in ["appendonly no", "appendonly yes"] {
        let server = Server::start(&[ON, aof]);
        let waiting = Blocked::start(&server, &["PHEAN.RESERVE", "default", "TIMEOUT", "60"]);
        let mut worker = Talk::new(&server);
        worker.send("reserve\r\n");
        eventually(|| info(&server, "current_waiting") == 2);
        let mut producer = Talk::new(&server);
        let first = producer.put_id("a");
        let second = producer.put_id("b");
        let job = reserved(&waiting.join().expect("the wait ends well")).expect("there is a job");
        assert!(job.lease.starts_with(&format!("{first}-")));
        assert_eq!(worker.job(), (second, "b".to_owned()));
    }
}

#[test]
fn a_wait_ends_in_time() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut bean = Talk::new(&server);
    assert_eq!(bean.ask("reserve-with-timeout 0"), "TIMED_OUT");
    assert_eq!(bean.ask("reserve-with-timeout 1"), "TIMED_OUT");
    let id = bean.put_id("x");
    assert_eq!(bean.reserve().0, id, "the connection goes on");
}

#[test]
fn what_is_no_tube_is_an_error_and_stays_as_it_is() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut con, mut bean) = (server.connect(), Talk::new(&server));
    run(&mut con, "SET t hello");
    assert_eq!(bean.ask("use t"), "INTERNAL_ERROR");
    assert_eq!(bean.ask("use s"), "USING s");
    run(&mut con, "SET s hello");
    assert_eq!(bean.put("x"), "INTERNAL_ERROR");
    assert_eq!(text(&run(&mut con, "GET t")), "hello");
    assert_eq!(text(&run(&mut con, "GET s")), "hello");
    assert_eq!(bean.ask("use other"), "USING other");
    assert!(bean.put("x").starts_with("INSERTED "), "the connection goes on");
    eventually(|| server.log().contains("the key 't' holds something that is no tube"));
}

#[test]
fn the_tubes_live_in_the_database_of_the_setting() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "phean.database 3"]);
    let mut bean = Talk::new(&server);
    let id = bean.put_id("x");
    assert_eq!(run(&mut server.connect(), "EXISTS default"), Value::Int(0));
    let mut con = server.connect_db(3);
    assert_eq!(text(&run(&mut con, "TYPE default")), "pheantube");
    assert_eq!(bean.reserve().0, id);
    // Changing it closes the connections, and what they hold goes back where it is.
    assert_eq!(run(&mut con, "CONFIG SET phean.database 5"), Value::Okay);
    assert_eq!(bean.rest(), b"");
    eventually(|| reserved(&run(&mut con, "PHEAN.RESERVE default")).is_some());
    let mut bean = Talk::new(&server);
    assert_eq!(bean.ask("reserve-with-timeout 0"), "TIMED_OUT");
    bean.put_id("y");
    assert_eq!(run(&mut server.connect_db(5), "EXISTS default"), Value::Int(1));
}

#[test]
fn deleting_a_tube_takes_the_jobs_from_those_who_hold_them() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let (mut con, mut bean) = (server.connect(), Talk::new(&server));
    let id = bean.put_id("x");
    bean.reserve();
    run(&mut con, "DEL default");
    assert_eq!(bean.ask(&format!("delete {id}")), "NOT_FOUND");
    let next = bean.put_id("y");
    assert!(next > id, "no id comes twice");
    assert_eq!(bean.reserve(), (next, "y".to_owned()));
}

#[test]
fn a_vanished_connection_gives_its_jobs_back_and_leaves_the_line() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    let mut holder = Talk::new(&server);
    let id = holder.put_id("x");
    holder.reserve();
    let mut waiter = Talk::new(&server);
    waiter.send("reserve\r\n");
    eventually(|| info(&server, "current_waiting") == 1);
    drop(waiter);
    eventually(|| info(&server, "current_waiting") == 0);
    let mut next = Talk::new(&server);
    next.send("reserve\r\n");
    eventually(|| info(&server, "current_waiting") == 1);
    drop(holder);
    assert_eq!(next.job(), (id, "x".to_owned()));
    drop(next);
    eventually(|| reserved(&run(&mut con, "PHEAN.RESERVE default")).is_some());
    assert_eq!(info(&server, "port_connections"), 0);
}
