//! A cursor over a command's arguments, and the keywords that may follow them.

use crate::queue::{Handle, State, States};

use super::error::CommandError;
use super::number;

/// The largest integer that counts and priorities can have.
pub const INTEGER_MAX: u64 = u32::MAX as u64;

/// The arguments that are still to be read, the command's name not among them.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    left: &'a [&'a [u8]],
}

impl<'a> Args<'a> {
    /// A cursor at the first of these arguments.
    pub fn new(args: &'a [&'a [u8]]) -> Args<'a> {
        Args { left: args }
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.left.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next argument, which stays.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.left.first().copied()
    }

    /// The next argument, which must be there.
    pub fn take(&mut self) -> Result<&'a [u8], CommandError> {
        let (first, rest) = self.left.split_first().ok_or(CommandError::Arity)?;
        self.left = rest;
        Ok(first)
    }

    /// The next `count` arguments, which must be there.
    pub fn take_many(&mut self, count: u64) -> Result<&'a [&'a [u8]], CommandError> {
        let count = usize::try_from(count).map_err(|_| CommandError::Arity)?;
        let (many, rest) = self.left.split_at_checked(count).ok_or(CommandError::Arity)?;
        self.left = rest;
        Ok(many)
    }

    /// There must be no more arguments.
    pub fn finish(self) -> Result<(), CommandError> {
        if self.left.is_empty() { Ok(()) } else { Err(CommandError::Arity) }
    }

    /// The next argument as an integer.
    pub fn integer(&mut self, name: &'static str, min: u64, max: u64) -> Result<u64, CommandError> {
        number::integer(self.take()?)
            .filter(|value| (min..=max).contains(value))
            .ok_or(CommandError::Integer { name, min, max })
    }

    /// The next argument as seconds, in milliseconds.
    pub fn seconds(&mut self, name: &'static str, min_ms: u64) -> Result<u64, CommandError> {
        number::seconds(self.take()?).filter(|ms| *ms >= min_ms).ok_or(CommandError::Seconds { name, min_ms })
    }

    /// The next argument as a priority.
    pub fn pri(&mut self, name: &'static str) -> Result<u32, CommandError> {
        self.integer(name, 0, INTEGER_MAX).map(|pri| pri as u32)
    }

    /// The next argument as an id or a lease.
    pub fn handle(&mut self) -> Result<Handle, CommandError> {
        let word = self.take()?;
        number::handle(word).ok_or_else(|| CommandError::Id(word.to_vec()))
    }

    /// One or more ids or leases, up to the end or to a word that looks like a keyword where `has_keywords`.
    /// All are read before any is used, so that a bad one changes nothing.
    #[inline]
    pub fn handles(&mut self, has_keywords: bool) -> Result<Handles, CommandError> {
        let first = self.handle()?;
        let rest = if self.is_empty() { Vec::new() } else { self.more_handles(has_keywords)? };
        Ok(Handles { first, rest })
    }

    #[inline(never)]
    fn more_handles(&mut self, has_keywords: bool) -> Result<Vec<Handle>, CommandError> {
        let mut rest = Vec::new();
        while let Some(word) = self.peek() {
            if has_keywords && word.first().is_some_and(u8::is_ascii_alphabetic) {
                break;
            }
            if rest.is_empty() {
                rest.reserve_exact(self.len());
            }
            rest.push(self.handle()?);
        }
        Ok(rest)
    }

    /// The next argument as the name of a state.
    pub fn state(&mut self, name: &'static str) -> Result<State, CommandError> {
        state(self.take()?).ok_or(CommandError::State { name })
    }

    /// The rest of the arguments as names of states, each at most once.
    pub fn states(mut self) -> Result<States, CommandError> {
        let mut states = States::NONE;
        while !self.is_empty() {
            let word = self.take()?;
            let state = state(word).filter(|state| !states.has(*state));
            states = states.with(state.ok_or_else(|| CommandError::Unexpected(word.to_vec()))?);
        }
        Ok(states)
    }

    /// The rest of the arguments as keywords, each of `allowed` at most once, with their values.
    #[inline(never)]
    pub fn options(mut self, allowed: &[Keyword]) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut seen = 0_u32;
        while !self.is_empty() {
            let word = self.take()?;
            let keyword = allowed
                .iter()
                .copied()
                .find(|keyword| word.eq_ignore_ascii_case(keyword.name().as_bytes()))
                .filter(|keyword| seen & 1 << *keyword as u32 == 0)
                .ok_or_else(|| CommandError::Unexpected(word.to_vec()))?;
            seen |= 1 << keyword as u32;
            options.read(keyword, &mut self)?;
        }
        Ok(options)
    }
}

/// One or more ids or leases. A single one takes no list in memory.
#[derive(Clone, Debug)]
pub struct Handles {
    first: Handle,
    rest: Vec<Handle>,
}

impl Handles {
    /// The handle, if it is a single one.
    #[inline]
    pub fn only(&self) -> Option<Handle> {
        if self.rest.is_empty() { Some(self.first) } else { None }
    }

    /// The handles, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = Handle> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }
}

/// The state that a word names.
pub fn state(word: &[u8]) -> Option<State> {
    State::ALL.into_iter().find(|state| word.eq_ignore_ascii_case(state.name().as_bytes()))
}

/// A keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// `PRI pri`
    Pri,
    /// `DELAY seconds`
    Delay,
    /// `TTR seconds`
    Ttr,
    /// `TIMEOUT seconds`
    Timeout,
    /// `COUNT n`
    Count,
    /// `FOR seconds`
    For,
    /// `STATE state`
    State,
    /// `MATCH pattern`
    Match,
    /// `FROM tube`
    From,
    /// `BOUND`
    Bound,
    /// `UNTRIED`
    Untried,
    /// `OLDEST`
    Oldest,
    /// `WITHSTATS`
    WithStats,
}

impl Keyword {
    /// The word itself.
    pub fn name(self) -> &'static str {
        match self {
            Keyword::Pri => "PRI",
            Keyword::Delay => "DELAY",
            Keyword::Ttr => "TTR",
            Keyword::Timeout => "TIMEOUT",
            Keyword::Count => "COUNT",
            Keyword::For => "FOR",
            Keyword::State => "STATE",
            Keyword::Match => "MATCH",
            Keyword::From => "FROM",
            Keyword::Bound => "BOUND",
            Keyword::Untried => "UNTRIED",
            Keyword::Oldest => "OLDEST",
            Keyword::WithStats => "WITHSTATS",
        }
    }
}

/// The values of the keywords that were given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The priority.
    pub pri: Option<u32>,
    /// The delay in milliseconds.
    pub delay_ms: Option<u64>,
    /// The time to run in milliseconds.
    pub ttr_ms: Option<u64>,
    /// How long to wait, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How many.
    pub count: Option<u32>,
    /// How long from now, in milliseconds.
    pub for_ms: Option<u64>,
    /// The only state to show.
    pub state: Option<State>,
    /// The pattern that names must match.
    pub pattern: Option<&'a [u8]>,
    /// The name to begin at.
    pub from: Option<&'a [u8]>,
    /// Whether the reservation ends with the connection.
    pub bound: bool,
    /// Whether the job was not worked on.
    pub untried: bool,
    /// Whether the longest held come first.
    pub oldest: bool,
    /// Whether statistics are shown.
    pub with_stats: bool,
}

impl<'a> Options<'a> {
    fn read(&mut self, keyword: Keyword, args: &mut Args<'a>) -> Result<(), CommandError> {
        let name = keyword.name();
        match keyword {
            Keyword::Pri => self.pri = Some(args.pri(name)?),
            Keyword::Delay => self.delay_ms = Some(args.seconds(name, 0)?),
            Keyword::Ttr => self.ttr_ms = Some(args.seconds(name, 1)?),
            Keyword::Timeout => self.timeout_ms = Some(args.seconds(name, 0)?),
            Keyword::Count => self.count = Some(args.integer(name, 1, INTEGER_MAX)? as u32),
            Keyword::For => self.for_ms = Some(args.seconds(name, 0)?),
            Keyword::State => self.state = Some(args.state(name)?),
            Keyword::Match => self.pattern = Some(args.take()?),
            Keyword::From => self.from = Some(args.take()?),
            Keyword::Bound => self.bound = true,
            Keyword::Untried => self.untried = true,
            Keyword::Oldest => self.oldest = true,
            Keyword::WithStats => self.with_stats = true,
        }
        Ok(())
    }
}
