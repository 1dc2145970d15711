//! Runs many scripts, repeats what a slow machine made doubtful, and shrinks what differs.

use crate::duel::{Against, Difference, Duel};
use crate::script::Script;
use crate::tamper::Tamper;
use crate::waiting::patience;
use crate::{generate, timed};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

/// A kind of script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No second passes in it.
    AtOnce,
    /// No second passes, and from its middle on the servers take no jobs.
    Draining,
    /// Seconds pass.
    Timed,
}

impl Kind {
    fn script(self, seed: u64) -> Script {
        match self {
            Kind::AtOnce => generate::script(seed),
            Kind::Draining => generate::draining(seed),
            Kind::Timed => timed::script(seed),
        }
    }

    /// How often a script must differ. Where seconds pass, the machine may have kept one server from running.
    fn times_to_differ(self) -> usize {
        if self == Kind::Timed { 2 } else { 1 }
    }

    /// How many run at a time. Those with times mostly sleep.
    fn threads(self) -> u64 {
        match self {
            Kind::AtOnce => thread::available_parallelism().map_or(1, |count| count.get() as u64),
            Kind::Draining => 1,
            Kind::Timed => 16,
        }
    }
}

/// How often a script is run again whose difference is in doubt.
const REPEATS: usize = 5;
/// For how long shorter scripts are tried.
const SHRINKING: Duration = Duration::from_secs(40);

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

/// Runs the scripts of the seeds from 0 on; panics with the first difference, shrunk.
pub fn run(against: Against, kind: Kind, scripts: u64) {
    if let Some(seed) = number("PHEAN_ORACLE_SEED") {
        if let Err((seed, difference)) = Runner::new(against, Tamper::None).run(kind, seed) {
            panic!("{}", explain(against, kind, seed, difference));
        }
        return;
    }
    let next = AtomicU64::new(0);
    let found = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..kind.threads().min(scripts) {
            scope.spawn(|| {
                let mut runner = Runner::new(against, Tamper::None);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= scripts {
                        return;
                    }
                    if let Err((seed, difference)) = runner.run(kind, seed) {
                        next.store(scripts, Ordering::Relaxed);
                        found.lock().expect("no thread panicked").get_or_insert((seed, difference));
                        return;
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("no thread panicked");
    if let Some((seed, difference)) = found {
        let text = explain(against, kind, seed, difference);
        panic!("{text}");
    }
}

/// Two servers that are started anew whenever they differed.
pub struct Runner {
    against: Against,
    tamper: Tamper,
    duel: Option<Duel>,
}

impl Runner {
    pub fn new(against: Against, tamper: Tamper) -> Runner {
        Runner { against, tamper, duel: None }
    }

    /// Runs the script of a seed.
    pub fn run(&mut self, kind: Kind, seed: u64) -> Result<(), (u64, Difference)> {
        let script = kind.script(seed);
        let mut certain = 0;
        let mut doubtful = 0;
        loop {
            let Err(difference) = self.run_once(&script, patience()) else {
                // What differed for certain, and once only, may have been a server that got no time to run.
                if certain == 0 || doubtful == REPEATS {
                    return Ok(());
                }
                doubtful += 1;
                continue;
            };
            match difference.is_punctual {
                true => certain += 1,
                false => doubtful += 1,
            }
            if certain == kind.times_to_differ() || doubtful >= REPEATS {
                return Err((seed, difference));
            }
        }
    }

    /// Runs a script once.
    pub fn run_once(&mut self, script: &Script, patience: Duration) -> Result<(), Difference> {
        let mut duel = self.duel.take().unwrap_or_else(|| Duel::new(self.against, self.tamper, patience));
        duel.run(script)?;
        // A server that takes no more jobs is of no use to the next script.
        if !script.steps.contains(&crate::script::Step::Drain) {
            self.duel = Some(duel);
        }
        Ok(())
    }
}

/// The difference, in as short a script as is easily found.
fn explain(against: Against, kind: Kind, seed: u64, difference: Difference) -> String {
    let mut best = difference;
    let mut script = kind.script(seed);
    if kind != Kind::Timed {
        shrink(against, &mut script, &mut best);
    }
    let doubt = if best.is_punctual { "" } else { " (the machine was too slow: the times may be the cause)" };
    format!(
        "{}\n{}\nThe servers differed{doubt}. Repeat it with PHEAN_ORACLE_SEED={seed} ({})",
        best.log, best.text, script.name
    )
}

fn shrink(against: Against, script: &mut Script, best: &mut Difference) {
    let mut runner = Runner::new(against, Tamper::None);
    let bound = Instant::now() + SHRINKING;
    let mut length = script.steps.len().div_ceil(2);
    while length > 0 && Instant::now() < bound {
        let mut start = 0;
        while start < script.steps.len() && Instant::now() < bound {
            let mut shorter = script.clone();
            let end = (start + length).min(script.steps.len());
            shorter.steps.drain(start..end);
            match runner.run_once(&shorter, Duration::from_secs(3)) {
                Err(found) if found.is_punctual => {
                    *script = shorter;
                    *best = found;
                }
                _ => start += length,
            }
        }
        length = if length == 1 { 0 } else { length.div_ceil(2) };
    }
}
