//! Picking among the subsets of a cluster's hosts on one worker.
//!
//! [`super::cluster::ClusterState`] keeps the state of clusters that have subsets. Invariant: a balancer belongs to one subset of
//! the endpoint set that is noted.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::{
    balancer::Balancer,
    cluster::{EndpointSet, endpoints::subsets::Subsets},
    stats::groups::ClusterStats,
};

/// Picking among subsets: a balancer for each that was asked for.
#[derive(Debug, Default)]
pub(super) struct Picking {
    /// What the balancers were made for.
    set: Option<Arc<EndpointSet>>,
    pub(super) balancers: FxHashMap<u32, Balancer>,
}

impl Picking {
    /// Begins anew with other hosts, and counts which subsets came and went.
    pub(super) fn follow(&mut self, set: &Arc<EndpointSet>, stats: &ClusterStats) {
        if self.set.as_ref().is_some_and(|known| known.version == set.version) {
            return;
        }
        self.balancers.clear();
        let before = self.set.replace(set.clone());
        let before = before.as_ref().and_then(|set| set.subsets.as_deref());
        let now = set.subsets.as_deref();
        let count = |of: Option<&Subsets>, without: Option<&Subsets>| {
            let keys = of.into_iter().flat_map(Subsets::keys);
            keys.filter(|key| without.is_none_or(|others| !others.has(*key))).count() as u64
        };
        stats.lb_subsets_created.add(count(now, before));
        stats.lb_subsets_removed.add(count(before, now));
    }
}
