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
const AFTER: [&str; 10] = [
    "5xx",
    "gateway-error",
    "reset",
    "retriable-4xx",
    "retriable-headers",
    "cancelled",
    "unavailable",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
];

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let settings = &mesh.settings.mesh;
    let default = settings.default_http_retry_policy.as_ref();
    // Istio's own default has `unavailable`, which a server says of its own accord too.
    let by_default = default.is_none_or(|policy| policy.attempts > 0 && after(policy).is_some());
    let careful = settings
        .default_config
        .as_ref()
        .is_some_and(|config| config.proxy_metadata.get(MESH_SETTING).is_some_and(|word| &**word == "safe"));
    for (object, service) in mesh.all::<VirtualService>() {
        // Our own setting: tried again only if the application cannot have seen it.
        if object.metadata.annotations.get(ANNOTATION).map_or(careful, |word| &**word == "safe") {
            continue;
        }
        for (index, rule) in service.http.iter().enumerate().filter(|(_, rule)| !rule.route.is_empty()) {
            let Some((number, method)) = unsafe_method(&rule.matches) else { continue };
            let shown = evidence::request(service, rule, None);
            let (path, text) = match &rule.retries {
                None if by_default => (
                    format!("spec.http[{index}].match[{number}].method"),
                    format!(
                        "{method} requests of this rule are retried up to twice by the default policy, also after the application may have seen them: {shown} can take effect more than once"
                    ),
                ),
                Some(policy) if policy.attempts > 0 => {
                    let Some(condition) = after(policy) else { continue };
                    let field = if policy.retry_on.is_some() { "retryOn" } else { "attempts" };
                    let times = if policy.attempts == 1 {
                        "once"
                    } else {
                        &format!("up to {} times", policy.attempts)
                    };
                    (
                        format!("spec.http[{index}].retries.{field}"),
                        format!(
                            "{method} requests of this rule are retried {times} on {condition}, also after the application may have seen them: {shown} can take effect more than once"
                        ),
                    )
                }
                _ => continue,
            };
            let hint = "annotate it with meltemi.dev/retries: safe, or set retries: {attempts: 0}";
            report.add(&RETRIED_UNSAFE, object, &path, text, hint);
        }
    }
}

/// What Istio retries on if nothing is said (SEM-036).
const BUILT_IN: &str = "connect-failure,refused-stream,unavailable,cancelled";

/// The first condition under which a policy repeats requests that may have had an effect. Numbers are status codes.
fn after(policy: &HttpRetry) -> Option<&str> {
    let conditions = policy.retry_on.as_deref().filter(|said| !said.is_empty()).unwrap_or(BUILT_IN);
    conditions.split(',').map(str::trim).find(|condition| {
        AFTER.contains(condition) || condition.parse::<u16>().is_ok_and(|status| status >= 100)
    })
}

fn unsafe_method(conditions: &[HttpMatchRequest]) -> Option<(usize, &str)> {
    conditions.iter().enumerate().find_map(|(index, condition)| match &condition.method {
        Some(StringMatch::Exact(method)) if UNSAFE.contains(&&**method) => Some((index, &**method)),
        _ => None,
    })
}
