//! `envoy.config.accesslog.v3.AccessLog` to [`AccessLog`].
//!
//! Invariant: the error says which logger, format or filter cannot be used, and why.

use meltemi_xds::{
    pb::envoy::{
        config::{
            accesslog::v3::{AccessLog as Config, access_log::ConfigType},
            core::v3::{
                SubstitutionFormatString, data_source::Specifier,
                substitution_format_string::Format as Substitution,
            },
        },
        extensions::access_loggers::{
            file::v3::{FileAccessLog, file_access_log::AccessLogFormat as FileFormat},
            stream::v3::{
                StderrAccessLog, StdoutAccessLog, stderr_access_log::AccessLogFormat as StderrFormat,
                stdout_access_log::AccessLogFormat as StdoutFormat,
            },
        },
    },
    unpack,
};
use prost::Name;

use crate::access_log::{
    AccessLog, Layout, filter::Filter, format::Format, json::JsonFormat, sink::FileSink,
};

impl AccessLog {
    /// Compiles one configured log and opens its file.
    pub fn compile(config: &Config) -> Result<Self, String> {
        let filter = config.filter.as_ref().map(Filter::compile).transpose()?;
        let Some(ConfigType::TypedConfig(any)) = &config.config_type else {
            return Err(format!("access log {} has no typed_config", config.name));
        };
        let bad = |error: meltemi_xds::UnpackError| error.to_string();
        let (path, layout) = if any.type_url == FileAccessLog::type_url() {
            let file: FileAccessLog = unpack(any).map_err(bad)?;
            (file.path, file_layout(file.access_log_format.as_ref())?)
        } else if any.type_url == StdoutAccessLog::type_url() {
            let stream: StdoutAccessLog = unpack(any).map_err(bad)?;
            let format = stream.access_log_format.map(|StdoutFormat::LogFormat(format)| format);
            ("/dev/stdout".to_owned(), substitution(format.as_ref())?)
        } else if any.type_url == StderrAccessLog::type_url() {
            let stream: StderrAccessLog = unpack(any).map_err(bad)?;
            let format = stream.access_log_format.map(|StderrFormat::LogFormat(format)| format);
            ("/dev/stderr".to_owned(), substitution(format.as_ref())?)
        } else {
            return Err(format!("access logger {} ({}) is not supported", config.name, any.type_url));
        };
        let sink =
            FileSink::open(&path).map_err(|error| format!("cannot open access log {path}: {error}"))?;
        Ok(Self { filter, layout, sink })
    }
}

#[expect(deprecated, reason = "configurations in the field still use the older forms")]
fn file_layout(format: Option<&FileFormat>) -> Result<Layout, String> {
    match format {
        None => default_layout(),
        Some(FileFormat::Format(text)) => Ok(Layout::Text(Format::compile(text)?)),
        Some(FileFormat::JsonFormat(json) | FileFormat::TypedJsonFormat(json)) => {
            Ok(Layout::Json(JsonFormat::compile(json, false)?))
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
    if let Some(formatter) = format.formatters.first() {
        // Istio lists these two; their operators are among ours.
        let known = ["envoy.formatter.req_without_query", "envoy.formatter.metadata"];
        if !format.formatters.iter().all(|formatter| known.contains(&formatter.name.as_str())) {
            return Err(format!("access log formatter {} is not supported", formatter.name));
        }
    }
    let omit = format.omit_empty_values;
    let text = |text: &str| {
        let format = Format::compile(text)?;
        Ok(Layout::Text(if omit { format.omit_empty() } else { format }))
    };
    match &format.format {
        None => default_layout(),
        Some(Substitution::TextFormat(format)) => text(format),
        Some(Substitution::JsonFormat(json)) => Ok(Layout::Json(JsonFormat::compile(json, omit)?)),
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
