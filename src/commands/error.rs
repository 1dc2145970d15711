//! The errors that a user sees, in their exact words.

use crate::broker::{Refused, WrongType};

use super::reply::Text;

/// Why a command was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Arguments are missing, or left over.
    Arity,
    /// An unknown or repeated keyword.
    Unexpected(Vec<u8>),
    /// No integer, or out of range.
    Integer {
        /// The argument's name.
        name: &'static str,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// No number of seconds, or out of range.
    Seconds {
        /// The argument's name.
        name: &'static str,
        /// The smallest allowed, in milliseconds.
        min_ms: u64,
    },
    /// Neither an id nor a lease.
    Id(Vec<u8>),
    /// No cursor that a scan returned.
    Cursor,
    /// No state of a job.
    State {
        /// The argument's name.
        name: &'static str,
    },
    /// The key holds something else.
    WrongType,
    /// The body is over the limit.
    TooBig {
        /// Its bytes.
        size: usize,
        /// The limit.
        limit: u64,
    },
    /// No new jobs are taken.
    Draining,
    /// A script has no connection that a reservation could be bound to.
    BoundInScript,
    /// 2^53 jobs were put.
    NoIdsLeft,
    /// An event from outside was refused.
    Event(Refused),
}

impl From<Refused> for CommandError {
    fn from(refused: Refused) -> CommandError {
        match refused {
            Refused::WrongType => CommandError::WrongType,
            Refused::Corrupt(_) => CommandError::Event(refused),
        }
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> CommandError {
        CommandError::WrongType
    }
}

/// At most so many bytes of a value are quoted.
const QUOTED_MAX: usize = 64;

/// A value as it is quoted in an error or a log line: at most 64 bytes of it, made printable.
pub fn quoted(value: &[u8]) -> String {
    let mut text = String::new();
    for byte in &value[..value.len().min(QUOTED_MAX)] {
        text.extend(std::ascii::escape_default(*byte).map(char::from));
    }
    if value.len() > QUOTED_MAX {
        text.push_str("...");
    }
    text
}

/// Milliseconds as a number of seconds with no more decimals than it needs.
pub fn seconds_text(ms: u64) -> String {
    String::from_utf8_lossy(Text::seconds(ms).as_bytes()).into_owned()
}

impl CommandError {
    /// The error's line, for a command of this name (in lower case).
    pub fn text(&self, command: &str) -> String {
        match self {
            CommandError::Arity => format!("ERR wrong number of arguments for '{command}' command"),
            CommandError::Unexpected(word) => format!("ERR syntax error, unexpected '{}'", quoted(word)),
            CommandError::Integer { name, min, max } => {
                format!("ERR {name} must be an integer from {min} to {max}")
            }
            CommandError::Seconds { name, min_ms } => {
                let max = seconds_text(crate::queue::DURATION_MAX_MS);
                format!("ERR {name} must be a number of seconds from {} to {max}", seconds_text(*min_ms))
            }
            CommandError::Id(word) => format!("ERR invalid job id '{}'", quoted(word)),
            CommandError::Cursor => "ERR invalid cursor".to_string(),
            CommandError::State { name } => {
                format!("ERR {name} must be READY, DELAYED, BURIED or RESERVED")
            }
            CommandError::WrongType => {
                "WRONGTYPE Operation against a key holding the wrong kind of value".to_string()
            }
            CommandError::TooBig { size, limit } => {
                format!("TOOBIG job body of {size} bytes exceeds phean.max-job-size ({limit})")
            }
            CommandError::Draining => "DRAINING the server takes no new jobs".to_string(),
            CommandError::BoundInScript => {
                "ERR BOUND is not allowed in a script, which has no connection of its own".to_string()
            }
            CommandError::Event(refused) => format!("ERR invalid event: {refused}"),
            CommandError::NoIdsLeft => "ERR all job ids are used up".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_short_and_printable() {
        assert_eq!(quoted(b"FOO"), "FOO");
        assert_eq!(quoted(b"a\0\r\n%s\xff"), "a\\x00\\r\\n%s\\xff");
        assert_eq!(quoted(&[b'x'; 65]), format!("{}...", "x".repeat(64)));
    }

    #[test]
    fn seconds_have_no_more_decimals_than_they_need() {
        for (ms, text) in [
            (0, "0"),
            (1, "0.001"),
            (50, "0.05"),
            (250, "0.25"),
            (60_000, "60"),
            (100_100, "100.1"),
            (59_999, "59.999"),
            (u64::MAX, "18446744073709551.615"),
        ] {
            assert_eq!(seconds_text(ms), text);
        }
    }
}
