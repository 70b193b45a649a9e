//! The HTTP data path over real sockets: a proxy in this thread between raw clients and scripted upstreams.

mod bodies;
mod framing;
mod h2;
mod harness;
mod headers;
mod retries;
mod sizes;
mod stats;
mod tunnels;
