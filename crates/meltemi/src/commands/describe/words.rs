//! Rules, policies and ports in words.
//!
//! Invariant: a rule's words name every condition that it has, so that two rules with the same words take the same requests.

use meltemi_config::networking::destination_rule::TrafficPolicy;
use meltemi_config::networking::gateway::Gateway;
use meltemi_config::networking::virtual_service::{
    Destination, HttpMatchRequest, HttpRoute, L4MatchAttributes, StringMatch, TlsMatchAttributes,
};
use meltemi_config::{Host, Labels, Protocol};
use meltemi_pilot::registry;
use meltemi_pilot::snapshot::virtual_service::Resolved;
use serde::Serialize;

/// A rule of a VirtualService.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    /// `http`, `tls` or `tcp`.
    pub(super) layer: &'static str,
    /// Its name, or its place among the others: `#2`.
    pub(super) name: String,
    /// What it takes.
    pub(super) takes: String,
    /// What it does with that.
    pub(super) does: String,
    /// Subsets of the service in question that it leads to.
    pub(super) subsets: Vec<String>,
    /// Whether it leads to the service in question as a whole.
    #[serde(skip)]
    pub(super) here: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<u32>,
}

/// `HTTP2`; what is detected is `auto`.
pub(super) fn protocol(protocol: Protocol) -> String {
    if protocol.is_auto() { "auto".to_owned() } else { format!("{protocol:?}").to_uppercase() }
}

/// The rules of a VirtualService, with what they do for a service.
pub(super) fn rules(one: &Resolved, service: &registry::Service) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (at, route) in one.spec.http.iter().enumerate() {
        let place = one
            .origins
            .get(at)
            .and_then(|origin| origin.place.as_ref())
            .filter(|place| !place.file.is_empty());
        let destinations: Vec<_> = route.route.iter().map(|part| (&part.destination, part.weight)).collect();
        rules.push(Rule {
            layer: "http",
            name: name(route.name.as_deref(), at),
            takes: either(route.matches.iter().map(http_match), "every request"),
            does: http_action(route, &destinations),
            subsets: subsets_of(one, service, &destinations),
            here: leads_here(one, service, &destinations),
            file: place.map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
        });
    }
    let layers = [
        (
            "tls",
            one.spec
                .tls
                .iter()
                .map(|r| (either(r.matches.iter().map(tls_match), "nothing"), &r.route))
                .collect::<Vec<_>>(),
        ),
        (
            "tcp",
            one.spec
                .tcp
                .iter()
                .map(|r| (either(r.matches.iter().map(tcp_match), "every connection"), &r.route))
                .collect(),
        ),
    ];
    for (layer, routes) in layers {
        for (at, (takes, route)) in routes.into_iter().enumerate() {
            let destinations: Vec<_> = route.iter().map(|part| (&part.destination, part.weight)).collect();
            rules.push(Rule {
                layer,
                name: name(None, at),
                takes,
                does: to(&destinations),
                subsets: subsets_of(one, service, &destinations),
                here: leads_here(one, service, &destinations),
                file: None,
                line: None,
            });
        }
    }
    rules
}

/// Subsets of a service that a VirtualService leads to.
pub(super) fn subsets(one: &Resolved, service: &registry::Service) -> Vec<String> {
    let mut subsets: Vec<String> = rules(one, service).into_iter().flat_map(|rule| rule.subsets).collect();
    subsets.sort();
    subsets.dedup();
    subsets
}

fn subsets_of(one: &Resolved, service: &registry::Service, parts: &[(&Destination, i32)]) -> Vec<String> {
    let of = parts.iter().filter(|(destination, _)| one.destination_host(destination) == service.host);
    of.filter_map(|(destination, _)| destination.subset.as_ref()).map(ToString::to_string).collect()
}

fn leads_here(one: &Resolved, service: &registry::Service, parts: &[(&Destination, i32)]) -> bool {
    parts.iter().any(|(destination, _)| {
        destination.subset.is_none() && one.destination_host(destination) == service.host
    })
}

fn name(name: Option<&str>, at: usize) -> String {
    name.map_or_else(|| format!("#{}", at + 1), str::to_owned)
}

fn either(conditions: impl Iterator<Item = String>, otherwise: &str) -> String {
    let all: Vec<String> = conditions.collect();
    if all.is_empty() { otherwise.to_owned() } else { all.join(", or ") }
}

fn http_match(condition: &HttpMatchRequest) -> String {
    let mut words = Vec::new();
    let mut add = |what: &str, condition: &Option<StringMatch>| {
        if let Some(condition) = condition {
            words.push(format!("{what} {}", text(condition)));
        }
    };
    add("uri", &condition.uri);
    add("scheme", &condition.scheme);
    add("method", &condition.method);
    add("authority", &condition.authority);
    words.extend(condition.headers.iter().map(|(name, value)| format!("header {name} {}", text(value))));
    words.extend(
        condition.query_params.iter().map(|(name, value)| format!("query parameter {name} {}", text(value))),
    );
    words.extend(
        condition.without_headers.iter().map(|(name, value)| format!("no header {name} {}", text(value))),
    );
    words.extend(condition.port.map(|port| format!("port {port}")));
    words.extend(source(&condition.source_labels, condition.source_namespace.as_deref()));
    words.extend(gateways(&condition.gateways));
    if condition.ignore_uri_case {
        words.push("in any case".to_owned());
    }
    if words.is_empty() { "every request".to_owned() } else { words.join(" and ") }
}

fn source(labels: &Labels, namespace: Option<&str>) -> Vec<String> {
    let mut words: Vec<String> = labels.iter().map(|(key, value)| format!("from {key}={value}")).collect();
    words.extend(namespace.map(|namespace| format!("from namespace {namespace}")));
    words
}

fn gateways(names: &[meltemi_config::Str]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    (!names.is_empty()).then(|| format!("through {}", names.join(" or ")))
}

fn tls_match(condition: &TlsMatchAttributes) -> String {
    let names: Vec<&str> = condition.sni_hosts.iter().map(Host::as_str).collect();
    let mut words = vec![format!("server name {}", names.join(" or "))];
    words.extend(condition.destination_subnets.iter().map(|subnet| format!("to {subnet}")));
    words.extend(condition.port.map(|port| format!("port {port}")));
    words.extend(source(&condition.source_labels, condition.source_namespace.as_deref()));
    words.extend(gateways(&condition.gateways));
    words.join(" and ")
}

fn tcp_match(condition: &L4MatchAttributes) -> String {
    let mut words: Vec<String> =
        condition.destination_subnets.iter().map(|subnet| format!("to {subnet}")).collect();
    words.extend(condition.port.map(|port| format!("port {port}")));
    words.extend(source(&condition.source_labels, condition.source_namespace.as_deref()));
    words.extend(gateways(&condition.gateways));
    if words.is_empty() { "every connection".to_owned() } else { words.join(" and ") }
}

fn text(condition: &StringMatch) -> String {
    match condition {
        StringMatch::Present => "present".to_owned(),
        StringMatch::Exact(text) => format!("= {text:?}"),
        StringMatch::Prefix(text) => format!("begins with {text:?}"),
        StringMatch::Regex(text) => format!("matches {text:?}"),
    }
}

fn http_action(route: &HttpRoute, destinations: &[(&Destination, i32)]) -> String {
    let mut words = Vec::new();
    if let Some(redirect) = &route.redirect {
        words.push(format!("redirects ({})", redirect.redirect_code.unwrap_or(301)));
    }
    if let Some(response) = &route.direct_response {
        words.push(format!("answers {}", response.status));
    }
    if !destinations.is_empty() {
        words.push(to(destinations));
    }
    if route.rewrite.is_some() {
        words.push("rewritten".to_owned());
    }
    if let Some(timeout) = route.timeout {
        words.push(format!("timeout {:?}", timeout.0));
    }
    if let Some(retries) = &route.retries {
        words.push(format!("{} retries", retries.attempts));
    }
    if let Some(fault) = &route.fault {
        let parts = [("delays", fault.delay.is_some()), ("aborts", fault.abort.is_some())];
        let parts: Vec<&str> = parts.iter().filter(|(_, set)| *set).map(|(word, _)| *word).collect();
        words.push(format!("injected {}", parts.join(" and ")));
    }
    if route.mirror.is_some() || !route.mirrors.is_empty() {
        words.push("mirrored".to_owned());
    }
    if route.cors_policy.is_some() {
        words.push("CORS".to_owned());
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn to(destinations: &[(&Destination, i32)]) -> String {
    let total: i32 = destinations.iter().map(|(_, weight)| weight).sum();
    let one = |(destination, weight): &(&Destination, i32)| {
        let port = destination.port.as_ref().map(|port| format!(":{}", port.number)).unwrap_or_default();
        let subset =
            destination.subset.as_ref().map(|subset| format!(" subset {subset}")).unwrap_or_default();
        let share = match (destinations.len(), total) {
            (1, _) | (_, 0) => String::new(),
            _ => format!(" ({} %)", (f64::from(*weight) * 1000.0 / f64::from(total)).round() / 10.0),
        };
        format!("{}{port}{subset}{share}", destination.host.as_str())
    };
    format!("to {}", destinations.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Blocks that a policy sets, by their names.
pub(super) fn policies(policy: &TrafficPolicy) -> Vec<String> {
    let blocks = [
        ("loadBalancer", policy.load_balancer.is_some()),
        ("connectionPool", policy.connection_pool.is_some()),
        ("outlierDetection", policy.outlier_detection.is_some()),
        ("tls", policy.tls.is_some()),
        ("portLevelSettings", !policy.port_level_settings.is_empty()),
        ("tunnel", policy.tunnel.is_some()),
        ("proxyProtocol", policy.proxy_protocol.is_some()),
        ("retryBudget", policy.retry_budget.is_some()),
    ];
    blocks.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect()
}

/// URLs under which a Gateway shows these hosts.
pub(super) fn exposed(gateway: &Gateway, hosts: &[Host]) -> Vec<String> {
    let mut urls = Vec::new();
    for server in &gateway.servers {
        let port = &server.port;
        let scheme = match port.protocol.to_uppercase().as_str() {
            "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => "http",
            "HTTPS" => "https",
            "TLS" => "tls",
            _ => "tcp",
        };
        for own in &server.hosts {
            let own = Host::new(own.rsplit('/').next().unwrap_or(own));
            for host in hosts.iter().filter(|host| own.matches(host)) {
                // The narrower of the two is what is shown.
                let shown = if host.subset_of(&own) { host } else { &own };
                let url = format!("{scheme}://{}:{}", shown.as_str(), port.number);
                if !urls.contains(&url) {
                    urls.push(url);
                }
            }
        }
    }
    urls
}
