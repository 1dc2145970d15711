//! What all sessions share, and which of them is where.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::broker::{Broker, DEFAULT, End, Name, Watched, World};

use super::answer::INTERNAL_ERROR;
use super::gates::Gates;
use super::run::Run;
use super::session::{Session, Stage, Waiting};

/// How the port is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// The database that its tubes live in.
    pub db: u32,
    /// So many things are done for one session before others have their turn: a put is two, any other command one, or more
    /// if it looks at many tubes.
    pub steps: usize,
}

impl Default for PortSettings {
    fn default() -> PortSettings {
        PortSettings { db: 0, steps: 256 }
    }
}

/// Commands that are counted, as `stats` counts them: each that could be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) put: u64,
    pub(super) peek: u64,
    pub(super) peek_ready: u64,
    pub(super) peek_delayed: u64,
    pub(super) peek_buried: u64,
    pub(super) reserve: u64,
    pub(super) reserve_with_timeout: u64,
    pub(super) delete: u64,
    pub(super) release: u64,
    pub(super) use_: u64,
    pub(super) watch: u64,
    pub(super) ignore: u64,
    pub(super) bury: u64,
    pub(super) kick: u64,
    pub(super) touch: u64,
    pub(super) stats: u64,
    pub(super) stats_job: u64,
    pub(super) stats_tube: u64,
    pub(super) list_tubes: u64,
    pub(super) list_tube_used: u64,
    pub(super) list_tubes_watched: u64,
    pub(super) pause_tube: u64,
}

/// How many connections there are, and were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connections {
    pub(super) open: u64,
    pub(super) producers: u64,
    pub(super) workers: u64,
    pub(super) ever: u64,
}

/// What all sessions share.
pub struct Port {
    pub(super) settings: PortSettings,
    pub(super) counters: Counters,
    pub(super) connections: Connections,
    /// Which client waits under which number.
    pub(super) waiters: BTreeMap<u64, u64>,
    /// `default`, and what a new connection watches.
    default: Name,
    watched: Rc<Watched>,
}

impl Port {
    /// A port without connections. From now on the broker keeps what the port needs; at first that costs a look at
    /// each tube of the database.
    pub fn new<W: World>(settings: PortSettings, broker: &mut Broker, world: &mut W) -> Port {
        broker.open_port(world, settings.db);
        let default = Name::from(DEFAULT);
        let mut watched = Watched::default();
        watched.add(&default);
        Port {
            settings,
            counters: Counters::default(),
            connections: Connections::default(),
            waiters: BTreeMap::new(),
            default,
            watched: Rc::new(watched),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> PortSettings {
        self.settings
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> u64 {
        self.connections.open
    }

    /// Opens a session. `client` names the connection and is no other client's id, of this port or of Redis; it is
    /// below 2^48.
    pub fn open(&mut self, client: u64, broker: &mut Broker) -> Session {
        self.connections.open += 1;
        self.connections.ever += 1;
        broker.tie_default();
        Session::new(client, Name::clone(&self.default), Rc::clone(&self.watched))
    }

    /// Closes a session: it uses, watches and waits no longer, and what it has reserved goes back at the broker's
    /// next tick, or before the next session runs. Costs O(n log m) for n tubes that it watches of m in all.
    pub fn close(&mut self, mut session: Session, broker: &mut Broker) {
        self.connections.open -= 1;
        self.connections.producers -= u64::from(session.is_producer);
        self.connections.workers -= u64::from(session.is_worker);
        let waiter = match session.stage {
            Stage::Waiting(waiting) => Some(waiting.number),
            _ => None,
        };
        waiter.iter().for_each(|number| {
            self.waiters.remove(number);
        });
        broker.client_closed(session.client, waiter);
        // In beanstalkd's order, which the order of the list of tubes depends on.
        let watched = Rc::make_mut(&mut session.watched);
        for _ in 0..watched.len() {
            let Some(name) = watched.names().first().cloned() else { break };
            broker.ignore(watched, &name);
        }
        broker.unuse_tube(&session.used);
    }

    /// Ends the port, whose sessions are all closed: the broker keeps nothing for it any longer.
    pub fn end(self, broker: &mut Broker) {
        broker.close_port();
    }

    /// Runs what the session's input asks for: until there is no whole command left, a reserve waits, so much
    /// output stands there that it should be sent first, or it is the turn of others.
    pub fn run<W: World, G: Gates>(
        &mut self,
        session: &mut Session,
        broker: &mut Broker,
        world: &mut W,
        gates: &mut G,
        now_ms: u64,
    ) {
        Run { port: self, session, broker, world, gates, now_ms }.run();
    }

    /// The client whose session waits under this number; `None` if it is no waiter of this port.
    pub fn client_waiting(&self, waiter: u64) -> Option<u64> {
        self.waiters.get(&waiter).copied()
    }

    /// A session's wait ended: [`World::end_wait`] was told so. [Run](Port::run) the session next, if it
    /// [has work](Session::has_work).
    pub fn end_wait(&mut self, session: &mut Session, end: End<'_>) {
        let Stage::Waiting(waiting) = session.stage else { return };
        self.waiters.remove(&waiting.number);
        session.stage = Stage::Command;
        session.needs(1);
        match end {
            End::Jobs(_, [job, ..]) => session.output.push_job(b"RESERVED ", job.id, job.body),
            End::Jobs(_, []) | End::TimedOut => session.stage = Stage::Woken(waiting),
            End::Denied => session.output.push(INTERNAL_ERROR),
        }
    }

    /// Ends a session's wait, if it waits, with an error: the server has become a replica, say, and will not give
    /// out jobs. [Run](Port::run) the session next, if it [has work](Session::has_work).
    pub fn interrupt(&mut self, session: &mut Session, broker: &mut Broker) {
        let (Stage::Waiting(Waiting { number, .. }) | Stage::Woken(Waiting { number, .. })) = session.stage
        else {
            return;
        };
        self.waiters.remove(&number);
        broker.leave(number);
        session.stage = Stage::Command;
        session.needs(1);
        session.output.push(INTERNAL_ERROR);
    }
}
