//! Producers and workers who go on until they are told to stop, whatever happens to the servers.

use crate::ledger::{Ledger, Now};
use crate::reply::{int, reserved};
use crate::waiting::eventually;
use crate::wire::Wire;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use redis::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What everybody shares.
pub struct Load<'a> {
    pub ledger: &'a Ledger,
    pub tubes: &'a [String],
    stop: AtomicBool,
    /// How many jobs were put, and how many reservations given.
    pub puts: AtomicUsize,
    pub given: AtomicUsize,
    /// So many replicas must have a job, so that it counts as confirmed.
    pub replicas: AtomicUsize,
}

/// After an error a client waits a little before it tries again.
const PAUSE: Duration = Duration::from_millis(20);

impl<'a> Load<'a> {
    pub fn new(ledger: &'a Ledger, tubes: &'a [String]) -> Load<'a> {
        let (puts, given, replicas) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(1));
        Load { ledger, tubes, stop: AtomicBool::new(false), puts, given, replicas }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Sends a command about a job, or none. An error is a fault, unless a server is killed.
    fn ask(&self, wire: &mut dyn Wire, args: &[&str], body: Option<&str>) -> Option<Value> {
        match wire.ask(args) {
            Ok(value) => Some(value),
            Err(error) => {
                if self.ledger.is_lossy() {
                    body.into_iter().for_each(|body| self.ledger.was_lost(body));
                    thread::sleep(PAUSE);
                } else {
                    self.ledger.fault(format!("{}: {error}", args.join(" ")));
                }
                None
            }
        }
    }

    /// Puts jobs, some of them delayed. The rate is bounded, so that the tubes stay small.
    pub fn produce(&self, wire: &mut dyn Wire, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        while self.goes_on() {
            let Some(tube) = self.tubes.choose(&mut rng) else { return };
            let delay = ["0", "0", "0.2", "0.5", "2"].choose(&mut rng).copied().unwrap_or("0");
            self.put(wire, tube, delay);
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Puts one job. Returns its body, if that was acknowledged.
    pub fn put(&self, wire: &mut dyn Wire, tube: &str, delay: &str) -> Option<String> {
        let body = self.ledger.putting(tube, seconds(delay));
        let args = ["PHEAN.PUT", tube, &body, "DELAY", delay, "TTR", "1000"];
        let id = int(&self.ask(wire, &args, Some(&body))?);
        self.ledger.was_put(&body, id);
        self.puts.fetch_add(1, Ordering::Relaxed);
        if wire.is_confirmed(self.replicas.load(Ordering::Relaxed)) {
            self.ledger.was_confirmed(&body);
        }
        Some(body)
    }

    /// Takes jobs, waiting for them, and does with them what workers do.
    pub fn work(&self, wire: &mut dyn Wire, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        while self.goes_on() {
            let Some(tube) = self.tubes.choose(&mut rng) else { return };
            let args = ["PHEAN.RESERVE", tube, "TIMEOUT", "0.3"];
            let Some(job) = self.ask(wire, &args, None).and_then(|value| reserved(&value)) else { continue };
            let body = String::from_utf8_lossy(&job.body).into_owned();
            self.ledger.was_given(tube, &body, job.id, &job.lease);
            self.given.fetch_add(1, Ordering::Relaxed);
            self.finish(wire, tube, &job.lease, &body, &mut rng);
        }
    }

    fn finish(&self, wire: &mut dyn Wire, tube: &str, lease: &str, body: &str, rng: &mut SmallRng) {
        let (args, now, delay): (&[&str], Now, &str) = match rng.random_range(0..20) {
            0..=14 => (&["PHEAN.DELETE", tube, lease], Now::Gone, "0"),
            15 => (&["PHEAN.RELEASE", tube, lease], Now::Waiting, "0"),
            16 => (&["PHEAN.RELEASE", tube, lease, "DELAY", "1.5"], Now::Waiting, "1.5"),
            17 => (&["PHEAN.BURY", tube, lease], Now::Buried, "0"),
            18 => (&["PHEAN.TOUCH", tube, lease], Now::Held(lease.to_owned()), "0"),
            // It holds the job until the end.
            _ => return,
        };
        if now == Now::Gone {
            self.ledger.deleting(body);
        }
        let is_release = now == Now::Waiting;
        if is_release {
            self.ledger.was_done(body, 1, now.clone(), seconds(delay));
        }
        if let Some(count) = self.ask(wire, args, Some(body)).map(|count| int(&count))
            && (count != 1 || !is_release)
        {
            self.ledger.was_done(body, count, now, seconds(delay));
        }
    }
}

impl Load<'_> {
    /// Waits until so much more was put and given, or something is wrong.
    #[track_caller]
    pub fn until_turns(&self, count: usize) {
        let done = || [&self.puts, &self.given].map(|counter| counter.load(Ordering::Relaxed));
        let before = done();
        let is_enough = || done().iter().zip(before).all(|(now, before)| *now >= before + count);
        eventually(|| is_enough() || !self.ledger.book().faults.is_empty());
        self.ledger.must_be_clean();
    }
}

/// Stops everybody when it is dropped, also by a panic.
pub struct StopAtEnd<'a, 'b>(pub &'a Load<'b>);

impl Drop for StopAtEnd<'_, '_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("a number of seconds"))
}
