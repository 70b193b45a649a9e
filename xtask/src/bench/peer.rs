//! The proxies: their configuration from bench/, how they are started, when they are ready.
//!
//! Invariant: Meltemi and Envoy get the same file, byte for byte but for the ports.

use std::{
    fmt::{self, Write as _},
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use meltemi_testkit::{peers, ports};

use super::{Bench, curve::Curve, hostile, load::pinned, measure::Guard};

/// How long a proxy may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Peer {
    Meltemi,
    Envoy,
    Nginx,
    Haproxy,
    /// Not a proxy: the least that two reads and two writes can cost.
    Relay,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("invariant: no peer is hidden");
        f.write_str(value.get_name())
    }
}

/// Where all programs are. Nginx and nghttpd are the backends too.
pub(super) struct Programs {
    pub(super) meltemi: PathBuf,
    envoy: PathBuf,
    haproxy: PathBuf,
    /// This very program.
    relay: PathBuf,
    pub(super) nginx: PathBuf,
    pub(super) nghttpd: PathBuf,
    pub(super) wrk: PathBuf,
    pub(super) h2load: PathBuf,
}

impl Programs {
    /// Finds what the chosen peers and the load need.
    pub(super) fn find(meltemi: PathBuf, chosen: &[Peer]) -> anyhow::Result<Self> {
        let find =
            |name| peers::find(name).with_context(|| format!("{name} is missing; run: cargo xtask peers"));
        let of = |peer, name| if chosen.contains(&peer) { find(name) } else { Ok(PathBuf::new()) };
        Ok(Self {
            meltemi,
            envoy: of(Peer::Envoy, "envoy")?,
            relay: std::env::current_exe()?,
            haproxy: of(Peer::Haproxy, "haproxy")?,
            nginx: find("nginx")?,
            nghttpd: find("nghttpd")?,
            wrk: find("wrk")?,
            h2load: find("h2load")?,
        })
    }
}

/// What the proxy must do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) backend: u16,
    pub(super) http2: bool,
    pub(super) log: bool,
    pub(super) table: Table,
}

/// What it routes by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    /// bench/virtual_host.yaml: ten routes, of which the tenth matches.
    Ten,
    /// So many clusters with a virtual host each.
    Clusters(usize),
    /// So many routes to one cluster.
    Curve(Curve, usize),
    /// bench/hostile.yaml.
    Hostile,
}

/// A proxy that is ready.
pub(super) struct Running {
    pub(super) guard: Guard,
    pub(super) port: u16,
    /// From just before exec.
    pub(super) ready: Duration,
}

/// Writes the configuration, starts the proxy on its core and waits until it is ready.
pub(super) fn start(bench: &Bench, peer: Peer, shape: Shape) -> anyhow::Result<Running> {
    let (port, admin) = (ports::free(), ports::free());
    let folder = &bench.folder;
    let file = folder.join(format!("{peer}.conf.yaml"));
    let log = folder.join(format!("{peer}.access.log"));
    if log.exists() {
        fs::remove_file(&log)?;
    }
    if peer != Peer::Relay {
        fs::write(&file, configuration(peer, shape, port, admin, &log, folder)?)?;
    }
    let said_file = folder.join(format!("{peer}.output"));
    // HAProxy can log to a file only by way of its standard output.
    let output = if peer == Peer::Haproxy && shape.log { &log } else { &said_file };
    let mut command = command(bench, peer, &file);
    if peer == Peer::Relay {
        command.args(["relay", "--port", &port.to_string(), "--backend", &shape.backend.to_string()]);
    }
    let admin_too = matches!(peer, Peer::Meltemi | Peer::Envoy);
    let probe = if admin_too { Probe::Admin { admin, port } } else { Probe::Connect(port) };
    let (guard, ready) = until_ready(peer, &mut command, output, &probe)?;
    Ok(Running { guard, port, ready })
}

/// Starts a proxy with a file that is there and no listener to look at; its admin says when it is ready.
pub(super) fn launch(bench: &Bench, peer: Peer, file: &Path, admin: u16) -> anyhow::Result<Running> {
    let output = bench.folder.join(format!("{peer}.output"));
    let probe = Probe::Admin { admin, port: 0 };
    let (guard, ready) = until_ready(peer, &mut command(bench, peer, file), &output, &probe)?;
    Ok(Running { guard, port: 0, ready })
}

fn until_ready(
    peer: Peer,
    command: &mut Command,
    output: &Path,
    probe: &Probe,
) -> anyhow::Result<(Guard, Duration)> {
    let started = Instant::now();
    let mut guard = Guard::start(command, Some(fs::File::create(output)?))?;
    while !probe.ready() {
        guard.alive().with_context(|| said(peer, output))?;
        if started.elapsed() > PATIENCE {
            bail!("not ready within {} s; {}", PATIENCE.as_secs(), said(peer, output));
        }
        std::thread::park_timeout(Duration::from_micros(500));
    }
    Ok((guard, started.elapsed()))
}

fn said(peer: Peer, file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let end: Vec<&str> = text.lines().rev().take(8).collect();
    format!("{peer} said: {}", end.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

fn command(bench: &Bench, peer: Peer, file: &Path) -> Command {
    let program = match peer {
        Peer::Meltemi => &bench.programs.meltemi,
        Peer::Envoy => &bench.programs.envoy,
        Peer::Nginx => &bench.programs.nginx,
        Peer::Haproxy => &bench.programs.haproxy,
        Peer::Relay => &bench.programs.relay,
    };
    let mut command = pinned(bench.proxy_core, program);
    match peer {
        Peer::Meltemi => command.args(["proxy", "--workers", "1", "-c"]).arg(file),
        Peer::Envoy => {
            command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"]).arg(file)
        }
        Peer::Nginx => command.args(["-e", "stderr", "-c"]).arg(file),
        Peer::Haproxy => command.args(["-db", "-f"]).arg(file),
        // Its ports are its arguments.
        Peer::Relay => &mut command,
    };
    command
}

/// How to see that a proxy is ready.
enum Probe {
    /// Its admin answers 200 to /ready; where nobody serves the admin's port, its listener accepts.
    Admin { admin: u16, port: u16 },
    /// Its listener accepts.
    Connect(u16),
}

impl Probe {
    fn ready(&self) -> bool {
        match *self {
            Self::Admin { admin, port } => connect(admin).map_or_else(|| connect(port).is_some(), says_ready),
            Self::Connect(port) => connect(port).is_some(),
        }
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()
}

fn says_ready(mut stream: TcpStream) -> bool {
    let mut head = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut head).is_ok()
        && &head == b"HTTP/1.1 200"
}

/// The text of a proxy's configuration file.
fn configuration(
    peer: Peer,
    shape: Shape,
    port: u16,
    admin: u16,
    log: &Path,
    folder: &Path,
) -> anyhow::Result<String> {
    let template = match peer {
        Peer::Meltemi | Peer::Envoy => "envoy.yaml",
        Peer::Nginx => "nginx.conf",
        Peer::Haproxy => "haproxy.cfg",
        Peer::Relay => bail!("the relay has no configuration file"),
    };
    let log = log.display().to_string();
    let mut values = vec![
        ("PORT", port.to_string()),
        ("ADMIN", admin.to_string()),
        ("BACKEND", shape.backend.to_string()),
        ("FOLDER", folder.display().to_string()),
    ];
    match peer {
        Peer::Meltemi | Peer::Envoy => {
            values.push(("ACCESS_LOG", if shape.log { envoy_log(&log) } else { "[]".into() }));
            values.push(("VIRTUAL_HOSTS", virtual_hosts(shape)?));
            values.push(("CLUSTERS", clusters(shape)));
        }
        Peer::Nginx => {
            let buffered = format!("{log} combined buffer=64k flush=1s");
            values.push(("ACCESS_LOG", if shape.log { buffered } else { "off".into() }));
            values.push(("HTTP2", if shape.http2 { " http2" } else { "" }.into()));
        }
        Peer::Relay => {}
        Peer::Haproxy => {
            values.push(("LOG_FORMAT", if shape.log { "option httplog" } else { "" }.into()));
            values.push(("LOG", if shape.log { "log stdout format raw daemon" } else { "" }.into()));
            values.push(("HTTP2", if shape.http2 { " proto h2" } else { "" }.into()));
        }
    }
    fill(template, &values)
}

/// A template of bench/ with its `@NAMES@` filled in.
pub(super) fn fill(template: &str, values: &[(&str, String)]) -> anyhow::Result<String> {
    let file = crate::run::root().join("bench").join(template);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    Ok(values.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value)))
}

fn envoy_log(file: &str) -> String {
    let kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
    format!("[{{ name: file, typed_config: {{ \"@type\": {kind}, path: {file} }} }}]")
}

fn virtual_hosts(shape: Shape) -> anyhow::Result<String> {
    let count = match shape.table {
        Table::Ten => return fill("virtual_host.yaml", &[]),
        Table::Hostile => return hostile::virtual_hosts(),
        Table::Curve(curve, count) => return Ok(curve.virtual_hosts(count)),
        Table::Clusters(count) => count,
    };
    let mut text = String::new();
    for n in 0..count {
        let route = format!("{{ match: {{ prefix: / }}, route: {{ cluster: cluster-{n} }} }}");
        let host = host(n);
        writeln!(text, "            - {{ name: \"{n}\", domains: [\"{host}\"], routes: [{route}] }}")?;
    }
    Ok(text)
}

/// The host of the n-th virtual host of the large configuration.
pub(super) fn host(n: usize) -> String {
    format!("svc-{n}.bench.example")
}

fn clusters(shape: Shape) -> String {
    match shape.table {
        Table::Clusters(count) => (0..count).map(|n| cluster(&format!("cluster-{n}"), shape)).collect(),
        _ => cluster("backend", shape),
    }
}

fn cluster(name: &str, shape: Shape) -> String {
    let address = format!("{{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}", shape.backend);
    let endpoints = format!("[{{ lb_endpoints: [{{ endpoint: {{ address: {address} }} }}] }}]");
    let assignment = format!("{{ cluster_name: {name}, endpoints: {endpoints} }}");
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let http2 = format!(
        ", typed_extension_protocol_options: {{ {options}: {{ \"@type\": type.googleapis.com/{options}, \
         explicit_http_config: {{ http2_protocol_options: {{}} }} }} }}"
    );
    let protocol = if shape.http2 { http2 } else { String::new() };
    format!(
        "  - {{ name: {name}, type: STATIC, connect_timeout: 5s, lb_policy: ROUND_ROBIN, \
         load_assignment: {assignment}{protocol} }}\n"
    )
}
