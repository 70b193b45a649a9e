//! Circuit breakers: what a cluster has in use, over all workers, against its thresholds.
//!
//! [`crate::cluster::ClusterSlot`] owns one [`InUse`]; the router and the pools hold [`Permit`]s of it.
//! Invariant: a count goes down exactly once for each time it went up, because only a permit counts.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{cluster::ClusterSlot, stats::groups::ClusterStats};

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
    connection: Option<Arc<ClusterStats>>,
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

    /// Counts an established connection for as long as the permit is held.
    pub fn connected(&mut self, stats: &Arc<ClusterStats>) {
        stats.upstream_cx_active.inc();
        self.connection = Some(stats.clone());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(stats) = &self.connection {
            stats.upstream_cx_active.dec();
            stats.upstream_cx_destroy.inc();
        }
        self.slot.in_use.counts[self.resource as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
