//! Zone-aware routing: how many of many requests stay in the proxy's own zone, through Meltemi's proxy and through a real Envoy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{net::SocketAddr, time::Duration};

use meltemi_testkit::{echo::Echo, peers, ports, proxy::Proxy, raw};

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster with one host in zone `a` and one in `b`; two of three clients are in `a`.
const BOOTSTRAP: &str = r#"
node: {id: test, cluster: test, locality: {region: r, zone: a}}
cluster_manager: {local_cluster_name: clients}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: MAIN}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /residual}, route: {cluster: residual}}
              - {match: {prefix: /small}, route: {cluster: small}}
              - {match: {prefix: /off}, route: {cluster: "off"}}
              - {match: {prefix: /direct}, route: {cluster: direct}}
  clusters:
  - name: clients
    load_assignment:
      cluster_name: clients
      endpoints:
      - {locality: {region: r, zone: a}, lb_endpoints: [HOST:1, HOST:2]}
      - {locality: {region: r, zone: b}, lb_endpoints: [HOST:3]}
  - {name: residual, common_lb_config: {zone_aware_lb_config: {min_cluster_size: 2}}, load_assignment: {cluster_name: residual, endpoints: [{locality: {region: r, zone: b}, lb_endpoints: [HOST:BBB]}, {locality: {region: r, zone: a}, lb_endpoints: [HOST:AAA]}]}}
  - {name: small, common_lb_config: {zone_aware_lb_config: {}}, load_assignment: {cluster_name: small, endpoints: [{locality: {region: r, zone: b}, lb_endpoints: [HOST:BBB]}, {locality: {region: r, zone: a}, lb_endpoints: [HOST:AAA]}]}}
  - {name: "off", common_lb_config: {zone_aware_lb_config: {min_cluster_size: 2, routing_enabled: {value: 0}}}, load_assignment: {cluster_name: "off", endpoints: [{locality: {region: r, zone: b}, lb_endpoints: [HOST:BBB]}, {locality: {region: r, zone: a}, lb_endpoints: [HOST:AAA]}]}}
  - name: direct
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: rr
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin
            locality_lb_config: {zone_aware_lb_config: {min_cluster_size: 2, force_locality_direct_routing: true}}
    load_assignment: {cluster_name: direct, endpoints: [{locality: {region: r, zone: b}, lb_endpoints: [HOST:BBB]}, {locality: {region: r, zone: a}, lb_endpoints: [HOST:AAA]}]}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meltemis_requests_stay_near() {
    shares(Proxy::Meltemi).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_requests_stay_near() {
    if peers::require("envoy").is_some() {
        shares(Proxy::Envoy).await;
    }
}

async fn shares(proxy: Proxy) {
    let (near, far) = (Echo::start("near").await, Echo::start("far").await);
    let main = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let mut text = BOOTSTRAP.to_owned();
    for (word, port) in [("MAIN", main.port()), ("AAA", near.address.port()), ("BBB", far.address.port())] {
        text = text.replace(word, &port.to_string());
    }
    let mut filled = String::new();
    let mut parts = text.split("HOST:");
    filled += parts.next().unwrap();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap();
        let (port, rest) = part.split_at(end);
        filled += "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ";
        filled += &format!("{port}}}}}}}}}{rest}");
    }
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy.start(env!("CARGO_BIN_EXE_meltemi"), &filled, folder.path()).await;
    // Two thirds of the clients have half of the hosts: three quarters of their requests stay, by chance, with five standard
    // deviations on either side. What is not by chance is exact.
    for (cluster, calls, least, most) in
        [("residual", 1500, 69, 80), ("small", 100, 50, 50), ("off", 100, 50, 50), ("direct", 100, 100, 100)]
    {
        let mut stayed = 0;
        for _ in 0..calls {
            let answer = raw::get(main, &format!("/{cluster}"), PATIENCE).await.unwrap();
            assert_eq!(answer.status, 200, "{cluster}");
            stayed += usize::from(answer.body.contains("\"near\""));
        }
        let percent = stayed * 100 / calls;
        assert!((least..=most).contains(&percent), "{cluster}: {percent} % stayed");
    }
    let stats = proxy.stats("cluster.").await;
    let value = |name: &str| stats.get(name).copied().unwrap_or_else(|| panic!("no {name} in {stats:?}"));
    assert_eq!(
        value("residual.lb_zone_routing_sampled") + value("residual.lb_zone_routing_cross_zone"),
        1500
    );
    assert_eq!(value("direct.lb_zone_routing_all_directly"), 100);
    assert!(value("small.lb_zone_cluster_too_small") > 0);
}
