//! What a route with a `stat_prefix`, and a virtual cluster, did: `vhost.<name>.route.<prefix>.` and `vhost.<name>.vcluster.<name>.`.
//!
//! The router counts tries and retries, the connection manager responses. Invariant: names are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#statistics>).

use super::{Counter, Group, Stat, Visitor, responses::Responses};

/// One route's or virtual cluster's, on one worker.
#[derive(Debug, Default)]
pub struct RouteStats {
    /// `upstream_rq_total`: tries that found a connection.
    pub upstream_rq_total: Counter,
    /// `upstream_rq_retry`.
    pub upstream_rq_retry: Counter,
    /// `upstream_rq_retry_limit_exceeded`.
    pub upstream_rq_retry_limit_exceeded: Counter,
    /// `upstream_rq_retry_overflow`.
    pub upstream_rq_retry_overflow: Counter,
    /// `upstream_rq_retry_success`.
    pub upstream_rq_retry_success: Counter,
    /// `upstream_rq_timeout`.
    pub upstream_rq_timeout: Counter,
    /// Responses by code, and their times.
    pub responses: Responses,
}

impl RouteStats {
    fn counters(&self) -> [(&'static str, &Counter); 6] {
        [
            ("upstream_rq_retry", &self.upstream_rq_retry),
            ("upstream_rq_retry_limit_exceeded", &self.upstream_rq_retry_limit_exceeded),
            ("upstream_rq_retry_overflow", &self.upstream_rq_retry_overflow),
            ("upstream_rq_retry_success", &self.upstream_rq_retry_success),
            ("upstream_rq_timeout", &self.upstream_rq_timeout),
            ("upstream_rq_total", &self.upstream_rq_total),
        ]
    }
}

impl Group for RouteStats {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.counters().into_iter().for_each(|(name, counter)| counter.visit(name, visitor));
        self.responses.visit(visitor);
    }

    fn reset(&self) {
        self.counters().into_iter().for_each(|(_, counter)| Stat::reset(counter));
        Group::reset(&self.responses);
    }
}
