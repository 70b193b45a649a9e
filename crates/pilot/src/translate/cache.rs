//! Encoded resources by the model they are made of, shared by all proxies that are told the same (D7).
//!
//! Invariant: the key is the whole model, so a resource is never stale; entries that a whole snapshot did not ask for go.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use meltemi_xds::pb::google::protobuf::Any;
use meltemi_xds::server::Resource;
use rustc_hash::FxHashMap;

use super::{cluster, endpoint, listener, route};
use crate::model;

/// The source of the translation: another one may make another message of the same model.
const TRANSLATION: [&str; 9] = [
    include_str!("cluster.rs"),
    include_str!("endpoint.rs"),
    include_str!("listener.rs"),
    include_str!("listener/http.rs"),
    include_str!("proto.rs"),
    include_str!("route.rs"),
    include_str!("route/filters.rs"),
    include_str!("route/hash.rs"),
    include_str!("route/retry.rs"),
];

/// Its hash.
static TRANSLATION_HASH: LazyLock<u64> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    TRANSLATION.hash(&mut hasher);
    hasher.finish()
});

/// A resource made of a model. The version stands for model and translation and is the same in every run, so that a restarted
/// pilot sends nothing anew; the bytes cannot do that, as protobuf's maps have no order.
pub(crate) fn resource<M: Hash + ?Sized>(name: &str, model: &M, body: Any) -> Resource {
    let mut hasher = DefaultHasher::new();
    TRANSLATION_HASH.hash(&mut hasher);
    model.hash(&mut hasher);
    let version = format!("{:016x}", hasher.finish());
    Resource { name: name.into(), version: version.into(), body: Arc::new(body) }
}

/// All encoded resources.
#[derive(Debug, Default)]
pub struct Cache {
    clusters: Table<model::cluster::Cluster>,
    listeners: Table<model::listener::Listener>,
    routes: Table<model::route::RouteConfiguration>,
    endpoints: Table<model::endpoint::Assignment>,
}

impl Cache {
    /// A cluster.
    pub fn cluster(&self, model: model::cluster::Cluster) -> Resource {
        self.clusters
            .get(model, |model| resource(&model.name, model, meltemi_xds::any(&cluster::cluster(model))))
    }

    /// A listener.
    pub fn listener(&self, model: model::listener::Listener) -> Resource {
        self.listeners
            .get(model, |model| resource(&model.name, model, meltemi_xds::any(&listener::listener(model))))
    }

    /// A route table.
    pub fn route(&self, model: model::route::RouteConfiguration) -> Resource {
        let make = |model: &model::route::RouteConfiguration| {
            resource(&model.name, model, meltemi_xds::any(&route::route_configuration(model)))
        };
        self.routes.get(model, make)
    }

    /// Endpoints of a cluster.
    pub fn assignment(&self, model: model::endpoint::Assignment) -> Resource {
        let make = |model: &model::endpoint::Assignment| {
            resource(&model.cluster, model, meltemi_xds::any(&endpoint::assignment(model)))
        };
        self.endpoints.get(model, make)
    }

    /// Begins a new snapshot: what was not asked for during the last two goes.
    pub fn advance(&self) {
        self.clusters.advance();
        self.listeners.advance();
        self.routes.advance();
        self.endpoints.advance();
    }
}

/// Resources of one type, by age.
#[derive(Debug)]
struct Table<M> {
    state: Mutex<Generations<M>>,
}

#[derive(Debug)]
struct Generations<M> {
    now: u64,
    entries: FxHashMap<Arc<M>, (u64, Resource)>,
}

impl<M> Default for Table<M> {
    fn default() -> Self {
        Table { state: Mutex::new(Generations { now: 0, entries: FxHashMap::default() }) }
    }
}

impl<M: Hash + Eq> Table<M> {
    fn get(&self, model: M, make: impl FnOnce(&M) -> Resource) -> Resource {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.now;
        if let Some((used, resource)) = state.entries.get_mut(&model) {
            *used = now;
            return resource.clone();
        }
        let resource = make(&model);
        state.entries.insert(Arc::new(model), (now, resource.clone()));
        resource
    }

    fn advance(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now += 1;
        let oldest = state.now.saturating_sub(2);
        state.entries.retain(|_, (used, _)| *used >= oldest);
    }
}
