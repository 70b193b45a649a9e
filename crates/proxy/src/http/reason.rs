//! Why a request got an answer of this proxy's own, in words, with the resource at fault by name.
//!
//! Asked for by `%LOCAL_REPLY_REASON%` (access logs, header rules) and by the filter that puts it into a response header.
//! Resources are named after the `config` that pilot puts into the `istio` metadata of routes and clusters.
//! Invariant: composed only when asked, from what the exchange has kept anyway.

pub mod blame;

use std::fmt::Write;

use self::blame::{BLOCK_ALL, Destination, named};
use crate::{
    cluster::{Endpoint, Health},
    error::Flags,
    http::{connection_manager::Info, message::RequestHead},
    route::{Action, Route, rewrite::Picked},
    tcp_proxy,
    upstream::{cluster::ClusterState, limits::Resource},
};

/// The reason; `None` for answers of upstreams and for those that a route asked for.
pub fn of(info: &Info, request: Option<&RequestHead>) -> Option<String> {
    let mut text = String::new();
    // Writing to a string cannot fail.
    explain(&mut text, info, request).ok()?;
    if text.is_empty() {
        return None;
    }
    if info.attempts > 1 {
        let _ = write!(text, ", in the last of {} tries", info.attempts);
    }
    if info.flags.has(Flags::UPSTREAM_OVERFLOW) && !info.details.contains("overflow") {
        let _ = match retries_of(info) {
            Some((percent, _)) => write!(text, "; the retry budget of {percent} % was spent"),
            None => write!(text, "; as many retries as allowed were under way"),
        };
    }
    Some(text)
}

/// The reason why a connection of bytes came to nothing; `None` where it ended as its ends wanted.
pub fn of_connection(outcome: &tcp_proxy::Outcome) -> Option<String> {
    let flags = outcome.flags;
    let mut text = String::new();
    let cluster = outcome.cluster.as_deref();
    if flags.has(Flags::NO_CLUSTER) {
        let missing = outcome.missing.as_deref().unwrap_or_default();
        text = Destination::of(missing, None).unknown("the listener");
    } else if flags.has(Flags::NO_HEALTHY_UPSTREAM) {
        no_endpoint(&mut text, cluster?).ok()?;
    } else if flags.has(Flags::UPSTREAM_OVERFLOW) {
        overflow(&mut text, cluster, false).ok()?;
    } else if flags.has(Flags::DNS_RESOLUTION_FAILED) {
        let _ = write!(
            text,
            "the name that the client asked for cannot be resolved: {}",
            outcome.transport_failure
        );
    } else if flags.has(Flags::UPSTREAM_CONNECTION_FAILURE) {
        no_connection(&mut text, &upstream(cluster, outcome.endpoint.as_deref()), &outcome.transport_failure)
            .ok()?;
    } else if flags.has(Flags::CONNECTION_IDLE) {
        text.push_str("nothing moved for as long as the idle timeout of the connection");
    } else if flags.has(Flags::DURATION_TIMEOUT) {
        text.push_str("the connection lasted as long as the listener allows one");
    }
    if text.is_empty() {
        return None;
    }
    if outcome.attempts > 1 {
        let _ = write!(text, ", in the last of {} tries", outcome.attempts);
    }
    Some(text)
}

fn explain(out: &mut String, info: &Info, request: Option<&RequestHead>) -> std::fmt::Result {
    let (flags, route) = (info.flags, info.route.as_deref());
    let rule = || named(route.and_then(|route| route.origin.as_deref()), "the route");
    let (host, path) = request.map_or(("", ""), |head| (head.authority(), head.path()));
    let method = request.map_or("", |head| head.method());
    let cluster = info.cluster.as_deref();
    let upstream = || upstream(cluster, info.endpoint.as_deref());
    if flags.has(Flags::FAULT_INJECTED) {
        return write!(out, "{} injected a fault", rule());
    }
    if flags.has(Flags::NO_ROUTE) {
        return out.write_str(&match (&info.virtual_host, route) {
            (_, Some(_)) => format!("{} does nothing with requests", rule()),
            (Some(known), None) => {
                let blamed = info.filters.as_ref().and_then(|state| state.blamed.as_deref());
                blame::no_rule(blamed, known, method, path)
            }
            (None, None) => blame::no_host(host),
        });
    }
    if flags.has(Flags::NO_CLUSTER) {
        let cluster = route.and_then(|route| target(route, info.random)).unwrap_or_default();
        return out.write_str(&Destination::of(cluster, None).unknown(&rule()));
    }
    if flags.has(Flags::NO_HEALTHY_UPSTREAM) {
        return cluster.map_or(Ok(()), |cluster| no_endpoint(out, cluster));
    }
    if flags.has(Flags::DNS_RESOLUTION_FAILED) {
        let why = info.details.trim_start_matches("dns_resolution_failure{").trim_end_matches('}');
        return write!(out, "host {host} cannot be resolved: {}", why.replace('_', " "));
    }
    if flags.has(Flags::UPSTREAM_OVERFLOW) && info.details.contains("overflow") {
        return match &*info.details {
            "dns_cache_overflow" => out.write_str("more names are being resolved than the DNS cache takes"),
            _ => overflow(out, cluster, is_high(info)),
        };
    }
    if flags.has(Flags::UPSTREAM_REQUEST_TIMEOUT) {
        return timeout(out, info, &upstream(), &rule());
    }
    if flags.has(Flags::UPSTREAM_CONNECTION_FAILURE) {
        return no_connection(out, &upstream(), &info.transport_failure);
    }
    for (flag, what) in [
        (Flags::UPSTREAM_REMOTE_RESET, "reset the request"),
        (Flags::UPSTREAM_CONNECTION_TERMINATION, "closed the connection before its answer was complete"),
        (Flags::UPSTREAM_PROTOCOL_ERROR, "answered something that is not HTTP"),
        (Flags::UPSTREAM_MAX_STREAM_DURATION, "took longer than a stream to it may last"),
        (Flags::LOCAL_RESET, "was given up on, as this proxy reset the request"),
    ] {
        if flags.has(flag) {
            return write!(out, "{} {what}", upstream());
        }
    }
    if flags.has(Flags::STREAM_IDLE_TIMEOUT) {
        return out.write_str("nothing moved for as long as the idle timeout of the stream");
    }
    if flags.has(Flags::STREAM_TOO_LONG) {
        return write!(out, "the request took longer than {} allows a stream", rule());
    }
    if flags.has(Flags::DOWNSTREAM_PROTOCOL_ERROR) {
        return write!(out, "the client sent something that is not valid HTTP ({})", info.details);
    }
    if flags.has(Flags::DOWNSTREAM_REMOTE_RESET | Flags::DOWNSTREAM_CONNECTION_TERMINATION) {
        return out.write_str("the client went away before the answer was complete");
    }
    if flags.has(Flags::OVERLOAD) {
        return out.write_str("this proxy is overloaded");
    }
    if info.details == "direct_response" && route.is_some_and(|route| &*route.name == BLOCK_ALL) {
        return out.write_str(&blame::not_in_registry(&format!("host {host}")));
    }
    by_details(out, info, &rule())
}

/// Answers without a flag.
fn by_details(out: &mut String, info: &Info, rule: &str) -> std::fmt::Result {
    match &*info.details {
        "upgrade_failed" => write!(out, "{rule} does not allow the upgrade"),
        "missing_host_header" => out.write_str("the request has no host"),
        "path_normalization_failed" => out.write_str("the path cannot be normalised"),
        "request_header_timeout" | "request_overall_timeout" => {
            out.write_str("the client took too long to send its request")
        }
        "http2.too_large_headers" | "request_headers_too_large" => {
            out.write_str("the headers of the request are larger than this listener takes")
        }
        "request_payload_too_large" => {
            out.write_str("the body of the request is larger than this listener takes")
        }
        _ => Ok(()),
    }
}

/// Whose time was up, and how much it was.
fn timeout(out: &mut String, info: &Info, upstream: &str, rule: &str) -> std::fmt::Result {
    let forward = match info.route.as_deref().map(|route| &route.action) {
        Some(Action::Forward(forward)) => Some(forward),
        _ => None,
    };
    let policy = forward.and_then(|forward| forward.retry.as_ref());
    let (limit, whose) = match &*info.details {
        "upstream_per_try_idle_timeout" => {
            (policy.and_then(|policy| policy.per_try_idle_timeout), "between two bytes of a try")
        }
        details if details.contains("per_try") => (policy.and_then(|policy| policy.per_try_timeout), "a try"),
        _ => (forward.and_then(|forward| forward.timeout), "a request"),
    };
    write!(out, "{upstream} did not answer in the time that {rule} gives {whose}")?;
    // Headers of the request may have set another one, but then nothing here says so.
    limit.map_or(Ok(()), |limit| write!(out, " ({limit:?})"))
}

fn no_connection(out: &mut String, upstream: &str, failure: &str) -> std::fmt::Result {
    write!(out, "cannot connect to {upstream}")?;
    match failure.rsplit(": ").next() {
        Some(why) if !why.is_empty() => write!(out, ": {why}"),
        _ => out.write_str(": no answer within the connect timeout"),
    }
}

/// Which circuit breakers are open, by the names that a DestinationRule has for them.
fn overflow(out: &mut String, cluster: Option<&ClusterState>, high: bool) -> std::fmt::Result {
    let Some(state) = cluster else { return out.write_str("a circuit breaker is open") };
    write!(out, "a circuit breaker of {} is open", destination(state).text().trim_end_matches(','))?;
    let limits = state.cluster.settings.limits_at(high);
    let full = [
        (Resource::Requests, limits.requests, "http2MaxRequests"),
        (Resource::Pending, limits.pending_requests, "http1MaxPendingRequests"),
        (Resource::Connections, limits.connections, "maxConnections"),
    ]
    .into_iter()
    .filter(|(resource, limit, _)| state.slot.in_use_at(high).get(*resource) >= *limit)
    .map(|(_, limit, name)| format!("{name}: {limit}"));
    let full: Vec<String> = full.collect();
    if full.is_empty() { Ok(()) } else { write!(out, " ({})", full.join(", ")) }
}

/// Whether the route's priority is HIGH, which has circuit breakers of its own.
fn is_high(info: &Info) -> bool {
    let action = info.route.as_deref().map(|route| &route.action);
    matches!(action, Some(Action::Forward(forward)) if forward.high_priority)
}

/// Percent and least number of a retry budget.
fn retries_of(info: &Info) -> Option<(u32, u32)> {
    let settings = &info.cluster.as_deref()?.cluster.settings;
    let (share, least) = settings.limits_at(is_high(info)).retry_budget?;
    Some((share / 100, least))
}

/// Why no endpoint could be picked.
fn no_endpoint(out: &mut String, state: &ClusterState) -> std::fmt::Result {
    if state.cluster.settings.original_dst {
        return out.write_str("the original destination of the connection is not known");
    }
    let set = state.cluster.endpoints.load();
    let (mut all, mut bad) = (0, 0);
    for endpoint in set.iter() {
        all += 1;
        bad += usize::from(is_bad(endpoint));
    }
    let destination = destination(state);
    let subsets = set.subsets.as_ref().is_some() && all > bad;
    out.write_str(&match all {
        _ if subsets => format!(
            "{} has no healthy endpoint with the metadata that the route asks for",
            destination.text().trim_end_matches(',')
        ),
        0 => destination.no_endpoints(),
        all => destination.none_healthy(bad, all),
    })
}

fn is_bad(endpoint: &Endpoint) -> bool {
    endpoint.health() != Health::Healthy
}

fn destination(state: &ClusterState) -> Destination<'_> {
    Destination::of(&state.cluster.name, state.cluster.origin.as_deref())
}

/// The endpoint of the last try and whose it is.
fn upstream(cluster: Option<&ClusterState>, endpoint: Option<&Endpoint>) -> String {
    let host = cluster.map_or("the cluster", |state| destination(state).host);
    match endpoint {
        Some(endpoint) => format!("endpoint {} of {host}", endpoint.label),
        None => host.to_owned(),
    }
}

fn target(route: &Route, random: u64) -> Option<&str> {
    let Action::Forward(forward) = &route.action else { return None };
    match forward.target.pick(random) {
        Picked::Cluster(slot) => Some(&slot.name),
        Picked::Weighted(part) => Some(&part.cluster.name),
        Picked::Header(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_reasons_too() {
        let failed = |flag| {
            let mut outcome = tcp_proxy::Outcome {
                missing: Some("outbound|5432||db.example".into()),
                transport_failure: "delayed connect error: Connection refused".to_owned(),
                attempts: 1,
                ..tcp_proxy::Outcome::default()
            };
            outcome.flags.set(flag);
            of_connection(&outcome)
        };
        assert_eq!(failed(0), None);
        for (flag, reason) in [
            (Flags::NO_CLUSTER, "the listener leads to db.example, which has no port 5432 or does not exist"),
            (Flags::UPSTREAM_CONNECTION_FAILURE, "cannot connect to the cluster: Connection refused"),
            (Flags::UPSTREAM_OVERFLOW, "a circuit breaker is open"),
            (Flags::CONNECTION_IDLE, "nothing moved for as long as the idle timeout of the connection"),
        ] {
            assert_eq!(failed(flag).as_deref(), Some(reason));
        }
    }

    #[test]
    fn answers_without_fault_have_no_reason() {
        let mut info = Info { details: "via_upstream".into(), ..Info::default() };
        assert_eq!(of(&info, None), None);
        info.details = "direct_response".into();
        assert_eq!(of(&info, None), None);
        info.flags.set(Flags::NO_ROUTE);
        assert_eq!(of(&info, None).as_deref(), Some("no VirtualService or service here is for host "));
    }
}
