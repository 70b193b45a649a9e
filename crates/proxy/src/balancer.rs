//! Picks an endpoint: round robin, random, least request, with Envoy's weights, priorities, localities and panic.
//!
//! Each worker keeps one [`Balancer`] per cluster it uses and asks it once per attempt.
//! Invariant: pure apart from its own state and the random numbers it is given; no lock, no allocation while picking
//! (but once after the endpoints changed).

pub mod consistent;
mod edf;
pub mod hash;
pub mod subsets;
pub mod zones;

use std::sync::Arc;

use self::edf::Edf;
use crate::cluster::{BalancerPolicy, Endpoint, EndpointSet, Group, Priority, SlowStart, metadata::Criteria};

/// A worker's picking state for one cluster.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Of the endpoint set that `groups` was made for.
    version: Option<u64>,
    /// State per group: (priority, degraded, group).
    groups: Vec<((u32, bool, u32), State)>,
}

/// What one try asks of the balancer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    /// The request's hash, for balancers that hash; without one they draw at random.
    pub hash: Option<u64>,
    /// Hosts of earlier tries, to be avoided.
    pub avoid: &'a [Arc<Endpoint>],
    /// How often another host is drawn in their place (`host_selection_retry_max_attempts`).
    pub attempts: u32,
    /// Priorities of earlier tries that get no traffic now (`previous_priorities`).
    pub exclude: &'a [u32],
    /// `slow_start_config` of the cluster.
    pub slow_start: Option<SlowStart>,
    /// What the route asks of hosts, for clusters that have subsets.
    pub asked: Option<&'a Criteria>,
    /// Zone-aware routing's choice among the healthy hosts of the first priority: number and hosts of a locality.
    pub zone: Option<(usize, &'a Group)>,
}

impl Selection<'_> {
    fn avoids(&self, host: &Arc<Endpoint>) -> bool {
        self.avoid.iter().any(|other| Arc::ptr_eq(other, host))
    }
}

/// State of one group of hosts.
#[derive(Debug)]
enum State {
    /// Equal weights, in turn.
    Rotation(usize),
    /// Differing weights: earliest deadline first.
    Scheduled(Edf),
}

impl Balancer {
    /// A balancer that has seen no endpoints yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An endpoint for the next attempt; `None` when no host is usable (503, UH). One that is to be avoided is picked
    /// only after as many draws as allowed.
    #[inline]
    pub fn pick<'a>(
        &mut self,
        policy: &BalancerPolicy,
        set: &'a EndpointSet,
        wanted: &Selection<'a>,
        random: &mut fastrand::Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        if matches!(policy, BalancerPolicy::Consistent(_)) {
            return by_hash(set, wanted, random);
        }
        let mut picked = self.draw(policy, set, wanted, random)?;
        if !wanted.avoid.is_empty() {
            for _ in 0..wanted.attempts {
                if !wanted.avoids(picked) {
                    break;
                }
                picked = self.draw(policy, set, wanted, random)?;
            }
        }
        Some(picked)
    }

    #[inline]
    fn draw<'a>(
        &mut self,
        policy: &BalancerPolicy,
        set: &'a EndpointSet,
        wanted: &Selection<'a>,
        random: &mut fastrand::Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        let (mut at, mut group) = choose_group(set, wanted.exclude, random)?;
        if let Some((zone, hosts)) = wanted.zone
            && (at.0, at.1) == (0, false)
        {
            // Beyond the numbers of ordinary groups.
            at.2 = u32::MAX - zone as u32;
            group = hosts;
        }
        if let [only] = group.hosts.as_slice() {
            return Some(only);
        }
        if let Some(slow) = wanted.slow_start
            && !matches!(policy, BalancerPolicy::Random)
            && is_young(group, slow)
        {
            let bias = match policy {
                BalancerPolicy::LeastRequest { bias, .. } => *bias,
                _ => 0,
            };
            return self.scheduled(set, at, group, true, random, |host| {
                f64::from(host.weight()) * slow.factor(host.since.elapsed()) / load(host, bias)
            });
        }
        match policy {
            BalancerPolicy::Random if group.equal_weights => {
                group.hosts.get(random.usize(..group.hosts.len()))
            }
            BalancerPolicy::LeastRequest { choices, .. } if group.equal_weights => Some(match choices {
                Some(choices) => least_loaded(group, *choices, random),
                None => least_of_all(group, random),
            }),
            BalancerPolicy::Random => Some(weighted_draw(group, random)),
            BalancerPolicy::LeastRequest { bias, .. } => {
                self.scheduled(set, at, group, false, random, |host| {
                    f64::from(host.weight()) / load(host, *bias)
                })
            }
            BalancerPolicy::RoundRobin | BalancerPolicy::ClusterProvided | BalancerPolicy::Consistent(_) => {
                self.scheduled(set, at, group, false, random, |host| f64::from(host.weight()))
            }
        }
    }

    fn scheduled<'a>(
        &mut self,
        set: &EndpointSet,
        at: (u32, bool, u32),
        group: &'a Group,
        uneven: bool,
        random: &mut fastrand::Rng,
        weight: impl Fn(&Endpoint) -> f64,
    ) -> Option<&'a Arc<Endpoint>> {
        if self.version != Some(set.version) {
            self.groups.clear();
            self.version = Some(set.version);
        }
        let place = match self.groups.iter().position(|(key, _)| *key == at) {
            // When slow start is over, equal hosts are in turn again, and the other way round.
            Some(place) if self.groups[place].1.is_scheduled() == (uneven || !group.equal_weights) => place,
            found => {
                let state = State::new(group, uneven, random, &weight);
                match found {
                    Some(place) => self.groups[place].1 = state,
                    None => self.groups.push((at, state)),
                }
                found.unwrap_or(self.groups.len() - 1)
            }
        };
        let host = match &mut self.groups[place].1 {
            State::Rotation(next) => {
                let host = *next % group.hosts.len();
                *next = host + 1;
                host
            }
            State::Scheduled(edf) => edf.pick(|at| group.hosts.get(at).map_or(1.0, |host| weight(host))),
        };
        group.hosts.get(host)
    }
}

impl State {
    /// Starts at a random host, so that workers (and proxies that start together) do not all begin with the first.
    fn new(
        group: &Group,
        uneven: bool,
        random: &mut fastrand::Rng,
        weight: impl Fn(&Endpoint) -> f64,
    ) -> Self {
        if group.equal_weights && !uneven {
            return Self::Rotation(random.usize(..group.hosts.len()));
        }
        let mut edf = Edf::new(group.hosts.iter().map(|host| weight(host)));
        for _ in 0..random.usize(..group.hosts.len()) {
            edf.pick(|at| weight(&group.hosts[at]));
        }
        Self::Scheduled(edf)
    }

    fn is_scheduled(&self) -> bool {
        matches!(self, Self::Scheduled(_))
    }
}

/// Some host is within its slow start, while others may not be.
fn is_young(group: &Group, slow: SlowStart) -> bool {
    group.hosts.iter().any(|host| host.since.elapsed() < slow.window)
}

/// The host that the hash leads to, or the next ones while those of earlier tries come.
fn by_hash<'a>(
    set: &'a EndpointSet,
    wanted: &Selection<'_>,
    random: &mut fastrand::Rng,
) -> Option<&'a Arc<Endpoint>> {
    let hash = wanted.hash.unwrap_or_else(|| random.u64(..));
    let (level, _) = choose_level(&set.priorities, wanted.exclude, (hash % 100) as u32)?;
    let level = &set.priorities[level];
    let table = level.table.as_ref()?;
    let draws = if wanted.avoid.is_empty() { 0 } else { wanted.attempts };
    let mut picked = None;
    for attempt in 0..=draws {
        picked = level.hosts.get(table.get(hash, attempt)? as usize);
        if picked.is_none_or(|host| !wanted.avoids(host)) {
            break;
        }
    }
    picked
}

/// The priority, then the locality, by their shares.
#[inline]
fn choose_group<'a>(
    set: &'a EndpointSet,
    exclude: &[u32],
    random: &mut fastrand::Rng,
) -> Option<((u32, bool, u32), &'a Group)> {
    let (level, degraded) = match set.priorities.as_slice() {
        [only] if only.healthy_load == 100 => (0, false),
        levels => choose_level(levels, exclude, random.u32(..100))?,
    };
    let priority = &set.priorities[level];
    let groups = if degraded { &priority.degraded } else { &priority.healthy };
    let group = match groups.len() {
        0 => return None,
        1 => 0,
        _ => draw(groups.iter().map(|group| group.weight), random),
    };
    Some(((level as u32, degraded, group as u32), &groups[group]))
}

/// The level and kind of hosts for a number below 100.
fn choose_level(levels: &[Priority], exclude: &[u32], at: u32) -> Option<(usize, bool)> {
    let by_load = |loads: &mut dyn Iterator<Item = (usize, bool, u32)>| {
        let mut left = at;
        for (level, degraded, load) in loads {
            if left < load {
                return Some((level, degraded));
            }
            left -= load;
        }
        None
    };
    let degraded = levels.iter().enumerate().map(|(at, level)| (at, true, level.degraded_load));
    let healthy = levels.iter().enumerate().map(|(at, level)| (at, false, level.healthy_load));
    if exclude.is_empty() {
        return by_load(&mut healthy.chain(degraded));
    }
    // What is left when some levels are out, as Envoy's `previous_priorities` shares it.
    let open = |at: usize| !exclude.contains(&(at as u32));
    let available = |at: usize, level: &Priority, degraded: bool| match (open(at), degraded) {
        (false, _) => 0,
        (true, false) => level.available.0,
        (true, true) => level.available.1,
    };
    let shares = |degraded| {
        levels.iter().enumerate().map(move |(at, level)| (at, degraded, available(at, level, degraded)))
    };
    let total: u32 = shares(false).chain(shares(true)).map(|(_, _, share)| share).sum();
    if total == 0 {
        return by_load(&mut healthy.chain(degraded));
    }
    let total = total.min(100);
    let scaled = shares(false).chain(shares(true)).map(|(at, kind, share)| (at, kind, share * 100 / total));
    let last = shares(false).chain(shares(true)).rfind(|(_, _, share)| *share > 0);
    by_load(&mut { scaled }).or(last.map(|(at, kind, _)| (at, kind)))
}

/// An index by weight.
fn draw(weights: impl Iterator<Item = u32> + Clone, random: &mut fastrand::Rng) -> usize {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut left = random.u64(..total.max(1));
    for (at, weight) in weights.enumerate() {
        if left < u64::from(weight) {
            return at;
        }
        left -= u64::from(weight);
    }
    0
}

fn weighted_draw<'a>(group: &'a Group, random: &mut fastrand::Rng) -> &'a Arc<Endpoint> {
    &group.hosts[draw(group.hosts.iter().map(|host| host.weight()), random)]
}

/// The least loaded of a few drawn hosts.
#[inline]
fn least_loaded<'a>(group: &'a Group, choices: u32, random: &mut fastrand::Rng) -> &'a Arc<Endpoint> {
    let mut best = &group.hosts[random.usize(..group.hosts.len())];
    for _ in 1..choices {
        let other = &group.hosts[random.usize(..group.hosts.len())];
        if other.active() < best.active() {
            best = other;
        }
    }
    best
}

/// The least loaded of all hosts; of several any.
fn least_of_all<'a>(group: &'a Group, random: &mut fastrand::Rng) -> &'a Arc<Endpoint> {
    let (mut best, mut alike) = (&group.hosts[0], 1);
    for other in &group.hosts[1..] {
        match other.active().cmp(&best.active()) {
            std::cmp::Ordering::Less => (best, alike) = (other, 1),
            std::cmp::Ordering::Equal => {
                alike += 1;
                if random.u32(..alike) == 0 {
                    best = other;
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }
    best
}

/// What requests in flight divide a host's weight by; `bias` in thousandths.
fn load(host: &Endpoint, bias: u32) -> f64 {
    let load = f64::from(host.active()) + 1.0;
    match bias {
        0 => 1.0,
        1000 => load,
        bias => load.powf(f64::from(bias) / 1000.0),
    }
}

#[cfg(test)]
mod tests;
