//! Builds the registry from objects. Called by `snapshot`.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::core::{EndpointSlice, Pod, Service as KubernetesService};
use meltemi_config::labels::selects;
use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::{ServiceEntry, WorkloadEntry};
use meltemi_config::{Object, Spec, Str};
use rustc_hash::FxHashMap;

use super::{Instance, Registry, Service, ServiceKey, Workload, kubernetes, service_entry};

/// Label of a slice that says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The registry of these objects.
pub fn registry(objects: &[Object], mesh: &MeshConfig) -> Registry {
    let mut builder = Builder::new(objects, mesh);
    for object in objects {
        match &object.spec {
            Spec::Service(spec) => builder.kubernetes(object, spec),
            Spec::ServiceEntry(spec) => builder.entry(object, spec),
            _ => {}
        }
    }
    builder.finish()
}

/// Workloads of a namespace with one label, so that a selector looks at few.
type ByLabel = FxHashMap<(Str, Str, Str), Vec<Arc<Workload>>>;

struct Builder<'o> {
    mesh: &'o MeshConfig,
    by_label: ByLabel,
    workloads: BTreeMap<Str, Arc<Workload>>,
    slices: FxHashMap<(Str, Str), Vec<&'o EndpointSlice>>,
    services: Vec<Arc<Service>>,
    instances: FxHashMap<ServiceKey, Vec<Instance>>,
}

impl<'o> Builder<'o> {
    fn new(objects: &'o [Object], mesh: &'o MeshConfig) -> Self {
        let mut builder = Builder {
            mesh,
            by_label: FxHashMap::default(),
            workloads: BTreeMap::new(),
            slices: FxHashMap::default(),
            services: Vec::new(),
            instances: FxHashMap::default(),
        };
        for object in objects {
            builder.index(object);
        }
        builder
    }

    fn index(&mut self, object: &'o Object) {
        if let Some(pod) = object.spec_as::<Pod>() {
            if let Some(workload) = Workload::of_pod(object, pod) {
                self.workload(workload);
            }
        } else if let Some(entry) = object.spec_as::<WorkloadEntry>() {
            self.workload(Workload::of_entry(object, entry, true));
        } else if let Some(slice) = object.spec_as::<EndpointSlice>()
            && let Some(service) = object.labels().get(SERVICE_NAME)
        {
            self.slices.entry((object.namespace().clone(), service.clone())).or_default().push(slice);
        }
    }

    fn workload(&mut self, workload: Workload) {
        let workload = Arc::new(workload);
        for (label, value) in &workload.labels {
            let key = (workload.namespace.clone(), label.clone(), value.clone());
            self.by_label.entry(key).or_default().push(Arc::clone(&workload));
        }
        for address in &workload.addresses {
            self.workloads.insert(address.clone(), Arc::clone(&workload));
        }
    }

    /// Workloads of a namespace that a selector takes; an empty one takes none.
    fn selected(&self, namespace: &Str, selector: &meltemi_config::Labels) -> Vec<Arc<Workload>> {
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let candidates = self.by_label.get(&(namespace.clone(), label.clone(), value.clone()));
        let candidates = candidates.into_iter().flatten();
        candidates.filter(|workload| selects(selector, &workload.labels)).cloned().collect()
    }

    fn kubernetes(&mut self, object: &Object, spec: &KubernetesService) {
        let service = Arc::new(kubernetes::service(object, spec, self.mesh));
        let mut instances = Vec::new();
        let slices = self.slices.get(&(service.namespace.clone(), service.name.clone()));
        if let Some(slices) = slices {
            let find = |address: &Str| self.workloads.get(address).cloned();
            for slice in slices {
                kubernetes::from_slice(spec, slice, &find, &service.namespace, &mut instances);
            }
        }
        // Where slices are given, they speak for the Pods; a WorkloadEntry is in none of them (SEM-153).
        for workload in self.selected(&service.namespace, &spec.spec.selector) {
            if slices.is_none() || !workload.pod {
                kubernetes::selected(spec, &workload, &mut instances);
            }
        }
        if let Some(name) = spec.spec.external_name.as_ref().filter(|_| service.external) {
            instances.extend(external_name(object, name, &service));
        }
        self.add(service, instances);
    }

    fn entry(&mut self, object: &Object, spec: &ServiceEntry) {
        for service in service_entry::services(object, spec, self.mesh) {
            let mut instances = service_entry::listed(object, spec, &service.host);
            if let Some(selector) = &spec.workload_selector {
                for workload in self.selected(&service.namespace, &selector.labels) {
                    service_entry::selected(spec, &workload, &mut instances);
                }
            }
            self.add(Arc::new(service), instances);
        }
    }

    fn add(&mut self, service: Arc<Service>, mut instances: Vec<Instance>) {
        // Ports that are not handled, such as UDP's, have no endpoints either.
        instances.retain(|instance| service.port(instance.service_port).is_some());
        self.instances.entry(service.key()).or_default().extend(instances);
        self.services.push(service);
    }

    fn finish(self) -> Registry {
        let mut registry = Registry { workloads: self.workloads, ..Registry::default() };
        let mut services = self.services;
        services.sort_by(|a, b| order(a).cmp(&order(b)));
        for service in services {
            merge(registry.services.entry(service.host.clone()).or_default(), service);
        }
        for (key, mut instances) in self.instances {
            instances.sort_by(|a, b| instance_order(a).cmp(&instance_order(b)));
            instances.dedup();
            for instance in &instances {
                let keys = registry.by_address.entry(instance.address.clone()).or_default();
                if !keys.contains(&key) {
                    keys.push(key.clone());
                }
            }
            registry.instances.insert(key, Arc::new(instances));
        }
        registry.by_address.values_mut().for_each(|keys| keys.sort());
        registry
    }
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

/// The name that an ExternalName Service stands for.
fn external_name(object: &Object, name: &Str, service: &Service) -> Vec<Instance> {
    let entry = WorkloadEntry { address: Some(name.clone()), ..Default::default() };
    let workload = Arc::new(Workload::of_entry(object, &entry, false));
    let instance = |port: &super::Port| Instance {
        service_port: port.number,
        address: name.clone(),
        port: port.number,
        weight: 1,
        healthy: true,
        workload: Arc::clone(&workload),
    };
    service.ports.iter().map(instance).collect()
}
