//! Where routes lead: hosts, ports and subsets that do not exist, or that cannot be told.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::messages::*;
use super::report::{Report, full_name, go_list};
use super::view::{Mesh, Service, ServiceKind};
use super::{Analyzer, evidence};
use crate::networking::VirtualService;
use crate::networking::virtual_service::{Destination, HttpMatchRequest, HttpRoute};
use crate::{Host, Labels, Object, Str, labels};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "destinations",
    about: "hosts, ports and subsets that VirtualServices lead to",
    says: &[
        &REFERENCED_RESOURCE_NOT_FOUND,
        &DESTINATION_PORT_REQUIRED,
        &INGRESS_RULES_NOT_AFFECTED,
        &NO_ENDPOINTS,
    ],
    run,
};

/// A destination of a VirtualService.
struct To<'a> {
    destination: &'a Destination,
    /// Where it is written.
    path: String,
    /// Whether it gets copies only.
    mirror: bool,
    /// The rule, if it is one for HTTP.
    rule: Option<&'a HttpRoute>,
}

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let choosing = choosing(mesh);
    for (object, service) in mesh.all::<VirtualService>() {
        let mut seen: Vec<&str> = Vec::new();
        for to in destinations(service) {
            let found = mesh.service(&to.destination.host, object.namespace(), &service.export_to);
            let Some(found) = found else {
                unknown_host(mesh, object, service, &to, report);
                continue;
            };
            port(object, service, &to, found, report);
            if !subset(mesh, object, service, &to, found, report) && !seen.contains(&found.host.as_str()) {
                seen.push(found.host.as_str());
                no_endpoints(mesh, object, service, &to, found, report);
            }
        }
        ingress(mesh, object, service, &choosing, report);
    }
}

fn destinations(service: &VirtualService) -> Vec<To<'_>> {
    let mut all = Vec::new();
    for (index, rule) in service.http.iter().enumerate() {
        let mut push = |destination, path: String, mirror| {
            all.push(To {
                destination,
                path: format!("spec.http[{index}].{path}"),
                mirror,
                rule: Some(rule),
            });
        };
        for (number, part) in rule.route.iter().enumerate() {
            push(&part.destination, format!("route[{number}].destination"), false);
        }
        if let Some(mirror) = &rule.mirror {
            push(mirror, "mirror".to_owned(), true);
        }
        for (number, mirror) in rule.mirrors.iter().enumerate() {
            if let Some(destination) = &mirror.destination {
                push(destination, format!("mirrors[{number}].destination"), true);
            }
        }
    }
    let tls =
        service.tls.iter().map(|rule| &rule.route).enumerate().map(|(index, route)| ("tls", index, route));
    let tcp =
        service.tcp.iter().map(|rule| &rule.route).enumerate().map(|(index, route)| ("tcp", index, route));
    for (field, index, route) in tls.chain(tcp) {
        for (number, part) in route.iter().enumerate() {
            let path = format!("spec.{field}[{index}].route[{number}].destination");
            all.push(To { destination: &part.destination, path, mirror: false, rule: None });
        }
    }
    all
}

/// What shows the fault: a request, or a connection.
fn shown(service: &VirtualService, to: &To<'_>) -> String {
    match to.rule {
        Some(rule) => evidence::request(service, rule, None),
        None => format!("a connection to {}", evidence::host(service.hosts.first(), None)),
    }
}

fn unknown_host(
    mesh: &Mesh<'_>,
    object: &Object,
    service: &VirtualService,
    to: &To<'_>,
    report: &mut Report,
) {
    let host = &to.destination.host;
    let (kind, outcome) = match (to.mirror, to.rule.is_some()) {
        (true, _) => ("mirror host", "is answered, and no copy arrives"),
        (false, true) => ("host", "gets 503 (NC: cluster not found)"),
        (false, false) => ("host", "is closed"),
    };
    let text = format!("Referenced {kind} not found: {:?}: {} {outcome}", host.as_str(), shown(service, to));
    let full = mesh.resolve(host, object.namespace());
    let elsewhere = mesh.services().find(|known| {
        **known.object.name() == **host && known.object.namespace() != object.namespace() && host.is_short()
    });
    let hidden = mesh.services_of(&full).next();
    let names: Vec<&str> = mesh
        .services()
        .filter(|known| known.object.namespace() == object.namespace())
        .map(|known| &**known.object.name())
        .collect();
    let hint = match (elsewhere, hidden) {
        (_, Some(known)) => format!("{} is not exported to namespace {}", known.name(), object.namespace()),
        (Some(known), _) => {
            format!("write {}: a short name belongs to the VirtualService's namespace", known.host)
        }
        _ => match crate::text::closest(host, &names) {
            Some(meant) if *meant != **host => format!("did you mean `{meant}`?"),
            _ => format!("create a Service or ServiceEntry for {full}"),
        },
    };
    report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &format!("{}.host", to.path), text, hint);
}

fn port(object: &Object, service: &VirtualService, to: &To<'_>, found: &Service<'_>, report: &mut Report) {
    let host = &to.destination.host;
    let numbers: Vec<u32> = found.ports.iter().map(|port| port.number).collect();
    let Some(port) = &to.destination.port else {
        if numbers.len() > 1 {
            let text = format!(
                "This VirtualService routes to a service {:?} that exposes multiple ports {}. Specifying a port in the destination is required to disambiguate. {} goes to the port that the client happens to ask for",
                host.as_str(),
                go_list(&numbers),
                shown(service, to)
            );
            let hint = format!("add port: {{number: {}}}", numbers[0]);
            report.add(&DESTINATION_PORT_REQUIRED, object, &format!("{}.host", to.path), text, hint);
        }
        return;
    };
    if port.number == 0 || found.has_port(port.number) {
        return;
    }
    let outcome = if to.mirror { "is answered, and no copy arrives" } else { "gets 503" };
    let text = format!(
        "Referenced host:port not found: {:?}: {} {outcome}",
        format!("{host}:{}", port.number),
        shown(service, to)
    );
    let known: Vec<String> = numbers.iter().map(u32::to_string).collect();
    let hint = format!("ports of {}: {}", found.name(), known.join(", "));
    report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &format!("{}.port.number", to.path), text, hint);
}

/// Looks for the subset; true if the destination names one.
fn subset(
    mesh: &Mesh<'_>,
    object: &Object,
    service: &VirtualService,
    to: &To<'_>,
    found: &Service<'_>,
    report: &mut Report,
) -> bool {
    let Some(subset) = &to.destination.subset else { return false };
    let rules = mesh.rules_for(&mesh.resolve(&to.destination.host, object.namespace()));
    let subsets = || rules.iter().flat_map(|(_, rule)| rule.subsets.iter().map(|subset| &*subset.name));
    if subsets().any(|known| known == &**subset) {
        return true;
    }
    let kind = if to.mirror { "mirror+subset in destinationrule" } else { "host+subset in destinationrule" };
    let outcome =
        if to.mirror { "is answered, and no copy arrives" } else { "gets 503 (NC: cluster not found)" };
    let text = format!(
        "Referenced {kind} not found: {:?}: {} {outcome}",
        format!("{}+{subset}", to.destination.host),
        shown(service, to)
    );
    let known: Vec<&str> = subsets().collect();
    let hint = match (crate::text::closest(subset, &known), rules.first()) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, Some((rule, _))) => format!("define the subset in DestinationRule {}", full_name(rule)),
        (None, None) => format!("define it in a DestinationRule for {}", found.host),
    };
    report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &format!("{}.subset", to.path), text, hint);
    true
}

fn no_endpoints(
    mesh: &Mesh<'_>,
    object: &Object,
    service: &VirtualService,
    to: &To<'_>,
    found: &Service<'_>,
    report: &mut Report,
) {
    let ServiceKind::Kubernetes(spec) = &found.kind else { return };
    let namespace = found.object.namespace();
    let populated = || mesh.selected(&Labels::new(), Some(namespace)).any(|workload| workload.pod);
    if spec.spec.selector.is_empty() || !mesh.endpoint_labels(found).is_empty() || !populated() {
        return;
    }
    let text = format!(
        "Service {} selects no workload, though its namespace has some: {} gets 503 (UH: no healthy upstream)",
        found.name(),
        shown(service, to)
    );
    let selector = super::report::selector_text(&spec.spec.selector);
    let hint = format!("its selector is {selector}: label a workload like that, or correct it");
    report.add(&NO_ENDPOINTS, object, &format!("{}.host", to.path), text, hint);
}

/// VirtualServices by the host for which, being for that host, they choose subsets.
type Choosing<'a> = FxHashMap<Host, Vec<Chooser<'a>>>;

/// One that chooses subsets of its own host, and which.
struct Chooser<'a> {
    object: &'a Object,
    service: &'a VirtualService,
    subsets: BTreeSet<&'a Str>,
}

fn choosing<'a>(mesh: &Mesh<'a>) -> Choosing<'a> {
    let mut all = Choosing::default();
    for (object, service) in mesh.all::<VirtualService>() {
        let hosts: BTreeSet<Host> =
            service.hosts.iter().map(|host| mesh.resolve(host, object.namespace())).collect();
        let mut chosen: BTreeMap<Host, BTreeSet<&Str>> = BTreeMap::new();
        for part in service.http.iter().flat_map(|rule| &rule.route) {
            let host = mesh.resolve(&part.destination.host, object.namespace());
            if let Some(subset) = part.destination.subset.as_ref().filter(|_| hosts.contains(&host)) {
                chosen.entry(host).or_default().insert(subset);
            }
        }
        for (host, subsets) in chosen {
            all.entry(host).or_default().push(Chooser { object, service, subsets });
        }
    }
    all
}

/// Subsets that are chosen at sidecars only, for a host that a gateway leads to.
fn ingress(
    mesh: &Mesh<'_>,
    object: &Object,
    service: &VirtualService,
    choosing: &Choosing<'_>,
    report: &mut Report,
) {
    let gateways = || service.gateways.iter().filter(|gateway| &***gateway != MESH);
    if gateways().next().is_none() {
        return;
    }
    for (index, rule) in service.http.iter().enumerate().filter(|(_, rule)| is_at_gateway(rule)) {
        for (number, part) in rule.route.iter().enumerate() {
            if part.destination.subset.is_some() {
                continue;
            }
            let wanted = mesh.resolve(&part.destination.host, object.namespace());
            for other in choosing.get(&wanted).into_iter().flatten() {
                let shares = gateways().any(|gateway: &Str| other.service.gateways.contains(gateway));
                if shares || std::ptr::eq(other.object, object) || changes_nothing(mesh, &wanted, other) {
                    continue;
                }
                let text = format!(
                    "Subset in virtual service {} has no effect on ingress gateway {} requests: {} reaches all endpoints of {wanted}",
                    full_name(other.object),
                    full_name(object),
                    evidence::request(service, rule, None)
                );
                let path = format!("spec.http[{index}].route[{number}].destination.host");
                let hint = "name the subset here as well: gateways do not see the rules of other hosts";
                report.add(&INGRESS_RULES_NOT_AFFECTED, object, &path, text, hint);
            }
        }
    }
}

/// The word for all sidecars among gateways.
const MESH: &str = "mesh";

/// Whether a rule is for requests at gateways too.
fn is_at_gateway(rule: &HttpRoute) -> bool {
    let only_mesh = |condition: &HttpMatchRequest| {
        !condition.gateways.is_empty() && condition.gateways.iter().all(|gateway| &**gateway == MESH)
    };
    rule.matches.is_empty() || !rule.matches.iter().all(only_mesh)
}

/// Whether it makes no difference which subset was chosen: each has all endpoints there are.
fn changes_nothing(mesh: &Mesh<'_>, host: &Host, chooser: &Chooser<'_>) -> bool {
    let members: Vec<Labels> =
        mesh.services_of(host).flat_map(|service| mesh.endpoint_labels(service)).collect();
    let rules = mesh.rules_for(host);
    let labels_of = |name: &Str| {
        let mut subsets = rules.iter().flat_map(|(_, rule)| &rule.subsets);
        subsets.find(|subset| subset.name == *name).map(|subset| &subset.labels)
    };
    !members.is_empty()
        && chooser.subsets.iter().all(|name| {
            labels_of(name).is_some_and(|wanted| members.iter().all(|of| labels::selects(wanted, of)))
        })
}
