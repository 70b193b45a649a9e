//! Resources for gRPC's own xDS client (`xds:///host:port`), in the form it takes: an API listener named after the target, a
//! table, clusters and endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_config::Host;
use meltemi_xds::server::Resource;
use meltemi_xds::type_url;

use super::group::Shared as Sources;
use crate::model::cluster::{Balancer, Cluster, Discovery, Protocol};
use crate::model::route::{RouteConfiguration, VirtualHost};
use crate::names::{outbound_cluster, parse_outbound_cluster, virtual_host};
use crate::registry::Service;
use crate::shared::Shared;
use crate::translate::cache::{Cache, version};
use crate::translate::listener::api_listener;
use crate::view::View;

/// The resources of these names; there is no wildcard for such a client.
pub(super) fn resources(
    view: &View<'_>,
    cache: &Cache,
    url: &str,
    names: &BTreeSet<String>,
) -> Vec<Resource> {
    let names = names.iter();
    match url {
        type_url::LISTENER => names.filter_map(|name| listener(view, name)).collect(),
        type_url::ROUTE => {
            names.filter_map(|name| table(view, name)).map(|table| cache.route(&table)).collect()
        }
        type_url::CLUSTER => {
            names.filter_map(|name| cluster(view, name)).map(|cluster| cache.cluster(&cluster)).collect()
        }
        // Of a cluster without endpoints there is an empty assignment, so that it does not wait for one.
        type_url::ENDPOINT => names.map(|name| cache.assignment(&view.assignment(name))).collect(),
        _ => Vec::new(),
    }
}

/// The service and port that a target names: `host:port`, the host in full or as a client in its namespace would say it.
fn target<'v>(view: &'v View<'_>, name: &str) -> Option<(&'v Service, u32)> {
    let (host, port) = name.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let namespace = &view.node.namespace;
    let domain = view.snapshot.mesh.domain();
    let full = Host::new(host).resolve(namespace, domain);
    let short = || {
        let (name, rest) = host.split_once('.')?;
        let namespace = rest.split('.').next().unwrap_or_default();
        view.service(&Host::new(&format!("{name}.{namespace}.svc.{domain}")))
    };
    let service = view.service(&full).or_else(short)?;
    service.port(port)?;
    Some((service, port))
}

fn listener(view: &View<'_>, name: &str) -> Option<Resource> {
    let (service, port) = target(view, name)?;
    let route = outbound_cluster(port, "", &service.host);
    let version = version(type_url::LISTENER, &(name, &route));
    Some(Resource::new(name, version, type_url::LISTENER, &api_listener(name, &route)))
}

fn table(view: &View<'_>, name: &str) -> Option<RouteConfiguration> {
    let (port, _, host) = parse_outbound_cluster(name)?;
    let service = view.service(&Host::new(host))?;
    let egress = view.scope.egress.first()?;
    let host = VirtualHost {
        name: virtual_host(&service.host, port),
        domains: vec!["*".to_owned()],
        routes: view.service_routes(egress, service, port),
        require_tls: false,
        attempt_count: false,
    };
    Some(RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![Shared::new(host)],
        ignore_port: true,
    })
}

/// gRPC knows few balancers, and refuses a cluster with another.
fn cluster(view: &View<'_>, name: &str) -> Option<Cluster> {
    let mut cluster = view.named_cluster(name)?;
    cluster.discovery = match cluster.discovery {
        Discovery::LogicalDns(localities, refresh) | Discovery::StrictDns(localities, refresh) => {
            Discovery::LogicalDns(localities, refresh)
        }
        _ => Discovery::Eds,
    };
    cluster.balancer = match cluster.balancer {
        Balancer::RingHash(size) => Balancer::RingHash(size),
        _ => Balancer::RoundRobin(None),
    };
    cluster.protocol = Protocol::Http2;
    Some(cluster)
}

/// The resources of one such client.
#[derive(Debug)]
pub(super) struct Proxyless {
    shared: Arc<Sources>,
    /// Names that it asked for, by type.
    asked: BTreeMap<String, BTreeSet<String>>,
}

impl Proxyless {
    pub(super) fn new(shared: Arc<Sources>) -> Proxyless {
        Proxyless { shared, asked: BTreeMap::new() }
    }

    /// It asks for these names too.
    pub(super) fn ask(&mut self, type_url: &str, names: &[String]) {
        self.asked.entry(type_url.to_owned()).or_default().extend(names.iter().cloned());
    }

    /// Makes what it asked for; whether anything differs.
    pub(super) fn update(&mut self, view: &View<'_>, cache: &Cache) -> bool {
        let mut differs = false;
        for (url, names) in &self.asked {
            let collection = match url.as_str() {
                type_url::LISTENER => &self.shared.listeners,
                type_url::CLUSTER => &self.shared.clusters,
                type_url::ENDPOINT => &self.shared.endpoints,
                type_url::ROUTE => &self.shared.routes,
                _ => continue,
            };
            differs |= collection.replace(resources(view, cache, url, names));
        }
        differs
    }
}
