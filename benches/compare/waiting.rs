//! Workers that wait: how soon one wakes, and what a thousand of them cost.

use std::sync::mpsc;
use std::time::Instant;

use crate::Plan;
use crate::chart::{Axis, Chart};
use crate::client::{Connection, encode};
use crate::load::{BODY, Batches, Spent, commands, one_by_one};
use crate::process::Server;
use crate::queue::{KEY, Queue, body};
use crate::table::{Cost, Goal, Table, in_turn, median, percentile};

/// The latencies that are drawn, by name, in microseconds.
pub type Latencies = Vec<(String, Vec<f64>)>;

/// From the moment at which a job is sent until a waiting worker has it.
pub fn wake_up(
    table: &mut Table,
    plan: &Plan,
    redis: &Server,
    beanstalkd: Option<&Server>,
    drawn: &mut Latencies,
) {
    table.section("Those who wait");
    let mut sides = vec![("RESERVE TIMEOUT", Queue::Phean, redis), ("BLPOP", Queue::List, redis)];
    sides.extend(beanstalkd.map(|server| ("beanstalkd", Queue::Beanstalkd, server)));
    let mut times = wake_times(&sides, plan.jobs / 20);
    for (name, part) in [("wake-up p50", 0.5), ("wake-up p99", 0.99)] {
        let at = |side: usize, times: &mut [Vec<f64>]| percentile(&mut times[side], part);
        let (phean, list) = (at(0, &mut times), at(1, &mut times));
        table.ratio(&format!("{name}, BLPOP"), "µs", phean, list, Goal::AtMost(1.0));
        if sides.len() > 2 {
            table.ratio(&format!("{name}, beanstalkd"), "µs", phean, at(2, &mut times), Goal::None);
        }
    }
    drawn.extend(sides.iter().zip(times).map(|((name, ..), times)| (format!("wake-up, {name}"), times)));
}

/// One side of a comparison: its name, its queue, and the server.
pub type Side<'a> = (&'a str, Queue, &'a Server);

/// How long each side takes to wake a worker, so many times, in microseconds.
pub fn wake_times(sides: &[Side<'_>], samples: usize) -> Vec<Vec<f64>> {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    std::thread::scope(|scope| {
        let mut pairs: Vec<_> = sides
            .iter()
            .map(|&(name, queue, server)| {
                let (tell, told) = mpsc::channel();
                let worker = server.connect();
                scope.spawn(move || wait_and_finish(queue, worker, samples, &tell));
                (name, queue, server.connect(), told)
            })
            .collect();
        // The sides take turns job by job, so that a busy moment of the machine meets all of them, and in every order, as
        // who comes right after another on the same server finds it awake.
        for n in 0..samples {
            for side in turn(n, sides.len()) {
                let (times, (_, queue, producer, told)) = (&mut times[side], &mut pairs[side]);
                // A worker that has just finished a job is given the time to wait again.
                std::thread::sleep(std::time::Duration::from_micros(100));
                let mut put = Vec::new();
                queue.put(key(*queue), &body(n, BODY), &mut put);
                let sent = Instant::now();
                producer.send(&put);
                producer.replies(1);
                let woken: Instant = told.recv().expect("the worker lives");
                times.push(woken.duration_since(sent).as_secs_f64() * 1e6);
            }
        }
    });
    times
}

/// The order of so many sides in the nth turn: all orders of two or three of them, one after the other.
fn turn(n: usize, sides: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sides).collect();
    if n % 2 == 1 {
        order.reverse();
    }
    order.rotate_left(n / 2 % sides);
    order
}

fn wait_and_finish(queue: Queue, mut worker: Connection, jobs: usize, tell: &mpsc::Sender<Instant>) {
    let mut wait = Vec::new();
    queue.wait(key(queue), &mut wait);
    for _ in 0..jobs {
        worker.send(&wait);
        let mut finish = Vec::new();
        let reply = worker.reply();
        let woken = Instant::now();
        match queue {
            Queue::Phean => encode(
                &[b"PHEAN.DELETE", key(queue).as_bytes(), crate::client::nth_bulk(reply, 1)],
                &mut finish,
            ),
            Queue::Beanstalkd => drop(queue.finish(0, reply, &mut finish)),
            // BLPOP leaves nothing to finish.
            _ => {}
        }
        if !finish.is_empty() {
            worker.send(&finish);
            worker.replies(1);
        }
        if tell.send(woken).is_err() {
            return;
        }
    }
}

/// A put, and the hand-over to the first of a thousand who wait, against a list's, and against a single worker.
pub fn thousand(table: &mut Table, plan: &Plan, server: &Server) {
    let jobs = plan.jobs / 50;
    let mut phean = Workers::start(server, Queue::Phean, key(Queue::Phean), 1_000);
    let mut list = Workers::start(server, Queue::List, key(Queue::List), 1_000);
    let mut single = Workers::start(server, Queue::Phean, "single", 1);
    let rounds = in_turn(plan.rounds, || {
        let list = Spent::on(server, jobs, || list.cycle(jobs));
        let phean = Spent::on(server, jobs, || phean.cycle(jobs));
        [phean, list, Spent::on(server, jobs, || single.cycle(jobs))]
    });
    let [ours, theirs, single] = [0, 1, 2].map(|side| {
        let cpu = median(rounds.iter().map(|round| round[side].cpu_ns() / 1e3));
        (cpu, median(rounds.iter().map(|round| 1e6 / round[side].rate())))
    });
    table.costs("put + hand-over, 1,000 waiting, BLPOP's", "µs", [ours, theirs], Goal::AtMost(1.25));
    table.costs("put + hand-over, 1,000 waiting, 1 waiting", "µs", [ours, single], Goal::AtMost(1.3));
}

/// What others pay while a thousand wait: commands that have nothing to do with the tube on which they do. On one server
/// they wait all the time, on another one nobody does.
pub fn others(table: &mut Table, plan: &Plan) {
    // Short rounds, and many: where the kernel lets a server run is another matter in each.
    let (rounds, jobs, few) = (plan.rounds * 3, plan.jobs / 8, plan.jobs / 128);
    let pipelined = Batches::puts(Queue::Phean, BODY);
    let puts = commands(few, |n, out| Queue::Phean.put(KEY, &body(n, BODY), out));
    let gets = commands(few, |_, out| encode(&[b"GET", b"nothing"], out));
    let measure = |server: &Server| {
        let pipelined = pipelined.run(server, jobs);
        let (put, get) = (one_by_one(server, &puts), one_by_one(server, &gets));
        server.flush();
        [pipelined, put, get].map(|spent| (spent.cpu_ns(), 1e9 / spent.rate()))
    };
    let (with, without) = (Server::redis(&[]), Server::redis(&[]));
    let _workers = Workers::start(&with, Queue::Phean, key(Queue::Phean), 1_000);
    // Those who have just come to wait are expected to be served soon. These are not.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let rounds = in_turn(rounds, || (measure(&with), measure(&without)));
    for (n, name) in ["PUT in pipelines", "PUT one by one", "GET one by one"].into_iter().enumerate() {
        let rounds: Vec<(Cost, Cost)> = rounds.iter().map(|(with, without)| (with[n], without[n])).collect();
        let name = format!("{name}, 1,000 waiting elsewhere, nobody waiting");
        table.costs_in_turn(&name, "ns", &rounds, Goal::AtMost(1.1));
    }
}

fn key(queue: Queue) -> &'static str {
    if queue == Queue::Phean { "waiting-tube" } else { "waiting-list" }
}

/// Workers that wait in the order in which they came.
struct Workers {
    queue: Queue,
    producer: Connection,
    workers: Vec<Connection>,
    put: Vec<u8>,
    wait: Vec<u8>,
    next: usize,
}

impl Workers {
    fn start(server: &Server, queue: Queue, key: &str, count: usize) -> Workers {
        let (mut put, mut wait) = (Vec::new(), Vec::new());
        queue.put(key, &body(0, BODY), &mut put);
        queue.wait(key, &mut wait);
        let mut producer = server.connect();
        let before = queue.waiting(&mut producer, key);
        let mut workers: Vec<Connection> = (0..count).map(|_| server.connect()).collect();
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.send(&wait);
            while queue.waiting(&mut producer, key) != before + index + 1 {}
        }
        Workers { queue, producer, workers, put, wait, next: 0 }
    }

    /// Puts jobs one by one, each when the one before has reached its worker and the worker waits again.
    fn cycle(&mut self, jobs: usize) {
        for _ in 0..jobs {
            self.producer.send(&self.put);
            self.producer.replies(1);
            let worker = &mut self.workers[self.next];
            let elements = if self.queue == Queue::Phean { b"*5" } else { b"*2" };
            assert!(worker.reply().starts_with(elements));
            worker.send(&self.wait);
            self.next = (self.next + 1) % self.workers.len();
        }
    }
}

/// Draws how latencies are spread.
pub fn draw(latencies: Latencies) {
    let marks = [(2.0, "p50"), (10.0, "p90"), (100.0, "p99"), (1000.0, "p99.9")];
    let heights = [(10.0, "10 µs"), (100.0, "100 µs"), (1e3, "1 ms"), (1e4, "10 ms"), (1e5, "100 ms")];
    let x = Axis::logarithmic("part of the jobs that take no longer", &marks);
    let mut chart = Chart::new("From put, or due, to the waiting worker", x, Axis::logarithmic("", &heights));
    for (name, mut times) in latencies {
        let points: Vec<(f64, f64)> = (0..=60)
            .map(|step| 2.0 * 500_f64.powf(f64::from(step) / 60.0))
            .map(|one_in| (one_in, percentile(&mut times, 1.0 - 1.0 / one_in)))
            .collect();
        chart = chart.curve(&name, &points);
    }
    chart.write("latency.svg");
}
