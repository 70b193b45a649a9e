//! What applies to a service: its ports, its DestinationRule, the VirtualServices and Gateways that lead to it.
//!
//! Rules are those that hold for a client in the service's own namespace. Invariant: resources come in the order in which
//! they win.

use std::sync::Arc;

use meltemi_config::labels::selects;
use meltemi_config::{Kind, Labels};
use meltemi_pilot::registry;
use meltemi_pilot::snapshot::destination_rule::{Client, Rule};
use meltemi_pilot::snapshot::virtual_service;
use serde::Serialize;

use super::{Resource, words};
use crate::commands::offline::Mesh;
use crate::commands::target::{self, Named};
use crate::failure::Failure;

/// A service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) host: String,
    pub(super) namespace: String,
    /// The Service or ServiceEntry, if one of its name is there.
    pub(super) resource: Option<Resource>,
    pub(super) ports: Vec<Port>,
    pub(super) endpoints: Endpoints,
    pub(super) destination_rule: Option<DestinationRule>,
    pub(super) virtual_services: Vec<VirtualService>,
}

/// A port.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) protocol: String,
    /// Nobody said which protocol: it is found out, connection by connection.
    pub(super) detected: bool,
    /// Ports of the workloads behind it.
    pub(super) target_ports: Vec<u32>,
}

/// How many endpoints there are, all ports together.
#[derive(Debug, Serialize)]
pub(super) struct Endpoints {
    pub(super) all: usize,
    pub(super) healthy: usize,
}

/// A DestinationRule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DestinationRule {
    pub(super) resource: Resource,
    /// Blocks of `trafficPolicy` that it sets.
    pub(super) policies: Vec<String>,
    pub(super) subsets: Vec<Subset>,
}

/// A subset.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subset {
    pub(super) name: String,
    pub(super) labels: Labels,
    /// Endpoints that it selects.
    pub(super) endpoints: usize,
    /// Whether the workload in question is of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) has_workload: Option<bool>,
}

/// A VirtualService.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VirtualService {
    pub(super) resource: Resource,
    /// Whether it is for sidecars.
    pub(super) mesh: bool,
    pub(super) gateways: Vec<Gateway>,
    pub(super) rules: Vec<words::Rule>,
}

/// A Gateway that a VirtualService is bound to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gateway {
    pub(super) resource: Resource,
    /// Where the service is exposed: `http://HOST:PORT`.
    pub(super) exposes: Vec<String>,
}

/// A service as a target has it.
pub(super) struct Entry {
    pub(super) service: Arc<registry::Service>,
    name: String,
}

impl Named for Entry {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.service.namespace
    }

    fn kind(&self) -> &str {
        ""
    }
}

impl Entry {
    pub(super) fn of(service: &Arc<registry::Service>) -> Entry {
        let name =
            if service.kubernetes { service.name.to_string() } else { service.host.as_str().to_owned() };
        Entry { service: Arc::clone(service), name }
    }

    /// Whether that is its short name, its name with its namespace, or its host.
    pub(super) fn is(&self, wanted: &str) -> bool {
        self.name == wanted
            || self.service.host.as_str() == wanted
            || wanted.rsplit_once('.') == Some((&self.name, &self.service.namespace))
    }

    pub(super) fn find<'a>(wanted: &str, all: &'a [Entry]) -> Result<&'a Entry, Failure> {
        let by_host = all.iter().find(|entry| entry.service.host.as_str() == wanted);
        by_host.map_or_else(|| target::choose(wanted, "service", all), Ok)
    }
}

/// Describes a service; `labels` are those of the workload in question.
pub(super) fn describe(
    mesh: &Mesh,
    service: &Arc<registry::Service>,
    labels: Option<&Labels>,
    warnings: &mut Vec<String>,
) -> Service {
    let snapshot = &mesh.snapshot;
    let instances = snapshot.registry.instances_of(service);
    let client = Client {
        namespace: &service.namespace,
        labels: &Labels::default(),
        root_namespace: snapshot.mesh.root_namespace(),
    };
    let rule = snapshot.destination_rules.find(&client, &service.host, &service.namespace);
    let virtual_services: Vec<_> = leading_to(mesh, service).collect();
    let described = Service {
        host: service.host.as_str().to_owned(),
        namespace: service.namespace.to_string(),
        resource: resource(mesh, service),
        ports: service.ports.iter().map(|port| self::port(port, instances)).collect(),
        endpoints: Endpoints {
            all: instances.len(),
            healthy: instances.iter().filter(|instance| instance.healthy).count(),
        },
        destination_rule: rule.and_then(|rule| destination_rule(mesh, rule, instances, labels)),
        virtual_services: virtual_services.iter().map(|one| virtual_service(mesh, service, one)).collect(),
    };
    warn(&described, &virtual_services, service, warnings);
    described
}

fn resource(mesh: &Mesh, service: &registry::Service) -> Option<Resource> {
    let object = mesh.objects.iter().find(|object| match (&object.spec, service.kubernetes) {
        (meltemi_config::Spec::Service(_), true) => {
            *object.name() == service.name && *object.namespace() == service.namespace
        }
        (meltemi_config::Spec::ServiceEntry(entry), false) => {
            *object.namespace() == service.namespace && entry.hosts.contains(&service.host)
        }
        _ => false,
    })?;
    Some(mesh.resource(object.kind, object.namespace(), object.name()))
}

fn port(port: &registry::Port, instances: &[registry::Instance]) -> Port {
    let mut targets: Vec<u32> =
        instances.iter().filter(|i| i.service_port == port.number).map(|i| i.port).collect();
    targets.sort_unstable();
    targets.dedup();
    Port {
        number: port.number,
        name: port.name.to_string(),
        protocol: words::protocol(port.protocol),
        detected: port.protocol.is_auto(),
        target_ports: targets,
    }
}

fn destination_rule(
    mesh: &Mesh,
    rule: &Rule,
    instances: &[registry::Instance],
    labels: Option<&Labels>,
) -> Option<DestinationRule> {
    let subset = |subset: &meltemi_config::networking::destination_rule::Subset| Subset {
        name: subset.name.to_string(),
        labels: subset.labels.clone(),
        endpoints: instances.iter().filter(|i| selects(&subset.labels, &i.workload.labels)).count(),
        has_workload: labels.map(|labels| selects(&subset.labels, labels)),
    };
    Some(DestinationRule {
        resource: mesh.resource_at(&rule.origin)?,
        policies: rule.policy.as_ref().map(words::policies).unwrap_or_default(),
        subsets: rule.subsets.iter().map(subset).collect(),
    })
}

/// VirtualServices that are for the host, or lead to it from a gateway.
fn leading_to<'a>(
    mesh: &'a Mesh,
    service: &'a registry::Service,
) -> impl Iterator<Item = &'a Arc<virtual_service::Resolved>> {
    let is_for = move |one: &&Arc<virtual_service::Resolved>| {
        let of_host = one.is_for("mesh") && one.hosts.iter().any(|host| host.matches(&service.host));
        !one.is_delegate() && (of_host || one.destinations().any(|host| host == service.host))
    };
    mesh.snapshot.virtual_services.iter().filter(is_for)
}

fn virtual_service(
    mesh: &Mesh,
    service: &registry::Service,
    one: &virtual_service::Resolved,
) -> VirtualService {
    let gateways = mesh.snapshot.gateways.iter().filter(|gateway| one.is_for(&gateway.full_name));
    let gateways = gateways.map(|gateway| {
        let name = gateway.full_name.split_once('/').map_or("", |(_, name)| name);
        Gateway {
            resource: mesh.resource(Kind::Gateway, &gateway.namespace, name),
            exposes: words::exposed(&gateway.spec, &one.hosts),
        }
    });
    VirtualService {
        resource: mesh
            .resource_at(&one.origin)
            .unwrap_or_else(|| mesh.resource(Kind::VirtualService, &one.namespace, &one.name)),
        mesh: one.is_for("mesh"),
        gateways: gateways.collect(),
        rules: words::rules(one, service),
    }
}

fn warn(
    service: &Service,
    virtual_services: &[&Arc<virtual_service::Resolved>],
    of: &registry::Service,
    warnings: &mut Vec<String>,
) {
    let name = &service.host;
    if service.endpoints.all == 0 && of.has_endpoints() {
        warnings.push(format!("{name} has no endpoints: requests to it are answered 503 (UH)"));
    } else if service.endpoints.healthy == 0 && service.endpoints.all > 0 {
        warnings.push(format!("no endpoint of {name} is ready"));
    }
    for port in service.ports.iter().filter(|port| port.detected) {
        warnings.push(format!(
            "port {} of {name} does not say its protocol, which is detected: name the port http-…, grpc-…, tcp-… or set appProtocol",
            port.number
        ));
    }
    let subsets: Vec<&str> =
        service.destination_rule.iter().flat_map(|rule| &rule.subsets).map(|subset| &*subset.name).collect();
    for (described, one) in service.virtual_services.iter().zip(virtual_services) {
        for wanted in words::subsets(one, of) {
            if !subsets.contains(&&*wanted) {
                let VirtualService { resource, .. } = described;
                warnings.push(format!(
                    "{} {}/{} leads to subset {wanted} of {name}, which no DestinationRule defines: 503 (NC)",
                    resource.kind, resource.namespace, resource.name
                ));
            }
        }
        for gateway in described.gateways.iter().filter(|gateway| gateway.exposes.is_empty()) {
            warnings.push(format!(
                "Gateway {}/{} has no server for a host of VirtualService {}/{}",
                gateway.resource.namespace,
                gateway.resource.name,
                described.resource.namespace,
                described.resource.name
            ));
        }
    }
    let of_host = virtual_services.iter().filter(|one| one.is_for("mesh") && one.hosts.contains(&of.host));
    let names: Vec<String> = of_host.map(|one| format!("{}/{}", one.namespace, one.name)).collect();
    if names.len() > 1 {
        warnings.push(format!(
            "several VirtualServices are for {name}, and sidecars use the first: {}",
            names.join(", ")
        ));
    }
}
