//! `cargo xtask bench`: this proxy beside Envoy, nginx and HAProxy. The method is in bench/README.md.
//!
//! Invariant: every child is a [`measure::Guard`], ended by its process id whatever happens.

mod control_plane;
mod curve;
mod dynamic;
mod hostile;
mod load;
mod measure;
mod peer;
pub(crate) mod relay;
mod report;
mod round;
mod scenario;
mod sink;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use peer::{Peer, Programs};
use report::Samples;
use scenario::Scenario;

use crate::run;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// Only this scenario (may be given several times).
    #[arg(long, value_name = "NAME")]
    scenario: Vec<Scenario>,
    /// Only this peer (may be given several times); ratios need `envoy`.
    #[arg(long, value_name = "NAME")]
    peer: Vec<Peer>,
    /// Interleaved rounds; the table shows their medians.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each load.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Two rounds of one second: rough numbers.
    #[arg(long)]
    quick: bool,
    /// Cargo profile that `meltemi` is built with.
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
    /// Measure this `meltemi` and build none.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the numbers go as JSON; default: target/bench.json.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Core of the proxy.
    #[arg(long, value_name = "N", default_value_t = 0)]
    proxy_core: u32,
    /// Core of the load and of the backends.
    #[arg(long, value_name = "N", default_value_t = 1)]
    load_core: u32,
}

/// Other benchmarks.
#[derive(clap::Subcommand)]
enum Other {
    /// The control plane with simulated proxies: CPU, memory, time and bytes of a start and of changes.
    ControlPlane(control_plane::Args),
}

/// What every measurement needs to know.
struct Bench {
    programs: Programs,
    folder: PathBuf,
    length: Duration,
    proxy_core: u32,
    load_core: u32,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(Other::ControlPlane(args)) = &args.other {
        return control_plane::run(args);
    }
    let scenarios = or_all(&args.scenario);
    let peers = or_all(&args.peer);
    let rounds = if args.quick { 2 } else { args.rounds };
    let bench = prepare(args, &peers)?;
    let backends = round::Backends::start(&bench)?;
    let mut samples = Samples::default();
    for &scenario in &scenarios {
        for round in 1..=rounds {
            for &peer in peers.iter().filter(|peer| scenario.has(**peer)) {
                eprintln!("{scenario} · round {round}/{rounds} · {peer}");
                match round::run(&bench, &backends, scenario, peer) {
                    Ok(values) => samples.add(scenario, peer, values),
                    Err(error) => samples.fail(scenario, peer, &format!("{error:#}")),
                }
            }
        }
        write_json(args, &samples)?;
    }
    anstream::print!("{}", report::table(&samples));
    eprintln!("\nJSON: {}", json_path(args).display());
    if samples.failures().is_empty() {
        Ok(())
    } else {
        bail!("{} measurements failed", samples.failures().len())
    }
}

fn or_all<T: clap::ValueEnum + Clone>(chosen: &[T]) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen.to_vec() }
}

fn prepare(args: &Args, peers: &[Peer]) -> anyhow::Result<Bench> {
    let cores = std::thread::available_parallelism()?.get() as u32;
    if args.proxy_core.max(args.load_core) >= cores || args.proxy_core == args.load_core {
        bail!(
            "the proxy and the load need a core each; this machine offers {cores} (--proxy-core, --load-core)"
        );
    }
    measure::allow_many_files().context("cannot raise the limit of open files to 8,192")?;
    let meltemi = match &args.binary {
        Some(file) => file.canonicalize().with_context(|| format!("--binary {}", file.display()))?,
        None if peers.contains(&Peer::Meltemi) => build(&args.profile)?,
        None => PathBuf::new(),
    };
    let folder = run::root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let length = Duration::from_secs(if args.quick { 1 } else { u64::from(args.seconds) });
    let programs = Programs::find(meltemi, peers)?;
    Ok(Bench { programs, folder, length, proxy_core: args.proxy_core, load_core: args.load_core })
}

/// Both programs, see docs/decisions/two-programs.md: `meltemi proxy` finds the other one beside it.
fn build(profile: &str) -> anyhow::Result<PathBuf> {
    run::step(
        "build",
        run::cargo().args(["build", "-p", "meltemi", "-p", "meltemi-proxy", "--profile", profile]),
    )?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(run::root().join("target").join(folder).join("meltemi"))
}

fn json_path(args: &Args) -> PathBuf {
    args.json.clone().unwrap_or_else(|| run::root().join("target/bench.json"))
}

fn write_json(args: &Args, samples: &Samples) -> anyhow::Result<()> {
    let file = json_path(args);
    std::fs::write(&file, format!("{:#}\n", report::json(samples)))
        .with_context(|| format!("write {}", file.display()))
}
