//! Opening connections to endpoints.
//!
//! Called by the pools and by `tcp_proxy`. Invariant: never takes longer than the cluster's `connect_timeout`.

use std::io;

use crate::{
    cluster::{Address, ClusterSettings},
    error::{ResetReason, Side, StreamError},
    stream::Stream,
};

/// A connection that could not be made.
#[derive(Debug, Clone)]
pub struct ConnectError {
    /// As a stream error.
    pub error: StreamError,
    /// Envoy's transport failure reason, such as `delayed connect error: Connection refused`; empty for timeouts.
    pub transport: String,
}

impl ConnectError {
    /// A circuit breaker is open.
    pub fn overflow() -> Self {
        Self { error: StreamError::new(Side::Local, ResetReason::Overflow), transport: String::new() }
    }
}

/// Connects to `address` as the cluster's settings say.
pub async fn connect(address: &Address, settings: &ClusterSettings) -> Result<Stream, ConnectError> {
    let connecting = Stream::connect(address, settings.source_address);
    let stream = match tokio::time::timeout(settings.connect_timeout, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failure(address, &error)),
        Err(_) => {
            let error = StreamError::new(Side::Upstream, ResetReason::ConnectionTimeout);
            return Err(ConnectError { error, transport: String::new() });
        }
    };
    if let Some(keepalive) = &settings.keepalive
        && let Err(error) = stream.set_keepalive(keepalive)
    {
        tracing::debug!(%error, "TCP keepalive cannot be set");
    }
    Ok(stream)
}

fn failure(address: &Address, error: &io::Error) -> ConnectError {
    let local = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
        || matches!(error.raw_os_error(), Some(23 | 24));
    let reason =
        if local { ResetReason::LocalConnectionFailure } else { ResetReason::RemoteConnectionFailure };
    let mut stream = StreamError::new(Side::Upstream, reason);
    stream.io = Some(error.kind());
    let text = error.to_string();
    // The standard library's text is `Connection refused (os error 111)`.
    let text = text.split(" (os error").next().unwrap_or_default();
    let transport = match address {
        Address::Socket(_) => format!("delayed connect error: {text}"),
        Address::Pipe(path) => format!("immediate connect error: {text}|remote_address:{}", path.display()),
    };
    ConnectError { error: stream, transport }
}
