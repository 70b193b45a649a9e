//! Networks. What is left out and what is called directly is shown by calls in the table `routing/networks.yaml` of the crate
//! `meltemi`; gateways want mutual TLS, so they are shown here.

use meltemi_config::mesh::MeshNetworks;
use meltemi_pilot::snapshot::Change;

use super::*;

const HOST: &str = "outbound|80||far.example.com";

fn networks(text: &str) -> MeshNetworks {
    let (networks, findings) = meltemi_config::load::mesh_networks("networks.yaml", text);
    assert!(findings.is_empty(), "{findings:?}");
    networks
}

fn mesh(networks_text: &str, more: &str) -> Mesh {
    let settings = MeshConfig { networks: networks(networks_text), ..MeshConfig::default() };
    Mesh::with(more, settings)
}

/// A service in two networks, called with mutual TLS.
fn far(endpoints: serde_json::Value) -> String {
    let entry = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "far", "namespace": "default"},
        "spec": {
            "hosts": ["far.example.com"], "resolution": "STATIC", "endpoints": endpoints,
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        },
    });
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "far", "namespace": "default"},
        "spec": {"host": "far.example.com", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}},
    });
    format!("{entry}\n---\n{rule}\n---\n")
}

fn client(metadata: serde_json::Value) -> Node {
    Node::parse("sidecar~1.1.1.1~productpage.default~default.svc.cluster.local", &metadata).unwrap()
}

/// Address, port and weight of each endpoint.
fn seen(snapshot: &Snapshot, node: &Node) -> Vec<(String, u32, u32)> {
    let assignment = View::new(snapshot, node).assignment(HOST);
    let endpoints = assignment.localities.iter().flat_map(|locality| &locality.endpoints);
    endpoints.map(|endpoint| (endpoint.address.to_string(), endpoint.port, endpoint.weight)).collect()
}

fn addresses_seen(snapshot: &Snapshot, node: &Node) -> Vec<String> {
    seen(snapshot, node).into_iter().map(|(address, ..)| address).collect()
}

#[test]
fn endpoints_of_other_networks_are_behind_their_gateways() {
    let text = "networks: {there: {gateways: [{address: 5.5.5.1, port: 15443}, {address: 5.5.5.2, port: 443}, {address: gw.example.com, port: 1}]}}";
    let endpoints = json!([
        {"address": "10.0.0.1", "network": "here"},
        {"address": "10.1.0.1", "network": "there", "serviceAccount": "far"},
        {"address": "10.1.0.2", "network": "there", "serviceAccount": "far", "weight": 2},
        {"address": "10.1.0.3", "network": "there", "labels": {"security.istio.io/tlsMode": "istio"}},
        {"address": "10.1.0.4", "network": "there", "serviceAccount": "far", "labels": {"security.istio.io/tlsMode": "disabled"}},
        {"address": "10.1.0.5", "network": "there"},
        {"network": "there", "serviceAccount": "far"},
    ]);
    let mesh = mesh(text, &far(endpoints));
    let here = client(json!({"NETWORK": "here"}));
    let wanted = [("10.0.0.1", 80, 2), ("5.5.5.1", 15443, 5), ("5.5.5.2", 443, 5)];
    assert_eq!(
        seen(&mesh.0, &here),
        wanted.map(|(address, port, weight)| (address.to_owned(), port, weight))
    );
    // In that network, and for whoever does not say where he is, all that have an address.
    for metadata in [json!({"NETWORK": "there"}), json!({})] {
        assert_eq!(addresses_seen(&mesh.0, &client(metadata)).len(), 6);
    }
    let choosy = client(json!({"NETWORK": "here", "REQUESTED_NETWORK_VIEW": "here, other"}));
    assert_eq!(addresses_seen(&mesh.0, &choosy), ["10.0.0.1"]);
    // Without mutual TLS nobody gets through a gateway.
    let rule = |text: &str| text.replace("ISTIO_MUTUAL", "DISABLE");
    let plain = super::networks::mesh(
        text,
        &rule(&far(json!([{"address": "10.1.0.1", "network": "there", "serviceAccount": "far"}]))),
    );
    assert_eq!(seen(&plain.0, &here), []);
}

#[test]
fn places_of_endpoints_stay_those_of_their_gateways() {
    let text = "networks: {there: {gateways: [{address: 5.5.5.1, port: 15443}]}}";
    let endpoints = json!([
        {"address": "10.1.0.1", "network": "there", "serviceAccount": "far", "locality": "r1/z1"},
        {"address": "10.1.0.2", "network": "there", "serviceAccount": "far", "locality": "r2/z1", "weight": 4},
    ]);
    let mesh = mesh(text, &far(endpoints));
    let assignment = View::new(&mesh.0, &client(json!({"NETWORK": "here"}))).assignment(HOST);
    let places: Vec<_> =
        assignment.localities.iter().map(|locality| (&*locality.locality, locality.weight)).collect();
    assert_eq!(places, [("r1/z1", 1), ("r2/z1", 4)]);
}

#[test]
fn the_network_of_an_endpoint_is_found_by_label_registry_and_address() {
    let text = "networks:
  there: {endpoints: [{fromCidr: 10.1.0.0/16}, {fromRegistry: Kubernetes}], gateways: [{address: 5.5.5.1, port: 15443}]}
  other: {endpoints: [{fromCidr: 10.1.2.0/24}], gateways: [{address: 6.6.6.1, port: 15443}]}";
    let mutual = |address: &str| json!([{"address": address, "serviceAccount": "far"}]);
    let here = client(json!({"NETWORK": "here"}));
    for (endpoints, wanted) in [
        (mutual("10.1.0.1"), "5.5.5.1"),
        (mutual("10.2.0.1"), "10.2.0.1"),
        // Two ranges have it: in no network, as in Istio.
        (mutual("10.1.2.1"), "10.1.2.1"),
        (
            json!([{"address": "10.1.0.1", "serviceAccount": "far", "labels": {"topology.istio.io/network": "other"}}]),
            "6.6.6.1",
        ),
        (
            json!([{"address": "10.1.0.1", "serviceAccount": "far", "network": "other", "labels": {"topology.istio.io/network": "here"}}]),
            "6.6.6.1",
        ),
    ] {
        assert_eq!(addresses_seen(&mesh(text, &far(endpoints.clone())).0, &here), [wanted], "{endpoints}");
    }
    // Pods are of the registry Kubernetes; they take no mutual TLS, so none is left.
    let reviews = "outbound|9080||reviews.default.svc.cluster.local";
    let count = |mesh: &Mesh, node: &Node| {
        View::new(&mesh.0, node)
            .assignment(reviews)
            .localities
            .iter()
            .map(|l| l.endpoints.len())
            .sum::<usize>()
    };
    let by_registry = mesh(text, "");
    assert_eq!(
        (count(&by_registry, &here), count(&by_registry, &client(json!({"NETWORK": "there"})))),
        (0, 2)
    );
    // The root namespace's label goes before the registry.
    let root = "{apiVersion: v1, kind: Namespace, metadata: {name: istio-system, labels: {topology.istio.io/network: here}}}";
    assert_eq!(count(&mesh(text, root), &here), 2);
    // A proxy that says nothing is where its own Pod is.
    assert_eq!(count(&by_registry, &client(json!({}))), 2);
    assert_eq!(View::new(&by_registry.0, &client(json!({}))).network, "there".into());
}

const GATEWAY: &str = "{apiVersion: v1, kind: Service, metadata: {name: gw, namespace: istio-system}, spec: {type: LoadBalancer, ports: [{name: tls, port: 15443}]}}";

fn change(text: &str) -> Vec<Change> {
    let loaded = load_text("more.yaml", text, &Options::default());
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    loaded.objects.iter().map(|object| (object.id(), Some(object.clone()))).collect()
}

#[test]
fn services_are_gateways_at_the_addresses_of_their_balancers() {
    let named = "networks: {there: {gateways: [{registryServiceName: gw.istio-system.svc.cluster.local, port: 15444}]}}";
    let endpoints = json!([{"address": "10.1.0.1", "network": "there", "serviceAccount": "far"}]);
    let balanced =
        GATEWAY.replace("}]}}", "}]}, status: {loadBalancer: {ingress: [{ip: 7.7.7.1}, {ip: 7.7.7.2}]}}}");
    let labelled = balanced.replace(
        "namespace: istio-system}",
        "namespace: istio-system, labels: {topology.istio.io/network: there, networking.istio.io/gatewayPort: '15445'}}",
    );
    let here = client(json!({"NETWORK": "here"}));
    for (networks, service, port) in [(named, &balanced, 15444), ("networks: {}", &labelled, 15445)] {
        let mut snapshot = mesh(networks, &format!("{}{GATEWAY}", far(endpoints.clone()))).0;
        assert_eq!(addresses_seen(&snapshot, &here), ["10.1.0.1"], "no gateway has an address yet");
        let changes = snapshot.update(&change(service));
        assert!(changes.networks && !changes.only_endpoints());
        assert_eq!(
            seen(&snapshot, &here),
            [("7.7.7.1".to_owned(), port, 1), ("7.7.7.2".to_owned(), port, 1)]
        );
        assert!(!snapshot.update(&change(service)).networks);
        assert!(snapshot.update(&change(GATEWAY)).networks);
        assert_eq!(addresses_seen(&snapshot, &here), ["10.1.0.1"]);
    }
}
