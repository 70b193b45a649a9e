//! Outbound listeners of sidecars.
//!
//! HTTP ports share one listener on all addresses, which tells services apart by host; others have one for each virtual
//! address (SEM-142). What wants one address and port is merged, service by service, oldest first: HTTP and bytes are told
//! apart by looking, bytes by address range and server name, and of what is alike the first holds (SEM-143). Redirected
//! traffic gets to them through `virtualOutbound`; explicit ones open their ports.

use meltemi_config::networking::sidecar::{CaptureMode, IstioEgressListener};
use meltemi_config::{Protocol, Str};

use super::View;
use super::access_log::Side;
use crate::model::listener::{Condition, Direction, FilterChain, Listener, Routes, Terminal};
use crate::names::{self, BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, VIRTUAL_OUTBOUND, WILDCARD_ADDRESS};
use crate::node::Interception;
use crate::registry::{Port, Resolution, Service};
use crate::snapshot::scope::Egress;

mod entry;
pub mod socket;

pub(crate) use entry::{Entry, settle};
use entry::{Offer, Table};
use socket::Socket;

/// Address of explicit listeners without one of their own.
const LOCALHOST: &str = "127.0.0.1";

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

    /// All listeners of sockets: those of single endpoints, then the others by name.
    pub(super) fn outbound_listeners(&self) -> Vec<Listener> {
        let (of_endpoints, others) = self.entries();
        let listeners = |entries: Vec<Entry>| entries.into_iter().map(|entry| self.entry_listener(entry));
        let mut others: Vec<Listener> = listeners(others).collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        listeners(of_endpoints).chain(others).collect()
    }

    /// All listeners in the making: those of single endpoints, and the others.
    pub(super) fn entries(&self) -> (Vec<Entry>, Vec<Entry>) {
        let mut wishes = self.all_wishes();
        if let Some(socket) = self.http_proxy_socket() {
            wishes.entry(socket).or_default();
        }
        let (mut of_endpoints, mut others) = (Vec::new(), Vec::new());
        for (socket, wishes) in wishes {
            let entry = self.entry(&socket, &wishes);
            if socket.of_endpoint { of_endpoints.extend(entry) } else { others.extend(entry) }
        }
        settle(&mut others);
        (of_endpoints, others)
    }

    /// The socket of [`Self::http_proxy`].
    pub(crate) fn http_proxy_socket(&self) -> Option<Socket> {
        let offer = self.http_proxy()?;
        Some(Socket { port: offer.port.number, address: offer.address, of_endpoint: false })
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

    /// The listener of an entry. A chain that takes everything is the default, or the only one.
    pub(crate) fn entry_listener(&self, entry: Entry) -> Listener {
        let name = entry.name();
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

    /// The listener that redirected connections come to; it hands them on by their destination. None where ports are explicit.
    pub(crate) fn virtual_outbound(&self) -> Option<Listener> {
        if self.node.captures_explicitly() {
            return None;
        }
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
        Some(listener)
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
