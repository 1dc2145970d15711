//! What all sessions share, and the running of their commands.

use crate::broker::{Broker, End, World};

use super::{Gates, Session};

/// How the port is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortSettings {
    /// The database that its tubes live in.
    pub db: u32,
}

/// What all sessions share.
pub struct Port {
    settings: PortSettings,
}

impl Port {
    /// A port without connections. From now on the broker keeps what the port needs of it.
    pub fn new(settings: PortSettings, _broker: &mut Broker) -> Port {
        Port { settings }
    }

    /// Its settings.
    pub fn settings(&self) -> PortSettings {
        self.settings
    }

    /// Opens a session. `client` names the connection and is no other client's id, of this port or of Redis; it is
    /// below 2^48.
    pub fn open(&mut self, client: u64, _broker: &mut Broker) -> Session {
        Session::new(client)
    }

    /// Closes a session: it uses, watches and waits no longer, and what it has reserved goes back at the broker's
    /// next tick.
    pub fn close(&mut self, _session: Session, _broker: &mut Broker) {}

    /// Ends the port. All sessions are closed by then.
    pub fn end(self, _broker: &mut Broker) {}

    /// Runs what the session's input asks for: until there is no whole command left, a reserve waits, or so much
    /// output stands there that it should be sent first.
    pub fn run<W: World, G: Gates>(
        &mut self,
        session: &mut Session,
        _broker: &mut Broker,
        _world: &mut W,
        _gates: &mut G,
        _now_ms: u64,
    ) {
        while let Some(line) = session.take_line() {
            if line.starts_with(b"quit") {
                return session.quit();
            }
            session.output().push(b"UNKNOWN_COMMAND\r\n");
        }
    }

    /// The client whose session waits under this number; `None` if it is no waiter of this port.
    pub fn client_waiting(&self, _waiter: u64) -> Option<u64> {
        None
    }

    /// A session's wait ended ([`World::end_wait`] was told so). [Run](Port::run) the session next.
    pub fn end_wait(&mut self, _session: &mut Session, _end: End<'_>, _now_ms: u64) {}
}
