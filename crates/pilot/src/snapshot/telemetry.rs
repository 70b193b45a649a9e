//! Telemetry resources: which hold for a proxy. Of the root namespace, of its own, and of itself; kept by the snapshot.
//!
//! Invariant: depends on the objects only; of several that are for the same the oldest holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::labels::selects;
use meltemi_config::telemetry::Telemetry;
use meltemi_config::{Labels, Object, ResourceId, Str};

use super::age;
use super::selector::Keys;

/// The label by which a gateway of the Gateway API is known.
pub const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// All, by namespace, in the order in which they win.
#[derive(Debug, Clone, Default)]
pub struct All(BTreeMap<Str, Vec<Object>>);

impl All {
    /// Sets or removes an object.
    pub(super) fn set(&mut self, id: &ResourceId, object: Option<&Object>, selectors: &mut Keys) {
        let all = self.0.entry(id.namespace.clone()).or_default();
        if let Some(at) = all.iter().position(|other| *other.name() == id.name) {
            let old = all.remove(at);
            spec(&old).into_iter().for_each(|spec| selectors.remove(&asked(spec)));
        }
        if let Some(object) = object {
            spec(object).into_iter().for_each(|spec| selectors.add(&asked(spec)));
            let at = all.partition_point(|other| age(other) < age(object));
            all.insert(at, object.clone());
        }
    }

    /// Those that hold for a proxy, the general ones first (TL-001).
    pub fn applicable(&self, root: &str, namespace: &str, labels: &Labels) -> Vec<&Arc<Telemetry>> {
        let of = |namespace: &str| self.0.get(namespace).into_iter().flatten().filter_map(spec);
        let general = |namespace: &str| of(namespace).find(|spec| is_general(spec));
        let own = (namespace != root).then(|| general(namespace)).flatten();
        let selected = of(namespace).find(|spec| !is_general(spec) && is_for(spec, labels));
        general(root).into_iter().chain(own).chain(selected).collect()
    }
}

fn spec(object: &Object) -> Option<&Arc<Telemetry>> {
    object.spec_as::<Telemetry>()
}

fn selector(spec: &Telemetry) -> Option<&Labels> {
    spec.selector.as_ref().map(|selector| &selector.match_labels).filter(|labels| !labels.is_empty())
}

/// Names of gateways that it is attached to.
fn gateways(spec: &Telemetry) -> impl Iterator<Item = &Str> {
    let targets = spec.target_refs.iter().chain(&spec.target_ref);
    targets.filter(|target| &*target.kind == "Gateway").map(|target| &target.name)
}

/// Whether it is for the whole namespace.
fn is_general(spec: &Telemetry) -> bool {
    selector(spec).is_none() && spec.target_refs.is_empty() && spec.target_ref.is_none()
}

fn is_for(spec: &Telemetry, labels: &Labels) -> bool {
    let named = labels.get(GATEWAY_LABEL);
    selector(spec).is_some_and(|selector| selects(selector, labels))
        || named.is_some_and(|named| gateways(spec).any(|name| name == named))
}

/// The labels of proxies that matter to it.
fn asked(spec: &Telemetry) -> Labels {
    let mut labels = selector(spec).cloned().unwrap_or_default();
    if gateways(spec).next().is_some() {
        labels.insert(GATEWAY_LABEL.into(), Str::default());
    }
    labels
}
