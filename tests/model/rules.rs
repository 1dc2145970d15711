//! Which changes are possible, in plain words: what `verify` must accept and what it must refuse.

use phean::queue::{
    Change, DURATION_MAX_MS, Header, ID_MAX, Job, Reservation, State, TIME_MAX_MS, Then, Tube,
};

use crate::hostile::{U48_MAX, states_of_byte};

/// The latest time at which anything can be due.
const LATEST_MS: u64 = TIME_MAX_MS + DURATION_MAX_MS;

/// Burials are numbered up to here.
const BURIALS_MAX: u64 = U48_MAX / 2;

fn is_ttr(ms: u64) -> bool {
    (1..=DURATION_MAX_MS).contains(&ms)
}

/// Lease numbers only grow, but for the very last.
fn is_later(n: u64, last_n: u64) -> bool {
    n <= U48_MAX && (n > last_n || n == U48_MAX)
}

fn is_job(job: &Job<'_>) -> bool {
    let is_held_well = |r: Reservation| {
        is_later(r.n, job.history.last_n)
            && r.deadline_ms <= LATEST_MS
            && r.reserved_at_ms <= TIME_MAX_MS
            && r.worker <= U48_MAX
            && is_ttr(r.ttr_ms)
    };
    job.created_ms <= TIME_MAX_MS
        && is_ttr(job.ttr_ms)
        && job.timing.delay_ms <= DURATION_MAX_MS
        && job.history.last_n <= U48_MAX
        && job.reservation.is_none_or(is_held_well)
        && job.reservation.is_some() == (job.state == State::Reserved)
        && match job.state {
            State::Ready => job.timing.at <= TIME_MAX_MS,
            State::Delayed => job.timing.at <= LATEST_MS,
            State::Reserved => job.timing.at == 0,
            State::Buried => (1..=BURIALS_MAX).contains(&job.timing.at),
        }
}

fn is_header(header: &Header) -> bool {
    header.last_id <= ID_MAX
        && header.burials <= BURIALS_MAX
        && header.paused_until_ms <= LATEST_MS
        && header.pause_ms <= DURATION_MAX_MS
        && header.used_at_ms <= TIME_MAX_MS
        && (header.paused_until_ms > 0) == (header.pause_ms > 0)
}

pub fn is_possible(tube: &Tube, change: &Change<'_>) -> bool {
    use State::{Buried, Delayed, Ready, Reserved};
    let is_in = |id: u64, states: &[State]| tube.job(id).is_some_and(|job| states.contains(&job.state));
    let is_new = |id: u64| id > tube.header().last_id && id <= ID_MAX;
    match *change {
        Change::Put { id, delay_ms, ttr_ms, .. } => {
            is_new(id) && delay_ms <= DURATION_MAX_MS && is_ttr(ttr_ms)
        }
        Change::Reserve { id, n, worker, ttr_ms } => {
            is_in(id, &[Ready, Delayed, Buried])
                && is_later(n, tube.job(id).unwrap().history.last_n)
                && worker <= U48_MAX
                && is_ttr(ttr_ms)
        }
        Change::Delete { id } | Change::Prioritize { id, .. } => is_in(id, &State::ALL),
        Change::Return { id, then: Then::Delayed { delay_ms }, .. } => {
            is_in(id, &[Reserved]) && (1..=DURATION_MAX_MS).contains(&delay_ms)
        }
        Change::Return { id, .. } | Change::Bury { id, .. } => is_in(id, &[Reserved]),
        Change::Touch { id, for_ms } => is_in(id, &[Reserved]) && for_ms <= DURATION_MAX_MS,
        Change::Kick { id } => is_in(id, &[Buried, Delayed]),
        Change::Promote { id } => is_in(id, &[Delayed]),
        Change::Delay { id, delay_ms } => is_in(id, &[Ready, Delayed, Buried]) && delay_ms <= DURATION_MAX_MS,
        Change::Pause { for_ms } => for_ms <= DURATION_MAX_MS,
        Change::Resume => true,
        Change::Clear { states } => (1..16).any(|byte| states == states_of_byte(byte)),
        Change::Restore(job) => is_new(job.id) && is_job(&job),
        Change::Head(header) => {
            is_header(&header)
                && header.last_id >= tube.header().last_id
                && header.burials >= tube.header().burials
        }
        Change::Remove => tube.is_idle(),
    }
}
