//! A Redis Cluster of six processes.

use crate::harness::Server;
use crate::reply::{array, cmd, int, run, text};
use crate::tools::tool;
use crate::waiting::{eventually, eventually_some, patience};
use redis::cluster::{ClusterClient, ClusterConnection};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{io, thread};

/// Three primaries and a replica of each. Dropping it stops and looks through all of them.
pub struct Cluster {
    nodes: Vec<Server>,
}

/// How many slots a cluster has.
const SLOTS: i64 = 16_384;

impl Cluster {
    /// Starts six servers with these lines of redis.conf, and has `redis-cli --cluster create` make a cluster of
    /// them. Returns when all know all, and each replica has its primary's data.
    pub fn start(config: &[&str]) -> Cluster {
        let mut lines = vec!["cluster-enabled yes"];
        lines.extend(config);
        let cluster = Cluster { nodes: (0..6).map(|_| Server::start(&lines)).collect() };
        let addresses: Vec<String> = cluster.nodes.iter().map(address).collect();
        let mut words = vec!["create"];
        words.extend(addresses.iter().map(String::as_str));
        words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        manage(&words);
        cluster.until_well();
        cluster
    }

    /// Waits until every node sees a cluster of six that serves all slots, three of them replicas in touch with
    /// their primaries.
    pub fn until_well(&self) {
        for node in &self.nodes {
            let mut con = node.connect();
            eventually(|| {
                let info = text(&run(&mut con, "CLUSTER INFO"));
                let nodes = text(&run(&mut con, "CLUSTER NODES"));
                ["cluster_state:ok", "cluster_slots_ok:16384"].iter().all(|line| info.contains(line))
                    && nodes.lines().count() == self.nodes.len()
                    && !["fail", "handshake"].iter().any(|word| nodes.contains(word))
                    && nodes.matches("slave").count() == 3
            });
        }
        eventually(|| {
            let roles = self.nodes.iter().map(|node| node.info("replication"));
            roles.filter(|info| info.get("master_link_status").is_some_and(|link| link == "up")).count() == 3
        });
    }

    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    pub fn node_mut(&mut self, index: usize) -> &mut Server {
        &mut self.nodes[index]
    }

    /// A client of the whole cluster, which follows redirections by itself.
    pub fn client(&self) -> ClusterConnection {
        let urls: Vec<String> = self.nodes.iter().map(Server::url).collect();
        let client = ClusterClient::builder(urls)
            // It may wait while a loaded machine moves slots.
            .response_timeout(patience() * 3)
            .build()
            .expect("the addresses are right");
        eventually_some(|| client.get_connection().ok())
    }

    /// The node that serves a key's slot, as most nodes see it.
    pub fn serving(&self, key: &str) -> usize {
        let slot = slot_of(self, key);
        eventually_some(|| self.owner(slot))
    }

    /// The node that serves a slot, if all that can be reached agree.
    pub fn owner(&self, slot: i64) -> Option<usize> {
        let seen: BTreeSet<u16> = self.running().filter_map(|node| owner_port(node, slot)).collect();
        let port = seen.first().filter(|_| seen.len() == 1)?;
        self.nodes.iter().position(|node| node.port() == *port)
    }

    /// The replicas of a primary, as it sees them.
    pub fn replicas(&self, primary: usize) -> Vec<usize> {
        let info = self.nodes[primary].info("replication");
        let of = |node: &Server| info.values().any(|line| line.contains(&format!("port={},", node.port())));
        (0..self.nodes.len()).filter(|index| of(&self.nodes[*index])).collect()
    }

    /// The nodes whose process runs.
    pub fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| TcpStream::connect(("127.0.0.1", node.port())).is_ok())
    }

    /// Moves the first `count` slots of one node to another, by `redis-cli --cluster reshard`.
    pub fn reshard(&self, from: usize, to: usize, count: usize) {
        let (from, to) = (id_of(&self.nodes[from]), id_of(&self.nodes[to]));
        let (at, count) = (address(&self.nodes[0]), count.to_string());
        let words = ["--cluster-from", &from, "--cluster-to", &to, "--cluster-slots", &count];
        manage(&[["reshard", &at].as_slice(), &words, &["--cluster-yes"]].concat());
    }

    /// Has `redis-cli --cluster rebalance` give each primary as many slots.
    pub fn rebalance(&self) {
        manage(&["rebalance", &address(&self.nodes[0]), "--cluster-threshold", "1"]);
    }

    /// `count` names whose slots are among the first `slots`, and no two of them the same.
    pub fn names_in_first(&self, slots: i64, count: usize) -> Vec<String> {
        let mut con = self.nodes[0].connect();
        let mut taken = BTreeSet::new();
        let mut names = Vec::new();
        for number in 0.. {
            let name = format!("tube:{number}");
            let slot = int(&cmd(&mut con, &["CLUSTER", "KEYSLOT", &name]).expect("a slot"));
            if slot < slots && taken.insert(slot) {
                names.push(name);
            }
            if names.len() == count {
                break;
            }
        }
        names
    }
}

/// A key's slot.
pub fn slot_of(cluster: &Cluster, key: &str) -> i64 {
    let node = cluster.running().next().expect("a node runs");
    int(&cmd(&mut node.connect(), &["CLUSTER", "KEYSLOT", key]).expect("a slot"))
}

/// `127.0.0.1:port`
pub fn address(node: &Server) -> String {
    format!("127.0.0.1:{}", node.port())
}

/// The name of a node within its cluster.
pub fn id_of(node: &Server) -> String {
    text(&run(&mut node.connect(), "CLUSTER MYID"))
}

/// The port of the node that serves a slot, as this node sees it.
fn owner_port(node: &Server, slot: i64) -> Option<u16> {
    assert!((0..SLOTS).contains(&slot));
    let ranges = array(&run(&mut node.connect(), "CLUSTER SLOTS"));
    let range = ranges.iter().map(array).find(|range| (int(&range[0])..=int(&range[1])).contains(&slot))?;
    u16::try_from(int(&array(&range[2])[1])).ok()
}

/// Runs `redis-cli --cluster …`, which must succeed. It waits for the nodes to agree, and does not give up by itself.
fn manage(words: &[&str]) {
    let child = tool("cli").arg("--cluster").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("redis-cli is there");
    let mut output = child.stdout.take().expect("its output is a pipe");
    let reader = thread::spawn(move || io::read_to_string(&mut output));
    let bound = Instant::now() + patience() * 3;
    let status = loop {
        match child.try_wait().expect("the process can be asked") {
            None if Instant::now() < bound => thread::sleep(Duration::from_millis(5)),
            None => {
                child.kill().expect("it can be killed");
                break child.wait().expect("it can be waited for");
            }
            Some(status) => break status,
        }
    };
    let said = reader.join().expect("the reader does not panic").expect("it can be read");
    let failed =
        !status.success() || said.contains("[ERR]") || said.contains("Node 127.0.0.1 replied with error");
    assert!(!failed, "redis-cli --cluster {} ended with {status}:\n{said}", words.join(" "));
}
