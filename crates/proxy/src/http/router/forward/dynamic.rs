//! Endpoints that the request itself names: the router's side of dynamic forward proxying.
//!
//! Boxed by its caller: requests to ordinary clusters pay nothing for it.

use std::sync::Arc;

use super::{Ended, Forwarding};
use crate::{
    cluster::Endpoint,
    error::Flags,
    http::{connection_manager::reply::LocalReply, exchange::Downstream},
    route::hosts,
    upstream::dynamic::Unresolved,
};

impl<D: Downstream> Forwarding<'_, D> {
    /// The endpoint that the request's authority leads to.
    pub(super) async fn pick_dynamic(&mut self) -> Result<Arc<Endpoint>, Ended> {
        let authority = self.exchange.request.authority();
        let host = hosts::without_port(authority);
        let port = authority[host.len()..].strip_prefix(':').and_then(|port| port.parse().ok());
        let host = host.to_owned();
        // As Envoy's, for a cluster without TLS.
        let port = port.unwrap_or(80);
        match self.state.resolve(&host, port).await {
            Ok(endpoint) => {
                self.chosen(&endpoint);
                Ok(endpoint)
            }
            Err(Unresolved::Overflow) => {
                let flags = Flags::UPSTREAM_OVERFLOW;
                Err(LocalReply::new(503, "DNS cache overflow", "dns_cache_overflow", flags).into())
            }
            Err(Unresolved::Failed(why)) => {
                let flags = Flags::DNS_RESOLUTION_FAILED;
                let mut reply = LocalReply::new(503, "DNS resolution failure", "", flags);
                reply.details = format!("dns_resolution_failure{{{}}}", why.replace(' ', "_")).into();
                Err(reply.into())
            }
        }
    }
}
