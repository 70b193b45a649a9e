//! Who holds which group: by prefix (`cluster.reviews.`) and shard (a worker's number).
//!
//! Configuration and workers ask for groups when something is first used; admin reads them all.
//! Invariant: asking twice for the same prefix, kind and shard gives the same group, whatever updates came between.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Group, INNER, Sample};

/// Groups of one prefix and kind, one per shard.
type Shards = Vec<(usize, Arc<dyn Erased>)>;

/// All groups of a process. Its lock is taken by first uses and by readers, never while a request passes.
#[derive(Default)]
pub struct Registry {
    groups: Mutex<BTreeMap<(Arc<str>, TypeId), Shards>>,
}

trait Erased: Group {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Group> Erased for T {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Registry {
    /// A registry without groups.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The group of a shard; made when it is asked for the first time. `prefix` ends with a dot.
    pub fn group<T: Group + Default>(&self, prefix: &str, shard: usize) -> Arc<T> {
        let mut groups = self.lock();
        let shards = groups.entry((prefix.into(), TypeId::of::<T>())).or_default();
        let kept = shards.iter().find(|(of, _)| *of == shard);
        let kept = kept.and_then(|(_, group)| group.clone().into_any().downcast::<T>().ok());
        kept.unwrap_or_else(|| {
            let group = Arc::<T>::default();
            shards.push((shard, group.clone()));
            group
        })
    }

    /// True when the prefix has groups of this kind.
    pub fn has<T: Group>(&self, prefix: &str) -> bool {
        self.lock().contains_key(&(prefix.into(), TypeId::of::<T>()))
    }

    /// Forgets the groups of a prefix, with what stands behind it: what they counted for is gone. Those of another name
    /// that only begins alike (`cluster.a.b.` beside `cluster.a.`) stay.
    pub fn remove(&self, prefix: &str) {
        let gone =
            |of: &str| of.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || INNER.contains(&rest));
        self.lock().retain(|(of, _), _| !gone(of));
    }

    /// Reads everything, by prefix: name within the prefix and the sum of the shards.
    pub fn read(&self, mut each: impl FnMut(&str, &[(String, Sample)])) {
        // Groups are shared out first, so that nobody waits for a reader that formats.
        let groups: Vec<_> =
            self.lock().iter().map(|((prefix, _), shards)| (prefix.clone(), shards.clone())).collect();
        for (prefix, shards) in groups {
            each(&prefix, &sum(shards.iter().map(|(_, group)| &**group as &dyn Group)));
        }
    }

    /// `/reset_counters`.
    pub fn reset_counters(&self) {
        self.lock().values().flatten().for_each(|(_, group)| group.reset());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, TypeId), Shards>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The statistics of groups of one kind, summed.
pub fn sum<'a>(groups: impl IntoIterator<Item = &'a dyn Group>) -> Vec<(String, Sample)> {
    let mut samples: Vec<(String, Sample)> = Vec::new();
    for group in groups {
        let mut at = 0;
        group.visit(&mut |name, sample| {
            // Shards tell in the same order, but for codes that only some have seen.
            let here = samples.get(at).is_some_and(|(known, _)| known == name);
            let found = if here { Some(at) } else { samples.iter().position(|(known, _)| known == name) };
            match found {
                Some(found) => {
                    samples[found].1.merge(sample);
                    at = found + 1;
                }
                None => samples.push((name.to_owned(), sample)),
            }
        });
    }
    samples
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("groups", &self.lock().len()).finish()
    }
}
