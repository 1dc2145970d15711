//! Statistics, with every field in beanstalkd's order.

use std::fmt::Write;

use crate::broker::{Key, World};
use crate::queue::{Counts, Job, State, Tube};

use super::answer::{Answer, NOT_FOUND};
use super::gates::Gates;
use super::run::{Intent, Run};

/// Clients read the version of the protocol from it.
const VERSION: &str = "1.13";

/// There is no binlog. What beanstalkd says without one.
const BINLOG_MAX_SIZE: u64 = 10 << 20;

/// A text of `name: value` lines.
struct Yaml(String);

impl Yaml {
    fn new() -> Yaml {
        Yaml("---\n".to_string())
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name}: {value}");
    }

    fn quoted(&mut self, name: &str, value: &str) {
        let mut text = String::with_capacity(value.len());
        for c in value.chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => text.push(c),
            }
        }
        self.line(name, format_args!("\"{text}\""));
    }

    fn jobs(&mut self, counts: &Counts) {
        self.line("current-jobs-urgent", counts.urgent);
        self.line("current-jobs-ready", counts.of(State::Ready));
        self.line("current-jobs-reserved", counts.of(State::Reserved));
        self.line("current-jobs-delayed", counts.of(State::Delayed));
        self.line("current-jobs-buried", counts.of(State::Buried));
    }
}

/// Microseconds as seconds with six decimals.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

impl<W: World, G: Gates> Run<'_, W, G> {
    /// `stats`
    pub(super) fn stats(&mut self) -> Result<(), Answer> {
        self.may_run("PHEAN.STATS")?;
        let facts = self.gates.facts();
        let (commands, connections) = (self.port.counters, self.port.connections);
        let (totals, settings) = (*self.broker.totals(), self.broker.settings);
        let mut yaml = Yaml::new();
        yaml.jobs(&self.broker.jobs_in(self.port.settings.db));
        for (name, count) in [
            ("cmd-put", commands.put),
            ("cmd-peek", commands.peek),
            ("cmd-peek-ready", commands.peek_ready),
            ("cmd-peek-delayed", commands.peek_delayed),
            ("cmd-peek-buried", commands.peek_buried),
            ("cmd-reserve", commands.reserve),
            ("cmd-reserve-with-timeout", commands.reserve_with_timeout),
            ("cmd-delete", commands.delete),
            ("cmd-release", commands.release),
            ("cmd-use", commands.use_),
            ("cmd-watch", commands.watch),
            ("cmd-ignore", commands.ignore),
            ("cmd-bury", commands.bury),
            ("cmd-kick", commands.kick),
            ("cmd-touch", commands.touch),
            ("cmd-stats", commands.stats),
            ("cmd-stats-job", commands.stats_job),
            ("cmd-stats-tube", commands.stats_tube),
            ("cmd-list-tubes", commands.list_tubes),
            ("cmd-list-tube-used", commands.list_tube_used),
            ("cmd-list-tubes-watched", commands.list_tubes_watched),
            ("cmd-pause-tube", commands.pause_tube),
            ("job-timeouts", totals.timeouts),
            ("total-jobs", totals.puts),
            ("max-job-size", settings.max_job_size),
            ("current-tubes", self.broker.port_tubes().len() as u64),
            ("current-connections", connections.open),
            ("current-producers", connections.producers),
            ("current-workers", connections.workers),
            ("current-waiting", self.broker.waiting() as u64),
            ("total-connections", connections.ever),
            ("pid", facts.pid),
        ] {
            yaml.line(name, count);
        }
        yaml.quoted("version", VERSION);
        yaml.line("rusage-utime", seconds(facts.user_us));
        yaml.line("rusage-stime", seconds(facts.system_us));
        yaml.line("uptime", facts.uptime_s);
        yaml.line("binlog-oldest-index", 0);
        yaml.line("binlog-current-index", 0);
        yaml.line("binlog-records-migrated", 0);
        yaml.line("binlog-records-written", 0);
        yaml.line("binlog-max-size", BINLOG_MAX_SIZE);
        yaml.line("draining", settings.drain);
        yaml.line("id", format_args!("{:016x}", facts.id));
        yaml.quoted("hostname", &facts.hostname);
        yaml.quoted("os", &facts.os);
        yaml.quoted("platform", &facts.platform);
        self.session.output.push_text(yaml.0.as_bytes());
        Ok(())
    }

    /// `stats-tube <tube>`
    pub(super) fn stats_tube(&mut self, name: &[u8]) -> Result<(), Answer> {
        if !self.broker.is_port_tube(name) {
            return Err(NOT_FOUND);
        }
        self.enter("PHEAN.STATS", name, Intent::Look)?;
        let key = self.look(name)?;
        let missing = Tube::default();
        let tube = key.tube().unwrap_or(&missing);
        let (header, db) = (tube.header(), self.port.settings.db);
        let totals = self.broker.since_birth(name, header.totals);
        let (using, watching) = self.broker.ties(db, name);
        let mut yaml = Yaml::new();
        yaml.quoted("name", &String::from_utf8_lossy(name));
        yaml.jobs(&tube.counts());
        yaml.line("total-jobs", totals.puts);
        yaml.line("current-using", using);
        yaml.line("current-watching", watching);
        yaml.line("current-waiting", self.broker.waiting_on(db, name));
        yaml.line("cmd-delete", totals.deletes);
        yaml.line("cmd-pause-tube", totals.pauses);
        yaml.line("pause", header.pause_ms / 1000);
        yaml.line("pause-time-left", whole_seconds(tube.pause_left_ms(self.now_ms)));
        self.session.output.push_text(yaml.0.as_bytes());
        Ok(())
    }

    /// `stats-job <id>`
    pub(super) fn stats_job(&mut self, id: u64) -> Result<(), Answer> {
        let (name, _) = self.find(id)?;
        self.enter("PHEAN.JOB", &name, Intent::Look)?;
        let key = self.look(&name)?;
        let job = key.tube().and_then(|tube| tube.job(id)).ok_or(NOT_FOUND)?;
        let text = job_text(&String::from_utf8_lossy(&name), &job, self.now_ms);
        self.session.output.push_text(text.as_bytes());
        Ok(())
    }
}

/// The whole seconds of what is left. Some of it has gone since it began, which in a clock of milliseconds may not show.
fn whole_seconds(left_ms: u64) -> u64 {
    left_ms.saturating_sub(1) / 1000
}

fn job_text(tube: &str, job: &Job<'_>, now_ms: u64) -> String {
    let ends_ms = match (job.state, job.reservation) {
        (State::Reserved, Some(reservation)) => reservation.deadline_ms,
        (State::Delayed, _) => job.timing.at,
        _ => 0,
    };
    let mut yaml = Yaml::new();
    yaml.line("id", job.id);
    yaml.quoted("tube", tube);
    yaml.line("state", job.state.name());
    yaml.line("pri", job.pri);
    yaml.line("age", now_ms.saturating_sub(job.created_ms) / 1000);
    yaml.line("delay", job.timing.delay_ms / 1000);
    yaml.line("ttr", job.ttr_ms / 1000);
    yaml.line("time-left", whole_seconds(ends_ms.saturating_sub(now_ms)));
    yaml.line("file", 0);
    yaml.line("reserves", job.reserves());
    yaml.line("timeouts", job.history.timeouts);
    yaml.line("releases", job.history.releases);
    yaml.line("buries", job.history.buries);
    yaml.line("kicks", job.history.kicks);
    yaml.0
}
