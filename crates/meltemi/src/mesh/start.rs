//! Starts one part of a mesh: the control plane, a workload with its sidecar, a gateway. Called by [`super::run`].
//!
//! Invariant: everything is started through an agent's supervision and is known to the reaper.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_agent::{Agent, AgentOptions, Binary, Line, Node, Reaper, Role, Running, Spec};
use meltemi_config::process::Process;
use tokio::sync::mpsc;

use super::addresses::reachable;
use super::folder::Folder;
use super::options::Options;
use super::plan::{GatewayPlan, Plan, Workload, gateway_namespace};
use super::{DOMAIN, resources, workload};

/// How long connections may take to end when a proxy is ended.
const DRAIN: Duration = Duration::from_secs(1);

/// Name under which the control plane's output is shown.
pub(crate) const CONTROL_PLANE: &str = "control-plane";

/// What starting needs at every step.
pub(crate) struct Start<'a> {
    pub(crate) options: &'a Options,
    pub(crate) folder: &'a Folder,
    pub(crate) executable: PathBuf,
    pub(crate) binary: Binary,
    pub(crate) sink: mpsc::Sender<Line>,
    pub(crate) reaper: Reaper,
}

impl Start<'_> {
    /// The control plane is a process of its own, so that its end is not the mesh's: it is started again, and proxies
    /// go on with what they have.
    pub(crate) fn control_plane(&self) -> Running {
        let mut args: Vec<String> = ["--log", "warn", "control-plane"].map(str::to_owned).into();
        for path in self.options.paths.iter().chain([&self.folder.resources()]) {
            args.extend(["--config".to_owned(), path.display().to_string()]);
        }
        let Options { xds, monitoring, dashboard, namespace, .. } = self.options;
        for (flag, address) in [("--xds", xds), ("--monitoring", monitoring), ("--dashboard", dashboard)] {
            args.extend([flag.to_owned(), address.to_string()]);
        }
        args.extend(["--namespace".to_owned(), namespace.clone()]);
        if let Some(file) = &self.options.mesh_config {
            args.extend(["--mesh-config".to_owned(), file.display().to_string()]);
        }
        let spec = Spec {
            name: CONTROL_PLANE.to_owned(),
            program: self.executable.clone(),
            args,
            env: Vec::new(),
            working_dir: None,
            grace: Duration::from_secs(3),
        };
        Running::start(spec, self.sink.clone(), self.reaper.clone())
    }

    /// The sidecar of a workload.
    pub(crate) fn sidecar(&self, workload: &Workload) -> Result<Agent> {
        self.agent(sidecar_node(workload), workload.admin, sidecar_name(workload))
    }

    /// A gateway.
    pub(crate) fn gateway(&self, gateway: &GatewayPlan) -> Result<Agent> {
        self.agent(gateway_node(gateway), gateway.admin, gateway.name.clone())
    }

    /// The app of a workload.
    pub(crate) fn app(&self, workload: &Workload, process: &Process, plan: &Plan) -> Running {
        Running::start(workload::spec(workload, process, plan), self.sink.clone(), self.reaper.clone())
    }

    fn agent(&self, node: Node, admin: SocketAddr, shown_as: String) -> Result<Agent> {
        let options = AgentOptions {
            node,
            discovery: reachable(self.options.xds).to_string(),
            admin,
            binary: self.binary.clone(),
            concurrency: 1,
            log_level: self.options.proxy_log.clone(),
            folder: self.folder.bootstraps(),
            drain: DRAIN,
            shown_as,
        };
        Agent::start(options, self.sink.clone(), self.reaper.clone()).context("cannot write a bootstrap")
    }
}

/// Name under which a sidecar's output is shown.
pub(crate) fn sidecar_name(workload: &Workload) -> String {
    format!("{}/proxy", workload.name)
}

fn sidecar_node(workload: &Workload) -> Node {
    Node {
        role: Role::Sidecar,
        address: workload.address.into(),
        name: workload.name.clone(),
        namespace: workload.namespace.clone(),
        trust_domain: DOMAIN.to_owned(),
        labels: resources::instance_labels(workload),
        service_account: workload.service_account.clone(),
        owner: workload.owner.clone(),
        locality: String::new(),
        metadata: serde_json::Map::new(),
    }
}

fn gateway_node(gateway: &GatewayPlan) -> Node {
    let bind = ("MELTEMI_BIND".to_owned(), gateway.listens.ip().to_string().into());
    Node {
        role: Role::Gateway,
        address: gateway.address.into(),
        name: gateway.name.clone(),
        namespace: gateway_namespace().to_owned(),
        trust_domain: DOMAIN.to_owned(),
        labels: gateway.labels.clone(),
        service_account: gateway.name.clone(),
        owner: gateway.name.clone(),
        locality: String::new(),
        metadata: [bind].into_iter().collect(),
    }
}
