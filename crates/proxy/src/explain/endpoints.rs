//! The endpoints of a cluster at rest: from the messages that it came in.
//!
//! Invariant: an endpoint is listed whatever its health, which says whether it gets calls.

use std::fmt;

use meltemi_xds::pb::envoy::config::{
    cluster::v3::{Cluster, cluster},
    core::v3::{HealthStatus, Locality, address, socket_address::PortSpecifier},
    endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
};

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// These.
    Known(Vec<Seat>),
    /// From somewhere else than configuration: DNS, the connection's original destination.
    Elsewhere(String),
}

/// One endpoint, and what its place among the others is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seat {
    /// Address and port.
    pub address: String,
    /// Envoy's word for its health, such as `HEALTHY`.
    pub health: String,
    /// 0 first.
    pub priority: u32,
    /// Share among those of its priority, at least 1.
    pub weight: u32,
    /// `region/zone/subzone`; empty if unknown.
    pub locality: String,
}

impl Seat {
    /// Whether it gets calls while others are healthy.
    pub fn is_usable(&self) -> bool {
        matches!(&*self.health, "HEALTHY" | "DEGRADED")
    }
}

impl fmt::Display for Seat {
    /// The address, and whatever sets it apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        let mut apart = Vec::new();
        if self.health != "HEALTHY" {
            apart.push(self.health.to_lowercase());
        }
        if self.priority > 0 {
            apart.push(format!("priority {}", self.priority));
        }
        if self.weight > 1 {
            apart.push(format!("weight {}", self.weight));
        }
        if !self.locality.is_empty() {
            apart.push(format!("in {}", self.locality));
        }
        if apart.is_empty() { Ok(()) } else { write!(f, " ({})", apart.join(", ")) }
    }
}

/// Where the endpoints of a cluster come from.
pub(super) fn of(cluster: &Cluster, assignment: Option<&ClusterLoadAssignment>) -> Endpoints {
    use cluster::DiscoveryType;
    let kind = match &cluster.cluster_discovery_type {
        Some(cluster::ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).unwrap_or_default(),
        Some(cluster::ClusterDiscoveryType::ClusterType(custom)) => {
            return Endpoints::Elsewhere(format!("looked up by {}", custom.name));
        }
        None => DiscoveryType::Static,
    };
    let own = || cluster.load_assignment.as_ref().map(seats).unwrap_or_default();
    match kind {
        DiscoveryType::OriginalDst => {
            Endpoints::Elsewhere("the address that the client asked for".to_owned())
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let names: Vec<String> = own().into_iter().map(|seat| seat.address).collect();
            match names.is_empty() {
                true => Endpoints::Known(Vec::new()),
                false => Endpoints::Elsewhere(format!("what DNS says of {}", names.join(", "))),
            }
        }
        DiscoveryType::Eds => Endpoints::Known(assignment.map(seats).unwrap_or_default()),
        DiscoveryType::Static => Endpoints::Known(own()),
    }
}

fn seats(assignment: &ClusterLoadAssignment) -> Vec<Seat> {
    let mut seats = Vec::new();
    for group in &assignment.endpoints {
        for endpoint in &group.lb_endpoints {
            let Some(HostIdentifier::Endpoint(at)) = &endpoint.host_identifier else { continue };
            let Some(address) = at.address.as_ref().and_then(|address| address.address.as_ref()) else {
                continue;
            };
            seats.push(Seat {
                address: text(address),
                health: health(endpoint.health_status).to_owned(),
                priority: group.priority,
                weight: endpoint.load_balancing_weight.as_ref().map_or(1, |weight| weight.value.max(1)),
                locality: group.locality.as_ref().map(place).unwrap_or_default(),
            });
        }
    }
    seats
}

fn health(status: i32) -> &'static str {
    match HealthStatus::try_from(status).unwrap_or_default() {
        HealthStatus::Unknown | HealthStatus::Healthy => "HEALTHY",
        other => other.as_str_name(),
    }
}

fn place(locality: &Locality) -> String {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let parts: Vec<&str> =
        parts.into_iter().map(String::as_str).take_while(|part| !part.is_empty()).collect();
    parts.join("/")
}

fn text(address: &address::Address) -> String {
    match address {
        address::Address::SocketAddress(socket) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => socket.address.clone(),
        },
        address::Address::Pipe(pipe) => format!("unix:{}", pipe.path),
        address::Address::EnvoyInternalAddress(_) => "an internal listener".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sets_an_endpoint_apart_is_said() {
        let plain =
            Seat { address: "10.0.0.1:80".into(), health: "HEALTHY".into(), weight: 1, ..Seat::default() };
        assert_eq!(plain.to_string(), "10.0.0.1:80");
        let apart = Seat {
            health: "UNHEALTHY".into(),
            priority: 1,
            weight: 3,
            locality: "region/zone".into(),
            ..plain
        };
        assert_eq!(apart.to_string(), "10.0.0.1:80 (unhealthy, priority 1, weight 3, in region/zone)");
        assert!(!apart.is_usable());
    }
}
