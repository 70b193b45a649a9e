//! `ClusterLoadAssignment`: the endpoints of EDS answers and of static and DNS clusters.

use std::sync::Arc;

use meltemi_xds::pb::{
    envoy::config::{
        core::v3::{HealthStatus, Locality as LocalityMessage},
        endpoint::v3::{
            ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, endpoint::HealthCheckConfig,
            lb_endpoint::HostIdentifier, locality_lb_endpoints,
        },
    },
    google::protobuf::value::Kind,
};

use bytes::Bytes;
use prost::Message as _;

use super::{At, Context, Rejection, fields, metadata, refuse};
use crate::cluster::{
    Address, Health, Locality,
    cold::Counts,
    endpoints::{HostSpec, LocalityEndpoints},
    health::CheckAt,
    metadata::Fields,
    store::ClusterStore,
};

/// A load assignment, its hosts not necessarily resolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assignment {
    /// In order.
    pub localities: Vec<LocalityHosts>,
    /// `overprovisioning_factor`, default 140.
    pub overprovisioning: u32,
}

/// The hosts of one locality at one priority.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalityHosts {
    /// 0 first.
    pub priority: u32,
    /// Which.
    pub locality: Option<Arc<Locality>>,
    /// `load_balancing_weight`; 0 when absent.
    pub weight: u32,
    /// Its hosts.
    pub hosts: Vec<Host>,
}

/// One host.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Address or name.
    pub target: HostTarget,
    /// `hostname`.
    pub hostname: Option<Arc<str>>,
    /// At least 1.
    pub weight: u32,
    /// As configured.
    pub health: Health,
    /// `hash_key` of its `envoy.lb` metadata.
    pub hash_key: Option<Arc<str>>,
    /// Its `envoy.lb` metadata.
    pub metadata: Option<Arc<Fields>>,
    /// `health_check_config`.
    pub check: Option<Arc<CheckAt>>,
    /// `metadata`, for logs.
    pub logged: Option<Arc<serde_json::Value>>,
}

/// Where a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostTarget {
    /// Known.
    Address(Address),
    /// To be resolved: name and port.
    Name(Arc<str>, u16),
}

/// Which hosts a cluster may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// IP addresses and Unix sockets: STATIC, EDS.
    Addresses,
    /// Names too: STRICT_DNS, LOGICAL_DNS.
    Names,
}

/// The hosts of an encoded assignment of addresses.
pub fn hosts(body: &Bytes) -> Result<Vec<LocalityEndpoints>, Rejection> {
    let message =
        ClusterLoadAssignment::decode(&**body).map_err(|error| Rejection::new(error.to_string()))?;
    let mut context = Context::new(ClusterStore::new());
    Ok(compile(&message, Hosts::Addresses, &mut context)?.resolved())
}

impl Assignment {
    /// How many hosts there are.
    pub fn counts(&self) -> Counts {
        let hosts = || self.localities.iter().flat_map(|locality| &locality.hosts);
        let healthy = hosts().filter(|host| host.health == Health::Healthy).count();
        Counts { total: hosts().count() as u32, healthy: healthy as u32 }
    }

    /// The layout's input, when every host is an address; names are left out.
    pub fn resolved(&self) -> Vec<LocalityEndpoints> {
        self.resolve_with(|_, _| Vec::new())
    }

    /// The layout's input with names looked up in `addresses`.
    pub fn resolve_with(&self, addresses: impl Fn(&Arc<str>, u16) -> Vec<Address>) -> Vec<LocalityEndpoints> {
        let spec = |host: &Host, address| {
            let hostname = host.hostname.clone();
            let hash_key = host.hash_key.clone();
            let (check, metadata) = (host.check.clone(), host.metadata.clone());
            HostSpec {
                logged: host.logged.clone(),
                address,
                hostname,
                weight: host.weight,
                health: host.health,
                hash_key,
                metadata,
                check,
                leaving: false,
            }
        };
        let hosts = |hosts: &[Host]| -> Vec<HostSpec> {
            let found = hosts.iter().flat_map(|host| {
                let found = match &host.target {
                    HostTarget::Address(address) => vec![address.clone()],
                    HostTarget::Name(name, port) => addresses(name, *port),
                };
                found.into_iter().map(move |address| spec(host, address))
            });
            found.collect()
        };
        let locality = |l: &LocalityHosts| LocalityEndpoints {
            priority: l.priority,
            locality: l.locality.clone(),
            weight: l.weight,
            hosts: hosts(&l.hosts),
        };
        self.localities.iter().map(locality).collect()
    }
}

/// Compiles an assignment.
pub fn compile(
    message: &ClusterLoadAssignment,
    hosts: Hosts,
    context: &mut Context,
) -> Result<Assignment, Rejection> {
    fields::unsupported(!message.named_endpoints.is_empty(), "named_endpoints")?;
    let policy = message.policy.as_ref();
    if let Some(policy) = policy {
        fields::unsupported(!policy.drop_overloads.is_empty(), "policy.drop_overloads")?;
        fields::unsupported(policy.weighted_priority_health, "policy.weighted_priority_health")?;
        if policy.endpoint_stale_after.is_some() {
            context.note("policy.endpoint_stale_after: endpoints do not expire");
        }
    }
    let factor = policy.and_then(|policy| policy.overprovisioning_factor.as_ref());
    let mut localities = Vec::with_capacity(message.endpoints.len());
    for (at, group) in message.endpoints.iter().enumerate() {
        localities.push(locality(group, hosts, context).at_index("endpoints", at)?);
    }
    Ok(Assignment { localities, overprovisioning: fields::number(factor, 140).max(100) })
}

fn locality(
    message: &LocalityLbEndpoints,
    hosts: Hosts,
    context: &mut Context,
) -> Result<LocalityHosts, Rejection> {
    let endpoints = match &message.lb_config {
        None => &message.lb_endpoints,
        Some(locality_lb_endpoints::LbConfig::LoadBalancerEndpoints(list)) => &list.lb_endpoints,
        Some(locality_lb_endpoints::LbConfig::LedsClusterLocalityConfig(_)) => {
            return refuse("not supported").at("leds_cluster_locality_config");
        }
    };
    if message.priority > 128 {
        return refuse(format!("{} is above 128", message.priority)).at("priority");
    }
    let compiled: Result<Vec<_>, _> = endpoints
        .iter()
        .enumerate()
        .map(|(at, e)| host(e, hosts, context).at_index("lb_endpoints", at))
        .collect();
    Ok(LocalityHosts {
        priority: message.priority,
        locality: message.locality.as_ref().and_then(|locality| place(locality, context)),
        weight: fields::number(message.load_balancing_weight.as_ref(), 0),
        hosts: compiled?,
    })
}

fn place(message: &LocalityMessage, context: &mut Context) -> Option<Arc<Locality>> {
    if message.region.is_empty() && message.zone.is_empty() && message.sub_zone.is_empty() {
        return None;
    }
    let (region, zone) = (context.intern(&message.region), context.intern(&message.zone));
    let sub_zone = context.intern(&message.sub_zone);
    Some(context.locality(Locality { region, zone, sub_zone }))
}

fn host(message: &LbEndpoint, hosts: Hosts, context: &mut Context) -> Result<Host, Rejection> {
    let endpoint = match &message.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(HostIdentifier::EndpointName(name)) => {
            return refuse(format!("named endpoint '{name}' is not supported")).at("endpoint_name");
        }
        None => return refuse("value is required").at("endpoint"),
    };
    if !endpoint.additional_addresses.is_empty() {
        context.note("additional_addresses of endpoints: only the first address is used");
    }
    let Some(address) = &endpoint.address else { return refuse("value is required").at("endpoint.address") };
    let target = match (fields::address(address), hosts) {
        (Ok(address), _) => HostTarget::Address(address),
        (Err(error), Hosts::Addresses) => return Err(error).at("endpoint.address"),
        (Err(_), Hosts::Names) => {
            let (name, port) = fields::host_port(address).at("endpoint.address")?;
            if name.is_empty() {
                return refuse("value is empty").at("endpoint.address.socket_address.address");
            }
            HostTarget::Name(context.intern(name), port)
        }
    };
    let weight = match &message.load_balancing_weight {
        Some(weight) if weight.value == 0 => {
            return refuse("value must be greater than or equal to 1").at("load_balancing_weight");
        }
        weight => fields::number(weight.as_ref(), 1),
    };
    let health = match HealthStatus::try_from(message.health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout) => Health::Unhealthy,
        Err(_) => return fields::unknown_enum("health_status", message.health_status),
    };
    let hostname = match (endpoint.hostname.as_str(), &target) {
        ("", HostTarget::Name(name, _)) => Some(name.clone()),
        ("", _) => None,
        (hostname, _) => Some(context.intern(hostname)),
    };
    let hash_key = hash_key(message).map(|key| context.intern(key));
    let metadata = metadata::of(message.metadata.as_ref(), context).at("metadata")?.map(Arc::new);
    let check = endpoint.health_check_config.as_ref().map(check).transpose();
    let check = check.at("endpoint.health_check_config")?;
    let logged = fields::metadata(message.metadata.as_ref());
    Ok(Host { target, hostname, weight, health, hash_key, metadata, check, logged })
}

/// Where a host is asked how it is.
fn check(message: &HealthCheckConfig) -> Result<Arc<CheckAt>, Rejection> {
    let port = u16::try_from(message.port_value).map_err(|_| Rejection::new("port is above 65535"));
    let address = match message.address.as_ref().map(fields::address).transpose().at("address")? {
        None => None,
        Some(Address::Socket(address)) => Some(address),
        Some(Address::Pipe(_)) => return refuse("a Unix socket is not supported").at("address"),
    };
    Ok(Arc::new(CheckAt {
        port: Some(port.at("port_value")?).filter(|port| *port != 0),
        address,
        hostname: (!message.hostname.is_empty()).then(|| message.hostname.as_str().into()),
        disabled: message.disable_active_health_check,
    }))
}

/// What stands for the host in consistent hashing, where it says so itself.
fn hash_key(message: &LbEndpoint) -> Option<&str> {
    let fields = message.metadata.as_ref()?.filter_metadata.get("envoy.lb")?;
    match &fields.fields.get("hash_key")?.kind {
        Some(Kind::StringValue(key)) if !key.is_empty() => Some(key),
        _ => None,
    }
}
