//! Talking to the beanstalk port, byte by byte.

use crate::harness::Server;
use crate::reply::run;
use crate::waiting::patience;
use redis::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The line of redis.conf that opens the port as a Unix socket in the server's folder, which no other test can take.
pub const ON: &str = "phean.unixsocket beanstalk.sock";

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

/// A connection to the port. Dropping it closes the socket at once.
pub struct Talk {
    stream: BufReader<Stream>,
}

/// The TCP port that the harness has left free beside the server's own.
pub fn free_beside(server: &Server) -> u16 {
    server.port() + 10_000
}

/// Opens the TCP port at run time, and returns it.
#[track_caller]
pub fn open_port(server: &Server) -> u16 {
    let port = free_beside(server);
    assert_eq!(run(&mut server.connect(), &format!("CONFIG SET phean.port {port}")), Value::Okay);
    port
}

impl Talk {
    /// Connects to the server's Unix socket.
    #[track_caller]
    pub fn new(server: &Server) -> Talk {
        Talk::over_unix(server).expect("the port accepts a connection")
    }

    /// Connects to the server's Unix socket, if somebody listens there.
    pub fn over_unix(server: &Server) -> std::io::Result<Talk> {
        Talk::at(&server.dir().join("beanstalk.sock"))
    }

    /// Connects to a Unix socket, if somebody listens there.
    pub fn at(path: &Path) -> std::io::Result<Talk> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience()))?;
        stream.set_write_timeout(Some(patience()))?;
        Ok(Talk { stream: BufReader::new(Stream::Unix(stream)) })
    }

    /// Connects to a TCP port, if somebody listens there.
    pub fn over_tcp(port: u16) -> std::io::Result<Talk> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patience()))?;
        stream.set_write_timeout(Some(patience()))?;
        stream.set_nodelay(true)?;
        Ok(Talk { stream: BufReader::new(Stream::Tcp(stream)) })
    }

    /// Sends exactly these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes the bytes");
    }

    /// Sends bytes that nobody may want any more.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        match self.stream.get_mut() {
            Stream::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Stream::Unix(stream) => stream.write_all(bytes.as_ref()),
        }
    }

    /// The next line of the answer.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the server answers in time");
        assert!(line.ends_with(b"\n"), "the connection ended after {:?}", line.escape_ascii().to_string());
        String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Sends a line, and returns the answer's first one.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.line()
    }

    /// Puts a job with priority 0 and a minute to run, and returns the answer.
    #[track_caller]
    pub fn put(&mut self, body: &str) -> String {
        self.ask(&format!("put 0 0 60 {}\r\n{body}", body.len()))
    }

    /// Puts a job, and returns its id.
    #[track_caller]
    pub fn put_id(&mut self, body: &str) -> u64 {
        let answer = self.put(body);
        let id = answer.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{answer}"));
        id.parse().expect("an id is a number")
    }

    /// Reads `RESERVED id n` (or `FOUND`), and returns the id and body.
    #[track_caller]
    pub fn job(&mut self) -> (u64, String) {
        let line = self.line();
        let words: Vec<&str> = line.split(' ').collect();
        let [_, id, len] = words[..] else { panic!("no job: {line}") };
        let mut body = vec![0; len.parse::<usize>().expect("a length is a number") + 2];
        self.stream.read_exact(&mut body).expect("the body follows");
        assert!(body.ends_with(b"\r\n"), "the body is closed");
        body.truncate(body.len() - 2);
        (id.parse().expect("an id is a number"), String::from_utf8_lossy(&body).into_owned())
    }

    /// Reserves a job that is there.
    #[track_caller]
    pub fn reserve(&mut self) -> (u64, String) {
        self.send("reserve-with-timeout 0\r\n");
        self.job()
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) {
        let _ = match self.stream.get_mut() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Waits until the server closes the connection, and returns what it sent before.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
            Err(error) => panic!("the server did not close the connection: {error}"),
        }
        rest
    }

    /// Whether an answer comes in a moment; it stays to be read.
    pub fn is_answered_within(&mut self, time: std::time::Duration) -> bool {
        let set = |stream: &Stream, time| match stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(time)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(time)),
        };
        set(self.stream.get_ref(), time).expect("the socket can be set");
        let answered = self.stream.fill_buf().is_ok();
        set(self.stream.get_ref(), patience()).expect("the socket can be set");
        answered
    }
}

/// A field of `INFO phean`, as a number.
#[track_caller]
pub fn info(server: &Server, field: &str) -> u64 {
    let fields = server.info("phean");
    fields.get(&format!("phean_{field}")).unwrap_or_else(|| panic!("no {field}")).parse().expect("a number")
}
