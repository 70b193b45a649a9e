//! When a change is acted on: endpoints at once, everything else after a short quiet time, at the latest after a long one.
//!
//! Invariant: of one object the changes are acted on in the order in which they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::ServiceEntry;
use meltemi_config::{Kind, Object, ResourceId, Spec};
use tokio::time::{Duration, Instant};

use super::Options;
use crate::snapshot::Change;
use crate::source::Update;

/// Changes that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    objects: BTreeMap<ResourceId, Option<Object>>,
    mesh: Option<Arc<MeshConfig>>,
    /// When the first of them came, and the last.
    since: Option<(Instant, Instant)>,
}

impl Pending {
    /// Takes an update in; what of it is to be acted on at once. `known` gives an object as it was last acted on.
    pub(super) fn add<'o>(
        &mut self,
        update: Update,
        known: impl Fn(&ResourceId) -> Option<&'o Object>,
    ) -> Vec<Change> {
        let mut urgent = Vec::new();
        let before = self.objects.len();
        let mut waits = update.mesh.is_some();
        self.mesh = update.mesh.or(self.mesh.take());
        for (id, object) in update.objects {
            if !self.objects.contains_key(&id) && is_endpoint(&id, known(&id), object.as_ref()) {
                urgent.push((id, object));
            } else {
                self.objects.insert(id, object);
                waits = true;
            }
        }
        if waits || self.objects.len() != before {
            let now = Instant::now();
            self.since = Some((self.since.map_or(now, |(first, _)| first), now));
        }
        urgent
    }

    /// When they are to be acted on.
    pub(super) fn due(&self, options: &Options) -> Option<Instant> {
        let (first, last) = self.since?;
        Some((last + options.debounce_after).min(first + options.debounce_max))
    }

    /// Takes all, and how long they were held back.
    pub(super) fn take(&mut self) -> (Vec<Change>, Option<Arc<MeshConfig>>, Duration) {
        let waited = self.since.take().map_or(Duration::ZERO, |(first, _)| first.elapsed());
        (std::mem::take(&mut self.objects).into_iter().collect(), self.mesh.take(), waited)
    }
}

/// Whether only endpoints change: callers must stop using those that are gone, and begin to use new ones, at once.
fn is_endpoint(id: &ResourceId, old: Option<&Object>, new: Option<&Object>) -> bool {
    match id.kind {
        Kind::Pod | Kind::WorkloadEntry | Kind::EndpointSlice => true,
        Kind::ServiceEntry => match (old, new) {
            (Some(old), Some(new)) => old.metadata == new.metadata && but_for_endpoints(&old.spec, &new.spec),
            _ => false,
        },
        _ => false,
    }
}

fn but_for_endpoints(old: &Spec, new: &Spec) -> bool {
    let (Spec::ServiceEntry(old), Spec::ServiceEntry(new)) = (old, new) else { return false };
    let bare = |entry: &ServiceEntry| ServiceEntry { endpoints: Vec::new(), ..entry.clone() };
    bare(old) == bare(new)
}
