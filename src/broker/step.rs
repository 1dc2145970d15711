//! What one command, or one tick, does to one tube.
//!
//! ```text
//! run      open the key, end what is over by now, and hand what is ready to those who wait
//!   make   apply one decided change, and note it in the event          (any number of times)
//!          hand ready jobs to those who wait, take an idle tube away, close the key,
//!          make the event known, look after the tube's next deadline
//! ```
//!
//! A step stays where it was made until it is over: it is too large to be handed on for nothing.

use std::hint::cold_path;

use crate::codec;
use crate::queue::decide;
use crate::queue::{Change, Handle, Invalid, State, Then, Tube, Why, is_over};

use super::line::Grant;
use super::names::Name;
use super::{Access, Broker, Key, Kind, Kinds, Record, Refused, Role, World, WrongType};

/// One tube, open to be changed. Nothing is made known before [`Step::run`] ends it.
pub struct Step<'a, W: World> {
    broker: &'a mut Broker,
    world: &'a mut W,
    key: W::Key,
    db: u32,
    name: &'a [u8],
    now_ms: u64,
    event: Event,
    kinds: Kinds,
    /// The client whose reservation is about to change, where that is known.
    holder: Option<u64>,
    /// When something was due in the tube as the step began (Unix ms): by then the index has it looked at.
    due_ms: u64,
    /// Whether something may be due sooner by now.
    may_be_sooner: bool,
    /// Whether the tube had jobs as the step began, if the port is to know.
    had_jobs: bool,
    changes: usize,
    removed: bool,
}

/// So many bytes of memory are kept for the next event.
const BUFFER_MAX: usize = 64 * 1024;

/// So much of what is due is done in a tube that has no ready job, whatever was done in others: a pause that is over and some
/// reservations may stand before a job that is due.
const LEAST: usize = 4;

/// Where somebody waits, a tick counts a change as so many: it mostly tells a worker, which takes some 40 us.
const HAND_OVER: usize = 8;

/// Later than any time.
const NEVER: u64 = u64::MAX;

/// The event that is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Nothing has changed yet.
    None,
    /// Nobody needs it.
    Unwritten,
    /// It stands in the broker's buffer.
    Written,
    /// It came from outside.
    AsItCame,
}

impl Broker {
    /// Begins to write an event down. The buffer of an uncommonly large one is not kept.
    pub(super) fn begin_event(&mut self, now_ms: u64) {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_MAX);
        codec::begin_event(now_ms, &mut self.buffer);
    }
}

impl<'a, W: World> Step<'a, W> {
    /// Opens a tube, which need not exist, to be changed, ends what is over by now, and serves those who wait. Then
    /// does `work`, and makes known what changed.
    #[inline(always)]
    pub fn run<T>(
        broker: &'a mut Broker,
        world: &'a mut W,
        db: u32,
        name: &'a [u8],
        now_ms: u64,
        work: impl FnOnce(&mut Step<'a, W>) -> T,
    ) -> Result<T, WrongType> {
        let key = Step::open(broker, world, db, name)?;
        let mut step = Step::of(broker, world, key, db, name, now_ms);
        step.begin();
        let done = work(&mut step);
        step.finish();
        Ok(done)
    }

    /// The same where `left` bounds how much of what is due is done, and is lowered by what was. But a job that is due is
    /// found in any case.
    pub fn run_within<T>(
        left: &mut usize,
        broker: &'a mut Broker,
        world: &'a mut W,
        db: u32,
        name: &'a [u8],
        now_ms: u64,
        work: impl FnOnce(&mut Step<'a, W>) -> T,
    ) -> Result<T, WrongType> {
        let key = Step::open(broker, world, db, name)?;
        let mut step = Step::of(broker, world, key, db, name, now_ms);
        step.begin_within(*left, LEAST.max(*left));
        *left = left.saturating_sub(step.changes);
        let done = work(&mut step);
        step.finish();
        Ok(done)
    }

    /// Opens a tube, as it is, to be changed.
    #[inline(always)]
    fn open(broker: &mut Broker, world: &mut W, db: u32, name: &[u8]) -> Result<W::Key, WrongType> {
        let key = world.open(db, name, Access::Change)?;
        // Opening a key whose time is over deletes it, and what the broker knows of it must go before we go on.
        broker.catch_up(world);
        Ok(key)
    }

    /// The beginning of a step on an open tube.
    #[inline(always)]
    fn of(
        broker: &'a mut Broker,
        world: &'a mut W,
        key: W::Key,
        db: u32,
        name: &'a [u8],
        now_ms: u64,
    ) -> Step<'a, W> {
        let due_ms = key.tube().map_or(NEVER, Tube::due_ms);
        Step {
            broker,
            world,
            key,
            db,
            name,
            now_ms,
            event: Event::None,
            kinds: Kinds::default(),
            holder: None,
            due_ms,
            may_be_sooner: false,
            had_jobs: false,
            changes: 0,
            removed: false,
        }
    }

    /// Learns what is to be known of the tube before it changes, where that matters.
    #[inline(always)]
    fn look_around(&mut self) {
        if self.broker.role == Role::Follower || self.broker.port.is_some() || self.key.expires() {
            cold_path();
            self.look_at_tube();
        }
    }

    #[inline(never)]
    fn look_at_tube(&mut self) {
        let Some(tube) = self.key.tube() else { return };
        self.had_jobs = tube.counts().all() > 0;
        // Nobody sees a key whose time is over by the own clock. So a follower may have missed this tube when it heard of
        // it, while its primary goes on with it; and so may a primary whose clock has stepped back.
        let may_be_unknown = self.broker.role == Role::Follower || self.key.expires();
        if may_be_unknown && !self.broker.names.has(self.db, self.name) {
            self.broker.learn(self.db, self.name, tube);
        }
    }

    /// Ends what is over by now, and serves those who wait.
    #[inline(always)]
    fn begin(&mut self) {
        self.look_around();
        if is_over(self.due_ms, self.now_ms) {
            self.end_slice();
        }
        // Whoever waits comes before the client whose command found the jobs ready.
        self.serve();
    }

    /// The same with so much of what is due, or `least` of it as long as nothing is ready.
    fn begin_within(&mut self, jobs: usize, least: usize) {
        self.look_around();
        if is_over(self.due_ms, self.now_ms) {
            self.end_overdue(jobs, least);
        }
        self.serve();
    }

    /// Where somebody waits, what is due is for them, and left to the tick: there may be hundreds of commands in one turn of
    /// the event loop, and each would tell as many workers.
    #[cold]
    fn end_slice(&mut self) {
        if self.broker.waiting_on(self.db, self.name) == 0 {
            let jobs = self.broker.settings.slices.jobs;
            self.end_overdue(jobs, jobs);
        }
    }

    /// Whether something in the tube, as it is now, is due.
    #[inline]
    fn is_due(&self) -> bool {
        self.key.tube().is_some_and(|tube| is_over(tube.due_ms(), self.now_ms))
    }

    /// Goes on until a job is ready, if one is due that is not for those who wait: to be called before one is taken, unless
    /// its taker would wait as well.
    #[inline]
    pub fn find_due(&mut self) {
        if self.is_due() && !self.key.tube().is_some_and(Tube::has_ready) {
            cold_path();
            self.end_overdue(0, self.broker.settings.slices.jobs);
        }
    }

    /// Makes what is due happen, a slice of it: `jobs` at most, or `least`, which are no fewer, as long as nothing is
    /// ready.
    #[cold]
    fn end_overdue(&mut self, jobs: usize, least: usize) {
        if self.broker.role != Role::Primary {
            return;
        }
        let retry = self.broker.settings.retry;
        for done in 0..least {
            let Some(tube) = self.key.tube().filter(|tube| done < jobs || !tube.has_ready()) else { break };
            let Some(change) = decide::due(tube, self.now_ms, retry) else { break };
            self.make_due(&change);
        }
        // Timeouts that make nothing ready do not keep a job that is due from who reserves, or waits.
        // Where many wait, each takes the job that was just promoted.
        for _ in 0..least {
            let Some(tube) = self.key.tube().filter(|tube| !tube.has_ready()) else { break };
            let Some(change) = decide::due_promotion(tube, self.now_ms) else { break };
            self.make_due(&change);
        }
    }

    /// Makes more of what is due happen, `most` changes at most, while `goes_on` says so. For commands that take as long in
    /// any case: so much may be due that one slice is but a part of it.
    #[inline]
    pub fn end_more(&mut self, most: u64, goes_on: impl Fn(&Tube) -> bool) {
        if self.is_due() && self.broker.role == Role::Primary {
            cold_path();
            let retry = self.broker.settings.retry;
            for _ in 0..most {
                let Some(tube) = self.key.tube().filter(|tube| goes_on(tube)) else { break };
                let Some(change) = decide::due(tube, self.now_ms, retry) else { break };
                self.make_due(&change);
            }
        }
    }

    fn make_due(&mut self, change: &Change<'_>) {
        match self.unheard_of(change) {
            Some(change) => self.make(&change),
            None => self.make(change),
        }
        // Jobs that are due together go to those who wait in the order in which they became due.
        self.serve();
    }

    /// Makes what is due of these jobs happen. To be called before a request that names them is decided: so much may be
    /// due that one slice did not come to them.
    #[inline]
    pub fn end_overdue_of(&mut self, ids: impl IntoIterator<Item = u64>) {
        if self.is_due() && self.broker.role == Role::Primary {
            cold_path();
            ids.into_iter().for_each(|id| self.end_overdue_one(id));
        }
    }

    #[cold]
    fn end_overdue_one(&mut self, id: u64) {
        let retry = self.broker.settings.retry;
        let change = self.key.tube().and_then(|tube| decide::due_of(tube, id, self.now_ms, retry));
        change.iter().for_each(|change| self.make_due(change));
    }

    /// What a timeout comes to where the waiter was never told of the job: its time ran out unseen, in a script
    /// longer than it, say. So it counts as no attempt, and is no reason to bury the job.
    fn unheard_of(&mut self, change: &Change<'_>) -> Option<Change<'static>> {
        let Change::Return { id, why: Why::TimedOut, .. } = *change else { return None };
        let (line, give_backs) = (&self.broker.line, &self.broker.give_backs);
        if !line.has_granted() && give_backs.untold.is_empty() {
            return None;
        }
        let tube = self.key.tube()?;
        let reservation = tube.reservation(id)?;
        let uid = self.broker.names.uid(self.db);
        let is_unheard = line.is_granted(uid, self.name, id, &reservation)
            || give_backs.is_untold(uid, self.name, id, &reservation);
        if is_unheard { decide::undeliver(tube, Handle::id(id), self.now_ms) } else { None }
    }

    /// The tube, if there is one.
    pub fn tube(&self) -> Option<&Tube> {
        self.key.tube()
    }

    /// The time of the step (Unix ms).
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Says that the next changes are of reservations that are bound to this client, which so need not be looked up.
    pub fn is_held_by(&mut self, client: u64) {
        self.holder = Some(client);
    }

    /// The first of `count` job ids in a row, or `None` if so many are not left.
    pub fn new_ids(&mut self, count: u64) -> Option<u64> {
        let last_id = self.tube().map_or(0, |tube| tube.header().last_id);
        self.broker.new_ids(last_id, count)
    }

    /// Creates the tube if there is none.
    #[inline]
    pub fn create(&mut self) {
        if self.key.tube().is_none() {
            self.create_it();
        }
    }

    #[cold]
    fn create_it(&mut self) {
        self.create_as_of(self.now_ms);
    }

    fn create_as_of(&mut self, at_ms: u64) {
        self.key.create(Tube::new(at_ms));
        if self.key.tube().is_some() {
            self.broker.names.add(self.db, self.name);
        }
    }

    /// Makes a change that was decided on the tube as it is.
    #[inline(always)]
    pub fn make(&mut self, change: &Change<'_>) {
        if self.event == Event::None {
            self.event = Event::Unwritten;
            if self.world.needs_events() {
                cold_path();
                self.begin_event();
            }
        }
        if self.event == Event::Written {
            cold_path();
            self.write(change);
        }
        let cleared = self.apply(self.now_ms, change);
        self.broker.totals.count(change, cleared);
    }

    #[inline(never)]
    fn begin_event(&mut self) {
        self.broker.begin_event(self.now_ms);
        self.event = Event::Written;
    }

    #[inline(never)]
    fn write(&mut self, change: &Change<'_>) {
        codec::push_change(change, &mut self.broker.buffer);
    }

    /// Kicks up to `count` jobs: buried ones or, if none is buried, delayed ones. Returns how many it kicked.
    pub fn kick(&mut self, count: u64) -> u64 {
        let mut kicked = 0;
        let Some(order) = self.tube().map(decide::kickable) else { return 0 };
        while kicked < count
            && let Some(change) = self.tube().and_then(|tube| decide::kick(tube, order))
        {
            self.make(&change);
            kicked += 1;
        }
        kicked
    }

    /// Changes the tube. Returns how many jobs were cleared.
    #[inline(always)]
    fn apply(&mut self, at_ms: u64, change: &Change<'_>) -> u64 {
        if !self.broker.sessions.is_empty() {
            cold_path();
            self.tell_sessions(at_ms, change);
        }
        let Some(tube) = self.key.tube_mut() else { return 0 };
        let trash = tube.apply_counting(at_ms, change, self.broker.names.jobs_of(self.db));
        let cleared = trash.jobs();
        if trash.pieces() > 0 {
            cold_path();
            self.world.discard(trash);
        }
        self.kinds = self.kinds.and(kinds(change));
        if self.broker.port.is_some() {
            cold_path();
            self.tell_port(change);
        }
        self.changes += 1;
        self.may_be_sooner |= may_bring_nearer(change);
        self.removed |= matches!(change, Change::Remove);
        cleared
    }

    #[inline(never)]
    fn tell_port(&mut self, change: &Change<'_>) {
        if let Some(port) = self.broker.port_of(self.db) {
            port.change(self.name, change, self.had_jobs);
        }
    }

    /// What is about to happen to a reservation that may be bound to its client.
    #[inline(never)]
    fn tell_sessions(&mut self, at_ms: u64, change: &Change<'_>) {
        let (id, touched_for_ms) = match *change {
            Change::Delete { id } | Change::Return { id, .. } | Change::Bury { id, .. } => (id, None),
            Change::Touch { id, for_ms } => (id, Some(for_ms)),
            Change::Clear { states } if states.has(State::Reserved) => {
                let uid = self.broker.names.uid(self.db);
                return self.broker.sessions.ended_all(uid, self.name);
            }
            _ => return,
        };
        let worker = || Some(self.key.tube()?.reservation(id)?.worker);
        let Some(worker) = self.holder.or_else(worker) else { return };
        let uid = self.broker.names.uid(self.db);
        match touched_for_ms {
            None => self.broker.sessions.ended(worker, uid, self.name, id),
            Some(for_ms) => {
                let deadline_ms = at_ms.saturating_add(for_ms);
                self.broker.sessions.touched(worker, uid, self.name, id, deadline_ms);
                self.broker.line.holds_until(worker, deadline_ms);
            }
        }
    }

    /// Hands ready jobs to those who wait, in the order in which they came.
    #[inline(always)]
    fn serve(&mut self) {
        if self.broker.line.waiting() > 0 && self.broker.role == Role::Primary {
            self.serve_line();
        }
    }

    #[cold]
    fn serve_line(&mut self) {
        while self.key.tube().is_some_and(Tube::has_ready)
            && let Some((number, wait)) = self.broker.first_in_line(self.db, self.name)
        {
            let worker = wait.worker();
            // Mostly it is a single one.
            let mut jobs = Vec::with_capacity(1);
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
            let uid = self.broker.names.uid(self.db);
            let name = wait.names.iter().find(|name| ***name == *self.name).cloned();
            let name = name.unwrap_or_else(|| Name::from(self.name));
            self.broker.line.grant(number, Grant { uid, name, jobs, copies: Vec::new() });
        }
    }

    /// Keeps the index true: it has the tube looked at no later than when something is due there.
    #[inline(never)]
    fn attend(&mut self, linger_ms: u64, look_up: bool) {
        let Some(tube) = self.key.tube() else { return };
        let Some(deadline_ms) = tube.next_deadline_ms(linger_ms) else { return };
        if !look_up && deadline_ms >= self.due_ms {
            return;
        }
        // An idle tube that somebody waits on stays: look again when it could go next.
        let stays = look_up && is_over(deadline_ms, self.now_ms) && tube.counts().all() == 0;
        let at_ms = if stays { self.now_ms.saturating_add(linger_ms.max(1_000)) } else { deadline_ms };
        self.broker.names.attend(self.db, self.name, at_ms);
    }

    /// How many changes the step has made, its own and what followed from the time and from those who wait.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// Ends the step.
    #[inline(always)]
    fn finish(&mut self) {
        self.serve();
        let linger_ms = self.broker.settings.linger_ms;
        if linger_ms == 0 {
            self.remove_at_once();
        }
        self.close(linger_ms, false);
    }

    /// Takes the tube away if the changes left it idle, where idle tubes do not linger.
    #[cold]
    fn remove_at_once(&mut self) {
        if self.changes > 0 && !self.broker.is_attended(self.db, self.name) {
            self.remove_if_idle();
        }
    }

    /// Takes the tube away if it has been idle for its time.
    #[cold]
    fn remove_if_idle(&mut self) {
        let linger_ms = self.broker.settings.linger_ms;
        if self.removed {
            return;
        }
        if let Some(change) = self.tube().and_then(|tube| decide::remove(tube, self.now_ms, linger_ms)) {
            self.make(&change);
        }
    }

    /// What a tick does to a tube: nothing but what is due, and its deadline is looked up anew. Returns how many
    /// changes that made.
    pub(super) fn tick(
        broker: &'a mut Broker,
        world: &'a mut W,
        db: u32,
        name: &'a [u8],
        now_ms: u64,
    ) -> Result<usize, WrongType> {
        let key = Step::open(broker, world, db, name)?;
        let mut step = Step::of(broker, world, key, db, name, now_ms);
        let weight = if step.broker.waiting_on(db, name) > 0 { HAND_OVER } else { 1 };
        let jobs = (step.broker.settings.slices.jobs / weight).max(1);
        step.begin_within(jobs, jobs);
        let linger_ms = step.broker.settings.linger_ms;
        let is_waited_on = linger_ms > 0 && step.broker.waiting_on(db, name) > 0;
        if !is_waited_on && !step.broker.is_attended(db, name) {
            step.remove_if_idle();
        }
        step.close(linger_ms, true);
        Ok(step.changes * weight)
    }

    #[inline(always)]
    fn close(&mut self, linger_ms: u64, look_up: bool) {
        if self.broker.port.is_some() {
            cold_path();
            self.tell_port_of_all();
        }
        // A tube that was taken away leaves the index when we hear that its key is gone.
        if self.removed {
            cold_path();
            self.key.close();
            self.world.remove(self.db, self.name);
        } else if look_up
            || self.may_be_sooner && self.key.tube().is_some_and(|tube| is_nearer(tube, self.due_ms))
        {
            cold_path();
            self.attend(linger_ms, look_up);
        }
        self.key.close();
        let is_unheard = self.event == Event::Unwritten && self.world.commit_unheard(self.db, self.name);
        if !is_unheard && self.event != Event::None {
            cold_path();
            self.commit();
        }
        self.broker.catch_up(self.world);
    }

    #[inline(never)]
    fn tell_port_of_all(&mut self) {
        if let (Some(port), Some(tube)) = (self.broker.port_of(self.db), self.key.tube()) {
            port.changed(self.name, self.had_jobs, tube);
        }
    }

    #[inline(never)]
    fn commit(&mut self) {
        let record = match self.event {
            Event::None | Event::Unwritten => Record::Nobody,
            Event::Written => Record::Event(&self.broker.buffer),
            Event::AsItCame => Record::AsItCame,
        };
        self.world.commit(self.db, self.name, record, self.kinds);
    }

    /// Applies an event that came from outside: all of its changes or, if one of them is impossible, none.
    pub(super) fn replay(
        broker: &'a mut Broker,
        world: &'a mut W,
        db: u32,
        name: &'a [u8],
        now_ms: u64,
        event: &codec::Event<'_>,
    ) -> Result<(), Refused> {
        let key = Step::open(broker, world, db, name)?;
        let mut step = Step::of(broker, world, key, db, name, now_ms);
        step.look_around();
        step.replay_all(event)
    }

    fn replay_all(&mut self, event: &codec::Event<'_>) -> Result<(), Refused> {
        match self.key.tube() {
            Some(tube) => tube.verify_each(event.at_ms, event.changes())?,
            None => {
                verify_first(event)?;
                self.create_as_of(event.at_ms);
            }
        }
        self.event = Event::AsItCame;
        // The server's totals tell what it did itself, so they stay as they are.
        for change in event.changes() {
            self.apply(event.at_ms, &change?);
        }
        if let Some(tube) = self.key.tube() {
            self.broker.lift_ids(tube.header().last_id);
        }
        self.close(self.broker.settings.linger_ms, false);
        Ok(())
    }
}

/// What an event must satisfy where there is no tube yet.
fn verify_first(event: &codec::Event<'_>) -> Result<(), Refused> {
    match event.changes().next().transpose()? {
        Some(Change::Put { .. } | Change::Pause { .. } | Change::Restore(_) | Change::Head(_)) => {
            Ok(Tube::default().verify_each(event.at_ms, event.changes())?)
        }
        _ => Err(Invalid::NoTube.into()),
    }
}

/// Whether something may be due in a tube sooner than before a change. Where a tube may just have become idle, the end
/// of its time is.
#[inline(always)]
pub(super) fn may_bring_nearer(change: &Change<'_>) -> bool {
    !matches!(
        change,
        Change::Put { delay_ms: 0, .. }
            | Change::Promote { .. }
            | Change::Kick { .. }
            | Change::Prioritize { .. }
    )
}

/// Whether something is due in a tube sooner than before, or nothing any more: then it may be idle.
#[inline(always)]
pub(super) fn is_nearer(tube: &Tube, before_ms: u64) -> bool {
    let due_ms = tube.due_ms();
    due_ms < before_ms || due_ms == u64::MAX
}

/// How keyspace notifications call a change.
#[inline(always)]
pub(super) fn kinds(change: &Change<'_>) -> Kinds {
    match change {
        Change::Put { .. } => Kinds::of(Kind::Put),
        Change::Reserve { .. } => Kinds::of(Kind::Reserve),
        Change::Delete { .. } => Kinds::of(Kind::Delete),
        Change::Return { why, then, .. } => {
            let why = Kinds::of(if *why == Why::TimedOut { Kind::Timeout } else { Kind::Release });
            if *then == Then::Buried { why.and(Kinds::of(Kind::Bury)) } else { why }
        }
        Change::Bury { .. } => Kinds::of(Kind::Bury),
        Change::Touch { .. } => Kinds::of(Kind::Touch),
        Change::Kick { .. } => Kinds::of(Kind::Kick),
        Change::Promote { .. } => Kinds::of(Kind::Promote),
        Change::Prioritize { .. } => Kinds::of(Kind::Prioritize),
        Change::Delay { .. } => Kinds::of(Kind::Delay),
        Change::Pause { .. } | Change::Resume => Kinds::of(Kind::Pause),
        Change::Clear { .. } => Kinds::of(Kind::Clear),
        Change::Remove => Kinds::of(Kind::Remove),
        Change::Restore(_) | Change::Head(_) => Kinds::default(),
    }
}
