//! Clusters of a proxy: one for each port and subset of each service in scope, its own inbound ones, and Istio's fixed ones.

use std::time::Duration;

use meltemi_config::mesh::MeshH2UpgradePolicy;
use meltemi_config::networking::destination_rule::LocalityLoadBalancerSetting;
use meltemi_config::{Labels, Str};

use super::tls::TlsPlace;
use super::{View, locality, policy};
use crate::model::cluster::{Balancer, Cluster, Discovery, Origin, Pool, Protocol};
use crate::names::{
    BLACK_HOLE_CLUSTER, DYNAMIC_DNS_CLUSTER, PASSTHROUGH_CLUSTER, outbound_cluster, parse_outbound_cluster,
    sni_cluster,
};
use crate::node::Role;
use crate::registry::{Port, Resolution, Service};
use crate::snapshot::destination_rule;

/// How often names are resolved again unless the mesh says otherwise (MC-051).
const DNS_REFRESH: Duration = Duration::from_secs(60);

/// Idle connections to unknown destinations are closed after this time, as Istio does.
pub(super) const PASSTHROUGH_IDLE: Duration = Duration::from_secs(300);

/// Whether the weights of localities count: where they are set, and where priorities are.
fn weighs(settings: &LocalityLoadBalancerSetting, failover: bool) -> bool {
    let prioritises = !settings.failover.is_empty() || !settings.failover_priority.is_empty();
    !settings.distribute.is_empty() || failover && prioritises
}

impl View<'_> {
    /// All clusters, sorted by name.
    pub fn clusters(&self) -> Vec<Cluster> {
        let mut clusters = Vec::new();
        for service in self.scope.services.values() {
            clusters.extend(self.clusters_of(service));
        }
        clusters.extend(self.common_clusters());
        clusters.extend(self.own_clusters());
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        clusters.dedup_by(|a, b| a.name == b.name);
        clusters
    }

    /// The clusters of one service.
    pub fn clusters_of(&self, service: &Service) -> Vec<Cluster> {
        let mut clusters = Vec::new();
        for port in &service.ports {
            self.service_clusters(service, port, &mut clusters);
        }
        if self.node.role == Role::Router && self.passes_by_cluster(service) {
            clusters.extend(sni_clusters(&clusters));
        }
        clusters
    }

    /// The clusters that follow from no resource and are the same for all proxies of a kind.
    pub fn common_clusters(&self) -> Vec<Cluster> {
        let mut clusters = vec![self.fixed(BLACK_HOLE_CLUSTER, Discovery::Static(Vec::new()))];
        if self.node.role == Role::Sidecar {
            let mut passthrough = self.fixed(PASSTHROUGH_CLUSTER, Discovery::OriginalDestination);
            passthrough.protocol = Protocol::Downstream;
            passthrough.pool.idle_timeout = Some(PASSTHROUGH_IDLE);
            clusters.push(passthrough);
            clusters.extend(self.dynamic_cluster());
        }
        clusters
    }

    /// Requests to hosts that nobody knows.
    fn dynamic_cluster(&self) -> Option<Cluster> {
        self.snapshot.mesh.looks_up_unknown_hosts().then(|| {
            let mut dynamic = self.fixed(DYNAMIC_DNS_CLUSTER, Discovery::Dynamic(self.dns_refresh()));
            dynamic.protocol = Protocol::Downstream;
            let policy = self.snapshot.mesh.outbound_traffic_policy.as_ref();
            let place =
                TlsPlace { service: None, port: 0, subset: "", rule: None, protocol: dynamic.protocol };
            dynamic.tls = policy.and_then(|policy| self.cluster_tls(policy.tls.as_ref()?, place));
            dynamic.pool.idle_timeout = Some(PASSTHROUGH_IDLE);
            dynamic
        })
    }

    /// The clusters of this one proxy: towards its workload.
    pub fn own_clusters(&self) -> Vec<Cluster> {
        if self.node.role == Role::Sidecar { self.inbound_clusters() } else { Vec::new() }
    }

    /// The outbound cluster of that name, if its service, port and subset are there.
    pub(crate) fn named_cluster(&self, name: &str) -> Option<Cluster> {
        let (port, _, host) = crate::names::parse_outbound_cluster(name)?;
        let service = self.service(&meltemi_config::Host::new(host))?;
        let mut clusters = Vec::new();
        self.service_clusters(service, service.port(port)?, &mut clusters);
        clusters.into_iter().find(|cluster| cluster.name == name)
    }

    /// A cluster that follows from no resource.
    pub(super) fn fixed(&self, name: &str, discovery: Discovery) -> Cluster {
        let mesh = &self.snapshot.mesh;
        let original = discovery == Discovery::OriginalDestination;
        let mut cluster = Cluster::new(name, discovery, mesh.connect_timeout().0);
        cluster.pool = policy::pool(None, mesh);
        if original {
            cluster.balancer = Balancer::OriginalDestination;
        }
        cluster
    }

    /// The cluster of a port, and one for each subset.
    fn service_clusters(&self, service: &Service, port: &Port, into: &mut Vec<Cluster>) {
        let rule = self.rule(service).map(|rule| &**rule);
        into.push(self.service_cluster(service, port, rule, None));
        for subset in rule.into_iter().flat_map(|rule| &rule.subsets) {
            into.push(self.service_cluster(service, port, rule, Some(subset)));
        }
    }

    fn service_cluster(
        &self,
        service: &Service,
        port: &Port,
        rule: Option<&destination_rule::Rule>,
        subset: Option<&meltemi_config::networking::destination_rule::Subset>,
    ) -> Cluster {
        let mesh = &self.snapshot.mesh;
        let subset_name: Str = subset.map(|subset| subset.name.clone()).unwrap_or_default();
        let policy = self.policy_of(service, port.number, &subset_name);
        let of_rule = rule.and_then(|rule| rule.policy.as_ref());
        let extras =
            policy::extras(of_rule, subset.and_then(|subset| subset.traffic_policy.as_ref()), port.number);
        let mut balancer = policy::balancer(policy.load_balancer);
        let labels = subset.map(|subset| &subset.labels);
        let discovery = self.discovery(service, port, labels, balancer, &policy);
        if discovery == Discovery::OriginalDestination {
            balancer = Balancer::OriginalDestination;
        }
        let outlier = policy.outlier_detection.map(policy::outlier);
        let settings = locality::settings(policy.load_balancer, mesh);
        let zone_aware = locality::zone_aware(policy.load_balancer, mesh);
        let protocol = self.upstream_protocol(port, &policy);
        Cluster {
            pool: Pool { retry_budget: extras.retry_budget, ..policy::pool(policy.connection_pool, mesh) },
            balancer,
            protocol,
            tells_health: discovery == Discovery::Eds && self.tells_health(),
            locality_weighted: settings.is_some_and(|settings| weighs(&settings, outlier.is_some())),
            zone_aware: zone_aware.map(|settings| settings.min_cluster_size),
            outlier,
            tls: policy.tls.and_then(|tls| {
                self.cluster_tls(
                    tls,
                    TlsPlace {
                        service: Some(service),
                        port: port.number,
                        subset: &subset_name,
                        rule,
                        protocol,
                    },
                )
            }),
            proxy_protocol: extras.proxy_protocol,
            preserve_case: self.preserves_case(),
            stat_name: stat_name(
                mesh.outbound_cluster_stat_name.as_deref(),
                service,
                (port, port.target),
                &subset_name,
            ),
            origin: Some(origin(service, port, subset_name.clone(), rule)),
            ..Cluster::new(
                outbound_cluster(port.number, &subset_name, &service.host),
                discovery,
                policy::connect_timeout(policy.connection_pool, mesh),
            )
        }
    }

    /// Whether endpoints are sent by EDS. Where there is no original destination, headless services are balanced as others.
    pub(crate) fn uses_eds(&self, service: &Service) -> bool {
        service.resolution == Resolution::Static && (!service.headless || self.lacks_original_destination())
    }

    fn discovery(
        &self,
        service: &Service,
        port: &Port,
        labels: Option<&Labels>,
        balancer: Balancer,
        policy: &destination_rule::Policy<'_>,
    ) -> Discovery {
        if balancer == Balancer::OriginalDestination && !self.lacks_original_destination() {
            return Discovery::OriginalDestination;
        }
        let refresh = self.dns_refresh();
        let none = Labels::new();
        let listed = || self.arranged(service, port.number, labels.unwrap_or(&none), policy, |_| true);
        match service.resolution {
            Resolution::Static if self.uses_eds(service) => Discovery::Eds,
            Resolution::Static | Resolution::Passthrough => Discovery::OriginalDestination,
            Resolution::Dns => Discovery::StrictDns(listed(), refresh),
            Resolution::Dynamic => Discovery::Dynamic(refresh),
            Resolution::DnsRoundRobin => {
                let mut listed = listed();
                // Envoy takes one name only.
                listed.truncate(1);
                listed.iter_mut().for_each(|locality| locality.endpoints.truncate(1));
                Discovery::LogicalDns(listed, refresh)
            }
        }
    }

    /// How often names are resolved again.
    pub(super) fn dns_refresh(&self) -> Duration {
        self.snapshot.mesh.dns_refresh_rate.map_or(DNS_REFRESH, |rate| rate.0)
    }

    /// HTTP/2 where the port says so, or by upgrade (SEM-068).
    fn upstream_protocol(&self, port: &Port, policy: &destination_rule::Policy<'_>) -> Protocol {
        if port.protocol.is_http2() {
            return Protocol::Http2;
        }
        if policy::uses_client_protocol(policy) {
            return Protocol::Downstream;
        }
        let mesh = self.snapshot.mesh.h2_upgrade_policy == MeshH2UpgradePolicy::Upgrade;
        let upgrade = policy::h2_upgrade(policy).unwrap_or(mesh && port.protocol.is_http());
        match port.protocol {
            _ if upgrade && !port.protocol.is_tcp() => Protocol::Http2,
            // Sniffed ports carry HTTP/1.1 and HTTP/2 alike: what the client speaks is spoken on. At gateways clients are
            // always offered HTTP/2, which says nothing of the service.
            meltemi_config::Protocol::Auto if self.node.role == Role::Sidecar => Protocol::Downstream,
            _ => Protocol::Http1,
        }
    }
}

/// What the mesh's pattern makes of a cluster; empty: there is none (MC-055, MC-056).
pub(super) fn stat_name(
    pattern: Option<&str>,
    service: &Service,
    (port, target): (&Port, u32),
    subset: &str,
) -> String {
    let Some(pattern) = pattern else { return String::new() };
    let short = match service.kubernetes {
        true => format!("{}.{}", service.name, service.namespace),
        false => service.host.to_string(),
    };
    pattern
        .replace("%SERVICE%", &short)
        .replace("%SERVICE_FQDN%", &service.host)
        .replace("%SERVICE_NAME%", &service.name)
        .replace("%SERVICE_PORT%", &port.number.to_string())
        .replace("%SERVICE_PORT_NAME%", &port.name)
        .replace("%TARGET_PORT%", &target.to_string())
        .replace("%SUBSET_NAME%", subset)
}

/// The same clusters under their server names, for TLS that passes.
fn sni_clusters(clusters: &[Cluster]) -> Vec<Cluster> {
    let renamed = |cluster: &Cluster| {
        let (port, subset, host) = parse_outbound_cluster(&cluster.name)?;
        let name = sni_cluster(port, subset, host);
        Some(Cluster { name, stat_name: String::new(), tls: None, proxy_protocol: None, ..cluster.clone() })
    };
    clusters.iter().filter_map(renamed).collect()
}

fn origin(service: &Service, port: &Port, subset: Str, rule: Option<&destination_rule::Rule>) -> Origin {
    Origin {
        host: service.host.as_shared().clone(),
        name: service.name.clone(),
        namespace: service.namespace.clone(),
        subset,
        port: port.number,
        rule: rule.map(|rule| rule.origin.to_string()),
        external: service.external,
    }
}
