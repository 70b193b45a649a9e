//! `meltemi proxy-status`: each connected proxy, what it has of each type, and for how long. Asks the control plane's
//! debug port, `/debug/syncz`.
//!
//! Invariant: status 1 when a proxy has refused something; a type that is merely under way is no fault.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use meltemi_agent::admin;
use owo_colors::Style;
use serde_json::Value;

use super::live::CONTROL_PLANE;
use super::table;
use crate::console::outln;
use crate::failure::Failure;

/// The columns, in the order of a push; the last only where a proxy takes virtual hosts one by one.
const TYPES: [&str; 5] = ["CDS", "LDS", "EDS", "RDS", "VHDS"];

/// Which control plane, which form.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only proxies whose name or id contains this
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Where the control plane serves its debug pages
    #[arg(long, alias = "address", value_name = "ADDR", env = "MELTEMI_CONTROL_PLANE", default_value = CONTROL_PLANE)]
    control_plane: SocketAddr,

    /// How to print
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people
    Table,
    /// For machines
    Json,
}

/// Asks and prints.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(admin::request(args.control_plane, Method::GET, "/debug/syncz"));
    let answer = answer.ok().filter(|answer| answer.status == StatusCode::OK).ok_or_else(|| {
        let hint = "`meltemi demo`, `up` and `control-plane` run one; say where with --control-plane ADDR";
        Failure::new(format!("no control plane at {}", args.control_plane), hint)
    })?;
    let mut proxies: Vec<Value> =
        serde_json::from_slice(&answer.body).context("the control plane's answer")?;
    if let Some(wanted) = &args.name {
        proxies.retain(|proxy| text(proxy, "id").contains(wanted.as_str()));
    }
    proxies.sort_by_cached_key(|proxy| (text(proxy, "namespace").to_owned(), text(proxy, "name").to_owned()));
    let refused = proxies.iter().flat_map(types).any(|status| text(status, "state") == "REJECTED");
    match args.output {
        Form::Json => outln!("{:#}", Value::Array(proxies)),
        Form::Table => print(&proxies),
    }
    Ok(if refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(proxies: &[Value]) {
    if proxies.is_empty() {
        eprintln!("no proxy is connected");
        return;
    }
    let takes_hosts = proxies.iter().flat_map(types).any(|status| text(status, "type") == "VHDS");
    let shown = if takes_hosts { &TYPES[..] } else { &TYPES[..4] };
    let heading: Vec<&str> =
        ["NAME", "ROLE", "PROGRAM"].iter().chain(shown).chain(&["CONNECTED"]).copied().collect();
    let rows: Vec<Vec<String>> = proxies.iter().map(|proxy| row(proxy, shown)).collect();
    table::print(&heading, &rows, paint);
    for (proxy, status) in proxies.iter().flat_map(|proxy| types(proxy).map(move |status| (proxy, status))) {
        if let Some(error) = status["error"].as_str() {
            outln!("\n{} refused {}: {error}", name(proxy), text(status, "type"));
        }
    }
}

fn row(proxy: &Value, shown: &[&str]) -> Vec<String> {
    let role = if text(proxy, "role") == "router" { "gateway" } else { text(proxy, "role") };
    let mut row = vec![name(proxy), role.to_owned(), text(proxy, "program").to_owned()];
    let of = |wanted: &&str| cell(types(proxy).find(|status| text(status, "type") == *wanted));
    row.extend(shown.iter().map(of));
    row.push(age(&proxy["connected"]));
    row
}

/// `SYNCED 12 (3s)`: the state, how many resources, how long ago the proxy said so.
fn cell(status: Option<&Value>) -> String {
    let Some(status) = status else { return "-".to_owned() };
    format!("{} {} ({})", text(status, "state"), status["resources"], age(&status["age"]))
}

fn paint(cell: &str) -> Style {
    match cell.split(' ').next() {
        Some("SYNCED") => Style::new().green(),
        Some("STALE") => Style::new().yellow(),
        Some("REJECTED") => Style::new().red(),
        _ => Style::new(),
    }
}

fn types(proxy: &Value) -> impl Iterator<Item = &Value> {
    proxy["types"].as_array().into_iter().flatten()
}

fn name(proxy: &Value) -> String {
    format!("{}.{}", text(proxy, "name"), text(proxy, "namespace"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn age(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_f64() else { return "never".to_owned() };
    match seconds as u64 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}
