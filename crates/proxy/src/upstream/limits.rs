//! Circuit breakers: what a cluster has in use, over all workers, against its thresholds.
//!
//! [`crate::cluster::ClusterSlot`] owns one [`InUse`]; the router and the pools hold [`Permit`]s of it.
//! Invariant: a count goes down exactly once for each time it went up, because only a permit counts.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use crate::{
    cluster::{ClusterSlot, Endpoint, Limits},
    http::clock,
    stats::{Meter, groups::ClusterStats},
    upstream::queue::Opened,
};

/// What is in use of each limited resource.
#[derive(Debug, Default)]
pub struct InUse {
    counts: [AtomicU32; 4],
}

/// A resource with a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `max_connections`.
    Connections,
    /// `max_pending_requests`.
    Pending,
    /// `max_requests`.
    Requests,
    /// `max_retries`.
    Retries,
}

impl InUse {
    /// How much is in use.
    pub fn get(&self, resource: Resource) -> u32 {
        self.counts[resource as usize].load(Ordering::Relaxed)
    }
}

/// One unit of a resource; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    slot: Arc<ClusterSlot>,
    resource: Resource,
    /// Of priority HIGH.
    high: bool,
    /// Of connections; in a box, for most permits are of something else and all should be small.
    connection: Option<Box<Connection>>,
}

/// What more is known of a connection.
#[derive(Debug)]
struct Connection {
    /// That it is counted for.
    endpoint: Arc<Endpoint>,
    /// Since when it counts as active.
    established: Option<Established>,
}

/// A connection's statistics, and how it will have ended.
#[derive(Debug)]
struct Established {
    stats: Arc<ClusterStats>,
    since: Instant,
    /// A request is on it.
    busy: Cell<bool>,
    /// The endpoint ended it, not we.
    remote: Cell<bool>,
    /// The pool that it counts for.
    _opened: Option<Opened>,
}

impl Permit {
    /// Takes a unit of a priority unless `limit` are in use already.
    #[inline]
    pub fn take(slot: &Arc<ClusterSlot>, high: bool, resource: Resource, limit: u32) -> Option<Self> {
        let count = &slot.in_use_at(high).counts[resource as usize];
        // Two workers may pass the limit together by one each, as in Envoy.
        if count.load(Ordering::Relaxed) >= limit {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        Some(Self { slot: slot.clone(), resource, high, connection: None })
    }

    /// A connection to an endpoint, unless it or the cluster has as many as it may.
    pub fn connection(
        slot: &Arc<ClusterSlot>,
        high: bool,
        endpoint: &Arc<Endpoint>,
        limits: &Limits,
    ) -> Option<Self> {
        if endpoint.connections() >= limits.per_host {
            return None;
        }
        Self::take(slot, high, Resource::Connections, limits.connections).map(|permit| permit.to(endpoint))
    }

    /// A connection whatever the limits: a pool always has one, lest those who wait for one wait for ever.
    pub fn force(slot: &Arc<ClusterSlot>, high: bool, endpoint: &Arc<Endpoint>) -> Self {
        let resource = Resource::Connections;
        slot.in_use_at(high).counts[resource as usize].fetch_add(1, Ordering::Relaxed);
        Self { slot: slot.clone(), resource, high, connection: None }.to(endpoint)
    }

    fn to(mut self, endpoint: &Arc<Endpoint>) -> Self {
        endpoint.connect();
        self.connection = Some(Box::new(Connection { endpoint: endpoint.clone(), established: None }));
        self
    }

    /// Counts an established connection, of a pool or not, for as long as the permit is held.
    pub fn connected(&mut self, stats: &Arc<ClusterStats>, opened: Option<Opened>) {
        let Some(connection) = &mut self.connection else { return };
        stats.upstream_cx_active.inc();
        let (busy, remote) = (Cell::new(false), Cell::new(false));
        let (stats, since) = (stats.clone(), clock::now());
        connection.established = Some(Established { stats, since, busy, remote, _opened: opened });
    }

    fn established(&self) -> Option<&Established> {
        self.connection.as_ref()?.established.as_ref()
    }

    /// A request has come onto the connection, or has left it.
    pub fn set_busy(&self, busy: bool) {
        if let Some(connection) = self.established() {
            connection.busy.set(busy);
        }
    }

    /// Should the connection end now, it was the endpoint that ended it.
    pub fn closed_by_peer(&self) {
        if let Some(connection) = self.established() {
            connection.remote.set(true);
        }
    }

    /// The connection ends because nobody used it.
    pub fn timed_out(&self) {
        if let Some(connection) = self.established() {
            connection.stats.upstream_cx_idle_timeout.inc();
        }
    }

    /// The connection ends because it is old.
    pub fn aged(&self) {
        if let Some(connection) = self.established() {
            connection.stats.upstream_cx_max_duration_reached.inc();
        }
    }

    /// Counts the connection's bytes.
    pub fn meter(&self) -> Meter {
        self.established().map_or(Meter::None, |connection| Meter::Upstream(connection.stats.clone()))
    }
}

impl Established {
    fn ended(&self) {
        let stats = &self.stats;
        stats.upstream_cx_active.dec();
        stats.upstream_cx_destroy.inc();
        stats.upstream_cx_length_ms.record(clock::now().duration_since(self.since).as_millis() as u64);
        let (all, busy) = match self.remote.get() {
            true => (&stats.upstream_cx_destroy_remote, &stats.upstream_cx_destroy_remote_with_active_rq),
            false => (&stats.upstream_cx_destroy_local, &stats.upstream_cx_destroy_local_with_active_rq),
        };
        all.inc();
        if self.busy.get() {
            stats.upstream_cx_destroy_with_active_rq.inc();
            busy.inc();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(connection) = self.established() {
            connection.ended();
        }
        // Before the connection's pool learns that it may make another.
        self.slot.in_use_at(self.high).counts[self.resource as usize].fetch_sub(1, Ordering::Relaxed);
        if let Some(connection) = &self.connection {
            connection.endpoint.disconnect();
        }
    }
}
