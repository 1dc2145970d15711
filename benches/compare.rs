//! `make bench`: phean against what Redis itself can do, side by side on one server, as ratios.
//!
//! Every row takes its two sides in turn, several rounds of them, and shows the median of the rounds' ratios:
//! the machine's mood changes both sides alike. Absolute rates are shown for orientation only.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BODY: usize = 100;
const DEPTH: usize = 64;

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let server = Server::start();
    let (rounds, jobs) = if quick { (3, 40_000) } else { (9, 200_000) };
    println!("{}", server.describe());
    println!("{BODY}-byte bodies, persistence off, medians of {rounds} rounds\n");
    println!("{:<44} {:>12} {:>12} {:>7} {:>7}", "", "phean", "peer", "ratio", "goal");
    put(&server, rounds, jobs);
    reserve_delete(&server, rounds, jobs / 2);
    waiters(&server, rounds, if quick { 2_000 } else { 5_000 });
}

/// PUT against RPUSH.
fn put(server: &Server, rounds: usize, jobs: usize) {
    let ratios = in_turn(rounds, || {
        let put = fill(server, "PHEAN.PUT", "tube", jobs);
        let push = fill(server, "RPUSH", "list", jobs);
        server.connect().ask(&["FLUSHALL"]);
        (rate(jobs, put), rate(jobs, push))
    });
    row("PUT / RPUSH, pipeline 64, per second", &ratios, "≥ 0.70");
}

/// RESERVE + DELETE against LMOVE + LREM, the reliable-list pattern.
fn reserve_delete(server: &Server, rounds: usize, jobs: usize) {
    let ratios = in_turn(rounds, || {
        fill(server, "PHEAN.PUT", "tube", jobs);
        let phean = drain(server, jobs, &["PHEAN.RESERVE", "tube"], |reply| {
            vec![b"PHEAN.DELETE".to_vec(), b"tube".to_vec(), nth_bulk(reply, 1)]
        });
        fill(server, "RPUSH", "list", jobs);
        let list = drain(server, jobs, &["LMOVE", "list", "taken", "LEFT", "RIGHT"], |reply| {
            vec![b"LREM".to_vec(), b"taken".to_vec(), b"1".to_vec(), nth_bulk(reply, 0)]
        });
        server.connect().ask(&["FLUSHALL"]);
        (rate(jobs, phean), rate(jobs, list))
    });
    row("RESERVE+DELETE / LMOVE+LREM, pipeline 64, per second", &ratios, "≥ 0.70");
}

/// A put with its hand-over while 1,000 workers wait, against the same with one.
fn waiters(server: &Server, rounds: usize, jobs: usize) {
    let mut many = Workers::start(server, "many", 1_000);
    let mut one = Workers::start(server, "one", 1);
    let ratios = in_turn(rounds, || {
        let many = many.cycle(jobs);
        let one = one.cycle(jobs);
        (many.as_secs_f64() / jobs as f64 * 1e6, one.as_secs_f64() / jobs as f64 * 1e6)
    });
    row("put + hand-over, 1,000 waiting / 1 waiting, µs", &ratios, "≤ 1.30");
}

/// Runs both sides in turn, one round more than is counted.
fn in_turn(rounds: usize, mut round: impl FnMut() -> (f64, f64)) -> Vec<(f64, f64)> {
    round();
    (0..rounds).map(|_| round()).collect()
}

fn row(name: &str, rounds: &[(f64, f64)], goal: &str) {
    let phean = median(rounds.iter().map(|(phean, _)| *phean));
    let peer = median(rounds.iter().map(|(_, peer)| *peer));
    let ratio = median(rounds.iter().map(|(phean, peer)| phean / peer));
    println!("{name:<52} {phean:>12.1} {peer:>12.1} {ratio:>7.2} {goal:>7}");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate(jobs: usize, time: Duration) -> f64 {
    jobs as f64 / time.as_secs_f64()
}

/// Sends the same kind of command for many jobs, each with a body of its own, 64 at a time.
fn fill(server: &Server, command: &str, key: &str, jobs: usize) -> Duration {
    let mut connection = server.connect();
    let batches: Vec<(Vec<u8>, usize)> = (0..jobs)
        .step_by(DEPTH)
        .map(|first| {
            let last = (first + DEPTH).min(jobs);
            let mut batch = Vec::new();
            for n in first..last {
                let body = format!("{n:0BODY$}");
                encode(&[command.as_bytes(), key.as_bytes(), body.as_bytes()], &mut batch);
            }
            (batch, last - first)
        })
        .collect();
    let start = Instant::now();
    for (batch, count) in &batches {
        connection.send(batch);
        (0..*count).for_each(|_| drop(connection.reply()));
    }
    start.elapsed()
}

/// Takes many jobs, 64 at a time, and finishes each batch before the next.
fn drain(server: &Server, jobs: usize, take: &[&str], finish: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Duration {
    let mut connection = server.connect();
    let mut takes = Vec::new();
    let words: Vec<&[u8]> = take.iter().map(|word| word.as_bytes()).collect();
    (0..DEPTH).for_each(|_| encode(&words, &mut takes));
    let start = Instant::now();
    let mut finishes = Vec::new();
    for _ in 0..jobs / DEPTH {
        connection.send(&takes);
        finishes.clear();
        for _ in 0..DEPTH {
            let words = finish(&connection.reply());
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            encode(&words, &mut finishes);
        }
        connection.send(&finishes);
        (0..DEPTH).for_each(|_| assert_eq!(connection.reply(), b":1\r\n"));
    }
    start.elapsed()
}

/// Workers that wait on one tube, in the order in which they came.
struct Workers {
    producer: Connection,
    workers: Vec<Connection>,
    put: Vec<u8>,
    reserve: Vec<u8>,
    next: usize,
}

impl Workers {
    fn start(server: &Server, tube: &str, count: usize) -> Workers {
        let (mut put, mut reserve) = (Vec::new(), Vec::new());
        encode(&[b"PHEAN.PUT", tube.as_bytes(), &[b'x'; BODY]], &mut put);
        encode(&[b"PHEAN.RESERVE", tube.as_bytes(), b"TIMEOUT", b"1000"], &mut reserve);
        let mut producer = server.connect();
        let mut workers: Vec<Connection> = (0..count).map(|_| server.connect()).collect();
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.send(&reserve);
            let waiting = |stats: &[u8]| {
                let stats = String::from_utf8_lossy(stats).into_owned();
                stats.contains(&format!("current-waiting\r\n:{}\r\n", index + 1))
            };
            while !waiting(&producer.ask(&["PHEAN.STATS", tube])) {}
        }
        Workers { producer, workers, put, reserve, next: 0 }
    }

    /// Puts jobs one by one, each when the one before has reached its worker and the worker waits again.
    fn cycle(&mut self, jobs: usize) -> Duration {
        let start = Instant::now();
        for _ in 0..jobs {
            self.producer.send(&self.put);
            self.producer.reply();
            let worker = &mut self.workers[self.next];
            assert!(worker.reply().starts_with(b"*5"));
            worker.send(&self.reserve);
            self.next = (self.next + 1) % self.workers.len();
        }
        start.elapsed()
    }
}

/// Writes a command as clients do.
fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    let mut head = String::new();
    let _ = write!(head, "*{}\r\n", words.len());
    out.extend_from_slice(head.as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The n-th bulk string of a reply.
fn nth_bulk(reply: &[u8], n: usize) -> Vec<u8> {
    let mut rest = reply;
    let mut seen = 0;
    loop {
        let end = line_end(rest, 0).expect("a reply has lines");
        let line = &rest[..end];
        rest = &rest[end + 2..];
        if line[0] == b'$' {
            let len: usize =
                std::str::from_utf8(&line[1..]).unwrap().parse().expect("a bulk string's length");
            if seen == n {
                return rest[..len].to_vec();
            }
            seen += 1;
            rest = &rest[len + 2..];
        }
    }
}

fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(2).position(|pair| pair == b"\r\n").map(|at| from + at)
}

/// A connection that reads whole replies, and looks into none of them.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    fn ask(&mut self, words: &[&str]) -> Vec<u8> {
        let mut command = Vec::new();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        encode(&words, &mut command);
        self.send(&command);
        self.reply()
    }

    fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = reply_end(&self.buffer, self.at) {
                let reply = self.buffer[self.at..end].to_vec();
                self.at = end;
                if self.at == self.buffer.len() {
                    self.buffer.clear();
                    self.at = 0;
                }
                return reply;
            }
            let mut chunk = [0; 64 * 1024];
            let read = self.stream.read(&mut chunk).expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }
}

/// Where the reply that begins at `from` ends, if all of it is there.
fn reply_end(bytes: &[u8], from: usize) -> Option<usize> {
    let end = line_end(bytes, from)?;
    let number = || std::str::from_utf8(&bytes[from + 1..end]).ok()?.parse::<i64>().ok();
    match bytes[from] {
        b'$' => match number()? {
            -1 => Some(end + 2),
            len => Some(end + 2 + len as usize + 2).filter(|end| *end <= bytes.len()),
        },
        b'*' => (0..number()?.max(0))
            .try_fold(end + 2, |at, _| if at < bytes.len() { reply_end(bytes, at) } else { None }),
        _ => Some(end + 2),
    }
}

/// A redis-server with the module, for the time of the benchmark.
struct Server {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Server {
    fn start() -> Server {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let dir = std::env::temp_dir().join(format!("phean-bench-{port}"));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let module = std::env::var("PHEAN_BENCH_MODULE").unwrap_or_else(|_| {
            concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/libphean.so").to_string()
        });
        assert!(PathBuf::from(&module).exists(), "{module} is missing: run `cargo build --release` first");
        let program = std::env::var("PHEAN_TEST_SERVER").unwrap_or_else(|_| "redis-server".to_string());
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--dir"])
            .arg(&dir)
            .args(["--save", "", "--appendonly", "no", "--maxclients", "4000", "--loadmodule", &module])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Server { child, port, dir };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn describe(&self) -> String {
        let info = self.connect().ask(&["INFO", "server"]);
        let info = String::from_utf8_lossy(&info).into_owned();
        let line =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").to_string();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!("redis-server {}, {}, {cores} cores", line("redis_version:"), line("os:"))
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP connection");
        Connection { stream, buffer: Vec::new(), at: 0 }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
