//! Tables of calls: what a call expects, what came of it, and how the two are compared.
//!
//! Shared by the tests that shoot the same table at Meltemi and at Envoy. Invariant: an outcome holds everything that client
//! and upstream can see, times, random numbers and ports taken out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{echo::Seen, raw::Answer};

/// What must come of a call; what is not named may be anything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Status; 0 is a connection that is closed without an answer.
    pub status: u16,
    /// Name of the upstream that answered.
    pub upstream: Option<String>,
    /// The path that the upstream saw.
    pub path: Option<String>,
    /// The host that the upstream saw.
    pub host: Option<String>,
    /// Headers that the upstream saw; `null` for absent.
    #[serde(default)]
    pub seen: BTreeMap<String, Option<String>>,
    /// Headers of the answer; `null` for absent.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    /// Body of the answer.
    pub body: Option<String>,
    /// Whether the connection is closed after the answer.
    pub closed: Option<bool>,
}

/// Everything that can be seen of one call from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Status.
    pub status: u16,
    /// Headers, sorted.
    pub headers: Vec<(String, String)>,
    /// Body, empty where the upstream described what it saw.
    pub body: String,
    /// The connection was closed after the answer.
    pub closed: bool,
    /// What the upstream saw.
    pub seen: Option<Seen>,
}

/// An answer as an outcome; `forget` gives ports their names back.
pub fn outcome(answer: &Answer, forget: impl Fn(&str) -> String) -> Outcome {
    let steady = |(name, value): &(String, String)| {
        let value = match name.as_str() {
            "x-request-id" if value.len() == 36 => "<uuid>".to_owned(),
            "x-envoy-upstream-service-time" => "<ms>".to_owned(),
            "date" => "<date>".to_owned(),
            // Later tries say what is left of it.
            "x-envoy-expected-rq-timeout-ms" => match value.parse::<u32>() {
                Ok(ms) => format!("{}s", ms.div_ceil(1000)),
                Err(_) => value.clone(),
            },
            // A cookie's value is made of ports.
            "set-cookie" => without_value(value),
            _ => forget(value),
        };
        (name.clone(), value)
    };
    let mut headers: Vec<_> = answer.headers.iter().map(steady).collect();
    let seen = serde_json::from_str::<Seen>(&answer.body).ok().map(|mut seen| {
        seen.headers = seen.headers.iter().map(steady).collect();
        seen.host = forget(&seen.host);
        seen
    });
    if seen.is_some() {
        // Its length depends on numbers that were taken out above.
        headers.retain(|(name, _)| name != "content-length");
    }
    headers.sort();
    let body = if seen.is_some() { String::new() } else { forget(&answer.body) };
    Outcome { status: answer.status, headers, body, closed: answer.closed, seen }
}

/// `name="value"; rest` without its value.
fn without_value(cookie: &str) -> String {
    let (name, rest) = cookie.split_once("=\"").unwrap_or((cookie, ""));
    let rest = rest.split_once('"').map_or("", |(_, rest)| rest);
    format!("{name}=<hash>{rest}")
}

/// Every expectation that the outcome does not meet, in words.
pub fn judge(expect: &Expect, outcome: &Outcome) -> Vec<String> {
    let mut problems = Vec::new();
    let mut want = |what: &str, wanted: Option<&str>, got: Option<&str>| {
        if wanted != got {
            problems.push(format!("{what}: wanted {wanted:?}, got {got:?}"));
        }
    };
    want("status", Some(&expect.status.to_string()), Some(&outcome.status.to_string()));
    let seen = outcome.seen.as_ref();
    for (what, wanted, got) in [
        ("upstream", &expect.upstream, seen.map(|seen| seen.upstream.as_str())),
        ("path", &expect.path, seen.map(|seen| seen.path.as_str())),
        ("host", &expect.host, seen.map(|seen| seen.host.as_str())),
        ("body", &expect.body, Some(outcome.body.as_str())),
    ] {
        if wanted.is_some() {
            want(what, wanted.as_deref(), got);
        }
    }
    if let Some(closed) = expect.closed {
        want("closed", Some(&closed.to_string()), Some(&outcome.closed.to_string()));
    }
    for (name, wanted) in &expect.headers {
        want(&format!("header {name}"), wanted.as_deref(), joined(&outcome.headers, name).as_deref());
    }
    for (name, wanted) in &expect.seen {
        let got = seen.and_then(|seen| joined(&seen.headers, name));
        want(&format!("upstream's {name}"), wanted.as_deref(), got.as_deref());
    }
    problems
}

fn joined(headers: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}
