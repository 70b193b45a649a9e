//! One measurement: a scenario with a proxy that is started for it and ended after it, and the backends behind.
//!
//! Invariant: while a proxy is measured no other proxy runs.

use std::{fs, process::Command, thread, time::Duration};

use anyhow::Context;
use meltemi_testkit::ports;

use super::{
    Bench,
    curve::{self, Curve},
    hostile, load,
    load::Ask,
    measure::{self, Cpu, Guard, settle},
    peer::{self, Peer, Running, Shape, Table},
    scenario::{Metric, Scenario},
    sink::Sink,
};

/// Clusters and virtual hosts of the large configuration.
const MANY: usize = 5_000;
/// Idle connections.
const CONNECTIONS: usize = 2_000;
/// Bytes of the large body.
const LARGE: u64 = 1_000_000_000;
/// The small body: `load` finds the end of an answer by its letter.
const LETTER: &str = "m";

/// The servers behind the proxies; they live as long as the bench.
pub(super) struct Backends {
    http1: u16,
    http2: u16,
    _guards: [Guard; 2],
}

impl Backends {
    /// Writes the files and starts nginx and nghttpd on the core of the load.
    pub(super) fn start(bench: &Bench) -> anyhow::Result<Self> {
        let www = bench.folder.join("www");
        fs::create_dir_all(&www)?;
        let body = LETTER.repeat(100);
        fs::write(www.join("index.html"), &body)?;
        fs::File::create(www.join("1mib"))?.set_len(1 << 20)?;
        // Sparse: takes no disk.
        fs::File::create(www.join("1gb"))?.set_len(LARGE)?;
        let (http1, http2) = (ports::free(), ports::free());
        let values =
            [("FOLDER", bench.folder.display().to_string()), ("PORT", http1.to_string()), ("BODY", body)];
        let file = bench.folder.join("backend.conf");
        fs::write(&file, peer::fill("backend.conf", &values)?)?;
        let mut nginx = load::pinned(bench.load_core, &bench.programs.nginx);
        nginx.args(["-e", "stderr", "-c"]).arg(&file);
        let mut nghttpd = load::pinned(bench.load_core, &bench.programs.nghttpd);
        nghttpd.args(["--no-tls", "-a", "127.0.0.1", "-d"]).arg(&www).arg(http2.to_string());
        let guards = [backend(&mut nginx, http1)?, backend(&mut nghttpd, http2)?];
        Ok(Self { http1, http2, _guards: guards })
    }
}

fn backend(command: &mut Command, port: u16) -> anyhow::Result<Guard> {
    let mut guard = Guard::start(command, None)?;
    for _ in 0..1_000 {
        guard.alive().with_context(|| format!("backend {command:?}"))?;
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(guard);
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    anyhow::bail!("backend {command:?} does not listen")
}

/// Measures once.
pub(super) fn run(
    bench: &Bench,
    backends: &Backends,
    scenario: Scenario,
    peer: Peer,
) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut shape = Shape { backend: backends.http1, http2: false, log: false, table: Table::Ten };
    let ask = |port, path, connections| Ask::new(port, path, "bench", connections);
    match scenario {
        Scenario::Http1 | Scenario::Http1Log => {
            shape.log = scenario == Scenario::Http1Log;
            let proxy = peer::start(bench, peer, shape)?;
            loaded(bench, &proxy, &ask(proxy.port, "/", 64), false)
        }
        Scenario::Http2 => {
            shape.http2 = true;
            // nginx speaks no HTTP/2 upstream.
            shape.backend = if peer == Peer::Nginx { backends.http1 } else { backends.http2 };
            let proxy = peer::start(bench, peer, shape)?;
            loaded(bench, &proxy, &ask(proxy.port, "/", 16), true)
        }
        Scenario::Body1Mib => {
            let proxy = peer::start(bench, peer, shape)?;
            loaded(bench, &proxy, &ask(proxy.port, "/1mib", 16), false)
        }
        Scenario::Body1Gb => {
            let proxy = peer::start(bench, peer, shape)?;
            load::large_body(proxy.port, "/1gb", LARGE)?;
            Ok(vec![(Metric::Peak, megabytes(measure::peak(proxy.guard.id())?))])
        }
        Scenario::Upload1Gb => {
            let sink = Sink::start(LARGE)?;
            shape.backend = sink.port;
            let proxy = peer::start(bench, peer, shape)?;
            load::large_upload(proxy.port, "/", LARGE)?;
            let came = sink.finish()?;
            anyhow::ensure!(came == LARGE, "{came} bytes arrived of {LARGE}");
            Ok(vec![(Metric::Peak, megabytes(measure::peak(proxy.guard.id())?))])
        }
        Scenario::Memory => memory(&peer::start(bench, peer, shape)?),
        Scenario::Start => Ok(vec![(Metric::Ready, milliseconds(&peer::start(bench, peer, shape)?))]),
        Scenario::XdsConfig => super::dynamic::run(bench, peer),
        Scenario::BigConfig => big_config(bench, peer, shape),
        Scenario::Hostile => hostile::run(bench, peer, shape),
        Scenario::Routes
        | Scenario::RoutesHosts
        | Scenario::RoutesHeaders
        | Scenario::RoutesRegex
        | Scenario::RoutesIgnoreCase
        | Scenario::RoutesTenants => curve::run(bench, peer, shape, curve_of(scenario)),
    }
}

fn curve_of(scenario: Scenario) -> Curve {
    match scenario {
        Scenario::RoutesHosts => Curve::Hosts,
        Scenario::RoutesHeaders => Curve::Headers,
        Scenario::RoutesRegex => Curve::Regexes,
        Scenario::RoutesIgnoreCase => Curve::IgnoringCase,
        Scenario::RoutesTenants => Curve::Tenants,
        _ => Curve::Prefixes,
    }
}

/// CPU, throughput and latency under load, after a second to warm up.
fn loaded(bench: &Bench, proxy: &Running, ask: &Ask<'_>, http2: bool) -> anyhow::Result<Vec<(Metric, f64)>> {
    let programs = &bench.programs;
    let load = |length| match http2 {
        true => {
            load::h2load(bench.load_core, &programs.h2load, ask, length, &bench.folder.join("h2load.log"))
        }
        false => load::wrk(bench.load_core, &programs.wrk, ask, length),
    };
    load(Duration::from_secs(1)).context("warm up")?;
    let before = Cpu::of(proxy.guard.id())?;
    let seen = load(bench.length)?;
    let used = Cpu::of(proxy.guard.id())?.since(before);
    let each = |seconds: f64| seconds * 1e6 / seen.requests;
    Ok(vec![
        (Metric::Cpu, each(used.user + used.kernel)),
        (Metric::CpuUser, each(used.user)),
        (Metric::CpuKernel, each(used.kernel)),
        (Metric::Throughput, seen.per_second),
        (Metric::P50, seen.p50),
        (Metric::P99, seen.p99),
    ])
}

fn memory(proxy: &Running) -> anyhow::Result<Vec<(Metric, f64)>> {
    let id = proxy.guard.id();
    // One request first: what is made once for all connections belongs to the idle process.
    drop(load::idle_connections(proxy.port, 1)?);
    settle();
    let (idle, own) = (measure::resident(id)?, measure::own(id)?);
    let connections = load::idle_connections(proxy.port, CONNECTIONS)?;
    settle();
    let full = measure::resident(id)?;
    drop(connections);
    let each = (full - idle) / CONNECTIONS as f64;
    Ok(vec![
        (Metric::Idle, megabytes(idle)),
        (Metric::IdleOwn, megabytes(own)),
        (Metric::PerConnection, each),
    ])
}

fn big_config(bench: &Bench, peer: Peer, mut shape: Shape) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut measure = |count: usize| -> anyhow::Result<_> {
        shape.table = Table::Clusters(count);
        let proxy = peer::start(bench, peer, shape)?;
        settle();
        let resident = measure::resident(proxy.guard.id())?;
        let host = peer::host(count / 2);
        let ask = Ask::new(proxy.port, "/", &host, 64);
        let values = loaded(bench, &proxy, &ask, false)?;
        Ok((milliseconds(&proxy), megabytes(resident), values[0].1))
    };
    let (_, _, one) = measure(1)?;
    let (ready, resident, many) = measure(MANY)?;
    Ok(vec![
        (Metric::Cpu, many),
        (Metric::CpuOneCluster, one),
        (Metric::Growth, many / one),
        (Metric::Idle, resident),
        (Metric::Ready, ready),
    ])
}

fn milliseconds(proxy: &Running) -> f64 {
    proxy.ready.as_secs_f64() * 1e3
}

/// From KiB.
fn megabytes(kib: f64) -> f64 {
    kib * 1024.0 / 1e6
}
