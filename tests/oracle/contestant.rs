//! The two servers that are compared: a real beanstalkd, and redis-server with the module.

use crate::harness::{Server, free_port, is_port_taken};
use crate::waiting::patience;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// The largest body that both are told to take. Small, so that larger ones cost little.
pub const MAX_JOB_SIZE: u64 = 3000;

/// A running server; dropping it ends it.
pub enum Contestant {
    Beanstalkd { port: u16, process: Process },
    Module { port: u16, server: Box<Server> },
}

/// A process with a folder of its own; dropping it ends the process by its id, and removes the folder.
pub struct Process {
    child: Child,
    dir: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Contestant {
    /// Starts a beanstalkd; `PHEAN_TEST_BEANSTALKD` names another program.
    pub fn beanstalkd() -> Contestant {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = env::var_os("PHEAN_TEST_BEANSTALKD").unwrap_or_else(|| "beanstalkd".into());
        for _ in 0..20 {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = env::temp_dir().join(format!("phean-oracle-{}-{number}", process::id()));
            fs::create_dir_all(&dir).expect("a temporary folder can be made");
            let port = free_port();
            let child = Command::new(&program)
                .args(["-l", "127.0.0.1", "-p", &port.to_string(), "-z", &MAX_JOB_SIZE.to_string()])
                .current_dir(&dir)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("beanstalkd can be started (is it installed, or PHEAN_TEST_BEANSTALKD right?)");
            let mut process = Process { child, dir };
            if process.is_listening(port) {
                return Contestant::Beanstalkd { port, process };
            }
        }
        panic!("beanstalkd does not start");
    }

    /// Starts a redis-server with the module and its port.
    pub fn module() -> Contestant {
        for _ in 0..20 {
            let port = free_port();
            let lines = [format!("phean.port {port}"), format!("phean.max-job-size {MAX_JOB_SIZE}")];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            match Server::try_start(&lines) {
                Ok(server) => return Contestant::Module { port, server: Box::new(server) },
                // Somebody else took the port in between.
                Err(log) if is_port_taken(&log) => {}
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
        panic!("no free port");
    }

    pub fn port(&self) -> u16 {
        match self {
            Contestant::Beanstalkd { port, .. } | Contestant::Module { port, .. } => *port,
        }
    }

    /// Whether it may miss the deadline of an idle connection's reservation.
    pub fn misses_deadlines(&self) -> bool {
        matches!(self, Contestant::Beanstalkd { .. })
    }

    /// From now on it takes no more jobs.
    pub fn drain(&mut self) {
        match self {
            Contestant::Beanstalkd { process, .. } => {
                let pid = process.child.id().to_string();
                let status = Command::new("kill").args(["-USR1", &pid]).status();
                assert!(status.expect("kill can be started").success(), "beanstalkd takes a signal");
            }
            Contestant::Module { server, .. } => {
                let mut con = server.connect();
                let set = redis::cmd("CONFIG").arg("SET").arg("phean.drain").arg("yes").query::<()>(&mut con);
                set.expect("phean.drain can be set");
            }
        }
    }
}

impl Process {
    /// Waits until it answers on its port; false if it ends instead.
    fn is_listening(&mut self, port: u16) -> bool {
        let bound = Instant::now() + patience();
        // An answer alone says little: it may be somebody else who listens there.
        while pid_at(port).ok() != Some(self.child.id()) {
            if self.child.try_wait().expect("the process can be asked").is_some() || Instant::now() > bound {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// The process id of the beanstalkd that listens there.
fn pid_at(port: u16) -> io::Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience()))?;
    stream.write_all(b"stats\r\nquit\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let pid = text.lines().find_map(|line| line.strip_prefix("pid: ")?.parse().ok());
    pid.ok_or_else(|| io::Error::other(format!("no pid in {text}")))
}
