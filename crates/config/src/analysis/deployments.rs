//! Deployments that Services disagree about, and applications that run as the sidecar's user.

use std::collections::{BTreeMap, BTreeSet};

use super::Analyzer;
use super::messages::{DEPLOYMENT_PORTS, DEPLOYMENT_PROTOCOLS, INVALID_UID};
use super::report::{Report, full_name, go_list};
use super::service_ports::is_control_plane;
use super::view::{Mesh, target_text};
use super::workloads::in_mesh;
use crate::Object;
use crate::core::{Deployment, Pod, PodSpec, Service};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "deployments",
    about: "Services that lead to one Deployment; the user that applications run as",
    says: &[&DEPLOYMENT_PROTOCOLS, &DEPLOYMENT_PORTS, &INVALID_UID],
    run,
};

/// User id of the sidecar, whose own traffic is not captured.
const SIDECAR_UID: i64 = 1337;

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, deployment) in mesh.all::<Deployment>() {
        let template = &deployment.spec.template;
        uid(object, &template.spec, "spec.template.spec", report);
        let (pod_labels, annotations) = (&template.metadata.labels, &template.metadata.annotations);
        let waypoint = object.labels().get("gateway.istio.io/managed");
        if waypoint.is_some_and(|by| &**by == "istio.io-mesh-controller")
            || !in_mesh(mesh, object.namespace(), pod_labels, annotations, &template.spec)
        {
            continue;
        }
        let selecting = mesh.selecting(object.namespace(), pod_labels);
        protocols(object, &selecting, report);
        target_ports(object, &selecting, report);
    }
    for (object, pod) in mesh.all::<Pod>() {
        uid(object, &pod.spec, "spec", report);
    }
}

/// One port number, several protocols.
fn protocols(deployment: &Object, services: &[(&Object, &Service)], report: &mut Report) {
    let mut ports: BTreeMap<u16, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for (object, service) in services {
        for port in &service.spec.ports {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            ports.entry(port.port).or_default().entry(protocol).or_default().push(full_name(object));
        }
    }
    for (port, protocols) in ports.iter().filter(|(_, protocols)| protocols.len() > 1) {
        let mut names: Vec<&String> = protocols.values().flatten().collect();
        names.sort();
        let text = format!(
            "This deployment {} is associated with multiple services using port {port} but different protocols: {}",
            deployment.name(),
            go_list(names)
        );
        let hint = "let one Service lead to the port, or give all of them its protocol";
        report.add(&DEPLOYMENT_PROTOCOLS, deployment, "metadata.name", text, hint);
    }
}

/// One target port, several ports.
fn target_ports(deployment: &Object, services: &[(&Object, &Service)], report: &mut Report) {
    let mut targets: BTreeMap<String, BTreeMap<u16, String>> = BTreeMap::new();
    for (object, service) in services {
        for port in &service.spec.ports {
            targets.entry(target_text(port)).or_default().insert(port.port, full_name(object));
        }
    }
    for (target, ports) in targets.iter().filter(|(_, ports)| ports.len() > 1) {
        let mut names: Vec<&String> = ports.values().collect();
        names.sort();
        let text = format!(
            "This deployment {} is associated with multiple services {} using targetPort {target:?} but different ports: {}.",
            deployment.name(),
            go_list(names),
            go_list(ports.keys())
        );
        let hint = "use one port number for that targetPort in all Services";
        report.add(&DEPLOYMENT_PORTS, deployment, "metadata.name", text, hint);
    }
}

fn uid(object: &Object, pod: &PodSpec, at: &str, report: &mut Report) {
    if is_control_plane(object) {
        return;
    }
    let mut places = BTreeSet::new();
    if pod.security_context.run_as_user == Some(SIDECAR_UID) {
        places.insert(format!("{at}.securityContext.runAsUser"));
    }
    for (index, container) in pod.containers.iter().enumerate() {
        let is_own = matches!(container.name.as_deref(), Some("istio-proxy" | "istio-operator"));
        if !is_own && container.security_context.run_as_user == Some(SIDECAR_UID) {
            places.insert(format!("{at}.containers[{index}].securityContext.runAsUser"));
        }
    }
    for place in places {
        let text = "User ID (UID) 1337 is reserved for the sidecar proxy. Traffic of that user is not captured: it leaves without mutual TLS and routing";
        report.add(&INVALID_UID, object, &place, text, "run the application as another user");
    }
}
