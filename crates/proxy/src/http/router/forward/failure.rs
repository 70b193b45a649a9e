//! Tries that brought no response: what is answered, and whether another try follows.
//!
//! Invariant: bodies, details and flags are Envoy's.

use std::{future::poll_fn, task::Poll, time::SystemTime};

use super::Forwarding;
use crate::{
    cluster::outlier::Outcome,
    error::{Flags, ResetReason, Side, StreamError},
    http::{
        connection_manager::{Ended, reply::LocalReply, timeouts::Expired},
        exchange::Downstream,
        headers::Known,
        message::{RequestHead, ResponseHead},
        router::retry::Verdict,
    },
    upstream::{
        connect::ConnectError,
        limits::{Permit, Resource},
    },
};

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
    let mut reply = LocalReply::new(status, "", "", error.reason.upstream_flag()).of_route();
    reply.body = body.into();
    reply.details = details.into();
    reply
}

/// The status that outlier detection goes by: gRPC says in a header of its own how it went.
pub(super) fn judged(request: &RequestHead, response: &ResponseHead) -> u16 {
    if !request.is_grpc() {
        return response.status;
    }
    match response.headers.get_str(Known::GrpcStatus).and_then(|status| status.parse::<u32>().ok()) {
        None => response.status,
        // Envoy's `grpcToHttpStatus`.
        Some(0) => 200,
        Some(1) => 499,
        Some(3 | 9 | 11) => 400,
        Some(4) => 504,
        Some(5) => 404,
        Some(6 | 10) => 409,
        Some(7) => 403,
        Some(8) => 429,
        Some(12) => 501,
        Some(14) => 503,
        Some(16) => 401,
        Some(_) => 500,
    }
}

/// Why a try brought no response.
#[derive(Debug)]
pub(super) enum Failure {
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

impl<D: Downstream> Forwarding<'_, D> {
    /// True when the policy wants another try in place of this response.
    pub(super) fn retries_response(&mut self) -> bool {
        let Some(retries) = &mut self.retries else { return false };
        if !self.replay.is_complete() {
            return false;
        }
        let verdict = retries.after_response(&self.exchange.response, SystemTime::now());
        self.conclude(verdict)
    }

    /// True when another try follows; else the request has failed for good, and the flags say why.
    fn conclude(&mut self, verdict: Verdict) -> bool {
        // What the try before held is free.
        let retried = self.retrying.take().is_some();
        match verdict {
            Verdict::Retry => {}
            Verdict::LimitReached => {
                self.exchange.info.flags.set(Flags::RETRY_LIMIT_EXCEEDED);
                self.state.stats.upstream_rq_retry_limit_exceeded.inc();
                self.count_apart(|stats| stats.upstream_rq_retry_limit_exceeded.inc());
                return false;
            }
            Verdict::NotCovered => {
                if retried {
                    self.state.stats.upstream_rq_retry_success.inc();
                    self.count_apart(|stats| stats.upstream_rq_retry_success.inc());
                }
                return false;
            }
        }
        let (slot, high) = (&self.state.slot, self.matched.forward.high_priority);
        let limit = self.state.cluster.settings.limits_at(high).retries_now(slot.in_use_at(high));
        self.retrying = Permit::take(slot, high, Resource::Retries, limit);
        let stats = &self.state.stats;
        if self.retrying.is_none() {
            stats.upstream_rq_retry_overflow.inc();
            self.count_apart(|stats| stats.upstream_rq_retry_overflow.inc());
            self.exchange.info.flags.set(Flags::UPSTREAM_OVERFLOW);
            return false;
        }
        stats.upstream_rq_retry.inc();
        self.count_apart(|stats| stats.upstream_rq_retry.inc());
        true
    }

    /// Decides whether another try follows; else how the request ends.
    pub(super) fn after_failure(&mut self, failure: Failure) -> Result<(), Ended> {
        let (error, started, reply) = match failure {
            Failure::Ended(ended) => return Err(ended),
            Failure::Expired(expired @ (Expired::PerTry | Expired::PerTryIdle)) => {
                let error = StreamError::new(Side::Local, ResetReason::LocalReset);
                let mut reply = LocalReply::per_try_timeout();
                if expired == Expired::PerTry {
                    self.state.stats.upstream_rq_per_try_timeout.inc();
                } else {
                    self.state.stats.upstream_rq_per_try_idle_timeout.inc();
                    reply.details = "upstream_per_try_idle_timeout".into();
                }
                self.report(Outcome::TimedOut);
                (error, true, reply)
            }
            Failure::Expired(Expired::TryDuration) => {
                self.state.stats.upstream_rq_max_duration_reached.inc();
                let error = StreamError::new(Side::Local, ResetReason::LocalReset);
                (error, true, self.timed_out(Expired::TryDuration))
            }
            Failure::Expired(expired) => {
                if expired == Expired::Route {
                    self.report(Outcome::TimedOut);
                    self.count_apart(|stats| stats.upstream_rq_timeout.inc());
                }
                return Err(self.timed_out(expired).into());
            }
            Failure::Upstream { error, started } => {
                if error.reason != ResetReason::Overflow {
                    self.report(Outcome::Failed);
                }
                let retried = self.exchange.info.attempts > 1;
                let transport = std::mem::take(&mut self.exchange.info.transport_failure);
                let mut reply = reset_reply(error, &transport, retried);
                reply.overloaded = error.reason == ResetReason::Overflow
                    && !self.session.manager.router.suppress_envoy_headers;
                self.exchange.info.transport_failure = transport;
                (error, started, reply)
            }
        };
        let verdict = match &mut self.retries {
            Some(retries) if self.replay.is_complete() => retries.after_reset(error.reason, started),
            _ => Verdict::NotCovered,
        };
        if self.conclude(verdict) {
            return Ok(());
        }
        Err(reply.into())
    }

    /// The answer when a limit that no try outlives has passed.
    pub(super) fn timed_out(&self, expired: Expired) -> LocalReply {
        let complete = self.downstream.request_complete();
        let status = if complete { 504 } else { 408 };
        match expired {
            Expired::Route | Expired::PerTry | Expired::PerTryIdle => LocalReply::request_timeout(),
            Expired::Idle => {
                LocalReply::new(status, "stream timeout", "stream_idle_timeout", Flags::STREAM_IDLE_TIMEOUT)
            }
            Expired::TryDuration => {
                let (body, details) =
                    ("upstream max stream duration reached", "upstream_max_stream_duration_reached");
                LocalReply::new(status, body, details, Flags::UPSTREAM_MAX_STREAM_DURATION).of_route()
            }
            Expired::Request => LocalReply::new(408, "request timeout", "request_overall_timeout", 0),
            Expired::Duration => {
                let flag = Flags::STREAM_TOO_LONG;
                LocalReply::new(status, "downstream duration timeout", "max_duration_timeout", flag)
            }
        }
    }

    /// Waits before the next try.
    pub(super) async fn back_off(&mut self) -> Result<(), Ended> {
        let random = self.session.worker.random();
        let (pause, limited) = match &mut self.retries {
            Some(retries) => retries.backoff(random),
            None => Default::default(),
        };
        let stats = &self.state.stats;
        match limited {
            true => stats.upstream_rq_retry_backoff_ratelimited.inc(),
            false => stats.upstream_rq_retry_backoff_exponential.inc(),
        }
        self.until.per_try_idle = None;
        self.until.per_try = None;
        if self.until.of_try {
            self.set_duration(None);
        }
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
}
