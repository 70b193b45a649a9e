//! Which localities get how much (SEM-064…SEM-067): shares as `distribute` says, or priorities by closeness or by labels.
//!
//! Pure: what it knows of the client is its locality and its labels.

use std::borrow::Cow;
use std::collections::BTreeMap;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::destination_rule::{
    LoadBalancerSettings, LocalityDistribute, LocalityFailover, LocalityLoadBalancerSetting,
    ZoneAwareLoadBalancerSetting,
};
use meltemi_config::{Labels, Str};

use crate::model::endpoint::{Endpoint, Locality};
use crate::registry::Workload;
use crate::shared::Shared;

/// The client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    /// `region/zone/subzone`.
    pub(super) locality: &'a str,
    pub(super) labels: &'a Labels,
    /// Whether its proxy prefers its zone by itself.
    pub(super) prefers_zone: bool,
}

/// An endpoint and the workload it belongs to.
pub(super) type Placed<'a> = (Shared<Endpoint>, &'a Workload);

/// The mesh's settings where it says nothing: on, which matters as soon as endpoints are put aside (SEM-064).
static MESH: LocalityLoadBalancerSetting = LocalityLoadBalancerSetting {
    distribute: Vec::new(),
    failover: Vec::new(),
    failover_priority: Vec::new(),
    enabled: Some(true),
};

/// The settings that hold: the rule's wholly, else the mesh's, of each those for zones first (SEM-066); `None` when they are off.
pub(super) fn settings<'a>(
    rule: Option<&'a LoadBalancerSettings>,
    mesh: &'a MeshConfig,
) -> Option<Cow<'a, LocalityLoadBalancerSetting>> {
    if let Some(zones) = zone_aware(rule, mesh) {
        return Some(Cow::Owned(LocalityLoadBalancerSetting {
            distribute: Vec::new(),
            failover: zones.failover.clone(),
            failover_priority: zones.failover_priority.clone(),
            enabled: Some(true),
        }));
    }
    let own = rule.and_then(|balancer| balancer.locality_lb_setting.as_ref());
    let settings = own.or(mesh.locality_lb_setting.as_ref()).unwrap_or(&MESH);
    Some(Cow::Borrowed(settings)).filter(|settings| settings.enabled != Some(false))
}

/// Settings by which the proxy itself prefers its zone, if they hold.
pub(super) fn zone_aware<'a>(
    rule: Option<&'a LoadBalancerSettings>,
    mesh: &'a MeshConfig,
) -> Option<&'a ZoneAwareLoadBalancerSetting> {
    let own = rule.and_then(|balancer| balancer.zone_aware_lb_setting.as_ref());
    let by_locality = rule.is_some_and(|balancer| balancer.locality_lb_setting.is_some());
    let of_mesh = mesh.zone_aware_lb_setting.as_ref().filter(|_| !by_locality);
    own.or(of_mesh).filter(|settings| settings.enabled != Some(false))
}

/// Endpoints by locality and priority. `failover`: endpoints are put aside, without which nothing would ever move on; it
/// counts even where nobody set anything (SEM-064).
pub(super) fn arrange(
    endpoints: Vec<Placed<'_>>,
    settings: Option<&LocalityLoadBalancerSetting>,
    failover: bool,
    client: Client<'_>,
) -> Vec<Locality> {
    let labels = settings.filter(|_| failover).map_or(&[][..], |settings| &settings.failover_priority);
    let distributes = settings.is_some_and(|settings| !settings.distribute.is_empty());
    let labels = if distributes { &[][..] } else { labels };
    let mut groups: BTreeMap<(Str, u32), Vec<Shared<Endpoint>>> = BTreeMap::new();
    for (endpoint, workload) in endpoints {
        let priority = label_priority(labels, workload, client);
        groups.entry((workload.locality.clone(), priority)).or_default().push(endpoint);
    }
    let locality = |((locality, priority), endpoints): ((Str, u32), Vec<Shared<Endpoint>>)| Locality {
        locality,
        priority,
        weight: endpoints.iter().fold(0u32, |sum, endpoint| sum.saturating_add(endpoint.weight)),
        endpoints,
    };
    let mut localities: Vec<Locality> = groups.into_iter().map(locality).collect();
    let Some(settings) = settings else { return localities };
    if distributes {
        distribute(&mut localities, &settings.distribute, client.locality);
    } else if failover {
        if labels.is_empty() || !settings.failover.is_empty() {
            by_closeness(&mut localities, &settings.failover, client);
        }
        compact(&mut localities);
    }
    localities
}

/// Shares of the first entry that is for the client; what it does not name gets nothing.
fn distribute(localities: &mut Vec<Locality>, entries: &[LocalityDistribute], client: &str) {
    let Some(entry) = entries.iter().find(|entry| covers(&entry.from, client)) else { return };
    let mut given = vec![false; localities.len()];
    for (pattern, share) in &entry.to {
        let covered: Vec<usize> = (0..localities.len())
            .filter(|at| !given[*at] && covers(pattern, &localities[*at].locality))
            .collect();
        let total: u64 = covered.iter().map(|at| u64::from(localities[*at].weight.max(1))).sum();
        for at in covered {
            given[at] = true;
            let part = u64::from(localities[at].weight.max(1)) * u64::from(*share);
            localities[at].weight = u32::try_from(part.div_ceil(total.max(1))).unwrap_or(u32::MAX);
        }
    }
    let mut given = given.into_iter();
    localities.retain(|locality| given.next().unwrap_or(false) && locality.weight > 0);
}

/// Adds to each priority: 0 the same subzone, 1 zone, 2 region, 3 elsewhere, 4 elsewhere but not where `failover` says.
/// A proxy that prefers its zone itself wants one priority for all of its region.
fn by_closeness(localities: &mut [Locality], failover: &[LocalityFailover], client: Client<'_>) {
    let own = parts(client.locality);
    let to = failover.iter().find(|entry| &*entry.from == own[0]).map(|entry| &*entry.to);
    for locality in localities {
        let other = parts(&locality.locality);
        let same = own.iter().zip(other).take_while(|(a, b)| **a == *b).count();
        let distance = match (same, to) {
            (1.., _) if client.prefers_zone => 0,
            (3, _) => 0,
            (2, _) => 1,
            (1, _) => 2,
            (_, Some(region)) if other[0] != region => 4,
            _ => 3,
        };
        locality.priority = locality.priority * 5 + distance;
    }
}

/// Priorities without gaps.
fn compact(localities: &mut [Locality]) {
    let mut used: Vec<u32> = localities.iter().map(|locality| locality.priority).collect();
    used.sort_unstable();
    used.dedup();
    for locality in localities {
        let at = used.iter().position(|priority| *priority == locality.priority).unwrap_or(0);
        locality.priority = u32::try_from(at).unwrap_or(u32::MAX);
    }
}

/// The first label that differs decides: the earlier, the farther. `label=value` compares with that value.
fn label_priority(labels: &[Str], workload: &Workload, client: Client<'_>) -> u32 {
    let differs = |label: &Str| {
        let (name, wanted) = match label.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&**label, label_of(client.labels, client.locality, label)),
        };
        wanted.unwrap_or_default() != label_of(&workload.labels, &workload.locality, name).unwrap_or_default()
    };
    let first = labels.iter().position(differs);
    first.map_or(0, |at| u32::try_from(labels.len() - at).unwrap_or(u32::MAX))
}

/// A label, be it of the workload or of the place it is at.
fn label_of<'a>(labels: &'a Labels, locality: &'a str, name: &str) -> Option<&'a str> {
    let [region, zone, subzone] = parts(locality);
    let of_place = match name {
        "topology.kubernetes.io/region" => Some(region),
        "topology.kubernetes.io/zone" => Some(zone),
        "topology.istio.io/subzone" => Some(subzone),
        _ => None,
    };
    labels.get(name).map(|value| &**value).or(of_place)
}

fn parts(locality: &str) -> [&str; 3] {
    let mut parts = locality.splitn(3, '/');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// `*`, `region/*`, `region/zone/*`; what is left out at the end is any.
fn covers(pattern: &str, locality: &str) -> bool {
    let ([region, zone, subzone], own) = (parts(pattern), parts(locality));
    let part = |pattern: &str, own: &str| pattern.is_empty() || pattern == "*" || pattern == own;
    (region == "*" || region == own[0]) && part(zone, own[1]) && part(subzone, own[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_localities() {
        for (pattern, locality, wanted) in [
            ("*", "r/z/s", true),
            ("r/*", "r/z/s", true),
            ("r", "r/z/s", true),
            ("r/z", "r/y/s", false),
            ("r/z/*", "r/z/s", true),
            ("r/z/s", "r/z/t", false),
            ("q/*", "r/z/s", false),
        ] {
            assert_eq!(covers(pattern, locality), wanted, "{pattern} {locality}");
        }
    }
}
