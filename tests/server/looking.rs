//! Short ways to put, take and look, for tests whose subject is something else.

use crate::reply::{Reserved, array, int, map, reserved, reserved_many, run, seconds, text};
use redis::{Connection, Value};
use std::collections::BTreeMap;

/// A command that must answer an integer, as one line.
#[track_caller]
pub fn count(con: &mut Connection, line: &str) -> i64 {
    int(&run(con, line))
}

/// Puts a job with a body that needs no quoting, and returns its id.
#[track_caller]
pub fn put(con: &mut Connection, tube_and_options: &str) -> i64 {
    let (tube, options) = tube_and_options.split_once(' ').unwrap_or((tube_and_options, ""));
    count(con, &format!("PHEAN.PUT {tube} body {options}"))
}

/// A reserve that must hand out a job.
#[track_caller]
pub fn take(con: &mut Connection, line: &str) -> Reserved {
    reserved(&run(con, line)).unwrap_or_else(|| panic!("{line}: null"))
}

/// The ids that a reserve with COUNT hands out.
#[track_caller]
pub fn take_ids(con: &mut Connection, line: &str) -> Vec<i64> {
    reserved_many(&run(con, line)).into_iter().map(|job| job.id).collect()
}

/// A job that must be there, as `PHEAN.JOB` shows it.
#[track_caller]
pub fn job(con: &mut Connection, tube: &str, id: i64) -> BTreeMap<String, Value> {
    map(&run(con, &format!("PHEAN.JOB {tube} {id}")))
}

/// A job's state, or `gone`.
#[track_caller]
pub fn state(con: &mut Connection, tube: &str, id: i64) -> String {
    match run(con, &format!("PHEAN.JOB {tube} {id}")) {
        Value::Nil => "gone".to_owned(),
        found => text(&map(&found)["state"]),
    }
}

/// A whole number that `PHEAN.JOB` shows.
#[track_caller]
pub fn job_int(con: &mut Connection, tube: &str, id: i64, field: &str) -> i64 {
    int(&job(con, tube, id)[field])
}

/// A number of seconds that `PHEAN.JOB` shows.
#[track_caller]
pub fn job_seconds(con: &mut Connection, tube: &str, id: i64, field: &str) -> f64 {
    seconds(&job(con, tube, id)[field])
}

/// A tube's statistics.
#[track_caller]
pub fn stats(con: &mut Connection, tube: &str) -> BTreeMap<String, Value> {
    map(&run(con, &format!("PHEAN.STATS {tube}")))
}

/// One of a tube's statistics that is a whole number.
#[track_caller]
pub fn stat(con: &mut Connection, tube: &str, field: &str) -> i64 {
    int(&stats(con, tube)[field])
}

/// The ids and bodies of strings in an array.
#[track_caller]
pub fn texts(value: &Value) -> Vec<String> {
    array(value).iter().map(text).collect()
}

/// Everything that a command which answers an error must leave as it was: the data, and what was counted.
#[track_caller]
pub fn everything(con: &mut Connection) -> (String, BTreeMap<String, String>) {
    let digest = text(&run(con, "DEBUG DIGEST"));
    let mut totals = map(&run(con, "PHEAN.STATS"));
    totals.remove("uptime");
    (digest, totals.into_iter().map(|(name, value)| (name, format!("{value:?}"))).collect())
}
