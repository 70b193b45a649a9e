//! The downstream HTTP/2 side: one task drives a connection and the request phases of all its streams.
//!
//! [`crate::http::serve`] calls [`serve`] for connections that speak HTTP/2. In a turn the task reads, lets every stream
//! run that can, and writes once. Invariant: it waits only when nothing is left to read, to run or to write.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tracing::debug;

use super::{
    connection::{Config, Connection, Role, flood::TOO_MANY_RESETS},
    frame::Code,
    head,
    keepalive::Keepalive,
    slots::{Mailbox, Slots},
    stream::{self, delegate_body},
    wire::Wire,
};
use crate::{
    drain::{Phase, Ticket},
    error::{ResetReason, StreamError},
    http::{
        Worker, clock,
        config::HttpConnectionManager,
        deadline::Deadline,
        exchange::Downstream,
        message::{Protocol, RequestHead, ResponseHead},
    },
    stats::Meter,
    stream::Stream as Socket,
};

/// One request and its response on an HTTP/2 connection.
#[derive(Debug)]
pub struct Stream {
    stream: stream::Stream,
}

/// A connection that streams wait for.
pub type Requests = Mailbox<Stream>;

/// What [`serve`] needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Serving<'a> {
    /// Settings.
    pub manager: &'a HttpConnectionManager,
    /// Says when to end.
    pub drain: &'a Ticket,
    /// The thread's context.
    pub worker: &'a Rc<Worker>,
}

/// Serves a connection until it ends; `received` was read from the socket already. Every future that `make` makes
/// serves one stream after another.
pub async fn serve<F: Future<Output = ()>>(
    socket: Socket,
    received: Bytes,
    serving: Serving<'_>,
    make: impl Fn(Rc<Requests>) -> F,
) {
    let Serving { manager, worker, .. } = serving;
    let mut connection = Connection::new(Role::Server, config(manager), worker.http2_stats());
    let mut wire =
        Wire::new(socket, worker.clone(), Meter::Downstream(worker.http_stats(&manager.stat_prefix)));
    wire.replay(&received, &mut connection);
    serving.count_violation(&connection);
    let mut driver = Driver {
        connection: Rc::new(RefCell::new(connection)),
        wire,
        slots: Slots::default(),
        serving,
        deadline: worker.deadlines.register(),
        until: manager.max_connection_duration.map(|limit| clock::now() + limit),
        idle: false,
        closing: false,
        accepted: 0,
        lingering: false,
        keepalive: Keepalive::new(manager.http2.keepalive, &worker.deadlines),
    };
    poll_fn(|cx| driver.poll(cx, &make)).await;
}

impl Serving<'_> {
    /// Counts what the peer did wrong, if that has ended the connection; before the peer is told, so that who was told finds it
    /// counted.
    fn count_violation(&self, connection: &Connection) {
        let ended = connection.ended().filter(|error| error.reason == ResetReason::ProtocolError);
        let Some(error) = ended else { return };
        let stats = self.worker.http_stats(&self.manager.stat_prefix);
        stats.downstream_cx_protocol_error.inc();
        if error.details == TOO_MANY_RESETS {
            stats.downstream_rq_too_many_premature_resets.inc();
        }
    }
}

fn config(manager: &HttpConnectionManager) -> Config {
    let options = &manager.http2;
    Config {
        max_streams: options.max_concurrent_streams,
        stream_window: options.stream_window,
        connection_window: options.connection_window,
        head: head::Limits { bytes: manager.max_request_headers, fields: manager.max_headers_count },
        extended_connect: !manager.upgrades.is_empty(),
        flood: options.flood,
    }
}

/// The connection's task.
struct Driver<'a, F> {
    connection: stream::Shared,
    wire: Wire,
    slots: Slots<F, Stream>,
    serving: Serving<'a>,
    deadline: Deadline,
    /// `max_connection_duration` has passed then.
    until: Option<Instant>,
    idle: bool,
    closing: bool,
    accepted: u32,
    lingering: bool,
    keepalive: Option<Box<Keepalive>>,
}

impl<F: Future<Output = ()>> Driver<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>, make: &impl Fn(Rc<Requests>) -> F) -> Poll<()> {
        if self.lingering {
            return self.poll_linger(cx);
        }
        self.slots.begin_turn(cx);
        if self.serving.drain.poll_phase(cx, Phase::Draining).is_ready() {
            self.go_away();
        }
        self.turn(cx, make);
        if let Some(keepalive) = &mut self.keepalive {
            let connection = &mut *self.connection.borrow_mut();
            if connection.ended().is_none() && !keepalive.poll(cx, connection) {
                connection.terminate(None);
            } else if let Poll::Ready(Err(error)) = self.wire.poll_write(cx, connection) {
                connection.terminate(Some(&error));
            }
        }
        if self.connection.borrow().ended().is_some() {
            return self.poll_ended(cx);
        }
        self.wire.release(&mut self.connection.borrow_mut());
        self.poll_close(cx)
    }

    /// Reads, runs and writes until nothing more can be done now.
    fn turn(&mut self, cx: &mut Context<'_>, make: &impl Fn(Rc<Requests>) -> F) {
        self.wire.lend(&mut self.connection.borrow_mut());
        loop {
            let reading = self.read(cx);
            self.start(make);
            while self.slots.poll_ready() {}
            let written = self.wire.poll_write(cx, &mut self.connection.borrow_mut());
            if let Poll::Ready(Err(error)) = &written {
                // One that failed has nobody left to talk to.
                self.connection.borrow_mut().terminate(Some(error));
            }
            // Streams that waited for room in the queue may go on.
            let more = self.slots.poll_ready() || !self.connection.borrow().output().is_empty();
            if !(reading || (more && written.is_ready())) {
                return;
            }
        }
    }

    /// Reads once; true when there may be more.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let connection = &mut self.connection.borrow_mut();
        if connection.ended().is_some() {
            return false;
        }
        match self.wire.poll_read(cx, connection) {
            Poll::Pending => return false,
            Poll::Ready(Ok(true)) => {
                self.serving.count_violation(connection);
                return connection.ended().is_none();
            }
            Poll::Ready(Ok(false)) => connection.terminate(None),
            Poll::Ready(Err(error)) => connection.terminate(Some(&error)),
        }
        false
    }

    /// Gives the requests that have arrived to slots.
    fn start(&mut self, make: &impl Fn(Rc<Requests>) -> F) {
        loop {
            let Some(key) = self.connection.borrow_mut().accept() else { return };
            let stream = Stream { stream: stream::Stream::new(self.connection.clone(), key) };
            self.accepted += 1;
            let limit = self.serving.manager.max_requests_per_connection;
            if limit != 0 && self.accepted >= limit {
                self.go_away();
            }
            self.slots.start(stream, make);
        }
    }

    /// Ready when the connection is at its end, politely: after GOAWAY, or idle or old for long enough.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let manager = self.serving.manager;
        let idle = self.slots.busy() == 0;
        if idle && self.connection.borrow().is_finished() {
            return self.poll_last_words(cx);
        }
        if idle && self.serving.drain.poll_phase(cx, Phase::CloseIdle).is_ready() {
            self.connection.borrow_mut().close();
            return self.poll_last_words(cx);
        }
        if idle != self.idle || self.accepted == 0 {
            self.idle = idle;
            let idle_until = match self.closing {
                true => Some(clock::now() + manager.drain_timeout),
                false => manager.idle_timeout.map(|limit| clock::now() + limit),
            };
            let at = [idle_until.filter(|_| idle), self.until.filter(|_| !self.closing)];
            self.deadline.set(at.into_iter().flatten().min());
        }
        if self.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.closing {
            self.connection.borrow_mut().close();
            return self.poll_last_words(cx);
        }
        self.go_away();
        self.idle = !idle;
        // What go_away queued is written by another turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// No new streams; those that are open finish.
    fn go_away(&mut self) {
        if !self.closing {
            self.closing = true;
            self.idle = !self.idle;
            self.connection.borrow_mut().go_away();
        }
    }

    /// The connection has failed: its streams see that, then it is over.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.slots.poll_ready() {}
        if self.slots.busy() > 0 {
            return Poll::Pending;
        }
        let error = self.connection.borrow().ended();
        debug!(?error, "HTTP/2 connection");
        self.poll_last_words(cx)
    }

    /// Writes what is left (GOAWAY) and waits a little for the peer to read it.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // One try: a peer that does not read now will not mind.
        let mut connection = self.connection.borrow_mut();
        if connection.output().is_empty()
            || !matches!(self.wire.poll_write(cx, &mut connection), Poll::Ready(Ok(())))
        {
            return Poll::Ready(());
        }
        drop(connection);
        let _ = self.wire.poll_shutdown(cx);
        let limit = self.serving.manager.delayed_close_timeout;
        self.deadline.set(Some(clock::now() + if limit.is_zero() { Duration::from_secs(1) } else { limit }));
        self.lingering = true;
        self.poll_linger(cx)
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.wire.poll_linger(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.deadline.poll(cx),
        }
    }
}

impl Stream {
    /// Moves the request's head to `head`, which must be clear; false when it was too large to be kept.
    pub fn take_head(&mut self, head: &mut RequestHead) -> bool {
        self.stream.connection().borrow_mut().take_request(self.stream.key(), head)
    }
}

delegate_body!(Stream, stream);

impl Downstream for Stream {
    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        self.stream.connection().borrow_mut().send_response(self.stream.key(), head, false);
    }

    fn send_head(&mut self, head: &ResponseHead, end: bool) {
        self.stream.connection().borrow_mut().send_response(self.stream.key(), head, end);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.stream.connection().borrow_mut().poll_error(cx, self.stream.key())
    }

    fn abort(&mut self) {
        self.stream.connection().borrow_mut().abort(self.stream.key(), Code::INTERNAL_ERROR);
    }

    fn close_after_response(&mut self) {
        self.stream.connection().borrow_mut().go_away();
    }

    fn request_complete(&self) -> bool {
        self.stream.is_complete()
    }

    fn body_bytes(&self) -> (u64, u64) {
        (self.stream.received, self.stream.sent)
    }

    /// DATA frames carry a tunnel as they carry a body.
    fn become_tunnel(&mut self) {}
}
