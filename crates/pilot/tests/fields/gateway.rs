//! Gateway.

use super::*;

/// A Gateway with these servers and a VirtualService bound to it.
fn resources(servers: serde_json::Value) -> String {
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "gw", "namespace": "default"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": servers},
    });
    let service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"hosts": ["*.example.com"], "gateways": ["gw"], "http": [{"route": to("reviews")}]},
    });
    format!("{gateway}\n---\n{service}")
}

fn http(hosts: serde_json::Value) -> serde_json::Value {
    json!([{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts}])
}

fn domains(mesh: &Mesh, node: &Node) -> Vec<String> {
    let Some(table) = View::new(&mesh.0, node).route_table("http.80") else { return Vec::new() };
    table.virtual_hosts.iter().flat_map(|host| host.domains.clone()).collect()
}

#[test]
fn the_selector_picks_proxies_of_any_namespace() {
    let mesh = Mesh::new(&resources(http(json!(["*"]))));
    assert_eq!(mesh.listeners(&Mesh::gateway()).len(), 1);
    let other = Mesh::node("router", "istio-system", json!({"istio": "other"}));
    assert_eq!(mesh.listeners(&other).len(), 0);
}

#[test]
fn http_servers_serve_the_hosts_that_both_name() {
    for (hosts, wanted) in [
        (json!(["*"]), vec!["*.example.com"]),
        (json!(["a.example.com"]), vec!["a.example.com"]),
        (json!(["./*"]), vec!["*.example.com"]),
        (json!(["default/*.com"]), vec!["*.example.com"]),
        // Other namespaces' VirtualServices only: nothing is left, and everything gets 404.
        (json!(["other/*"]), vec!["*"]),
        (json!(["example.org"]), vec!["*"]),
    ] {
        let mesh = Mesh::new(&resources(http(hosts.clone())));
        assert_eq!(domains(&mesh, &Mesh::gateway()), wanted, "{hosts}");
    }
}

#[test]
fn unknown_hosts_get_404() {
    let mesh = Mesh::new(&resources(http(json!(["example.org"]))));
    let host = mesh.virtual_host(&Mesh::gateway(), "http.80", "blackhole:80").unwrap();
    assert_eq!(host.domains, ["*"]);
    assert!(host.routes.is_empty(), "a request that no route takes gets 404 and the flag NR");
}

#[test]
fn ports_and_addresses_of_listeners() {
    let servers = json!([
        {"port": {"number": 80, "name": "a", "protocol": "HTTP"}, "hosts": ["*"]},
        {"port": {"number": 8080, "name": "b", "protocol": "HTTP2"}, "bind": "127.0.0.5", "hosts": ["*"]},
    ]);
    let mesh = Mesh::new(&resources(servers));
    let listeners = mesh.listeners(&Mesh::gateway());
    let at: Vec<_> =
        listeners.iter().map(|listener| format!("{}:{}", listener.address, listener.port)).collect();
    assert_eq!(at, ["0.0.0.0:80", "127.0.0.5:8080"]);
}

#[test]
fn https_redirect_asks_for_tls() {
    let mut servers = http(json!(["a.example.com"]));
    servers[0]["tls"] = json!({"httpsRedirect": true});
    let mesh = Mesh::new(&resources(servers));
    let host = mesh.virtual_host(&Mesh::gateway(), "http.80", "a.example.com:80").unwrap();
    assert_eq!(host.require_tls().as_str_name(), "ALL");
}

#[test]
fn several_resources_for_one_host_merge() {
    let more = rules(
        json!([{"name": "special", "match": [{"uri": {"prefix": "/special"}}], "route": to("ratings")}]),
    )
    .replace("[\"reviews\"]", "[\"*.example.com\"]")
    .replace("\"hosts\"", "\"gateways\": [\"gw\"], \"hosts\"")
    .replace("\"name\":\"reviews\"", "\"name\":\"zz\"");
    let mesh = Mesh::new(&format!("{}\n---\n{more}", resources(http(json!(["*"])))));
    let host = mesh.virtual_host(&Mesh::gateway(), "http.80", "*.example.com:80").unwrap();
    let names: Vec<_> = host.routes.iter().map(|route| route.name.as_str()).collect();
    // The catch-all of the first goes to the end.
    assert_eq!(names, ["special", ""]);
}

#[test]
fn tls_passes_by_server_name() {
    let server = json!([{
        "port": {"number": 443, "name": "tls", "protocol": "TLS"}, "hosts": ["*.example.com"],
        "tls": {"mode": "PASSTHROUGH"},
    }]);
    let tls = json!([
        {"match": [{"sniHosts": ["a.example.com", "b.example.com"]}], "route": to("reviews")},
        // A name that a condition before it has makes Istio leave the condition out.
        {"match": [{"sniHosts": ["b.example.com"]}], "route": to("ratings")},
        {"match": [{"sniHosts": ["*.example.com"], "port": 443, "gateways": ["default/gw"]}], "route": to("ratings")},
        {"match": [{"sniHosts": ["c.example.com"], "port": 80}], "route": to("ratings")},
    ]);
    let resource = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "sni"},
        "spec": {"hosts": ["*.example.com"], "gateways": ["default/gw"], "tls": tls},
    });
    let gateway = resources(server).split("\n---\n").next().unwrap().to_owned();
    let mesh = Mesh::new(&format!("{gateway}\n---\n{resource}"));
    let listeners = mesh.listeners(&Mesh::gateway());
    let [listener] = &listeners[..] else { panic!("{listeners:?}") };
    let names: Vec<Vec<String>> = listener
        .chains
        .iter()
        .map(|chain| chain.condition.server_names.iter().map(|name| name.to_string()).collect())
        .collect();
    assert_eq!(names, [vec!["a.example.com", "b.example.com"], vec!["*.example.com"]]);
    assert!(listener.tls_inspector);
}
