//! Using, watching, pausing, and which tubes there are.

use super::driver::{Driver, in_all_pieces};

fn list(names: &[&str]) -> String {
    let text: String = names.iter().map(|name| format!("- {name}\n")).collect();
    format!("OK {}\n---\n{text}\n", text.len() + 4)
}

#[test]
fn tubes_are_used_and_watched() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        assert_eq!(
            driver.say(c, "list-tube-used\nlist-tubes-watched"),
            format!("USING default\n{}", list(&["default"]))
        );
        assert_eq!(driver.say(c, "use a\nlist-tube-used"), "USING a\nUSING a\n");
        assert_eq!(
            driver.say(c, "watch b\nwatch b\nwatch c\nwatch d"),
            "WATCHING 2\nWATCHING 2\nWATCHING 3\nWATCHING 4\n"
        );
        assert_eq!(driver.say(c, "ignore b\nignore x"), "WATCHING 3\nWATCHING 3\n");
        assert_eq!(driver.say(c, "list-tubes-watched"), list(&["default", "d", "c"]));
        assert_eq!(
            driver.say(c, "ignore default\nignore c\nignore d\nignore e"),
            "WATCHING 2\nWATCHING 1\nNOT_IGNORED\nWATCHING 1\n"
        );
    });
}

#[test]
fn a_tube_is_there_while_it_is_used_or_watched_or_has_a_job() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "use x\nwatch y\nwatch z");
    assert_eq!(driver.say(b, "list-tubes"), list(&["default", "x", "y", "z"]));
    driver.put(a, "0 0 60", "x");
    driver.say(a, "use default");
    assert_eq!(driver.say(b, "list-tubes"), list(&["default", "x", "y", "z"]));
    assert_eq!(driver.stat(b, "stats", "current-tubes"), "4");
    assert_eq!(driver.say(b, "delete 1\nlist-tubes"), format!("DELETED\n{}", list(&["default", "z", "y"])));
    assert_eq!(driver.say(b, "stats-tube x\npause-tube x 1"), "NOT_FOUND\nNOT_FOUND\n");
    driver.close(a);
    assert_eq!(driver.say(b, "list-tubes"), list(&["default"]));
}

#[test]
fn a_tube_that_comes_to_life_again_counts_anew() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "use x");
    driver.put(a, "0 0 60", "x");
    driver.say(a, "delete 1\npause-tube x 0");
    assert_eq!(driver.stat(b, "stats-tube x", "total-jobs"), "1");
    assert_eq!(driver.stat(b, "stats-tube x", "cmd-delete"), "1");
    assert_eq!(driver.stat(b, "stats-tube x", "cmd-pause-tube"), "1");
    driver.say(a, "use default");
    assert_eq!(driver.say(b, "stats-tube x"), "NOT_FOUND\n");
    driver.say(a, "use x");
    for field in ["total-jobs", "cmd-delete", "cmd-pause-tube"] {
        assert_eq!(driver.stat(b, "stats-tube x", field), "0", "{field}");
    }
    driver.put(a, "0 0 60", "x");
    assert_eq!(driver.stat(b, "stats-tube x", "total-jobs"), "1");
}

#[test]
fn a_tube_keeps_its_counters_while_it_is_used() {
    let mut driver = Driver::new();
    driver.server.broker.settings.linger_ms = 0;
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "use x");
    driver.put(a, "0 0 60", "x");
    driver.say(a, "delete 1");
    driver.pass(10_000);
    assert_eq!(driver.stat(b, "stats-tube x", "total-jobs"), "1");
    driver.say(a, "use default");
    driver.pass(10_000);
    assert_eq!(driver.phean("TUBES"), "[\"default\"]".replace("\"default\"", ""), "its key is gone");
}

#[test]
fn a_paused_tube_gives_out_nothing() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    assert_eq!(driver.say(a, "pause-tube default 5\npause-tube nowhere 5"), "PAUSED\nNOT_FOUND\n");
    driver.put(a, "0 0 60", "x");
    assert_eq!(driver.say(b, "reserve-with-timeout 0\npeek-ready"), "TIMED_OUT\nFOUND 1 1\nx\n");
    assert_eq!(driver.say(b, "reserve"), "");
    assert_eq!(driver.stat(a, "stats-tube default", "pause"), "5");
    driver.pass(2_000);
    assert_eq!(driver.stat(a, "stats-tube default", "pause-time-left"), "2");
    driver.pass(2_999);
    assert_eq!(driver.read(b), "");
    driver.pass(2);
    assert_eq!(driver.read(b), "RESERVED 1 1\r\nx\r\n");
    assert_eq!(driver.stat(a, "stats-tube default", "pause"), "0");
}

#[test]
fn a_pause_of_0_resumes() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.say(a, "pause-tube default 1000");
    driver.put(a, "0 0 60", "x");
    driver.say(b, "reserve");
    assert_eq!(driver.say(a, "pause-tube default 0"), "PAUSED\n");
    assert_eq!(driver.read(b), "RESERVED 1 1\r\nx\r\n");
    assert_eq!(driver.stat(a, "stats-tube default", "cmd-pause-tube"), "2");
}

#[test]
fn a_paused_tubes_job_does_not_hide_a_deadline() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 1", "x");
    driver.say(c, "reserve\nuse p\nwatch p\npause-tube p 100");
    driver.put(c, "0 0 60", "y");
    assert_eq!(driver.say(c, "reserve-with-timeout 5"), "DEADLINE_SOON\n");
}

#[test]
fn the_most_urgent_over_all_watched_tubes_comes_first() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.say(
            c,
            "use a\nput 5 0 60 1\n1\nuse b\nput 5 0 60 1\n2\nuse c\nput 1 0 60 1\n3\nuse d\nput 0 0 60 1\n4",
        );
        driver.say(c, "watch c\nwatch b\nwatch a\npause-tube b 60");
        let expected = "RESERVED 3 1\n3\nRESERVED 1 1\n1\nTIMED_OUT\n";
        assert_eq!(driver.say(c, "reserve\nreserve\nreserve-with-timeout 0"), expected);
    });
}

#[test]
fn a_pause_ends_with_its_tube_unless_an_operator_set_it() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    // At once, and after a while.
    for script in ["use t\npause-tube t 100\nuse default\nuse t", "pause-tube t 100\nuse default"] {
        driver.say(a, script);
        driver.say(a, "use t");
        assert_eq!(driver.stat(a, "stats-tube t", "pause"), "0");
        assert_eq!(driver.stat(a, "stats-tube t", "cmd-pause-tube"), "0");
        driver.put(a, "0 0 60", "x");
        assert!(driver.say(b, "watch t\nreserve-with-timeout 0\nignore t").contains("RESERVED"));
        driver.say(b, "delete 1\ndelete 2");
    }
    assert_eq!(driver.phean("PAUSE t 100"), "OK");
    driver.say(a, "use default");
    driver.say(a, "use t");
    assert_eq!(driver.stat(a, "stats-tube t", "pause"), "100");
    driver.say(a, "pause-tube t 200");
    driver.put(a, "0 0 60", "x");
    driver.say(a, "use default");
    assert_eq!(driver.stat(a, "stats-tube t", "pause"), "200", "it has a job");
}

/// A pause ends with the tube. The tube came back while nothing could be written: the pause ends as soon as that can be.
#[test]
fn a_pause_that_cannot_end_with_its_tube_ends_later() {
    let mut driver = Driver::new();
    let c = driver.connect();
    assert_eq!(driver.say(c, "use p\npause-tube p 100"), "USING p\nPAUSED\n");
    driver.server.world.state.borrow_mut().is_paused = true;
    driver.send_only(c, "use default\r\nuse p\r\n");
    driver.server.world.state.borrow_mut().is_paused = false;
    driver.settle();
    assert_eq!(driver.read(c), "USING default\r\nUSING p\r\n");
    assert_eq!(driver.stat(c, "stats-tube p", "pause-time-left"), "0");
}

/// The tube is gone until the next tick ends its pause, and before that an operator pauses it anew.
#[test]
fn a_pause_that_ends_with_its_tube_takes_no_later_one_along() {
    let mut driver = Driver::new();
    let c = driver.connect();
    assert_eq!(driver.say(c, "use p\npause-tube p 100"), "USING p\nPAUSED\n");
    driver.send_only(c, "use default\r\n");
    driver.phean_only("PAUSE p 500");
    driver.settle();
    driver.say(c, "use p");
    assert_eq!(driver.stat(c, "stats-tube p", "pause"), "500");
}

#[test]
fn an_idle_tube_goes_with_the_connection_that_kept_it() {
    let mut driver = Driver::new();
    driver.server.broker.settings.linger_ms = 10_000;
    for [begin, end] in [["use x", "use default"], ["watch x", "ignore x"]] {
        let c = driver.connect();
        driver.say(c, begin);
        let id = driver.phean("PUT x job");
        driver.phean(&format!("DELETE x {id}"));
        // It is looked at again when it could next go, which is later than it may.
        driver.pass(12_000);
        assert_eq!(driver.phean("TUBES"), "[\"x\"]");
        driver.say(c, end);
        assert_eq!(driver.phean("TUBES"), "[]", "{end}");
    }
}
