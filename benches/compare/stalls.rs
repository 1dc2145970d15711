//! Stalls: how long another client waits at the worst for its PING while something large happens to a queue of
//! millions of jobs, or while ten thousand workers vanish at once.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Plan;
use crate::client::{Connection, Wire, encode};
use crate::growth::thousands;
use crate::load::{BODY, Batches, redis};
use crate::process::Server;
use crate::queue::{KEY, Queue, body};
use crate::table::{Goal, Table, median};

/// Jobs that are put by one command.
const AT_ONCE: usize = 50;
/// How long to go on looking after what was asked for is done: work may be left for later.
const AFTERWARDS: Duration = Duration::from_millis(300);
/// A stall that nobody should notice, in milliseconds.
const FEW_MS: f64 = 5.0;

/// The longest wait: of the server's processor, and by the client's clock, in milliseconds.
#[derive(Clone, Copy)]
pub struct Stall {
    pub cpu_ms: f64,
    pub clock_ms: f64,
}

/// Of a large queue.
pub fn large_queues(table: &mut Table, plan: &Plan) {
    let count = thousands(plan.saved);
    table.section(&format!(
        "The longest wait of another client (ms) while {count} jobs of {BODY} bytes are …"
    ));
    let phean = large(plan, Queue::Phean);
    let list = large(plan, Queue::List);
    for ((what, phean, goal), (_, list, _)) in phean.into_iter().zip(list) {
        table.stall(&what, phean, list, goal);
    }
    for (what, stall) in parts(plan) {
        table.stall(&what, Some(stall), None, Goal::None);
    }
}

/// What happens, how long others wait, and how long they should.
type Row = (String, Option<Stall>, Goal);

/// What can happen to one large key.
fn large(plan: &Plan, queue: Queue) -> Vec<Row> {
    let mut server = Server::redis(&[]);
    fill(&server, plan, queue, &[]);
    let mut rows = Vec::new();
    let rounds = plan.rounds.min(3);
    let mut row = |what: &str, stall: Stall, goal: Goal| rows.push((what.to_string(), Some(stall), goal));
    let several = |mut one: Box<dyn FnMut() -> Stall + '_>| middle((0..rounds).map(|_| one()).collect());
    let copy = || {
        assert_eq!(redis(&server).ask(&["COPY", KEY, "copy"]), b":1\r\n");
    };
    let asked = |words: &[&str]| {
        worst_while(&server, || {
            let reply = redis(&server).ask_text(words);
            assert!(!reply.starts_with('-'), "{words:?}: {reply}");
        })
    };
    let nothing = several(Box::new(|| worst_while(&server, || std::thread::sleep(Duration::from_secs(1)))));
    row("left alone", nothing, Goal::None);
    let saved = several(Box::new(|| worst_while(&server, || save(&server))));
    row("saved by BGSAVE (the fork)", saved, Goal::None);
    let renamed = several(Box::new(|| {
        let there = asked(&["RENAME", KEY, "elsewhere"]);
        redis(&server).ask(&["RENAME", "elsewhere", KEY]);
        there
    }));
    row("renamed", renamed, Goal::AtMost(FEW_MS));
    let copied = several(Box::new(|| {
        let copied = worst_while(&server, copy);
        redis(&server).ask(&["UNLINK", "copy"]);
        copied
    }));
    row("copied by COPY, which must be done at once", copied, Goal::None);
    let clear: &[&str] = match queue {
        Queue::Phean => &["PHEAN.CLEAR", "copy"],
        _ => &["LTRIM", "copy", "1", "0"],
    };
    let goal = Goal::AtMost(FEW_MS);
    let ends: [(&str, &[&str], Goal); 3] = [
        ("cleared by PHEAN.CLEAR, LTRIM", clear, goal),
        ("deleted by UNLINK", &["UNLINK", "copy"], goal),
        ("deleted by DEL, which frees at once", &["DEL", "copy"], Goal::None),
    ];
    for (what, words, goal) in ends {
        let ended = several(Box::new(|| {
            copy();
            let ended = asked(words);
            redis(&server).ask(&["DEL", "copy"]);
            ended
        }));
        row(what, ended, goal);
    }
    let flushed = asked(&["FLUSHALL", "ASYNC"]);
    row("flushed by FLUSHALL ASYNC", flushed, goal);
    let loaded = worst_while_loading(&mut server);
    assert_eq!(redis(&server).ask(&["EXISTS", KEY]), b":1\r\n", "it was not loaded: {}", server.log());
    row("loaded at the start (PING is answered -LOADING)", loaded, Goal::None);
    let flushed = worst_while(&server, || server.flush());
    row("flushed by FLUSHALL SYNC, which frees at once", flushed, Goal::None);
    rows
}

/// What can happen to a tube only: some of its jobs go.
fn parts(plan: &Plan) -> Vec<(String, Stall)> {
    let server = Server::redis(&[]);
    let half = Plan { saved: plan.saved / 2, ..*plan };
    fill(&server, &half, Queue::Phean, &["DELAY", "100000"]);
    fill(&server, &half, Queue::Phean, &[]);
    let stall = worst_while(&server, || {
        redis(&server).ask(&["PHEAN.CLEAR", KEY, "DELAYED"]);
    });
    let mut rows = vec![("half of them cleared, the delayed ones, which lie together".to_string(), stall)];
    redis(&server).ask(&["DEL", KEY]);
    let mixed = Batches::new(256, |n, out| {
        let delay = if n % 2 == 0 { "100000" } else { "0" };
        mput(n, &["DELAY", delay], 1, out);
    });
    mixed.run(&server, plan.saved);
    let stall = worst_while(&server, || {
        redis(&server).ask(&["PHEAN.CLEAR", KEY, "DELAYED"]);
    });
    rows.push(("half of them cleared, every other one".to_string(), stall));
    rows
}

fn fill(server: &Server, plan: &Plan, queue: Queue, options: &[&str]) {
    let puts = Batches::new(256, |n, out| match queue {
        Queue::Phean => mput(n, options, AT_ONCE, out),
        _ => {
            let bodies: Vec<Vec<u8>> = (0..AT_ONCE).map(|i| body(n * AT_ONCE + i, BODY)).collect();
            let mut words: Vec<&[u8]> = vec![b"RPUSH", KEY.as_bytes()];
            words.extend(bodies.iter().map(Vec::as_slice));
            encode(&words, out);
        }
    });
    puts.run(server, plan.saved / AT_ONCE);
}

fn mput(n: usize, options: &[&str], jobs: usize, out: &mut Vec<u8>) {
    let bodies: Vec<Vec<u8>> = (0..jobs).map(|i| body(n * jobs + i, BODY)).collect();
    let count = jobs.to_string();
    let mut words: Vec<&[u8]> = vec![b"PHEAN.MPUT", KEY.as_bytes(), count.as_bytes()];
    words.extend(bodies.iter().map(Vec::as_slice));
    words.extend(options.iter().map(|word| word.as_bytes()));
    encode(&words, out);
}

fn save(server: &Server) {
    redis(server).ask(&["BGSAVE"]);
    while server.info("persistence", "rdb_bgsave_in_progress") > 0.0 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The middle one, by the processor's time and by the clock each.
fn middle(stalls: Vec<Stall>) -> Stall {
    let cpu_ms = median(stalls.iter().map(|stall| stall.cpu_ms));
    Stall { cpu_ms, clock_ms: median(stalls.iter().map(|stall| stall.clock_ms)) }
}

/// Sends PING after PING while `work` is done, and a moment longer.
fn worst_while(server: &Server, work: impl FnOnce()) -> Stall {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (started, is_started) = std::sync::mpsc::channel();
        let pings = scope.spawn({
            let done = &done;
            move || {
                let mut connection = redis(server);
                connection.ask(&["PING"]);
                started.send(()).expect("somebody waits for this");
                pings(&mut connection, done, || server.main_thread())
            }
        });
        is_started.recv().expect("the other thread lives");
        let stop = Stop(&done);
        work();
        std::thread::sleep(AFTERWARDS);
        drop(stop);
        pings.join().expect("the server answers")
    })
}

/// The same while the server starts and loads its file. Its processor's time cannot be told from the rest.
fn worst_while_loading(server: &mut Server) -> Stall {
    let done = AtomicBool::new(false);
    let port = server.port();
    server.stop();
    std::thread::scope(|scope| {
        let pings = scope.spawn({
            let done = &done;
            move || {
                while TcpStream::connect(("127.0.0.1", port)).is_err() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                pings(&mut Connection::open(port, Wire::Resp), done, || Duration::ZERO)
            }
        });
        let stop = Stop(&done);
        server.start();
        drop(stop);
        let stall = pings.join().expect("the server answers");
        Stall { cpu_ms: f64::NAN, ..stall }
    })
}

fn pings(connection: &mut Connection, done: &AtomicBool, cpu: impl Fn() -> Duration) -> Stall {
    let (mut worst_cpu, mut worst) = (Duration::ZERO, Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        let (before, sent) = (cpu(), Instant::now());
        connection.ask(&["PING"]);
        worst = worst.max(sent.elapsed());
        worst_cpu = worst_cpu.max(cpu().saturating_sub(before));
        std::thread::sleep(Duration::from_micros(300));
    }
    Stall { cpu_ms: worst_cpu.as_secs_f64() * 1e3, clock_ms: worst.as_secs_f64() * 1e3 }
}

/// Lets a thread end, also on a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who vanishes.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    /// Clients of Redis that hold nothing
    Idle,
    /// Clients of Redis, each with a bound reservation
    Bound,
    /// Clients of the beanstalk port, each with a reservation
    Port,
    /// One client of Redis that holds as many
    One,
}

/// Connections that hold jobs close, all in the same turn of the server's event loop.
pub fn vanish(table: &mut Table, plan: &Plan) {
    let workers = thousands(plan.vanishing);
    table.section(&format!(
        "The longest wait of another client (ms) while {workers} connections close at once"
    ));
    let port = crate::process::free_port().to_string();
    let maxclients = (plan.vanishing + 200).to_string();
    let door = ["--phean.port", &port, "--phean.maxclients", &maxclients];
    let settings = [&["--maxclients", &maxclients, "--enable-debug-command", "local"][..], &door].concat();
    let server = Server::redis(&settings);
    let port: u16 = port.parse().expect("a port is a number");
    let idle = middle((0..plan.rounds.min(3)).map(|_| vanish_once(&server, plan, Who::Idle, port)).collect());
    for (what, who) in [
        ("each with a bound reservation (other: none)", Who::Bound),
        ("of the beanstalk port, each with a reservation", Who::Port),
        ("one connection with as many reservations", Who::One),
    ] {
        let stall = middle((0..plan.rounds.min(3)).map(|_| vanish_once(&server, plan, who, port)).collect());
        let goal = match who {
            // Redis itself takes its time to close them.
            Who::Bound => Goal::AtMost((idle.cpu_ms * 1.25).ceil()),
            _ => Goal::AtMost(FEW_MS),
        };
        table.stall(what, Some(stall), (who == Who::Bound).then_some(idle), goal);
    }
}

fn vanish_once(server: &Server, plan: &Plan, who: Who, port: u16) -> Stall {
    let jobs = plan.vanishing;
    let puts = Batches::puts(Queue::Phean, BODY);
    let jobs = if who == Who::Idle { 0 } else { puts.run(server, jobs).jobs.min(jobs) };
    let ready = |server: &Server| count(server, "current-jobs-ready");
    let all = ready(server);
    let mut reserve = Vec::new();
    encode(&[b"PHEAN.RESERVE", KEY.as_bytes(), b"TTR", b"3600", b"BOUND"], &mut reserve);
    let connections = if who == Who::One { 1 } else { plan.vanishing };
    let mut workers: Vec<Connection> = Vec::new();
    for _ in 0..connections {
        let mut worker = match who {
            Who::Port => Connection::open(port, Wire::Beanstalk),
            _ => server.connect(),
        };
        match who {
            Who::Idle => worker.send(b"PING\r\n"),
            Who::Bound => worker.send(&reserve),
            Who::Port => worker.send(format!("watch {KEY}\r\nreserve\r\n").as_bytes()),
            Who::One => (0..jobs).for_each(|_| worker.send(&reserve)),
        }
        let replies = match who {
            Who::Port => 2,
            Who::One => jobs,
            _ => 1,
        };
        for _ in 0..replies {
            let reply = worker.reply();
            assert!(!reply.starts_with(b"-"), "{}", String::from_utf8_lossy(reply));
        }
        workers.push(worker);
    }
    assert_eq!(ready(server), all - jobs, "each worker holds its jobs");
    // The server sleeps while they close, and finds all of them at once when it wakes.
    let (mut sleeper, mut pinger) = (server.connect(), server.connect());
    let done = AtomicBool::new(false);
    let mut sleep = Vec::new();
    encode(&[b"DEBUG", b"SLEEP", b"1"], &mut sleep);
    sleeper.send(&sleep);
    std::thread::sleep(Duration::from_millis(50));
    drop(workers);
    pinger.send(b"PING\r\n");
    assert_eq!(sleeper.reply(), b"+OK\r\n");
    let (before, woken) = (server.main_thread(), Instant::now());
    pinger.reply();
    let first = Stall {
        cpu_ms: server.main_thread().saturating_sub(before).as_secs_f64() * 1e3,
        clock_ms: woken.elapsed().as_secs_f64() * 1e3,
    };
    let later = std::thread::scope(|scope| {
        let pings = scope.spawn(|| pings(&mut pinger, &done, || server.main_thread()));
        let stop = Stop(&done);
        let deadline = Instant::now() + Duration::from_secs(60);
        while ready(server) != all {
            assert!(Instant::now() < deadline, "{} of {all} jobs are ready again", ready(server));
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(AFTERWARDS);
        drop(stop);
        pings.join().expect("the server answers")
    });
    server.flush();
    Stall { cpu_ms: first.cpu_ms.max(later.cpu_ms), clock_ms: first.clock_ms.max(later.clock_ms) }
}

fn count(server: &Server, field: &str) -> usize {
    let text = redis(server).ask_text(&["PHEAN.STATS", KEY]);
    let (_, rest) = text.split_once(&format!("{field}\r\n:")).expect("the server counts its jobs");
    rest.split("\r\n").next().and_then(|count| count.parse().ok()).expect("a number")
}
