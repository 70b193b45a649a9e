//! The upstream HTTP/2 side: multiplexed connections to one endpoint, and the streams on them.
//!
//! The cluster's state keeps a [`Pool`] per endpoint; the router drives a [`Stream`] through
//! [`crate::upstream::UpstreamStream`]. Each connection has a local task that drives it and ends with it.
//! Invariant: a connection that has seen GOAWAY, or failed, gets no new stream; the streams that it has finish.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tracing::debug;

use crate::{
    error::StreamError,
    http::{
        Worker, clock,
        config::Http2Options,
        deadline::Deadline,
        exchange::Upstream,
        h2::{
            connection::{self, Config, Role},
            head,
            keepalive::Keepalive,
            stream::{self, delegate_body},
            wire::Wire,
        },
        message::{RequestHead, ResponseHead},
    },
    stats::groups::Http2Stats,
    stream::Stream as Socket,
    upstream::{limits::Permit, queue::Queue},
};

/// Envoy's `max_response_headers_kb` and `max_headers_count` defaults.
const HEAD: head::Limits = head::Limits { bytes: 60 * 1024, fields: 100 };

/// What a cluster asks of its connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Close after so long without a stream.
    pub idle_timeout: Option<Duration>,
    /// Take a connection out of use after so many streams; 0 is never.
    pub max_requests: u32,
    /// Take a connection out of use at this age.
    pub max_duration: Option<Duration>,
    /// `http2_protocol_options`: windows, and the streams that we open beside the endpoint's own limit.
    pub options: Http2Options,
    /// `cluster.<name>.http2.`
    pub stats: Arc<Http2Stats>,
}

/// The connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    connections: Rc<Connections>,
    /// Requests that wait for a stream.
    pub queue: Rc<Queue>,
}

type Connections = RefCell<Vec<Rc<Connection>>>;

/// One multiplexed connection.
#[derive(Debug)]
pub struct Connection {
    shared: stream::Shared,
    /// It gets no new stream; its driver ends when the last one does.
    retired: Cell<bool>,
    streams: Cell<usize>,
    requests: Cell<u32>,
    created: Instant,
    deadline: Deadline,
    settings: Settings,
    local: SocketAddr,
    id: u64,
    permit: Permit,
    /// Who waits for a stream.
    queue: Rc<Queue>,
    keepalive: RefCell<Option<Box<Keepalive>>>,
    /// When the last stream ended.
    quiet_since: Cell<Instant>,
}

/// One request and its response.
#[derive(Debug)]
pub struct Stream {
    stream: stream::Stream,
    connection: Rc<Connection>,
    reused: bool,
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

    /// Adds a connection that was just made.
    pub fn add(&self, socket: Socket, permit: Permit, settings: Settings, worker: &Rc<Worker>) {
        let pool = Rc::downgrade(&self.connections);
        let connection = Connection::start(socket, permit, settings, worker, (self.queue.clone(), pool));
        self.connections.borrow_mut().push(connection);
        self.queue.kick();
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
    /// Starts to speak.
    fn start(
        socket: Socket,
        permit: Permit,
        settings: Settings,
        worker: &Rc<Worker>,
        (queue, pool): (Rc<Queue>, Weak<Connections>),
    ) -> Rc<Self> {
        let local = socket.local_addr();
        let config = Config {
            max_streams: 0,
            stream_window: settings.options.stream_window,
            connection_window: settings.options.connection_window,
            head: HEAD,
            extended_connect: false,
            flood: settings.options.flood,
        };
        let keepalive = Keepalive::new(settings.options.keepalive, &worker.deadlines);
        let shared = connection::Connection::new(Role::Client, config, settings.stats.clone());
        let connection = Rc::new(Self {
            shared: Rc::new(RefCell::new(shared)),
            retired: Cell::new(false),
            streams: Cell::new(0),
            requests: Cell::new(0),
            created: clock::now(),
            deadline: worker.deadlines.register(),
            settings,
            local,
            id: super::next_id(),
            permit,
            queue,
            keepalive: RefCell::new(keepalive),
            quiet_since: Cell::new(clock::now()),
        });
        let meter = connection.permit.meter();
        let mut driver =
            Driver { connection: connection.clone(), pool, wire: Wire::new(socket, worker.clone(), meter) };
        tokio::task::spawn_local(async move { poll_fn(|cx| driver.poll(cx)).await });
        connection
    }

    /// True when all streams that the endpoint (or we) allow are in use.
    fn is_full(&self) -> bool {
        let limit = self.settings.options.max_concurrent_streams as usize;
        self.streams.get() >= limit.min(self.shared.borrow().peer_max_streams())
    }

    /// A stream, unless the connection is out of use.
    fn open(self: &Rc<Self>) -> Option<Stream> {
        let worn = self.settings.max_requests != 0 && self.requests.get() >= self.settings.max_requests;
        let aged = self.is_aged();
        if (worn || aged) && !self.retired.get() {
            if aged {
                self.permit.aged();
            }
            self.retire();
        }
        let mut shared = self.shared.borrow_mut();
        if self.retired.get() || !shared.is_open() {
            return None;
        }
        let key = shared.reserve();
        if self.streams.get() == 0 {
            self.deadline.set(None);
            if let Some(keepalive) = &mut *self.keepalive.borrow_mut() {
                let silence = clock::now().saturating_duration_since(self.quiet_since.get());
                keepalive.probe(&mut shared, silence);
            }
        }
        self.streams.set(self.streams.get() + 1);
        let reused = self.requests.replace(self.requests.get() + 1) > 0;
        let stream = stream::Stream::new(self.shared.clone(), key);
        Some(Stream { stream, connection: self.clone(), reused })
    }

    fn is_aged(&self) -> bool {
        let age = || clock::now().saturating_duration_since(self.created);
        self.settings.max_duration.is_some_and(|limit| age() >= limit)
    }

    fn retire(&self) {
        self.retired.set(true);
        if self.streams.get() == 0 {
            self.shared.borrow_mut().go_away();
        }
    }

    fn stream_ended(&self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.quiet_since.set(clock::now());
            let idle = self.settings.idle_timeout.map(|limit| clock::now() + limit);
            let aged = self.settings.max_duration.map(|limit| self.created + limit);
            self.deadline.set(idle.into_iter().chain(aged).min());
        }
        self.queue.kick();
    }
}

/// The connection's task.
struct Driver {
    connection: Rc<Connection>,
    pool: Weak<Connections>,
    wire: Wire,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &mut self.connection.shared.borrow_mut();
        shared.set_driver(cx.waker());
        self.wire.lend(shared);
        let mut reading = true;
        let mut keepalive = self.connection.keepalive.borrow_mut();
        loop {
            // What streams have queued goes first, so that the endpoint works while we read.
            let written = self.wire.poll_write(cx, shared);
            if let Poll::Ready(Err(error)) = &written {
                shared.terminate(Some(error));
            }
            if shared.ended().is_some() {
                return self.end(shared.ended());
            }
            if !reading {
                // Asked after reading, which may have brought the answer.
                let Some(keepalive) = &mut *keepalive else { break };
                if !keepalive.poll(cx, shared) {
                    shared.terminate(None);
                    return self.end(shared.ended());
                }
                if shared.output().is_empty() || written.is_pending() {
                    break;
                }
                continue;
            }
            match self.wire.poll_read(cx, shared) {
                Poll::Pending => reading = false,
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => shared.terminate(None),
                Poll::Ready(Err(error)) => shared.terminate(Some(&error)),
            }
            // A violation leaves a GOAWAY to write.
            if shared.ended().is_some() {
                let _ = self.wire.poll_write(cx, shared);
                return self.end(shared.ended());
            }
        }
        self.wire.release(shared);
        // The endpoint may allow more streams now.
        self.connection.queue.kick();
        if self.connection.streams.get() > 0 {
            return Poll::Pending;
        }
        let closing = self.connection.retired.get() || !shared.is_open();
        if !closing {
            if self.connection.deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let permit = &self.connection.permit;
            if self.connection.is_aged() { permit.aged() } else { permit.timed_out() }
        }
        shared.go_away();
        // A word of farewell is worth one try.
        let _ = self.wire.poll_write(cx, shared);
        self.end(None)
    }

    /// Out of use and out of the pool, which may not be asked for a stream again: the connection is not counted any more when its
    /// last stream has gone.
    fn end(&self, error: Option<StreamError>) -> Poll<()> {
        debug!(?error, "upstream HTTP/2 connection");
        self.connection.retired.set(true);
        if let Some(pool) = self.pool.upgrade() {
            pool.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.connection));
        }
        Poll::Ready(())
    }
}

impl Stream {
    /// True when this is not the first request on its connection.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Process-unique id of the connection.
    pub fn id(&self) -> u64 {
        self.connection.id
    }

    /// Local address of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.connection.local
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.stream_ended();
    }
}

delegate_body!(Stream, stream);

impl Upstream for Stream {
    fn send_request(&mut self, head: &RequestHead, end: bool) {
        self.stream.connection().borrow_mut().send_request(self.stream.key(), head, end);
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        self.stream.connection().borrow_mut().poll_response(cx, self.stream.key(), head)
    }

    /// DATA frames carry a tunnel as they carry a body.
    fn become_tunnel(&mut self) {}
}
