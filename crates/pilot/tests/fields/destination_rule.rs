//! DestinationRule.

use super::*;

#[test]
fn host_and_namespace_choose_the_rule() {
    let mesh = Mesh::new(&policy(json!({"trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}})));
    assert_eq!(mesh.cluster(REVIEWS).lb_policy().as_str_name(), "RANDOM");
    let ratings = mesh.cluster("outbound|9080||ratings.default.svc.cluster.local");
    assert_eq!(ratings.lb_policy().as_str_name(), "LEAST_REQUEST");
}

#[test]
fn wildcards_hold_and_the_most_specific_wins() {
    let wild = policy(json!({"trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}))
        .replace("\"host\":\"reviews\"", "\"host\":\"*.default.svc.cluster.local\"")
        .replace("\"name\":\"reviews\"", "\"name\":\"wild\"");
    let own = policy(json!({"trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}));
    let mesh = Mesh::new(&format!("{wild}\n---\n{own}"));
    assert_eq!(mesh.cluster(REVIEWS).lb_policy().as_str_name(), "ROUND_ROBIN");
    let ratings = mesh.cluster("outbound|9080||ratings.default.svc.cluster.local");
    assert_eq!(ratings.lb_policy().as_str_name(), "RANDOM");
}

#[test]
fn export_to_hides_from_other_namespaces() {
    let rule = json!({"exportTo": ["."], "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}});
    let mesh = Mesh::new(&policy(rule));
    let other = mesh.clusters(&Mesh::node("sidecar", "other", json!({})));
    let reviews = other.iter().find(|cluster| cluster.name == REVIEWS).unwrap();
    assert_eq!(reviews.lb_policy().as_str_name(), "LEAST_REQUEST");
    assert_eq!(mesh.cluster(REVIEWS).lb_policy().as_str_name(), "RANDOM");
}

#[test]
fn a_workload_selector_bounds_the_clients() {
    let rule = |app: &str| {
        let selector = json!({"labels": {"app": app}});
        policy(json!({"workloadSelector": selector, "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}))
    };
    assert_eq!(Mesh::new(&rule("productpage")).cluster(REVIEWS).lb_policy().as_str_name(), "RANDOM");
    assert_eq!(Mesh::new(&rule("other")).cluster(REVIEWS).lb_policy().as_str_name(), "LEAST_REQUEST");
}

#[test]
fn subsets_select_by_label_and_override_by_block() {
    let mesh = Mesh::new(&policy(json!({
        "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}, "connectionPool": {"tcp": {"maxConnections": 7}}},
        "subsets": [
            {"name": "v1", "labels": {"version": "v1"}},
            {"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}},
        ],
    })));
    let (v1, v2) = (REVIEWS.replace("||", "|v1|"), REVIEWS.replace("||", "|v2|"));
    assert_eq!(mesh.endpoints(&v1), ["1.1.1.11:9080"]);
    assert_eq!(mesh.endpoints(&v2), ["1.1.1.12:9080"]);
    assert_eq!(mesh.endpoints(REVIEWS).len(), 2);
    assert_eq!(mesh.cluster(&v1).lb_policy().as_str_name(), "RANDOM");
    assert_eq!(mesh.cluster(&v2).lb_policy().as_str_name(), "ROUND_ROBIN");
    let limit = mesh.cluster(&v2).circuit_breakers.unwrap().thresholds[0].max_connections.unwrap().value;
    assert_eq!(limit, 7);
}

#[test]
fn simple_balancers() {
    for (simple, wanted) in [
        ("ROUND_ROBIN", "ROUND_ROBIN"),
        ("LEAST_REQUEST", "LEAST_REQUEST"),
        ("LEAST_CONN", "LEAST_REQUEST"),
        ("RANDOM", "RANDOM"),
        ("PASSTHROUGH", "CLUSTER_PROVIDED"),
    ] {
        let mesh = Mesh::new(&policy(json!({"trafficPolicy": {"loadBalancer": {"simple": simple}}})));
        assert_eq!(mesh.cluster(REVIEWS).lb_policy().as_str_name(), wanted, "{simple}");
    }
    assert_eq!(Mesh::new("").cluster(REVIEWS).lb_policy().as_str_name(), "LEAST_REQUEST");
}

#[test]
fn connection_pools() {
    let mesh = Mesh::new(&policy(json!({"trafficPolicy": {"connectionPool": {
        "tcp": {
            "maxConnections": 1, "connectTimeout": "250ms",
            "tcpKeepalive": {"probes": 3, "time": "7200s", "interval": "75s"},
        },
        "http": {"http1MaxPendingRequests": 2, "http2MaxRequests": 3, "maxRetries": 4},
    }}})));
    let cluster = mesh.cluster(REVIEWS);
    let limits = &cluster.circuit_breakers.as_ref().unwrap().thresholds[0];
    let limits =
        [limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries];
    assert_eq!(limits.map(|limit| limit.unwrap().value), [1, 2, 3, 4]);
    assert_eq!(cluster.connect_timeout.unwrap().nanos, 250_000_000);
    let keepalive = cluster.upstream_connection_options.unwrap().tcp_keepalive.unwrap();
    let keepalive = [keepalive.keepalive_probes, keepalive.keepalive_time, keepalive.keepalive_interval];
    assert_eq!(keepalive.map(|value| value.unwrap().value), [3, 7200, 75]);
    // What is not said has no limit, and connections get Istio's ten seconds.
    let plain = Mesh::new("").cluster(REVIEWS);
    assert_eq!(plain.connect_timeout.unwrap().seconds, 10);
    assert_eq!(plain.circuit_breakers.unwrap().thresholds[0].max_requests.unwrap().value, u32::MAX);
}

/// Settings of the codec are in the cluster's protocol options.
#[test]
fn connection_pool_of_http() {
    use meltemi_xds::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
    let options = |http: serde_json::Value| {
        let mesh = Mesh::new(&policy(json!({"trafficPolicy": {"connectionPool": {
            "tcp": {"idleTimeout": "7s", "maxConnectionDuration": "9s"}, "http": http,
        }}})));
        let cluster = mesh.cluster(REVIEWS);
        let any = cluster.typed_extension_protocol_options.values().next().unwrap().clone();
        let options: HttpProtocolOptions = meltemi_xds::unpack(&any).unwrap();
        options
    };
    let common = options(json!({"maxRequestsPerConnection": 5, "idleTimeout": "6s"}))
        .common_http_protocol_options
        .unwrap();
    assert_eq!(common.max_requests_per_connection.unwrap().value, 5);
    assert_eq!(common.idle_timeout.unwrap().seconds, 6);
    assert_eq!(common.max_connection_duration.unwrap().seconds, 9);
    // Without one of its own, HTTP takes that of TCP.
    let common = options(json!({"maxRequestsPerConnection": 5})).common_http_protocol_options.unwrap();
    assert_eq!(common.idle_timeout.unwrap().seconds, 7);
    let upgraded = format!("{:?}", options(json!({"h2UpgradePolicy": "UPGRADE", "maxConcurrentStreams": 8})));
    assert!(upgraded.contains("Http2ProtocolOptions"), "{upgraded}");
    let kept = format!("{:?}", options(json!({"useClientProtocol": true})));
    assert!(kept.contains("UseDownstreamProtocol"), "{kept}");
}

#[test]
fn settings_of_a_port_replace_the_others() {
    let mesh = Mesh::new(&policy(json!({"trafficPolicy": {
        "loadBalancer": {"simple": "RANDOM"},
        "connectionPool": {"tcp": {"maxConnections": 7}},
        "portLevelSettings": [{"port": {"number": 9080}, "connectionPool": {"tcp": {"maxConnections": 8}}}],
    }})));
    let cluster = mesh.cluster(REVIEWS);
    assert_eq!(cluster.circuit_breakers.as_ref().unwrap().thresholds[0].max_connections.unwrap().value, 8);
    // A block that the port leaves out is the default, not the rule's.
    assert_eq!(cluster.lb_policy().as_str_name(), "LEAST_REQUEST");
}

#[test]
fn rules_of_one_host_merge() {
    let first = policy(json!({"subsets": [{"name": "v1", "labels": {"version": "v1"}}]}));
    let second = policy(json!({"subsets": [{"name": "v2", "labels": {"version": "v2"}}]}));
    let second = second.replace("\"name\":\"reviews\"", "\"name\":\"second\"");
    let mesh = Mesh::new(&format!("{first}\n---\n{second}"));
    mesh.cluster(&REVIEWS.replace("||", "|v1|"));
    mesh.cluster(&REVIEWS.replace("||", "|v2|"));
}
