//! The dashboard's web server: one page and the JSON behind it. Started by the `control-plane` command.
//!
//! Invariant: it only shows; nothing in the mesh can be changed through it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

const PAGE: &str = include_str!("dashboard/page.html");

/// Gives the state of the mesh as the page shows it.
pub(crate) type Overview = Arc<dyn Fn() -> Value + Send + Sync>;

/// Headers of every answer: the page is alone, loads nothing from elsewhere, and is not to be framed or cached.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
         frame-ancestors 'none'",
    ),
];

/// Serves until the task is dropped.
pub(crate) async fn serve(address: SocketAddr, overview: Overview) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, overview.clone()))),
            Err(error) => {
                tracing::warn!("dashboard: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, overview: Overview) {
    let service = service_fn(move |request| {
        let overview = overview.clone();
        async move { Ok::<_, Infallible>(answer(&request, &overview)) }
    });
    let mut http1 = hyper::server::conn::http1::Builder::new();
    if let Err(error) = http1.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("dashboard: {error}");
    }
}

fn answer(request: &Request<Incoming>, overview: &Overview) -> Response<Full<Bytes>> {
    // Another site's script that has this address by a name of its own (DNS rebinding) must not read the mesh.
    if !asked_by_address(request) {
        return reply(
            StatusCode::FORBIDDEN,
            "text/plain",
            "open the dashboard by its address or as localhost\n".into(),
        );
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
    }
    match request.uri().path() {
        "/" | "/index.html" => reply(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
        "/api/v1/overview" => reply(StatusCode::OK, "application/json", overview().to_string().into()),
        _ => reply(StatusCode::NOT_FOUND, "text/plain", "not found\n".into()),
    }
}

fn asked_by_address(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name =
        host.parse::<http::uri::Authority>().map(|authority| authority.host().to_owned()).unwrap_or_default();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok()
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    response
}
