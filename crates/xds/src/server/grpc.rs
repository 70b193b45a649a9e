//! ADS as a gRPC service whose responses are bytes already: tonic's own would copy each message of a megabyte for each client.
//!
//! Invariant: a stream ends with trailers that say why.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::codec::{DecodeBuf, Decoder};
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status, Streaming};

use super::{Ads, Backend, Protocol, delta, sotw, stream};

/// Pieces of responses that may wait for a slow client.
const QUEUE: usize = 8;
/// Largest request taken: the versions of a hundred thousand resources.
const MAX_REQUEST: usize = 32 << 20;

impl<B> NamedService for Ads<B> {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<B: Backend> Service<http::Request<Body>> for Ads<B> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let response = match method {
            "StreamAggregatedResources" => open::<B, sotw::Session>(&self.0, request.into_body()),
            "DeltaAggregatedResources" => open::<B, delta::Session>(&self.0, request.into_body()),
            _ => Status::new(Code::Unimplemented, "no such method").into_http(),
        };
        std::future::ready(Ok(response))
    }
}

fn open<B: Backend, P: Protocol>(backend: &Arc<B>, body: Body) -> http::Response<Body> {
    let requests = Streaming::new_request(Messages::<P::Request>::default(), body, None, Some(MAX_REQUEST));
    let (sender, pieces) = mpsc::channel(QUEUE);
    let (ended, end) = oneshot::channel();
    let backend = Arc::clone(backend);
    tokio::spawn(async move {
        let result = stream::<B, P>(&*backend, requests, &sender).await;
        // A client that is gone needs no reason.
        let _gone = ended.send(result.err().unwrap_or_else(|| Status::ok("")));
    });
    let mut response = http::Response::new(Body::new(Pieces { pieces, end: Some(end) }));
    let content_type = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}

/// The body of a response: what the session sends, then its end.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    end: Option<oneshot::Receiver<Status>>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(piece) = std::task::ready!(self.pieces.poll_recv(context)) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        let status = std::task::ready!(Pin::new(end).poll(context));
        self.end = None;
        let status = status.unwrap_or_else(|_| Status::internal("the stream's task has failed"));
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(match status.add_header(&mut trailers) {
            Ok(()) => Some(Ok(Frame::trailers(trailers))),
            Err(status) => Some(Err(status)),
        })
    }
}

/// Reads requests.
struct Messages<M>(PhantomData<M>);

impl<M> Default for Messages<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Default> Decoder for Messages<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        M::decode(buffer).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
