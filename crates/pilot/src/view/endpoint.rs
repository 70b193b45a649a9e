//! Endpoints of a service's port or one of its subsets.

use meltemi_config::labels::selects;
use meltemi_config::{Host, Labels};

use super::{View, locality};
use crate::model::endpoint::{Assignment, Endpoint, Locality};
use crate::names::{parse_outbound_cluster, parse_sni_cluster};
use crate::registry::{Instance, Service};
use crate::shared::Shared;
use crate::snapshot::destination_rule::{self, Policy};

impl View<'_> {
    /// The endpoints of a cluster that is discovered by EDS; of a name that is nobody's, none.
    pub fn assignment(&self, cluster: &str) -> Assignment {
        let found = parse_outbound_cluster(cluster).or_else(|| parse_sni_cluster(cluster)).and_then(
            |(port, subset, host)| {
                let host = Host::new(host);
                let service = self.service(&host)?;
                Some(self.localities_of(service, port, subset))
            },
        );
        Assignment { cluster: cluster.to_owned(), localities: found.unwrap_or_default() }
    }

    fn localities_of(&self, service: &Service, port: u32, subset: &str) -> Vec<Locality> {
        let labels = match subset {
            "" => Some(Labels::new()),
            name => self.subset_labels(service, name),
        };
        let Some(labels) = labels else { return Vec::new() };
        let policy = self.policy_of(service, port, subset);
        // A share of healthy endpoints is asked for below which all are used: those that are not ready are left out (SEM-154).
        let panics = policy.outlier_detection.is_some_and(|outlier| outlier.min_health_percent > 0);
        let switches = &self.snapshot.mesh.switches;
        let sent = switches.send_unhealthy || switches.auto_send_unhealthy && !panics;
        self.arranged(service, port, &labels, &policy, |instance| instance.healthy || sent)
    }

    /// Whether endpoints that are not ready are sent with their health at all.
    pub(super) fn tells_health(&self) -> bool {
        let switches = &self.snapshot.mesh.switches;
        switches.send_unhealthy || switches.auto_send_unhealthy
    }

    /// Endpoints of a port that have these labels, by locality and priority.
    pub(super) fn arranged(
        &self,
        service: &Service,
        port: u32,
        labels: &Labels,
        policy: &Policy<'_>,
        takes: impl Fn(&Instance) -> bool,
    ) -> Vec<Locality> {
        let instances = self.instances(service).iter().filter(|instance| instance.service_port == port);
        let near = |instance: &Instance| !service.node_local || instance.workload.node == self.machine;
        let taken = instances.filter(|instance| {
            selects(labels, &instance.workload.labels) && near(instance) && takes(instance)
        });
        let endpoints = taken.map(|instance| (endpoint(instance), &*instance.workload)).collect();
        let mesh = &self.snapshot.mesh;
        let settings = locality::settings(policy.load_balancer, mesh);
        let client = locality::Client {
            locality: &self.locality,
            labels: &self.labels,
            prefers_zone: locality::zone_aware(policy.load_balancer, mesh).is_some(),
        };
        locality::arrange(endpoints, settings.as_deref(), policy.outlier_detection.is_some(), client)
    }

    /// The policies that hold for a port and a subset, the mesh's for blocks that nobody gave (SEM-057).
    pub(super) fn policy_of(&self, service: &Service, port: u32, subset: &str) -> Policy<'_> {
        let rule = self.rule(service).map(|rule| &**rule);
        let subset = rule.and_then(|rule| rule.subsets.iter().find(|known| &*known.name == subset));
        let of_subset = subset.and_then(|subset| subset.traffic_policy.as_ref());
        let policy = destination_rule::policy(rule.and_then(|rule| rule.policy.as_ref()), of_subset, port);
        let defaults = self.snapshot.mesh.default_traffic_policy.as_ref();
        Policy {
            connection_pool: policy.connection_pool.or_else(|| defaults?.connection_pool.as_ref()),
            outlier_detection: policy.outlier_detection.or_else(|| defaults?.outlier_detection.as_ref()),
            ..policy
        }
    }

    fn subset_labels(&self, service: &Service, name: &str) -> Option<Labels> {
        let rule = self.rule(service)?;
        rule.subsets.iter().find(|subset| &*subset.name == name).map(|subset| subset.labels.clone())
    }
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
