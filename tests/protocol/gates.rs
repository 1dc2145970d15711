//! What the host forbids.

use phean::beanstalk::{Refusal, Trouble};

use super::driver::{Driver, in_all_pieces};
use super::world::{Op, Place};

#[test]
fn without_memory_nothing_is_put_but_everything_else_goes_on() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.put(c, "0 0 60", "x");
        driver.host.is_full = true;
        assert_eq!(
            driver.say(c, "put 0 0 60 3\nabc\nreserve\ndelete 1"),
            "OUT_OF_MEMORY\nRESERVED 1 1\nx\nDELETED\n"
        );
    });
}

#[test]
fn a_replica_shows_but_changes_nothing() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", "x");
    driver.put(c, "0 0 60", "y");
    driver.say(c, "reserve");
    driver.host.refusal = Some(Refusal::NotNow);
    let script = "put 0 0 60 3\nabc\nreserve\nreserve-with-timeout 0\nreserve-job 2\ndelete 1\nrelease 1 0 0\nbury 1 0\ntouch 1\nkick 1\nkick-job 2\npause-tube default 1";
    assert_eq!(driver.say(c, script), "INTERNAL_ERROR\n".repeat(11));
    assert_eq!(
        driver.say(c, "peek 1\ndelete 9\nuse a\nwatch b"),
        "FOUND 1 1\nx\nNOT_FOUND\nUSING a\nWATCHING 2\n"
    );
    assert_eq!(driver.stat(c, "stats-job 1", "state"), "reserved");
    driver.host.refusal = None;
    assert_eq!(driver.say(c, "delete 1"), "DELETED\n");
}

#[test]
fn a_wait_goes_on_while_nothing_may_be_written() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.say(c, "reserve-with-timeout 2");
    driver.host.refusal = Some(Refusal::NotNow);
    driver.pass(2_001);
    assert_eq!(driver.read(c), "TIMED_OUT\r\n");
}

#[test]
fn a_key_of_another_type_is_an_error_and_stays() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.redis(&Op::SetText(Place::of(0, b"text")));
    assert_eq!(
        driver.say(c, "use text\nwatch text\nlist-tube-used"),
        "INTERNAL_ERROR\nINTERNAL_ERROR\nUSING default\n"
    );
    assert_eq!(
        driver.host.troubles,
        [("text".to_string(), Trouble::WrongType), ("text".to_string(), Trouble::WrongType)]
    );
    driver.redis(&Op::SetText(Place::of(0, b"default")));
    let script = "put 0 0 1 1\nx\nreserve\nreserve-with-timeout 0\npeek-ready\nkick 1\npause-tube default 1\nstats-tube default";
    assert_eq!(driver.say(c, script), "INTERNAL_ERROR\n".repeat(7));
    assert_eq!(
        driver.say(c, "watch other\nuse other\nput 0 0 1 1\nx\nreserve"),
        "WATCHING 2\nUSING other\nINSERTED 1\nRESERVED 1 1\nx\n"
    );
    assert!(!driver.server.world.state.borrow_mut().execute(&Op::Del(Place::of(0, b"nothing"))));
    assert!(
        driver.server.world.state.borrow_mut().execute(&Op::Del(Place::of(0, b"default"))),
        "it is still there"
    );
}

#[test]
fn rights_are_looked_at() {
    for (command, script, expected) in [
        ("PHEAN.PUT", "put 0 0 1 1\nx", "INTERNAL_ERROR\n"),
        ("PHEAN.RESERVE", "reserve-with-timeout 0", "INTERNAL_ERROR\n"),
        ("PHEAN.PEEK", "peek 1\npeek-ready", "INTERNAL_ERROR\nINTERNAL_ERROR\n"),
        ("PHEAN.DELETE", "delete 1\ndelete 2", "INTERNAL_ERROR\nNOT_FOUND\n"),
        ("PHEAN.KICK", "kick 1", "INTERNAL_ERROR\n"),
        ("PHEAN.KICKJOB", "kick-job 1", "INTERNAL_ERROR\n"),
        ("PHEAN.RESERVEJOB", "reserve-job 1", "INTERNAL_ERROR\n"),
        ("PHEAN.PAUSE", "pause-tube default 1", "INTERNAL_ERROR\n"),
        ("PHEAN.STATS", "stats-tube default", "INTERNAL_ERROR\n"),
        ("PHEAN.JOB", "stats-job 1", "INTERNAL_ERROR\n"),
        ("PHEAN.RELEASE", "reserve\nrelease 1 0 0", "RESERVED 1 1\nx\nINTERNAL_ERROR\n"),
        ("PHEAN.BURY", "reserve\nbury 1 0", "RESERVED 1 1\nx\nINTERNAL_ERROR\n"),
        ("PHEAN.TOUCH", "reserve\ntouch 1", "RESERVED 1 1\nx\nINTERNAL_ERROR\n"),
    ] {
        let mut driver = Driver::new();
        let c = driver.connect();
        driver.put(c, "0 0 60", "x");
        driver.host.forbidden = Some((command, "default"));
        assert_eq!(driver.say(c, script), expected, "{command}");
        assert_eq!(driver.host.troubles[0], ("default".to_string(), Trouble::NotAllowed), "{command}");
    }
    for (command, script) in [("PHEAN.TUBES", "list-tubes"), ("PHEAN.STATS", "stats")] {
        let mut driver = Driver::new();
        let c = driver.connect();
        driver.host.forbidden = Some((command, ""));
        assert_eq!(driver.say(c, script), "INTERNAL_ERROR\n");
    }
}

#[test]
fn a_forbidden_tube_among_others_is_like_an_empty_one() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", "forbidden");
    driver.say(c, "use t\nwatch t");
    driver.host.forbidden = Some(("PHEAN.RESERVE", "default"));
    assert_eq!(driver.say(c, "reserve-with-timeout 0"), "TIMED_OUT\n");
    assert_eq!(driver.say(c, "reserve"), "");
    let other = driver.connect();
    driver.put(other, "0 0 60", "forbidden, too");
    assert_eq!(driver.read(c), "");
    driver.phean("PUT t welcome");
    assert_eq!(driver.read(c), "RESERVED 3 7\r\nwelcome\r\n");
    assert_eq!(driver.say(c, "ignore default\nwatch default"), "WATCHING 1\nINTERNAL_ERROR\n");
}

#[test]
fn a_user_that_lost_its_rights_while_it_waited_gets_nothing() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "reserve");
    driver.server.world.state.borrow_mut().denies = true;
    driver.put(b, "0 0 60", "x");
    assert_eq!(driver.read(a), "INTERNAL_ERROR\r\n");
    assert_eq!(driver.stat(b, "stats-job 1", "state"), "ready");
    assert_eq!(driver.stat(b, "stats-job 1", "reserves"), "1");
}

#[test]
fn tubes_of_other_nodes_are_refused() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.host.remote = Some("default");
    assert_eq!(driver.say(c, "put 0 0 1 1\nx\nreserve"), "INTERNAL_ERROR\nINTERNAL_ERROR\n");
    assert_eq!(
        driver.say(c, "use a\nwatch a\nput 0 0 60 1\nx\nreserve"),
        "USING a\nWATCHING 2\nINSERTED 1\nRESERVED 1 1\nx\n"
    );
    assert_eq!(
        driver.say(c, "ignore default\nwatch default\nuse default"),
        "WATCHING 1\nINTERNAL_ERROR\nINTERNAL_ERROR\n"
    );
    assert_eq!(driver.host.troubles[0], ("default".to_string(), Trouble::NotLocal));
}

#[test]
fn without_memory_few_tubes_are_watched() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.host.is_full = true;
    let script: String = (0..20).map(|n| format!("watch t{n}\n")).collect();
    let answer = driver.say(c, &script);
    assert_eq!(answer.matches("WATCHING").count(), 15);
    assert_eq!(answer.matches("OUT_OF_MEMORY").count(), 5);
    assert_eq!(driver.say(c, "watch t0\nignore t1"), "WATCHING 16\nWATCHING 15\n");
}
