//! Starts a planned mesh, says when it is ready, watches over it, ends it in order. Called by `up` and `demo`.
//!
//! Invariant: when [`run`] returns, nothing that it started is left; if it is killed, the reaper sees to the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meltemi_agent::{Agent, AgentOptions, Binary, Line, Node, Reaper, Role, Running, Spec};
use meltemi_config::process::Process;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::addresses::{Block, check_free, reachable, settle};
use super::folder::{Folder, write_whole};
use super::plan::{GatewayPlan, Plan, Workload, gateway_namespace};
use super::{DOMAIN, plan, resources, workload};
use crate::console::Console;
use crate::failure::Failure;

/// After this long without `ready`, the user is told what is awaited.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long connections may take to end when the mesh is ended.
const DRAIN: Duration = Duration::from_secs(1);
/// Lines that programs may be ahead of the terminal.
const LINES: usize = 1024;

/// What to run, and where.
#[derive(Debug)]
pub(crate) struct Options {
    /// Files and folders with processes and mesh resources; watched by the control plane.
    pub(crate) paths: Vec<PathBuf>,
    /// Where the ingress gateway listens.
    pub(crate) gateway: SocketAddr,
    /// Where the dashboard listens.
    pub(crate) dashboard: SocketAddr,
    /// Where the control plane serves xDS.
    pub(crate) xds: SocketAddr,
    /// Where the control plane serves metrics and debug pages.
    pub(crate) monitoring: SocketAddr,
    /// `meltemi`, `envoy`, or a path to an Envoy.
    pub(crate) proxy_binary: String,
    /// Log level of the proxies.
    pub(crate) proxy_log: String,
    /// Namespace of documents that name none.
    pub(crate) namespace: String,
    /// Shown after `ready`: what to look at, as a path on the gateway.
    pub(crate) page: &'static str,
}

/// Runs the mesh until Ctrl-C or SIGTERM.
pub(crate) fn run(mut options: Options, folder: Folder) -> Result<()> {
    for (address, what, flag) in addresses(&options) {
        check_free(address, what, flag)?;
    }
    for address in [&mut options.gateway, &mut options.dashboard, &mut options.xds, &mut options.monitoring] {
        *address = settle(*address)?;
    }
    let binary = Binary::find(&options.proxy_binary).map_err(|error| {
        Failure::usage(error.to_string(), "give --proxy-binary meltemi, envoy, or a path to an Envoy")
    })?;
    let (plan, _block) = prepare(&options, &folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(live(&options, &plan, &folder, binary));
    // Blocking tasks (name lookups) must not delay the end.
    runtime.shutdown_background();
    folder.remove()?;
    result
}

fn addresses(options: &Options) -> [(SocketAddr, &'static str, &'static str); 4] {
    [
        (options.gateway, "ingress gateway", "--gateway"),
        (options.dashboard, "dashboard", "--dashboard"),
        (options.xds, "control plane's xDS", "--xds"),
        (options.monitoring, "control plane's debug pages", "--monitoring"),
    ]
}

/// Reads the files, plans, and writes what the control plane must know.
fn prepare(options: &Options, folder: &Folder) -> Result<(Plan, Block)> {
    let reading = meltemi_config::Options { namespace: options.namespace.as_str().into() };
    let loaded = meltemi_config::load(&options.paths, &reading);
    for diagnostic in
        loaded.diagnostics.iter().filter(|found| found.severity == meltemi_config::Severity::Error)
    {
        eprintln!("{}", meltemi_config::diagnostic::render(diagnostic, crate::console::colour_on_stderr()));
    }
    let mut block = Block::claim()?;
    let plan = plan::plan(&loaded.objects, options.gateway, &mut block)?;
    if plan.workloads.is_empty() {
        let read: Vec<_> = options.paths.iter().map(|path| path.display().to_string()).collect();
        let hint = "a workload is a document of `kind: Process` (apiVersion meltemi.dev/v1alpha1)";
        return Err(Failure::new(format!("no process to run in {}", read.join(", ")), hint).into());
    }
    let generated = resources::generate(&plan);
    write_whole(&folder.resources().join("mesh.json"), &format!("{generated:#}\n"))?;
    Ok((plan, block))
}

/// Everything that runs.
struct Mesh {
    control_plane: Running,
    sidecars: Vec<Arc<Agent>>,
    gateways: Vec<Arc<Agent>>,
    apps: Vec<Running>,
}

/// What starting needs at every step.
struct Start<'a> {
    options: &'a Options,
    folder: &'a Folder,
    binary: Binary,
    sink: mpsc::Sender<Line>,
    reaper: Reaper,
}

async fn live(options: &Options, plan: &Plan, folder: &Folder, binary: Binary) -> Result<()> {
    let started = Instant::now();
    let executable = std::env::current_exe().context("cannot find this executable")?;
    let reaper = Reaper::start(&executable, folder.path()).context("cannot start the reaper")?;
    let (sink, lines) = mpsc::channel(LINES);
    let console = tokio::spawn(Console::new(names(plan)).show(lines));
    let start = Start { options, folder, binary, sink, reaper };
    let mesh = start.mesh(plan, &executable)?;
    tokio::select! {
        result = watch(&mesh, plan, options, started) => result?,
        result = crate::console::asked_to_end() => result?,
    }
    drop(start);
    eprintln!("ending");
    mesh.end().await;
    console.await.context("console")
}

fn names(plan: &Plan) -> Vec<String> {
    let apps = plan.workloads.iter().map(|workload| workload.name.clone());
    let sidecars = plan.workloads.iter().map(|workload| sidecar_name(&workload.name));
    let gateways = plan.gateways.iter().map(|gateway| gateway.name.clone());
    apps.chain(sidecars).chain(gateways).chain([CONTROL_PLANE.to_owned()]).collect()
}

const CONTROL_PLANE: &str = "control-plane";

fn sidecar_name(workload: &str) -> String {
    format!("{workload}/proxy")
}

impl Start<'_> {
    fn mesh(&self, plan: &Plan, executable: &Path) -> Result<Mesh> {
        let control_plane =
            Running::start(self.control_plane(executable), self.sink.clone(), self.reaper.clone());
        let mut mesh = Mesh { control_plane, sidecars: Vec::new(), gateways: Vec::new(), apps: Vec::new() };
        for workload in &plan.workloads {
            mesh.sidecars.push(Arc::new(self.agent(
                sidecar_node(workload),
                workload.admin,
                sidecar_name(&workload.name),
            )?));
            mesh.apps.extend(self.app(workload, plan));
        }
        for gateway in &plan.gateways {
            mesh.gateways.push(Arc::new(self.agent(
                gateway_node(gateway),
                gateway.admin,
                gateway.name.clone(),
            )?));
        }
        Ok(mesh)
    }

    /// The control plane is a process of its own, so that its end is not the mesh's: it is started again, and proxies
    /// go on with what they have.
    fn control_plane(&self, executable: &Path) -> Spec {
        let mut args: Vec<String> = ["--log", "warn", "control-plane"].map(str::to_owned).into();
        for path in self.options.paths.iter().chain([&self.folder.resources()]) {
            args.extend(["--config".to_owned(), path.display().to_string()]);
        }
        let Options { xds, monitoring, dashboard, namespace, .. } = self.options;
        for (flag, address) in [("--xds", xds), ("--monitoring", monitoring), ("--dashboard", dashboard)] {
            args.extend([flag.to_owned(), address.to_string()]);
        }
        args.extend(["--namespace".to_owned(), namespace.clone()]);
        Spec {
            name: CONTROL_PLANE.to_owned(),
            program: executable.to_owned(),
            args,
            env: Vec::new(),
            working_dir: None,
            grace: Duration::from_secs(3),
        }
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

    fn app(&self, workload: &Workload, plan: &Plan) -> Option<Running> {
        let process = workload.object.spec_as::<Process>()?;
        let spec = workload::spec(workload, process, plan);
        Some(Running::start(spec, self.sink.clone(), self.reaper.clone()))
    }
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
        metadata: [bind].into_iter().collect(),
    }
}

/// Waits until everything is ready, says so, and goes on for ever.
async fn watch(mesh: &Mesh, plan: &Plan, options: &Options, started: Instant) -> Result<()> {
    let mut waiting = Waiting::default();
    for agent in mesh.sidecars.iter().chain(&mesh.gateways) {
        let agent = agent.clone();
        waiting.add(agent.name().to_owned(), async move { agent.ready().await });
    }
    for workload in &plan.workloads {
        let Some(process) = workload.object.spec_as::<Process>() else { continue };
        waiting.add(workload.name.clone(), workload::until_ready(workload, process));
    }
    waiting.all().await;
    announce(plan, options, started);
    std::future::pending().await
}

/// What is not ready yet.
#[derive(Default)]
struct Waiting {
    tasks: JoinSet<String>,
    names: Vec<String>,
}

impl Waiting {
    fn add(&mut self, name: String, ready: impl Future<Output = ()> + Send + 'static) {
        self.names.push(name.clone());
        self.tasks.spawn(async move {
            ready.await;
            name
        });
    }

    async fn all(mut self) {
        loop {
            match tokio::time::timeout(PATIENCE, self.tasks.join_next()).await {
                Ok(None) => return,
                Ok(Some(Ok(name))) => self.names.retain(|other| *other != name),
                Ok(Some(Err(error))) => tracing::error!("waiting: {error}"),
                Err(_) => eprintln!("still waiting for {}", self.names.join(", ")),
            }
        }
    }
}

fn announce(plan: &Plan, options: &Options, started: Instant) {
    let Plan { workloads, gateways, .. } = plan;
    let proxies = workloads.len() + gateways.len();
    let what =
        format!("{} processes, {proxies} proxies, {:.1} s", workloads.len(), started.elapsed().as_secs_f32());
    crate::console::ready(&what);
    for gateway in gateways.iter().filter(|gateway| gateway.http) {
        crate::console::url(&gateway.name, &format!("http://{}{}", reachable(gateway.listens), options.page));
    }
    crate::console::url("dashboard", &format!("http://{}/", reachable(options.dashboard)));
    for path in &options.paths {
        crate::console::url("config", &path.display().to_string());
    }
}

impl Mesh {
    /// From the outside in: no new requests, then the apps, then the sidecars they called through.
    async fn end(self) {
        end_agents(self.gateways).await;
        let mut apps: JoinSet<_> = self.apps.into_iter().map(Running::end).collect();
        while apps.join_next().await.is_some() {}
        end_agents(self.sidecars).await;
        self.control_plane.end().await;
    }
}

async fn end_agents(agents: Vec<Arc<Agent>>) {
    let mut ending: JoinSet<_> = agents.into_iter().filter_map(Arc::into_inner).map(Agent::end).collect();
    while ending.join_next().await.is_some() {}
}
