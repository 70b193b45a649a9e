//! One type on one stream: what the client wants and how far it has followed. Shared by both forms of the protocol.
//!
//! Invariant: but for the names owed, the client has (or is being sent) all that it wants up to `seen` of each collection.

use std::collections::BTreeSet;
use std::sync::Arc;

use tonic::Status;

use super::collection::{Collection, Selection};
use super::{Client, Interest, Resource};

/// A type on a stream.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub(super) interest: Interest,
    layers: Vec<Layer>,
    /// Names to send whether they have changed or not.
    owed: BTreeSet<Arc<str>>,
    /// Nonce of the response under way.
    pub(super) pending: Option<u64>,
    /// A response is owed even if it is empty.
    pub(super) due: bool,
    /// What has gone since the client last heard is forgotten.
    behind: bool,
}

#[derive(Debug)]
struct Layer {
    collection: Arc<Collection>,
    seen: u64,
}

impl Subscription {
    /// Everything is wanted from now on.
    pub(super) fn want_all(&mut self) {
        if !std::mem::replace(&mut self.interest.wildcard, true) {
            // What it was sent by name it has: of that it is to hear when it goes.
            let resources = self.layers.iter().flat_map(|layer| layer.collection.all());
            self.owed.extend(resources.map(|resource| resource.name().clone()));
            self.due = true;
        }
    }

    /// A name is wanted; it is sent even if it was before.
    pub(super) fn want(&mut self, name: &str, client: &mut dyn Client, type_url: &str) {
        self.refresh(client, type_url);
        let known = self.layers.iter().find_map(|layer| layer.collection.name(name));
        let name = known.unwrap_or_else(|| name.into());
        self.interest.names.insert(Arc::clone(&name));
        self.owed.insert(name);
    }

    /// A name is not wanted any more.
    pub(super) fn drop_name(&mut self, name: &str) {
        self.interest.names.remove(name);
        if !self.interest.wants(name) {
            self.owed.remove(name);
        }
    }

    /// To be sent again if it is wanted.
    pub(super) fn owe(&mut self, name: &Arc<str>) {
        if self.interest.wants(name) {
            self.owed.insert(Arc::clone(name));
        }
    }

    /// Whether there is something to send, as far as can be told without looking at it.
    pub(super) fn is_dirty(&mut self, client: &mut dyn Client, type_url: &str) -> bool {
        self.refresh(client, type_url);
        self.due
            || !self.owed.is_empty()
            || self.layers.iter().any(|layer| layer.collection.last() > layer.seen)
    }

    /// Compares the collections with those of before; what differs between an old and a new one is owed.
    fn refresh(&mut self, client: &mut dyn Client, type_url: &str) {
        let now = client.collections(type_url);
        let same = self.layers.len() == now.len()
            && self.layers.iter().zip(&now).all(|(layer, now)| Arc::ptr_eq(&layer.collection, now));
        if same {
            return;
        }
        // A client that asks for names is owed those; only one that wants all begins at the beginning.
        let begin = |collection: &Collection| if self.interest.wildcard { 0 } else { collection.last() };
        let fresh = now.into_iter().map(|collection| Layer { seen: begin(&collection), collection });
        let before = std::mem::take(&mut self.layers);
        let first = before.is_empty();
        self.layers = fresh.collect();
        if first {
            return;
        }
        let mut kept: BTreeSet<(Arc<str>, u64)> = BTreeSet::new();
        let everything = Interest { wildcard: true, ..Interest::default() };
        for layer in before {
            let mut unseen: BTreeSet<Arc<str>> = BTreeSet::new();
            match layer.collection.since(layer.seen, &everything) {
                Some(missed) => {
                    unseen.extend(missed.resources.iter().map(|resource| resource.name().clone()));
                    self.owed.extend(missed.removed);
                }
                None => self.behind = true,
            }
            for resource in layer.collection.all() {
                if unseen.contains(resource.name()) {
                    self.owed.insert(resource.name().clone());
                } else {
                    kept.insert((resource.name().clone(), resource.version()));
                }
            }
        }
        for layer in &mut self.layers {
            layer.seen = layer.collection.last();
            for resource in layer.collection.all() {
                if !kept.remove(&(resource.name().clone(), resource.version())) {
                    self.owed.insert(resource.name().clone());
                }
            }
        }
        // What is left was in the old collections only, or in another version.
        self.owed.extend(kept.into_iter().map(|(name, _)| name));
        let interest = &self.interest;
        self.owed.retain(|name| interest.wants(name));
    }

    /// Takes what the client lacks, by collection. From now on it counts as sent.
    ///
    /// # Errors
    /// When the client is so far behind that what has gone since is forgotten.
    #[allow(clippy::result_large_err, reason = "tonic's own type, once per stream")]
    pub(super) fn take(&mut self) -> Result<Vec<Taken>, Status> {
        let behind = || Status::unavailable("too far behind; come again");
        let mut taken = Vec::with_capacity(self.layers.len());
        if self.behind {
            return Err(behind());
        }
        for layer in &mut self.layers {
            let selection = layer.collection.since(layer.seen, &self.interest).ok_or_else(behind)?;
            layer.seen = selection.seen;
            taken.push(Taken { collection: Arc::clone(&layer.collection), selection });
        }
        self.take_owed(&mut taken);
        self.due = false;
        first_holds(&mut taken);
        Ok(taken)
    }

    fn take_owed(&mut self, taken: &mut [Taken]) {
        if self.owed.is_empty() {
            return;
        }
        let owed = std::mem::take(&mut self.owed);
        for layer in taken.iter_mut() {
            let listed: BTreeSet<_> = layer.selection.resources.iter().map(Resource::name).cloned().collect();
            let more = owed.iter().filter(|name| !listed.contains(*name));
            let more: Vec<Resource> = more.filter_map(|name| layer.collection.get(name)).collect();
            layer.selection.resources.extend(more);
        }
        let Some((last, others)) = taken.split_last_mut() else { return };
        let gone = owed.into_iter().filter(|name| {
            let there = |layer: &Taken| layer.collection.get(name).is_some();
            !there(last) && !others.iter().any(there) && !last.selection.removed.contains(name)
        });
        let gone: Vec<_> = gone.collect();
        last.selection.removed.extend(gone);
    }

    /// Takes all that is wanted, by collection: for types whose responses are whole sets.
    pub(super) fn take_all(&mut self) -> Vec<Taken> {
        self.due = false;
        self.owed.clear();
        let interest = &self.interest;
        let wanted = self.layers.iter_mut().map(|layer| {
            let selection = layer.collection.wanted(interest);
            layer.seen = selection.seen;
            Taken { collection: Arc::clone(&layer.collection), selection }
        });
        let mut taken: Vec<_> = wanted.collect();
        first_holds(&mut taken);
        taken
    }

    /// Whether a name is in any of the collections.
    pub(super) fn has(&self, name: &str) -> bool {
        self.layers.iter().any(|layer| layer.collection.get(name).is_some())
    }

    /// How many resources the client has when it has what it wants.
    pub(super) fn count(&self) -> usize {
        match self.interest.wildcard {
            true => self.layers.iter().map(|layer| layer.collection.len()).sum(),
            false => self.interest.names.len(),
        }
    }
}

/// What is to be sent of one collection.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) collection: Arc<Collection>,
    pub(super) selection: Selection,
}

/// Of two collections that have a name the first holds: only that one sends it, and what goes from one is sent from another that has
/// it still.
fn first_holds(taken: &mut [Taken]) {
    let holder =
        |taken: &[Taken], name: &str| taken.iter().position(|layer| layer.collection.get(name).is_some());
    let gone: BTreeSet<Arc<str>> =
        taken.iter().flat_map(|layer| layer.selection.removed.iter().cloned()).collect();
    for name in gone {
        let Some(at) = holder(taken, &name) else { continue };
        taken.iter_mut().for_each(|layer| layer.selection.removed.retain(|removed| *removed != name));
        let layer = &mut taken[at];
        let listed = layer.selection.resources.iter().any(|resource| *resource.name() == name);
        if !listed && let Some(resource) = layer.collection.get(&name) {
            layer.selection.resources.push(resource);
        }
    }
    for at in 1..taken.len() {
        let (before, rest) = taken.split_at_mut(at);
        rest[0].selection.resources.retain(|resource| holder(before, resource.name()).is_none());
    }
}
