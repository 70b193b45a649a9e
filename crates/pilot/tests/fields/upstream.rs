//! DestinationRule: localities, warming up, budgets, probes, the PROXY protocol and TLS.

use meltemi_xds::pb::envoy::extensions::transport_sockets::{
    proxy_protocol::v3::ProxyProtocolUpstreamTransport, tls::v3 as tls,
};
use meltemi_xds::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;

use super::*;

fn with(traffic_policy: serde_json::Value) -> cluster::Cluster {
    Mesh::new(&policy(json!({"trafficPolicy": traffic_policy}))).cluster(REVIEWS)
}

/// Three endpoints of reviews: in the client's subzone, in another zone, in another region.
const PLACES: [(&str, &str); 3] =
    [("10.5.0.1", "r1/z1/s1"), ("10.5.0.2", "r1/z2/s1"), ("10.5.0.3", "r2/z1/s1")];

/// What a client at `r1/z1/s1` gets of a service with endpoints in three places: `address priority weight`.
fn places(traffic_policy: serde_json::Value) -> Vec<String> {
    let endpoint = |(address, locality): &(&str, &str)| {
        json!({"address": address, "locality": locality, "weight": 10,
               "labels": {"tier": if *address == "10.5.0.2" { "gold" } else { "lead" }}})
    };
    let entry = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "far"},
        "spec": {
            "hosts": ["far.example.com"], "resolution": "STATIC", "ports": [{"number": 80, "name": "http"}],
            "endpoints": PLACES.iter().map(endpoint).collect::<Vec<_>>(),
        },
    });
    let rule = policy(json!({"trafficPolicy": traffic_policy})).replace("\"reviews\"", "\"far.example.com\"");
    let mesh = Mesh::new(&format!("{entry}\n---\n{rule}"));
    let mut node = Mesh::node("sidecar", "default", json!({"app": "productpage", "tier": "gold"}));
    node.locality = "r1/z1/s1".into();
    let assignment = View::new(&mesh.0, &node).assignment("outbound|80||far.example.com");
    let group = |locality: &model::endpoint::Locality| {
        format!("{} {} {}", locality.endpoints[0].address, locality.priority, locality.weight)
    };
    let mut groups: Vec<_> = assignment.localities.iter().map(group).collect();
    groups.sort();
    groups
}

#[test]
fn outlier_detection_turns_failover_by_locality_on() {
    let alike = ["10.5.0.1 0 10", "10.5.0.2 0 10", "10.5.0.3 0 10"];
    assert_eq!(places(json!({})), alike);
    let by_closeness = ["10.5.0.1 0 10", "10.5.0.2 1 10", "10.5.0.3 2 10"];
    assert_eq!(places(json!({"outlierDetection": {}})), by_closeness);
    let off = json!({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"enabled": false}}});
    assert_eq!(places(off), alike);
    let without = json!({"loadBalancer": {"localityLbSetting": {"failover": [{"from": "r1", "to": "r2"}]}}});
    assert_eq!(places(without), alike);
}

#[test]
fn localities_get_the_shares_that_are_distributed() {
    let distribute = |to: serde_json::Value| json!({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "r1/*", "to": to}]}}});
    let two = distribute(json!({"r1/z1/*": 80, "r2/*": 20}));
    assert_eq!(places(two.clone()), ["10.5.0.1 0 80", "10.5.0.3 0 20"], "what is not named gets nothing");
    assert_eq!(places(distribute(json!({"r1/*": 100}))), ["10.5.0.1 0 50", "10.5.0.2 0 50"]);
    let common = with(two).common_lb_config.unwrap();
    assert!(common.locality_config_specifier.is_some());
}

#[test]
fn failover_by_labels() {
    let by = |labels: serde_json::Value| json!({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"failoverPriority": labels}}});
    let region = by(json!(["topology.kubernetes.io/region", "topology.kubernetes.io/zone"]));
    assert_eq!(places(region), ["10.5.0.1 0 10", "10.5.0.2 1 10", "10.5.0.3 2 10"]);
    assert_eq!(places(by(json!(["tier"]))), ["10.5.0.1 1 10", "10.5.0.2 0 10", "10.5.0.3 1 10"]);
    assert_eq!(places(by(json!(["tier=lead"]))), ["10.5.0.1 0 10", "10.5.0.2 1 10", "10.5.0.3 0 10"]);
}

#[test]
fn new_endpoints_warm_up() {
    use cluster::cluster::LbConfig;
    let config = |balancer: serde_json::Value| with(json!({"loadBalancer": balancer})).lb_config;
    let Some(LbConfig::RoundRobinLbConfig(config_)) = config(
        json!({"simple": "ROUND_ROBIN", "warmup": {"duration": "30s", "minimumPercent": 20, "aggression": 2}}),
    ) else {
        panic!("no settings of round robin")
    };
    let slow = config_.slow_start_config.unwrap();
    assert_eq!(slow.slow_start_window.unwrap().seconds, 30);
    assert!((slow.min_weight_percent.unwrap().value - 20.0).abs() < f64::EPSILON);
    assert!((slow.aggression.unwrap().default_value - 2.0).abs() < f64::EPSILON);
    let Some(LbConfig::LeastRequestLbConfig(old)) = config(json!({"warmupDurationSecs": "10s"})) else {
        panic!("no settings of least request")
    };
    let slow = old.slow_start_config.unwrap();
    assert_eq!((slow.slow_start_window.unwrap().seconds, slow.aggression), (10, None));
}

#[test]
fn retry_budgets() {
    let budget = |budget: serde_json::Value| {
        let breakers = with(json!({"retryBudget": budget})).circuit_breakers.unwrap();
        breakers.thresholds[0].retry_budget.unwrap()
    };
    let set = budget(json!({"percent": 12.5, "minRetryConcurrency": 7, "budgetInterval": "2s"}));
    assert!((set.budget_percent.unwrap().value - 12.5).abs() < f64::EPSILON);
    assert_eq!(set.min_retry_concurrency.unwrap().value, 7);
    assert_eq!(set.budget_interval.unwrap().seconds, 2);
    let default = budget(json!({}));
    assert!((default.budget_percent.unwrap().value - 20.0).abs() < f64::EPSILON);
    assert_eq!(default.min_retry_concurrency.unwrap().value, 3);
}

fn http_options(cluster: &cluster::Cluster) -> HttpProtocolOptions {
    let options = cluster.typed_extension_protocol_options.values().next().expect("HTTP options");
    meltemi_xds::unpack(options).unwrap()
}

#[test]
fn http2_connections_are_probed() {
    let cluster = with(json!({"connectionPool": {"http": {
        "h2UpgradePolicy": "UPGRADE", "http2KeepAlive": {"interval": "20s", "timeout": "5s"},
    }}}));
    let text = format!("{:?}", http_options(&cluster));
    assert!(text.contains("KeepaliveSettings { interval: Some(Duration { seconds: 20"), "{text}");
}

#[test]
fn the_proxy_protocol_wraps_connections() {
    let socket = with(json!({"proxyProtocol": {"version": "V2"}})).transport_socket.unwrap();
    assert_eq!(socket.name, "envoy.transport_sockets.upstream_proxy_protocol");
    let Some(meltemi_xds::pb::envoy::config::core::v3::transport_socket::ConfigType::TypedConfig(config)) =
        socket.config_type
    else {
        panic!("no settings")
    };
    let wrapped: ProxyProtocolUpstreamTransport = meltemi_xds::unpack(&config).unwrap();
    assert_eq!(wrapped.config.unwrap().version, 1);
    assert_eq!(wrapped.transport_socket.unwrap().name, "envoy.transport_sockets.raw_buffer");
}

fn context(cluster: &cluster::Cluster) -> tls::UpstreamTlsContext {
    use meltemi_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
    let Some(ConfigType::TypedConfig(config)) = cluster.transport_socket.clone().unwrap().config_type else {
        panic!("no settings")
    };
    meltemi_xds::unpack(&config).unwrap()
}

#[test]
fn tls_with_files_and_with_the_meshs_own() {
    let mutual = with(json!({"tls": {
        "mode": "MUTUAL", "clientCertificate": "/c.pem", "privateKey": "/k.pem", "caCertificates": "/ca.pem",
        "sni": "reviews.example.com", "subjectAltNames": ["reviews.example.com"],
    }}));
    let mutual = context(&mutual);
    let text = format!("{mutual:?}");
    assert_eq!(mutual.sni, "reviews.example.com");
    for secret in ["file-cert:/c.pem~/k.pem", "file-root:/ca.pem", "sds-grpc", "reviews.example.com"] {
        assert!(text.contains(secret), "{secret}: {text}");
    }
    let own = context(&with(json!({"tls": {"mode": "ISTIO_MUTUAL"}})));
    assert_eq!(own.sni, "outbound_.9080_._.reviews.default.svc.cluster.local");
    let text = format!("{own:?}");
    assert!(text.contains("name: \"default\"") && text.contains("name: \"ROOTCA\""), "{text}");
    let simple = with(json!({"tls": {"mode": "SIMPLE"}}));
    assert!(format!("{:?}", context(&simple)).contains("file-root:system"));
    let names = http_options(&simple).upstream_http_protocol_options.unwrap();
    assert!(names.auto_sni && names.auto_san_validation);
    let unverified = context(&with(json!({"tls": {"mode": "SIMPLE", "insecureSkipVerify": true}})));
    assert!(!format!("{unverified:?}").contains("file-root"));
    assert!(with(json!({"tls": {"mode": "DISABLE"}})).transport_socket.is_none());
}

#[test]
fn tls_with_a_credential_is_for_gateways_and_selected_sidecars() {
    let rule = |selector: bool| {
        let mut spec = json!({"trafficPolicy": {"tls": {"mode": "SIMPLE", "credentialName": "secret"}}});
        if selector {
            spec["workloadSelector"] = json!({"matchLabels": {"app": "productpage"}});
        }
        Mesh::new(&policy(spec))
    };
    assert!(rule(false).cluster(REVIEWS).transport_socket.is_none());
    let selected = format!("{:?}", context(&rule(true).cluster(REVIEWS)));
    assert!(selected.contains("kubernetes://secret-cacert"), "{selected}");
    let clusters = rule(false).clusters(&Mesh::gateway());
    let at_gateway = clusters.iter().find(|cluster| cluster.name == REVIEWS).unwrap();
    assert!(at_gateway.transport_socket.is_some());
}

#[test]
fn the_meshs_policy_fills_blocks_that_no_rule_gives() {
    let text = "defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}, outlierDetection: {consecutive5xxErrors: 3}}";
    let (config, findings) = meltemi_config::load::mesh_config("mesh.yaml", text);
    assert!(findings.is_empty(), "{findings:?}");
    let rule = policy(json!({"trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 7}}}));
    let cluster = Mesh::with(&rule, config).cluster(REVIEWS);
    assert_eq!(cluster.circuit_breakers.unwrap().thresholds[0].max_connections.unwrap().value, 9);
    assert_eq!(cluster.outlier_detection.unwrap().consecutive_5xx.unwrap().value, 7);
}
