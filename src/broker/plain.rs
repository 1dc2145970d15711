//! The usual case of a step: a tube that is at hand, where nothing is due and nobody waits. Then a command comes to its
//! one change, and to little of what [`Step`](super::Step) does around it. What is done here must come to the same as
//! what is done there.

use std::hint::cold_path;

use crate::codec;
use crate::queue::{Change, is_over};

use super::step::{is_nearer, kinds, may_bring_nearer};
use super::{Broker, Key, Record, Role, World};

impl Broker {
    /// Opens a tube for one [plain change](Broker::make_plain); `None` if there is more to a step than that, or if the
    /// tube is not at hand.
    #[inline(always)]
    pub fn open_plain<W: World>(&self, world: &mut W, db: u32, name: &[u8], now_ms: u64) -> Option<W::Key> {
        let is_plain = self.role == Role::Primary
            && self.line.nobody_waits_on(db, name)
            && self.sessions.is_empty()
            && self.port.is_none()
            && self.unseen.is_empty()
            && self.settings.linger_ms > 0;
        let key = if is_plain { world.open_at_hand(db, name) } else { None };
        key.filter(|key| key.tube().is_some_and(|tube| !is_over(tube.due_ms(), now_ms)))
    }

    /// Makes a change that was decided on a tube that was [opened](Broker::open_plain) for it.
    #[inline(always)]
    pub fn make_plain<W: World>(
        &mut self,
        world: &mut W,
        mut key: W::Key,
        (db, name): (u32, &[u8]),
        now_ms: u64,
        change: &Change<'_>,
    ) {
        let needs_event = world.needs_events();
        if needs_event {
            cold_path();
            self.write_event(now_ms, change);
        }
        if let Some(tube) = key.tube_mut() {
            let due_ms = tube.due_ms();
            tube.apply_counting(now_ms, change, self.names.jobs_of(db));
            if may_bring_nearer(change) && is_nearer(tube, due_ms) {
                cold_path();
                self.attend_sooner(db, name, tube.next_deadline_ms(self.settings.linger_ms), due_ms);
            }
        }
        self.totals.count(change, 0);
        key.close();
        if needs_event || !world.commit_unheard(db, name) {
            cold_path();
            let record = if needs_event { Record::Event(&self.buffer) } else { Record::Nobody };
            world.commit(db, name, record, kinds(change));
        }
    }

    #[inline(never)]
    fn write_event(&mut self, now_ms: u64, change: &Change<'_>) {
        self.begin_event(now_ms);
        codec::push_change(change, &mut self.buffer);
    }

    /// Has a tube looked at by this time, if it may not be otherwise: the index has it looked at by `known_ms`.
    fn attend_sooner(&mut self, db: u32, name: &[u8], at_ms: Option<u64>, known_ms: u64) {
        if let Some(at_ms) = at_ms.filter(|at_ms| *at_ms < known_ms) {
            self.names.attend(db, name, at_ms);
        }
    }
}
