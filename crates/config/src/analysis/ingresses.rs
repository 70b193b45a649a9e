//! Kubernetes Ingresses of the mesh that lead to Services or ports that do not exist, or name a class that does not.

use super::Analyzer;
use super::messages::REFERENCED_RESOURCE_NOT_FOUND;
use super::report::Report;
use super::view::Mesh;
use crate::core::Service;
use crate::ingress::{CLASS_ANNOTATION, CONTROLLER, Classes, Ingress, IngressBackend, IngressClass};
use crate::mesh::IngressControllerMode;
use crate::{Kind, Object, text};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "ingresses",
    about: "classes of Ingresses, and Services that those of the mesh lead to",
    says: &[&REFERENCED_RESOURCE_NOT_FOUND],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let settings = &mesh.settings.mesh;
    if settings.ingress_controller_mode() == IngressControllerMode::Off {
        return;
    }
    let mut classes = Classes::default();
    for (object, _) in mesh.all::<IngressClass>() {
        classes.set(object.name(), Some(object));
    }
    for (object, ingress) in mesh.all::<Ingress>() {
        if !object.metadata.annotations.contains_key(CLASS_ANNOTATION) {
            class(&classes, object, ingress, settings.ingress_class(), report);
        }
        if !classes.serve(object, ingress, settings) {
            continue;
        }
        for (index, rule) in ingress.spec.rules.iter().enumerate() {
            for (number, path) in rule.http.paths.iter().enumerate() {
                let at = format!("spec.rules[{index}].http.paths[{number}].backend");
                let request = (rule.host.as_deref().unwrap_or("*"), path.path.as_deref().unwrap_or("/"));
                backend(mesh, object, &path.backend, request, &at, report);
            }
        }
    }
}

/// A class that is not there: the mesh's own, or one that looks like a slip. Others may be defined elsewhere.
fn class(classes: &Classes, object: &Object, ingress: &Ingress, own: &str, report: &mut Report) {
    let Some(name) = ingress.spec.ingress_class_name.as_deref() else { return };
    let known: Vec<&str> = classes.names().collect();
    let meant = text::closest(name, &known);
    if !known.contains(&name) && (name == own || meant.is_some()) {
        let text = format!("Referenced ingress class not found: {name:?}: nobody serves this Ingress");
        let hint = match meant {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("create the IngressClass with controller: {CONTROLLER}"),
        };
        report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, "spec.ingressClassName", text, hint);
    }
}

fn backend(
    mesh: &Mesh<'_>,
    object: &Object,
    backend: &IngressBackend,
    (host, path): (&str, &str),
    at: &str,
    report: &mut Report,
) {
    let Some(service) = &backend.service else { return };
    let request = format!("GET http://{}{path}", super::evidence::host(Some(&host.into()), None));
    let port = &service.port;
    // A name that cannot be looked up leaves the path out; a number leads to a cluster that is not there.
    let gets = if port.name.is_some() { "finds no route" } else { "gets 503" };
    let found = mesh.find(Kind::Service, object.namespace(), &service.name);
    let Some(spec) = found.and_then(|found| found.spec_as::<Service>()) else {
        let text = format!("Referenced service not found: {:?}: {request} {gets}", &*service.name);
        let hint = format!("create the Service in namespace {}", object.namespace());
        report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &format!("{at}.service.name"), text, hint);
        return;
    };
    let exists = spec.spec.ports.iter().any(|known| match &port.name {
        Some(name) => known.name.as_ref() == Some(name),
        None => known.port == port.number,
    });
    if !exists {
        let number = port.number.to_string();
        let wanted = format!("{}:{}", service.name, port.name.as_deref().unwrap_or(&number));
        let text = format!("Referenced service port not found: {wanted:?}: {request} {gets}");
        let known: Vec<String> = spec.spec.ports.iter().map(|port| port.port.to_string()).collect();
        let hint = format!("ports of {}: {}", service.name, known.join(", "));
        report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &format!("{at}.service.port"), text, hint);
    }
}
