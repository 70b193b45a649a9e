//! What one request and one connection add to the groups.
//!
//! The connection manager and the router call these at a request's few turning points; everything that can be read
//! from the exchange is counted there, in [`answered`] and [`finished`].
//! Invariant: what goes up comes down, because guards count, however a task ends.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Gauge, Meter, groups::HttpStats};
use crate::{
    error::Flags,
    http::{clock, connection_manager::Info, message::Protocol},
};

/// Holds a gauge up by one.
#[derive(Debug)]
pub struct Held<'a>(&'a Gauge);

impl<'a> Held<'a> {
    /// Up, until it is dropped.
    pub fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a downstream HTTP connection for as long as it is held.
#[derive(Debug)]
pub struct HttpConnection {
    stats: Arc<HttpStats>,
    since: Instant,
    protocol: Cell<Option<Protocol>>,
    /// We ended it, not the client.
    local: Cell<bool>,
    /// It ended within a request.
    cut: Cell<bool>,
}

impl HttpConnection {
    /// A connection was accepted.
    pub fn new(stats: Arc<HttpStats>) -> Self {
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        Self {
            stats,
            since: clock::now(),
            protocol: Cell::new(None),
            local: Cell::new(false),
            cut: Cell::new(false),
        }
    }

    /// Its group.
    pub fn stats(&self) -> &HttpStats {
        &self.stats
    }

    /// What it speaks has become known.
    pub fn speaks(&self, protocol: Protocol) {
        let stats = &self.stats;
        let (total, active) = match protocol {
            Protocol::Http2 => (&stats.downstream_cx_http2_total, &stats.downstream_cx_http2_active),
            _ => (&stats.downstream_cx_http1_total, &stats.downstream_cx_http1_active),
        };
        total.inc();
        active.inc();
        self.protocol.set(Some(protocol));
    }

    /// It is we who end it.
    pub fn ends_here(&self) {
        self.local.set(true);
    }

    /// It ends within a request, by our doing (`local`) or the client's.
    pub fn is_cut(&self, local: bool) {
        // A stream of HTTP/2 takes nothing along.
        if self.protocol.get() != Some(Protocol::Http2) {
            self.cut.set(true);
            self.local.set(local);
        }
    }

    /// Counts its bytes.
    pub fn meter(&self) -> Meter {
        Meter::Downstream(self.stats.clone())
    }

    /// A request has begun.
    pub fn begin(&self, protocol: Protocol) -> Held<'_> {
        let stats = &self.stats;
        stats.downstream_rq_total.inc();
        match protocol {
            Protocol::Http2 => stats.downstream_rq_http2_total.inc(),
            _ => stats.downstream_rq_http1_total.inc(),
        }
        Held::new(&stats.downstream_rq_active)
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        let stats = &self.stats;
        stats.downstream_cx_destroy.inc();
        let (all, cut) = match self.local.get() {
            true => (&stats.downstream_cx_destroy_local, &stats.downstream_cx_destroy_local_active_rq),
            false => (&stats.downstream_cx_destroy_remote, &stats.downstream_cx_destroy_remote_active_rq),
        };
        all.inc();
        if self.cut.get() {
            stats.downstream_cx_destroy_active_rq.inc();
            cut.inc();
        }
        stats.downstream_cx_active.dec();
        match self.protocol.get() {
            Some(Protocol::Http2) => stats.downstream_cx_http2_active.dec(),
            Some(_) => stats.downstream_cx_http1_active.dec(),
            None => {}
        }
        stats.downstream_cx_length_ms.record(millis(clock::now().duration_since(self.since)));
    }
}

/// Counts an answer, at its connection manager, its cluster and its route, before its head is sent: as with Envoy,
/// whoever has read an answer finds it counted.
pub fn answered(stats: &HttpStats, info: &mut Info) {
    let status = info.status;
    stats.downstream_rq.inc(status);
    if let Some(cluster) = &info.cluster {
        let responses = &cluster.responses;
        let responses = if info.internal { &responses.internal } else { &responses.external };
        responses.upstream_rq.inc(status);
    }
    for stats in &info.route_stats {
        stats.responses.upstream_rq.inc(status);
    }
    if info.details != "via_upstream" {
        answered_here(stats, info);
    }
    if !info.flags.is_empty() {
        troubles(stats, info);
    }
}

/// Counts what is known when a request is over: times, and what befell it after its answer had begun.
pub fn finished(stats: &HttpStats, info: &mut Info) {
    if let Some(start) = info.start {
        stats.downstream_rq_time.record(millis(clock::now().duration_since(start)));
    }
    // What got past the filters and as far as the router.
    if (info.route.is_some() || info.flags.has(Flags::NO_ROUTE)) && !info.flags.has(Flags::FAULT_INJECTED) {
        stats.rq_total.inc();
    }
    if !info.flags.is_empty() {
        troubles(stats, info);
    }
    let Some(cluster) = &info.cluster else { return };
    let Some((sent, end)) = info.upstream_start.zip(info.upstream_end) else { return };
    let time = millis(end.saturating_duration_since(sent));
    let responses = &cluster.responses;
    let responses = if info.internal { &responses.internal } else { &responses.external };
    responses.upstream_rq_time.record(time);
    for stats in &info.route_stats {
        stats.responses.upstream_rq_time.record(time);
    }
}

/// Counts what flags tell, each flag once.
#[cold]
fn troubles(stats: &HttpStats, info: &mut Info) {
    let new = info.flags.without(info.counted);
    info.counted = info.flags;
    for (flag, counter) in [
        (Flags::NO_ROUTE, &stats.no_route),
        (Flags::NO_CLUSTER, &stats.no_cluster),
        (Flags::STREAM_IDLE_TIMEOUT, &stats.downstream_rq_idle_timeout),
        (Flags::STREAM_TOO_LONG, &stats.downstream_rq_max_duration_reached),
        (Flags::DOWNSTREAM_REMOTE_RESET, &stats.downstream_rq_rx_reset),
        (Flags::DOWNSTREAM_PROTOCOL_ERROR, &stats.downstream_cx_protocol_error),
    ] {
        if new.has(flag) {
            counter.inc();
        }
    }
    let Some(cluster) = &info.cluster else { return };
    let stats = &cluster.stats;
    for (flag, counter) in [
        (Flags::UPSTREAM_REQUEST_TIMEOUT, &stats.upstream_rq_timeout),
        (Flags::NO_HEALTHY_UPSTREAM, &stats.upstream_cx_none_healthy),
        (Flags::UPSTREAM_REMOTE_RESET, &stats.upstream_rq_rx_reset),
        (Flags::UPSTREAM_PROTOCOL_ERROR, &stats.upstream_cx_protocol_error),
    ] {
        if new.has(flag) {
            counter.inc();
        }
    }
}

/// Counts why an answer is ours.
#[cold]
fn answered_here(stats: &HttpStats, info: &Info) {
    match &*info.details {
        // Redirects too; `rq_redirect` stays at zero in Envoy as well.
        "direct_response" => stats.rq_direct_response.inc(),
        "request_header_timeout" => stats.downstream_rq_header_timeout.inc(),
        "request_overall_timeout" => stats.downstream_rq_timeout.inc(),
        "path_normalization_failed" if info.status == 307 => {
            stats.downstream_rq_redirected_with_normalized_path.inc();
        }
        "upgrade_failed" => stats.downstream_rq_ws_on_non_ws_route.inc(),
        "path_normalization_failed" => stats.downstream_rq_failed_path_normalization.inc(),
        _ => {}
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
