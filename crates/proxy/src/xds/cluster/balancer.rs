//! How a cluster's hosts are chosen among: `lb_policy` with its configuration, or `load_balancing_policy`.
//! A policy unknown here refuses the cluster: traffic is never spread otherwise than asked for.

use std::sync::Arc;

use meltemi_xds::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster as Message, LoadBalancingPolicy,
                cluster::{
                    LbConfig, LbPolicy, RingHashLbConfig, SlowStartConfig as OlderSlowStart,
                    common_lb_config::LocalityConfigSpecifier as OlderLocality,
                    ring_hash_lb_config::HashFunction as RingFunction,
                },
                load_balancing_policy::Policy,
            },
            core::v3::RuntimeDouble,
        },
        extensions::load_balancing_policies::{
            cluster_provided::v3::ClusterProvided,
            common::v3::{
                ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
                locality_lb_config::LocalityConfigSpecifier as TypedLocality,
            },
            least_request::v3::{LeastRequest, least_request::SelectionMethod},
            maglev::v3::Maglev,
            random::v3::Random,
            ring_hash::v3::{RingHash, ring_hash::HashFunction as TypedRingFunction},
            round_robin::v3::RoundRobin,
            subset::v3::Subset,
            wrr_locality::v3::WrrLocality,
        },
        r#type::v3::Percent,
    },
    google::protobuf::{Duration, UInt64Value},
};
use prost::Name;

use crate::{
    cluster::{BalancerPolicy, ClusterSettings, Consistent, SlowStart, ZoneAware},
    xds::{At, Context, Rejection, cluster::share, fields, metadata, refuse},
};

/// Sets the balancer of a cluster and what tunes it.
pub(super) fn balancer(
    message: &Message,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<(), Rejection> {
    settings.balancer = match &message.load_balancing_policy {
        Some(policy) => typed_policy(policy, settings, context).at("load_balancing_policy")?,
        None => older_policy(message)?,
    };
    if let (Some(config), None) = (&message.lb_subset_config, &message.load_balancing_policy) {
        let subsets = metadata::subsets(config, context).at("lb_subset_config")?;
        settings.subsets = subsets.map(Arc::new);
    }
    if settings.subsets.as_ref().is_some_and(|subsets| subsets.locality_weighted)
        && !is_locality_weighted(message)
    {
        let name = &message.name;
        return refuse(format!(
            "Locality weight aware subset LB requires that a locality_weighted_lb_config be set in {name}"
        ))
        .at("lb_subset_config");
    }
    if settings.subsets.is_some() && settings.balancer == BalancerPolicy::ClusterProvided {
        let name = &message.name;
        return refuse(format!(
            "cluster: LB policy {} cannot be combined with lb_subset_config in {name}",
            "CLUSTER_PROVIDED"
        ))
        .at("lb_policy");
    }
    let brings_one = settings.original_dst || settings.dynamic.is_some();
    if settings.balancer == BalancerPolicy::ClusterProvided && !brings_one {
        return refuse("CLUSTER_PROVIDED is for clusters that bring their own balancer").at("lb_policy");
    }
    match &message.lb_config {
        Some(LbConfig::LeastRequestLbConfig(config)) => {
            let bias = request_bias(config.active_request_bias.as_ref()).at("least_request_lb_config")?;
            let slow = older_slow_start(config.slow_start_config.as_ref());
            settings.slow_start = slow.at("least_request_lb_config.slow_start_config")?;
            if let BalancerPolicy::LeastRequest { .. } = settings.balancer {
                let choices = Some(fields::number(config.choice_count.as_ref(), 2).max(2));
                settings.balancer = BalancerPolicy::LeastRequest { choices, bias };
            }
        }
        Some(LbConfig::RoundRobinLbConfig(config)) => {
            let slow = older_slow_start(config.slow_start_config.as_ref());
            settings.slow_start = slow.at("round_robin_lb_config.slow_start_config")?;
        }
        Some(LbConfig::OriginalDstLbConfig(config)) => {
            fields::unsupported(config.use_http_header, "original_dst_lb_config.use_http_header")?;
            fields::unsupported(config.metadata_key.is_some(), "original_dst_lb_config.metadata_key")?;
            let port =
                config.upstream_port_override.as_ref().map(|port| u16::try_from(port.value)).transpose();
            settings.original_dst_port = port
                .map_err(|_| Rejection::new("port is above 65535"))
                .at("original_dst_lb_config.upstream_port_override")?;
        }
        _ => {}
    }
    Ok(())
}

/// Whether the weights of localities count, be it in the older form or in a typed policy's.
fn is_locality_weighted(message: &Message) -> bool {
    let common =
        message.common_lb_config.as_ref().and_then(|common| common.locality_config_specifier.as_ref());
    message.load_balancing_policy.is_some()
        || matches!(common, Some(OlderLocality::LocalityWeightedLbConfig(_)))
}

/// `active_request_bias`, in thousandths.
fn request_bias(message: Option<&RuntimeDouble>) -> Result<u32, Rejection> {
    match message.map_or(1.0, |bias| bias.default_value) {
        bias if (0.0..=1000.0).contains(&bias) => Ok((bias * 1000.0).round() as u32),
        bias => refuse(format!("{bias} is not between 0 and 1000")).at("active_request_bias.default_value"),
    }
}

/// `lb_policy`, the form that `load_balancing_policy` replaces.
fn older_policy(message: &Message) -> Result<BalancerPolicy, Rejection> {
    match LbPolicy::try_from(message.lb_policy) {
        Ok(LbPolicy::RoundRobin) => Ok(BalancerPolicy::RoundRobin),
        Ok(LbPolicy::Random) => Ok(BalancerPolicy::Random),
        Ok(LbPolicy::LeastRequest) => Ok(BalancerPolicy::LeastRequest { choices: Some(2), bias: 1000 }),
        Ok(LbPolicy::ClusterProvided) => Ok(BalancerPolicy::ClusterProvided),
        Ok(LbPolicy::RingHash) => {
            let config = match &message.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => *config,
                _ => RingHashLbConfig::default(),
            };
            let murmur = config.hash_function == RingFunction::MurmurHash2 as i32;
            let sizes = (config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref());
            ring(sizes, murmur, hostnames(message)?).at("ring_hash_lb_config")
        }
        Ok(LbPolicy::Maglev) => {
            let size = match &message.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size.as_ref(),
                _ => None,
            };
            maglev(size, hostnames(message)?).at("maglev_lb_config")
        }
        Ok(policy) => refuse(format!("{} is not supported", policy.as_str_name())).at("lb_policy"),
        Err(_) => fields::unknown_enum("lb_policy", message.lb_policy),
    }
}

/// The first policy that is known here, as Envoy picks it.
fn typed_policy(
    message: &LoadBalancingPolicy,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<BalancerPolicy, Rejection> {
    let mut unknown = Vec::new();
    for policy in &message.policies {
        let Some(extension) = &policy.typed_extension_config else { continue };
        let Some(config) = &extension.typed_config else { continue };
        let url = config.type_url.as_str();
        if url == RoundRobin::type_url() {
            let config: RoundRobin = fields::unpack(config)?;
            locality(config.locality_lb_config.as_ref(), settings, context)?;
            typed_slow_start(config.slow_start_config.as_ref(), settings)?;
            return Ok(BalancerPolicy::RoundRobin);
        } else if url == RingHash::type_url() {
            let config: RingHash = fields::unpack(config)?;
            return typed_ring(&config, settings);
        } else if url == Maglev::type_url() {
            let config: Maglev = fields::unpack(config)?;
            settings.locality_weighted |= config.locality_weighted_lb_config.is_some();
            let hostname = consistent(config.consistent_hashing_lb_config.as_ref())?;
            return maglev(config.table_size.as_ref(), hostname);
        } else if url == Random::type_url() {
            return Ok(BalancerPolicy::Random);
        } else if url == ClusterProvided::type_url() {
            return Ok(BalancerPolicy::ClusterProvided);
        } else if url == LeastRequest::type_url() {
            let config: LeastRequest = fields::unpack(config)?;
            let bias = request_bias(config.active_request_bias.as_ref())?;
            locality(config.locality_lb_config.as_ref(), settings, context)?;
            typed_slow_start(config.slow_start_config.as_ref(), settings)?;
            let choices = match SelectionMethod::try_from(config.selection_method) {
                Ok(SelectionMethod::NChoices) => Some(fields::number(config.choice_count.as_ref(), 2).max(2)),
                Ok(SelectionMethod::FullScan) => None,
                Err(_) => return fields::unknown_enum("selection_method", config.selection_method),
            };
            return Ok(BalancerPolicy::LeastRequest { choices, bias });
        } else if url == Subset::type_url() {
            let config: Subset = fields::unpack(config)?;
            settings.subsets = metadata::typed_subsets(&config, context)?.map(Arc::new);
            return match &config.subset_lb_policy {
                // One level here too.
                Some(inner) if inner.policies.iter().all(|policy| !is_of(policy, &Subset::type_url())) => {
                    typed_policy(inner, settings, context).at("subset_lb_policy")
                }
                _ => refuse("value is required").at("subset_lb_policy"),
            };
        } else if url == WrrLocality::type_url() {
            settings.locality_weighted = true;
            let config: WrrLocality = fields::unpack(config)?;
            return match &config.endpoint_picking_policy {
                // One level: a locality policy inside a locality policy means nothing.
                Some(inner)
                    if inner.policies.iter().all(|policy| {
                        !is_of(policy, &WrrLocality::type_url()) && !is_of(policy, &Subset::type_url())
                    }) =>
                {
                    typed_policy(inner, settings, context)
                }
                _ => refuse("value is required").at("endpoint_picking_policy"),
            };
        }
        unknown.push(extension.name.as_str());
    }
    refuse(format!("no supported policy among: {}", unknown.join(", ")))
}

fn typed_ring(config: &RingHash, settings: &mut ClusterSettings) -> Result<BalancerPolicy, Rejection> {
    settings.locality_weighted |= config.locality_weighted_lb_config.is_some();
    let hostname = match &config.consistent_hashing_lb_config {
        Some(common) => consistent(Some(common))?,
        None => {
            let balanced = config.hash_balance_factor.as_ref();
            fields::unsupported(balanced.is_some_and(|factor| factor.value != 0), "hash_balance_factor")?;
            config.use_hostname_for_hashing
        }
    };
    let murmur = config.hash_function == TypedRingFunction::MurmurHash2 as i32;
    ring((config.minimum_ring_size.as_ref(), config.maximum_ring_size.as_ref()), murmur, hostname)
}

/// `use_hostname_for_hashing` of typed policies.
fn consistent(config: Option<&ConsistentHashingLbConfig>) -> Result<bool, Rejection> {
    let Some(config) = config else { return Ok(false) };
    let balanced = config.hash_balance_factor.as_ref().is_some_and(|factor| factor.value != 0);
    fields::unsupported(balanced, "consistent_hashing_lb_config.hash_balance_factor")?;
    fields::unsupported(!config.hash_policy.is_empty(), "consistent_hashing_lb_config.hash_policy")?;
    Ok(config.use_hostname_for_hashing)
}

/// `use_hostname_for_hashing` of the cluster.
fn hostnames(message: &Message) -> Result<bool, Rejection> {
    let common = message.common_lb_config.as_ref();
    let Some(config) = common.and_then(|common| common.consistent_hashing_lb_config.as_ref()) else {
        return Ok(false);
    };
    let balanced = config.hash_balance_factor.as_ref().is_some_and(|factor| factor.value != 0);
    fields::unsupported(balanced, "common_lb_config.consistent_hashing_lb_config.hash_balance_factor")?;
    Ok(config.use_hostname_for_hashing)
}

/// Envoy's largest ring.
const MAX_RING: u64 = 8 << 20;
/// Envoy's largest Maglev table.
const MAX_MAGLEV: u64 = 5_000_011;

fn ring(
    (min, max): (Option<&UInt64Value>, Option<&UInt64Value>),
    murmur: bool,
    hostname: bool,
) -> Result<BalancerPolicy, Rejection> {
    let size = |value: Option<&UInt64Value>, default, field| match value.map_or(default, |value| value.value)
    {
        size @ 0..=MAX_RING => Ok(size as u32),
        _ => refuse(format!("value must be less than or equal to {MAX_RING}")).at(field),
    };
    let (min, max) = (size(min, 1024, "minimum_ring_size")?, size(max, MAX_RING, "maximum_ring_size")?);
    if min > max {
        return refuse(format!("ring hash: minimum_ring_size ({min}) > maximum_ring_size ({max})"));
    }
    Ok(BalancerPolicy::Consistent(Consistent::Ring { min, max, murmur, hostname }))
}

fn maglev(size: Option<&UInt64Value>, hostname: bool) -> Result<BalancerPolicy, Rejection> {
    let size = size.map_or(65_537, |size| size.value);
    if size > MAX_MAGLEV {
        return refuse(format!("value must be less than or equal to {MAX_MAGLEV}")).at("table_size");
    }
    let is_prime = size >= 2 && (2u64..).take_while(|n| n * n <= size).all(|n| !size.is_multiple_of(n));
    match is_prime {
        true => Ok(BalancerPolicy::Consistent(Consistent::Maglev { size: size as u32, hostname })),
        false => refuse("The table size of maglev must be prime number").at("table_size"),
    }
}

fn slow_start(
    window: Option<&Duration>,
    aggression: Option<&RuntimeDouble>,
    least: Option<&Percent>,
) -> Result<SlowStart, Rejection> {
    let window = fields::optional(window, "slow_start_window")?.unwrap_or_default();
    let aggression = aggression.map_or(1.0, |aggression| aggression.default_value);
    if aggression <= 0.0 || !aggression.is_finite() {
        return refuse("value must be greater than 0").at("aggression.default_value");
    }
    let least = least.map_or(10.0, |least| least.value);
    if !(0.0..=100.0).contains(&least) {
        return refuse(format!("{least} is not between 0 and 100")).at("min_weight_percent");
    }
    let aggression = (aggression * 1000.0).clamp(1.0, 1e9) as u32;
    Ok(SlowStart { window, aggression, least: (least * 100.0) as u32 })
}

/// Of `lb_config`, whose messages say the same as the typed policies' in types of their own.
fn older_slow_start(config: Option<&OlderSlowStart>) -> Result<Option<SlowStart>, Rejection> {
    let Some(slow) = config else { return Ok(None) };
    let aggression = slow.aggression.as_ref();
    slow_start(slow.slow_start_window.as_ref(), aggression, slow.min_weight_percent.as_ref()).map(Some)
}

fn typed_slow_start(
    config: Option<&SlowStartConfig>,
    settings: &mut ClusterSettings,
) -> Result<(), Rejection> {
    let Some(slow) = config else { return Ok(()) };
    let aggression = slow.aggression.as_ref();
    let slow = slow_start(slow.slow_start_window.as_ref(), aggression, slow.min_weight_percent.as_ref());
    settings.slow_start = Some(slow.at("slow_start_config")?);
    Ok(())
}

/// What a typed policy says of localities.
fn locality(
    config: Option<&LocalityLbConfig>,
    settings: &mut ClusterSettings,
    context: &mut Context,
) -> Result<(), Rejection> {
    match config.and_then(|config| config.locality_config_specifier.as_ref()) {
        Some(TypedLocality::LocalityWeightedLbConfig(_)) => settings.locality_weighted = true,
        Some(TypedLocality::ZoneAwareLbConfig(zones)) => {
            if zones.force_local_zone.is_some() || zones.locality_basis != 0 {
                context
                    .note("zone_aware_lb_config: neither force_local_zone nor locality_basis is in effect");
            }
            settings.zone_aware = Some(ZoneAware {
                enabled: share(zones.routing_enabled.as_ref()).at("zone_aware_lb_config.routing_enabled")?,
                min_cluster_size: zones.min_cluster_size.as_ref().map_or(6, |size| size.value),
                fail_on_panic: zones.fail_traffic_on_panic,
                force_direct: zones.force_locality_direct_routing,
            });
        }
        None => {}
    }
    Ok(())
}

fn is_of(policy: &Policy, url: &str) -> bool {
    let config = policy.typed_extension_config.as_ref().and_then(|extension| extension.typed_config.as_ref());
    config.is_some_and(|config| config.type_url == url)
}
