//! A bare socket: sends exact bytes, and shows exact bytes, where a client library would hide a difference
//! (`*-1` against `_`), or close a connection in the middle of a wait.

use crate::harness::Server;
use crate::waiting::patience;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

/// A connection without a client library. Dropping it closes the socket at once.
pub struct Raw {
    stream: BufReader<TcpStream>,
}

/// A command as a client sends it.
pub fn packed<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut command = redis::Cmd::new();
    args.iter().for_each(|arg| {
        command.arg(arg.as_ref());
    });
    command.get_packed_command()
}

impl Raw {
    /// Opens a connection; it speaks RESP2 until `HELLO 3`.
    #[track_caller]
    pub fn connect(server: &Server) -> Raw {
        let stream =
            TcpStream::connect(("127.0.0.1", server.port())).expect("the server accepts a connection");
        stream.set_read_timeout(Some(patience())).expect("a timeout can be set");
        stream.set_nodelay(true).expect("the socket can be set");
        Raw { stream: BufReader::new(stream) }
    }

    /// Sends exactly these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server takes the bytes");
    }

    /// Sends a command as a client would, an array of bulk strings.
    #[track_caller]
    pub fn send_cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send(packed(args));
    }

    /// Sends a command, and returns its whole reply as it came, with non-ASCII escaped: `*-1\r\n`.
    #[track_caller]
    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> String {
        self.send_cmd(args);
        self.reply()
    }

    /// Reads one whole reply (nested ones included) as it came, with non-ASCII bytes shown as `\xNN`.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        let mut bytes = Vec::new();
        self.read_reply(&mut bytes);
        bytes
            .iter()
            .map(|&byte| match byte {
                b'\r' | b'\n' | b' '..=b'~' => char::from(byte).to_string(),
                other => format!("\\x{other:02x}"),
            })
            .collect()
    }

    #[track_caller]
    fn read_reply(&mut self, out: &mut Vec<u8>) {
        let line = self.line();
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
        let (kind, rest) = line.split_at_checked(1).expect("a reply's line is not empty");
        let count = || rest.parse::<i64>().expect("a length is a number");
        match kind {
            "+" | "-" | ":" | "_" | "," | "#" | "(" => {}
            "$" | "=" | "!" => {
                if let Ok(length) = usize::try_from(count()) {
                    let start = out.len();
                    out.resize(start + length + 2, 0);
                    self.stream.read_exact(&mut out[start..]).expect("the reply goes on");
                }
            }
            "*" | "~" | ">" => (0..count()).for_each(|_| self.read_reply(out)),
            "%" => (0..2 * count()).for_each(|_| self.read_reply(out)),
            other => panic!("no reply begins with {other:?}: {line}"),
        }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the server answers in time");
        assert!(line.ends_with(b"\r\n"), "the connection ended after {:?}", line.escape_ascii().to_string());
        line.truncate(line.len() - 2);
        String::from_utf8(line).expect("a reply's first line is text")
    }

    /// This connection's client id.
    #[track_caller]
    pub fn client_id(&mut self) -> i64 {
        let reply = self.ask(&["CLIENT", "ID"]);
        reply.trim_start_matches(':').trim_end().parse().expect("a client id is a number")
    }

    /// Says that nothing more will be sent, and returns all that the server still sends until it closes.
    #[track_caller]
    pub fn finish(mut self) -> Vec<u8> {
        self.stream.get_ref().shutdown(Shutdown::Write).expect("the socket can be shut");
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the server closes in time");
        rest
    }
}
