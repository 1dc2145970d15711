//! A primary of a cluster is killed, or replaced in order, while producers and workers go on.

use crate::harness::has_module;
use crate::kept::Kept;
use crate::ledger::Ledger;
use crate::load::{Load, StopAtEnd};
use crate::nodes::Cluster;
use crate::reply::{cmd, text};
use crate::rounds;
use crate::states::{must_be_alike, must_be_sound};
use crate::waiting::{eventually, eventually_some};
use crate::wire::{Finder, ToPrimary, Wire};
use std::thread;
use std::time::Instant;

/// One node after the other: each knows who serves what.
struct Any {
    ports: Vec<u16>,
    next: usize,
}

impl Finder for Any {
    fn find(&mut self) -> Option<u16> {
        self.next += 1;
        self.ports.get(self.next % self.ports.len()).copied()
    }
}

fn any(cluster: &Cluster) -> ToPrimary<Any> {
    ToPrimary::new(Any { ports: cluster.nodes().iter().map(|node| node.port()).collect(), next: 0 })
}

/// How often a primary is replaced in order, for each time that one is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Killed,
    Replaced,
}

#[test]
fn a_primary_of_a_cluster_is_killed_and_replaced_under_load() {
    if !has_module() {
        return;
    }
    let config = [
        "appendonly yes",
        "appendfsync no",
        "cluster-node-timeout 2000",
        "cluster-replica-validity-factor 0",
    ];
    let mut cluster = Cluster::start(&config);
    let mut tubes = cluster.names_in_first(5000, 3);
    tubes.extend((0..3).map(|number| format!("elsewhere:{number}")));
    let ledger = Ledger::lossy();
    let load = Load::new(&ledger, &tubes);
    thread::scope(|scope| {
        let stopping = StopAtEnd(&load);
        for seed in 0..2 {
            let (mut wire, load) = (any(&cluster), &load);
            scope.spawn(move || load.produce(&mut wire, seed));
        }
        for seed in 0..2 {
            let (mut wire, load) = (any(&cluster), &load);
            scope.spawn(move || load.work(&mut wire, 100 + seed));
            let (mut client, load) = (cluster.client(), load);
            scope.spawn(move || load.work(&mut client, 200 + seed));
        }
        for round in 0..rounds() {
            for how in [How::Replaced, How::Killed] {
                load.until_turns(100);
                fail_over(&mut cluster, &load, &tubes[0], how, round);
            }
        }
        load.until_turns(100);
        drop(stopping);
    });
    let left = must_be_sound(&mut cluster.client(), &ledger);
    for primary in 0..6 {
        for replica in cluster.replicas(primary) {
            must_be_alike(&cluster.nodes()[primary], &[&cluster.nodes()[replica]]);
        }
    }
    println!("{} failovers: {left}", 2 * rounds());
}

fn fail_over(cluster: &mut Cluster, load: &Load<'_>, tube: &str, how: How, round: usize) {
    let old = cluster.serving(tube);
    let replica = eventually_some(|| cluster.replicas(old).first().copied());
    // A tag in the same slot.
    let mut kept = Kept::new(&cluster.nodes()[old], tube);
    let since = Instant::now();
    match how {
        How::Killed => {
            cluster.node_mut(old).kill9();
            kept.waiters_are_disconnected();
        }
        How::Replaced => {
            let mut con = cluster.nodes()[replica].connect();
            assert_eq!(text(&cmd(&mut con, &["CLUSTER", "FAILOVER"]).expect("an answer")), "OK");
            kept.waiters_are_unblocked();
        }
    }
    let slot = crate::nodes::slot_of(cluster, tube);
    eventually(|| {
        if how == How::Killed {
            kept.stands_still_on(&cluster.nodes()[replica]);
        }
        cluster.owner(slot) == Some(replica)
    });
    let mut wire = cluster.client();
    // The other nodes may take a moment longer to see that nothing is missing.
    eventually(|| wire.ask(&["PHEAN.STATS", tube]).is_ok());
    let took = since.elapsed();
    kept.is_all_there((0..3).map(|_| Box::new(cluster.client()) as Box<dyn Wire>).collect());
    kept.is_as_it_was(&mut wire);
    load.until_turns(100);
    if how == How::Killed {
        cluster.node_mut(old).restart();
    }
    cluster.until_well();
    assert_eq!(cluster.nodes()[old].info("replication")["role"], "slave", "it comes back as a replica");
    kept.forget(&mut wire);
    println!("round {round}, {how:?}: another primary after {took:.1?}");
}
