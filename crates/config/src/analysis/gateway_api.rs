//! Kubernetes' Gateway API: versions of its kinds, policies that select its gateways by label.

use std::collections::BTreeSet;

use super::Analyzer;
use super::messages::*;
use super::report::Report;
use super::view::Mesh;
use crate::extensions::WasmPlugin;
use crate::kubernetes::CustomResourceDefinition;
use crate::labels::TypeSelector;
use crate::security::{AuthorizationPolicy, PolicyTargetReference, RequestAuthentication};
use crate::telemetry::Telemetry;
use crate::{Kind, Object, Str};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "gateway-api",
    about: "versions of Gateway API kinds; policies for Kubernetes Gateways",
    says: &[&UNSUPPORTED_GATEWAY_API, &INEFFECTIVE_SELECTOR, &FUTURE_GATEWAY_API, &GATEWAY_API_BELOW_MINIMUM],
    run,
};

const GROUP: &str = "gateway.networking.k8s.io";
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";

/// Releases before which a kind meant something else.
const MINIMUM: [(&str, (u64, u64, u64)); 3] = [
    ("grpcroutes.gateway.networking.k8s.io", (1, 1, 0)),
    ("backendtlspolicies.gateway.networking.k8s.io", (1, 4, 0)),
    ("tlsroutes.gateway.networking.k8s.io", (1, 5, 0)),
];

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, definition) in mesh.all::<CustomResourceDefinition>() {
        if definition.spec.group.as_deref() == Some(GROUP) {
            served(object, definition, report);
            released(object, report);
        }
    }
    for (object, spec) in mesh.all::<AuthorizationPolicy>() {
        selector(mesh, object, &spec.selector, (&spec.target_ref, &spec.target_refs), report);
    }
    for (object, spec) in mesh.all::<RequestAuthentication>() {
        selector(mesh, object, &spec.selector, (&spec.target_ref, &spec.target_refs), report);
    }
    for (object, spec) in mesh.all::<Telemetry>() {
        selector(mesh, object, &spec.selector, (&spec.target_ref, &spec.target_refs), report);
    }
    for (object, spec) in mesh.all::<WasmPlugin>() {
        selector(mesh, object, &spec.selector, (&spec.target_ref, &spec.target_refs), report);
    }
}

fn served(object: &Object, definition: &CustomResourceDefinition, report: &mut Report) {
    const HINT: &str = "upgrade the Gateway API CRDs: https://gateway-api.sigs.k8s.io/guides/";
    let versions: Vec<&str> = definition
        .spec
        .versions
        .iter()
        .filter(|version| version.served)
        .map(|version| &*version.name)
        .collect();
    let Some(newest) = versions.iter().max_by_key(|version| rank(version)) else { return };
    let kind = definition.spec.names.kind.as_deref().unwrap_or_default();
    let needed = matches!(kind, "Gateway" | "GatewayClass" | "HTTPRoute" | "ReferenceGrant");
    let needed_later = matches!(kind, "Gateway" | "GatewayClass" | "HTTPRoute" | "GRPCRoute");
    let text = |minimum: &str| {
        format!("The Gateway API CRD version {newest} is lower than the minimum version: {minimum}")
    };
    if needed && rank(newest) < rank("v1beta1") {
        report.add(&UNSUPPORTED_GATEWAY_API, object, "spec.versions", text("v1beta1"), HINT);
    } else if needed_later && rank(newest) < rank("v1") {
        report.add(&FUTURE_GATEWAY_API, object, "spec.versions", text("v1"), HINT);
    }
}

/// Orders `v1alpha2`, `v1beta1`, `v1`.
fn rank(version: &str) -> (u32, u32, u32) {
    let rest = version.trim_start_matches('v');
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, stage) = rest.split_at(digits);
    let (stage, minor) = match stage {
        "" => (2, 0),
        _ => stage
            .strip_prefix("beta")
            .map_or_else(|| (0, number(stage.trim_start_matches("alpha"))), |minor| (1, number(minor))),
    };
    (number(major), stage, minor)
}

fn released(object: &Object, report: &mut Report) {
    let Some((name, minimum)) = MINIMUM.iter().find(|(name, _)| **object.name() == **name) else { return };
    let Some(release) = object.metadata.annotations.get(BUNDLE_VERSION) else { return };
    let plain = release.trim_start_matches('v');
    let mut parts =
        plain.split('-').next().unwrap_or_default().split('.').map(|part| part.parse::<u64>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else { return };
    let patch = parts.next().flatten().unwrap_or(0);
    if (major, minor, patch) < *minimum {
        let wanted = format!("{}.{}.{}", minimum.0, minimum.1, minimum.2);
        let text = format!(
            "Gateway API CRD {name:?} is at version {plain:?} but Istio requires at least {wanted:?}; resources of this kind will not be processed. Upgrade the Gateway API CRDs to satisfy the minimum version."
        );
        let path = format!("metadata.annotations[{BUNDLE_VERSION:?}]");
        report.add(
            &GATEWAY_API_BELOW_MINIMUM,
            object,
            &path,
            text,
            "https://gateway-api.sigs.k8s.io/guides/",
        );
    }
}

fn selector(
    mesh: &Mesh<'_>,
    object: &Object,
    selector: &Option<TypeSelector>,
    (target, targets): (&Option<PolicyTargetReference>, &[PolicyTargetReference]),
    report: &mut Report,
) {
    let Some(selector) = selector.as_ref().filter(|_| target.is_none() && targets.is_empty()) else { return };
    let workloads = mesh.selected(&selector.match_labels, Some(object.namespace()));
    let pods = workloads.filter(|workload| workload.object.kind == Kind::Pod);
    let gateways: BTreeSet<&Str> = pods.filter_map(|pod| pod.object.labels().get(GATEWAY_NAME)).collect();
    for gateway in gateways {
        let text =
            format!("Ineffective selector on Kubernetes Gateway {gateway}. Use the TargetRef field instead.");
        let hint = format!("targetRefs: [{{group: {GROUP}, kind: Gateway, name: {gateway}}}]");
        report.add(&INEFFECTIVE_SELECTOR, object, "spec.selector", text, hint);
    }
}
