//! Where replies go.

/// Takes a reply piece by piece, as RESP does: an array or map says how long it is, then its elements follow.
pub trait Reply {
    /// An integer.
    fn integer(&mut self, value: u64);
    /// A bulk string.
    fn bytes(&mut self, value: &[u8]);
    /// The status `OK`.
    fn ok(&mut self);
    /// The null that stands for an array or map.
    fn null(&mut self);
    /// An array of `len` elements.
    fn array(&mut self, len: usize);
    /// A map of `pairs` keys with their values; a flat array in RESP2.
    fn map(&mut self, pairs: usize);
    /// A duration of so many milliseconds, in seconds: a double, in RESP2 a bulk string with at most three
    /// decimals.
    fn seconds(&mut self, ms: u64);
    /// An error. Nothing was written before it.
    fn error(&mut self, text: &str);
}

/// A short text that needs no memory of its own.
pub struct Text {
    bytes: [u8; 48],
    len: usize,
}

impl Text {
    const fn new() -> Text {
        Text { bytes: [0; 48], len: 0 }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_number(&mut self, value: u64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        self.bytes[self.len..self.len + digits.len()].copy_from_slice(digits);
        self.len += digits.len();
    }

    /// The lease `ID-N`.
    pub fn lease(id: u64, n: u64) -> Text {
        let mut text = Text::new();
        text.push_number(id);
        text.push(b'-');
        text.push_number(n);
        text
    }

    /// Milliseconds as a number of seconds with no more decimals than it needs.
    pub fn seconds(ms: u64) -> Text {
        let mut text = Text::new();
        text.push_number(ms / 1000);
        let mut rest = ms % 1000;
        if rest > 0 {
            text.push(b'.');
        }
        while rest > 0 {
            text.push(b'0' + (rest / 100) as u8);
            rest = rest % 100 * 10;
        }
        text
    }

    /// Its bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes the lease `ID-N`.
pub fn lease(reply: &mut impl Reply, id: u64, n: u64) {
    reply.bytes(Text::lease(id, n).as_bytes());
}
