//! A cluster's client finds each tube by its name, whatever the command.

use crate::harness::has_module;
use crate::nodes::{Cluster, slot_of};
use crate::reply::{array, cmd, err, int, reserved, run, text};
use crate::waiting::eventually_some;
use crate::wire::Wire;
use phean::commands::{COMMANDS, Keys};
use redis::Value;

/// A command line for each command. TUBE stands for the tube's name, ID for that of a job that is buried, and LEASE
/// for that of one that is reserved.
const LINES: [&str; 21] = [
    "PHEAN.PUT TUBE body PRI 1",
    "PHEAN.MPUT TUBE 2 one two",
    "PHEAN.RESERVE TUBE TIMEOUT 1",
    "PHEAN.MRESERVE 1 TUBE COUNT 2",
    "PHEAN.TOUCH TUBE LEASE",
    "PHEAN.JOB TUBE LEASE",
    "PHEAN.CLAIMED TUBE",
    "PHEAN.RELEASE TUBE LEASE",
    "PHEAN.RESERVEJOB TUBE ID",
    "PHEAN.BURY TUBE ID",
    "PHEAN.KICKJOB TUBE ID",
    "PHEAN.PRIORITIZE TUBE ID 7",
    "PHEAN.DELAY TUBE ID 100",
    "PHEAN.KICK TUBE 10",
    "PHEAN.PAUSE TUBE 0",
    "PHEAN.PEEK TUBE READY",
    "PHEAN.SCAN TUBE 0",
    "PHEAN.STATS TUBE",
    "PHEAN.DELETE TUBE ID",
    "PHEAN.CLEAR TUBE",
    "PHEAN.TUBES",
];

#[test]
fn a_cluster_client_reaches_every_tube_with_every_command() {
    if !has_module() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let nodes = cluster.nodes();
    let mut served = [0; 6];
    for number in 0..12 {
        let tube = format!("routing:{number}");
        let home = cluster.serving(&tube);
        served[home] += 1;
        let id = int(&client.ask(&["PHEAN.PUT", &tube, "first", "TTR", "1000"]).unwrap()).to_string();
        let job = reserved(&client.ask(&["PHEAN.RESERVE", &tube]).unwrap()).expect("there is a job");
        assert_eq!(job.id.to_string(), id);
        let other = int(&client.ask(&["PHEAN.PUT", &tube, "second", "DELAY", "1000"]).unwrap()).to_string();
        for line in LINES {
            let words: Vec<&str> = line
                .split(' ')
                .map(|word| match word {
                    "TUBE" => &tube,
                    "ID" => &other,
                    "LEASE" => &job.lease,
                    word => word,
                })
                .collect();
            client.ask(&words).unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")));
            if !words.contains(&tube.as_str()) {
                continue;
            }
            // Any client can learn where the key stands, and every other primary says where it is served.
            let mut con = nodes[home].connect();
            let keys = cmd(&mut con, &[["COMMAND", "GETKEYS"].as_slice(), &words].concat()).expect("keys");
            assert_eq!(array(&keys).iter().map(text).collect::<Vec<_>>(), [tube.as_str()], "{line}");
            for stranger in (0..3).filter(|node| *node != home) {
                let error = err(&mut nodes[stranger].connect(), &words);
                let expected = format!("MOVED {} 127.0.0.1:{}", slot_of(&cluster, &tube), nodes[home].port());
                assert_eq!(error, expected, "{line}");
            }
        }
    }
    assert!(served[..3].iter().all(|count| *count > 0), "each primary served a tube: {served:?}");
    let known: Vec<&str> = LINES.iter().filter_map(|line| line.split(' ').next()).collect();
    for command in COMMANDS.iter().filter(|command| command.name != "phean.apply") {
        assert!(known.contains(&command.name.to_uppercase().as_str()), "{} is not tried", command.name);
    }
    let keyless = COMMANDS.iter().filter(|command| command.keys == Keys::None);
    assert_eq!(keyless.map(|command| command.name).collect::<Vec<_>>(), ["phean.tubes"]);
}

/// MRESERVE is the only command that names several tubes.
#[test]
fn tubes_of_one_command_share_a_hash_tag() {
    if !has_module() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let node = &cluster.nodes()[cluster.serving("{shop}:orders")];
    let mut con = node.connect();
    for tube in ["{shop}:orders", "{shop}:parcels"] {
        assert_eq!(slot_of(&cluster, tube), slot_of(&cluster, "shop"));
        client.ask(&["PHEAN.PUT", tube, tube]).unwrap();
    }
    let both = ["PHEAN.MRESERVE", "2", "{shop}:orders", "{shop}:parcels", "COUNT", "5"];
    assert_eq!(array(&client.ask(&both).unwrap()).len(), 2);
    let keys = cmd(&mut con, &[["COMMAND", "GETKEYS"].as_slice(), &both].concat()).expect("keys");
    assert_eq!(array(&keys).iter().map(text).collect::<Vec<_>>(), ["{shop}:orders", "{shop}:parcels"]);

    // Two slots of one and the same node are as bad as those of two nodes.
    let neighbour = (0..)
        .map(|number| format!("neighbour:{number}"))
        .find(|name| cluster.owner(slot_of(&cluster, name)) == cluster.owner(slot_of(&cluster, "shop")))
        .expect("there are many names");
    for other in [neighbour.as_str(), "elsewhere"] {
        for wait in [["TIMEOUT", "0"], ["TIMEOUT", "10"]] {
            let mixed = [["PHEAN.MRESERVE", "2", "{shop}:orders", other].as_slice(), &wait].concat();
            assert_eq!(err(&mut con, &mixed), "CROSSSLOT Keys in request don't hash to the same slot");
            let error = client.ask(&mixed).unwrap_err();
            assert_eq!(error.code(), Some("CROSSSLOT"), "{error}");
        }
    }

    // A script that finishes a job and puts its follow-up, as README.md has it.
    client.ask(&["PHEAN.PUT", "{shop}:orders", "order", "TTR", "1000"]).unwrap();
    let job = reserved(&client.ask(&["PHEAN.RESERVE", "{shop}:orders"]).unwrap()).expect("there is a job");
    let script = "if redis.call('PHEAN.TOUCH', KEYS[1], ARGV[1]) == 0 then return 0 end
        redis.call('PHEAN.PUT', KEYS[2], ARGV[2]) return redis.call('PHEAN.DELETE', KEYS[1], ARGV[1])";
    let done = cmd(&mut con, &["EVAL", script, "2", "{shop}:orders", "{shop}:parcels", &job.lease, "parcel"]);
    assert_eq!(done.unwrap(), Value::Int(1));
    let next = client.ask(&["PHEAN.RESERVE", "{shop}:parcels"]).unwrap();
    assert_eq!(reserved(&next).map(|job| job.body), Some(b"parcel".to_vec()));
    let mixed = cmd(&mut con, &["EVAL", script, "2", "{shop}:orders", "elsewhere", &job.lease, "parcel"]);
    assert!(mixed.is_err_and(|error| error.code() == Some("CROSSSLOT")));

    // Replicas send clients to their primary, for reading too unless they were told READONLY.
    let replica = eventually_some(|| cluster.replicas(cluster.serving("shop")).first().copied());
    let mut con = cluster.nodes()[replica].connect();
    assert!(err(&mut con, &["PHEAN.PEEK", "{shop}:orders", "READY"]).starts_with("MOVED "));
    assert!(err(&mut con, &["PHEAN.RESERVE", "{shop}:orders", "TIMEOUT", "5"]).starts_with("MOVED "));
    run(&mut con, "READONLY");
    run(&mut con, "PHEAN.STATS {shop}:orders");
    assert!(err(&mut con, &["PHEAN.RESERVE", "{shop}:orders", "TIMEOUT", "5"]).starts_with("MOVED "));
}
