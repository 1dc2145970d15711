//! Reading a command line, exactly as beanstalkd does: by prefix, with numbers and names where it has them.

use crate::commands::leading_digits;

/// The longest name of a tube, in bytes.
const NAME_MAX: usize = 200;

/// The longest time that a reserve waits, in seconds.
const TIMEOUT_MAX_S: u64 = i32::MAX as u64;

/// A command that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `put <pri> <delay> <ttr> <bytes>`, its body following.
    Put(Put),
    /// `peek <id>`
    Peek(u64),
    /// `peek-ready`
    PeekReady,
    /// `peek-delayed`
    PeekDelayed,
    /// `peek-buried`
    PeekBuried,
    /// `reserve`
    Reserve,
    /// `reserve-with-timeout <seconds>`
    ReserveTimeout(u64),
    /// `reserve-job <id>`
    ReserveJob(u64),
    /// `delete <id>`
    Delete(u64),
    /// `release <id> <pri> <delay>`
    Release(u64, u32, u32),
    /// `bury <id> <pri>`
    Bury(u64, u32),
    /// `kick <bound>`
    Kick(u32),
    /// `kick-job <id>`
    KickJob(u64),
    /// `touch <id>`
    Touch(u64),
    /// `stats`
    Stats,
    /// `stats-job <id>`
    StatsJob(u64),
    /// `stats-tube <tube>`
    StatsTube(&'a [u8]),
    /// `use <tube>`
    Use(&'a [u8]),
    /// `watch <tube>`
    Watch(&'a [u8]),
    /// `ignore <tube>`
    Ignore(&'a [u8]),
    /// `list-tubes`
    ListTubes,
    /// `list-tube-used`
    ListTubeUsed,
    /// `list-tubes-watched`
    ListTubesWatched,
    /// `quit`
    Quit,
    /// `pause-tube <tube> <seconds>`. The name may be too long, or begin with a dash: beanstalkd counts the
    /// command before it looks at that.
    PauseTube(&'a [u8], u32),
}

/// The numbers of a `put`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The priority.
    pub pri: u32,
    /// Seconds until the job is ready.
    pub delay_s: u32,
    /// Its time to run in seconds, as given.
    pub ttr_s: u32,
    /// The body's length, its CRLF not included.
    pub bytes: u32,
    /// Whether something follows on the line. beanstalkd counts the command before it looks at that.
    pub has_garbage: bool,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// `BAD_FORMAT`
    BadFormat,
    /// `UNKNOWN_COMMAND`
    Unknown,
}

use Unreadable::{BadFormat, Unknown};

/// Reads a line without its CRLF.
pub fn parse(line: &[u8]) -> Result<Request<'_>, Unreadable> {
    match read(line) {
        // The most common commands are read to their ends: there is no NUL in them.
        Ok(
            request @ (Request::Reserve | Request::Delete(_) | Request::Put(Put { has_garbage: false, .. })),
        ) => Ok(request),
        _ if line.contains(&0) => Err(BadFormat),
        other => other,
    }
}

fn read(line: &[u8]) -> Result<Request<'_>, Unreadable> {
    match line.first() {
        Some(b'p') => parse_p(line),
        Some(b'r') => parse_r(line),
        Some(b'd') => id(after(line, b"delete ")?).map(Request::Delete),
        Some(b'b') => {
            let (id, rest) = number(after(line, b"bury ")?).ok_or(BadFormat)?;
            Ok(Request::Bury(id, last_u32(rest)?))
        }
        Some(b'k') => match line.strip_prefix(b"kick ") {
            Some(rest) => loose_u32(rest).map(Request::Kick).ok_or(BadFormat),
            None => id(after(line, b"kick-job ")?).map(Request::KickJob),
        },
        Some(b't') => id(after(line, b"touch ")?).map(Request::Touch),
        Some(b's') => parse_s(line),
        Some(b'u') => name(after(line, b"use ")?).map(Request::Use),
        Some(b'w') => name(after(line, b"watch ")?).map(Request::Watch),
        Some(b'i') => name(after(line, b"ignore ")?).map(Request::Ignore),
        Some(b'l') => parse_l(line),
        Some(b'q') => after(line, b"quit").map(|_| Request::Quit),
        _ => Err(Unknown),
    }
}

fn parse_p<'a>(line: &'a [u8]) -> Result<Request<'a>, Unreadable> {
    if let Some(rest) = line.strip_prefix(b"put ") {
        let (pri, rest) = u32_of(rest)?;
        let (delay_s, rest) = u32_of(rest)?;
        let (ttr_s, rest) = u32_of(rest)?;
        let (bytes, rest) = u32_of(rest)?;
        return Ok(Request::Put(Put { pri, delay_s, ttr_s, bytes, has_garbage: !rest.is_empty() }));
    }
    if let Some(rest) = line.strip_prefix(b"peek ") {
        return id(rest).map(Request::Peek);
    }
    for (word, request) in [
        (&b"peek-ready"[..], Request::PeekReady),
        (b"peek-delayed", Request::PeekDelayed),
        (b"peek-buried", Request::PeekBuried),
    ] {
        if let Some(rest) = line.strip_prefix(word) {
            return nothing_after(rest, request);
        }
    }
    let rest = skip_spaces(after(line, b"pause-tube")?);
    let end = rest.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        return Err(BadFormat);
    }
    Ok(Request::PauseTube(name, last_u32(rest)?))
}

fn parse_r<'a>(line: &'a [u8]) -> Result<Request<'a>, Unreadable> {
    if let Some(rest) = line.strip_prefix(b"release ") {
        let (id, rest) = number(rest).ok_or(BadFormat)?;
        let (pri, rest) = u32_of(rest)?;
        return Ok(Request::Release(id, pri, last_u32(rest)?));
    }
    let rest = after(line, b"reserve")?;
    if let Some(rest) = rest.strip_prefix(b"-with-timeout ") {
        let seconds = number(rest).map(|(seconds, _)| seconds).filter(|seconds| *seconds <= TIMEOUT_MAX_S);
        return seconds.map(Request::ReserveTimeout).ok_or(BadFormat);
    }
    match rest.strip_prefix(b"-job ") {
        Some(rest) => id(rest).map(Request::ReserveJob),
        None => nothing_after(rest, Request::Reserve),
    }
}

fn parse_s(line: &[u8]) -> Result<Request<'_>, Unreadable> {
    let rest = after(line, b"stats")?;
    if let Some(rest) = rest.strip_prefix(b"-job ") {
        return id(rest).map(Request::StatsJob);
    }
    match rest.strip_prefix(b"-tube ") {
        Some(rest) => name(rest).map(Request::StatsTube),
        None => nothing_after(rest, Request::Stats),
    }
}

fn parse_l<'a>(line: &'a [u8]) -> Result<Request<'a>, Unreadable> {
    for (word, request) in [
        (&b"list-tubes-watched"[..], Request::ListTubesWatched),
        (b"list-tube-used", Request::ListTubeUsed),
        (b"list-tubes", Request::ListTubes),
    ] {
        if let Some(rest) = line.strip_prefix(word) {
            return nothing_after(rest, request);
        }
    }
    Err(Unknown)
}

fn after<'a>(line: &'a [u8], word: &[u8]) -> Result<&'a [u8], Unreadable> {
    line.strip_prefix(word).ok_or(Unknown)
}

fn nothing_after<'a>(rest: &[u8], request: Request<'a>) -> Result<Request<'a>, Unreadable> {
    if rest.is_empty() { Ok(request) } else { Err(BadFormat) }
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte != b' ').unwrap_or(text.len());
    text.get(end..).unwrap_or_default()
}

/// A number after any spaces, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    leading_digits(skip_spaces(text))
}

fn u32_of(text: &[u8]) -> Result<(u32, &[u8]), Unreadable> {
    let (value, rest) = number(text).ok_or(BadFormat)?;
    Ok((u32::try_from(value).map_err(|_| BadFormat)?, rest))
}

/// A number that ends the line.
fn last_u32(text: &[u8]) -> Result<u32, Unreadable> {
    match u32_of(text)? {
        (value, []) => Ok(value),
        _ => Err(BadFormat),
    }
}

/// An id that ends the line.
fn id(text: &[u8]) -> Result<u64, Unreadable> {
    match number(text) {
        Some((value, [])) => Ok(value),
        _ => Err(BadFormat),
    }
}

/// A number as C's `strtoul` reads one: any white space, a sign, and whatever follows. Only its low 32 bits count.
fn loose_u32(text: &[u8]) -> Option<u32> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    let text = text.get(start..)?;
    let (is_negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let (value, _) = leading_digits(text)?;
    Some(if is_negative { value.wrapping_neg() } else { value } as u32)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-+/;.$_()".contains(&byte)
}

/// Whether this can be a tube's name here.
pub fn is_name(name: &[u8]) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.first() != Some(&b'-')
        && name.iter().copied().all(is_name_byte)
}

/// A name that ends the line.
fn name(text: &[u8]) -> Result<&[u8], Unreadable> {
    if is_name(text) { Ok(text) } else { Err(BadFormat) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_match_by_prefix() {
        for (line, expected) in [
            ("reserve", Ok(Request::Reserve)),
            ("reservexyz", Err(BadFormat)),
            ("reserve ", Err(BadFormat)),
            ("reserve-with-timeout", Err(BadFormat)),
            ("reserve-job", Err(BadFormat)),
            ("quit", Ok(Request::Quit)),
            ("quitx", Ok(Request::Quit)),
            ("put", Err(Unknown)),
            ("peek", Err(Unknown)),
            ("kick", Err(Unknown)),
            ("watch", Err(Unknown)),
            ("", Err(Unknown)),
            ("Stats", Err(Unknown)),
            ("stats", Ok(Request::Stats)),
            ("stats-job", Err(BadFormat)),
            ("stats-tubefoo", Err(BadFormat)),
            ("list-tubes", Ok(Request::ListTubes)),
            ("list-tubesx", Err(BadFormat)),
            ("list-tubes-watched", Ok(Request::ListTubesWatched)),
            ("list-tube-used", Ok(Request::ListTubeUsed)),
            ("list-tube", Err(Unknown)),
            ("peek-ready", Ok(Request::PeekReady)),
            ("peek-ready ", Err(BadFormat)),
            ("peek-buried", Ok(Request::PeekBuried)),
            ("peek-delayed", Ok(Request::PeekDelayed)),
            ("peek-", Err(Unknown)),
            ("stats\rfoo", Err(BadFormat)),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(parse(b"stats\0"), Err(BadFormat));
        assert_eq!(parse(b"nothing\0"), Err(BadFormat));
    }

    #[test]
    fn numbers_have_no_sign_and_no_overflow() {
        for (line, expected) in [
            ("delete 1", Ok(Request::Delete(1))),
            ("delete   01", Ok(Request::Delete(1))),
            ("delete 1 ", Err(BadFormat)),
            ("delete -1", Err(BadFormat)),
            ("delete +1", Err(BadFormat)),
            ("delete ", Err(BadFormat)),
            ("delete 18446744073709551615", Ok(Request::Delete(u64::MAX))),
            ("delete 18446744073709551616", Err(BadFormat)),
            ("release 1 4294967295 0", Ok(Request::Release(1, u32::MAX, 0))),
            ("release 1 4294967296 0", Err(BadFormat)),
            ("release 1 2", Err(BadFormat)),
            ("release 1 2 3x", Err(BadFormat)),
            ("bury 1 2", Ok(Request::Bury(1, 2))),
            ("bury 1", Err(BadFormat)),
            ("touch 7", Ok(Request::Touch(7))),
            ("kick-job 7", Ok(Request::KickJob(7))),
            ("reserve-job 7", Ok(Request::ReserveJob(7))),
            ("stats-job 7", Ok(Request::StatsJob(7))),
            ("peek 7", Ok(Request::Peek(7))),
            ("reserve-with-timeout 0", Ok(Request::ReserveTimeout(0))),
            ("reserve-with-timeout 5 or so", Ok(Request::ReserveTimeout(5))),
            ("reserve-with-timeout 2147483647", Ok(Request::ReserveTimeout(2_147_483_647))),
            ("reserve-with-timeout 2147483648", Err(BadFormat)),
            ("reserve-with-timeout -1", Err(BadFormat)),
            ("reserve-with-timeout ", Err(BadFormat)),
            ("kick 3", Ok(Request::Kick(3))),
            ("kick -1", Ok(Request::Kick(u32::MAX))),
            ("kick 1foo", Ok(Request::Kick(1))),
            ("kick \t+2", Ok(Request::Kick(2))),
            ("kick 4294967297", Ok(Request::Kick(1))),
            ("kick 18446744073709551616", Err(BadFormat)),
            ("kick foo", Err(BadFormat)),
            ("kick ", Err(BadFormat)),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn names_are_200_bytes_of_a_few_kinds() {
        let long = "x".repeat(200);
        let longer = "x".repeat(201);
        assert_eq!(parse(format!("use {long}").as_bytes()), Ok(Request::Use(long.as_bytes())));
        assert_eq!(parse(format!("use {longer}").as_bytes()), Err(BadFormat));
        let kinds = "azAZ09-+/;.$_()";
        assert_eq!(parse(format!("watch {kinds}").as_bytes()), Ok(Request::Watch(kinds.as_bytes())));
        for line in ["use ", "use  foo", "use -foo", "use f,o", "watch a b", "ignore a ", "stats-tube \u{e9}"]
        {
            assert_eq!(parse(line.as_bytes()), Err(BadFormat), "{line:?}");
        }
        for (line, expected) in [
            ("pause-tube a 5", Ok(Request::PauseTube(b"a", 5))),
            ("pause-tube   a   5", Ok(Request::PauseTube(b"a", 5))),
            ("pause-tubea 5", Ok(Request::PauseTube(b"a", 5))),
            ("pause-tube -a 5", Ok(Request::PauseTube(b"-a", 5))),
            ("pause-tube a5", Err(BadFormat)),
            ("pause-tube a 5 ", Err(BadFormat)),
            ("pause-tube a", Err(BadFormat)),
            ("pause-tube", Err(BadFormat)),
            ("pause-tube a!5", Err(BadFormat)),
            ("pause-tub", Err(Unknown)),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn a_put_may_have_garbage_behind_its_numbers() {
        let put = |has_garbage| Put { pri: 1, delay_s: 2, ttr_s: 3, bytes: 4, has_garbage };
        for (line, expected) in [
            ("put 1 2 3 4", Ok(Request::Put(put(false)))),
            ("put   1  2 3  4", Ok(Request::Put(put(false)))),
            ("put 1 2 3 4 ", Ok(Request::Put(put(true)))),
            ("put 1 2 3 4x", Ok(Request::Put(put(true)))),
            ("put 1 2 3", Err(BadFormat)),
            ("put 1 2 3x 4", Err(BadFormat)),
            ("put 1 -2 3 4", Err(BadFormat)),
            ("put 4294967296 2 3 4", Err(BadFormat)),
            ("put 1 2 3 4294967296", Err(BadFormat)),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }
}
