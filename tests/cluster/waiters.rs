//! Workers that wait for a tube whose slot goes to another node. They hung until their TIMEOUT, with no job ever to
//! come: Redis redirects clients that wait for keys which it knows of, and of a module's it knows none.

use crate::beanstalk_talk::{ON, Talk};
use crate::harness::{Server, client_id, has_module};
use crate::nodes::{Cluster, address, id_of, slot_of};
use crate::reply::{cmd, err, error_line, int, reserved, run, text};
use crate::waiting::{Blocked, eventually};
use crate::wire::Wire;
use redis::{Connection, Value};
use std::thread;
use std::time::{Duration, Instant};

/// A wait that is not ended by the test itself.
const LONG: &str = "1000";

fn waits(server: &Server, tube: &str) -> Blocked {
    Blocked::start(server, &["PHEAN.RESERVE", tube, "TIMEOUT", LONG])
}

/// Waits for a tube whose slot the server is about to import.
fn waits_asking(server: &Server, tube: &str) -> Blocked {
    let mut con = server.connect();
    let id = client_id(&mut con);
    run(&mut con, "ASKING");
    Blocked::start_as(server, con, id, &["PHEAN.RESERVE", tube, "TIMEOUT", LONG])
}

fn waiting(server: &Server) -> i64 {
    int(&crate::reply::map(&run(&mut server.connect(), "PHEAN.STATS"))["current-waiting"])
}

#[test]
fn workers_whose_slot_moves_are_redirected() {
    if !has_module() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let nodes = cluster.nodes();
    let names = cluster.names_in_first(200, 3);
    let tagged = [format!("{{{}}}:a", names[1]), format!("{{{}}}:b", names[1])];
    let (from, to) = (cluster.serving(&names[0]), (cluster.serving(&names[0]) + 1) % 3);
    let stays = (0..)
        .map(|number| format!("stays:{number}"))
        .find(|name| slot_of(&cluster, name) >= 200 && cluster.serving(name) == from)
        .expect("there are many names");

    let one = waits(&nodes[from], &names[0]);
    let many =
        Blocked::start(&nodes[from], &["PHEAN.RESERVE", &names[0], "TIMEOUT", LONG, "COUNT", "3", "BOUND"]);
    let both =
        Blocked::start(&nodes[from], &["PHEAN.MRESERVE", "2", &tagged[0], &tagged[1], "TIMEOUT", LONG]);
    let resp3 = Blocked::start_on(
        &nodes[from],
        nodes[from].connect_resp3(),
        &["PHEAN.RESERVE", &names[2], "TIMEOUT", LONG],
    );
    let stayer = waits(&nodes[from], &stays);
    // A client of the cluster follows by itself: it waits on, at the new node, and is served there.
    let client = thread::spawn({
        let (mut client, name) = (cluster.client(), names[2].clone());
        move || client.ask(&["PHEAN.RESERVE", &name, "TIMEOUT", LONG])
    });
    eventually(|| waiting(&nodes[from]) >= 6);
    let mut binder = nodes[from].connect();
    let bound_tube = format!("{{{}}}:bound", names[2]);
    cmd(&mut binder, &["PHEAN.PUT", &bound_tube, "x", "TTR", LONG]).expect("a put");
    let bound = cmd(&mut binder, &["PHEAN.RESERVE", &bound_tube, "BOUND"]).expect("a reserve");
    let bound = reserved(&bound).expect("there is a job").lease;

    cluster.reshard(from, to, 200);
    let there = address(&nodes[to]);
    for (worker, tube) in [(one, &names[0]), (many, &names[0]), (both, &tagged[0]), (resp3, &names[2])] {
        let error = error_line(&worker.join().expect_err("the worker is redirected"));
        assert_eq!(error, format!("MOVED {} {there}", slot_of(&cluster, tube)));
    }
    eventually(|| waiting(&nodes[to]) == 1);
    let mut con = nodes[to].connect();
    cmd(&mut con, &["PHEAN.PUT", &names[2], "for the client"]).expect("a put");
    let job = client.join().expect("the client does not panic").expect("the client follows");
    assert_eq!(reserved(&job).expect("there is a job").body, b"for the client");

    // A connection of the old node is none of the new one's: the lease has become a plain one.
    let binder_id = client_id(&mut binder).to_string();
    drop(binder);
    let is_connected = |con: &mut Connection| {
        !text(&cmd(con, &["CLIENT", "LIST", "ID", &binder_id]).expect("a list")).is_empty()
    };
    let mut old = nodes[from].connect();
    eventually(|| !is_connected(&mut old));
    assert_eq!(cmd(&mut con, &["PHEAN.TOUCH", &bound_tube, &bound]), Ok(Value::Int(1)));
    assert!(err(&mut old, &["PHEAN.TOUCH", &bound_tube, &bound]).starts_with("MOVED "));

    assert!(!stayer.is_over(), "its slot has not moved");
    assert_eq!(waiting(&nodes[from]), 1);
    cmd(&mut nodes[from].connect(), &["PHEAN.PUT", &stays, "x"]).expect("a put");
    assert_eq!(reserved(&stayer.join().expect("it is served")).expect("a job").body, b"x");
}

/// As in Redis, a slot that is on its way is served by the node where it was until it has gone, and by the other one
/// for those who ask there on purpose.
#[test]
fn workers_wait_on_while_their_slot_is_on_its_way() {
    if !has_module() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let nodes = cluster.nodes();
    let names = cluster.names_in_first(1000, 2);
    let (from, to) = (cluster.serving(&names[0]), (cluster.serving(&names[0]) + 1) % 3);
    let (leaving, gone) =
        (slot_of(&cluster, &names[0]).to_string(), slot_of(&cluster, &names[1]).to_string());
    let (from_id, to_id) = (id_of(&nodes[from]), id_of(&nodes[to]));
    let set = |node: usize, slot: &str, what: &str, id: &str| {
        let words = ["CLUSTER", "SETSLOT", slot, what, id];
        cmd(&mut nodes[node].connect(), &words[..if id.is_empty() { 4 } else { 5 }])
            .expect("SETSLOT answers");
    };
    let here = waits(&nodes[from], &names[0]);
    let redirected = waits(&nodes[from], &names[1]);
    set(to, &leaving, "IMPORTING", &from_id);
    set(from, &leaving, "MIGRATING", &to_id);
    let there = waits_asking(&nodes[to], &names[0]);

    // One look is at both of those who wait here: the one is told, the other waits on.
    set(to, &gone, "NODE", &to_id);
    set(from, &gone, "NODE", &to_id);
    let error = error_line(&redirected.join().expect_err("it is redirected"));
    assert_eq!(error, format!("MOVED {gone} {}", address(&nodes[to])));
    // And at the new node, one look is at who has been sent there and at another one.
    let other = (0..).map(|number| format!("other:{number}")).find(|name| cluster.serving(name) == to);
    let other = other.expect("there are many names");
    let slot = slot_of(&cluster, &other).to_string();
    let redirected = waits(&nodes[to], &other);
    set(from, &slot, "NODE", &from_id);
    set(to, &slot, "NODE", &from_id);
    let error = error_line(&redirected.join().expect_err("it is redirected"));
    assert_eq!(error, format!("MOVED {slot} {}", address(&nodes[from])));
    assert!(!here.is_over() && !there.is_over());

    // A job of a tube that is not there (yet) goes to the new node, and to who waits there.
    let mut con = nodes[to].connect();
    run(&mut con, "ASKING");
    cmd(&mut con, &["PHEAN.PUT", &names[0], "early", "TTR", LONG]).expect("a put");
    assert_eq!(reserved(&there.join().expect("it is served")).expect("a job").body, b"early");
    assert!(!here.is_over());

    // It comes back, and one who waits at the node where it will not be after all is sent home.
    let there = waits_asking(&nodes[to], &names[0]);
    run(&mut con, "ASKING");
    cmd(&mut con, &["DEL", &names[0]]).expect("a delete");
    set(to, &leaving, "STABLE", "");
    set(from, &leaving, "STABLE", "");
    let error = error_line(&there.join().expect_err("it is redirected"));
    assert_eq!(error, format!("MOVED {leaving} {}", address(&nodes[from])));
    cmd(&mut nodes[from].connect(), &["PHEAN.PUT", &names[0], "late"]).expect("a put");
    assert_eq!(reserved(&here.join().expect("it is served")).expect("a job").body, b"late");
}

/// A cluster of one node, in which slots can be taken away.
fn one_node(config: &[&str]) -> Server {
    let server = Server::start(&[["cluster-enabled yes", ON].as_slice(), config].concat());
    let mut con = server.connect();
    run(&mut con, "CLUSTER ADDSLOTSRANGE 0 16383");
    eventually(|| text(&run(&mut con, "CLUSTER INFO")).contains("cluster_state:ok"));
    server
}

/// foo is in slot 12182, bar in slot 5061.
#[test]
fn workers_whose_slot_nobody_serves_are_told() {
    if !has_module() {
        return;
    }
    let server = one_node(&["cluster-require-full-coverage no"]);
    let mut con = server.connect();
    let (foo, bar) = (waits(&server, "foo"), waits(&server, "bar"));
    let mut on_foo = Talk::new(&server);
    on_foo.ask("watch foo");
    assert_eq!(on_foo.ask("ignore default"), "WATCHING 1");
    on_foo.send("reserve\r\n");
    let mut on_both = Talk::new(&server);
    on_both.ask("watch foo");
    on_both.send("watch bar\r\nreserve-with-timeout 1000\r\n");
    assert_eq!(on_both.line(), "WATCHING 3");
    eventually(|| waiting(&server) == 4);

    run(&mut con, "CLUSTER DELSLOTS 12182");
    assert_eq!(error_line(&foo.join().expect_err("it is told")), "CLUSTERDOWN Hash slot not served");
    // At the beanstalk port there is no word for it, but the worker does not hang, and may be told again.
    assert_eq!(on_foo.line(), "INTERNAL_ERROR");
    assert_eq!(on_foo.ask("reserve"), "INTERNAL_ERROR");
    assert!(server.log().contains("this node does not serve any more"), "the log says why");
    // Who waits for other tubes as well goes on.
    assert_eq!(waiting(&server), 2);
    run(&mut con, "PHEAN.PUT bar x");
    assert_eq!(reserved(&bar.join().expect("it is served")).expect("a job").body, b"x");
    run(&mut con, "PHEAN.PUT bar y");
    assert_eq!(on_both.job().1, "y");
    // The slot is served again.
    run(&mut con, "CLUSTER ADDSLOTS 12182");
    on_foo.send("reserve\r\n");
    eventually(|| waiting(&server) == 1);
    run(&mut con, "PHEAN.PUT foo z");
    assert_eq!(on_foo.job().1, "z");
}

/// Redis tells its clients, a module's as well, but newer Valkey does not. At the beanstalk port a worker would have
/// waited on with either, and been served by a node that its cluster may have replaced.
#[test]
fn workers_are_told_when_their_cluster_is_down() {
    if !has_module() {
        return;
    }
    let server = one_node(&[]);
    let mut con = server.connect();
    let (foo, bar) = (waits(&server, "foo"), waits(&server, "bar"));
    let mut bean = Talk::new(&server);
    bean.send("put 0 0 60 1\r\nx\r\n");
    assert!(bean.line().starts_with("INSERTED "));
    assert_eq!(bean.reserve().1, "x");
    bean.send("reserve\r\n");
    eventually(|| waiting(&server) == 3);
    run(&mut con, "CLUSTER DELSLOTS 16000");
    for worker in [foo, bar] {
        let error = error_line(&worker.join().expect_err("it is told"));
        assert_eq!(error, "CLUSTERDOWN The cluster is down");
    }
    assert_eq!(bean.line(), "INTERNAL_ERROR");
    eventually(|| waiting(&server) == 0);
    assert!(err(&mut con, &["PHEAN.RESERVE", "foo"]).starts_with("CLUSTERDOWN "));
}

/// Looking after waits must not cost those who do not wait in vain: a thousand tubes are waited on, and all that
/// leave are told, though one look is at a part of them only.
#[test]
fn all_of_very_many_workers_are_told() {
    if !has_module() {
        return;
    }
    let server = one_node(&["cluster-require-full-coverage no"]);
    let mut con = server.connect();
    let mut workers = Vec::new();
    for number in 0..1500 {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
        let name = format!("tube:{number}");
        let command = format!("PHEAN.RESERVE {name} TIMEOUT 1000\r\n");
        std::io::Write::write_all(&mut stream, command.as_bytes()).expect("it is sent");
        workers.push((name, stream));
    }
    eventually(|| waiting(&server) == 1500);
    let since = Instant::now();
    run(&mut con, "CLUSTER DELSLOTSRANGE 0 8191");
    let is_gone =
        |(name, _): &(String, _)| int(&cmd(&mut con, &["CLUSTER", "KEYSLOT", name]).expect("a slot")) < 8192;
    // Those who wait on are more than one look is at, and stay until all others are told.
    let (gone, here): (Vec<_>, Vec<_>) = workers.into_iter().partition(is_gone);
    for (_, mut stream) in gone {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let mut told = [0; 128];
        let length = std::io::Read::read(&mut stream, &mut told).expect("it is told");
        assert_eq!(&told[..length], b"-CLUSTERDOWN Hash slot not served\r\n");
    }
    for (name, _stream) in here {
        assert_eq!(cmd(&mut con, &["PHEAN.PUT", &name, "x"]).map(|id| int(&id) > 0), Ok(true));
    }
    println!("about 750 of 1500 workers were told within {:?}", since.elapsed());
    eventually(|| waiting(&server) == 0);
    assert_eq!(run(&mut con, "PING"), Value::SimpleString("PONG".into()));
}
