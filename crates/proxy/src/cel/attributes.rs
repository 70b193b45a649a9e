//! Envoy's attributes: what each is, worked out when an expression names it.
//! <https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/advanced/attributes>
//!
//! Invariant: an attribute that is not known here (TLS of a plaintext connection, `xds.node`) has no value, as in Envoy
//! one that is not there.

use std::{borrow::Cow, net::SocketAddr, rc::Rc, time::Duration};

use super::value::{Headers, Value};
use crate::{
    access_log::{Record, facts},
    stream::UNSPECIFIED,
};

/// A name before the first point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `request`
    Request,
    /// `response`
    Response,
    /// `connection`
    Connection,
    /// `source`
    Source,
    /// `destination`
    Destination,
    /// `upstream`
    Upstream,
    /// `xds`
    Xds,
    /// `metadata`
    Metadata,
    /// `filter_state`, `upstream_filter_state`
    State,
}

/// How an attribute is worked out.
type Worked = for<'a> fn(&'a Record<'a>) -> Option<Value<'a>>;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute {
    /// Its group.
    pub(super) group: Group,
    /// The rest of its name.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) value: Worked,
}

/// The group of that name.
pub(super) fn group(name: &str) -> Option<Group> {
    Some(match name {
        "request" => Group::Request,
        "response" => Group::Response,
        "connection" => Group::Connection,
        "source" => Group::Source,
        "destination" => Group::Destination,
        "upstream" => Group::Upstream,
        "xds" => Group::Xds,
        "metadata" => Group::Metadata,
        "filter_state" | "upstream_filter_state" => Group::State,
        _ => return None,
    })
}

/// A group as a value.
pub(super) fn whole<'a>(group: Group, _record: &'a Record<'a>) -> Option<Value<'a>> {
    Some(match group {
        // No filter leaves any.
        Group::Metadata => Value::Metadata(None),
        Group::State => Value::Map(Rc::new([])),
        group => Value::Group(group),
    })
}

/// The attribute of that name.
pub(super) fn find(group: Group, name: &str) -> Option<Attribute> {
    let found = ATTRIBUTES.iter().find(|attribute| attribute.group == group && attribute.name == name);
    found.copied()
}

const fn of(group: Group, name: &'static str, value: Worked) -> Attribute {
    Attribute { group, name, value }
}

use Group::{Connection, Destination, Request, Response, Source, Upstream, Xds};

const ATTRIBUTES: &[Attribute] = &[
    of(Request, "path", |r| Some(Value::text(r.request?.path()))),
    of(Request, "url_path", |r| Some(Value::text(facts::without_query(r.request?.path())))),
    of(Request, "query", |r| Some(Value::text(facts::query(r.request?.path()).unwrap_or("")))),
    of(Request, "host", |r| Some(Value::text(r.request?.authority()))),
    of(Request, "scheme", |r| Some(Value::text(r.request?.scheme()))),
    of(Request, "method", |r| Some(Value::text(r.request?.method()))),
    of(Request, "headers", |r| Some(Value::Headers(Headers::Request(r.request?)))),
    of(Request, "referer", |r| request_header(r, "referer")),
    of(Request, "useragent", |r| request_header(r, "user-agent")),
    of(Request, "id", |r| request_header(r, "x-request-id")),
    of(Request, "time", |r| {
        let since = r.start.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Value::Time(i128::try_from(since.as_nanos()).ok()?))
    }),
    of(Request, "protocol", |r| Some(Value::text(r.protocol?.name()))),
    of(Request, "duration", |r| duration(r.times.total)),
    of(Request, "size", |r| r.request.map(|_| int(r.bytes.0))),
    of(Request, "total_size", |r| Some(int(r.bytes.0 + facts::request_headers_bytes(r)))),
    of(Response, "code", |r| (r.status != 0).then(|| int(u64::from(r.status)))),
    of(Response, "code_details", |r| (!r.details.is_empty()).then(|| Value::text(r.details))),
    of(Response, "flags", |r| Some(int(facts::flag_bits(r.flags)))),
    of(Response, "grpc_status", |r| {
        r.request.and_then(|_| facts::grpc_status(r)).map(|status| int(u64::from(status)))
    }),
    of(Response, "headers", |r| Some(Value::Headers(Headers::Response(r.response?, r.status)))),
    of(Response, "trailers", |r| Some(Value::Headers(Headers::Plain(r.trailers)))),
    of(Response, "size", |r| Some(int(r.bytes.1))),
    of(Response, "total_size", |r| {
        let heads = facts::response_headers_bytes(r) + facts::trailers_bytes(r);
        Some(int(r.bytes.1 + heads))
    }),
    of(Response, "backend_latency", |r| {
        let info = r.info?;
        duration(Some(info.upstream_end?.saturating_duration_since(info.upstream_start?)))
    }),
    of(Source, "address", |r| address(r.remote, r.pipe)),
    of(Source, "port", |r| port(r.remote)),
    of(Destination, "address", |r| address(r.local, r.pipe)),
    of(Destination, "port", |r| port(r.local)),
    of(Connection, "id", |r| (r.connection != 0).then_some(Value::Uint(r.connection))),
    of(Connection, "mtls", |_| Some(Value::Bool(false))),
    of(Connection, "requested_server_name", |r| Some(Value::text(r.server_name))),
    of(Connection, "termination_details", |r| {
        (!r.termination.is_empty()).then(|| Value::text(r.termination))
    }),
    of(Upstream, "address", |r| Some(Value::text(&r.endpoint?.label))),
    of(Upstream, "port", |r| port(facts::upstream_remote(r)?)),
    of(Upstream, "local_address", |r| address(r.upstream_local, "")),
    of(Upstream, "transport_failure_reason", |r| r.endpoint.map(|_| Value::text(r.transport_failure))),
    of(Upstream, "request_attempt_count", |r| Some(int(u64::from(r.attempts)))),
    of(Upstream, "cx_pool_ready_duration", |r| duration(facts::pool_ready(r))),
    of(Upstream, "num_endpoints", |r| Some(int(facts::endpoints(r)? as u64))),
    of(Upstream, "locality", |_| None),
    of(Xds, "cluster_name", |r| Some(Value::text(r.cluster?.0))),
    of(Xds, "cluster_metadata", |r| metadata(facts::Metadata::Cluster, r)),
    of(Xds, "route_name", |r| {
        Some(Value::text(r.route)).filter(|_| r.info.is_some_and(|info| info.route.is_some()))
    }),
    of(Xds, "route_metadata", |r| metadata(facts::Metadata::Route, r)),
    of(Xds, "virtual_host_name", |r| Some(Value::text(r.info?.virtual_host.as_ref()?))),
    of(Xds, "virtual_host_metadata", |r| metadata(facts::Metadata::VirtualHost, r)),
    of(Xds, "upstream_host_metadata", |r| metadata(facts::Metadata::Endpoint, r)),
    of(Xds, "upstream_host_locality_region", |r| locality(r, |locality| &locality.region)),
    of(Xds, "upstream_host_locality_zone", |r| locality(r, |locality| &locality.zone)),
    of(Xds, "upstream_host_locality_subzone", |r| locality(r, |locality| &locality.sub_zone)),
    of(Xds, "filter_chain_name", |r| Some(Value::text(&r.downstream?.chain.name))),
    of(Xds, "listener_metadata", |r| metadata(facts::Metadata::Listener, r)),
    of(Xds, "listener_direction", |r| Some(int(u64::from(r.downstream?.listener.direction)))),
];

fn request_header<'a>(record: &'a Record<'a>, name: &str) -> Option<Value<'a>> {
    record.request?.headers.joined(name).map(Value::Text)
}

fn int<'a>(value: u64) -> Value<'a> {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn duration<'a>(duration: Option<Duration>) -> Option<Value<'a>> {
    Some(Value::Duration(i64::try_from(duration?.as_nanos()).ok()?))
}

fn address<'a>(address: SocketAddr, pipe: &'a str) -> Option<Value<'a>> {
    match address {
        UNSPECIFIED if pipe.is_empty() => None,
        UNSPECIFIED => Some(Value::text(pipe)),
        address => Some(Value::Text(Cow::Owned(address.to_string()))),
    }
}

fn port<'a>(address: SocketAddr) -> Option<Value<'a>> {
    (address != UNSPECIFIED).then(|| int(u64::from(address.port())))
}

fn metadata<'a>(of: facts::Metadata, record: &'a Record<'a>) -> Option<Value<'a>> {
    facts::holder(of, record).then(|| Value::Metadata(facts::metadata(of, record)))
}

fn locality<'a>(
    record: &'a Record<'a>,
    part: fn(&crate::cluster::Locality) -> &std::sync::Arc<str>,
) -> Option<Value<'a>> {
    let locality = record.endpoint?.locality.as_ref()?;
    Some(part(locality)).filter(|text| !text.is_empty()).map(|text| Value::text(text))
}
