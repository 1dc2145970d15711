//! Growth: what a put, and a reserve with its delete, cost while a tube grows; its worst command; looking into it.

use crate::Plan;
use crate::chart::{Axis, Chart};
use crate::load::{BODY, Batches, Spent, drain, redis};
use crate::process::Server;
use crate::queue::{KEY, Queue};
use crate::table::{Goal, Table, median};

const SAMPLE: usize = 10_240;

/// The smallest size.
const SMALL: usize = 10_000;

/// What a job costs in a tube of some size, in nanoseconds of the server's processor time, and what it cost in a
/// small tube in the same moments: the machine may be faster at one size than at another.
struct Point {
    size: usize,
    put: f64,
    work: f64,
    small_put: f64,
    small_work: f64,
}

/// All of it, in two servers of its own: one with the tube that grows, one with a tube that stays small.
pub fn grow(table: &mut Table, plan: &Plan) {
    table.section(&format!("A tube that grows from 10,000 jobs to {}", thousands(plan.grown)));
    let (server, small) = (Server::redis(&[]), Server::redis(&[]));
    // The first commands of a server cost more than the later ones.
    let puts = Batches::puts(Queue::Phean, BODY);
    for server in [&server, &small] {
        puts.run(server, 100 * SAMPLE / 4);
        drain(server, Queue::Phean, 100 * SAMPLE / 8);
        server.flush();
    }
    let same = fill(&server, &small, plan, &puts);
    let phean = slowest(&server, &["PHEAN.PUT", "PHEAN.RESERVE", "PHEAN.DELETE"]);
    looks(table, plan, &server);
    server.flush();
    small.flush();
    let mixed = fill(&server, &small, plan, &Batches::mixed_puts());
    let phean_mixed = slowest(&server, &["PHEAN.PUT", "PHEAN.RESERVE", "PHEAN.DELETE"]);
    server.flush();
    watch(&server);
    Batches::puts(Queue::List, BODY).run(&server, plan.grown);
    let list = slowest(&server, &["RPUSH"]);
    drop(server);

    table.value("worst PUT, RESERVE or DELETE on the way, RPUSH", "ms", phean, Some(list), Goal::AtMost(2.0));
    table.value("the same with mixed priorities, RPUSH", "ms", phean_mixed, Some(list), Goal::AtMost(2.0));
    let mut row = |what: &str, large: f64, small: f64, goal: f64| {
        table.costs(what, "ns", [(large, large), (small, small)], Goal::AtMost(goal));
    };
    let (last, last_mixed) = (&same[same.len() - 1], &mixed[mixed.len() - 1]);
    row("PUT, largest / smallest", last.put, last.small_put, 1.2);
    row("RESERVE + DELETE, largest / smallest", last.work, last.small_work, 1.2);
    row("mixed priorities: PUT, largest / smallest", last_mixed.put, last_mixed.small_put, 2.0);
    row(
        "mixed priorities: RESERVE + DELETE, largest / smallest",
        last_mixed.work,
        last_mixed.small_work,
        2.0,
    );
    row("largest: PUT, mixed priorities / one", last_mixed.put, last.put, 2.0);
    row("largest: RESERVE + DELETE, mixed priorities / one", last_mixed.work, last.work, 2.0);
    if plan.draws {
        draw(&same, &mixed);
    }
}

/// Fills a tube, and stops at each size to measure, in turn with a tube that stays small.
fn fill(server: &Server, small: &Server, plan: &Plan, puts: &Batches) -> Vec<Point> {
    watch(server);
    puts.run(small, SMALL);
    let mut points = Vec::new();
    let mut jobs = 0;
    let sizes = [SMALL, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
    for size in sizes.into_iter().filter(|size| *size <= plan.grown) {
        jobs += puts.run(server, size - jobs).jobs;
        let rounds: Vec<[Spent; 4]> = (0..plan.rounds + 4)
            .map(|_| {
                let (put, small_put) = (puts.run(server, SAMPLE), puts.run(small, SAMPLE));
                let work = drain(server, Queue::Phean, SAMPLE);
                [put, work, small_put, drain(small, Queue::Phean, SAMPLE)]
            })
            .collect();
        let [put, work, small_put, small_work] =
            [0, 1, 2, 3].map(|what: usize| median(rounds.iter().map(|round| round[what].cpu_ns())));
        points.push(Point { size, put, work, small_put, small_work });
    }
    points
}

/// Lets the server note each command of more than 100 microseconds.
fn watch(server: &Server) {
    let mut connection = redis(server);
    connection.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "100", "slowlog-max-len", "100000"]);
    connection.ask(&["SLOWLOG", "RESET"]);
}

/// The milliseconds that the slowest of these commands took within the server.
fn slowest(server: &Server, commands: &[&str]) -> f64 {
    commands.iter().flat_map(|command| noted(server, command)).fold(0.1, f64::max)
}

/// The milliseconds of all of these commands that the server noted.
fn noted(server: &Server, command: &str) -> Vec<f64> {
    let text = redis(server).ask_text(&["SLOWLOG", "GET", "-1"]);
    // Each entry has its number, its time, its duration, and its words.
    let lines: Vec<&str> = text.split("\r\n").collect();
    let is_command = |at: usize| lines.get(at).is_some_and(|word| word.eq_ignore_ascii_case(command));
    (3..lines.len())
        .filter(|at| is_command(*at + 2) && lines[*at].starts_with('*') && lines[*at + 1].starts_with('$'))
        .filter_map(|at| lines[at - 1].strip_prefix(':')?.parse::<f64>().ok())
        .map(|micros| micros / 1e3)
        .collect()
}

/// Makes the words of the n-th of many commands.
type Look = Box<dyn Fn(usize) -> Vec<String>>;

/// The worst times of the commands that look into the tube.
fn looks(table: &mut Table, plan: &Plan, server: &Server) {
    let mut connection = redis(server);
    connection.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "10000"]);
    // The ids go on from the first that is left.
    let first = connection.ask_text(&["PHEAN.PEEK", KEY, "READY"]);
    let first = first.split("\r\n").find_map(|line| line.strip_prefix(':')?.parse::<usize>().ok());
    let first = first.expect("there are jobs");
    let grown = plan.grown;
    let ids = move |n: usize| (first + (n * 7_919_993) % grown).to_string();
    let mut cursor = "0".to_string();
    let kinds: Vec<(&str, Look)> = vec![
        ("STATS", Box::new(|_| vec!["PHEAN.STATS".into(), KEY.into()])),
        ("PEEK id", Box::new(move |n| vec!["PHEAN.PEEK".into(), KEY.into(), ids(n)])),
        ("PEEK READY", Box::new(|_| vec!["PHEAN.PEEK".into(), KEY.into(), "READY".into()])),
        (
            "PEEK DELAYED, of which there is none",
            Box::new(|_| vec!["PHEAN.PEEK".into(), KEY.into(), "DELAYED".into()]),
        ),
        ("JOB", Box::new(move |n| vec!["PHEAN.JOB".into(), KEY.into(), ids(n)])),
    ];
    for (name, words) in &kinds {
        let worst = median((0..3).map(|_| {
            connection.ask(&["SLOWLOG", "RESET"]);
            for n in 0..1_000 {
                let words = words(n);
                let reply = connection.ask(&words.iter().map(String::as_str).collect::<Vec<_>>());
                assert!(words[0] != "PHEAN.JOB" || reply.len() > 100, "there is no job {}", words[2]);
            }
            slowest_of(server, &words(0)[0])
        }));
        table.value(&format!("worst of 1,000 {name}"), "µs", worst, None, Goal::AtMost(100.0));
    }
    for (name, state) in [("SCAN", None), ("SCAN STATE BURIED, of which there is none", Some("BURIED"))] {
        let worst = median((0..3).map(|_| {
            connection.ask(&["SLOWLOG", "RESET"]);
            for _ in 0..1_000 {
                let mut words = vec!["PHEAN.SCAN", KEY, &cursor];
                words.extend(state.iter().flat_map(|state| ["STATE", state]));
                let next = crate::client::nth_bulk(connection.ask(&words), 0);
                cursor = String::from_utf8_lossy(next).into_owned();
            }
            slowest_of(server, "PHEAN.SCAN")
        }));
        table.value(&format!("worst of 1,000 {name}"), "µs", worst, None, Goal::AtMost(100.0));
        cursor = "0".to_string();
    }
}

fn slowest_of(server: &Server, command: &str) -> f64 {
    let durations = noted(server, command);
    assert!(durations.len() >= 1_000, "the slow log has only {} {command}", durations.len());
    durations.into_iter().fold(0.0, f64::max) * 1e3
}

fn draw(same: &[Point], mixed: &[Point]) {
    let points = |points: &[Point], cost: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        points.iter().map(|point| (point.size as f64, cost(point))).collect()
    };
    let curves = [
        ("PUT", points(same, |point| point.put)),
        ("RESERVE + DELETE", points(same, |point| point.work)),
        ("PUT, mixed priorities", points(mixed, |point| point.put)),
        ("RESERVE + DELETE, mixed", points(mixed, |point| point.work)),
    ];
    let greatest = curves.iter().flat_map(|curve| &curve.1).map(|point| point.1).fold(0.0, f64::max);
    let marks = [(1e4, "10 k"), (1e5, "100 k"), (1e6, "1 M"), (1e7, "10 M")];
    let (x, y) =
        (Axis::logarithmic("jobs in the tube", &marks), Axis::up_to("ns of the server for a job", greatest));
    let mut chart = Chart::new("What a job costs while its tube grows", x, y);
    for (name, points) in &curves {
        chart = chart.curve(name, points);
    }
    chart.write("growth.svg");
}

/// A large number as people write it.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}
