//! Settings of the mesh.

use std::time::Duration;

use meltemi_pilot::snapshot::Change;

use super::*;
use meltemi_pilot::model::listener::{Http, PathNormalization, Terminal};
use meltemi_pilot::model::route::Action;

fn config(text: &str) -> MeshConfig {
    let (config, findings) = meltemi_config::load::mesh_config("mesh.yaml", text);
    assert!(findings.is_empty(), "{findings:?}");
    config
}

fn mesh(resources: &str, text: &str) -> Mesh {
    Mesh::with(resources, config(text))
}

/// A service in front of productpage, so that its sidecar has a port of its own.
const OWN_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: productpage, namespace: default}
spec: {clusterIP: 10.0.0.8, selector: {app: productpage}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
";

/// The settings of HTTP of the shared listener of a port.
fn http(mesh: &Mesh) -> Http {
    let listeners = mesh.listeners(&Mesh::sidecar());
    let listener = listeners.iter().find(|listener| listener.name == "0.0.0.0_9080").unwrap();
    let found = listener.chains.iter().find_map(|chain| match &chain.terminal {
        Terminal::Http(http) => Some(Http::clone(http)),
        Terminal::Tcp(_) => None,
    });
    found.unwrap()
}

#[test]
fn the_ports_of_redirected_connections() {
    let ports = |text: &str| {
        let listeners = mesh("", text).listeners(&Mesh::sidecar());
        let port = |name: &str| listeners.iter().find(|listener| listener.name == name).unwrap().port;
        (port("virtualOutbound"), port("virtualInbound"))
    };
    assert_eq!(ports("{}"), (15001, 15006));
    assert_eq!(ports("{proxyListenPort: 16001, proxyInboundListenPort: 16006}"), (16001, 16006));
}

#[test]
fn connections_are_made_in_time_and_probed() {
    let settings = "{connectTimeout: 3s, tcpKeepalive: {probes: 4, time: 60s, interval: 5s}}";
    let cluster = mesh("", settings).cluster(REVIEWS);
    assert_eq!(cluster.connect_timeout.unwrap().seconds, 3);
    let probes = cluster.upstream_connection_options.unwrap().tcp_keepalive.unwrap();
    let values = [probes.keepalive_probes, probes.keepalive_time, probes.keepalive_interval];
    assert_eq!(values.map(|value| value.unwrap().value), [4, 60, 5]);
    let plain = mesh("", "{}").cluster(REVIEWS);
    assert_eq!(plain.connect_timeout.unwrap().seconds, 10);
    assert!(plain.upstream_connection_options.is_none());
}

#[test]
fn bytes_that_tell_the_protocol_are_waited_for() {
    let timeout = |text: &str| {
        let listeners = mesh(OWN_SERVICE, text).listeners(&Mesh::sidecar());
        listeners.iter().find(|listener| listener.name == "virtualInbound").unwrap().detection_timeout
    };
    assert_eq!(timeout("{}"), Some(Duration::ZERO));
    assert_eq!(timeout("protocolDetectionTimeout: 5s"), Some(Duration::from_secs(5)));
}

#[test]
fn the_workload_is_reached_at_the_address_asked_for_or_locally() {
    let inbound = |mode: &str| {
        let mesh = mesh(OWN_SERVICE, &format!("inboundTrafficPolicy: {{mode: {mode}}}"));
        let cluster = mesh.cluster("inbound|9080||");
        (cluster.load_assignment.as_ref().map(addresses), cluster.upstream_bind_config.is_some())
    };
    // A source address of its own tells redirection to leave the connection alone.
    assert_eq!(inbound("PASSTHROUGH"), (None, true));
    assert_eq!(inbound("LOCALHOST"), (Some(vec!["127.0.0.1:9080".to_owned()]), false));
}

#[test]
fn resources_without_export_to_are_seen_as_the_mesh_says() {
    let details = "|details.other.svc.cluster.local";
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: other}\n\
        spec: {host: details, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}\n---\n";
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: d, namespace: other}\n\
        spec: {hosts: [details], http: [{name: ruled, route: [{destination: {host: details}}]}]}\n---\n";
    let with = |text: &str| mesh(&format!("{rule}{route}"), text);
    let sees = |mesh: &Mesh| {
        let clusters = mesh.clusters(&Mesh::sidecar());
        let cluster = clusters.iter().find(|cluster| cluster.name.ends_with(details))?;
        let limit = cluster.circuit_breakers.as_ref()?.thresholds[0].max_connections?.value;
        let name = "details.other.svc.cluster.local:9080";
        let host = mesh.virtual_host(&Mesh::sidecar(), "9080", name)?;
        Some((limit, host.routes[0].name.clone()))
    };
    let default = "default".to_owned();
    assert_eq!(sees(&with("{}")), Some((7, "ruled".to_owned())));
    assert_eq!(sees(&with("defaultServiceExportTo: ['.']")), None);
    assert_eq!(sees(&with("defaultVirtualServiceExportTo: ['.']")), Some((7, default)));
    assert_eq!(sees(&with("defaultDestinationRuleExportTo: ['.']")), Some((u32::MAX, "ruled".to_owned())));
}

#[test]
fn the_root_namespaces_resources_hold_everywhere() {
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: all, namespace: root}\n\
        spec: {egress: [{hosts: ['other/*']}]}\n---\n";
    let count = |text: &str| {
        let clusters = mesh(sidecar, text).clusters(&Mesh::sidecar());
        clusters.iter().filter(|cluster| cluster.name.starts_with("outbound|")).count()
    };
    assert_eq!((count("{}"), count("rootNamespace: root")), (4, 1));
}

#[test]
#[allow(deprecated, reason = "Envoy's successor is an extension that older clients lack")]
fn names_are_resolved_again() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: default}\n\
        spec: {hosts: [e.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n---\n";
    let rate =
        |text: &str| mesh(entry, text).cluster("outbound|80||e.example").dns_refresh_rate.unwrap().seconds;
    assert_eq!((rate("{}"), rate("dnsRefreshRate: 5s")), (60, 5));
}

#[test]
fn http1_becomes_http2_where_the_mesh_says_so() {
    let http2 = |text: &str, rule: &str, name: &str| {
        format!("{:?}", mesh(rule, text).cluster(name).typed_extension_protocol_options)
    };
    let plain = http2("{}", "", REVIEWS);
    let upgraded = http2("h2UpgradePolicy: UPGRADE", "", REVIEWS);
    assert!(plain.len() < upgraded.len(), "{plain} {upgraded}");
    // A rule that says no wins, and bytes are not HTTP.
    let no =
        policy(json!({"trafficPolicy": {"connectionPool": {"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE"}}}}));
    assert_eq!(http2("h2UpgradePolicy: UPGRADE", &no, REVIEWS), plain);
    let bytes = "outbound|9090||ratings.default.svc.cluster.local";
    assert_eq!(http2("h2UpgradePolicy: UPGRADE", "", bytes), http2("{}", "", bytes));
}

#[test]
fn paths_are_made_regular() {
    let with =
        |word: &str| http(&mesh("", &format!("pathNormalization: {{normalization: {word}}}"))).normalization;
    assert_eq!(http(&mesh("", "{}")).normalization, PathNormalization::Base);
    assert_eq!(with("DEFAULT"), PathNormalization::Base);
    assert_eq!(with("BASE"), PathNormalization::Base);
    assert_eq!(with("NONE"), PathNormalization::None);
    assert_eq!(with("MERGE_SLASHES"), PathNormalization::MergeSlashes);
    assert_eq!(with("DECODE_AND_MERGE_SLASHES"), PathNormalization::DecodeAndMergeSlashes);
}

/// Attempts and conditions of the retries of a route.
fn retries(action: &Action) -> Option<(u32, String)> {
    let Action::Forward(forward) = action else { panic!("{action:?}") };
    forward.retry.as_ref().map(|retry| (retry.attempts, retry.on.clone()))
}

#[test]
fn routes_that_say_nothing_are_retried_as_the_mesh_says() {
    let of = |text: &str, rules: &str| {
        let mesh = mesh(rules, text);
        let node = Mesh::sidecar();
        let table = View::new(&mesh.0, &node).route_table("9080").unwrap();
        let host = table.virtual_hosts.iter().find(|host| host.name.starts_with("reviews")).unwrap().clone();
        retries(&host.routes[0].action)
    };
    let istio = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes".to_owned();
    assert_eq!(of("{}", ""), Some((2, istio)));
    let settings = "defaultHttpRetryPolicy: {attempts: 5, retryOn: reset}";
    assert_eq!(of(settings, ""), Some((5, "reset".to_owned())));
    assert_eq!(of("defaultHttpRetryPolicy: {attempts: 0}", ""), None);
    let own = rules(json!([{"retries": {"attempts": 1, "retryOn": "5xx"}, "route": to("reviews")}]));
    assert_eq!(of(settings, &own), Some((1, "5xx".to_owned())));
}

#[test]
fn routes_to_the_workload_are_retried_as_the_mesh_says() {
    let of = |text: &str| {
        let listeners = mesh(OWN_SERVICE, text).listeners(&Mesh::sidecar());
        let inbound = listeners.iter().find(|listener| listener.name == "virtualInbound").unwrap().clone();
        let chain = inbound.chains.iter().find(|chain| chain.condition.port == Some(9080)).unwrap();
        let Terminal::Http(http) = &chain.terminal else { panic!("not HTTP") };
        let model::listener::Routes::Inline(table) = &http.routes else { panic!("elsewhere") };
        retries(&table.virtual_hosts[0].routes[0].action)
    };
    assert_eq!(of("{}"), Some((2, "reset-before-request".to_owned())));
    let own = of("defaultInboundHttpRetryPolicy: {attempts: 3, retryOn: refused-stream}");
    assert_eq!(own, Some((3, "refused-stream".to_owned())));
    assert_eq!(of("defaultInboundHttpRetryPolicy: {attempts: 0}"), None);
}

#[test]
fn policies_under_all_rules() {
    let settings = "defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}, outlierDetection: {consecutive5xxErrors: 3}}";
    let of = |rule: &str| {
        let cluster = mesh(rule, settings).cluster(REVIEWS);
        let limit = cluster.circuit_breakers.unwrap().thresholds[0].max_connections.unwrap().value;
        (
            limit,
            cluster.outlier_detection.and_then(|outlier| outlier.consecutive_5xx).map(|errors| errors.value),
        )
    };
    assert_eq!(of(""), (9, Some(3)));
    // Block by block: what a rule says is said wholly.
    let rule = policy(json!({"trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "1s"}}}}));
    assert_eq!(of(&rule), (u32::MAX, Some(3)));
}

#[test]
fn clusters_are_called_by_a_pattern_in_statistics() {
    let settings = "{outboundClusterStatName: '%SERVICE%_%SERVICE_PORT%_%SERVICE_PORT_NAME%_%SUBSET_NAME%', inboundClusterStatName: '%SERVICE_FQDN%_%TARGET_PORT%'}";
    let rule = policy(json!({"subsets": [{"name": "v1", "labels": {"version": "v1"}}]}));
    let mesh = mesh(&format!("{OWN_SERVICE}{rule}"), settings);
    let name = |cluster: &str| mesh.cluster(cluster).alt_stat_name;
    assert_eq!(name("outbound|9080|v1|reviews.default.svc.cluster.local"), "reviews.default_9080_http_v1");
    assert_eq!(name("inbound|9080||"), "productpage.default.svc.cluster.local_9080");
    assert_eq!(Mesh::new("").cluster(REVIEWS).alt_stat_name, "");
}

#[test]
fn namespaces_come_and_go_by_their_labels() {
    let (settings, findings) =
        meltemi_config::load::mesh_config("mesh.yaml", "discoverySelectors: [{matchLabels: {mesh: 'yes'}}]");
    assert!(findings.is_empty(), "{findings:?}");
    let namespace = |label: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: default, labels: {{mesh: '{label}'}}}}}}"
        );
        let loaded = load_text("namespace.yaml", &text, &Options::default());
        loaded.objects.iter().map(|object| (object.id(), Some(object.clone()))).collect::<Vec<Change>>()
    };
    let mut snapshot = Mesh::with("", settings).0;
    let services = |snapshot: &Snapshot| snapshot.registry.all().count();
    assert_eq!(services(&snapshot), 0);
    let changes = snapshot.update(&namespace("yes"));
    assert_eq!((services(&snapshot), changes.registry.services.len()), (2, 2), "those of default");
    assert!(snapshot.registry.workloads.len() == 3);
    // What is not looked at changes nothing, and is there when its namespace comes in.
    snapshot.update(&namespace("no"));
    assert_eq!((services(&snapshot), snapshot.registry.workloads.len()), (0, 0));
    let text =
        "{apiVersion: v1, kind: Service, metadata: {name: late}, spec: {ports: [{name: http, port: 80}]}}";
    let late = load_text("late.yaml", text, &Options::default()).objects;
    let late: Vec<Change> = late.iter().map(|object| (object.id(), Some(object.clone()))).collect();
    assert!(snapshot.update(&late).registry.services.is_empty());
    snapshot.update(&namespace("yes"));
    assert_eq!(services(&snapshot), 3);
    let gone: Vec<Change> = late.into_iter().map(|(id, _)| (id, None)).collect();
    snapshot.update(&gone);
    assert_eq!(services(&snapshot), 2);
    let gone: Vec<Change> = namespace("yes").into_iter().map(|(id, _)| (id, None)).collect();
    snapshot.update(&gone);
    assert_eq!(services(&snapshot), 0);
}

#[test]
fn the_mesh_says_where_endpoints_are_preferred() {
    let text = "localityLbSetting: {distribute: [{from: 'r1/*', to: {'r1/*': 80, 'r2/*': 20}}]}";
    let (settings, findings) = meltemi_config::load::mesh_config("mesh.yaml", text);
    assert!(findings.is_empty(), "{findings:?}");
    let entry = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: default}
spec:
  hosts: [far.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, locality: r1/z1}, {address: 10.0.0.2, locality: r2/z1}, {address: 10.0.0.3, locality: r3/z1}]
";
    let labels = json!({"app": "productpage", "istio-locality": "r1.z1"});
    let client = Mesh::node("sidecar", "default", labels);
    let shares = |settings: MeshConfig| {
        let mesh = Mesh::with(entry, settings);
        let assignment = View::new(&mesh.0, &client).assignment("outbound|80||far.example.com");
        let shares = assignment.localities.iter().map(|one| (one.locality.to_string(), one.weight));
        shares.collect::<Vec<_>>()
    };
    assert_eq!(shares(settings), [("r1/z1".to_owned(), 80), ("r2/z1".to_owned(), 20)]);
    assert_eq!(shares(MeshConfig::default()).len(), 3);
}
