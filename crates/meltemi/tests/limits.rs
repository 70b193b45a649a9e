//! Scenes of several calls at once, run through Meltemi's proxy and through a real Envoy with the same bootstrap: what waits,
//! what is refused, in which order answers come, and what the statistics say meanwhile and afterwards. Each file of `limits/`
//! is a list of clusters and of scenes; every scene has a cluster of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
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
use tokio::{net::TcpListener, task::JoinHandle};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the file is about; for its reader.
    #[allow(dead_code, reason = "documentation inside the data")]
    about: String,
    /// Clusters, one a line, in Envoy's words but for `hosts: N` in place of endpoints: 1 unless said otherwise, 0 is a port
    /// where nobody listens, `silent` one where nobody answers. Paths that begin with `/<name>/` lead to them.
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
    /// Calls in the order in which their answers came.
    #[serde(default)]
    order: Vec<usize>,
    /// `health_flags` of the first host afterwards.
    flags: Option<String>,
    during: Option<During>,
    /// Of the cluster, when all is over.
    #[serde(default)]
    stats: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// Milliseconds after the scene began.
    #[serde(default)]
    at: u64,
    /// Milliseconds that the upstream takes.
    #[serde(default)]
    delay: u64,
    /// Bytes of the answer's body.
    #[serde(default)]
    body: usize,
    /// So many tries get 503.
    #[serde(default)]
    fails: u32,
    /// Milliseconds after which the client gives up.
    leaves: Option<u64>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// What the statistics say in the middle of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct During {
    at: u64,
    stats: BTreeMap<String, i64>,
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
        let (_process, admin) =
            proxy.start(env!("CARGO_BIN_EXE_meltemi"), &bootstrap(&file, main, &ports), temp.path()).await;
        // Scenes do not disturb each other: each has its cluster.
        let scenes = file.scenes.iter().map(|scene| async move {
            let found = play(scene, main, admin).await;
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
        routes += &format!(
            "              - {{match: {{prefix: /{name}/}}, route: {{cluster: {name}, retry_policy: {{retry_on: 5xx, \
             num_retries: 1, retry_back_off: {{base_interval: 0.001s}}}}}}}}\n"
        );
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

async fn get(admin: SocketAddr, path: &str) -> Option<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    raw::exchange(admin, request.as_bytes(), PATIENCE).await.ok()
}

/// Plays a scene; what was not as it should be.
async fn play(scene: &Scene, main: SocketAddr, admin: SocketAddr) -> Vec<String> {
    let begun = Instant::now();
    let calls = scene.calls.iter().enumerate().map(|(at, call)| async move {
        tokio::time::sleep_until((begun + Duration::from_millis(call.at)).into()).await;
        let sent = Instant::now();
        let answer = send(scene, at, call, main).await;
        (answer, begun.elapsed(), sent.elapsed())
    });
    let during = async {
        let Some(during) = &scene.during else { return Vec::new() };
        tokio::time::sleep_until((begun + Duration::from_millis(during.at)).into()).await;
        compare("meanwhile", &during.stats, &stats(admin, &scene.cluster).await)
    };
    let (answers, mut problems) = tokio::join!(join_all(calls), during);
    for (at, (answer, _, took)) in answers.iter().enumerate() {
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
    let mut order: Vec<_> = (0..answers.len()).collect();
    order.sort_by_key(|at| answers[*at].1);
    if !scene.order.is_empty() && order != scene.order {
        problems.push(format!("answered in order {order:?}, not {:?}", scene.order));
    }
    // What a connection's end is counted as takes a moment.
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let mut wrong = compare("afterwards", &scene.stats, &stats(admin, &scene.cluster).await);
        if let Some(wanted) = &scene.flags {
            let got = flags(admin, &scene.cluster).await;
            wrong.extend((got != *wanted).then(|| format!("health_flags: wanted {wanted}, got {got}")));
        }
        if wrong.is_empty() || Instant::now() > deadline {
            problems.extend(wrong);
            return problems;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn send(scene: &Scene, at: usize, call: &Call, main: SocketAddr) -> Option<Answer> {
    let mut text = format!("GET /{}/{at} HTTP/1.1\r\nhost: service.example\r\n", scene.cluster);
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
    text += "\r\n";
    let patience = call.leaves.map_or(PATIENCE, Duration::from_millis);
    tokio::time::timeout(patience, raw::exchange(main, text.as_bytes(), PATIENCE)).await.ok()?.ok()
}

/// A cluster's counters and gauges.
async fn stats(admin: SocketAddr, cluster: &str) -> BTreeMap<String, i64> {
    let prefix = format!("cluster.{cluster}.");
    let answer = get(admin, &format!("/stats?filter=%5Ecluster.{cluster}%5C.")).await.unwrap();
    let lines = answer.body.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once(": "));
    lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// What is said of the health of a cluster's first host.
async fn flags(admin: SocketAddr, cluster: &str) -> String {
    let answer = get(admin, "/clusters").await.unwrap();
    let hosts = answer.body.lines().filter(|line| line.starts_with(&format!("{cluster}::")));
    let found = hosts.filter_map(|line| Some(line.split_once("::health_flags::")?.1.to_owned())).next();
    found.unwrap_or_default()
}

fn compare(when: &str, wanted: &BTreeMap<String, i64>, got: &BTreeMap<String, i64>) -> Vec<String> {
    let wrong = wanted.iter().filter(|(name, wanted)| got.get(*name) != Some(*wanted));
    wrong.map(|(name, wanted)| format!("{when} {name}: wanted {wanted}, got {:?}", got.get(name))).collect()
}
