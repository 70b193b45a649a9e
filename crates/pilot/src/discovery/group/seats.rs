//! Route tables of a group, found by name, by port and by host.
//!
//! Owned by [`super::Group`]. Invariant: a table is there as long as a socket uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::Host;
use rustc_hash::FxHashMap;

use crate::view::outbound::socket::Socket;
use crate::view::seat::Seat;

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Seats {
    by_name: BTreeMap<String, (Arc<Seat>, BTreeSet<Socket>)>,
    by_socket: FxHashMap<Socket, Arc<Seat>>,
    by_port: FxHashMap<u32, Vec<Arc<Seat>>>,
    by_host: FxHashMap<Host, Vec<Arc<Seat>>>,
    /// Those for all ports.
    for_all: Vec<Arc<Seat>>,
}

/// Tables that went and came.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) gone: Vec<Arc<Seat>>,
    pub(super) came: Vec<Arc<Seat>>,
}

impl Seats {
    /// All tables, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.by_name.values().map(|(seat, _)| seat)
    }

    /// The table of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Seat>> {
        self.by_name.get(name).map(|(seat, _)| seat)
    }

    /// Tables in which a host may have a virtual host: those of its ports, and its own.
    pub(super) fn of(&self, host: &Host, ports: &[u32]) -> impl Iterator<Item = &Arc<Seat>> {
        let shared = ports.iter().filter_map(|port| self.by_port.get(port)).flatten();
        shared.chain(self.by_host.get(host).into_iter().flatten()).chain(&self.for_all)
    }

    /// What of `seats`, which were made of sockets, is other than before; `all`: there are no other sockets.
    pub(super) fn set(&mut self, mut seats: BTreeMap<Socket, Option<Seat>>, all: bool) -> Moved {
        if all {
            let gone = self.by_socket.keys().filter(|socket| !seats.contains_key(*socket));
            let gone: Vec<Socket> = gone.cloned().collect();
            seats.extend(gone.into_iter().map(|socket| (socket, None)));
        }
        let mut moved = Moved::default();
        let differs =
            |before: Option<&Arc<Seat>>, after: &Option<Seat>| before.map(|seat| &**seat) != after.as_ref();
        seats.retain(|socket, seat| differs(self.by_socket.get(socket), seat));
        for socket in seats.keys() {
            moved.gone.extend(self.leave(socket));
        }
        for (socket, seat) in seats {
            moved.came.extend(seat.and_then(|seat| self.take(socket, seat)));
        }
        moved
    }

    /// The table that nobody uses any more.
    fn leave(&mut self, socket: &Socket) -> Option<Arc<Seat>> {
        let seat = self.by_socket.remove(socket)?;
        let (_, users) = self.by_name.get_mut(&seat.name)?;
        users.remove(socket);
        if !users.is_empty() {
            return None;
        }
        self.by_name.remove(&seat.name);
        self.found_at(&seat).retain(|other| other.name != seat.name);
        Some(seat)
    }

    /// The table that nobody used before.
    fn take(&mut self, socket: Socket, seat: Seat) -> Option<Arc<Seat>> {
        if let Some((known, users)) = self.by_name.get_mut(&seat.name) {
            users.insert(socket.clone());
            self.by_socket.insert(socket, Arc::clone(known));
            return None;
        }
        let seat = Arc::new(seat);
        self.by_name.insert(seat.name.clone(), (Arc::clone(&seat), BTreeSet::from([socket.clone()])));
        self.by_socket.insert(socket, Arc::clone(&seat));
        self.found_at(&seat).push(Arc::clone(&seat));
        Some(seat)
    }

    /// Where a table is found by host or port.
    fn found_at(&mut self, seat: &Seat) -> &mut Vec<Arc<Seat>> {
        match &seat.service {
            Some(host) => self.by_host.entry(host.clone()).or_default(),
            None if seat.proxies => &mut self.for_all,
            None => self.by_port.entry(seat.port).or_default(),
        }
    }
}
