//! What each resource is compiled to, and what is refused with which words.

use bytes::Bytes;
use meltemi_xds::{json, pb::envoy::config::cluster::v3::Cluster, pb::envoy::config::listener::v3::Listener};
use proptest::prelude::*;
use prost::Message;

use super::{Context, Rejection, cluster, listener, route};
use crate::{
    cluster::{BalancerPolicy, UpstreamProtocol, store::ClusterStore},
    listener::Terminal,
    route::{Action, HeaderOp, RouteTable, Target},
};

fn context() -> Context {
    Context::new(ClusterStore::new())
}

fn routes_with(text: &str, context: &mut Context) -> Result<RouteTable, Rejection> {
    let wire = json::wire_from_text("envoy.config.route.v3.RouteConfiguration", text).unwrap();
    route::table(&wire.into(), "1", false, context)
}

fn routes(text: &str) -> Result<RouteTable, Rejection> {
    routes_with(text, &mut context())
}

/// A table of one route.
fn route(inner: &str) -> Result<RouteTable, Rejection> {
    routes(&format!("{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{{inner}}}]}}]}}"))
}

fn cluster_of(text: &str) -> Result<cluster::Compiled, Rejection> {
    cluster::compile(&json::from_text::<Cluster>(text).unwrap(), &mut context())
}

const ANY: &str = "match: {prefix: /}";

#[test]
fn a_route_with_everything_that_istio_sends() {
    let table = route(
        "name: default, match: {path_separated_prefix: /reviews, case_sensitive: true, headers: \
         [{name: end-user, string_match: {exact: jason}}]}, route: {weighted_clusters: {clusters: \
         [{name: v1, weight: 90}, {name: v2, weight: 10}]}, timeout: 0s, retry_policy: {retry_on: \
         'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes', num_retries: 2, \
         retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts}], \
         host_selection_retry_max_attempts: '5', retriable_status_codes: [503]}, max_grpc_timeout: 0s, \
         prefix_rewrite: /}, metadata: {filter_metadata: {istio: {config: /apis}}}, decorator: {operation: x}, \
         request_headers_to_add: [{header: {key: X-A, value: '%REQ(b)%'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}], \
         request_headers_to_remove: [x-b]",
    )
    .unwrap();
    let (condition, route) =
        table.virtual_hosts[0].routes().next().map(|e| (&e.condition, &e.route)).unwrap();
    assert!(condition.also.is_some());
    let Action::Forward(forward) = &route.action else { panic!() };
    let Target::Weighted { total: 100, parts } = &forward.target else { panic!() };
    assert_eq!((&*parts[1].cluster.name, parts[1].weight), ("v2", 10));
    assert_eq!(forward.timeout, None);
    let retry = forward.retry.as_ref().unwrap();
    assert_eq!(
        (retry.attempts, retry.avoid_previous_hosts, retry.statuses.as_slice()),
        (2, Some(5), &[503][..])
    );
    // Removed before added, as Envoy does.
    assert!(matches!(&route.headers.request[..], [HeaderOp::Remove(_), HeaderOp::Put { .. }]));
}

#[test]
fn refused_routes_are_named_with_their_place() {
    let at = "virtual_hosts[0].routes[0].";
    for (inner, wanted) in [
        ("match: {prefix: /}".to_owned(), "action: one of route, redirect, direct_response is required"),
        ("route: {cluster: c}".to_owned(), "match: value is required"),
        (
            "match: {safe_regex: {regex: '['}}, route: {cluster: c}".to_owned(),
            "match.safe_regex.regex: invalid regex '['",
        ),
        (
            "match: {prefix: /, tls_context: {presented: true}}, route: {cluster: c}".to_owned(),
            "match.tls_context: not supported",
        ),
        (
            "match: {path_separated_prefix: /a/}, route: {cluster: c}".to_owned(),
            "match.path_separated_prefix: '/a/' must start",
        ),
        (format!("{ANY}, route: {{}}"), "route: a cluster specifier is required"),
        (
            format!("{ANY}, route: {{cluster_specifier_plugin: p}}"),
            "route.cluster_specifier_plugin: cluster specifier plugin 'p' is not supported",
        ),
        (
            format!("{ANY}, route: {{weighted_clusters: {{clusters: [{{name: a, weight: 0}}]}}}}"),
            "route.weighted_clusters: the sum of weights must be greater than 0",
        ),
        (
            format!("{ANY}, direct_response: {{status: 99}}"),
            "direct_response.status: status 99 is not between 200 and 599",
        ),
        (
            format!(
                "{ANY}, route: {{cluster: c}}, request_headers_to_add: [{{header: {{key: ':path', value: x}}}}]"
            ),
            "request_headers_to_add[0].header.key: ':-prefixed or host headers may not be modified'",
        ),
        (
            format!(
                "{ANY}, route: {{cluster: c}}, typed_per_filter_config: {{x: {{'@type': type.googleapis.com/google.protobuf.Duration, value: 1s}}}}"
            ),
            "typed_per_filter_config[\"x\"]: filter config of type 'type.googleapis.com/google.protobuf.Duration' is not supported",
        ),
    ] {
        let error = route(&inner).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{at}{wanted}")), "{error}\n{wanted}");
    }
}

#[test]
fn tables_are_checked_as_a_whole() {
    let twice = "{name: r, virtual_hosts: [{name: a, domains: [x]}, {name: b, domains: [z, X]}]}";
    let wanted = "virtual_hosts[1].domains[1]: Only unique values for domains are permitted. Duplicate entry of domain x";
    assert_eq!(routes(twice).unwrap_err().to_string(), wanted);
    assert_eq!(routes("{name: r, virtual_hosts: [{name: a}]}").unwrap_err().path, "virtual_hosts[0].domains");

    let unknown = "{name: r, validate_clusters: true, virtual_hosts: [{name: v, domains: ['*'], \
                   routes: [{match: {prefix: /}, route: {cluster: nobody}}]}]}";
    let error = routes(unknown).unwrap_err();
    assert_eq!(error.to_string(), "virtual_hosts[0].routes[0].route.cluster: unknown cluster 'nobody'");
    let mut context = context();
    context.declared.insert("nobody".into());
    routes_with(unknown, &mut context).unwrap();
}

#[test]
fn equal_patterns_and_settings_are_one() {
    let mut context = context();
    assert!(std::sync::Arc::ptr_eq(&context.full_match("a.*").unwrap(), &context.full_match("a.*").unwrap()));
    let compile = |name: &str, context: &mut Context| {
        cluster::compile(&Cluster { name: name.into(), ..Cluster::default() }, context).unwrap().settings
    };
    assert!(std::sync::Arc::ptr_eq(&compile("a", &mut context), &compile("b", &mut context)));
}

#[test]
fn clusters() {
    let http2 = "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
        {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
        explicit_http_config: {http2_protocol_options: {}}}}";
    let compiled =
        cluster_of(&format!("{{name: c, lb_policy: LEAST_REQUEST, connect_timeout: 1s, {http2}}}")).unwrap();
    assert_eq!(compiled.settings.protocol, UpstreamProtocol::Http2);
    assert_eq!(compiled.settings.balancer, BalancerPolicy::LeastRequest { choices: Some(2), bias: 1000 });
    let eds =
        "type: EDS, eds_cluster_config: {service_name: s, eds_config: {ads: {}, initial_fetch_timeout: 0s}}";
    let compiled = cluster_of(&format!("{{name: c, {eds}}}")).unwrap();
    let cluster::Discovery::Eds { resource, timeout: None } = compiled.discovery else { panic!() };
    assert_eq!(&*resource, "s");

    let tls = "transport_socket: {name: envoy.transport_sockets.tls, typed_config: \
        {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}";
    for (inner, wanted) in [
        (tls, "transport_socket: unknown transport socket 'envoy.transport_sockets.tls'"),
        (
            "lb_policy: MAGLEV, maglev_lb_config: {table_size: 10}",
            "maglev_lb_config.table_size: The table size of maglev must be prime number",
        ),
        ("type: EDS", "eds_cluster_config: value is required"),
        (
            "cluster_type: {name: envoy.clusters.aggregate}",
            "cluster_type: unknown cluster type 'envoy.clusters.aggregate'",
        ),
        (
            "type: LOGICAL_DNS, load_assignment: {}",
            "load_assignment: LOGICAL_DNS clusters must have a single",
        ),
        (
            "load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: host, port_value: 1}}}}]}]}",
            "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: malformed IP address: host",
        ),
    ] {
        let error = cluster_of(&format!("{{name: c, {inner}}}")).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}\n{wanted}");
    }

    let mut context = context();
    let message = json::from_text::<Cluster>(
        "{name: c, outlier_detection: {base_ejection_time: 400s}, health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tls_options: {}, tcp_health_check: {}}]}",
    )
    .unwrap();
    let compiled = cluster::compile(&message, &mut context).unwrap();
    assert_eq!(compiled.settings.outlier.as_ref().unwrap().max_ejection_time.as_secs(), 400);
    let notes = context.take_notes();
    assert!(notes.iter().any(|n| n.contains("health")), "{notes:?}");
}

fn listener_text(filters: &str, path: &str) -> String {
    format!(
        "{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}, filter_chains: [{{name: one, \
         filters: [{{name: hcm, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.\
         http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, route_config: {{virtual_hosts: [{{name: v, \
         domains: ['*'], routes: [{{match: {{prefix: {path}}}, direct_response: {{status: 200}}}}]}}]}}, \
         http_filters: [{filters}]}}}}]}}], default_filter_chain: {{filters: [{{name: tcp, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}}}}]}}}}"
    )
}

const ROUTER: &str = "{name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";

#[test]
fn unchanged_filter_chains_are_kept() {
    let mut context = context();
    let mut compile = |path: &str, old: Option<&listener::Compiled>| {
        let message: Listener = json::from_text(&listener_text(ROUTER, path)).unwrap();
        listener::compile(&message, old, &mut context).unwrap()
    };
    let old = compile("/a", None);
    let new = compile("/b", Some(&old));
    let chains = |compiled: &listener::Compiled| compiled.listener.chains.iter().cloned().collect::<Vec<_>>();
    let (before, after) = (chains(&old), chains(&new));
    assert!(matches!(before[0].terminal, Terminal::Http(_)));
    assert!(!std::sync::Arc::ptr_eq(&before[0], &after[0]));
    assert!(std::sync::Arc::ptr_eq(&before[1], &after[1]));
}

#[test]
fn http_filters_are_known_optional_or_refused() {
    let compile = |filters: &str| {
        let message: Listener = json::from_text(&listener_text(filters, "/")).unwrap();
        let mut context = context();
        listener::compile(&message, None, &mut context).map(|_| context.take_notes())
    };
    let fault = |optional: bool| {
        format!(
            "{{name: fault, is_optional: {optional}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.gzip.v3.Gzip}}}}"
        )
    };
    let error = compile(&format!("{}, {ROUTER}", fault(false))).unwrap_err();
    assert_eq!(error.path, "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config");
    assert!(
        error.reason.starts_with("unknown HTTP filter 'fault' of type 'type.googleapis.com/envoy.ext"),
        "{error}"
    );
    let notes = compile(&format!("{}, {ROUTER}", fault(true))).unwrap();
    assert_eq!(notes, ["HTTP filter 'fault' is not known and, being optional, skipped"]);
    assert!(compile("").unwrap_err().reason.contains("the last filter must be envoy.filters.http.router"));
    assert!(compile(&format!("{ROUTER}, {ROUTER}")).unwrap_err().reason.contains("must be the last"));
}

proptest! {
    /// Nothing that a server could send makes compiling panic.
    #[test]
    fn any_bytes_compile_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..400, with: u8) {
        let mut context = context();
        let _ = route::table(&Bytes::from(bytes.clone()), "", false, &mut context);
        let mut wire = json::wire_from_text("envoy.config.listener.v3.Listener", &listener_text(ROUTER, "/")).unwrap();
        let at = at % wire.len();
        wire[at] = with;
        if let Ok(message) = Listener::decode(wire.as_slice()) {
            let _ = listener::compile(&message, None, &mut context);
        }
        if let Ok(message) = Cluster::decode(bytes.as_slice()) {
            let _ = cluster::compile(&message, &mut context);
        }
    }
}
