//! A virtual host that is compiled when the first request asks for it.
//!
//! Most virtual hosts of a sidecar are never asked for: until then they stay in the bytes that came. Made by `xds::route`
//! and `xds::plane`, which have compiled them once to be sure that they are valid.
//! Invariant: what is compiled never changes; a new version of a virtual host is a new [`LazyHost`].

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use super::VirtualHost;
use crate::{
    cluster::store::ClusterStore,
    xds::{self, route::Defaults},
};

/// A virtual host, perhaps still in its bytes. Dereferences to the compiled one.
#[derive(Debug)]
pub struct LazyHost {
    compiled: OnceLock<Arc<VirtualHost>>,
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    /// `VirtualHost`, known to be valid.
    body: Bytes,
    clusters: Arc<ClusterStore>,
    /// What it has from its table.
    defaults: Arc<Defaults>,
}

impl From<VirtualHost> for LazyHost {
    fn from(host: VirtualHost) -> Self {
        Self { compiled: OnceLock::from(Arc::new(host)), source: None }
    }
}

impl LazyHost {
    /// A virtual host in bytes that were seen to be valid.
    pub fn new(body: Bytes, clusters: Arc<ClusterStore>, defaults: Arc<Defaults>) -> Self {
        Self { compiled: OnceLock::new(), source: Some(Source { body, clusters, defaults }) }
    }

    /// The compiled virtual host.
    #[inline]
    pub fn get(&self) -> &Arc<VirtualHost> {
        match self.compiled.get() {
            Some(host) => host,
            None => self.compile(),
        }
    }

    /// True when no request asked for it yet.
    pub fn is_cold(&self) -> bool {
        self.compiled.get().is_none()
    }

    /// The bytes it came in; empty for one that was made from code.
    pub fn body(&self) -> Bytes {
        self.source.as_ref().map(|source| source.body.clone()).unwrap_or_default()
    }

    /// Keeps a compiled form that is at hand.
    pub fn warm(&self, host: VirtualHost) {
        // One that is there already says the same.
        let _ = self.compiled.set(Arc::new(host));
    }

    #[cold]
    fn compile(&self) -> &Arc<VirtualHost> {
        self.compiled.get_or_init(|| {
            let Some(source) = &self.source else { return Arc::default() };
            let mut context = xds::Context::new(source.clusters.clone());
            let host = xds::route::host(&source.body, &source.defaults, &mut context);
            host.map(Arc::new).unwrap_or_else(|error| {
                // Whoever left it in bytes has seen it compile.
                tracing::error!(%error, "a virtual host cannot be compiled again");
                Arc::default()
            })
        })
    }
}

impl Deref for LazyHost {
    type Target = VirtualHost;

    fn deref(&self) -> &VirtualHost {
        self.get()
    }
}
