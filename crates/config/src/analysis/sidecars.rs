//! Sidecars that select nothing, the same workloads, or workloads without a sidecar.

use std::collections::BTreeMap;

use super::Analyzer;
use super::messages::*;
use super::report::{Report, go_list, selector_text};
use super::view::Mesh;
use super::workloads::{INJECTION, REVISION, Workload};
use crate::networking::Sidecar;
use crate::{Kind, Labels, Object, Str};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "sidecars",
    about: "workloads that Sidecars select",
    says: &[
        &REFERENCED_RESOURCE_NOT_FOUND,
        &CONFLICTING_SIDECAR_SELECTORS,
        &MULTIPLE_SIDECARS,
        &INEFFECTIVE_POLICY,
    ],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let mut selecting: Vec<(&Object, &Labels)> = Vec::new();
    let mut whole: Vec<&Object> = Vec::new();
    for (object, sidecar) in mesh.all::<Sidecar>() {
        match sidecar.workload_selector.as_ref().filter(|selector| !selector.labels.is_empty()) {
            Some(selector) => selecting.push((object, &selector.labels)),
            None => whole.push(object),
        }
    }
    for (object, selector) in &selecting {
        nobody(mesh, object, selector, report);
        ambient_pods(mesh, object, selector, report);
    }
    for object in &whole {
        ambient_namespace(mesh, object, report);
    }
    each_conflict(mesh, &selecting, |object, names, namespace, pod| {
        let text = format!(
            "The Sidecars {} in namespace {:?} select the same workload pod {:?}, which can lead to undefined behavior.",
            go_list(names),
            &**namespace,
            &**pod
        );
        let hint = "let each workload be selected by one Sidecar";
        report.add(&CONFLICTING_SIDECAR_SELECTORS, object, "metadata.name", text, hint);
    });
    each_namespace(&whole, |object, names| {
        let text = format!(
            "The Sidecars {} in namespace {:?} have no workload selector, which can lead to undefined behavior.",
            go_list(names),
            &**object.namespace()
        );
        let hint = "keep one without a workloadSelector, and give the others one";
        report.add(&MULTIPLE_SIDECARS, object, "metadata.name", text, hint);
    });
}

/// Calls back for each of several resources that select one workload: the resource, all names, namespace and workload.
pub(super) fn each_conflict<'a>(
    mesh: &Mesh<'a>,
    selecting: &[(&'a Object, &'a Labels)],
    mut found: impl FnMut(&'a Object, Vec<&'a Str>, &Str, &Str),
) {
    type Selected<'m, 'a> = BTreeMap<(Str, Str, Kind), (&'m Workload<'a>, Vec<&'a Object>)>;
    let mut by_workload: Selected<'_, 'a> = BTreeMap::new();
    for (object, selector) in selecting {
        for workload in mesh.selected(selector, Some(object.namespace())) {
            let key = (workload.namespace.clone(), workload.object.name().clone(), workload.object.kind);
            by_workload.entry(key).or_insert_with(|| (workload, Vec::new())).1.push(object);
        }
    }
    for (workload, selected) in by_workload.values().filter(|(_, selected)| selected.len() > 1) {
        let names: Vec<&Str> = selected.iter().map(|object| object.name()).collect();
        for object in selected {
            found(object, names.clone(), &workload.namespace, workload.object.name());
        }
    }
}

/// Calls back for each of several resources for one whole namespace: the resource, and all names.
pub(super) fn each_namespace<'a>(whole: &[&'a Object], mut found: impl FnMut(&'a Object, Vec<&'a Str>)) {
    let mut by_namespace: BTreeMap<&Str, Vec<&'a Object>> = BTreeMap::new();
    for object in whole {
        by_namespace.entry(object.namespace()).or_default().push(object);
    }
    for objects in by_namespace.values().filter(|objects| objects.len() > 1) {
        for object in objects {
            found(object, objects.iter().map(|object| object.name()).collect());
        }
    }
}

fn nobody(mesh: &Mesh<'_>, object: &Object, selector: &Labels, report: &mut Report) {
    if mesh.selected(selector, Some(object.namespace())).next().is_none() {
        let text = format!(
            "Referenced selector not found: {:?}: the Sidecar has no effect, every workload of {} sees what it saw before",
            selector_text(selector),
            object.namespace()
        );
        let key = selector.keys().next().map_or("", |key| &**key);
        let path = format!("spec.workloadSelector.labels[{key:?}]");
        let hint = "correct the labels, or the namespace: a Sidecar is for workloads of its own";
        report.add(&REFERENCED_RESOURCE_NOT_FOUND, object, &path, text, hint);
    }
}

fn ambient_pods(mesh: &Mesh<'_>, object: &Object, selector: &Labels, report: &mut Report) {
    let ambient = mesh.selected(selector, Some(object.namespace())).any(|workload| {
        let redirected = workload.object.metadata.annotations.get("ambient.istio.io/redirection");
        redirected.is_some_and(|value| &**value == "enabled")
    });
    if ambient {
        let text =
            "The policy has no impact: selected workload is in ambient mode, the policy has no impact.";
        report.add(
            &INEFFECTIVE_POLICY,
            object,
            "spec.workloadSelector",
            text,
            "drop it, or give the workload a sidecar",
        );
    }
}

fn ambient_namespace(mesh: &Mesh<'_>, object: &Object, report: &mut Report) {
    let Some(namespace) = mesh.namespace(object.namespace()) else { return };
    let labels = namespace.labels();
    let says = |key: &str, value: &str| labels.get(key).is_some_and(|said| &**said == value);
    let injected =
        says(INJECTION, "enabled") || labels.get(REVISION).is_some_and(|revision| !revision.is_empty());
    if says("istio.io/dataplane-mode", "ambient") && !injected {
        let text = "The policy has no impact: namespace is in ambient mode, the policy has no impact.";
        report.add(
            &INEFFECTIVE_POLICY,
            object,
            "metadata.name",
            text,
            "drop it, or let the namespace have sidecars",
        );
    }
}
