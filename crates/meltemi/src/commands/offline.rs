//! A mesh read from files, and proxies of it by name: what `explain` and `describe` look at without a control plane.
//!
//! Invariant: findings go to standard error; what is wrong is left out of the mesh and hides nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use meltemi_agent::admin;
use meltemi_config::analysis;
use meltemi_config::core::{Deployment, PodSpec, Service};
use meltemi_config::labels::selects;
use meltemi_config::process::Process;
use meltemi_config::{Diagnostic, Kind, Labels, Object, Spec};
use meltemi_pilot::node::{Node, Role};
use meltemi_pilot::snapshot::Snapshot;
use meltemi_xds::extension;
use serde_json::{Value, json};

use super::target::{self, Named};
use super::{settings, translate};
use crate::failure::Failure;

/// Label by which a Service that nobody declared selects the Processes that name it; as `meltemi up` has it.
const SERVICE_LABEL: &str = "meltemi.dev/service";

/// Objects, and what becomes of them.
pub(super) struct Mesh {
    /// As read, with Pods in place of what would make them.
    pub(super) objects: Vec<Object>,
    /// The mesh that they are.
    pub(super) snapshot: Snapshot,
    /// Where they were read; empty: from a control plane.
    paths: Vec<PathBuf>,
}

/// A workload or gateway that a proxy may stand beside.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    name: String,
    namespace: String,
    kind: &'static str,
    role: Role,
    address: String,
    labels: Labels,
}

impl Named for Candidate {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn kind(&self) -> &str {
        self.kind
    }
}

impl Mesh {
    /// Reads files and folders.
    pub(super) fn read(paths: &[PathBuf], settings: &settings::Flags) -> Result<Mesh> {
        let reading = meltemi_config::Options::in_namespace(&settings.namespace);
        let loaded = meltemi_config::load(paths, &reading);
        translate::report(&loaded.diagnostics);
        let read = settings.read(None)?;
        translate::report(&read.findings);
        let mut objects = loaded.objects;
        objects.extend(stand_ins(&objects));
        let snapshot = Snapshot::build(1, &objects, Arc::new(read.mesh));
        Ok(Mesh { objects, snapshot, paths: paths.to_vec() })
    }

    /// The objects that a control plane has in force.
    pub(super) fn running(control_plane: SocketAddr) -> Result<Mesh> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(admin::request(control_plane, Method::GET, "/debug/configz"));
        let answer = answer.ok().filter(|answer| answer.status == StatusCode::OK).ok_or_else(|| {
            let hint = "give files with -f PATH, or say where it is with --control-plane ADDR";
            Failure::new(format!("no control plane at {control_plane}"), hint)
        })?;
        let mut items: Vec<Value> =
            serde_json::from_slice(&answer.body).context("the control plane's answer")?;
        items.iter_mut().for_each(unwrap_content);
        let text = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
        let objects = meltemi_config::load_text("", &text, &meltemi_config::Options::default()).objects;
        let snapshot = Snapshot::build(1, &objects, Arc::default());
        Ok(Mesh { objects, snapshot, paths: Vec::new() })
    }

    /// What analysis finds in the files.
    pub(super) fn findings(&self, settings: &settings::Flags) -> Result<Vec<Diagnostic>> {
        if self.paths.is_empty() {
            return Ok(Vec::new());
        }
        let options =
            meltemi_config::Options { namespace: settings.namespace.as_str().into(), analysis: true };
        let loaded = meltemi_config::load(&self.paths, &options);
        let read = settings.read(Some(&loaded))?;
        let settings = analysis::Settings {
            mesh: read.mesh,
            networks: read.networks,
            root_namespace: read.root_namespace,
            defaults: true,
        };
        Ok(analysis::analyze(&loaded, &settings))
    }

    /// The proxy of that node id, or of the workload or gateway of that name.
    pub(super) fn node(&self, wanted: &str, labels: &[String], metadata: Option<&str>) -> Result<Node> {
        let mut node = match wanted.contains('~') {
            true => translate::node_of(wanted, labels, metadata)?,
            false => {
                let candidates = self.candidates();
                let one = target::choose(wanted, "workload or gateway", &candidates)?;
                let Candidate { name, namespace, address, role, .. } = one;
                let role = role.as_str();
                let id = format!("{role}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local");
                let mut node = translate::node_of(&id, labels, metadata)?;
                if node.metadata.labels.is_empty() {
                    node.metadata.labels = one.labels.clone();
                }
                node
            }
        };
        // Only proxies that know us are told lines of files.
        node.metadata.extensions = extension::ALL.iter().map(|name| (*name).into()).collect();
        Ok(node)
    }

    /// Workloads, and gateways by the name of their Gateway.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = Vec::new();
        for workload in self.snapshot.registry.workloads.values() {
            let gateways = self.snapshot.gateways.iter();
            let is_gateway = gateways
                .clone()
                .any(|gateway| !gateway.spec.selector.is_empty() && gateway.selects(&workload.labels));
            let known =
                all.iter().any(|one| one.name == *workload.name && one.namespace == *workload.namespace);
            if !known && !workload.name.is_empty() {
                all.push(Candidate {
                    name: workload.name.to_string(),
                    namespace: workload.namespace.to_string(),
                    kind: if is_gateway { "gateway" } else { "workload" },
                    role: if is_gateway { Role::Router } else { Role::Sidecar },
                    address: workload
                        .addresses
                        .first()
                        .map_or_else(|| "0.0.0.0".to_owned(), |a| a.to_string()),
                    labels: workload.labels.clone(),
                });
            }
        }
        for gateway in &self.snapshot.gateways {
            let Some((namespace, name)) = gateway.full_name.split_once('/') else { continue };
            if !all.iter().any(|one| one.name == name && one.namespace == namespace) {
                all.push(Candidate {
                    name: name.to_owned(),
                    namespace: namespace.to_owned(),
                    kind: "Gateway",
                    role: Role::Router,
                    address: "0.0.0.0".to_owned(),
                    labels: gateway.spec.selector.clone(),
                });
            }
        }
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }

    /// The object of Istio's path `/apis/…/namespaces/NS/virtual-service/NAME`.
    pub(super) fn object(&self, path: &str) -> Option<&Object> {
        let mut parts = path.rsplit('/');
        let (name, kind, namespace) = (parts.next()?, parts.next()?.replace('-', ""), parts.next()?);
        self.objects.iter().find(|object| {
            **object.name() == *name
                && **object.namespace() == *namespace
                && object.kind.as_str().eq_ignore_ascii_case(&kind)
        })
    }
}

/// Kubernetes objects have their content at the top of the document.
fn unwrap_content(object: &mut Value) {
    let group = object["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map_or("", |(group, _)| group);
    let kind = Kind::find(group, object["kind"].as_str().unwrap_or_default());
    if kind.is_none_or(Kind::is_mesh) {
        return;
    }
    if let Some(Value::Object(content)) = object.as_object_mut().and_then(|fields| fields.remove("spec")) {
        for (name, value) in content {
            object[name] = value;
        }
    }
}

/// A Pod for each Deployment and Process that has none, so that files that were never in a cluster have workloads. Addresses
/// are made up, from a range that nobody routes.
fn stand_ins(objects: &[Object]) -> Vec<Object> {
    let mut pods = Vec::new();
    let has_pods = |labels: &Labels, namespace: &str| {
        objects.iter().any(|object| {
            matches!(object.spec, Spec::Pod(_))
                && **object.namespace() == *namespace
                && labels.iter().all(|(key, value)| object.labels().get(key) == Some(value))
        })
    };
    for object in objects {
        let (labels, spec) = match &object.spec {
            Spec::Deployment(deployment) => of_deployment(deployment),
            Spec::Process(process) if !process.gateway => of_process(object, process),
            _ => continue,
        };
        if !labels.is_empty() && has_pods(&labels, object.namespace()) {
            continue;
        }
        let number = pods.len() + 1;
        let address = format!("198.18.{}.{}", number / 250, number % 250 + 1);
        pods.push(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": &**object.name(), "namespace": &**object.namespace(), "labels": labels },
            "spec": spec,
            "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] },
        }));
    }
    pods.extend(services(objects));
    let text = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
    meltemi_config::load_text("", &text, &meltemi_config::Options::default()).objects
}

/// Services that Processes name and nobody declared, as `meltemi up` makes them.
fn services(objects: &[Object]) -> Vec<Value> {
    let mut ports: BTreeMap<(&str, &str), Vec<Value>> = BTreeMap::new();
    for object in objects {
        let Spec::Process(process) = &object.spec else { continue };
        let name = process.service.as_deref().unwrap_or(object.name());
        let (labels, _) = of_process(object, process);
        let here = objects.iter().filter(|other| other.namespace() == object.namespace());
        let declared =
            here.filter_map(|other| Some((other, other.spec_as::<Service>()?))).any(|(other, service)| {
                let selector = &service.spec.selector;
                **other.name() == *name || !selector.is_empty() && selects(selector, &labels)
            });
        let own = ports.entry((&**object.namespace(), name)).or_default();
        for port in process.ports.iter().filter(|_| !declared && !process.gateway) {
            if !own.iter().any(|known| known["port"] == port.number) {
                own.push(json!({ "name": &*port.name, "port": port.number }));
            }
        }
    }
    let of = |((namespace, name), ports): ((&str, &str), Vec<Value>)| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "selector": { SERVICE_LABEL: name }, "ports": ports },
        })
    };
    ports.into_iter().filter(|(_, ports)| !ports.is_empty()).map(of).collect()
}

fn of_deployment(deployment: &Deployment) -> (Labels, Value) {
    let template = &deployment.spec.template;
    (template.metadata.labels.clone(), pod_spec(&template.spec))
}

fn pod_spec(spec: &PodSpec) -> Value {
    let ports = spec.containers.iter().flat_map(|container| &container.ports);
    let ports =
        ports.map(|port| json!({ "name": port.name.as_deref(), "containerPort": port.container_port }));
    json!({
        "serviceAccountName": spec.service_account_name.as_deref().unwrap_or("default"),
        "containers": [{ "name": "app", "ports": ports.collect::<Vec<_>>() }],
    })
}

fn of_process(object: &Object, process: &Process) -> (Labels, Value) {
    let mut labels = object.labels().clone();
    labels.extend(process.labels.clone());
    labels.entry("app".into()).or_insert_with(|| object.name().clone());
    let service = process.service.as_ref().unwrap_or(object.name());
    labels.insert(SERVICE_LABEL.into(), service.clone());
    let ports = process.ports.iter().map(|port| json!({ "name": &*port.name, "containerPort": port.number }));
    let spec = json!({
        "serviceAccountName": process.service_account.as_deref().unwrap_or("default"),
        "containers": [{ "name": "app", "ports": ports.collect::<Vec<_>>() }],
    });
    (labels, spec)
}
