//! Telemetry of `telemetry.istio.io`: traces, metrics and access logs of workloads.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::duration::Duration;
use crate::labels::TypeSelector;
use crate::security::PolicyTargetReference;

message! {
    /// What workloads report.
    pub struct Telemetry {
        /// Workloads; unset: all of the namespace (TL-001).
        selector: Option<TypeSelector> = "selector";
        /// Old form of `targetRefs` (TL-002).
        target_ref: Option<PolicyTargetReference> = "targetRef";
        /// Resources it is attached to (TL-003).
        target_refs: Vec<PolicyTargetReference> = "targetRefs";
        /// Traces (TL-004).
        tracing: Vec<Tracing> = "tracing";
        /// Metrics (TL-005).
        metrics: Vec<Metrics> = "metrics";
        /// Access logs (TL-006).
        access_logging: Vec<AccessLogging> = "accessLogging";
    }
}

proto_enum! {
    /// Which side of a call.
    pub enum WorkloadMode {
        /// As CLIENT_AND_SERVER where it is not given.
        Undefined = "UNDEFINED";
        /// Outbound (TL-031).
        Client = "CLIENT";
        /// Inbound (TL-032).
        Server = "SERVER";
        /// Both (TL-030).
        ClientAndServer = "CLIENT_AND_SERVER";
    }
}

message! {
    /// A provider of the mesh's settings.
    pub struct ProviderRef {
        /// Name (TL-026).
        name: Str = "name" required;
    }
}

message! {
    /// Which side of a call.
    pub struct ModeSelector {
        /// Side (TL-007, TL-054).
        mode: WorkloadMode = "mode";
    }
}

message! {
    /// Traces.
    pub struct Tracing {
        /// For which traffic (TL-008).
        matches: Option<ModeSelector> = "match";
        /// Where to (TL-009).
        providers: Vec<ProviderRef> = "providers";
        /// Share of requests, 0 to 100 (TL-010).
        random_sampling_percentage: Option<f64> = "randomSamplingPercentage";
        /// Whether spans are not reported (TL-011).
        disable_span_reporting: Option<bool> = "disableSpanReporting";
        /// Tags (TL-022).
        custom_tags: BTreeMap<Str, CustomTag> = "customTags";
        /// Whether the request id carries the decision (TL-023).
        use_request_id_for_trace_sampling: Option<bool> = "useRequestIdForTraceSampling";
        /// Whether Istio's tags are added (TL-024).
        enable_istio_tags: Option<bool> = "enableIstioTags";
        /// Whether headers are not sent on (TL-025).
        disable_context_propagation: Option<bool> = "disableContextPropagation";
    }
}

message! {
    /// A tag of a span.
    pub struct CustomTag {
        /// Where its value comes from.
        value: Option<CustomTagType> = oneof;
    }
}

oneof! {
    /// Where a tag's value comes from.
    pub enum CustomTagType {
        /// Fixed (TL-012).
        Literal(LiteralTag) = "literal";
        /// The proxy's environment (TL-013).
        Environment(NamedTag) = "environment";
        /// A request header (TL-014).
        Header(NamedTag) = "header";
        /// A format of the access log (TL-015).
        Formatter(LiteralTag) = "formatter";
    }
}

message! {
    /// A value.
    pub struct LiteralTag {
        /// Value (TL-016, TL-021).
        value: Str = "value" required;
    }
}

message! {
    /// A value by name.
    pub struct NamedTag {
        /// Name (TL-017, TL-019).
        name: Str = "name" required;
        /// If there is none (TL-018, TL-020).
        default_value: Option<Str> = "defaultValue";
    }
}

message! {
    /// Metrics.
    pub struct Metrics {
        /// Where to (TL-027).
        providers: Vec<ProviderRef> = "providers";
        /// Changes (TL-028).
        overrides: Vec<MetricsOverrides> = "overrides";
        /// Between reports (TL-029).
        reporting_interval: Option<Duration> = "reportingInterval";
    }
}

message! {
    /// A change of metrics.
    pub struct MetricsOverrides {
        /// Which (TL-047).
        matches: Option<MetricSelector> = "match";
        /// Off (TL-048).
        disabled: Option<bool> = "disabled";
        /// Changes of labels (TL-053).
        tag_overrides: BTreeMap<Str, TagOverride> = "tagOverrides";
    }
}

message! {
    /// Metrics.
    pub struct MetricSelector {
        /// Which.
        metric: Option<MetricMatch> = oneof;
        /// Side (TL-046).
        mode: WorkloadMode = "mode";
    }
}

oneof! {
    /// A metric.
    pub enum MetricMatch {
        /// One of Istio's (TL-044).
        Metric(IstioMetric) = "metric";
        /// Another (TL-045).
        CustomMetric(Str) = "customMetric";
    }
}

proto_enum! {
    /// Istio's metrics.
    pub enum IstioMetric {
        /// All (TL-033).
        AllMetrics = "ALL_METRICS";
        /// `requests_total` (TL-034).
        RequestCount = "REQUEST_COUNT";
        /// `request_duration_milliseconds` (TL-035).
        RequestDuration = "REQUEST_DURATION";
        /// `request_bytes` (TL-036).
        RequestSize = "REQUEST_SIZE";
        /// `response_bytes` (TL-037).
        ResponseSize = "RESPONSE_SIZE";
        /// `tcp_connections_opened_total` (TL-038).
        TcpOpenedConnections = "TCP_OPENED_CONNECTIONS";
        /// `tcp_connections_closed_total` (TL-039).
        TcpClosedConnections = "TCP_CLOSED_CONNECTIONS";
        /// `tcp_sent_bytes_total` (TL-040).
        TcpSentBytes = "TCP_SENT_BYTES";
        /// `tcp_received_bytes_total` (TL-041).
        TcpReceivedBytes = "TCP_RECEIVED_BYTES";
        /// `request_messages_total` (TL-042).
        GrpcRequestMessages = "GRPC_REQUEST_MESSAGES";
        /// `response_messages_total` (TL-043).
        GrpcResponseMessages = "GRPC_RESPONSE_MESSAGES";
    }
}

message! {
    /// A change of a label.
    pub struct TagOverride {
        /// How (TL-051).
        operation: TagOperation = "operation";
        /// CEL expression (TL-052).
        value: Option<Str> = "value";
    }
}

proto_enum! {
    /// How a label changes.
    pub enum TagOperation {
        /// Added or replaced (TL-049).
        Upsert = "UPSERT";
        /// Removed (TL-050).
        Remove = "REMOVE";
    }
}

message! {
    /// Access logs.
    pub struct AccessLogging {
        /// For which traffic (TL-055).
        matches: Option<ModeSelector> = "match";
        /// Where to (TL-056).
        providers: Vec<ProviderRef> = "providers";
        /// Off (TL-057).
        disabled: Option<bool> = "disabled";
        /// For which requests (TL-059).
        filter: Option<AccessLogFilter> = "filter";
    }
}

message! {
    /// A condition for a line in the log.
    pub struct AccessLogFilter {
        /// CEL expression (TL-058).
        expression: Option<Str> = "expression";
    }
}
