//! Routes, compiled, and the pure matcher over them: a request view in, a route out; no io, no clock.
//!
//! The data path and every tool that explains a decision use this one matcher.
//! Invariant: first match wins in a virtual host; hosts go exact, longest suffix, longest prefix, `*`.

pub mod hash;
pub mod hosts;
pub mod lazy;
pub mod matcher;
#[cfg(test)]
mod properties;
mod re2;
pub mod rewrite;
pub mod strings;
pub mod verdict;

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::{
    cluster::{ClusterSlot, metadata::Criteria},
    http::filters::overrides::Overrides,
};

/// What matching may look at. Header names are asked for in lower case.
pub trait RequestView {
    /// `:authority` / Host as received, after the connection manager's normalisation.
    fn authority(&self) -> &str;
    /// Path with query.
    fn path(&self) -> &str;
    /// Method.
    fn method(&self) -> &str;
    /// `http` or `https`.
    fn scheme(&self) -> &str;
    /// All values of a header, joined with `,`; `None` when absent.
    fn header(&self, name: &str) -> Option<Cow<'_, str>>;
    /// Whether any line of a header fulfils a condition, which is how Envoy compares; `None` when there is no such
    /// header.
    fn any_header(&self, name: &str, condition: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
        self.header(name).map(|value| condition(&value))
    }
    /// True when the downstream connection is TLS.
    fn is_tls(&self) -> bool;
    /// The stream's stable random number: weights and runtime fractions are taken from it.
    fn random(&self) -> u64;
}

/// A compiled `RouteConfiguration`.
#[derive(Debug)]
pub struct RouteTable {
    /// Resource name.
    pub name: Arc<str>,
    /// `version_info` it came with, empty for static ones.
    pub version: Arc<str>,
    /// Hosts to indices in `virtual_hosts`; shared with the next table while no domain changes.
    pub(crate) hosts: Arc<crate::route::hosts::HostIndex>,
    /// Every virtual host, in order.
    pub virtual_hosts: Vec<Arc<lazy::LazyHost>>,
    /// Applied around every route of the table.
    pub headers: Arc<HeaderRules>,
    /// `most_specific_header_mutations_wins`.
    pub most_specific_headers_win: bool,
    /// `ignore_port_in_host_matching`.
    pub ignore_port: bool,
    /// `max_direct_response_body_size_bytes`, default 4096.
    pub max_direct_response_body: usize,
}

impl RouteTable {
    /// The virtual host of an `:authority`.
    #[inline]
    pub fn virtual_host(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        let host = if self.ignore_port { hosts::compared(authority) } else { authority };
        self.hosts.find(host).map(|at| self.virtual_hosts[at as usize].get())
    }

    /// The virtual host and the first of its routes that take the request; `None` where Envoy answers 404 with NR.
    #[inline]
    pub fn route<V: RequestView>(&self, request: &V) -> Option<(&Arc<VirtualHost>, &Arc<Route>)> {
        let host = self.virtual_host(request.authority())?;
        host.route(request).map(|route| (host, route))
    }
}

impl VirtualHost {
    /// The first route that takes the request.
    #[inline]
    pub fn route<V: RequestView>(&self, request: &V) -> Option<&Arc<Route>> {
        self.routes.find(request)
    }

    /// All routes, in order, with their conditions.
    pub fn routes(&self) -> impl Iterator<Item = &matcher::Entry> {
        self.routes.iter()
    }
}

/// A compiled `VirtualHost`.
#[derive(Debug, Default)]
pub struct VirtualHost {
    /// Name.
    pub name: Arc<str>,
    /// `require_tls`.
    pub require_tls: RequireTls,
    /// Header operations of the virtual host.
    pub headers: HeaderRules,
    /// `include_request_attempt_count`.
    pub request_attempt_count: bool,
    /// `include_attempt_count_in_response`.
    pub response_attempt_count: bool,
    /// `virtual_clusters`: requests that are counted apart.
    pub virtual_clusters: Vec<VirtualCluster>,
    /// `metadata`, for logs.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// Routes in order, behind whatever index makes finding the first match fast.
    pub(crate) routes: crate::route::matcher::RouteIndex,
}

/// A compiled `VirtualCluster`.
#[derive(Debug)]
pub struct VirtualCluster {
    /// All must hold; the last virtual cluster of a host takes all.
    pub headers: Vec<matcher::HeaderMatch>,
    /// `vhost.<name>.vcluster.<name>.`
    pub stat_prefix: Arc<str>,
}

/// `TlsRequirementType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequireTls {
    /// No requirement.
    #[default]
    None,
    /// Redirect external plaintext requests to https.
    ExternalOnly,
    /// Redirect all plaintext requests.
    All,
}

/// A compiled `Route`.
#[derive(Debug)]
pub struct Route {
    /// `name`, for `%ROUTE_NAME%`.
    pub name: Arc<str>,
    /// What happens to a request that matched.
    pub action: Action,
    /// Header operations of the route.
    pub headers: HeaderRules,
    /// Under which it has statistics of its own: `vhost.<name>.route.<stat_prefix>.`
    pub stat_prefix: Option<Arc<str>>,
    /// What route, virtual host and table say of HTTP filters.
    pub filters: Option<Arc<Overrides>>,
    /// Bytes of a request's body that are kept for another try, where the connection's limit is not what counts:
    /// `request_body_buffer_limit`, or `per_request_buffer_limit_bytes` if that is less than the connection's.
    pub buffer_limit: BufferLimit,
    /// `config` of its `istio` metadata: the resource it comes from.
    pub origin: Option<Arc<str>>,
    /// `metadata`, for logs; without what is Istio's own.
    pub metadata: Option<Arc<serde_json::Value>>,
}

/// What a route says of how much of a request is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BufferLimit {
    /// As the connection.
    #[default]
    Connection,
    /// The connection's, or this if it is less.
    AtMost(usize),
    /// This.
    Exactly(usize),
}

impl BufferLimit {
    /// The limit on a connection of this limit.
    pub fn of(self, connection: usize) -> usize {
        match self {
            Self::Connection => connection,
            Self::AtMost(limit) => connection.min(limit),
            Self::Exactly(limit) => limit,
        }
    }
}

/// The `action` oneof.
#[derive(Debug)]
pub enum Action {
    /// `route`: to a cluster.
    Forward(Box<Forward>),
    /// `redirect`.
    Redirect(Box<Redirect>),
    /// `direct_response`.
    Respond(DirectResponse),
    /// `non_forwarding_action` or no action (gRPC proxyless routes): answered 404 by the data path.
    None,
}

/// `UpgradeConfig.ConnectConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelEnd {
    /// `allow_post`: of POST requests too.
    pub post: bool,
    /// `proxy_protocol_config`: the header that comes first.
    pub header: Option<crate::upstream::proxy_header::Version>,
}

/// `RouteAction`.
#[derive(Debug)]
pub struct Forward {
    /// Where to.
    pub target: Target,
    /// `cluster_not_found_response_code`: 503 or 404 or 500.
    pub not_found_status: u16,
    /// `timeout`, Envoy's default 15 s; `None` when zero (disabled).
    pub timeout: Option<Duration>,
    /// `idle_timeout`; outer `None` is "as the connection manager says".
    pub idle_timeout: Option<Option<Duration>>,
    /// `max_stream_duration.grpc_timeout_header_max` / `max_grpc_timeout`: outer `None` ignores `grpc-timeout`, zero is no limit.
    pub max_grpc_timeout: Option<Duration>,
    /// `grpc_timeout_header_offset`.
    pub grpc_timeout_offset: Option<Duration>,
    /// `grpc-timeout` tells the upstream how long we will wait: where the limits are the deprecated pair, as in Envoy.
    pub tells_grpc_timeout: bool,
    /// `max_stream_duration.max_stream_duration`.
    pub max_stream_duration: Option<Duration>,
    /// Path rewrite.
    pub rewrite: Rewrite,
    /// Authority rewrite.
    pub host_rewrite: HostRewrite,
    /// `append_x_forwarded_host`.
    pub append_x_forwarded_host: bool,
    /// `upgrade_configs` of the route: (type, enabled), overriding the connection manager's.
    pub upgrades: Vec<(Arc<str>, bool)>,
    /// `connect_config`: a CONNECT ends here, and its bytes go to the endpoint without HTTP.
    pub tunnel_end: Option<TunnelEnd>,
    /// `priority: HIGH`.
    pub high_priority: bool,
    /// `metadata_match`: what hosts must be like, for clusters that have subsets.
    pub asked: Option<Box<Criteria>>,
    /// How often and when a failed attempt is repeated.
    pub retry: Option<RetryPolicy>,
    /// Some part of a weighted target says something of HTTP filters.
    pub parts_override: bool,
    /// `request_mirror_policies`: who gets a copy.
    pub mirrors: Vec<Mirror>,
    /// `hash_policy`, for clusters that balance by hash.
    pub hash: Vec<hash::HashPolicy>,
}

/// `cluster_specifier`.
#[derive(Debug)]
pub enum Target {
    /// One cluster.
    Cluster(Arc<ClusterSlot>),
    /// Several by weight.
    Weighted {
        /// Sum of all weights, at least 1.
        total: u32,
        /// The parts, in order.
        parts: Vec<WeightedCluster>,
    },
    /// The name is taken from a request header and looked up among the published clusters.
    Header {
        /// Which header.
        name: Arc<str>,
        /// Where cluster names are known.
        clusters: Arc<crate::cluster::store::ClusterStore>,
    },
}

/// One of `weighted_clusters`.
#[derive(Debug)]
pub struct WeightedCluster {
    /// Where to.
    pub cluster: Arc<ClusterSlot>,
    /// Share of `total`.
    pub weight: u32,
    /// Header operations for this part.
    pub headers: HeaderRules,
    /// `metadata_match`, with the route's.
    pub asked: Option<Box<Criteria>>,
    /// `host_rewrite_literal`.
    pub host_rewrite: Option<Arc<str>>,
    /// What it says of HTTP filters, if anything, with what the route says.
    pub filters: Option<Arc<Overrides>>,
}

/// `RequestMirrorPolicy`.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The cluster, or the header that names it.
    pub target: MirrorTarget,
    /// The share of requests that are copied, as numerator and denominator; `None` is all.
    pub share: Option<(u32, u32)>,
    /// `disable_shadow_host_suffix_append` is not set: `-shadow` is added to the host.
    pub suffix: bool,
    /// `host_rewrite_literal`.
    pub host: Option<Arc<str>>,
}

/// Where copies go.
#[derive(Debug, Clone)]
pub enum MirrorTarget {
    /// `cluster`.
    Cluster(Arc<ClusterSlot>),
    /// `cluster_header`.
    Header(Arc<str>, Arc<crate::cluster::store::ClusterStore>),
}

/// Path rewrite; it keeps the query.
#[derive(Debug)]
pub enum Rewrite {
    /// Leave the path.
    None,
    /// `prefix_rewrite`: replaces the matched prefix (or the whole exact path) of this many bytes.
    Prefix {
        /// Bytes of the path that matched.
        matched: usize,
        /// What replaces them.
        with: Arc<str>,
    },
    /// `regex_rewrite`.
    Regex {
        /// Pattern over the path without query.
        pattern: regex::Regex,
        /// RE2 substitution, turned into the regex crate's syntax.
        with: Arc<str>,
    },
}

/// Authority rewrite.
#[derive(Debug)]
pub enum HostRewrite {
    /// Leave it.
    None,
    /// `host_rewrite_literal`.
    Literal(Arc<str>),
    /// `auto_host_rewrite`: the endpoint's hostname.
    Auto,
    /// `host_rewrite_header`.
    Header(Arc<str>),
    /// `host_rewrite_path_regex`.
    PathRegex {
        /// Pattern over the path without query.
        pattern: regex::Regex,
        /// Substitution.
        with: Arc<str>,
    },
}

/// `RedirectAction`.
#[derive(Debug)]
pub struct Redirect {
    /// Status, 301 by default.
    pub status: u16,
    /// `https_redirect` / `scheme_redirect`.
    pub scheme: Option<Arc<str>>,
    /// `host_redirect`.
    pub host: Option<Arc<str>>,
    /// `port_redirect`.
    pub port: Option<u16>,
    /// `path_redirect` (may carry its own query).
    pub path: Option<Arc<str>>,
    /// `prefix_rewrite` / `regex_rewrite`.
    pub rewrite: Rewrite,
    /// `strip_query`.
    pub strip_query: bool,
}

/// `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponse {
    /// Status.
    pub status: u16,
    /// Body, empty when none.
    pub body: bytes::Bytes,
}

/// `RetryPolicy`.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Conditions.
    pub on: RetryOn,
    /// `num_retries`, default 1.
    pub attempts: u32,
    /// `per_try_timeout`.
    pub per_try_timeout: Option<Duration>,
    /// `per_try_idle_timeout`.
    pub per_try_idle_timeout: Option<Duration>,
    /// `retriable_status_codes`.
    pub statuses: Vec<u16>,
    /// `retriable_headers`: responses that one of them matches.
    pub response_headers: Arc<[matcher::HeaderMatch]>,
    /// `retriable_request_headers`: only requests that one of them matches.
    pub request_headers: Arc<[matcher::HeaderMatch]>,
    /// `retry_back_off.base_interval` and `max_interval`; 25 ms and 250 ms.
    pub backoff: (Duration, Duration),
    /// `rate_limited_retry_back_off.reset_headers`: lower-case names.
    pub reset_headers: ResetHeaders,
    /// `rate_limited_retry_back_off.max_interval`, default 300 s.
    pub reset_max: Duration,
    /// `envoy.retry_host_predicates.previous_hosts` with `host_selection_retry_max_attempts`.
    pub avoid_previous_hosts: Option<u32>,
    /// `envoy.retry_priorities.previous_priorities`: after each so many tries, their priorities are avoided.
    pub avoid_previous_priorities: Option<u32>,
    /// `meltemi.retry.safe`: requests that are not idempotent only if the application cannot have seen them.
    pub safe: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            attempts: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            statuses: Vec::new(),
            response_headers: Arc::default(),
            request_headers: Arc::default(),
            backoff: (Duration::from_millis(25), Duration::from_millis(250)),
            reset_headers: Arc::default(),
            reset_max: Duration::from_secs(300),
            avoid_previous_hosts: None,
            avoid_previous_priorities: None,
            safe: false,
        }
    }
}

/// Headers that say when to come again, by lower-case name.
pub type ResetHeaders = Arc<[(Arc<str>, ResetFormat)]>;

/// `ResetHeaderFormat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now.
    Seconds,
    /// A point in time.
    UnixTimestamp,
}

/// `retry_on` as flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryOn(pub u32);

impl RetryOn {
    /// Any 5xx, or no answer at all.
    pub const SERVER_ERROR: u32 = 1;
    /// 502, 503, 504.
    pub const GATEWAY_ERROR: u32 = 1 << 1;
    /// Reset or disconnect before headers.
    pub const RESET: u32 = 1 << 2;
    /// Reset before the request was sent.
    pub const RESET_BEFORE_REQUEST: u32 = 1 << 3;
    /// Connection could not be established.
    pub const CONNECT_FAILURE: u32 = 1 << 4;
    /// 409.
    pub const RETRIABLE_4XX: u32 = 1 << 5;
    /// REFUSED_STREAM.
    pub const REFUSED_STREAM: u32 = 1 << 6;
    /// `retriable_status_codes`.
    pub const RETRIABLE_STATUS_CODES: u32 = 1 << 7;
    /// gRPC `cancelled`.
    pub const CANCELLED: u32 = 1 << 8;
    /// gRPC `deadline-exceeded`.
    pub const DEADLINE_EXCEEDED: u32 = 1 << 9;
    /// gRPC `internal`.
    pub const INTERNAL: u32 = 1 << 10;
    /// gRPC `resource-exhausted`.
    pub const RESOURCE_EXHAUSTED: u32 = 1 << 11;
    /// gRPC `unavailable`.
    pub const UNAVAILABLE: u32 = 1 << 12;
    /// `retriable_headers`.
    pub const RETRIABLE_HEADERS: u32 = 1 << 13;
    /// `x-envoy-ratelimited`.
    pub const ENVOY_RATELIMITED: u32 = 1 << 14;

    /// True when any of `flags` is set.
    pub fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }
}

/// Header operations of one level (route, virtual host, table, weighted cluster).
#[derive(Debug, Default)]
pub struct HeaderRules {
    /// Operations on the request, in order: removals come last, as in Envoy.
    pub request: Vec<HeaderOp>,
    /// Operations on the response.
    pub response: Vec<HeaderOp>,
}

/// One header operation.
#[derive(Debug)]
pub enum HeaderOp {
    /// Add or set, see `append`.
    Put {
        /// Lower-case name; `:authority`-like pseudo headers are handled by the data path.
        name: Arc<str>,
        /// Value, with Envoy's `%…%` operators compiled.
        value: crate::access_log::Format,
        /// `append_action`.
        append: AppendAction,
        /// `keep_empty_value`.
        keep_empty: bool,
    },
    /// Remove every occurrence.
    Remove(Arc<str>),
}

/// `HeaderAppendAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendAction {
    /// Add another line.
    Append,
    /// Only if absent.
    AddIfAbsent,
    /// Replace or add.
    Overwrite,
    /// Replace only if present.
    OverwriteIfExists,
}
