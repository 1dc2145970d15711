//! The short way that most commands take comes to the same as the long one.

use phean::broker::Settings;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::server::{Outcome, Sender, Server, assert_same};
use super::simulation::{pick, settings, slices};
use super::world::Told;

const NOW_MS: u64 = 1_790_000_000_000;

/// One of two servers that are sent the same.
fn twin(settings: Settings, needs_events: bool, is_at_hand: bool) -> Server {
    let server = Server::primary(settings, NOW_MS);
    let mut state = server.world.state.borrow_mut();
    (state.needs_events, state.is_at_hand) = (needs_events, is_at_hand);
    drop(state);
    server
}

fn command(rng: &mut SmallRng, leases: &[String]) -> Vec<Vec<u8>> {
    let tube = *pick(rng, &["a", "a", "a", "b"]);
    let lease = leases.get(rng.random_range(0..=leases.len())).map_or("1", String::as_str);
    let (pri, ms) = (rng.random_range(0..3), rng.random_range(1..400));
    let line = match rng.random_range(0..20) {
        0..6 => format!("PUT {tube} body{pri}"),
        6 => format!("PUT {tube} body PRI {pri} TTR 0.{ms:03}"),
        7 => format!("PUT {tube} body DELAY 0.{ms:03}"),
        8 => format!("MPUT {tube} 2 x y PRI {pri}"),
        9..13 => format!("RESERVE {tube}"),
        13 => format!("RESERVE {tube} TTR 0.{ms:03}"),
        14..18 => format!("DELETE {tube} {lease}"),
        18 => format!("RELEASE {tube} {lease}"),
        _ => pick(
            rng,
            &[
                format!("RELEASE {tube} {lease} DELAY 0.{ms:03} PRI {pri}"),
                format!("BURY {tube} {lease}"),
                format!("TOUCH {tube} {lease} FOR 0.{ms:03}"),
                format!("KICKJOB {tube} {lease}"),
                format!("DELETE {tube} {lease} 1 2"),
                format!("PAUSE {tube} 0.{ms:03}"),
                format!("RESERVE {tube} BOUND"),
                format!("RESERVE {tube} TIMEOUT 0.{ms:03}"),
                format!("CLEAR {tube}"),
            ],
        )
        .clone(),
    };
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Everything that the broker knows is compared after every step.
fn compare(twins: &[Server; 2]) {
    let [short, long] = twins;
    let (mine, theirs) = (short.world.state.borrow(), long.world.state.borrow());
    assert_same(&mine.keys, &theirs.keys);
    assert_eq!(short.broker.jobs(), long.broker.jobs());
    assert_eq!(short.broker.totals(), long.broker.totals());
    assert_eq!(short.broker.next_tick_ms(), long.broker.next_tick_ms());
    assert_eq!(format!("{:?}", mine.ended), format!("{:?}", theirs.ended));
    let told = |told: &[Told]| told.iter().map(|told| format!("{:?}", told.op)).collect::<Vec<_>>();
    assert_eq!(told(&mine.told), told(&theirs.told), "the same is told to replicas");
}

#[test]
fn the_short_way_comes_to_the_same_as_the_long_one() {
    let mut taken = 0;
    for seed in 0..400 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let settings = settings(&mut rng, slices(seed));
        let needs_events = seed.is_multiple_of(2);
        let mut twins = [twin(settings, needs_events, true), twin(settings, needs_events, false)];
        let (mut now_ms, mut leases) = (NOW_MS, Vec::new());
        for _ in 0..rng.random_range(20..200) {
            if rng.random_bool(0.3) {
                now_ms += rng.random_range(0..120);
            }
            let (sender, args) = (rng.random_range(1..4), command(&mut rng, &leases));
            let ticks = rng.random_bool(0.4);
            let outcomes = twins.each_mut().map(|server| {
                server.world.state.borrow_mut().now_ms = now_ms;
                let sender = Sender { id: sender, may_wait: true, in_script: false };
                let outcome = server.run(sender, 0, &args, now_ms);
                let text = format!("{outcome:?}");
                if let Outcome::Waits(wait) = outcome {
                    server.broker.wait(wait);
                }
                if ticks {
                    server.broker.tick(&mut server.world, now_ms);
                    server.broker.deliver(&mut server.world, now_ms);
                }
                text
            });
            assert_eq!(outcomes[0], outcomes[1], "seed {seed}: {args:?}");
            compare(&twins);
            let is_lease = |word: &&str| word.split_once('-').is_some_and(|(id, n)| id.len() < n.len());
            let words = outcomes[0].split(|c: char| !(c.is_ascii_digit() || c == '-'));
            leases.extend(words.filter(is_lease).map(str::to_string));
        }
        taken += twins[0].world.state.borrow().at_hand;
        assert_eq!(twins[1].world.state.borrow().at_hand, 0);
    }
    assert!(taken > 10_000, "it was taken {taken} times only");
}
