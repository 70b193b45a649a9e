//! `envoy.clusters.dynamic_forward_proxy` and the filters that go with it, over HTTP and by SNI.
//!
//! Here the cluster resolves what a request names; the filters only say that it may. They share a cache by its name in
//! Envoy; here each cluster has its own on every worker.

use std::time::Duration;

use meltemi_xds::pb::{
    envoy::{
        config::cluster::v3::cluster::{CustomClusterType, DnsLookupFamily},
        extensions::{
            clusters::dynamic_forward_proxy::v3::{
                ClusterConfig, cluster_config::ClusterImplementationSpecifier,
            },
            common::dynamic_forward_proxy::v3::DnsCacheConfig,
            filters::{
                http::dynamic_forward_proxy::v3::{FilterConfig, filter_config::ImplementationSpecifier},
                network::sni_dynamic_forward_proxy::v3::{
                    FilterConfig as SniConfig, filter_config::PortSpecifier,
                },
            },
        },
    },
    google::protobuf::Any,
};
use prost::Name;

use super::{At, Context, Rejection, fields, refuse};
use crate::cluster::{DynamicForward, dns::Family};

/// The cluster's settings; `None` when it is another kind of cluster.
pub fn cluster(
    custom: &CustomClusterType,
    context: &mut Context,
) -> Result<Option<DynamicForward>, Rejection> {
    let Some(config) = custom.typed_config.as_ref().filter(|any| any.type_url == ClusterConfig::type_url())
    else {
        return Ok(None);
    };
    let message: ClusterConfig = fields::unpack(config)?;
    fields::unsupported(message.allow_coalesced_connections, "allow_coalesced_connections")?;
    match &message.cluster_implementation_specifier {
        Some(ClusterImplementationSpecifier::DnsCacheConfig(cache)) => {
            self::cache(cache, context).at("dns_cache_config").map(Some)
        }
        Some(ClusterImplementationSpecifier::SubClustersConfig(_)) => {
            refuse("not supported").at("sub_clusters_config")
        }
        None => refuse("dns_cache_config is required"),
    }
}

/// True when the HTTP filter is the one of dynamic forwarding, and says nothing that is not known.
pub fn http_filter(config: &Any, context: &mut Context) -> Result<bool, Rejection> {
    if config.type_url != FilterConfig::type_url() {
        return Ok(false);
    }
    let message: FilterConfig = fields::unpack(config)?;
    fields::unsupported(message.save_upstream_address, "save_upstream_address")?;
    fields::unsupported(
        message.allow_dynamic_host_from_filter_state,
        "allow_dynamic_host_from_filter_state",
    )?;
    match &message.implementation_specifier {
        Some(ImplementationSpecifier::DnsCacheConfig(cache)) => {
            self::cache(cache, context).at("dns_cache_config")?;
            Ok(true)
        }
        Some(ImplementationSpecifier::SubClusterConfig(_)) => {
            refuse("not supported").at("sub_cluster_config")
        }
        None => refuse("dns_cache_config is required"),
    }
}

/// The port that names of ClientHellos are connected at; `None` for another filter.
pub fn sni_filter(config: &Any, context: &mut Context) -> Result<Option<u16>, Rejection> {
    if config.type_url != SniConfig::type_url() {
        return Ok(None);
    }
    let message: SniConfig = fields::unpack(config)?;
    fields::unsupported(message.save_upstream_address, "save_upstream_address")?;
    match &message.dns_cache_config {
        Some(config) => drop(cache(config, context).at("dns_cache_config")?),
        None => return refuse("value is required").at("dns_cache_config"),
    }
    match message.port_specifier {
        None => Ok(Some(443)),
        Some(PortSpecifier::PortValue(port)) => match u16::try_from(port) {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => refuse(format!("{port} is not between 1 and 65535")).at("port_value"),
        },
    }
}

fn cache(message: &DnsCacheConfig, context: &mut Context) -> Result<DynamicForward, Rejection> {
    if message.name.is_empty() {
        return refuse("value is empty").at("name");
    }
    fields::unsupported(message.key_value_config.is_some(), "key_value_config")?;
    fields::unsupported(message.use_tcp_for_dns_lookups, "use_tcp_for_dns_lookups")?;
    if !message.preresolve_hostnames.is_empty() {
        context.note("preresolve_hostnames: names are resolved when they are first asked for");
    }
    if message.dns_cache_circuit_breaker.is_some() {
        context.note("dns_cache_circuit_breaker: at most eight lookups are under way, whatever it says");
    }
    if message.typed_dns_resolver_config.is_some() || message.dns_resolution_config.is_some() {
        context.note("typed_dns_resolver_config: the system's resolver is used");
    }
    let duration = |value: Option<_>, field, default| -> Result<Duration, Rejection> {
        Ok(fields::optional(value, field)?.unwrap_or(Duration::from_secs(default)))
    };
    let failure = message.dns_failure_refresh_rate.as_ref().and_then(|rate| rate.base_interval.as_ref());
    let max_hosts = fields::number(message.max_hosts.as_ref(), 1024);
    if max_hosts == 0 {
        return refuse("value must be greater than 0").at("max_hosts");
    }
    Ok(DynamicForward {
        family: family(message.dns_lookup_family).at("dns_lookup_family")?,
        refresh: duration(message.dns_refresh_rate.as_ref(), "dns_refresh_rate", 60)?,
        failure_refresh: duration(failure, "dns_failure_refresh_rate.base_interval", 5)?,
        host_ttl: duration(message.host_ttl.as_ref(), "host_ttl", 300)?,
        query_timeout: duration(message.dns_query_timeout.as_ref(), "dns_query_timeout", 5)?,
        max_hosts,
    })
}

/// `DnsLookupFamily`.
pub fn family(value: i32) -> Result<Family, Rejection> {
    match DnsLookupFamily::try_from(value) {
        Ok(DnsLookupFamily::Auto) => Ok(Family::Auto),
        Ok(DnsLookupFamily::V4Only) => Ok(Family::V4),
        Ok(DnsLookupFamily::V6Only) => Ok(Family::V6),
        Ok(DnsLookupFamily::V4Preferred) => Ok(Family::PreferV4),
        Ok(DnsLookupFamily::All) => Ok(Family::All),
        Err(_) => refuse(format!("unknown value {value}")),
    }
}
