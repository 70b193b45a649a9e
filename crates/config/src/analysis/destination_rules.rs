//! DestinationRules: hosts and ports that do not exist, subsets without endpoints, certificates that nobody checks.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Analyzer;
use super::messages::*;
use super::report::{Report, full_name};
use super::view::{Mesh, Service, ServiceKind};
use crate::networking::destination_rule::{Subset, TrafficPolicy};
use crate::networking::tls::{ClientTlsMode, ClientTlsSettings};
use crate::networking::{DestinationRule, VirtualService};
use crate::{Host, Object, labels};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "destination-rules",
    about: "hosts, ports, subsets and TLS of DestinationRules",
    says: &[
        &NO_CA_DESTINATION,
        &NO_CA_PORT,
        &SUBSET_WITHOUT_PODS,
        &UNKNOWN_DESTINATION_RULE_HOST,
        &PORT_LEVEL_PORT,
        &CREDENTIAL_IGNORED,
        &REPEATED_SUBSET,
    ],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let led = led_to_by_gateways(mesh);
    for (object, rule) in mesh.all::<DestinationRule>() {
        if let Some(policy) = &rule.traffic_policy {
            let at_gateway = led.contains(&mesh.resolve(&rule.host, object.namespace()));
            tls(object, rule, policy, at_gateway, report);
        }
        let services = services_of(mesh, object, rule);
        if services.is_empty() {
            unknown_host(mesh, object, rule, report);
            continue;
        }
        ports(object, rule, &services, report);
        for (index, subset) in rule.subsets.iter().enumerate() {
            endpoints(mesh, object, (index, subset), &services, report);
        }
    }
    repeated_subsets(mesh, report);
}

/// Hosts that a gateway leads to. A gateway fetches Secrets for them, as egress gateways do that begin TLS.
fn led_to_by_gateways(mesh: &Mesh<'_>) -> FxHashSet<Host> {
    let mut hosts = FxHashSet::default();
    for (object, service) in mesh.all::<VirtualService>() {
        if service.gateways.iter().all(|gateway| &**gateway == "mesh") {
            continue;
        }
        let http = service.http.iter().flat_map(|rule| &rule.route).map(|part| &part.destination);
        let tls = service.tls.iter().flat_map(|rule| &rule.route).map(|part| &part.destination);
        let tcp = service.tcp.iter().flat_map(|rule| &rule.route).map(|part| &part.destination);
        hosts.extend(http.chain(tls).chain(tcp).map(|to| mesh.resolve(&to.host, object.namespace())));
    }
    hosts
}

/// The services that a rule is for: several for a wildcard.
fn services_of<'m, 'a>(mesh: &'m Mesh<'a>, object: &Object, rule: &DestinationRule) -> Vec<&'m Service<'a>> {
    let host = mesh.resolve(&rule.host, object.namespace());
    if host.is_wildcard() {
        return mesh.services().filter(|service| service.host.matches(&host)).collect();
    }
    mesh.service(&host, object.namespace(), &rule.export_to).into_iter().collect()
}

fn unknown_host(mesh: &Mesh<'_>, object: &Object, rule: &DestinationRule, report: &mut Report) {
    let text = format!(
        "The host {} defined in the DestinationRule does not match any services in the mesh.",
        rule.host
    );
    let names: Vec<&str> = mesh.services().map(|service| &**service.object.name()).collect();
    let hint = match crate::text::closest(&rule.host, &names) {
        Some(meant) if *meant != *rule.host => format!("did you mean `{meant}`?"),
        _ if rule.host.contains('.') => "create a Service or ServiceEntry with that host".to_owned(),
        _ => format!(
            "a short name belongs to the rule's namespace: {}",
            mesh.resolve(&rule.host, object.namespace())
        ),
    };
    report.add(&UNKNOWN_DESTINATION_RULE_HOST, object, "spec.host", text, hint);
}

fn endpoints(
    mesh: &Mesh<'_>,
    object: &Object,
    (index, subset): (usize, &Subset),
    services: &[&Service<'_>],
    report: &mut Report,
) {
    if subset.labels.is_empty() {
        return;
    }
    let selects = |service: &&Service<'_>| {
        match &service.kind {
            // Its endpoints come from elsewhere: all that runs may be one.
            ServiceKind::Kubernetes(spec) if spec.spec.selector.is_empty() => {
                mesh.selected(&subset.labels, None).next().is_some()
            }
            _ => {
                let members = mesh.endpoint_labels(service);
                members.iter().any(|member| labels::selects(&subset.labels, member))
            }
        }
    };
    if services.iter().any(selects) {
        return;
    }
    let host = &services[0].host;
    let port = services[0].ports.first().map(|port| port.number);
    let text = format!(
        "The Subset {} defined in the DestinationRule does not select any pods. Which may lead to 503 UH (NoHealthyUpstream). A request that is routed there, such as GET http://{}/, gets it",
        subset.name,
        super::evidence::host(Some(host), port)
    );
    let hint = format!(
        "start a workload of {} with the labels {}, or drop the subset",
        services[0].name(),
        super::report::selector_text(&subset.labels)
    );
    report.add(&SUBSET_WITHOUT_PODS, object, &format!("spec.subsets[{index}].name"), text, hint);
}

fn ports(object: &Object, rule: &DestinationRule, services: &[&Service<'_>], report: &mut Report) {
    let policies = rule.traffic_policy.iter().map(|policy| (String::from("spec.trafficPolicy"), policy));
    let subsets = rule.subsets.iter().enumerate().filter_map(|(index, subset)| {
        Some((format!("spec.subsets[{index}].trafficPolicy"), subset.traffic_policy.as_ref()?))
    });
    for (at, policy) in policies.chain(subsets) {
        for (index, settings) in policy.port_level_settings.iter().enumerate() {
            let Some(port) = settings.port.as_ref().filter(|port| port.number > 0) else { continue };
            if services.iter().any(|service| service.has_port(port.number)) {
                continue;
            }
            let known: Vec<String> = services[0].ports.iter().map(|port| port.number.to_string()).collect();
            let text = format!(
                "Port {} of {} does not exist: these settings have no effect",
                port.number, services[0].host
            );
            let path = format!("{at}.portLevelSettings[{index}].port.number");
            report.add(&PORT_LEVEL_PORT, object, &path, text, format!("its ports: {}", known.join(", ")));
        }
    }
}

fn tls(
    object: &Object,
    rule: &DestinationRule,
    policy: &TrafficPolicy,
    at_gateway: bool,
    report: &mut Report,
) {
    if let Some(settings) = &policy.tls {
        if is_unverified(settings) {
            let text = format!(
                "DestinationRule {} in namespace {} has TLS mode set to {} but no caCertificates are set to validate server identity for host: {}",
                full_name(object),
                object.namespace(),
                settings.mode,
                rule.host
            );
            let hint = "give caCertificates, such as /etc/ssl/certs/ca-certificates.crt";
            report.add(&NO_CA_DESTINATION, object, "spec.trafficPolicy.tls.mode", text, hint);
        }
        if !at_gateway {
            credential(object, rule, settings, "spec.trafficPolicy.tls", report);
        }
    }
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let Some(settings) = &port.tls else { continue };
        let at = format!("spec.trafficPolicy.portLevelSettings[{index}].tls");
        if is_unverified(settings) {
            let text = format!(
                "DestinationRule {} in namespace {} has TLS mode set to {} but no caCertificates are set to validate server identity for host: {} at port number:{}",
                full_name(object),
                object.namespace(),
                settings.mode,
                rule.host,
                port.port.as_ref().map_or(0, |port| port.number)
            );
            let hint = "give caCertificates, such as /etc/ssl/certs/ca-certificates.crt";
            report.add(&NO_CA_PORT, object, &format!("{at}.mode"), text, hint);
        }
        if !at_gateway {
            credential(object, rule, settings, &at, report);
        }
    }
}

fn is_unverified(settings: &ClientTlsSettings) -> bool {
    matches!(settings.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual)
        && settings.ca_certificates.is_none()
        && settings.credential_name.is_none()
        && settings.insecure_skip_verify != Some(true)
}

fn credential(
    object: &Object,
    rule: &DestinationRule,
    settings: &ClientTlsSettings,
    at: &str,
    report: &mut Report,
) {
    if settings.credential_name.is_none() || rule.workload_selector.is_some() {
        return;
    }
    let text = format!(
        "credentialName has no effect at sidecars for a rule without workloadSelector: they send to {} in the clear",
        rule.host
    );
    let hint = "give the rule a workloadSelector, or name files with caCertificates";
    report.add(&CREDENTIAL_IGNORED, object, &format!("{at}.credentialName"), text, hint);
}

/// Subsets of one name in several rules of a namespace for one host (SEM-051).
fn repeated_subsets(mesh: &Mesh<'_>, report: &mut Report) {
    let rules = mesh
        .all::<DestinationRule>()
        .filter(|(_, rule)| rule.workload_selector.is_none() && !rule.subsets.is_empty());
    let mut seen: FxHashMap<_, Vec<(&Object, &DestinationRule)>> = FxHashMap::default();
    for later in rules {
        let key = (later.0.namespace(), mesh.resolve(&later.1.host, later.0.namespace()));
        let before = seen.entry(key).or_default();
        for (index, subset) in later.1.subsets.iter().enumerate() {
            let earlier = before.iter().find(|(_, rule)| {
                rule.export_to == later.1.export_to
                    && rule.subsets.iter().any(|other| other.name == subset.name)
            });
            if let Some((first, _)) = earlier {
                let text = format!(
                    "Subset {} of {} is defined twice, here and in {}: only one of them holds",
                    subset.name,
                    later.1.host,
                    full_name(first)
                );
                let path = format!("spec.subsets[{index}].name");
                report.add(&REPEATED_SUBSET, later.0, &path, text, "keep one of the two");
            }
        }
        before.push(later);
    }
}
