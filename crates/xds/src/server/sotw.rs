//! State of the world: of listeners and clusters each response is the whole set, of routes and endpoints what changed of the names
//! asked for. Driven by [`super::stream`].
//!
//! Invariant: a request that carries another nonce than the last one is old news and changes nothing.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses>

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Status;

use super::subscription::{Subscription, Taken};
use super::{Client, Encoded, Event, Protocol, resource};
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3 as discovery;
use crate::type_url;

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// By push order, then URL.
    types: BTreeMap<(usize, String), Type>,
    nonces: u64,
}

#[derive(Debug, Default)]
struct Type {
    subscription: Subscription,
    /// Nonce of the last response.
    nonce: String,
    /// Whether names were ever given: then none mean nothing, not everything.
    named: bool,
}

impl Protocol for Session {
    type Request = discovery::DiscoveryRequest;
    const DELTA: bool = false;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn request(&mut self, request: Self::Request, client: &mut dyn Client) {
        let url = request.type_url.as_str();
        let state = self.types.entry((type_url::rank(url), url.to_owned())).or_default();
        let first = state.nonce.is_empty();
        if !first && request.response_nonce != state.nonce {
            return;
        }
        if state.subscription.pending.take().is_some() {
            let (type_url, nonce) = (url, request.response_nonce.as_str());
            client.event(match &request.error_detail {
                Some(error) => Event::Rejected { type_url, nonce, message: &error.message },
                None => Event::Acknowledged { type_url, nonce },
            });
        }
        state.ask(&request.resource_names, client, url);
        state.subscription.due |= first;
    }

    fn response(&mut self, client: &mut dyn Client) -> Result<Option<Encoded>, Status> {
        for key in self.types.keys().cloned().collect::<Vec<_>>() {
            let Some(state) = self.types.get_mut(&key) else { continue };
            let subscription = &mut state.subscription;
            if subscription.pending.is_some() || !subscription.is_dirty(client, &key.1) {
                continue;
            }
            let due = subscription.due;
            let mut taken = subscription.take()?;
            if !due && taken.iter().all(|layer| layer.selection.is_empty()) {
                continue;
            }
            if key.1 == type_url::CLUSTER {
                self.warm(&taken);
            }
            let Some(state) = self.types.get_mut(&key) else { continue };
            if is_full_set(&key.1) {
                taken = state.subscription.take_all();
            } else if !due && taken.iter().all(|layer| layer.selection.resources.is_empty()) {
                // There is no way to say that a route or an assignment is gone.
                continue;
            }
            return Ok(Some(self.send(&key, &taken, client)));
        }
        Ok(None)
    }
}

impl Session {
    /// The warming rule: clusters that have changed wait, at the client, for their endpoints to be sent again.
    fn warm(&mut self, clusters: &[Taken]) {
        let key = (type_url::rank(type_url::ENDPOINT), type_url::ENDPOINT.to_owned());
        let Some(endpoints) = self.types.get_mut(&key) else { return };
        for cluster in clusters.iter().flat_map(|layer| &layer.selection.resources) {
            endpoints.subscription.owe(cluster.name());
        }
    }

    fn send(&mut self, key: &(usize, String), taken: &[Taken], client: &mut dyn Client) -> Encoded {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let resources: Vec<_> =
            taken.iter().map(|layer| layer.collection.payload(&layer.selection, false)).collect();
        let head = resource::frame(&nonce, &key.1, &nonce, &resources);
        if let Some(state) = self.types.get_mut(key) {
            state.subscription.pending = Some(self.nonces);
            let resources = state.subscription.count();
            client.event(Event::Sent { type_url: &key.1, nonce: &nonce, resources });
            state.nonce = nonce;
        }
        Encoded { head, resources }
    }
}

impl Type {
    /// Takes the names of a request. None ask for everything as long as there never were any.
    fn ask(&mut self, names: &[String], client: &mut dyn Client, type_url: &str) {
        let subscription = &mut self.subscription;
        let wildcard = names.iter().any(|name| name == "*") || names.is_empty() && !self.named;
        match wildcard {
            true => subscription.want_all(),
            false => subscription.interest.wildcard = false,
        }
        if names.is_empty() && subscription.interest.names.is_empty() {
            return;
        }
        self.named |= !names.is_empty();
        let known = &subscription.interest.names;
        if !wildcard && names.len() == known.len() && names.iter().all(|name| known.contains(name.as_str())) {
            return;
        }
        let listed: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let dropped: Vec<Arc<str>> =
            subscription.interest.names.iter().filter(|name| !listed.contains(&***name)).cloned().collect();
        dropped.iter().for_each(|name| subscription.drop_name(name));
        let fresh = |name: &&String| *name != "*" && !subscription.interest.names.contains(name.as_str());
        let fresh: Vec<String> = names.iter().filter(fresh).cloned().collect();
        if fresh.is_empty() {
            return;
        }
        client.asked(type_url, &fresh);
        fresh.iter().for_each(|name| subscription.want(name, client, type_url));
    }
}

/// True of the types whose response is the whole set, so that absence means removal.
fn is_full_set(type_url: &str) -> bool {
    type_url == type_url::LISTENER || type_url == type_url::CLUSTER
}

#[cfg(test)]
mod tests;
