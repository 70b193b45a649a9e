//! The data plane: an ordinary Envoy bootstrap in, traffic through.
//!
//! Life of a connection, left to right through the modules: [`worker`] accepts on a [`listener`], whose filter
//! chain ends in [`tcp_proxy`] or in [`http`]; a request picks a [`route`], then a [`cluster`], then an endpoint
//! ([`balancer`]), and travels over a pooled [`upstream`] connection.
//!
//! Invariant: nothing here knows mesh resources or a control plane of ours; Envoy's API is the only input.

pub mod access_log;
pub mod admin;
pub mod balancer;
pub mod bootstrap;
pub mod cel;
pub mod cluster;
pub mod drain;
pub mod error;
pub mod explain;
pub mod http;
pub mod lifecycle;
pub mod listener;
pub mod logs;
pub mod prepared;
pub mod route;
pub mod run;
pub mod stats;
pub mod stream;
pub mod tcp_proxy;
pub mod upstream;
pub mod worker;
pub mod xds;
