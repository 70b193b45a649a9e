//! istiod's switches (ENV-*): what each changes.

use meltemi_config::mesh::Switches;

use super::*;

/// A mesh under a switch that is not at its default.
fn mesh(resources: &str, name: &str, value: bool) -> Mesh {
    let switches = Switches::read(|asked| (asked == name).then(|| value.to_string()));
    Mesh::with(resources, MeshConfig { switches, ..MeshConfig::default() })
}

#[test]
fn gateways_may_be_for_proxies_of_their_own_namespace_only() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: default}\n\
        spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n";
    let count = |mesh: &Mesh, namespace: &str| {
        mesh.listeners(&Mesh::node("router", namespace, json!({"istio": "ingressgateway"}))).len()
    };
    let wide = Mesh::new(gateway);
    assert_eq!((count(&wide, "default"), count(&wide, "istio-system")), (1, 1));
    let scoped = mesh(gateway, "PILOT_SCOPE_GATEWAY_TO_NAMESPACE", true);
    assert_eq!((count(&scoped, "default"), count(&scoped, "istio-system")), (1, 0));
}

#[test]
fn selectors_may_leave_out_the_other_kind_of_workload() {
    let resources = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: default}\n\
        spec: {address: 2.2.2.2, labels: {app: reviews}}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: default}\n\
        spec: {hosts: [e.example.com], location: MESH_INTERNAL, resolution: STATIC, workloadSelector: {labels: {app: reviews}}, ports: [{number: 80, name: http, protocol: HTTP}]}\n";
    let (service, entry) = ("outbound|9080||reviews.default.svc.cluster.local", "outbound|80||e.example.com");
    let all = Mesh::new(resources);
    assert_eq!((all.endpoints(service).len(), all.endpoints(entry).len()), (3, 3));
    let pods = mesh(resources, "PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES", false);
    assert_eq!((pods.endpoints(service).len(), pods.endpoints(entry).len()), (2, 3));
    let entries = mesh(resources, "PILOT_ENABLE_SERVICEENTRY_SELECT_PODS", false);
    assert_eq!((entries.endpoints(service).len(), entries.endpoints(entry).len()), (3, 1));
}

#[test]
fn http10_and_the_clients_address_at_sidecars() {
    let http = |mesh: &Mesh| {
        let text = format!("{:?}", mesh.listeners(&Mesh::sidecar()));
        (text.contains("http10: true"), text.contains("use_remote_address: true"))
    };
    assert_eq!(http(&Mesh::new("")), (false, false));
    assert_eq!(http(&mesh("", "PILOT_HTTP10", true)), (true, false));
    assert_eq!(http(&mesh("", "PILOT_SIDECAR_USE_REMOTE_ADDRESS", true)), (false, true));
}

#[test]
fn names_of_services_end_in_the_domain_of_names_not_of_trust() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: default}\n\
        spec: {hosts: [reviews], http: [{route: [{destination: {host: ratings}}]}]}\n";
    let hosts = |domain: Option<&str>| {
        let trust_domain = Some("trust.example".into());
        let mesh = MeshConfig { trust_domain, domain: domain.map(Into::into), ..MeshConfig::default() };
        let mesh = Mesh::with(rule, mesh);
        let full = format!("reviews.default.svc.{}", domain.unwrap_or("cluster.local"));
        let host = mesh.virtual_host(&Mesh::sidecar(), "9080", &format!("{full}:9080")).expect(&full);
        let Some(Action::Route(action)) = &host.routes[0].action else { panic!("{host:?}") };
        (host.domains.contains(&full), action.cluster_specifier.clone())
    };
    let to = |name: &str| (true, Some(ClusterSpecifier::Cluster(name.to_owned())));
    assert_eq!(hosts(None), to("outbound|9080||ratings.default.svc.cluster.local"));
    assert_eq!(hosts(Some("mesh.example")), to("outbound|9080||ratings.default.svc.mesh.example"));
}
