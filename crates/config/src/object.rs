//! An object of the mesh, whatever its kind: name, typed content, and where it was written.

use std::fmt;
use std::sync::Arc;

use crate::Str;
use crate::core::{Deployment, EndpointSlice, Namespace, Pod, Service};
use crate::decode::{Decode, Decoder, Shape};
use crate::diagnostic::{Place, ResourceId};
use crate::extensions::WasmPlugin;
use crate::ingress::{Ingress, IngressClass};
use crate::kubernetes::{
    Condition, ConfigMap, CustomResourceDefinition, GivenAddress, MutatingWebhookConfiguration,
    Node as KubernetesNode, Secret, ValidatingWebhookConfiguration,
};
use crate::labels::Labels;
use crate::mesh::MeshNetworks;
use crate::networking::*;
use crate::path::{Path, Seg};
use crate::process::Process;
use crate::security::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use crate::spans::Spans;
use crate::telemetry::Telemetry;
use crate::tree::Node;

mod metadata;

pub use metadata::{Metadata, Timestamp};

/// Declares the kinds once: `Kind`, `Spec` and the reader of each.
macro_rules! kinds {
    ($( $(#[$meta:meta])* $kind:ident ( $ty:ty ) = $group:literal $(| $more:literal)* [$($version:literal),*] $class:ident; )*) => {
        /// The kinds that are read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $( $(#[$meta])* $kind, )* }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Kind] = &[$( Kind::$kind ),*];

            /// Name in documents.
            pub fn as_str(self) -> &'static str {
                match self { $( Kind::$kind => stringify!($kind), )* }
            }

            /// API group; empty for core.
            pub fn group(self) -> &'static str {
                match self { $( Kind::$kind => $group, )* }
            }

            /// Versions that are read, the preferred one first.
            pub fn versions(self) -> &'static [&'static str] {
                match self { $( Kind::$kind => &[$($version),*], )* }
            }

            fn class(self) -> Class {
                match self { $( Kind::$kind => Class::$class, )* }
            }

            /// What a document of this kind may say in `spec` (mesh kinds) or at the top (Kubernetes objects).
            pub fn shape(self) -> Shape {
                match self { $( Kind::$kind => <$ty as Decode>::shape(), )* }
            }
        }

        /// The typed content of an object.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Spec { $( $(#[$meta])* $kind(Arc<$ty>), )* }

        impl Spec {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $( Spec::$kind(_) => Kind::$kind, )* }
            }

            /// Reads the content of a kind.
            pub(crate) fn decode(kind: Kind, node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Spec> {
                match kind { $( Kind::$kind => <$ty as Decode>::decode(node, cx, path).map(|v| Spec::$kind(Arc::new(v))), )* }
            }
        }

        impl serde::Serialize for Spec {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $( Spec::$kind(spec) => spec.serialize(serializer), )* }
            }
        }

        $( impl AsSpec for $ty {
            const KIND: Kind = Kind::$kind;

            fn of(spec: &Spec) -> Option<&Arc<Self>> {
                match spec { Spec::$kind(spec) => Some(spec), _ => None }
            }
        } )*
    };
}

/// Whose rules a kind follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Content in `spec`; unknown fields are faults.
    Mesh,
    /// Content at the top; unknown fields are skipped.
    Kubernetes,
    /// As Kubernetes, and not in a namespace.
    Cluster,
}

/// The content type of a kind.
pub trait AsSpec: Sized {
    /// Its kind.
    const KIND: Kind;
    /// The content, if it is of this kind.
    fn of(spec: &Spec) -> Option<&Arc<Self>>;
}

kinds! {
    /// Routes.
    VirtualService(VirtualService) = "networking.istio.io" ["v1", "v1beta1", "v1alpha3"] Mesh;
    /// Policies of destinations.
    DestinationRule(DestinationRule) = "networking.istio.io" ["v1", "v1beta1", "v1alpha3"] Mesh;
    /// Ports of gateways.
    Gateway(Gateway) = "networking.istio.io" ["v1", "v1beta1", "v1alpha3"] Mesh;
    /// Services by hand.
    ServiceEntry(ServiceEntry) = "networking.istio.io" ["v1", "v1beta1", "v1alpha3"] Mesh;
    /// Workloads by hand.
    WorkloadEntry(WorkloadEntry) = "networking.istio.io" ["v1", "v1beta1", "v1alpha3"] Mesh;
    /// Templates of workloads.
    WorkloadGroup(WorkloadGroup) = "networking.istio.io" ["v1", "v1beta1", "v1alpha3"] Mesh;
    /// Scopes of sidecars.
    Sidecar(Sidecar) = "networking.istio.io" ["v1", "v1beta1", "v1alpha3"] Mesh;
    /// Patches.
    EnvoyFilter(EnvoyFilter) = "networking.istio.io" ["v1alpha3"] Mesh;
    /// Settings of proxies.
    ProxyConfig(ProxyConfig) = "networking.istio.io" ["v1beta1"] Mesh;
    /// Mutual TLS.
    PeerAuthentication(PeerAuthentication) = "security.istio.io" ["v1", "v1beta1"] Mesh;
    /// Tokens.
    RequestAuthentication(RequestAuthentication) = "security.istio.io" ["v1", "v1beta1"] Mesh;
    /// Permissions.
    AuthorizationPolicy(AuthorizationPolicy) = "security.istio.io" ["v1", "v1beta1"] Mesh;
    /// Reports.
    Telemetry(Telemetry) = "telemetry.istio.io" ["v1", "v1alpha1"] Mesh;
    /// WebAssembly modules.
    WasmPlugin(WasmPlugin) = "extensions.istio.io" ["v1alpha1"] Mesh;
    /// Local commands.
    Process(Process) = "meltemi.dev" ["v1alpha1"] Mesh;
    /// Kubernetes Service.
    Service(Service) = "" ["v1"] Kubernetes;
    /// Kubernetes Namespace.
    Namespace(Namespace) = "" ["v1"] Cluster;
    /// Kubernetes EndpointSlice.
    EndpointSlice(EndpointSlice) = "discovery.k8s.io" ["v1", "v1beta1"] Kubernetes;
    /// Kubernetes Pod.
    Pod(Pod) = "" ["v1"] Kubernetes;
    /// Kubernetes Deployment.
    Deployment(Deployment) = "apps" ["v1"] Kubernetes;
    /// Kubernetes Secret.
    Secret(Secret) = "" ["v1"] Kubernetes;
    /// Kubernetes ConfigMap.
    ConfigMap(ConfigMap) = "" ["v1"] Kubernetes;
    /// Kubernetes Node.
    Node(KubernetesNode) = "" ["v1"] Cluster;
    /// Kubernetes Ingress.
    Ingress(Ingress) = "networking.k8s.io" ["v1"] Kubernetes;
    /// Kubernetes IngressClass.
    IngressClass(IngressClass) = "networking.k8s.io" ["v1"] Cluster;
    /// Definition of a kind.
    CustomResourceDefinition(CustomResourceDefinition) = "apiextensions.k8s.io" ["v1", "v1beta1"] Cluster;
    /// Webhooks that change objects.
    MutatingWebhookConfiguration(MutatingWebhookConfiguration) = "admissionregistration.k8s.io" ["v1", "v1beta1"] Cluster;
    /// Webhooks that check objects.
    ValidatingWebhookConfiguration(ValidatingWebhookConfiguration) = "admissionregistration.k8s.io" ["v1", "v1beta1"] Cluster;
    /// The mesh's networks; made from `--mesh-networks`, never a document.
    MeshNetworks(MeshNetworks) = "mesh.istio.io" ["v1alpha1"] Kubernetes;
}

impl Kind {
    /// The kind of a document, by API group and name.
    pub fn find(group: &str, name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.as_str() == name && kind.group() == group)
    }

    /// Whether the content is in `spec` and unknown fields are faults.
    pub fn is_mesh(self) -> bool {
        self.class() == Class::Mesh
    }

    /// Whether analysis reads it and nothing else does: the control plane leaves it out.
    pub fn for_analysis_only(self) -> bool {
        matches!(
            self,
            Kind::Secret
                | Kind::ConfigMap
                | Kind::CustomResourceDefinition
                | Kind::MutatingWebhookConfiguration
                | Kind::ValidatingWebhookConfiguration
                | Kind::MeshNetworks
        )
    }

    /// Whether it has rules beyond its schema, and places for what is found.
    pub fn is_checked(self) -> bool {
        self.is_mesh() || self == Kind::Ingress
    }

    /// Whether objects of this kind are in a namespace.
    pub fn is_namespaced(self) -> bool {
        self.class() != Class::Cluster
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an object was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Source {
    /// The file as it was named; empty if it was none.
    pub file: Str,
    /// Line of its first key, from 1.
    pub line: u32,
}

/// An object of the mesh. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object {
    /// Kind.
    pub kind: Kind,
    /// `apiVersion` as written.
    pub api_version: Str,
    /// Name, namespace, labels and so on.
    pub metadata: Arc<Metadata>,
    /// Content.
    pub spec: Spec,
    /// Where it was written.
    pub source: Source,
    /// `status.conditions`; read for analysis only.
    pub conditions: Arc<[Condition]>,
    /// `status.addresses` of a ServiceEntry: what the mesh has given its hosts.
    pub addresses: Arc<[GivenAddress]>,
    pub(crate) spans: Spans,
}

impl Object {
    /// An object that no file gave, for those that make objects by hand.
    pub fn new(namespace: &str, name: &str, spec: Spec) -> Object {
        let kind = spec.kind();
        let version = kind.versions().first().copied().unwrap_or("v1");
        let api_version =
            if kind.group().is_empty() { version.into() } else { format!("{}/{version}", kind.group()) };
        let metadata = Metadata { name: name.into(), namespace: namespace.into(), ..Metadata::default() };
        Object {
            kind,
            api_version: api_version.into(),
            metadata: Arc::new(metadata),
            spec,
            source: Source::default(),
            conditions: Arc::default(),
            addresses: Arc::default(),
            spans: Spans::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Str {
        &self.metadata.name
    }

    /// Its namespace; empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &Str {
        &self.metadata.namespace
    }

    /// Its labels.
    pub fn labels(&self) -> &Labels {
        &self.metadata.labels
    }

    /// Kind, namespace and name.
    pub fn id(&self) -> ResourceId {
        ResourceId { kind: self.kind, namespace: self.namespace().clone(), name: self.name().clone() }
    }

    /// The content, if it is of this type: `object.spec_as::<VirtualService>()`.
    pub fn spec_as<T: AsSpec>(&self) -> Option<&Arc<T>> {
        T::of(&self.spec)
    }

    /// Where a path such as `spec.http[0].route[1].weight` is written; for a part that is not there, the closest one
    /// around it. `None` if the object was not read from a text.
    pub fn place(&self, path: &str) -> Option<Place> {
        self.place_of(&crate::path::parse(path))
    }

    /// The same for a path in steps.
    pub fn place_of(&self, path: &[Seg<'_>]) -> Option<Place> {
        if self.source.line == 0 {
            return None;
        }
        let mark = self.spans.find(path);
        let (line, column) = mark.map_or((self.source.line, 1), |mark| (mark.line, mark.column));
        Some(Place { file: self.source.file.clone(), line, column })
    }
}
