//! What producers and workers know of their jobs. Every body is its job's name: no two jobs have the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Where a job should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Now {
    /// In the tube, ready or delayed.
    Waiting,
    /// Reserved, with this lease.
    Held(String),
    Buried,
    Gone,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    pub tube: String,
    /// Known once its producer was answered, or a worker was given it.
    pub id: Option<i64>,
    pub now: Now,
    /// All leases of it that somebody was told.
    pub leases: Vec<String>,
    /// Not before this may it be given to anybody.
    pub due_at: Instant,
    /// Whether a replica had it, when nobody had tried to delete it yet.
    pub is_confirmed: bool,
    /// Whether somebody sent something whose answer was lost, or a failover may have forgotten something.
    pub is_unsure: bool,
    pub may_be_deleted: bool,
}

/// Servers read a clock that counts milliseconds, and it is not the one that is read here.
const GRAIN: Duration = Duration::from_millis(2);

/// Everything that is known from outside.
#[derive(Default)]
pub struct Book {
    pub jobs: HashMap<String, Job>,
    ids: BTreeMap<(String, i64), String>,
    last: u64,
    /// What must not be.
    pub faults: Vec<String>,
}

/// The book, shared by all.
#[derive(Default)]
pub struct Ledger {
    book: Mutex<Book>,
    /// Whether servers may forget what was not confirmed: one of them is killed.
    is_lossy: bool,
}

impl Ledger {
    /// A ledger for servers that must not forget anything.
    pub fn exact() -> Ledger {
        Ledger::default()
    }

    /// A ledger for servers that may forget what no replica had.
    pub fn lossy() -> Ledger {
        Ledger { is_lossy: true, ..Ledger::default() }
    }

    pub fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no thread panicked with the book")
    }

    pub fn fault(&self, text: String) {
        self.book().faults.push(text);
    }

    /// Panics if anything was seen that must not be.
    #[track_caller]
    pub fn must_be_clean(&self) {
        let faults = self.book().faults.clone();
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }

    /// A job is about to be put. Returns its body.
    pub fn putting(&self, tube: &str, delay: Duration) -> String {
        let mut book = self.book();
        book.last += 1;
        let body = format!("job {}", book.last);
        let job = Job {
            tube: tube.to_owned(),
            id: None,
            now: Now::Waiting,
            leases: Vec::new(),
            due_at: Instant::now() + delay,
            is_confirmed: false,
            is_unsure: false,
            may_be_deleted: false,
        };
        book.jobs.insert(body.clone(), job);
        body
    }

    pub fn was_put(&self, body: &str, id: i64) {
        let mut book = self.book();
        book.has_id(body, id);
    }

    /// A replica has the job by now.
    pub fn was_confirmed(&self, body: &str) {
        if let Some(job) = self.book().jobs.get_mut(body) {
            job.is_confirmed = !job.may_be_deleted;
        }
    }

    /// A worker was given a job.
    pub fn was_given(&self, tube: &str, body: &str, id: i64, lease: &str) {
        let is_lossy = self.is_lossy;
        let mut book = self.book();
        book.has_id(body, id);
        let Some(job) = book.jobs.get_mut(body) else {
            return book.faults.push(format!("nobody put '{body}', which {tube} gave"));
        };
        let mut faults = Vec::new();
        if job.tube != tube {
            faults.push(format!("'{body}' was put into {}, and came from {tube}", job.tube));
        }
        if job.now != Now::Waiting && !job.is_unsure && !is_lossy {
            faults.push(format!("'{body}' was given with {lease}, though it is {:?}", job.now));
        }
        // Where a reservation was forgotten, its release with a delay is refused.
        if Instant::now() + GRAIN < job.due_at && (!is_lossy || job.leases.is_empty()) {
            faults.push(format!("'{body}' was given before its delay was over"));
        }
        if job.leases.iter().any(|old| old == lease) {
            faults.push(format!("'{body}' was given with {lease} twice"));
        }
        job.now = Now::Held(lease.to_owned());
        job.leases.push(lease.to_owned());
        book.faults.extend(faults);
    }

    /// A worker is about to do something about its job that may end it.
    pub fn deleting(&self, body: &str) {
        if let Some(job) = self.book().jobs.get_mut(body) {
            (job.may_be_deleted, job.is_confirmed) = (true, false);
        }
    }

    /// What a worker did about its job was answered: with 1, and the job is `now` there, or with 0. For a release
    /// it is said before it is sent, as somebody else may be given the job before the answer is here.
    pub fn was_done(&self, body: &str, count: i64, now: Now, delay: Duration) {
        let is_lossy = self.is_lossy;
        let mut book = self.book();
        let Some(job) = book.jobs.get_mut(body) else { return };
        let fault = match count {
            1 if job.now == Now::Gone && now == Now::Gone && !is_lossy => Some("was deleted twice"),
            1 => {
                job.now = now;
                job.due_at = Instant::now() + delay;
                None
            }
            _ if is_lossy => {
                job.is_unsure = true;
                None
            }
            _ => Some("was not this worker's any more, though its lease must be good"),
        };
        book.faults.extend(fault.map(|fault| format!("'{body}' {fault}")));
    }

    /// An answer about this job was lost.
    pub fn was_lost(&self, body: &str) {
        if let Some(job) = self.book().jobs.get_mut(body) {
            job.is_unsure = true;
        }
    }
}

impl Book {
    fn has_id(&mut self, body: &str, id: i64) {
        let Some(job) = self.jobs.get_mut(body) else { return };
        if job.id.is_some_and(|known| known != id) {
            self.faults.push(format!("'{body}' is job {id}, and job {:?} as well", job.id));
        }
        job.id = Some(id);
        let key = (job.tube.clone(), id);
        let other = self.ids.insert(key, body.to_owned()).filter(|other| other != body);
        self.faults.extend(other.map(|other| format!("the id {id} was given to '{other}' and '{body}'")));
    }

    /// The tubes that jobs were put into.
    pub fn tubes(&self) -> BTreeSet<String> {
        self.jobs.values().map(|job| job.tube.clone()).collect()
    }
}
