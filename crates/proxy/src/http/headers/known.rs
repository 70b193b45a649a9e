//! The header names that the data path itself looks at, each with a small number.
//!
//! [`super::HeaderList`] tags every field with its id when it is added, so asking for one of these later compares
//! bytes, not strings. Invariant: at most 127 names, since a list keeps the set of ids it holds in 128 bits.

/// Declares the enum, its names and the lookup table.
macro_rules! known {
    ($($variant:ident = $name:literal,)*) => {
        /// A header name known to the data path.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "each variant is the header it spells")]
        pub enum Known { $($variant,)* }

        /// By id.
        const ALL: &[Known] = &[$(Known::$variant,)*];
        /// Names by id, lower case.
        const NAMES: &[&str] = &[$($name,)*];
    };
}

known! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Te = "te",
    Trailer = "trailer",
    Expect = "expect",
    Http2Settings = "http2-settings",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Date = "date",
    Etag = "etag",
    Location = "location",
    Origin = "origin",
    Referer = "referer",
    Server = "server",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    LastModified = "last-modified",
    RetryAfter = "retry-after",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcTimeout = "grpc-timeout",
    XRequestId = "x-request-id",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedClientCert = "x-forwarded-client-cert",
    XClientTraceId = "x-client-trace-id",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    XB3TraceId = "x-b3-traceid",
    XB3SpanId = "x-b3-spanid",
    XB3Sampled = "x-b3-sampled",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyDecoratorOperation = "x-envoy-decorator-operation",
    XEnvoyDegraded = "x-envoy-degraded",
    XEnvoyDownstreamServiceCluster = "x-envoy-downstream-service-cluster",
    XEnvoyDownstreamServiceNode = "x-envoy-downstream-service-node",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyExternalAddress = "x-envoy-external-address",
    XEnvoyForceTrace = "x-envoy-force-trace",
    XEnvoyHedgeOnPerTryTimeout = "x-envoy-hedge-on-per-try-timeout",
    XEnvoyInternal = "x-envoy-internal",
    XEnvoyIpTags = "x-envoy-ip-tags",
    XEnvoyMaxRetries = "x-envoy-max-retries",
    XEnvoyOriginalHost = "x-envoy-original-host",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalUrl = "x-envoy-original-url",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyPeerMetadata = "x-envoy-peer-metadata",
    XEnvoyPeerMetadataId = "x-envoy-peer-metadata-id",
    XEnvoyRateLimited = "x-envoy-ratelimited",
    XEnvoyRetriableHeaderNames = "x-envoy-retriable-header-names",
    XEnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    XEnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    XEnvoyRetryOn = "x-envoy-retry-on",
    XEnvoyUpstreamAltStatName = "x-envoy-upstream-alt-stat-name",
    XEnvoyUpstreamHealthcheckedCluster = "x-envoy-upstream-healthchecked-cluster",
    XEnvoyUpstreamRqPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamRqTimeoutAltResponse = "x-envoy-upstream-rq-timeout-alt-response",
    XEnvoyUpstreamRqTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
}

const EMPTY: u8 = u8::MAX;
const SLOTS: usize = 512;
/// Open addressing with linear probing; a quarter full, so a lookup rarely probes twice.
const TABLE: [u8; SLOTS] = build();

/// Length, first, middle and last byte tell nearly all names apart.
const fn slot(name: &[u8]) -> usize {
    let n = name.len();
    (n.wrapping_mul(31)
        ^ (name[0] as usize).wrapping_mul(7)
        ^ (name[n / 2] as usize).wrapping_mul(61)
        ^ (name[n - 1] as usize).wrapping_mul(131))
        & (SLOTS - 1)
}

const fn build() -> [u8; SLOTS] {
    assert!(NAMES.len() < 128, "the presence mask has 128 bits");
    let mut table = [EMPTY; SLOTS];
    let mut id = 0;
    while id < NAMES.len() {
        let mut at = slot(NAMES[id].as_bytes());
        while table[at] != EMPTY {
            at = (at + 1) & (SLOTS - 1);
        }
        table[at] = id as u8;
        id += 1;
    }
    table
}

impl Known {
    /// Every name; the position is `self as usize`.
    pub fn all() -> &'static [Self] {
        ALL
    }

    /// The name, lower case.
    #[inline]
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// Back from `self as u8`.
    #[inline]
    pub(super) fn from_id(id: u8) -> Option<Self> {
        ALL.get(id as usize).copied()
    }

    /// The id of a lower-case name.
    #[inline]
    pub fn lookup(name: &[u8]) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let mut at = slot(name);
        loop {
            let id = TABLE[at];
            if id == EMPTY {
                return None;
            }
            if NAMES[id as usize].as_bytes() == name {
                return Some(ALL[id as usize]);
            }
            at = (at + 1) & (SLOTS - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_others_are_not() {
        for known in ALL {
            assert_eq!(Known::lookup(known.name().as_bytes()), Some(*known));
        }
        for other in ["", "x", "hosts", "x-envoy-unknown", "Host"] {
            assert_eq!(Known::lookup(other.as_bytes()), None, "{other}");
        }
    }
}
