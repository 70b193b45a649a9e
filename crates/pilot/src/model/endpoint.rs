//! Endpoints of a cluster, by locality.

use meltemi_config::Str;

use crate::shared::Shared;

/// The endpoints of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The cluster.
    pub cluster: String,
    /// By locality, sorted.
    pub localities: Vec<Locality>,
}

/// Endpoints of one locality.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Locality {
    /// `region/zone/subzone`; empty if unknown.
    pub locality: Str,
    /// Those of a lower number are used as long as they are healthy.
    pub priority: u32,
    /// Share among the localities of one priority.
    pub weight: u32,
    /// Sorted by address and port.
    pub endpoints: Vec<Shared<Endpoint>>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IP address, name (DNS clusters) or path of a Unix socket.
    pub address: Str,
    /// Port.
    pub port: u32,
    /// Share.
    pub weight: u32,
    /// Whether it may get traffic.
    pub healthy: bool,
    /// `name;namespace;canonical name;revision;cluster`, for access logs and metrics.
    pub workload: Str,
}
