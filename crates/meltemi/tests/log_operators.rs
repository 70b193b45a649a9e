//! `log_operators.yaml`: what access logs say of a request, through Meltemi's proxy and through a real Envoy with the same bootstrap.
//!
//! Every format of a scene is a log of its own, with a file of its own. Invariant: the proxy is asked to end before its files are
//! read, so that what is not in them was not logged.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fmt::Write as _, path::Path, time::Duration};

use meltemi_testkit::{peers, ports, proxy::Proxy};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MELTEMI: &str = env!("CARGO_BIN_EXE_meltemi");
const TYPES: &str = "type.googleapis.com/envoy.extensions";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Table {
    scenes: Vec<Scene>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    name: String,
    #[serde(default)]
    tcp: bool,
    #[serde(default)]
    dead: bool,
    #[serde(default)]
    unmatched: bool,
    request: String,
    #[serde(default = "ok")]
    answer: String,
    #[serde(default)]
    route: Map<String, Value>,
    #[serde(default)]
    virtual_host: Map<String, Value>,
    #[serde(default)]
    cluster: Map<String, Value>,
    #[serde(default)]
    endpoint: Map<String, Value>,
    #[serde(default)]
    listener: Map<String, Value>,
    #[serde(default)]
    chain: Map<String, Value>,
    #[serde(default)]
    hcm: Map<String, Value>,
    #[serde(default)]
    tcp_proxy: Map<String, Value>,
    logs: Vec<Entry>,
}

fn ok() -> String {
    "HTTP/1.1 200 OK\ncontent-length: 2\n\nok".to_owned()
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Entry {
    text: Option<String>,
    json: Option<Value>,
    cel: Option<String>,
    filter: Option<Value>,
    options: Option<Value>,
    line: Option<String>,
    typed: Option<String>,
    passes: Option<bool>,
}

#[derive(Deserialize)]
struct Refused {
    text: Option<String>,
    filter: Option<Value>,
    because: String,
}

/// One file: what is logged to it, and what must be in it.
struct Log {
    format: Value,
    filter: Option<Value>,
    wanted: String,
}

impl Entry {
    fn logs(&self) -> Vec<Log> {
        let wanted = |passes| if passes { "passed".to_owned() } else { String::new() };
        if let Some(expression) = &self.cel {
            let typed = json!({"json_format": {"v": format!("%TYPED_CEL({expression})%")}});
            let filter = json!({"extension_filter": {"name": "cel", "typed_config": {
                "@type": format!("{TYPES}.access_loggers.filters.cel.v3.ExpressionFilter"), "expression": expression}}});
            let value = self.json.as_ref().and_then(Value::as_str).unwrap();
            return vec![
                Log {
                    format: text(&format!("%CEL({expression})%")),
                    filter: None,
                    wanted: self.text.clone().unwrap(),
                },
                Log { format: typed, filter: None, wanted: format!("{{\"v\":{value}}}") },
                Log { format: text("passed"), filter: Some(filter), wanted: wanted(self.passes.unwrap()) },
            ];
        }
        let filter = self.filter.clone();
        if let Some(passes) = self.passes {
            return vec![Log { format: text("passed"), filter, wanted: wanted(passes) }];
        }
        let mut format = match (&self.text, &self.json) {
            (Some(line), None) => text(line),
            (None, Some(fields)) => json!({"json_format": fields}),
            _ => panic!("text or json"),
        };
        if let Some(options) = &self.options {
            lay_over(&mut format, options.as_object().unwrap());
        }
        let mut logs = vec![Log { format, filter, wanted: self.line.clone().unwrap() }];
        if let (Some(value), Some(line)) = (&self.typed, &self.text) {
            let format = json!({"json_format": {"v": line}});
            logs.push(Log { format, filter: None, wanted: format!("{{\"v\":{value}}}") });
        }
        logs
    }
}

fn text(line: &str) -> Value {
    json!({"text_format_source": {"inline_string": format!("{line}\n")}})
}

fn lay_over(onto: &mut Value, fields: &Map<String, Value>) {
    let onto = onto.as_object_mut().unwrap();
    onto.extend(fields.iter().map(|(key, value)| (key.clone(), value.clone())));
}

fn table() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/log_operators.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn meltemi_logs_what_stands_in_the_table() {
    play(Proxy::Meltemi).await;
}

#[tokio::test]
async fn envoy_logs_what_stands_in_the_table() {
    if peers::require("envoy").is_some() {
        play(Proxy::Envoy).await;
    }
}

async fn play(proxy: Proxy) {
    let mut wrong = String::new();
    for scene in table().scenes {
        let logs: Vec<_> = scene.logs.iter().flat_map(Entry::logs).collect();
        let said = scene.play(proxy, &logs).await;
        for (log, said) in logs.iter().zip(said) {
            if !pattern(&log.wanted).is_match(&said) {
                let (format, wanted) = (&log.format, &log.wanted);
                writeln!(
                    wrong,
                    "{}: {format} {:?}\n  wanted {wanted}\n  was    {said}",
                    scene.name, log.filter
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{proxy:?}:\n{wrong}");
}

/// The line with its placeholders.
fn pattern(wanted: &str) -> Regex {
    let mut pattern = regex::escape(wanted);
    for (name, means) in [
        ("<port>", r"\d{4,5}"),
        ("<n>", r"\d+"),
        ("<time>", r"[^\n]{2,}"),
        ("<uuid>", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("<host>", r"\S+"),
    ] {
        pattern = pattern.replace(&regex::escape(name), means);
    }
    Regex::new(&format!("(?s)^{pattern}$")).unwrap()
}

impl Scene {
    /// What is in the logs' files.
    async fn play(&self, proxy: Proxy, logs: &[Log]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let (port, backend) = (ports::free(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let upstream = if self.dead { ports::free() } else { backend.local_addr().unwrap().port() };
        let (answer, tcp) = (bytes(&self.answer, !self.tcp), self.tcp);
        let backend = tokio::spawn(serve(backend, answer, tcp));
        let files = |at: usize| folder.path().join(format!("{at}.log"));
        let configs = logs.iter().enumerate().map(|(at, log)| log.config(&files(at))).collect();
        let bootstrap = self.bootstrap(configs, port, upstream);
        let keys = bootstrap.as_object().unwrap().iter();
        let bootstrap: String = keys.map(|(key, value)| format!("{key}: {value}\n")).collect();
        // Asked for by one of the operators.
        let mut running =
            proxy.start_with(MELTEMI, &bootstrap, folder.path(), &[("LOGGED", "from-environment")]).await;
        self.ask(port).await;
        // The last log that must say something has it; all others of that record were decided before it.
        let last = logs.iter().rposition(|log| !log.wanted.is_empty()).unwrap();
        let lines = logs[last].wanted.lines().count();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while std::fs::read_to_string(files(last)).unwrap_or_default().lines().count() < lines {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{}: nothing is logged:\n{}",
                self.name,
                running.process.said()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.process.signal("TERM");
        assert!(running.process.wait(PATIENCE).is_some(), "{} does not end", self.name);
        backend.abort();
        let read =
            |at| std::fs::read_to_string(files(at)).unwrap_or_default().trim_end_matches('\n').to_owned();
        (0..logs.len()).map(read).collect()
    }

    /// Sends the request and reads the answer until nobody could say more.
    async fn ask(&self, port: u16) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // A connection that no filter chain takes may be gone already.
        let _ = stream.write_all(&bytes(&self.request, !self.tcp)).await;
        let mut said = Vec::new();
        if self.tcp {
            let _ = stream.read_to_end(&mut said).await;
            return;
        }
        while !is_whole(&said) {
            assert_ne!(
                stream.read_buf(&mut said).await.unwrap(),
                0,
                "{}: the answer ends too early",
                self.name
            );
        }
    }

    fn bootstrap(&self, logs: Vec<Value>, port: u16, upstream: u16) -> Value {
        let own = |mut value: Value, fields: &Map<String, Value>| {
            lay_over(&mut value, fields);
            value
        };
        let mut route = json!({"match": {"prefix": "/"}});
        if !self.route.contains_key("direct_response") {
            route["route"] = json!({"cluster": "backend"});
        }
        let host = json!({"name": "all", "domains": ["*"], "routes": [own(route, &self.route)]});
        let address = |port| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let (of_filter, of_listener) = if self.unmatched { (vec![], logs) } else { (logs, vec![]) };
        let filter = match self.tcp {
            true => own(
                json!({"@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": "main",
                    "cluster": "backend", "access_log": of_filter}),
                &self.tcp_proxy,
            ),
            false => own(
                json!({"@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "main", "access_log": of_filter,
                    "http_filters": [{"name": "router", "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")}}],
                    "route_config": {"name": "table", "virtual_hosts": [own(host, &self.virtual_host)]}}),
                &self.hcm,
            ),
        };
        let chain = own(
            json!({"name": "chain", "filters": [{"name": "terminal", "typed_config": filter}]}),
            &self.chain,
        );
        let listener = json!({"name": "main", "address": address(port), "filter_chains": [chain], "access_log": of_listener});
        let endpoint = json!({"endpoint": {"address": address(upstream), "hostname": "backend.example"}});
        let endpoints = json!([{"lb_endpoints": [own(endpoint, &self.endpoint)]}]);
        let cluster = json!({"name": "backend", "alt_stat_name": "backend-stats",
            "load_assignment": {"cluster_name": "backend", "endpoints": endpoints}});
        json!({"node": {"id": "node-1", "cluster": "cluster-1"}, "static_resources": {
            "listeners": [own(listener, &self.listener)], "clusters": [own(cluster, &self.cluster)]}})
    }
}

impl Log {
    fn config(&self, file: &Path) -> Value {
        let mut config = json!({"name": "file", "typed_config": {
            "@type": format!("{TYPES}.access_loggers.file.v3.FileAccessLog"), "path": file, "log_format": self.format}});
        if let Some(filter) = &self.filter {
            config["filter"] = filter.clone();
        }
        config
    }
}

/// A message of the table as it is on the wire.
fn bytes(message: &str, http: bool) -> Vec<u8> {
    if http { message.replace('\n', "\r\n").into_bytes() } else { message.as_bytes().to_vec() }
}

/// True when an answer has arrived to its end: all of the table's that have a body say how long it is, or come in chunks.
fn is_whole(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    let Some((head, body)) = said.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.split("content-length: ").nth(1) {
        Some(length) => body.len() >= length.lines().next().unwrap().parse::<usize>().unwrap(),
        None => body.contains("0\r\n") && body.ends_with("\r\n\r\n"),
    }
}

/// Reads a request (of HTTP, with the body that it announces) and answers, again and again; bytes alone are answered once.
async fn serve(listener: TcpListener, answer: Vec<u8>, tcp: bool) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Ok(n) = stream.read_buf(&mut seen).await {
                if n == 0 {
                    return;
                }
                if !tcp && !is_request(&seen) {
                    continue;
                }
                seen.clear();
                if stream.write_all(&answer).await.is_err() || tcp {
                    return;
                }
            }
        });
    }
}

fn is_request(seen: &[u8]) -> bool {
    let seen = String::from_utf8_lossy(seen);
    let Some((head, body)) = seen.split_once("\r\n\r\n") else { return false };
    let length =
        head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

#[tokio::test]
async fn what_is_refused_is_refused_by_name() {
    let envoy = peers::require("envoy");
    let folder = tempfile::tempdir().unwrap();
    for refused in table().refused {
        let scene: Scene =
            serde_json::from_value(json!({"name": "refused", "request": "", "logs": []})).unwrap();
        let format = text(refused.text.as_deref().unwrap_or("x"));
        let log = Log { format, filter: refused.filter.clone(), wanted: String::new() };
        let config = log.config(&folder.path().join("log"));
        let what = format!("{:?} {:?}", refused.text, refused.filter);
        let file = folder.path().join("bootstrap.json");
        std::fs::write(&file, scene.bootstrap(vec![config], 1, 1).to_string()).unwrap();
        let ours =
            Proxy::Meltemi.command(MELTEMI).args(["--mode", "validate", "-c"]).arg(&file).output().unwrap();
        let said =
            String::from_utf8_lossy(&ours.stderr).into_owned() + &String::from_utf8_lossy(&ours.stdout);
        assert!(!ours.status.success(), "{what} is taken");
        assert!(said.contains(&refused.because), "{what}: {said}");
        if envoy.is_some() {
            let mut theirs = Proxy::Envoy.command(MELTEMI);
            let theirs = theirs.args(["--mode", "validate", "-c"]).arg(&file).output().unwrap();
            assert!(!theirs.status.success(), "Envoy takes {what}");
        }
    }
}
