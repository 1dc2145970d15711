//! Looking at everything that a server holds: what a tube counts, and whether two servers hold the same.

use crate::harness::Server;
use crate::reply::{array, bytes, cmd, int, map, run, text};
use crate::waiting::eventually;
use redis::{Connection, RedisResult, Value};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// One number of `PHEAN.STATS tube`.
#[track_caller]
pub fn stat(con: &mut Connection, tube: &str, name: &str) -> i64 {
    int(&map(&cmd(con, &["PHEAN.STATS", tube]).expect("PHEAN.STATS answers"))[name])
}

/// One number of the server's `PHEAN.STATS`.
#[track_caller]
pub fn total(con: &mut Connection, name: &str) -> i64 {
    int(&map(&cmd(con, &["PHEAN.STATS"]).expect("PHEAN.STATS answers"))[name])
}

/// How many jobs of a tube are ready, delayed, reserved and buried.
#[track_caller]
pub fn counts(con: &mut Connection, tube: &str) -> [i64; 4] {
    STATES.map(|state| stat(con, tube, &format!("current-jobs-{state}")))
}

/// How many jobs of the whole server are ready, delayed, reserved and buried.
#[track_caller]
pub fn total_counts(con: &mut Connection) -> [i64; 4] {
    STATES.map(|state| total(con, &format!("current-jobs-{state}")))
}

const STATES: [&str; 4] = ["ready", "delayed", "reserved", "buried"];

/// Waits until so many clients stand in a tube's line.
#[track_caller]
pub fn until_waiting(con: &mut Connection, tube: &str, count: usize) {
    eventually(|| stat(con, tube, "current-waiting") == count as i64);
}

/// What a job's map says under a name, as text; `None` if there is no such job.
#[track_caller]
pub fn job_field(con: &mut Connection, tube: &str, id: i64, name: &str) -> Option<String> {
    match cmd(con, &["PHEAN.JOB", tube, &id.to_string()]).expect("PHEAN.JOB answers") {
        Value::Nil => None,
        job => Some(match &map(&job)[name] {
            Value::Int(number) => number.to_string(),
            other => text(other),
        }),
    }
}

/// The names of the tubes of the connection's database.
#[track_caller]
pub fn tubes(con: &mut Connection) -> Vec<String> {
    array(&cmd(con, &["PHEAN.TUBES"]).expect("PHEAN.TUBES answers")).iter().map(text).collect()
}

/// `RESTORE name 0 dump options…`
pub fn restore(con: &mut Connection, name: &str, dump: &[u8], options: &[&str]) -> RedisResult<Value> {
    let mut args = vec![&b"RESTORE"[..], name.as_bytes(), b"0", dump];
    args.extend(options.iter().map(|option| option.as_bytes()));
    cmd(con, &args)
}

/// Whether the totals and the index say what the tubes say.
#[track_caller]
pub fn index_is_right(server: &Server) {
    let mut sums = [0; 4];
    let mut found = 0;
    for db in 0..3 {
        let mut con = server.connect_db(db);
        let mut cursor = "0".to_owned();
        let mut names = HashSet::new();
        loop {
            let Value::Array(page) = run(&mut con, &format!("SCAN {cursor} TYPE pheantube COUNT 1000"))
            else {
                panic!("SCAN answers an array")
            };
            names.extend(array(&page[1]).iter().map(bytes));
            cursor = text(&page[0]);
            if cursor == "0" {
                break;
            }
        }
        let listed: HashSet<Vec<u8>> = array(&run(&mut con, "PHEAN.TUBES")).iter().map(bytes).collect();
        assert_eq!(listed, names);
        found += names.len();
        for name in names {
            let stats = map(&cmd(&mut con, &[&b"PHEAN.STATS"[..], &name]).unwrap());
            for (sum, state) in sums.iter_mut().zip(["ready", "delayed", "reserved", "buried"]) {
                *sum += int(&stats[&format!("current-jobs-{state}")]);
            }
        }
    }
    let mut con = server.connect();
    assert_eq!(total_counts(&mut con), sums, "the totals of {}", server.url());
    assert_eq!(total(&mut con, "current-tubes"), found as i64);
}

/// Everything that must be the same on a primary and its replicas, and before and after a restart: the digests
/// of the whole data set and of each tube, and what each tube's statistics say, times aside.
#[derive(PartialEq)]
pub struct Fingerprint {
    digest: String,
    tubes: BTreeMap<(i64, Vec<u8>), Tube>,
}

/// A tube's digest and statistics.
type Tube = (String, BTreeMap<String, String>);

/// Statistics that tell of the moment, or of the server, and not of the tube.
const OF_THE_MOMENT: [&str; 4] = ["current-waiting", "pause-time-left", "oldest-ready-age", "memory"];

/// The fingerprint of a server's databases 0 to 2.
#[track_caller]
pub fn fingerprint(server: &Server) -> Fingerprint {
    let mut con = server.connect();
    let digest = text(&cmd(&mut con, &["DEBUG", "DIGEST"]).expect("DEBUG DIGEST answers"));
    let mut tubes = BTreeMap::new();
    for db in 0..3 {
        let mut con = server.connect_db(db);
        let names = array(&cmd(&mut con, &["PHEAN.TUBES"]).expect("PHEAN.TUBES answers"));
        for name in names.iter().map(bytes) {
            let digest =
                cmd(&mut con, &[&b"DEBUG"[..], b"DIGEST-VALUE", &name]).expect("DIGEST-VALUE answers");
            let stats = map(&cmd(&mut con, &[&b"PHEAN.STATS"[..], &name]).expect("PHEAN.STATS answers"));
            let stats = stats
                .into_iter()
                .filter(|(stat, _)| !OF_THE_MOMENT.contains(&stat.as_str()))
                .map(|(stat, value)| (stat, format!("{value:?}")))
                .collect();
            tubes.insert((db, name), (text(&array(&digest)[0]), stats));
        }
    }
    Fingerprint { digest, tubes }
}

/// Short enough to see what differs: what is 0 is left out.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.digest)?;
        for ((db, name), (digest, stats)) in &self.tubes {
            write!(f, "  {db} {} {digest:.8}", name.escape_ascii())?;
            let zeros = ["int(0)", "bulk-string('\"0\"')"];
            for (stat, value) in stats.iter().filter(|(_, value)| !zeros.contains(&value.as_str())) {
                write!(f, " {stat}={value}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Fingerprint {
    /// How many tubes there are.
    pub fn tubes(&self) -> usize {
        self.tubes.len()
    }
}

/// Whether modules are told to which database a transaction takes a key. On Valkey 9 they are told the client's, so
/// that nothing that belongs to a tube, such as a job set aside for a waiter, can follow it there.
#[track_caller]
pub fn tells_where_transactions_move(server: &Server) -> bool {
    !server.info("server").get("valkey_version").is_some_and(|version| version.starts_with("9."))
}
