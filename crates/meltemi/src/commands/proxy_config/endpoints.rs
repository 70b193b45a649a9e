//! `meltemi proxy-config endpoints`: as the proxy sees them now, or, of a dump, as it was told them.

use anyhow::Result;
use owo_colors::Style;
use serde_json::{Value, json};

use super::resource::{address, list, text};
use super::{From, OutputArgs, written};
use crate::commands::live::{self, Source};
use crate::commands::table;

/// Which endpoints.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,

    /// Only at this address
    #[arg(long, value_name = "IP")]
    address: Option<String>,

    /// Only at this port
    #[arg(long)]
    port: Option<u64>,

    /// Only of this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Only of this health: healthy, unhealthy, …
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let source = args.from.source()?;
    let dump = match source {
        Source::Admin(_) => Value::Null,
        Source::File(_) => source.config_dump()?,
    };
    let mut clusters = of(&source, &dump)?;
    for cluster in &mut clusters {
        if let Some(hosts) = cluster["host_statuses"].as_array_mut() {
            hosts.retain(|host| args.takes(host));
        }
    }
    clusters.retain(|cluster| {
        args.cluster.as_ref().is_none_or(|wanted| text(cluster, "name") == wanted)
            && list(cluster, "host_statuses").next().is_some()
    });
    if !written(args.output.output, &Value::Array(clusters.clone()))? {
        table(&clusters);
    }
    Ok(())
}

impl Args {
    fn takes(&self, host: &Value) -> bool {
        let (ip, port) = address(&host["address"]);
        self.address.as_ref().is_none_or(|wanted| *wanted == ip)
            && self.port.is_none_or(|wanted| port == Some(wanted))
            && self.status.as_ref().is_none_or(|wanted| status(host).eq_ignore_ascii_case(wanted))
    }
}

/// `ClusterStatus` of all clusters, by name.
pub(super) fn of(source: &Source, dump: &Value) -> Result<Vec<Value>> {
    let mut clusters: Vec<Value> = match source.clusters()? {
        Some(live) => list(&live, "cluster_statuses").cloned().collect(),
        None => told(dump),
    };
    clusters.sort_by_cached_key(|cluster| text(cluster, "name").to_owned());
    Ok(clusters)
}

/// What the control plane said, in the form in which a proxy says what it has.
fn told(dump: &Value) -> Vec<Value> {
    let by_eds = live::resources(dump, "endpoint_config");
    let clusters = live::resources(dump, "cluster");
    let inline = clusters.iter().filter_map(|cluster| {
        let mut assignment = cluster.get("load_assignment")?.clone();
        assignment["cluster_name"] = cluster["name"].clone();
        Some(assignment)
    });
    let mut seen = std::collections::BTreeSet::new();
    let all = by_eds.into_iter().chain(inline);
    let all = all.filter(|assignment| seen.insert(text(assignment, "cluster_name").to_owned()));
    all.map(|assignment| {
        let groups = list(&assignment, "endpoints");
        let hosts = groups.flat_map(|group| list(group, "lb_endpoints").map(move |endpoint| (group, endpoint)));
        let hosts = hosts.map(|(group, endpoint)| {
            json!({
                "address": endpoint["endpoint"]["address"],
                "health_status": { "eds_health_status": endpoint["health_status"].as_str().unwrap_or("HEALTHY") },
                "weight": endpoint["load_balancing_weight"].as_u64().unwrap_or(1),
                "priority": group["priority"].as_u64().unwrap_or(0),
                "locality": group["locality"],
            })
        });
        json!({ "name": assignment["cluster_name"], "host_statuses": hosts.collect::<Vec<_>>() })
    })
    .collect()
}

pub(super) fn table(clusters: &[Value]) {
    let mut rows = Vec::new();
    for cluster in clusters {
        for host in list(cluster, "host_statuses") {
            let at = match address(&host["address"]) {
                (ip, Some(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
                (ip, Some(port)) => format!("{ip}:{port}"),
                (path, None) => path,
            };
            let ejected = host["health_status"]["failed_outlier_check"].as_bool() == Some(true);
            let outlier = if ejected { "FAILED" } else { "OK" };
            rows.push(vec![at, status(host), outlier.to_owned(), text(cluster, "name").to_owned()]);
        }
    }
    rows.sort_by(|a, b| (&a[3], &a[0]).cmp(&(&b[3], &b[0])));
    table::print(&["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], &rows, |cell| match cell {
        "HEALTHY" | "OK" => Style::new().green(),
        "UNHEALTHY" | "FAILED" | "TIMEOUT" => Style::new().red(),
        "DRAINING" | "DEGRADED" => Style::new().yellow(),
        _ => Style::new(),
    });
}

/// What health checks and the control plane say.
fn status(host: &Value) -> String {
    let status = &host["health_status"];
    if status["failed_active_health_check"].as_bool() == Some(true) {
        return "UNHEALTHY".to_owned();
    }
    match status["eds_health_status"].as_str() {
        None | Some("UNKNOWN") => "HEALTHY".to_owned(),
        Some(word) => word.to_owned(),
    }
}
