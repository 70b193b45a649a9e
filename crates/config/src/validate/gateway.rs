//! Gateway: servers, their ports, hosts and TLS.

use super::virtual_service::labels;
use super::{Check, Path, code, names, tls};
use crate::networking::Gateway;
use crate::networking::gateway::Server;
use crate::networking::tls::ServerTlsMode;
use crate::{Protocol, text};

const PROTOCOLS: [&str; 10] =
    ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS", "MYSQL", "REDIS"];

pub(super) fn check(it: &Gateway, check: &mut Check<'_>, at: &Path<'_>) {
    let servers = at.key("servers");
    if it.servers.is_empty() {
        check.error(&servers, "at least one server is needed");
    }
    for (index, server) in it.servers.iter().enumerate() {
        let at = servers.index(index);
        self::server(server, check, &at);
        let name = &server.port.name;
        if !name.is_empty() && it.servers[..index].iter().any(|other| other.port.name == *name) {
            let port = at.key("port");
            check.error_hint(
                &port.key("name"),
                format!("port name {name:?} is given twice"),
                "names must differ",
            );
        }
    }
    labels(&it.selector, check, &at.key("selector"));
    if it.selector.is_empty() {
        let message = "without a selector every proxy of the mesh would be this gateway";
        check.warn(
            code::SUSPICIOUS,
            &at.key("selector"),
            message,
            Some("such as selector: {istio: ingressgateway}".into()),
        );
    }
}

fn server(it: &Server, check: &mut Check<'_>, at: &Path<'_>) {
    let port = at.key("port");
    if it.port.number != 0 || check.is_given(&port.key("number")) {
        check.accept(&port.key("number"), names::port(it.port.number));
    }
    let protocol =
        Protocol::parse(&it.port.protocol).filter(|p| !matches!(p, Protocol::Udp | Protocol::HttpProxy));
    if protocol.is_none() && !it.port.protocol.is_empty() {
        let hint = match text::closest(&it.port.protocol, &PROTOCOLS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => PROTOCOLS.join(", "),
        };
        let message = format!("{} is not a protocol of gateways", text::quoted(&it.port.protocol));
        check.error_hint(&port.key("protocol"), message, hint);
    }
    if it.hosts.is_empty() {
        check.error(&at.key("hosts"), "at least one host is needed");
    }
    let hosts = at.key("hosts");
    for (index, host) in it.hosts.iter().enumerate() {
        check.accept(&hosts.index(index), names::scoped_host(host, false));
    }
    if let Some(bind) = it.bind.as_deref().filter(|bind| !is_bind(bind)) {
        check.error_hint(
            &at.key("bind"),
            format!("{} is not an address", text::quoted(bind)),
            "an IP or unix:///path",
        );
    }
    tls_of(it, protocol, check, at);
}

/// An address or a Unix socket.
pub(super) fn is_bind(bind: &str) -> bool {
    bind.parse::<std::net::IpAddr>().is_ok() || is_unix(bind)
}

/// A Unix socket: a path or an abstract name.
pub(super) fn is_unix(address: &str) -> bool {
    address
        .strip_prefix("unix://")
        .is_some_and(|path| path.starts_with(['/', '@']) && path.len() > 1 && !path.ends_with('/'))
}

fn tls_of(it: &Server, protocol: Option<Protocol>, check: &mut Check<'_>, at: &Path<'_>) {
    let is_tls = protocol.is_some_and(Protocol::is_tls);
    match &it.tls {
        None if is_tls => {
            check.error(at, format!("protocol {} needs TLS settings (tls)", it.port.protocol));
        }
        Some(settings) if is_tls => {
            let at = at.key("tls");
            tls::server(settings, check, &at);
            if settings.https_redirect {
                check.error_hint(
                    &at.key("httpsRedirect"),
                    "httpsRedirect is for plain HTTP ports",
                    "put it on the HTTP server",
                );
            }
        }
        Some(settings) if protocol.is_some_and(Protocol::is_http) => {
            let redirect_only = settings.https_redirect && settings.mode == ServerTlsMode::default();
            if !redirect_only {
                let message =
                    format!("protocol {} takes no TLS settings but httpsRedirect", it.port.protocol);
                check.error_hint(&at.key("tls"), message, "write protocol: HTTPS or TLS");
            }
        }
        // Without a protocol nobody can say.
        Some(_) if protocol.is_some() => {
            let message = format!("protocol {} takes no TLS settings", it.port.protocol);
            check.error_hint(&at.key("tls"), message, "write protocol: TLS or HTTPS");
        }
        _ => {}
    }
}
