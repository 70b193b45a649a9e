//! Envoy's command operators: parsed by name, written without allocation.
//! <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage#command-operators>
//!
//! Invariant: [`Operator::write`] says whether there was a value; who calls it decides what an absent one looks like.

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    access_log::{record::Record, time::TimeFormat},
    http::{
        headers::{HeaderList, Known},
        reason,
    },
    stream::UNSPECIFIED,
};

/// One `%…%`.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    kind: Kind,
    /// `:Z`.
    limit: Option<usize>,
}

#[derive(Debug, Clone)]
enum Kind {
    StartTime(TimeFormat),
    Request(Vec<Header>),
    Response(Vec<Header>),
    Trailer(Vec<Header>),
    /// `REQ_WITHOUT_QUERY`.
    WithoutQuery(Vec<Header>),
    Protocol,
    Status,
    Details,
    Termination,
    TransportFailure,
    Flags,
    FlagsLong,
    BytesReceived,
    BytesSent,
    Duration,
    RequestDuration,
    RequestSentDuration,
    ResponseDuration,
    ResponseSentDuration,
    Route,
    Cluster,
    ClusterRaw,
    UpstreamHost,
    UpstreamHostName,
    Address(Which, Part),
    ServerName,
    /// `FILTER_STATE(meltemi.detected_protocol)`.
    Detected,
    Hostname(Arc<str>),
    Environment(Arc<str>),
    ConnectionId,
    Attempts,
    /// Ours: why an answer is the proxy's own, in words.
    Reason,
    GrpcStatus,
    GrpcStatusNumber,
    /// Known to Envoy, without a value here: metadata, filter state, TLS of a plaintext connection.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    UpstreamLocal,
    UpstreamRemote,
    Local,
    Remote,
    DirectRemote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Both,
    WithoutPort,
    Port,
}

#[derive(Debug, Clone)]
enum Header {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    Known(Known),
    Other(Arc<str>),
}

/// The filter state object that says what protocol detection found, and how.
const DETECTED: &str = "meltemi.detected_protocol";

/// Operators that Envoy knows and that never have a value here.
const ABSENT: &[&str] = &[
    "CEL",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DYNAMIC_METADATA",
    "CLUSTER_METADATA",
    "UPSTREAM_METADATA",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "METADATA",
    "STREAM_ID",
    "TRACE_ID",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_VERSION",
    "VIRTUAL_CLUSTER_NAME",
];

impl Operator {
    /// `NAME(ARGUMENT):LIMIT`, without the percent signs.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (rest, limit) =
            match text.rfind(':').filter(|at| text[..*at].ends_with(')') || !text.contains('(')) {
                Some(at) => {
                    let limit = text[at + 1..]
                        .parse()
                        .map_err(|_| format!("%{text}%: the length limit is no number"))?;
                    (&text[..at], Some(limit))
                }
                None => (text, None),
            };
        let (name, argument) = match rest.split_once('(') {
            Some((name, argument)) => {
                let argument =
                    argument.strip_suffix(')').ok_or_else(|| format!("%{text}%: no closing parenthesis"))?;
                (name, Some(argument))
            }
            None => (rest, None),
        };
        Ok(Self {
            kind: kind(name, argument).ok_or_else(|| format!("unknown access log operator %{text}%"))??,
            limit,
        })
    }

    /// True for operators whose JSON value is a number.
    pub(super) fn is_number(&self) -> bool {
        use Kind::{
            Attempts, BytesReceived, BytesSent, ConnectionId, Duration, GrpcStatusNumber, RequestDuration,
            RequestSentDuration, ResponseDuration, ResponseSentDuration, Status,
        };
        matches!(
            self.kind,
            Status
                | BytesReceived
                | BytesSent
                | Duration
                | RequestDuration
                | RequestSentDuration
                | ResponseDuration
                | ResponseSentDuration
                | ConnectionId
                | Attempts
                | GrpcStatusNumber
        )
    }

    /// Appends the value; false (and nothing appended) when there is none.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        let start = out.len();
        let some = self.kind.write(out, record);
        if let Some(limit) = self.limit {
            out.truncate(out.len().min(start + limit));
        }
        some
    }
}

/// `None`: unknown. `Some(Err)`: known, with a bad argument.
fn kind(name: &str, argument: Option<&str>) -> Option<Result<Kind, String>> {
    let headers = || headers(name, argument);
    let kind = match name {
        "START_TIME" => Kind::StartTime(TimeFormat::parse(argument.unwrap_or_default())),
        "REQ" => return Some(headers().map(Kind::Request)),
        "RESP" => return Some(headers().map(Kind::Response)),
        "TRAILER" => return Some(headers().map(Kind::Trailer)),
        "REQ_WITHOUT_QUERY" => return Some(headers().map(Kind::WithoutQuery)),
        "PROTOCOL" => Kind::Protocol,
        "RESPONSE_CODE" => Kind::Status,
        "RESPONSE_CODE_DETAILS" => Kind::Details,
        "CONNECTION_TERMINATION_DETAILS" => Kind::Termination,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Kind::TransportFailure,
        "RESPONSE_FLAGS" => Kind::Flags,
        "RESPONSE_FLAGS_LONG" => Kind::FlagsLong,
        "BYTES_RECEIVED" => Kind::BytesReceived,
        "BYTES_SENT" => Kind::BytesSent,
        "DURATION" => Kind::Duration,
        "REQUEST_DURATION" => Kind::RequestDuration,
        "REQUEST_TX_DURATION" => Kind::RequestSentDuration,
        "RESPONSE_DURATION" => Kind::ResponseDuration,
        "RESPONSE_TX_DURATION" => Kind::ResponseSentDuration,
        "ROUTE_NAME" => Kind::Route,
        "UPSTREAM_CLUSTER" => Kind::Cluster,
        "UPSTREAM_CLUSTER_RAW" => Kind::ClusterRaw,
        "UPSTREAM_HOST" => Kind::UpstreamHost,
        "UPSTREAM_HOST_NAME" => Kind::UpstreamHostName,
        "REQUESTED_SERVER_NAME" => Kind::ServerName,
        "HOSTNAME" => Kind::Hostname(hostname()),
        "ENVIRONMENT" => Kind::Environment(std::env::var(argument?).unwrap_or_default().into()),
        "CONNECTION_ID" => Kind::ConnectionId,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Kind::Attempts,
        "LOCAL_REPLY_REASON" => Kind::Reason,
        "GRPC_STATUS" => Kind::GrpcStatus,
        "GRPC_STATUS_NUMBER" => Kind::GrpcStatusNumber,
        // What a stock Envoy has no such object for, and writes as absent.
        "FILTER_STATE" if argument.is_some_and(|key| key.split(':').next() == Some(DETECTED)) => {
            Kind::Detected
        }
        _ if ABSENT.contains(&name) => Kind::Absent,
        _ => return address(name).map(Ok),
    };
    Some(Ok(kind))
}

fn address(name: &str) -> Option<Kind> {
    let (which, rest) = [
        ("UPSTREAM_LOCAL_", Which::UpstreamLocal),
        ("UPSTREAM_REMOTE_", Which::UpstreamRemote),
        ("DOWNSTREAM_LOCAL_", Which::Local),
        ("DOWNSTREAM_REMOTE_", Which::Remote),
        ("DOWNSTREAM_DIRECT_REMOTE_", Which::DirectRemote),
        ("DOWNSTREAM_DIRECT_LOCAL_", Which::Local),
    ]
    .into_iter()
    .find_map(|(prefix, which)| name.strip_prefix(prefix).map(|rest| (which, rest)))?;
    let part = match rest {
        "ADDRESS" => Part::Both,
        "ADDRESS_WITHOUT_PORT" => Part::WithoutPort,
        "PORT" => Part::Port,
        _ => return None,
    };
    Some(Kind::Address(which, part))
}

fn headers(name: &str, argument: Option<&str>) -> Result<Vec<Header>, String> {
    let argument =
        argument.filter(|text| !text.is_empty()).ok_or_else(|| format!("%{name}% needs a header name"))?;
    let names: Vec<_> = argument.split('?').map(header).collect();
    if names.len() > 2 {
        return Err(format!("%{name}({argument})%: one alternative at most"));
    }
    Ok(names)
}

fn header(name: &str) -> Header {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        ":method" => Header::Method,
        ":path" => Header::Path,
        ":authority" | "host" => Header::Authority,
        ":scheme" => Header::Scheme,
        ":status" => Header::Status,
        _ => {
            Known::lookup(name.as_bytes()).map_or_else(|| Header::Other(name.as_str().into()), Header::Known)
        }
    }
}

fn hostname() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

impl Kind {
    fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        match self {
            Self::StartTime(format) => {
                format.write(out, record.start);
                true
            }
            Self::Request(names) => names.iter().any(|name| request_header(out, name, record, false)),
            Self::WithoutQuery(names) => names.iter().any(|name| request_header(out, name, record, true)),
            Self::Response(names) => names.iter().any(|name| response_header(out, name, record)),
            Self::Trailer(names) => {
                record.trailers.is_some_and(|trailers| names.iter().any(|name| field(out, name, trailers)))
            }
            Self::Protocol => record.protocol.is_some_and(|protocol| text(out, protocol.name())),
            Self::Status => number(out, u64::from(record.status)),
            Self::Details => text(out, record.details),
            Self::Termination => text(out, record.termination),
            Self::TransportFailure => transport_failure(out, record.transport_failure),
            Self::Flags => flags(out, record, |(_, short, _)| short),
            Self::FlagsLong => flags(out, record, |(_, _, long)| long),
            Self::BytesReceived => number(out, record.bytes.0),
            Self::BytesSent => number(out, record.bytes.1),
            Self::Duration => millis(out, record.times.total),
            Self::RequestDuration => millis(out, record.times.request),
            Self::RequestSentDuration => millis(out, record.times.request_sent),
            Self::ResponseDuration => millis(out, record.times.response),
            Self::ResponseSentDuration => {
                let sent = record.times.total.zip(record.times.response);
                millis(out, sent.map(|(total, response)| total.saturating_sub(response)))
            }
            Self::Route => text(out, record.route),
            Self::Cluster => record.cluster.is_some_and(|(_, stat)| text(out, stat)),
            Self::ClusterRaw => record.cluster.is_some_and(|(name, _)| text(out, name)),
            Self::UpstreamHost => record.endpoint.is_some_and(|endpoint| text(out, &endpoint.label)),
            Self::UpstreamHostName => record
                .endpoint
                .is_some_and(|endpoint| text(out, endpoint.hostname.as_deref().unwrap_or(&endpoint.label))),
            Self::Address(which, part) => write_address(out, *which, *part, record),
            Self::ServerName => text(out, record.server_name),
            Self::Detected => text(out, record.detected),
            Self::Hostname(name) | Self::Environment(name) => text(out, name),
            Self::ConnectionId => number(out, record.connection),
            Self::Attempts => number(out, u64::from(record.attempts)),
            Self::Reason => {
                let of_request = || record.info.and_then(|info| reason::of(info, record.request));
                let reason = of_request().or_else(|| record.outcome.and_then(reason::of_connection));
                reason.is_some_and(|reason| text(out, &reason))
            }
            Self::GrpcStatus => grpc_status(record).is_some_and(|status| match GRPC.get(status as usize) {
                Some(name) => text(out, name),
                None => number(out, u64::from(status)),
            }),
            Self::GrpcStatusNumber => {
                grpc_status(record).is_some_and(|status| number(out, u64::from(status)))
            }
            Self::Absent => false,
        }
    }
}

/// Names of the gRPC status codes as `%GRPC_STATUS%` prints them.
const GRPC: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

fn grpc_status(record: &Record<'_>) -> Option<u32> {
    let lists = [record.trailers, record.response.map(|head| &head.headers)];
    lists
        .into_iter()
        .flatten()
        .find_map(|list| std::str::from_utf8(list.get_named("grpc-status")?).ok()?.parse().ok())
}

fn request_header(out: &mut Vec<u8>, name: &Header, record: &Record<'_>, without_query: bool) -> bool {
    let Some(head) = record.request else { return false };
    let start = out.len();
    let some = match name {
        Header::Method => text(out, head.method()),
        Header::Path => text(out, head.path()),
        Header::Authority => text(out, head.authority()),
        Header::Scheme => text(out, head.scheme()),
        Header::Status => false,
        Header::Known(_) | Header::Other(_) => field(out, name, &head.headers),
    };
    if without_query && let Some(at) = memchr::memchr(b'?', &out[start..]) {
        out.truncate(start + at);
    }
    some
}

fn response_header(out: &mut Vec<u8>, name: &Header, record: &Record<'_>) -> bool {
    match name {
        Header::Status => number(out, u64::from(record.status)),
        _ => record.response.is_some_and(|head| field(out, name, &head.headers)),
    }
}

fn field(out: &mut Vec<u8>, name: &Header, list: &HeaderList) -> bool {
    let value = match name {
        Header::Known(known) => list.get(*known),
        Header::Other(name) => list.get_named(name),
        _ => None,
    };
    let Some(value) = value else { return false };
    out.extend_from_slice(value);
    true
}

/// Spaces would break the columns of a text log.
fn transport_failure(out: &mut Vec<u8>, reason: &str) -> bool {
    out.extend(reason.bytes().map(|byte| if byte == b' ' { b'_' } else { byte }));
    !reason.is_empty()
}

fn flags(
    out: &mut Vec<u8>,
    record: &Record<'_>,
    name: fn(&(u32, &'static str, &'static str)) -> &'static str,
) -> bool {
    let mut some = false;
    for flag in record.flags.entries() {
        if some {
            out.push(b',');
        }
        out.extend_from_slice(name(flag).as_bytes());
        some = true;
    }
    some
}

fn write_address(out: &mut Vec<u8>, which: Which, part: Part, record: &Record<'_>) -> bool {
    use crate::cluster::Address;
    let address = match which {
        Which::UpstreamLocal => record.upstream_local,
        Which::Local => record.local,
        Which::Remote => record.remote,
        Which::DirectRemote => record.direct_remote,
        Which::UpstreamRemote => match record.endpoint.map(|endpoint| &endpoint.address) {
            Some(Address::Socket(address)) => *address,
            Some(Address::Pipe(path)) => return text(out, &path.to_string_lossy()),
            None => return false,
        },
    };
    match address {
        // Both ends of a connection that came by a Unix socket.
        UNSPECIFIED if which != Which::UpstreamLocal && part != Part::Port => text(out, record.pipe),
        UNSPECIFIED => false,
        address => socket(out, address, part),
    }
}

fn socket(out: &mut Vec<u8>, address: SocketAddr, part: Part) -> bool {
    match part {
        Part::Both => write!(out, "{address}"),
        Part::WithoutPort => write!(out, "{}", address.ip()),
        Part::Port => write!(out, "{}", address.port()),
    }
    .is_ok()
}

fn text(out: &mut Vec<u8>, value: &str) -> bool {
    out.extend_from_slice(value.as_bytes());
    !value.is_empty()
}

fn number(out: &mut Vec<u8>, value: u64) -> bool {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    true
}

fn millis(out: &mut Vec<u8>, duration: Option<Duration>) -> bool {
    duration.is_some_and(|duration| number(out, duration.as_millis() as u64))
}
