//! Waiting for an event instead of sleeping, and commands that block.

use crate::harness::{Server, client_id, is_blocked};
use crate::reply::cmd;
use redis::{Connection, RedisResult, Value};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{env, thread};

/// How long anything may take before the test fails: 20 s, tenfold under a loader such as valgrind.
pub fn patience() -> Duration {
    let slowness = if env::var_os("PHEAN_TEST_SERVER_LOADER").is_some() { 10 } else { 1 };
    Duration::from_secs(20) * slowness
}

/// Waits until the condition holds; panics if it does not in [`patience`].
#[track_caller]
pub fn eventually(mut condition: impl FnMut() -> bool) {
    eventually_some(|| condition().then_some(()));
}

/// Waits until there is a value, and returns it; panics if there is none in [`patience`].
#[track_caller]
pub fn eventually_some<T>(mut value: impl FnMut() -> Option<T>) -> T {
    let bound = Instant::now() + patience();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(Instant::now() < bound, "what was waited for did not happen in {:?}", patience());
        thread::sleep(Duration::from_millis(2));
    }
}

/// A command that waits in the server, sent from a thread with a connection of its own.
pub struct Blocked {
    client_id: i64,
    thread: JoinHandle<RedisResult<Value>>,
}

impl Blocked {
    /// Sends the command over a new RESP2 connection, and returns once the server shows the client as
    /// blocked, or the command has answered.
    #[track_caller]
    pub fn start<A: AsRef<[u8]>>(server: &Server, args: &[A]) -> Blocked {
        Blocked::start_on(server, server.connect(), args)
    }

    /// As [`Blocked::start`], over a connection of the test's choice (RESP3, another database or user).
    #[track_caller]
    pub fn start_on<A: AsRef<[u8]>>(server: &Server, mut con: Connection, args: &[A]) -> Blocked {
        let client_id = client_id(&mut con);
        Blocked::start_as(server, con, client_id, args)
    }

    /// As [`Blocked::start_on`], with the connection's client id, so that the command is the next one sent on it.
    #[track_caller]
    pub fn start_as<A: AsRef<[u8]>>(
        server: &Server,
        mut con: Connection,
        client_id: i64,
        args: &[A],
    ) -> Blocked {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_ref().to_vec()).collect();
        // It waits for all that the test does meanwhile, and some tests do what takes a server long.
        con.set_read_timeout(Some(patience() * 6)).expect("a timeout can be set");
        let thread = thread::spawn(move || cmd(&mut con, &args));
        let blocked = Blocked { client_id, thread };
        let mut watch = server.connect();
        eventually(|| blocked.is_over() || is_blocked(&mut watch, client_id));
        blocked
    }

    /// The waiting client's id, for `CLIENT UNBLOCK` and `CLIENT KILL`.
    pub fn client_id(&self) -> i64 {
        self.client_id
    }

    /// Whether the command has answered.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the command's reply. The connection is closed with it.
    #[track_caller]
    pub fn join(self) -> RedisResult<Value> {
        self.thread.join().expect("the waiting thread does not panic")
    }
}
