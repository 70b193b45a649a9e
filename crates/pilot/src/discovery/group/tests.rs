//! After any sequence of changes a group holds what one made from nothing holds.

use std::collections::BTreeMap;

use meltemi_config::{Object, Options, load_text};
use serde_json::json;

use super::*;
use crate::discovery::following::{differing, draw, words};
use crate::model::listener::{Routes, Terminal};
use crate::snapshot::Change;

/// Resources that meet in many ways: shared addresses, names and ports, wildcards, subsets, TCP, DNS, headless and sniffed ports.
fn pool() -> Vec<Object> {
    let mut text = String::new();
    let mut add = |document: String| {
        text.push_str(&document);
        text.push_str("\n---\n");
    };
    let api = "apiVersion: networking.istio.io/v1";
    for at in 0..4 {
        for (form, ports) in [
            ("a", "[{number: 80, name: http}, {number: 9090, name: grpc}]"),
            ("b", "[{number: 80, name: http}]"),
            ("c", "[{number: 7000, name: tcp}, {number: 8080, name: web}]"),
        ] {
            add(format!(
                "{api}\nkind: ServiceEntry\nmetadata: {{name: s{at}}}\nspec:\n  hosts: [s{at}.example.com]\n  addresses: [10.0.0.{}]\n  resolution: STATIC\n  location: MESH_INTERNAL\n  ports: {ports}\n  endpoints: [{{address: 10.1.{at}.{}, labels: {{version: v1}}}}]",
                if form == "b" { 9 } else { at },
                form.len() + ports.len() % 7,
            ));
        }
        add(format!(
            "{api}\nkind: VirtualService\nmetadata: {{name: v{at}}}\nspec:\n  hosts: [s{at}.example.com]\n  http: [{{route: [{{destination: {{host: s{}.example.com}}}}]}}]",
            (at + 1) % 4
        ));
        add(format!(
            "{api}\nkind: VirtualService\nmetadata: {{name: v{at}}}\nspec:\n  hosts: ['*.example.com', other{at}.org]\n  http: [{{match: [{{sourceLabels: {{app: x}}}}], route: [{{destination: {{host: s{at}.example.com, subset: v1}}}}]}}]\n  tcp: [{{route: [{{destination: {{host: s{at}.example.com}}}}]}}]"
        ));
        add(format!(
            "{api}\nkind: DestinationRule\nmetadata: {{name: d{at}}}\nspec: {{host: s{at}.example.com, subsets: [{{name: v1, labels: {{version: v1}}}}], trafficPolicy: {{loadBalancer: {{consistentHash: {{useSourceIp: true}}}}}}}}"
        ));
    }
    for to in ["s0", "s2"] {
        add(format!(
            "{api}\nkind: VirtualService\nmetadata: {{name: lent}}\nspec: {{http: [{{route: [{{destination: {{host: {to}.example.com}}}}]}}]}}"
        ));
    }
    add(format!(
        "{api}\nkind: VirtualService\nmetadata: {{name: v0}}\nspec: {{hosts: [s3.example.com], http: [{{delegate: {{name: lent}}}}]}}"
    ));
    add(format!(
        "{api}\nkind: DestinationRule\nmetadata: {{name: wide}}\nspec: {{host: '*.example.com', trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}}}}}"
    ));
    add(format!(
        "{api}\nkind: ServiceEntry\nmetadata: {{name: dns}}\nspec: {{hosts: [dns.example.com], resolution: DNS, ports: [{{number: 80, name: http}}], endpoints: [{{address: one.example.org}}]}}"
    ));
    add(format!(
        "{api}\nkind: ServiceEntry\nmetadata: {{name: dns}}\nspec: {{hosts: [dns.example.com], resolution: DNS, ports: [{{number: 80, name: http}}], endpoints: [{{address: two.example.org}}]}}"
    ));
    add(format!(
        "{api}\nkind: Sidecar\nmetadata: {{name: narrow}}\nspec: {{egress: [{{hosts: ['*/s1.example.com', '*/other2.org']}}]}}"
    ));
    for at in 0..2 {
        let hosts = if at == 0 { "'*/s1.example.com'" } else { "'*/s2.example.com', './*'" };
        add(format!(
            "{api}\nkind: Sidecar\nmetadata: {{name: narrow}}\nspec:\n  egress:\n  - {{port: {{number: 3128, protocol: HTTP_PROXY}}, bind: 127.0.0.1, captureMode: NONE, hosts: [{hosts}]}}\n  - {{port: {{number: 0, protocol: HTTP}}, bind: 'unix:///tmp/{at}', hosts: ['*/*']}}\n  - {{hosts: [{hosts}]}}\n  ingress: [{{port: {{number: 700{at}, protocol: TCP}}, defaultEndpoint: '127.0.0.1:1'}}]"
        ));
        let selector = if at == 0 { "" } else { "selector: {matchLabels: {tier: front}}, " };
        add(format!(
            "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: log{at}}}\nspec: {{{selector}accessLogging: [{{providers: [{{name: envoy}}]}}]}}"
        ));
    }
    add("apiVersion: v1\nkind: Service\nmetadata: {name: head}\nspec: {clusterIP: None, selector: {app: head}, ports: [{name: tcp, port: 7000}, {name: http, port: 80}]}".to_owned());
    // Bytes that are looked at, a port for each endpoint; and an address that is also an endpoint's.
    add("apiVersion: v1\nkind: Service\nmetadata: {name: looked}\nspec: {clusterIP: None, selector: {app: head}, ports: [{port: 7100}]}".to_owned());
    add(format!(
        "{api}\nkind: ServiceEntry\nmetadata: {{name: same}}\nspec: {{hosts: [same.example.com], addresses: [10.2.0.1], resolution: STATIC, ports: [{{number: 7000, name: tcp}}], endpoints: [{{address: 10.1.9.9}}]}}"
    ));
    add(format!(
        "{api}\nkind: ServiceEntry\nmetadata: {{name: sniffed}}\nspec: {{hosts: [sniffed.example.com], addresses: [10.0.0.77], resolution: STATIC, ports: [{{number: 80, name: x}}], endpoints: [{{address: 10.1.9.8}}]}}"
    ));
    add("apiVersion: v1\nkind: Service\nmetadata: {name: s1}\nspec: {clusterIP: 10.0.0.9, selector: {app: head}, ports: [{name: http, port: 80}]}".to_owned());
    for (alias, to) in [
        ("e1", "s1.default.svc.cluster.local"),
        ("e1", "e2.default.svc.cluster.local"),
        ("e2", "s1.default.svc.cluster.local"),
        ("e2", "s0.example.com"),
        ("e2", "e1.default.svc.cluster.local"),
    ] {
        add(format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {alias}}}\nspec: {{type: ExternalName, externalName: {to}}}"
        ));
    }
    add(format!(
        "{api}\nkind: VirtualService\nmetadata: {{name: v2}}\nspec: {{hosts: [s2.example.com], http: [{{route: [{{destination: {{host: e1}}}}]}}], tcp: [{{route: [{{destination: {{host: e2}}}}]}}]}}"
    ));
    for ports in ["[{number: 80, name: http}]", "[{number: 7000, name: tcp}, {number: 443, name: tls}]"] {
        add(format!(
            "{api}\nkind: ServiceEntry\nmetadata: {{name: any}}\nspec: {{hosts: ['*.any.example.com'], resolution: DYNAMIC_DNS, ports: {ports}}}"
        ));
        add(format!(
            "{api}\nkind: ServiceEntry\nmetadata: {{name: unaddressed}}\nspec: {{hosts: [s5.example.com], resolution: STATIC, ports: {ports}, endpoints: [{{address: 10.3.0.1}}]}}"
        ));
    }
    for policy in ["Local", "Cluster"] {
        add(format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: near}}\nspec: {{internalTrafficPolicy: {policy}, clusterIP: 10.0.0.10, selector: {{app: head}}, ports: [{{name: http, port: 80}}]}}"
        ));
    }
    for zone in ["z1", "z2"] {
        add(format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n0, labels: {{topology.kubernetes.io/region: r, topology.kubernetes.io/zone: {zone}}}}}"
        ));
    }
    for at in 0..3 {
        add(format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{at}, labels: {{app: {}}}}}\nspec: {{nodeName: n{}, containers: [{{name: c}}]}}\nstatus: {{podIP: 10.2.0.{at}}}",
            if at == 2 { "x" } else { "head" },
            at % 2
        ));
    }
    let loaded = load_text("pool.yaml", &text, &Options::default());
    assert!(loaded.rejected.is_empty() && loaded.unreadable.is_empty(), "{:#?}", loaded.diagnostics);
    loaded.objects
}

type Held = BTreeMap<String, u64>;

/// Everything a group holds: names with versions.
fn held(group: &Group) -> Held {
    let shared = &group.shared;
    let mut held = Held::new();
    for (kind, collection) in [
        ("clusters", &shared.clusters),
        ("endpoints", &shared.endpoints),
        ("listeners", &shared.listeners),
        ("routes", &shared.routes),
        ("virtual_hosts", &shared.virtual_hosts),
    ] {
        for resource in collection.all() {
            held.insert(format!("{kind} {}", resource.name()), resource.version());
        }
    }
    held
}

fn nodes() -> Vec<Node> {
    let node = |id: &str, metadata| Node::parse(id, &metadata).unwrap();
    vec![
        node("sidecar~~~default.svc.cluster.local", json!({"NAMESPACE": "default"})),
        node("sidecar~~~default.svc.cluster.local", json!({"NAMESPACE": "default", "LABELS": {"app": "x"}})),
        node(
            "sidecar~~~default.svc.cluster.local",
            json!({"NAMESPACE": "other", "INTERCEPTION_MODE": "NONE"}),
        ),
        node(
            "sidecar~~~default.svc.cluster.local",
            json!({"NAMESPACE": "default", "DNS_CAPTURE": "true", "NODE_NAME": "n0"}),
        ),
        node("router~10.2.0.1~~default.svc.cluster.local", json!({"NAMESPACE": "default"})),
    ]
}

#[test]
fn a_group_that_followed_changes_is_as_one_made_from_nothing() {
    let pool = pool();
    for seed in 0..6 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let cache = Cache::default();
        let mut objects: BTreeMap<_, Object> = BTreeMap::new();
        let mut snapshot = Snapshot::build(0, &[], Arc::default());
        let forms = nodes().into_iter().flat_map(|node| [(node.clone(), true), (node, false)]);
        let mut groups: Vec<Group> =
            forms.map(|(node, vhds)| Group::new(node, vhds, &snapshot, &cache)).collect();
        for step in 0..60 {
            let changes = draw(&mut dice, &pool.iter().collect::<Vec<_>>(), 3);
            for (id, object) in &changes {
                match object {
                    Some(object) => objects.insert(id.clone(), object.clone()),
                    None => objects.remove(id),
                };
            }
            let changed = snapshot.update(&changes);
            let all: Vec<Object> = objects.values().cloned().collect();
            let fresh = Snapshot::build(1, &all, Arc::default());
            for group in &mut groups {
                group.update(&snapshot, Some(&changed), &cache);
                let vhds = group.shared.discovers_hosts;
                let anew = Group::new(group.node.clone(), vhds, &fresh, &cache);
                let (followed, anew) = (held(group), held(&anew));
                let differs = differing(&followed, &anew);
                assert!(
                    differs.is_empty(),
                    "seed {seed} step {step} {:?} {:?} vhds {vhds}: {differs:#?}",
                    words(&changes),
                    group.node
                );
            }
        }
    }
}

#[test]
fn tables_are_what_the_view_says() {
    let all = pool();
    let snapshot = Snapshot::build(1, &all, Arc::default());
    let cache = Cache::default();
    for node in nodes().into_iter().filter(|node| node.role == Role::Sidecar) {
        let group = Group::new(node.clone(), false, &snapshot, &cache);
        let view = View::new(&snapshot, &node);
        for name in view.route_names() {
            use meltemi_xds::pb::envoy::config::route::v3 as envoy;
            use prost::Message;
            let table = group.shared.routes.get(&name).unwrap();
            let mut got = envoy::RouteConfiguration::decode(table.message()).unwrap();
            let mut want = translate::route::route_configuration(&view.route_table(&name).unwrap());
            got.virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
            want.virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
            assert_eq!(got, want);
        }
    }
}

#[test]
fn every_table_that_a_listener_uses_is_there() {
    let snapshot = Snapshot::build(1, &pool(), Arc::default());
    for node in nodes().into_iter().filter(|node| node.role == Role::Sidecar) {
        let view = View::new(&snapshot, &node);
        let names = view.route_names();
        for listener in view.common_listeners() {
            for chain in listener.chains.iter().chain(&listener.default_chain) {
                if let Terminal::Http(http) = &chain.terminal
                    && let Routes::Rds(table) = &http.routes
                {
                    assert!(names.contains(table), "{table} of {}: {names:?}", listener.name);
                }
            }
        }
    }
}

#[test]
fn a_service_that_comes_touches_its_sockets_only() {
    let pool: Vec<Object> =
        pool().into_iter().filter(|object| object.id().kind != meltemi_config::Kind::Sidecar).collect();
    let (cache, mut snapshot) = (Cache::default(), Snapshot::build(0, &pool, Arc::default()));
    let mut group = Group::new(nodes().remove(0), true, &snapshot, &cache);
    assert!(group.shared.listeners.all().len() > 8);
    let text = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: fresh}\nspec:\n  hosts: [fresh.example.com]\n  \
                addresses: [10.0.0.200]\n  resolution: STATIC\n  ports: [{number: 80, name: http}, {number: 7000, name: tcp}, {number: 81, name: http-new}]\n  \
                endpoints: [{address: 10.1.9.1}]";
    let fresh = load_text("fresh.yaml", text, &Options::default()).objects;
    let changes: Vec<Change> = fresh.into_iter().map(|object| (object.id(), Some(object))).collect();
    let changed = snapshot.update(&changes);
    let view = View::new(&snapshot, &group.node);
    let listed = group.sockets.follow(&view, &changed, &changed.hosts(), &cache).unwrap();
    let made: Vec<&str> = listed.listeners.keys().map(|name| &**name).collect();
    assert_eq!(made, ["0.0.0.0_80", "0.0.0.0_81", "10.0.0.200_7000"]);
}
