//! Encoded resources by what they are made of, shared by all groups of proxies that are told the same (D7).
//!
//! Invariant: the key is a hash of the whole model and of the translation, so a resource is never stale; what no group holds any
//! more goes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{LazyLock, Mutex, PoisonError};

use meltemi_xds::server::Resource;
use meltemi_xds::type_url;
use prost::Message;
use rustc_hash::FxHashMap;

use super::{cluster, endpoint, listener, route};
use crate::model;

/// The source of the translation: another one may make another message of the same model.
const TRANSLATION: [&str; 10] = [
    include_str!("cluster.rs"),
    include_str!("cluster/tls.rs"),
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

/// Below this many entries nothing is thrown away.
const SMALL: usize = 1024;

/// The version of a resource: it stands for type, model and translation and is the same in every run, so that a restarted pilot
/// sends nothing anew; the bytes cannot do that, as protobuf's maps have no order.
pub(crate) fn version<M: Hash + ?Sized>(type_url: &str, model: &M) -> u64 {
    let mut hasher = DefaultHasher::new();
    TRANSLATION_HASH.hash(&mut hasher);
    type_url.hash(&mut hasher);
    model.hash(&mut hasher);
    hasher.finish()
}

/// All encoded resources.
#[derive(Debug, Default)]
pub struct Cache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    resources: FxHashMap<u64, Resource>,
    /// How many there were after the last sweep.
    swept: usize,
}

impl Cache {
    /// A cluster.
    pub fn cluster(&self, model: &model::cluster::Cluster) -> Resource {
        self.get(&model.name, type_url::CLUSTER, model, || cluster::cluster(model))
    }

    /// A listener.
    pub fn listener(&self, model: &model::listener::Listener) -> Resource {
        self.get(&model.name, type_url::LISTENER, model, || listener::listener(model))
    }

    /// A route table with its virtual hosts.
    pub fn route(&self, model: &model::route::RouteConfiguration) -> Resource {
        self.get(&model.name, type_url::ROUTE, model, || route::route_configuration(model))
    }

    /// Endpoints of a cluster.
    pub fn assignment(&self, model: &model::endpoint::Assignment) -> Resource {
        self.get(&model.cluster, type_url::ENDPOINT, model, || endpoint::assignment(model))
    }

    /// A virtual host that travels alone, under this name.
    pub fn virtual_host(&self, name: &str, model: &model::route::VirtualHost) -> Resource {
        self.get(name, type_url::VIRTUAL_HOST, &(name, model), || route::virtual_host(model))
    }

    /// A route table whose virtual hosts travel alone.
    pub fn discovered_route(&self, model: &model::route::RouteConfiguration) -> Resource {
        self.get(&model.name, type_url::ROUTE, &("vhds", model), || route::discovered(model))
    }

    fn get<M: Message, H: Hash + ?Sized>(
        &self,
        name: &str,
        type_url: &str,
        model: &H,
        make: impl FnOnce() -> M,
    ) -> Resource {
        let version = version(type_url, model);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = entries.resources.get(&version) {
            return known.clone();
        }
        let resource = Resource::new(name, version, type_url, &make());
        entries.resources.insert(version, resource.clone());
        if entries.resources.len() > SMALL + 2 * entries.swept {
            entries.resources.retain(|_, resource| !resource.is_unshared());
            entries.swept = entries.resources.len();
        }
        resource
    }
}
