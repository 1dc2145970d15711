//! Whether anybody could need the events that are replicated, or hear of what happens to keys.
//!
//! Writing an event down and replicating it costs more than the rest of a put. It may be left out while no
//! append-only file is written and no replica could ever ask for what is left out: when that was last asked there was
//! no such file and no replication backlog, and since then no setting has changed and no fork has begun, which is where
//! an append-only file or a full synchronisation starts, and the server's role is the same. In a transaction or script
//! that holds as well: what begins on its way begins with all that it has done so far.
//!
//! And whether writes may be refused: with `min-replicas-to-write` Redis does so while replicas are missing, and after a
//! file could not be written. Then what happens by itself has to wait as well: nobody could delete what is handed out.
//!
//! And whether another module is loaded, which may listen to what happens to keys. Without one, and without clients that
//! may listen, nobody is told: that takes as long as a fiftieth of a put.

use super::api::{self, Ctx, flag};

/// What is known of the listeners.
pub(super) struct Listeners {
    maybe: bool,
    may_refuse: bool,
    modules: Modules,
    of_keys: bool,
}

/// The modules that are loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modules {
    /// There may be others than us.
    Unknown,
    Others,
    OnlyUs,
}

impl Default for Listeners {
    fn default() -> Listeners {
        Listeners { maybe: true, may_refuse: true, modules: Modules::Unknown, of_keys: true }
    }
}

impl Listeners {
    /// Whether a replica may be listening.
    pub(super) fn may_be_there(&self) -> bool {
        self.maybe
    }

    /// Whether Redis may refuse writes, for lack of replicas or as its disk fails.
    pub(super) fn may_refuse(&self) -> bool {
        self.may_refuse
    }

    /// A child was forked or is done, a replica came, the role or a setting changed: assume the worst until asked again.
    pub(super) fn came(&mut self) {
        self.maybe = true;
        self.may_refuse = true;
        self.of_keys = true;
    }

    /// A module was loaded or unloaded.
    pub(super) fn modules_changed(&mut self) {
        self.modules = Modules::Unknown;
        self.of_keys = true;
    }

    /// Whether anybody may hear what happens to keys.
    pub(super) fn may_hear_of_keys(&self) -> bool {
        self.of_keys
    }

    /// Asks the server.
    pub(super) fn look(&mut self, ctx: Ctx) {
        let fields = [c"repl_backlog_active", c"min_slaves_good_slaves"];
        let [backlog, good] = ctx.server_infos(c"replication", fields);
        self.maybe = backlog != Some(0) || ctx.has(flag::AOF);
        // This field is there only if the setting is.
        self.may_refuse = good.is_some() || !wrote_files(ctx);
        if self.modules == Modules::Unknown {
            let modules = ctx.ask(c"MODULE", c"LIST").map(|list| list.whole().parts().count());
            self.modules = if modules == Some(1) { Modules::OnlyUs } else { Modules::Others };
        }
        self.of_keys = self.modules != Modules::OnlyUs || api::clients_hear_of_keys();
    }
}

/// Whether the files were written when that was last tried, as far as Redis says.
fn wrote_files(ctx: Ctx) -> bool {
    let fields = [c"rdb_last_bgsave_status", c"aof_last_write_status"];
    ctx.server_info_texts(c"persistence", fields).iter().all(|status| status.as_deref() == Some("ok"))
}
