//! What applies to a workload: its Sidecar, the services that it is of, and through them everything else; of a gateway, its
//! Gateways.
//!
//! Invariant: a workload's services are those with an endpoint at one of its addresses, as its proxy has them.

use std::sync::Arc;

use anyhow::Result;
use meltemi_config::{Kind, Labels};
use meltemi_pilot::node::Role;
use meltemi_pilot::registry;
use meltemi_pilot::view::View;
use serde::Serialize;

use super::{Description, Resource, service, words};
use crate::commands::offline::{Candidate, Mesh};
use crate::commands::target::Named;

/// A workload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) namespace: String,
    /// `sidecar` or `router`, as its proxy is called.
    pub(super) role: String,
    pub(super) addresses: Vec<String>,
    pub(super) labels: Labels,
    pub(super) service_account: String,
    pub(super) ready: bool,
    /// The Sidecar that holds for it.
    pub(super) sidecar: Option<Resource>,
    /// How many services it may call.
    pub(super) visible_services: usize,
    /// Whether it may call what nobody knows: `ALLOW_ANY` or `REGISTRY_ONLY`.
    pub(super) outbound_traffic_policy: String,
    /// Ports that it serves, by its own number.
    pub(super) inbound: Vec<Inbound>,
    /// Of a gateway: the Gateways that select it.
    pub(super) gateways: Vec<Resource>,
}

/// A port of the workload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inbound {
    pub(super) port: u32,
    pub(super) service: String,
    pub(super) service_port: u32,
    pub(super) protocol: String,
}

pub(super) fn describe(mesh: &Mesh, candidate: &Candidate) -> Result<Description> {
    let (name, namespace) = (candidate.name().to_owned(), candidate.namespace().to_owned());
    let node = mesh.node(&format!("{name}.{namespace}"), &[], None)?;
    let view = View::new(&mesh.snapshot, &node);
    let running = mesh
        .snapshot
        .registry
        .workloads
        .values()
        .find(|workload| *workload.name == *name && *workload.namespace == *namespace);
    let selected = mesh
        .snapshot
        .gateways
        .iter()
        .filter(|gateway| node.role == Role::Router && gateway.selects(&view.labels));
    let gateways = selected.map(|gateway| {
        let name = gateway.full_name.split_once('/').map_or("", |(_, name)| name);
        mesh.resource(Kind::Gateway, &gateway.namespace, name)
    });
    let inbound = view.own_ports.iter().map(|port| Inbound {
        port: port.target,
        service: port.service.host.as_str().to_owned(),
        service_port: port.service_port,
        protocol: words::protocol(port.protocol),
    });
    let workload = Workload {
        role: node.role.as_str().to_owned(),
        addresses: node.addresses.iter().map(ToString::to_string).collect(),
        labels: view.labels.clone(),
        service_account: running
            .map_or("default".to_owned(), |workload| workload.service_account.to_string()),
        ready: running.is_none_or(|workload| workload.ready),
        sidecar: sidecar(mesh, &view),
        visible_services: view.scope.services.len(),
        outbound_traffic_policy: if view.scope.allow_any { "ALLOW_ANY" } else { "REGISTRY_ONLY" }.to_owned(),
        inbound: inbound.collect(),
        gateways: gateways.collect(),
        name,
        namespace,
    };
    let mut warnings = Vec::new();
    let mut services: Vec<Arc<registry::Service>> = Vec::new();
    for port in &view.own_ports {
        if !services.iter().any(|known| Arc::ptr_eq(known, &port.service)) {
            services.push(Arc::clone(&port.service));
        }
    }
    let described: Vec<_> = services
        .iter()
        .map(|service| service::describe(mesh, service, Some(&view.labels), &mut warnings))
        .collect();
    warn(&workload, &described, &mut warnings);
    Ok(Description { workload: Some(workload), services: described, warnings, findings: Vec::new() })
}

/// The object behind the Sidecar of the scope: the scope has its content.
fn sidecar(mesh: &Mesh, view: &View<'_>) -> Option<Resource> {
    let wanted = view.scope.sidecar.as_ref()?;
    let object = mesh.objects.iter().find(|object| {
        object.spec_as::<meltemi_config::networking::Sidecar>().is_some_and(|spec| Arc::ptr_eq(spec, wanted))
    })?;
    Some(mesh.resource(Kind::Sidecar, object.namespace(), object.name()))
}

fn warn(workload: &Workload, services: &[service::Service], warnings: &mut Vec<String>) {
    let Workload { name, namespace, labels, .. } = workload;
    if workload.role == "router" {
        if workload.gateways.is_empty() {
            warnings.push(format!("no Gateway selects {name}.{namespace}: it listens to nobody"));
        }
        return;
    }
    if !workload.ready {
        warnings.push(format!("{name}.{namespace} is not ready: it gets no requests"));
    }
    for label in ["app", "version"] {
        let others = [
            format!("app.kubernetes.io/{}", if label == "app" { "name" } else { "version" }),
            format!("service.istio.io/canonical-{}", if label == "app" { "name" } else { "revision" }),
        ];
        if labels.get(label).is_none() && !others.iter().any(|other| labels.get(other.as_str()).is_some()) {
            warnings.push(format!(
                "{name}.{namespace} has no label {label:?}, by which metrics and graphs tell workloads apart"
            ));
        }
    }
    if services.is_empty() {
        warnings
            .push(format!("{name}.{namespace} is behind no service: nobody in the mesh can call it by name"));
    }
    for service in services {
        let Some(rule) = &service.destination_rule else { continue };
        let of = rule.subsets.iter().any(|subset| subset.has_workload == Some(true));
        if !rule.subsets.is_empty() && !of {
            warnings.push(format!(
                "{name}.{namespace} is in no subset of DestinationRule {}/{}",
                rule.resource.namespace, rule.resource.name
            ));
        }
        for virtual_service in service.virtual_services.iter().filter(|one| one.mesh && !one.rules.is_empty())
        {
            let reaches = |rule: &words::Rule| {
                rule.subsets.is_empty() && rule.here
                    || rule.subsets.iter().any(|wanted| {
                        service
                            .destination_rule
                            .iter()
                            .flat_map(|rule| &rule.subsets)
                            .any(|subset| subset.name == *wanted && subset.has_workload == Some(true))
                    })
            };
            if !virtual_service.rules.iter().any(reaches) {
                let resource = &virtual_service.resource;
                warnings.push(format!(
                    "no rule of VirtualService {}/{} leads to {name}.{namespace}",
                    resource.namespace, resource.name
                ));
            }
        }
    }
}
