//! Tokens: routing by claims that nobody checks, services that cannot carry tokens, keys fetched from anywhere.

use rustc_hash::FxHashSet;

use super::Analyzer;
use super::messages::{JWKS_UNRESTRICTED, JWT_PORT, JWT_ROUTE};
use super::report::{Report, full_name};
use super::view::{Mesh, target_text};
use crate::core::Deployment;
use crate::networking::VirtualService;
use crate::security::RequestAuthentication;
use crate::{Labels, Object, Protocol, labels};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "jwt",
    about: "RequestAuthentications and routing by claims of tokens",
    says: &[&JWT_PORT, &JWT_ROUTE, &JWKS_UNRESTRICTED],
    run,
};

const CLAIM: &str = "@request.auth.claims";
const SWITCH: &str = "BLOCKED_CIDRS_IN_JWKS_URIS";

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, service) in mesh.all::<VirtualService>() {
        if let Some((key, path)) = claim(service) {
            routing(mesh, object, service, (key, &path), report);
        }
    }
    for (object, authentication) in mesh.all::<RequestAuthentication>() {
        ports(mesh, object, authentication, report);
    }
    fetching(mesh, report);
}

/// The first claim that a rule asks for.
fn claim(service: &VirtualService) -> Option<(&str, String)> {
    for (rule, content) in service.http.iter().enumerate() {
        for (index, condition) in content.matches.iter().enumerate() {
            for (field, headers) in
                [("headers", &condition.headers), ("withoutHeaders", &condition.without_headers)]
            {
                if let Some(key) = headers.keys().find(|key| key.starts_with(CLAIM)) {
                    return Some((key, format!("spec.http[{rule}].match[{index}].{field}[{:?}]", &**key)));
                }
            }
        }
    }
    None
}

fn routing(
    mesh: &Mesh<'_>,
    object: &Object,
    service: &VirtualService,
    (key, path): (&str, &str),
    report: &mut Report,
) {
    for name in service.gateways.iter().filter(|name| &***name != "mesh") {
        let (namespace, name, found) = mesh.gateway(name, object.namespace());
        let Some((_, gateway)) = found else { continue };
        for workload in mesh.selected(&gateway.selector, None) {
            let own = mesh.all_in::<RequestAuthentication>(&workload.namespace);
            let mut policies = own.chain(mesh.all_in(&mesh.settings.root_namespace));
            if policies.any(|(_, spec)| is_for(spec, &workload.labels)) {
                continue;
            }
            let text = format!(
                "The virtual service uses the JWT claim based routing (key: {key}) but found no request authentication for the gateway ({namespace}/{name}) pod ({}). The request authentication must first be applied for the gateway pods to validate the JWT token and make the claims available for routing. GET http://{}/ with such a token is not taken by the rule",
                workload.object.name(),
                super::evidence::host(service.hosts.first(), None)
            );
            let hint = "apply a RequestAuthentication that selects the gateway's Pods";
            report.add(&JWT_ROUTE, object, path, text, hint);
        }
    }
}

/// Whether a policy is for workloads with these labels.
fn is_for(policy: &RequestAuthentication, of: &Labels) -> bool {
    match &policy.selector {
        Some(selector) => labels::selects(&selector.match_labels, of),
        None => policy.target_ref.is_none() && policy.target_refs.is_empty(),
    }
}

/// Services under a policy, none of whose ports can carry a token.
fn ports(mesh: &Mesh<'_>, object: &Object, policy: &RequestAuthentication, report: &mut Report) {
    if policy.jwt_rules.is_empty() {
        return;
    }
    let Some(selector) = &policy.selector else { return };
    let everywhere = *object.namespace() == mesh.settings.root_namespace;
    let namespace = (!everywhere).then(|| object.namespace());
    let under = mesh.selected(&selector.match_labels, namespace);
    let services = under.flat_map(|workload| mesh.selecting(&workload.namespace, &workload.labels));
    let mut seen = FxHashSet::default();
    for (service, spec) in services.filter(|(service, _)| seen.insert(service.id())) {
        let protocol = |port: &crate::core::ServicePort| {
            let transport = port.protocol.as_deref().unwrap_or("TCP");
            let name = port.name.as_deref().unwrap_or_default();
            Protocol::of_service_port(name, port.app_protocol.as_deref(), transport, port.port)
        };
        let carries = |port: &crate::core::ServicePort| protocol(port).is_http() || protocol(port).is_auto();
        if spec.spec.ports.iter().any(carries) {
            continue;
        }
        for port in &spec.spec.ports {
            let text = format!(
                "Authentication policy with JWT targets Service with invalid port specification (port: {}, name: {}, protocol: {}, targetPort: {}).",
                port.port,
                port.name.as_deref().unwrap_or_default(),
                port.protocol.as_deref().unwrap_or("TCP"),
                target_text(port)
            );
            let hint = format!("name the port of {} http-…, or drop the policy", full_name(service));
            report.add(&JWT_PORT, object, "spec.selector", text, hint);
        }
    }
}

fn fetching(mesh: &Mesh<'_>, report: &mut Report) {
    let names: Vec<String> =
        mesh.all::<RequestAuthentication>().map(|(object, _)| full_name(object)).collect();
    if names.is_empty() {
        return;
    }
    for (object, deployment) in mesh.all::<Deployment>() {
        let is_control_plane = object.labels().get("app").is_some_and(|app| &**app == "istiod");
        let set = deployment.spec.template.spec.containers.iter().flat_map(|container| &container.env).any(
            |variable| {
                &*variable.name == SWITCH && variable.value.as_deref().is_some_and(|value| !value.is_empty())
            },
        );
        if !is_control_plane || set {
            continue;
        }
        let list = match names.len() {
            0..=5 => names.join(", "),
            count => format!("{}, and {} more", names[..5].join(", "), count - 5),
        };
        let text = format!(
            "{SWITCH} is not configured but {} RequestAuthentication resource(s) exist ({list}). Consider configuring it to restrict JWKS URI fetches to trusted networks.",
            names.len()
        );
        let hint = format!("set {SWITCH}=10.0.0.0/8,169.254.169.254/32 or the like");
        report.add(&JWKS_UNRESTRICTED, object, "spec.template.spec.containers", text, hint);
    }
}
