//! Delta: the client has some resources in some versions; only the difference travels. Driven by [`super::stream`].
//!
//! Invariant: make before break: the removal of a cluster waits until all other types are answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tonic::Status;

use super::subscription::{Subscription, Taken};
use super::{Client, Encoded, Event, Protocol, resource};
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
    subscription: Subscription,
    /// What the client held when it came, until its first response.
    held: Option<HashMap<String, String>>,
    /// Removals that wait for other types.
    late: BTreeSet<Arc<str>>,
}

impl Protocol for Session {
    type Request = discovery::DeltaDiscoveryRequest;
    const DELTA: bool = true;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn request(&mut self, request: Self::Request, client: &mut dyn Client) {
        let url = request.type_url.as_str();
        let key = (type_url::rank(url), url.to_owned());
        let first = !self.types.contains_key(&key);
        let state = self.types.entry(key).or_default();
        let subscription = &mut state.subscription;
        if subscription.pending.is_some_and(|nonce| nonce.to_string() == request.response_nonce) {
            subscription.pending = None;
            let (type_url, nonce) = (url, request.response_nonce.as_str());
            client.event(match &request.error_detail {
                Some(error) => Event::Rejected { type_url, nonce, message: &error.message },
                None => Event::Acknowledged { type_url, nonce },
            });
        }
        if !request.resource_names_subscribe.is_empty() {
            client.asked(url, &request.resource_names_subscribe);
        }
        if first {
            // An empty list of names asks for everything.
            subscription.due = true;
            if request.resource_names_subscribe.is_empty() {
                subscription.want_all();
            }
            state.held = Some(request.initial_resource_versions);
        }
        for name in &request.resource_names_subscribe {
            match name.as_str() {
                "*" => subscription.want_all(),
                name => subscription.want(name, client, url),
            }
        }
        for name in &request.resource_names_unsubscribe {
            match name.as_str() {
                "*" => subscription.interest.wildcard = false,
                name => {
                    subscription.drop_name(name);
                    if !subscription.interest.wants(name)
                        && let Some(held) = &mut state.held
                    {
                        held.remove(name);
                    }
                }
            }
        }
    }

    fn response(&mut self, client: &mut dyn Client) -> Result<Option<Encoded>, Status> {
        let mut settled = true;
        for key in self.types.keys().cloned().collect::<Vec<_>>() {
            let Some(state) = self.types.get_mut(&key) else { continue };
            if state.subscription.pending.is_some() {
                settled = false;
            } else if state.subscription.is_dirty(client, &key.1) {
                let response = self.difference(&key, client)?;
                if response.is_some() {
                    return Ok(response);
                }
            }
        }
        if settled { Ok(self.late(client)) } else { Ok(None) }
    }
}

impl Session {
    /// The difference of a type; `None` if there is none to speak of.
    #[allow(clippy::result_large_err, reason = "tonic's own type, once per stream")]
    fn difference(
        &mut self,
        key: &(usize, String),
        client: &mut dyn Client,
    ) -> Result<Option<Encoded>, Status> {
        let Some(state) = self.types.get_mut(key) else { return Ok(None) };
        let due = state.subscription.due;
        let mut taken = state.subscription.take()?;
        if let Some(held) = state.held.take() {
            leave_out(&mut taken, &held, &state.subscription);
        }
        if key.1 == type_url::CLUSTER {
            let alone = !self.is_busy_beyond(key, client);
            let Some(state) = self.types.get_mut(key) else { return Ok(None) };
            for layer in taken.iter_mut().filter(|_| !alone) {
                layer.selection.resources.iter().for_each(|resource| {
                    state.late.remove(resource.name());
                });
                state.late.extend(std::mem::take(&mut layer.selection.removed));
            }
            self.warm(&taken);
        }
        if !due && taken.iter().all(|layer| layer.selection.is_empty()) {
            return Ok(None);
        }
        Ok(Some(self.send(key, &taken, client)))
    }

    /// Whether anything of other types is under way or to be sent.
    fn is_busy_beyond(&mut self, key: &(usize, String), client: &mut dyn Client) -> bool {
        let others = self.types.iter_mut().filter(|(other, _)| *other != key);
        others.into_iter().any(|((_, url), state)| {
            state.subscription.pending.is_some() || state.subscription.is_dirty(client, url)
        })
    }

    /// The warming rule: a cluster that has changed waits, at the client, for its endpoints to be sent again.
    fn warm(&mut self, clusters: &[Taken]) {
        let key = (type_url::rank(type_url::ENDPOINT), type_url::ENDPOINT.to_owned());
        let Some(endpoints) = self.types.get_mut(&key) else { return };
        for cluster in clusters.iter().flat_map(|layer| &layer.selection.resources) {
            if endpoints.subscription.has(cluster.name()) {
                endpoints.subscription.owe(cluster.name());
            }
        }
    }

    /// Removals that waited until everything else was answered.
    fn late(&mut self, client: &mut dyn Client) -> Option<Encoded> {
        let (key, state) = self.types.iter_mut().find(|(_, state)| !state.late.is_empty())?;
        let key = key.clone();
        let late = std::mem::take(&mut state.late);
        // What has come again meanwhile was sent.
        let gone: Vec<_> = late.into_iter().filter(|name| !state.subscription.has(name)).collect();
        let mut taken = Taken { collection: Arc::default(), selection: Default::default() };
        taken.selection.removed = gone;
        (!taken.selection.is_empty()).then(|| self.send(&key, &[taken], client))
    }

    fn send(&mut self, key: &(usize, String), taken: &[Taken], client: &mut dyn Client) -> Encoded {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let resources: Vec<_> =
            taken.iter().map(|layer| layer.collection.payload(&layer.selection, true)).collect();
        if let Some(state) = self.types.get_mut(key) {
            state.subscription.pending = Some(self.nonces);
            let resources = state.subscription.count();
            client.event(Event::Sent { type_url: &key.1, nonce: &nonce, resources });
        }
        Encoded { head: resource::frame("", &key.1, &nonce, &resources), resources }
    }
}

/// What the client holds from an earlier stream need not be sent again; what is gone since is told.
fn leave_out(taken: &mut [Taken], held: &HashMap<String, String>, subscription: &Subscription) {
    for layer in taken.iter_mut() {
        layer.selection.resources.retain(|resource| {
            let version = held.get(&**resource.name());
            version.is_none_or(|version| u64::from_str_radix(version, 16) != Ok(resource.version()))
        });
    }
    let mut gone: Vec<Arc<str>> =
        held.keys().filter(|name| !subscription.has(name)).map(|name| name.as_str().into()).collect();
    gone.sort();
    if let Some(last) = taken.last_mut() {
        gone.retain(|name| !last.selection.removed.contains(name));
        last.selection.removed.extend(gone);
    }
}

#[cfg(test)]
pub(super) mod tests;
