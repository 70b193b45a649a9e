//! ServiceEntry: hosts, addresses, ports and where endpoints come from.

use super::gateway::is_unix;
use super::virtual_service::{export_to, labels};
use super::{Check, Path, code, names, workload};
use crate::networking::ServiceEntry;
use crate::networking::service_entry::{Location, Resolution};
use crate::{Protocol, text};

pub(super) fn check(it: &ServiceEntry, check: &mut Check<'_>, at: &Path<'_>) {
    hosts(it, check, at);
    addresses(it, check, at);
    ports(it, check, at);
    endpoints(it, check, at);
    if it.resolution == Resolution::Static && it.endpoints.is_empty() && it.workload_selector.is_none() {
        let message = "STATIC without endpoints and workloadSelector: requests get 503 (UH)";
        let hint = Some("list endpoints, select workloads, or write resolution: DNS".to_owned());
        check.warn(code::SUSPICIOUS, &at.key("resolution"), message, hint);
    }
    let can_tell = || {
        it.ports.iter().any(|port| {
            let protocol = port.protocol.as_deref().and_then(Protocol::parse).unwrap_or_default();
            protocol.is_http() || protocol.is_tls()
        })
    };
    if it.hosts.len() > 1 && it.addresses.is_empty() && it.resolution != Resolution::None && !can_tell() {
        let message = "several hosts cannot be told apart by ports that are neither HTTP nor TLS";
        check.error_hint(&at.key("hosts"), message, "make an entry for each host, or give addresses");
    }
    if it.location == Location::MeshInternal && it.resolution == Resolution::DynamicDns {
        check.error(&at.key("resolution"), "DYNAMIC_DNS is for hosts outside the mesh (MESH_EXTERNAL)");
    }
    export_to(&it.export_to, check, &at.key("exportTo"));
}

fn hosts(it: &ServiceEntry, check: &mut Check<'_>, at: &Path<'_>) {
    let hosts = at.key("hosts");
    if it.hosts.is_empty() {
        check.error(&hosts, "at least one host is needed");
    }
    let dns = matches!(it.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    for (index, host) in it.hosts.iter().enumerate() {
        let at = hosts.index(index);
        if host.as_str() == "*" {
            check.error_hint(&at, "host `*` is not allowed", "name the host, or write *.example.com");
            continue;
        }
        check.accept(&at, names::wildcard_host(host));
        if host.is_wildcard() {
            match it.resolution {
                Resolution::Dns | Resolution::DnsRoundRobin if it.endpoints.is_empty() => {
                    let message = format!("{host} cannot be resolved by {}: it is a wildcard", it.resolution);
                    check.error_hint(&at, message, "give endpoints, or write resolution: NONE");
                }
                _ => {}
            }
        } else if it.resolution == Resolution::DynamicDns {
            check.error_hint(&at, "DYNAMIC_DNS is for wildcard hosts", "write resolution: DNS");
        }
        if dns && it.endpoints.is_empty() && host.is_short() {
            let message = format!("{host} is a short name: it will be looked up in DNS as it is");
            check.warn(code::SUSPICIOUS, &at, message, None);
        }
    }
}

fn addresses(it: &ServiceEntry, check: &mut Check<'_>, at: &Path<'_>) {
    let addresses = at.key("addresses");
    for (index, address) in it.addresses.iter().enumerate() {
        let at = addresses.index(index);
        check.accept(&at, names::subnet(address));
        if address.contains('/') && !matches!(it.resolution, Resolution::None | Resolution::Static) {
            check.error(&at, "a CIDR goes with resolution NONE or STATIC only");
        }
    }
}

fn ports(it: &ServiceEntry, check: &mut Check<'_>, at: &Path<'_>) {
    let ports = at.key("ports");
    for (index, port) in it.ports.iter().enumerate() {
        let at = ports.index(index);
        if port.number != 0 || check.is_given(&at.key("number")) {
            check.accept(&at.key("number"), names::port(port.number));
        }
        for other in &it.ports[..index] {
            if other.number == port.number {
                check.error(&at.key("number"), format!("port {} is given twice", port.number));
            }
            if other.name == port.name && !port.name.is_empty() {
                check.error(&at.key("name"), format!("port name {:?} is given twice", port.name));
            }
        }
        if !port.name.is_empty() {
            check.accept(&at.key("name"), names::port_name(&port.name));
        }
        if let Some(protocol) = port.protocol.as_deref() {
            const KNOWN: [&str; 10] =
                ["HTTP", "HTTPS", "GRPC", "GRPC-Web", "HTTP2", "MONGO", "TCP", "TLS", "MYSQL", "REDIS"];
            if Protocol::parse(protocol).is_none_or(|p| p == Protocol::HttpProxy) {
                let hint = match text::closest(protocol, &KNOWN) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => KNOWN.join(", "),
                };
                let message = format!("{} is not a protocol", text::quoted(protocol));
                check.error_hint(&at.key("protocol"), message, hint);
            }
        }
        if let Some(target) = port.target_port.filter(|port| *port != 0) {
            check.accept(&at.key("targetPort"), names::port(target));
            if it.resolution == Resolution::None && target != port.number {
                let message = "targetPort has no effect with resolution NONE: the client's port is kept";
                check.warn(code::SUSPICIOUS, &at.key("targetPort"), message, None);
            }
        }
    }
}

fn endpoints(it: &ServiceEntry, check: &mut Check<'_>, at: &Path<'_>) {
    let list = at.key("endpoints");
    if let Some(selector) = &it.workload_selector {
        let selector_at = at.key("workloadSelector");
        labels(&selector.labels, check, &selector_at.key("labels"));
        if !it.endpoints.is_empty() {
            check.error(&selector_at, "workloadSelector and endpoints exclude each other");
        }
    }
    match it.resolution {
        Resolution::None | Resolution::DynamicDns if !it.endpoints.is_empty() => {
            let message = format!("no endpoints may be given with resolution {}", it.resolution);
            check.error_hint(&list, message, "write resolution: STATIC (addresses) or DNS (names)");
        }
        Resolution::DnsRoundRobin if it.endpoints.len() > 1 => {
            check.error(&list, "DNS_ROUND_ROBIN takes one endpoint at most");
        }
        _ => {}
    }
    for (index, endpoint) in it.endpoints.iter().enumerate() {
        let at = list.index(index);
        workload::fields(endpoint, check, &at);
        let address = endpoint.address.as_deref().unwrap_or_default();
        let is_ip = address.parse::<std::net::IpAddr>().is_ok();
        // In another network only the way into it must be known.
        let is_remote = address.is_empty() && endpoint.network.is_some();
        match it.resolution {
            Resolution::Static if !(is_ip || is_unix(address) || is_remote) => {
                let message = format!("{} is not an address, which STATIC wants", text::quoted(address));
                check.error_hint(&at.key("address"), message, "write resolution: DNS for names");
            }
            Resolution::Dns | Resolution::DnsRoundRobin if !is_ip => {
                check.accept(&at.key("address"), names::fqdn(address));
            }
            _ => {}
        }
        if is_unix(address) && it.ports.len() != 1 {
            check.error(&at.key("address"), "a Unix socket goes with exactly one port");
        }
        let ports = at.key("ports");
        for name in endpoint.ports.keys().filter(|name| !it.ports.iter().any(|port| port.name == **name)) {
            check.error(&ports.key(name), format!("the entry has no port named {name:?}"));
        }
    }
}
