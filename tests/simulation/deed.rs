//! One step of the simulation, as the auditor sees it: what was asked for, and what was answered.

use phean::commands::Verb;
use phean::queue::{Handle, State};

use super::reply::Value as Answer;
use super::world::Place;

#[derive(Clone, Debug, Default)]
pub struct Deed {
    /// The command that ran.
    pub verb: Option<Verb>,
    /// Whether Redis' own commands ran: keys come and go.
    pub is_keyspace: bool,
    /// Whether a tick ran.
    pub is_tick: bool,
    pub client: u64,
    /// The tubes that the command names.
    pub places: Vec<Place>,
    pub handles: Vec<Handle>,
    pub bodies: Vec<Vec<u8>>,
    pub pri: Option<u32>,
    pub delay_ms: Option<u64>,
    pub ttr_ms: Option<u64>,
    pub for_ms: Option<u64>,
    pub count: Option<u32>,
    pub states: Vec<State>,
    pub untried: bool,
    pub bound: bool,
    pub may_wait: bool,
    /// The reply; none where it was an error or the client waits.
    pub reply: Option<Answer>,
    pub is_error: bool,
}

/// A waiter as the simulation knows it.
#[derive(Clone, Debug)]
pub struct Standing {
    pub number: u64,
    pub client: u64,
    pub places: Vec<Place>,
    pub ttr_ms: Option<u64>,
    pub bound: bool,
    pub until_ms: u64,
    /// Jobs are set aside for it, and it was not told yet.
    pub granted: bool,
}

/// A job in a reply of a reserve.
#[derive(Clone, Debug)]
pub struct Given {
    pub place: Place,
    pub id: u64,
    pub n: u64,
    pub body: Vec<u8>,
    pub attempt: u64,
    pub left_ms: u64,
}

impl Deed {
    pub fn is(&self, verbs: &[Verb]) -> bool {
        self.verb.is_some_and(|verb| verbs.contains(&verb))
    }

    /// Whether one of the handles names this job and, if it is a lease, this reservation.
    pub fn names(&self, place: Place, id: u64, n: Option<u64>) -> bool {
        let matches = |handle: &Handle| handle.id == id && (handle.n.is_none() || handle.n == n);
        self.places.contains(&place) && self.handles.iter().any(matches)
    }

    /// The ids that a put answered.
    pub fn put_ids(&self) -> Vec<u64> {
        match (&self.reply, self.verb) {
            (Some(reply), Some(Verb::Put)) => vec![reply.integer()],
            (Some(reply), Some(Verb::Mput)) => reply.array().iter().map(Answer::integer).collect(),
            _ => Vec::new(),
        }
    }

    /// The jobs that a reserve answered.
    pub fn given(&self) -> Vec<Given> {
        let Some(reply) = &self.reply else { return Vec::new() };
        if !self.is(&[Verb::Reserve, Verb::Mreserve, Verb::ReserveJob]) || *reply == Answer::Null {
            return Vec::new();
        }
        let one = std::slice::from_ref(reply);
        let jobs = if self.count.is_some() { reply.array() } else { one };
        assert!(!jobs.is_empty(), "an empty array where null was expected");
        jobs.iter().map(|job| given(self.places[0].db, job.array())).collect()
    }
}

fn given(db: u32, job: &[Answer]) -> Given {
    let [name, lease, body, attempt, left] = job else { panic!("a job of {} elements", job.len()) };
    let lease = std::str::from_utf8(lease.bytes()).expect("a lease is ASCII");
    let (id, n) = lease.split_once('-').expect("a lease is ID-N");
    Given {
        place: Place::of(db, name.bytes()),
        id: id.parse().expect("a lease begins with an id"),
        n: n.parse().expect("a lease ends with a number"),
        body: body.bytes().to_vec(),
        attempt: attempt.integer(),
        left_ms: left.milliseconds(),
    }
}
