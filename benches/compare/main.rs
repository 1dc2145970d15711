//! `make bench`: phean against beanstalkd, lists and streams, side by side, as a table and as charts.
//!
//! Both sides of a row are measured in turn on one server process, in several rounds, and the medians are shown: the
//! machine's mood changes both sides alike. Everything listens on the loopback interface only, and whatever is started
//! is stopped at the end, also on a panic.

mod chart;
mod client;
mod delayed;
mod durable;
mod growth;
mod load;
mod memory;
mod port;
mod process;
mod queue;
mod rates;
mod stalls;
mod table;
mod tubes;
mod waiting;

use std::time::Instant;

use crate::process::Server;
use crate::table::Table;

/// How much is measured.
pub struct Plan {
    /// Rounds of both sides in turn.
    rounds: usize,
    /// Jobs of a round.
    jobs: usize,
    /// Delayed jobs whose lateness is measured.
    delayed: usize,
    /// How often a hundred thousand jobs fall due.
    floods: usize,
    /// Seconds in which nothing happens.
    idle: u64,
    /// Jobs in the tube that grows.
    grown: usize,
    /// Jobs in the files that are saved.
    saved: usize,
    /// Connections that close at once.
    vanishing: usize,
    /// Whether charts are drawn into docs/.
    draws: bool,
}

const WHOLE: Plan = Plan {
    rounds: 7,
    jobs: 200_192,
    delayed: 700,
    floods: 5,
    idle: 5,
    grown: 10_000_000,
    saved: 5_000_000,
    vanishing: 10_000,
    draws: true,
};

const QUICK: Plan = Plan {
    rounds: 3,
    jobs: 20_224,
    delayed: 150,
    floods: 1,
    idle: 1,
    grown: 300_000,
    saved: 300_000,
    vanishing: 500,
    draws: false,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| !SUBJECTS.contains(&name.as_str())) {
        eprintln!("no such subject: {unknown}; there are {}", SUBJECTS.join(", "));
        std::process::exit(2);
    }
    let wants = |subject: &str| wanted.is_empty() || wanted.iter().any(|name| *name == subject);
    let plan = if quick { QUICK } else { WHOLE };
    let (start, mut table) = (Instant::now(), Table::default());
    let machine = measure(&mut table, &plan, wants);
    println!("{machine}\nmedians of several rounds, {}-byte bodies, persistence off unless said", load::BODY);
    table.print();
    println!("{} s in all", start.elapsed().as_secs());
}

/// What can be asked for by name, in this order.
const SUBJECTS: [&str; 11] = [
    "rates",
    "waiting",
    "port",
    "delayed",
    "memory",
    "tubes",
    "replicated",
    "rdb",
    "growth",
    "stalls",
    "vanish",
];

fn measure(table: &mut Table, plan: &Plan, wants: impl Fn(&str) -> bool) -> String {
    let mut latencies = Vec::new();
    let redis = Server::redis(&[]);
    let machine = process::machine(&redis);
    {
        let beanstalkd = Server::beanstalkd();
        if wants("rates") {
            rates::pipelined(table, plan, &redis, beanstalkd.as_ref());
            rates::unpipelined(table, plan, &redis);
            rates::batched(table, plan, &redis);
        }
        if wants("waiting") {
            waiting::wake_up(table, plan, &redis, beanstalkd.as_ref(), &mut latencies);
            waiting::thousand(table, plan, &redis);
            waiting::others(table, plan);
            redis.flush();
        }
    }
    if wants("port") {
        port::compare(table, plan);
    }
    if wants("delayed") {
        delayed::lateness(table, plan, &redis, &mut latencies);
        delayed::flood(table, plan, &redis);
    }
    if wants("memory") {
        memory::over_the_body(table, plan, &redis);
    }
    drop(redis);
    if plan.draws && wants("waiting") && wants("delayed") {
        waiting::draw(latencies);
    }
    if wants("tubes") {
        tubes::many(table, plan);
    }
    if wants("replicated") {
        durable::replicated(table, plan);
    }
    if wants("rdb") {
        durable::snapshots(table, plan);
    }
    if wants("growth") {
        growth::grow(table, plan);
    }
    if wants("stalls") {
        stalls::large_queues(table, plan);
    }
    if wants("vanish") {
        stalls::vanish(table, plan);
    }
    machine
}
