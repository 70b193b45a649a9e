//! Endpoints of a service's port or one of its subsets.

use std::collections::BTreeMap;

use meltemi_config::labels::selects;
use meltemi_config::{Host, Labels, Str};

use super::View;
use crate::model::endpoint::{Assignment, Endpoint, Locality};
use crate::names::parse_outbound_cluster;
use crate::registry::{Instance, Service};
use crate::shared::Shared;

impl View<'_> {
    /// The endpoints of a cluster that is discovered by EDS; of a name that is nobody's, none.
    pub fn assignment(&self, cluster: &str) -> Assignment {
        let found = parse_outbound_cluster(cluster).and_then(|(port, subset, host)| {
            let host = Host::new(host);
            let service = self.service(&host)?;
            Some(self.localities_of(service, port, subset))
        });
        Assignment {
            cluster: cluster.to_owned(),
            localities: found.unwrap_or_default(),
            strict_health: false,
        }
    }

    /// The service of that host, as this proxy sees it.
    pub(crate) fn service(&self, host: &Host) -> Option<&std::sync::Arc<Service>> {
        let scoped = self.scope.services.get(host);
        scoped.or_else(|| self.snapshot.visible_service(host, &self.node.namespace))
    }

    fn localities_of(&self, service: &Service, port: u32, subset: &str) -> Vec<Locality> {
        let labels = match subset {
            "" => Some(Labels::new()),
            name => self.subset_labels(service, name),
        };
        let Some(labels) = labels else { return Vec::new() };
        localities(self.snapshot.registry.instances_of(service), port, &labels)
    }

    fn subset_labels(&self, service: &Service, name: &str) -> Option<Labels> {
        let rule = self.rule(service)?;
        rule.subsets.iter().find(|subset| &*subset.name == name).map(|subset| subset.labels.clone())
    }
}

/// Instances of a port that have these labels, by locality.
pub(super) fn localities(instances: &[Instance], port: u32, labels: &Labels) -> Vec<Locality> {
    let mut by_locality: BTreeMap<&Str, Vec<Shared<Endpoint>>> = BTreeMap::new();
    for instance in instances.iter().filter(|instance| instance.service_port == port) {
        if selects(labels, &instance.workload.labels) {
            by_locality.entry(&instance.workload.locality).or_default().push(endpoint(instance));
        }
    }
    let locality = |(locality, endpoints): (&Str, _)| Locality { locality: locality.clone(), endpoints };
    by_locality.into_iter().map(locality).collect()
}

fn endpoint(instance: &Instance) -> Shared<Endpoint> {
    Shared::new(Endpoint {
        address: instance.address.clone(),
        port: instance.port,
        weight: instance.weight,
        healthy: instance.healthy,
        workload: instance.workload.telemetry_name(),
    })
}
