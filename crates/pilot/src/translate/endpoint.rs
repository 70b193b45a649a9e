//! Endpoints as Envoy's ClusterLoadAssignment.

use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::config::endpoint::v3 as envoy;

use super::proto::{address, fields_of, istio_metadata, text, uint32};
use crate::model::endpoint::{Assignment, Endpoint, Locality};

/// The endpoints of a cluster.
pub fn assignment(model: &Assignment) -> envoy::ClusterLoadAssignment {
    envoy::ClusterLoadAssignment {
        cluster_name: model.cluster.clone(),
        endpoints: localities(&model.localities),
        ..Default::default()
    }
}

/// Endpoints listed in a cluster.
pub fn inline(cluster: &str, model: &[Locality]) -> envoy::ClusterLoadAssignment {
    envoy::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: localities(model),
        ..Default::default()
    }
}

fn localities(model: &[Locality]) -> Vec<envoy::LocalityLbEndpoints> {
    model.iter().map(locality).collect()
}

fn locality(model: &Locality) -> envoy::LocalityLbEndpoints {
    envoy::LocalityLbEndpoints {
        locality: Some(locality_name(&model.locality)),
        lb_endpoints: model.endpoints.iter().map(|endpoint| lb_endpoint(endpoint)).collect(),
        load_balancing_weight: (model.weight > 0).then(|| uint32(model.weight)),
        priority: model.priority,
        ..Default::default()
    }
}

fn locality_name(name: &str) -> core::Locality {
    let mut parts = name.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    core::Locality { region: next(), zone: next(), sub_zone: next() }
}

fn lb_endpoint(model: &Endpoint) -> envoy::LbEndpoint {
    let health = if model.healthy { core::HealthStatus::Unknown } else { core::HealthStatus::Unhealthy };
    let endpoint =
        envoy::Endpoint { address: Some(address(&model.address, model.port)), ..Default::default() };
    let workload = (!model.workload.is_empty()).then(|| fields_of([("workload", text(&model.workload))]));
    envoy::LbEndpoint {
        health_status: health.into(),
        metadata: workload.map(istio_metadata),
        load_balancing_weight: Some(uint32(model.weight.max(1))),
        host_identifier: Some(envoy::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
    }
}
