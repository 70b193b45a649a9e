//! State of the world at the client: names asked for, version and nonce of the last response of each type.
//!
//! Invariant: the version sent is that of the last response taken without a rejection, the nonce that of the last response.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::stream::{Protocol, Taken, error_detail};
use super::subscriber::Interest;
use super::{MAX_RESPONSE, Rejection, Resource, Update};
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3::{
    self as discovery, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use crate::pb::google::protobuf::Any;
use crate::type_url;

#[derive(Debug, Default)]
pub(super) struct StateOfTheWorld {
    types: BTreeMap<String, Type>,
}

#[derive(Debug, Default)]
struct Type {
    /// What this stream was asked for; `None` before the first request.
    asked: Option<Interest>,
    /// Names held; kept for types that are sent as full sets.
    held: BTreeSet<Arc<str>>,
    version: String,
    nonce: String,
}

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn begin(&mut self) {
        for state in self.types.values_mut() {
            state.asked = None;
            state.nonce.clear();
        }
    }

    fn subscribe(&mut self, type_url: &str, wanted: &Interest) -> Option<DiscoveryRequest> {
        let state = match self.types.get_mut(type_url) {
            Some(state) => state,
            None => self.types.entry(type_url.to_owned()).or_default(),
        };
        match &state.asked {
            None if wanted.is_empty() => return None,
            Some(asked) if asked == wanted => return None,
            _ => state.asked = Some(wanted.clone()),
        }
        Some(state.request(type_url))
    }

    fn update(&mut self, response: DiscoveryResponse) -> Update {
        let state = self.types.entry(response.type_url.clone()).or_default();
        state.nonce = response.nonce;
        let (version, shared) = (response.version_info.clone(), Arc::from(response.version_info));
        let resources: Vec<_> = response.resources.into_iter().map(|body| named(body, &shared)).collect();
        let mut removed = Vec::new();
        if is_full_set(&response.type_url) {
            let present: BTreeSet<_> = resources.iter().map(|resource| &*resource.name).collect();
            removed.extend(
                state.held.iter().filter(|name| !present.contains(&***name)).map(|name| name.to_string()),
            );
        }
        Update { type_url: response.type_url, version, resources, removed }
    }

    fn answer(&mut self, taken: Taken, rejections: &[Rejection]) -> DiscoveryRequest {
        let state = self.types.entry(taken.type_url.clone()).or_default();
        if is_full_set(&taken.type_url) {
            // A rejected resource may live on in its older form, so its name stays known until it is gone.
            state.held = taken.resources.into_iter().map(|(name, _)| name).collect();
        }
        if rejections.is_empty() {
            state.version = taken.version;
        }
        DiscoveryRequest { error_detail: error_detail(rejections), ..state.request(&taken.type_url) }
    }

    fn introduce(request: &mut DiscoveryRequest, node: &Node) {
        request.node = Some(node.clone());
    }

    async fn open(
        channel: Channel,
        requests: ReceiverStream<DiscoveryRequest>,
    ) -> Result<Streaming<DiscoveryResponse>, Status> {
        let mut ads = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
        Ok(ads.stream_aggregated_resources(requests).await?.into_inner())
    }
}

impl Type {
    fn request(&self, type_url: &str) -> DiscoveryRequest {
        let interest = self.asked.clone().unwrap_or_default();
        let mut names: Vec<_> = interest.names.iter().map(|name| name.to_string()).collect();
        if interest.wildcard && !names.is_empty() {
            names.push("*".to_owned());
        }
        DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names: names,
            type_url: type_url.to_owned(),
            response_nonce: self.nonce.clone(),
            ..DiscoveryRequest::default()
        }
    }
}

/// True of the types whose response is the whole set, so that absence means removal.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses>
fn is_full_set(type_url: &str) -> bool {
    type_url == type_url::LISTENER || type_url == type_url::CLUSTER
}

/// Every discovered type has its name in field 1; a server may also wrap a resource with its name.
fn named(body: Any, version: &Arc<str>) -> Resource {
    #[derive(Clone, PartialEq, Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    if let Ok(wrapped) = crate::unpack::<discovery::Resource>(&body) {
        return resource(&wrapped.name, version, wrapped.resource.unwrap_or_default());
    }
    // A message that does not decode has no name; the handler rejects it when it decodes it in full.
    let name = Named::decode(body.value.as_slice()).map(|named| named.name).unwrap_or_default();
    resource(&name, version, body)
}

fn resource(name: &str, version: &Arc<str>, body: Any) -> Resource {
    Resource {
        name: name.into(),
        version: version.clone(),
        type_url: body.type_url,
        value: body.value.into(),
    }
}
