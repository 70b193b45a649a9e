//! Gateways with their names resolved.

use std::sync::Arc;

use meltemi_config::labels::selects;
use meltemi_config::networking::Gateway;
use meltemi_config::{Labels, Object, Str};

use super::{Age, age};

/// A Gateway.
#[derive(Debug)]
pub struct Resolved {
    /// `ns/name`, as VirtualServices name it.
    pub full_name: Str,
    /// Namespace.
    pub namespace: Str,
    /// As written.
    pub spec: Arc<Gateway>,
    /// Which of several wins.
    pub order: Age,
}

impl Resolved {
    pub(super) fn new(object: &Object) -> Option<Resolved> {
        Some(Resolved {
            full_name: format!("{}/{}", object.namespace(), object.name()).into(),
            namespace: object.namespace().clone(),
            spec: Arc::clone(object.spec_as::<Gateway>()?),
            order: age(object),
        })
    }

    /// Whether it is for proxies with these labels, whatever their namespace (SEM-170).
    pub fn selects(&self, labels: &Labels) -> bool {
        selects(&self.spec.selector, labels)
    }
}
