//! `RouteConfiguration`, `VirtualHost` and `Route` to a [`RouteTable`].
//!
//! Called for RDS and for the route configurations inside HTTP connection managers.

use std::sync::Arc;

use bytes::Bytes;
use meltemi_xds::pb::{
    envoy::config::route::v3::{
        Route as RouteMessage, RouteConfiguration, RouteMatch as MatchMessage, VirtualHost as HostMessage,
        route, route_match::PathSpecifier, virtual_host::TlsRequirementType,
    },
    google::protobuf::{UInt32Value, UInt64Value},
};

use prost::Message as _;

use super::{
    At, Context, Rejection, fields, hcm, header_rules, http_filters, matchers, refuse, retry, route_action,
    wire,
};
use crate::{
    header_lists,
    http::filters::overrides::Override,
    route::{
        Action, BufferLimit, HeaderRules, Mirror, RequireTls, Route, RouteTable, VirtualCluster, VirtualHost,
        hosts::HostIndex,
        lazy::LazyHost,
        matcher::{Conditions, Entry, PathMatch, RouteIndex, RouteMatch},
    },
};

/// Field number of `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS: u32 = 2;

/// Tables of up to this many virtual hosts are compiled whole when they come: there is nothing to save.
const EAGER: usize = 16;

/// A route configuration without its virtual hosts.
#[derive(Debug, Clone)]
pub struct Frame {
    name: Arc<str>,
    version: Arc<str>,
    headers: Arc<HeaderRules>,
    most_specific_headers_win: bool,
    ignore_port: bool,
    defaults: Arc<Defaults>,
    /// `vhds` is set: more virtual hosts come one by one.
    pub vhds: bool,
}

/// Compiles an encoded route configuration. `validate` is `validate_clusters` where the message does not say: true for
/// inline configurations, false for RDS.
pub fn table(
    message: &Bytes,
    version: &str,
    validate: bool,
    context: &mut Context,
) -> Result<RouteTable, Rejection> {
    let (frame, hosts) = parts(message, version, validate, context)?;
    assemble(&frame, hosts)
}

/// The same in parts, for a table that others are added to.
pub fn parts(
    message: &Bytes,
    version: &str,
    validate: bool,
    context: &mut Context,
) -> Result<(Frame, Vec<Arc<LazyHost>>), Rejection> {
    let (hosts, rest) = wire::split(message, VIRTUAL_HOSTS)?;
    let message =
        RouteConfiguration::decode(rest.as_slice()).map_err(|error| Rejection::new(error.to_string()))?;
    let frame = frame(&message, version, context)?;
    context.validating = fields::flag(message.validate_clusters.as_ref(), validate);
    let eager = hosts.len() <= EAGER;
    let hosts: Result<Vec<_>, _> = hosts
        .into_iter()
        .enumerate()
        .map(|(at, body)| lazy(body, &frame, eager, context).at_index("virtual_hosts", at))
        .collect();
    context.validating = false;
    Ok((frame, hosts?))
}

/// A virtual host that came by itself.
pub fn single(body: Bytes, frame: &Frame, context: &mut Context) -> Result<Arc<LazyHost>, Rejection> {
    lazy(body, frame, false, context)
}

fn lazy(body: Bytes, frame: &Frame, eager: bool, context: &mut Context) -> Result<Arc<LazyHost>, Rejection> {
    let compiled = host(&body, &frame.defaults, context)?;
    let lazy = LazyHost::new(body, context.clusters.clone(), frame.defaults.clone());
    if eager {
        lazy.warm(compiled);
    }
    Ok(Arc::new(lazy))
}

/// Puts virtual hosts into a table, in order.
pub fn assemble(frame: &Frame, virtual_hosts: Vec<Arc<LazyHost>>) -> Result<RouteTable, Rejection> {
    let mut hosts = HostIndex::default();
    for (at, host) in virtual_hosts.iter().enumerate() {
        for (n, domain) in domains(&host.body())?.iter().enumerate() {
            let added = hosts.add(&String::from_utf8_lossy(domain), at as u32);
            let added = added.map_err(|error| Rejection::new(error.to_string()));
            added.at_index("domains", n).at_index("virtual_hosts", at)?;
        }
    }
    hosts.shrink();
    Ok(with_index(frame, virtual_hosts, Arc::new(hosts)))
}

/// Puts virtual hosts whose domains are known into a table.
pub fn with_index(frame: &Frame, virtual_hosts: Vec<Arc<LazyHost>>, hosts: Arc<HostIndex>) -> RouteTable {
    RouteTable {
        name: frame.name.clone(),
        version: frame.version.clone(),
        hosts,
        virtual_hosts,
        headers: frame.headers.clone(),
        most_specific_headers_win: frame.most_specific_headers_win,
        ignore_port: frame.ignore_port,
        max_direct_response_body: frame.defaults.body_limit,
    }
}

/// The domains of an encoded virtual host.
pub fn domains(host: &Bytes) -> Result<Vec<Bytes>, Rejection> {
    /// Field number of `VirtualHost.domains`.
    const DOMAINS: u32 = 2;
    let mut domains = Vec::new();
    wire::each(host, DOMAINS, |domain| domains.push(domain))?;
    Ok(domains)
}

/// Compiles an encoded virtual host.
pub fn host(body: &Bytes, defaults: &Defaults, context: &mut Context) -> Result<VirtualHost, Rejection> {
    let message = HostMessage::decode(&**body).map_err(|error| Rejection::new(error.to_string()))?;
    virtual_host(message, defaults, context)
}

fn frame(message: &RouteConfiguration, version: &str, context: &mut Context) -> Result<Frame, Rejection> {
    if let Some(vhds) = &message.vhds {
        hcm::ads_only(vhds.config_source.as_ref()).at("vhds.config_source")?;
    }
    fields::unsupported(!message.cluster_specifier_plugins.is_empty(), "cluster_specifier_plugins")?;
    fields::unsupported(!message.vhost_header.is_empty(), "vhost_header")?;
    fields::unsupported(
        message.ignore_path_parameters_in_path_matching,
        "ignore_path_parameters_in_path_matching",
    )?;
    fields::unsupported(!message.route_specifiers.is_empty(), "route_specifiers")?;
    fields::unsupported(!message.internal_only_headers.is_empty(), "internal_only_headers")?;

    let headers = header_rules::compile(&header_lists!(message), context)?;
    let limit = fields::number(message.max_direct_response_body_size_bytes.as_ref(), 4096) as usize;
    let defaults = Defaults {
        body_limit: limit,
        filters: http_filters::level(&message.typed_per_filter_config, context)?,
        mirrors: route_action::mirrors(&message.request_mirror_policies, context)?,
    };
    Ok(Frame {
        name: context.intern(&message.name),
        version: context.intern(version),
        headers: Arc::new(headers),
        most_specific_headers_win: message.most_specific_header_mutations_wins,
        ignore_port: message.ignore_port_in_host_matching,
        defaults: Arc::new(defaults),
        vhds: message.vhds.is_some(),
    })
}

/// What virtual hosts have from their table.
#[derive(Debug, Default)]
pub struct Defaults {
    /// `max_direct_response_body_size_bytes`.
    pub body_limit: usize,
    /// What it says of HTTP filters.
    filters: Vec<Override>,
    /// `request_mirror_policies`.
    mirrors: Vec<Mirror>,
}

fn virtual_host(
    message: HostMessage,
    defaults: &Defaults,
    context: &mut Context,
) -> Result<VirtualHost, Rejection> {
    if message.domains.is_empty() {
        return refuse("at least one domain is required").at("domains");
    }
    fields::unsupported(message.matcher.is_some(), "matcher")?;
    fields::unsupported(message.retry_policy_typed_config.is_some(), "retry_policy_typed_config")?;
    fields::unsupported(message.hedge_policy.is_some(), "hedge_policy")?;
    fields::unsupported(message.include_is_timeout_retry_header, "include_is_timeout_retry_header")?;
    fields::unsupported(!message.route_specifiers.is_empty(), "route_specifiers")?;
    fields::unsupported(!message.rate_limits.is_empty(), "rate_limits")?;
    let virtual_clusters = virtual_clusters(&message, context)?;
    let require_tls = match TlsRequirementType::try_from(message.require_tls) {
        Ok(TlsRequirementType::None) => RequireTls::None,
        Ok(TlsRequirementType::ExternalOnly) => RequireTls::ExternalOnly,
        Ok(TlsRequirementType::All) => RequireTls::All,
        Err(_) => return fields::unknown_enum("require_tls", message.require_tls),
    };
    let headers = header_rules::compile(&header_lists!(message), context)?;
    let retry = message.retry_policy.as_ref().map(|policy| retry::compile(policy, context)).transpose();
    let own = http_filters::level(&message.typed_per_filter_config, context)?;
    let inherited = route_action::Inherited {
        host: context.intern(&message.name),
        filters: [own, defaults.filters.clone()],
        cors: message
            .cors
            .as_ref()
            .map(|cors| http_filters::legacy_cors(cors, context))
            .transpose()
            .at("cors")?,
        mirrors: match message.request_mirror_policies.as_slice() {
            [] => defaults.mirrors.clone(),
            own => route_action::mirrors(own, context)?,
        },
        retry: retry.at("retry_policy")?,
        body_limit: defaults.body_limit,
        buffer_limit: buffer_limit(
            message.per_request_buffer_limit_bytes.as_ref(),
            message.request_body_buffer_limit.as_ref(),
        )
        .unwrap_or_default(),
    };
    let mut entries = Vec::with_capacity(message.routes.len());
    for (at, message) in message.routes.into_iter().enumerate() {
        entries.push(entry(message, &inherited, context).at_index("routes", at)?);
    }
    Ok(VirtualHost {
        metadata: fields::metadata(message.metadata.as_ref()),
        name: context.intern(&message.name),
        require_tls,
        headers,
        request_attempt_count: message.include_request_attempt_count,
        response_attempt_count: message.include_attempt_count_in_response,
        virtual_clusters,
        routes: RouteIndex::new(entries),
    })
}

/// The virtual clusters, and the one for what none of them takes.
fn virtual_clusters(message: &HostMessage, context: &mut Context) -> Result<Vec<VirtualCluster>, Rejection> {
    let mut clusters = Vec::with_capacity(message.virtual_clusters.len() + 1);
    let host = &message.name;
    for (at, cluster) in message.virtual_clusters.iter().enumerate() {
        let compile = |context: &mut Context| {
            if cluster.name.is_empty() {
                return refuse("value is empty").at("name");
            }
            if cluster.headers.is_empty() {
                return refuse("virtual clusters must define 'headers'");
            }
            let headers = cluster.headers.iter().enumerate();
            headers.map(|(at, header)| matchers::header(header, context).at_index("headers", at)).collect()
        };
        let headers = compile(context).at_index("virtual_clusters", at)?;
        let stat_prefix = context.intern(&format!("vhost.{host}.vcluster.{}.", cluster.name));
        clusters.push(VirtualCluster { headers, stat_prefix });
    }
    if !clusters.is_empty() {
        let stat_prefix = context.intern(&format!("vhost.{host}.vcluster.other."));
        clusters.push(VirtualCluster { headers: Vec::new(), stat_prefix });
    }
    Ok(clusters)
}

/// How much of a request is kept; `None` where nothing is said.
fn buffer_limit(at_most: Option<&UInt32Value>, exactly: Option<&UInt64Value>) -> Option<BufferLimit> {
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    match (at_most, exactly) {
        (_, Some(limit)) => Some(BufferLimit::Exactly(size(limit.value))),
        (Some(limit), None) => Some(BufferLimit::AtMost(limit.value as usize)),
        (None, None) => None,
    }
}

fn entry(
    message: RouteMessage,
    inherited: &route_action::Inherited,
    context: &mut Context,
) -> Result<Entry, Rejection> {
    let Some(condition) = &message.r#match else { return refuse("value is required").at("match") };
    let condition = route_match(condition, context).at("match")?;
    fields::unsupported(!message.route_specifiers.is_empty(), "route_specifiers")?;
    let own = http_filters::level(&message.typed_per_filter_config, context)?;
    let own_limit = buffer_limit(
        message.per_request_buffer_limit_bytes.as_ref(),
        message.request_body_buffer_limit.as_ref(),
    );
    let buffer_limit = own_limit.unwrap_or(inherited.buffer_limit);
    let headers = header_rules::compile(&header_lists!(message), context)?;
    let stat_prefix = (!message.stat_prefix.is_empty())
        .then(|| context.intern(&format!("vhost.{}.route.{}.", inherited.host, message.stat_prefix)));
    let replaced = condition.path.replaced_len();
    let [host, table] = &inherited.filters;
    let mut legacy = Vec::new();
    if let Some(route::Action::Route(action)) = &message.action {
        let cors = action.cors.as_ref().map(|cors| http_filters::legacy_cors(cors, context)).transpose();
        legacy.extend(cors.at("route.cors")?);
        legacy.extend(inherited.cors.clone());
    }
    let filters = http_filters::resolve(&[&own, host, table], legacy);
    let action = match message.action {
        Some(route::Action::Route(action)) => Action::Forward(Box::new(
            route_action::forward(&action, replaced, inherited, &own, context).at("route")?,
        )),
        Some(route::Action::Redirect(redirect)) => {
            Action::Redirect(Box::new(route_action::redirect(&redirect, replaced, context).at("redirect")?))
        }
        Some(route::Action::DirectResponse(answer)) => {
            Action::Respond(route_action::respond(&answer, inherited.body_limit).at("direct_response")?)
        }
        Some(route::Action::FilterAction(_)) => return refuse("not supported").at("filter_action"),
        Some(route::Action::NonForwardingAction(_)) => Action::None,
        None => return refuse("one of route, redirect, direct_response is required").at("action"),
    };
    let name = context.intern(&message.name);
    let origin = fields::origin(message.metadata.as_ref()).map(|config| context.intern(config));
    let metadata = fields::metadata(message.metadata.as_ref());
    Ok(Entry {
        condition,
        route: Arc::new(Route {
            name,
            action,
            headers,
            stat_prefix,
            filters,
            buffer_limit,
            origin,
            metadata,
        }),
    })
}

fn route_match(message: &MatchMessage, context: &mut Context) -> Result<RouteMatch, Rejection> {
    fields::unsupported(message.tls_context.is_some(), "tls_context")?;
    fields::unsupported(!message.filter_state.is_empty(), "filter_state")?;
    fields::unsupported(!message.cookies.is_empty(), "cookies")?;
    let path = match &message.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => PathMatch::Prefix(context.intern(prefix)),
        Some(PathSpecifier::Path(path)) => PathMatch::Exact(context.intern(path)),
        Some(PathSpecifier::SafeRegex(regex)) => {
            PathMatch::Regex(matchers::pattern(regex, context).at("safe_regex")?)
        }
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            let well_formed =
                prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains(['?', '#']);
            if !well_formed {
                return refuse(format!(
                    "'{prefix}' must start with a slash, not end with one, and have no query"
                ))
                .at("path_separated_prefix");
            }
            PathMatch::SeparatedPrefix(context.intern(prefix))
        }
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            return refuse(format!("path match policy '{}' is not supported", policy.name))
                .at("path_match_policy");
        }
        None => return refuse("a path specifier is required"),
    };
    let path = if fields::flag(message.case_sensitive.as_ref(), true) { path } else { path.ignoring_case() };
    let mut also = Conditions { grpc: message.grpc.is_some(), ..Conditions::default() };
    // No filter of ours leaves metadata behind, and what is missing fulfils nothing: as in Envoy, only an inverted condition holds.
    also.lacks_metadata = message.dynamic_metadata.iter().any(|matcher| !matcher.invert);
    for (at, header) in message.headers.iter().enumerate() {
        also.headers.push(matchers::header(header, context).at_index("headers", at)?);
    }
    for (at, query) in message.query_parameters.iter().enumerate() {
        also.query.push(matchers::query(query, context).at_index("query_parameters", at)?);
    }
    if let Some(fraction) = &message.runtime_fraction {
        let default =
            fraction.default_value.as_ref().map(fields::fraction).transpose().at("runtime_fraction")?;
        also.fraction = Some(default.unwrap_or((0, 100)));
    }
    Ok(RouteMatch { path, also: (!also.is_empty()).then(|| Box::new(also)) })
}
