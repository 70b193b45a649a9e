//! An HTTP client for tests: whole responses, no hidden retries, no redirects followed.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};

/// A response read to its end.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as text, invalid UTF-8 replaced.
    pub body: String,
}

/// Why there was no response: all a test wants is to show it.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A client with its own connections, kept alive; cloning shares them.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    patience: Duration,
}

impl Default for Client {
    fn default() -> Self {
        // A retry that nobody sees would hide exactly the failures that tests are there to find.
        let pool = Pool::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        Self { pool, patience: Duration::from_secs(15) }
    }
}

impl Client {
    /// GET with headers; `url` is absolute (`http://127.0.0.1:8080/…`).
    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        self.send("GET", url, headers, "").await
    }

    /// Any method, with a body.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response, Failure> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).map_err(failure)?;
        tokio::time::timeout(self.patience, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(Failure(format!("no answer within {:?}", self.patience))))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response, Failure> {
        let (head, body) = self.pool.request(request).await.map_err(failure)?.into_parts();
        let body = body.collect().await.map_err(failure)?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

fn failure(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    Failure(text)
}
