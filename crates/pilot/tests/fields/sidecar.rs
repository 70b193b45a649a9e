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
