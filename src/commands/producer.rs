//! Putting jobs.

use crate::broker::{Broker, Key, Settings, Step, World};
use crate::queue::{Change, ID_MAX};

use super::args::{INTEGER_MAX, Keyword};
use super::error::CommandError;
use super::{Call, Done, Reply};

/// The priority of a job that names none.
const PRI: u32 = 1024;

/// `PHEAN.PUT tube body [PRI pri] [DELAY seconds] [TTR seconds]`
#[inline(always)]
pub fn put<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let body = call.args.take()?;
    let terms = Terms::read(call)?;
    may_be_put(&call.broker.settings, &[body])?;
    // Mostly nothing else is to be done.
    let plain = match terms.delay_ms {
        0 => call.broker.open_plain(call.world, call.db, name, call.now_ms),
        _ => None,
    };
    let id = match plain {
        Some(key) => {
            let last_id = key.tube().map_or(0, |tube| tube.header().last_id);
            let Some(id) = call.broker.new_ids(last_id, 1) else { return Err(CommandError::NoIdsLeft) };
            let change = terms.job(id, body);
            call.broker.make_plain(call.world, key, (call.db, name), call.now_ms, &change);
            id
        }
        None => put_all(call.broker, call.world, (call.db, name), call.now_ms, &[body], terms)?,
    };
    call.reply.integer(id);
    Ok(Done::Replied)
}

/// `PHEAN.MPUT tube numjobs body [body …] [PRI pri] [DELAY seconds] [TTR seconds]`
pub fn mput<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let name = call.args.take()?;
    let count = call.args.integer("numjobs", 1, INTEGER_MAX)?;
    let bodies = call.args.take_many(count)?;
    let terms = Terms::read(call)?;
    may_be_put(&call.broker.settings, bodies)?;
    let first_id = put_all(call.broker, call.world, (call.db, name), call.now_ms, bodies, terms)?;
    call.reply.array(bodies.len());
    (first_id..).take(bodies.len()).for_each(|id| call.reply.integer(id));
    Ok(Done::Replied)
}

/// Puts all bodies. Ids are given in a row; the first is returned.
#[inline(never)]
fn put_all<W: World>(
    broker: &mut Broker,
    world: &mut W,
    (db, name): (u32, &[u8]),
    now_ms: u64,
    bodies: &[&[u8]],
    terms: Terms,
) -> Result<u64, CommandError> {
    let first_id = Step::run(broker, world, db, name, now_ms, |step| {
        let first_id = step.new_ids(bodies.len() as u64)?;
        step.create();
        for (id, body) in (first_id..).zip(bodies) {
            step.make(&terms.job(id, body));
        }
        Some(first_id)
    })?;
    first_id.ok_or(CommandError::NoIdsLeft)
}

/// Whether new jobs with these bodies are taken.
#[inline(always)]
fn may_be_put(settings: &Settings, bodies: &[&[u8]]) -> Result<(), CommandError> {
    if let Some(body) = bodies.iter().find(|body| body.len() as u64 > settings.max_job_size) {
        return Err(CommandError::TooBig { size: body.len(), limit: settings.max_job_size });
    }
    if settings.drain { Err(CommandError::Draining) } else { Ok(()) }
}

/// What new jobs have besides their ids and bodies.
#[derive(Clone, Copy)]
struct Terms {
    pri: u32,
    delay_ms: u64,
    ttr_ms: u64,
}

impl Terms {
    /// Reads the rest of the arguments.
    #[inline(always)]
    fn read<W: World, R: Reply>(call: &Call<'_, W, R>) -> Result<Terms, CommandError> {
        let ttr_ms = call.broker.settings.ttr_ms;
        if call.args.is_empty() {
            return Ok(Terms { pri: PRI, delay_ms: 0, ttr_ms });
        }
        let options = call.args.options(&[Keyword::Pri, Keyword::Delay, Keyword::Ttr])?;
        let (pri, delay_ms) = (options.pri.unwrap_or(PRI), options.delay_ms.unwrap_or(0));
        Ok(Terms { pri, delay_ms, ttr_ms: options.ttr_ms.unwrap_or(ttr_ms) })
    }

    #[inline(always)]
    fn job<'b>(&self, id: u64, body: &'b [u8]) -> Change<'b> {
        debug_assert!(id <= ID_MAX);
        let Terms { pri, delay_ms, ttr_ms } = *self;
        Change::Put { id, pri, delay_ms, ttr_ms, body }
    }
}
