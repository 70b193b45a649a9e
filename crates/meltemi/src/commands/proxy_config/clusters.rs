//! `meltemi proxy-config clusters`.

use anyhow::Result;
use serde_json::Value;

use super::resource::{cluster_parts, dash, origin, text};
use super::{From, OutputArgs, written};
use crate::commands::{live, table};

/// Which clusters.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,

    /// Only of services whose full name contains this
    #[arg(long, value_name = "HOST")]
    fqdn: Option<String>,

    /// Only of this port
    #[arg(long)]
    port: Option<u16>,

    /// Only of this direction: inbound or outbound
    #[arg(long, value_parser = ["inbound", "outbound"])]
    direction: Option<String>,

    /// Only of this subset
    #[arg(long)]
    subset: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut clusters = of(&args.from.source()?.config_dump()?);
    clusters.retain(|cluster| args.takes(text(cluster, "name")));
    if !written(args.output.output, &Value::Array(clusters.clone()))? {
        table(&clusters);
    }
    Ok(())
}

impl Args {
    fn takes(&self, name: &str) -> bool {
        let (direction, port, subset, host) = cluster_parts(name);
        self.fqdn.as_ref().is_none_or(|wanted| host.contains(wanted.as_str()))
            && self.port.is_none_or(|wanted| port == wanted.to_string())
            && self.direction.as_ref().is_none_or(|wanted| direction == wanted)
            && self.subset.as_ref().is_none_or(|wanted| subset == wanted)
    }
}

/// All clusters, by service, port and subset.
pub(super) fn of(dump: &Value) -> Vec<Value> {
    let mut clusters = live::resources(dump, "cluster");
    clusters.sort_by_cached_key(|cluster| {
        let (direction, port, subset, host) = cluster_parts(text(cluster, "name"));
        let port: u32 = port.parse().unwrap_or_default();
        (host.to_owned(), port, subset.to_owned(), direction.to_owned())
    });
    clusters
}

pub(super) fn table(clusters: &[Value]) {
    let row = |cluster: &Value| {
        let (direction, port, subset, host) = cluster_parts(text(cluster, "name"));
        let cells = [host, port, subset, direction, &kind(cluster), &origin(cluster)];
        let mut row: Vec<String> = cells.map(dash).to_vec();
        if origin(cluster).is_empty() {
            row[5] = String::new();
        }
        row
    };
    let rows: Vec<_> = clusters.iter().map(row).collect();
    let heading = ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"];
    table::print(&heading, &rows, table::plain);
}

fn kind(cluster: &Value) -> String {
    match cluster["cluster_type"]["name"].as_str() {
        Some(custom) => custom.to_owned(),
        None => cluster["type"].as_str().unwrap_or("STATIC").to_owned(),
    }
}
