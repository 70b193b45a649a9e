//! A worker's logger: its buffer, and the task that sends it.
//!
//! Invariant: the buffer is bounded; a service that is away costs a try now and then, never a request.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::time::timeout;

use super::{GrpcSink, Shape, Target, field};
use crate::{
    balancer::Selection,
    cluster::Endpoint,
    error::StreamError,
    http::{
        Worker,
        exchange::{Next, Sink, Source, Upstream},
        headers::HeaderList,
        message::{BodyLength, ResponseHead},
    },
    stats::groups::GrpcLogStats,
    upstream::{
        cluster::{Acquired, ClusterState, Pools, Purpose},
        limits::Permit,
    },
};

/// Bytes that wait at most while the service is slow or away.
const MOST: usize = 1 << 20;
/// How long the service may take to read a message, or to answer a call.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody tries again after a failure: first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often a logger without entries looks whether it is still wanted.
const LOOK: Duration = Duration::from_secs(60);

/// Entries of one worker for one log.
#[derive(Debug)]
pub struct Logger {
    target: Arc<Target>,
    /// The log, as long as it is configured.
    log: Weak<GrpcSink>,
    pending: RefCell<Vec<u8>>,
    entries: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    stats: Arc<GrpcLogStats>,
}

impl Logger {
    /// Makes one with its task.
    pub(super) fn start(target: &Arc<Target>, log: Weak<GrpcSink>, worker: &Rc<Worker>) -> Rc<Self> {
        let logger = Rc::new(Self {
            target: target.clone(),
            log,
            pending: RefCell::default(),
            entries: Cell::new(0),
            waker: RefCell::default(),
            stats: worker.stats.group(target.prefix, worker.index),
        });
        tokio::task::spawn_local(logger.clone().run(worker.clone()));
        logger
    }

    /// True while its log is configured.
    pub fn is_wanted(&self) -> bool {
        self.log.strong_count() > 0
    }

    /// Has `write` append an entry, unless too many wait.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = self.pending.borrow_mut();
        if pending.len() >= MOST.max(self.target.size) {
            return self.stats.logs_dropped.inc();
        }
        let before = pending.len();
        write(&mut pending);
        self.entries.set(self.entries.get() + 1);
        // The task sleeps until there is something, and then until there is much.
        let grown = before < self.target.size && pending.len() >= self.target.size;
        if (before == 0 || grown)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Sends until the log is gone.
    async fn run(self: Rc<Self>, worker: Rc<Worker>) {
        let (mut call, mut pause) = (None, Duration::ZERO);
        loop {
            let something = poll_fn(|cx| self.poll_until(cx, &mut call, 1));
            if timeout(LOOK, something).await.is_err() {
                match self.is_wanted() {
                    true => continue,
                    false => return,
                }
            }
            let much = poll_fn(|cx| self.poll_until(cx, &mut call, self.target.size.max(1)));
            // Enough, or the interval has passed: either way it is time.
            let _ = timeout(self.target.interval, much).await;
            let entries = std::mem::take(&mut *self.pending.borrow_mut());
            let count = self.entries.replace(0);
            if self.send(&worker, &mut call, &entries).await.is_ok() {
                self.stats.logs_written.add(count);
                pause = Duration::ZERO;
                continue;
            }
            call = None;
            self.keep(entries, count);
            pause = (pause * 2).clamp(PAUSE.0, PAUSE.1);
            tokio::time::sleep(pause).await;
        }
    }

    /// Puts entries back that could not be sent, before those that came since; what has no room is dropped.
    fn keep(&self, mut entries: Vec<u8>, count: u64) {
        let mut pending = self.pending.borrow_mut();
        if entries.len() + pending.len() > MOST.max(self.target.size) || !self.is_wanted() {
            return self.stats.logs_dropped.add(count);
        }
        entries.extend_from_slice(&pending);
        *pending = entries;
        self.entries.set(self.entries.get() + count);
    }

    /// Ready when so many bytes wait. Meanwhile a stream that the service ends is let go of.
    fn poll_until(&self, cx: &mut Context<'_>, call: &mut Option<Call>, size: usize) -> Poll<()> {
        if call.as_mut().is_some_and(|call| call.poll_over(cx).is_ready()) {
            *call = None;
        }
        if self.pending.borrow().len() >= size {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    async fn send(&self, worker: &Rc<Worker>, open: &mut Option<Call>, entries: &[u8]) -> Result<(), ()> {
        let fresh = open.is_none();
        if fresh {
            *open = Call::open(&self.target, worker).await;
        }
        let call = open.as_mut().ok_or(())?;
        match &self.target.shape {
            Shape::Stream { first, field } => {
                let first = if fresh { &first[..] } else { &[] };
                call.write(stream_message(first, *field, entries), false).await
            }
            Shape::Calls { resource } => {
                call.write(super::otel::message(resource, entries), true).await?;
                let answered = timeout(PATIENCE, poll_fn(|cx| call.poll_over(cx))).await;
                *open = None;
                if answered == Ok(true) { Ok(()) } else { Err(()) }
            }
        }
    }
}

fn stream_message(first: &[u8], number: u32, entries: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(first.len() + entries.len() + 16);
    message.extend_from_slice(first);
    field(&mut message, number, entries);
    message
}

/// A call under way.
struct Call {
    acquired: Acquired,
    answer: ResponseHead,
    answered: bool,
    held: Held,
}

/// What a call holds of its cluster.
struct Held {
    endpoint: Arc<Endpoint>,
    state: Rc<ClusterState>,
    _pools: Rc<Pools>,
    _permit: Permit,
}

impl Held {
    fn new(endpoint: Arc<Endpoint>, state: Rc<ClusterState>, pools: Rc<Pools>, permit: Permit) -> Self {
        endpoint.begin();
        state.stats.upstream_rq_active.inc();
        Self { endpoint, state, _pools: pools, _permit: permit }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.endpoint.end();
        self.state.stats.upstream_rq_active.dec();
    }
}

impl Call {
    /// Begins the call; `None` when nobody is there.
    async fn open(target: &Target, worker: &Rc<Worker>) -> Option<Self> {
        let state = worker.cluster(&target.slot)?;
        let Some(endpoint) = state.pick(worker, None, Selection::default()) else {
            state.stats.upstream_cx_none_healthy.inc();
            return None;
        };
        let pools = state.pools(&endpoint, Purpose::NOBODYS);
        let mut acquired = match state.ready(&pools, true) {
            Some(acquired) => acquired,
            None => state.wait(&endpoint, &pools, true, Purpose::NOBODYS, worker).await.ok()?,
        };
        let Some(permit) = state.admit(false) else {
            state.give_back(acquired, &pools, worker);
            return None;
        };
        state.stats.upstream_rq_total.inc();
        acquired.0.send_request(&target.head, false);
        let held = Held::new(endpoint, state, pools, permit);
        Some(Self { acquired, answer: ResponseHead::default(), answered: false, held })
    }

    /// Sends a message; `last`: the call's only one.
    async fn write(&mut self, message: Vec<u8>, last: bool) -> Result<(), ()> {
        let mut framed = Vec::with_capacity(message.len() + 5);
        framed.push(0);
        framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
        framed.extend_from_slice(&message);
        let mut body = Body { data: framed.into(), trailers: HeaderList::new() };
        let written = poll_fn(|cx| {
            // An answer before the call's only message is whole, or to a stream at all, ends it.
            if !last && self.poll_over(cx).is_ready() {
                return Poll::Ready(Err(()));
            }
            while !body.data.is_empty() {
                ready!(self.acquired.0.poll_send(cx, &mut body, last)).map_err(drop)?;
            }
            self.acquired.0.poll_flush(cx).map_err(drop)
        });
        let written = timeout(PATIENCE, written).await.unwrap_or(Err(()));
        if written.is_err() {
            self.held.state.stats.upstream_rq_tx_reset.inc();
        }
        written
    }

    /// Ready when the service has ended the call: true when it says that all is well.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let stream = &mut self.acquired.0;
        while !self.answered {
            match ready!(stream.poll_response(cx, &mut self.answer)) {
                Ok(()) if self.answer.is_interim() => self.answer.clear(),
                Ok(()) if self.answer.status != 200 => return Poll::Ready(false),
                Ok(()) if self.answer.body == BodyLength::None => {
                    return Poll::Ready(is_good(&self.answer.headers));
                }
                Ok(()) => self.answered = true,
                Err(_) => return Poll::Ready(false),
            }
        }
        loop {
            match ready!(stream.poll_body(cx)) {
                Ok(Next::Data { .. }) => stream.consume(stream.data().len()),
                Ok(Next::Trailers) => return Poll::Ready(is_good(stream.trailers())),
                Ok(Next::End) => return Poll::Ready(is_good(&self.answer.headers)),
                Err(_) => return Poll::Ready(false),
            }
        }
    }
}

fn is_good(list: &HeaderList) -> bool {
    list.get_named("grpc-status") == Some(b"0")
}

/// A message on its way.
struct Body {
    data: Bytes,
    trailers: HeaderList,
}

impl Source for Body {
    fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<Next, StreamError>> {
        Poll::Ready(Ok(Next::End))
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, n: usize) {
        self.data.advance(n.min(self.data.len()));
    }

    fn trailers(&mut self) -> &mut HeaderList {
        &mut self.trailers
    }
}
