//! Runs a script on two servers at once, step by step, and compares what they answer.
//!
//! Some things are not fixed by the protocol, or are among those of beanstalkd that are not to be copied. The
//! duel leaves out the steps that would bring them about:
//!
//! - which of several waiting connections gets a job. Connections may wait for the same tubes only if they have
//!   sent and been answered the same things; then they may be exchanged for each other (twins);
//! - the order in which two connections' pipelined commands are run;
//! - a put that is half sent while another connection puts: beanstalkd gives the id at its first line;
//! - which of several jobs goes to a worker that waits where one command or the end of a connection made them
//!   ready: beanstalkd hands over the one that it happens to come to first;
//! - what stands behind a quit while answers are on their way: beanstalkd closes without reading it, and its
//!   system may then drop the answers;
//! - lines in which beanstalkd loses its place.

use crate::answer::Answer;
use crate::contestant::Contestant;
use crate::framing::{Asked, Framer, Unit, Watching};
use crate::script::{Piece, Script, Step};
use crate::side::{Side, Unrest};
use crate::tamper::Tamper;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

/// How far a step of a script with times may be from its time.
const PUNCTUAL_MS: u64 = 40;
/// How often beanstalkd is made to look at its deadlines.
const KEEP_TIME: Duration = Duration::from_millis(10);
/// How long a script without times may take, so that no second passes in it.
const AT_ONCE: Duration = Duration::from_millis(700);

/// Which two servers meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Another beanstalkd.
    Itself,
    /// The module's port.
    Module,
}

/// Two servers, the first of which is right.
pub struct Duel {
    servers: [Contestant; 2],
    sides: [Side; 2],
    labels: Vec<Label>,
    log: String,
    began: Instant,
    is_punctual: bool,
    at_ms: Option<u64>,
    /// A server did not come to rest.
    is_stuck: bool,
}

/// What is known of a connection on both sides.
struct Label {
    framer: Framer,
    /// What was sent and answered since it was opened.
    history: String,
    watches: BTreeSet<Vec<u8>>,
    /// How many jobs it was given: it may hold as many.
    given: usize,
    /// Changes of what it watches that stand behind a waiting reserve.
    to_come: Vec<Watching>,
}

impl Label {
    fn new() -> Label {
        Label {
            framer: Framer::new(crate::contestant::MAX_JOB_SIZE),
            history: String::new(),
            given: 0,
            watches: BTreeSet::from([b"default".to_vec()]),
            to_come: Vec::new(),
        }
    }

    /// Everything that it may be watching.
    fn may_watch<'a>(&'a self, more: &'a [Watching]) -> impl Iterator<Item = &'a Vec<u8>> {
        let added = self.to_come.iter().chain(more).filter_map(|change| match change {
            Watching::Add(name) => Some(name),
            Watching::Drop(_) => None,
        });
        self.watches.iter().chain(added)
    }

    fn arrive(&mut self) {
        for change in std::mem::take(&mut self.to_come) {
            match change {
                Watching::Add(name) if is_name(&name) => drop(self.watches.insert(name)),
                Watching::Drop(name) if self.watches.len() > 1 => drop(self.watches.remove(&name)),
                _ => {}
            }
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    (1..=200).contains(&name.len())
        && name[0] != b'-'
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-+/;.$_()".contains(byte))
}

/// Where the two differed.
#[derive(Debug)]
pub struct Difference {
    /// What each said.
    pub text: String,
    /// All steps up to there, and the answers to them.
    pub log: String,
    /// Whether the script ran at its times. Otherwise the difference may be one of time.
    pub is_punctual: bool,
}

impl Duel {
    pub fn new(against: Against, tamper: Tamper, patience: Duration) -> Duel {
        let second = match against {
            Against::Itself => Contestant::beanstalkd(),
            Against::Module => Contestant::module(),
        };
        let servers = [Contestant::beanstalkd(), second];
        let sides =
            [Side::new(&servers[0], patience, Tamper::None), Side::new(&servers[1], patience, tamper)];
        Duel {
            servers,
            sides,
            labels: Vec::new(),
            log: String::new(),
            began: Instant::now(),
            is_punctual: true,
            at_ms: None,
            is_stuck: false,
        }
    }

    /// Runs a script, and cleans up behind it. After a difference the two cannot go on together.
    pub fn run(&mut self, script: &Script) -> Result<(), Difference> {
        self.log.clear();
        self.labels.clear();
        (self.is_punctual, self.at_ms) = (true, None);
        self.began = Instant::now();
        let result = self.run_steps(script).and_then(|()| self.look(script)).and_then(|()| self.clean_up());
        result.map_err(|text| {
            // No answer at all in a long time is no question of being late.
            if !self.is_stuck {
                self.check_punctual();
                self.is_punctual &= self.at_ms.is_some() || self.began.elapsed() < AT_ONCE;
            }
            let is_punctual = self.is_punctual;
            Difference { text, log: std::mem::take(&mut self.log), is_punctual }
        })
    }

    fn run_steps(&mut self, script: &Script) -> Result<(), String> {
        self.sides.iter_mut().for_each(Side::begin);
        for link in 0..script.links {
            self.open(link)?;
        }
        for step in &script.steps {
            self.run_step(step).map_err(|text| format!("{step}\n{text}"))?;
            self.check_punctual();
        }
        Ok(())
    }

    fn run_step(&mut self, step: &Step) -> Result<(), String> {
        let _ = writeln!(self.log, "{step}");
        match step {
            Step::At { ms } => return self.await_time(*ms),
            Step::Drain => self.servers.iter_mut().for_each(Contestant::drain),
            Step::Send { link, fragments } => {
                if !self.send(*link, fragments)? {
                    self.log.push_str("  (left out)\n");
                    return Ok(());
                }
            }
            Step::HalfClose { link } if self.is_open(*link) && self.may_end(*link) => {
                self.labels[*link].history.push_str("half-close\n");
                self.sides.iter_mut().for_each(|side| side.half_close(*link));
            }
            Step::Close { link }
                if self.is_open(*link) && self.may_end(*link) && !self.sides[0].has_more_behind(*link) =>
            {
                self.labels[*link] = Label::new();
                self.both(|side| side.close(*link))?;
            }
            Step::Open { link } if !self.sides[0].is_there(*link) => self.open(*link)?,
            _ => {
                self.log.push_str("  (left out)\n");
                return Ok(());
            }
        }
        self.settle()
    }

    /// Whether it is fixed what becomes of the jobs that the connection may hold.
    fn may_end(&self, link: usize) -> bool {
        let waits = |other| other != link && self.sides[0].waits(other);
        self.labels[link].given < 2 || !(0..self.labels.len()).any(waits)
    }

    /// Whether the connection is open on the first side; on the other it is the same, as every end is compared.
    fn is_open(&self, link: usize) -> bool {
        self.sides[0].is_open(link)
    }

    fn open(&mut self, link: usize) -> Result<(), String> {
        if self.labels.len() <= link {
            self.labels.resize_with(link + 1, Label::new);
        }
        self.labels[link] = Label::new();
        self.both(|side| side.open(link))
    }

    /// Does something on both sides.
    fn both(&mut self, mut act: impl FnMut(&mut Side) -> Result<(), Unrest>) -> Result<(), String> {
        let [first, second] = &mut self.sides;
        let result = act(first).map_err(|text| format!("the first server: {text}"));
        let result = result.and_then(|()| act(second).map_err(|text| format!("the second server: {text}")));
        self.is_stuck |= result.is_err();
        result
    }

    /// Sends fragments; false if that would bring about what is not compared.
    fn send(&mut self, link: usize, fragments: &[Vec<Piece>]) -> Result<bool, String> {
        if !self.is_open(link) {
            return Ok(false);
        }
        let whole: Vec<u8> = fragments.iter().flat_map(|fragment| self.sides[0].render(fragment)).collect();
        let mut framer = self.labels[link].framer.clone();
        let asked = framer.feed(&whole);
        let mut sent = String::new();
        for piece in fragments.iter().flatten() {
            let _ = write!(sent, "{piece}");
        }
        if !self.is_fixed(link, &asked, framer.is_inside_put(), &sent) {
            return Ok(false);
        }
        let label = &mut self.labels[link];
        label.history.push_str(&sent);
        label.to_come.extend(asked.watching);
        for fragment in fragments {
            let bytes = self.sides[0].render(fragment);
            let units = self.labels[link].framer.feed(&bytes).units;
            for side in &mut self.sides {
                let bytes = side.render(fragment);
                side.send(link, &bytes, &units);
            }
            if fragments.len() > 1 {
                self.both(Side::barrier)?;
            }
        }
        Ok(true)
    }

    /// Whether the answers to this are fixed.
    fn is_fixed(&self, link: usize, asked: &Asked, ends_inside_put: bool, sent: &str) -> bool {
        let side = &self.sides[0];
        let others = || (0..self.labels.len()).filter(|&other| other != link && side.is_there(other));
        let is_put_elsewhere = others().any(|other| self.labels[other].framer.is_inside_put());
        if asked.is_wedge || is_put_elsewhere && asked.begins_put {
            return false;
        }
        if asked.trails_quit && (asked.units.len() > 1 || side.waits(link)) {
            return false;
        }
        // A whole command of that kind is sent as each release refuses it; this one came about by fragments.
        if asked.has_bad_timeout && !side.quotes() {
            return false;
        }
        let is_crowded = is_put_elsewhere || others().any(|other| side.has_more_behind(other));
        if is_crowded && (asked.units.len() > 1 || ends_inside_put || side.waits(link)) {
            return false;
        }
        let is_waited = (0..self.labels.len()).any(|link| side.waits(link));
        let label = &self.labels[link];
        if asked.units.contains(&Unit::Quit) && is_waited && label.given + asked.units.len() > 1 {
            return false;
        }
        if asked.kicks_many && (is_waited || asked.units.contains(&Unit::Reserve)) {
            return false;
        }
        let may_wait = side.waits(link) || asked.units.contains(&Unit::Reserve);
        if !may_wait {
            return true;
        }
        let own: BTreeSet<&Vec<u8>> = self.labels[link].may_watch(&asked.watching).collect();
        others().filter(|&other| side.waits(other)).all(|other| {
            let theirs = &self.labels[other];
            let is_twin = theirs.history.strip_prefix(&self.labels[link].history) == Some(sent);
            is_twin || !theirs.may_watch(&[]).any(|name| own.contains(name))
        })
    }

    /// Waits for a time of the script. What timers had to bring must have come by then, with no other command
    /// to wake the server.
    fn await_time(&mut self, ms: u64) -> Result<(), String> {
        let due = self.began + Duration::from_millis(ms);
        while Instant::now() < due {
            thread::sleep(due.saturating_duration_since(Instant::now()).min(KEEP_TIME));
            if self.began.elapsed() > Duration::from_secs(1) {
                self.both(Side::keep_time)?;
            }
        }
        self.at_ms = Some(ms);
        self.check_punctual();
        let arrived = [self.sides[0].arrived(), self.sides[1].arrived()];
        self.both(Side::settle)?;
        let (first, second) = (self.sides[0].arrived(), self.sides[1].arrived());
        self.compare()?;
        if [first, second] != arrived {
            return Err(format!(
                "answers came late: {arrived:?} were there in time, later there were {first} and {second}"
            ));
        }
        Ok(())
    }

    fn check_punctual(&mut self) {
        if let Some(ms) = self.at_ms {
            let latest = Duration::from_millis(ms + PUNCTUAL_MS);
            self.is_punctual &= self.began.elapsed() < latest;
        }
    }

    fn settle(&mut self) -> Result<(), String> {
        self.both(Side::settle)?;
        self.compare()
    }

    fn compare(&mut self) -> Result<(), String> {
        let first = self.sides[0].take();
        let mut second = self.sides[1].take();
        for link in 0..first.len() {
            if are_same(&first[link], &second[link]) {
                continue;
            }
            let history = &self.labels[link].history;
            let twin = (link + 1..first.len()).find(|&other| {
                self.labels[other].history == *history && are_same(&first[link], &second[other])
            });
            match twin {
                Some(twin) => {
                    second.swap(link, twin);
                    self.sides[1].swap(link, twin);
                }
                None => return Err(describe(&first, &second)),
            }
        }
        for (link, answers) in first.iter().enumerate() {
            let label = &mut self.labels[link];
            for answer in answers {
                label.given += usize::from(answer.is_reservation());
                let _ = writeln!(self.log, "  {link}< {answer}");
                let _ = writeln!(label.history, "\n< {answer}");
            }
            if answers.iter().any(|answer| matches!(answer, Answer::End)) {
                *label = Label::new();
            } else if !self.sides[0].waits(link) {
                label.arrive();
            }
        }
        Ok(())
    }

    /// Compares the answers to a command of the harness' own.
    fn ask(&mut self, pieces: &[Piece]) -> Result<Answer, String> {
        let [first, second] = &mut self.sides;
        let ours = first.ask(pieces).map_err(|text| format!("the first server: {text}"))?;
        let theirs = second.ask(pieces).map_err(|text| format!("the second server: {text}"))?;
        if ours.is_same(&theirs) {
            return Ok(ours);
        }
        let asked: String = pieces.iter().map(Piece::to_string).collect();
        Err(format!("{asked}\n{}", describe(&[vec![ours]], &[vec![theirs]])))
    }

    fn ask_text(&mut self, text: &str) -> Result<Answer, String> {
        self.ask(&[Piece::Bytes(text.as_bytes().to_vec())])
    }

    /// Looks at everything that the script has left.
    fn look(&mut self, script: &Script) -> Result<(), String> {
        self.log.push_str("a look at everything in the end\n");
        for tube in &script.tubes {
            self.ask(&[Piece::Bytes([b"stats-tube ", tube.as_slice(), b"\r\n"].concat())])?;
        }
        for job in 0..self.sides[0].ids.count() {
            self.ask_about(b"stats-job ", job)?;
            self.ask_about(b"peek ", job)?;
        }
        self.ask_text("list-tubes\r\n")?;
        self.ask_text("stats\r\n").map(drop)
    }

    fn ask_about(&mut self, verb: &[u8], job: usize) -> Result<Answer, String> {
        self.ask(&[Piece::Bytes(verb.to_vec()), Piece::Id(job), Piece::Bytes(b"\r\n".to_vec())])
    }

    /// Closes all connections and deletes all jobs, so that only `default` is left on either side.
    fn clean_up(&mut self) -> Result<(), String> {
        self.log.push_str("cleaning up\n");
        for link in 0..self.labels.len() {
            // What stands behind a waiting reserve is run first; it may be a put.
            if self.sides[0].waits(link) {
                self.sides.iter_mut().for_each(|side| side.half_close(link));
                self.settle()?;
            }
        }
        for link in 0..self.labels.len() {
            if self.sides[0].is_there(link) {
                self.both(|side| side.close(link))?;
            }
        }
        self.both(Side::barrier)?;
        for job in 0..self.sides[0].ids.count() {
            self.ask_about(b"delete ", job)?;
        }
        self.ask_text("pause-tube default 0\r\n")?;
        self.ask_text("list-tubes\r\n")?;
        self.ask_text("stats\r\n").map(drop)
    }
}

fn are_same(ours: &[Answer], theirs: &[Answer]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.is_same(b))
}

/// What differs, and only that.
fn describe(first: &[Vec<Answer>], second: &[Vec<Answer>]) -> String {
    let mut text = String::new();
    for (link, (ours, theirs)) in first.iter().zip(second).enumerate() {
        if are_same(ours, theirs) {
            continue;
        }
        for i in 0..ours.len().max(theirs.len()) {
            let (a, b) = (ours.get(i), theirs.get(i));
            if matches!((a, b), (Some(a), Some(b)) if a.is_same(b)) {
                continue;
            }
            let (a, b) = match (a, b) {
                (Some(Answer::Statistics(ours)), Some(Answer::Statistics(theirs))) => {
                    Answer::differing_fields(ours, theirs)
                }
                _ => (shown(a), shown(b)),
            };
            let _ = writeln!(text, "connection {link}:\n   beanstalkd: {a}\n   the other:  {b}");
        }
    }
    text
}

fn shown(answer: Option<&Answer>) -> String {
    answer.map_or("(nothing)".to_owned(), Answer::to_string)
}
