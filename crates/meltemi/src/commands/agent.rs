//! `meltemi agent`: a proxy of a mesh with everything around it; what `up` does for each workload, as a command.
//!
//! Invariant: SIGTERM drains the proxy and ends it; the agent ends when the proxy has.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_agent::{Agent, AgentOptions, Binary, Node, Reaper, Role, reaper};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::console::Console;
use crate::failure::Failure;
use crate::mesh::folder::Folder;

/// Which proxy.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    role: RoleCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RoleCommand {
    /// Run the proxy beside a workload
    Sidecar(ProxyArgs),
    /// Run the proxy at an edge of the mesh
    Gateway(ProxyArgs),
    /// Kill what is left when the parent is gone (what `up` starts)
    #[command(hide = true)]
    Reaper {
        /// Folder to remove at the end
        folder: Option<PathBuf>,
    },
}

/// Who the proxy is, and how it runs.
#[derive(Debug, clap::Args)]
struct ProxyArgs {
    /// Name of the workload instance
    #[arg(long, value_name = "NAME")]
    name: String,

    /// Namespace of the workload
    #[arg(short, long, value_name = "NS", default_value = "default")]
    namespace: String,

    /// Address of the workload, the one that its endpoints carry
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,

    /// Labels of the workload
    #[arg(long, value_name = "K=V,…", value_delimiter = ',')]
    labels: Vec<String>,

    /// Where the workload runs; unset: what its labels say (topology.istio.io/locality, topology.kubernetes.io/zone)
    #[arg(long, value_name = "REGION/ZONE/SUBZONE", default_value = "")]
    locality: String,

    /// Service account of the workload
    #[arg(long, value_name = "NAME", default_value = "default")]
    service_account: String,

    /// More node metadata, laid over Istio's and what ISTIO_META_… in the environment says: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    metadata: String,

    /// DNS domain of the mesh
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    domain: String,

    /// The control plane's xDS address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15010")]
    discovery: String,

    /// Where the proxy's admin interface listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,

    /// The proxy: `meltemi`, `envoy`, or a path to an Envoy
    #[arg(long, value_name = "PROGRAM", default_value = "meltemi")]
    proxy_binary: String,

    /// Worker threads of the proxy
    #[arg(long, value_name = "N", default_value_t = 2)]
    concurrency: u32,

    /// What the proxy logs
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = ["trace", "debug", "info", "warn", "error"])]
    proxy_log_level: String,

    /// Seconds that connections may take to end after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain: u64,
}

/// Runs the proxy until SIGTERM or Ctrl-C.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let (role, args) = match args.role {
        RoleCommand::Sidecar(args) => (Role::Sidecar, args),
        RoleCommand::Gateway(args) => (Role::Gateway, args),
        RoleCommand::Reaper { folder } => {
            reaper::run(std::io::stdin().lock(), folder)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let folder = Folder::create()?;
    let result = run_proxy(role, args, &folder);
    folder.remove()?;
    result.map(|()| ExitCode::SUCCESS)
}

fn run_proxy(role: Role, args: ProxyArgs, folder: &Folder) -> Result<()> {
    let options = options(role, args, folder.bootstraps())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(options, folder))
}

fn options(role: Role, args: ProxyArgs, folder: PathBuf) -> Result<AgentOptions> {
    let said: Map<String, Value> = serde_json::from_str(&args.metadata).map_err(|error| {
        Failure::usage(format!("--metadata is no JSON object: {error}"), "--metadata '{\"KEY\": \"value\"}'")
    })?;
    let mut metadata = of_environment(std::env::vars())?;
    metadata.extend(said);
    let binary = Binary::find(&args.proxy_binary).map_err(|error| Failure::usage(error.to_string(), ""))?;
    let node = Node {
        role,
        address: args.address,
        name: args.name.clone(),
        namespace: args.namespace,
        trust_domain: args.domain,
        labels: labels(&args.labels)?,
        service_account: args.service_account,
        owner: args.name.clone(),
        locality: args.locality,
        metadata,
    };
    Ok(AgentOptions {
        node,
        discovery: args.discovery,
        admin: args.admin,
        binary,
        concurrency: args.concurrency,
        log_level: args.proxy_log_level,
        folder,
        drain: Duration::from_secs(args.drain),
        shown_as: args.name,
    })
}

/// What Istio's variables say of the proxy: `ISTIO_META_NETWORK=here` is `NETWORK`, the keys of the object in an
/// `ISTIO_METAJSON_…` are taken as they are.
fn of_environment(variables: impl Iterator<Item = (String, String)>) -> Result<Map<String, Value>> {
    let mut metadata = Map::new();
    for (name, value) in variables {
        if let Some(key) = name.strip_prefix("ISTIO_META_") {
            metadata.insert(key.to_owned(), value.into());
        } else if name.starts_with("ISTIO_METAJSON_") {
            let object: Map<String, Value> = serde_json::from_str(&value).map_err(|error| {
                Failure::usage(
                    format!("{name} is no JSON object: {error}"),
                    format!("{name}='{{\"KEY\": \"value\"}}'"),
                )
            })?;
            metadata.extend(object);
        }
    }
    Ok(metadata)
}

fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |pair: &String| {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("label `{pair}` has no value"), "--labels app=reviews,version=v2")
        })?;
        Ok((name.to_owned(), value.to_owned()))
    };
    pairs.iter().map(pair).collect()
}

async fn live(options: AgentOptions, folder: &Folder) -> Result<()> {
    let executable = std::env::current_exe().context("cannot find this executable")?;
    let reaper = Reaper::start(&executable, folder.path()).context("cannot start the reaper")?;
    let (sink, lines) = mpsc::channel(256);
    let console = tokio::spawn(Console::new(vec![options.shown_as.clone()]).show(lines));
    let agent = Agent::start(options, sink, reaper).context("cannot write the bootstrap")?;
    tokio::select! {
        () = until_ready(&agent) => {}
        result = crate::console::asked_to_end() => result?,
    }
    agent.end().await;
    console.await.context("console")
}

async fn until_ready(agent: &Agent) {
    agent.ready().await;
    crate::console::ready(&format!("{}, admin http://{}", agent.name(), agent.admin()));
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istios_variables_say_what_the_proxy_is() {
        let read = |variables: &[(&str, &str)]| {
            of_environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        };
        let metadata = read(&[
            ("ISTIO_META_NETWORK", "here"),
            ("ISTIO_METAJSON_MORE", r#"{"INTERCEPTION_MODE": "NONE", "LABELS": {"app": "web"}}"#),
            ("PATH", "/bin"),
        ]);
        let wanted =
            serde_json::json!({"NETWORK": "here", "INTERCEPTION_MODE": "NONE", "LABELS": {"app": "web"}});
        assert_eq!(Value::Object(metadata.unwrap()), wanted);
        assert!(read(&[("ISTIO_METAJSON_MORE", "no object")]).is_err());
    }
}
