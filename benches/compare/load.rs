//! Load in pipelines: a few connections, each with a batch of 64 commands under way.

use std::time::{Duration, Instant};

use crate::client::{Connection, Wire};
use crate::process::Server;
use crate::queue::{KEY, Queue, body};

/// Commands that are sent at once.
pub const DEPTH: usize = 64;
/// The body of a job, in bytes, where a row does not say otherwise.
pub const BODY: usize = 100;
/// Connections with a batch under way. With more than one the server never waits for this program.
const CONNECTIONS: usize = 4;

/// What a number of jobs cost.
#[derive(Clone, Copy)]
pub struct Spent {
    pub jobs: usize,
    pub wall: Duration,
    pub cpu: Duration,
}

impl Spent {
    /// Measures what `work` costs the server.
    pub fn on(server: &Server, jobs: usize, work: impl FnOnce()) -> Spent {
        let (start, before) = (Instant::now(), server.cpu());
        work();
        let wall = start.elapsed();
        // Threads that end take their time with them.
        Spent { jobs, wall, cpu: server.cpu().saturating_sub(before) }
    }

    /// Jobs per second.
    pub fn rate(&self) -> f64 {
        self.jobs as f64 / self.wall.as_secs_f64()
    }

    /// The server's processor time for a job, in nanoseconds.
    pub fn cpu_ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.jobs as f64
    }
}

/// Commands, encoded beforehand in batches, that are sent over and over.
pub struct Batches(Vec<Vec<u8>>);

impl Batches {
    /// That many different commands.
    pub fn new(commands: usize, encode: impl Fn(usize, &mut Vec<u8>)) -> Batches {
        let batch = |first: usize| {
            let mut batch = Vec::new();
            (first..first + DEPTH).for_each(|n| encode(n, &mut batch));
            batch
        };
        Batches((0..commands.div_ceil(DEPTH)).map(|n| batch(n * DEPTH)).collect())
    }

    /// Puts with different bodies, enough of them that no repetition is near.
    pub fn puts(queue: Queue, size: usize) -> Batches {
        let commands = if size > 2_000 { 256 } else { 16_384 };
        Batches::new(commands, |n, out| queue.put(KEY, &body(n, size), out))
    }

    /// Puts with priorities all over their range.
    pub fn mixed_puts() -> Batches {
        Batches::new(131_072, |n, out| {
            let pri = (n as u32).wrapping_add(1).wrapping_mul(0x9e37_79b1).to_string();
            let body = body(n, BODY);
            crate::client::encode(&[b"PHEAN.PUT", KEY.as_bytes(), &body, b"PRI", pri.as_bytes()], out);
        })
    }

    /// Sends so many of the commands, and reads their replies.
    pub fn run(&self, server: &Server, jobs: usize) -> Spent {
        let mut connections = connections(server);
        let batches = jobs.div_ceil(DEPTH);
        Spent::on(server, batches * DEPTH, || {
            for n in 0..batches + CONNECTIONS {
                let connection = &mut connections[n % CONNECTIONS];
                if n >= CONNECTIONS && n - CONNECTIONS < batches {
                    connection.replies(DEPTH);
                }
                if n < batches {
                    connection.send(&self.0[n % self.0.len()]);
                }
            }
        })
    }
}

/// So many commands, each by itself.
pub fn commands(count: usize, encode: impl Fn(usize, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let one = |n| {
        let mut command = Vec::new();
        encode(n, &mut command);
        command
    };
    (0..count).map(one).collect()
}

fn connections(server: &Server) -> Vec<Connection> {
    (0..CONNECTIONS).map(|_| server.connect()).collect()
}

/// Takes and finishes that many jobs: a worker takes 64, then finishes them, and so on.
pub fn drain(server: &Server, queue: Queue, jobs: usize) -> Spent {
    let mut connections = connections(server);
    let takes: Vec<Vec<u8>> = (0..CONNECTIONS)
        .map(|worker| {
            let mut takes = Vec::new();
            (0..DEPTH).for_each(|_| queue.take(worker, &mut takes));
            takes
        })
        .collect();
    // beanstalkd answers an empty queue with silence, so no more is taken than there is.
    let rounds = jobs / DEPTH / CONNECTIONS;
    let mut finishes = Vec::new();
    Spent::on(server, rounds * DEPTH * CONNECTIONS, || {
        for _ in 0..rounds {
            connections.iter_mut().zip(&takes).for_each(|(connection, takes)| connection.send(takes));
            let mut expected = [0; CONNECTIONS];
            for (worker, connection) in connections.iter_mut().enumerate() {
                finishes.clear();
                for _ in 0..DEPTH {
                    expected[worker] += queue.finish(worker, connection.reply(), &mut finishes);
                }
                connection.send(&finishes);
            }
            for (connection, expected) in connections.iter_mut().zip(expected) {
                connection.replies(expected);
            }
        }
    })
}

/// Empties a queue, whatever it is.
pub fn clear(server: &Server, queue: Queue, jobs_left: usize) {
    match queue {
        Queue::Beanstalkd => drop(drain(server, queue, jobs_left)),
        _ => server.flush(),
    }
}

/// Sends each request, of which every connection has one under way, and shows the replies in their order.
pub fn in_turns<'r>(
    server: &Server,
    requests: impl ExactSizeIterator<Item = &'r [u8]>,
    mut show: impl FnMut(&[u8]),
) -> Spent {
    let mut connections = connections(server);
    let count = requests.len();
    Spent::on(server, count, || {
        for (n, request) in requests.enumerate() {
            let connection = &mut connections[n % CONNECTIONS];
            if n >= CONNECTIONS {
                show(connection.reply());
            }
            connection.send(request);
        }
        for n in count.max(CONNECTIONS)..count + CONNECTIONS {
            show(connections[n % CONNECTIONS].reply());
        }
    })
}

/// Runs many short requests, each after the reply to the one before.
pub fn one_by_one(server: &Server, commands: &[Vec<u8>]) -> Spent {
    let mut connection = server.connect();
    Spent::on(server, commands.len(), || {
        for command in commands {
            connection.send(command);
            connection.replies(1);
        }
    })
}

/// A connection by Redis' protocol to the module's server.
pub fn redis(server: &Server) -> Connection {
    Connection::open(server.port(), Wire::Resp)
}
