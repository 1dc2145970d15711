//! Values that nobody honest has written: `RESTORE` of damaged `DUMP` payloads, their checksums made right again.

use crate::dataset::restore;
use crate::harness::{Server, has_module};
use crate::mutate::mutated;
use crate::persistence::populate;
use crate::reply::{array, bytes, int, map, run, text};
use redis::{Connection, ConnectionLike, Value};
use std::env;

/// How many payloads are tried by default; `PHEAN_HOSTILE=n` tries so many.
const PAYLOADS: u64 = 20_000;

/// So many are sent at once.
const BATCH: u64 = 200;

/// The type and the module's name come first in a payload. They stay as they are, as do the two bytes of the
/// version, or it would not be our value that is read.
const HEAD: usize = 10;
const VERSION: usize = 2;

/// Redis' own checksum (CRC-64, Jones), so that a damaged payload gets past it.
pub fn crc64(bytes: &[u8]) -> u64 {
    static TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u64, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x95ac_9329_ac4b_c9b5 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// Sound payloads, compressed and not, without their checksums: what they begin with, what follows in each (and the
/// digest of the tube), and what they end with.
struct Payloads {
    head: Vec<u8>,
    values: Vec<Vec<u8>>,
    digests: Vec<Value>,
    version: Vec<u8>,
}

impl Payloads {
    #[track_caller]
    fn of_all_tubes(con: &mut Connection) -> Payloads {
        let mut payloads =
            Payloads { head: Vec::new(), values: Vec::new(), digests: Vec::new(), version: Vec::new() };
        for compressed in ["yes", "no"] {
            run(con, &format!("CONFIG SET rdbcompression {compressed}"));
            for tube in ["ready", "delayed", "reserved", "past", "paused", "cleared"] {
                let dump = bytes(&run(con, &format!("DUMP {tube}")));
                let (content, checksum) = dump.split_at(dump.len() - 8);
                assert_eq!(crc64(content).to_le_bytes(), checksum, "the checksum is made right");
                let (start, version) = content.split_at(content.len() - VERSION);
                payloads.head = start[..HEAD].to_vec();
                payloads.values.push(start[HEAD..].to_vec());
                payloads.digests.push(run(con, &format!("DEBUG DIGEST-VALUE {tube}")));
                payloads.version = version.to_vec();
            }
        }
        payloads
    }

    fn with(&self, value: &[u8]) -> Vec<u8> {
        let content = [&self.head[..], value, &self.version].concat();
        [&content[..], &crc64(&content).to_le_bytes()].concat()
    }
}

/// Sends commands at once, and returns their replies, errors among them.
#[track_caller]
fn send_all(con: &mut Connection, commands: &redis::Pipeline) -> Vec<Value> {
    let count = commands.len();
    con.req_packed_commands(&commands.get_packed_pipeline(), 0, count).expect("the server answers")
}

/// The replies of a transaction.
#[track_caller]
fn in_one(con: &mut Connection, commands: &redis::Pipeline) -> Vec<Value> {
    let mut all = redis::pipe();
    all.cmd("MULTI");
    for command in commands.cmd_iter() {
        all.add_command(command.clone());
    }
    all.cmd("EXEC");
    array(send_all(con, &all).last().expect("EXEC answers"))
}

fn jobs(stats: &Value) -> i64 {
    let stats = map(stats);
    ["ready", "delayed", "reserved", "buried"]
        .iter()
        .map(|state| int(&stats[&format!("current-jobs-{state}")]))
        .sum()
}

/// What must hold of a tube that was accepted: its counts are those of its jobs, it comes back from a payload of its
/// own as it was, and it can be worked on and cleared.
#[track_caller]
fn check(con: &mut Connection, tube: &str) {
    let mut looks = redis::pipe();
    looks.cmd("PHEAN.STATS").arg(tube);
    looks.cmd("PHEAN.SCAN").arg(tube).arg(0).arg("COUNT").arg(1_000_000);
    looks.cmd("DEBUG").arg("DIGEST-VALUE").arg(tube);
    looks.cmd("DUMP").arg(tube);
    let replies = in_one(con, &looks);
    let scanned = array(&array(&replies[1])[1]).len();
    assert_eq!(jobs(&replies[0]), scanned as i64, "the counts are those of the jobs");
    if replies[3] == Value::Nil {
        // An empty tube that nobody has used for long, as it says itself, goes before it is looked at.
        assert_eq!(scanned, 0);
        return;
    }

    let mut copies = redis::pipe();
    copies.cmd("RESTORE").arg("copy").arg(0).arg(bytes(&replies[3])).arg("REPLACE");
    copies.cmd("DEBUG").arg("DIGEST-VALUE").arg("copy");
    let copied = in_one(con, &copies);
    assert_eq!(text(&copied[0]), "OK", "what was saved loads");
    assert_eq!(copied[1], replies[2], "and is the same");

    let mut works = redis::pipe();
    works.cmd("PHEAN.RESERVE").arg(tube).arg("COUNT").arg(3);
    works.cmd("PHEAN.KICK").arg(tube).arg(2);
    works.cmd("PHEAN.STATS").arg(tube);
    works.cmd("PHEAN.CLEAR").arg(tube).arg(&["READY", "DELAYED", "BURIED", "RESERVED"]);
    works.cmd("PHEAN.STATS").arg(tube);
    let worked = in_one(con, &works);
    assert_eq!(jobs(&worked[2]), scanned as i64);
    assert_eq!(int(&worked[3]), scanned as i64, "all of them can be cleared");
    assert_eq!(jobs(&worked[4]), 0);
}

/// Every payload is answered, and whatever was accepted is a sound tube.
#[test]
fn damaged_payloads_are_refused_or_sound() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    populate(&server);
    let payloads = Payloads::of_all_tubes(&mut con);
    let count = env::var("PHEAN_HOSTILE").map_or(PAYLOADS, |n| n.parse().expect("PHEAN_HOSTILE is a number"));
    let (mut refused, mut accepted) = (0, 0);
    for first in (0..count).step_by(BATCH as usize) {
        let mut restores = redis::pipe();
        for number in first..count.min(first + BATCH) {
            let payload = payloads.with(&mutated(&payloads.values, number));
            restores.cmd("RESTORE").arg(format!("hostile-{number}")).arg(0).arg(payload);
        }
        for (reply, number) in send_all(&mut con, &restores).iter().zip(first..) {
            if let Value::ServerError(error) = reply {
                assert_eq!(error.details(), Some("Bad data format"), "payload {number}");
                refused += 1;
            } else {
                accepted += 1;
                check(&mut con, &format!("hostile-{number}"));
            }
        }
        run(&mut con, "FLUSHALL");
    }
    println!("{refused} refused, {accepted} accepted");
    assert!(refused > count / 10 && accepted > count / 100, "{refused} refused, {accepted} accepted");
    // What is sound is still taken.
    for (value, digest) in payloads.values.iter().zip(&payloads.digests) {
        restore(&mut con, "sound", &payloads.with(value), &["REPLACE"]).unwrap();
        assert_eq!(run(&mut con, "DEBUG DIGEST-VALUE sound"), *digest);
    }
}
