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

/// A short text that is written from its end, so that numbers need no memory and no second look.
pub struct Text {
    bytes: [u8; 48],
    at: usize,
}

impl Text {
    const fn new() -> Text {
        Text { bytes: [0; 48], at: 48 }
    }

    fn push(&mut self, byte: u8) {
        self.at -= 1;
        self.bytes[self.at] = byte;
    }

    fn push_number(&mut self, mut value: u64) {
        loop {
            self.push(b'0' + (value % 10) as u8);
            value /= 10;
            if value == 0 {
                break;
            }
        }
    }

    /// The lease `ID-N`.
    pub fn lease(id: u64, n: u64) -> Text {
        let mut text = Text::new();
        text.push_number(n);
        text.push(b'-');
        text.push_number(id);
        text
    }

    /// Milliseconds as a number of seconds with no more decimals than it needs.
    pub fn seconds(ms: u64) -> Text {
        let mut text = Text::new();
        let mut decimals = ms % 1000;
        let mut places = if decimals == 0 { 0 } else { 3 };
        while places > 0 && decimals % 10 == 0 {
            decimals /= 10;
            places -= 1;
        }
        for _ in 0..places {
            text.push(b'0' + (decimals % 10) as u8);
            decimals /= 10;
        }
        if places > 0 {
            text.push(b'.');
        }
        text.push_number(ms / 1000);
        text
    }

    /// Its bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

/// Writes the lease `ID-N`.
pub fn lease(reply: &mut impl Reply, id: u64, n: u64) {
    reply.bytes(Text::lease(id, n).as_bytes());
}
