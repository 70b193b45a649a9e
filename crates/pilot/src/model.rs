//! The plain model: what one proxy is to be told, resolved, before it is Envoy's. Made by `view`, mapped by `translate`.
//!
//! Invariant: a model holds everything that may influence the message made of it, so that its hash is the cache key; it knows
//! neither mesh resources nor Envoy.

pub mod cluster;
pub mod endpoint;
pub mod listener;
pub mod route;
