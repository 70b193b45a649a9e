//! State of the world: a response holds all resources of a type that the client asked for. Driven by [`super::stream`].
//!
//! Invariant: a request that carries the nonce of an older response changes nothing; the answer to the newest one is still to come.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Client, Event, Interest, Protocol, Resource};
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3 as discovery;
use crate::type_url;

/// One state-of-the-world stream.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// By push order, then URL.
    types: BTreeMap<(usize, String), Type>,
    nonces: u64,
}

#[derive(Debug, Default)]
struct Type {
    interest: Interest,
    sent: Vec<(Arc<str>, Arc<str>)>,
    /// Nonce of the last response.
    nonce: String,
    /// Whether its answer is still to come.
    pending: bool,
    dirty: bool,
    /// A response is owed even if nothing has changed.
    owed: bool,
}

impl Protocol for Session {
    type Request = discovery::DiscoveryRequest;
    type Response = discovery::DiscoveryResponse;
    const DELTA: bool = false;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn request(&mut self, request: Self::Request, client: &mut dyn Client) {
        let key = (type_url::rank(&request.type_url), request.type_url.clone());
        let state = self.types.entry(key).or_default();
        if state.nonce.is_empty() {
            state.ask(request.resource_names);
            state.owe();
            return;
        }
        if request.response_nonce != state.nonce {
            return;
        }
        if std::mem::take(&mut state.pending) {
            let (type_url, nonce) = (request.type_url.as_str(), request.response_nonce.as_str());
            client.event(match &request.error_detail {
                Some(error) => Event::Rejected { type_url, nonce, message: &error.message },
                None => Event::Acknowledged { type_url, nonce },
            });
        }
        if state.ask(request.resource_names) {
            state.owe();
        }
    }

    fn changed(&mut self) {
        for state in self.types.values_mut() {
            state.dirty = true;
        }
    }

    fn response(&mut self, client: &mut dyn Client) -> Option<Self::Response> {
        loop {
            let (key, state) = self.types.iter_mut().find(|(_, state)| state.dirty && !state.pending)?;
            let url = key.1.clone();
            state.dirty = false;
            let resources = client.resources(&url, &state.interest);
            let versions: Vec<_> = resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect();
            if versions == state.sent && !state.owed {
                continue;
            }
            state.sent = versions;
            state.owed = false;
            self.nonces += 1;
            state.nonce = self.nonces.to_string();
            state.pending = true;
            client.event(Event::Sent { type_url: &url, nonce: &state.nonce, resources: resources.len() });
            let response = response(&url, &state.nonce, &resources);
            if url == type_url::CLUSTER {
                self.warm();
            }
            return Some(response);
        }
    }
}

impl Session {
    /// The warming rule: clusters that have changed wait, at the client, for their endpoints to be sent again.
    fn warm(&mut self) {
        let key = (type_url::rank(type_url::ENDPOINT), type_url::ENDPOINT.to_owned());
        if let Some(endpoints) = self.types.get_mut(&key) {
            endpoints.owe();
        }
    }
}

impl Type {
    fn owe(&mut self) {
        self.dirty = true;
        self.owed = true;
    }

    /// Takes the names of a request; whether they are others than before. No names ask for everything.
    fn ask(&mut self, names: Vec<String>) -> bool {
        let wildcard = names.is_empty() || names.iter().any(|name| name == "*");
        let names = names.into_iter().filter(|name| name != "*").collect();
        let interest = Interest { wildcard, names };
        let changed = self.interest != interest;
        self.interest = interest;
        changed
    }
}

fn response(type_url: &str, nonce: &str, resources: &[Resource]) -> discovery::DiscoveryResponse {
    discovery::DiscoveryResponse {
        version_info: nonce.to_owned(),
        resources: resources.iter().map(|resource| (*resource.body).clone()).collect(),
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        ..discovery::DiscoveryResponse::default()
    }
}

#[cfg(test)]
mod tests;
