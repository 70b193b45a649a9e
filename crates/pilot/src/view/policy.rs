//! Policies of DestinationRules as parts of the model: pools, balancers, outlier detection, hash keys.

use std::sync::Arc;
use std::time::Duration;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::destination_rule::{
    ConnectionPoolSettings, ConsistentHashLb, H2UpgradePolicy, HashAlgorithm, HashKey as ConfigKey,
    LoadBalancerPolicy, LoadBalancerSettings, OutlierDetection, ProxyProtocolVersion, SimpleLb, TcpKeepalive,
    TrafficPolicy, TunnelSettings,
};

use super::View;
use crate::model::cluster::{Balancer, Keepalive, Outlier, Pool, ProxyVersion, RetryBudget, Warmup};
use crate::model::listener::Tunnel;
use crate::model::route::{Cookie, HashKey};
use crate::registry::Service;
use crate::snapshot::destination_rule::{Policy, Rule, policy};

/// How fast a new endpoint's share grows unless said otherwise (DR-059).
const WARMUP_AGGRESSION: f64 = 1.0;
/// A new endpoint's first share in percent unless said otherwise (DR-058).
const WARMUP_PERCENT: f64 = 10.0;
/// Retries as a share of requests in percent unless said otherwise (DR-024).
const BUDGET_PERCENT: f64 = 20.0;
/// Retries that there may always be unless said otherwise (DR-025).
const BUDGET_CONCURRENCY: u32 = 3;
/// Smallest ring unless said otherwise (DR-036).
const RING_SIZE: u64 = 1024;
/// Size of a Maglev table unless said otherwise (DR-037).
const MAGLEV_SIZE: u64 = 65_537;

impl View<'_> {
    /// The rule that holds for a service.
    pub(crate) fn rule(&self, service: &Service) -> Option<&Arc<Rule>> {
        self.looked_at(&service.host);
        self.snapshot.destination_rules.find(&self.client(), &service.host, &service.namespace)
    }

    /// Keys of the hash for requests to a port of a service; none unless its balancer hashes.
    pub(super) fn hash_keys(&self, service: &Service, port: u32, subset: &str) -> Vec<HashKey> {
        let Some(rule) = self.rule(service) else { return Vec::new() };
        let subset = rule.subsets.iter().find(|s| &*s.name == subset).and_then(|s| s.traffic_policy.as_ref());
        let policy = policy(rule.policy.as_ref(), subset, port);
        match policy.load_balancer.and_then(|balancer| balancer.policy.as_ref()) {
            Some(LoadBalancerPolicy::ConsistentHash(hash)) => hash_key(hash).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

fn hash_key(hash: &ConsistentHashLb) -> Option<HashKey> {
    Some(match hash.hash_key.as_ref()? {
        ConfigKey::HttpHeaderName(name) => HashKey::Header(name.clone()),
        ConfigKey::HttpQueryParameterName(name) => HashKey::Query(name.clone()),
        ConfigKey::UseSourceIp(true) => HashKey::SourceAddress,
        ConfigKey::UseSourceIp(false) => return None,
        ConfigKey::HttpCookie(cookie) => HashKey::Cookie(Box::new(Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone().unwrap_or_default(),
            ttl: cookie.ttl.map(|ttl| ttl.0),
            attributes: cookie
                .attributes
                .iter()
                .map(|attribute| (attribute.name.clone(), attribute.value.clone().unwrap_or_default()))
                .collect(),
        })),
    })
}

/// Limits: what is unset or zero has none (SEM-062).
pub(super) fn pool(settings: Option<&ConnectionPoolSettings>, mesh: &MeshConfig) -> Pool {
    let mut pool = Pool { keepalive: mesh.tcp_keepalive.as_ref().map(keepalive), ..Pool::default() };
    let Some(settings) = settings else { return pool };
    if let Some(tcp) = &settings.tcp {
        pool.max_connections = limit(tcp.max_connections);
        pool.keepalive = tcp.tcp_keepalive.as_ref().map(keepalive).or(pool.keepalive);
        pool.idle_timeout = tcp.idle_timeout.map(|timeout| timeout.0);
        pool.max_connection_duration = tcp.max_connection_duration.map(|duration| duration.0);
    }
    if let Some(http) = &settings.http {
        pool.max_pending_requests = limit(http.http1_max_pending_requests);
        pool.max_requests = limit(http.http2_max_requests);
        pool.max_retries = limit(http.max_retries);
        pool.max_requests_per_connection = u32::try_from(http.max_requests_per_connection).unwrap_or(0);
        pool.max_concurrent_streams = u32::try_from(http.max_concurrent_streams).unwrap_or(0);
        pool.http2_keepalive = http
            .http2_keep_alive
            .as_ref()
            .map(|probes| (probes.interval.map(|time| time.0), probes.timeout.map(|time| time.0)));
        pool.idle_timeout = http.idle_timeout.map(|timeout| timeout.0).or(pool.idle_timeout);
    }
    pool
}

fn limit(value: i32) -> u32 {
    u32::try_from(value).ok().filter(|limit| *limit > 0).unwrap_or(u32::MAX)
}

fn keepalive(settings: &TcpKeepalive) -> Keepalive {
    let seconds = |duration: meltemi_config::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    Keepalive {
        probes: settings.probes,
        time: settings.time.map(seconds),
        interval: settings.interval.map(seconds),
    }
}

/// How long a connection attempt may take.
pub(super) fn connect_timeout(settings: Option<&ConnectionPoolSettings>, mesh: &MeshConfig) -> Duration {
    let own = settings.and_then(|settings| settings.tcp.as_ref()?.connect_timeout);
    own.unwrap_or_else(|| mesh.connect_timeout()).0
}

/// What the rule says about HTTP/2: yes, no or nothing.
pub(super) fn h2_upgrade(policy: &Policy<'_>) -> Option<bool> {
    match policy.connection_pool?.http.as_ref()?.h2_upgrade_policy {
        H2UpgradePolicy::Default => None,
        H2UpgradePolicy::DoNotUpgrade => Some(false),
        H2UpgradePolicy::Upgrade => Some(true),
    }
}

/// Whether the client's protocol is spoken on.
pub(super) fn uses_client_protocol(policy: &Policy<'_>) -> bool {
    let http = policy.connection_pool.and_then(|pool| pool.http.as_ref());
    http.is_some_and(|http| http.use_client_protocol)
}

/// The balancer (SEM-059, SEM-060).
pub(super) fn balancer(settings: Option<&LoadBalancerSettings>) -> Balancer {
    match settings.and_then(|settings| settings.policy.as_ref()) {
        None => Balancer::LeastRequest(warmup(settings)),
        Some(LoadBalancerPolicy::Simple(simple)) => match simple {
            SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest => {
                Balancer::LeastRequest(warmup(settings))
            }
            SimpleLb::Random => Balancer::Random,
            SimpleLb::RoundRobin => Balancer::RoundRobin(warmup(settings)),
            SimpleLb::Passthrough => Balancer::OriginalDestination,
        },
        Some(LoadBalancerPolicy::ConsistentHash(hash)) => match &hash.hash_algorithm {
            Some(HashAlgorithm::Maglev(maglev)) => Balancer::Maglev(maglev.table_size.unwrap_or(MAGLEV_SIZE)),
            Some(HashAlgorithm::RingHash(ring)) => {
                Balancer::RingHash(ring.minimum_ring_size.unwrap_or(RING_SIZE))
            }
            None => Balancer::RingHash(hash.minimum_ring_size.unwrap_or(RING_SIZE)),
        },
    }
}

/// New endpoints get a growing share (DR-055…DR-059).
fn warmup(settings: Option<&LoadBalancerSettings>) -> Option<Warmup> {
    let settings = settings?;
    match &settings.warmup {
        Some(warmup) => Some(Warmup {
            window: warmup.duration.0,
            curve: Some((
                warmup.aggression.unwrap_or(WARMUP_AGGRESSION).into(),
                warmup.minimum_percent.unwrap_or(WARMUP_PERCENT).into(),
            )),
        }),
        None => settings.warmup_duration_secs.map(|window| Warmup { window: window.0, curve: None }),
    }
}

/// Policies that ports do not have of their own.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) proxy_protocol: Option<ProxyVersion>,
    pub(super) retry_budget: Option<RetryBudget>,
}

/// The subset's, else the rule's; none where the port has settings of its own (SEM-055).
pub(super) fn extras(rule: Option<&TrafficPolicy>, subset: Option<&TrafficPolicy>, port: u32) -> Extras {
    let at_port = |policy: Option<&TrafficPolicy>| {
        policy.is_some_and(|policy| {
            let mut settings = policy.port_level_settings.iter();
            settings.any(|settings| settings.port.as_ref().is_some_and(|own| own.number == port))
        })
    };
    if at_port(rule) || at_port(subset) {
        return Extras::default();
    }
    let policies = || subset.into_iter().chain(rule);
    let version =
        policies().find_map(|policy| policy.proxy_protocol.as_ref()).map(|proxy| match proxy.version {
            ProxyProtocolVersion::V1 => ProxyVersion::V1,
            ProxyProtocolVersion::V2 => ProxyVersion::V2,
        });
    let budget = policies().find_map(|policy| policy.retry_budget.as_ref()).map(|budget| RetryBudget {
        share: budget.percent.unwrap_or(BUDGET_PERCENT).into(),
        least: budget.min_retry_concurrency.unwrap_or(BUDGET_CONCURRENCY),
        interval: budget.budget_interval.map(|interval| interval.0),
    });
    Extras { proxy_protocol: version, retry_budget: budget }
}

/// Outlier detection; none unless the block is there (SEM-063).
pub(super) fn outlier(settings: &OutlierDetection) -> Outlier {
    let percent = |value: i32| u32::try_from(value).unwrap_or(0).min(100);
    Outlier {
        consecutive_5xx: settings.consecutive_5xx_errors,
        consecutive_gateway: settings.consecutive_gateway_errors,
        consecutive_local: settings.consecutive_local_origin_failures,
        split_local: settings.split_external_local_origin_errors,
        interval: settings.interval.map(|interval| interval.0),
        base_ejection: settings.base_ejection_time.map(|time| time.0),
        max_ejection: (settings.max_ejection_percent > 0).then(|| percent(settings.max_ejection_percent)),
        min_health: percent(settings.min_health_percent),
    }
}

/// Whether the client's address picks the endpoint.
pub(super) fn hashes_source(settings: Option<&LoadBalancerSettings>) -> bool {
    let policy = settings.and_then(|settings| settings.policy.as_ref());
    matches!(policy, Some(LoadBalancerPolicy::ConsistentHash(hash)) if hash.hash_key == Some(ConfigKey::UseSourceIp(true)))
}

/// Through whom connections are made (DR-016…DR-019).
pub(super) fn tunnel(settings: &TunnelSettings) -> Tunnel {
    let host = &settings.target_host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let post = settings.protocol.as_deref().is_some_and(|word| word.eq_ignore_ascii_case("POST"));
    Tunnel { target: format!("{host}:{}", settings.target_port), post }
}
