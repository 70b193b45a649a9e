//! Whether Pods get their sidecars: labels of namespaces, Pods without one, images that were not filled in.

use std::collections::BTreeMap;

use super::Analyzer;
use super::messages::*;
use super::report::{Report, full_name, go_list};
use super::service_ports::SYSTEM;
use super::view::Mesh;
use super::workloads::{INJECT, INJECTION, REVISION};
use crate::core::{Deployment, Namespace, Pod, PodSpec};
use crate::kubernetes::{ConfigMap, MutatingWebhookConfiguration, Node};
use crate::{Labels, Object, Str};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "injection",
    about: "labels of namespaces, sidecars of Pods, versions of Nodes",
    says: &[
        &NAMESPACE_NOT_INJECTED,
        &POD_MISSING_PROXY,
        &MULTIPLE_INJECTION_LABELS,
        &UNSUPPORTED_KUBERNETES,
        &IMAGE_AUTO_DEPLOYMENT,
        &IMAGE_AUTO_POD,
        &INJECTED_BY_DEFAULT,
        &IMAGE_MISMATCH,
    ],
    run,
};

/// The oldest Kubernetes whose API has what injection needs (native sidecars).
const OLDEST_KUBERNETES: (u32, u32) = (1, 28);

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let mut injected: Vec<(Str, Str)> = Vec::new();
    for (object, _) in mesh.all::<Namespace>() {
        if let Some(revision) = namespace(mesh, object, report) {
            injected.push((object.name().clone(), revision));
        }
    }
    let revision_of = |name: &str| injected.iter().find(|(known, _)| &**known == name).map(|(_, rev)| rev);
    let mut mismatched: BTreeMap<Str, Vec<Str>> = BTreeMap::new();
    for (object, pod) in mesh.all::<Pod>() {
        if let Some(revision) = revision_of(object.namespace()) {
            missing_proxy(object, pod, report);
            if is_other_image(mesh, object, pod, revision) {
                mismatched.entry(object.namespace().clone()).or_default().push(object.name().clone());
            }
        }
    }
    for (name, pods) in mismatched {
        let Some(object) = mesh.namespace(&name) else { continue };
        let text = format!(
            "The Istio proxy images of the pods running in the namespace do not match the image defined in the injection configuration (pod names: {}). This often happens after upgrading the Istio control-plane and can be fixed by redeploying the pods.",
            go_list(pods)
        );
        let hint = format!("kubectl rollout restart deployment -n {name}");
        report.add(&IMAGE_MISMATCH, object, "metadata.name", text, hint);
    }
    image_auto(mesh, report);
    nodes(mesh, report);
}

/// Looks at the labels of a namespace; gives the revision that injects there, if one does.
fn namespace(mesh: &Mesh<'_>, object: &Object, report: &mut Report) -> Option<Str> {
    let name = object.name();
    if *name == mesh.settings.root_namespace || SYSTEM.contains(&&**name) {
        return None;
    }
    let labels = object.labels();
    let legacy = labels.get(INJECTION).filter(|value| !value.is_empty());
    let revision = labels.get(REVISION);
    if labels.get("istio.io/dataplane-mode").is_some_and(|mode| &**mode == "ambient")
        && legacy.is_none()
        && revision.is_none()
    {
        return None;
    }
    match (legacy, revision) {
        (None, None) => {
            not_said(mesh, object, report);
            None
        }
        (Some(_), Some(_)) => {
            let text = format!(
                "The namespace has more than one type of injection labels {}, which may lead to undefined behavior. Make sure only one injection label exists.",
                go_list([INJECTION, REVISION])
            );
            let hint = format!("kubectl label namespace {name} {INJECTION}- (or {REVISION}-)");
            report.add(&MULTIPLE_INJECTION_LABELS, object, "metadata.name", text, hint);
            None
        }
        (None, Some(revision)) => Some(revision.clone()),
        (Some(value), None) => (&**value == "enabled").then(|| "default".into()),
    }
}

fn not_said(mesh: &Mesh<'_>, object: &Object, report: &mut Report) {
    let name = object.name();
    let by_default = injector(mesh, "").is_some_and(|values| {
        values["sidecarInjectorWebhook"]["enableNamespacesByDefault"].as_bool() == Some(true)
    });
    if by_default {
        let text = INJECTED_BY_DEFAULT.begins;
        let hint = format!("kubectl label namespace {name} {INJECTION}=disabled, if it is not to be");
        report.add(&INJECTED_BY_DEFAULT, object, "metadata.name", text, hint);
        return;
    }
    let text = format!(
        "The namespace is not enabled for Istio injection. Run 'kubectl label namespace {name} istio-injection=enabled' to enable it, or 'kubectl label namespace {name} istio-injection=disabled' to explicitly mark it as not needing injection."
    );
    report.add(&NAMESPACE_NOT_INJECTED, object, "metadata.name", text, "say which of the two is meant");
}

/// The values of the injector's ConfigMap for a revision.
fn injector(mesh: &Mesh<'_>, revision: &str) -> Option<serde_json::Value> {
    let name = match revision {
        "" | "default" => "istio-sidecar-injector".to_owned(),
        revision => format!("istio-sidecar-injector-{revision}"),
    };
    let (_, map) = mesh.all::<ConfigMap>().find(|(object, _)| **object.name() == *name)?;
    serde_json::from_str(&map.data.get("values")?.0).ok()
}

fn missing_proxy(object: &Object, pod: &Pod, report: &mut Report) {
    let said = object.labels().get(INJECT).or_else(|| object.metadata.annotations.get(INJECT));
    if said.is_some_and(|said| said.eq_ignore_ascii_case("false")) || pod.spec.host_network {
        return;
    }
    if super::workloads::has_proxy(&pod.spec) {
        return;
    }
    let text = format!(
        "The pod {} is missing the Istio proxy. This can often be resolved by restarting or redeploying the workload.",
        full_name(object)
    );
    report.add(
        &POD_MISSING_PROXY,
        object,
        "metadata.name",
        text,
        "delete the Pod; its successor gets a sidecar",
    );
}

fn is_other_image(mesh: &Mesh<'_>, object: &Object, pod: &Pod, revision: &str) -> bool {
    if object.metadata.annotations.get("sidecar.istio.io/proxyImage").is_some_and(|image| !image.is_empty()) {
        return false;
    }
    let Some(values) = injector(mesh, revision) else { return false };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let global = &values["global"];
    let image = text(&global["proxy"]["image"]);
    let tag = global["tag"].as_str().map_or_else(|| global["tag"].to_string(), str::to_owned);
    let wanted = if image.contains('/') { image } else { format!("{}/{image}:{tag}", text(&global["hub"])) };
    let mut containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    containers.any(|container| {
        container.name.as_deref() == Some("istio-proxy")
            && container.image.as_deref().is_some_and(|i| i != wanted)
    })
}

fn image_auto(mesh: &Mesh<'_>, report: &mut Report) {
    const HINT: &str = "label the namespace or the Pod template so that an injection webhook takes it";
    let is_auto = |pod: &PodSpec| {
        pod.containers.iter().position(|container| {
            container.name.as_deref() == Some("istio-proxy") && container.image.as_deref() == Some("auto")
        })
    };
    for (object, pod) in mesh.all::<Pod>() {
        let Some(index) = is_auto(&pod.spec) else { continue };
        let text = format!(
            "Pod {} contains `image: auto` but does not match any Istio injection webhook selectors.",
            object.name()
        );
        report.add(&IMAGE_AUTO_POD, object, &format!("spec.containers[{index}].image"), text, HINT);
    }
    let empty = Labels::new();
    for (object, deployment) in mesh.all::<Deployment>() {
        let template = &deployment.spec.template;
        let Some(index) = is_auto(&template.spec) else { continue };
        let namespace = mesh.namespace(object.namespace()).map_or(&empty, |namespace| namespace.labels());
        let taken = mesh.all::<MutatingWebhookConfiguration>().any(|(_, config)| {
            config.0.webhooks.iter().any(|webhook| {
                let takes = |selector: &Option<crate::labels::LabelSelector>, labels: &Labels| {
                    selector.as_ref().is_none_or(|selector| selector.selects(labels))
                };
                webhook.name.ends_with("istio.io")
                    && takes(&webhook.namespace_selector, namespace)
                    && takes(&webhook.object_selector, &template.metadata.labels)
            })
        });
        if !taken {
            let text = format!(
                "Deployment {} contains `image: auto` but does not match any Istio injection webhook selectors.",
                object.name()
            );
            let path = format!("spec.template.spec.containers[{index}].image");
            report.add(&IMAGE_AUTO_DEPLOYMENT, object, &path, text, HINT);
        }
    }
}

fn nodes(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, node) in mesh.all::<Node>() {
        let Some(version) = node.status.node_info.kubelet_version.as_deref() else { continue };
        let mut numbers = version.trim_start_matches('v').split('.').map(|part| {
            part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok()
        });
        let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { continue };
        if (major, minor) < OLDEST_KUBERNETES {
            let (oldest_major, oldest_minor) = OLDEST_KUBERNETES;
            let text = format!(
                "The Kubernetes Version {version:?} is lower than the minimum version: {oldest_major}.{oldest_minor}"
            );
            let path = "status.nodeInfo.kubeletVersion";
            report.add(&UNSUPPORTED_KUBERNETES, object, path, text, "upgrade the node");
        }
    }
}
