//! A producer and worker at the beanstalk port.

use crate::ledger::Ledger;
use crate::load::{PORT_TUBE, body};
use crate::waiting::patience;
use rand::Rng;
use rand::rngs::SmallRng;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port accepts a connection");
    stream.set_read_timeout(Some(patience())).expect("a timeout can be set");
    stream.set_nodelay(true).expect("the socket can be set");
    stream
}

/// Puts and takes until the connection ends.
pub fn work(stream: TcpStream, ledger: &Ledger, rng: SmallRng) {
    let mut worker = Worker { stream: BufReader::new(stream), ledger, rng };
    let begun = worker.begin();
    while begun.is_some() && worker.turn().is_some() {}
}

struct Worker<'a> {
    stream: BufReader<TcpStream>,
    ledger: &'a Ledger,
    rng: SmallRng,
}

impl Worker<'_> {
    /// Sends a command; the line that answers it, and nothing when the connection has ended.
    fn ask(&mut self, command: &[u8]) -> Option<String> {
        self.stream.get_mut().write_all(command).ok()?;
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let line = line.strip_suffix("\r\n")?.to_owned();
        let is_bad =
            ["OUT_OF_MEMORY", "INTERNAL_ERROR", "BAD_FORMAT", "UNKNOWN_COMMAND"].contains(&line.as_str());
        if is_bad {
            self.ledger.fault(format!("{}: {line}", command.escape_ascii()));
        }
        Some(line)
    }

    fn begin(&mut self) -> Option<()> {
        self.ask(format!("use {PORT_TUBE}\r\n").as_bytes())?;
        self.ask(format!("watch {PORT_TUBE}\r\n").as_bytes()).map(drop)
    }

    fn turn(&mut self) -> Option<()> {
        for _ in 0..self.rng.random_range(0..4) {
            let body = body();
            let numbers = ["5 0 60", "1 0 1", "7 1 60"][self.rng.random_range(0..3)];
            self.ledger.putting(&body);
            let head = format!("put {numbers} {}\r\n", body.len());
            let answer = self.ask(&[head.as_bytes(), &body, b"\r\n"].concat())?;
            match answer.strip_prefix("INSERTED ").and_then(|id| id.parse().ok()) {
                Some(id) => self.ledger.was_put(id, &body),
                None => self.ledger.fault(format!("put: {answer}")),
            }
        }
        let answer = self.ask(b"reserve-with-timeout 0\r\n")?;
        let Some(rest) = answer.strip_prefix("RESERVED ") else { return Some(()) };
        let (id, length) = rest.split_once(' ')?;
        let (id, length): (i64, usize) = (id.parse().ok()?, length.parse().ok()?);
        let mut job = vec![0; length + 2];
        self.stream.read_exact(&mut job).ok()?;
        self.ledger.was_given(id, &job[..length], None);
        match self.rng.random_range(0..4) {
            0..=1 => {
                self.ledger.deleting(id);
                let answer = self.ask(format!("delete {id}\r\n").as_bytes())?;
                self.ledger.was_deleted(id, answer == "DELETED");
            }
            2 => drop(self.ask(format!("bury {id} 5\r\n").as_bytes())?),
            _ => drop(self.ask(format!("release {id} 5 0\r\n").as_bytes())?),
        }
        Some(())
    }
}
