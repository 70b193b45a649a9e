//! What Istio's traffic resources mean, as tables of calls: each file of `routing/` is a mesh with calls and what must come of
//! them, run three ways: through the pure matcher, through Meltemi's proxies and through Envoys, all programmed by our pilot.
//!
//! Each way must meet the expectations, and the two proxies must agree on everything else that client and upstream can see,
//! unless a call says in `differs` why they do not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "routing/matcher.rs"]
mod matcher;
#[path = "routing/world.rs"]
mod world;

use std::{collections::BTreeMap, fs, path::Path};

use futures_util::{StreamExt, stream};
use meltemi_testkit::{
    peers,
    proxy::Proxy,
    table::{Expect, Outcome, judge},
};
use serde::Deserialize;
use world::World;

/// A mesh and the calls into it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the file is about; for its reader.
    #[allow(dead_code, reason = "documentation inside the data")]
    about: String,
    /// Lines of the feature inventory that it shows.
    #[allow(dead_code, reason = "documentation inside the data")]
    inventory: String,
    /// The mesh's settings (MeshConfig), if they are not the defaults.
    mesh_config: Option<String>,
    /// The mesh's networks (MeshNetworks), if it has any.
    mesh_networks: Option<String>,
    /// The resources. `{p}` … `{t}` are ports to listen at; `{a}` … `{d}` HTTP upstreams, `{ta}` `{tb}` TCP upstreams, `{sa}` one
    /// that speaks first, `{dead}` a port where nothing is; all on 127.0.0.1. In calls, `{call}` is a text that no other call has.
    mesh: String,
    /// Workloads that call, beside `client` of `default` with the label `app: client`.
    #[serde(default)]
    clients: BTreeMap<String, Client>,
    calls: Vec<Call>,
}

/// A workload that calls through its sidecar.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// What its sidecar says of itself besides (metadata of the node).
    #[serde(default)]
    says: BTreeMap<String, String>,
}

/// Which proxy is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Through {
    /// The sidecar of the calling workload: `client` in `default`, labelled `app: client`.
    #[default]
    Sidecar,
    /// A gateway labelled `istio: ingressgateway`.
    Gateway,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    #[serde(default)]
    through: Through,
    /// Who calls, one of `clients`.
    from: Option<String>,
    /// Where the client connects to on 127.0.0.1.
    #[serde(default = "port")]
    port: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "root")]
    path: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// A TCP connection instead of a request: what the client says first.
    tcp: Option<Tcp>,
    #[serde(default)]
    expect: Expect,
    /// Instead of one expectation: shares of many calls, in percent.
    #[serde(default)]
    shares: BTreeMap<String, u32>,
    /// Shares as endpoints alone make them, for the pure matcher where a proxy weighs more than that.
    #[serde(default)]
    at_rest: BTreeMap<String, u32>,
    /// The upstream that gets a copy.
    mirrored: Option<String>,
    /// Whether the call is to the workload and not from it.
    #[serde(default)]
    inbound: bool,
    /// Why Meltemi answered by itself, in the header [`REASON`]; `explain` foretells it where configuration decides.
    reason: Option<String>,
    /// What the pure matcher says where the answer depends on more than routes (faults, timeouts, CORS).
    matcher: Option<Expect>,
    /// Why our outcome differs from Envoy's on purpose.
    differs: Option<String>,
    /// What Envoy does then, if `expect` does not hold for it.
    envoy: Option<Expect>,
}

/// The header that tables ask for in their mesh's settings; Envoy has none.
const REASON: &str = "x-meltemi-reason";

/// How a TCP client begins.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tcp {
    /// With some bytes.
    Says(String),
    /// With a ClientHello for this server name.
    Sni(String),
    /// Not at all: it waits for the server.
    Waits,
}

impl Call {
    fn expectation(&self, kind: Proxy) -> &Expect {
        self.envoy.as_ref().filter(|_| kind == Proxy::Envoy).unwrap_or(&self.expect)
    }
}

fn get() -> String {
    "GET".into()
}

fn root() -> String {
    "/".into()
}

fn port() -> String {
    "{p}".into()
}

/// The tables together; more calls may come, none may get lost.
const AT_LEAST: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_ways_agree() {
    let files = files();
    let calls: usize = files.iter().map(|(_, file)| file.calls.len()).sum();
    assert!(
        std::env::var_os("ROUTING").is_some_and(|only| !only.is_empty()) || calls >= AT_LEAST,
        "only {calls} calls are left"
    );
    let runs = files.iter().map(|(name, file)| run(name, file));
    let problems: Vec<Vec<String>> = stream::iter(runs).buffer_unordered(3).collect().await;
    let problems = problems.concat();
    assert!(problems.is_empty(), "{} of {calls} calls:\n{}", problems.len(), problems.join("\n"));
    println!("{calls} calls in {} files agree three ways", files.len());
}

fn files() -> Vec<(String, File)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routing");
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    // `ROUTING=name` runs one file.
    let only = std::env::var("ROUTING").ok().filter(|only| !only.is_empty());
    let parsed = paths.iter().map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = serde_saphyr::from_str(&fs::read_to_string(path).unwrap());
        (name, file.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    });
    parsed.filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)).collect()
}

/// The problems of one file.
async fn run(name: &str, file: &File) -> Vec<String> {
    let world = World::new(name, file).await;
    let mut problems = matcher::check(&world, file);
    let ours = world.shoot(Proxy::Meltemi, file).await;
    problems.extend(met(name, file, Proxy::Meltemi, &ours));
    if peers::require("envoy").is_some() {
        let theirs = world.shoot(Proxy::Envoy, file).await;
        problems.extend(met(name, file, Proxy::Envoy, &theirs));
        problems.extend(same(name, file, &ours, &theirs));
    }
    problems
}

fn met(name: &str, file: &File, kind: Proxy, results: &[world::Shot]) -> Vec<String> {
    let mut problems = Vec::new();
    for (call, result) in file.calls.iter().zip(results) {
        let found = match result {
            Err(problem) => vec![problem.clone()],
            Ok(None) => Vec::new(),
            Ok(Some(outcome)) => {
                let mut found = judge(call.expectation(kind), outcome);
                let said = outcome.headers.iter().find(|(name, _)| name == REASON).map(|(_, value)| value);
                if kind == Proxy::Meltemi && said != call.reason.as_ref() {
                    found.push(format!("reason {said:?}, wanted {:?}", call.reason));
                }
                found
            }
        };
        problems
            .extend(found.into_iter().map(|problem| format!("{name}, {kind:?}: {}: {problem}", call.name)));
    }
    problems
}

fn same(name: &str, file: &File, ours: &[world::Shot], theirs: &[world::Shot]) -> Vec<String> {
    let both = file.calls.iter().zip(ours.iter().zip(theirs));
    let compared = both.filter_map(|(call, results)| match results {
        (Ok(Some(ours)), Ok(Some(theirs))) if call.differs.is_none() => Some((call, ours, theirs)),
        _ => None,
    });
    compared
        .filter(|(_, ours, theirs)| without_reason(ours) != **theirs)
        .map(|(call, ours, theirs)| {
            format!("{name}: {} differs\n   meltemi {}\n   envoy   {}", call.name, shown(ours), shown(theirs))
        })
        .collect()
}

fn without_reason(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    outcome.headers.retain(|(name, _)| name != REASON);
    outcome
}

fn shown(outcome: &Outcome) -> String {
    format!("{outcome:?}")
}
