//! A downstream connection as its requests see it: pinned configuration, worker, addresses as text.
//!
//! [`crate::http::serve`] makes one per connection; HTTP/2 streams share it.
//! Invariant: nothing in it changes but the number of requests.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    access_log::{Format, Kind, Record, Times},
    http::{
        Worker, clock,
        config::HttpConnectionManager,
        connection_manager::{Exchange, forwarding::Peer},
        exchange::{Downstream, Wire},
        message::{BodyLength, Protocol},
    },
    listener::connection::Connection,
    route::{Action, rewrite::Picked},
    stats::{
        groups::ListenerHttpStats,
        request::{self, Held, HttpConnection},
    },
};

/// A downstream connection with all that its requests need.
#[derive(Debug)]
pub struct Session {
    /// The connection.
    pub connection: Connection,
    /// Its connection manager.
    pub manager: Arc<HttpConnectionManager>,
    /// Its worker.
    pub worker: Rc<Worker>,
    /// True when downstream is TLS.
    pub tls: bool,
    /// Its statistics.
    pub counted: HttpConnection,
    /// What its listener counts of it.
    listener: Arc<ListenerHttpStats>,
    remote_ip: Box<str>,
    requests: Cell<u32>,
    closes_at: Option<Instant>,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(connection: Connection, manager: Arc<HttpConnectionManager>, worker: Rc<Worker>) -> Self {
        let remote_ip = connection.remote.ip().to_string().into();
        let closes_at = manager.max_connection_duration.map(|limit| clock::now() + limit);
        let counted = HttpConnection::new(worker.http_stats(&manager.stat_prefix));
        let listener = worker.listener_stats(&connection.listener.stat_prefix, &manager.stat_prefix);
        Self {
            connection,
            manager,
            worker,
            counted,
            listener,
            tls: false,
            remote_ip,
            requests: Cell::new(0),
            closes_at,
        }
    }

    /// What forwarding headers say of the connection.
    pub fn peer(&self) -> Peer<'_> {
        Peer {
            remote: self.connection.remote,
            remote_ip: &self.remote_ip,
            local_ip: self.worker.local_ip(),
            tls: self.tls,
        }
    }

    /// True when the connection should end after the response at hand; asked once for each, since the reason is counted.
    pub fn must_close(&self) -> bool {
        let limit = self.manager.max_requests_per_connection;
        let stats = self.counted.stats();
        let reason = if self.connection.drain.is_draining() {
            &stats.downstream_cx_drain_close
        } else if limit != 0 && self.requests.get() >= limit {
            &stats.downstream_cx_max_requests_reached
        } else if self.closes_at.is_some_and(|at| clock::now() >= at) {
            &stats.downstream_cx_max_duration_reached
        } else {
            return false;
        };
        reason.inc();
        true
    }

    /// A request has begun.
    pub(super) fn begin(&self, exchange: &mut Exchange, protocol: Protocol) -> Held<'_> {
        self.requests.set(self.requests.get().saturating_add(1));
        exchange.info.start = Some(clock::now());
        exchange.info.protocol = protocol;
        exchange.info.random = self.worker.random();
        exchange.info.client = self.connection.remote;
        self.counted.begin(protocol)
    }

    /// The head in `exchange.response` is about to be sent: the answer is counted, so that whoever reads it finds it so.
    pub fn answers(&self, exchange: &mut Exchange) {
        exchange.info.status = exchange.response.status;
        exchange.info.downstream_start = Some(clock::now());
        request::answered(self.counted.stats(), &mut exchange.info);
        self.listener.downstream_rq.inc(exchange.info.status);
    }

    /// A request has its route, and is logged for the first time where that is wanted.
    pub(super) fn log_start(&self, exchange: &mut Exchange) {
        if !self.manager.log_starts {
            return;
        }
        if let Some(route) = exchange.info.route.clone()
            && let Action::Forward(forward) = &route.action
            && let Picked::Cluster(slot) = forward.target.pick(exchange.info.random)
        {
            exchange.info.cluster = self.worker.cluster(slot);
        }
        self.log_early(exchange, Kind::DownstreamStart);
    }

    /// Logs what is known of a request that goes on.
    pub fn log_early(&self, exchange: &Exchange, kind: Kind) {
        let mut record = record(self, exchange);
        record.kind = kind;
        record.times.total = exchange.info.start.map(|start| clock::now().duration_since(start));
        for log in &self.manager.access_log {
            log.log(&record, &self.worker);
        }
    }

    /// A request is over.
    pub(super) fn finish<D: Downstream>(&self, exchange: &mut Exchange, downstream: &D) {
        request::finished(self.counted.stats(), &mut exchange.info);
        if !downstream.request_complete() && exchange.info.status != 0 {
            self.counted.stats().downstream_rq_response_before_rq_complete.inc();
        }
        if self.manager.access_log.is_empty() {
            return;
        }
        let mut record = record(self, exchange);
        record.kind = Kind::DownstreamEnd;
        record.bytes = downstream.body_bytes();
        record.wire = downstream.wire();
        record.times.total = exchange.info.start.map(|start| clock::now().duration_since(start));
        for log in &self.manager.access_log {
            log.log(&record, &self.worker);
        }
    }
}

/// What is known so far.
fn record<'a>(session: &'a Session, exchange: &'a Exchange) -> Record<'a> {
    let (info, connection) = (&exchange.info, &session.connection);
    let since = |at: Option<Instant>| Some(at?.duration_since(info.start?));
    Record {
        // A head that was refused has no method.
        request: Some(&exchange.request).filter(|head| !head.method().is_empty()),
        response: Some(&exchange.response).filter(|head| head.status != 0),
        trailers: info.trailers.as_deref(),
        protocol: Some(info.protocol),
        status: info.status,
        flags: info.flags,
        details: &info.details,
        termination: "",
        transport_failure: &info.transport_failure,
        bytes: (0, 0),
        start: session.worker.clock.time(info.start.unwrap_or_else(clock::now)),
        times: Times {
            total: None,
            // A request that was over with its head, and that nobody forwarded.
            request: since(info.request_end)
                .or_else(|| (exchange.request.body == BodyLength::None).then_some(Duration::ZERO)),
            response: since(info.upstream_response),
            request_sent: since(info.upstream_request_end),
        },
        route: info.route.as_ref().map_or("", |route| &route.name),
        detected: connection.detected.name(),
        pipe: connection.pipe(),
        cluster: info.cluster.as_ref().map(|state| (&*state.cluster.name, &*state.cluster.stat_name)),
        upstream: info.cluster.as_ref().map(|state| &*state.cluster),
        endpoint: info.endpoint.as_deref(),
        upstream_local: info.upstream_local,
        local: connection.local,
        remote: info.client,
        direct_remote: connection.direct_remote,
        server_name: connection.server_name.as_deref().unwrap_or(""),
        connection: connection.id,
        attempts: info.attempts,
        outcome: None,
        downstream: Some(connection),
        wire: Wire::default(),
        upstream_wire: info.upstream_wire,
        kind: Kind::NotSet,
        info: Some(info),
    }
}

/// A header value with Envoy's operators, for this exchange.
pub(super) fn render(format: &Format, session: &Session, exchange: &Exchange) -> Vec<u8> {
    if let Some(text) = format.literal() {
        return text.as_bytes().to_vec();
    }
    let mut value = Vec::new();
    format.write(&mut value, &record(session, exchange));
    value
}
