//! One try: a stream to the endpoint, the request on its way up, and the wait for a response's head.
//!
//! Invariant: while it waits, the client may leave and any limit may pass.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use super::{Active, Forwarding, failure::Failure};
use crate::{
    cluster::{Endpoint, UpstreamProtocol, outlier::Outcome},
    error::{Flags, ResetReason, Side, StreamError},
    http::{
        clock,
        connection_manager::{Ended, reply::LocalReply},
        exchange::{Downstream, Upstream},
        message::{BodyLength, Protocol},
        router::{
            relay::{Broken, Relay},
            replay::RequestBody,
        },
    },
    stats::route::RouteStats,
    upstream::{
        UpstreamStream,
        cluster::{Acquired, Pools},
        connect::ConnectError,
        proxy_header::Version,
    },
};

impl<D: Downstream> Forwarding<'_, D> {
    pub(super) fn speaks_http2(&self) -> bool {
        match self.state.cluster.settings.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => self.exchange.request.protocol == Protocol::Http2,
        }
    }

    /// `Some` where the route ends the tunnel that this request asks for: its bytes go on without HTTP, after that header.
    pub(super) fn ends_tunnel(&self) -> Option<Option<Version>> {
        let end = self.matched.forward.tunnel_end.as_ref()?;
        let request = &self.exchange.request;
        (request.is_connect() || end.post && request.method() == "POST").then_some(end.header)
    }

    /// Sends the request to the endpoint and waits for the response's head.
    pub(super) async fn try_once(
        &mut self,
        endpoint: &Arc<Endpoint>,
        pools: &Rc<Pools>,
    ) -> Result<(Acquired, Active), Failure> {
        let http2 = self.speaks_http2();
        let ready = match self.ends_tunnel() {
            Some(_) => None,
            None => self.state.ready(pools, http2),
        };
        let mut acquired = match ready {
            Some(acquired) => acquired,
            None => Box::pin(self.wait(endpoint, pools, http2)).await?,
        };
        self.report(Outcome::Connected);
        let Some(permit) = self.state.admit(self.matched.forward.high_priority) else {
            self.state.give_back(acquired, pools, &self.session.worker);
            return Err(ConnectError::overflow().into());
        };
        let active = Active::new(endpoint.clone(), self.state.clone(), permit);
        // As in Envoy, tries that found no connection are none.
        self.state.stats.upstream_rq_total.inc();
        self.count_apart(|stats| stats.upstream_rq_total.inc());
        let upstream = &mut acquired.0;
        let now = clock::now();
        let info = &mut self.exchange.info;
        info.upstream_start = Some(now);
        info.upstream_local = upstream.local_addr();
        info.upstream_connection = upstream.id();
        let bodiless = self.exchange.request.body == BodyLength::None;
        let end = bodiless && !self.exchange.request.upgrade;
        upstream.send_request(&self.exchange.request, end || bodiless && !http2);
        self.request = if bodiless { Relay::Flush } else { Relay::Body };
        self.replay.rewind();
        self.until.per_try = None;
        self.until.per_try_idle = self.limits.per_try_idle.map(|limit| now + limit);
        if self.state.cluster.settings.max_stream_duration.is_some() {
            self.set_duration(Some(now));
        }
        self.exchange.response.clear();
        let answered = poll_fn(|cx| self.poll_head(cx, upstream)).await;
        if let (Err(Failure::Upstream { .. }), Some(permit)) = (&answered, &acquired.1) {
            permit.closed_by_peer();
        }
        answered?;
        Ok((acquired, active))
    }

    /// Waits for a connection; meanwhile the client may leave and limits may pass.
    pub(super) async fn wait(
        &mut self,
        endpoint: &Arc<Endpoint>,
        pools: &Rc<Pools>,
        http2: bool,
    ) -> Result<Acquired, Failure> {
        let (state, worker) = (self.state.clone(), self.session.worker.clone());
        let purpose = self.purpose();
        let ends_tunnel = self.ends_tunnel();
        let mut waiting = Box::pin(async {
            match ends_tunnel {
                Some(version) => state.connect_bytes(endpoint, purpose, version, &worker).await,
                None => state.wait(endpoint, pools, http2, purpose, &worker).await,
            }
        });
        self.until.arm(self.deadline);
        let served = poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(served) => Poll::Ready(Ok(served)),
            Poll::Pending => self.poll_interruptions(cx).map(Err),
        })
        .await?;
        served.map_err(|failed| {
            self.exchange.info.transport_failure.clone_from(&failed.transport);
            failed.into()
        })
    }

    /// Ready when the client has gone or a limit has passed.
    pub(super) fn poll_interruptions(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
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

    /// How long the stream, and a try that has begun, may take.
    pub(super) fn set_duration(&mut self, tried: Option<Instant>) {
        let limit = self.matched.forward.max_stream_duration.or(self.session.manager.max_stream_duration);
        let whole = limit.zip(self.exchange.info.start).map(|(limit, start)| start + limit);
        let limit = self.state.cluster.settings.max_stream_duration;
        let this = limit.zip(tried).map(|(limit, start)| start + limit);
        self.until.of_try = this.is_some_and(|this| whole.is_none_or(|whole| this < whole));
        self.until.duration = if self.until.of_try { this } else { whole };
    }

    /// Counts for the route and the virtual cluster.
    #[inline]
    pub(super) fn count_apart(&self, count: impl Fn(&RouteStats)) {
        self.exchange.info.route_stats.iter().for_each(|stats| count(stats));
    }

    /// Tells outlier detection what became of the try.
    pub(super) fn report(&self, outcome: Outcome) {
        if let Some(endpoint) = &self.exchange.info.endpoint {
            self.state.cluster.report(endpoint, outcome);
        }
    }

    pub(super) fn moved(&mut self) {
        if let Some(limit) = self.limits.idle {
            self.until.idle = Some(clock::now() + limit);
        }
        if let Some(limit) = self.limits.per_try_idle {
            self.until.per_try_idle = Some(clock::now() + limit);
        }
    }

    /// Sends what there is of the request and looks for the response's head.
    pub(super) fn poll_head(
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
                    let started = !upstream.is_untouched();
                    return Poll::Ready(Err(Failure::Upstream { error, started }));
                }
                Poll::Pending => break,
            }
        }
        if let Some(error) = broken {
            let started = !upstream.is_untouched();
            return Poll::Ready(Err(Failure::Upstream { error, started }));
        }
        self.poll_interruptions(cx).map(Err)
    }

    /// Moves the request body; arms the limits that count from its end.
    pub(super) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamStream,
    ) -> Result<(), Broken> {
        if self.request.is_done() {
            return Ok(());
        }
        let mut moved = false;
        let copies = self.copies.as_ref();
        let mut body = RequestBody { downstream: &mut *self.downstream, replay: &mut self.replay, copies };
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

    pub(super) fn request_received(&mut self) {
        let now = clock::now();
        if self.exchange.info.request_end.is_none() {
            self.exchange.info.request_end = Some(now);
            if let Some(copies) = self.copies.take() {
                copies.finish(self.downstream.trailers());
            }
            self.until.request = None;
            self.until.route = self.limits.route.map(|limit| now + limit);
        }
        if self.until.per_try.is_none() {
            self.until.per_try = self.limits.per_try.map(|limit| now + limit);
        }
    }

    pub(super) fn request_sent(&mut self) {
        self.request_received();
        self.exchange.info.upstream_request_end = Some(clock::now());
        self.until.arm(self.deadline);
    }

    pub(super) fn request_broke(&self, error: StreamError) -> Failure {
        // A stream of HTTP/2 is reset by now, which says it all.
        if error.reason == ResetReason::ProtocolError && self.downstream.protocol() != Protocol::Http2 {
            let flags = Flags::DOWNSTREAM_PROTOCOL_ERROR;
            let reply =
                LocalReply { close: true, ..LocalReply::new(400, "Bad Request", error.details, flags) };
            return Failure::Ended(reply.into());
        }
        Failure::Ended(Ended::Gone(error))
    }

    /// 100 Continue and its like: passed on only when the connection manager leaves them to the upstream.
    pub(super) fn interim(&mut self) {
        if self.session.manager.proxy_100_continue {
            self.downstream.send_interim(&self.exchange.response);
        }
        self.exchange.response.clear();
    }

    /// A final head has arrived.
    pub(super) fn accept_response(&mut self) -> Result<(), Failure> {
        if self.exchange.response.status == 101 && !self.exchange.request.upgrade {
            let error = StreamError::protocol(Side::Upstream, "");
            return Err(Failure::Upstream { error, started: true });
        }
        self.exchange.info.upstream_response = Some(clock::now());
        if self.state.cluster.outlier.is_some() {
            let status = super::failure::judged(&self.exchange.request, &self.exchange.response);
            self.report(Outcome::Status(status));
        }
        Ok(())
    }
}
