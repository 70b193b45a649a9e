//! Which namespaces are looked at (`discoverySelectors`, SEM-010): objects of others are as if they were not there. Called by the
//! snapshot before anything else.
//!
//! Invariant: without selectors nothing is kept and nothing is copied.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Kind, Labels, Object, ResourceId, Str};

use super::Change;

/// Label that an API server gives every namespace: its name.
const NAME: &str = "kubernetes.io/metadata.name";

/// Namespaces and what is in them.
#[derive(Debug, Clone, Default)]
pub(super) struct Namespaces {
    labels: BTreeMap<Str, Labels>,
    /// Looked at or not: a namespace may come in later by its labels.
    objects: BTreeMap<Str, BTreeMap<ResourceId, Object>>,
}

impl Namespaces {
    /// Changes as far as their namespaces are looked at. All of a namespace comes or goes when its labels say so.
    pub(super) fn admit<'c>(&mut self, changes: &'c [Change], mesh: &MeshConfig) -> Cow<'c, [Change]> {
        if mesh.discovery_selectors.is_empty() {
            return Cow::Borrowed(changes);
        }
        let turned = self.relabel(changes, mesh);
        let mut admitted: Vec<Change> = Vec::new();
        for (id, object) in changes {
            if !id.kind.is_namespaced() {
                admitted.push((id.clone(), object.clone()));
                continue;
            }
            let known = self.objects.entry(id.namespace.clone()).or_default();
            match object {
                Some(object) => known.insert(id.clone(), object.clone()),
                None => known.remove(id),
            };
            if object.is_none() || !turned.contains(&id.namespace) {
                let object = object.clone().filter(|_| self.looked_at(&id.namespace, mesh));
                admitted.push((id.clone(), object));
            }
        }
        for namespace in &turned {
            let looked_at = self.looked_at(namespace, mesh);
            let objects = self.objects.get(namespace).into_iter().flatten();
            admitted.extend(objects.map(|(id, object)| (id.clone(), looked_at.then(|| object.clone()))));
        }
        Cow::Owned(admitted)
    }

    /// Takes labels in; the namespaces that are looked at now and were not before, and the reverse.
    fn relabel(&mut self, changes: &[Change], mesh: &MeshConfig) -> BTreeSet<Str> {
        let mut turned = BTreeSet::new();
        for (id, object) in changes.iter().filter(|(id, _)| id.kind == Kind::Namespace) {
            let before = self.looked_at(&id.name, mesh);
            match object {
                Some(object) => self.labels.insert(id.name.clone(), object.labels().clone()),
                None => self.labels.remove(&id.name),
            };
            if before != self.looked_at(&id.name, mesh) {
                turned.insert(id.name.clone());
            }
        }
        turned
    }

    /// One of the selectors takes it. A namespace that no document describes has its name for a label.
    fn looked_at(&self, namespace: &Str, mesh: &MeshConfig) -> bool {
        let mut labels = self.labels.get(namespace).cloned().unwrap_or_default();
        labels.entry(NAME.into()).or_insert_with(|| namespace.clone());
        mesh.discovery_selectors.iter().any(|selector| selector.selects(&labels))
    }
}
