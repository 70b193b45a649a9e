//! The JSON form of real messages, there and back, and what is said about wrong ones.

use super::*;
use crate::pb::envoy::config::bootstrap::v3::Bootstrap;

const BOOTSTRAP: &str = r#"
node: { id: a, metadata: { LABELS: { app: x }, list: [1, true, null, "s", 1.5] } }
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }
    per_connection_buffer_limit_bytes: 32768
    listener_filters_timeout: 0.250s
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: i
          codecType: HTTP2
          http_filters: [ { name: r, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } } ]
  clusters:
  - name: c
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      x: { "@type": type.googleapis.com/google.protobuf.Duration, value: 3s }
    circuit_breakers: { thresholds: [ { max_connections: 7, retry_budget: { budget_percent: { value: 12.5 } } } ] }
"#;

#[test]
fn a_bootstrap_goes_there_and_back() {
    let bootstrap: Bootstrap = from_text(BOOTSTRAP).unwrap();
    let resources = bootstrap.static_resources.as_ref().unwrap();
    assert_eq!(resources.listeners[0].per_connection_buffer_limit_bytes.as_ref().unwrap().value, 32768);
    let value = to_value(&bootstrap);
    let listener = &value["static_resources"]["listeners"][0];
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["codec_type"], "HTTP2");
    assert_eq!(listener["listener_filters_timeout"], "0.250s");
    assert_eq!(value["node"]["metadata"]["list"][4], 1.5);
    assert_eq!(from_value::<Bootstrap>(&value).unwrap(), bootstrap);
}

#[test]
fn faults_say_where_and_what() {
    let fault = |text: &str| from_text::<Bootstrap>(text).unwrap_err().to_string();
    assert_eq!(
        fault("static_resources: { clusters: [ { name: a }, { nmae: b } ] }"),
        "static_resources.clusters[1].nmae: no such field in envoy.config.cluster.v3.Cluster, did you mean \"name\"?"
    );
    assert!(
        fault("static_resources: { clusters: [ { type: STATC } ] }").contains("did you mean \"STATIC\"?")
    );
    assert!(
        fault("static_resources: { clusters: [ { connect_timeout: 5m } ] }")
            .contains("connect_timeout: \"5m\"")
    );
    assert!(fault("node: { id: 7 }").contains("node.id: expected a string, found 7"));
    let unknown =
        "static_resources: { listeners: [ { api_listener: { api_listener: { \"@type\": x/y.Z } } } ] }";
    assert!(fault(unknown).contains("unknown type \"y.Z\""));
    assert!(fault("a: [").contains("line 1"));
}
