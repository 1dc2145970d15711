//! Bytes to be sent.

/// A drained buffer that has become larger than this is given back.
const KEPT_MAX: usize = 16 * 1024;

/// Bytes to be sent.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
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

    pub(super) fn push_number(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }

    /// `word number CRLF`; the word brings its space.
    pub(super) fn push_line(&mut self, word: &[u8], value: u64) {
        self.push(word);
        self.push_number(value);
        self.push(b"\r\n");
    }

    /// `word id length CRLF body CRLF`; the word brings its space.
    pub(super) fn push_job(&mut self, word: &[u8], id: u64, body: &[u8]) {
        self.push(word);
        self.push_number(id);
        self.push_line(b" ", body.len() as u64);
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
