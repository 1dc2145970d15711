//! What happens to a server besides its commands: keys come and go, it crashes and comes back, another takes
//! its place.

use std::collections::VecDeque;
use std::rc::Rc;

use phean::broker::{News, Role};
use phean::queue::{Change, Tube};
use rand::Rng;

use super::deed::Deed;
use super::server::{Form, Server, assert_same};
use super::simulation::{Follower, Simulation, pick, settings};
use super::world::{DBS, Keyspace, Op, Place, save};

impl Simulation {
    pub fn act_keyspace(&mut self) {
        if self.is_paused() {
            return;
        }
        let times = if self.chance(0.3) { self.rng.random_range(2..5) } else { 1 };
        for _ in 0..times {
            if self.chance(0.15) {
                self.note("Redis looks for expired keys");
                self.keyspace(None);
            } else {
                let op = self.op();
                self.keyspace(Some(&op));
            }
        }
    }

    fn op(&mut self) -> Op {
        let (a, b) = (self.place_for_keys(), self.place_for_keys());
        match self.rng.random_range(0..20) {
            0 | 1 => Op::Del(a),
            2 => Op::SetText(a),
            3..7 => Op::Rename(a, Place { db: a.db, ..b }),
            7 | 8 => Op::Rename(a, Place { db: (a.db + 1) % DBS, ..a }),
            9..12 => Op::Copy(a, b),
            12 | 13 => Op::Swap(0, 1),
            14 => Op::Flush(if self.chance(0.7) { Some(a.db) } else { None }),
            15..18 => Op::Restore(a, self.dump(b)),
            _ => Op::Expire(a, self.now_ms + self.rng.random_range(0..1_500)),
        }
    }

    /// What `DUMP` gives for a tube, now or once before, or on another server.
    fn dump(&mut self, place: Place) -> Rc<Vec<Vec<u8>>> {
        if let Some((tube, _)) = self.keys().tube(place) {
            self.dumps.push(Rc::new(save(tube)));
        }
        if self.dumps.is_empty() || self.chance(0.5) {
            let pieces = Rc::new(save(&self.foreign_tube()));
            self.dumps.push(Rc::clone(&pieces));
            self.restores_foreign = true;
            return pieces;
        }
        Rc::clone(pick(&mut self.rng, &self.dumps))
    }

    /// A tube whose ids no server here has given. It is restored at once, or they might be given meanwhile.
    fn foreign_tube(&mut self) -> Tube {
        let mut tube = Tube::new(self.now_ms);
        for _ in 0..self.rng.random_range(0..4) {
            let id = self.auditor.id_max + self.rng.random_range(1..4);
            let body = format!("from elsewhere {id}");
            self.auditor.note_id(id, body.as_bytes());
            let delay_ms = *pick(&mut self.rng, &[0, 0, 40]);
            let put = Change::Put { id, pri: 9, delay_ms, ttr_ms: 300, body: body.as_bytes() };
            tube.apply(self.now_ms, &put);
            if self.chance(0.3) {
                tube.apply(self.now_ms, &Change::Reserve { id, n: self.now_ms, worker: 0, ttr_ms: 300 });
                if self.chance(0.3) {
                    tube.apply(self.now_ms, &Change::Bury { id, pri: 9 });
                }
            }
        }
        tube
    }

    /// A command of Redis' own, or its hunt for expired keys.
    fn keyspace(&mut self, op: Option<&Op>) {
        let before = self.keys();
        let mut deed = Deed { is_keyspace: true, ..Deed::default() };
        self.observe(&mut deed, |server, _, _| {
            let mut state = server.world.state.borrow_mut();
            match op {
                Some(op) => drop(state.execute(op)),
                None => state.expire_all(),
            }
        });
        // Who was granted a job of a tube that went elsewhere does not get it, unless the tube comes back in time.
        let after = self.keys();
        let untold = self.clients.iter().flat_map(|client| self.auditor.perhaps_untold(client.id));
        for key in untold.collect::<Vec<_>>() {
            let place =
                |keys: &Keyspace| keys.tubes().find(|(_, _, birth)| *birth == key.0).map(|(place, ..)| place);
            if place(&before) != place(&after) {
                self.auditor.may_go_back(key);
            }
        }
        // The host lifts ids as soon as it has read a tube's bytes, even if the tube is gone a moment later.
        let is_restored = matches!(op, Some(Op::Restore(..)));
        let is_foreign = is_restored && std::mem::take(&mut self.restores_foreign);
        if is_foreign || self.chance(0.5) {
            self.primary.hear();
        }
    }

    pub fn act_follow(&mut self) {
        let Some(follower) = &mut self.follower else {
            if self.primary.world.state.borrow().needs_events {
                self.attach_follower();
            }
            return;
        };
        let all = follower.queue.len();
        let count = if self.rng.random_bool(0.6) { all } else { self.rng.random_range(0..=all) };
        follower.take(count, self.now_ms);
        follower.server.hear();
        // A follower's ticks and deliveries do nothing.
        follower.server.broker.tick(&mut follower.server.world, self.now_ms);
        follower.server.broker.deliver(&mut follower.server.world, self.now_ms);
        self.note(format_args!("the follower has got {count} of {all}"));
    }

    /// The append-only file is rewritten, a snapshot is saved, or nobody needs events for a while.
    pub fn act_save(&mut self) {
        let keys = self.keys();
        match self.rng.random_range(0..4) {
            0 => {
                self.note("BGREWRITEAOF");
                self.base = keys;
                self.log.clear();
            }
            1 => {
                self.note("BGSAVE");
                self.snapshot = keys;
            }
            2 => {
                self.note("no replica and no append-only file");
                self.follower = None;
                self.snapshot = keys;
                self.primary.world.state.borrow_mut().needs_events = false;
            }
            _ => {
                if !self.primary.world.state.borrow().needs_events {
                    self.note("appendonly yes");
                    self.start_log();
                }
            }
        }
    }

    fn start_log(&mut self) {
        self.primary.world.state.borrow_mut().needs_events = true;
        self.base = self.keys();
        self.log.clear();
    }

    pub fn act_disaster(&mut self) {
        // Whoever comes back, or takes over, has a clock that is not behind: ids and leases rest on that.
        let id_max_ms = self.auditor.id_max / 1000 + 1;
        let clock_ms = self.now_max_ms.max(self.auditor.n_max).max(id_max_ms);
        self.now_ms = clock_ms + self.rng.random_range(1..200);
        self.now_max_ms = self.now_ms;
        self.now_min_ms = self.now_ms;
        match self.rng.random_range(0..3) {
            0 if self.follower.is_some() => self.fail_over(),
            1 if self.follower.is_some() => self.trade_places(),
            _ => self.crash(),
        }
    }

    /// The server dies and comes back with what is on its disk.
    fn crash(&mut self) {
        let needs_events = self.primary.world.state.borrow().needs_events;
        let from_log = needs_events && self.chance(0.8);
        let base = if from_log { self.base.clone() } else { self.snapshot.clone() };
        let form = *pick(&mut self.rng, &[Form::Snapshot, Form::Events]);
        let mut server = Server::follower(settings(&mut self.rng, self.slices), &base, form, self.now_ms);
        let mut expected = base;
        if from_log {
            let lost = if self.chance(0.5) { self.rng.random_range(0..4) } else { 0 };
            let kept = self.log.len().saturating_sub(lost);
            self.note(format_args!("a crash: {form:?} and {kept} of {} events are there", self.log.len()));
            for told in &self.log[..kept] {
                server.follow_closely(told, self.now_ms);
                expected = told.after.clone();
            }
        } else {
            self.note(format_args!("a crash: an old snapshot is there, as {form:?}"));
        }
        self.take_over(server, &expected);
        if self.chance(0.5) {
            self.attach_follower();
        }
    }

    /// The primary dies, and the follower takes over with what it got.
    fn fail_over(&mut self) {
        let Some(mut follower) = self.follower.take() else { return };
        let all = follower.queue.len();
        let kept = self.rng.random_range(0..=all);
        self.note(format_args!("a failover: the follower has got {kept} of {all} more"));
        follower.take(kept, self.now_ms);
        self.take_over(follower.server, &follower.expected);
        self.attach_follower();
    }

    /// The follower becomes the primary, and the primary its follower.
    fn trade_places(&mut self) {
        let Some(mut follower) = self.follower.take() else { return };
        self.note("the follower and the primary trade places");
        follower.take(follower.queue.len(), self.now_ms);
        let Follower { server: new, expected, .. } = follower;
        let leave = |simulation: &Simulation| {
            for standing in simulation.line() {
                simulation.hear_later(News::Left { waiter: standing.number });
            }
            for client in &simulation.clients {
                simulation.hear_later(News::Closed { client: client.id });
            }
        };
        let leave_first = self.chance(0.5);
        if leave_first {
            leave(self);
        }
        self.primary.world.state.borrow_mut().is_primary = false;
        self.primary.world.state.borrow_mut().is_paused = false;
        self.primary.broker.set_role(Role::Follower, self.now_ms * 1000);
        if !leave_first {
            leave(self);
        }
        let now_ms = self.now_ms;
        self.primary.hear();
        let mut old = self.take_over(new, &expected);
        let expected = self.keys();
        old.synchronize(&expected, now_ms);
        assert_eq!(old.broker.waiting(), 0, "somebody still waits on a follower");
        self.follower = Some(Follower { server: old, queue: VecDeque::new(), expected });
    }

    /// `server` becomes the primary. Nobody is connected any longer.
    fn take_over(&mut self, mut server: Server, expected: &Keyspace) -> Server {
        server.hear();
        let births = self.primary.world.state.borrow().births();
        {
            let mut state = server.world.state.borrow_mut();
            assert_same(&state.keys, expected);
            state.keys.take_births(expected);
            state.skip_births(births);
            state.is_primary = true;
            state.is_paused = false;
            state.needs_events = true;
            state.now_ms = self.now_ms;
            state.told.clear();
        }
        server.broker.set_role(Role::Primary, self.now_ms * 1000);
        self.refused = server.broker.apply_errors();
        let old = std::mem::replace(&mut self.primary, server);
        self.follower = None;
        for index in 0..self.clients.len() {
            self.clients[index].id = self.new_client_id();
            self.clients[index].wait = None;
            self.clients[index].bound.clear();
        }
        let keys = self.keys();
        self.auditor.roll_back(&keys);
        self.snapshot = keys;
        self.start_log();
        old
    }
}
