//! What follows from other objects reaches proxies that are connected: names, nodes, places.

use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use meltemi_xds::pb::google::protobuf::{Struct, Value, value};
use meltemi_xds::type_url;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::pilot::{PATIENCE, Served};

/// A proxy that follows one resource.
struct Follower {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: tonic::Streaming<DeltaDiscoveryResponse>,
    url: String,
}

impl Follower {
    async fn start(served: &Served, machine: &str, url: &str, name: &str) -> Follower {
        let mut client =
            AggregatedDiscoveryServiceClient::connect(format!("http://{}", served.address)).await.unwrap();
        let (requests, receiver) = mpsc::channel(4);
        let machine = Value { kind: Some(value::Kind::StringValue(machine.to_owned())) };
        let metadata = Struct { fields: [("NODE_NAME".to_owned(), machine)].into_iter().collect() };
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "sidecar~10.9.9.9~client.default~default.svc.cluster.local".to_owned(),
                metadata: Some(metadata),
                ..Node::default()
            }),
            type_url: url.to_owned(),
            resource_names_subscribe: vec![name.to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(request).await.unwrap();
        let responses = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap();
        Follower { requests, responses: responses.into_inner(), url: url.to_owned() }
    }

    /// Waits until the resource holds one text and not the other.
    async fn until(&mut self, there: &str, gone: &str) {
        let look = async {
            loop {
                let response = self.responses.message().await.unwrap().unwrap();
                let ack = DeltaDiscoveryRequest {
                    type_url: self.url.clone(),
                    response_nonce: response.nonce.clone(),
                    ..DeltaDiscoveryRequest::default()
                };
                self.requests.send(ack).await.unwrap();
                let resources = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
                let text: String =
                    resources.map(|any| String::from_utf8_lossy(&any.value).into_owned()).collect();
                if text.contains(there) && !text.contains(gone) {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        found.unwrap_or_else(|_| panic!("never {there} without {gone}"));
    }
}

const EDS: &str = "outbound|80||web.default.svc.cluster.local";

fn web(policy: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{internalTrafficPolicy: {policy}, selector: {{app: web}}, ports: [{{name: http, port: 80}}]}}\n---\n"
    )
}

fn pod(name: &str, address: &str, machine: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec: {{nodeName: {machine}, containers: [{{name: c}}]}}\nstatus: {{podIP: {address}}}\n---\n"
    )
}

#[tokio::test]
async fn a_service_becomes_local_and_an_endpoint_moves() {
    let pods = |machine: &str| format!("{}{}", pod("a", "10.0.0.1", "n1"), pod("b", "10.0.0.2", machine));
    let served = Served::start(&format!("{}{}", web("Cluster"), pods("n2"))).await;
    let mut here = Follower::start(&served, "n1", type_url::ENDPOINT, EDS).await;
    let mut there = Follower::start(&served, "n2", type_url::ENDPOINT, EDS).await;
    here.until("10.0.0.2", "nothing").await;
    there.until("10.0.0.1", "nothing").await;
    served.set(&format!("{}{}", web("Local"), pods("n2"))).await;
    here.until("10.0.0.1", "10.0.0.2").await;
    there.until("10.0.0.2", "10.0.0.1").await;
    served.set(&format!("{}{}", web("Local"), pods("n1"))).await;
    here.until("10.0.0.2", "nothing").await;
    served.set(&format!("{}{}", web("Cluster"), pods("n1"))).await;
    there.until("10.0.0.1", "nothing").await;
}

#[tokio::test]
async fn a_node_gets_another_zone() {
    let machine = |zone: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{topology.kubernetes.io/zone: {zone}}}}}\n---\n"
        )
    };
    let rest = format!("{}{}", web("Cluster"), pod("a", "10.0.0.1", "n1"));
    let served = Served::start(&format!("{}{rest}", machine("east"))).await;
    let mut follower = Follower::start(&served, "", type_url::ENDPOINT, EDS).await;
    follower.until("east", "west").await;
    served.set(&format!("{}{rest}", machine("west"))).await;
    follower.until("west", "east").await;
    served.set(&rest).await;
    follower.until("10.0.0.1", "west").await;
}

#[tokio::test]
async fn an_alias_comes_moves_and_goes() {
    let other = web("Cluster").replace("name: web", "name: other");
    let rest = format!("{}{other}", web("Cluster"));
    let alias = |name: &str, to: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: ExternalName, externalName: {to}.default.svc.cluster.local}}\n---\n"
        )
    };
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other}\nspec: {hosts: [other], http: [{route: [{destination: {host: alias}}]}]}\n---\n";
    let served = Served::start(&format!("{rest}{rule}")).await;
    let mut follower = Follower::start(&served, "", type_url::ROUTE, "80").await;
    follower.until("web.default.svc.cluster.local:80", "alias.default.svc.cluster.local.").await;
    served.set(&format!("{rest}{rule}{}", alias("alias", "web"))).await;
    follower.until("alias.default.svc.cluster.local.", "||alias").await;
    // One hop more, which only the first hop knows.
    served.set(&format!("{rest}{rule}{}{}", alias("alias", "second"), alias("second", "web"))).await;
    follower.until("second.default.svc.cluster.local.", "||second").await;
    served.set(&format!("{rest}{rule}{}{}", alias("alias", "second"), alias("second", "third"))).await;
    follower.until("outbound|80||third", "alias.default.svc.cluster.local.").await;
    served.set(&format!("{rest}{rule}")).await;
    follower.until("outbound|80||alias", "third").await;
}
