//! One of the two servers, and this script's connections to it.

use crate::answer::{self, Answer, Ids, View};
use crate::contestant::Contestant;
use crate::framing::Unit;
use crate::script::Piece;
use crate::tamper::Tamper;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Why a step did not come to rest.
pub type Unrest = String;

/// A connection, and what is still to come over it.
struct Link {
    stream: TcpStream,
    blocks: bool,
    buffer: Vec<u8>,
    /// Answers that must come, in order.
    pending: VecDeque<Unit>,
    /// Whole answers, not yet taken.
    came: Vec<Vec<u8>>,
    /// The server closed it, or something went wrong with it.
    has_ended: bool,
    /// The server must close it once everything was answered.
    must_end: bool,
    /// Nothing more is sent, so no reserve may wait on.
    is_half_closed: bool,
    /// It was given a job once.
    is_worker: bool,
}

impl Link {
    fn open(port: u16, patience: Duration) -> Link {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts a connection");
        stream.set_nodelay(true).expect("the socket can be set");
        stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
        stream.set_write_timeout(Some(patience)).expect("a timeout can be set");
        Link {
            stream,
            blocks: true,
            buffer: Vec::new(),
            pending: VecDeque::new(),
            came: Vec::new(),
            has_ended: false,
            must_end: false,
            is_half_closed: false,
            is_worker: false,
        }
    }

    /// Reads once; whether something came. A closed or broken connection is an end.
    fn read(&mut self, blocks: bool) -> bool {
        if self.blocks != blocks {
            self.stream.set_nonblocking(!blocks).expect("the socket can be set");
            self.blocks = blocks;
        }
        let mut bytes = [0; 16_384];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.end(),
            Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => self.end(),
        }
        while let Some(length) = answer::length(&self.buffer) {
            self.is_worker |= self.buffer.starts_with(b"RESERVED");
            self.came.push(self.buffer.drain(..length).collect());
            self.pending.pop_front();
        }
        true
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.must_end = false;
        self.pending.clear();
    }

    /// Something will come without anything else having to happen.
    fn is_expected(&self) -> bool {
        !self.has_ended
            && match self.pending.front() {
                Some(unit) => *unit != Unit::Reserve || self.is_half_closed,
                None => self.must_end,
            }
    }

    fn waits(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// A server and its connections. One connection of the harness' own stands beside those of the script.
pub struct Side {
    port: u16,
    quotes: bool,
    earlier_connections: u64,
    misses_deadlines: bool,
    links: Vec<Option<Link>>,
    own: Link,
    pub ids: Ids,
    /// How often `stats` was asked over the own connection: since ever, and up to this step's beginning.
    polls: u64,
    polls_before: u64,
    patience: Duration,
    tamper: Tamper,
}

impl Side {
    pub fn new(server: &Contestant, patience: Duration, tamper: Tamper) -> Side {
        let port = server.port();
        let own = Link::open(port, patience);
        let mut side = Side {
            port,
            quotes: true,
            earlier_connections: 0,
            misses_deadlines: server.misses_deadlines(),
            links: Vec::new(),
            own,
            ids: Ids::default(),
            polls: 0,
            polls_before: 0,
            patience,
            tamper,
        };
        side.look_around();
        side
    }

    /// Takes down what the server says before any script.
    fn look_around(&mut self) {
        let text = String::from_utf8(self.ask_raw(b"stats\r\n").expect("stats are answered"));
        let text = text.expect("stats are text");
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        let number = |name| field(name).parse::<u64>().expect("a count is a number");
        let (polls, connections, quotes) =
            (number("cmd-stats"), number("total-connections"), field("hostname").starts_with('"'));
        (self.polls, self.earlier_connections, self.quotes) = (polls, connections, quotes);
    }

    fn view(&self, polls: (u64, u64)) -> View {
        View { polls, earlier_connections: self.earlier_connections, quotes: self.quotes }
    }

    /// Whether it quotes strings in statistics, as 1.13 does.
    pub fn quotes(&self) -> bool {
        self.quotes
    }

    /// Forgets the jobs of the last script.
    pub fn begin(&mut self) {
        self.ids = Ids::default();
        self.links.clear();
    }

    /// What the pieces are for this server. Releases before 1.13 (they do not quote) took any number as a
    /// time-out: they get a line that is as wrong for them as that number is for 1.13.
    pub fn render(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(some) => bytes.extend_from_slice(some),
                Piece::Id(number) => bytes.extend_from_slice(self.ids.id(*number).to_string().as_bytes()),
                Piece::BadTimeout(text) if self.quotes => {
                    bytes.extend_from_slice(b"reserve-with-timeout ");
                    bytes.extend_from_slice(text);
                    bytes.extend_from_slice(b"\r\n");
                }
                Piece::BadTimeout(_) => bytes.extend_from_slice(b"reserve-with-timeout\r\n"),
            }
        }
        bytes
    }

    pub fn open(&mut self, link: usize) -> Result<(), Unrest> {
        if self.links.len() <= link {
            self.links.resize_with(link + 1, || None);
        }
        self.links[link] = Some(Link::open(self.port, self.patience));
        self.await_connections()
    }

    /// Sends a fragment, which asks for these answers.
    pub fn send(&mut self, link: usize, bytes: &[u8], units: &[Unit]) {
        let Some(Some(link)) = self.links.get_mut(link) else { return };
        if link.has_ended || link.must_end {
            return;
        }
        for unit in units {
            match unit {
                Unit::Quit => link.must_end = true,
                unit => link.pending.push_back(unit.clone()),
            }
        }
        if link.blocks || link.stream.set_nonblocking(false).is_ok() {
            link.blocks = true;
            // A connection that the server closed in the meantime shows when it is read.
            let _ = link.stream.write_all(bytes);
        }
    }

    pub fn half_close(&mut self, link: usize) {
        if let Some(Some(link)) = self.links.get_mut(link) {
            let _ = link.stream.shutdown(Shutdown::Write);
            link.must_end = true;
            link.is_half_closed = true;
        }
    }

    pub fn close(&mut self, link: usize) -> Result<(), Unrest> {
        self.links[link] = None;
        self.await_connections()
    }

    /// Whether the connection is there, and nobody has closed it.
    pub fn is_open(&self, link: usize) -> bool {
        matches!(self.links.get(link), Some(Some(link)) if !link.has_ended && !link.must_end)
    }

    /// Whether the connection is there, be it that the server is about to close it.
    pub fn is_there(&self, link: usize) -> bool {
        matches!(self.links.get(link), Some(Some(_)))
    }

    /// Whether answers are still to come over the connection.
    pub fn waits(&self, link: usize) -> bool {
        matches!(self.links.get(link), Some(Some(link)) if link.waits())
    }

    /// Whether other commands stand behind a waiting reserve.
    pub fn has_more_behind(&self, link: usize) -> bool {
        matches!(self.links.get(link), Some(Some(link)) if link.pending.len() > 1)
    }

    /// Exchanges two connections' numbers.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.links.swap(a, b);
    }

    /// Reads what has come, waiting for nothing; how many answers are there to be taken.
    pub fn arrived(&mut self) -> usize {
        self.drain();
        self.links.iter().flatten().map(|link| link.came.len() + usize::from(link.has_ended)).sum()
    }

    /// Reads what has come, waiting for nothing.
    fn drain(&mut self) -> bool {
        let mut something = false;
        for link in self.links.iter_mut().flatten() {
            while !link.has_ended && link.read(false) {
                something = true;
            }
        }
        something
    }

    /// Waits until everything has been answered, but for reserves that wait for a job.
    pub fn settle(&mut self) -> Result<(), Unrest> {
        let bound = Instant::now() + self.patience;
        let mut quiet = 0;
        loop {
            if self.drain() {
                quiet = 0;
                continue;
            }
            if let Some(link) = self.links.iter_mut().flatten().find(|link| link.is_expected()) {
                if !link.read(true) {
                    return Err(format!("no answer after {:?}", self.patience));
                }
                quiet = 0;
                continue;
            }
            let waiting = self.links.iter().flatten().filter(|link| link.waits()).count();
            if waiting == 0 || quiet == 2 {
                let has_lost = self.links.iter().flatten().any(|link| link.has_ended);
                return if has_lost { self.await_connections() } else { Ok(()) };
            }
            if self.poll("current-waiting")? == waiting as u64 {
                quiet += 1;
            } else {
                quiet = 0;
                if Instant::now() > bound {
                    return Err(format!("{waiting} connections without an answer, but not as many waiting"));
                }
            }
        }
    }

    /// Waits until the server has as many connections as there are.
    fn await_connections(&mut self) -> Result<(), Unrest> {
        let bound = Instant::now() + self.patience;
        loop {
            self.drain();
            let open = 1 + self.links.iter().flatten().filter(|link| !link.has_ended).count() as u64;
            let shown = self.poll("current-connections")?;
            if shown == open {
                return Ok(());
            }
            if Instant::now() > bound {
                return Err(format!("current-connections is {shown}, must be {open}"));
            }
        }
    }

    /// Lets beanstalkd see deadlines that it missed: it compares times in whole microseconds, and where it looks
    /// in the very one of a deadline, it looks no more until the connection is used. An empty line does, and is
    /// not counted anywhere.
    pub fn keep_time(&mut self) -> Result<(), Unrest> {
        if !self.misses_deadlines {
            return Ok(());
        }
        // Who waited may have been given a job meanwhile.
        self.drain();
        let is_idle = |link: &&mut Link| link.is_worker && !link.waits() && !link.has_ended && !link.must_end;
        for link in self.links.iter_mut().flatten().filter(is_idle) {
            let before = link.came.len();
            link.stream.write_all(b"\r\n").map_err(|error| error.to_string())?;
            while link.came.len() == before {
                if link.has_ended || !link.read(true) {
                    return Err("no answer to an empty line".to_owned());
                }
            }
            link.came.pop();
        }
        Ok(())
    }

    /// Asks for one statistic.
    fn poll(&mut self, name: &str) -> Result<u64, Unrest> {
        self.polls += 1;
        let answer = self.ask_raw(b"stats\r\n")?;
        let text = String::from_utf8_lossy(&answer);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no {name} in {text}"))
    }

    /// Lets the server take what was sent so far.
    pub fn barrier(&mut self) -> Result<(), Unrest> {
        self.poll("current-waiting").map(drop)
    }

    fn ask_raw(&mut self, command: &[u8]) -> Result<Vec<u8>, Unrest> {
        self.own.stream.write_all(command).map_err(|error| format!("the own connection: {error}"))?;
        while self.own.came.is_empty() {
            if self.own.has_ended || !self.own.read(true) {
                return Err(format!("no answer to {}", command.escape_ascii()));
            }
        }
        Ok(self.own.came.remove(0))
    }

    /// Sends one command over the own connection; its answer.
    pub fn ask(&mut self, pieces: &[Piece]) -> Result<Answer, Unrest> {
        let raw = self.ask_raw(&self.render(pieces))?;
        let mut answers = vec![raw];
        self.tamper.change(&mut answers);
        let raw = answers.first().ok_or("no answer")?;
        Ok(Answer::read(raw, &self.ids, self.view((self.polls, self.polls))))
    }

    /// Takes the answers that have come since, for each connection.
    pub fn take(&mut self) -> Vec<Vec<Answer>> {
        let view = self.view((self.polls_before, self.polls));
        self.polls_before = self.polls;
        let mut came: Vec<Vec<Vec<u8>>> = Vec::new();
        for link in &mut self.links {
            came.push(link.as_mut().map(|link| std::mem::take(&mut link.came)).unwrap_or_default());
        }
        came.iter_mut().for_each(|answers| self.tamper.change(answers));
        let inserted = came.iter().flatten().filter_map(|raw| Answer::inserted(raw));
        self.ids.add(inserted.collect());
        let mut answers: Vec<Vec<Answer>> = Vec::new();
        for raw in &came {
            let read = raw.iter().map(|raw| Answer::read(raw, &self.ids, view));
            answers.push(read.collect());
        }
        for (link, answers) in self.links.iter_mut().zip(&mut answers) {
            if link.as_ref().is_some_and(|link| link.has_ended) {
                answers.push(Answer::End);
                *link = None;
            }
        }
        answers
    }
}
