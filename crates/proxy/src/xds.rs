//! Envoy's resources, decoded, validated and compiled to what the data path uses; and the exchange that keeps them
//! current.
//!
//! One file per resource, each a total function from message to runtime form or [`Rejection`]. The [`plane`] owns the
//! state: static resources first, then whatever the discovery server sends.
//! Invariant: nothing invalid is published, one bad resource hurts only itself, and the last good one stays.

#![expect(deprecated, reason = "other control planes still send Envoy's deprecated fields")]

pub mod access_log;
pub mod cluster;
pub mod context;
pub mod dynamic;
pub mod endpoint;
pub mod fields;
pub mod hcm;
pub mod header_rules;
pub mod http_filters;
pub mod listener;
pub mod listener_filters;
pub mod matchers;
pub mod metadata;
pub mod network_matcher;
pub mod plane;
pub mod rejection;
pub mod retry;
pub mod route;
pub mod route_action;
pub mod tcp_proxy;
pub mod view;
pub mod wire;

pub use self::{
    context::Context,
    rejection::{At, Rejection, refuse},
};

#[cfg(test)]
mod tests;
