//! Static resources of a bootstrap that need no discovery: clusters of known addresses, listeners with inline routes.
//!
//! Called once at start by [`super::run`]. Invariant: nothing that was asked for is left out in silence.

use std::sync::Arc;

use arc_swap::ArcSwap;
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;

use crate::{
    cluster::{Cluster, EndpointSet, endpoints::Layout, store::ClusterStore},
    listener::Listener,
    xds::{
        self, Context,
        cluster::{Compiled, Discovery},
    },
};

/// Publishes the clusters and gives back the listeners.
pub(super) fn compile(
    bootstrap: &Bootstrap,
    clusters: &Arc<ClusterStore>,
) -> Result<Vec<Arc<Listener>>, String> {
    let mut context = Context::new(clusters.clone());
    let Some(resources) = &bootstrap.static_resources else { return Ok(Vec::new()) };
    for message in &resources.clusters {
        let compiled = xds::cluster::compile(message, &mut context).map_err(|e| e.to_string());
        let published = compiled.and_then(cluster).map_err(|e| format!("cluster '{}': {e}", message.name))?;
        clusters.publish(Arc::new(published));
    }
    clusters.settle();
    let mut listeners = Vec::with_capacity(resources.listeners.len());
    for message in &resources.listeners {
        let compiled = xds::listener::compile(message, None, &mut context);
        let compiled = compiled.map_err(|error| format!("listener '{}': {error}", message.name))?;
        if let Some(route) = context.take_wanted_routes().first() {
            return Err(format!(
                "listener '{}': route '{}' comes by RDS: no discovery yet",
                message.name, route.name
            ));
        }
        listeners.push(compiled.listener);
    }
    context.take_notes().iter().for_each(|note| tracing::warn!("{note}"));
    Ok(listeners)
}

fn cluster(compiled: Compiled) -> Result<Cluster, String> {
    let endpoints = match &compiled.discovery {
        Discovery::Static(assignment) => {
            let layout = Layout {
                overprovisioning: assignment.overprovisioning,
                panic_threshold: compiled.settings.panic_threshold,
                locality_weighted: compiled.settings.locality_weighted,
            };
            EndpointSet::build(&assignment.resolved(), layout, &EndpointSet::default())
        }
        Discovery::OriginalDst => EndpointSet::default(),
        Discovery::Eds { .. } | Discovery::Dns(_) => return Err("EDS and DNS: no discovery yet".into()),
    };
    let (name, stat_name, settings) = (compiled.name, compiled.stat_name, compiled.settings);
    Ok(Cluster { name, stat_name, settings, endpoints: ArcSwap::from_pointee(endpoints) })
}
