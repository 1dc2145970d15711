//! The beanstalk port against beanstalkd: the same bytes to both.

use std::io::Write;

use crate::Plan;
use crate::client::Connection;
use crate::load::{BODY, DEPTH, Spent};
use crate::process::Server;
use crate::queue::{Queue, body};
use crate::rates::{each_command, put_and_work};
use crate::table::{Goal, Table, in_turn, median, percentile};
use crate::waiting::wake_times;

/// So many tubes are watched by one who watches many.
const TUBES: usize = 10_000;

/// What puts, reserves, deletes, and pairs of watch and ignore cost.
type Costs = [Spent; 4];

/// All of it.
pub fn compare(table: &mut Table, plan: &Plan) {
    table.section("The beanstalk port, against beanstalkd");
    let port = Server::beanstalk_port();
    match Server::beanstalkd() {
        Some(beanstalkd) => against(table, plan, &port, &beanstalkd),
        None => table.missing("beanstalkd", "is not installed"),
    }
    drop(port);
    watching_many(table, plan);
}

fn against(table: &mut Table, plan: &Plan, port: &Server, beanstalkd: &Server) {
    const QUEUE: Queue = Queue::Beanstalkd;
    let few = (plan.jobs / 4).next_multiple_of(256);
    let jobs = plan.jobs.next_multiple_of(256);
    let rounds =
        in_turn(plan.rounds, || (put_and_work(port, QUEUE, jobs), put_and_work(beanstalkd, QUEUE, few)));
    let put: Vec<(Spent, Spent)> = rounds.iter().map(|(port, other)| (port.0, other.0)).collect();
    let work: Vec<(Spent, Spent)> = rounds.iter().map(|(port, other)| (port.1, other.1)).collect();
    table.rates("put, pipelines of 64", &put, Goal::AtLeast(6.0));
    table.rates("reserve + delete, pipelines of 64", &work, Goal::AtLeast(6.0));

    let few = plan.jobs / 32;
    let each = |server: &Server| each_command(server, QUEUE, few);
    let rounds = in_turn(plan.rounds * 2 + 1, || (each(port), each(beanstalkd)));
    for (n, name) in ["put", "reserve", "delete"].into_iter().enumerate() {
        let rounds: Vec<(Spent, Spent)> = rounds.iter().map(|(port, other)| (port[n], other[n])).collect();
        table.rates(&format!("{name}, one by one"), &rounds, Goal::AtLeast(1.0));
    }

    let mut times = wake_times(&[("port", QUEUE, port), ("beanstalkd", QUEUE, beanstalkd)], plan.jobs / 20);
    for (name, part) in [("wake-up p50", 0.5), ("wake-up p99", 0.99)] {
        let [port, other] = [0, 1].map(|side: usize| percentile(&mut times[side], part));
        table.ratio(name, "µs", port, other, Goal::AtMost(1.0));
    }
}

/// A client that watches ten thousand tubes, against one that watches one.
fn watching_many(table: &mut Table, plan: &Plan) {
    let server = Server::beanstalk_port();
    let (mut one, mut many) = (server.connect(), server.connect());
    for n in 0..TUBES {
        many.send(format!("watch tube-{n}\r\n").as_bytes());
        assert!(many.reply().starts_with(b"WATCHING"));
    }
    many.send(b"use tube-5000\r\n");
    assert!(many.reply().starts_with(b"USING"));
    let batches = plan.jobs / 8 / DEPTH;
    let rounds = in_turn(plan.rounds, || {
        (put_take_finish(&server, &mut many, batches), put_take_finish(&server, &mut one, batches))
    });
    // `list-tubes-watched` is not among them: its answer grows with the tubes.
    for (n, name) in ["put", "reserve", "delete", "watch + ignore"].into_iter().enumerate() {
        let cost = |spent: &dyn Fn(&(Costs, Costs)) -> Spent| {
            let cpu = median(rounds.iter().map(|round| spent(round).cpu_ns()));
            (cpu, median(rounds.iter().map(|round| 1e9 / spent(round).rate())))
        };
        let values = [cost(&|round| round.0[n]), cost(&|round| round.1[n])];
        table.costs(&format!("{name}, 10,000 tubes watched, one"), "ns", values, Goal::AtMost(1.1));
    }
}

/// Batches of puts, then as many of reserves, of deletes, and of pairs of watch and ignore, over one connection.
fn put_take_finish(server: &Server, connection: &mut Connection, batches: usize) -> Costs {
    let mut puts = Vec::new();
    (0..DEPTH).for_each(|n| Queue::Beanstalkd.put("", &body(n, BODY), &mut puts));
    let takes = b"reserve-with-timeout 0\r\n".repeat(DEPTH);
    let jobs = batches * DEPTH;
    let put = Spent::on(server, jobs, || {
        for _ in 0..batches {
            connection.send(&puts);
            connection.replies(DEPTH);
        }
    });
    let mut ids: Vec<Vec<u8>> = Vec::new();
    let take = Spent::on(server, jobs, || {
        for _ in 0..batches {
            connection.send(&takes);
            for _ in 0..DEPTH {
                let id = connection.reply().split(|byte| *byte == b' ').nth(1);
                ids.push(id.expect("RESERVED has an id").to_vec());
            }
        }
    });
    let finishes: Vec<Vec<u8>> = ids
        .chunks(DEPTH)
        .map(|ids| {
            let mut batch = Vec::new();
            for id in ids {
                let _ = write!(batch, "delete {}\r\n", String::from_utf8_lossy(id));
            }
            batch
        })
        .collect();
    let finish = Spent::on(server, jobs, || {
        for batch in &finishes {
            connection.send(batch);
            connection.replies(DEPTH);
        }
    });
    let changes = b"watch another\r\nignore another\r\n".repeat(DEPTH);
    let change = Spent::on(server, jobs, || {
        for _ in 0..batches {
            connection.send(&changes);
            connection.replies(2 * DEPTH);
        }
    });
    [put, take, finish, change]
}
