//! `lb_subset_config`: the hosts of a cluster by what their `envoy.lb` metadata says, each subset laid out like a cluster of
//! its own.
//!
//! Built with the endpoint set that it belongs to; chosen from by [`crate::balancer::subsets`].
//! Invariant: a subset has at least one host of those that were there when it was built, usable or not.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/subsets>

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{EndpointSet, Layout, Priority};
use crate::cluster::{
    Endpoint,
    metadata::{Fields, Value},
};

/// Values that one host may stand for under `list_as_any`, over all keys of a selector; further ones are left out.
const MOST_VALUES: usize = 1024;

/// `LbSubsetConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// `fallback_policy`.
    pub fallback: Fallback,
    /// `default_subset`.
    pub default: Fields,
    /// `subset_selectors`.
    pub selectors: Vec<Selector>,
    /// `locality_weight_aware`.
    pub locality_weighted: bool,
    /// `scale_locality_weight`.
    pub scales_weights: bool,
    /// `panic_mode_any`.
    pub panic_any: bool,
    /// `list_as_any`.
    pub list_as_any: bool,
    /// `metadata_fallback_policy: FALLBACK_LIST`.
    pub heeds_fallback_list: bool,
}

/// `LbSubsetFallbackPolicy`: what a request gets that no subset is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// Nothing.
    None,
    /// Any host.
    Any,
    /// One of the default subset.
    Default,
}

/// `LbSubsetSelector`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// `keys`, sorted.
    pub keys: Vec<Arc<str>>,
    /// `fallback_policy`; `None` is NOT_DEFINED: as the cluster says.
    pub fallback: Option<SelectorFallback>,
    /// `single_host_per_subset`.
    pub single_host: bool,
}

/// `LbSubsetSelectorFallbackPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SelectorFallback {
    /// As for the cluster.
    Like(Fallback),
    /// KEYS_SUBSET: what these of the keys ask.
    Keys(Vec<Arc<str>>),
}

/// The subsets of an endpoint set.
#[derive(Debug)]
pub struct Subsets {
    settings: Arc<Settings>,
    /// By selector, by the values of its keys: indices into `sets`.
    selectors: Vec<FxHashMap<Box<[Value]>, u32>>,
    sets: Vec<EndpointSet>,
    any: u32,
    default: u32,
    /// How many of the sets are subsets by selectors.
    active: u32,
}

impl Settings {
    /// The selector whose keys are these.
    fn selector(&self, names: &[Arc<str>]) -> Option<usize> {
        self.selectors.iter().position(|selector| selector.keys == names)
    }
}

impl Subsets {
    /// Lays out the subsets of a set's hosts.
    pub(super) fn build(
        settings: &Arc<Settings>,
        levels: &[Priority],
        layout: &Layout,
        version: u64,
    ) -> Self {
        let weighted = layout.locality_weighted && settings.locality_weighted;
        let inner = Layout { subsets: None, locality_weighted: weighted, ..layout.clone() };
        let mut sets = Vec::new();
        let mut add = |taken: &[u32]| {
            sets.push(EndpointSet::lay_out(settings.part(levels, taken), inner.clone(), version));
            (sets.len() - 1) as u32
        };
        let mut selectors = Vec::with_capacity(settings.selectors.len());
        for selector in &settings.selectors {
            let members = settings.members(selector, levels).into_iter();
            let by_values: FxHashMap<_, _> = members.map(|(values, taken)| (values, add(&taken))).collect();
            selectors.push(by_values);
        }
        let active = selectors.iter().map(|by_values| by_values.len() as u32).sum();
        let hosts = || levels.iter().flat_map(|level| &level.hosts).enumerate();
        let any: Vec<u32> = hosts().map(|(at, _)| at as u32).collect();
        let default = hosts().filter(|(_, host)| settings.is_default(host));
        let default: Vec<u32> = default.map(|(at, _)| at as u32).collect();
        let (any, default) = (add(&any), add(&default));
        Self { settings: settings.clone(), selectors, sets, any, default, active }
    }

    /// What they were made by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The subset that was asked for, if there is one.
    pub fn find(&self, asked: &Fields) -> Option<u32> {
        let at = self.settings.selector(asked.names())?;
        self.selectors.get(at)?.get(asked.values()).copied()
    }

    /// What the selector for these fields says where it has no such subset.
    pub fn fallback_of(&self, asked: &Fields) -> Option<&SelectorFallback> {
        let at = self.settings.selector(asked.names())?;
        self.settings.selectors.get(at)?.fallback.as_ref()
    }

    /// The hosts that a fallback leads to.
    pub fn fallback(&self, fallback: Fallback) -> Option<u32> {
        match fallback {
            Fallback::None => None,
            Fallback::Any => Some(self.any),
            Fallback::Default => Some(self.default),
        }
    }

    /// A subset's hosts.
    pub fn set(&self, at: u32) -> Option<&EndpointSet> {
        self.sets.get(at as usize)
    }

    /// How many there are by selectors: `lb_subsets_active`.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// What tells them apart from those of another set.
    pub fn keys(&self) -> impl Iterator<Item = (usize, &[Value])> {
        let selectors = self.selectors.iter().enumerate();
        selectors.flat_map(|(at, by_values)| by_values.keys().map(move |values| (at, &**values)))
    }

    /// True when there is such a subset.
    pub fn has(&self, (selector, values): (usize, &[Value])) -> bool {
        self.selectors.get(selector).is_some_and(|by_values| by_values.contains_key(values))
    }
}

impl Settings {
    /// The numbers of the hosts of each subset of a selector, ascending; hosts are counted level by level.
    fn members(&self, selector: &Selector, levels: &[Priority]) -> FxHashMap<Box<[Value]>, Vec<u32>> {
        let mut members: FxHashMap<Box<[Value]>, Vec<u32>> = FxHashMap::default();
        for (at, host) in levels.iter().flat_map(|level| &level.hosts).enumerate() {
            for values in self.values(selector, host) {
                let hosts = members.entry(values).or_default();
                if !selector.single_host || hosts.is_empty() {
                    hosts.push(at as u32);
                }
            }
        }
        for hosts in members.values_mut() {
            hosts.dedup();
        }
        members
    }

    /// The values by which a host is in subsets of a selector.
    fn values(&self, selector: &Selector, host: &Endpoint) -> Vec<Box<[Value]>> {
        let Some(metadata) = &host.metadata else { return Vec::new() };
        let mut found: Vec<Vec<Value>> = vec![Vec::new()];
        for key in &selector.keys {
            let Some(value) = metadata.get(key) else { return Vec::new() };
            let alternatives = match value {
                Value::List(list) if self.list_as_any => list.as_slice(),
                one => std::slice::from_ref(one),
            };
            let longer = found.iter().flat_map(|values| {
                alternatives.iter().map(|value| {
                    let mut longer = values.clone();
                    longer.push(value.clone());
                    longer
                })
            });
            found = longer.take(MOST_VALUES).collect();
        }
        found.into_iter().map(Vec::into_boxed_slice).collect()
    }

    /// True for hosts of the default subset.
    fn is_default(&self, host: &Endpoint) -> bool {
        let has = |(name, wanted): (&Arc<str>, &Value)| {
            let value = host.metadata.as_ref().and_then(|metadata| metadata.get(name));
            value.is_some_and(|value| match value {
                Value::List(list) if self.list_as_any => list.contains(wanted),
                one => one == wanted,
            })
        };
        self.default.names().iter().zip(self.default.values()).all(has)
    }

    /// The hosts of these numbers, in their levels and localities.
    fn part(&self, levels: &[Priority], taken: &[u32]) -> Vec<Priority> {
        let mut left = taken;
        let mut start = 0;
        let mut part = Vec::with_capacity(levels.len());
        for level in levels {
            let mut localities = Vec::new();
            for (weight, _, hosts) in level.localities() {
                let end = start + hosts.len();
                let (here, rest) = left.split_at(left.partition_point(|at| (*at as usize) < end));
                let here: Vec<_> =
                    here.iter().filter_map(|at| hosts.get(*at as usize - start).cloned()).collect();
                localities.push((self.weight(weight, here.len(), hosts.len()), here));
                (left, start) = (rest, end);
            }
            part.push(Priority::new(localities.into_iter()));
        }
        part
    }

    /// The weight of a locality of which a part is taken.
    fn weight(&self, weight: u32, taken: usize, all: usize) -> u32 {
        if !self.scales_weights || weight == 0 || taken == 0 {
            return weight;
        }
        let scaled = f64::from(weight) * taken as f64 / all.max(1) as f64;
        (scaled.round() as u32).max(1)
    }
}
