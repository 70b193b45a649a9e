//! Bytes of connections, counted where they are read and written.
//!
//! The transports hold one. Invariant: what is counted is what the socket took or gave, heads and framing included.

use std::sync::Arc;

use super::groups::{ClusterStats, HttpStats};

/// Whose bytes they are.
#[derive(Debug, Clone, Default)]
pub enum Meter {
    /// Nobody counts.
    #[default]
    None,
    /// A downstream connection's: `downstream_cx_rx_bytes_total` and its counterpart.
    Downstream(Arc<HttpStats>),
    /// An upstream connection's: `upstream_cx_rx_bytes_total` and its counterpart.
    Upstream(Arc<ClusterStats>),
}

impl Meter {
    /// So many bytes were read.
    #[inline]
    pub fn read(&self, n: usize) {
        match self {
            Self::None => {}
            Self::Downstream(stats) => stats.downstream_cx_rx_bytes_total.add(n as u64),
            Self::Upstream(stats) => stats.upstream_cx_rx_bytes_total.add(n as u64),
        }
    }

    /// So many bytes were written.
    #[inline]
    pub fn wrote(&self, n: usize) {
        match self {
            Self::None => {}
            Self::Downstream(stats) => stats.downstream_cx_tx_bytes_total.add(n as u64),
            Self::Upstream(stats) => stats.upstream_cx_tx_bytes_total.add(n as u64),
        }
    }
}
