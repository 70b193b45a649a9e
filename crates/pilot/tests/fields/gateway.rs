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

#[test]
fn servers_share_a_port_or_the_first_has_it() {
    let server = |number: u32, protocol: &str, host: &str, tls: serde_json::Value| {
        let mut server = json!({"port": {"number": number, "name": format!("{protocol}-{host}"), "protocol": protocol}, "hosts": [host]});
        if !tls.is_null() {
            server["tls"] = tls;
        }
        server
    };
    let pass = json!({"mode": "PASSTHROUGH"});
    let servers = json!([
        server(80, "HTTP", "a.example.com", json!(null)),
        server(80, "HTTP2", "b.example.com", json!(null)),
        // Bytes and TLS do not fit beside HTTP.
        server(80, "TCP", "c.example.com", json!(null)),
        server(80, "TLS", "d.example.com", pass.clone()),
    ]);
    let mesh = Mesh::new(&resources(servers));
    assert_eq!(mesh.listeners(&Mesh::gateway()).len(), 1);
    // Names of the same routes share a virtual host.
    let table = View::new(&mesh.0, &Mesh::gateway()).route_table("http.80").unwrap();
    let hosts: Vec<_> =
        table.virtual_hosts.iter().map(|host| (host.name.clone(), host.domains.clone())).collect();
    let domains = vec!["a.example.com".to_owned(), "b.example.com".to_owned()];
    assert_eq!(hosts, [("a.example.com:80".to_owned(), domains)]);
}

#[test]
fn auto_passthrough_goes_by_the_name_of_the_cluster() {
    let server = json!([{
        "port": {"number": 15443, "name": "tls", "protocol": "TLS"}, "hosts": ["*.local"],
        "tls": {"mode": "AUTO_PASSTHROUGH"},
    }]);
    let mesh = Mesh::new(&resources(server));
    let listeners = mesh.listeners(&Mesh::gateway());
    let name = "outbound_.9080_._.reviews.default.svc.cluster.local";
    let chain = listeners[0].chains.iter().find(|chain| chain.condition.server_names == [name.into()]);
    let chain = chain.unwrap_or_else(|| panic!("{:?}", listeners[0].chains));
    assert_eq!(chain.condition.protocols.len(), 5, "mutual TLS of the mesh only");
    assert!(mesh.clusters(&Mesh::gateway()).iter().any(|cluster| cluster.name == name));
    let assignment = View::new(&mesh.0, &Mesh::gateway()).assignment(name);
    assert_eq!(assignment.localities[0].endpoints.len(), 2);
}

#[test]
fn headers_of_connections_are_as_configured() {
    let text = "defaultConfig: {gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: FORWARD_ONLY, proxyProtocol: {}}, \
                proxyHeaders: {server: {disabled: true}, requestId: {disabled: true}, attemptCount: {disabled: true}, \
                envoyDebugHeaders: {disabled: true}, preserveHttp1HeaderCase: true, xForwardedPort: {enabled: true}}}";
    let (config, findings) = meltemi_config::load::mesh_config("mesh.yaml", text);
    assert!(findings.is_empty(), "{findings:?}");
    let mesh = Mesh::with(&resources(http(json!(["*"]))), config);
    let listeners = mesh.listeners(&Mesh::gateway());
    assert!(listeners[0].proxy_protocol);
    let model::listener::Terminal::Http(http) = &listeners[0].chains[0].terminal else { panic!("not HTTP") };
    assert_eq!((http.trusted_hops, http.server.clone(), http.request_id), (2, None, false));
    assert!(http.preserve_case && http.hide_envoy && http.forwarded_port);
    assert_eq!(http.client_cert.forward, model::listener::Forward::ForwardOnly);
    let host = mesh.virtual_host(&Mesh::gateway(), "http.80", "*.example.com:80").unwrap();
    assert!(!host.include_request_attempt_count);
    // What the proxy says itself holds in place of the mesh's.
    let metadata = json!({"LABELS": {"istio": "ingressgateway"}, "PROXY_CONFIG": {"gatewayTopology": {"numTrustedProxies": 1}}});
    let own =
        Node::parse("router~1.1.1.1~gw.istio-system~istio-system.svc.cluster.local", &metadata).unwrap();
    let model::listener::Terminal::Http(http) = &mesh.listeners(&own)[0].chains[0].terminal.clone() else {
        panic!("not HTTP")
    };
    assert_eq!((http.trusted_hops, http.preserve_case), (1, false));
}
