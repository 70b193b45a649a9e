//! A read-only picture of the configuration for `/config_dump`, `/clusters` and whoever waits for readiness.
//!
//! The plane writes it, admin reads it. Invariant: bytes are those that came, shared, never copied.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::cluster::{Cluster, ClusterSlot, store::ClusterStore};

/// Kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CDS and static clusters.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS and static listeners.
    Listener,
    /// RDS and inline route configurations.
    Route,
    /// VHDS: named `ROUTE/HOST`.
    VirtualHost,
}

impl Kind {
    /// Its type url.
    pub const fn type_url(self) -> &'static str {
        use meltemi_xds::type_url;
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
            Self::VirtualHost => type_url::VIRTUAL_HOST,
        }
    }
}

/// A resource at some version; clones are the same one.
#[derive(Debug, Clone)]
pub struct Version(Arc<Stored>);

/// What a [`Version`] points to.
#[derive(Debug)]
pub struct Stored {
    /// `version_info`; empty for static resources.
    pub version: Arc<str>,
    /// The message as it came (of type [`Kind::type_url`]).
    pub body: Bytes,
    /// When it came.
    pub updated: SystemTime,
}

impl Version {
    /// A version of a resource.
    pub fn new(version: Arc<str>, body: Bytes, updated: SystemTime) -> Self {
        Self(Arc::new(Stored { version, body, updated }))
    }
}

impl Deref for Version {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.0
    }
}

/// An update that was refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What was refused.
    pub update: Version,
    /// Why, as in the NACK.
    pub error: Arc<str>,
}

/// All that is known of one resource.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    /// From the bootstrap.
    pub is_static: bool,
    /// In force.
    pub active: Option<Version>,
    /// Accepted, not yet in force: waits for routes or endpoints.
    pub warming: Option<Version>,
    /// The last update, if it was refused.
    pub refused: Option<Box<Refused>>,
    /// Parts that were understood but are not in effect.
    pub notes: Vec<String>,
}

/// How far the first configuration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Readiness {
    /// Static resources are not in force yet.
    #[default]
    PreInitializing,
    /// Waiting for the discovery server's first answers, or for warming.
    Initializing,
    /// In force: `/ready` says LIVE.
    Live,
}

/// The picture. Shared by `Arc`; locks are for admin and configuration changes only.
#[derive(Debug)]
pub struct ConfigView {
    resources: Mutex<BTreeMap<(Kind, Arc<str>), Resource>>,
    clusters: Arc<ClusterStore>,
    bootstrap: Bytes,
    notes: Vec<String>,
    readiness: watch::Sender<Readiness>,
}

impl ConfigView {
    /// A picture of nothing yet. `bootstrap` is the encoded `envoy.config.bootstrap.v3.Bootstrap`.
    pub fn new(clusters: Arc<ClusterStore>, bootstrap: Bytes, notes: Vec<String>) -> Arc<Self> {
        let (readiness, _) = watch::channel(Readiness::default());
        Arc::new(Self { resources: Mutex::default(), clusters, bootstrap, notes, readiness })
    }

    /// Resources of a kind, by name.
    pub fn resources(&self, kind: Kind) -> Vec<(Arc<str>, Resource)> {
        let resources = self.lock();
        let of_kind = resources.iter().filter(|((k, _), _)| *k == kind);
        of_kind.map(|((_, name), resource)| (name.clone(), resource.clone())).collect()
    }

    /// Names and bodies of the virtual hosts that came one by one for a route configuration.
    pub fn virtual_hosts(&self, route: &str) -> Vec<(Arc<str>, Bytes)> {
        let prefix = format!("{route}/");
        let resources = self.lock();
        let from = (Kind::VirtualHost, Arc::from(prefix.as_str()));
        let hosts = resources
            .range(from..)
            .take_while(|((kind, name), _)| *kind == Kind::VirtualHost && name.starts_with(prefix.as_str()));
        // A route's name may go on after a slash.
        let hosts = hosts.filter(|((_, name), _)| !name[prefix.len()..].contains('/'));
        let bodies =
            hosts.filter_map(|((_, name), known)| Some((name.clone(), known.active.as_ref()?.body.clone())));
        bodies.collect()
    }

    /// Clusters that are published, by name, with their endpoints.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.clusters.clusters()
    }

    /// The slots of those clusters.
    pub fn slots(&self) -> Vec<Arc<ClusterSlot>> {
        self.clusters.published()
    }

    /// True when the cluster came by CDS.
    pub fn added_via_api(&self, cluster: &str) -> bool {
        let key = (Kind::Cluster, Arc::from(cluster));
        self.lock().get(&key).is_some_and(|resource| !resource.is_static)
    }

    /// The encoded bootstrap.
    pub fn bootstrap(&self) -> &Bytes {
        &self.bootstrap
    }

    /// What the bootstrap says that is not in effect.
    pub fn bootstrap_notes(&self) -> &[String] {
        &self.notes
    }

    /// How far the first configuration has come.
    pub fn readiness(&self) -> Readiness {
        *self.readiness.borrow()
    }

    /// To wait for [`Readiness::Live`].
    pub fn watch_readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    pub(super) fn set_readiness(&self, readiness: Readiness) {
        self.readiness.send_if_modified(|current| {
            let forward = readiness as u8 > *current as u8;
            if forward {
                *current = readiness;
            }
            forward
        });
    }

    /// Changes what is known of a resource.
    pub(super) fn update(&self, kind: Kind, name: &Arc<str>, change: impl FnOnce(&mut Resource)) {
        change(self.lock().entry((kind, name.clone())).or_default());
    }

    /// Forgets a resource.
    pub(super) fn forget(&self, kind: Kind, name: &Arc<str>) {
        self.lock().remove(&(kind, name.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Kind, Arc<str>), Resource>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
