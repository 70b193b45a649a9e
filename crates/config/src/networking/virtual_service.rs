//! VirtualService: how requests to hosts are matched, changed and sent on.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::duration::Duration;
use crate::host::Host;
use crate::labels::Labels;

mod grpc_status;
mod string_match;

pub use self::grpc_status::grpc_status;
pub use string_match::StringMatch;

message! {
    /// Routing rules for hosts, at sidecars (`mesh`) and gateways.
    pub struct VirtualService {
        /// Hosts the rules are for; short names belong to this object's namespace; `*` only at gateways (VS-001).
        hosts: Vec<Host> = "hosts";
        /// Gateways (`name`, `ns/name`) and `mesh`, all sidecars; empty means `["mesh"]` (VS-002).
        gateways: Vec<Str> = "gateways";
        /// Rules for HTTP ports; the first that matches wins (VS-003).
        http: Vec<HttpRoute> = "http";
        /// Rules for TLS that is passed through (VS-004).
        tls: Vec<TlsRoute> = "tls";
        /// Rules for TCP ports (VS-005).
        tcp: Vec<TcpRoute> = "tcp";
        /// Who sees it: `*`, `.`, `~` or namespaces; empty means the mesh's default (VS-006).
        export_to: Vec<Str> = "exportTo";
    }
}

message! {
    /// A service, one of its subsets, one of its ports.
    pub struct Destination {
        /// Host in the registry; a short name belongs to this object's namespace (VS-007).
        host: Host = "host" required;
        /// Subset of a DestinationRule (VS-008).
        subset: Option<Str> = "subset";
        /// Port of the service; may be left out if it has one only (VS-009).
        port: Option<PortSelector> = "port";
    }
}

message! {
    /// A port by number.
    pub struct PortSelector {
        /// 1 to 65535 (VS-117).
        number: u32 = "number";
    }
}

message! {
    /// A rule for HTTP requests.
    pub struct HttpRoute {
        /// Shown in access logs (VS-010).
        name: Option<Str> = "name";
        /// Any of these; empty takes every request (VS-011).
        matches: Vec<HttpMatchRequest> = "match";
        /// Destinations with weights (VS-012).
        route: Vec<HttpRouteDestination> = "route";
        /// Answer with a redirect (VS-013).
        redirect: Option<HttpRedirect> = "redirect";
        /// Answer with a fixed response (VS-014).
        direct_response: Option<HttpDirectResponse> = "directResponse";
        /// Take the rules of another VirtualService (VS-015).
        delegate: Option<Delegate> = "delegate";
        /// Change path and authority (VS-016).
        rewrite: Option<HttpRewrite> = "rewrite";
        /// For the whole response; unset or 0: none (VS-017).
        timeout: Option<Duration> = "timeout";
        /// Try again after failures; unset: the mesh's default of 2 attempts (VS-018).
        retries: Option<HttpRetry> = "retries";
        /// Faults to inject (VS-019).
        fault: Option<HttpFaultInjection> = "fault";
        /// Send a copy elsewhere, ignoring the answer (VS-020).
        mirror: Option<Destination> = "mirror";
        /// Send copies to several places (VS-021).
        mirrors: Vec<HttpMirrorPolicy> = "mirrors";
        /// Old form of `mirrorPercentage` (VS-022).
        mirror_percent: Option<u32> = "mirrorPercent";
        /// Share of requests to mirror; unset: all (VS-023).
        mirror_percentage: Option<Percent> = "mirrorPercentage";
        /// Cross-origin rules (VS-024).
        cors_policy: Option<CorsPolicy> = "corsPolicy";
        /// Headers to set, add and remove (VS-025).
        headers: Option<Headers> = "headers";
    }
}

message! {
    /// The VirtualService that holds the rules.
    pub struct Delegate {
        /// Name (VS-026).
        name: Str = "name";
        /// Namespace; empty: that of the root (VS-027).
        namespace: Option<Str> = "namespace";
    }
}

message! {
    /// Header changes of both directions.
    pub struct Headers {
        /// Before the request goes on (VS-028).
        request: Option<HeaderOperations> = "request";
        /// Before the response goes back (VS-029).
        response: Option<HeaderOperations> = "response";
    }
}

message! {
    /// Header changes: set, then add, then remove.
    pub struct HeaderOperations {
        /// Replace; `:authority` or `host` here changes the authority (VS-030).
        set: BTreeMap<Str, Str> = "set";
        /// Append (VS-031).
        add: BTreeMap<Str, Str> = "add";
        /// Drop (VS-032).
        remove: Vec<Str> = "remove";
    }
}

message! {
    /// A rule for TLS that is not opened.
    pub struct TlsRoute {
        /// Any of these (VS-033).
        matches: Vec<TlsMatchAttributes> = "match" required;
        /// Destinations with weights (VS-034).
        route: Vec<RouteDestination> = "route";
    }
}

message! {
    /// A rule for TCP connections.
    pub struct TcpRoute {
        /// Any of these; empty takes every connection (VS-035).
        matches: Vec<L4MatchAttributes> = "match";
        /// Destinations with weights (VS-036).
        route: Vec<RouteDestination> = "route";
    }
}

message! {
    /// Conditions on a request; all must hold.
    pub struct HttpMatchRequest {
        /// Added to the route's name in access logs (VS-037).
        name: Option<Str> = "name";
        /// Path without query; a prefix need not end at a segment (VS-038).
        uri: Option<StringMatch> = "uri";
        /// `http` or `https` (VS-039).
        scheme: Option<StringMatch> = "scheme";
        /// Method (VS-040).
        method: Option<StringMatch> = "method";
        /// Authority (VS-041).
        authority: Option<StringMatch> = "authority";
        /// Headers by lower-case name; an empty match asks for presence (VS-042).
        headers: BTreeMap<Str, StringMatch> = "headers";
        /// Port of the listener (VS-043).
        port: Option<u32> = "port";
        /// Labels of the client's workload (VS-044).
        source_labels: Labels = "sourceLabels";
        /// Gateways this condition is for; replaces the list of the resource (VS-045).
        gateways: Vec<Str> = "gateways";
        /// Query parameters (VS-046).
        query_params: BTreeMap<Str, StringMatch> = "queryParams";
        /// Whether exact and prefix matches of `uri` ignore case (VS-047).
        ignore_uri_case: bool = "ignoreUriCase";
        /// Headers that must not match (VS-048).
        without_headers: BTreeMap<Str, StringMatch> = "withoutHeaders";
        /// Namespace of the client's workload (VS-049).
        source_namespace: Option<Str> = "sourceNamespace";
        /// Prefix of statistics of this route (VS-050).
        stat_prefix: Option<Str> = "statPrefix";
    }
}

message! {
    /// A destination of HTTP requests and its share.
    pub struct HttpRouteDestination {
        /// Where to (VS-051).
        destination: Destination = "destination" required;
        /// Share relative to the others; ignored if alone (VS-052).
        weight: i32 = "weight";
        /// Header changes for this destination (VS-053).
        headers: Option<Headers> = "headers";
    }
}

message! {
    /// A destination of connections and its share.
    pub struct RouteDestination {
        /// Where to (VS-054).
        destination: Destination = "destination" required;
        /// Share relative to the others (VS-055).
        weight: i32 = "weight";
    }
}

message! {
    /// Conditions on a TCP connection; all must hold.
    pub struct L4MatchAttributes {
        /// Addresses or CIDRs of the destination (VS-056).
        destination_subnets: Vec<Str> = "destinationSubnets";
        /// Port of the listener (VS-057).
        port: Option<u32> = "port";
        /// In the API, never implemented (VS-058).
        source_subnet: Option<Str> = "sourceSubnet";
        /// Labels of the client's workload (VS-059).
        source_labels: Labels = "sourceLabels";
        /// Gateways this condition is for (VS-060).
        gateways: Vec<Str> = "gateways";
        /// Namespace of the client's workload (VS-061).
        source_namespace: Option<Str> = "sourceNamespace";
    }
}

message! {
    /// Conditions on a TLS connection; all must hold.
    pub struct TlsMatchAttributes {
        /// Server names; must be covered by the hosts (VS-062).
        sni_hosts: Vec<Host> = "sniHosts" required;
        /// Addresses or CIDRs of the destination (VS-063).
        destination_subnets: Vec<Str> = "destinationSubnets";
        /// Port of the listener (VS-064).
        port: Option<u32> = "port";
        /// Labels of the client's workload (VS-065).
        source_labels: Labels = "sourceLabels";
        /// Gateways this condition is for (VS-066).
        gateways: Vec<Str> = "gateways";
        /// Namespace of the client's workload (VS-067).
        source_namespace: Option<Str> = "sourceNamespace";
    }
}

message! {
    /// A redirect.
    pub struct HttpRedirect {
        /// New path (VS-068).
        uri: Option<Str> = "uri";
        /// New authority (VS-069).
        authority: Option<Str> = "authority";
        /// New port.
        redirect_port: Option<RedirectPort> = oneof;
        /// New scheme (VS-074).
        scheme: Option<Str> = "scheme";
        /// 301 (default), 302, 303, 307 or 308 (VS-075).
        redirect_code: Option<u32> = "redirectCode";
        /// New prefix of the path (VS-076).
        prefix_rewrite: Option<Str> = "prefixRewrite";
    }
}

oneof! {
    /// The port of a redirect.
    pub enum RedirectPort {
        /// This one (VS-072).
        Port(u32) = "port";
        /// By rule (VS-073).
        DerivePort(RedirectPortSelection) = "derivePort";
    }
}

proto_enum! {
    /// How a redirect's port follows.
    pub enum RedirectPortSelection {
        /// 80 for http, 443 for https (VS-070).
        FromProtocolDefault = "FROM_PROTOCOL_DEFAULT";
        /// The port of the request (VS-071).
        FromRequestPort = "FROM_REQUEST_PORT";
    }
}

message! {
    /// A fixed response.
    pub struct HttpDirectResponse {
        /// Status code (VS-077).
        status: u32 = "status" required;
        /// Body; unset: empty (VS-078).
        body: Option<HttpBody> = "body";
    }
}

message! {
    /// A body.
    pub struct HttpBody {
        /// Its bytes.
        specifier: Option<HttpBodySpecifier> = oneof;
    }
}

oneof! {
    /// The bytes of a body.
    pub enum HttpBodySpecifier {
        /// As text (VS-079).
        String(Str) = "string";
        /// In base64 (VS-080).
        Bytes(Str) = "bytes";
    }
}

message! {
    /// Changes of path and authority.
    pub struct HttpRewrite {
        /// New path, or new prefix where the match is a prefix (VS-081).
        uri: Option<Str> = "uri";
        /// New authority (VS-082).
        authority: Option<Str> = "authority";
        /// Replace what a pattern finds in the path (VS-083).
        uri_regex_rewrite: Option<RegexRewrite> = "uriRegexRewrite";
    }
}

message! {
    /// A pattern and what replaces it.
    pub struct RegexRewrite {
        /// RE2 pattern (VS-084).
        pattern: Str = "match";
        /// Replacement, with `\1` for groups (VS-085).
        rewrite: Str = "rewrite";
    }
}

message! {
    /// When and how often to try again.
    pub struct HttpRetry {
        /// Tries after the first; 0: none (VS-089).
        attempts: i32 = "attempts";
        /// For each try; unset: the timeout of the route (VS-090).
        per_try_timeout: Option<Duration> = "perTryTimeout";
        /// Envoy's conditions, with commas; numbers are status codes (VS-091).
        retry_on: Option<Str> = "retryOn";
        /// Whether to try other localities (VS-092).
        retry_remote_localities: Option<bool> = "retryRemoteLocalities";
        /// Whether to avoid hosts already tried; unset: true (VS-093).
        retry_ignore_previous_hosts: Option<bool> = "retryIgnorePreviousHosts";
        /// First pause, growing to ten times; unset: 25 ms (VS-094).
        backoff: Option<Duration> = "backoff";
    }
}

message! {
    /// Cross-origin rules.
    pub struct CorsPolicy {
        /// Old form of `allowOrigins` (VS-095).
        allow_origin: Vec<Str> = "allowOrigin";
        /// Allowed origins (VS-096).
        allow_origins: Vec<StringMatch> = "allowOrigins";
        /// Allowed methods (VS-097).
        allow_methods: Vec<Str> = "allowMethods";
        /// Allowed request headers (VS-098).
        allow_headers: Vec<Str> = "allowHeaders";
        /// Response headers that scripts may read (VS-099).
        expose_headers: Vec<Str> = "exposeHeaders";
        /// How long the answer may be kept (VS-100).
        max_age: Option<Duration> = "maxAge";
        /// Whether credentials are allowed (VS-101).
        allow_credentials: Option<bool> = "allowCredentials";
        /// What happens to preflights from other origins (VS-102).
        unmatched_preflights: UnmatchedPreflights = "unmatchedPreflights";
    }
}

proto_enum! {
    /// What happens to preflight requests that no origin matches.
    pub enum UnmatchedPreflights {
        /// As `FORWARD`.
        Unspecified = "UNSPECIFIED";
        /// To the upstream (VS-103).
        Forward = "FORWARD";
        /// Answered without cross-origin headers (VS-104).
        Ignore = "IGNORE";
    }
}

message! {
    /// Faults to inject.
    pub struct HttpFaultInjection {
        /// Wait first (VS-105).
        delay: Option<FaultDelay> = "delay";
        /// Answer with an error (VS-106).
        abort: Option<FaultAbort> = "abort";
    }
}

message! {
    /// A delay.
    pub struct FaultDelay {
        /// Old form of `percentage` (VS-107).
        percent: Option<i32> = "percent";
        /// How long.
        delay: Option<FaultDelayType> = oneof;
        /// Share of requests (VS-110).
        percentage: Option<Percent> = "percentage";
    }
}

oneof! {
    /// The length of a delay.
    pub enum FaultDelayType {
        /// Always this (VS-108).
        FixedDelay(Duration) = "fixedDelay";
        /// In the API, never implemented (VS-109).
        ExponentialDelay(Duration) = "exponentialDelay";
    }
}

message! {
    /// An error to answer with.
    pub struct FaultAbort {
        /// Which.
        error: Option<FaultAbortType> = oneof;
        /// Share of requests (VS-114).
        percentage: Option<Percent> = "percentage";
    }
}

oneof! {
    /// The kind of error.
    pub enum FaultAbortType {
        /// HTTP status (VS-111).
        HttpStatus(i32) = "httpStatus";
        /// gRPC status by name or number (VS-112).
        GrpcStatus(Str) = "grpcStatus";
        /// In the API, never implemented (VS-113).
        Http2Error(Str) = "http2Error";
    }
}

message! {
    /// A copy of the traffic.
    pub struct HttpMirrorPolicy {
        /// Where to (VS-115).
        destination: Option<Destination> = "destination" required;
        /// Share of requests; unset: all (VS-116).
        percentage: Option<Percent> = "percentage";
    }
}

message! {
    /// A percentage, with fractions.
    pub struct Percent {
        /// 0 to 100 (VS-118).
        value: f64 = "value";
    }
}
