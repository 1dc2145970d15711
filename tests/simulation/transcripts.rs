//! Every command in good and bad cases, as transcripts: what is sent, `----`, what is answered.
//!
//! ```text
//! # a comment
//! 2: RESERVE a TIMEOUT 5         client 2 sends it; without a number it is client 1
//! sleep 0.25                     time passes
//! set drain yes                  a setting changes (drain, retry-count, retry-interval, max-job-size)
//! text a                         the key holds a string
//! script PUT a x                 the command runs in a script
//! ----
//! one line for each answer, and one for each waiter that is told something
//! ```
//!
//! After every line the server goes to sleep, as Redis does: waiters are told. `PHEAN_REWRITE=1` writes the answers
//! that come into the files; read the difference before you believe it.

use std::fmt::Write;
use std::path::Path;

use phean::broker::Settings;

use super::reply::Value as Answer;
use super::server::{Outcome, Sender, Server};
use super::world::{Ended, Op, Place};

const NOW_MS: u64 = 1_790_000_000_000;

struct Session {
    server: Server,
    now_ms: u64,
    /// The waiters' numbers and clients.
    waiting: Vec<(u64, u64)>,
    out: String,
}

impl Session {
    fn begin() -> Session {
        let server = Server::primary(Settings::default(), NOW_MS);
        Session { server, now_ms: NOW_MS, waiting: Vec::new(), out: String::new() }
    }

    fn line(&mut self, line: &str) {
        let (client, rest) = match line.split_once(": ") {
            Some((number, rest)) if number.len() == 1 => (number.parse().expect("a client's number"), rest),
            _ => (1, line),
        };
        let words = words(rest);
        let text = |index: usize| std::str::from_utf8(&words[index]).expect("plain words");
        match text(0) {
            "sleep" => self.now_ms += (text(1).parse::<f64>().expect("seconds") * 1000.0) as u64,
            "set" => self.set(text(1), text(2)),
            "text" => {
                let op = Op::SetText(Place::of(0, text(1).as_bytes()));
                self.server.world.state.borrow_mut().execute(&op);
            }
            "script" => self.send(Sender { id: client, may_wait: false, in_script: true }, &words[1..]),
            _ => self.send(Sender { id: client, may_wait: true, in_script: false }, &words),
        }
        self.sleep();
    }

    fn set(&mut self, name: &str, value: &str) {
        let settings = &mut self.server.broker.settings;
        let number = || value.parse::<u64>().expect("a number");
        match name {
            "drain" => settings.drain = value == "yes",
            "retry-count" => settings.retry.count = value.parse().ok(),
            "retry-interval" => settings.retry.interval_ms = number() * 1000,
            "max-job-size" => settings.max_job_size = number(),
            other => panic!("no setting {other}"),
        }
    }

    fn send(&mut self, client: Sender, args: &[Vec<u8>]) {
        match self.server.run(client, 0, args, self.now_ms) {
            Outcome::Reply(Answer::Map(values)) => {
                for pair in values.chunks(2) {
                    // How much memory it is depends on the machine.
                    if pair[0].bytes() == b"memory" {
                        continue;
                    }
                    writeln!(self.out, "{}: {:?}", String::from_utf8_lossy(pair[0].bytes()), pair[1])
                        .unwrap();
                }
            }
            Outcome::Reply(reply) => writeln!(self.out, "{reply:?}").unwrap(),
            Outcome::Waits(wait) => {
                let number = self.server.broker.wait(wait);
                self.waiting.push((number, client.id));
                writeln!(self.out, "(waits)").unwrap();
            }
            Outcome::Error(error) => writeln!(self.out, "{error}").unwrap(),
        }
    }

    /// Ticks if it is time to, and tells those who waited.
    fn sleep(&mut self) {
        self.server.world.state.borrow_mut().now_ms = self.now_ms;
        if self.server.broker.next_tick_ms().is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.server.broker.tick(&mut self.server.world, self.now_ms);
        }
        self.server.broker.deliver(&mut self.server.world, self.now_ms);
        let ended = std::mem::take(&mut self.server.world.state.borrow_mut().ended);
        for (waiter, end) in ended {
            let index = self.waiting.iter().position(|(number, _)| *number == waiter).expect("a waiter");
            let (_, client) = self.waiting.remove(index);
            match end {
                Ended::TimedOut => writeln!(self.out, "({client} is told null)").unwrap(),
                Ended::Denied => writeln!(self.out, "({client} is refused)").unwrap(),
                Ended::Jobs(name, jobs) => {
                    let name = name.escape_ascii();
                    writeln!(self.out, "({client} is told \"{name}\" {jobs:?})").unwrap();
                }
            }
        }
    }
}

/// The words of a line; one in double quotes may be empty, and hold spaces and `\xHH`.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(unescaped(word));
        rest = after.trim_start();
    }
    words
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut parts = word.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// Plays a transcript, and returns it with the answers that came.
fn play(text: &str) -> String {
    let mut session = Session::begin();
    let mut played = String::new();
    for block in text.trim_end().split("\n\n") {
        let (input, _) = block.split_once("\n----").unwrap_or((block, ""));
        let lines: Vec<&str> = input.lines().filter(|line| !line.starts_with('#')).collect();
        lines.iter().for_each(|line| session.line(line));
        let answers = std::mem::take(&mut session.out);
        let answers =
            if lines.is_empty() { String::new() } else { format!("\n----\n{}", answers.trim_end()) };
        played.push_str(&format!("{}{answers}\n\n", input.trim_end()));
    }
    played.trim_end().to_string() + "\n"
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/transcripts").join(name);
    let text = std::fs::read_to_string(&path).expect("the transcript");
    let played = play(&text);
    if std::env::var_os("PHEAN_REWRITE").is_some() {
        std::fs::write(&path, played).expect("the transcript is written");
        return;
    }
    for (number, (expected, came)) in text.lines().zip(played.lines()).enumerate() {
        assert_eq!(came, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(played, text, "{name} is not complete");
}

#[test]
fn producers() {
    check("producers.txt");
}

#[test]
fn workers() {
    check("workers.txt");
}

#[test]
fn waiting() {
    check("waiting.txt");
}

#[test]
fn operators() {
    check("operators.txt");
}

#[test]
fn looking() {
    check("looking.txt");
}
