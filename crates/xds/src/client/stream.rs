//! One stream to the server: requests out, responses in, for either variant of the protocol.
//!
//! Invariant: every response is answered, in order; subscriptions follow the answer of the response that caused them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::subscriber::{Interest, Wanted};
use super::{Rejection, Update};
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::google::rpc;

/// Requests that may wait for the connection.
const QUEUE: usize = 16;

/// State of a client in one variant of the protocol, kept from stream to stream; sans-io.
pub(super) trait Protocol: Default + Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;

    /// Forgets what belongs to a stream, not what is held.
    fn begin(&mut self);
    /// What to send so that the server knows what is wanted of a type; `None` when it knows.
    fn subscribe(&mut self, type_url: &str, wanted: &Interest) -> Option<Self::Request>;
    /// Takes a response apart.
    fn update(&mut self, response: Self::Response) -> Update;
    /// The answer to the last response, whose resources the handler took but for the rejections.
    fn answer(&mut self, taken: Taken, rejections: &[Rejection]) -> Self::Request;
    /// Introduces the client, on the first request of a stream.
    fn introduce(request: &mut Self::Request, node: &Node);
    /// Opens the stream.
    fn open(
        channel: Channel,
        requests: ReceiverStream<Self::Request>,
    ) -> impl Future<Output = Result<Streaming<Self::Response>, Status>> + Send;
}

/// Names and versions of an update, remembered while the handler owns the update itself.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) type_url: String,
    pub(super) version: String,
    pub(super) resources: Vec<(Arc<str>, Arc<str>)>,
    pub(super) removed: Vec<String>,
}

impl Taken {
    pub(super) fn of(update: &Update) -> Self {
        Self {
            type_url: update.type_url.clone(),
            version: update.version.clone(),
            resources: update.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect(),
            removed: update.removed.clone(),
        }
    }
}

pub(super) struct Stream<P: Protocol> {
    requests: mpsc::Sender<P::Request>,
    responses: Streaming<P::Response>,
}

impl<P: Protocol> Stream<P> {
    /// Opens a stream and asks for everything wanted. Waits while nothing is wanted.
    pub(super) async fn open(
        channel: Channel,
        state: &mut P,
        node: &Node,
        wanted: &Wanted,
    ) -> Result<Self, Status> {
        let mut wanted = wanted.clone();
        state.begin();
        let mut first = subscriptions(state, &wanted);
        while first.is_empty() {
            wanted.changed().await;
            first = subscriptions(state, &wanted);
        }
        P::introduce(&mut first[0], node);
        let (requests, receiver) = mpsc::channel(QUEUE.max(first.len()));
        for request in first {
            requests.try_send(request).map_err(|_| Status::internal("more requests than room"))?;
        }
        let responses = P::open(channel, ReceiverStream::new(receiver)).await?;
        Ok(Self { requests, responses })
    }

    /// The next response; sends changed subscriptions while it waits.
    pub(super) async fn next(&mut self, state: &mut P, wanted: &mut Wanted) -> Result<P::Response, Status> {
        loop {
            for request in subscriptions(state, wanted) {
                self.send(request).await?;
            }
            tokio::select! {
                response = self.responses.message() => {
                    return response?.ok_or_else(|| Status::unavailable("the server ended the stream"));
                }
                () = wanted.changed() => {}
            }
        }
    }

    /// Answers the last response.
    pub(super) async fn answer(
        &mut self,
        state: &mut P,
        taken: Taken,
        rejections: &[Rejection],
    ) -> Result<(), Status> {
        let request = state.answer(taken, rejections);
        self.send(request).await
    }

    async fn send(&self, request: P::Request) -> Result<(), Status> {
        self.requests.send(request).await.map_err(|_| Status::unavailable("the connection is gone"))
    }
}

fn subscriptions<P: Protocol>(state: &mut P, wanted: &Wanted) -> Vec<P::Request> {
    let mut requests = Vec::new();
    wanted.each(|type_url, interest| requests.extend(state.subscribe(type_url, interest)));
    requests
}

/// What a NACK says: every rejection, one a line.
pub(super) fn error_detail(rejections: &[Rejection]) -> Option<rpc::Status> {
    /// `INVALID_ARGUMENT`, as Envoy answers.
    const CODE: i32 = 3;
    let lines: Vec<_> = rejections.iter().map(|r| format!("{}: {}", r.name, r.reason)).collect();
    (!lines.is_empty()).then(|| rpc::Status {
        code: CODE,
        message: lines.join("\n"),
        ..rpc::Status::default()
    })
}
