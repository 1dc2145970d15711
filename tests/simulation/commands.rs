//! Random commands, good ones and bad ones.

use phean::codec;
use phean::commands::Verb;
use phean::queue::{Handle, State};
use rand::Rng;

use super::deed::Deed;
use super::server::Outcome;
use super::simulation::{Simulation, pick};
use super::world::{DBS, NAMES, NAMES_USED, Place};

const STATES: [(&str, State); 4] = [
    ("READY", State::Ready),
    ("delayed", State::Delayed),
    ("Buried", State::Buried),
    ("RESERVED", State::Reserved),
];

/// A command that is being put together.
struct Draft {
    args: Vec<Vec<u8>>,
    deed: Deed,
    db: u32,
}

impl Draft {
    fn new(verb: Verb, name: &str, place: Place) -> Draft {
        let deed = Deed { verb: Some(verb), places: vec![place], ..Deed::default() };
        Draft { args: vec![name.into(), place.name().to_vec()], deed, db: place.db }
    }

    fn word(&mut self, word: impl AsRef<[u8]>) {
        self.args.push(word.as_ref().to_vec());
    }

    fn number(&mut self, number: impl ToString) {
        self.word(number.to_string());
    }

    fn seconds(&mut self, ms: u64) {
        self.word(format!("{}.{:03}", ms / 1000, ms % 1000));
    }
}

impl Simulation {
    fn place(&mut self) -> Place {
        // One tube is liked best, so that something happens there.
        let name = if self.chance(0.5) { 0 } else { self.rng.random_range(0..NAMES_USED) };
        let db = if self.chance(0.8) { 0 } else { self.rng.random_range(0..DBS) };
        Place { db, name }
    }

    pub fn place_for_keys(&mut self) -> Place {
        self.place()
    }

    fn duration_ms(&mut self) -> u64 {
        match self.rng.random_range(0..4) {
            0 => 0,
            1 => self.rng.random_range(1..20),
            2 => self.rng.random_range(20..1_000),
            _ => self.rng.random_range(1_000..5_000),
        }
    }

    pub fn act_command(&mut self) {
        let idle: Vec<usize> = (0..self.clients.len()).filter(|i| self.clients[*i].wait.is_none()).collect();
        let Some(index) = (!idle.is_empty()).then(|| *pick(&mut self.rng, &idle)) else {
            // All of them wait: somebody new comes and puts something.
            let index = self.rng.random_range(0..self.clients.len());
            return self.disconnect(index);
        };
        if self.is_paused() {
            return self.look(index);
        }
        let mut draft = match self.rng.random_range(0..100) {
            0..28 => self.draft_put(),
            28..58 => self.draft_reserve(),
            58..62 => self.draft_reservejob(index),
            62..86 => self.draft_finish(index),
            86..94 => self.draft_operator(index),
            94 => return self.replay(index),
            _ => return self.look(index),
        };
        if self.chance(0.03) {
            self.spoil(&mut draft);
        }
        let Draft { args, deed, db } = draft;
        self.send(index, db, &args, deed);
    }

    /// Makes a command wrong, in one of the many ways.
    fn spoil(&mut self, draft: &mut Draft) {
        let wrong: &[&[u8]] = &[b"BOGUS", b"-1", b"4294967296", b"", b"nan", b"\0\xff%s"];
        let word = pick(&mut self.rng, wrong).to_vec();
        draft.word(word);
    }

    fn draft_put(&mut self) -> Draft {
        let place = self.place();
        let many = self.chance(0.2);
        let count = if many { self.rng.random_range(1..5) } else { 1 };
        let (verb, name) = if many { (Verb::Mput, "MPUT") } else { (Verb::Put, "PUT") };
        let mut draft = Draft::new(verb, name, place);
        if many {
            draft.number(count);
        }
        for _ in 0..count {
            let size = if self.chance(0.01) { 101 } else { self.rng.random_range(0..9) };
            let body: Vec<u8> = (0..size).map(|_| self.rng.random_range(b'a'..=b'z')).collect();
            draft.word(&body);
            draft.deed.bodies.push(body);
        }
        if self.chance(0.4) {
            let pri = *pick(&mut self.rng, &[0, 1, 2, 1023, 5_000]);
            draft.deed.pri = Some(pri);
            draft.word("PRI");
            draft.number(pri);
        }
        if self.chance(0.3) {
            let delay_ms = self.duration_ms();
            draft.deed.delay_ms = Some(delay_ms);
            draft.word("delay");
            draft.seconds(delay_ms);
        }
        self.add_ttr(&mut draft);
        draft
    }

    fn add_ttr(&mut self, draft: &mut Draft) {
        if self.chance(0.3) {
            let ttr_ms = self.duration_ms().max(1);
            draft.deed.ttr_ms = Some(ttr_ms);
            draft.word("TTR");
            draft.seconds(ttr_ms);
        }
    }

    fn draft_reserve(&mut self) -> Draft {
        let place = self.place();
        let mut draft = Draft::new(Verb::Reserve, "RESERVE", place);
        if self.chance(0.4) {
            let count = self.rng.random_range(1..4);
            draft = Draft::new(Verb::Mreserve, "MRESERVE", place);
            draft.args.truncate(1);
            draft.deed.places.clear();
            draft.number(count);
            for _ in 0..count {
                let name = self.rng.random_range(0..NAMES_USED);
                draft.word(NAMES[name]);
                draft.deed.places.push(Place { name, ..place });
            }
        }
        draft.deed.may_wait = self.chance(0.9);
        if self.chance(0.7) {
            let timeout_ms = self.duration_ms() * 4;
            draft.word("TIMEOUT");
            draft.seconds(timeout_ms);
        }
        if self.chance(0.3) {
            let count = self.rng.random_range(1..5);
            draft.deed.count = Some(count);
            draft.word("COUNT");
            draft.number(count);
        }
        self.add_ttr(&mut draft);
        if self.chance(0.3) {
            draft.deed.bound = true;
            draft.word("BOUND");
        }
        draft
    }

    /// A lease, its own or another's, old or new, or a bare id.
    fn handle(&mut self, index: usize, place: Place) -> (Handle, Place) {
        let other = self.rng.random_range(0..self.clients.len());
        let index = if self.chance(0.8) { index } else { other };
        let leases = &self.clients[index].leases;
        if !leases.is_empty() && self.rng.random_bool(0.8) {
            let (place, id, n) = *pick(&mut self.rng, leases);
            return (Handle::lease(id, n), place);
        }
        let keys = self.keys();
        let jobs: Vec<(u64, u64)> = keys.tube(place).map_or_else(Vec::new, |(tube, _)| {
            tube.jobs().map(|job| (job.id, job.reservation.map_or(1, |r| r.n))).collect()
        });
        if jobs.is_empty() || self.chance(0.05) {
            let id = self.rng.random_range(1..self.auditor.id_max + 2);
            return (Handle { id, n: self.chance(0.5).then_some(self.now_ms) }, place);
        }
        let (id, n) = *pick(&mut self.rng, &jobs);
        (Handle { id, n: self.chance(0.2).then_some(n) }, place)
    }

    fn add_handle(&mut self, draft: &mut Draft, handle: Handle) {
        draft.deed.handles.push(handle);
        draft.word(match handle.n {
            Some(n) => format!("{}-{n}", handle.id),
            None => handle.id.to_string(),
        });
    }

    fn add_handles(&mut self, draft: &mut Draft, index: usize, first: Handle) {
        let place = draft.deed.places[0];
        self.add_handle(draft, first);
        while self.chance(0.2) {
            let (handle, there) = self.handle(index, place);
            let handle = if there == place || self.chance(0.1) { handle } else { first };
            self.add_handle(draft, handle);
        }
    }

    fn draft_reservejob(&mut self, index: usize) -> Draft {
        let place = self.place();
        let (handle, place) = self.handle(index, place);
        let mut draft = Draft::new(Verb::ReserveJob, "RESERVEJOB", place);
        self.add_handle(&mut draft, handle);
        self.add_ttr(&mut draft);
        if self.chance(0.2) {
            draft.deed.bound = true;
            draft.word("bound");
        }
        draft
    }

    fn draft_finish(&mut self, index: usize) -> Draft {
        let place = self.place();
        let (handle, place) = self.handle(index, place);
        let (verb, name) = *pick(
            &mut self.rng,
            &[
                (Verb::Delete, "DELETE"),
                (Verb::Delete, "DELETE"),
                (Verb::Release, "RELEASE"),
                (Verb::Release, "RELEASE"),
                (Verb::Bury, "BURY"),
                (Verb::Touch, "TOUCH"),
            ],
        );
        let mut draft = Draft::new(verb, name, place);
        self.add_handles(&mut draft, index, handle);
        if matches!(verb, Verb::Release | Verb::Bury) && self.chance(0.3) {
            draft.deed.pri = Some(7);
            draft.word("PRI");
            draft.number(7);
        }
        if verb == Verb::Release && self.chance(0.3) {
            let delay_ms = self.duration_ms();
            draft.deed.delay_ms = Some(delay_ms);
            draft.word("DELAY");
            draft.seconds(delay_ms);
        }
        if verb == Verb::Release && self.chance(0.2) {
            draft.deed.untried = true;
            draft.word("UNTRIED");
        }
        if verb == Verb::Touch && self.chance(0.5) {
            let for_ms = self.duration_ms();
            draft.deed.for_ms = Some(for_ms);
            draft.word("FOR");
            draft.seconds(for_ms);
        }
        draft
    }

    fn draft_operator(&mut self, index: usize) -> Draft {
        let place = self.place();
        let (handle, there) = self.handle(index, place);
        match self.rng.random_range(0..7) {
            0 => {
                let mut draft = Draft::new(Verb::Kick, "KICK", place);
                draft.number(self.rng.random_range(0..4));
                draft
            }
            1 => {
                let mut draft = Draft::new(Verb::KickJob, "KICKJOB", there);
                self.add_handles(&mut draft, index, handle);
                draft
            }
            2 => {
                let mut draft = Draft::new(Verb::Prioritize, "PRIORITIZE", there);
                self.add_handle(&mut draft, handle);
                draft.deed.pri = Some(3);
                draft.number(3);
                draft
            }
            3 => {
                let mut draft = Draft::new(Verb::Delay, "DELAY", there);
                self.add_handle(&mut draft, handle);
                let delay_ms = self.duration_ms();
                draft.deed.delay_ms = Some(delay_ms);
                draft.seconds(delay_ms);
                draft
            }
            4 | 5 => {
                let mut draft = Draft::new(Verb::Pause, "PAUSE", place);
                let for_ms = self.duration_ms();
                draft.seconds(for_ms);
                draft
            }
            _ => {
                let mut draft = Draft::new(Verb::Clear, "CLEAR", place);
                while self.chance(0.4) {
                    let (word, state) = *pick(&mut self.rng, &STATES);
                    draft.word(word);
                    draft.deed.states.push(state);
                }
                draft
            }
        }
    }

    /// Somebody moves a tube here from elsewhere, event by event, or sends an event that cannot be.
    fn replay(&mut self, index: usize) {
        let (from, to) = (self.place(), self.place());
        let keys = self.keys();
        let mut events = vec![b"\x01\x00\x02\x01".to_vec()];
        if let Some((tube, _)) = keys.tube(from) {
            events.clear();
            codec::rewrite_as_events(tube, |event| events.push(event.to_vec()));
        }
        for mut event in events {
            if self.chance(0.2) {
                event.truncate(self.rng.random_range(0..event.len()));
            }
            let mut draft = Draft::new(Verb::Apply, "APPLY", to);
            draft.word(&event);
            let outcome = self.send(index, to.db, &draft.args, draft.deed);
            self.refused += u64::from(matches!(outcome, Outcome::Error(_)));
        }
    }

    /// Looks at something, and compares it with what is there.
    fn look(&mut self, index: usize) {
        let place = self.place();
        let before = self.keys();
        let (handle, there) = self.handle(index, place);
        let mut draft = match self.rng.random_range(0..6) {
            0 => {
                let mut draft = Draft::new(Verb::Peek, "PEEK", place);
                draft.word(STATES[self.rng.random_range(0..4)].0);
                draft
            }
            1 => {
                let mut draft = Draft::new(Verb::Job, "JOB", there);
                self.add_handle(&mut draft, handle);
                draft
            }
            2 => Draft::new(Verb::Claimed, "CLAIMED", place),
            3 => {
                let mut draft = Draft::new(Verb::Scan, "SCAN", place);
                draft.number(0);
                draft
            }
            4 => Draft::new(Verb::Stats, "STATS", place),
            _ => Draft::new(Verb::Tubes, "TUBES", place),
        };
        let (verb, place) = (draft.deed.verb, draft.deed.places[0]);
        if verb == Some(Verb::Tubes) {
            draft.args.truncate(1);
        }
        let outcome = self.send(index, draft.db, &draft.args, draft.deed);
        self.check_unchanged(&before, &self.keys());
        let Outcome::Reply(reply) = outcome else { return };
        let keys = self.keys();
        let is_over = self.primary.world.state.borrow().is_over(place);
        let tube = keys.tube(place).map(|(tube, _)| tube).filter(|_| !is_over);
        let reserved = tube.map_or(0, |tube| tube.counts().of(State::Reserved));
        match verb {
            Some(Verb::Claimed) => assert_eq!(reply.array().len() as u64, reserved),
            Some(Verb::Stats) => {
                assert_eq!(reply.field("current-jobs-reserved").integer(), reserved);
                let name = reply.field("name").bytes();
                assert_eq!(name, place.name());
            }
            Some(Verb::Tubes) => {
                let state = self.primary.world.state.borrow();
                let mut names: Vec<&[u8]> = keys
                    .tubes()
                    .filter(|(other, ..)| other.db == place.db && !state.is_over(*other))
                    .map(|(other, ..)| other.name())
                    .collect();
                names.sort_unstable();
                let shown: Vec<&[u8]> = reply.array().iter().map(|name| name.bytes()).collect();
                if state.news.is_empty() {
                    assert_eq!(shown, names);
                }
            }
            _ => {}
        }
    }
}
