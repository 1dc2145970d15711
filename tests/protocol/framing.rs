//! Lines, bodies, numbers and names.

use super::driver::{Driver, in_all_pieces};

#[test]
fn a_job_goes_through_its_life() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        assert_eq!(driver.say(c, "put 1 0 60 5\nhello"), "INSERTED 1\n");
        assert_eq!(driver.say(c, "reserve"), "RESERVED 1 5\nhello\n");
        assert_eq!(driver.say(c, "delete 1"), "DELETED\n");
        assert_eq!(driver.say(c, "delete 1"), "NOT_FOUND\n");
    });
}

#[test]
fn a_body_may_be_empty_or_hold_anything() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.send(c, "put 0 0 1 0\r\n\r\nput 0 0 1 7\r\na\r\n\0\r\nb\r\nreserve\r\nreserve\r\n");
        let expected = "INSERTED 1\r\nINSERTED 2\r\nRESERVED 1 0\r\n\r\nRESERVED 2 7\r\na\r\n\0\r\nb\r\n";
        // The second reserve finds a job although the first one's margin has come.
        assert_eq!(driver.read(c), expected);
    });
}

#[test]
fn a_body_without_its_crlf_is_refused_and_exactly_consumed() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.send(c, "put 0 0 1 3\r\nabcdestats-job\r\nput 0 0 1 1\r\na\r\n");
        assert_eq!(driver.read(c), "EXPECTED_CRLF\r\nBAD_FORMAT\r\nINSERTED 1\r\n");
    });
}

#[test]
fn a_body_that_is_too_big_is_thrown_away_whatever_follows_its_numbers() {
    in_all_pieces(|driver| {
        driver.server.broker.settings.max_job_size = 4;
        let c = driver.connect();
        driver.send(c, "put 0 0 1 5\r\nabcde\r\nput 0 0 1 5 x\r\n1234567list-tube-used\r\n");
        assert_eq!(driver.read(c), "JOB_TOO_BIG\r\nJOB_TOO_BIG\r\nUSING default\r\n");
        driver.send(c, "put 0 0 1 4\r\nabcd\r\n");
        assert_eq!(driver.read(c), "INSERTED 1\r\n");
        assert_eq!(driver.stat(c, "stats", "cmd-put"), "3");
    });
}

#[test]
fn a_body_behind_garbage_is_read_as_commands() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.send(c, "put 0 0 1 4 x\r\nquat\r\n");
        assert_eq!(driver.read(c), "BAD_FORMAT\r\nUNKNOWN_COMMAND\r\n");
        assert_eq!(driver.stat(c, "stats", "current-producers"), "0");
    });
}

#[test]
fn what_is_thrown_away_is_not_kept() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.send(c, "put 0 0 1 4294967295\r\n");
    for _ in 0..4096 {
        driver.session(c).feed(&[b'x'; 65_536]);
        assert!(driver.session(c).wants_input());
        driver.settle();
    }
    let left = 4_294_967_297_u64 - 4096 * 65_536;
    assert_eq!(driver.read(c), "");
    for _ in 0..left / 65_536 {
        driver.session(c).feed(&[b'x'; 65_536]);
    }
    driver.session(c).feed(&vec![b'x'; (left % 65_536) as usize]);
    driver.send(c, "list-tube-used\r\n");
    assert_eq!(driver.read(c), "JOB_TOO_BIG\r\nUSING default\r\n");
}

#[test]
fn a_line_has_224_bytes_at_most() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        let name = "x".repeat(200);
        assert_eq!(driver.say(c, &format!("use {name}")), format!("USING {name}\n"));
        for length in [223, 224, 225, 447, 448, 449, 5000] {
            let line = format!("{}\r\nlist-tube-used\r\n", "y".repeat(length));
            driver.send(c, line);
            assert_eq!(driver.read(c), format!("BAD_FORMAT\r\nUSING {name}\r\n"), "{length}");
        }
        driver.send(c, format!("{}\r\n", "y".repeat(222)));
        assert_eq!(driver.read(c), "UNKNOWN_COMMAND\r\n");
        driver.send(c, format!("{}\r\r\nlist-tube-used\r\n", "y".repeat(300)));
        assert_eq!(driver.read(c), format!("BAD_FORMAT\r\nUSING {name}\r\n"));
    });
}

#[test]
fn a_line_ends_with_both_bytes() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.send(c, "stats\rfoo\nbar\r\n\r\nuse a\0b\r\n");
        assert_eq!(driver.read(c), "BAD_FORMAT\r\nUNKNOWN_COMMAND\r\nBAD_FORMAT\r\n");
    });
}

#[test]
fn quit_ends_it_and_nothing_behind_it_runs() {
    in_all_pieces(|driver| {
        let c = driver.connect();
        driver.send(c, "use a\r\nquitting\r\nuse b\r\n");
        assert_eq!(driver.read(c), "USING a\r\n");
        assert!(driver.session(c).is_over() && !driver.session(c).wants_input());
        driver.close(c);
    });
}

#[test]
fn a_half_sent_put_is_none() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.send(a, "put 0 0 1 5\r\nhel");
    assert_eq!(driver.say(b, "peek-ready"), "NOT_FOUND\n");
    assert!(!driver.session(a).is_over());
    driver.half_close(a);
    assert!(driver.session(a).is_over());
    driver.close(a);
    assert_eq!(driver.say(b, "peek-ready\npeek 1"), "NOT_FOUND\nNOT_FOUND\n");
    assert_eq!(driver.stat(b, "stats", "current-producers"), "0");
}

#[test]
fn who_does_not_read_is_not_served() {
    let mut driver = Driver::new();
    let c = driver.connect();
    driver.put(c, "0 0 60", &"x".repeat(60_000));
    let script = "peek 1\r\n".repeat(1000);
    driver.send(c, &script);
    assert!(driver.is_full(c));
    let held = driver.session(c).output().len();
    assert!(held < phean::beanstalk::OUTPUT_MAX + 61_000, "{held}");
    driver.send(c, "stats\r\n".repeat(20_000));
    assert!(!driver.session(c).wants_input());
    assert_eq!(driver.session(c).output().len(), held);
    let text = driver.read(c);
    assert_eq!(text.matches("FOUND 1").count(), 1000);
    assert_eq!(text.matches("OK ").count(), 20_000);
    assert!(driver.session(c).wants_input());
}

#[test]
fn input_behind_a_waiting_reserve_is_bounded() {
    let mut driver = Driver::new();
    let (a, b) = (driver.connect(), driver.connect());
    driver.send(a, "reserve\r\n");
    assert!(driver.session(a).wants_input());
    driver.send(a, "list-tube-used\r\n".repeat(5_000));
    assert!(!driver.session(a).wants_input());
    driver.put(b, "0 0 60", "x");
    let text = driver.read(a);
    assert!(text.starts_with("RESERVED 1 1\r\nx\r\nUSING default\r\n"));
    assert_eq!(text.matches("USING").count(), 5_000);
}

/// A line arrived in two pieces: there was nothing to be done before so much input was there. More commands followed at
/// once than have their turn, and what was left of them was less than that.
#[test]
fn what_is_left_of_a_turn_is_answered_though_a_longer_line_was_waited_for() {
    for is_half_closed in [false, true] {
        let mut driver = Driver::new();
        let c = driver.connect();
        driver.send(c, format!("use {}", "x".repeat(190)));
        assert_eq!(driver.read(c), "");
        let rest = format!("\r\n{}put 0 0 1 1\r\nx\r\n", "peek 9\r\n".repeat(255));
        driver.session(c).feed(rest.as_bytes());
        if is_half_closed {
            driver.half_close(c);
        }
        let answers = driver.read(c);
        assert_eq!(answers.matches("NOT_FOUND").count(), 255);
        assert!(answers.ends_with("INSERTED 1\r\n"), "half-closed: {is_half_closed}");
        assert_eq!(driver.session(c).is_over(), is_half_closed);
    }
}

/// More than is otherwise read ahead is read where a body needs it, or it would never be whole.
#[test]
fn a_body_is_read_to_its_end_however_long_it_is() {
    let mut driver = Driver::new();
    driver.server.broker.settings.max_job_size = 1 << 20;
    let c = driver.connect();
    driver.send(c, "put 0 0 60 300000\r\n");
    let body = "x".repeat(300_000) + "\r\n";
    for piece in body.as_bytes().chunks(65_536) {
        assert!(driver.session(c).wants_input());
        driver.send(c, piece);
    }
    assert_eq!(driver.read(c), "INSERTED 1\r\n");
}
