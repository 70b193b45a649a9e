//! Endpoints of a service's port or one of its subsets.

use std::collections::BTreeMap;

use meltemi_config::labels::selects;
use meltemi_config::{Host, Labels, Str};

use super::View;
use crate::model::endpoint::{Assignment, Endpoint, Locality};
use crate::names::parse_outbound_cluster;
use crate::registry::{Instance, Service};
use crate::shared::Shared;
use crate::snapshot::destination_rule;

impl View<'_> {
    /// The endpoints of a cluster that is discovered by EDS; of a name that is nobody's, none.
    pub fn assignment(&self, cluster: &str) -> Assignment {
        let found = parse_outbound_cluster(cluster).and_then(|(port, subset, host)| {
            let host = Host::new(host);
            let service = self.service(&host)?;
            Some(self.localities_of(service, port, subset))
        });
        Assignment { cluster: cluster.to_owned(), localities: found.unwrap_or_default() }
    }

    fn localities_of(&self, service: &Service, port: u32, subset: &str) -> Vec<Locality> {
        let labels = match subset {
            "" => Some(Labels::new()),
            name => self.subset_labels(service, name),
        };
        let Some(labels) = labels else { return Vec::new() };
        let mut localities = localities(self.instances(service), port, &labels);
        if self.panics(service, port, subset) {
            for locality in &mut localities {
                locality.endpoints.retain(|endpoint| endpoint.healthy);
            }
            localities.retain(|locality| !locality.endpoints.is_empty());
        }
        localities
    }

    /// Whether a share of healthy endpoints is asked for below which all are used: those that are not ready are then left out
    /// (SEM-154).
    fn panics(&self, service: &Service, port: u32, subset: &str) -> bool {
        let policy = self.rule(service).map(|rule| {
            let subset = rule.subsets.iter().find(|known| &*known.name == subset);
            let of_subset = subset.and_then(|subset| subset.traffic_policy.as_ref());
            destination_rule::policy(rule.policy.as_ref(), of_subset, port)
        });
        policy
            .and_then(|policy| policy.outlier_detection)
            .is_some_and(|outlier| outlier.min_health_percent > 0)
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
