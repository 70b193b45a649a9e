//! The mesh as analyzers see it: objects by kind, services by host, workloads, namespaces. Built once per analysis.
//!
//! Invariant: immutable; objects with faults are in it as far as they could be read.

use std::cell::Cell;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Settings;
use super::index::{Index, Selectors};
use super::workloads::{self, Workload};
use crate::core::{self, IntOrString};
use crate::networking::{DestinationRule, Gateway, ServiceEntry};
use crate::process::Process;
use crate::{AsSpec, ExportTo, Host, Kind, Labels, Loaded, Object, Protocol, Str, host};

/// Annotation that says who sees a Service (SEM-006).
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// Everything that was read.
pub(super) struct Mesh<'a> {
    pub(super) settings: &'a Settings,
    /// Services, in the order of files; those of Kubernetes first.
    services: Vec<Service<'a>>,
    by_host: FxHashMap<Str, Vec<usize>>,
    has_wide_services: bool,
    selectors: Selectors,
    /// Things that run.
    workloads: Vec<Workload<'a>>,
    workload_index: Index,
    by_kind: FxHashMap<Kind, Vec<&'a Object>>,
    by_namespace: FxHashMap<(Kind, Str), Vec<&'a Object>>,
    by_name: FxHashMap<(Kind, Str, Str), &'a Object>,
    /// DestinationRules by host, in the order of files.
    rules: FxHashMap<Host, Vec<Ruled<'a>>>,
    has_wide_rules: bool,
    namespaces: FxHashMap<Str, &'a Object>,
    known_namespaces: FxHashSet<Str>,
    /// How many things have been looked at: the work, as tests measure it.
    looked: Cell<u64>,
}

/// A DestinationRule and its place in the order of files.
type Ruled<'a> = (usize, &'a Object, &'a DestinationRule);

/// A service: of Kubernetes, by hand, or of local processes.
pub(super) struct Service<'a> {
    pub(super) object: &'a Object,
    pub(super) host: Host,
    pub(super) ports: Vec<Port>,
    pub(super) export_to: ExportTo,
    pub(super) kind: ServiceKind<'a>,
}

/// Where a service comes from.
pub(super) enum ServiceKind<'a> {
    Kubernetes(&'a core::Service),
    Entry(&'a ServiceEntry),
    Process,
}

/// A port of a service.
pub(super) struct Port {
    pub(super) number: u32,
    pub(super) protocol: Protocol,
}

impl<'a> Mesh<'a> {
    pub(super) fn new(loaded: &'a Loaded, assumed: &'a [Object], settings: &'a Settings) -> Self {
        let objects =
            || loaded.objects.iter().chain(&loaded.rejected).chain(assumed).chain(&settings.networks);
        let mut by_kind: FxHashMap<Kind, Vec<&Object>> = FxHashMap::default();
        let mut by_namespace: FxHashMap<(Kind, Str), Vec<&Object>> = FxHashMap::default();
        let mut by_name = FxHashMap::default();
        for object in objects() {
            let (kind, namespace) = (object.kind, object.namespace());
            by_kind.entry(kind).or_default().push(object);
            by_namespace.entry((kind, namespace.clone())).or_default().push(object);
            by_name.entry((kind, namespace.clone(), object.name().clone())).or_insert(object);
        }
        let namespaces: FxHashMap<Str, &Object> = by_kind
            .get(&Kind::Namespace)
            .into_iter()
            .flatten()
            .map(|object| (object.name().clone(), *object))
            .collect();
        let mut known_namespaces: FxHashSet<Str> = namespaces.keys().cloned().collect();
        known_namespaces.extend(objects().map(|object| object.namespace().clone()));
        let mut mesh = Mesh {
            settings,
            services: Vec::new(),
            by_host: FxHashMap::default(),
            has_wide_services: false,
            selectors: Selectors::default(),
            workloads: Vec::new(),
            workload_index: Index::default(),
            by_kind,
            by_namespace,
            by_name,
            rules: FxHashMap::default(),
            has_wide_rules: false,
            namespaces,
            known_namespaces,
            looked: Cell::new(0),
        };
        mesh.index_workloads();
        mesh.index_services();
        mesh.index_rules();
        mesh
    }

    fn index_workloads(&mut self) {
        self.workloads = workloads::all(self);
        for (position, workload) in self.workloads.iter().enumerate() {
            self.workload_index.add(position, &workload.namespace, &workload.labels);
        }
    }

    fn index_services(&mut self) {
        self.services = services(self);
        for (position, service) in self.services.iter().enumerate() {
            self.by_host.entry(service.host.as_shared().clone()).or_default().push(position);
            self.has_wide_services |= service.host.is_wildcard();
            if let ServiceKind::Kubernetes(spec) = &service.kind {
                self.selectors.add(position, service.object.namespace(), &spec.spec.selector);
            }
        }
    }

    fn index_rules(&mut self) {
        let rules: Vec<(&Object, &DestinationRule)> = self.all::<DestinationRule>().collect();
        for (position, (object, rule)) in rules.into_iter().enumerate() {
            let host = self.resolve(&rule.host, object.namespace());
            self.has_wide_rules |= host.is_wildcard();
            self.rules.entry(host).or_default().push((position, object, rule));
        }
    }

    /// The domain of the names of services.
    pub(super) fn domain(&self) -> &'a str {
        self.settings.mesh.domain()
    }

    /// What a resource of `namespace` means by a host.
    pub(super) fn resolve(&self, host: &Host, namespace: &str) -> Host {
        host.resolve(namespace, self.domain())
    }

    /// How many things have been looked at so far.
    pub(super) fn looked(&self) -> u64 {
        self.looked.get()
    }

    fn look<T>(&self, thing: T) -> T {
        self.looked.set(self.looked.get() + 1);
        thing
    }

    /// All services; for what cannot be looked up.
    pub(super) fn services<'m>(&'m self) -> impl Iterator<Item = &'m Service<'a>> + use<'a, 'm> {
        self.services.iter().map(|service| self.look(service))
    }

    /// The services of exactly that full name, whoever sees them.
    pub(super) fn services_of<'m>(
        &'m self,
        host: &Host,
    ) -> impl Iterator<Item = &'m Service<'a>> + use<'a, 'm> {
        let positions = self.by_host.get(host.as_str()).into_iter().flatten();
        positions.map(|position| self.look(&self.services[*position]))
    }

    /// Kubernetes Services of a namespace that select what has these labels, in the order of files.
    pub(super) fn selecting(&self, namespace: &Str, of: &Labels) -> Vec<(&'a Object, &'a core::Service)> {
        let candidates = self.selectors.candidates(namespace, of).into_iter();
        let services = candidates.filter_map(|position| {
            let service = self.look(&self.services[position]);
            let ServiceKind::Kubernetes(spec) = service.kind else { return None };
            crate::labels::selects(&spec.spec.selector, of).then_some((service.object, spec))
        });
        services.collect()
    }

    /// What runs in a namespace (None: anywhere) and has the labels, in the order of files.
    pub(super) fn selected<'m>(
        &'m self,
        selector: &Labels,
        namespace: Option<&Str>,
    ) -> impl Iterator<Item = &'m Workload<'a>> + use<'a, 'm> {
        let selector = selector.clone();
        let candidates = self.workload_index.candidates(&selector, namespace);
        let all = if candidates.is_none() { 0..self.workloads.len() } else { 0..0 };
        let positions = candidates.unwrap_or_default().iter().copied().chain(all);
        let workloads = positions.map(|position| self.look(&self.workloads[position]));
        workloads.filter(move |workload| crate::labels::selects(&selector, &workload.labels))
    }

    /// DestinationRules that cover a host in full, in the order of files.
    pub(super) fn rules_for(&self, host: &Host) -> Vec<(&'a Object, &'a DestinationRule)> {
        let mut rules: Vec<Ruled<'a>> = self.rules.get(host).cloned().unwrap_or_default();
        if self.has_wide_rules {
            let wide = host::wider(host.as_str()).filter_map(|wide| self.rules.get(&Host::new(&wide)));
            rules.extend(wide.flatten().copied());
            rules.sort_by_key(|(position, ..)| *position);
        }
        rules.into_iter().map(|(_, object, rule)| self.look((object, rule))).collect()
    }

    /// Objects of a kind, in the order of files.
    pub(super) fn objects(&self, kind: Kind) -> impl Iterator<Item = &'a Object> + use<'a, '_> {
        self.by_kind.get(&kind).into_iter().flatten().map(|object| self.look(*object))
    }

    /// The same of one namespace.
    pub(super) fn objects_in<'m>(
        &'m self,
        kind: Kind,
        namespace: &Str,
    ) -> impl Iterator<Item = &'a Object> + use<'a, 'm> {
        let list = self.by_namespace.get(&(kind, namespace.clone()));
        list.into_iter().flatten().map(|object| self.look(*object))
    }

    /// Objects of one namespace with their content, in the order of files.
    pub(super) fn all_in<'m, T: AsSpec + 'a>(
        &'m self,
        namespace: &Str,
    ) -> impl Iterator<Item = (&'a Object, &'a T)> + use<'a, 'm, T> {
        self.objects_in(T::KIND, namespace).filter_map(|object| Some((object, &**object.spec_as::<T>()?)))
    }

    /// Objects with their content, in the order of files.
    pub(super) fn all<T: AsSpec + 'a>(&self) -> impl Iterator<Item = (&'a Object, &'a T)> + use<'a, '_, T> {
        self.objects(T::KIND).filter_map(|object| Some((object, &**object.spec_as::<T>()?)))
    }

    /// An object by name.
    pub(super) fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'a Object> {
        self.look(self.by_name.get(&(kind, namespace.into(), name.into())).copied())
    }

    /// The Namespace object of that name.
    pub(super) fn namespace(&self, name: &str) -> Option<&'a Object> {
        self.namespaces.get(name).copied()
    }

    /// Names of namespaces that exist or that something is in.
    pub(super) fn namespace_names(&self) -> impl Iterator<Item = &Str> {
        self.known_namespaces.iter()
    }

    /// The gateway that a VirtualService of `namespace` means by a name (SEM-021), and its full name.
    pub(super) fn gateway(
        &self,
        name: &str,
        namespace: &str,
    ) -> (Str, Str, Option<(&'a Object, &'a Gateway)>) {
        let (namespace, name): (Str, Str) = match name.split_once('/') {
            Some((".", name)) => (namespace.into(), name.into()),
            Some((given, name)) => (given.into(), name.into()),
            None => match name.split('.').collect::<Vec<_>>()[..] {
                [name, given, "svc", ..] => (given.into(), name.into()),
                _ => (namespace.into(), name.into()),
            },
        };
        let found = self.find(Kind::Gateway, &namespace, &name);
        let found = found.and_then(|object| Some((object, &**object.spec_as::<Gateway>()?)));
        (namespace, name, found)
    }

    /// The service that a resource of `namespace` means by a host, of those visible there or in one of `also`. The host
    /// itself first, of Kubernetes first; else a wildcard that covers it.
    pub(super) fn service(&self, host: &Host, namespace: &str, also: &[Str]) -> Option<&Service<'a>> {
        let host = self.resolve(host, namespace);
        let visible = |service: &&Service<'_>| {
            service.export_to.visible_in(namespace)
                || also.iter().any(|other| &**other != "*" && service.export_to.visible_in(other))
        };
        if let Some(service) = self.services_of(&host).find(visible) {
            return Some(service);
        }
        if !self.has_wide_services {
            return None;
        }
        host::wider(host.as_str()).find_map(|wide| self.services_of(&Host::new(&wide)).find(visible))
    }

    /// Workloads of a service: those it selects, and its own endpoints (with their labels).
    pub(super) fn endpoint_labels(&self, service: &Service<'a>) -> Vec<Labels> {
        let namespace = service.object.namespace();
        let selected = |selector: &Labels| {
            self.selected(selector, Some(namespace)).map(|workload| workload.labels.clone()).collect()
        };
        match &service.kind {
            ServiceKind::Kubernetes(spec) if spec.spec.selector.is_empty() => Vec::new(),
            ServiceKind::Kubernetes(spec) => selected(&spec.spec.selector),
            ServiceKind::Entry(entry) => match &entry.workload_selector {
                Some(selector) => selected(&selector.labels),
                None => entry.endpoints.iter().map(|endpoint| endpoint.labels.clone()).collect(),
            },
            ServiceKind::Process => {
                let members = self.selected(&Labels::new(), Some(namespace));
                let members = members.filter(|workload| workload.service.as_ref() == Some(&service.host));
                members.map(|workload| workload.labels.clone()).collect()
            }
        }
    }
}

impl Service<'_> {
    /// `namespace/name` of what defines it.
    pub(super) fn name(&self) -> String {
        super::report::full_name(self.object)
    }

    /// Whether a port of that number exists.
    pub(super) fn has_port(&self, number: u32) -> bool {
        self.ports.iter().any(|port| port.number == number)
    }
}

fn services<'a>(mesh: &Mesh<'a>) -> Vec<Service<'a>> {
    let settings = &mesh.settings.mesh;
    let mut all: Vec<Service<'a>> = Vec::new();
    for (object, spec) in mesh.all::<core::Service>() {
        let namespace = object.namespace();
        let export_to = match object.metadata.annotations.get(EXPORT_TO) {
            Some(text) => ExportTo::from_annotation(text, namespace),
            None => ExportTo::resolve(&[], &settings.default_service_export_to, namespace),
        };
        let ports = spec.spec.ports.iter().map(service_port).collect();
        let host = kubernetes_host(object.name(), namespace, mesh.domain());
        all.push(Service { object, host, ports, export_to, kind: ServiceKind::Kubernetes(spec) });
    }
    let mut known: FxHashSet<Host> = all.iter().map(|service| service.host.clone()).collect();
    for (object, spec) in mesh.all::<Process>().filter(|(_, spec)| !spec.gateway) {
        let host = kubernetes_host(spec.service_name(object.name()), object.namespace(), mesh.domain());
        if !known.insert(host.clone()) {
            continue;
        }
        let port = |port: &crate::process::ProcessPort| Port {
            number: port.number.into(),
            protocol: Protocol::of_service_port(&port.name, port.protocol.as_deref(), "TCP", port.number),
        };
        let ports = spec.ports.iter().map(port).collect();
        all.push(Service { object, host, ports, export_to: ExportTo::Public, kind: ServiceKind::Process });
    }
    for (object, spec) in mesh.all::<ServiceEntry>() {
        let export_to =
            ExportTo::resolve(&spec.export_to, &settings.default_service_export_to, object.namespace());
        for host in &spec.hosts {
            let ports = spec.ports.iter().map(entry_port).collect();
            let host = mesh.resolve(host, object.namespace());
            all.push(Service {
                object,
                host,
                ports,
                export_to: export_to.clone(),
                kind: ServiceKind::Entry(spec),
            });
        }
    }
    all
}

/// The full name of a Kubernetes Service.
pub(super) fn kubernetes_host(name: &str, namespace: &str, domain: &str) -> Host {
    Host::new(&format!("{name}.{namespace}.svc.{domain}"))
}

fn service_port(port: &core::ServicePort) -> Port {
    let name = port.name.as_deref().unwrap_or_default();
    let transport = port.protocol.as_deref().unwrap_or("TCP");
    let protocol = Protocol::of_service_port(name, port.app_protocol.as_deref(), transport, port.port);
    Port { number: port.port.into(), protocol }
}

fn entry_port(port: &crate::networking::service_entry::ServicePort) -> Port {
    let declared = port.protocol.as_deref().and_then(Protocol::parse);
    Port {
        number: port.number,
        protocol: declared.or_else(|| Protocol::of_name(&port.name)).unwrap_or_default(),
    }
}

/// `8080` or `web`.
pub(super) fn target_text(port: &core::ServicePort) -> String {
    match &port.target_port {
        None => port.port.to_string(),
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(name)) => name.to_string(),
    }
}
