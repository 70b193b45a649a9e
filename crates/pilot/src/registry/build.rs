//! Keeps the registry in step with objects, one change at a time. Called by `snapshot`.
//!
//! Each Service and ServiceEntry gives services with endpoints (its part); a change is worked out again for the parts that it
//! reaches, found by index: selectors by label, slices by Service, addresses by slice.
//!
//! Invariant: the registry depends on the objects only, not on the order in which they came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::core::{EndpointSlice, Pod};
use meltemi_config::labels::{Labels, selects};
use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::WorkloadEntry;
use meltemi_config::{Host, Kind, Object, ResourceId, Spec, Str};
use rustc_hash::{FxHashMap, FxHashSet};

use super::alias::Aliases;
use super::automatic::Automatic;
use super::workload::{locality_label, locality_of, node_locality};
use super::{Instance, Registry, Service, ServiceKey, Workload, kubernetes, service_entry};

/// Label of a slice that says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A label of a workload in a namespace.
type Label = (Str, Str, Str);

/// What a change of objects changed in the registry.
#[derive(Debug, Default)]
pub struct Changes {
    /// Hosts with another definition: ports, addresses, who sees it, how it is resolved; also those that came or went.
    pub services: BTreeSet<Host>,
    /// Hosts with other endpoints.
    pub endpoints: BTreeSet<Host>,
    /// Addresses whose workload is another one or serves other ports.
    pub addresses: BTreeSet<Str>,
    /// Whether the nodes of clients matter now, or do not matter any more.
    pub nodes: bool,
}

/// What the registry is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    parts: FxHashMap<ResourceId, Part>,
    /// Parts that give a service of that host.
    by_host: FxHashMap<Host, BTreeSet<ResourceId>>,
    /// Parts by one label that they select by.
    selecting: FxHashMap<Label, BTreeSet<ResourceId>>,
    workloads: FxHashMap<ResourceId, Arc<Workload>>,
    by_label: FxHashMap<Label, BTreeSet<ResourceId>>,
    /// Workloads at an address; the first is it.
    at_address: FxHashMap<Str, BTreeSet<ResourceId>>,
    /// Slices by Service.
    slices: FxHashMap<(Str, Str), BTreeMap<Str, Arc<EndpointSlice>>>,
    /// Services that have slices with an address.
    sliced: FxHashMap<Str, FxHashSet<(Str, Str)>>,
    /// Services by slice.
    owners: FxHashMap<ResourceId, (Str, Str)>,
    /// Localities of Nodes that say theirs.
    nodes: FxHashMap<Str, Str>,
    /// Workloads by Node.
    on_node: FxHashMap<Str, BTreeSet<ResourceId>>,
    /// Addresses given to services that have none.
    automatic: Automatic,
    /// Names that stand for others.
    aliases: Aliases,
}

/// What one Service or ServiceEntry gives.
#[derive(Debug, Clone)]
struct Part {
    object: Object,
    services: Vec<(Arc<Service>, Vec<Instance>)>,
}

impl Registry {
    /// Takes changed objects (`None`: gone) in.
    pub fn update(&mut self, objects: &[(ResourceId, Option<Object>)], mesh: &MeshConfig) -> Changes {
        let mut changes = Changes::default();
        let mut dirty: BTreeSet<ResourceId> = BTreeSet::new();
        let mut hosts: BTreeSet<Host> = BTreeSet::new();
        for (id, object) in objects {
            match id.kind {
                Kind::Pod | Kind::WorkloadEntry => {
                    self.set_workload(id, object.as_ref(), &mut dirty, &mut changes);
                }
                Kind::Node => self.set_node(id, object.as_ref(), &mut dirty, &mut changes),
                Kind::EndpointSlice => self.parts.set_slice(id, object.as_ref(), &mut dirty),
                Kind::Service | Kind::ServiceEntry => {
                    let given = object.as_ref().map_or(&[][..], |object| &object.addresses);
                    hosts.extend(self.parts.automatic.reserve(id, given));
                    hosts.extend(self.parts.set_part(id, object.as_ref()));
                    dirty.insert(id.clone());
                }
                _ => {}
            }
        }
        for id in dirty {
            self.work_out(&id, mesh, &mut hosts);
        }
        hosts.extend(self.parts.set_aliases(&hosts));
        // Whoever gets an address that another one had moves that one.
        let had_local = self.node_local > 0;
        while let Some(host) = hosts.pop_first() {
            hosts.extend(self.settle(host, &mut changes));
        }
        changes.nodes = had_local != (self.node_local > 0);
        changes
    }

    fn set_workload(
        &mut self,
        id: &ResourceId,
        object: Option<&Object>,
        dirty: &mut BTreeSet<ResourceId>,
        changes: &mut Changes,
    ) {
        let new = object.and_then(|object| {
            if let Some(pod) = object.spec_as::<Pod>() {
                return Workload::of_pod(object, pod);
            }
            object.spec_as::<WorkloadEntry>().map(|entry| Workload::of_entry(object, entry, true))
        });
        self.replace_workload(id, new, dirty, changes);
    }

    /// Workloads of a Node are where it is, unless they say themselves where they are (SEM-156).
    fn set_node(
        &mut self,
        id: &ResourceId,
        object: Option<&Object>,
        dirty: &mut BTreeSet<ResourceId>,
        changes: &mut Changes,
    ) {
        let locality = object.map(|object| node_locality(object.labels())).unwrap_or_default();
        let before = match locality.is_empty() {
            true => self.parts.nodes.remove(&id.name),
            false => self.parts.nodes.insert(id.name.clone(), locality.clone()),
        };
        if before.unwrap_or_default() == locality {
            return;
        }
        for id in self.parts.on_node.get(&id.name).cloned().unwrap_or_default() {
            let workload = self.parts.workloads.get(&id).map(|workload| Workload::clone(workload));
            self.replace_workload(&id, workload, dirty, changes);
        }
    }

    fn replace_workload(
        &mut self,
        id: &ResourceId,
        new: Option<Workload>,
        dirty: &mut BTreeSet<ResourceId>,
        changes: &mut Changes,
    ) {
        let new = new.map(|workload| self.parts.placed(workload));
        let old = self.parts.workloads.remove(id);
        if old.as_deref() == new.as_ref() {
            self.parts.workloads.extend(old.map(|old| (id.clone(), old)));
            return;
        }
        for workload in old.iter().map(|old| &**old).chain(&new) {
            dirty.extend(self.parts.reached_by(workload));
            changes.addresses.extend(workload.addresses.iter().cloned());
        }
        if let Some(old) = &old {
            self.parts.unlist(id, old);
        }
        if let Some(new) = &new {
            self.parts.enlist(id, new);
            self.parts.workloads.insert(id.clone(), Arc::new(new.clone()));
        }
        for address in
            old.iter().flat_map(|old| &old.addresses).chain(new.iter().flat_map(|new| &new.addresses))
        {
            match self.parts.at(address) {
                Some(workload) => self.workloads.insert(address.clone(), workload),
                None => self.workloads.remove(address),
            };
        }
    }

    /// Works out what an object gives, notes the hosts that it gives or gave.
    fn work_out(&mut self, id: &ResourceId, mesh: &MeshConfig, hosts: &mut BTreeSet<Host>) {
        // A slice may be of a Service that is not there.
        let Some(part) = self.parts.parts.get(id) else { return };
        let services = match &part.object.spec {
            Spec::Service(spec) => self.parts.kubernetes(&part.object, spec, mesh, &self.workloads),
            Spec::ServiceEntry(spec) => self.parts.entry(&part.object, spec, mesh),
            _ => Vec::new(),
        };
        hosts.extend(self.parts.forget_hosts(id));
        for (service, _) in &services {
            hosts.insert(service.host.clone());
            self.parts.by_host.entry(service.host.clone()).or_default().insert(id.clone());
        }
        if let Some(part) = self.parts.parts.get_mut(id) {
            part.services = services;
        }
    }

    /// Brings the services and endpoints of a host together, and notes what is other than before. Hosts that have to be settled
    /// again: their addresses moved.
    fn settle(&mut self, host: Host, changes: &mut Changes) -> Vec<Host> {
        let mut given: Vec<&(Arc<Service>, Vec<Instance>)> = Vec::new();
        for id in self.parts.by_host.get(&host).into_iter().flatten() {
            let services = self.parts.parts.get(id).map_or(&[][..], |part| &part.services);
            given.extend(services.iter().filter(|(service, _)| service.host == host));
        }
        given.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
        let mut services: Vec<Arc<Service>> = Vec::new();
        let mut instances: BTreeMap<Str, Vec<Instance>> = BTreeMap::new();
        for (service, endpoints) in given {
            instances.entry(service.namespace.clone()).or_default().extend(endpoints.iter().cloned());
            merge(&mut services, Arc::clone(service));
        }
        let moved = self.parts.complete(&host, &mut services, self.services.get(&host));
        let before = self.services.get(&host).map_or(&[][..], Vec::as_slice);
        let differs = before != services.as_slice();
        let local = |services: &[Arc<Service>]| services.iter().filter(|service| service.node_local).count();
        self.node_local = self.node_local + local(&services) - local(before);
        let mut namespaces: BTreeSet<Str> = instances.keys().cloned().collect();
        namespaces.extend(before.iter().map(|service| service.namespace.clone()));
        for namespace in namespaces {
            let new = instances.remove(&namespace);
            self.set_instances((host.clone(), namespace), new, differs, changes);
        }
        if differs {
            changes.services.insert(host.clone());
            match services.is_empty() {
                true => self.services.remove(&host),
                false => self.services.insert(host, services),
            };
        }
        moved
    }

    fn set_instances(
        &mut self,
        key: ServiceKey,
        new: Option<Vec<Instance>>,
        redefined: bool,
        changes: &mut Changes,
    ) {
        let new = new.map(|mut instances| {
            instances.sort_by(|a, b| instance_order(a).cmp(&instance_order(b)));
            instances.dedup();
            instances
        });
        let old = self.instances.get(&key).cloned();
        let same = old.as_deref() == new.as_ref();
        if same && !redefined {
            return;
        }
        let addresses = |instances: Option<&Vec<Instance>>| -> BTreeSet<Str> {
            let addresses = instances.into_iter().flatten().map(|instance| instance.address.clone());
            addresses.filter(|address| !address.is_empty()).collect()
        };
        let (before, after) = (addresses(old.as_deref()), addresses(new.as_ref()));
        for address in before.difference(&after) {
            if let Some(keys) = self.by_address.get_mut(address) {
                keys.retain(|known| *known != key);
                if keys.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
        for address in after.difference(&before) {
            let keys = self.by_address.entry(address.clone()).or_default();
            let at = keys.partition_point(|known| *known < key);
            keys.insert(at, key.clone());
        }
        changes.addresses.extend(before);
        changes.addresses.extend(after);
        if !same {
            changes.endpoints.insert(key.0.clone());
        }
        match new {
            Some(new) => self.instances.insert(key, Arc::new(new)),
            None => self.instances.remove(&key),
        };
    }
}

impl Parts {
    /// Parts that a workload may give endpoints to.
    fn reached_by(&self, workload: &Workload) -> BTreeSet<ResourceId> {
        let labels = labels_of(workload);
        let mut reached: BTreeSet<ResourceId> =
            labels.filter_map(|label| self.selecting.get(&label)).flatten().cloned().collect();
        let sliced = workload.addresses.iter().filter_map(|address| self.sliced.get(address)).flatten();
        reached.extend(sliced.map(|(namespace, name)| ResourceId {
            kind: Kind::Service,
            namespace: namespace.clone(),
            name: name.clone(),
        }));
        reached
    }

    /// A workload at the place of its Node, if it has none of its own.
    fn placed(&self, workload: Workload) -> Workload {
        if !workload.pod || locality_label(&workload.labels).is_some() {
            return workload;
        }
        // Of a Node that is gone nothing must stay.
        let locality = self.nodes.get(&workload.node).cloned();
        Workload { locality: locality.unwrap_or_else(|| locality_of(&workload.labels)), ..workload }
    }

    /// What of services follows from others: names that stand for them, addresses given to them. Hosts whose addresses move.
    fn complete(
        &mut self,
        host: &Host,
        services: &mut [Arc<Service>],
        before: Option<&Vec<Arc<Service>>>,
    ) -> Vec<Host> {
        let mut moved = Vec::new();
        for gone in before.into_iter().flatten().filter(|service| service.wants_address) {
            if !services.iter().any(|service| service.namespace == gone.namespace) {
                moved.extend(self.automatic.set(&gone.key(), None));
            }
        }
        for service in services {
            let key = service.key();
            let wanted = service.wants_address.then_some(service.created);
            moved.extend(self.automatic.set(&key, wanted));
            let aliases = self.aliases.of(host);
            if wanted.is_some() || !aliases.is_empty() {
                let service = Arc::make_mut(service);
                if wanted.is_some() {
                    service.automatic = self.automatic.addresses(&key);
                }
                service.aliases = aliases.to_vec();
            }
        }
        moved
    }

    /// What a host stands for, if it is an alias.
    pub(super) fn alias_of(&self, host: &Host) -> Option<&Host> {
        self.aliases.target(host)
    }

    /// Follows what these hosts stand for now; the hosts that other names stand for than before.
    fn set_aliases(&mut self, hosts: &BTreeSet<Host>) -> Vec<Host> {
        let mut differs = false;
        for host in hosts {
            let ids = self.by_host.get(host).into_iter().flatten();
            let given = ids.filter_map(|id| self.parts.get(id)).flat_map(|part| &part.services);
            let mut given = given.filter(|(service, _)| service.host == *host);
            let target = given.find_map(|(service, _)| service.alias_of.clone());
            differs |= self.aliases.set(host, target);
        }
        if differs { self.aliases.follow() } else { Vec::new() }
    }

    fn enlist(&mut self, id: &ResourceId, workload: &Workload) {
        if !workload.node.is_empty() {
            self.on_node.entry(workload.node.clone()).or_default().insert(id.clone());
        }
        for label in labels_of(workload) {
            self.by_label.entry(label).or_default().insert(id.clone());
        }
        for address in &workload.addresses {
            self.at_address.entry(address.clone()).or_default().insert(id.clone());
        }
    }

    fn unlist(&mut self, id: &ResourceId, workload: &Workload) {
        remove(&mut self.on_node, &workload.node, id);
        for label in labels_of(workload) {
            remove(&mut self.by_label, &label, id);
        }
        for address in &workload.addresses {
            remove(&mut self.at_address, address, id);
        }
    }

    /// The workload at an address.
    fn at(&self, address: &Str) -> Option<Arc<Workload>> {
        let first = self.at_address.get(address)?.first()?;
        self.workloads.get(first).cloned()
    }

    fn set_slice(&mut self, id: &ResourceId, object: Option<&Object>, dirty: &mut BTreeSet<ResourceId>) {
        if let Some(owner) = self.owners.remove(id) {
            let slices = self.slices.get_mut(&owner);
            let emptied = slices.is_some_and(|slices| {
                slices.remove(&id.name);
                slices.is_empty()
            });
            if emptied {
                self.slices.remove(&owner);
            }
            dirty.insert(service_id(&owner));
            self.index_slices(&owner);
        }
        let Some(slice) = object.and_then(Object::spec_as::<EndpointSlice>) else { return };
        let Some(service) = object.and_then(|object| object.labels().get(SERVICE_NAME)) else { return };
        let owner = (id.namespace.clone(), service.clone());
        self.slices.entry(owner.clone()).or_default().insert(id.name.clone(), Arc::clone(slice));
        self.owners.insert(id.clone(), owner.clone());
        dirty.insert(service_id(&owner));
        self.index_slices(&owner);
    }

    /// Notes that the addresses of a Service's slices are its.
    fn index_slices(&mut self, owner: &(Str, Str)) {
        // Addresses that are not in them any more stay noted: a needless look, until the Service's slices are all gone.
        let slices = self.slices.get(owner);
        if slices.is_none() {
            self.sliced.retain(|_, owners| {
                owners.remove(owner);
                !owners.is_empty()
            });
            return;
        }
        for slice in slices.into_iter().flat_map(BTreeMap::values) {
            for address in slice.endpoints.iter().filter_map(|endpoint| endpoint.addresses.first()) {
                self.sliced.entry(address.clone()).or_default().insert(owner.clone());
            }
        }
    }

    /// Sets or removes an object; the hosts that it gave, if it is gone.
    fn set_part(&mut self, id: &ResourceId, object: Option<&Object>) -> Vec<Host> {
        let old = self.parts.get(id).and_then(|part| selector_label(&part.object));
        if let Some(label) = old {
            remove(&mut self.selecting, &label, id);
        }
        let Some(object) = object else {
            let hosts = self.forget_hosts(id);
            self.parts.remove(id);
            return hosts;
        };
        if let Some(label) = selector_label(object) {
            self.selecting.entry(label).or_default().insert(id.clone());
        }
        match self.parts.get_mut(id) {
            Some(part) => part.object = object.clone(),
            None => {
                self.parts.insert(id.clone(), Part { object: object.clone(), services: Vec::new() });
            }
        }
        Vec::new()
    }

    /// Takes an object out of the hosts that it gave; which these were.
    fn forget_hosts(&mut self, id: &ResourceId) -> Vec<Host> {
        let services = self.parts.get(id).map_or(&[][..], |part| &part.services);
        let hosts: Vec<Host> = services.iter().map(|(service, _)| service.host.clone()).collect();
        for host in &hosts {
            remove(&mut self.by_host, host, id);
        }
        hosts
    }

    /// Workloads of a namespace that a selector takes, by name; an empty one takes none.
    fn selected(&self, namespace: &Str, selector: &Labels) -> Vec<Arc<Workload>> {
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let candidates = self.by_label.get(&(namespace.clone(), label.clone(), value.clone()));
        let candidates = candidates.into_iter().flatten().filter_map(|id| self.workloads.get(id));
        candidates.filter(|workload| selects(selector, &workload.labels)).cloned().collect()
    }

    fn kubernetes(
        &self,
        object: &Object,
        spec: &meltemi_config::core::Service,
        mesh: &MeshConfig,
        workloads: &BTreeMap<Str, Arc<Workload>>,
    ) -> Vec<(Arc<Service>, Vec<Instance>)> {
        let service = Arc::new(kubernetes::service(object, spec, mesh));
        let mut instances = Vec::new();
        let slices = self.slices.get(&(service.namespace.clone(), service.name.clone()));
        for slice in slices.into_iter().flat_map(BTreeMap::values) {
            let find = |address: &Str| workloads.get(address).cloned();
            kubernetes::from_slice(spec, slice, &find, &service.namespace, &mut instances);
        }
        // Where slices are given, they speak for the Pods; a WorkloadEntry is in none of them (SEM-153).
        for workload in self.selected(&service.namespace, &spec.spec.selector) {
            let taken = match workload.pod {
                true => slices.is_none(),
                false => mesh.switches.service_selects_workload_entries,
            };
            if taken {
                kubernetes::selected(spec, &workload, &mut instances);
            }
        }
        vec![handled(service, instances)]
    }

    fn entry(
        &self,
        object: &Object,
        spec: &meltemi_config::networking::ServiceEntry,
        mesh: &MeshConfig,
    ) -> Vec<(Arc<Service>, Vec<Instance>)> {
        let services = service_entry::services(object, spec, mesh).into_iter().map(|service| {
            let mut instances = service_entry::listed(object, spec, &service.host);
            if let Some(selector) = &spec.workload_selector {
                let pods = mesh.switches.service_entry_selects_pods;
                let selected = self.selected(&service.namespace, &selector.labels);
                for workload in selected.into_iter().filter(|workload| pods || !workload.pod) {
                    service_entry::selected(spec, &workload, &mut instances);
                }
            }
            handled(Arc::new(service), instances)
        });
        services.collect()
    }
}

/// Ports that are not handled, such as UDP's, have no endpoints either.
fn handled(service: Arc<Service>, mut instances: Vec<Instance>) -> (Arc<Service>, Vec<Instance>) {
    instances.retain(|instance| service.port(instance.service_port).is_some());
    (service, instances)
}

fn remove<K: std::hash::Hash + Eq>(index: &mut FxHashMap<K, BTreeSet<ResourceId>>, key: &K, id: &ResourceId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

fn service_id(owner: &(Str, Str)) -> ResourceId {
    ResourceId { kind: Kind::Service, namespace: owner.0.clone(), name: owner.1.clone() }
}

fn labels_of(workload: &Workload) -> impl Iterator<Item = Label> + '_ {
    let namespace = &workload.namespace;
    workload.labels.iter().map(|(label, value)| (namespace.clone(), label.clone(), value.clone()))
}

/// The label by which workloads that an object may select are found.
fn selector_label(object: &Object) -> Option<Label> {
    let selector = match &object.spec {
        Spec::Service(spec) => &spec.spec.selector,
        Spec::ServiceEntry(spec) => &spec.workload_selector.as_ref()?.labels,
        _ => return None,
    };
    let (label, value) = selector.iter().next()?;
    Some((object.namespace().clone(), label.clone(), value.clone()))
}

/// Kubernetes first, then by age (SEM-007), then by namespace and name.
fn order(service: &Service) -> (bool, Option<meltemi_config::Timestamp>, &str, &str) {
    (!service.kubernetes, service.created, &service.namespace, &service.host)
}

fn instance_order(instance: &Instance) -> (u32, &str, u32, &str) {
    (instance.service_port, &instance.address, instance.port, &instance.workload.name)
}

/// A second service of one host and namespace adds its ports if it is resolved alike (SEM-008).
fn merge(known: &mut Vec<Arc<Service>>, service: Arc<Service>) {
    let Some(first) = known.iter_mut().find(|other| other.namespace == service.namespace) else {
        known.push(service);
        return;
    };
    let alike = first.resolution == service.resolution && first.export_to == service.export_to;
    if first.kubernetes || !alike {
        return;
    }
    let first = Arc::make_mut(first);
    for port in &service.ports {
        if first.port(port.number).is_none() {
            first.ports.push(port.clone());
        }
    }
}
