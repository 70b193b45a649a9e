//! EnvoyFilter patches that have no effect, or one that depends on what else there is.

use super::Analyzer;
use super::messages::*;
use super::report::Report;
use super::view::Mesh;
use crate::networking::envoy_filter::*;
use crate::security::{AuthorizationPolicy, PolicyTargetReference};
use crate::{Object, Str};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "envoy-filters",
    about: "operations of EnvoyFilter patches",
    says: &[
        &RELATIVE_OPERATION,
        &REPLACE_OPERATION,
        &ADD_OPERATION,
        &REMOVE_OPERATION,
        &RELATIVE_OPERATION_VERSION,
        &ROUTE_CACHE,
    ],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let mut versioned: Vec<Str> = Vec::new();
    for (object, filter) in mesh.all::<EnvoyFilter>() {
        patches(object, filter, &mut versioned, report);
    }
    if mesh.all::<AuthorizationPolicy>().any(|(_, policy)| by_route(policy)) {
        for (object, filter) in mesh.all::<EnvoyFilter>() {
            route_cache(object, filter, report);
        }
    }
}

/// `versioned`: names that patches before were for some versions of the proxy only.
fn patches(object: &Object, filter: &EnvoyFilter, versioned: &mut Vec<Str>, report: &mut Report) {
    for (index, config) in filter.config_patches.iter().enumerate() {
        let Some(patch) = &config.patch else { return };
        let name = patched_name(config, patch);
        if let Some(message) =
            fault(config.apply_to, patch.operation, filter.priority, versioned.contains(&name))
        {
            let hint = match message.code {
                "IST0151" | "IST0155" => "set spec.priority, or use INSERT_FIRST or ADD",
                "IST0152" => "use MERGE here, or applyTo: HTTP_FILTER or NETWORK_FILTER",
                _ => "use MERGE on the part above, such as VIRTUAL_HOST",
            };
            report.add(message, object, &format!("spec.configPatches[{index}]"), message.begins, hint);
        }
        let proxy = config.matches.as_ref().and_then(|matches| matches.proxy.as_ref());
        if proxy.is_some_and(|proxy| proxy.proxy_version.is_some()) {
            versioned.push(name);
        }
    }
}

fn fault(to: ApplyTo, operation: PatchOperation, priority: i32, versioned: bool) -> Option<&'static Message> {
    let routes = matches!(to, ApplyTo::RouteConfiguration | ApplyTo::HttpRoute);
    let relative = match operation {
        PatchOperation::Add if routes => return Some(&ADD_OPERATION),
        PatchOperation::Remove if routes => return Some(&REMOVE_OPERATION),
        PatchOperation::Replace if !matches!(to, ApplyTo::HttpFilter | ApplyTo::NetworkFilter) => {
            return Some(&REPLACE_OPERATION);
        }
        PatchOperation::Remove
        | PatchOperation::Replace
        | PatchOperation::InsertBefore
        | PatchOperation::InsertAfter => true,
        _ => false,
    };
    match (relative && priority == 0, versioned) {
        (false, _) => None,
        (true, false) => Some(&RELATIVE_OPERATION),
        (true, true) => Some(&RELATIVE_OPERATION_VERSION),
    }
}

/// The name of what is patched: the value's, else that of the filter the match finds.
fn patched_name(config: &EnvoyConfigObjectPatch, patch: &Patch) -> Str {
    let Some(value) = &patch.value else { return "".into() };
    if let Some(name) = value.get("name").and_then(|name| name.as_str()) {
        return name.into();
    }
    let object = config.matches.as_ref().and_then(|matches| matches.object.as_ref());
    let Some(ObjectMatch::Listener(listener)) = object else { return "".into() };
    let filter = listener.filter_chain.as_ref().and_then(|chain| chain.filter.as_ref());
    filter.and_then(|filter| filter.name.clone()).unwrap_or_default()
}

/// Whether a policy is for HTTPRoutes.
fn by_route(policy: &AuthorizationPolicy) -> bool {
    let is_route = |target: &PolicyTargetReference| {
        &*target.kind == "HTTPRoute" && target.group.as_deref() == Some("gateway.networking.k8s.io")
    };
    policy.target_ref.iter().chain(&policy.target_refs).any(is_route)
}

fn route_cache(object: &Object, filter: &EnvoyFilter, report: &mut Report) {
    let at = filter.config_patches.iter().position(|config| {
        let context = config.matches.as_ref().map(|matches| matches.context).unwrap_or_default();
        config.apply_to == ApplyTo::HttpFilter
            && !matches!(context, PatchContext::SidecarInbound | PatchContext::SidecarOutbound)
    });
    if let Some(index) = at {
        let hint = "see that the filter does not change the route of a request, or do not aim policies at HTTPRoutes";
        report.add(&ROUTE_CACHE, object, &format!("spec.configPatches[{index}]"), ROUTE_CACHE.begins, hint);
    }
}
