//! Listening, and letting connections in.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::RawFd;

use crate::broker::Broker;
use crate::commands::quoted;

use super::super::api::{self, Ready};
use super::super::events;
use super::super::guard::guard;
use super::super::state;
use super::socket::{Listener, Stream};
use super::{Address, Connection, Door};

/// So many connections are accepted in one turn of the event loop.
const ACCEPT: usize = 256;

/// The ids of the port's connections begin here, far above those of Redis.
const FIRST_CLIENT: u64 = 1 << 47;

/// What a client reads that cannot be served: the protocol's word for "try again later".
const FULL: &[u8] = b"OUT_OF_MEMORY\r\n";

impl Door {
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        [&self.tcp, &self.unix].into_iter().flatten()
    }

    pub(super) fn listener(&self, fd: RawFd) -> Option<&Listener> {
        self.listeners().find(|listener| listener.fd() == fd)
    }

    /// Listens where the settings say. If that fails, everything is as it was.
    pub(super) fn listen(&mut self) -> Result<(), String> {
        let tcp = (self.settings.port != 0).then(|| (self.settings.host.clone(), self.settings.port));
        let unix = Some(self.settings.unixsocket.clone()).filter(|path| !path.is_empty());
        let mut new_unix = None;
        if let Some(path) = unix.as_ref().filter(|path| self.address.unix.as_ref() != Some(path)) {
            let listener = Listener::unix(path).map_err(|error| {
                format!("cannot listen on the socket {}: {error}", quoted(path.as_bytes()))
            })?;
            new_unix = Some(listener);
        }
        let mut new_tcp = None;
        if let Some((host, port)) = tcp.as_ref().filter(|tcp| self.address.tcp.as_ref() != Some(tcp)) {
            match self.listen_tcp(host, *port) {
                Ok(listener) => new_tcp = Some(listener),
                Err(reason) => {
                    if let Some(listener) = new_unix {
                        listener.end();
                    }
                    return Err(reason);
                }
            }
        }
        if self.address.tcp != tcp {
            if let Some((host, port)) = &tcp {
                notice(&format!("phean.port listens on {host}:{port}"));
            }
            replace(&mut self.tcp, new_tcp);
        }
        if self.address.unix != unix {
            if let Some(path) = &unix {
                notice(&format!("phean.port listens on the Unix socket {path}"));
            }
            replace(&mut self.unix, new_unix);
        }
        self.address = Address { tcp, unix };
        Ok(())
    }

    pub(super) fn listen_tcp(&mut self, host: &str, port: u16) -> Result<Listener, String> {
        let failed =
            |error: io::Error| format!("cannot listen on {}:{port}: {error}", quoted(host.as_bytes()));
        let error = match Listener::tcp(host, port) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        // The same port at another address may be taken by ourselves.
        let old = self.address.tcp.clone().filter(|(_, old_port)| *old_port == port);
        let (Some((old_host, _)), io::ErrorKind::AddrInUse) = (old, error.kind()) else {
            return Err(failed(error));
        };
        replace(&mut self.tcp, None);
        Listener::tcp(host, port).map_err(|error| {
            match Listener::tcp(&old_host, port) {
                Ok(listener) => replace(&mut self.tcp, Some(listener)),
                Err(error) => {
                    self.address.tcp = None;
                    self.complain(&format!(
                        "phean.port is closed: cannot listen again on {old_host}:{port}: {error}"
                    ));
                }
            }
            failed(error)
        })
    }

    /// Whoever stands before the door comes in.
    pub(super) fn accept(&mut self, broker: &mut Broker, listener_fd: RawFd) {
        if self.inside.is_none() {
            // The port is about to be opened.
            return;
        }
        for _ in 0..ACCEPT {
            let Some(accepted) = self.listener(listener_fd).map(Listener::accept) else { return };
            match accepted {
                Ok(stream) => self.let_in(broker, stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The peer has already gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Most likely there are no more file descriptors. The event loop would call again at once.
                    self.complain(&format!("phean.port cannot accept connections: {error}"));
                    return self.rest();
                }
            }
        }
    }

    pub(super) fn let_in(&mut self, broker: &mut Broker, stream: Stream) {
        let fd = stream.fd();
        let (Ok(index), Some(inside)) = (usize::try_from(fd), self.inside.as_deref_mut()) else { return };
        if self.clients.len() >= self.settings.maxclients as usize {
            return self.turn_away(stream, "there are phean.maxclients already");
        }
        // Redis has room for few more file descriptors than its maxclients, and needs some for itself.
        if index as u64 >= self.redis_maxclients || !api::watch_fd(fd, Ready::Input, on_input) {
            return self
                .turn_away(stream, "raise maxclients of Redis, which bounds all connections together");
        }
        self.last_client += 1;
        let client = FIRST_CLIENT + self.last_client;
        let connection = Connection {
            stream,
            session: inside.port.open(client, broker),
            reading: true,
            writing: false,
            unread: false,
            due: false,
            sending: false,
            ended: false,
            drains: false,
            broken: false,
            is_new: true,
            stalled_looks: 0,
        };
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Box::new(connection));
        self.clients.insert(client, fd);
        self.counters.accepted += 1;
    }

    pub(super) fn turn_away(&mut self, mut stream: Stream, why: &str) {
        self.counters.rejected += 1;
        self.complain(&format!("phean.port refuses a connection: {why}"));
        let _ = stream.write(FULL);
        stream.end();
    }

    /// Accepts nothing until the next look.
    pub(super) fn rest(&mut self) {
        self.resting = true;
        for listener in self.listeners() {
            api::forget_fd(listener.fd(), Ready::Input);
        }
    }
}

fn notice(text: &str) {
    api::log(std::ptr::null_mut(), c"notice", text);
}

/// One listener ends, another begins.
fn replace(place: &mut Option<Listener>, listener: Option<Listener>) {
    if let Some(listener) = &listener {
        api::watch_fd(listener.fd(), Ready::Input, on_input);
    }
    if let Some(old) = std::mem::replace(place, listener) {
        api::forget_fd(old.fd(), Ready::Input);
        old.end();
    }
}

pub(super) unsafe extern "C" fn on_input(fd: c_int, _: *mut c_void, _: c_int) {
    guard((), || {
        state::enter_deaf(|state| {
            if state.means.door.listener(fd).is_some() {
                state.means.door.accept(&mut state.broker, fd);
            } else {
                state.means.door.has_input(fd);
                if state.run_alone(fd) {
                    return;
                }
            }
            if events::hear_turns() {
                // The event loop is awake.
                state.timer.about_to_sleep = false;
            }
        });
    });
}
