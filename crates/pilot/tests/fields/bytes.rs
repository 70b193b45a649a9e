//! VirtualService `tls` and `tcp`, and what services of several protocols make of one port.

use model::listener::{Condition, FilterChain, Listener, Tcp, Terminal};

use super::*;

/// A ServiceEntry for `HOST.example.com`, and a VirtualService for it.
fn entry(host: &str, address: Option<&str>, port: u32, protocol: &str, rules: serde_json::Value) -> String {
    let host = format!("{host}.example.com");
    let entry = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": host},
        "spec": {
            "hosts": [host], "addresses": address.into_iter().collect::<Vec<_>>(), "resolution": "DNS",
            "ports": [{"number": port, "name": "p", "protocol": protocol}],
        },
    });
    let mut spec = rules;
    spec["hosts"] = json!([host]);
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": host}, "spec": spec,
    });
    let rule = if spec.as_object().unwrap().len() > 1 { rule.to_string() } else { String::new() };
    format!("{entry}\n---\n{rule}\n---\n")
}

fn listener(resources: &str, name: &str) -> Listener {
    let listeners = Mesh::new(resources).listeners(&Mesh::sidecar());
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.clone()).collect();
    let found = listeners.into_iter().find(|listener| listener.name == name);
    found.unwrap_or_else(|| panic!("{name} not in {names:?}"))
}

fn tcp(chain: &FilterChain) -> &Tcp {
    match &chain.terminal {
        Terminal::Tcp(tcp) => tcp,
        Terminal::Http(_) => panic!("{chain:?} is HTTP"),
    }
}

/// Server names or ranges of a chain, and its first cluster.
fn summary(chain: &FilterChain) -> String {
    let Condition { server_names, prefixes, .. } = &chain.condition;
    let words: Vec<_> = server_names.iter().chain(prefixes).map(|word| word.to_string()).collect();
    format!("{} -> {}", words.join(" "), tcp(chain).clusters[0].0)
}

fn summaries(listener: &Listener) -> Vec<String> {
    listener.chains.iter().chain(&listener.default_chain).map(summary).collect()
}

#[test]
fn tls_rules_go_by_server_name() {
    let rules = json!({"tls": [
        {"match": [{"sniHosts": ["s.example.com"], "sourceLabels": {"app": "x"}}], "route": to("nowhere.example.com")},
        {"match": [{"sniHosts": ["s.example.com"], "port": 444}], "route": to("nowhere.example.com")},
        {"match": [{"sniHosts": ["s.example.com"], "gateways": ["gw"]}], "route": to("nowhere.example.com")},
        {"match": [{"sniHosts": ["s.example.com"], "sourceNamespace": "default"}], "route": to("one.example.com")},
        {"match": [{"sniHosts": ["s.example.com"]}], "route": to("two.example.com")},
        {"match": [{"sniHosts": ["s.example.com"], "destinationSubnets": ["10.1.2.3/8"]}], "route": to("far.example.com")},
    ]});
    let listener = listener(&entry("s", None, 443, "TLS", rules), "0.0.0.0_443");
    let wanted = [
        "s.example.com -> outbound|443||one.example.com",
        "s.example.com 10.0.0.0/8 -> outbound|443||far.example.com",
        " -> PassthroughCluster",
    ];
    assert_eq!(summaries(&listener), wanted);
    assert!(listener.tls_inspector && !listener.http_inspector);
}

#[test]
fn tls_without_a_rule_goes_to_the_service_by_its_name() {
    let none = json!({});
    let by_name = listener(&entry("s", None, 443, "HTTPS", none.clone()), "0.0.0.0_443");
    let wanted = ["s.example.com -> outbound|443||s.example.com", " -> PassthroughCluster"];
    assert_eq!(summaries(&by_name), wanted);
    let by_address = listener(&entry("s", Some("10.9.9.9"), 443, "HTTPS", none), "10.9.9.9_443");
    assert_eq!(summaries(&by_address), [" -> outbound|443||s.example.com"]);
    assert!(!by_address.tls_inspector);
}

#[test]
fn tcp_rules_go_by_subnet_port_and_source() {
    let rules = json!({"tcp": [
        {"match": [{"port": 1}], "route": to("nowhere.example.com")},
        {"match": [{"sourceLabels": {"app": "x"}}], "route": to("nowhere.example.com")},
        {"match": [{"destinationSubnets": ["10.9.0.0/16"]}, {"destinationSubnets": ["10.8.0.0/16"]}],
         "route": to("near.example.com")},
        {"match": [{"sourceNamespace": "default"}], "route": [
            {"destination": {"host": "a.example.com"}, "weight": 1},
            {"destination": {"host": "b.example.com"}, "weight": 3},
        ]},
        {"route": to("never.example.com")},
    ]});
    let listener = listener(&entry("s", Some("10.9.9.9"), 5000, "TCP", rules), "10.9.9.9_5000");
    let wanted =
        ["10.8.0.0/16 10.9.0.0/16 -> outbound|5000||near.example.com", " -> outbound|5000||a.example.com"];
    assert_eq!(summaries(&listener), wanted);
    let shares: Vec<_> =
        tcp(listener.default_chain.as_ref().unwrap()).clusters.iter().map(|(_, w)| *w).collect();
    assert_eq!(shares, [1, 3]);
    assert_eq!(tcp(listener.default_chain.as_ref().unwrap()).stat_prefix, "s.example.com.default");
}

#[test]
fn ranges_share_a_listener_on_all_addresses() {
    let none = json!({});
    let a = entry("a", Some("10.1.0.0/16"), 5000, "TCP", none.clone());
    let b = entry("b", Some("10.2.0.0/16"), 5000, "TCP", none);
    let resources = format!("{a}{b}").replace("\"DNS\"", "\"NONE\"");
    let listener = listener(&resources, "0.0.0.0_5000");
    let wanted = [
        "10.1.0.0/16 -> outbound|5000||a.example.com",
        "10.2.0.0/16 -> outbound|5000||b.example.com",
        " -> PassthroughCluster",
    ];
    assert_eq!(summaries(&listener), wanted);
}

#[test]
fn http_and_bytes_share_a_port_by_looking() {
    let bytes = entry("s", None, 9080, "TCP", json!({}));
    let listener = listener(&bytes, "0.0.0.0_9080");
    let [http] = &listener.chains[..] else { panic!("{listener:?}") };
    assert!(matches!(http.terminal, Terminal::Http(_)));
    assert_eq!(http.condition.protocols.len(), 2);
    let rest = listener.default_chain.as_ref().unwrap();
    assert_eq!(summary(rest), " -> outbound|9080||s.example.com");
    assert!(listener.http_inspector && listener.continue_on_timeout);
}

#[test]
fn where_the_server_speaks_first_nothing_is_looked_at() {
    // The older service has the port; one that would need looking is left out.
    let bytes = entry("s", None, 9080, "MySQL", json!({}))
        .replace("\"metadata\":{", "\"metadata\":{\"creationTimestamp\":\"2001-01-01T00:00:00Z\",");
    let services = SERVICES.replace("metadata: {", "metadata: {creationTimestamp: 2002-01-01T00:00:00Z, ");
    let loaded = load_text("test.yaml", &format!("{services}{bytes}"), &Options::default());
    let mesh = Mesh(Snapshot::build(1, &loaded.objects, Arc::new(MeshConfig::default())));
    let listeners = mesh.listeners(&Mesh::sidecar());
    let listener = listeners.iter().find(|listener| listener.name == "0.0.0.0_9080").unwrap();
    assert!(!listener.http_inspector, "{listener:?}");
    assert_eq!(summaries(listener), [" -> outbound|9080||s.example.com"]);
}

#[test]
fn undeclared_ports_are_looked_at() {
    let own = listener(&entry("s", Some("10.9.9.9"), 5000, "", json!({})), "10.9.9.9_5000");
    assert!(own.http_inspector && own.tls_inspector);
    let [http] = &own.chains[..] else { panic!("{own:?}") };
    let Terminal::Http(manager) = &http.terminal else { panic!("{http:?}") };
    assert_eq!(manager.routes, model::listener::Routes::Rds("s.example.com:5000".into()));
    assert_eq!(summary(own.default_chain.as_ref().unwrap()), " -> outbound|5000||s.example.com");
}

#[test]
fn connections_follow_the_rule_of_their_service() {
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "s"},
        "spec": {"host": "s.example.com", "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"useSourceIp": true}},
            "connectionPool": {"tcp": {"idleTimeout": "5m", "maxConnectionDuration": "1h"}},
            "tunnel": {"protocol": "POST", "targetHost": "far.example.com", "targetPort": 443},
        }},
    });
    let resources = format!("{}{rule}", entry("s", Some("10.9.9.9"), 5000, "TCP", json!({})));
    let listener = listener(&resources, "10.9.9.9_5000");
    let tcp = tcp(&listener.chains[0]);
    assert!(tcp.hash_source);
    assert_eq!(tcp.idle_timeout.unwrap().as_secs(), 300);
    assert_eq!(tcp.max_duration.unwrap().as_secs(), 3600);
    let tunnel = tcp.tunnel.as_ref().unwrap();
    assert_eq!((tunnel.target.as_str(), tunnel.post), ("far.example.com:443", true));
}

#[test]
fn headless_services_have_a_listener_for_each_endpoint_but_the_own_one() {
    let service = "
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: default}
spec: {clusterIP: None, selector: {app: reviews}, ports: [{name: tcp, port: 9300}, {name: http, port: 9200}]}
---
apiVersion: v1
kind: Pod
metadata: {name: own, namespace: default, labels: {app: reviews}}
spec: {containers: [{name: c}]}
status: {podIP: 1.1.1.1}
";
    let mesh = Mesh::new(service);
    let listeners = mesh.listeners(&Mesh::sidecar());
    let names: Vec<_> = listeners.iter().filter(|l| l.port == 9300).map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["1.1.1.11_9300", "1.1.1.12_9300"]);
    let host = "peers.default.svc.cluster.local";
    let web = mesh.virtual_host(&Mesh::sidecar(), "9200", &format!("{host}:9200")).unwrap();
    assert!(web.domains.contains(&format!("*.{host}")), "{:?}", web.domains);
}
