//! A redis-server of one's own for each test: started in a fresh folder on a free port with the module
//! loaded, stopped by its process id, and looked through for crashes at the end.

use crate::waiting::{eventually, eventually_some, patience};
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// What no log may hold after a test: a crash, or an event that a replica or a loading server refused
/// (Redis only logs those).
const ALARMS: [&str; 6] = [
    "REDIS BUG REPORT",
    "VALKEY BUG REPORT",
    "Guru Meditation",
    "panicked at",
    "crashed by signal",
    "== CRITICAL ==",
];

/// A running (or just stopped) redis-server. Dropping it stops it, removes its folder, and fails the test if
/// the server crashed, ended by itself, or refused an event.
pub struct Server {
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
    forgives_apply_errors: bool,
}

impl Server {
    /// Starts a server with the module and these extra lines of redis.conf, and waits until it is ready.
    ///
    /// It saves nothing by itself unless a line says so (`appendonly yes`, `save 3600 1`).
    #[track_caller]
    pub fn start(config: &[&str]) -> Server {
        match Server::try_start(config) {
            Ok(server) => server,
            Err(log) => panic!("the server did not start:\n{log}"),
        }
    }

    /// As [`Server::start`], but a server that refuses to start is an answer: its log.
    pub fn try_start(config: &[&str]) -> Result<Server, String> {
        Server::launch_anew(module_path(), config)
    }

    /// A server without the module, whatever `PHEAN_TEST_MODULE` says.
    #[track_caller]
    pub fn start_plain(config: &[&str]) -> Server {
        match Server::launch_anew(None, config) {
            Ok(server) => server,
            Err(log) => panic!("the plain server did not start:\n{log}"),
        }
    }

    fn launch_anew(module: Option<&Path>, config: &[&str]) -> Result<Server, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("phean-test-{}-{number}", process::id()));
        let mut last_log = String::new();
        // Between looking and starting, somebody else may take the port.
        for _ in 0..20 {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).expect("a temporary folder can be made");
            let port = free_port();
            fs::write(dir.join("redis.conf"), config_text(&dir, port, module, config))
                .expect("redis.conf can be written");
            let mut server = Server { dir: dir.clone(), port, child: None, forgives_apply_errors: false };
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(log) if is_port_taken(&log) => last_log = log,
                Err(log) => {
                    server.forgives_apply_errors = true;
                    return Err(log);
                }
            }
        }
        Err(last_log)
    }

    /// Starts the process and waits until it says that it is ready; if it ends instead, its log is the error.
    fn launch(&mut self) -> Result<(), String> {
        let log_path = self.dir.join("server.log");
        let log_start = fs::metadata(&log_path).map_or(0, |meta| meta.len() as usize);
        // Appending from the server and from a panic's stderr alike, so that nothing is overwritten.
        let log =
            OpenOptions::new().create(true).append(true).open(&log_path).expect("the log can be opened");
        let mut child = server_command()
            .arg(self.dir.join("redis.conf"))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(clone_of(&log))
            .stderr(log)
            .spawn()
            .expect("redis-server can be started (is it installed, or PHEAN_TEST_SERVER right?)");
        let bound = Instant::now() + patience();
        loop {
            let text = self.log();
            let fresh = text.get(log_start..).unwrap_or("");
            if child.try_wait().expect("the process can be asked").is_some() {
                return Err(self.log().get(log_start..).unwrap_or("").to_owned());
            }
            if fresh.contains("Ready to accept connections")
                && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            {
                self.child = Some(child);
                return Ok(());
            }
            if Instant::now() > bound {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not ready in time:\n{fresh}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts the server again: same folder, same port, same redis.conf (as `CONFIG REWRITE` left it). One
    /// that still runs is first shut down without saving.
    #[track_caller]
    pub fn restart(&mut self) {
        if let Err(log) = self.try_restart() {
            panic!("the server did not start again:\n{log}");
        }
    }

    /// As [`Server::restart`], but a server that refuses to start is an answer: its log since.
    pub fn try_restart(&mut self) -> Result<(), String> {
        if self.child.is_some() {
            self.shutdown_nosave();
        }
        let bound = Instant::now() + patience();
        loop {
            match self.launch() {
                Err(log) if is_port_taken(&log) && Instant::now() < bound => {}
                answer => return answer,
            }
        }
    }

    /// Puts more lines at the end of redis.conf, for the next start. The last line of a name wins.
    pub fn add_config(&self, lines: &[&str]) {
        let path = self.dir.join("redis.conf");
        let mut text = fs::read_to_string(&path).expect("redis.conf can be read");
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(&path, text).expect("redis.conf can be written");
    }

    /// Ends the server as a power cut would (SIGKILL).
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("the server can be killed");
        child.wait().expect("the server can be waited for");
    }

    /// `SHUTDOWN NOSAVE`, awaited.
    #[track_caller]
    pub fn shutdown_nosave(&mut self) {
        self.shutdown("NOSAVE");
    }

    /// `SHUTDOWN SAVE`, awaited: the RDB file is written, and with `appendonly yes` the AOF flushed.
    #[track_caller]
    pub fn shutdown_save(&mut self) {
        self.shutdown("SAVE");
    }

    #[track_caller]
    fn shutdown(&mut self, how: &str) {
        let mut con = self.connect();
        // The answer to a shutdown that works is a closed connection.
        let answer = redis::cmd("SHUTDOWN").arg(how).query::<redis::Value>(&mut con);
        if let Err(error) = &answer {
            assert!(error.code().is_none(), "SHUTDOWN {how} was refused: {error}");
        }
        let child = self.child.as_mut().expect("the server runs");
        let status = eventually_some(|| child.try_wait().expect("the process can be asked"));
        assert!(status.success(), "SHUTDOWN {how} ended with {status}:\n{}", self.log());
        self.child = None;
    }

    /// The server's port, the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The running server's process id.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// The server's working folder: redis.conf, server.log, dump.rdb, appendonlydir.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that the server (and a panic inside it) wrote so far, restarts included.
    pub fn log(&self) -> String {
        fs::read(self.dir.join("server.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// A new connection that speaks RESP2. A reply may take as long as `eventually` waits.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.connect_with(|info| info)
    }

    /// A new connection that speaks RESP3.
    #[track_caller]
    pub fn connect_resp3(&self) -> Connection {
        self.connect_with(|info| info.set_protocol(ProtocolVersion::RESP3))
    }

    /// A new connection in another database.
    #[track_caller]
    pub fn connect_db(&self, db: i64) -> Connection {
        self.connect_with(|info| info.set_db(db))
    }

    /// A new connection of an ACL user.
    #[track_caller]
    pub fn connect_as(&self, user: &str, password: &str) -> Connection {
        self.connect_with(|info| info.set_username(user).set_password(password))
    }

    #[track_caller]
    fn connect_with(&self, tune: impl FnOnce(RedisConnectionInfo) -> RedisConnectionInfo) -> Connection {
        open(&self.url(), patience(), tune).expect("the server accepts a connection")
    }

    /// The fields of `INFO section`.
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        let mut con = self.connect();
        let text: String = redis::cmd("INFO").arg(section).query(&mut con).expect("INFO answers");
        info_fields(&text)
    }

    /// Waits until the server shows this client as blocked.
    #[track_caller]
    pub fn wait_blocked(&self, client_id: i64) {
        let mut con = self.connect();
        eventually(|| is_blocked(&mut con, client_id));
    }

    /// Makes this server a replica of the primary; see [`Server::wait_synced`].
    #[track_caller]
    pub fn replica_of(&self, primary: &Server) {
        let mut con = self.connect();
        let () = redis::cmd("REPLICAOF")
            .arg("127.0.0.1")
            .arg(primary.port)
            .query(&mut con)
            .expect("REPLICAOF answers");
    }

    /// Waits until this replica has all that its primary has written up to now.
    #[track_caller]
    pub fn wait_synced(&self, primary: &Server) {
        eventually(|| {
            let theirs = primary.info("replication");
            let ours = self.info("replication");
            ours.get("master_link_status").is_some_and(|link| link == "up")
                && ours.get("slave_repl_offset") == theirs.get("master_repl_offset")
        });
    }

    /// Makes this replica a primary, as a failover does.
    #[track_caller]
    pub fn promote(&self) {
        let mut con = self.connect();
        let () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query(&mut con).expect("REPLICAOF answers");
    }

    /// For tests that send bad events on purpose: from now on a refused event does not fail the test.
    pub fn forgive_apply_errors(&mut self) {
        self.forgives_apply_errors = true;
    }

    /// Stops the process, politely if it listens, and says what is wrong with how it ended.
    fn stop(&mut self) -> Option<String> {
        let mut child = self.child.take()?;
        if let Ok(Some(status)) = child.try_wait() {
            return (!status.success()).then(|| format!("the server ended by itself: {status}"));
        }
        let mut complaint = None;
        if let Ok(mut con) = open(&self.url(), patience() / 5, |info| info) {
            complaint = redis::cmd("INFO").arg("phean").query(&mut con).ok().and_then(apply_error_count);
            let answer = redis::cmd("SHUTDOWN").arg("NOSAVE").arg("NOW").arg("FORCE").query::<()>(&mut con);
            let bound = Instant::now() + patience() / 2;
            // An error with a code is a refusal (a password, say); one without is the closed connection.
            while answer.as_ref().is_err_and(|error| error.code().is_none()) && Instant::now() < bound {
                if let Ok(Some(status)) = child.try_wait() {
                    let fault = format!("the server ended badly on SHUTDOWN: {status}");
                    return complaint.or((!status.success()).then_some(fault));
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        complaint
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let complaint =
            self.stop().filter(|text| !self.forgives_apply_errors || !text.contains(APPLY_ERRORS));
        let log = self.log();
        let alarm = ALARMS
            .into_iter()
            .filter(|alarm| !self.forgives_apply_errors || !alarm.contains("CRITICAL"))
            .find(|alarm| log.contains(alarm))
            .map(|alarm| format!("the server's log says '{alarm}'"));
        if env::var_os("PHEAN_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
        let fault = alarm.or(complaint);
        if thread::panicking() {
            eprintln!("{}\n--- log of the server on port {}\n{log}", fault.unwrap_or_default(), self.port);
        } else if let Some(fault) = fault {
            panic!("{fault}\n--- log of the server on port {}\n{log}", self.port);
        }
    }
}

/// The counter of refused events in `INFO phean`.
const APPLY_ERRORS: &str = "phean_apply_errors";

fn apply_error_count(info: String) -> Option<String> {
    let count = info_fields(&info).remove(APPLY_ERRORS)?;
    (count != "0").then(|| format!("{APPLY_ERRORS} is {count}, must be 0"))
}

fn info_fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The id that the server knows this connection by.
#[track_caller]
pub fn client_id(con: &mut Connection) -> i64 {
    redis::cmd("CLIENT").arg("ID").query(con).expect("CLIENT ID answers")
}

/// Whether the server shows this client as blocked.
#[track_caller]
pub fn is_blocked(con: &mut Connection, client_id: i64) -> bool {
    let list: String =
        redis::cmd("CLIENT").arg("LIST").arg("ID").arg(client_id).query(con).expect("CLIENT LIST answers");
    list.split_whitespace().filter_map(|field| field.strip_prefix("flags=")).any(|flags| flags.contains('b'))
}

/// Whether the module is loaded into the tests' servers; without it a test that needs it has nothing to say.
pub fn has_module() -> bool {
    module_path().is_some()
}

/// The module under test, built first if there is none yet.
pub fn module_path() -> Option<&'static Path> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("PHEAN_TEST_MODULE") {
        Some(path) if path == "none" => None,
        Some(path) => Some(fs::canonicalize(&path).expect("PHEAN_TEST_MODULE names a file")),
        None => Some(newest_module().unwrap_or_else(build_module)),
    })
    .as_deref()
}

/// Both target folders that may hold it: the one that this test was built into, and the package's own.
fn newest_module() -> Option<PathBuf> {
    let test_binary = env::current_exe().ok()?;
    let built_into = test_binary.ancestors().nth(3)?.to_owned();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    [built_into, own]
        .iter()
        .flat_map(|target| ["release", "debug"].map(|profile| target.join(profile).join("libphean.so")))
        .filter_map(|path| Some((fs::metadata(&path).and_then(|meta| meta.modified()).ok()?, path)))
        .max()
        .map(|(_, path)| path)
}

fn build_module() -> PathBuf {
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--lib", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "cargo build --release failed");
    newest_module().expect("cargo build --release made the module")
}

/// The server's program, with the words that are to be put before it.
pub fn server_command() -> Command {
    let server = env::var_os("PHEAN_TEST_SERVER").unwrap_or_else(|| "redis-server".into());
    let loader = env::var("PHEAN_TEST_SERVER_LOADER").unwrap_or_default();
    let mut words = loader.split_whitespace();
    match words.next() {
        None => Command::new(server),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(server);
            command
        }
    }
}

/// The extra lines stand last, so that they win.
fn config_text(dir: &Path, port: u16, module: Option<&Path>, config: &[&str]) -> String {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {port}"),
        format!("dir \"{}\"", dir.display()),
        "save \"\"".to_owned(),
        "appendonly no".to_owned(),
        "enable-debug-command local".to_owned(),
        "enable-module-command local".to_owned(),
        // Replicas sync at once, and a shutdown does not wait for them.
        "repl-diskless-sync-delay 0".to_owned(),
        "shutdown-timeout 0".to_owned(),
    ];
    lines.extend(module.map(|path| format!("loadmodule \"{}\"", path.display())));
    lines.extend(config.iter().map(|&line| line.to_owned()));
    lines.join("\n") + "\n"
}

/// A port that nobody listens on, with the one that a cluster's bus would take 10,000 above it. The range
/// lies below the ports that Linux gives to outgoing connections, so that a restart finds it free again.
///
/// It is looked for by connecting. A socket that listened for a moment would listen for longer in a process that
/// another thread is just starting: a child has all its parent's sockets until its program begins.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let seed = process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + seed.wrapping_add(step) % COUNT) as u16;
        let is_free = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_err();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// Whether a server did not start because somebody else listens on its port.
pub fn is_port_taken(log: &str) -> bool {
    log.contains("Address already in use") || log.contains("Failed listening on port")
}

fn clone_of(file: &File) -> File {
    file.try_clone().expect("a file handle can be cloned")
}

fn open(
    url: &str,
    patience: Duration,
    tune: impl FnOnce(RedisConnectionInfo) -> RedisConnectionInfo,
) -> redis::RedisResult<Connection> {
    let info: ConnectionInfo = url.into_connection_info()?;
    // CLIENT SETINFO is newer than Redis 7.0, where it would count as an error in INFO errorstats.
    let settings = tune(info.redis_settings().clone().set_skip_set_lib_name());
    let con = Client::open(info.set_redis_settings(settings))?.get_connection_with_timeout(patience)?;
    con.set_read_timeout(Some(patience))?;
    con.set_write_timeout(Some(patience))?;
    Ok(con)
}
