//! Inbound listeners and clusters of sidecars: what reaches the workload, and how.
//!
//! Ports follow from the services that have an endpoint at the proxy's address, or from the Sidecar's ingress listeners, which
//! replace those (SEM-135), or stand beside them where istiod's switch says so. Redirected traffic comes to `virtualInbound`; explicit ports are opened at the workload's address.

use std::collections::BTreeMap;

use meltemi_config::mesh::InboundMode;
use meltemi_config::networking::destination_rule::ConnectionPoolSettings;
use meltemi_config::networking::sidecar::{CaptureMode, IstioIngressListener};
use meltemi_config::{Labels, Protocol, Str};

use super::access_log::Side;
use super::cluster::{PASSTHROUGH_IDLE, stat_name};
use super::http_route::default_route;
use super::{View, policy, retry};
use crate::model::cluster::{Cluster, Discovery, Protocol as Upstream};
use crate::model::endpoint::{Endpoint, Locality};
use crate::model::listener::{Condition, Direction, FilterChain, Listener, Routes, Terminal};
use crate::model::route::{Forward, RouteConfiguration, VirtualHost};
use crate::names::{
    self, BLACK_HOLE_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER, VIRTUAL_INBOUND, WILDCARD_ADDRESS, inbound_cluster,
};
use crate::node::Interception;
use crate::shared::Shared;
use crate::snapshot::destination_rule;

/// Source address of connections to the workload, so that redirection leaves them alone (SEM-149).
const INBOUND_SOURCE: &str = "127.0.0.6";
/// The same where there is no IPv4.
const INBOUND_SOURCE_V6: &str = "::6";

/// A port that traffic comes in at.
#[derive(Debug, Clone)]
struct InboundPort {
    /// Port.
    number: u32,
    /// Address to listen at, where it is opened.
    bind: Str,
    /// Whether it is opened.
    explicit: bool,
    protocol: Protocol,
    /// Where the workload is; `None`: where the client meant to go.
    endpoint: Option<(Str, u32)>,
    /// Operation in traces.
    operation: String,
    /// What statistics call its cluster; empty: its name.
    stat_name: String,
    /// Limits towards the workload.
    pool: Option<ConnectionPoolSettings>,
}

impl View<'_> {
    /// All inbound listeners.
    pub(super) fn inbound_listeners(&self) -> Vec<Listener> {
        let ports = self.inbound_ports();
        let (explicit, redirected): (Vec<_>, Vec<_>) = ports.iter().partition(|port| port.explicit);
        let mut listeners: Vec<Listener> =
            explicit.into_iter().map(|port| self.explicit_listener(port)).collect();
        if !self.node.captures_explicitly() {
            listeners.push(self.virtual_inbound(&redirected));
        }
        listeners
    }

    /// All inbound clusters.
    pub(super) fn inbound_clusters(&self) -> Vec<Cluster> {
        let ports = self.inbound_ports();
        let mut clusters: Vec<Cluster> = ports.iter().map(|port| self.inbound_port_cluster(port)).collect();
        if !self.node.captures_explicitly() {
            let mut passthrough = self.fixed(INBOUND_PASSTHROUGH_CLUSTER, Discovery::OriginalDestination);
            passthrough.source_address = Some(self.inbound_source().into());
            passthrough.protocol = Upstream::Downstream;
            passthrough.pool.idle_timeout = Some(PASSTHROUGH_IDLE);
            clusters.push(passthrough);
        }
        clusters
    }

    fn has_v4(&self) -> bool {
        let addresses = &self.node.addresses;
        addresses.is_empty() || addresses.iter().any(|address| !address.contains(':'))
    }

    fn inbound_source(&self) -> &'static str {
        if self.has_v4() { INBOUND_SOURCE } else { INBOUND_SOURCE_V6 }
    }

    /// Where a workload listens that only its sidecar is to reach.
    fn localhost(&self) -> &'static str {
        if self.has_v4() { "127.0.0.1" } else { "::1" }
    }

    fn inbound_ports(&self) -> Vec<InboundPort> {
        let sidecar = self.scope.sidecar.as_deref();
        let ingress = sidecar.map_or(&[][..], |sidecar| &sidecar.ingress);
        let mut ports: Vec<InboundPort> =
            ingress.iter().map(|listener| self.ingress_port(listener)).collect();
        ports.retain(|port| self.can_open(port));
        if ingress.is_empty() || self.snapshot.mesh.switches.merge_ingress_with_services {
            ports.extend(self.service_ports());
        }
        let mut by_number: BTreeMap<u32, InboundPort> = BTreeMap::new();
        for port in ports {
            by_number.entry(port.number).or_insert(port);
        }
        by_number.into_values().collect()
    }

    /// Whether the port can be listened at: not below 1024 without the right, not one of the proxy's own.
    fn can_open(&self, port: &InboundPort) -> bool {
        let forbidden = port.explicit && self.node.metadata.unprivileged && port.number < 1024;
        let taken = &*port.bind == WILDCARD_ADDRESS && names::STATIC_PORTS.contains(&port.number);
        !forbidden && !taken
    }

    fn service_ports(&self) -> Vec<InboundPort> {
        let explicit = self.node.captures_explicitly();
        let mode =
            self.snapshot.mesh.inbound_traffic_policy.as_ref().map(|policy| policy.mode).unwrap_or_default();
        let local = explicit || mode == InboundMode::Localhost;
        let port = |own: &super::OwnPort| InboundPort {
            number: own.target,
            bind: if explicit { self.address() } else { WILDCARD_ADDRESS.into() },
            explicit,
            protocol: own.protocol,
            endpoint: local.then(|| (self.localhost().into(), own.target)),
            operation: format!("{}:{}/*", own.service.host, own.service_port),
            stat_name: self.inbound_stat_name(own),
            pool: self.inbound_pool(None, Some(own)),
        };
        self.own_ports.iter().map(port).collect()
    }

    fn ingress_port(&self, listener: &IstioIngressListener) -> InboundPort {
        let number = listener.port.number;
        let explicit = match listener.capture_mode {
            CaptureMode::None => true,
            CaptureMode::Iptables => false,
            CaptureMode::Default => self.node.captures_explicitly(),
        };
        let name = listener.port.name.as_deref().unwrap_or_default();
        let declared = listener.port.protocol.as_deref().and_then(Protocol::parse);
        let bind = listener.bind.clone().filter(|bind| !bind.is_empty());
        let own = self.own_ports.iter().find(|own| own.target == number || own.service_port == number);
        InboundPort {
            number,
            bind: bind.unwrap_or_else(|| if explicit { self.address() } else { WILDCARD_ADDRESS.into() }),
            explicit,
            protocol: declared.or_else(|| Protocol::of_name(name)).unwrap_or_default(),
            endpoint: self.ingress_endpoint(listener, number, explicit),
            operation: own
                .map(|own| format!("{}:{}/*", own.service.host, own.service_port))
                .unwrap_or_default(),
            stat_name: own.map(|own| self.inbound_stat_name(own)).unwrap_or_default(),
            pool: self.inbound_pool(listener.connection_pool.as_ref(), own),
        }
    }

    fn inbound_stat_name(&self, own: &super::OwnPort) -> String {
        let pattern = self.snapshot.mesh.inbound_cluster_stat_name.as_deref();
        let port = own.service.port(own.service_port);
        port.map(|port| stat_name(pattern, &own.service, (port, own.target), "")).unwrap_or_default()
    }

    /// Limits towards the workload: the listener's, else the Sidecar's, else those that clients of the service have, so that
    /// both sides have the same (SC-004, SC-011). Selectors of rules are for clients and do not count here.
    fn inbound_pool(
        &self,
        of_listener: Option<&ConnectionPoolSettings>,
        own: Option<&super::OwnPort>,
    ) -> Option<ConnectionPoolSettings> {
        let sidecar = self.scope.sidecar.as_ref();
        let said = of_listener.or_else(|| sidecar?.inbound_connection_pool.as_ref());
        if let Some(said) = said {
            return Some(said.clone());
        }
        let own = own?;
        let client = destination_rule::Client { labels: &Labels::new(), ..self.client() };
        let rules = &self.snapshot.destination_rules;
        let rule = rules.find(&client, &own.service.host, &own.service.namespace)?;
        destination_rule::policy(rule.policy.as_ref(), None, own.service_port).connection_pool.cloned()
    }

    /// `127.0.0.1:PORT`, `unix:///path`, or `0.0.0.0:PORT` for the workload's own address (SC-009).
    fn ingress_endpoint(
        &self,
        listener: &IstioIngressListener,
        number: u32,
        explicit: bool,
    ) -> Option<(Str, u32)> {
        let Some(text) = listener.default_endpoint.as_deref().filter(|text| !text.is_empty()) else {
            return explicit.then(|| (self.localhost().into(), number));
        };
        if text.starts_with("unix://") {
            return Some((text.into(), 0));
        }
        let (address, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let own =
            |six: bool| self.node.addresses.iter().find(|address| address.contains(':') == six).cloned();
        Some(match address.trim_matches(['[', ']']) {
            "0.0.0.0" => (own(false).unwrap_or_else(|| "127.0.0.1".into()), port),
            "::" => (own(true).unwrap_or_else(|| "::1".into()), port),
            address => (address.into(), port),
        })
    }

    fn inbound_port_cluster(&self, port: &InboundPort) -> Cluster {
        let mesh = &self.snapshot.mesh;
        let name = inbound_cluster(port.number);
        let mut cluster = match &port.endpoint {
            Some((address, number)) => self.fixed(&name, Discovery::Static(one_endpoint(address, *number))),
            None => {
                let mut cluster = self.fixed(&name, Discovery::OriginalDestination);
                cluster.source_address = Some(self.inbound_source().into());
                cluster
            }
        };
        cluster.stat_name = port.stat_name.clone();
        cluster.pool = policy::pool(port.pool.as_ref(), mesh);
        cluster.connect_timeout = policy::connect_timeout(port.pool.as_ref(), mesh);
        cluster.protocol = match port.protocol {
            protocol if protocol.is_http2() => Upstream::Http2,
            protocol if protocol.is_tcp() => Upstream::Http1,
            // Clients speak HTTP/1.1 or HTTP/2 to us; the workload gets the same.
            _ => Upstream::Downstream,
        };
        cluster
    }

    fn explicit_listener(&self, port: &InboundPort) -> Listener {
        let name = names::listener(&port.bind, port.number);
        let mut listener = self.inbound_listener(name.clone(), &port.bind, port.number);
        listener.tls_inspector = port.protocol.is_auto();
        listener.http_inspector = port.protocol.is_auto();
        self.port_chains(port, &name, None, &mut listener.chains);
        listener
    }

    fn inbound_listener(&self, name: String, address: &Str, port: u32) -> Listener {
        Listener {
            access_log: self.listener_logs(Side::Server),
            detection_timeout: Some(self.detection_timeout()),
            continue_on_timeout: true,
            ..Listener::new(name, address, port, Direction::Inbound)
        }
    }

    /// The listener that redirected connections to the workload come to.
    fn virtual_inbound(&self, ports: &[&InboundPort]) -> Listener {
        let number = u32::from(self.snapshot.mesh.proxy_inbound_listen_port());
        let mut listener =
            self.inbound_listener(VIRTUAL_INBOUND.to_owned(), &WILDCARD_ADDRESS.into(), number);
        listener.original_dst_filter = true;
        listener.tls_inspector = true;
        listener.http_inspector = true;
        listener.transparent = self.node.metadata.interception == Interception::Tproxy;
        listener.chains.push(FilterChain {
            name: "virtualInbound-blackhole".to_owned(),
            condition: Condition { port: Some(number), ..Condition::default() },
            terminal: Terminal::Tcp(self.tcp_inbound(BLACK_HOLE_CLUSTER)),
            origin: None,
        });
        listener.chains.extend(self.catch_all_chains());
        for port in ports {
            let name = names::listener(WILDCARD_ADDRESS, port.number);
            self.port_chains(port, &name, Some(port.number), &mut listener.chains);
        }
        // What is declared is not looked at: a server that speaks first would wait for its client for ever (SEM-144).
        let declared = ports.iter().filter(|port| !port.protocol.is_auto());
        listener.uninspected = declared.map(|port| port.number).collect();
        listener
    }

    /// Ports that no service declares go to where the client meant them.
    fn catch_all_chains(&self) -> [FilterChain; 2] {
        let routes = self.inbound_routes(
            INBOUND_PASSTHROUGH_CLUSTER.to_owned(),
            "inbound|http|0".to_owned(),
            ":0/*".to_owned(),
            false,
        );
        let http = self.inbound_http(names::stat_prefix(INBOUND_PASSTHROUGH_CLUSTER), Routes::Inline(routes));
        [
            FilterChain {
                name: "virtualInbound-catchall-http".to_owned(),
                condition: Condition { protocols: self.http_protocols(), ..Condition::default() },
                terminal: Terminal::Http(Box::new(http)),
                origin: None,
            },
            FilterChain {
                name: VIRTUAL_INBOUND.to_owned(),
                condition: Condition::default(),
                terminal: Terminal::Tcp(self.tcp_inbound(INBOUND_PASSTHROUGH_CLUSTER)),
                origin: None,
            },
        ]
    }

    /// The chains of a port; `asked`: the destination port that they ask for, where they share a listener.
    fn port_chains(&self, port: &InboundPort, name: &str, asked: Option<u32>, into: &mut Vec<FilterChain>) {
        let mut chain = |protocols: Vec<Str>, terminal| {
            let condition = Condition { port: asked, protocols, ..Condition::default() };
            into.push(FilterChain { name: name.to_owned(), condition, terminal, origin: None });
        };
        if port.protocol.is_auto() {
            chain(self.http_protocols(), self.inbound_http_terminal(port));
            chain(Vec::new(), self.inbound_tcp(port));
        } else if port.protocol.is_tcp() {
            chain(Vec::new(), self.inbound_tcp(port));
        } else {
            chain(Vec::new(), self.inbound_http_terminal(port));
        }
    }

    fn inbound_tcp(&self, port: &InboundPort) -> Terminal {
        Terminal::Tcp(self.tcp_inbound(&inbound_cluster(port.number)))
    }

    fn inbound_http_terminal(&self, port: &InboundPort) -> Terminal {
        let cluster = inbound_cluster(port.number);
        let host = format!("inbound|http|{}", port.number);
        let grpc = matches!(port.protocol, Protocol::Grpc | Protocol::GrpcWeb);
        let routes = self.inbound_routes(cluster, host, port.operation.clone(), grpc);
        let stat_prefix =
            names::stat_prefix(&format!("inbound_{}", names::listener(WILDCARD_ADDRESS, port.number)));
        Terminal::Http(Box::new(self.inbound_http(stat_prefix, Routes::Inline(routes))))
    }

    /// One host, one route.
    fn inbound_routes(
        &self,
        cluster: String,
        host: String,
        operation: String,
        grpc: bool,
    ) -> RouteConfiguration {
        let retry = retry::inbound(&self.snapshot.mesh, grpc);
        let forward = Forward { retry, inbound: true, ..Forward::to(&cluster) };
        let host = VirtualHost {
            name: host,
            domains: vec!["*".to_owned()],
            routes: vec![default_route(forward, operation)],
            require_tls: false,
            attempt_count: false,
        };
        RouteConfiguration { name: cluster, virtual_hosts: vec![Shared::new(host)], ignore_port: false }
    }
}

fn one_endpoint(address: &Str, port: u32) -> Vec<Locality> {
    let endpoint =
        Endpoint { address: address.clone(), port, weight: 1, healthy: true, workload: Str::default() };
    vec![Locality {
        locality: Str::default(),
        priority: 0,
        weight: 0,
        endpoints: vec![Shared::new(endpoint)],
    }]
}
