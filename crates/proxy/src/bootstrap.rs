//! An Envoy v3 bootstrap, read and checked: who this proxy is, where its discovery server is, what it starts with.
//!
//! `run` reads one at start. Invariant: whatever would change the meaning of the file and is not supported is an error;
//! what has no effect is among the notes, which are printed and shown in `/config_dump`.

#![expect(deprecated, reason = "files in use still have Envoy's deprecated fields")]

use std::sync::Arc;

use bytes::Bytes;
use meltemi_xds::{
    client,
    pb::envoy::config::{
        bootstrap::v3::{
            Bootstrap as Message,
            bootstrap::{DynamicResources, StaticResources},
        },
        cluster::v3::Cluster,
        core::v3::{
            ApiConfigSource, GrpcService, Node, address, api_config_source::ApiType,
            grpc_service::TargetSpecifier,
        },
        endpoint::v3::lb_endpoint::HostIdentifier,
        overload::v3::{ResourceMonitor, resource_monitor},
    },
    pb::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig,
};
use prost::{Message as _, Name};

use crate::{
    cluster::Locality,
    listener::address::ListenAddress,
    xds::{At, Rejection, fields, hcm, listener, refuse, wire},
};

/// A bootstrap that can be started from.
#[derive(Debug)]
pub struct Bootstrap {
    /// Who this proxy is.
    pub node: Node,
    /// `cluster_manager.local_cluster_name`, and where the node runs.
    pub local: Option<(Arc<str>, Locality)>,
    /// `admin.address`.
    pub admin: Option<ListenAddress>,
    /// Clusters to start with, encoded: slices of `encoded`.
    pub clusters: Vec<Bytes>,
    /// Their names.
    pub cluster_names: Vec<Arc<str>>,
    /// Listeners to start with, encoded.
    pub listeners: Vec<Bytes>,
    /// Connections at once, of all listeners together: `envoy.resource_monitors.global_downstream_max_connections`.
    pub most_connections: Option<u64>,
    /// The discovery server and what comes from it.
    pub discovery: Option<Discovery>,
    /// The file, encoded, for `/config_dump`.
    pub encoded: Bytes,
    /// What is in it but not in effect.
    pub notes: Vec<String>,
}

/// `dynamic_resources`.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// How to reach and address the server.
    pub client: client::Config,
    /// `cds_config` is set.
    pub clusters: bool,
    /// `lds_config` is set.
    pub listeners: bool,
}

/// Command line settings that win over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--service-node`.
    pub node: Option<String>,
    /// `--service-cluster`.
    pub cluster: Option<String>,
}

/// Field numbers: `Bootstrap.static_resources`, `StaticResources.listeners` and `.clusters`.
const STATIC_RESOURCES: u32 = 2;
const LISTENERS: u32 = 1;
const CLUSTERS: u32 = 2;

/// Reads a bootstrap from YAML or JSON.
pub fn from_text(text: &str, overrides: &Overrides) -> Result<Bootstrap, String> {
    let encoded =
        meltemi_xds::json::wire_from_text(&Message::full_name(), text).map_err(|error| error.to_string())?;
    compile(encoded.into(), overrides).map_err(|rejection| rejection.to_string())
}

/// Checks an encoded bootstrap.
pub fn compile(encoded: Bytes, overrides: &Overrides) -> Result<Bootstrap, Rejection> {
    let decoding = |error: prost::DecodeError| Rejection::new(error.to_string());
    let (parts, rest) = wire::split(&encoded, STATIC_RESOURCES)?;
    let mut message = Message::decode(rest.as_slice()).map_err(decoding)?;
    refuse_unsupported(&message)?;
    let (mut clusters, mut listeners) = (Vec::new(), Vec::new());
    for part in parts {
        let (more, rest) = wire::split(&part, CLUSTERS)?;
        clusters.extend(more);
        let (more, rest) = wire::split(&rest.into(), LISTENERS)?;
        listeners.extend(more);
        let others = StaticResources::decode(rest.as_slice()).map_err(decoding)?;
        fields::unsupported(!others.secrets.is_empty(), "static_resources.secrets")?;
    }
    let mut node = message.node.take().unwrap_or_default();
    if let Some(id) = &overrides.node {
        node.id.clone_from(id);
    }
    if let Some(cluster) = &overrides.cluster {
        node.cluster.clone_from(cluster);
    }
    let node = meltemi_xds::node::with_user_agent(node, "meltemi", env!("CARGO_PKG_VERSION"));
    let node = meltemi_xds::extension::announce(node);
    let dynamic = message.dynamic_resources.take();
    let discovery = dynamic.map(|dynamic| discovery(&dynamic, &clusters, &node)).transpose();
    let cluster_names: Vec<Arc<str>> = clusters.iter().filter_map(name_of).collect();
    let local = message.cluster_manager.as_ref().map_or("", |manager| &manager.local_cluster_name);
    if !local.is_empty() && !cluster_names.iter().any(|name| &**name == local) {
        return refuse(format!("local cluster '{local}' must be defined")).at("cluster_manager");
    }
    let local = (!local.is_empty()).then(|| (Arc::from(local), locality(&node)));
    Ok(Bootstrap {
        local,
        admin: admin(&message)?,
        most_connections: most_connections(&message)?,
        discovery: discovery.at("dynamic_resources")?.flatten(),
        cluster_names,
        clusters,
        listeners,
        notes: notes(&message),
        node,
        encoded,
    })
}

/// Where the node says that it runs.
fn locality(node: &Node) -> Locality {
    let place = node.locality.clone().unwrap_or_default();
    Locality { region: place.region.into(), zone: place.zone.into(), sub_zone: place.sub_zone.into() }
}

/// The name of an encoded cluster.
fn name_of(cluster: &Bytes) -> Option<Arc<str>> {
    /// Field number of `Cluster.name`.
    const NAME: u32 = 1;
    let (names, _) = wire::split(cluster, NAME).ok()?;
    std::str::from_utf8(names.last()?).ok().map(Arc::from)
}

fn refuse_unsupported(message: &Message) -> Result<(), Rejection> {
    let set = [
        (message.hds_config.is_some(), "hds_config"),
        (!message.config_sources.is_empty(), "config_sources"),
        (message.default_config_source.is_some(), "default_config_source"),
        (!message.default_socket_interface.is_empty(), "default_socket_interface"),
        (!message.certificate_provider_instances.is_empty(), "certificate_provider_instances"),
        (message.xds_delegate_extension.is_some(), "xds_delegate_extension"),
        (message.xds_config_tracker_extension.is_some(), "xds_config_tracker_extension"),
        (message.listener_manager.is_some(), "listener_manager"),
        (!message.header_prefix.is_empty() && message.header_prefix != "x-envoy", "header_prefix"),
    ];
    set.into_iter().try_for_each(|(set, field)| fields::unsupported(set, field))
}

fn notes(message: &Message) -> Vec<String> {
    let set = [
        (
            message.stats_config.is_some(),
            "stats_config: statistics keep Envoy's default names and are all kept",
        ),
        (!message.stats_sinks.is_empty(), "stats_sinks: statistics are served by admin only"),
        (message.layered_runtime.is_some(), "layered_runtime: runtime keys have their default values"),
        (
            message.overload_manager.as_ref().is_some_and(|manager| {
                let others = |monitor: &ResourceMonitor| !limits_connections(monitor);
                manager.resource_monitors.iter().any(others)
                    || !manager.actions.is_empty()
                    || !manager.loadshed_points.is_empty()
            }),
            "overload_manager: only global_downstream_max_connections is in effect",
        ),
        (message.watchdog.is_some() || message.watchdogs.is_some(), "watchdogs: not in effect"),
        (message.tracing.is_some(), "tracing: no spans are reported"),
        (
            message.cluster_manager.as_ref().is_some_and(|manager| {
                manager.outlier_detection.is_some()
                    || manager.upstream_bind_config.is_some()
                    || manager.load_stats_config.is_some()
            }),
            "cluster_manager: only local_cluster_name is in effect",
        ),
        (!message.bootstrap_extensions.is_empty(), "bootstrap_extensions: not in effect"),
        (!message.fatal_actions.is_empty(), "fatal_actions: not in effect"),
        (message.dns_resolution_config.is_some(), "dns_resolution_config: the system's resolver is used"),
        (
            message.typed_dns_resolver_config.is_some(),
            "typed_dns_resolver_config: the system's resolver is used",
        ),
        (message.application_log_config.is_some(), "application_log_config: not in effect"),
        (!message.inline_headers.is_empty(), "inline_headers: not needed here"),
    ];
    set.into_iter().filter(|(set, _)| *set).map(|(_, note)| note.to_owned()).collect()
}

fn limits_connections(monitor: &ResourceMonitor) -> bool {
    match &monitor.config_type {
        Some(resource_monitor::ConfigType::TypedConfig(config)) => {
            config.type_url == DownstreamConnectionsConfig::type_url()
        }
        None => false,
    }
}

fn most_connections(message: &Message) -> Result<Option<u64>, Rejection> {
    let monitors = message.overload_manager.iter().flat_map(|manager| &manager.resource_monitors);
    let Some(monitor) = { monitors }.find(|monitor| limits_connections(monitor)) else { return Ok(None) };
    let Some(resource_monitor::ConfigType::TypedConfig(config)) = &monitor.config_type else {
        return Ok(None);
    };
    let limits: DownstreamConnectionsConfig = fields::unpack(config).at("overload_manager")?;
    match u64::try_from(limits.max_active_downstream_connections) {
        Ok(most @ 1..) => Ok(Some(most)),
        _ => refuse("value must be greater than 0")
            .at("max_active_downstream_connections")
            .at("overload_manager"),
    }
}

fn admin(message: &Message) -> Result<Option<ListenAddress>, Rejection> {
    let Some(address) = message.admin.as_ref().and_then(|admin| admin.address.as_ref()) else {
        return Ok(None);
    };
    listener::listen_address(address).map(Some).at("admin.address")
}

fn discovery(
    message: &DynamicResources,
    clusters: &[Bytes],
    node: &Node,
) -> Result<Option<Discovery>, Rejection> {
    fields::unsupported(!message.lds_resources_locator.is_empty(), "lds_resources_locator")?;
    fields::unsupported(!message.cds_resources_locator.is_empty(), "cds_resources_locator")?;
    if let Some(source) = &message.lds_config {
        hcm::ads_only(Some(source)).at("lds_config")?;
    }
    if let Some(source) = &message.cds_config {
        hcm::ads_only(Some(source)).at("cds_config")?;
    }
    let Some(ads) = &message.ads_config else {
        let wanted = message.lds_config.is_some() || message.cds_config.is_some();
        return if wanted { refuse("value is required").at("ads_config") } else { Ok(None) };
    };
    let mut config = client::Config::new(node.clone(), servers(ads, clusters).at("ads_config")?);
    config.protocol = match ApiType::try_from(ads.api_type) {
        Ok(ApiType::Grpc) => client::Protocol::StateOfTheWorld,
        Ok(ApiType::DeltaGrpc) => client::Protocol::Delta,
        _ => return refuse("GRPC and DELTA_GRPC are supported").at("ads_config.api_type"),
    };
    let (clusters, listeners) = (message.cds_config.is_some(), message.lds_config.is_some());
    Ok(Some(Discovery { client: config, clusters, listeners }))
}

fn servers(ads: &ApiConfigSource, clusters: &[Bytes]) -> Result<Vec<client::Address>, Rejection> {
    let mut servers = Vec::new();
    for (at, service) in ads.grpc_services.iter().enumerate() {
        servers.extend(targets(service, clusters).at_index("grpc_services", at)?);
    }
    if servers.is_empty() { refuse("no server to ask").at("grpc_services") } else { Ok(servers) }
}

fn targets(service: &GrpcService, clusters: &[Bytes]) -> Result<Vec<client::Address>, Rejection> {
    fields::unsupported(!service.initial_metadata.is_empty(), "initial_metadata")?;
    match &service.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(target)) => {
            let named = |cluster: &&Bytes| name_of(cluster).as_deref() == Some(target.cluster_name.as_str());
            match clusters.iter().find(named).map(|cluster| Cluster::decode(&**cluster)) {
                Some(Ok(cluster)) => addresses(&cluster).at("envoy_grpc.cluster_name"),
                Some(Err(error)) => refuse(error.to_string()).at("envoy_grpc.cluster_name"),
                None => refuse(format!("unknown static cluster '{}'", target.cluster_name))
                    .at("envoy_grpc.cluster_name"),
            }
        }
        Some(TargetSpecifier::GoogleGrpc(target)) => {
            fields::unsupported(target.channel_credentials.is_some(), "google_grpc.channel_credentials")?;
            fields::unsupported(!target.call_credentials.is_empty(), "google_grpc.call_credentials")?;
            Ok(vec![uri(&target.target_uri)])
        }
        None => refuse("a target is required"),
    }
}

/// `unix:PATH`, `dns:///HOST:PORT` or `HOST:PORT`.
fn uri(target: &str) -> client::Address {
    match target.strip_prefix("unix:") {
        Some(path) => client::Address::Unix(path.trim_start_matches("//").into()),
        None => {
            let host = target.strip_prefix("dns:").map_or(target, |host| host.trim_start_matches('/'));
            client::Address::Tcp(host.to_owned())
        }
    }
}

/// The hosts of the discovery server's cluster; names are resolved at every connect.
fn addresses(cluster: &Cluster) -> Result<Vec<client::Address>, Rejection> {
    if cluster.transport_socket.as_ref().is_some_and(|socket| !socket.name.ends_with("raw_buffer")) {
        return refuse(format!(
            "cluster '{}': TLS to the discovery server is not supported yet",
            cluster.name
        ));
    }
    let mut found = Vec::new();
    let groups = cluster.load_assignment.iter().flat_map(|assignment| &assignment.endpoints);
    for endpoint in groups.flat_map(|group| &group.lb_endpoints) {
        let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else { continue };
        let Some(address) = &endpoint.address else { continue };
        found.push(match &address.address {
            Some(address::Address::Pipe(pipe)) => client::Address::Unix(pipe.path.clone().into()),
            _ => {
                let (host, port) = fields::host_port(address)?;
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                client::Address::Tcp(format!("{host}:{port}"))
            }
        });
    }
    match found.is_empty() {
        true => refuse(format!("cluster '{}' has no endpoint", cluster.name)),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests;
