//! What follows from a record: sizes, status of gRPC, metadata. Operators, filters and CEL attributes ask here.
//!
//! Invariant: nothing is worked out that nobody asks for.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value as Json;

use crate::{
    access_log::Record,
    cluster::Address,
    error::Flags,
    http::{headers::HeaderList, message},
};

/// Whose metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// Of the stream: no filter leaves any.
    Dynamic,
    /// Of the cluster.
    Cluster,
    /// Of the route.
    Route,
    /// Of the virtual host.
    VirtualHost,
    /// Of the endpoint.
    Endpoint,
    /// Of the listener.
    Listener,
    /// Of the filter chain.
    FilterChain,
}

/// True when there is something that could have such metadata.
pub fn holder(of: Metadata, record: &Record<'_>) -> bool {
    match of {
        Metadata::Dynamic => true,
        Metadata::Cluster => record.upstream.is_some(),
        Metadata::Route => record.info.is_some_and(|info| info.route.is_some()),
        Metadata::VirtualHost => record.info.is_some_and(|info| info.virtual_host.is_some()),
        Metadata::Endpoint => record.endpoint.is_some(),
        Metadata::Listener | Metadata::FilterChain => record.downstream.is_some(),
    }
}

/// Namespaces with their fields.
pub fn metadata<'a>(of: Metadata, record: &'a Record<'a>) -> Option<&'a Json> {
    match of {
        Metadata::Dynamic => None,
        Metadata::Cluster => record.upstream?.metadata.as_deref(),
        Metadata::Route => record.info?.route.as_ref()?.metadata.as_deref(),
        Metadata::VirtualHost => record.info?.host_metadata.as_deref(),
        Metadata::Endpoint => record.endpoint?.logged.as_deref(),
        Metadata::Listener => record.downstream?.listener.metadata.as_deref(),
        Metadata::FilterChain => record.downstream?.chain.metadata.as_deref(),
    }
}

/// A path before its query and fragment.
pub fn without_query(path: &str) -> &str {
    path.find(['?', '#']).map_or(path, |at| &path[..at])
}

/// The query of a path, if it has one.
pub fn query(path: &str) -> Option<&str> {
    let (_, query) = path.split_once('?')?;
    Some(query.find('#').map_or(query, |at| &query[..at]))
}

/// Names and values of the request's headers, with those that begin with a colon.
pub fn request_headers_bytes(record: &Record<'_>) -> u64 {
    let Some(head) = record.request else { return 0 };
    let own = [(10, head.authority()), (5, head.path()), (7, head.method()), (7, head.scheme())];
    let own: usize =
        own.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| name + value.len()).sum();
    own as u64 + fields_bytes(&head.headers)
}

/// Names and values of the response's headers, with its status.
pub fn response_headers_bytes(record: &Record<'_>) -> u64 {
    record.response.map_or(0, |head| ":status200".len() as u64 + fields_bytes(&head.headers))
}

/// Names and values of the response's trailers.
pub fn trailers_bytes(record: &Record<'_>) -> u64 {
    record.trailers.map_or(0, fields_bytes)
}

fn fields_bytes(list: &HeaderList) -> u64 {
    list.iter().map(|field| (field.name.len() + field.value.len()) as u64).sum()
}

/// True when the request is a gRPC call.
pub fn is_grpc(record: &Record<'_>) -> bool {
    record.request.is_some_and(|head| message::is_grpc(&head.headers))
}

/// The status of a gRPC call: what the server says, else what the HTTP status means.
pub fn grpc_status(record: &Record<'_>) -> Option<u32> {
    let lists = [record.trailers, record.response.map(|head| &head.headers)];
    let said = lists.into_iter().flatten().find_map(|list| list.get_named("grpc-status"));
    if let Some(said) = said {
        return std::str::from_utf8(said).ok()?.parse().ok();
    }
    // https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    Some(match record.status {
        0 => return None,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    })
}

/// Response flags as Envoy numbers them.
pub fn flag_bits(flags: Flags) -> u64 {
    const BITS: &[(u32, u8)] = &[
        (Flags::NO_HEALTHY_UPSTREAM, 1),
        (Flags::UPSTREAM_REQUEST_TIMEOUT, 2),
        (Flags::LOCAL_RESET, 3),
        (Flags::UPSTREAM_REMOTE_RESET, 4),
        (Flags::UPSTREAM_CONNECTION_FAILURE, 5),
        (Flags::UPSTREAM_CONNECTION_TERMINATION, 6),
        (Flags::UPSTREAM_OVERFLOW, 7),
        (Flags::NO_ROUTE, 8),
        (Flags::DELAY_INJECTED, 9),
        (Flags::FAULT_INJECTED, 10),
        (Flags::DOWNSTREAM_CONNECTION_TERMINATION, 14),
        (Flags::RETRY_LIMIT_EXCEEDED, 15),
        (Flags::STREAM_IDLE_TIMEOUT, 16),
        (Flags::DOWNSTREAM_PROTOCOL_ERROR, 18),
        (Flags::UPSTREAM_MAX_STREAM_DURATION, 19),
        (Flags::DURATION_TIMEOUT, 22),
        (Flags::UPSTREAM_PROTOCOL_ERROR, 23),
        (Flags::NO_CLUSTER, 24),
        (Flags::OVERLOAD, 25),
        (Flags::DNS_RESOLUTION_FAILED, 26),
        (Flags::DOWNSTREAM_REMOTE_RESET, 28),
    ];
    BITS.iter().filter(|(flag, _)| flags.has(*flag)).fold(0, |bits, (_, at)| bits | 1 << at)
}

/// Where the endpoint is, if at an IP address.
pub fn upstream_remote(record: &Record<'_>) -> Option<SocketAddr> {
    match record.endpoint?.address {
        Address::Socket(address) => Some(address),
        Address::Pipe(_) => None,
    }
}

/// From the choice of the endpoint until there was a connection for the request.
pub fn pool_ready(record: &Record<'_>) -> Option<Duration> {
    match record.info {
        Some(info) => Some(info.upstream_start?.saturating_duration_since(info.start?)),
        None => record.outcome?.endpoint.as_ref().map(|_| Duration::ZERO),
    }
}

/// Endpoints of the cluster.
pub fn endpoints(record: &Record<'_>) -> Option<usize> {
    Some(record.upstream?.endpoints.load().iter().count())
}
