//! Listening sockets: one per worker and address.
//!
//! Called on the main thread, so that a bind failure is an answer and not an event.
//! Invariant: all sockets of an address are bound to the same port, also when port 0 was asked for.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// How the sockets of a listener are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct SocketOptions {
    /// One socket per worker on the same address; else one that all share.
    pub(super) reuse_port: bool,
    /// `listen(2)` backlog.
    pub(super) backlog: i32,
}

/// `count` sockets on `address`, and the address they are bound to.
pub(super) fn bind(
    address: SocketAddr,
    count: usize,
    options: SocketOptions,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let first = bind_one(address, options)?;
    let actual = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(match options.reuse_port {
            true => bind_one(actual, options)?,
            false => sockets[0].try_clone()?,
        });
    }
    Ok((actual, sockets))
}

fn bind_one(address: SocketAddr, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.reuse_port)?;
    // Accepted sockets inherit it: one system call less per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_the_port_that_was_found() {
        for reuse_port in [true, false] {
            let options = SocketOptions { reuse_port, backlog: 16 };
            let (actual, sockets) = bind("127.0.0.1:0".parse().unwrap(), 3, options).unwrap();
            assert_ne!(actual.port(), 0);
            assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == actual));
            let taken = SocketOptions { reuse_port: false, backlog: 16 };
            assert_eq!(bind(actual, 1, taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }
}
