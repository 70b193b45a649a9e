//! From an accepted socket to the terminal filter: inspection, hand-off, filter chain, a task of its own.
//!
//! The accept loop of each listening socket ends up here. Invariant: nothing done here waits for another connection.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::{
    detect::{self, End},
    serve,
    socket::Listening,
    table::Active,
    thread::WorkerThread,
};
use crate::{
    access_log::{Record, Times},
    error::Flags,
    http::clock,
    listener::{
        Listener,
        address::ListenAddress,
        connection::Connection,
        filters::{FilterError, Inspected},
        limit::Place,
    },
    stream::{Socket, Stream},
    tcp_proxy::early::Early,
};

/// Accepts until aborted.
pub(super) async fn accept(thread: Rc<WorkerThread>, active: Rc<Active>, socket: Rc<Listening>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => start(&thread, &active, stream, peer),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: the backlog holds new connections meanwhile.
                warn!(listener = %active.listener.borrow().name, %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Accepts what is in the backlog, without waiting; for a socket that is about to close.
pub(super) fn accept_pending(thread: &Rc<WorkerThread>, active: &Rc<Active>, socket: &Listening) {
    while let Some(accepted) = socket.accept_waiting() {
        match accepted {
            Ok((stream, peer)) => start(thread, active, stream, peer),
            Err(error) => debug!(%error, "a connection was lost while its listener closed"),
        }
    }
}

/// The peer gave up before we accepted: `accept(2)` reports it on the listening socket.
fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn start(thread: &Rc<WorkerThread>, active: &Rc<Active>, stream: Socket, peer: SocketAddr) {
    let listener = active.listener.borrow().clone();
    let place = match thread.connections.as_ref().filter(|_| !listener.ignores_global_limit) {
        None => None,
        Some(count) => match count.take() {
            Some(place) => Some(place),
            None => return active.stats.downstream_global_cx_overflow.inc(),
        },
    };
    let local = match listener.addresses.as_slice() {
        [ListenAddress::Socket(one)]
            if !listener.transparent && !one.ip().is_unspecified() && one.port() != 0 =>
        {
            *one
        }
        _ => stream.local_addr(),
    };
    let connection = Inspected::new(stream, local, peer);
    if listener.filters.is_empty() {
        return admit(thread, active, connection, None, place);
    }
    let (thread, active) = (thread.clone(), active.clone());
    tokio::task::spawn_local(async move {
        let live = thread.table.enter();
        inspect_and_admit(&thread, &active, connection, place).await;
        drop(live);
    });
}

async fn inspect_and_admit(
    thread: &Rc<WorkerThread>,
    active: &Rc<Active>,
    connection: Inspected,
    place: Option<Place>,
) {
    let Some((connection, early)) = inspect_in_time(thread, active, connection).await else { return };
    let hands_off = active.listener.borrow().use_original_dst && connection.local_restored;
    let other = match hands_off {
        true => thread.table.for_destination(connection.local),
        false => None,
    };
    match other.filter(|other| !Rc::ptr_eq(other, active)) {
        // The other listener looks at the connection with filters of its own, but never hands it on again.
        Some(other) => {
            drop(early);
            let Some((connection, early)) = inspect_in_time(thread, &other, connection).await else { return };
            admit(thread, &other, connection, early, place);
        }
        None => admit(thread, active, connection, early, place),
    }
}

/// `None` when the connection is over.
async fn inspect_in_time(
    thread: &Rc<WorkerThread>,
    active: &Rc<Active>,
    mut connection: Inspected,
) -> Option<(Inspected, Option<Box<Early>>)> {
    let listener = active.listener.borrow().clone();
    let stats = &active.stats;
    stats.downstream_pre_cx_active.inc();
    let end = detect::look(thread, &listener, &mut connection).await;
    stats.downstream_pre_cx_active.dec();
    match end {
        End::Found(early) => return Some((connection, early)),
        End::Failed(FilterError::RemoteClose) => stats.downstream_listener_filter_remote_close.inc(),
        End::Failed(error) => {
            debug!(listener = %listener.name, remote = %connection.remote, %error, "listener filter");
            stats.downstream_listener_filter_error.inc();
        }
        End::TimedOut(early) => {
            stats.downstream_pre_cx_timeout.inc();
            return listener.continue_on_timeout.then_some((connection, early));
        }
    }
    None
}

/// Chooses the filter chain and starts the connection's task.
fn admit(
    thread: &Rc<WorkerThread>,
    active: &Rc<Active>,
    inspected: Inspected,
    early: Option<Box<Early>>,
    place: Option<Place>,
) {
    // The configuration of now, not of when inspection began: old chains get no new connections.
    let listener = active.listener.borrow().clone();
    let Some(chain) = listener.chains.find(&inspected.view()).cloned() else {
        active.stats.no_filter_chain_match.inc();
        debug!(listener = %listener.name, remote = %inspected.remote, "no filter chain matches");
        return log_unmatched(thread, &listener, &inspected);
    };
    let group = active.group(&chain);
    let ticket = group.ticket();
    let slot = ticket.slot();
    let connection = Connection {
        listener,
        chain,
        local: inspected.local,
        local_restored: inspected.local_restored,
        remote: inspected.remote,
        direct_remote: inspected.direct_remote,
        server_name: inspected.server_name,
        tls_detected: inspected.tls_detected,
        detected: inspected.detected,
        id: thread.next_connection_id(),
        drain: ticket,
    };
    let stream = Stream::accepted(inspected.stream, inspected.prefix);
    let open = Open::new(active, thread.table.enter(), place);
    let task = serve::connection(thread, stream, connection, open, early);
    group.own(slot, task);
}

/// The listener's logs of a connection that no filter chain takes.
fn log_unmatched(thread: &WorkerThread, listener: &Listener, inspected: &Inspected) {
    if listener.access_log.is_empty() {
        return;
    }
    let record = Record {
        flags: Flags::of(Flags::NO_ROUTE),
        details: "filter_chain_not_found",
        start: thread.worker.clock.time(clock::now()),
        times: Times { total: Some(Duration::ZERO), ..Times::default() },
        local: inspected.local,
        remote: inspected.remote,
        direct_remote: inspected.direct_remote,
        server_name: inspected.server_name.as_deref().unwrap_or(""),
        detected: inspected.detected.name(),
        ..Record::default()
    };
    listener.access_log.iter().for_each(|log| log.log(&record, &thread.worker));
}

/// Counts an open connection for as long as it is held.
#[derive(Debug)]
pub(super) struct Open {
    stats: Arc<crate::listener::stats::ListenerStats>,
    _live: super::table::Live,
    _place: Option<Place>,
}

impl Open {
    fn new(active: &Active, live: super::table::Live, place: Option<Place>) -> Self {
        active.stats.downstream_cx_total.inc();
        active.stats.downstream_cx_active.inc();
        Self { stats: active.stats.clone(), _live: live, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stats.downstream_cx_active.dec();
        self.stats.downstream_cx_destroy.inc();
    }
}
