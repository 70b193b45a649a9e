//! The `hosts` of an egress listener: `ns/name`, with `.`, `*`, `~` for the namespace, wildcards for the name, and `~ns/name`
//! for what is left out (SEM-134, SEM-137).

use std::sync::Arc;

use meltemi_config::{Host, Str};

use crate::registry::Service;
use crate::snapshot::Snapshot;

/// One entry.
#[derive(Debug)]
struct EgressHost {
    /// `*` or a namespace.
    namespace: Str,
    host: Host,
}

/// What is let in and what is left out.
#[derive(Debug, Default)]
pub(super) struct EgressHosts {
    imports: Vec<EgressHost>,
    exclusions: Vec<EgressHost>,
}

impl EgressHosts {
    /// Reads the entries; those of the wrong form were refused by validation and count for nothing.
    pub(super) fn parse(entries: &[Str], own: &Str) -> EgressHosts {
        let mut hosts = EgressHosts::default();
        for entry in entries {
            let Some((namespace, host)) = entry.split_once('/') else { continue };
            let (list, namespace) = match namespace.strip_prefix('~') {
                // `~/*` alone means nothing at all; `~/name` leaves the name out of whatever namespace.
                Some("") if host == "*" => continue,
                Some("") => (&mut hosts.exclusions, "*"),
                Some(namespace) => (&mut hosts.exclusions, namespace),
                None => (&mut hosts.imports, namespace),
            };
            let namespace = if namespace == "." { own.clone() } else { namespace.into() };
            list.push(EgressHost { namespace, host: Host::new(host) });
        }
        hosts
    }

    /// Whether a VirtualService's host is let in: either may be the wider one (SEM-026).
    pub(super) fn import(&self, namespace: &str, host: &Host) -> bool {
        let excluded =
            self.exclusions.iter().any(|entry| entry.is_of(namespace) && host.subset_of(&entry.host));
        !excluded && self.imports.iter().any(|entry| entry.is_of(namespace) && host.matches(&entry.host))
    }

    fn has(&self, service: &Service) -> bool {
        let takes =
            |entry: &EgressHost| entry.is_of(&service.namespace) && service.host.subset_of(&entry.host);
        self.imports.iter().any(takes) && !self.exclusions.iter().any(takes)
    }

    /// Calls `take` for each service that is let in, one for each host.
    pub(super) fn services(&self, snapshot: &Snapshot, own: &str, take: &mut dyn FnMut(&Arc<Service>)) {
        // Where every entry names a service, only those are looked at.
        if self.imports.iter().all(|entry| !entry.host.is_wildcard()) {
            let mut hosts: Vec<&Host> = self.imports.iter().map(|entry| &entry.host).collect();
            hosts.sort();
            hosts.dedup();
            hosts.into_iter().for_each(|host| self.pick(snapshot, host, own, take));
        } else {
            snapshot.registry.services.keys().for_each(|host| self.pick(snapshot, host, own, take));
        }
    }

    fn pick(&self, snapshot: &Snapshot, host: &Host, own: &str, take: &mut dyn FnMut(&Arc<Service>)) {
        let Some(services) = snapshot.registry.services.get(host) else { return };
        let seen = || services.iter().filter(|s| s.export_to.visible_in(own) && self.has(s));
        let kubernetes = seen().find(|service| service.kubernetes);
        let own = || seen().find(|service| &*service.namespace == own);
        if let Some(service) = kubernetes.or_else(own).or_else(|| seen().next()) {
            take(service);
        }
    }
}

impl EgressHost {
    fn is_of(&self, namespace: &str) -> bool {
        &*self.namespace == "*" || &*self.namespace == namespace
    }
}
