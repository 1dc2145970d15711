//! One connection.

use std::rc::Rc;

use crate::broker::{Name, Watched};

use super::answer::{Answer, BAD_FORMAT};
use super::input::{Input, Line};
use super::output::Output;
use super::parse::Put;

/// No more input is wanted while so much of it stands here unread, a body that is arriving aside.
pub const INPUT_MAX: usize = 64 * 1024;

/// No command is begun while so much output stands here unsent. One reply may go far beyond it.
pub const OUTPUT_MAX: usize = 1024 * 1024;

/// A reserve that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The waiter's number in the line.
    pub(super) number: u64,
    /// When it gives up (Unix ms); `u64::MAX` for never.
    pub(super) until_ms: u64,
}

/// What is to be done with the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A command line comes next.
    Command,
    /// The rest of a line that was too long comes next.
    Overlong,
    /// A job's body comes next.
    Body(Put),
    /// So many bytes are thrown away, and then answered with this.
    Discard(u64, Answer),
    /// A reserve waits in line.
    Waiting(Waiting),
    /// Its time in line is over: it times out, or its margin has come, or it goes on waiting.
    Woken(Waiting),
}

/// One connection.
pub struct Session {
    pub(super) client: u64,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) stage: Stage,
    /// The tube that jobs are put into.
    pub(super) used: Name,
    /// The tubes that jobs are taken from.
    pub(super) watched: Rc<Watched>,
    pub(super) is_producer: bool,
    pub(super) is_worker: bool,
    half_closed: bool,
    over: bool,
    /// With less input than this, there is nothing to be done.
    needs: usize,
}

impl Session {
    pub(super) fn new(client: u64, used: Name, watched: Rc<Watched>) -> Session {
        Session {
            client,
            input: Input::default(),
            output: Output::default(),
            stage: Stage::Command,
            used,
            watched,
            is_producer: false,
            is_worker: false,
            half_closed: false,
            over: false,
            needs: 1,
        }
    }

    /// The connection's client id, as the host chose it.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// Takes bytes that arrived. All of them are taken, whatever [`Session::wants_input`] says; what is only to be
    /// thrown away is not kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        match &mut self.stage {
            Stage::Discard(left, _) if self.input.len() == 0 => {
                let count = (bytes.len() as u64).min(*left) as usize;
                *left -= count as u64;
                self.input.push(bytes.get(count..).unwrap_or_default());
            }
            Stage::Overlong => {
                self.input.push(bytes);
                if self.input.skip_line() {
                    self.stage = Stage::Discard(0, BAD_FORMAT);
                }
            }
            _ => self.input.push(bytes),
        }
    }

    /// How many tubes it watches.
    pub fn watching(&self) -> usize {
        self.watched.len()
    }

    /// Whether a reserve of its waits in line.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    /// The peer will send no more. Commands that were sent already still run; a waiting reserve is over.
    pub fn end_of_input(&mut self) {
        self.half_closed = true;
    }

    /// Whether the peer will send no more.
    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// What is to be sent.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Whether more input should be read now: not while 64 KiB of it stand here (more only where a job's body
    /// needs it), nor once the connection is over.
    pub fn wants_input(&self) -> bool {
        let enough = match self.stage {
            Stage::Body(_) => self.needs.max(INPUT_MAX),
            _ => INPUT_MAX,
        };
        !self.half_closed && !self.over && self.input.len() < enough
    }

    /// Whether the connection is to be closed once its output is sent: the client quit, or it will send no more and
    /// everything is answered.
    pub fn is_over(&self) -> bool {
        self.over || self.half_closed && !self.can_go_on() && !self.is_waiting()
    }

    /// Whether [`Port::run`](super::Port::run) would get on with it.
    pub fn has_work(&self) -> bool {
        self.can_go_on() && self.output.len() < OUTPUT_MAX
    }

    fn can_go_on(&self) -> bool {
        match self.stage {
            _ if self.over => false,
            Stage::Waiting(_) => self.half_closed,
            Stage::Woken(_) => true,
            Stage::Discard(left, _) => left == 0 || self.input.len() > 0,
            Stage::Command | Stage::Body(_) | Stage::Overlong => self.input.len() >= self.needs,
        }
    }

    /// There is nothing to be done before this much input is there.
    pub(super) fn needs(&mut self, input: usize) {
        self.needs = input;
    }

    /// The client quit.
    pub(super) fn quit(&mut self) {
        self.over = true;
        self.input = Input::default();
    }

    pub(super) fn is_quit(&self) -> bool {
        self.over
    }

    /// What stands at the front of this input is to be answered next, or else waited for.
    pub(super) fn look(&mut self, input: &Input) -> Option<usize> {
        match input.line() {
            Line::Whole(len) => {
                // What was said of a part of it is said of nothing that follows.
                self.needs(1);
                return Some(len);
            }
            Line::Part => self.needs(input.len() + 1),
            Line::TooLong => {
                self.stage = Stage::Overlong;
                self.needs(0);
            }
        }
        None
    }
}
