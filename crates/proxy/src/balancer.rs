//! Picks an endpoint: round robin, random, least request, with Envoy's weights, priorities, localities and panic.
//!
//! Each worker keeps one [`Balancer`] per cluster it uses and asks it once per attempt.
//! Invariant: pure apart from its own state and the random numbers it is given; no lock, no allocation while picking
//! (but once after the endpoints changed).

mod edf;

use std::sync::Arc;

use self::edf::Edf;
use crate::cluster::{BalancerPolicy, Endpoint, EndpointSet, Group};

/// A worker's picking state for one cluster.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Of the endpoint set that `groups` was made for.
    version: Option<u64>,
    /// State per group: (priority, degraded, group).
    groups: Vec<((u32, bool, u32), State)>,
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

    /// An endpoint for the next attempt; `None` when no host is usable (503, UH).
    #[inline]
    pub fn pick<'a>(
        &mut self,
        policy: &BalancerPolicy,
        set: &'a EndpointSet,
        random: &mut fastrand::Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        let (at, group) = choose_group(set, random)?;
        if let [only] = group.hosts.as_slice() {
            return Some(only);
        }
        match policy {
            BalancerPolicy::Random if group.equal_weights => {
                group.hosts.get(random.usize(..group.hosts.len()))
            }
            BalancerPolicy::LeastRequest { choices } if group.equal_weights => {
                Some(least_loaded(group, *choices, random))
            }
            BalancerPolicy::Random => Some(weighted_draw(group, random)),
            BalancerPolicy::LeastRequest { .. } => self.scheduled(set, at, group, random, |host| {
                f64::from(host.weight()) / (f64::from(host.active()) + 1.0)
            }),
            BalancerPolicy::RoundRobin | BalancerPolicy::ClusterProvided => {
                self.scheduled(set, at, group, random, |host| f64::from(host.weight()))
            }
        }
    }

    /// As [`Self::pick`], but tries up to `tries` more times for a host that `avoid` does not name
    /// (`host_selection_retry_max_attempts`); gives back the last one if all were named.
    pub fn pick_avoiding<'a>(
        &mut self,
        policy: &BalancerPolicy,
        set: &'a EndpointSet,
        random: &mut fastrand::Rng,
        tries: u32,
        avoid: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&'a Arc<Endpoint>> {
        let mut picked = self.pick(policy, set, random)?;
        for _ in 0..tries {
            if !avoid(picked) {
                break;
            }
            picked = self.pick(policy, set, random)?;
        }
        Some(picked)
    }

    fn scheduled<'a>(
        &mut self,
        set: &EndpointSet,
        at: (u32, bool, u32),
        group: &'a Group,
        random: &mut fastrand::Rng,
        weight: impl Fn(&Endpoint) -> f64,
    ) -> Option<&'a Arc<Endpoint>> {
        if self.version != Some(set.version) {
            self.groups.clear();
            self.version = Some(set.version);
        }
        let place = match self.groups.iter().position(|(key, _)| *key == at) {
            Some(place) => place,
            None => {
                self.groups.push((at, State::new(group, random, &weight)));
                self.groups.len() - 1
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
    fn new(group: &Group, random: &mut fastrand::Rng, weight: impl Fn(&Endpoint) -> f64) -> Self {
        if group.equal_weights {
            return Self::Rotation(random.usize(..group.hosts.len()));
        }
        let mut edf = Edf::new(group.hosts.iter().map(|host| weight(host)));
        for _ in 0..random.usize(..group.hosts.len()) {
            edf.pick(|at| weight(&group.hosts[at]));
        }
        Self::Scheduled(edf)
    }
}

/// The priority, then the locality, by their shares.
#[inline]
fn choose_group<'a>(
    set: &'a EndpointSet,
    random: &mut fastrand::Rng,
) -> Option<((u32, bool, u32), &'a Group)> {
    let (level, degraded) = match set.priorities.as_slice() {
        [only] if only.healthy_load == 100 => (0, false),
        levels => choose_level(levels, random)?,
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

fn choose_level(levels: &[crate::cluster::Priority], random: &mut fastrand::Rng) -> Option<(usize, bool)> {
    let mut left = random.u32(..100);
    let loads = levels.iter().enumerate().map(|(at, level)| (at, false, level.healthy_load));
    let degraded = levels.iter().enumerate().map(|(at, level)| (at, true, level.degraded_load));
    for (at, degraded, load) in loads.chain(degraded) {
        if left < load {
            return Some((at, degraded));
        }
        left -= load;
    }
    None
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

#[cfg(test)]
mod tests;
