//! What was looked at while a piece of a view was made, so that a later change reaches that piece and no other. Kept by `View`,
//! asked for by the discovery server.
//!
//! Invariant: every look at a service, its rules, its VirtualServices or its endpoints goes through one of the functions here;
//! a name that is not there counts as looked at, for it may come.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_config::Host;

use super::View;
use crate::registry::{Instance, MAX_ALIASES, Service};
use crate::snapshot::scope::Egress;
use crate::snapshot::virtual_service::Resolved;

/// Something looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Read {
    /// A host: its service, its DestinationRules and its VirtualServices.
    Host(Host),
    /// The endpoints of a host.
    Endpoints(Host),
}

/// What was looked at since last asked.
#[derive(Debug, Default)]
pub struct Reads(RefCell<BTreeSet<Read>>);

impl Reads {
    fn note(&self, read: impl FnOnce() -> Read) {
        self.0.borrow_mut().insert(read());
    }

    /// Takes what was looked at; from now on the list is empty.
    pub fn take(&self) -> BTreeSet<Read> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

impl View<'_> {
    /// The service of that host, as this proxy sees it; of a name that stands for another, that one.
    pub(crate) fn service(&self, host: &Host) -> Option<&Arc<Service>> {
        let host = self.concrete(host);
        let scoped = self.scope.services.get(host);
        scoped.or_else(|| self.snapshot.visible_service(host, &self.node.namespace))
    }

    /// The service of that host as clients of the proxy's namespace see it, whatever the Sidecar says; of a name that stands
    /// for another, that one.
    pub(crate) fn visible_service(&self, host: &Host) -> Option<&Arc<Service>> {
        self.snapshot.visible_service(self.concrete(host), &self.node.namespace)
    }

    /// What a name stands for in the end: most for themselves (SEM-147).
    pub(crate) fn concrete<'h>(&'h self, host: &'h Host) -> &'h Host {
        let mut at = host;
        for _ in 0..MAX_ALIASES {
            self.reads.note(|| Read::Host(at.clone()));
            match self.snapshot.registry.alias_of(at) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    /// Notes that rules of a host were looked for.
    pub(super) fn looked_at(&self, host: &Host) {
        self.reads.note(|| Read::Host(host.clone()));
    }

    /// Endpoints of a service.
    pub(crate) fn instances(&self, service: &Service) -> &[Instance] {
        self.reads.note(|| Read::Endpoints(service.host.clone()));
        self.snapshot.registry.instances_of(service)
    }

    /// VirtualServices for sidecars whose HTTP rules are for a host, in the order in which they win.
    pub(crate) fn http_services<'v>(
        &'v self,
        egress: &'v Egress,
        host: &'v Host,
    ) -> impl Iterator<Item = &'v Arc<Resolved>> + 'v {
        self.reads.note(|| Read::Host(host.clone()));
        egress.virtual_services.most_specific(host)
    }

    /// VirtualServices for sidecars that are for a host, in the order in which they win.
    pub(crate) fn virtual_services<'v>(
        &'v self,
        egress: &'v Egress,
        host: &'v Host,
    ) -> impl Iterator<Item = &'v Arc<Resolved>> + 'v {
        self.reads.note(|| Read::Host(host.clone()));
        egress.virtual_services.of(host)
    }
}
