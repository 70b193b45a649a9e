//! `envoy.filters.network.tcp_proxy`.

use std::time::Duration;

use meltemi_xds::pb::envoy::config::core::v3::BackoffStrategy;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy as Message,
    tcp_proxy::{ClusterSpecifier, TunnelingConfig},
};
use meltemi_xds::pb::envoy::r#type::v3::hash_policy::PolicySpecifier;

use super::{At, Context, Rejection, access_log, fields, header_rules, metadata, refuse, route_action};
use crate::{
    access_log::Format,
    listener::{LogTimes, TcpProxy},
    tcp_proxy::tunnel::Tunnel,
};

/// Compiles the filter.
pub fn compile(message: &Message, context: &mut Context) -> Result<TcpProxy, Rejection> {
    fields::unsupported(message.on_demand.is_some(), "on_demand")?;
    let asked = metadata::criteria(message.metadata_match.as_ref(), None, context)?;
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
    if message.check_drain_close.is_some() {
        context.note("tcp_proxy.check_drain_close: connections of a listener that drains end when its drain time is over");
    }
    let clusters = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            vec![(route_action::cluster(name, context).at("cluster")?, 1, asked)]
        }
        Some(ClusterSpecifier::WeightedClusters(weights)) => {
            let mut clusters = Vec::with_capacity(weights.clusters.len());
            for (at, part) in weights.clusters.iter().enumerate() {
                let asked = metadata::criteria(part.metadata_match.as_ref(), asked.as_deref(), context)
                    .at_index("weighted_clusters.clusters", at)?;
                let slot =
                    route_action::cluster(&part.name, context).at_index("weighted_clusters.clusters", at)?;
                clusters.push((slot, part.weight, asked));
            }
            clusters
        }
        None => return refuse("a cluster specifier is required"),
    };
    if clusters.iter().all(|(_, weight, _)| *weight == 0) {
        return refuse("the sum of weights must be greater than 0").at("weighted_clusters");
    }
    let tunnel = message.tunneling_config.as_ref().map(|config| tunnel(config, context)).transpose();
    let hour = Some(Duration::from_secs(3600));
    let jitter = message.max_downstream_connection_duration_jitter_percentage.as_ref();
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
        backoff: message.backoff_options.as_ref().map(backoff).transpose().at("backoff_options")?,
        duration_jitter: jitter
            .map(fields::percent_in_hundredths)
            .transpose()
            .at("max_downstream_connection_duration_jitter_percentage")?
            .unwrap_or(0),
        log_times: log_times(message, context)?,
        tunnel: tunnel.at("tunneling_config")?.map(Box::new),
        sni: Default::default(),
        access_log: access_log::compile(&message.access_log, context)?,
    })
}

fn backoff(message: &BackoffStrategy) -> Result<(Duration, Duration), Rejection> {
    let base = fields::optional(message.base_interval.as_ref(), "base_interval")?;
    let Some(base) = base.filter(|base| *base >= Duration::from_millis(1)) else {
        return refuse("value must be greater than or equal to 1ms").at("base_interval");
    };
    match fields::optional(message.max_interval.as_ref(), "max_interval")? {
        Some(most) if most < base => {
            refuse("max_backoff interval must be greater than or equal to base_interval").at("max_interval")
        }
        most => Ok((base, most.unwrap_or(base * 10))),
    }
}

/// Of the options, else of the fields that they replace.
#[expect(deprecated, reason = "in use still")]
fn log_times(message: &Message, context: &mut Context) -> Result<LogTimes, Rejection> {
    let (start, connected, interval) = match &message.access_log_options {
        Some(options) => (
            options.flush_access_log_on_start,
            options.flush_access_log_on_connected,
            options.access_log_flush_interval.as_ref(),
        ),
        None => (false, message.flush_access_log_on_connected, message.access_log_flush_interval.as_ref()),
    };
    let interval = fields::optional(interval, "access_log_flush_interval")?;
    if interval.is_some_and(|interval| interval < Duration::from_millis(1)) {
        return refuse("value must be greater than or equal to 1ms").at("access_log_flush_interval");
    }
    if interval.is_some() && message.tunneling_config.is_some() {
        context.note("access_log_flush_interval: tunnels are logged at their end only");
    }
    Ok(LogTimes { start, connected, interval })
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
