//! The configuration of one proxy at rest, compiled from the messages that it was or would be sent.
//!
//! Invariant: a resource that the proxy would refuse is an error here too, with the same words.

use std::{collections::HashMap, sync::Arc};

use meltemi_xds::pb::{
    envoy::config::{
        cluster::v3::{Cluster, circuit_breakers::Thresholds, cluster::LbPolicy},
        core::v3::{Metadata, RoutingPriority},
        endpoint::v3::ClusterLoadAssignment,
        listener::v3::Listener as ListenerMessage,
        route::v3::RouteConfiguration,
    },
    google::protobuf::value,
};
use prost::Message as _;

use super::{Call, Endpoints, Seat, endpoints};
use crate::{
    cluster::store::ClusterStore,
    http::config::RouteSlot,
    listener::{FilterChain, Listener, Terminal, address::ListenAddress},
    xds::{self, Context, Rejection},
};

/// Listeners, route tables and clusters of one proxy.
#[derive(Debug, Default)]
pub struct Config {
    listeners: Vec<Arc<Listener>>,
    /// Kept for listeners that name them.
    _tables: Vec<Arc<RouteSlot>>,
    /// Virtual host name to the resources of its routes, in order.
    routes: HashMap<String, Vec<Option<Origin>>>,
    clusters: HashMap<String, Known>,
}

/// What is to be said of a cluster.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) endpoints: Endpoints,
    pub(super) resource: Option<Origin>,
    /// Whether its balancer hashes.
    pub(super) hashes: bool,
    /// Whether unhealthy endpoints are used when no other is left.
    pub(super) panics: bool,
    /// Balancer, circuit breakers, ejection, where they are not what everybody has.
    pub(super) facts: Vec<String>,
}

/// Where something is written, as pilot notes it in metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `istio.config`: Istio's path of the resource; empty when it does not say.
    pub resource: String,
    /// `meltemi.file`.
    pub file: Option<String>,
    /// `meltemi.line`, from 1.
    pub line: Option<u32>,
}

impl Config {
    /// Compiles what a proxy is sent.
    pub fn new(
        listeners: &[ListenerMessage],
        tables: &[RouteConfiguration],
        clusters: &[Cluster],
        assignments: &[ClusterLoadAssignment],
    ) -> Result<Self, Rejection> {
        let mut context = Context::new(ClusterStore::new());
        let mut config = Self::default();
        for cluster in clusters {
            let name = context.intern(&cluster.name);
            context.declared.insert(name);
            let assignment = assignments.iter().find(|assignment| assignment.cluster_name == cluster.name);
            let resource = cluster.metadata.as_ref().and_then(resource);
            let known = Known {
                endpoints: endpoints::of(cluster, assignment),
                resource,
                hashes: matches!(cluster.lb_policy(), LbPolicy::RingHash | LbPolicy::Maglev),
                panics: panics(cluster),
                facts: facts(cluster),
            };
            config.clusters.insert(cluster.name.clone(), known);
        }
        for message in tables {
            let slot = context.route_slot(&message.name);
            let table = xds::route::table(&message.encode_to_vec().into(), "", false, &mut context)?;
            slot.table.store(Some(Arc::new(table)));
            config.note_resources(message);
            config._tables.push(slot);
        }
        for message in listeners {
            config.listeners.push(xds::listener::compile(message, None, &mut context)?.listener);
        }
        Ok(config)
    }

    fn note_resources(&mut self, table: &RouteConfiguration) {
        for host in &table.virtual_hosts {
            let routes = host.routes.iter().map(|route| route.metadata.as_ref().and_then(resource)).collect();
            self.routes.insert(host.name.clone(), routes);
        }
    }

    /// The listener for a call and why: at its very address, at any address of its port, or the one that intercepted
    /// connections come to.
    pub(super) fn listener_for(&self, call: &Call) -> Option<(Arc<Listener>, String)> {
        let destination = call.destination;
        let here = |listener: &&Arc<Listener>| listener.inbound == call.inbound && !listener.use_original_dst;
        let at = |wanted: &dyn Fn(&std::net::SocketAddr) -> bool| {
            let listens = |listener: &&Arc<Listener>| {
                listener.addresses.iter().filter_map(ListenAddress::socket).any(|address| wanted(&address))
            };
            self.listeners.iter().filter(here).find(listens).cloned()
        };
        if let Some(listener) = at(&|address| *address == destination) {
            return Some((listener, format!("it listens at {destination}")));
        }
        let any = |address: &std::net::SocketAddr| {
            address.ip().is_unspecified() && address.port() == destination.port()
        };
        let named = call.looked_up.as_deref().and_then(|name| self.listener_of(name, call));
        if let Some(found) = named {
            return Some(found);
        }
        if let Some(listener) = at(&any) {
            return Some((listener, format!("it listens at port {} of any address", destination.port())));
        }
        let intercepting = self.listeners.iter().find(|listener| {
            let by_direction = listener.inbound == call.inbound;
            let intercepts = listener.use_original_dst || (listener.inbound && listener.bind_to_port);
            by_direction && intercepts
        })?;
        let because = format!("no listener of its own for {destination}: intercepted connections come here");
        Some((intercepting.clone(), because))
    }

    /// The listener that a client comes to who looks a name up: one with a cluster of that name, else, for HTTP, one whose
    /// filter chains speak HTTP, as all names share it.
    fn listener_of(&self, name: &str, call: &Call) -> Option<(Arc<Listener>, String)> {
        let port = call.destination.port();
        let at_port = |listener: &Listener| {
            let mut sockets = listener.addresses.iter().filter_map(ListenAddress::socket);
            sockets.find(|address| address.port() == port)
        };
        let open = |listener: &&Arc<Listener>| {
            listener.inbound == call.inbound && !listener.use_original_dst && at_port(listener).is_some()
        };
        let of_name = |cluster: &str| {
            let host = cluster.rsplit('|').next().unwrap_or_default();
            cluster.contains('|')
                && (host == name || host.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
        };
        let leads_there = |listener: &&Arc<Listener>| {
            listener.chains.iter().any(|chain| match &chain.terminal {
                Terminal::Tcp(proxy) => proxy.clusters.iter().any(|(slot, ..)| of_name(&slot.name)),
                Terminal::Http(_) | Terminal::DirectResponse(_) | Terminal::Echo => false,
            })
        };
        let speaks_http = |listener: &&Arc<Listener>| {
            let http = |chain: &Arc<FilterChain>| matches!(chain.terminal, Terminal::Http(_));
            call.http.is_some() && call.server_name.is_none() && listener.chains.iter().any(http)
        };
        let candidates = || self.listeners.iter().filter(open);
        let found = candidates().find(leads_there).or_else(|| candidates().find(speaks_http))?;
        let because = match at_port(found) {
            Some(address) if !address.ip().is_unspecified() => format!("it listens at {address} for {name}"),
            _ => format!("it listens at port {port} of any address"),
        };
        Some((found.clone(), because))
    }

    pub(super) fn has_cluster(&self, name: &str) -> bool {
        self.clusters.contains_key(name)
    }

    pub(super) fn cluster(&self, name: &str) -> Option<&Known> {
        self.clusters.get(name)
    }

    pub(super) fn hashes(&self, cluster: &str) -> bool {
        self.clusters.get(cluster).is_some_and(|known| known.hashes)
    }

    /// Takes over what a running proxy knows of a cluster's endpoints, which may be more than it was told: what DNS said,
    /// whom outlier detection has ejected.
    pub fn observe(&mut self, cluster: &str, seats: Vec<Seat>) {
        if let Some(known) = self.clusters.get_mut(cluster)
            && !seats.is_empty()
        {
            known.endpoints = Endpoints::Known(seats);
        }
    }

    pub(super) fn cluster_resource(&self, cluster: &str) -> Option<Origin> {
        self.clusters.get(cluster)?.resource.clone()
    }

    pub(super) fn route_resource(&self, host: &str, at: usize) -> Option<Origin> {
        self.routes.get(host)?.get(at)?.clone()
    }
}

/// The resource, file and line that a message was made from.
fn resource(metadata: &Metadata) -> Option<Origin> {
    let field =
        |filter: &str, name: &str| metadata.filter_metadata.get(filter)?.fields.get(name)?.kind.clone();
    let text = |filter: &str, name: &str| match field(filter, name) {
        Some(value::Kind::StringValue(text)) => Some(text),
        _ => None,
    };
    let line = match field("meltemi", "line") {
        Some(value::Kind::NumberValue(line)) => Some(line as u32),
        _ => None,
    };
    let resource = text("istio", "config").unwrap_or_default();
    let origin = Origin { resource, file: text("meltemi", "file"), line };
    (origin != Origin::default()).then_some(origin)
}

/// Below `healthy_panic_threshold` everybody is used; 50 % unless said otherwise.
fn panics(cluster: &Cluster) -> bool {
    let common = cluster.common_lb_config.as_ref();
    let threshold = common.and_then(|common| common.healthy_panic_threshold.as_ref());
    threshold.is_none_or(|threshold| threshold.value > 0.0)
}

/// Balancer, circuit breakers and ejection; Istio's defaults say nothing.
fn facts(cluster: &Cluster) -> Vec<String> {
    let mut facts = Vec::new();
    let policy = cluster.lb_policy();
    if !matches!(policy, LbPolicy::LeastRequest | LbPolicy::ClusterProvided) {
        facts.push(policy.as_str_name().to_owned());
    }
    let breakers = cluster.circuit_breakers.iter().flat_map(|breakers| &breakers.thresholds);
    let default = RoutingPriority::Default as i32;
    breakers.filter(|limits| limits.priority == default).for_each(|limits| breaker(limits, &mut facts));
    if let Some(outlier) = &cluster.outlier_detection {
        let errors = [
            (outlier.consecutive_5xx, outlier.enforcing_consecutive_5xx, "5xx"),
            (
                outlier.consecutive_gateway_failure,
                outlier.enforcing_consecutive_gateway_failure,
                "gateway errors",
            ),
            (
                outlier.consecutive_local_origin_failure,
                outlier.enforcing_consecutive_local_origin_failure,
                "failures to connect",
            ),
        ];
        for (count, enforcing, what) in errors {
            if let Some(count) = count.filter(|_| enforcing.is_none_or(|share| share.value > 0)) {
                facts.push(format!("an endpoint is ejected after {} {what}", count.value));
            }
        }
    }
    facts
}

fn breaker(limits: &Thresholds, facts: &mut Vec<String>) {
    let set = |value: Option<meltemi_xds::pb::google::protobuf::UInt32Value>| {
        value.map(|limit| limit.value).filter(|limit| *limit != u32::MAX)
    };
    for (value, what) in [
        (limits.max_connections, "connections"),
        (limits.max_pending_requests, "pending requests"),
        (limits.max_requests, "requests at a time"),
        (limits.max_retries, "retries at a time"),
    ] {
        if let Some(limit) = set(value) {
            facts.push(format!("at most {limit} {what}"));
        }
    }
    if let Some(budget) = &limits.retry_budget {
        let percent = budget.budget_percent.as_ref().map_or(20.0, |percent| percent.value);
        let least = budget.min_retry_concurrency.map_or(3, |least| least.value);
        facts.push(format!("retries are at most {percent} % of requests, or {least}"));
    }
}
