//! AuthorizationPolicies that nobody is under, and that name what does not exist.

use super::Analyzer;
use super::messages::{NO_MATCHING_WORKLOADS, REFERENCED_RESOURCE_NOT_FOUND, UNKNOWN_PROVIDER};
use super::report::{Report, selector_text};
use super::view::Mesh;
use crate::security::{ActionDetail, AuthorizationPolicy};
use crate::{Labels, Object};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "authorization",
    about: "workloads and namespaces of AuthorizationPolicies",
    says: &[&NO_MATCHING_WORKLOADS, &REFERENCED_RESOURCE_NOT_FOUND, &UNKNOWN_PROVIDER],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, policy) in mesh.all::<AuthorizationPolicy>() {
        if policy.target_ref.is_none() && policy.target_refs.is_empty() {
            workloads(mesh, object, policy, report);
        }
        namespaces(mesh, object, policy, report);
        provider(mesh, object, policy, report);
    }
}

fn workloads(mesh: &Mesh<'_>, object: &Object, policy: &AuthorizationPolicy, report: &mut Report) {
    let mesh_wide = *object.namespace() == mesh.settings.root_namespace;
    let none = Labels::new();
    let selector = policy.selector.as_ref().map(|selector| &selector.match_labels);
    if mesh_wide && selector.is_none() {
        return;
    }
    let wanted = selector.unwrap_or(&none);
    let namespace = (!mesh_wide).then(|| object.namespace());
    if !mesh.selected(wanted, namespace).any(|workload| workload.in_mesh) {
        let text = format!(
            "No matching workloads for this resource with the following labels: {}",
            selector_text(wanted)
        );
        let path = if selector.is_some() { "spec.selector" } else { "metadata.name" };
        let hint = "the policy has no effect: correct the labels or the namespace, or drop it";
        report.add(&NO_MATCHING_WORKLOADS, object, path, text, hint);
    }
}

fn namespaces(mesh: &Mesh<'_>, object: &Object, policy: &AuthorizationPolicy, report: &mut Report) {
    for (rule, content) in policy.rules.iter().enumerate() {
        for (from, source) in content.from.iter().enumerate() {
            let Some(source) = &source.source else { continue };
            for (field, list) in
                [("namespaces", &source.namespaces), ("notNamespaces", &source.not_namespaces)]
            {
                for (index, wanted) in list.iter().enumerate() {
                    if mesh.namespace_names().any(|name| matches(wanted, name)) {
                        continue;
                    }
                    let text = format!(
                        "Referenced namespace not found: {wanted:?}: no request comes from there, so this part of the rule {}",
                        if field == "namespaces" { "never holds" } else { "always holds" }
                    );
                    let path = format!("spec.rules[{rule}].from[{from}].source.{field}[{index}]");
                    let hint = "correct the name, or create the Namespace";
                    report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &path, text, hint);
                }
            }
        }
    }
}

/// Whether a pattern means a namespace: `*`, `prefix*`, `*suffix`, or `*` anywhere (SEM-105).
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let middle: Vec<&str> = parts.collect();
    let Some((last, middle)) = middle.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn provider(mesh: &Mesh<'_>, object: &Object, policy: &AuthorizationPolicy, report: &mut Report) {
    let Some(ActionDetail::Provider(provider)) = &policy.action_detail else { return };
    let Some(name) = &provider.name else { return };
    let known = &mesh.settings.mesh.extension_providers;
    if !known.iter().any(|provider| provider.name == *name) {
        let text = format!(
            "Provider {name} is not defined in the mesh's extensionProviders: every request under this policy is denied"
        );
        let names: Vec<&str> = known.iter().map(|provider| &*provider.name).collect();
        let hint = match crate::text::closest(name, &names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "define it in MeshConfig, and give that with --mesh-config".to_owned(),
        };
        report.add(&UNKNOWN_PROVIDER, object, "spec.provider.name", text, hint);
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn namespaces_are_matched_with_stars() {
        for (pattern, name, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*", "x", true),
            ("a*c", "abc", true),
            ("a*c", "abd", false),
            ("a*b*c", "a-b-c", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
