//! Waits for tubes whose slot this node of a cluster serves no longer.
//!
//! Redis redirects the clients that its own commands keep waiting when the slot of their key has moved to another
//! node. Of ours it knows no keys, and would let them wait where no job ever comes. So some ten times a second a
//! part of those who wait is looked at, and whoever waits in vain is told what Redis would say: `MOVED`, which
//! client libraries follow. As in Redis, a slot that is being migrated is served here until it is gone, and one that
//! is being imported is served already. While the cluster is down nobody is kept waiting: Redis sees to that itself, for
//! our clients too, but newer Valkey does not, and neither knows those at the beanstalk port.

use std::collections::BTreeMap;

use crate::broker::{Name, Wait};

use super::api::{Answer, Ctx, OwnedString, Part, flag};
use super::beanstalk::{Locality, locality};
use super::state::State;

/// One look is at so many waits and asks for so many tubes at most; the next one goes on from there.
const WAITS: usize = 1_000;
const TUBES: usize = 128;

/// Where a tube's slot is served, if not here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Away {
    /// By this node.
    Moved { slot: u64, endpoint: String, port: Option<u64>, tls_port: Option<u64> },
    /// By no node.
    Unserved,
    /// The cluster is down.
    Down,
}

/// How far the looks have come.
#[derive(Default)]
pub(super) struct Slots {
    next: u64,
}

impl State {
    /// Looks at some of those who wait, and ends the waits for what is served elsewhere. Costs next to nothing
    /// outside a cluster, or if nobody waits; about a microsecond for each tube that is waited on, and, while a
    /// slot is on its way, as much as CLUSTER SHARDS.
    pub(super) fn look_at_slots(&mut self, ctx: Ctx) {
        let flags = ctx.flags();
        if self.broker.waiting() == 0 || flags & flag::CLUSTER == 0 || flags & flag::LOADING != 0 {
            return;
        }
        let mut places = Places::new(ctx);
        let mut vain = Vec::new();
        let first = std::mem::take(&mut self.slots.next);
        for (count, (number, wait)) in self.broker.waits_from(first).enumerate() {
            if count == WAITS || places.known.len() >= TUBES {
                self.slots.next = number;
                break;
            }
            vain.extend(places.of(wait).map(|away| (number, wait.client, away)));
        }
        for (number, client, away) in vain {
            match self.means.door.waiting(number) {
                Some(fd) => self.means.door.interrupt(&mut self.broker, fd),
                None => {
                    if let Some(error) = away.error(ctx, client) {
                        self.means.waits.redirect(number, error);
                    }
                }
            }
        }
    }
}

/// Where tubes are, for the time of one look.
struct Places {
    ctx: Ctx,
    known: BTreeMap<Name, Option<Away>>,
    cluster: Option<Cluster>,
}

impl Places {
    fn new(ctx: Ctx) -> Places {
        Places { ctx, known: BTreeMap::new(), cluster: None }
    }

    /// Where all tubes of a wait have gone; `None` if one of them is served here, or was not asked for, because
    /// there are too many. Only the beanstalk port lets clients wait for tubes of several slots.
    fn of(&mut self, wait: &Wait) -> Option<Away> {
        let wide = wait.wide.as_ref().map_or(&[][..], |wide| wide.names());
        let mut away = None;
        for name in wait.names.iter().chain(wide) {
            if self.known.len() >= 2 * TUBES && !self.known.contains_key(name) {
                return None;
            }
            away = Some(self.of_tube(name)?);
        }
        away
    }

    fn of_tube(&mut self, name: &Name) -> Option<Away> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let key = OwnedString::new(name);
        let away = match locality(self.ctx, &key) {
            Locality::Here => None,
            Locality::ClusterDown => Some(Away::Down),
            Locality::Elsewhere => {
                let ctx = self.ctx;
                let cluster = self.cluster.get_or_insert_with(|| Cluster::look(ctx));
                ctx.key_slot(&key).and_then(|slot| cluster.serving(slot))
            }
        };
        self.known.insert(Name::clone(name), away.clone());
        away
    }
}

impl Away {
    /// What a Redis client is told. Some clients reach the nodes by TLS.
    fn error(&self, ctx: Ctx, client: u64) -> Option<String> {
        match self {
            Away::Moved { slot, endpoint, port, tls_port } => {
                let (first, second) = if ctx.has_tls(client) { (tls_port, port) } else { (port, tls_port) };
                let port = first.or(*second)?;
                Some(format!("MOVED {slot} {endpoint}:{port}"))
            }
            Away::Unserved => Some("CLUSTERDOWN Hash slot not served".into()),
            Away::Down => Some("CLUSTERDOWN The cluster is down".into()),
        }
    }
}

/// Which node serves what, as this node sees it.
struct Cluster {
    /// What CLUSTER NODES says of this node.
    myself: String,
    shards: Option<Answer>,
}

impl Cluster {
    fn look(ctx: Ctx) -> Cluster {
        let nodes = ctx.ask(c"CLUSTER", c"NODES").map(|answer| answer.whole().text()).unwrap_or_default();
        let is_own = |line: &&str| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself"));
        let myself = nodes.lines().find(is_own).unwrap_or_default().to_owned();
        Cluster { myself, shards: ctx.ask(c"CLUSTER", c"SHARDS") }
    }

    /// Which other node serves a slot; `None` if this one does, or will soon.
    fn serving(&self, slot: u64) -> Option<Away> {
        let is_importing = self.myself.contains(&format!(" [{slot}-<-"));
        let shards = self.shards.as_ref()?.whole();
        let owner = shards.parts().find(|shard| has_slot(shard, slot));
        match owner {
            _ if is_importing => None,
            None => Some(Away::Unserved),
            Some(shard) => {
                let nodes = shard.field("nodes")?;
                let is_primary =
                    |node: &Part<'_>| node.field("role").is_some_and(|role| role.text() == "master");
                let primary = nodes.parts().find(is_primary)?;
                let id = primary.field("id")?.text();
                let is_own = self.myself.split(' ').next() == Some(id.as_str());
                (!is_own).then(|| Away::Moved {
                    slot,
                    endpoint: primary.field("endpoint").map(|text| text.text()).unwrap_or_default(),
                    port: primary.field("port").and_then(|port| port.integer()),
                    tls_port: primary.field("tls-port").and_then(|port| port.integer()),
                })
            }
        }
    }
}

/// Whether a shard serves a slot: its ranges stand there as first and last slot in turn.
fn has_slot(shard: &Part<'_>, slot: u64) -> bool {
    let Some(slots) = shard.field("slots") else { return false };
    let bounds: Vec<u64> = slots.parts().filter_map(|bound| bound.integer()).collect();
    bounds.chunks_exact(2).any(|range| matches!(range, [first, last] if (*first..=*last).contains(&slot)))
}
