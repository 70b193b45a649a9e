//! Clusters in the plane: static ones and CDS, warm as soon as their endpoints are known.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster as Message;
use tokio::task::AbortHandle;

use super::{State, decode, static_version};
use crate::{
    cluster::{
        BalancerPolicy, Cluster, ClusterSettings, EndpointSet, dns,
        endpoints::{Layout, LocalityEndpoints},
    },
    xds::{
        Rejection,
        cluster::{self, Compiled, Discovery, Dns},
        view::{Kind, Version},
    },
};

/// A cluster and its next version.
#[derive(Debug, Default)]
pub(super) struct ClusterState {
    is_static: bool,
    /// Bytes of what was accepted last, to tell repetition from change.
    accepted: Option<Version>,
    active: Option<InForce>,
    warming: Option<Warming>,
}

#[derive(Debug)]
struct InForce {
    compiled: Compiled,
    cluster: Arc<Cluster>,
    /// Resolves its names.
    resolver: Option<Task>,
}

#[derive(Debug)]
struct Warming {
    compiled: Compiled,
    resolver: Option<Task>,
    /// Ends the wait for endpoints.
    _timer: Option<Task>,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ClusterState {
    /// Nothing of it is waited for.
    pub(super) fn is_warm(&self) -> bool {
        self.warming.is_none()
    }

    /// EDS resources it needs, now and next.
    pub(super) fn eds_resources(&self) -> impl Iterator<Item = &Arc<str>> {
        let active = self.active.as_ref().map(|active| &active.compiled);
        let warming = self.warming.as_ref().map(|warming| &warming.compiled);
        active.into_iter().chain(warming).filter_map(|compiled| match &compiled.discovery {
            Discovery::Eds { resource, .. } => Some(resource),
            _ => None,
        })
    }
}

impl State {
    pub(super) fn load_cluster(&mut self, body: Bytes) -> Result<(), Rejection> {
        let version = static_version(body);
        let message: Message = decode(&version)?;
        let name = self.context.intern(&message.name);
        if self.clusters.contains_key(&name) {
            return Err(Rejection::new(format!("duplicate cluster '{name}'")));
        }
        let compiled = cluster::compile(&message, &mut self.context)
            .map_err(|error| Rejection { reason: format!("{} (cluster '{name}')", error.reason), ..error })?;
        let notes = self.take_notes(Kind::Cluster, &name);
        self.view.update(Kind::Cluster, &name, |known| {
            known.is_static = true;
            known.notes = notes;
        });
        self.clusters.insert(name.clone(), ClusterState { is_static: true, ..ClusterState::default() });
        self.accept_cluster(&name, compiled, version);
        Ok(())
    }

    pub(super) fn take_cluster(&mut self, name: &Arc<str>, version: Version) -> Result<(), Rejection> {
        if let Some(known) = self.clusters.get(name) {
            if known.is_static {
                self.context.note("the static cluster of this name stays");
                return Ok(());
            }
            if known.accepted.as_ref().is_some_and(|accepted| accepted.body == version.body) {
                return Ok(());
            }
        }
        let compiled = cluster::compile(&decode::<Message>(&version)?, &mut self.context)?;
        self.clusters.entry(name.clone()).or_default();
        self.accept_cluster(name, compiled, version);
        Ok(())
    }

    fn accept_cluster(&mut self, name: &Arc<str>, compiled: Compiled, version: Version) {
        self.view.update(Kind::Cluster, name, |known| known.warming = Some(version.clone()));
        let Some(state) = self.clusters.get_mut(name) else { return };
        state.accepted = Some(version);
        match compiled.discovery.clone() {
            Discovery::Static(assignment) => {
                let hosts = assignment.resolved();
                self.warm_cluster(name, compiled, &hosts, assignment.overprovisioning, None);
            }
            Discovery::OriginalDst => self.warm_cluster(name, compiled, &[], 140, None),
            Discovery::Eds { resource, timeout } => match self.assignments.get(&resource) {
                Some(known) if known.assignment.is_some() => {
                    let assignment = known.assignment.clone().unwrap_or_default();
                    self.warm_cluster(
                        name,
                        compiled,
                        &assignment.resolved(),
                        assignment.overprovisioning,
                        None,
                    );
                }
                _ => self.await_endpoints(name, compiled, timeout),
            },
            Discovery::Dns(dns) => self.resolve_cluster(name, compiled, dns),
        }
    }

    fn await_endpoints(&mut self, name: &Arc<str>, compiled: Compiled, timeout: Option<Duration>) {
        let late = name.clone();
        let timer =
            timeout.and_then(|wait| self.itself.after(wait, move |state| state.give_up_waiting(&late)));
        if let Some(state) = self.clusters.get_mut(name) {
            state.warming = Some(Warming { compiled, resolver: None, _timer: timer.map(Task) });
        }
    }

    /// No endpoints in time: in force without, or with those of before.
    fn give_up_waiting(&mut self, name: &Arc<str>) {
        let Some(warming) = self.clusters.get_mut(name).and_then(|state| state.warming.take()) else {
            return;
        };
        tracing::warn!(cluster = %name, "no endpoints within the initial fetch timeout");
        self.warm_cluster(name, warming.compiled, &[], 140, None);
    }

    fn resolve_cluster(&mut self, name: &Arc<str>, compiled: Compiled, dns: Arc<Dns>) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        // The same names go on being resolved by the same task, and their addresses are known already.
        if let Some(active) = &mut state.active
            && matches!(&active.compiled.discovery, Discovery::Dns(old) if *old == dns)
        {
            let resolver = active.resolver.take();
            let settings = compiled.settings.clone();
            let endpoints = active.cluster.endpoints.load_full();
            self.publish(name, compiled, settings, endpoints, resolver);
            return;
        }
        let (plane, told) = (self.itself.clone(), name.clone());
        if plane.0.upgrade().is_none() {
            return;
        }
        let overprovisioning = dns.assignment.overprovisioning;
        let task = tokio::spawn(dns::run(name.clone(), dns.clone(), move |hosts| {
            plane.with(|state| state.take_addresses(&told, &hosts, overprovisioning));
        }));
        let resolver = Some(Task(task.abort_handle()));
        let late = name.clone();
        let timer = self.itself.after(super::INITIAL_FETCH, move |state| state.give_up_resolving(&late));
        if let Some(state) = self.clusters.get_mut(name) {
            state.warming = Some(Warming { compiled, resolver, _timer: timer.map(Task) });
        }
    }

    fn give_up_resolving(&mut self, name: &Arc<str>) {
        let Some(warming) = self.clusters.get_mut(name).and_then(|state| state.warming.take()) else {
            return;
        };
        tracing::warn!(cluster = %name, "names not resolved in time");
        self.warm_cluster(name, warming.compiled, &[], 140, warming.resolver);
    }

    fn take_addresses(&mut self, name: &Arc<str>, hosts: &[LocalityEndpoints], overprovisioning: u32) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        match state.warming.take() {
            Some(warming) => {
                self.warm_cluster(name, warming.compiled, hosts, overprovisioning, warming.resolver);
            }
            None => self.move_endpoints(name, hosts, overprovisioning),
        }
    }

    /// Puts a cluster in force with its first endpoints; hosts of before keep their identity.
    fn warm_cluster(
        &mut self,
        name: &Arc<str>,
        compiled: Compiled,
        hosts: &[LocalityEndpoints],
        overprovisioning: u32,
        resolver: Option<Task>,
    ) {
        let Some(state) = self.clusters.get(name) else { return };
        let before = state.active.as_ref().map(|active| active.cluster.endpoints.load_full());
        let settings = compiled.settings.clone();
        let layout = layout(&settings, overprovisioning);
        let endpoints = EndpointSet::build(hosts, layout, &before.unwrap_or_default());
        self.publish(name, compiled, settings, Arc::new(endpoints), resolver);
    }

    fn publish(
        &mut self,
        name: &Arc<str>,
        compiled: Compiled,
        settings: Arc<ClusterSettings>,
        endpoints: Arc<EndpointSet>,
        resolver: Option<Task>,
    ) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        let cluster = Arc::new(Cluster {
            name: compiled.name.clone(),
            stat_name: compiled.stat_name.clone(),
            settings,
            endpoints: ArcSwap::new(endpoints),
        });
        self.context.clusters.publish(cluster.clone());
        // What an assignment says is laid out; keeping it once more would double the memory.
        let compiled = match compiled.discovery {
            Discovery::Static(_) => Compiled { discovery: Discovery::Static(Default::default()), ..compiled },
            _ => compiled,
        };
        state.active = Some(InForce { compiled, cluster, resolver });
        state.warming = None;
        let accepted = state.accepted.clone();
        self.view.update(Kind::Cluster, name, |known| {
            known.active = accepted;
            known.warming = None;
        });
    }

    /// New endpoints of a cluster that is in force: its fast lane.
    fn move_endpoints(&mut self, name: &Arc<str>, hosts: &[LocalityEndpoints], overprovisioning: u32) {
        let Some(active) = self.clusters.get(name).and_then(|state| state.active.as_ref()) else { return };
        let before = active.cluster.endpoints.load();
        let layout = layout(&active.cluster.settings, overprovisioning);
        active.cluster.endpoints.store(Arc::new(EndpointSet::build(hosts, layout, &before)));
    }

    /// Endpoints came for an EDS resource: clusters that wait for it warm, those in force move.
    pub(super) fn spread_assignment(
        &mut self,
        resource: &Arc<str>,
        hosts: &[LocalityEndpoints],
        overprovisioning: u32,
    ) {
        let users = self.assignments.get(resource).map(|known| known.users.clone()).unwrap_or_default();
        for name in users {
            let Some(state) = self.clusters.get_mut(&name) else { continue };
            let waits = state.warming.as_ref().is_some_and(|warming| uses(&warming.compiled, resource));
            if waits && let Some(warming) = state.warming.take() {
                self.warm_cluster(&name, warming.compiled, hosts, overprovisioning, None);
            } else if state.active.as_ref().is_some_and(|active| uses(&active.compiled, resource)) {
                self.move_endpoints(&name, hosts, overprovisioning);
            }
        }
    }

    pub(super) fn remove_cluster(&mut self, name: &str) {
        if self.clusters.get(name).is_none_or(|state| state.is_static) {
            return;
        }
        if let Some((name, _)) = self.clusters.remove_entry(name) {
            self.context.clusters.remove(&name);
            self.context.declared.remove(&name);
            self.view.forget(Kind::Cluster, &name);
        }
    }
}

fn uses(compiled: &Compiled, resource: &Arc<str>) -> bool {
    matches!(&compiled.discovery, Discovery::Eds { resource: of, .. } if of == resource)
}

fn layout(settings: &ClusterSettings, overprovisioning: u32) -> Layout {
    Layout {
        overprovisioning: overprovisioning.max(100),
        panic_threshold: settings.panic_threshold,
        locality_weighted: settings.locality_weighted,
        consistent: match settings.balancer {
            BalancerPolicy::Consistent(kind) => Some(kind),
            _ => None,
        },
    }
}
