//! The whole mesh: services, endpoints and resources, resolved and indexed. Kept in step with objects by the discovery server,
//! read by `view` for each kind of proxy.
//!
//! Invariant: it depends on the objects only, not on the order in which they came; the order of objects of one kind is that in
//! which they win (SEM-004).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use meltemi_config::mesh::MeshConfig;
use meltemi_config::{ExportTo, Host, Kind, Object, ResourceId, Str, Timestamp};
use rustc_hash::FxHashMap;

use crate::registry::Registry;

pub mod change;
pub mod destination_rule;
pub mod gateway;
mod ingress;
mod namespaces;
pub mod network;
pub mod scope;
mod selector;
pub mod telemetry;
pub mod virtual_service;

use change::Changes;
use scope::Scope;

/// The mesh.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counts up with each change.
    pub version: u64,
    /// Settings of the mesh.
    pub mesh: Arc<MeshConfig>,
    /// Services and endpoints.
    pub registry: Registry,
    /// VirtualServices, in the order in which they win.
    pub virtual_services: virtual_service::All,
    /// DestinationRules.
    pub destination_rules: destination_rule::Rules,
    /// Gateways, in the order in which they win.
    pub gateways: Vec<Arc<gateway::Resolved>>,
    /// Sidecars by namespace, in the order in which they win.
    pub sidecars: BTreeMap<Str, Vec<Object>>,
    /// Networks and their gateways.
    pub networks: network::Networks,
    /// Telemetry resources.
    pub telemetries: telemetry::All,
    /// Kubernetes Ingresses, of which some of the Gateways and VirtualServices are made.
    ingresses: ingress::Ingresses,
    namespaces: namespaces::Namespaces,
    /// Labels of proxies that any resource asks for.
    selectors: selector::Keys,
    scopes: Scopes,
}

/// What proxies may see, by namespace and Sidecar: made when first asked for.
#[derive(Debug, Default)]
struct Scopes(Mutex<FxHashMap<ScopeKey, Arc<Scope>>>);

impl Clone for Scopes {
    fn clone(&self) -> Self {
        Scopes(Mutex::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

/// Namespace of the proxy, and namespace and name of the Sidecar that holds for it.
type ScopeKey = (Str, Option<(Str, Str)>);

/// An object and its name; `None`: it is gone.
pub type Change = (ResourceId, Option<Object>);

impl Snapshot {
    /// The snapshot of these objects.
    pub fn build(version: u64, objects: &[Object], mesh: Arc<MeshConfig>) -> Snapshot {
        let mut objects: Vec<Change> =
            objects.iter().map(|object| (object.id(), Some(object.clone()))).collect();
        // In the order in which they end up, so that none is put between others.
        objects.sort_by_cached_key(|(_, object)| object.as_ref().map(age));
        let mut snapshot = Snapshot { mesh, ..Snapshot::default() };
        snapshot.update(&objects);
        snapshot.version = version;
        snapshot
    }

    /// Takes changed objects in; what that changes. Of an object that is there twice the last holds.
    pub fn update(&mut self, objects: &[Change]) -> Changes {
        self.version += 1;
        let objects = &*self.namespaces.admit(objects, &self.mesh);
        let mut changes =
            Changes { registry: self.registry.update(objects, &self.mesh), ..Changes::default() };
        let mut virtual_services = Vec::new();
        for (id, object) in objects {
            match id.kind {
                Kind::VirtualService => {
                    let resolved = object.as_ref();
                    let resolved =
                        resolved.and_then(|object| virtual_service::Resolved::of(object, &self.mesh));
                    virtual_services.push(((id.namespace.clone(), id.name.clone()), resolved));
                }
                Kind::DestinationRule => {
                    let mesh = &self.mesh;
                    self.destination_rules.set(id, object.as_ref(), mesh, &mut self.selectors, &mut changes);
                }
                Kind::Gateway => self.set_gateway(id, object.as_ref(), &mut changes),
                Kind::Sidecar => self.set_sidecar(id, object.as_ref(), &mut changes),
                Kind::Telemetry => {
                    self.telemetries.set(id, object.as_ref(), &mut self.selectors);
                    changes.telemetries = true;
                }
                _ => {}
            }
        }
        let services = &changes.registry.services;
        changes.networks = self.networks.update(objects, services, &self.mesh, &self.registry);
        let made = self.ingresses.update(objects, services, &self.mesh, &self.registry);
        if let Some((id, gateway)) = &made.gateway {
            self.set_gateway(id, gateway.as_ref(), &mut changes);
        }
        virtual_services.extend(made.virtual_services);
        self.virtual_services.set(virtual_services, &mut self.selectors, &mut changes);
        changes.selectors = self.selectors.take_changed() || changes.registry.nodes;
        self.update_scopes(&changes);
        changes
    }

    fn set_gateway(&mut self, id: &ResourceId, object: Option<&Object>, changes: &mut Changes) {
        let name = format!("{}/{}", id.namespace, id.name);
        if let Some(at) = self.gateways.iter().position(|gateway| *gateway.full_name == *name) {
            let old = self.gateways.remove(at);
            self.selectors.remove(&old.spec.selector);
            changes.gateways = true;
        }
        if let Some(new) = object.and_then(gateway::Resolved::new) {
            self.selectors.add(&new.spec.selector);
            let at = self.gateways.partition_point(|other| other.order < new.order);
            self.gateways.insert(at, Arc::new(new));
            changes.gateways = true;
        }
    }

    fn set_sidecar(&mut self, id: &ResourceId, object: Option<&Object>, changes: &mut Changes) {
        changes.sidecars = true;
        let all = self.sidecars.entry(id.namespace.clone()).or_default();
        if let Some(at) = all.iter().position(|other| *other.name() == id.name) {
            self.selectors.remove_sidecar(&all.remove(at));
        }
        if let Some(object) = object {
            self.selectors.add_sidecar(object);
            let at = all.partition_point(|other| age(other) < age(object));
            all.insert(at, object.clone());
        }
    }

    fn update_scopes(&mut self, changes: &Changes) {
        let mut scopes = std::mem::take(&mut self.scopes);
        let all = scopes.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if changes.sidecars {
            all.clear();
        }
        // One that cannot be brought up to date is made anew when it is asked for.
        all.retain(|_, scope| Arc::make_mut(scope).update(self, changes));
        self.scopes = scopes;
    }

    /// The scope of that key, made by `make` if it is not there.
    pub fn scope(&self, key: ScopeKey, make: impl FnOnce() -> Scope) -> Arc<Scope> {
        let mut scopes = self.scopes.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(scopes.entry(key).or_insert_with(|| Arc::new(make())))
    }

    /// Whether any resource asks for a label of proxies.
    pub fn asks_for_label(&self, name: &str) -> bool {
        let mesh = self.mesh.locality_lb_setting.iter().flat_map(selector::priorities);
        name == crate::names::MANAGED_LABEL
            || self.selectors.has(name)
            || mesh.into_iter().any(|label| &*label == name)
    }

    /// Whether the node that a proxy runs on makes a difference.
    pub fn asks_for_node(&self) -> bool {
        self.registry.node_local > 0
    }

    /// The service of that name as clients in a namespace see it: Kubernetes first, then their own, then the oldest
    /// (SEM-007).
    pub fn visible_service(&self, host: &Host, namespace: &str) -> Option<&Arc<crate::registry::Service>> {
        let candidates = self.registry.services.get(host)?;
        let visible = || candidates.iter().filter(|service| service.export_to.visible_in(namespace));
        let own = || visible().find(|service| &*service.namespace == namespace);
        visible().find(|service| service.kubernetes).or_else(own).or_else(|| visible().next())
    }
}

/// Oldest first; ties by namespace, then name. What has no age is older than what has one.
pub type Age = (Option<Timestamp>, Str, Str);

fn age(object: &Object) -> Age {
    (object.metadata.creation_timestamp, object.namespace().clone(), object.name().clone())
}

/// Who sees an object of that kind.
fn export_to(list: &[Str], default: &[Str], object: &Object) -> ExportTo {
    ExportTo::resolve(list, default, object.namespace())
}
