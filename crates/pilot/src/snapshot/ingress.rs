//! Kubernetes Ingresses as a Gateway and VirtualServices, as Istio makes them (SEM-178). Called by the snapshot, which then treats
//! what is made like any other.
//!
//! Invariant: what is made depends on the objects only; each rule knows the Ingress and the line that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::ingress::{Classes, Ingress, IngressBackend, IngressPath, PathType};
use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::gateway::{Port, Server};
use meltemi_config::networking::virtual_service::{
    Destination, HttpMatchRequest, HttpRoute, HttpRouteDestination, PortSelector, StringMatch, VirtualService,
};
use meltemi_config::path::Seg;
use meltemi_config::{Host, Kind, Object, Spec, Str, Timestamp};
use rustc_hash::FxHashMap;

use super::virtual_service::{self, Origin, Resolved};
use super::{Age, Change};
use crate::model::route::Place;
use crate::names::{INGRESS_GATEWAY, INGRESS_NAMESPACE, ingress_path};
use crate::registry::Registry;

/// The port that Ingresses are served at.
const PORT: u32 = 80;

/// All Ingresses and what is made of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Ingresses {
    classes: Classes,
    /// Oldest first.
    all: BTreeMap<Rank, Object>,
    ranks: FxHashMap<(Str, Str), Rank>,
    made: BTreeMap<(Str, Str), Made>,
    /// Services that are asked for the number of a port's name.
    asked: BTreeSet<Host>,
    served: bool,
}

/// Which of several Ingresses goes first: age, then `NAME.NAMESPACE`.
type Rank = (Option<Timestamp>, String);

/// A VirtualService made of the rules of one host.
#[derive(Debug, Clone, PartialEq)]
struct Made {
    created: Option<Timestamp>,
    host: Str,
    rules: Vec<Rule>,
}

/// A rule, and where it is from.
#[derive(Debug, Clone, PartialEq)]
struct Rule {
    route: HttpRoute,
    origin: Origin,
}

/// What is other than before.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// The Gateway, if it comes or goes.
    pub(super) gateway: Option<Change>,
    /// VirtualServices.
    pub(super) virtual_services: Vec<virtual_service::Set>,
}

impl Ingresses {
    /// Takes changes in; `registry` is up to date with them, `services` are the hosts that changed in it.
    pub(super) fn update(
        &mut self,
        objects: &[Change],
        services: &BTreeSet<Host>,
        mesh: &MeshConfig,
        registry: &Registry,
    ) -> Difference {
        let mut touched = self.asked.iter().any(|host| services.contains(host));
        for (id, object) in objects {
            match id.kind {
                Kind::IngressClass => self.classes.set(&id.name, object.as_ref()),
                Kind::Ingress => self.set((id.namespace.clone(), id.name.clone()), object.as_ref()),
                _ => continue,
            }
            touched = true;
        }
        if touched { self.make(mesh, registry) } else { Difference::default() }
    }

    fn set(&mut self, name: (Str, Str), object: Option<&Object>) {
        if let Some(rank) = self.ranks.remove(&name) {
            self.all.remove(&rank);
        }
        if let Some(object) = object {
            let rank = (object.metadata.creation_timestamp, format!("{}.{}", name.1, name.0));
            self.ranks.insert(name, rank.clone());
            self.all.insert(rank, object.clone());
        }
    }

    fn make(&mut self, mesh: &MeshConfig, registry: &Registry) -> Difference {
        let mut maker = Maker {
            mesh,
            registry,
            made: BTreeMap::new(),
            names: FxHashMap::default(),
            asked: BTreeSet::new(),
        };
        let mut served = false;
        for object in self.all.values() {
            let Some(ingress) = object.spec_as::<Ingress>() else { continue };
            if self.classes.serve(object, ingress, mesh) {
                served = true;
                maker.add(object, ingress);
            }
        }
        maker.made.values_mut().for_each(|made| made.rules.sort_by_key(|rule| order(&rule.route)));
        self.asked = maker.asked;
        let mut difference = Difference::default();
        if served != std::mem::replace(&mut self.served, served) {
            difference.gateway = Some(gateway(mesh, served));
        }
        let before = std::mem::replace(&mut self.made, maker.made);
        for name in before.keys().filter(|name| !self.made.contains_key(*name)) {
            difference.virtual_services.push((name.clone(), None));
        }
        for (name, made) in self.made.iter().filter(|(name, made)| before.get(*name) != Some(*made)) {
            difference.virtual_services.push((name.clone(), Some(made.resolved(name, mesh))));
        }
        difference
    }
}

/// The Gateway of all Ingresses.
fn gateway(mesh: &MeshConfig, served: bool) -> Change {
    let server = Server {
        port: Port { number: PORT, protocol: "HTTP".into(), name: "http-80-ingress".into(), target_port: 0 },
        hosts: vec!["*".into()],
        ..Server::default()
    };
    let spec = meltemi_config::networking::Gateway {
        servers: vec![server],
        selector: [("istio".into(), mesh.ingress_selector().into())].into(),
    };
    let object = Object::new(INGRESS_NAMESPACE, INGRESS_GATEWAY, Spec::Gateway(Arc::new(spec)));
    (object.id(), served.then_some(object))
}

struct Maker<'a> {
    mesh: &'a MeshConfig,
    registry: &'a Registry,
    made: BTreeMap<(Str, Str), Made>,
    /// Names by host: rules of one host are one VirtualService, that of the oldest Ingress.
    names: FxHashMap<Str, (Str, Str)>,
    asked: BTreeSet<Host>,
}

impl Maker<'_> {
    fn add(&mut self, object: &Object, ingress: &Ingress) {
        for (at, rule) in ingress.spec.rules.iter().enumerate() {
            let host = rule.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| "*".into());
            let paths = rule.http.paths.iter().enumerate();
            let rules: Vec<Rule> =
                paths.filter_map(|(number, path)| self.rule(object, (at, number), path)).collect();
            if rules.is_empty() {
                continue;
            }
            let name = match self.names.get(&host) {
                Some(name) => name.clone(),
                None => self.name(object, &host),
            };
            let made = self.made.entry(name).or_insert_with(|| Made {
                created: object.metadata.creation_timestamp,
                host,
                rules: Vec::new(),
            });
            made.rules.extend(rules);
        }
    }

    /// Istio's name of the VirtualService; where `a.b` and `a-b` are hosts of one Ingress, the second keeps its dots.
    fn name(&mut self, object: &Object, host: &Str) -> (Str, Str) {
        let name = |prefix: &str| -> (Str, Str) {
            (object.namespace().clone(), format!("{prefix}-{}-{INGRESS_GATEWAY}", object.name()).into())
        };
        let usual = name(&host.replace('.', "-"));
        let name = if self.made.contains_key(&usual) { name(host) } else { usual };
        self.names.insert(host.clone(), name.clone());
        name
    }

    /// A path as a rule; what leads nowhere is left out.
    fn rule(&mut self, object: &Object, (rule, path): (usize, usize), it: &IngressPath) -> Option<Rule> {
        let condition = HttpMatchRequest { uri: uri(it)?, ..HttpMatchRequest::default() };
        let destination = self.destination(object.namespace(), &it.backend)?;
        let to = HttpRouteDestination { destination, weight: 100, ..HttpRouteDestination::default() };
        let route = HttpRoute { matches: vec![condition], route: vec![to], ..HttpRoute::default() };
        let steps = [
            Seg::Key("spec"),
            Seg::Key("rules"),
            Seg::Index(rule),
            Seg::Key("http"),
            Seg::Key("paths"),
            Seg::Index(path),
        ];
        let place = object.place_of(&steps).map(|place| Place { file: place.file, line: place.line });
        let resource = ingress_path(object.namespace(), object.name()).into();
        Some(Rule { route, origin: Origin { resource, place } })
    }

    /// The Service of the namespace and its port. A name of a port must be one of the Service's; a number is taken as it is.
    fn destination(&mut self, namespace: &str, backend: &IngressBackend) -> Option<Destination> {
        let service = backend.service.as_ref()?;
        let host = Host::new(&format!("{}.{namespace}.svc.{}", service.name, self.mesh.domain()));
        let number = match service.port.number {
            0 => {
                self.asked.insert(host.clone());
                let services = self.registry.services.get(&host)?;
                let ports =
                    services.iter().find(|service| service.kubernetes).map(|service| &service.ports)?;
                ports.iter().find(|port| Some(&port.name) == service.port.name.as_ref())?.number
            }
            number => u32::from(number),
        };
        Some(Destination { host, port: Some(PortSelector { number }), ..Destination::default() })
    }
}

/// The condition on the path: `Some(None)` takes all, `None` can never hold.
fn uri(it: &IngressPath) -> Option<Option<StringMatch>> {
    let path = it.path.as_deref().unwrap_or_default();
    let prefix = |path: &str| {
        let inner = path.strip_suffix('/').unwrap_or(path);
        // No path has these, and no proxy takes such a prefix.
        let fits = path == "/" || inner.len() > 1 && !inner.ends_with('/') && !inner.contains(['?', '#']);
        fits.then(|| Some(StringMatch::Prefix(path.into())))
    };
    match it.path_type {
        PathType::Exact => Some(Some(StringMatch::Exact(path.into()))),
        PathType::Prefix => prefix(path),
        PathType::ImplementationSpecific => match path {
            "" | "*" | "/*" | ".*" => Some(None),
            _ => match path.strip_suffix(".*").or_else(|| path.strip_suffix("/*")) {
                Some(begin) => prefix(begin),
                None => Some(Some(StringMatch::Exact(path.into()))),
            },
        },
    }
}

/// Longer paths go first, of equal length exact ones; what takes all goes last.
fn order(rule: &HttpRoute) -> (std::cmp::Reverse<usize>, bool) {
    let (length, exact) = match rule.matches.first().and_then(|condition| condition.uri.as_ref()) {
        Some(StringMatch::Exact(path)) => (path.len() + 1, true),
        Some(StringMatch::Prefix(path)) => (path.len() + 1, false),
        _ => (0, false),
    };
    (std::cmp::Reverse(length), !exact)
}

impl Made {
    fn resolved(&self, name: &(Str, Str), mesh: &MeshConfig) -> Resolved {
        let spec = VirtualService {
            hosts: vec![Host::new(&self.host)],
            gateways: vec![format!("{INGRESS_NAMESPACE}/{INGRESS_GATEWAY}").into()],
            http: self.rules.iter().map(|rule| rule.route.clone()).collect(),
            ..VirtualService::default()
        };
        let mut object = Object::new(&name.0, &name.1, Spec::VirtualService(Arc::new(spec.clone())));
        Arc::make_mut(&mut object.metadata).creation_timestamp = self.created;
        let resolved = Resolved::new(&object, &Arc::new(spec), mesh);
        let origin =
            self.rules.first().map_or_else(|| resolved.origin.clone(), |rule| rule.origin.resource.clone());
        let order: Age = (self.created, name.0.clone(), name.1.clone());
        Resolved {
            origins: self.rules.iter().map(|rule| rule.origin.clone()).collect(),
            origin,
            by_segments: true,
            order,
            ..resolved
        }
    }
}
