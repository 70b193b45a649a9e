//! The registry: services and their endpoints, from whatever objects say so. Built by `snapshot`; knows no proxy.
//!
//! Invariant: everything is sorted, so equal objects give equal registries whatever order they came in.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::{ExportTo, Host, Labels, Protocol, Str, Timestamp};
use rustc_hash::FxHashMap;

mod alias;
mod automatic;
pub mod build;
mod kubernetes;
mod service_entry;
mod workload;

pub(crate) use workload::locality_label;
pub use workload::{NETWORK_LABEL, Workload};

/// How many names may stand for one another in a row; loops end here.
pub(crate) const MAX_ALIASES: usize = 16;

/// A service: a name in the mesh with ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name; what tells services apart together with the namespace.
    pub host: Host,
    /// Short name.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// Virtual addresses; may be CIDRs; empty if it has none.
    pub addresses: Vec<Str>,
    /// Addresses that the mesh gave it as it has none of its own: for proxies that answer their workloads' DNS.
    pub automatic: Vec<Str>,
    /// Addresses at which it is reached from outside: of its load balancer, and those that it says itself.
    pub external_addresses: Vec<Str>,
    /// Whether the mesh is to give it addresses if it has none (SE-002).
    pub wants_address: bool,
    /// Ports, in the order of the object.
    pub ports: Vec<Port>,
    /// Where endpoints come from.
    pub resolution: Resolution,
    /// Outside the mesh.
    pub external: bool,
    /// From a Kubernetes Service: it wins over others of the same name, and has short names (SEM-007, SEM-145).
    pub kubernetes: bool,
    /// Clients get the endpoints' addresses from DNS.
    pub headless: bool,
    /// Only endpoints on the client's node are for it (`internalTrafficPolicy: Local`, SEM-155).
    pub node_local: bool,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Age.
    pub created: Option<Timestamp>,
    /// Labels of the object.
    pub labels: Labels,
    /// The name that it only stands for (ExternalName): nothing else of it counts (SEM-147).
    pub alias_of: Option<Host>,
    /// Names that stand for it, sorted.
    pub aliases: Vec<Host>,
    /// Names that its certificates carry (`subjectAltNames`).
    pub subject_alt_names: Vec<Str>,
}

impl Service {
    /// The port of that number.
    pub fn port(&self, number: u32) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Whether it only stands for another one.
    pub fn is_alias(&self) -> bool {
        self.alias_of.is_some()
    }

    /// Its key in the registry.
    pub fn key(&self) -> ServiceKey {
        (self.host.clone(), self.namespace.clone())
    }

    /// Whether its endpoints are sent by EDS.
    pub fn has_endpoints(&self) -> bool {
        self.resolution == Resolution::Static && !self.headless
    }
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Port {
    /// Number.
    pub number: u32,
    /// Name; may be empty.
    pub name: Str,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of endpoints that do not say another one.
    pub target: u32,
}

/// Where endpoints come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// From the registry.
    Static,
    /// All addresses of names.
    Dns,
    /// One address of a name at a time.
    DnsRoundRobin,
    /// The address the client asked for.
    Passthrough,
    /// All addresses of the name that the client asks for.
    Dynamic,
}

/// Host and namespace.
pub type ServiceKey = (Host, Str);

/// An endpoint of a service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Number of the service port.
    pub service_port: u32,
    /// Address, or name for DNS services.
    pub address: Str,
    /// Its port.
    pub port: u32,
    /// Share.
    pub weight: u32,
    /// Whether it is ready.
    pub healthy: bool,
    /// The workload it belongs to.
    pub workload: Arc<Workload>,
}

/// All services and endpoints.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Services by host; of several namespaces, in the order in which they win (SEM-007, but for the client's own).
    pub services: BTreeMap<Host, Vec<Arc<Service>>>,
    /// Endpoints by service, sorted by port and address.
    pub instances: FxHashMap<ServiceKey, Arc<Vec<Instance>>>,
    /// Which services have endpoints at an address.
    pub by_address: FxHashMap<Str, Vec<ServiceKey>>,
    /// Workloads by address.
    pub workloads: BTreeMap<Str, Arc<Workload>>,
    /// How many services are for clients of the endpoints' nodes only.
    pub node_local: usize,
    parts: build::Parts,
}

impl Registry {
    /// Endpoints of a service; none is empty.
    pub fn instances_of(&self, service: &Service) -> &[Instance] {
        self.instances.get(&service.key()).map_or(&[], |instances| instances.as_slice())
    }

    /// A service by host and namespace.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(&key.0)?.iter().find(|service| service.namespace == key.1)
    }

    /// What a name stands for in the end: most for themselves.
    pub fn concrete<'h>(&'h self, mut host: &'h Host) -> &'h Host {
        for _ in 0..MAX_ALIASES {
            let Some(next) = self.alias_of(host) else { break };
            host = next;
        }
        host
    }

    /// What a host stands for, if it is an alias: the next name of the chain.
    pub fn alias_of(&self, host: &Host) -> Option<&Host> {
        self.parts.alias_of(host)
    }

    /// All services, by host.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values().flatten()
    }
}
