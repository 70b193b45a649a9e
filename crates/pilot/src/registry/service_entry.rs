//! ServiceEntries as services and endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::ServiceEntry;
use meltemi_config::networking::service_entry::{self, Location};
use meltemi_config::{ExportTo, Host, Object, Protocol, Str};

use super::{Instance, Port, Resolution, Service, Workload};

/// Label of entries whose hosts are not to be given addresses (`false`).
const AUTOMATIC: &str = "networking.istio.io/enable-autoallocate-ip";

/// One service for each host.
pub(super) fn services(object: &Object, spec: &ServiceEntry, mesh: &MeshConfig) -> Vec<Service> {
    let namespace = object.namespace().clone();
    let export_to = ExportTo::resolve(&spec.export_to, &mesh.default_service_export_to, &namespace);
    let service = |host: &Host| {
        let automatic = given(object, spec, host);
        Service {
            host: host.clone(),
            name: host.as_shared().clone(),
            namespace: namespace.clone(),
            addresses: spec.addresses.clone(),
            external_addresses: Vec::new(),
            wants_address: automatic.is_empty() && wants_address(object, spec) && !host.is_wildcard(),
            automatic,
            ports: spec.ports.iter().filter_map(port).collect(),
            resolution: resolution(spec),
            external: spec.location == Location::MeshExternal,
            kubernetes: false,
            headless: false,
            node_local: false,
            export_to: export_to.clone(),
            created: object.metadata.creation_timestamp,
            labels: object.labels().clone(),
            alias_of: None,
            aliases: Vec::new(),
            subject_alt_names: spec.subject_alt_names.clone(),
        }
    };
    spec.hosts.iter().map(service).collect()
}

/// Whether the hosts of an entry are given addresses: where the client's own are not taken as they are, and nobody says that
/// there shall be none.
fn wants_address(object: &Object, spec: &ServiceEntry) -> bool {
    let refused = object.labels().get(AUTOMATIC).is_some_and(|word| word.eq_ignore_ascii_case("false"));
    spec.addresses.is_empty() && spec.resolution != service_entry::Resolution::None && !refused
}

/// Addresses that the status says a host has been given: the first of each family holds (SE-024…SE-026).
fn given(object: &Object, spec: &ServiceEntry, host: &Host) -> Vec<Str> {
    let of_host = object
        .addresses
        .iter()
        .filter(|given| wants_address(object, spec) && *given.host == **host.as_shared());
    let parsed = of_host.filter_map(|given| given.value.parse::<IpAddr>().ok());
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = parsed.partition(IpAddr::is_ipv4);
    let first = v4.into_iter().take(1).chain(v6.into_iter().take(1));
    first.map(|address| address.to_string().into()).collect()
}

fn resolution(spec: &ServiceEntry) -> Resolution {
    match spec.resolution {
        service_entry::Resolution::None => Resolution::Passthrough,
        service_entry::Resolution::Static => Resolution::Static,
        service_entry::Resolution::Dns => Resolution::Dns,
        service_entry::Resolution::DnsRoundRobin => Resolution::DnsRoundRobin,
        service_entry::Resolution::DynamicDns => Resolution::Dynamic,
    }
}

fn port(port: &service_entry::ServicePort) -> Option<Port> {
    let number = u16::try_from(port.number).ok().filter(|number| *number > 0)?;
    let declared = port.protocol.as_deref().filter(|word| !word.is_empty());
    let protocol = match declared {
        Some(word) => Protocol::parse(word).unwrap_or(Protocol::Auto),
        None => Protocol::of_service_port(&port.name, None, "TCP", number),
    };
    let target = port.target_port.filter(|target| *target > 0).unwrap_or(port.number);
    (protocol != Protocol::Udp).then(|| Port {
        number: port.number,
        name: port.name.clone(),
        protocol,
        target,
    })
}

/// Endpoints that the entry lists; with DNS and none, its hosts.
pub(super) fn listed(object: &Object, spec: &ServiceEntry, host: &Host) -> Vec<Instance> {
    let mut instances = Vec::new();
    for entry in &spec.endpoints {
        let workload = Arc::new(Workload::of_entry(object, entry, false));
        selected(spec, &workload, &mut instances);
    }
    let resolved =
        matches!(spec.resolution, service_entry::Resolution::Dns | service_entry::Resolution::DnsRoundRobin);
    if resolved && spec.endpoints.is_empty() && spec.workload_selector.is_none() && !host.is_wildcard() {
        let entry = meltemi_config::networking::WorkloadEntry {
            address: Some(host.as_shared().clone()),
            ..Default::default()
        };
        selected(spec, &Arc::new(Workload::of_entry(object, &entry, false)), &mut instances);
    }
    instances
}

/// Endpoints from a workload.
pub(super) fn selected(spec: &ServiceEntry, workload: &Arc<Workload>, into: &mut Vec<Instance>) {
    let Some(address) = workload.address() else { return };
    for port in &spec.ports {
        into.push(Instance {
            service_port: port.number,
            address: address.clone(),
            port: target_port(port, workload, &address),
            weight: workload.weight,
            healthy: workload.ready,
            workload: Arc::clone(workload),
        });
    }
}

/// The workload's own port of that name, else the entry's target port, else the same (SE-020).
fn target_port(port: &service_entry::ServicePort, workload: &Workload, address: &Str) -> u32 {
    if address.starts_with("unix://") {
        return 0;
    }
    let own = workload.port_named(&port.name);
    own.or(port.target_port.filter(|target| *target > 0)).unwrap_or(port.number)
}
