//! Endpoints of other networks, which are reached through the gateways of their network.
//!
//! Invariant: a client gets no address of another network that has gateways.

use std::collections::BTreeMap;

use meltemi_config::Str;

use super::View;
use super::locality::Placed;
use crate::model::endpoint::Endpoint;
use crate::registry::{Instance, Workload};
use crate::shared::Shared;

/// What a client reaches.
#[derive(Debug, Default)]
pub(super) struct Reached<'a> {
    /// Endpoints as they are.
    direct: Vec<Placed<'a>>,
    /// Gateways in place of others, at the place of those.
    gateways: Vec<(Shared<Endpoint>, Workload)>,
}

impl Reached<'_> {
    /// All of it.
    pub(super) fn all(&self) -> Vec<Placed<'_>> {
        let direct = self.direct.iter().map(|(endpoint, workload)| (endpoint.clone(), *workload));
        direct.chain(self.gateways.iter().map(|(endpoint, workload)| (endpoint.clone(), workload))).collect()
    }
}

/// Locality of endpoints, their network and a gateway of it.
type Seat<'a> = (&'a Str, &'a str, &'a (Str, u32));

impl View<'_> {
    /// Endpoints for this client. Gateways go by the name in the ClientHello, so whoever takes no mutual TLS is not reached
    /// through them (`mutual`: the client offers it), and left out as in Istio.
    pub(super) fn reached<'i>(
        &self,
        instances: impl Iterator<Item = &'i Instance>,
        mutual: bool,
    ) -> Reached<'i> {
        let networks = &self.snapshot.networks;
        let mut reached = Reached::default();
        if !networks.is_multi() {
            reached.direct.extend(instances.filter_map(|instance| direct(instance, 1)));
            return reached;
        }
        let mut weights: BTreeMap<Seat<'_>, u32> = BTreeMap::new();
        for instance in instances {
            let network = networks.of(&instance.workload, &instance.address);
            if !self.sees(network) {
                continue;
            }
            let gateways = networks.gateways(network);
            let near = self.network.is_empty() || network.is_empty() || *self.network == *network;
            if near || gateways.is_empty() {
                reached.direct.extend(direct(instance, networks.scale()));
            } else if mutual && instance.workload.mutual && instance.healthy {
                let count = u32::try_from(gateways.len()).unwrap_or(u32::MAX);
                let share = instance.weight.saturating_mul(networks.scale()) / count;
                for gateway in gateways {
                    let weight = weights.entry((&instance.workload.locality, network, gateway)).or_default();
                    *weight = weight.saturating_add(share);
                }
            }
        }
        reached.gateways = weights.into_iter().map(|(seat, weight)| gateway(seat, weight)).collect();
        reached
    }

    /// Whether the proxy wants to know of a network at all.
    fn sees(&self, network: &str) -> bool {
        let wanted = &self.node.metadata.network_view;
        wanted.is_empty() || network.is_empty() || wanted.iter().any(|name| &**name == network)
    }
}

/// An endpoint with an address; one without is behind gateways only.
pub(super) fn direct(instance: &Instance, scale: u32) -> Option<Placed<'_>> {
    let endpoint = Endpoint {
        address: instance.address.clone(),
        port: instance.port,
        weight: instance.weight.saturating_mul(scale),
        healthy: instance.healthy,
        workload: instance.workload.telemetry_name(),
    };
    (!instance.address.is_empty()).then(|| (Shared::new(endpoint), &*instance.workload))
}

fn gateway((locality, network, gateway): Seat<'_>, weight: u32) -> (Shared<Endpoint>, Workload) {
    let endpoint = Endpoint {
        address: gateway.0.clone(),
        port: gateway.1,
        weight,
        healthy: true,
        workload: Str::default(),
    };
    (Shared::new(endpoint), Workload::gateway(locality.clone(), network.into()))
}
