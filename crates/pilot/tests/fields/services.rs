//! Kubernetes Services, EndpointSlices and Pods; addresses that the mesh gives; names that stand for others.

use meltemi_config::mesh::{OutboundMode, OutboundTrafficPolicy, Switches};
use model::listener::{Listener, Routes, Terminal};
use translate::cluster::is_eds;

use super::*;

fn service(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n---\n"
    )
}

fn pod(name: &str, label: &str, address: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{{label}}}}}\nspec: {{{spec}containers: [{{name: c, ports: [{{name: web, containerPort: 8088}}]}}]}}\nstatus: {{podIP: {address}}}\n---\n"
    )
}

fn slice(service: &str, port: &str, endpoints: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: [{port}]\nendpoints: {endpoints}\n---\n"
    )
}

fn entry(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n---\n"
    )
}

/// A sidecar of `default` at 1.1.1.1 that says these things about itself.
fn node(metadata: serde_json::Value) -> Node {
    Node::parse("sidecar~1.1.1.1~productpage.default~default.svc.cluster.local", &metadata).unwrap()
}

fn host(mesh: &Mesh, host: &str, port: u32) -> Option<route::VirtualHost> {
    mesh.virtual_host(&Mesh::sidecar(), &port.to_string(), &format!("{host}:{port}"))
}

fn named(listeners: &[Listener], name: &str) -> Listener {
    let found = listeners.iter().find(|listener| listener.name == name).cloned();
    found.unwrap_or_else(|| panic!("no {name}"))
}

/// Endpoints of a cluster as a sidecar sees them: address and locality.
fn placed(mesh: &Mesh, node: &Node, cluster: &str) -> Vec<(String, String)> {
    let assignment = View::new(&mesh.0, node).assignment(cluster);
    let mut all: Vec<_> = assignment
        .localities
        .iter()
        .flat_map(|l| l.endpoints.iter().map(|e| (e.address.to_string(), l.locality.to_string())))
        .collect();
    all.sort();
    all
}

#[test]
fn ports_go_to_target_ports_by_number_and_by_name() {
    let services = service(
        "many",
        "{selector: {app: many}, ports: [{name: http, port: 80, targetPort: web}, {name: tcp, port: 81, targetPort: 7000}, {name: same, port: 82}, {name: udp, port: 83, protocol: UDP}]}",
    );
    let mesh = Mesh::new(&format!("{services}{}", pod("many", "app: many", "3.3.3.3", "")));
    let of = |port: u32| mesh.endpoints(&format!("outbound|{port}||many.default.svc.cluster.local"));
    assert_eq!([of(80), of(81), of(82)], [["3.3.3.3:8088"], ["3.3.3.3:7000"], ["3.3.3.3:82"]]);
    assert!(of(83).is_empty());
}

#[test]
fn selectors_take_the_pods_that_have_all_labels() {
    let services = service("some", "{selector: {app: some, tier: gold}, ports: [{name: http, port: 80}]}");
    let pods = [
        pod("a", "app: some, tier: gold, more: yes-it-has", "3.3.3.1", ""),
        pod("b", "app: some", "3.3.3.2", ""),
        pod("c", "app: other, tier: gold", "3.3.3.3", ""),
        pod("d", "app: some, tier: gold", "3.3.3.4", "").replace("namespace: default", "namespace: other"),
    ];
    let mesh = Mesh::new(&format!("{services}{}", pods.concat()));
    assert_eq!(mesh.endpoints("outbound|80||some.default.svc.cluster.local"), ["3.3.3.1:80"]);
}

#[test]
fn slices_say_which_endpoints_there_are_and_how_they_are() {
    let services = service("sliced", "{selector: {app: sliced}, ports: [{name: http, port: 80}]}");
    let endpoints = "[
        {addresses: [3.3.3.1]}, {addresses: [3.3.3.2], conditions: {ready: false, terminating: false}},
        {addresses: [3.3.3.3], conditions: {ready: false}}, {addresses: [3.3.3.4], conditions: {ready: false, terminating: true}},
        {addresses: [3.3.3.5], conditions: {ready: true, terminating: true}}]";
    let slices = slice("sliced", "{name: http, port: 8080}", endpoints);
    // A Pod that is in no slice does not count; names of hosts do not either.
    let rest = pod("unlisted", "app: sliced", "3.3.3.9", "");
    let names = slices.replace("sliced-1", "sliced-2").replace("IPv4", "FQDN").replace("3.3.3", "x.y");
    let mesh = Mesh::new(&format!("{services}{slices}{rest}---\n{names}"));
    let cluster = "outbound|80||sliced.default.svc.cluster.local";
    let health = |mesh: &Mesh| {
        let node = Mesh::sidecar();
        let assignment = View::new(&mesh.0, &node).assignment(cluster);
        let endpoints = assignment.localities.iter().flat_map(|locality| &locality.endpoints);
        endpoints.map(|e| (e.address.to_string(), e.healthy)).collect::<Vec<_>>()
    };
    let at = |last: u8, healthy: bool| (format!("3.3.3.{last}"), healthy);
    assert_eq!(health(&mesh), [at(1, true), at(2, false), at(5, true)]);
    // No panic: endpoints that are not ready get nothing even when none is.
    let threshold = mesh.cluster(cluster).common_lb_config.unwrap().healthy_panic_threshold.unwrap().value;
    assert_eq!(threshold.to_bits(), 0f64.to_bits());
    // A rule with a threshold of its own asks for healthy ones only.
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: sliced, namespace: default}\n\
        spec: {host: sliced, trafficPolicy: {outlierDetection: {minHealthPercent: 50}}}\n";
    let picky = Mesh::new(&format!("{services}{slices}---\n{rule}"));
    assert_eq!(health(&picky), [at(1, true), at(5, true)]);
    let published = services.replace("{selector", "{publishNotReadyAddresses: true, selector");
    let published = Mesh::new(&format!("{published}{slices}"));
    assert_eq!(health(&published), [at(1, true), at(2, true), at(3, true), at(4, true), at(5, true)]);
}

#[test]
fn services_and_entries_select_each_others_workloads() {
    let resources = format!(
        "{}{}{}apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: vm, namespace: default}}\nspec: {{address: 4.4.4.4, labels: {{app: mixed}}, ports: {{http: 9999}}}}\n",
        service("mixed", "{selector: {app: mixed}, ports: [{name: http, port: 80, targetPort: 8080}]}"),
        entry(
            "mixed",
            "{hosts: [mixed.example.com], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: mixed}}}"
        ),
        pod("mixed", "app: mixed", "3.3.3.3", ""),
    );
    let mesh = Mesh::new(&resources);
    let endpoints = |host: &str| mesh.endpoints(&format!("outbound|80||{host}"));
    assert_eq!(endpoints("mixed.default.svc.cluster.local"), ["3.3.3.3:8080", "4.4.4.4:8080"]);
    assert_eq!(endpoints("mixed.example.com"), ["3.3.3.3:80", "4.4.4.4:9999"]);
}

#[test]
fn localities_are_the_workloads_own_or_their_nodes() {
    let machine = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1, topology.istio.io/subzone: s1}}\n---\n\
        apiVersion: v1\nkind: Node\nmetadata: {name: n2, labels: {topology.kubernetes.io/region: r2, topology.kubernetes.io/zone: z2}}\n---\n";
    let resources = [
        machine.to_owned(),
        service("here", "{selector: {app: here}, ports: [{name: http, port: 80}]}"),
        pod("a", "app: here", "3.3.3.1", "nodeName: n1, "),
        pod("b", "app: here", "3.3.3.2", "nodeName: n2, "),
        pod("c", "app: here, istio-locality: r3.z3", "3.3.3.3", "nodeName: n1, "),
        pod("d", "app: here, topology.istio.io/locality: r4.z4.s4", "3.3.3.4", ""),
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: default}\nspec: {address: 3.3.3.5, labels: {app: here}, locality: r5/z5/s5}\n".to_owned(),
    ];
    let mesh = Mesh::new(&resources.concat());
    let wanted = ["r1/z1/s1", "r2/z2", "r3/z3", "r4/z4/s4", "r5/z5/s5"];
    let found = placed(&mesh, &Mesh::sidecar(), "outbound|80||here.default.svc.cluster.local");
    let found: Vec<&str> = found.iter().map(|(_, locality)| locality.as_str()).collect();
    assert_eq!(found, wanted);
}

#[test]
fn internal_traffic_policy_local_keeps_to_the_clients_node() {
    let resources = [
        service(
            "near",
            "{internalTrafficPolicy: Local, selector: {app: near}, ports: [{name: http, port: 80}]}",
        ),
        service(
            "wide",
            "{internalTrafficPolicy: Cluster, selector: {app: near}, ports: [{name: http, port: 80}]}",
        ),
        service("listed", "{internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}"),
        slice(
            "listed",
            "{name: http, port: 80}",
            "[{addresses: [3.3.3.3], nodeName: n1}, {addresses: [3.3.3.4], nodeName: n2}]",
        ),
        pod("a", "app: near", "3.3.3.1", "nodeName: n1, "),
        pod("b", "app: near", "3.3.3.2", "nodeName: n2, "),
    ];
    let mesh = Mesh::new(&resources.concat());
    let of = |node: &Node, name: &str| -> Vec<String> {
        let found = placed(&mesh, node, &format!("outbound|80||{name}.default.svc.cluster.local"));
        found.into_iter().map(|(address, _)| address).collect()
    };
    let on = |name: &str| node(json!({"NODE_NAME": name}));
    assert_eq!(of(&on("n1"), "near"), ["3.3.3.1"]);
    assert_eq!(of(&on("n2"), "near"), ["3.3.3.2"]);
    assert_eq!(of(&on("n2"), "listed"), ["3.3.3.4"]);
    assert_eq!(of(&on("n2"), "wide"), ["3.3.3.1", "3.3.3.2"]);
    assert!(of(&on("n3"), "near").is_empty());
    // Who does not say it is where the Pod at its address is.
    let there = Node::parse("sidecar~3.3.3.2~b.default~default.svc.cluster.local", &json!({})).unwrap();
    assert_eq!(of(&there, "near"), ["3.3.3.2"]);
}

#[test]
fn an_external_name_is_another_name_of_a_service() {
    let resources = [
        service("alias", "{type: ExternalName, externalName: reviews.default.svc.cluster.local}"),
        service(
            "twice",
            "{type: ExternalName, externalName: alias.default.svc.cluster.local, ports: [{name: http, port: 7}]}",
        ),
        service("heads", "{type: ExternalName, externalName: tails.default.svc.cluster.local}"),
        service("tails", "{type: ExternalName, externalName: heads.default.svc.cluster.local}"),
        service(
            "stranger",
            "{type: ExternalName, externalName: nobody.example.com, ports: [{name: http, port: 9080}]}",
        ),
    ];
    let mesh = Mesh::new(&resources.concat());
    let domains = host(&mesh, "reviews.default.svc.cluster.local", 9080).unwrap().domains;
    for name in ["reviews", "alias", "twice"] {
        for form in
            ["", ".default", ".default.svc", ".default.svc.cluster.local", ".default.svc.cluster.local."]
        {
            assert!(domains.contains(&format!("{name}{form}")), "{name}{form}: {domains:?}");
        }
    }
    for other in ["alias", "twice", "heads", "tails", "stranger"] {
        let other = format!("{other}.default.svc.cluster.local");
        assert!(mesh.clusters(&Mesh::sidecar()).iter().all(|cluster| !cluster.name.ends_with(&*other)));
        assert!(host(&mesh, &other, 9080).is_none(), "{other}");
    }
    assert!(!domains.iter().any(|domain| domain.starts_with("heads") || domain.starts_with("stranger")));
}

#[test]
fn a_destination_that_is_an_external_name_is_its_service() {
    let resources = [
        service("alias", "{type: ExternalName, externalName: reviews.default.svc.cluster.local}"),
        policy(
            json!({"subsets": [{"name": "v1", "labels": {"version": "v1"}}], "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}}),
        ),
        "\n---\n".to_owned(),
        rules(json!([{"route": [{"destination": {"host": "alias", "subset": "v1"}}]}])),
    ];
    let routes = Mesh::new(&resources.concat()).routes();
    assert_eq!(cluster_of(&routes[0]), "outbound|9080|v1|reviews.default.svc.cluster.local");
    assert_eq!(forwards(&routes[0]).hash_policy.len(), 1, "its rule holds");
}

#[test]
fn tls_is_found_by_its_external_names() {
    let resources = [
        service("alias", "{type: ExternalName, externalName: secure.example.com}"),
        entry(
            "secure",
            "{hosts: [secure.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}",
        ),
    ];
    let listeners = Mesh::new(&resources.concat()).listeners(&Mesh::sidecar());
    let names = &named(&listeners, "0.0.0.0_443").chains[0].condition.server_names;
    for name in ["secure.example.com", "alias", "alias.default.svc.cluster.local"] {
        assert!(names.iter().any(|known| &**known == name), "{name}: {names:?}");
    }
}

const UNADDRESSED: &str = "{hosts: [a.example.com, '*.b.example.com'], resolution: STATIC, ports: [{number: 5000, name: tcp, protocol: TCP}, {number: 80, name: http, protocol: HTTP}], endpoints: [{address: 9.9.9.9}]}";

/// The addresses that clients of a proxy use for a.example.com.
fn given(mesh: &Mesh, node: &Node) -> Vec<String> {
    let host = mesh.virtual_host(node, "80", "a.example.com:80").unwrap();
    host.domains.into_iter().filter(|domain| domain != "a.example.com").collect()
}

#[test]
fn entries_without_addresses_are_given_some() {
    let capturing = node(json!({"DNS_CAPTURE": "true"}));
    let mesh = Mesh::new(&entry("a", UNADDRESSED));
    let [v4, v6] = &given(&mesh, &capturing)[..] else { panic!("{:?}", given(&mesh, &capturing)) };
    assert!(v4.starts_with("240.240.") && v6.starts_with("[2001:2::"), "{v4} {v6}");
    let listeners = mesh.listeners(&capturing);
    named(&listeners, &format!("{v4}_5000"));
    // The pattern has none, so it has the port everywhere.
    named(&listeners, "0.0.0.0_5000");
    // Others do not know them.
    assert!(given(&mesh, &Mesh::sidecar()).is_empty());
    named(&mesh.listeners(&Mesh::sidecar()), "0.0.0.0_5000");
    // They stay whatever comes beside them.
    let more = (0..50)
        .map(|at| entry(&format!("m{at}"), &UNADDRESSED.replace("a.example", &format!("m{at}.example"))));
    let more = Mesh::new(&format!("{}{}", more.collect::<String>(), entry("a", UNADDRESSED)));
    assert_eq!(&given(&more, &capturing)[..1], std::slice::from_ref(v4));
}

#[test]
fn addresses_in_the_status_hold() {
    let capturing = node(json!({"DNS_CAPTURE": "true"}));
    let plain = entry("a", UNADDRESSED);
    let status = |entry: &str, addresses: &str| {
        entry.replace("---\n", &format!("status: {{addresses: [{addresses}]}}\n---\n"))
    };
    let own = given(&Mesh::new(&plain), &capturing);
    let held = "{value: 240.240.7.7, host: a.example.com}, {value: '2001:2::707', host: a.example.com}, {value: 240.240.8.8, host: other.example.com}, {value: nothing, host: a.example.com}";
    let mesh = Mesh::new(&status(&plain, held));
    assert_eq!(given(&mesh, &capturing), ["240.240.7.7", "[2001:2::707]"]);
    named(&mesh.listeners(&capturing), "240.240.7.7_5000");
    // Addresses of another entry are left to it.
    let other = UNADDRESSED.replace("a.example", "c.example").replace("b.example", "d.example");
    let taken = status(&entry("b", &other), &format!("{{value: {}, host: c.example.com}}", own[0]));
    let moved = given(&Mesh::new(&format!("{taken}{plain}")), &capturing);
    assert!(moved.len() == 2 && moved[0] != own[0], "{moved:?} {own:?}");
    // An entry with addresses of its own, and one that wants none, are not given any.
    let refused = status(&plain, held).replace(
        "namespace: default",
        "namespace: default, labels: {networking.istio.io/enable-autoallocate-ip: \"false\"}",
    );
    assert!(given(&Mesh::new(&refused), &capturing).is_empty());
}

#[test]
fn who_gets_no_address() {
    let capturing = node(json!({"DNS_CAPTURE": "true"}));
    let count = |entry: &str| given(&Mesh::new(entry), &capturing).len();
    let plain = entry("a", UNADDRESSED);
    assert_eq!(count(&plain), 2);
    let labelled = |value: &str| {
        let labels = format!(
            "namespace: default, labels: {{networking.istio.io/enable-autoallocate-ip: \"{value}\"}}"
        );
        plain.replace("namespace: default", &labels)
    };
    assert_eq!((count(&labelled("true")), count(&labelled("false"))), (2, 0));
    let none = plain.replace("STATIC", "NONE").replace(", endpoints: [{address: 9.9.9.9}]", "");
    assert_eq!(count(&none), 0);
    assert_eq!(count(&plain.replace(", '*.b.example.com'], ", "], addresses: [10.0.0.77], ")), 1);
    let switches =
        Switches::read(|name| (name == "PILOT_ENABLE_IP_AUTOALLOCATE").then(|| "false".to_owned()));
    let off = Mesh::with(&plain, MeshConfig { switches, ..MeshConfig::default() });
    assert!(given(&off, &capturing).is_empty());
    // A proxy may ask for them all the same.
    assert_eq!(given(&off, &node(json!({"DNS_CAPTURE": "true", "DNS_AUTO_ALLOCATE": "true"}))).len(), 2);
}

const PATTERN: &str = "{hosts: ['*.wiki.example.com'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS, targetPort: 8443}]}";

fn is_dynamic(cluster: &cluster::Cluster) -> bool {
    use cluster::cluster::ClusterDiscoveryType::ClusterType;
    matches!(&cluster.cluster_discovery_type, Some(ClusterType(kind)) if kind.name == "envoy.clusters.dynamic_forward_proxy")
}

/// Whether HTTP on a listener looks names up.
fn looks_up(listener: &Listener) -> bool {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains
        .filter_map(|chain| match &chain.terminal {
            Terminal::Http(http) => Some(http.dynamic_dns.is_some()),
            Terminal::Tcp(_) => None,
        })
        .all(|looks| looks)
}

#[test]
fn dynamic_dns_looks_up_what_clients_ask_for() {
    let mesh = Mesh::new(&entry("wiki", PATTERN));
    assert!(is_dynamic(&mesh.cluster("outbound|80||*.wiki.example.com")));
    assert!(is_dynamic(&mesh.cluster("outbound|443||*.wiki.example.com")));
    assert_eq!(host(&mesh, "*.wiki.example.com", 80).unwrap().domains, ["*.wiki.example.com"]);
    let listeners = mesh.listeners(&Mesh::sidecar());
    assert!(looks_up(&named(&listeners, "0.0.0.0_80")));
    let tls = named(&listeners, "0.0.0.0_443");
    assert_eq!(tls.chains[0].condition.server_names, ["*.wiki.example.com".into()]);
    let Terminal::Tcp(tcp) = &tls.chains[0].terminal else { panic!("{tls:?}") };
    assert_eq!(tcp.looks_up.map(|(port, _)| port), Some(8443));
    let inbound = listeners.iter().find(|listener| listener.name == "virtualInbound").unwrap();
    assert!(!looks_up(inbound), "names are looked up outbound only");
    // Where nobody asks for it nothing is there.
    assert!(!looks_up(&named(&Mesh::new("").listeners(&Mesh::sidecar()), "0.0.0.0_9080")));
}

#[test]
fn allow_any_dynamic_dns_looks_up_unknown_hosts() {
    let policy = OutboundTrafficPolicy { mode: OutboundMode::AllowAnyDynamicDns, tls: None };
    let mesh = MeshConfig { outbound_traffic_policy: Some(policy), ..MeshConfig::default() };
    let mesh = |resources: &str| Mesh::with(resources, mesh.clone());
    let plain = mesh("");
    assert!(is_dynamic(&plain.cluster("AllowAnyDynamicDNSCluster")));
    let catch_all = |mesh: &Mesh| {
        let host = mesh.virtual_host(&Mesh::sidecar(), "9080", "allow_any").unwrap();
        cluster_of(&host.routes[0]).to_owned()
    };
    assert_eq!(catch_all(&plain), "AllowAnyDynamicDNSCluster");
    let listeners = plain.listeners(&Mesh::sidecar());
    assert!(looks_up(&named(&listeners, "0.0.0.0_9080")));
    // What is not HTTP goes to where the client meant it.
    let rest = named(&listeners, "0.0.0.0_9080").default_chain.unwrap();
    let Terminal::Tcp(tcp) = rest.terminal else { panic!("HTTP") };
    assert_eq!(tcp.clusters[0].0, "PassthroughCluster");
    // A Sidecar that says otherwise is heard.
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: own, namespace: default}\nspec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}\n";
    assert_eq!(catch_all(&mesh(sidecar)), "PassthroughCluster");
}

#[test]
fn clients_of_headless_services_pick_endpoints() {
    let mesh = Mesh::new(&service(
        "peers",
        "{clusterIP: None, selector: {app: reviews}, ports: [{name: http, port: 80}, {name: tcp, port: 81}]}",
    ));
    let cluster = mesh.cluster("outbound|80||peers.default.svc.cluster.local");
    let original = cluster::cluster::DiscoveryType::OriginalDst as i32;
    assert_eq!(cluster.cluster_discovery_type, Some(cluster::cluster::ClusterDiscoveryType::Type(original)));
    let domains = host(&mesh, "peers.default.svc.cluster.local", 80).unwrap().domains;
    for name in ["peers", "*.peers", "*.peers.default.svc", "*.peers.default.svc.cluster.local"] {
        assert!(domains.iter().any(|domain| domain == name), "{name}: {domains:?}");
    }
    // A proxy that does not know original destinations balances.
    let explicit = node(json!({"INTERCEPTION_MODE": "NONE"}));
    let name = "outbound|80||peers.default.svc.cluster.local";
    let balanced = View::new(&mesh.0, &explicit).clusters().into_iter().find(|cluster| cluster.name == name);
    assert!(is_eds(&balanced.unwrap()));
}

#[test]
fn of_services_with_one_port_the_oldest_says_what_is_spoken() {
    let dated = |name: &str, date: &str, port: &str| {
        service(
            name,
            &format!(
                "{{selector: {{app: productpage}}, ports: [{{name: {port}, port: 80, targetPort: 9080}}]}}"
            ),
        )
        .replace("namespace: default", &format!("namespace: default, creationTimestamp: {date}"))
    };
    let http = |resources: &str| {
        let listeners = Mesh::new(resources).listeners(&Mesh::sidecar());
        let inbound = named(&listeners, "virtualInbound");
        let mut own = inbound.chains.iter().filter(|chain| chain.condition.port == Some(9080));
        let chain = own.next().unwrap().clone();
        assert!(own.next().is_none());
        matches!(chain.terminal, Terminal::Http(_))
    };
    let (old, new) = ("2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z");
    assert!(http(&format!("{}{}", dated("a", new, "tcp"), dated("b", old, "http"))));
    assert!(!http(&format!("{}{}", dated("a", old, "tcp"), dated("b", new, "http"))));
}

#[test]
fn traffic_comes_in_to_the_address_that_clients_meant() {
    let services =
        service("own", "{selector: {app: productpage}, ports: [{name: http, port: 80, targetPort: 9080}]}");
    let original = Some(cluster::cluster::ClusterDiscoveryType::Type(
        cluster::cluster::DiscoveryType::OriginalDst as i32,
    ));
    let mesh = Mesh::new(&services);
    for name in ["inbound|9080||", "InboundPassthroughCluster"] {
        let cluster = mesh.cluster(name);
        assert_eq!(cluster.cluster_discovery_type, original, "{name}");
        let source = cluster.upstream_bind_config.unwrap().source_address.unwrap();
        assert_eq!(source.address, "127.0.0.6", "{name}");
    }
    let v6 = "apiVersion: v1\nkind: Pod\nmetadata: {name: six, namespace: default, labels: {app: productpage}}\nspec: {containers: [{name: c}]}\nstatus: {podIP: 'fd00::1'}\n";
    let six = Node::parse("sidecar~fd00::1~six.default~default.svc.cluster.local", &json!({})).unwrap();
    let clusters = Mesh::new(&format!("{services}{v6}")).clusters(&six);
    let own = clusters.iter().find(|cluster| cluster.name == "inbound|9080||").unwrap();
    assert_eq!(own.upstream_bind_config.as_ref().unwrap().source_address.as_ref().unwrap().address, "::6");
    let localhost = r#"{"inboundTrafficPolicy": {"mode": "LOCALHOST"}}"#;
    let (config, _) = meltemi_config::load::mesh_config("mesh.yaml", localhost);
    let local = Mesh::with(&services, config).cluster("inbound|9080||");
    assert_eq!(addresses(&local.load_assignment.unwrap()), ["127.0.0.1:9080"]);
}

#[test]
fn calls_to_itself_go_out_and_come_back_in() {
    let services = service(
        "own",
        "{clusterIP: 10.0.0.44, selector: {app: productpage}, ports: [{name: http, port: 9080}, {name: tcp, port: 81}]}",
    );
    let mesh = Mesh::new(&services);
    // Out as to any other service …
    assert_eq!(mesh.endpoints("outbound|9080||own.default.svc.cluster.local"), ["1.1.1.1:9080"]);
    let listeners = mesh.listeners(&Mesh::sidecar());
    named(&listeners, "10.0.0.44_81");
    // … and in; but what asks for the proxy's own ports would go round for ever.
    for (name, port) in [("virtualInbound", 15006), ("virtualOutbound", 15001)] {
        let listener = named(&listeners, name);
        let closed = listener.chains.iter().find(|chain| chain.condition.port == Some(port)).unwrap();
        let Terminal::Tcp(tcp) = &closed.terminal else { panic!("{closed:?}") };
        assert_eq!(tcp.clusters[0].0, "BlackHoleCluster");
    }
}

#[test]
fn ports_of_the_proxy_itself_are_not_listened_at() {
    let ports = [15001, 15006, 15021, 15090, 15014];
    let listed: Vec<String> =
        ports.iter().map(|port| format!("{{name: http-{port}, port: {port}}}")).collect();
    let mesh =
        Mesh::new(&service("odd", &format!("{{selector: {{app: odd}}, ports: [{}]}}", listed.join(", "))));
    let listeners = mesh.listeners(&Mesh::sidecar());
    let open: Vec<u32> = ports
        .into_iter()
        .filter(|port| listeners.iter().any(|listener| listener.name == format!("0.0.0.0_{port}")))
        .collect();
    assert_eq!(open, [15014]);
}

#[test]
fn services_say_who_sees_them() {
    let exported = |to: &str| {
        service("shy", "{selector: {app: shy}, ports: [{name: http, port: 80}]}").replace(
            "namespace: default",
            &format!("namespace: default, annotations: {{networking.istio.io/exportTo: \"{to}\"}}"),
        )
    };
    let seen = |to: &str, namespace: &str| {
        let node = Mesh::node("sidecar", namespace, json!({}));
        let name = "outbound|80||shy.default.svc.cluster.local";
        Mesh::new(&exported(to)).clusters(&node).iter().any(|cluster| cluster.name == name)
    };
    for (to, own, other) in [
        ("*", true, true),
        (".", true, false),
        ("other", false, true),
        (".,other", true, true),
        ("~", false, false),
    ] {
        assert_eq!((seen(to, "default"), seen(to, "other")), (own, other), "{to}");
    }
}

#[test]
fn virtual_addresses_find_services() {
    let services = [
        service(
            "dual",
            "{clusterIP: 10.0.0.55, clusterIPs: [10.0.0.55, 'fd00::55'], selector: {app: dual}, ports: [{name: http, port: 80}, {name: tcp, port: 81}]}",
        ),
        service("late", "{clusterIP: 10.0.0.56, selector: {app: late}, ports: [{name: later, port: 82}]}"),
    ];
    let mesh = Mesh::new(&services.concat());
    let domains = host(&mesh, "dual.default.svc.cluster.local", 80).unwrap().domains;
    assert!(
        domains.contains(&"10.0.0.55".to_owned()) && domains.contains(&"[fd00::55]".to_owned()),
        "{domains:?}"
    );
    let listeners = mesh.listeners(&Mesh::sidecar());
    named(&listeners, "10.0.0.55_81");
    // What is not declared is looked at where it is called, under a table of its own.
    let late = named(&listeners, "10.0.0.56_82");
    let Terminal::Http(http) = &late.chains[0].terminal else { panic!("{late:?}") };
    assert_eq!(http.routes, Routes::Rds("late.default.svc.cluster.local:82".into()));
}

#[test]
fn a_pattern_of_a_rule_is_for_the_services_below_it_alone() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: wide, namespace: default}\nspec: {hosts: ['*.example.com'], http: [{directResponse: {status: 201}}]}\n---\n";
    let other = service("other", "{selector: {app: other}, ports: [{name: http, port: 80}]}");
    let known = |port: u32| {
        entry(
            "known",
            &format!(
                "{{hosts: [a.example.com], resolution: NONE, ports: [{{number: {port}, name: http, protocol: HTTP}}]}}"
            ),
        )
    };
    let wide = |resources: &[&str]| host(&Mesh::new(&resources.concat()), "*.example.com", 80).is_some();
    assert!(wide(&[rule, &other]));
    assert!(wide(&[rule, &other, &known(8080)]));
    assert!(!wide(&[rule, &other, &known(80)]));
}

#[test]
fn endpoints_that_are_not_ready_are_sent_as_the_switches_say() {
    let resources = [
        service("sliced", "{ports: [{name: http, port: 80}]}"),
        slice("sliced", "{name: http, port: 80}", "[{addresses: [3.3.3.1]}, {addresses: [3.3.3.2], conditions: {ready: false, terminating: false}}]"),
    ]
    .concat();
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: sliced, namespace: default}\n\
        spec: {host: sliced, trafficPolicy: {outlierDetection: {minHealthPercent: 50}}}\n";
    let picky = format!("{resources}{rule}");
    let name = "outbound|80||sliced.default.svc.cluster.local";
    let sent = |resources: &str, forced: bool, auto: bool| {
        let switches = Switches::read(|name| match name {
            "PILOT_SEND_UNHEALTHY_ENDPOINTS" => Some(forced.to_string()),
            "PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS" => Some(auto.to_string()),
            _ => None,
        });
        let mesh = Mesh::with(resources, MeshConfig { switches, ..MeshConfig::default() });
        let threshold = mesh.cluster(name).common_lb_config.and_then(|config| config.healthy_panic_threshold);
        (mesh.endpoints(name).len(), threshold.map(|percent| percent.value.round() as u32))
    };
    assert_eq!(sent(&resources, false, true), (2, Some(0)));
    assert_eq!(sent(&resources, false, false), (1, None));
    assert_eq!(sent(&resources, true, false), (2, Some(0)));
    assert_eq!(sent(&picky, false, true), (1, Some(50)));
    assert_eq!(sent(&picky, true, true), (2, Some(50)));
}

#[test]
fn names_of_an_entrys_certificates_are_asked_for_where_the_rule_names_none() {
    let listed = entry(
        "sans",
        "{hosts: [sans.example.com], resolution: DNS, subjectAltNames: [one.example.com, 'spiffe://two'], ports: [{number: 443, name: https, protocol: HTTPS}]}",
    );
    let rule = |more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: sans, namespace: default}}\nspec: {{host: sans.example.com, trafficPolicy: {{tls: {{mode: SIMPLE{more}}}}}}}\n"
        )
    };
    let names = |rule: &str| {
        let mesh = Mesh::new(&format!("{listed}{rule}"));
        let clusters = View::new(&mesh.0, &Mesh::sidecar()).clusters();
        let cluster = clusters.into_iter().find(|c| c.name == "outbound|443||sans.example.com").unwrap();
        let names = cluster.tls.map(|tls| tls.names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        names.unwrap_or_default()
    };
    assert_eq!(names(&rule("")), ["one.example.com", "spiffe://two"]);
    assert_eq!(names(&rule(", subjectAltNames: [three]")), ["three"]);
    assert!(names("").is_empty());
}

#[test]
fn unknown_hosts_may_be_called_over_tls() {
    let policy = r#"{"outboundTrafficPolicy": {"mode": "ALLOW_ANY_DYNAMIC_DNS", "tls": {"mode": "SIMPLE"}}}"#;
    let (config, findings) = meltemi_config::load::mesh_config("mesh.yaml", policy);
    assert!(findings.is_empty(), "{findings:?}");
    let cluster = Mesh::with("", config).cluster("AllowAnyDynamicDNSCluster");
    assert_eq!(cluster.transport_socket.unwrap().name, "envoy.transport_sockets.tls");
    assert_eq!(cluster.typed_extension_protocol_options.len(), 1, "the server name is the request's");
}
