//! Outbound listeners of sidecars.
//!
//! HTTP ports share one listener on all addresses, which tells services apart by host; others have one for each virtual
//! address (SEM-142). What wants one address and port is merged, service by service, oldest first: HTTP and bytes are told
//! apart by looking, bytes by address range and server name, and of what is alike the first holds (SEM-143). Redirected
//! traffic gets to them through `virtualOutbound`; explicit ones open their ports.

use std::sync::Arc;

use meltemi_config::networking::sidecar::{CaptureMode, IstioEgressListener};
use meltemi_config::{Protocol, Str};

use super::View;
use super::access_log::Side;
use super::scope::Egress;
use crate::model::listener::{Condition, Direction, FilterChain, Listener, Routes, Terminal};
use crate::names::{self, BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, VIRTUAL_OUTBOUND, WILDCARD_ADDRESS};
use crate::node::Interception;
use crate::registry::{Port, Resolution, Service};

mod entry;

use entry::{Entries, Entry, Offer, Table};

/// Address of explicit listeners without one of their own.
const LOCALHOST: &str = "127.0.0.1";

/// An HTTP listener and the table it uses.
#[derive(Debug)]
pub(super) struct HttpListener {
    /// Which egress listener of the scope it belongs to.
    pub(super) egress: usize,
    /// Port.
    pub(super) port: u32,
    /// Name of the table.
    pub(super) route: String,
    /// Whether it opens its port.
    pub(super) explicit: bool,
    /// The one service it is for, if it is not shared.
    pub(super) service: Option<Arc<Service>>,
    /// Whether it is for all ports of all services, as the authority says.
    pub(super) proxies: bool,
}

/// Where an egress listener listens.
struct Bind {
    /// Address that it says, or that explicit ones have; else the services' own count.
    address: Option<Str>,
    /// Whether it opens its port.
    explicit: bool,
}

impl View<'_> {
    /// Whether a service's port is on the shared listener of that port number: HTTP, or sniffed without an address of its own.
    pub(super) fn shares_port(&self, service: &Service, port: &Port) -> bool {
        let alone = || self.address_of(service).is_some_and(|address| !address.contains('/'));
        port.protocol.is_http() || port.protocol.is_auto() && !alone()
    }

    /// All HTTP listeners of the sidecar, the one on all addresses first of each port.
    pub(super) fn http_listeners(&self) -> Vec<HttpListener> {
        let listener = |entry: Entry| {
            let table = entry.table?;
            Some(HttpListener {
                egress: table.egress,
                port: entry.port,
                route: table.route,
                explicit: entry.explicit,
                service: table.service,
                proxies: table.proxies,
            })
        };
        self.entries().into_iter().filter_map(listener).collect()
    }

    /// All outbound listeners, sorted by name, but for those of single endpoints.
    pub(super) fn outbound_listeners(&self) -> Vec<Listener> {
        let mut listeners: Vec<Listener> =
            self.entries().into_iter().map(|entry| self.entry_listener(entry)).collect();
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        if !self.node.captures_explicitly() {
            listeners.push(self.virtual_outbound());
        }
        listeners
    }

    /// Listeners for single endpoints of headless services, but for the proxy's own (SEM-146).
    pub(super) fn endpoint_listeners(&self) -> Vec<Listener> {
        let mut entries = Entries::default();
        for (at, egress) in self.scope.egress.iter().enumerate().filter(|(_, e)| listener_port(e).is_none()) {
            let bind = self.bind(egress);
            if bind.address.is_some() {
                continue;
            }
            for (service, port) in self.ports_by_age(egress) {
                if !self.has_endpoint_listeners(service, port) {
                    continue;
                }
                let instances = self.instances(service).iter();
                let of_port = instances.filter(|instance| instance.service_port == port.number);
                for instance in of_port.filter(|instance| !self.node.addresses.contains(&instance.address)) {
                    if instance.address.parse::<std::net::IpAddr>().is_ok() {
                        let bind = Bind { address: Some(instance.address.clone()), explicit: bind.explicit };
                        self.offer(&mut entries, at, service, port, &bind);
                    }
                }
            }
        }
        entries.into_sorted().into_iter().map(|entry| self.entry_listener(entry)).collect()
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Entries::default();
        for (at, egress) in self.scope.egress.iter().enumerate() {
            let bind = self.bind(egress);
            match listener_port(egress) {
                Some(port) => {
                    for (service, _) in self.ports_by_age(egress) {
                        self.offer(&mut entries, at, service, &port, &bind);
                    }
                }
                None => {
                    // Ports that came before are as the Sidecar lists them; nothing is added (SEM-133).
                    entries.lock();
                    for (service, port) in self.ports_by_age(egress) {
                        if !self.has_endpoint_listeners(service, port) || bind.address.is_some() {
                            self.offer(&mut entries, at, service, port, &bind);
                        }
                    }
                }
            }
        }
        entries.extend_one(self.http_proxy());
        entries.into_sorted()
    }

    /// The port at which applications find an HTTP proxy, if the mesh or the proxy says one (MC-003). It belongs to the listener
    /// that takes what no other does.
    fn http_proxy(&self) -> Option<Offer> {
        let own = self.node.metadata.http_proxy_port;
        let number = own.or_else(|| u32::try_from(self.snapshot.mesh.proxy_http_port).ok());
        let number = number.filter(|number| *number > 0)?;
        let egress = self.scope.egress.iter().position(|egress| listener_port(egress).is_none())?;
        let route = names::HTTP_PROXY_ROUTE.to_owned();
        Some(Offer {
            address: LOCALHOST.into(),
            port: Port { number, name: Str::default(), protocol: Protocol::HttpProxy, target: number },
            explicit: true,
            chains: Vec::new(),
            table: Some(Table { egress, route, service: None, proxies: true }),
            looks: false,
        })
    }

    /// Services and their ports, oldest service first.
    fn ports_by_age<'e>(&self, egress: &'e Egress) -> impl Iterator<Item = (&'e Arc<Service>, &'e Port)> {
        let mut services: Vec<&Arc<Service>> = egress.services.values().collect();
        services.sort_by(|a, b| {
            (a.created, &a.name, &a.namespace, &a.host).cmp(&(b.created, &b.name, &b.namespace, &b.host))
        });
        services.into_iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)))
    }

    /// Whether each endpoint has a listener of its own: bytes to a service without address whose clients pick endpoints.
    fn has_endpoint_listeners(&self, service: &Service, port: &Port) -> bool {
        let headless = service.headless && service.resolution == Resolution::Static;
        let picked = headless || service.resolution == Resolution::Passthrough && self.has_endpoints(service);
        picked && self.addresses(service).is_empty() && !port.protocol.is_http()
    }

    fn has_endpoints(&self, service: &Service) -> bool {
        !self.instances(service).is_empty()
    }

    fn bind(&self, egress: &Egress) -> Bind {
        let listener = egress.listener.as_ref();
        let address =
            listener.and_then(|listener| listener.bind.clone()).filter(|address| !address.is_empty());
        let explicit = self.node.captures_explicitly()
            || listener.is_some_and(|listener| listener.capture_mode == CaptureMode::None)
            || address.as_ref().is_some_and(|address| address.starts_with("unix://"));
        Bind { address: address.or_else(|| explicit.then(|| LOCALHOST.into())), explicit }
    }

    /// Whether the port can be listened at: not below 1024 without the right, not one of the proxy's own (SEM-159).
    fn can_bind(&self, bind: &Bind, port: &Port) -> bool {
        if bind.explicit && self.node.metadata.unprivileged && (1..1024).contains(&port.number) {
            return false;
        }
        let everywhere = match bind.address.as_deref() {
            Some(address) => address == WILDCARD_ADDRESS,
            None => port.protocol.is_http(),
        };
        let mesh = &self.snapshot.mesh;
        let own = [u32::from(mesh.proxy_listen_port()), u32::from(mesh.proxy_inbound_listen_port())];
        !(everywhere && (own.contains(&port.number) || names::STATIC_PORTS.contains(&port.number)))
    }

    /// Offers what a service's port wants; `port` is the egress listener's if that has one.
    fn offer(&self, entries: &mut Entries, at: usize, service: &Arc<Service>, port: &Port, bind: &Bind) {
        if !self.can_bind(bind, port) || port.protocol == Protocol::Udp {
            return;
        }
        let (address, range) = place(self.address_of(service), port, bind);
        if !entries.wants(&address, port) {
            return;
        }
        let http = port.protocol.is_http();
        let everywhere = &*address == WILDCARD_ADDRESS;
        let table = (http || port.protocol.is_auto()).then(|| {
            let own = port.protocol.is_auto() && !everywhere && port.number > 0;
            let route = match port.number {
                0 => address.to_string(),
                number if own => names::virtual_host(&service.host, number),
                number => number.to_string(),
            };
            let proxies = port.protocol == Protocol::HttpProxy || port.number == 0;
            Table { egress: at, route, service: own.then(|| Arc::clone(service)), proxies }
        });
        let chains = match http {
            true => Vec::new(),
            false => self.byte_chains(&self.scope.egress[at], service, port, range.as_ref()),
        };
        // An explicit address of its own that is declared as HTTP is not looked at.
        let looks = !http || everywhere;
        entries.add(Offer { address, port: port.clone(), explicit: bind.explicit, chains, table, looks });
    }

    /// The listener of an entry. A chain that takes everything is the default, or the only one.
    fn entry_listener(&self, entry: Entry) -> Listener {
        let name = names::listener(&entry.address, entry.port);
        let mut chains = entry.chains;
        if let Some(table) = entry.table {
            let http =
                self.outbound_http(names::stat_prefix(&format!("outbound_{name}")), Routes::Rds(table.route));
            chains.push(FilterChain {
                name: String::new(),
                condition: if entry.looks { self.http_in_the_clear() } else { Condition::default() },
                terminal: Terminal::Http(Box::new(http)),
                origin: None,
            });
        }
        let mut listener = self.listener(name, &entry.address, entry.port, entry.explicit);
        listener.http_inspector = chains.iter().any(|chain| !chain.condition.protocols.is_empty());
        listener.tls_inspector =
            listener.http_inspector || chains.iter().any(|chain| !chain.condition.server_names.is_empty());
        listener.continue_on_timeout = true;
        listener.detection_timeout =
            Some(if listener.http_inspector { self.detection_timeout() } else { std::time::Duration::ZERO });
        let (mut all, some): (Vec<_>, Vec<_>) =
            chains.into_iter().partition(|chain| chain.condition == Condition::default());
        if some.is_empty() {
            all.truncate(1);
            listener.chains = all;
            return listener;
        }
        listener.chains = some;
        listener.default_chain = Some(all.into_iter().next().unwrap_or_else(|| self.pass_through()));
        listener
    }

    /// What nobody claims on a listener goes to where it was meant to go.
    fn pass_through(&self) -> FilterChain {
        FilterChain {
            name: "PassthroughFilterChain".to_owned(),
            condition: Condition::default(),
            terminal: Terminal::Tcp(self.tcp_to(&self.unknown_cluster())),
            origin: None,
        }
    }

    /// Cluster of unknown destinations: the egress proxy that the Sidecar names, else where the client meant it.
    pub(super) fn unknown_cluster(&self) -> String {
        match self.egress_proxy() {
            _ if !self.scope.allow_any => BLACK_HOLE_CLUSTER.to_owned(),
            Some(cluster) => cluster,
            None => PASSTHROUGH_CLUSTER.to_owned(),
        }
    }

    /// Cluster of the egress proxy that the Sidecar names; it has to be among what the Sidecar lets in (SC-020).
    pub(super) fn egress_proxy(&self) -> Option<String> {
        let policy = self.scope.sidecar.as_ref()?.outbound_traffic_policy.as_ref()?;
        let to = policy.egress_proxy.as_ref()?;
        let host = to.host.resolve(&self.scope.sidecar_namespace, self.snapshot.mesh.domain());
        let port = to.port.as_ref().map_or(0, |port| port.number);
        Some(names::outbound_cluster(port, to.subset.as_deref().unwrap_or_default(), &host))
    }

    /// A listener without chains.
    fn listener(&self, name: String, address: &Str, port: u32, bind_to_port: bool) -> Listener {
        Listener {
            bind_to_port,
            access_log: self.listener_logs(Side::Client),
            ..Listener::new(name, address, port, Direction::Outbound)
        }
    }

    /// The listener that redirected connections come to; it hands them on by their destination.
    fn virtual_outbound(&self) -> Listener {
        let port = u32::from(self.snapshot.mesh.proxy_listen_port());
        let mut listener = self.listener(VIRTUAL_OUTBOUND.to_owned(), &WILDCARD_ADDRESS.into(), port, true);
        listener.use_original_dst = true;
        listener.transparent = self.node.metadata.interception == Interception::Tproxy;
        let chain = |name: &str, condition, cluster: &str| FilterChain {
            name: name.to_owned(),
            condition,
            terminal: Terminal::Tcp(self.tcp_to(cluster)),
            origin: None,
        };
        let to_itself = Condition { port: Some(port), ..Condition::default() };
        listener.chains = vec![
            chain("virtualOutbound-blackhole", to_itself, BLACK_HOLE_CLUSTER),
            chain("virtualOutbound-catchall-tcp", Condition::default(), &self.unknown_cluster()),
        ];
        listener
    }
}

/// Where a port is listened for: at the listener's address, else at the service's own, else everywhere (SEM-152); for a
/// range everywhere with a condition.
fn place(own: Option<&Str>, port: &Port, bind: &Bind) -> (Str, Option<Str>) {
    if let Some(address) = &bind.address {
        return (address.clone(), None);
    }
    match own {
        Some(address) if !port.protocol.is_http() => match address.split_once('/') {
            None => (address.clone(), None),
            Some((single, "32")) => (single.into(), None),
            Some(_) => (WILDCARD_ADDRESS.into(), Some(address.clone())),
        },
        _ => (WILDCARD_ADDRESS.into(), None),
    }
}

/// The port of an egress listener, if it has one; that of a Unix socket is 0.
fn listener_port(egress: &Egress) -> Option<Port> {
    let listener: &IstioEgressListener = egress.listener.as_ref()?;
    let port = listener.port.as_ref().filter(|port| port.number > 0 || is_unix(listener))?;
    let name: Str = port.name.clone().unwrap_or_default();
    let declared = port.protocol.as_deref().and_then(Protocol::parse);
    let protocol = declared.or_else(|| Protocol::of_name(&name)).unwrap_or_default();
    Some(Port { number: port.number, name, protocol, target: port.number })
}

fn is_unix(listener: &IstioEgressListener) -> bool {
    listener.bind.as_deref().is_some_and(|address| address.starts_with("unix://"))
}
