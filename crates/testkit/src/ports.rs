//! Free ports for programs that cannot be asked to pick one themselves.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener},
    sync::{LazyLock, Mutex},
};

static HANDED_OUT: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port of 127.0.0.1 that nobody listens on now and that this process was not given before.
///
/// Our own servers bind port 0 and tell; this is for peers whose configuration must name a port.
pub fn free() -> u16 {
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("invariant: loopback has a free port")
            .port();
        if handed_out.insert(port) {
            return port;
        }
    }
}
