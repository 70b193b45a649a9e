//! A listener: where a proxy takes connections and what it does with them.

use std::sync::Arc;
use std::time::Duration;

use meltemi_config::Str;

use super::route::RouteConfiguration;

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Name.
    pub name: String,
    /// Address.
    pub address: Str,
    /// Port.
    pub port: u32,
    /// Whether it opens a socket; else it gets connections from a listener with `use_original_dst`.
    pub bind_to_port: bool,
    /// Side of the workload.
    pub direction: Direction,
    /// Whether it hands connections to the listener of their original destination.
    pub use_original_dst: bool,
    /// Whether the original destination is looked up.
    pub original_dst_filter: bool,
    /// Whether it looks for a TLS hello.
    pub tls_inspector: bool,
    /// Whether it looks for HTTP.
    pub http_inspector: bool,
    /// Chains with conditions.
    pub chains: Vec<FilterChain>,
    /// What else is taken.
    pub default_chain: Option<FilterChain>,
    /// Log of connections that no chain matches.
    pub access_log: AccessLogs,
    /// Whether the source address is kept (TPROXY).
    pub transparent: bool,
    /// How long bytes are waited for that tell the protocol; zero: for ever; unset: Envoy's 15 s.
    pub detection_timeout: Option<Duration>,
    /// Whether a connection goes on when the time is over.
    pub continue_on_timeout: bool,
    /// Whether clients tell the address they speak for (PROXY protocol).
    pub proxy_protocol: bool,
    /// Ports whose chains do not ask what is spoken: nothing is looked at there.
    pub uninspected: Vec<u32>,
}

impl Listener {
    /// A listener without chains.
    pub fn new(name: String, address: &Str, port: u32, direction: Direction) -> Listener {
        Listener {
            name,
            address: address.clone(),
            port,
            bind_to_port: true,
            direction,
            use_original_dst: false,
            original_dst_filter: false,
            tls_inspector: false,
            http_inspector: false,
            chains: Vec::new(),
            default_chain: None,
            access_log: AccessLogs::default(),
            transparent: false,
            detection_timeout: None,
            continue_on_timeout: false,
            proxy_protocol: false,
            uninspected: Vec::new(),
        }
    }
}

/// Side of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the workload.
    Inbound,
    /// From it.
    Outbound,
}

/// What is done with connections that match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilterChain {
    /// Name.
    pub name: String,
    /// Conditions.
    pub condition: Condition,
    /// HTTP or bytes.
    pub terminal: Terminal,
    /// The resource it comes from (Istio's path of it).
    pub origin: Option<Str>,
}

/// Conditions; what is empty always holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Condition {
    /// Original destination port.
    pub port: Option<u32>,
    /// `raw_buffer` or `tls`.
    pub transport: Str,
    /// ALPN, or what the HTTP inspector found.
    pub protocols: Vec<Str>,
    /// Destination addresses, CIDR.
    pub prefixes: Vec<Str>,
    /// Server names of TLS.
    pub server_names: Vec<Str>,
}

/// HTTP or bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Terminal {
    /// Requests.
    Http(Box<Http>),
    /// Bytes.
    Tcp(Tcp),
}

/// Settings of an HTTP connection manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// Prefix of statistics.
    pub stat_prefix: String,
    /// Routes.
    pub routes: Routes,
    /// Log of requests.
    pub access_log: AccessLogs,
    /// Whether the peer's address is the client's: at edges.
    pub use_remote_address: bool,
    /// What happens to x-forwarded-client-cert.
    pub client_cert: ClientCert,
    /// How paths are made regular.
    pub normalization: PathNormalization,
    /// Whether HTTP/1.0 is accepted.
    pub http10: bool,
    /// Hops in front that are trusted.
    pub trusted_hops: u32,
    /// Whether names of HTTP/1 headers keep their case.
    pub preserve_case: bool,
    /// `server` of responses; `None`: the upstream's is kept; empty: Envoy's own word.
    pub server: Option<Str>,
    /// Whether requests get an id.
    pub request_id: bool,
    /// Whether the port that the client asked for is told in `x-forwarded-port`.
    pub forwarded_port: bool,
    /// Whether nothing is said in `x-envoy-…` headers.
    pub hide_envoy: bool,
    /// Names that requests ask for are resolved as they come, and kept this long.
    pub dynamic_dns: Option<Duration>,
    /// Header in which answers of the proxy's own say why they are given.
    pub reason_header: Option<Str>,
}

/// Where routes come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Routes {
    /// Sent apart, under this name.
    Rds(String),
    /// Here.
    Inline(RouteConfiguration),
}

/// What happens to x-forwarded-client-cert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientCert {
    /// What of the header that came in goes on.
    pub forward: Forward,
    /// What of the peer's certificate is told: subject, certificate, chain, DNS names, URI.
    pub details: [bool; 5],
}

/// What of x-forwarded-client-cert goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// Nothing.
    Sanitize,
    /// All, from peers with a certificate.
    ForwardOnly,
    /// All, and the peer's.
    AppendForward,
    /// The peer's alone.
    SanitizeSet,
    /// All.
    AlwaysForwardOnly,
}

/// How paths are made regular (MC-208…212).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathNormalization {
    /// Not.
    None,
    /// RFC 3986.
    Base,
    /// And `//` becomes `/`.
    MergeSlashes,
    /// And `%2F` first becomes `/`.
    DecodeAndMergeSlashes,
}

/// Where bytes go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// Prefix of statistics.
    pub stat_prefix: String,
    /// Clusters and their shares; one: its share does not matter.
    pub clusters: Vec<(String, u32)>,
    /// Log of connections.
    pub access_log: AccessLogs,
    /// Idle time after which a connection is closed.
    pub idle_timeout: Option<Duration>,
    /// Age at which a connection is closed.
    pub max_duration: Option<Duration>,
    /// Whether the client's address picks the endpoint.
    pub hash_source: bool,
    /// Through whom connections are made.
    pub tunnel: Option<Tunnel>,
    /// Whether the server name of the client is looked up, kept how long, and connected to at which port.
    pub looks_up: Option<(u32, Duration)>,
}

/// Connections through an HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// Where the proxy shall connect to: `host:port`.
    pub target: String,
    /// By POST instead of CONNECT.
    pub post: bool,
}

/// The logs of one side of a proxy, shared by all that write to them.
pub type AccessLogs = Arc<[AccessLog]>;

/// A log of requests or connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessLog {
    /// Where to.
    pub sink: LogSink,
    /// Which are logged: a CEL expression.
    pub filter: Option<Str>,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogSink {
    /// A file.
    File {
        /// Its path.
        path: Str,
        /// Its form.
        format: LogFormat,
        /// Whether what has no value is left out.
        omit_empty: bool,
    },
    /// Envoy's access log service, of requests.
    HttpGrpc(GrpcLog),
    /// Envoy's access log service, of connections.
    TcpGrpc(GrpcLog),
    /// OpenTelemetry.
    OpenTelemetry {
        /// The service.
        service: GrpcLog,
        /// Line of a record.
        body: Str,
        /// Attributes of a record: a JSON object of formats.
        attributes: Option<Str>,
    },
}

/// A log that a service takes over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrpcLog {
    /// What the service knows it by.
    pub name: Str,
    /// Cluster of the service.
    pub cluster: String,
    /// Its host.
    pub authority: Str,
    /// More of the filters' state.
    pub state: Vec<Str>,
    /// More request headers.
    pub request_headers: Vec<Str>,
    /// More response headers.
    pub response_headers: Vec<Str>,
    /// More trailers.
    pub response_trailers: Vec<Str>,
}

/// Form of a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// A line.
    Text(Str),
    /// A JSON object of formats, as text with sorted keys.
    Json(Str),
}
