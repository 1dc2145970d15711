//! Where replies go.

/// Takes a reply piece by piece, as RESP does: an array or map says how long it is, then its elements follow.
pub trait Reply {
    /// An integer.
    fn integer(&mut self, value: u64);
    /// A bulk string.
    fn bytes(&mut self, value: &[u8]);
    /// The lease `ID-N`, a bulk string.
    fn lease(&mut self, id: u64, n: u64);
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

/// The text of a lease, `ID-N`. It is written anew for each, but where jobs follow each other, as they mostly do where
/// several are handed out at once: then a digit of the last one changes.
pub struct Lease {
    id: u64,
    n: u64,
    /// How many digits the id has.
    digits: usize,
    text: Text,
}

impl Lease {
    /// The text of this lease.
    pub fn new(id: u64, n: u64) -> Lease {
        let mut text = Text::new();
        text.push_number(id);
        let digits = text.len;
        text.push(b'-');
        text.push_number(n);
        Lease { id, n, digits, text }
    }

    /// Becomes the text of another lease.
    pub fn set(&mut self, id: u64, n: u64) {
        let last = &mut self.text.bytes[self.digits - 1];
        if n == self.n && self.id.checked_add(1) == Some(id) && *last < b'9' {
            *last += 1;
            self.id = id;
        } else {
            *self = Lease::new(id, n);
        }
    }

    /// Its bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_written_as_its_numbers_are() {
        let mut lease = Lease::new(7, 1_790_000_000_000);
        let mut ids: Vec<u64> =
            [(7, 31), (95, 110), (1_998, 2_003), (8, 8)].iter().flat_map(|r| r.0..r.1).collect();
        ids.extend([u64::MAX, 0, 1, 1, 3, 2, u64::MAX - 1, u64::MAX]);
        for (place, id) in ids.into_iter().enumerate() {
            let n = if place % 7 == 6 { place as u64 } else { 1_790_000_000_000 + place as u64 / 20 };
            lease.set(id, n);
            assert_eq!(String::from_utf8_lossy(lease.as_bytes()), format!("{id}-{n}"));
        }
    }
}
