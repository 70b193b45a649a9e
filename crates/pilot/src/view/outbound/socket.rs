//! Addresses and ports that services want to be listened at: which service's port wants which, and in which order they are merged.
//!
//! The pieces of a sidecar's listeners: the discovery server keeps the wishes of each socket and makes again only the sockets that a
//! change touches; offline translation makes all. Invariant: what is made of a socket follows from its wishes and from what
//! `reads` notes meanwhile.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_config::{Host, Protocol, Str};

use super::entry::{Entry, Offer, Table};
use super::{Bind, listener_port, place};
use crate::names::{self, WILDCARD_ADDRESS};
use crate::registry::{Port, Service};
use crate::view::View;

/// An address and port to listen at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// Port.
    pub port: u32,
    /// Address.
    pub address: Str,
    /// Whether it is that of a single endpoint of a headless service.
    pub of_endpoint: bool,
}

/// A port of a service that wants a socket. Wishes order as they are merged: by egress listener, then oldest service first.
#[derive(Debug, Clone)]
pub struct Wish {
    egress: usize,
    service: Arc<Service>,
    /// Which port of the service.
    at: usize,
    /// The egress listener's, which holds in place of the service's.
    port: Option<Port>,
    /// Of the port that holds; beside it, because thousands of services may share a socket, and this is what each is asked.
    protocol: Protocol,
}

/// All wishes, by socket.
pub type Wishes = BTreeMap<Socket, Queue>;

/// The wishes of one socket, in their order, and how many there are of each protocol: of thousands that share a socket all but
/// the first few ask for what is there already, and need not be looked at to know.
#[derive(Debug, Default)]
pub struct Queue {
    wishes: BTreeSet<Wish>,
    protocols: BTreeMap<Protocol, usize>,
}

impl Queue {
    /// Adds a wish that is not there yet.
    pub fn insert(&mut self, wish: Wish) {
        let protocol = wish.protocol;
        if self.wishes.insert(wish) {
            *self.protocols.entry(protocol).or_default() += 1;
        }
    }

    /// Takes a wish out.
    pub fn remove(&mut self, wish: &Wish) {
        let Some(wish) = self.wishes.take(wish) else { return };
        if let Some(count) = self.protocols.get_mut(&wish.protocol) {
            *count -= 1;
            if *count == 0 {
                self.protocols.remove(&wish.protocol);
            }
        }
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }
}

impl Wish {
    fn port(&self) -> &Port {
        self.port.as_ref().unwrap_or(&self.service.ports[self.at])
    }
}

impl Ord for Wish {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.service, &other.service);
        let age = (self.egress, a.created).cmp(&(other.egress, b.created));
        age.then_with(|| {
            (&a.name, &a.namespace, &a.host, self.at).cmp(&(&b.name, &b.namespace, &b.host, other.at))
        })
    }
}

impl PartialOrd for Wish {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Wish {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Wish {}

impl View<'_> {
    /// The sockets that a host's service wants.
    pub(crate) fn wishes_of(&self, host: &Host) -> Vec<(Socket, Wish)> {
        let mut wishes = Vec::new();
        for (egress, listener) in self.scope.egress.iter().enumerate() {
            let Some(service) = listener.services.get(host) else { continue };
            let bind = self.bind(listener);
            let own = listener_port(listener);
            for (at, port) in service.ports.iter().enumerate() {
                let protocol = own.as_ref().unwrap_or(port).protocol;
                let wish = Wish { egress, service: Arc::clone(service), at, port: own.clone(), protocol };
                let single = own.is_none() && bind.address.is_none();
                if single && self.has_endpoint_listeners(service, port) {
                    self.add_endpoints(&wish, &bind, &mut wishes);
                } else if self.may_listen(&bind, wish.port()) {
                    let (address, _) = place(self.address_of(service), wish.port(), &bind);
                    wishes.push((Socket { port: wish.port().number, address, of_endpoint: false }, wish));
                }
            }
        }
        wishes
    }

    /// A socket for each endpoint, but for the proxy's own (SEM-146).
    fn add_endpoints(&self, wish: &Wish, bind: &Bind, wishes: &mut Vec<(Socket, Wish)>) {
        let port = wish.port();
        let instances = self.instances(&wish.service).iter();
        let of_port = instances.filter(|instance| instance.service_port == port.number);
        for instance in of_port.filter(|instance| !self.node.addresses.contains(&instance.address)) {
            let address = instance.address.clone();
            let bind = Bind { address: Some(address.clone()), explicit: bind.explicit };
            if address.parse::<IpAddr>().is_ok() && self.may_listen(&bind, port) {
                wishes.push((Socket { port: port.number, address, of_endpoint: true }, wish.clone()));
            }
        }
    }

    fn may_listen(&self, bind: &Bind, port: &Port) -> bool {
        self.can_bind(bind, port) && port.protocol != Protocol::Udp
    }

    /// All wishes.
    pub(super) fn all_wishes(&self) -> Wishes {
        let mut wishes = Wishes::new();
        let hosts: BTreeSet<&Host> =
            self.scope.egress.iter().flat_map(|egress| egress.services.keys()).collect();
        for (socket, wish) in hosts.into_iter().flat_map(|host| self.wishes_of(host)) {
            wishes.entry(socket).or_default().insert(wish);
        }
        wishes
    }

    /// What becomes of a socket's wishes; of what is alike the first holds.
    pub(crate) fn entry(&self, socket: &Socket, queue: &Queue) -> Option<Entry> {
        let mut merged: Option<(usize, Entry)> = None;
        for wish in &queue.wishes {
            match &mut merged {
                None => merged = Some((wish.egress, Entry::new(self.offer(socket, wish)))),
                Some((_, entry)) if !queue.protocols.keys().any(|protocol| entry.wants(*protocol)) => break,
                Some((_, entry)) if !entry.wants(wish.protocol) => {}
                Some((first, _)) if self.is_locked(socket, *first, wish.egress) => break,
                Some((_, entry)) => entry.add(self.offer(socket, wish)),
            }
        }
        let mut entry = merged.map(|(_, entry)| entry);
        if let Some(offer) = self.http_proxy()
            && (offer.port.number, &offer.address, false)
                == (socket.port, &socket.address, socket.of_endpoint)
        {
            match &mut entry {
                Some(entry) => entry.add(offer),
                None => entry = Some(Entry::new(offer)),
            }
        }
        entry
    }

    /// Whether a later egress listener adds nothing: ports that came before one without a port are as the Sidecar lists them
    /// (SEM-133).
    fn is_locked(&self, socket: &Socket, first: usize, now: usize) -> bool {
        let between = self.scope.egress.get(first + 1..=now).unwrap_or_default();
        !socket.of_endpoint && between.iter().any(|egress| listener_port(egress).is_none())
    }

    fn offer(&self, socket: &Socket, wish: &Wish) -> Offer {
        let egress = &self.scope.egress[wish.egress];
        let (port, service) = (wish.port(), &wish.service);
        let mut bind = self.bind(egress);
        if socket.of_endpoint {
            bind.address = Some(socket.address.clone());
        }
        let (_, range) = place(self.address_of(service), port, &bind);
        let http = port.protocol.is_http();
        let everywhere = &*socket.address == WILDCARD_ADDRESS;
        let table = (http || port.protocol.is_auto()).then(|| {
            let own = port.protocol.is_auto() && !everywhere && port.number > 0;
            let route = match port.number {
                0 => socket.address.to_string(),
                number if own => names::virtual_host(&service.host, number),
                number => number.to_string(),
            };
            let proxies = port.protocol == Protocol::HttpProxy || port.number == 0;
            Table { egress: wish.egress, route, service: own.then(|| Arc::clone(service)), proxies }
        });
        let chains = match http {
            true => Vec::new(),
            false => self.byte_chains(egress, service, port, range.as_ref()),
        };
        // An explicit address of its own that is declared as HTTP is not looked at.
        let looks = !http || everywhere;
        let address = socket.address.clone();
        Offer { address, port: port.clone(), explicit: bind.explicit, chains, table, looks }
    }
}
