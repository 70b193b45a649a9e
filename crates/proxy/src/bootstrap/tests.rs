//! Bootstraps: what is read, what is noted, what is refused.

use super::*;

fn read(text: &str) -> Result<Bootstrap, Rejection> {
    read_with(text, &Overrides::default())
}

fn read_with(text: &str, overrides: &Overrides) -> Result<Bootstrap, Rejection> {
    let encoded = meltemi_xds::json::wire_from_text("envoy.config.bootstrap.v3.Bootstrap", text).unwrap();
    compile(encoded.into(), overrides)
}

const AGENTS: &str = r#"
node: {id: "sidecar~127.0.0.2~a.b~b.svc.cluster.local", cluster: a.b}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}
layered_runtime: {layers: [{name: x, static_layer: {}}]}
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]
static_resources:
  clusters:
  - name: xds-grpc
    type: STRICT_DNS
    load_assignment:
      cluster_name: xds-grpc
      endpoints: [{lb_endpoints: [
        {endpoint: {address: {socket_address: {address: localhost, port_value: 15010}}}},
        {endpoint: {address: {pipe: {path: /run/xds}}}}]}]
"#;

#[test]
fn an_agents_bootstrap() {
    let bootstrap = read(AGENTS).unwrap();
    assert_eq!(bootstrap.node.id, "sidecar~127.0.0.2~a.b~b.svc.cluster.local");
    assert_eq!(bootstrap.admin, Some(ListenAddress::Socket(([127, 0, 0, 1], 15000).into())));
    assert_eq!(bootstrap.notes, ["layered_runtime: runtime keys have their default values"]);
    let discovery = bootstrap.discovery.unwrap();
    assert!(discovery.clusters && discovery.listeners);
    assert_eq!(discovery.client.protocol, client::Protocol::Delta);
    let servers: Vec<_> = discovery.client.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["localhost:15010", "unix:/run/xds"]);
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides { node: Some("n".into()), cluster: Some("c".into()) };
    let bootstrap = read_with(AGENTS, &overrides).unwrap();
    assert_eq!((bootstrap.node.id.as_str(), bootstrap.node.cluster.as_str()), ("n", "c"));
}

#[test]
fn google_grpc_targets() {
    let text = AGENTS.replace(
        "envoy_grpc: {cluster_name: xds-grpc}",
        "google_grpc: {target_uri: 'dns:///a:1', stat_prefix: x}",
    );
    let discovery = read(&text).unwrap().discovery.unwrap();
    assert_eq!(discovery.client.addresses, [client::Address::Tcp("a:1".into())]);
}

#[test]
fn what_is_not_supported_is_named() {
    for (from, to, wanted) in [
        (
            "cluster_name: xds-grpc}",
            "cluster_name: nobody}",
            "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: unknown static cluster 'nobody'",
        ),
        (
            "lds_config: {ads: {}",
            "lds_config: {path_config_source: {path: /x}",
            "dynamic_resources.lds_config: only ADS is supported, not files",
        ),
        (
            "api_type: DELTA_GRPC",
            "api_type: REST",
            "dynamic_resources.ads_config.api_type: GRPC and DELTA_GRPC are supported",
        ),
        (
            "static_resources:",
            "static_resources:\n  secrets: [{name: x}]",
            "static_resources.secrets: not supported",
        ),
        (
            "layered_runtime: {layers: [{name: x, static_layer: {}}]}",
            "hds_config: {}",
            "hds_config: not supported",
        ),
    ] {
        let error = read(&AGENTS.replace(from, to)).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}
