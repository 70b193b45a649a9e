//! What the sidecars of a namespace may see: services and VirtualServices, by egress listener. Made once for each namespace and
//! Sidecar of a snapshot, and shared by their proxies.
//!
//! Invariant: depends on nothing but the snapshot, the namespace and the Sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::mesh::OutboundMode;
use meltemi_config::networking::Sidecar;
use meltemi_config::networking::sidecar::{IstioEgressListener, OutboundTrafficPolicyMode};
use meltemi_config::{ExportTo, Host, Str};
use rustc_hash::FxHashMap;

use crate::names::MESH_GATEWAY;
use crate::registry::Service;
use crate::snapshot::{Snapshot, virtual_service};

mod egress_host;

use egress_host::EgressHosts;

/// What sidecars may see.
#[derive(Debug)]
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
    /// Whether unknown destinations are let through.
    pub allow_any: bool,
}

/// An egress listener and what it sees.
#[derive(Debug)]
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
        Scope {
            namespace: namespace.clone(),
            sidecar: sidecar.cloned(),
            sidecar_namespace,
            egress,
            services,
            allow_any: allow_any(snapshot, sidecar),
        }
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

/// Where imported VirtualServices send to may be reached even when it is not listed (SEM-132).
fn add_destinations(
    snapshot: &Snapshot,
    namespace: &str,
    egress: &[Egress],
    services: &mut BTreeMap<Host, Arc<Service>>,
) {
    for resolved in egress.iter().flat_map(|listener| listener.virtual_services.all()) {
        for host in resolved.destinations() {
            if let Some(service) = snapshot.visible_service(&host, namespace) {
                let known = services.entry(host).or_insert_with(|| Arc::clone(service));
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
        let services = hosts
            .filter_map(|host| Some((host.clone(), Arc::clone(snapshot.visible_service(host, namespace)?))));
        Egress {
            listener: None,
            services: services.collect(),
            virtual_services: Index::new(visible(snapshot, namespace)),
        }
    }

    fn of(snapshot: &Snapshot, namespace: &Str, listener: &IstioEgressListener) -> Egress {
        let hosts = EgressHosts::parse(&listener.hosts, namespace);
        let port = listener.port.as_ref().map(|port| port.number);
        let mut services = BTreeMap::new();
        hosts.services(snapshot, namespace, &mut |service: &Arc<Service>| {
            if let Some(service) = with_port(service, port) {
                services.insert(service.host.clone(), service);
            }
        });
        let imported = visible(snapshot, namespace)
            .into_iter()
            .filter(|resolved| resolved.hosts.iter().any(|host| hosts.import(&resolved.namespace, host)));
        Egress {
            listener: Some(listener.clone()),
            services,
            virtual_services: Index::new(imported.collect()),
        }
    }
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

/// VirtualServices for sidecars that a namespace sees: its own private ones, then those exported to it by name, then public
/// ones (SEM-022).
fn visible(snapshot: &Snapshot, namespace: &str) -> Vec<Arc<virtual_service::Resolved>> {
    let mut seen: Vec<(u8, &Arc<virtual_service::Resolved>)> = Vec::new();
    for resolved in &snapshot.virtual_services {
        if !resolved.is_for(MESH_GATEWAY) {
            continue;
        }
        let rank = match &resolved.export_to {
            ExportTo::Nobody => continue,
            ExportTo::Public => 2,
            ExportTo::Namespaces(list) if !list.iter().any(|entry| &**entry == namespace) => continue,
            ExportTo::Namespaces(list) if list.len() == 1 && &*resolved.namespace == namespace => 0,
            ExportTo::Namespaces(_) => 1,
        };
        seen.push((rank, resolved));
    }
    seen.sort_by_key(|(rank, _)| *rank);
    seen.into_iter().map(|(_, resolved)| Arc::clone(resolved)).collect()
}

/// VirtualServices by host.
#[derive(Debug, Default)]
pub struct Index {
    ordered: Vec<Arc<virtual_service::Resolved>>,
    exact: FxHashMap<Host, Vec<usize>>,
    /// Longest first; of one length in the order in which they win.
    wildcards: Vec<(Host, usize)>,
}

impl Index {
    fn new(ordered: Vec<Arc<virtual_service::Resolved>>) -> Index {
        let mut index = Index { ordered, ..Index::default() };
        for (position, resolved) in index.ordered.iter().enumerate() {
            for host in &resolved.hosts {
                if host.is_wildcard() {
                    index.wildcards.push((host.clone(), position));
                } else {
                    index.exact.entry(host.clone()).or_default().push(position);
                }
            }
        }
        index.wildcards.sort_by_key(|(host, position)| (std::cmp::Reverse(host.len()), *position));
        index
    }

    /// All, in the order in which they win.
    pub fn all(&self) -> impl Iterator<Item = &Arc<virtual_service::Resolved>> {
        self.ordered.iter()
    }

    /// Hosts that any of them names, sorted.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        let mut hosts: Vec<&Host> =
            self.exact.keys().chain(self.wildcards.iter().map(|(host, _)| host)).collect();
        hosts.sort();
        hosts.dedup();
        hosts.into_iter()
    }

    /// Those that name just this host, in the order in which they win.
    pub fn exactly<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Arc<virtual_service::Resolved>> {
        let exact = self.exact.get(host).into_iter().flatten().copied();
        let wild = self.wildcards.iter().filter(move |(pattern, _)| pattern == host);
        exact.chain(wild.map(|(_, position)| *position)).map(|position| &self.ordered[position])
    }

    /// Those that are for a host, in the order in which they win: by name first, then the longest wildcard (SEM-027).
    pub fn of<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Arc<virtual_service::Resolved>> {
        let exact = self.exact.get(host).into_iter().flatten().copied();
        let wild = self.wildcards.iter().filter(|(pattern, _)| host.subset_of(pattern));
        exact.chain(wild.map(|(_, position)| *position)).map(|position| &self.ordered[position])
    }
}
