//! Requests that must not be sent twice and would be, by the default retry policy (SEM-036).

use super::Analyzer;
use super::evidence;
use super::messages::RETRIED_UNSAFE;
use super::report::Report;
use super::view::Mesh;
use crate::networking::VirtualService;
use crate::networking::virtual_service::{HttpMatchRequest, HttpRetry, StringMatch};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "retries",
    about: "rules for methods that are not idempotent, under default retries",
    says: &[&RETRIED_UNSAFE],
    run,
};

/// Methods that RFC 9110 does not call idempotent.
const UNSAFE: [&str; 2] = ["POST", "PATCH"];

/// Where `retries: safe` is said: the mesh's `defaultConfig.proxyMetadata`, and an annotation of VirtualServices.
const MESH_SETTING: &str = "MELTEMI_RETRIES";
const ANNOTATION: &str = "meltemi.dev/retries";

/// Conditions under which a proxy cannot know that the application never saw the request.
const AFTER: [&str; 7] =
    ["5xx", "gateway-error", "reset", "retriable-status-codes", "cancelled", "unavailable", "retriable-4xx"];

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let default = mesh.settings.mesh.default_http_retry_policy.as_ref();
    if default.is_some_and(|policy| !repeats(policy)) {
        return;
    }
    let careful =
        mesh.settings.mesh.default_config.as_ref().is_some_and(|config| {
            config.proxy_metadata.get(MESH_SETTING).is_some_and(|word| &**word == "safe")
        });
    for (object, service) in mesh.all::<VirtualService>() {
        // Our own setting: tried again only if the application cannot have seen it.
        if object.metadata.annotations.get(ANNOTATION).map_or(careful, |word| &**word == "safe") {
            continue;
        }
        for (index, rule) in service.http.iter().enumerate() {
            // Who says something about retries has thought of them.
            if rule.retries.is_some() || rule.route.is_empty() {
                continue;
            }
            let Some((number, method)) = unsafe_method(&rule.matches) else { continue };
            let text = format!(
                "{method} requests of this rule are retried up to twice by the default policy, also after the application may have seen them: {} can take effect more than once",
                evidence::request(service, rule, None)
            );
            let path = format!("spec.http[{index}].match[{number}].method");
            let hint = "annotate it with meltemi.dev/retries: safe, or set retries: {attempts: 0}";
            report.add(&RETRIED_UNSAFE, object, &path, text, hint);
        }
    }
}

fn unsafe_method(conditions: &[HttpMatchRequest]) -> Option<(usize, &str)> {
    conditions.iter().enumerate().find_map(|(index, condition)| match &condition.method {
        Some(StringMatch::Exact(method)) if UNSAFE.contains(&&**method) => Some((index, &**method)),
        _ => None,
    })
}

/// Whether a policy repeats requests that may have had an effect.
fn repeats(policy: &HttpRetry) -> bool {
    let conditions = policy.retry_on.as_deref().unwrap_or("unavailable");
    policy.attempts > 0 && conditions.split(',').any(|condition| AFTER.contains(&condition.trim()))
}
