//! The model as Envoy's messages. Total functions without clock, environment or io: equal models give equal bytes.

pub mod cache;
pub mod cluster;
pub mod endpoint;
pub mod listener;
pub mod proto;
pub mod route;
