//! Worker threads: each accepts on its own sockets and serves what it accepted until it ends.
//!
//! The listener store (static resources, LDS) calls [`Workers::put`] and [`Workers::remove`] on the main thread;
//! changes travel to each worker over a channel of its own.
//! Invariant: a worker shares nothing with another but immutable configuration and counters.

mod accept;
mod detect;
mod serve;
mod socket;
mod table;
mod terminals;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

pub use self::socket::Listening;
use self::{socket::SocketOptions, thread::Command};
use crate::{
    drain::Phase,
    listener::{Listener, address::ListenAddress, limit::Count, stats::ListenerStats},
    stats::Registry,
};

/// A listening socket of the calling thread's own, and where it really listens: for admin.
pub fn listen(address: &ListenAddress) -> io::Result<(Listening, ListenAddress)> {
    let options = SocketOptions::plain(128);
    let (actual, mut sockets) = socket::bind(address, 1, options)?;
    let socket = sockets.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((Listening::new(socket, address)?, actual))
}

/// Settings of the worker threads.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many; default: the CPUs available to this process.
    pub count: usize,
    /// How long a removed or replaced listener's connections may go on; Envoy's `--drain-time-s`, default 600 s.
    pub drain_time: Duration,
    /// Where workers keep their statistics.
    pub stats: Arc<Registry>,
    /// Connections at once, of all listeners together, where they are limited.
    pub connections: Option<Arc<Count>>,
}

impl Default for Options {
    fn default() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        Self { count, drain_time: Duration::from_secs(600), stats: Registry::new(), connections: None }
    }
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
        address: ListenAddress,
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
        address: ListenAddress,
        /// The listener that has it.
        other: Arc<str>,
    },
}

/// The worker threads, from the main thread's side. Clones are the same workers; the threads end when the last clone
/// is dropped.
#[derive(Debug, Clone)]
pub struct Workers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    threads: Vec<Thread>,
    /// Main-side record of what is in force. Only configuration changes and admin take this lock.
    bound: Mutex<BTreeMap<Arc<str>, Bound>>,
    stats: Arc<Registry>,
}

#[derive(Debug)]
struct Thread {
    commands: mpsc::UnboundedSender<Command>,
    /// Detached when the process ends.
    _handle: JoinHandle<()>,
}

#[derive(Debug)]
struct Bound {
    listener: Arc<Listener>,
    /// Configured and actual addresses of open sockets.
    sockets: Vec<(ListenAddress, ListenAddress)>,
    /// One per worker.
    stats: Vec<Arc<ListenerStats>>,
}

/// The sockets of one address, one per worker.
type NewSockets = (ListenAddress, ListenAddress, Vec<socket2::Socket>);

impl Workers {
    /// Starts the threads; they have no listener yet.
    pub fn start(options: &Options) -> io::Result<Self> {
        let count = options.count.max(1);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (commands, receiver) = mpsc::unbounded_channel();
            let options = options.clone();
            let handle = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                if let Err(error) = thread::run(index, count, options, receiver) {
                    tracing::error!(index, %error, "the worker cannot start");
                }
            })?;
            threads.push(Thread { commands, _handle: handle });
        }
        Ok(Self { inner: Arc::new(Inner { threads, bound: Mutex::default(), stats: options.stats.clone() }) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.inner.threads.len()
    }

    /// The statistics of all workers.
    pub fn stats(&self) -> &Arc<Registry> {
        &self.inner.stats
    }

    /// Puts a listener in force, new or in place of the one of the same name. Sockets on addresses that both have
    /// stay open. Chains that are the same `Arc` in both keep their connections; those of other chains drain.
    /// On an error nothing has changed.
    pub fn put(&self, listener: Arc<Listener>) -> Result<InForce, ListenError> {
        let mut bound = self.inner.bound.lock().unwrap_or_else(PoisonError::into_inner);
        check_duplicates(&bound, &listener)?;
        let kept = bound.get(&listener.name).map_or(Vec::new(), |old| old.kept_by(&listener));
        let fresh = self.bind_all(&listener, &kept)?;

        let mut sockets = kept;
        sockets.extend(fresh.iter().map(|(address, actual, _)| (address.clone(), actual.clone())));
        let stats = match bound.get(&listener.name) {
            Some(old) => old.stats.clone(),
            None => self.inner.threads.iter().map(|_| Arc::default()).collect(),
        };
        let mut per_worker: Vec<Vec<_>> = self.inner.threads.iter().map(|_| Vec::new()).collect();
        for (address, _, sockets) in fresh {
            for (worker, socket) in per_worker.iter_mut().zip(sockets) {
                worker.push((address.clone(), socket));
            }
        }
        let mut waits = Vec::new();
        for (thread, (sockets, stats)) in self.inner.threads.iter().zip(per_worker.into_iter().zip(&stats)) {
            let (done, wait) = oneshot::channel();
            let (listener, stats) = (listener.clone(), stats.clone());
            thread.command(Command::Put { listener, stats, sockets, done });
            waits.push(wait);
        }
        bound.insert(listener.name.clone(), Bound { listener, sockets, stats });
        Ok(InForce(waits))
    }

    /// Stops listening at once and drains the listener's connections.
    pub fn remove(&self, name: &str) {
        let mut bound = self.inner.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, _)) = bound.remove_entry(name) {
            self.each(|| Command::Remove(name.clone()));
        }
    }

    /// Has workers give up pools of clusters that were replaced or removed; streams on their way finish.
    pub fn retire_clusters(&self) {
        self.each(|| Command::RetireClusters);
    }

    /// Stops accepting, on all listeners or on those of inbound traffic, and asks their connections to end:
    /// `/drain_listeners`.
    pub fn stop_accepting(&self, inbound_only: bool) {
        self.each(|| Command::StopAccepting { inbound_only });
    }

    /// Asks the connections of all listeners, or of those of inbound traffic, to end, those still to come too; accepting
    /// goes on: `/drain_listeners?skip_exit`.
    pub fn drain_listeners(&self, inbound_only: bool) {
        self.each(|| Command::DrainListeners { inbound_only });
    }

    /// Moves every connection to `phase`; the future is ready when no connection is left.
    pub fn drain(&self, phase: Phase) -> InForce {
        let mut waits = Vec::new();
        self.each(|| {
            let (done, wait) = oneshot::channel();
            waits.push(wait);
            Command::Drain { phase, done }
        });
        InForce(waits)
    }

    /// The addresses a listener is really bound to (port 0 resolved), for admin and tests.
    pub fn addresses(&self, name: &str) -> Vec<ListenAddress> {
        let bound = self.inner.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound
            .get(name)
            .map_or(Vec::new(), |bound| bound.sockets.iter().map(|(_, actual)| actual.clone()).collect())
    }

    /// Every listener in force by name, with its counters of each worker.
    pub fn listeners(&self) -> Vec<(Arc<Listener>, Vec<Arc<ListenerStats>>)> {
        let bound = self.inner.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.values().map(|bound| (bound.listener.clone(), bound.stats.clone())).collect()
    }

    fn each(&self, mut command: impl FnMut() -> Command) {
        self.inner.threads.iter().for_each(|thread| thread.command(command()));
    }

    /// Binds the addresses that are not open yet; all or none.
    fn bind_all(
        &self,
        listener: &Listener,
        kept: &[(ListenAddress, ListenAddress)],
    ) -> Result<Vec<NewSockets>, ListenError> {
        if !listener.bind_to_port {
            return Ok(Vec::new());
        }
        let options = SocketOptions::of(listener);
        let missing = listener.addresses.iter().filter(|wanted| kept.iter().all(|(open, _)| open != *wanted));
        missing
            .map(|address| {
                let bound = socket::bind(address, self.count(), options);
                let (actual, sockets) = bound.map_err(|source| ListenError::Bind {
                    listener: listener.name.clone(),
                    address: address.clone(),
                    source,
                })?;
                Ok((address.clone(), actual, sockets))
            })
            .collect()
    }
}

impl Thread {
    /// A worker that is gone (it could not start) has said so; the others go on.
    fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl Bound {
    /// Open sockets that an update can go on with.
    fn kept_by(&self, new: &Listener) -> Vec<(ListenAddress, ListenAddress)> {
        let old = &self.listener;
        if !new.bind_to_port || new.reuse_port != old.reuse_port || new.transparent != old.transparent {
            return Vec::new();
        }
        self.sockets.iter().filter(|(address, _)| new.addresses.contains(address)).cloned().collect()
    }
}

/// The answer of all workers to a command. Waiting is optional: the command takes effect anyway.
#[derive(Debug)]
pub struct InForce(Vec<oneshot::Receiver<()>>);

impl InForce {
    /// Waits for every worker.
    pub async fn wait(self) {
        for wait in self.0 {
            // A worker that is gone has nothing left to do.
            let _ = wait.await;
        }
    }
}

fn check_duplicates(bound: &BTreeMap<Arc<str>, Bound>, listener: &Listener) -> Result<(), ListenError> {
    let others = bound.values().filter(|other| other.listener.name != listener.name);
    for other in others {
        let shared =
            listener.addresses.iter().find(|a| other.listener.addresses.iter().any(|b| a.conflicts_with(b)));
        if let Some(address) = shared {
            return Err(ListenError::Duplicate {
                listener: listener.name.clone(),
                address: address.clone(),
                other: other.listener.name.clone(),
            });
        }
    }
    Ok(())
}
