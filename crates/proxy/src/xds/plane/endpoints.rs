//! EDS in the plane: assignments by resource name, and which clusters use them.

use std::sync::Arc;

use meltemi_xds::{pb::envoy::config::endpoint::v3::ClusterLoadAssignment, type_url};
use rustc_hash::FxHashMap;

use super::{State, decode};
use crate::xds::{
    Rejection,
    endpoint::{self, Assignment, Hosts},
    view::{Kind, Version},
};

/// An EDS resource that clusters want.
#[derive(Debug, Default)]
pub(super) struct AssignmentState {
    /// The last good one.
    pub(super) assignment: Option<Assignment>,
    /// Clusters by name.
    pub(super) users: Vec<Arc<str>>,
}

impl State {
    pub(super) fn take_assignment(&mut self, name: &Arc<str>, version: Version) -> Result<(), Rejection> {
        if !self.assignments.contains_key(name) {
            // Not asked for (any more).
            return Ok(());
        }
        let message: ClusterLoadAssignment = decode(&version)?;
        let assignment = endpoint::compile(&message, Hosts::Addresses, &mut self.context)?;
        self.view.update(Kind::Endpoint, name, |known| known.active = Some(version));
        let (hosts, overprovisioning) = (assignment.resolved(), assignment.overprovisioning);
        if let Some(known) = self.assignments.get_mut(name) {
            if known.assignment.as_ref() == Some(&assignment)
                && known.users.iter().all(|user| self.context.clusters.has(user))
            {
                return Ok(());
            }
            known.assignment = Some(assignment);
        }
        self.spread_assignment(name, &hosts, overprovisioning);
        Ok(())
    }

    /// Asks for exactly the assignments that clusters need, and forgets the others.
    pub(super) fn want_endpoints(&mut self) {
        let mut users: FxHashMap<Arc<str>, Vec<Arc<str>>> = FxHashMap::default();
        for (name, state) in &self.clusters {
            for resource in state.eds_resources() {
                let of = users.entry(resource.clone()).or_default();
                if !of.contains(name) {
                    of.push(name.clone());
                }
            }
        }
        let gone: Vec<_> =
            self.assignments.keys().filter(|name| !users.contains_key(*name)).cloned().collect();
        let mut changed = !gone.is_empty();
        for name in gone {
            self.assignments.remove(&name);
            self.view.forget(Kind::Endpoint, &name);
        }
        for (resource, of) in users {
            changed |= !self.assignments.contains_key(&resource);
            self.assignments.entry(resource).or_default().users = of;
        }
        if let Some(subscriber) = &self.subscriber
            && changed
        {
            subscriber.set(type_url::ENDPOINT, self.assignments.keys().map(|name| name.to_string()));
        }
    }
}
