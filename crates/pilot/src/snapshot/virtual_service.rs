//! VirtualServices with their names resolved. Routes stay as written until a virtual host asks for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::VirtualService;
use meltemi_config::networking::virtual_service::{Destination, HttpRoute};
use meltemi_config::{ExportTo, Host, Object, Str};
use rustc_hash::FxHashMap;

use super::change::Changes;
use super::selector::Keys;
use super::{Age, age, export_to};
use crate::model::route::Place;
use crate::names::{MESH_GATEWAY, RETRIES_ANNOTATION, SAFE_RETRIES, config_path};

mod delegate;

/// A VirtualService.
#[derive(Debug)]
pub struct Resolved {
    /// Name.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// Domain of short names.
    pub domain: Str,
    /// Its hosts in full.
    pub hosts: Vec<Host>,
    /// Gateways in full (`ns/name`) and `mesh`.
    pub gateways: Vec<Str>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// As written, with the rules of those that it delegates to in place of its own.
    pub spec: Arc<VirtualService>,
    /// Istio's path of it.
    pub origin: Str,
    /// Where each HTTP rule comes from.
    pub origins: Vec<Origin>,
    /// Whether prefixes of paths go by whole segments, as those of Ingresses do.
    pub by_segments: bool,
    /// Whether its requests are retried with care; unset: as the mesh says.
    pub retries: Option<bool>,
    /// Those that it delegates to, by namespace and name: a change of one is a change of this one.
    pub delegates: Vec<(Str, Str)>,
    /// Which of several wins.
    pub order: Age,
}

/// Where an HTTP rule comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Istio's path of the resource.
    pub resource: Str,
    /// Where it is written, if that is known.
    pub place: Option<Place>,
}

/// All VirtualServices, in the order in which they win.
#[derive(Debug, Clone, Default)]
pub struct All {
    ordered: Vec<Arc<Resolved>>,
    /// Each by namespace and name, without the rules of others.
    written: FxHashMap<Name, Arc<Resolved>>,
    /// Who delegates to one.
    delegating: FxHashMap<Name, BTreeSet<Name>>,
}

/// Namespace and name.
type Name = (Str, Str);

/// One that is set, or gone (`None`).
pub(super) type Set = (Name, Option<Resolved>);

impl All {
    /// In the order in which they win.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resolved>> {
        self.ordered.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ordered.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty()
    }

    /// Sets or removes some.
    pub(super) fn set(&mut self, all: Vec<Set>, selectors: &mut Keys, changes: &mut Changes) {
        let mut touched: BTreeSet<Name> = BTreeSet::new();
        for (name, new) in all {
            let old = self.written.remove(&name);
            if let Some(old) = &old {
                selectors.remove_virtual_service(&old.spec);
                self.lend(old, false);
            }
            if let Some(new) = new.map(Arc::new) {
                selectors.add_virtual_service(&new.spec);
                self.lend(&new, true);
                self.written.insert(name.clone(), Arc::clone(&new));
            }
            touched.extend(self.delegating.get(&name).into_iter().flatten().cloned());
            touched.insert(name.clone());
            // One of another age is at another place.
            let before = old.and_then(|old| self.take(&old.order));
            changes.virtual_services.extend(before.map(|before| (Some(before), None)));
        }
        for name in touched {
            self.renew(&name, changes);
        }
    }

    /// Puts one where it belongs, with the rules of those that it delegates to.
    fn renew(&mut self, name: &Name, changes: &mut Changes) {
        let Some(written) = self.written.get(name) else { return };
        let new = match delegate::delegates(&written.spec) {
            true => Arc::new(delegate::merged(written, &self.written)),
            false => Arc::clone(written),
        };
        let old = self.take(&new.order);
        let at = self.ordered.partition_point(|other| other.order < new.order);
        self.ordered.insert(at, Arc::clone(&new));
        changes.virtual_services.push((old, Some(new)));
    }

    fn take(&mut self, order: &Age) -> Option<Arc<Resolved>> {
        let at = self.ordered.binary_search_by(|other| other.order.cmp(order)).ok()?;
        Some(self.ordered.remove(at))
    }

    /// Notes whom one delegates to, or takes that back.
    fn lend(&mut self, resolved: &Resolved, begins: bool) {
        let own = (resolved.namespace.clone(), resolved.name.clone());
        for lender in delegate::names(resolved) {
            let roots = self.delegating.entry(lender.clone()).or_default();
            match begins {
                true => roots.insert(own.clone()),
                false => roots.remove(&own),
            };
            if roots.is_empty() {
                self.delegating.remove(&lender);
            }
        }
    }
}

impl Resolved {
    pub(super) fn new(object: &Object, spec: &Arc<VirtualService>, mesh: &MeshConfig) -> Resolved {
        let namespace = object.namespace();
        let gateways = match spec.gateways.is_empty() {
            true => vec![MESH_GATEWAY.into()],
            false => spec.gateways.iter().map(|name| gateway_name(name, namespace)).collect(),
        };
        let origin: Str = config_path("virtual-service", namespace, object.name()).into();
        Resolved {
            name: object.name().clone(),
            namespace: namespace.clone(),
            domain: mesh.domain().into(),
            hosts: spec.hosts.iter().map(|host| host.resolve(namespace, mesh.domain())).collect(),
            gateways,
            export_to: export_to(&spec.export_to, &mesh.default_virtual_service_export_to, object),
            spec: Arc::clone(spec),
            origins: (0..spec.http.len())
                .map(|at| Origin { resource: origin.clone(), place: place(object, at) })
                .collect(),
            origin,
            by_segments: false,
            retries: (object.metadata.annotations.get(RETRIES_ANNOTATION))
                .map(|word| &**word == SAFE_RETRIES),
            delegates: Vec::new(),
            order: age(object),
        }
    }

    /// Of an object, if it is one.
    pub(super) fn of(object: &Object, mesh: &MeshConfig) -> Option<Resolved> {
        Some(Resolved::new(object, object.spec_as::<VirtualService>()?, mesh))
    }

    /// Whether it only lends its rules to others.
    pub fn is_delegate(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether it is for this gateway, or for sidecars (`mesh`).
    pub fn is_for(&self, gateway: &str) -> bool {
        self.gateways.iter().any(|name| &**name == gateway)
    }

    /// A destination's host in full; a short one belongs to this resource's namespace (SEM-001).
    pub fn destination_host(&self, destination: &Destination) -> Host {
        destination.host.resolve(&self.namespace, &self.domain)
    }

    /// Gateways of a condition in full.
    pub fn gateways_of(&self, names: &[Str]) -> Vec<Str> {
        names.iter().map(|name| gateway_name(name, &self.namespace)).collect()
    }

    /// All destinations of all its rules, for what an import brings in with it (SEM-132).
    pub fn destinations(&self) -> impl Iterator<Item = Host> + '_ {
        let http = self.spec.http.iter().flat_map(http_destinations);
        let tcp = self.spec.tcp.iter().flat_map(|route| &route.route).map(|to| &to.destination);
        let tls = self.spec.tls.iter().flat_map(|route| &route.route).map(|to| &to.destination);
        http.chain(tcp).chain(tls).map(|destination| self.destination_host(destination))
    }
}

/// Where an HTTP rule is written.
fn place(object: &Object, at: usize) -> Option<Place> {
    use meltemi_config::path::Seg;
    let place = object.place_of(&[Seg::Key("spec"), Seg::Key("http"), Seg::Index(at)])?;
    Some(Place { file: place.file, line: place.line })
}

fn http_destinations(route: &HttpRoute) -> impl Iterator<Item = &Destination> {
    let mirrors = route.mirrors.iter().filter_map(|mirror| mirror.destination.as_ref());
    route.route.iter().map(|to| &to.destination).chain(&route.mirror).chain(mirrors)
}

/// `name` and `./name` are of the resource's namespace, `ns/name` is itself, and so is the old form
/// `name.ns.svc.cluster.local` (SEM-021).
fn gateway_name(name: &Str, namespace: &str) -> Str {
    if &**name == MESH_GATEWAY {
        return name.clone();
    }
    if let Some((prefix, rest)) = name.split_once('/') {
        return if prefix == "." { format!("{namespace}/{rest}").into() } else { name.clone() };
    }
    match name.split_once('.') {
        Some((short, rest)) => match rest.split_once('.') {
            Some((namespace, _)) => format!("{namespace}/{short}").into(),
            None => format!("{rest}/{short}").into(),
        },
        None => format!("{namespace}/{name}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_names_resolve_as_istio_does() {
        for (name, full) in [
            ("mesh", "mesh"),
            ("a", "ns/a"),
            ("./a", "ns/a"),
            ("other/a", "other/a"),
            ("a.other.svc.cluster.local", "other/a"),
        ] {
            assert_eq!(&*gateway_name(&name.into(), "ns"), full);
        }
    }
}
