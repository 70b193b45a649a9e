//! Kubernetes Ingress and IngressClass, and which Ingresses the mesh serves (SEM-178). Read by analysis and by pilot, which makes
//! Gateways and VirtualServices of them.
//!
//! Invariant: whether an Ingress counts is decided in [`Classes::serve`] alone.

use std::collections::BTreeMap;

use crate::decode::macros::{message, proto_enum};
use crate::mesh::{IngressControllerMode, MeshConfig};
use crate::{Object, Str, Timestamp};

/// Annotation that names a class, older than `ingressClassName`; it goes first.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Annotation of the class of Ingresses that name none.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// The controller of classes that are the mesh's.
pub const CONTROLLER: &str = "istio.io/ingress-controller";

message! {
    /// networking.k8s.io/v1 Ingress.
    pub struct Ingress {
        /// What is wanted.
        spec: IngressSpec = "spec";
    }
}

message! {
    /// What an Ingress is.
    pub struct IngressSpec {
        /// Class; unset: the annotation `kubernetes.io/ingress.class`, else the default one.
        ingress_class_name: Option<Str> = "ingressClassName";
        /// Where requests go that no rule takes.
        default_backend: Option<IngressBackend> = "defaultBackend";
        /// Rules.
        rules: Vec<IngressRule> = "rules";
        /// Certificates.
        tls: Vec<IngressTls> = "tls";
    }
}

message! {
    /// Paths of a host.
    pub struct IngressRule {
        /// Host; unset: all.
        host: Option<Str> = "host";
        /// HTTP.
        http: IngressPaths = "http";
    }
}

message! {
    /// Paths.
    pub struct IngressPaths {
        /// Each with where it leads.
        paths: Vec<IngressPath> = "paths";
    }
}

message! {
    /// A path and where it leads.
    pub struct IngressPath {
        /// Path.
        path: Option<Str> = "path";
        /// How it is meant.
        path_type: PathType = "pathType";
        /// Where to.
        backend: IngressBackend = "backend";
    }
}

message! {
    /// Where an Ingress leads.
    pub struct IngressBackend {
        /// A Service of the same namespace.
        service: Option<IngressService> = "service";
        /// An object of another kind in its place; nothing leads there.
        resource: Option<serde_json::Value> = "resource";
    }
}

message! {
    /// A Service and its port.
    pub struct IngressService {
        /// Name.
        name: Str = "name";
        /// Port.
        port: IngressPort = "port";
    }
}

message! {
    /// A port by number or by name.
    pub struct IngressPort {
        /// Number.
        number: u16 = "number";
        /// Name.
        name: Option<Str> = "name";
    }
}

message! {
    /// A certificate of an Ingress.
    pub struct IngressTls {
        /// For these hosts.
        hosts: Vec<Str> = "hosts";
        /// Name of the Secret.
        secret_name: Option<Str> = "secretName";
    }
}

proto_enum! {
    /// How a path is meant.
    pub enum PathType {
        /// As the controller likes: exact, or with `/*` or `.*` at its end what is below.
        ImplementationSpecific = "ImplementationSpecific";
        /// This path only.
        Exact = "Exact";
        /// This path and what is below it, part by part.
        Prefix = "Prefix";
    }
}

message! {
    /// networking.k8s.io/v1 IngressClass.
    pub struct IngressClass {
        /// What is wanted.
        spec: IngressClassSpec = "spec";
    }
}

message! {
    /// What an IngressClass is.
    pub struct IngressClassSpec {
        /// Who serves its Ingresses: `istio.io/ingress-controller` is the mesh.
        controller: Option<Str> = "controller";
    }
}

/// The classes that are there.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    by_name: BTreeMap<Str, Class>,
}

#[derive(Debug, Clone)]
struct Class {
    controller: Str,
    /// For those that name none; the newest such class holds.
    default: Option<(Option<Timestamp>, Str)>,
}

impl Classes {
    /// Sets a class or takes it away.
    pub fn set(&mut self, name: &Str, object: Option<&Object>) {
        let class = object.and_then(|object| Some((object, object.spec_as::<IngressClass>()?)));
        let Some((object, class)) = class else {
            self.by_name.remove(name);
            return;
        };
        let is_default = object.metadata.annotations.get(DEFAULT_CLASS).is_some_and(|word| &**word == "true");
        let class = Class {
            controller: class.spec.controller.clone().unwrap_or_default(),
            default: is_default.then(|| (object.metadata.creation_timestamp, name.clone())),
        };
        self.by_name.insert(name.clone(), class);
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// Whether the mesh serves an Ingress, by Istio's rules: the annotation must be the mesh's class, a class must be of the
    /// mesh's controller, and one without any is served in mode DEFAULT only. A class that is not there counts as none.
    pub fn serve(&self, object: &Object, ingress: &Ingress, mesh: &MeshConfig) -> bool {
        let mode = mesh.ingress_controller_mode();
        if mode == IngressControllerMode::Off {
            return false;
        }
        if let Some(class) = object.metadata.annotations.get(CLASS_ANNOTATION) {
            return **class == *mesh.ingress_class();
        }
        let class = match &ingress.spec.ingress_class_name {
            Some(name) => self.by_name.get(name),
            // An API server fills the name in.
            None => self
                .by_name
                .values()
                .filter(|class| class.default.is_some())
                .max_by(|a, b| a.default.cmp(&b.default)),
        };
        class.map_or(mode == IngressControllerMode::Default, |class| &*class.controller == CONTROLLER)
    }
}

/// The class that an Ingress names, if it does.
pub fn named_class<'a>(object: &'a Object, ingress: &'a Ingress) -> Option<&'a Str> {
    object.metadata.annotations.get(CLASS_ANNOTATION).or(ingress.spec.ingress_class_name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_text;

    const CLASSES: &str = "\
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: mesh}
spec: {controller: istio.io/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: example.com/other}
";

    fn served(classes: &str, ingress: &str, mesh: MeshConfig) -> bool {
        let ingress = format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, {ingress}}}");
        let loaded = load_text("a.yaml", &format!("{classes}---\n{ingress}"), &crate::Options::default());
        assert!(loaded.unreadable.is_empty(), "{:?}", loaded.diagnostics);
        let mut classes = Classes::default();
        let objects = || loaded.objects.iter().chain(&loaded.rejected);
        for object in objects().filter(|object| object.spec_as::<IngressClass>().is_some()) {
            classes.set(object.name(), Some(object));
        }
        let object = objects().find(|object| object.kind == crate::Kind::Ingress).unwrap();
        classes.serve(object, object.spec_as::<Ingress>().unwrap(), &mesh)
    }

    fn mesh(mode: IngressControllerMode, class: Option<&str>) -> MeshConfig {
        MeshConfig {
            ingress_controller_mode: mode,
            ingress_class: class.map(Str::from),
            ..MeshConfig::default()
        }
    }

    #[test]
    fn classes_and_modes_decide_which_ingresses_count() {
        use IngressControllerMode::{Default as All, Off, Strict, Unspecified};
        let annotated =
            |class: &str| format!("metadata: {{name: a, annotations: {{{CLASS_ANNOTATION}: {class}}}}}");
        let of_class = |class: &str| format!("metadata: {{name: a}}, spec: {{ingressClassName: {class}}}");
        let both = format!("{}, spec: {{ingressClassName: mesh}}", annotated("nginx"));
        let bare = "metadata: {name: a}, spec: {}".to_owned();
        for (ingress, mode, class, wanted) in [
            (annotated("istio"), Strict, None, true),
            (annotated("istio"), Unspecified, None, true),
            (annotated("istio"), All, None, true),
            (annotated("istio"), Off, None, false),
            (annotated("nginx"), All, None, false),
            (annotated("mine"), Strict, Some("mine"), true),
            (annotated("istio"), Strict, Some("mine"), false),
            (of_class("mesh"), Strict, None, true),
            (of_class("mesh"), Off, None, false),
            (of_class("other"), All, None, false),
            (of_class("missing"), Strict, None, false),
            (of_class("missing"), All, None, true),
            (of_class("istio"), Strict, None, false),
            (both, All, None, false),
            (bare.clone(), Strict, None, false),
            (bare.clone(), All, None, true),
        ] {
            assert_eq!(served(CLASSES, &ingress, mesh(mode, class)), wanted, "{ingress} {mode:?} {class:?}");
        }
        let default = CLASSES.replacen(
            "{name: mesh}",
            "{name: mesh, annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}}",
            1,
        );
        assert!(served(&default, &bare, mesh(Strict, None)));
        let default = CLASSES.replacen(
            "{name: other}",
            "{name: other, annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}}",
            1,
        );
        assert!(!served(&default, &bare, mesh(All, None)));
    }
}
