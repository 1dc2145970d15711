//! One tube, a replica of it that only knows its events, and the model: the same requests to all of them, and
//! everything that can be seen is compared after each.

use std::collections::BTreeSet;

use phean::codec::{self, Loader};
use phean::queue::decide::{self, Retry};
use phean::queue::{Change, Handle, Job, Order, State, States, Tube};

use crate::naive::{Due, Model, ModelJob, Place};
use crate::steps::{Aim, Bulk, Copying, Pick, Step};

/// A time like today's.
pub const START_MS: u64 = 1_790_000_000_000;

const ORDERS: [Order; 5] = [Order::Ready, Order::Delayed, Order::Deadline, Order::Held, Order::Buried];

/// What a snapshot of `tube` loads as.
pub fn saved_and_loaded(tube: &Tube) -> Tube {
    let mut pieces = Vec::new();
    codec::save_snapshot(tube, |piece| pieces.push(piece.to_vec()));
    let mut loader = Loader::new(&pieces[0]).unwrap();
    for piece in &pieces[1..] {
        assert!(loader.wants_more());
        loader.piece(piece.clone()).unwrap();
    }
    assert!(!loader.wants_more());
    loader.finish().unwrap()
}

/// What the events that `tube` is rewritten as make of an empty tube.
pub fn rewritten(tube: &Tube) -> Tube {
    let mut copy = Tube::new(7);
    codec::rewrite_as_events(tube, |event| apply_event(&mut copy, event));
    copy
}

/// Does what a replica does.
pub fn apply_event(tube: &mut Tube, event: &[u8]) {
    let (at_ms, changes) = crate::decode_event(event).unwrap();
    tube.verify(at_ms, &changes).unwrap();
    for change in &changes {
        tube.apply(at_ms, change);
    }
}

pub fn assert_same(a: &Tube, b: &Tube) {
    assert_eq!(a.header(), b.header());
    assert_eq!(a.counts(), b.counts());
    for (a, b) in a.jobs().zip(b.jobs()) {
        assert_eq!(a, b);
    }
    assert_eq!(a.jobs().count(), b.jobs().count());
    b.check().unwrap();
}

/// A body that tells its job and its length.
pub fn body(id: u64, len: usize) -> Vec<u8> {
    let mut body = vec![id as u8; len];
    for (byte, mark) in body.iter_mut().zip((id ^ len as u64).to_be_bytes()) {
        *byte ^= mark;
    }
    body
}

pub struct World {
    pub tube: Tube,
    pub replica: Tube,
    pub model: Model,
    pub now_ms: u64,
    retry: Retry,
    last_id: u64,
    /// Every lease that was ever given out, once.
    leases: BTreeSet<(u64, u64)>,
    /// The event that is being written, and how many changes it holds.
    event: Vec<u8>,
    changes: usize,
    steps: usize,
}

impl World {
    pub fn new(retry: Retry) -> World {
        World {
            tube: Tube::new(START_MS),
            replica: Tube::new(START_MS),
            model: Model::new(START_MS),
            now_ms: START_MS,
            retry,
            last_id: 0,
            leases: BTreeSet::new(),
            event: Vec::new(),
            changes: 0,
            steps: 0,
        }
    }

    /// Makes one request everywhere, and compares everything.
    pub fn step(&mut self, step: &Step) {
        self.steps += 1;
        self.event.clear();
        self.changes = 0;
        codec::begin_event(self.now_ms, &mut self.event);
        self.request(step);
        if self.changes > 0 {
            apply_event(&mut self.replica, &self.event);
        }
        if matches!(step, Step::Remove { .. }) && self.changes > 0 {
            self.tube = Tube::new(self.now_ms);
            self.replica = Tube::new(self.now_ms);
            self.model = Model::new(self.now_ms);
        }
        assert_same(&self.tube, &self.replica);
        self.compare();
    }

    /// Makes a request of the tube and the model only. Returns its event, if anything changed.
    pub fn step_alone(&mut self, step: &Step) -> Option<&[u8]> {
        self.event.clear();
        self.changes = 0;
        codec::begin_event(self.now_ms, &mut self.event);
        self.request(step);
        (self.changes > 0).then_some(&self.event)
    }

    /// Makes a decided change: it must pass the check that a replica makes.
    fn make(&mut self, change: &Change<'_>) {
        self.tube
            .verify(self.now_ms, &[*change])
            .unwrap_or_else(|e| panic!("{change:?} was decided, but {e}"));
        if let Change::Reserve { id, n, .. } = change {
            assert!(self.leases.insert((*id, *n)), "lease {id}-{n} was given out before");
        }
        codec::push_change(change, &mut self.event);
        self.changes += 1;
        self.tube.apply(self.now_ms, change);
    }

    /// Makes what was decided, if the model agrees on the job that it is about.
    fn agree(&mut self, decided: Option<Change<'static>>, expected: Option<u64>) {
        assert_eq!(decided.as_ref().and_then(job_of), expected, "{decided:?}");
        if let Some(change) = decided {
            self.make(&change);
        }
    }

    fn put(&mut self, gap: u64, pri: u32, delay_ms: u64, ttr_ms: u64, len: usize) {
        self.last_id += gap.max(1);
        let id = self.last_id;
        let body = body(id, len);
        self.make(&Change::Put { id, pri, delay_ms, ttr_ms, body: &body });
        self.model.put(self.now_ms, id, pri, delay_ms, ttr_ms, &body);
    }

    fn request(&mut self, step: &Step) {
        let (now_ms, retry) = (self.now_ms, self.retry);
        match *step {
            Step::Clock { forward_ms } => {
                self.now_ms = self.now_ms.saturating_add_signed(forward_ms);
            }
            Step::Put { gap, pri, delay_ms, ttr_ms, len } => self.put(gap, pri, delay_ms, ttr_ms, len),
            Step::Reserve { worker } => {
                let decided = decide::reserve(&self.tube, now_ms, worker);
                let expected = self.model.reserve(now_ms, worker);
                self.agree(decided, expected);
            }
            Step::ReserveJob { pick, worker } => {
                let handle = self.pick(pick);
                let job = decide::takeable(&self.tube, handle, now_ms);
                let decided = job.map(|job| decide::hand_out(&job, now_ms, worker));
                let expected = self.model.reserve_job(handle, now_ms, worker);
                self.agree(decided, expected);
            }
            Step::Delete { pick } => {
                let handle = self.pick(pick);
                let decided = decide::delete(&self.tube, handle, now_ms);
                let expected = self.model.delete(handle, now_ms);
                self.agree(decided, expected);
            }
            Step::Release { pick, release } => {
                let handle = self.pick(pick);
                let decided = decide::release(&self.tube, handle, now_ms, release, retry);
                let expected = self.model.release(handle, now_ms, release, retry);
                self.agree(decided, expected);
            }
            Step::Lose { pick } => {
                let handle = self.pick(pick);
                let decided = decide::lose(&self.tube, handle, now_ms, retry);
                let expected = self.model.lose(handle, now_ms, retry);
                self.agree(decided, expected);
            }
            Step::Undeliver { pick } => {
                let handle = self.pick(pick);
                let decided = decide::undeliver(&self.tube, handle, now_ms);
                let expected = self.model.undeliver(handle, now_ms);
                self.agree(decided, expected);
            }
            Step::Bury { pick, pri } => {
                let handle = self.pick(pick);
                let decided = decide::bury(&self.tube, handle, now_ms, pri);
                let expected = self.model.bury(handle, now_ms, pri);
                self.agree(decided, expected);
            }
            Step::Touch { pick, for_ms } => {
                let handle = self.pick(pick);
                let decided = decide::touch(&self.tube, handle, now_ms, for_ms);
                let expected = self.model.touch(handle, now_ms, for_ms);
                self.agree(decided, expected);
            }
            Step::Kick { count } => self.kick(count),
            Step::KickJob { pick } => {
                let handle = self.pick(pick);
                let decided = decide::kick_job(&self.tube, handle, now_ms);
                let expected = self.model.kick_job(handle, now_ms);
                self.agree(decided, expected);
            }
            Step::Prioritize { pick, pri } => {
                let handle = self.pick(pick);
                let decided = decide::prioritize(&self.tube, handle, now_ms, pri);
                let expected = self.model.prioritize(handle, now_ms, pri);
                self.agree(decided, expected);
            }
            Step::Delay { pick, delay_ms } => {
                let handle = self.pick(pick);
                let decided = decide::delay(&self.tube, handle, now_ms, delay_ms);
                let expected = self.model.delay(handle, now_ms, delay_ms);
                self.agree(decided, expected);
            }
            Step::Pause { for_ms } => {
                self.make(&Change::Pause { for_ms });
                self.model.pause(now_ms, for_ms);
            }
            Step::Tick { slice } => self.tick(slice),
            Step::Clear { ref states } => {
                let set = states.iter().fold(States::NONE, |set, state| set.with(*state));
                self.make(&Change::Clear { states: set });
                self.model.clear(now_ms, states);
            }
            Step::Remove { linger_ms } => {
                let decided = decide::remove(&self.tube, now_ms, linger_ms);
                let model = &self.model;
                let until_ms = model.used_at_ms + linger_ms;
                let is_for_long = until_ms < now_ms || linger_ms == 0 && until_ms == now_ms;
                let expected = model.is_idle() && is_for_long;
                assert_eq!(decided.is_some(), expected);
                if let Some(change) = decided {
                    self.make(&change);
                }
            }
            Step::Copy { of_primary, how } => {
                let tube = if of_primary { &mut self.tube } else { &mut self.replica };
                *tube = match how {
                    Copying::Snapshot => saved_and_loaded(tube),
                    Copying::Rewrite => rewritten(tube),
                    Copying::Clone => tube.clone(),
                };
            }
            Step::Bulk(ref bulk) => self.bulk(bulk),
        }
    }

    fn kick(&mut self, count: usize) {
        let order = decide::kickable(&self.tube);
        for id in self.model.kick(self.now_ms, count) {
            let decided = decide::kick(&self.tube, order);
            self.agree(decided, Some(id));
        }
        if self.changes < count {
            assert_eq!(decide::kick(&self.tube, order), None);
        }
    }

    fn tick(&mut self, slice: usize) {
        for _ in 0..slice {
            let due = self.model.due(self.now_ms);
            let Some(change) = decide::due(&self.tube, self.now_ms, self.retry) else {
                assert_eq!(due, []);
                return;
            };
            let happens = match change {
                Change::Resume => Due::Resume,
                Change::Promote { id } => Due::Promote(id),
                Change::Return { id, .. } => Due::TimeOut(id),
                _ => panic!("{change:?} does not come by itself"),
            };
            assert!(due.contains(&happens), "{change:?} is not what is most overdue: {due:?}");
            self.make(&change);
            self.model.happen(happens, self.now_ms, self.retry);
        }
    }

    fn bulk(&mut self, bulk: &Bulk) {
        match *bulk {
            Bulk::Put { count, gap, pris, delay_ms, len } => {
                for i in 0..count {
                    let id = self.last_id + gap;
                    // Bodies of many lengths around the one that was asked for, some of them empty.
                    let len = len * (id % 5) as usize / 2;
                    self.put(gap, i as u32 % pris, delay_ms * (id % 3), 60_000, len);
                }
            }
            Bulk::Reserve { count, worker } => {
                for _ in 0..count {
                    self.request(&Step::Reserve { worker });
                }
            }
            Bulk::Every { of, keep, from, ref step } => {
                let ids: Vec<u64> = self.model.jobs.keys().copied().collect();
                let from = ids.len() * usize::from(from % 4) / 4;
                for (i, id) in ids.into_iter().enumerate().skip(from) {
                    if i % of >= keep {
                        self.request(&step.on(Pick::exactly(id)));
                    }
                }
            }
        }
    }

    /// The handle that a random pick comes to.
    fn pick(&self, pick: Pick) -> Handle {
        let nth = |ids: &[u64]| ids.get(usize::from(pick.index) % ids.len().max(1)).copied();
        let all = || self.model.jobs.keys().copied().collect::<Vec<_>>();
        match pick.aim {
            Aim::Exactly(id) => Handle::id(id),
            Aim::Absent => Handle { id: self.last_id + 1 + u64::from(pick.index), n: None },
            Aim::Any => nth(&all()).map_or(Handle::id(0), Handle::id),
            Aim::In(state) => {
                let ids: Vec<u64> = self.model.in_state(state).map(|(id, _)| id).collect();
                nth(&ids).or_else(|| nth(&all())).map_or(Handle::id(0), Handle::id)
            }
            Aim::Leased => {
                let leases: Vec<(u64, u64)> = self
                    .model
                    .in_state(State::Reserved)
                    .filter_map(|(id, job)| job.held().map(|held| (id, held.n)))
                    .collect();
                let lease = leases.get(usize::from(pick.index) % leases.len().max(1));
                lease.map_or(Handle::id(0), |(id, n)| Handle::lease(*id, *n))
            }
            Aim::OnceLeased => {
                let lease = self.leases.iter().nth(usize::from(pick.index) % self.leases.len().max(1));
                lease.map_or(Handle::lease(1, 1), |(id, n)| Handle::lease(*id, *n))
            }
        }
    }

    // ---- Comparing

    fn compare(&self) {
        self.tube.check().unwrap();
        self.compare_jobs();
        self.compare_orders();
        self.compare_header();
        self.compare_scans();
        for (id, n) in &self.leases {
            let handle = Handle::lease(*id, *n);
            let named = decide::named(&self.tube, handle, self.now_ms).is_some();
            assert_eq!(named, self.model.names(handle, self.now_ms), "lease {id}-{n}");
        }
    }

    fn compare_jobs(&self) {
        let mut jobs = self.tube.jobs();
        for (id, expected) in &self.model.jobs {
            let job = jobs.next().unwrap_or_else(|| panic!("job {id} is missing"));
            assert_eq!(&seen(&job), expected, "job {id}");
            assert_eq!(job.id, *id);
            assert_eq!(self.tube.job(*id), Some(job));
            if !self.model.jobs.contains_key(&(id + 1)) {
                assert_eq!(self.tube.job(id + 1), None);
            }
        }
        assert_eq!(jobs.next(), None);
        for id in [0, self.last_id + 1, u64::MAX] {
            assert_eq!(self.tube.job(id), None);
        }
        for state in State::ALL {
            assert_eq!(self.tube.counts().of(state), self.model.in_state(state).count() as u64, "{state:?}");
        }
        let urgent = self.model.in_state(State::Ready).filter(|(_, job)| job.pri < 1024).count();
        assert_eq!(self.tube.counts().urgent, urgent as u64);
        assert_eq!(self.tube.counts().all(), self.model.jobs.len() as u64);
    }

    fn compare_orders(&self) {
        for order in ORDERS {
            let expected = self.model.order(order);
            assert_eq!(self.tube.first(order).map(|job| job.id), expected.first().copied(), "{order:?}");
            assert_eq!(self.tube.ordered(order, usize::MAX), expected, "{order:?}");
            let some = self.steps % (expected.len() + 2);
            assert_eq!(self.tube.ordered(order, some), expected[..some.min(expected.len())], "{order:?}");
        }
    }

    fn compare_header(&self) {
        let (header, model) = (self.tube.header(), &self.model);
        assert_eq!(header.paused_until_ms, model.paused_until_ms);
        assert_eq!(header.pause_ms, model.pause_ms);
        assert_eq!(header.used_at_ms, model.used_at_ms);
        assert_eq!(header.totals, model.totals);
        for now_ms in [self.now_ms, 0, model.paused_until_ms] {
            assert_eq!(self.tube.is_paused(now_ms), model.is_paused(now_ms));
            assert_eq!(self.tube.pause_left_ms(now_ms), model.paused_until_ms.saturating_sub(now_ms));
        }
        assert_eq!(self.tube.is_idle(), model.is_idle());
        for linger_ms in [0, 3_600_000] {
            assert_eq!(self.tube.next_deadline_ms(linger_ms), model.next_deadline_ms(linger_ms));
        }
        let oldest = model.jobs.values().find_map(|job| match job.place {
            Place::Ready { since_ms } => Some(since_ms),
            _ => None,
        });
        assert_eq!(self.tube.oldest_ready_since_ms(), oldest);
    }

    /// One walk over everything, and single calls from many cursors; state and COUNT change from step to step.
    fn compare_scans(&self) {
        let states =
            [None, Some(State::Ready), Some(State::Delayed), Some(State::Reserved), Some(State::Buried)];
        let state = states[self.steps % states.len()];
        let count = [1, 2, 10, 127, 1_000, usize::MAX][self.steps % 6];
        let mut cursor = 0;
        while let Some(next) = self.compare_scan(cursor, state, count) {
            cursor = next;
        }
        for state in states {
            for (i, id) in self.model.jobs.keys().step_by(self.model.jobs.len() / 16 + 1).enumerate() {
                for cursor in [id - 1, *id, id + 1] {
                    self.compare_scan(cursor, state, 1 + (i + self.steps) % 7);
                }
            }
            self.compare_scan(self.last_id + 1, state, count);
            self.compare_scan(u64::MAX, state, count);
        }
    }

    /// One call: it shows what there is from the cursor on, no more than it was asked for, up to where the next
    /// call goes on.
    fn compare_scan(&self, cursor: u64, state: Option<State>, count: usize) -> Option<u64> {
        let mut shown = Vec::new();
        let next = self.tube.scan(cursor, state, count, |job| {
            assert!(state.is_none_or(|state| state == job.state));
            shown.push(job.id);
        });
        assert!(shown.len() <= count);
        let end = next.unwrap_or(u64::MAX);
        assert!(end > cursor || next.is_none(), "a scan from {cursor} goes on from {end}");
        let expected: Vec<u64> = self
            .model
            .jobs
            .range(cursor..end)
            .filter(|(_, job)| state.is_none_or(|state| state == job.place.state()))
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(shown, expected, "scan from {cursor} for {state:?}, COUNT {count}, next {next:?}");
        next
    }
}

/// The job that a change is about.
fn job_of(change: &Change<'_>) -> Option<u64> {
    match *change {
        Change::Reserve { id, .. }
        | Change::Delete { id }
        | Change::Return { id, .. }
        | Change::Bury { id, .. }
        | Change::Touch { id, .. }
        | Change::Kick { id }
        | Change::Prioritize { id, .. }
        | Change::Delay { id, .. } => Some(id),
        _ => panic!("{change:?} was not asked for"),
    }
}

/// A job in the model's words.
fn seen(job: &Job<'_>) -> ModelJob {
    let place = match job.state {
        State::Ready => Place::Ready { since_ms: job.ready_since_ms() },
        State::Delayed => Place::Delayed { due_ms: job.timing.at },
        State::Reserved => {
            let r = job.reservation.expect("a reserved job is held");
            Place::Reserved(crate::naive::Held {
                n: r.n,
                since_ms: r.reserved_at_ms,
                deadline_ms: r.deadline_ms,
                worker: r.worker,
                ttr_ms: r.ttr_ms,
            })
        }
        State::Buried => Place::Buried { number: job.timing.at },
    };
    ModelJob {
        place,
        pri: job.pri,
        created_ms: job.created_ms,
        delay_ms: job.timing.delay_ms,
        ttr_ms: job.ttr_ms,
        attempt: job.attempt(),
        reserves: job.reserves(),
        timeouts: job.history.timeouts,
        releases: job.history.releases,
        buries: job.history.buries,
        kicks: job.history.kicks,
        last_n: job.reservation.map_or(job.history.last_n, |r| r.n),
        body: job.body.to_vec(),
    }
}
