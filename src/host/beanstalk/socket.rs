//! Sockets that never block: listeners and connections, over TCP or in the file system.

use std::ffi::c_int;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// How many connections may stand before the door, as in Redis.
const BACKLOG: c_int = 511;

/// After so many silent seconds the network is asked whether the peer is still there, three times.
const KEEPALIVE_S: c_int = 60;
const KEEPALIVE_EACH_S: c_int = 20;

/// A listening socket. Dropping it closes it.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a listening Unix socket.
pub(super) struct SocketFile {
    path: PathBuf,
    /// The file that we made: another may have taken its place since.
    inode: (u64, u64),
}

impl Listener {
    /// Listens on an address, or on the first of those that the host's name stands for.
    pub(super) fn tcp(host: &str, port: u16) -> io::Result<Listener> {
        let listener = TcpListener::bind((host, port))?;
        listener.set_nonblocking(true)?;
        listen(listener.as_raw_fd());
        Ok(Listener::Tcp(listener))
    }

    /// Listens on a Unix socket. One that nobody listens on any more, left by a crash, is replaced; any other file
    /// is an error.
    pub(super) fn unix(path: &str) -> io::Result<Listener> {
        let path = std::path::absolute(path)?;
        clear_away(&path)?;
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        listen(listener.as_raw_fd());
        let made = std::fs::metadata(&path)?;
        Ok(Listener::Unix(listener, SocketFile { path, inode: (made.dev(), made.ino()) }))
    }

    /// The next connection that stands before the door.
    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                keep_alive(stream.as_raw_fd());
                Ok(Stream::Tcp(stream))
            }),
            Listener::Unix(listener, _) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener, _) => listener.as_raw_fd(),
        }
    }

    /// Ends listening, also where a child of the server still holds the socket, and removes the socket's file.
    pub(super) fn end(self) {
        // SAFETY: the file descriptor is open, and ours.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_RDWR) };
        if let Listener::Unix(_, file) = self {
            file.remove();
        }
    }
}

impl SocketFile {
    fn remove(&self) {
        let is_ours = std::fs::metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket's file that nobody listens on any more.
fn clear_away(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    // Should somebody's backlog be full, this would block: but then somebody is there, and a connection that is not
    // blocking is refused at once.
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "somebody listens there")),
    }
}

/// The standard library lets few stand before the door.
fn listen(fd: RawFd) {
    // SAFETY: the file descriptor is that of a listening socket, which takes the larger backlog or keeps the one it
    // has.
    unsafe { libc::listen(fd, BACKLOG) };
}

fn keep_alive(fd: RawFd) {
    let options = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        #[cfg(target_os = "linux")]
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEPALIVE_S),
        #[cfg(target_os = "linux")]
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEPALIVE_EACH_S),
        #[cfg(target_os = "linux")]
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
    ];
    for (level, name, value) in options {
        let value: c_int = value;
        // SAFETY: the option's value is an int, and lives during the call. A system that lacks the option says so,
        // and the connection works without it.
        unsafe {
            libc::setsockopt(
                fd,
                level,
                name,
                std::ptr::from_ref(&value).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
    }
}

/// A connection. Dropping it closes it.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What is known of the other end of a connection.
pub(super) enum Peer {
    There,
    /// It sends no more. Input that stands before that may be unread.
    Ended,
    /// Nothing can be sent to it.
    Gone,
}

impl Stream {
    /// Asks what has become of the other end, whatever stands unread.
    pub(super) fn peer(&self) -> Peer {
        let mut asked = libc::pollfd { fd: self.fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: there is one of these, and it is asked for no time.
        unsafe { libc::poll(&mut asked, 1, 0) };
        match asked.revents {
            told if told & (libc::POLLERR | libc::POLLHUP) != 0 => Peer::Gone,
            told if told & libc::POLLRDHUP != 0 => Peer::Ended,
            _ => Peer::There,
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Reads what is there; `Ok(None)` if nothing is.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        unless_it_would_block(match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        })
    }

    /// Writes as much as there is room for; `Ok(None)` if there is no room.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        unless_it_would_block(match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        })
    }

    /// Ends the connection, also where a child of the server still holds the socket.
    pub(super) fn end(self) {
        let _ = match &self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

fn unless_it_would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Closes a file descriptor in a child of the server, which shares the socket: the socket itself lives on. Whatever
/// owned it in the parent is never dropped in the child.
pub(super) fn close_in_child(fd: RawFd) {
    // SAFETY: the child ends by `_exit`, so that nothing closes the file descriptor a second time.
    unsafe { libc::close(fd) };
}
