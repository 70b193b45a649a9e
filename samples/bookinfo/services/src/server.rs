//! The HTTP server that all four services share: accept, hand to the service, stop gracefully.
//!
//! Invariant: a request that has arrived is answered, also while stopping.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Largest request body a service reads, in bytes; a login form or a rating is far smaller.
const BODY_LIMIT: usize = 16 * 1024;

/// A request with its body read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a service answers.
pub(crate) type Answer = Response<Full<Bytes>>;

/// A future that a service returns.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// One of the four services.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request; every failure is an answer too.
    fn call(&self, call: Call) -> Answering<'_>;
}

/// A service that is listening.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, finishes what is in flight.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            eprintln!("bookinfo: server task: {error}");
        }
    }
}

pub(crate) async fn start(listen: SocketAddr, service: Arc<dyn Service>) -> std::io::Result<Running> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(listener, service, stopped));
    Ok(Running { address, stop, task })
}

async fn accept(listener: TcpListener, service: Arc<dyn Service>, stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    loop {
        tokio::select! {
            accepted = accept_one(&listener) => {
                if let Some(stream) = accepted {
                    connections.spawn(serve(stream, service.clone(), stopped.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            () = asked(&mut stop) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The next connection; after a failure (too many open files) it waits a little, or the loop would spin.
async fn accept_one(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            eprintln!("bookinfo: accept: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn asked(stop: &mut watch::Receiver<bool>) {
    // The sender lives in `Running`; when it is dropped without a word, that is a stop too.
    let _dropped_is_a_stop_too = stop.wait_for(|stop| *stop).await.map(|_| ());
}

async fn serve(stream: TcpStream, service: Arc<dyn Service>, mut stopped: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("bookinfo: nodelay: {error}");
    }
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(answer(&*service, request).await) }
    });
    let mut http1 = hyper::server::conn::http1::Builder::new();
    let connection = http1.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), handler);
    let mut connection = pin!(connection);
    tokio::select! {
        // A peer that goes away in the middle is its own affair.
        _ = connection.as_mut() => return,
        () = asked(&mut stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _peer_may_have_gone = connection.await;
}

async fn answer(service: &dyn Service, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "request body too large\n");
    };
    let path = parts.uri.path().to_owned();
    service.call(Call { method: parts.method, path, headers: parts.headers, body: body.to_bytes() }).await
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    content(status, "application/json", value.to_string())
}

/// A plain text answer.
pub(crate) fn text(status: StatusCode, body: &str) -> Answer {
    content(status, "text/plain; charset=utf-8", body.to_owned())
}

/// An HTML answer.
pub(crate) fn html(body: String) -> Answer {
    content(StatusCode::OK, "text/html; charset=utf-8", body)
}

pub(crate) fn not_found() -> Answer {
    json(StatusCode::NOT_FOUND, &serde_json::json!({ "error": "not found" }))
}

fn content(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}
