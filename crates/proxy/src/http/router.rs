//! The router: from a matched route to an upstream response, over as many tries as the retry policy allows.
//!
//! The connection manager calls [`forward::forward`]. Invariant: once a byte of the response went downstream, there
//! is no other try and no other answer.

pub mod forward;
pub mod mirror;
pub mod relay;
pub mod replay;
pub mod retry;
