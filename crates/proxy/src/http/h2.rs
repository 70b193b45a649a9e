//! HTTP/2 in both roles, over the `h2` crate, which keeps frames, HPACK, windows and their limits.
//!
//! [`server`] is the downstream side, one local task per stream; the upstream one lives in `crate::upstream::h2`.
//! Invariant: window is given back to a peer only as the other side of the exchange takes its data.

pub mod body;
pub mod frame;
pub mod headers;
pub mod hpack;
pub mod io;
pub mod server;
#[cfg(test)]
mod tests;
