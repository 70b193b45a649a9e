//! Extension providers of the mesh: where traces, metrics and access logs go, and who decides on requests. Those that no part
//! reads yet keep their settings as they are written.

use serde_json::Value;

use crate::Str;
use crate::decode::macros::{message, oneof};

message! {
    /// A provider.
    pub struct ExtensionProvider {
        /// Name (MC-075).
        name: Str = "name" required;
        /// Which.
        provider: Option<Provider> = oneof;
    }
}

oneof! {
    /// Kinds of provider.
    pub enum Provider {
        /// ext_authz over HTTP (MC-076).
        EnvoyExtAuthzHttp(Value) = "envoyExtAuthzHttp";
        /// ext_authz over gRPC (MC-077).
        EnvoyExtAuthzGrpc(Value) = "envoyExtAuthzGrpc";
        /// Zipkin (MC-078).
        Zipkin(Value) = "zipkin";
        /// Old (MC-079).
        Lightstep(Value) = "lightstep";
        /// Datadog (MC-080).
        Datadog(Value) = "datadog";
        /// Stackdriver (MC-081).
        Stackdriver(Value) = "stackdriver";
        /// Old (MC-082).
        Opencensus(Value) = "opencensus";
        /// SkyWalking (MC-083).
        Skywalking(Value) = "skywalking";
        /// OpenTelemetry traces (MC-084).
        Opentelemetry(Value) = "opentelemetry";
        /// Prometheus metrics (MC-085).
        Prometheus(PrometheusProvider) = "prometheus";
        /// Access log to a file (MC-086).
        EnvoyFileAccessLog(EnvoyFileAccessLogProvider) = "envoyFileAccessLog";
        /// HTTP access log by gRPC (MC-087).
        EnvoyHttpAls(Value) = "envoyHttpAls";
        /// TCP access log by gRPC (MC-088).
        EnvoyTcpAls(Value) = "envoyTcpAls";
        /// Access log by OpenTelemetry (MC-089).
        EnvoyOtelAls(Value) = "envoyOtelAls";
        /// Secrets (MC-090).
        Sds(Value) = "sds";
    }
}

message! {
    /// Prometheus metrics: no settings.
    pub struct PrometheusProvider {}
}

message! {
    /// Access log to a file.
    pub struct EnvoyFileAccessLogProvider {
        /// File (MC-150).
        path: Option<Str> = "path";
        /// Form (MC-153).
        log_format: Option<LogFormat> = "logFormat";
        /// Leave out empty values (MC-154).
        omit_empty_values: bool = "omitEmptyValues";
    }
}

message! {
    /// Form of an access log.
    pub struct LogFormat {
        /// Text or JSON.
        format: Option<LogFormatKind> = oneof;
    }
}

oneof! {
    /// Form of an access log.
    pub enum LogFormatKind {
        /// A line (MC-151).
        Text(Str) = "text";
        /// A JSON object (MC-152).
        Labels(Value) = "labels";
    }
}
