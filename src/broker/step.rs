//! What one command, or one tick, does to one tube.
//!
//! ```text
//! begin    open the key, and end what is over by now
//! make     apply one decided change, and note it in the event          (any number of times)
//! finish   hand ready jobs to those who wait, take an idle tube away, close the key,
//!          make the event known, look after the tube's next deadline
//! ```

use crate::codec;
use crate::queue::decide::{self, Worker};
use crate::queue::{Change, Counts, Then, Trash, Tube, Why};

use super::line::Grant;
use super::names::Name;
use super::{Access, Broker, Key, Kind, Kinds, Record, Role, World, WrongType};

/// A command or a tick ends, or promotes, at most so many overdue jobs before it does its own work.
pub(super) const SLICE: usize = 256;

/// One tube, open to be changed. Nothing is made known before [`Step::finish`], which must be called.
#[must_use = "a step that is not finished is not made known"]
pub struct Step<'a, W: World> {
    broker: &'a mut Broker,
    world: &'a mut W,
    key: W::Key,
    db: u32,
    name: &'a [u8],
    now_ms: u64,
    event: Event,
    kinds: Kinds,
    before: Option<Before>,
    changes: usize,
    removed: bool,
}

/// What the tube was like when the step began.
struct Before {
    counts: Counts,
    deadline_ms: Option<u64>,
}

/// The event that is being written.
enum Event {
    /// Nothing has changed yet.
    None,
    /// Nobody needs it.
    Unwritten,
    Written(Vec<u8>),
}

impl<'a, W: World> Step<'a, W> {
    /// Opens a tube, which need not exist, to be changed.
    pub fn begin(
        broker: &'a mut Broker,
        world: &'a mut W,
        db: u32,
        name: &'a [u8],
        now_ms: u64,
    ) -> Result<Step<'a, W>, WrongType> {
        let key = world.open(db, name, Access::Change)?;
        // Opening a key whose time is over deletes it, and what the broker knows of it must go before we go on.
        broker.catch_up(world, now_ms);
        let linger_ms = broker.settings.linger_ms;
        let before = key
            .tube()
            .map(|tube| Before { counts: tube.counts(), deadline_ms: tube.next_deadline_ms(linger_ms) });
        let is_overdue =
            before.as_ref().and_then(|before| before.deadline_ms).is_some_and(|at_ms| at_ms <= now_ms);
        let mut step = Step {
            broker,
            world,
            key,
            db,
            name,
            now_ms,
            event: Event::None,
            kinds: Kinds::default(),
            before,
            changes: 0,
            removed: false,
        };
        if is_overdue {
            step.end_overdue();
        }
        Ok(step)
    }

    /// Makes what is due happen, one slice of it.
    fn end_overdue(&mut self) {
        if self.broker.role != Role::Primary {
            return;
        }
        let retry = self.broker.settings.retry;
        for _ in 0..SLICE {
            let Some(change) = self.key.tube().and_then(|tube| decide::due(tube, self.now_ms, retry)) else {
                break;
            };
            self.make(&change);
        }
    }

    /// The tube, if there is one.
    pub fn tube(&self) -> Option<&Tube> {
        self.key.tube()
    }

    /// The settings.
    pub fn settings(&self) -> super::Settings {
        self.broker.settings
    }

    /// The time of the step (Unix ms).
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The first of `count` job ids in a row, or `None` if so many are not left.
    pub fn new_ids(&mut self, count: u64) -> Option<u64> {
        let last_id = self.tube().map_or(0, |tube| tube.header().last_id);
        self.broker.new_ids(last_id, count)
    }

    /// Creates the tube if there is none.
    pub fn create(&mut self) {
        if self.key.tube().is_none() {
            self.key.create(Tube::new(self.now_ms));
        }
    }

    /// Makes a change that was decided on the tube as it is.
    pub fn make(&mut self, change: &Change<'_>) {
        if let Event::None = self.event {
            self.event = if self.world.needs_events() {
                let mut bytes = std::mem::take(&mut self.broker.buffer);
                bytes.clear();
                codec::begin_event(self.now_ms, &mut bytes);
                Event::Written(bytes)
            } else {
                Event::Unwritten
            };
        }
        if let Event::Written(bytes) = &mut self.event {
            codec::push_change(change, bytes);
        }
        self.changes += 1;
        let trash = apply(&mut self.key, self.now_ms, change, &mut self.broker.totals);
        if trash.pieces() > 0 {
            self.world.discard(trash);
        }
        if let Some(kind) = kind(change) {
            self.kinds.add(kind);
        }
        if let Some(id) = ends_reservation(change)
            && !self.broker.sessions.is_empty()
        {
            let uid = self.broker.names.uid(self.db);
            self.broker.sessions.ended(uid, &Name::from(self.name), id);
        }
        self.removed |= *change == Change::Remove;
    }

    /// Hands ready jobs to those who wait, in the order in which they came.
    fn serve(&mut self) {
        if self.broker.role != Role::Primary || self.broker.line.waiting() == 0 {
            return;
        }
        while let Some((number, wait)) = self.broker.line.first(self.db, self.name) {
            let worker = Worker { client: wait.client, ttr_ms: wait.ttr_ms };
            let mut jobs = Vec::new();
            while jobs.len() < wait.count.unwrap_or(1) as usize
                && let Some(change) =
                    self.key.tube().and_then(|tube| decide::reserve(tube, self.now_ms, worker))
                && let Change::Reserve { id, n, .. } = change
            {
                self.make(&change);
                jobs.push((id, n));
            }
            if jobs.is_empty() {
                break;
            }
            self.broker.line.grant(number, Grant { name: Name::from(self.name), jobs });
        }
    }

    /// Ends the step. Returns how many changes it made in all.
    pub fn finish(mut self) -> usize {
        self.serve();
        let linger_ms = self.broker.settings.linger_ms;
        if linger_ms == 0 && self.changes > 0 {
            self.remove_if_idle();
        }
        self.close(linger_ms, false)
    }

    /// Takes the tube away if it has been idle for its time.
    pub(super) fn remove_if_idle(&mut self) {
        let linger_ms = self.broker.settings.linger_ms;
        if self.removed {
            return;
        }
        if let Some(change) = self.tube().and_then(|tube| decide::remove(tube, self.now_ms, linger_ms)) {
            self.make(&change);
        }
    }

    /// Ends a tick's step: the tube's deadline is looked up anew.
    pub(super) fn finish_tick(mut self) -> usize {
        self.serve();
        let linger_ms = self.broker.settings.linger_ms;
        if linger_ms == 0 || self.broker.waiting_on(self.db, self.name) == 0 {
            self.remove_if_idle();
        }
        self.close(linger_ms, true)
    }

    fn close(mut self, linger_ms: u64, look_up: bool) -> usize {
        if self.removed {
            self.key.remove();
        }
        let after = self
            .key
            .tube()
            .map(|tube| Before { counts: tube.counts(), deadline_ms: tube.next_deadline_ms(linger_ms) });
        drop(self.key);
        self.broker.note(self.db, self.name, self.now_ms, self.before, after, look_up, self.removed);
        match self.event {
            Event::None => {}
            Event::Unwritten => self.world.commit(self.db, self.name, Record::Nobody, self.kinds),
            Event::Written(bytes) => {
                self.world.commit(self.db, self.name, Record::Event(&bytes), self.kinds);
                self.broker.buffer = bytes;
                self.broker.buffer.shrink_to(64 * 1024);
            }
        }
        self.broker.catch_up(self.world, self.now_ms);
        self.changes
    }
}

impl Broker {
    /// Keeps the index true after a tube changed.
    #[expect(
        clippy::too_many_arguments,
        reason = "the tail of two functions, which have nothing else in common"
    )]
    fn note(
        &mut self,
        db: u32,
        name: &[u8],
        now_ms: u64,
        before: Option<Before>,
        after: Option<Before>,
        look_up: bool,
        removed: bool,
    ) {
        // A tube taken away by us is counted out when we hear that its key is gone.
        let Some(after) = after.filter(|_| !removed) else { return };
        let known = before.is_some();
        let (counts, deadline_ms) = before.map_or_else(Default::default, |b| (b.counts, b.deadline_ms));
        if !known {
            self.names.add(db, name);
        }
        self.names.count(db, &counts, &after.counts);
        let Some(at_ms) = after.deadline_ms else { return };
        if look_up || deadline_ms.is_none_or(|deadline_ms| at_ms < deadline_ms) {
            // An idle tube that somebody waits on stays: look again when it could go next.
            let waited_on = at_ms <= now_ms && after.counts.all() == 0 && look_up;
            let at_ms =
                if waited_on { now_ms.saturating_add(self.settings.linger_ms.max(1_000)) } else { at_ms };
            self.names.attend(db, name, at_ms);
        }
    }

    /// Applies the changes of an event that came from outside, all of them or, if one of them is impossible,
    /// none.
    pub(super) fn apply_from_outside<W: World>(
        &mut self,
        world: &mut W,
        db: u32,
        name: &[u8],
        now_ms: u64,
        event: (u64, &[Change<'_>]),
    ) -> Result<(), super::Refused> {
        let mut key = world.open(db, name, Access::Change)?;
        self.catch_up(world, now_ms);
        let linger_ms = self.settings.linger_ms;
        let (at_ms, changes) = event;
        let before = match key.tube() {
            Some(tube) => {
                tube.verify(at_ms, changes)?;
                Some(Before { counts: tube.counts(), deadline_ms: tube.next_deadline_ms(linger_ms) })
            }
            None => {
                verify_first(at_ms, changes)?;
                key.create(Tube::new(at_ms));
                None
            }
        };
        let mut kinds = Kinds::default();
        // The totals tell what this server did itself.
        let mut totals = crate::queue::Totals::default();
        for change in changes {
            let trash = apply(&mut key, at_ms, change, &mut totals);
            if trash.pieces() > 0 {
                world.discard(trash);
            }
            if let Some(kind) = kind(change) {
                kinds.add(kind);
            }
        }
        let removed = changes.last() == Some(&Change::Remove);
        if let Some(tube) = key.tube() {
            self.lift_ids(tube.header().last_id);
        }
        if removed {
            key.remove();
        }
        let after = key
            .tube()
            .map(|tube| Before { counts: tube.counts(), deadline_ms: tube.next_deadline_ms(linger_ms) });
        drop(key);
        self.note(db, name, now_ms, before, after, false, removed);
        world.commit(db, name, Record::AsItCame, kinds);
        self.catch_up(world, now_ms);
        Ok(())
    }
}

/// What an event must satisfy where there is no tube yet.
fn verify_first(at_ms: u64, changes: &[Change<'_>]) -> Result<(), crate::queue::Invalid> {
    use crate::queue::Invalid;
    let creates = matches!(
        changes.first(),
        Some(Change::Put { .. } | Change::Pause { .. } | Change::Restore(_) | Change::Head(_))
    );
    if !creates {
        return Err(Invalid::NoTube);
    }
    Tube::default().verify(at_ms, changes)
}

fn apply<K: Key>(key: &mut K, at_ms: u64, change: &Change<'_>, totals: &mut crate::queue::Totals) -> Trash {
    let Some(tube) = key.tube_mut() else { return Trash::default() };
    let before = tube.header().totals.cleared;
    let trash = tube.apply(at_ms, change);
    totals.count(change, tube.header().totals.cleared.saturating_sub(before));
    trash
}

/// How keyspace notifications call a change.
fn kind(change: &Change<'_>) -> Option<Kind> {
    Some(match change {
        Change::Put { .. } => Kind::Put,
        Change::Reserve { .. } => Kind::Reserve,
        Change::Delete { .. } => Kind::Delete,
        Change::Return { then: Then::Buried, .. } | Change::Bury { .. } => Kind::Bury,
        Change::Return { why: Why::TimedOut, .. } => Kind::Timeout,
        Change::Return { .. } => Kind::Release,
        Change::Touch { .. } => Kind::Touch,
        Change::Kick { .. } => Kind::Kick,
        Change::Promote { .. } => Kind::Promote,
        Change::Prioritize { .. } => Kind::Prioritize,
        Change::Delay { .. } => Kind::Delay,
        Change::Pause { .. } | Change::Resume => Kind::Pause,
        Change::Clear { .. } => Kind::Clear,
        Change::Remove => Kind::Remove,
        Change::Restore(_) | Change::Head(_) => return None,
    })
}

/// The job whose reservation a change ends.
fn ends_reservation(change: &Change<'_>) -> Option<u64> {
    match change {
        Change::Delete { id } | Change::Return { id, .. } | Change::Bury { id, .. } => Some(*id),
        _ => None,
    }
}
