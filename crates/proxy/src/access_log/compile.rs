//! `envoy.config.accesslog.v3.AccessLog` to [`AccessLog`].
//!
//! Invariant: the error says which logger, format or filter cannot be used, and why.

use std::sync::Arc;

use meltemi_xds::pb::google::protobuf::Any;
use meltemi_xds::{
    pb::envoy::{
        config::{
            accesslog::v3::{AccessLog as Config, access_log::ConfigType},
            core::v3::{
                SubstitutionFormatString, TypedExtensionConfig, data_source::Specifier,
                substitution_format_string::Format as Substitution,
            },
        },
        extensions::access_loggers::{
            file::v3::{FileAccessLog, file_access_log::AccessLogFormat as FileFormat},
            grpc::v3::{HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig},
            open_telemetry::v3::OpenTelemetryAccessLogConfig,
            stream::v3::{
                StderrAccessLog, StdoutAccessLog, stderr_access_log::AccessLogFormat as StderrFormat,
                stdout_access_log::AccessLogFormat as StdoutFormat,
            },
        },
    },
    unpack,
};
use prost::Name;

use crate::{
    access_log::{
        AccessLog, Destination, Layout, filter::Filter, format::Format, grpc::GrpcSink, json::JsonFormat,
        operator::Formatters, sink::FileSink,
    },
    xds::Context,
};

impl AccessLog {
    /// Compiles one configured log and opens its file.
    pub fn compile(config: &Config, context: &mut Context) -> Result<Self, String> {
        let filter = config.filter.as_ref().map(|filter| Filter::compile(filter, context)).transpose()?;
        let Some(ConfigType::TypedConfig(any)) = &config.config_type else {
            return Err(format!("access log {} has no typed_config", config.name));
        };
        let url = any.type_url.as_str();
        if url == FileAccessLog::type_url() {
            let config: FileAccessLog = decoded(any)?;
            return Self::file(filter, &config.path, file_layout(config.access_log_format.as_ref())?);
        }
        if url == StdoutAccessLog::type_url() {
            let stream: StdoutAccessLog = decoded(any)?;
            let format = stream.access_log_format.map(|StdoutFormat::LogFormat(format)| format);
            return Self::file(filter, "/dev/stdout", substitution(format.as_ref())?);
        }
        if url == StderrAccessLog::type_url() {
            let stream: StderrAccessLog = decoded(any)?;
            let format = stream.access_log_format.map(|StderrFormat::LogFormat(format)| format);
            return Self::file(filter, "/dev/stderr", substitution(format.as_ref())?);
        }
        let sink = if url == HttpGrpcAccessLogConfig::type_url() {
            GrpcSink::http(&decoded(any)?, context)
        } else if url == TcpGrpcAccessLogConfig::type_url() {
            GrpcSink::tcp(&decoded(any)?, context)
        } else if url == OpenTelemetryAccessLogConfig::type_url() {
            GrpcSink::open_telemetry(&decoded(any)?, context)
        } else {
            return Err(format!("access logger {} ({url}) is not supported", config.name));
        };
        let sink = sink.map_err(|error| format!("access logger {}: {error}", config.name))?;
        Ok(Self { filter, destination: Destination::Grpc(Arc::new(sink)) })
    }

    fn file(filter: Option<Filter>, path: &str, layout: Layout) -> Result<Self, String> {
        let sink = FileSink::open(path).map_err(|error| format!("cannot open access log {path}: {error}"))?;
        Ok(Self { filter, destination: Destination::File(layout, sink) })
    }
}

fn decoded<M: prost::Message + Name + Default>(any: &Any) -> Result<M, String> {
    unpack(any).map_err(|error| error.to_string())
}

#[expect(deprecated, reason = "configurations in the field still use the older forms")]
fn file_layout(format: Option<&FileFormat>) -> Result<Layout, String> {
    match format {
        None => default_layout(),
        Some(FileFormat::Format(text)) => Ok(Layout::Text(Format::compile(text)?)),
        Some(FileFormat::JsonFormat(json) | FileFormat::TypedJsonFormat(json)) => {
            Ok(Layout::Json(JsonFormat::compile(json, false, Formatters::default())?))
        }
        Some(FileFormat::LogFormat(format)) => substitution(Some(format)),
    }
}

fn default_layout() -> Result<Layout, String> {
    Ok(Layout::Text(Format::compile(Format::DEFAULT)?))
}

#[expect(deprecated, reason = "configurations in the field still use text_format")]
fn substitution(format: Option<&SubstitutionFormatString>) -> Result<Layout, String> {
    let Some(format) = format else { return default_layout() };
    let formatters = formatters(&format.formatters)?;
    let omit = format.omit_empty_values;
    let text = |text: &str| {
        let format = Format::compile_with(text, formatters)?;
        Ok(Layout::Text(if omit { format.omit_empty() } else { format }))
    };
    match &format.format {
        None => default_layout(),
        Some(Substitution::TextFormat(format)) => text(format),
        Some(Substitution::JsonFormat(json)) => {
            Ok(Layout::Json(JsonFormat::compile(json, omit, formatters)?))
        }
        Some(Substitution::TextFormatSource(source)) => match &source.specifier {
            Some(Specifier::InlineString(format)) => text(format),
            Some(Specifier::InlineBytes(bytes)) => text(&String::from_utf8_lossy(bytes)),
            Some(Specifier::Filename(path)) => {
                text(&std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?)
            }
            _ => Err("text_format_source needs inline_string, inline_bytes or filename".to_owned()),
        },
    }
}

/// `formatters`: extensions that bring operators. Of Envoy's, those of metadata and of expressions are there without being listed.
pub(super) fn formatters(listed: &[TypedExtensionConfig]) -> Result<Formatters, String> {
    const BUILT_IN: [&str; 2] = [
        "type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel",
        "type.googleapis.com/envoy.extensions.formatter.metadata.v3.Metadata",
    ];
    const WITHOUT_QUERY: &str =
        "type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery";
    let mut formatters = Formatters::default();
    for formatter in listed {
        let url = formatter.typed_config.as_ref().map_or("", |any| any.type_url.as_str());
        match url {
            WITHOUT_QUERY => formatters.without_query = true,
            url if BUILT_IN.contains(&url) => {}
            _ => return Err(format!("access log formatter {} is not supported", formatter.name)),
        }
    }
    Ok(formatters)
}
