//! The large configuration that comes from a control plane: memory and time to ready of a sidecar that has all of it.
//!
//! Our pilot serves S ServiceEntries (8080 HTTP, 9090 gRPC, five static endpoints, a VIP) and S/5 VirtualServices to the
//! proxy over delta xDS. Invariant: the pilot is warm before the proxy starts, and both proxies get the same.

use std::{fmt::Write as _, fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, bail};
use meltemi_testkit::ports;

use super::{
    Bench, load,
    measure::{self, Guard},
    peer::{self, Peer},
    scenario::Metric,
};

/// Sizes of the mesh, and what each is measured by.
const SIZES: [(usize, Metric, Metric); 2] =
    [(1_000, Metric::Ready, Metric::Idle), (5_000, Metric::ReadyMany, Metric::IdleMany)];

/// Measures both sizes once.
pub(super) fn run(bench: &Bench, peer: Peer) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut values = Vec::new();
    for (services, ready, resident) in SIZES {
        let folder = bench.folder.join(format!("mesh-{services}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("mesh.yaml"), mesh(services))?;
        let (xds, monitoring, admin) = (ports::free(), ports::free(), ports::free());
        let _pilot = pilot(bench, &folder, xds, monitoring)?;
        let file = bench.folder.join("xds.conf.yaml");
        let filled = [("ADMIN", admin.to_string()), ("XDS", xds.to_string())];
        fs::write(&file, peer::fill("xds.yaml", &filled)?)?;
        // Once for the pilot, which then has every resource at hand, and once to be measured.
        drop(peer::launch(bench, peer, &file, admin)?);
        let proxy = peer::launch(bench, peer, &file, admin)?;
        thread::sleep(Duration::from_secs(1));
        values.push((ready, proxy.ready.as_secs_f64() * 1e3));
        values.push((resident, measure::resident(proxy.guard.id())? * 1024.0 / 1e6));
    }
    Ok(values)
}

/// A control plane on the core of the load that serves the folder.
fn pilot(bench: &Bench, folder: &Path, xds: u16, monitoring: u16) -> anyhow::Result<Guard> {
    let said = bench.folder.join("pilot.output");
    let mut command: Command = load::pinned(bench.load_core, &bench.programs.meltemi);
    command.arg("control-plane").arg("--config").arg(folder);
    command.args(["--xds", &format!("127.0.0.1:{xds}"), "--monitoring", &format!("127.0.0.1:{monitoring}")]);
    let mut guard = Guard::start(&mut command, Some(fs::File::create(&said)?))?;
    for _ in 0..2_000 {
        guard.alive().with_context(|| fs::read_to_string(&said).unwrap_or_default())?;
        if std::net::TcpStream::connect(("127.0.0.1", xds)).is_ok() {
            return Ok(guard);
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    bail!("the control plane does not listen")
}

/// The mesh's resources as a user would write them.
fn mesh(services: usize) -> String {
    let mut text = String::new();
    for n in 0..services {
        let host = format!("svc-{n}.default.svc.cluster.local");
        let address =
            |block: usize, n: usize| format!("10.{}.{}.{}", block + n / 62_500, n / 250 % 250, n % 250 + 1);
        let endpoints: Vec<_> = (0..5)
            .map(|e| format!("{{address: {}, labels: {{version: v{}}}}}", address(200, n * 5 + e), e % 2 + 1))
            .collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: svc-{n}, namespace: default}}\n\
             spec:\n  hosts: [{host}]\n  addresses: [{}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  \
             - {{number: 8080, name: http, protocol: HTTP}}\n  - {{number: 9090, name: grpc, protocol: GRPC}}\n  \
             endpoints: [{}]\n",
            address(100, n),
            endpoints.join(", "),
        );
        if n % 5 == 0 {
            let to = format!("route: [{{destination: {{host: {host}, port: {{number: 8080}}}}}}]");
            let _ = write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: svc-{n}, namespace: \
                 default}}\nspec:\n  hosts: [{host}]\n  http:\n  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]\n    \
                 {to}\n    timeout: 3s\n    retries: {{attempts: 2, perTryTimeout: 1s, retryOn: 5xx}}\n    \
                 headers: {{request: {{set: {{x-route: canary}}}}}}\n  - {to}\n    timeout: 10s\n",
            );
        }
    }
    text
}
