//! What operators do to jobs and tubes.

use crate::broker::{Step, World};
use crate::queue::decide;
use crate::queue::{Change, State, States};

use super::args::INTEGER_MAX;
use super::error::CommandError;
use super::{Call, Done, Reply, each};

/// `PHEAN.KICK tube count`
pub fn kick<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let count = call.args.integer("count", 0, INTEGER_MAX)?;
    call.args.finish()?;
    let kicked = Step::run(call.broker, call.world, call.db, name, call.now_ms, |step| step.kick(count))?;
    call.reply.integer(kicked);
    Ok(Done::Replied)
}

/// `PHEAN.KICKJOB tube id [id …]`
pub fn kickjob<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    each(call, &[], |_, tube, handle, now_ms| decide::kick_job(tube, handle, now_ms))
}

/// `PHEAN.PRIORITIZE tube id pri`
pub fn prioritize<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let handle = call.args.handle()?;
    let pri = call.args.pri("pri")?;
    call.args.finish()?;
    let done = Step::run(call.broker, call.world, call.db, name, call.now_ms, |step| {
        step.end_overdue_of([handle.id]);
        let change = step.tube().and_then(|tube| decide::prioritize(tube, handle, call.now_ms, pri));
        if let Some(change) = &change {
            step.make(change);
        }
        change.is_some()
    })?;
    call.reply.integer(u64::from(done));
    Ok(Done::Replied)
}

/// `PHEAN.DELAY tube id seconds`
pub fn delay<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let handle = call.args.handle()?;
    let delay_ms = call.args.seconds("seconds", 0)?;
    call.args.finish()?;
    let done = Step::run(call.broker, call.world, call.db, name, call.now_ms, |step| {
        step.end_overdue_of([handle.id]);
        let change = step.tube().and_then(|tube| decide::delay(tube, handle, call.now_ms, delay_ms));
        if let Some(change) = &change {
            step.make(change);
            if delay_ms == 0 {
                step.make(&Change::Promote { id: handle.id });
            }
        }
        change.is_some()
    })?;
    call.reply.integer(u64::from(done));
    Ok(Done::Replied)
}

/// `PHEAN.PAUSE tube seconds`
pub fn pause<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let for_ms = call.args.seconds("seconds", 0)?;
    call.args.finish()?;
    Step::run(call.broker, call.world, call.db, name, call.now_ms, |step| {
        if for_ms > 0 {
            step.create();
        }
        if step.tube().is_some() {
            step.make(&Change::Pause { for_ms });
        }
    })?;
    call.reply.ok();
    Ok(Done::Replied)
}

/// `PHEAN.CLEAR tube [READY|DELAYED|BURIED|RESERVED …]`
pub fn clear<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let mut states = call.args.states()?;
    if states.is_empty() {
        states = States::NONE.with(State::Ready).with(State::Delayed).with(State::Buried);
    }
    let cleared = Step::run(call.broker, call.world, call.db, name, call.now_ms, |step| {
        // A job whose delay or reservation is over is in another state by now.
        step.end_more(u64::MAX, |_| true);
        let counts = step.tube().map(|tube| tube.counts()).unwrap_or_default();
        let cleared =
            State::ALL.into_iter().filter(|state| states.has(*state)).map(|state| counts.of(state)).sum();
        if cleared > 0 {
            step.make(&Change::Clear { states });
        }
        cleared
    })?;
    call.reply.integer(cleared);
    Ok(Done::Replied)
}
