//! A worker's own view of a cluster: pools by endpoint, the balancer's state, statistics.
//!
//! [`crate::http::Worker`] keeps them by slot id, so that a request finds its cluster without a hash.
//! Invariant: a state belongs to one [`Cluster`]; when the slot is filled anew, the worker makes a new one, and
//! streams that are on their way finish on the old.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use rustc_hash::FxHashMap;

use crate::{
    balancer::{self, Balancer, Selection},
    cluster::{Address, Cluster, ClusterSlot, Endpoint, EndpointSet, Health},
    error::{ResetReason, Side},
    http::{Worker, clock},
    stats::{Registry, ResponseStats, groups::ClusterStats, request::Held},
    stream::Stream,
    upstream::{
        UpstreamStream,
        bytes::Bytes,
        connect::{self, ConnectError},
        dynamic::{Names, Unresolved},
        h1::Client,
        h2,
        limits::{Permit, Resource},
        pool::Lifetime,
        pools::{Apart, Kept},
        proxy_header::{Ends, Version},
        queue::{Attempt, Place},
        subsets::Picking,
        zones::Zones,
    },
};

pub use crate::upstream::pools::{Pools, Purpose};

/// A stream to an endpoint, with what it holds of the connection limit (HTTP/2 connections hold their own).
pub type Acquired = (UpstreamStream, Option<Permit>);

/// A cluster on one worker.
#[derive(Debug)]
pub struct ClusterState {
    /// The slot it came from.
    pub slot: Arc<ClusterSlot>,
    /// The cluster as it was when the state was made.
    pub cluster: Arc<Cluster>,
    /// What this worker does to it.
    pub stats: Arc<ClusterStats>,
    /// What it answered on this worker.
    pub responses: Arc<ResponseStats>,
    /// By address of the endpoint's `Arc`, which lives as long as the entry.
    pools: RefCell<FxHashMap<usize, Kept>>,
    apart: RefCell<Apart>,
    /// Endpoints of an ORIGINAL_DST cluster.
    originals: RefCell<FxHashMap<SocketAddr, Arc<Endpoint>>>,
    /// Endpoints of a dynamic forward proxy.
    names: Names,
    balancer: RefCell<Balancer>,
    /// What zone-aware routing has worked out, where there is any.
    zones: RefCell<Option<Box<Zones>>>,
    /// Of clusters with subsets.
    subsets: RefCell<Option<Box<Picking>>>,
    /// Version of the endpoint set that `pools` was last cleaned for.
    version: Cell<u64>,
}

impl ClusterState {
    /// A state without connections.
    pub fn new(slot: Arc<ClusterSlot>, cluster: Arc<Cluster>, stats: &Registry, shard: usize) -> Self {
        let prefix = format!("cluster.{}.", cluster.stat_name);
        Self {
            stats: stats.group(&prefix, shard),
            responses: stats.group(&prefix, shard),
            slot,
            cluster,
            pools: RefCell::default(),
            apart: RefCell::default(),
            originals: RefCell::default(),
            names: Names::default(),
            balancer: RefCell::default(),
            zones: RefCell::default(),
            subsets: RefCell::default(),
            version: Cell::new(0),
        }
    }

    /// The pools of an endpoint for requests of this purpose.
    #[inline]
    pub fn pools(&self, endpoint: &Arc<Endpoint>, purpose: Purpose) -> Rc<Pools> {
        let told = self.cluster.settings.proxy_protocol.is_some();
        if purpose.high || told {
            // Of whom the endpoint hears nothing, all are alike.
            let ends = if told { purpose.ends } else { Ends::NOBODY };
            return self.apart.borrow_mut().get(endpoint, Purpose { ends, ..purpose });
        }
        let key = Arc::as_ptr(endpoint) as usize;
        if let Some((_, pools)) = self.pools.borrow().get(&key) {
            return pools.clone();
        }
        let pools = Rc::<Pools>::default();
        self.pools.borrow_mut().insert(key, (endpoint.clone(), pools.clone()));
        pools
    }

    /// Drops the pools of endpoints that are no more in the set.
    pub fn follow(&self, set: &EndpointSet) {
        if self.version.replace(set.version) == set.version || self.cluster.settings.original_dst {
            return;
        }
        let alive: std::collections::HashSet<usize> =
            set.iter().map(|endpoint| Arc::as_ptr(endpoint) as usize).collect();
        self.pools.borrow_mut().retain(|key, _| alive.contains(key));
        self.apart.borrow_mut().pools.retain(|(key, _), _| alive.contains(key));
    }

    /// An endpoint for the next try. `destination` is where the client wanted to go, for ORIGINAL_DST clusters.
    pub fn pick(
        &self,
        worker: &Worker,
        destination: Option<SocketAddr>,
        wanted: Selection<'_>,
    ) -> Option<Arc<Endpoint>> {
        let settings = &self.cluster.settings;
        if settings.original_dst {
            return destination.map(|address| self.original(address));
        }
        let set = self.cluster.endpoints.load();
        self.follow(&set);
        let wanted = Selection { slow_start: settings.slow_start, ..wanted };
        let mut balancer = self.balancer.borrow_mut();
        if let (Some(aware), Some(local), None) = (&settings.zone_aware, &self.cluster.local, &set.subsets) {
            let mut zones = self.zones.borrow_mut();
            let zones = zones.get_or_insert_with(Box::default);
            return worker.with_random(|random| {
                if aware.fail_on_panic && set.priorities.first().is_some_and(|level| level.panic) {
                    return None;
                }
                let zone = zones.choose(aware, local, &set, settings, &self.stats, random);
                let wanted = Selection { zone, ..wanted };
                balancer.pick(&settings.balancer, &set, &wanted, random).cloned()
            });
        }
        if let Some(subsets) = &set.subsets {
            let mut picking = self.subsets.borrow_mut();
            let picking = picking.get_or_insert_with(Box::default);
            picking.follow(&set, &self.stats);
            return worker.with_random(|random| {
                balancer::subsets::choose(subsets, wanted.asked, &self.stats, &mut |at, hosts| {
                    let balancer = picking.balancers.entry(at).or_default();
                    balancer.pick(&settings.balancer, hosts, &wanted, random).cloned()
                })
            });
        }
        worker.with_random(|random| balancer.pick(&settings.balancer, &set, &wanted, random).cloned())
    }

    /// The endpoint of a name, for dynamic forward proxies.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Arc<Endpoint>, Unresolved> {
        let Some(settings) = &self.cluster.settings.dynamic else {
            return Err(Unresolved::Failed("no dynamic forward proxy".to_owned()));
        };
        let resolved = self.names.resolve(host, port, settings).await?;
        let mut pools = self.pools.borrow_mut();
        for gone in &resolved.gone {
            pools.remove(&(Arc::as_ptr(gone) as usize));
            let mut apart = self.apart.borrow_mut();
            apart.pools.retain(|(key, _), _| *key != Arc::as_ptr(gone) as usize);
        }
        Ok(resolved.endpoint)
    }

    /// The endpoint that stands for an original destination.
    fn original(&self, mut address: SocketAddr) -> Arc<Endpoint> {
        if let Some(port) = self.cluster.settings.original_dst_port {
            address.set_port(port);
        }
        let mut originals = self.originals.borrow_mut();
        if originals.len() >= MAX_ORIGINALS && !originals.contains_key(&address) {
            originals.clear();
            self.pools.borrow_mut().clear();
            self.apart.borrow_mut().pools.clear();
        }
        let new = || Arc::new(Endpoint::new(Address::Socket(address), None, 1, Health::Healthy));
        originals.entry(address).or_insert_with(new).clone()
    }

    /// A stream without waiting, on a connection that is there. Nothing while others wait.
    pub fn ready(&self, pools: &Pools, http2: bool) -> Option<Acquired> {
        if pools.queue(http2).is_empty() { self.take(pools, http2) } else { None }
    }

    /// What is there.
    fn take(&self, pools: &Pools, http2: bool) -> Option<Acquired> {
        if http2 {
            return pools.http2.stream().map(|stream| (UpstreamStream::Http2(Box::new(stream)), None));
        }
        let (client, permit) = pools.http1.take()?;
        Some((UpstreamStream::Http1(client), Some(permit)))
    }

    /// Waits in line for a stream to the endpoint: on a connection that is made for those who wait, or on one that has
    /// become free. Not more may wait than `max_pending_requests`.
    pub async fn wait(
        self: &Rc<Self>,
        endpoint: &Arc<Endpoint>,
        pools: &Rc<Pools>,
        http2: bool,
        purpose: Purpose,
        worker: &Rc<Worker>,
    ) -> Result<Acquired, ConnectError> {
        let limit = self.cluster.settings.limits_at(purpose.high).pending_requests;
        let Some(_pending) = Permit::take(&self.slot, purpose.high, Resource::Pending, limit) else {
            self.stats.upstream_rq_pending_overflow.inc();
            return Err(ConnectError::overflow());
        };
        self.stats.upstream_rq_pending_total.inc();
        let _waiting = Held::new(&self.stats.upstream_rq_pending_active);
        let (state, endpoint, pools) = (self.clone(), endpoint.clone(), pools.clone());
        let place = pools.queue(http2).join();
        let mut patience = Patience { stats: &self.stats, lost: true };
        let demand = Demand { state, endpoint, pools, http2, purpose, worker: worker.clone() };
        let served = poll_fn(|cx| demand.poll(cx, &place)).await;
        patience.lost = false;
        if served.is_err() {
            self.stats.upstream_rq_pending_failure_eject.inc();
        }
        served
    }

    /// A unit of `max_requests` for a request that has its stream; `high`: on a route of priority HIGH.
    pub fn admit(&self, high: bool) -> Option<Permit> {
        let limit = self.cluster.settings.limits_at(high).requests;
        let permit = Permit::take(&self.slot, high, Resource::Requests, limit);
        if permit.is_none() {
            self.stats.upstream_rq_active_overflow.inc();
        }
        permit
    }

    /// A connection without HTTP, for a CONNECT that ends here; `version` has it begin with a header.
    pub async fn connect_bytes(
        &self,
        endpoint: &Arc<Endpoint>,
        Purpose { ends, high }: Purpose,
        version: Option<Version>,
        worker: &Rc<Worker>,
    ) -> Result<Acquired, ConnectError> {
        let Some(mut permit) = self.connection(endpoint, high) else { return Err(ConnectError::overflow()) };
        let mut stream = self.dial(endpoint, ends).await?;
        permit.connected(&self.stats, None);
        if let Some(version) = version {
            connect::introduce(&mut stream, version, ends).await?;
        }
        permit.set_busy(true);
        let bytes = Bytes::new(stream, worker.clone(), Side::Upstream, permit.meter());
        Ok((UpstreamStream::Bytes(Box::new(bytes)), Some(permit)))
    }

    /// A place among the connections of the cluster and of the endpoint, if there is one.
    pub fn connection(&self, endpoint: &Arc<Endpoint>, high: bool) -> Option<Permit> {
        let limits = self.cluster.settings.limits_at(high);
        let permit = Permit::connection(&self.slot, high, endpoint, limits);
        if permit.is_none() {
            self.stats.upstream_cx_overflow.inc();
        }
        permit
    }

    /// Connects to an endpoint for the connection between `ends`, and counts how that went.
    pub async fn dial(&self, endpoint: &Endpoint, ends: Ends) -> Result<Stream, ConnectError> {
        let (stats, started) = (&self.stats, clock::now());
        stats.upstream_cx_total.inc();
        if !self.slot.used.load(Ordering::Relaxed) {
            self.slot.used.store(true, Ordering::Relaxed);
        }
        let connected = connect::connect(&endpoint.address, &self.cluster.settings, ends).await;
        match &connected {
            Ok(_) => {
                let took = clock::now().duration_since(started);
                stats.upstream_cx_connect_ms.record(took.as_millis() as u64);
            }
            Err(failed) => {
                stats.upstream_cx_connect_fail.inc();
                if failed.error.reason == ResetReason::ConnectionTimeout {
                    stats.upstream_cx_connect_timeout.inc();
                }
            }
        }
        connected
    }

    fn http2_settings(&self, worker: &Worker) -> h2::Settings {
        let settings = &self.cluster.settings;
        let prefix = format!("cluster.{}.http2.", self.cluster.stat_name);
        h2::Settings {
            idle_timeout: settings.idle_timeout,
            max_requests: settings.max_requests_per_connection,
            max_duration: settings.max_connection_duration,
            options: settings.http2,
            stats: worker.stats.group(&prefix, worker.index),
        }
    }

    /// Takes a stream back after its exchange; keeps the connection if it may serve again.
    pub fn give_back(&self, (stream, permit): Acquired, pools: &Pools, worker: &Worker) {
        let (UpstreamStream::Http1(client), Some(permit)) = (stream, permit) else { return };
        let settings = &self.cluster.settings;
        // One that served nobody, since there was no room for the request, is as good as before.
        let worn = settings.max_requests_per_connection != 0
            && client.requests() >= settings.max_requests_per_connection;
        let aged = settings
            .max_connection_duration
            .is_some_and(|limit| clock::now().duration_since(client.created()) >= limit);
        permit.set_busy(false);
        if client.is_closing() {
            permit.closed_by_peer();
        } else if worn {
            self.stats.upstream_cx_max_requests.inc();
        } else if aged {
            permit.aged();
        }
        if (client.can_continue() || client.requests() == 0) && !worn && !aged {
            pools.http1.put(client, permit, self.lifetime(), &worker.reaper);
        }
    }

    fn lifetime(&self) -> Lifetime {
        let settings = &self.cluster.settings;
        Lifetime { idle: settings.idle_timeout, age: settings.max_connection_duration }
    }
}

/// Counts a request that left before it was served.
struct Patience<'a> {
    stats: &'a ClusterStats,
    lost: bool,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if self.lost {
            self.stats.upstream_rq_cancelled.inc();
        }
    }
}

/// A pool whose connections do not suffice.
#[derive(Clone)]
struct Demand {
    state: Rc<ClusterState>,
    endpoint: Arc<Endpoint>,
    pools: Rc<Pools>,
    http2: bool,
    /// What all who wait there ask for.
    purpose: Purpose,
    worker: Rc<Worker>,
}

impl Demand {
    fn poll(&self, cx: &mut Context<'_>, place: &Place) -> Poll<Result<Acquired, ConnectError>> {
        if let Some(error) = place.failure() {
            return Poll::Ready(Err(error));
        }
        if place.was_kicked() {
            if place.is_first()
                && let Some(acquired) = self.state.take(&self.pools, self.http2)
            {
                return Poll::Ready(Ok(acquired));
            }
            self.meet();
        }
        place.wait(cx);
        Poll::Pending
    }

    /// Makes connections for those who wait, as far as `max_connections` allow; one in any case.
    fn meet(&self) {
        let (state, queue) = (&self.state, self.pools.queue(self.http2));
        let settings = &state.cluster.settings;
        let streams = if self.http2 { settings.http2.max_concurrent_streams.max(1) } else { 1 };
        while queue.wants_connection(streams) {
            let permit = match state.connection(&self.endpoint, self.purpose.high) {
                Some(permit) => permit,
                None if queue.is_without_connection() => {
                    Permit::force(&state.slot, self.purpose.high, &self.endpoint)
                }
                None => return,
            };
            tokio::task::spawn_local(self.clone().connect(permit, queue.attempt()));
        }
    }

    /// Makes one; whoever is first in line then gets it.
    async fn connect(self, mut permit: Permit, attempt: Attempt) {
        let (state, pools) = (&self.state, &self.pools);
        let stream = match state.dial(&self.endpoint, self.purpose.ends).await {
            Ok(stream) => stream,
            Err(error) => {
                drop((permit, attempt));
                return pools.queue(self.http2).fail(&error);
            }
        };
        permit.connected(&state.stats, Some(attempt.connected()));
        if self.http2 {
            state.stats.upstream_cx_http2_total.inc();
            pools.http2.add(stream, permit, state.http2_settings(&self.worker), &self.worker);
        } else {
            state.stats.upstream_cx_http1_total.inc();
            let client = Box::new(Client::new(
                stream,
                self.worker.clone(),
                permit.meter(),
                state.cluster.settings.names,
            ));
            pools.http1.add(client, permit, state.lifetime(), &self.worker.reaper);
        }
    }
}

/// Destinations that an ORIGINAL_DST cluster remembers; beyond that it starts anew.
const MAX_ORIGINALS: usize = 4096;
