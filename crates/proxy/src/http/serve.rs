//! A downstream connection from its first byte to its last: which codec, then request after request.
//!
//! Invariant: between requests the task holds no buffer and no exchange, so an idle connection costs its own state
//! and nothing else.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;

use crate::{
    drain::Phase,
    error::{Flags, Side},
    http::{
        Worker, clock,
        config::{Codec, HttpConnectionManager},
        connection_manager::{self, Session, reply::LocalReply},
        deadline::Deadline,
        h1::{
            encode, parse,
            server::{Head, Server},
            transport::Transport,
        },
        h2,
        message::Protocol,
    },
    listener::connection::Connection,
    stream::Stream,
};

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a downstream connection until it ends; `held` is dropped then.
///
/// What is made here is the connection's task, which is most of what an idle connection costs: it takes its arguments
/// apart before it first runs, so that the task does not keep a place for them.
pub fn serve<H>(
    stream: Stream,
    connection: Connection,
    manager: Arc<HttpConnectionManager>,
    worker: Rc<Worker>,
    held: H,
) -> impl Future<Output = ()> + use<H> {
    worker.start();
    let session = Rc::new(Session::new(connection, manager, worker));
    async move {
        serve_session(stream, &session).await;
        drop(held);
    }
}

async fn serve_session(stream: Stream, session: &Rc<Session>) {
    let manager = &*session.manager;
    let codec = manager.codec;
    if codec == Codec::Http2 {
        return Box::pin(serve_h2(stream, Bytes::new(), session.clone())).await;
    }
    let (bytes, fields) = (manager.max_request_headers, manager.max_headers_count);
    let limits = parse::Limits { bytes, fields, names: manager.http1.names };
    let transport = Transport::new(stream, session.worker.clone(), Side::Downstream, limits);
    let transport = transport.metered(session.counted.meter());
    let mut server = Box::new(Server::new(transport, limits, manager.http1.accept_http_10));
    let deadline = session.worker.deadlines.register();
    deadline.set(manager.idle_timeout.map(|limit| clock::now() + limit));
    if codec == Codec::Auto && poll_fn(|cx| poll_preface(cx, &mut server, session, &deadline)).await {
        drop(deadline);
        let (stream, received) = server.into_parts();
        return Box::pin(serve_h2(stream, received, session.clone())).await;
    }
    serve_h1(&mut server, session, &deadline).await;
    if !server.transport().is_end_of_stream() {
        session.counted.ends_here();
    }
    if !server.is_aborted() {
        // Let the last response arrive before the kernel may reset the connection.
        let limit = manager.delayed_close_timeout;
        let limit = if limit.is_zero() { Duration::from_secs(1) } else { limit };
        if Box::pin(tokio::time::timeout(limit, server.transport().linger())).await.is_err() {
            session.counted.stats().downstream_cx_delayed_close_timeout.inc();
        }
    }
}

/// Ready with true when the client speaks HTTP/2, with false as soon as it can only be HTTP/1 (or has gone).
fn poll_preface(
    cx: &mut std::task::Context<'_>,
    server: &mut Server,
    session: &Session,
    deadline: &Deadline,
) -> Poll<bool> {
    loop {
        let bytes = server.transport().pending();
        let n = bytes.len().min(PREFACE.len());
        if bytes[..n] != PREFACE[..n] {
            return Poll::Ready(false);
        }
        if n == PREFACE.len() {
            return Poll::Ready(true);
        }
        match server.transport().poll_fill(cx, PREFACE.len()) {
            Poll::Ready(Ok(n)) if n > 0 => {}
            Poll::Ready(_) => return Poll::Ready(false),
            Poll::Pending => {
                let over = deadline.poll(cx).is_ready()
                    || session.connection.drain.poll_phase(cx, Phase::CloseIdle).is_ready();
                return if over { Poll::Ready(false) } else { Poll::Pending };
            }
        }
    }
}

async fn serve_h2(stream: Stream, received: Bytes, session: Rc<Session>) {
    session.counted.speaks(Protocol::Http2);
    let make = |requests: Rc<h2::server::Requests>| serve_streams(session.clone(), requests);
    let (manager, drain) = (&*session.manager, &session.connection.drain);
    let serving = h2::server::Serving { manager, drain, worker: &session.worker };
    h2::server::serve(stream, received, serving, make).await;
}

/// Serves one HTTP/2 stream after another.
async fn serve_streams(session: Rc<Session>, requests: Rc<h2::server::Requests>) {
    let deadline = session.worker.deadlines.register();
    loop {
        let mut stream = requests.next().await;
        let mut exchange = session.worker.take_exchange();
        if stream.take_head(&mut exchange.request) {
            connection_manager::handle(&session, &mut stream, &mut exchange, &deadline).await;
        } else {
            let reply = LocalReply::new(431, "", "http2.too_large_headers", 0);
            Box::pin(connection_manager::refuse(&session, &mut stream, &mut exchange, reply, &deadline))
                .await;
        }
        session.worker.give_exchange(exchange);
        deadline.set(None);
    }
}

async fn serve_h1(server: &mut Server, session: &Session, deadline: &Deadline) {
    session.counted.speaks(Protocol::Http11);
    let manager = &*session.manager;
    loop {
        deadline.set(manager.idle_timeout.map(|limit| clock::now() + limit));
        if !poll_fn(|cx| poll_next(cx, server, session, deadline)).await {
            return;
        }
        let mut exchange = session.worker.take_exchange();
        if let Some(limit) = manager.request_headers_timeout {
            deadline.set(Some(clock::now() + limit));
        }
        let head = poll_fn(|cx| match server.poll_head(cx, &mut exchange.request) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => deadline.poll(cx).map(|()| None),
        })
        .await;
        match head {
            Some(Head::Request) => connection_manager::handle(session, server, &mut exchange, deadline).await,
            Some(Head::Closed | Head::Cut) => {
                session.worker.give_exchange(exchange);
                return;
            }
            Some(Head::Refused(refused)) => {
                let reply = refusal(refused);
                Box::pin(connection_manager::refuse(session, server, &mut exchange, reply, deadline)).await;
            }
            None => {
                let reply = LocalReply::new(408, "", "request_header_timeout", 0);
                let reply = LocalReply { close: true, ..reply };
                Box::pin(connection_manager::refuse(session, server, &mut exchange, reply, deadline)).await;
            }
        }
        session.worker.give_exchange(exchange);
        if !server.can_continue() {
            return;
        }
        server.transport().release();
    }
}

/// Ready with true when bytes of a request are there, with false when the connection is to end.
fn poll_next(
    cx: &mut std::task::Context<'_>,
    server: &mut Server,
    session: &Session,
    deadline: &Deadline,
) -> Poll<bool> {
    if server.has_input() {
        return Poll::Ready(true);
    }
    match server.transport().poll_fill(cx, session.manager.max_request_headers + 1) {
        Poll::Ready(Ok(n)) if n > 0 => return Poll::Ready(true),
        Poll::Ready(_) => return Poll::Ready(false),
        Poll::Pending => {}
    }
    let drain = &session.connection.drain;
    if drain.poll_phase(cx, Phase::CloseIdle).is_ready() {
        session.counted.stats().downstream_cx_drain_close.inc();
        return Poll::Ready(false);
    }
    deadline.poll(cx).map(|()| {
        session.counted.stats().downstream_cx_idle_timeout.inc();
        false
    })
}

/// The answer to a head that was refused: the reason phrase as body, as Envoy's codec writes it.
fn refusal(refused: parse::Rejection) -> LocalReply {
    let body = encode::reason(refused.status);
    let reply = LocalReply::new(refused.status, body, refused.details, Flags::DOWNSTREAM_PROTOCOL_ERROR);
    LocalReply { close: true, ..reply }
}
