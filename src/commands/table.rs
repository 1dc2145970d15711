//! Every command: its name, arity, flags, keys and documentation. The host registers them from here, so that
//! `COMMAND DOCS`, access control, cluster routing and redis-cli's hints cannot say anything else.

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the commands, which COMMANDS describes")]
pub enum Verb {
    Put,
    Mput,
    Reserve,
    Mreserve,
    ReserveJob,
    Delete,
    Release,
    Bury,
    Touch,
    Kick,
    KickJob,
    Prioritize,
    Delay,
    Pause,
    Clear,
    Peek,
    Job,
    Claimed,
    Scan,
    Stats,
    Tubes,
    Apply,
}

/// Where a command's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// The first argument.
    First,
    /// The first argument says how many, then they follow.
    Counted,
}

/// What a command does with its keys, for access control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Returns what is in the key.
    Read,
    /// Adds to the key.
    Insert,
    /// Returns what is in the key, and changes it.
    Take,
    /// Changes the key.
    Update,
    /// Takes from the key.
    Remove,
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tube's name.
    Key,
    /// Bytes.
    Text,
    /// An integer.
    Integer,
    /// A number.
    Double,
    /// A pattern.
    Pattern,
    /// A word that stands for itself.
    Word,
    /// One of several.
    OneOf(&'static [Arg]),
}

/// An argument's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: &'static str,
    /// The keyword before it.
    pub token: Option<&'static str>,
    /// What it is.
    pub kind: Kind,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
}

impl Arg {
    const fn new(name: &'static str, kind: Kind) -> Arg {
        Arg { name, token: None, kind, optional: false, multiple: false }
    }

    const fn option(name: &'static str, token: &'static str, kind: Kind) -> Arg {
        Arg { name, token: Some(token), kind, optional: true, multiple: false }
    }

    const fn word(name: &'static str, token: &'static str) -> Arg {
        Arg { name, token: Some(token), kind: Kind::Word, optional: false, multiple: false }
    }

    const fn optional(self) -> Arg {
        Arg { optional: true, ..self }
    }

    const fn multiple(self) -> Arg {
        Arg { multiple: true, ..self }
    }
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it does.
    pub verb: Verb,
    /// Its name, in lower case.
    pub name: &'static str,
    /// How many arguments it takes, its name among them; negative for at least so many.
    pub arity: i32,
    /// Its flags, as Redis names them.
    pub flags: &'static str,
    /// Its access control categories, for servers that let modules say them.
    pub categories: &'static str,
    /// Where its keys are.
    pub keys: Keys,
    /// What it does with them.
    pub key_use: Use,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What it costs.
    pub complexity: &'static str,
    /// Its arguments.
    pub args: &'static [Arg],
}

impl Command {
    /// The command of this name, in any case.
    pub fn named(name: &str) -> Option<&'static Command> {
        COMMANDS.iter().find(|command| command.name.eq_ignore_ascii_case(name))
    }

    /// How many arguments it takes at least, its name among them.
    pub const fn least_words(&self) -> usize {
        self.arity.unsigned_abs() as usize
    }
}

const TUBE: Arg = Arg::new("tube", Kind::Key);
const ID: Arg = Arg::new("id", Kind::Text);
const IDS: Arg = ID.multiple();
const BODY: Arg = Arg::new("body", Kind::Text);
const PRI: Arg = Arg::option("pri", "PRI", Kind::Integer);
const DELAY: Arg = Arg::option("delay", "DELAY", Kind::Double);
const TTR: Arg = Arg::option("ttr", "TTR", Kind::Double);
const TIMEOUT: Arg = Arg::option("timeout", "TIMEOUT", Kind::Double);
const COUNT: Arg = Arg::option("count", "COUNT", Kind::Integer);
const BOUND: Arg = Arg::option("bound", "BOUND", Kind::Word);
const SECONDS: Arg = Arg::new("seconds", Kind::Double);

const STATES: &[Arg] = &[
    Arg::word("ready", "READY"),
    Arg::word("delayed", "DELAYED"),
    Arg::word("buried", "BURIED"),
    Arg::word("reserved", "RESERVED"),
];

const ID_OR_STATE: &[Arg] = &[
    ID,
    Arg::word("ready", "READY"),
    Arg::word("delayed", "DELAYED"),
    Arg::word("buried", "BURIED"),
    Arg::word("reserved", "RESERVED"),
];

const PER_JOB: &str = "O(M*log(N)) for M ids and N jobs in the tube.";
const ONE_JOB: &str = "O(log(N)) for N jobs in the tube.";

/// Every command.
pub const COMMANDS: &[Command] = &[
    Command {
        verb: Verb::Put,
        name: "phean.put",
        arity: -3,
        flags: "write deny-oom fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Insert,
        summary: "Puts a job into a tube and returns its id.",
        complexity: "O(log(N)) for N jobs in the tube; O(1) where priorities are alike.",
        args: &[TUBE, BODY, PRI, DELAY, TTR],
    },
    Command {
        verb: Verb::Mput,
        name: "phean.mput",
        arity: -4,
        flags: "write deny-oom",
        categories: "write slow",
        keys: Keys::First,
        key_use: Use::Insert,
        summary: "Puts several jobs into a tube, all or none, and returns their ids.",
        complexity: "O(M*log(N)) for M bodies and N jobs in the tube.",
        args: &[TUBE, Arg::new("numjobs", Kind::Integer), BODY.multiple(), PRI, DELAY, TTR],
    },
    Command {
        verb: Verb::Reserve,
        name: "phean.reserve",
        arity: -2,
        flags: "write fast blocking",
        categories: "write fast blocking",
        keys: Keys::First,
        key_use: Use::Take,
        summary: "Reserves the most urgent ready job of a tube, and can wait for one.",
        complexity: "O(M*log(N)) for M jobs reserved of N in the tube.",
        args: &[TUBE, TIMEOUT, COUNT, TTR, BOUND],
    },
    Command {
        verb: Verb::Mreserve,
        name: "phean.mreserve",
        arity: -3,
        flags: "write blocking getkeys-api",
        categories: "write slow blocking",
        keys: Keys::Counted,
        key_use: Use::Take,
        summary: "Reserves the most urgent ready job over several tubes, and can wait for one.",
        complexity: "O(T+M*log(N)) for T tubes and M jobs reserved of N in them.",
        args: &[Arg::new("numtubes", Kind::Integer), TUBE.multiple(), TIMEOUT, COUNT, TTR, BOUND],
    },
    Command {
        verb: Verb::ReserveJob,
        name: "phean.reservejob",
        arity: -3,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Take,
        summary: "Reserves one job that is ready, delayed or buried.",
        complexity: ONE_JOB,
        args: &[TUBE, ID, TTR, BOUND],
    },
    Command {
        verb: Verb::Delete,
        name: "phean.delete",
        arity: -3,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Remove,
        summary: "Deletes jobs in any state, and returns how many.",
        complexity: PER_JOB,
        args: &[TUBE, IDS],
    },
    Command {
        verb: Verb::Release,
        name: "phean.release",
        arity: -3,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Gives reserved jobs back, and returns how many.",
        complexity: PER_JOB,
        args: &[TUBE, IDS, PRI, DELAY, Arg::option("untried", "UNTRIED", Kind::Word)],
    },
    Command {
        verb: Verb::Bury,
        name: "phean.bury",
        arity: -3,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Sets reserved jobs aside until they are kicked, and returns how many.",
        complexity: PER_JOB,
        args: &[TUBE, IDS, PRI],
    },
    Command {
        verb: Verb::Touch,
        name: "phean.touch",
        arity: -3,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Gives reservations more time, and returns how many.",
        complexity: PER_JOB,
        args: &[TUBE, IDS, Arg::option("for", "FOR", Kind::Double)],
    },
    Command {
        verb: Verb::Kick,
        name: "phean.kick",
        arity: 3,
        flags: "write",
        categories: "write slow",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Makes buried jobs ready, or delayed ones if none is buried.",
        complexity: "O(M*log(N)) for M jobs kicked of N in the tube.",
        args: &[TUBE, Arg::new("count", Kind::Integer)],
    },
    Command {
        verb: Verb::KickJob,
        name: "phean.kickjob",
        arity: -3,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Makes buried or delayed jobs ready, and returns how many.",
        complexity: PER_JOB,
        args: &[TUBE, IDS],
    },
    Command {
        verb: Verb::Prioritize,
        name: "phean.prioritize",
        arity: 4,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Gives a job in any state another priority.",
        complexity: ONE_JOB,
        args: &[TUBE, ID, Arg::new("pri", Kind::Integer)],
    },
    Command {
        verb: Verb::Delay,
        name: "phean.delay",
        arity: 4,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Delays a job that is ready, delayed or buried.",
        complexity: ONE_JOB,
        args: &[TUBE, ID, SECONDS],
    },
    Command {
        verb: Verb::Pause,
        name: "phean.pause",
        arity: 3,
        flags: "write fast",
        categories: "write fast",
        keys: Keys::First,
        key_use: Use::Update,
        summary: "Lets no reserve take from a tube for some time; 0 resumes.",
        complexity: "O(1)",
        args: &[TUBE, SECONDS],
    },
    Command {
        verb: Verb::Clear,
        name: "phean.clear",
        arity: -2,
        flags: "write",
        categories: "write slow",
        keys: Keys::First,
        key_use: Use::Remove,
        summary: "Deletes the jobs of a tube that are in the given states, all but reserved if none is given.",
        complexity: "O(N) for N jobs near those that stay; the memory is freed in the background.",
        args: &[TUBE, Arg::new("state", Kind::OneOf(STATES)).optional().multiple()],
    },
    Command {
        verb: Verb::Peek,
        name: "phean.peek",
        arity: 3,
        flags: "readonly fast",
        categories: "read fast",
        keys: Keys::First,
        key_use: Use::Read,
        summary: "Returns a job, or the next one to go in a state.",
        complexity: ONE_JOB,
        args: &[TUBE, Arg::new("which", Kind::OneOf(ID_OR_STATE))],
    },
    Command {
        verb: Verb::Job,
        name: "phean.job",
        arity: 3,
        flags: "readonly fast",
        categories: "read fast",
        keys: Keys::First,
        key_use: Use::Read,
        summary: "Returns everything about a job but its body.",
        complexity: ONE_JOB,
        args: &[TUBE, ID],
    },
    Command {
        verb: Verb::Claimed,
        name: "phean.claimed",
        arity: -2,
        flags: "readonly",
        categories: "read slow",
        keys: Keys::First,
        key_use: Use::Read,
        summary: "Returns who holds which job, the soonest deadline first, or the longest held.",
        complexity: "O(M*log(M)) for M jobs asked for.",
        args: &[TUBE, COUNT, Arg::option("oldest", "OLDEST", Kind::Word)],
    },
    Command {
        verb: Verb::Scan,
        name: "phean.scan",
        arity: -3,
        flags: "readonly",
        categories: "read slow",
        keys: Keys::First,
        key_use: Use::Read,
        summary: "Iterates over the jobs of a tube.",
        complexity: "O(M) for M jobs asked for.",
        args: &[
            TUBE,
            Arg::new("cursor", Kind::Integer),
            Arg::option("state", "STATE", Kind::OneOf(STATES)),
            COUNT,
        ],
    },
    Command {
        verb: Verb::Stats,
        name: "phean.stats",
        arity: -1,
        flags: "readonly",
        categories: "read slow",
        keys: Keys::First,
        key_use: Use::Read,
        summary: "Returns the statistics of a tube, or of the server.",
        complexity: "O(log(N)) for N jobs in the tube.",
        args: &[TUBE.optional()],
    },
    Command {
        verb: Verb::Tubes,
        name: "phean.tubes",
        arity: -1,
        flags: "readonly",
        categories: "read slow dangerous",
        keys: Keys::None,
        key_use: Use::Read,
        summary: "Returns the names of the tubes in the selected database, in byte order.",
        complexity: "O(T) for T tubes looked at.",
        args: &[
            Arg::option("pattern", "MATCH", Kind::Pattern),
            Arg::option("from", "FROM", Kind::Text),
            COUNT,
            Arg::option("withstats", "WITHSTATS", Kind::Word),
        ],
    },
    Command {
        verb: Verb::Apply,
        name: "phean.apply",
        arity: 3,
        flags: "write",
        categories: "write slow admin dangerous",
        keys: Keys::First,
        key_use: Use::Insert,
        summary: "Applies an event of a primary or of the append-only file. Not for clients.",
        complexity: "O(M*log(N)) for M changes and N jobs in the tube.",
        args: &[TUBE, Arg::new("event", Kind::Text)],
    },
];
