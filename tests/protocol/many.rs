//! Thousands of tubes.

use phean::queue::State;

use super::driver::{Connection, Driver};
use super::world::{Op, Place};

/// A worker that watches so many tubes, `t0` and so on.
fn wide(driver: &mut Driver, tubes: usize) -> Connection {
    let c = driver.connect();
    let script: String = (0..tubes).map(|n| format!("watch t{n}\n")).collect();
    let answer = driver.say(c, &script);
    assert_eq!(answer.lines().last(), Some(format!("WATCHING {}", tubes + 1)).as_deref());
    c
}

#[test]
fn the_most_urgent_of_thousands_comes_first() {
    let mut driver = Driver::new();
    let w = wide(&mut driver, 3_000);
    let p = driver.connect();
    for (tube, pri, body) in
        [("t2999", 5, "a"), ("t17", 3, "b"), ("t5", 3, "c"), ("unwatched", 0, "d"), ("default", 4, "e")]
    {
        driver.say(p, &format!("use {tube}"));
        driver.put(p, &format!("{pri} 0 60"), body);
    }
    let expected = "RESERVED 2 1\nb\nRESERVED 3 1\nc\nRESERVED 5 1\ne\nRESERVED 1 1\na\nTIMED_OUT\n";
    assert_eq!(driver.say(w, "reserve\nreserve\nreserve\nreserve\nreserve-with-timeout 0"), expected);
    driver.say(w, "release 2 9 0\nbury 3 0\nrelease 5 9 2");
    assert_eq!(driver.say(w, "reserve\nreserve-with-timeout 0"), "RESERVED 2 1\nb\nTIMED_OUT\n");
    driver.pass(2_001);
    driver.say(p, "use t5\nkick 1");
    assert_eq!(
        driver.say(w, "reserve\nreserve\nreserve-with-timeout 0"),
        "RESERVED 3 1\nc\nRESERVED 5 1\ne\nTIMED_OUT\n"
    );
}

#[test]
fn wide_and_narrow_waiters_stand_in_one_line() {
    let mut driver = Driver::new();
    let w = wide(&mut driver, 100);
    let (n, v, p) = (driver.connect(), wide(&mut driver, 50), driver.connect());
    driver.say(n, "watch t7\nignore default");
    driver.say(w, "reserve");
    driver.say(n, "reserve");
    driver.say(v, "reserve");
    assert_eq!(driver.stat(p, "stats-tube t7", "current-waiting"), "3");
    assert_eq!(driver.stat(p, "stats-tube t70", "current-waiting"), "1");
    driver.say(p, "use t7");
    for (connection, body) in [(w, "1"), (n, "2"), (v, "3")] {
        let id = driver.put(p, "0 0 60", body);
        assert_eq!(driver.read(connection), format!("RESERVED {id} 1\r\n{body}\r\n"));
    }
    driver.put(p, "0 0 60", "nobody waits");
    assert_eq!(driver.say(p, "peek-ready"), "FOUND 4 12\nnobody waits\n");
}

#[test]
fn wide_connections_see_what_happens_to_their_tubes() {
    let mut driver = Driver::new();
    let w = wide(&mut driver, 30);
    let p = driver.connect();
    driver.say(p, "use t1");
    driver.put(p, "0 0 60", "x");
    assert_eq!(driver.say(w, "pause-tube t1 5\nreserve-with-timeout 0"), "PAUSED\nTIMED_OUT\n");
    driver.pass(5_001);
    assert_eq!(driver.say(w, "reserve\nrelease 1 0 0"), "RESERVED 1 1\nx\nRELEASED\n");
    driver.redis(&Op::Rename(Place::of(0, b"t1"), Place::of(0, b"hidden")));
    assert_eq!(driver.say(w, "reserve-with-timeout 0"), "TIMED_OUT\n");
    driver.redis(&Op::Copy(Place::of(0, b"hidden"), Place::of(0, b"t2")));
    assert_eq!(driver.say(w, "reserve\nrelease 1 0 0"), "RESERVED 1 1\nx\nRELEASED\n");
    driver.redis(&Op::Swap(0, 1));
    assert_eq!(driver.say(w, "reserve-with-timeout 60"), "");
    driver.redis(&Op::Swap(0, 1));
    assert_eq!(driver.read(w), "RESERVED 1 1\r\nx\r\n");
    driver.say(w, "release 1 0 0");
    driver.redis(&Op::Flush(Some(0)));
    assert_eq!(driver.say(w, "reserve-with-timeout 1"), "");
    driver.pass(1_001);
    assert_eq!(driver.read(w), "TIMED_OUT\r\n");
}

#[test]
fn a_connection_becomes_wide_and_narrow_again() {
    let mut driver = Driver::new();
    let c = driver.connect();
    let p = driver.connect();
    for round in 0..3 {
        for n in 0..40 {
            driver.say(c, &format!("watch t{n}"));
            driver.say(p, &format!("use t{n}"));
            let id = driver.put(p, "0 0 60", "x");
            let expected = format!("RESERVED {id} 1\nx\nDELETED\n");
            assert_eq!(driver.say(c, &format!("reserve\ndelete {id}")), expected, "{round}: {n} more");
        }
        for n in 0..40 {
            driver.say(c, &format!("ignore t{n}"));
            driver.say(p, &format!("use t{}", 39));
            let id = driver.put(p, "0 0 60", "x");
            let expected = if n < 39 { format!("RESERVED {id} 1\nx\n") } else { "TIMED_OUT\n".into() };
            assert_eq!(driver.say(c, "reserve-with-timeout 0"), expected, "{round}: {n} fewer");
            driver.say(c, &format!("delete {id}"));
        }
    }
}

#[test]
fn ids_are_found_among_thousands_of_tubes() {
    let mut driver = Driver::new();
    let c = driver.connect();
    for round in 0..3 {
        for n in 0..2_000 {
            assert_eq!(
                driver.say(c, &format!("use t{n}\nput 0 0 60 1\nx")),
                format!("USING t{n}\nINSERTED {}\n", round * 2_000 + n + 1)
            );
        }
    }
    for id in (1..=6_000).step_by(7) {
        assert_eq!(driver.stat(c, &format!("stats-job {id}"), "tube"), format!("\"t{}\"", (id - 1) % 2_000));
        assert_eq!(driver.say(c, &format!("delete {id}\ndelete {id}")), "DELETED\nNOT_FOUND\n");
    }
}

#[test]
fn the_jobs_that_are_there_are_noted_before_anybody_asks() {
    let mut driver = Driver::new();
    for n in 0..300 {
        driver.phean(&format!("MPUT t{n} 5 a b c d e"));
    }
    let (broker, world) = (&mut driver.server.broker, &mut driver.server.world);
    broker.close_port();
    assert_eq!(broker.notes(), 0);
    broker.open_port(world, 0);
    assert_eq!(broker.notes(), 1_500);
    // They are noted again where they are by now, without a slice of work between.
    driver.redis(&Op::Rename(Place::of(0, b"t7"), Place::of(0, b"other")));
    driver.server.broker.loaded(&mut driver.server.world);
    let c = driver.connect();
    assert_eq!(driver.stat(c, "stats-job 1499", "tube"), "\"t299\"");
    assert_eq!(driver.stat(c, "stats-job 36", "tube"), "\"other\"");
}

#[test]
fn notes_of_jobs_that_went_without_a_word_are_swept_away() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", "stays");
    let bodies = vec!["x"; 1_000].join(" ");
    for _ in 0..70 {
        driver.phean(&format!("MPUT big 1000 {bodies}"));
        assert_eq!(driver.phean("CLEAR big"), "1000");
    }
    assert!(driver.server.broker.notes() <= 1 + 66_000, "{} notes", driver.server.broker.notes());
    assert_eq!(driver.say(c, "peek 1\npeek 2\npeek 70001"), "FOUND 1 5\nstays\nNOT_FOUND\nNOT_FOUND\n");
}

#[test]
fn a_forbidden_tube_among_very_many_is_like_an_empty_one() {
    let mut driver = Driver::new();
    let (c, other) = (wide(&mut driver, 20), driver.connect());
    driver.put(other, "0 0 60", "forbidden");
    driver.phean("PUT t3 welcome PRI 5");
    driver.host.forbidden = Some(("PHEAN.RESERVE", "default"));
    driver.server.world.state.borrow_mut().denied = Some(b"default");
    assert_eq!(driver.say(c, "reserve-with-timeout 0"), "RESERVED 2 7\nwelcome\n");
    assert_eq!(driver.say(c, "reserve-with-timeout 0"), "TIMED_OUT\n");
    // While it waits, too, whether there was a job before or not.
    for jobs in [1, 0] {
        assert_eq!(driver.say(c, "reserve"), "");
        driver.put(other, "0 0 60", "forbidden, too");
        assert_eq!((driver.read(c), driver.phean("CLEAR default")), (String::new(), (1 + jobs).to_string()));
        let id = driver.phean("PUT t4 welcome");
        assert_eq!(driver.read(c), format!("RESERVED {id} 7\r\nwelcome\r\n"));
    }
}

/// What was set aside for a wide waiter is gone. The tube with the most urgent job by then goes the same moment, as its
/// time to live is over: the job in the next one was left, and the waiter with it.
#[test]
fn a_wide_waiter_is_served_from_the_next_tube_where_one_is_gone() {
    let mut driver = Driver::new();
    let c = wide(&mut driver, 20);
    assert_eq!(driver.say(c, "reserve"), "");
    for line in ["PUT t0 x", "PUT t1 y", "PUT t2 z", "DELETE t0 1"] {
        driver.phean_only(line);
    }
    driver.server.world.state.borrow_mut().execute(&Op::Expire(Place::of(0, b"t1"), driver.now_ms + 1));
    driver.now_ms += 1;
    driver.settle();
    assert_eq!(driver.read(c), "RESERVED 3 1\r\nz\r\n");
}

/// The same where more tubes are gone than are looked at in one go.
#[test]
fn a_wide_waiter_is_served_however_many_tubes_are_gone() {
    let mut driver = Driver::new();
    let c = wide(&mut driver, 200);
    assert_eq!(driver.say(c, "reserve"), "");
    let mut lines = vec!["PUT t0 x".to_string()];
    lines.extend((1..=130).map(|n| format!("PUT t{n} y")));
    lines.extend(["PUT t150 z".to_string(), "DELETE t0 1".to_string()]);
    for line in &lines {
        driver.phean_only(line);
    }
    for n in 1..=130 {
        let place = Place::of(0, format!("t{n}").as_bytes());
        driver.server.world.state.borrow_mut().execute(&Op::Expire(place, driver.now_ms + 1));
    }
    driver.now_ms += 1;
    driver.settle();
    assert_eq!(driver.read(c), "RESERVED 132 1\r\nz\r\n");
}

/// A reserve that looks at no tube does no more of what is due than a tick does.
#[test]
fn a_slice_is_a_slice_though_very_many_tubes_are_watched() {
    let mut driver = Driver::new();
    let c = wide(&mut driver, 100);
    let bodies = vec!["x"; 200].join(" ");
    for n in 0..100 {
        driver.phean(&format!("MPUT t{n} 200 {bodies} DELAY 5"));
    }
    driver.now_ms += 5_100;
    driver.send_only(c, "reserve\r\n");
    let counts = driver.server.broker.jobs();
    let promoted = 20_000 - counts.of(State::Delayed);
    assert_eq!(counts.of(State::Reserved), 1);
    assert!((1..=1_024).contains(&promoted), "{promoted} promoted in one step");
}

/// The answers to a command that is sent a hundred times, as they come turn by turn.
fn turns(driver: &mut Driver, connection: Connection, command: &str) -> Vec<usize> {
    driver.session(connection).feed(format!("{command}\r\n").repeat(100).as_bytes());
    let mut turns = Vec::new();
    while driver.session(connection).has_work() {
        driver.turn(connection);
        let output = driver.session(connection).output();
        let len = output.len();
        turns.push(output.as_slice().iter().filter(|byte| **byte == b'\n').count());
        output.consume(len);
    }
    assert_eq!(turns.iter().sum::<usize>(), 100);
    turns
}

/// A turn is over after so many commands, or sooner, if each of them looks at thousands of tubes.
#[test]
fn commands_that_look_at_very_many_tubes_have_more_turns() {
    let mut driver = Driver::new();
    let c = driver.connect();
    assert_eq!(turns(&mut driver, c, "peek 99"), [100]);
    // Each copy may have any id.
    driver.phean("PUT t x");
    for n in 0..3_000 {
        driver.redis(&Op::Copy(Place::of(0, b"t"), Place::of(0, format!("copy{n}").as_bytes())));
    }
    for command in ["peek 99", "delete 99", "kick-job 99", "stats-job 99"] {
        assert_eq!(turns(&mut driver, c, command), [1; 100], "{command}");
    }
    // Of those that are watched, only the last has a job, and the others that have one stand before it.
    let mut driver = Driver::new();
    let c = wide(&mut driver, 1_500);
    let other = wide(&mut driver, 4_000);
    for n in 1_500..4_000 {
        driver.phean(&format!("PUT t{n} x"));
    }
    driver.close(other);
    assert_eq!(turns(&mut driver, c, "reserve-with-timeout 0"), [100]);
    let other = wide(&mut driver, 4_000);
    let most = turns(&mut driver, c, "reserve-with-timeout 0").into_iter().max();
    assert!(most.is_some_and(|most| most < 5), "{most:?} in one turn");
    driver.close(other);
}

/// Which tube comes first is not looked up for each reserve, but noted: what operators change is to be noted, too.
#[test]
fn what_operators_do_to_the_first_job_of_a_tube_is_heeded() {
    for (change, expected) in [
        // Jobs 1 (most urgent) and 2 (least urgent) are in t1, job 3 is in t2.
        ("PRIORITIZE t1 2 0", 2),
        ("PRIORITIZE t1 1 9", 3),
        ("DELAY t1 1 60", 3),
        ("DELETE t1 1", 3),
    ] {
        let mut driver = Driver::new();
        let c = wide(&mut driver, 30);
        for line in ["PUT t1 x PRI 1", "PUT t1 x PRI 9", "PUT t2 x PRI 5"] {
            driver.phean(line);
        }
        driver.phean(change);
        assert_eq!(driver.say(c, "reserve"), format!("RESERVED {expected} 1\nx\n"), "{change}");
    }
    let mut driver = Driver::new();
    let c = wide(&mut driver, 30);
    for line in ["PUT t1 x PRI 1", "CLEAR t1", "PUT t1 x PRI 9", "PUT t2 x PRI 5"] {
        driver.phean(line);
    }
    assert_eq!(driver.say(c, "reserve"), "RESERVED 3 1\nx\n");
}

/// The number of a tube that nobody watches any more goes to another one, of which jobs of the first say nothing. Nor is a
/// reserve to look for such a job without end.
#[test]
fn the_number_of_a_tube_that_is_ignored_is_anothers() {
    let mut driver = Driver::new();
    let c = wide(&mut driver, 30);
    driver.send_only(c, "ignore t5\r\n");
    driver.phean("PUT t5 x PRI 0");
    driver.say(c, "watch other");
    driver.phean("PUT t6 y PRI 3");
    driver.phean("PUT other z PRI 5");
    assert_eq!(driver.say(c, "reserve"), "RESERVED 2 1\ny\n");
}
