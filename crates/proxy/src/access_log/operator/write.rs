//! The values of commands.
//!
//! Invariant: nothing is appended when there is no value.

use std::time::SystemTime;

use super::{
    command::{Command, Grpc, NameOrder, Plain, Source},
    headers,
};
use crate::{
    access_log::{facts, record::Record},
    cel::number,
    cluster::{Endpoint, UpstreamProtocol},
    http::{connection_manager::request_id::uuid, message::Protocol, reason},
};

impl Command {
    /// Appends the value as text.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        match self {
            Self::StartTime(format) => {
                format.write(out, record.start);
                true
            }
            Self::EmitTime(format) => {
                format.write(out, SystemTime::now());
                true
            }
            Self::Request(names) => names.iter().any(|name| headers::of_request(out, name, record, false)),
            Self::WithoutQuery(names) => {
                names.iter().any(|name| headers::of_request(out, name, record, true))
            }
            Self::Response(names) => names.iter().any(|name| headers::of_response(out, name, record)),
            Self::Trailer(names) => record
                .trailers
                .is_some_and(|trailers| names.iter().any(|name| headers::of_list(out, name, trailers))),
            Self::Path(source, query) => path(out, record, *source, *query),
            Self::ServerName(order, source) => server_name(out, record, *order, *source),
            Self::QueryParameter(name) => query_parameter(out, record, name),
            Self::Query(decoded) => {
                record.request.and_then(|head| facts::query(head.path())).is_some_and(|query| {
                    match decoded {
                        true => decode_visible(out, query),
                        false => out.extend_from_slice(query.as_bytes()),
                    }
                    true
                })
            }
            Self::Metadata(of, path) => metadata(out, *of, path, record, false),
            Self::Cel(expression) | Self::TypedCel(expression) => {
                expression.evaluate(record).map(|value| value.write(out)).is_some()
            }
            Self::Coalesce(operators) => operators.iter().any(|operator| operator.write(out, record)),
            Self::Duration(span) => span.write(out, record),
            Self::Address(address) => address.write(out, record),
            Self::Detected => text(out, record.detected),
            Self::Hostname(name) => text(out, name),
            Self::Environment(value) => text(out, value.as_deref().unwrap_or("-")),
            Self::GrpcStatus(form) => grpc(out, record, *form),
            Self::Plain(plain) => plain.write(out, record),
            Self::Absent => false,
            Self::Empty => true,
            Self::Zero => integer(out, 0),
        }
    }

    /// Appends the value as JSON, for those that have one of their own.
    pub(super) fn write_json(&self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        match self {
            Self::Metadata(of, path) => metadata(out, *of, path, record, true),
            Self::TypedCel(expression) => {
                expression.evaluate(record).is_some_and(|value| value.write_json(out))
            }
            Self::Coalesce(operators) => operators.iter().any(|operator| operator.write_json(out, record)),
            _ => false,
        }
    }
}

impl Plain {
    fn write(self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        match self {
            Self::Protocol => record.protocol.is_some_and(|protocol| text(out, protocol.name())),
            Self::UpstreamProtocol => upstream_protocol(out, record),
            Self::Status => integer(out, u64::from(record.status)),
            Self::Details => text(out, record.details),
            Self::Termination => text(out, record.termination),
            Self::TransportFailure => transport_failure(out, record.transport_failure),
            Self::Flags => flags(out, record, |(_, short, _)| short),
            Self::FlagsLong => flags(out, record, |(_, _, long)| long),
            Self::BytesReceived => integer(out, record.bytes.0),
            Self::BytesSent => integer(out, record.bytes.1),
            Self::RequestHeadersBytes => integer(out, facts::request_headers_bytes(record)),
            Self::ResponseHeadersBytes => integer(out, facts::response_headers_bytes(record)),
            Self::ResponseTrailersBytes => integer(out, facts::trailers_bytes(record)),
            Self::UpstreamWireSent => integer(out, record.upstream_wire.sent),
            Self::UpstreamWireReceived => integer(out, record.upstream_wire.received),
            Self::UpstreamHeadSent => integer(out, u64::from(record.upstream_wire.head_sent)),
            Self::UpstreamHeadReceived => integer(out, u64::from(record.upstream_wire.head_received)),
            Self::WireSent => integer(out, record.wire.sent),
            Self::WireReceived => integer(out, record.wire.received),
            Self::HeadSent => integer(out, u64::from(record.wire.head_sent)),
            Self::HeadReceived => integer(out, u64::from(record.wire.head_received)),
            Self::Route => text(out, record.route),
            Self::VirtualCluster => virtual_cluster(out, record),
            Self::Cluster => record.cluster.is_some_and(|(_, stat)| text(out, stat)),
            Self::ClusterRaw => record.cluster.is_some_and(|(name, _)| text(out, name)),
            Self::UpstreamHost => record.endpoint.is_some_and(|endpoint| text(out, &endpoint.label)),
            Self::UpstreamHostName => record.endpoint.is_some_and(|endpoint| text(out, host_name(endpoint))),
            Self::UpstreamHostNameWithoutPort => {
                record.endpoint.is_some_and(|endpoint| text(out, without_port(host_name(endpoint))))
            }
            Self::HostsAttempted => attempted(out, record, |endpoint| &endpoint.label),
            Self::HostsAttemptedWithoutPort => {
                attempted(out, record, |endpoint| without_port(&endpoint.label))
            }
            Self::HostNamesAttempted => attempted(out, record, host_name),
            Self::HostNamesAttemptedWithoutPort => {
                attempted(out, record, |endpoint| without_port(host_name(endpoint)))
            }
            Self::UpstreamConnectionsAttempted => connections_attempted(out, record),
            Self::UpstreamClose => record.endpoint.is_some() && text(out, "Normal"),
            Self::DownstreamClose => record.downstream.is_some() && text(out, "Normal"),
            Self::FilterChain => {
                record.downstream.is_some_and(|connection| text(out, &connection.chain.name))
            }
            Self::LogType => text(out, record.kind.named().0),
            Self::StreamId => stream_id(out, record),
            Self::UniqueId => {
                out.extend_from_slice(&uuid(fastrand::u64(..), fastrand::u64(..)));
                true
            }
            Self::ConnectionId => integer(out, record.connection),
            Self::UpstreamConnectionId => integer(out, upstream_connection(record)),
            Self::Attempts => integer(out, u64::from(record.attempts)),
            Self::Reason => {
                let of_request = || record.info.and_then(|info| reason::of(info, record.request));
                let reason = of_request().or_else(|| record.outcome.and_then(reason::of_connection));
                reason.is_some_and(|reason| text(out, &reason))
            }
        }
    }
}

/// Names of the gRPC status codes: as `%GRPC_STATUS%` prints them, and with underscores.
const GRPC: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn grpc(out: &mut Vec<u8>, record: &Record<'_>, form: Grpc) -> bool {
    let Some(status) = facts::grpc_status(record).filter(|_| facts::is_grpc(record)) else { return false };
    match (form, GRPC.get(status as usize)) {
        (Grpc::Camel, Some((name, _))) | (Grpc::Snake, Some((_, name))) => text(out, name),
        _ => integer(out, u64::from(status)),
    }
}

fn path(out: &mut Vec<u8>, record: &Record<'_>, source: Source, query: bool) -> bool {
    let Some(head) = record.request else { return false };
    let original =
        || head.headers.get_named("x-envoy-original-path").and_then(|path| std::str::from_utf8(path).ok());
    let path = match source {
        Source::Original => original(),
        Source::Current => Some(head.path()),
        Source::OriginalOrCurrent => original().or_else(|| Some(head.path())),
    };
    path.is_some_and(|path| text(out, if query { path } else { facts::without_query(path) }))
}

fn server_name(out: &mut Vec<u8>, record: &Record<'_>, order: NameOrder, source: Source) -> bool {
    if order != NameOrder::HostFirst && text(out, record.server_name) {
        return true;
    }
    let Some(head) = record.request.filter(|_| order != NameOrder::SniOnly) else { return false };
    let original =
        || head.headers.get_named("x-envoy-original-host").and_then(|host| std::str::from_utf8(host).ok());
    let host = match source {
        Source::Original => original(),
        Source::Current => Some(head.authority()),
        Source::OriginalOrCurrent => original().or_else(|| Some(head.authority())),
    };
    host.is_some_and(|host| text(out, host))
}

/// As Envoy decodes a whole query: what would not be visible stays as it is.
fn decode_visible(out: &mut Vec<u8>, query: &str) {
    let mut rest = query.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(visible @ 0x21..=0x7e)) => {
                out.push(visible);
                rest = &after[2..];
            }
            Some(Ok(_)) | None => out.push(b'%'),
            // No escape at all.
            Some(Err(_)) => {}
        }
    }
}

/// The first of that name, decoded.
fn query_parameter(out: &mut Vec<u8>, record: &Record<'_>, name: &str) -> bool {
    let query = record.request.and_then(|head| facts::query(head.path()));
    let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
    let found = pairs.find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    found.map(|value| out.extend(percent_encoding::percent_decode_str(value))).is_some()
}

fn metadata(
    out: &mut Vec<u8>,
    of: facts::Metadata,
    path: &[Box<str>],
    record: &Record<'_>,
    as_json: bool,
) -> bool {
    use serde_json::Value as Json;
    if let [namespace, key] = path
        && (&**namespace, &**key) == ("istio", "config")
    {
        // Kept apart from all else.
        let origin = match of {
            facts::Metadata::Route => record.info.and_then(|info| info.route.as_ref()?.origin.as_deref()),
            facts::Metadata::Cluster => record.upstream.and_then(|cluster| cluster.origin.as_deref()),
            _ => None,
        };
        return origin.is_some_and(|origin| match as_json {
            true => {
                number::json(out, &Json::from(origin));
                true
            }
            false => text(out, origin),
        });
    }
    let found =
        facts::metadata(of, record).and_then(|all| path.iter().try_fold(all, |at, key| at.get(&**key)));
    match found {
        None | Some(Json::Null) => return false,
        Some(Json::String(value)) if !as_json => out.extend_from_slice(value.as_bytes()),
        Some(value) => number::json(out, value),
    }
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
    let start = out.len();
    for flag in record.flags.entries() {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(name(flag).as_bytes());
    }
    if out.len() == start {
        out.push(b'-');
    }
    true
}

fn upstream_protocol(out: &mut Vec<u8>, record: &Record<'_>) -> bool {
    let Some(info) = record.info.filter(|info| info.upstream_connection != 0) else { return false };
    let http2 = match record.upstream.map(|cluster| cluster.settings.protocol) {
        Some(UpstreamProtocol::Http2) => true,
        Some(UpstreamProtocol::Downstream) => info.protocol == Protocol::Http2,
        _ => false,
    };
    text(out, if http2 { Protocol::Http2.name() } else { Protocol::Http11.name() })
}

/// The name in `vhost.<name>.vcluster.<name>.`.
fn virtual_cluster(out: &mut Vec<u8>, record: &Record<'_>) -> bool {
    let prefix = record.info.and_then(|info| info.virtual_cluster.as_deref());
    let name = prefix
        .and_then(|prefix| prefix.rsplit_once(".vcluster."))
        .map(|(_, name)| name.trim_end_matches('.'));
    name.is_some_and(|name| text(out, name))
}

fn host_name(endpoint: &Endpoint) -> &str {
    endpoint.hostname.as_deref().unwrap_or(&endpoint.label)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
        }
        _ => host,
    }
}

/// Endpoints to which there was a connection, one after the other.
fn attempted(out: &mut Vec<u8>, record: &Record<'_>, name: for<'e> fn(&'e Endpoint) -> &'e str) -> bool {
    let start = out.len();
    let earlier =
        record.info.into_iter().flat_map(|info| info.earlier.iter().map(|(endpoint, _)| &**endpoint));
    let last = record.endpoint.filter(|_| upstream_connection(record) != 0);
    for endpoint in earlier.chain(last) {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(name(endpoint).as_bytes());
    }
    out.len() > start
}

fn connections_attempted(out: &mut Vec<u8>, record: &Record<'_>) -> bool {
    let start = out.len();
    let earlier = record.info.into_iter().flat_map(|info| info.earlier.iter().map(|(_, id)| *id));
    let last = Some(upstream_connection(record)).filter(|id| *id != 0);
    for id in earlier.chain(last) {
        if out.len() > start {
            out.push(b',');
        }
        integer(out, id);
    }
    out.len() > start
}

fn upstream_connection(record: &Record<'_>) -> u64 {
    let of_request = record.info.map(|info| info.upstream_connection);
    of_request.or_else(|| record.outcome.map(|outcome| outcome.upstream_connection)).unwrap_or(0)
}

/// The request's id, else one that is the connection's for as long as it lives.
pub(in crate::access_log) fn stream_id(out: &mut Vec<u8>, record: &Record<'_>) -> bool {
    if let Some(id) = record.request.and_then(|head| head.headers.get_named("x-request-id")) {
        out.extend_from_slice(id);
        return true;
    }
    if record.downstream.is_none() {
        return false;
    }
    static SEED: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| fastrand::u64(..));
    let random = record.info.map_or(*SEED, |info| info.random);
    // Neighbours are to look different.
    let spread = (record.connection ^ *SEED).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    out.extend_from_slice(&uuid(random ^ spread.rotate_left(32), spread));
    true
}

/// Appends a text; an empty one is none.
pub(super) fn text(out: &mut Vec<u8>, value: &str) -> bool {
    out.extend_from_slice(value.as_bytes());
    !value.is_empty()
}

/// Appends a number.
pub(super) fn integer(out: &mut Vec<u8>, value: u64) -> bool {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    true
}
