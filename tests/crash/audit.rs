//! What must hold after a crash.

use crate::harness::Server;
use crate::ledger::{Book, Ledger};
use crate::load::TUBES;
use crate::reply::{array, bytes, cmd, int, map, reserved, text};
use redis::{Connection, Value};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many old leases are tried against a new reservation.
const RESERVED_ANEW: usize = 40;

/// How much of what was acknowledged a server must still know.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    Everything,
    /// All that was older than this when it was killed.
    UpTo(Duration),
    Nothing,
}

/// Looks at a server that has come back.
pub struct Audit {
    pub memory: Memory,
    pub killed_at: Instant,
}

/// A job that the server has.
struct Found {
    tube: &'static str,
    state: String,
    body: Vec<u8>,
}

impl Audit {
    /// Panics unless everything holds. Returns how many acknowledged puts and deletes were forgotten, as the
    /// memory allows; from then on the server is right.
    pub fn run(&self, server: &Server, ledger: &Ledger) -> usize {
        let mut con = server.connect();
        let mut book = ledger.book();
        assert!(book.faults.is_empty(), "while they worked:\n{}", book.faults.join("\n"));
        let (found, claimed) = all_jobs(&mut con);
        let lost = self.compare(&mut book, &found);
        old_leases_are_refused(&mut con, &mut book, &found, &claimed);
        lost
    }

    fn must_know(&self, at: Instant) -> bool {
        match self.memory {
            Memory::Everything => true,
            Memory::UpTo(bound) => self.killed_at.saturating_duration_since(at) > bound,
            Memory::Nothing => false,
        }
    }

    fn compare(&self, book: &mut Book, found: &HashMap<i64, Found>) -> usize {
        let mut lost = 0;
        for (id, job) in &book.jobs {
            match (found.get(id), job.deleted_at) {
                (Some(there), _) if there.body != job.body => panic!("job {id} has another's body"),
                (Some(_), Some(at)) => {
                    assert!(!self.must_know(at), "job {id} is there, though its deletion was acknowledged");
                    lost += 1;
                }
                (None, None) if job.deletes == 0 => {
                    assert!(!self.must_know(job.put_at), "job {id} is lost, though it was acknowledged");
                    lost += 1;
                }
                _ => {}
            }
        }
        for (id, job) in found {
            let is_back = matches!(self.memory, Memory::Nothing) && book.gone.get(id) == Some(&job.body);
            if is_back {
                // A deletion of long ago was cut off.
                book.add(*id, job.body.clone(), true);
            } else if !book.jobs.contains_key(id) {
                // Its producer was not answered any more.
                assert!(book.unanswered.remove(&job.body), "nobody put job {id} in {}", job.tube);
                assert!(!book.ids.contains(id), "the id {id} was given before");
                book.add(*id, job.body.clone(), true);
            }
        }
        book.unanswered.clear();
        let Book { jobs, gone, .. } = book;
        let missing = jobs.iter().filter(|(id, _)| !found.contains_key(id));
        gone.extend(missing.map(|(id, job)| (*id, job.body.clone())));
        jobs.retain(|id, _| found.contains_key(id));
        for job in book.jobs.values_mut() {
            (job.is_answered, job.deletes, job.deleted_at) = (true, 0, None);
        }
        lost
    }
}

/// All jobs, and the lease of each that is reserved. One transaction, so that no time passes in it.
fn all_jobs(con: &mut Connection) -> (HashMap<i64, Found>, HashMap<i64, u64>) {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for tube in TUBES {
        pipe.cmd("PHEAN.SCAN").arg(tube).arg(0).arg("COUNT").arg(10_000_000);
        pipe.cmd("PHEAN.CLAIMED").arg(tube).arg("COUNT").arg(10_000_000);
        pipe.cmd("PHEAN.STATS").arg(tube);
    }
    let replies: Vec<Value> = pipe.query(con).expect("a transaction is answered");
    let (mut found, mut claimed) = (HashMap::new(), HashMap::new());
    for (tube, replies) in TUBES.into_iter().zip(replies.chunks(3)) {
        let page = array(&replies[0]);
        assert_eq!(text(&page[0]), "0", "one page holds them all");
        let mut counts: HashMap<String, i64> = HashMap::new();
        for job in array(&page[1]) {
            let job = array(&job);
            let (id, state) = (int(&job[0]), text(&job[1]));
            *counts.entry(state.clone()).or_default() += 1;
            let twice = found.insert(id, Found { tube, state, body: Vec::new() });
            assert!(twice.is_none(), "job {id} is there twice");
        }
        let stats = map(&replies[2]);
        for state in ["ready", "delayed", "reserved", "buried"] {
            let said = int(&stats[&format!("current-jobs-{state}")]);
            assert_eq!(said, counts.get(state).copied().unwrap_or(0), "{state} jobs in {tube}");
        }
        for claim in array(&replies[1]) {
            let lease = text(&array(&claim)[0]);
            let (id, number) = lease.split_once('-').expect("a lease is ID-N");
            let (id, number): (i64, u64) = (id.parse().expect("an id"), number.parse().expect("a number"));
            assert_eq!(found.get(&id).map(|job| job.state.as_str()), Some("reserved"), "job {id} is claimed");
            assert!(claimed.insert(id, number).is_none(), "job {id} is claimed twice");
        }
        assert_eq!(counts.get("reserved").map_or(0, |count| *count as usize), {
            found.iter().filter(|(id, job)| job.tube == tube && claimed.contains_key(id)).count()
        });
    }
    let mut pipe = redis::pipe();
    let mut order = Vec::new();
    for (id, job) in &found {
        pipe.cmd("PHEAN.PEEK").arg(job.tube).arg(*id);
        order.push(*id);
    }
    let bodies: Vec<Value> = pipe.query(con).expect("peeks are answered");
    for (id, reply) in order.into_iter().zip(bodies) {
        let body = bytes(&array(&reply)[1]);
        found.get_mut(&id).expect("it was found").body = body;
    }
    (found, claimed)
}

/// A lease is good only if it is the one that the server says, and never again once there is a newer one.
fn old_leases_are_refused(
    con: &mut Connection,
    book: &mut Book,
    found: &HashMap<i64, Found>,
    claimed: &HashMap<i64, u64>,
) {
    let mut pipe = redis::pipe();
    let mut tried = Vec::new();
    for (id, numbers) in book.leases.iter().filter(|(id, _)| found.contains_key(id)) {
        for number in numbers.iter().filter(|number| claimed.get(id) != Some(number)) {
            pipe.cmd("PHEAN.TOUCH").arg(found[id].tube).arg(format!("{id}-{number}"));
            tried.push((*id, *number));
        }
    }
    let counts: Vec<i64> = pipe.query(con).expect("touches are answered");
    for ((id, number), count) in tried.into_iter().zip(counts) {
        assert_eq!(count, 0, "the old lease {id}-{number} is honoured");
    }
    let is_free = |id: &i64| found.get(id).is_some_and(|job| job.state != "reserved");
    let ready = book.leases.iter_mut().filter(|(id, _)| is_free(id));
    for (id, numbers) in ready.take(RESERVED_ANEW) {
        let tube = found[id].tube;
        let reply = cmd(con, &["PHEAN.RESERVEJOB", tube, &id.to_string(), "TTR", "1000"]);
        let job = reserved(&reply.expect("a reserve is answered")).expect("the job can be taken");
        let number = job.lease.split_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
        let number = number.expect("a lease is ID-N");
        for old in &*numbers {
            assert!(*old < number, "{} comes after {id}-{old}", job.lease);
            let old = format!("{id}-{old}");
            for verb in ["PHEAN.TOUCH", "PHEAN.BURY", "PHEAN.RELEASE", "PHEAN.DELETE"] {
                let count = int(&cmd(con, &[verb, tube, &old]).expect("a command is answered"));
                assert_eq!(count, 0, "{verb} honours {old}, and {} is held", job.lease);
            }
        }
        let back = int(&cmd(con, &["PHEAN.RELEASE", tube, &job.lease]).expect("a release is answered"));
        assert_eq!(back, 1, "the new lease {} is good", job.lease);
        numbers.push(number);
    }
}
