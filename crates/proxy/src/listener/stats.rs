//! Counters of a listener, `listener.<address>.*` in Envoy's names.
//!
//! One per listener and worker; the accept loop writes them. Invariant: the names are Envoy's.

pub use crate::stats::groups::ListenerStats;
