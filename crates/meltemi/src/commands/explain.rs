//! `meltemi explain`: what would happen to one request or connection, and why, decision by decision.
//!
//! Offline from files for a proxy named by its id, or from a live proxy's config dump. The proxy's own matchers decide
//! (`meltemi_proxy::explain`); this command asks them and prints.
//! Invariant: the JSON is a contract: `{"outcome", "steps": [{"what", "name", "matched", "because", "file", "line"}]}`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use meltemi_pilot::offline;
use meltemi_pilot::snapshot::Snapshot;
use meltemi_proxy::explain::{self, Call, Config, Request};
use meltemi_xds::extension;

use super::{settings, translate};
use crate::failure::Failure;

mod live;
mod print;

const EXAMPLES: &str = "\
Examples:
  meltemi explain -f mesh/ --proxy sidecar~10.0.0.1~web.shop~shop.svc.cluster.local http://reviews:9080/
  meltemi explain -f mesh/ --proxy router~10.0.0.9~gw.shop~shop.svc.cluster.local --labels istio=ingressgateway \\
      http://shop.example.com/cart -H 'end-user: jason'
  meltemi explain --admin 127.0.0.1:15000 -X POST http://reviews:9080/
  meltemi explain --admin 127.0.0.1:15000 --sni db.example.com tcp://10.1.2.3:5432";

/// Which call, through which proxy.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What is called: `http://HOST[:PORT]/PATH`, or `tcp://ADDRESS:PORT` for a connection of bytes
    #[arg(value_name = "URL")]
    url: String,

    /// Files and folders with mesh resources and Kubernetes objects, YAML or JSON
    #[arg(
        short,
        long = "filename",
        num_args = 1,
        value_name = "PATH",
        requires = "proxy",
        required_unless_present = "admin"
    )]
    filename: Vec<PathBuf>,

    /// The proxy the call goes through: sidecar~ADDRESS~NAME.NAMESPACE~NAMESPACE.svc.cluster.local, or router~…
    #[arg(long, value_name = "ID")]
    proxy: Option<String>,

    /// Ask a running proxy instead, at its admin address
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["filename", "proxy"])]
    admin: Option<SocketAddr>,

    /// The proxy's labels; unset: from the metadata, else from its Pod or WorkloadEntry
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,

    /// The proxy's node metadata, a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,

    /// Method
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,

    /// A header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Where the client connects to; unset: what the URL says, looked up among the proxy's listeners by its port
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: Option<SocketAddr>,

    /// Where the client connects from
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,

    /// Server name of a TLS connection
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,

    /// The call comes in to the proxy's workload
    #[arg(long)]
    inbound: bool,

    #[command(flatten)]
    settings: settings::Flags,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let config = match args.admin {
        Some(admin) => live::config(admin)?,
        None => offline_config(&args)?,
    };
    let explanation = explain::explain(&config, &call(&args)?);
    match args.output {
        Output::Json => println!("{:#}", print::json(&explanation)),
        Output::Text => print::text(&explanation),
    }
    Ok(ExitCode::SUCCESS)
}

fn offline_config(args: &Args) -> Result<Config> {
    let proxy = args.proxy.as_deref().unwrap_or_default();
    let mut node = translate::node_of(proxy, &args.labels, args.metadata.as_deref())?;
    // Only proxies that know us are told lines of files.
    node.metadata.extensions = extension::ALL.iter().map(|name| (*name).into()).collect();
    let reading = meltemi_config::Options::in_namespace(&args.settings.namespace);
    let loaded = meltemi_config::load(&args.filename, &reading);
    translate::report(&loaded.diagnostics);
    let settings = args.settings.read(None)?;
    translate::report(&settings.findings);
    let snapshot = Snapshot::build(1, &loaded.objects, Arc::new(settings.mesh));
    let resources = offline::translate(&snapshot, &node);
    let config =
        Config::new(&resources.listeners, &resources.routes, &resources.clusters, &resources.endpoints);
    config.map_err(|error| Failure::new(format!("the proxy would refuse this: {error}"), "").into())
}

fn call(args: &Args) -> Result<Call> {
    let bad = |why: &str| {
        Failure::usage(
            format!("{:?} {why}", args.url),
            "give http://reviews:9080/path or tcp://10.0.0.1:5432",
        )
    };
    let url: http::Uri = args.url.parse().map_err(|_| bad("is no URL"))?;
    let authority = url.authority().ok_or_else(|| bad("names no host"))?.as_str();
    let (http, default) = match url.scheme_str() {
        Some("http") => (true, 80),
        Some("https") => (true, 443),
        Some("tcp") => (false, 0),
        _ => return Err(bad("is neither http, https nor tcp").into()),
    };
    let port = url.port_u16().unwrap_or(default);
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let name = args.sni.clone().or_else(|| (default == 443).then(|| host.to_owned()));
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    Ok(Call {
        destination: args.to.unwrap_or_else(|| SocketAddr::new(address, port)),
        source: SocketAddr::new(args.source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), 40_000),
        inbound: args.inbound,
        server_name: name.map(|name| name.to_ascii_lowercase()),
        http: http.then(|| request(args, authority, path)).transpose()?,
        random: 0,
    })
}

fn request(args: &Args, authority: &str, path: &str) -> Result<Request> {
    let mut request = Request {
        method: args.method.clone(),
        authority: authority.to_owned(),
        path: path.to_owned(),
        ..Request::default()
    };
    for line in &args.headers {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| Failure::usage(format!("{line:?} is no header"), "give -H 'end-user: jason'"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "host" => request.authority = value,
            _ => request.headers.push((name, value)),
        }
    }
    Ok(request)
}
