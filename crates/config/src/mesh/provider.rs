//! Extension providers of the mesh: where traces, metrics and access logs go, and who decides on requests. The old ones
//! (lightstep, opencensus, stackdriver) keep their settings as they are written.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::duration::Duration;

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
        EnvoyExtAuthzHttp(ExtAuthzHttp) = "envoyExtAuthzHttp";
        /// ext_authz over gRPC (MC-077).
        EnvoyExtAuthzGrpc(ExtAuthzGrpc) = "envoyExtAuthzGrpc";
        /// Zipkin (MC-078).
        Zipkin(ZipkinTracing) = "zipkin";
        /// Old (MC-079).
        Lightstep(Value) = "lightstep";
        /// Datadog (MC-080).
        Datadog(ServiceTracing) = "datadog";
        /// Stackdriver (MC-081).
        Stackdriver(Value) = "stackdriver";
        /// Old (MC-082).
        Opencensus(Value) = "opencensus";
        /// SkyWalking (MC-083).
        Skywalking(SkyWalkingTracing) = "skywalking";
        /// OpenTelemetry traces (MC-084).
        Opentelemetry(OpenTelemetryTracing) = "opentelemetry";
        /// Prometheus metrics (MC-085).
        Prometheus(PrometheusProvider) = "prometheus";
        /// Access log to a file (MC-086).
        EnvoyFileAccessLog(EnvoyFileAccessLogProvider) = "envoyFileAccessLog";
        /// HTTP access log by gRPC (MC-087).
        EnvoyHttpAls(HttpGrpcLog) = "envoyHttpAls";
        /// TCP access log by gRPC (MC-088).
        EnvoyTcpAls(TcpGrpcLog) = "envoyTcpAls";
        /// Access log by OpenTelemetry (MC-089).
        EnvoyOtelAls(OtelLog) = "envoyOtelAls";
        /// Secrets (MC-090).
        Sds(SdsProvider) = "sds";
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

message! {
    /// ext_authz over HTTP.
    pub struct ExtAuthzHttp {
        /// Host of the service, `[ns/]host` (MC-094).
        service: Str = "service" required;
        /// Port (MC-095).
        port: u32 = "port" required;
        /// Default 600s (MC-096).
        timeout: Option<Duration> = "timeout";
        /// Before the path of the request (MC-097).
        path_prefix: Option<Str> = "pathPrefix";
        /// Allow when the service does not answer (MC-098).
        fail_open: bool = "failOpen";
        /// Choose the route again afterwards (MC-099).
        clear_route_cache: bool = "clearRouteCache";
        /// When the service does not answer; default 403 (MC-100).
        status_on_error: Option<Str> = "statusOnError";
        /// Old (MC-101).
        include_headers_in_check: Vec<Str> = "includeHeadersInCheck";
        /// Headers to send along (MC-102).
        include_request_headers_in_check: Vec<Str> = "includeRequestHeadersInCheck";
        /// More headers to send (MC-103).
        include_additional_headers_in_check: BTreeMap<Str, Str> = "includeAdditionalHeadersInCheck";
        /// Whether to send the body (MC-104).
        include_request_body_in_check: Option<ExtAuthzBody> = "includeRequestBodyInCheck";
        /// Headers of the answer to send upstream (MC-105).
        headers_to_upstream_on_allow: Vec<Str> = "headersToUpstreamOnAllow";
        /// Headers of the answer to send back when denied (MC-106).
        headers_to_downstream_on_deny: Vec<Str> = "headersToDownstreamOnDeny";
        /// Headers of the answer to send back when allowed (MC-107).
        headers_to_downstream_on_allow: Vec<Str> = "headersToDownstreamOnAllow";
    }
}

message! {
    /// ext_authz over gRPC.
    pub struct ExtAuthzGrpc {
        /// Host of the service, `[ns/]host` (MC-108).
        service: Str = "service" required;
        /// Port (MC-109).
        port: u32 = "port" required;
        /// Default 600s (MC-110).
        timeout: Option<Duration> = "timeout";
        /// Allow when the service does not answer (MC-111).
        fail_open: bool = "failOpen";
        /// Choose the route again afterwards (MC-112).
        clear_route_cache: bool = "clearRouteCache";
        /// When the service does not answer; default 403 (MC-113).
        status_on_error: Option<Str> = "statusOnError";
        /// Whether to send the body (MC-114).
        include_request_body_in_check: Option<ExtAuthzBody> = "includeRequestBodyInCheck";
    }
}

message! {
    /// How much of the body is sent.
    pub struct ExtAuthzBody {
        /// Bytes (MC-091).
        max_request_bytes: u32 = "maxRequestBytes";
        /// Whether a part will do (MC-092).
        allow_partial_message: bool = "allowPartialMessage";
        /// As bytes, not as text (MC-093).
        pack_as_bytes: bool = "packAsBytes";
    }
}

message! {
    /// Zipkin.
    pub struct ZipkinTracing {
        /// Host of the service (MC-117).
        service: Str = "service" required;
        /// Port (MC-118).
        port: u32 = "port" required;
        /// Longest tag; default 256 (MC-119).
        max_tag_length: Option<u32> = "maxTagLength";
        /// Ids of 64 bits (MC-120).
        enable_64bit_trace_id: bool = "enable64bitTraceId";
        /// Default `/api/v2/spans` (MC-121).
        path: Option<Str> = "path";
        /// Headers that are sent on (MC-122).
        trace_context_option: TraceContextOption = "traceContextOption";
        /// For a report (MC-123).
        timeout: Option<Duration> = "timeout";
        /// More headers (MC-124).
        headers: Vec<ProviderHeader> = "headers";
    }
}

proto_enum! {
    /// Headers that carry a trace.
    pub enum TraceContextOption {
        /// B3 (MC-115).
        UseB3 = "USE_B3";
        /// B3 and W3C (MC-116).
        UseB3WithW3c = "USE_B3_WITH_W3C_PROPAGATION";
    }
}

message! {
    /// A tracing service without more settings.
    pub struct ServiceTracing {
        /// Host of the service (MC-129).
        service: Str = "service" required;
        /// Port (MC-130).
        port: u32 = "port" required;
        /// Longest tag; default 256 (MC-131).
        max_tag_length: Option<u32> = "maxTagLength";
    }
}

message! {
    /// SkyWalking.
    pub struct SkyWalkingTracing {
        /// Host of the service (MC-132).
        service: Str = "service" required;
        /// Port (MC-133).
        port: u32 = "port" required;
        /// Token (MC-134).
        access_token: Option<Str> = "accessToken";
    }
}

message! {
    /// OpenTelemetry traces.
    pub struct OpenTelemetryTracing {
        /// Host of the service (MC-174).
        service: Str = "service" required;
        /// Port (MC-175).
        port: u32 = "port" required;
        /// Longest tag (MC-176).
        max_tag_length: Option<u32> = "maxTagLength";
        /// Over HTTP (MC-177).
        http: Option<HttpService> = "http";
        /// Over gRPC (MC-178).
        grpc: Option<GrpcService> = "grpc";
        /// Where attributes of the resource come from (MC-179).
        resource_detectors: Option<ResourceDetectors> = "resourceDetectors";
        /// Attributes of the service (MC-180).
        service_attribute_enrichment: ServiceAttributeEnrichment = "serviceAttributeEnrichment";
        /// Which requests.
        sampling: Option<OtelSampling> = oneof;
    }
}

oneof! {
    /// Which requests are traced.
    pub enum OtelSampling {
        /// As Dynatrace says (MC-181).
        DynatraceSampler(DynatraceSampler) = "dynatraceSampler";
    }
}

message! {
    /// Dynatrace's sampler.
    pub struct DynatraceSampler {
        /// Tenant (MC-182).
        tenant: Str = "tenant" required;
        /// Cluster (MC-183).
        cluster_id: i32 = "clusterId" required;
        /// Default 1000 (MC-184).
        root_spans_per_minute: Option<u32> = "rootSpansPerMinute";
        /// Its API (MC-185).
        http_service: Option<DynatraceApi> = "httpService";
    }
}

message! {
    /// Dynatrace's API.
    pub struct DynatraceApi {
        /// Host of the service (MC-186).
        service: Str = "service" required;
        /// Port (MC-187).
        port: u32 = "port" required;
        /// HTTP (MC-188).
        http: Option<HttpService> = "http" required;
    }
}

proto_enum! {
    /// Attributes of a service in traces.
    pub enum ServiceAttributeEnrichment {
        /// None.
        Unspecified = "UNSPECIFIED";
        /// Istio's names (MC-172).
        IstioCanonical = "ISTIO_CANONICAL";
        /// OpenTelemetry's names (MC-173).
        OtelSemanticConventions = "OTEL_SEMANTIC_CONVENTIONS";
    }
}

message! {
    /// An HTTP service.
    pub struct HttpService {
        /// Path (MC-192).
        path: Option<Str> = "path";
        /// For a report (MC-193).
        timeout: Option<Duration> = "timeout";
        /// More headers (MC-194).
        headers: Vec<ProviderHeader> = "headers";
    }
}

message! {
    /// A gRPC service.
    pub struct GrpcService {
        /// For a report (MC-200).
        timeout: Option<Duration> = "timeout";
        /// Metadata (MC-201).
        initial_metadata: Vec<ProviderHeader> = "initialMetadata";
    }
}

message! {
    /// A header.
    pub struct ProviderHeader {
        /// Name (MC-195).
        name: Str = "name" required;
        /// Value.
        value: Option<ProviderHeaderValue> = oneof;
    }
}

oneof! {
    /// Value of a header.
    pub enum ProviderHeaderValue {
        /// This (MC-196).
        Value(Str) = "value";
        /// From the proxy's environment (MC-197).
        EnvName(Str) = "envName";
    }
}

message! {
    /// Where attributes of the resource come from.
    pub struct ResourceDetectors {
        /// The environment (MC-198).
        environment: Option<Empty> = "environment";
        /// Dynatrace (MC-199).
        dynatrace: Option<Empty> = "dynatrace";
    }
}

message! {
    /// A setting that is only there or not.
    pub struct Empty {}
}

message! {
    /// HTTP access log by gRPC.
    pub struct HttpGrpcLog {
        /// Host of the service (MC-155).
        service: Str = "service" required;
        /// Port (MC-156).
        port: u32 = "port" required;
        /// Name (MC-157).
        log_name: Option<Str> = "logName";
        /// More of the state (MC-158).
        filter_state_objects_to_log: Vec<Str> = "filterStateObjectsToLog";
        /// More request headers (MC-159).
        additional_request_headers_to_log: Vec<Str> = "additionalRequestHeadersToLog";
        /// More response headers (MC-160).
        additional_response_headers_to_log: Vec<Str> = "additionalResponseHeadersToLog";
        /// More trailers (MC-161).
        additional_response_trailers_to_log: Vec<Str> = "additionalResponseTrailersToLog";
    }
}

message! {
    /// TCP access log by gRPC.
    pub struct TcpGrpcLog {
        /// Host of the service (MC-162).
        service: Str = "service" required;
        /// Port (MC-163).
        port: u32 = "port" required;
        /// Name (MC-164).
        log_name: Option<Str> = "logName";
        /// More of the state (MC-165).
        filter_state_objects_to_log: Vec<Str> = "filterStateObjectsToLog";
    }
}

message! {
    /// Access log by OpenTelemetry.
    pub struct OtelLog {
        /// Host of the service (MC-166).
        service: Str = "service" required;
        /// Port (MC-167).
        port: u32 = "port" required;
        /// Name (MC-168).
        log_name: Option<Str> = "logName";
        /// Form (MC-169).
        log_format: Option<OtelLogFormat> = "logFormat";
    }
}

message! {
    /// Form of an access log by OpenTelemetry.
    pub struct OtelLogFormat {
        /// The body (MC-170).
        text: Option<Str> = "text";
        /// The attributes (MC-171).
        labels: Option<Value> = "labels";
    }
}

message! {
    /// Secrets over SDS.
    pub struct SdsProvider {
        /// Name (MC-189).
        name: Str = "name" required;
        /// Host of the service (MC-190).
        service: Str = "service" required;
        /// Port (MC-191).
        port: u32 = "port" required;
    }
}
