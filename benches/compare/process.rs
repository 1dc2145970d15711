//! The servers that are measured: each is started for the time of a comparison, and goes with it.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Connection, Wire};

/// A folder that is removed at the end, also on a panic.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server, stopped when dropped, also on a panic.
pub struct Server {
    child: Child,
    port: u16,
    wire: Wire,
    settings: Vec<String>,
    folder: Folder,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    /// A redis-server with the module, without persistence, and with these further settings.
    pub fn redis(settings: &[&str]) -> Server {
        let (port, folder) = place();
        let mut all: Vec<String> = Vec::new();
        let fixed = ["--save", "", "--appendonly", "no", "--maxclients", "4000", "--bind", "127.0.0.1"];
        all.extend(fixed.iter().chain(settings).map(|word| word.to_string()));
        let log = folder.0.join("redis.log").display().to_string();
        let dir = folder.0.display().to_string();
        let port_text = port.to_string();
        let rest = ["--port", &port_text, "--dir", &dir, "--logfile", &log, "--loadmodule", &module()];
        all.extend(rest.iter().map(|word| word.to_string()));
        let child = spawn_redis(&all);
        let server = Server { child, port, wire: Wire::Resp, settings: all, folder };
        server.wait_until_up();
        server
    }

    /// The same, spoken to by its beanstalk port.
    pub fn beanstalk_port() -> Server {
        let (port, _) = place();
        let mut server = Server::redis(&["--phean.port", &port.to_string()]);
        (server.port, server.wire) = (port, Wire::Beanstalk);
        server.wait_until_up();
        server
    }

    /// A beanstalkd without persistence, if it is installed.
    pub fn beanstalkd() -> Option<Server> {
        let (port, folder) = place();
        let child = Command::new("beanstalkd")
            .args(["-l", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let server = Server { child, port, wire: Wire::Beanstalk, settings: Vec::new(), folder };
        server.wait_until_up();
        Some(server)
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not start: see {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it without letting it save anything.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts a redis-server that was stopped in its folder again, and waits until it has loaded what it finds there.
    pub fn start(&mut self) {
        let _ = std::fs::remove_file(self.folder.0.join("redis.log"));
        self.child = spawn_redis(&self.settings);
        self.wait_until_up();
        while !self.connect().ask_text(&["PING"]).starts_with("+PONG") {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("redis.log")).unwrap_or_default()
    }

    /// The size of its RDB file.
    pub fn saved_bytes(&self) -> f64 {
        std::fs::metadata(self.folder.0.join("dump.rdb")).map_or(0.0, |file| file.len() as f64)
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        Connection::open(self.port, self.wire)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A number out of INFO.
    pub fn info(&self, section: &str, field: &str) -> f64 {
        let info = self.connect().ask_text(&["INFO", section]);
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("INFO has no {field}"))
    }

    /// Removes all data of a redis-server.
    pub fn flush(&self) {
        self.connect().ask(&["FLUSHALL", "SYNC"]);
    }

    /// The processor time that all its threads have used so far.
    pub fn cpu(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.child.id());
        let threads = std::fs::read_dir(tasks).expect("the server runs").flatten();
        let times = threads.filter_map(|thread| {
            let line = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            line.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(times.sum())
    }

    /// The processor time that its main thread has used so far.
    pub fn main_thread(&self) -> Duration {
        let stat = format!("/proc/{0}/task/{0}/schedstat", self.child.id());
        let line = std::fs::read_to_string(stat).expect("the server runs");
        Duration::from_nanos(line.split(' ').next().and_then(|time| time.parse().ok()).expect("a number"))
    }

    /// The memory that its pages take, in bytes.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    place().0
}

fn place() -> (u16, Folder) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a free port").port();
    let folder = std::env::temp_dir().join(format!("phean-bench-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    (port, Folder(folder))
}

fn spawn_redis(settings: &[String]) -> Child {
    let program = std::env::var("PHEAN_TEST_SERVER").unwrap_or_else(|_| "redis-server".to_string());
    Command::new(program).args(settings).stdout(Stdio::null()).spawn().expect("redis-server is installed")
}

fn module() -> String {
    let module = std::env::var("PHEAN_BENCH_MODULE")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/libphean.so").to_string());
    assert!(Path::new(&module).exists(), "{module} is missing: run `cargo build --release` first");
    module
}

/// The machine and the servers, in a line.
pub fn machine(server: &Server) -> String {
    let info = server.connect().ask_text(&["INFO", "server"]);
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").to_string();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(" : unknown processor");
    let model = model.split_once(": ").map_or(model, |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let version = Command::new("beanstalkd").arg("-v").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string());
    let version = version.unwrap_or_else(|_| "beanstalkd is not installed".to_string());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let (redis, os) = (field("redis_version:"), field("os:"));
    format!("redis-server {redis}, {version}, {os}, {cores} × {model}, load average {load} at the start")
}
