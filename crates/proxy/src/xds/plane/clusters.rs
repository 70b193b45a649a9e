//! Clusters in the plane: static ones and CDS, warm as soon as their endpoints are known.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster as Message;
use smallvec::SmallVec;
use tokio::task::AbortHandle;

use super::{State, decode, static_version};
use crate::{
    cluster::{
        BalancerPolicy, Cluster, ClusterSettings, EndpointSet, Endpoints,
        cold::{Cold, Counts},
        dns,
        endpoints::{HostSpec, Layout, LocalityEndpoints},
        health::{self, Checker},
        outlier::{self, Detector},
    },
    xds::{
        Rejection,
        cluster::{self, Compiled, Discovery, Dns},
        endpoint,
        view::{Kind, Version},
        wire,
    },
};

/// Field number of `Cluster.load_assignment`.
const LOAD_ASSIGNMENT: u32 = 33;

/// A cluster and its next version.
#[derive(Debug, Default)]
pub(super) struct ClusterState {
    is_static: bool,
    /// Bytes of what was accepted last, to tell repetition from change.
    accepted: Option<Version>,
    active: Option<InForce>,
    warming: Option<Box<Warming>>,
    /// Waits for the first answers of its hosts.
    checking: Option<Box<Ready>>,
    /// EDS resources that this cluster is filed under as a user.
    pub(super) wanted: SmallVec<[Arc<str>; 1]>,
}

#[derive(Debug)]
struct InForce {
    cluster: Arc<Cluster>,
    source: Source,
    /// Resolves its names.
    resolver: Option<Task>,
    /// Asks its hosts how they are.
    _checks: Option<Task>,
    /// Hosts that discovery forgets stay while they are well.
    stays: bool,
}

/// A cluster that has all but the first answers of its hosts.
#[derive(Debug)]
struct Ready {
    cluster: Arc<Cluster>,
    compiled: Compiled,
    resolver: Option<Task>,
    checks: Option<Task>,
}

/// What health checks mean for hosts that come and go.
#[derive(Debug, Clone, Copy, Default)]
struct Checked {
    /// Hosts are asked.
    is: bool,
    /// Those that discovery forgets stay while they are well.
    stays: bool,
}

impl Checked {
    fn of(compiled: &Compiled) -> Self {
        Self { is: compiled.health.is_some(), stays: compiled.stays_while_well }
    }
}

/// Where the endpoints of a cluster in force come from.
#[derive(Debug)]
enum Source {
    /// From the cluster itself.
    Fixed,
    Eds(Arc<str>),
    Dns(Arc<Dns>),
}

/// The hosts of a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hosts<'a> {
    /// Ready to be laid out.
    Known(&'a [LocalityEndpoints], u32),
    /// A valid assignment in its bytes.
    Encoded(&'a Encoded),
}

/// A valid load assignment of addresses, not kept in any other form.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub(super) body: Bytes,
    pub(super) overprovisioning: u32,
    pub(super) counts: Counts,
}

/// Nobody, with Envoy's default factor.
const NOBODY: Hosts<'static> = Hosts::Known(&[], 140);

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
        self.warming.is_none() && self.checking.is_none()
    }

    /// EDS resources it needs, now and next.
    pub(super) fn eds_resources(&self) -> SmallVec<[Arc<str>; 1]> {
        let mut wanted = SmallVec::new();
        if let Some(Source::Eds(resource)) = self.active.as_ref().map(|active| &active.source) {
            wanted.push(resource.clone());
        }
        if let Some(Discovery::Eds { resource, .. }) =
            self.warming.as_ref().map(|warming| &warming.compiled.discovery)
            && !wanted.contains(resource)
        {
            wanted.push(resource.clone());
        }
        wanted
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
        self.touched.push(name.clone());
        let Some(state) = self.clusters.get_mut(name) else { return };
        let body = version.body.clone();
        state.accepted = Some(version);
        match compiled.discovery.clone() {
            Discovery::Static(assignment) => {
                let encoded = wire::last(&body, LOAD_ASSIGNMENT).map(|body| Encoded {
                    body,
                    overprovisioning: assignment.overprovisioning,
                    counts: assignment.counts(),
                });
                let hosts = encoded.as_ref().map_or(NOBODY, Hosts::Encoded);
                self.warm_cluster(name, compiled, hosts, None);
            }
            Discovery::OriginalDst | Discovery::Dynamic(_) => self.warm_cluster(name, compiled, NOBODY, None),
            Discovery::Eds { resource, timeout } => {
                let known = self.assignments.get(&resource).and_then(|known| known.assignment.clone());
                match known {
                    Some(encoded) => self.warm_cluster(name, compiled, Hosts::Encoded(&encoded), None),
                    None => self.await_endpoints(name, compiled, timeout),
                }
            }
            Discovery::Dns(dns) => self.resolve_cluster(name, compiled, dns),
        }
    }

    fn await_endpoints(&mut self, name: &Arc<str>, compiled: Compiled, timeout: Option<Duration>) {
        let late = name.clone();
        let timer =
            timeout.and_then(|wait| self.itself.after(wait, move |state| state.give_up_waiting(&late)));
        if let Some(state) = self.clusters.get_mut(name) {
            state.warming = Some(Box::new(Warming { compiled, resolver: None, _timer: timer.map(Task) }));
        }
    }

    /// No endpoints in time: in force without, or with those of before.
    fn give_up_waiting(&mut self, name: &Arc<str>) {
        let Some(warming) = self.clusters.get_mut(name).and_then(|state| state.warming.take()) else {
            return;
        };
        tracing::warn!(cluster = %name, "no endpoints within the initial fetch timeout");
        self.warm_cluster(name, warming.compiled, NOBODY, None);
    }

    fn resolve_cluster(&mut self, name: &Arc<str>, compiled: Compiled, dns: Arc<Dns>) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        // The same names go on being resolved by the same task, and their addresses are known already.
        if let Some(active) = &mut state.active
            && matches!(&active.source, Source::Dns(old) if *old == dns)
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
            state.warming = Some(Box::new(Warming { compiled, resolver, _timer: timer.map(Task) }));
        }
    }

    fn give_up_resolving(&mut self, name: &Arc<str>) {
        let Some(warming) = self.clusters.get_mut(name).and_then(|state| state.warming.take()) else {
            return;
        };
        tracing::warn!(cluster = %name, "names not resolved in time");
        self.warm_cluster(name, warming.compiled, NOBODY, warming.resolver);
    }

    fn take_addresses(&mut self, name: &Arc<str>, hosts: &[LocalityEndpoints], overprovisioning: u32) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        let hosts = Hosts::Known(hosts, overprovisioning);
        match state.warming.take() {
            Some(warming) => self.warm_cluster(name, warming.compiled, hosts, warming.resolver),
            None => self.move_endpoints(name, hosts),
        }
    }

    /// Puts a cluster in force with its first endpoints; hosts of before keep their identity.
    fn warm_cluster(
        &mut self,
        name: &Arc<str>,
        compiled: Compiled,
        hosts: Hosts<'_>,
        resolver: Option<Task>,
    ) {
        let Some(state) = self.clusters.get(name) else { return };
        let before = state.active.as_ref().map(|active| &active.cluster.endpoints);
        let settings = compiled.settings.clone();
        let endpoints = lay_out(hosts, &settings, Checked::of(&compiled), before);
        self.publish(name, compiled, settings, endpoints, resolver);
    }

    /// Puts a cluster in force; one with health checks when all of its hosts were asked.
    fn publish(
        &mut self,
        name: &Arc<str>,
        compiled: Compiled,
        settings: Arc<ClusterSettings>,
        endpoints: Arc<EndpointSet>,
        resolver: Option<Task>,
    ) {
        let runtime = tokio::runtime::Handle::try_current().ok();
        let detector = |of: &outlier::Settings| Box::new(Detector::new(of.clone(), runtime));
        let cluster = Arc::new(Cluster {
            metadata: compiled.metadata.clone(),
            name: compiled.name.clone(),
            stat_name: compiled.stat_name.clone(),
            origin: compiled.origin.clone(),
            outlier: settings.outlier.as_deref().map(detector),
            local: self.context.local.clone().filter(|_| settings.zone_aware.is_some()),
            health: compiled.health.clone().map(|health| Arc::new(Checker::new(health))),
            settings,
            endpoints: Endpoints::new(endpoints),
        });
        let ready = Ready { cluster, compiled, resolver, checks: None };
        match &ready.cluster.health {
            None => self.enforce(name, ready),
            Some(checker) => self.check(name, checker.clone(), ready),
        }
    }

    /// Starts to ask the hosts; when all were asked, the cluster is in force.
    fn check(&mut self, name: &Arc<str>, checker: Arc<Checker>, ready: Ready) {
        let (plane, told) = (self.itself.clone(), name.clone());
        if plane.0.upgrade().is_none() {
            return self.enforce(name, ready);
        }
        let (weak, used) = (Arc::downgrade(&ready.cluster), self.context.clusters.slot(name).used.clone());
        let of = weak.clone();
        let task = tokio::spawn(health::watch(weak, checker, used, move || {
            plane.with(|state| state.checked(&told, &of));
        }));
        let Some(state) = self.clusters.get_mut(name) else { return task.abort() };
        state.checking = Some(Box::new(Ready { checks: Some(Task(task.abort_handle())), ..ready }));
    }

    /// Every host of a cluster was asked.
    fn checked(&mut self, name: &Arc<str>, cluster: &Weak<Cluster>) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        let is_it = |ready: &Ready| std::ptr::eq(Arc::as_ptr(&ready.cluster), cluster.as_ptr());
        if let Some(ready) = state.checking.take_if(|ready| is_it(ready)) {
            self.enforce(name, *ready);
        }
    }

    fn enforce(&mut self, name: &Arc<str>, ready: Ready) {
        let Some(state) = self.clusters.get_mut(name) else { return };
        let Ready { cluster, compiled, resolver, checks } = ready;
        let slot = self.context.clusters.slot(name);
        slot.changes.fetch_add(1, Ordering::Relaxed);
        cluster.forgive();
        self.context.clusters.publish(cluster.clone());
        let source = match compiled.discovery {
            Discovery::Static(_) | Discovery::OriginalDst | Discovery::Dynamic(_) => Source::Fixed,
            Discovery::Eds { resource, .. } => Source::Eds(resource),
            Discovery::Dns(dns) => Source::Dns(dns),
        };
        self.retire |= state.active.is_some();
        let counts = &self.counts.clusters;
        if state.active.is_some() {
            counts.cluster_modified.inc()
        } else {
            counts.cluster_added.inc()
        }
        let stays = compiled.stays_while_well;
        state.active = Some(InForce { cluster, source, resolver, _checks: checks, stays });
        state.checking = None;
        state.warming = None;
        self.touched.push(name.clone());
        let accepted = state.accepted.clone();
        self.view.update(Kind::Cluster, name, |known| {
            known.active = accepted;
            known.warming = None;
        });
    }

    /// New endpoints of a cluster that is in force: its fast lane.
    fn move_endpoints(&mut self, name: &Arc<str>, hosts: Hosts<'_>) {
        let Some(active) = self.clusters.get(name).and_then(|state| state.active.as_ref()) else { return };
        let endpoints = &active.cluster.endpoints;
        let checked = Checked { is: active.cluster.health.is_some(), stays: active.stays };
        endpoints.change(|| lay_out(hosts, &active.cluster.settings, checked, Some(endpoints)));
        if let Some(checker) = &active.cluster.health {
            checker.follow();
        }
        self.context.clusters.slot(name).changes.fetch_add(1, Ordering::Relaxed);
        self.counts.clusters.cluster_updated.inc();
    }

    /// Endpoints came for an EDS resource: clusters that wait for it warm, those in force move.
    pub(super) fn spread_assignment(&mut self, resource: &Arc<str>, hosts: &Encoded) {
        let hosts = Hosts::Encoded(hosts);
        let users = self.assignments.get(resource).map(|known| known.users.clone()).unwrap_or_default();
        for name in users {
            self.context.clusters.slot(&name).updates.fetch_add(1, Ordering::Relaxed);
            let Some(state) = self.clusters.get_mut(&name) else { continue };
            let waits = state.warming.as_ref().is_some_and(|warming| uses(&warming.compiled, resource));
            let active = state.active.as_ref().map(|active| &active.source);
            if waits && let Some(warming) = state.warming.take() {
                self.warm_cluster(&name, warming.compiled, hosts, None);
            } else if matches!(active, Some(Source::Eds(of)) if of == resource) {
                self.move_endpoints(&name, hosts);
            }
        }
    }

    pub(super) fn remove_cluster(&mut self, name: &str) {
        if self.clusters.get(name).is_none_or(|state| state.is_static) {
            return;
        }
        if let Some((name, state)) = self.clusters.remove_entry(name) {
            self.counts.clusters.cluster_removed.inc();
            self.context.clusters.remove(&name);
            self.context.declared.remove(&name);
            self.view.forget(Kind::Cluster, &name);
            self.release_endpoints(&name, &state.wanted);
            self.retire = true;
            if let Some(active) = state.active {
                self.sink.forget_cluster(&active.cluster.stat_name);
            }
        }
    }
}

/// The next endpoints of a cluster. While no worker has used it they stay in their bytes; hosts of before keep their
/// identity.
fn lay_out(
    hosts: Hosts<'_>,
    settings: &ClusterSettings,
    checked: Checked,
    before: Option<&Endpoints>,
) -> Arc<EndpointSet> {
    let unused = before.is_none_or(Endpoints::is_cold);
    let before = before.map(Endpoints::before).unwrap_or_default();
    let layout = |factor| Layout { checked: checked.is, ..layout(settings, factor) };
    let set = match hosts {
        Hosts::Known(hosts, factor) if checked.is && checked.stays => {
            EndpointSet::build(&staying(hosts.to_vec(), &before), layout(factor), &before)
        }
        Hosts::Known(hosts, factor) => EndpointSet::build(hosts, layout(factor), &before),
        Hosts::Encoded(encoded) if unused && !checked.is => {
            let layout = layout(encoded.overprovisioning);
            EndpointSet::cold(Cold::new(encoded.body.clone(), layout, encoded.counts), &before)
        }
        Hosts::Encoded(encoded) => {
            // It was valid when it came.
            let mut hosts = endpoint::hosts(&encoded.body).unwrap_or_default();
            if checked.is && checked.stays {
                hosts = staying(hosts, &before);
            }
            EndpointSet::build(&hosts, layout(encoded.overprovisioning), &before)
        }
    };
    Arc::new(set)
}

fn uses(compiled: &Compiled, resource: &Arc<str>) -> bool {
    matches!(&compiled.discovery, Discovery::Eds { resource: of, .. } if of == resource)
}

/// The hosts of an update with those of before that are not in it and well.
fn staying(mut hosts: Vec<LocalityEndpoints>, before: &EndpointSet) -> Vec<LocalityEndpoints> {
    for host in before.iter().filter(|host| !host.has_failed_check()) {
        let at = |group: &LocalityEndpoints| group.priority == host.priority;
        if hosts.iter().any(|group| at(group) && group.hosts.iter().any(|one| one.address == host.address)) {
            continue;
        }
        let spec = HostSpec {
            logged: host.logged.clone(),
            address: host.address.clone(),
            hostname: host.hostname.clone(),
            weight: host.weight(),
            health: host.told_health(),
            hash_key: host.hash_key.clone(),
            metadata: host.metadata.clone(),
            check: host.check.clone(),
            leaving: true,
        };
        match hosts.iter_mut().find(|group| at(group) && group.locality == host.locality) {
            Some(group) => group.hosts.push(spec),
            None => hosts.push(LocalityEndpoints {
                priority: host.priority,
                locality: host.locality.clone(),
                weight: 1,
                hosts: vec![spec],
            }),
        }
    }
    hosts
}

fn layout(settings: &ClusterSettings, overprovisioning: u32) -> Layout {
    Layout {
        checked: false,
        subsets: settings.subsets.clone(),
        overprovisioning: overprovisioning.max(100),
        panic_threshold: settings.panic_threshold,
        locality_weighted: settings.locality_weighted,
        consistent: match settings.balancer {
            BalancerPolicy::Consistent(kind) => Some(kind),
            _ => None,
        },
    }
}
