//! One worker thread: a runtime of its own, the commands it obeys, and its end.
//!
//! [`super::Workers`] starts it and talks to it. Invariant: commands take effect in the order they were given.

use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
};
use tracing::warn;

use super::{
    Options,
    accept::{accept, accept_pending},
    detect::{Inspectors, Speakers},
    socket::Listening,
    table::{Accepting, Active, Table},
};
use crate::{
    drain::{Group, Phase},
    http::{Worker, clock},
    listener::{Listener, address::ListenAddress, limit::Count, stats::ListenerStats},
};

/// What the main thread asks of a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Put a listener in force. `sockets` are the new ones; those of addresses in `keep` stay as they are.
    Put {
        /// The compiled listener.
        listener: Arc<Listener>,
        /// This worker's counters for it.
        stats: Arc<ListenerStats>,
        /// New sockets, by configured address.
        sockets: Vec<(ListenAddress, socket2::Socket)>,
        /// Told when it is in force here.
        done: oneshot::Sender<()>,
    },
    /// Stop accepting on a listener and drain it.
    Remove(Arc<str>),
    /// Give up what belongs to clusters that are not in force any more.
    RetireClusters,
    /// Stop accepting on listeners (all, or inbound ones) and let their connections end.
    StopAccepting {
        /// Only listeners of inbound traffic.
        inbound_only: bool,
    },
    /// Let the connections of listeners (all, or inbound ones) end, and go on accepting.
    DrainListeners {
        /// Only listeners of inbound traffic.
        inbound_only: bool,
    },
    /// Move every connection on, and say when none is left.
    Drain {
        /// How far.
        phase: Phase,
        /// Dropped or answered when the worker has no connection left.
        done: oneshot::Sender<()>,
    },
}

/// The thread's own state.
#[derive(Debug)]
pub(super) struct WorkerThread {
    /// Listeners and connections.
    pub(super) table: Rc<Table>,
    /// What the data path shares.
    pub(super) worker: Rc<Worker>,
    /// Who spoke first where.
    pub(super) speakers: Speakers,
    /// Connections at once, where they are limited.
    pub(super) connections: Option<Arc<Count>>,
    inspectors: OnceCell<Inspectors>,
    drain_time: Duration,
    ids: Cell<u64>,
    workers: u64,
}

impl WorkerThread {
    /// What listener filters count.
    pub(super) fn inspectors(&self) -> &Inspectors {
        self.inspectors.get_or_init(|| Inspectors::new(&self.worker.stats, self.worker.index))
    }

    /// A connection id that no other worker gives.
    pub(super) fn next_connection_id(&self) -> u64 {
        let id = self.ids.get();
        self.ids.set(id + self.workers);
        id
    }
}

/// The thread's body: obeys until the commands' sender is gone.
pub(super) fn run(
    index: usize,
    workers: usize,
    Options { drain_time, stats, connections, .. }: Options,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_unpark(clock::woke)
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let thread = Rc::new(WorkerThread {
            table: Rc::default(),
            worker: Worker::with_stats(index, stats),
            speakers: Speakers::default(),
            connections,
            inspectors: OnceCell::new(),
            drain_time,
            ids: Cell::new(index as u64 + 1),
            workers: workers as u64,
        });
        thread.worker.start();
        while let Some(command) = commands.recv().await {
            obey(&thread, command);
        }
    });
    Ok(())
}

fn obey(thread: &Rc<WorkerThread>, command: Command) {
    match command {
        Command::Put { listener, stats, sockets, done } => {
            put(thread, listener, stats, sockets);
            // Nobody may be waiting; the listener is in force all the same.
            let _ = done.send(());
        }
        Command::Remove(name) => {
            let Some(active) = thread.table.take(&name) else { return };
            stop_accepting(thread, &active);
            drain(thread, active.retire());
        }
        Command::RetireClusters => thread.worker.retire_clusters(),
        Command::StopAccepting { inbound_only } => {
            for active in thread.table.all() {
                if !inbound_only || active.listener.borrow().inbound {
                    stop_accepting(thread, &active);
                    active.advance(Phase::Draining);
                }
            }
        }
        Command::DrainListeners { inbound_only } => {
            let listeners = thread.table.all();
            let wanted = listeners.iter().filter(|active| !inbound_only || active.listener.borrow().inbound);
            wanted.for_each(|active| active.advance(Phase::Draining));
        }
        Command::Drain { phase, done } => {
            thread.table.advance(phase);
            let table = thread.table.clone();
            tokio::task::spawn_local(async move {
                while table.live() > 0 {
                    table.idle.notified().await;
                }
                let _ = done.send(());
            });
        }
    }
}

fn put(
    thread: &Rc<WorkerThread>,
    listener: Arc<Listener>,
    stats: Arc<ListenerStats>,
    sockets: Vec<(ListenAddress, socket2::Socket)>,
) {
    let active = match thread.table.get(&listener.name) {
        Some(active) => {
            let gone = active.replace(listener.clone());
            drain(thread, gone);
            active
        }
        None => Active::new(listener.clone(), stats),
    };
    thread.table.insert(&active);
    let stale = active.take_sockets(|address| {
        !listener.bind_to_port
            || !listener.addresses.contains(address)
            || sockets.iter().any(|(new, _)| new == address)
    });
    for (address, socket) in sockets {
        match Listening::new(socket, &address) {
            Ok(socket) => {
                let socket = Rc::new(socket);
                let accepting = accept(thread.clone(), active.clone(), socket.clone());
                let task = tokio::task::spawn_local(accepting).abort_handle();
                active.add_socket(Accepting { address, socket, task });
            }
            Err(error) => warn!(listener = %listener.name, %address, %error, "cannot watch the socket"),
        }
    }
    close(thread, &active, stale);
}

fn drain(thread: &WorkerThread, groups: Vec<Rc<Group>>) {
    if !groups.is_empty() {
        tokio::task::spawn_local(thread.table.clone().drain(groups, thread.drain_time));
    }
}

fn stop_accepting(thread: &Rc<WorkerThread>, active: &Rc<Active>) {
    let sockets = active.take_sockets(|_| true);
    close(thread, active, sockets);
}

/// Closes listening sockets without losing what waits in their backlogs.
fn close(thread: &Rc<WorkerThread>, active: &Rc<Active>, sockets: Vec<Accepting>) {
    for accepting in sockets {
        accepting.task.abort();
        accept_pending(thread, active, &accepting.socket);
    }
}
