//! What compiling a resource may reach: the slots of names it mentions, shared strings and patterns, and a place for
//! notes about what was understood but is not in effect.
//!
//! Owned by the plane; one per process.
//! Invariant: equal texts and settings are one allocation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use meltemi_xds::pb::envoy::config::core::v3::Node;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{At, Rejection};
use crate::{
    cluster::{ClusterSettings, Local, Locality, store::ClusterStore},
    http::config::RouteSlot,
    route::strings,
};

/// Fewer new texts than half of this never cause a sweep.
const LEAST: usize = 512;

/// Compilation's surroundings.
#[derive(Debug)]
pub struct Context {
    /// Cluster names.
    pub clusters: Arc<ClusterStore>,
    /// Cluster names that are configured, warm or not.
    pub declared: FxHashSet<Arc<str>>,
    /// Where this proxy runs.
    pub local: Option<Arc<Local>>,
    /// Who this proxy is.
    pub node: Option<Arc<Node>>,
    /// Routes may mention declared clusters only (`validate_clusters`).
    pub validating: bool,
    route_slots: BTreeMap<Arc<str>, Weak<RouteSlot>>,
    strings: FxHashSet<Arc<str>>,
    patterns: FxHashMap<String, Weak<regex::Regex>>,
    settings: FxHashSet<Arc<ClusterSettings>>,
    localities: FxHashSet<Arc<Locality>>,
    /// Things made since the last sweep.
    fresh: usize,
    notes: Vec<String>,
    wanted_routes: Vec<Arc<RouteSlot>>,
}

impl Context {
    /// A context over a cluster store.
    pub fn new(clusters: Arc<ClusterStore>) -> Self {
        Self {
            clusters,
            declared: FxHashSet::default(),
            local: None,
            node: None,
            validating: false,
            route_slots: BTreeMap::new(),
            strings: FxHashSet::default(),
            patterns: FxHashMap::default(),
            settings: FxHashSet::default(),
            localities: FxHashSet::default(),
            fresh: 0,
            notes: Vec::new(),
            wanted_routes: Vec::new(),
        }
    }

    /// The one copy of a text.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.strings.insert(new.clone());
        self.fresh += 1;
        new
    }

    /// The one copy of a text that is shared already.
    pub fn intern_shared(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        self.strings.insert(text.clone());
        self.fresh += 1;
        text.clone()
    }

    /// The one copy of a pattern, anchored at both ends.
    pub fn full_match(&mut self, pattern: &str) -> Result<Arc<regex::Regex>, Rejection> {
        if let Some(known) = self.patterns.get(pattern).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let new = Arc::new(strings::full_match(pattern).at("regex")?);
        self.patterns.insert(pattern.to_owned(), Arc::downgrade(&new));
        self.fresh += 1;
        Ok(new)
    }

    /// The one copy of cluster settings.
    pub fn settings(&mut self, settings: ClusterSettings) -> Arc<ClusterSettings> {
        if let Some(known) = self.settings.get(&settings) {
            return known.clone();
        }
        let new = Arc::new(settings);
        self.settings.insert(new.clone());
        self.fresh += 1;
        new
    }

    /// The one copy of a locality.
    pub fn locality(&mut self, locality: Locality) -> Arc<Locality> {
        if let Some(known) = self.localities.get(&locality) {
            return known.clone();
        }
        let new = Arc::new(locality);
        self.localities.insert(new.clone());
        new
    }

    /// The slot of a route configuration that comes by RDS; every listener that names it gets the same.
    pub fn route_slot(&mut self, name: &str) -> Arc<RouteSlot> {
        let known = self.route_slots.get(name).and_then(Weak::upgrade);
        let slot = known.unwrap_or_else(|| {
            let slot = Arc::new(RouteSlot::empty(self.intern(name)));
            self.route_slots.insert(slot.name.clone(), Arc::downgrade(&slot));
            slot
        });
        self.wanted_routes.push(slot.clone());
        slot
    }

    /// Goes on wanting a slot that an unchanged filter chain has.
    pub fn keep_route_slot(&mut self, slot: &Arc<RouteSlot>) {
        // Inline tables have slots of their own that nobody else knows.
        if self.known_route_slot(&slot.name).is_some_and(|known| Arc::ptr_eq(&known, slot)) {
            self.wanted_routes.push(slot.clone());
        }
    }

    /// The live slot of a route configuration.
    pub fn known_route_slot(&self, name: &str) -> Option<Arc<RouteSlot>> {
        self.route_slots.get(name).and_then(Weak::upgrade)
    }

    /// Route configurations that a listener still names.
    pub fn live_routes(&mut self) -> Vec<Arc<RouteSlot>> {
        self.route_slots.retain(|_, slot| slot.strong_count() > 0);
        self.route_slots.values().filter_map(Weak::upgrade).collect()
    }

    /// The RDS slots that what was compiled since the last call asked for.
    pub fn take_wanted_routes(&mut self) -> Vec<Arc<RouteSlot>> {
        std::mem::take(&mut self.wanted_routes)
    }

    /// Records that something was understood but is not in effect.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The notes since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Forgets texts, patterns and settings that nothing uses any more. Looks at everything, so it waits until there is
    /// as much new as old: what piles up meanwhile is bounded, and a change costs what it changes.
    pub fn sweep(&mut self) {
        if self.fresh * 2 < self.strings.len() + LEAST {
            return;
        }
        self.fresh = 0;
        self.strings.retain(|text| Arc::strong_count(text) > 1);
        self.settings.retain(|settings| Arc::strong_count(settings) > 1);
        self.localities.retain(|locality| Arc::strong_count(locality) > 1);
        self.patterns.retain(|_, pattern| pattern.strong_count() > 0);
        self.route_slots.retain(|_, slot| slot.strong_count() > 0);
    }
}
