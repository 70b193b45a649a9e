//! A real Envoy acknowledges everything, in delta and in state of the world; what it refuses is recorded and heals.

use std::process::Command;

use meltemi_testkit::process::Process;
use meltemi_testkit::{peers, ports};
use serde_json::json;

use crate::pilot::{Served, synced};

const ALL: &[&str] = &["CDS", "EDS", "LDS", "RDS"];

fn resources(port: u16, path: &str) -> String {
    format!(
        r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: app}}
spec:
  hosts: [app.example.com]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{{number: 80, name: http}}]
  endpoints: [{{address: 127.0.0.1, labels: {{version: v1}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: app.example.com
  subsets: [{{name: v1, labels: {{version: v1}}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gateway}}
spec:
  selector: {{istio: gateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app}}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http:
  - match: [{{uri: {{prefix: {path}}}}}]
    route: [{{destination: {{host: app.example.com, subset: v1}}}}]
"#
    )
}

fn bootstrap(served: &Served, delta: bool) -> String {
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    json!({
        "node": {
            "id": "router~127.0.0.1~gateway.default~default.svc.cluster.local",
            "cluster": "gateway",
            "metadata": {"LABELS": {"istio": "gateway"}},
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": if delta { "DELTA_GRPC" } else { "GRPC" },
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [{
            "name": "xds",
            "type": "STATIC",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
            "load_assignment": {
                "cluster_name": "xds",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(served.address.port())}}]}],
            },
        }]},
    })
    .to_string()
}

fn start(served: &Served, delta: bool) -> Option<Process> {
    let envoy = peers::require("envoy")?;
    let mut command = Command::new(envoy);
    command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warn"]);
    command.args(["--config-yaml", &bootstrap(served, delta)]);
    Some(Process::start(&mut command))
}

async fn takes_everything(delta: bool) {
    let port = ports::free();
    let served = Served::start(&resources(port, "/a")).await;
    let Some(_envoy) = start(&served, delta) else { return };
    let first = served.until("synced", |proxy| synced(proxy, ALL)).await;
    assert_eq!(first.delta, delta);
    assert!(first.program.starts_with("envoy 1."), "{}", first.program);

    served.set(&resources(port, "/b")).await;
    // In delta virtual hosts travel alone, and their table stays.
    let changed = if delta { "VHDS" } else { "RDS" };
    let before = first.types[changed].nonce.clone();
    let second = served.until("updated", |p| synced(p, ALL) && p.types[changed].nonce != before).await;
    assert_eq!(second.types["RDS"].nonce == first.types["RDS"].nonce, delta);
    assert_eq!(second.types["CDS"].nonce, first.types["CDS"].nonce, "clusters have not changed");
    assert_eq!(second.types["LDS"].nonce, first.types["LDS"].nonce, "listeners have not changed");
    assert!(second.types.values().all(|status| status.rejections == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_everything_in_delta() {
    takes_everything(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_everything_in_state_of_the_world() {
    takes_everything(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_refuses_is_recorded_and_heals() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let served = Served::start(&resources(taken.local_addr().unwrap().port(), "/")).await;
    let Some(_envoy) = start(&served, true) else { return };
    let rejected = |proxy: &meltemi_pilot::discovery::status::Proxy| {
        proxy.types.get("LDS").is_some_and(|status| status.state() == "REJECTED")
    };
    let proxy = served.until("rejected", rejected).await;
    let error = proxy.types["LDS"].error.clone().unwrap();
    assert!(error.contains("127.0.0.1_"), "{error}");
    assert!(served.pilot.metrics().contains("pilot_total_xds_rejects{type=\"lds\"} 1"));

    served.set(&resources(ports::free(), "/")).await;
    let healed = served.until("healed", |proxy| synced(proxy, ALL)).await;
    assert_eq!(healed.types["LDS"].rejections, 1);
}

/// Status of a request for a host, once the answer is the one that is wanted.
async fn answers(port: u16, host: &str, status: &str) {
    use std::io::{Read, Write};
    let asked = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let look = async {
        loop {
            let mut answer = String::new();
            if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
                let sent =
                    stream.write_all(asked.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
                if sent.is_ok() && answer.starts_with(&format!("HTTP/1.1 {status}")) {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(crate::pilot::PATIENCE, look).await;
    found.unwrap_or_else(|_| panic!("{host} never answers {status}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_hosts_come_and_go_one_by_one_in_envoy() {
    let port = ports::free();
    // Nothing listens behind the routes: a host that is known answers 503, another 404.
    let with = |hosts: &str| {
        resources(port, "/").replace("hosts: [\"*\"]\n  gateways", &format!("hosts: [{hosts}]\n  gateways"))
    };
    let served = Served::start(&with("a.example, b.example")).await;
    let Some(_envoy) = start(&served, true) else { return };
    let first = served.until("synced", |proxy| synced(proxy, &["CDS", "EDS", "LDS", "RDS", "VHDS"])).await;
    answers(port, "a.example", "503").await;
    answers(port, "b.example", "503").await;
    answers(port, "c.example", "404").await;
    served.set(&with("b.example, c.example")).await;
    answers(port, "a.example", "404").await;
    answers(port, "b.example", "503").await;
    answers(port, "c.example", "503").await;
    let second = served.until("synced again", |proxy| synced(proxy, &["VHDS"])).await;
    assert_eq!(second.types["RDS"].nonce, first.types["RDS"].nonce, "the table itself was not sent again");
    assert!(second.types.values().all(|status| status.rejections == 0));
}
