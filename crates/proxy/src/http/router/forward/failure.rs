//! Tries that brought no response: what is answered, and whether another try follows.
//!
//! Invariant: bodies, details and flags are Envoy's.

use std::{future::poll_fn, task::Poll};

use super::Forwarding;
use crate::{
    error::{Flags, ResetReason, Side, StreamError},
    http::{
        connection_manager::{Ended, reply::LocalReply, timeouts::Expired},
        exchange::Downstream,
        router::retry::Verdict,
    },
    upstream::{
        connect::ConnectError,
        limits::{Permit, Resource},
    },
};

/// The answer when a circuit breaker is open.
pub(super) fn overflow() -> LocalReply {
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
        let Some(retries) = self.retries.as_mut().filter(|_| self.replay.is_complete()) else { return false };
        let verdict = retries.after_response(&self.exchange.response);
        if verdict == Verdict::LimitReached {
            self.exchange.info.flags.set(Flags::RETRY_LIMIT_EXCEEDED);
        }
        verdict == Verdict::Retry
    }

    /// Decides whether another try follows; else how the request ends.
    pub(super) fn after_failure(&mut self, failure: Failure) -> Result<(), Ended> {
        let (error, started, mut reply) = match failure {
            Failure::Ended(ended) => return Err(ended),
            Failure::Expired(Expired::PerTry) => {
                self.state.stats.upstream_rq_per_try_timeout.inc();
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
    pub(super) fn timed_out(&self, expired: Expired) -> LocalReply {
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
    pub(super) async fn back_off(&mut self) -> Result<(), Ended> {
        let limit = self.state.cluster.settings.limits.retries;
        let Some(_retry) = Permit::take(&self.state.slot, Resource::Retries, limit) else {
            self.state.stats.upstream_rq_retry_overflow.inc();
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
}
