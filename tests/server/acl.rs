//! Access control: by command, by key, by what is done with the key, and for those who are waiting already.

use crate::beanstalk_talk::{ON, Talk};
use crate::dataset::counts;
use crate::harness::{Server, has_module};
use crate::looking::{count, everything, put, stat, state, take, texts};
use crate::raw::Raw;
use crate::reply::{array, cmd, err, error_line, reserved, run, text};
use crate::waiting::{Blocked, eventually};
use redis::{Connection, Value};

/// Sends a line as this user, on a connection of its own.
fn try_as(server: &Server, user: &str, line: &str) -> Result<Value, String> {
    let mut con = server.connect_as(user, "pw");
    cmd(&mut con, &line.split(' ').collect::<Vec<_>>()).map_err(|error| error_line(&error))
}

#[track_caller]
fn assert_forbidden(server: &Server, user: &str, line: &str) {
    match try_as(server, user, line) {
        Err(error) => assert!(error.starts_with("NOPERM "), "{user}: {line}: {error}"),
        Ok(value) => panic!("{user} must not {line}: {value:?}"),
    }
}

#[track_caller]
fn assert_allowed(server: &Server, user: &str, line: &str) {
    try_as(server, user, line).unwrap_or_else(|error| panic!("{user} may {line}: {error}"));
}

/// Every command with a key, with that key as `TUBE`.
const KEYED: [&str; 21] = [
    "PUT TUBE body",
    "MPUT TUBE 1 body",
    "RESERVE TUBE",
    "MRESERVE 1 TUBE",
    "RESERVEJOB TUBE 1",
    "DELETE TUBE 1",
    "RELEASE TUBE 1",
    "BURY TUBE 1",
    "TOUCH TUBE 1",
    "KICK TUBE 1",
    "KICKJOB TUBE 1",
    "PRIORITIZE TUBE 1 1",
    "DELAY TUBE 1 1",
    "PAUSE TUBE 0",
    "CLEAR TUBE",
    "PEEK TUBE 1",
    "JOB TUBE 1",
    "CLAIMED TUBE",
    "SCAN TUBE 0",
    "STATS TUBE",
    "MRESERVE 2 emails TUBE",
];

fn line(command: &str, tube: &str) -> String {
    format!("PHEAN.{}", command.replace("TUBE", tube))
}

#[test]
fn a_user_of_some_keys_reaches_no_others() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails ~mail:* +@all");
    put(&mut con, "sms");
    for command in KEYED {
        for tube in ["sms", "emails2", "mail", ""] {
            assert_forbidden(&server, "mailer", &line(command, tube));
        }
        assert_allowed(&server, "mailer", &line(command, "emails"));
        assert_allowed(&server, "mailer", &line(command, "mail:eu"));
    }
    for forbidden in ["2 emails sms", "2 sms emails", "3 emails mail:eu sms TIMEOUT 5 COUNT 2"] {
        assert_forbidden(&server, "mailer", &format!("PHEAN.MRESERVE {forbidden}"));
    }
    // Words after the tubes are no keys.
    assert_allowed(&server, "mailer", "PHEAN.MRESERVE 2 emails mail:eu COUNT 3 TTR 5");
    assert_eq!(count(&mut con, "PHEAN.CLEAR sms"), 1, "nobody took it");
    // The server's totals and names are no keys; TUBES is for who may see all names.
    assert_allowed(&server, "mailer", "PHEAN.STATS");
    assert_allowed(&server, "mailer", "PHEAN.TUBES");
}

#[test]
fn a_wrong_numtubes_opens_no_door() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    let id = put(&mut con, "sms");
    for args in [
        "0 sms",
        "x sms",
        "-1 sms",
        "5 sms",
        "1 emails sms",
        "4294967295 sms",
        "4294967296 sms",
        "01 sms",
        "+1 sms",
        "2 sms",
    ] {
        assert!(try_as(&server, "mailer", &format!("PHEAN.MRESERVE {args}")).is_err(), "{args}");
    }
    assert_eq!(state(&mut con, "sms", id), "ready");
}

#[test]
fn reading_and_writing_are_told_apart() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER reader on >pw %R~emails +@all");
    run(&mut con, "ACL SETUSER writer on >pw %W~emails +@all");
    run(&mut con, "ACL SETUSER both on >pw %RW~emails +@all");
    put(&mut con, "emails");
    let reads = ["PEEK", "JOB", "CLAIMED", "SCAN", "STATS"];
    // A reserve shows what is in the tube, and changes it.
    let takes = ["RESERVE", "MRESERVE", "RESERVEJOB"];
    for command in &KEYED[..20] {
        let name = command.split(' ').next().unwrap_or_default();
        let line = line(command, "emails");
        if reads.contains(&name) {
            assert_allowed(&server, "reader", &line);
            assert_forbidden(&server, "writer", &line);
        } else if takes.contains(&name) {
            assert_forbidden(&server, "reader", &line);
            assert_forbidden(&server, "writer", &line);
        } else {
            assert_forbidden(&server, "reader", &line);
            assert_allowed(&server, "writer", &line);
        }
        assert_allowed(&server, "both", &line);
    }
}

/// Servers newer than Redis 7.0 let modules name categories; there, a module's commands are in none.
fn knows_categories(con: &mut Connection) -> bool {
    let about = array(&run(con, "COMMAND INFO phean.peek"));
    let categories = &array(&about[0])[6];
    texts(categories).iter().any(|name| name == "@read")
}

#[test]
fn who_may_only_read_changes_nothing() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER reader on >pw ~* +@read");
    put(&mut con, "emails");
    take(&mut con, "PHEAN.RESERVE emails");
    put(&mut con, "emails");
    let before = everything(&mut con).0;
    let may_look = knows_categories(&mut con);
    for command in KEYED {
        let name = command.split(' ').next().unwrap_or_default();
        let line = line(command, "emails");
        if may_look && ["PEEK", "JOB", "CLAIMED", "SCAN", "STATS"].contains(&name) {
            assert_allowed(&server, "reader", &line);
        } else {
            assert_forbidden(&server, "reader", &line);
        }
    }
    for command in
        ["APPLY emails x", "PUT emails x DELAY 5", "MRESERVE 1 emails TIMEOUT 5", "CLEAR emails READY"]
    {
        assert_forbidden(&server, "reader", &format!("PHEAN.{command}"));
    }
    assert_eq!(everything(&mut con).0, before);
}

/// What a user may not read it is not told in any other way: not by what a change answers, not by statistics, and not
/// by notifications.
#[test]
fn nothing_but_a_look_or_a_reserve_shows_a_body() {
    if !has_module() {
        return;
    }
    const SECRET: &str = "s3cret-body";
    let server = Server::start(&[ON, "notify-keyspace-events KEA"]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER blind on >pw %W~emails +@all -phean.clear");
    run(
        &mut con,
        "ACL SETUSER clerk on >pw ~* +phean.stats +phean.job +phean.claimed +phean.scan +phean.tubes +info +slowlog",
    );
    run(&mut con, "ACL SETUSER listener on >pw resetkeys resetchannels &__key* &end +psubscribe");
    let mut listener = Raw::connect(&server);
    assert_eq!(listener.ask(&["AUTH", "listener", "pw"]), "+OK\r\n");
    for pattern in ["__key*", "end"] {
        listener.ask(&["PSUBSCRIBE", pattern]);
    }
    let id = |con: &mut Connection| count(con, &format!("PHEAN.PUT emails {SECRET}"));
    let shows = |value: &Value| format!("{value:?}").contains(SECRET);
    // A life of every kind, looked at by who may see all but bodies.
    let looks = |when: &str| {
        for line in
            ["STATS emails", "JOB emails 1", "CLAIMED emails", "SCAN emails 0", "TUBES WITHSTATS", "STATS"]
        {
            let shown = try_as(&server, "clerk", &format!("PHEAN.{line}")).expect("the clerk may");
            assert!(!shows(&shown), "{when}: {line}");
        }
        for line in ["INFO everything", "PHEAN.JOB emails 1"] {
            let shown = try_as(&server, "clerk", line).expect("the clerk may");
            assert!(!shows(&shown), "{when}: {line}");
        }
    };
    id(&mut con);
    looks("ready");
    let lease = take(&mut con, "PHEAN.RESERVE emails").lease;
    looks("reserved");
    run(&mut con, &format!("PHEAN.BURY emails {lease}"));
    looks("buried");
    run(&mut con, "PHEAN.KICK emails 1");
    run(&mut con, "PHEAN.DELAY emails 1 100");
    looks("delayed");
    run(&mut con, "PHEAN.KICKJOB emails 1");
    // Whoever may only write.
    for command in KEYED {
        let answer = try_as(&server, "blind", &line(command, "emails"));
        assert!(!format!("{answer:?}").contains(SECRET), "{command}: {answer:?}");
        id(&mut con);
    }
    assert_forbidden(&server, "blind", "DUMP emails");
    assert_forbidden(&server, "blind", "COPY emails emails2");
    // The other door, and a job that times out.
    let mut bean = Talk::new(&server);
    bean.ask("use emails");
    bean.put(SECRET);
    let id = count(&mut con, &format!("PHEAN.PUT emails {SECRET} PRI 0"));
    take(&mut con, "PHEAN.RESERVE emails TTR 0.001");
    eventually(|| state(&mut con, "emails", id) == "ready");
    run(&mut con, "PUBLISH end end");
    let mut told = 0;
    loop {
        let message = listener.reply();
        assert!(!message.contains(SECRET), "{message}");
        if message.contains("\r\nend\r\n") {
            break;
        }
        told += 1;
    }
    assert!(told > 50, "there were only {told} notifications");
}

/// Redis' own commands that take a tube elsewhere ask for both keys.
#[test]
fn a_tube_leaves_its_name_only_for_one_that_is_granted() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    put(&mut con, "emails");
    put(&mut con, "sms");
    for line in
        ["COPY emails mine", "COPY sms emails REPLACE", "RENAME emails mine", "RENAME sms emails", "DUMP sms"]
    {
        assert_forbidden(&server, "mailer", line);
    }
    assert_eq!((stat(&mut con, "emails", "total-jobs"), stat(&mut con, "sms", "total-jobs")), (1, 1));
}

#[test]
fn rights_are_given_by_command() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER producer on >pw ~* +phean.put +phean.mput");
    run(
        &mut con,
        "ACL SETUSER worker on >pw ~* +phean.reserve +phean.delete +phean.release +phean.bury +phean.touch",
    );
    assert_allowed(&server, "producer", "PHEAN.PUT emails x");
    assert_allowed(&server, "producer", "phean.mput emails 1 x");
    for command in [
        "RESERVE emails",
        "DELETE emails 1",
        "STATS",
        "TUBES",
        "STATS emails",
        "APPLY emails x",
        "CLEAR emails",
    ] {
        assert_forbidden(&server, "producer", &format!("PHEAN.{command}"));
    }
    let job = reserved(&try_as(&server, "worker", "PHEAN.RESERVE emails").unwrap()).unwrap();
    assert_allowed(&server, "worker", &format!("PHEAN.TOUCH emails {}", job.lease));
    assert_allowed(&server, "worker", &format!("PHEAN.DELETE emails {}", job.lease));
    for command in
        ["PUT emails x", "MRESERVE 1 emails", "RESERVEJOB emails 1", "PEEK emails READY", "KICK emails 1"]
    {
        assert_forbidden(&server, "worker", &format!("PHEAN.{command}"));
    }
    let dry = text(&run(&mut con, "ACL DRYRUN worker PHEAN.RESERVE emails"));
    assert_eq!(dry, "OK");
}

#[test]
fn scripts_and_transactions_are_bound_by_the_same_rights() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all -phean.clear");
    put(&mut con, "sms");
    let mut mailer = server.connect_as("mailer", "pw");
    for script in [
        "return redis.call('PHEAN.RESERVE', 'sms')",
        "return redis.call('PHEAN.MRESERVE', 2, 'emails', 'sms')",
        "return redis.call('PHEAN.PUT', 'sms', 'x')",
        "return redis.call('PHEAN.CLEAR', 'emails')",
    ] {
        assert!(cmd(&mut mailer, &["EVAL", script, "0"]).is_err(), "{script}");
    }
    let script = "return redis.call('PHEAN.PUT', KEYS[1], 'x')";
    cmd(&mut mailer, &["EVAL", script, "1", "emails"]).unwrap();
    assert!(err(&mut mailer, &["EVAL", script, "1", "sms"]).starts_with("NOPERM "));
    let library = "#!lua name=mails\nredis.register_function('take', function(keys, args) \
                   return redis.call('PHEAN.RESERVE', args[1]) end)";
    cmd(&mut con, &["FUNCTION", "LOAD", library]).unwrap();
    assert!(cmd(&mut mailer, &["FCALL", "take", "0", "sms"]).is_err());
    cmd(&mut mailer, &["FCALL", "take", "0", "emails"]).unwrap();
    run(&mut mailer, "MULTI");
    assert!(err(&mut mailer, &["PHEAN.RESERVE", "sms"]).starts_with("NOPERM "));
    assert!(err(&mut mailer, &["EXEC"]).starts_with("EXECABORT "));
    assert_eq!(stat(&mut con, "sms", "current-jobs-ready"), 1);
}

/// Redis itself asks for rights only when a command comes in; a wait may be long.
#[test]
fn who_lost_its_rights_while_waiting_gets_no_job_and_the_next_in_line_does() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    for (change, of_many) in [
        ("resetkeys ~sms", false),
        ("resetkeys", false),
        ("resetkeys %R~emails", false),
        ("resetkeys %W~emails", false),
        ("-phean.reserve", false),
        ("nocommands", false),
        ("-phean.mreserve", true),
        ("resetkeys ~sms", true),
    ] {
        run(&mut con, "ACL SETUSER mailer reset on >pw ~emails ~sms +@all");
        let args: &[&str] = match of_many {
            true => &["PHEAN.MRESERVE", "2", "sms", "emails", "TIMEOUT", "100"],
            false => &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"],
        };
        let first = Blocked::start_on(&server, server.connect_as("mailer", "pw"), args);
        let second = Blocked::start(&server, &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"]);
        run(&mut con, &format!("ACL SETUSER mailer {change}"));
        assert!(!first.is_over(), "{change}: there is nothing to refuse yet");
        let id = put(&mut con, "emails");
        let error = error_line(&first.join().unwrap_err());
        assert!(error.starts_with("NOPERM "), "{change}: {error}");
        // As if the first had never been there: this is the job's first attempt.
        let job = reserved(&second.join().unwrap()).unwrap();
        assert_eq!((job.id, job.attempt), (id, 1), "{change}");
    }
}

#[test]
fn rights_to_another_tube_are_enough_for_a_job_of_that_tube() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails ~sms +@all");
    let args = ["PHEAN.MRESERVE", "2", "sms", "emails", "TIMEOUT", "100"];
    let waiter = Blocked::start_on(&server, server.connect_as("mailer", "pw"), &args);
    run(&mut con, "ACL SETUSER mailer resetkeys ~emails");
    let id = put(&mut con, "emails");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
}

/// Valkey 9.1 binds rights to databases. Others do not know of that.
#[test]
fn a_user_of_one_database_waits_there_and_nowhere_else() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    let set = |con: &mut Connection, dbs: &str| {
        let words = ["ACL", "SETUSER", "worker", "reset", "on", ">pw", "~*", "+@all", "resetdbs", dbs];
        cmd(con, &words)
    };
    if set(&mut con, "db=1").is_err() {
        return;
    }
    let mut elsewhere = server.connect_db(1);
    let mut worker = server.connect_as("worker", "pw");
    run(&mut worker, "SELECT 1");
    let waiter = Blocked::start_on(&server, worker, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
    run(&mut elsewhere, "PHEAN.PUT t x");
    assert!(reserved(&waiter.join().unwrap()).is_some());
    let mut worker = server.connect_as("worker", "pw");
    run(&mut worker, "SELECT 1");
    let waiter = Blocked::start_on(&server, worker, &["PHEAN.RESERVE", "t", "TIMEOUT", "100"]);
    set(&mut con, "db=0").unwrap();
    run(&mut elsewhere, "PHEAN.PUT t x");
    assert!(error_line(&waiter.join().unwrap_err()).starts_with("NOPERM "));
    // The port's user and database, likewise.
    run(&mut con, "CONFIG SET phean.user worker");
    for (db, is_granted) in [(0, true), (1, false)] {
        run(&mut con, &format!("CONFIG SET phean.database {db}"));
        assert_eq!(Talk::new(&server).put("x").starts_with("INSERTED "), is_granted, "database {db}");
    }
}

/// Rights can be given by a selector, which names commands and keys together.
#[test]
fn a_selectors_rights_are_enough_to_wait_and_are_missed_when_they_go() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    let args = ["PHEAN.RESERVE", "emails", "TIMEOUT", "100"];
    cmd(&mut con, &["ACL", "SETUSER", "mailer", "on", ">pw", "+client", "(~emails +phean.reserve)"]).unwrap();
    let waiter = Blocked::start_on(&server, server.connect_as("mailer", "pw"), &args);
    let id = put(&mut con, "emails");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
    let waiter = Blocked::start_on(&server, server.connect_as("mailer", "pw"), &args);
    run(&mut con, "ACL SETUSER mailer clearselectors");
    let id = put(&mut con, "emails");
    assert!(error_line(&waiter.join().unwrap_err()).starts_with("NOPERM "));
    eventually(|| state(&mut con, "emails", id) == "ready");
}

#[test]
fn rights_given_back_before_a_job_comes_are_as_good_as_never_taken() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    let args = ["PHEAN.RESERVE", "emails", "TIMEOUT", "100"];
    let waiter = Blocked::start_on(&server, server.connect_as("mailer", "pw"), &args);
    run(&mut con, "ACL SETUSER mailer resetkeys");
    run(&mut con, "ACL SETUSER mailer ~emails");
    let id = put(&mut con, "emails");
    assert_eq!(reserved(&waiter.join().unwrap()).unwrap().id, id);
}

#[test]
fn a_waiting_user_that_is_deleted_leaves_its_place_to_the_next() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    let args = ["PHEAN.RESERVE", "emails", "TIMEOUT", "100"];
    let first = Blocked::start_on(&server, server.connect_as("mailer", "pw"), &args);
    let second = Blocked::start(&server, &args);
    // Deleted and served in one turn of the event loop: the connection is still being closed.
    run(&mut con, "MULTI");
    run(&mut con, "ACL DELUSER mailer");
    run(&mut con, "PHEAN.PUT emails body");
    run(&mut con, "EXEC");
    assert!(first.join().is_err());
    let job = reserved(&second.join().unwrap()).unwrap();
    assert_eq!(job.attempt, 1);
    // And with time in between.
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    let third = Blocked::start_on(&server, server.connect_as("mailer", "pw"), &args);
    run(&mut con, "ACL DELUSER mailer");
    assert!(third.join().is_err());
    eventually(|| stat(&mut con, "emails", "current-waiting") == 0);
    let id = put(&mut con, "emails");
    assert_eq!(state(&mut con, "emails", id), "ready");
}

/// The rights of a user whose reservation holds matter for what it does next, not for the reservation.
#[test]
fn a_reservation_outlives_its_users_rights() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    let id = put(&mut con, "emails");
    let mut mailer = server.connect_as("mailer", "pw");
    let job = take(&mut mailer, "PHEAN.RESERVE emails");
    run(&mut con, "ACL SETUSER mailer resetkeys");
    assert!(err(&mut mailer, &["PHEAN.DELETE", "emails", &job.lease]).starts_with("NOPERM "));
    assert_eq!(state(&mut con, "emails", id), "reserved");
    assert_eq!(count(&mut con, &format!("PHEAN.DELETE emails {}", job.lease)), 1);
}

#[test]
fn tubes_shows_all_names_whatever_the_keys() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    run(&mut con, "ACL SETUSER strict on >pw ~emails +@all -phean.tubes");
    put(&mut con, "emails");
    put(&mut con, "sms");
    let names = try_as(&server, "mailer", "PHEAN.TUBES").unwrap();
    assert_eq!(texts(&names), ["emails", "sms"]);
    assert_forbidden(&server, "strict", "PHEAN.TUBES");
    run(&mut con, "ACL SETUSER careful on >pw ~* +@all -@dangerous");
    if knows_categories(&mut con) {
        assert_forbidden(&server, "careful", "PHEAN.TUBES");
        assert_forbidden(&server, "careful", "PHEAN.APPLY t x");
    }
    assert_allowed(&server, "careful", "PHEAN.PUT emails x");
}

#[test]
fn refused_commands_are_logged_by_redis_as_its_own() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con: Connection = server.connect();
    run(&mut con, "ACL SETUSER mailer on >pw ~emails +@all");
    assert_forbidden(&server, "mailer", "PHEAN.MRESERVE 2 emails sms");
    let log = format!("{:?}", run(&mut con, "ACL LOG"));
    assert!(log.contains("sms") || log.to_lowercase().contains("phean.mreserve"), "{log}");
}

/// Redis closes the clients of a user that is deleted, and on 7.0 only after it has slept. One that was handed a job in the
/// same turn never read of it, and the job was held by nobody until its time was over.
#[test]
fn a_client_that_redis_is_about_to_close_gets_no_job() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    run(&mut con, "ACL SETUSER mailer reset on >pw ~* +@all");
    let waiter = Blocked::start_on(
        &server,
        server.connect_as("mailer", "pw"),
        &["PHEAN.RESERVE", "emails", "TIMEOUT", "100"],
    );
    let mut all = redis::pipe();
    all.atomic().cmd("ACL").arg(&["DELUSER", "mailer"]);
    all.cmd("ACL").arg(&["SETUSER", "mailer", "on", ">pw", "~*", "+@all"]);
    all.cmd("PHEAN.PUT").arg(&["emails", "x"]);
    let _: redis::Value = all.query(&mut con).unwrap();
    assert!(waiter.join().is_err(), "the connection is closed");
    eventually(|| counts(&mut con, "emails") == [1, 0, 0, 0]);
}
