//! One table of calls, two proxies: every file of `calls/` is a bootstrap with calls and what must come of them, run through
//! `meltemi proxy` and through a real Envoy. Each must meet the expectations, and the two must agree on everything else
//! that client and upstream can see, unless the call says in `differs` why they do not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use meltemi_testkit::{
    echo::Echo,
    peers, ports,
    proxy::Proxy,
    raw,
    table::{self, Expect, Outcome, judge},
};
use serde::Deserialize;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the file is about; for its reader.
    #[allow(dead_code, reason = "documentation inside the data")]
    about: String,
    /// Envoy bootstrap without admin; `{main}`, `{a}`, `{b}`, `{dead}` are ports.
    bootstrap: String,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "root")]
    path: String,
    #[serde(default = "host")]
    host: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The exact bytes instead of the fields above; lines end in LF here and in CRLF on the wire.
    raw: Option<String>,
    /// The same as they are, a character a byte (Latin-1); `<70000 x>` stands for so many of `x`, `|` in it for a line's end.
    bytes: Option<String>,
    expect: Expect,
    /// Why our outcome differs from Envoy's on purpose.
    differs: Option<String>,
    /// What Envoy does then, if `expect` does not hold for it.
    envoy: Option<Expect>,
}

impl Call {
    fn expectation(&self, proxy: Proxy) -> &Expect {
        self.envoy.as_ref().filter(|_| proxy == Proxy::Envoy).unwrap_or(&self.expect)
    }
}

fn get() -> String {
    "GET".into()
}

fn root() -> String {
    "/".into()
}

fn host() -> String {
    "service.example".into()
}

struct World {
    main: u16,
    dead: u16,
    a: Echo,
    b: Echo,
}

impl World {
    async fn new() -> Self {
        Self {
            main: ports::free(),
            dead: ports::free(),
            a: Echo::start("a").await,
            b: Echo::start("b").await,
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{main}", &self.main.to_string())
            .replace("{dead}", &self.dead.to_string())
            .replace("{a}", &self.a.address.port().to_string())
            .replace("{b}", &self.b.address.port().to_string())
    }

    /// Ports differ from run to run; their names do not.
    fn forget(&self, text: &str) -> String {
        text.replace(&self.main.to_string(), "{main}")
            .replace(&self.dead.to_string(), "{dead}")
            .replace(&self.a.address.port().to_string(), "{a}")
            .replace(&self.b.address.port().to_string(), "{b}")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meltemi_meets_the_table() {
    let problems =
        run_all(Proxy::Meltemi).await.into_iter().flat_map(|(_, _, problems)| problems).collect::<Vec<_>>();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_meets_the_table() {
    if peers::require("envoy").is_none() {
        return;
    }
    let problems =
        run_all(Proxy::Envoy).await.into_iter().flat_map(|(_, _, problems)| problems).collect::<Vec<_>>();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meltemi_and_envoy_agree() {
    if peers::require("envoy").is_none() {
        return;
    }
    let (ours, theirs) = (run_all(Proxy::Meltemi).await, run_all(Proxy::Envoy).await);
    let mut problems = Vec::new();
    for ((name, ours, _), (_, theirs, _)) in ours.iter().zip(&theirs) {
        if ours != theirs {
            problems.push(format!("{name}\n   meltemi {ours:?}\n   envoy   {theirs:?}"));
        }
    }
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

/// All calls of all files: name, outcome (`None` where a difference is declared), failed expectations.
async fn run_all(proxy: Proxy) -> Vec<(String, Option<Outcome>, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calls");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    // `CALLS=name` runs one file.
    if let Some(only) = std::env::var("CALLS").ok().filter(|only| !only.is_empty()) {
        files.retain(|file| file.file_stem().is_some_and(|stem| *stem == *only));
    }
    assert!(!files.is_empty(), "no calls in {}", folder.display());
    let mut results = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let parsed: File =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let title = file.file_stem().unwrap().to_string_lossy().into_owned();
        run_file(proxy, &title, &parsed, &mut results).await;
    }
    results
}

async fn run_file(
    proxy: Proxy,
    title: &str,
    file: &File,
    results: &mut Vec<(String, Option<Outcome>, Vec<String>)>,
) {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let _running =
        proxy.start(env!("CARGO_BIN_EXE_meltemi"), &world.fill(&file.bootstrap), folder.path()).await;
    for call in &file.calls {
        let name = format!("{title}: {}", call.name);
        let (outcome, problems) = match perform(&world, call).await {
            Ok(outcome) => {
                let problems = judge(call.expectation(proxy), &outcome)
                    .into_iter()
                    .map(|p| format!("{name}: {p}"))
                    .collect();
                (Some(outcome), problems)
            }
            Err(error) => (None, vec![format!("{name}: {error}")]),
        };
        results.push((name, outcome.filter(|_| call.differs.is_none()), problems));
    }
}

async fn perform(world: &World, call: &Call) -> std::io::Result<Outcome> {
    let bytes = match (&call.raw, &call.bytes) {
        (_, Some(bytes)) => latin1(&repeated(bytes)),
        (Some(raw), None) => world.fill(raw).replace('\n', "\r\n").into_bytes(),
        (None, None) => request(call, world).into_bytes(),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], world.main));
    let answer = raw::exchange(address, &bytes, PATIENCE).await?;
    Ok(table::outcome(&answer, |text| world.forget(text)))
}

/// A text with `<count what>` written out.
fn repeated(text: &str) -> String {
    let Some((before, rest)) = text.split_once('<') else { return text.to_owned() };
    let found = rest.split_once('>').and_then(|(inside, after)| {
        let (count, what) = inside.split_once(' ')?;
        Some((count.parse::<usize>().ok()?, what.replace('|', "\r\n"), after))
    });
    match found {
        Some((count, what, after)) => format!("{before}{}{}", what.repeat(count), repeated(after)),
        None => format!("{before}<{}", repeated(rest)),
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("invariant: bytes are written as Latin-1"))
        .collect()
}

fn request(call: &Call, world: &World) -> String {
    let mut text = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", call.method, call.path, world.fill(&call.host));
    for (name, value) in &call.headers {
        for value in value.split('\n') {
            text += &format!("{name}: {}\r\n", world.fill(value));
        }
    }
    if !call.body.is_empty() {
        text += &format!("content-length: {}\r\n", call.body.len());
    }
    text + "\r\n" + &call.body
}
