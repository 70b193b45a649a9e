//! An upstream that answers with what it saw, and does what the request asks of it.
//!
//! Control headers: `x-echo-status: 503`, `x-echo-delay: 250` (ms before the head), `x-echo-header: name=value` (repeatable),
//! `x-echo-body: text` (instead of the description), `x-echo-reset: 1` (closes without an answer),
//! `x-echo-fail-first: N` with `x-echo-key: K` (the first N requests of that key get 503).

use std::{
    collections::HashMap,
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
use tokio::{net::TcpListener, task::JoinHandle};

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
        let log = Log::default();
        let task = tokio::spawn(serve(listener, Arc::from(name), Arc::clone(&log)));
        Self { address, log, task }
    }

    /// The first request it saw that has this header, if there is one by now.
    pub fn saw(&self, name: &str, value: &str) -> Option<Seen> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().find(|seen| seen.headers.iter().any(|(key, found)| key == name && found == value)).cloned()
    }
}

type Failures = Arc<Mutex<HashMap<String, u32>>>;

async fn serve(listener: TcpListener, name: Arc<str>, log: Log) {
    let failures = Failures::default();
    while let Ok((stream, _)) = listener.accept().await {
        let (name, failures, log) = (Arc::clone(&name), Arc::clone(&failures), Arc::clone(&log));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                answer(request, Arc::clone(&name), Arc::clone(&failures), Arc::clone(&log))
            });
            // A client that goes away mid-answer is part of what tests do.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    name: Arc<str>,
    failures: Failures,
    log: Log,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let seen = describe(&name, &head, &body);
    remember(&log, &seen);
    let asked = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if asked("x-echo-reset").is_some() {
        return Err("asked to reset".into());
    }
    if let Some(delay) = asked("x-echo-delay").and_then(|delay| delay.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let status = failing(&head.headers, &failures).or_else(|| asked("x-echo-status").map(str::to_owned));
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

/// `503` as long as the key of the request has failures left.
fn failing(headers: &http::HeaderMap, failures: &Failures) -> Option<String> {
    let first: u32 = headers.get("x-echo-fail-first")?.to_str().ok()?.parse().ok()?;
    let key = headers.get("x-echo-key")?.to_str().ok()?.to_owned();
    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(key).or_default();
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
