//! The configuration plane: owner of every resource, from arrival over warming to being in force.
//!
//! `run` starts it with the bootstrap; the ADS client feeds it ([`meltemi_xds::client::Handler`]); timers and DNS tasks
//! come back to it. Runs beside the workers and hands them finished things only: listeners through [`Listeners`],
//! clusters, endpoints and route tables by pointer swap.
//! Invariant: a resource that is refused leaves the one of before in force; nobody else waits for one that warms.

mod clusters;
mod endpoints;
mod listeners;
mod routes;
mod stats;
mod virtual_hosts;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use meltemi_xds::{
    client::{self, Client, Subscriber},
    pb::google::protobuf::Any,
    type_url,
};
use prost::{Message, Name};
use rustc_hash::FxHashMap;

use self::{
    clusters::ClusterState, endpoints::AssignmentState, listeners::ListenerState, routes::RouteState,
    stats::Counts,
};
use super::{
    At, Context, Rejection,
    view::{ConfigView, Kind, Readiness, Refused, Version},
};
use crate::{
    bootstrap::{Bootstrap, Discovery},
    cluster::{Local, store::ClusterStore},
    listener::Listener,
    stats::Registry,
    worker::Workers,
};

/// How long the first answer of a discovery server, or a warming resource, is waited for: `initial_fetch_timeout`.
const INITIAL_FETCH: Duration = Duration::from_secs(15);

/// Who puts listeners in force: the workers, or a test.
pub trait Listeners: Send {
    /// New, or in place of the one of that name; an error (an address in use) leaves everything as it was.
    fn put(&self, listener: Arc<Listener>) -> Result<(), String>;
    /// Takes it out of force.
    fn remove(&self, name: &str);
    /// Some clusters are not what they were: workers give up the connections that only those had.
    fn retire_clusters(&self) {}
    /// A cluster is gone, and with it what was counted for it.
    fn forget_cluster(&self, _stat_name: &str) {}
    /// How many take a listener.
    fn workers(&self) -> u64 {
        1
    }
    /// Where to count.
    fn stats(&self) -> Arc<Registry> {
        Registry::new()
    }
}

impl Listeners for Workers {
    fn put(&self, listener: Arc<Listener>) -> Result<(), String> {
        // Workers take it in order, so nothing needs to wait for them.
        Workers::put(self, listener).map(drop).map_err(|error| error.to_string())
    }

    fn remove(&self, name: &str) {
        Workers::remove(self, name);
    }

    fn retire_clusters(&self) {
        Workers::retire_clusters(self);
    }

    fn workers(&self) -> u64 {
        self.count() as u64
    }

    fn stats(&self) -> Arc<Registry> {
        Workers::stats(self).clone()
    }

    fn forget_cluster(&self, stat_name: &str) {
        self.stats().remove(&format!("cluster.{stat_name}."));
    }
}

/// The plane, shared by those who bring news. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Plane(Arc<Mutex<State>>);

/// For tasks that must not keep the plane alive.
#[derive(Debug, Clone)]
pub(super) struct WeakPlane(Weak<Mutex<State>>);

struct State {
    itself: WeakPlane,
    context: Context,
    view: Arc<ConfigView>,
    sink: Box<dyn Listeners>,
    counts: Counts,
    subscriber: Option<Subscriber>,
    clusters: FxHashMap<Arc<str>, ClusterState>,
    /// By EDS resource name.
    assignments: FxHashMap<Arc<str>, AssignmentState>,
    listeners: FxHashMap<Arc<str>, ListenerState>,
    routes: FxHashMap<Arc<str>, RouteState>,
    start: Start,
    /// Clusters that changed since EDS was last asked.
    touched: Vec<Arc<str>>,
    /// EDS resources to subscribe to, and to give up.
    asked: (Vec<Arc<str>>, Vec<Arc<str>>),
    /// Clusters were replaced or removed since workers were last told.
    retire: bool,
    /// Listeners that wait for their routes.
    warming: BTreeSet<Arc<str>>,
    /// Route configurations that were asked for.
    wanted_routes: BTreeSet<Arc<str>>,
    /// What listeners need may have changed since routes were last asked for.
    relisten: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("clusters", &self.clusters.len()).finish_non_exhaustive()
    }
}

/// What the first configuration still waits for.
#[derive(Debug, Default)]
struct Start {
    /// `lds_config` is set and not asked for yet: clusters come first.
    listeners_later: bool,
    /// No answer to CDS yet.
    clusters: bool,
    /// No answer to LDS yet.
    listeners: bool,
}

/// Compiles everything static without starting anything: `--mode validate`.
pub fn validate(bootstrap: Bootstrap) -> Result<Vec<String>, Rejection> {
    /// Takes listeners and binds nothing.
    struct Nowhere;
    impl Listeners for Nowhere {
        fn put(&self, _: Arc<Listener>) -> Result<(), String> {
            Ok(())
        }
        fn remove(&self, _: &str) {}
    }
    let plane = Plane::new(&bootstrap, Nowhere);
    let mut notes = bootstrap.notes.clone();
    let mut state = plane.lock();
    // Names are not looked up.
    state.itself = WeakPlane(Weak::new());
    state.load(bootstrap)?;
    for kind in [Kind::Cluster, Kind::Listener] {
        let resources = state.view.resources(kind);
        notes.extend(resources.into_iter().flat_map(|(name, resource)| {
            resource.notes.into_iter().map(move |note| format!("{kind:?} '{name}': {note}"))
        }));
    }
    Ok(notes)
}

impl Plane {
    /// A plane without resources.
    pub fn new(bootstrap: &Bootstrap, sink: impl Listeners + 'static) -> Self {
        let clusters = ClusterStore::new();
        let view = ConfigView::new(clusters.clone(), bootstrap.encoded.clone(), bootstrap.notes.clone());
        let mut context = Context::new(clusters);
        context.node = Some(Arc::new(bootstrap.node.clone()));
        Self(Arc::new_cyclic(|itself| {
            Mutex::new(State {
                itself: WeakPlane(itself.clone()),
                context,
                view,
                counts: Counts::new(sink.stats()),
                sink: Box::new(sink),
                subscriber: None,
                clusters: FxHashMap::default(),
                assignments: FxHashMap::default(),
                listeners: FxHashMap::default(),
                routes: FxHashMap::default(),
                start: Start::default(),
                touched: Vec::new(),
                asked: Default::default(),
                retire: false,
                warming: BTreeSet::new(),
                wanted_routes: BTreeSet::new(),
                relisten: false,
            })
        }))
    }

    /// Puts static resources in force and, when there is a discovery server, starts asking it (on the current tokio
    /// runtime; it ends when the plane is dropped and the task with it).
    pub fn start(&self, mut bootstrap: Bootstrap) -> Result<(), Rejection> {
        let discovery = bootstrap.discovery.take();
        let mut state = self.lock();
        state.load(bootstrap)?;
        state.view.set_readiness(Readiness::Initializing);
        if let Some(discovery) = discovery {
            state.discover(discovery);
        }
        state.settle();
        Ok(())
    }

    /// The picture for admin.
    pub fn view(&self) -> Arc<ConfigView> {
        self.lock().view.clone()
    }

    /// The clusters, for requests whose header names one.
    pub fn clusters(&self) -> Arc<ClusterStore> {
        self.lock().context.clusters.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakPlane {
    /// Does something to the plane, if it is still there, and puts what follows in force.
    fn with(&self, change: impl FnOnce(&mut State)) {
        let Some(plane) = self.0.upgrade() else { return };
        let mut state = plane.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.settle();
    }

    /// Does it after a while.
    fn after(
        &self,
        wait: Duration,
        change: impl FnOnce(&mut State) + Send + 'static,
    ) -> Option<tokio::task::AbortHandle> {
        self.0.upgrade()?;
        let plane = self.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            plane.with(change);
        });
        Some(task.abort_handle())
    }
}

/// The client's handler: the ADS stream's way into the plane.
#[derive(Debug)]
struct Feed(WeakPlane);

impl client::Handler for Feed {
    fn update(&mut self, update: client::Update) -> Vec<client::Rejection> {
        let mut refused = Vec::new();
        self.0.with(|state| refused = state.update(update));
        refused
    }

    fn connected(&mut self, connected: bool) {
        self.0.with(|state| state.counts.connected(connected));
    }
}

impl State {
    fn load(&mut self, bootstrap: Bootstrap) -> Result<(), Rejection> {
        // Names first: routes may only mention what is declared.
        self.context.declared.extend(bootstrap.cluster_names);
        self.context.local = bootstrap
            .local
            .map(|(name, locality)| Arc::new(Local { cluster: self.context.clusters.slot(&name), locality }));
        for (at, message) in bootstrap.clusters.into_iter().enumerate() {
            self.load_cluster(message).at_index("static_resources.clusters", at)?;
        }
        for (at, message) in bootstrap.listeners.into_iter().enumerate() {
            self.load_listener(message).at_index("static_resources.listeners", at)?;
        }
        self.context.clusters.settle();
        Ok(())
    }

    fn discover(&mut self, discovery: Discovery) {
        self.counts.discovers(&discovery);
        let (client, subscriber) = Client::new(discovery.client, Feed(self.itself.clone()));
        self.start = Start {
            listeners_later: discovery.listeners,
            clusters: discovery.clusters,
            listeners: discovery.listeners,
        };
        if discovery.clusters {
            subscriber.subscribe_all(type_url::CLUSTER);
            self.itself.after(INITIAL_FETCH, |state| {
                state.fetch_timed_out(Kind::Cluster, state.start.clusters);
                state.start.clusters = false;
            });
        }
        self.subscriber = Some(subscriber);
        tokio::spawn(client.run());
    }

    fn update(&mut self, update: client::Update) -> Vec<client::Rejection> {
        let kind = match update.type_url.as_str() {
            type_url::CLUSTER => Kind::Cluster,
            type_url::ENDPOINT => Kind::Endpoint,
            type_url::LISTENER => Kind::Listener,
            type_url::ROUTE => Kind::Route,
            type_url::VIRTUAL_HOST => return self.update_virtual_hosts(update),
            // Never asked for.
            _ => return Vec::new(),
        };
        if kind == Kind::Cluster {
            self.context.declared.extend(update.resources.iter().map(|resource| resource.name.clone()));
        }
        let mut refused = Vec::new();
        for resource in update.resources {
            let name = self.context.intern_shared(&resource.name);
            if let Err(rejection) = self.take(kind, &name, resource) {
                refused.push(client::Rejection { name: name.to_string(), reason: rejection.to_string() });
            }
        }
        for name in &update.removed {
            match kind {
                Kind::Cluster => self.remove_cluster(name),
                Kind::Listener => self.remove_listener(name),
                // As in Envoy: they live as long as something refers to them.
                Kind::Endpoint | Kind::Route | Kind::VirtualHost => {}
            }
        }
        self.counts.updated(kind, &update.version, !refused.is_empty());
        match kind {
            Kind::Cluster => self.start.clusters = false,
            Kind::Listener => self.start.listeners = false,
            Kind::Endpoint | Kind::Route | Kind::VirtualHost => {}
        }
        refused
    }

    /// Takes one resource, or keeps the one of before and remembers why.
    fn take(&mut self, kind: Kind, name: &Arc<str>, resource: client::Resource) -> Result<(), Rejection> {
        let version = Version::new(resource.version, resource.value, SystemTime::now());
        let taken = match kind {
            _ if resource.type_url != kind.type_url() => {
                Err(Rejection::new(format!("expected {}, found {}", kind.type_url(), resource.type_url)))
            }
            Kind::Cluster => self.take_cluster(name, version.clone()),
            Kind::Endpoint => self.take_assignment(name, version.clone()),
            Kind::Listener => self.take_listener(name, version.clone()),
            Kind::Route => self.take_routes(name, version.clone()),
            // They come in one go for each table.
            Kind::VirtualHost => Ok(()),
        };
        let notes = self.take_notes(kind, name);
        self.view.update(kind, name, |known| match &taken {
            Ok(()) => {
                known.refused = None;
                known.notes = notes;
            }
            Err(error) => {
                let error = error.to_string().into();
                known.refused = Some(Box::new(Refused { update: version, error }));
            }
        });
        taken
    }

    /// What the resource just compiled says that is not in effect; said aloud once, shown for as long as it lasts.
    fn take_notes(&mut self, kind: Kind, name: &Arc<str>) -> Vec<String> {
        let notes = self.context.take_notes();
        for note in &notes {
            tracing::warn!(?kind, %name, "{note}");
        }
        notes
    }

    /// After every change: what is wanted, what became ready, what nobody needs any more.
    fn settle(&mut self) {
        self.warm_listeners();
        self.want_endpoints();
        if std::mem::take(&mut self.relisten) {
            self.want_routes();
        }
        self.context.clusters.settle();
        if std::mem::take(&mut self.retire) {
            self.sink.retire_clusters();
        }
        self.context.sweep();
        self.report_readiness();
    }

    fn fetch_timed_out(&self, kind: Kind, waited: bool) {
        if waited && let Some(stats) = self.counts.of(kind) {
            stats.init_fetch_timeout.inc();
        }
    }

    fn report_readiness(&mut self) {
        if self.view.readiness() == Readiness::Live {
            return;
        }
        let clusters_ready = !self.start.clusters && self.clusters.values().all(ClusterState::is_warm);
        if clusters_ready && self.start.listeners_later {
            // Listeners come when they have somewhere to send to.
            self.start.listeners_later = false;
            if let Some(subscriber) = &self.subscriber {
                subscriber.subscribe_all(type_url::LISTENER);
            }
            self.itself.after(INITIAL_FETCH, |state| {
                state.fetch_timed_out(Kind::Listener, state.start.listeners);
                state.start.listeners = false;
            });
        }
        let listeners_ready = !self.start.listeners && self.listeners.values().all(ListenerState::is_warm);
        if clusters_ready && listeners_ready {
            self.view.set_readiness(Readiness::Live);
        }
    }
}

/// A message from its bytes.
fn decode<M: Message + Name + Default>(version: &Version) -> Result<M, Rejection> {
    M::decode(&*version.body).map_err(|error| Rejection::new(error.to_string()))
}

/// A static resource as a version of its own.
fn static_version(body: Bytes) -> Version {
    Version::new(Arc::default(), body, SystemTime::now())
}

/// For the `Any`s of config dumps.
pub fn to_any(kind: Kind, version: &Version) -> Any {
    Any { type_url: kind.type_url().to_owned(), value: version.body.to_vec() }
}
