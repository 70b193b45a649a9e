//! Which request headers a service hands on to its upstreams. Called by every service that has an upstream.
//!
//! Invariant: tracing works only if these travel unchanged; a service never invents one of them.

use http::{HeaderMap, HeaderName};

/// The list of Istio's sample, plus B3: request id, tracing contexts of all dialects, who the user is, and what the
/// routes of the samples match on.
const FORWARDED: &[&str] = &[
    "x-request-id",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "sw8",
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
];

/// The headers of `incoming` that the next hop must see.
pub(crate) fn forwarded(incoming: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in FORWARDED.iter().map(|name| HeaderName::from_static(name)) {
        for value in incoming.get_all(&name) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracing_and_user_travel_and_the_rest_does_not() {
        let mut incoming = HeaderMap::new();
        for name in ["traceparent", "end-user", "host", "content-length"] {
            incoming.insert(HeaderName::from_static(name), "x".parse().expect("value"));
        }
        let names: Vec<_> = forwarded(&incoming).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["traceparent", "end-user"]);
    }
}
