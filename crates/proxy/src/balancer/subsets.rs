//! Which subset of a cluster's hosts a request is for, and what it gets where there is none.
//!
//! [`crate::upstream::cluster::ClusterState`] asks once per try, where the cluster has subsets; the balancer then picks
//! within. Invariant: Envoy's order of fallbacks: those of the request, of the selector, of the cluster, panic.

use std::sync::Arc;

use crate::{
    cluster::{
        Endpoint, EndpointSet,
        endpoints::subsets::{SelectorFallback, Subsets},
        metadata::{Criteria, Fields},
    },
    stats::groups::ClusterStats,
};

/// Picks within a subset of that number.
pub type Pick<'a> = dyn FnMut(u32, &EndpointSet) -> Option<Arc<Endpoint>> + 'a;

/// A host for a request that asks for these.
pub fn choose(
    subsets: &Subsets,
    asked: Option<&Criteria>,
    stats: &ClusterStats,
    pick: &mut Pick<'_>,
) -> Option<Arc<Endpoint>> {
    let fallbacks = asked.and_then(|asked| asked.fallbacks.as_ref());
    match fallbacks.filter(|_| subsets.settings().heeds_fallback_list) {
        Some((rest, list)) if list.is_empty() => once(subsets, Some(rest), stats, pick),
        Some((_, list)) => list.iter().find_map(|instead| once(subsets, Some(instead), stats, pick)),
        None => once(subsets, asked.map(|asked| &asked.fields), stats, pick),
    }
}

fn once(
    subsets: &Subsets,
    asked: Option<&Fields>,
    stats: &ClusterStats,
    pick: &mut Pick<'_>,
) -> Option<Arc<Endpoint>> {
    if let Some(asked) = asked {
        if let Some(at) = subsets.find(asked) {
            stats.lb_subsets_selected.inc();
            return pick(at, subsets.set(at)?);
        }
        match subsets.fallback_of(asked) {
            Some(SelectorFallback::Like(fallback)) => {
                let at = subsets.fallback(*fallback)?;
                return pick(at, subsets.set(at)?);
            }
            // Fewer keys each time: it ends.
            Some(SelectorFallback::Keys(keys)) => {
                return once(subsets, Some(&asked.only(keys)), stats, pick);
            }
            None => {}
        }
    }
    let settings = subsets.settings();
    let at = subsets.fallback(settings.fallback)?;
    if let Some(host) = subsets.set(at).and_then(|set| pick(at, set)) {
        stats.lb_subsets_fallback.inc();
        return Some(host);
    }
    if !settings.panic_any {
        return None;
    }
    let at = subsets.fallback(crate::cluster::endpoints::subsets::Fallback::Any)?;
    let host = subsets.set(at).and_then(|set| pick(at, set))?;
    stats.lb_subsets_fallback_panic.inc();
    Some(host)
}

#[cfg(test)]
mod tests;
