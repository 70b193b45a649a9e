//! What Prometheus scrapes, judged by its own `promtool`: the proxy's statistics and the control plane's metrics.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "bookinfo/mesh.rs"]
#[allow(dead_code, reason = "shared with the table of expectations, which uses other parts of it")]
mod mesh;

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use meltemi_testkit::{client::Client, peers, ports, proxy::Proxy, raw};
use mesh::Mesh;

const PATIENCE: Duration = Duration::from_secs(30);

const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: main
    address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: /gone }
                route: { cluster: "outbound|80||gone.default.svc.cluster.local" }
              - match: { prefix: / }
                direct_response: { status: 200 }
  clusters:
  - name: outbound|80||gone.default.svc.cluster.local
    type: STATIC
    load_assignment:
      cluster_name: gone
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @DEAD@ } } }
"#;

#[tokio::test]
async fn prometheus_reads_the_proxys_statistics() {
    let Some(promtool) = peers::require("promtool") else { return };
    let port = ports::free();
    let text = BOOTSTRAP.replace("@PORT@", &port.to_string()).replace("@DEAD@", &ports::free().to_string());
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::Meltemi.start(env!("CARGO_BIN_EXE_meltemi"), &text, folder.path()).await;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(raw::get(address, "/", PATIENCE).await.unwrap().status, 200);
    assert_eq!(raw::get(address, "/gone", PATIENCE).await.unwrap().status, 503);
    let metrics = proxy.get("/stats/prometheus").await.body;
    for wanted in [
        "envoy_http_downstream_rq_xx{envoy_response_code_class=\"5\",envoy_http_conn_manager_prefix=\"main\"} 1",
        "envoy_cluster_upstream_cx_connect_fail{envoy_cluster_name=\"outbound|80||gone.default.svc.cluster.local\"} 1",
    ] {
        assert!(metrics.contains(wanted), "{wanted} is not in\n{metrics}");
    }
    check(&promtool, &metrics);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_the_control_planes_metrics() {
    let Some(promtool) = peers::require("promtool") else { return };
    let mesh = Mesh::start("meltemi");
    let url = format!("http://{}/metrics", mesh.monitoring());
    let metrics = Client::default().get(&url, &[]).await.unwrap().body;
    assert!(metrics.contains("pilot_xds_pushes{type=\"cds\"}"), "{metrics}");
    check(&promtool, &metrics);
}

/// What cannot be parsed fails; advice on naming does not, for the names are Envoy's and Istio's.
fn check(promtool: &std::path::Path, metrics: &str) {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // 3: parsed, with advice.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}\n{metrics}");
}
