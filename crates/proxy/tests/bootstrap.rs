//! Bootstrap files as `meltemi proxy --mode validate` checks them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{io::Write, time::Duration};

use meltemi_proxy::{
    bootstrap::Overrides,
    run::{Options, validate},
};

const GOOD: &str = r#"
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: i
          route_config:
            virtual_hosts:
            - { name: v, domains: ["*"], routes: [ { match: { prefix: / }, route: { cluster: c } } ] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: c
    type: STATIC
    load_assignment:
      cluster_name: c
      endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } } } ] } ]
"#;

/// What `validate` says about a bootstrap.
fn check(text: &str) -> Result<(), String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let config = file.path().to_owned();
    let drain_time = Duration::from_secs(1);
    let options = Options { config, workers: Some(1), drain_time, overrides: Overrides::default() };
    validate(&options).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_good_bootstrap_is_accepted() {
    check(GOOD).unwrap();
}

#[test]
fn a_wrong_one_is_refused_with_the_place_and_the_name() {
    let error = check(&GOOD.replace("stat_prefix", "stat_prefx")).unwrap_err();
    assert!(error.contains("did you mean \"stat_prefix\""), "{error}");
    let error = check(&GOOD.replace("address: 127.0.0.1, port_value: 0", "address: local, port_value: 0"))
        .unwrap_err();
    assert!(error.contains("listener 'l'") && error.contains("malformed IP address: local"), "{error}");
    let unknown = "envoy.extensions.filters.http.buffer.v3.Buffer";
    let error = check(&GOOD.replace("envoy.extensions.filters.http.router.v3.Router", unknown)).unwrap_err();
    assert!(error.contains(unknown), "{error}");
}
