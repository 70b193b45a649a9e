//! What Prometheus scrapes, judged by its own `promtool`: the proxy's statistics and the control plane's metrics.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "bookinfo/mesh.rs"]
#[allow(dead_code, reason = "shared with the table of expectations, which uses other parts of it")]
mod mesh;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use meltemi_testkit::{client::Client, peers, ports, process::Process};
use mesh::Mesh;

const BOOTSTRAP: &str = r#"
admin: { address: { socket_address: { address: 127.0.0.1, port_value: @ADMIN@ } } }
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
    let (admin, port) = (ports::free(), ports::free());
    let text = BOOTSTRAP
        .replace("@ADMIN@", &admin.to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@DEAD@", &ports::free().to_string());
    let file = std::env::temp_dir().join(format!("meltemi-metrics-{}.yaml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    let _proxy = Process::start(command.args(["proxy", "-c"]).arg(&file));
    let client = Client::default();
    until_ok(&client, &format!("http://127.0.0.1:{admin}/ready")).await;
    until_ok(&client, &format!("http://127.0.0.1:{port}/")).await;
    let gone = client.get(&format!("http://127.0.0.1:{port}/gone"), &[]).await.unwrap();
    assert_eq!(gone.status, 503);
    let metrics = client.get(&format!("http://127.0.0.1:{admin}/stats/prometheus"), &[]).await.unwrap().body;
    for wanted in [
        "envoy_http_downstream_rq_xx{envoy_response_code_class=\"5\",envoy_http_conn_manager_prefix=\"main\"} 1",
        "envoy_cluster_upstream_cx_connect_fail{envoy_cluster_name=\"outbound|80||gone.default.svc.cluster.local\"} 1",
    ] {
        assert!(metrics.contains(wanted), "{wanted} is not in\n{metrics}");
    }
    check(&promtool, &metrics);
    std::fs::remove_file(file).unwrap();
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

async fn until_ok(client: &Client, url: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.get(url, &[]).await.map(|response| response.status.as_u16()).unwrap_or_default() != 200 {
        assert!(Instant::now() < deadline, "{url} does not answer 200");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
