//! HTTP/2 in both roles, an engine of our own (docs/decisions/http2-engine.md has the reasons and the figures).
//!
//! From the outside in: [`server`] is the downstream driver, `crate::upstream::h2` the upstream one; each has a
//! [`wire::Wire`] (socket) and a [`connection::Connection`] (state, without io). [`stream::Stream`] is a stream's end of
//! it, [`slots`] run the request phases of a downstream connection's streams in its own task. [`frame`], [`head`] and
//! [`hpack`] read and write the bytes.
//! Invariant: window is given back to a peer only as the other side of the exchange takes its data.

pub mod connection;
pub mod frame;
pub mod head;
pub mod hpack;
pub mod keepalive;
pub mod server;
pub mod slots;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod wire;
