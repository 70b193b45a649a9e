//! Security kinds, and what they share with others: what a policy is attached to.

use super::names;
use super::virtual_service::labels;
use super::{Check, Path};
use crate::labels::TypeSelector;
use crate::security::*;
use crate::text;

fn selector(it: &Option<TypeSelector>, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(selector) = it {
        let at = at.key("selector");
        labels(&selector.match_labels, check, &at.key("matchLabels"));
    }
}

/// selector, targetRef and targetRefs exclude each other.
pub(super) fn attachment(
    selected: &Option<TypeSelector>,
    old: &Option<PolicyTargetReference>,
    references: &[PolicyTargetReference],
    check: &mut Check<'_>,
    at: &Path<'_>,
) {
    selector(selected, check, at);
    let given = [
        ("selector", selected.is_some()),
        ("targetRef", old.is_some()),
        ("targetRefs", !references.is_empty()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if let [first, others @ ..] = &given[..] {
        for other in others {
            check.error(&at.key(other), format!("{first} and {other} exclude each other"));
        }
    }
}

pub(super) fn peer_authentication(it: &PeerAuthentication, check: &mut Check<'_>, at: &Path<'_>) {
    selector(&it.selector, check, at);
    let ports = at.key("portLevelMtls");
    let selects = it.selector.as_ref().is_some_and(|selector| !selector.match_labels.is_empty());
    if !it.port_level_mtls.is_empty() && !selects {
        check.error_hint(&ports, "portLevelMtls is for selected workloads", "add selector: {matchLabels: …}");
    }
    for number in it.port_level_mtls.keys() {
        check.accept(&ports.key(&number.to_string()), names::port(*number));
    }
}

pub(super) fn request_authentication(it: &RequestAuthentication, check: &mut Check<'_>, at: &Path<'_>) {
    attachment(&it.selector, &it.target_ref, &it.target_refs, check, at);
    let rules = at.key("jwtRules");
    for (index, rule) in it.jwt_rules.iter().enumerate() {
        let at = rules.index(index);
        if rule.issuer.is_none() && rule.jwks_uri.is_none() {
            check.error(&at, "`issuer` is missing");
        }
        if rule.jwks_uri.is_some() && rule.jwks.is_some() {
            check.error(&at.key("jwks"), "jwks and jwksUri exclude each other");
        }
        if let Some(uri) = rule.jwks_uri.as_deref() {
            let host = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
                let message = format!("{} is not a URL", text::quoted(uri));
                check.error_hint(&at.key("jwksUri"), message, "https://…");
            }
        }
        if let Some(timeout) = rule.timeout {
            check.accept(&at.key("timeout"), names::duration(timeout));
        }
    }
}

pub(super) fn authorization(it: &AuthorizationPolicy, check: &mut Check<'_>, at: &Path<'_>) {
    attachment(&it.selector, &it.target_ref, &it.target_refs, check, at);
    let provider = it.action_detail.is_some();
    match it.action {
        AuthorizationAction::Custom if !provider => {
            check.error(&at.key("provider"), "CUSTOM needs a provider")
        }
        AuthorizationAction::Custom => {}
        action if provider => {
            check.error(&at.key("provider"), format!("a provider goes with CUSTOM, not {action}"))
        }
        _ => {}
    }
    let rules = at.key("rules");
    for (index, rule) in it.rules.iter().enumerate() {
        let at = rules.index(index);
        let from = at.key("from");
        for (number, part) in rule.from.iter().enumerate() {
            let at = from.index(number);
            match &part.source {
                None => check.error(&at, "`source` is missing"),
                Some(source) if *source == Source::default() => {
                    check.error_hint(
                        &at.key("source"),
                        "`source` is empty",
                        "for any source, leave out `from`",
                    );
                }
                Some(source) => self::source(source, check, &at.key("source")),
            }
        }
        let to = at.key("to");
        for (number, part) in rule.to.iter().enumerate() {
            let at = to.index(number);
            match &part.operation {
                None => check.error(&at, "`operation` is missing"),
                Some(operation) if *operation == Operation::default() => {
                    check.error_hint(
                        &at.key("operation"),
                        "`operation` is empty",
                        "for any operation, leave out `to`",
                    );
                }
                Some(operation) => self::operation(operation, check, &at.key("operation")),
            }
        }
        let when = at.key("when");
        for (number, condition) in rule.when.iter().enumerate() {
            self::condition(condition, check, &when.index(number));
        }
    }
}

fn source(it: &Source, check: &mut Check<'_>, at: &Path<'_>) {
    let blocks = [
        ("ipBlocks", &it.ip_blocks),
        ("notIpBlocks", &it.not_ip_blocks),
        ("remoteIpBlocks", &it.remote_ip_blocks),
        ("notRemoteIpBlocks", &it.not_remote_ip_blocks),
    ];
    for (name, list) in blocks {
        let field = at.key(name);
        for (index, block) in list.iter().enumerate() {
            check.accept(&field.index(index), names::subnet(block));
        }
    }
    let accounts = !it.service_accounts.is_empty() || !it.not_service_accounts.is_empty();
    let others = [&it.principals, &it.not_principals, &it.namespaces, &it.not_namespaces];
    if accounts && others.iter().any(|list| !list.is_empty()) {
        check.error(&at.key("serviceAccounts"), "serviceAccounts excludes principals and namespaces");
    }
}

fn operation(it: &Operation, check: &mut Check<'_>, at: &Path<'_>) {
    for (name, list) in [("ports", &it.ports), ("notPorts", &it.not_ports)] {
        let field = at.key(name);
        for (index, port) in list.iter().enumerate() {
            let result = names::port(port.parse().unwrap_or(0));
            check.accept(&field.index(index), result);
        }
    }
    for (name, list) in [("paths", &it.paths), ("notPaths", &it.not_paths)] {
        let field = at.key(name);
        for (index, path) in list.iter().enumerate() {
            if (path.contains("{*}") || path.contains("{**}"))
                && path.replace("{**}", "").replace("{*}", "").contains('*')
            {
                check.error(&field.index(index), "a path with {*} or {**} must not have other `*`");
            }
        }
    }
}

/// Attributes of conditions (AP-039).
const ATTRIBUTES: [&str; 14] = [
    "request.headers",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

fn condition(it: &Condition, check: &mut Check<'_>, at: &Path<'_>) {
    let plain = it.key.split('[').next().unwrap_or_default();
    if !it.key.is_empty()
        && !ATTRIBUTES.contains(&plain)
        && !it.key.starts_with("experimental.envoy.filters.")
    {
        let hint = match text::closest(plain, &ATTRIBUTES) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => ATTRIBUTES.join(", "),
        };
        check.error_hint(&at.key("key"), format!("{} is not an attribute", text::quoted(&it.key)), hint);
    }
    if it.values.is_empty() && it.not_values.is_empty() {
        check.error(at, "one of values or notValues must be given");
    }
}
