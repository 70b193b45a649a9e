//! The task of one connection: its terminal filter, run to the end.
//!
//! Started by the accept side. Invariant: the HTTP path's future is the task's own, so an idle HTTP connection costs
//! nothing for what the other terminal filters would need.

use std::rc::Rc;

use tokio::task::AbortHandle;

use super::{accept::Open, terminals, thread::WorkerThread};
use crate::{
    http,
    listener::{Terminal, connection::Connection},
    stream::Stream,
    tcp_proxy::{self, early::Early},
};

/// Starts the connection's task.
pub(super) fn connection(
    thread: &Rc<WorkerThread>,
    stream: Stream,
    connection: Connection,
    open: Open,
    early: Option<Box<Early>>,
) -> AbortHandle {
    let worker = thread.worker.clone();
    if !connection.chain.limits.is_empty() {
        return limited(thread, stream, connection, open, early);
    }
    let task = match &connection.chain.terminal {
        Terminal::Http(manager) => {
            let manager = manager.clone();
            tokio::task::spawn_local(http::serve(stream, connection, manager, worker, open))
        }
        Terminal::Tcp(proxy) => {
            let proxy = proxy.clone();
            // Made for another filter, it is of no use.
            let early = early.filter(|early| early.is_of(&proxy));
            tokio::task::spawn_local(async move {
                tcp_proxy::serve(stream, connection, proxy, worker, early).await;
                drop(open);
            })
        }
        Terminal::DirectResponse(response) => {
            let response = response.clone();
            tokio::task::spawn_local(async move {
                terminals::respond(stream, response).await;
                drop((connection, open));
            })
        }
        Terminal::Echo => tokio::task::spawn_local(async move {
            terminals::echo(stream).await;
            drop((connection, open));
        }),
    };
    task.abort_handle()
}

/// A connection that limits of its chain count: serves it, or ends it as the first limit says that has no place for it.
fn limited(
    thread: &Rc<WorkerThread>,
    stream: Stream,
    connection: Connection,
    open: Open,
    early: Option<Box<Early>>,
) -> AbortHandle {
    let worker = thread.worker.clone();
    let chain = connection.chain.clone();
    let mut counted = Vec::with_capacity(chain.limits.len());
    for limit in &chain.limits {
        counted.push(limit.enter(worker.connection_limit_stats(&limit.stat_prefix)));
        if let Some(delay) = counted.last().and_then(|counted| counted.refused) {
            let refused = async move {
                terminals::refuse(stream, delay).await;
                drop((connection, counted, open, early));
            };
            return tokio::task::spawn_local(refused).abort_handle();
        }
    }
    let task = async move {
        match &chain.terminal {
            Terminal::Http(manager) => {
                http::serve(stream, connection, manager.clone(), worker, (open, counted)).await;
            }
            Terminal::Tcp(proxy) => {
                let early = early.filter(|early| early.is_of(proxy));
                tcp_proxy::serve(stream, connection, proxy.clone(), worker, early).await;
                drop((open, counted));
            }
            Terminal::DirectResponse(response) => {
                terminals::respond(stream, response.clone()).await;
                drop((connection, open, counted));
            }
            Terminal::Echo => {
                terminals::echo(stream).await;
                drop((connection, open, counted));
            }
        }
    };
    tokio::task::spawn_local(task).abort_handle()
}
