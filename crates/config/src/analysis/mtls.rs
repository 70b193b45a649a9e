//! Clients that send in the clear what servers take with mutual TLS only, and the reverse.

use super::Analyzer;
use super::messages::MTLS_CONFLICT;
use super::report::{Report, full_name};
use super::view::Mesh;
use crate::networking::DestinationRule;
use crate::networking::tls::ClientTlsMode;
use crate::security::{MutualTlsMode, PeerAuthentication};
use crate::{Labels, Object, Str, labels};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "mtls",
    about: "DestinationRules against PeerAuthentications",
    says: &[&MTLS_CONFLICT],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, rule) in mesh.all::<DestinationRule>() {
        let Some(tls) = rule.traffic_policy.as_ref().and_then(|policy| policy.tls.as_ref()) else { continue };
        let Some(service) = mesh.service(&rule.host, object.namespace(), &rule.export_to) else { continue };
        let mutual = tls.mode == ClientTlsMode::IstioMutual;
        let namespace = service.object.namespace();
        for member in mesh.endpoint_labels(service) {
            let Some((policy, mode)) = in_force(mesh, namespace, &member) else { continue };
            let conflict = match mode {
                MutualTlsMode::Strict => !mutual,
                MutualTlsMode::Disable => mutual,
                MutualTlsMode::Permissive | MutualTlsMode::Unset => false,
            };
            if !conflict {
                continue;
            }
            let text = format!(
                "A DestinationRule and Policy are in conflict with regards to mTLS for host {}. The DestinationRule {:?} specifies that mTLS must be {mutual} but the Policy object {:?} specifies {mode}. Every connection of a client under the rule is closed",
                service.host,
                full_name(object),
                full_name(policy)
            );
            let hint = match mode {
                MutualTlsMode::Strict => "drop tls from the rule: the mesh uses mutual TLS where servers do",
                _ => "drop tls from the rule, or let the policy be PERMISSIVE",
            };
            report.add(&MTLS_CONFLICT, object, "spec.trafficPolicy.tls.mode", text, hint);
            break;
        }
    }
}

/// The policy that decides for a workload, and what it says (SEM-084).
fn in_force<'a>(mesh: &Mesh<'a>, namespace: &Str, of: &Labels) -> Option<(&'a Object, MutualTlsMode)> {
    let root = &mesh.settings.root_namespace;
    let candidates = |wanted: &Str, selected: bool| {
        mesh.all_in::<PeerAuthentication>(wanted).filter(move |(_, policy)| {
            let selector = policy.selector.as_ref().map(|selector| &selector.match_labels);
            let selector = selector.filter(|selector| !selector.is_empty());
            match selector {
                Some(selector) => selected && labels::selects(selector, of),
                None => !selected,
            }
        })
    };
    // Ports may differ from the rest of the workload; those are left to the ones who know them.
    let said = |(object, policy): (&'a Object, &'a PeerAuthentication)| {
        let mode = policy.mtls.as_ref().map(|mtls| mtls.mode).unwrap_or_default();
        (mode != MutualTlsMode::Unset && policy.port_level_mtls.is_empty()).then_some((object, mode))
    };
    candidates(namespace, true)
        .chain(candidates(namespace, false))
        .chain(candidates(root, false))
        .find_map(said)
}
