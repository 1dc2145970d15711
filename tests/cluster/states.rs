//! What the servers hold in the end, and whether that is what the ledger says.

use crate::harness::Server;
use crate::ledger::{Book, Job, Ledger, Now};
use crate::reply::{array, bytes, cmd, int, run, text};
use crate::wire::Wire;
use redis::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A job that a server has.
#[derive(Clone, Debug)]
pub struct Found {
    pub tube: String,
    pub state: String,
    pub lease: Option<String>,
}

#[track_caller]
fn must(wire: &mut dyn Wire, args: &[&str]) -> Value {
    wire.ask(args).unwrap_or_else(|error| panic!("{}: {error}", args.join(" ")))
}

/// All jobs of these tubes, by body.
pub fn all_jobs(wire: &mut dyn Wire, tubes: impl IntoIterator<Item = String>) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    for tube in tubes {
        let mut leases = BTreeMap::new();
        for claim in array(&must(wire, &["PHEAN.CLAIMED", &tube, "COUNT", "1000000"])) {
            let lease = text(&array(&claim)[0]);
            let id: i64 = lease.split_once('-').and_then(|(id, _)| id.parse().ok()).expect("a lease is ID-N");
            leases.insert(id, lease);
        }
        let page = array(&must(wire, &["PHEAN.SCAN", &tube, "0", "COUNT", "1000000"]));
        assert_eq!(text(&page[0]), "0", "one page holds them all");
        for job in array(&page[1]) {
            let (id, state) = (int(&array(&job)[0]), text(&array(&job)[1]));
            let peeked = array(&must(wire, &["PHEAN.PEEK", &tube, &id.to_string()]));
            let body = String::from_utf8(bytes(&peeked[1])).expect("bodies are text");
            let lease = leases.remove(&id);
            let other = found.insert(body.clone(), Found { tube: tube.clone(), state, lease });
            assert!(other.is_none(), "'{body}' is there twice: {other:?}");
        }
        assert!(leases.is_empty(), "{tube}: claimed, and not there: {leases:?}");
    }
    found
}

/// Panics unless the servers hold exactly what the ledger says: nothing is lost, twice, or in another state.
#[track_caller]
pub fn must_be_exactly(wire: &mut dyn Wire, ledger: &Ledger) -> usize {
    ledger.must_be_clean();
    let book = ledger.book();
    let found = all_jobs(wire, book.tubes());
    let mut wrong = Vec::new();
    for (body, job) in &book.jobs {
        let there = found.get(body);
        let is_right = match (&job.now, there) {
            (Now::Gone, there) => there.is_none(),
            (_, None) => false,
            (Now::Waiting, Some(there)) => ["ready", "delayed"].contains(&there.state.as_str()),
            (Now::Held(lease), Some(there)) => there.lease.as_ref() == Some(lease),
            (Now::Buried, Some(there)) => there.state == "buried",
        };
        if !is_right {
            wrong.push(format!("'{body}' should be {:?}, and is {there:?}", job.now));
        }
    }
    wrong.extend(
        found.keys().filter(|body| !book.jobs.contains_key(*body)).map(|body| format!("nobody put '{body}'")),
    );
    assert!(wrong.is_empty(), "{} jobs are wrong:\n{}", wrong.len(), wrong.join("\n"));
    book.jobs.len()
}

/// What a failover left.
pub struct Left {
    /// Acknowledged puts that nobody had confirmed, and that are gone.
    pub forgotten: usize,
    /// Confirmed puts, all of which are there.
    pub confirmed: usize,
    pub jobs: usize,
}

/// Panics unless everything is there that was confirmed, and no lease is honoured but the one that the server says.
#[track_caller]
pub fn must_be_sound(wire: &mut dyn Wire, ledger: &Ledger) -> Left {
    ledger.must_be_clean();
    let book = ledger.book();
    let found = all_jobs(wire, book.tubes());
    let unknown: Vec<_> = found.keys().filter(|body| !book.jobs.contains_key(*body)).collect();
    assert!(unknown.is_empty(), "nobody put {unknown:?}");
    let is_lost = |(body, job): &(&String, &Job)| job.is_confirmed && !found.contains_key(*body);
    let lost: Vec<_> = book.jobs.iter().filter(is_lost).collect();
    assert!(
        lost.is_empty(),
        "{} were confirmed by WAIT, and are lost: {:?}",
        lost.len(),
        &lost[..lost.len().min(5)]
    );
    old_leases_are_refused(wire, &book, &found);
    let is_forgotten = |job: &Job| job.id.is_some() && !job.may_be_deleted;
    let left = Left {
        forgotten: book
            .jobs
            .iter()
            .filter(|(body, job)| is_forgotten(job) && !found.contains_key(*body))
            .count(),
        confirmed: book.jobs.values().filter(|job| job.is_confirmed).count(),
        jobs: book.jobs.len(),
    };
    assert!(left.confirmed > 0, "something was confirmed");
    left
}

/// Of all leases that workers were told, at most one for each job is good.
#[track_caller]
fn old_leases_are_refused(wire: &mut dyn Wire, book: &Book, found: &BTreeMap<String, Found>) {
    for (body, there) in found {
        let Some(job) = book.jobs.get(body) else { continue };
        for lease in job.leases.iter().filter(|lease| there.lease.as_ref() != Some(lease)) {
            let count = int(&must(wire, &["PHEAN.TOUCH", &there.tube, lease]));
            assert_eq!(count, 0, "'{body}' is {there:?}, and its old lease {lease} is honoured");
        }
    }
}

/// Panics unless these servers, which follow the first of them, hold the same: the digests of the data and of each
/// tube are compared while nothing is written.
#[track_caller]
pub fn must_be_alike(primary: &Server, replicas: &[&Server]) {
    run(&mut primary.connect(), "CLIENT PAUSE 100000 WRITE");
    let ours = digests(primary);
    for replica in replicas {
        replica.wait_synced(primary);
        assert_eq!(digests(replica), ours, "on ports {} and {}", replica.port(), primary.port());
        assert_eq!(replica.info("phean")["phean_apply_errors"], "0");
    }
    run(&mut primary.connect(), "CLIENT UNPAUSE");
}

fn digests(server: &Server) -> BTreeMap<String, String> {
    let mut con = server.connect();
    let names: Vec<String> = array(&run(&mut con, "PHEAN.TUBES")).iter().map(text).collect();
    let mut digest_of =
        |name: &String| text(&array(&cmd(&mut con, &["DEBUG", "DIGEST-VALUE", name]).expect("a digest"))[0]);
    let mut digests: BTreeMap<String, String> =
        names.iter().map(|name| (name.clone(), digest_of(name))).collect();
    digests.insert("all".into(), text(&run(&mut server.connect(), "DEBUG DIGEST")));
    digests
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Left { forgotten, confirmed, jobs } = self;
        write!(f, "{jobs} jobs, {confirmed} confirmed and there, {forgotten} others forgotten")
    }
}
