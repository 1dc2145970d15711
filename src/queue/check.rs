//! What a change from outside must satisfy before it is applied, and what must hold of every tube.

use std::collections::HashMap;
use std::fmt;

use super::event::{Change, States, Then};
use super::job::{BODY_MAX, ID_MAX, Job, State};
use super::time::{DURATION_MAX_MS, TIME_MAX_MS, U48_MAX};
use super::tube::{BURIALS_MAX, Header, Tube};

/// Why changes from outside are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// An id is 0 or above [`ID_MAX`], or a new job's id is not above those the tube has held.
    Id(u64),
    /// There is no such job.
    NoJob(u64),
    /// The job's state does not allow the change.
    State(u64),
    /// A lease's number is not above the job's earlier ones.
    Lease(u64),
    /// A time, duration or number is out of its range.
    Range(u64),
    /// A job's data contradict each other.
    Job(u64),
    /// Jobs of a snapshot that stand together do not fit together.
    Chunk,
    /// The tube's own data contradict its jobs.
    Head,
    /// There is no tube, and the change would not create one.
    NoTube,
    /// The tube is not empty, or something follows its removal.
    Remove,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Id(id) => write!(f, "job id {id} cannot be given here"),
            Invalid::NoJob(id) => write!(f, "there is no job {id}"),
            Invalid::State(id) => write!(f, "job {id} is in another state"),
            Invalid::Lease(id) => write!(f, "job {id} had a later lease already"),
            Invalid::Range(value) => write!(f, "{value} is out of range"),
            Invalid::Job(id) => write!(f, "job {id} contradicts itself"),
            Invalid::Chunk => write!(f, "jobs do not fit together"),
            Invalid::Head => write!(f, "the tube's data contradict its jobs"),
            Invalid::NoTube => write!(f, "there is no such tube"),
            Invalid::Remove => write!(f, "only an empty tube can be removed, and last"),
        }
    }
}

impl std::error::Error for Invalid {}

pub(super) fn in_range(value: u64, min: u64, max: u64) -> Result<(), Invalid> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(Invalid::Range(value)) }
}

/// Whether a lease numbered `n` may come after one numbered `last_n`. No clock gets to the largest number; but a
/// job may come with it from outside, and must not be one that nobody can ever reserve again.
fn may_follow(n: u64, last_n: u64) -> bool {
    n > last_n || n == U48_MAX
}

const LATEST_MS: u64 = TIME_MAX_MS + DURATION_MAX_MS;

/// What of a job matters for the next change: its state, and the highest lease number so far.
type Stand = (State, u64);

/// The tube as it would be after the changes so far, as much of it as matters for the next one.
struct Draft<'t> {
    tube: &'t Tube,
    /// Whether another change follows, for which this one must be remembered.
    goes_on: bool,
    jobs: HashMap<u64, Option<Stand>>,
    cleared: States,
    counts: [i64; 4],
    header: Header,
    removed: bool,
}

impl Draft<'_> {
    fn stand(&self, id: u64) -> Option<Stand> {
        if let Some(stand) = self.jobs.get(&id) {
            return *stand;
        }
        let job = self.tube.job(id).filter(|job| !self.cleared.has(job.state))?;
        Some((job.state, job.reservation.map_or(job.history.last_n, |r| r.n)))
    }

    fn set(&mut self, id: u64, stand: Option<Stand>) {
        if let Some((state, _)) = self.stand(id) {
            self.counts[state as usize] -= 1;
        }
        if let Some((state, _)) = stand {
            self.counts[state as usize] += 1;
        }
        if self.goes_on {
            self.jobs.insert(id, stand);
        }
    }

    /// A job that must be there, in one of `states`.
    fn expect(&self, id: u64, states: &[State]) -> Result<Stand, Invalid> {
        let stand = self.stand(id).ok_or(Invalid::NoJob(id))?;
        if states.contains(&stand.0) { Ok(stand) } else { Err(Invalid::State(id)) }
    }

    fn go(&mut self, id: u64, from: &[State], to: State) -> Result<(), Invalid> {
        let (_, n) = self.expect(id, from)?;
        self.set(id, Some((to, n)));
        Ok(())
    }

    fn add(&mut self, id: u64, stand: Stand) -> Result<(), Invalid> {
        if id > ID_MAX || id <= self.header.last_id {
            return Err(Invalid::Id(id));
        }
        self.header.last_id = id;
        self.set(id, Some(stand));
        Ok(())
    }

    fn make(&mut self, change: &Change<'_>) -> Result<(), Invalid> {
        use State::{Buried, Delayed, Ready, Reserved};
        if self.removed {
            return Err(Invalid::Remove);
        }
        match *change {
            Change::Put { id, delay_ms, ttr_ms, body, .. } => {
                in_range(body.len() as u64, 0, BODY_MAX)?;
                in_range(delay_ms, 0, DURATION_MAX_MS)?;
                in_range(ttr_ms, 1, DURATION_MAX_MS)?;
                self.add(id, (if delay_ms == 0 { Ready } else { Delayed }, 0))
            }
            Change::Reserve { id, n, worker, ttr_ms } => {
                in_range(n, 1, U48_MAX)?;
                in_range(worker, 0, U48_MAX)?;
                in_range(ttr_ms, 1, DURATION_MAX_MS)?;
                let (_, last_n) = self.expect(id, &[Ready, Delayed, Buried])?;
                if !may_follow(n, last_n) {
                    return Err(Invalid::Lease(id));
                }
                self.set(id, Some((Reserved, n)));
                Ok(())
            }
            Change::Delete { id } => {
                self.expect(id, &State::ALL)?;
                self.set(id, None);
                Ok(())
            }
            Change::Return { id, then, .. } => {
                let to = match then {
                    Then::Ready => Ready,
                    Then::Delayed { delay_ms } => {
                        in_range(delay_ms, 1, DURATION_MAX_MS)?;
                        Delayed
                    }
                    Then::Buried => {
                        self.header.next_burial();
                        Buried
                    }
                };
                self.go(id, &[Reserved], to)
            }
            Change::Bury { id, .. } => {
                self.header.next_burial();
                self.go(id, &[Reserved], Buried)
            }
            Change::Touch { id, for_ms } => {
                in_range(for_ms, 0, DURATION_MAX_MS)?;
                self.expect(id, &[Reserved]).map(|_| ())
            }
            Change::Kick { id } => self.go(id, &[Buried, Delayed], Ready),
            Change::Promote { id } => self.go(id, &[Delayed], Ready),
            Change::Prioritize { id, .. } => self.expect(id, &State::ALL).map(|_| ()),
            Change::Delay { id, delay_ms } => {
                in_range(delay_ms, 0, DURATION_MAX_MS)?;
                self.go(id, &[Ready, Delayed, Buried], Delayed)
            }
            Change::Pause { for_ms } => {
                in_range(for_ms, 0, DURATION_MAX_MS)?;
                self.header.paused_until_ms = for_ms;
                Ok(())
            }
            Change::Resume => {
                self.header.paused_until_ms = 0;
                Ok(())
            }
            Change::Clear { states } => self.clear(states),
            Change::Restore(job) => {
                check_job(&job)?;
                if job.state == Buried {
                    self.header.burials = self.header.burials.max(job.timing.at);
                }
                let n = job.reservation.map_or(job.history.last_n, |r| r.n);
                self.add(job.id, (job.state, n))
            }
            Change::Head(header) => self.head(header),
            Change::Remove => {
                self.removed = true;
                let is_idle = self.counts.iter().all(|count| *count == 0) && self.header.paused_until_ms == 0;
                if is_idle { Ok(()) } else { Err(Invalid::Remove) }
            }
        }
    }

    fn clear(&mut self, states: States) -> Result<(), Invalid> {
        if !states.is_valid() || states.is_empty() {
            return Err(Invalid::Range(0));
        }
        for state in State::ALL.into_iter().filter(|state| states.has(*state)) {
            self.cleared = self.cleared.with(state);
            self.counts[state as usize] = 0;
        }
        self.jobs.values_mut().for_each(|stand| *stand = stand.filter(|(state, _)| !states.has(*state)));
        Ok(())
    }

    fn head(&mut self, header: Header) -> Result<(), Invalid> {
        check_header(&header)?;
        if header.last_id < self.header.last_id || header.burials < self.header.burials {
            return Err(Invalid::Head);
        }
        self.header = header;
        Ok(())
    }
}

/// What must hold of the data that a tube has besides its jobs.
fn check_header(header: &Header) -> Result<(), Invalid> {
    in_range(header.last_id, 0, ID_MAX)?;
    in_range(header.burials, 0, BURIALS_MAX)?;
    in_range(header.paused_until_ms, 0, LATEST_MS)?;
    in_range(header.pause_ms, 0, DURATION_MAX_MS)?;
    in_range(header.used_at_ms, 0, TIME_MAX_MS)?;
    if (header.paused_until_ms == 0) != (header.pause_ms == 0) {
        return Err(Invalid::Head);
    }
    Ok(())
}

/// What must hold of a job in a snapshot.
pub(super) fn check_job(job: &Job<'_>) -> Result<(), Invalid> {
    in_range(job.id, 1, ID_MAX)?;
    in_range(job.created_ms, 0, TIME_MAX_MS)?;
    in_range(job.body.len() as u64, 0, BODY_MAX)?;
    in_range(job.ttr_ms, 1, DURATION_MAX_MS)?;
    in_range(job.timing.delay_ms, 0, DURATION_MAX_MS)?;
    in_range(job.history.last_n, 0, U48_MAX)?;
    match job.state {
        State::Ready => in_range(job.timing.at, 0, TIME_MAX_MS)?,
        State::Delayed => in_range(job.timing.at, 0, LATEST_MS)?,
        State::Reserved => in_range(job.timing.at, 0, 0)?,
        State::Buried => in_range(job.timing.at, 1, BURIALS_MAX)?,
    }
    match (job.state, job.reservation) {
        (State::Reserved, Some(r)) => {
            in_range(r.n, 1, U48_MAX)?;
            in_range(r.deadline_ms, 0, LATEST_MS)?;
            in_range(r.reserved_at_ms, 0, TIME_MAX_MS)?;
            in_range(r.worker, 0, U48_MAX)?;
            in_range(r.ttr_ms, 1, DURATION_MAX_MS)?;
            if !may_follow(r.n, job.history.last_n) {
                return Err(Invalid::Lease(job.id));
            }
            Ok(())
        }
        (State::Reserved, None) | (_, Some(_)) => Err(Invalid::Job(job.id)),
        (_, None) => Ok(()),
    }
}

impl Tube {
    /// Checks changes that come from outside against this tube: each must be possible after those before it.
    /// Nothing is changed. Costs O(log n) for each change, and memory only where there are several.
    pub fn verify(&self, at_ms: u64, changes: &[Change<'_>]) -> Result<(), Invalid> {
        self.verify_each(at_ms, changes.iter().map(|change| Ok(*change)))
    }

    /// As [`Tube::verify`], for changes that are read on the way; an error among them is passed on.
    pub fn verify_each<'c, E: From<Invalid>>(
        &self,
        at_ms: u64,
        changes: impl Iterator<Item = Result<Change<'c>, E>>,
    ) -> Result<(), E> {
        in_range(at_ms, 0, TIME_MAX_MS)?;
        let counts = self.counts();
        let mut draft = Draft {
            tube: self,
            goes_on: true,
            jobs: HashMap::new(),
            cleared: States::NONE,
            counts: State::ALL.map(|state| counts.of(state) as i64),
            header: *self.header(),
            removed: false,
        };
        let mut changes = changes.peekable();
        while let Some(change) = changes.next() {
            draft.goes_on = changes.peek().is_some();
            draft.make(&change?)?;
        }
        Ok(())
    }

    /// What must hold of every tube at every time; `Err` says what does not. Costs a look at every job: for
    /// tests.
    pub fn check(&self) -> Result<(), String> {
        self.jobs.check()?;
        check_header(&self.header).map_err(|e| e.to_string())?;
        for job in self.jobs() {
            check_job(&job).map_err(|e| e.to_string())?;
            if job.id > self.header.last_id {
                return Err(format!("job {} is above the last id {}", job.id, self.header.last_id));
            }
            if job.state == State::Buried && job.timing.at > self.header.burials {
                return Err(format!("job {} has a burial of its own", job.id));
            }
        }
        Ok(())
    }
}
