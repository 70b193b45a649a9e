//! Admin server under Envoy's paths: readiness and the ways to end. Started by [`crate::run`] on the admin address.
//!
//! Invariant: it only asks the [`Lifecycle`]; nothing here is on the request path.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::lifecycle::{Lifecycle, State};

/// Serves until dropped.
pub async fn serve(listener: TcpListener, lifecycle: Lifecycle) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, lifecycle.clone()))),
            Err(error) => {
                warn!(%error, "admin: accept");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, lifecycle: Lifecycle) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &lifecycle);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        debug!(%error, "admin");
    }
}

fn answer(request: &Request<Incoming>, lifecycle: &Lifecycle) -> Response<Full<Bytes>> {
    let state = lifecycle.state();
    let query = request.uri().query().unwrap_or_default();
    let asked = |word: &str| query.split('&').any(|part| part == word);
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/ready") => {
            let status = if state == State::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            text(status, format!("{}\n", state.name()))
        }
        (&Method::POST, "/drain_listeners") => {
            lifecycle.drain_listeners(asked("inboundonly"), asked("graceful"));
            text(StatusCode::OK, "OK\n".to_owned())
        }
        (&Method::POST, "/quitquitquit") => {
            lifecycle.quit();
            text(StatusCode::OK, "OK\n".to_owned())
        }
        (&Method::POST, path @ ("/healthcheck/fail" | "/healthcheck/ok")) => {
            lifecycle.set_failing(path.ends_with("fail"));
            text(StatusCode::OK, "OK\n".to_owned())
        }
        (_, "/drain_listeners" | "/quitquitquit" | "/healthcheck/fail" | "/healthcheck/ok") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "this changes the process: use POST\n".to_owned())
        }
        _ => text(StatusCode::NOT_FOUND, "unknown path\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}
