//! A script: what is sent over which connection, the same for both servers.

use std::fmt;

/// A part of what is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The id of the n-th job that was inserted in this script, as this server counts.
    Id(usize),
    /// A whole `reserve-with-timeout` with a number that only releases before 1.13 took.
    BadTimeout(Vec<u8>),
}

/// One step of a script. Connections are numbers from 0 on; each is open at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends these fragments, each arriving by itself, and awaits what comes of it.
    Send { link: usize, fragments: Vec<Vec<Piece>> },
    /// Says that nothing more will be sent.
    HalfClose { link: usize },
    /// Closes the connection.
    Close { link: usize },
    /// Opens a connection of that number anew, if it is closed.
    Open { link: usize },
    /// Both servers take no more jobs from here on.
    Drain,
    /// Waits until so many milliseconds after the script's beginning, and takes what came meanwhile.
    At { ms: u64 },
}

/// A script, as generated from a seed.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it was made from, for messages.
    pub name: String,
    /// How many connections it begins with.
    pub links: usize,
    /// The tubes that it uses, looked at in the end.
    pub tubes: Vec<Vec<u8>>,
    pub steps: Vec<Step>,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Bytes(bytes) if bytes.len() > 300 => {
                write!(f, "{}…({} bytes)", bytes[..40].escape_ascii(), bytes.len())
            }
            Piece::Bytes(bytes) => write!(f, "{}", bytes.escape_ascii()),
            Piece::Id(number) => write!(f, "<id {number}>"),
            Piece::BadTimeout(text) => write!(f, "reserve-with-timeout {}\\r\\n", text.escape_ascii()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Send { link, fragments } => {
                write!(f, "{link}> ")?;
                for (i, fragment) in fragments.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { " | " })?;
                    fragment.iter().try_for_each(|piece| piece.fmt(f))?;
                }
                Ok(())
            }
            Step::HalfClose { link } => write!(f, "{link} half-closes"),
            Step::Close { link } => write!(f, "{link} closes"),
            Step::Open { link } => write!(f, "{link} opens"),
            Step::Drain => write!(f, "both drain"),
            Step::At { ms } => write!(f, "at {ms} ms"),
        }
    }
}
