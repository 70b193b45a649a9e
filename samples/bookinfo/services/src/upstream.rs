//! How a service calls another: by name, over kept-alive connections, with a deadline. Used by productpage and reviews.
//!
//! Invariant: the `Host` sent is the upstream's name in the mesh, whatever address the connection goes to; routing
//! is decided by the name.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

/// Largest answer read from an upstream, in bytes.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// One upstream service.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<HttpConnector, Empty<Bytes>>,
    /// `name:port`, sent as `Host`.
    host: HeaderValue,
    /// `address:port`, connected to.
    address: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Not in time.
    Timeout,
    /// No connection, or it broke.
    Connection,
    /// An answer, but not a good one.
    Status(StatusCode),
    /// A good status with a body that is not the JSON expected.
    Body,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Connection => f.write_str("no connection"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Body => f.write_str("unreadable answer"),
        }
    }
}

impl Upstream {
    /// The upstream `name`, as the environment describes it: `<NAME>_HOSTNAME` and `<NAME>_SERVICE_PORT` as in Istio's
    /// sample (default: the name itself and 9080), and `<NAME>_SERVICE_HOST` where to connect if not to that name.
    pub(crate) fn from_environment(name: &str) -> Self {
        let variable = |suffix: &str| std::env::var(format!("{}_{suffix}", name.to_uppercase())).ok();
        let domain = std::env::var("SERVICES_DOMAIN").ok().filter(|domain| !domain.is_empty());
        let hostname = variable("HOSTNAME").unwrap_or_else(|| name.to_owned());
        let hostname = domain.map_or(hostname.clone(), |domain| format!("{hostname}.{domain}"));
        let port = variable("SERVICE_PORT").unwrap_or_else(|| "9080".to_owned());
        let address = variable("SERVICE_HOST").unwrap_or_else(|| hostname.clone());
        Self::new(&format!("{hostname}:{port}"), format!("{address}:{port}"))
    }

    fn new(host: &str, address: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("invalid"));
        Self { client, host, address }
    }

    /// GETs `path`; JSON or the reason why not.
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        match tokio::time::timeout(timeout, self.exchange(path, headers)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Timeout),
        }
    }

    async fn exchange(&self, path: &str, headers: &HeaderMap) -> Result<Value, CallError> {
        let mut request = Request::get(format!("http://{}{path}", self.address))
            .body(Empty::new())
            .map_err(|_| CallError::Connection)?;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(header::HOST, self.host.clone());
        let response = self.client.request(request).await.map_err(|_| CallError::Connection)?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), ANSWER_LIMIT).collect().await.map_err(|_| CallError::Body)?;
        if !status.is_success() {
            return Err(CallError::Status(status));
        }
        serde_json::from_slice(&body.to_bytes()).map_err(|_| CallError::Body)
    }
}
