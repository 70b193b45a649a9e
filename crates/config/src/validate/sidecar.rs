//! Sidecar: listeners and what they may reach.

use super::destination_rule::connection_pool;
use super::gateway::{is_bind, is_unix};
use super::virtual_service::labels;
use super::{Check, Path, names, tls};
use crate::Protocol;
use crate::networking::Sidecar;
use crate::networking::sidecar::{
    CaptureMode, IstioEgressListener, OutboundTrafficPolicy, OutboundTrafficPolicyMode, SidecarPort,
};
use crate::text;

pub(super) fn check(it: &Sidecar, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(selector) = &it.workload_selector {
        let selector_at = at.key("workloadSelector");
        labels(&selector.labels, check, &selector_at.key("labels"));
    }
    ingress(it, check, &at.key("ingress"));
    egress(it, check, &at.key("egress"));
    if let Some(pool) = &it.inbound_connection_pool {
        connection_pool(pool, check, &at.key("inboundConnectionPool"));
    }
    if let Some(policy) = &it.outbound_traffic_policy {
        outbound(policy, check, &at.key("outboundTrafficPolicy"));
    }
}

/// What happens to unknown destinations: a proxy for them goes with ALLOW_ANY, and is a host with a port.
fn outbound(it: &OutboundTrafficPolicy, check: &mut Check<'_>, at: &Path<'_>) {
    let Some(proxy) = &it.egress_proxy else { return };
    let at = at.key("egressProxy");
    // Unset means REGISTRY_ONLY, as in Istio.
    if it.mode != OutboundTrafficPolicyMode::AllowAny {
        check.error_hint(&at, format!("egressProxy has no use with {}", it.mode), "write mode: ALLOW_ANY");
    }
    check.accept(&at.key("host"), names::fqdn(&proxy.host));
    match &proxy.port {
        Some(port) => {
            let port_at = at.key("port");
            check.accept(&port_at.key("number"), names::port(port.number));
        }
        None => check.error(&at.key("port"), "`port` is missing"),
    }
    if let Some(subset) = &proxy.subset {
        check.accept(&at.key("subset"), names::subset(subset));
    }
}

fn ingress(it: &Sidecar, check: &mut Check<'_>, at: &Path<'_>) {
    for (index, listener) in it.ingress.iter().enumerate() {
        let at = at.index(index);
        port(&listener.port, check, &at.key("port"));
        bind(listener.bind.as_deref(), check, &at);
        let same = |other: &&crate::networking::sidecar::IstioIngressListener| {
            other.port.number == listener.port.number
        };
        if it.ingress[..index].iter().any(|other| same(&other)) {
            check.error(&at.key("port"), format!("port {} is given twice", listener.port.number));
        }
        if let Some(settings) = &listener.tls {
            let at = at.key("tls");
            tls::server(settings, check, &at);
            if settings.https_redirect {
                check.error(&at.key("httpsRedirect"), "httpsRedirect is for gateways");
            }
        }
        if let Some(pool) = &listener.connection_pool {
            connection_pool(pool, check, &at.key("connectionPool"));
        }
        if let Some(endpoint) =
            listener.default_endpoint.as_deref().filter(|endpoint| !is_default_endpoint(endpoint))
        {
            let message = format!("{} is not an endpoint of the workload", text::quoted(endpoint));
            let hint = "127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///path";
            check.error_hint(&at.key("defaultEndpoint"), message, hint);
        }
    }
}

fn is_default_endpoint(endpoint: &str) -> bool {
    let port =
        ["127.0.0.1:", "0.0.0.0:", "[::1]:", "[::]:"].iter().find_map(|prefix| endpoint.strip_prefix(prefix));
    is_unix(endpoint) || port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn egress(it: &Sidecar, check: &mut Check<'_>, at: &Path<'_>) {
    for (index, listener) in it.egress.iter().enumerate() {
        let at = at.index(index);
        match &listener.port {
            Some(port) if port.number == 0 => unix_port(port, listener, check, &at),
            Some(port) => {
                self::port(port, check, &at.key("port"));
                let same = |other: &IstioEgressListener| {
                    other.bind == listener.bind
                        && other.port.as_ref().is_some_and(|other| other.number == port.number)
                };
                if it.egress[..index].iter().any(same) {
                    check.error(&at.key("port"), format!("port {} is given twice", port.number));
                }
                if listener.bind.as_deref().is_some_and(is_unix) {
                    check.error_hint(&at.key("port"), "a Unix socket has no port", "number: 0");
                }
            }
            None if index + 1 < it.egress.len() => {
                let message = "a listener without port takes all that is left: it must be the last";
                check.error(&at, message);
            }
            None => {}
        }
        bind(listener.bind.as_deref(), check, &at);
        let hosts = at.key("hosts");
        if listener.hosts.is_empty() {
            check.error(&hosts, "at least one host is needed");
        }
        for (number, host) in listener.hosts.iter().enumerate() {
            check.accept(&hosts.index(number), names::scoped_host(host, true));
        }
    }
}

/// A port that is a Unix socket.
fn unix_port(it: &SidecarPort, listener: &IstioEgressListener, check: &mut Check<'_>, at: &Path<'_>) {
    if !listener.bind.as_deref().is_some_and(is_unix) {
        let hint = "only with bind: unix:///path";
        check.error_hint(&at.key("port").key("number"), "port 0 is for Unix sockets", hint);
    }
    if listener.capture_mode == CaptureMode::Iptables {
        check.error(&at.key("captureMode"), "nothing is redirected to a Unix socket");
    }
    protocol(it, check, &at.key("port"));
}

fn port(it: &SidecarPort, check: &mut Check<'_>, at: &Path<'_>) {
    check.accept(&at.key("number"), names::port(it.number));
    protocol(it, check, at);
}

fn protocol(it: &SidecarPort, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(protocol) = it.protocol.as_deref().filter(|name| Protocol::parse(name).is_none()) {
        let message = format!("{} is not a protocol", text::quoted(protocol));
        check.error(&at.key("protocol"), message);
    }
}

fn bind(bind: Option<&str>, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(bind) = bind.filter(|bind| !is_bind(bind)) {
        check.error_hint(
            &at.key("bind"),
            format!("{} is not an address", text::quoted(bind)),
            "an IP or unix:///path",
        );
    }
}
