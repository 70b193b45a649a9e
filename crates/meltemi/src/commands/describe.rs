//! `meltemi describe`: which resources apply to a workload or a service, and what is to be said against them.
//!
//! Offline from files, or of the running mesh, whose objects the control plane gives (`/debug/configz`). Pilot's own lookups
//! answer which rule holds. Invariant: the JSON's names are stable; text says the same.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use meltemi_config::{Diagnostic, Kind};
use serde::Serialize;

use super::live::CONTROL_PLANE;
use super::offline::Mesh;
use super::settings;
use super::target::{self, Named};
use crate::console::outln;
use crate::failure::Failure;

mod print;
mod service;
mod words;
mod workload;

const EXAMPLES: &str = "\
Examples:
  meltemi describe -f mesh/ workload reviews-v1.shop
  meltemi describe -f mesh/ service reviews
  meltemi describe productpage-v1                  of the running mesh; a workload, else a service of that name
  meltemi describe service ratings -o json";

/// What, of which mesh.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// `workload` or `service` (or `pod`, `svc`), and its NAME or NAME.NAMESPACE; the kind may be left out
    #[arg(value_name = "[KIND] NAME", num_args = 1..=2, required = true)]
    target: Vec<String>,

    /// Files and folders with mesh resources and Kubernetes objects, YAML or JSON; unset: the running mesh
    #[arg(short, long = "filename", num_args = 1, value_name = "PATH")]
    filename: Vec<PathBuf>,

    /// Where the control plane serves its debug pages
    #[arg(long, value_name = "ADDR", env = "MELTEMI_CONTROL_PLANE", default_value = CONTROL_PLANE)]
    control_plane: SocketAddr,

    #[command(flatten)]
    settings: settings::Flags,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
    /// The same as YAML
    Yaml,
}

/// A resource, and where it is written if a file says it.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    kind: String,
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// What there is to say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<workload::Workload>,
    services: Vec<service::Service>,
    /// Suggestions and contradictions that no analyzer has a code for.
    warnings: Vec<String>,
    /// What `meltemi analyze` finds about the resources named here.
    findings: Vec<Diagnostic>,
}

/// Kinds that a target may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    Workload,
    Service,
}

/// Describes and prints.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let (wanted, name) = parse(&args.target)?;
    let mesh = match args.filename.is_empty() {
        true => Mesh::running(args.control_plane)?,
        false => Mesh::read(&args.filename, &args.settings)?,
    };
    let mut description = describe(&mesh, wanted, name)?;
    description.findings = mesh.findings(&args.settings)?;
    let named = description.resources();
    description.findings.retain(|finding| {
        finding.resource.as_ref().is_some_and(|id| {
            named.iter().any(|(kind, namespace, name)| {
                id.kind.as_str() == kind && *id.namespace == **namespace && *id.name == **name
            })
        })
    });
    match args.output {
        Output::Text => print::text(&description),
        Output::Json => outln!("{:#}", serde_json::to_value(&description)?),
        Output::Yaml => outln!("{}", serde_saphyr::to_string(&description)?.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(target: &[String]) -> Result<(Wanted, &str), Failure> {
    let (kind, name) = match target {
        [both] => both.split_once('/').map_or(("", both.as_str()), |(kind, name)| (kind, name)),
        [kind, name] => (kind.as_str(), name.as_str()),
        _ => ("", ""),
    };
    let wanted = match kind.to_lowercase().trim_end_matches('s') {
        "" => Wanted::Any,
        "workload" | "pod" | "po" | "gateway" => Wanted::Workload,
        "service" | "svc" => Wanted::Service,
        _ => {
            let hint = "say: describe workload NAME, or: describe service NAME";
            return Err(Failure::usage(format!("{kind:?} is neither a workload nor a service"), hint));
        }
    };
    Ok((wanted, name))
}

fn describe(mesh: &Mesh, wanted: Wanted, name: &str) -> Result<Description> {
    let workloads = mesh.candidates();
    let services: Vec<service::Entry> = mesh.snapshot.registry.all().map(service::Entry::of).collect();
    let as_service = |name: &str| -> Result<Description> {
        let entry = service::Entry::find(name, &services)?;
        let mut warnings = Vec::new();
        let service = service::describe(mesh, &entry.service, None, &mut warnings);
        Ok(Description { workload: None, services: vec![service], warnings, findings: Vec::new() })
    };
    match wanted {
        Wanted::Service => as_service(name),
        Wanted::Workload => {
            workload::describe(mesh, target::choose(name, "workload or gateway", &workloads)?)
        }
        Wanted::Any => {
            let is_workload = target::choose(name, "workload or gateway", &workloads);
            match is_workload {
                Ok(workload) if !services.iter().any(|entry| entry.is(name)) || workload.name() == name => {
                    workload::describe(mesh, workload)
                }
                Err(_) if services.iter().any(|entry| entry.is(name)) => as_service(name),
                Ok(_) => as_service(name),
                Err(failure) => Err(failure.into()),
            }
        }
    }
}

impl Description {
    /// Kind, namespace and name of all resources that it names.
    fn resources(&self) -> Vec<(String, String, String)> {
        let id =
            |resource: &Resource| (resource.kind.clone(), resource.namespace.clone(), resource.name.clone());
        let mut all = Vec::new();
        for service in &self.services {
            all.extend(service.resource.iter().map(id));
            all.extend(service.destination_rule.iter().map(|rule| id(&rule.resource)));
            for virtual_service in &service.virtual_services {
                all.push(id(&virtual_service.resource));
                all.extend(virtual_service.gateways.iter().map(|gateway| id(&gateway.resource)));
            }
        }
        if let Some(workload) = &self.workload {
            all.extend(workload.sidecar.iter().map(id));
            all.extend(workload.gateways.iter().map(id));
            all.push(("Pod".to_owned(), workload.namespace.clone(), workload.name.clone()));
            all.push(("Deployment".to_owned(), workload.namespace.clone(), workload.name.clone()));
        }
        all
    }
}

impl Mesh {
    /// A resource by kind and name.
    fn resource(&self, kind: Kind, namespace: &str, name: &str) -> Resource {
        let object = self.objects.iter().find(|object| {
            object.kind == kind && **object.namespace() == *namespace && **object.name() == *name
        });
        let source = object.map(|object| &object.source).filter(|source| !source.file.is_empty());
        Resource {
            kind: kind.as_str().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            file: source.map(|source| source.file.to_string()),
            line: source.map(|source| source.line),
        }
    }

    /// A resource by Istio's path of it.
    fn resource_at(&self, path: &str) -> Option<Resource> {
        let object = self.object(path)?;
        Some(self.resource(object.kind, object.namespace(), object.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_with_or_without_its_kind() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            parse(&words).map(|(wanted, name)| (wanted, name.to_owned())).ok()
        };
        assert_eq!(of(&["web"]), Some((Wanted::Any, "web".to_owned())));
        assert_eq!(of(&["pod", "web"]), Some((Wanted::Workload, "web".to_owned())));
        assert_eq!(of(&["svc/web.ns"]), Some((Wanted::Service, "web.ns".to_owned())));
        assert_eq!(of(&["tree", "web"]), None);
    }
}
