//! Damage done to sound inputs.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Bytes that begin longer numbers, and small ones.
const TELLING: [u8; 12] = [0, 1, 2, 3, 4, 127, 128, 250, 251, 252, 253, 255];

/// One of the seeds, damaged in a way that its number alone decides.
pub fn mutated(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(number);
    let mut bytes = seeds.choose(&mut rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=5) {
        damage(&mut bytes, seeds, &mut rng);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut SmallRng) {
    let at = rng.random_range(0..=bytes.len());
    let other = rng.random_range(0..=bytes.len());
    let (from, to) = (at.min(other), at.max(other));
    match rng.random_range(0..9) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        2 | 3 if at < bytes.len() => bytes[at] = *TELLING.choose(rng).unwrap_or(&0),
        4 if at < bytes.len() => bytes[at] = rng.random(),
        5 => bytes.insert(at, *TELLING.choose(rng).unwrap_or(&0)),
        6 => drop(bytes.drain(from..to.min(from + 8))),
        7 => {
            let part = bytes[from..to.min(from + 32)].to_vec();
            bytes.splice(to..to, part);
        }
        _ => {
            let donor = seeds.choose(rng).cloned().unwrap_or_default();
            let start = rng.random_range(0..=donor.len());
            let end = rng.random_range(start..=donor.len()).min(start + 64);
            bytes.splice(at..at, donor[start..end].iter().copied());
        }
    }
}
