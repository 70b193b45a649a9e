//! Records of OpenTelemetry: a body and attributes, whose texts are formats. `envoy.access_loggers.open_telemetry`.
//!
//! Invariant: the messages are OTLP's (`opentelemetry/proto/collector/logs/v1`), of which only what is filled is spelled out here.

use std::time::UNIX_EPOCH;

use meltemi_xds::pb::{
    envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig,
    opentelemetry::proto::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value},
};
use prost::Message;

use super::{Content, GrpcSink, Shape, Target, field};
use crate::{
    access_log::{Record, compile, format::Format},
    xds::Context,
};

/// `opentelemetry.proto.logs.v1.LogRecord`.
#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
}

/// What a record is made of.
#[derive(Debug)]
pub(super) struct Records {
    body: Option<Template>,
    attributes: Vec<(String, Template)>,
}

/// A value whose texts are formats.
#[derive(Debug)]
enum Template {
    Text(Format),
    List(Vec<Template>),
    Fields(Vec<(String, Template)>),
    Constant(AnyValue),
}

impl GrpcSink {
    /// `envoy.access_loggers.open_telemetry`.
    #[expect(deprecated, reason = "Istio sends common_config, as older proxies know no other")]
    pub(in crate::access_log) fn open_telemetry(
        config: &OpenTelemetryAccessLogConfig,
        context: &mut Context,
    ) -> Result<Self, String> {
        if config.http_service.is_some() {
            return Err("http_service is not supported".to_owned());
        }
        if !config.resource_detectors.is_empty() {
            return Err("resource_detectors are not supported".to_owned());
        }
        let older = config.common_config.as_ref();
        if !config.custom_tags.is_empty() || older.is_some_and(|older| !older.custom_tags.is_empty()) {
            return Err("custom_tags are not supported".to_owned());
        }
        let formatters = compile::formatters(&config.formatters)?;
        let template = |value: &AnyValue| Template::compile(value, formatters);
        let pairs = config.attributes.iter().flat_map(|list| &list.values);
        let records = Records {
            body: config.body.as_ref().map(template).transpose()?,
            attributes: fields(pairs, formatters)?,
        };
        let service = config.grpc_service.as_ref().or_else(|| older?.grpc_service.as_ref());
        let service = service.ok_or("grpc_service is missing")?;
        let interval = config.buffer_flush_interval.or_else(|| older?.buffer_flush_interval);
        let size = config.buffer_size_bytes.or_else(|| older?.buffer_size_bytes);
        let name = match config.log_name.as_str() {
            "" => older.map_or("", |older| &older.log_name),
            name => name,
        };
        let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        let target = Target {
            shape: Shape::Calls { resource: resource(config, name, context) },
            prefix: "access_logs.open_telemetry_access_log.",
            ..Target::new(service, path, &(interval, size), context)?
        };
        Ok(Self::of(target, Content::Records(records)))
    }
}

/// The resource that all records are of: this proxy, unless that is not wanted, and what the configuration says.
fn resource(config: &OpenTelemetryAccessLogConfig, name: &str, context: &Context) -> Vec<u8> {
    let node = context.node.as_deref();
    let text = |key: &str, text: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) }),
        ..KeyValue::default()
    };
    let mut attributes = Vec::new();
    if !config.disable_builtin_labels {
        attributes.push(text("log_name", name));
        let zone = node.and_then(|node| Some(node.locality.as_ref()?.zone.as_str()));
        attributes.push(text("zone_name", zone.unwrap_or_default()));
        attributes.push(text("cluster_name", node.map_or("", |node| &node.cluster)));
        attributes.push(text("node_name", node.map_or("", |node| &node.id)));
    }
    attributes.extend(config.resource_attributes.iter().flat_map(|list| list.values.iter().cloned()));
    // The fields of a `Resource` and of a `KeyValueList` have the same number.
    KeyValueList { values: attributes }.encode_to_vec()
}

fn fields<'a>(
    pairs: impl Iterator<Item = &'a KeyValue>,
    formatters: crate::access_log::operator::Formatters,
) -> Result<Vec<(String, Template)>, String> {
    pairs
        .map(|pair| {
            let value = pair.value.clone().unwrap_or_default();
            Ok((pair.key.clone(), Template::compile(&value, formatters)?))
        })
        .collect()
}

impl Template {
    fn compile(
        value: &AnyValue,
        formatters: crate::access_log::operator::Formatters,
    ) -> Result<Self, String> {
        Ok(match &value.value {
            Some(Value::StringValue(text)) => Self::Text(Format::compile_with(text, formatters)?),
            Some(Value::ArrayValue(list)) => {
                let items = list.values.iter().map(|item| Self::compile(item, formatters));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Some(Value::KvlistValue(list)) => Self::Fields(fields(list.values.iter(), formatters)?),
            _ => Self::Constant(value.clone()),
        })
    }

    fn value(&self, record: &Record<'_>) -> AnyValue {
        let value = match self {
            Self::Text(format) => {
                let mut text = Vec::new();
                format.write(&mut text, record);
                Value::StringValue(String::from_utf8_lossy(&text).into_owned())
            }
            Self::List(items) => Value::ArrayValue(ArrayValue {
                values: items.iter().map(|item| item.value(record)).collect(),
            }),
            Self::Fields(fields) => Value::KvlistValue(KeyValueList { values: pairs(fields, record) }),
            Self::Constant(value) => return value.clone(),
        };
        AnyValue { value: Some(value) }
    }
}

fn pairs(fields: &[(String, Template)], record: &Record<'_>) -> Vec<KeyValue> {
    let pair = |(key, template): &(String, Template)| KeyValue {
        key: key.clone(),
        value: Some(template.value(record)),
        ..KeyValue::default()
    };
    fields.iter().map(pair).collect()
}

impl Records {
    /// Appends the record as an element of its scope.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        let since = record.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let encoded = LogRecord {
            time_unix_nano: u64::try_from(since.as_nanos()).unwrap_or_default(),
            body: self.body.as_ref().map(|body| body.value(record)),
            attributes: pairs(&self.attributes, record),
        };
        field(out, 2, &encoded.encode_to_vec());
    }
}

/// `ExportLogsServiceRequest`: one resource with one scope that holds the records.
pub(super) fn message(resource: &[u8], records: &[u8]) -> Vec<u8> {
    let mut of_resource = Vec::with_capacity(resource.len() + records.len() + 32);
    field(&mut of_resource, 1, resource);
    field(&mut of_resource, 2, records);
    let mut message = Vec::with_capacity(of_resource.len() + 8);
    field(&mut message, 1, &of_resource);
    message
}
