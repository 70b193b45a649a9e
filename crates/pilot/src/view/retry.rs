//! Retries of a route (SEM-036), and of routes to the workload (SEM-037).
//!
//! Beside Istio's settings there is one of ours, `retries: safe`: a request that is not idempotent is tried again only if the
//! application cannot have seen it. The annotation `meltemi.dev/retries` of a VirtualService says it (`safe`, `istio`), else
//! `MELTEMI_RETRIES` in the mesh's `defaultConfig.proxyMetadata`; istiod does not look at either.

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::virtual_service::HttpRetry;

use crate::model::route::Retry;

/// Conditions when nobody says any. There are no retriable codes among them: 503 is not retried by default.
const DEFAULT_CONDITIONS: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// Key of the mesh's `proxyMetadata`.
pub(super) const MESH_SETTING: &str = "MELTEMI_RETRIES";

/// What is tried again towards the workload: what it has not read.
const INBOUND_CONDITIONS: &str = "reset-before-request";
/// Tries after the first when nobody says how many.
const DEFAULT_ATTEMPTS: u32 = 2;

/// The retries of a route: its own, else the mesh's, else Istio's. `hashes`: the destination hashes, so the same host is
/// wanted again.
pub(super) fn retry(own: Option<&HttpRetry>, mesh: &MeshConfig, hashes: bool) -> Option<Retry> {
    let mesh = mesh.default_http_retry_policy.as_ref();
    let Some(settings) = own.or(mesh) else { return Some(default_retry(hashes)) };
    said(settings, hashes)
}

/// The retries towards the workload: the mesh's, else Istio's; none where gRPC is declared.
pub(super) fn inbound(mesh: &MeshConfig, grpc: bool) -> Option<Retry> {
    match &mesh.default_inbound_http_retry_policy {
        _ if grpc => None,
        Some(settings) => said(settings, true),
        None => Some(Retry { on: INBOUND_CONDITIONS.to_owned(), ..default_retry(true) }),
    }
}

fn said(settings: &HttpRetry, hashes: bool) -> Option<Retry> {
    let attempts = u32::try_from(settings.attempts).ok().filter(|attempts| *attempts > 0)?;
    let (on, codes) = conditions(settings.retry_on.as_deref());
    Some(Retry {
        on,
        attempts,
        codes,
        per_try_timeout: settings
            .per_try_timeout
            .map(|timeout| timeout.0)
            .filter(|timeout| !timeout.is_zero()),
        backoff: settings.backoff.map(|backoff| backoff.0),
        avoid_previous: settings.retry_ignore_previous_hosts.unwrap_or(!hashes),
        other_localities: settings.retry_remote_localities.unwrap_or(false),
        safe: false,
    })
}

fn default_retry(hashes: bool) -> Retry {
    Retry {
        on: DEFAULT_CONDITIONS.to_owned(),
        attempts: DEFAULT_ATTEMPTS,
        codes: Vec::new(),
        per_try_timeout: None,
        backoff: None,
        avoid_previous: !hashes,
        other_localities: false,
        safe: false,
    }
}

/// Envoy's conditions and, apart, the numbers among them, which are status codes (VS-091).
fn conditions(text: Option<&str>) -> (String, Vec<u32>) {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return (DEFAULT_CONDITIONS.to_owned(), Vec::new());
    };
    let mut words: Vec<&str> = Vec::new();
    let mut codes = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse::<u32>() {
            Ok(code) if (100..600).contains(&code) => codes.push(code),
            _ => words.push(word),
        }
    }
    if !codes.is_empty() && !words.contains(&"retriable-status-codes") {
        words.push("retriable-status-codes");
    }
    (words.join(","), codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_status_codes() {
        assert_eq!(conditions(Some("503,reset")), ("reset,retriable-status-codes".to_owned(), vec![503]));
        assert_eq!(conditions(None).0, DEFAULT_CONDITIONS);
    }

    #[test]
    fn zero_attempts_are_none() {
        assert_eq!(retry(Some(&HttpRetry::default()), &MeshConfig::default(), false), None);
        assert!(
            retry(None, &MeshConfig::default(), false)
                .is_some_and(|retry| retry.avoid_previous && retry.attempts == 2)
        );
    }
}
