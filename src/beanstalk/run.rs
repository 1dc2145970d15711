//! Running a session: command after command.

use crate::broker::{Broker, Name, World};

use super::answer::{
    Answer, BAD_FORMAT, INTERNAL_ERROR, JOB_TOO_BIG, NOT_FOUND, OUT_OF_MEMORY, TIMED_OUT, UNKNOWN_COMMAND,
};
use super::gates::{Gates, Refusal, Trouble};
use super::input::Input;
use super::parse::{self, Put, Request, Unreadable};
use super::port::Port;
use super::session::{OUTPUT_MAX, Session, Stage, Waiting};

/// A command that looks at so many tubes counts as one more thing that is done, and so on.
const LOOKS: usize = 8;

/// One session that is running.
pub(super) struct Run<'a, W: World, G: Gates> {
    pub(super) port: &'a mut Port,
    pub(super) session: &'a mut Session,
    pub(super) broker: &'a mut Broker,
    pub(super) world: &'a mut W,
    pub(super) gates: &'a mut G,
    pub(super) now_ms: u64,
}

/// What a command may do to a tube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// It looks.
    Look,
    /// It changes something.
    Write,
    /// It changes something, and needs memory for it.
    Grow,
}

impl<W: World, G: Gates> Run<'_, W, G> {
    /// Runs what can be run.
    pub(super) fn run(&mut self) {
        self.broker.catch_up(self.world);
        if self.broker.has_give_backs() && self.gates.may_write(false).is_ok() {
            self.broker.give_all_back(self.world, self.now_ms);
        }
        // The input is set aside, so that lines and bodies can be read where they are.
        let mut input = std::mem::take(&mut self.session.input);
        let mut left = self.port.settings.steps;
        while left > 0
            && !self.session.is_quit()
            && self.session.output.len() < OUTPUT_MAX
            && self.step(&mut input)
        {
            left = left.saturating_sub(1 + self.broker.take_looks() / LOOKS);
        }
        if !self.session.is_quit() {
            self.session.input = input;
        }
    }

    /// Does one thing. `false` if there is nothing to be done for now.
    fn step(&mut self, input: &mut Input) -> bool {
        match self.session.stage {
            Stage::Command => {
                let Some(len) = self.session.look(input) else {
                    return self.session.stage == Stage::Overlong;
                };
                let line = input.as_slice().get(..len - 2).unwrap_or_default();
                self.command(line);
                input.consume(len);
                true
            }
            Stage::Overlong => {
                let is_over = input.skip_line();
                if is_over {
                    self.proceed();
                    self.say(BAD_FORMAT);
                } else {
                    // More input is looked at as it is fed.
                    self.session.needs(usize::MAX);
                }
                is_over
            }
            Stage::Body(put) => {
                let whole = put.bytes as usize + 2;
                if input.len() < whole {
                    self.session.needs(whole);
                    return false;
                }
                self.proceed();
                let body = input.as_slice().get(..whole).unwrap_or_default();
                self.put(put, body);
                input.consume(whole);
                true
            }
            Stage::Discard(left, then) => {
                let count = (input.len() as u64).min(left);
                input.consume(count as usize);
                if count < left {
                    self.session.stage = Stage::Discard(left - count, then);
                    return false;
                }
                self.proceed();
                self.say(then);
                true
            }
            Stage::Waiting(Waiting { number, .. }) => {
                let is_over = self.session.is_half_closed();
                if is_over {
                    self.port.waiters.remove(&number);
                    self.broker.leave(number);
                    self.proceed();
                    self.say(TIMED_OUT);
                }
                is_over
            }
            Stage::Woken(waiting) => {
                self.proceed();
                self.go_on_waiting(waiting);
                true
            }
        }
    }

    /// A command line comes next.
    fn proceed(&mut self) {
        self.session.stage = Stage::Command;
        self.session.needs(1);
    }

    pub(super) fn say(&mut self, answer: Answer) {
        self.session.output.push(answer);
    }

    fn command(&mut self, line: &[u8]) {
        let request = match parse::parse(line) {
            Ok(request) => request,
            Err(Unreadable::BadFormat) => return self.say(BAD_FORMAT),
            Err(Unreadable::Unknown) => return self.say(UNKNOWN_COMMAND),
        };
        match self.answer(request) {
            Ok(()) => {}
            Err(answer) => self.say(answer),
        }
    }

    /// Counts the command and does it. `Err` is what is answered instead of anything else.
    fn answer(&mut self, request: Request<'_>) -> Result<(), Answer> {
        let counters = &mut self.port.counters;
        let counter = match request {
            Request::Put(_) => &mut counters.put,
            Request::Peek(_) => &mut counters.peek,
            Request::PeekReady => &mut counters.peek_ready,
            Request::PeekDelayed => &mut counters.peek_delayed,
            Request::PeekBuried => &mut counters.peek_buried,
            Request::Reserve => &mut counters.reserve,
            Request::ReserveTimeout(_) => &mut counters.reserve_with_timeout,
            Request::Delete(_) => &mut counters.delete,
            Request::Release(..) => &mut counters.release,
            Request::Bury(..) => &mut counters.bury,
            Request::Kick(_) => &mut counters.kick,
            Request::Touch(_) => &mut counters.touch,
            Request::Stats => &mut counters.stats,
            Request::StatsJob(_) => &mut counters.stats_job,
            Request::StatsTube(_) => &mut counters.stats_tube,
            Request::Use(_) => &mut counters.use_,
            Request::Watch(_) => &mut counters.watch,
            Request::Ignore(_) => &mut counters.ignore,
            Request::ListTubes => &mut counters.list_tubes,
            Request::ListTubeUsed => &mut counters.list_tube_used,
            Request::ListTubesWatched => &mut counters.list_tubes_watched,
            Request::PauseTube(..) => &mut counters.pause_tube,
            // beanstalkd tells nothing of these.
            Request::ReserveJob(_) | Request::KickJob(_) | Request::Quit => &mut 0,
        };
        *counter += 1;
        match request {
            Request::Put(put) => self.begin_put(put),
            Request::Peek(id) => self.peek(id),
            Request::PeekReady => self.peek_first(crate::queue::Order::Ready),
            Request::PeekDelayed => self.peek_first(crate::queue::Order::Delayed),
            Request::PeekBuried => self.peek_first(crate::queue::Order::Buried),
            Request::Reserve => self.reserve(None),
            Request::ReserveTimeout(seconds) => self.reserve(Some(seconds)),
            Request::ReserveJob(id) => self.reserve_job(id),
            Request::Delete(id) => self.delete(id),
            Request::Release(id, pri, delay_s) => self.release(id, pri, delay_s),
            Request::Bury(id, pri) => self.bury(id, pri),
            Request::Kick(bound) => self.kick(bound),
            Request::KickJob(id) => self.kick_job(id),
            Request::Touch(id) => self.touch(id),
            Request::Stats => self.stats(),
            Request::StatsJob(id) => self.stats_job(id),
            Request::StatsTube(name) => self.stats_tube(name),
            Request::Use(name) => self.use_tube(name),
            Request::Watch(name) => self.watch(name),
            Request::Ignore(name) => self.ignore(name),
            Request::ListTubes => self.list_tubes(),
            Request::ListTubeUsed => {
                self.say_using();
                Ok(())
            }
            Request::ListTubesWatched => {
                self.list_tubes_watched();
                Ok(())
            }
            Request::Quit => {
                self.session.quit();
                Ok(())
            }
            Request::PauseTube(name, seconds) => self.pause_tube(name, seconds),
        }
    }

    fn begin_put(&mut self, put: Put) -> Result<(), Answer> {
        if u64::from(put.bytes) > self.broker.settings.max_job_size {
            self.session.stage = Stage::Discard(u64::from(put.bytes) + 2, JOB_TOO_BIG);
            return Ok(());
        }
        if put.has_garbage {
            return Err(BAD_FORMAT);
        }
        if !self.session.is_producer {
            self.session.is_producer = true;
            self.port.connections.producers += 1;
        }
        self.session.stage = Stage::Body(put);
        Ok(())
    }

    /// The connection is a worker's from now on.
    pub(super) fn be_worker(&mut self) {
        if !self.session.is_worker {
            self.session.is_worker = true;
            self.port.connections.workers += 1;
        }
    }

    /// Whether this may be done to a tube, by what the host says.
    pub(super) fn enter(&mut self, command: &'static str, tube: &[u8], intent: Intent) -> Result<(), Answer> {
        if !self.gates.is_local(tube) {
            return Err(self.trouble(tube, Trouble::NotLocal));
        }
        if !self.gates.may_use(command, tube) {
            return Err(self.trouble(tube, Trouble::NotAllowed));
        }
        self.may_write(intent)
    }

    pub(super) fn may_write(&mut self, intent: Intent) -> Result<(), Answer> {
        if intent == Intent::Look {
            return if self.gates.may_look() { Ok(()) } else { Err(INTERNAL_ERROR) };
        }
        self.gates.may_write(intent == Intent::Grow).map_err(|refusal| match refusal {
            Refusal::OutOfMemory => OUT_OF_MEMORY,
            Refusal::NotNow => INTERNAL_ERROR,
        })
    }

    /// Lets the log say what the answer cannot.
    pub(super) fn trouble(&mut self, tube: &[u8], trouble: Trouble) -> Answer {
        self.gates.trouble(tube, trouble);
        INTERNAL_ERROR
    }

    /// Where the job `id` is: one that this session holds, with its lease's number, or any other.
    pub(super) fn find(&mut self, id: u64) -> Result<(Name, Option<u64>), Answer> {
        let held = self.broker.held(self.world, self.session.client, self.port.settings.db, id);
        if let Some(held) = held {
            return Ok((held.name, Some(held.n)));
        }
        self.broker.find_job(self.world, id).map(|name| (name, None)).ok_or(NOT_FOUND)
    }

    /// Where the job `id` is that this session holds, and its lease's number.
    pub(super) fn find_own(&mut self, id: u64) -> Result<(Name, u64), Answer> {
        let held = self.broker.held(self.world, self.session.client, self.port.settings.db, id);
        held.map(|held| (held.name, held.n)).ok_or(NOT_FOUND)
    }
}
