//! Ports and protocols: names, appProtocol and what follows from them (SEM-140).

use std::fmt;

/// The protocol of a port, as Istio tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// Not declared: found out by looking at the first bytes.
    #[default]
    Auto,
    /// HTTP/1.1 (HTTP/2 by prior knowledge is accepted as well).
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// An HTTP proxy (Sidecar egress only).
    HttpProxy,
    /// TLS with HTTP inside.
    Https,
    /// TLS.
    Tls,
    /// Bytes.
    Tcp,
    /// MongoDB.
    Mongo,
    /// MySQL.
    Mysql,
    /// Redis.
    Redis,
    /// HBONE.
    Hbone,
    /// Datagrams; not handled.
    Udp,
}

impl Protocol {
    /// Istio's name in upper case.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Auto => "UnsupportedProtocol",
            Protocol::Http => "HTTP",
            Protocol::Http2 => "HTTP2",
            Protocol::Grpc => "GRPC",
            Protocol::GrpcWeb => "GRPC-Web",
            Protocol::HttpProxy => "HTTP_PROXY",
            Protocol::Https => "HTTPS",
            Protocol::Tls => "TLS",
            Protocol::Tcp => "TCP",
            Protocol::Mongo => "Mongo",
            Protocol::Mysql => "MySQL",
            Protocol::Redis => "Redis",
            Protocol::Hbone => "HBONE",
            Protocol::Udp => "UDP",
        }
    }

    /// Reads a name, in any case; `None` for a name that is not known.
    pub fn parse(name: &str) -> Option<Protocol> {
        Some(match &*name.to_ascii_lowercase() {
            "http" => Protocol::Http,
            "http2" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            "grpc-web" => Protocol::GrpcWeb,
            "http_proxy" => Protocol::HttpProxy,
            "https" => Protocol::Https,
            "tls" => Protocol::Tls,
            "tcp" => Protocol::Tcp,
            "mongo" => Protocol::Mongo,
            "mysql" => Protocol::Mysql,
            "redis" => Protocol::Redis,
            "hbone" => Protocol::Hbone,
            "udp" => Protocol::Udp,
            _ => return None,
        })
    }

    /// The protocol of a Kubernetes Service port: appProtocol, else the name before the first `-`, else by number
    /// (SEM-140).
    pub fn of_service_port(name: &str, app_protocol: Option<&str>, transport: &str, number: u16) -> Protocol {
        if transport == "UDP" {
            return Protocol::Udp;
        }
        match app_protocol {
            Some("kubernetes.io/h2c") => return Protocol::Http2,
            Some("kubernetes.io/ws") => return Protocol::Http,
            Some("kubernetes.io/wss") => return Protocol::Https,
            Some(named) => {
                if let Some(protocol) = Protocol::of_name(named) {
                    return protocol;
                }
            }
            None => {}
        }
        if let Some(protocol) = Protocol::of_name(name) {
            return protocol;
        }
        match number {
            // Protocols in which the server speaks first: waiting for the client's bytes would hang them.
            25 | 53 | 3306 | 27017 => Protocol::Tcp,
            _ => Protocol::Auto,
        }
    }

    /// The protocol that a port's name says: `http`, `http-web`, `grpc-web-x`.
    pub fn of_name(name: &str) -> Option<Protocol> {
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Some(Protocol::GrpcWeb);
        }
        let prefix = lower.split('-').next().unwrap_or_default();
        Protocol::parse(prefix).filter(|protocol| *protocol != Protocol::HttpProxy)
    }

    /// Whether HTTP is spoken in the clear: routes apply.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb | Protocol::HttpProxy
        )
    }

    /// Whether it runs over HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    /// Whether it is TLS that the proxy does not open.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Tls | Protocol::Https)
    }

    /// Whether it is routed by address, not by content.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Protocol::Tcp
                | Protocol::Tls
                | Protocol::Https
                | Protocol::Mongo
                | Protocol::Mysql
                | Protocol::Redis
        )
    }

    /// Whether the first bytes decide.
    pub fn is_auto(self) -> bool {
        self == Protocol::Auto
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_ports_get_their_protocol() {
        for (name, app, transport, number, wanted) in [
            ("http", None, "TCP", 80, Protocol::Http),
            ("http-web", None, "TCP", 80, Protocol::Http),
            ("HTTP-web", None, "TCP", 80, Protocol::Http),
            ("httpweb", None, "TCP", 80, Protocol::Auto),
            ("grpc-web-x", None, "TCP", 80, Protocol::GrpcWeb),
            ("grpc-webx", None, "TCP", 80, Protocol::Grpc),
            ("", None, "TCP", 3306, Protocol::Tcp),
            ("", None, "TCP", 9080, Protocol::Auto),
            ("http", Some("tcp"), "TCP", 80, Protocol::Tcp),
            ("http", Some("kubernetes.io/h2c"), "TCP", 80, Protocol::Http2),
            ("tcp", Some("kubernetes.io/ws"), "TCP", 80, Protocol::Http),
            ("http", Some("example.com/mine"), "TCP", 80, Protocol::Http),
            ("dns", None, "UDP", 53, Protocol::Udp),
        ] {
            assert_eq!(Protocol::of_service_port(name, app, transport, number), wanted, "{name} {app:?}");
        }
    }
}
