//! Delayed jobs: how late they come, and what a hundred thousand at once do to everybody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Plan;
use crate::client::encode;
use crate::load::{BODY, Batches, drain, redis};
use crate::process::Server;
use crate::queue::{Queue, body};
use crate::table::{Goal, Table, median, percentile};
use crate::waiting::Latencies;

/// How late a waiting worker gets a delayed job, with nothing else to do and under load.
pub fn lateness(table: &mut Table, plan: &Plan, server: &Server, drawn: &mut Latencies) {
    table.section("Delayed jobs");
    let jobs = plan.delayed;
    let mut idle = late(server, jobs);
    let p99 = percentile(&mut idle, 0.99) / 1e3;
    table.value("late when idle, p99", "ms", p99, None, Goal::AtMost(2.0));
    let done = AtomicBool::new(false);
    let mut busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            let puts = Batches::puts(Queue::Phean, BODY);
            while !done.load(Ordering::Relaxed) {
                puts.run(server, 2_048);
                drain(server, Queue::Phean, 2_048);
            }
        });
        let _stop = Stop(&done);
        late(server, jobs)
    });
    let p99 = percentile(&mut busy, 0.99) / 1e3;
    table.value(
        "late under load (put, reserve, delete in pipelines), p99",
        "ms",
        p99,
        None,
        Goal::AtMost(5.0),
    );
    server.flush();
    drawn.push(("delayed job, idle".to_string(), idle));
    drawn.push(("delayed job, under load".to_string(), busy));
}

/// Lets a thread end, also on a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts jobs with different delays; how many microseconds after its time each one comes to the worker.
fn late(server: &Server, jobs: usize) -> Vec<f64> {
    let (mut producer, mut worker) = (server.connect(), server.connect());
    let mut due = vec![Instant::now(); jobs + 1];
    // Eight milliseconds apart on the average, so that no job waits for the worker to be done with another.
    let spread = jobs as u64 * 8;
    for (n, due) in due.iter_mut().enumerate().skip(1) {
        // Each delay once, in no order; the first ones are due when all are put.
        let delay = Duration::from_millis(400 + (n as u64 * 7_919) % spread);
        let (text, mut put) = (delay.as_secs_f64().to_string(), Vec::new());
        let body = format!("{n:0BODY$}");
        encode(&[b"PHEAN.PUT", b"late", body.as_bytes(), b"DELAY", text.as_bytes()], &mut put);
        // The server rounds nothing down, so a job is due no sooner than this.
        *due = Instant::now() + delay;
        producer.send(&put);
        producer.replies(1);
    }
    let mut wait = Vec::new();
    encode(&[b"PHEAN.RESERVE", b"late", b"TIMEOUT", b"100"], &mut wait);
    let mut times = Vec::new();
    for _ in 0..jobs {
        worker.send(&wait);
        let reply = worker.reply();
        let now = Instant::now();
        let text = String::from_utf8_lossy(crate::client::nth_bulk(reply, 2)).into_owned();
        let n: usize = text.parse().expect("the body is a number");
        times.push(now.saturating_duration_since(due[n]).as_secs_f64() * 1e6);
    }
    producer.ask(&["DEL", "late"]);
    times
}

/// The worst latency of others' commands while so many jobs fall due, all in one tube or over many.
pub fn flood(table: &mut Table, plan: &Plan, server: &Server) {
    let jobs = 100_000;
    let quiet = median((0..plan.floods).map(|_| worst(server, Duration::from_millis(1_500))));
    for tubes in [1, 1_000] {
        let during = median((0..plan.floods).map(|_| {
            let start = Instant::now();
            let mut connection = redis(server);
            for n in 0..1_000 {
                // Whatever was put sooner waits longer: all of them fall due within a second from then on.
                let delay = Duration::from_millis(1_500).saturating_sub(start.elapsed());
                let delay = format!("{:.3}", delay.as_secs_f64());
                let (tube, bodies) = (format!("flood:{}", n % tubes), body(n, BODY));
                let mut words: Vec<&[u8]> = vec![b"PHEAN.MPUT", tube.as_bytes(), b"100"];
                words.extend((0..jobs / 1_000).map(|_| bodies.as_slice()));
                words.extend([&b"DELAY"[..], delay.as_bytes()]);
                let mut put = Vec::new();
                encode(&words, &mut put);
                connection.send(&put);
                connection.replies(1);
            }
            let rest = Duration::from_millis(2_000).saturating_sub(start.elapsed());
            let worst = worst(server, rest);
            // A machine that stood still meanwhile is given the time to finish.
            let all = format!("current-jobs-ready\r\n:{}\r\n", jobs / tubes);
            while !connection.ask_text(&["PHEAN.STATS", "flood:0"]).contains(&all) {
                assert!(start.elapsed() < Duration::from_secs(30), "not all jobs fell due");
            }
            server.flush();
            worst
        }));
        let name =
            format!("worst PUT or GET while 100,000 jobs fall due at once in {tubes} tubes (other: in none)");
        let name = if tubes == 1 { name.replace("1 tubes", "one tube") } else { name };
        table.value(&name, "ms", during, Some(quiet), Goal::AtMost(5.0));
    }
}

/// The longest that a command took within this time, in milliseconds.
fn worst(server: &Server, during: Duration) -> f64 {
    let mut connection = server.connect();
    let commands = [&["GET", "nothing"][..], &["PHEAN.PUT", "other", "body"]];
    let end = Instant::now() + during;
    let mut worst = Duration::ZERO;
    while Instant::now() < end {
        for command in commands {
            let sent = Instant::now();
            connection.ask(command);
            worst = worst.max(sent.elapsed());
        }
    }
    worst.as_secs_f64() * 1e3
}
