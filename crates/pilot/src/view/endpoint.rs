//! Endpoints of a service's port or one of its subsets.

use meltemi_config::labels::selects;
use meltemi_config::networking::tls::ClientTlsMode;
use meltemi_config::{Host, Labels};

use super::{View, locality, network};
use crate::model::endpoint::{Assignment, Locality};
use crate::names::{LOCAL_CLUSTER, parse_outbound_cluster, parse_sni_cluster};
use crate::registry::{Instance, Service};
use crate::snapshot::destination_rule::{self, Policy};

impl View<'_> {
    /// The endpoints of a cluster that is discovered by EDS; of a name that is nobody's, none.
    pub fn assignment(&self, cluster: &str) -> Assignment {
        let named = parse_outbound_cluster(cluster).map(|parts| (parts, false));
        let named = named.or_else(|| parse_sni_cluster(cluster).map(|parts| (parts, true)));
        let found = named.and_then(|((port, subset, host), by_name)| {
            let host = Host::new(host);
            let service = self.service(&host)?;
            Some(self.localities_of(service, port, subset, by_name))
        });
        Assignment { cluster: cluster.to_owned(), localities: found.unwrap_or_default() }
    }

    /// The endpoints of the service that the proxy's workload belongs to (of several, the oldest), as far as they are in its
    /// region and run the same version: where the clients are that share the zone-aware choices of this one.
    pub fn own_service(&self) -> Assignment {
        let own = self.own_ports.first();
        let localities = own.map(|own| {
            let same = ["pod-template-hash", "service.istio.io/workload-name"];
            let labels = self.labels.iter().filter(|(name, _)| same.contains(&&***name));
            let labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
            let region = |locality: &str| locality.split('/').next().unwrap_or_default().to_owned();
            let here = region(&self.locality);
            let near = self.instances(&own.service).iter().filter(|instance| {
                instance.service_port == own.service_port
                    && region(&instance.workload.locality) == here
                    && selects(&labels, &instance.workload.labels)
            });
            let endpoints = near.filter_map(|instance| network::direct(instance, 1)).collect();
            let client =
                locality::Client { locality: &self.locality, labels: &self.labels, prefers_zone: true };
            locality::arrange(endpoints, None, false, client)
        });
        Assignment { cluster: LOCAL_CLUSTER.to_owned(), localities: localities.unwrap_or_default() }
    }

    /// `by_name`: clients of other networks ask for it by its name in the ClientHello, so only endpoints with mutual TLS are
    /// meant (SEM-175).
    fn localities_of(&self, service: &Service, port: u32, subset: &str, by_name: bool) -> Vec<Locality> {
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
        let taken = self.taken(service, port, &labels, |instance| {
            (instance.healthy || sent) && (!by_name || instance.workload.mutual)
        });
        let mutual = by_name || policy.tls.is_some_and(|tls| tls.mode == ClientTlsMode::IstioMutual);
        self.placed(self.reached(taken, mutual).all(), &policy)
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
        let taken = self.taken(service, port, labels, takes);
        self.placed(taken.filter_map(|instance| network::direct(instance, 1)).collect(), policy)
    }

    fn taken<'v>(
        &'v self,
        service: &'v Service,
        port: u32,
        labels: &'v Labels,
        takes: impl Fn(&Instance) -> bool + 'v,
    ) -> impl Iterator<Item = &'v Instance> {
        let instances = self.instances(service).iter().filter(move |instance| instance.service_port == port);
        let near = |instance: &Instance| !service.node_local || instance.workload.node == self.machine;
        instances.filter(move |instance| {
            selects(labels, &instance.workload.labels) && near(instance) && takes(instance)
        })
    }

    fn placed(&self, endpoints: Vec<locality::Placed<'_>>, policy: &Policy<'_>) -> Vec<Locality> {
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
