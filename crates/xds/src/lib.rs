//! Envoy's xDS v3: messages, their JSON form, and both ends of the discovery protocol.

pub use envoy_types::pb;

mod any;
pub mod json;
pub mod server;
pub mod type_url;

pub use any::{UnpackError, any, unpack};
