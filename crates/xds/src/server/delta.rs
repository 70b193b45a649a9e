//! Delta: the client has some resources in some versions; only the difference travels. Driven by [`super::stream`].
//!
//! Invariant: `sent` is what the client holds if it takes all that is under way; a name it asked for that does not exist is
//! there with an empty version, so that it is told once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Client, Event, Interest, Protocol, Resource};
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3 as discovery;
use crate::type_url;

/// One delta stream.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// By push order, then URL.
    types: BTreeMap<(usize, String), Type>,
    nonces: u64,
}

#[derive(Debug, Default)]
struct Type {
    interest: Interest,
    sent: HashMap<String, Arc<str>>,
    /// Nonce of the response under way.
    pending: Option<String>,
    dirty: bool,
    /// A first response is owed even if it is empty.
    owed: bool,
}

impl Protocol for Session {
    type Request = discovery::DeltaDiscoveryRequest;
    type Response = discovery::DeltaDiscoveryResponse;
    const DELTA: bool = true;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn request(&mut self, request: Self::Request, client: &mut dyn Client) {
        let key = (type_url::rank(&request.type_url), request.type_url.clone());
        let first = !self.types.contains_key(&key);
        let state = self.types.entry(key).or_default();
        if !request.response_nonce.is_empty() && state.pending.as_deref() == Some(&request.response_nonce) {
            state.pending = None;
            let (type_url, nonce) = (request.type_url.as_str(), request.response_nonce.as_str());
            client.event(match &request.error_detail {
                Some(error) => Event::Rejected { type_url, nonce, message: &error.message },
                None => Event::Acknowledged { type_url, nonce },
            });
        }
        if first {
            state.begin(&request);
        }
        state.subscribe(request.resource_names_subscribe);
        state.unsubscribe(request.resource_names_unsubscribe);
    }

    fn changed(&mut self) {
        for state in self.types.values_mut() {
            state.dirty = true;
        }
    }

    fn response(&mut self, client: &mut dyn Client) -> Option<Self::Response> {
        loop {
            let (key, state) =
                self.types.iter_mut().find(|(_, state)| state.dirty && state.pending.is_none())?;
            let url = key.1.clone();
            state.dirty = false;
            let Some(mut response) = state.difference(client.resources(&url, &state.interest)) else {
                continue;
            };
            self.nonces += 1;
            response.nonce = self.nonces.to_string();
            response.type_url.clone_from(&url);
            state.pending = Some(response.nonce.clone());
            let resources = state.sent.values().filter(|version| !version.is_empty()).count();
            client.event(Event::Sent { type_url: &url, nonce: &response.nonce, resources });
            if url == type_url::CLUSTER {
                self.warm(&response);
            }
            return Some(response);
        }
    }
}

impl Session {
    /// The warming rule: a cluster that has changed waits, at the client, for its endpoints to be sent again.
    fn warm(&mut self, clusters: &discovery::DeltaDiscoveryResponse) {
        let key = (type_url::rank(type_url::ENDPOINT), type_url::ENDPOINT.to_owned());
        let Some(endpoints) = self.types.get_mut(&key) else { return };
        for cluster in &clusters.resources {
            endpoints.dirty |= endpoints.sent.remove(&cluster.name).is_some();
        }
    }
}

impl Type {
    /// The first request of a type: an empty list of names asks for everything; what the client holds from an earlier
    /// stream need not be sent again.
    fn begin(&mut self, request: &discovery::DeltaDiscoveryRequest) {
        self.interest.wildcard = request.resource_names_subscribe.is_empty();
        self.dirty = true;
        self.owed = true;
        let held = request.initial_resource_versions.iter();
        self.sent = held.map(|(name, version)| (name.clone(), version.as_str().into())).collect();
    }

    /// A name that is asked for again is sent again.
    fn subscribe(&mut self, names: Vec<String>) {
        for name in names {
            self.dirty = true;
            if name == "*" {
                self.interest.wildcard = true;
                continue;
            }
            // Versions that came with the first request are held still; a later subscription wants an answer.
            if !self.owed {
                self.sent.remove(&name);
            }
            self.interest.names.insert(name);
        }
    }

    fn unsubscribe(&mut self, names: Vec<String>) {
        for name in names {
            if name == "*" {
                self.interest.wildcard = false;
            }
            self.interest.names.remove(&name);
            if !self.interest.wildcard {
                self.sent.remove(&name);
            }
        }
    }

    fn difference(&mut self, resources: Vec<Resource>) -> Option<discovery::DeltaDiscoveryResponse> {
        let mut response = discovery::DeltaDiscoveryResponse::default();
        let mut present = BTreeSet::new();
        for resource in resources {
            present.insert(resource.name.to_string());
            if self.sent.get(&*resource.name) != Some(&resource.version) {
                self.sent.insert(resource.name.to_string(), resource.version.clone());
                response.resources.push(packed(&resource));
            }
        }
        let asked = self.interest.names.iter().cloned();
        let known: BTreeSet<String> = self.sent.keys().cloned().chain(asked).collect();
        for name in known.into_iter().filter(|name| !present.contains(name)) {
            self.forget(name, &mut response.removed_resources);
        }
        let empty = response.resources.is_empty() && response.removed_resources.is_empty();
        let owed = std::mem::take(&mut self.owed);
        (!empty || owed).then_some(response)
    }

    fn forget(&mut self, name: String, removed: &mut Vec<String>) {
        let told = self.sent.get(&name).is_some_and(|version| version.is_empty());
        if self.interest.names.contains(&name) {
            self.sent.insert(name.clone(), "".into());
        } else {
            self.sent.remove(&name);
        }
        if !told {
            removed.push(name);
        }
    }
}

fn packed(resource: &Resource) -> discovery::Resource {
    discovery::Resource {
        name: resource.name.to_string(),
        version: resource.version.to_string(),
        resource: Some((*resource.body).clone()),
        ..discovery::Resource::default()
    }
}

#[cfg(test)]
mod tests;
