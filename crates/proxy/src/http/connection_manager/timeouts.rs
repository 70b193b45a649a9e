//! How long a request may take: the route's timeout, tries, idle streams, in one deadline.
//!
//! [`super`] settles the limits from route and headers; the router asks which of them has passed.
//! Invariant: the worker's deadline table always holds the earliest limit, so nothing else needs a timer.

use std::time::{Duration, Instant};

use crate::{
    http::{
        connection_manager::forwarding::Client, deadline::Deadline, headers::Known, message::RequestHead,
    },
    route::Forward,
};

/// The limits of one request that are durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The route's timeout, counted from the end of the request.
    pub route: Option<Duration>,
    /// For each try, counted likewise.
    pub per_try: Option<Duration>,
    /// For each try, without any progress of it.
    pub per_try_idle: Option<Duration>,
    /// Without any progress.
    pub idle: Option<Duration>,
}

/// Which limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The whole request.
    Route,
    /// This try.
    PerTry,
    /// Nothing moved in this try.
    PerTryIdle,
    /// Nothing moved.
    Idle,
    /// `request_timeout`: the request did not arrive in time.
    Request,
    /// `max_stream_duration`.
    Duration,
    /// The cluster's `max_stream_duration`, of this try.
    TryDuration,
}

/// The limits as points in time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Until {
    /// [`Limits::route`]
    pub route: Option<Instant>,
    /// [`Limits::per_try`]
    pub per_try: Option<Instant>,
    /// [`Limits::per_try_idle`] from the last progress that was noted.
    pub per_try_idle: Option<Instant>,
    /// [`Limits::idle`] from the last progress that was noted.
    pub idle: Option<Instant>,
    /// `request_timeout`
    pub request: Option<Instant>,
    /// `max_stream_duration` of the route or the connection manager, or of the cluster if that comes first.
    pub duration: Option<Instant>,
    /// It is the cluster's, which is of this try.
    pub of_try: bool,
}

impl Until {
    /// Writes the earliest into the deadline table.
    pub fn arm(&self, deadline: &Deadline) {
        let all = [self.route, self.per_try, self.per_try_idle, self.idle, self.request, self.duration];
        deadline.set(all.into_iter().flatten().min());
    }

    /// The limit that has passed at `now`, the weightiest first.
    pub fn expired(&self, now: Instant) -> Option<Expired> {
        let all = [
            (self.route, Expired::Route),
            (self.duration, if self.of_try { Expired::TryDuration } else { Expired::Duration }),
            (self.per_try, Expired::PerTry),
            (self.per_try_idle, Expired::PerTryIdle),
            (self.request, Expired::Request),
            (self.idle, Expired::Idle),
        ];
        all.into_iter().find(|(at, _)| at.is_some_and(|at| at <= now)).map(|(_, expired)| expired)
    }
}

/// Settles the limits as Envoy's `FilterUtility::finalTimeout` does, and takes the steering headers away.
pub fn settle(
    head: &mut RequestHead,
    forward: &Forward,
    client: Client,
    idle: Option<Duration>,
    respect: bool,
) -> Limits {
    let grpc = forward.max_grpc_timeout.filter(|_| head.is_grpc());
    let mut route = match grpc {
        Some(max) => grpc_timeout(head, max, forward.grpc_timeout_offset),
        None => forward.timeout,
    };
    let mut per_try = forward.retry.as_ref().and_then(|retry| retry.per_try_timeout);
    if respect && let Some(expected) = header_ms(head, Known::XEnvoyExpectedRqTimeoutMs) {
        route = expected;
    } else if client.internal || head.headers.contains(Known::XEnvoyUpstreamRqTimeoutMs) {
        if let Some(own) = header_ms(head, Known::XEnvoyUpstreamRqTimeoutMs) {
            route = own;
        }
        if let Some(own) = header_ms(head, Known::XEnvoyUpstreamRqPerTryTimeoutMs) {
            per_try = own;
        }
    }
    head.headers.remove(Known::XEnvoyUpstreamRqTimeoutMs);
    head.headers.remove(Known::XEnvoyUpstreamRqPerTryTimeoutMs);
    if route.is_some_and(|route| per_try.is_some_and(|per_try| per_try >= route)) {
        per_try = None;
    }
    let per_try_idle = forward.retry.as_ref().and_then(|retry| retry.per_try_idle_timeout);
    Limits { route, per_try, per_try_idle, idle: forward.idle_timeout.unwrap_or(idle) }
}

/// Tells the upstream how long we will wait, in Envoy's header (if `named`) and in gRPC's.
pub fn announce(head: &mut RequestHead, limits: Limits, forward: &Forward, named: bool) {
    let Some(expected) = limits.per_try.or(limits.route) else {
        if named {
            head.headers.remove(Known::XEnvoyExpectedRqTimeoutMs);
        }
        return;
    };
    let mut digits = itoa::Buffer::new();
    let ms = expected.as_millis() as u64;
    if named {
        head.headers.set(Known::XEnvoyExpectedRqTimeoutMs, digits.format(ms).as_bytes());
    }
    if forward.tells_grpc_timeout && head.is_grpc() {
        head.headers.set(Known::GrpcTimeout, grpc_timeout_text(ms).as_bytes());
    }
}

/// A `grpc-timeout`, in the finest unit whose number has at most eight digits.
fn grpc_timeout_text(ms: u64) -> String {
    const MOST: u64 = 99_999_999;
    let units = [(ms, "m"), (ms / 1000, "S"), (ms / 60_000, "M"), (ms / 3_600_000, "H")];
    let (value, unit) = units.into_iter().find(|(value, _)| *value <= MOST).unwrap_or((MOST, "H"));
    format!("{value}{unit}")
}

/// A header in milliseconds: outer `None` when absent or not a number, inner `None` for zero (no limit).
fn header_ms(head: &RequestHead, name: Known) -> Option<Option<Duration>> {
    let ms: u64 = head.headers.get_str(name)?.parse().ok()?;
    Some((ms > 0).then(|| Duration::from_millis(ms)))
}

/// `grpc-timeout` under the route's maximum (zero: any); without the header, no limit.
fn grpc_timeout(head: &RequestHead, max: Duration, offset: Option<Duration>) -> Option<Duration> {
    let bounded = (max > Duration::ZERO).then_some(max);
    let Some(asked) = head.headers.get_str(Known::GrpcTimeout).and_then(parse_grpc_timeout) else {
        return bounded;
    };
    let asked = match offset {
        Some(offset) if offset < asked => asked - offset,
        _ => asked,
    };
    Some(bounded.map_or(asked, |max| asked.min(max))).filter(|timeout| *timeout > Duration::ZERO)
}

/// At most eight digits and a unit.
fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts() {
        assert_eq!(parse_grpc_timeout("15S"), Some(Duration::from_secs(15)));
        assert_eq!(parse_grpc_timeout("100m"), Some(Duration::from_millis(100)));
        for bad in ["", "S", "1", "123456789S", "1x", "-1S", "é"] {
            assert_eq!(parse_grpc_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn grpc_timeouts_have_eight_digits_at_most() {
        for (ms, text) in [(50, "50m"), (3_600_000, "3600000m"), (100_000_000, "100000S")] {
            assert_eq!(grpc_timeout_text(ms), text);
        }
        assert_eq!(grpc_timeout_text(u64::MAX), "99999999H");
    }

    #[test]
    fn the_weightiest_limit_wins() {
        let now = Instant::now();
        let until = Until { route: Some(now), per_try: Some(now), ..Until::default() };
        assert_eq!(until.expired(now), Some(Expired::Route));
        assert_eq!(Until::default().expired(now), None);
    }
}
