//! Whether anybody could need the events that are replicated.
//!
//! Writing an event down and replicating it costs more than the rest of a put. It may be left out while no
//! append-only file is written (the context says so) and no replica could ever ask for what is left out: there
//! is no replication backlog, and since that was last asked no fork has begun, which is where a full
//! synchronisation starts, and the server's role is the same.

use super::api::Ctx;

/// What is known of the listeners.
pub(super) struct Listeners {
    maybe: bool,
}

impl Default for Listeners {
    fn default() -> Listeners {
        Listeners { maybe: true }
    }
}

impl Listeners {
    /// Whether a replica may be listening.
    pub(super) fn may_be_there(&self) -> bool {
        self.maybe
    }

    /// A child was forked, a replica came, or the role changed: assume listeners until asked again.
    pub(super) fn came(&mut self) {
        self.maybe = true;
    }

    /// Asks the server.
    pub(super) fn look(&mut self, ctx: Ctx) {
        self.maybe = ctx.server_info(c"replication", c"repl_backlog_active") != Some(0);
    }
}
