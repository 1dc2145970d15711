//! What the bytes of a script ask for: how many answers must come, which of them may be waited for, and what is
//! watched. Only the framing of the protocol is known here, never an answer.

/// The longest command line, its CRLF included.
pub const LINE_MAX: usize = 224;

/// Something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One answer comes at once, as soon as all before it were answered.
    Sure,
    /// One answer comes, perhaps only when there is a job.
    Reserve,
    /// The server closes the connection; nothing behind it counts.
    Quit,
}

/// A change of what a connection watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watching {
    Add(Vec<u8>),
    Drop(Vec<u8>),
}

/// What a piece of input holds.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub units: Vec<Unit>,
    pub watching: Vec<Watching>,
    /// Whether the head of a put ended in it: from then on beanstalkd has given it an id.
    pub begins_put: bool,
    /// Whether it has a time-out that only releases before 1.13 take.
    pub has_bad_timeout: bool,
    /// Whether something stands behind a quit.
    pub trails_quit: bool,
    /// Whether it kicks several jobs.
    pub kicks_many: bool,
    /// Whether it holds what makes beanstalkd lose its place, which is not to be copied: a CR without its LF in
    /// a command line, or a CRLF across the end of its buffer.
    pub is_wedge: bool,
}

#[derive(Clone, Debug)]
enum State {
    Line,
    Body { left: u64, is_put: bool },
    Over,
}

/// Follows the input of one connection, in whatever fragments it comes.
#[derive(Clone, Debug)]
pub struct Framer {
    state: State,
    line: Vec<u8>,
    max_job_size: u64,
}

impl Framer {
    pub fn new(max_job_size: u64) -> Framer {
        Framer { state: State::Line, line: Vec::new(), max_job_size }
    }

    /// Whether a put's head was sent, but not yet its whole body.
    pub fn is_inside_put(&self) -> bool {
        matches!(self.state, State::Body { is_put: true, .. })
    }

    pub fn feed(&mut self, mut bytes: &[u8]) -> Asked {
        let mut asked = Asked::default();
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Over => {
                    asked.trails_quit = true;
                    break;
                }
                State::Body { left, .. } => {
                    let taken = (*left).min(bytes.len() as u64);
                    *left -= taken;
                    bytes = &bytes[taken as usize..];
                    if *left == 0 {
                        self.state = State::Line;
                        asked.units.push(Unit::Sure);
                    }
                }
                State::Line => {
                    bytes = rest;
                    asked.is_wedge |= self.line.ends_with(b"\r") && first != b'\n';
                    self.line.push(first);
                    if self.line.ends_with(b"\r\n") {
                        self.end_line(&mut asked);
                    }
                }
            }
        }
        asked
    }

    fn end_line(&mut self, asked: &mut Asked) {
        let whole = std::mem::take(&mut self.line);
        let line = &whole[..whole.len() - 2];
        asked.is_wedge |= line.len() % LINE_MAX == LINE_MAX - 1;
        if whole.len() > LINE_MAX || line.contains(&0) {
            asked.units.push(Unit::Sure);
        } else if let Some(fields) = line.strip_prefix(b"put ") {
            self.head_of_put(fields, asked);
        } else if line.starts_with(b"quit") {
            self.state = State::Over;
            asked.units.push(Unit::Quit);
        } else if may_wait(line) {
            asked.units.push(Unit::Reserve);
        } else {
            asked.has_bad_timeout |= line.starts_with(b"reserve-with-timeout ");
            if let Some(count) = line.strip_prefix(b"kick ") {
                asked.kicks_many |= count != b"1";
            } else if let Some(name) = line.strip_prefix(b"watch ") {
                asked.watching.push(Watching::Add(name.to_vec()));
            } else if let Some(name) = line.strip_prefix(b"ignore ") {
                asked.watching.push(Watching::Drop(name.to_vec()));
            }
            asked.units.push(Unit::Sure);
        }
    }

    fn head_of_put(&mut self, fields: &[u8], asked: &mut Asked) {
        let mut rest = Some(fields);
        let mut size = 0;
        for _ in 0..4 {
            rest = rest.and_then(number).map(|(value, rest)| {
                size = value;
                rest
            });
        }
        match rest {
            Some(garbage) if size > self.max_job_size || garbage.is_empty() => {
                let is_put = size <= self.max_job_size;
                asked.begins_put |= is_put;
                self.state = State::Body { left: size + 2, is_put };
            }
            _ => asked.units.push(Unit::Sure),
        }
    }
}

fn may_wait(line: &[u8]) -> bool {
    match line.strip_prefix(b"reserve-with-timeout ") {
        Some(rest) => number(rest).is_some_and(|(seconds, _)| seconds <= i32::MAX as u64),
        None => line == b"reserve",
    }
}

/// A number below 2^32 after any spaces, and what stands behind it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let spaces = text.iter().take_while(|&&byte| byte == b' ').count();
    let text = &text[spaces..];
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value: u64 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    u32::try_from(value).ok()?;
    Some((value, &text[digits..]))
}

#[test]
fn the_framing_of_commands_is_known() {
    let asked = |bytes: &[u8]| {
        let mut framer = Framer::new(10);
        // Byte by byte, it must come out the same.
        let single: Vec<Unit> = bytes.iter().flat_map(|byte| framer.feed(&[*byte]).units).collect();
        assert_eq!(single, Framer::new(10).feed(bytes).units);
        single
    };
    use Unit::{Quit, Reserve, Sure};
    assert_eq!(asked(b"stats\r\n\r\nnonsense\r\n"), [Sure, Sure, Sure]);
    assert_eq!(asked(b"put 1 2 3 4\r\nab\r\n\r\nreserve\r\n"), [Sure, Reserve]);
    assert_eq!(asked(b"put 1 2 3 x\r\nreserve\r\n"), [Sure, Reserve]);
    assert_eq!(asked(b"put 1 2 3 11 x\r\n01234567\r\n0\r\nreserve\r\n"), [Sure, Reserve]);
    assert_eq!(asked(b"put 1 2 3 4 x\r\nquit\r\nreserve\r\n"), [Sure, Quit]);
    assert_eq!(asked(b"put 1 2 3 4\r\nquit"), []);
    assert_eq!(asked(b"reserve-with-timeout 1x\r\nreserve-with-timeout -1\r\n"), [Reserve, Sure]);
    assert_eq!(asked(b"reservexyz\r\nreserve-job 1\r\n"), [Sure, Sure]);
}
