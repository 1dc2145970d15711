//! Waiting, deadlines, half-closed connections.

use super::driver::{Driver, in_all_pieces};
use super::world::{Op, Place};

#[test]
fn who_came_first_is_served_first() {
    in_all_pieces(|driver| {
        let (a, b, c) = (driver.connect(), driver.connect(), driver.connect());
        driver.say(a, "watch t\nignore default");
        driver.say(b, "watch t");
        assert_eq!(driver.say(a, "reserve"), "");
        assert_eq!(driver.say(b, "reserve-with-timeout 100"), "");
        driver.say(c, "use t");
        driver.put(c, "0 0 60", "x");
        assert_eq!((driver.read(a).as_str(), driver.read(b).as_str()), ("RESERVED 1 1\r\nx\r\n", ""));
        driver.put(c, "0 0 60", "y");
        assert_eq!((driver.read(a).as_str(), driver.read(b).as_str()), ("", "RESERVED 2 1\r\ny\r\n"));
    });
}

#[test]
fn commands_behind_a_waiting_reserve_wait() {
    in_all_pieces(|driver| {
        let (a, b) = (driver.connect(), driver.connect());
        assert_eq!(driver.say(a, "reserve\ndelete 1\nlist-tube-used"), "");
        driver.put(b, "0 0 60", "x");
        assert_eq!(driver.read(a), "RESERVED 1 1\r\nx\r\nDELETED\r\nUSING default\r\n");
    });
}

#[test]
fn a_wait_times_out() {
    let mut driver = Driver::new();
    let c = driver.connect();
    assert_eq!(driver.say(c, "reserve-with-timeout 2"), "");
    assert_eq!(driver.stat_of_other("current-waiting"), "1");
    driver.pass(1_999);
    assert_eq!(driver.read(c), "");
    driver.pass(2);
    assert_eq!(driver.read(c), "TIMED_OUT\r\n");
    assert_eq!(driver.stat_of_other("current-waiting"), "0");
    assert_eq!(driver.say(c, "reserve-with-timeout 0"), "TIMED_OUT\n");
}

#[test]
fn an_endless_wait_does_not_end() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "reserve");
    driver.pass(100 * 365 * 86_400_000);
    assert_eq!(driver.read(a), "");
    driver.pass(100 * 365 * 86_400_000);
    driver.put(b, "0 0 60", "x");
    assert_eq!(driver.read(a), "RESERVED 1 1\r\nx\r\n");
}

#[test]
fn a_deadline_is_soon_at_once_unless_there_is_a_job() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.put(c, "0 0 1", "x");
        driver.put(c, "0 0 60", "y");
        assert_eq!(driver.say(c, "reserve"), "RESERVED 1 1\nx\n");
        assert_eq!(driver.say(c, "reserve"), "RESERVED 2 1\ny\n");
        assert_eq!(driver.say(c, "reserve"), "DEADLINE_SOON\n");
        assert_eq!(driver.say(c, "reserve-with-timeout 0"), "DEADLINE_SOON\n");
        assert_eq!(driver.say(c, "delete 1\nreserve-with-timeout 0"), "DELETED\nTIMED_OUT\n");
    });
}

#[test]
fn a_margin_ends_the_wait_when_it_comes() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 3", "x");
    assert_eq!(driver.say(c, "reserve\nreserve-with-timeout 60"), "RESERVED 1 1\nx\n");
    driver.pass(1_999);
    assert_eq!(driver.read(c), "");
    driver.pass(2);
    assert_eq!(driver.read(c), "DEADLINE_SOON\r\n");
    assert_eq!(driver.say(c, "touch 1\nreserve-with-timeout 1"), "TOUCHED\n");
    driver.pass(1_001);
    assert_eq!(driver.read(c), "TIMED_OUT\r\n");
}

#[test]
fn a_margin_that_somebody_else_moved_does_not_end_the_wait() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "0 0 3", "x");
    driver.say(a, "reserve\nreserve-with-timeout 60");
    driver.say(b, "reserve-with-timeout 60");
    assert_eq!(driver.phean("TOUCH default 1 FOR 10"), "1");
    driver.pass(8_999);
    assert_eq!(driver.read(a), "");
    // It has kept its place before the other one.
    let putter = driver.connect();
    driver.put(putter, "0 0 60", "y");
    assert_eq!((driver.read(a).as_str(), driver.read(b).as_str()), ("RESERVED 2 1\r\ny\r\n", ""));
}

/// The margin comes sooner by that than when the wait began, and nobody waited for it.
#[test]
fn a_margin_that_somebody_else_brought_nearer_ends_the_wait() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "0 0 60", "x");
    driver.put(a, "0 0 60", "y");
    driver.say(a, "reserve\nreserve\nreserve-with-timeout 30");
    driver.say(b, "reserve-with-timeout 30");
    assert_eq!(driver.phean("TOUCH default 2 FOR 5"), "1");
    driver.pass(3_999);
    assert_eq!(driver.read(a), "");
    // While a job is set aside for it, which somebody else deletes before it is told.
    driver.phean_only("PUT default z");
    driver.phean_only("TOUCH default 1 FOR 2");
    driver.phean_only("DELETE default 3");
    driver.settle();
    assert_eq!(driver.read(a), "");
    driver.pass(2);
    assert_eq!((driver.read(a).as_str(), driver.read(b).as_str()), ("DEADLINE_SOON\r\n", ""));
    // At once, where it has come already.
    assert_eq!(driver.say(a, "touch 1\ntouch 2\nreserve-with-timeout 30"), "TOUCHED\nTOUCHED\n");
    driver.phean("TOUCH default 1 FOR 0.5");
    driver.pass(1);
    assert_eq!((driver.read(a).as_str(), driver.read(b).as_str()), ("DEADLINE_SOON\r\n", ""));
}

#[test]
fn a_margin_whose_job_somebody_else_deleted_does_not_end_the_wait() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 3", "x");
    driver.say(c, "reserve\nreserve-with-timeout 5");
    assert_eq!(driver.phean("DELETE default 1"), "1");
    driver.pass(4_999);
    assert_eq!(driver.read(c), "");
    driver.pass(2);
    assert_eq!(driver.read(c), "TIMED_OUT\r\n");
}

#[test]
fn a_wait_that_is_interrupted_in_its_last_millisecond_lasts_until_its_end() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 3", "x");
    driver.say(c, "reserve");
    driver.pass(1);
    // The margin is over just as the last millisecond begins.
    assert_eq!(driver.say(c, "reserve-with-timeout 2"), "");
    assert_eq!(driver.phean("DELETE default 1"), "1");
    driver.pass(2_000);
    assert_eq!(driver.read(c), "");
    driver.pass(1);
    assert_eq!(driver.read(c), "TIMED_OUT\r\n");
}

#[test]
fn a_tube_that_went_takes_its_margins_along() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 1", "x");
    driver.say(c, "reserve");
    driver.redis(&Op::Del(Place::of(0, b"default")));
    assert_eq!(driver.say(c, "reserve-with-timeout 0\ndelete 1"), "TIMED_OUT\nNOT_FOUND\n");
}

#[test]
fn a_renamed_tube_keeps_its_margins() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 1", "x");
    driver.say(c, "reserve");
    driver.redis(&Op::Rename(Place::of(0, b"default"), Place::of(0, b"other")));
    assert_eq!(
        driver.say(c, "reserve-with-timeout 0\ntouch 1\ndelete 1"),
        "DEADLINE_SOON\nTOUCHED\nDELETED\n"
    );
}

#[test]
fn a_half_closed_connection_waits_no_longer_but_its_commands_run() {
    in_all_pieces(|driver| {
        let (a, b) = (driver.connect(), driver.connect());
        assert_eq!(driver.say(a, "reserve\nlist-tube-used\nreserve\nuse x"), "");
        driver.half_close(a);
        assert_eq!(driver.read(a), "TIMED_OUT\r\nUSING default\r\nTIMED_OUT\r\nUSING x\r\n");
        assert!(driver.session(a).is_over());
        driver.put(b, "0 0 60", "x");
        assert_eq!(driver.stat(b, "stats-job 1", "state"), "ready");
        driver.close(a);
    });
}

#[test]
fn a_waiter_that_vanishes_takes_nothing_along() {
    let mut driver = Driver::new();
    let (a, b, c) = (driver.connect(), driver.connect(), driver.connect());
    driver.say(a, "reserve");
    driver.say(b, "reserve");
    driver.close(a);
    driver.put(c, "0 0 60", "x");
    assert_eq!(driver.read(b), "RESERVED 1 1\r\nx\r\n");
    assert_eq!(driver.stat(c, "stats", "current-waiting"), "0");
}

#[test]
fn a_waiter_that_vanishes_before_it_was_told_gives_the_job_back() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "reserve");
    // Put, but nobody is told yet.
    let now_ms = driver.now_ms;
    driver.send_only(b, "put 0 0 60 1\r\nx\r\n");
    assert!(driver.server.broker.has_deliveries());
    driver.close(a);
    assert_eq!(driver.read(b), "INSERTED 1\r\n");
    assert_eq!(driver.stat(b, "stats-job 1", "state"), "ready");
    assert_eq!(driver.now_ms, now_ms);
}

#[test]
fn a_wait_can_be_interrupted() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.say(c, "reserve\nlist-tube-used");
    driver.interrupt(c);
    assert_eq!(driver.read(c), "INTERNAL_ERROR\r\nUSING default\r\n");
    assert_eq!(driver.stat(c, "stats", "current-waiting"), "0");
}

#[test]
fn jobs_that_are_due_together_go_in_the_order_of_their_times() {
    let mut driver = Driver::new();
    let (a, b, c) = (driver.connect(), driver.connect(), driver.connect());
    driver.put(c, "0 3 60", "later");
    driver.put(c, "9 1 60", "sooner");
    driver.say(a, "reserve");
    driver.say(b, "reserve");
    // The clock comes late: both are due by now.
    driver.now_ms += 5_000;
    driver.settle();
    assert_eq!(driver.read(a), "RESERVED 2 6\r\nsooner\r\n");
    assert_eq!(driver.read(b), "RESERVED 1 5\r\nlater\r\n");
}

/// The time of a job that this worker holds is over, and no tick has come to it: it is to be missed, not finished soon.
#[test]
fn a_reservation_that_is_over_has_no_deadline_that_is_soon() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 5", "x");
    assert_eq!(
        driver.say(c, "reserve\nwatch other\nignore default"),
        "RESERVED 1 1\nx\nWATCHING 2\nWATCHING 1\n"
    );
    driver.now_ms += 6_000;
    driver.send_only(c, "reserve-with-timeout 0\r\n");
    assert_eq!(driver.read(c), "TIMED_OUT\r\n");
}

/// The timer may be late: behind a long script, or while writes were paused.
#[test]
fn a_due_job_of_one_of_several_tubes_is_found_before_the_tick() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.say(c, "watch a\nwatch b\nuse b");
    driver.put(c, "0 5 60", "x");
    driver.now_ms += 5_001;
    driver.send_only(c, "reserve-with-timeout 0\r\n");
    assert_eq!(driver.read(c), "RESERVED 1 1\r\nx\r\n");
}

/// The timer stands at another job's end, before the touched one's: it has to be set anew for the margin alone.
#[test]
fn a_margin_that_comes_nearer_is_a_reason_to_set_the_timer() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.put(a, "0 0 60", "x");
    driver.put(a, "0 0 10", "y");
    assert_eq!(driver.say(a, "reserve-job 1"), "RESERVED 1 1\nx\n");
    assert_eq!(driver.say(b, "reserve-job 2"), "RESERVED 2 1\ny\n");
    assert_eq!(driver.say(a, "reserve"), "");
    let before_ms = driver.server.broker.next_tick_ms();
    driver.server.broker.take_sooner();
    driver.phean_only("TOUCH default 1 FOR 10.5");
    assert!(driver.server.broker.next_tick_ms() < before_ms);
    assert!(driver.server.broker.is_sooner());
}
