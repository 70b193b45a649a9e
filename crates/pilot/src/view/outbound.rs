//! Outbound listeners of sidecars.
//!
//! HTTP ports share one listener on all addresses, which tells services apart by host; others have one for each virtual
//! address (SEM-142). Redirected traffic gets to them through `virtualOutbound`; explicit ones open their ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::networking::sidecar::{CaptureMode, IstioEgressListener};
use meltemi_config::{Protocol, Str};

use super::View;
use super::scope::Egress;
use crate::model::listener::{Condition, Direction, FilterChain, Listener, Routes, Tcp, Terminal};
use crate::names::{self, BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, VIRTUAL_OUTBOUND, WILDCARD_ADDRESS};
use crate::node::Interception;
use crate::registry::{Port, Resolution, Service};

/// Address of explicit listeners without one of their own.
const LOCALHOST: &str = "127.0.0.1";

/// An HTTP listener and the table it uses.
#[derive(Debug)]
pub(super) struct HttpListener {
    /// Which egress listener of the scope it belongs to.
    pub(super) egress: usize,
    /// Address.
    pub(super) address: Str,
    /// Port.
    pub(super) port: u32,
    /// Name of the table.
    pub(super) route: String,
    /// Whether it opens its port.
    pub(super) explicit: bool,
    /// The one service it is for, if it is not shared.
    pub(super) service: Option<Arc<Service>>,
}

/// Whether a service's port is on the shared listener of that port number: HTTP, or sniffed without an address of its own.
pub(super) fn shares_port(service: &Service, port: &Port) -> bool {
    port.protocol.is_http() || port.protocol.is_auto() && virtual_address(service).is_none()
}

/// The first address that is not a range.
fn virtual_address(service: &Service) -> Option<&Str> {
    service.addresses.iter().find(|address| !address.contains('/'))
}

impl View<'_> {
    /// Whether an egress listener opens its port.
    fn is_explicit(&self, egress: &Egress) -> bool {
        match egress.listener.as_ref().map(|listener| listener.capture_mode) {
            Some(CaptureMode::None) => true,
            Some(CaptureMode::Iptables) => false,
            Some(CaptureMode::Default) | None => self.node.captures_explicitly(),
        }
    }

    /// All HTTP listeners of the sidecar; of those that would share an address the first is it.
    pub(super) fn http_listeners(&self) -> Vec<HttpListener> {
        let mut listeners: BTreeMap<(u32, Str), HttpListener> = BTreeMap::new();
        for egress in 0..self.scope.egress.len() {
            for listener in self.http_of(egress) {
                listeners.entry((listener.port, listener.address.clone())).or_insert(listener);
            }
        }
        let mut listeners: Vec<_> = listeners.into_values().collect();
        name_tables(&mut listeners);
        listeners
    }

    fn http_of(&self, at: usize) -> Vec<HttpListener> {
        let egress = &self.scope.egress[at];
        let explicit = self.is_explicit(egress);
        let bind = egress
            .listener
            .as_ref()
            .and_then(|listener| listener.bind.clone())
            .filter(|bind| !bind.is_empty());
        let default = if explicit { LOCALHOST } else { WILDCARD_ADDRESS };
        let address = bind.unwrap_or_else(|| default.into());
        let make = |port: u32, address: Str, route: String, service| HttpListener {
            egress: at,
            address,
            port,
            route,
            explicit,
            service,
        };
        if let Some(port) = listener_port(egress) {
            let http = port.protocol.is_http() || port.protocol.is_auto();
            return http
                .then(|| make(port.number, address, port.number.to_string(), None))
                .into_iter()
                .collect();
        }
        let mut listeners = Vec::new();
        for service in egress.services.values() {
            for port in service.ports.iter().filter(|port| !self.is_locked(port.number)) {
                if shares_port(service, port) {
                    listeners.push(make(port.number, address.clone(), port.number.to_string(), None));
                } else if port.protocol.is_auto()
                    && let Some(own) = virtual_address(service)
                {
                    let route = names::virtual_host(&service.host, port.number);
                    listeners.push(make(port.number, own.clone(), route, Some(Arc::clone(service))));
                }
            }
        }
        listeners
    }

    /// Whether an egress listener of its own has that port, so that the catch-all adds nothing to it (SEM-133).
    fn is_locked(&self, port: u32) -> bool {
        self.scope.egress.iter().filter_map(listener_port).any(|locked| locked.number == port)
    }

    /// All outbound listeners, sorted by name.
    pub(super) fn outbound_listeners(&self) -> Vec<Listener> {
        let mut listeners: BTreeMap<String, Listener> = BTreeMap::new();
        for http in self.http_listeners() {
            let listener = self.http_listener(&http);
            listeners.entry(listener.name.clone()).or_insert(listener);
        }
        for egress in &self.scope.egress {
            for listener in self.tcp_of(egress) {
                listeners.entry(listener.name.clone()).or_insert(listener);
            }
        }
        let mut listeners: Vec<Listener> = listeners.into_values().collect();
        if !self.node.captures_explicitly() {
            listeners.push(self.virtual_outbound());
        }
        listeners
    }

    fn http_listener(&self, http: &HttpListener) -> Listener {
        let name = names::listener(&http.address, http.port);
        let terminal = Terminal::Http(Box::new(
            self.outbound_http(format!("outbound_{name}"), Routes::Rds(http.route.clone())),
        ));
        let mut listener = self.listener(name, &http.address, http.port, http.explicit);
        if http.explicit {
            listener.default_chain =
                Some(FilterChain { name: String::new(), condition: Condition::default(), terminal });
            return listener;
        }
        let condition = Condition {
            transport: "raw_buffer".into(),
            protocols: vec!["http/1.1".into(), "h2c".into()],
            ..Condition::default()
        };
        listener.chains = vec![FilterChain { name: String::new(), condition, terminal }];
        listener.default_chain = Some(self.fall_through(http));
        listener.tls_inspector = true;
        listener.http_inspector = true;
        listener
    }

    /// What is not HTTP on an HTTP listener: to the service itself if it is the only one, else to where it was meant to go.
    fn fall_through(&self, http: &HttpListener) -> FilterChain {
        let tcp = match &http.service {
            Some(service) => self.tcp_to(&names::outbound_cluster(http.port, "", &service.host)),
            None => self.tcp_to(&self.unknown_cluster()),
        };
        let name = if http.service.is_some() { String::new() } else { "PassthroughFilterChain".to_owned() };
        FilterChain { name, condition: Condition::default(), terminal: Terminal::Tcp(tcp) }
    }

    /// Cluster of unknown destinations: the egress proxy that the Sidecar names, else where the client meant it.
    pub(super) fn unknown_cluster(&self) -> String {
        let policy = self.scope.sidecar.as_ref().and_then(|sidecar| sidecar.outbound_traffic_policy.as_ref());
        match policy.and_then(|policy| policy.egress_proxy.as_ref()) {
            _ if !self.scope.allow_any => BLACK_HOLE_CLUSTER.to_owned(),
            Some(to) => {
                let host = to.host.resolve(&self.scope.sidecar_namespace, self.snapshot.mesh.trust_domain());
                let port = to.port.as_ref().map_or(0, |port| port.number);
                names::outbound_cluster(port, to.subset.as_deref().unwrap_or_default(), &host)
            }
            None => PASSTHROUGH_CLUSTER.to_owned(),
        }
    }

    fn tcp_of(&self, egress: &Egress) -> Vec<Listener> {
        let explicit = self.is_explicit(egress);
        let bind = egress
            .listener
            .as_ref()
            .and_then(|listener| listener.bind.clone())
            .filter(|bind| !bind.is_empty());
        let own = listener_port(egress);
        if own.as_ref().is_some_and(|port| port.protocol.is_http() || port.protocol.is_auto()) {
            return Vec::new();
        }
        let mut listeners = Vec::new();
        for service in egress.services.values() {
            for port in &service.ports {
                let locked = own.is_none() && self.is_locked(port.number);
                // A port that the Sidecar declares as TCP is TCP, whatever the service says.
                if locked || own.is_none() && !port.protocol.is_tcp() {
                    continue;
                }
                let addresses = self.tcp_addresses(service, port, bind.as_ref(), explicit);
                let tcp = self.tcp_route(egress, service, port.number);
                listeners.extend(
                    addresses
                        .iter()
                        .map(|address| self.tcp_listener(address, port.number, explicit, tcp.clone())),
                );
            }
        }
        listeners
    }

    /// Where a TCP service is listened for: at the listener's address, else at the service's, else at its endpoints' if it
    /// is headless, else everywhere (SEM-146, SEM-152).
    fn tcp_addresses(&self, service: &Service, port: &Port, bind: Option<&Str>, explicit: bool) -> Vec<Str> {
        if let Some(bind) = bind {
            return vec![bind.clone()];
        }
        let own: Vec<Str> =
            service.addresses.iter().filter(|address| !address.contains('/')).cloned().collect();
        if !own.is_empty() {
            return own;
        }
        if service.headless && service.resolution == Resolution::Static && !explicit {
            let instances = self.instances(service).iter();
            let of_port = instances.filter(|instance| instance.service_port == port.number);
            let others = of_port.filter(|instance| !self.node.addresses.contains(&instance.address));
            return others.map(|instance| instance.address.clone()).collect();
        }
        vec![if explicit { LOCALHOST } else { WILDCARD_ADDRESS }.into()]
    }

    fn tcp_listener(&self, address: &Str, port: u32, explicit: bool, tcp: Tcp) -> Listener {
        let mut listener = self.listener(names::listener(address, port), address, port, explicit);
        listener.chains.push(FilterChain {
            name: String::new(),
            condition: Condition::default(),
            terminal: Terminal::Tcp(tcp),
        });
        listener
    }

    /// A listener without chains.
    fn listener(&self, name: String, address: &Str, port: u32, bind_to_port: bool) -> Listener {
        Listener {
            name,
            address: address.clone(),
            port,
            bind_to_port,
            direction: Direction::Outbound,
            use_original_dst: false,
            original_dst_filter: false,
            tls_inspector: false,
            http_inspector: false,
            chains: Vec::new(),
            default_chain: None,
            access_log: self.listener_log(),
            transparent: false,
        }
    }

    /// The listener that redirected connections come to; it hands them on by their destination.
    fn virtual_outbound(&self) -> Listener {
        let port = u32::from(self.snapshot.mesh.proxy_listen_port());
        let mut listener = self.listener(VIRTUAL_OUTBOUND.to_owned(), &WILDCARD_ADDRESS.into(), port, true);
        listener.use_original_dst = true;
        listener.transparent = self.node.metadata.interception == Interception::Tproxy;
        listener.chains = vec![
            FilterChain {
                name: "virtualOutbound-blackhole".to_owned(),
                condition: Condition { port: Some(port), ..Condition::default() },
                terminal: Terminal::Tcp(self.tcp_to(BLACK_HOLE_CLUSTER)),
            },
            FilterChain {
                name: "virtualOutbound-catchall-tcp".to_owned(),
                condition: Condition::default(),
                terminal: Terminal::Tcp(self.tcp_to(&self.unknown_cluster())),
            },
        ];
        listener
    }
}

/// The port of an egress listener, if it has one.
fn listener_port(egress: &Egress) -> Option<Port> {
    let listener: &IstioEgressListener = egress.listener.as_ref()?;
    let port = listener.port.as_ref().filter(|port| port.number > 0)?;
    let name: Str = port.name.clone().unwrap_or_default();
    let declared = port.protocol.as_deref().and_then(Protocol::parse);
    let protocol = declared.or_else(|| Protocol::of_name(&name)).unwrap_or_default();
    Some(Port { number: port.number, name, protocol })
}

/// A table is named after its port; of several listeners with one port only the first can have that name.
fn name_tables(listeners: &mut [HttpListener]) {
    let mut taken: Vec<String> = Vec::new();
    // The shared listener on all addresses comes first whatever the others are called.
    listeners.sort_by_key(|listener| {
        (listener.port, &*listener.address != WILDCARD_ADDRESS, listener.address.clone())
    });
    for listener in listeners {
        if taken.contains(&listener.route) {
            listener.route = names::listener(&listener.address, listener.port);
        }
        taken.push(listener.route.clone());
    }
}
