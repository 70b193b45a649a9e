//! Upstreams, a control plane over the file's mesh, and proxies of one kind, as long as a table is run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    process::Command,
    time::Duration,
};

use meltemi_agent::{
    bootstrap::Bootstrap,
    node::{Node, Role},
};
use meltemi_testkit::{
    echo::Echo,
    ports,
    process::Process,
    proxy::{Proxy, Running},
    raw,
    table::{self, Outcome},
    tcp::{First, Tcp, client_hello},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Call, Client, File, Through};

const PATIENCE: Duration = Duration::from_secs(30);
/// Calls for one measurement of shares.
const MANY: u32 = 400;

/// What came of a call: an outcome to judge, `None` where it was judged already, or a problem.
pub(crate) type Shot = Result<Option<Outcome>, String>;

/// The upstreams and ports of a file, and its mesh in a folder.
pub(crate) struct World {
    name: String,
    http: BTreeMap<&'static str, Echo>,
    _tcp: Vec<Tcp>,
    /// Placeholders and the ports that they stand for.
    ports: Vec<(&'static str, u16)>,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new(name: &str, file: &File) -> Self {
        let mut http = BTreeMap::new();
        let mut given = Vec::new();
        for name in ["a", "b", "c", "d"] {
            let echo = Echo::start(name).await;
            given.push((name, echo.address.port()));
            http.insert(name, echo);
        }
        let mut tcp = Vec::new();
        for (name, first) in [("ta", First::Client), ("tb", First::Client), ("sa", First::Server)] {
            let upstream = Tcp::start(name, first).await;
            given.push((name, upstream.address.port()));
            tcp.push(upstream);
        }
        given.extend(["p", "q", "r", "s", "t", "dead"].map(|name| (name, ports::free())));
        let folder = tempfile::tempdir().unwrap();
        let world = Self { name: name.to_owned(), http, _tcp: tcp, ports: given, folder };
        fs::create_dir(world.folder.path().join("mesh")).unwrap();
        fs::write(world.folder.path().join("mesh/mesh.yaml"), world.fill(&file.mesh)).unwrap();
        if let Some(settings) = &file.mesh_config {
            fs::write(world.folder.path().join("settings.yaml"), world.fill(settings)).unwrap();
        }
        if let Some(networks) = &file.mesh_networks {
            fs::write(world.folder.path().join("networks.yaml"), world.fill(networks)).unwrap();
        }
        world
    }

    /// A text with ports for placeholders.
    pub(crate) fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, port): &(&str, u16)| {
            text.replace(&format!("{{{name}}}"), &port.to_string())
        };
        self.ports.iter().fold(text.to_owned(), fill)
    }

    /// Ports differ from run to run; their names do not.
    pub(crate) fn forget(&self, text: &str) -> String {
        let forget = |text: String, (name, port): &(&str, u16)| {
            text.replace(&port.to_string(), &format!("{{{name}}}"))
        };
        self.ports.iter().fold(text.to_owned(), forget)
    }

    /// The upstream that listens at a port.
    pub(crate) fn upstream(&self, port: &str) -> Option<&'static str> {
        self.ports.iter().find(|(_, number)| number.to_string() == port).map(|(name, _)| *name)
    }

    /// Whether an upstream has this name.
    pub(crate) fn is_upstream(&self, name: &str) -> bool {
        self.ports.iter().any(|(known, _)| *known == name)
    }

    pub(crate) fn destination(&self, call: &Call) -> SocketAddr {
        format!("127.0.0.1:{}", self.fill(&call.port)).parse().unwrap()
    }

    /// Shoots all calls of a file at proxies of one kind.
    pub(crate) async fn shoot(&self, kind: Proxy, file: &File) -> Vec<Shot> {
        let (_control_plane, xds) = self.control_plane(file);
        let callers: BTreeSet<_> =
            file.calls.iter().map(|call| (call.through, call.from.as_deref())).collect();
        let mut shots: Vec<Shot> = file.calls.iter().map(|_| Ok(None)).collect();
        // One after the other: sidecars of several workloads listen at the same ports.
        for (through, from) in callers {
            let proxy = self.proxy(kind, through, (file, from), &xds).await;
            let theirs = |call: &&Call| (call.through, call.from.as_deref()) == (through, from);
            for (at, call) in file.calls.iter().enumerate().filter(|(_, call)| theirs(call)) {
                shots[at] = if call.shares.is_empty() {
                    self.once(kind, at, call).await.map(Some)
                } else {
                    self.shares(call).await.map(|()| None)
                };
            }
            drop(proxy);
        }
        shots
    }

    fn control_plane(&self, file: &File) -> (Process, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command.args(["control-plane", "--xds", "127.0.0.1:0", "--monitoring", "127.0.0.1:0", "--config"]);
        command.arg(self.folder.path().join("mesh"));
        if file.mesh_networks.is_some() {
            command.arg("--mesh-networks").arg(self.folder.path().join("networks.yaml"));
        }
        if file.mesh_config.is_some() {
            command.arg("--mesh-config").arg(self.folder.path().join("settings.yaml"));
        }
        let process = Process::start(&mut command);
        let line = process.wait_for("xds=", PATIENCE);
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("xds="));
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        (process, address)
    }

    async fn proxy(
        &self,
        kind: Proxy,
        through: Through,
        (file, from): (&File, Option<&str>),
        xds: &str,
    ) -> Running {
        let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let node = node(through, from.map(|name| (name, &file.clients[name])));
        let bootstrap = Bootstrap { node: &node, discovery: xds, admin }.render();
        let file = self.folder.path().join(format!("{kind:?}-{through:?}-{}.json", node.name));
        fs::write(&file, bootstrap.to_string()).unwrap();
        Running::start(kind.command(env!("CARGO_BIN_EXE_meltemi")).arg("-c").arg(&file), admin).await
    }

    async fn once(&self, kind: Proxy, at: usize, call: &Call) -> Result<Outcome, String> {
        if let Some(opening) = &call.tcp {
            return self.connect(call, opening).await.map_err(|error| error.to_string());
        }
        let id = format!("{}-{at}-{kind:?}", self.name);
        let extra = call.mirrored.as_ref().map(|_| ("x-call", id.as_str()));
        let request = self.request(call, extra).replace("{call}", &id);
        let answer = raw::exchange(self.destination(call), request.as_bytes(), PATIENCE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if let Some(upstream) = &call.mirrored {
            self.await_copy(upstream, &id).await?;
        }
        let mut outcome = table::outcome(&answer, |text| self.forget(&text.replace(&id, "{call}")));
        if let Some(seen) = &mut outcome.seen {
            seen.headers.retain(|(name, _)| name != "x-call");
        }
        Ok(outcome)
    }

    async fn await_copy(&self, upstream: &str, id: &str) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.http[upstream].saw("x-call", id).is_none() {
            if tokio::time::Instant::now() > deadline {
                return Err(format!("{upstream} got no copy"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn request(&self, call: &Call, extra: Option<(&str, &str)>) -> String {
        let mut text =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\n", call.method, call.path, self.fill(&call.host));
        for (name, value) in
            call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(extra)
        {
            for value in value.split('\n') {
                text += &format!("{name}: {}\r\n", self.fill(value));
            }
        }
        if !call.body.is_empty() {
            text += &format!("content-length: {}\r\n", call.body.len());
        }
        text + "\r\n" + &call.body
    }

    /// A TCP call: status 200 with what the upstream said, or 0 when it said nothing.
    async fn connect(&self, call: &Call, opening: &super::Tcp) -> std::io::Result<Outcome> {
        let mut stream = tokio::net::TcpStream::connect(self.destination(call)).await?;
        match opening {
            super::Tcp::Says(text) => stream.write_all(text.as_bytes()).await?,
            super::Tcp::Sni(name) => stream.write_all(&client_hello(name)).await?,
            super::Tcp::Waits => {}
        }
        let mut said = Vec::new();
        // A reset is an end like another: what counts is what was said before.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await?;
        let body = String::from_utf8_lossy(&said).trim_end().to_owned();
        let status = if body.is_empty() { 0 } else { 200 };
        Ok(Outcome { status, headers: Vec::new(), body, closed: true, seen: None })
    }

    /// Many calls, counted by upstream. Once in some thousand times chance alone leads more than four standard deviations
    /// astray, but not twice in a row.
    async fn shares(&self, call: &Call) -> Result<(), String> {
        match self.measure(call).await? {
            Some(_) => self.measure(call).await?.map_or(Ok(()), Err),
            None => Ok(()),
        }
    }

    /// What is not as the shares say, within four standard deviations.
    async fn measure(&self, call: &Call) -> Result<Option<String>, String> {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..MANY {
            let outcome = match &call.tcp {
                Some(opening) => self.connect(call, opening).await,
                None => {
                    let request = self.request(call, None);
                    let answer = raw::exchange(self.destination(call), request.as_bytes(), PATIENCE).await;
                    answer.map(|answer| table::outcome(&answer, |text| self.forget(text)))
                }
            };
            let outcome = outcome.map_err(|error| error.to_string())?;
            let by = outcome.seen.map_or(outcome.body, |seen| seen.upstream);
            *counts.entry(if by.is_empty() { outcome.status.to_string() } else { by }).or_default() += 1;
        }
        for (upstream, percent) in &call.shares {
            let share = f64::from(*percent) / 100.0;
            let (expected, got) =
                (share * f64::from(MANY), f64::from(counts.remove(upstream).unwrap_or_default()));
            let deviation = (f64::from(MANY) * share * (1.0 - share)).sqrt();
            if (got - expected).abs() > 4.0 * deviation {
                return Ok(Some(format!("{upstream} got {got} of {MANY}, not about {expected}")));
            }
        }
        Ok((!counts.is_empty()).then(|| format!("others got some: {counts:?}")))
    }
}

/// Who the calling workload's sidecar, or the gateway, says it is.
pub(crate) fn node(through: Through, from: Option<(&str, &Client)>) -> Node {
    let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let (role, name, namespace, labels) = match (through, from) {
        (Through::Gateway, _) => (Role::Gateway, "gateway", "default", label("istio", "ingressgateway")),
        (Through::Sidecar, None) => (Role::Sidecar, "client", "default", label("app", "client")),
        (Through::Sidecar, Some((name, client))) => {
            (Role::Sidecar, name, &*client.namespace, client.labels.clone())
        }
    };
    let said = from.into_iter().flat_map(|(_, client)| &client.says);
    Node {
        role,
        // Not where the upstreams are: their ports would be the workload's own.
        address: [127, 0, 0, 9].into(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        trust_domain: "cluster.local".to_owned(),
        labels,
        service_account: "default".to_owned(),
        owner: name.to_owned(),
        locality: String::new(),
        metadata: said.map(|(key, value)| (key.clone(), value.as_str().into())).collect(),
    }
}
