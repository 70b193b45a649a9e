//! Free ports for programs that cannot be asked to pick one themselves.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{LazyLock, Mutex},
};

static HANDED_OUT: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// Above what services have for their own, below the ports that the kernel gives to outgoing connections (Linux:
/// from 32768): one of those may be taken between our look and the program's bind.
const RANGE: Range<u16> = 10_240..32_000;

/// A port that nobody listens on now and that this process was not given before; free at 0.0.0.0 and 127.0.0.1.
///
/// Our own servers bind port 0 and tell; this is for peers whose configuration must name a port.
pub fn free() -> u16 {
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        // Other test processes look for ports at the same time: start anywhere.
        let random = RandomState::new().build_hasher().finish();
        let port = RANGE.start + (random % RANGE.len() as u64) as u16;
        let is_free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if is_free && handed_out.insert(port) {
            return port;
        }
    }
}
