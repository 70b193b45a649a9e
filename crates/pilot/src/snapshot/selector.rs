//! Which labels of proxies matter: those that a selector of any resource names. Proxies that differ in others only are told the same.

use meltemi_config::networking::{Sidecar, VirtualService};
use meltemi_config::{Labels, Object, Str};
use rustc_hash::FxHashMap;

/// Names of labels, with the number of selectors that name them.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    counts: FxHashMap<Str, usize>,
    changed: bool,
}

impl Keys {
    pub(super) fn has(&self, name: &str) -> bool {
        self.counts.contains_key(name)
    }

    /// Whether other names are there than when last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn add(&mut self, selector: &Labels) {
        for name in selector.keys() {
            let count = self.counts.entry(name.clone()).or_default();
            *count += 1;
            self.changed |= *count == 1;
        }
    }

    pub(super) fn remove(&mut self, selector: &Labels) {
        for name in selector.keys() {
            if let Some(count) = self.counts.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(name);
                    self.changed = true;
                }
            }
        }
    }

    pub(super) fn add_sidecar(&mut self, object: &Object) {
        sidecar(object).into_iter().for_each(|selector| self.add(selector));
    }

    pub(super) fn remove_sidecar(&mut self, object: &Object) {
        sidecar(object).into_iter().for_each(|selector| self.remove(selector));
    }

    pub(super) fn add_virtual_service(&mut self, spec: &VirtualService) {
        sources(spec).for_each(|selector| self.add(selector));
    }

    pub(super) fn remove_virtual_service(&mut self, spec: &VirtualService) {
        sources(spec).for_each(|selector| self.remove(selector));
    }
}

fn sidecar(object: &Object) -> Option<&Labels> {
    object.spec_as::<Sidecar>()?.workload_selector.as_ref().map(|selector| &selector.labels)
}

fn sources(spec: &VirtualService) -> impl Iterator<Item = &Labels> {
    let http = spec.http.iter().flat_map(|rule| &rule.matches).map(|condition| &condition.source_labels);
    let tls = spec.tls.iter().flat_map(|rule| &rule.matches).map(|condition| &condition.source_labels);
    let tcp = spec.tcp.iter().flat_map(|rule| &rule.matches).map(|condition| &condition.source_labels);
    http.chain(tls).chain(tcp)
}
