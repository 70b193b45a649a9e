//! The whole mesh at a version: services, endpoints and resources, resolved and indexed. Built from objects on every change;
//! read by `view` for each proxy.
//!
//! Invariant: immutable; the order of objects of one kind is that in which they win (SEM-004).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::{DestinationRule, Gateway, VirtualService};
use meltemi_config::{ExportTo, Host, Object, Spec, Str};
use rustc_hash::FxHashMap;

use crate::registry::{Registry, build};
use crate::view::scope::Scope;

pub mod destination_rule;
pub mod gateway;
pub mod virtual_service;

/// The mesh.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with each change.
    pub version: u64,
    /// Settings of the mesh.
    pub mesh: Arc<MeshConfig>,
    /// Services and endpoints.
    pub registry: Registry,
    /// VirtualServices, in the order in which they win.
    pub virtual_services: Vec<Arc<virtual_service::Resolved>>,
    /// DestinationRules.
    pub destination_rules: destination_rule::Rules,
    /// Gateways, in the order in which they win.
    pub gateways: Vec<Arc<gateway::Resolved>>,
    /// Sidecars by namespace, in the order in which they win.
    pub sidecars: BTreeMap<Str, Vec<Object>>,
    /// What proxies may see, by namespace and Sidecar: made when first asked for.
    scopes: Mutex<FxHashMap<ScopeKey, Arc<Scope>>>,
}

/// Namespace of the proxy, and namespace and name of the Sidecar that holds for it.
type ScopeKey = (Str, Option<(Str, Str)>);

impl Snapshot {
    /// The snapshot of these objects.
    pub fn build(version: u64, objects: &[Object], mesh: Arc<MeshConfig>) -> Snapshot {
        let registry = build::registry(objects, &mesh);
        let mut objects: Vec<&Object> = objects.iter().collect();
        objects.sort_by(|a, b| age(a).cmp(&age(b)));
        let mut snapshot = Snapshot {
            version,
            registry,
            virtual_services: Vec::new(),
            destination_rules: destination_rule::Rules::default(),
            gateways: Vec::new(),
            sidecars: BTreeMap::new(),
            scopes: Mutex::default(),
            mesh,
        };
        for object in objects {
            snapshot.add(object);
        }
        virtual_service::merge_delegates(&mut snapshot.virtual_services);
        snapshot
    }

    fn add(&mut self, object: &Object) {
        match &object.spec {
            Spec::VirtualService(spec) => self.add_virtual_service(object, spec),
            Spec::DestinationRule(spec) => self.add_destination_rule(object, spec),
            Spec::Gateway(spec) => self.add_gateway(object, spec),
            Spec::Sidecar(_) => {
                self.sidecars.entry(object.namespace().clone()).or_default().push(object.clone());
            }
            _ => {}
        }
    }

    fn add_virtual_service(&mut self, object: &Object, spec: &Arc<VirtualService>) {
        let resolved = virtual_service::Resolved::new(object, spec, &self.mesh);
        self.virtual_services.push(Arc::new(resolved));
    }

    fn add_destination_rule(&mut self, object: &Object, spec: &Arc<DestinationRule>) {
        self.destination_rules.add(object, spec, &self.mesh);
    }

    fn add_gateway(&mut self, object: &Object, spec: &Arc<Gateway>) {
        self.gateways.push(Arc::new(gateway::Resolved::new(object, spec)));
    }

    /// The scope of that key, made by `make` if it is not there.
    pub fn scope(&self, key: ScopeKey, make: impl FnOnce() -> Scope) -> Arc<Scope> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(scopes.entry(key).or_insert_with(|| Arc::new(make())))
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
fn age(object: &Object) -> (Option<meltemi_config::Timestamp>, &Str, &Str) {
    (object.metadata.creation_timestamp, object.namespace(), object.name())
}

/// Who sees an object of that kind.
fn export_to(list: &[Str], default: &[Str], object: &Object) -> ExportTo {
    ExportTo::resolve(list, default, object.namespace())
}
