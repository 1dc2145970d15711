//! The last things that happened, to be read when a run fails.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::server::Outcome;
use super::world::Op;

/// So many lines are kept.
const LINES: usize = 90;

#[derive(Clone, Default)]
pub struct Trace {
    lines: Rc<RefCell<VecDeque<String>>>,
}

impl Trace {
    fn push(&self, line: String) {
        let mut lines = self.lines.borrow_mut();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub fn note(&self, now_ms: u64, text: impl fmt::Display) {
        self.push(format!("{now_ms}  {text}"));
    }

    pub fn command(&self, now_ms: u64, client: u64, db: u32, args: &[Vec<u8>]) {
        let words: Vec<String> = args
            .iter()
            .map(|arg| match arg.escape_ascii().to_string() {
                word if word.is_empty() => "\"\"".to_string(),
                word => word,
            })
            .collect();
        self.push(format!("{now_ms}  client {client}, db {db}: {}", words.join(" ")));
    }

    pub fn reply(&self, outcome: &Outcome) {
        let text = match outcome {
            Outcome::Reply(value) => format!("{value:?}"),
            Outcome::Waits(_) => "waits".to_string(),
            Outcome::Error(error) => error.clone(),
        };
        self.push(format!("                   -> {text}"));
    }

    pub fn event(&self, _now_ms: u64, op: &Op) {
        self.push(format!("                   => {op:?}"));
    }

    pub fn text(&self) -> String {
        self.lines.borrow().iter().cloned().collect::<Vec<_>>().join("\n")
    }
}
