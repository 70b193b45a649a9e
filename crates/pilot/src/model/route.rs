//! Routes: which requests go where, and how they are changed.

use std::time::Duration;

use meltemi_config::Str;

use crate::shared::Shared;

/// A table of virtual hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteConfiguration {
    /// Name.
    pub name: String,
    /// Virtual hosts, sorted by name; a catch-all is last.
    pub virtual_hosts: Vec<Shared<VirtualHost>>,
    /// Whether `Host: name:port` is matched as `name`.
    pub ignore_port: bool,
}

/// The routes of some hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VirtualHost {
    /// Name.
    pub name: String,
    /// Hosts; unique in a table.
    pub domains: Vec<String>,
    /// Routes; the first that matches wins.
    pub routes: Vec<Route>,
    /// Whether plain HTTP is answered with a redirect to https.
    pub require_tls: bool,
    /// Whether upstreams are told the number of the attempt.
    pub attempt_count: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Name, in access logs.
    pub name: String,
    /// Conditions.
    pub condition: RouteMatch,
    /// What is done.
    pub action: Action,
    /// Changes of headers.
    pub headers: HeaderChanges,
    /// The resource it comes from (Istio's path of it).
    pub origin: Option<Str>,
    /// Operation in traces.
    pub decorator: String,
    /// Prefix of statistics.
    pub stat_prefix: Str,
    /// Where the rule is written; told to Meltemi's proxies only.
    pub place: Option<Place>,
    /// Faults for its requests.
    pub fault: Option<Fault>,
    /// Answers to other origins.
    pub cors: Option<Cors>,
}

impl Route {
    /// A route that no resource wrote.
    pub fn plain(name: &str, action: Action) -> Route {
        Route {
            name: name.to_owned(),
            condition: RouteMatch::any(),
            action,
            headers: HeaderChanges::default(),
            origin: None,
            decorator: String::new(),
            stat_prefix: Str::default(),
            place: None,
            fault: None,
            cors: None,
        }
    }
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file as it was named.
    pub file: Str,
    /// Line, from 1.
    pub line: u32,
}

/// A share of requests, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fraction {
    /// Of a hundred.
    Percent(u32),
    /// Of a million.
    Million(u32),
}

/// Faults for a share of requests; both are rolled for by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fault {
    /// A pause before the request is sent on.
    pub delay: Option<(Duration, Fraction)>,
    /// An answer in place of the upstream's.
    pub abort: Option<(AbortStatus, Option<Fraction>)>,
}

/// What a request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(u32),
    /// A gRPC status.
    Grpc(u32),
}

/// Answers to requests of other origins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Cors {
    /// Origins that are let in.
    pub origins: Vec<TextMatch>,
    /// `access-control-allow-methods`.
    pub methods: String,
    /// `access-control-allow-headers`.
    pub headers: String,
    /// `access-control-expose-headers`.
    pub expose: String,
    /// `access-control-max-age`, in seconds.
    pub max_age: Option<u64>,
    /// Whether credentials are allowed.
    pub credentials: Option<bool>,
    /// Whether preflights of origins that are not let in are sent on.
    pub forward_unmatched: bool,
}

/// A cluster that gets copies of a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// Cluster.
    pub cluster: String,
    /// Share.
    pub share: Fraction,
}

/// Conditions on a request; all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteMatch {
    /// Path.
    pub path: PathMatch,
    /// Whether the path's case is ignored (not for patterns).
    pub ignore_case: bool,
    /// Headers, `:method` and its like included.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters.
    pub query: Vec<(Str, TextMatch)>,
    /// Claims of the request's token.
    pub claims: Vec<ClaimMatch>,
}

impl RouteMatch {
    /// Every request.
    pub fn any() -> RouteMatch {
        RouteMatch {
            path: PathMatch::Prefix("/".into()),
            ignore_case: false,
            headers: Vec::new(),
            query: Vec::new(),
            claims: Vec::new(),
        }
    }

    /// Whether it takes every request (SEM-024).
    pub fn is_catch_all(&self) -> bool {
        let path = match &self.path {
            PathMatch::Prefix(prefix) => &**prefix == "/",
            PathMatch::Regex(pattern) => &**pattern == ".*",
            PathMatch::Exact(_) | PathMatch::Segments(_) => false,
        };
        path && self.headers.is_empty() && self.query.is_empty() && self.claims.is_empty()
    }
}

/// A condition on a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// Begins with.
    Prefix(Str),
    /// Equal, or continues with a slash.
    Segments(Str),
    /// Equal.
    Exact(Str),
    /// All of it is of this form.
    Regex(Str),
}

/// A condition on a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextMatch {
    /// It is there.
    Present,
    /// Equal.
    Exact(Str),
    /// Begins with.
    Prefix(Str),
    /// All of it is of this form.
    Regex(Str),
}

/// A condition on a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderMatch {
    /// Name in lower case.
    pub name: Str,
    /// Condition on its value.
    pub value: TextMatch,
    /// Whether it must not hold.
    pub invert: bool,
}

/// A condition on a claim of the request's token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimMatch {
    /// The claim, from the outermost in.
    pub path: Vec<Str>,
    /// Condition on it, or on one entry of a list.
    pub value: TextMatch,
    /// Whether it must not hold.
    pub invert: bool,
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sent on.
    Forward(Box<Forward>),
    /// Answered with a redirect.
    Redirect(Redirect),
    /// Answered.
    Respond {
        /// Status code.
        status: u32,
        /// Body.
        body: Vec<u8>,
    },
    /// Nothing: Envoy refuses such a route, so it is left out.
    Nothing,
}

/// How a request is sent on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forward {
    /// Where to; one, or several with shares.
    pub clusters: Vec<WeightedCluster>,
    /// For the whole response; zero: none.
    pub timeout: Duration,
    /// When to try again.
    pub retry: Option<Retry>,
    /// New prefix of the path, or new path where the condition is not a prefix.
    pub prefix_rewrite: Str,
    /// Pattern in the path and what replaces it.
    pub regex_rewrite: Option<(Str, Str)>,
    /// New authority.
    pub host_rewrite: Str,
    /// Keys of the hash that picks an endpoint.
    pub hash: Vec<HashKey>,
    /// Who gets copies.
    pub mirrors: Vec<Mirror>,
    /// Whether the longest life of a stream is said apart from the timeout: to the workload.
    pub inbound: bool,
    /// Whether the authority that the client asked for is told in `x-forwarded-host`.
    pub forwarded_host: bool,
}

impl Forward {
    /// To one cluster, unchanged, for as long as it takes.
    pub fn to(cluster: &str) -> Forward {
        Forward {
            clusters: vec![WeightedCluster::whole(cluster)],
            timeout: Duration::ZERO,
            retry: None,
            prefix_rewrite: Str::default(),
            regex_rewrite: None,
            host_rewrite: Str::default(),
            hash: Vec::new(),
            mirrors: Vec::new(),
            inbound: false,
            forwarded_host: false,
        }
    }
}

/// A cluster and its share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WeightedCluster {
    /// Cluster.
    pub cluster: String,
    /// Share.
    pub weight: u32,
    /// Changes of headers.
    pub headers: HeaderChanges,
    /// New authority.
    pub host_rewrite: Str,
}

impl WeightedCluster {
    /// All of the requests, unchanged.
    pub fn whole(cluster: &str) -> WeightedCluster {
        WeightedCluster {
            cluster: cluster.to_owned(),
            weight: 1,
            headers: HeaderChanges::default(),
            host_rewrite: Str::default(),
        }
    }
}

/// Key of the hash that picks an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// A header.
    Header(Str),
    /// A cookie.
    Cookie(Box<Cookie>),
    /// The client's address.
    SourceAddress,
    /// A query parameter.
    Query(Str),
}

/// A cookie to hash by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// Name.
    pub name: Str,
    /// Path of a generated one.
    pub path: Str,
    /// Life of a generated one; zero: of the session; unset: none is generated.
    pub ttl: Option<Duration>,
    /// More attributes of a generated one.
    pub attributes: Vec<(Str, Str)>,
}

/// When to try again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    /// Envoy's conditions.
    pub on: String,
    /// Tries after the first.
    pub attempts: u32,
    /// Status codes to try again on.
    pub codes: Vec<u32>,
    /// For each try.
    pub per_try_timeout: Option<Duration>,
    /// First pause; it grows to ten times.
    pub backoff: Option<Duration>,
    /// Whether hosts already tried are avoided.
    pub avoid_previous: bool,
    /// Whether other localities are tried.
    pub other_localities: bool,
    /// Whether a request that may have had an effect is left alone (`retries: safe`); told to Meltemi's proxies only.
    pub safe: bool,
}

/// Changes of headers, in Envoy's order of doing: add and set, then remove.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HeaderChanges {
    /// On the request: set, then added.
    pub request: Vec<HeaderValue>,
    /// Dropped from the request.
    pub request_remove: Vec<Str>,
    /// On the response: set, then added.
    pub response: Vec<HeaderValue>,
    /// Dropped from the response.
    pub response_remove: Vec<Str>,
}

/// A header to write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderValue {
    /// Name.
    pub name: Str,
    /// Value.
    pub value: Str,
    /// Added to what is there, or in its place.
    pub append: bool,
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Redirect {
    /// New path, whole or its prefix.
    pub path: RedirectPath,
    /// New authority; empty: the same.
    pub host: Str,
    /// New port; 0: the same.
    pub port: u32,
    /// New scheme; empty: the same.
    pub scheme: Str,
    /// 301, 302, 303, 307 or 308.
    pub code: u32,
}

/// New path of a redirect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RedirectPath {
    /// The same.
    Keep,
    /// This one.
    Full(Str),
    /// This in place of what matched.
    Prefix(Str),
}
