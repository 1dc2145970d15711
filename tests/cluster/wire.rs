//! Ways to a server that may move: each sends a command, and finds the right server if there is another one by now.

use crate::reply::{cmd, error_line};
use redis::cluster::ClusterConnection;
use redis::{Client, Cmd, Connection, RedisError, RedisResult, Value};
use std::time::Duration;

/// Sends commands to whoever serves them.
pub trait Wire: Send {
    /// Sends one. What becomes of a command whose connection broke is not known, and it is not sent again.
    fn ask(&mut self, args: &[&str]) -> RedisResult<Value>;

    /// Whether so many replicas have by now what was written here, as `WAIT` says; `false` where that cannot be
    /// asked.
    fn is_confirmed(&mut self, replicas: usize) -> bool {
        let _ = replicas;
        false
    }
}

impl Wire for ClusterConnection {
    fn ask(&mut self, args: &[&str]) -> RedisResult<Value> {
        let mut command = Cmd::new();
        args.iter().for_each(|arg| {
            command.arg(arg);
        });
        command.query(self)
    }
}

/// Where a primary may be found.
pub trait Finder: Send {
    /// The port of the server that should be asked next.
    fn find(&mut self) -> Option<u16>;
}

/// One connection to a primary: another one, as soon as it breaks or says that somebody else is it.
pub struct ToPrimary<F> {
    finder: F,
    con: Option<Connection>,
}

/// A server that was killed does not answer, and one that was stopped may take its time.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn connect(port: u16) -> RedisResult<Connection> {
    let con = Client::open(format!("redis://127.0.0.1:{port}"))?.get_connection_with_timeout(PATIENCE)?;
    con.set_read_timeout(Some(PATIENCE))?;
    con.set_write_timeout(Some(PATIENCE))?;
    Ok(con)
}

impl<F: Finder> ToPrimary<F> {
    pub fn new(finder: F) -> ToPrimary<F> {
        ToPrimary { finder, con: None }
    }

    fn open(&mut self) -> RedisResult<&mut Connection> {
        if self.con.is_none() {
            let port =
                self.finder.find().ok_or_else(|| RedisError::from(std::io::Error::other("no primary")))?;
            self.con = Some(connect(port)?);
        }
        self.con.as_mut().ok_or_else(|| RedisError::from(std::io::Error::other("no connection")))
    }

    /// Follows a redirection; `false` if the error is none.
    fn follow(&mut self, error: &RedisError) -> bool {
        let line = error.code().map(|_| error_line(error)).unwrap_or_default();
        let Some(rest) = line.strip_prefix("MOVED ") else { return false };
        let port = rest.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        self.con = port.and_then(|port| connect(port).ok());
        self.con.is_some()
    }
}

impl<F: Finder> Wire for ToPrimary<F> {
    fn ask(&mut self, args: &[&str]) -> RedisResult<Value> {
        for _ in 0..4 {
            let answer = cmd(self.open()?, args);
            let Err(error) = answer else { return answer };
            if self.follow(&error) {
                continue;
            }
            // One that has become a replica, or whose cluster is down, is not the one to ask.
            self.con = None;
            return Err(error);
        }
        Err(std::io::Error::other("sent from one to the other").into())
    }

    fn is_confirmed(&mut self, replicas: usize) -> bool {
        let Some(con) = self.con.as_mut() else { return false };
        // A replica that is there answers at once, and for a while there is none.
        match cmd(con, &["WAIT", &replicas.to_string(), "50"]) {
            Ok(Value::Int(count)) => count >= replicas as i64,
            _ => {
                self.con = None;
                false
            }
        }
    }
}
