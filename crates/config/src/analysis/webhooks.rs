//! Webhooks that inject sidecars: several for one Pod, or one without its Service.

use std::collections::BTreeSet;

use super::Analyzer;
use super::messages::INVALID_WEBHOOK;
use super::report::{Report, full_name, go_list};
use super::view::Mesh;
use super::workloads::{INJECT, INJECTION, REVISION};
use crate::kubernetes::{MutatingWebhookConfiguration, Webhook};
use crate::labels::LabelSelector;
use crate::{Kind, Labels, Object, Str};

pub(super) const ANALYZER: Analyzer =
    Analyzer { name: "webhooks", about: "webhooks that inject sidecars", says: &[&INVALID_WEBHOOK], run };

/// A webhook of a configuration.
struct Hook<'a> {
    object: &'a Object,
    index: usize,
    webhook: &'a Webhook,
}

impl Hook<'_> {
    fn name(&self) -> String {
        format!("{}/{}", full_name(self.object), self.webhook.name)
    }
}

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    let mut hooks: Vec<Hook<'_>> = Vec::new();
    let mut revisions: BTreeSet<Str> = BTreeSet::new();
    for (object, config) in mesh.all::<MutatingWebhookConfiguration>() {
        let webhooks = &config.0.webhooks;
        let mut own: BTreeSet<Str> = webhooks.iter().flat_map(revisions_of).collect();
        own.extend(object.labels().get(REVISION).cloned());
        if own.is_empty() && !webhooks.iter().any(|webhook| webhook.name.ends_with("istio.io")) {
            continue;
        }
        revisions.extend(own);
        hooks.extend(webhooks.iter().enumerate().map(|(index, webhook)| Hook { object, index, webhook }));
    }
    overlaps(&hooks, &revisions, report);
    services(mesh, &hooks, report);
}

fn revisions_of(webhook: &Webhook) -> Vec<Str> {
    let mut found = Vec::new();
    for selector in webhook.namespace_selector.iter().chain(&webhook.object_selector) {
        found.extend(selector.match_labels.get(REVISION).cloned());
        let expressions = selector.match_expressions.iter().filter(|expression| &*expression.key == REVISION);
        found.extend(expressions.flat_map(|expression| expression.values.iter().cloned()));
    }
    found
}

/// Labels that a namespace or Pod may have: each with none and with every revision.
fn labels_of(key: &str, values: [&str; 2], revisions: &BTreeSet<Str>) -> Vec<Labels> {
    let mut all = vec![Labels::new()];
    all.extend(values.map(|value| Labels::from([(key.into(), value.into())])));
    let plain = all.clone();
    for revision in revisions {
        all.extend(plain.iter().cloned().map(|mut labels| {
            labels.insert(REVISION.into(), revision.clone());
            labels
        }));
    }
    all
}

fn overlaps(hooks: &[Hook<'_>], revisions: &BTreeSet<Str>, report: &mut Report) {
    let takes = |selector: &Option<LabelSelector>, labels: &Labels| {
        selector.as_ref().is_none_or(|selector| selector.selects(labels))
    };
    let namespaces = labels_of(INJECTION, ["enabled", "disabled"], revisions);
    let pods = labels_of(INJECT, ["true", "false"], revisions);
    let mut others: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); hooks.len()];
    for namespace in &namespaces {
        for pod in &pods {
            let taking: Vec<usize> = (0..hooks.len())
                .filter(|at| {
                    let webhook = hooks[*at].webhook;
                    takes(&webhook.namespace_selector, namespace) && takes(&webhook.object_selector, pod)
                })
                .collect();
            for at in &taking {
                others[*at].extend(taking.iter().filter(|other| *other != at));
            }
        }
    }
    for (hook, others) in hooks.iter().zip(&others).filter(|(_, others)| !others.is_empty()) {
        let names = go_list(others.iter().map(|at| hooks[*at].name()));
        let text = format!("Webhook overlaps with others: {names}. This may cause injection to occur twice.");
        let hint = "remove the webhooks of the revision that is no longer used";
        report.add(&INVALID_WEBHOOK, hook.object, &format!("webhooks[{}].name", hook.index), text, hint);
    }
}

fn services(mesh: &Mesh<'_>, hooks: &[Hook<'_>], report: &mut Report) {
    for hook in hooks {
        let Some(service) = &hook.webhook.client_config.service else { continue };
        if mesh.find(Kind::Service, &service.namespace, &service.name).is_some() {
            continue;
        }
        let text = format!(
            "Injector refers to a control plane service that does not exist: {}/{}.",
            service.namespace, service.name
        );
        let path = format!("webhooks[{}].clientConfig.service.name", hook.index);
        report.add(
            &INVALID_WEBHOOK,
            hook.object,
            &path,
            text,
            "remove the webhook, or install that control plane",
        );
    }
}
