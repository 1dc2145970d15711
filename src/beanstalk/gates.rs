//! What the host decides about a command before it touches a tube.

/// Why nothing may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The memory limit is reached: the client reads `OUT_OF_MEMORY`.
    OutOfMemory,
    /// Anything else (a replica, loading, too few replicas, a failover): the client reads `INTERNAL_ERROR`.
    NotNow,
}

/// What the log should tell an operator, since the protocol has no words for it: the client read
/// `INTERNAL_ERROR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The key holds something that is no tube.
    WrongType,
    /// The port's user may not do this.
    NotAllowed,
    /// The tube's slot is served by another node.
    NotLocal,
    /// All job ids are used up.
    NoIdsLeft,
}

/// What `stats` tells of the process and the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The process id.
    pub pid: u64,
    /// Processor time spent in user code, in microseconds.
    pub user_us: u64,
    /// Processor time spent in the kernel, in microseconds.
    pub system_us: u64,
    /// Whole seconds since the server started.
    pub uptime_s: u64,
    /// A number that tells this server's run from others; shown as 16 hexadecimal digits.
    pub id: u64,
    /// The host's name.
    pub hostname: String,
    /// The operating system's version.
    pub os: String,
    /// The machine's kind.
    pub platform: String,
}

/// What the host decides before a command touches a tube.
pub trait Gates {
    /// Whether something may be written now. `grows` says that the command needs memory.
    fn may_write(&mut self, grows: bool) -> Result<(), Refusal>;

    /// Whether anything may be shown of a tube now.
    fn may_look(&mut self) -> bool {
        true
    }

    /// Whether the port's user may run this `PHEAN.*` command (in upper case) on this tube.
    fn may_use(&mut self, command: &'static str, tube: &[u8]) -> bool;

    /// Whether the port's user may run this command, which names no key.
    fn may_run(&mut self, command: &'static str) -> bool {
        let _ = command;
        true
    }

    /// Whether the tube's slot is served by this node; always so outside a cluster.
    fn is_local(&mut self, tube: &[u8]) -> bool;

    /// Tells the log why a client read `INTERNAL_ERROR`. Called for every such answer: how often it writes is the
    /// host's choice.
    fn trouble(&mut self, tube: &[u8], trouble: Trouble);

    /// What `stats` tells of the process and the machine.
    fn facts(&mut self) -> Facts;
}
