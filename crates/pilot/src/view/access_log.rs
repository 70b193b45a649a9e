//! The access log of a mesh: off unless `accessLogFile` names a file (LOG-001…005).

use meltemi_config::Str;
use meltemi_config::mesh::{AccessLogEncoding, MeshConfig};

use crate::model::listener::{AccessLog, LogFormat};

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

/// The log that holds, if any.
pub(super) fn of(mesh: &MeshConfig) -> Option<AccessLog> {
    let path = mesh.access_log_file.clone().filter(|path| !path.is_empty())?;
    let custom = mesh.access_log_format.as_deref().filter(|format| !format.is_empty());
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => LogFormat::Text(text(custom)),
        AccessLogEncoding::Json => LogFormat::Json(custom.and_then(json).unwrap_or_else(default_json)),
    };
    Some(AccessLog { path, format })
}

/// A line, which ends in a line break whatever the format says.
fn text(custom: Option<&str>) -> Str {
    match custom {
        None => DEFAULT_TEXT.into(),
        Some(line) if line.ends_with('\n') => line.into(),
        Some(line) => format!("{line}\n").into(),
    }
}

fn default_json() -> Vec<(Str, Str)> {
    DEFAULT_JSON.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// A flat JSON object of formats; `None` if it is not one.
fn json(custom: &str) -> Option<Vec<(Str, Str)>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(custom).ok()?;
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut fields: Vec<(Str, Str)> =
        object.iter().map(|(name, value)| (name.as_str().into(), text(value).into())).collect();
    fields.sort();
    Some(fields)
}
