//! The TCP proxy: bytes both ways between a downstream connection and an endpoint.
//!
//! The worker calls [`serve`] for connections whose filter chain ends here. Phases: choose a cluster, choose an
//! endpoint and connect (as often as `max_connect_attempts` says), relay, log.
//! Invariant: every connection leaves exactly one record, whatever became of it.

mod relay;
mod splice;
mod target;

use std::{rc::Rc, sync::Arc};

use tracing::debug;

use self::{
    relay::{End, Relay},
    target::Target,
};
use crate::{
    error::{Flags, StreamError},
    http::Worker,
    listener::{TcpProxy, connection::Connection},
    stream::Stream,
};

/// What became of a connection; access logs and statistics are made from it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Response flags.
    pub flags: Flags,
    /// Bytes from downstream, and to it.
    pub bytes: (u64, u64),
    /// Connect attempts that were made.
    pub attempts: u32,
    /// Text of the last connect failure.
    pub transport_failure: String,
    /// Envoy's `%CONNECTION_TERMINATION_DETAILS%`, empty when nothing is to be said.
    pub details: &'static str,
}

/// Serves a connection until it ends.
pub async fn serve(mut downstream: Stream, connection: Connection, proxy: Arc<TcpProxy>, worker: Rc<Worker>) {
    let mut outcome = Outcome::default();
    if let Some(mut target) = target::connect(&proxy, &connection, &worker, &mut outcome).await {
        relay(&mut downstream, &mut target, &proxy, &worker, &mut outcome).await;
    }
    debug!(remote = %connection.remote, flags = %outcome.flags, bytes = ?outcome.bytes, "TCP connection ended");
}

async fn relay(
    downstream: &mut Stream,
    target: &mut Target,
    proxy: &TcpProxy,
    worker: &Worker,
    outcome: &mut Outcome,
) {
    let mut relay = Relay::new(worker, downstream, &mut target.stream, proxy.idle_timeout);
    let end = relay.run().await;
    outcome.bytes = relay.totals();
    match end {
        End::Complete => {}
        End::Idle => {
            outcome.flags.set(Flags::STREAM_IDLE_TIMEOUT);
            outcome.details = "tcp_session_idle_timeout";
        }
        // Both are ordinary ends of a TCP session to Envoy; a reset travels on as one.
        End::Downstream(error) | End::Upstream(error) => {
            debug!(%error, "TCP relay");
            reset(downstream);
            reset(&target.stream);
        }
    }
}

/// Has the close of this socket tell its peer that bytes were lost.
fn reset(stream: &Stream) {
    // A socket that cannot be told so is closed anyway.
    let _ = stream.socket().set_linger(Some(std::time::Duration::ZERO));
}

impl Outcome {
    /// Notes a failed attempt.
    fn failed(&mut self, error: &StreamError, transport: String) {
        self.flags.set(error.reason.upstream_flag());
        self.transport_failure = transport;
    }
}
