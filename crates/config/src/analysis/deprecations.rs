//! Kinds that are no more, and fields that are ignored. Deprecated fields of single resources are found by validation.

use super::Analyzer;
use super::messages::DEPRECATED;
use super::report::Report;
use super::view::Mesh;
use crate::kubernetes::CustomResourceDefinition;
use crate::networking::Sidecar;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "deprecations",
    about: "kinds and fields that are deprecated",
    says: &[&DEPRECATED],
    run,
};

/// Kinds of `rbac.istio.io`, which AuthorizationPolicy has replaced.
const REMOVED: [&str; 4] = ["ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding"];

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, definition) in mesh.all::<CustomResourceDefinition>() {
        let kind = definition.spec.names.kind.as_deref().unwrap_or_default();
        if definition.spec.group.as_deref() == Some("rbac.istio.io") && REMOVED.contains(&kind) {
            let text = format!("Deprecated: Custom resource type rbac.istio.io {kind} is removed");
            report.add(
                &DEPRECATED,
                object,
                "spec.names.kind",
                text,
                "use AuthorizationPolicy of security.istio.io",
            );
        }
    }
    for (object, sidecar) in mesh.all::<Sidecar>() {
        let policy = sidecar.outbound_traffic_policy.as_ref();
        if policy.is_some_and(|policy| policy.egress_proxy.is_some()) {
            let text = "Deprecated: OutboundTrafficPolicy.EgressProxy ignored";
            let hint =
                "lead unknown traffic through an egress gateway with a ServiceEntry and a VirtualService";
            report.add(&DEPRECATED, object, "spec.outboundTrafficPolicy.egressProxy", text, hint);
        }
    }
}
