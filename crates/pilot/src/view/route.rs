//! Route tables of sidecars: one for each port of HTTP listeners, with a virtual host for each service on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_config::{Host, Str};

use super::http_route::{Place, default_route};
use super::outbound::Entry;
use super::seat::Seat;
use super::{View, retry};
use crate::model::route::{Action, Forward, Retry, Route, RouteConfiguration, VirtualHost};
use crate::names::{self, ALLOW_ANY, BLOCK_ALL, MESH_GATEWAY, WILDCARD_ADDRESS};
use crate::node::Role;
use crate::registry::Service;
use crate::shared::Shared;
use crate::snapshot::scope::Egress;

/// The port on which a VirtualService for an unknown host has an effect (SEM-028).
pub const UNKNOWN_HOST_PORT: u32 = 80;

impl View<'_> {
    /// The route table of that name, if a listener of this proxy uses it.
    pub fn route_table(&self, name: &str) -> Option<RouteConfiguration> {
        match self.node.role {
            Role::Router => self.gateway_route(name),
            Role::Sidecar => self.sidecar_route(name),
        }
    }

    fn sidecar_route(&self, name: &str) -> Option<RouteConfiguration> {
        let seat = self.seats().into_iter().find(|seat| seat.name == name)?;
        let mut taken = Domains::default();
        let mut hosts = Vec::new();
        for host in self.hosts_of(&seat) {
            let of_host = self.virtual_hosts(&seat, host).into_iter();
            hosts.extend(of_host.filter_map(|host| taken.settle(host)));
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts.extend(self.catch_all(&seat).and_then(|host| taken.settle(host)));
        let virtual_hosts = hosts.into_iter().map(Shared::new).collect();
        Some(RouteConfiguration { virtual_hosts, ..seat.bare() })
    }

    /// The tables of a sidecar, by port and name.
    pub fn seats(&self) -> Vec<Seat> {
        if self.node.role == Role::Router {
            return Vec::new();
        }
        let (of_endpoints, others) = self.entries();
        let mut seats: Vec<Seat> = others.iter().chain(&of_endpoints).filter_map(Entry::seat).collect();
        // Endpoints of one service share a table.
        seats.sort_by(|a, b| (a.port, &a.name).cmp(&(b.port, &b.name)));
        seats.dedup();
        seats
    }

    /// Hosts that may have a virtual host in a table, in the order in which they get domains that several want: services,
    /// then hosts that only VirtualServices know.
    pub fn hosts_of<'v>(&'v self, seat: &'v Seat) -> Box<dyn Iterator<Item = &'v Host> + 'v> {
        let egress = &self.scope.egress[seat.egress];
        match &seat.service {
            Some(host) => Box::new(std::iter::once(host)),
            None => {
                let unknown = egress.virtual_services.hosts();
                let unknown = unknown.filter(|host| !egress.services.contains_key(*host));
                Box::new(egress.services.keys().chain(unknown))
            }
        }
    }

    /// The virtual hosts of a host in a table, with all domains that they would like.
    pub fn virtual_hosts(&self, seat: &Seat, host: &Host) -> Vec<VirtualHost> {
        match seat.proxies {
            true => self.proxied_hosts(seat, host),
            false => self.virtual_host(seat, host).into_iter().collect(),
        }
    }

    /// One for each HTTP port: an authority without port means port 80.
    fn proxied_hosts(&self, seat: &Seat, host: &Host) -> Vec<VirtualHost> {
        let egress = &self.scope.egress[seat.egress];
        let Some(service) = egress.services.get(host) else { return Vec::new() };
        let names = domains(service, self.addresses(service), &self.node.namespace, &self.node.domain);
        let of_port = |number: u32| VirtualHost {
            name: names::virtual_host(&service.host, number),
            domains: proxied_domains(&names, number),
            routes: self.service_routes(egress, service, number),
            require_tls: false,
            attempt_count: self.counts_attempts(),
        };
        let http = |port: &&crate::registry::Port| port.protocol.is_http() || port.protocol.is_auto();
        service.ports.iter().filter(http).map(|port| of_port(port.number)).collect()
    }

    fn virtual_host(&self, seat: &Seat, host: &Host) -> Option<VirtualHost> {
        let egress = &self.scope.egress[seat.egress];
        let Some(service) = egress.services.get(host) else { return self.unknown_host(seat, egress, host) };
        let port = service.port(seat.port)?;
        let domains = match seat.service {
            // Its listener has its address, so every host is it (SEM-141).
            Some(_) => vec!["*".to_owned()],
            None if self.shares_port(service, port) => {
                domains(service, self.addresses(service), &self.node.namespace, &self.node.domain)
            }
            None => return None,
        };
        Some(VirtualHost {
            name: names::virtual_host(&service.host, seat.port),
            domains,
            routes: self.service_routes(egress, service, seat.port),
            require_tls: false,
            attempt_count: self.counts_attempts(),
        })
    }

    /// The virtual host of a host that no service has: that of the first VirtualService with routes for it.
    fn unknown_host(&self, seat: &Seat, egress: &Egress, host: &Host) -> Option<VirtualHost> {
        let has_port = |(known, service): (&Host, &Arc<Service>)| {
            host.matches(known) && service.port(seat.port).is_some()
        };
        // A pattern over services is for them alone.
        let served = || host.is_wildcard() && egress.services.iter().any(has_port);
        if seat.port != UNKNOWN_HOST_PORT || seat.service.is_some() || served() {
            return None;
        }
        let mesh = [Str::from(MESH_GATEWAY)];
        let place = Place { gateways: &mesh, port: seat.port, tls: false };
        let mut all = egress.virtual_services.exactly(host).map(|resolved| self.http_routes(resolved, place));
        Some(VirtualHost {
            name: names::virtual_host(host, seat.port),
            domains: vec![host.to_string()],
            routes: all.find(|routes| !routes.is_empty())?,
            require_tls: false,
            attempt_count: self.counts_attempts(),
        })
    }

    /// The routes of the first VirtualService that has any for this port, else the default (SEM-022).
    pub(crate) fn service_routes(&self, egress: &Egress, service: &Service, port: u32) -> Vec<Route> {
        let mesh = [Str::from(MESH_GATEWAY)];
        let place = Place { gateways: &mesh, port, tls: false };
        let mut all =
            self.http_services(egress, &service.host).map(|resolved| self.http_routes(resolved, place));
        all.find(|routes| !routes.is_empty()).unwrap_or_else(|| vec![self.default_route(service, port)])
    }

    fn default_route(&self, service: &Service, port: u32) -> Route {
        let hash = self.hash_keys(service, port, "");
        let cluster = names::outbound_cluster(port, "", &service.host);
        let forward = Forward {
            retry: retry::retry(None, &self.snapshot.mesh, !hash.is_empty()).map(|retry| Retry {
                safe: self.node.metadata.knows_safe_retries() && self.retries_of_mesh(),
                ..retry
            }),
            hash,
            forwarded_host: self.forwards_host(),
            ..Forward::to(&cluster)
        };
        default_route(forward, format!("{}:{port}/*", service.host))
    }

    /// What happens to hosts that nobody knows (SEM-136).
    /// `explicit`: the listener's own address is the destination, so only an egress proxy can take it. `None`: the table of one
    /// service, which takes all.
    pub fn catch_all(&self, seat: &Seat) -> Option<VirtualHost> {
        if seat.service.is_some() {
            return None;
        }
        let forward = |cluster: &str| (ALLOW_ANY, Action::Forward(Box::new(Forward::to(cluster))));
        let leads_on = !seat.explicit || self.egress_proxy().is_some();
        let (name, action) = match self.scope.allow_any && leads_on {
            _ if self.scope.dynamic_dns => forward(names::DYNAMIC_DNS_CLUSTER),
            true => forward(&self.unknown_cluster()),
            false => (BLOCK_ALL, Action::Respond { status: 502, body: Vec::new() }),
        };
        Some(VirtualHost {
            name: name.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route::plain(name, action)],
            require_tls: false,
            attempt_count: self.counts_attempts(),
        })
    }
}

/// Names with the port, and of port 80 without as well.
fn proxied_domains(names: &[String], port: u32) -> Vec<String> {
    let plain = names.iter().filter(|_| port == 80).cloned();
    plain.chain(names.iter().map(|name| format!("{name}:{port}"))).collect()
}

/// Domains of a table so far: Envoy refuses a table in which one is there twice.
#[derive(Debug, Default)]
pub(super) struct Domains(BTreeSet<String>);

impl Domains {
    /// The virtual host with those of its domains that nobody has yet; `None` if none is left.
    fn settle(&mut self, mut host: VirtualHost) -> Option<VirtualHost> {
        host.domains = self.claim(host.domains);
        (!host.domains.is_empty()).then_some(host)
    }

    /// Those of the domains that nobody has yet.
    fn claim(&mut self, domains: Vec<String>) -> Vec<String> {
        domains.into_iter().filter(|domain| self.0.insert(domain.to_ascii_lowercase())).collect()
    }
}

/// The names under which clients in a namespace know a service, full name first, then those of names that stand for it
/// (SEM-145, SEM-147), of headless ones those of single endpoints (SEM-146), then its addresses.
fn domains(service: &Service, addresses: &[Str], namespace: &str, domain: &str) -> Vec<String> {
    let hosts = std::iter::once(&service.host).chain(&service.aliases);
    let mut domains: Vec<String> = hosts.flat_map(|host| names_of(host, namespace, domain)).collect();
    if service.headless {
        let below: Vec<String> = domains.iter().map(|domain| format!("*.{domain}")).collect();
        domains.extend(below);
    }
    for address in
        addresses.iter().filter(|address| !address.contains('/') && &***address != WILDCARD_ADDRESS)
    {
        domains.push(if address.contains(':') { format!("[{address}]") } else { address.to_string() });
    }
    let mut seen = BTreeSet::new();
    domains.retain(|domain| seen.insert(domain.clone()));
    domains
}

/// A host, and the shorter names that its namespace, its cluster and the client's search path allow.
pub(super) fn names_of(host: &Host, namespace: &str, domain: &str) -> Vec<String> {
    let mut names = vec![host.to_string()];
    let Some(short) = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc.")) else {
        return names;
    };
    let Some((name, own)) = short.split_once('.') else { return names };
    if !host.is_wildcard() {
        names.push(format!("{host}."));
        if own == namespace {
            names.push(name.to_owned());
        }
    }
    names.push(format!("{short}.svc"));
    names.push(short.to_owned());
    names
}
