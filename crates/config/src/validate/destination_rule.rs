//! DestinationRule: hosts, subsets, policies.

use super::names;
use super::virtual_service::{export_to, labels};
use super::{Check, Path, code, tls};
use crate::networking::DestinationRule;
use crate::networking::destination_rule::*;
use crate::text;

pub(super) fn check(it: &DestinationRule, check: &mut Check<'_>, at: &Path<'_>) {
    if !it.host.is_empty() && it.host.parse::<std::net::IpAddr>().is_err() {
        check.accept(&at.key("host"), names::wildcard_host(&it.host));
    }
    if let Some(policy) = &it.traffic_policy {
        traffic_policy(policy, check, &at.key("trafficPolicy"));
    }
    let subsets = at.key("subsets");
    for (index, subset) in it.subsets.iter().enumerate() {
        let at = subsets.index(index);
        if !subset.name.is_empty() {
            check.accept(&at.key("name"), names::subset(&subset.name));
        }
        if it.subsets[..index].iter().any(|other| other.name == subset.name) {
            check.error(&at.key("name"), format!("subset {:?} is given twice", subset.name));
        }
        labels(&subset.labels, check, &at.key("labels"));
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(policy, check, &at.key("trafficPolicy"));
        }
    }
    export_to(&it.export_to, check, &at.key("exportTo"));
    if let Some(selector) = &it.workload_selector {
        let selector_at = at.key("workloadSelector");
        labels(&selector.match_labels, check, &selector_at.key("matchLabels"));
        let own = check.object.namespace().clone();
        if it.export_to.iter().any(|entry| &**entry != "." && *entry != own) {
            let message = "a rule with workloadSelector holds in its own namespace only";
            check.error_hint(&at.key("exportTo"), message, "leave out exportTo");
        }
    }
}

fn traffic_policy(it: &TrafficPolicy, check: &mut Check<'_>, at: &Path<'_>) {
    if *it == TrafficPolicy::default() && !check.has_content(at) {
        let hint = Some("leave it out, or write loadBalancer, connectionPool, …".to_owned());
        check.warn(code::SCHEMA_WARNING, at, "traffic policy must have at least one field", hint);
    }
    blocks(&it.load_balancer, &it.connection_pool, &it.outlier_detection, check, at);
    if let Some(settings) = &it.tls {
        tls::client(settings, check, &at.key("tls"));
    }
    let ports = at.key("portLevelSettings");
    for (index, settings) in it.port_level_settings.iter().enumerate() {
        let at = ports.index(index);
        match &settings.port {
            None => check.error(&at.key("port"), "`port` is missing"),
            Some(port) => {
                let port_at = at.key("port");
                check.accept(&port_at.key("number"), names::port(port.number));
                if it.port_level_settings[..index].iter().any(|other| other.port.as_ref() == Some(port)) {
                    check.error(&at.key("port"), format!("port {} is given twice", port.number));
                }
            }
        }
        let only_port = PortTrafficPolicy { port: settings.port.clone(), ..PortTrafficPolicy::default() };
        if *settings == only_port {
            check.error(&at, "the policy of the port says nothing");
        }
        blocks(&settings.load_balancer, &settings.connection_pool, &settings.outlier_detection, check, &at);
        if let Some(settings) = &settings.tls {
            tls::client(settings, check, &at.key("tls"));
        }
    }
    if let Some(tunnel) = &it.tunnel {
        let at = at.key("tunnel");
        if !tunnel.target_host.is_empty() && tunnel.target_host.parse::<std::net::IpAddr>().is_err() {
            check.accept(&at.key("targetHost"), names::fqdn(&tunnel.target_host));
        }
        check.accept(&at.key("targetPort"), names::port(tunnel.target_port));
        if let Some(protocol) = tunnel.protocol.as_deref().filter(|name| !matches!(*name, "CONNECT" | "POST"))
        {
            check.error_hint(
                &at.key("protocol"),
                format!("{} is not a tunnel", text::quoted(protocol)),
                "CONNECT or POST",
            );
        }
    }
    if let Some(percent) = it.retry_budget.as_ref().and_then(|budget| budget.percent) {
        let budget = at.key("retryBudget");
        check.accept(&budget.key("percent"), names::percent(percent));
    }
}

fn blocks(
    load_balancer: &Option<LoadBalancerSettings>,
    pool: &Option<ConnectionPoolSettings>,
    outlier: &Option<OutlierDetection>,
    check: &mut Check<'_>,
    at: &Path<'_>,
) {
    if let Some(settings) = load_balancer {
        self::load_balancer(settings, check, &at.key("loadBalancer"));
    }
    if let Some(settings) = pool {
        connection_pool(settings, check, &at.key("connectionPool"));
    }
    if let Some(settings) = outlier {
        outlier_detection(settings, check, &at.key("outlierDetection"));
    }
}

fn load_balancer(it: &LoadBalancerSettings, check: &mut Check<'_>, at: &Path<'_>) {
    match &it.policy {
        Some(LoadBalancerPolicy::ConsistentHash(hash)) => {
            let at = at.key("consistentHash");
            if hash.hash_key.is_none() {
                let hint = "httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName";
                check.error_hint(&at, "what to hash is missing", hint);
            }
            match &hash.hash_key {
                Some(HashKey::HttpHeaderName(name)) => {
                    check.accept(&at.key("httpHeaderName"), names::header_name(name));
                }
                Some(HashKey::HttpQueryParameterName(name)) if name.is_empty() => {
                    check.error(
                        &at.key("httpQueryParameterName"),
                        "the name of a parameter must not be empty",
                    );
                }
                _ => {}
            }
            if let Some(HashAlgorithm::Maglev(maglev)) = &hash.hash_algorithm {
                // Envoy's limit; the table must be a prime.
                if maglev.table_size.is_some_and(|size| size > 5_000_011 || !is_prime(size)) {
                    let at = at.key("maglev");
                    check.error(&at.key("tableSize"), "tableSize must be a prime number, 5000011 at most");
                }
            }
        }
        Some(LoadBalancerPolicy::Simple(SimpleLb::Random | SimpleLb::Passthrough)) if it.warmup.is_some() => {
            check.error(&at.key("warmup"), "warmup works with ROUND_ROBIN and LEAST_REQUEST only");
        }
        _ => {}
    }
    if let Some(warmup) = &it.warmup {
        let at = at.key("warmup");
        if let Some(percent) = warmup.minimum_percent {
            check.accept(&at.key("minimumPercent"), names::percent(percent));
        }
        if let Some(aggression) =
            warmup.aggression.filter(|aggression| *aggression < 1.0 || aggression.is_nan())
        {
            check.error(&at.key("aggression"), format!("{aggression} is below 1"));
        }
    }
    if let Some(locality) = &it.locality_lb_setting {
        self::locality(locality, check, &at.key("localityLbSetting"));
    }
    if it.warmup_duration_secs.is_some() {
        let hint = Some("write warmup: {duration: …}".to_owned());
        check.warn(
            code::DEPRECATED,
            &at.key("warmupDurationSecs"),
            "Deprecated: LoadBalancerSettings.warmupDurationSecs is deprecated; use LoadBalancerSettings.warmup",
            hint,
        );
    }
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn locality(it: &LocalityLoadBalancerSetting, check: &mut Check<'_>, at: &Path<'_>) {
    if !it.distribute.is_empty() && !it.failover.is_empty() {
        check.error(&at.key("failover"), "distribute and failover exclude each other");
    }
    let distribute = at.key("distribute");
    for (index, entry) in it.distribute.iter().enumerate() {
        let item = distribute.index(index);
        if entry.from.is_empty() {
            check.error(&item.key("from"), "`from` is missing");
        }
        let to = item.key("to");
        for (place, _) in entry.to.iter().filter(|(_, share)| **share == 0) {
            let message = format!("{place} gets nothing");
            check.error_hint(&to.key(place), message, "leave it out: what is not named gets nothing");
        }
        let sum: u64 = entry.to.values().copied().map(u64::from).sum();
        if sum != 100 {
            check.error(&to, format!("the shares make {sum}, not 100"));
        }
    }
    let failover = at.key("failover");
    for (index, entry) in it.failover.iter().enumerate() {
        if entry.from == entry.to {
            check.error(&failover.index(index), "from and to are the same region");
        }
        let item = failover.index(index);
        for (name, region) in [("from", &entry.from), ("to", &entry.to)] {
            if region.contains('*') {
                check.error(&item.key(name), "failover is between regions, without wildcards");
            } else if region.contains('/') {
                let message = format!("{region} is not a region: failover is between regions");
                let hint = Some("only the first part, before the `/`".to_owned());
                check.warn(code::SUSPICIOUS, &item.key(name), message, hint);
            }
        }
    }
}

pub(super) fn connection_pool(it: &ConnectionPoolSettings, check: &mut Check<'_>, at: &Path<'_>) {
    if it.tcp.is_none() && it.http.is_none() {
        check.error(at, "one of tcp or http must be given");
    }
    if let Some(tcp) = &it.tcp {
        let at = at.key("tcp");
        not_negative(&[("maxConnections", tcp.max_connections)], check, &at);
        for (name, duration) in
            [("connectTimeout", tcp.connect_timeout), ("maxConnectionDuration", tcp.max_connection_duration)]
        {
            if let Some(duration) = duration {
                check.accept(&at.key(name), names::duration(duration));
            }
        }
        if let Some(keepalive) = &tcp.tcp_keepalive {
            let at = at.key("tcpKeepalive");
            for (name, duration) in [("time", keepalive.time), ("interval", keepalive.interval)] {
                if let Some(duration) = duration {
                    check.accept(&at.key(name), names::duration(duration));
                }
            }
        }
    }
    if let Some(http) = &it.http {
        let at = at.key("http");
        let limits = [
            ("http1MaxPendingRequests", http.http1_max_pending_requests),
            ("http2MaxRequests", http.http2_max_requests),
            ("maxRequestsPerConnection", http.max_requests_per_connection),
            ("maxRetries", http.max_retries),
            ("maxConcurrentStreams", http.max_concurrent_streams),
        ];
        not_negative(&limits, check, &at);
        if http.use_client_protocol && http.h2_upgrade_policy == H2UpgradePolicy::Upgrade {
            check.error(&at.key("useClientProtocol"), "useClientProtocol excludes h2UpgradePolicy: UPGRADE");
        }
    }
}

fn not_negative(limits: &[(&str, i32)], check: &mut Check<'_>, at: &Path<'_>) {
    for (name, value) in limits {
        if *value < 0 {
            check.error(&at.key(name), format!("{value} is below zero"));
        }
    }
}

fn outlier_detection(it: &OutlierDetection, check: &mut Check<'_>, at: &Path<'_>) {
    for (name, duration) in [("interval", it.interval), ("baseEjectionTime", it.base_ejection_time)] {
        if let Some(duration) = duration {
            check.accept(&at.key(name), names::duration(duration));
        }
    }
    for (name, percent) in
        [("maxEjectionPercent", it.max_ejection_percent), ("minHealthPercent", it.min_health_percent)]
    {
        check.accept(&at.key(name), names::percent(f64::from(percent)));
    }
    if it.consecutive_errors != 0 {
        let hint = Some("write consecutive5xxErrors or consecutiveGatewayErrors".to_owned());
        let message = "outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or consecutive5xxErrors instead";
        check.warn(code::SCHEMA_WARNING, &at.key("consecutiveErrors"), message, hint);
    }
    if it.consecutive_local_origin_failures.is_some_and(|n| n > 0) && !it.split_external_local_origin_errors {
        let hint = "set splitExternalLocalOriginErrors: true";
        check.error_hint(
            &at.key("consecutiveLocalOriginFailures"),
            "local failures are not counted apart",
            hint,
        );
    }
}
