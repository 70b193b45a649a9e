//! The access logs of a proxy (LOG-001…006): as Telemetry resources say, else as the mesh's default providers, else the file
//! that the mesh names.
//!
//! Invariant: what is resolved depends on the mesh's settings, the Telemetry resources and the side alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::Str;
use meltemi_config::mesh::provider::{
    EnvoyFileAccessLogProvider, HttpGrpcLog, LogFormatKind, OtelLog, Provider, TcpGrpcLog,
};
use meltemi_config::mesh::{AccessLogEncoding, MeshConfig};
use meltemi_config::telemetry::{AccessLogging, Telemetry, WorkloadMode};

use crate::model::listener::{AccessLog, AccessLogs, GrpcLog, LogFormat, LogSink};
use crate::names;

/// Istio's default line (LOG-001).
const DEFAULT_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" \
%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Istio's default JSON keys (LOG-002), sorted.
const DEFAULT_JSON: [(&str, &str); 23] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
];

/// The provider that is there without being listed.
const ENVOY: &str = "envoy";
const STDOUT: &str = "/dev/stdout";

/// Which side of a call a log is of. Gateways are clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// From the workload.
    Client,
    /// To the workload.
    Server,
}

/// The logs that hold.
pub(super) fn of(mesh: &MeshConfig, resources: &[&Arc<Telemetry>], side: Side) -> AccessLogs {
    let Some(providers) = providers(mesh, resources, side) else {
        return of_mesh(mesh).into_iter().collect();
    };
    let known = providers.into_iter().filter_map(|(name, filter)| {
        let sink = sink(mesh, &name)?;
        Some(AccessLog { sink, filter })
    });
    known.collect()
}

/// The same for our proxies, which can say why they answered by themselves.
pub(super) fn for_meltemi(logs: &[AccessLog]) -> AccessLogs {
    logs.iter().map(with_reason).collect()
}

/// Names of providers that hold, each with its filter; `None`: nobody says anything about this side.
///
/// The resource closest to the workload that names any providers says which hold; one that names none speaks of those above it.
fn providers(
    mesh: &MeshConfig,
    resources: &[&Arc<Telemetry>],
    side: Side,
) -> Option<BTreeMap<Str, Option<Str>>> {
    let defaults = mesh.default_providers.as_ref().map_or(&[][..], |defaults| &defaults.access_logging);
    let mut said = !defaults.is_empty();
    let mut names: Vec<Str> = defaults.to_vec();
    let mut in_force: BTreeMap<Str, Option<Str>> = names.iter().map(|name| (name.clone(), None)).collect();
    for resource in resources {
        let entries: Vec<&AccessLogging> =
            resource.access_logging.iter().filter(|entry| is_of(entry, side)).collect();
        let named: Vec<Str> = entries.iter().flat_map(|entry| providers_of(entry)).collect();
        if !named.is_empty() {
            in_force.retain(|name, _| named.contains(name));
            names = named;
        }
        for entry in entries {
            said = true;
            let own: Vec<Str> = providers_of(entry).collect();
            for name in if own.is_empty() { names.clone() } else { own } {
                match entry.disabled {
                    Some(true) => in_force.remove(&name),
                    _ => in_force.insert(name, expression(entry)),
                };
            }
        }
    }
    said.then_some(in_force)
}

fn providers_of(entry: &AccessLogging) -> impl Iterator<Item = Str> + '_ {
    entry.providers.iter().map(|provider| provider.name.clone())
}

fn expression(entry: &AccessLogging) -> Option<Str> {
    entry.filter.as_ref()?.expression.clone().filter(|expression| !expression.is_empty())
}

fn is_of(entry: &AccessLogging, side: Side) -> bool {
    match entry.matches.as_ref().map(|selector| selector.mode).unwrap_or_default() {
        WorkloadMode::Undefined | WorkloadMode::ClientAndServer => true,
        WorkloadMode::Client => side == Side::Client,
        WorkloadMode::Server => side == Side::Server,
    }
}

/// The file that the mesh names.
fn of_mesh(mesh: &MeshConfig) -> Option<AccessLog> {
    let path = mesh.access_log_file.clone().filter(|path| !path.is_empty())?;
    let custom = mesh.access_log_format.as_deref().filter(|format| !format.is_empty());
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => LogFormat::Text(text(custom)),
        AccessLogEncoding::Json => LogFormat::Json(custom.and_then(json).unwrap_or_else(default_json)),
    };
    Some(AccessLog { sink: LogSink::File { path, format, omit_empty: false }, filter: None })
}

/// Where a provider of that name writes to; `None`: it is not there, or it is for something else.
fn sink(mesh: &MeshConfig, name: &str) -> Option<LogSink> {
    let Some(known) = mesh.extension_providers.iter().find(|provider| &*provider.name == name) else {
        let stdout = EnvoyFileAccessLogProvider::default();
        return (name == ENVOY).then(|| file(&stdout));
    };
    Some(match known.provider.as_ref()? {
        Provider::EnvoyFileAccessLog(provider) => file(provider),
        Provider::EnvoyHttpAls(provider) => LogSink::HttpGrpc(http_grpc(provider)),
        Provider::EnvoyTcpAls(provider) => LogSink::TcpGrpc(tcp_grpc(provider)),
        Provider::EnvoyOtelAls(provider) => otel(provider),
        _ => return None,
    })
}

fn file(provider: &EnvoyFileAccessLogProvider) -> LogSink {
    let path = provider.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| STDOUT.into());
    let format = match provider.log_format.as_ref().and_then(|format| format.format.as_ref()) {
        None => LogFormat::Text(text(None)),
        Some(LogFormatKind::Text(line)) => {
            LogFormat::Text(text(Some(line).filter(|line| !line.is_empty()).map(|line| &**line)))
        }
        Some(LogFormatKind::Labels(labels)) => LogFormat::Json(object(labels).unwrap_or_else(default_json)),
    };
    LogSink::File { path, format, omit_empty: provider.omit_empty_values }
}

fn http_grpc(provider: &HttpGrpcLog) -> GrpcLog {
    GrpcLog {
        request_headers: provider.additional_request_headers_to_log.clone(),
        response_headers: provider.additional_response_headers_to_log.clone(),
        response_trailers: provider.additional_response_trailers_to_log.clone(),
        state: provider.filter_state_objects_to_log.clone(),
        ..grpc(provider.log_name.as_ref(), "http_envoy_accesslog", (&provider.service, provider.port))
    }
}

fn tcp_grpc(provider: &TcpGrpcLog) -> GrpcLog {
    GrpcLog {
        state: provider.filter_state_objects_to_log.clone(),
        ..grpc(provider.log_name.as_ref(), "tcp_envoy_accesslog", (&provider.service, provider.port))
    }
}

fn otel(provider: &OtelLog) -> LogSink {
    let format = provider.log_format.as_ref();
    let line = format.and_then(|format| format.text.as_deref()).filter(|line| !line.is_empty());
    LogSink::OpenTelemetry {
        service: grpc(provider.log_name.as_ref(), "otel_envoy_accesslog", (&provider.service, provider.port)),
        body: text(line),
        attributes: format.and_then(|format| object(format.labels.as_ref()?)),
    }
}

/// The service of a provider is `[namespace/]host`.
fn grpc(name: Option<&Str>, default: &str, (service, port): (&Str, u32)) -> GrpcLog {
    let host = service.rsplit_once('/').map_or(&**service, |(_, host)| host);
    GrpcLog {
        name: name.filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| default.into()),
        cluster: names::outbound_cluster(port, "", host),
        authority: host.into(),
        state: Vec::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        response_trailers: Vec::new(),
    }
}

/// A file's log of Istio's default form with one more field at the end, for proxies that can fill it: why they answered by
/// themselves. Forms that somebody wrote stay as they are.
fn with_reason(log: &AccessLog) -> AccessLog {
    const REASON: &str = "%LOCAL_REPLY_REASON%";
    let mut log = log.clone();
    if let LogSink::File { format, .. } = &mut log.sink {
        match format {
            LogFormat::Text(line) if **line == *DEFAULT_TEXT => {
                *line = format!("{} \"{REASON}\"\n", line.trim_end()).into();
            }
            LogFormat::Json(fields) if *fields == default_json() => {
                *fields = as_json(DEFAULT_JSON.iter().chain(&[("local_reply_reason", REASON)]));
            }
            LogFormat::Text(_) | LogFormat::Json(_) => {}
        }
    }
    log
}

/// A line, which ends in a line break whatever the format says.
fn text(custom: Option<&str>) -> Str {
    match custom {
        None => DEFAULT_TEXT.into(),
        Some(line) if line.ends_with('\n') => line.into(),
        Some(line) => format!("{line}\n").into(),
    }
}

fn default_json() -> Str {
    as_json(DEFAULT_JSON.iter())
}

fn as_json<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Str {
    let fields: serde_json::Map<String, serde_json::Value> =
        fields.map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    serde_json::Value::Object(fields).to_string().into()
}

/// A JSON object of formats; `None` if it is not one.
fn json(custom: &str) -> Option<Str> {
    object(&serde_json::from_str(custom).ok()?)
}

/// An object that is not empty.
fn object(value: &serde_json::Value) -> Option<Str> {
    value.as_object().filter(|fields| !fields.is_empty()).map(|_| value.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_added_to_default_forms_only() {
        let log = |config: &str| {
            let (mesh, _) = meltemi_config::load::mesh_config("settings.yaml", config);
            let logs = for_meltemi(&of(&mesh, &[], Side::Client));
            match &logs[0].sink {
                LogSink::File { format: LogFormat::Text(text) | LogFormat::Json(text), .. } => {
                    text.to_string()
                }
                other => panic!("{other:?}"),
            }
        };
        let line = log("accessLogFile: /dev/stdout");
        assert!(line.ends_with("%ROUTE_NAME% \"%LOCAL_REPLY_REASON%\"\n"), "{line}");
        let fields = log("{accessLogFile: /dev/stdout, accessLogEncoding: JSON}");
        assert!(fields.contains("\"local_reply_reason\":\"%LOCAL_REPLY_REASON%\""), "{fields}");
        assert_eq!(log("{accessLogFile: /dev/stdout, accessLogFormat: x}"), "x\n");
    }
}
