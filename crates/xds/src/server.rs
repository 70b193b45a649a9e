//! The serving end of ADS, in delta and state of the world: subscriptions, nonces, ACK and NACK, what to send next.
//! A control plane fills [`Collection`]s, says by [`Backend`] and [`Client`] who gets which, and serves [`Ads`] with tonic.
//!
//! Invariant: at most one response per type is under way on a stream; what changes meanwhile is sent, as one change, when
//! its answer is there. Resources are encoded once and their bytes shared by all streams down to the socket.

mod collection;
mod delta;
mod grpc;
#[cfg(test)]
mod happenings;
mod interest;
pub mod resource;
mod sotw;
mod subscription;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tonic::{Status, Streaming};

use crate::pb::envoy::config::core::v3::Node;

pub use collection::Collection;
pub use interest::Interest;
pub use resource::Resource;

/// What happens on a stream, for whoever keeps its state for others to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A response went out.
    Sent {
        /// Type of its resources.
        type_url: &'a str,
        /// Its nonce.
        nonce: &'a str,
        /// How many resources of the type the client has with it.
        resources: usize,
    },
    /// The client has taken the last response.
    Acknowledged {
        /// Type of its resources.
        type_url: &'a str,
        /// Its nonce.
        nonce: &'a str,
    },
    /// The client has refused the last response and goes on with what it had.
    Rejected {
        /// Type of its resources.
        type_url: &'a str,
        /// Its nonce.
        nonce: &'a str,
        /// Why, in the client's words.
        message: &'a str,
    },
}

/// What the control plane has for one client. Dropped when the client's stream ends.
pub trait Client: Send + 'static {
    /// Where the resources of a type are: of two that have a name, the first holds. Asked again after every wake-up; another
    /// collection than before is compared with that.
    fn collections(&mut self, type_url: &str) -> Vec<Arc<Collection>>;

    /// The client asks for these names: for control planes that make resources when they are asked for.
    fn asked(&mut self, _type_url: &str, _names: &[String]) {}

    /// Something happened on the client's stream.
    fn event(&mut self, event: Event<'_>);
}

/// The control plane.
pub trait Backend: Send + Sync + 'static {
    /// What it keeps for one client.
    type Client: Client;

    /// A client has come; `delta` says which form of the protocol it speaks. The control plane wakes it with the [`Notify`]
    /// after each change of its collections.
    ///
    /// # Errors
    /// When its node is not understood or not allowed; the status ends the stream.
    #[allow(clippy::result_large_err, reason = "tonic's own type, once per stream")]
    fn connect(&self, node: &Node, delta: bool) -> Result<(Self::Client, Arc<Notify>), Status>;
}

/// The ADS service.
#[derive(Debug)]
pub struct Ads<B>(Arc<B>);

impl<B> Ads<B> {
    /// The service of a control plane.
    pub fn new(backend: Arc<B>) -> Self {
        Self(backend)
    }
}

impl<B> Clone for Ads<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A response: its frame and head, and the shared bytes of its resources.
#[derive(Debug)]
struct Encoded {
    head: Bytes,
    resources: Vec<Bytes>,
}

/// The state of one stream, in one form of the protocol; sans-io.
trait Protocol: Default + Send + 'static {
    type Request: prost::Message + Default + Send + 'static;
    const DELTA: bool;

    fn node(request: &Self::Request) -> Option<&Node>;
    /// Takes a request in.
    fn request(&mut self, request: Self::Request, client: &mut dyn Client);
    /// The next response to send, if any may be sent now.
    ///
    /// # Errors
    /// When the client is too far behind to be brought up to date: it has to come again.
    #[allow(clippy::result_large_err, reason = "tonic's own type, once per stream")]
    fn response(&mut self, client: &mut dyn Client) -> Result<Option<Encoded>, Status>;
}

type Sender = mpsc::Sender<Bytes>;

#[allow(clippy::result_large_err, reason = "tonic's own type, once per stream")]
async fn stream<B: Backend, P: Protocol>(
    backend: &B,
    mut requests: Streaming<P::Request>,
    sender: &Sender,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let node =
        P::node(&first).ok_or_else(|| Status::invalid_argument("the first request must carry a node"))?;
    let (mut client, changed) = backend.connect(node, P::DELTA)?;
    let mut session = P::default();
    session.request(first, &mut client);
    loop {
        while let Some(response) = session.response(&mut client)? {
            if send(sender, response).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            request = requests.message() => match request? {
                Some(request) => session.request(request, &mut client),
                None => return Ok(()),
            },
            () = changed.notified() => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Below this size a response travels in one piece: copying it is cheaper than two frames.
const ONE_PIECE: usize = 8 << 10;

async fn send(sender: &Sender, response: Encoded) -> Result<(), mpsc::error::SendError<Bytes>> {
    let Encoded { head, resources } = response;
    if resources.iter().map(Bytes::len).sum::<usize>() < ONE_PIECE {
        let mut whole = head.to_vec();
        resources.iter().for_each(|bytes| whole.extend_from_slice(bytes));
        return sender.send(whole.into()).await;
    }
    sender.send(head).await?;
    for bytes in resources.into_iter().filter(|bytes| !bytes.is_empty()) {
        sender.send(bytes).await?;
    }
    Ok(())
}
