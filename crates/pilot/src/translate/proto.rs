//! Small pieces of Envoy's messages that all of `translate` needs.

use std::collections::HashMap;
use std::time::Duration;

use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::r#type::matcher::v3 as matcher;
use meltemi_xds::pb::google::protobuf;

/// A duration.
pub fn duration(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("invariant: below 10^9"),
    }
}

/// A wrapped number.
pub fn uint32(value: u32) -> protobuf::UInt32Value {
    protobuf::UInt32Value { value }
}

/// A wrapped bool.
pub fn bool_value(value: bool) -> protobuf::BoolValue {
    protobuf::BoolValue { value }
}

/// A truth as a protobuf value.
pub fn truth(value: bool) -> protobuf::Value {
    protobuf::Value { kind: Some(protobuf::value::Kind::BoolValue(value)) }
}

/// A percentage with fractions.
pub fn percentage(value: f64) -> meltemi_xds::pb::envoy::r#type::v3::Percent {
    meltemi_xds::pb::envoy::r#type::v3::Percent { value }
}

/// A percentage without fractions.
pub fn percent(value: u32) -> meltemi_xds::pb::envoy::r#type::v3::Percent {
    meltemi_xds::pb::envoy::r#type::v3::Percent { value: f64::from(value) }
}

/// A TCP address, or the path of a Unix socket (`unix:///path`).
pub fn address(address: &str, port: u32) -> core::Address {
    let address = match address.strip_prefix("unix://") {
        Some(path) => core::address::Address::Pipe(core::Pipe { path: path.to_owned(), mode: 0 }),
        None => core::address::Address::SocketAddress(core::SocketAddress {
            address: address.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        }),
    };
    core::Address { address: Some(address) }
}

/// The aggregated discovery stream as a source.
pub fn ads() -> core::ConfigSource {
    core::ConfigSource {
        initial_fetch_timeout: Some(duration(Duration::ZERO)),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
        ..Default::default()
    }
}

/// A pattern for the whole text.
pub fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}

/// Text as a protobuf value.
pub fn text(value: &str) -> protobuf::Value {
    protobuf::Value { kind: Some(protobuf::value::Kind::StringValue(value.to_owned())) }
}

/// A number as a protobuf value.
pub fn number(value: u32) -> protobuf::Value {
    protobuf::Value { kind: Some(protobuf::value::Kind::NumberValue(f64::from(value))) }
}

/// A struct as a protobuf value.
pub fn structure(fields: impl IntoIterator<Item = (&'static str, protobuf::Value)>) -> protobuf::Value {
    protobuf::Value { kind: Some(protobuf::value::Kind::StructValue(fields_of(fields))) }
}

/// A struct.
pub fn fields_of(fields: impl IntoIterator<Item = (&'static str, protobuf::Value)>) -> protobuf::Struct {
    protobuf::Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

/// Metadata under the filter name `istio`.
pub fn istio_metadata(fields: protobuf::Struct) -> core::Metadata {
    core::Metadata { filter_metadata: HashMap::from([("istio".to_owned(), fields)]), ..Default::default() }
}

/// Where a message comes from: Istio's path of the resource and, under our own name, the line.
pub fn origin_metadata(
    origin: Option<&str>,
    place: Option<&crate::model::route::Place>,
) -> Option<core::Metadata> {
    let mut metadata = core::Metadata::default();
    if let Some(path) = origin {
        metadata.filter_metadata.insert("istio".to_owned(), fields_of([("config", text(path))]));
    }
    if let Some(place) = place {
        let fields = fields_of([("file", text(&place.file)), ("line", number(place.line))]);
        metadata.filter_metadata.insert("meltemi".to_owned(), fields);
    }
    (!metadata.filter_metadata.is_empty()).then_some(metadata)
}

/// Options of HTTP/1: whether HTTP/1.0 is accepted, whether names of headers keep their case.
pub fn http1_options(accept_http_10: bool, preserve_case: bool) -> core::Http1ProtocolOptions {
    use core::http1_protocol_options::{HeaderKeyFormat, header_key_format::HeaderFormat};
    use meltemi_xds::pb::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;
    let formatter = || {
        HeaderFormat::StatefulFormatter(core::TypedExtensionConfig {
            name: "preserve_case".to_owned(),
            typed_config: Some(meltemi_xds::any(&PreserveCaseFormatterConfig {
                forward_reason_phrase: true,
                ..Default::default()
            })),
        })
    };
    core::Http1ProtocolOptions {
        accept_http_10,
        header_key_format: preserve_case.then(|| HeaderKeyFormat { header_format: Some(formatter()) }),
        ..Default::default()
    }
}

/// The cache of names that requests ask for: one for all that resolve, found by its name. Envoy refuses another one of that name,
/// so what may differ is part of it.
pub fn dns_cache(
    refresh: Duration,
) -> meltemi_xds::pb::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig {
    use meltemi_xds::pb::envoy::config::cluster::v3::cluster::DnsLookupFamily;
    use meltemi_xds::pb::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
    DnsCacheConfig {
        name: format!("dynamic_forward_proxy_cache_{}ms", refresh.as_millis()),
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        dns_refresh_rate: Some(duration(refresh)),
        ..Default::default()
    }
}
