//! Redis Sentinel replaces a primary that was killed, or that is told to step down, while producers and workers go on.

use crate::harness::{Server, has_module};
use crate::kept::Kept;
use crate::ledger::Ledger;
use crate::load::{Load, StopAtEnd};
use crate::rounds;
use crate::sentinels::{Sentinels, is_primary, primary_of};
use crate::states::{must_be_alike, must_be_sound};
use crate::waiting::eventually;
use crate::wire::{ToPrimary, Wire};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

#[test]
fn sentinel_replaces_a_primary_under_load() {
    if !has_module() {
        return;
    }
    // A primary that is killed comes back with what it had, and believes to be the primary until it is told.
    let config = ["appendonly yes", "appendfsync no"];
    let mut servers: Vec<Server> = (0..3).map(|_| Server::start(&config)).collect();
    for replica in &servers[1..] {
        replica.replica_of(&servers[0]);
    }
    servers[1..].iter().for_each(|replica| replica.wait_synced(&servers[0]));
    let sentinels = Sentinels::start(&servers[0], 2);
    let tubes: Vec<String> = (0..4).map(|number| format!("tube:{number}")).collect();
    let ledger = Ledger::lossy();
    let load = Load::new(&ledger, &tubes);
    let wire = || ToPrimary::new(sentinels.finder());
    thread::scope(|scope| {
        let stopping = StopAtEnd(&load);
        for seed in 0..2 {
            let (mut wire, load) = (wire(), &load);
            scope.spawn(move || load.produce(&mut wire, seed));
        }
        for seed in 0..3 {
            let (mut wire, load) = (wire(), &load);
            scope.spawn(move || load.work(&mut wire, 100 + seed));
        }
        for round in 0..rounds() {
            for is_killed in [true, false] {
                // In an orderly replacement Sentinel promotes a replica, and tells the old primary a second later:
                // until then the old one takes writes, and the other replica confirms them.
                load.replicas.store(if is_killed { 1 } else { 2 }, Ordering::Relaxed);
                load.until_turns(100);
                let old = sentinels.primary_of(&servers);
                let mut kept = Kept::new(&servers[old], &format!("round-{round}-{is_killed}"));
                let since = Instant::now();
                if is_killed {
                    servers[old].kill9();
                    kept.waiters_are_disconnected();
                } else {
                    sentinels.replace_primary();
                    kept.waiters_are_unblocked();
                }
                let others: Vec<&Server> =
                    (0..3).filter(|index| *index != old).map(|index| &servers[index]).collect();
                eventually(|| {
                    if is_killed {
                        others.iter().for_each(|replica| kept.stands_still_on(replica));
                    }
                    others.iter().any(|server| is_primary(server.port()))
                });
                let new = sentinels.primary_of(&servers);
                assert_ne!(new, old);
                println!("round {round}: another primary after {:.1?}", since.elapsed());
                kept.is_all_there((0..3).map(|_| Box::new(wire()) as Box<dyn Wire>).collect());
                let mut wire = wire();
                kept.is_as_it_was(&mut wire);
                load.until_turns(100);
                if is_killed {
                    servers[old].restart();
                }
                for replica in (0..3).filter(|index| *index != new) {
                    eventually(|| primary_of(servers[replica].port()) == Some(servers[new].port()));
                }
                sentinels.until_ready(2);
                kept.forget(&mut wire);
            }
        }
        load.until_turns(100);
        drop(stopping);
    });
    let left = must_be_sound(&mut wire(), &ledger);
    let primary = sentinels.primary_of(&servers);
    let replicas: Vec<&Server> =
        (0..3).filter(|index| *index != primary).map(|index| &servers[index]).collect();
    must_be_alike(&servers[primary], &replicas);
    println!("{} failovers: {left}", 2 * rounds());
}
