//! Zone-aware routing: how many of many requests stay in the proxy's own zone, through Meltemi's proxy and through a real Envoy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use meltemi_testkit::{echo::Echo, peers, ports, process::Process, raw};

const PATIENCE: Duration = Duration::from_secs(10);
const CALLS: usize = 400;

/// A cluster with one host in zone `a` and one in `b`; two of three clients are in `a`.
const BOOTSTRAP: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN}}}
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    command.args(["proxy", "--workers", "1"]);
    shares(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_requests_stay_near() {
    let Some(envoy) = peers::require("envoy") else { return };
    let mut command = Command::new(envoy);
    command.args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]);
    shares(command).await;
}

async fn shares(mut command: Command) {
    let (near, far) = (Echo::start("near").await, Echo::start("far").await);
    let main = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let mut text = BOOTSTRAP.to_owned();
    for (word, port) in [
        ("ADMIN", admin.port()),
        ("MAIN", main.port()),
        ("AAA", near.address.port()),
        ("BBB", far.address.port()),
    ] {
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
    let file = folder.path().join("bootstrap.yaml");
    std::fs::write(&file, filled).unwrap();
    let mut process = Process::start(command.arg("-c").arg(&file));
    let deadline = Instant::now() + PATIENCE;
    while ask(admin, "/ready").await.is_none_or(|(status, _)| status != 200) {
        let gone = process.wait(Duration::ZERO).is_some();
        assert!(!gone && Instant::now() < deadline, "not ready:\n{}", process.said());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Two thirds of the clients have half of the hosts: three quarters of their requests stay.
    for (cluster, least, most) in
        [("residual", 69, 81), ("small", 44, 56), ("off", 44, 56), ("direct", 100, 100)]
    {
        let mut stayed = 0;
        for _ in 0..CALLS {
            let (status, body) = ask(main, &format!("/{cluster}")).await.unwrap();
            assert_eq!(status, 200, "{cluster}");
            stayed += usize::from(body.contains("\"near\""));
        }
        let percent = stayed * 100 / CALLS;
        assert!((least..=most).contains(&percent), "{cluster}: {percent} % stayed");
    }
    let (_, stats) = ask(admin, "/stats?filter=lb_zone").await.unwrap();
    let value = |name: &str| -> usize {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cluster.{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {stats}")).parse().unwrap()
    };
    assert_eq!(
        value("residual.lb_zone_routing_sampled") + value("residual.lb_zone_routing_cross_zone"),
        CALLS
    );
    assert_eq!(value("direct.lb_zone_routing_all_directly"), CALLS);
    assert!(value("small.lb_zone_cluster_too_small") > 0);
}

async fn ask(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let answer = raw::exchange(address, request.as_bytes(), PATIENCE).await.ok()?;
    Some((answer.status, answer.body))
}
