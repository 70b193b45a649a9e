//! Counters of a listener, `listener.<address>.*` in Envoy's names.
//!
//! One per listener and worker; the accept loop writes them. Invariant: the names are Envoy's.

use crate::stats::{Counter, Gauge};

/// What a worker counts for a listener.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// `downstream_cx_total`.
    pub downstream_cx_total: Counter,
    /// `downstream_cx_active`.
    pub downstream_cx_active: Gauge,
    /// `downstream_cx_destroy`.
    pub downstream_cx_destroy: Counter,
    /// `downstream_pre_cx_timeout`: inspection took too long.
    pub downstream_pre_cx_timeout: Counter,
    /// `downstream_pre_cx_active`: under inspection.
    pub downstream_pre_cx_active: Gauge,
    /// `downstream_listener_filter_error`.
    pub downstream_listener_filter_error: Counter,
    /// `downstream_listener_filter_remote_close`.
    pub downstream_listener_filter_remote_close: Counter,
    /// `no_filter_chain_match`.
    pub no_filter_chain_match: Counter,
}
