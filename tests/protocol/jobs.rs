//! The life of a job.

use phean::queue::decide::Retry;

use super::driver::{Driver, in_all_pieces};

#[test]
fn the_most_urgent_goes_first_and_then_the_oldest() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.say(c, "put 5 0 60 1\na\nput 4 0 60 1\nb\nput 4 0 60 1\nc\nput 4294967295 0 60 1\nd");
        let expected = "RESERVED 2 1\nb\nRESERVED 3 1\nc\nRESERVED 1 1\na\nRESERVED 4 1\nd\n";
        assert_eq!(driver.say(c, "reserve\nreserve\nreserve\nreserve"), expected);
    });
}

#[test]
fn only_ones_own_can_be_released_buried_and_touched() {
    in_all_pieces(|driver| {
        let (a, b) = (driver.connect(), driver.connect());
        driver.put(a, "0 0 60", "x");
        assert_eq!(driver.say(a, "release 1 0 0\nbury 1 0\ntouch 1"), "NOT_FOUND\nNOT_FOUND\nNOT_FOUND\n");
        driver.say(a, "reserve");
        assert_eq!(
            driver.say(b, "release 1 0 0\nbury 1 0\ntouch 1\ndelete 1\nkick-job 1\nreserve-job 1"),
            "NOT_FOUND\n".repeat(6)
        );
        assert_eq!(driver.say(b, "peek 1"), "FOUND 1 1\nx\n");
        assert_eq!(driver.say(a, "touch 1\nrelease 1 7 0"), "TOUCHED\nRELEASED\n");
        assert_eq!(driver.stat(b, "stats-job 1", "pri"), "7");
        assert_eq!(driver.say(b, "delete 1"), "DELETED\n");
    });
}

#[test]
fn release_sets_priority_and_delay() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "9 0 60", "x");
    assert_eq!(driver.say(c, "reserve\nrelease 1 3 2"), "RESERVED 1 1\nx\nRELEASED\n");
    assert_eq!(driver.stat(c, "stats-job 1", "state"), "delayed");
    assert_eq!(driver.stat(c, "stats-job 1", "delay"), "2");
    assert_eq!(driver.stat(c, "stats-job 1", "releases"), "1");
    assert_eq!(driver.say(c, "reserve-with-timeout 0"), "TIMED_OUT\n");
    driver.pass(1_999);
    assert_eq!(driver.say(c, "reserve-with-timeout 0"), "TIMED_OUT\n");
    driver.pass(2);
    assert_eq!(driver.say(c, "reserve-with-timeout 0"), "RESERVED 1 1\nx\n");
    assert_eq!(driver.stat(c, "stats-job 1", "pri"), "3");
    assert_eq!(driver.stat(c, "stats-job 1", "delay"), "2");
    driver.say(c, "release 1 3 0");
    assert_eq!(driver.stat(c, "stats-job 1", "delay"), "0");
}

#[test]
fn buried_jobs_are_kicked_oldest_first_and_delayed_ones_only_then() {
    let mut driver = Driver::new();
    let c = driver.connect();
    for _ in 0..3 {
        driver.put(c, "0 0 60", "x");
    }
    driver.put(c, "0 100 60", "late");
    driver.put(c, "0 50 60", "sooner");
    driver.say(c, "reserve\nreserve\nreserve");
    assert_eq!(driver.say(c, "bury 2 9\nbury 1 9\nbury 3 9"), "BURIED\nBURIED\nBURIED\n");
    assert_eq!(driver.say(c, "peek-buried\npeek-delayed"), "FOUND 2 1\nx\nFOUND 5 6\nsooner\n");
    assert_eq!(driver.say(c, "kick 2"), "KICKED 2\n");
    assert_eq!(driver.say(c, "peek-buried\npeek-ready"), "FOUND 3 1\nx\nFOUND 1 1\nx\n");
    assert_eq!(driver.say(c, "kick 100"), "KICKED 1\n");
    assert_eq!(driver.say(c, "kick 1\npeek-delayed"), "KICKED 1\nFOUND 4 4\nlate\n");
    assert_eq!(driver.say(c, "kick-job 4\nkick-job 4\nkick 0"), "KICKED\nNOT_FOUND\nKICKED 0\n");
    assert_eq!(driver.stat(c, "stats-job 4", "kicks"), "1");
    assert_eq!(driver.stat(c, "stats-job 1", "buries"), "1");
}

#[test]
fn reserve_job_takes_what_nobody_holds_wherever_it_is() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.say(c, "use a");
    driver.put(c, "0 0 60", "ready");
    driver.put(c, "0 100 60", "delayed");
    driver.put(c, "0 0 60", "bury");
    assert_eq!(driver.say(c, "reserve-job 3\nbury 3 0"), "RESERVED 3 4\nbury\nBURIED\n");
    driver.say(c, "pause-tube a 60");
    assert_eq!(driver.stat(c, "stats", "current-workers"), "1");
    assert_eq!(
        driver.say(c, "reserve-job 1\nreserve-job 2\nreserve-job 3\nreserve-job 3\nreserve-job 4"),
        "RESERVED 1 5\nready\nRESERVED 2 7\ndelayed\nRESERVED 3 4\nbury\nNOT_FOUND\nNOT_FOUND\n"
    );
    assert_eq!(driver.say(c, "delete 1\ndelete 2\ndelete 3"), "DELETED\nDELETED\nDELETED\n");
}

#[test]
fn reserve_job_that_finds_none_makes_no_worker() {
    let mut driver = Driver::new();
    let c = driver.connect();
    assert_eq!(driver.say(c, "reserve-job 1"), "NOT_FOUND\n");
    assert_eq!(driver.stat(c, "stats", "current-workers"), "0");
}

#[test]
fn a_reservation_that_is_over_makes_the_job_ready() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "3 0 2", "x");
    driver.say(a, "reserve");
    driver.pass(1_999);
    assert_eq!(driver.stat(b, "stats-job 1", "state"), "reserved");
    driver.pass(2);
    assert_eq!(driver.stat(b, "stats-job 1", "state"), "ready");
    assert_eq!(driver.stat(b, "stats-job 1", "timeouts"), "1");
    assert_eq!(driver.stat(b, "stats-job 1", "releases"), "0");
    assert_eq!(driver.stat(b, "stats", "job-timeouts"), "1");
    assert_eq!(driver.say(a, "touch 1\nrelease 1 0 0"), "NOT_FOUND\nNOT_FOUND\n");
    assert_eq!(driver.say(a, "delete 1"), "DELETED\n", "it is ready, and anybody's");
}

#[test]
fn a_touch_gives_the_whole_time_again() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 4", "x");
    driver.say(c, "reserve");
    driver.pass(3_500);
    assert_eq!(driver.say(c, "touch 1"), "TOUCHED\n");
    driver.pass(3_500);
    assert_eq!(driver.stat(c, "stats-job 1", "state"), "reserved");
    assert_eq!(driver.stat(c, "stats-job 1", "time-left"), "0");
    driver.pass(501);
    assert_eq!(driver.stat(c, "stats-job 1", "state"), "ready");
}

#[test]
fn a_connection_that_closes_gives_its_jobs_back() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "0 0 60", "x");
    driver.put(a, "0 0 60", "y");
    driver.say(a, "reserve\nreserve");
    assert_eq!(driver.say(b, "reserve-with-timeout 60"), "");
    driver.close(a);
    assert_eq!(driver.read(b), "RESERVED 1 1\r\nx\r\n");
    assert_eq!(driver.stat(b, "stats-job 2", "state"), "ready");
    assert_eq!(driver.stat(b, "stats-job 2", "timeouts"), "0");
    assert_eq!(driver.stat(b, "stats-job 2", "releases"), "0");
    assert_eq!(driver.stat(b, "stats-job 2", "reserves"), "1");
}

#[test]
fn a_time_to_run_of_0_is_1() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 0", "x");
    assert_eq!(driver.stat(c, "stats-job 1", "ttr"), "1");
}

#[test]
fn draining_refuses_jobs_once_their_bodies_were_read() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.put(c, "0 0 60", "x");
        driver.server.broker.settings.drain = true;
        driver.send(c, "put 0 0 1 4\r\nabcd\r\nput 0 0 1 1\r\nabc");
        assert_eq!(driver.read(c), "DRAINING\r\nEXPECTED_CRLF\r\n");
        assert_eq!(driver.stat(c, "stats", "draining"), "true");
        assert_eq!(driver.say(c, "reserve\ndelete 1"), "RESERVED 1 1\nx\nDELETED\n");
    });
}

#[test]
fn a_job_that_was_tried_too_often_is_buried() {
    let mut driver = Driver::new();
    driver.server.broker.settings.retry = Retry { count: Some(1), interval_ms: 5_000 };
    let c = driver.connect();
    driver.put(c, "0 0 60", "x");
    // The interval is not for a release of this protocol, which names its delay.
    assert_eq!(driver.say(c, "reserve\nrelease 1 0 0"), "RESERVED 1 1\nx\nRELEASED\n");
    assert_eq!(driver.say(c, "reserve\nrelease 1 0 0"), "RESERVED 1 1\nx\nRELEASED\n");
    assert_eq!(driver.stat(c, "stats-job 1", "state"), "buried");
}

#[test]
fn ids_that_nobody_has_are_not_found() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", "x");
    for id in [0, 2, 255, 256, 1 << 53, u64::MAX] {
        let script = format!("peek {id}\ndelete {id}\nkick-job {id}\nreserve-job {id}\nstats-job {id}");
        assert_eq!(driver.say(c, &script), "NOT_FOUND\n".repeat(5), "{id}");
    }
}
