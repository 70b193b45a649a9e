//! Routes as Envoy's RouteConfiguration.

use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::config::route::v3 as envoy;
use meltemi_xds::pb::envoy::r#type::matcher::v3 as matcher;
use meltemi_xds::pb::envoy::r#type::v3 as kind;

use super::proto::{ads, bool_value, duration, origin_metadata, regex, uint32};
use crate::model::route::{
    Action, Forward, Fraction, HeaderChanges, HeaderMatch, HeaderValue, Mirror, PathMatch, Redirect,
    RedirectPath, Route, RouteConfiguration, RouteMatch, TextMatch, VirtualHost, WeightedCluster,
};

mod claim;
mod filters;
mod hash;
mod retry;

/// A table of virtual hosts.
pub fn route_configuration(model: &RouteConfiguration) -> envoy::RouteConfiguration {
    envoy::RouteConfiguration {
        name: model.name.clone(),
        virtual_hosts: model.virtual_hosts.iter().map(|host| virtual_host(host)).collect(),
        validate_clusters: Some(bool_value(false)),
        ignore_port_in_host_matching: model.ignore_port,
        max_direct_response_body_size_bytes: Some(uint32(1024 * 1024)),
        ..Default::default()
    }
}

/// A table whose virtual hosts are sent apart (VHDS); those of the model do not count.
pub fn discovered(model: &RouteConfiguration) -> envoy::RouteConfiguration {
    let bare = RouteConfiguration { virtual_hosts: Vec::new(), ..model.clone() };
    envoy::RouteConfiguration {
        vhds: Some(envoy::Vhds { config_source: Some(ads()) }),
        ..route_configuration(&bare)
    }
}

/// The routes of some hosts.
pub fn virtual_host(model: &VirtualHost) -> envoy::VirtualHost {
    use envoy::virtual_host::TlsRequirementType as Tls;
    let require_tls = if model.require_tls { Tls::All } else { Tls::None };
    envoy::VirtualHost {
        name: model.name.clone(),
        domains: model.domains.clone(),
        routes: model.routes.iter().filter(|route| route.action != Action::Nothing).map(route).collect(),
        require_tls: require_tls.into(),
        include_request_attempt_count: model.attempt_count,
        ..Default::default()
    }
}

fn route(model: &Route) -> envoy::Route {
    let action = match &model.action {
        Action::Forward(forward) => Some(envoy::route::Action::Route(forward_action(forward))),
        Action::Redirect(redirect) => Some(envoy::route::Action::Redirect(redirect_action(redirect))),
        Action::Respond { status, body } => {
            Some(envoy::route::Action::DirectResponse(respond(*status, body)))
        }
        Action::Nothing => None,
    };
    let HeaderChanges { request, request_remove, response, response_remove } = &model.headers;
    let decorator = (!model.decorator.is_empty())
        .then(|| envoy::Decorator { operation: model.decorator.clone(), ..Default::default() });
    envoy::Route {
        name: model.name.clone(),
        r#match: Some(route_match(&model.condition)),
        action,
        metadata: origin_metadata(model.origin.as_deref(), model.place.as_ref()),
        decorator,
        stat_prefix: model.stat_prefix.to_string(),
        request_headers_to_add: header_values(request),
        request_headers_to_remove: names(request_remove),
        response_headers_to_add: header_values(response),
        response_headers_to_remove: names(response_remove),
        typed_per_filter_config: filters::per_filter(model),
        ..Default::default()
    }
}

/// A share of requests.
fn fraction(share: Fraction) -> kind::FractionalPercent {
    use kind::fractional_percent::DenominatorType;
    let (numerator, denominator) = match share {
        Fraction::Percent(numerator) => (numerator, DenominatorType::Hundred),
        Fraction::Million(numerator) => (numerator, DenominatorType::Million),
    };
    kind::FractionalPercent { numerator, denominator: denominator.into() }
}

fn names(names: &[meltemi_config::Str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn header_values(values: &[HeaderValue]) -> Vec<core::HeaderValueOption> {
    use core::header_value_option::HeaderAppendAction as Append;
    let option = |value: &HeaderValue| core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: value.name.to_string(),
            value: value.value.to_string(),
            ..Default::default()
        }),
        append_action: match value.append {
            true => Append::AppendIfExistsOrAdd.into(),
            false => Append::OverwriteIfExistsOrAdd.into(),
        },
        ..Default::default()
    };
    values.iter().map(option).collect()
}

fn route_match(model: &RouteMatch) -> envoy::RouteMatch {
    use envoy::route_match::PathSpecifier;
    let path = match &model.path {
        PathMatch::Prefix(prefix) => PathSpecifier::Prefix(prefix.to_string()),
        PathMatch::Segments(path) => PathSpecifier::PathSeparatedPrefix(path.to_string()),
        PathMatch::Exact(path) => PathSpecifier::Path(path.to_string()),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    };
    envoy::RouteMatch {
        path_specifier: Some(path),
        case_sensitive: Some(bool_value(!model.ignore_case)),
        headers: model.headers.iter().map(header_match).collect(),
        query_parameters: model.query.iter().map(|(name, value)| query_match(name, value)).collect(),
        dynamic_metadata: model.claims.iter().map(claim::metadata_match).collect(),
        ..Default::default()
    }
}

/// `None`: presence is asked for.
fn string_match(model: &TextMatch) -> Option<matcher::StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let pattern = match model {
        TextMatch::Present => return None,
        TextMatch::Exact(text) => MatchPattern::Exact(text.to_string()),
        TextMatch::Prefix(text) => MatchPattern::Prefix(text.to_string()),
        TextMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
    };
    Some(matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

fn header_match(model: &HeaderMatch) -> envoy::HeaderMatcher {
    use envoy::header_matcher::HeaderMatchSpecifier;
    let value = string_match(&model.value);
    // A header that is not there does not match, so its negation does; Envoy needs to be told (VS-048).
    let treat_missing_header_as_empty = model.invert && value.is_some();
    let specifier = value.map_or(HeaderMatchSpecifier::PresentMatch(true), HeaderMatchSpecifier::StringMatch);
    envoy::HeaderMatcher {
        name: model.name.to_string(),
        invert_match: model.invert,
        treat_missing_header_as_empty,
        header_match_specifier: Some(specifier),
    }
}

fn query_match(name: &str, model: &TextMatch) -> envoy::QueryParameterMatcher {
    use envoy::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let specifier = string_match(model).map_or(Specifier::PresentMatch(true), Specifier::StringMatch);
    envoy::QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: Some(specifier) }
}

#[allow(deprecated, reason = "its successor switches `timeout` off; Istio sends this one as well")]
fn forward_action(model: &Forward) -> envoy::RouteAction {
    use envoy::route_action::HostRewriteSpecifier;
    let mut host_rewrite = model.host_rewrite.clone();
    let cluster_specifier = cluster_specifier(model, &mut host_rewrite);
    envoy::RouteAction {
        cluster_specifier,
        timeout: Some(duration(model.timeout)),
        // A zero maximum honours grpc-timeout as it is (SEM-035). Its successor, `max_stream_duration`, would switch the
        // timeout above off: Envoy has either the old ones or the new one.
        max_grpc_timeout: (!model.inbound).then(|| duration(model.timeout)),
        max_stream_duration: model.inbound.then(|| envoy::route_action::MaxStreamDuration {
            max_stream_duration: Some(duration(model.timeout)),
            grpc_timeout_header_max: Some(duration(model.timeout)),
            ..Default::default()
        }),
        retry_policy: model.retry.as_ref().map(retry::retry_policy),
        prefix_rewrite: model.prefix_rewrite.to_string(),
        regex_rewrite: model.regex_rewrite.as_ref().map(|(pattern, substitution)| {
            matcher::RegexMatchAndSubstitute {
                pattern: Some(regex(pattern)),
                substitution: substitution.to_string(),
            }
        }),
        host_rewrite_specifier: (!host_rewrite.is_empty())
            .then(|| HostRewriteSpecifier::HostRewriteLiteral(host_rewrite.to_string())),
        append_x_forwarded_host: model.forwarded_host,
        hash_policy: model.hash.iter().map(hash::hash_policy).collect(),
        request_mirror_policies: model.mirrors.iter().map(mirror_policy).collect(),
        ..Default::default()
    }
}

fn mirror_policy(model: &Mirror) -> envoy::route_action::RequestMirrorPolicy {
    envoy::route_action::RequestMirrorPolicy {
        cluster: model.cluster.clone(),
        runtime_fraction: Some(core::RuntimeFractionalPercent {
            default_value: Some(fraction(model.share)),
            ..Default::default()
        }),
        trace_sampled: Some(bool_value(false)),
        ..Default::default()
    }
}

/// One cluster by name, or several with shares. The header changes of a single one have been laid on the route already.
fn cluster_specifier(
    model: &Forward,
    host_rewrite: &mut meltemi_config::Str,
) -> Option<envoy::route_action::ClusterSpecifier> {
    use envoy::route_action::ClusterSpecifier;
    match &model.clusters[..] {
        [] => None,
        [one] => {
            if host_rewrite.is_empty() {
                *host_rewrite = one.host_rewrite.clone();
            }
            Some(ClusterSpecifier::Cluster(one.cluster.clone()))
        }
        many => Some(ClusterSpecifier::WeightedClusters(envoy::WeightedCluster {
            clusters: many.iter().map(weighted_cluster).collect(),
            ..Default::default()
        })),
    }
}

fn weighted_cluster(model: &WeightedCluster) -> envoy::weighted_cluster::ClusterWeight {
    use envoy::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    let HeaderChanges { request, request_remove, response, response_remove } = &model.headers;
    envoy::weighted_cluster::ClusterWeight {
        name: model.cluster.clone(),
        weight: Some(uint32(model.weight)),
        request_headers_to_add: header_values(request),
        request_headers_to_remove: names(request_remove),
        response_headers_to_add: header_values(response),
        response_headers_to_remove: names(response_remove),
        host_rewrite_specifier: (!model.host_rewrite.is_empty())
            .then(|| HostRewriteSpecifier::HostRewriteLiteral(model.host_rewrite.to_string())),
        ..Default::default()
    }
}

fn redirect_action(model: &Redirect) -> envoy::RedirectAction {
    use envoy::redirect_action::{
        PathRewriteSpecifier, RedirectResponseCode as Code, SchemeRewriteSpecifier,
    };
    let code = match model.code {
        302 => Code::Found,
        303 => Code::SeeOther,
        307 => Code::TemporaryRedirect,
        308 => Code::PermanentRedirect,
        _ => Code::MovedPermanently,
    };
    envoy::RedirectAction {
        host_redirect: model.host.to_string(),
        port_redirect: model.port,
        response_code: code.into(),
        scheme_rewrite_specifier: (!model.scheme.is_empty())
            .then(|| SchemeRewriteSpecifier::SchemeRedirect(model.scheme.to_string())),
        path_rewrite_specifier: match &model.path {
            RedirectPath::Keep => None,
            RedirectPath::Full(path) => Some(PathRewriteSpecifier::PathRedirect(path.to_string())),
            RedirectPath::Prefix(prefix) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.to_string())),
        },
        ..Default::default()
    }
}

fn respond(status: u32, body: &[u8]) -> envoy::DirectResponseAction {
    use core::data_source::Specifier;
    let body = (!body.is_empty()).then(|| {
        let specifier = match std::str::from_utf8(body) {
            Ok(text) => Specifier::InlineString(text.to_owned()),
            Err(_) => Specifier::InlineBytes(body.to_vec()),
        };
        core::DataSource { specifier: Some(specifier), ..Default::default() }
    });
    envoy::DirectResponseAction { status, body, ..Default::default() }
}
