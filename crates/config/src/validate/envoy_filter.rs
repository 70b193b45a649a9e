//! EnvoyFilter: what each patch is for, which objects it means, and that it says what to change.

use super::virtual_service::labels;
use super::{Check, Path, names};
use crate::networking::EnvoyFilter;
use crate::networking::envoy_filter::*;

pub(super) fn check(it: &EnvoyFilter, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(selector) = &it.workload_selector {
        let selector_at = at.key("workloadSelector");
        labels(&selector.labels, check, &selector_at.key("labels"));
        if !it.target_refs.is_empty() {
            check.error(&at.key("targetRefs"), "workloadSelector and targetRefs exclude each other");
        }
    }
    let patches = at.key("configPatches");
    for (index, entry) in it.config_patches.iter().enumerate() {
        let at = patches.index(index);
        if entry.apply_to == ApplyTo::Invalid {
            check.error_hint(&at.key("applyTo"), "`applyTo` is missing", "such as applyTo: HTTP_FILTER");
        }
        patch(entry.patch.as_ref(), check, &at);
        if let Some(matches) = &entry.matches {
            self::matches(entry.apply_to, matches, check, &at.key("match"));
        }
    }
}

fn patch(it: Option<&Patch>, check: &mut Check<'_>, at: &Path<'_>) {
    let Some(it) = it else { return check.error(at, "`patch` is missing") };
    let at = at.key("patch");
    if it.operation == PatchOperation::Invalid {
        check.error_hint(&at.key("operation"), "`operation` is missing", "such as operation: MERGE");
    } else if it.operation != PatchOperation::Remove && it.value.is_none() {
        check.error(&at.key("value"), format!("{} needs a value", it.operation));
    }
}

fn matches(apply_to: ApplyTo, it: &EnvoyConfigObjectMatch, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(version) = it.proxy.as_ref().and_then(|proxy| proxy.proxy_version.as_deref()) {
        let proxy = at.key("proxy");
        check.accept(&proxy.key("proxyVersion"), names::regex(version));
    }
    let given = match &it.object {
        None => return,
        Some(ObjectMatch::Listener(listener)) => {
            if let Some(filter) = listener.filter_chain.as_ref().and_then(|chain| chain.filter.as_ref())
                && filter.sub_filter.is_some()
                && filter.name.as_deref().unwrap_or_default().is_empty()
            {
                let (listener, chain) = (at.key("listener"), "filterChain");
                let chain = listener.key(chain);
                let hint = "name: envoy.filters.network.http_connection_manager";
                check.error_hint(&chain.key("filter"), "a subFilter wants the name of its filter", hint);
            }
            "listener"
        }
        Some(ObjectMatch::RouteConfiguration(_)) => "routeConfiguration",
        Some(ObjectMatch::Cluster(_)) => "cluster",
        Some(ObjectMatch::Waypoint(_)) => "waypoint",
    };
    // Waypoints have all kinds of objects.
    let Some(wanted) = object_of(apply_to).filter(|wanted| *wanted != given && given != "waypoint") else {
        return;
    };
    let message = format!("applyTo {apply_to} is matched by {wanted}, not by {given}");
    check.error_hint(&at.key(given), message, format!("write {wanted}: …"));
}

/// What a kind of object is matched by; None: by nothing that could be wrong.
fn object_of(apply_to: ApplyTo) -> Option<&'static str> {
    match apply_to {
        ApplyTo::Listener
        | ApplyTo::FilterChain
        | ApplyTo::NetworkFilter
        | ApplyTo::HttpFilter
        | ApplyTo::ListenerFilter => Some("listener"),
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => Some("routeConfiguration"),
        ApplyTo::Cluster => Some("cluster"),
        ApplyTo::Invalid | ApplyTo::ExtensionConfig | ApplyTo::Bootstrap => None,
    }
}
