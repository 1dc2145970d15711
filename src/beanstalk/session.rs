//! One connection.

/// Bytes to be sent.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    /// What is still to be sent.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.sent..]
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
        self.sent = self.bytes.len().min(self.sent + count);
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// One connection.
pub struct Session {
    client: u64,
    input: Vec<u8>,
    output: Output,
    half_closed: bool,
    over: bool,
}

impl Session {
    pub(super) fn new(client: u64) -> Session {
        Session { client, input: Vec::new(), output: Output::default(), half_closed: false, over: false }
    }

    /// The connection's client id, as the host chose it.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// Takes bytes that arrived. All of them are taken, whatever [`Session::wants_input`] says.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The peer will send no more. Commands that were sent already still run; a waiting reserve is over.
    pub fn end_of_input(&mut self) {
        self.half_closed = true;
    }

    /// What is to be sent.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Whether more input should be read now: not while enough of it, or enough output, stands here already.
    pub fn wants_input(&self) -> bool {
        !self.half_closed && self.input.len() < 65_536
    }

    /// Whether the connection is to be closed once its output is sent.
    pub fn is_over(&self) -> bool {
        self.over || (self.half_closed && !self.has_work())
    }

    /// Whether [`Port::run`](super::Port::run) would get on with it.
    pub fn has_work(&self) -> bool {
        !self.over && self.input.contains(&b'\n')
    }

    pub(super) fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        Some(self.input.drain(..=end).collect())
    }

    pub(super) fn quit(&mut self) {
        self.over = true;
        self.input.clear();
    }
}
