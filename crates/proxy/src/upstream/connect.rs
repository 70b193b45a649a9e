//! Opening connections to endpoints.
//!
//! Called by the pools and by `tcp_proxy`. Invariant: never takes longer than the cluster's `connect_timeout`.

use std::io;

use tokio::io::AsyncWriteExt;

use crate::{
    cluster::{Address, ClusterSettings},
    error::{ResetReason, Side, StreamError},
    stream::Stream,
    upstream::proxy_header::{Ends, Version},
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

/// Connects to `address` as the cluster's settings say, on behalf of the connection between `ends`.
pub async fn connect(
    address: &Address,
    settings: &ClusterSettings,
    ends: Ends,
) -> Result<Stream, ConnectError> {
    let connecting = Stream::connect(address, settings.source_address);
    let mut stream = match tokio::time::timeout(settings.connect_timeout, connecting).await {
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
    if let Some(version) = settings.proxy_protocol {
        introduce(&mut stream, version, ends).await?;
    }
    Ok(stream)
}

/// Says whose connection this is. The header is short, so that a new connection takes it at once.
pub async fn introduce(stream: &mut Stream, version: Version, told: Ends) -> Result<(), ConnectError> {
    let own = Ends { source: stream.local_addr(), destination: stream.peer_addr() };
    stream.write_all(&version.header(told, own)).await.map_err(|error| ConnectError {
        error: StreamError::terminated(Side::Upstream, Some(&error)),
        transport: error.to_string(),
    })
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
