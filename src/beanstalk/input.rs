//! Bytes that arrived and are still to be read.

/// The longest line, its CRLF included.
pub const LINE_MAX: usize = 224;

/// An emptied buffer that has become larger than this is given back.
const KEPT_MAX: usize = 16 * 1024;

/// Bytes that arrived and are still to be read.
#[derive(Default)]
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
}

/// What stands at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line of this many bytes, its CRLF included.
    Whole(usize),
    /// The beginning of one.
    Part,
    /// More than a line may have.
    TooLong,
}

impl Input {
    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What is still to be read.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// How many bytes are still to be read.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// So many bytes were read.
    pub fn consume(&mut self, count: usize) {
        self.start = self.bytes.len().min(self.start.saturating_add(count));
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > KEPT_MAX {
                self.bytes = Vec::new();
            }
        }
    }

    /// What stands at the front.
    pub fn line(&self) -> Line {
        let bytes = self.as_slice();
        match line_end(bytes.get(..LINE_MAX).unwrap_or(bytes)) {
            Some(end) => Line::Whole(end),
            None if bytes.len() >= LINE_MAX => Line::TooLong,
            None => Line::Part,
        }
    }

    /// Reads over the rest of a line. `false` if its end has not arrived yet.
    pub fn skip_line(&mut self) -> bool {
        let bytes = self.as_slice();
        match line_end(bytes) {
            Some(end) => {
                self.consume(end);
                true
            }
            None => {
                // A CR at the end may be half of the line's end.
                let kept = usize::from(bytes.last() == Some(&b'\r'));
                self.consume(bytes.len() - kept);
                false
            }
        }
    }
}

/// How many bytes the first line has, its CRLF included.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == b'\n')?;
        if at > 0 && bytes.get(at - 1) == Some(&b'\r') {
            return Some(at + 1);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let mut input = Input::default();
        input.push(bytes);
        input
    }

    #[test]
    fn a_line_ends_with_cr_and_lf_together() {
        assert_eq!(input(b"a\r\nb").line(), Line::Whole(3));
        assert_eq!(input(b"\r\n").line(), Line::Whole(2));
        assert_eq!(input(b"a\nb\rc\r\n").line(), Line::Whole(7));
        assert_eq!(input(b"\n\r").line(), Line::Part);
        assert_eq!(input(b"").line(), Line::Part);
    }

    #[test]
    fn a_line_has_at_most_224_bytes() {
        for (len, expected) in [(222, Line::Whole(224)), (223, Line::TooLong), (300, Line::TooLong)] {
            let mut bytes = vec![b'x'; len];
            bytes.extend(b"\r\n");
            assert_eq!(input(&bytes).line(), expected, "{len}");
        }
        assert_eq!(input(&[b'x'; 223]).line(), Line::Part);
        assert_eq!(input(&[b'x'; 224]).line(), Line::TooLong);
    }

    #[test]
    fn an_end_in_two_pieces_is_found() {
        let mut input = input(b"xxxx\r");
        assert!(!input.skip_line());
        assert_eq!(input.len(), 1);
        input.push(b"\nnext");
        assert!(input.skip_line());
        assert_eq!(input.as_slice(), b"next");
    }
}
