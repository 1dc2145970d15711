//! Connections, their scripts, and the clock.

use std::collections::BTreeMap;

use phean::beanstalk::{Facts, Gates, OUTPUT_MAX, Port, PortSettings, Refusal, Session, Trouble};
use phean::broker::{End, Settings, Slices};
use phean::queue::{Held, State};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::server::{Outcome, Sender, Server};
use super::world::{Ended, MORE_NAMES, Op, Taken};

/// When the tests begin (Unix ms).
pub const START_MS: u64 = 1_700_000_000_000;

/// The host, as a test wants it to be.
#[derive(Default)]
pub struct Host {
    pub refusal: Option<Refusal>,
    pub is_full: bool,
    /// A command and a tube that the user may not use together.
    pub forbidden: Option<(&'static str, &'static str)>,
    /// A tube that another node serves.
    pub remote: Option<&'static str>,
    pub troubles: Vec<(String, Trouble)>,
}

impl Gates for Host {
    fn may_write(&mut self, grows: bool) -> Result<(), Refusal> {
        if grows && self.is_full {
            return Err(Refusal::OutOfMemory);
        }
        self.refusal.map_or(Ok(()), Err)
    }

    fn may_use(&mut self, command: &'static str, tube: &[u8]) -> bool {
        self.forbidden != Some((command, std::str::from_utf8(tube).expect("names are ASCII")))
    }

    fn may_run(&mut self, command: &'static str) -> bool {
        self.forbidden != Some((command, ""))
    }

    fn is_local(&mut self, tube: &[u8]) -> bool {
        self.remote.is_none_or(|remote| remote.as_bytes() != tube)
    }

    fn trouble(&mut self, tube: &[u8], trouble: Trouble) {
        self.troubles.push((String::from_utf8_lossy(tube).into_owned(), trouble));
    }

    fn facts(&mut self) -> Facts {
        Facts {
            pid: 77,
            user_us: 1_000_002,
            system_us: 30,
            uptime_s: 9,
            id: 0xab,
            hostname: "h".into(),
            os: "o".into(),
            platform: "p".into(),
        }
    }
}

/// How what a test sends is cut into pieces.
#[derive(Clone, Debug)]
pub enum Pieces {
    Whole,
    Bytes,
    Random(Box<SmallRng>),
}

/// A server with a port, and connections to it.
pub struct Driver {
    pub server: Server,
    pub port: Port,
    pub host: Host,
    pub now_ms: u64,
    sessions: BTreeMap<u64, Session>,
    last_client: u64,
    pieces: Pieces,
}

/// The number of a connection.
pub type Connection = u64;

impl Driver {
    pub fn new() -> Driver {
        Driver::with(Settings::default(), Pieces::Whole)
    }

    pub fn with(settings: Settings, pieces: Pieces) -> Driver {
        Driver::of(settings, pieces, PortSettings::default())
    }

    /// One that does little at once, or not, by this seed.
    pub fn seeded(seed: u64, settings: Settings, pieces: Pieces) -> Driver {
        if seed.is_multiple_of(2) {
            return Driver::with(settings, pieces);
        }
        let few = |n: u64| 1 + (seed / n % 3) as usize;
        let slices = Slices { jobs: few(2), tubes: few(6) };
        Driver::of(Settings { slices, ..settings }, pieces, PortSettings { db: 0, steps: few(18) })
    }

    fn of(settings: Settings, pieces: Pieces, port: PortSettings) -> Driver {
        MORE_NAMES.with_borrow_mut(|more| {
            more.get_or_insert_default();
        });
        let mut server = Server::primary(settings, START_MS);
        server.world.state.borrow_mut().needs_events = false;
        let port = Port::new(port, &mut server.broker, &mut server.world);
        Driver {
            server,
            port,
            host: Host::default(),
            now_ms: START_MS,
            sessions: BTreeMap::new(),
            last_client: 1 << 47,
            pieces,
        }
    }

    pub fn connect(&mut self) -> Connection {
        self.last_client += 1;
        let session = self.port.open(self.last_client, &mut self.server.broker);
        self.sessions.insert(self.last_client, session);
        self.last_client
    }

    pub fn session(&mut self, connection: Connection) -> &mut Session {
        self.sessions.get_mut(&connection).expect("an open connection")
    }

    /// Sends bytes, in pieces.
    pub fn send(&mut self, connection: Connection, bytes: impl AsRef<[u8]>) {
        let mut bytes = bytes.as_ref();
        while !bytes.is_empty() {
            let count = match &mut self.pieces {
                Pieces::Whole => bytes.len(),
                Pieces::Bytes => 1,
                Pieces::Random(rng) => rng.random_range(1..=bytes.len().min(40)),
            };
            let (piece, rest) = bytes.split_at(count);
            self.session(connection).feed(piece);
            self.run(connection);
            bytes = rest;
        }
        self.settle();
    }

    /// What a connection has been sent since this was last asked.
    pub fn read(&mut self, connection: Connection) -> String {
        let mut text = Vec::new();
        loop {
            let output = self.session(connection).output();
            text.extend_from_slice(output.as_slice());
            let len = output.len();
            output.consume(len);
            if !self.session(connection).has_work() {
                break;
            }
            self.settle();
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Sends lines, each of which gets its CRLF here, and returns the answer with newlines for CRLFs.
    pub fn say(&mut self, connection: Connection, lines: &str) -> String {
        let lines: String = lines.lines().map(|line| format!("{line}\r\n")).collect();
        self.send(connection, lines);
        self.read(connection).replace("\r\n", "\n")
    }

    /// Puts a job and returns its id.
    pub fn put(&mut self, connection: Connection, numbers: &str, body: &str) -> u64 {
        let answer = self.say(connection, &format!("put {numbers} {}\n{body}", body.len()));
        let id = answer.trim().strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
        id.unwrap_or_else(|| panic!("put was answered with {answer:?}"))
    }

    /// Runs one connection while it has work. Nothing is read meanwhile.
    fn run(&mut self, connection: Connection) {
        let Driver { server, port, host, now_ms, sessions, .. } = self;
        let session = sessions.get_mut(&connection).expect("an open connection");
        // Where a turn is short, that of a put's line, or of a part of its body, says nothing.
        let silent = if port.settings().steps < PortSettings::default().steps { 2 } else { 0 };
        let mut turns = 0;
        while session.has_work() {
            server.world.state.borrow_mut().now_ms = *now_ms;
            let before = session.output().len();
            port.run(session, &mut server.broker, &mut server.world, host, *now_ms);
            turns = if session.output().len() == before { turns + 1 } else { 0 };
            assert!(turns <= silent || !session.has_work(), "a run got nowhere, but there is work");
        }
    }

    /// Does everything that is to be done at this time.
    pub fn settle(&mut self) {
        loop {
            self.server.world.state.borrow_mut().now_ms = self.now_ms;
            self.server.hear();
            if self.server.broker.next_tick_ms().is_some_and(|at_ms| at_ms <= self.now_ms) {
                self.server.broker.tick(&mut self.server.world, self.now_ms);
            }
            self.server.broker.deliver(&mut self.server.world, self.now_ms);
            let ended = std::mem::take(&mut self.server.world.state.borrow_mut().ended);
            for (waiter, ended) in &ended {
                self.end_wait(*waiter, ended);
            }
            let busy: Vec<u64> =
                self.sessions.iter().filter(|(_, s)| s.has_work()).map(|(c, _)| *c).collect();
            busy.iter().for_each(|connection| self.run(*connection));
            let is_due = self.server.broker.next_tick_ms().is_some_and(|at_ms| at_ms <= self.now_ms)
                && self.server.world.state.borrow().is_primary;
            if ended.is_empty() && busy.is_empty() && !is_due && !self.server.broker.has_deliveries() {
                break;
            }
        }
    }

    fn end_wait(&mut self, waiter: u64, ended: &Ended) {
        let Some(client) = self.port.client_waiting(waiter) else { return };
        let session = self.sessions.get_mut(&client).expect("who waits is connected");
        let port = &mut self.port;
        match ended {
            Ended::TimedOut => port.end_wait(session, End::TimedOut),
            Ended::Denied => port.end_wait(session, End::Denied),
            Ended::Jobs(name, taken) => {
                let jobs: Vec<Held<'_>> = taken.iter().map(held).collect();
                port.end_wait(session, End::Jobs(name, &jobs));
            }
        }
    }

    /// Lets time pass, and everything happen at its time.
    pub fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while let Some(at_ms) = self.server.broker.next_tick_ms().filter(|at_ms| *at_ms <= until_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            self.settle();
        }
        self.now_ms = until_ms;
        self.settle();
    }

    /// The clock is set, forward or back.
    pub fn set_clock(&mut self, ms: i64) {
        self.now_ms = self.now_ms.saturating_add_signed(ms);
        self.settle();
    }

    /// The peer sends no more.
    pub fn half_close(&mut self, connection: Connection) {
        self.session(connection).end_of_input();
        self.settle();
    }

    /// The connection is gone.
    pub fn close(&mut self, connection: Connection) {
        let session = self.sessions.remove(&connection).expect("an open connection");
        self.port.close(session, &mut self.server.broker);
        self.settle();
    }

    /// A `PHEAN.*` command of somebody else, by words. The answer as it is shown in tests.
    pub fn phean(&mut self, words: &str) -> String {
        self.phean_in(0, words)
    }

    /// The same in this database.
    pub fn phean_in(&mut self, db: u32, words: &str) -> String {
        let outcome = self.phean_only_in(db, words);
        self.settle();
        match outcome {
            Outcome::Reply(value) => format!("{value:?}"),
            other => format!("{other:?}"),
        }
    }

    /// A command of Redis' own.
    pub fn redis(&mut self, op: &Op) {
        self.server.world.state.borrow_mut().execute(op);
        self.settle();
    }

    /// One field of a statistics command.
    pub fn stat(&mut self, connection: Connection, command: &str, field: &str) -> String {
        let answer = self.say(connection, command);
        let value = answer.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {field} in {answer}")).to_string()
    }

    /// How much waits to be sent.
    pub fn is_full(&mut self, connection: Connection) -> bool {
        self.session(connection).output().len() >= OUTPUT_MAX
    }
}

/// Runs a test with what is sent whole, byte by byte, and in random pieces.
pub fn in_all_pieces(test: impl Fn(&mut Driver)) {
    let random = (0..8).map(|seed| Pieces::Random(Box::new(SmallRng::seed_from_u64(seed))));
    for pieces in [Pieces::Whole, Pieces::Bytes].into_iter().chain(random) {
        test(&mut Driver::with(Settings::default(), pieces));
    }
}

impl Driver {
    /// Runs a `PHEAN.*` command of somebody else, by words, and lets nothing follow from it yet.
    pub fn phean_only(&mut self, words: &str) -> Outcome {
        self.phean_only_in(0, words)
    }

    fn phean_only_in(&mut self, db: u32, words: &str) -> Outcome {
        let args: Vec<Vec<u8>> = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        self.server.world.state.borrow_mut().now_ms = self.now_ms;
        self.server.run(Sender { id: 7, may_wait: true, ..Sender::default() }, db, &args, self.now_ms)
    }

    /// Closes one connection, and lets nothing follow from it yet.
    pub fn close_only(&mut self, connection: Connection) {
        let session = self.sessions.remove(&connection).expect("an open connection");
        self.port.close(session, &mut self.server.broker);
    }

    /// Sends bytes, whole, and lets nothing follow from it yet.
    pub fn send_only(&mut self, connection: Connection, bytes: impl AsRef<[u8]>) {
        self.session(connection).feed(bytes.as_ref());
        self.run(connection);
    }

    /// Lets one connection have one turn, and nothing follow from it yet.
    pub fn turn(&mut self, connection: Connection) {
        let Driver { server, port, host, now_ms, sessions, .. } = self;
        let session = sessions.get_mut(&connection).expect("an open connection");
        server.world.state.borrow_mut().now_ms = *now_ms;
        port.run(session, &mut server.broker, &mut server.world, host, *now_ms);
    }

    /// Ends a wait as the host does on a server that has become a replica.
    pub fn interrupt(&mut self, connection: Connection) {
        let session = self.sessions.get_mut(&connection).expect("an open connection");
        self.port.interrupt(session, &mut self.server.broker);
        self.settle();
    }

    /// A field of `stats`, asked by a connection of its own.
    pub fn stat_of_other(&mut self, field: &str) -> String {
        let other = self.connect();
        let value = self.stat(other, "stats", field);
        self.close(other);
        value
    }

    /// The port goes off and on again. No connection is open.
    pub fn reopen(&mut self) {
        assert!(self.sessions.is_empty());
        self.server.broker.close_port();
        self.port = Port::new(PortSettings::default(), &mut self.server.broker, &mut self.server.world);
        self.settle();
    }

    /// What must hold once all connections are closed: nobody holds anything, nobody waits, every tube is sound,
    /// and the tubes that are there are those with jobs.
    pub fn check(&mut self) {
        assert!(self.sessions.is_empty());
        let broker = &self.server.broker;
        assert_eq!((broker.waiting(), broker.jobs().of(State::Reserved)), (0, 0));
        let keys = self.server.world.state.borrow().keys.clone();
        let mut names = vec![b"default".to_vec()];
        for (place, tube, _) in keys.tubes() {
            tube.check().unwrap_or_else(|error| panic!("{place:?}: {error}"));
            if tube.counts().all() > 0 && place.name() != b"default" {
                names.push(place.name().to_vec());
            }
            for job in tube.jobs() {
                let found = broker.find_job(&mut self.server.world.clone(), job.id);
                assert_eq!(found.as_deref(), Some(place.name()), "job {}", job.id);
            }
        }
        let mut listed: Vec<Vec<u8>> = broker.port_tubes().iter().map(|name| name.to_vec()).collect();
        listed.sort();
        names.sort();
        assert_eq!(listed, names);
    }
}

fn held(taken: &Taken) -> Held<'_> {
    let Taken { id, n, worker, attempt, deadline_ms, .. } = *taken;
    Held { id, n, deadline_ms, worker, attempt, body: &taken.body }
}
