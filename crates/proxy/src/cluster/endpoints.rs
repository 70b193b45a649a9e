//! The endpoints of a cluster at one moment, with all that picking needs worked out beforehand: which priority gets how
//! much traffic, which hosts are usable, whether panic makes them all so.
//!
//! Built off the request path by EDS, DNS and static load assignments; read by [`crate::balancer`].
//! Invariant: an endpoint whose address stays keeps its `Arc` from set to set.
//!
//! Envoy's rules: <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority>.

pub mod subsets;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use self::subsets::Subsets;
use super::{Address, Consistent, Endpoint, Health, Locality, cold::Cold, health::CheckAt, metadata::Fields};
use crate::balancer::consistent::Table;

/// All endpoints with their shares.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Grows with every change of the set; workers compare it to refresh their balancer state.
    pub version: u64,
    /// By priority.
    pub priorities: Vec<Priority>,
    /// How it was laid out.
    pub layout: Layout,
    /// Of its hosts, where the cluster has any.
    pub subsets: Option<Box<Subsets>>,
    /// Not laid out yet: nobody asked for these endpoints. [`super::Endpoints`] never hands such a set out.
    pub(super) cold: Option<Box<Cold>>,
}

/// One priority level.
#[derive(Debug, Default)]
pub struct Priority {
    /// Every host, usable or not, locality by locality.
    pub hosts: Vec<Arc<Endpoint>>,
    /// How `hosts` divide into localities: weight and number of hosts of each.
    localities: Vec<(u32, usize)>,
    /// How much of the traffic its healthy and its degraded hosts could carry, in percent, at most 100.
    pub available: (u32, u32),
    /// Percent of the traffic that healthy hosts of this level get.
    pub healthy_load: u32,
    /// Percent of the traffic that degraded hosts of this level get.
    pub degraded_load: u32,
    /// True when too few are healthy, so that all are used.
    pub panic: bool,
    /// Healthy hosts (all, in panic): one group, or one per locality when localities are weighted.
    pub healthy: Vec<Group>,
    /// Degraded hosts, grouped alike.
    pub degraded: Vec<Group>,
    /// Where hashes lead, for clusters that balance by them: indices into `hosts`.
    pub table: Option<Table>,
}

/// Hosts among which a balancer picks.
#[derive(Debug, Default, Clone)]
pub struct Group {
    /// Share among the groups of a level.
    pub weight: u32,
    /// Never empty.
    pub hosts: Vec<Arc<Endpoint>>,
    /// False when weights differ, so that plain rotation would not do.
    pub equal_weights: bool,
}

/// One locality of a load assignment, before it is laid out.
#[derive(Debug, Default, Clone)]
pub struct LocalityEndpoints {
    /// 0 first.
    pub priority: u32,
    /// Which.
    pub locality: Option<Arc<Locality>>,
    /// `load_balancing_weight` of the locality; 0 gets no traffic when localities are weighted.
    pub weight: u32,
    /// Its hosts.
    pub hosts: Vec<HostSpec>,
}

/// One host of a load assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Where it listens.
    pub address: Address,
    /// `hostname`.
    pub hostname: Option<Arc<str>>,
    /// At least 1.
    pub weight: u32,
    /// `health_status`.
    pub health: Health,
    /// `hash_key` of its `envoy.lb` metadata.
    pub hash_key: Option<Arc<str>>,
    /// Its `envoy.lb` metadata.
    pub metadata: Option<Arc<Fields>>,
    /// `health_check_config`.
    pub check: Option<Arc<CheckAt>>,
    /// `metadata`, for logs.
    pub logged: Option<Arc<serde_json::Value>>,
    /// Discovery does not know it any more; it stays while it is well.
    pub leaving: bool,
}

/// How a set is laid out; from the cluster's settings and the assignment's policy.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `overprovisioning_factor`, default 140.
    pub overprovisioning: u32,
    /// `healthy_panic_threshold` in percent, default 50.
    pub panic_threshold: u32,
    /// `locality_weighted_lb_config` is set.
    pub locality_weighted: bool,
    /// The table that the balancer needs.
    pub consistent: Option<Consistent>,
    /// Hosts get no traffic before their first health check.
    pub checked: bool,
    /// `lb_subset_config`.
    pub subsets: Option<Arc<subsets::Settings>>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            overprovisioning: 140,
            panic_threshold: 50,
            locality_weighted: false,
            consistent: None,
            checked: false,
            subsets: None,
        }
    }
}

impl EndpointSet {
    /// Lays out an assignment; hosts that `old` has at the same address and priority keep their identity.
    pub fn build(localities: &[LocalityEndpoints], layout: Layout, old: &EndpointSet) -> Self {
        let known = Known::of(old);
        let levels = localities.iter().map(|l| l.priority as usize + 1).max().unwrap_or(0);
        let level = |level| {
            let here = localities.iter().filter(|l| l.priority as usize == level);
            Priority::new(here.map(|l| {
                let hosts =
                    l.hosts.iter().map(|host| known.endpoint(host, l, layout.checked)).collect::<Vec<_>>();
                (l.weight, hosts)
            }))
        };
        Self::lay_out((0..levels).map(level).collect(), layout, old.version + 1)
    }

    /// The same hosts after the health of some has changed.
    pub fn refreshed(&self) -> Self {
        // Who has left discovery stays only as long as its checks succeed.
        let stays = |host: &&Arc<Endpoint>| !(host.is_leaving() && host.has_failed_check());
        let levels =
            self.priorities.iter().map(|level| {
                let localities = level.localities();
                Priority::new(localities.map(|(weight, _, hosts)| {
                    (weight, hosts.iter().filter(stays).cloned().collect::<Vec<_>>())
                }))
            });
        Self::lay_out(levels.collect(), self.layout.clone(), self.version + 1)
    }

    fn lay_out(mut priorities: Vec<Priority>, layout: Layout, version: u64) -> Self {
        for level in &mut priorities {
            level.healthy = level.groups(&layout, |host| host.health() == Health::Healthy);
            level.degraded = level.groups(&layout, |host| host.health() == Health::Degraded);
        }
        share_load(&mut priorities, &layout);
        for level in &mut priorities {
            if level.panic {
                level.healthy = level.everyone(&layout);
            }
            level.table = layout.consistent.map(|kind| level.table(kind, &layout));
        }
        let subsets = layout.subsets.as_ref();
        let subsets = subsets.map(|settings| Subsets::build(settings, &priorities, &layout, version));
        Self { version, priorities, layout, subsets: subsets.map(Box::new), cold: None }
    }

    /// One level with one group of equal hosts: what tests and single-address clusters need.
    pub fn of(hosts: impl IntoIterator<Item = (Address, u32)>) -> Self {
        let hosts = hosts
            .into_iter()
            .map(|(address, weight)| HostSpec {
                logged: None,
                address,
                hostname: None,
                weight,
                health: Health::Healthy,
                hash_key: None,
                metadata: None,
                check: None,
                leaving: false,
            })
            .collect();
        let locality = LocalityEndpoints { weight: 1, hosts, ..LocalityEndpoints::default() };
        Self::build(&[locality], Layout::default(), &Self::default())
    }

    /// Every endpoint of every priority.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.priorities.iter().flat_map(|priority| &priority.hosts)
    }

    /// True when there is no endpoint at all.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// The endpoints of the set before, by what makes them the same.
struct Known<'a>(FxHashMap<(u32, &'a Address), &'a Arc<Endpoint>>);

impl<'a> Known<'a> {
    fn of(old: &'a EndpointSet) -> Self {
        Self(old.iter().map(|endpoint| ((endpoint.priority, &endpoint.address), endpoint)).collect())
    }

    /// The endpoint of before, brought up to date, or a new one.
    fn endpoint(&self, host: &HostSpec, at: &LocalityEndpoints, checked: bool) -> Arc<Endpoint> {
        let known = self.0.get(&(at.priority, &host.address));
        if let Some(known) = known
            && known.hostname == host.hostname
            && known.locality == at.locality
            && known.hash_key == host.hash_key
            && known.check == host.check
            && known.metadata == host.metadata
            && known.logged == host.logged
        {
            known.update(host.weight, host.health);
            if !checked {
                known.forget_checks();
            }
            if host.leaving {
                known.leave();
            }
            return Arc::clone(known);
        }
        let (hostname, locality) = (host.hostname.clone(), at.locality.clone());
        let address = host.address.clone();
        let mut new = Endpoint::placed(address, hostname, locality, at.priority, host.weight, host.health);
        new.hash_key.clone_from(&host.hash_key);
        new.check.clone_from(&host.check);
        new.metadata.clone_from(&host.metadata);
        new.logged.clone_from(&host.logged);
        if checked && !new.check.as_ref().is_some_and(|check| check.disabled) {
            new.await_check();
        }
        Arc::new(new)
    }
}

impl Priority {
    fn new(localities: impl Iterator<Item = (u32, Vec<Arc<Endpoint>>)>) -> Self {
        let mut level = Self::default();
        for (weight, hosts) in localities {
            level.localities.push((weight, hosts.len()));
            level.hosts.extend(hosts);
        }
        level
    }

    /// The hosts of each locality, with its weight and where they begin.
    fn localities(&self) -> impl Iterator<Item = (u32, usize, &[Arc<Endpoint>])> {
        let mut start = 0;
        self.localities.iter().map(move |(weight, len)| {
            let from = start;
            start += len;
            (*weight, from, &self.hosts[from..start])
        })
    }

    /// Usable hosts, grouped. A locality that is not fully available gets less, but overprovisioning forgives some.
    fn groups(&self, layout: &Layout, usable: impl Fn(&Endpoint) -> bool) -> Vec<Group> {
        let mut groups = Vec::new();
        for (weight, _, all) in self.localities() {
            let hosts = all.iter().filter(|host| usable(host)).cloned().collect();
            push_group(&mut groups, hosts, all.len(), weight, layout);
        }
        groups
    }

    fn everyone(&self, layout: &Layout) -> Vec<Group> {
        self.groups(layout, |_| true)
    }

    /// Healthy (in panic: all) hosts with their shares, as Envoy normalises weights for hashing.
    fn table(&self, kind: Consistent, layout: &Layout) -> Table {
        let usable = |host: &Endpoint| self.panic || host.health() == Health::Healthy;
        let weighted = layout.locality_weighted;
        let total: f64 = self.localities().map(|(weight, _, _)| f64::from(weight)).sum();
        let (mut shares, mut indices) = (Vec::new(), Vec::new());
        let sum_of = |hosts: &[Arc<Endpoint>]| -> f64 {
            hosts.iter().filter(|host| usable(host)).map(|host| f64::from(host.weight())).sum()
        };
        let all = sum_of(&self.hosts);
        for (weight, from, hosts) in self.localities() {
            if weighted && (weight == 0 || total == 0.0) {
                continue;
            }
            let (part, sum) = if weighted { (f64::from(weight) / total, sum_of(hosts)) } else { (1.0, all) };
            for (at, host) in hosts.iter().enumerate().filter(|(_, host)| usable(host)) {
                shares.push((&**host, f64::from(host.weight()) * part / sum));
                indices.push((from + at) as u32);
            }
        }
        Table::build(kind, &shares, &indices)
    }

    /// Healthy share after overprovisioning, in percent, at most 100.
    fn availability(&self, groups: &[Group], overprovisioning: u32) -> u32 {
        let usable: usize = groups.iter().map(|group| group.hosts.len()).sum();
        match self.hosts.len() {
            0 => 0,
            all => (usable as u64 * u64::from(overprovisioning) / all as u64).min(100) as u32,
        }
    }
}

/// Adds hosts of a locality: as a group of their own when localities are weighted, else to the one group.
fn push_group(groups: &mut Vec<Group>, hosts: Vec<Arc<Endpoint>>, all: usize, weight: u32, layout: &Layout) {
    if hosts.is_empty() || (layout.locality_weighted && weight == 0) {
        return;
    }
    if layout.locality_weighted {
        let available =
            (hosts.len() as u64 * u64::from(layout.overprovisioning) / all.max(1) as u64).min(100);
        let weight = (u64::from(weight) * available).min(u64::from(u32::MAX)) as u32;
        groups.push(Group::new(hosts, weight.max(1)));
        return;
    }
    match groups.first_mut() {
        Some(group) => {
            let mut joined = std::mem::take(&mut group.hosts);
            joined.extend(hosts);
            *group = Group::new(joined, 1);
        }
        None => groups.push(Group::new(hosts, 1)),
    }
}

impl Group {
    /// Hosts, of which there is one at least.
    pub fn new(hosts: Vec<Arc<Endpoint>>, weight: u32) -> Self {
        let first = hosts.first().map(|host| host.weight());
        let equal_weights = hosts.iter().all(|host| Some(host.weight()) == first);
        Self { weight, hosts, equal_weights }
    }
}

/// Spreads the traffic over the levels by their availability, healthy hosts first, then degraded ones; decides on panic.
fn share_load(priorities: &mut [Priority], layout: &Layout) {
    let factor = layout.overprovisioning;
    let available: Vec<(u32, u32)> = priorities
        .iter()
        .map(|level| {
            (level.availability(&level.healthy, factor), level.availability(&level.degraded, factor))
        })
        .collect();
    let total = available.iter().map(|(healthy, degraded)| healthy + degraded).sum::<u32>().min(100);
    for (level, available) in priorities.iter_mut().zip(&available) {
        level.available = *available;
    }
    for (level, (healthy, _)) in priorities.iter_mut().zip(&available) {
        // Panic only counts where the levels together cannot carry everything, as in Envoy.
        let below = !level.hosts.is_empty() && healthy_percent(level) < layout.panic_threshold;
        level.panic = below && total < 100;
        level.healthy_load = *healthy;
    }
    if total == 0 {
        panic_load(priorities);
        return;
    }
    let mut left = 100;
    for (level, (healthy, _)) in priorities.iter_mut().zip(&available) {
        level.healthy_load = (healthy * 100 / total).min(left);
        left -= level.healthy_load;
    }
    for (level, (_, degraded)) in priorities.iter_mut().zip(&available) {
        level.degraded_load = (degraded * 100 / total).min(left);
        left -= level.degraded_load;
    }
    // Rounding goes to the first level that has any.
    if let Some(level) = priorities.iter_mut().find(|level| level.healthy_load > 0) {
        level.healthy_load += left;
    } else if let Some(level) = priorities.iter_mut().find(|level| level.degraded_load > 0) {
        level.degraded_load += left;
    }
}

/// Nothing is healthy anywhere: panicking levels share by their number of hosts.
fn panic_load(priorities: &mut [Priority]) {
    let hosts: usize = priorities.iter().filter(|level| level.panic).map(|level| level.hosts.len()).sum();
    let mut left = 100;
    for level in priorities.iter_mut() {
        level.healthy_load = match level.panic {
            true => (level.hosts.len() * 100 / hosts.max(1)) as u32,
            false => 0,
        };
        left -= level.healthy_load;
    }
    if let Some(level) = priorities.iter_mut().find(|level| level.panic) {
        level.healthy_load += left;
    }
}

fn healthy_percent(level: &Priority) -> u32 {
    let usable: usize = level.healthy.iter().chain(&level.degraded).map(|group| group.hosts.len()).sum();
    (usable * 100 / level.hosts.len().max(1)) as u32
}

#[cfg(test)]
mod tests;
