//! Sidecar: what the proxies of a namespace or of selected workloads listen to and may reach.

use super::destination_rule::ConnectionPoolSettings;
use super::tls::ServerTlsSettings;
use super::virtual_service::Destination;
use crate::Str;
use crate::decode::macros::{message, proto_enum};
use crate::labels::WorkloadSelector;

message! {
    /// Settings of sidecar proxies.
    pub struct Sidecar {
        /// Workloads; unset: all of the namespace (SC-001).
        workload_selector: Option<WorkloadSelector> = "workloadSelector";
        /// Inbound listeners; if any, they replace those that follow from services (SC-002).
        ingress: Vec<IstioIngressListener> = "ingress";
        /// Outbound listeners and what they may reach; empty: everything (SC-003).
        egress: Vec<IstioEgressListener> = "egress";
        /// Limits towards the workload (SC-004).
        inbound_connection_pool: Option<ConnectionPoolSettings> = "inboundConnectionPool";
        /// What happens to unknown destinations (SC-005).
        outbound_traffic_policy: Option<OutboundTrafficPolicy> = "outboundTrafficPolicy";
    }
}

message! {
    /// An inbound listener.
    pub struct IstioIngressListener {
        /// Port (SC-006).
        port: SidecarPort = "port" required;
        /// Address to listen at (SC-007).
        bind: Option<Str> = "bind";
        /// How traffic gets there (SC-008).
        capture_mode: CaptureMode = "captureMode";
        /// `127.0.0.1:PORT`, `0.0.0.0:PORT` or `unix:///path` (SC-009).
        default_endpoint: Option<Str> = "defaultEndpoint";
        /// TLS (SC-010).
        tls: Option<ServerTlsSettings> = "tls";
        /// Limits towards the workload (SC-011).
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool";
    }
}

message! {
    /// An outbound listener.
    pub struct IstioEgressListener {
        /// Port; one listener without, the last, takes all others (SC-012).
        port: Option<SidecarPort> = "port";
        /// Address to listen at (SC-013).
        bind: Option<Str> = "bind";
        /// How traffic gets there; NONE opens a real port (SC-014).
        capture_mode: CaptureMode = "captureMode";
        /// `namespace/dnsName`; namespace may be `*`, `.` or `~` (SC-015).
        hosts: Vec<Str> = "hosts" required;
    }
}

message! {
    /// What happens to unknown destinations.
    pub struct OutboundTrafficPolicy {
        /// Refused or let through (SC-019).
        mode: OutboundTrafficPolicyMode = "mode";
        /// Where unknown traffic goes instead (SC-020).
        egress_proxy: Option<Destination> = "egressProxy";
    }
}

proto_enum! {
    /// What happens to unknown destinations.
    pub enum OutboundTrafficPolicyMode {
        /// Refused (SC-017).
        RegistryOnly = "REGISTRY_ONLY";
        /// Let through (SC-018).
        AllowAny = "ALLOW_ANY";
    }
}

proto_enum! {
    /// How traffic gets to a listener.
    pub enum CaptureMode {
        /// As the proxy is set up (SC-021).
        Default = "DEFAULT";
        /// Redirected by the kernel (SC-022).
        Iptables = "IPTABLES";
        /// The application asks for the listener's address (SC-023).
        None = "NONE";
    }
}

message! {
    /// A port of a sidecar.
    pub struct SidecarPort {
        /// 1 to 65535 (SC-024).
        number: u32 = "number";
        /// Protocol (SC-025).
        protocol: Option<Str> = "protocol";
        /// Name (SC-026).
        name: Option<Str> = "name";
        /// Old (SC-027).
        target_port: u32 = "targetPort";
    }
}
