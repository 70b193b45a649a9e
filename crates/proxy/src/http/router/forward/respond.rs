//! From the response's head to its end: envoy headers, header rules, relaying both bodies, tunnels.
//!
//! Invariant: once the head is queued, a failure can only cut the response off.

use std::{
    borrow::Cow,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use super::{Forwarding, failure::Failure};
use crate::{
    access_log::Kind,
    error::Flags,
    http::{
        clock,
        connection_manager::{
            Ended, response,
            timeouts::{Expired, Until},
        },
        exchange::{Downstream, Source, Upstream},
        filters,
        headers::Known,
        message::{BodyLength, Protocol},
        router::relay::{Broken, Relay},
    },
    stats::request::Held,
    upstream::{
        UpstreamStream,
        cluster::{Acquired, Pools},
    },
};

impl<D: Downstream> Forwarding<'_, D> {
    /// Sends the response downstream.
    pub(super) async fn respond(&mut self, mut acquired: Acquired, pools: &Rc<Pools>) -> Result<(), Ended> {
        let upstream = &mut acquired.0;
        // From here on only the route's timeout counts, as in Envoy.
        self.until.per_try = None;
        let tunnel = self.send_head();
        if tunnel && self.session.manager.log_tunnels {
            self.session.log_early(self.exchange, Kind::DownstreamTunnelSuccessfullyEstablished);
        }
        if tunnel {
            return Box::pin(self.tunnel(upstream)).await;
        }
        let bodiless = self.exchange.response.body == BodyLength::None;
        let mut relay = if bodiless { Relay::Flush } else { Relay::Body };
        let ended = poll_fn(|cx| self.poll_response(cx, upstream, &mut relay)).await;
        ended?;
        self.exchange.info.upstream_end = Some(clock::now());
        if !self.session.manager.access_log.is_empty() {
            self.exchange.info.upstream_wire = upstream.wire();
            if !upstream.trailers().is_empty() {
                self.exchange.info.trailers = Some(Box::new(std::mem::take(upstream.trailers())));
            }
        }
        self.state.give_back(acquired, pools, &self.session.worker);
        Ok(())
    }

    /// The response's head, changed and queued. True when a tunnel follows it.
    pub(super) fn send_head(&mut self) -> bool {
        let exchange = &mut *self.exchange;
        let status = exchange.response.status;
        let tunnel = exchange.request.upgrade
            && (status == 101 || (exchange.request.is_connect() && (200..300).contains(&status)));
        exchange.info.details = match exchange.request.upgrade && !tunnel && !exchange.request.is_connect() {
            true => Cow::Borrowed("websocket_handshake_unsuccessful"),
            false => Cow::Borrowed("via_upstream"),
        };
        exchange.info.status = status;
        self.add_envoy_headers();
        self.matched.levels(self.part).apply_response(self.session, self.exchange);
        for cookie in self.hashed.iter().flat_map(|hashed| &hashed.cookies) {
            self.exchange.response.headers.append(Known::SetCookie, cookie.as_bytes());
        }
        filters::response(self.exchange);
        response::finalize(self.session, self.exchange);
        if self.session.must_close() {
            self.downstream.close_after_response();
        }
        self.session.answers(self.exchange);
        let end = self.exchange.response.body == BodyLength::None && !tunnel;
        self.downstream.send_head(&self.exchange.response, end);
        tunnel
    }

    pub(super) fn add_envoy_headers(&mut self) {
        // The answer to a CONNECT that ends here is ours.
        let answered_here = self.exchange.request.is_connect() && self.ends_tunnel().is_some();
        let info = &self.exchange.info;
        let headers = &mut self.exchange.response.headers;
        let mut digits = itoa::Buffer::new();
        if !self.session.manager.router.suppress_envoy_headers
            && !answered_here
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
    pub(super) fn poll_response(
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
        let throttle = self.exchange.info.filters.as_mut().and_then(|state| state.throttle());
        let relayed = match throttle {
            None => relay.poll(cx, upstream, &mut *self.downstream, &mut moved),
            Some(throttle) => relay.poll(cx, &mut throttle.slow(upstream), &mut *self.downstream, &mut moved),
        };
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
    pub(super) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        match self.poll_interruptions(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Failure::Ended(ended)) => Poll::Ready(Err(ended)),
            Poll::Ready(Failure::Expired(expired)) => {
                if expired == Expired::TryDuration {
                    self.state.stats.upstream_rq_max_duration_reached.inc();
                }
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
    pub(super) async fn tunnel(&mut self, upstream: &mut UpstreamStream) -> Result<(), Ended> {
        let stats = self.session.counted.stats();
        stats.downstream_cx_upgrades_total.inc();
        let _active = Held::new(&stats.downstream_cx_upgrades_active);
        poll_fn(|cx| self.downstream.poll_flush(cx)).await.map_err(Ended::Gone)?;
        upstream.become_tunnel();
        self.downstream.become_tunnel();
        self.until = Until { idle: self.until.idle, ..Until::default() };
        self.until.arm(self.deadline);
        let (mut up, mut down) = (Relay::Body, Relay::Body);
        let halves = self.downstream.protocol() == Protocol::Http2;
        poll_fn(|cx| {
            let mut moved = false;
            let sent = up.poll(cx, &mut *self.downstream, upstream, &mut moved);
            let received = down.poll(cx, upstream, &mut *self.downstream, &mut moved);
            if moved {
                self.moved();
            }
            // A stream of HTTP/2 may end in one direction; the end of an HTTP/1 connection's is the end.
            let half_closed = halves && matches!(sent, Poll::Ready(Ok(())));
            if received.is_ready() || sent.is_ready() && !half_closed {
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
