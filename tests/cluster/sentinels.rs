//! Redis Sentinel: three processes that watch over a primary and its replicas.

use crate::harness::{Server, free_port, server_command};
use crate::reply::{array, cmd, int, map, text};
use crate::waiting::{eventually, eventually_some};
use crate::wire::{Finder, connect};
use redis::Value;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::{env, process};

/// What the sentinels call the primary.
const NAME: &str = "queue";

/// One that is down for so long is replaced, in milliseconds.
const DOWN_AFTER_MS: u32 = 1500;

/// Three sentinels. Dropping it stops them.
pub struct Sentinels {
    ports: Vec<u16>,
    children: Vec<Child>,
    dir: PathBuf,
}

impl Sentinels {
    /// Starts them, and waits until they know each other and both replicas.
    pub fn start(primary: &Server, replicas: usize) -> Sentinels {
        let dir = env::temp_dir().join(format!("phean-sentinels-{}-{}", process::id(), primary.port()));
        let mut sentinels = Sentinels { ports: Vec::new(), children: Vec::new(), dir };
        for number in 0..3 {
            let dir = sentinels.dir.join(number.to_string());
            fs::create_dir_all(&dir).expect("a temporary folder can be made");
            let port = free_port();
            let lines = [
                "bind 127.0.0.1".to_owned(),
                format!("port {port}"),
                format!("dir \"{}\"", dir.display()),
                format!("sentinel monitor {NAME} 127.0.0.1 {} 2", primary.port()),
                format!("sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}"),
                format!("sentinel failover-timeout {NAME} 6000"),
                format!("sentinel parallel-syncs {NAME} 2"),
            ];
            let config = dir.join("sentinel.conf");
            fs::write(&config, lines.join("\n") + "\n").expect("a configuration can be written");
            let log = File::create(dir.join("log")).expect("a log can be made");
            let child = server_command()
                .arg(&config)
                .arg("--sentinel")
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file handle can be cloned"))
                .stderr(log)
                .spawn()
                .expect("a sentinel can be started");
            sentinels.children.push(child);
            sentinels.ports.push(port);
            eventually(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
            // How often things are looked at: what takes ten seconds in earnest need not here.
            // And a slow disk is no reason to mistrust the clock for half a minute.
            let periods = ["INFO-PERIOD", "500", "PUBLISH-PERIOD", "200", "TILT-TRIGGER", "30000"];
            let mut con = connect(port).expect("a sentinel accepts a connection");
            cmd(&mut con, &[["SENTINEL", "DEBUG"].as_slice(), &periods].concat())
                .expect("periods can be set");
        }
        sentinels.until_ready(replicas);
        sentinels
    }

    /// Waits until every sentinel knows the others, and as many good replicas.
    pub fn until_ready(&self, replicas: usize) {
        for port in &self.ports {
            let mut con = connect(*port).expect("a sentinel accepts a connection");
            eventually(|| {
                let quorum = cmd(&mut con, &["SENTINEL", "CKQUORUM", NAME]);
                let is_right = quorum.is_ok_and(|answer| text(&answer).starts_with("OK 3 usable"));
                let known = cmd(&mut con, &["SENTINEL", "REPLICAS", NAME]).expect("replicas are listed");
                let is_good = |replica: &Value| {
                    let replica = map(replica);
                    text(&replica["flags"]) == "slave" && text(&replica["master-link-status"]) == "ok"
                };
                is_right && array(&known).iter().filter(|replica| is_good(replica)).count() == replicas
            });
        }
    }

    /// Asks for a failover in order.
    pub fn replace_primary(&self) {
        let mut con = connect(self.ports[0]).expect("a sentinel accepts a connection");
        eventually(|| cmd(&mut con, &["SENTINEL", "FAILOVER", NAME]).is_ok());
    }

    /// A finder for clients.
    pub fn finder(&self) -> ByName {
        ByName { sentinels: self.ports.clone() }
    }

    /// Which of these servers all sentinels take for the primary, once it says the same.
    pub fn primary_of(&self, servers: &[Server]) -> usize {
        eventually_some(|| {
            let seen: Vec<u16> = self.ports.iter().filter_map(|port| primary_by(*port)).collect();
            let port =
                *seen.first().filter(|port| seen.len() == 3 && seen.iter().all(|other| other == *port))?;
            is_primary(port).then(|| servers.iter().position(|server| server.port() == port))?
        })
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let logs = (0..3)
                .filter_map(|number| fs::read_to_string(self.dir.join(number.to_string()).join("log")).ok());
            logs.for_each(|log| eprintln!("--- log of a sentinel\n{log}"));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Asks the sentinels, as client libraries do, and the server itself too.
pub struct ByName {
    sentinels: Vec<u16>,
}

impl Finder for ByName {
    fn find(&mut self) -> Option<u16> {
        let port = self.sentinels.iter().find_map(|port| primary_by(*port))?;
        is_primary(port).then_some(port)
    }
}

fn primary_by(sentinel: u16) -> Option<u16> {
    let answer = cmd(&mut connect(sentinel).ok()?, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?;
    text(array(&answer).get(1)?).parse().ok()
}

/// Whether the server on this port says that it is a primary. A sentinel may cut any connection to it.
pub fn is_primary(port: u16) -> bool {
    role_of(port).is_some_and(|role| text(&role[0]) == "master")
}

/// The port of the primary that the server on this port follows.
pub fn primary_of(port: u16) -> Option<u16> {
    let role = role_of(port)?;
    (text(&role[0]) == "slave").then(|| u16::try_from(int(&role[2])).ok())?
}

/// How the server on this port, a replica, is connected with its primary.
pub fn link_of(port: u16) -> Option<String> {
    let role = role_of(port)?;
    (text(&role[0]) == "slave").then(|| text(&role[3]))
}

fn role_of(port: u16) -> Option<Vec<Value>> {
    connect(port).ok().and_then(|mut con| cmd(&mut con, &["ROLE"]).ok()).map(|role| array(&role))
}
