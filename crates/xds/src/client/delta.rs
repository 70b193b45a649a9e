//! Delta at the client: what is held, in which version, and what is asked for on this stream.
//!
//! Invariant: `held` is what the handler took; a rejected resource leaves what was held before.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds>

use std::collections::{BTreeMap, HashMap};

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::stream::{Ads, Protocol, Taken, error_detail};
use super::subscriber::Interest;
use super::{Rejection, Resource, Update};
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

#[derive(Debug, Default)]
pub(super) struct Delta {
    types: BTreeMap<String, Type>,
    /// Nonce of the response that waits for its answer.
    nonce: String,
}

#[derive(Debug, Default)]
struct Type {
    /// What this stream was asked for; `None` before the first request.
    asked: Option<Interest>,
    held: HashMap<String, String>,
}

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn begin(&mut self) {
        self.types.values_mut().for_each(|state| state.asked = None);
    }

    fn subscribe(&mut self, type_url: &str, wanted: &Interest) -> Option<DeltaDiscoveryRequest> {
        let state = match self.types.get_mut(type_url) {
            Some(state) => state,
            None => self.types.entry(type_url.to_owned()).or_default(),
        };
        let request = match &state.asked {
            None if wanted.is_empty() => return None,
            None => state.first(wanted),
            Some(asked) if asked == wanted => return None,
            Some(asked) => difference(asked, wanted),
        };
        if !wanted.wildcard {
            state.held.retain(|name, _| wanted.names.contains(name));
        }
        state.asked = Some(wanted.clone());
        Some(DeltaDiscoveryRequest { type_url: type_url.to_owned(), ..request })
    }

    fn update(&mut self, response: DeltaDiscoveryResponse) -> Update {
        self.nonce = response.nonce;
        let named = |resource: crate::pb::envoy::service::discovery::v3::Resource| Resource {
            name: resource.name,
            version: resource.version,
            body: resource.resource.unwrap_or_default(),
        };
        Update {
            type_url: response.type_url,
            version: response.system_version_info,
            resources: response.resources.into_iter().map(named).collect(),
            removed: response.removed_resources,
        }
    }

    fn answer(&mut self, taken: Taken, rejections: &[Rejection]) -> DeltaDiscoveryRequest {
        let state = self.types.entry(taken.type_url.clone()).or_default();
        for (name, version) in taken.resources {
            if !rejections.iter().any(|rejection| rejection.name == name) {
                state.held.insert(name, version);
            }
        }
        for name in taken.removed {
            state.held.remove(&name);
        }
        DeltaDiscoveryRequest {
            type_url: taken.type_url,
            response_nonce: std::mem::take(&mut self.nonce),
            error_detail: error_detail(rejections),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn introduce(request: &mut DeltaDiscoveryRequest, node: &Node) {
        request.node = Some(node.clone());
    }

    async fn open(
        mut ads: Ads,
        requests: ReceiverStream<DeltaDiscoveryRequest>,
    ) -> Result<Streaming<DeltaDiscoveryResponse>, Status> {
        Ok(ads.delta_aggregated_resources(requests).await?.into_inner())
    }
}

impl Type {
    /// The first request of a stream says what is held, so that only what changed is sent. The wildcard alone is the empty
    /// list, which every server knows.
    fn first(&self, wanted: &Interest) -> DeltaDiscoveryRequest {
        let mut names: Vec<_> = wanted.names.iter().cloned().collect();
        if wanted.wildcard && !names.is_empty() {
            names.push("*".to_owned());
        }
        DeltaDiscoveryRequest {
            resource_names_subscribe: names,
            initial_resource_versions: self.held.clone(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

fn difference(asked: &Interest, wanted: &Interest) -> DeltaDiscoveryRequest {
    let mut subscribe: Vec<_> = wanted.names.difference(&asked.names).cloned().collect();
    let mut unsubscribe: Vec<_> = asked.names.difference(&wanted.names).cloned().collect();
    match (asked.wildcard, wanted.wildcard) {
        (false, true) => subscribe.push("*".to_owned()),
        (true, false) => unsubscribe.push("*".to_owned()),
        _ => {}
    }
    DeltaDiscoveryRequest {
        resource_names_subscribe: subscribe,
        resource_names_unsubscribe: unsubscribe,
        ..DeltaDiscoveryRequest::default()
    }
}
