//! The four queues that are compared, and the commands by which each puts, takes and finishes a job.

use std::io::Write;

use crate::client::{Connection, encode, nth_bulk};
use crate::process::Server;

/// A way to keep a queue.
#[derive(Clone, Copy, PartialEq)]
pub enum Queue {
    /// PHEAN.PUT, PHEAN.RESERVE, PHEAN.DELETE
    Phean,
    /// RPUSH, LMOVE, LREM: the reliable list, with a list of what is being worked on for each worker
    List,
    /// XADD, XREADGROUP, XACK and XDEL
    Stream,
    /// beanstalkd's put, reserve, delete
    Beanstalkd,
}

/// Where all rows keep their jobs, unless they say otherwise.
pub const KEY: &str = "queue";

impl Queue {
    /// What must be done before the first job.
    pub fn prepare(self, server: &Server) {
        if self == Queue::Stream {
            server.connect().ask(&["XGROUP", "CREATE", KEY, "workers", "0", "MKSTREAM"]);
        }
    }

    /// The command that puts a job.
    pub fn put(self, key: &str, body: &[u8], out: &mut Vec<u8>) {
        let key = key.as_bytes();
        match self {
            Queue::Phean => encode(&[b"PHEAN.PUT", key, body], out),
            Queue::List => encode(&[b"RPUSH", key, body], out),
            Queue::Stream => encode(&[b"XADD", key, b"*", b"b", body], out),
            Queue::Beanstalkd => {
                let _ = write!(out, "put 1024 0 60 {}\r\n", body.len());
                out.extend_from_slice(body);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The command by which a worker takes a job.
    pub fn take(self, worker: usize, out: &mut Vec<u8>) {
        match self {
            Queue::Phean => encode(&[b"PHEAN.RESERVE", KEY.as_bytes()], out),
            Queue::List => {
                encode(&[b"LMOVE", KEY.as_bytes(), taken(worker).as_bytes(), b"LEFT", b"RIGHT"], out);
            }
            Queue::Stream => {
                let words: [&[u8]; 9] = [
                    b"XREADGROUP",
                    b"GROUP",
                    b"workers",
                    b"w",
                    b"COUNT",
                    b"1",
                    b"STREAMS",
                    KEY.as_bytes(),
                    b">",
                ];
                encode(&words, out);
            }
            Queue::Beanstalkd => out.extend_from_slice(b"reserve\r\n"),
        }
    }

    /// The commands by which the worker finishes what a reply handed it, and how many they are.
    pub fn finish(self, worker: usize, reply: &[u8], out: &mut Vec<u8>) -> usize {
        match self {
            Queue::Phean => encode(&[b"PHEAN.DELETE", KEY.as_bytes(), nth_bulk(reply, 1)], out),
            Queue::List => encode(&[b"LREM", taken(worker).as_bytes(), b"1", nth_bulk(reply, 0)], out),
            Queue::Stream => {
                let id = nth_bulk(reply, 1);
                encode(&[b"XACK", KEY.as_bytes(), b"workers", id], out);
                encode(&[b"XDEL", KEY.as_bytes(), id], out);
                return 2;
            }
            Queue::Beanstalkd => {
                let id = reply.split(|byte| *byte == b' ').nth(1).expect("RESERVED has an id");
                out.extend_from_slice(b"delete ");
                out.extend_from_slice(id);
                out.extend_from_slice(b"\r\n");
            }
        }
        1
    }

    /// The command by which a worker waits for a job; in lists and beanstalkd, as they do it.
    pub fn wait(self, key: &str, out: &mut Vec<u8>) {
        match self {
            Queue::Phean => encode(&[b"PHEAN.RESERVE", key.as_bytes(), b"TIMEOUT", b"1000"], out),
            Queue::List => encode(&[b"BLPOP", key.as_bytes(), b"1000"], out),
            Queue::Stream => unreachable!("no row waits on a stream"),
            Queue::Beanstalkd => out.extend_from_slice(b"reserve\r\n"),
        }
    }

    /// How many clients wait.
    pub fn waiting(self, connection: &mut Connection, key: &str) -> usize {
        let text = match self {
            Queue::Phean => connection.ask_text(&["PHEAN.STATS", key]),
            _ => connection.ask_text(&["INFO", "clients"]),
        };
        let (_, rest) = text
            .split_once("current-waiting\r\n:")
            .or_else(|| text.split_once("blocked_clients:"))
            .expect("the server counts those who wait");
        rest.split("\r\n").next().and_then(|count| count.parse().ok()).expect("a number")
    }
}

fn taken(worker: usize) -> String {
    format!("taken:{worker}")
}

/// A body of this size: text such as jobs have, a part of which is the same in all.
pub fn body(n: usize, size: usize) -> Vec<u8> {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (user, token) = (mixed >> 44, mixed ^ mixed.rotate_left(23));
    let head = format!(
        "{{\"job\":\"mail\",\"to\":\"user{user:07}@example.com\",\"n\":{n:08},\"lang\":\"en\",\"token\":\"{token:016x}"
    );
    let mut body: Vec<u8> = head.into_bytes();
    let mut seed = mixed;
    while body.len() < size {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.push(b"0123456789abcdef"[(seed >> 60) as usize]);
    }
    body.truncate(size);
    body
}
