//! One run: clients, a primary, perhaps a follower, a clock, and mishaps, all from one seed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use phean::broker::{News, Role, Settings, Slices, Ticked};
use phean::commands::Verb;
use phean::queue::decide::Retry;
use phean::queue::{State, over_ms};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::auditor::{Auditor, LeaseKey};
use super::deed::{Deed, Given, Standing};
use super::server::{Form, Outcome, Sender, Server, assert_same};
use super::trace::Trace;
use super::world::{Ended, Keyspace, Place, Taken, Told};

/// When a run begins (Unix ms).
const START_MS: u64 = 1_790_000_000_000;

/// A connection, and what whoever uses it remembers of leases, its own and older ones.
pub struct Client {
    pub id: u64,
    pub wait: Option<(Standing, u32, Option<u32>)>,
    pub leases: Vec<(Place, u64, u64)>,
    pub bound: Vec<LeaseKey>,
}

/// A server that follows, and what it has not got yet.
pub struct Follower {
    pub server: Server,
    pub queue: VecDeque<Rc<Told>>,
    /// What the primary was like when it told the last that was taken from the queue.
    pub expected: Keyspace,
}

impl Follower {
    pub fn take(&mut self, count: usize, now_ms: u64) {
        for told in self.queue.drain(..count) {
            self.server.follow_closely(&told, now_ms);
            self.expected = told.after.clone();
        }
    }
}

pub struct Simulation {
    pub rng: SmallRng,
    pub now_ms: u64,
    pub now_max_ms: u64,
    /// The clock does not go back behind a crash: what was forgotten there would come again. Nor behind a time at which a
    /// tube was not learned of because its own was over: nobody could see it then.
    pub now_min_ms: u64,
    pub primary: Server,
    pub follower: Option<Follower>,
    /// What the append-only file begins with, and what follows.
    pub base: Keyspace,
    pub log: Vec<Rc<Told>>,
    /// The last snapshot on disk.
    pub snapshot: Keyspace,
    pub dumps: Vec<Rc<Vec<Vec<u8>>>>,
    /// Whether the next RESTORE brings ids that no server here has given.
    pub restores_foreign: bool,
    /// How many events the primary refused, as it should.
    pub refused: u64,
    pub clients: Vec<Client>,
    pub last_client: u64,
    pub auditor: Auditor,
    /// When somebody last waited on a tube, by its birth.
    waited_at_ms: HashMap<u64, u64>,
    pub trace: Trace,
    pub slices: Slices,
}

/// Every third seed does very little at once, as if very much were due.
pub fn slices(seed: u64) -> Slices {
    match seed.is_multiple_of(3) {
        true => Slices { jobs: 1 + (seed / 3 % 3) as usize, tubes: 1 + (seed / 9 % 3) as usize },
        false => Slices::default(),
    }
}

pub fn settings(rng: &mut SmallRng, slices: Slices) -> Settings {
    Settings {
        slices,
        max_job_size: 100,
        ttr_ms: *pick(rng, &[50, 500, 2_000]),
        linger_ms: *pick(rng, &[0, 200, 2_000, 3_600_000]),
        drain: rng.random_bool(0.05),
        retry: Retry {
            count: *pick(rng, &[None, None, Some(0), Some(2)]),
            interval_ms: *pick(rng, &[0, 0, 100]),
        },
    }
}

pub fn pick<'a, T>(rng: &mut SmallRng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}

impl Simulation {
    pub fn new(seed: u64, trace: Trace) -> Simulation {
        let mut rng = SmallRng::seed_from_u64(seed);
        let slices = slices(seed);
        let primary = Server::primary(settings(&mut rng, slices), START_MS);
        let mut simulation = Simulation {
            now_ms: START_MS,
            now_max_ms: START_MS,
            now_min_ms: 0,
            primary,
            follower: None,
            base: Keyspace::default(),
            log: Vec::new(),
            snapshot: Keyspace::default(),
            dumps: Vec::new(),
            restores_foreign: false,
            refused: 0,
            clients: Vec::new(),
            last_client: 0,
            auditor: Auditor::default(),
            waited_at_ms: HashMap::new(),
            trace,
            slices,
            rng,
        };
        for _ in 0..6 {
            let id = simulation.new_client_id();
            simulation.clients.push(Client { id, wait: None, leases: Vec::new(), bound: Vec::new() });
        }
        simulation.attach_follower();
        simulation
    }

    pub fn run(&mut self) {
        let steps = self.rng.random_range(40..240);
        let is_at_hand = self.chance(0.7);
        for _ in 0..steps {
            self.primary.world.state.borrow_mut().is_at_hand = is_at_hand;
            self.act();
            self.audit_index();
        }
        self.primary.world.state.borrow_mut().is_paused = false;
        self.settle();
    }

    pub fn note(&self, text: impl fmt::Display) {
        self.trace.note(self.now_ms, text);
    }

    pub fn new_client_id(&mut self) -> u64 {
        self.last_client += 1;
        self.last_client
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub fn keys(&self) -> Keyspace {
        self.primary.world.state.borrow().keys.clone()
    }

    pub fn is_paused(&self) -> bool {
        self.primary.world.state.borrow().is_paused
    }

    pub fn hear_later(&self, news: News) {
        self.primary.world.state.borrow_mut().news.push_back(news);
    }

    fn act(&mut self) {
        match self.rng.random_range(0..1000) {
            0..560 => self.act_command(),
            560..690 => self.act_clock(),
            690..760 => drop(self.tick()),
            760..830 => self.deliver(),
            830..860 => self.act_disconnect(),
            860..910 => self.act_keyspace(),
            910..960 => self.act_follow(),
            960..970 => self.act_pause_writes(),
            970..980 => self.act_settings(),
            980..990 => self.act_disaster(),
            _ => self.act_save(),
        }
        // Redis goes to sleep after most commands, but not inside a MULTI.
        if self.chance(0.5) {
            self.deliver();
        }
        if self.chance(0.3) {
            self.settle();
        }
    }

    fn act_clock(&mut self) {
        let next_ms = self.primary.broker.next_tick_ms();
        match self.rng.random_range(0..20) {
            0 => {
                let back_ms = self.rng.random_range(1..3_000);
                self.now_ms = (self.now_ms - back_ms).max(self.now_min_ms);
            }
            1 => self.now_ms += self.rng.random_range(1..5_000_000),
            2..8 => self.now_ms += self.rng.random_range(0..20),
            8..12 => self.now_ms += self.rng.random_range(20..800),
            _ => {
                let Some(next_ms) = next_ms else { return };
                // To the very time, or a bit early or late.
                let next_ms = (next_ms + self.rng.random_range(0..3)).saturating_sub(1);
                self.now_ms = self.now_ms.max(next_ms);
            }
        }
        self.now_max_ms = self.now_max_ms.max(self.now_ms);
        self.note("the clock");
    }

    fn act_disconnect(&mut self) {
        let index = self.rng.random_range(0..self.clients.len());
        if self.chance(0.3) {
            self.leave(index, "CLIENT UNBLOCK");
        } else {
            self.disconnect(index);
        }
    }

    /// A client's wait ends from outside.
    fn leave(&mut self, index: usize, why: &str) {
        let Some((wait, ..)) = self.clients[index].wait.take() else { return };
        self.note(format_args!("client {}: {why}", wait.client));
        self.hear_later(News::Left { waiter: wait.number });
        self.auditor.let_go(wait.client);
    }

    /// A connection closes, and whoever used it connects again.
    pub fn disconnect(&mut self, index: usize) {
        let client = self.clients[index].id;
        self.note(format_args!("client {client} disconnects"));
        let closed_first = self.chance(0.5);
        if closed_first {
            self.hear_later(News::Closed { client });
        }
        self.leave(index, "its wait ends");
        if !closed_first {
            self.hear_later(News::Closed { client });
        }
        for key in std::mem::take(&mut self.clients[index].bound) {
            self.auditor.must_go_back(key);
        }
        self.clients[index].id = self.new_client_id();
    }

    fn act_pause_writes(&mut self) {
        let mut state = self.primary.world.state.borrow_mut();
        state.is_paused = !state.is_paused;
        let paused = state.is_paused;
        drop(state);
        self.note(if paused { "CLIENT PAUSE WRITE" } else { "CLIENT UNPAUSE" });
    }

    fn act_settings(&mut self) {
        let new = settings(&mut self.rng, self.slices);
        self.note(format_args!("CONFIG SET {new:?}"));
        self.primary.broker.settings = new;
        self.primary.broker.sweep();
    }

    /// The waiters, in the order in which they came.
    pub fn line(&self) -> Vec<Standing> {
        let mut line: Vec<Standing> =
            self.clients.iter().filter_map(|client| Some(client.wait.as_ref()?.0.clone())).collect();
        line.sort_by_key(|standing| standing.number);
        line
    }

    /// Lets something happen on the primary, and audits it.
    pub fn observe<T>(
        &mut self,
        deed: &mut Deed,
        happen: impl FnOnce(&mut Server, &mut Deed, u64) -> T,
    ) -> T {
        let before = self.keys();
        let line = self.line();
        self.auditor.latest_ms = self.now_max_ms;
        self.primary.world.state.borrow_mut().now_ms = self.now_ms;
        let reserves = self.primary.broker.totals().reserves;
        let result = happen(&mut self.primary, deed, self.now_ms);
        let reserves = self.primary.broker.totals().reserves - reserves;
        let after = self.keys();
        let settings = self.primary.broker.settings;
        let is_idle = deed.verb.is_none() && before.is_same(&after);
        let news = match is_idle {
            true => Vec::new(),
            false => self.auditor.step(&before, &after, deed, (self.now_ms, settings), &line),
        };
        self.collect();
        self.note_waiting(&after);
        for lease in &news {
            if let Some((wait, ..)) = self.wait_of(lease.worker) {
                wait.granted = true;
            }
        }
        if reserves > news.len() as u64 {
            // Jobs were set aside for some that wait, and taken away again by the same command.
            let waits = self.clients.iter_mut().filter_map(|client| client.wait.as_mut());
            waits.for_each(|(wait, ..)| wait.granted = true);
        }
        let ended = std::mem::take(&mut self.primary.world.state.borrow_mut().ended);
        for (waiter, end) in ended {
            self.told(waiter, end, &after);
        }
        // Nobody is served before those who came earlier.
        for lease in &news {
            let mine = line.iter().find(|standing| standing.client == lease.worker);
            if deed.is(&[Verb::ReserveJob]) && mine.is_none() {
                continue;
            }
            let mine = mine.map_or(u64::MAX, |standing| standing.number);
            for other in self.line() {
                let stands = !other.granted && other.places.contains(&lease.place);
                assert!(!stands || other.number >= mine, "{lease:?} overtook waiter {other:?}");
            }
        }
        if !deed.is_error {
            self.check_served(&after, deed);
        }
        result
    }

    /// After a command that writes, nobody waits on its tube while a job is ready there.
    fn check_served(&self, after: &Keyspace, deed: &Deed) {
        let looks = [Verb::Peek, Verb::Job, Verb::Claimed, Verb::Scan, Verb::Stats, Verb::Tubes];
        let ([place], false, true) = (&deed.places[..], deed.is(&looks), deed.verb.is_some()) else { return };
        if deed.is(&[Verb::Mreserve]) || self.primary.world.state.borrow().is_over(*place) {
            return;
        }
        let Some((tube, _)) = after.tube(*place) else { return };
        if tube.counts().of(State::Ready) > 0 && !tube.is_paused(self.now_ms) {
            let waits = |standing: &Standing| !standing.granted && standing.places.contains(place);
            let waiting: Vec<Standing> = self.line().into_iter().filter(waits).collect();
            assert!(waiting.is_empty(), "a job is ready in {place:?}, and there wait {waiting:?}");
        }
    }

    fn wait_of(&mut self, client: u64) -> Option<&mut (Standing, u32, Option<u32>)> {
        self.clients.iter_mut().find(|other| other.id == client)?.wait.as_mut()
    }

    /// A waiter is told how its wait ended.
    fn told(&mut self, waiter: u64, end: Ended, keys: &Keyspace) {
        let index = self
            .clients
            .iter()
            .position(|client| client.wait.as_ref().is_some_and(|(wait, ..)| wait.number == waiter))
            .unwrap_or_else(|| panic!("waiter {waiter}, who is not there, is told {end:?}"));
        let (wait, db, count) = self.clients[index].wait.take().expect("it waits");
        self.note(format_args!("client {} is told {end:?}", wait.client));
        match end {
            Ended::TimedOut => {
                assert!(wait.until_ms < self.now_ms, "a wait ended before its time");
                let untold = self.auditor.untold(wait.client);
                let goes_back = |key: &LeaseKey| self.auditor.goes_back(*key);
                assert!(untold.iter().all(goes_back), "a wait ended though {untold:?} was granted");
            }
            Ended::Denied => self.auditor.let_go(wait.client),
            Ended::Jobs(name, jobs) => {
                assert!(jobs.len() <= count.unwrap_or(1) as usize && !jobs.is_empty());
                let place = Place::of(db, name);
                assert!(wait.places.contains(&place), "a job of a tube that nobody asked for");
                let lost = self.chance(0.05);
                for job in &jobs {
                    let left_ms = job.deadline_ms.saturating_sub(self.now_ms);
                    let (body, attempt) = (job.body.clone(), u64::from(job.attempt));
                    let given = Given { place, id: job.id, n: job.n, body, attempt, left_ms };
                    self.auditor.check_job(keys, &given, wait.client, self.now_ms);
                    self.remember(index, &given, keys, wait.bound);
                }
                if lost {
                    self.note("the reply is lost");
                    let (_, birth) = keys.tube(place).expect("a tube with jobs");
                    for Taken { id, n, worker, .. } in jobs {
                        self.hear_later(News::Undelivered { db, name: name.into(), worker, id, n });
                        self.auditor.must_go_back((birth, id, n));
                    }
                    self.disconnect(index);
                }
            }
        }
    }

    pub fn remember(&mut self, index: usize, job: &Given, keys: &Keyspace, bound: bool) {
        let client = &mut self.clients[index];
        client.leases.push((job.place, job.id, job.n));
        if client.leases.len() > 10 {
            client.leases.remove(0);
        }
        if bound {
            let (_, birth) = keys.tube(job.place).expect("a tube with a reserved job");
            client.bound.push((birth, job.id, job.n));
        }
    }

    /// Takes what was told to replicas and the append-only file there.
    fn collect(&mut self) {
        for told in std::mem::take(&mut self.primary.world.state.borrow_mut().told) {
            let told = Rc::new(told);
            self.trace.event(self.now_ms, &told.op);
            self.log.push(Rc::clone(&told));
            if let Some(follower) = &mut self.follower {
                follower.queue.push_back(told);
            }
        }
    }

    pub fn tick(&mut self) -> Ticked {
        let keys = self.keys();
        let linger_ms = self.primary.broker.settings.linger_ms;
        // Where idle tubes do not linger, they go at once.
        let until_ms = if linger_ms == 0 { self.now_ms + 1 } else { self.now_ms };
        let is_quiet = keys
            .tubes()
            .all(|(_, tube, _)| tube.next_deadline_ms(linger_ms).is_none_or(|at_ms| at_ms >= until_ms))
            && self.auditor.is_quiet()
            && self.line().is_empty()
            && keys.0.values().all(|entry| entry.expires_at_ms.is_none());
        let ticked = self.observe(&mut Deed { is_tick: true, ..Deed::default() }, |server, _, now_ms| {
            server.broker.tidy(&mut server.world);
            server.broker.tick(&mut server.world, now_ms)
        });
        assert!(ticked == Ticked::Done || self.is_paused(), "a tick was refused");
        if is_quiet {
            let after = self.keys();
            let same = |(place, tube, _): (Place, &Rc<_>, _)| {
                after.tube(place).is_some_and(|(other, _)| Rc::ptr_eq(tube, other))
            };
            assert!(keys.tubes().all(same), "a tick had nothing to do, and did something");
        }
        ticked
    }

    pub fn deliver(&mut self) {
        let denies = self.chance(0.03);
        self.primary.world.state.borrow_mut().denies = denies;
        // What nobody was told of in time goes back if the clock steps back, and it holds again.
        let untold = self.clients.iter().flat_map(|client| self.auditor.perhaps_untold(client.id));
        for key in untold.collect::<Vec<_>>() {
            if self.auditor.is_over(key, self.now_ms) {
                self.auditor.may_go_back(key);
            }
        }
        // Whoever was granted jobs is told of them, or takes its place in line again.
        self.clients.iter_mut().for_each(|client| {
            if let Some((wait, ..)) = &mut client.wait {
                wait.granted = false;
            }
        });
        self.observe(&mut Deed::default(), |server, _, now_ms| {
            server.broker.deliver(&mut server.world, now_ms);
        });
        self.primary.world.state.borrow_mut().denies = false;
        assert!(!self.primary.broker.has_deliveries());
    }

    /// Lets everything happen that is to happen now.
    fn settle(&mut self) {
        if self.is_paused() {
            return;
        }
        for _ in 0..100 {
            self.deliver();
            let is_due = self.primary.broker.next_tick_ms().is_some_and(|at_ms| at_ms <= self.now_ms);
            if !is_due && self.primary.world.state.borrow().news.is_empty() {
                return self.check_settled();
            }
            self.tick();
        }
        panic!("it never settles");
    }

    fn check_settled(&mut self) {
        self.auditor.check_settled(self.now_ms);
        let keys = self.keys();
        let due_at_ms = self.due_at_ms(&keys);
        assert!(
            due_at_ms.is_none_or(|at_ms| over_ms(at_ms) > self.now_ms),
            "something was due and did not happen"
        );
        for standing in self.line() {
            assert!(standing.until_ms >= self.now_ms, "{standing:?} waits for too long");
            for place in &standing.places {
                let Some((tube, _)) = keys.tube(*place) else { continue };
                let expires_at_ms = keys.0.get(place).and_then(|entry| entry.expires_at_ms);
                let is_over = expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
                let is_ready = tube.counts().of(State::Ready) > 0 && !tube.is_paused(self.now_ms);
                assert!(is_over || !is_ready, "a job is ready in {place:?}, and there waits {standing:?}");
            }
        }
    }

    /// When something next happens by itself in one of the tubes. Where somebody waits, or did lately, an idle
    /// tube stays.
    fn due_at_ms(&self, keys: &Keyspace) -> Option<u64> {
        let linger_ms = self.primary.broker.settings.linger_ms;
        let is_over = |place: Place| {
            let expires_at_ms = keys.0.get(&place).and_then(|entry| entry.expires_at_ms);
            expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms)
        };
        keys.tubes()
            .filter(|(place, ..)| !is_over(*place))
            .filter_map(|(_, tube, birth)| {
                let at_ms = tube.next_deadline_ms(linger_ms)?;
                let waited_at_ms = self.waited_at_ms.get(&birth).filter(|_| tube.is_idle() && linger_ms > 0);
                let stays_ms = waited_at_ms.map_or(0, |at_ms| at_ms + linger_ms.max(1_000));
                Some(at_ms.max(stays_ms))
            })
            .min()
    }

    fn note_waiting(&mut self, keys: &Keyspace) {
        for place in self.line().into_iter().flat_map(|standing| standing.places) {
            if let Some((_, birth)) = keys.tube(place) {
                let at_ms = self.waited_at_ms.entry(birth).or_default();
                *at_ms = self.now_ms.max(*at_ms);
            }
        }
    }

    /// The index is true: as many tubes and jobs as there are, and no deadline later than the true one.
    fn audit_index(&mut self) {
        let keys = self.keys();
        self.note_waiting(&keys);
        if let Some(follower) = &self.follower
            && follower.queue.is_empty()
            && self.primary.world.state.borrow().needs_events
        {
            let theirs = follower.server.world.state.borrow();
            assert_same(&theirs.keys, &keys);
            if theirs.news.is_empty() {
                check_counts(&follower.server, &theirs.keys);
            }
        }
        if !self.primary.world.state.borrow().news.is_empty() {
            return;
        }
        if check_counts(&self.primary, &keys) > 0 {
            self.now_min_ms = self.now_ms;
        }
        assert_eq!(self.primary.broker.role(), Role::Primary);
        assert_eq!(self.primary.broker.apply_errors(), self.refused, "an event was refused");
        if let Some(due_at_ms) = self.due_at_ms(&keys) {
            let next_ms = self.primary.broker.next_tick_ms();
            assert!(
                next_ms.is_some_and(|next_ms| next_ms <= over_ms(due_at_ms)),
                "the next tick is at {next_ms:?}, and something is due at {due_at_ms}"
            );
        }
    }

    pub fn attach_follower(&mut self) {
        let settings = settings(&mut self.rng, self.slices);
        let form = *pick(&mut self.rng, &[Form::Snapshot, Form::Events]);
        self.note(format_args!("a follower comes, loads {form:?}"));
        let expected = self.keys();
        let server = Server::follower(settings, &expected, form, self.now_ms);
        self.follower = Some(Follower { server, queue: VecDeque::new(), expected });
    }

    /// Sends one command.
    pub fn send(&mut self, index: usize, db: u32, args: &[Vec<u8>], mut deed: Deed) -> Outcome {
        let client = self.clients[index].id;
        assert!(self.clients[index].wait.is_none());
        deed.client = client;
        let sender = Sender { id: client, may_wait: deed.may_wait, in_script: false };
        let before = self.keys();
        let outcome = {
            let trace = self.trace.clone();
            let now_ms = self.now_ms;
            trace.command(now_ms, client, db, args);
            self.observe(&mut deed, |server, deed, now_ms| {
                let outcome = server.run(sender, db, args, now_ms);
                trace.reply(&outcome);
                match &outcome {
                    Outcome::Reply(reply) => deed.reply = Some(reply.clone()),
                    Outcome::Waits(_) => {}
                    Outcome::Error(_) => deed.is_error = true,
                }
                outcome
            })
        };
        let keys = self.keys();
        match &outcome {
            Outcome::Error(_) => self.check_unchanged(&before, &keys),
            Outcome::Reply(_) => {
                deed.given().iter().for_each(|job| self.remember(index, job, &keys, deed.bound));
            }
            Outcome::Waits(wait) => {
                let number = self.primary.broker.wait(wait.clone());
                let standing = Standing {
                    number,
                    client,
                    places: wait.names.iter().map(|name| Place::of(db, name)).collect(),
                    ttr_ms: wait.ttr_ms,
                    bound: wait.bound,
                    until_ms: wait.until_ms,
                    granted: false,
                };
                self.clients[index].wait = Some((standing, db, wait.count));
                self.note_waiting(&keys);
            }
        }
        outcome
    }

    pub fn check_unchanged(&self, before: &Keyspace, after: &Keyspace) {
        for (place, entry) in before.0.iter() {
            let is_over = entry.expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
            assert!(is_over || after.0.contains_key(place), "an error took {place:?} away");
        }
        for (place, tube, _) in after.tubes() {
            let (old, _) = before.tube(place).expect("an error created a tube");
            assert!(Rc::ptr_eq(old, tube), "an error changed {place:?}");
        }
    }
}

/// Returns how many tubes need not be known.
fn check_counts(server: &Server, keys: &Keyspace) -> usize {
    let state = server.world.state.borrow();
    let is_known = |place: &Place| {
        server.broker.tubes_from(place.db, place.name()).next().is_some_and(|name| **name == *place.name())
    };
    // While changes are not allowed, a key whose time is over is still there, and nobody sees it. A tube that came to be
    // such a one before it was heard of is not learned of any more.
    let tubes = || keys.tubes().filter(|(place, ..)| !state.is_over(*place) || is_known(place));
    let mut counts = phean::queue::Counts::default();
    tubes().for_each(|(_, tube, _)| counts.plus(&tube.counts()));
    assert_eq!(server.broker.jobs(), counts, "the index does not know how many jobs there are");
    assert_eq!(server.broker.tubes(), tubes().count(), "the index does not know how many tubes there are");
    for db in 0..super::world::DBS {
        let known: Vec<&[u8]> = server.broker.tubes_from(db, b"").map(|name| &**name).collect();
        let mut names: Vec<&[u8]> =
            tubes().filter(|(place, ..)| place.db == db).map(|(place, ..)| place.name()).collect();
        names.sort_unstable();
        assert_eq!(known, names, "the index does not know the tubes");
    }
    keys.tubes().count() - tubes().count()
}
