//! The mesh and who is connected: takes changes in, leads each to the groups and proxies that it can reach, and wakes them.
//!
//! One owner at a time (a lock in [`super::Inner`]): the task that follows the sources, and proxies as they come and go.
//! Invariant: a proxy is a member of the group of what it has in common with others, as the snapshot says now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use meltemi_config::mesh::MeshConfig;
use meltemi_config::{Host, Object, ResourceId, Str};
use meltemi_xds::server::Collection;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::client::{Own, Sources};
use super::group::{Group, Shared};
use super::proxyless::Proxyless;
use crate::node::{Node, Role};
use crate::registry::Resolution;
use crate::snapshot::change::Changes;
use crate::snapshot::{Change, Snapshot};
use crate::translate::cache::Cache;
use crate::view::{self, View};

/// What proxies of a group have in common, and whether they take virtual hosts one by one.
type Key = (Node, bool);

/// The mesh and who is connected.
#[derive(Debug)]
pub(super) struct World {
    pub(super) snapshot: Arc<Snapshot>,
    objects: BTreeMap<ResourceId, Object>,
    cache: Cache,
    groups: FxHashMap<Key, Group>,
    members: FxHashMap<u64, Member>,
    by_address: FxHashMap<Str, BTreeSet<u64>>,
    /// Proxies that ask for the endpoints of their own service, by its host.
    by_service: FxHashMap<Host, BTreeSet<u64>>,
}

/// A connected proxy.
#[derive(Debug)]
struct Member {
    node: Node,
    kind: Kind,
    sources: Arc<ArcSwap<Sources>>,
    wake: Arc<Notify>,
    /// The service by which it is found in `by_service`.
    service: Option<Host>,
}

#[derive(Debug)]
enum Kind {
    /// Of that group.
    Proxy(Box<Key>),
    /// With resources of its own, by the names it asked for.
    Proxyless(Proxyless),
}

impl World {
    pub(super) fn new(mesh: Arc<MeshConfig>) -> World {
        World {
            snapshot: Arc::new(Snapshot::build(0, &[], mesh)),
            objects: BTreeMap::new(),
            cache: Cache::default(),
            groups: FxHashMap::default(),
            members: FxHashMap::default(),
            by_address: FxHashMap::default(),
            by_service: FxHashMap::default(),
        }
    }

    /// Objects in force.
    pub(super) fn objects(&self) -> Vec<Object> {
        self.objects.values().cloned().collect()
    }

    /// An object as it was last applied.
    pub(super) fn object(&self, id: &ResourceId) -> Option<&Object> {
        self.objects.get(id)
    }

    /// A proxy comes.
    pub(super) fn join(
        &mut self,
        connection: u64,
        node: &Node,
        discovers_hosts: bool,
    ) -> (Arc<ArcSwap<Sources>>, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        let (kind, sources) = if node.is_proxyless() {
            let shared = Arc::new(Shared::default());
            let sources = Sources { shared: Arc::clone(&shared), own: Arc::default() };
            (Kind::Proxyless(Proxyless::new(shared)), sources)
        } else {
            let key = (in_common(&self.snapshot, node), discovers_hosts);
            let shared = self.enter(&key, connection, &wake);
            (Kind::Proxy(Box::new(key)), Sources { shared, own: self.own(node) })
        };
        let sources = Arc::new(ArcSwap::from_pointee(sources));
        for address in &node.addresses {
            self.by_address.entry(address.clone()).or_default().insert(connection);
        }
        let service = own_service(&View::new(&self.snapshot, node));
        self.serve_with(connection, None, service.as_ref());
        let (node, served, woken) = (node.clone(), Arc::clone(&sources), Arc::clone(&wake));
        self.members.insert(connection, Member { node, kind, sources: served, wake: woken, service });
        (sources, wake)
    }

    /// A proxy goes.
    pub(super) fn leave(&mut self, connection: u64) {
        let Some(member) = self.members.remove(&connection) else { return };
        for address in &member.node.addresses {
            if let Some(connections) = self.by_address.get_mut(address) {
                connections.remove(&connection);
                if connections.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
        self.serve_with(connection, member.service.as_ref(), None);
        if let Kind::Proxy(key) = &member.kind {
            self.exit(key, connection);
        }
    }

    /// A proxy's own service is another.
    fn serve_with(&mut self, connection: u64, before: Option<&Host>, now: Option<&Host>) {
        if before == now {
            return;
        }
        if let Some(host) = before
            && let Some(connections) = self.by_service.get_mut(host)
        {
            connections.remove(&connection);
            if connections.is_empty() {
                self.by_service.remove(host);
            }
        }
        if let Some(host) = now {
            self.by_service.entry(host.clone()).or_default().insert(connection);
        }
    }

    /// A client without a proxy asks for names.
    pub(super) fn asked(&mut self, connection: u64, type_url: &str, names: &[String]) {
        let Some(member) = self.members.get_mut(&connection) else { return };
        if let Kind::Proxyless(proxyless) = &mut member.kind {
            proxyless.ask(type_url, names);
            proxyless.update(&View::new(&self.snapshot, &member.node), &self.cache);
        }
    }

    /// Takes changed objects in; with other settings of the mesh everything is made anew.
    pub(super) fn apply(&mut self, changes: Vec<Change>, mesh: Option<Arc<MeshConfig>>) {
        for (id, object) in &changes {
            match object {
                Some(object) => self.objects.insert(id.clone(), object.clone()),
                None => self.objects.remove(id),
            };
        }
        let Some(mesh) = mesh else {
            // In place, unless a reader holds it just now.
            let changes = Arc::make_mut(&mut self.snapshot).update(&changes);
            return self.follow(&changes);
        };
        let version = self.snapshot.version + 1;
        self.snapshot = Arc::new(Snapshot::build(version, &self.objects(), mesh));
        for group in self.groups.values_mut() {
            group.update(&self.snapshot, None, &self.cache);
            group.members.values().for_each(|wake| wake.notify_one());
        }
        self.review(self.members.keys().copied().collect());
        self.review_proxyless();
    }

    fn follow(&mut self, changes: &Changes) {
        for group in self.groups.values_mut() {
            let known = (!changes.networks).then_some(changes);
            if group.update(&self.snapshot, known, &self.cache) {
                group.members.values().for_each(|wake| wake.notify_one());
            }
        }
        let reached = match changes.sidecars || changes.selectors || changes.telemetries || changes.networks {
            true => self.members.keys().copied().collect(),
            false => self.at(changes),
        };
        self.review(reached);
        self.review_proxyless();
    }

    /// Proxies whose own part a change can reach: at its addresses, or where a service with other rules has endpoints.
    fn at(&self, changes: &Changes) -> BTreeSet<u64> {
        let registry = &self.snapshot.registry;
        let below = |pattern: &Host| {
            let all = registry.services.iter();
            let services = all.filter(|(host, _)| host.subset_of(pattern)).flat_map(|(_, services)| services);
            services.collect::<Vec<_>>()
        };
        let services = changes.rules.iter().flat_map(|host| match host.is_wildcard() {
            true => below(host),
            false => registry.services.get(host).into_iter().flatten().collect(),
        });
        let ruled =
            services.flat_map(|service| registry.instances_of(service)).map(|instance| &instance.address);
        let addresses = changes.registry.addresses.iter().chain(ruled);
        let at = addresses.filter_map(|address| self.by_address.get(address));
        let changed = changes.registry.endpoints.iter().chain(&changes.registry.services);
        let peers = changed.filter_map(|host| self.by_service.get(host));
        at.chain(peers).flatten().copied().collect()
    }

    /// Looks again at what is of these proxies alone, and to which group they belong.
    fn review(&mut self, connections: BTreeSet<u64>) {
        for connection in connections {
            let Some(member) = self.members.get(&connection) else { continue };
            let Kind::Proxy(before) = &member.kind else { continue };
            let (node, before) = (member.node.clone(), Key::clone(before));
            let (sources, wake) = (Arc::clone(&member.sources), Arc::clone(&member.wake));
            let view = View::new(&self.snapshot, &node);
            let own = &sources.load().own;
            let mut differs = own.listeners.replace(self.own_listeners(&view));
            differs |= own.clusters.replace(self.own_clusters(&view));
            if let Some(endpoints) = &own.endpoints {
                differs |= endpoints.replace(vec![self.cache.assignment(&view.own_service())]);
            }
            let service = own_service(&view);
            if let Some(member) = self.members.get_mut(&connection) {
                let old = std::mem::replace(&mut member.service, service.clone());
                self.serve_with(connection, old.as_ref(), service.as_ref());
            }
            let key = (in_common(&self.snapshot, &node), before.1);
            if key != before {
                let shared = self.enter(&key, connection, &wake);
                sources.store(Arc::new(Sources { shared, own: Arc::clone(own) }));
                self.exit(&before, connection);
                if let Some(member) = self.members.get_mut(&connection) {
                    member.kind = Kind::Proxy(Box::new(key));
                }
                differs = true;
            }
            if differs {
                wake.notify_one();
            }
        }
    }

    fn review_proxyless(&mut self) {
        for member in self.members.values_mut() {
            if let Kind::Proxyless(proxyless) = &mut member.kind
                && proxyless.update(&View::new(&self.snapshot, &member.node), &self.cache)
            {
                member.wake.notify_one();
            }
        }
    }

    fn enter(&mut self, key: &Key, connection: u64, wake: &Arc<Notify>) -> Arc<Shared> {
        let make = || Group::new(key.0.clone(), key.1, &self.snapshot, &self.cache);
        let group = self.groups.entry(key.clone()).or_insert_with(make);
        group.members.insert(connection, Arc::clone(wake));
        Arc::clone(&group.shared)
    }

    fn exit(&mut self, key: &Key, connection: u64) {
        if let Some(group) = self.groups.get_mut(key) {
            group.members.remove(&connection);
            if group.members.is_empty() {
                self.groups.remove(key);
            }
        }
    }

    fn own(&self, node: &Node) -> Arc<Own> {
        let view = View::new(&self.snapshot, node);
        Arc::new(Own {
            listeners: Arc::new(Collection::of(self.own_listeners(&view))),
            clusters: Arc::new(Collection::of(self.own_clusters(&view))),
            endpoints: node
                .metadata
                .self_discovery
                .then(|| Arc::new(Collection::of(vec![self.cache.assignment(&view.own_service())]))),
        })
    }

    fn own_listeners(&self, view: &View<'_>) -> Vec<meltemi_xds::server::Resource> {
        view.own_listeners().iter().map(|listener| self.cache.listener(listener)).collect()
    }

    fn own_clusters(&self, view: &View<'_>) -> Vec<meltemi_xds::server::Resource> {
        view.own_clusters().iter().map(|cluster| self.cache.cluster(cluster)).collect()
    }
}

/// The service whose endpoints a proxy is told as those of its own, if it asks for them.
fn own_service(view: &View<'_>) -> Option<Host> {
    let own = view.own_ports.first().filter(|_| view.node.metadata.self_discovery);
    own.map(|own| own.service.host.clone())
}

/// What of a proxy may influence what it has in common with others: of its labels those that some resource asks for; of its
/// addresses those at which single endpoints are listened for, as a sidecar does not listen for itself; of a gateway all.
fn in_common(snapshot: &Snapshot, node: &Node) -> Node {
    let registry = &snapshot.registry;
    let headless = |address: &&Str| {
        let keys = registry.by_address.get(*address).into_iter().flatten();
        keys.filter_map(|key| registry.service(key))
            .any(|service| service.headless || service.resolution == Resolution::Passthrough)
    };
    let addresses = match node.role {
        Role::Router => node.addresses.clone(),
        Role::Sidecar => node.addresses.iter().filter(headless).cloned().collect(),
    };
    let labels = view::labels(snapshot, node);
    let mut common = Node { locality: view::locality_of(snapshot, node, &labels), ..node.clone() };
    common.metadata.node_name = match snapshot.asks_for_node() {
        true => view::machine_of(snapshot, node),
        false => Str::default(),
    };
    common.metadata.network = view::network_of(snapshot, node, &labels);
    common.in_common(&labels, |name| snapshot.asks_for_label(name), addresses)
}

#[cfg(test)]
mod tests;
