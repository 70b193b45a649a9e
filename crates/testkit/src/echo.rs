//! An upstream that answers with what it saw, and does what the request asks of it.
//!
//! Control headers: `x-echo-status: 503`, `x-echo-delay: 250` (ms before the head), `x-echo-header: name=value` (repeatable),
//! `x-echo-body: text` (instead of the description), `x-echo-reset: 1` (closes without an answer),
//! `x-echo-fail-first: N` with `x-echo-key: K` (the first N requests of that key get 503), `x-echo-hold: K` (no answer that is
//! no such 503 until the test lets K go), `x-echo-fail-until: K` (503 until then).

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// What the upstream saw of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The name that this upstream was given.
    pub upstream: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Host` or `:authority`.
    pub host: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Headers but the host, sorted by name, values of one name in order.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

/// A running echo upstream; it ends when dropped.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    log: Log,
    let_go: watch::Sender<HashSet<String>>,
    task: JoinHandle<()>,
}

/// The requests that an upstream saw, the latest last.
type Log = Arc<Mutex<Vec<Seen>>>;

/// More are not kept.
const LOG_LIMIT: usize = 10_000;

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Echo {
    /// Starts one on a free port of 127.0.0.1, speaking HTTP/1.1 and HTTP/2 with prior knowledge.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("invariant: loopback has a free port");
        let address = listener.local_addr().expect("invariant: a bound socket has an address");
        let (log, (let_go, released)) = (Log::default(), watch::channel(HashSet::new()));
        let part =
            Part { name: Arc::from(name), failures: Failures::default(), log: Arc::clone(&log), released };
        let task = tokio::spawn(serve(listener, part));
        Self { address, log, let_go, task }
    }

    /// Lets go what is held by this key, now and from now on.
    pub fn let_go(&self, key: &str) {
        self.let_go.send_modify(|keys| {
            keys.insert(key.to_owned());
        });
    }

    /// Paths of the requests it saw, in the order in which they came.
    pub fn paths(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|seen| seen.path.clone()).collect()
    }

    /// The first request it saw that has this header, if there is one by now.
    pub fn saw(&self, name: &str, value: &str) -> Option<Seen> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().find(|seen| seen.headers.iter().any(|(key, found)| key == name && found == value)).cloned()
    }
}

type Failures = Arc<Mutex<HashMap<String, u32>>>;

/// What every request is answered from.
#[derive(Clone)]
struct Part {
    name: Arc<str>,
    failures: Failures,
    log: Log,
    released: watch::Receiver<HashSet<String>>,
}

async fn serve(listener: TcpListener, part: Part) {
    while let Ok((stream, _)) = listener.accept().await {
        let part = part.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, part.clone()));
            // A client that goes away mid-answer is part of what tests do.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    mut part: Part,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let seen = describe(&part.name, &head, &body);
    remember(&part.log, &seen);
    let asked = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if asked("x-echo-reset").is_some() {
        return Err("asked to reset".into());
    }
    if let Some(delay) = asked("x-echo-delay").and_then(|delay| delay.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let failure = failing(&head.headers, &part);
    if let (None, Some(key)) = (&failure, asked("x-echo-hold")) {
        part.released.wait_for(|released| released.contains(key)).await?;
    }
    let status = failure.or_else(|| asked("x-echo-status").map(str::to_owned));
    let mut response = Response::builder().status(status.as_deref().unwrap_or("200"));
    for pair in head.headers.get_all("x-echo-header") {
        if let Some((name, value)) = pair.to_str().ok().and_then(|pair| pair.split_once('=')) {
            response = response.header(name, value);
        }
    }
    let text = match asked("x-echo-body") {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(&seen)?,
    };
    Ok(response.body(Full::from(text))?)
}

fn remember(log: &Log, seen: &Seen) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() < LOG_LIMIT {
        log.push(seen.clone());
    }
}

/// `503` as long as the key of the request has failures left or is not let go.
fn failing(headers: &http::HeaderMap, part: &Part) -> Option<String> {
    let asked = |name: &str| headers.get(name)?.to_str().ok();
    if let Some(key) = asked("x-echo-fail-until") {
        return (!part.released.borrow().contains(key)).then(|| "503".to_owned());
    }
    let first: u32 = asked("x-echo-fail-first")?.parse().ok()?;
    let mut failures = part.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(asked("x-echo-key")?.to_owned()).or_default();
    *count += 1;
    (*count <= first).then(|| "503".to_owned())
}

fn describe(name: &str, head: &http::request::Parts, body: &[u8]) -> Seen {
    let host = head.uri.authority().map(ToString::to_string);
    let host = host.or_else(|| {
        head.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
    });
    let mut headers: Vec<_> = head
        .headers
        .iter()
        .filter(|(name, _)| *name != "host")
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    Seen {
        upstream: name.to_owned(),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: host.unwrap_or_default(),
        version: format!("{:?}", head.version),
        headers,
        body: String::from_utf8_lossy(body).into_owned(),
    }
}
