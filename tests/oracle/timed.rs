//! Scripts in which time passes: delays, pauses, reservations that end, waits that end.
//!
//! All times of the protocol are whole seconds. So each step has its own tenth of a second: no two of them can
//! begin something that ends at the same time, and no step comes when something ends. How fast the machine is
//! does not matter as long as a step is done within its tenth; the duel says if it was not.

use crate::generate::{Generator, command, send};
use crate::script::{Piece, Script, Step};
use rand::Rng;
use rand::seq::SliceRandom;

const SLOT_MS: u64 = 100;
const SLOTS: u64 = 10;
const LINKS: usize = 4;

/// The script of a seed.
pub fn script(seed: u64) -> Script {
    let mut generator = Generator::new(seed, "t");
    let tubes: Vec<Vec<u8>> = generator.tubes()[..2].to_vec();
    let mut steps = Vec::new();
    for link in 0..LINKS {
        for tube in &tubes {
            steps.push(send(link, command(b"watch ", tube)));
        }
        steps.push(send(link, command(b"ignore ", b"default")));
        steps.push(send(link, command(b"use ", &tubes[link % 2])));
        // Most scripts have a worker for each tube, so that two can wait at a time.
        if link >= 2 && !seed.is_multiple_of(4) {
            steps.push(send(link, command(b"ignore ", &tubes[link % 2])));
        }
    }
    let mut slots: Vec<u64> = (1..SLOTS).collect();
    slots.shuffle(&mut generator.rng);
    let (last, slots) = slots.split_last().expect("there are slots");
    // The slots of the first two seconds, then those that are left; in growing order of time.
    let mut times: Vec<u64> = Vec::new();
    for slot in slots {
        let second = if generator.rng.random_bool(0.5) { 0 } else { generator.rng.random_range(0..=3) };
        times.push(1000 * second + slot * SLOT_MS);
    }
    times.sort_unstable();
    let mut puts = 0;
    for ms in times {
        steps.push(Step::At { ms });
        let link = generator.rng.random_range(0..LINKS);
        let step = match generator.rng.random_range(0..10) {
            _ if puts == 0 => put(&mut generator, link, &mut puts),
            0..=3 => put(&mut generator, link, &mut puts),
            4..=6 => {
                let seconds = generator.pick(&[
                    "reserve",
                    "reserve-with-timeout 1",
                    "reserve-with-timeout 2",
                    "reserve-with-timeout 0",
                ]);
                // One worker takes most jobs, so that it often waits while it holds some.
                let link = if generator.rng.random_bool(0.6) { 0 } else { link };
                send(link, command(seconds.as_bytes(), b""))
            }
            7 => with_job(&mut generator, link, puts),
            8 => {
                let seconds = generator.pick(&["1", "2", "0"]);
                let tube = tubes[link % 2].clone();
                send(link, command(b"pause-tube ", &[&tube, b" ".as_slice(), seconds.as_bytes()].concat()))
            }
            _ => Step::Close { link },
        };
        steps.push(step);
    }
    steps.push(Step::At { ms: 5000 + last * SLOT_MS });
    Script { name: format!("timed seed {seed}"), links: LINKS, tubes, steps }
}

fn put(generator: &mut Generator, link: usize, puts: &mut usize) -> Step {
    *puts += 1;
    let numbers = format!(
        "{} {} {}",
        generator.pick(&["1", "2", "5"]),
        generator.pick(&["0", "0", "1", "2"]),
        generator.pick(&["1", "2", "2", "3", "60"])
    );
    send(link, generator.put(&numbers))
}

/// What is done with a job, which this connection may or may not hold.
fn with_job(generator: &mut Generator, link: usize, puts: usize) -> Step {
    let verb =
        generator.pick(&["release ", "touch ", "touch ", "bury ", "delete ", "reserve-job ", "kick-job "]);
    let rest = match verb {
        "release " => generator.pick(&[" 1 0", " 3 1", " 1 2"]),
        "bury " => " 5",
        _ => "",
    };
    let job = generator.rng.random_range(0..puts);
    let end = Piece::Bytes(format!("{rest}\r\n").into_bytes());
    send(link, vec![Piece::Bytes(verb.into()), Piece::Id(job), end])
}
