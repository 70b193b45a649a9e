//! What a cluster has by default and files seldom say: an ingress gateway's Pod and its Service. Called by `analyze`, unless
//! `--no-defaults` is given.
//!
//! Invariant: what the files say wins over what is assumed.

use std::sync::Arc;

use super::Settings;
use crate::core::{Container, IntOrString, Pod, Service, ServicePort};
use crate::mesh::IngressControllerMode;
use crate::{Loaded, Metadata, Object, Spec, Str};

/// Ports of Istio's ingress gateway, and where its proxy listens: charts have had both forms of 80 and 443, and Istio's own
/// samples name 8080.
const PORTS: [(&str, u16, u16); 6] = [
    ("http2", 80, 80),
    ("http2-unprivileged", 80, 8080),
    ("https", 443, 443),
    ("https-unprivileged", 443, 8443),
    ("tcp", 31400, 31400),
    ("tls", 15443, 15443),
];

/// The objects that are assumed.
pub(super) fn objects(loaded: &Loaded, settings: &Settings) -> Vec<Object> {
    let mesh = &settings.mesh;
    if mesh.ingress_controller_mode == IngressControllerMode::Off {
        return Vec::new();
    }
    let selector: Str = mesh.ingress_selector().into();
    let service = mesh.ingress_service.clone().unwrap_or_else(|| "istio-ingressgateway".into());
    let labels: crate::Labels = [("istio".into(), selector.clone())].into();
    let container =
        Container { name: Some("istio-proxy".into()), image: Some("meltemi".into()), ..Container::default() };
    let mut pod = Pod::default();
    pod.spec.containers.push(container);
    let mut spec = Service::default();
    spec.spec.selector.clone_from(&labels);
    spec.spec.ports = PORTS.iter().map(|(name, port, target)| service_port(name, *port, *target)).collect();
    spec.set_defaults();
    let assumed = [
        object(&settings.root_namespace, &format!("istio-{selector}"), Spec::Pod(Arc::new(pod)), labels),
        object(&settings.root_namespace, &service, Spec::Service(Arc::new(spec)), crate::Labels::new()),
    ];
    let given = |id: &crate::ResourceId| {
        loaded.objects.iter().chain(&loaded.rejected).any(|object| object.id() == *id)
    };
    assumed.into_iter().filter(|object| !given(&object.id())).collect()
}

fn service_port(name: &str, port: u16, target: u16) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port,
        target_port: Some(IntOrString::Int(target)),
        ..ServicePort::default()
    }
}

fn object(namespace: &Str, name: &str, spec: Spec, labels: crate::Labels) -> Object {
    let mut object = Object::new(namespace, name, spec);
    let metadata = Metadata { labels, ..(*object.metadata).clone() };
    object.metadata = Arc::new(metadata);
    object
}
