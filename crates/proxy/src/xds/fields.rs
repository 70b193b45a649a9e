//! Small fields that occur everywhere: durations, addresses, wrapped numbers, typed configs, data sources.
//!
//! Pure functions for the other files of [`crate::xds`].

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use meltemi_xds::pb::{
    envoy::{
        config::core::v3::{
            Address as AddressMessage, DataSource, Metadata, address, data_source, socket_address,
        },
        r#type::v3::{FractionalPercent, Percent, fractional_percent::DenominatorType},
    },
    google::protobuf::{self, Any, BoolValue, UInt32Value, value::Kind},
};
use prost::{Message, Name};

use super::{At, Rejection, refuse};
use crate::cluster::Address;

/// A duration that is not negative.
pub fn duration(message: &protobuf::Duration) -> Result<Duration, Rejection> {
    match (u64::try_from(message.seconds), u32::try_from(message.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => refuse(format!("invalid duration {}s {}ns", message.seconds, message.nanos)),
    }
}

/// A duration that may be absent.
pub fn optional(message: Option<&protobuf::Duration>, field: &str) -> Result<Option<Duration>, Rejection> {
    message.map(duration).transpose().at(field)
}

/// A timeout where absent is `default` and zero is "none".
pub fn timeout(
    message: Option<&protobuf::Duration>,
    field: &str,
    default: Option<Duration>,
) -> Result<Option<Duration>, Rejection> {
    Ok(match optional(message, field)? {
        None => default,
        Some(Duration::ZERO) => None,
        some => some,
    })
}

/// A wrapped boolean with its default.
pub fn flag(value: Option<&BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// A wrapped number with its default.
pub fn number(value: Option<&UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |value| value.value)
}

/// Where something listens or connects; hostnames are not addresses here.
pub fn address(message: &AddressMessage) -> Result<Address, Rejection> {
    match &message.address {
        Some(address::Address::SocketAddress(_)) => {
            let (host, port) = host_port(message)?;
            let ip: IpAddr = host.parse().map_err(|_| {
                Rejection::new(format!("malformed IP address: {host}")).within("socket_address.address")
            })?;
            Ok(Address::Socket(SocketAddr::new(ip, port)))
        }
        Some(address::Address::Pipe(pipe)) if !pipe.path.is_empty() => {
            Ok(Address::Pipe(Path::new(&pipe.path).into()))
        }
        Some(address::Address::EnvoyInternalAddress(_)) => refuse("internal addresses are not supported"),
        _ => refuse("an address is required"),
    }
}

/// Host (a name or an IP address) and port.
pub fn host_port(message: &AddressMessage) -> Result<(&str, u16), Rejection> {
    let Some(address::Address::SocketAddress(socket)) = &message.address else {
        return refuse("a socket address is required");
    };
    if socket.protocol != 0 {
        return refuse("only TCP is supported").at("socket_address.protocol");
    }
    if !socket.resolver_name.is_empty() {
        return refuse(format!("resolver '{}' is not supported", socket.resolver_name))
            .at("socket_address.resolver_name");
    }
    if !socket.network_namespace_filepath.is_empty() {
        return refuse("network namespaces are not supported")
            .at("socket_address.network_namespace_filepath");
    }
    let port = match &socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => port,
        Some(socket_address::PortSpecifier::NamedPort(_)) => {
            return refuse("named ports are not supported").at("socket_address.named_port");
        }
        None => &0,
    };
    match u16::try_from(*port) {
        Ok(port) => Ok((&socket.address, port)),
        Err(_) => refuse(format!("port {port} is above 65535")).at("socket_address.port_value"),
    }
}

/// Unpacks a typed config; the error names both types.
pub fn unpack<M: Message + Name + Default>(config: &Any) -> Result<M, Rejection> {
    meltemi_xds::unpack(config).map_err(|error| Rejection::new(error.to_string())).at("typed_config")
}

/// Bytes that are given inline, in a file or in the environment.
pub fn data_source(source: &DataSource) -> Result<Vec<u8>, Rejection> {
    match &source.specifier {
        Some(data_source::Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(data_source::Specifier::InlineString(text)) => Ok(text.clone().into_bytes()),
        Some(data_source::Specifier::Filename(path)) => std::fs::read(path)
            .map_err(|error| Rejection::new(format!("cannot read '{path}': {error}")))
            .at("filename"),
        Some(data_source::Specifier::EnvironmentVariable(name)) => match std::env::var(name) {
            Ok(value) => Ok(value.into_bytes()),
            Err(_) => refuse(format!("environment variable '{name}' is not set")).at("environment_variable"),
        },
        None => refuse("a data source needs one of its fields"),
    }
}

/// Numerator and denominator.
pub fn fraction(message: &FractionalPercent) -> Result<(u32, u32), Rejection> {
    let denominator = match DenominatorType::try_from(message.denominator) {
        Ok(DenominatorType::Hundred) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Err(_) => return unknown_enum("denominator", message.denominator),
    };
    Ok((message.numerator, denominator))
}

/// A percentage between 0 and 100, rounded down.
pub fn percent(message: &Percent) -> Result<u32, Rejection> {
    match message.value {
        value if (0.0..=100.0).contains(&value) => Ok(value as u32),
        value => refuse(format!("{value} is not between 0 and 100")),
    }
}

/// A percentage between 0 and 100, in hundredths of one.
pub fn percent_in_hundredths(message: &Percent) -> Result<u32, Rejection> {
    match message.value {
        value if (0.0..=100.0).contains(&value) => Ok((value * 100.0) as u32),
        value => refuse(format!("{value} is not between 0 and 100")),
    }
}

/// Metadata as logs may ask for it: namespaces with their fields. What is Istio's and Envoy's own, on every resource, is left
/// out: see [`origin`] for the part of it that is asked for.
pub fn metadata(message: Option<&Metadata>) -> Option<Arc<serde_json::Value>> {
    const OWN: [&str; 3] = ["istio", "envoy.lb", "envoy.transport_socket_match"];
    let mut namespaces: Vec<_> =
        message?.filter_metadata.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).collect();
    if namespaces.is_empty() {
        return None;
    }
    namespaces.sort_by_key(|(name, _)| *name);
    let object = namespaces.into_iter().map(|(name, fields)| (name.clone(), structure(fields))).collect();
    Some(Arc::new(serde_json::Value::Object(object)))
}

fn structure(fields: &protobuf::Struct) -> serde_json::Value {
    let mut sorted: Vec<_> = fields.fields.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    serde_json::Value::Object(sorted.into_iter().map(|(name, field)| (name.clone(), json(field))).collect())
}

fn json(value: &protobuf::Value) -> serde_json::Value {
    use protobuf::value::Kind;
    use serde_json::Value as Json;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(*value),
        Some(Kind::NumberValue(value)) => Json::from(*value),
        Some(Kind::StringValue(text)) => Json::String(text.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(json).collect()),
        Some(Kind::StructValue(fields)) => structure(fields),
    }
}

/// The `config` that pilot puts into `istio` metadata: the resource that something comes from.
pub fn origin(metadata: Option<&Metadata>) -> Option<&str> {
    match &metadata?.filter_metadata.get("istio")?.fields.get("config")?.kind {
        Some(Kind::StringValue(config)) if !config.is_empty() => Some(config),
        _ => None,
    }
}

/// An enum value that this version does not know.
pub fn unknown_enum<T>(field: &str, value: i32) -> Result<T, Rejection> {
    refuse(format!("unknown value {value}")).at(field)
}

/// Refuses what is set but not supported, so that it is never ignored.
pub fn unsupported(set: bool, field: &str) -> Result<(), Rejection> {
    if set { refuse("not supported").at(field) } else { Ok(()) }
}
