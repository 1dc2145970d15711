//! Memory: what a job takes over its body.

use crate::Plan;
use crate::client::encode;
use crate::load::{Batches, DEPTH};
use crate::process::Server;
use crate::queue::{KEY, Queue, body};
use crate::table::{Goal, Table};

/// Bytes over a body of 100 bytes in each state, and over other bodies.
pub fn over_the_body(table: &mut Table, plan: &Plan, server: &Server) {
    table.section(
        "Memory over the body, in bytes for each job (Redis' own count; the resident set of beanstalkd)",
    );
    let ready = |queue: Queue, size: usize| over(server, queue, size, plan.jobs, |_| {});
    let list = ready(Queue::List, 100);
    let stream = ready(Queue::Stream, 100);
    let beanstalkd = Server::beanstalkd().map(|server| {
        let before = server.resident();
        let put = Batches::puts(Queue::Beanstalkd, 100).run(&server, plan.jobs);
        (server.resident() - before) / put.jobs as f64 - 100.0
    });
    let phean = ready(Queue::Phean, 100);
    table.value("ready, 100-byte body, beanstalkd", "B", phean, beanstalkd, Goal::AtMost(48.0));
    table.value("ready, 100-byte body, stream", "B", phean, Some(stream), Goal::None);
    table.value("ready, 100-byte body, list", "B", phean, Some(list), Goal::None);
    let delayed = Batches::new(16_384, |n, out| {
        let words = [b"PHEAN.PUT", KEY.as_bytes(), &body(n, 100), b"DELAY", b"86400"];
        encode(&words, out);
    });
    let delayed = over_by(server, 100, || delayed.run(server, plan.jobs).jobs);
    table.value("delayed, 100-byte body", "B", delayed, None, Goal::AtMost(72.0));
    let reserved = over(server, Queue::Phean, 100, plan.jobs, |jobs| {
        let mut connection = server.connect();
        for _ in 0..jobs / DEPTH {
            connection.ask(&["PHEAN.RESERVE", KEY, "COUNT", &DEPTH.to_string(), "TTR", "86400"]);
        }
    });
    table.value("reserved, 100-byte body", "B", reserved, None, Goal::AtMost(72.0));
    for size in [0, 1, 50, 133, 161, 300, 1_025, 4_097, 8_193, 32_769, 65_535] {
        let goal = (size as f64 / 4.0).max(48.0);
        let jobs = plan.jobs.min(400_000_000 / size.max(1)).next_multiple_of(DEPTH);
        let phean = over(server, Queue::Phean, size, jobs, |_| {});
        let list = over(server, Queue::List, size, jobs, |_| {});
        let text = if size == 0 { "ready, no body".to_string() } else { format!("ready, {size}-byte body") };
        table.value(&format!("{text}, list"), "B", phean, Some(list), Goal::AtMost(goal));
    }
}

/// Puts so many jobs, does something with them, and says what each takes over its body.
fn over(server: &Server, queue: Queue, size: usize, jobs: usize, then: impl FnOnce(usize)) -> f64 {
    let puts = Batches::puts(queue, size);
    over_by(server, size, || {
        let jobs = puts.run(server, jobs).jobs;
        then(jobs);
        jobs
    })
}

fn over_by(server: &Server, size: usize, work: impl FnOnce() -> usize) -> f64 {
    server.flush();
    // The buffers of connections that have just gone are freed a little later.
    let used = || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.info("memory", "used_memory")
    };
    let before = used();
    let jobs = work();
    let after = used();
    server.flush();
    (after - before) / jobs as f64 - size as f64
}
