//! Listeners and route tables of gateways: the servers of all Gateways that select the proxy, merged by port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::networking::gateway::Server;
use meltemi_config::networking::tls::ServerTlsMode;
use meltemi_config::{Host, Protocol, Str, host};
use rustc_hash::FxHashMap;

use super::View;
use super::access_log::Side;
use super::http_route::Place;
use super::tcp::L4Place;
use crate::model::listener::{Condition, Direction, FilterChain, Listener, Routes, Terminal};
use crate::model::route::{Route, RouteConfiguration, VirtualHost};
use crate::names::{self, WILDCARD_ADDRESS};
use crate::registry::Service;
use crate::shared::Shared;
use crate::snapshot::gateway::Resolved as Gateway;
use crate::snapshot::virtual_service::Resolved as VirtualService;

/// What the mesh's own clients offer over mutual TLS.
const MESH_PROTOCOLS: [&str; 5] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// A server and whose it is.
#[derive(Debug, Clone, Copy)]
struct Served<'a> {
    gateway: &'a Arc<Gateway>,
    server: &'a Server,
}

/// The servers that share a listener.
#[derive(Debug)]
struct Merged<'a> {
    bind: &'a str,
    /// Port of the listener.
    port: u32,
    servers: Vec<Served<'a>>,
}

impl Served<'_> {
    fn protocol(&self) -> Protocol {
        Protocol::parse(&self.server.port.protocol).unwrap_or(Protocol::Tcp)
    }

    /// Plain HTTP.
    fn is_http(&self) -> bool {
        self.protocol().is_http()
    }

    /// TLS that is not opened here.
    fn passes_tls(&self) -> bool {
        let mode = self.server.tls.as_ref().map(|tls| tls.mode);
        self.protocol().is_tls() && mode == Some(ServerTlsMode::Passthrough)
    }

    /// TLS that is not opened here, for clusters that its server name spells out.
    fn passes_by_cluster(&self) -> bool {
        self.protocol().is_tls()
            && self.server.tls.as_ref().is_some_and(|tls| tls.mode == ServerTlsMode::AutoPassthrough)
    }

    /// Whether another server may share its port.
    fn shares_with(&self, other: &Served<'_>) -> bool {
        let tls = |served: &Served<'_>| served.passes_tls() || served.passes_by_cluster();
        self.is_http() && other.is_http() || tls(self) && tls(other)
    }

    /// A host as names are compared between servers: `*/host` is `host`, `./host` is of its namespace.
    fn shared_host<'h>(&self, host: &'h str) -> &'h str {
        host.strip_prefix("*/").unwrap_or(host)
    }

    fn is_tcp(&self) -> bool {
        !self.is_http() && !self.protocol().is_tls() && self.server.tls.is_none()
    }

    /// Whether it can be served: TLS that is opened here needs certificates, which come with identity.
    fn is_supported(&self) -> bool {
        self.is_http() || self.passes_tls() || self.passes_by_cluster() || self.is_tcp()
    }

    /// Whether clients may name a service: one of the mesh that its hosts cover.
    fn is_for(&self, service: &Service) -> bool {
        !service.external && self.hosts().any(|(_, pattern)| service.host.subset_of(&pattern))
    }

    /// Host patterns with the namespace from which VirtualServices may bind: `None` for any.
    fn hosts(&self) -> impl Iterator<Item = (Option<Str>, Host)> + '_ {
        self.server.hosts.iter().map(|entry| match entry.split_once('/') {
            None => (None, Host::new(entry)),
            Some(("*", host)) => (None, Host::new(host)),
            Some((".", host)) => (Some(self.gateway.namespace.clone()), Host::new(host)),
            Some((namespace, host)) => (Some(namespace.into()), Host::new(host)),
        })
    }
}

impl View<'_> {
    /// Servers by address and port, in the order in which they win: HTTP servers share, TLS servers share as long as no name is
    /// there twice, of others the first has the port (SEM-171, SEM-172).
    fn merged_servers(&self) -> Vec<Merged<'_>> {
        let mut merged: BTreeMap<(u32, &str), Merged<'_>> = BTreeMap::new();
        let mut tls_hosts: BTreeSet<(u32, &str, &str)> = BTreeSet::new();
        let switches = &self.snapshot.mesh.switches;
        // What the Gateway API has made is not for Istio's Gateways of other namespaces (SEM-177).
        let managed = switches.strict_gateway_merging && self.labels.contains_key(names::MANAGED_LABEL);
        let own_only = managed || switches.scope_gateway_to_namespace;
        let own = |gateway: &&std::sync::Arc<crate::snapshot::gateway::Resolved>| {
            gateway.selects(&self.labels) && (!own_only || gateway.namespace == self.node.namespace)
        };
        for gateway in self.snapshot.gateways.iter().filter(own) {
            for server in &gateway.spec.servers {
                let served = Served { gateway, server };
                let bind = server.bind.as_deref().unwrap_or_default();
                let Some(port) = self.listener_port(server.port.number).filter(|_| served.is_supported())
                else {
                    continue;
                };
                if server.tls.is_some() {
                    let hosts = server.hosts.iter().map(|host| (port, bind, served.shared_host(host)));
                    if hosts.clone().any(|host| tls_hosts.contains(&host)) {
                        continue;
                    }
                    tls_hosts.extend(hosts);
                }
                let listener =
                    merged.entry((port, bind)).or_insert_with(|| Merged { bind, port, servers: Vec::new() });
                if listener.servers.first().is_none_or(|first| first.shares_with(&served)) {
                    listener.servers.push(served);
                }
            }
        }
        merged.into_values().collect()
    }

    /// A server's port is the Service's; the listener has the target port (SEM-173). `None` if the proxy may not open it.
    fn listener_port(&self, number: u32) -> Option<u32> {
        let target = self.own_ports.iter().find(|own| own.service_port == number).map(|own| own.target);
        let port = target.unwrap_or(number);
        (port >= 1024 || !self.node.metadata.unprivileged).then_some(port)
    }

    /// All listeners of the gateway.
    pub(super) fn gateway_listeners(&self) -> Vec<Listener> {
        self.merged_servers().iter().filter_map(|merged| self.gateway_listener(merged)).collect()
    }

    fn gateway_listener(&self, merged: &Merged<'_>) -> Option<Listener> {
        let addresses = [merged.bind, &*self.node.metadata.bind, WILDCARD_ADDRESS];
        let address: Str =
            addresses.into_iter().find(|address| !address.is_empty()).unwrap_or_default().into();
        let name = names::listener(&address, merged.port);
        let first = merged.servers.first()?;
        let http = first.is_http();
        let chains = match http {
            true => vec![self.gateway_http_chain(merged, &name)],
            false if first.is_tcp() => self.gateway_tcp_chains(merged),
            false => self.gateway_tls_chains(merged),
        };
        let tls_inspector = chains.iter().any(|chain| !chain.condition.server_names.is_empty());
        Some(Listener {
            tls_inspector,
            chains,
            access_log: self.listener_logs(Side::Client),
            // Clients of gateways speak first; what they say is waited for.
            detection_timeout: Some(std::time::Duration::ZERO),
            proxy_protocol: self.proxy_config().is_some_and(|config| {
                config.gateway_topology.as_ref().is_some_and(|topology| topology.proxy_protocol.is_some())
            }),
            ..Listener::new(name, &address, merged.port, Direction::Outbound)
        })
        .filter(|listener| !listener.chains.is_empty())
    }

    fn gateway_http_chain(&self, merged: &Merged<'_>, listener: &str) -> FilterChain {
        let routes = Routes::Rds(names::gateway_route(merged.port, merged.bind));
        let http = self.outbound_http(names::stat_prefix(&format!("outbound_{listener}")), routes);
        FilterChain {
            name: String::new(),
            condition: Condition::default(),
            terminal: Terminal::Http(Box::new(http)),
            origin: None,
        }
    }

    /// Connections of a TCP server go where the first TCP rule that holds says.
    fn gateway_tcp_chains(&self, merged: &Merged<'_>) -> Vec<FilterChain> {
        merged.servers.iter().find_map(|served| self.gateway_tcp(served)).into_iter().collect()
    }

    fn gateway_tcp(&self, served: &Served<'_>) -> Option<FilterChain> {
        let (gateway, port) = (&served.gateway.full_name, served.server.port.number);
        let place = L4Place { gateway, port };
        self.virtual_services_of(gateway).find_map(|resolved| {
            if self.intersections(served, resolved).is_empty() {
                return None;
            }
            let mut rules = resolved.spec.tcp.iter().filter(|rule| !rule.route.is_empty());
            let rule = rules.find(|rule| self.tcp_rule_holds(resolved, rule, place))?;
            Some(FilterChain {
                name: String::new(),
                condition: Condition::default(),
                terminal: Terminal::Tcp(self.tcp_to_destinations(resolved, &rule.route, port)),
                origin: Some(resolved.origin.clone()),
            })
        })
    }

    /// TLS that passes is told apart by server name, as the TLS rules say (SEM-175). A condition with a name that another one
    /// has already is left out, as in Istio (SEM-172).
    fn gateway_tls_chains(&self, merged: &Merged<'_>) -> Vec<FilterChain> {
        let mut taken: Vec<Host> = Vec::new();
        let mut chains = Vec::new();
        for served in &merged.servers {
            if served.passes_by_cluster() {
                chains.extend(self.cluster_chains(served));
                continue;
            }
            let place = L4Place { gateway: &served.gateway.full_name, port: served.server.port.number };
            for resolved in self.virtual_services_of(place.gateway) {
                if self.intersections(served, resolved).is_empty() {
                    continue;
                }
                for rule in resolved.spec.tls.iter().filter(|rule| !rule.route.is_empty()) {
                    for wanted in rule.matches.iter().filter(|wanted| self.tls_holds(resolved, wanted, place))
                    {
                        let names = &wanted.sni_hosts;
                        if names.iter().any(|name| taken.contains(name)) {
                            continue;
                        }
                        taken.extend(names.iter().cloned());
                        chains.push(self.tls_rule_chain(resolved, rule, place, names));
                    }
                }
            }
        }
        chains
    }

    /// A chain for each cluster of each service that the server is for: the name in the hello is the cluster's, and only mutual
    /// TLS of the mesh gets through (SEM-175).
    fn cluster_chains(&self, served: &Served<'_>) -> Vec<FilterChain> {
        let mut chains = Vec::new();
        for service in self.scope.services.values().filter(|service| served.is_for(service)) {
            for port in &service.ports {
                for name in self.sni_cluster_names(service, port.number) {
                    let condition = Condition {
                        server_names: vec![name.as_str().into()],
                        protocols: MESH_PROTOCOLS.iter().map(|name| (*name).into()).collect(),
                        ..Condition::default()
                    };
                    let terminal = Terminal::Tcp(self.tcp_to(&name));
                    chains.push(FilterChain { name: String::new(), condition, terminal, origin: None });
                }
            }
        }
        chains
    }

    /// Names by which other networks ask for a port of a service and its subsets.
    fn sni_cluster_names(&self, service: &Service, port: u32) -> Vec<String> {
        let rule = self.rule(service);
        let subsets = rule.into_iter().flat_map(|rule| &rule.subsets).map(|subset| &*subset.name);
        let names = std::iter::once("").chain(subsets);
        names.map(|subset| names::sni_cluster(port, subset, &service.host)).collect()
    }

    /// Whether a server lets clients of other networks through to a service.
    pub(super) fn passes_by_cluster(&self, service: &Service) -> bool {
        let merged = self.merged_servers();
        let mut servers = merged.iter().flat_map(|merged| &merged.servers);
        servers.any(|served| served.passes_by_cluster() && served.is_for(service))
    }

    /// VirtualServices for a gateway that this proxy may see, in the order in which they win.
    fn virtual_services_of<'v>(
        &'v self,
        gateway: &'v str,
    ) -> impl Iterator<Item = &'v Arc<VirtualService>> + 'v {
        let all = self.snapshot.virtual_services.iter();
        let visible = all.filter(|resolved| resolved.export_to.visible_in(&self.node.namespace));
        visible.filter(move |resolved| resolved.is_for(gateway))
    }

    /// Hosts that a VirtualService and a server both mean: the narrower one of each pair (SEM-174).
    fn intersections(&self, served: &Served<'_>, resolved: &VirtualService) -> Vec<Host> {
        let mut hosts = Vec::new();
        for (namespace, pattern) in served.hosts() {
            if namespace.is_some_and(|namespace| namespace != resolved.namespace) {
                continue;
            }
            for own in &resolved.hosts {
                let narrower = match () {
                    () if host::subset_of(own, &pattern) => own.clone(),
                    () if host::subset_of(&pattern, own) => pattern.clone(),
                    () => continue,
                };
                if !hosts.contains(&narrower) {
                    hosts.push(narrower);
                }
            }
        }
        hosts
    }

    /// Names of all route tables of the gateway.
    pub(super) fn gateway_routes(&self) -> Vec<String> {
        let merged = self.merged_servers();
        let http = merged.iter().filter(|merged| merged.servers.first().is_some_and(Served::is_http));
        http.map(|merged| names::gateway_route(merged.port, merged.bind)).collect()
    }

    /// A route table of the gateway.
    pub(super) fn gateway_route(&self, name: &str) -> Option<RouteConfiguration> {
        let merged = self.merged_servers();
        let mut named = merged.iter().filter(|merged| names::gateway_route(merged.port, merged.bind) == name);
        let merged = named.next()?;
        let mut hosts: BTreeMap<Host, GatewayHost> = BTreeMap::new();
        for served in &merged.servers {
            self.serve(served, &mut hosts);
        }
        let port = merged.servers.first().map_or(merged.port, |served| served.server.port.number);
        let mut virtual_hosts = self.collapsed(hosts, port);
        if virtual_hosts.is_empty() {
            virtual_hosts.push(Shared::new(black_hole(port)));
        }
        Some(RouteConfiguration { name: name.to_owned(), virtual_hosts, ignore_port: true })
    }

    /// Virtual hosts; names with the same routes share one, called by the first of them.
    fn collapsed(&self, hosts: BTreeMap<Host, GatewayHost>, port: u32) -> Vec<Shared<VirtualHost>> {
        let mut collapsed: Vec<VirtualHost> = Vec::new();
        let mut known: FxHashMap<(Vec<Route>, bool), usize> = FxHashMap::default();
        for (host, found) in hosts {
            let found = found.sorted();
            let next = collapsed.len();
            let at = *known.entry((found.routes.clone(), found.require_tls)).or_insert(next);
            if at < next {
                collapsed[at].domains.push(host.to_string());
                continue;
            }
            collapsed.push(VirtualHost {
                name: names::virtual_host(&host, port),
                domains: vec![host.to_string()],
                routes: found.routes,
                require_tls: found.require_tls,
                attempt_count: self.counts_attempts(),
            });
        }
        collapsed.into_iter().map(Shared::new).collect()
    }

    /// Adds what a server serves: the routes of several VirtualServices for one host come one after another (SEM-023).
    fn serve(&self, served: &Served<'_>, hosts: &mut BTreeMap<Host, GatewayHost>) {
        let redirects = served.server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        let gateways = [served.gateway.full_name.clone()];
        let tls = served.server.tls.is_some();
        let place = Place { gateways: &gateways, port: served.server.port.number, tls };
        for resolved in self.virtual_services_of(&served.gateway.full_name) {
            let intersections = self.intersections(served, resolved);
            if intersections.is_empty() {
                continue;
            }
            let routes = self.http_routes(resolved, place);
            if routes.is_empty() && !redirects {
                continue;
            }
            for host in intersections {
                let found = hosts.entry(host).or_default();
                found
                    .routes
                    .extend(routes.iter().filter(|route| !found.has(route)).cloned().collect::<Vec<_>>());
                found.require_tls |= redirects;
            }
        }
        if redirects {
            for (_, host) in served.hosts() {
                hosts.entry(host).or_default().require_tls = true;
            }
        }
    }
}

/// A host in the making.
#[derive(Debug, Default)]
struct GatewayHost {
    routes: Vec<Route>,
    require_tls: bool,
}

impl GatewayHost {
    /// Two servers of one port give the same VirtualService twice.
    fn has(&self, route: &Route) -> bool {
        self.routes.contains(route)
    }

    /// Only routes that take everything go to the end, so that they hide none of another resource (SEM-023).
    fn sorted(mut self) -> GatewayHost {
        self.routes.sort_by_key(|route| route.condition.is_catch_all());
        self
    }
}

/// The host of a port for which nobody has routes.
fn black_hole(port: u32) -> VirtualHost {
    VirtualHost {
        name: format!("blackhole:{port}"),
        domains: vec!["*".to_owned()],
        // Without a route, every request gets 404 and the flag NR.
        routes: Vec::new(),
        require_tls: false,
        attempt_count: false,
    }
}
