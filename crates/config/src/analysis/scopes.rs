//! VirtualServices that have no effect where they are meant to: behind a Sidecar that hides their hosts, or on ports that do
//! not speak HTTP.

use super::Analyzer;
use super::messages::{HIDDEN_HOST, NO_HTTP_PORT};
use super::report::{Report, full_name};
use super::view::Mesh;
use crate::networking::{Sidecar, VirtualService};
use crate::{Host, Object, host};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "scopes",
    about: "VirtualServices that no sidecar applies",
    says: &[&NO_HTTP_PORT, &HIDDEN_HOST],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, service) in mesh.all::<VirtualService>() {
        let at_mesh =
            service.gateways.is_empty() || service.gateways.iter().any(|gateway| &**gateway == "mesh");
        if service.hosts.is_empty() || !at_mesh {
            continue;
        }
        no_http(mesh, object, service, report);
        hidden(mesh, object, service, report);
    }
}

fn no_http(mesh: &Mesh<'_>, object: &Object, service: &VirtualService, report: &mut Report) {
    if service.http.is_empty() || !service.tcp.is_empty() || !service.tls.is_empty() {
        return;
    }
    let found: Vec<_> = service
        .hosts
        .iter()
        .filter_map(|host| mesh.service(host, object.namespace(), &service.export_to))
        .filter(|service| !service.ports.is_empty())
        .collect();
    let speaks = found
        .iter()
        .flat_map(|service| &service.ports)
        .any(|port| port.protocol.is_http() || port.protocol.is_auto());
    if found.is_empty() || found.len() < service.hosts.len() || speaks {
        return;
    }
    let port = &found[0].ports[0];
    let text = format!(
        "The HTTP rules of this VirtualService have no effect: {} has no HTTP port, and a request to port {} passes as {} bytes",
        found[0].host, port.number, port.protocol
    );
    let hint = "name the port http-…, or write tcp or tls rules";
    report.add(&NO_HTTP_PORT, object, "spec.http", text, hint);
}

fn hidden(mesh: &Mesh<'_>, object: &Object, service: &VirtualService, report: &mut Report) {
    // One that is for other namespaces as well has its effect there.
    let own_only = service.export_to.iter().all(|to| &**to == "." || *to == *object.namespace());
    if service.export_to.is_empty() || !own_only {
        return;
    }
    let whole = |(_, spec): &(&Object, &Sidecar)| {
        spec.workload_selector.as_ref().is_none_or(|selector| selector.labels.is_empty())
    };
    let Some((sidecar, spec)) = mesh.all_in::<Sidecar>(object.namespace()).find(whole) else { return };
    if spec.egress.is_empty() {
        return;
    }
    let imports: Vec<(&str, Host)> = spec
        .egress
        .iter()
        .flat_map(|listener| &listener.hosts)
        .filter_map(|text| text.split_once('/'))
        .map(|(namespace, name)| (namespace, Host::new(name)))
        .collect();
    let seen = |own: &Host| {
        let own = mesh.resolve(own, object.namespace());
        imports.iter().any(|(namespace, wanted)| {
            let here = matches!(*namespace, "*" | ".") || **object.namespace() == **namespace;
            here && host::matches(wanted, &own)
        })
    };
    if service.hosts.iter().any(seen) {
        return;
    }
    let host = &service.hosts[0];
    let text = format!(
        "Sidecar {} hides {host} from the workloads of its namespace, for which alone this VirtualService is: GET http://{}/ goes on as if there were no rule",
        full_name(sidecar),
        super::evidence::host(Some(host), None)
    );
    let hint = format!("add ./{} to the egress hosts of the Sidecar", mesh.resolve(host, object.namespace()));
    report.add(&HIDDEN_HOST, object, "spec.hosts", text, hint);
}
