//! HTTP filters: those of connection managers, and what routes say of them (`typed_per_filter_config`).
//!
//! Called by [`super::hcm`] and [`super::route`]. Invariant: a filter is known by its type, never by its name; one that is
//! not known is refused by both, unless it may be skipped.

use std::{collections::HashMap, sync::Arc};

use meltemi_xds::extension::LOCAL_REPLY_REASON;
use meltemi_xds::pb::{
    envoy::{
        config::{
            core::v3::RuntimeFractionalPercent,
            route::v3::{CorsPolicy as LegacyCors, FilterConfig, cors_policy::EnabledSpecifier},
        },
        extensions::filters::{
            common::fault::v3::{fault_delay::FaultDelaySecifier, fault_rate_limit::LimitType},
            http::{
                cors::v3::{Cors, CorsPolicy},
                fault::v3::{HttpFault, fault_abort::ErrorType},
                grpc_stats,
                router::v3::Router,
            },
            network::http_connection_manager::v3::{HttpFilter as FilterMessage, http_filter},
        },
        r#type::matcher::v3::StringMatcher,
    },
    google::protobuf::Any,
};
use prost::{Message as _, Name};

use super::{At, Context, Rejection, fields, matchers, refuse};
use crate::http::{
    config::RouterOptions,
    filters::{
        HttpFilter, Kind, cors,
        fault::{Abort, Delay, Fault, Rate, Settings},
        overrides::{Override, Overrides},
    },
};

/// Istio's filters that change nothing a client or an upstream could see, and what is missing without them.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "upstream TLS offers no ALPN",
    ),
    ("type.googleapis.com/stats.PluginConfig", "Istio's standard metrics are not kept"),
];

/// The filters before the router, and the router at the end.
pub fn chain(
    messages: &[FilterMessage],
    context: &mut Context,
) -> Result<(Vec<HttpFilter>, RouterOptions), Rejection> {
    let (mut filters, mut end) = (Vec::new(), None);
    for (at, message) in messages.iter().enumerate() {
        if end.is_some() {
            return refuse("the router must be the last filter").at_index("http_filters", at);
        }
        match filter(message, context).at_index("http_filters", at)? {
            Some(Known::Router(options)) => end = Some(options),
            Some(Known::Filter(kind)) => {
                filters.push(HttpFilter {
                    name: context.intern(&message.name),
                    disabled: message.disabled,
                    kind,
                });
            }
            None => {}
        }
    }
    match end {
        Some(options) => Ok((filters, options)),
        None => refuse("the last filter must be envoy.filters.http.router").at("http_filters"),
    }
}

enum Known {
    Router(RouterOptions),
    Filter(Kind),
}

/// `None` for filters without an effect and for optional ones that are not known, which are skipped as in Envoy.
fn filter(message: &FilterMessage, context: &mut Context) -> Result<Option<Known>, Rejection> {
    let config = match &message.config_type {
        Some(http_filter::ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    };
    let url = match &message.config_type {
        Some(http_filter::ConfigType::TypedConfig(config)) => config.type_url.as_str(),
        Some(http_filter::ConfigType::ConfigDiscovery(_)) => "config_discovery",
        None => "",
    };
    let name = &message.name;
    if let Some(config) = config {
        if url == Router::type_url() {
            return router(&fields::unpack(config)?, context)
                .at("typed_config")
                .map(|r| Some(Known::Router(r)));
        } else if url == Cors::type_url() {
            return Ok(Some(Known::Filter(Kind::Cors)));
        } else if url == HttpFault::type_url() {
            let settings = fault(&fields::unpack(config)?, context).at("typed_config")?;
            let settings = Some(settings).filter(|settings| !settings.is_inert()).map(Arc::new);
            return Ok(Some(Known::Filter(Kind::Fault(Fault { settings, ..Fault::default() }))));
        } else if super::dynamic::http_filter(config, context).at("typed_config")? {
            // What it would prepare, clusters of its kind do.
            return Ok(None);
        } else if name == LOCAL_REPLY_REASON && url == "type.googleapis.com/google.protobuf.StringValue" {
            let header = String::decode(config.value.as_slice());
            let header = header.map_err(|error| Rejection::new(error.to_string())).at("typed_config")?;
            if header.is_empty() || !header.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return refuse(format!("'{header}' is no header name")).at("typed_config");
            }
            let header = context.intern(&header.to_ascii_lowercase());
            return Ok(Some(Known::Filter(Kind::Reason(header))));
        } else if url == grpc_stats::v3::FilterConfig::type_url() {
            context.note(format!("HTTP filter '{name}': no statistics of gRPC methods are kept"));
            return Ok(None);
        } else if let Some((_, missing)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == url) {
            context.note(format!("HTTP filter '{name}': {missing}"));
            return Ok(None);
        }
    }
    if message.is_optional {
        context.note(format!("HTTP filter '{name}' is not known and, being optional, skipped"));
        return Ok(None);
    }
    refuse(format!("unknown HTTP filter '{name}' of type '{url}'")).at("typed_config")
}

fn router(message: &Router, context: &mut Context) -> Result<RouterOptions, Rejection> {
    fields::unsupported(!message.upstream_log.is_empty(), "upstream_log")?;
    fields::unsupported(!message.strict_check_headers.is_empty(), "strict_check_headers")?;
    fields::unsupported(!message.upstream_http_filters.is_empty(), "upstream_http_filters")?;
    if message.start_child_span {
        context.note("start_child_span: no spans are reported");
    }
    Ok(RouterOptions {
        suppress_envoy_headers: message.suppress_envoy_headers,
        respect_expected_rq_timeout: message.respect_expected_rq_timeout,
    })
}

fn fault(message: &HttpFault, context: &mut Context) -> Result<Settings, Rejection> {
    let share = |percentage: Option<_>| percentage.map_or(Ok((0, 100)), fields::fraction);
    let mut settings = Settings {
        delay: None,
        abort: None,
        rate: None,
        body: Arc::default(),
        cluster: (!message.upstream_cluster.is_empty()).then(|| context.intern(&message.upstream_cluster)),
        headers: Vec::new(),
        nodes: message.downstream_nodes.iter().map(|node| context.intern(node)).collect(),
        max_active: message.max_active_faults.as_ref().map(|max| max.value),
        ignore_downstream_cluster: message.disable_downstream_cluster_stats,
    };
    if let Some(delay) = &message.delay {
        let share = share(delay.percentage.as_ref()).at("delay.percentage")?;
        let kind = match &delay.fault_delay_secifier {
            Some(FaultDelaySecifier::FixedDelay(delay)) => {
                Delay::Fixed(fields::duration(delay).at("delay.fixed_delay")?)
            }
            Some(FaultDelaySecifier::HeaderDelay(_)) => Delay::Header,
            None => return refuse("one of fixed_delay and header_delay is required").at("delay"),
        };
        settings.delay = Some((kind, share));
    }
    if let Some(abort) = &message.abort {
        let share = share(abort.percentage.as_ref()).at("abort.percentage")?;
        let kind = match &abort.error_type {
            Some(ErrorType::HttpStatus(status)) => match u16::try_from(*status) {
                Ok(status @ 200..=599) => Abort::Http(status),
                _ => return refuse(format!("{status} is not between 200 and 599")).at("abort.http_status"),
            },
            Some(ErrorType::GrpcStatus(status)) => Abort::Grpc(*status),
            Some(ErrorType::HeaderAbort(_)) => Abort::Header,
            None => return refuse("one of http_status, grpc_status, header_abort is required").at("abort"),
        };
        settings.abort = Some((kind, share));
        settings.body = context.intern(&abort.response_body);
    }
    if let Some(limit) = &message.response_rate_limit {
        let share = share(limit.percentage.as_ref()).at("response_rate_limit.percentage")?;
        let rate = match &limit.limit_type {
            Some(LimitType::FixedLimit(limit)) if limit.limit_kbps == 0 => {
                return refuse("value must be greater than or equal to 1")
                    .at("response_rate_limit.fixed_limit.limit_kbps");
            }
            Some(LimitType::FixedLimit(limit)) => Rate::Fixed(limit.limit_kbps),
            Some(LimitType::HeaderLimit(_)) => Rate::Header,
            None => {
                return refuse("one of fixed_limit and header_limit is required").at("response_rate_limit");
            }
        };
        settings.rate = Some((rate, share));
    }
    for (at, header) in message.headers.iter().enumerate() {
        settings.headers.push(matchers::header(header, context).at_index("headers", at)?);
    }
    Ok(settings)
}

/// What one level (route, virtual host, table, part of a weighted set) says of filters.
pub fn level(configs: &HashMap<String, Any>, context: &mut Context) -> Result<Vec<Override>, Rejection> {
    let mut names: Vec<_> = configs.keys().collect();
    names.sort_unstable();
    let mut level = Vec::new();
    for name in names {
        let Some(config) = configs.get(name) else { continue };
        let field = format!("typed_per_filter_config[\"{name}\"]");
        level.extend(said(name, config, &field, context).at(&field)?);
    }
    Ok(level)
}

fn said(name: &str, config: &Any, field: &str, context: &mut Context) -> Result<Option<Override>, Rejection> {
    let empty = Override { name: context.intern(name), disabled: None, fault: None, cors: Vec::new() };
    if config.type_url != FilterConfig::type_url() {
        return match setting(config, context)? {
            Some(setting) => Ok(Some(Override { disabled: Some(false), ..setting(empty) })),
            None => refuse(format!("filter config of type '{}' is not supported", config.type_url)),
        };
    }
    let wrapper: FilterConfig = fields::unpack(config)?;
    let inner = wrapper.config.as_ref().filter(|_| !wrapper.disabled);
    let Some(inner) = inner.filter(|inner| !inner.type_url.is_empty()) else {
        return Ok(Some(Override { disabled: Some(wrapper.disabled), ..empty }));
    };
    match setting(inner, context)? {
        Some(setting) => Ok(Some(Override { disabled: Some(false), ..setting(empty) })),
        None if wrapper.is_optional => {
            context.note(format!("{field}: skipped, as it may be"));
            Ok(None)
        }
        None => refuse(format!("filter config of type '{}' is not supported", inner.type_url)),
    }
}

type Setting = Box<dyn FnOnce(Override) -> Override>;

/// How a config of a known type changes an override; `None` for other types.
fn setting(config: &Any, context: &mut Context) -> Result<Option<Setting>, Rejection> {
    if config.type_url == HttpFault::type_url() {
        let settings = Arc::new(fault(&fields::unpack(config)?, context)?);
        return Ok(Some(Box::new(move |own| Override { fault: Some(settings), ..own })));
    }
    if config.type_url == CorsPolicy::type_url() {
        let policy = Arc::new(cors_policy(&fields::unpack(config)?, context)?);
        return Ok(Some(Box::new(move |own| Override { cors: vec![policy], ..own })));
    }
    if config.type_url == Cors::type_url() {
        return Ok(Some(Box::new(|own| own)));
    }
    Ok(None)
}

fn cors_policy(message: &CorsPolicy, context: &mut Context) -> Result<cors::Policy, Rejection> {
    let flag = |value: Option<&meltemi_xds::pb::google::protobuf::BoolValue>| value.map(|value| value.value);
    Ok(cors::Policy {
        origins: origins(&message.allow_origin_string_match, context)?,
        methods: context.intern(&message.allow_methods),
        headers: context.intern(&message.allow_headers),
        expose: context.intern(&message.expose_headers),
        max_age: context.intern(&message.max_age),
        credentials: flag(message.allow_credentials.as_ref()),
        private_network: flag(message.allow_private_network_access.as_ref()),
        forward_preflights: flag(message.forward_not_matching_preflights.as_ref()),
        enabled: share(message.filter_enabled.as_ref()).at("filter_enabled")?,
        shadow: share(message.shadow_enabled.as_ref()).at("shadow_enabled")?,
    })
}

/// The `cors` field of routes and virtual hosts: the same policy under older names.
pub fn legacy_cors(message: &LegacyCors, context: &mut Context) -> Result<Arc<cors::Policy>, Rejection> {
    let enabled =
        message.enabled_specifier.as_ref().map(|EnabledSpecifier::FilterEnabled(share)| share.clone());
    let same = CorsPolicy {
        allow_origin_string_match: message.allow_origin_string_match.clone(),
        allow_methods: message.allow_methods.clone(),
        allow_headers: message.allow_headers.clone(),
        expose_headers: message.expose_headers.clone(),
        max_age: message.max_age.clone(),
        allow_credentials: message.allow_credentials,
        filter_enabled: enabled,
        shadow_enabled: message.shadow_enabled.clone(),
        allow_private_network_access: message.allow_private_network_access,
        forward_not_matching_preflights: message.forward_not_matching_preflights,
    };
    cors_policy(&same, context).map(Arc::new)
}

fn origins(
    messages: &[StringMatcher],
    context: &mut Context,
) -> Result<Vec<crate::route::strings::StringMatch>, Rejection> {
    let messages = messages.iter().enumerate();
    messages.map(|(at, m)| matchers::string(m, context).at_index("allow_origin_string_match", at)).collect()
}

/// A share of requests; there is no runtime here, so its default value counts.
fn share(message: Option<&RuntimeFractionalPercent>) -> Result<Option<(u32, u32)>, Rejection> {
    let Some(message) = message else { return Ok(None) };
    let value = message.default_value.as_ref().map(fields::fraction).transpose().at("default_value")?;
    Ok(Some(value.unwrap_or((0, 100))))
}

/// What a route says with all that it inherits; `None` for nothing.
pub fn resolve(levels: &[&[Override]], legacy: Vec<Arc<cors::Policy>>) -> Option<Arc<Overrides>> {
    let mut overrides = Overrides::default();
    overrides.legacy_cors = legacy;
    levels.iter().for_each(|level| overrides.inherit(level));
    (!overrides.is_empty()).then(|| Arc::new(overrides))
}
