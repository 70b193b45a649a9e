//! The protocol by hand: what is sent anew, and what is not.

use std::collections::HashMap;

use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use meltemi_xds::type_url;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::pilot::{PATIENCE, Served};

const SERVICES: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {clusterIP: 10.1.0.1, selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {clusterIP: 10.1.0.2, selector: {app: b}, ports: [{name: tcp, port: 81}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a-1, labels: {app: a}}
status: {podIP: 10.0.0.2}
"#;

/// The first response of a type on a stream of its own, to a client that holds these versions.
async fn first(
    served: &Served,
    url: &str,
    names: &[&str],
    held: HashMap<String, String>,
) -> DeltaDiscoveryResponse {
    let mut client =
        AggregatedDiscoveryServiceClient::connect(format!("http://{}", served.address)).await.unwrap();
    let (requests, receiver) = mpsc::channel(1);
    let node = Node {
        id: "sidecar~10.0.0.1~client.default~default.svc.cluster.local".to_owned(),
        ..Node::default()
    };
    let request = DeltaDiscoveryRequest {
        node: Some(node),
        type_url: url.to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        initial_resource_versions: held,
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(request).await.unwrap();
    let responses = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap();
    let mut responses = responses.into_inner();
    tokio::time::timeout(PATIENCE, responses.message()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn who_comes_again_is_sent_only_what_has_changed() {
    let served = Served::start(SERVICES).await;
    for (url, names) in [
        (type_url::CLUSTER, &[][..]),
        (type_url::LISTENER, &[]),
        (type_url::ROUTE, &["80"]),
        (type_url::ENDPOINT, &["outbound|80||a.default.svc.cluster.local"]),
    ] {
        let response = first(&served, url, names, HashMap::new()).await;
        assert!(!response.resources.is_empty(), "{url}");
        let held = response.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect();
        let again = first(&served, url, names, held).await;
        assert!(again.resources.is_empty() && again.removed_resources.is_empty(), "{url}: {again:?}");
    }
}

#[tokio::test]
async fn another_pilot_has_the_same_versions() {
    let (one, two) = (Served::start(SERVICES).await, Served::start(SERVICES).await);
    let response = first(&one, type_url::CLUSTER, &[], HashMap::new()).await;
    let held = response.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect();
    let again = first(&two, type_url::CLUSTER, &[], held).await;
    assert!(again.resources.is_empty(), "a restart of pilot is no news: {again:?}");
}

#[tokio::test]
async fn what_is_gone_is_told() {
    let served = Served::start(SERVICES).await;
    let response = first(&served, type_url::CLUSTER, &[], HashMap::new()).await;
    let held = response.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect();
    served.set(SERVICES.split("---").next().unwrap()).await;
    let again = first(&served, type_url::CLUSTER, &[], held).await;
    assert_eq!(again.removed_resources, ["outbound|81||b.default.svc.cluster.local"]);
    assert!(again.resources.is_empty(), "{again:?}");
}

#[tokio::test]
async fn an_id_that_is_not_istios_is_refused() {
    let served = Served::start("").await;
    let mut client =
        AggregatedDiscoveryServiceClient::connect(format!("http://{}", served.address)).await.unwrap();
    let request = DeltaDiscoveryRequest {
        node: Some(Node { id: "nobody".to_owned(), ..Node::default() }),
        type_url: type_url::CLUSTER.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let responses = client.delta_aggregated_resources(tokio_stream::iter([request])).await.unwrap();
    let status = responses.into_inner().message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("nobody"), "{status}");
}

#[tokio::test]
async fn an_access_log_reaches_proxies_that_are_connected() {
    let served = Served::start(SERVICES).await;
    let mut client =
        AggregatedDiscoveryServiceClient::connect(format!("http://{}", served.address)).await.unwrap();
    let (requests, receiver) = mpsc::channel(2);
    let node =
        Node { id: "sidecar~10.0.0.2~a-1.default~default.svc.cluster.local".to_owned(), ..Node::default() };
    let request = |nonce: &str, node: Option<Node>| DeltaDiscoveryRequest {
        node,
        type_url: type_url::LISTENER.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(request("", Some(node))).await.unwrap();
    let responses = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap();
    let mut responses = responses.into_inner();
    let mut next =
        async || tokio::time::timeout(PATIENCE, responses.message()).await.unwrap().unwrap().unwrap();
    let first = next().await;
    requests.send(request(&first.nonce, None)).await.unwrap();
    // What holds for all proxies and what is this one's own, towards its workload, are both sent again.
    let telemetry = "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: t}\n\
        spec: {selector: {matchLabels: {app: a}}, accessLogging: [{providers: [{name: envoy}]}]}\n";
    served.set(&format!("{SERVICES}{telemetry}")).await;
    let mut missing = vec!["virtualInbound", "virtualOutbound"];
    while !missing.is_empty() {
        let response = next().await;
        requests.send(request(&response.nonce, None)).await.unwrap();
        for resource in &response.resources {
            let text = String::from_utf8_lossy(&resource.resource.as_ref().unwrap().value).into_owned();
            assert!(text.contains("/dev/stdout"), "{} has no log", resource.name);
            missing.retain(|name| *name != resource.name);
        }
    }
}
