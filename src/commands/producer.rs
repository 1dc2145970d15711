//! Putting jobs.

use crate::broker::{Step, World};
use crate::queue::{Change, ID_MAX};

use super::args::{INTEGER_MAX, Keyword};
use super::error::CommandError;
use super::{Call, Done, Reply};

const OPTIONS: &[Keyword] = &[Keyword::Pri, Keyword::Delay, Keyword::Ttr];

/// The priority of a job that names none.
const PRI: u32 = 1024;

/// `PHEAN.PUT tube body [PRI pri] [DELAY seconds] [TTR seconds]`
pub fn put<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let tube = call.args.take()?;
    let body = call.args.take_many(1)?;
    let first_id = put_all(call, tube, body)?;
    call.reply.integer(first_id);
    Ok(Done::Replied)
}

/// `PHEAN.MPUT tube numjobs body [body …] [PRI pri] [DELAY seconds] [TTR seconds]`
pub fn mput<W: World, R: Reply>(call: &mut Call<'_, W, R>) -> Result<Done, CommandError> {
    let tube = call.args.take()?;
    let count = call.args.integer("numjobs", 1, INTEGER_MAX)?;
    let bodies = call.args.take_many(count)?;
    let first_id = put_all(call, tube, bodies)?;
    call.reply.array(bodies.len());
    (first_id..).take(bodies.len()).for_each(|id| call.reply.integer(id));
    Ok(Done::Replied)
}

/// Puts all bodies, or none. The rest of the arguments are options. Ids are given in a row; the first is
/// returned.
fn put_all<W: World, R: Reply>(
    call: &mut Call<'_, W, R>,
    tube: &[u8],
    bodies: &[&[u8]],
) -> Result<u64, CommandError> {
    let options = call.args.options(OPTIONS)?;
    let settings = call.broker.settings;
    if let Some(body) = bodies.iter().find(|body| body.len() as u64 > settings.max_job_size) {
        return Err(CommandError::TooBig { size: body.len(), limit: settings.max_job_size });
    }
    if settings.drain {
        return Err(CommandError::Draining);
    }
    Step::run(call.broker, call.world, call.db, tube, call.now_ms, |step| {
        let first_id = step.new_ids(bodies.len() as u64).ok_or(CommandError::NoIdsLeft)?;
        debug_assert!(first_id <= ID_MAX);
        step.create();
        for (id, body) in (first_id..).zip(bodies) {
            step.make(&Change::Put {
                id,
                pri: options.pri.unwrap_or(PRI),
                delay_ms: options.delay_ms.unwrap_or(0),
                ttr_ms: options.ttr_ms.unwrap_or(settings.ttr_ms),
                body,
            });
        }
        Ok(first_id)
    })?
}
