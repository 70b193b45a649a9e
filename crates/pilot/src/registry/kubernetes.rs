//! Kubernetes Services and EndpointSlices as services and endpoints.

use std::sync::Arc;

use meltemi_config::core::{self, EndpointSlice, IntOrString};
use meltemi_config::mesh::MeshConfig;
use meltemi_config::{ExportTo, Host, Labels, Object, Protocol, Str};

use super::{Instance, Port, Resolution, Service, Workload};

/// Annotation that says who sees a Service (SEM-006).
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// A Service.
pub(super) fn service(object: &Object, spec: &core::Service, mesh: &MeshConfig) -> Service {
    let name = object.name().clone();
    let namespace = object.namespace().clone();
    let host = Host::new(&format!("{name}.{namespace}.svc.{}", mesh.domain()));
    let export_to = match object.metadata.annotations.get(EXPORT_TO) {
        Some(text) => ExportTo::from_annotation(text, &namespace),
        None => ExportTo::resolve(&[], &mesh.default_service_export_to, &namespace),
    };
    let external_name = spec.spec.service_type.as_deref() == Some("ExternalName");
    let alias = spec.spec.external_name.as_deref().map(|name| name.trim_end_matches('.'));
    let alias = alias.filter(|name| external_name && !name.is_empty());
    Service {
        host,
        name,
        namespace,
        addresses: addresses(spec),
        automatic: Vec::new(),
        external_addresses: external_addresses(spec),
        wants_address: false,
        ports: spec.spec.ports.iter().filter_map(port).collect(),
        resolution: if external_name { Resolution::Dns } else { Resolution::Static },
        external: external_name,
        kubernetes: true,
        headless: spec.is_headless(),
        node_local: spec.spec.internal_traffic_policy.as_deref() == Some("Local"),
        export_to,
        created: object.metadata.creation_timestamp,
        labels: object.labels().clone(),
        alias_of: alias.map(Host::new),
        aliases: Vec::new(),
        subject_alt_names: Vec::new(),
    }
}

fn addresses(spec: &core::Service) -> Vec<Str> {
    let mut all: Vec<Str> = Vec::new();
    let listed = spec.spec.cluster_ip.iter().chain(&spec.spec.cluster_ips);
    for address in listed.filter(|address| !address.is_empty() && &***address != "None") {
        if !all.contains(address) {
            all.push(address.clone());
        }
    }
    all
}

fn external_addresses(spec: &core::Service) -> Vec<Str> {
    let balancer = spec.status.load_balancer.ingress.iter().filter_map(|ingress| ingress.ip.clone());
    balancer.chain(spec.spec.external_ips.iter().cloned()).collect()
}

fn port(port: &core::ServicePort) -> Option<Port> {
    let transport = port.protocol.as_deref().unwrap_or("TCP");
    let name = port.name.clone().unwrap_or_default();
    let protocol = Protocol::of_service_port(&name, port.app_protocol.as_deref(), transport, port.port);
    let handled = transport == "TCP" && protocol != Protocol::Udp && port.port > 0;
    let number = u32::from(port.port);
    handled.then_some(Port { number, name, protocol, target: number })
}

/// Endpoints of a Service from workloads that it selects.
pub(super) fn selected(spec: &core::Service, workload: &Arc<Workload>, into: &mut Vec<Instance>) {
    for port in &spec.spec.ports {
        let target = match &port.target_port {
            None => Some(u32::from(port.port)),
            Some(IntOrString::Int(number)) => Some(u32::from(*number)),
            Some(IntOrString::String(name)) => workload.port_named(name),
        };
        let (Some(target), Some(address)) = (target, workload.address()) else { continue };
        into.push(Instance {
            service_port: u32::from(port.port),
            address,
            port: target,
            weight: workload.weight,
            healthy: workload.ready || spec.spec.publish_not_ready_addresses,
            workload: Arc::clone(workload),
        });
    }
}

/// Endpoints of a Service from one of its slices. Names instead of addresses are left out, as in Istio.
pub(super) fn from_slice(
    spec: &core::Service,
    slice: &EndpointSlice,
    find: &dyn Fn(&Str) -> Option<Arc<Workload>>,
    namespace: &Str,
    into: &mut Vec<Instance>,
) {
    if slice.address_type.as_deref() == Some("FQDN") {
        return;
    }
    for endpoint in &slice.endpoints {
        let ready = endpoint.conditions.ready.unwrap_or(true) || spec.spec.publish_not_ready_addresses;
        // Terminating endpoints are never sent; one that is not ready and does not say counts as such (SEM-154).
        let terminating = !ready && endpoint.conditions.terminating.unwrap_or(true);
        let Some(address) = endpoint.addresses.first().filter(|_| !terminating) else { continue };
        let workload = find(address).unwrap_or_else(|| Arc::new(unknown(endpoint, address, namespace)));
        let workload = on_node(workload, endpoint.node_name.as_ref());
        for port in &slice.ports {
            let name = port.name.as_deref().unwrap_or_default();
            let service_port = spec.spec.ports.iter().find(|p| p.name.as_deref().unwrap_or_default() == name);
            let (Some(service_port), Some(number)) = (service_port, port.port) else { continue };
            into.push(Instance {
                service_port: u32::from(service_port.port),
                address: address.clone(),
                port: u32::from(number),
                weight: workload.weight,
                healthy: ready,
                workload: Arc::clone(&workload),
            });
        }
    }
}

/// The slice knows the node where the Pod does not say it.
fn on_node(workload: Arc<Workload>, node: Option<&Str>) -> Arc<Workload> {
    match node.filter(|_| workload.node.is_empty()) {
        Some(node) => Arc::new(Workload { node: node.clone(), ..Workload::clone(&workload) }),
        None => workload,
    }
}

/// The workload of an endpoint of which no Pod is known.
fn unknown(endpoint: &core::Endpoint, address: &Str, namespace: &Str) -> Workload {
    let target = endpoint.target_ref.as_ref();
    Workload {
        name: target.and_then(|target| target.name.clone()).unwrap_or_else(|| address.clone()),
        namespace: namespace.clone(),
        addresses: vec![address.clone()],
        labels: Labels::new(),
        ports: Vec::new(),
        locality: endpoint.zone.as_ref().map_or_else(|| "".into(), |zone| format!("/{zone}").into()),
        weight: 1,
        service_account: "default".into(),
        ready: true,
        pod: true,
        network: Str::default(),
        mutual: false,
        node: endpoint.node_name.clone().unwrap_or_default(),
    }
}
