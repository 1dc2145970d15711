//! The beanstalk protocol's door: its sockets on the event loop of Redis, and the turns of its sessions.
//!
//! The callbacks of file descriptors run in the middle of slow scripts and while data are loaded, so they only move
//! bytes: input into the sessions, output out of them. The sessions run when the server is about to sleep
//! ([`State::run_sessions`]), and their answers leave after Redis has written the append-only file, in the event
//! loop's next turn; at once, if there is no such file. A session whose command comes alone, while nothing else goes on
//! in the server, runs as soon as it was read (`alone`).
//!
//! | file | subject |
//! |---|---|
//! | `listen` | listening, and letting connections in |
//! | `flow` | moving bytes |
//! | `turn` | the turns of the sessions |
//! | `alone` | a session's turn as soon as it has input |
//! | `settings` | `phean.host` and its like |
//! | `socket` | listening and connected sockets |
//! | `gates` | what Redis checks before it runs a command |
//! | `facts` | what `stats` tells of the process |

mod alone;
mod facts;
mod flow;
mod gates;
mod listen;
mod settings;
mod socket;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_int;
use std::os::fd::RawFd;

use crate::beanstalk::{Port, PortSettings, Session};
use crate::broker::{Broker, End};

use super::api::{self, Ctx, Ready, RedisModuleInfoCtx, flag, info_field};
use super::clock::now_ms;
use super::state::State;
use super::world::{Last, RedisWorld};
use alone::Calm;
use flow::on_turn;
use gates::Memory;
use listen::on_input;
use settings::Settings;
use socket::{Listener, Stream};

pub(super) use gates::{Locality, is_asking, lets_write, locality};
pub(super) use settings::{NUMBERS, TEXTS};

/// How often to look for connections that take nothing of their output, in milliseconds.
const STALLS_EACH_MS: u64 = 1_000;

/// At most one line of the log tells of refused connections in so many milliseconds.
const COMPLAINT_MS: u64 = 5_000;

/// A connection.
struct Connection {
    stream: Stream,
    session: Session,
    /// Whether the event loop tells of input, and of room for output.
    reading: bool,
    writing: bool,
    /// Whether it stands among those whose input is read later.
    unread: bool,
    /// Whether it stands among those that run next, and among those that have something to send.
    due: bool,
    sending: bool,
    /// Whether the peer will send no more.
    ended: bool,
    /// Whether its end stands behind input that the session does not want yet. So all of that is read.
    drains: bool,
    /// Whether it is to be closed without another word.
    broken: bool,
    /// Whether its user was not looked at yet.
    is_new: bool,
    /// How many looks for that there were since it last took something of its output.
    stalled_looks: u64,
}

/// What is there only while the port is on.
struct Inside {
    port: Port,
    memory: Memory,
    /// The tube that was last worked on.
    last: Last,
}

/// Where the port listens.
#[derive(Default)]
struct Address {
    tcp: Option<(String, u16)>,
    unix: Option<String>,
}

/// Numbers for `INFO phean`.
#[derive(Default)]
struct Counters {
    accepted: u64,
    rejected: u64,
    cut_off: u64,
    input_bytes: u64,
    output_bytes: u64,
    runs_alone: u64,
}

/// The port's sockets and sessions.
#[derive(Default)]
pub(super) struct Door {
    settings: Settings,
    address: Address,
    tcp: Option<Listener>,
    unix: Option<Listener>,
    inside: Option<Box<Inside>>,
    /// By file descriptor.
    connections: Vec<Option<Box<Connection>>>,
    clients: BTreeMap<u64, RawFd>,
    last_client: u64,
    /// How many connections were read in this turn of the event loop, of how many it is not to tell until they are, and
    /// which ones were put off.
    reads: usize,
    forgets: usize,
    unread: VecDeque<RawFd>,
    due: VecDeque<RawFd>,
    sending: Vec<RawFd>,
    /// Those of them whose wait is over.
    woken: Vec<RawFd>,
    buffer: Vec<u8>,
    /// Whether a session may run alone.
    calm: Calm,
    /// Whether the event loop will call `on_turn`.
    turning: bool,
    /// The timer that looks for the end of a pause.
    polling: Option<u64>,
    /// Whether no more connections could be opened, so that the listeners rest until the next look.
    resting: bool,
    /// Whether the port is to be opened.
    opening: bool,
    /// Why all connections are to be closed.
    closing: Option<&'static str>,
    /// As many clients as Redis takes, and with them file descriptors.
    redis_maxclients: u64,
    counters: Counters,
    /// When the log was last told of something (Unix ms).
    complained_ms: u64,
    stalls_looked_ms: u64,
}

impl Door {
    fn at(&mut self, fd: RawFd) -> Option<&mut Connection> {
        self.slot(fd)?.as_deref_mut()
    }

    fn slot(&mut self, fd: RawFd) -> Option<&mut Option<Box<Connection>>> {
        self.connections.get_mut(usize::try_from(fd).ok()?)
    }

    /// Has the session run when the server is next about to sleep.
    fn run_soon(&mut self, fd: RawFd) {
        if let Some(connection) = self.at(fd)
            && !connection.due
        {
            connection.due = true;
            self.due.push_back(fd);
        }
    }

    /// Has the session's output sent at the end of this turn.
    fn send_soon(&mut self, fd: RawFd) {
        if let Some(connection) = self.at(fd)
            && !connection.sending
            && !connection.writing
        {
            connection.sending = true;
            self.sending.push(fd);
        }
    }

    fn turn_event_loop(&mut self) {
        if !self.turning {
            self.turning = true;
            api::next_turn(on_turn);
        }
    }

    /// Something has happened that could make Redis refuse writes.
    pub(super) fn doubt(&mut self) {
        if let Some(inside) = &mut self.inside {
            inside.memory.doubt();
        }
    }

    /// All connections will be closed when the server is next about to sleep.
    pub(super) fn close_all_soon(&mut self, why: &'static str) {
        self.closing = Some(why);
    }

    /// The connection of a waiter, if it is one of the port's.
    pub(super) fn waiting(&self, waiter: u64) -> Option<RawFd> {
        let client = self.inside.as_ref()?.port.client_waiting(waiter)?;
        self.clients.get(&client).copied()
    }

    /// Whether the port's user may still have a job of this tube.
    pub(super) fn may_have(&mut self, name: &[u8]) -> bool {
        self.inside.as_mut().is_some_and(|inside| inside.memory.may_have(name))
    }

    /// A connection's wait is over.
    pub(super) fn end_wait(&mut self, fd: RawFd, end: End<'_>) {
        let index = usize::try_from(fd).unwrap_or(usize::MAX);
        let connection = self.connections.get_mut(index).and_then(Option::as_deref_mut);
        let (Some(inside), Some(connection)) = (&mut self.inside, connection) else { return };
        inside.port.end_wait(&mut connection.session, end);
        self.woke(fd);
    }

    /// A connection's wait is over because nothing can come of it here.
    pub(super) fn interrupt(&mut self, broker: &mut Broker, fd: RawFd) {
        let index = usize::try_from(fd).unwrap_or(usize::MAX);
        let connection = self.connections.get_mut(index).and_then(Option::as_deref_mut);
        let (Some(inside), Some(connection)) = (&mut self.inside, connection) else { return };
        inside.port.interrupt(&mut connection.session, broker);
        self.woke(fd);
        self.complain("phean.port ended waits for tubes whose slots this node does not serve any more");
    }

    /// What was said to end a wait is sent, and the session goes on.
    fn woke(&mut self, fd: RawFd) {
        if let Some(connection) = self.at(fd)
            && !connection.sending
            && !connection.writing
        {
            connection.sending = true;
            self.woken.push(fd);
        }
        // What has output goes on when that was sent.
        if self.at(fd).is_some_and(|connection| connection.session.output().is_empty()) {
            self.run_soon(fd);
        }
    }

    /// Whether the port is open.
    pub(super) fn is_listening(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| inside.memory.is_listening())
    }

    /// Whether something is to be done before the event loop sleeps.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        !self.due.is_empty()
            || !self.unread.is_empty()
            || self.has_answers()
            || self.closing.is_some()
            || self.opening
    }

    fn has_answers(&self) -> bool {
        !self.sending.is_empty() || !self.woken.is_empty()
    }

    /// What was done is told: at once if no append-only file is written, else once it was written, which Redis does
    /// after this.
    pub(super) fn settle(&mut self, flags: c_int) {
        if self.has_answers() {
            if flags & flag::AOF != 0 {
                self.turn_event_loop();
            } else {
                self.send_all();
            }
        }
        if (!self.due.is_empty() && self.polling.is_none()) || !self.unread.is_empty() {
            self.turn_event_loop();
        }
    }

    /// Looks after what nothing tells of. Called some ten times a second.
    pub(super) fn look(&mut self, ctx: Ctx) {
        if self.inside.is_none() {
            return;
        }
        self.redis_maxclients = ctx.server_info(c"clients", c"maxclients").unwrap_or(u64::MAX);
        if std::mem::take(&mut self.resting) {
            for listener in self.listeners() {
                api::watch_fd(listener.fd(), Ready::Input, on_input);
            }
        }
        let now_ms = now_ms();
        // The clock may step back.
        if now_ms.abs_diff(self.stalls_looked_ms) >= STALLS_EACH_MS {
            self.stalls_looked_ms = now_ms;
            self.cut_off_stalled();
            self.look_for_ends();
        }
    }

    /// Tells the log, but not too often.
    fn complain(&mut self, text: &str) {
        let now_ms = now_ms();
        // The clock may step back.
        if now_ms.abs_diff(self.complained_ms) >= COMPLAINT_MS {
            self.complained_ms = now_ms;
            api::log(std::ptr::null_mut(), c"warning", text);
        }
    }

    /// In a child of the server, which would otherwise hold the sockets open: closes them there. Nothing may be told
    /// to the event loop, which the child shares.
    pub(super) fn leave_to_parent(&self) {
        let listeners = self.listeners().map(Listener::fd);
        listeners.chain(self.clients.values().copied()).for_each(socket::close_in_child);
    }

    /// The server ends, and the append-only file is written: the last answers leave.
    pub(super) fn shut_down(&mut self, broker: &mut Broker) {
        self.send_all();
        self.close_all(broker, "the server ends");
        for listener in [self.tcp.take(), self.unix.take()].into_iter().flatten() {
            api::forget_fd(listener.fd(), Ready::Input);
            listener.end();
        }
    }

    /// Fields of `INFO phean`.
    pub(super) fn show(&self, ctx: *mut RedisModuleInfoCtx) {
        let counters = &self.counters;
        info_field(ctx, c"port_connections", self.clients.len() as u64);
        info_field(ctx, c"port_total_connections", counters.accepted);
        info_field(ctx, c"port_rejected_connections", counters.rejected);
        info_field(ctx, c"port_cut_off_connections", counters.cut_off);
        info_field(ctx, c"port_input_bytes", counters.input_bytes);
        info_field(ctx, c"port_output_bytes", counters.output_bytes);
        info_field(ctx, c"port_runs_alone", counters.runs_alone);
    }
}

impl State {
    /// Acts upon the settings.
    pub(super) fn apply_port_settings(&mut self, ctx: Ctx) -> Result<(), String> {
        let settings = self.means.door.settings.clone();
        let db = settings.database;
        if db != 0 && ctx.has(flag::CLUSTER) {
            return Err("in a cluster there is only database 0".into());
        }
        if db != 0 && !api::has_database(ctx, db) {
            return Err(format!("there is no database {db}"));
        }
        self.means.door.listen()?;
        let has_changed =
            self.means.door.inside.as_ref().is_some_and(|inside| inside.port.settings().db != db);
        if has_changed || !settings.is_on() {
            let why = if has_changed { "phean.database has changed" } else { "phean.port is off" };
            self.means.door.close_all(&mut self.broker, why);
            if let Some(inside) = self.means.door.inside.take() {
                inside.port.end(&mut self.broker);
                inside.memory.end(ctx);
            }
        }
        if !settings.is_on() {
            return Ok(());
        }
        self.means.door.redis_maxclients = ctx.server_info(c"clients", c"maxclients").unwrap_or(u64::MAX);
        match &mut self.means.door.inside {
            Some(inside) => inside.memory.set_user(&settings.user),
            None => self.means.door.opening = true,
        }
        Ok(())
    }

    /// Lets connections in, now that the settings say so. The callback that applies settings could not do it: its
    /// context knows no database.
    pub(super) fn open_port(&mut self, ctx: Ctx) {
        if !std::mem::take(&mut self.means.door.opening)
            || self.means.door.inside.is_some()
            || !self.means.door.settings.is_on()
        {
            return;
        }
        let db = self.means.door.settings.database;
        let settings = PortSettings { db, ..PortSettings::default() };
        let (broker, means) = self.parts();
        let port = Port::new(settings, broker, &mut RedisWorld::outside(ctx, means));
        let mut memory = Memory::new(&self.means.door.settings.user, db);
        memory.listen(ctx);
        self.means.door.inside = Some(Box::new(Inside { port, memory, last: Last::default() }));
    }
}
