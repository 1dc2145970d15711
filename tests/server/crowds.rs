//! Very many connections that hold jobs close at once. `PHEAN_CROWD=n` lets so many take part, as far as the limit on
//! open files allows; `cargo bench --bench compare -- vanish` measures how long others wait meanwhile.

use crate::beanstalk_talk::{ON, Talk, info};
use crate::harness::{Server, has_module};
use crate::looking::{stat, stats};
use crate::raw::Raw;
use crate::reply::{int, run};
use crate::waiting::eventually;
use redis::Connection;
use std::{env, fs};

/// More than the server reads, or gives back, in one turn of its event loop.
const CROWD: usize = 700;

fn crowd() -> usize {
    let wanted = env::var("PHEAN_CROWD").map_or(CROWD, |text| text.parse().expect("PHEAN_CROWD is a number"));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok()).unwrap_or(1024);
    // Other tests run beside this one.
    wanted.min(soft.saturating_sub(300))
}

fn start(crowd: usize) -> Server {
    let maxclients = format!("maxclients {}", crowd + 200);
    Server::start(&[
        ON,
        "appendonly yes",
        "appendfsync always",
        &maxclients,
        &format!("phean.maxclients {}", crowd + 100),
    ])
}

fn put(con: &mut Connection, tube: &str, count: usize) {
    let mut words = vec!["PHEAN.MPUT".to_owned(), tube.to_owned(), count.to_string()];
    words.extend((0..count).map(|n| format!("body{n}")));
    crate::reply::cmd(con, &words).expect("they are put");
}

/// Lets the server sleep, so that it finds everything that is done meanwhile in one turn.
fn while_it_sleeps(server: &Server, work: impl FnOnce()) {
    let mut sleeper = Raw::connect(server);
    sleeper.send_cmd(&["DEBUG", "SLEEP", "0.3"]);
    work();
    assert_eq!(sleeper.reply(), "+OK\r\n");
}

#[track_caller]
fn assert_all_are_back(con: &mut Connection, tube: &str, crowd: usize) {
    eventually(|| stat(con, tube, "current-jobs-ready") == crowd as i64);
    let stats = stats(con, tube);
    for (field, expected) in
        [("current-jobs-reserved", 0), ("job-timeouts", 0), ("cmd-release", 0), ("total-jobs", crowd)]
    {
        assert_eq!(int(&stats[field]), expected as i64, "{field}");
    }
}

#[test]
fn a_crowd_of_redis_clients_vanishes_and_every_bound_job_is_back() {
    if !has_module() {
        return;
    }
    let crowd = crowd();
    let mut server = start(crowd);
    let mut con = server.connect();
    put(&mut con, "t", crowd);
    let mut workers: Vec<Raw> = (0..crowd).map(|_| Raw::connect(&server)).collect();
    for worker in &mut workers {
        let reply = worker.ask(&["PHEAN.RESERVE", "t", "TTR", "3600", "BOUND"]);
        assert!(reply.starts_with("*5"), "{reply}");
    }
    assert_eq!(stat(&mut con, "t", "current-jobs-reserved"), crowd as i64);
    while_it_sleeps(&server, || drop(workers));
    assert_all_are_back(&mut con, "t", crowd);
    // What went back was written down.
    server.kill9();
    server.restart();
    assert_all_are_back(&mut server.connect(), "t", crowd);
}

/// The port reads few of them in a turn of the event loop, and puts the others off. One that was put off must not be
/// forgotten, and the answers of those that stay must come.
#[test]
fn a_crowd_at_the_port_vanishes_and_every_job_is_back() {
    if !has_module() {
        return;
    }
    let crowd = crowd();
    let mut server = start(crowd);
    let mut con = server.connect();
    put(&mut con, "default", crowd);
    let mut talks: Vec<Talk> = (0..crowd).map(|_| Talk::new(&server)).collect();
    while_it_sleeps(&server, || talks.iter_mut().for_each(|talk| talk.send("reserve\r\n")));
    let mut ids: Vec<u64> = talks.iter_mut().map(|talk| talk.job().0).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), crowd, "each of them has a job of its own");
    assert_eq!(stat(&mut con, "default", "current-jobs-reserved"), crowd as i64);
    while_it_sleeps(&server, || {
        // Every tenth stays, and asks for something among all those that close.
        for (n, talk) in std::mem::take(&mut talks).into_iter().enumerate() {
            if n % 10 == 0 {
                talks.push(talk);
                talks.iter_mut().last().into_iter().for_each(|talk| talk.send("list-tube-used\r\n"));
            }
        }
    });
    for talk in &mut talks {
        assert_eq!(talk.line(), "USING default");
    }
    eventually(|| info(&server, "port_connections") == talks.len() as u64);
    drop(talks);
    eventually(|| info(&server, "port_connections") == 0);
    assert_all_are_back(&mut con, "default", crowd);
    server.kill9();
    server.restart();
    assert_all_are_back(&mut server.connect(), "default", crowd);
    assert_eq!(run(&mut server.connect(), "DEL default"), redis::Value::Int(1));
}

/// One connection may hold as many as it likes.
#[test]
fn one_client_with_very_many_bound_jobs_vanishes_and_all_are_back() {
    if !has_module() {
        return;
    }
    let server = start(10);
    let mut con = server.connect();
    let jobs = 20_000;
    put(&mut con, "t", jobs);
    let mut worker = server.connect();
    run(&mut worker, &format!("PHEAN.RESERVE t COUNT {jobs} TTR 3600 BOUND"));
    assert_eq!(stat(&mut con, "t", "current-jobs-reserved"), jobs as i64);
    drop(worker);
    assert_all_are_back(&mut con, "t", jobs);
}
