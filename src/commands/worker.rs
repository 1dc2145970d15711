//! Taking jobs, and saying what became of them.

use std::collections::BTreeSet;

use crate::broker::{Access, Key, Name, Step, Wait, World};
use crate::queue::decide::{self, Release, Worker};
use crate::queue::{Change, Held, Job, Order, State};

use super::args::{INTEGER_MAX, Keyword, Options};
use super::error::CommandError;
use super::{Call, Done, Reply, each, job_reply};

const RESERVE: &[Keyword] = &[Keyword::Timeout, Keyword::Count, Keyword::Ttr, Keyword::Bound];

/// `PHEAN.RESERVE tube [TIMEOUT seconds] [COUNT n] [TTR seconds] [BOUND]`
#[inline(always)]
pub fn reserve<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let options = reserve_options(call)?;
    match options.count {
        Some(count) => reserve_some(call, name, u64::from(count), &options),
        None => reserve_one(call, name, &options),
    }
}

/// `PHEAN.MRESERVE numtubes tube [tube …] [TIMEOUT seconds] [COUNT n] [TTR seconds] [BOUND]`
pub fn mreserve<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let count = call.args.integer("numtubes", 1, INTEGER_MAX)?;
    let tubes = call.args.take_many(count)?;
    let options = reserve_options(call)?;
    reserve_many(call, tubes, &options)
}

#[inline(always)]
fn reserve_options<'a, W: World, R: Reply>(call: &Call<'a, W, R>) -> Result<Options<'a>, CommandError> {
    if call.args.is_empty() {
        return Ok(Options::default());
    }
    let options = call.args.options(RESERVE)?;
    if options.bound && call.client.in_script() {
        return Err(CommandError::BoundInScript);
    }
    Ok(options)
}

fn worker<W: World, R: Reply>(call: &Call<'_, W, R>, options: &Options<'_>) -> Worker {
    Worker { client: call.client.id(), ttr_ms: options.ttr_ms }
}

/// Whether the client waits if there is no job.
fn will_wait<W: World, R: Reply>(call: &Call<'_, W, R>, options: &Options<'_>) -> bool {
    options.timeout_ms.unwrap_or(0) > 0 && call.client.may_wait()
}

/// The common case: one job of one tube.
#[inline(always)]
fn reserve_one<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    name: &[u8],
    options: &Options<'_>,
) -> Result<Done, CommandError> {
    let worker = worker(call, options);
    let taken = match call.broker.open_plain(call.world, call.db, name, call.now_ms) {
        Some(key) => {
            let job = key.tube().and_then(|tube| decide::next(tube, call.now_ms));
            let change = job.map(|job| take(&job, call.now_ms, worker, name, call.reply));
            if let Some(change) = &change {
                call.broker.make_plain(call.world, key, (call.db, name), call.now_ms, change);
            }
            change.as_ref().and_then(lease)
        }
        None => reserve_next(call, name, worker, will_wait(call, options))?,
    };
    match taken {
        Some(taken) => {
            bind(call, options, name, taken);
            Ok(Done::Replied)
        }
        None => wait_or_null(call, &[name], options),
    }
}

/// Hands out the most urgent job of a tube. Returns the job's id and the lease's number.
#[inline(never)]
fn reserve_next<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    name: &[u8],
    worker: Worker,
    will_wait: bool,
) -> Result<Option<(u64, u64)>, CommandError> {
    let (now_ms, reply) = (call.now_ms, &mut *call.reply);
    Ok(Step::run(call.broker, call.world, call.db, name, now_ms, |step| {
        if !will_wait {
            step.find_due();
        }
        let job = step.tube().and_then(|tube| decide::next(tube, now_ms));
        let change = take(job.as_ref()?, now_ms, worker, name, reply);
        make(step, &change)
    })?)
}

/// Several jobs of one tube.
fn reserve_some<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    name: &[u8],
    count: u64,
    options: &Options<'_>,
) -> Result<Done, CommandError> {
    let (worker, will_wait) = (worker(call, options), will_wait(call, options));
    let mut bound = Vec::new();
    let count = Step::run(call.broker, call.world, call.db, name, call.now_ms, |step| {
        if !will_wait {
            step.find_due();
        }
        step.end_more(count, |tube| tube.counts().of(State::Ready) < count);
        let tube = step.tube().filter(|tube| !tube.is_paused(call.now_ms));
        let count = tube.map_or(0, |tube| tube.counts().of(State::Ready)).min(count);
        if count > 0 {
            call.reply.array(count as usize);
        }
        for _ in 0..count {
            let job = step.tube().and_then(|tube| decide::next(tube, call.now_ms));
            let Some(change) = job.map(|job| take(&job, call.now_ms, worker, name, call.reply)) else {
                debug_assert!(false, "a ready job that was counted is not there");
                call.reply.null();
                continue;
            };
            let taken = make(step, &change);
            bound.extend(taken.filter(|_| options.bound));
        }
        count
    })?;
    if count == 0 {
        return wait_or_null(call, &[name], options);
    }
    bound.into_iter().for_each(|taken| bind(call, options, name, taken));
    Ok(Done::Replied)
}

/// Decides to hand out a job, and writes that as the reply while the job is at hand: what is decided cannot fail.
#[inline(always)]
fn take<R: Reply>(job: &Job<'_>, now_ms: u64, worker: Worker, name: &[u8], reply: &mut R) -> Change<'static> {
    let change = decide::hand_out(job, now_ms, worker);
    if let Change::Reserve { id, n, worker, ttr_ms } = change {
        let (deadline_ms, attempt) = (now_ms.saturating_add(ttr_ms), job.attempt().saturating_add(1));
        job_reply(reply, name, &Held { id, n, deadline_ms, worker, attempt, body: job.body }, now_ms);
    }
    change
}

/// Makes a reservation. Returns the job's id and the lease's number.
#[inline(always)]
fn make<W: World>(step: &mut Step<'_, W>, change: &Change<'_>) -> Option<(u64, u64)> {
    step.make(change);
    lease(change)
}

/// The job's id and the lease's number of a reservation.
fn lease(change: &Change<'_>) -> Option<(u64, u64)> {
    if let Change::Reserve { id, n, .. } = *change { Some((id, n)) } else { None }
}

fn bind<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    options: &Options<'_>,
    name: &[u8],
    (id, n): (u64, u64),
) {
    if options.bound {
        call.broker.bind(call.client.id(), call.db, name, id, n);
    }
}

/// A ready job of one of several tubes, by urgency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    pri: u32,
    id: u64,
    tube: usize,
}

impl Candidate {
    fn new(job: &Job<'_>, tube: usize) -> Candidate {
        Candidate { pri: job.pri, id: job.id, tube }
    }
}

/// The most urgent jobs over several tubes.
fn reserve_many<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    tubes: &[&[u8]],
    options: &Options<'_>,
) -> Result<Done, CommandError> {
    let tubes: Vec<&[u8]> = tubes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let count = options.count.unwrap_or(1) as usize;
    // One slice of what is due is shared by all of them.
    let mut due = call.broker.settings.slices.jobs.max(count);
    end_overdue(call, &tubes, &mut due)?;
    let candidates = candidates(call, &tubes, count)?;
    if candidates.is_empty() {
        return wait_or_null(call, &tubes, options);
    }
    let worker = worker(call, options);
    let mut by_tube = vec![0_usize; tubes.len()];
    candidates.iter().for_each(|candidate| by_tube[candidate.tube] += 1);
    // Those who wait come first in each step, and more of what is due may happen there. So it may find other jobs than
    // those that were chosen, and only what was reserved counts.
    let mut taken = Vec::with_capacity(candidates.len());
    for (index, count) in by_tube.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        Step::run_within(&mut due, call.broker, call.world, call.db, tubes[index], call.now_ms, |step| {
            for _ in 0..count {
                let Some(job) = step.tube().and_then(|tube| decide::next(tube, call.now_ms)) else { break };
                let (candidate, change) =
                    (Candidate::new(&job, index), decide::hand_out(&job, call.now_ms, worker));
                step.make(&change);
                taken.push(candidate);
            }
        })?;
    }
    if taken.is_empty() {
        return wait_or_null(call, &tubes, options);
    }
    taken.sort_unstable();
    if options.count.is_some() {
        call.reply.array(taken.len());
    }
    for candidate in taken {
        let name = tubes[candidate.tube];
        let key = call.world.open(call.db, name, Access::Look)?;
        let Some(job) = key.tube().and_then(|tube| tube.held(candidate.id)) else {
            debug_assert!(false, "a job that was just reserved is gone");
            call.reply.null();
            continue;
        };
        job_reply(call.reply, name, &job, call.now_ms);
        let lease = (job.id, job.n);
        drop(key);
        bind(call, options, name, lease);
    }
    Ok(Done::Replied)
}

/// Makes what is due in these tubes happen, so much of it, and serves those who wait there. A key of another type is an
/// error before anything changes.
fn end_overdue<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    tubes: &[&[u8]],
    due: &mut usize,
) -> Result<(), CommandError> {
    let mut overdue = Vec::new();
    for name in tubes {
        let key = call.world.open(call.db, name, Access::Look)?;
        if call.broker.needs_look(call.db, name, key.tube(), call.now_ms) {
            overdue.push(*name);
        }
    }
    call.broker.look_after_all(call.world, call.db, &overdue, call.now_ms, due);
    Ok(())
}

/// A tube all of whose jobs that were looked at are among the most urgent is asked for so many times as many.
const MORE: usize = 4;

/// The most urgent ready jobs over these tubes, `count` at most, in order. Costs O(count), and a look at each tube: none is
/// asked for `count` jobs unless most of them may be its own.
fn candidates<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    tubes: &[&[u8]],
    count: usize,
) -> Result<Vec<Candidate>, CommandError> {
    let mut best = Vec::new();
    // The tubes that may have more, and how many jobs of each were looked at.
    let mut open: Vec<(usize, usize)> = (0..tubes.len()).map(|index| (index, 0)).collect();
    while !open.is_empty() {
        for (index, seen) in &mut open {
            let many = (*seen * MORE).clamp(1, count);
            let before = std::mem::replace(seen, many);
            let key = call.world.open(call.db, tubes[*index], Access::Look)?;
            let Some(tube) = key.tube().filter(|tube| !tube.is_paused(call.now_ms)) else { continue };
            let add = |job: Job<'_>| best.push(Candidate::new(&job, *index));
            if before == 0 {
                tube.first(Order::Ready).into_iter().for_each(add);
            } else {
                let ids = tube.ordered(Order::Ready, many).into_iter().skip(before);
                ids.filter_map(|id| tube.job(id)).for_each(add);
            }
        }
        best.sort_unstable();
        best.truncate(count);
        let mut chosen = vec![0; tubes.len()];
        best.iter().for_each(|candidate| chosen[candidate.tube] += 1);
        // Where one is not among them, those that come after it are not.
        open.retain(|(index, seen)| *seen < count && chosen[*index] == *seen);
    }
    Ok(best)
}

fn wait_or_null<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    tubes: &[&[u8]],
    options: &Options<'_>,
) -> Result<Done, CommandError> {
    let timeout_ms = options.timeout_ms.unwrap_or(0);
    if !will_wait(call, options) {
        call.reply.null();
        return Ok(Done::Replied);
    }
    Ok(Done::Waits(Wait {
        db: call.db,
        names: tubes.iter().map(|name| Name::from(*name)).collect(),
        wide: None,
        barred: Vec::new(),
        count: options.count,
        ttr_ms: options.ttr_ms,
        bound: options.bound,
        client: call.client.id(),
        until_ms: call.now_ms.saturating_add(timeout_ms),
        margin_ms: None,
    }))
}

/// `PHEAN.RESERVEJOB tube id [TTR seconds] [BOUND]`
pub fn reservejob<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let handle = call.args.handle()?;
    let options = call.args.options(&[Keyword::Ttr, Keyword::Bound])?;
    if options.bound && call.client.in_script() {
        return Err(CommandError::BoundInScript);
    }
    let worker = worker(call, &options);
    let taken = Step::run(call.broker, call.world, call.db, name, call.now_ms, |step| {
        step.end_overdue_of([handle.id]);
        let job = step.tube().and_then(|tube| decide::takeable(tube, handle, call.now_ms));
        let change = take(job.as_ref()?, call.now_ms, worker, name, call.reply);
        make(step, &change)
    })?;
    match taken {
        Some(taken) => bind(call, &options, name, taken),
        None => call.reply.null(),
    }
    Ok(Done::Replied)
}

/// `PHEAN.DELETE tube id [id …]`
#[inline(always)]
pub fn delete<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    each(call, &[], |_, tube, handle, now_ms| decide::delete(tube, handle, now_ms))
}

/// `PHEAN.RELEASE tube id [id …] [PRI pri] [DELAY seconds] [UNTRIED]`
pub fn release<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let retry = call.broker.settings.retry;
    each(call, &[Keyword::Pri, Keyword::Delay, Keyword::Untried], move |options, tube, handle, now_ms| {
        let release = Release { pri: options.pri, delay_ms: options.delay_ms, untried: options.untried };
        decide::release(tube, handle, now_ms, release, retry)
    })
}

/// `PHEAN.BURY tube id [id …] [PRI pri]`
pub fn bury<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    each(call, &[Keyword::Pri], |options, tube, handle, now_ms| {
        decide::bury(tube, handle, now_ms, options.pri)
    })
}

/// `PHEAN.TOUCH tube id [id …] [FOR seconds]`
pub fn touch<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    each(call, &[Keyword::For], |options, tube, handle, now_ms| {
        decide::touch(tube, handle, now_ms, options.for_ms)
    })
}
