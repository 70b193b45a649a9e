//! Whether a failed try is repeated, and when: Envoy's retry state.
//!
//! Pure but for the random number of the backoff. Called by [`super::forward`] after each try.
//! Invariant: a request is tried at most `1 + attempts` times; in safe mode, one whose method is not idempotent is tried
//! again only when the application cannot have seen it.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    error::ResetReason,
    http::{
        connection_manager::forwarding::Client,
        headers::Known,
        message::{RequestHead, ResponseHead, View},
    },
    route::{
        RequestView, ResetFormat, RetryOn, RetryPolicy,
        matcher::{HeaderMatch, HeaderName, ValueMatch},
    },
};

/// The retry policy in effect for one request, and how often it was used.
#[derive(Debug)]
pub struct Retries<'a> {
    policy: Cow<'a, RetryPolicy>,
    used: u32,
    /// Only failures that the application cannot have noticed count.
    cautious: bool,
    /// What the last response said of when to come again.
    reset_after: Option<Duration>,
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

/// A policy that only headers fill.
fn empty() -> RetryPolicy {
    RetryPolicy { attempts: 1, ..RetryPolicy::default() }
}

const STEERING: [Known; 6] = [
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyHedgeOnPerTryTimeout,
];

impl<'a> Retries<'a> {
    /// The route's policy with what a trusted client's headers add; takes those headers away.
    pub fn new(policy: Option<&'a RetryPolicy>, head: &mut RequestHead, client: Client) -> Option<Self> {
        let steered =
            head.headers.contains(Known::XEnvoyRetryOn) || head.headers.contains(Known::XEnvoyRetryGrpcOn);
        let mut policy = policy.map(Cow::Borrowed);
        // From clients at the edge the connection manager has stripped the headers already.
        if client.internal
            && (steered || policy.is_some())
            && STEERING.iter().any(|n| head.headers.contains(*n))
        {
            steer(policy.get_or_insert_with(|| Cow::Owned(empty())).to_mut(), head);
        }
        let policy = policy.filter(|policy| policy.on.0 != 0 && policy.takes(head));
        head.headers.remove_all(&STEERING);
        let policy = policy?;
        let cautious = policy.safe && !is_idempotent(head.method());
        Some(Self { policy, used: 0, cautious, reset_after: None })
    }

    /// The policy.
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// After a try that ended without a response. `started`: some of the request was sent.
    pub fn after_reset(&mut self, reason: ResetReason, started: bool) -> Verdict {
        let on = self.policy.on;
        let connect = matches!(
            reason,
            ResetReason::RemoteConnectionFailure
                | ResetReason::LocalConnectionFailure
                | ResetReason::ConnectionTimeout
        );
        let covered = match reason {
            ResetReason::Overflow => false,
            _ if on.has(RetryOn::RESET | RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR) => true,
            _ if !started && on.has(RetryOn::RESET_BEFORE_REQUEST) => true,
            _ if connect => on.has(RetryOn::CONNECT_FAILURE),
            ResetReason::RemoteRefusedStreamReset => on.has(RetryOn::REFUSED_STREAM),
            _ => false,
        };
        let unseen = connect || !started || reason == ResetReason::RemoteRefusedStreamReset;
        self.spend(covered && (unseen || !self.cautious))
    }

    /// After a response head.
    pub fn after_response(&mut self, head: &ResponseHead, now: SystemTime) -> Verdict {
        let on = self.policy.on;
        if head.headers.contains(Known::XEnvoyRateLimited) && !on.has(RetryOn::ENVOY_RATELIMITED) {
            return Verdict::NotCovered;
        }
        let covered = match head.status {
            _ if head.headers.contains(Known::XEnvoyRateLimited) => true,
            500..=599 if on.has(RetryOn::SERVER_ERROR) => true,
            502..=504 if on.has(RetryOn::GATEWAY_ERROR) => true,
            409 if on.has(RetryOn::RETRIABLE_4XX) => true,
            status if on.has(RetryOn::RETRIABLE_STATUS_CODES) && self.policy.statuses.contains(&status) => {
                true
            }
            _ if on.has(RetryOn::RETRIABLE_HEADERS) && self.policy.marks(head) => true,
            _ => grpc_covered(on, head),
        };
        let verdict = self.spend(covered && !self.cautious);
        if verdict == Verdict::Retry {
            self.reset_after = self.policy.reset_after(head, now);
        }
        verdict
    }

    /// How long to wait before the next try: as the response said, else fully jittered exponential backoff. The second
    /// says which.
    pub fn backoff(&mut self, random: u64) -> (Duration, bool) {
        if let Some(least) = self.reset_after.take() {
            let spread = (least / 2).as_millis().max(1) as u64;
            return (least + Duration::from_millis(random % spread), true);
        }
        let (base, max) = self.policy.backoff;
        let factor = 1u32 << self.used.saturating_sub(1).min(16);
        // Envoy draws from [0, base * 2^n), never less than one millisecond's worth of spread.
        let ceiling = base.saturating_mul(factor).min(max).max(Duration::from_millis(1));
        (Duration::from_micros(random % ceiling.as_micros() as u64), false)
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

/// Methods that may be repeated without harm (RFC 9110, 9.2.2). Unknown ones may not.
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// Lays the request's headers over a policy.
fn steer(policy: &mut RetryPolicy, head: &RequestHead) {
    let conditions = [Known::XEnvoyRetryOn, Known::XEnvoyRetryGrpcOn];
    for text in conditions.into_iter().filter_map(|name| head.headers.get_str(name)) {
        policy.on.0 |= text.split(',').map(|word| condition(word.trim())).fold(0, |all, flag| all | flag);
    }
    let statuses = head.headers.get_str(Known::XEnvoyRetriableStatusCodes).unwrap_or_default();
    policy.statuses.extend(statuses.split(',').filter_map(|code| code.trim().parse::<u16>().ok()));
    let names = head.headers.get_str(Known::XEnvoyRetriableHeaderNames).unwrap_or_default();
    let present = |name: &str| HeaderMatch {
        name: HeaderName::new(name),
        value: ValueMatch::Present(true),
        invert: false,
        missing_is_empty: false,
    };
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(present);
    let marks: Vec<_> = policy.response_headers.iter().cloned().chain(names).collect();
    policy.response_headers = marks.into();
    let max = head.headers.get_str(Known::XEnvoyMaxRetries).and_then(|text| text.parse().ok());
    policy.attempts = max.unwrap_or(policy.attempts);
}

impl RetryPolicy {
    /// `retriable_request_headers`: one must match, if there are any.
    fn takes(&self, head: &RequestHead) -> bool {
        let view = View { head, tls: head.https, random: 0 };
        self.request_headers.is_empty() || self.request_headers.iter().any(|h| h.matches(&view))
    }

    /// `retriable_headers`.
    fn marks(&self, head: &ResponseHead) -> bool {
        self.response_headers.iter().any(|condition| condition.matches(&Answer(head)))
    }

    /// The first reset header that says something usable.
    fn reset_after(&self, head: &ResponseHead, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.reset_headers.iter().find_map(|(name, format)| {
            let value: u64 = std::str::from_utf8(head.headers.get_named(name)?).ok()?.trim().parse().ok()?;
            let seconds = match format {
                ResetFormat::Seconds => value,
                ResetFormat::UnixTimestamp => value.checked_sub(now)?,
            };
            let wait = Duration::from_secs(seconds);
            (seconds > 0 && wait <= self.reset_max).then_some(wait)
        })
    }
}

/// A response as header conditions see it.
struct Answer<'a>(&'a ResponseHead);

impl RequestView for Answer<'_> {
    fn authority(&self) -> &str {
        ""
    }

    fn path(&self) -> &str {
        ""
    }

    fn method(&self) -> &str {
        ""
    }

    fn scheme(&self) -> &str {
        ""
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            ":status" => Some(Cow::Owned(self.0.status.to_string())),
            _ => self.0.headers.joined(name),
        }
    }

    fn is_tls(&self) -> bool {
        false
    }

    fn random(&self) -> u64 {
        0
    }
}

fn grpc_covered(on: RetryOn, head: &ResponseHead) -> bool {
    const ALL: u32 = RetryOn::CANCELLED
        | RetryOn::DEADLINE_EXCEEDED
        | RetryOn::INTERNAL
        | RetryOn::RESOURCE_EXHAUSTED
        | RetryOn::UNAVAILABLE;
    // Whatever the type says, as in Envoy: a status in the head is one.
    if !on.has(ALL) {
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

/// The words of `retry_on` that are in effect.
const CONDITIONS: [(&str, u32); 15] = [
    ("5xx", RetryOn::SERVER_ERROR),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("reset", RetryOn::RESET),
    ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("retriable-4xx", RetryOn::RETRIABLE_4XX),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    ("retriable-status-codes", RetryOn::RETRIABLE_STATUS_CODES),
    ("retriable-headers", RetryOn::RETRIABLE_HEADERS),
    ("envoy-ratelimited", RetryOn::ENVOY_RATELIMITED),
    ("cancelled", RetryOn::CANCELLED),
    ("deadline-exceeded", RetryOn::DEADLINE_EXCEEDED),
    ("internal", RetryOn::INTERNAL),
    ("resource-exhausted", RetryOn::RESOURCE_EXHAUSTED),
    ("unavailable", RetryOn::UNAVAILABLE),
];

/// The flag of a `retry_on` word; 0 for words that are not in effect.
pub fn condition(word: &str) -> u32 {
    CONDITIONS.iter().find(|(known, _)| *known == word).map_or(0, |(_, flag)| *flag)
}

/// The words of these flags.
pub fn words(on: RetryOn) -> impl Iterator<Item = &'static str> {
    CONDITIONS.iter().filter(move |(_, flag)| on.has(*flag)).map(|(word, _)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(on: u32, attempts: u32) -> Retries<'static> {
        let policy = RetryPolicy { on: RetryOn(on), attempts, statuses: vec![418], ..empty() };
        Retries { policy: Cow::Owned(policy), used: 0, cautious: false, reset_after: None }
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

    /// Whatever could have been seen is not repeated; whatever could not, is.
    #[test]
    fn caution() {
        use ResetReason::*;
        for (reason, started, again) in [
            (RemoteConnectionFailure, false, true),
            (ConnectionTimeout, false, true),
            (RemoteRefusedStreamReset, true, true),
            (ConnectionTermination, false, true),
            (ConnectionTermination, true, false),
            (RemoteReset, true, false),
            (LocalReset, true, false),
        ] {
            let mut careful = Retries { cautious: true, ..retries(u32::MAX, 1) };
            assert_eq!(careful.after_reset(reason, started) == Verdict::Retry, again, "{reason:?} {started}");
        }
        let mut careful = Retries { cautious: true, ..retries(u32::MAX, 1) };
        let answer = ResponseHead { status: 503, ..ResponseHead::default() };
        assert_eq!(careful.after_response(&answer, UNIX_EPOCH), Verdict::NotCovered);
        for (method, safe) in
            [("GET", true), ("DELETE", true), ("POST", false), ("PATCH", false), ("X", false)]
        {
            assert_eq!(is_idempotent(method), safe, "{method}");
        }
    }

    #[test]
    fn responses_and_the_limit() {
        let answer = |status| ResponseHead { status, ..ResponseHead::default() };
        let mut some = retries(RetryOn::GATEWAY_ERROR | RetryOn::RETRIABLE_STATUS_CODES, 2);
        let mut after = |status| some.after_response(&answer(status), UNIX_EPOCH);
        assert_eq!(after(500), Verdict::NotCovered);
        assert_eq!(after(503), Verdict::Retry);
        assert_eq!(after(418), Verdict::Retry);
        assert_eq!(after(503), Verdict::LimitReached);
        assert!(some.backoff(u64::MAX).0 <= Duration::from_millis(50));
    }

    #[test]
    fn headers_mark_responses_and_say_when() {
        let mut head = ResponseHead { status: 429, ..ResponseHead::default() };
        head.headers.append_named(b"x-again", b"yes");
        head.headers.append(Known::RetryAfter, b"10");
        let policy = RetryPolicy {
            on: RetryOn(RetryOn::RETRIABLE_HEADERS),
            attempts: 3,
            response_headers: [HeaderMatch {
                name: HeaderName::new("x-again"),
                value: ValueMatch::Present(true),
                invert: false,
                missing_is_empty: false,
            }]
            .into(),
            reset_headers: [("retry-after".into(), ResetFormat::Seconds)].into(),
            reset_max: Duration::from_secs(300),
            ..empty()
        };
        let mut retries =
            Retries { policy: Cow::Borrowed(&policy), used: 0, cautious: false, reset_after: None };
        assert_eq!(retries.after_response(&head, UNIX_EPOCH), Verdict::Retry);
        let (wait, limited) = retries.backoff(7);
        assert!(limited && wait >= Duration::from_secs(10) && wait < Duration::from_secs(15), "{wait:?}");
        assert!(!retries.backoff(7).1);
        head.headers.set(Known::RetryAfter, b"301");
        assert_eq!(policy.reset_after(&head, UNIX_EPOCH), None);
        assert_eq!(retries.after_response(&ResponseHead::default(), UNIX_EPOCH), Verdict::NotCovered);
    }
}
