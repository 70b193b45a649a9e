//! Gateway: ports that a gateway proxy opens and the hosts it serves there.

use super::tls::ServerTlsSettings;
use crate::Str;
use crate::decode::macros::message;
use crate::labels::Labels;

message! {
    /// Servers of the gateway proxies that a selector picks.
    pub struct Gateway {
        /// Ports and hosts (GW-001).
        servers: Vec<Server> = "servers";
        /// Labels of the proxies, in any namespace (GW-002).
        selector: Labels = "selector";
    }
}

message! {
    /// A port and its hosts.
    pub struct Server {
        /// Port (GW-003).
        port: Port = "port" required;
        /// Address to listen at; unset: all (GW-004).
        bind: Option<Str> = "bind";
        /// `[ns/]dnsName`; the name may lead with `*` (GW-005).
        hosts: Vec<Str> = "hosts" required;
        /// TLS (GW-006).
        tls: Option<ServerTlsSettings> = "tls";
        /// In the API, never implemented (GW-007).
        default_endpoint: Option<Str> = "defaultEndpoint";
        /// Name (GW-008).
        name: Option<Str> = "name";
    }
}

message! {
    /// A port of a server.
    pub struct Port {
        /// 1 to 65535 (GW-009).
        number: u32 = "number" required;
        /// HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS (GW-010).
        protocol: Str = "protocol" required;
        /// Name (GW-011).
        name: Str = "name" required;
        /// Old (GW-012).
        target_port: u32 = "targetPort";
    }
}
