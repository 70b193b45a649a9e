//! What is known of one exchange: heads, times, outcome. The access log and header formats read it.
//!
//! A worker keeps used ones, so that their memory serves again.
//! Invariant: [`Exchange::clear`] leaves nothing of the last request behind.

use std::{borrow::Cow, net::SocketAddr, rc::Rc, sync::Arc, time::Instant};

use crate::{
    cluster::Endpoint,
    error::Flags,
    http::{
        exchange::Wire,
        filters::State,
        headers::HeaderList,
        message::{Protocol, RequestHead, ResponseHead},
    },
    route::Route,
    stats::route::RouteStats,
    stream::UNSPECIFIED,
    upstream::cluster::ClusterState,
};

/// One request and its response, on their way.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The request's head, as the phases have changed it so far.
    pub request: RequestHead,
    /// The response's head, likewise.
    pub response: ResponseHead,
    /// All else.
    pub info: Info,
}

impl Exchange {
    /// Makes it ready for the next request.
    pub fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        self.info = Info::default();
    }
}

/// `StreamInfo`.
#[derive(Debug)]
pub struct Info {
    /// The head was complete.
    pub start: Option<Instant>,
    /// The request was received to its end.
    pub request_end: Option<Instant>,
    /// The (last) try's head was handed to its connection.
    pub upstream_start: Option<Instant>,
    /// The request was written to the endpoint to its end.
    pub upstream_request_end: Option<Instant>,
    /// The response's head arrived.
    pub upstream_response: Option<Instant>,
    /// The response arrived to its end.
    pub upstream_end: Option<Instant>,
    /// Downstream protocol.
    pub protocol: Protocol,
    /// What was answered; 0 when nothing was.
    pub status: u16,
    /// Response flags.
    pub flags: Flags,
    /// Those among them that statistics know already.
    pub counted: Flags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// The trusted client address.
    pub client: SocketAddr,
    /// An internal request.
    pub internal: bool,
    /// The route that matched.
    pub route: Option<Arc<Route>>,
    /// The virtual host that matched.
    pub virtual_host: Option<Arc<str>>,
    /// Its metadata.
    pub host_metadata: Option<Arc<serde_json::Value>>,
    /// The virtual cluster, by the prefix of its statistics.
    pub virtual_cluster: Option<Arc<str>>,
    /// The first byte of the answer was about to go downstream.
    pub downstream_start: Option<Instant>,
    /// The first byte of the upstream's body arrived.
    pub upstream_body: Option<Instant>,
    /// The cluster.
    pub cluster: Option<Rc<ClusterState>>,
    /// The endpoint of the (last) try.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Our address on the connection to it.
    pub upstream_local: SocketAddr,
    /// The connection to it.
    pub upstream_connection: u64,
    /// What the last try took on it; only where there is a log.
    pub upstream_wire: Wire,
    /// Endpoints of tries before the last that had a connection, with its id; only where there is a log.
    pub earlier: Vec<(Arc<Endpoint>, u64)>,
    /// Tries so far.
    pub attempts: u32,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`, with spaces.
    pub transport_failure: String,
    /// The response's trailers, kept where an access log may ask for them.
    pub trailers: Option<Box<HeaderList>>,
    /// The stream's random number.
    pub random: u64,
    /// What filters remember.
    pub filters: Option<Box<State>>,
    /// Of the route and the virtual cluster, where they have statistics of their own.
    pub route_stats: Vec<Arc<RouteStats>>,
}

impl Default for Info {
    fn default() -> Self {
        Self {
            start: None,
            request_end: None,
            upstream_start: None,
            upstream_request_end: None,
            upstream_response: None,
            upstream_end: None,
            protocol: Protocol::default(),
            status: 0,
            flags: Flags::default(),
            counted: Flags::default(),
            details: Cow::Borrowed(""),
            client: UNSPECIFIED,
            internal: false,
            route: None,
            virtual_host: None,
            host_metadata: None,
            virtual_cluster: None,
            downstream_start: None,
            upstream_body: None,
            cluster: None,
            endpoint: None,
            upstream_local: UNSPECIFIED,
            upstream_connection: 0,
            upstream_wire: Wire::default(),
            earlier: Vec::new(),
            attempts: 0,
            transport_failure: String::new(),
            trailers: None,
            random: 0,
            filters: None,
            route_stats: Vec::new(),
        }
    }
}
