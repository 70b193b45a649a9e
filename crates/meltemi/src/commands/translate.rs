//! `meltemi translate`: what one proxy would be sent, offline, as Envoy JSON.
//!
//! The JSON is a contract (see the command-line contract): `{"listeners", "routes", "clusters", "endpoints"}`, each an Envoy v3
//! message with Envoy's field names. Standard output carries it and nothing else.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use meltemi_config::diagnostic::render;
use meltemi_config::{Diagnostic, Options, Severity};
use meltemi_pilot::node::Node;
use meltemi_pilot::offline::{self, Resources};
use meltemi_pilot::snapshot::Snapshot;
use meltemi_xds::json::to_value;
use serde_json::{Map, Value, json};

use super::settings;
use crate::failure::Failure;

/// What to translate, for whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with mesh resources and Kubernetes objects, YAML or JSON
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "PATH")]
    filename: Vec<PathBuf>,

    /// The proxy's node id: sidecar~ADDRESS~NAME.NAMESPACE~NAMESPACE.svc.cluster.local, or router~…
    #[arg(long, value_name = "ID")]
    proxy: String,

    /// The proxy's labels; unset: from the metadata, else from its Pod or WorkloadEntry
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,

    /// The proxy's node metadata, a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,

    #[command(flatten)]
    settings: settings::Flags,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Output {
    /// JSON
    #[default]
    Json,
    /// The same as YAML
    Yaml,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let node = node_of(&args.proxy, &args.labels, args.metadata.as_deref())?;
    let loaded = meltemi_config::load(&args.filename, &Options::in_namespace(&args.settings.namespace));
    report(&loaded.diagnostics);
    let settings = args.settings.read(None)?;
    report(&settings.findings);
    let snapshot = Snapshot::build(1, &loaded.objects, Arc::new(settings.mesh));
    let value = document(&offline::translate(&snapshot, &node));
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{value:#}")?,
        Output::Yaml => write!(out, "{}", serde_saphyr::to_string(&value)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The proxy that flags describe.
pub(super) fn node_of(id: &str, pairs: &[String], metadata: Option<&str>) -> Result<Node> {
    let mut metadata: Map<String, Value> = match metadata {
        None => Map::new(),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            Failure::usage(
                format!("--metadata is no JSON object: {error}"),
                "give one, such as '{\"NAMESPACE\": \"ns\"}'",
            )
        })?,
    };
    if !pairs.is_empty() {
        metadata.insert("LABELS".to_owned(), labels(pairs)?);
    }
    let node = Node::parse(id, &Value::Object(metadata)).map_err(|error| {
        let hint = "give --proxy sidecar~10.0.0.1~app.ns~ns.svc.cluster.local, or router~… for a gateway";
        Failure::usage(error.to_string(), hint)
    })?;
    Ok(node)
}

fn labels(pairs: &[String]) -> Result<Value> {
    let mut labels = Map::new();
    for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("{pair:?} is no label"), "give --labels app=reviews,version=v1")
        })?;
        labels.insert(key.to_owned(), value.into());
    }
    Ok(Value::Object(labels))
}

/// What is wrong is said beside the result, which is without it.
pub(super) fn report(findings: &[Diagnostic]) {
    let colour = std::io::stderr().is_terminal();
    for finding in findings.iter().filter(|finding| finding.severity != Severity::Info) {
        eprintln!("{}", render(finding, colour));
    }
}

fn document(resources: &Resources) -> Value {
    json!({
        "listeners": resources.listeners.iter().map(to_value).collect::<Vec<_>>(),
        "routes": resources.routes.iter().map(to_value).collect::<Vec<_>>(),
        "clusters": resources.clusters.iter().map(to_value).collect::<Vec<_>>(),
        "endpoints": resources.endpoints.iter().map(to_value).collect::<Vec<_>>(),
    })
}
