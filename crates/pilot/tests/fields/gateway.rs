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
    let mutual = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {"name": "vm", "namespace": "default", "labels": {"app": "reviews"}},
        "spec": {"address": "10.2.2.2", "serviceAccount": "reviews"},
    });
    let mesh = Mesh::new(&format!("{}\n---\n{mutual}", resources(server)));
    let listeners = mesh.listeners(&Mesh::gateway());
    let name = "outbound_.9080_._.reviews.default.svc.cluster.local";
    let chain = listeners[0].chains.iter().find(|chain| chain.condition.server_names == [name.into()]);
    let chain = chain.unwrap_or_else(|| panic!("{:?}", listeners[0].chains));
    assert_eq!(chain.condition.protocols.len(), 5, "mutual TLS of the mesh only");
    assert!(mesh.clusters(&Mesh::gateway()).iter().any(|cluster| cluster.name == name));
    let assignment = View::new(&mesh.0, &Mesh::gateway()).assignment(name);
    let endpoints: Vec<_> = assignment.localities[0].endpoints.iter().map(|one| &*one.address).collect();
    assert_eq!(endpoints, ["10.2.2.2"], "only what takes mutual TLS can be asked for by its name");
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

#[test]
fn ports_are_those_of_services_and_may_need_a_right() {
    let servers = json!([
        {"port": {"number": 80, "name": "a", "protocol": "HTTP"}, "hosts": ["*"]},
        {"port": {"number": 443, "name": "b", "protocol": "TLS"}, "hosts": ["*.example.com"], "tls": {"mode": "PASSTHROUGH"}},
        {"port": {"number": 9000, "name": "c", "protocol": "HTTP"}, "hosts": ["*"]},
    ]);
    let service = "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: istio-system}\n\
        spec: {clusterIP: 10.0.0.9, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n\
        apiVersion: v1\nkind: Pod\nmetadata: {name: gw, namespace: istio-system, labels: {istio: ingressgateway}}\n\
        spec: {containers: [{name: c}]}\nstatus: {podIP: 2.2.2.2}\n";
    let mesh = Mesh::new(&format!("{}{service}", resources(servers)));
    let node = |privileged: bool| {
        let metadata =
            json!({"LABELS": {"istio": "ingressgateway"}, "UNPRIVILEGED_POD": (!privileged).to_string()});
        Node::parse("router~2.2.2.2~gw.istio-system~istio-system.svc.cluster.local", &metadata).unwrap()
    };
    let ports = |node: &Node| mesh.listeners(node).iter().map(|listener| listener.port).collect::<Vec<_>>();
    // 443 has no TLS rule, so nothing listens there; the port of the Service is 80, that of its Pods 8080.
    assert_eq!(ports(&node(true)), [8080, 9000]);
    assert_eq!(View::new(&mesh.0, &node(true)).route_names(), ["http.8080", "http.9000"]);
    let plain = Mesh::new(&resources(http(json!(["*"]))));
    assert_eq!((plain.listeners(&node(true)).len(), plain.listeners(&node(false)).len()), (1, 0));
}

#[test]
fn servers_of_bytes_go_by_the_first_rule_that_holds() {
    for protocol in ["TCP", "MONGO"] {
        let server =
            json!([{"port": {"number": 7000, "name": "bytes", "protocol": protocol}, "hosts": ["*"]}]);
        let rules = json!([
            {"match": [{"port": 7001}], "route": to("reviews")},
            {"match": [{"gateways": ["default/other"]}], "route": to("reviews")},
            {"match": [{"port": 7000}], "route": [{"destination": {"host": "ratings", "port": {"number": 9090}}}]},
            {"route": to("reviews")},
        ]);
        let service = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "bytes", "namespace": "default"},
            "spec": {"hosts": ["bytes.example.com"], "gateways": ["gw"], "tcp": rules},
        });
        let mesh = Mesh::new(&format!("{}\n---\n{service}", resources(server)));
        let listeners = mesh.listeners(&Mesh::gateway());
        let model::listener::Terminal::Tcp(tcp) = &listeners[0].chains[0].terminal else {
            panic!("not bytes")
        };
        assert_eq!(tcp.clusters[0].0, "outbound|9090||ratings.default.svc.cluster.local");
    }
}

#[test]
fn servers_with_addresses_of_their_own_share_a_port() {
    let server = |bind: &str| json!({"port": {"number": 8443, "name": format!("x-{bind}"), "protocol": "HTTP"}, "bind": bind, "hosts": ["*.example.com"]});
    let servers = json!([server("127.0.0.2"), server("127.0.0.3")]);
    let mesh = Mesh::new(&resources(servers));
    let listeners = mesh.listeners(&Mesh::gateway());
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.clone()).collect();
    assert_eq!(names, ["127.0.0.2_8443", "127.0.0.3_8443"]);
    let tables = View::new(&mesh.0, &Mesh::gateway()).route_names();
    assert_eq!(tables, ["http.8443.127.0.0.2", "http.8443.127.0.0.3"]);
}

#[test]
fn gateways_that_the_gateway_api_made_keep_to_their_namespace() {
    let labels =
        json!({"istio": "ingressgateway", "gateway.istio.io/managed": "istio.io-gateway-controller"});
    let count =
        |mesh: &Mesh, namespace: &str| mesh.listeners(&Mesh::node("router", namespace, labels.clone())).len();
    let text = resources(http(json!(["*"])));
    let strict = Mesh::new(&text);
    assert_eq!((count(&strict, "default"), count(&strict, "istio-system")), (1, 0));
    let switches = meltemi_config::mesh::Switches::read(|asked| {
        (asked == "PILOT_ENABLE_STRICT_GATEWAY_MERGING").then(|| "false".to_owned())
    });
    let loose = Mesh::with(&text, MeshConfig { switches, ..MeshConfig::default() });
    assert_eq!(count(&loose, "istio-system"), 1);
}

#[test]
fn claims_of_tokens_are_conditions_on_metadata() {
    let rules = json!([
        {"match": [{"headers": {"@request.auth.claims[group][id]": {"exact": "a"}, "x": {"exact": "y"}}}], "route": to("reviews")},
        {"match": [{"headers": {"@request.auth.claims.sub": {}}}], "route": to("reviews")},
        {"match": [{"withoutHeaders": {"@request.auth.claims[admin]": {"exact": "yes"}}}], "route": to("ratings")},
        {"route": to("reviews")},
    ]);
    let service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"hosts": ["a.example.com"], "gateways": ["gw"], "http": rules},
    });
    let gateway = resources(http(json!(["*"]))).split("\n---\n").next().unwrap().to_owned();
    let mesh = Mesh::new(&format!("{gateway}\n---\n{service}"));
    let host = mesh.virtual_host(&Mesh::gateway(), "http.80", "a.example.com:80").unwrap();
    // A condition on claims does not take everything: the routes behind it stay.
    assert_eq!(host.routes.len(), 4);
    let matchers: Vec<_> = host.routes.iter().map(|route| route.r#match.clone().unwrap()).collect();
    assert_eq!((matchers[0].headers.len(), matchers[0].dynamic_metadata.len()), (1, 1));
    let text = format!("{:?}", matchers[0].dynamic_metadata);
    for part in [
        "envoy.filters.http.jwt_authn",
        "Key(\"payload\")",
        "Key(\"group\")",
        "Key(\"id\")",
        "OrMatch",
        "ListMatch",
    ] {
        assert!(text.contains(part), "{part} not in {text}");
    }
    assert!(format!("{:?}", matchers[1].dynamic_metadata).contains("PresentMatch(true)"));
    assert!(matchers[2].dynamic_metadata[0].invert && !matchers[0].dynamic_metadata[0].invert);
}
