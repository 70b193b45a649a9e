//! The upstream HTTP/2 side: multiplexed connections to one endpoint, and the streams on them.
//!
//! The cluster's state keeps a [`Pool`] per endpoint; the router drives a [`Stream`] through
//! [`crate::upstream::UpstreamStream`]. Each connection has a local task that drives it and ends with it.
//! Invariant: a connection that has seen GOAWAY, or failed, gets no new stream; the streams that it has finish.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::Response;
use tokio::sync::Notify;
use tracing::debug;

use crate::{
    error::{Side, StreamError},
    http::{
        Worker, clock,
        deadline::Deadline,
        exchange::{Next, Sink, Source, Upstream},
        h2::{
            body::{Incoming, Outgoing, stream_error},
            headers,
            io::{Gathered, Gathering, gather},
        },
        headers::{HeaderList, Known},
        message::{RequestHead, ResponseHead},
    },
    stream::Stream as Socket,
    upstream::{connect::ConnectError, limits::Permit},
};

/// What we grant an endpoint, in bytes: per stream and per connection. With [`SEND_BUFFER`] it bounds the memory.
const WINDOWS: (u32, u32) = (1024 * 1024, 4 * 1024 * 1024);
/// Bytes that a stream may have queued for the endpoint.
const SEND_BUFFER: usize = 256 * 1024;
/// Envoy's `max_response_headers_kb` default.
const MAX_HEADERS: u32 = 60 * 1024;

/// What a cluster asks of its connections.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Close after so long without a stream.
    pub idle_timeout: Option<Duration>,
    /// Take a connection out of use after so many streams; 0 is never.
    pub max_requests: u32,
    /// Take a connection out of use at this age.
    pub max_duration: Option<Duration>,
    /// `http2_protocol_options.max_concurrent_streams`: ours, beside the endpoint's own.
    pub max_streams: usize,
}

/// The connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Someone is connecting; the others wait for the outcome.
    connecting: Cell<bool>,
    /// How many attempts have ended, and how the last one failed, if it did.
    attempts: Cell<u64>,
    failure: RefCell<Option<ConnectError>>,
    ended: Notify,
}

/// What a request without a stream does next.
#[derive(Debug)]
pub enum Turn<'a> {
    /// Go on with this stream.
    Stream(Box<Stream>),
    /// Connect, and tell the attempt how that went.
    Connect(Attempt<'a>),
}

/// The right to connect. Dropping it gives the turn to whoever waits next.
#[derive(Debug)]
pub struct Attempt<'a>(&'a Pool);

impl Attempt<'_> {
    /// Adds the connection and opens a first stream on it.
    pub fn connected(
        self,
        socket: Socket,
        permit: Permit,
        settings: Settings,
        worker: &Worker,
    ) -> Option<Stream> {
        self.0.add(socket, permit, settings, worker)
    }

    /// Everybody who waits for this attempt fails with it.
    pub fn failed(self, error: &ConnectError) {
        *self.0.failure.borrow_mut() = Some(error.clone());
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.attempts.set(self.0.attempts.get() + 1);
        self.0.ended.notify_waiters();
    }
}

/// One multiplexed connection.
#[derive(Debug)]
pub struct Connection {
    /// `None` once it must not be used again: the driver ends when the last handle is gone.
    send: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    requests: Cell<u32>,
    created: Instant,
    deadline: Deadline,
    settings: Settings,
    local: SocketAddr,
    _permit: Permit,
}

/// One request and its response.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Connection>,
    reused: bool,
    send: Option<SendRequest<Bytes>>,
    response: Option<ResponseFuture>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// What an upgrade asked for: then a 200 means 101.
    tunnel: Option<String>,
}

impl Pool {
    /// A stream on a connection that has room.
    pub fn stream(&self) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        loop {
            let at = connections.iter().position(|connection| !connection.is_full())?;
            match connections[at].open() {
                Some(stream) => return Some(stream),
                None => drop(connections.swap_remove(at)),
            }
        }
    }

    /// A stream, or the turn to connect: one request at a time connects, the others wait for it and share the
    /// outcome, for a connection carries many.
    pub async fn turn(&self) -> Result<Turn<'_>, ConnectError> {
        loop {
            if let Some(stream) = self.stream() {
                return Ok(Turn::Stream(Box::new(stream)));
            }
            if !self.connecting.replace(true) {
                *self.failure.borrow_mut() = None;
                return Ok(Turn::Connect(Attempt(self)));
            }
            let attempt = self.attempts.get();
            while self.attempts.get() == attempt {
                self.ended.notified().await;
            }
            if let Some(error) = &*self.failure.borrow() {
                return Err(error.clone());
            }
        }
    }

    /// Adds a connection that was just made, and a first stream on it.
    pub fn add(&self, socket: Socket, permit: Permit, settings: Settings, worker: &Worker) -> Option<Stream> {
        let connection = Connection::start(socket, permit, settings, worker)?;
        let stream = connection.open();
        self.connections.borrow_mut().push(connection);
        stream
    }

    /// Uses no connection again; their streams finish.
    pub fn clear(&self) {
        for connection in self.connections.borrow_mut().drain(..) {
            connection.retire();
        }
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// True without connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Connection {
    /// Starts to speak; `None` when the socket failed at once.
    fn start(socket: Socket, permit: Permit, settings: Settings, worker: &Worker) -> Option<Rc<Self>> {
        let local = socket.local_addr();
        let (gathering, gathered) = gather(socket, Bytes::new());
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_header_list_size(MAX_HEADERS)
            .max_send_buffer_size(SEND_BUFFER);
        // Writing the preface only fills the gathering buffer, so the handshake never waits.
        let mut handshake = Box::pin(builder.handshake::<_, Bytes>(gathering));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok((send, driver))) = handshake.as_mut().poll(&mut cx) else { return None };
        let connection = Rc::new(Self {
            send: RefCell::new(Some(send)),
            streams: Cell::new(0),
            requests: Cell::new(0),
            created: clock::now(),
            deadline: worker.deadlines.register(),
            settings,
            local,
            _permit: permit,
        });
        tokio::task::spawn_local(drive(connection.clone(), driver, gathered));
        Some(connection)
    }

    /// True when all streams that the endpoint (or we) allow are in use.
    fn is_full(&self) -> bool {
        let send = self.send.borrow();
        let Some(send) = &*send else { return false };
        self.streams.get() >= self.settings.max_streams.min(send.current_max_send_streams())
    }

    /// A stream, unless the connection is out of use.
    fn open(self: &Rc<Self>) -> Option<Stream> {
        let worn = self.settings.max_requests != 0 && self.requests.get() >= self.settings.max_requests;
        let age = clock::now().saturating_duration_since(self.created);
        if worn || self.settings.max_duration.is_some_and(|limit| age >= limit) {
            self.retire();
        }
        let mut send = self.send.borrow().clone()?;
        // Without a stream of its own pending, this asks only whether the connection is good.
        if !matches!(send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))) {
            self.retire();
            return None;
        }
        if self.streams.get() == 0 {
            self.deadline.set(None);
        }
        self.streams.set(self.streams.get() + 1);
        let reused = self.requests.replace(self.requests.get() + 1) > 0;
        Some(Stream {
            connection: self.clone(),
            reused,
            send: Some(send),
            response: None,
            incoming: Incoming::new(Side::Upstream, None),
            outgoing: Outgoing::new(Side::Upstream),
            tunnel: None,
        })
    }

    fn retire(&self) {
        *self.send.borrow_mut() = None;
    }

    fn stream_ended(&self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.deadline.set(self.settings.idle_timeout.map(|limit| clock::now() + limit));
        }
    }
}

/// Runs a connection until it has ended.
async fn drive(
    connection: Rc<Connection>,
    mut driver: h2::client::Connection<Gathering, Bytes>,
    gathered: Gathered,
) {
    let ended = poll_fn(|cx| {
        let ended = Pin::new(&mut driver).poll(cx);
        if let Poll::Ready(Err(error)) = gathered.poll_write_out(cx) {
            return Poll::Ready(Err(error.to_string()));
        }
        if ended.is_pending() && connection.deadline.poll(cx).is_ready() && connection.streams.get() == 0 {
            connection.retire();
            // The handle that was just dropped wakes the driver, which says GOAWAY and ends.
        }
        ended.map_err(|error| error.to_string())
    });
    if let Err(error) = ended.await {
        debug!(error, "upstream HTTP/2 connection");
    }
    connection.retire();
}

impl Stream {
    /// True when this is not the first request on its connection.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Local address of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.connection.local
    }

    fn read_head(
        &mut self,
        response: Response<Option<RecvStream>>,
        head: &mut ResponseHead,
    ) -> Result<(), StreamError> {
        let (parts, body) = response.into_parts();
        let ended = body.as_ref().is_none_or(RecvStream::is_end_stream);
        headers::read_response(parts.status, &parts.headers, ended, head)
            .map_err(|error| StreamError::protocol(Side::Upstream, error.0))?;
        if let Some(body) = body {
            self.incoming.begin(body);
            if let Some(protocol) = self.tunnel.take().filter(|_| head.status == 200) {
                head.status = 101;
                head.headers.append(Known::Upgrade, protocol.as_bytes());
                head.headers.remove(Known::ContentLength);
            }
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.stream_ended();
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

impl Upstream for Stream {
    fn send_request(&mut self, head: &RequestHead, end: bool) {
        let Some(mut send) = self.send.take() else { return };
        let request = match headers::write_request(head) {
            Ok(request) => request,
            Err(error) => return self.outgoing.fail(StreamError::protocol(Side::Local, error.0)),
        };
        self.tunnel = head.upgrade.then(|| head.headers.get_str(Known::Upgrade)).flatten().map(String::from);
        match send.send_request(request, end) {
            Ok((response, stream)) => {
                self.response = Some(response);
                self.outgoing.begin(stream);
            }
            Err(error) => self.outgoing.fail(stream_error(Side::Upstream, &error)),
        }
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(match ready!(self.outgoing.poll_flush()) {
                Ok(()) => Err(StreamError::terminated(Side::Upstream, None)),
                Err(error) => Err(error),
            });
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            return Poll::Ready(self.read_head(interim.map(|()| None), head));
        }
        match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => {
                self.response = None;
                Poll::Ready(self.read_head(response.map(Some), head))
            }
            Err(error) => Poll::Ready(Err(stream_error(Side::Upstream, &error))),
        }
    }

    /// DATA frames carry a tunnel as they carry a body.
    fn become_tunnel(&mut self) {}
}
