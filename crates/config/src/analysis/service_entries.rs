//! ServiceEntries: TCP ports without an address, and entries that disagree about a port.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::Analyzer;
use super::messages::{ADDRESSES_REQUIRED, CONFLICTING_ENTRY_PROTOCOL};
use super::report::{Report, full_name};
use super::view::Mesh;
use crate::networking::ServiceEntry;
use crate::{ExportTo, Object, Str};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "service-entries",
    about: "addresses and protocols of ServiceEntries",
    says: &[&ADDRESSES_REQUIRED, &CONFLICTING_ENTRY_PROTOCOL],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    if !allocates_addresses(mesh) {
        for (object, entry) in mesh.all::<ServiceEntry>() {
            addresses(object, entry, report);
        }
    }
    protocols(mesh, report);
}

/// Whether proxies give entries addresses of their own and answer for them in DNS.
fn allocates_addresses(mesh: &Mesh<'_>) -> bool {
    let metadata = mesh.settings.mesh.default_config.as_ref().map(|config| &config.proxy_metadata);
    let is_on = |name: &str| {
        metadata.is_some_and(|metadata| metadata.get(name).is_some_and(|value| &**value == "true"))
    };
    is_on("ISTIO_META_DNS_CAPTURE") && is_on("ISTIO_META_DNS_AUTO_ALLOCATE")
}

fn addresses(object: &Object, entry: &ServiceEntry, report: &mut Report) {
    if !entry.addresses.is_empty() {
        return;
    }
    for (index, port) in entry.ports.iter().enumerate() {
        if !matches!(port.protocol.as_deref(), None | Some("" | "TCP")) {
            continue;
        }
        let text = format!(
            "ServiceEntry addresses are required for this protocol. Without one, every connection to port {} goes to {}, whatever its address",
            port.number,
            entry.hosts.first().map_or("it", |host| host.as_str())
        );
        let hint = "give addresses, or set the port's protocol (HTTP, TLS, …) so that the host can be told";
        report.add(&ADDRESSES_REQUIRED, object, &format!("spec.ports[{index}]"), text, hint);
    }
}

/// What is said of one port of a host.
type Said<'a> = Vec<(&'a Object, Str)>;

fn protocols(mesh: &Mesh<'_>, report: &mut Report) {
    let mut by_port: FxHashMap<(Str, String, u32), Said<'_>> = FxHashMap::default();
    for (object, entry) in mesh.all::<ServiceEntry>() {
        let scopes = match ExportTo::resolve(&entry.export_to, &[], object.namespace()) {
            ExportTo::Public => vec!["*".into()],
            ExportTo::Nobody => Vec::new(),
            ExportTo::Namespaces(namespaces) => namespaces,
        };
        for scope in &scopes {
            for host in &entry.hosts {
                for port in &entry.ports {
                    let protocol = port.protocol.as_deref().unwrap_or_default().to_ascii_uppercase();
                    let key = (scope.clone(), host.to_string(), port.number);
                    by_port.entry(key).or_default().push((object, protocol.into()));
                }
            }
        }
    }
    let mut keys: Vec<_> = by_port.keys().cloned().collect();
    keys.sort();
    let mut reported = BTreeSet::new();
    for key in keys {
        let (scope, host, port) = &key;
        let mut said = by_port[&key].clone();
        if &**scope != "*" {
            said.extend(by_port.get(&("*".into(), host.clone(), *port)).into_iter().flatten().cloned());
        }
        let protocols: BTreeSet<&Str> = said.iter().map(|(_, protocol)| protocol).collect();
        if protocols.len() < 2 {
            continue;
        }
        let names: BTreeSet<String> = said.iter().map(|(object, _)| full_name(object)).collect();
        let text = format!(
            "Multiple ServiceEntries ({}) define the same host {host:?} and port {port} with conflicting protocols ({}).",
            names.into_iter().collect::<Vec<_>>().join(", "),
            protocols.into_iter().map(|protocol| &**protocol).collect::<Vec<_>>().join(", ")
        );
        for (object, _) in said {
            if reported.insert(object.id()) {
                let hint = "use one protocol in all of them, or put the host into one ServiceEntry";
                report.add(&CONFLICTING_ENTRY_PROTOCOL, object, "metadata.name", text.clone(), hint);
            }
        }
    }
}
