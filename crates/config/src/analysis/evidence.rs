//! Requests that show a fault: what to send to see it. Used by analyzers of routes, and by the check of
//! reachability.

use crate::Host;
use crate::networking::VirtualService;
use crate::networking::virtual_service::{HttpRoute, StringMatch};

/// A request that a rule takes: `GET http://reviews:9080/x`. Conditions that cannot be shown in a line are left out.
pub(crate) fn request(service: &VirtualService, rule: &HttpRoute, port: Option<u32>) -> String {
    let condition = rule.matches.first();
    let method = match condition.and_then(|condition| condition.method.as_ref()) {
        Some(StringMatch::Exact(method) | StringMatch::Prefix(method)) => method.to_string(),
        _ => "GET".to_owned(),
    };
    let authority = match condition.and_then(|condition| condition.authority.as_ref()) {
        Some(StringMatch::Exact(authority)) => authority.to_string(),
        _ => host(service.hosts.first(), port),
    };
    let path = match condition.and_then(|condition| condition.uri.as_ref()) {
        Some(StringMatch::Exact(path)) => path.to_string(),
        Some(StringMatch::Prefix(path)) if path.starts_with('/') => path.to_string(),
        _ => "/".to_owned(),
    };
    let headers: Vec<String> = condition
        .iter()
        .flat_map(|condition| &condition.headers)
        .filter_map(|(name, wanted)| match wanted {
            StringMatch::Exact(value) => Some(format!(" with {name}: {value}")),
            _ => None,
        })
        .take(1)
        .collect();
    format!("{method} http://{authority}{path}{}", headers.concat())
}

/// A host one can send to, with its port if it is not 80.
pub(crate) fn host(host: Option<&Host>, port: Option<u32>) -> String {
    let name = match host.map(Host::as_str) {
        None | Some("") => "HOST".to_owned(),
        Some("*") => "any.example.com".to_owned(),
        Some(name) => name.strip_prefix("*").map_or_else(|| name.to_owned(), |rest| format!("any{rest}")),
    };
    match port {
        None | Some(80) => name,
        Some(port) => format!("{name}:{port}"),
    }
}
