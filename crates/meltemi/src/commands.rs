//! The table of commands: `main` parses into it and runs the one chosen; each command lives in a file of its name.
//!
//! Invariant: a command is listed here only when it does what its help says.

mod agent;
mod analyze;
mod bookinfo;
mod completion;
mod control_plane;
mod dashboard;
mod demo;
mod describe;
mod explain;
mod live;
mod offline;
pub(crate) mod proxy;
mod proxy_config;
mod proxy_status;
mod settings;
mod table;
mod target;
mod translate;
mod up;
mod validate;

use std::process::ExitCode;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Parser, Subcommand};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  meltemi demo                          Bookinfo behind a gateway, through sidecars, on this machine
  meltemi up -f mesh/                   the same for a mesh of your own processes
  meltemi validate mesh/                check mesh resources before they are used
  meltemi analyze mesh/                 find what goes wrong between them
  meltemi explain -f mesh/ --proxy web http://reviews:9080/   where a request would go, and why
  meltemi proxy-status                  who is connected, and in sync
  meltemi proxy -c envoy.yaml           the data plane alone, from an Envoy bootstrap

Exit status: 0 done, 1 the thing asked about is wrong, 2 wrong usage.";

/// A service mesh: Istio's resources, Envoy's protocols, one small binary
#[derive(Debug, Parser)]
#[command(name = "meltemi", version, styles = STYLES, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(propagate_version = true, infer_subcommands = false, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// What to log to standard error: a level (error, warn, info, debug, trace) or `module=level,…`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = "info",
        help_heading = "Global options"
    )]
    pub(crate) log: String,
}

/// Every command, in the order a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run Bookinfo on this machine behind an ingress gateway, with sidecars, control plane and dashboard
    Demo(demo::Args),
    /// Run a mesh of local processes, each beside a sidecar
    Up(up::Args),
    /// Serve mesh configuration to proxies over xDS
    ControlPlane(control_plane::Args),
    /// Run the data plane from an Envoy v3 bootstrap
    Proxy(proxy::Args),
    /// Run a proxy, ours or Envoy, as a sidecar or gateway of a mesh
    Agent(agent::Args),
    /// Check mesh resources: findings with file, line and column
    Validate(validate::Args),
    /// Find what goes wrong between resources: unknown hosts, conflicts, rules that no request reaches
    Analyze(analyze::Args),
    /// Print what a proxy would be sent, as Envoy JSON, without a control plane
    Translate(translate::Args),
    /// Say what would happen to one request, and why, decision by decision
    Explain(explain::Args),
    /// Say which resources apply to a workload or a service, and what is wrong with them
    Describe(describe::Args),
    /// Show each connected proxy with its sync state and age
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::Args),
    /// Show what one proxy has in force: clusters, listeners, routes, endpoints
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::Args),
    /// Open the web dashboard of a running control plane
    Dashboard(dashboard::Args),
    /// Print a script that completes commands and flags in a shell
    Completion(completion::Args),
    /// Run one Bookinfo service (what `demo` starts)
    #[command(hide = true)]
    Bookinfo(bookinfo::Args),
}

/// Runs one command to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Up(args) => up::run(args),
        Command::ControlPlane(args) => control_plane::run(args),
        Command::Proxy(args) => proxy::run(args, &cli.log),
        Command::Agent(args) => agent::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Translate(args) => translate::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Describe(args) => describe::run(args),
        Command::ProxyStatus(args) => proxy_status::run(args),
        Command::ProxyConfig(args) => proxy_config::run(args),
        Command::Dashboard(args) => dashboard::run(args),
        Command::Completion(args) => completion::run(args),
        Command::Bookinfo(args) => bookinfo::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// clap checks its own table: clashing flags, missing values, wrong defaults.
    #[test]
    fn the_command_table_is_sound() {
        super::Cli::command().debug_assert();
    }
}
