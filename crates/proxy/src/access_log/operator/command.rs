//! Which commands there are, and what they take.
//!
//! Invariant: whatever Envoy 1.40 lists is known here; what is never there without TLS is [`Command::Absent`].

use std::sync::Arc;

use super::{
    Type,
    address::Address,
    headers::{self, Header},
    span::Span,
};
use crate::{
    access_log::{facts, time::TimeFormat},
    cel::Expression,
};

/// A command with its argument.
#[derive(Debug, Clone)]
pub(super) enum Command {
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    Request(Arc<[Header]>),
    Response(Arc<[Header]>),
    Trailer(Arc<[Header]>),
    /// `REQ_WITHOUT_QUERY`.
    WithoutQuery(Arc<[Header]>),
    /// `PATH`: where from, and whether with the query.
    Path(Source, bool),
    /// `REQUESTED_SERVER_NAME`.
    ServerName(NameOrder, Source),
    QueryParameter(Arc<str>),
    /// Decoded or not.
    Query(bool),
    Metadata(facts::Metadata, Arc<[Box<str>]>),
    Cel(Expression),
    /// `TYPED_CEL`.
    TypedCel(Expression),
    /// The first of several that has a value.
    Coalesce(Arc<[super::Operator]>),
    Duration(Span),
    Address(Address),
    /// `FILTER_STATE(meltemi.detected_protocol)`.
    Detected,
    Hostname(Arc<str>),
    Environment(Option<Arc<str>>),
    GrpcStatus(Grpc),
    /// An argument would mean nothing to it.
    Plain(Plain),
    /// Known to Envoy, without a value here: filter state, TLS of a plaintext connection.
    Absent,
    /// Known to Envoy, and empty where there is nothing.
    Empty,
    /// Known to Envoy, which counts it for HTTP/3 alone.
    Zero,
}

/// Commands that are a name and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Protocol,
    UpstreamProtocol,
    Status,
    Details,
    Termination,
    TransportFailure,
    Flags,
    FlagsLong,
    BytesReceived,
    BytesSent,
    RequestHeadersBytes,
    ResponseHeadersBytes,
    ResponseTrailersBytes,
    UpstreamWireSent,
    UpstreamWireReceived,
    UpstreamHeadSent,
    UpstreamHeadReceived,
    WireSent,
    WireReceived,
    HeadSent,
    HeadReceived,
    Route,
    VirtualCluster,
    Cluster,
    ClusterRaw,
    UpstreamHost,
    UpstreamHostName,
    UpstreamHostNameWithoutPort,
    HostsAttempted,
    HostsAttemptedWithoutPort,
    HostNamesAttempted,
    HostNamesAttemptedWithoutPort,
    UpstreamConnectionsAttempted,
    UpstreamClose,
    DownstreamClose,
    FilterChain,
    LogType,
    StreamId,
    UniqueId,
    ConnectionId,
    UpstreamConnectionId,
    Attempts,
    /// Ours: why an answer is the proxy's own, in words.
    Reason,
}

/// Where the host or the path is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// What it was, else what it is.
    OriginalOrCurrent,
    Original,
    Current,
}

/// What comes first for a server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameOrder {
    SniOnly,
    SniFirst,
    HostFirst,
}

/// How a gRPC status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grpc {
    Camel,
    Snake,
    Number,
}

/// The filter state object that says what protocol detection found, and how.
const DETECTED: &str = "meltemi.detected_protocol";

const PLAIN: &[(&str, Plain)] = &[
    ("PROTOCOL", Plain::Protocol),
    ("UPSTREAM_PROTOCOL", Plain::UpstreamProtocol),
    ("RESPONSE_CODE", Plain::Status),
    ("CONNECTION_TERMINATION_DETAILS", Plain::Termination),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Plain::TransportFailure),
    ("RESPONSE_FLAGS", Plain::Flags),
    ("RESPONSE_FLAGS_LONG", Plain::FlagsLong),
    ("BYTES_RECEIVED", Plain::BytesReceived),
    ("BYTES_SENT", Plain::BytesSent),
    ("REQUEST_HEADERS_BYTES", Plain::RequestHeadersBytes),
    ("RESPONSE_HEADERS_BYTES", Plain::ResponseHeadersBytes),
    ("RESPONSE_TRAILERS_BYTES", Plain::ResponseTrailersBytes),
    ("UPSTREAM_WIRE_BYTES_SENT", Plain::UpstreamWireSent),
    ("UPSTREAM_WIRE_BYTES_RECEIVED", Plain::UpstreamWireReceived),
    ("UPSTREAM_HEADER_BYTES_SENT", Plain::UpstreamHeadSent),
    ("UPSTREAM_HEADER_BYTES_RECEIVED", Plain::UpstreamHeadReceived),
    ("UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", Plain::UpstreamHeadSent),
    ("UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", Plain::UpstreamHeadReceived),
    ("DOWNSTREAM_WIRE_BYTES_SENT", Plain::WireSent),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", Plain::WireReceived),
    ("DOWNSTREAM_HEADER_BYTES_SENT", Plain::HeadSent),
    ("DOWNSTREAM_HEADER_BYTES_RECEIVED", Plain::HeadReceived),
    ("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", Plain::HeadSent),
    ("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", Plain::HeadReceived),
    ("ROUTE_NAME", Plain::Route),
    ("VIRTUAL_CLUSTER_NAME", Plain::VirtualCluster),
    ("UPSTREAM_CLUSTER", Plain::Cluster),
    ("UPSTREAM_CLUSTER_RAW", Plain::ClusterRaw),
    ("UPSTREAM_HOST", Plain::UpstreamHost),
    ("UPSTREAM_HOST_NAME", Plain::UpstreamHostName),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", Plain::UpstreamHostNameWithoutPort),
    ("UPSTREAM_HOSTS_ATTEMPTED", Plain::HostsAttempted),
    ("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", Plain::HostsAttemptedWithoutPort),
    ("UPSTREAM_HOST_NAMES_ATTEMPTED", Plain::HostNamesAttempted),
    ("UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", Plain::HostNamesAttemptedWithoutPort),
    ("UPSTREAM_CONNECTION_IDS_ATTEMPTED", Plain::UpstreamConnectionsAttempted),
    ("UPSTREAM_DETECTED_CLOSE_TYPE", Plain::UpstreamClose),
    ("DOWNSTREAM_DETECTED_CLOSE_TYPE", Plain::DownstreamClose),
    ("FILTER_CHAIN_NAME", Plain::FilterChain),
    ("ACCESS_LOG_TYPE", Plain::LogType),
    ("STREAM_ID", Plain::StreamId),
    ("UNIQUE_ID", Plain::UniqueId),
    ("CONNECTION_ID", Plain::ConnectionId),
    ("UPSTREAM_CONNECTION_ID", Plain::UpstreamConnectionId),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Plain::Attempts),
    ("LOCAL_REPLY_REASON", Plain::Reason),
];

/// Never there without TLS, tracing, or what Envoy keeps for other protocols.
const ABSENT: &[&str] = &[
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "SPAN_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_SERVER_NAME",
];

/// What certificates and TLS sessions have, of either side.
const TLS: &[&str] = &[
    "LOCAL_DNS_SAN",
    "LOCAL_EMAIL_SAN",
    "LOCAL_IP_SAN",
    "LOCAL_OTHERNAME_SAN",
    "LOCAL_SUBJECT",
    "LOCAL_URI_SAN",
    "PEER_CERT",
    "PEER_CERT_V_END",
    "PEER_CERT_V_START",
    "PEER_CHAIN_FINGERPRINTS_1",
    "PEER_CHAIN_FINGERPRINTS_256",
    "PEER_CHAIN_SERIALS",
    "PEER_DNS_SAN",
    "PEER_EMAIL_SAN",
    "PEER_FINGERPRINT_1",
    "PEER_FINGERPRINT_256",
    "PEER_IP_SAN",
    "PEER_ISSUER",
    "PEER_ISSUER_FINGERPRINT_256",
    "PEER_ISSUER_SERIAL",
    "PEER_OTHERNAME_SAN",
    "PEER_SERIAL",
    "PEER_SUBJECT",
    "PEER_URI_SAN",
    "TLS_CIPHER",
    "TLS_GROUP",
    "TLS_SESSION_ID",
    "TLS_VERSION",
];

/// Commands whose value may be cut to a length.
const CUT: &[&str] = &[
    "CEL",
    "CLUSTER_METADATA",
    "COALESCE",
    "DYNAMIC_METADATA",
    "ENVIRONMENT",
    "FILTER_STATE",
    "METADATA",
    "PATH",
    "QUERY_PARAM",
    "QUERY_PARAMS",
    "REQ",
    "REQUEST_HEADER",
    "REQ_WITHOUT_QUERY",
    "RESP",
    "RESPONSE_HEADER",
    "RESPONSE_TRAILER",
    "TRAILER",
    "TYPED_CEL",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_METADATA",
];

impl Command {
    /// By name and argument; the error says what is wrong with it.
    pub(super) fn parse(name: &str, argument: Option<&str>, cut: bool) -> Result<Self, String> {
        if cut && !CUT.contains(&name) {
            return Err("takes no length limit".to_owned());
        }
        if let Some((_, plain)) = PLAIN.iter().find(|(known, _)| *known == name) {
            return no_argument(argument).map(|()| Self::Plain(*plain));
        }
        if is_absent(name) {
            return Ok(Self::Absent);
        }
        if let Some(address) = Address::parse(name, argument)? {
            return Ok(Self::Address(address));
        }
        let duration = Span::parse(name, argument)?;
        if let Some(span) = duration {
            return Ok(Self::Duration(span));
        }
        Self::with_argument(name, argument)
    }

    fn with_argument(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let given = argument.filter(|argument| !argument.is_empty());
        let needed = || given.ok_or_else(|| "needs an argument".to_owned());
        let time = || TimeFormat::parse(given.unwrap_or_default());
        let local = || TimeFormat::parse(given.unwrap_or("%Y-%m-%dT%H:%M:%E3S%z"));
        Ok(match name {
            "START_TIME" => Self::StartTime(time()?),
            "START_TIME_LOCAL" => Self::StartTime(local()?),
            "EMIT_TIME" => Self::EmitTime(time()?),
            "EMIT_TIME_LOCAL" => Self::EmitTime(local()?),
            "REQ" | "REQUEST_HEADER" => Self::Request(headers::parse(needed()?)?),
            "RESP" | "RESPONSE_HEADER" => Self::Response(headers::parse(needed()?)?),
            "TRAILER" | "RESPONSE_TRAILER" => Self::Trailer(headers::parse(needed()?)?),
            "REQ_WITHOUT_QUERY" => Self::WithoutQuery(headers::parse(needed()?)?),
            "RESPONSE_CODE_DETAILS" => match given {
                None | Some("ALLOW_WHITESPACES") => Self::Plain(Plain::Details),
                Some(other) => return Err(format!("{other} is no option of it")),
            },
            "PATH" => path(given)?,
            "REQUESTED_SERVER_NAME" => server_name(given)?,
            "QUERY_PARAM" => Self::QueryParameter(needed()?.into()),
            "QUERY_PARAMS" => match given {
                None | Some("ORIG") => Self::Query(false),
                Some("DECODED") => Self::Query(true),
                Some(other) => return Err(format!("{other} is no option of it")),
            },
            "DYNAMIC_METADATA" => metadata(facts::Metadata::Dynamic, needed()?),
            "CLUSTER_METADATA" => metadata(facts::Metadata::Cluster, needed()?),
            "UPSTREAM_METADATA" => metadata(facts::Metadata::Endpoint, needed()?),
            "METADATA" => any_metadata(needed()?)?,
            "CEL" => Self::Cel(Expression::compile(needed()?)?),
            "TYPED_CEL" => Self::TypedCel(Expression::compile(needed()?)?),
            "COALESCE" => coalesce(needed()?)?,
            // What a stock Envoy has no such object for, and writes as absent.
            "FILTER_STATE" if needed()?.split(':').next() == Some(DETECTED) => Self::Detected,
            "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => needed().map(|_| Self::Absent)?,
            "HOSTNAME" => Self::Hostname(hostname()),
            "ENVIRONMENT" => Self::Environment(std::env::var(needed()?).ok().map(Into::into)),
            "GRPC_STATUS" => Self::GrpcStatus(match given {
                None | Some("CAMEL_STRING") => Grpc::Camel,
                Some("SNAKE_STRING") => Grpc::Snake,
                Some("NUMBER") => Grpc::Number,
                Some(other) => return Err(format!("{other} is no option of it")),
            }),
            "GRPC_STATUS_NUMBER" => Self::GrpcStatus(Grpc::Number),
            "LOCAL_REPLY_BODY" | "CUSTOM_FLAGS" => Self::Empty,
            "BYTES_RETRANSMITTED" | "PACKETS_RETRANSMITTED" => Self::Zero,
            _ => return Err("unknown access log operator".to_owned()),
        })
    }

    /// What JSON makes of its value.
    pub(super) fn json_type(&self) -> Type {
        match self {
            Self::Duration(_) | Self::Zero | Self::GrpcStatus(Grpc::Number) => Type::Number,
            Self::Address(address) if address.is_port() => Type::Number,
            Self::Metadata(..) | Self::TypedCel(_) | Self::Coalesce(_) => Type::Json,
            Self::Plain(plain) if plain.is_number() => Type::Number,
            _ => Type::Text,
        }
    }
}

impl Plain {
    fn is_number(self) -> bool {
        use Plain::{
            Attempts, BytesReceived, BytesSent, ConnectionId, HeadReceived, HeadSent, RequestHeadersBytes,
            ResponseHeadersBytes, ResponseTrailersBytes, Status, UpstreamConnectionId, UpstreamHeadReceived,
            UpstreamHeadSent, UpstreamWireReceived, UpstreamWireSent, WireReceived, WireSent,
        };
        matches!(
            self,
            Attempts
                | BytesReceived
                | BytesSent
                | ConnectionId
                | HeadReceived
                | HeadSent
                | RequestHeadersBytes
                | ResponseHeadersBytes
                | ResponseTrailersBytes
                | Status
                | UpstreamConnectionId
                | UpstreamHeadReceived
                | UpstreamHeadSent
                | UpstreamWireReceived
                | UpstreamWireSent
                | WireReceived
                | WireSent
        )
    }
}

fn is_absent(name: &str) -> bool {
    let of_a_side = |rest: &str| TLS.contains(&rest);
    ABSENT.contains(&name)
        || name.strip_prefix("DOWNSTREAM_").is_some_and(of_a_side)
        || name.strip_prefix("UPSTREAM_").is_some_and(of_a_side)
}

fn no_argument(argument: Option<&str>) -> Result<(), String> {
    match argument {
        None => Ok(()),
        Some(_) => Err("takes no argument".to_owned()),
    }
}

fn path(argument: Option<&str>) -> Result<Command, String> {
    let (query, source) = argument.map_or(("", ""), |text| text.split_once(':').unwrap_or((text, "")));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(format!("{other} is no option of it")),
    };
    let source = match source {
        "" | "ORIG_OR_PATH" => Source::OriginalOrCurrent,
        "ORIG" => Source::Original,
        "PATH" => Source::Current,
        other => return Err(format!("{other} is no option of it")),
    };
    Ok(Command::Path(source, query))
}

fn server_name(argument: Option<&str>) -> Result<Command, String> {
    let (order, source) = argument.map_or(("", ""), |text| text.split_once(':').unwrap_or((text, "")));
    let order = match order {
        "" | "SNI_ONLY" => NameOrder::SniOnly,
        "SNI_FIRST" => NameOrder::SniFirst,
        "HOST_FIRST" => NameOrder::HostFirst,
        other => return Err(format!("{other} is no option of it")),
    };
    let source = match source {
        "" | "ORIG_OR_HOST" => Source::OriginalOrCurrent,
        "ORIG" => Source::Original,
        "HOST" => Source::Current,
        other => return Err(format!("{other} is no option of it")),
    };
    Ok(Command::ServerName(order, source))
}

fn metadata(of: facts::Metadata, path: &str) -> Command {
    Command::Metadata(of, path.split(':').map(Into::into).collect())
}

fn any_metadata(argument: &str) -> Result<Command, String> {
    let (kind, path) = argument.split_once(':').ok_or("needs a type and a namespace")?;
    let of = match kind {
        "DYNAMIC" => facts::Metadata::Dynamic,
        "CLUSTER" => facts::Metadata::Cluster,
        "ROUTE" => facts::Metadata::Route,
        "UPSTREAM_HOST" => facts::Metadata::Endpoint,
        "LISTENER" => facts::Metadata::Listener,
        "LISTENER_FILTER_CHAIN" => facts::Metadata::FilterChain,
        "VIRTUAL_HOST" => facts::Metadata::VirtualHost,
        other => return Err(format!("{other} is no type of metadata")),
    };
    Ok(metadata(of, path))
}

/// `{"operators": ["NAME", {"command": …, "param": …, "max_length": …}]}`.
fn coalesce(argument: &str) -> Result<Command, String> {
    let config: serde_json::Value = serde_json::from_str(argument).map_err(|error| error.to_string())?;
    let listed =
        config.get("operators").and_then(serde_json::Value::as_array).filter(|list| !list.is_empty());
    let operators = listed.ok_or("needs operators")?.iter().map(|entry| {
        let field = |name: &str| entry.get(name);
        let name =
            entry.as_str().or_else(|| field("command")?.as_str()).ok_or("an operator without a command")?;
        if name == "COALESCE" {
            return Err("an operator of it cannot be COALESCE".to_owned());
        }
        let parameter = field("param").and_then(serde_json::Value::as_str);
        let limit = field("max_length").and_then(serde_json::Value::as_u64);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        Ok(super::Operator { command: Command::parse(name, parameter, limit.is_some())?, limit })
    });
    let operators: Result<Vec<_>, String> = operators.collect();
    Ok(Command::Coalesce(operators?.into()))
}

fn hostname() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}
