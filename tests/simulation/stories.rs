//! What the simulation found, told as short scripts: each test is the story of a bug.

use phean::broker::{News, Role, Settings};
use phean::queue::State;

use super::reply::Value as Answer;
use super::server::{Outcome, Sender, Server};
use super::world::{Ended, Op, Place, save};

const NOW_MS: u64 = 1_790_000_000_000;

struct Story {
    server: Server,
    now_ms: u64,
}

impl Story {
    fn begin() -> Story {
        let settings = Settings { linger_ms: 1_000, ..Settings::default() };
        Story { server: Server::primary(settings, NOW_MS), now_ms: NOW_MS }
    }

    /// A client sends a command, and waits if it must.
    fn send(&mut self, client: u64, line: &str) -> Option<Answer> {
        let args: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let sender = Sender { id: client, may_wait: true, in_script: false };
        match self.server.run(sender, 0, &args, self.now_ms) {
            Outcome::Reply(reply) => Some(reply),
            Outcome::Waits(wait) => {
                self.server.broker.wait(wait);
                None
            }
            Outcome::Error(error) => panic!("{line}: {error}"),
        }
    }

    fn execute(&mut self, op: &Op) {
        assert!(self.server.world.state.borrow_mut().execute(op), "{op:?} found nothing to do");
    }

    fn hear(&mut self, news: News) {
        self.server.world.state.borrow_mut().news.push_back(news);
    }

    /// Lets time pass, ticks when it is time to, and delivers. Returns who was told of how many jobs.
    fn until(&mut self, now_ms: u64) -> Vec<(u64, usize)> {
        self.now_ms = now_ms;
        self.server.world.state.borrow_mut().now_ms = now_ms;
        for _ in 0..10 {
            self.server.broker.deliver(&mut self.server.world, now_ms);
            if self.server.broker.next_tick_ms().is_some_and(|at_ms| at_ms <= now_ms) {
                self.server.broker.tick(&mut self.server.world, now_ms);
            }
        }
        let ended = std::mem::take(&mut self.server.world.state.borrow_mut().ended);
        let jobs = |end: &Ended| if let Ended::Jobs(_, jobs) = end { jobs.len() } else { 0 };
        ended.iter().map(|(waiter, end)| (*waiter, jobs(end))).collect()
    }

    /// How many of a tube's jobs are in a state.
    fn jobs(&self, name: &[u8], state: State) -> u64 {
        let keys = self.server.world.state.borrow().keys.clone();
        keys.tube(Place::of(0, name)).map_or(0, |(tube, _)| tube.counts().of(state))
    }

    fn ready(&self, name: &[u8]) -> u64 {
        self.jobs(name, State::Ready)
    }

    fn dump(&self, name: &[u8]) -> Op {
        let keys = self.server.world.state.borrow().keys.clone();
        let (tube, _) = keys.tube(Place::of(0, name)).expect("a tube to dump");
        Op::Restore(Place::of(0, name), save(tube).into())
    }
}

/// The id in a lease.
fn id_of(lease: &Answer) -> String {
    let lease = String::from_utf8_lossy(lease.bytes());
    lease.split('-').next().unwrap_or_default().into()
}

/// An empty tube whose time is over stays for a worker that waits on it, and the index looks at it again only after
/// another `phean.tube-linger`. A job that was then put with a delay was due later than the tube itself had been,
/// so nobody moved the index forward: the job became ready up to an hour late.
#[test]
fn a_delayed_job_in_a_tube_kept_for_a_waiter_is_promoted_in_time() {
    let mut story = Story::begin();
    story.send(1, "PUT a x");
    story.send(1, "DELETE a 1");
    story.send(2, "RESERVE a TIMEOUT 100");
    assert!(story.until(NOW_MS + 1_500).is_empty());
    story.send(1, "PUT a y DELAY 0.25");
    assert_eq!(story.until(NOW_MS + 1_751), [(1, 1)]);
}

/// The same with a job that was handed to the waiter: its time to run was over up to an hour late.
#[test]
fn a_reservation_in_a_tube_kept_for_a_waiter_times_out_in_time() {
    let mut story = Story::begin();
    story.send(1, "PUT a x");
    story.send(1, "DELETE a 1");
    story.send(2, "RESERVE a TIMEOUT 100");
    assert!(story.until(NOW_MS + 1_500).is_empty());
    story.send(1, "PUT a y TTR 0.25");
    assert_eq!(story.until(NOW_MS + 1_500), [(1, 1)]);
    story.until(NOW_MS + 1_751);
    assert_eq!(story.ready(b"a"), 1);
}

/// A job became due in the very command of a client that does not wait, before the timer had fired. That client
/// took the job from those who had waited for it.
#[test]
fn who_waits_comes_before_who_finds_a_due_job() {
    for line in ["RESERVE a", "RESERVE a COUNT 1", "MRESERVE 2 a b"] {
        let mut story = Story::begin();
        story.send(1, "PUT a x DELAY 0.25");
        story.send(2, "RESERVE a TIMEOUT 100");
        story.now_ms += 251;
        assert_eq!(story.send(3, line), Some(Answer::Null), "{line}");
        assert_eq!(story.until(NOW_MS + 251), [(1, 1)]);
    }
}

/// The same where the ready jobs came with a renamed or restored tube, in one transaction with the reserve.
#[test]
fn who_waits_comes_before_who_finds_a_tube_that_just_appeared() {
    for line in ["RESERVE b", "RESERVE b COUNT 1", "MRESERVE 2 a b"] {
        let mut story = Story::begin();
        story.send(1, "PUT a x");
        story.send(2, "RESERVE b TIMEOUT 100");
        story.execute(&Op::Rename(Place::of(0, b"a"), Place::of(0, b"b")));
        assert_eq!(story.send(3, line), Some(Answer::Null), "{line}");
        assert_eq!(story.until(NOW_MS), [(1, 1)]);
    }
}

/// `MULTI`, `RESTORE`, `RESTORE REPLACE`, `EXEC`: the broker heard of it all later, looked at the first tube when
/// the second was there, and counted the second's jobs twice and out once.
#[test]
fn a_tube_that_comes_twice_is_counted_once() {
    let mut story = Story::begin();
    story.send(1, "PUT a x");
    let one = story.dump(b"a");
    story.send(1, "MPUT a 2 y z");
    let three = story.dump(b"a");
    story.execute(&one);
    story.execute(&three);
    story.until(NOW_MS);
    assert_eq!(story.server.broker.jobs().of(State::Ready), 3);
    assert_eq!(story.server.broker.tubes(), 1);
}

/// `MULTI`, `RESTORE`, `SWAPDB`, `EXEC`: the broker looked for the tube where it had appeared, not where it was by
/// then, and never learned of it. Nothing in it was promoted or timed out until somebody used it.
#[test]
fn a_tube_that_appears_and_changes_its_database_is_known() {
    let mut story = Story::begin();
    story.send(1, "PUT a x DELAY 0.25");
    let dump = story.dump(b"a");
    story.execute(&Op::Del(Place::of(0, b"a")));
    story.until(NOW_MS);
    story.execute(&dump);
    story.execute(&Op::Swap(0, 1));
    story.until(NOW_MS);
    assert_eq!(story.server.broker.tubes_from(1, b"").count(), 1);
    assert_eq!(story.server.broker.next_tick_ms(), Some(NOW_MS + 251));
}

/// What was to be done at once was noted down for the present time. When the clock stepped back at that moment, it
/// was done only when that time came again.
#[test]
fn what_is_to_happen_at_once_does_not_wait_for_the_clock() {
    let mut story = Story::begin();
    story.send(1, "PUT a x");
    story.send(2, "RESERVE b TIMEOUT 100");
    story.execute(&Op::Rename(Place::of(0, b"a"), Place::of(0, b"b")));
    story.server.hear();
    assert_eq!(story.until(NOW_MS - 3_000), [(1, 1)]);
}

/// `REPLICAOF`: the waiters of a server that had just become a follower disconnected, and what was set aside for them
/// stayed on its list. It gave the jobs back when it became a primary again, in whatever reservations held there then.
#[test]
fn what_a_server_owed_in_an_earlier_life_is_forgotten() {
    let mut story = Story::begin();
    story.send(2, "RESERVE a TIMEOUT 100");
    story.send(1, "PUT a x");
    story.server.broker.set_role(Role::Follower, 0);
    story.server.world.state.borrow_mut().news.push_back(News::Left { waiter: 1 });
    story.server.hear();
    story.server.broker.set_role(Role::Primary, NOW_MS * 1000);
    story.until(NOW_MS);
    assert_eq!(story.ready(b"a"), 0);
    story.until(NOW_MS + 60_001);
    assert_eq!(story.ready(b"a"), 1);
}

/// A time to run that is over before the waiter was told counts as no attempt. But in the same script the job had
/// been released by its id and reserved by somebody else, who was told: that attempt counts.
#[test]
fn an_attempt_counts_once_its_worker_was_told() {
    let mut story = Story::begin();
    story.send(2, "RESERVE a TIMEOUT 100");
    story.send(1, "PUT a x");
    story.send(1, "RELEASE a 1");
    let reply = story.send(3, "RESERVE a TTR 0.001").expect("a reply");
    assert_eq!(reply.array()[3].integer(), 2);
    story.now_ms += 2;
    let reply = story.send(3, "RESERVE a").expect("a reply");
    assert_eq!(reply.array()[3].integer(), 3);
}

/// A tube with a time to live was renamed, its time was over before the broker heard of that, and nothing deleted it,
/// as writes were paused. Then the clock stepped back, and the tube was there again: nobody knew it, its jobs were taken
/// from the totals but never added, and what was due in it did not happen.
#[test]
fn a_tube_that_was_out_of_sight_when_it_was_heard_of_is_known_once_it_is_used() {
    let mut story = Story::begin();
    story.send(1, "MPUT a 2 x y");
    let (a, b) = (Place::of(0, b"a"), Place::of(0, b"b"));
    story.execute(&Op::Expire(a, NOW_MS + 100));
    story.until(NOW_MS);
    story.execute(&Op::Rename(a, b));
    story.server.world.state.borrow_mut().is_paused = true;
    story.until(NOW_MS + 200);
    assert_eq!(story.server.broker.tubes(), 0);
    story.server.world.state.borrow_mut().is_paused = false;
    story.until(NOW_MS + 50);
    story.send(1, "RESERVE b TTR 0.025");
    assert_eq!((story.server.broker.tubes(), story.server.broker.jobs().all()), (1, 2));
    story.until(NOW_MS + 76);
    assert_eq!(story.ready(b"b"), 2);
    story.execute(&Op::Del(b));
    story.until(NOW_MS + 76);
    assert_eq!((story.server.broker.tubes(), story.server.broker.jobs().all()), (0, 0));
}

/// Two tubes held the same job, one as the other's copy, and it was reserved in both in the same millisecond, so with
/// the same lease number. Then the one tube was copied over the other, before that one's worker was told: what was
/// reserved there now was so for somebody else.
#[test]
fn a_worker_is_not_told_of_what_a_copied_tube_holds_for_another() {
    let mut story = Story::begin();
    let (a, b) = (Place::of(0, b"a"), Place::of(0, b"b"));
    story.send(1, "PUT a x DELAY 0.25");
    story.execute(&Op::Copy(a, b));
    story.until(NOW_MS);
    story.send(2, "RESERVE a TIMEOUT 100");
    story.send(3, "RESERVE b TIMEOUT 100");
    story.now_ms += 251;
    story.server.broker.tick(&mut story.server.world, story.now_ms);
    story.execute(&Op::Del(b));
    story.execute(&Op::Copy(a, b));
    assert_eq!(story.until(NOW_MS + 251), [(1, 1)]);
    story.send(1, "PUT b y");
    assert_eq!(story.until(NOW_MS + 251), [(2, 1)]);
}

/// More was overdue in a tube than one slice takes. `PHEAN.MRESERVE` chose from what the first slice had made ready; then
/// a second one brought a more urgent job, which was reserved instead, and the reply, which looked for the chosen one,
/// told of none. Nobody held it until its time to run was over. By now it does one slice, and the tick goes on.
#[test]
fn who_reserves_from_several_tubes_is_told_of_what_was_reserved() {
    for (line, expected) in [("MRESERVE 2 a b", &["1"][..]), ("MRESERVE 2 a b COUNT 3", &["1", "2", "3"])] {
        let mut story = Story::begin();
        for _ in 0..300 {
            story.send(1, "PUT a x DELAY 0.25");
        }
        story.send(1, "PUT a urgent PRI 0 DELAY 0.251");
        story.now_ms += 300;
        let reply = story.send(3, line).expect("a reply");
        let jobs = if line.contains("COUNT") { reply.array().to_vec() } else { vec![reply] };
        let ids: Vec<_> = jobs.iter().map(|job| id_of(&job.array()[1])).collect();
        assert_eq!(ids, expected, "{line}");
        assert_eq!(story.jobs(b"a", State::Reserved), expected.len() as u64, "{line}");
        story.server.broker.tick(&mut story.server.world, story.now_ms);
        let next = story.send(3, "MRESERVE 2 a b").expect("a reply");
        assert_eq!(id_of(&next.array()[1]), "301", "{line}");
    }
}

/// The same two copies, and what goes back of them: by a connection that closes, and by a waiter that is gone before it
/// was told. Each time the job was taken from the one that held it now.
#[test]
fn what_goes_back_is_what_its_own_worker_held() {
    let (a, b, c) = (Place::of(0, b"a"), Place::of(0, b"b"), Place::of(0, b"c"));
    let mut story = Story::begin();
    story.send(1, "PUT a x");
    story.execute(&Op::Copy(a, b));
    story.send(2, "RESERVE a BOUND");
    story.send(3, "RESERVE b BOUND");
    story.execute(&Op::Rename(a, b));
    story.hear(News::Closed { client: 3 });
    story.until(NOW_MS);
    assert_eq!(story.jobs(b"b", State::Reserved), 1, "client 2 holds it");
    story.hear(News::Closed { client: 2 });
    story.until(NOW_MS);
    assert_eq!(story.ready(b"b"), 1);

    let mut story = Story::begin();
    story.send(1, "PUT a x DELAY 0.25");
    story.execute(&Op::Copy(a, b));
    story.until(NOW_MS);
    story.send(2, "MRESERVE 2 a c TIMEOUT 100");
    story.send(3, "RESERVE b TIMEOUT 100");
    story.now_ms += 251;
    story.server.broker.tick(&mut story.server.world, story.now_ms);
    story.execute(&Op::Rename(a, b));
    story.execute(&Op::Rename(b, c));
    story.hear(News::Left { waiter: 2 });
    assert_eq!(story.until(NOW_MS + 251), [(1, 1)]);
    assert_eq!(story.jobs(b"c", State::Reserved), 1, "client 2 holds it");
}

/// Time to run that was over before the waiter was told was noticed in time only while the job was set aside for it. Where
/// that had ended first, as the waiter was gone, or was told of other jobs, or took its place again, it counted as a
/// timeout, and `phean.retry-count` buried the job.
#[test]
fn a_job_that_its_worker_never_heard_of_is_not_buried() {
    let begin = || {
        let mut story = Story::begin();
        story.server.broker.settings.retry.count = Some(0);
        story
    };
    let mut story = begin();
    story.send(2, "RESERVE a TIMEOUT 100");
    story.send(1, "PUT a x TTR 0.25");
    // A script took longer than that.
    assert_eq!(story.until(NOW_MS + 300), [(1, 1)]);

    let mut story = begin();
    story.send(2, "RESERVE a TIMEOUT 100");
    story.send(1, "PUT a x TTR 0.25");
    story.hear(News::Left { waiter: 1 });
    assert_eq!(story.until(NOW_MS + 300), []);
    assert_eq!(story.ready(b"a"), 1);

    let mut story = begin();
    story.send(1, "PAUSE a 1");
    story.send(1, "PUT a x TTR 0.25");
    story.send(1, "PUT a y");
    story.send(2, "RESERVE a TIMEOUT 100 COUNT 2");
    story.send(1, "PAUSE a 0");
    assert_eq!(story.until(NOW_MS + 300), [(1, 1)]);
    assert_eq!((story.jobs(b"a", State::Reserved), story.ready(b"a")), (1, 1));

    let mut story = begin();
    story.send(2, "RESERVE a TIMEOUT 100");
    story.send(1, "PUT a x TTR 0.25");
    assert_eq!(story.until(NOW_MS), [(1, 1)]);
    story.hear(News::Undelivered { db: 0, name: b"a".as_slice().into(), worker: 2, id: 1, n: NOW_MS });
    story.until(NOW_MS + 300);
    assert_eq!(story.ready(b"a"), 1);

    // More is overdue than one slice takes.
    let mut story = begin();
    story.send(2, "RESERVE a TIMEOUT 100 COUNT 600");
    story.send(1, &format!("MPUT a 600{} TTR 0.25", " x".repeat(600)));
    story.hear(News::Left { waiter: 1 });
    story.until(NOW_MS + 300);
    assert_eq!(story.ready(b"a"), 600);
}

/// What was set aside for a waiter was gone when writes were paused. It stood in line again, but the other tubes that it
/// waits on were looked at no more, though one had a job by then.
#[test]
fn who_takes_its_place_again_while_writes_are_paused_is_served_when_they_are_not() {
    let mut story = Story::begin();
    story.send(2, "MRESERVE 2 a b TIMEOUT 100");
    story.send(1, "PUT a x");
    story.send(1, "PUT b y");
    story.send(1, "DELETE a 1");
    story.server.world.state.borrow_mut().is_paused = true;
    assert_eq!(story.until(NOW_MS), []);
    story.server.world.state.borrow_mut().is_paused = false;
    assert_eq!(story.until(NOW_MS), [(1, 1)]);
}

/// More was overdue than one slice takes. A request that named a job behind it found it as it had been: it could not be
/// reserved, or was released for a worker whose time had been over.
#[test]
fn what_is_due_of_a_job_happens_before_a_request_that_names_it() {
    let begin = |end: u64, lines: &[&str]| {
        let mut story = Story::begin();
        lines.iter().for_each(|line| {
            story.send(1, line);
        });
        story.now_ms += end;
        story
    };
    let put = format!("MPUT a 400{} TTR 0.05", " x".repeat(400));
    let held = [&*put, "RESERVE a COUNT 400"];
    for (line, count) in [
        ("RELEASE a 399 400", 0),
        ("BURY a 399", 0),
        ("TOUCH a 399", 0),
        ("DELAY a 399 1", 1),
        ("PRIORITIZE a 399 7", 1),
        ("DELETE a 399 400", 2),
    ] {
        let mut story = begin(60, &held);
        assert_eq!(story.send(2, line).map(|reply| reply.integer()), Some(count), "{line}");
    }
    let mut story = begin(60, &held);
    let job = story.send(2, "RESERVEJOB a 399").expect("a reply");
    assert_eq!((id_of(&job.array()[1]).as_str(), job.array()[3].integer()), ("399", 2));
    let mut story = begin(60, &[&put.replace("TTR", "DELAY")]);
    assert_eq!(story.send(2, "KICKJOB a 399").map(|reply| reply.integer()), Some(0));
    let state = story.send(2, "JOB a 399").map(|job| job.field("state").bytes().to_vec());
    assert_eq!(state.as_deref(), Some(&b"ready"[..]));
}

/// More reservations were over than one slice takes, and none of them made a job ready, as jobs wait before they are tried
/// again. A job that was due behind them was not given.
#[test]
fn a_due_job_is_given_whatever_timeouts_stand_before_it() {
    for line in ["RESERVE a", "RESERVE a COUNT 1", "MRESERVE 2 a b"] {
        let mut story = Story::begin();
        story.server.broker.settings.retry.interval_ms = 10_000;
        story.send(1, &format!("MPUT a 300{} TTR 0.05", " x".repeat(300)));
        story.send(1, "RESERVE a COUNT 300");
        story.send(1, "PUT a y DELAY 0.06 PRI 0");
        story.now_ms += 70;
        assert_ne!(story.send(2, line), Some(Answer::Null), "{line}");
    }
}

/// Commands that look at all jobs of a state in any case did so when a slice of what was due had happened, and took the rest
/// for what it had been: a CLEAR of the reserved deleted jobs that nobody held any longer.
#[test]
fn what_is_due_is_no_longer_what_it_was_for_who_takes_all_of_it() {
    let put = format!("MPUT a 1000{}", " x".repeat(1000));
    let (delayed, held) = (format!("{put} DELAY 0.05"), format!("{put} TTR 0.05"));
    for (line, is_held, gone) in [
        ("CLEAR a RESERVED", true, 0),
        ("CLEAR a READY", true, 1000),
        ("CLEAR a", true, 1000),
        ("CLEAR a DELAYED", false, 0),
        ("RESERVE a COUNT 1000", false, 1000),
        ("MRESERVE 1 a COUNT 1000", false, 1000),
    ] {
        let mut story = Story::begin();
        story.send(1, if is_held { &held } else { &delayed });
        if is_held {
            story.send(1, "RESERVE a COUNT 1000");
        }
        story.now_ms += 60;
        let count = match story.send(2, line).expect("a reply") {
            Answer::Integer(count) => count,
            jobs => jobs.array().len() as u64,
        };
        assert_eq!((count, story.ready(b"a")), (gone, 1000 - gone), "{line}");
    }
}

#[test]
fn a_job_that_is_named_twice_counts_once() {
    let mut story = Story::begin();
    story.send(1, "MPUT a 2 x y");
    let jobs = story.send(1, "RESERVE a COUNT 2").expect("jobs");
    let [first, second] =
        [0, 1].map(|n| String::from_utf8_lossy(jobs.array()[n].array()[1].bytes()).into_owned());
    let [one, two] = [&first, &second].map(|lease| lease.split('-').next().expect("an id"));
    let mut count = |line: &str| story.send(1, line).map(|reply| reply.integer());
    // A lease that holds no longer does not stand in the way of the one that does.
    assert_eq!(count(&format!("TOUCH a {two} {first} {one} {one}-1 {second} {two}")), Some(2));
    assert_eq!(count(&format!("TOUCH a {one}-1 {first} {one}")), Some(1));
    assert_eq!(count(&format!("DELETE a {one} {two} {first} {two}")), Some(2));
}

/// Tubes that came, or were served again, in one turn served a waiter in the order of their names.
#[test]
fn who_waits_on_several_tubes_gets_the_most_urgent_of_what_comes_at_once() {
    for [less, more] in [["a", "b"], ["b", "a"]] {
        let mut story = Story::begin();
        story.send(1, &format!("PUT {less} x PRI 5"));
        story.send(1, &format!("PUT {more} y PRI 1"));
        let tubes = ["a", "b"].map(|name| story.dump(name.as_bytes()));
        ["a", "b"].iter().for_each(|name| story.execute(&Op::Del(Place::of(0, name.as_bytes()))));
        story.until(NOW_MS + 1);
        assert_eq!(story.send(2, "MRESERVE 2 a b TIMEOUT 100"), None);
        tubes.iter().for_each(|tube| story.execute(tube));
        assert_eq!(story.until(NOW_MS + 2).len(), 1);
        assert_eq!([less, more].map(|name| story.ready(name.as_bytes())), [1, 0]);

        // What is set aside for the waiter is deleted in the turn in which more comes.
        let mut story = Story::begin();
        assert_eq!(story.send(2, "MRESERVE 2 a b TIMEOUT 100"), None);
        story.send(1, &format!("PUT {less} gone"));
        story.send(1, &format!("PUT {less} x PRI 5"));
        story.send(1, &format!("PUT {more} y PRI 1"));
        story.send(1, &format!("CLEAR {less} RESERVED"));
        assert_eq!(story.until(NOW_MS + 1).len(), 1);
        assert_eq!([less, more].map(|name| story.ready(name.as_bytes())), [1, 0]);
    }
}

/// Who waits on a tube uses it: its counters are still there when the next job comes.
#[test]
fn an_idle_tube_that_somebody_waits_on_keeps_its_counters() {
    let mut story = Story::begin();
    story.send(1, "PUT a x");
    story.send(1, "DELETE a 1");
    assert_eq!(story.send(2, "RESERVE a TIMEOUT 100"), None);
    story.until(NOW_MS + 1_500);
    story.until(NOW_MS + 5_000);
    story.send(1, "PUT a y");
    let keys = story.server.world.state.borrow().keys.clone();
    let (tube, _) = keys.tube(Place::of(0, b"a")).expect("it was just put into");
    assert_eq!(tube.header().totals.puts, 2);
}

/// What goes back goes to where its tube is by then, also if that changes before the tick comes to it.
#[test]
fn what_goes_back_follows_its_tube() {
    let rename = Op::Rename(Place::of(0, b"a"), Place::of(0, b"b"));
    // The waiter has left before it was told.
    let mut story = Story::begin();
    assert_eq!(story.send(1, "RESERVE a TIMEOUT 100"), None);
    story.send(2, "PUT a x");
    story.hear(News::Left { waiter: 1 });
    story.execute(&rename);
    story.until(NOW_MS + 1);
    assert_eq!(story.ready(b"b"), 1);
    // The connection that it was bound to is closed.
    let mut story = Story::begin();
    story.send(2, "PUT a x");
    story.send(1, "RESERVE a BOUND");
    story.hear(News::Closed { client: 1 });
    story.execute(&rename);
    story.until(NOW_MS + 1);
    assert_eq!(story.ready(b"b"), 1);
}

/// A worker that waits for several jobs, bound to its connection, has all of them bound.
#[test]
fn all_jobs_of_a_bound_wait_are_bound() {
    let mut story = Story::begin();
    assert_eq!(story.send(1, "RESERVE a TIMEOUT 100 COUNT 3 BOUND"), None);
    story.send(2, "MPUT a 3 x y z");
    assert_eq!(story.until(NOW_MS + 1), [(1, 3)]);
    story.hear(News::Closed { client: 1 });
    story.until(NOW_MS + 2);
    assert_eq!(story.ready(b"a"), 3);
}

/// `phean.tube-linger` is made shorter, and while all tubes are gone through, two databases change places: some tubes go to
/// where the walk has been.
#[test]
fn a_walk_over_all_tubes_misses_none_that_changes_its_database() {
    let mut story = Story::begin();
    story.server.broker.settings.linger_ms = 1_000_000;
    story.server.broker.settings.slices.tubes = 1;
    for (db, name) in [(0, "b"), (1, "a")] {
        let args = |line: String| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let sender = || Sender { id: 1, may_wait: true, in_script: false };
        let id = db + 1;
        story.server.run(sender(), db, &args(format!("PUT {name} x")), NOW_MS);
        story.server.run(sender(), db, &args(format!("DELETE {name} {id}")), NOW_MS);
    }
    assert_eq!(story.server.broker.tubes(), 2);
    story.server.broker.settings.linger_ms = 1_000;
    story.server.broker.sweep();
    story.server.broker.tick(&mut story.server.world, NOW_MS + 1);
    story.execute(&Op::Swap(0, 1));
    story.until(NOW_MS + 1_500);
    story.until(NOW_MS + 3_000);
    assert_eq!(story.server.broker.tubes(), 0);
}

/// On a replica that takes writes nothing happens by itself, but who waits there does so no longer than it asked for.
#[test]
fn a_wait_on_a_replica_is_over_in_time() {
    let mut story = Story::begin();
    story.server.world.state.borrow_mut().is_primary = false;
    story.server.broker.set_role(Role::Follower, 0);
    assert_eq!(story.send(1, "RESERVE a TIMEOUT 1"), None);
    assert_eq!(story.until(NOW_MS + 1_000), []);
    assert_eq!(story.until(NOW_MS + 1_001), [(1, 0)]);
}
