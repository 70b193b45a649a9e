//! WorkloadEntry and WorkloadGroup: running things that no platform knows.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::{message, oneof};
use crate::labels::Labels;

message! {
    /// One running thing: an endpoint of services that select it or list it.
    pub struct WorkloadEntry {
        /// Address, name (with DNS) or `unix:///path` (WE-001).
        address: Option<Str> = "address";
        /// Its port for a service port's name (WE-002).
        ports: BTreeMap<Str, u32> = "ports";
        /// Labels; those of the metadata win (WE-003).
        labels: Labels = "labels";
        /// Network it is in (WE-004).
        network: Option<Str> = "network";
        /// `region/zone/subzone` (WE-005).
        locality: Option<Str> = "locality";
        /// Share; unset: 1 (WE-006).
        weight: Option<u32> = "weight";
        /// Service account of its identity (WE-007).
        service_account: Option<Str> = "serviceAccount";
    }
}

message! {
    /// A template for WorkloadEntries that register themselves.
    pub struct WorkloadGroup {
        /// Labels and annotations of the entries (WG-001).
        metadata: Option<WorkloadGroupMetadata> = "metadata";
        /// The entry (WG-002).
        template: WorkloadEntry = "template" required;
        /// Health check (WG-005).
        probe: Option<ReadinessProbe> = "probe";
    }
}

message! {
    /// Labels and annotations of generated entries.
    pub struct WorkloadGroupMetadata {
        /// Labels (WG-003).
        labels: Labels = "labels";
        /// Annotations (WG-004).
        annotations: BTreeMap<Str, Str> = "annotations";
    }
}

message! {
    /// A health check.
    pub struct ReadinessProbe {
        /// Before the first check (WG-006).
        initial_delay_seconds: i32 = "initialDelaySeconds";
        /// Default 1 (WG-007).
        timeout_seconds: i32 = "timeoutSeconds";
        /// Default 10 (WG-008).
        period_seconds: i32 = "periodSeconds";
        /// Default 1 (WG-009).
        success_threshold: i32 = "successThreshold";
        /// Default 3 (WG-010).
        failure_threshold: i32 = "failureThreshold";
        /// How.
        method: Option<HealthCheckMethod> = oneof;
    }
}

oneof! {
    /// The kind of health check.
    pub enum HealthCheckMethod {
        /// HTTP (WG-011).
        HttpGet(HttpHealthCheck) = "httpGet";
        /// TCP (WG-012).
        TcpSocket(TcpHealthCheck) = "tcpSocket";
        /// A command (WG-013).
        Exec(ExecHealthCheck) = "exec";
        /// gRPC (WG-014).
        Grpc(GrpcHealthCheck) = "grpc";
    }
}

message! {
    /// A request that must succeed.
    pub struct HttpHealthCheck {
        /// Path (WG-015).
        path: Option<Str> = "path";
        /// Port (WG-016).
        port: u32 = "port" required;
        /// Host (WG-017).
        host: Option<Str> = "host";
        /// Scheme (WG-018).
        scheme: Option<Str> = "scheme";
        /// Headers (WG-019).
        http_headers: Vec<HttpHeader> = "httpHeaders";
    }
}

message! {
    /// A gRPC health check.
    pub struct GrpcHealthCheck {
        /// Port (WG-020).
        port: u32 = "port";
        /// Service (WG-021).
        service: Option<Str> = "service";
    }
}

message! {
    /// A header.
    pub struct HttpHeader {
        /// Name (WG-022).
        name: Str = "name";
        /// Value (WG-023).
        value: Str = "value";
    }
}

message! {
    /// A connection that must succeed.
    pub struct TcpHealthCheck {
        /// Host (WG-024).
        host: Option<Str> = "host";
        /// Port (WG-025).
        port: u32 = "port" required;
    }
}

message! {
    /// A command that must succeed.
    pub struct ExecHealthCheck {
        /// Words of the command (WG-026).
        command: Vec<Str> = "command" required;
    }
}
