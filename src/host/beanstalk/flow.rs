//! Moving bytes between sockets and sessions.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use super::super::api::{self, Ready};
use super::super::guard::guard;
use super::super::state;
use super::listen::on_input;
use super::socket::Peer;
use super::{Connection, Door, STALLS_EACH_MS};

/// So much is read from a connection in one turn of the event loop, in bytes.
const READ: usize = 64 * 1024;

/// So many connections are read in one turn of the event loop: when ten thousand workers vanish at once, the other
/// clients of Redis are not to wait until the last of them is closed.
pub(super) const READS: usize = 256;

/// A connection that is at its end counts as so many, as it is closed in the same turn, which costs more than to serve
/// it.
const END: usize = 4;

/// And as one more for each so many tubes that it watches.
const END_TUBES: usize = 32;

/// As long as more than so many connections are put off, the event loop is told to look at fewer of them: it finds all of
/// them ready in every turn, which takes milliseconds for ten thousand.
const CROWD: usize = 256;

/// So many of them in one turn.
const FORGETS: usize = 256;

/// A connection that has taken nothing of its output in so many looks for that is closed. They are counted, and no clock is
/// asked, which may step forward; nor does a script that ran for long make anybody look as if he had not read.
const STALLED_LOOKS: u64 = 30_000 / STALLS_EACH_MS;

impl Connection {
    /// As how many it counts when it is closed.
    pub(super) fn end(&self) -> usize {
        END + self.session.watching() / END_TUBES
    }
}

impl Door {
    /// A connection has input: it is read now, or in a later turn if many are.
    pub(super) fn has_input(&mut self, fd: RawFd) {
        let may_read = self.reads < READS;
        let may_forget = self.unread.len() > CROWD && self.forgets < FORGETS;
        let Some(connection) = self.at(fd) else { return };
        if connection.unread {
            if may_forget {
                connection.reading = false;
                self.forgets += 1;
                api::forget_fd(fd, Ready::Input);
            }
        } else if may_read {
            self.read(fd);
        } else {
            connection.unread = true;
            self.unread.push_back(fd);
        }
    }

    /// A turn is over: those that were put off are read, a number of them, before any that have input in the next.
    pub(super) fn read_on(&mut self) {
        (self.reads, self.forgets) = (0, 0);
        while self.reads < READS {
            let Some(fd) = self.unread.pop_front() else { break };
            if let Some(connection) = self.at(fd) {
                connection.unread = false;
                self.read(fd);
            }
        }
    }

    /// Reads what is there, once, so that one connection does not keep the others waiting.
    pub(super) fn read(&mut self, fd: RawFd) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ, 0);
        if let Some(connection) = self.at(fd) {
            match connection.stream.read(&mut buffer) {
                Ok(Some(0)) => {
                    connection.ended = true;
                    connection.session.end_of_input();
                }
                Ok(Some(count)) => {
                    connection.session.feed(buffer.get(..count).unwrap_or_default());
                    self.counters.input_bytes += count as u64;
                }
                Ok(None) => {}
                Err(_) => connection.broken = true,
            }
        }
        self.buffer = buffer;
        let ending = self.at(fd).filter(|connection| connection.ended || connection.broken);
        self.reads += ending.map_or(1, |connection| connection.end());
        self.watch_input(fd);
        self.run_soon(fd);
    }

    /// Has the event loop tell of input exactly while the session wants it.
    pub(super) fn watch_input(&mut self, fd: RawFd) {
        let Some(connection) = self.at(fd) else { return };
        let may_want = connection.session.wants_input() || connection.drains;
        let wants = may_want && !connection.broken && !connection.ended;
        if wants == connection.reading {
            return;
        }
        connection.reading = wants;
        if !wants {
            api::forget_fd(fd, Ready::Input);
        } else if !api::watch_fd(fd, Ready::Input, on_input) {
            connection.broken = true;
            self.run_soon(fd);
        }
    }

    /// Sends as much as the connection takes.
    pub(super) fn send(&mut self, fd: RawFd) {
        let Some(connection) = self.at(fd) else { return };
        connection.sending = false;
        let mut sent = 0;
        while !connection.broken && !connection.session.output().is_empty() {
            match connection.stream.write(connection.session.output().as_slice()) {
                Ok(Some(count)) if count > 0 => {
                    connection.session.output().consume(count);
                    sent += count;
                }
                Ok(_) => break,
                Err(_) => connection.broken = true,
            }
        }
        let is_empty = connection.session.output().is_empty();
        let waits = !connection.broken && !is_empty;
        if waits && (sent > 0 || !connection.writing) {
            connection.stalled_looks = 0;
        }
        if waits != connection.writing {
            connection.writing = waits;
            if !waits {
                api::forget_fd(fd, Ready::Room);
            } else if !api::watch_fd(fd, Ready::Room, on_room) {
                connection.broken = true;
            }
        }
        let session = &connection.session;
        if connection.broken || (is_empty && (session.is_over() || session.has_work())) {
            self.run_soon(fd);
        }
        self.counters.output_bytes += sent as u64;
        self.watch_input(fd);
    }

    /// Sends to all who have something to be sent, and first to those who waited for it.
    pub(super) fn send_all(&mut self) {
        let (mut woken, mut sending) = (std::mem::take(&mut self.woken), std::mem::take(&mut self.sending));
        woken.drain(..).chain(sending.drain(..)).for_each(|fd| self.send(fd));
        (self.woken, self.sending) = (woken, sending);
    }

    /// The connections of which this holds. Costs a look at each.
    fn those(&self, is_such: impl Fn(&Connection) -> bool) -> Vec<RawFd> {
        let connections = self.connections.iter().flatten();
        connections.filter(|connection| is_such(connection)).map(|it| it.stream.fd()).collect()
    }

    /// Looks for the ends of connections whose reserve waits, and whose input is not read meanwhile, as so much of it
    /// stands here: the event loop tells nothing of them. A job would be handed to somebody who is gone.
    pub(super) fn look_for_ends(&mut self) {
        let is_deaf = |it: &Connection| !it.reading && !it.broken && !it.ended && it.session.is_waiting();
        for fd in self.those(is_deaf) {
            let Some(connection) = self.at(fd) else { continue };
            match connection.stream.peer() {
                Peer::There => continue,
                // What it had sent before is read, no more than the system holds, and then its end.
                Peer::Ended => connection.drains = true,
                Peer::Gone => connection.broken = true,
            }
            self.watch_input(fd);
            self.run_soon(fd);
        }
    }

    /// Closes connections that do not read what they asked for.
    pub(super) fn cut_off_stalled(&mut self) {
        self.connections.iter_mut().flatten().for_each(|connection| connection.stalled_looks += 1);
        // The first look may have come at once.
        let is_stalled = |it: &Connection| it.writing && !it.broken && it.stalled_looks > STALLED_LOOKS;
        for fd in self.those(is_stalled) {
            let Some(connection) = self.at(fd) else { continue };
            connection.broken = true;
            let len = connection.session.output().len();
            self.run_soon(fd);
            self.counters.cut_off += 1;
            self.complain(&format!(
                "phean.port closes a connection that has read nothing for {} seconds, with {len} bytes left to send",
                STALLED_LOOKS * STALLS_EACH_MS / 1000
            ));
        }
    }
}

pub(super) unsafe extern "C" fn on_room(fd: c_int, _: *mut c_void, _: c_int) {
    guard((), || {
        state::enter(|state| state.means.door.send(fd));
    });
}

/// The append-only file was written since this was asked for.
pub(super) unsafe extern "C" fn on_turn(_: *mut c_void) {
    guard((), || {
        state::enter(|state| {
            state.means.door.turning = false;
            state.means.door.send_all();
        });
    });
}
