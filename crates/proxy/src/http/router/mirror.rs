//! Mirrors: copies of a request, sent to other clusters, whose answers nobody reads (`request_mirror_policies`).
//!
//! The router calls [`start`] when a request's head is as it goes on, and feeds [`Copies`] with the body as it passes.
//! Each copy is a task of its own on this worker, bounded by the route's timeout.
//! Invariant: a copy never makes the original wait or fail; one that cannot keep up is cut off.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};

use super::{forward::Active, relay::Relay};
use crate::{
    balancer::Selection,
    cluster::{ClusterSlot, UpstreamProtocol},
    error::{ResetReason, Side, StreamError},
    http::{
        Worker, clock,
        connection_manager::{Exchange, Session},
        exchange::{Next, Source, Upstream},
        headers::{HeaderList, Known},
        message::{BodyLength, Protocol, RequestHead, ResponseHead},
    },
    route::{Mirror, MirrorTarget},
    upstream::{UpstreamStream, cluster::Purpose},
};

/// Bytes of body that a copy may lag behind.
const LAG: usize = 1 << 20;
/// How long a copy may take where the route has no timeout.
const PATIENCE: Duration = Duration::from_secs(60);

/// The request body on its way to the copies. Dropped before [`Self::finish`], the copies are cut off.
#[derive(Debug)]
pub struct Copies(Vec<Rc<RefCell<Pipe>>>);

/// The body of one copy.
#[derive(Debug, Default)]
struct Pipe {
    chunks: VecDeque<Bytes>,
    len: usize,
    state: End,
    trailers: HeaderList,
    waker: Option<Waker>,
}

/// How a copy's body goes on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    #[default]
    Open,
    /// Nothing follows but trailers, if there are any.
    Complete,
    /// Broken off.
    Cut,
}

/// Starts a copy for each mirror whose share the request falls into.
pub fn start(
    session: &Session,
    exchange: &Exchange,
    mirrors: &[Mirror],
    timeout: Option<Duration>,
) -> Option<Copies> {
    // A tunnel has two ends only.
    if exchange.request.upgrade {
        return None;
    }
    let mut copies = Vec::new();
    for mirror in mirrors {
        let random = exchange.info.random;
        if mirror.share.is_some_and(|(share, of)| random % u64::from(of.max(1)) >= u64::from(share)) {
            continue;
        }
        let Some(slot) = slot_of(mirror, exchange) else { continue };
        let pipe = Rc::<RefCell<Pipe>>::default();
        let copy = Copy {
            worker: session.worker.clone(),
            slot,
            head: head(mirror, session, &exchange.request),
            body: Body { pipe: pipe.clone(), current: Bytes::new(), trailers: HeaderList::new() },
            destination: session.connection.local_restored.then_some(session.connection.local),
        };
        tokio::task::spawn_local(tokio::time::timeout(timeout.unwrap_or(PATIENCE), copy.send()));
        copies.push(pipe);
    }
    let copies = (!copies.is_empty()).then_some(Copies(copies))?;
    if exchange.request.body == BodyLength::None {
        copies.finish(&HeaderList::new());
        return None;
    }
    Some(copies)
}

fn slot_of(mirror: &Mirror, exchange: &Exchange) -> Option<Arc<ClusterSlot>> {
    match &mirror.target {
        MirrorTarget::Cluster(slot) => Some(slot.clone()),
        MirrorTarget::Header(name, clusters) => clusters.get(&exchange.request.headers.joined(name)?),
    }
}

/// The copy's head: the request's as it goes on, marked as Envoy's asynchronous client marks it.
fn head(mirror: &Mirror, session: &Session, request: &RequestHead) -> RequestHead {
    let mut head = request.clone();
    if let Some(host) = &mirror.host {
        head.set_authority(host);
    } else if mirror.suffix {
        let shadow = match head.authority().rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{host}-shadow:{port}")
            }
            _ => format!("{}-shadow", head.authority()),
        };
        head.set_authority(&shadow);
    }
    head.headers.set(Known::XEnvoyInternal, b"true");
    let ip = session.worker.local_ip();
    let forwarded = match head.headers.joined("x-forwarded-for") {
        Some(before) => format!("{before},{ip}"),
        None => ip.to_owned(),
    };
    head.headers.set(Known::XForwardedFor, forwarded.as_bytes());
    head
}

impl Copies {
    /// Passes on a part of the body; copies that lag too far behind are cut off.
    pub fn push(&self, data: Bytes) {
        for pipe in &self.0 {
            let mut pipe = pipe.borrow_mut();
            if pipe.state != End::Open {
                continue;
            }
            if pipe.len + data.len() > LAG {
                pipe.end(End::Cut);
                continue;
            }
            pipe.len += data.len();
            pipe.chunks.push_back(data.clone());
            pipe.wake();
        }
    }

    /// The request is complete.
    pub fn finish(&self, trailers: &HeaderList) {
        for pipe in &self.0 {
            let mut pipe = pipe.borrow_mut();
            if pipe.state == End::Open {
                pipe.trailers = trailers.clone();
                pipe.end(End::Complete);
            }
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for pipe in &self.0 {
            let mut pipe = pipe.borrow_mut();
            if pipe.state == End::Open {
                pipe.end(End::Cut);
            }
        }
    }
}

impl Pipe {
    fn end(&mut self, state: End) {
        self.state = state;
        if state == End::Cut {
            self.chunks.clear();
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The reading end of a pipe.
#[derive(Debug)]
struct Body {
    pipe: Rc<RefCell<Pipe>>,
    current: Bytes,
    trailers: HeaderList,
}

impl Source for Body {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        let mut pipe = self.pipe.borrow_mut();
        if self.current.is_empty()
            && let Some(next) = pipe.chunks.pop_front()
        {
            pipe.len -= next.len();
            self.current = next;
        }
        if !self.current.is_empty() {
            let last = pipe.state == End::Complete && pipe.chunks.is_empty() && pipe.trailers.is_empty();
            return Poll::Ready(Ok(Next::Data { last }));
        }
        match pipe.state {
            End::Open => {
                pipe.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Complete if pipe.trailers.is_empty() => Poll::Ready(Ok(Next::End)),
            End::Complete => {
                self.trailers = pipe.trailers.clone();
                Poll::Ready(Ok(Next::Trailers))
            }
            End::Cut => Poll::Ready(Err(StreamError::new(Side::Local, ResetReason::LocalReset))),
        }
    }

    fn data(&self) -> &[u8] {
        &self.current
    }

    fn consume(&mut self, n: usize) {
        self.current.advance(n.min(self.current.len()));
    }

    fn trailers(&mut self) -> &mut HeaderList {
        &mut self.trailers
    }
}

/// A request that is sent for its own sake.
struct Copy {
    worker: Rc<Worker>,
    slot: Arc<ClusterSlot>,
    head: RequestHead,
    body: Body,
    destination: Option<SocketAddr>,
}

impl Copy {
    /// Sends it and reads the answer to its end; whatever fails ends it.
    async fn send(mut self) {
        let Some(state) = self.worker.cluster(&self.slot) else { return };
        let settings = &state.cluster.settings;
        let stats = &state.stats;
        let Some(endpoint) = state.pick(&self.worker, self.destination, Selection::default()) else {
            stats.upstream_cx_none_healthy.inc();
            return;
        };
        let pools = state.pools(&endpoint, Purpose::NOBODYS);
        let http2 = match settings.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => self.head.protocol == Protocol::Http2,
        };
        let mut acquired = match state.ready(&pools, http2) {
            Some(acquired) => acquired,
            None => match state.wait(&endpoint, &pools, http2, Purpose::NOBODYS, &self.worker).await {
                Ok(acquired) => acquired,
                Err(_) => return state.responses.internal.upstream_rq.inc(503),
            },
        };
        let Some(permit) = state.admit(false) else {
            return state.give_back(acquired, &pools, &self.worker);
        };
        let _active = Active::new(endpoint, state.clone(), permit);
        stats.upstream_rq_total.inc();
        let sent = clock::now();
        let status = self.exchange(&mut acquired.0).await;
        state.responses.internal.upstream_rq.inc(status.unwrap_or(503));
        if status.is_ok() {
            state.responses.internal.upstream_rq_time.record(sent.elapsed().as_millis() as u64);
            state.give_back(acquired, &pools, &self.worker);
        } else {
            stats.upstream_rq_tx_reset.inc();
        }
    }

    async fn exchange(&mut self, upstream: &mut UpstreamStream) -> Result<u16, ()> {
        let bodiless = self.head.body == BodyLength::None;
        upstream.send_request(&self.head, bodiless);
        let mut up = if bodiless { Relay::Flush } else { Relay::Body };
        let mut answer = ResponseHead::default();
        poll_fn(|cx| {
            let mut moved = false;
            if !up.is_done()
                && let Poll::Ready(Err(_)) = up.poll(cx, &mut self.body, upstream, &mut moved)
            {
                return Poll::Ready(Err(()));
            }
            loop {
                match upstream.poll_response(cx, &mut answer) {
                    Poll::Ready(Ok(())) if answer.is_interim() => answer.clear(),
                    Poll::Ready(result) => return Poll::Ready(result.map_err(drop)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
        poll_fn(|cx| {
            let mut moved = false;
            if !up.is_done()
                && let Poll::Ready(Err(_)) = up.poll(cx, &mut self.body, upstream, &mut moved)
            {
                return Poll::Ready(Err(()));
            }
            if answer.body == BodyLength::None {
                return if up.is_done() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            loop {
                match upstream.poll_body(cx) {
                    Poll::Ready(Ok(Next::Data { .. })) => upstream.consume(upstream.data().len()),
                    Poll::Ready(Ok(Next::End | Next::Trailers)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
        Ok(answer.status)
    }
}
