//! Settings of routes in words.
//!
//! Invariant: a number has its unit, and a default that nobody set is named as one only where it changes what happens.

use std::net::IpAddr;

use super::Hop;
use crate::{
    http::router::retry,
    route::{
        AppendAction, DirectResponse, Forward, HeaderOp, RequestView, RetryPolicy,
        hash::{HashPolicy, HashSource},
    },
};

/// `12.5 %`
pub(super) fn percent((part, whole): (u32, u32)) -> String {
    let hundredths = u64::from(part) * 1_000_000 / u64::from(whole.max(1));
    let text = format!("{}.{:04}", hundredths / 10_000, hundredths % 10_000);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `all requests are`, `12.5 % of requests are`
pub(super) fn requests(share: (u32, u32)) -> String {
    match share {
        (0, _) => "no requests are".to_owned(),
        (part, whole) if part >= whole => "all requests are".to_owned(),
        share => format!("{} of requests are", percent(share)),
    }
}

/// Timeouts and retries of a route.
pub(super) fn in_force(forward: &Forward) -> String {
    let timeout = forward.timeout.map_or("no timeout".to_owned(), |timeout| format!("timeout {timeout:?}"));
    let mut text = match &forward.retry {
        Some(policy) if policy.attempts > 0 => format!("{timeout}, {}", retries(policy)),
        _ => format!("{timeout}, no retries"),
    };
    if let Some(Some(idle)) = forward.idle_timeout {
        text += &format!(", idle timeout {idle:?}");
    }
    if let Some(longest) = forward.max_stream_duration.filter(|longest| !longest.is_zero()) {
        text += &format!(", at most {longest:?} in all");
    }
    text
}

fn retries(policy: &RetryPolicy) -> String {
    let times = if policy.attempts == 1 { "retry" } else { "retries" };
    let on: Vec<&str> = retry::words(policy.on).collect();
    let mut text = format!("up to {} {times} on {}", policy.attempts, on.join(","));
    if !policy.statuses.is_empty() {
        let statuses: Vec<String> = policy.statuses.iter().map(u16::to_string).collect();
        text += &format!(" ({})", statuses.join(","));
    }
    if let Some(limit) = policy.per_try_timeout {
        text += &format!(", {limit:?} a try");
    }
    if policy.avoid_previous_hosts.is_some() {
        text += ", each to another endpoint";
    }
    if policy.safe {
        text += ", and only where the application cannot have seen the request, unless it may be repeated";
    }
    text
}

/// A direct response.
pub(super) fn response(response: &DirectResponse) -> String {
    match response.body.len() {
        0 => response.status.to_string(),
        1 => format!("{} with a body of 1 byte", response.status),
        size => format!("{} with a body of {size} bytes", response.status),
    }
}

/// Header operations, in order.
pub(super) fn operations(operations: &[HeaderOp]) -> String {
    let one = |operation: &HeaderOp| match operation {
        HeaderOp::Remove(name) => format!("remove {name}"),
        HeaderOp::Put { name, value, append, .. } => {
            let value = value.literal().map_or("a computed value".to_owned(), |value| format!("{value:?}"));
            match append {
                AppendAction::Append => format!("add {name}: {value}"),
                AppendAction::Overwrite => format!("set {name}: {value}"),
                AppendAction::AddIfAbsent => format!("add {name}: {value} if absent"),
                AppendAction::OverwriteIfExists => format!("set {name}: {value} if present"),
            }
        }
    };
    operations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What policies hash by.
pub(super) fn hash_names(policies: &[HashPolicy]) -> String {
    let name = |policy: &HashPolicy| match &policy.source {
        HashSource::Header { name, .. } => format!("header {name}"),
        HashSource::Cookie(cookie) => format!("cookie {}", cookie.name),
        HashSource::SourceIp => "the client's address".to_owned(),
        HashSource::Query(name) => format!("query parameter {name}"),
        HashSource::FilterState => "filter state".to_owned(),
    };
    policies.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What a request is hashed by: what it has of that.
pub(super) fn hashed(policies: &[HashPolicy], hop: &Hop, client: IpAddr) -> String {
    let found = |policy: &HashPolicy| match &policy.source {
        HashSource::Header { name, .. } => hop.header(name).map(|value| format!("{name}: {value}")),
        HashSource::Cookie(cookie) => match (cookie_of(hop, &cookie.name), cookie.ttl) {
            (Some(value), _) => Some(format!("{}={value}", cookie.name)),
            (None, Some(_)) => Some(format!("a cookie {} that the answer sets", cookie.name)),
            (None, None) => None,
        },
        HashSource::SourceIp => Some(client.to_string()),
        HashSource::Query(name) => {
            let query = hop.path.split_once('?')?.1;
            let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.find(|(key, _)| *key == &**name).map(|(key, value)| format!("{key}={value}"))
        }
        HashSource::FilterState => None,
    };
    let found: Vec<String> = policies.iter().filter_map(found).collect();
    match found.is_empty() {
        true => "the request has nothing of it: an endpoint is drawn at random".to_owned(),
        false => format!("by {}: the same endpoint each time", found.join(", ")),
    }
}

fn cookie_of(hop: &Hop, name: &str) -> Option<String> {
    let cookies = hop.header("cookie")?;
    let mut pairs = cookies.split([';', ',']).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages() {
        assert_eq!(percent((1, 3)), "33.3333 %");
        assert_eq!(percent((75, 100)), "75 %");
        assert_eq!(percent((125_000, 1_000_000)), "12.5 %");
        assert_eq!(requests((100, 100)), "all requests are");
        assert_eq!(requests((0, 100)), "no requests are");
        assert_eq!(requests((5, 100)), "5 % of requests are");
    }
}
