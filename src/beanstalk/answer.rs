//! Answers that are always the same.

/// A whole line.
pub type Answer = &'static [u8];

pub const BAD_FORMAT: Answer = b"BAD_FORMAT\r\n";
pub const BURIED: Answer = b"BURIED\r\n";
pub const DEADLINE_SOON: Answer = b"DEADLINE_SOON\r\n";
pub const DELETED: Answer = b"DELETED\r\n";
pub const DRAINING: Answer = b"DRAINING\r\n";
pub const EXPECTED_CRLF: Answer = b"EXPECTED_CRLF\r\n";
pub const INTERNAL_ERROR: Answer = b"INTERNAL_ERROR\r\n";
pub const JOB_TOO_BIG: Answer = b"JOB_TOO_BIG\r\n";
pub const KICKED: Answer = b"KICKED\r\n";
pub const NOT_FOUND: Answer = b"NOT_FOUND\r\n";
pub const NOT_IGNORED: Answer = b"NOT_IGNORED\r\n";
pub const OUT_OF_MEMORY: Answer = b"OUT_OF_MEMORY\r\n";
pub const PAUSED: Answer = b"PAUSED\r\n";
pub const RELEASED: Answer = b"RELEASED\r\n";
pub const TIMED_OUT: Answer = b"TIMED_OUT\r\n";
pub const TOUCHED: Answer = b"TOUCHED\r\n";
pub const UNKNOWN_COMMAND: Answer = b"UNKNOWN_COMMAND\r\n";
