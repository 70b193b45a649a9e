//! ServiceEntry and WorkloadEntry.

use super::*;

fn entry(spec: serde_json::Value) -> String {
    let resource = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "ext", "namespace": "default"},
        "spec": spec,
    });
    resource.to_string()
}

const EXT: &str = "outbound|80||ext.example.com";

fn spec(resolution: &str) -> serde_json::Value {
    json!({
        "hosts": ["ext.example.com"], "resolution": resolution,
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    })
}

#[test]
fn resolutions() {
    for (resolution, wanted) in
        [("NONE", "ORIGINAL_DST"), ("DNS", "STRICT_DNS"), ("DNS_ROUND_ROBIN", "LOGICAL_DNS")]
    {
        let cluster = Mesh::new(&entry(spec(resolution))).cluster(EXT);
        let Some(cluster::cluster::ClusterDiscoveryType::Type(discovery)) = cluster.cluster_discovery_type
        else {
            panic!("{cluster:?}")
        };
        let name = cluster::cluster::DiscoveryType::try_from(discovery).unwrap().as_str_name();
        assert_eq!(name, wanted, "{resolution}");
    }
    // Without endpoints, DNS resolves the host itself.
    let dns = Mesh::new(&entry(spec("DNS"))).cluster(EXT);
    assert_eq!(addresses(&dns.load_assignment.unwrap()), ["ext.example.com:80"]);
}

#[test]
fn static_endpoints_with_their_ports_and_weights() {
    let mut spec = spec("STATIC");
    spec["ports"][0]["targetPort"] = json!(8080);
    spec["endpoints"] =
        json!([{"address": "10.1.1.1"}, {"address": "10.1.1.2", "ports": {"http": 9999}, "weight": 3}]);
    let mesh = Mesh::new(&entry(spec));
    assert_eq!(mesh.endpoints(EXT), ["10.1.1.1:8080", "10.1.1.2:9999"]);
    let node = Mesh::sidecar();
    let assignment = translate::endpoint::assignment(&View::new(&mesh.0, &node).assignment(EXT));
    let weights = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let weights: Vec<_> =
        weights.map(|endpoint| endpoint.load_balancing_weight.map_or(1, |weight| weight.value)).collect();
    assert_eq!(weights, [1, 3]);
}

#[test]
fn a_selector_takes_pods_and_workload_entries() {
    let mut spec = spec("STATIC");
    spec["workloadSelector"] = json!({"labels": {"app": "reviews"}});
    let workload = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {"name": "vm", "namespace": "default", "labels": {"app": "reviews"}},
        "spec": {"address": "10.2.2.2", "labels": {"app": "overridden"}},
    });
    let mesh = Mesh::new(&format!("{}\n---\n{workload}", entry(spec)));
    let mut found = mesh.endpoints(EXT);
    found.sort();
    assert_eq!(found, ["1.1.1.11:80", "1.1.1.12:80", "10.2.2.2:80"]);
}

#[test]
fn hosts_and_addresses_become_domains() {
    let mut spec = spec("STATIC");
    spec["addresses"] = json!(["10.9.9.9"]);
    spec["endpoints"] = json!([{"address": "10.1.1.1"}]);
    let mesh = Mesh::new(&entry(spec));
    let host = mesh.virtual_host(&Mesh::sidecar(), "80", "ext.example.com:80").unwrap();
    for domain in ["ext.example.com", "10.9.9.9"] {
        assert!(host.domains.iter().any(|known| known == domain), "{domain}: {:?}", host.domains);
    }
}

#[test]
fn export_to_hides_from_other_namespaces() {
    let mut spec = spec("DNS");
    spec["exportTo"] = json!(["."]);
    let mesh = Mesh::new(&entry(spec));
    let has = |node: &Node| mesh.clusters(node).iter().any(|cluster| cluster.name == EXT);
    assert!(has(&Mesh::sidecar()));
    assert!(!has(&Mesh::node("sidecar", "other", json!({}))));
}
