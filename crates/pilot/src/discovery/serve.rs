//! Serves xDS over plain gRPC.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
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
        // The builder's own setting is for sockets that it accepts itself. Without it a response in several writes waits
        // for the client's delayed acknowledgement: 40 ms for each type of resource at every start of a proxy.
        let incoming = TcpListenerStream::new(listener).map(|accepted| {
            let stream = accepted?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        });
        Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .serve_with_incoming_shutdown(self.service(), incoming, shutdown)
            .await
    }
}
