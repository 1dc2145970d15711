//! Looking. Nothing changes here, and everything runs on replicas too.

use crate::broker::{Access, Key, World};
use crate::queue::{Counts, Job, Order, State, Totals, Tube, decide};

use super::args::{self, Keyword};
use super::error::CommandError;
use super::{Call, Done, Reply, glob, number};

/// `PHEAN.PEEK tube id` / `PHEAN.PEEK tube READY|DELAYED|BURIED|RESERVED`
pub fn peek<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let word = call.args.take()?;
    let state = args::state(word);
    let handle = number::handle(word);
    if state.is_none() && handle.is_none() {
        return Err(CommandError::Id(word.to_vec()));
    }
    call.args.finish()?;
    let key = call.world.open(call.db, name, Access::Look)?;
    let job = key.tube().and_then(|tube| match state {
        Some(state) => tube.first(Order::of(state)),
        None => decide::named(tube, handle?, call.now_ms),
    });
    call.broker.count_peek();
    match job {
        Some(job) => {
            call.reply.array(2);
            call.reply.integer(job.id);
            call.reply.bytes(job.body);
        }
        None => call.reply.null(),
    }
    Ok(Done::Replied)
}

/// `PHEAN.JOB tube id`
pub fn job<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let handle = call.args.handle()?;
    call.args.finish()?;
    let key = call.world.open(call.db, name, Access::Look)?;
    match key.tube().and_then(|tube| decide::named(tube, handle, call.now_ms)) {
        Some(job) => job_map(call.reply, name, &job, call.now_ms),
        None => call.reply.null(),
    }
    Ok(Done::Replied)
}

/// How long a job still is in its state, in milliseconds; 0 for states that do not end by themselves.
fn time_left_ms(job: &Job<'_>, now_ms: u64) -> u64 {
    match (job.state, job.reservation) {
        (State::Reserved, Some(reservation)) => reservation.deadline_ms.saturating_sub(now_ms),
        (State::Delayed, _) => job.timing.at.saturating_sub(now_ms),
        _ => 0,
    }
}

fn job_map(reply: &mut impl Reply, name: &[u8], job: &Job<'_>, now_ms: u64) {
    reply.map(16 + 2 * usize::from(job.reservation.is_some()));
    integer(reply, "id", job.id);
    bytes(reply, "tube", name);
    bytes(reply, "state", job.state.name().as_bytes());
    integer(reply, "pri", u64::from(job.pri));
    seconds(reply, "age", now_ms.saturating_sub(job.created_ms));
    seconds(reply, "created", job.created_ms);
    seconds(reply, "delay", job.timing.delay_ms);
    seconds(reply, "ttr", job.ttr_ms);
    seconds(reply, "time-left", time_left_ms(job, now_ms));
    integer(reply, "size", job.body.len() as u64);
    integer(reply, "attempt", u64::from(job.attempt()));
    integer(reply, "reserves", u64::from(job.reserves()));
    integer(reply, "timeouts", u64::from(job.history.timeouts));
    integer(reply, "releases", u64::from(job.history.releases));
    integer(reply, "buries", u64::from(job.history.buries));
    integer(reply, "kicks", u64::from(job.history.kicks));
    if let Some(reservation) = job.reservation {
        seconds(reply, "held-for", now_ms.saturating_sub(reservation.reserved_at_ms));
        integer(reply, "worker", reservation.worker);
    }
}

fn integer(reply: &mut impl Reply, name: &str, value: u64) {
    reply.bytes(name.as_bytes());
    reply.integer(value);
}

fn bytes(reply: &mut impl Reply, name: &str, value: &[u8]) {
    reply.bytes(name.as_bytes());
    reply.bytes(value);
}

fn seconds(reply: &mut impl Reply, name: &str, ms: u64) {
    reply.bytes(name.as_bytes());
    reply.seconds(ms);
}

/// `PHEAN.CLAIMED tube [COUNT n] [OLDEST]`
pub fn claimed<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let options = call.args.options(&[Keyword::Count, Keyword::Oldest])?;
    let order = if options.oldest { Order::Held } else { Order::Deadline };
    let key = call.world.open(call.db, name, Access::Look)?;
    let Some(tube) = key.tube() else {
        call.reply.array(0);
        return Ok(Done::Replied);
    };
    let ids = tube.ordered(order, options.count.unwrap_or(100) as usize);
    call.reply.array(ids.len());
    for (job, reservation) in
        ids.iter().filter_map(|id| tube.job(*id).and_then(|j| Some((j, j.reservation?))))
    {
        call.reply.array(4);
        call.reply.lease(job.id, reservation.n);
        call.reply.seconds(time_left_ms(&job, call.now_ms));
        call.reply.seconds(call.now_ms.saturating_sub(reservation.reserved_at_ms));
        call.reply.integer(reservation.worker);
    }
    Ok(Done::Replied)
}

/// `PHEAN.SCAN tube cursor [STATE state] [COUNT n]`
///
/// The cursor is the id to go on from. Ids of a tube only grow, so every job that is there from the first call
/// to the last is returned exactly once.
pub fn scan<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let cursor = number::integer(call.args.take()?).ok_or(CommandError::Cursor)?;
    let options = call.args.options(&[Keyword::State, Keyword::Count])?;
    let key = call.world.open(call.db, name, Access::Look)?;
    let mut found = Vec::new();
    let count = options.count.unwrap_or(10) as usize;
    let next = key.tube().and_then(|tube| {
        tube.scan(cursor, options.state, count, |job| found.push((job.id, job.state, job.pri)))
    });
    call.reply.array(2);
    call.reply.bytes(next.unwrap_or(0).to_string().as_bytes());
    call.reply.array(found.len());
    for (id, state, pri) in found {
        call.reply.array(3);
        call.reply.integer(id);
        call.reply.bytes(state.name().as_bytes());
        call.reply.integer(u64::from(pri));
    }
    Ok(Done::Replied)
}

/// `PHEAN.STATS [tube]`
pub fn stats<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    if call.args.is_empty() {
        return server_stats(call);
    }
    let name = call.args.take()?;
    call.args.finish()?;
    let waiting = call.broker.waiting_on(call.db, name) as u64;
    let (using, watching) = call.broker.ties(call.db, name);
    let key = call.world.open(call.db, name, Access::Look)?;
    let missing = Tube::default();
    let tube = key.tube().unwrap_or(&missing);
    let totals = tube.header().totals;
    let reply = &mut *call.reply;
    reply.map(24);
    bytes(reply, "name", name);
    job_counts(reply, &tube.counts());
    integer(reply, "total-jobs", totals.puts);
    // Tubes are used and watched over the beanstalk protocol only.
    integer(reply, "current-using", u64::from(using));
    integer(reply, "current-watching", u64::from(watching));
    integer(reply, "current-waiting", waiting);
    integer(reply, "cmd-put", totals.puts);
    counters(reply, &totals);
    seconds(reply, "pause", tube.header().pause_ms);
    seconds(reply, "pause-time-left", tube.pause_left_ms(call.now_ms));
    seconds(reply, "oldest-ready-age", oldest_ready_age_ms(tube, call.now_ms));
    integer(reply, "memory", key.tube().map_or(0, |tube| tube.memory_bytes() as u64));
    integer(reply, "last-id", tube.header().last_id);
    Ok(Done::Replied)
}

fn oldest_ready_age_ms(tube: &Tube, now_ms: u64) -> u64 {
    tube.oldest_ready_since_ms().map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
}

fn job_counts(reply: &mut impl Reply, counts: &Counts) {
    integer(reply, "current-jobs-urgent", counts.urgent);
    for state in [State::Ready, State::Reserved, State::Delayed, State::Buried] {
        integer(reply, &format!("current-jobs-{}", state.name()), counts.of(state));
    }
}

/// What tubes and the server alike have counted besides puts. Every number counts jobs.
fn counters(reply: &mut impl Reply, totals: &Totals) {
    integer(reply, "cmd-reserve", totals.reserves);
    integer(reply, "cmd-delete", totals.deletes);
    integer(reply, "cmd-release", totals.releases);
    integer(reply, "cmd-bury", totals.buries);
    integer(reply, "cmd-kick", totals.kicks);
    integer(reply, "cmd-touch", totals.touches);
    integer(reply, "cmd-pause-tube", totals.pauses);
    integer(reply, "job-timeouts", totals.timeouts);
}

fn server_stats<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let totals = *call.broker.totals();
    let reply = &mut *call.reply;
    reply.map(21);
    job_counts(reply, &call.broker.jobs());
    integer(reply, "cmd-put", totals.puts);
    integer(reply, "cmd-peek", call.broker.peeks());
    counters(reply, &totals);
    integer(reply, "total-jobs", totals.puts);
    integer(reply, "max-job-size", call.broker.settings.max_job_size);
    integer(reply, "current-tubes", call.broker.tubes() as u64);
    integer(reply, "current-waiting", call.broker.waiting() as u64);
    bytes(reply, "draining", if call.broker.settings.drain { b"true" } else { b"false" });
    seconds(reply, "uptime", call.now_ms.saturating_sub(call.started_ms));
    Ok(Done::Replied)
}

/// `PHEAN.TUBES [MATCH pattern] [FROM tube] [COUNT n] [WITHSTATS]`
pub fn tubes<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let options = call.args.options(&[Keyword::Match, Keyword::From, Keyword::Count, Keyword::WithStats])?;
    let count = options.count.map_or(usize::MAX, |count| count as usize);
    let mut found = Vec::new();
    for name in call.broker.tubes_from(call.db, options.from.unwrap_or_default()) {
        if found.len() >= count {
            break;
        }
        if options.pattern.is_some_and(|pattern| !glob::matches(pattern, name)) {
            continue;
        }
        // The index is no more than an index: ask the key.
        let Ok(key) = call.world.open(call.db, name, Access::Look) else { continue };
        let Some(tube) = key.tube() else { continue };
        let stats = options.with_stats.then(|| {
            let age_ms = oldest_ready_age_ms(tube, call.now_ms);
            (tube.counts(), age_ms, tube.pause_left_ms(call.now_ms))
        });
        found.push((name.clone(), stats));
    }
    call.reply.array(found.len());
    for (name, stats) in found {
        let Some((counts, age_ms, pause_left_ms)) = stats else {
            call.reply.bytes(&name);
            continue;
        };
        call.reply.array(8);
        call.reply.bytes(&name);
        for state in [State::Ready, State::Delayed, State::Reserved, State::Buried] {
            call.reply.integer(counts.of(state));
        }
        call.reply.integer(call.broker.waiting_on(call.db, &name) as u64);
        call.reply.seconds(age_ms);
        call.reply.seconds(pause_left_ms);
    }
    Ok(Done::Replied)
}
