//! EDS in the plane: assignments by resource name, and which clusters use them.

use std::sync::Arc;

use meltemi_xds::{pb::envoy::config::endpoint::v3::ClusterLoadAssignment, type_url};

use super::{State, clusters::Encoded, decode};
use crate::xds::{
    Rejection,
    endpoint::{self, Hosts},
    view::{Kind, Version},
};

/// An EDS resource that clusters want.
#[derive(Debug, Default)]
pub(super) struct AssignmentState {
    /// The last good one.
    pub(super) assignment: Option<Encoded>,
    /// Clusters by name.
    pub(super) users: Vec<Arc<str>>,
}

impl State {
    pub(super) fn take_assignment(&mut self, name: &Arc<str>, version: Version) -> Result<(), Rejection> {
        let Some(known) = self.assignments.get(name) else {
            // Not asked for (any more).
            return Ok(());
        };
        let before = known.assignment.as_ref();
        let same = before.is_some_and(|before| before.body == version.body)
            && known.users.iter().all(|user| self.context.clusters.has(user));
        let body = version.body.clone();
        if same {
            self.view.update(Kind::Endpoint, name, |known| known.active = Some(version));
            return Ok(());
        }
        let message: ClusterLoadAssignment = decode(&version)?;
        let assignment = endpoint::compile(&message, Hosts::Addresses, &mut self.context)?;
        self.view.update(Kind::Endpoint, name, |known| known.active = Some(version));
        let (overprovisioning, counts) = (assignment.overprovisioning, assignment.counts());
        let encoded = Encoded { body, overprovisioning, counts };
        if let Some(known) = self.assignments.get_mut(name) {
            known.assignment = Some(encoded.clone());
        }
        self.spread_assignment(name, &encoded);
        Ok(())
    }

    /// Files clusters that changed under the EDS resources they need now, and asks for what is new.
    pub(super) fn want_endpoints(&mut self) {
        for name in std::mem::take(&mut self.touched) {
            let Some(state) = self.clusters.get_mut(&name) else { continue };
            let wanted = state.eds_resources();
            if wanted == state.wanted {
                continue;
            }
            let before = std::mem::replace(&mut state.wanted, wanted.clone());
            for resource in &wanted {
                let known = self.assignments.entry(resource.clone()).or_insert_with(|| {
                    self.asked.0.push(resource.clone());
                    AssignmentState::default()
                });
                if !known.users.contains(&name) {
                    known.users.push(name.clone());
                }
            }
            let gone: Vec<_> = before.into_iter().filter(|resource| !wanted.contains(resource)).collect();
            self.release_endpoints(&name, &gone);
        }
        let (more, fewer) = std::mem::take(&mut self.asked);
        if let Some(subscriber) = &self.subscriber {
            if !fewer.is_empty() {
                subscriber.unsubscribe(type_url::ENDPOINT, fewer);
            }
            if !more.is_empty() {
                subscriber.subscribe(type_url::ENDPOINT, more);
            }
        }
    }

    /// The cluster does not need these any more; what nobody needs is forgotten.
    pub(super) fn release_endpoints(&mut self, cluster: &Arc<str>, resources: &[Arc<str>]) {
        for resource in resources {
            let Some(known) = self.assignments.get_mut(resource) else { continue };
            known.users.retain(|user| user != cluster);
            if known.users.is_empty() {
                self.assignments.remove(resource);
                self.view.forget(Kind::Endpoint, resource);
                let (more, fewer) = &mut self.asked;
                // Asked for in this very batch: then it was never sent.
                match more.iter().position(|name| name == resource) {
                    Some(at) => drop(more.swap_remove(at)),
                    None => fewer.push(resource.clone()),
                }
            }
        }
    }
}
