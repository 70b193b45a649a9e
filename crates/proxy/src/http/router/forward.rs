//! One request's way to its endpoint and back: cluster, endpoint, connection, tries, response.
//!
//! The connection manager calls [`forward`] once a route with a cluster has matched. One task drives both sides.
//! Invariant: `exchange.response` holds the upstream's head only from the moment that no further try follows.

use std::{
    borrow::Cow,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use smallvec::SmallVec;

use crate::{
    cluster::{ClusterSlot, Endpoint, UpstreamProtocol},
    error::{Flags, ResetReason, Side, StreamError},
    http::{
        clock,
        connection_manager::{
            Ended, Exchange, Session,
            forwarding::Client,
            mutation::Levels,
            reply::LocalReply,
            response,
            timeouts::{self, Expired, Limits, Until},
        },
        deadline::Deadline,
        exchange::{Downstream, Upstream},
        headers::Known,
        message::{BodyLength, Protocol, View},
        router::{
            relay::{Broken, Relay},
            replay::{Replay, RequestBody},
            retry::{Retries, Verdict},
        },
    },
    route::{Forward, HostRewrite, Route, RouteTable, VirtualHost, WeightedCluster, rewrite::Picked},
    upstream::{
        UpstreamStream,
        cluster::{Acquired, ClusterState, Pools},
        connect::ConnectError,
        limits::{Permit, Resource},
    },
};

/// A matched route that forwards.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    /// The table it was found in.
    pub table: &'a RouteTable,
    /// Its virtual host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
    /// Its action.
    pub forward: &'a Forward,
    /// Who asks.
    pub client: Client,
}

/// Forwards the request; `Ok` when a whole response went downstream.
pub async fn forward<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    deadline: &Deadline,
    matched: Matched<'_>,
) -> Result<(), Ended> {
    let (slot, part) = target(session, exchange, matched.forward)?;
    let Some(state) = session.worker.cluster(&slot) else {
        return Err(LocalReply::no_cluster(matched.forward.not_found_status).into());
    };
    exchange.info.cluster = Some(state.clone());
    let settings = &state.cluster.settings;
    let Some(permit) = Permit::take(&slot, Resource::Requests, settings.limits.requests) else {
        return Err(overflow().into());
    };
    let limits = prepare(session, exchange, matched, part);
    let retries = Retries::new(matched.forward.retry.as_ref(), &mut exchange.request, matched.client);
    let replay = Replay::new(retries.as_ref().map(|_| settings.buffer_limit));
    let levels = Levels::new(matched.table, matched.host, matched.route, part);
    rewrite(session, exchange, matched, part, levels);
    let until = Until {
        idle: limits.idle.map(|limit| clock::now() + limit),
        request: session.manager.request_timeout.map(|limit| clock::now() + limit),
        duration: matched.forward.max_stream_duration.map(|limit| clock::now() + limit),
        ..Until::default()
    };
    let mut forwarding = Forwarding {
        session,
        downstream,
        exchange,
        deadline,
        matched,
        levels,
        state,
        limits,
        until,
        retries,
        replay,
        tried: SmallVec::new(),
        request: Relay::Body,
        _permit: permit,
    };
    forwarding.run().await
}

/// The cluster to send to, and the part of a weighted set that it came from.
fn target<'a>(
    session: &Session,
    exchange: &Exchange,
    forward: &'a Forward,
) -> Result<(Arc<ClusterSlot>, Option<&'a WeightedCluster>), LocalReply> {
    match forward.target.pick(exchange.info.random) {
        Picked::Cluster(slot) => Ok((slot.clone(), None)),
        Picked::Weighted(part) => Ok((part.cluster.clone(), Some(part))),
        Picked::Header(name) => {
            let value = exchange.request.headers.joined(name);
            let slot = value.and_then(|value| session.worker.find_cluster(&value));
            slot.map(|slot| (slot, None)).ok_or_else(|| LocalReply::no_cluster(forward.not_found_status))
        }
    }
}

/// Timeouts and the headers that speak of them.
fn prepare(
    session: &Session,
    exchange: &mut Exchange,
    matched: Matched<'_>,
    _part: Option<&WeightedCluster>,
) -> Limits {
    let options = session.manager.router;
    let idle = session.manager.stream_idle_timeout;
    let head = &mut exchange.request;
    let limits =
        timeouts::settle(head, matched.forward, matched.client, idle, options.respect_expected_rq_timeout);
    if !options.suppress_envoy_headers {
        timeouts::announce(head, limits);
    }
    if matched.host.request_attempt_count {
        head.headers.set(Known::XEnvoyAttemptCount, b"1");
    }
    limits
}

/// Header rules, then host, then path: the order of Envoy's `finalizeRequestHeaders`.
fn rewrite(
    session: &Session,
    exchange: &mut Exchange,
    matched: Matched<'_>,
    part: Option<&WeightedCluster>,
    levels: Levels<'_>,
) {
    levels.apply_request(session, exchange);
    let forward = matched.forward;
    let view = View { head: &exchange.request, tls: session.tls, random: exchange.info.random };
    let literal = part.and_then(|part| part.host_rewrite.as_deref());
    let host = match literal {
        Some(host) => Some(host.to_owned()),
        None => forward.host_rewrite.apply(&view).map(Cow::into_owned),
    };
    if let Some(host) = host {
        set_host(session, exchange, forward, &host);
    }
    if let Some(path) = forward.rewrite.apply(exchange.request.path()) {
        let head = &mut exchange.request;
        if !session.manager.router.suppress_envoy_headers {
            let original = head.path().to_owned();
            head.headers.set(Known::XEnvoyOriginalPath, original.as_bytes());
        }
        head.set_path(&path);
    }
}

fn set_host(session: &Session, exchange: &mut Exchange, forward: &Forward, host: &str) {
    let head = &mut exchange.request;
    let original = head.authority().to_owned();
    if original == host {
        return;
    }
    if forward.append_x_forwarded_host {
        let value = match head.headers.joined("x-forwarded-host") {
            Some(before) => format!("{before},{original}"),
            None => original.clone(),
        };
        head.headers.set(Known::XForwardedHost, value.as_bytes());
    }
    if !session.manager.router.suppress_envoy_headers {
        head.headers.set(Known::XEnvoyOriginalHost, original.as_bytes());
    }
    head.set_authority(host);
}

fn overflow() -> LocalReply {
    let mut reply = reset_reply(StreamError::new(Side::Local, ResetReason::Overflow), "", false);
    reply.overloaded = true;
    reply
}

/// The answer to a reset before a response, in Envoy's words.
fn reset_reply(error: StreamError, transport: &str, retried: bool) -> LocalReply {
    let reason = error.reason.text();
    let retried = if retried { "retried and the latest " } else { "" };
    let body =
        format!("upstream connect error or disconnect/reset before headers. {retried}reset reason: {reason}");
    let more = if transport.is_empty() { error.details } else { transport };
    let separator = if more.is_empty() { "" } else { "|" };
    let details =
        format!("upstream_reset_before_response_started{{{reason}{separator}{more}}}").replace(' ', "_");
    let status = if error.reason == ResetReason::ProtocolError { 502 } else { 503 };
    let mut reply = LocalReply::new(status, "", "", error.reason.upstream_flag());
    reply.body = body.into();
    reply.details = details.into();
    reply
}

/// Why a try brought no response.
#[derive(Debug)]
enum Failure {
    /// The upstream's or ours; perhaps the next try fares better.
    Upstream { error: StreamError, started: bool },
    /// A limit has passed.
    Expired(Expired),
    /// The end of it, whatever is tried.
    Ended(Ended),
}

impl From<ConnectError> for Failure {
    fn from(failed: ConnectError) -> Self {
        Self::Upstream { error: failed.error, started: false }
    }
}

/// Counts a request in and out of its endpoint.
#[derive(Debug)]
struct Active(Arc<Endpoint>);

impl Active {
    fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.begin();
        Self(endpoint)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Forwarding<'a, D> {
    session: &'a Session,
    downstream: &'a mut D,
    exchange: &'a mut Exchange,
    deadline: &'a Deadline,
    matched: Matched<'a>,
    levels: Levels<'a>,
    state: Rc<ClusterState>,
    limits: Limits,
    until: Until,
    retries: Option<Retries<'a>>,
    replay: Replay,
    tried: SmallVec<[Arc<Endpoint>; 2]>,
    /// The request body on its way up, in the current try.
    request: Relay,
    _permit: Permit,
}

impl<D: Downstream> Forwarding<'_, D> {
    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            let endpoint = self.pick()?;
            let active = Active::new(endpoint.clone());
            let pools = self.state.pools(&endpoint);
            match self.try_once(&endpoint, &pools).await {
                Ok(acquired) if !self.retries_response() => {
                    let done = self.respond(acquired, &pools).await;
                    drop(active);
                    return done;
                }
                // The rest of that response interests nobody.
                Ok(acquired) => drop(acquired),
                Err(failure) => self.after_failure(failure)?,
            }
            drop(active);
            Box::pin(self.back_off()).await?;
        }
    }

    /// The next endpoint to try.
    fn pick(&mut self) -> Result<Arc<Endpoint>, Ended> {
        let info = &mut self.exchange.info;
        let avoid = self.retries.as_ref().and_then(|retries| retries.policy().avoid_previous_hosts);
        let connection = &self.session.connection;
        let destination = connection.local_restored.then_some(connection.local);
        let tried = if avoid.is_some() { &self.tried[..] } else { &[] };
        let worker = &self.session.worker;
        let Some(endpoint) = self.state.pick(worker, destination, tried, avoid.unwrap_or(0)) else {
            return Err(LocalReply::no_healthy_upstream().into());
        };
        info.attempts += 1;
        if info.attempts > 1 && self.matched.host.request_attempt_count {
            let mut digits = itoa::Buffer::new();
            let count = digits.format(info.attempts);
            self.exchange.request.headers.set(Known::XEnvoyAttemptCount, count.as_bytes());
        }
        if avoid.is_some() {
            self.tried.push(endpoint.clone());
        }
        info.endpoint = Some(endpoint.clone());
        if matches!(self.matched.forward.host_rewrite, HostRewrite::Auto)
            && let Some(hostname) = &endpoint.hostname
        {
            let (hostname, forward) = (hostname.clone(), self.matched.forward);
            set_host(self.session, self.exchange, forward, &hostname);
        }
        Ok(endpoint)
    }

    fn speaks_http2(&self) -> bool {
        match self.state.cluster.settings.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => self.exchange.request.protocol == Protocol::Http2,
        }
    }

    /// Sends the request to the endpoint and waits for the response's head.
    async fn try_once(&mut self, endpoint: &Arc<Endpoint>, pools: &Rc<Pools>) -> Result<Acquired, Failure> {
        let http2 = self.speaks_http2();
        let mut acquired = match self.state.ready(pools, http2) {
            Some(acquired) => acquired,
            None => Box::pin(self.connect(endpoint, pools, http2)).await?,
        };
        let upstream = &mut acquired.0;
        let now = clock::now();
        self.exchange.info.upstream_start = Some(now);
        let bodiless = self.exchange.request.body == BodyLength::None;
        let end = bodiless && !self.exchange.request.upgrade;
        upstream.send_request(&self.exchange.request, end || bodiless && !http2);
        self.request = if bodiless { Relay::Flush } else { Relay::Body };
        self.replay.rewind();
        self.until.per_try = None;
        self.exchange.response.clear();
        poll_fn(|cx| self.poll_head(cx, upstream)).await?;
        Ok(acquired)
    }

    /// A new connection; meanwhile the client may leave and limits may pass.
    async fn connect(
        &mut self,
        endpoint: &Arc<Endpoint>,
        pools: &Rc<Pools>,
        http2: bool,
    ) -> Result<Acquired, Failure> {
        let limit = self.state.cluster.settings.limits.pending_requests;
        let Some(_pending) = Permit::take(&self.state.slot, Resource::Pending, limit) else {
            let error = StreamError::new(Side::Local, ResetReason::Overflow);
            return Err(Failure::Upstream { error, started: false });
        };
        let state = self.state.clone();
        let worker = self.session.worker.clone();
        let mut connecting = Box::pin(state.connect(endpoint, pools, http2, &worker));
        self.until.arm(self.deadline);
        let connected = poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Ok(connected));
            }
            self.poll_interruptions(cx).map(Err)
        })
        .await?;
        connected.map_err(|failed| {
            self.exchange.info.transport_failure.clone_from(&failed.transport);
            failed.into()
        })
    }

    /// Ready when the client has gone or a limit has passed.
    fn poll_interruptions(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Poll::Ready(Err(error)) = self.downstream.poll_flush(cx) {
            return Poll::Ready(Failure::Ended(Ended::Gone(error)));
        }
        if self.downstream.request_complete()
            && let Poll::Ready(error) = self.downstream.poll_gone(cx)
        {
            return Poll::Ready(Failure::Ended(Ended::Gone(error)));
        }
        while self.deadline.poll(cx).is_ready() {
            if let Some(expired) = self.until.expired(clock::now()) {
                return Poll::Ready(Failure::Expired(expired));
            }
            self.until.arm(self.deadline);
        }
        Poll::Pending
    }

    fn moved(&mut self) {
        if let Some(limit) = self.limits.idle {
            self.until.idle = Some(clock::now() + limit);
        }
    }

    /// Sends what there is of the request and looks for the response's head.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamStream,
    ) -> Poll<Result<(), Failure>> {
        let broken = match self.poll_request(cx, upstream) {
            Ok(()) => None,
            Err(Broken::Source(error)) => return Poll::Ready(Err(self.request_broke(error))),
            // The endpoint may have answered before it closed: look once.
            Err(Broken::Sink(error)) => Some(error),
        };
        loop {
            match upstream.poll_response(cx, &mut self.exchange.response) {
                Poll::Ready(Ok(())) if self.exchange.response.is_interim() => self.interim(),
                Poll::Ready(Ok(())) => return Poll::Ready(self.accept_response()),
                Poll::Ready(Err(error)) => {
                    let error = broken.unwrap_or(error);
                    return Poll::Ready(Err(Failure::Upstream { error, started: true }));
                }
                Poll::Pending => break,
            }
        }
        if let Some(error) = broken {
            return Poll::Ready(Err(Failure::Upstream { error, started: true }));
        }
        self.poll_interruptions(cx).map(Err)
    }

    /// Moves the request body; arms the limits that count from its end.
    fn poll_request(&mut self, cx: &mut Context<'_>, upstream: &mut UpstreamStream) -> Result<(), Broken> {
        if self.request.is_done() {
            return Ok(());
        }
        let mut moved = false;
        let mut body = RequestBody { downstream: &mut *self.downstream, replay: &mut self.replay };
        let relayed = self.request.poll(cx, &mut body, upstream, &mut moved);
        if moved {
            self.moved();
        }
        match relayed {
            Poll::Ready(Ok(())) => self.request_sent(),
            Poll::Ready(Err(broken)) => {
                self.request = Relay::Done;
                return Err(broken);
            }
            Poll::Pending => {
                if self.downstream.request_complete() {
                    self.request_received();
                }
                self.until.arm(self.deadline);
            }
        }
        Ok(())
    }

    fn request_received(&mut self) {
        let now = clock::now();
        if self.exchange.info.request_end.is_none() {
            self.exchange.info.request_end = Some(now);
            self.until.request = None;
            self.until.route = self.limits.route.map(|limit| now + limit);
        }
        if self.until.per_try.is_none() {
            self.until.per_try = self.limits.per_try.map(|limit| now + limit);
        }
    }

    fn request_sent(&mut self) {
        self.request_received();
        self.exchange.info.upstream_request_end = Some(clock::now());
        self.until.arm(self.deadline);
    }

    fn request_broke(&self, error: StreamError) -> Failure {
        if error.reason == ResetReason::ProtocolError {
            let flags = Flags::DOWNSTREAM_PROTOCOL_ERROR;
            let reply =
                LocalReply { close: true, ..LocalReply::new(400, "Bad Request", error.details, flags) };
            return Failure::Ended(reply.into());
        }
        Failure::Ended(Ended::Gone(error))
    }

    /// 100 Continue and its like: passed on only when the connection manager leaves them to the upstream.
    fn interim(&mut self) {
        if self.session.manager.proxy_100_continue {
            self.downstream.send_interim(&self.exchange.response);
        }
        self.exchange.response.clear();
    }

    /// A final head has arrived.
    fn accept_response(&mut self) -> Result<(), Failure> {
        if self.exchange.response.status == 101 && !self.exchange.request.upgrade {
            let error = StreamError::protocol(Side::Upstream, "");
            return Err(Failure::Upstream { error, started: true });
        }
        self.exchange.info.upstream_response = Some(clock::now());
        Ok(())
    }

    /// True when the policy wants another try in place of this response.
    fn retries_response(&mut self) -> bool {
        let Some(retries) = self.retries.as_mut().filter(|_| self.replay.is_complete()) else { return false };
        let verdict = retries.after_response(&self.exchange.response);
        if verdict == Verdict::LimitReached {
            self.exchange.info.flags.set(Flags::RETRY_LIMIT_EXCEEDED);
        }
        verdict == Verdict::Retry
    }

    /// Decides whether another try follows; else how the request ends.
    fn after_failure(&mut self, failure: Failure) -> Result<(), Ended> {
        let (error, started, mut reply) = match failure {
            Failure::Ended(ended) => return Err(ended),
            Failure::Expired(Expired::PerTry) => {
                let error = StreamError::new(Side::Local, ResetReason::LocalReset);
                (error, true, LocalReply::per_try_timeout())
            }
            Failure::Expired(expired) => return Err(self.timed_out(expired).into()),
            Failure::Upstream { error, started } => {
                let retried = self.exchange.info.attempts > 1;
                let transport = std::mem::take(&mut self.exchange.info.transport_failure);
                let mut reply = reset_reply(error, &transport, retried);
                reply.overloaded = error.reason == ResetReason::Overflow;
                self.exchange.info.transport_failure = transport;
                (error, started, reply)
            }
        };
        let verdict = match &mut self.retries {
            Some(retries) if self.replay.is_complete() => retries.after_reset(error.reason, started),
            _ => Verdict::NotCovered,
        };
        match verdict {
            Verdict::Retry => return Ok(()),
            Verdict::LimitReached => reply.flags |= Flags::RETRY_LIMIT_EXCEEDED,
            Verdict::NotCovered => {}
        }
        Err(reply.into())
    }

    /// The answer when a limit that no try outlives has passed.
    fn timed_out(&self, expired: Expired) -> LocalReply {
        let complete = self.downstream.request_complete();
        let status = if complete { 504 } else { 408 };
        match expired {
            Expired::Route | Expired::PerTry => LocalReply::request_timeout(),
            Expired::Idle => {
                LocalReply::new(status, "stream timeout", "stream_idle_timeout", Flags::STREAM_IDLE_TIMEOUT)
            }
            Expired::Request => LocalReply::new(408, "request timeout", "request_overall_timeout", 0),
            Expired::Duration => {
                let flag = Flags::DURATION_TIMEOUT;
                LocalReply::new(status, "downstream duration timeout", "max_duration_timeout", flag)
            }
        }
    }

    /// Waits before the next try.
    async fn back_off(&mut self) -> Result<(), Ended> {
        let limit = self.state.cluster.settings.limits.retries;
        let Some(_retry) = Permit::take(&self.state.slot, Resource::Retries, limit) else {
            return Err(overflow().into());
        };
        let random = self.session.worker.random();
        let pause = self.retries.as_ref().map_or_else(Default::default, |retries| retries.backoff(random));
        self.until.per_try = None;
        self.until.arm(self.deadline);
        let mut sleep = Box::pin(tokio::time::sleep(pause));
        let interrupted = poll_fn(|cx| match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => self.poll_interruptions(cx).map(Some),
        })
        .await;
        match interrupted {
            None => Ok(()),
            Some(Failure::Expired(expired)) => Err(self.timed_out(expired).into()),
            Some(Failure::Ended(ended)) => Err(ended),
            Some(Failure::Upstream { .. }) => Ok(()),
        }
    }

    /// Sends the response downstream.
    async fn respond(&mut self, mut acquired: Acquired, pools: &Rc<Pools>) -> Result<(), Ended> {
        let upstream = &mut acquired.0;
        // From here on only the route's timeout counts, as in Envoy.
        self.until.per_try = None;
        let tunnel = self.send_head(upstream);
        if tunnel {
            return Box::pin(self.tunnel(upstream)).await;
        }
        let bodiless = self.exchange.response.body == BodyLength::None;
        let mut relay = if bodiless { Relay::Flush } else { Relay::Body };
        let ended = poll_fn(|cx| self.poll_response(cx, upstream, &mut relay)).await;
        ended?;
        self.exchange.info.upstream_end = Some(clock::now());
        self.state.give_back(acquired, pools, &self.session.worker);
        Ok(())
    }

    /// The response's head, changed and queued. True when a tunnel follows it.
    fn send_head(&mut self, upstream: &mut UpstreamStream) -> bool {
        let exchange = &mut *self.exchange;
        let status = exchange.response.status;
        let tunnel = exchange.request.upgrade
            && (status == 101 || (exchange.request.is_connect() && (200..300).contains(&status)));
        exchange.info.details = match exchange.request.upgrade && !tunnel && !exchange.request.is_connect() {
            true => Cow::Borrowed("websocket_handshake_unsuccessful"),
            false => Cow::Borrowed("via_upstream"),
        };
        exchange.info.status = status;
        exchange.info.upstream_local = upstream.local_addr();
        self.add_envoy_headers();
        self.levels.apply_response(self.session, self.exchange);
        response::finalize(self.session, self.exchange);
        if self.session.must_close() {
            self.downstream.close_after_response();
        }
        let end = self.exchange.response.body == BodyLength::None && !tunnel;
        self.downstream.send_head(&self.exchange.response, end);
        tunnel
    }

    fn add_envoy_headers(&mut self) {
        let info = &self.exchange.info;
        let headers = &mut self.exchange.response.headers;
        let mut digits = itoa::Buffer::new();
        if !self.session.manager.router.suppress_envoy_headers
            && let (Some(sent), Some(answered)) = (info.upstream_start, info.upstream_response)
        {
            let ms = answered.saturating_duration_since(sent).as_millis() as u64;
            headers.set(Known::XEnvoyUpstreamServiceTime, digits.format(ms).as_bytes());
        }
        if self.matched.host.response_attempt_count {
            headers.set(Known::XEnvoyAttemptCount, digits.format(info.attempts).as_bytes());
        }
    }

    /// Moves the response body, and what is left of the request.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamStream,
        relay: &mut Relay,
    ) -> Poll<Result<(), Ended>> {
        // A request that breaks off under a response that goes on: the response decides.
        if let Err(Broken::Source(error)) = self.poll_request(cx, upstream) {
            return Poll::Ready(Err(Ended::Gone(error)));
        }
        let mut moved = false;
        let relayed = relay.poll(cx, upstream, &mut *self.downstream, &mut moved);
        if moved {
            self.moved();
        }
        match relayed {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(Broken::Source(error))) => {
                let details = format!("upstream_reset_after_response_started{{{}}}", error.reason.text());
                let details = details.replace(' ', "_").into();
                Poll::Ready(Err(Ended::Aborted { flags: error.reason.upstream_flag(), details }))
            }
            Poll::Ready(Err(Broken::Sink(error))) => Poll::Ready(Err(Ended::Gone(error))),
            Poll::Pending => self.poll_cut(cx),
        }
    }

    /// What may end a response that has begun.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        match self.poll_interruptions(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Failure::Ended(ended)) => Poll::Ready(Err(ended)),
            Poll::Ready(Failure::Expired(expired)) => {
                let reply = self.timed_out(expired);
                Poll::Ready(Err(Ended::Aborted { flags: reply.flags, details: reply.details }))
            }
            Poll::Ready(Failure::Upstream { error, .. }) => {
                let flags = error.reason.upstream_flag();
                Poll::Ready(Err(Ended::Aborted { flags, details: Cow::Borrowed("") }))
            }
        }
    }

    /// Raw bytes both ways, until either side ends.
    async fn tunnel(&mut self, upstream: &mut UpstreamStream) -> Result<(), Ended> {
        poll_fn(|cx| self.downstream.poll_flush(cx)).await.map_err(Ended::Gone)?;
        upstream.become_tunnel();
        self.downstream.become_tunnel();
        self.until = Until { idle: self.until.idle, ..Until::default() };
        self.until.arm(self.deadline);
        let (mut up, mut down) = (Relay::Body, Relay::Body);
        poll_fn(|cx| {
            let mut moved = false;
            let sent = up.poll(cx, &mut *self.downstream, upstream, &mut moved);
            let received = down.poll(cx, upstream, &mut *self.downstream, &mut moved);
            if moved {
                self.moved();
            }
            if received.is_ready() || sent.is_ready() {
                return Poll::Ready(Ok(()));
            }
            match self.deadline.poll(cx) {
                Poll::Ready(()) if self.until.expired(clock::now()).is_some() => {
                    let flags = Flags::STREAM_IDLE_TIMEOUT;
                    Poll::Ready(Err(Ended::Aborted { flags, details: Cow::Borrowed("stream_idle_timeout") }))
                }
                Poll::Ready(()) => {
                    self.until.arm(self.deadline);
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
