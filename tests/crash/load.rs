//! Producers and workers who go on until their connection ends.

use crate::harness::Server;
use crate::ledger::Ledger;
use crate::port;
use crate::reply::{cmd, int, reserved_many};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use redis::{Connection, Value};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Scope;
use std::time::Duration;
use std::{process, thread};

/// The tubes of the PHEAN commands, and the one of the beanstalk port.
pub const TUBES: [&str; 4] = ["crash:a", "crash:b", "crash:c", PORT_TUBE];
pub const PORT_TUBE: &str = "crash-port";

/// From so many jobs on, producers wait for the workers.
const JOBS_MAX: usize = 8000;

/// Connections made before the work begins.
pub struct Load<'a> {
    connections: Vec<Connection>,
    ports: Vec<TcpStream>,
    ledger: &'a Ledger,
}

/// A body that no other job has.
pub fn body() -> Vec<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("job {} of {}", COUNT.fetch_add(1, Ordering::Relaxed), process::id()).into_bytes()
}

/// Puts thousands of jobs, and brings them into every state.
pub fn populate(con: &mut Connection, ledger: &Ledger) {
    for tube in &TUBES[..3] {
        for numbers in ["PRI 5 TTR 1", "PRI 7 TTR 1000", "DELAY 1000", "DELAY 0.5"] {
            let bodies: Vec<Vec<u8>> = (0..300).map(|_| body()).collect();
            let mut args = vec![b"PHEAN.MPUT".to_vec(), tube.as_bytes().to_vec(), b"300".to_vec()];
            args.extend(bodies.iter().cloned());
            args.extend(numbers.split(' ').map(|word| word.as_bytes().to_vec()));
            let ids = cmd(con, &args).expect("jobs can be put");
            for (id, body) in crate::reply::array(&ids).iter().zip(&bodies) {
                ledger.was_put(int(id), body);
            }
        }
        let jobs =
            reserved_many(&cmd(con, &["PHEAN.RESERVE", tube, "COUNT", "200"]).expect("jobs can be taken"));
        for job in jobs {
            note(ledger, job.id, &job.lease, &job.body);
            if job.id % 2 == 0 {
                cmd(con, &["PHEAN.BURY", tube, &job.lease]).expect("a job can be buried");
            }
        }
    }
}

fn note(ledger: &Ledger, id: i64, lease: &str, body: &[u8]) {
    let number = lease.split_once('-').and_then(|(_, number)| number.parse().ok());
    ledger.was_given(id, body, number);
}

impl<'a> Load<'a> {
    pub fn new(server: &Server, port: u16, ledger: &'a Ledger) -> Load<'a> {
        let connections = (0..4).map(|_| server.connect()).collect();
        let ports = (0..2).map(|_| port::connect(port)).collect();
        Load { connections, ports, ledger }
    }

    /// Starts everybody; they end by themselves when the server does.
    pub fn start<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, seed: u64)
    where
        'a: 'scope,
    {
        let ledger = self.ledger;
        for (i, mut con) in self.connections.drain(..).enumerate() {
            let rng = SmallRng::seed_from_u64(seed.wrapping_add(i as u64));
            scope.spawn(move || {
                let mut worker = Worker { con: &mut con, ledger, rng };
                while if i % 2 == 0 { worker.produce() } else { worker.work() }.is_some() {}
            });
        }
        for (i, stream) in self.ports.drain(..).enumerate() {
            let rng = SmallRng::seed_from_u64(seed.wrapping_add(100 + i as u64));
            scope.spawn(move || port::work(stream, ledger, rng));
        }
    }
}

struct Worker<'a> {
    con: &'a mut Connection,
    ledger: &'a Ledger,
    rng: SmallRng,
}

impl Worker<'_> {
    /// Sends a command; nothing when the connection has ended. No command here may be refused.
    fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Option<Value> {
        match cmd(self.con, args) {
            Ok(value) => Some(value),
            Err(error) => {
                if error.code().is_some() {
                    let name = String::from_utf8_lossy(args[0].as_ref()).into_owned();
                    self.ledger.fault(format!("{name}: {error}"));
                }
                None
            }
        }
    }

    fn pick<'b>(&mut self, texts: &[&'b str]) -> &'b str {
        texts.choose(&mut self.rng).copied().unwrap_or_default()
    }

    fn produce(&mut self) -> Option<()> {
        if self.ledger.count() > JOBS_MAX {
            thread::sleep(Duration::from_millis(5));
        }
        let tube = self.pick(&TUBES);
        let pri = self.pick(&["0", "5", "1024", "4294967295"]);
        let delay = self.pick(&["0", "0", "0", "0.05", "1", "1000"]);
        let ttr = self.pick(&["0.05", "1", "1000"]);
        let bodies: Vec<Vec<u8>> = (0..self.rng.random_range(1..=5)).map(|_| body()).collect();
        bodies.iter().for_each(|body| self.ledger.putting(body));
        let count = bodies.len().to_string();
        let mut args: Vec<&[u8]> = vec![b"PHEAN.MPUT", tube.as_bytes(), count.as_bytes()];
        args.extend(bodies.iter().map(Vec::as_slice));
        args.extend(["PRI", pri, "DELAY", delay, "TTR", ttr].map(str::as_bytes));
        let ids = self.ask(&args)?;
        for (id, body) in crate::reply::array(&ids).iter().zip(&bodies) {
            self.ledger.was_put(int(id), body);
        }
        if self.rng.random_bool(0.1) {
            let tube = self.pick(&TUBES);
            self.ask(&["PHEAN.KICK", tube, "5"])?;
        }
        Some(())
    }

    fn work(&mut self) -> Option<()> {
        let tube = self.pick(&TUBES);
        let ttr = self.pick(&["0.02", "1", "1000"]);
        let bound = self.pick(&["BOUND", "COUNT"]);
        let mut args = vec!["PHEAN.RESERVE", tube, "TTR", ttr, bound];
        if bound == "COUNT" {
            args.push("3");
        }
        let reply = self.ask(&args)?;
        let jobs = match bound {
            "COUNT" => reserved_many(&reply),
            _ => crate::reply::reserved(&reply).into_iter().collect(),
        };
        for job in jobs {
            note(self.ledger, job.id, &job.lease, &job.body);
            match self.rng.random_range(0..10) {
                0..=4 => {
                    self.ledger.deleting(job.id);
                    let count = int(&self.ask(&["PHEAN.DELETE", tube, &job.lease])?);
                    self.ledger.was_deleted(job.id, count == 1);
                }
                5 => drop(self.ask(&["PHEAN.RELEASE", tube, &job.lease])?),
                6 => drop(self.ask(&["PHEAN.RELEASE", tube, &job.lease, "DELAY", "0.1", "UNTRIED"])?),
                7 => drop(self.ask(&["PHEAN.BURY", tube, &job.lease])?),
                8 => drop(self.ask(&["PHEAN.TOUCH", tube, &job.lease])?),
                _ => {}
            }
        }
        Some(())
    }
}
