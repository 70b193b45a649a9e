//! `meltemi proxy-config`: what one proxy has in force, ours or an Envoy, in istioctl's tables or as it stands.
//!
//! Live from its admin interface (by address, or by name through the control plane), or from a config dump in a file.
//! Invariant: JSON and YAML are the proxy's own words, filtered and nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::live::{CONTROL_PLANE, Source};
use crate::console::outln;

mod clusters;
mod endpoints;
mod listeners;
mod log;
mod resource;
mod routes;

const EXAMPLES: &str = "\
Examples:
  meltemi proxy-config clusters productpage-v1                          a proxy of the running mesh, by name
  meltemi proxy-config routes productpage-v1 --name 9080 -o json
  meltemi proxy-config endpoints --admin 127.0.0.1:15000 --port 9080    any proxy, ours or an Envoy
  meltemi proxy-config listeners --file config_dump.json
  meltemi proxy-config log productpage-v1 --level debug";

/// Which part, of which proxy.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Part,
}

/// The parts.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Clusters: service, port, subset, direction, type, DestinationRule
    #[command(visible_alias = "cluster", alias = "c")]
    Clusters(clusters::Args),
    /// Listeners: address, port, what each filter chain takes, and where that goes
    #[command(visible_alias = "listener", alias = "l")]
    Listeners(listeners::Args),
    /// Routes: virtual host, domains, what each route takes, VirtualService
    #[command(visible_alias = "route", alias = "r")]
    Routes(routes::Args),
    /// Endpoints: address, health, ejection, cluster
    #[command(visible_alias = "endpoint", alias = "ep")]
    Endpoints(endpoints::Args),
    /// The bootstrap that the proxy started from
    #[command(alias = "b")]
    Bootstrap(Plain),
    /// Names of the secrets that the proxy has; never their content
    #[command(visible_alias = "secret", alias = "s")]
    Secrets(Plain),
    /// Show or change what the proxy logs
    #[command(alias = "o")]
    Log(log::Args),
    /// Everything: all tables, or the whole dump
    All(Plain),
}

/// Which proxy.
#[derive(Debug, Clone, clap::Args)]
struct From {
    /// A proxy that is connected to the control plane: NAME or NAME.NAMESPACE; unset: the only one
    #[arg(value_name = "NAME")]
    proxy: Option<String>,

    /// The proxy's admin address
    #[arg(long, value_name = "ADDR", conflicts_with = "proxy")]
    admin: Option<SocketAddr>,

    /// A config dump in a file, saved from /config_dump?include_eds
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["proxy", "admin"])]
    file: Option<PathBuf>,

    /// Where the control plane serves its debug pages
    #[arg(long, value_name = "ADDR", env = "MELTEMI_CONTROL_PLANE", default_value = CONTROL_PLANE)]
    control_plane: SocketAddr,
}

impl From {
    fn source(&self) -> Result<Source> {
        Source::of(self.admin, self.file.as_deref(), self.proxy.as_deref(), self.control_plane)
    }
}

/// A part without filters.
#[derive(Debug, clap::Args)]
struct Plain {
    #[command(flatten)]
    from: From,

    #[command(flatten)]
    output: OutputArgs,
}

/// In which form.
#[derive(Debug, Clone, Copy, clap::Args)]
struct OutputArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table
    #[default]
    #[value(alias = "table", alias = "text")]
    Short,
    /// JSON, as the proxy shows it
    Json,
    /// The same as YAML
    Yaml,
}

/// Asks and prints.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.part {
        Part::Clusters(args) => clusters::run(&args)?,
        Part::Listeners(args) => listeners::run(&args)?,
        Part::Routes(args) => routes::run(&args)?,
        Part::Endpoints(args) => endpoints::run(&args)?,
        Part::Bootstrap(args) => bootstrap(&args)?,
        Part::Secrets(args) => secrets(&args)?,
        Part::Log(args) => log::run(&args)?,
        Part::All(args) => all(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON or YAML; false where a table is wanted.
fn written(output: Output, value: &Value) -> Result<bool> {
    match output {
        Output::Short => return Ok(false),
        Output::Json => outln!("{value:#}"),
        Output::Yaml => outln!("{}", serde_saphyr::to_string(value)?.trim_end()),
    }
    Ok(true)
}

fn configs<'a>(dump: &'a Value, message: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = dump["configs"].as_array().into_iter().flatten();
    all.filter(move |config| config["@type"].as_str().is_some_and(|url| url.ends_with(message)))
}

fn bootstrap(args: &Plain) -> Result<()> {
    let dump = args.from.source()?.config_dump()?;
    let found = configs(&dump, ".BootstrapConfigDump").next();
    let value = found.map_or(Value::Null, |config| config["bootstrap"].clone());
    // As istioctl does, a bootstrap is shown whole: there is no table of it.
    let output = if args.output.output == Output::Yaml { Output::Yaml } else { Output::Json };
    written(output, &value).map(drop)
}

fn secrets(args: &Plain) -> Result<()> {
    let dump = args.from.source()?.config_dump()?;
    let mut rows = Vec::new();
    let mut names = Vec::new();
    for config in configs(&dump, ".SecretsConfigDump") {
        let lists = [
            ("static_secrets", "ACTIVE"),
            ("dynamic_active_secrets", "ACTIVE"),
            ("dynamic_warming_secrets", "WARMING"),
        ];
        for (list, state) in lists {
            for entry in config[list].as_array().into_iter().flatten() {
                let name = entry["name"].as_str().unwrap_or_default();
                let kind = match &entry["secret"] {
                    secret if secret.get("tls_certificate").is_some() => "Cert Chain",
                    secret if secret.get("validation_context").is_some() => "CA",
                    _ => "-",
                };
                names.push(serde_json::json!({ "name": name, "type": kind, "status": state }));
                rows.push(vec![name.to_owned(), kind.to_owned(), state.to_owned()]);
            }
        }
    }
    if !written(args.output.output, &Value::Array(names))? {
        super::table::print(&["RESOURCE NAME", "TYPE", "STATUS"], &rows, super::table::plain);
    }
    Ok(())
}

fn all(args: &Plain) -> Result<()> {
    let source = args.from.source()?;
    let dump = source.config_dump()?;
    if written(args.output.output, &dump)? {
        return Ok(());
    }
    clusters::table(&clusters::of(&dump));
    outln!();
    listeners::table(&listeners::of(&dump));
    outln!();
    routes::table(&routes::of(&dump));
    outln!();
    endpoints::table(&endpoints::of(&source, &dump)?);
    Ok(())
}
