//! `cargo xtask bench control-plane`: the real control plane on a generated folder, with simulated proxies.
//!
//! CPU is that of its process (/proc/PID/stat, over a series of events, as its unit is 10 ms), memory its peak (`VmHWM`), time from the
//! rename of the file to the receipt of the response. Events come one at a time, each when the last has reached everybody.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::measure::{Cpu, Guard, allow_many_files, peak};
use crate::run;
use client::{Client, Fleet};
use config::{Config, host};

mod client;
mod config;
mod report;
mod shapes;

/// Options of `cargo xtask bench control-plane`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Services; unset: 100, 1,000 and 5,000 in turn
    #[arg(long, value_name = "S")]
    services: Option<usize>,
    /// Simulated sidecars; unset: 100, and 50 beside other numbers of services than 1,000
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// Endpoints of each service
    #[arg(long, value_name = "E", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=200))]
    endpoints: u32,
    /// Then: 500 files at once, and 200 more proxies at once
    #[arg(long)]
    shapes: bool,
    /// Events of each kind
    #[arg(long, value_name = "K", default_value_t = 20)]
    events: usize,
    /// Only this form of the protocol; unset: delta, then state of the world
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// Cargo profile that `meltemi` is built with
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
    /// Measure this `meltemi` and build none
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the numbers go as JSON; default: target/bench-control-plane.json
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A form of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Protocol {
    /// Differences.
    Delta,
    /// State of the world.
    Sotw,
}

/// What was measured of one mesh.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) services: usize,
    pub(super) clients: usize,
    pub(super) protocol: Protocol,
    /// Milliseconds from the start of the process until a client that is alone has everything.
    pub(super) cold: f64,
    /// CPU milliseconds until everybody had everything, the start included.
    pub(super) load_cpu: f64,
    /// Milliseconds from the start of the process to the first client that had everything, and the last.
    pub(super) first_ready: f64,
    pub(super) all_ready: f64,
    /// Peak memory in MiB.
    pub(super) memory: f64,
    /// Received by each client at first, in kB.
    pub(super) load_kb: f64,
    pub(super) events: Vec<Event>,
}

/// What a change cost.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: &'static str,
    /// CPU milliseconds.
    pub(super) cpu: f64,
    /// Milliseconds to the first, the middle and the last client; medians of the events.
    pub(super) first: f64,
    pub(super) middle: f64,
    pub(super) last: f64,
    /// Received by each client, in bytes.
    pub(super) bytes: f64,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    allow_many_files()?;
    let binary = match &args.binary {
        Some(file) => file.canonicalize().with_context(|| format!("--binary {}", file.display()))?,
        None => super::build(&args.profile)?,
    };
    let sizes = args.services.map_or_else(|| vec![100, 1000, 5000], |services| vec![services]);
    let protocols = args.protocol.map_or_else(|| vec![Protocol::Delta, Protocol::Sotw], |one| vec![one]);
    let mut rounds = Vec::new();
    for services in sizes {
        for &protocol in &protocols {
            let clients = args.clients.unwrap_or(if services == 1000 { 100 } else { 50 });
            eprintln!("{services} services, {clients} clients, {protocol:?}");
            rounds.push(round(&binary, services, clients, protocol, args)?);
        }
    }
    anstream::print!("{}", report::table(&rounds));
    let file = args.json.clone().unwrap_or_else(|| run::root().join("target/bench-control-plane.json"));
    std::fs::write(&file, format!("{:#}\n", report::json(&rounds)))?;
    eprintln!("\nJSON: {}", file.display());
    Ok(())
}

fn round(
    binary: &Path,
    services: usize,
    clients: usize,
    protocol: Protocol,
    args: &Args,
) -> anyhow::Result<Round> {
    let folder = run::root().join("target/bench/control-plane");
    let config = Config::write(&folder, services, args.endpoints as usize)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let cold = cold_start(binary, &folder, &config, protocol == Protocol::Delta).await?;
        let round = measure(binary, &folder, &config, clients, protocol, args).await?;
        Ok(Round { cold, ..round })
    });
    runtime.shutdown_background();
    std::fs::remove_dir_all(&folder)?;
    result
}

/// A control plane with its clients.
struct Running {
    process: Guard,
    fleet: Arc<Fleet>,
    /// Where it serves.
    address: String,
}

async fn measure(
    binary: &Path,
    folder: &Path,
    config: &Config,
    clients: usize,
    protocol: Protocol,
    args: &Args,
) -> anyhow::Result<Round> {
    let delta = protocol == Protocol::Delta;
    let events = args.events.max(1);
    let (mut running, began) = Running::start(binary, folder, clients, delta)?;
    let everything = wanted(config.services, delta);
    let ready = running.until(began, |_, got| {
        let came = everything.iter().map(|name| got.last.get(name).copied());
        came.into_iter().try_fold(began, |latest, at| Some(latest.max(at?)))
    });
    let ready = ready.await.context("not everybody got everything")?;
    settle().await;
    let id = running.process.id();
    let load = Cpu::of(id)?;
    let bytes: u64 = (0..clients).map(|at| running.fleet.got(at).bytes).sum();
    let mut round = Round {
        services: config.services,
        clients,
        protocol,
        cold: 0.0,
        load_cpu: (load.user + load.kernel) * 1e3,
        first_ready: ready[0],
        all_ready: *ready.last().context("no clients")?,
        memory: 0.0,
        load_kb: bytes as f64 / clients as f64 / 1e3,
        events: Vec::new(),
    };
    let cluster = |at: usize| format!("EDS outbound|8080||{}", host(at));
    let table = |at: usize| match delta {
        true => format!("VHDS 8080/{}:8080", host(at)),
        false => "RDS 8080".to_owned(),
    };
    let some = |event: usize| event * 37 % (config.services / 5).max(1);
    round.events.push(
        running
            .series("one endpoint changes", events, |event| {
                config.service(some(event), event + 1)?;
                Ok(vec![cluster(some(event))])
            })
            .await?,
    );
    round.events.push(
        running
            .series("one VirtualService changes", events, |event| {
                config.virtual_service(some(event), event + 2)?;
                Ok(vec![table(some(event))])
            })
            .await?,
    );
    round.events.push(
        running
            .series("one service is added", events, |event| {
                let at = config.services + event;
                config.service(at, 0)?;
                Ok(vec![cluster(at), table(at)])
            })
            .await?,
    );
    if args.shapes {
        round.events.push(shapes::burst(&mut running, config, delta).await?);
        round.events.push(shapes::reconnect(&running, &everything, delta).await?);
    }
    round.memory = peak(id)? / 1024.0;
    running.process.alive()?;
    Ok(round)
}

/// All that a client has to get at first.
fn wanted(services: usize, delta: bool) -> Vec<String> {
    let mut names = Vec::new();
    for at in 0..services {
        for port in [8080, 9090] {
            names.push(format!("EDS outbound|{port}||{}", host(at)));
            if delta {
                names.push(format!("VHDS {port}/{}:{port}", host(at)));
            }
        }
    }
    names.extend(["RDS 8080".to_owned(), "RDS 9090".to_owned()]);
    names
}

/// Milliseconds from the start of the process until a client that is alone has everything.
async fn cold_start(binary: &Path, folder: &Path, config: &Config, delta: bool) -> anyhow::Result<f64> {
    let (mut running, began) = Running::start(binary, folder, 1, delta)?;
    let everything = wanted(config.services, delta);
    let ready = running.until(began, |_, got| {
        let came = everything.iter().map(|name| got.last.get(name).copied());
        came.into_iter().try_fold(began, |latest, at| Some(latest.max(at?)))
    });
    Ok(ready.await.context("the client did not get everything")?[0])
}

impl Running {
    /// Starts a control plane and clients that wait for it.
    fn start(
        binary: &Path,
        folder: &Path,
        clients: usize,
        delta: bool,
    ) -> anyhow::Result<(Running, Instant)> {
        let (xds, monitoring) = (free_port()?, free_port()?);
        let log = std::fs::File::create(run::root().join("target/bench/control-plane.log"))?;
        let mut command = Command::new(binary);
        command.arg("control-plane").arg("--config").arg(folder);
        let monitoring = format!("127.0.0.1:{monitoring}");
        command.args(["--xds", &format!("127.0.0.1:{xds}"), "--monitoring", &monitoring]);
        let began = Instant::now();
        let process = Guard::start(&mut command, Some(log))?;
        let fleet = Fleet::new(clients);
        let address = format!("http://127.0.0.1:{xds}");
        for at in 0..clients {
            let client = Client { at, slot: at, delta, fleet: Arc::clone(&fleet) };
            let address = address.clone();
            tokio::spawn(async move {
                // The server's end ends it too; a client that fails before is missed by who waits for it.
                let _ended = client.run(address).await;
            });
        }
        Ok((Running { process, fleet, address }, began))
    }

    /// Makes events one after another.
    async fn series(
        &mut self,
        name: &'static str,
        events: usize,
        mut make: impl FnMut(usize) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Event> {
        let id = self.process.id();
        let clients = self.fleet.got.len();
        let received =
            |running: &Running| -> u64 { (0..clients).map(|at| running.fleet.got(at).bytes).sum() };
        let (cpu, bytes) = (Cpu::of(id)?, received(self));
        let (mut first, mut middle, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for event in 0..events {
            let began = Instant::now();
            let names = make(event)?;
            let times = self.until(began, |_, got| {
                let fresh = |name: &String| got.last.get(name).copied().filter(|at| *at > began);
                names.iter().map(fresh).try_fold(began, |latest, at| Some(latest.max(at?)))
            });
            let times = times.await.with_context(|| format!("{name}, event {event}"))?;
            first.push(times[0]);
            middle.push(times[clients / 2]);
            last.push(times[clients - 1]);
            settle().await;
        }
        let cpu = Cpu::of(id)?.since(cpu);
        Ok(Event {
            name,
            cpu: (cpu.user + cpu.kernel) * 1e3 / events as f64,
            first: median(first),
            middle: median(middle),
            last: median(last),
            bytes: (received(self) - bytes) as f64 / (events * clients) as f64,
        })
    }

    /// Waits until every client is as wanted; milliseconds since `began` at which each was, sorted.
    async fn until(
        &mut self,
        began: Instant,
        done: impl Fn(usize, &client::Got) -> Option<Instant>,
    ) -> anyhow::Result<Vec<f64>> {
        until(&self.fleet, began, done).await
    }
}

/// Waits until every client is as wanted; milliseconds since `began` at which each was, sorted.
async fn until(
    fleet: &Fleet,
    began: Instant,
    done: impl Fn(usize, &client::Got) -> Option<Instant>,
) -> anyhow::Result<Vec<f64>> {
    let mut times: Vec<Option<Instant>> = vec![None; fleet.got.len()];
    let mut changed = fleet.changed.subscribe();
    let all = async {
        loop {
            changed.borrow_and_update();
            for (at, time) in times.iter_mut().enumerate().filter(|(_, time)| time.is_none()) {
                *time = done(at, &fleet.got(at));
            }
            if times.iter().all(Option::is_some) || changed.changed().await.is_err() {
                return;
            }
            // What comes meanwhile is looked at together; times are those of receipt.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(120), all).await.is_err() {
        let missing = times.iter().filter(|time| time.is_none()).count();
        bail!("{missing} clients of {} waited for nothing", times.len());
    }
    let since = |time: Instant| time.duration_since(began).as_secs_f64() * 1e3;
    let mut times: Vec<f64> = times.into_iter().flatten().map(since).collect();
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Until answers are in and nothing moves.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
