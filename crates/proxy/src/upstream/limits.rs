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
    cluster::ClusterSlot,
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
    /// A connection that is established: counted as active until then.
    connection: Option<Box<Established>>,
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
    /// Takes a unit unless `limit` are in use already.
    #[inline]
    pub fn take(slot: &Arc<ClusterSlot>, resource: Resource, limit: u32) -> Option<Self> {
        let count = &slot.in_use.counts[resource as usize];
        // Two workers may pass the limit together by one each, as in Envoy.
        if count.load(Ordering::Relaxed) >= limit {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        Some(Self { slot: slot.clone(), resource, connection: None })
    }

    /// Takes a unit whatever the limit: a pool always has one connection, lest those who wait for one wait for ever.
    pub fn force(slot: &Arc<ClusterSlot>, resource: Resource) -> Self {
        slot.in_use.counts[resource as usize].fetch_add(1, Ordering::Relaxed);
        Self { slot: slot.clone(), resource, connection: None }
    }

    /// Counts an established connection, of a pool or not, for as long as the permit is held.
    pub fn connected(&mut self, stats: &Arc<ClusterStats>, opened: Option<Opened>) {
        stats.upstream_cx_active.inc();
        let (busy, remote) = (Cell::new(false), Cell::new(false));
        let (stats, since) = (stats.clone(), clock::now());
        self.connection = Some(Box::new(Established { stats, since, busy, remote, _opened: opened }));
    }

    /// A request has come onto the connection, or has left it.
    pub fn set_busy(&self, busy: bool) {
        if let Some(connection) = &self.connection {
            connection.busy.set(busy);
        }
    }

    /// Should the connection end now, it was the endpoint that ended it.
    pub fn closed_by_peer(&self) {
        if let Some(connection) = &self.connection {
            connection.remote.set(true);
        }
    }

    /// The connection ends because nobody used it.
    pub fn timed_out(&self) {
        if let Some(connection) = &self.connection {
            connection.stats.upstream_cx_idle_timeout.inc();
        }
    }

    /// The connection ends because it is old.
    pub fn aged(&self) {
        if let Some(connection) = &self.connection {
            connection.stats.upstream_cx_max_duration_reached.inc();
        }
    }

    /// Counts the connection's bytes.
    pub fn meter(&self) -> Meter {
        self.connection.as_ref().map_or(Meter::None, |connection| Meter::Upstream(connection.stats.clone()))
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
        if let Some(connection) = &self.connection {
            connection.ended();
        }
        // Before the connection's pool learns that it may make another.
        self.slot.in_use.counts[self.resource as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
