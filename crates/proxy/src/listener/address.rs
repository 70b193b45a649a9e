//! Where a listener listens: an IP address and port, or a Unix socket.
//!
//! Compiled from `address` and `additional_addresses`; [`crate::worker`] binds it. Invariant: what is printed is what
//! Envoy prints, `@` standing for the abstract namespace.

use std::{fmt, io, net::SocketAddr, os::unix::ffi::OsStrExt, path::Path, sync::Arc};

use crate::cluster::Address;

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// IP and port.
    Socket(SocketAddr),
    /// A Unix stream socket.
    Pipe {
        /// Path in the file system, or `@` and a name in the abstract namespace.
        path: Arc<str>,
        /// Permission bits of the file; 0 leaves those that the process gives (`umask`).
        mode: u32,
    },
}

impl ListenAddress {
    /// The IP address and port, where it is one.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Pipe { .. } => None,
        }
    }

    /// The path, where it is a Unix socket.
    pub fn path(&self) -> Option<&Arc<str>> {
        match self {
            Self::Socket(_) => None,
            Self::Pipe { path, .. } => Some(path),
        }
    }

    /// True when two listeners cannot both have it; port 0 is a new port for each.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Socket(one), Self::Socket(other)) => one.port() != 0 && one == other,
            (Self::Pipe { path: one, .. }, Self::Pipe { path: other, .. }) => one == other,
            _ => false,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl From<&ListenAddress> for Address {
    fn from(address: &ListenAddress) -> Self {
        match address {
            ListenAddress::Socket(address) => Self::Socket(*address),
            ListenAddress::Pipe { path, .. } => Self::Pipe(Path::new(&**path).into()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Pipe { path, .. } => f.write_str(path),
        }
    }
}

/// The kernel's address of a Unix socket: `@name` is a name in the abstract namespace, which has no file.
pub fn unix(path: &Path) -> io::Result<socket2::SockAddr> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => {
            let mut abstract_name = vec![0];
            abstract_name.extend_from_slice(name);
            socket2::SockAddr::unix(std::ffi::OsStr::from_bytes(&abstract_name))
        }
        None => socket2::SockAddr::unix(path),
    }
}
