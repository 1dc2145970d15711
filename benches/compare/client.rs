//! A client that sends bytes and reads whole replies, and costs little beside the servers that it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How a server answers.
#[derive(Clone, Copy, PartialEq)]
pub enum Wire {
    /// Redis' protocol
    Resp,
    /// beanstalkd's protocol
    Beanstalk,
}

/// A connection to one of the servers.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
    wire: Wire,
}

impl Connection {
    /// Connects on the loopback interface.
    pub fn open(port: u16, wire: Wire) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP connection");
        // A lost reply would otherwise let the whole program hang.
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP connection");
        Connection { stream, buffer: Vec::new(), at: 0, wire }
    }

    /// Sends commands.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends one command, and reads its reply.
    pub fn ask(&mut self, words: &[&str]) -> &[u8] {
        let mut command = Vec::new();
        encode(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), &mut command);
        self.send(&command);
        self.reply()
    }

    /// The same, as text.
    pub fn ask_text(&mut self, words: &[&str]) -> String {
        String::from_utf8_lossy(self.ask(words)).into_owned()
    }

    /// Reads one whole reply.
    pub fn reply(&mut self) -> &[u8] {
        loop {
            let end = match self.wire {
                Wire::Resp => resp_end(&self.buffer, self.at),
                Wire::Beanstalk => beanstalk_end(&self.buffer, self.at),
            };
            if let Some(end) = end {
                let from = std::mem::replace(&mut self.at, end);
                return &self.buffer[from..end];
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let filled = self.buffer.len();
            self.buffer.resize(filled + 64 * 1024, 0);
            let read = self.stream.read(&mut self.buffer[filled..]).expect("the server answers in time");
            assert!(read > 0, "the server closed the connection");
            self.buffer.truncate(filled + read);
        }
    }

    /// Reads replies, none of which may be an error.
    pub fn replies(&mut self, count: usize) {
        for _ in 0..count {
            let reply = self.reply();
            assert!(is_fine(reply), "{}", String::from_utf8_lossy(reply));
        }
    }
}

fn is_fine(reply: &[u8]) -> bool {
    match reply[0] {
        b'-' => false,
        b'I' | b'R' | b'D' | b'W' => {
            [&b"INSERTED"[..], b"RESERVED", b"DELETED", b"WATCHING"].iter().any(|ok| reply.starts_with(ok))
        }
        first => b":$*+_%".contains(&first),
    }
}

/// Writes a command as Redis clients do.
pub fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The n-th bulk string of a reply.
pub fn nth_bulk(reply: &[u8], n: usize) -> &[u8] {
    bulks(reply).nth(n).expect("the reply has so many texts")
}

/// All bulk strings of a reply.
pub fn bulks(reply: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let end = line_end(reply, at)?;
            let line = &reply[at..end - 2];
            at = end;
            if line[0] == b'$' && line[1] != b'-' {
                let len = number(&line[1..])? as usize;
                let from = std::mem::replace(&mut at, end + len + 2);
                return Some(&reply[from..from + len]);
            }
        }
    })
}

/// Where the line that begins at `from` ends, its end included.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|byte| *byte == b'\n').map(|at| from + at + 1)
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn resp_end(bytes: &[u8], from: usize) -> Option<usize> {
    let end = line_end(bytes, from)?;
    let count = || number(&bytes[from + 1..end - 2]);
    match bytes[from] {
        b'$' => match count()? {
            -1 => Some(end),
            len => Some(end + len as usize + 2).filter(|end| *end <= bytes.len()),
        },
        b'*' => (0..count()?).try_fold(end, |at, _| resp_end(bytes, at)),
        _ => Some(end),
    }
}

fn beanstalk_end(bytes: &[u8], from: usize) -> Option<usize> {
    let end = line_end(bytes, from)?;
    let line = &bytes[from..end - 2];
    if line.starts_with(b"RESERVED") {
        let len = number(line.rsplit(|byte| *byte == b' ').next()?)? as usize;
        return Some(end + len + 2).filter(|end| *end <= bytes.len());
    }
    Some(end)
}
