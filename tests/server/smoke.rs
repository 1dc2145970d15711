//! The module loads, and a job goes through.

use crate::beanstalk_talk::{ON, Talk};
use crate::harness::{Server, has_module, module_path};
use crate::raw::Raw;
use crate::reply::{Reserved, array, map, ok_int, reserved, reserved_many, run, text};
use crate::waiting::Blocked;
use redis::Value;

#[test]
fn the_module_loads() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    assert_eq!(text(&run(&mut con, "PING")), "PONG");
    let modules = array(&run(&mut con, "MODULE LIST"));
    assert!(modules.iter().any(|module| text(&map(module)["name"]) == "phean"), "{modules:?}");
}

#[test]
fn the_module_loads_at_run_time() {
    let Some(path) = module_path() else { return };
    let server = Server::start_plain(&[]);
    let mut con = server.connect();
    run(&mut con, &format!("MODULE LOAD {}", path.display()));
    assert_eq!(ok_int(&mut con, &["PHEAN.PUT", "emails", "hello"]), 1);
}

#[test]
fn a_job_is_put_reserved_and_deleted() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    for mut con in [server.connect(), server.connect_resp3()] {
        let id = ok_int(&mut con, &["PHEAN.PUT", "emails", "hello"]);
        let job = reserved(&run(&mut con, "PHEAN.RESERVE emails")).expect("the job is ready");
        let lease = job.lease.clone();
        let (tube, body) = (b"emails".to_vec(), b"hello".to_vec());
        assert_eq!(job, Reserved { tube, id, lease: lease.clone(), body, attempt: 1, ttr: 60.0 });
        assert_eq!(run(&mut con, "PHEAN.RESERVE emails"), Value::Nil);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "emails", &lease]), 1);
        assert_eq!(ok_int(&mut con, &["PHEAN.DELETE", "emails", &lease]), 0);
        assert!(reserved_many(&run(&mut con, "PHEAN.RESERVE emails COUNT 3")).is_empty());
    }
}

#[test]
fn null_is_a_null_array_in_resp2_and_a_null_in_resp3() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut raw = Raw::connect(&server);
    assert_eq!(raw.ask(&["PHEAN.RESERVE", "emails"]), "*-1\r\n");
    raw.ask(&["HELLO", "3"]);
    assert_eq!(raw.ask(&["PHEAN.RESERVE", "emails"]), "_\r\n");
}

#[test]
fn a_waiting_worker_gets_the_next_job() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let worker = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "20"]);
    assert!(!worker.is_over());
    let id = ok_int(&mut server.connect(), &["PHEAN.PUT", "emails", "hello"]);
    let job = reserved(&worker.join().unwrap()).expect("the job was handed over");
    assert_eq!(job.id, id);
}

#[test]
fn jobs_outlive_a_restart() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]);
    let id = ok_int(&mut server.connect(), &["PHEAN.PUT", "emails", "hello"]);
    server.kill9();
    server.restart();
    let job = reserved(&run(&mut server.connect(), "PHEAN.RESERVE emails")).expect("the job is still there");
    assert_eq!((job.id, job.body.as_slice()), (id, &b"hello"[..]));
}

/// Each command asks for other rights, as whichever command of ours does the same.
#[test]
fn a_job_goes_through_the_beanstalk_port() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut bean = Talk::new(&server);
    let id = bean.put_id("hello");
    let job = (id, "hello".to_owned());
    assert_eq!(bean.reserve(), job);
    assert_eq!(bean.ask(&format!("touch {id}")), "TOUCHED");
    assert_eq!(bean.ask(&format!("release {id} 5 0")), "RELEASED");
    bean.send(format!("reserve-job {id}\r\n"));
    assert_eq!(bean.job(), job);
    assert_eq!(bean.ask(&format!("bury {id} 5")), "BURIED");
    bean.send("peek-buried\r\n");
    assert_eq!(bean.job(), job);
    assert_eq!(bean.ask("kick 1"), "KICKED 1");
    assert_eq!(bean.ask("pause-tube default 0"), "PAUSED");
    assert_eq!(bean.ask(&format!("kick-job {id}")), "NOT_FOUND");
    assert_eq!(bean.ask(&format!("delete {id}")), "DELETED");
}
