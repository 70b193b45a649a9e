//! A TCP connection inside an HTTP request: CONNECT, or POST with its body both ways, over HTTP/1 or HTTP/2.
//!
//! `tcp_proxy` comes here where it has a `tunneling_config`. The endpoint speaks HTTP and says with its answer whether
//! there is a tunnel. Invariant: no byte of the client goes up before the endpoint has said yes.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{Outcome, relay::End};
use crate::{
    access_log::{Format, Record},
    cluster::{Endpoint, UpstreamProtocol},
    error::{ResetReason, Side, StreamError},
    http::{
        Worker, clock,
        exchange::{Sink, Upstream},
        message::{BodyLength, RequestHead, ResponseHead},
        router::relay::{Broken, Relay},
    },
    route::{AppendAction, HeaderOp},
    stats::Meter,
    stream::Stream,
    upstream::{
        bytes::Bytes,
        cluster::{Acquired, ClusterState, Purpose},
        connect::ConnectError,
        proxy_header::Ends,
    },
};

/// `TcpProxy.TunnelingConfig`.
#[derive(Debug)]
pub struct Tunnel {
    /// `hostname`: the authority, with operators.
    pub authority: Format,
    /// `use_post` with its `post_path`; else CONNECT.
    pub post: Option<Box<str>>,
    /// `headers_to_add`.
    pub headers: Vec<HeaderOp>,
}

impl Tunnel {
    /// The request that asks for it.
    pub(super) fn request(&self, record: &Record<'_>) -> RequestHead {
        let mut head = RequestHead::default();
        let mut text = Vec::new();
        self.authority.write(&mut text, record);
        head.set_authority(&String::from_utf8_lossy(&text));
        match &self.post {
            Some(path) => {
                head.set_method("POST");
                head.set_path(path);
                head.body = BodyLength::Unknown;
            }
            None => {
                head.set_method("CONNECT");
                head.upgrade = true;
            }
        }
        for op in &self.headers {
            let HeaderOp::Put { name, value, append, keep_empty } = op else { continue };
            text.clear();
            value.write(&mut text, record);
            if text.is_empty() && !keep_empty {
                continue;
            }
            let known = head.headers.get_named(name).is_some();
            match append {
                AppendAction::Append => head.headers.append_named(name.as_bytes(), &text),
                AppendAction::AddIfAbsent if known => {}
                AppendAction::OverwriteIfExists if !known => {}
                _ => head.headers.set_named(name.as_bytes(), &text),
            }
        }
        head
    }

    /// A stream to the endpoint on which it has said yes.
    pub(super) async fn open(
        &self,
        state: &Rc<ClusterState>,
        endpoint: &Arc<Endpoint>,
        ends: Ends,
        worker: &Rc<Worker>,
        head: &RequestHead,
    ) -> Result<Acquired, ConnectError> {
        let http2 = state.cluster.settings.protocol == UpstreamProtocol::Http2;
        let purpose = Purpose::of(ends);
        let pools = state.pools(endpoint, purpose);
        let mut acquired = match state.ready(&pools, http2) {
            Some(acquired) => acquired,
            None => state.wait(endpoint, &pools, http2, purpose, worker).await?,
        };
        state.stats.upstream_rq_total.inc();
        let stream = &mut acquired.0;
        stream.send_request(head, false);
        let mut response = ResponseHead::default();
        loop {
            response.clear();
            let answered = poll_fn(|cx| {
                if let Poll::Ready(Err(error)) = stream.poll_flush(cx) {
                    return Poll::Ready(Err(error));
                }
                stream.poll_response(cx, &mut response)
            });
            answered.await.map_err(|error| ConnectError { error, transport: String::new() })?;
            if !response.is_interim() {
                break;
            }
        }
        let agreed = if http2 { response.status == 200 } else { (200..300).contains(&response.status) };
        if !agreed {
            let error = StreamError::new(Side::Upstream, ResetReason::RemoteConnectionFailure);
            return Err(ConnectError { error, transport: format!("tunnel_response:{}", response.status) });
        }
        if head.is_connect() {
            stream.become_tunnel();
        }
        Ok(acquired)
    }
}

/// Limits of a relay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Nothing flowed for so long.
    pub(super) idle: Option<Duration>,
    /// When it ends whatever flows.
    pub(super) until: Option<Instant>,
}

/// Moves bytes both ways until both directions have ended, or something breaks.
pub(super) async fn relay(
    downstream: Stream,
    upstream: &mut Acquired,
    worker: &Rc<Worker>,
    limits: Limits,
    outcome: &mut Outcome,
) -> (End, Bytes) {
    let mut downstream = Bytes::new(downstream, worker.clone(), Side::Downstream, Meter::default());
    let (mut up, mut down) = (Relay::Body, Relay::Body);
    let deadline = worker.deadlines.register();
    let mut idle_at = limits.idle.map(|limit| clock::now() + limit);
    deadline.set(earliest(idle_at, limits.until));
    let end = poll_fn(|cx: &mut Context<'_>| {
        let mut moved = false;
        let sent = up.poll(cx, &mut downstream, &mut upstream.0, &mut moved);
        let received = down.poll(cx, &mut upstream.0, &mut downstream, &mut moved);
        for (result, source_is_client) in [(&sent, true), (&received, false)] {
            if let Poll::Ready(Err(broken)) = result {
                let at_source = matches!(broken, Broken::Source(_));
                let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                let by_client = at_source == source_is_client;
                return Poll::Ready(if by_client { End::Downstream(error) } else { End::Upstream(error) });
            }
        }
        if up.is_done() && down.is_done() {
            return Poll::Ready(End::Complete);
        }
        if moved {
            idle_at = limits.idle.map(|limit| clock::now() + limit);
            deadline.set(earliest(idle_at, limits.until));
        }
        deadline.poll(cx).map(|()| match limits.until {
            Some(until) if clock::now() >= until => End::TooLong,
            _ => End::Idle,
        })
    })
    .await;
    outcome.bytes = downstream.totals();
    (end, downstream)
}

/// The first of two moments that may never come.
pub(super) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
