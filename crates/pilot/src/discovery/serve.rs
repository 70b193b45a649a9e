//! Serves xDS over plain gRPC.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::Pilot;

/// Pings find proxies that are gone without a word (Istio's default).
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a ping may be unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

impl Pilot {
    /// Serves until `shutdown` is done.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .serve_with_incoming_shutdown(self.service(), TcpListenerStream::new(listener), shutdown)
            .await
    }
}
