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

/// Writes the lease `ID-N`.
pub fn lease(reply: &mut impl Reply, id: u64, n: u64) {
    let mut text = [0; 41];
    let mut at = text.len();
    let mut push = |byte: u8| {
        at -= 1;
        text[at] = byte;
    };
    digits(n, &mut push);
    push(b'-');
    digits(id, &mut push);
    reply.bytes(&text[at..]);
}

/// Gives the digits of a number, last first.
fn digits(mut value: u64, push: &mut impl FnMut(u8)) {
    loop {
        push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            break;
        }
    }
}
