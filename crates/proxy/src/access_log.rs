//! Access logs: a format compiled once, a record per request, a sink that never makes a request wait.

/// A compiled Envoy format string (`%REQ(X)% …`), also used for header values.
#[derive(Debug, Clone, Default)]
pub struct Format {}

/// One configured access log: format, filter and sink.
#[derive(Debug)]
pub struct AccessLog {}
