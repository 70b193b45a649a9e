//! The task of one connection: its terminal filter, run to the end.
//!
//! Started by the accept side. Invariant: the HTTP path's future is the task's own, so an idle HTTP connection costs
//! nothing for what the other terminal filters would need.

use std::rc::Rc;

use tokio::task::AbortHandle;

use super::{accept::Open, thread::WorkerThread};
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
    };
    task.abort_handle()
}
