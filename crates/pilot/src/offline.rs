//! What a proxy would be sent, without a connection. Called by `meltemi translate` and golden tests.

use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;

use crate::node::Node;
use crate::snapshot::Snapshot;
use crate::translate;
use crate::view::View;

/// All that a proxy would be sent, each sorted by name.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Every table that a listener names, with its virtual hosts.
    pub routes: Vec<RouteConfiguration>,
    /// Clusters.
    pub clusters: Vec<Cluster>,
    /// Endpoints of all clusters that get them by EDS.
    pub endpoints: Vec<ClusterLoadAssignment>,
}

/// Translates the mesh for one proxy.
pub fn translate(snapshot: &Snapshot, node: &Node) -> Resources {
    let view = View::new(snapshot, node);
    let mut listeners = view.listeners();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    let clusters = view.clusters();
    let tables = view.route_names();
    let tables = tables.iter().filter_map(|name| view.route_table(name));
    let by_eds = clusters.iter().filter(|cluster| translate::cluster::is_eds(cluster));
    Resources {
        listeners: listeners.iter().map(translate::listener::listener).collect(),
        routes: tables.map(|table| translate::route::route_configuration(&table)).collect(),
        endpoints: by_eds
            .map(|cluster| translate::endpoint::assignment(&view.assignment(&cluster.name)))
            .collect(),
        clusters: clusters.iter().map(translate::cluster::cluster).collect(),
    }
}
