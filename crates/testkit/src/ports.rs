//! Free ports for programs that cannot be asked to pick one themselves.
//!
//! Invariant: no two tests that run at a time are given the same port, whichever processes they are in, and the kernel gives
//! none of them to an outgoing connection.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    sync::{Mutex, PoisonError},
};

/// Above what services have for their own, below what a mesh of processes takes for its apps (from 21000) and below the ports
/// that the kernel gives to outgoing connections (Linux: from 32768): one of those may be taken between our look and the
/// program's bind.
const RANGE: Range<u16> = 10_240..20_992;

/// As long as this process lives: its ports are its own to the end.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that nobody listens on now and that no other test has; free at 0.0.0.0 and 127.0.0.1.
///
/// Our own servers bind port 0 and tell; this is for peers whose configuration must name a port.
///
/// # Panics
/// When all are taken.
pub fn free() -> u16 {
    // Other test processes look for ports at the same time: start anywhere.
    let random = RandomState::new().build_hasher().finish();
    let first = (random % RANGE.len() as u64) as u16;
    let mut ports = (0..RANGE.len() as u16).map(|step| RANGE.start + (first + step) % RANGE.len() as u16);
    ports.find(|port| is_free(*port)).expect("a free port")
}

/// The claim comes before the look, which itself holds the port for a moment.
fn is_free(port: u16) -> bool {
    let Some(claim) = claim(port) else { return false };
    let is_free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    if is_free {
        CLAIMS.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
    }
    is_free
}

/// An abstract socket named after the port: one process can have it, it ends with that process, and like ports it is of a network
/// namespace.
fn claim(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("meltemi-test-port-{port}"));
    UnixListener::bind_addr(&name.expect("invariant: a short name is an address")).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: HashSet<u16> = (0..500).map(|_| free()).collect();
        assert_eq!(ports.len(), 500);
        assert!(ports.iter().all(|port| claim(*port).is_none()), "a claim is let go");
    }
}
