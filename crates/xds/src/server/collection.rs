//! Resources of one type that some clients have in common, with the order in which they changed: so a client is remembered by one
//! number, the change that it has seen last.
//!
//! Filled by the control plane, read by sessions. Invariant: a name is in the history once, at its last change; a client that has
//! seen change `n` lacks exactly the names after `n`.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use rustc_hash::{FxHashMap, FxHasher};

use super::Interest;
use super::resource::{Resource, put_removed};

/// Names that are gone are remembered for clients that have not heard; beyond the number of those that are there and this many,
/// the oldest are forgotten.
const FORGOTTEN_BEYOND: usize = 1024;
/// From this many resources on, the bytes of a response are kept for other clients that lack the same.
const WORTH_KEEPING: usize = 8;

/// The resources of one type.
#[derive(Debug, Default)]
pub struct Collection {
    /// Number of the last change.
    last: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    slots: BTreeMap<Arc<str>, Slot>,
    /// Names by change; one whose slot says a later change does not count.
    history: BTreeMap<u64, Vec<Arc<str>>>,
    /// Names in `history`, also those that do not count.
    noted: usize,
    /// Resources that are there.
    live: usize,
    /// Changes up to this one may be forgotten in part.
    horizon: u64,
    payloads: FxHashMap<u64, Bytes>,
}

#[derive(Debug)]
struct Slot {
    /// `None`: it is gone.
    resource: Option<Resource>,
    changed: u64,
}

/// What a client lacks.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) resources: Vec<Resource>,
    pub(super) removed: Vec<Arc<str>>,
    /// The change up to which this is.
    pub(super) seen: u64,
}

impl Selection {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

impl Collection {
    /// A collection of these.
    pub fn of(resources: impl IntoIterator<Item = Resource>) -> Collection {
        let collection = Collection::default();
        collection.update(resources.into_iter().map(|resource| (resource.name().clone(), Some(resource))));
        collection
    }

    /// Sets and removes (`None`) resources, as one change; whether anything differs from before.
    pub fn update(&self, changes: impl IntoIterator<Item = (Arc<str>, Option<Resource>)>) -> bool {
        let mut state = self.state();
        let next = state.last + 1;
        let mut names = Vec::new();
        for (name, resource) in changes {
            if state.set(&name, resource, next) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return false;
        }
        state.noted += names.len();
        state.last = next;
        state.history.insert(next, names);
        state.payloads.clear();
        state.forget();
        self.last.store(next, Ordering::Release);
        true
    }

    /// Makes it hold just these; whether anything differs from before.
    pub fn replace(&self, resources: Vec<Resource>) -> bool {
        let mut changes: BTreeMap<Arc<str>, Option<Resource>> = {
            let state = self.state();
            let live = state.slots.iter().filter(|(_, slot)| slot.resource.is_some());
            live.map(|(name, _)| (name.clone(), None)).collect()
        };
        changes.extend(resources.into_iter().map(|resource| (resource.name().clone(), Some(resource))));
        self.update(changes)
    }

    /// The resource of that name.
    pub fn get(&self, name: &str) -> Option<Resource> {
        self.state().slots.get(name)?.resource.clone()
    }

    /// All resources, by name.
    pub fn all(&self) -> Vec<Resource> {
        self.state().slots.values().filter_map(|slot| slot.resource.clone()).collect()
    }

    /// Resources whose names begin with a text, by name.
    pub fn beginning_with(&self, prefix: &str) -> Vec<Resource> {
        let state = self.state();
        let from =
            state.slots.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let named = from.take_while(|(name, _)| name.starts_with(prefix));
        named.filter_map(|(_, slot)| slot.resource.clone()).collect()
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.state().live
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of the last change.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// The name as it is kept here, so that clients that ask for it share its text.
    pub(super) fn name(&self, name: &str) -> Option<Arc<str>> {
        self.state().slots.get_key_value(name).map(|(name, _)| Arc::clone(name))
    }

    /// What changed after `seen` and is wanted; `None` if that is no longer known.
    pub(super) fn since(&self, seen: u64, interest: &Interest) -> Option<Selection> {
        let state = self.state();
        if seen < state.horizon && seen > 0 {
            return None;
        }
        let mut selection = Selection { seen: state.last, ..Selection::default() };
        for (change, names) in state.history.range(seen + 1..) {
            for name in names.iter().filter(|name| interest.wants(name)) {
                let Some(slot) = state.slots.get(name).filter(|slot| slot.changed == *change) else {
                    continue;
                };
                match &slot.resource {
                    Some(resource) => selection.resources.push(resource.clone()),
                    // Who has seen nothing yet need not hear what is gone.
                    None if seen > 0 => selection.removed.push(Arc::clone(name)),
                    None => {}
                }
            }
        }
        selection.resources.sort_by(|a, b| a.name().cmp(b.name()));
        Some(selection)
    }

    /// Everything that is wanted.
    pub(super) fn wanted(&self, interest: &Interest) -> Selection {
        let state = self.state();
        let resources = match interest.wildcard {
            true => state.slots.values().filter_map(|slot| slot.resource.clone()).collect(),
            false => {
                let mut names: Vec<_> = interest.names.iter().collect();
                names.sort_unstable();
                let slots = names.into_iter().filter_map(|name| state.slots.get(name));
                slots.filter_map(|slot| slot.resource.clone()).collect()
            }
        };
        Selection { resources, removed: Vec::new(), seen: state.last }
    }

    /// The bytes of a selection: its fields of a response. Those of large ones are made once for all clients that lack the
    /// same.
    pub(super) fn payload(&self, selection: &Selection, delta: bool) -> Bytes {
        if selection.resources.len() < WORTH_KEEPING {
            return encode(selection, delta);
        }
        let mut hasher = FxHasher::default();
        hasher.write_u8(delta.into());
        selection.resources.iter().for_each(|resource| hasher.write_usize(resource.address()));
        selection.removed.iter().for_each(|name| hasher.write(name.as_bytes()));
        let key = hasher.finish();
        if let Some(payload) = self.state().payloads.get(&key) {
            return payload.clone();
        }
        let payload = encode(selection, delta);
        let mut state = self.state();
        // Resources of an older state may be gone by now and their addresses used anew.
        if state.last == selection.seen {
            state.payloads.insert(key, payload.clone());
        }
        payload
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, name: &Arc<str>, resource: Option<Resource>, change: u64) -> bool {
        let there = resource.is_some();
        match self.slots.get_mut(name) {
            Some(slot) => {
                let version = |resource: &Option<Resource>| resource.as_ref().map(Resource::version);
                if version(&slot.resource) == version(&resource) {
                    return false;
                }
                self.live -= usize::from(slot.resource.is_some());
                *slot = Slot { resource, changed: change };
            }
            None if there => {
                self.slots.insert(Arc::clone(name), Slot { resource, changed: change });
            }
            None => return false,
        }
        self.live += usize::from(there);
        true
    }

    /// Keeps history and memory of what is gone within bounds.
    fn forget(&mut self) {
        if self.noted > 2 * self.slots.len() + FORGOTTEN_BEYOND {
            let slots = &self.slots;
            self.history.retain(|change, names| {
                names.retain(|name| slots.get(name).is_some_and(|slot| slot.changed == *change));
                !names.is_empty()
            });
            self.noted = self.history.values().map(Vec::len).sum();
        }
        if self.slots.len() - self.live <= self.live + FORGOTTEN_BEYOND {
            return;
        }
        let gone = self.slots.values().filter(|slot| slot.resource.is_none());
        let mut changes: Vec<u64> = gone.map(|slot| slot.changed).collect();
        changes.sort_unstable();
        self.horizon = changes[changes.len() / 2];
        self.slots.retain(|_, slot| slot.resource.is_some() || slot.changed > self.horizon);
    }
}

fn encode(selection: &Selection, delta: bool) -> Bytes {
    let length: usize = selection.resources.iter().map(|resource| resource.entry(delta).len()).sum();
    let mut bytes = BytesMut::with_capacity(length);
    for resource in &selection.resources {
        bytes.extend_from_slice(resource.entry(delta));
    }
    if delta {
        selection.removed.iter().for_each(|name| put_removed(&mut bytes, name));
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests;
