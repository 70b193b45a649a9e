//! The downstream HTTP/2 side: one task drives the connection, one local task per stream runs the request phases.
//!
//! [`crate::http::serve`] calls [`serve`] for connections that speak HTTP/2. Streams and driver meet only inside
//! `h2`, on one thread. Invariant: the driver writes out once per wakeup, after all streams that were ready have run.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, Response, StatusCode};
use tracing::debug;

use super::{
    body::{Incoming, Outgoing, reset, stream_error},
    headers,
    io::{Gathered, Gathering, gather},
};
use crate::{
    drain::{Phase, Ticket},
    error::{ResetReason, Side, StreamError},
    http::{
        Worker, clock,
        config::HttpConnectionManager,
        deadline::Deadline,
        exchange::{Downstream, Next, Sink, Source},
        headers::HeaderList,
        message::{Protocol, RequestHead, ResponseHead},
    },
    stream::Stream as Socket,
};

/// Larger windows than these are not given, whatever is configured: together with what the other side has not taken
/// yet they are the memory that a peer can make us hold (bytes, per stream and per connection).
const LARGEST_WINDOWS: (u32, u32) = (1024 * 1024, 4 * 1024 * 1024);
/// Bytes that a stream may have queued for the peer (`h2` then grants no more capacity).
const SEND_BUFFER: usize = 256 * 1024;

/// What streams tell the driver of their connection.
#[derive(Debug, Default)]
struct Shared {
    streams: Cell<usize>,
    close: Cell<bool>,
}

/// One request and its response on an HTTP/2 connection.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Shared>,
    respond: SendResponse<Bytes>,
    incoming: Incoming,
    outgoing: Outgoing,
    answered: bool,
}

/// Serves a connection until it ends; `received` was read from the socket already. Every request becomes a local task
/// made by `handle`.
pub async fn serve<H, F>(
    socket: Socket,
    received: Bytes,
    manager: &HttpConnectionManager,
    drain: &Ticket,
    worker: &Worker,
    handle: H,
) where
    H: Fn(Stream, RequestHead) -> F,
    F: Future<Output = ()> + 'static,
{
    let (gathering, gathered) = gather(socket, received);
    let handshake = builder(manager).handshake(gathering);
    let connection = match handshake.await {
        Ok(connection) => connection,
        Err(error) => return debug!(%error, "HTTP/2 handshake"),
    };
    let mut driver = Driver {
        connection,
        gathered,
        shared: Rc::default(),
        manager,
        drain,
        deadline: worker.deadlines.register(),
        until: manager.max_connection_duration.map(|limit| clock::now() + limit),
        idle: false,
        closing: false,
        accepted: 0,
    };
    poll_fn(|cx| driver.poll(cx, &handle)).await;
}

fn builder(manager: &HttpConnectionManager) -> h2::server::Builder {
    let options = &manager.http2;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_window_size(options.stream_window.min(LARGEST_WINDOWS.0))
        .initial_connection_window_size(options.connection_window.min(LARGEST_WINDOWS.1))
        .max_header_list_size(manager.max_request_headers as u32)
        .max_send_buffer_size(SEND_BUFFER);
    if !manager.upgrades.is_empty() {
        builder.enable_connect_protocol();
    }
    builder
}

/// The connection's task.
struct Driver<'a> {
    connection: h2::server::Connection<Gathering, Bytes>,
    gathered: Gathered,
    shared: Rc<Shared>,
    manager: &'a HttpConnectionManager,
    drain: &'a Ticket,
    deadline: Deadline,
    /// `max_connection_duration` has passed then.
    until: Option<Instant>,
    idle: bool,
    closing: bool,
    accepted: u32,
}

impl Driver<'_> {
    fn poll<H, F>(&mut self, cx: &mut Context<'_>, handle: &H) -> Poll<()>
    where
        H: Fn(Stream, RequestHead) -> F,
        F: Future<Output = ()> + 'static,
    {
        loop {
            if self.drain.poll_phase(cx, Phase::Draining).is_ready() || self.shared.close.get() {
                self.go_away();
            }
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.start(request, respond, handle);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    debug!(%error, "HTTP/2 connection");
                    return self.end(cx);
                }
                Poll::Ready(None) => return self.end(cx),
                Poll::Pending => {}
            }
            // A socket that is full wakes us; one that failed has nobody left to talk to.
            if let Poll::Ready(Err(error)) = self.gathered.poll_write_out(cx) {
                debug!(%error, "HTTP/2 connection");
                return Poll::Ready(());
            }
            ready!(self.poll_deadline(cx));
            if self.closing && self.shared.streams.get() == 0 {
                return Poll::Ready(());
            }
            self.go_away();
        }
    }

    fn start<H, F>(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>, handle: &H)
    where
        H: Fn(Stream, RequestHead) -> F,
        F: Future<Output = ()> + 'static,
    {
        self.accepted += 1;
        let limit = self.manager.max_requests_per_connection;
        if limit != 0 && self.accepted >= limit {
            self.go_away();
        }
        let mut stream = Stream::new(self.shared.clone(), respond);
        let mut head = RequestHead::default();
        let ended = request.body().is_end_stream();
        if let Err(error) = headers::read_request(&request, ended, &mut head) {
            debug!(details = error.0, "HTTP/2 request refused");
            return stream.refuse(StatusCode::BAD_REQUEST);
        }
        if head.headers.len() > self.manager.max_headers_count {
            return stream.refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        stream.incoming.begin(request.into_body());
        tokio::task::spawn_local(handle(stream, head));
    }

    /// Ready when the connection has been idle, or old, for long enough.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.shared.streams.get() == 0;
        if idle && self.drain.poll_phase(cx, Phase::CloseIdle).is_ready() {
            return Poll::Ready(());
        }
        if idle != self.idle || self.accepted == 0 {
            self.idle = idle;
            let idle_until = match self.closing {
                true => Some(clock::now() + self.manager.drain_timeout),
                false => self.manager.idle_timeout.map(|limit| clock::now() + limit),
            };
            let at = [idle_until.filter(|_| idle), self.until.filter(|_| !self.closing)];
            self.deadline.set(at.into_iter().flatten().min());
        }
        self.deadline.poll(cx)
    }

    /// No new streams; those that are open finish.
    fn go_away(&mut self) {
        if !self.closing {
            self.closing = true;
            self.idle = !self.idle;
            self.connection.graceful_shutdown();
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The last words (GOAWAY) are worth one try.
        let _ = self.gathered.poll_write_out(cx);
        Poll::Ready(())
    }
}

impl Stream {
    fn new(connection: Rc<Shared>, respond: SendResponse<Bytes>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self {
            connection,
            respond,
            incoming: Incoming::new(Side::Downstream, None),
            outgoing: Outgoing::new(Side::Downstream),
            answered: false,
        }
    }

    /// Answers a request that never reaches the request phases.
    fn refuse(mut self, status: StatusCode) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        // A client that is gone needs no answer.
        let _ = self.respond.send_response(response, true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
    }
}

impl Source for Stream {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        self.incoming.poll_body(cx)
    }

    fn data(&self) -> &[u8] {
        self.incoming.data()
    }

    fn consume(&mut self, n: usize) {
        self.incoming.consume(n);
    }

    fn take(&mut self, n: usize) -> Bytes {
        self.incoming.take(n)
    }

    fn trailers(&mut self) -> &mut HeaderList {
        self.incoming.trailers()
    }
}

impl Sink for Stream {
    fn poll_send<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        last: bool,
    ) -> Poll<Result<(), StreamError>> {
        self.outgoing.poll_send(cx, source, last)
    }

    fn send_last(&mut self, body: &[u8]) {
        self.outgoing.send(Bytes::copy_from_slice(body), true);
    }

    fn send_trailers(&mut self, trailers: &HeaderList) {
        self.outgoing.send_trailers(trailers);
    }

    fn send_end(&mut self) {
        self.outgoing.send(Bytes::new(), true);
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.outgoing.poll_flush()
    }
}

impl Downstream for Stream {
    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        if let Ok(response) = headers::write_response(head) {
            // A client that is gone is noticed by the next poll.
            let _ = self.respond.send_informational(response);
        }
    }

    fn send_head(&mut self, head: &ResponseHead, end: bool) {
        self.answered = true;
        let response = match headers::write_response(head) {
            Ok(response) => response,
            Err(error) => return self.outgoing.fail(StreamError::protocol(Side::Upstream, error.0)),
        };
        match self.respond.send_response(response, end) {
            Ok(stream) => self.outgoing.begin(stream),
            Err(error) => self.outgoing.fail(stream_error(Side::Downstream, &error)),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        if self.answered {
            return self.outgoing.poll_reset(cx);
        }
        match ready!(self.respond.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(reset(Side::Downstream, reason)),
            Err(_) => Poll::Ready(StreamError::new(Side::Downstream, ResetReason::ConnectionTermination)),
        }
    }

    fn abort(&mut self) {
        match self.answered {
            true => self.outgoing.abort(Reason::INTERNAL_ERROR),
            false => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    fn close_after_response(&mut self) {
        self.connection.close.set(true);
    }

    fn request_complete(&self) -> bool {
        self.incoming.is_complete()
    }

    fn body_bytes(&self) -> (u64, u64) {
        (self.incoming.received, self.outgoing.sent)
    }

    /// DATA frames carry a tunnel as they carry a body.
    fn become_tunnel(&mut self) {}
}
