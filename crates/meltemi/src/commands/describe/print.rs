//! A description for people.
//!
//! Invariant: one resource a line, with its place at the end, so that an editor can jump there.

use owo_colors::{OwoColorize, Style};

use super::{Description, Resource, service, workload};
use crate::console::outln;

const HEAD: Style = Style::new().bold();

pub(super) fn text(description: &Description) {
    if let Some(workload) = &description.workload {
        self::workload(workload);
    }
    for (at, service) in description.services.iter().enumerate() {
        if at > 0 || description.workload.is_some() {
            outln!();
        }
        self::service(service);
    }
    if !description.warnings.is_empty() || !description.findings.is_empty() {
        outln!("\n{}", "Warnings".style(Style::new().yellow().bold()));
    }
    for warning in &description.warnings {
        outln!("  {warning}");
    }
    for finding in &description.findings {
        let place = finding.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        outln!("  {} {}: {}{}", finding.severity, finding.code, finding.message, place.dimmed());
    }
}

fn line(label: &str, value: &str) {
    outln!("  {label:<18}{value}");
}

fn named(resource: &Resource) -> String {
    let Resource { kind, namespace, name, file, line } = resource;
    let place = match (file, line) {
        (Some(file), Some(line)) => format!(" at {file}:{line}"),
        _ => String::new(),
    };
    format!("{kind} {namespace}/{name}{}", place.dimmed())
}

fn workload(workload: &workload::Workload) {
    let gateway = workload.role == "router";
    let kind = if gateway { "Gateway workload" } else { "Workload" };
    outln!("{} {}.{}", kind.style(HEAD), workload.name, workload.namespace);
    let labels: Vec<String> = workload.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    line("addresses", &workload.addresses.join(", "));
    line("labels", &labels.join(", "));
    line("service account", &workload.service_account);
    if gateway {
        for gateway in &workload.gateways {
            line("selected by", &named(gateway));
        }
        return;
    }
    let sidecar =
        workload.sidecar.as_ref().map_or("none: it may call every visible service".to_owned(), named);
    line("sidecar scope", &sidecar);
    let visible = format!(
        "{} services visible; unknown destinations: {}",
        workload.visible_services, workload.outbound_traffic_policy
    );
    line("may call", &visible);
    for port in &workload.inbound {
        line(
            "serves",
            &format!("{} ({}) as {}:{}", port.port, port.protocol, port.service, port.service_port),
        );
    }
}

fn service(service: &service::Service) {
    let place =
        service.resource.as_ref().map(|resource| format!("  {}", named(resource))).unwrap_or_default();
    outln!("{} {}{place}", "Service".style(HEAD), service.host);
    for port in &service.ports {
        let targets: Vec<String> = port.target_ports.iter().map(u32::to_string).collect();
        let targets = if targets.is_empty() { "nobody".to_owned() } else { targets.join(", ") };
        let name = if port.name.is_empty() { String::new() } else { format!(" {}", port.name) };
        line("port", &format!("{}{name} ({}) → {targets}", port.number, port.protocol));
    }
    line("endpoints", &format!("{} of {} ready", service.endpoints.healthy, service.endpoints.all));
    match &service.destination_rule {
        None => line("destination rule", "none"),
        Some(rule) => {
            line("destination rule", &named(&rule.resource));
            if !rule.policies.is_empty() {
                line("  policies", &rule.policies.join(", "));
            }
            for subset in &rule.subsets {
                let labels: Vec<String> =
                    subset.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let mark = match subset.has_workload {
                    Some(true) => "  ← this workload",
                    _ => "",
                };
                let endpoints = if subset.endpoints == 1 { "endpoint" } else { "endpoints" };
                let text = format!(
                    "{} ({}): {} {endpoints}{mark}",
                    subset.name,
                    labels.join(", "),
                    subset.endpoints
                );
                line("  subset", &text);
            }
        }
    }
    if service.virtual_services.is_empty() {
        line("virtual services", "none: requests go to the service as a whole");
    }
    for one in &service.virtual_services {
        line("virtual service", &named(&one.resource));
        for gateway in &one.gateways {
            let urls =
                if gateway.exposes.is_empty() { "nothing".to_owned() } else { gateway.exposes.join(", ") };
            line("  exposed by", &format!("{}: {urls}", named(&gateway.resource)));
        }
        for rule in &one.rules {
            let place = match (&rule.file, rule.line) {
                (Some(file), Some(line)) => format!(" at {file}:{line}"),
                _ => String::new(),
            };
            line(
                &format!("  {} {}", rule.layer, rule.name),
                &format!(
                    "{} {}{}",
                    format!("{}:", rule.takes).style(Style::new()),
                    rule.does,
                    place.dimmed()
                ),
            );
        }
    }
}
