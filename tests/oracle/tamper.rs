//! Faults put into a server's answers on purpose, which show that the comparison would see them.

/// A fault of a server, as its answers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// No fault.
    None,
    /// This text is replaced by that one wherever it stands in an answer.
    Replaces(&'static [u8], &'static [u8]),
    /// The lines of an answer that begin with these two texts change places.
    Exchanges(&'static str, &'static str),
    /// A line that begins with this is left out of an answer.
    Omits(&'static str),
    /// A number behind this text is one too high.
    Miscounts(&'static str),
    /// Answers that begin with this never come.
    Swallows(&'static [u8]),
    /// Answers that begin with this come twice.
    Repeats(&'static [u8]),
    /// Bodies have their last byte wrong.
    SpoilsBodies,
}

impl Tamper {
    /// Changes what came over one connection.
    pub fn change(self, answers: &mut Vec<Vec<u8>>) {
        match self {
            Tamper::None => {}
            Tamper::Swallows(start) => answers.retain(|answer| !answer.starts_with(start)),
            Tamper::Repeats(start) => {
                let twice =
                    |answer: Vec<u8>| vec![answer.clone(); 1 + usize::from(answer.starts_with(start))];
                *answers = std::mem::take(answers).into_iter().flat_map(twice).collect();
            }
            Tamper::SpoilsBodies => {
                for answer in answers.iter_mut().filter(|answer| answer.starts_with(b"RESERVED")) {
                    let at = answer.len() - 3;
                    answer[at] ^= u8::from(answer[at] != b'\n');
                }
            }
            Tamper::Replaces(from, to) => {
                for answer in answers {
                    if let Some(at) = answer.windows(from.len()).position(|part| part == from) {
                        answer.splice(at..at + from.len(), to.iter().copied());
                    }
                }
            }
            _ => answers.iter_mut().for_each(|answer| self.change_lines(answer)),
        }
    }

    fn change_lines(self, answer: &mut Vec<u8>) {
        let Ok(text) = std::str::from_utf8(answer) else { return };
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let find = |lines: &[String], start: &str| lines.iter().position(|line| line.starts_with(start));
        match self {
            Tamper::Exchanges(a, b) => {
                if let (Some(a), Some(b)) = (find(&lines, a), find(&lines, b)) {
                    lines.swap(a, b);
                }
            }
            Tamper::Omits(start) => lines.retain(|line| !line.starts_with(start)),
            Tamper::Miscounts(start) => {
                for line in &mut lines {
                    let rest = line.strip_prefix(start).map(str::trim_end);
                    if let Some(count) = rest.and_then(|rest| rest.trim().parse::<u64>().ok()) {
                        let end = if line.ends_with('\r') { "\r" } else { "" };
                        *line = format!("{start}{}{end}", count + 1);
                    }
                }
            }
            _ => {}
        }
        *answer = lines.join("\n").into_bytes();
    }
}
