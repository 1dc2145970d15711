//! Every field, in order.

use super::driver::Driver;

/// The names of the fields and their values.
fn fields(answer: &str) -> Vec<(String, String)> {
    let (head, text) = answer.split_once('\n').expect("a first line");
    let length: usize = head.strip_prefix("OK ").and_then(|n| n.parse().ok()).expect("OK and a length");
    assert_eq!(text.len(), length + 1, "the length is the text's, without its last end of line");
    let lines = text.strip_prefix("---\n").expect("YAML").lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(": ").map(|(k, v)| (k.into(), v.into())).expect("a pair")).collect()
}

fn assert_fields(answer: &str, expected: &str) {
    let found: String = fields(answer).iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_servers_statistics() {
    let mut driver = Driver::new();
    let (a, b, c) = (driver.connect(), driver.connect(), driver.connect());
    driver.say(a, "use t\nput 5 0 60 1\n1\nput 5 9 60 1\n2\nput 2000 0 1 1\n3\nput 5 0 60 1\n4");
    driver.say(
        b,
        "watch t\nignore default\nignore x\nreserve\nbury 1 5\nreserve\nrelease 4 5 0\nreserve-job 3",
    );
    driver.say(
        b,
        "touch 3\npeek 1\npeek 99\npeek-ready\npeek-delayed\npeek-buried\nkick 0\nkick-job 9\ndelete 99",
    );
    driver
        .say(b, "list-tubes\nlist-tube-used\nlist-tubes-watched\nstats-job 1\nstats-tube t\npause-tube t 0");
    driver.say(b, "put\nput x\ndelete x\nreserve-with-timeout x\nstats-tube ,");
    driver.pass(1_001);
    driver.say(c, "watch nothing\nignore default\nreserve-with-timeout 100");
    let d = driver.connect();
    driver.close(d);
    assert_fields(
        &driver.say(a, "stats"),
        "current-jobs-urgent: 1
         current-jobs-ready: 2
         current-jobs-reserved: 0
         current-jobs-delayed: 1
         current-jobs-buried: 1
         cmd-put: 4
         cmd-peek: 2
         cmd-peek-ready: 1
         cmd-peek-delayed: 1
         cmd-peek-buried: 1
         cmd-reserve: 2
         cmd-reserve-with-timeout: 1
         cmd-delete: 1
         cmd-release: 1
         cmd-use: 1
         cmd-watch: 2
         cmd-ignore: 3
         cmd-bury: 1
         cmd-kick: 1
         cmd-touch: 1
         cmd-stats: 1
         cmd-stats-job: 1
         cmd-stats-tube: 1
         cmd-list-tubes: 1
         cmd-list-tube-used: 1
         cmd-list-tubes-watched: 1
         cmd-pause-tube: 1
         job-timeouts: 1
         total-jobs: 4
         max-job-size: 65535
         current-tubes: 3
         current-connections: 3
         current-producers: 1
         current-workers: 2
         current-waiting: 1
         total-connections: 4
         pid: 77
         version: \"1.13\"
         rusage-utime: 1.000002
         rusage-stime: 0.000030
         uptime: 9
         binlog-oldest-index: 0
         binlog-current-index: 0
         binlog-records-migrated: 0
         binlog-records-written: 0
         binlog-max-size: 10485760
         draining: false
         id: 00000000000000ab
         hostname: \"h\"
         os: \"o\"
         platform: \"p\"",
    );
}

#[test]
fn a_tubes_statistics() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "use t\nput 5 0 60 1\n1\nput 5 9 60 1\n2\nput 2000 0 60 1\n3\ndelete 1\nput 5 0 60 1\n4");
    driver.say(b, "watch t\nreserve\nbury 4 0\npause-tube t 90\nreserve-with-timeout 100");
    driver.pass(500);
    assert_fields(
        &driver.say(a, "stats-tube t"),
        "name: \"t\"
         current-jobs-urgent: 0
         current-jobs-ready: 1
         current-jobs-reserved: 0
         current-jobs-delayed: 1
         current-jobs-buried: 1
         total-jobs: 4
         current-using: 1
         current-watching: 1
         current-waiting: 1
         cmd-delete: 1
         cmd-pause-tube: 1
         pause: 90
         pause-time-left: 89",
    );
    let phean = driver.phean("STATS t");
    for pair in ["\"current-using\": 1", "\"current-watching\": 1", "\"current-waiting\": 1"] {
        assert!(phean.contains(pair), "{pair} in {phean}");
    }
    assert_fields(
        &driver.say(a, "stats-tube default"),
        "name: \"default\"
         current-jobs-urgent: 0
         current-jobs-ready: 0
         current-jobs-reserved: 0
         current-jobs-delayed: 0
         current-jobs-buried: 0
         total-jobs: 0
         current-using: 1
         current-watching: 2
         current-waiting: 1
         cmd-delete: 0
         cmd-pause-tube: 0
         pause: 0
         pause-time-left: 0",
    );
}

#[test]
fn a_jobs_statistics() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.say(c, "use t\nwatch t\nput 5 3 60 1\n1");
    driver.pass(1_500);
    assert_fields(
        &driver.say(c, "stats-job 1"),
        "id: 1
         tube: \"t\"
         state: delayed
         pri: 5
         age: 1
         delay: 3
         ttr: 60
         time-left: 1
         file: 0
         reserves: 0
         timeouts: 0
         releases: 0
         buries: 0
         kicks: 0",
    );
    driver.say(c, "kick 1\nreserve");
    driver.pass(1);
    assert_fields(
        &driver.say(c, "stats-job 1"),
        "id: 1
         tube: \"t\"
         state: reserved
         pri: 5
         age: 1
         delay: 3
         ttr: 60
         time-left: 59
         file: 0
         reserves: 1
         timeouts: 0
         releases: 0
         buries: 0
         kicks: 1",
    );
}

#[test]
fn who_has_gone_is_no_producer_and_no_worker() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "0 0 60", "x");
    driver.say(b, "reserve");
    for (connection, producers, workers) in [(a, "0", "1"), (b, "0", "0")] {
        driver.close(connection);
        assert_eq!(driver.stat_of_other("current-producers"), producers);
        assert_eq!(driver.stat_of_other("current-workers"), workers);
    }
}
