//! The listeners of a group of sidecars in pieces: what is wanted of each socket, and which sockets a change touches.
//!
//! Owned by [`super::Group`]. Invariant: `wishes` holds what every service in scope wants now, and `readers` what was looked at when a
//! socket's listener was last made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::Host;
use meltemi_xds::server::Resource;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::names;
use crate::snapshot::change::Changes;
use crate::translate::cache::Cache;
use crate::view::View;
use crate::view::outbound::socket::{Queue, Socket, Wish, Wishes};
use crate::view::outbound::{Entry, settle};
use crate::view::reads::Read;
use crate::view::seat::Seat;

/// Sockets and what they are made of.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    wishes: Wishes,
    of_host: FxHashMap<Host, Vec<(Socket, Wish)>>,
    /// Hosts that want sockets according to their endpoints.
    by_endpoints: FxHashSet<Host>,
    reads: FxHashMap<Socket, BTreeSet<Read>>,
    readers: FxHashMap<Read, BTreeSet<Socket>>,
    /// What [`View::looks_up`] said, which every HTTP listener follows.
    looks_up: bool,
}

/// What sockets became.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Listeners by name; `None` is gone.
    pub(super) listeners: BTreeMap<Arc<str>, Option<Resource>>,
    /// Seats of the sockets that were made.
    pub(super) seats: BTreeMap<Socket, Option<Seat>>,
}

impl Sockets {
    /// All sockets of a view.
    pub(super) fn all(view: &View<'_>, cache: &Cache) -> (Sockets, Listed) {
        let mut sockets = Sockets { looks_up: view.looks_up(), ..Sockets::default() };
        let mut dirty = BTreeSet::new();
        let hosts: BTreeSet<&Host> =
            view.scope.egress.iter().flat_map(|egress| egress.services.keys()).collect();
        for host in hosts {
            sockets.wish(view, host, &mut dirty);
        }
        dirty.extend(view.http_proxy_socket());
        let mut listed = sockets.make(view, dirty, cache);
        view.reads.take();
        if let Some(listener) = view.virtual_outbound() {
            let resource = cache.listener(&listener);
            listed.listeners.insert(Arc::clone(resource.name()), Some(resource));
        }
        // It is not made again by pieces, so a change of what it looked at is a change of everything.
        sockets.note(&everything(), view.reads.take());
        (sockets, listed)
    }

    /// Whether the sockets that exist may be others after a change that reaches `hosts`.
    pub(super) fn are_touched(&self, changes: &Changes, hosts: &BTreeSet<Host>) -> bool {
        let reads = hosts.iter().map(|host| Read::Host(host.clone()));
        let endpoints = &changes.registry.endpoints;
        changes.telemetries
            || !changes.registry.services.is_empty()
            || reads
                .chain(endpoints.iter().cloned().map(Read::Endpoints))
                .any(|read| self.readers.contains_key(&read))
            || endpoints.iter().any(|host| self.by_endpoints.contains(host))
    }

    /// Makes the sockets again that a change touches, where no Sidecar narrows what is seen; `None` if all have to be made.
    pub(super) fn follow(
        &mut self,
        view: &View<'_>,
        changes: &Changes,
        hosts: &BTreeSet<Host>,
        cache: &Cache,
    ) -> Option<Listed> {
        let mut dirty = BTreeSet::new();
        let endpoints = &changes.registry.endpoints;
        let reads =
            hosts.iter().cloned().map(Read::Host).chain(endpoints.iter().cloned().map(Read::Endpoints));
        for read in reads {
            dirty.extend(self.readers.get(&read).into_iter().flatten().cloned());
        }
        // Logs and the lookup of names are a matter of all listeners.
        if dirty.remove(&everything()) || changes.telemetries || view.looks_up() != self.looks_up {
            return None;
        }
        let by_endpoints = endpoints.iter().filter(|host| self.by_endpoints.contains(*host));
        let moved: BTreeSet<Host> = changes.registry.services.iter().chain(by_endpoints).cloned().collect();
        for host in &moved {
            self.wish(view, host, &mut dirty);
        }
        Some(self.make(view, dirty, cache))
    }

    /// Asks a host again what it wants.
    fn wish(&mut self, view: &View<'_>, host: &Host, dirty: &mut BTreeSet<Socket>) {
        for (socket, wish) in self.of_host.remove(host).unwrap_or_default() {
            if let Some(wishes) = self.wishes.get_mut(&socket) {
                wishes.remove(&wish);
                if wishes.is_empty() {
                    self.wishes.remove(&socket);
                }
            }
            dirty.insert(socket);
        }
        view.reads.take();
        let wishes = view.wishes_of(host);
        match view.reads.take().contains(&Read::Endpoints(host.clone())) {
            true => self.by_endpoints.insert(host.clone()),
            false => self.by_endpoints.remove(host),
        };
        for (socket, wish) in &wishes {
            self.wishes.entry(socket.clone()).or_default().insert(wish.clone());
            dirty.insert(socket.clone());
        }
        if !wishes.is_empty() {
            self.of_host.insert(host.clone(), wishes);
        }
    }

    fn make(&mut self, view: &View<'_>, mut dirty: BTreeSet<Socket>, cache: &Cache) -> Listed {
        // A listener that gives way may leave its name to that of an endpoint, or take it.
        let twins: Vec<Socket> =
            dirty.iter().map(twin).filter(|twin| self.wishes.contains_key(twin)).collect();
        dirty.extend(twins);
        let nobody = Queue::default();
        let mut listed = Listed::default();
        let (mut of_endpoints, mut others): (Vec<Entry>, Vec<Entry>) = (Vec::new(), Vec::new());
        for socket in dirty {
            view.reads.take();
            let entry = view.entry(&socket, self.wishes.get(&socket).unwrap_or(&nobody));
            self.note(&socket, view.reads.take());
            if entry.is_none() {
                listed.listeners.insert(names::listener(&socket.address, socket.port).into(), None);
            }
            listed.seats.insert(socket.clone(), None);
            if socket.of_endpoint { of_endpoints.extend(entry) } else { others.extend(entry) }
        }
        settle(&mut others);
        let of_endpoints = of_endpoints.into_iter().map(|entry| (true, entry));
        for (of_endpoint, entry) in of_endpoints.chain(others.into_iter().map(|entry| (false, entry))) {
            let socket = Socket { port: entry.port, address: entry.address.clone(), of_endpoint };
            listed.seats.insert(socket.clone(), entry.seat());
            let resource = cache.listener(&view.entry_listener(entry));
            listed.listeners.insert(Arc::clone(resource.name()), Some(resource));
            let mut reads = view.reads.take();
            if !reads.is_empty() {
                reads.extend(self.reads.get(&socket).into_iter().flatten().cloned());
                self.note(&socket, reads);
            }
        }
        listed
    }

    fn note(&mut self, socket: &Socket, new: BTreeSet<Read>) {
        let old = self.reads.remove(socket).unwrap_or_default();
        for read in old.difference(&new) {
            if let Some(readers) = self.readers.get_mut(read) {
                readers.remove(socket);
                if readers.is_empty() {
                    self.readers.remove(read);
                }
            }
        }
        for read in new.difference(&old) {
            self.readers.entry(read.clone()).or_default().insert(socket.clone());
        }
        if !new.is_empty() {
            self.reads.insert(socket.clone(), new);
        }
    }
}

/// Stands for what is not a socket's own.
fn everything() -> Socket {
    Socket { port: 0, address: names::WILDCARD_ADDRESS.into(), of_endpoint: true }
}

/// The socket of the same name.
fn twin(socket: &Socket) -> Socket {
    Socket { of_endpoint: !socket.of_endpoint, ..socket.clone() }
}
