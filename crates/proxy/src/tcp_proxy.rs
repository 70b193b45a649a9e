//! The TCP proxy: bytes both ways between a downstream connection and an endpoint.
//!
//! The worker calls [`serve`] for connections whose filter chain ends here. Phases: choose a cluster, choose an
//! endpoint and connect (as often as `max_connect_attempts` says), relay, log.
//! Invariant: every connection leaves exactly one record, whatever became of it.

pub mod early;
mod relay;
mod splice;
mod target;
pub mod tunnel;

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::debug;

use self::{
    early::Early,
    relay::{End, Relay},
    target::{Carrier, Target},
};
use crate::{
    access_log::{Kind, Record, Times},
    cluster::Endpoint,
    error::{Flags, StreamError},
    http::{Worker, clock, exchange::Wire},
    listener::{TcpProxy, connection::Connection, filters::Inspected},
    stats::groups::TcpStats,
    stream::{Stream, UNSPECIFIED},
    upstream::{cluster::ClusterState, proxy_header::Ends},
};

/// What became of a connection; access logs and statistics are made from it.
#[derive(Debug)]
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
    /// The cluster that was chosen.
    pub cluster: Option<Rc<ClusterState>>,
    /// The name of the cluster that should have been, where there is none.
    pub missing: Option<Arc<str>>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Our address on the connection to it.
    pub upstream_local: SocketAddr,
    /// When it was begun and when it stood.
    pub connect: Option<(Instant, Instant)>,
    /// Id of that connection; 0 before it stands.
    pub upstream_connection: u64,
}

/// What choosing an endpoint may look at.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The original destination, where one was restored.
    pub destination: Option<SocketAddr>,
    /// The client.
    pub source: SocketAddr,
    /// SNI.
    pub server_name: Option<Arc<str>>,
    /// Where the client connected to, restored or not.
    pub local: SocketAddr,
}

impl Origin {
    /// Of a connection whose filter chain is not chosen yet.
    pub fn of(inspected: &Inspected) -> Self {
        let destination = inspected.local_restored.then_some(inspected.local);
        let server_name = inspected.server_name.clone();
        Self { destination, source: inspected.remote, server_name, local: inspected.local }
    }
}

impl Origin {
    fn ends(&self) -> Ends {
        Ends { source: self.source, destination: self.local }
    }
}

impl From<&Connection> for Origin {
    fn from(connection: &Connection) -> Self {
        let destination = connection.local_restored.then_some(connection.local);
        let server_name = connection.server_name.clone();
        Self { destination, source: connection.remote, server_name, local: connection.local }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            flags: Flags::default(),
            bytes: (0, 0),
            attempts: 0,
            transport_failure: String::new(),
            details: "",
            cluster: None,
            missing: None,
            endpoint: None,
            upstream_local: UNSPECIFIED,
            connect: None,
            upstream_connection: 0,
        }
    }
}

/// Serves a connection until it ends.
/// `early` is the connection to the endpoint, where it was made before the filter chain was certain.
pub async fn serve(
    downstream: Stream,
    connection: Connection,
    proxy: Arc<TcpProxy>,
    worker: Rc<Worker>,
    early: Option<Box<Early>>,
) {
    let started = clock::now();
    let stats = worker.tcp_stats(&proxy.stat_prefix);
    stats.downstream_cx_total.inc();
    if proxy.log_times.start {
        log(&proxy, &connection, &Outcome::default(), started, &worker, Kind::TcpConnectionStart);
    }
    let (mut outcome, target) = match early {
        Some(early) => (early.outcome, Some(early.target)),
        None => {
            let mut outcome = Outcome::default();
            let origin = Origin::from(&connection);
            let asked = proxy.tunnel.as_deref().map(|tunnel| {
                let record = record(&connection, &outcome, started, &worker);
                (tunnel, tunnel.request(&record))
            });
            let target = target::connect(&proxy, &origin, asked.as_ref(), &worker, &mut outcome).await;
            (outcome, target)
        }
    };
    if let Some(target) = target {
        let until = proxy.max_duration.map(|limit| started + longer(limit, proxy.duration_jitter, &worker));
        if proxy.log_times.connected {
            log(&proxy, &connection, &outcome, started, &worker, Kind::TcpUpstreamConnected);
        }
        let course = Course { proxy: &proxy, connection: &connection, until, progress: None };
        match proxy.log_times.interval {
            None => relay(downstream, target, course, &worker, &mut outcome).await,
            Some(interval) => {
                let logging = Logging { interval, started };
                Box::pin(relay_and_log(downstream, target, course, logging, &worker, &mut outcome)).await;
            }
        }
    }
    count(&stats, &outcome);
    debug!(remote = %connection.remote, flags = %outcome.flags, bytes = ?outcome.bytes, "TCP connection ended");
    log(&proxy, &connection, &outcome, started, &worker, Kind::TcpConnectionEnd);
}

fn count(stats: &TcpStats, outcome: &Outcome) {
    stats.downstream_cx_rx_bytes_total.add(outcome.bytes.0);
    stats.downstream_cx_tx_bytes_total.add(outcome.bytes.1);
    if outcome.flags.has(Flags::NO_CLUSTER) {
        stats.downstream_cx_no_route.inc();
    }
    if outcome.flags.has(Flags::CONNECTION_IDLE) {
        stats.idle_timeout.inc();
    }
    if outcome.flags.has(Flags::DURATION_TIMEOUT) {
        stats.max_downstream_connection_duration.inc();
    }
    if let Some(cluster) = &outcome.cluster {
        cluster.stats.upstream_cx_tx_bytes_total.add(outcome.bytes.0);
        cluster.stats.upstream_cx_rx_bytes_total.add(outcome.bytes.1);
    }
}

fn log(
    proxy: &TcpProxy,
    connection: &Connection,
    outcome: &Outcome,
    started: Instant,
    worker: &Rc<Worker>,
    kind: Kind,
) {
    if proxy.access_log.is_empty() {
        return;
    }
    let record = Record { kind, ..record(connection, outcome, started, worker) };
    proxy.access_log.iter().for_each(|log| log.log(&record, worker));
}

/// A duration with up to its share more; `jitter` in hundredths of a percent.
fn longer(limit: Duration, jitter: u32, worker: &Worker) -> Duration {
    match jitter {
        0 => limit,
        most => limit + limit.mul_f64(worker.random() as f64 / u64::MAX as f64 * f64::from(most) / 10_000.0),
    }
}

/// What is known so far.
fn record<'a>(
    connection: &'a Connection,
    outcome: &'a Outcome,
    started: Instant,
    worker: &Worker,
) -> Record<'a> {
    Record {
        flags: outcome.flags,
        termination: outcome.details,
        transport_failure: &outcome.transport_failure,
        bytes: outcome.bytes,
        start: worker.clock.time(started),
        times: Times { total: Some(clock::now().duration_since(started)), ..Times::default() },
        cluster: outcome.cluster.as_ref().map(|state| (&*state.cluster.name, &*state.cluster.stat_name)),
        upstream: outcome.cluster.as_ref().map(|state| &*state.cluster),
        endpoint: outcome.endpoint.as_deref(),
        upstream_local: outcome.upstream_local,
        local: connection.local,
        remote: connection.remote,
        direct_remote: connection.direct_remote,
        server_name: connection.server_name.as_deref().unwrap_or(""),
        connection: connection.id,
        detected: connection.detected.name(),
        pipe: connection.pipe(),
        downstream: Some(connection),
        wire: Wire { received: outcome.bytes.0, sent: outcome.bytes.1, ..Wire::default() },
        upstream_wire: Wire { received: outcome.bytes.1, sent: outcome.bytes.0, ..Wire::default() },
        attempts: outcome.attempts,
        outcome: Some(outcome),
        ..Record::default()
    }
}

/// What a relay is told.
struct Course<'a> {
    proxy: &'a TcpProxy,
    connection: &'a Connection,
    /// When it ends whatever flows.
    until: Option<Instant>,
    /// Where it says how far it is, if somebody asks.
    progress: Option<Rc<Cell<(u64, u64)>>>,
}

/// When a relay is logged.
struct Logging {
    interval: Duration,
    started: Instant,
}

/// Relays, and logs every so often.
async fn relay_and_log(
    downstream: Stream,
    target: Target,
    course: Course<'_>,
    Logging { interval, started }: Logging,
    worker: &Rc<Worker>,
    outcome: &mut Outcome,
) {
    let progress = Rc::new(Cell::new((0, 0)));
    let mut seen = Outcome {
        attempts: outcome.attempts,
        cluster: outcome.cluster.clone(),
        endpoint: outcome.endpoint.clone(),
        upstream_local: outcome.upstream_local,
        ..Outcome::default()
    };
    let (proxy, connection) = (course.proxy, course.connection);
    let course = Course { progress: Some(progress.clone()), ..course };
    let mut relaying = std::pin::pin!(relay(downstream, target, course, worker, outcome));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    loop {
        tokio::select! {
            biased;
            () = &mut relaying => return,
            _ = ticks.tick() => {
                seen.bytes = progress.get();
                log(proxy, connection, &seen, started, worker, Kind::TcpPeriodic);
            }
        }
    }
}

async fn relay(
    mut downstream: Stream,
    mut target: Target,
    Course { proxy, connection, until, progress }: Course<'_>,
    worker: &Rc<Worker>,
    outcome: &mut Outcome,
) {
    let (idle, buffer) = (proxy.idle_timeout, connection.listener.buffer_limit);
    match &mut target.carrier {
        Carrier::Stream(upstream) => {
            let mut relay = Relay::new(worker, &mut downstream, upstream, idle).until(until).holding(buffer);
            relay.tell(progress);
            relay.begin_with(&std::mem::take(&mut target.greeting));
            let end = relay.run().await;
            outcome.bytes = relay.totals();
            if note(&end, outcome) {
                reset(&downstream);
                reset(upstream);
            }
        }
        Carrier::Tunnel(upstream) => {
            let limits = tunnel::Limits { idle, until };
            let (end, downstream) =
                Box::pin(tunnel::relay(downstream, upstream, worker, limits, outcome)).await;
            if note(&end, outcome) {
                reset(downstream.stream());
            }
        }
    }
}

/// Notes how a relay ended; true when both sides should hear that bytes were lost.
fn note(end: &End, outcome: &mut Outcome) -> bool {
    match end {
        End::Complete => false,
        End::Idle => {
            outcome.flags.set(Flags::CONNECTION_IDLE);
            outcome.details = "tcp_session_idle_timeout";
            false
        }
        End::TooLong => {
            outcome.flags.set(Flags::DURATION_TIMEOUT);
            outcome.details = "max_connection_duration_reached";
            false
        }
        // Both are ordinary ends of a TCP session to Envoy; a reset travels on as one.
        End::Downstream(error) | End::Upstream(error) => {
            debug!(%error, "TCP relay");
            true
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
