//! What the router changes in a request before it leaves: timeouts, header rules, host, path.
//!
//! Called once per request by [`super::forward`]. Invariant: the order is that of Envoy's router, since header rules
//! may read what earlier steps wrote.

use std::borrow::Cow;

use super::Matched;
use crate::{
    http::{
        connection_manager::{
            Exchange, Session,
            timeouts::{self, Limits},
        },
        headers::Known,
        message::View,
    },
    route::{Forward, WeightedCluster},
};

/// Timeouts and the headers that speak of them.
pub(super) fn prepare(session: &Session, exchange: &mut Exchange, matched: Matched<'_>) -> Limits {
    let options = session.manager.router;
    let idle = session.manager.stream_idle_timeout;
    let head = &mut exchange.request;
    let limits =
        timeouts::settle(head, matched.forward, matched.client, idle, options.respect_expected_rq_timeout);
    timeouts::announce(head, limits, matched.forward, !options.suppress_envoy_headers);
    if matched.host.request_attempt_count {
        head.headers.set(Known::XEnvoyAttemptCount, b"1");
    }
    limits
}

/// Header rules, then host, then path: the order of Envoy's `finalizeRequestHeaders`.
pub(super) fn rewrite(
    session: &Session,
    exchange: &mut Exchange,
    matched: Matched<'_>,
    part: Option<&WeightedCluster>,
) {
    matched.levels(part).apply_request(session, exchange);
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

/// Replaces the authority and leaves a trace of the old one.
pub(super) fn set_host(session: &Session, exchange: &mut Exchange, forward: &Forward, host: &str) {
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
