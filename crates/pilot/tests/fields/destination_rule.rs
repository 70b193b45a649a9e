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
        let selector = json!({"matchLabels": {"app": app}});
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

#[test]
fn hashes_pick_endpoints() {
    use route::route_action::hash_policy::PolicySpecifier as Key;
    let hash = |hash: serde_json::Value| {
        let mesh = Mesh::new(&policy(json!({"trafficPolicy": {"loadBalancer": {"consistentHash": hash}}})));
        let action = forwards(&mesh.routes()[0]).clone();
        // The same host is wanted again when a request is tried again.
        assert!(action.retry_policy.unwrap().retry_host_predicate.is_empty());
        (action.hash_policy[0].policy_specifier.clone().unwrap(), mesh.cluster(REVIEWS))
    };
    let (key, ring) = hash(json!({"httpHeaderName": "x-user"}));
    assert!(matches!(key, Key::Header(header) if header.header_name == "x-user"));
    assert_eq!(ring.lb_policy().as_str_name(), "RING_HASH");
    assert!(format!("{:?}", ring.lb_config).contains("UInt64Value { value: 1024 }"), "{:?}", ring.lb_config);
    let (key, table) = hash(json!({"httpQueryParameterName": "q", "maglev": {"tableSize": 101}}));
    assert!(matches!(key, Key::QueryParameter(parameter) if parameter.name == "q"));
    assert_eq!(table.lb_policy().as_str_name(), "MAGLEV");
    let (key, _) = hash(json!({"useSourceIp": true, "ringHash": {"minimumRingSize": 7}}));
    assert!(matches!(key, Key::ConnectionProperties(properties) if properties.source_ip));
    let cookie =
        json!({"name": "c", "path": "/p", "ttl": "0s", "attributes": [{"name": "SameSite", "value": "Lax"}]});
    let (key, _) = hash(json!({"httpCookie": cookie}));
    let Key::Cookie(cookie) = key else { panic!("{key:?}") };
    assert_eq!((cookie.name.as_str(), cookie.path.as_str()), ("c", "/p"));
    assert_eq!(cookie.ttl.unwrap().seconds, 0);
    assert_eq!(cookie.attributes[0].value, "Lax");
}

#[test]
fn outlier_detection() {
    let mesh = Mesh::new(&policy(json!({"trafficPolicy": {"outlierDetection": {
        "consecutive5xxErrors": 7, "consecutiveGatewayErrors": 0, "interval": "5s", "baseEjectionTime": "1m",
        "maxEjectionPercent": 50, "minHealthPercent": 30, "splitExternalLocalOriginErrors": true,
        "consecutiveLocalOriginFailures": 2,
    }}})));
    let cluster = mesh.cluster(REVIEWS);
    let detection = cluster.outlier_detection.unwrap();
    let number =
        |value: Option<meltemi_xds::pb::google::protobuf::UInt32Value>| value.map(|value| value.value);
    assert_eq!(number(detection.consecutive_5xx), Some(7));
    assert_eq!(number(detection.enforcing_consecutive_5xx), Some(100));
    assert_eq!(number(detection.enforcing_consecutive_gateway_failure), Some(0));
    assert_eq!(number(detection.consecutive_local_origin_failure), Some(2));
    assert_eq!(number(detection.enforcing_success_rate), Some(0));
    assert_eq!(number(detection.max_ejection_percent), Some(50));
    assert_eq!((detection.interval.unwrap().seconds, detection.base_ejection_time.unwrap().seconds), (5, 60));
    let threshold = cluster.common_lb_config.unwrap().healthy_panic_threshold.unwrap();
    assert!((threshold.value - 30.0).abs() < f64::EPSILON);
}

#[test]
fn zones_are_preferred_by_the_proxy_itself() {
    let zones = json!({"minClusterSize": 4, "failover": [{"from": "r1", "to": "r2"}]});
    let outlier = json!({"consecutive5xxErrors": 1});
    let spec = |balancer: serde_json::Value| json!({"trafficPolicy": {"loadBalancer": balancer, "outlierDetection": outlier}});
    let text =
        |balancer| format!("{:?}", Mesh::new(&policy(spec(balancer))).cluster(REVIEWS).common_lb_config);
    let on = text(json!({"zoneAwareLbSetting": zones}));
    assert!(on.contains("ZoneAwareLbConfig") && on.contains("UInt64Value { value: 4 }"), "{on}");
    assert!(!text(json!({"zoneAwareLbSetting": {"enabled": false}})).contains("ZoneAwareLbConfig"));
    assert!(!text(json!({"simple": "ROUND_ROBIN"})).contains("ZoneAwareLbConfig"));
    // The whole region of the client is first, so that there is a choice of zones; then the region that is named, then others.
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: default}\n\
        spec: {hosts: [e.example], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [\
        {address: 9.0.0.1, locality: r1/z1}, {address: 9.0.0.2, locality: r1/z2}, {address: 9.0.0.3, locality: r2/z1}, {address: 9.0.0.4, locality: r3/z1}]}\n---\n";
    let rule = |setting: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: e, namespace: default}}\nspec: {{host: e.example, trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 1}}, loadBalancer: {{{setting}}}}}}}\n"
        )
    };
    let priorities = |setting: &str| {
        let mesh = Mesh::new(&format!("{entry}{}", rule(setting)));
        let mut node = Mesh::sidecar();
        node.locality = "r1/z1".into();
        let assignment = View::new(&mesh.0, &node).assignment("outbound|80||e.example");
        assignment.localities.iter().map(|locality| locality.priority).collect::<Vec<_>>()
    };
    assert_eq!(priorities("zoneAwareLbSetting: {failover: [{from: r1, to: r2}]}"), [0, 0, 1, 2]);
    assert_eq!(priorities("localityLbSetting: {failover: [{from: r1, to: r2}]}"), [0, 1, 2, 3]);
}
