//! The mesh as analyzers see it: objects by kind, services by host, workloads, namespaces. Built once per analysis.
//!
//! Invariant: immutable; objects with faults are in it as far as they could be read.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Settings;
use super::workloads::{self, Workload};
use crate::core::{self, IntOrString};
use crate::networking::{DestinationRule, Gateway, ServiceEntry};
use crate::process::Process;
use crate::{AsSpec, ExportTo, Host, Kind, Labels, Loaded, Object, Protocol, Str, host};

/// Domain of Kubernetes names.
pub(super) const DOMAIN: &str = "cluster.local";

/// Annotation that says who sees a Service (SEM-006).
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// Everything that was read.
pub(super) struct Mesh<'a> {
    pub(super) settings: &'a Settings,
    /// Services, in the order of files; those of Kubernetes first.
    pub(super) services: Vec<Service<'a>>,
    /// Things that run.
    pub(super) workloads: Vec<Workload<'a>>,
    by_kind: FxHashMap<Kind, Vec<&'a Object>>,
    by_host: FxHashMap<Str, Vec<usize>>,
    /// DestinationRules by host, and those for wildcards once more; in the order of files.
    rules: FxHashMap<Host, Vec<Ruled<'a>>>,
    wide_rules: Vec<(Host, Ruled<'a>)>,
    namespaces: FxHashMap<Str, &'a Object>,
    known_namespaces: FxHashSet<Str>,
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
        for object in objects() {
            by_kind.entry(object.kind).or_default().push(object);
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
            workloads: Vec::new(),
            by_kind,
            by_host: FxHashMap::default(),
            rules: FxHashMap::default(),
            wide_rules: Vec::new(),
            namespaces,
            known_namespaces,
        };
        mesh.workloads = workloads::all(&mesh);
        mesh.services = services(&mesh);
        for (position, service) in mesh.services.iter().enumerate() {
            mesh.by_host.entry(service.host.as_shared().clone()).or_default().push(position);
        }
        let rules: Vec<(&Object, &DestinationRule)> = mesh.all::<DestinationRule>().collect();
        for (position, (object, rule)) in rules.into_iter().enumerate() {
            let host = rule.host.resolve(object.namespace(), DOMAIN);
            if host.is_wildcard() {
                mesh.wide_rules.push((host.clone(), (position, object, rule)));
            }
            mesh.rules.entry(host).or_default().push((position, object, rule));
        }
        mesh
    }

    /// DestinationRules that cover a host in full, in the order of files.
    pub(super) fn rules_for(&self, host: &Host) -> Vec<(&'a Object, &'a DestinationRule)> {
        let exact = self.rules.get(host).into_iter().flatten().copied();
        let wide = self.wide_rules.iter().filter(|(wide, _)| wide != host && host::subset_of(host, wide));
        let mut rules: Vec<Ruled<'a>> = exact.chain(wide.map(|(_, rule)| *rule)).collect();
        rules.sort_by_key(|(position, ..)| *position);
        rules.into_iter().map(|(_, object, rule)| (object, rule)).collect()
    }

    /// Objects of a kind, in the order of files.
    pub(super) fn objects(&self, kind: Kind) -> impl Iterator<Item = &'a Object> + use<'a, '_> {
        self.by_kind.get(&kind).into_iter().flatten().copied()
    }

    /// Objects with their content, in the order of files.
    pub(super) fn all<T: AsSpec + 'a>(&self) -> impl Iterator<Item = (&'a Object, &'a T)> + use<'a, '_, T> {
        self.objects(T::KIND).filter_map(|object| Some((object, &**object.spec_as::<T>()?)))
    }

    /// An object by name.
    pub(super) fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'a Object> {
        self.objects(kind).find(|object| **object.namespace() == *namespace && **object.name() == *name)
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
        let host = host.resolve(namespace, DOMAIN);
        let visible = |service: &&Service<'_>| {
            service.export_to.visible_in(namespace)
                || also.iter().any(|other| &**other != "*" && service.export_to.visible_in(other))
        };
        let exact = self.by_host.get(host.as_str()).into_iter().flatten().map(|at| &self.services[*at]);
        if let Some(service) = exact.into_iter().find(visible) {
            return Some(service);
        }
        let covers = |service: &&Service<'_>| {
            service.host.is_wildcard() && host::subset_of(&host, &service.host) && visible(service)
        };
        let covering: Vec<&Service<'a>> = self.services.iter().filter(covers).collect();
        covering.into_iter().max_by_key(|service| service.host.len())
    }

    /// Workloads of a service: those it selects, and its own endpoints (with their labels).
    pub(super) fn endpoint_labels(&self, service: &Service<'a>) -> Vec<Labels> {
        let namespace = service.object.namespace();
        let selected = |selector: &Labels| {
            let workloads = self.workloads.iter().filter(|w| w.namespace == *namespace);
            workloads
                .filter(|w| crate::labels::selects(selector, &w.labels))
                .map(|w| w.labels.clone())
                .collect()
        };
        match &service.kind {
            ServiceKind::Kubernetes(spec) if spec.spec.selector.is_empty() => Vec::new(),
            ServiceKind::Kubernetes(spec) => selected(&spec.spec.selector),
            ServiceKind::Entry(entry) => match &entry.workload_selector {
                Some(selector) => selected(&selector.labels),
                None => entry.endpoints.iter().map(|endpoint| endpoint.labels.clone()).collect(),
            },
            ServiceKind::Process => {
                let name = service.object.namespace();
                let members = self.workloads.iter().filter(|w| w.namespace == *name);
                members
                    .filter(|w| w.service.as_ref() == Some(&service.host))
                    .map(|w| w.labels.clone())
                    .collect()
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
        let host = kubernetes_host(object.name(), namespace);
        all.push(Service { object, host, ports, export_to, kind: ServiceKind::Kubernetes(spec) });
    }
    for (object, spec) in mesh.all::<Process>().filter(|(_, spec)| !spec.gateway) {
        let host = kubernetes_host(spec.service_name(object.name()), object.namespace());
        if all.iter().any(|service| service.host == host) {
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
            let host = host.resolve(object.namespace(), DOMAIN);
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
pub(super) fn kubernetes_host(name: &str, namespace: &str) -> Host {
    Host::new(&format!("{name}.{namespace}.svc.{DOMAIN}"))
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
