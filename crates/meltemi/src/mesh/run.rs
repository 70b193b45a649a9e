//! Starts a mesh, says when it is ready, follows the user's files, ends it in order. Called by `up` and `demo`.
//!
//! Invariant: when [`run`] returns, nothing that it started is left; if it is killed, the reaper sees to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meltemi_agent::{Agent, Binary, Reaper, Running};
use meltemi_config::process::Process;
use meltemi_config::{Loaded, Severity};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::addresses::{check_free, lowest_port, reachable};
use super::files::Files;
use super::folder::{Folder, write_whole};
use super::options::Options;
use super::plan::{GatewayPlan, Plan, Workload};
use super::seats::{Key, Seats};
use super::start::{CONTROL_PLANE, Start, sidecar_name};
use super::{plan, resources, workload};
use crate::console::Console;
use crate::failure::Failure;

/// After this long without `ready`, the user is told what is awaited.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines that programs may be ahead of the terminal.
const LINES: usize = 1024;

/// Runs the mesh until Ctrl-C or SIGTERM.
pub(crate) fn run(mut options: Options, folder: &Folder) -> Result<()> {
    for (address, what, flag) in options.addresses() {
        check_free(address, what, flag)?;
    }
    let mut seats = Seats::claim(&options.addresses().map(|(address, ..)| address.port()))?;
    for address in [&mut options.gateway, &mut options.dashboard, &mut options.xds, &mut options.monitoring] {
        *address = seats.settle(*address)?;
    }
    let binary = Binary::find(&options.proxy_binary).map_err(|error| {
        Failure::usage(error.to_string(), "give --proxy-binary meltemi, envoy, or a path to an Envoy")
    })?;
    let mut planner = Planner { options: &options, folder, seats };
    let plan = planner.first()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(planner, plan, binary))
}

/// Plans, now and after every change of the files.
struct Planner<'a> {
    options: &'a Options,
    folder: &'a Folder,
    seats: Seats,
}

impl Planner<'_> {
    fn load(&self) -> Loaded {
        let reading = meltemi_config::Options::in_namespace(&self.options.namespace);
        meltemi_config::load(&self.options.paths, &reading)
    }

    fn first(&mut self) -> Result<Plan> {
        let loaded = self.load();
        for diagnostic in loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error) {
            eprintln!(
                "{}",
                meltemi_config::diagnostic::render(diagnostic, crate::console::colour_on_stderr())
            );
        }
        let plan = plan::plan(&loaded.objects, self.options.gateway, &mut self.seats)?;
        if plan.workloads.is_empty() {
            let read: Vec<_> = self.options.paths.iter().map(|path| path.display().to_string()).collect();
            let hint = "a workload is a document of `kind: Process` (apiVersion meltemi.dev/v1alpha1)";
            return Err(Failure::new(format!("no process to run in {}", read.join(", ")), hint).into());
        }
        warn_of_low_ports(&plan);
        Ok(plan)
    }

    /// The plan after a change; none while a file is wrong, which the control plane reports.
    fn next(&mut self) -> Result<Option<Plan>> {
        let loaded = self.load();
        if !loaded.rejected.is_empty() || !loaded.unreadable.is_empty() {
            return Ok(None);
        }
        plan::plan(&loaded.objects, self.options.gateway, &mut self.seats).map(Some)
    }

    /// Tells the control plane, if there is anything new to tell.
    fn publish(&self, plan: &Plan) -> Result<()> {
        let file = self.folder.resources().join("mesh.json");
        let text = format!("{:#}\n", resources::generate(plan));
        if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
            Ok(())
        } else {
            write_whole(&file, &text)
        }
    }
}

/// Sidecars listen at the services' own ports, which only root may do for low ones.
fn warn_of_low_ports(plan: &Plan) {
    let lowest = lowest_port();
    let served = plan.workloads.iter().flat_map(|workload| &workload.ports).map(|port| port.number);
    let called = plan.upstreams.iter().map(|upstream| upstream.port);
    let low: BTreeSet<u16> = served.chain(called).filter(|port| *port < lowest).collect();
    if low.is_empty() {
        return;
    }
    let ports: Vec<_> = low.iter().map(ToString::to_string).collect();
    eprintln!(
        "warning: you may not listen on ports below {lowest}, so sidecars cannot serve {}",
        ports.join(", ")
    );
    eprintln!(
        "hint: give services higher ports, or: sudo sysctl net.ipv4.ip_unprivileged_port_start={}",
        ports[0]
    );
}

async fn live(mut planner: Planner<'_>, first: Plan, binary: Binary) -> Result<()> {
    let started = Instant::now();
    let (options, folder) = (planner.options, planner.folder);
    let executable = std::env::current_exe().context("cannot find this executable")?;
    let reaper = Reaper::start(&executable, folder.path()).context("cannot start the reaper")?;
    let mut files = Files::watch(&options.paths)?;
    let (sink, lines) = mpsc::channel(LINES);
    let console = tokio::spawn(Console::new(names(&first)).show(lines));
    let start = Start { options, folder, executable, binary, sink, reaper };
    planner.publish(&first)?;
    let mut mesh = Mesh::new(start.control_plane());
    let result = tokio::select! {
        result = mesh.live(&start, &mut planner, &mut files, (first, started)) => result,
        result = crate::console::asked_to_end() => result.map_err(Into::into),
    };
    drop(start);
    eprintln!("ending");
    mesh.end().await;
    console.await.context("console")?;
    result
}

fn names(plan: &Plan) -> Vec<String> {
    let apps = plan.workloads.iter().map(|workload| workload.name.clone());
    let sidecars = plan.workloads.iter().map(sidecar_name);
    let gateways = plan.gateways.iter().map(|gateway| gateway.name.clone());
    apps.chain(sidecars).chain(gateways).chain([CONTROL_PLANE.to_owned()]).collect()
}

/// Everything that runs.
struct Mesh {
    control_plane: Running,
    workloads: BTreeMap<Key, Pair>,
    gateways: BTreeMap<String, (SocketAddr, Agent)>,
}

/// A process and its sidecar, with what they were started from.
struct Pair {
    process: Arc<Process>,
    labels: BTreeMap<String, String>,
    app: Running,
    sidecar: Agent,
}

impl Pair {
    fn is(&self, workload: &Workload) -> bool {
        let process = workload.object.spec_as::<Process>();
        self.labels == workload.labels && process.is_some_and(|process| *process == self.process)
    }

    /// The app first: what it still asks goes through its sidecar.
    async fn end(self) {
        self.app.end().await;
        self.sidecar.end().await;
    }
}

impl Mesh {
    fn new(control_plane: Running) -> Self {
        Self { control_plane, workloads: BTreeMap::new(), gateways: BTreeMap::new() }
    }

    /// Starts the first plan, then follows the files, for ever.
    async fn live(
        &mut self,
        start: &Start<'_>,
        planner: &mut Planner<'_>,
        files: &mut Files,
        first: (Plan, Instant),
    ) -> Result<()> {
        let (mut plan, started) = first;
        let mut waiting = Waiting::default();
        self.follow(start, &plan, &mut waiting).await?;
        let mut announced = false;
        loop {
            tokio::select! {
                () = waiting.all(), if !announced => {
                    announce(&plan, planner.options, started);
                    announced = true;
                }
                () = files.changed() => {
                    let Some(next) = planner.next()? else { continue };
                    planner.publish(&next)?;
                    self.follow(start, &next, &mut waiting).await?;
                    plan = next;
                }
            }
        }
    }

    /// Ends what is not in the plan, starts what is new in it.
    async fn follow(&mut self, start: &Start<'_>, plan: &Plan, waiting: &mut Waiting) -> Result<()> {
        self.end_what_left(plan).await;
        for workload in &plan.workloads {
            let key = (workload.namespace.clone(), workload.name.clone());
            let Some(process) = workload.object.spec_as::<Process>() else { continue };
            if self.workloads.contains_key(&key) {
                continue;
            }
            let sidecar = start.sidecar(workload)?;
            waiting.add(sidecar.name().to_owned(), sidecar.ready());
            waiting.add(workload.name.clone(), workload::until_ready(workload, process));
            let app = start.app(workload, process, plan);
            let pair = Pair { process: process.clone(), labels: workload.labels.clone(), app, sidecar };
            self.workloads.insert(key, pair);
        }
        for gateway in plan.gateways.iter() {
            if !self.gateways.contains_key(&gateway.name) {
                let agent = start.gateway(gateway)?;
                waiting.add(gateway.name.clone(), agent.ready());
                self.gateways.insert(gateway.name.clone(), (gateway.listens, agent));
            }
        }
        Ok(())
    }

    async fn end_what_left(&mut self, plan: &Plan) {
        let mut ending = JoinSet::new();
        let stays = |key: &Key, pair: &Pair| {
            let here = |workload: &&Workload| workload.namespace == key.0 && workload.name == key.1;
            plan.workloads.iter().find(here).is_some_and(|workload| pair.is(workload))
        };
        let leaving: Vec<Key> = self
            .workloads
            .iter()
            .filter(|(key, pair)| !stays(key, pair))
            .map(|(key, _)| key.clone())
            .collect();
        for pair in leaving.iter().filter_map(|key| self.workloads.remove(key)) {
            ending.spawn(pair.end());
        }
        let stays = |name: &String, listens: &SocketAddr| {
            plan.gateways
                .iter()
                .any(|gateway: &GatewayPlan| gateway.name == *name && gateway.listens == *listens)
        };
        let leaving: Vec<String> = self
            .gateways
            .iter()
            .filter(|(name, (listens, _))| !stays(name, listens))
            .map(|(name, _)| name.clone())
            .collect();
        for (_, agent) in leaving.iter().filter_map(|name| self.gateways.remove(name)) {
            ending.spawn(agent.end());
        }
        while ending.join_next().await.is_some() {}
    }

    /// From the outside in: no new requests, then the apps with their sidecars, the control plane last.
    async fn end(self) {
        let mut gateways: JoinSet<()> = self.gateways.into_values().map(|(_, agent)| agent.end()).collect();
        while gateways.join_next().await.is_some() {}
        let mut pairs: JoinSet<()> = self.workloads.into_values().map(Pair::end).collect();
        while pairs.join_next().await.is_some() {}
        self.control_plane.end().await;
    }
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

    /// Returns when all are ready. May be given up and called again.
    async fn all(&mut self) {
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
    let processes = if workloads.len() == 1 { "process" } else { "processes" };
    let seconds = started.elapsed().as_secs_f32();
    let what = format!("{} {processes}, {proxies} proxies, {seconds:.1} s", workloads.len());
    crate::console::ready(&what);
    for gateway in gateways.iter().filter(|gateway| gateway.http) {
        crate::console::url(&gateway.name, &format!("http://{}{}", reachable(gateway.listens), options.page));
    }
    crate::console::url("dashboard", &format!("http://{}/", reachable(options.dashboard)));
    crate::console::url("control plane", &format!("http://{}/", reachable(options.monitoring)));
    for path in &options.paths {
        crate::console::url("files", &path.display().to_string());
    }
}
