//! What each field of the traffic kinds becomes in the messages that a proxy gets. `docs/compatibility.md` names these tests: one for
//! each field or group of fields, with the smallest resources that show it.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::sync::Arc;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Options, load_text};
use meltemi_pilot::node::Node;
use meltemi_pilot::snapshot::Snapshot;
use meltemi_pilot::view::View;
use meltemi_pilot::{model, translate};
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster;
use meltemi_xds::pb::envoy::config::route::v3 as route;
use route::header_matcher::HeaderMatchSpecifier;
use route::route::Action;
use route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use route::route_match::PathSpecifier;
use serde_json::json;

#[path = "fields/access_log.rs"]
mod access_log;
#[path = "fields/bytes.rs"]
mod bytes;
#[path = "fields/destination_rule.rs"]
mod destination_rule;
#[path = "fields/gateway.rs"]
mod gateway;
#[path = "fields/ingress.rs"]
mod ingress;
#[path = "fields/mesh.rs"]
mod mesh;
#[path = "fields/networks.rs"]
mod networks;
#[path = "fields/rule.rs"]
mod rule;
#[path = "fields/service_entry.rs"]
mod service_entry;
#[path = "fields/services.rs"]
mod services;
#[path = "fields/sidecar.rs"]
mod sidecar;
#[path = "fields/switches.rs"]
mod switches;
#[path = "fields/upstream.rs"]
mod upstream;
#[path = "fields/virtual_service.rs"]
mod virtual_service;

/// Two services in `default`, one in `other`, and the Pods behind them.
const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.0.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: default}
spec: {clusterIP: 10.0.0.2, selector: {app: ratings}, ports: [{name: http, port: 9080}, {name: tcp-admin, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: details, namespace: other}
spec: {clusterIP: 10.0.0.3, ports: [{name: http, port: 9080, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v1, namespace: default, labels: {app: reviews, version: v1}}
spec: {containers: [{name: c}]}
status: {podIP: 1.1.1.11}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v2, namespace: default, labels: {app: reviews, version: v2}}
spec: {containers: [{name: c}]}
status: {podIP: 1.1.1.12}
---
apiVersion: v1
kind: Pod
metadata: {name: productpage, namespace: default, labels: {app: productpage}}
spec: {containers: [{name: c}]}
status: {podIP: 1.1.1.1}
---
";

/// A mesh of the services above and more resources, of which none may be faulty.
struct Mesh(Snapshot);

impl Mesh {
    fn new(resources: &str) -> Mesh {
        Mesh::with(resources, MeshConfig::default())
    }

    fn with(resources: &str, mesh: MeshConfig) -> Mesh {
        let loaded = load_text("test.yaml", &format!("{SERVICES}{resources}"), &Options::default());
        assert!(loaded.rejected.is_empty() && loaded.unreadable.is_empty(), "{:#?}", loaded.diagnostics);
        Mesh(Snapshot::build(1, &loaded.objects, Arc::new(mesh)))
    }

    /// The sidecar of productpage in `default`, or of another namespace.
    fn node(role: &str, namespace: &str, labels: serde_json::Value) -> Node {
        let id = format!("{role}~1.1.1.1~productpage.{namespace}~{namespace}.svc.cluster.local");
        Node::parse(&id, &json!({"LABELS": labels})).unwrap()
    }

    fn sidecar() -> Node {
        Mesh::node("sidecar", "default", json!({"app": "productpage"}))
    }

    fn gateway() -> Node {
        Mesh::node("router", "istio-system", json!({"istio": "ingressgateway"}))
    }

    /// A virtual host of a table as a proxy gets it.
    fn virtual_host(&self, node: &Node, table: &str, name: &str) -> Option<route::VirtualHost> {
        let table = View::new(&self.0, node).route_table(table)?;
        let table = translate::route::route_configuration(&table);
        table.virtual_hosts.into_iter().find(|host| host.name == name)
    }

    /// The routes to reviews, as the sidecar of productpage has them.
    fn routes(&self) -> Vec<route::Route> {
        let host = self.virtual_host(&Mesh::sidecar(), "9080", "reviews.default.svc.cluster.local:9080");
        host.expect("reviews has a virtual host").routes
    }

    fn clusters(&self, node: &Node) -> Vec<cluster::Cluster> {
        View::new(&self.0, node).clusters().iter().map(translate::cluster::cluster).collect()
    }

    /// A cluster of the sidecar of productpage.
    fn cluster(&self, name: &str) -> cluster::Cluster {
        let clusters = self.clusters(&Mesh::sidecar());
        let names: Vec<_> = clusters.iter().map(|cluster| cluster.name.clone()).collect();
        clusters
            .into_iter()
            .find(|cluster| cluster.name == name)
            .unwrap_or_else(|| panic!("{name} not in {names:?}"))
    }

    /// Addresses of a cluster's endpoints, with ports.
    fn endpoints(&self, cluster: &str) -> Vec<String> {
        let node = Mesh::sidecar();
        let assignment = translate::endpoint::assignment(&View::new(&self.0, &node).assignment(cluster));
        addresses(&assignment)
    }

    fn listeners(&self, node: &Node) -> Vec<model::listener::Listener> {
        View::new(&self.0, node).listeners()
    }
}

fn addresses(
    assignment: &meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment,
) -> Vec<String> {
    use meltemi_xds::pb::envoy::config::core::v3::address::Address;
    use meltemi_xds::pb::envoy::config::core::v3::socket_address::PortSpecifier;
    use meltemi_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let address = |endpoint: &meltemi_xds::pb::envoy::config::endpoint::v3::LbEndpoint| {
        let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
            panic!("no endpoint")
        };
        match endpoint.address.as_ref().unwrap().address.as_ref().unwrap() {
            Address::SocketAddress(socket) => match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    endpoints.map(address).collect()
}

/// A VirtualService for reviews with these HTTP rules, given as JSON.
fn rules(http: serde_json::Value) -> String {
    let resource = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": http},
    });
    resource.to_string()
}

/// A destination: the host alone.
fn to(host: &str) -> serde_json::Value {
    json!([{"destination": {"host": host}}])
}

/// A DestinationRule for reviews.
fn policy(spec: serde_json::Value) -> String {
    let mut spec = spec;
    spec["host"] = json!("reviews");
    let resource = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": spec,
    });
    resource.to_string()
}

/// Where a route sends to.
fn forwards(route: &route::Route) -> &route::RouteAction {
    match &route.action {
        Some(Action::Route(action)) => action,
        other => panic!("{other:?}"),
    }
}

/// The one cluster that a route sends to.
fn cluster_of(route: &route::Route) -> &str {
    match &forwards(route).cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => name,
        other => panic!("{other:?}"),
    }
}

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
