//! A worker's own view of a cluster: pools by endpoint, the balancer's state, statistics.
//!
//! [`crate::http::Worker`] keeps them by slot id, so that a request finds its cluster without a hash.
//! Invariant: a state belongs to one [`Cluster`]; when the slot is filled anew, the worker makes a new one, and
//! streams that are on their way finish on the old.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use crate::{
    cluster::{Cluster, ClusterSlot, Endpoint, EndpointSet},
    error::{ResetReason, Side, StreamError},
    http::Worker,
    upstream::{
        UpstreamStream,
        connect::{self, ConnectError},
        h1::Client,
        limits::{Permit, Resource},
        pool::Pool,
    },
};

/// A cluster on one worker.
#[derive(Debug)]
pub struct ClusterState {
    /// The slot it came from.
    pub slot: Arc<ClusterSlot>,
    /// The cluster as it was when the state was made.
    pub cluster: Arc<Cluster>,
    /// By address of the endpoint's `Arc`, which lives as long as the entry.
    pools: RefCell<FxHashMap<usize, (Arc<Endpoint>, Rc<Pool>)>>,
    /// Version of the endpoint set that `pools` was last cleaned for.
    version: Cell<u64>,
}

impl ClusterState {
    /// A state without connections.
    pub fn new(slot: Arc<ClusterSlot>, cluster: Arc<Cluster>) -> Self {
        Self { slot, cluster, pools: RefCell::default(), version: Cell::new(0) }
    }

    /// The pool of an endpoint.
    pub fn pool(&self, endpoint: &Arc<Endpoint>) -> Rc<Pool> {
        let key = Arc::as_ptr(endpoint) as usize;
        if let Some((_, pool)) = self.pools.borrow().get(&key) {
            return pool.clone();
        }
        let pool = Rc::<Pool>::default();
        self.pools.borrow_mut().insert(key, (endpoint.clone(), pool.clone()));
        pool
    }

    /// Drops the pools of endpoints that are no more in the set.
    pub fn follow(&self, set: &EndpointSet) {
        if self.version.replace(set.version) == set.version || self.cluster.settings.original_dst {
            return;
        }
        let alive: std::collections::HashSet<usize> =
            set.priorities.iter().flatten().map(|endpoint| Arc::as_ptr(endpoint) as usize).collect();
        self.pools.borrow_mut().retain(|key, _| alive.contains(key));
    }

    /// An HTTP/1 connection that is idle in the pool.
    pub fn idle(&self, pool: &Pool) -> Option<(UpstreamStream, Permit)> {
        let (client, permit) = pool.take(self.cluster.settings.idle_timeout)?;
        Some((UpstreamStream::Http1(client), permit))
    }

    /// A new HTTP/1 connection to the endpoint.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        worker: &Rc<Worker>,
    ) -> Result<(UpstreamStream, Permit), ConnectError> {
        let settings = &self.cluster.settings;
        let Some(permit) = Permit::take(&self.slot, Resource::Connections, settings.limits.connections)
        else {
            let error = StreamError::new(Side::Local, ResetReason::Overflow);
            return Err(ConnectError { error, transport: String::new() });
        };
        let stream = connect::connect(&endpoint.address, settings).await?;
        Ok((UpstreamStream::Http1(Box::new(Client::new(stream, worker.clone()))), permit))
    }

    /// Takes a stream back after its exchange; keeps the connection if it may serve again.
    pub fn give_back(&self, stream: UpstreamStream, permit: Permit, pool: &Rc<Pool>, worker: &Worker) {
        let UpstreamStream::Http1(client) = stream;
        let settings = &self.cluster.settings;
        let worn = settings.max_requests_per_connection != 0
            && client.requests() >= settings.max_requests_per_connection;
        let aged = settings
            .max_connection_duration
            .is_some_and(|limit| crate::http::clock::now().duration_since(client.created()) >= limit);
        if client.can_continue() && !worn && !aged {
            worker.reaper.set_idle_timeout(settings.idle_timeout);
            pool.put(client, permit, &worker.reaper);
        }
    }
}
