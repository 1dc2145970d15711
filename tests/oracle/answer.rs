//! Answers, taken apart so far that those of two servers can be compared: ids become numbers of jobs, times may
//! differ by a second, and a few facts about the process may differ at all.

use std::collections::HashMap;
use std::fmt;

/// Facts about a server's process, and what its log counts: compared by their shape only.
const FACTS: [&str; 14] = [
    "pid",
    "version",
    "rusage-utime",
    "rusage-stime",
    "uptime",
    "binlog-oldest-index",
    "binlog-current-index",
    "binlog-records-migrated",
    "binlog-records-written",
    "binlog-max-size",
    "id",
    "hostname",
    "os",
    "platform",
];

/// Whole seconds, which may have ticked between the two.
const SECONDS: [&str; 3] = ["age", "time-left", "pause-time-left"];

/// String values, which beanstalkd quotes since 1.13.
const STRINGS: [&str; 5] = ["hostname", "os", "platform", "name", "tube"];

/// The jobs of a script by the order in which they were inserted, as one server counts them.
#[derive(Default)]
pub struct Ids {
    numbers: HashMap<u64, usize>,
    ids: Vec<u64>,
}

impl Ids {
    /// Adds what was inserted at one time. Ids grow, so their order is that of the puts.
    pub fn add(&mut self, mut ids: Vec<u64>) {
        ids.sort_unstable();
        for id in ids {
            self.numbers.insert(id, self.ids.len());
            self.ids.push(id);
        }
    }

    /// The id of the n-th job; one that is never given out if there are not so many.
    pub fn id(&self, number: usize) -> u64 {
        self.ids.get(number).copied().unwrap_or(u64::MAX - 1)
    }

    pub fn count(&self) -> usize {
        self.ids.len()
    }

    fn shown(&self, id: &str) -> String {
        let number = id.parse().ok().and_then(|id: u64| self.numbers.get(&id));
        number.map_or_else(|| format!("<unknown id {id}>"), |number| format!("<id {number}>"))
    }
}

/// How a server's answers are to be understood.
#[derive(Clone, Copy)]
pub struct View {
    /// How often the harness itself had asked for `stats`, at least and at most.
    pub polls: (u64, u64),
    /// Connections that were made before the scripts began.
    pub earlier_connections: u64,
    /// Whether strings in statistics are quoted, as 1.13 does.
    pub quotes: bool,
}

/// What a server sent for one command.
#[derive(Clone)]
pub enum Answer {
    /// A line, and the bytes after it where it announces some.
    Plain { line: String, body: Vec<u8> },
    /// The fields of statistics, in order.
    Statistics(Vec<(String, Field)>),
    /// The end of the connection.
    End,
}

/// The value of a statistic.
#[derive(Clone)]
pub enum Field {
    Exact(String),
    Seconds(i64),
    /// Somewhere in this range: how often the harness itself had asked is not known better.
    Between(u64, u64),
    /// Its shape is right.
    Fact,
}

impl Answer {
    pub fn is_same(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Plain { line, body }, Answer::Plain { line: line2, body: body2 }) => {
                line == line2 && body == body2
            }
            (Answer::Statistics(ours), Answer::Statistics(theirs)) => {
                ours.len() == theirs.len()
                    && ours.iter().zip(theirs).all(|(a, b)| a.0 == b.0 && a.1.is_same(&b.1))
            }
            (Answer::End, Answer::End) => true,
            _ => false,
        }
    }

    /// Whether it gives a job.
    pub fn is_reservation(&self) -> bool {
        matches!(self, Answer::Plain { line, .. } if line.starts_with("RESERVED"))
    }

    /// The fields in which two statistics differ.
    pub fn differing_fields(ours: &[(String, Field)], theirs: &[(String, Field)]) -> (String, String) {
        let pairs = ours.iter().zip(theirs).filter(|(a, b)| a.0 != b.0 || !a.1.is_same(&b.1));
        let (a, b): (Vec<_>, Vec<_>) = pairs.take(6).map(|(a, b)| (a.clone(), b.clone())).unzip();
        let counts = (ours.len(), theirs.len());
        let shown = |fields, count| format!("{} ({count} fields)", Answer::Statistics(fields));
        (shown(a, counts.0), shown(b, counts.1))
    }

    /// The job that it says was inserted.
    pub fn inserted(raw: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(raw).ok()?;
        text.strip_prefix("INSERTED ")?.trim_end().parse().ok()
    }

    /// Takes a whole answer apart.
    pub fn read(raw: &[u8], ids: &Ids, view: View) -> Answer {
        let end = raw.windows(2).position(|pair| pair == b"\r\n").unwrap_or(raw.len());
        let line = String::from_utf8_lossy(&raw[..end]).into_owned();
        let body = raw.get(end + 2..).unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["INSERTED", id] => Answer::plain(format!("INSERTED {}", ids.shown(id)), body),
            [word @ ("RESERVED" | "FOUND"), id, length] => {
                Answer::plain(format!("{word} {} {length}", ids.shown(id)), body)
            }
            ["OK", _] => match statistics(body, ids, view) {
                Some(fields) => Answer::Statistics(fields),
                None => Answer::plain(line, body),
            },
            _ => Answer::plain(line, body),
        }
    }

    fn plain(line: String, body: &[u8]) -> Answer {
        Answer::Plain { line, body: body.to_vec() }
    }
}

impl Field {
    fn is_same(&self, other: &Field) -> bool {
        match (self, other) {
            (Field::Exact(a), Field::Exact(b)) => a == b,
            (Field::Seconds(a), Field::Seconds(b)) => a.abs_diff(*b) <= 1,
            (Field::Between(a, b), Field::Between(c, d)) => a <= d && c <= b,
            (Field::Fact, Field::Fact) => true,
            _ => false,
        }
    }
}

/// How many bytes the first whole answer in here has, if it is whole.
pub fn length(buffer: &[u8]) -> Option<usize> {
    let line = buffer.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let text = std::str::from_utf8(&buffer[..line - 2]).unwrap_or_default();
    let words: Vec<&str> = text.split(' ').collect();
    let body = match words.as_slice() {
        ["RESERVED" | "FOUND", _, length] | ["OK", length] => {
            length.parse().map_or(0, |length: usize| length + 2)
        }
        _ => 0,
    };
    (buffer.len() >= line + body).then_some(line + body)
}

/// The fields of a YAML dictionary; none if it is something else.
fn statistics(body: &[u8], ids: &Ids, view: View) -> Option<Vec<(String, Field)>> {
    let text = std::str::from_utf8(body).ok()?.strip_prefix("---\n")?.strip_suffix("\n\r\n")?;
    let pairs: Option<Vec<(&str, &str)>> = text.split('\n').map(|line| line.split_once(": ")).collect();
    let pairs = pairs?;
    let is_of_server = pairs.first()?.0 == "current-jobs-urgent";
    let fields = pairs.into_iter().map(|(name, value)| {
        let quoted = format!("\"{value}\"");
        let value = if !view.quotes && STRINGS.contains(&name) { &quoted } else { value };
        let seconds = || value.parse().ok().map(Field::Seconds);
        let field = match name {
            "id" if !is_of_server => Field::Exact(ids.shown(value)),
            "cmd-stats" => match value.parse::<u64>() {
                Ok(count) => {
                    Field::Between(count.saturating_sub(view.polls.1), count.saturating_sub(view.polls.0))
                }
                Err(_) => Field::Exact(value.to_owned()),
            },
            "total-connections" => match value.parse::<u64>() {
                Ok(count) => Field::Exact(count.saturating_sub(view.earlier_connections).to_string()),
                Err(_) => Field::Exact(value.to_owned()),
            },
            _ if FACTS.contains(&name) && is_fact(name, value) => Field::Fact,
            _ if SECONDS.contains(&name) => seconds().unwrap_or_else(|| Field::Exact(value.to_owned())),
            _ => Field::Exact(value.to_owned()),
        };
        (name.to_owned(), field)
    });
    Some(fields.collect())
}

/// Whether a fact about the process looks as it must.
fn is_fact(name: &str, value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name {
        "version" | "hostname" | "os" | "platform" => {
            value.len() > 2 && value.starts_with('"') && value.ends_with('"')
        }
        "rusage-utime" | "rusage-stime" => value
            .split_once('.')
            .is_some_and(|(seconds, micros)| digits(seconds) && digits(micros) && micros.len() == 6),
        "id" => value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => digits(value),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Plain { line, body } if body.is_empty() => write!(f, "{line}"),
            Answer::Plain { line, body } if body.len() > 300 => write!(f, "{line} ({} bytes)", body.len()),
            Answer::Plain { line, body } => write!(f, "{line} {}", body.escape_ascii()),
            Answer::Statistics(fields) => {
                f.write_str("OK")?;
                fields.iter().try_for_each(|(name, field)| write!(f, " {name}:{field}"))
            }
            Answer::End => f.write_str("(closed)"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Exact(value) => f.write_str(value),
            Field::Seconds(seconds) => write!(f, "{seconds}s"),
            Field::Between(low, high) if low == high => write!(f, "{low}"),
            Field::Between(low, high) => write!(f, "{low}..{high}"),
            Field::Fact => f.write_str("…"),
        }
    }
}
