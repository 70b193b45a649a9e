//! Networks: which one an endpoint is in, and the gateways that lead into each (MN-001…MN-009). Kept by the snapshot, asked by `view`
//! and by whoever groups proxies.
//!
//! Invariant: as long as no network has a gateway, networks make no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meltemi_config::mesh::{MeshConfig, NetworkEndpointsBy, NetworkGatewayBy};
use meltemi_config::{Host, Kind, Str};

use super::Change;
use crate::registry::{NETWORK_LABEL, Registry, Service, Workload};

/// Label of Services that are gateways of a network: the port, if it is not the usual one.
const PORT_LABEL: &str = "networking.istio.io/gatewayPort";
/// The port of gateways between networks.
const PORT: u32 = 15443;
/// Registry of Kubernetes objects.
const KUBERNETES: &str = "Kubernetes";
/// Registry of ServiceEntries.
const EXTERNAL: &str = "External";

/// A gateway into a network: address and port.
pub type Gateway = (Str, u32);

/// The mesh's networks.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    made: bool,
    gateways: BTreeMap<Str, Vec<Gateway>>,
    /// What weights are multiplied with, so that each can be split among the gateways of any network.
    scale: u32,
    registries: BTreeMap<Str, Str>,
    ranges: Vec<(IpAddr, u32, Str)>,
    /// Network of Kubernetes endpoints that say none: label of the root namespace.
    system: Option<Str>,
    /// Services that say they are gateways.
    labelled: BTreeSet<Host>,
}

impl Networks {
    /// Takes changes in; whether any of it made a difference.
    pub(super) fn update(
        &mut self,
        objects: &[Change],
        services: &BTreeSet<Host>,
        mesh: &MeshConfig,
        registry: &Registry,
    ) -> bool {
        let mut touched = !std::mem::replace(&mut self.made, true);
        for (id, object) in objects {
            if id.kind == Kind::Namespace && *id.name == *mesh.root_namespace() {
                let label = object.as_ref().and_then(|object| object.labels().get(NETWORK_LABEL));
                touched |= self.system.as_ref() != label;
                self.system = label.cloned();
            }
        }
        for host in services {
            let is_gateway =
                kubernetes(registry, host).is_some_and(|service| service.labels.contains_key(NETWORK_LABEL));
            touched |= match is_gateway {
                true => {
                    self.labelled.insert(host.clone());
                    true
                }
                false => self.labelled.remove(host),
            };
        }
        touched |= named(mesh).any(|name| services.contains(&Host::new(name)));
        touched && self.make(mesh, registry)
    }

    fn make(&mut self, mesh: &MeshConfig, registry: &Registry) -> bool {
        let before = self.clone();
        let mut gateways: BTreeMap<Str, BTreeSet<Gateway>> = BTreeMap::new();
        (self.registries, self.ranges) = (BTreeMap::new(), Vec::new());
        for (name, network) in &mesh.networks.networks {
            for endpoints in network.endpoints.iter().filter_map(|endpoints| endpoints.endpoints.as_ref()) {
                match endpoints {
                    NetworkEndpointsBy::FromRegistry(registry) => {
                        self.registries.insert(registry.clone(), name.clone());
                    }
                    NetworkEndpointsBy::FromCidr(range) => {
                        self.ranges
                            .extend(parsed(range).map(|(address, bits)| (address, bits, name.clone())));
                    }
                }
            }
            let into = gateways.entry(name.clone()).or_default();
            for gateway in &network.gateways {
                match &gateway.gateway {
                    // Names are not looked up: endpoints have addresses.
                    Some(NetworkGatewayBy::Address(address)) if address.parse::<IpAddr>().is_ok() => {
                        into.insert((address.clone(), gateway.port));
                    }
                    Some(NetworkGatewayBy::RegistryServiceName(name)) => {
                        let service = kubernetes(registry, &Host::new(name));
                        into.extend(outside(service).map(|address| (address, gateway.port)));
                    }
                    _ => {}
                }
            }
        }
        for service in self.labelled.iter().filter_map(|host| kubernetes(registry, host)) {
            let Some(network) = service.labels.get(NETWORK_LABEL) else { continue };
            let port = service.labels.get(PORT_LABEL).and_then(|port| port.parse().ok()).unwrap_or(PORT);
            gateways
                .entry(network.clone())
                .or_default()
                .extend(outside(Some(service)).map(|address| (address, port)));
        }
        gateways.retain(|_, gateways| !gateways.is_empty());
        self.gateways = gateways.into_iter().map(|(name, all)| (name, all.into_iter().collect())).collect();
        self.scale = self.gateways.values().fold(1, |scale, all| least_common(scale, all.len()));
        before.gateways != self.gateways
            || self.is_multi()
                && (before.registries != self.registries
                    || before.ranges != self.ranges
                    || before.system != self.system)
    }

    /// Whether networks make a difference.
    pub fn is_multi(&self) -> bool {
        !self.gateways.is_empty()
    }

    /// Gateways into a network.
    pub fn gateways(&self, network: &str) -> &[Gateway] {
        self.gateways.get(network).map_or(&[], Vec::as_slice)
    }

    /// What weights are multiplied with.
    pub fn scale(&self) -> u32 {
        self.scale.max(1)
    }

    /// The network of an endpoint: as its workload says, else as the root namespace says for Kubernetes, else by registry, else
    /// by address; empty if unknown.
    pub fn of<'a>(&'a self, workload: &'a Workload, address: &str) -> &'a str {
        if !workload.network.is_empty() {
            return &workload.network;
        }
        let system = self.system.as_deref().filter(|_| workload.pod);
        let registry = if workload.pod { KUBERNETES } else { EXTERNAL };
        let registry = self.registries.get(registry).map(|network| &**network);
        system.or(registry).unwrap_or_else(|| self.in_range(address))
    }

    /// The network whose range an address is in; of several none, as in Istio.
    fn in_range(&self, address: &str) -> &str {
        let Some(address) =
            Some(address).filter(|_| !self.ranges.is_empty()).and_then(|text| text.parse().ok())
        else {
            return "";
        };
        let mut found = self
            .ranges
            .iter()
            .filter(|(range, bits, _)| holds(*range, *bits, address))
            .map(|(.., name)| name);
        let Some(first) = found.next() else { return "" };
        if found.all(|other| other == first) { first } else { "" }
    }
}

/// Services that MeshNetworks name.
fn named(mesh: &MeshConfig) -> impl Iterator<Item = &Str> {
    let gateways = mesh.networks.networks.values().flat_map(|network| &network.gateways);
    gateways.filter_map(|gateway| match &gateway.gateway {
        Some(NetworkGatewayBy::RegistryServiceName(name)) => Some(name),
        _ => None,
    })
}

fn kubernetes<'r>(registry: &'r Registry, host: &Host) -> Option<&'r Service> {
    registry.services.get(host)?.iter().find(|service| service.kubernetes).map(|service| &**service)
}

fn outside(service: Option<&Service>) -> impl Iterator<Item = Str> + '_ {
    service.into_iter().flat_map(|service| service.external_addresses.iter().cloned())
}

fn parsed(range: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) =
        range.split_once('/').map_or((range, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), str::parse).ok().filter(|bits| *bits <= most)?;
    Some((address, bits))
}

fn holds(range: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (range, address) {
        (IpAddr::V4(range), IpAddr::V4(address)) => {
            bits == 0 || (range.to_bits() ^ address.to_bits()) >> (32 - bits) == 0
        }
        (IpAddr::V6(range), IpAddr::V6(address)) => {
            bits == 0 || (range.to_bits() ^ address.to_bits()) >> (128 - bits) == 0
        }
        _ => false,
    }
}

fn least_common(scale: u32, count: usize) -> u32 {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let (mut a, mut b) = (scale, count);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    (scale / a.max(1)).saturating_mul(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_addresses() {
        for (range, address, wanted) in [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("fd00::/16", "fd00:1::1", true),
            ("fd00::/16", "10.0.0.1", false),
        ] {
            let (range, bits) = parsed(range).unwrap();
            assert_eq!(holds(range, bits, address.parse().unwrap()), wanted, "{range} {address}");
        }
        assert_eq!(parsed("10.0.0.0/33"), None);
        assert_eq!(parsed("nowhere"), None);
    }

    #[test]
    fn weights_can_be_split_among_the_gateways_of_every_network() {
        assert_eq!([1, 2, 3, 4].into_iter().fold(1, least_common), 12);
        assert_eq!([2, 2].into_iter().fold(1, least_common), 2);
    }
}
