//! A server: a broker and its world, and how it comes back after a crash.

use std::rc::Rc;

use phean::broker::{Broker, Role, Settings, Wait};
use phean::codec;
use phean::commands::{self, Args, COMMANDS, Call, Client, Done, Verb};

use super::reply::{Recorder, Value as Answer};
use super::world::{Entry, Keyspace, MemoryWorld, Op, Place, Told, Value, load, save};

/// Who sends a command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender {
    pub id: u64,
    pub may_wait: bool,
    pub in_script: bool,
}

impl Client for Sender {
    fn id(&self) -> u64 {
        self.id
    }

    fn may_wait(&self) -> bool {
        self.may_wait
    }

    fn in_script(&self) -> bool {
        self.in_script
    }
}

pub struct Server {
    pub broker: Broker,
    pub world: MemoryWorld,
    started_ms: u64,
}

/// What a command came to.
#[derive(Debug)]
pub enum Outcome {
    Reply(Answer),
    Waits(Wait),
    Error(String),
}

/// In what form a server finds its data when it starts.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Snapshot,
    Events,
}

impl Server {
    pub fn primary(settings: Settings, now_ms: u64) -> Server {
        let world = MemoryWorld::default();
        {
            let mut state = world.state.borrow_mut();
            state.is_primary = true;
            state.needs_events = true;
            state.now_ms = now_ms;
        }
        Server { broker: Broker::new(settings), world, started_ms: now_ms }
    }

    /// A server that has loaded these keys and follows somebody.
    pub fn follower(settings: Settings, keys: &Keyspace, form: Form, now_ms: u64) -> Server {
        let mut server =
            Server { broker: Broker::new(settings), world: MemoryWorld::default(), started_ms: now_ms };
        server.broker.set_role(Role::Follower, 0);
        {
            let mut state = server.world.state.borrow_mut();
            state.needs_events = true;
            state.now_ms = now_ms;
        }
        server.load(keys, form, now_ms);
        server
    }

    fn load(&mut self, keys: &Keyspace, form: Form, now_ms: u64) {
        for (place, entry) in keys.0.iter() {
            match (&entry.value, form) {
                (Value::Text, _) => self.world.state.borrow_mut().loaded(*place, entry.clone()),
                (Value::Tube { tube, birth }, Form::Snapshot) => {
                    let tube = Rc::new(load(&save(tube)));
                    let value = Value::Tube { tube, birth: *birth };
                    self.world
                        .state
                        .borrow_mut()
                        .loaded(*place, Entry { value, expires_at_ms: entry.expires_at_ms });
                }
                (Value::Tube { tube, .. }, Form::Events) => {
                    let mut events = Vec::new();
                    codec::rewrite_as_events(tube, |event| events.push(event.to_vec()));
                    events.into_iter().for_each(|event| self.follow(&Op::Apply(*place, event), now_ms));
                    if let Some(at_ms) = entry.expires_at_ms {
                        self.follow(&Op::Expire(*place, at_ms), now_ms);
                    }
                }
            }
        }
        self.hear();
    }

    /// Everything here is replaced by what another server has: a full synchronization.
    pub fn synchronize(&mut self, keys: &Keyspace, now_ms: u64) {
        self.world.state.borrow_mut().execute(&Op::Flush(None));
        self.load(keys, Form::Snapshot, now_ms);
    }

    /// Lets the broker hear what has happened.
    pub fn hear(&mut self) {
        self.broker.catch_up(&mut self.world);
    }

    /// Does what the primary did.
    pub fn follow(&mut self, op: &Op, now_ms: u64) {
        match op {
            Op::Apply(place, event) => {
                let args = [b"APPLY".to_vec(), place.name().to_vec(), event.clone()];
                let outcome = self.run(Sender::default(), place.db, &args, now_ms);
                assert!(matches!(outcome, Outcome::Reply(Answer::Ok)), "{op:?} was refused: {outcome:?}");
            }
            other => {
                self.world.state.borrow_mut().execute(other);
            }
        }
    }

    /// Does what the primary did, and compares what came of it.
    pub fn follow_closely(&mut self, told: &Told, now_ms: u64) {
        self.follow(&told.op, now_ms);
        if let Op::Apply(place, _) = &told.op {
            let state = self.world.state.borrow();
            match (state.keys.tube(*place), told.after.tube(*place)) {
                (Some((mine, _)), Some((theirs, _))) => assert_same_tube(*place, mine, theirs),
                (None, None) => {}
                (mine, _) => panic!("{place:?}: followed by a tube: {}", mine.is_some()),
            }
        }
    }

    pub fn run(&mut self, client: Sender, db: u32, args: &[Vec<u8>], now_ms: u64) -> Outcome {
        let name = format!("phean.{}", String::from_utf8_lossy(&args[0]).to_lowercase());
        let command = COMMANDS.iter().find(|command| command.name == name).expect("a command");
        let args: Vec<&[u8]> = args[1..].iter().map(Vec::as_slice).collect();
        if command.verb == Verb::Apply {
            self.world.state.borrow_mut().as_it_came = args.get(1).map(|event| event.to_vec());
        }
        let mut recorder = Recorder::default();
        let mut call = Call {
            broker: &mut self.broker,
            world: &mut self.world,
            reply: &mut recorder,
            args: Args::new(&args),
            db,
            now_ms,
            started_ms: self.started_ms,
            client: &client,
        };
        let done = commands::run(command.verb, &mut call);
        if !matches!(done, Ok(Done::Replied)) {
            assert!(recorder.is_empty(), "something was written, and then it was {done:?}");
        }
        match done {
            Ok(Done::Replied) => Outcome::Reply(recorder.value()),
            Ok(Done::Waits(wait)) => Outcome::Waits(wait),
            Err(error) => Outcome::Error(error.text(command.name)),
        }
    }
}

pub fn assert_same_tube(place: Place, mine: &phean::queue::Tube, theirs: &phean::queue::Tube) {
    for (mine, theirs) in mine.jobs().zip(theirs.jobs()) {
        assert_eq!(mine, theirs, "a job of {place:?} is not the same");
    }
    assert_eq!(mine.counts(), theirs.counts(), "{place:?} does not have the same jobs");
    assert_eq!(mine.header(), theirs.header(), "{place:?} does not have the same header");
}

/// Two servers have the same keys, the same jobs in them, and the same everything else.
pub fn assert_same(mine: &Keyspace, theirs: &Keyspace) {
    let names = |keys: &Keyspace| -> Vec<(Place, Option<u64>)> {
        keys.0.iter().map(|(place, entry)| (*place, entry.expires_at_ms)).collect()
    };
    assert_eq!(names(mine), names(theirs), "the keys are not the same");
    for (place, tube, _) in mine.tubes() {
        let (other, _) = theirs.tube(place).expect("a tube there too");
        assert_same_tube(place, tube, other);
    }
}
