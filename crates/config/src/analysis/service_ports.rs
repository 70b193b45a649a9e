//! Names of Service ports, from which protocols follow.

use super::Analyzer;
use super::messages::{EXTERNAL_NAME_PORT, PORT_NAME};
use super::report::Report;
use super::view::{Mesh, target_text};
use crate::core::Service;
use crate::{Object, Protocol};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "service-ports",
    about: "names of Service ports",
    says: &[&PORT_NAME, &EXTERNAL_NAME_PORT],
    run,
};

/// Namespaces that no mesh touches.
pub(super) const SYSTEM: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, service) in mesh.all::<Service>() {
        if !SYSTEM.contains(&&**object.namespace()) && !is_control_plane(object) {
            check(object, service, report);
        }
    }
}

/// Whether an object belongs to the mesh's own installation.
pub(super) fn is_control_plane(object: &Object) -> bool {
    let labels = object.labels();
    labels.contains_key("istio")
        || labels.get("release").is_some_and(|value| &**value == "istio")
        || labels.get("app").is_some_and(|value| &**value == "istiod")
}

fn check(object: &Object, service: &Service, report: &mut Report) {
    let external = service.spec.service_type.as_deref() == Some("ExternalName");
    for (index, port) in service.spec.ports.iter().enumerate() {
        let name = port.name.as_deref().unwrap_or_default();
        let transport = port.protocol.as_deref().unwrap_or("TCP");
        let protocol = Protocol::of_service_port(name, port.app_protocol.as_deref(), transport, port.port);
        if !(protocol.is_auto() || external && protocol == Protocol::Tcp) {
            continue;
        }
        let path = format!("spec.ports[{index}]");
        if external {
            let text = "Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched traffic for ports serving TCP protocol from being forwarded correctly";
            let hint = "name the port after its protocol, such as https or http, not tcp";
            report.add(&EXTERNAL_NAME_PORT, object, &path, text, hint);
            continue;
        }
        let text = format!(
            "Port name {name} (port: {}, targetPort: {}) doesn't follow the naming convention of Istio port.",
            port.port,
            target_text(port)
        );
        let hint = "begin the name with the protocol (http, http2, grpc, tcp, tls, …), or set appProtocol";
        report.add(&PORT_NAME, object, &path, text, hint);
    }
}
