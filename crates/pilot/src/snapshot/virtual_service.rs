//! VirtualServices with their names resolved. Routes stay as written until a virtual host asks for them.

use std::sync::Arc;

use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::VirtualService;
use meltemi_config::networking::virtual_service::{Destination, HttpRoute};
use meltemi_config::{ExportTo, Host, Object, Str};

use super::export_to;
use crate::model::route::Place;
use crate::names::{MESH_GATEWAY, config_path};
use crate::view::retry_setting;

mod delegate;

pub(super) use delegate::merge_delegates;

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
    /// Where each HTTP rule is written, if that is known.
    pub places: Vec<Option<Place>>,
    /// Whether its requests are retried with care; unset: as the mesh says.
    pub retries: Option<bool>,
    /// Those that it delegates to, by namespace and name: a change of one is a change of this one.
    pub delegates: Vec<(Str, Str)>,
}

impl Resolved {
    pub(super) fn new(object: &Object, spec: &Arc<VirtualService>, mesh: &MeshConfig) -> Resolved {
        let namespace = object.namespace();
        let gateways = match spec.gateways.is_empty() {
            true => vec![MESH_GATEWAY.into()],
            false => spec.gateways.iter().map(|name| gateway_name(name, namespace)).collect(),
        };
        Resolved {
            name: object.name().clone(),
            namespace: namespace.clone(),
            domain: mesh.trust_domain().into(),
            hosts: spec.hosts.iter().map(|host| host.resolve(namespace, mesh.trust_domain())).collect(),
            gateways,
            export_to: export_to(&spec.export_to, &mesh.default_virtual_service_export_to, object),
            spec: Arc::clone(spec),
            origin: config_path("virtual-service", namespace, object.name()).into(),
            places: (0..spec.http.len()).map(|at| place(object, at)).collect(),
            retries: retry_setting(&object.metadata.annotations),
            delegates: Vec::new(),
        }
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
