//! `INFO phean`.

use std::ffi::c_int;

use crate::queue::State as JobState;

use super::api::{RedisModuleInfoCtx, info_field, info_section};
use super::guard::guard;
use super::state::{self, State};

/// Called by Redis for `INFO`, and for a crash report, which may come while we are at work.
pub(super) unsafe extern "C" fn on_info(ctx: *mut RedisModuleInfoCtx, _: c_int) {
    guard((), || {
        state::enter_deaf(|state| state.show(ctx));
    });
}

impl State {
    fn show(&self, ctx: *mut RedisModuleInfoCtx) {
        let broker = &self.broker;
        if info_section(ctx, c"jobs") {
            let jobs = broker.jobs();
            info_field(ctx, c"current_tubes", broker.tubes() as u64);
            info_field(ctx, c"current_jobs_urgent", jobs.urgent);
            info_field(ctx, c"current_jobs_ready", jobs.of(JobState::Ready));
            info_field(ctx, c"current_jobs_reserved", jobs.of(JobState::Reserved));
            info_field(ctx, c"current_jobs_delayed", jobs.of(JobState::Delayed));
            info_field(ctx, c"current_jobs_buried", jobs.of(JobState::Buried));
        }
        if info_section(ctx, c"stats") {
            let totals = broker.totals();
            info_field(ctx, c"total_jobs", totals.puts);
            info_field(ctx, c"cmd_put", totals.puts);
            info_field(ctx, c"cmd_peek", broker.peeks());
            info_field(ctx, c"cmd_reserve", totals.reserves);
            info_field(ctx, c"cmd_delete", totals.deletes);
            info_field(ctx, c"cmd_release", totals.releases);
            info_field(ctx, c"cmd_bury", totals.buries);
            info_field(ctx, c"cmd_kick", totals.kicks);
            info_field(ctx, c"cmd_touch", totals.touches);
            info_field(ctx, c"cmd_pause_tube", totals.pauses);
            info_field(ctx, c"job_timeouts", totals.timeouts);
            info_field(ctx, c"jobs_cleared", totals.cleared);
            info_field(ctx, c"apply_errors", broker.apply_errors());
        }
        if info_section(ctx, c"clients") {
            info_field(ctx, c"current_waiting", broker.waiting() as u64);
            self.means.door.show(ctx);
        }
    }
}
