//! Which labels of proxies matter: those that a selector of any resource names. Proxies that differ in others only are told the same.

use meltemi_config::networking::destination_rule::LocalityLoadBalancerSetting;
use meltemi_config::networking::{DestinationRule, Sidecar, VirtualService};
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
        selector.keys().for_each(|name| self.add_name(name));
    }

    fn add_name(&mut self, name: &Str) {
        let count = self.counts.entry(name.clone()).or_default();
        *count += 1;
        self.changed |= *count == 1;
    }

    pub(super) fn remove(&mut self, selector: &Labels) {
        selector.keys().for_each(|name| self.remove_name(name));
    }

    fn remove_name(&mut self, name: &Str) {
        if let Some(count) = self.counts.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(name);
                self.changed = true;
            }
        }
    }

    pub(super) fn add_rule(&mut self, object: &Object) {
        of_rule(object).iter().for_each(|name| self.add_name(name));
    }

    pub(super) fn remove_rule(&mut self, object: &Object) {
        of_rule(object).iter().for_each(|name| self.remove_name(name));
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

/// A rule asks for labels by its selector and by the order in which it fails over.
fn of_rule(object: &Object) -> Vec<Str> {
    let Some(rule) = object.spec_as::<DestinationRule>() else { return Vec::new() };
    let mut names: Vec<Str> =
        rule.workload_selector.iter().flat_map(|selector| selector.match_labels.keys().cloned()).collect();
    let policies = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    for policy in policies.chain(&rule.traffic_policy) {
        let at_ports =
            policy.port_level_settings.iter().filter_map(|settings| settings.load_balancer.as_ref());
        for balancer in at_ports.chain(&policy.load_balancer) {
            names.extend(balancer.locality_lb_setting.iter().flat_map(priorities));
        }
    }
    names
}

/// Labels by which endpoints are preferred, without the value that some give.
pub(super) fn priorities(settings: &LocalityLoadBalancerSetting) -> impl Iterator<Item = Str> + '_ {
    settings
        .failover_priority
        .iter()
        .map(|label| label.split_once('=').map_or(&**label, |(name, _)| name).into())
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
