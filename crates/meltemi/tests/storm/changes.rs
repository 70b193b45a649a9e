//! A gateway under a control plane whose resources change all the time.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use meltemi_agent::{
    bootstrap::Bootstrap,
    node::{Node, Role},
};
use meltemi_testkit::{
    ports,
    process::Process,
    proxy::{Proxy, Running},
    raw,
};

use super::PATIENCE;

/// The mesh's resources.
pub(crate) struct Files<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) servers: [SocketAddr; 2],
    pub(crate) port: u16,
}

impl Files<'_> {
    pub(crate) fn write_first(&self) {
        let gateway = format!(
            "spec:
  selector: {{ app: gateway }}
  servers:
  - {{ port: {{ number: {}, name: http, protocol: HTTP }}, bind: 127.0.0.1, hosts: [storm.test] }}
",
            self.port
        );
        self.write("gateway", "Gateway", "g", &gateway);
        self.endpoints(&self.servers);
        self.rules("2s", "x-n: first", 1);
        self.policy("{ simple: ROUND_ROBIN }", "");
    }

    /// Writes one thing or another, again and again.
    pub(crate) async fn change(&self) {
        let mut rng = fastrand::Rng::with_seed(7);
        for n in 0u64.. {
            match rng.u8(0..4) {
                0 => self.endpoints(&self.servers),
                1 => {
                    let one = rng.usize(0..2);
                    self.endpoints(&self.servers[one..=one]);
                }
                2 => {
                    let timeout = ["2s", "2500ms"][rng.usize(0..2)];
                    self.rules(timeout, &format!("x-n: '{n}'"), rng.u8(1..3));
                }
                _ => {
                    let balancers = [
                        "{ simple: ROUND_ROBIN }",
                        "{ simple: LEAST_REQUEST }",
                        "{ simple: RANDOM }",
                        "{ consistentHash: { httpHeaderName: x } }",
                    ];
                    let pools = [
                        "",
                        "connectionPool: { http: { maxRequestsPerConnection: 3 } }",
                        "connectionPool: { http: { maxRequestsPerConnection: 1 } }",
                        "connectionPool: { tcp: { connectTimeout: 3s } }",
                    ];
                    self.policy(balancers[rng.usize(0..4)], pools[rng.usize(0..4)]);
                }
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(5..150))).await;
        }
    }

    fn endpoints(&self, of: &[SocketAddr]) {
        let lines: Vec<_> = of
            .iter()
            .map(|to| format!("  - {{ address: {}, ports: {{ http: {} }} }}\n", to.ip(), to.port()))
            .collect();
        let spec = format!(
            "spec:
  hosts: [storm.example]
  ports: [ {{ number: 80, name: http, protocol: HTTP }} ]
  resolution: STATIC
  endpoints:
{}",
            lines.concat()
        );
        self.write("service", "ServiceEntry", "storm", &spec);
    }

    fn rules(&self, timeout: &str, header: &str, attempts: u8) {
        let spec = format!(
            "spec:
  hosts: [storm.test]
  gateways: [g]
  http:
  - route: [ {{ destination: {{ host: storm.example }}, headers: {{ request: {{ set: {{ {header} }} }} }} }} ]
    timeout: {timeout}
    retries: {{ attempts: {attempts}, perTryTimeout: 1s, retryOn: 'reset,connect-failure,refused-stream' }}
"
        );
        self.write("rules", "VirtualService", "storm", &spec);
    }

    fn policy(&self, balancer: &str, pool: &str) {
        let spec = format!(
            "spec:
  host: storm.example
  trafficPolicy:
    loadBalancer: {balancer}
    {pool}
"
        );
        self.write("policy", "DestinationRule", "storm", &spec);
    }

    /// At once, as an editor does.
    fn write(&self, file: &str, kind: &str, name: &str, spec: &str) {
        let text =
            format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\n{spec}");
        let new = self.folder.join(format!("{file}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join(format!("{file}.yaml"))).unwrap();
    }
}

/// A control plane that watches the folder, and where it serves xDS.
pub(crate) fn control_plane(folder: &Path) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    command.args(["control-plane", "--xds", "127.0.0.1:0", "--monitoring", "127.0.0.1:0", "--config"]);
    let process = Process::start(command.arg(folder));
    let line = process.wait_for("xds=", PATIENCE);
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("xds=")).unwrap().to_owned();
    (process, address)
}

/// A gateway that it steers.
pub(crate) async fn gateway(folder: &Path, xds: &str) -> Running {
    let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let node = Node {
        role: Role::Gateway,
        address: [127, 0, 0, 9].into(),
        name: "gateway".to_owned(),
        namespace: "default".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "gateway".to_owned())]),
        service_account: "default".to_owned(),
        owner: "gateway".to_owned(),
        locality: String::new(),
        metadata: serde_json::Map::new(),
    };
    let bootstrap = Bootstrap { node: &node, discovery: xds, admin }.render();
    let file = folder.join("gateway.json");
    fs::write(&file, bootstrap.to_string()).unwrap();
    let mut command = Proxy::Meltemi.command(env!("CARGO_BIN_EXE_meltemi"));
    Running::start(command.arg("-c").arg(&file), admin).await
}

/// Waits until there is a route.
pub(crate) async fn serves(port: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + PATIENCE;
    let request = b"GET /Whole/1/1 HTTP/1.1\r\nhost: storm.test\r\nconnection: close\r\n\r\n";
    while !raw::exchange(address, request, PATIENCE).await.is_ok_and(|answer| answer.status == 200) {
        assert!(Instant::now() < deadline, "no route");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
