//! Worker threads: each accepts on its own sockets and serves what it accepted until it ends.
//!
//! The listener store (static resources, LDS) calls [`Workers::put`] and [`Workers::remove`] on the main thread;
//! changes travel to each worker over a channel of its own.
//! Invariant: a worker shares nothing with another but immutable configuration and counters.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use crate::listener::Listener;

/// Settings of the worker threads.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many; default: the CPUs available to this process.
    pub count: usize,
    /// How long a removed or replaced listener's connections may go on; Envoy's `--drain-time-s`, default 600 s.
    pub drain_time: Duration,
}

/// Why a listener could not be put in force; its text is the NACK's.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address that cannot be bound.
    #[error("error adding listener '{listener}': cannot bind '{address}': {source}")]
    Bind {
        /// Whose.
        listener: Arc<str>,
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Two listeners on one address.
    #[error(
        "error adding listener '{listener}': has duplicate address '{address}' as existing listener '{other}'"
    )]
    Duplicate {
        /// Whose.
        listener: Arc<str>,
        /// Which address.
        address: SocketAddr,
        /// The listener that has it.
        other: Arc<str>,
    },
}

/// The worker threads, from the main thread's side. Clones are the same workers.
#[derive(Debug, Clone)]
pub struct Workers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {}

impl Workers {
    /// Puts a listener in force, new or in place of the one of the same name. Sockets on addresses that both have
    /// stay open. Chains that are the same `Arc` in both keep their connections; those of other chains drain.
    pub fn put(&self, _listener: Arc<Listener>) -> Result<(), ListenError> {
        let _ = &self.inner;
        Ok(())
    }

    /// Stops listening at once and drains the listener's connections.
    pub fn remove(&self, _name: &str) {}

    /// The addresses a listener is really bound to (port 0 resolved), for admin and tests.
    pub fn addresses(&self, _name: &str) -> Vec<SocketAddr> {
        Vec::new()
    }
}
