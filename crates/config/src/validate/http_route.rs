//! HTTP routes of a VirtualService: which parts exclude each other, and what each may say.

use super::names::{self, header_change, header_name, header_value};
use super::virtual_service::{destination, gateways, labels, weights};
use super::{Check, Path, code};
use crate::networking::virtual_service::*;
use crate::{Str, text};

/// Status codes that a redirect may have (VS-075).
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

/// Envoy's conditions for retries, HTTP and gRPC.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

pub(super) fn check(it: &HttpRoute, delegate: bool, check: &mut Check<'_>, at: &Path<'_>) {
    conflicts(it, delegate, check, at);
    let matches = at.key("match");
    for (index, condition) in it.matches.iter().enumerate() {
        match_request(condition, check, &matches.index(index));
    }
    if let Some(headers) = &it.headers {
        header_operations(headers, check, &at.key("headers"));
    }
    let route = at.key("route");
    for (index, part) in it.route.iter().enumerate() {
        let at = route.index(index);
        destination(&part.destination, check, &at.key("destination"));
        if let Some(headers) = &part.headers {
            header_operations(headers, check, &at.key("headers"));
        }
    }
    weights(it.route.iter().map(|part| part.weight), check, &route);
    if let Some(redirect) = &it.redirect {
        self::redirect(redirect, check, &at.key("redirect"));
    }
    if let Some(response) = &it.direct_response {
        direct_response(response, check, &at.key("directResponse"));
    }
    if let Some(rewrite) = &it.rewrite {
        self::rewrite(rewrite, it.headers.as_ref(), check, &at.key("rewrite"));
    }
    if let Some(timeout) = it.timeout {
        check.accept(&at.key("timeout"), names::duration(timeout));
    }
    if let Some(retries) = &it.retries {
        self::retries(retries, check, &at.key("retries"));
    }
    if let Some(fault) = &it.fault {
        self::fault(fault, check, &at.key("fault"));
    }
    mirrors(it, check, at);
    if let Some(cors) = &it.cors_policy {
        self::cors(cors, check, &at.key("corsPolicy"));
    }
}

/// What excludes what: route, redirect, directResponse, delegate and their companions.
fn conflicts(it: &HttpRoute, delegate: bool, check: &mut Check<'_>, at: &Path<'_>) {
    let actions = [
        ("route", !it.route.is_empty()),
        ("redirect", it.redirect.is_some()),
        ("directResponse", it.direct_response.is_some()),
        ("delegate", it.delegate.is_some()),
    ];
    let given: Vec<&str> = actions.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    match given[..] {
        [] => check.error(at, "one of route, redirect, directResponse or delegate must be given"),
        [_] => {}
        [first, ref others @ ..] => {
            for other in others {
                let message = format!("a rule cannot have both {first} and {other}");
                check.error_hint(&at.key(other), message, "make two rules of it, or drop one");
            }
        }
    }
    let companions = [("fault", it.fault.is_some()), ("rewrite", it.rewrite.is_some())];
    for action in ["redirect", "directResponse"] {
        if given.contains(&action) {
            for (name, _) in companions.iter().filter(|(_, given)| *given) {
                check.error(&at.key(name), format!("a rule cannot have both {action} and {name}"));
            }
        }
    }
    if it.mirror.is_some() && !it.mirrors.is_empty() {
        check.error(&at.key("mirrors"), "a rule cannot have both mirror and mirrors");
    }
    if let Some(target) = &it.delegate {
        if delegate {
            check.error(&at.key("delegate"), "a delegate (no hosts) cannot delegate again");
        }
        if target.name.is_empty() {
            check.error(&at.key("delegate"), "`name` is missing");
        }
    }
}

fn match_request(it: &HttpMatchRequest, check: &mut Check<'_>, at: &Path<'_>) {
    for (name, condition) in
        [("uri", &it.uri), ("scheme", &it.scheme), ("method", &it.method), ("authority", &it.authority)]
    {
        if let Some(condition) = condition {
            string_match(condition, check, &at.key(name));
            let empty =
                matches!(condition, StringMatch::Exact(text) | StringMatch::Prefix(text) if text.is_empty());
            if empty && name != "uri" {
                check.error(&at.key(name), "an empty text matches nothing");
            }
        }
    }
    for (field, conditions) in [("headers", &it.headers), ("withoutHeaders", &it.without_headers)] {
        let field = at.key(field);
        for (name, condition) in conditions {
            let at = field.key(name);
            if !name.starts_with("@request.auth.claims") {
                check.accept(&at, header_name(name));
            }
            // `*` asks for presence, a form older than `{}` (VS-042).
            if !matches!(condition, StringMatch::Regex(regex) if &**regex == "*") {
                text_match(condition, check, &at);
            }
        }
    }
    let query = at.key("queryParams");
    for (name, condition) in &it.query_params {
        text_match(condition, check, &query.key(name));
    }
    if let Some(port) = it.port {
        check.accept(&at.key("port"), names::port(port));
    }
    labels(&it.source_labels, check, &at.key("sourceLabels"));
    if let Some(namespace) = it.source_namespace.as_deref().filter(|name| !names::is_label(name)) {
        let message = format!("{} is not the name of a namespace", text::quoted(namespace));
        check.error(&at.key("sourceNamespace"), message);
    }
    gateways(&it.gateways, check, &at.key("gateways"));
    if !it.gateways.is_empty() && (!it.source_labels.is_empty() || it.source_namespace.is_some()) {
        let message = "sourceLabels and sourceNamespace are ignored beside gateways";
        check.warn(code::SUSPICIOUS, &at.key("gateways"), message, None);
    }
}

/// A condition on a header or a parameter, whose prefix must not be empty: proxies refuse that.
fn text_match(it: &StringMatch, check: &mut Check<'_>, at: &Path<'_>) {
    string_match(it, check, at);
    if matches!(it, StringMatch::Prefix(text) if text.is_empty()) {
        check.error_hint(&at.key("prefix"), "an empty prefix", "`{}` asks for presence");
    }
}

fn string_match(it: &StringMatch, check: &mut Check<'_>, at: &Path<'_>) {
    if let StringMatch::Regex(regex) = it {
        check.accept(&at.key("regex"), names::regex(regex));
    }
}

fn header_operations(it: &Headers, check: &mut Check<'_>, at: &Path<'_>) {
    for (direction, operations, request) in
        [("request", &it.request, true), ("response", &it.response, false)]
    {
        let Some(operations) = operations else { continue };
        let at = at.key(direction);
        for (name, changes) in [("set", &operations.set), ("add", &operations.add)] {
            let at = at.key(name);
            for (header, value) in changes {
                check.accept(&at.key(header), header_change(header, request));
                check.accept(&at.key(header), header_value(value));
            }
        }
        let remove = at.key("remove");
        for (index, header) in operations.remove.iter().enumerate() {
            check.accept(&remove.index(index), header_change(header, false));
        }
    }
}

fn redirect(it: &HttpRedirect, check: &mut Check<'_>, at: &Path<'_>) {
    let empty =
        it.uri.is_none() && it.authority.is_none() && it.redirect_port.is_none() && it.scheme.is_none();
    if empty && it.prefix_rewrite.is_none() {
        check.error(at, "a redirect must change uri, authority, port or scheme");
    }
    if it.uri.is_some() && it.prefix_rewrite.is_some() {
        check.error(&at.key("prefixRewrite"), "a redirect cannot have both uri and prefixRewrite");
    }
    if let Some(code) = it.redirect_code.filter(|code| *code != 0 && !REDIRECTS.contains(code)) {
        check.error_hint(
            &at.key("redirectCode"),
            format!("{code} is not a redirect"),
            "301, 302, 303, 307 or 308",
        );
    }
    if let Some(scheme) = it.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        check.error_hint(
            &at.key("scheme"),
            format!("{} is not a scheme", text::quoted(scheme)),
            "http or https",
        );
    }
    if let Some(RedirectPort::Port(port)) = it.redirect_port {
        check.accept(&at.key("port"), names::port(port));
    }
}

fn direct_response(it: &HttpDirectResponse, check: &mut Check<'_>, at: &Path<'_>) {
    if !(200..600).contains(&it.status) {
        check.error(&at.key("status"), format!("{} is not a status (200 to 599)", it.status));
    }
    let body = match it.body.as_ref().and_then(|body| body.specifier.as_ref()) {
        None => return,
        Some(HttpBodySpecifier::String(body) | HttpBodySpecifier::Bytes(body)) => body,
    };
    if body.len() > 1 << 20 {
        check.error(&at.key("body"), "the body is larger than 1 MiB");
    }
}

fn rewrite(it: &HttpRewrite, headers: Option<&Headers>, check: &mut Check<'_>, at: &Path<'_>) {
    if it.uri.is_none() && it.authority.is_none() && it.uri_regex_rewrite.is_none() {
        check.error(at, "a rewrite must change uri, authority or uriRegexRewrite");
    }
    if let Some(regex) = &it.uri_regex_rewrite {
        let at = at.key("uriRegexRewrite");
        if it.uri.is_some() {
            check.error(&at, "a rewrite cannot have both uri and uriRegexRewrite");
        }
        check.accept(&at.key("match"), names::regex(&regex.pattern));
    }
    let sets = headers.and_then(|headers| headers.request.as_ref()).map(|request| &request.set);
    let is_authority = |name: &&Str| matches!(&*name.to_ascii_lowercase(), "host" | ":authority");
    if it.authority.is_some() && sets.is_some_and(|set| set.keys().any(|name| is_authority(&name))) {
        check.error(&at.key("authority"), "the authority is set by headers.request.set as well");
    }
}

fn retries(it: &HttpRetry, check: &mut Check<'_>, at: &Path<'_>) {
    if it.attempts < 0 {
        check.error(&at.key("attempts"), format!("{} attempts: below zero", it.attempts));
    }
    if it.attempts == 0 && (it.per_try_timeout.is_some() || it.retry_on.is_some()) {
        let message = "retries are off (attempts is 0) and yet described";
        check.error_hint(at, message, "give `attempts`, or nothing else");
    }
    if let Some(timeout) = it.per_try_timeout {
        check.accept(&at.key("perTryTimeout"), names::duration(timeout));
    }
    if let Some(backoff) = it.backoff {
        check.accept(&at.key("backoff"), names::duration(backoff));
    }
    for condition in it.retry_on.as_deref().unwrap_or_default().split(',').map(str::trim) {
        let is_status = || condition.parse::<u16>().is_ok_and(|status| (100..600).contains(&status));
        if !condition.is_empty() && !RETRY_ON.contains(&condition) && !is_status() {
            let hint = match text::closest(condition, &RETRY_ON) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("{}, or status codes", RETRY_ON.join(", ")),
            };
            let message = format!("{} is not a condition for retries", text::quoted(condition));
            check.error_hint(&at.key("retryOn"), message, hint);
        }
    }
}

fn fault(it: &HttpFaultInjection, check: &mut Check<'_>, at: &Path<'_>) {
    if it.delay.is_none() && it.abort.is_none() {
        check.error(at, "a fault needs a delay, an abort or both");
    }
    if let Some(delay) = &it.delay {
        let at = at.key("delay");
        if let Some(percentage) = &delay.percentage {
            check.accept(&at.key("percentage"), names::percent(percentage.value));
        }
        if let Some(percent) = delay.percent {
            check.accept(&at.key("percent"), names::percent(f64::from(percent)));
            let hint = Some("write percentage: {value: …}".to_owned());
            let message = "Deprecated: HTTPRoute.fault.delay.percent is deprecated; use HTTPRoute.fault.delay.percentage";
            check.warn(code::DEPRECATED, &at.key("percent"), message, hint);
        }
        match delay.delay {
            None => check.error(&at, "`fixedDelay` is missing"),
            Some(FaultDelayType::FixedDelay(delay)) => {
                check.accept(&at.key("fixedDelay"), names::duration(delay))
            }
            Some(FaultDelayType::ExponentialDelay(_)) => {
                check.error_hint(
                    &at.key("exponentialDelay"),
                    "never implemented by Istio",
                    "write fixedDelay",
                );
            }
        }
    }
    if let Some(abort) = &it.abort {
        let at = at.key("abort");
        if let Some(percentage) = &abort.percentage {
            check.accept(&at.key("percentage"), names::percent(percentage.value));
        }
        match &abort.error {
            None => check.error(&at, "one of httpStatus or grpcStatus must be given"),
            Some(FaultAbortType::HttpStatus(status)) if !(200..600).contains(status) => {
                check.error(&at.key("httpStatus"), format!("{status} is not a status (200 to 599)"));
            }
            Some(FaultAbortType::GrpcStatus(status)) if grpc_status(status).is_none() => {
                let message = format!("{} is not a gRPC status", text::quoted(status));
                check.error_hint(&at.key("grpcStatus"), message, "such as UNAVAILABLE");
            }
            Some(FaultAbortType::Http2Error(_)) => {
                check.error(&at.key("http2Error"), "never implemented by Istio");
            }
            Some(_) => {}
        }
    }
}

fn mirrors(it: &HttpRoute, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(mirror) = &it.mirror {
        destination(mirror, check, &at.key("mirror"));
    }
    let list = at.key("mirrors");
    for (index, mirror) in it.mirrors.iter().enumerate() {
        let at = list.index(index);
        if let Some(to) = &mirror.destination {
            destination(to, check, &at.key("destination"));
        }
        if let Some(percentage) = &mirror.percentage {
            check.accept(&at.key("percentage"), names::percent(percentage.value));
        }
    }
    if let Some(percentage) = &it.mirror_percentage {
        check.accept(&at.key("mirrorPercentage"), names::percent(percentage.value));
    }
    if let Some(percent) = it.mirror_percent {
        check.accept(&at.key("mirrorPercent"), names::percent(f64::from(percent)));
        let hint = Some("write mirrorPercentage: {value: …}".to_owned());
        check.warn(
            code::DEPRECATED,
            &at.key("mirrorPercent"),
            "Deprecated: HTTPRoute.mirrorPercent is deprecated; use HTTPRoute.mirrorPercentage",
            hint,
        );
    }
}

fn cors(it: &CorsPolicy, check: &mut Check<'_>, at: &Path<'_>) {
    let origins = at.key("allowOrigins");
    for (index, origin) in it.allow_origins.iter().enumerate() {
        string_match(origin, check, &origins.index(index));
    }
    if !it.allow_origin.is_empty() {
        let hint = Some("write allowOrigins: [{exact: …}]".to_owned());
        check.warn(
            code::DEPRECATED,
            &at.key("allowOrigin"),
            "Deprecated: CorsPolicy.allowOrigin is deprecated; use CorsPolicy.allowOrigins",
            hint,
        );
    }
    let methods = at.key("allowMethods");
    for (index, method) in it.allow_methods.iter().enumerate() {
        if !METHODS.contains(&&**method) && &**method != "*" {
            check.error(&methods.index(index), format!("{} is not a method", text::quoted(method)));
        }
    }
    for (field, list) in [("allowHeaders", &it.allow_headers), ("exposeHeaders", &it.expose_headers)] {
        let field = at.key(field);
        for (index, name) in list.iter().enumerate() {
            check.accept(&field.index(index), header_name(name));
        }
    }
    if let Some(age) = it.max_age.filter(|age| age.subsec_nanos() != 0) {
        check.error(&at.key("maxAge"), format!("{age} is not in whole seconds"));
    }
}
