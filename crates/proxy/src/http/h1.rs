//! HTTP/1.1 in both roles: strict parsing, encoding, body framing, and the transport that both sides share.
//!
//! [`server`] is the downstream codec; the upstream one lives in `crate::upstream::h1`.
//! Invariant: whatever RFC 9112 leaves ambiguous is refused, so that no peer can read a message differently than we do.

pub mod encode;
pub(crate) mod exchange;
pub mod parse;
pub mod server;
pub mod transport;
