//! Whether a failed try is repeated, and when: Envoy's retry state.
//!
//! Pure but for the random number of the backoff. Called by [`super::forward`] after each try.
//! Invariant: a request is tried at most `1 + attempts` times.

use std::{borrow::Cow, time::Duration};

use crate::{
    error::ResetReason,
    http::{
        connection_manager::forwarding::Client,
        headers::Known,
        message::{RequestHead, ResponseHead, is_grpc},
    },
    route::{RetryOn, RetryPolicy},
};

/// The retry policy in effect for one request, and how often it was used.
#[derive(Debug)]
pub struct Retries<'a> {
    policy: Cow<'a, RetryPolicy>,
    used: u32,
}

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again.
    Retry,
    /// The policy does not cover this failure.
    NotCovered,
    /// Covered, but no try is left.
    LimitReached,
}

const EMPTY: RetryPolicy = RetryPolicy {
    on: RetryOn(0),
    attempts: 1,
    per_try_timeout: None,
    statuses: Vec::new(),
    backoff: (Duration::from_millis(25), Duration::from_millis(250)),
    avoid_previous_hosts: None,
    avoid_previous_priorities: None,
};

impl<'a> Retries<'a> {
    /// The route's policy with what a trusted client's headers add; takes those headers away.
    pub fn new(policy: Option<&'a RetryPolicy>, head: &mut RequestHead, client: Client) -> Option<Self> {
        // From other clients the connection manager has stripped them already.
        let steered =
            head.headers.contains(Known::XEnvoyRetryOn) || head.headers.contains(Known::XEnvoyRetryGrpcOn);
        let max = head.headers.get_str(Known::XEnvoyMaxRetries).and_then(|text| text.parse().ok());
        let mut policy = policy.map(Cow::Borrowed);
        if client.internal && (steered || max.is_some()) {
            let own = policy.get_or_insert(Cow::Owned(EMPTY)).to_mut();
            let conditions = [Known::XEnvoyRetryOn, Known::XEnvoyRetryGrpcOn];
            for text in conditions.into_iter().filter_map(|name| head.headers.get_str(name)) {
                own.on.0 |=
                    text.split(',').map(|word| condition(word.trim())).fold(0, |all, flag| all | flag);
            }
            let statuses = head.headers.get_str(Known::XEnvoyRetriableStatusCodes).unwrap_or_default();
            own.statuses.extend(statuses.split(',').filter_map(|code| code.trim().parse::<u16>().ok()));
            own.attempts = max.unwrap_or(own.attempts);
        }
        for name in [
            Known::XEnvoyRetryOn,
            Known::XEnvoyRetryGrpcOn,
            Known::XEnvoyMaxRetries,
            Known::XEnvoyRetriableStatusCodes,
            Known::XEnvoyRetriableHeaderNames,
            Known::XEnvoyHedgeOnPerTryTimeout,
        ] {
            head.headers.remove(name);
        }
        policy.filter(|policy| policy.on.0 != 0).map(|policy| Self { policy, used: 0 })
    }

    /// The policy.
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// After a try that ended without a response. `started`: some of the request was sent.
    pub fn after_reset(&mut self, reason: ResetReason, started: bool) -> Verdict {
        let on = self.policy.on;
        let covered = match reason {
            ResetReason::Overflow => false,
            _ if on.has(RetryOn::RESET | RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR) => true,
            _ if !started && on.has(RetryOn::RESET_BEFORE_REQUEST) => true,
            ResetReason::RemoteConnectionFailure
            | ResetReason::LocalConnectionFailure
            | ResetReason::ConnectionTimeout => on.has(RetryOn::CONNECT_FAILURE),
            ResetReason::RemoteRefusedStreamReset => on.has(RetryOn::REFUSED_STREAM),
            _ => false,
        };
        self.spend(covered)
    }

    /// After a response head.
    pub fn after_response(&mut self, head: &ResponseHead) -> Verdict {
        if head.headers.contains(Known::XEnvoyRateLimited) {
            return Verdict::NotCovered;
        }
        let on = self.policy.on;
        let covered = match head.status {
            500..=599 if on.has(RetryOn::SERVER_ERROR) => true,
            502..=504 if on.has(RetryOn::GATEWAY_ERROR) => true,
            409 if on.has(RetryOn::RETRIABLE_4XX) => true,
            status if on.has(RetryOn::RETRIABLE_STATUS_CODES) && self.policy.statuses.contains(&status) => {
                true
            }
            _ => grpc_covered(on, head),
        };
        self.spend(covered)
    }

    /// How long to wait before the next try: fully jittered exponential backoff.
    pub fn backoff(&self, random: u64) -> Duration {
        let (base, max) = self.policy.backoff;
        let factor = 1u32 << self.used.saturating_sub(1).min(16);
        // Envoy draws from [0, base * 2^n), never less than one millisecond's worth of spread.
        let ceiling = base.saturating_mul(factor).min(max).max(Duration::from_millis(1));
        Duration::from_micros(random % ceiling.as_micros() as u64)
    }

    fn spend(&mut self, covered: bool) -> Verdict {
        if !covered {
            return Verdict::NotCovered;
        }
        if self.used >= self.policy.attempts {
            return Verdict::LimitReached;
        }
        self.used += 1;
        Verdict::Retry
    }
}

fn grpc_covered(on: RetryOn, head: &ResponseHead) -> bool {
    const ALL: u32 = RetryOn::CANCELLED
        | RetryOn::DEADLINE_EXCEEDED
        | RetryOn::INTERNAL
        | RetryOn::RESOURCE_EXHAUSTED
        | RetryOn::UNAVAILABLE;
    if !on.has(ALL) || !is_grpc(&head.headers) {
        return false;
    }
    let flag = match head.headers.get(Known::GrpcStatus) {
        Some(b"1") => RetryOn::CANCELLED,
        Some(b"4") => RetryOn::DEADLINE_EXCEEDED,
        Some(b"8") => RetryOn::RESOURCE_EXHAUSTED,
        Some(b"13") => RetryOn::INTERNAL,
        Some(b"14") => RetryOn::UNAVAILABLE,
        _ => return false,
    };
    on.has(flag)
}

/// The flag of a `retry_on` word; 0 for words that are not in effect.
pub fn condition(word: &str) -> u32 {
    match word {
        "5xx" => RetryOn::SERVER_ERROR,
        "gateway-error" => RetryOn::GATEWAY_ERROR,
        "reset" => RetryOn::RESET,
        "reset-before-request" => RetryOn::RESET_BEFORE_REQUEST,
        "connect-failure" => RetryOn::CONNECT_FAILURE,
        "retriable-4xx" => RetryOn::RETRIABLE_4XX,
        "refused-stream" => RetryOn::REFUSED_STREAM,
        "retriable-status-codes" => RetryOn::RETRIABLE_STATUS_CODES,
        "cancelled" => RetryOn::CANCELLED,
        "deadline-exceeded" => RetryOn::DEADLINE_EXCEEDED,
        "internal" => RetryOn::INTERNAL,
        "resource-exhausted" => RetryOn::RESOURCE_EXHAUSTED,
        "unavailable" => RetryOn::UNAVAILABLE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(on: u32, attempts: u32) -> Retries<'static> {
        let policy = RetryPolicy { on: RetryOn(on), attempts, statuses: vec![418], ..EMPTY };
        Retries { policy: Cow::Owned(policy), used: 0 }
    }

    #[test]
    fn resets() {
        use ResetReason::*;
        for (on, reason, started, covered) in [
            (RetryOn::CONNECT_FAILURE, RemoteConnectionFailure, false, true),
            (RetryOn::CONNECT_FAILURE, ConnectionTimeout, false, true),
            (RetryOn::CONNECT_FAILURE, ConnectionTermination, true, false),
            (RetryOn::RESET, ConnectionTermination, true, true),
            (RetryOn::RESET, Overflow, false, false),
            (RetryOn::RESET_BEFORE_REQUEST, ConnectionTermination, true, false),
            (RetryOn::RESET_BEFORE_REQUEST, RemoteConnectionFailure, false, true),
            (RetryOn::REFUSED_STREAM, RemoteRefusedStreamReset, true, true),
            (RetryOn::SERVER_ERROR, LocalReset, true, true),
        ] {
            let verdict = retries(on, 1).after_reset(reason, started);
            assert_eq!(verdict == Verdict::Retry, covered, "{on} {reason:?}");
        }
    }

    #[test]
    fn responses_and_the_limit() {
        let answer = |status| ResponseHead { status, ..ResponseHead::default() };
        let mut some = retries(RetryOn::GATEWAY_ERROR | RetryOn::RETRIABLE_STATUS_CODES, 2);
        assert_eq!(some.after_response(&answer(500)), Verdict::NotCovered);
        assert_eq!(some.after_response(&answer(503)), Verdict::Retry);
        assert_eq!(some.after_response(&answer(418)), Verdict::Retry);
        assert_eq!(some.after_response(&answer(503)), Verdict::LimitReached);
        assert!(some.backoff(u64::MAX) <= Duration::from_millis(50));
    }
}
