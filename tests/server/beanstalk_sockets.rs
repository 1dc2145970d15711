//! The port's sockets: opening and closing them, many of them, and those that behave badly.

use crate::beanstalk_talk::{ON, Talk, free_beside, info, open_port};
use crate::harness::{Server, has_module};
use crate::reply::{err, run, text};
use crate::waiting::{eventually, eventually_some, patience};
use redis::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

fn set(server: &Server, name: &str, value: &str) -> Result<(), String> {
    let mut con = server.connect();
    match crate::reply::cmd(&mut con, &["CONFIG", "SET", name, value]) {
        Ok(_) => Ok(()),
        Err(error) => Err(crate::reply::error_line(&error)),
    }
}

#[test]
fn the_port_opens_moves_and_closes_at_run_time() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let port = open_port(&server);
    let mut bean = Talk::over_tcp(port).expect("the port is open");
    let id = bean.put_id("x");
    // Another address, the same port: the connection stays.
    set(&server, "phean.host", "0.0.0.0").expect("the address can be taken");
    assert!(Talk::over_tcp(port).is_ok());
    assert_eq!(bean.reserve().0, id);
    // A port that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let number = taken.local_addr().expect("it has an address").port();
    let refused = set(&server, "phean.port", &number.to_string()).expect_err("the port is taken");
    assert!(refused.contains("cannot listen on 0.0.0.0:"), "{refused}");
    assert!(refused.contains("in use"), "{refused}");
    assert_eq!(
        text(&crate::reply::array(&run(&mut server.connect(), "CONFIG GET phean.port"))[1]),
        port.to_string()
    );
    assert!(Talk::over_tcp(port).is_ok(), "the old one is still open");
    // An address that is not ours, at the same port: tried, and taken back.
    set(&server, "phean.host", "203.0.113.1").expect_err("the address is not ours");
    assert!(Talk::over_tcp(port).is_ok(), "the old one is still open");
    // The server's own port.
    set(&server, "phean.port", &server.port().to_string()).expect_err("Redis listens there");
    // Off: everything is closed, and what was held goes back.
    set(&server, "phean.port", "0").expect("it can be closed");
    assert_eq!(bean.rest(), b"");
    assert!(Talk::over_tcp(port).is_err());
    eventually(|| crate::reply::reserved(&run(&mut server.connect(), "PHEAN.RESERVE default")).is_some());
    // And on again.
    set(&server, "phean.port", &port.to_string()).expect("it can be opened again");
    assert!(Talk::over_tcp(port).is_ok());
}

#[test]
fn a_server_whose_port_is_taken_does_not_start() {
    if !has_module() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let number = taken.local_addr().expect("it has an address").port();
    let log = match Server::try_start(&[&format!("phean.port {number}")]) {
        Err(log) => log,
        Ok(_) => panic!("the server started"),
    };
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{number}")), "{log}");
}

#[test]
fn settings_that_cannot_be_are_refused_with_a_reason() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    for (name, value, reason) in [
        ("phean.port", "65536", "between 0 and 65535"),
        ("phean.database", "16", "there is no database 16"),
        ("phean.host", "", "must not be empty"),
        ("phean.user", "", "must not be empty"),
        ("phean.maxclients", "0", "between 1"),
    ] {
        let error = err(&mut server.connect(), &["CONFIG", "SET", name, value]);
        assert!(error.contains(reason), "{name} {value}: {error}");
    }
}

#[test]
fn loadex_and_redis_conf_open_the_port() {
    if !has_module() {
        return;
    }
    let server = Server::start_plain(&[]);
    let path = crate::harness::module_path().expect("there is a module").display().to_string();
    let port = free_beside(&server);
    let mut con = server.connect();
    let args = [
        "MODULE",
        "LOADEX",
        &path,
        "CONFIG",
        "phean.port",
        &port.to_string(),
        "CONFIG",
        "phean.host",
        "localhost",
    ];
    crate::reply::cmd(&mut con, &args).expect("the module loads");
    let mut bean = Talk::over_tcp(port).expect("the port is open");
    bean.put_id("x");
}

/// A module that cannot be loaded into a running server leaves nothing behind.
///
/// With a port that was taken, it had already subscribed to the server's events. Redis took it away, but not the
/// subscriptions, and crashed at the next event.
#[test]
fn a_module_that_cannot_open_its_port_leaves_the_server_as_it_was() {
    if !has_module() {
        return;
    }
    let server = Server::start_plain(&[]);
    let path = crate::harness::module_path().expect("there is a module").display().to_string();
    let socket = server.dir().join("beanstalk.sock").display().to_string();
    // Not one that another test's connection could be given once it is free.
    let number = crate::harness::free_port();
    let taken = TcpListener::bind(("127.0.0.1", number)).expect("the port is free");
    let number = number.to_string();
    let mut con = server.connect();
    let port = ["CONFIG", "phean.port", &number, "CONFIG", "phean.unixsocket", &socket];
    for settings in [&port[..3], &port[..], &["CONFIG", "phean.unixsocket", "/nowhere/beanstalk.sock"]] {
        let words = [&["MODULE", "LOADEX", &path], settings].concat();
        assert!(crate::reply::cmd(&mut con, &words).is_err());
        // Each of these is an event to a module that is there.
        crate::reply::run(&mut server.connect(), "SET key value");
        crate::reply::run(&mut con, "FLUSHALL");
        crate::reply::run(&mut con, "CONFIG SET maxclients 9999");
        // The server's cron is one, too: it has removed this by itself.
        crate::reply::run(&mut con, "SET key value PX 1");
        crate::waiting::eventually(|| crate::reply::run(&mut con, "DBSIZE") == redis::Value::Int(0));
        assert!(err(&mut con, &["PHEAN.PUT", "t", "b"]).starts_with("ERR unknown command"));
        assert!(!std::path::Path::new(&socket).exists());
    }
    drop(taken);
    let words = [&["MODULE", "LOADEX", &path], &port[..]].concat();
    // A process that another test is just starting may keep the port for a moment.
    eventually(|| crate::reply::cmd(&mut con, &words).is_ok());
    let mut bean = Talk::over_tcp(number.parse().expect("a number")).expect("the port is open");
    bean.put_id("x");
}

#[test]
fn a_unix_socket_left_by_a_crash_is_replaced_and_others_are_left_alone() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[ON, "appendonly yes", "appendfsync always"]);
    let socket = server.dir().join("beanstalk.sock");
    let id = Talk::new(&server).put_id("x");
    server.kill9();
    assert!(socket.exists(), "a crash leaves it");
    server.restart();
    assert_eq!(Talk::new(&server).reserve().0, id);
    // Somebody else's socket, and a file that is none.
    let other = server.dir().join("other.sock");
    let listener = UnixListener::bind(&other).expect("a socket can be made");
    let refused =
        set(&server, "phean.unixsocket", &other.display().to_string()).expect_err("somebody listens");
    assert!(refused.contains("somebody listens there"), "{refused}");
    drop(listener);
    let file = server.dir().join("file");
    fs::write(&file, "precious").expect("a file can be written");
    let refused =
        set(&server, "phean.unixsocket", &file.display().to_string()).expect_err("that is no socket");
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "precious");
    assert!(Talk::over_unix(&server).is_ok(), "the old one is still open");
    let nowhere = format!("/nowhere/{}", "y".repeat(200));
    let refused = set(&server, "phean.unixsocket", &nowhere).expect_err("there is no such folder");
    assert!(refused.contains(&nowhere[..64]) && !refused.contains(&nowhere[..65]), "{refused}");
    // Now nobody listens on the other one, and our own file goes with us.
    set(&server, "phean.unixsocket", &other.display().to_string()).expect("nobody listens");
    assert!(!socket.exists());
    server.shutdown_nosave();
    assert!(!other.exists());
}

#[test]
fn no_more_than_maxclients_come_in() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "phean.maxclients 2"]);
    let mut first = Talk::new(&server);
    let mut second = Talk::new(&server);
    assert_eq!(first.ask("list-tube-used"), "USING default");
    assert_eq!(second.ask("list-tube-used"), "USING default");
    assert_eq!(Talk::new(&server).rest(), b"OUT_OF_MEMORY\r\n");
    assert_eq!(info(&server, "port_rejected_connections"), 1);
    assert!(server.log().contains("phean.maxclients"), "the log says why");
    drop(first);
    eventually(|| info(&server, "port_connections") == 1);
    assert_eq!(Talk::new(&server).ask("list-tube-used"), "USING default");
    set(&server, "phean.maxclients", "3").expect("it can be raised");
    let mut more = Talk::new(&server);
    assert_eq!(more.ask("list-tube-used"), "USING default");
}

#[test]
fn redis_keeps_room_for_itself() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "maxclients 40"]);
    let mut talks = Vec::new();
    loop {
        let mut talk = Talk::new(&server);
        // Who is turned away may be so before it has sent anything.
        let _ = talk.try_send("list-tube-used\r\n");
        match talk.line().as_str() {
            "USING default" => talks.push(talk),
            "OUT_OF_MEMORY" => break,
            other => panic!("{other}"),
        }
        assert!(talks.len() <= 40, "more than fit");
    }
    assert!(talks.len() > 15, "only {} came in", talks.len());
    assert!(server.log().contains("raise maxclients"), "the log says why");
    assert_eq!(text(&run(&mut server.connect(), "PING")), "PONG");
}

#[test]
fn ten_thousand_idle_connections_are_no_trouble() {
    if !has_module() {
        return;
    }
    // Both ends of the connections are files of this machine; the server asks for as many as it needs.
    let limit = |line: &str| line.split_whitespace().nth(3).and_then(|word| word.parse::<usize>().ok());
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit =
        limits.lines().find(|line| line.starts_with("Max open files")).and_then(limit).unwrap_or(1024);
    let count = limit.saturating_sub(1_500).min(10_000);
    let server = Server::start(&[ON, "maxclients 10100", "phean.maxclients 10000"]);
    let taken: usize = text(&crate::reply::array(&run(&mut server.connect(), "CONFIG GET maxclients"))[1])
        .parse()
        .expect("a number");
    let count = count.min(taken.saturating_sub(100));
    let mut talks: Vec<Talk> = (0..count).map(|_| Talk::new(&server)).collect();
    eventually(|| info(&server, "port_connections") == count as u64);
    println!("{count} connections");
    let last = talks.last_mut().expect("there are connections");
    let id = last.put_id("x");
    let first = talks.first_mut().expect("there are connections");
    assert_eq!(first.reserve().0, id);
    for talk in talks.iter_mut().step_by(97) {
        assert_eq!(talk.ask("list-tube-used"), "USING default");
    }
    drop(talks);
    eventually(|| info(&server, "port_connections") == 0);
}

#[test]
fn one_that_does_not_read_is_cut_off_and_costs_little() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "phean.max-job-size 1mb"]);
    let mut bean = Talk::new(&server);
    let id = bean.put_id(&"x".repeat(1_000_000));
    let used = || -> u64 { server.info("memory")["used_memory"].parse().expect("a number") };
    let before = used();
    let mut slow = Talk::new(&server);
    slow.send(format!("peek {id}\r\n").repeat(2_000));
    // It asked for two gigabytes, and a few megabytes are kept for it.
    assert_eq!(bean.ask("list-tube-used"), "USING default");
    assert!(used() < before + 16_000_000, "{} bytes more", used() - before);
    let bound = Instant::now() + patience() + Duration::from_secs(40);
    while info(&server, "port_cut_off_connections") == 0 {
        assert!(Instant::now() < bound, "nobody was cut off");
        std::thread::sleep(Duration::from_millis(50));
    }
    eventually(|| info(&server, "port_connections") == 1);
    assert!(server.log().contains("has read nothing for 30 seconds"), "the log says so");
    assert_eq!(bean.ask(&format!("delete {id}")), "DELETED");
}

#[test]
fn a_reader_that_is_only_slow_gets_everything() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON, "phean.max-job-size 1mb"]);
    let mut bean = Talk::new(&server);
    let body = "x".repeat(500_000);
    let id = bean.put_id(&body);
    bean.send(format!("peek {id}\r\n").repeat(40));
    for _ in 0..40 {
        assert_eq!(bean.job(), (id, body.clone()));
    }
    assert_eq!(bean.ask("list-tube-used"), "USING default");
}

#[test]
fn a_put_that_is_never_finished_is_no_job() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut con = server.connect();
    let mut half = Talk::new(&server);
    half.send("put 0 0 60 10\r\n01234");
    let mut other = Talk::new(&server);
    assert_eq!(other.ask("peek-ready"), "NOT_FOUND");
    half.send("56789\r\n");
    assert!(half.line().starts_with("INSERTED "));
    assert_eq!(other.reserve().1, "0123456789");
    half.send("put 0 0 60 10\r\n01234");
    drop(half);
    eventually(|| info(&server, "port_connections") == 1);
    assert_eq!(other.ask("peek-ready"), "NOT_FOUND");
    assert_eq!(run(&mut con, "PHEAN.RESERVE default"), Value::Nil);
}

#[test]
fn a_half_closed_connection_gets_its_answers() {
    if !has_module() {
        return;
    }
    for aof in ["appendonly no", "appendonly yes"] {
        let server = Server::start(&[ON, aof]);
        let mut bean = Talk::new(&server);
        bean.send("use t\r\nput 0 0 60 1\r\na\r\nreserve\r\n");
        bean.half_close();
        assert_eq!(bean.line(), "USING t");
        let rest = String::from_utf8_lossy(&bean.rest()).into_owned();
        assert!(rest.starts_with("INSERTED ") && rest.ends_with("\r\nTIMED_OUT\r\n"), "{rest}");
    }
}

#[test]
fn a_flood_of_tiny_commands_leaves_room_for_others() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut flood = Talk::new(&server);
    let mut con = server.connect();
    flood.send("list-tubes-watched\r\n".repeat(3_000));
    assert_eq!(text(&run(&mut con, "PING")), "PONG");
    for _ in 0..3_000 {
        let answer = [flood.line(), flood.line(), flood.line(), flood.line()];
        assert_eq!(answer, ["OK 14", "---", "- default", ""]);
    }
}

#[test]
fn a_child_that_saves_holds_no_socket() {
    if !has_module() {
        return;
    }
    // The child takes long over each key, so that it can be looked at: longer than anybody here waits for anything.
    let server = Server::start(&["rdb-key-save-delay 300000000"]);
    let port = open_port(&server);
    let mut con = server.connect();
    for command in ["BGSAVE", "BGREWRITEAOF"] {
        let mut bean = Talk::over_tcp(port).expect("the port is open");
        bean.put_id("x");
        bean.put_id("y");
        run(&mut con, command);
        let child = eventually_some(|| child_of(server.pid()));
        let of_server = sockets(server.pid(), port);
        assert!(of_server.len() >= 2, "a listener and a connection: {of_server:?}");
        eventually(|| sockets(child, port).is_empty());
        drop(bean);
        eventually(|| info(&server, "port_connections") == 0);
        // Closing the child's copies has not disturbed the server.
        let mut again = Talk::over_tcp(port).expect("the port is open");
        again.put_id("z");
        assert!(child_of(server.pid()).is_some(), "the child was there all the time");
        run(&mut con, "CONFIG SET rdb-key-save-delay 0");
        kill(child);
        eventually(|| child_of(server.pid()).is_none());
        run(&mut con, "CONFIG SET rdb-key-save-delay 300000000");
    }
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill").arg("-USR1").arg(pid.to_string()).status();
    assert!(status.expect("kill can be started").success());
}

fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The inodes of the sockets that a process holds at this local port.
fn sockets(pid: u32, port: u16) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/tcp").expect("the system tells of its sockets");
    let at_port: Vec<&str> = table
        .lines()
        .filter(|line| {
            let local = line.split_whitespace().nth(1).unwrap_or_default();
            local.ends_with(&format!(":{port:04X}"))
        })
        .filter_map(|line| line.split_whitespace().nth(9))
        .collect();
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            at_port.contains(&inode).then(|| inode.to_owned())
        })
        .collect()
}

#[test]
fn a_shutdown_closes_everything_and_a_restart_finds_the_port_free() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[ON, "appendonly yes"]);
    let port = open_port(&server);
    run(&mut server.connect(), "CONFIG REWRITE");
    let mut holder = Talk::over_tcp(port).expect("the port is open");
    let id = holder.put_id("x");
    holder.reserve();
    let mut waiter = Talk::new(&server);
    waiter.send("use other\r\nwatch other\r\nignore default\r\nreserve\r\n");
    eventually(|| info(&server, "current_waiting") == 1);
    server.shutdown_nosave();
    assert_eq!(holder.rest(), b"");
    assert_eq!(waiter.rest(), b"USING other\r\nWATCHING 2\r\nWATCHING 1\r\n");
    server.restart();
    let mut bean = Talk::over_tcp(port).expect("the port is open again");
    assert_eq!(bean.ask(&format!("delete {id}")), "NOT_FOUND", "after a restart a plain lease holds the job");
    run(&mut server.connect(), &format!("PHEAN.RELEASE default {id}"));
    assert_eq!(bean.reserve().0, id);
}

/// Behind a reserve that waits no more than 64 KiB of input are read. The end of a connection that had sent more was never
/// seen: it stood in line until a job came, which was handed to nobody.
#[test]
fn a_worker_that_vanishes_behind_much_input_is_missed() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let waits = |count: u64| eventually(|| info(&server, "current_waiting") == count);
    let lines = "list-tube-used\r\n";
    let count = 70_000 / lines.len();
    for (ends_whole, repeats) in [(true, 1), (false, 3)] {
        let mut bean = Talk::new(&server);
        bean.send("reserve\r\n");
        waits(1);
        bean.send(lines.repeat(count * repeats));
        if ends_whole {
            drop(bean);
            waits(0);
            continue;
        }
        bean.half_close();
        assert_eq!(bean.line(), "TIMED_OUT");
        let rest = bean.rest();
        assert_eq!(rest, "USING default\r\n".repeat(count * repeats).into_bytes());
    }
    eventually(|| info(&server, "port_connections") == 0);
    // One that is there waits on, and gets its job.
    let mut bean = Talk::new(&server);
    bean.send("reserve\r\n");
    waits(1);
    bean.send(lines.repeat(count));
    let mut other = Talk::new(&server);
    other.put_id("x");
    assert_eq!(bean.job().1, "x");
    assert_eq!(bean.line(), "USING default");
}

#[test]
fn a_shutdown_removes_the_unix_socket() {
    if !has_module() {
        return;
    }
    let mut server = Server::start(&[ON]);
    let socket = server.dir().join("beanstalk.sock");
    Talk::new(&server).put_id("x");
    assert!(socket.exists());
    server.shutdown_nosave();
    assert!(!socket.exists());
}

/// Where the system has no more file descriptors, nobody is let in, and the event loop would call for each that stands
/// before the door without end. So the door rests; it is to open again by itself.
#[test]
fn a_port_without_file_descriptors_opens_again_once_there_are_some() {
    if !has_module() {
        return;
    }
    let server = Server::start(&[ON]);
    let mut first = Talk::new(&server);
    assert_eq!(first.ask("list-tube-used"), "USING default");
    let limit = |files: u32| {
        let mut command = std::process::Command::new("prlimit");
        command.args(["--pid", &server.pid().to_string(), &format!("--nofile={files}:")]);
        assert!(command.status().expect("prlimit can be started").success());
    };
    limit(5);
    let mut second = Talk::new(&server);
    second.send("list-tube-used\r\n");
    eventually(|| server.log().contains("phean.port cannot accept connections"));
    assert_eq!(first.ask("list-tube-used"), "USING default", "those who are in are served");
    limit(1_000);
    assert_eq!(second.line(), "USING default");
}
