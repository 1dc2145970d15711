//! Bytes to be sent.

/// A drained buffer that has become larger than this is given back.
const KEPT_MAX: usize = 16 * 1024;

/// Bytes to be sent.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

/// Room for the longest line with a word and numbers in it.
const LINE_MAX: usize = 64;

/// A line that is being put together.
struct Line {
    bytes: [u8; LINE_MAX],
    len: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line { bytes: [0; LINE_MAX], len: 0 }
    }
}

impl Line {
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Output {
    /// What is still to be sent.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// How many bytes are still to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So many bytes were sent.
    pub fn consume(&mut self, count: usize) {
        self.sent = self.bytes.len().min(self.sent.saturating_add(count));
        if self.is_empty() {
            self.sent = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_MAX {
                self.bytes = Vec::new();
            }
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `word number CRLF`; the word brings its space.
    pub(super) fn push_line(&mut self, word: &[u8], value: u64) {
        let mut line = Line::default();
        line.push(word);
        line.push(itoa::Buffer::new().format(value).as_bytes());
        line.push(b"\r\n");
        self.push(line.as_slice());
    }

    /// `word id length CRLF body CRLF`; the word brings its space.
    pub(super) fn push_job(&mut self, word: &[u8], id: u64, body: &[u8]) {
        let mut line = Line::default();
        line.push(word);
        line.push(itoa::Buffer::new().format(id).as_bytes());
        line.push(b" ");
        line.push(itoa::Buffer::new().format(body.len()).as_bytes());
        line.push(b"\r\n");
        self.bytes.reserve(line.as_slice().len() + body.len() + 2);
        self.push(line.as_slice());
        self.push(body);
        self.push(b"\r\n");
    }

    /// `OK length CRLF text CRLF`
    pub(super) fn push_text(&mut self, text: &[u8]) {
        self.push_line(b"OK ", text.len() as u64);
        self.push(text);
        self.push(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_pieces_stays_in_order() {
        let mut output = Output::default();
        output.push_job(b"FOUND ", 18_446_744_073_709_551_615, b"a\r\n");
        output.push_line(b"KICKED ", 0);
        let mut sent: Vec<u8> = Vec::new();
        while !output.is_empty() {
            sent.extend(output.as_slice().iter().take(3));
            output.consume(3);
        }
        assert_eq!(sent, b"FOUND 18446744073709551615 3\r\na\r\n\r\nKICKED 0\r\n");
        assert_eq!(output.len(), 0);
    }
}
