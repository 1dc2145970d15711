//! The fuzz targets of `fuzz/` on mutations of their seeds, without a fuzzer. `PHEAN_FUZZ=n` tries so many inputs
//! for each target; `PHEAN_SEED=n` repeats the one of that number. `PHEAN_FUZZ_CORPUS=folder` writes the seeds there, in
//! a folder for each target, for cargo-fuzz to start from.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;
mod mutate;

use std::panic::catch_unwind;

/// How many inputs each target gets by default.
const INPUTS: u64 = 4_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

fn feed(name: &str) {
    let (_, target) =
        fuzz::targets::TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target of that name");
    let seeds = fuzz::targets::seeds(name);
    let numbers =
        number("PHEAN_SEED").map_or(0..number("PHEAN_FUZZ").unwrap_or(INPUTS), |seed| seed..seed + 1);
    for seed in numbers {
        let input = mutate::mutated(&seeds, seed);
        if catch_unwind(|| target(&input)).is_err() {
            panic!(
                "{name} failed on {:?}. Repeat it with PHEAN_SEED={seed}",
                input.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn the_seeds_themselves_are_taken() {
    let corpus = std::env::var_os("PHEAN_FUZZ_CORPUS").map(std::path::PathBuf::from);
    for (name, target) in fuzz::targets::TARGETS {
        let seeds = fuzz::targets::seeds(name);
        seeds.iter().for_each(|seed| target(seed));
        if let Some(folder) = corpus.as_ref().map(|corpus| corpus.join(name)) {
            std::fs::create_dir_all(&folder).expect("PHEAN_FUZZ_CORPUS names a folder");
            for (number, seed) in seeds.iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed can be written");
            }
        }
    }
}

#[test]
fn commands_with_any_arguments_are_answered() {
    feed("arguments");
}

#[test]
fn any_event_is_refused_or_harmless() {
    feed("event");
}

#[test]
fn any_snapshot_is_refused_or_sound() {
    feed("snapshot");
}

#[test]
fn any_bytes_on_the_port_are_answered() {
    feed("protocol");
}
