//! The HTTP data path over real sockets: a proxy in this thread between raw clients and scripted upstreams.

mod bodies;
mod framing;
mod h2;
pub(super) mod harness;
mod headers;
mod mirrors;
mod reasons;
mod retries;
mod sizes;
mod stats;
mod tunnels;
