//! `PHEAN.*` commands, and Redis' own, on the same tubes.

use phean::broker::{Name, Role, Wait};
use phean::codec::rewrite_as_events;
use phean::queue::State;

use super::driver::Driver;
use super::reply::Value;
use super::server::Outcome;
use super::world::{Op, Place};

fn place(name: &str) -> Place {
    Place::of(0, name.as_bytes())
}

#[test]
fn what_one_door_puts_the_other_takes() {
    let mut driver = Driver::new();
    let c = driver.connect();
    assert_eq!(driver.phean("PUT default hello"), "1");
    assert_eq!(driver.say(c, "reserve"), "RESERVED 1 5\nhello\n");
    driver.put(c, "0 0 60", "there");
    let taken = driver.phean("RESERVE default");
    assert!(taken.contains("\"there\"") && taken.contains("\"2-"), "{taken}");
    assert_eq!(driver.say(c, "delete 2\npeek 2"), "NOT_FOUND\nFOUND 2 5\nthere\n");
    assert_eq!(driver.phean("DELETE default 2"), "1");
    assert_eq!(driver.say(c, "peek 2"), "NOT_FOUND\n");
}

#[test]
fn a_waiter_is_served_by_the_other_door() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.say(c, "watch a\nwatch b\nreserve");
    assert_eq!(driver.phean("PUT b hello PRI 3"), "1");
    assert_eq!(driver.read(c), "RESERVED 1 5\r\nhello\r\n");
    assert!(driver.phean("JOB b 1").contains("\"worker\": 140737488355329"));
}

#[test]
fn what_ended_by_the_other_door_is_ones_own_no_longer() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", "x");
    driver.say(c, "reserve");
    assert_eq!(driver.phean("RELEASE default 1"), "1");
    assert_eq!(driver.say(c, "touch 1\nbury 1 0\nrelease 1 0 0"), "NOT_FOUND\n".repeat(3));
    driver.phean("RESERVE default");
    assert_eq!(driver.say(c, "touch 1\ndelete 1"), "NOT_FOUND\nNOT_FOUND\n");
    driver.close(c);
    assert!(driver.phean("JOB default 1").contains("\"reserved\""), "it is somebody else's");
}

#[test]
fn a_job_is_found_wherever_it_came_from() {
    let mut driver = Driver::new();
    let c = driver.connect();
    for _ in 0..300 {
        driver.put(c, "0 0 60", "x");
    }
    driver.redis(&Op::Rename(place("default"), place("other")));
    assert_eq!(driver.stat(c, "stats-job 299", "tube"), "\"other\"");
    driver.redis(&Op::Copy(place("other"), place("copy")));
    assert_eq!(driver.stat(c, "stats-job 1", "tube"), "\"other\"", "who had it first");
    assert_eq!(driver.say(c, "delete 1"), "DELETED\n");
    assert_eq!(driver.stat(c, "stats-job 1", "tube"), "\"copy\"", "now that the other is gone");
    assert_eq!(driver.stat(c, "stats-job 2", "tube"), "\"other\"");
    driver.redis(&Op::Del(place("other")));
    assert_eq!(driver.stat(c, "stats-job 2", "tube"), "\"copy\"");
    assert_eq!(driver.say(c, "delete 1\ndelete 1"), "DELETED\nNOT_FOUND\n");
    driver.redis(&Op::Swap(0, 1));
    assert_eq!(driver.say(c, "peek 2\nlist-tubes"), "NOT_FOUND\nOK 14\n---\n- default\n\n");
    // Whichever of the two is named first.
    driver.redis(&Op::Swap(1, 0));
    assert_eq!(driver.say(c, "peek 2"), "FOUND 2 1\nx\n");
    driver.redis(&Op::Flush(None));
    assert_eq!(driver.say(c, "peek 2\nlist-tubes"), "NOT_FOUND\nOK 14\n---\n- default\n\n");
}

#[test]
fn a_cleared_tube_has_no_jobs() {
    let mut driver = Driver::new();
    let c = driver.connect();
    for _ in 0..10 {
        driver.put(c, "0 0 60", "x");
    }
    driver.say(c, "reserve");
    assert_eq!(driver.phean("CLEAR default"), "9");
    assert_eq!(driver.say(c, "peek 2\ndelete 3\npeek 1"), "NOT_FOUND\nNOT_FOUND\nFOUND 1 1\nx\n");
}

#[test]
fn an_empty_tube_that_lingers_is_not_listed() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.phean("PUT t x");
    assert_eq!(driver.stat(c, "stats", "current-tubes"), "2");
    driver.phean("DELETE t 1");
    assert_eq!(driver.stat(c, "stats", "current-tubes"), "1");
    assert_eq!(driver.phean("TUBES"), "[\"t\"]");
    assert_eq!(driver.say(c, "stats-tube t"), "NOT_FOUND\n");
}

#[test]
fn a_port_that_is_opened_late_finds_everything() {
    let mut driver = Driver::new();
    for _ in 0..10 {
        driver.phean("PUT t x");
    }
    driver.reopen();
    let c = driver.connect();
    assert_eq!(driver.say(c, "peek 10\nlist-tubes"), "FOUND 10 1\nx\nOK 18\n---\n- default\n- t\n\n");
}

#[test]
fn one_id_in_two_tubes_means_the_one_that_is_held() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", "x");
    driver.redis(&Op::Copy(place("default"), place("copy")));
    driver.say(c, "watch copy\nignore default");
    assert_eq!(driver.say(c, "reserve"), "RESERVED 1 1\nx\n");
    assert_eq!(driver.stat(c, "stats-job 1", "tube"), "\"copy\"");
    assert_eq!(driver.say(c, "delete 1"), "DELETED\n");
    assert_eq!(driver.stat(c, "stats-job 1", "tube"), "\"default\"");
}

#[test]
fn a_job_that_another_connection_holds_where_a_copy_went_is_not_ones_own() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "0 0 2", "x");
    driver.redis(&Op::Copy(place("default"), place("copy")));
    driver.say(b, "watch copy\nignore default");
    assert_eq!(driver.say(a, "reserve"), "RESERVED 1 1\nx\n");
    assert_eq!(driver.say(b, "reserve"), "RESERVED 1 1\nx\n");
    driver.redis(&Op::Rename(place("copy"), place("default")));
    assert_eq!(driver.say(a, "delete 1\ntouch 1\nrelease 1 0 0"), "NOT_FOUND\nNOT_FOUND\nNOT_FOUND\n");
    // Its margin is none of a's business, either.
    driver.pass(1_500);
    assert_eq!(driver.say(a, "reserve-with-timeout 0"), "TIMED_OUT\n");
    assert_eq!(driver.say(b, "reserve-with-timeout 0"), "DEADLINE_SOON\n");
    driver.close(a);
    assert_eq!(driver.say(b, "delete 1"), "DELETED\n");
}

#[test]
fn a_job_that_was_held_where_it_is_no_longer_is_found_where_it_is() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 1", "x");
    assert_eq!(driver.say(c, "reserve"), "RESERVED 1 1\nx\n");
    driver.redis(&Op::Copy(place("default"), place("copy")));
    driver.redis(&Op::Del(place("default")));
    driver.pass(2_000);
    assert_eq!(driver.say(c, "peek 1\nkick-job 1"), "FOUND 1 1\nx\nNOT_FOUND\n");
    assert_eq!(driver.stat(c, "stats-job 1", "tube"), "\"copy\"");
    assert_eq!(driver.say(c, "delete 1"), "DELETED\n");
}

/// The other door knows names that have no place in a list of this one.
#[test]
fn names_that_cannot_be_said_here_are_not_listed_and_quoted_elsewhere() {
    let mut driver = Driver::new();
    let c = driver.connect();
    assert_eq!(driver.phean("PUT a\n-\"b\\ x"), "1");
    assert_eq!(driver.say(c, "list-tubes"), "OK 14\n---\n- default\n\n");
    assert_eq!(driver.stat(c, "stats-job 1", "tube"), r#""a\x0a-\"b\\""#);
}

/// So many clients wait on a tube, in which so many delayed jobs are due.
fn waited_for_and_due(clients: u64, jobs: usize) -> Driver {
    let mut driver = Driver::new();
    driver.phean(&format!("MPUT t {jobs} {} DELAY 5", vec!["x"; jobs].join(" ")));
    for client in 0..clients {
        driver.server.broker.wait(wait(client, driver.now_ms + 1_000_000));
    }
    driver.now_ms += 5_100;
    driver.server.world.state.borrow_mut().now_ms = driver.now_ms;
    driver
}

/// Many wait, and many delayed jobs are due: a tick does a slice of it, and commands leave it to the tick.
#[test]
fn a_slice_is_a_slice_though_many_wait() {
    for command in [None, Some("BURY t 99999"), Some("RESERVE t TIMEOUT 10")] {
        let mut driver = waited_for_and_due(10_000, 10_000);
        let before = driver.server.broker.totals().reserves;
        match command {
            Some(command) => drop(driver.phean_only(command)),
            None => drop(driver.server.broker.tick(&mut driver.server.world, driver.now_ms)),
        }
        let reserved = driver.server.broker.totals().reserves - before;
        let most = if command.is_none() { 1..=64 } else { 0..=0 };
        assert!(most.contains(&reserved), "{reserved} reserved in one step");
    }
}

/// Fewer wait than jobs are due, but more than one slice hands over to: what is left can be had.
#[test]
fn a_due_job_that_is_not_for_those_who_wait_can_be_had() {
    for command in ["RESERVE t", "RESERVE t COUNT 10", "MRESERVE 1 t COUNT 10"] {
        let mut driver = waited_for_and_due(100, 150);
        let before = driver.server.broker.totals().reserves;
        let Outcome::Reply(reply) = driver.phean_only(command) else { panic!("no reply") };
        let reply = format!("{reply:?}");
        assert!(reply.contains("101-"), "{command}: {reply}");
        let taken = if command.contains("COUNT") { 10 } else { 1 };
        assert_eq!(driver.server.broker.totals().reserves - before, 100 + taken, "{command}");
    }
}

/// So is that of a command that names many tubes. In the last one, which comes after the slice is spent, a reservation that
/// is over stands behind a pause that is, and it is found.
#[test]
fn a_slice_is_a_slice_though_many_tubes_are_named() {
    let mut driver = Driver::new();
    let bodies = vec!["x"; 200].join(" ");
    let mut command = "MRESERVE 101 last".to_string();
    for n in 0..100 {
        driver.phean(&format!("MPUT due{n} 200 {bodies} DELAY 5"));
        command += &format!(" due{n}");
    }
    driver.phean("PUT last urgent PRI 0");
    driver.phean("RESERVE last TTR 5");
    driver.phean("PAUSE last 4");
    driver.now_ms += 5_100;
    let Outcome::Reply(reply) = driver.phean_only(&command) else { panic!("no reply") };
    let reply = format!("{reply:?}");
    assert!(reply.contains("last") && reply.contains("urgent"), "{reply}");
    let promoted = 20_000 - driver.server.broker.jobs().of(State::Delayed);
    assert!((100..=256 + 100).contains(&promoted), "{promoted} promoted in one step");
    // Over several of them, too. Who asks for more waits for as much.
    let before = driver.server.broker.jobs().of(State::Delayed);
    driver.phean_only(&format!("{command} COUNT 300"));
    let promoted = before - driver.server.broker.jobs().of(State::Delayed);
    assert!((300..=300 + 200).contains(&promoted), "{promoted} promoted in one step");
}

fn wait(client: u64, until_ms: u64) -> Wait {
    let names = vec![Name::from(&b"t"[..])];
    let barred = Vec::new();
    let (wide, margin_ms) = (None, None);
    Wait { db: 0, names, wide, barred, count: None, ttr_ms: None, bound: false, client, until_ms, margin_ms }
}

/// Against a search through all jobs, with tubes of all sizes, some of them paused, and few and many priorities.
#[test]
fn the_most_urgent_over_many_tubes_are_taken_in_order() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::SmallRng::seed_from_u64(11);
    for round in 0..60 {
        let mut driver = Driver::new();
        let tubes: Vec<String> = (0..rng.random_range(1..12)).map(|n| format!("t{n}")).collect();
        let pris = if round % 3 == 0 { 1 } else { 40 };
        for tube in &tubes {
            for _ in 0..rng.random_range(0..60) * rng.random_range(0..3) {
                driver.phean(&format!("PUT {tube} x PRI {}", rng.random_range(0..pris)));
            }
            if rng.random_bool(0.2) {
                driver.phean(&format!("PAUSE {tube} 9"));
            }
            if rng.random_bool(0.2) {
                driver.redis(&Op::Copy(place(tube), place(&format!("{tube}copy"))));
            }
        }
        for _ in 0..10 {
            let mut named: Vec<String> = tubes.iter().filter(|_| rng.random_bool(0.7)).cloned().collect();
            named.extend(named.clone().iter().map(|tube| format!("{tube}copy")));
            named.push("missing".into());
            let count = [1, 2, 3, 5, 17, 64, 1_000][rng.random_range(0..7)];
            let keys = driver.server.world.state.borrow().keys.clone();
            let mut expected = Vec::new();
            for (place, tube, _) in keys.tubes() {
                let name = String::from_utf8_lossy(place.name()).into_owned();
                if named.contains(&name) && !tube.is_paused(driver.now_ms) {
                    let ready = tube.jobs().filter(|job| job.state == State::Ready);
                    expected.extend(ready.map(|job| (job.pri, job.id, name.clone())));
                }
            }
            expected.sort();
            expected.truncate(count);
            let command = format!("MRESERVE {} {} COUNT {count}", named.len(), named.join(" "));
            let Outcome::Reply(reply) = driver.phean_only(&command) else { panic!("no reply") };
            let jobs = if reply == Value::Null { &[][..] } else { reply.array() };
            let taken: Vec<(u64, String)> = jobs.iter().map(id_and_tube).collect();
            let expected: Vec<(u64, String)> = expected.into_iter().map(|(_, id, tube)| (id, tube)).collect();
            assert_eq!(taken, expected, "round {round}: {command}");
        }
    }
}

fn id_and_tube(job: &Value) -> (u64, String) {
    let [tube, lease, ..] = job.array() else { panic!("{job:?} is no job") };
    let lease = String::from_utf8_lossy(lease.bytes()).into_owned();
    let id = lease.split_once('-').and_then(|(id, _)| id.parse().ok());
    (id.expect("a lease"), String::from_utf8_lossy(tube.bytes()).into_owned())
}

/// An append-only file of events alone, as a rewrite without a preamble leaves it, is loaded while the port is open.
#[test]
fn jobs_of_a_copy_are_found_after_a_file_of_events_was_loaded() {
    let mut driver = Driver::new();
    driver.phean("PUT t1 x");
    driver.redis(&Op::Copy(place("t1"), place("t2")));
    let keys = driver.server.world.state.borrow().keys.clone();
    let mut driver = Driver::new();
    driver.server.broker.set_role(Role::Follower, 0);
    for (place, tube, _) in keys.tubes() {
        let mut events = Vec::new();
        rewrite_as_events(tube, |event| events.push(event.to_vec()));
        events.into_iter().for_each(|event| driver.server.follow(&Op::Apply(place, event), driver.now_ms));
    }
    driver.server.broker.loaded(&mut driver.server.world);
    driver.server.broker.set_role(Role::Primary, 0);
    let c = driver.connect();
    assert_eq!(driver.say(c, "delete 1\ndelete 1\ndelete 1"), "DELETED\nDELETED\nNOT_FOUND\n");
}

/// The port's tubes are those of one database: what its connections use there says nothing of a tube of the same name
/// elsewhere.
#[test]
fn a_tube_of_another_database_is_used_by_nobody() {
    let mut driver = Driver::new();
    driver.server.broker.settings.linger_ms = 0;
    let c = driver.connect();
    driver.say(c, "use t\nwatch t");
    assert!(driver.phean("STATS t").contains("\"current-using\": 1"));
    let elsewhere = driver.phean_in(1, "STATS t");
    for field in ["current-using", "current-watching"] {
        assert!(elsewhere.contains(&format!("\"{field}\": 0")), "{elsewhere}");
    }
    driver.phean_in(1, "PUT t x");
    driver.phean_in(1, "DELETE t 1");
    assert_eq!(driver.phean_in(1, "TUBES"), "[]", "nothing keeps it");
}

/// It does not wait for the next tick, which comes after whoever asks in the same turn.
#[test]
fn what_a_vanished_connection_held_is_there_for_who_asks_next() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "0 0 60", "x");
    assert_eq!(driver.say(a, "reserve"), "RESERVED 1 1\nx\n");
    driver.close_only(a);
    driver.send_only(b, "reserve-with-timeout 0\r\n");
    assert_eq!(driver.read(b), "RESERVED 1 1\r\nx\r\n");
}

#[test]
fn jobs_put_by_the_other_door_count_among_all_jobs() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", "x");
    driver.phean("MPUT other 2 y z");
    assert_eq!(driver.stat(c, "stats", "total-jobs"), "3");
    assert_eq!(driver.stat(c, "stats", "cmd-put"), "1");
}
