//! Everything at once: connections that watch few tubes and many, `PHEAN.*` commands, Redis' own commands on keys,
//! closed connections, time, and clocks that are set. After each step, what must hold is looked up in the keys themselves.

use std::collections::{BTreeMap, BTreeSet};

use phean::broker::Settings;
use phean::queue::{Order, State};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::driver::{Connection, Driver, Pieces};
use super::world::{Op, Place};

/// How many tubes there are besides `default`.
const TUBES: usize = 24;

/// How many seeds run.
const SEEDS: u64 = 40;

const STEPS: usize = 250;

#[derive(Default)]
struct Client {
    used: String,
    watched: BTreeSet<String>,
    is_waiting: bool,
}

struct Mix {
    driver: Driver,
    rng: SmallRng,
    clients: BTreeMap<Connection, Client>,
    last_id: u64,
}

fn name(n: usize) -> String {
    if n == TUBES { "default".into() } else { format!("t{n}") }
}

impl Mix {
    fn name(&mut self) -> String {
        name(self.rng.random_range(0..=TUBES))
    }

    fn place(&mut self) -> Place {
        Place::of(0, self.name().as_bytes())
    }

    fn id(&mut self) -> u64 {
        self.last_id.saturating_sub(self.rng.random_range(0..20))
    }

    fn connect(&mut self) {
        let c = self.driver.connect();
        let mut client = Client { used: "default".into(), ..Client::default() };
        client.watched.insert("default".into());
        // Some watch few, and some watch many.
        let count = if self.rng.random_bool(0.5) { 2 } else { 20 };
        let first = self.rng.random_range(0..TUBES);
        for n in first..first + count {
            let name = name(n % TUBES);
            self.driver.say(c, &format!("watch {name}"));
            client.watched.insert(name);
        }
        self.clients.insert(c, client);
    }

    /// The most urgent job that this client can take, by a look at each of its tubes.
    fn most_urgent(&self, client: &Client) -> Option<u64> {
        let state = self.driver.server.world.state.borrow();
        let tubes = client.watched.iter().filter_map(|name| state.keys.tube(Place::of(0, name.as_bytes())));
        let tubes = tubes.filter(|(tube, _)| !tube.is_paused(self.driver.now_ms));
        let heads = tubes.filter_map(|(tube, _)| tube.first(Order::Ready).map(|job| (job.pri, job.id)));
        heads.min().map(|(_, id)| id)
    }

    fn step(&mut self) {
        let connections: Vec<Connection> = self.clients.keys().copied().collect();
        let c = connections[self.rng.random_range(0..connections.len())];
        let (id, tube) = (self.id(), self.name());
        let small = self.rng.random_range(0..4);
        if self.clients[&c].is_waiting {
            // Whoever waits can only vanish.
            if self.rng.random_bool(0.1) {
                self.close(c);
                self.connect();
            }
        } else {
            self.talk(c, id, &tube, small);
        }
        match self.rng.random_range(0..60) {
            0 => drop(self.driver.phean(&format!("CLEAR {tube}"))),
            1 => drop(self.driver.phean(&format!("PAUSE {tube} {small}"))),
            2 => drop(self.driver.phean(&format!("DELETE {tube} {id}"))),
            3 => drop(self.driver.phean(&format!("RELEASE {tube} {id} PRI {small}"))),
            4 => drop(self.driver.phean(&format!("TOUCH {tube} {id} FOR {small}"))),
            5..10 => {
                self.driver.phean(&format!("PUT {tube} x PRI {small}"));
                self.last_id += 1;
            }
            10 => drop(self.driver.phean(&format!("KICK {tube} {small}"))),
            11 => self.key(|mix| Op::Del(mix.place())),
            12 => self.key(|mix| Op::Rename(mix.place(), mix.place())),
            13 => self.key(|mix| Op::Copy(mix.place(), mix.place())),
            14 if self.rng.random_bool(0.3) => self.key(|_| Op::Flush(Some(0))),
            15 if self.rng.random_bool(0.5) => self.key(|_| Op::Swap(0, 1)),
            16..35 => {
                let ms = self.rng.random_range(0..1_500);
                self.driver.pass(ms);
            }
            35 => {
                let ms = self.rng.random_range(-3_000..3_000);
                self.driver.set_clock(ms);
            }
            _ => {}
        }
    }

    fn key(&mut self, op: impl FnOnce(&mut Mix) -> Op) {
        let op = op(self);
        self.driver.redis(&op);
    }

    fn talk(&mut self, c: Connection, id: u64, tube: &str, small: u32) {
        match self.rng.random_range(0..24) {
            0..6 => {
                let delay = if self.rng.random_bool(0.2) { 1 } else { 0 };
                let ttr = self.rng.random_range(1..6);
                self.driver.put(c, &format!("{small} {delay} {ttr}"), "x");
                self.last_id += 1;
            }
            6..12 => {
                let expected = self.most_urgent(&self.clients[&c]);
                let answer = self.driver.say(c, "reserve-with-timeout 0");
                match expected {
                    Some(id) => assert_eq!(answer, format!("RESERVED {id} 1\nx\n")),
                    None => assert!(["TIMED_OUT\n", "DEADLINE_SOON\n"].contains(&&*answer), "{answer}"),
                }
            }
            12 => {
                let answer = self.driver.say(c, "reserve-with-timeout 3");
                self.client(c).is_waiting = answer.is_empty();
            }
            13 => drop(self.driver.say(c, &format!("delete {id}"))),
            14 => drop(self.driver.say(c, &format!("release {id} {small} {}", small / 2))),
            15 => drop(self.driver.say(c, &format!("bury {id} {small}"))),
            16 => drop(self.driver.say(c, &format!("touch {id}\nkick-job {id}\nreserve-job {id}"))),
            17 => drop(self.driver.say(c, &format!("kick {small}\npause-tube {tube} {}", small / 2))),
            18..20 => {
                self.driver.say(c, &format!("use {tube}"));
                self.client(c).used = tube.into();
            }
            20..22 => {
                self.driver.say(c, &format!("watch {tube}"));
                self.client(c).watched.insert(tube.into());
            }
            22 => {
                if self.driver.say(c, &format!("ignore {tube}")) != "NOT_IGNORED\n" {
                    self.client(c).watched.remove(tube);
                }
            }
            _ => {
                self.close(c);
                self.connect();
            }
        }
    }

    fn client(&mut self, c: Connection) -> &mut Client {
        self.clients.get_mut(&c).expect("a client")
    }

    fn close(&mut self, c: Connection) {
        self.driver.close(c);
        self.clients.remove(&c);
    }

    fn check(&mut self, is_thorough: bool) {
        for (c, client) in &mut self.clients {
            let answer = self.driver.read(*c);
            assert!(answer.is_empty() || client.is_waiting, "an answer to nothing: {answer}");
            client.is_waiting &= answer.is_empty();
        }
        for client in self.clients.values().filter(|client| client.is_waiting) {
            assert_eq!(self.most_urgent(client), None, "somebody waits although there is a job");
        }
        if is_thorough {
            self.check_tubes();
            self.check_places();
        }
    }

    /// The tubes that are there are those that are used, or watched, or have jobs.
    fn check_tubes(&self) {
        let ties = self.clients.values().flat_map(|client| client.watched.iter().chain([&client.used]));
        let mut expected: BTreeSet<Vec<u8>> = ties.map(|name| name.clone().into_bytes()).collect();
        expected.insert(b"default".to_vec());
        let keys = self.driver.server.world.state.borrow().keys.clone();
        for (place, tube, _) in keys.tubes().filter(|(place, ..)| place.db == 0) {
            tube.check().unwrap_or_else(|error| panic!("{place:?}: {error}"));
            if tube.counts().all() > 0 {
                expected.insert(place.name().to_vec());
            }
        }
        let listed: Vec<Vec<u8>> =
            self.driver.server.broker.port_tubes().iter().map(|name| name.to_vec()).collect();
        assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), expected);
        assert_eq!(listed.len(), expected.len(), "a tube is listed twice");
    }

    /// Every job is found by its id, in a tube that holds it, and no other id is.
    fn check_places(&self) {
        let keys = self.driver.server.world.state.borrow().keys.clone();
        let mut holders: BTreeMap<u64, BTreeSet<&[u8]>> = BTreeMap::new();
        for (place, tube, _) in keys.tubes().filter(|(place, ..)| place.db == 0) {
            tube.jobs().for_each(|job| {
                holders.entry(job.id).or_default().insert(place.name());
            });
        }
        let broker = &self.driver.server.broker;
        for id in 1..=self.last_id {
            let found = broker.find_job(&mut self.driver.server.world.clone(), id);
            match (found, holders.get(&id)) {
                (Some(name), Some(holders)) => assert!(holders.contains(&*name), "job {id}"),
                (None, None) => {}
                (found, holders) => panic!("job {id} is in {holders:?} and found in {found:?}"),
            }
        }
    }
}

#[test]
fn everything_holds_whatever_happens() {
    for seed in 0..SEEDS {
        let mut mix = Mix {
            driver: Driver::seeded(seed, Settings::default(), Pieces::Whole),
            rng: SmallRng::seed_from_u64(seed),
            clients: BTreeMap::new(),
            last_id: 0,
        };
        (0..5).for_each(|_| mix.connect());
        for step in 0..STEPS {
            mix.step();
            mix.check(step % 10 == 0);
        }
        let connections: Vec<Connection> = mix.clients.keys().copied().collect();
        connections.into_iter().for_each(|c| mix.close(c));
        mix.check(true);
        assert_eq!(mix.driver.server.broker.waiting(), 0);
        // Copies of reservations are bound to no connection, and end with their time.
        mix.driver.pass(100_000);
        assert_eq!(mix.driver.server.broker.jobs_in(0).of(State::Reserved), 0, "seed {seed}");
    }
}
