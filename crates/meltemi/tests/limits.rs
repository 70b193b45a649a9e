//! Scenes of several calls at once, run through Meltemi's proxy and through a real Envoy with the same bootstrap: what waits,
//! what is refused, who is served first, and what the statistics say meanwhile and afterwards. Each file of `limits/` is a list of
//! clusters and of scenes; every scene has a cluster of its own.
//!
//! Invariant: a scene goes on when the proxy's statistics say that it may, not after some time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use meltemi_testkit::{
    echo::Echo,
    peers, ports,
    proxy::Proxy,
    raw::{self, Answer},
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

const PATIENCE: Duration = Duration::from_secs(30);

/// Names and values.
type Stats = BTreeMap<String, i64>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the file is about; for its reader.
    #[allow(dead_code, reason = "documentation inside the data")]
    about: String,
    /// Clusters, one a line, in Envoy's words but for `hosts: N` in place of endpoints: 1 unless said otherwise, 0 is a port
    /// where nobody listens, `silent` one where nobody answers. Paths that begin with `/<name>/` lead to them, those
    /// with `/high/<name>/` at priority HIGH.
    clusters: String,
    scenes: Vec<Scene>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    name: String,
    cluster: String,
    calls: Vec<Call>,
    /// Of each call; 0 is none.
    statuses: Vec<u16>,
    /// Headers of each answer.
    #[serde(default)]
    headers: Vec<BTreeMap<String, String>>,
    /// Milliseconds that each answer took, at least and at most.
    #[serde(default)]
    took: Vec<[u64; 2]>,
    /// Calls in the order in which the upstream saw them.
    #[serde(default)]
    order: Vec<usize>,
    /// `health_flags` of the first host afterwards.
    flags: Option<String>,
    /// What the cluster's statistics come to say while calls are held; then they are let go.
    #[serde(default)]
    meanwhile: Stats,
    /// Of the cluster, when all is over.
    #[serde(default)]
    stats: Stats,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// It is sent when the cluster's statistics say this.
    #[serde(default)]
    after: Stats,
    /// The upstream keeps its answer until the scene's `meanwhile` has come true.
    #[serde(default)]
    held: bool,
    /// Milliseconds that the upstream takes.
    #[serde(default)]
    delay: u64,
    /// Bytes of the answer's body.
    #[serde(default)]
    body: usize,
    /// So many tries get 503.
    #[serde(default)]
    fails: u32,
    /// On a route of priority HIGH.
    #[serde(default)]
    high: bool,
    /// The client gives up when the cluster's statistics say this.
    #[serde(default)]
    leaves: Stats,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meltemi_keeps_to_its_limits() {
    run_all(Proxy::Meltemi).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_keeps_to_the_same() {
    if peers::require("envoy").is_some() {
        run_all(Proxy::Envoy).await;
    }
}

async fn run_all(proxy: Proxy) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/limits");
    let mut problems = Vec::new();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    // `LIMITS=name` runs one file.
    if let Some(only) = std::env::var("LIMITS").ok().filter(|only| !only.is_empty()) {
        files.retain(|file| file.file_stem().is_some_and(|stem| *stem == *only));
    }
    assert!(!files.is_empty(), "no scenes in {}", folder.display());
    for path in files {
        let file: File = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (first, second) = (Echo::start("a").await, Echo::start("b").await);
        let silence = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = Ports {
            dead: ports::free(),
            silent: silence.local_addr().unwrap().port(),
            hosts: [first.address.port(), second.address.port()],
        };
        let _silent = AbortOnDrop(tokio::spawn(be_silent(silence)));
        let main = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let temp = tempfile::tempdir().unwrap();
        let proxy =
            proxy.start(env!("CARGO_BIN_EXE_meltemi"), &bootstrap(&file, main, &ports), temp.path()).await;
        let stage = &Stage { main, watched: Watched::start(proxy.admin), upstreams: [first, second] };
        // Scenes do not disturb each other: each has its cluster.
        let scenes = file.scenes.iter().map(|scene| async move {
            let found = stage.play(scene).await;
            found.into_iter().map(|problem| format!("{}: {problem}", scene.name)).collect::<Vec<_>>()
        });
        problems.extend(join_all(scenes).await.into_iter().flatten());
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

struct Ports {
    dead: u16,
    silent: u16,
    hosts: [u16; 2],
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads whatever comes and says nothing.
async fn be_silent(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        });
    }
}

/// A listener whose paths lead to the clusters.
fn bootstrap(file: &File, main: SocketAddr, ports: &Ports) -> String {
    let mut clusters = String::new();
    let mut routes = String::new();
    for line in file.clusters.lines() {
        let (head, rest) = line.split_once("name: ").unwrap();
        let name = rest.split([',', '}']).next().unwrap();
        let (count, rest) = match rest.split_once("hosts: ") {
            Some((before, after)) => {
                let end = after.find([',', '}']).unwrap();
                let rest = format!("{}{}", before.trim_end_matches([' ', ',']), &after[end..]);
                (&after[..end], rest)
            }
            None => ("1", rest.to_owned()),
        };
        let hosts = match count {
            "0" => &[ports.dead][..],
            "silent" => &[ports.silent],
            count => &ports.hosts[..count.parse().unwrap()],
        };
        let endpoints: Vec<_> = hosts
            .iter()
            .map(|port| {
                format!(
                    "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
                )
            })
            .collect();
        let assignment = format!(
            "load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{}]}}]}}",
            endpoints.join(", ")
        );
        clusters += &format!("  {head}name: {name}, {assignment}{}\n", &rest[name.len()..]);
        for (prefix, priority) in [("", "DEFAULT"), ("/high", "HIGH")] {
            routes += &format!(
                "              - {{match: {{prefix: {prefix}/{name}/}}, route: {{cluster: {name}, priority: {priority}, retry_policy: {{retry_on: 5xx, \
             num_retries: 1, retry_back_off: {{base_interval: 0.001s}}}}}}}}\n"
            );
        }
    }
    format!(
        r#"static_resources:
  clusters:
{clusters}  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters:
          - name: envoy.filters.http.fault
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, response_rate_limit: {{header_limit: {{}}, percentage: {{numerator: 100}}}}}}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
{routes}"#,
        port = main.port(),
    )
}

/// The statistics of a proxy, asked for again and again.
struct Watched {
    admin: SocketAddr,
    latest: watch::Receiver<Arc<Stats>>,
    _asking: AbortOnDrop,
}

impl Watched {
    fn start(admin: SocketAddr) -> Self {
        let (sender, latest) = watch::channel(Arc::default());
        let asking = tokio::spawn(async move {
            while let Ok(answer) = raw::get(admin, "/stats?filter=%5Ecluster%5C.", PATIENCE).await {
                let lines = answer.body.lines().filter_map(|line| line.split_once(": "));
                let stats = lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
                sender.send_replace(Arc::new(stats.collect()));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Self { admin, latest, _asking: AbortOnDrop(asking) }
    }

    /// Waits until a cluster's statistics are as wanted; what is not, when that never happens.
    async fn reach(&self, when: &str, cluster: &str, wanted: &Stats) -> Vec<String> {
        let wrong = |stats: &Stats| -> Vec<String> {
            let got = |name: &str| stats.get(&format!("cluster.{cluster}.{name}")).copied();
            let wrong = wanted.iter().filter(|(name, value)| got(name) != Some(**value));
            wrong.map(|(name, value)| format!("{when} {name}: wanted {value}, got {:?}", got(name))).collect()
        };
        let mut latest = self.latest.clone();
        let reached = latest.wait_for(|stats| wrong(stats).is_empty());
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(Ok(_)) => Vec::new(),
            _ => wrong(&self.latest.borrow()),
        }
    }

    /// The same for what is said of the health of a cluster's first host.
    async fn reach_flags(&self, cluster: &str, wanted: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = raw::get(self.admin, "/clusters", PATIENCE).await.unwrap();
            let mut hosts = answer.body.lines().filter(|line| line.starts_with(&format!("{cluster}::")));
            let got = hosts.find_map(|line| Some(line.split_once("::health_flags::")?.1));
            if got == Some(wanted) {
                return Vec::new();
            }
            if Instant::now() > deadline {
                return vec![format!("health_flags: wanted {wanted}, got {got:?}")];
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What came of a call: its answer, how long it took, and what was wrong before it was sent.
type Played = (Option<Answer>, Duration, Vec<String>);

/// A proxy in front of two upstreams.
struct Stage {
    main: SocketAddr,
    watched: Watched,
    upstreams: [Echo; 2],
}

impl Stage {
    /// Plays a scene; what was not as it should be.
    async fn play(&self, scene: &Scene) -> Vec<String> {
        let held = scene.calls.iter().any(|call| call.held);
        assert!(!held || !scene.meanwhile.is_empty(), "{}: held for nothing", scene.name);
        let calls = scene.calls.iter().enumerate().map(|(at, call)| self.call(scene, at, call));
        let meanwhile = async {
            let problems = self.watched.reach("meanwhile", &scene.cluster, &scene.meanwhile).await;
            self.upstreams.iter().for_each(|upstream| upstream.let_go(&scene.cluster));
            problems
        };
        let (played, mut problems) = tokio::join!(join_all(calls), meanwhile);
        problems.extend(judge(scene, played));
        if !scene.order.is_empty() {
            let paths = self.upstreams[0].paths();
            let prefix = format!("/{}/", scene.cluster);
            let order: Vec<usize> =
                paths.iter().filter_map(|path| path.strip_prefix(&prefix)?.parse().ok()).collect();
            let wrong = order != scene.order;
            problems.extend(wrong.then(|| format!("served in order {order:?}, not {:?}", scene.order)));
        }
        problems.extend(self.watched.reach("afterwards", &scene.cluster, &scene.stats).await);
        if let Some(flags) = &scene.flags {
            problems.extend(self.watched.reach_flags(&scene.cluster, flags).await);
        }
        problems
    }

    async fn call(&self, scene: &Scene, at: usize, call: &Call) -> Played {
        let before = format!("before call {at}");
        let problems = self.watched.reach(&before, &scene.cluster, &call.after).await;
        let sent = Instant::now();
        let text = request(scene, at, call);
        let exchange = raw::exchange(self.main, text.as_bytes(), PATIENCE);
        if call.leaves.is_empty() {
            return (exchange.await.ok(), sent.elapsed(), problems);
        }
        tokio::select! {
            answer = exchange => (answer.ok(), sent.elapsed(), problems),
            found = self.watched.reach("before it leaves", &scene.cluster, &call.leaves) => {
                (None, sent.elapsed(), [problems, found].concat())
            }
        }
    }
}

/// What is wrong with the answers.
fn judge(scene: &Scene, played: Vec<Played>) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, (answer, took, found)) in played.into_iter().enumerate() {
        problems.extend(found);
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if scene.statuses[at] != status {
            problems.push(format!("call {at}: wanted {}, got {status}", scene.statuses[at]));
        }
        let took = took.as_millis() as u64;
        if scene.took.get(at).is_some_and(|[least, most]| took < *least || took > *most) {
            problems.push(format!("call {at}: took {took} ms, not {:?}", scene.took[at]));
        }
        let received = answer.as_ref().map_or(0, |answer| answer.body.len());
        if scene.calls[at].body > 0 && received != scene.calls[at].body {
            problems.push(format!("call {at}: {received} bytes of body"));
        }
        for (name, wanted) in scene.headers.get(at).into_iter().flatten() {
            let got = answer.as_ref().and_then(|answer| raw::header(answer, name));
            if got != Some(wanted) {
                problems.push(format!("call {at}: {name}: wanted {wanted:?}, got {got:?}"));
            }
        }
    }
    problems
}

fn request(scene: &Scene, at: usize, call: &Call) -> String {
    let priority = if call.high { "/high" } else { "" };
    let mut text = format!("GET {priority}/{}/{at} HTTP/1.1\r\nhost: service.example\r\n", scene.cluster);
    if call.held {
        text += &format!("x-echo-hold: {}\r\n", scene.cluster);
    }
    if call.delay > 0 {
        text += &format!("x-echo-delay: {}\r\n", call.delay);
    }
    if call.fails > 0 {
        text += &format!("x-echo-fail-first: {}\r\nx-echo-key: {}-{at}\r\n", call.fails, scene.cluster);
    }
    if call.body > 0 {
        text += &format!("x-echo-body: {}\r\n", "x".repeat(call.body));
    }
    for (name, value) in &call.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + "\r\n"
}
