//! The configuration of one proxy at rest, compiled from the messages that it was or would be sent.
//!
//! Invariant: a resource that the proxy would refuse is an error here too, with the same words.

use std::{collections::HashMap, sync::Arc};

use meltemi_xds::pb::{
    envoy::config::{
        cluster::v3::{Cluster, cluster},
        core::v3::{HealthStatus, Metadata, address, socket_address::PortSpecifier},
        endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
        listener::v3::Listener as ListenerMessage,
        route::v3::RouteConfiguration,
    },
    google::protobuf::value,
};
use prost::Message as _;

use super::Call;
use crate::{
    cluster::store::ClusterStore,
    http::config::RouteSlot,
    listener::{Listener, address::ListenAddress},
    xds::{self, Context, Rejection},
};

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// These addresses, without those that are not healthy.
    Known(Vec<String>),
    /// From somewhere else than configuration: DNS, the connection's original destination.
    Elsewhere(String),
}

/// Listeners, route tables and clusters of one proxy.
#[derive(Debug, Default)]
pub struct Config {
    listeners: Vec<Arc<Listener>>,
    /// Kept for listeners that name them.
    _tables: Vec<Arc<RouteSlot>>,
    /// Virtual host name to the resources of its routes, in order.
    routes: HashMap<String, Vec<Option<Origin>>>,
    clusters: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    endpoints: Endpoints,
    resource: Option<Origin>,
}

/// Where something is written, as pilot notes it in metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `istio.config`: Istio's path of the resource; empty when it does not say.
    pub resource: String,
    /// `meltemi.file`.
    pub file: Option<String>,
    /// `meltemi.line`, from 1.
    pub line: Option<u32>,
}

impl Config {
    /// Compiles what a proxy is sent.
    pub fn new(
        listeners: &[ListenerMessage],
        tables: &[RouteConfiguration],
        clusters: &[Cluster],
        assignments: &[ClusterLoadAssignment],
    ) -> Result<Self, Rejection> {
        let mut context = Context::new(ClusterStore::new());
        let mut config = Self::default();
        for cluster in clusters {
            let name = context.intern(&cluster.name);
            context.declared.insert(name);
            let assignment = assignments.iter().find(|assignment| assignment.cluster_name == cluster.name);
            let resource = cluster.metadata.as_ref().and_then(resource);
            let endpoints = endpoints(cluster, assignment);
            config.clusters.insert(cluster.name.clone(), Known { endpoints, resource });
        }
        for message in tables {
            let slot = context.route_slot(&message.name);
            let table = xds::route::table(&message.encode_to_vec().into(), "", false, &mut context)?;
            slot.table.store(Some(Arc::new(table)));
            config.note_resources(message);
            config._tables.push(slot);
        }
        for message in listeners {
            config.listeners.push(xds::listener::compile(message, None, &mut context)?.listener);
        }
        Ok(config)
    }

    fn note_resources(&mut self, table: &RouteConfiguration) {
        for host in &table.virtual_hosts {
            let routes = host.routes.iter().map(|route| route.metadata.as_ref().and_then(resource)).collect();
            self.routes.insert(host.name.clone(), routes);
        }
    }

    /// The listener for a call and why: at its very address, at any address of its port, or the one that intercepted
    /// connections come to.
    pub(super) fn listener_for(&self, call: &Call) -> Option<(Arc<Listener>, String)> {
        let destination = call.destination;
        let here = |listener: &&Arc<Listener>| listener.inbound == call.inbound && !listener.use_original_dst;
        let at = |wanted: &dyn Fn(&std::net::SocketAddr) -> bool| {
            let listens = |listener: &&Arc<Listener>| {
                listener.addresses.iter().filter_map(ListenAddress::socket).any(|address| wanted(&address))
            };
            self.listeners.iter().filter(here).find(listens).cloned()
        };
        if let Some(listener) = at(&|address| *address == destination) {
            return Some((listener, format!("it listens at {destination}")));
        }
        let any = |address: &std::net::SocketAddr| {
            address.ip().is_unspecified() && address.port() == destination.port()
        };
        if let Some(listener) = at(&any) {
            return Some((listener, format!("it listens at port {} of any address", destination.port())));
        }
        let intercepting = self.listeners.iter().find(|listener| {
            let by_direction = listener.inbound == call.inbound;
            let intercepts = listener.use_original_dst || (listener.inbound && listener.bind_to_port);
            by_direction && intercepts
        })?;
        let because = format!("no listener of its own for {destination}: intercepted connections come here");
        Some((intercepting.clone(), because))
    }

    pub(super) fn has_cluster(&self, name: &str) -> bool {
        self.clusters.contains_key(name)
    }

    pub(super) fn endpoints(&self, cluster: &str) -> Option<Endpoints> {
        self.clusters.get(cluster).map(|known| known.endpoints.clone())
    }

    pub(super) fn cluster_resource(&self, cluster: &str) -> Option<Origin> {
        self.clusters.get(cluster)?.resource.clone()
    }

    pub(super) fn route_resource(&self, host: &str, at: usize) -> Option<Origin> {
        self.routes.get(host)?.get(at)?.clone()
    }
}

/// The resource, file and line that a message was made from.
fn resource(metadata: &Metadata) -> Option<Origin> {
    let field =
        |filter: &str, name: &str| metadata.filter_metadata.get(filter)?.fields.get(name)?.kind.clone();
    let text = |filter: &str, name: &str| match field(filter, name) {
        Some(value::Kind::StringValue(text)) => Some(text),
        _ => None,
    };
    let line = match field("meltemi", "line") {
        Some(value::Kind::NumberValue(line)) => Some(line as u32),
        _ => None,
    };
    let resource = text("istio", "config").unwrap_or_default();
    let origin = Origin { resource, file: text("meltemi", "file"), line };
    (origin != Origin::default()).then_some(origin)
}

fn endpoints(cluster: &Cluster, assignment: Option<&ClusterLoadAssignment>) -> Endpoints {
    use cluster::DiscoveryType;
    let kind = match &cluster.cluster_discovery_type {
        Some(cluster::ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).unwrap_or_default(),
        Some(cluster::ClusterDiscoveryType::ClusterType(custom)) => {
            return Endpoints::Elsewhere(format!("looked up by {}", custom.name));
        }
        None => DiscoveryType::Static,
    };
    match kind {
        DiscoveryType::OriginalDst => {
            Endpoints::Elsewhere("the address that the client asked for".to_owned())
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let names = cluster.load_assignment.as_ref().map(addresses).unwrap_or_default();
            Endpoints::Elsewhere(format!("what DNS says of {}", names.join(", ")))
        }
        DiscoveryType::Eds => Endpoints::Known(assignment.map(addresses).unwrap_or_default()),
        DiscoveryType::Static => {
            Endpoints::Known(cluster.load_assignment.as_ref().map(addresses).unwrap_or_default())
        }
    }
}

fn addresses(assignment: &ClusterLoadAssignment) -> Vec<String> {
    let out =
        [HealthStatus::Unhealthy, HealthStatus::Draining, HealthStatus::Timeout].map(|health| health as i32);
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let endpoints = endpoints.filter(|endpoint| !out.contains(&endpoint.health_status));
    let addresses = endpoints.filter_map(|endpoint| match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_ref()?.address.as_ref(),
        _ => None,
    });
    addresses
        .map(|address| match address {
            address::Address::SocketAddress(socket) => match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
                _ => socket.address.clone(),
            },
            address::Address::Pipe(pipe) => format!("unix:{}", pipe.path),
            address::Address::EnvoyInternalAddress(_) => "an internal listener".to_owned(),
        })
        .collect()
}
