//! redis.conf.example: a server takes it as it is, and what it says is true.

use crate::harness::{Server, has_module};
use crate::reply::{array, map, run, text};
use redis::Value;
use std::collections::BTreeMap;

const EXAMPLE: &str = include_str!("../../redis.conf.example");

/// The example's active lines but for the module's path, which is the reader's.
fn example_lines() -> Vec<&'static str> {
    EXAMPLE
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("loadmodule "))
        .collect()
}

fn settings(server: &Server, pattern: &str) -> BTreeMap<String, String> {
    let found: Value = run(&mut server.connect(), &format!("CONFIG GET {pattern}"));
    map(&found).into_iter().map(|(name, value)| (name, text(&value))).collect()
}

#[test]
fn the_example_says_where_the_module_is_and_what_keeps_jobs_safe() {
    let loads: Vec<&str> = EXAMPLE.lines().filter(|line| line.starts_with("loadmodule ")).collect();
    assert_eq!(loads.len(), 1, "exactly one line to edit");
    let lines: Vec<&str> = example_lines().into_iter().filter(|line| !line.starts_with("phean.")).collect();
    // The port and folder are the harness' own.
    let server = Server::start_plain(&lines);
    assert_eq!(settings(&server, "appendonly")["appendonly"], "yes");
    assert_eq!(settings(&server, "maxmemory-policy")["maxmemory-policy"], "noeviction");
    let events = &settings(&server, "notify-keyspace-events")["notify-keyspace-events"];
    assert!(events.contains('K') && events.contains('d'), "{events}");
}

#[test]
fn the_examples_settings_are_the_defaults_and_all_there_are() {
    if !has_module() {
        return;
    }
    let bare = Server::start(&[]);
    let example = Server::start(&example_lines());
    assert_eq!(settings(&example, "phean.*"), settings(&bare, "phean.*"));
    let in_file: Vec<&str> = example_lines()
        .into_iter()
        .filter(|line| line.starts_with("phean."))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let in_server: Vec<String> = settings(&bare, "phean.*").into_keys().collect();
    let mut sorted = in_file.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, in_server);
    assert!(!array(&run(&mut example.connect(), "MODULE LIST")).is_empty());
}
