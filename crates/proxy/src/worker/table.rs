//! A worker's listeners: what is in force, which connections each filter chain has, and how both end.
//!
//! Lives on the worker's thread; commands from the main thread change it, the accept loop reads it.
//! Invariant: a connection is counted in exactly one drain group, that of the chain it was matched to.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::{sync::Notify, task::AbortHandle};

use super::socket::Listening;
use crate::{
    drain::{Group, Phase},
    listener::{FilterChain, Listener, address::ListenAddress, stats::ListenerStats},
};

/// All listeners of one worker.
#[derive(Debug, Default)]
pub(super) struct Table {
    listeners: RefCell<FxHashMap<Arc<str>, Rc<Active>>>,
    /// For hand-off by original destination; bound or not.
    by_address: RefCell<FxHashMap<SocketAddr, Rc<Active>>>,
    /// Groups that left their listener and have connections still.
    draining: RefCell<Vec<Rc<Group>>>,
    /// Connections from accept to end.
    live: Cell<usize>,
    /// Told when `live` falls to zero.
    pub(super) idle: Notify,
}

/// Drain groups by the chain's address; holding the chain keeps the address its own.
type Groups = FxHashMap<*const FilterChain, (Arc<FilterChain>, Rc<Group>)>;

/// One listener on one worker.
#[derive(Debug)]
pub(super) struct Active {
    /// What new connections get.
    pub(super) listener: RefCell<Arc<Listener>>,
    /// Counters of this worker.
    pub(super) stats: Arc<ListenerStats>,
    groups: RefCell<Groups>,
    sockets: RefCell<Vec<Accepting>>,
    phase: Cell<Phase>,
}

/// A listening socket with its accept loop.
#[derive(Debug)]
pub(super) struct Accepting {
    /// The configured address.
    pub(super) address: ListenAddress,
    /// The socket; the accept loop holds the same.
    pub(super) socket: Rc<Listening>,
    /// The accept loop.
    pub(super) task: AbortHandle,
}

impl Table {
    /// The listener of that name.
    pub(super) fn get(&self, name: &str) -> Option<Rc<Active>> {
        self.listeners.borrow().get(name).cloned()
    }

    /// Every listener.
    pub(super) fn all(&self) -> Vec<Rc<Active>> {
        self.listeners.borrow().values().cloned().collect()
    }

    /// Files a listener under its name and addresses.
    pub(super) fn insert(&self, active: &Rc<Active>) {
        let listener = active.listener.borrow().clone();
        let mut by_address = self.by_address.borrow_mut();
        by_address.retain(|_, other| !Rc::ptr_eq(other, active));
        for address in listener.addresses.iter().filter_map(ListenAddress::socket) {
            by_address.insert(address, active.clone());
        }
        self.listeners.borrow_mut().insert(listener.name.clone(), active.clone());
    }

    /// Forgets a listener.
    pub(super) fn take(&self, name: &str) -> Option<Rc<Active>> {
        let active = self.listeners.borrow_mut().remove(name)?;
        self.by_address.borrow_mut().retain(|_, other| !Rc::ptr_eq(other, &active));
        Some(active)
    }

    /// The listener for an original destination: that very address, else the wildcard of its port.
    pub(super) fn for_destination(&self, destination: SocketAddr) -> Option<Rc<Active>> {
        let by_address = self.by_address.borrow();
        let port = destination.port();
        let any = match destination {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], port)),
            SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], port)),
        };
        by_address.get(&destination).or_else(|| by_address.get(&any)).cloned()
    }

    /// Moves every connection, also those of listeners and chains that are gone, to `phase`.
    pub(super) fn advance(&self, phase: Phase) {
        self.all().iter().for_each(|active| active.advance(phase));
        self.draining.borrow().iter().for_each(|group| group.advance(phase));
    }

    /// Tells the connections of groups to end and cuts off what is left after `time`.
    pub(super) async fn drain(self: Rc<Self>, groups: Vec<Rc<Group>>, time: Duration) {
        groups.iter().for_each(|group| group.advance(Phase::Draining));
        self.draining.borrow_mut().extend(groups.iter().cloned());
        tokio::time::sleep(time).await;
        groups.iter().for_each(|group| group.advance(Phase::Closed));
        self.draining.borrow_mut().retain(|group| group.phase() != Phase::Closed);
    }

    /// Connections that are not over.
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> Live {
        self.live.set(self.live.get() + 1);
        Live(self.clone())
    }
}

/// A connection that is not over.
#[derive(Debug)]
pub(super) struct Live(Rc<Table>);

impl Drop for Live {
    fn drop(&mut self) {
        let left = self.0.live.get() - 1;
        self.0.live.set(left);
        if left == 0 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Active {
    /// A listener without sockets.
    pub(super) fn new(listener: Arc<Listener>, stats: Arc<ListenerStats>) -> Rc<Self> {
        Rc::new(Self {
            listener: RefCell::new(listener),
            stats,
            groups: RefCell::default(),
            sockets: RefCell::default(),
            phase: Cell::new(Phase::Open),
        })
    }

    /// The drain group of a chain.
    pub(super) fn group(&self, chain: &Arc<FilterChain>) -> Rc<Group> {
        let mut groups = self.groups.borrow_mut();
        let entry = groups.entry(Arc::as_ptr(chain)).or_insert_with(|| (chain.clone(), Group::new()));
        entry.1.advance(self.phase.get());
        entry.1.clone()
    }

    /// Takes the new configuration; returns the groups of the chains that are no longer in it.
    pub(super) fn replace(&self, listener: Arc<Listener>) -> Vec<Rc<Group>> {
        let mut gone = Vec::new();
        self.groups.borrow_mut().retain(|_, (chain, group)| {
            let stays = listener.chains.contains(chain);
            if !stays {
                gone.push(group.clone());
            }
            stays
        });
        *self.listener.borrow_mut() = listener;
        gone
    }

    /// Every connection ends by and by; those still under inspection join as they come.
    pub(super) fn retire(&self) -> Vec<Rc<Group>> {
        self.advance(Phase::Draining);
        self.groups.borrow().values().map(|(_, group)| group.clone()).collect()
    }

    /// Adds a socket that accepts.
    pub(super) fn add_socket(&self, accepting: Accepting) {
        self.sockets.borrow_mut().push(accepting);
    }

    /// Takes out the sockets that `unwanted` picks.
    pub(super) fn take_sockets(&self, unwanted: impl Fn(&ListenAddress) -> bool) -> Vec<Accepting> {
        self.sockets.borrow_mut().extract_if(.., |accepting| unwanted(&accepting.address)).collect()
    }

    /// Moves every connection, and those still to come, to `phase`.
    pub(super) fn advance(&self, phase: Phase) {
        if phase > self.phase.get() {
            self.phase.set(phase);
        }
        for (_, group) in self.groups.borrow().values() {
            group.advance(phase);
        }
    }
}
