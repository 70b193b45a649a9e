//! Envoy's xDS v3: messages, their JSON form, and both ends of the discovery protocol.

pub use envoy_types::pb;

mod any;
pub mod client;
pub mod extension;
pub mod json;
pub mod node;
pub mod server;
pub mod type_url;
pub mod typed_struct;

pub use any::{UnpackError, any, unpack};
