//! `envoy.filters.http.cors`: answers preflights and marks answers to requests of other origins.
//!
//! Policies are the routes'; each setting is taken from the most specific policy that has it.
//! Invariant: headers and counters are those of Envoy's `CorsFilter`.

use std::sync::Arc;

use crate::{
    http::{
        connection_manager::{Ended, Exchange, Session, reply::LocalReply},
        headers::Known,
        message::ResponseHead,
    },
    route::strings::StringMatch,
};

/// The header that makes a request one of another origin.
pub const ORIGIN: Known = Known::Origin;

/// A compiled `CorsPolicy`. Empty texts and lists leave a setting to less specific policies.
#[derive(Debug, Default)]
pub struct Policy {
    /// `allow_origin_string_match`.
    pub origins: Vec<StringMatch>,
    /// `allow_methods`.
    pub methods: Arc<str>,
    /// `allow_headers`.
    pub headers: Arc<str>,
    /// `expose_headers`.
    pub expose: Arc<str>,
    /// `max_age`.
    pub max_age: Arc<str>,
    /// `allow_credentials`.
    pub credentials: Option<bool>,
    /// `allow_private_network_access`.
    pub private_network: Option<bool>,
    /// `forward_not_matching_preflights`, default true.
    pub forward_preflights: Option<bool>,
    /// `filter_enabled`; `None` is always.
    pub enabled: Option<(u32, u32)>,
    /// `shadow_enabled`: only counts; `None` is never.
    pub shadow: Option<(u32, u32)>,
}

/// An origin that was found allowed, until the response's head goes down.
#[derive(Debug)]
pub(super) struct Granted {
    origin: Vec<u8>,
    credentials: bool,
    expose: Arc<str>,
}

/// The first policy's say that is one.
fn first<T>(policies: &[Arc<Policy>], of: impl Fn(&Policy) -> Option<T>) -> Option<T> {
    policies.iter().find_map(|policy| of(policy))
}

fn text(policies: &[Arc<Policy>], of: impl Fn(&Policy) -> &Arc<str>) -> Arc<str> {
    first(policies, |policy| Some(of(policy).clone()).filter(|text| !text.is_empty())).unwrap_or_default()
}

/// The request phase.
pub(super) fn request(
    session: &Session,
    exchange: &mut Exchange,
    policies: &[Arc<Policy>],
) -> Result<(), Ended> {
    let Some(most) = policies.first() else { return Ok(()) };
    let draw = |(numerator, denominator): (u32, u32)| {
        session.worker.random() % u64::from(denominator.max(1)) < u64::from(numerator)
    };
    let enabled = most.enabled.is_none_or(draw);
    if !enabled && !most.shadow.is_some_and(draw) {
        return Ok(());
    }
    let Some(origin) = exchange.request.headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else {
        return Ok(());
    };
    let origin = origin.to_vec();
    let allowed = is_allowed(policies, &String::from_utf8_lossy(&origin));
    let stats = session.worker.cors_stats(&session.manager.stat_prefix);
    if allowed {
        stats.origin_valid.inc()
    } else {
        stats.origin_invalid.inc()
    }
    if !enabled {
        return Ok(());
    }
    if allowed {
        let credentials = first(policies, |policy| policy.credentials).unwrap_or(false);
        let granted =
            Granted { origin: origin.clone(), credentials, expose: text(policies, |policy| &policy.expose) };
        exchange.info.filters.get_or_insert_default().cors = Some(granted);
    }
    match preflight(exchange, policies, allowed) {
        Some(reply) => Err(reply.into()),
        None => Ok(()),
    }
}

/// Whether requests of an origin are allowed.
pub fn is_allowed(policies: &[Arc<Policy>], origin: &str) -> bool {
    let listed = policies.iter().find(|policy| !policy.origins.is_empty());
    let mut origins = listed.into_iter().flat_map(|policy| &policy.origins);
    origins.any(|condition| condition.matches("*") || condition.matches(origin))
}

/// Whether a request is a preflight that is answered here; `wanted` is its `access-control-request-method`.
pub fn answers(policies: &[Arc<Policy>], method: &str, wanted: Option<&[u8]>, allowed: bool) -> bool {
    method == "OPTIONS"
        && wanted.is_some_and(|wanted| !wanted.is_empty())
        && (allowed || !first(policies, |policy| policy.forward_preflights).unwrap_or(true))
}

/// The answer to a preflight, unless it is left to the upstream.
fn preflight(exchange: &Exchange, policies: &[Arc<Policy>], allowed: bool) -> Option<LocalReply> {
    let head = &exchange.request;
    let method = head.headers.get_named("access-control-request-method");
    if !answers(policies, head.method(), method, allowed) {
        return None;
    }
    let method = method?;
    let mut reply = LocalReply::new(200, "", "cors_response", 0);
    let mut say = |name: &'static str, value: &[u8]| reply.headers.push((name, value.to_vec()));
    if first(policies, |policy| policy.credentials).unwrap_or(false) {
        say("access-control-allow-credentials", b"true");
    }
    let asked = head.headers.get_named("access-control-request-headers").unwrap_or_default();
    for (name, allow, echo) in [
        ("access-control-allow-methods", text(policies, |policy| &policy.methods), method),
        ("access-control-allow-headers", text(policies, |policy| &policy.headers), asked),
    ] {
        match &*allow {
            "" => {}
            "*" => say(name, echo),
            listed => say(name, listed.as_bytes()),
        }
    }
    let max_age = text(policies, |policy| &policy.max_age);
    if !max_age.is_empty() {
        say("access-control-max-age", max_age.as_bytes());
    }
    let private = head.headers.get_named("access-control-request-private-network") == Some(b"true");
    if private && first(policies, |policy| policy.private_network).unwrap_or(false) {
        say("access-control-allow-private-network", b"true");
    }
    Some(reply)
}

impl Granted {
    /// The response phase.
    pub(super) fn mark(&self, head: &mut ResponseHead) {
        head.headers.set_named(b"access-control-allow-origin", &self.origin);
        if self.credentials {
            head.headers.set_named(b"access-control-allow-credentials", b"true");
        }
        if !self.expose.is_empty() {
            head.headers.set_named(b"access-control-expose-headers", self.expose.as_bytes());
        }
    }
}
