//! Listening sockets: one per worker and address.
//!
//! [`bind`] is called on the main thread, so that a bind failure is an answer and not an event; [`Listening`] is what a
//! worker makes of a socket. Invariant: all sockets of an address are bound to the same port, also when port 0 was
//! asked for.

use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{
    cluster::Keepalive,
    listener::{
        Listener,
        address::{self, ListenAddress},
    },
    stream::{self, UNSPECIFIED},
};

/// How the sockets of a listener are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct SocketOptions {
    /// One socket per worker on the same address; else one that all share.
    pub(super) reuse_port: bool,
    /// `listen(2)` backlog.
    pub(super) backlog: i32,
    /// `freebind`: the address need not be there yet.
    pub(super) freebind: bool,
    /// `transparent`: connections to other addresses may be led here (TPROXY).
    pub(super) transparent: bool,
    /// `tcp_keepalive`.
    pub(super) keepalive: Option<Keepalive>,
}

impl SocketOptions {
    /// Those of a listener.
    pub(super) fn of(listener: &Listener) -> Self {
        let Listener { reuse_port, backlog, freebind, transparent, keepalive, .. } = *listener;
        Self { reuse_port, backlog, freebind, transparent, keepalive }
    }

    /// One socket, and no more than that.
    pub(super) fn plain(backlog: i32) -> Self {
        Self { reuse_port: false, backlog, freebind: false, transparent: false, keepalive: None }
    }
}

/// `count` sockets on `address`, and the address they are bound to.
pub(super) fn bind(
    address: &ListenAddress,
    count: usize,
    options: SocketOptions,
) -> io::Result<(ListenAddress, Vec<Socket>)> {
    let (first, actual) = match address {
        ListenAddress::Socket(address) => {
            let first = bind_tcp(*address, options)?;
            let actual = first.local_addr()?.as_socket().unwrap_or(*address);
            (first, ListenAddress::Socket(actual))
        }
        ListenAddress::Pipe { path, mode } => (bind_unix(path, *mode, options)?, address.clone()),
    };
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(match actual {
            ListenAddress::Socket(actual) if options.reuse_port => bind_tcp(actual, options)?,
            _ => sockets[0].try_clone()?,
        });
    }
    Ok((actual, sockets))
}

fn bind_tcp(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.reuse_port)?;
    // Accepted sockets inherit it: one system call less per connection.
    socket.set_tcp_nodelay(true)?;
    if let Some(keepalive) = &options.keepalive {
        socket.set_tcp_keepalive(&stream::keepalive(keepalive))?;
    }
    match address {
        SocketAddr::V4(_) if options.freebind => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) if options.freebind => socket.set_freebind_v6(true)?,
        _ => {}
    }
    match address {
        SocketAddr::V4(_) if options.transparent => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) if options.transparent => socket.set_ip_transparent_v6(true)?,
        _ => {}
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket)
}

fn bind_unix(path: &str, mode: u32, options: SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if !path.starts_with('@') {
        // A socket file that a process left behind is in the way. Where it cannot go, `bind` says so.
        let _ = fs::remove_file(path);
    }
    socket.bind(&address::unix(Path::new(path))?)?;
    if mode != 0 && !path.starts_with('@') {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(options.backlog)?;
    Ok(socket)
}

/// A listening socket on a thread.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(UnixListener),
}

impl Listening {
    /// Registers the socket with this thread's runtime.
    pub(super) fn new(socket: Socket, address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Socket(_) => TcpListener::from_std(socket.into()).map(Self::Tcp),
            ListenAddress::Pipe { .. } => UnixListener::from_std(socket.into()).map(Self::Unix),
        }
    }

    /// The next connection, and its peer; clients of Unix sockets have no address.
    pub async fn accept(&self) -> io::Result<(stream::Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((stream::Socket::Tcp(stream), peer))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((stream::Socket::Unix(stream), UNSPECIFIED))
            }
        }
    }

    /// A connection that waits in the backlog; `None` when none does.
    pub(super) fn accept_waiting(&self) -> Option<io::Result<(stream::Socket, SocketAddr)>> {
        match self {
            Self::Tcp(listener) => {
                let (accepted, peer) = SockRef::from(listener).accept().ok()?;
                let peer = peer.as_socket().unwrap_or(UNSPECIFIED);
                let adopted =
                    accepted.set_nonblocking(true).and_then(|()| TcpStream::from_std(accepted.into()));
                Some(adopted.map(|stream| (stream::Socket::Tcp(stream), peer)))
            }
            Self::Unix(listener) => {
                let (accepted, _) = SockRef::from(listener).accept().ok()?;
                let adopted =
                    accepted.set_nonblocking(true).and_then(|()| UnixStream::from_std(accepted.into()));
                Some(adopted.map(|stream| (stream::Socket::Unix(stream), UNSPECIFIED)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_the_port_that_was_found() {
        for reuse_port in [true, false] {
            let options = SocketOptions { reuse_port, ..SocketOptions::plain(16) };
            let any = ListenAddress::Socket("127.0.0.1:0".parse().unwrap());
            let (actual, sockets) = bind(&any, 3, options).unwrap();
            let address = actual.socket().unwrap();
            assert_ne!(address.port(), 0);
            assert!(sockets.iter().all(|socket| socket.local_addr().unwrap().as_socket() == Some(address)));
            let taken = SocketOptions::plain(16);
            assert_eq!(bind(&actual, 1, taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn an_address_need_not_be_there_yet() {
        // Nobody has it: it is for documentation.
        let nobodys = ListenAddress::Socket("192.0.2.1:0".parse().unwrap());
        let plain = SocketOptions::plain(16);
        assert_eq!(bind(&nobodys, 1, plain).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        let keepalive = Some(Keepalive { probes: Some(3), time: None, interval: None });
        let (_, sockets) = bind(&nobodys, 1, SocketOptions { freebind: true, keepalive, ..plain }).unwrap();
        assert!(sockets[0].keepalive().unwrap() && sockets[0].tcp_keepalive_retries().unwrap() == 3);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_the_mode_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let path: std::sync::Arc<str> = folder.path().join("l.sock").display().to_string().into();
        let options = SocketOptions { reuse_port: true, ..SocketOptions::plain(16) };
        for mode in [0o600, 0o666] {
            let (_, sockets) = bind(&ListenAddress::Pipe { path: path.clone(), mode }, 2, options).unwrap();
            assert_eq!(sockets.len(), 2);
            assert_eq!(fs::metadata(&*path).unwrap().permissions().mode() & 0o777, mode);
        }
        let nowhere = folder.path().join("no/such/folder").display().to_string();
        let nowhere = ListenAddress::Pipe { path: nowhere.into(), mode: 0 };
        assert_eq!(bind(&nowhere, 1, options).unwrap_err().kind(), io::ErrorKind::NotFound);
        let name = format!("@meltemi-{}", std::process::id());
        let (_, sockets) = bind(&ListenAddress::Pipe { path: name.into(), mode: 0 }, 1, options).unwrap();
        assert!(sockets[0].local_addr().unwrap().as_abstract_namespace().is_some());
    }
}
