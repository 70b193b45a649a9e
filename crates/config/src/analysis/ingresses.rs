//! Kubernetes Ingresses of the mesh's class that lead to Services or ports that do not exist.

use super::Analyzer;
use super::messages::REFERENCED_RESOURCE_NOT_FOUND;
use super::report::Report;
use super::view::Mesh;
use crate::core::Service;
use crate::kubernetes::{Ingress, IngressBackend};
use crate::mesh::IngressControllerMode;
use crate::{Kind, Object};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "ingresses",
    about: "Services that Ingresses of the mesh's class lead to",
    says: &[&REFERENCED_RESOURCE_NOT_FOUND],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    if mesh.settings.mesh.ingress_controller_mode == IngressControllerMode::Off {
        return;
    }
    let class = mesh.settings.mesh.ingress_class.as_deref().unwrap_or("istio");
    for (object, ingress) in mesh.all::<Ingress>() {
        let annotation = object.metadata.annotations.get("kubernetes.io/ingress.class");
        let said = annotation.or(ingress.spec.ingress_class_name.as_ref());
        if said.is_none_or(|said| **said != *class) {
            continue;
        }
        if let Some(backend) = &ingress.spec.default_backend {
            check(mesh, object, backend, ("*", "/"), "spec.defaultBackend", report);
        }
        for (index, rule) in ingress.spec.rules.iter().enumerate() {
            for (number, path) in rule.http.paths.iter().enumerate() {
                let at = format!("spec.rules[{index}].http.paths[{number}].backend");
                let request = (rule.host.as_deref().unwrap_or("*"), path.path.as_deref().unwrap_or("/"));
                check(mesh, object, &path.backend, request, &at, report);
            }
        }
    }
}

fn check(
    mesh: &Mesh<'_>,
    object: &Object,
    backend: &IngressBackend,
    (host, path): (&str, &str),
    at: &str,
    report: &mut Report,
) {
    let Some(service) = &backend.service else { return };
    let request = format!("GET http://{}{path}", super::evidence::host(Some(&host.into()), None));
    let found = mesh.find(Kind::Service, object.namespace(), &service.name);
    let Some(spec) = found.and_then(|found| found.spec_as::<Service>()) else {
        let text = format!("Referenced service not found: {:?}: {request} gets 503", &*service.name);
        let hint = format!("create the Service in namespace {}", object.namespace());
        report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &format!("{at}.service.name"), text, hint);
        return;
    };
    let port = &service.port;
    let exists = spec.spec.ports.iter().any(|known| match &port.name {
        Some(name) => known.name.as_ref() == Some(name),
        None => known.port == port.number,
    });
    if !exists {
        let number = port.number.to_string();
        let wanted = format!("{}:{}", service.name, port.name.as_deref().unwrap_or(&number));
        let text = format!("Referenced service port not found: {wanted:?}: {request} gets 503");
        let known: Vec<String> = spec.spec.ports.iter().map(|port| port.port.to_string()).collect();
        let hint = format!("ports of {}: {}", service.name, known.join(", "));
        report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &format!("{at}.service.port"), text, hint);
    }
}
