//! VirtualService: hosts, gateways, which rules go together.

use super::names::{self, is_label};
use super::{Check, Path, http_route, reachability};
use crate::networking::VirtualService;
use crate::networking::virtual_service::{Destination, HttpRoute};
use crate::{Host, Labels, Str, text};

pub(super) fn check(it: &VirtualService, check: &mut Check<'_>, at: &Path<'_>) {
    let delegate = it.hosts.is_empty();
    let mesh = it.gateways.is_empty() || it.gateways.iter().any(|gateway| &**gateway == "mesh");
    if delegate {
        for (name, given) in
            [("gateways", !it.gateways.is_empty()), ("tls", !it.tls.is_empty()), ("tcp", !it.tcp.is_empty())]
        {
            if given {
                let hint = "a VirtualService without hosts only serves others as a delegate; give it hosts otherwise";
                check.error_hint(&at.key(name), format!("a delegate (no hosts) must not have {name}"), hint);
            }
        }
    }
    hosts(&it.hosts, mesh, check, &at.key("hosts"));
    gateways(&it.gateways, check, &at.key("gateways"));
    if it.http.is_empty() && it.tcp.is_empty() && it.tls.is_empty() {
        check.error(at, "one of http, tls or tcp must be given");
    }
    let http = at.key("http");
    for (index, route) in it.http.iter().enumerate() {
        http_route::check(route, delegate, check, &http.index(index));
    }
    let tls = at.key("tls");
    for (index, route) in it.tls.iter().enumerate() {
        tls_route(route, &it.hosts, check, &tls.index(index));
    }
    let tcp = at.key("tcp");
    for (index, route) in it.tcp.iter().enumerate() {
        tcp_route(route, check, &tcp.index(index));
    }
    if mesh && it.gateways.iter().all(|gateway| &**gateway == "mesh") {
        claims(&it.http, check, &http);
    }
    reachability::check(it, check, at);
    export_to(&it.export_to, check, &at.key("exportTo"));
}

fn hosts(hosts: &[Host], mesh: bool, check: &mut Check<'_>, at: &Path<'_>) {
    let mut valid = true;
    for (index, host) in hosts.iter().enumerate() {
        if host.parse::<std::net::IpAddr>().is_ok() {
            continue;
        }
        let at = at.index(index);
        if mesh && host.as_str() == "*" {
            let hint = "name the services, or bind it to gateways only";
            check.error_hint(&at, "host `*` is not allowed at the mesh (gateway `mesh`, the default)", hint);
            valid = false;
        } else if let Err(fault) = names::wildcard_host(host) {
            check.accept(&at, Err(fault));
            valid = false;
        }
    }
    // Quadratic; a resource with a thousand hosts is checked for equal ones by the registry anyway.
    if valid && hosts.len() <= 200 {
        for (index, host) in hosts.iter().enumerate() {
            if let Some(other) = hosts[..index].iter().find(|other| other.matches(host)) {
                check.error(&at.index(index), format!("hosts {other} and {host} overlap"));
            }
        }
    }
}

/// Names of gateways: `mesh`, `name`, `namespace/name`, `./name`, or the old full name.
pub(super) fn gateways(gateways: &[Str], check: &mut Check<'_>, at: &Path<'_>) {
    for (index, gateway) in gateways.iter().enumerate() {
        let ok = match gateway.split_once('/') {
            None => is_label(gateway) || names::fqdn(gateway).is_ok(),
            Some((namespace, name)) => (namespace == "." || is_label(namespace)) && names::is_subdomain(name),
        };
        if !ok {
            let message = format!("{} is not the name of a gateway", text::quoted(gateway));
            check.error_hint(&at.index(index), message, "write mesh, NAME or NAMESPACE/NAME");
        }
    }
}

/// Who may see a resource: `*`, `.`, `~` or namespaces.
pub(super) fn export_to(list: &[Str], check: &mut Check<'_>, at: &Path<'_>) {
    for (index, entry) in list.iter().enumerate() {
        if !matches!(&**entry, "*" | "." | "~") && !is_label(entry) {
            let message = format!("{} is not a namespace", text::quoted(entry));
            check.error_hint(&at.index(index), message, "write `*`, `.`, `~` or a namespace");
        }
        if list[..index].contains(entry) {
            check.error(&at.index(index), format!("{entry:?} is given twice"));
        }
    }
    if list.len() > 1 && list.iter().any(|entry| &**entry == "*") {
        check.error(at, "`*` is everybody: nothing else may stand beside it");
    }
}

/// Claims of tokens are known at gateways only (SEM-044).
fn claims(routes: &[HttpRoute], check: &mut Check<'_>, at: &Path<'_>) {
    for (index, route) in routes.iter().enumerate() {
        for (number, condition) in route.matches.iter().enumerate() {
            let keys = condition.headers.keys().chain(condition.without_headers.keys());
            for key in keys.filter(|key| key.starts_with("@request.auth.claims")) {
                let route = at.index(index);
                let at = route.key("match");
                let message = format!("{key} can be matched at gateways only, and no gateway is named");
                check.error(&at.index(number), message);
            }
        }
    }
}

/// A destination.
pub(super) fn destination(it: &Destination, check: &mut Check<'_>, at: &Path<'_>) {
    let host = &it.host;
    if host.as_str() == "*" {
        check.error(&at.key("host"), "`*` is not a destination");
    } else if !host.is_empty() && host.parse::<std::net::IpAddr>().is_err() {
        check.accept(&at.key("host"), names::wildcard_host(host));
    }
    if let Some(subset) = &it.subset {
        check.accept(&at.key("subset"), names::subset(subset));
    }
    if let Some(port) = &it.port {
        let port_at = at.key("port");
        check.accept(&port_at.key("number"), names::port(port.number));
    }
}

/// Weights of several destinations.
pub(super) fn weights(weights: impl Iterator<Item = i32> + Clone, check: &mut Check<'_>, at: &Path<'_>) {
    for (index, weight) in weights.clone().enumerate() {
        if weight < 0 {
            let item = at.index(index);
            check.error(&item.key("weight"), format!("weight {weight} is below zero"));
        }
    }
    if weights.clone().count() > 1 && weights.clone().all(|weight| weight == 0) {
        check.error_hint(at, "all weights are zero", "give at least one destination a weight");
    }
}

/// Labels of a selector.
pub(super) fn labels(labels: &Labels, check: &mut Check<'_>, at: &Path<'_>) {
    for (key, value) in labels {
        check.accept(&at.key(key), names::label(key, value));
    }
}

fn tls_route(
    it: &crate::networking::virtual_service::TlsRoute,
    hosts: &[Host],
    check: &mut Check<'_>,
    at: &Path<'_>,
) {
    let matches = at.key("match");
    for (index, condition) in it.matches.iter().enumerate() {
        let at = matches.index(index);
        let sni = at.key("sniHosts");
        if condition.sni_hosts.is_empty() {
            check.error(&at, "a TLS match needs at least one of sniHosts");
        }
        for (number, host) in condition.sni_hosts.iter().enumerate() {
            check.accept(&sni.index(number), names::wildcard_host(host));
            if !hosts.iter().any(|own| host.subset_of(own)) {
                let message = format!("{host} is not covered by the hosts of the VirtualService");
                check.error_hint(&sni.index(number), message, "add it to spec.hosts");
            }
        }
        let conditions =
            (&condition.destination_subnets, condition.port, &condition.source_labels, &condition.gateways);
        l4(conditions, check, &at);
    }
    routes(&it.route, check, at);
}

fn tcp_route(it: &crate::networking::virtual_service::TcpRoute, check: &mut Check<'_>, at: &Path<'_>) {
    let matches = at.key("match");
    for (index, condition) in it.matches.iter().enumerate() {
        let conditions =
            (&condition.destination_subnets, condition.port, &condition.source_labels, &condition.gateways);
        l4(conditions, check, &matches.index(index));
    }
    routes(&it.route, check, at);
}

fn l4(
    (subnets, port, source, gateway): (&Vec<Str>, Option<u32>, &Labels, &Vec<Str>),
    check: &mut Check<'_>,
    at: &Path<'_>,
) {
    let subnets_at = at.key("destinationSubnets");
    for (index, subnet) in subnets.iter().enumerate() {
        check.accept(&subnets_at.index(index), names::subnet(subnet));
    }
    if let Some(port) = port {
        check.accept(&at.key("port"), names::port(port));
    }
    labels(source, check, &at.key("sourceLabels"));
    gateways(gateway, check, &at.key("gateways"));
}

fn routes(it: &[crate::networking::virtual_service::RouteDestination], check: &mut Check<'_>, at: &Path<'_>) {
    let at = at.key("route");
    if it.is_empty() {
        check.error(&at, "a destination is needed");
    }
    for (index, route) in it.iter().enumerate() {
        let item = at.index(index);
        destination(&route.destination, check, &item.key("destination"));
    }
    weights(it.iter().map(|route| route.weight), check, &at);
}
