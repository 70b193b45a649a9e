//! Terminal filters that take no more than a few lines: `echo`, `direct_response`, and the end of connections that are one
//! too many.
//!
//! Started by [`super::serve`]. Invariant: each ends when its client does, or after a bounded time.

use std::{sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stream::Stream;

/// How long a client may take to hear an answer to the end.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are echoed at once.
const CHUNK: usize = 16 * 1024;

/// `envoy.filters.network.echo`: says what it hears.
pub(super) async fn echo(mut stream: Stream) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
        if stream.write_all(&chunk[..n]).await.is_err() {
            return;
        }
    }
    // The client may be gone already.
    let _ = stream.shutdown_write();
}

/// `envoy.filters.network.direct_response`: says one thing and ends.
pub(super) async fn respond(mut stream: Stream, response: Arc<[u8]>) {
    if stream.write_all(&response).await.is_err() || stream.shutdown_write().is_err() {
        return;
    }
    // A socket that is closed with bytes unread resets the connection, and the answer may be lost.
    let rest = async {
        let mut chunk = [0; 1024];
        while let Ok(1..) = stream.read(&mut chunk).await {}
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// Ends a connection that is one too many.
pub(super) async fn refuse(stream: Stream, delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    drop(stream);
}
