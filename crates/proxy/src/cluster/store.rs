//! Every cluster name of this process and what stands behind it.
//!
//! The configuration side (static resources, CDS, EDS, DNS) makes slots and publishes clusters; the data path only
//! follows the `Arc<ClusterSlot>` of its routes, or [`ClusterStore::get`] when a header names the cluster.
//! Invariant: the lock is for configuration changes; the data path reads one swapped map.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use rustc_hash::FxHashMap;

use super::{Cluster, ClusterSlot};

type Slots = FxHashMap<Arc<str>, Arc<ClusterSlot>>;

/// The process's clusters.
#[derive(Debug, Default)]
pub struct ClusterStore {
    slots: Mutex<Known>,
    /// Published clusters by name, for `cluster_header`; kept when a route has one.
    directory: ArcSwapOption<Slots>,
}

#[derive(Debug, Default)]
struct Known {
    slots: Slots,
    next: u32,
    /// Slots that were made or emptied since the last look for those that nobody mentions.
    suspects: usize,
    /// The directory is behind.
    stale: bool,
}

impl Known {
    fn published(&self) -> Slots {
        let published = self.slots.iter().filter(|(_, slot)| slot.load().is_some());
        published.map(|(name, slot)| (name.clone(), slot.clone())).collect()
    }
}

impl ClusterStore {
    /// A store without clusters.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The slot of a name, made at its first mention.
    pub fn slot(&self, name: &str) -> Arc<ClusterSlot> {
        let mut known = self.lock();
        if let Some(slot) = known.slots.get(name) {
            return slot.clone();
        }
        let id = known.next;
        known.next += 1;
        let slot = Arc::new(ClusterSlot::new(id, name.into()));
        known.slots.insert(slot.name.clone(), slot.clone());
        known.suspects += 1;
        slot
    }

    /// The slot of a published cluster, as of the last [`Self::settle`]. Lock-free once [`Self::keep_directory`] was called;
    /// until then nothing on the data path asks.
    pub fn get(&self, name: &str) -> Option<Arc<ClusterSlot>> {
        match &*self.directory.load() {
            Some(directory) => directory.get(name).cloned(),
            None => self.lock().slots.get(name).filter(|slot| slot.load().is_some()).cloned(),
        }
    }

    /// From now on names are found without a lock: a route takes the cluster's name from a request.
    pub fn keep_directory(&self) {
        if self.directory.load().is_none() {
            let mut known = self.lock();
            known.stale = false;
            self.directory.store(Some(Arc::new(known.published())));
        }
    }

    /// True when the name has a cluster, from the configuration's side.
    pub fn has(&self, name: &str) -> bool {
        self.lock().slots.get(name).is_some_and(|slot| slot.load().is_some())
    }

    /// Puts a warm cluster into its slot.
    pub fn publish(&self, cluster: Arc<Cluster>) {
        let slot = self.slot(&cluster.name);
        slot.publish(Some(cluster));
        self.lock().stale = true;
    }

    /// Takes a cluster away; its slot stays as long as a route mentions it.
    pub fn remove(&self, name: &str) {
        let mut known = self.lock();
        if let Some(slot) = known.slots.get(name) {
            slot.publish(None);
            known.suspects = usize::MAX / 2;
            known.stale = true;
        }
    }

    /// Ends a batch of changes: refreshes the directory and forgets slots that nobody mentions. Numbers are not used
    /// again, so a worker's pools can never be taken for another cluster's.
    pub fn settle(&self) {
        let mut known = self.lock();
        if std::mem::take(&mut known.stale) && self.directory.load().is_some() {
            self.directory.store(Some(Arc::new(known.published())));
        }
        // Looking at all of them waits until it pays.
        if known.suspects >= known.slots.len() / 2 {
            known.suspects = 0;
            known.slots.retain(|_, slot| slot.load().is_some() || Arc::strong_count(slot) > 1);
        }
    }

    /// Published clusters, by name.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        let known = self.lock();
        let mut clusters: Vec<_> = known.slots.values().filter_map(|slot| slot.load().clone()).collect();
        clusters.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        clusters
    }

    /// The slots of published clusters, by name.
    pub fn published(&self) -> Vec<Arc<ClusterSlot>> {
        let known = self.lock();
        let mut slots: Vec<_> = known.slots.values().filter(|slot| slot.load().is_some()).cloned().collect();
        slots.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        slots
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{ClusterSettings, EndpointSet, Endpoints};

    fn cluster(name: &str) -> Arc<Cluster> {
        Arc::new(Cluster {
            metadata: None,
            name: name.into(),
            stat_name: name.into(),
            settings: Arc::new(ClusterSettings::default()),
            origin: None,
            outlier: None,
            health: None,
            local: None,
            endpoints: Endpoints::from(EndpointSet::default()),
        })
    }

    #[test]
    fn a_name_keeps_its_slot() {
        let store = ClusterStore::new();
        store.keep_directory();
        let slot = store.slot("a");
        assert!(slot.load().is_none() && store.get("a").is_none());
        store.publish(cluster("a"));
        store.settle();
        assert!(slot.load().is_some() && store.has("a"));
        assert!(Arc::ptr_eq(&store.get("a").unwrap(), &slot));
        store.remove("a");
        store.settle();
        assert!(slot.load().is_none() && store.get("a").is_none());
        assert!(Arc::ptr_eq(&store.slot("a"), &slot));
    }

    #[test]
    fn forgotten_names_do_not_pile_up_and_numbers_do_not_return() {
        let store = ClusterStore::new();
        store.publish(cluster("a"));
        let first = store.slot("a").id;
        store.remove("a");
        store.settle();
        assert!(store.lock().slots.is_empty());
        assert!(store.slot("a").id > first);
    }
}
