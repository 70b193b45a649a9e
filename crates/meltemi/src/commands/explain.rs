//! `meltemi explain`: what would happen to one request or connection, and why, decision by decision.
//!
//! Offline from files for a proxy named by its id, or from a live proxy's config dump. The proxy's own matchers decide
//! (`meltemi_proxy::explain`); this command asks them and prints.
//! Invariant: the JSON is a contract: `{"outcome", "steps": [{"what", "name", "matched", "because", "file", "line"}]}`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use meltemi_pilot::offline as pilot;
use meltemi_proxy::explain::{self, Call, Config, Explanation, Request};

use super::live::{CONTROL_PLANE, Source};
use super::offline::Mesh;
use super::settings;
use crate::console::outln;
use crate::failure::Failure;

mod live;
mod print;

const EXAMPLES: &str = "\
Examples:
  meltemi explain -f mesh/ --proxy web.shop http://reviews:9080/             a workload of these files, by name
  meltemi explain -f mesh/ --proxy shop-gateway http://shop.example.com/cart -H 'end-user: jason'
  meltemi explain -f mesh/ --proxy sidecar~10.0.0.1~web.shop~shop.svc.cluster.local http://reviews:9080/
  meltemi explain --proxy productpage-v1 http://reviews:9080/                a proxy of the running mesh
  meltemi explain --admin 127.0.0.1:15000 -X POST http://reviews:9080/       a proxy of any mesh, ours or an Envoy
  meltemi explain --config-dump dump.json --sni db.example.com tcp://10.1.2.3:5432
  meltemi explain -f mesh/ --proxy reviews-v1 --inbound http://reviews:9080/

The URL's host is the request's Host header. A host that is no address is looked up as the workload's DNS would, among what
the proxy listens for; --to says it instead.";

/// Which call, through which proxy.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What is called: `http://HOST[:PORT]/PATH`, or `tcp://HOST:PORT` for a connection of bytes
    #[arg(value_name = "URL")]
    url: String,

    /// Files and folders with mesh resources and Kubernetes objects, YAML or JSON; unset: a running proxy is asked
    #[arg(short, long = "filename", num_args = 1, value_name = "PATH", requires = "proxy")]
    filename: Vec<PathBuf>,

    /// The proxy the call goes through: a workload or gateway, NAME or NAME.NAMESPACE, or a node id such as
    /// sidecar~ADDRESS~NAME.NAMESPACE~NAMESPACE.svc.cluster.local
    #[arg(long, value_name = "NAME", visible_alias = "from")]
    proxy: Option<String>,

    /// Ask a running proxy, at its admin address
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["filename", "proxy"])]
    admin: Option<SocketAddr>,

    /// Look at a proxy's saved /config_dump?include_eds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["filename", "proxy", "admin"])]
    config_dump: Option<PathBuf>,

    /// Where the control plane that knows running proxies by name serves its debug pages
    #[arg(long, value_name = "ADDR", env = "MELTEMI_CONTROL_PLANE", default_value = CONTROL_PLANE)]
    control_plane: SocketAddr,

    /// The proxy's labels; unset: from the metadata, else from its Pod or WorkloadEntry
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,

    /// The proxy's node metadata, a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,

    /// Method of the request
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,

    /// A header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Where the client connects to; unset: the URL's address, or what its host is to the workload's DNS
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: Option<SocketAddr>,

    /// Where the client connects from [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,

    /// Server name that a TLS connection asks for; https:// has the URL's host
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,

    /// The call comes in to the proxy's workload, in place of from it
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
    let call = call(&args)?;
    let explanation = match args.filename.is_empty() {
        true => {
            let (file, name) = (args.config_dump.as_deref(), args.proxy.as_deref());
            let source = Source::of(args.admin, file, name, args.control_plane)?;
            explain::explain(&live::config(&source)?, &call)
        }
        false => offline(&args, &call)?,
    };
    match args.output {
        Output::Json => outln!("{:#}", print::json(&explanation)),
        Output::Text => print::text(&explanation),
    }
    Ok(ExitCode::SUCCESS)
}

fn offline(args: &Args, call: &Call) -> Result<Explanation> {
    let mesh = Mesh::read(&args.filename, &args.settings)?;
    let proxy = args.proxy.as_deref().unwrap_or_default();
    let node = mesh.node(proxy, &args.labels, args.metadata.as_deref())?;
    let sent = pilot::translate(&mesh.snapshot, &node);
    let config = Config::new(&sent.listeners, &sent.routes, &sent.clusters, &sent.endpoints);
    let config = config.map_err(|error| Failure::new(format!("the proxy would refuse this: {error}"), ""))?;
    let mut explanation = explain::explain(&config, call);
    // Clusters say which resource made them, not where it is written.
    for step in explanation.steps.iter_mut().filter(|step| step.file.is_none()) {
        if let Some(object) = mesh.object(&step.resource)
            && !object.source.file.is_empty()
        {
            (step.file, step.line) = (Some(object.source.file.to_string()), Some(object.source.line));
        }
    }
    Ok(explanation)
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
    if port == 0 && args.to.is_none() {
        return Err(bad("names no port").into());
    }
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let address: Option<IpAddr> = host.parse().ok();
    let guess = SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port);
    let name = args.sni.clone().or_else(|| (default == 443).then(|| host.to_owned()));
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    Ok(Call {
        destination: args.to.unwrap_or(guess),
        looked_up: (args.to.is_none() && address.is_none()).then(|| host.to_owned()),
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
