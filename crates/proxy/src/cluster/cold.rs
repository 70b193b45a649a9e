//! The endpoints of a cluster, laid out when a worker first asks for them.
//!
//! Most clusters that a proxy knows are never used by it: until then their load assignment stays in the bytes that came.
//! Written by `xds::plane`, read by the workers. Invariant: a set that is handed out is laid out, and the lock-free
//! swap that lays it out never overwrites a newer one.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;

use super::endpoints::{EndpointSet, Layout};
use crate::xds::endpoint;

/// A cluster's current endpoints.
#[derive(Debug)]
pub struct Endpoints {
    set: ArcSwap<EndpointSet>,
    /// Held while a next set is made from the current one.
    changing: Mutex<()>,
}

/// A load assignment nobody has asked for yet.
#[derive(Debug)]
pub struct Cold {
    /// `ClusterLoadAssignment`, known to be valid.
    body: Bytes,
    layout: Layout,
    counts: Counts,
}

/// How many endpoints there are, for statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: u32,
    /// Healthy ones.
    pub healthy: u32,
}

impl Cold {
    /// A valid assignment, with how its set is to be laid out.
    pub fn new(body: Bytes, layout: Layout, counts: Counts) -> Self {
        Self { body, layout, counts }
    }
}

impl From<EndpointSet> for Endpoints {
    fn from(set: EndpointSet) -> Self {
        Self::new(Arc::new(set))
    }
}

impl Endpoints {
    /// Endpoints that begin with a set.
    pub fn new(set: Arc<EndpointSet>) -> Self {
        Self { set: ArcSwap::new(set), changing: Mutex::default() }
    }

    /// The current set.
    #[inline]
    pub fn load(&self) -> Guard<Arc<EndpointSet>> {
        let set = self.set.load();
        if set.cold.is_none() { set } else { self.warm(set) }
    }

    /// The current set, to keep.
    pub fn load_full(&self) -> Arc<EndpointSet> {
        Guard::into_inner(self.load())
    }

    /// The current set for someone who looks at every cluster: what is cold stays so.
    pub fn peek(&self) -> Arc<EndpointSet> {
        let set = self.set.load_full();
        if set.cold.is_none() { set } else { Arc::new(set.laid_out()) }
    }

    /// What the next set is built from: the current one, or an empty one of its age while nobody has used it.
    pub(crate) fn before(&self) -> Arc<EndpointSet> {
        let set = self.set.load_full();
        if set.cold.is_none() {
            set
        } else {
            Arc::new(EndpointSet { version: set.version, ..EndpointSet::default() })
        }
    }

    /// True while nobody has asked for the endpoints.
    pub fn is_cold(&self) -> bool {
        self.set.load().cold.is_some()
    }

    /// Number of endpoints, without laying them out.
    pub fn counts(&self) -> Counts {
        let set = self.set.load();
        match &set.cold {
            Some(cold) => cold.counts,
            None => set.counts(),
        }
    }

    /// Puts the set in force that `next` makes, while nobody else makes one.
    pub fn change(&self, next: impl FnOnce() -> Arc<EndpointSet>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.set.store(next());
    }

    /// Lays the current hosts out again after the health of some has changed. What is cold stays so.
    pub fn refresh(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.set.load_full();
        if set.cold.is_none() {
            self.set.store(Arc::new(set.refreshed()));
        }
    }

    /// Puts a new set in force.
    pub fn store(&self, set: Arc<EndpointSet>) {
        self.set.store(set);
    }

    #[cold]
    fn warm(&self, cold: Guard<Arc<EndpointSet>>) -> Guard<Arc<EndpointSet>> {
        let mut cold = cold;
        loop {
            // A newer set, or one that another worker laid out, wins.
            self.set.compare_and_swap(&*cold, Arc::new(cold.laid_out()));
            let now = self.set.load();
            if now.cold.is_none() {
                return now;
            }
            cold = now;
        }
    }
}

impl EndpointSet {
    /// A set that is laid out when it is first asked for.
    pub fn cold(cold: Cold, old: &Self) -> Self {
        Self { version: old.version + 1, cold: Some(Box::new(cold)), ..Self::default() }
    }

    fn laid_out(&self) -> Self {
        let empty = Self { version: self.version, ..Self::default() };
        let Some(cold) = &self.cold else { return empty };
        match endpoint::hosts(&cold.body) {
            Ok(hosts) => Self::build(&hosts, cold.layout.clone(), &empty),
            Err(error) => {
                // Whoever made it cold has seen it decode.
                tracing::error!(%error, "a load assignment cannot be read again");
                Self { version: self.version + 1, ..Self::default() }
            }
        }
    }

    /// Number of endpoints.
    fn counts(&self) -> Counts {
        let (mut total, mut healthy) = (0, 0);
        for endpoint in self.iter() {
            total += 1;
            healthy += u32::from(endpoint.health() == super::Health::Healthy);
        }
        Counts { total, healthy }
    }
}

#[cfg(test)]
mod tests {
    use meltemi_xds::json;

    use super::*;
    use crate::cluster::Address;

    fn assignment(ports: &[u16]) -> Bytes {
        let host = |port: &u16| {
            format!(
                "{{endpoint: {{address: {{socket_address: {{address: 10.0.0.1, port_value: {port}}}}}}}}}"
            )
        };
        let hosts: Vec<_> = ports.iter().map(host).collect();
        let text = format!("{{cluster_name: c, endpoints: [{{lb_endpoints: [{}]}}]}}", hosts.join(", "));
        json::wire_from_text("envoy.config.endpoint.v3.ClusterLoadAssignment", &text).unwrap().into()
    }

    fn cold(ports: &[u16], old: &EndpointSet) -> EndpointSet {
        let counts = Counts { total: ports.len() as u32, healthy: ports.len() as u32 };
        EndpointSet::cold(Cold::new(assignment(ports), Layout::default(), counts), old)
    }

    #[test]
    fn laid_out_at_the_first_use_and_kept() {
        let endpoints = Endpoints::from(cold(&[80, 81], &EndpointSet::default()));
        assert!(endpoints.is_cold());
        assert_eq!(endpoints.counts(), Counts { total: 2, healthy: 2 });
        assert_eq!(endpoints.peek().iter().count(), 2);
        assert!(endpoints.is_cold(), "looking does not warm");
        let first = endpoints.load_full();
        assert!(!endpoints.is_cold());
        let addresses: Vec<_> = first.iter().map(|endpoint| endpoint.address.clone()).collect();
        let at = |port| Address::Socket(([10, 0, 0, 1], port).into());
        assert_eq!(addresses, [at(80), at(81)]);
        assert!(Arc::ptr_eq(&first, &endpoints.load_full()));
        assert_eq!(endpoints.counts(), Counts { total: 2, healthy: 2 });
    }

    #[test]
    fn versions_grow_whatever_the_temperature() {
        let endpoints = Endpoints::from(cold(&[80], &EndpointSet::default()));
        let first = endpoints.load_full().version;
        endpoints.store(Arc::new(cold(&[80, 81], &endpoints.before())));
        assert!(endpoints.load().version > first);
    }
}
