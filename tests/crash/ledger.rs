//! What producers and workers sent, and what they were answered.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// A job whose id somebody knows.
#[derive(Clone, Debug)]
pub struct Known {
    pub body: Vec<u8>,
    /// Whether its producer was answered. A worker may hear of it before.
    pub is_answered: bool,
    pub put_at: Instant,
    /// Deletes that were sent, and not answered with a no.
    pub deletes: u32,
    /// When a delete was acknowledged.
    pub deleted_at: Option<Instant>,
}

/// Everything that is known from outside.
#[derive(Default)]
pub struct Book {
    pub jobs: HashMap<i64, Known>,
    /// The bodies of jobs that were not there any more after a crash.
    pub gone: HashMap<i64, Vec<u8>>,
    /// Bodies that were sent, and not answered.
    pub unanswered: HashSet<Vec<u8>>,
    /// Every id that was ever seen.
    pub ids: HashSet<i64>,
    /// The numbers of all leases of a job.
    pub leases: HashMap<i64, Vec<u64>>,
    /// What must not be.
    pub faults: Vec<String>,
}

/// The book, shared by all.
#[derive(Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

impl Ledger {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no thread panicked with the book")
    }

    /// How many jobs there should be.
    pub fn count(&self) -> usize {
        self.book().jobs.values().filter(|job| job.deleted_at.is_none()).count()
    }

    pub fn putting(&self, body: &[u8]) {
        self.book().unanswered.insert(body.to_vec());
    }

    pub fn was_put(&self, id: i64, body: &[u8]) {
        let mut book = self.book();
        book.unanswered.remove(body);
        let is_known = book.ids.contains(&id);
        match book.jobs.get_mut(&id) {
            Some(job) if !job.is_answered && job.body == body => job.is_answered = true,
            _ if is_known => book.faults.push(format!("the id {id} was given twice")),
            _ => book.add(id, body.to_vec(), true),
        }
    }

    pub fn deleting(&self, id: i64) {
        if let Some(job) = self.book().jobs.get_mut(&id) {
            job.deletes += 1;
        }
    }

    pub fn was_deleted(&self, id: i64, is_deleted: bool) {
        let mut book = self.book();
        let Some(job) = book.jobs.get_mut(&id) else { return };
        match (is_deleted, job.deleted_at) {
            (true, None) => job.deleted_at = Some(Instant::now()),
            (true, Some(_)) => book.faults.push(format!("job {id} was deleted twice")),
            (false, _) => job.deletes -= 1,
        }
    }

    /// A worker was given a job, over the beanstalk port without a number.
    pub fn was_given(&self, id: i64, body: &[u8], lease: Option<u64>) {
        let mut book = self.book();
        if let Some(job) = book.jobs.get(&id) {
            let is_other = job.body != body;
            book.faults.extend(is_other.then(|| format!("job {id} has another's body")));
        } else {
            book.add(id, body.to_vec(), false);
        }
        if let Some(number) = lease {
            let leases = book.leases.entry(id).or_default();
            if leases.contains(&number) {
                book.faults.push(format!("the lease {id}-{number} was given twice"));
            } else {
                leases.push(number);
            }
        }
    }

    pub fn fault(&self, text: String) {
        self.book().faults.push(text);
    }
}

impl Book {
    pub fn add(&mut self, id: i64, body: Vec<u8>, is_answered: bool) {
        self.ids.insert(id);
        let job = Known { body, is_answered, put_at: Instant::now(), deletes: 0, deleted_at: None };
        self.jobs.insert(id, job);
    }
}
