//! What a change of objects changed in the snapshot: what the discovery server follows to the resources that may differ now.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_config::Host;

use super::virtual_service::Resolved;
use crate::registry::build;

/// What changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Services and endpoints.
    pub registry: build::Changes,
    /// Hosts of DestinationRules that changed, wildcards included.
    pub rules: BTreeSet<Host>,
    /// VirtualServices before and after.
    pub virtual_services: Vec<BeforeAfter>,
    /// Whether any Gateway changed.
    pub gateways: bool,
    /// Whether any Sidecar changed.
    pub sidecars: bool,
    /// Whether any Telemetry resource changed.
    pub telemetries: bool,
    /// Whether any network has other gateways or endpoints.
    pub networks: bool,
    /// Whether other labels of proxies matter now.
    pub selectors: bool,
}

/// A VirtualService before and after.
pub type BeforeAfter = (Option<Arc<Resolved>>, Option<Arc<Resolved>>);

impl Changes {
    /// Hosts whose service, rules or VirtualServices changed; wildcards mean all hosts below them.
    pub fn hosts(&self) -> BTreeSet<Host> {
        let mut hosts = self.registry.services.clone();
        hosts.extend(self.rules.iter().cloned());
        for resolved in self.virtual_services.iter().flat_map(|(old, new)| old.iter().chain(new)) {
            hosts.extend(resolved.hosts.iter().cloned());
        }
        hosts
    }

    /// Whether nothing but endpoints changed.
    pub fn only_endpoints(&self) -> bool {
        self.registry.services.is_empty()
            && self.rules.is_empty()
            && self.virtual_services.is_empty()
            && !self.gateways
            && !self.sidecars
            && !self.telemetries
            && !self.selectors
            && !self.networks
    }
}
