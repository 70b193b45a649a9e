//! A record as Envoy's access log service gets it: `HTTPAccessLogEntry`, `TCPAccessLogEntry`.
//!
//! Invariant: what Envoy does not fill for plaintext is not filled here.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant, UNIX_EPOCH},
};

use meltemi_xds::pb::{
    envoy::{
        config::core::v3::{Address, RequestMethod, SocketAddress, address, socket_address::PortSpecifier},
        data::accesslog::v3::{
            AccessLogCommon, ConnectionProperties, HttpAccessLogEntry, HttpRequestProperties,
            HttpResponseProperties, ResponseFlags, TcpAccessLogEntry, http_access_log_entry::HttpVersion,
        },
        extensions::access_loggers::grpc::v3::{CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig},
        r#type::tracing::v3::{CustomTag, custom_tag},
    },
    google::protobuf,
};
use prost::Message as _;

use super::field;
use crate::{
    access_log::{Record, facts},
    error::Flags,
    http::{headers::HeaderList, message::Protocol},
    stream::UNSPECIFIED,
};

/// What goes into entries beside what always does.
#[derive(Debug)]
pub(super) struct Entry {
    http: bool,
    request: Vec<String>,
    response: Vec<String>,
    trailers: Vec<String>,
    tags: Vec<(String, Tag)>,
}

/// Where a custom tag's value is.
#[derive(Debug)]
enum Tag {
    Literal(String),
    Header(String, String),
}

impl Entry {
    pub(super) fn http(
        common: &CommonGrpcAccessLogConfig,
        config: &HttpGrpcAccessLogConfig,
    ) -> Result<Self, String> {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self {
            http: true,
            request: lower(&config.additional_request_headers_to_log),
            response: lower(&config.additional_response_headers_to_log),
            trailers: lower(&config.additional_response_trailers_to_log),
            tags: tags(&common.custom_tags)?,
        })
    }

    pub(super) fn tcp(common: &CommonGrpcAccessLogConfig) -> Result<Self, String> {
        let tags = tags(&common.custom_tags)?;
        Ok(Self { http: false, request: Vec::new(), response: Vec::new(), trailers: Vec::new(), tags })
    }

    /// Appends the record as an element of the entries.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        let mut common = common(record);
        common.custom_tags =
            self.tags.iter().filter_map(|(name, tag)| Some((name.clone(), tag.value(record)?))).collect();
        let encoded = match self.http {
            true => self.http_entry(record, common).encode_to_vec(),
            false => TcpAccessLogEntry {
                common_properties: Some(common),
                connection_properties: Some(ConnectionProperties {
                    received_bytes: record.bytes.0,
                    sent_bytes: record.bytes.1,
                }),
            }
            .encode_to_vec(),
        };
        field(out, 1, &encoded);
    }

    fn http_entry(&self, record: &Record<'_>, common: AccessLogCommon) -> HttpAccessLogEntry {
        let version = match record.protocol {
            None => HttpVersion::ProtocolUnspecified,
            Some(Protocol::Http10) => HttpVersion::Http10,
            Some(Protocol::Http11) => HttpVersion::Http11,
            Some(Protocol::Http2) => HttpVersion::Http2,
        };
        HttpAccessLogEntry {
            common_properties: Some(common),
            protocol_version: version.into(),
            request: Some(self.request(record)),
            response: Some(self.response(record)),
        }
    }

    fn request(&self, record: &Record<'_>) -> HttpRequestProperties {
        let sizes = HttpRequestProperties {
            request_headers_bytes: facts::request_headers_bytes(record),
            request_body_bytes: record.bytes.0,
            upstream_header_bytes_sent: u64::from(record.upstream_wire.head_sent),
            downstream_header_bytes_received: u64::from(record.wire.head_received),
            ..HttpRequestProperties::default()
        };
        let Some(head) = record.request else { return sizes };
        let header = |name: &str| first(&head.headers, name).unwrap_or_default();
        HttpRequestProperties {
            request_method: RequestMethod::from_str_name(head.method()).unwrap_or_default().into(),
            scheme: head.scheme().to_owned(),
            authority: head.authority().to_owned(),
            path: head.path().to_owned(),
            user_agent: header("user-agent"),
            referer: header("referer"),
            forwarded_for: header("x-forwarded-for"),
            request_id: header("x-request-id"),
            original_path: header("x-envoy-original-path"),
            request_headers: listed(&self.request, Some(&head.headers)),
            ..sizes
        }
    }

    fn response(&self, record: &Record<'_>) -> HttpResponseProperties {
        HttpResponseProperties {
            response_code: (record.status != 0)
                .then(|| protobuf::UInt32Value { value: u32::from(record.status) }),
            response_code_details: record.details.to_owned(),
            response_headers_bytes: facts::response_headers_bytes(record),
            response_body_bytes: record.bytes.1,
            response_headers: listed(&self.response, record.response.map(|head| &head.headers)),
            response_trailers: listed(&self.trailers, record.trailers),
            upstream_header_bytes_received: u64::from(record.upstream_wire.head_received),
            downstream_header_bytes_sent: u64::from(record.wire.head_sent),
        }
    }
}

fn tags(configured: &[CustomTag]) -> Result<Vec<(String, Tag)>, String> {
    let mut tags = Vec::new();
    for tag in configured {
        let value = match &tag.r#type {
            Some(custom_tag::Type::Literal(literal)) => Tag::Literal(literal.value.clone()),
            Some(custom_tag::Type::Environment(variable)) => {
                Tag::Literal(std::env::var(&variable.name).unwrap_or_else(|_| variable.default_value.clone()))
            }
            Some(custom_tag::Type::RequestHeader(header)) => {
                Tag::Header(header.name.to_ascii_lowercase(), header.default_value.clone())
            }
            _ => return Err(format!("custom_tags: {} is of a kind that is not supported", tag.tag)),
        };
        tags.push((tag.tag.clone(), value));
    }
    Ok(tags)
}

impl Tag {
    fn value(&self, record: &Record<'_>) -> Option<String> {
        let value = match self {
            Self::Literal(value) => value.clone(),
            Self::Header(name, default) => {
                record.request.and_then(|head| first(&head.headers, name)).unwrap_or_else(|| default.clone())
            }
        };
        Some(value).filter(|value| !value.is_empty())
    }
}

fn first(list: &HeaderList, name: &str) -> Option<String> {
    list.get_named(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn listed(names: &[String], list: Option<&HeaderList>) -> HashMap<String, String> {
    let Some(list) = list else { return HashMap::new() };
    names.iter().filter_map(|name| Some((name.clone(), list.joined(name)?.into_owned()))).collect()
}

fn common(record: &Record<'_>) -> AccessLogCommon {
    let since = record.start.duration_since(UNIX_EPOCH).unwrap_or_default();
    let info = record.info;
    let after = |at: Option<Instant>| Some(duration(at?.saturating_duration_since(info?.start?)));
    let mut id = Vec::new();
    record.write_stream_id(&mut id);
    let total = record.times.total;
    AccessLogCommon {
        downstream_remote_address: address(record.remote, record.pipe),
        downstream_local_address: address(record.local, record.pipe),
        downstream_direct_remote_address: address(record.direct_remote, record.pipe),
        start_time: Some(protobuf::Timestamp {
            seconds: since.as_secs() as i64,
            nanos: since.subsec_nanos() as i32,
        }),
        time_to_last_rx_byte: record.times.request.map(duration),
        time_to_first_upstream_tx_byte: after(info.and_then(|info| info.upstream_start)),
        time_to_last_upstream_tx_byte: record.times.request_sent.map(duration),
        time_to_first_upstream_rx_byte: record.times.response.map(duration),
        time_to_last_upstream_rx_byte: after(info.and_then(|info| info.upstream_end)),
        time_to_first_downstream_tx_byte: after(info.and_then(|info| info.downstream_start)),
        time_to_last_downstream_tx_byte: info.and(total).map(duration),
        upstream_remote_address: facts::upstream_remote(record).and_then(|at| address(at, "")),
        upstream_local_address: address(record.upstream_local, ""),
        upstream_cluster: record.cluster.map_or_else(String::new, |(_, stat)| stat.to_owned()),
        response_flags: record.flags.is_printed().then(|| flags(record.flags)),
        upstream_transport_failure_reason: record.transport_failure.to_owned(),
        route_name: record.route.to_owned(),
        duration: total.map(duration),
        upstream_request_attempt_count: record.attempts,
        connection_termination_details: record.termination.to_owned(),
        stream_id: String::from_utf8_lossy(&id).into_owned(),
        downstream_wire_bytes_sent: record.wire.sent,
        downstream_wire_bytes_received: record.wire.received,
        upstream_wire_bytes_sent: record.upstream_wire.sent,
        upstream_wire_bytes_received: record.upstream_wire.received,
        access_log_type: record.kind.named().1,
        ..AccessLogCommon::default()
    }
}

fn duration(duration: Duration) -> protobuf::Duration {
    protobuf::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

fn address(at: SocketAddr, pipe: &str) -> Option<Address> {
    let kind = match at {
        UNSPECIFIED if pipe.is_empty() => return None,
        UNSPECIFIED => address::Address::Pipe(meltemi_xds::pb::envoy::config::core::v3::Pipe {
            path: pipe.to_owned(),
            ..Default::default()
        }),
        at => address::Address::SocketAddress(SocketAddress {
            address: at.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(at.port()))),
            ..SocketAddress::default()
        }),
    };
    Some(Address { address: Some(kind) })
}

fn flags(flags: Flags) -> ResponseFlags {
    ResponseFlags {
        no_healthy_upstream: flags.has(Flags::NO_HEALTHY_UPSTREAM),
        upstream_request_timeout: flags.has(Flags::UPSTREAM_REQUEST_TIMEOUT),
        local_reset: flags.has(Flags::LOCAL_RESET),
        upstream_remote_reset: flags.has(Flags::UPSTREAM_REMOTE_RESET),
        upstream_connection_failure: flags.has(Flags::UPSTREAM_CONNECTION_FAILURE),
        upstream_connection_termination: flags.has(Flags::UPSTREAM_CONNECTION_TERMINATION),
        upstream_overflow: flags.has(Flags::UPSTREAM_OVERFLOW),
        no_route_found: flags.has(Flags::NO_ROUTE),
        delay_injected: flags.has(Flags::DELAY_INJECTED),
        fault_injected: flags.has(Flags::FAULT_INJECTED),
        downstream_connection_termination: flags.has(Flags::DOWNSTREAM_CONNECTION_TERMINATION),
        upstream_retry_limit_exceeded: flags.has(Flags::RETRY_LIMIT_EXCEEDED),
        stream_idle_timeout: flags.has(Flags::STREAM_IDLE_TIMEOUT),
        downstream_protocol_error: flags.has(Flags::DOWNSTREAM_PROTOCOL_ERROR),
        upstream_max_stream_duration_reached: flags.has(Flags::UPSTREAM_MAX_STREAM_DURATION),
        duration_timeout: flags.has(Flags::DURATION_TIMEOUT),
        upstream_protocol_error: flags.has(Flags::UPSTREAM_PROTOCOL_ERROR),
        no_cluster_found: flags.has(Flags::NO_CLUSTER),
        overload_manager: flags.has(Flags::OVERLOAD),
        dns_resolution_failure: flags.has(Flags::DNS_RESOLUTION_FAILED),
        downstream_remote_reset: flags.has(Flags::DOWNSTREAM_REMOTE_RESET),
        ..ResponseFlags::default()
    }
}
