//! Many tubes: what a hundred thousand with timers cost when nothing happens, and what a put costs beside them.

use std::time::Duration;

use crate::Plan;
use crate::client::encode;
use crate::load::{BODY, Batches, Spent};
use crate::process::Server;
use crate::queue::{Queue, body};
use crate::table::{Goal, Table, in_turn, median};

const TUBES: usize = 100_000;

/// All of it, with a server with many tubes, one with as many lists, and one with nothing.
pub fn many(table: &mut Table, plan: &Plan) {
    table.section("100,000 tubes, each with a delayed job and its timer");
    let (full, empty, lists) = (Server::redis(&[]), Server::redis(&[]), Server::redis(&[]));
    let tube = |n: usize| format!("tube:{:06}", n % TUBES);
    let delayed = Batches::new(TUBES, |n, out| {
        // Deadlines all over a day, the first in an hour.
        let delay = (3_600 + (n * 7_919) % 86_400).to_string();
        let (tube, body) = (tube(n), body(n, BODY));
        encode(&[b"PHEAN.PUT", tube.as_bytes(), &body, b"DELAY", delay.as_bytes()], out);
    });
    delayed.run(&full, TUBES);
    let all = |queue: Queue| Batches::new(TUBES, |n, out| queue.put(&tube(n * 7_919), &body(n, BODY), out));
    all(Queue::List).run(&lists, TUBES);
    let idle = |server: &Server| {
        let spent = Spent::on(server, 1, || std::thread::sleep(Duration::from_secs(plan.idle)));
        spent.cpu.as_secs_f64() / spent.wall.as_secs_f64() * 100.0
    };
    let (with, with_lists) = (idle(&full), idle(&lists));
    table.value(
        "idle CPU, as many lists",
        "%",
        with,
        Some(with_lists),
        Goal::AtMost((with_lists + 0.5).ceil()),
    );

    let puts = Batches::puts(Queue::Phean, BODY);
    let rounds = in_turn(plan.rounds, || {
        let sides = (puts.run(&full, plan.jobs), puts.run(&empty, plan.jobs));
        empty.flush();
        full.connect().ask(&["DEL", crate::queue::KEY]);
        sides
    });
    let side = |side: fn(&(Spent, Spent)) -> Spent| {
        let cpu = median(rounds.iter().map(|round| side(round).cpu_ns()));
        (cpu, median(rounds.iter().map(|round| 1e9 / side(round).rate())))
    };
    let values = [side(|round| round.0), side(|round| round.1)];
    table.costs("PUT into one more tube, the same without the others", "ns", values, Goal::AtMost(1.2));

    let (to_tubes, to_lists) = (all(Queue::Phean), all(Queue::List));
    let rounds = in_turn(plan.rounds.min(5), || (to_tubes.run(&full, TUBES), to_lists.run(&lists, TUBES)));
    table.rates("PUT to all of them in no order, RPUSH to as many lists", &rounds, Goal::None);
}
