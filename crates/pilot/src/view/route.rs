//! Route tables of sidecars: one for each port of HTTP listeners, with a virtual host for each service on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_config::{Host, Str};

use super::http_route::{Place, default_route};
use super::scope::Egress;
use super::{View, retry};
use crate::model::route::{Action, HeaderChanges, Route, RouteConfiguration, RouteMatch, VirtualHost};
use crate::model::route::{Forward, WeightedCluster};
use crate::names::{self, ALLOW_ANY, BLOCK_ALL, MESH_GATEWAY, PASSTHROUGH_CLUSTER, WILDCARD_ADDRESS};
use crate::node::Role;
use crate::registry::Service;
use crate::shared::Shared;

/// The port on which a VirtualService for an unknown host has an effect (SEM-028).
const UNKNOWN_HOST_PORT: u32 = 80;

impl View<'_> {
    /// The route table of that name, if a listener of this proxy uses it.
    pub fn route_table(&self, name: &str) -> Option<RouteConfiguration> {
        match self.node.role {
            Role::Router => self.gateway_route(name),
            Role::Sidecar => self.sidecar_route(name),
        }
    }

    fn sidecar_route(&self, name: &str) -> Option<RouteConfiguration> {
        let used = self.http_listeners().into_iter().find(|listener| listener.route == name)?;
        Some(match &used.service {
            Some(service) => self.sniffed_route(name, used.egress, service, used.port),
            None => self.port_route(name, used.egress, used.port, used.explicit),
        })
    }

    /// The table of a port. `explicit`: the listener's own address is the destination, so nothing can be let through.
    fn port_route(&self, name: &str, egress: &Egress, port: u32, explicit: bool) -> RouteConfiguration {
        let mut taken = Domains::default();
        let mut hosts = Vec::new();
        for service in egress.services.values() {
            if service.port(port).is_some_and(|port| super::outbound::shares_port(service, port)) {
                hosts.extend(self.service_host(egress, service, port, &mut taken));
            }
        }
        if port == UNKNOWN_HOST_PORT {
            self.unknown_hosts(egress, port, &mut taken, &mut hosts);
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        if taken.claim(vec!["*".to_owned()]).len() == 1 {
            hosts.push(Shared::new(self.unknown_host(explicit)));
        }
        RouteConfiguration { name: name.to_owned(), virtual_hosts: hosts, ignore_port: true }
    }

    /// The table of one sniffed service: its listener has its address, so every host is it (SEM-141).
    fn sniffed_route(
        &self,
        name: &str,
        egress: &Egress,
        service: &Arc<Service>,
        port: u32,
    ) -> RouteConfiguration {
        let routes = self.service_routes(egress, service, port);
        let host = VirtualHost {
            name: names::virtual_host(&service.host, port),
            domains: vec!["*".to_owned()],
            routes,
            require_tls: false,
            attempt_count: true,
        };
        RouteConfiguration {
            name: name.to_owned(),
            virtual_hosts: vec![Shared::new(host)],
            ignore_port: true,
        }
    }

    fn service_host(
        &self,
        egress: &Egress,
        service: &Arc<Service>,
        port: u32,
        taken: &mut Domains,
    ) -> Option<Shared<VirtualHost>> {
        let domains = taken.claim(domains(service, &self.node.namespace, &self.node.domain));
        if domains.is_empty() {
            return None;
        }
        Some(Shared::new(VirtualHost {
            name: names::virtual_host(&service.host, port),
            domains,
            routes: self.service_routes(egress, service, port),
            require_tls: false,
            attempt_count: true,
        }))
    }

    /// The routes of the first VirtualService that has any for this port, else the default (SEM-022).
    pub(crate) fn service_routes(&self, egress: &Egress, service: &Service, port: u32) -> Vec<Route> {
        let mesh = [Str::from(MESH_GATEWAY)];
        let place = Place { gateways: &mesh, port };
        let first = egress.virtual_services.of(&service.host).find(|resolved| !resolved.spec.http.is_empty());
        let routes = first.map(|resolved| self.http_routes(resolved, place)).unwrap_or_default();
        if routes.is_empty() { vec![self.default_route(service, port)] } else { routes }
    }

    fn default_route(&self, service: &Service, port: u32) -> Route {
        let hash = self.hash_keys(service, port, "");
        let mesh_retry = self.snapshot.mesh.default_http_retry_policy.as_ref();
        let operation = format!("{}:{port}/*", service.host);
        let cluster = names::outbound_cluster(port, "", &service.host);
        default_route(cluster, operation, retry::retry(None, mesh_retry, !hash.is_empty()), hash)
    }

    /// Virtual hosts of VirtualServices for hosts that no service has.
    fn unknown_hosts(
        &self,
        egress: &Egress,
        port: u32,
        taken: &mut Domains,
        into: &mut Vec<Shared<VirtualHost>>,
    ) {
        let mesh = [Str::from(MESH_GATEWAY)];
        for resolved in egress.virtual_services.all() {
            for host in resolved.hosts.iter().filter(|host| !egress.services.contains_key(*host)) {
                let routes = self.http_routes(resolved, Place { gateways: &mesh, port });
                let domains =
                    if routes.is_empty() { Vec::new() } else { taken.claim(vec![host.to_string()]) };
                if !domains.is_empty() {
                    into.push(Shared::new(VirtualHost {
                        name: names::virtual_host(host, port),
                        domains,
                        routes,
                        require_tls: false,
                        attempt_count: true,
                    }));
                }
            }
        }
    }

    /// What happens to hosts that nobody knows (SEM-136).
    fn unknown_host(&self, explicit: bool) -> VirtualHost {
        let any = self.scope.allow_any && !explicit;
        let action = match any {
            true => Action::Forward(Box::new(Forward {
                clusters: vec![WeightedCluster {
                    cluster: PASSTHROUGH_CLUSTER.to_owned(),
                    weight: 1,
                    headers: HeaderChanges::default(),
                    host_rewrite: Str::default(),
                }],
                timeout: std::time::Duration::ZERO,
                retry: None,
                prefix_rewrite: Str::default(),
                regex_rewrite: None,
                host_rewrite: Str::default(),
                hash: Vec::new(),
            })),
            false => Action::Respond { status: 502, body: Vec::new() },
        };
        let name = if any { ALLOW_ANY } else { BLOCK_ALL };
        VirtualHost {
            name: name.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                name: name.to_owned(),
                condition: RouteMatch::any(),
                action,
                headers: HeaderChanges::default(),
                origin: None,
                decorator: String::new(),
                stat_prefix: Str::default(),
            }],
            require_tls: false,
            attempt_count: true,
        }
    }
}

/// Domains of a table so far: Envoy refuses a table in which one is there twice.
#[derive(Debug, Default)]
pub(super) struct Domains(BTreeSet<String>);

impl Domains {
    /// Those of the domains that nobody has yet.
    pub(super) fn claim(&mut self, domains: Vec<String>) -> Vec<String> {
        domains.into_iter().filter(|domain| self.0.insert(domain.to_ascii_lowercase())).collect()
    }
}

/// The names under which clients in a namespace know a service, full name first (SEM-145).
fn domains(service: &Service, namespace: &str, domain: &str) -> Vec<String> {
    let host: &Host = &service.host;
    let mut domains = vec![host.to_string()];
    let suffix = format!(".{}.svc.{domain}", service.namespace);
    if let Some(short) = host.strip_suffix(suffix.as_str()).filter(|short| !short.is_empty()) {
        if !host.is_wildcard() {
            domains.push(format!("{host}."));
        }
        if &*service.namespace == namespace {
            domains.push(short.to_owned());
        }
        domains.push(format!("{short}.{}.svc", service.namespace));
        domains.push(format!("{short}.{}", service.namespace));
        if service.headless {
            domains.push(format!("*.{host}"));
        }
    }
    for address in
        service.addresses.iter().filter(|address| !address.contains('/') && &***address != WILDCARD_ADDRESS)
    {
        domains.push(if address.contains(':') { format!("[{address}]") } else { address.to_string() });
    }
    let mut seen = BTreeSet::new();
    domains.retain(|domain| seen.insert(domain.clone()));
    domains
}
