//! Access logs as Envoy's AccessLog.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::accesslog::v3 as envoy;
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use meltemi_xds::pb::envoy::extensions::access_loggers::{
    file::v3 as file, grpc::v3 as grpc, open_telemetry::v3 as otel,
};
use meltemi_xds::pb::google::protobuf::{self, Any, Struct};
use meltemi_xds::pb::opentelemetry::proto::common::v1 as common;

use crate::model::listener::{AccessLog, GrpcLog, LogFormat, LogSink};

/// Logs of requests or connections.
pub(super) fn terminal(models: &[AccessLog]) -> Vec<envoy::AccessLog> {
    let log = |model: &AccessLog| access_log(model, expression(model));
    models.iter().map(log).collect()
}

/// Logs of a listener: only what no filter chain took (flag NR).
pub(super) fn listener(models: &[AccessLog]) -> Vec<envoy::AccessLog> {
    use envoy::access_log_filter::FilterSpecifier;
    let log = |model: &AccessLog| {
        let filter = match expression(model) {
            None => no_route(),
            Some(expression) => {
                let and = envoy::AndFilter { filters: vec![no_route(), expression] };
                envoy::AccessLogFilter { filter_specifier: Some(FilterSpecifier::AndFilter(and)) }
            }
        };
        access_log(model, Some(filter))
    };
    models.iter().map(log).collect()
}

fn access_log(model: &AccessLog, filter: Option<envoy::AccessLogFilter>) -> envoy::AccessLog {
    let (name, config) = match &model.sink {
        LogSink::File { path, format, omit_empty } => {
            ("envoy.access_loggers.file", any(&to_file(path, format, *omit_empty)))
        }
        LogSink::HttpGrpc(service) => ("envoy.access_loggers.http_grpc", any(&http_grpc(service))),
        LogSink::TcpGrpc(service) => {
            let config = grpc::TcpGrpcAccessLogConfig { common_config: Some(to_service(service)) };
            ("envoy.access_loggers.tcp_grpc", any(&config))
        }
        LogSink::OpenTelemetry { service, body, attributes } => {
            ("envoy.access_loggers.open_telemetry", open_telemetry(service, body, attributes.as_deref()))
        }
    };
    envoy::AccessLog {
        name: name.to_owned(),
        filter,
        config_type: Some(envoy::access_log::ConfigType::TypedConfig(config)),
    }
}

fn to_file(path: &str, format: &LogFormat, omit_empty_values: bool) -> file::FileAccessLog {
    use core::substitution_format_string::Format;
    let format = match format {
        LogFormat::Text(line) => Format::TextFormatSource(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(line.to_string())),
            ..Default::default()
        }),
        LogFormat::Json(fields) => Format::JsonFormat(structure(fields)),
    };
    file::FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(
            core::SubstitutionFormatString { format: Some(format), omit_empty_values, ..Default::default() },
        )),
    }
}

fn http_grpc(model: &GrpcLog) -> grpc::HttpGrpcAccessLogConfig {
    grpc::HttpGrpcAccessLogConfig {
        common_config: Some(to_service(model)),
        additional_request_headers_to_log: words(&model.request_headers),
        additional_response_headers_to_log: words(&model.response_headers),
        additional_response_trailers_to_log: words(&model.response_trailers),
    }
}

fn to_service(model: &GrpcLog) -> grpc::CommonGrpcAccessLogConfig {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let target = EnvoyGrpc {
        cluster_name: model.cluster.clone(),
        authority: model.authority.to_string(),
        ..Default::default()
    };
    grpc::CommonGrpcAccessLogConfig {
        log_name: model.name.to_string(),
        grpc_service: Some(core::GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
            ..Default::default()
        }),
        transport_api_version: core::ApiVersion::V3.into(),
        filter_state_objects_to_log: words(&model.state),
        ..Default::default()
    }
}

#[allow(deprecated, reason = "Istio sends this one; older proxies know no other")]
fn open_telemetry(service: &GrpcLog, body: &str, attributes: Option<&str>) -> Any {
    any(&otel::OpenTelemetryAccessLogConfig {
        common_config: Some(to_service(service)),
        disable_builtin_labels: true,
        body: Some(string(body)),
        attributes: attributes.map(key_values),
        ..Default::default()
    })
}

fn string(text: &str) -> common::AnyValue {
    common::AnyValue { value: Some(common::any_value::Value::StringValue(text.to_owned())) }
}

/// Those of the fields that are text.
fn key_values(fields: &str) -> common::KeyValueList {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(fields).unwrap_or_default();
    let pair = |(key, value): (String, serde_json::Value)| {
        Some(common::KeyValue { value: Some(string(value.as_str()?)), key, ..Default::default() })
    };
    common::KeyValueList { values: fields.into_iter().filter_map(pair).collect() }
}

fn structure(fields: &str) -> Struct {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(fields).unwrap_or_default();
    Struct { fields: fields.into_iter().map(|(key, field)| (key, value(field))).collect() }
}

fn value(json: serde_json::Value) -> protobuf::Value {
    use protobuf::value::Kind;
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => {
            Kind::ListValue(protobuf::ListValue { values: items.into_iter().map(value).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(key, field)| (key, value(field))).collect(),
        }),
    };
    protobuf::Value { kind: Some(kind) }
}

fn words(words: &[meltemi_config::Str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// The condition that a log has of its own.
fn expression(model: &AccessLog) -> Option<envoy::AccessLogFilter> {
    use envoy::access_log_filter::FilterSpecifier;
    let expression = model.filter.as_ref()?.to_string();
    let filter = envoy::ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(envoy::extension_filter::ConfigType::TypedConfig(any(&ExpressionFilter {
            expression,
            ..Default::default()
        }))),
    };
    Some(envoy::AccessLogFilter { filter_specifier: Some(FilterSpecifier::ExtensionFilter(filter)) })
}

fn no_route() -> envoy::AccessLogFilter {
    use envoy::access_log_filter::FilterSpecifier;
    let flags = envoy::ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    envoy::AccessLogFilter { filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(flags)) }
}
