//! Whether anybody could need the events that are replicated.
//!
//! Writing an event down and replicating it costs more than the rest of a put. It may be left out while no
//! append-only file is written (the context says so) and no replica could ever ask for what is left out: there
//! is no replication backlog, and since that was last asked no fork has begun, which is where a full
//! synchronisation starts, and the server's role is the same.
//!
//! And whether there must be any: with `min-replicas-to-write`, Redis refuses commands while replicas are missing, and
//! what happens by itself has to wait as well.

use super::api::Ctx;

/// What is known of the listeners.
pub(super) struct Listeners {
    maybe: bool,
    needed: bool,
}

impl Default for Listeners {
    fn default() -> Listeners {
        Listeners { maybe: true, needed: true }
    }
}

impl Listeners {
    /// Whether a replica may be listening.
    pub(super) fn may_be_there(&self) -> bool {
        self.maybe
    }

    /// Whether writes may be refused for lack of replicas.
    pub(super) fn may_be_needed(&self) -> bool {
        self.needed
    }

    /// A child was forked, a replica came, or the role changed: assume listeners until asked again.
    pub(super) fn came(&mut self) {
        self.maybe = true;
    }

    /// Asks the server.
    pub(super) fn look(&mut self, ctx: Ctx) {
        let fields = [c"repl_backlog_active", c"min_slaves_good_slaves"];
        let [backlog, good] = ctx.server_infos(c"replication", fields);
        self.maybe = backlog != Some(0);
        // The field is there only if the setting is.
        self.needed = good.is_some();
    }
}
