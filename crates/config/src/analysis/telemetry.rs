//! Telemetries without a provider, with one that does not exist, or in each other's way.

use super::Analyzer;
use super::messages::*;
use super::report::{Report, go_list};
use super::sidecars::{each_conflict, each_namespace};
use super::view::Mesh;
use crate::telemetry::{ProviderRef, Telemetry};
use crate::{Labels, Object};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "telemetry",
    about: "providers and workloads of Telemetries",
    says: &[
        &INVALID_TELEMETRY_PROVIDER,
        &CONFLICTING_TELEMETRY_SELECTORS,
        &MULTIPLE_TELEMETRIES,
        &UNKNOWN_PROVIDER,
    ],
    run,
};

/// Providers that every mesh has.
const BUILT_IN: [&str; 4] = ["prometheus", "stackdriver", "envoy", "otel"];

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let mut selecting: Vec<(&Object, &Labels)> = Vec::new();
    let mut whole: Vec<&Object> = Vec::new();
    for (object, telemetry) in mesh.all::<Telemetry>() {
        providers(mesh, object, telemetry, report);
        if telemetry.target_ref.is_some() || !telemetry.target_refs.is_empty() {
            continue;
        }
        match telemetry.selector.as_ref().filter(|selector| !selector.match_labels.is_empty()) {
            Some(selector) => selecting.push((object, &selector.match_labels)),
            None => whole.push(object),
        }
    }
    each_conflict(mesh, &selecting, |object, names, namespace, pod| {
        let text = format!(
            "The Telemetries {} in namespace {:?} select the same workload pod {:?}, which can lead to undefined behavior.",
            go_list(names),
            &**namespace,
            &**pod
        );
        let hint = "let each workload be selected by one Telemetry";
        report.add(&CONFLICTING_TELEMETRY_SELECTORS, object, "metadata.name", text, hint);
    });
    each_namespace(&whole, |object, names| {
        let text = format!(
            "The Telemetries {} in namespace {:?} have no workload selector, which can lead to undefined behavior.",
            go_list(names),
            &**object.namespace()
        );
        let hint = "put what they say into one";
        report.add(&MULTIPLE_TELEMETRIES, object, "metadata.name", text, hint);
    });
}

fn providers(mesh: &Mesh<'_>, object: &Object, telemetry: &Telemetry, report: &mut Report) {
    let settings = &mesh.settings.mesh;
    let has_default =
        settings.default_providers.as_ref().is_some_and(|defaults| !defaults.access_logging.is_empty());
    for (index, logging) in telemetry.access_logging.iter().enumerate() {
        if logging.providers.is_empty() && !has_default {
            let text = format!(
                "The Telemetry {} in namespace {:?} with empty providers will be ignored.",
                object.name(),
                &**object.namespace()
            );
            let path = format!("spec.accessLogging[{index}]");
            let hint = "name a provider (providers: [{name: envoy}]), or set defaultProviders.accessLogging";
            report.add(&INVALID_TELEMETRY_PROVIDER, object, &path, text, hint);
        }
    }
    let tracing =
        telemetry.tracing.iter().map(|part| &part.providers).enumerate().map(|(i, p)| ("tracing", i, p));
    let metrics =
        telemetry.metrics.iter().map(|part| &part.providers).enumerate().map(|(i, p)| ("metrics", i, p));
    let logging = telemetry
        .access_logging
        .iter()
        .map(|part| &part.providers)
        .enumerate()
        .map(|(i, p)| ("accessLogging", i, p));
    for (field, index, list) in tracing.chain(metrics).chain(logging) {
        for (number, ProviderRef { name }) in list.iter().enumerate() {
            let known = &settings.extension_providers;
            if BUILT_IN.contains(&&**name) || known.iter().any(|provider| provider.name == *name) {
                continue;
            }
            let text = format!(
                "Provider {name} is not defined in the mesh's extensionProviders: this part of the Telemetry has no effect"
            );
            let names: Vec<&str> = known.iter().map(|provider| &*provider.name).chain(BUILT_IN).collect();
            let hint = match crate::text::closest(name, &names) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "define it in MeshConfig, and give that with --mesh-config".to_owned(),
            };
            let path = format!("spec.{field}[{index}].providers[{number}].name");
            report.add(&UNKNOWN_PROVIDER, object, &path, text, hint);
        }
    }
}
