//! Gateways: proxies that do not exist, ports that their Service does not have, Secrets, and gateways in each other's way.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};

use super::Analyzer;
use super::messages::*;
use super::report::{Report, full_name, go_list, selector_text};
use super::view::Mesh;
use super::workloads::Workload;
use crate::core::IntOrString;
use crate::kubernetes::Secret;
use crate::networking::Gateway;
use crate::networking::gateway::Server;
use crate::networking::tls::{ServerTlsMode, ServerTlsSettings};
use crate::{Host, Kind, Labels, Object, ResourceId, Str, host, labels};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "gateways",
    about: "selectors, ports, certificates and conflicts of Gateways",
    says: &[
        &REFERENCED_RESOURCE_NOT_FOUND,
        &DUPLICATE_CERTIFICATE,
        &CONFLICTING_GATEWAYS,
        &INVALID_CREDENTIAL,
        &GATEWAY_PORT_NOT_ON_SERVICE,
    ],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, gateway) in mesh.all::<Gateway>() {
        let namespace = scope(mesh, object);
        let selected: Vec<&Workload<'_>> = mesh.selected(&gateway.selector, namespace).collect();
        if selected.is_empty() {
            no_proxy(mesh, object, gateway, report);
        } else {
            ports(mesh, object, gateway, &selected, report);
            credentials(mesh, object, gateway, &selected[0].namespace, report);
        }
    }
    conflicts(mesh, report);
    certificates(mesh, report);
}

/// The namespace whose proxies a Gateway is for; None: all.
fn scope<'a>(mesh: &Mesh<'_>, object: &'a Object) -> Option<&'a Str> {
    mesh.settings.mesh.switches.scope_gateway_to_namespace.then(|| object.namespace())
}

fn no_proxy(mesh: &Mesh<'_>, object: &Object, gateway: &Gateway, report: &mut Report) {
    let selector = selector_text(&gateway.selector);
    let host = gateway.servers.first().and_then(|server| server.hosts.first()).map(shown_host);
    let text = format!(
        "Referenced selector not found: {selector:?}: no proxy is this gateway, so GET http://{}/ finds nobody listening",
        super::evidence::host(host.as_ref(), gateway.servers.first().map(|server| server.port.number))
    );
    // The ingress gateway of Istio, misspelt.
    let usual = mesh.settings.mesh.ingress_selector.as_deref().unwrap_or("ingressgateway");
    let hint = match gateway.selector.get("istio") {
        Some(value) if **value != *usual && crate::text::closest(value, &[usual]).is_some() => {
            format!("did you mean `istio: {usual}`?")
        }
        _ => "correct the labels, or start a gateway proxy that has them".to_owned(),
    };
    report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &selector_path(gateway), text, hint);
}

/// The name in `[ns/]name`.
fn shown_host(text: &Str) -> Host {
    Host::new(text.rsplit('/').next().unwrap_or_default())
}

fn selector_path(gateway: &Gateway) -> String {
    gateway.selector.keys().next().map_or("spec.selector".into(), |key| format!("spec.selector[{key:?}]"))
}

fn ports(
    mesh: &Mesh<'_>,
    object: &Object,
    gateway: &Gateway,
    selected: &[&Workload<'_>],
    report: &mut Report,
) {
    // A local gateway opens its ports itself.
    if selected.iter().any(|workload| workload.local_gateway) {
        return;
    }
    let mut known: BTreeSet<u32> = BTreeSet::new();
    for workload in selected {
        for (_, spec) in mesh.selecting(&workload.namespace, &workload.labels) {
            for port in spec.spec.ports.iter().filter(|port| port.protocol.as_deref() != Some("UDP")) {
                // A server's port is the Service's; the proxy listens at the target port (SEM-173).
                known.insert(port.port.into());
                if let Some(IntOrString::Int(target)) = port.target_port {
                    known.insert(target.into());
                }
            }
        }
    }
    for (index, server) in gateway.servers.iter().enumerate() {
        let number = server.port.number;
        if number == 0 || known.contains(&number) {
            continue;
        }
        let text = format!(
            "The gateway is listening on a target port (port {number}) that is not defined in the Service associated with its workload instances (Pod selector {}). If you need to access the gateway port through the gateway Service, it will not be available. GET http://{}/ finds nobody listening",
            selector_text(&gateway.selector),
            super::evidence::host(server.hosts.first().map(shown_host).as_ref(), Some(number))
        );
        let ports: Vec<String> = known.iter().map(u32::to_string).collect();
        let hint = match ports.is_empty() {
            true => "no Service selects these proxies: create one with that port".to_owned(),
            false => format!("use one of {}, or add the port to the Service", ports.join(", ")),
        };
        report.add(
            &GATEWAY_PORT_NOT_ON_SERVICE,
            object,
            &format!("spec.servers[{index}].port.number"),
            text,
            hint,
        );
    }
}

fn credentials(mesh: &Mesh<'_>, object: &Object, gateway: &Gateway, namespace: &Str, report: &mut Report) {
    for (index, server) in gateway.servers.iter().enumerate() {
        let Some(tls) = &server.tls else { continue };
        let one = tls
            .credential_name
            .iter()
            .map(|name| (name, format!("spec.servers[{index}].tls.credentialName")));
        let more = tls
            .credential_names
            .iter()
            .enumerate()
            .map(|(number, name)| (name, format!("spec.servers[{index}].tls.credentialNames[{number}]")));
        for (name, path) in one.chain(more) {
            // `sds://` and the like are served by others than Secrets.
            if !name.contains("://") {
                credential(mesh, object, (tls, server), name, (namespace, &path), report);
            }
        }
    }
}

fn credential(
    mesh: &Mesh<'_>,
    object: &Object,
    (tls, server): (&ServerTlsSettings, &Server),
    name: &Str,
    (namespace, path): (&Str, &str),
    report: &mut Report,
) {
    let host = super::evidence::host(server.hosts.first().map(shown_host).as_ref(), None);
    let found = mesh.find(Kind::Secret, namespace, name);
    let Some(secret) = found.and_then(|object| object.spec_as::<Secret>()) else {
        let text =
            format!("Referenced credentialName not found: {:?}: a TLS handshake for {host} fails", &**name);
        let elsewhere = mesh.all::<Secret>().find(|(secret, _)| secret.name() == name);
        let hint = match elsewhere {
            Some((secret, _)) => format!(
                "the Secret is in {}; a gateway reads those of its own namespace, {namespace}",
                secret.namespace()
            ),
            None => format!("kubectl create secret tls {name} --cert=… --key=… -n {namespace}"),
        };
        report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, path, text, hint);
        return;
    };
    if let Some(problem) = invalid(secret, tls.mode) {
        let text = format!(
            "The credential referenced by the Gateway {} in namespace {} is invalid, which can cause the traffic not to work as expected. Secret {namespace}/{name}: {problem}, so a TLS handshake for {host} fails",
            object.name(),
            object.namespace()
        );
        let hint = format!("kubectl create secret tls {name} --cert=… --key=… -n {namespace}");
        report.add(&INVALID_CREDENTIAL, object, path, text, hint);
    }
}

/// What is wrong with a Secret of a server.
fn invalid(secret: &Secret, mode: ServerTlsMode) -> Option<String> {
    let pem = |names: [&str; 2]| -> Option<String> {
        names.iter().find_map(|name| {
            if let Some(text) = secret.string_data.get(*name) {
                return Some(text.reveal().to_owned());
            }
            let bytes = crate::text::base64(secret.data.get(*name)?.reveal())?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        })
    };
    match (pem(["tls.crt", "cert"]), pem(["tls.key", "key"])) {
        (None, _) => Some("it has no certificate (tls.crt)".into()),
        (_, None) => Some("it has no key (tls.key)".into()),
        (Some(certificate), _) if !is_pem(&certificate, "CERTIFICATE") => {
            Some("its certificate (tls.crt) is not one in PEM".into())
        }
        (_, Some(key)) if !is_pem(&key, "PRIVATE KEY") => Some("its key (tls.key) is not one in PEM".into()),
        _ => {
            let authority = pem(["ca.crt", "cacert"]);
            let wrong = authority.is_some_and(|authority| !is_pem(&authority, "CERTIFICATE"));
            (wrong && mode == ServerTlsMode::Mutual)
                .then(|| "its CA (ca.crt) is not a certificate in PEM".into())
        }
    }
}

/// Whether a text has a block of that kind in PEM, with whole DER in it.
fn is_pem(text: &str, kind: &str) -> bool {
    let Some((_, rest)) = text.split_once("-----BEGIN ") else { return false };
    let Some((label, rest)) = rest.split_once("-----") else { return false };
    let Some((body, _)) = rest.split_once("-----END ") else { return false };
    label.ends_with(kind) && crate::text::base64(body.trim()).is_some_and(|der| is_der_sequence(&der))
}

/// Whether bytes are one SEQUENCE in DER, neither cut nor followed by others (X.690, 8.1.3).
fn is_der_sequence(bytes: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = bytes else { return false };
    if *first < 0x80 {
        return rest.len() == usize::from(*first);
    }
    let count = usize::from(*first & 0x7f);
    if count == 0 || count > 4 || rest.len() < count {
        return false;
    }
    let length = rest[..count].iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    rest.len() - count == length
}

/// A server among those of the same proxies, port and address, under one of its hosts.
type Claim<'a> = (&'a Object, usize, &'a Str);

/// Gateways of the same proxies that serve the same hosts at the same port.
fn conflicts(mesh: &Mesh<'_>, report: &mut Report) {
    type Socket<'a> = (Option<&'a Str>, &'a Labels, u32, &'a Option<Str>);
    let mut sockets: BTreeMap<Socket<'_>, FxHashMap<String, Vec<Claim<'_>>>> = BTreeMap::new();
    for (object, gateway) in mesh.all::<Gateway>() {
        for (index, server) in gateway.servers.iter().enumerate() {
            let socket = (scope(mesh, object), &gateway.selector, server.port.number, &server.bind);
            let hosts = sockets.entry(socket).or_default();
            for host in &server.hosts {
                hosts.entry(name_of(host)).or_default().push((object, index, host));
            }
        }
    }
    let mut others: FxHashMap<(ResourceId, usize), BTreeSet<String>> = FxHashMap::default();
    for hosts in sockets.values() {
        for (name, claims) in hosts {
            // Whoever has the same name, and whoever has a wildcard over it.
            let wide: Vec<Claim<'_>> =
                host::wider(name).filter_map(|wide| hosts.get(&wide)).flatten().copied().collect();
            for ours in claims {
                for theirs in claims.iter().chain(&wide) {
                    if std::ptr::eq(ours.0, theirs.0) || !share_namespace(ours.2, theirs.2) {
                        continue;
                    }
                    others.entry((ours.0.id(), ours.1)).or_default().insert(full_name(theirs.0));
                    others.entry((theirs.0.id(), theirs.1)).or_default().insert(full_name(ours.0));
                }
            }
        }
    }
    for (object, gateway) in mesh.all::<Gateway>() {
        for (index, server) in gateway.servers.iter().enumerate() {
            let Some(names) = others.get(&(object.id(), index)) else { continue };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let text = format!(
                "Conflict with gateways {} (workload selector {}, port {}, hosts {}). Which of their settings a request to http://{}/ meets depends on their age",
                names.join(","),
                selector_text(&gateway.selector),
                server.port.number,
                server.hosts.join(","),
                super::evidence::host(
                    server.hosts.first().map(shown_host).as_ref(),
                    Some(server.port.number)
                )
            );
            let hint = "put the servers into one Gateway, or give them different hosts, ports or selectors";
            report.add(&CONFLICTING_GATEWAYS, object, &format!("spec.servers[{index}].hosts"), text, hint);
        }
    }
}

/// The name in `[ns/]name`, in lower case.
fn name_of(text: &str) -> String {
    text.rsplit('/').next().unwrap_or_default().to_ascii_lowercase()
}

/// Whether some namespace is meant by both, written `[ns/]host`.
fn share_namespace(a: &str, b: &str) -> bool {
    let namespace =
        |text: &str| <str>::split_once(text, '/').map_or("*", |(namespace, _)| namespace).to_owned();
    let (a, b) = (namespace(a), namespace(b));
    a == "*" || b == "*" || a == b
}

/// Gateways of the same proxies with one certificate.
fn certificates(mesh: &Mesh<'_>, report: &mut Report) {
    type Sharing<'a> = Vec<(&'a Object, &'a Gateway, usize)>;
    let mut by_certificate: BTreeMap<(&Str, Option<&Str>), Sharing<'_>> = BTreeMap::new();
    for (object, gateway) in mesh.all::<Gateway>() {
        for (index, server) in gateway.servers.iter().enumerate() {
            let Some(key) = server.tls.as_ref().and_then(certificate) else { continue };
            let sharing = by_certificate.entry(key).or_default();
            if sharing.last().is_none_or(|(last, ..)| !std::ptr::eq(*last, object)) {
                sharing.push((object, gateway, index));
            }
        }
    }
    let mut said: FxHashSet<(ResourceId, ResourceId)> = FxHashSet::default();
    for sharing in by_certificate.values() {
        for (object, gateway, index) in sharing {
            for (other, spec, _) in sharing {
                if std::ptr::eq(*other, *object)
                    || !labels::selects(&gateway.selector, &spec.selector)
                    || scope(mesh, object) != scope(mesh, other)
                    || !said.insert((object.id(), other.id()))
                {
                    continue;
                }
                let text = format!(
                    "Duplicate certificate in multiple gateways {} may cause 404s if clients re-use HTTP2 connections.",
                    go_list([full_name(object), full_name(other)])
                );
                let hint = "put the hosts into one Gateway, or give each its own certificate";
                report.add(&DUPLICATE_CERTIFICATE, object, &format!("spec.servers[{index}].tls"), text, hint);
            }
        }
    }
}

/// What tells a server's certificate from others: the name of its Secret, or its files.
fn certificate(tls: &ServerTlsSettings) -> Option<(&Str, Option<&Str>)> {
    match &tls.credential_name {
        Some(name) => Some((name, None)),
        None => Some((tls.server_certificate.as_ref()?, Some(tls.private_key.as_ref()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::{name_of, share_namespace};

    #[test]
    fn hosts_are_claimed_within_namespaces() {
        assert!(share_namespace("*", "a.example.com"));
        assert!(share_namespace("x/a.example.com", "*/a.example.com"));
        assert!(!share_namespace("x/a.example.com", "y/a.example.com"));
        assert_eq!(name_of("./A.example.com"), "a.example.com");
    }
}
