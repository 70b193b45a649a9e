//! The serving end of ADS, in delta and state of the world: subscriptions, nonces, ACK and NACK, what to send next.
//! A control plane implements [`Backend`] and serves [`Ads`] with tonic.
//!
//! Invariant: at most one response per type is under way on a stream; what changes meanwhile is sent, as one change, when
//! its answer is there.

mod delta;
mod sotw;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3 as discovery;
use crate::pb::google::protobuf::Any;

pub use discovery::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;

/// Responses that may wait for a slow client.
const QUEUE: usize = 8;

/// A resource, ready to send.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// Its version: equal versions mean equal bytes, also across restarts of the server. A hash of the bytes does.
    pub version: Arc<str>,
    /// The packed message.
    pub body: Arc<Any>,
}

/// What a client wants of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// Everything there is for this client.
    pub wildcard: bool,
    /// These by name.
    pub names: BTreeSet<String>,
}

impl Interest {
    /// Whether a resource of that name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

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
    /// All resources of the type that the client wants, sorted by name. Called again after every change.
    fn resources(&mut self, type_url: &str, interest: &Interest) -> Vec<Resource>;

    /// Something happened on the client's stream.
    fn event(&mut self, event: Event<'_>);
}

/// The control plane.
pub trait Backend: Send + Sync + 'static {
    /// What it keeps for one client.
    type Client: Client;

    /// A client has come; `delta` says which form of the protocol it speaks.
    ///
    /// # Errors
    /// When its node is not understood or not allowed; the status ends the stream.
    #[allow(clippy::result_large_err, reason = "tonic's own type, once per stream")]
    fn connect(&self, node: &Node, delta: bool) -> Result<Self::Client, Status>;

    /// Counts the changes of the configuration; every client is asked for its resources after each.
    fn changes(&self) -> watch::Receiver<u64>;
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

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<B: Backend> discovery::aggregated_discovery_service_server::AggregatedDiscoveryService for Ads<B> {
    type StreamAggregatedResourcesStream = Responses<discovery::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<discovery::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(serve::<B, sotw::Session>(self.0.clone(), request.into_inner()))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(serve::<B, delta::Session>(self.0.clone(), request.into_inner()))
    }
}

/// The state of one stream, in one form of the protocol; sans-io.
trait Protocol: Default + Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;
    const DELTA: bool;

    fn node(request: &Self::Request) -> Option<&Node>;
    /// Takes a request in.
    fn request(&mut self, request: Self::Request, client: &mut dyn Client);
    /// The configuration has changed.
    fn changed(&mut self);
    /// The next response to send, if any may be sent now.
    fn response(&mut self, client: &mut dyn Client) -> Option<Self::Response>;
}

fn serve<B: Backend, P: Protocol>(
    backend: Arc<B>,
    requests: Streaming<P::Request>,
) -> Response<Responses<P::Response>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(status) = stream::<B, P>(&*backend, requests, &sender).await {
            // A client that is gone needs no reason.
            let _gone = sender.send(Err(status)).await;
        }
    });
    Response::new(Box::pin(ReceiverStream::new(receiver)))
}

type Sender<T> = mpsc::Sender<Result<T, Status>>;

#[allow(clippy::result_large_err, reason = "tonic's own type, once per stream")]
async fn stream<B: Backend, P: Protocol>(
    backend: &B,
    mut requests: Streaming<P::Request>,
    sender: &Sender<P::Response>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let node =
        P::node(&first).ok_or_else(|| Status::invalid_argument("the first request must carry a node"))?;
    let mut changes = backend.changes();
    let mut client = backend.connect(node, P::DELTA)?;
    let mut session = P::default();
    session.request(first, &mut client);
    loop {
        while let Some(response) = session.response(&mut client) {
            if sender.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            request = requests.message() => match request? {
                Some(request) => session.request(request, &mut client),
                None => return Ok(()),
            },
            changed = changes.changed() => match changed {
                Ok(()) => session.changed(),
                Err(_) => return Err(Status::unavailable("the control plane is ending")),
            },
            () = sender.closed() => return Ok(()),
        }
    }
}
