//! What is fed, and what must hold afterwards.

use phean::broker::Settings;
use phean::codec::{self, Loader};
use phean::commands::{COMMANDS, Verb};
use phean::queue::decide::{self, Retry, Worker};
use phean::queue::{Change, State, States, Tube};

use super::driver::{Connection, Driver, Pieces};
use super::server::{Outcome, Sender, Server};
use super::world::MORE_NAMES;

/// A fuzz target: its name, and the function that takes the input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 4] =
    [("arguments", arguments), ("event", event), ("snapshot", snapshot), ("protocol", protocol)];

const NOW_MS: u64 = 1_790_000_000_000;

/// What separates the parts of an input: no more than one byte of a mutation turns a part into two.
const SEPARATOR: u8 = b'|';

/// Sound inputs of a target, to start from.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "arguments" => arguments_seeds(),
        "event" => event_seeds(),
        "snapshot" => {
            let tubes = [0, 1, 3, 40].map(tube_of).into_iter().chain([tube_of_long_bodies()]);
            tubes.map(|tube| joined(&pieces(&tube))).collect()
        }
        _ => protocol_seeds(),
    }
}

/// A tube with jobs in every state.
fn tube_of(jobs: u64) -> Tube {
    let mut tube = Tube::new(NOW_MS);
    for id in 1..=jobs {
        let delay_ms = if id % 4 == 0 { 5_000 } else { 0 };
        let body = vec![b'a' + (id % 20) as u8; (id % 9) as usize];
        make(
            &mut tube,
            &Change::Put { id: id * 3, pri: (id % 5) as u32, delay_ms, ttr_ms: 1_000, body: &body },
        );
    }
    for _ in 0..jobs / 2 {
        let Some(change) = decide::reserve(&tube, NOW_MS, Worker::default()) else { break };
        make(&mut tube, &change);
        if let Change::Reserve { id, .. } = change
            && id % 2 == 0
        {
            make(&mut tube, &Change::Bury { id, pri: 9 });
        }
    }
    tube
}

/// A tube whose bodies are pieces of their own: several, and one.
fn tube_of_long_bodies() -> Tube {
    let mut tube = Tube::new(NOW_MS);
    for (id, length) in [(1, 7_000), (2, 25_000)] {
        let body = vec![b'x'; length];
        make(&mut tube, &Change::Put { id, pri: 1, delay_ms: 0, ttr_ms: 1_000, body: &body });
    }
    assert_eq!(pieces(&tube).len(), 4);
    tube
}

fn make(tube: &mut Tube, change: &Change<'_>) {
    tube.verify(NOW_MS, &[*change]).expect("a change that was decided is possible");
    tube.apply(NOW_MS, change);
}

fn pieces(tube: &Tube) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    codec::save_snapshot(tube, |piece| pieces.push(piece.to_vec()));
    pieces
}

fn assert_same(a: &Tube, b: &Tube) {
    assert!(a.jobs().eq(b.jobs()), "a job differs");
    assert_eq!((a.header(), a.counts()), (b.header(), b.counts()));
}

/// What must hold of a tube, wherever it came from: it holds together, comes back from a snapshot, and can be worked
/// on until it is empty.
fn must_hold(tube: &Tube) {
    tube.check().unwrap_or_else(|wrong| panic!("{wrong}"));
    let mut tube = load(&pieces(tube)).inspect(|copy| assert_same(tube, copy)).expect("what was saved loads");
    for _ in 0..64 {
        let due = decide::due(&tube, NOW_MS, Retry { count: Some(1), interval_ms: 0 });
        let Some(change) = due.or_else(|| decide::reserve(&tube, NOW_MS, Worker::default())) else { break };
        make(&mut tube, &change);
    }
    tube.check().unwrap_or_else(|wrong| panic!("{wrong}"));
    let states = State::ALL.into_iter().fold(States::NONE, States::with);
    make(&mut tube, &Change::Clear { states });
    tube.check().unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(tube.counts().all(), 0);
}

fn all_must_hold(server: &Server) {
    let keys = server.world.state.borrow().keys.clone();
    keys.tubes().for_each(|(_, tube, _)| must_hold(tube));
}

fn load(pieces: &[Vec<u8>]) -> Option<Tube> {
    let (head, rest) = pieces.split_first()?;
    let mut loader = Loader::new(head).ok()?;
    for piece in rest {
        loader.piece(piece.clone()).ok()?;
    }
    loader.finish().ok()
}

/// Pieces as one input: each with its length in two bytes before it.
fn joined(pieces: &[Vec<u8>]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| [&(piece.len() as u16).to_le_bytes()[..], piece].concat()).collect()
}

fn parted(mut input: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some((len, rest)) = input.split_first_chunk::<2>() {
        let (part, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
        parts.push(part.to_vec());
        input = rest;
    }
    parts
}

/// The pieces of a value in an RDB file: they are refused, or the tube that they make holds together.
pub fn snapshot(input: &[u8]) {
    if let Some(tube) = load(&parted(input)) {
        must_hold(&tube);
    }
}

fn server() -> Server {
    MORE_NAMES.with_borrow_mut(|more| {
        more.get_or_insert_default();
    });
    Server::primary(Settings { max_job_size: 1_000, ..Settings::default() }, NOW_MS)
}

fn run(server: &mut Server, words: &[Vec<u8>]) -> Outcome {
    server.run(Sender { id: 7, may_wait: true, ..Sender::default() }, 0, words, NOW_MS)
}

fn event_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    codec::rewrite_as_events(&tube_of(12), |event| seeds.push(event.to_vec()));
    let changes = [
        Change::Put { id: 50, pri: 7, delay_ms: 0, ttr_ms: 1_000, body: b"hello" },
        Change::Reserve { id: 50, n: NOW_MS, worker: 4, ttr_ms: 1_000 },
        Change::Touch { id: 50, for_ms: 4_000 },
        Change::Bury { id: 50, pri: 3 },
        Change::Kick { id: 50 },
        Change::Delay { id: 50, delay_ms: 10 },
        Change::Promote { id: 50 },
        Change::Delete { id: 50 },
        Change::Pause { for_ms: 60_000 },
        Change::Resume,
    ];
    for upto in 1..=changes.len() {
        let mut event = Vec::new();
        codec::begin_event(NOW_MS, &mut event);
        changes[..upto].iter().for_each(|change| codec::push_change(change, &mut event));
        seeds.push(event);
    }
    seeds
}

/// An event, applied where there is no tube and where there is one: it is refused and changes nothing, or what it
/// leaves holds together.
pub fn event(input: &[u8]) {
    let mut server = server();
    let mut before = Vec::new();
    codec::rewrite_as_events(&tube_of(8), |event| before = event.to_vec());
    for (name, event) in [("a", &before[..]), ("a", input), ("b", input)] {
        let was = server.world.state.borrow().keys.clone();
        let words = [b"APPLY".to_vec(), name.into(), event.to_vec()];
        if let Outcome::Error(_) = run(&mut server, &words) {
            let is = server.world.state.borrow().keys.clone();
            super::server::assert_same(&was, &is);
        }
    }
    all_must_hold(&server);
}

fn arguments_seeds() -> Vec<Vec<u8>> {
    let put: &[&str] = &["PUT a body PRI 5 DELAY 0.5 TTR 60", "PUT a x", "RESERVE a COUNT 2 TTR 5"];
    let more: &[&[&str]] = &[
        &["RELEASE a 1 PRI 3 DELAY 0 UNTRIED", "BURY a 1 2 PRI 4", "KICK a 10", "KICKJOB a 1 2"],
        &[
            "MPUT a 2 x y TTR 4.0E-2",
            "TOUCH a 3 FOR 1e3",
            "DELETE a 1 2-5 3",
            "PRIORITIZE a 3 0",
            "DELAY a 3 4",
        ],
        &[
            "MRESERVE 2 a b TIMEOUT 4 COUNT 3",
            "RESERVEJOB a 2 TTR 7 BOUND",
            "PAUSE a 4",
            "CLEAR a READY BURIED",
        ],
        &["PEEK a READY", "PEEK a 1", "JOB a 1", "CLAIMED a COUNT 4 OLDEST", "SCAN a 0 STATE ready COUNT 5"],
        &["STATS a", "STATS", "TUBES MATCH a* FROM a COUNT 4 WITHSTATS", "CLEAR a"],
    ];
    let script = |lines: &[&str]| -> Vec<u8> {
        let text = [put, lines].concat().join("\n");
        text.bytes().map(|byte| if byte == b' ' { SEPARATOR } else { byte }).collect()
    };
    more.iter().map(|lines| script(lines)).collect()
}

/// Commands, one a line: what is refused changes nothing, and every tube holds together.
pub fn arguments(input: &[u8]) {
    let mut server = server();
    for line in input.split(|byte| *byte == b'\n').take(40) {
        let mut words: Vec<Vec<u8>> = line.split(|byte| *byte == SEPARATOR).map(<[u8]>::to_vec).collect();
        // An unknown word stands for some command, so that few mutations are in vain.
        let is_known = |name: &str| {
            name.strip_prefix("phean.").map(str::as_bytes) == Some(&words[0].to_ascii_lowercase())
        };
        if !COMMANDS.iter().any(|command| is_known(command.name)) {
            let sum = words[0].iter().map(|byte| usize::from(*byte)).sum::<usize>();
            let name = COMMANDS[sum % COMMANDS.len()].name;
            words[0] = name.strip_prefix("phean.").unwrap_or(name).into();
        }
        let verb =
            COMMANDS.iter().find(|command| is_known_as(command.name, &words[0])).map(|command| command.verb);
        let was = server.world.state.borrow().keys.clone();
        if let Outcome::Error(_) = run(&mut server, &words)
            && verb != Some(Verb::Apply)
        {
            let is = server.world.state.borrow().keys.clone();
            super::server::assert_same(&was, &is);
        }
    }
    all_must_hold(&server);
}

fn is_known_as(name: &str, word: &[u8]) -> bool {
    name.strip_prefix("phean.").is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(word))
}

fn protocol_seeds() -> Vec<Vec<u8>> {
    let scripts: &[&[(u8, &str)]] = &[
        &[
            (0, "put 5 0 9 5\r\nhello\r\nreserve\r\n"),
            (0, "release 1 3 1\r\nbury 1 4\r\nkick 5\r\n"),
            (40, ""),
        ],
        &[
            (0, "watch a\r\nignore default\r\nreserve-with-timeout 2\r\n"),
            (1, "use a\r\nput 0 0 1 2\r\nxy\r\n"),
            (60, ""),
        ],
        &[
            (0, "put 0 2 1 0\r\n\r\n"),
            (1, "peek-delayed\r\npeek 1\r\nstats-job 1\r\nkick-job 1\r\n"),
            (70, ""),
            (0, "stats\r\n"),
        ],
        &[
            (0, "pause-tube default 3\r\nlist-tubes\r\nlist-tube-used\r\nlist-tubes-watched\r\n"),
            (1, "stats-tube default\r\nreserve-job 3\r\n"),
        ],
        &[(2, "put 0 0 3 301\r\nxx"), (130, ""), (2, "delete 1\r\ntouch 1\r\nquit\r\n")],
    ];
    let one = |script: &&[(u8, &str)]| {
        script
            .iter()
            .flat_map(|(what, text)| [&[*what, text.len() as u8][..], text.as_bytes()].concat())
            .collect()
    };
    scripts.iter().map(one).collect()
}

/// Three connections. A step is a byte that says what happens, a length, and so many bytes: below 32 and from 192 on
/// a connection sends them, below 128 time passes, and below 192 a connection closes, half or whole.
pub fn protocol(mut input: &[u8]) {
    let mut driver = Driver::with(Settings { max_job_size: 300, ..Settings::default() }, Pieces::Whole);
    let mut connections: [Option<Connection>; 3] = [0; 3].map(|_| Some(driver.connect()));
    let mut steps = 0;
    while let Some((&[what, len], rest)) = input.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(usize::from(len).min(rest.len()));
        input = rest;
        steps += 1;
        if steps > 200 {
            break;
        }
        let which = usize::from(what) % connections.len();
        match (what, connections[which]) {
            (32..128, _) => driver.pass(u64::from(what) * 20),
            (128..160, Some(connection)) => driver.half_close(connection),
            (160..192, Some(connection)) => {
                driver.close(connection);
                connections[which] = Some(driver.connect());
            }
            (_, Some(connection)) => {
                driver.send(connection, bytes);
                driver.read(connection);
            }
            (_, None) => {}
        }
    }
    for connection in connections.into_iter().flatten() {
        driver.close(connection);
    }
    driver.check();
    all_must_hold(&driver.server);
}
