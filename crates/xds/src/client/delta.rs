//! Delta at the client: what is held, in which version, and what is asked for on this stream.
//!
//! Invariant: `held` is what the handler took; a rejected resource leaves what was held before.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds>

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::stream::{Protocol, Taken, error_detail};
use super::subscriber::Interest;
use super::{Rejection, Resource, Update, wire};
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

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
    held: HashMap<Arc<str>, Arc<str>>,
}

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = wire::Response;

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

    fn update(&mut self, response: wire::Response) -> Update {
        self.nonce = response.nonce;
        let state = self.types.get(&response.type_url);
        // A slice keeps its whole response. Of what comes first nearly all stays, so sharing saves a copy of everything;
        // sharing later ones too would let every response be kept by one straggler.
        let first = state.is_none_or(|state| state.held.is_empty());
        let known = |name: &str| state.and_then(|state| state.asked.as_ref()?.names.get(name).cloned());
        let named = |resource: wire::Resource| {
            let body = resource.resource.unwrap_or_default();
            Resource {
                name: known(&resource.name).unwrap_or_else(|| resource.name.into()),
                version: resource.version.into(),
                type_url: body.type_url,
                value: if first { body.value } else { Bytes::copy_from_slice(&body.value) },
            }
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
            if !rejections.iter().any(|rejection| rejection.name == *name) {
                state.held.insert(name, version);
            }
        }
        for name in taken.removed {
            state.held.remove(&*name);
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
        channel: Channel,
        requests: ReceiverStream<DeltaDiscoveryRequest>,
    ) -> Result<Streaming<wire::Response>, Status> {
        wire::open(channel, requests).await
    }
}

impl Type {
    /// The first request of a stream says what is held, so that only what changed is sent. The wildcard alone is the empty
    /// list, which every server knows.
    fn first(&self, wanted: &Interest) -> DeltaDiscoveryRequest {
        let mut names: Vec<_> = wanted.names.iter().map(|name| name.to_string()).collect();
        if wanted.wildcard && !names.is_empty() {
            names.push("*".to_owned());
        }
        DeltaDiscoveryRequest {
            resource_names_subscribe: names,
            initial_resource_versions: self
                .held
                .iter()
                .map(|(name, version)| (name.to_string(), version.to_string()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

fn difference(asked: &Interest, wanted: &Interest) -> DeltaDiscoveryRequest {
    let mut subscribe: Vec<_> = wanted.names.difference(&asked.names).map(|name| name.to_string()).collect();
    let mut unsubscribe: Vec<_> =
        asked.names.difference(&wanted.names).map(|name| name.to_string()).collect();
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
