//! The auditor: compares the keyspace before and after every step, job by job, and knows for every difference
//! what may have brought it about. It keeps books of its own about ids and leases.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use phean::broker::{Settings, Slices};
use phean::commands::Verb;
use phean::queue::{Handle, Job, Order, Reservation, State, Tube};

use super::deed::{Deed, Given, Standing};
use super::world::{Keyspace, Place};

/// The tube's birth, the job's id, and the lease's number.
pub type LeaseKey = (u64, u64, u64);

/// What the auditor knows of a lease.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub is_live: bool,
    pub deadline_ms: u64,
    pub ttr_ms: u64,
    pub worker: u64,
    /// Whether somebody was told of it.
    pub is_told: bool,
    /// Whether it came with a copy or a backup of its tube: who holds it is not known.
    is_adopted: bool,
}

/// A lease that came into being in this step.
#[derive(Clone, Copy, Debug)]
pub struct NewLease {
    pub place: Place,
    pub worker: u64,
}

#[derive(Default)]
pub struct Auditor {
    /// Every id that was ever given, and its body.
    pub bodies: HashMap<u64, Vec<u8>>,
    pub leases: HashMap<LeaseKey, Lease>,
    live: HashSet<LeaseKey>,
    /// Reservations that nobody holds any longer, and that must go back.
    pub due_back: HashSet<LeaseKey>,
    /// The same, wherever a copy of the job may stand now.
    may_go_back: HashSet<(u64, u64)>,
    /// The highest id and lease number so far.
    pub id_max: u64,
    pub n_max: u64,
    /// The latest time that the clock has shown.
    pub latest_ms: u64,
}

/// One step, while it is looked at.
struct Look<'a> {
    deed: &'a Deed,
    now_ms: u64,
    settings: Settings,
    line: &'a [Standing],
    put_ids: Vec<u64>,
    new: Vec<NewLease>,
    gone: u64,
}

impl Look<'_> {
    /// Whether the command names a job as it was before; the number of a lease that somebody gets who waits can be
    /// guessed.
    fn names(&self, place: Place, job: &Job<'_>) -> bool {
        let is_guess = |n: u64| n > job.history.last_n && n >= self.now_ms && !self.line.is_empty();
        let guessed = |handle: &Handle| handle.id == job.id && handle.n.is_some_and(is_guess);
        let guessed = self.deed.places.contains(&place) && self.deed.handles.iter().any(guessed);
        guessed || self.deed.names(place, job.id, job.reservation.map(|r| r.n))
    }
}

impl Auditor {
    /// Looks at a step. Returns the leases that came into being.
    pub fn step(
        &mut self,
        before: &Keyspace,
        after: &Keyspace,
        deed: &Deed,
        (now_ms, settings): (u64, Settings),
        line: &[Standing],
    ) -> Vec<NewLease> {
        let put_ids = deed.put_ids();
        self.note_puts(deed, &put_ids);
        let expected = self.expected_count(before, deed, now_ms, line);
        let mut look = Look { deed, now_ms, settings, line, put_ids, new: Vec::new(), gone: 0 };
        if !before.is_same(after) {
            self.compare_all(&mut look, before, after);
        }
        for id in &look.put_ids {
            let tube = after.tube(deed.places[0]).map(|(tube, _)| tube);
            assert!(tube.is_some_and(|tube| tube.job(*id).is_some()), "job {id} was put and is not there");
        }
        if let (Some(expected), Some(reply)) = (expected, &deed.reply) {
            assert_eq!(reply.integer(), expected, "the count of {:?} is not what it should be", deed.verb);
        }
        if let (Some(reply), true) = (&deed.reply, deed.is(&[Verb::Delete, Verb::Clear])) {
            assert_eq!(reply.integer(), look.gone, "not so many jobs are gone as the reply says");
        }
        self.check_given(after, deed, now_ms, settings.slices);
        look.new
    }

    fn compare_all(&mut self, look: &mut Look<'_>, before: &Keyspace, after: &Keyspace) {
        let mut old: HashMap<u64, (Place, &Rc<Tube>)> =
            before.tubes().map(|(place, tube, birth)| (birth, (place, tube))).collect();
        for (place, tube, birth) in after.tubes() {
            match old.remove(&birth) {
                Some((_, old)) if Rc::ptr_eq(old, tube) => continue,
                Some((_, old)) => self.compare(look, (birth, place), old, tube),
                None if look.deed.is_keyspace || look.deed.is(&[Verb::Apply]) => self.adopt(birth, tube),
                None => {
                    assert!(
                        look.deed.is(&[Verb::Put, Verb::Mput, Verb::Pause]) && look.deed.places[0] == place,
                        "{place:?} came from nowhere"
                    );
                    self.compare(look, (birth, place), &Tube::new(look.now_ms), tube);
                }
            }
            tube.check().unwrap_or_else(|error| panic!("{place:?}: {error}"));
        }
        for (birth, (place, tube)) in old {
            let expires_at_ms = before.0.get(&place).and_then(|entry| entry.expires_at_ms);
            let is_expired = expires_at_ms.is_some_and(|at_ms| at_ms <= look.now_ms);
            if !look.deed.is_keyspace && !is_expired {
                self.removed(look, (birth, place), tube);
            }
            self.forget(birth);
        }
    }

    fn note_puts(&mut self, deed: &Deed, ids: &[u64]) {
        if deed.is(&[Verb::Put, Verb::Mput]) && deed.reply.is_some() {
            assert_eq!(ids.len(), deed.bodies.len(), "every body has an id");
        }
        for (id, body) in ids.iter().zip(&deed.bodies) {
            self.note_id(*id, body);
        }
    }

    /// A new id: it must never have been given before.
    pub fn note_id(&mut self, id: u64, body: &[u8]) {
        assert!(self.bodies.insert(id, body.to_vec()).is_none(), "id {id} was given twice");
        self.id_max = self.id_max.max(id);
    }

    /// A tube whose jobs come from elsewhere: with their leases.
    fn adopt(&mut self, birth: u64, tube: &Tube) {
        for job in tube.jobs() {
            let Some(r) = job.reservation else { continue };
            self.n_max = self.n_max.max(r.n);
            let lease = Lease {
                is_live: true,
                deadline_ms: r.deadline_ms,
                ttr_ms: r.ttr_ms,
                worker: r.worker,
                is_told: true,
                is_adopted: true,
            };
            self.leases.insert((birth, job.id, r.n), lease);
            self.live.insert((birth, job.id, r.n));
        }
    }

    /// After a crash or a failover: what holds now holds, whatever happened in between is forgotten, and
    /// nobody is connected.
    pub fn roll_back(&mut self, keys: &Keyspace) {
        for key in std::mem::take(&mut self.live) {
            self.leases.entry(key).and_modify(|lease| lease.is_live = false);
        }
        keys.tubes().for_each(|(_, tube, birth)| self.adopt(birth, tube));
        self.due_back.clear();
        self.may_go_back.clear();
    }

    fn forget(&mut self, birth: u64) {
        let keys: Vec<LeaseKey> = self.live.iter().filter(|key| key.0 == birth).copied().collect();
        keys.into_iter().for_each(|key| self.end(key));
    }

    fn end(&mut self, key: LeaseKey) {
        self.live.remove(&key);
        self.due_back.remove(&key);
        self.leases.get_mut(&key).expect("a lease that the auditor knows").is_live = false;
    }

    /// A reservation whose waiter may never hear of it.
    pub fn may_go_back(&mut self, key: LeaseKey) {
        self.may_go_back.insert((key.1, key.2));
    }

    /// A reservation that nobody holds any longer.
    pub fn must_go_back(&mut self, key: LeaseKey) {
        self.may_go_back.insert((key.1, key.2));
        if self.live.contains(&key) {
            self.due_back.insert(key);
        }
    }

    /// A waiter is no longer there: what was set aside for it goes back. Of jobs that came with an event from outside
    /// it is not known whether they were.
    pub fn let_go(&mut self, client: u64) {
        let adopted = self.live_of(client, |lease| lease.is_adopted);
        adopted.into_iter().for_each(|key| self.may_go_back(key));
        self.untold(client).into_iter().for_each(|key| self.must_go_back(key));
    }

    /// Leases of a client that hold, and that it may not have been told of.
    pub fn perhaps_untold(&self, client: u64) -> Vec<LeaseKey> {
        self.live_of(client, |lease| !lease.is_told || lease.is_adopted)
    }

    /// Leases of a client that hold, and that it was not told of.
    pub fn untold(&self, client: u64) -> Vec<LeaseKey> {
        self.live_of(client, |lease| !lease.is_told)
    }

    fn live_of(&self, client: u64, is_meant: impl Fn(&Lease) -> bool) -> Vec<LeaseKey> {
        let leases = self.live.iter().filter(|key| self.leases[*key].worker == client);
        leases.filter(|key| is_meant(&self.leases[*key])).copied().collect()
    }

    /// A lease reaches its worker: the only one that ever hears of it.
    pub fn tell(&mut self, key: LeaseKey, client: u64) {
        let lease = self.leases.get_mut(&key).unwrap_or_else(|| panic!("{key:?} is no lease"));
        assert!(lease.is_live, "client {client} is told of the lease {key:?}, which is over");
        assert!(!lease.is_told || lease.is_adopted, "the lease {key:?} was given to two workers");
        assert_eq!(lease.worker, client, "the lease {key:?} reaches somebody else");
        (lease.is_told, lease.is_adopted) = (true, false);
    }

    fn removed(&mut self, look: &mut Look<'_>, (birth, place): (u64, Place), tube: &Tube) {
        let linger_ms = look.settings.linger_ms;
        let is_over = tube.header().used_at_ms + linger_ms <= look.now_ms;
        assert!(linger_ms == 0 || look.deed.is_tick && is_over, "{place:?} went before its time");
        // A pause of no time ends one, and so does an event with a tube's own data.
        let may_resume = look.deed.is(&[Verb::Pause, Verb::Apply]);
        let is_paused = tube.is_paused(look.now_ms) && !may_resume;
        assert!(!is_paused, "{place:?} went though it is paused");
        self.compare(look, (birth, place), tube, &Tube::default());
    }

    fn compare(&mut self, look: &mut Look<'_>, (birth, place): (u64, Place), old: &Tube, new: &Tube) {
        if look.deed.is(&[Verb::Apply]) && look.deed.places[0] == place {
            self.forget(birth);
            return self.adopt(birth, new);
        }
        let mut news = new.jobs().peekable();
        for job in old.jobs() {
            assert!(news.peek().is_none_or(|new| new.id >= job.id), "job {:?} is out of order", news.peek());
            match news.next_if(|new| new.id == job.id) {
                Some(new) if new == job => {}
                Some(new) => self.transition(look, (birth, place), &job, &new),
                None => self.gone(look, (birth, place), &job),
            }
        }
        for job in news {
            self.appeared(look, (birth, place), &job);
        }
    }

    fn appeared(&mut self, look: &mut Look<'_>, (birth, place): (u64, Place), job: &Job<'_>) {
        let deed = look.deed;
        let body = look.put_ids.iter().position(|id| *id == job.id).map(|index| &deed.bodies[index]);
        assert_eq!(body.map(|body| &body[..]), Some(job.body), "job {} came from nowhere", job.id);
        assert_eq!(job.pri, deed.pri.unwrap_or(1024));
        assert_eq!(job.ttr_ms, deed.ttr_ms.unwrap_or(look.settings.ttr_ms));
        assert_eq!(job.created_ms, look.now_ms);
        if let Some(delay_ms) = deed.delay_ms.filter(|delay_ms| *delay_ms > 0) {
            assert_eq!((job.state, job.timing.at), (State::Delayed, look.now_ms + delay_ms));
        }
        if let Some(reservation) = job.reservation {
            self.begun(look, (birth, place), job, reservation);
        }
    }

    fn gone(&mut self, look: &mut Look<'_>, (birth, place): (u64, Place), job: &Job<'_>) {
        let deed = look.deed;
        let cleared = || deed.is(&[Verb::Clear]) && deed.places.contains(&place);
        let deleted = deed.is(&[Verb::Delete]) && look.names(place, job);
        assert!(deleted || cleared(), "job {} of {place:?} is lost", job.id);
        if deed.is(&[Verb::Clear]) && !is_due(job, look.now_ms) {
            let named = deed.states.contains(&job.state);
            let usual = deed.states.is_empty() && job.state != State::Reserved;
            // A ready job may have been handed to somebody who waited, and cleared there.
            assert!(named || usual || job.state == State::Ready, "job {} was not to be cleared", job.id);
        }
        look.gone += 1;
        if let Some(n) = job.reservation.map(|r| r.n) {
            self.end((birth, job.id, n));
        }
    }

    /// A job is not as it was. Why may that be?
    fn transition(
        &mut self,
        look: &mut Look<'_>,
        (birth, place): (u64, Place),
        old: &Job<'_>,
        new: &Job<'_>,
    ) {
        let (deed, now_ms) = (look.deed, look.now_ms);
        let id = old.id;
        assert_eq!((old.body, old.created_ms, old.ttr_ms), (new.body, new.created_ms, new.ttr_ms));
        let (was, is) = (old.history, new.history);
        let kicked = is.kicks > was.kicks;
        assert!(!kicked || deed.is(&[Verb::Kick, Verb::KickJob]), "job {id} was kicked by nobody");
        assert!(is.reserves >= was.reserves && is.timeouts >= was.timeouts && is.buries >= was.buries);
        if old.pri != new.pri {
            let may = deed.is(&[Verb::Prioritize, Verb::Release, Verb::Bury]);
            assert!(may && look.names(place, old), "job {id} has another priority");
            assert_eq!(Some(new.pri), deed.pri);
        }
        let kept = old.reservation.is_some_and(|r| new.reservation.is_some_and(|s| s.n == r.n));
        match (old.reservation, new.reservation) {
            (Some(r), Some(s)) if kept => self.touched(look, (birth, place, id), r, s),
            (Some(r), _) => self.ended(look, (birth, place), r, old, new),
            (None, _) => {
                let named = look.names(place, old);
                // A command served a waiter first, and then took the job away from it again.
                let in_passing = named && is.reserves > was.reserves && !look.line.is_empty();
                let kept = (was.timeouts, was.releases) == (is.timeouts, is.releases);
                assert!(kept || in_passing, "job {id} was not held");
                let may_leave = match old.state {
                    State::Ready => new.state != State::Delayed || deed.is(&[Verb::Delay]) && named,
                    State::Delayed if new.state == State::Delayed => {
                        old.timing == new.timing || deed.is(&[Verb::Delay]) && named
                    }
                    State::Delayed => {
                        let asked = deed.is(&[Verb::Delay, Verb::ReserveJob]) && named;
                        old.timing.at < now_ms || kicked || asked
                    }
                    State::Buried => {
                        let asked = deed.is(&[Verb::Delay, Verb::ReserveJob]) && named;
                        new.state == State::Buried || kicked || asked
                    }
                    State::Reserved => unreachable!("reserved without a reservation"),
                };
                assert!(
                    may_leave || in_passing,
                    "job {id} went from {:?} to {:?} before its time",
                    old.state,
                    new.state
                );
            }
        }
        if let (Some(reservation), false) = (new.reservation, kept) {
            self.begun(look, (birth, place), new, reservation);
        }
    }

    fn touched(
        &mut self,
        look: &Look<'_>,
        (birth, place, id): (u64, Place, u64),
        r: Reservation,
        s: Reservation,
    ) {
        if r.deadline_ms == s.deadline_ms {
            return;
        }
        let deed = look.deed;
        assert!(deed.is(&[Verb::Touch]) && deed.names(place, id, Some(r.n)), "{id} was touched by nobody");
        let lease = self.leases.get_mut(&(birth, id, r.n)).expect("a known lease");
        lease.deadline_ms = look.now_ms + deed.for_ms.unwrap_or(lease.ttr_ms);
        assert_eq!(s.deadline_ms, lease.deadline_ms, "the new deadline of {id}");
    }

    /// A reservation is over: its time was, or its worker said so, or its worker is gone.
    fn ended(
        &mut self,
        look: &Look<'_>,
        (birth, place): (u64, Place),
        r: Reservation,
        old: &Job<'_>,
        new: &Job<'_>,
    ) {
        let (deed, now_ms) = (look.deed, look.now_ms);
        let (was, is) = (old.history, new.history);
        let (id, n) = (old.id, r.n);
        let named = deed.names(place, id, Some(n));
        let attempts = is.attempts.wrapping_sub(was.attempts);
        let kicked = is.kicks > was.kicks;
        let timed_out = is.timeouts > was.timeouts;
        let counts = if timed_out {
            assert_eq!(is.timeouts, was.timeouts + 1);
            assert!(r.deadline_ms < now_ms, "job {id} timed out before its time");
            let retry = look.settings.retry;
            if deed.is_tick {
                let buried = retry.count.is_some_and(|limit| old.attempt() > limit);
                assert_eq!(new.state == State::Buried, buried, "job {id}: the limit of retries");
                if !buried && retry.interval_ms > 0 {
                    assert_eq!((new.state, new.timing.at), (State::Delayed, now_ms + retry.interval_ms));
                }
            }
            true
        } else if is.releases > was.releases {
            assert!(deed.is(&[Verb::Release]) && named, "job {id} was released by nobody");
            !deed.untried
        } else if deed.is(&[Verb::Bury]) && named && is.buries > was.buries {
            assert_eq!(is.buries, was.buries + 1);
            true
        } else {
            // Its time was over before its waiter was told, or its worker is gone.
            let (lease, is_over) = (&self.leases[&(birth, id, n)], r.deadline_ms < self.latest_ms);
            let unheard_of = is_over && !lease.is_told;
            let goes_back = unheard_of || is_over && lease.is_adopted || self.goes_back((birth, id, n));
            assert!(goes_back, "job {id} was taken from its worker");
            attempts != 0 && !unheard_of
        };
        // What was handed out and came back within the step is another matter.
        if !kicked && is.reserves == was.reserves + 1 {
            assert_eq!(attempts, u32::from(counts), "the attempts of job {id}");
        }
        assert!(is.last_n >= n, "job {id} forgot a lease's number");
        self.end((birth, id, n));
    }

    fn begun(&mut self, look: &mut Look<'_>, (birth, place): (u64, Place), job: &Job<'_>, r: Reservation) {
        let (deed, now_ms, key) = (look.deed, look.now_ms, (birth, job.id, r.n));
        assert!(!self.leases.contains_key(&key), "the lease {key:?} came twice");
        assert!(r.n > job.history.last_n && r.n >= now_ms, "the number of the lease {key:?}");
        assert_eq!(r.reserved_at_ms, now_ms);
        let waiter = look.line.iter().find(|waiter| waiter.client == r.worker);
        let ttr_ms = if deed.is(&[Verb::Reserve, Verb::Mreserve, Verb::ReserveJob]) && r.worker == deed.client
        {
            deed.ttr_ms
        } else {
            waiter.unwrap_or_else(|| panic!("job {} was reserved for nobody", job.id)).ttr_ms
        };
        let ttr_ms = ttr_ms.unwrap_or(job.ttr_ms);
        let touched = deed.is(&[Verb::Touch]) && deed.names(place, job.id, Some(r.n));
        let as_asked = touched || r.deadline_ms == now_ms + ttr_ms;
        assert!(as_asked, "the deadline of the lease {key:?} is {}", r.deadline_ms);
        let (worker, deadline_ms) = (r.worker, r.deadline_ms);
        let lease = Lease { is_live: true, deadline_ms, ttr_ms, worker, is_told: false, is_adopted: false };
        self.leases.insert(key, lease);
        self.live.insert(key);
        self.n_max = self.n_max.max(r.n);
        look.new.push(NewLease { place, worker });
    }

    /// How many jobs the command must have been right about, or `None` where that depends on who was served
    /// first.
    fn expected_count(&self, before: &Keyspace, deed: &Deed, now_ms: u64, line: &[Standing]) -> Option<u64> {
        if !deed.is(&[Verb::Delete, Verb::Release, Verb::Bury, Verb::Touch]) {
            return None;
        }
        let place = deed.places[0];
        let expires_at_ms = before.0.get(&place).and_then(|entry| entry.expires_at_ms);
        let there = before.tube(place).filter(|_| expires_at_ms.is_none_or(|at_ms| at_ms > now_ms));
        let Some((tube, birth)) = there else { return Some(0) };
        let mut used = HashSet::new();
        let mut count = 0;
        for handle in &deed.handles {
            let job = tube.job(handle.id);
            let accepted = match (handle.n, job) {
                _ if used.contains(&handle.id) => false,
                (Some(n), _) => match self.leases.get(&(birth, handle.id, n)) {
                    Some(lease) => lease.is_live && lease.deadline_ms >= now_ms,
                    // A number that was guessed may be the one that somebody gets who waits.
                    None if !line.is_empty() && n >= now_ms => return None,
                    None => false,
                },
                (None, None) => false,
                (None, Some(_)) if deed.is(&[Verb::Delete]) => true,
                (None, Some(job)) => match job.reservation {
                    Some(r) if r.deadline_ms >= now_ms => true,
                    Some(_) => return None,
                    None if !line.is_empty() => return None,
                    None => false,
                },
            };
            count += u64::from(accepted);
            if accepted {
                used.insert(handle.id);
            }
        }
        Some(count)
    }

    /// What a reserve gave: told to nobody else, and the most urgent there was.
    fn check_given(&mut self, after: &Keyspace, deed: &Deed, now_ms: u64, slices: Slices) {
        let given = deed.given();
        for job in &given {
            self.check_job(after, job, deed.client, now_ms);
        }
        if !deed.is(&[Verb::Reserve, Verb::Mreserve]) || deed.is_error {
            return;
        }
        let urgency = |job: &Given| {
            let (tube, _) = after.tube(job.place).expect("a job was reserved there");
            (tube.job(job.id).expect("a job that was reserved").pri, job.id)
        };
        let urgencies: Vec<(u32, u64)> = given.iter().map(urgency).collect();
        assert!(urgencies.is_sorted(), "the jobs {urgencies:?} are not in order");
        let is_full = given.len() == deed.count.unwrap_or(1) as usize;
        for place in &deed.places {
            let expires_at_ms = after.0.get(place).and_then(|entry| entry.expires_at_ms);
            let tube = after.tube(*place).filter(|_| expires_at_ms.is_none_or(|at_ms| at_ms > now_ms));
            let Some((tube, _)) = tube.filter(|(tube, _)| !tube.is_paused(now_ms)) else {
                assert!(given.iter().all(|job| job.place != *place), "{place:?} is paused");
                continue;
            };
            let Some(left) = tube.first(Order::Ready) else { continue };
            let last = urgencies.last().copied().unwrap_or_default();
            if deed.is(&[Verb::Mreserve]) && slices != Slices::default() {
                // Jobs were chosen after one slice, and reserved after the next.
                continue;
            }
            assert!(is_full, "job {} of {place:?} was left ready", left.id);
            // A copy of a tube has jobs of the same id.
            assert!((left.pri, left.id) >= last, "job {} of {place:?} is more urgent than {last:?}", left.id);
        }
    }

    pub fn check_job(&mut self, keys: &Keyspace, job: &Given, client: u64, now_ms: u64) {
        let (tube, birth) = keys.tube(job.place).expect("a tube with a reserved job");
        self.tell((birth, job.id, job.n), client);
        let there = tube.job(job.id).expect("the job that was reserved");
        assert_eq!(self.bodies.get(&job.id), Some(&job.body), "the body of job {}", job.id);
        assert_eq!(job.attempt, u64::from(there.attempt()));
        let deadline_ms = self.leases[&(birth, job.id, job.n)].deadline_ms;
        assert_eq!(job.left_ms, deadline_ms.saturating_sub(now_ms), "the time left of job {}", job.id);
    }

    /// Once everything is delivered and ticked: nothing is held by nobody.
    pub fn check_settled(&mut self, now_ms: u64) {
        for key in &self.live {
            let lease = self.leases[key];
            assert!(lease.is_told || lease.deadline_ms < now_ms, "nobody was told of the lease {key:?}");
        }
        let left: Vec<&LeaseKey> = self.due_back.iter().collect();
        assert!(left.is_empty(), "the leases {left:?} did not go back");
        self.may_go_back.clear();
    }

    /// Whether this reservation may be about to go back.
    pub fn goes_back(&self, key: LeaseKey) -> bool {
        self.may_go_back.contains(&(key.1, key.2))
    }

    /// Whether the time of this reservation is over.
    pub fn is_over(&self, key: LeaseKey, now_ms: u64) -> bool {
        self.leases.get(&key).is_none_or(|lease| lease.deadline_ms < now_ms)
    }

    /// Whether no reservation is about to go back.
    pub fn is_quiet(&self) -> bool {
        self.may_go_back.is_empty()
    }
}

/// Whether something happens to this job by itself now.
fn is_due(job: &Job<'_>, now_ms: u64) -> bool {
    match job.reservation {
        Some(reservation) => reservation.deadline_ms < now_ms,
        None => job.state == State::Delayed && job.timing.at < now_ms,
    }
}
