//! One proxy's view of a snapshot, as the plain model. Called by `discovery` and by offline translation.
//!
//! Invariant: a view only reads; the same snapshot and node give the same model.
//!
//! The discovery server asks for a view in pieces, each made again only when something changed that was looked at on its way
//! (`reads`), and each the same for all proxies of one group, but for what is the workload's own:
//!
//! | piece | made by | may depend on |
//! |---|---|---|
//! | clusters of a service | [`View::clusters_of`] | the service, its rules, what else it asks `self` for |
//! | endpoints of a cluster | [`View::assignment`] | the service, its rules, its endpoints |
//! | a virtual host | [`View::virtual_host`] of a [`seat::Seat`] and a host | service, rules and VirtualServices of the host, what else it asks `self` for |
//! | listener of a socket and the seat of its table | [`View::wishes_of`] each host, [`View::entry`] | the ports of the services that want the socket; TCP rules |
//! | inbound listeners and clusters | [`View::own_listeners`], [`View::own_clusters`] | everything, the node's addresses included |
//!
//! So nothing but the own pieces may look at the node's id, name or addresses, and other services, rules and VirtualServices
//! are reached through the functions of [`reads`] only.

use std::cell::OnceCell;
use std::sync::Arc;

use meltemi_config::labels::selects;
use meltemi_config::networking::Sidecar;
use meltemi_config::{Labels, Protocol, Str};

use crate::model::listener::AccessLogs;
use crate::node::{Node, Role};
use crate::registry::Service;
use crate::snapshot::scope::Scope;
use crate::snapshot::{Snapshot, destination_rule};

mod access_log;
mod cluster;
mod endpoint;
mod gateway;
mod http;
mod http_route;
mod inbound;
mod locality;
mod network;
pub mod outbound;
mod policy;
pub mod reads;
mod retry;
pub mod route;
pub mod seat;
mod tcp;
mod tls;

/// A proxy's view.
#[derive(Debug)]
pub struct View<'a> {
    /// The mesh.
    pub snapshot: &'a Snapshot,
    /// The proxy.
    pub node: &'a Node,
    /// What it may see.
    pub scope: Arc<Scope>,
    /// Its labels: from metadata, else of the workload at its address or of its name.
    pub labels: Labels,
    /// `region/zone/subzone`: as it says, else of the workload at its address; empty if unknown. With the labels it decides what
    /// proxies of a group have in common.
    pub locality: Str,
    /// Ports of services that have an endpoint at one of its addresses, by its own port.
    pub own_ports: Vec<OwnPort>,
    /// The node that it runs on, as it says itself, else of the workload at its address; empty if unknown.
    pub machine: Str,
    /// The network that it is in; empty if unknown, or if networks make no difference.
    pub network: Str,
    /// What was looked at on the way.
    pub reads: reads::Reads,
    /// Access logs by side, made when first asked for.
    logs: OnceCell<[AccessLogs; 2]>,
}

/// A port that the proxy's workload serves.
#[derive(Debug, Clone)]
pub struct OwnPort {
    /// The service.
    pub service: Arc<Service>,
    /// Number of the service's port.
    pub service_port: u32,
    /// Port of the workload.
    pub target: u32,
    /// Protocol of the service's port.
    pub protocol: Protocol,
}

impl<'a> View<'a> {
    /// The view of a proxy.
    pub fn new(snapshot: &'a Snapshot, node: &'a Node) -> View<'a> {
        let labels = labels(snapshot, node);
        let sidecar = match node.role {
            Role::Sidecar => sidecar(snapshot, &node.namespace, &labels),
            Role::Router => None,
        };
        let key = (node.namespace.clone(), sidecar.as_ref().map(|(name, _)| name.clone()));
        let make = || {
            let sidecar = sidecar.as_ref().map(|((namespace, _), spec)| (namespace, spec));
            Scope::new(snapshot, &node.namespace, sidecar)
        };
        let scope = snapshot.scope(key, make);
        View {
            own_ports: own_ports(snapshot, node),
            snapshot,
            node,
            scope,
            locality: locality_of(snapshot, node, &labels),
            machine: machine_of(snapshot, node),
            network: network_of(snapshot, node, &labels),
            labels,
            reads: reads::Reads::default(),
            logs: OnceCell::new(),
        }
    }

    /// The proxy as a client, for looking up rules.
    pub(crate) fn client(&self) -> destination_rule::Client<'_> {
        destination_rule::Client {
            namespace: &self.node.namespace,
            labels: &self.labels,
            root_namespace: self.snapshot.mesh.root_namespace(),
        }
    }

    /// Its main address.
    pub(crate) fn address(&self) -> Str {
        self.node.addresses.first().cloned().unwrap_or_else(|| crate::names::WILDCARD_ADDRESS.into())
    }

    /// Whether names that clients ask for are looked up: by the mesh's word, or for a service that is not more than a pattern.
    pub(crate) fn looks_up(&self) -> bool {
        self.scope.dynamic_dns || !self.scope.looked_up.is_empty()
    }

    /// Addresses at which this proxy's clients find a service: its own, else those that the mesh gave it where the agent
    /// answers with them.
    pub(crate) fn addresses<'s>(&self, service: &'s Service) -> &'s [Str] {
        let metadata = &self.node.metadata;
        let automatic = self.snapshot.mesh.switches.automatic_addresses || metadata.dns_auto_allocate;
        match service.addresses.is_empty() && metadata.dns_capture && automatic {
            true => &service.automatic,
            false => &service.addresses,
        }
    }

    /// The one that its listeners are for.
    pub(crate) fn address_of<'s>(&self, service: &'s Service) -> Option<&'s Str> {
        self.addresses(service).first()
    }

    /// Whether original destinations are not known: at gateways and where ports are opened explicitly.
    pub(crate) fn lacks_original_destination(&self) -> bool {
        self.node.role == Role::Router || self.node.captures_explicitly()
    }
}

/// The labels of a proxy: from metadata, else of the workload at its address or of its name.
pub(crate) fn labels(snapshot: &Snapshot, node: &Node) -> Labels {
    if !node.metadata.labels.is_empty() {
        return node.metadata.labels.clone();
    }
    let workloads = &snapshot.registry.workloads;
    let at_address = node.addresses.iter().find_map(|address| workloads.get(address));
    let named = || workloads.values().find(|w| w.name == node.name && w.namespace == node.namespace);
    at_address.or_else(named).map(|workload| workload.labels.clone()).unwrap_or_default()
}

/// Where the proxy is: what it said, else its label, else of the workload at its address.
pub(crate) fn locality_of(snapshot: &Snapshot, node: &Node, labels: &Labels) -> Str {
    if !node.locality.is_empty() {
        return node.locality.clone();
    }
    if let Some(said) = crate::registry::locality_label(labels) {
        return said;
    }
    let workloads = &snapshot.registry.workloads;
    let at_address = node.addresses.iter().find_map(|address| workloads.get(address));
    at_address.map(|workload| workload.locality.clone()).unwrap_or_default()
}

/// The node that the proxy runs on: as it said, else of the workload at its address.
pub(crate) fn machine_of(snapshot: &Snapshot, node: &Node) -> Str {
    if !node.metadata.node_name.is_empty() {
        return node.metadata.node_name.clone();
    }
    let workloads = &snapshot.registry.workloads;
    let at_address = node.addresses.iter().find_map(|address| workloads.get(address));
    at_address.map(|workload| workload.node.clone()).unwrap_or_default()
}

/// The network that the proxy is in, where that makes a difference: as it said, else its label, else of the workload at its
/// address.
pub(crate) fn network_of(snapshot: &Snapshot, node: &Node, labels: &Labels) -> Str {
    if !snapshot.networks.is_multi() {
        return Str::default();
    }
    if !node.metadata.network.is_empty() {
        return node.metadata.network.clone();
    }
    if let Some(said) = labels.get(crate::registry::NETWORK_LABEL) {
        return said.clone();
    }
    let workloads = &snapshot.registry.workloads;
    let at_address = node.addresses.iter().find_map(|address| Some((workloads.get(address)?, address)));
    at_address.map(|(workload, address)| snapshot.networks.of(workload, address).into()).unwrap_or_default()
}

type Named = ((Str, Str), Arc<Sidecar>);

/// The Sidecar that holds: the first whose selector takes the workload, else the first of the namespace without selector, else
/// that of the root namespace (SEM-130).
fn sidecar(snapshot: &Snapshot, namespace: &str, labels: &Labels) -> Option<Named> {
    let of = |namespace: &str| snapshot.sidecars.get(namespace).map_or(&[][..], Vec::as_slice);
    let specs = |namespace: &str| {
        let named = |object: &meltemi_config::Object| {
            let spec = object.spec_as::<Sidecar>()?;
            Some(((object.namespace().clone(), object.name().clone()), Arc::clone(spec)))
        };
        of(namespace).iter().filter_map(named)
    };
    let selector =
        |spec: &Sidecar| spec.workload_selector.as_ref().map(|s| s.labels.clone()).filter(|s| !s.is_empty());
    let selected = specs(namespace).find(|(_, spec)| selector(spec).is_some_and(|s| selects(&s, labels)));
    let general = |namespace: &str| specs(namespace).find(|(_, spec)| selector(spec).is_none());
    selected.or_else(|| general(namespace)).or_else(|| general(snapshot.mesh.root_namespace()))
}

/// Of several services with one target port the oldest decides (SEM-148).
fn own_ports(snapshot: &Snapshot, node: &Node) -> Vec<OwnPort> {
    let registry = &snapshot.registry;
    let mut services: Vec<&Arc<Service>> = Vec::new();
    for address in &node.addresses {
        for key in registry.by_address.get(address).into_iter().flatten() {
            if let Some(service) = registry.service(key)
                && !services.iter().any(|known| Arc::ptr_eq(known, service))
            {
                services.push(service);
            }
        }
    }
    services.sort_by_key(|service| (service.created, service.namespace.clone(), service.host.clone()));
    let mut ports: Vec<OwnPort> = Vec::new();
    for service in services {
        for instance in registry.instances_of(service).iter().filter(|i| node.addresses.contains(&i.address))
        {
            let protocol = service.port(instance.service_port).map(|port| port.protocol).unwrap_or_default();
            ports.push(OwnPort {
                service: Arc::clone(service),
                service_port: instance.service_port,
                target: instance.port,
                protocol,
            });
        }
    }
    ports
}

impl View<'_> {
    /// All listeners.
    pub fn listeners(&self) -> Vec<crate::model::listener::Listener> {
        let mut listeners = self.common_listeners();
        listeners.extend(self.own_listeners());
        listeners
    }

    /// The listeners that are the same for all proxies of a kind.
    pub fn common_listeners(&self) -> Vec<crate::model::listener::Listener> {
        match self.node.role {
            Role::Router => self.gateway_listeners(),
            Role::Sidecar => {
                let mut listeners = self.outbound_listeners();
                listeners.extend(self.virtual_outbound());
                listeners
            }
        }
    }

    /// The listeners of this one proxy: towards its workload.
    pub fn own_listeners(&self) -> Vec<crate::model::listener::Listener> {
        if self.node.role == Role::Sidecar { self.inbound_listeners() } else { Vec::new() }
    }

    /// Names of all route tables that its listeners use, sorted.
    pub fn route_names(&self) -> Vec<String> {
        let mut names = match self.node.role {
            Role::Router => self.gateway_routes(),
            Role::Sidecar => self.seats().into_iter().map(|seat| seat.name).collect(),
        };
        names.sort();
        names.dedup();
        names
    }
}
