//! Random bytes and random scripts.

use phean::broker::Settings;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::driver::{Driver, Pieces};

fn config() -> Config {
    let mut config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/protocol/regressions.txt"))),
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 300;
    }
    config
}

fn driver(seed: u64) -> Driver {
    let settings = Settings { max_job_size: 300, ..Settings::default() };
    Driver::seeded(seed, settings, Pieces::Random(Box::new(SmallRng::seed_from_u64(seed))))
}

/// How many answers there are. Every byte must belong to one.
fn answers(text: &str) -> usize {
    let mut text = text;
    let mut count = 0;
    while !text.is_empty() {
        let (line, rest) = text.split_once("\r\n").expect("an answer is cut off");
        let words: Vec<&str> = line.split(' ').collect();
        let has_body = matches!(words[0], "RESERVED" | "FOUND" | "OK");
        text = rest;
        if has_body {
            let length: usize = words.last().and_then(|n| n.parse().ok()).expect("a length");
            assert_eq!(text.get(length..length + 2), Some("\r\n"), "after the body of {line}");
            text = &text[length + 2..];
        }
        count += 1;
    }
    count
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("default".to_string()),
        "[ab]",
        (0..40).prop_map(|n| format!("t{n}")),
        "[a-z+/;.$_()-]{1,5}"
    ]
}

/// Commands that each have exactly one answer.
fn command() -> impl Strategy<Value = String> {
    let id = 1_u64..12;
    let small = 0_u32..4;
    prop_oneof![
        5 => (small.clone(), small.clone(), small.clone(), "[a-z\r\n]{0,12}")
            .prop_map(|(pri, delay, ttr, body)| format!("put {pri} {delay} {ttr} {}\r\n{body}\r\n", body.len())),
        1 => (301_usize..400).prop_map(|len| format!("put 0 0 1 {len}\r\n{}\r\n", "x".repeat(len))),
        1 => Just("put 0 0 1 3\r\nabcxy".to_string()),
        2 => Just("reserve\r\n".to_string()),
        5 => small.clone().prop_map(|s| format!("reserve-with-timeout {s}\r\n")),
        2 => id.clone().prop_map(|id| format!("reserve-job {id}\r\n")),
        4 => id.clone().prop_map(|id| format!("delete {id}\r\n")),
        4 => (id.clone(), small.clone(), small.clone())
            .prop_map(|(id, pri, delay)| format!("release {id} {pri} {delay}\r\n")),
        2 => (id.clone(), small.clone()).prop_map(|(id, pri)| format!("bury {id} {pri}\r\n")),
        2 => id.clone().prop_map(|id| format!("touch {id}\r\n")),
        2 => small.clone().prop_map(|n| format!("kick {n}\r\n")),
        1 => id.clone().prop_map(|id| format!("kick-job {id}\r\n")),
        1 => id.clone().prop_map(|id| format!("peek {id}\r\n")),
        1 => prop_oneof!["peek-ready", "peek-delayed", "peek-buried", "stats", "list-tubes", "list-tube-used"]
            .prop_map(|word| format!("{word}\r\n")),
        1 => id.prop_map(|id| format!("stats-job {id}\r\n")),
        1 => name().prop_map(|name| format!("stats-tube {name}\r\n")),
        3 => name().prop_map(|name| format!("use {name}\r\n")),
        6 => name().prop_map(|name| format!("watch {name}\r\n")),
        3 => name().prop_map(|name| format!("ignore {name}\r\n")),
        1 => (name(), small).prop_map(|(name, s)| format!("pause-tube {name} {s}\r\n")),
        1 => "[a-z]{1,300}".prop_map(|line| format!("x{line}\r\n")),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_do_no_harm(
        seed: u64,
        pieces in prop::collection::vec((0..3_usize, prop_oneof![
            3 => command().prop_map(String::into_bytes),
            2 => prop::collection::vec(any::<u8>(), 0..300),
            1 => Just(b"put 1 2 3 ".to_vec()),
            1 => Just(b"\r\n".to_vec()),
        ]), 1..60),
    ) {
        let mut driver = driver(seed);
        let connections = [driver.connect(), driver.connect(), driver.connect()];
        for (who, bytes) in pieces {
            if driver.session(connections[who]).wants_input() {
                driver.send(connections[who], bytes);
                driver.read(connections[who]);
            }
            driver.pass(seed % 700);
        }
        for connection in connections {
            driver.half_close(connection);
            driver.read(connection);
            assert!(driver.session(connection).is_over(), "there is nothing more to come");
            driver.close(connection);
        }
        driver.check();
    }

    #[test]
    fn every_command_has_one_answer(
        seed: u64,
        script in prop::collection::vec((0..3_usize, prop::collection::vec(command(), 1..5), 0..900_u64), 1..40),
    ) {
        let mut driver = driver(seed);
        let connections = [driver.connect(), driver.connect(), driver.connect()];
        let mut sent = [0; 3];
        let mut texts = [const { String::new() }; 3];
        for (who, commands, ms) in script {
            driver.send(connections[who], commands.concat());
            sent[who] += commands.len();
            driver.pass(ms);
        }
        for (who, connection) in connections.into_iter().enumerate() {
            driver.half_close(connection);
            texts[who] += &driver.read(connection);
            assert!(driver.session(connection).is_over());
            assert_eq!(answers(&texts[who]), sent[who], "{}", texts[who]);
        }
        connections.into_iter().for_each(|connection| driver.close(connection));
        driver.check();
    }
}
