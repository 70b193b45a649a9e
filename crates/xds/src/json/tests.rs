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
    assert_eq!(to_value(&from_value::<Bootstrap>(&value).unwrap()), value);
}

/// What is said of a wrong bootstrap.
fn fault(text: &str) -> String {
    from_text::<Bootstrap>(text).unwrap_err().to_string()
}

#[test]
fn faults_say_where_and_what() {
    assert_eq!(
        fault("static_resources:\n  clusters:\n  - name: a\n  - nmae: b\n"),
        "4:5: static_resources.clusters[1].nmae: no such field in envoy.config.cluster.v3.Cluster, did you mean \"name\"?"
    );
    assert_eq!(
        fault("{\n \"staticResources\": {\"clusters\": [{\"name\": \"a\",\n  \"connectTimeout\": \"5m\"}]}}"),
        "3:21: static_resources.clusters[0].connect_timeout: \"5m\" is not a duration; write seconds, as \"1.5s\""
    );
    assert_eq!(
        fault("static_resources: { clusters: [ { type: STATC } ] }"),
        "1:41: static_resources.clusters[0].type: \"STATC\" is not one of STATIC, STRICT_DNS, LOGICAL_DNS, EDS, \
         ORIGINAL_DST, did you mean \"STATIC\"?"
    );
    assert_eq!(fault("node: { id: 7 }"), "1:13: node.id: expected a string, found 7");
    assert_eq!(fault("node: [1]"), "1:7: node: expected an object, found a list");
    assert_eq!(
        fault("node: { metadata: { a: { b: [1] } } }\nadmin: x"),
        "2:8: admin: expected an object, found \"x\""
    );
    assert_eq!(
        fault("static_resources: { clusters: {} }"),
        "1:31: static_resources.clusters: expected a list, found an object"
    );
    assert_eq!(fault(""), "expected an object, found null");
    assert!(fault("a: [").starts_with("1:"), "{}", fault("a: ["));
}

#[test]
fn faults_inside_any_say_where_and_what() {
    let listener = |any: &str| {
        format!("static_resources: {{ listeners: [ {{ api_listener: {{ api_listener: {any} }} }} ] }}")
    };
    let any = "static_resources.listeners[0].api_listener.api_listener";
    assert_eq!(fault(&listener("{ \"@type\": x/y.Z }")), format!("1:77: {any}.@type: unknown type \"y.Z\""));
    assert_eq!(fault(&listener("{ name: a }")), format!("1:66: {any}: \"@type\" is missing"));
    // The type need not come first.
    assert_eq!(
        fault(&listener("{ nmae: a, \"@type\": x/envoy.config.cluster.v3.Cluster }")),
        format!("1:68: {any}.nmae: no such field in envoy.config.cluster.v3.Cluster, did you mean \"name\"?")
    );
    assert_eq!(
        fault(&listener("{ \"@type\": x/google.protobuf.Duration, seconds: 1 }")),
        format!(
            "1:105: {any}.seconds: no such field in google.protobuf.Duration; its JSON form goes under \"value\""
        )
    );
}

#[test]
fn of_a_oneof_only_one_is_taken() {
    assert_eq!(
        fault("static_resources:\n  clusters:\n  - type: STATIC\n    cluster_type: { name: x }\n"),
        "4:5: static_resources.clusters[0].cluster_type: only one of \"type\" and \"cluster_type\" can be set"
    );
    assert_eq!(fault("{\"node\": {\"id\": \"a\", \"id\": \"b\"}}"), "1:11: node.id: given twice");
    // An absent one is no conflict.
    from_text::<Bootstrap>("static_resources: { clusters: [ { type: STATIC, cluster_type: null } ] }")
        .unwrap();
}

#[test]
fn yaml_and_json_of_one_message_mean_the_same() {
    let value = to_value(&from_text::<Bootstrap>(BOOTSTRAP).unwrap());
    let json = format!("{value:#}");
    assert_eq!(to_value(&from_text::<Bootstrap>(&json).unwrap()), value);
    assert_eq!(
        to_value(&from_text::<Bootstrap>(&format!("# a comment makes it YAML\n{json}")).unwrap()),
        value
    );
}

#[test]
fn messages_that_the_crate_lacks_are_known() {
    for name in ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"] {
        let text = "{ type_url: x/y, value: { a: [1, null, { b: c }] } }";
        let wire = wire_from_text(name, text).unwrap();
        assert_eq!(value_from_wire(name, &wire).unwrap()["value"]["a"][2]["b"], "c");
    }
}
