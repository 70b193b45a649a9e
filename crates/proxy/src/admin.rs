//! Admin server under Envoy's paths.
//!
//! [`crate::run`] starts it on the main runtime, so it answers while every worker is busy. Invariant: only a POST
//! changes anything.

mod clusters;
mod config_dump;
mod help;
mod listeners;
mod logging;
mod server_info;
mod stats;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use tracing::{debug, info, warn};

use crate::{
    lifecycle::{Lifecycle, State},
    listener::address::ListenAddress,
    stream::Stream,
    worker::{self, Listening, Workers},
    xds::view::ConfigView,
};

/// What admin shows and acts on. Clones are the same.
#[derive(Debug, Clone)]
pub struct Admin {
    /// State of the process, and how it is asked to drain or end.
    pub lifecycle: Lifecycle,
    /// Listeners in force.
    pub workers: Workers,
    /// Resources.
    pub view: Arc<ConfigView>,
    /// `node` of the bootstrap.
    pub node: Node,
}

/// Binds `address` and serves it in the background; nothing when the bootstrap has no admin address.
pub async fn start(address: Option<&ListenAddress>, admin: Admin) -> std::io::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let (listening, actual) = worker::listen(address)?;
    info!("admin address: {actual}");
    tokio::spawn(serve(listening, admin));
    Ok(())
}

/// Serves until aborted.
async fn serve(listening: Listening, admin: Admin) {
    loop {
        match listening.accept().await {
            Ok((socket, _)) => {
                let admin = admin.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = admin.answer(request.method(), request.uri().path(), request.uri().query());
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(async move {
                    let mut builder = http1::Builder::new();
                    builder.timer(TokioTimer::new());
                    let stream = TokioIo::new(Stream::accepted(socket, Vec::new()));
                    if let Err(error) = builder.serve_connection(stream, service).await {
                        debug!(%error, "admin connection");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "admin cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// An answer of admin.
pub type Answer = Response<Full<Bytes>>;

impl Admin {
    /// The answer to a request.
    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Answer {
        let Some(entry) = help::ENTRIES.iter().find(|entry| entry.path == path) else {
            return text(StatusCode::NOT_FOUND, format!("invalid path. {}", help::text()));
        };
        if entry.mutates && method != Method::POST {
            let problem = format!("Method {method} not allowed, POST required.");
            return text(StatusCode::METHOD_NOT_ALLOWED, problem);
        }
        let query = Query(query.unwrap_or(""));
        if entry.mutates { self.change(path, &query) } else { self.show(path, &query) }
    }

    fn change(&self, path: &str, query: &Query<'_>) -> Answer {
        match path {
            "/drain_listeners" => {
                let inbound_only = query.has("inboundonly");
                match query.has("skip_exit") {
                    true => self.workers.drain_listeners(inbound_only),
                    false => self.lifecycle.drain_listeners(inbound_only, query.has("graceful")),
                }
            }
            "/quitquitquit" => self.lifecycle.quit(),
            "/healthcheck/fail" => self.lifecycle.set_failing(true),
            "/healthcheck/ok" => self.lifecycle.set_failing(false),
            "/reset_counters" => self.workers.stats().reset_counters(),
            "/reopen_logs" => match crate::access_log::reopen() {
                Ok(()) => {}
                Err(problem) => return text(StatusCode::INTERNAL_SERVER_ERROR, problem),
            },
            "/logging" => return logging::answer(query),
            // As Envoy without an admin layer.
            "/runtime_modify" => return text(StatusCode::SERVICE_UNAVAILABLE, "No admin layer specified"),
            _ => {
                let problem = format!("{path}: there is no profiler in this program\n");
                return text(StatusCode::NOT_IMPLEMENTED, problem);
            }
        }
        text(StatusCode::OK, "OK\n")
    }

    fn show(&self, path: &str, query: &Query<'_>) -> Answer {
        match path {
            "/ready" => {
                let state = self.lifecycle.state();
                let live = state == State::Live;
                let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                text(status, format!("{}\n", state.name()))
            }
            "/server_info" => json(self.server_info()),
            "/stats" => self.stats(query),
            "/stats/prometheus" => self.prometheus(query),
            "/clusters" => self.clusters(query),
            "/listeners" => self.listeners(query),
            "/config_dump" => self.config_dump(query),
            "/certs" => json("{\n \"certificates\": []\n}\n".into()),
            "/init_dump" => json("{}\n".into()),
            "/memory" => json(memory()),
            "/runtime" => json("{\n \"layers\": [],\n \"entries\": {}\n}\n".into()),
            "/hot_restart_version" => text(StatusCode::OK, "disabled\n"),
            "/contention" => text(StatusCode::OK, "Mutex contention tracing is not enabled.\n"),
            "/heap_dump" | "/peak_heap_dump" => {
                text(StatusCode::NOT_IMPLEMENTED, "Heap dump is not supported in this program\n")
            }
            "/" => answer(StatusCode::OK, "text/html; charset=UTF-8", help::page().into()),
            _ => text(StatusCode::OK, help::text()),
        }
    }
}

/// A query string.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, wanted: &str) -> Option<String> {
        let mut pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    /// Names and values, in order.
    fn pairs(&self) -> Vec<(String, String)> {
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = self.0.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(n, v)| (decode(n), decode(v)))
            .collect()
    }

    fn has(&self, wanted: &str) -> bool {
        self.get(wanted).is_some()
    }

    fn wants_json(&self) -> bool {
        self.get("format").as_deref() == Some("json")
    }
}

/// What the system has given us, in bytes; the finer numbers of Envoy's allocator have no counterpart.
fn memory() -> String {
    let bytes = resident();
    let fields = ["allocated", "heap_size", "total_physical_bytes"];
    let lines: Vec<_> = fields.iter().map(|field| format!(" \"{field}\": \"{bytes}\"")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

/// Resident bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    resident.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=UTF-8", body.into())
}

fn json(body: String) -> Answer {
    answer(StatusCode::OK, "application/json", body.into())
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::SERVER, HeaderValue::from_static("envoy"));
    response
}
