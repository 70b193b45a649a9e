//! Sidecar: listeners and what they may reach.

use super::gateway::{is_bind, is_unix};
use super::virtual_service::labels;
use super::{Check, Path, names};
use crate::Protocol;
use crate::networking::Sidecar;
use crate::networking::sidecar::{CaptureMode, IstioEgressListener, SidecarPort};
use crate::text;

pub(super) fn check(it: &Sidecar, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(selector) = &it.workload_selector {
        let selector_at = at.key("workloadSelector");
        labels(&selector.labels, check, &selector_at.key("labels"));
    }
    ingress(it, check, &at.key("ingress"));
    egress(it, check, &at.key("egress"));
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
