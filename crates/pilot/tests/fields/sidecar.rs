//! Sidecar.

use super::*;

fn sidecar(spec: serde_json::Value) -> String {
    let resource = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": spec,
    });
    resource.to_string()
}

/// Services that the sidecar of productpage has clusters for.
fn seen(mesh: &Mesh) -> Vec<String> {
    let clusters = mesh.clusters(&Mesh::sidecar());
    let names = clusters.iter().filter_map(|cluster| cluster.name.strip_prefix("outbound|"));
    let mut names: Vec<String> = names.map(|name| name.rsplit('|').next().unwrap().to_owned()).collect();
    names.dedup();
    names
}

#[test]
fn egress_hosts_bound_what_is_seen() {
    let with = |hosts: serde_json::Value| seen(&Mesh::new(&sidecar(json!({"egress": [{"hosts": hosts}]}))));
    let (details, ratings, reviews) = (
        "details.other.svc.cluster.local",
        "ratings.default.svc.cluster.local",
        "reviews.default.svc.cluster.local",
    );
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list.dedup();
        list
    };
    assert_eq!(sorted(with(json!(["*/*"]))), [details, ratings, reviews]);
    assert_eq!(sorted(with(json!(["./*"]))), [ratings, reviews]);
    assert_eq!(sorted(with(json!(["other/*"]))), [details]);
    assert_eq!(sorted(with(json!(["./reviews.default.svc.cluster.local"]))), [reviews]);
    assert_eq!(sorted(with(json!(["~/*"]))), [] as [&str; 0]);
}

#[test]
fn a_workload_selector_bounds_the_proxies() {
    let with = |app: &str| {
        let selector = json!({"labels": {"app": app}});
        seen(&Mesh::new(&sidecar(json!({"workloadSelector": selector, "egress": [{"hosts": ["other/*"]}]}))))
    };
    assert_eq!(with("productpage"), ["details.other.svc.cluster.local"]);
    assert!(with("other").len() > 1);
}

#[test]
fn unknown_destinations_are_let_through_or_not() {
    let table = |mode: &str| {
        let policy = json!({"outboundTrafficPolicy": {"mode": mode}});
        let mesh = Mesh::new(&sidecar(policy));
        let node = Mesh::sidecar();
        let table = View::new(&mesh.0, &node).route_table("9080").unwrap();
        table.virtual_hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>()
    };
    assert!(table("REGISTRY_ONLY").contains(&"block_all".to_owned()), "{:?}", table("REGISTRY_ONLY"));
    assert!(table("ALLOW_ANY").contains(&"allow_any".to_owned()), "{:?}", table("ALLOW_ANY"));
}

/// A service in front of productpage, so that its sidecar has ports of its own.
const OWN_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: productpage, namespace: default}
spec: {clusterIP: 10.0.0.8, selector: {app: productpage}, ports: [{name: http, port: 80, targetPort: 9080}, {name: tcp, port: 81, targetPort: 9081}, {name: any, port: 82, targetPort: 9082}]}
---
";

/// Ports that redirected connections to the workload are told apart by.
fn inbound_ports(listeners: &[model::listener::Listener]) -> Vec<u32> {
    let inbound = listeners.iter().find(|listener| listener.name == "virtualInbound").unwrap();
    let mut ports: Vec<u32> = inbound.chains.iter().filter_map(|chain| chain.condition.port).collect();
    ports.dedup();
    ports
}

/// Where a cluster's only endpoint is; `None` for the address that the client asked for.
fn endpoint(clusters: &[cluster::Cluster], name: &str) -> Option<String> {
    use meltemi_xds::pb::envoy::config::core::v3::address::Address;
    use meltemi_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    let found = clusters.iter().find(|cluster| cluster.name == name).unwrap_or_else(|| panic!("no {name}"));
    let endpoint = &found.load_assignment.as_ref()?.endpoints[0].lb_endpoints[0];
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else { panic!("no endpoint") };
    match endpoint.address.as_ref().unwrap().address.as_ref().unwrap() {
        Address::Pipe(pipe) => Some(pipe.path.clone()),
        _ => addresses(found.load_assignment.as_ref().unwrap()).pop(),
    }
}

fn own_connections(mesh: &Mesh, name: &str) -> u32 {
    let clusters = mesh.clusters(&Mesh::sidecar());
    let found = clusters.iter().find(|cluster| cluster.name == name).unwrap();
    found.circuit_breakers.as_ref().unwrap().thresholds[0].max_connections.unwrap().value
}

#[test]
fn ingress_listeners_replace_those_of_services() {
    let ingress = json!([
        {"port": {"number": 7000, "protocol": "HTTP", "name": "a"}, "defaultEndpoint": "127.0.0.1:7001"},
        {"port": {"number": 7002, "protocol": "TCP", "name": "b"}, "defaultEndpoint": "unix:///tmp/app.sock"},
        {"port": {"number": 7003, "protocol": "GRPC", "name": "c"}, "defaultEndpoint": "0.0.0.0:7004"},
        {"port": {"number": 7005, "protocol": "HTTP", "name": "d"}},
        {"port": {"number": 7006, "protocol": "HTTP", "name": "e"}, "bind": "127.0.0.7", "captureMode": "NONE", "defaultEndpoint": "[::]:7007"},
    ]);
    let resources = format!("{OWN_SERVICE}{}", sidecar(json!({"ingress": ingress})));
    let mesh = Mesh::new(&resources);
    let listeners = mesh.listeners(&Mesh::sidecar());
    // The port that was there already is the proxy's own.
    assert_eq!(inbound_ports(&listeners), [15006, 7000, 7002, 7003, 7005]);
    let explicit = listeners.iter().find(|listener| listener.name == "127.0.0.7_7006").unwrap();
    assert!(explicit.bind_to_port && explicit.chains.len() == 1);
    let clusters = mesh.clusters(&Mesh::sidecar());
    let of = |port: u32| endpoint(&clusters, &format!("inbound|{port}||"));
    assert_eq!(of(7000).as_deref(), Some("127.0.0.1:7001"));
    assert_eq!(of(7002).as_deref(), Some("/tmp/app.sock"));
    assert_eq!(of(7003).as_deref(), Some("1.1.1.1:7004"), "the workload's own address");
    assert_eq!(of(7005), None, "where the client meant to go");
    assert_eq!(of(7006).as_deref(), Some("::1:7007"), "there is no IPv6 address of its own");
    // Without ingress listeners, and beside them where istiod's switch says so.
    assert_eq!(inbound_ports(&Mesh::new(OWN_SERVICE).listeners(&Mesh::sidecar())), [15006, 9080, 9081, 9082]);
    let switch = |asked: &str| {
        (asked == "PILOT_ALLOW_SIDECAR_SERVICE_INBOUND_LISTENER_MERGE").then(|| "true".to_owned())
    };
    let switches = meltemi_config::mesh::Switches::read(switch);
    let merged = Mesh::with(&resources, MeshConfig { switches, ..MeshConfig::default() });
    let ports = inbound_ports(&merged.listeners(&Mesh::sidecar()));
    assert_eq!(ports, [15006, 7000, 7002, 7003, 7005, 9080, 9081, 9082]);
}

#[test]
fn ports_of_the_workload_are_limited() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: own, namespace: default}\n\
        spec: {host: productpage, trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}, portLevelSettings: [{port: {number: 81}, connectionPool: {tcp: {maxConnections: 6}}}]}}\n---\n";
    let of_rule = Mesh::new(&format!("{OWN_SERVICE}{rule}"));
    let all = |mesh: &Mesh| [9080, 9081].map(|port| own_connections(mesh, &format!("inbound|{port}||")));
    assert_eq!(all(&Mesh::new(OWN_SERVICE)), [u32::MAX, u32::MAX]);
    // Both sides of a call have the limits of the rule, whose port is the service's.
    assert_eq!(all(&of_rule), [5, 6]);
    let pool = |limit: u32| json!({"tcp": {"maxConnections": limit}});
    let of_sidecar = sidecar(json!({"inboundConnectionPool": pool(7)}));
    assert_eq!(all(&Mesh::new(&format!("{OWN_SERVICE}{rule}{of_sidecar}"))), [7, 7]);
    let listener = |port: u32, own: serde_json::Value| json!({"port": {"number": port, "protocol": "HTTP", "name": "a"}, "connectionPool": own});
    let ingress = json!([listener(9080, pool(8)), listener(9081, json!(null))]);
    let of_listener = sidecar(json!({"inboundConnectionPool": pool(7), "ingress": ingress}));
    assert_eq!(all(&Mesh::new(&format!("{OWN_SERVICE}{rule}{of_listener}"))), [8, 7]);
}

#[test]
fn declared_ports_are_not_looked_at() {
    let mesh = Mesh::new(OWN_SERVICE);
    let listeners = mesh.listeners(&Mesh::sidecar());
    let inbound = listeners.iter().find(|listener| listener.name == "virtualInbound").unwrap();
    assert_eq!(inbound.uninspected, [9080, 9081]);
    let message = translate::listener::listener(inbound);
    let inspectors: Vec<_> =
        message.listener_filters.iter().filter(|filter| filter.name.ends_with("inspector")).collect();
    assert!(inspectors.len() == 2 && inspectors.iter().all(|filter| filter.filter_disabled.is_some()));
    let ranges = format!("{:?}", inspectors[0].filter_disabled);
    assert!(ranges.contains("start: 9081, end: 9082") && !ranges.contains("9083"), "{ranges}");
}

/// Names of listeners that the proxy listens at itself, but for the two for redirected connections.
fn opened(mesh: &Mesh, node: &Node) -> Vec<String> {
    let all = mesh.listeners(node).into_iter().filter(|listener| listener.bind_to_port);
    let names = all.map(|listener| listener.name);
    names.filter(|name| !name.starts_with("virtual")).collect()
}

fn domains_of(mesh: &Mesh, table: &str) -> Vec<(String, Vec<String>)> {
    let node = Mesh::sidecar();
    let table = View::new(&mesh.0, &node).route_table(table).unwrap_or_else(|| panic!("no table {table}"));
    let hosts = table.virtual_hosts.iter().map(|host| (host.name.clone(), host.domains.clone()));
    hosts.collect()
}

#[test]
fn egress_listeners_have_their_ports() {
    let egress = json!([
        {"port": {"number": 9080, "protocol": "HTTP", "name": "http"}, "hosts": ["./reviews.default.svc.cluster.local"]},
        {"port": {"number": 9090, "protocol": "TCP", "name": "tcp"}, "bind": "127.0.0.3", "captureMode": "NONE", "hosts": ["./*"]},
        {"hosts": ["other/*", "./*"]},
    ]);
    let mesh = Mesh::new(&sidecar(json!({"egress": egress})));
    // The port belongs to the first listener: the last adds nothing to it (SEM-133).
    let names = |table: &str| domains_of(&mesh, table).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("9080"), ["reviews.default.svc.cluster.local:9080", "allow_any"]);
    assert_eq!(opened(&mesh, &Mesh::sidecar()), ["127.0.0.3_9090"]);
    let listeners = mesh.listeners(&Mesh::sidecar());
    let tcp = listeners.iter().find(|listener| listener.name == "127.0.0.3_9090").unwrap();
    assert!(format!("{:?}", tcp.chains).contains("outbound|9090||ratings.default.svc.cluster.local"));
}

#[test]
fn a_listener_without_port_opens_those_of_its_services() {
    let opened_with = |listener: serde_json::Value| {
        opened(&Mesh::new(&sidecar(json!({"egress": [listener]}))), &Mesh::sidecar())
    };
    let hosts = json!(["./ratings.default.svc.cluster.local"]);
    assert_eq!(opened_with(json!({"hosts": hosts})), [] as [&str; 0]);
    assert_eq!(opened_with(json!({"hosts": hosts, "captureMode": "IPTABLES"})), [] as [&str; 0]);
    let none = json!({"hosts": hosts, "captureMode": "NONE"});
    assert_eq!(opened_with(none), ["127.0.0.1_9080", "127.0.0.1_9090"]);
    let bound = json!({"hosts": hosts, "captureMode": "NONE", "bind": "127.0.0.4"});
    assert_eq!(opened_with(bound), ["127.0.0.4_9080", "127.0.0.4_9090"]);
}

#[test]
fn an_http_proxy_takes_all_ports_of_its_services() {
    let web = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: web, namespace: default}\n\
        spec: {hosts: [web.example], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: tcp, protocol: TCP}], endpoints: [{address: 2.2.2.2}]}\n---\n";
    let port = json!({"number": 3128, "protocol": "HTTP_PROXY", "name": "proxy"});
    let hosts = json!(["./web.example", "./ratings.default.svc.cluster.local"]);
    let egress = json!([{"port": port, "bind": "127.0.0.1", "captureMode": "NONE", "hosts": hosts}]);
    let mesh = Mesh::new(&format!("{web}{}", sidecar(json!({"egress": egress}))));
    assert_eq!(opened(&mesh, &Mesh::sidecar()), ["127.0.0.1_3128"]);
    let hosts = domains_of(&mesh, "3128");
    // The authority says the port, and port 80 need not be said.
    assert_eq!(
        hosts[1],
        ("web.example:80".to_owned(), vec!["web.example".to_owned(), "web.example:80".to_owned()])
    );
    let (name, domains) = &hosts[0];
    assert_eq!(name, "ratings.default.svc.cluster.local:9080");
    assert!(
        domains.contains(&"ratings:9080".to_owned()) && !domains.contains(&"ratings".to_owned()),
        "{domains:?}"
    );
    let node = Mesh::sidecar();
    assert!(!View::new(&mesh.0, &node).route_table("3128").unwrap().ignore_port);
    let host = mesh.virtual_host(&node, "3128", "web.example:80").unwrap();
    assert_eq!(cluster_of(&host.routes[0]), "outbound|80||web.example");
}

#[test]
fn the_mesh_may_have_an_http_proxy_at_every_sidecar() {
    let (config, findings) = meltemi_config::load::mesh_config("mesh.yaml", "proxyHttpPort: 15007");
    assert!(findings.is_empty(), "{findings:?}");
    let mesh = Mesh::with("", config);
    assert_eq!(opened(&mesh, &Mesh::sidecar()), ["127.0.0.1_15007"]);
    let names: Vec<_> = domains_of(&mesh, "http_proxy").into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"reviews.default.svc.cluster.local:9080".to_owned()), "{names:?}");
    assert_eq!(opened(&Mesh::new(""), &Mesh::sidecar()), [] as [&str; 0]);
}

#[test]
fn egress_listeners_may_be_unix_sockets() {
    let listener = |protocol: &str, path: &str, host: &str| json!({"port": {"number": 0, "protocol": protocol, "name": "uds"}, "bind": format!("unix://{path}"), "hosts": [host]});
    let egress = json!([
        listener("HTTP", "/tmp/http.sock", "./reviews.default.svc.cluster.local"),
        listener("TCP", "/tmp/tcp.sock", "other/details.other.svc.cluster.local"),
    ]);
    let mesh = Mesh::new(&sidecar(json!({"egress": egress})));
    assert_eq!(opened(&mesh, &Mesh::sidecar()), ["unix:///tmp/http.sock_0", "unix:///tmp/tcp.sock_0"]);
    let listeners = mesh.listeners(&Mesh::sidecar());
    let tcp = listeners.iter().find(|listener| listener.address.starts_with("unix:///tmp/tcp")).unwrap();
    // The port is that of the service, which has one alone.
    assert!(format!("{:?}", tcp.chains).contains("outbound|9080||details.other.svc.cluster.local"));
    let message = translate::listener::listener(tcp);
    assert!(format!("{:?}", message.address).contains("Pipe { path: \"/tmp/tcp.sock\""));
    let (name, domains) = domains_of(&mesh, "unix:///tmp/http.sock").remove(0);
    assert_eq!(name, "reviews.default.svc.cluster.local:9080");
    assert!(domains.contains(&"reviews:9080".to_owned()));
}

#[test]
fn an_egress_proxy_takes_what_nobody_knows() {
    let proxy = json!({"host": "ratings.default.svc.cluster.local", "port": {"number": 9090}});
    let with = |policy: serde_json::Value| {
        Mesh::new(&sidecar(json!({"outboundTrafficPolicy": policy, "egress": [{"hosts": ["./*"]}]})))
    };
    let cluster = |mesh: &Mesh| {
        let host = mesh.virtual_host(&Mesh::sidecar(), "9080", "allow_any").unwrap();
        let listeners = mesh.listeners(&Mesh::sidecar());
        let all = listeners.iter().find(|listener| listener.name == "virtualOutbound").unwrap();
        let model::listener::Terminal::Tcp(tcp) = &all.chains[1].terminal else { panic!("not bytes") };
        (cluster_of(&host.routes[0]).to_owned(), tcp.clusters[0].0.clone())
    };
    let named = "outbound|9090||ratings.default.svc.cluster.local".to_owned();
    let (plain, led) =
        (with(json!({"mode": "ALLOW_ANY"})), with(json!({"mode": "ALLOW_ANY", "egressProxy": proxy})));
    assert_eq!(cluster(&led), (named.clone(), named));
    assert_eq!(cluster(&plain).0, "PassthroughCluster");
}
