//! What the connections of one worker thread share, without locks: clock, random numbers, buffers, deadlines,
//! and the worker's own view of every cluster (pools, balancer, statistics).
//!
//! The worker thread makes one and hands an `Rc` to every connection it accepts.
//! Invariant: it never leaves its thread.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use crate::{
    access_log::grpc::Logger,
    cluster::ClusterSlot,
    http::{buffer::Buffers, clock::WallClock, connection_manager::Exchange, deadline::Deadlines},
    stats::{
        Registry,
        groups::{
            ConnectionLimitStats, CorsStats, FaultStats, Http2Stats, HttpStats, ListenerHttpStats, TcpStats,
        },
        route::RouteStats,
    },
    upstream::{cluster::ClusterState, pool::Reaper},
};

/// Write queues that are kept, and the largest that is.
const KEPT_OUTPUTS: (usize, usize) = (64, 64 * 1024);
/// Statistics by prefix.
type ByPrefix<T> = RefCell<FxHashMap<Arc<str>, Arc<T>>>;

/// Exchanges that are kept.
const KEPT_EXCHANGES: usize = 64;

/// The thread-local context of the data path.
#[derive(Debug)]
pub struct Worker {
    /// Number of the worker, from 0: its shard in statistics.
    pub index: usize,
    /// Where its statistics are kept.
    pub stats: Arc<Registry>,
    /// By `stat_prefix`: a connection finds its group without the registry's lock.
    http_stats: RefCell<FxHashMap<Arc<str>, Arc<HttpStats>>>,
    /// Likewise of connection managers in their listeners.
    listener_stats: RefCell<FxHashMap<[Arc<str>; 2], Arc<ListenerHttpStats>>>,
    /// Likewise of TCP proxies.
    tcp_stats: RefCell<FxHashMap<Arc<str>, Arc<TcpStats>>>,
    http2_stats: std::cell::OnceCell<Arc<Http2Stats>>,
    /// Likewise of routes and virtual clusters.
    route_stats: ByPrefix<RouteStats>,
    /// Likewise of fault and CORS filters and of connection limits, once they act.
    filter_stats: (ByPrefix<FaultStats>, ByPrefix<CorsStats>, ByPrefix<ConnectionLimitStats>),
    /// Wall-clock time.
    pub clock: WallClock,
    /// Deadlines of connections and streams.
    pub deadlines: Rc<Deadlines>,
    /// Read buffers.
    pub buffers: Buffers,
    /// Watches idle upstream connections.
    pub reaper: Rc<Reaper>,
    outputs: RefCell<Vec<Vec<u8>>>,
    clusters: RefCell<Vec<Option<Rc<ClusterState>>>>,
    /// Of logs that go to services, by their ids.
    grpc_loggers: RefCell<FxHashMap<u64, Rc<Logger>>>,
    random: RefCell<fastrand::Rng>,
    #[allow(clippy::vec_box, reason = "tasks hold them by pointer, to be small while idle")]
    exchanges: RefCell<Vec<Box<Exchange>>>,
    local_ip: Box<str>,
    ticking: Cell<bool>,
}

impl Worker {
    /// The context of worker `index`.
    pub fn new(index: usize) -> Rc<Self> {
        Self::with_stats(index, Registry::new())
    }

    /// The context of worker `index`, which keeps its statistics in `stats`.
    pub fn with_stats(index: usize, stats: Arc<Registry>) -> Rc<Self> {
        Rc::new(Self {
            index,
            stats,
            http_stats: RefCell::default(),
            listener_stats: RefCell::default(),
            tcp_stats: RefCell::default(),
            http2_stats: std::cell::OnceCell::new(),
            route_stats: Default::default(),
            filter_stats: Default::default(),
            clock: WallClock::new(),
            deadlines: Rc::default(),
            buffers: Buffers::default(),
            reaper: Rc::default(),
            outputs: RefCell::default(),
            clusters: RefCell::default(),
            grpc_loggers: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            exchanges: RefCell::default(),
            local_ip: local_ip().to_string().into(),
            ticking: Cell::new(false),
        })
    }

    /// The statistics of connection managers with this prefix, on this worker.
    pub fn http_stats(&self, stat_prefix: &Arc<str>) -> Arc<HttpStats> {
        let mut known = self.http_stats.borrow_mut();
        let fresh = || self.stats.group(&format!("http.{stat_prefix}."), self.index);
        known.entry(stat_prefix.clone()).or_insert_with(fresh).clone()
    }

    /// What connection managers with this prefix do in this listener, on this worker.
    pub fn listener_stats(&self, listener: &Arc<str>, stat_prefix: &Arc<str>) -> Arc<ListenerHttpStats> {
        let mut known = self.listener_stats.borrow_mut();
        let fresh = || self.stats.group(&format!("listener.{listener}.http.{stat_prefix}."), self.index);
        known.entry([listener.clone(), stat_prefix.clone()]).or_insert_with(fresh).clone()
    }

    /// The statistics of TCP proxies with this prefix, on this worker.
    pub fn tcp_stats(&self, stat_prefix: &Arc<str>) -> Arc<TcpStats> {
        let mut known = self.tcp_stats.borrow_mut();
        let fresh = || self.stats.group(&format!("tcp.{stat_prefix}."), self.index);
        known.entry(stat_prefix.clone()).or_insert_with(fresh).clone()
    }

    /// The statistics of connection limits with this prefix, on this worker.
    pub fn connection_limit_stats(&self, stat_prefix: &Arc<str>) -> Arc<ConnectionLimitStats> {
        let mut known = self.filter_stats.2.borrow_mut();
        let fresh = || self.stats.group(&format!("connection_limit.{stat_prefix}."), self.index);
        known.entry(stat_prefix.clone()).or_insert_with(fresh).clone()
    }

    /// The statistics of downstream HTTP/2 connections, on this worker.
    pub fn http2_stats(&self) -> Arc<Http2Stats> {
        self.http2_stats.get_or_init(|| self.stats.group("http2.", self.index)).clone()
    }

    /// The statistics of fault filters of connection managers with this prefix, on this worker.
    pub fn fault_stats(&self, stat_prefix: &Arc<str>) -> Arc<FaultStats> {
        let mut known = self.filter_stats.0.borrow_mut();
        let fresh = || self.stats.group(&format!("http.{stat_prefix}.fault."), self.index);
        known.entry(stat_prefix.clone()).or_insert_with(fresh).clone()
    }

    /// True once they were asked for.
    pub fn has_route_stats(&self, prefix: &Arc<str>) -> bool {
        self.route_stats.borrow().contains_key(prefix)
    }

    /// The statistics of a route or a virtual cluster under their whole prefix, on this worker.
    pub fn route_stats(&self, prefix: &Arc<str>) -> Arc<RouteStats> {
        let mut known = self.route_stats.borrow_mut();
        known.entry(prefix.clone()).or_insert_with(|| self.stats.group(prefix, self.index)).clone()
    }

    /// Likewise of CORS filters.
    pub fn cors_stats(&self, stat_prefix: &Arc<str>) -> Arc<CorsStats> {
        let mut known = self.filter_stats.1.borrow_mut();
        let fresh = || self.stats.group(&format!("http.{stat_prefix}.cors."), self.index);
        known.entry(stat_prefix.clone()).or_insert_with(fresh).clone()
    }

    /// The logger of that id, made when it is new; those whose logs are gone are let go of then.
    pub fn grpc_logger(&self, id: u64, make: impl FnOnce() -> Rc<Logger>) -> Rc<Logger> {
        let mut known = self.grpc_loggers.borrow_mut();
        if let Some(logger) = known.get(&id) {
            return logger.clone();
        }
        known.retain(|_, logger| logger.is_wanted());
        known.entry(id).or_insert_with(make).clone()
    }

    /// A random number; fast, not for secrets.
    #[inline]
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Lends the random numbers themselves.
    pub fn with_random<R>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> R) -> R {
        draw(&mut self.random.borrow_mut())
    }

    /// This machine's address as text, which stands in for loopback peers in `x-forwarded-for`.
    pub fn local_ip(&self) -> &str {
        &self.local_ip
    }

    /// An exchange to fill.
    pub fn take_exchange(&self) -> Box<Exchange> {
        self.exchanges.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes an exchange back when its request is over.
    pub fn give_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.clear();
        let mut exchanges = self.exchanges.borrow_mut();
        if exchanges.len() < KEPT_EXCHANGES {
            exchanges.push(exchange);
        }
    }

    /// Starts the deadline ticker on the current `LocalSet`; later calls do nothing.
    pub fn start(&self) {
        if !self.ticking.replace(true) {
            tokio::task::spawn_local(self.deadlines.clone().run());
            tokio::task::spawn_local(self.reaper.clone().run());
        }
    }

    /// This worker's state of the cluster that fills the slot now; `None` when it is empty.
    pub fn cluster(&self, slot: &Arc<ClusterSlot>) -> Option<Rc<ClusterState>> {
        let current = slot.load();
        let mut states = self.clusters.borrow_mut();
        let at = slot.id as usize;
        let Some(cluster) = &*current else {
            // Gone: close its idle connections.
            if let Some(state) = states.get_mut(at) {
                *state = None;
            }
            return None;
        };
        if let Some(Some(state)) = states.get(at)
            && Arc::ptr_eq(&state.cluster, cluster)
        {
            return Some(state.clone());
        }
        if states.len() <= at {
            states.resize(at + 1, None);
        }
        let state = Rc::new(ClusterState::new(slot.clone(), cluster.clone(), &self.stats, self.index));
        states[at] = Some(state.clone());
        Some(state)
    }

    /// Lets go of clusters that are not what fills their slot any more: their idle connections close, streams on their
    /// way keep theirs. Without it that would happen only when the next request asks for the cluster.
    pub fn retire_clusters(&self) {
        for state in self.clusters.borrow_mut().iter_mut() {
            let stale = |kept: &Rc<ClusterState>| {
                kept.slot.load().as_ref().is_none_or(|cluster| !Arc::ptr_eq(cluster, &kept.cluster))
            };
            if state.as_ref().is_some_and(stale) {
                *state = None;
            }
        }
    }

    /// An empty write queue.
    pub(crate) fn take_output(&self) -> Vec<u8> {
        self.outputs.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(4096))
    }

    /// Takes an empty write queue back.
    pub(crate) fn give_output(&self, output: Vec<u8>) {
        let mut outputs = self.outputs.borrow_mut();
        if outputs.len() < KEPT_OUTPUTS.0 && output.capacity() <= KEPT_OUTPUTS.1 {
            outputs.push(output);
        }
    }
}

/// The address from which this machine would reach others; connecting a datagram socket sends nothing.
fn local_ip() -> IpAddr {
    let probe = || -> std::io::Result<SocketAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    probe().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
