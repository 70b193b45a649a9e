//! What the sidecars of a namespace may see: services and VirtualServices, by egress listener. Made once for each namespace and
//! Sidecar of a snapshot, and shared by their proxies.
//!
//! Invariant: depends on nothing but the snapshot, the namespace and the Sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::mesh::OutboundMode;
use meltemi_config::networking::Sidecar;
use meltemi_config::networking::sidecar::{IstioEgressListener, OutboundTrafficPolicyMode, SidecarPort};
use meltemi_config::{ExportTo, Host, Protocol, Str};
use rustc_hash::FxHashMap;

use crate::names::MESH_GATEWAY;
use crate::registry::{Resolution, Service};
use crate::snapshot::change::Changes;
use crate::snapshot::{Snapshot, virtual_service};

mod egress_host;

use egress_host::EgressHosts;

/// What sidecars may see.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Namespace of the proxies.
    pub namespace: Str,
    /// The Sidecar that holds for them.
    pub sidecar: Option<Arc<Sidecar>>,
    /// Namespace of that Sidecar; without one, of the proxies.
    pub sidecar_namespace: Str,
    /// Listeners, in order; without a Sidecar one that sees everything.
    pub egress: Vec<Egress>,
    /// All services that may be sent to, by host.
    pub services: BTreeMap<Host, Arc<Service>>,
    /// Hosts among them that are no more than a pattern: the name that a client asks for is looked up.
    pub looked_up: BTreeSet<Host>,
    /// Whether unknown destinations are let through.
    pub allow_any: bool,
    /// Whether unknown hosts of requests are looked up (`ALLOW_ANY_DYNAMIC_DNS`): by the mesh's word alone.
    pub dynamic_dns: bool,
}

/// An egress listener and what it sees.
#[derive(Debug, Clone)]
pub struct Egress {
    /// The listener, as the Sidecar says.
    pub listener: Option<IstioEgressListener>,
    /// Services, by host.
    pub services: BTreeMap<Host, Arc<Service>>,
    /// VirtualServices by the hosts they are for.
    pub virtual_services: Index,
}

impl Scope {
    /// The scope of a namespace's sidecars under a Sidecar.
    pub fn new(snapshot: &Snapshot, namespace: &Str, sidecar: Option<(&Str, &Arc<Sidecar>)>) -> Scope {
        let sidecar_namespace = sidecar.map_or(namespace, |(namespace, _)| namespace).clone();
        let sidecar = sidecar.map(|(_, sidecar)| sidecar);
        let listeners = sidecar.map_or(&[][..], |sidecar| &sidecar.egress);
        let egress: Vec<Egress> = match listeners {
            [] => vec![Egress::all(snapshot, namespace)],
            some => some.iter().map(|listener| Egress::of(snapshot, namespace, listener)).collect(),
        };
        let mut services = BTreeMap::new();
        for listener in &egress {
            for (host, service) in &listener.services {
                services
                    .entry(host.clone())
                    .and_modify(|known| widen(known, service))
                    .or_insert_with(|| Arc::clone(service));
            }
        }
        add_destinations(snapshot, namespace, &egress, &mut services);
        let dynamic = services.iter().filter(|(_, service)| service.resolution == Resolution::Dynamic);
        Scope {
            looked_up: dynamic.map(|(host, _)| host.clone()).collect(),
            namespace: namespace.clone(),
            sidecar: sidecar.cloned(),
            sidecar_namespace,
            egress,
            services,
            allow_any: allow_any(snapshot, sidecar),
            dynamic_dns: dynamic_dns(snapshot, sidecar),
        }
    }
}

impl Scope {
    /// Whether no Sidecar narrows it.
    pub(crate) fn sees_everything(&self) -> bool {
        matches!(&self.egress[..], [Egress { listener: None, .. }])
    }

    /// Brings it up to date; `false` if it has to be made anew: what a Sidecar lets in is worked out as a whole.
    pub(crate) fn update(&mut self, snapshot: &Snapshot, changes: &Changes) -> bool {
        if changes.registry.services.is_empty() && changes.virtual_services.is_empty() {
            return true;
        }
        let [Egress { listener: None, services, virtual_services }] = &mut self.egress[..] else {
            return false;
        };
        for host in &changes.registry.services {
            self.looked_up.remove(host);
            match snapshot.visible_service(host, &self.namespace).filter(|service| !service.is_alias()) {
                Some(service) => {
                    if service.resolution == Resolution::Dynamic {
                        self.looked_up.insert(host.clone());
                    }
                    services.insert(host.clone(), Arc::clone(service));
                    self.services.insert(host.clone(), Arc::clone(service));
                }
                None => {
                    services.remove(host);
                    self.services.remove(host);
                }
            }
        }
        for (old, new) in &changes.virtual_services {
            if let Some(old) = old {
                virtual_services.remove(old);
            }
            if let Some((rank, new)) = new.as_ref().and_then(|new| Some((rank(new, &self.namespace)?, new))) {
                virtual_services.insert(rank, new);
            }
        }
        true
    }
}

/// Two listeners with one port each see the same service: clusters are wanted for both ports.
fn widen(known: &mut Arc<Service>, other: &Arc<Service>) {
    for port in &other.ports {
        if known.port(port.number).is_none() {
            Arc::make_mut(known).ports.push(port.clone());
        }
    }
}

fn allow_any(snapshot: &Snapshot, sidecar: Option<&Arc<Sidecar>>) -> bool {
    match sidecar.and_then(|sidecar| sidecar.outbound_traffic_policy.as_ref()) {
        Some(policy) => policy.mode == OutboundTrafficPolicyMode::AllowAny,
        None => snapshot.mesh.outbound_mode() != OutboundMode::RegistryOnly,
    }
}

fn dynamic_dns(snapshot: &Snapshot, sidecar: Option<&Arc<Sidecar>>) -> bool {
    sidecar.is_none_or(|sidecar| sidecar.outbound_traffic_policy.is_none())
        && snapshot.mesh.looks_up_unknown_hosts()
}

/// Where imported VirtualServices send to may be reached even when it is not listed (SEM-132).
fn add_destinations(
    snapshot: &Snapshot,
    namespace: &str,
    egress: &[Egress],
    services: &mut BTreeMap<Host, Arc<Service>>,
) {
    for resolved in egress.iter().flat_map(|listener| listener.virtual_services.all()) {
        for host in resolved.destinations() {
            let host = snapshot.registry.concrete(&host);
            if let Some(service) = snapshot.visible_service(host, namespace).filter(|found| !found.is_alias())
            {
                let known = services.entry(host.clone()).or_insert_with(|| Arc::clone(service));
                if known.namespace == service.namespace {
                    widen(known, service);
                }
            }
        }
    }
}

impl Egress {
    fn all(snapshot: &Snapshot, namespace: &str) -> Egress {
        let hosts = snapshot.registry.services.keys();
        let concrete = |host: &Host| {
            let service = snapshot.visible_service(host, namespace).filter(|service| !service.is_alias())?;
            Some((host.clone(), Arc::clone(service)))
        };
        let services = hosts.filter_map(concrete);
        Egress {
            listener: None,
            services: services.collect(),
            virtual_services: Index::new(visible(snapshot, namespace)),
        }
    }

    fn of(snapshot: &Snapshot, namespace: &Str, listener: &IstioEgressListener) -> Egress {
        let hosts = EgressHosts::parse(&listener.hosts, namespace);
        let port = listener.port.as_ref().filter(|port| !is_http_proxy(port)).map(|port| port.number);
        let mut services = BTreeMap::new();
        hosts.services(snapshot, namespace, &mut |service: &Arc<Service>| {
            // A name that stands for another is served where that one is.
            if let Some(service) = with_port(service, port).filter(|service| !service.is_alias()) {
                services.insert(service.host.clone(), service);
            }
        });
        let imported = visible(snapshot, namespace).filter(|(_, resolved)| {
            resolved.hosts.iter().any(|host| hosts.import(&resolved.namespace, host))
        });
        Egress { listener: Some(listener.clone()), services, virtual_services: Index::new(imported) }
    }
}

/// Whether requests at a port are for any port of any service, as the authority says.
pub(super) fn is_http_proxy(port: &SidecarPort) -> bool {
    port.protocol.as_deref().and_then(Protocol::parse) == Some(Protocol::HttpProxy)
}

/// The service with only that port; `None` if it has no such port (SEM-133).
fn with_port(service: &Arc<Service>, port: Option<u32>) -> Option<Arc<Service>> {
    let Some(number) = port.filter(|number| *number > 0) else { return Some(Arc::clone(service)) };
    let port = service.port(number)?.clone();
    if service.ports.len() == 1 {
        return Some(Arc::clone(service));
    }
    Some(Arc::new(Service { ports: vec![port], ..Service::clone(service) }))
}

/// VirtualServices for sidecars that a namespace sees, with their rank.
fn visible<'s>(
    snapshot: &'s Snapshot,
    namespace: &'s str,
) -> impl Iterator<Item = (u8, &'s Arc<virtual_service::Resolved>)> {
    snapshot.virtual_services.iter().filter_map(|resolved| Some((rank(resolved, namespace)?, resolved)))
}

/// A namespace's own private VirtualServices win, then those exported to it by name, then public ones (SEM-022); `None` for
/// those that its sidecars do not see.
fn rank(resolved: &virtual_service::Resolved, namespace: &str) -> Option<u8> {
    if !resolved.is_for(MESH_GATEWAY) {
        return None;
    }
    match &resolved.export_to {
        ExportTo::Nobody => None,
        ExportTo::Public => Some(2),
        ExportTo::Namespaces(list) if !list.iter().any(|entry| &**entry == namespace) => None,
        ExportTo::Namespaces(list) if list.len() == 1 && &*resolved.namespace == namespace => Some(0),
        ExportTo::Namespaces(_) => Some(1),
    }
}

/// A VirtualService in the order in which they win.
type Ranked = (u8, Arc<virtual_service::Resolved>);

/// VirtualServices by host.
#[derive(Debug, Clone, Default)]
pub struct Index {
    exact: FxHashMap<Host, Vec<Ranked>>,
    /// Longest first.
    wildcards: BTreeMap<(std::cmp::Reverse<usize>, Host), Vec<Ranked>>,
}

impl Index {
    fn new<'s>(all: impl Iterator<Item = (u8, &'s Arc<virtual_service::Resolved>)>) -> Index {
        let mut index = Index::default();
        all.for_each(|(rank, resolved)| index.insert(rank, resolved));
        index
    }

    fn insert(&mut self, rank: u8, resolved: &Arc<virtual_service::Resolved>) {
        for host in &resolved.hosts {
            let of_host = match host.is_wildcard() {
                true => self.wildcards.entry((std::cmp::Reverse(host.len()), host.clone())).or_default(),
                false => self.exact.entry(host.clone()).or_default(),
            };
            let at = of_host
                .partition_point(|(other_rank, other)| (*other_rank, &other.order) < (rank, &resolved.order));
            of_host.insert(at, (rank, Arc::clone(resolved)));
        }
    }

    fn remove(&mut self, resolved: &Arc<virtual_service::Resolved>) {
        for host in &resolved.hosts {
            let keep = |(_, other): &Ranked| other.order != resolved.order;
            if host.is_wildcard() {
                let key = (std::cmp::Reverse(host.len()), host.clone());
                let Some(of_host) = self.wildcards.get_mut(&key) else { continue };
                of_host.retain(keep);
                if of_host.is_empty() {
                    self.wildcards.remove(&key);
                }
            } else if let Some(of_host) = self.exact.get_mut(host) {
                of_host.retain(keep);
                if of_host.is_empty() {
                    self.exact.remove(host);
                }
            }
        }
    }

    /// All; one of several hosts as often.
    fn all(&self) -> impl Iterator<Item = &Arc<virtual_service::Resolved>> {
        let exact = self.exact.values().flatten();
        exact.chain(self.wildcards.values().flatten()).map(|(_, resolved)| resolved)
    }

    /// Hosts that any of them names, sorted.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        let wildcards = self.wildcards.keys().map(|(_, host)| host);
        let mut hosts: Vec<&Host> = self.exact.keys().chain(wildcards).collect();
        hosts.sort();
        hosts.into_iter()
    }

    /// Patterns that any of them is for and that cover or meet a host.
    pub fn patterns_over<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Host> {
        self.wildcards.keys().map(|(_, pattern)| pattern).filter(|pattern| pattern.matches(host))
    }

    /// Those that name just this host, in the order in which they win.
    pub fn exactly<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Arc<virtual_service::Resolved>> {
        let exact = self.exact.get(host).into_iter().flatten();
        let wild = self.wildcards.get(&(std::cmp::Reverse(host.len()), host.clone())).into_iter().flatten();
        exact.chain(wild).map(|(_, resolved)| resolved)
    }

    /// Those whose requests to a host count: all that name it, else the first of the longest wildcard over it (SEM-027).
    pub fn most_specific<'a>(
        &'a self,
        host: &'a Host,
    ) -> impl Iterator<Item = &'a Arc<virtual_service::Resolved>> {
        let exact = self.exact.get(host).filter(|_| !host.is_wildcard());
        let wild = || self.wildcards.iter().find(|((_, pattern), _)| host.subset_of(pattern));
        let wild = exact.is_none().then(wild).flatten().and_then(|(_, of_host)| of_host.first());
        exact.into_iter().flatten().chain(wild).map(|(_, resolved)| resolved)
    }

    /// Those that are for a host, in the order in which they win: by name first, then the longest wildcard.
    pub fn of<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Arc<virtual_service::Resolved>> {
        let exact = self.exact.get(host).into_iter().flatten();
        let wild = self.wildcards.iter().filter(|((_, pattern), _)| host.subset_of(pattern));
        exact.chain(wild.flat_map(|(_, of_host)| of_host)).map(|(_, resolved)| resolved)
    }
}
