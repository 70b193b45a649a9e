//! From the user's resources to what runs: workloads with their addresses, gateways, and the services they call.
//! Called by [`super::run`]; pure but for the seats it takes.
//!
//! Invariant: a plan is complete: whatever a sidecar, an app or the control plane is told later stands in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use meltemi_config::core::Service;
use meltemi_config::networking::service_entry::ServicePort;
use meltemi_config::networking::{Gateway, ServiceEntry, Sidecar};
use meltemi_config::process::Process;
use meltemi_config::{Object, Protocol};

use super::ROOT_NAMESPACE;
use super::seats::Seats;

/// What runs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Processes, each beside a sidecar.
    pub(crate) workloads: Vec<Workload>,
    /// Gateways.
    pub(crate) gateways: Vec<GatewayPlan>,
    /// Services that a workload may call.
    pub(crate) upstreams: Vec<Upstream>,
    /// Services that processes name and nobody declared: namespace and name, with their ports.
    pub(crate) implied: BTreeMap<(String, String), Vec<Port>>,
}

/// One replica of a process.
#[derive(Debug)]
pub(crate) struct Workload {
    /// Name of the replica, unique in its namespace.
    pub(crate) name: String,
    /// Name of the process.
    pub(crate) owner: String,
    /// Service that it belongs to, where no selector says so.
    pub(crate) service: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Service account.
    pub(crate) service_account: String,
    /// Where others reach it.
    pub(crate) address: Ipv4Addr,
    /// Where it finds HTTP services.
    pub(crate) egress: Ipv4Addr,
    /// Where it finds TCP services, in the order of [`Plan::upstreams`]; unset for HTTP ones.
    pub(crate) tcp_egress: Vec<Option<Ipv4Addr>>,
    /// Services it may call, in the form of `Sidecar.egress.hosts`.
    pub(crate) egress_hosts: Vec<String>,
    /// Ports it serves.
    pub(crate) ports: Vec<Port>,
    /// Where its sidecar's admin interface listens.
    pub(crate) admin: SocketAddr,
    /// The process, for its command.
    pub(crate) object: Object,
}

/// A port that a workload serves.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// Name.
    pub(crate) name: String,
    /// Port in the mesh.
    pub(crate) number: u16,
    /// Protocol.
    pub(crate) protocol: Protocol,
    /// Port of 127.0.0.1 at which the app listens.
    pub(crate) app: u16,
}

/// A gateway that `Gateway` resources select.
#[derive(Debug)]
pub(crate) struct GatewayPlan {
    /// Name of its workload and its service.
    pub(crate) name: String,
    /// Labels: those that the resources select, and `app`.
    pub(crate) labels: BTreeMap<String, String>,
    /// Address of the workload.
    pub(crate) address: Ipv4Addr,
    /// Where it listens: the first is where `--gateway` said.
    pub(crate) listens: SocketAddr,
    /// Port in the resources → port on this machine.
    pub(crate) ports: BTreeMap<u16, u16>,
    /// Whether the first port is HTTP.
    pub(crate) http: bool,
    /// Where its admin interface listens.
    pub(crate) admin: SocketAddr,
}

/// A port of a service that workloads may call.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// Full host name.
    pub(crate) host: String,
    /// Name and namespace, where it is a Service.
    pub(crate) service: Option<String>,
    /// Namespace of the resource.
    pub(crate) namespace: String,
    /// Port.
    pub(crate) port: u16,
    /// Name of the port.
    pub(crate) port_name: String,
    /// Protocol.
    pub(crate) protocol: Protocol,
}

impl Upstream {
    /// Whether requests are told apart by `Host`, so that all such services share one address.
    pub(crate) fn is_http(&self) -> bool {
        self.protocol.is_http() || self.protocol == Protocol::Auto
    }
}

/// Plans the mesh of `objects`. Who had a seat keeps it.
pub(crate) fn plan(objects: &[Object], gateway: SocketAddr, seats: &mut Seats) -> Result<Plan> {
    let implied = implied_services(objects);
    let upstreams = upstreams(objects, &implied);
    let mut workloads = Vec::new();
    for object in objects {
        if let Some(process) = object.spec_as::<Process>().filter(|process| !process.gateway) {
            for replica in 0..process.replicas() {
                let mut workload = workload(object, process, replica, &upstreams, seats)?;
                workload.egress_hosts = egress_hosts(objects, &workload);
                workloads.push(workload);
            }
        }
    }
    let gateways = gateways(objects, gateway, seats)?;
    Ok(Plan { workloads, gateways, upstreams, implied })
}

fn workload(
    object: &Object,
    process: &Process,
    replica: u32,
    upstreams: &[Upstream],
    seats: &mut Seats,
) -> Result<Workload> {
    let owner = object.name().to_string();
    let name = if process.replicas() == 1 { owner.clone() } else { format!("{owner}-{replica}") };
    let key = (object.namespace().to_string(), name.clone());
    let seat = seats.take(&key)?;
    let tcp = |upstream: &Upstream| {
        if upstream.is_http() {
            Ok(None)
        } else {
            seats.tcp_egress(&key, &upstream.host, upstream.port).map(Some)
        }
    };
    let tcp_egress = upstreams.iter().map(tcp).collect::<Result<_>>()?;
    Ok(Workload {
        name,
        service: process.service_name(&owner).to_owned(),
        owner,
        namespace: object.namespace().to_string(),
        labels: labels(object, process),
        service_account: process.service_account.as_deref().unwrap_or("default").to_owned(),
        address: seat.address,
        egress: seat.egress,
        tcp_egress,
        egress_hosts: Vec::new(),
        ports: ports(process, &key, seats)?,
        admin: seat.admin,
        object: object.clone(),
    })
}

fn ports(process: &Process, key: &(String, String), seats: &mut Seats) -> Result<Vec<Port>> {
    let port = |port: &meltemi_config::process::ProcessPort| {
        let app = match port.target_port {
            Some(fixed) => fixed,
            None => seats.app_port(key, &port.name)?,
        };
        Ok(Port { name: port.name.to_string(), number: port.number, protocol: protocol(port), app })
    };
    process.ports.iter().map(port).collect()
}

fn protocol(port: &meltemi_config::process::ProcessPort) -> Protocol {
    Protocol::of_service_port(&port.name, port.protocol.as_deref(), "TCP", port.number)
}

/// The process's labels; `app` is its service where it says none, as `kubectl create deployment` does.
fn labels(object: &Object, process: &Process) -> BTreeMap<String, String> {
    let given = object.labels().iter().chain(&process.labels);
    let mut labels: BTreeMap<_, _> =
        given.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    labels.entry("app".to_owned()).or_insert_with(|| process.service_name(object.name()).to_owned());
    labels
}

/// What the user's own Sidecar resource for the workload lets it call: the one that selects it, else its namespace's,
/// else the mesh's.
fn egress_hosts(objects: &[Object], workload: &Workload) -> Vec<String> {
    let sidecars =
        objects.iter().filter_map(|object| object.spec_as::<Sidecar>().map(|sidecar| (object, sidecar)));
    let rank = |(object, sidecar): &(&Object, &std::sync::Arc<Sidecar>)| {
        let here = **object.namespace() == *workload.namespace;
        match &sidecar.workload_selector {
            Some(selector) => {
                let has = |(name, value): (&meltemi_config::Str, &meltemi_config::Str)| {
                    workload.labels.get(&**name).is_some_and(|label| **label == **value)
                };
                (here && selector.labels.iter().all(has)).then_some(0)
            }
            None if here => Some(1),
            None => (**object.namespace() == *ROOT_NAMESPACE).then_some(2),
        }
    };
    let mut ranked: Vec<_> = sidecars.filter_map(|found| Some((rank(&found)?, found.1))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let hosts = ranked.first().map(|(_, sidecar)| {
        let hosts = sidecar.egress.iter().flat_map(|listener| &listener.hosts);
        hosts.map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    });
    hosts.filter(|hosts| !hosts.is_empty()).unwrap_or_else(|| vec!["*/*".to_owned()])
}

/// Services that processes belong to, where nobody wrote a Service of that name or one that selects them.
fn implied_services(objects: &[Object]) -> BTreeMap<(String, String), Vec<Port>> {
    let mut implied = BTreeMap::new();
    for object in objects {
        let Some(process) = object.spec_as::<Process>().filter(|process| !process.gateway) else { continue };
        if process.ports.is_empty() || selected(objects, object, process) {
            continue;
        }
        let key = (object.namespace().to_string(), process.service_name(object.name()).to_owned());
        let named = |port: &meltemi_config::process::ProcessPort| Port {
            name: port.name.to_string(),
            number: port.number,
            protocol: protocol(port),
            app: 0,
        };
        implied.entry(key).or_insert_with(|| process.ports.iter().map(named).collect());
    }
    implied
}

fn selected(objects: &[Object], object: &Object, process: &Process) -> bool {
    let labels = labels(object, process);
    let selects = |service: &Service| {
        let selector = &service.spec.selector;
        !selector.is_empty()
            && selector.iter().all(|(name, value)| labels.get(&**name).is_some_and(|has| **has == **value))
    };
    let here = objects.iter().filter(|other| other.namespace() == object.namespace());
    here.filter_map(|other| other.spec_as::<Service>().map(|service| (other, service)))
        .any(|(other, service)| &**other.name() == process.service_name(object.name()) || selects(service))
}

fn upstreams(objects: &[Object], implied: &BTreeMap<(String, String), Vec<Port>>) -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for object in objects {
        if let Some(service) = object.spec_as::<Service>() {
            upstreams.extend(service.spec.ports.iter().map(|port| service_port(object, port)));
        } else if let Some(entry) = object.spec_as::<ServiceEntry>() {
            upstreams.extend(entry_ports(object, entry));
        }
    }
    for ((namespace, name), ports) in implied {
        upstreams.extend(ports.iter().map(|port| Upstream {
            host: host(name, namespace),
            service: Some(name.clone()),
            namespace: namespace.clone(),
            port: port.number,
            port_name: port.name.clone(),
            protocol: port.protocol,
        }));
    }
    upstreams
}

fn service_port(object: &Object, port: &meltemi_config::core::ServicePort) -> Upstream {
    let name = port.name.as_deref().unwrap_or_default();
    let transport = port.protocol.as_deref().unwrap_or("TCP");
    Upstream {
        host: host(object.name(), object.namespace()),
        service: Some(object.name().to_string()),
        namespace: object.namespace().to_string(),
        port: port.port,
        port_name: name.to_owned(),
        protocol: Protocol::of_service_port(name, port.app_protocol.as_deref(), transport, port.port),
    }
}

fn entry_ports(object: &Object, entry: &ServiceEntry) -> Vec<Upstream> {
    let hosts = entry.hosts.iter().filter(|host| !host.starts_with('*'));
    let pairs = hosts.flat_map(|host| entry.ports.iter().map(move |port| (host, port)));
    let upstream = |(host, port): (&meltemi_config::Host, &ServicePort)| {
        Some(Upstream {
            host: host.to_string(),
            service: None,
            namespace: object.namespace().to_string(),
            port: u16::try_from(port.number).ok()?,
            port_name: port.name.to_string(),
            protocol: port.protocol.as_deref().and_then(Protocol::parse).unwrap_or_default(),
        })
    };
    pairs.filter_map(upstream).collect()
}

fn host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.{}", super::DOMAIN)
}

/// One gateway for each different selector of `Gateway` resources.
fn gateways(objects: &[Object], listens: SocketAddr, seats: &mut Seats) -> Result<Vec<GatewayPlan>> {
    let mut by_selector: BTreeMap<BTreeMap<String, String>, BTreeSet<(bool, u16)>> = BTreeMap::new();
    for gateway in objects.iter().filter_map(|object| object.spec_as::<Gateway>()) {
        let selector =
            gateway.selector.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let ports = by_selector.entry(selector).or_default();
        ports.extend(gateway.servers.iter().filter_map(|server| {
            let protocol = Protocol::parse(&server.port.protocol).unwrap_or_default();
            Some((!protocol.is_http(), u16::try_from(server.port.number).ok()?))
        }));
    }
    // Resources that select nothing in particular are served by Istio's default gateway.
    if let Some(ports) = by_selector.remove(&BTreeMap::new()) {
        let default = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
        by_selector.entry(default).or_default().extend(ports);
    }
    let mut plans = Vec::new();
    for (at, (selector, ports)) in by_selector.into_iter().enumerate() {
        plans.push(gateway(selector, &ports, (at == 0).then_some(listens), listens, seats)?);
    }
    Ok(plans)
}

fn gateway(
    selector: BTreeMap<String, String>,
    ports: &BTreeSet<(bool, u16)>,
    given: Option<SocketAddr>,
    other: SocketAddr,
    seats: &mut Seats,
) -> Result<GatewayPlan> {
    let name = match selector.get("istio").or_else(|| selector.values().next()) {
        Some(value) if selector.contains_key("istio") => format!("istio-{value}"),
        Some(value) => value.clone(),
        None => "istio-ingressgateway".to_owned(),
    };
    let key = (gateway_namespace().to_owned(), name.clone());
    let seat = seats.take(&key)?;
    let listens = match given {
        Some(listens) => listens,
        None => SocketAddr::new(other.ip(), seats.app_port(&key, "first")?),
    };
    let mut labels = selector;
    labels.entry("app".to_owned()).or_insert_with(|| name.clone());
    Ok(GatewayPlan {
        labels,
        address: seat.address,
        listens,
        ports: gateway_ports(ports, listens.port()),
        http: ports.first().is_none_or(|(not_http, _)| !not_http),
        admin: seat.admin,
        name,
    })
}

/// The first port (HTTP before others, 80 before higher ones) is where `--gateway` said; others keep their number, or
/// move up by 8000 where only root may listen.
fn gateway_ports(ports: &BTreeSet<(bool, u16)>, first: u16) -> BTreeMap<u16, u16> {
    let place = |(at, (_, number)): (usize, &(bool, u16))| {
        let moved = match (at, *number) {
            (0, _) => first,
            (_, number) if number < 1024 => number + 8000,
            (_, number) => number,
        };
        (*number, moved)
    };
    ports.iter().enumerate().map(place).collect()
}

/// The namespace in which gateways run.
pub(crate) fn gateway_namespace() -> &'static str {
    ROOT_NAMESPACE
}

#[cfg(test)]
mod tests;
