//! What a route does: `RouteAction`, `RedirectAction`, `DirectResponseAction`.

use std::{sync::Arc, time::Duration};

use super::{At, Context, Rejection, cluster, fields, header_rules, http_filters, metadata, refuse, retry};
use crate::{
    cluster::{ClusterSlot, metadata::Criteria},
    header_lists,
    http::filters::{cors, overrides::Override},
    route::{
        BufferLimit, DirectResponse, Forward, HostRewrite, Mirror, MirrorTarget, Redirect, RetryPolicy,
        Rewrite, Target, TunnelEnd, WeightedCluster,
        hash::{Cookie, HashPolicy, HashSource},
        strings::{compile, substitution},
    },
};
use meltemi_xds::pb::envoy::{
    config::route::v3::{
        DirectResponseAction, RedirectAction, RouteAction, WeightedCluster as Weights,
        redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
        route_action::{
            ClusterNotFoundResponseCode, ClusterSpecifier, HashPolicy as HashMessage, HostRewriteSpecifier,
            RequestMirrorPolicy, hash_policy::PolicySpecifier,
        },
        weighted_cluster::{ClusterWeight, cluster_weight},
    },
    r#type::matcher::v3::RegexMatchAndSubstitute,
};

/// Envoy's default for `timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a route has from its virtual host and table.
#[derive(Debug)]
pub struct Inherited {
    /// The virtual host's name.
    pub host: Arc<str>,
    /// What the virtual host, then the table, say of HTTP filters.
    pub filters: [Vec<Override>; 2],
    /// The virtual host's older `cors` field.
    pub cors: Option<Arc<cors::Policy>>,
    /// The virtual host's mirrors, else the table's, for routes without their own.
    pub mirrors: Vec<Mirror>,
    /// The virtual host's policy, for routes without their own.
    pub retry: Option<RetryPolicy>,
    /// `max_direct_response_body_size_bytes`.
    pub body_limit: usize,
    /// What the virtual host says of how much of a request is kept.
    pub buffer_limit: BufferLimit,
}

/// A route to clusters.
pub fn forward(
    message: &RouteAction,
    replaced: usize,
    inherited: &Inherited,
    own: &[Override],
    context: &mut Context,
) -> Result<Forward, Rejection> {
    refuse_unsupported(message)?;
    let asked = metadata::criteria(message.metadata_match.as_ref(), None, context)?;
    let (target, parts_override) = target(message, inherited, own, asked.as_deref(), context)?;
    let mirrors = match message.request_mirror_policies.as_slice() {
        [] => inherited.mirrors.clone(),
        own => mirrors(own, context)?,
    };
    let (max, offset) = grpc_timeout(message)?;
    let retry = match &message.retry_policy {
        Some(policy) => Some(retry::compile(policy, context).at("retry_policy")?),
        None => inherited.retry.clone(),
    };
    let (upgrades, tunnel_end) = upgrades(message, context)?;
    let longest = message.max_stream_duration.as_ref().and_then(|limits| limits.max_stream_duration.as_ref());
    Ok(Forward {
        target,
        parts_override,
        mirrors,
        not_found_status: match ClusterNotFoundResponseCode::try_from(message.cluster_not_found_response_code)
        {
            Ok(ClusterNotFoundResponseCode::ServiceUnavailable) => 503,
            Ok(ClusterNotFoundResponseCode::NotFound) => 404,
            Ok(ClusterNotFoundResponseCode::InternalServerError) => 500,
            Err(_) => {
                let value = message.cluster_not_found_response_code;
                return fields::unknown_enum("cluster_not_found_response_code", value);
            }
        },
        timeout: fields::timeout(message.timeout.as_ref(), "timeout", Some(TIMEOUT))?,
        idle_timeout: match &message.idle_timeout {
            None => None,
            Some(_) => Some(fields::timeout(message.idle_timeout.as_ref(), "idle_timeout", None)?),
        },
        max_grpc_timeout: max,
        grpc_timeout_offset: offset,
        tells_grpc_timeout: message.max_stream_duration.is_none() && message.max_grpc_timeout.is_some(),
        max_stream_duration: fields::timeout(longest, "max_stream_duration.max_stream_duration", None)?,
        rewrite: rewrite(&message.prefix_rewrite, message.regex_rewrite.as_ref(), replaced, context)?,
        host_rewrite: host_rewrite(message, context)?,
        append_x_forwarded_host: message.append_x_forwarded_host,
        tunnel_end,
        upgrades,
        high_priority: message.priority == 1,
        asked,
        retry,
        hash: hash_policies(message, context)?,
    })
}

fn refuse_unsupported(message: &RouteAction) -> Result<(), Rejection> {
    fields::unsupported(message.path_rewrite_policy.is_some(), "path_rewrite_policy")?;
    fields::unsupported(!message.path_rewrite.is_empty(), "path_rewrite")?;
    fields::unsupported(message.early_data_policy.is_some(), "early_data_policy")?;
    fields::unsupported(message.retry_policy_typed_config.is_some(), "retry_policy_typed_config")?;
    fields::unsupported(!message.rate_limits.is_empty(), "rate_limits")?;
    fields::unsupported(message.internal_redirect_policy.is_some(), "internal_redirect_policy")?;
    fields::unsupported(message.internal_redirect_action != 0, "internal_redirect_action")?;
    fields::unsupported(message.hedge_policy.is_some(), "hedge_policy")?;
    fields::unsupported(message.flush_timeout.is_some(), "flush_timeout")
}

/// Who gets copies.
pub fn mirrors(messages: &[RequestMirrorPolicy], context: &mut Context) -> Result<Vec<Mirror>, Rejection> {
    let messages = messages.iter().enumerate();
    messages.map(|(at, m)| mirror(m, context).at_index("request_mirror_policies", at)).collect()
}

fn mirror(message: &RequestMirrorPolicy, context: &mut Context) -> Result<Mirror, Rejection> {
    fields::unsupported(!message.request_headers_mutations.is_empty(), "request_headers_mutations")?;
    let target = match (message.cluster.as_str(), message.cluster_header.as_str()) {
        ("", "") => return refuse("one of cluster and cluster_header is required"),
        (name, "") => MirrorTarget::Cluster(cluster(name, context).at("cluster")?),
        ("", header) => {
            MirrorTarget::Header(context.intern(&header.to_ascii_lowercase()), context.clusters.clone())
        }
        _ => return refuse("only one of cluster and cluster_header may be set"),
    };
    let mut share = None;
    if let Some(fraction) = &message.runtime_fraction {
        let value = fraction.default_value.as_ref().map(fields::fraction).transpose();
        let value = value.at("runtime_fraction.default_value")?.unwrap_or((0, 100));
        // As in Envoy: zero without a runtime key that could say otherwise counts as not set.
        share = Some(value).filter(|value| value.0 > 0 || !fraction.runtime_key.is_empty());
    }
    let host = &message.host_rewrite_literal;
    Ok(Mirror {
        target,
        share,
        suffix: !message.disable_shadow_host_suffix_append && host.is_empty(),
        host: (!host.is_empty()).then(|| context.intern(host)),
    })
}

/// What requests are hashed by.
fn hash_policies(message: &RouteAction, context: &mut Context) -> Result<Vec<HashPolicy>, Rejection> {
    let policies = message.hash_policy.iter().enumerate();
    policies.map(|(at, policy)| hash_policy(policy, context).at_index("hash_policy", at)).collect()
}

fn hash_policy(message: &HashMessage, context: &mut Context) -> Result<HashPolicy, Rejection> {
    let source = match &message.policy_specifier {
        Some(PolicySpecifier::Header(header)) if !header.header_name.is_empty() => HashSource::Header {
            name: context.intern(&header.header_name.to_ascii_lowercase()),
            rewrite: header.regex_rewrite.as_ref().map(substitute).transpose().at("header.regex_rewrite")?,
        },
        Some(PolicySpecifier::Cookie(cookie)) if !cookie.name.is_empty() => {
            let ttl = fields::optional(cookie.ttl.as_ref(), "cookie.ttl")?;
            let mut attributes = String::new();
            if !cookie.path.is_empty() {
                attributes += &format!("; Path={}", cookie.path);
            }
            for attribute in &cookie.attributes {
                let equals = if attribute.value.is_empty() { "" } else { "=" };
                attributes += &format!("; {}{equals}{}", attribute.name, attribute.value);
            }
            if attributes.bytes().chain(cookie.name.bytes()).any(|byte| byte.is_ascii_control()) {
                return refuse("control characters are not allowed").at("cookie");
            }
            let ttl = ttl.map(|ttl| ttl.as_secs());
            HashSource::Cookie(Box::new(Cookie { name: context.intern(&cookie.name), ttl, attributes }))
        }
        Some(PolicySpecifier::ConnectionProperties(connection)) if connection.source_ip => {
            HashSource::SourceIp
        }
        // Says nothing, as in Envoy.
        Some(PolicySpecifier::ConnectionProperties(_)) => HashSource::FilterState,
        Some(PolicySpecifier::QueryParameter(query)) if !query.name.is_empty() => {
            HashSource::Query(context.intern(&query.name))
        }
        Some(PolicySpecifier::FilterState(state)) => {
            context.note(format!("hash_policy: no filter state '{}' is kept", state.key));
            HashSource::FilterState
        }
        Some(_) => return refuse("value is empty"),
        None => return refuse("a policy specifier is required"),
    };
    Ok(HashPolicy { source, terminal: message.terminal })
}

/// `max_stream_duration`'s gRPC limits, else the deprecated pair.
fn grpc_timeout(message: &RouteAction) -> Result<(Option<Duration>, Option<Duration>), Rejection> {
    match &message.max_stream_duration {
        Some(limits) if limits.grpc_timeout_header_max.is_some() => Ok((
            fields::optional(
                limits.grpc_timeout_header_max.as_ref(),
                "max_stream_duration.grpc_timeout_header_max",
            )?,
            fields::optional(
                limits.grpc_timeout_header_offset.as_ref(),
                "max_stream_duration.grpc_timeout_header_offset",
            )?,
        )),
        _ => Ok((
            fields::optional(message.max_grpc_timeout.as_ref(), "max_grpc_timeout")?,
            fields::optional(message.grpc_timeout_offset.as_ref(), "grpc_timeout_offset")?,
        )),
    }
}

/// Where to, and whether parts of a weighted set say something of HTTP filters.
fn target(
    message: &RouteAction,
    inherited: &Inherited,
    own: &[Override],
    asked: Option<&Criteria>,
    context: &mut Context,
) -> Result<(Target, bool), Rejection> {
    let target = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(Target::Cluster(cluster(name, context).at("cluster")?)),
        Some(ClusterSpecifier::ClusterHeader(name)) if !name.is_empty() => {
            context.clusters.keep_directory();
            Ok(Target::Header {
                name: context.intern(&name.to_ascii_lowercase()),
                clusters: context.clusters.clone(),
            })
        }
        Some(ClusterSpecifier::WeightedClusters(weights)) => {
            return weighted(weights, (inherited, asked), own, context).at("weighted_clusters");
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(name)) => {
            refuse(format!("cluster specifier plugin '{name}' is not supported"))
                .at("cluster_specifier_plugin")
        }
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(plugin)) => {
            let name = plugin.extension.as_ref().map_or("", |extension| &extension.name);
            refuse(format!("cluster specifier plugin '{name}' is not supported"))
                .at("inline_cluster_specifier_plugin")
        }
        Some(ClusterSpecifier::ClusterHeader(_)) => refuse("value is empty").at("cluster_header"),
        None => refuse("a cluster specifier is required"),
    };
    target.map(|target| (target, false))
}

/// The slot of a cluster; where clusters are validated, it must have been declared.
pub fn cluster(name: &str, context: &mut Context) -> Result<Arc<ClusterSlot>, Rejection> {
    if name.is_empty() {
        return refuse("value is empty");
    }
    match context.validating && !context.declared.contains(name) {
        true => refuse(format!("unknown cluster '{name}'")),
        false => Ok(context.clusters.slot(name)),
    }
}

fn weighted(
    message: &Weights,
    inherited: (&Inherited, Option<&Criteria>),
    own: &[Override],
    context: &mut Context,
) -> Result<(Target, bool), Rejection> {
    fields::unsupported(message.random_value_specifier.is_some(), "random_value_specifier")?;
    let mut total: u64 = 0;
    let mut parts = Vec::with_capacity(message.clusters.len());
    for (at, part) in message.clusters.iter().enumerate() {
        let part = weighted_part(part, inherited, own, context).at_index("clusters", at)?;
        total += u64::from(part.weight);
        parts.push(part);
    }
    if parts.is_empty() {
        return refuse("at least one cluster is required").at("clusters");
    }
    match u32::try_from(total) {
        Ok(0) => refuse("the sum of weights must be greater than 0"),
        Ok(sum) if message.total_weight.as_ref().is_some_and(|wanted| wanted.value != sum) => refuse(
            format!("sum of weights in the weighted_cluster must add up to total_weight, but is {sum}"),
        ),
        Ok(total) => {
            let overrides = parts.iter().any(|part| part.filters.is_some());
            Ok((Target::Weighted { total, parts }, overrides))
        }
        Err(_) => refuse("the sum of weights exceeds uint32"),
    }
}

fn weighted_part(
    message: &ClusterWeight,
    (inherited, asked): (&Inherited, Option<&Criteria>),
    own: &[Override],
    context: &mut Context,
) -> Result<WeightedCluster, Rejection> {
    fields::unsupported(!message.cluster_header.is_empty(), "cluster_header")?;
    let part = http_filters::level(&message.typed_per_filter_config, context)?;
    let [host, table] = &inherited.filters;
    let filters = match part.is_empty() {
        true => None,
        false => http_filters::resolve(&[&part, own, host, table], inherited.cors.iter().cloned().collect()),
    };
    let host_rewrite = message.host_rewrite_specifier.as_ref().map(|rewrite| match rewrite {
        cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host) => context.intern(host),
    });
    Ok(WeightedCluster {
        cluster: cluster(&message.name, context).at("name")?,
        weight: fields::number(message.weight.as_ref(), 0),
        headers: header_rules::compile(&header_lists!(message), context)?,
        asked: metadata::criteria(message.metadata_match.as_ref(), asked, context)?,
        host_rewrite,
        filters,
    })
}

fn rewrite(
    prefix: &str,
    regex: Option<&RegexMatchAndSubstitute>,
    replaced: usize,
    context: &mut Context,
) -> Result<Rewrite, Rejection> {
    match (prefix, regex) {
        ("", None) => Ok(Rewrite::None),
        (with, None) => Ok(Rewrite::Prefix { matched: replaced, with: context.intern(with) }),
        ("", Some(regex)) => {
            let (pattern, with) = substitute(regex).at("regex_rewrite")?;
            Ok(Rewrite::Regex { pattern, with })
        }
        _ => refuse("only one of prefix_rewrite and regex_rewrite may be set"),
    }
}

fn substitute(message: &RegexMatchAndSubstitute) -> Result<(regex::Regex, Arc<str>), Rejection> {
    let text = message.pattern.as_ref().map_or("", |pattern| &pattern.regex);
    if text.is_empty() {
        return refuse("value is empty").at("pattern.regex");
    }
    let pattern = compile(text).at("pattern.regex")?;
    let with = substitution(&message.substitution, &pattern).at("substitution")?;
    Ok((pattern, with))
}

fn host_rewrite(message: &RouteAction, context: &mut Context) -> Result<HostRewrite, Rejection> {
    Ok(match &message.host_rewrite_specifier {
        None => HostRewrite::None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => HostRewrite::Literal(context.intern(host)),
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if auto.value => HostRewrite::Auto,
        Some(HostRewriteSpecifier::AutoHostRewrite(_)) => HostRewrite::None,
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            HostRewrite::Header(context.intern(&name.to_ascii_lowercase()))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(regex)) => {
            let (pattern, with) = substitute(regex).at("host_rewrite_path_regex")?;
            HostRewrite::PathRegex { pattern, with }
        }
        Some(HostRewriteSpecifier::HostRewrite(_)) => return refuse("not supported").at("host_rewrite"),
    })
}

/// Upgrades that a route allows or forbids, and what becomes of a CONNECT.
type Upgrades = (Vec<(Arc<str>, bool)>, Option<TunnelEnd>);

fn upgrades(message: &RouteAction, context: &mut Context) -> Result<Upgrades, Rejection> {
    let (mut upgrades, mut end) = (Vec::new(), None);
    for (at, upgrade) in message.upgrade_configs.iter().enumerate() {
        if let Some(config) = &upgrade.connect_config {
            if !upgrade.upgrade_type.eq_ignore_ascii_case("connect") {
                let only = "Non-CONNECT upgrade type specified with ConnectConfig";
                return refuse(only).at("connect_config").at_index("upgrade_configs", at);
            }
            let header = config.proxy_protocol_config.clone().map(cluster::proxy_header).transpose();
            let header = header.at("proxy_protocol_config").at("connect_config");
            let header = header.at_index("upgrade_configs", at)?;
            end = Some(TunnelEnd { post: config.allow_post, header });
        }
        let name = context.intern(&upgrade.upgrade_type.to_ascii_lowercase());
        upgrades.push((name, fields::flag(upgrade.enabled.as_ref(), true)));
    }
    Ok((upgrades, end))
}

/// A redirect.
pub fn redirect(
    message: &RedirectAction,
    replaced: usize,
    context: &mut Context,
) -> Result<Redirect, Rejection> {
    let status = match RedirectResponseCode::try_from(message.response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => 301,
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Err(_) => return fields::unknown_enum("response_code", message.response_code),
    };
    let scheme = match &message.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some(context.intern("https")),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => {
            Some(context.intern(scheme))
        }
        _ => None,
    };
    let mut path = None;
    let rewrite = match &message.path_rewrite_specifier {
        None => Rewrite::None,
        Some(PathRewriteSpecifier::PathRedirect(new)) => {
            path = (!new.is_empty()).then(|| context.intern(new));
            Rewrite::None
        }
        Some(PathRewriteSpecifier::PrefixRewrite(with)) => rewrite(with, None, replaced, context)?,
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => rewrite("", Some(regex), replaced, context)?,
        Some(PathRewriteSpecifier::PathRewrite(_)) => return refuse("not supported").at("path_rewrite"),
    };
    let port = u16::try_from(message.port_redirect)
        .map_err(|_| Rejection::new(format!("port {} is above 65535", message.port_redirect)))
        .at("port_redirect")?;
    Ok(Redirect {
        status,
        scheme,
        host: (!message.host_redirect.is_empty()).then(|| context.intern(&message.host_redirect)),
        port: (port != 0).then_some(port),
        path,
        rewrite,
        strip_query: message.strip_query,
    })
}

/// A direct response.
pub fn respond(message: &DirectResponseAction, limit: usize) -> Result<DirectResponse, Rejection> {
    fields::unsupported(message.body_format.is_some(), "body_format")?;
    let status = match u16::try_from(message.status) {
        Ok(status @ 200..=599) => status,
        _ => return refuse(format!("status {} is not between 200 and 599", message.status)).at("status"),
    };
    let body = message.body.as_ref().map(fields::data_source).transpose().at("body")?.unwrap_or_default();
    if body.len() > limit {
        return refuse(format!("response body size is {} bytes; maximum is {limit}", body.len())).at("body");
    }
    Ok(DirectResponse { status, body: body.into() })
}
