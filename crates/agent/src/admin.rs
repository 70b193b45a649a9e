//! The proxy's admin interface, as an agent needs it: is it ready, drain it, how many connections are left.
//!
//! Invariant: every question has a deadline; a proxy that does not answer is "not ready", never a hang.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest answer read, in bytes.
const LIMIT: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Connection refused or broken.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The request could not be built.
    #[error("{0}")]
    Request(#[from] http::Error),
    /// The body broke off or was too large.
    #[error("{0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// Whether the proxy says `LIVE`: it has its first configuration and listens.
pub async fn ready(admin: SocketAddr) -> bool {
    request(admin, Method::GET, "/ready").await.is_ok_and(|answer| answer.status == StatusCode::OK)
}

/// Tells an Envoy to send its clients away gently and to stop listening.
///
/// # Errors
/// When the proxy does not answer.
pub async fn drain(admin: SocketAddr) -> Result<(), AdminError> {
    request(admin, Method::POST, "/drain_listeners?graceful").await.map(drop)
}

/// Connections that the proxy's listeners still hold.
///
/// # Errors
/// When the proxy does not answer.
pub async fn connections(admin: SocketAddr) -> Result<u64, AdminError> {
    let answer = request(admin, Method::GET, "/stats?filter=^server.total_connections$").await?;
    let text = String::from_utf8_lossy(&answer.body);
    let value = text.rsplit_once(':').and_then(|(_, value)| value.trim().parse().ok());
    Ok(value.unwrap_or(0))
}

/// Any request to an admin interface or to the control plane's debug pages.
///
/// # Errors
/// When there is no answer in time.
pub async fn request(admin: SocketAddr, method: Method, path: &str) -> Result<Answer, AdminError> {
    tokio::time::timeout(TIMEOUT, exchange(admin, method, path)).await.unwrap_or(Err(AdminError::Timeout))
}

async fn exchange(admin: SocketAddr, method: Method, path: &str) -> Result<Answer, AdminError> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, admin.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), LIMIT).collect().await.map_err(AdminError::Body)?.to_bytes();
        Ok(Answer { status, body })
    };
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.into()),
    }
}
