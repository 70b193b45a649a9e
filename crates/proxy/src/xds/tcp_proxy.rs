//! `envoy.filters.network.tcp_proxy`.

use std::time::Duration;

use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy as Message,
    tcp_proxy::{ClusterSpecifier, TunnelingConfig},
};
use meltemi_xds::pb::envoy::r#type::v3::hash_policy::PolicySpecifier;

use super::{At, Context, Rejection, access_log, fields, header_rules, refuse, route_action};
use crate::{access_log::Format, listener::TcpProxy, tcp_proxy::tunnel::Tunnel};

/// Compiles the filter.
pub fn compile(message: &Message, context: &mut Context) -> Result<TcpProxy, Rejection> {
    fields::unsupported(message.on_demand.is_some(), "on_demand")?;
    fields::unsupported(message.metadata_match.is_some(), "metadata_match")?;
    fields::unsupported(message.downstream_idle_timeout.is_some(), "downstream_idle_timeout")?;
    fields::unsupported(message.upstream_idle_timeout.is_some(), "upstream_idle_timeout")?;
    fields::unsupported(!message.proxy_protocol_tlvs.is_empty(), "proxy_protocol_tlvs")?;
    fields::unsupported(message.upstream_connect_mode != 0, "upstream_connect_mode")?;
    let mut hash_source_ip = false;
    // As in Envoy, one policy at most.
    match message.hash_policy.as_slice() {
        [] => {}
        [policy] => match &policy.policy_specifier {
            Some(PolicySpecifier::SourceIp(_)) => hash_source_ip = true,
            Some(PolicySpecifier::FilterState(_)) => {
                return refuse("filter state is not supported").at_index("hash_policy", 0);
            }
            None => return refuse("a policy is required").at_index("hash_policy", 0),
        },
        _ => return refuse("at most one policy is allowed").at("hash_policy"),
    }
    if message.backoff_options.is_some() {
        context.note("tcp_proxy.backoff_options: attempts follow each other at once");
    }
    let clusters = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            vec![(route_action::cluster(name, context).at("cluster")?, 1)]
        }
        Some(ClusterSpecifier::WeightedClusters(weights)) => {
            let mut clusters = Vec::with_capacity(weights.clusters.len());
            for (at, part) in weights.clusters.iter().enumerate() {
                fields::unsupported(part.metadata_match.is_some(), "metadata_match")
                    .at_index("weighted_clusters.clusters", at)?;
                let slot =
                    route_action::cluster(&part.name, context).at_index("weighted_clusters.clusters", at)?;
                clusters.push((slot, part.weight));
            }
            clusters
        }
        None => return refuse("a cluster specifier is required"),
    };
    if clusters.iter().all(|(_, weight)| *weight == 0) {
        return refuse("the sum of weights must be greater than 0").at("weighted_clusters");
    }
    let tunnel = message.tunneling_config.as_ref().map(|config| tunnel(config, context)).transpose();
    let hour = Some(Duration::from_secs(3600));
    Ok(TcpProxy {
        stat_prefix: context.intern(&message.stat_prefix),
        clusters,
        idle_timeout: fields::timeout(message.idle_timeout.as_ref(), "idle_timeout", hour)?,
        max_connect_attempts: fields::number(message.max_connect_attempts.as_ref(), 1).max(1),
        hash_source_ip,
        max_duration: fields::timeout(
            message.max_downstream_connection_duration.as_ref(),
            "max_downstream_connection_duration",
            None,
        )?,
        tunnel: tunnel.at("tunneling_config")?.map(Box::new),
        sni: Default::default(),
        access_log: access_log::compile(&message.access_log)?,
    })
}

fn tunnel(message: &TunnelingConfig, context: &mut Context) -> Result<Tunnel, Rejection> {
    if message.hostname.is_empty() {
        return refuse("value is empty").at("hostname");
    }
    if !message.post_path.is_empty() && !message.use_post {
        return refuse("Can't set a post path when POST method isn't used").at("post_path");
    }
    if message.propagate_response_headers || message.propagate_response_trailers {
        context.note("tunneling_config.propagate_response_*: nothing here reads the filter state they go to");
    }
    let authority = Format::compile(&message.hostname).map_err(Rejection::new).at("hostname")?;
    let path = if message.post_path.is_empty() { "/" } else { &message.post_path };
    Ok(Tunnel {
        authority: authority.omit_empty(),
        post: message.use_post.then(|| path.into()),
        headers: header_rules::additions(&message.headers_to_add, context).at("headers_to_add")?,
    })
}
