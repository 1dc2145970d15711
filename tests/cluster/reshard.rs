//! Tubes with jobs in every state move from node to node while producers and workers go on.

use crate::harness::{Server, has_module};
use crate::ledger::{Ledger, Now};
use crate::load::{Load, StopAtEnd};
use crate::nodes::Cluster;
use crate::reply::{err, int, run};
use crate::rounds;
use crate::states::{must_be_alike, must_be_exactly};
use crate::waiting::eventually_some;
use crate::wire::Wire;
use std::thread;
use std::time::{Duration, Instant};

/// The slots that move, and how many tubes are in them.
const SLOTS: usize = 150;
const TUBES: usize = 5;

/// Between two moves so much is done at least.
const TURNS: usize = 150;

#[test]
fn tubes_that_move_under_load_lose_nothing_and_give_nothing_twice() {
    if !has_module() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let mut tubes = cluster.names_in_first(SLOTS as i64, TUBES);
    // One of them shares its slot with another, and one does not move.
    tubes.push(format!("{{{}}}:too", tubes[0]));
    tubes.push("stays".to_owned());
    let ledger = Ledger::exact();
    let load = Load::new(&ledger, &tubes);
    let mut seconds = Vec::new();
    thread::scope(|scope| {
        let stopping = StopAtEnd(&load);
        for seed in 0..2 {
            let mut client = cluster.client();
            let load = &load;
            scope.spawn(move || load.produce(&mut client, seed));
        }
        for seed in 0..4 {
            let mut client = cluster.client();
            let load = &load;
            scope.spawn(move || load.work(&mut client, 100 + seed));
        }
        for round in 0..2 * rounds() {
            load.until_turns(TURNS);
            let from = cluster.serving(&tubes[0]);
            let to = (from + 1 + round % 2) % 3;
            let since = Instant::now();
            cluster.reshard(from, to, SLOTS);
            seconds.push(since.elapsed().as_secs_f64());
            assert_eq!(cluster.serving(&tubes[0]), to, "the tubes have moved");
            ledger.must_be_clean();
        }
        load.until_turns(TURNS);
        cluster.rebalance();
        load.until_turns(TURNS);
        drop(stopping);
    });
    let jobs = must_be_exactly(&mut cluster.client(), &ledger);
    // What is held is held: the lease that its worker was told is good, wherever the tube is now.
    let finished = finish_what_is_held(&cluster, &ledger);
    must_be_exactly(&mut cluster.client(), &ledger);
    cluster.until_well();
    for primary in 0..3 {
        let replica = eventually_some(|| cluster.replicas(primary).first().copied());
        must_be_alike(&cluster.nodes()[primary], &[&cluster.nodes()[replica]]);
    }
    println!(
        "{jobs} jobs in {} moves of {SLOTS} slots ({seconds:.1?} s); {finished} finished after",
        seconds.len()
    );
}

/// Deletes every other job that a worker holds, with its lease. Returns how many.
fn finish_what_is_held(cluster: &Cluster, ledger: &Ledger) -> usize {
    let mut client = cluster.client();
    let held: Vec<(String, String, String)> = {
        let book = ledger.book();
        let held = book.jobs.iter().filter_map(|(body, job)| match &job.now {
            Now::Held(lease) => Some((body.clone(), job.tube.clone(), lease.clone())),
            _ => None,
        });
        held.step_by(2).collect()
    };
    assert!(!held.is_empty(), "some workers hold jobs");
    for (body, tube, lease) in &held {
        let answer = client.ask(&["PHEAN.DELETE", tube, lease]).expect("a delete");
        let count = int(&answer);
        ledger.was_done(body, count, Now::Gone, Duration::ZERO);
    }
    ledger.must_be_clean();
    held.len()
}

/// Valkey 9 can also stream slots to another node, where the keys are then on both nodes for a while. The module must
/// not say that it can do that: its timer would end reservations and delays at the node that does not serve them yet.
#[test]
fn slots_are_not_streamed_while_the_module_is_loaded() {
    if !has_module() {
        return;
    }
    let server = Server::start(&["cluster-enabled yes"]);
    let mut con = server.connect();
    run(&mut con, "CLUSTER ADDSLOTSRANGE 0 16383");
    let id = "0".repeat(40);
    let error = err(&mut con, &["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "0", "1", "NODE", &id]);
    let is_unknown = error.to_lowercase().contains("unknown subcommand");
    assert!(is_unknown || error.contains("does not support atomic slot migration"), "{error}");
}
