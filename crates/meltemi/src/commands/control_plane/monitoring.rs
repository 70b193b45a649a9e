//! The control plane's own HTTP port: readiness, metrics, debug pages under Istio's paths.

use std::convert::Infallible;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use meltemi_pilot::discovery::Pilot;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// Pages, for those who ask for another.
const PAGES: &str =
    "/ready\n/metrics\n/version\n/api/v1/overview\n/debug/syncz\n/debug/configz\n/debug/registryz\n";

/// Serves until the task is dropped.
pub(super) async fn serve(listener: TcpListener, pilot: Pilot) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, pilot.clone()))),
            Err(error) => {
                tracing::warn!("monitoring: {error}");
                // Out of descriptors: some will be free soon.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, pilot: Pilot) {
    let service = service_fn(move |request| {
        let pilot = pilot.clone();
        async move { Ok::<_, Infallible>(answer(&request, &pilot)) }
    });
    let mut http1 = hyper::server::conn::http1::Builder::new();
    if let Err(error) = http1.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("monitoring: {error}");
    }
}

fn answer(request: &Request<Incoming>, pilot: &Pilot) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
    }
    match request.uri().path() {
        "/ready" => reply(StatusCode::OK, "text/plain", "ready\n".into()),
        "/version" => reply(StatusCode::OK, "text/plain", concat!(env!("CARGO_PKG_VERSION"), "\n").into()),
        "/metrics" => reply(StatusCode::OK, "text/plain; version=0.0.4", pilot.metrics().into()),
        "/api/v1/overview" => json(&pilot.overview()),
        "/debug/syncz" => json(&pilot.syncz()),
        "/debug/configz" => json(&pilot.configz()),
        "/debug/registryz" => json(&pilot.registryz()),
        _ => reply(StatusCode::NOT_FOUND, "text/plain", PAGES.into()),
    }
}

fn json(value: &Value) -> Response<Full<Bytes>> {
    reply(StatusCode::OK, "application/json", format!("{value:#}\n").into())
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
