//! Why a request got an answer of this proxy's own, in words, with the resource at fault by name.
//!
//! Asked for by `%LOCAL_REPLY_REASON%` (access logs, header rules) and by the filter that puts it into a response header.
//! Resources are named after the `config` that pilot puts into the `istio` metadata of routes and clusters.
//! Invariant: composed only when asked, from what the exchange has kept anyway.

use std::fmt::Write;

use crate::{
    cluster::{Endpoint, Health},
    error::Flags,
    http::{connection_manager::Info, message::RequestHead},
    route::{Action, Route, rewrite::Picked},
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
    Some(text)
}

fn explain(out: &mut String, info: &Info, request: Option<&RequestHead>) -> std::fmt::Result {
    let (flags, route) = (info.flags, info.route.as_deref());
    let rule = || named(route.and_then(|route| route.origin.as_deref()), "the route");
    let (host, path) = request.map_or(("", ""), |head| (head.authority(), head.path()));
    if flags.has(Flags::FAULT_INJECTED) {
        return write!(out, "{} injected a fault", rule());
    }
    if flags.has(Flags::NO_ROUTE) {
        return match &info.virtual_host {
            Some(known) => write!(out, "virtual host {known} has no route that answers {path}"),
            None => write!(out, "no route for host {host} and path {path}"),
        };
    }
    if flags.has(Flags::NO_CLUSTER) {
        let cluster = route.and_then(|route| target(route, info.random)).unwrap_or("that a header names");
        return write!(out, "{} leads to cluster {cluster}, which does not exist", rule());
    }
    if flags.has(Flags::NO_HEALTHY_UPSTREAM) {
        return no_endpoint(out, info);
    }
    if flags.has(Flags::UPSTREAM_OVERFLOW) && info.details.contains("overflow") {
        return write!(out, "a circuit breaker of {} is open", destination(info));
    }
    if flags.has(Flags::UPSTREAM_REQUEST_TIMEOUT) {
        let whose = if info.details.contains("per_try") { "a try" } else { "a request" };
        return write!(out, "{} did not answer in the time that {} gives {whose}", upstream(info), rule());
    }
    if flags.has(Flags::UPSTREAM_CONNECTION_FAILURE) {
        write!(out, "cannot connect to {}", upstream(info))?;
        return match info.transport_failure.rsplit(": ").next() {
            Some(why) if !why.is_empty() => write!(out, ": {why}"),
            _ => out.write_str(": no answer within the connect timeout"),
        };
    }
    for (flag, what) in [
        (Flags::UPSTREAM_REMOTE_RESET, "reset the request"),
        (Flags::UPSTREAM_CONNECTION_TERMINATION, "closed the connection before its answer was complete"),
        (Flags::UPSTREAM_PROTOCOL_ERROR, "answered something that is not HTTP"),
    ] {
        if flags.has(flag) {
            return write!(out, "{} {what}", upstream(info));
        }
    }
    if flags.has(Flags::STREAM_IDLE_TIMEOUT) {
        return out.write_str("nothing moved for as long as the idle timeout of the stream");
    }
    if flags.has(Flags::DURATION_TIMEOUT) {
        return write!(out, "the request took longer than {} allows a stream", rule());
    }
    if flags.has(Flags::DOWNSTREAM_PROTOCOL_ERROR) {
        return write!(out, "the client sent something that is not valid HTTP ({})", info.details);
    }
    match &*info.details {
        "upgrade_failed" => write!(out, "{} does not allow the upgrade", rule()),
        "missing_host_header" => out.write_str("the request has no host"),
        "path_normalization_failed" => out.write_str("the path cannot be normalised"),
        "request_header_timeout" | "request_overall_timeout" => {
            out.write_str("the client took too long to send its request")
        }
        _ => Ok(()),
    }
}

/// Why no endpoint could be picked.
fn no_endpoint(out: &mut String, info: &Info) -> std::fmt::Result {
    let Some(state) = &info.cluster else { return Ok(()) };
    if state.cluster.settings.original_dst {
        return out.write_str("the original destination of the connection is not known");
    }
    let set = state.cluster.endpoints.load();
    let (mut all, mut bad) = (0, 0);
    for endpoint in set.iter() {
        all += 1;
        bad += usize::from(is_bad(endpoint));
    }
    match all {
        0 => {
            let (rule, subset, host) = parts(info);
            match (rule, subset) {
                (Some(rule), subset) if !subset.is_empty() => {
                    write!(out, "{} has no endpoints for subset {subset}", named(Some(rule), ""))
                }
                _ => write!(out, "{host} has no endpoints"),
            }
        }
        all => write!(out, "{} has no healthy endpoint: {bad} of {all} are not", destination(info)),
    }
}

fn is_bad(endpoint: &Endpoint) -> bool {
    endpoint.health() != Health::Healthy
}

/// Rule, subset and host of the cluster, from its origin and its name (`outbound|PORT|SUBSET|HOST`).
fn parts(info: &Info) -> (Option<&str>, &str, &str) {
    let Some(state) = &info.cluster else { return (None, "", "the cluster") };
    let name = &*state.cluster.name;
    let rule = state.cluster.origin.as_deref();
    let mut fields = name.splitn(4, '|');
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some("outbound" | "inbound"), Some(_), Some(subset), Some(host)) if !host.is_empty() => {
            (rule, subset, host)
        }
        _ => (rule, "", name),
    }
}

/// The rule that made the cluster what it is, else the service.
fn destination(info: &Info) -> String {
    let (rule, subset, host) = parts(info);
    match (rule, subset) {
        (Some(rule), "") => named(Some(rule), ""),
        (Some(rule), subset) => format!("{}, subset {subset},", named(Some(rule), "")),
        (None, _) => host.to_owned(),
    }
}

/// The endpoint of the last try and whose it is.
fn upstream(info: &Info) -> String {
    let (_, _, host) = parts(info);
    match &info.endpoint {
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

/// `/apis/GROUP/VERSION/namespaces/NS/virtual-service/NAME` as `VirtualService NS/NAME`.
fn named(config: Option<&str>, otherwise: &str) -> String {
    let Some(config) = config else { return otherwise.to_owned() };
    let mut parts = config.rsplit('/');
    let (Some(name), Some(kind), Some(namespace)) = (parts.next(), parts.next(), parts.next()) else {
        return config.to_owned();
    };
    let words = kind.split('-').map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    });
    format!("{} {namespace}/{name}", words.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_as_users_write_them() {
        let config = "/apis/networking.istio.io/v1alpha3/namespaces/default/destination-rule/reviews";
        assert_eq!(named(Some(config), ""), "DestinationRule default/reviews");
        assert_eq!(named(None, "the route"), "the route");
        assert_eq!(named(Some("odd"), ""), "odd");
    }

    #[test]
    fn answers_without_fault_have_no_reason() {
        let mut info = Info { details: "via_upstream".into(), ..Info::default() };
        assert_eq!(of(&info, None), None);
        info.details = "direct_response".into();
        assert_eq!(of(&info, None), None);
        info.flags.set(Flags::NO_ROUTE);
        assert_eq!(of(&info, None).as_deref(), Some("no route for host  and path "));
    }
}
