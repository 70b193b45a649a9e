//! HTTP rules of a VirtualService as routes of a virtual host.

use meltemi_config::labels::selects;
use meltemi_config::networking::virtual_service::{
    Destination, HttpMatchRequest, HttpRoute, HttpRouteDestination,
};
use meltemi_config::{Labels, Str};

use super::{View, retry};
use crate::model::route::{
    Action, Forward, HashKey, HeaderChanges, PathMatch, Retry, Route, RouteMatch, WeightedCluster,
};
use crate::names::{DEFAULT_ROUTE, SAFE_RETRIES, UNKNOWN_SERVICE, outbound_cluster, parse_outbound_cluster};
use crate::snapshot::virtual_service::Resolved;

mod change;
mod condition;
mod cors;
mod fault;
mod mirror;

/// Where routes are asked for: this influences which conditions can hold at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// `mesh`, or the gateways of the server.
    pub(super) gateways: &'a [Str],
    /// Port of the listener, as the mesh counts ports.
    pub(super) port: u32,
    /// Whether requests come over TLS that is opened here.
    pub(super) tls: bool,
}

impl View<'_> {
    /// Routes of a VirtualService, in its order, up to the first that takes every request (SEM-024, SEM-025).
    pub(super) fn http_routes(&self, resolved: &Resolved, place: Place<'_>) -> Vec<Route> {
        let mut routes = Vec::new();
        for (at, rule) in resolved.spec.http.iter().enumerate() {
            if self.rule_routes(resolved, (at, rule), place, &mut routes) {
                break;
            }
        }
        routes
    }

    /// Adds the routes of one rule, one for each of its conditions; whether the last one takes every request.
    fn rule_routes(
        &self,
        resolved: &Resolved,
        rule: (usize, &HttpRoute),
        place: Place<'_>,
        into: &mut Vec<Route>,
    ) -> bool {
        let (at, rule) = rule;
        let origin = resolved.origins.get(at);
        let tells_places = self.node.metadata.tells_places();
        let place_told = origin.filter(|_| tells_places).and_then(|origin| origin.place.clone());
        let origin = origin.map(|origin| origin.resource.clone());
        let route = |condition: Option<&HttpMatchRequest>| {
            let mut route = self.route(resolved, rule, condition, place)?;
            (route.place, route.origin) = (place_told.clone(), origin.clone());
            Some(route)
        };
        if rule.matches.is_empty() {
            into.extend(route(None));
            return true;
        }
        for condition in &rule.matches {
            if !self.can_hold(resolved, condition, place) {
                continue;
            }
            let route = route(Some(condition));
            let catches_all = route.as_ref().is_some_and(|route| route.condition.is_catch_all());
            into.extend(route);
            if catches_all {
                return true;
            }
        }
        false
    }

    /// What of a condition is known beforehand: port, gateways, and the client where the client is this proxy (SEM-032).
    fn can_hold(&self, resolved: &Resolved, condition: &HttpMatchRequest, place: Place<'_>) -> bool {
        if condition.port.is_some_and(|port| port != 0 && port != place.port) {
            return false;
        }
        if !condition.gateways.is_empty() {
            let gateways = resolved.gateways_of(&condition.gateways);
            return gateways.iter().any(|gateway| place.gateways.contains(gateway));
        }
        let namespace = condition.source_namespace.as_deref().filter(|namespace| !namespace.is_empty());
        self.is_source(&condition.source_labels, namespace)
    }

    /// Whether this proxy is the client that a condition asks for.
    pub(super) fn is_source(&self, labels: &Labels, namespace: Option<&str>) -> bool {
        selects(labels, &self.labels) && namespace.is_none_or(|namespace| namespace == &*self.node.namespace)
    }

    fn route(
        &self,
        resolved: &Resolved,
        rule: &HttpRoute,
        condition: Option<&HttpMatchRequest>,
        place: Place<'_>,
    ) -> Option<Route> {
        let mut headers = change::header_changes(rule.headers.as_ref());
        let action = if let Some(redirect) = &rule.redirect {
            Action::Redirect(change::redirect(redirect, place)?)
        } else if let Some(response) = &rule.direct_response {
            change::respond(response)
        } else if rule.route.is_empty() {
            return None;
        } else {
            self.forward(resolved, rule, place, &mut headers)
        };
        let condition_name = condition.and_then(|condition| condition.name.as_deref());
        let name = route_name(rule.name.as_deref(), condition_name);
        let stat_prefix = condition.and_then(|condition| condition.stat_prefix.clone()).unwrap_or_default();
        let condition = condition.map_or_else(RouteMatch::any, |condition| {
            condition::route_match(condition, resolved.by_segments)
        });
        Some(Route {
            decorator: operation(&condition, &action, &resolved.name, place.port),
            headers,
            condition,
            stat_prefix,
            fault: rule.fault.as_ref().and_then(fault::fault),
            cors: rule.cors_policy.as_ref().map(cors::cors),
            ..Route::plain(&name, action)
        })
    }

    fn forward(
        &self,
        resolved: &Resolved,
        rule: &HttpRoute,
        place: Place<'_>,
        headers: &mut HeaderChanges,
    ) -> Action {
        let clusters = self.weighted_clusters(resolved, rule, place);
        let hash = self.hashes(resolved, rule, place);
        let rewrite = rule.rewrite.as_ref();
        // `rewrite` wins over the route's headers, those over a single destination's (SEM-038).
        let rewritten = rewrite.and_then(|rewrite| rewrite.authority.clone()).filter(|name| !name.is_empty());
        let mut host_rewrite = rewritten.or_else(|| change::authority(rule.headers.as_ref()));
        if let [one] = &clusters[..] {
            change::append(headers, &one.headers);
            host_rewrite = host_rewrite.or_else(|| Some(one.host_rewrite.clone()));
        }
        let regex_rewrite = rewrite.and_then(|rewrite| rewrite.uri_regex_rewrite.as_ref());
        let alone_hashes = rule.route.len() == 1 && !hash.is_empty();
        Action::Forward(Box::new(Forward {
            clusters,
            timeout: rule.timeout.unwrap_or_default().0,
            retry: self.retry(resolved, rule, alone_hashes),
            prefix_rewrite: match regex_rewrite {
                Some(_) => Str::default(),
                None => rewrite.and_then(|rewrite| rewrite.uri.clone()).unwrap_or_default(),
            },
            regex_rewrite: regex_rewrite.map(|regex| (regex.pattern.clone(), regex.rewrite.clone())),
            host_rewrite: host_rewrite.unwrap_or_default(),
            hash,
            mirrors: self.mirrors(resolved, rule, place),
            inbound: false,
            forwarded_host: self.forwards_host(),
        }))
    }

    /// A route's retries; careful ones where the resource or the mesh asks for it.
    fn retry(&self, resolved: &Resolved, rule: &HttpRoute, hashes: bool) -> Option<Retry> {
        let safe = resolved.retries.unwrap_or_else(|| self.retries_of_mesh());
        retry::retry(rule.retries.as_ref(), &self.snapshot.mesh, hashes)
            .map(|retry| Retry { safe: self.node.metadata.knows_safe_retries() && safe, ..retry })
    }

    /// Whether the mesh retries only what had no effect yet.
    pub(super) fn retries_of_mesh(&self) -> bool {
        let config = self.snapshot.mesh.default_config.as_ref();
        config.is_some_and(|config| {
            config.proxy_metadata.get(retry::MESH_SETTING).is_some_and(|word| &**word == SAFE_RETRIES)
        })
    }

    /// Keys by which destinations with consistent hashing pick an endpoint, of each destination that gets requests.
    fn hashes(&self, resolved: &Resolved, rule: &HttpRoute, place: Place<'_>) -> Vec<HashKey> {
        let alone = rule.route.len() == 1;
        let shares = rule.route.iter().filter(|to| alone || to.weight > 0);
        let mut keys: Vec<HashKey> = Vec::new();
        for key in shares.flat_map(|to| self.destination_hash(resolved, &to.destination, place.port)) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Destinations and their shares; of several, those of no share are left out (SEM-039).
    fn weighted_clusters(
        &self,
        resolved: &Resolved,
        rule: &HttpRoute,
        place: Place<'_>,
    ) -> Vec<WeightedCluster> {
        let alone = rule.route.len() == 1;
        let shares = rule.route.iter().filter(|to| alone || to.weight > 0);
        let weighted = |to: &HttpRouteDestination| WeightedCluster {
            cluster: self.destination_cluster(resolved, &to.destination, place.port),
            weight: u32::try_from(to.weight).unwrap_or(0),
            headers: change::header_changes(to.headers.as_ref()),
            host_rewrite: change::authority(to.headers.as_ref()).unwrap_or_default(),
        };
        let clusters: Vec<_> = shares.map(weighted).collect();
        // All of no share: Istio's validation refuses it; the first is as good as any.
        if clusters.is_empty() { rule.route.iter().take(1).map(weighted).collect() } else { clusters }
    }

    /// The cluster of a destination; its port is the one it names, else the service's only one, else the listener's
    /// (SEM-030, SEM-031).
    pub(super) fn destination_cluster(&self, resolved: &Resolved, to: &Destination, port: u32) -> String {
        if to.host.is_empty() {
            return UNKNOWN_SERVICE.to_owned();
        }
        let host = resolved.destination_host(to);
        let subset = to.subset.as_deref().unwrap_or_default();
        outbound_cluster(self.destination_port(resolved, to, port), subset, self.concrete(&host))
    }

    pub(super) fn destination_port(&self, resolved: &Resolved, to: &Destination, port: u32) -> u32 {
        if let Some(named) = to.port.as_ref().filter(|port| port.number > 0) {
            return named.number;
        }
        let host = resolved.destination_host(to);
        let service = self.visible_service(&host);
        match service.map(|service| &service.ports[..]) {
            Some([only]) => only.number,
            _ => port,
        }
    }

    fn destination_hash(&self, resolved: &Resolved, to: &Destination, port: u32) -> Vec<HashKey> {
        let host = resolved.destination_host(to);
        let port = self.destination_port(resolved, to, port);
        let subset = to.subset.as_deref().unwrap_or_default();
        self.service(&host).map(|service| self.hash_keys(service, port, subset)).unwrap_or_default()
    }
}

/// `<route>`, `<route>.<match>`, or `default` when neither has a name (SEM-041).
fn route_name(route: Option<&str>, condition: Option<&str>) -> String {
    let route = route.unwrap_or_default();
    match condition.filter(|name| !name.is_empty()) {
        Some(condition) => format!("{route}.{condition}"),
        None => route.to_owned(),
    }
}

/// What traces call a request: the only destination, else the resource, and the condition on the path.
fn operation(condition: &RouteMatch, action: &Action, resource: &str, port: u32) -> String {
    let path = match &condition.path {
        PathMatch::Prefix(prefix) => format!("{prefix}*"),
        PathMatch::Exact(path) => path.to_string(),
        PathMatch::Regex(pattern) => pattern.to_string(),
        PathMatch::Segments(_) => "/*".to_owned(),
    };
    let only = match action {
        Action::Forward(forward) => match &forward.clusters[..] {
            [one] => parse_outbound_cluster(&one.cluster),
            _ => None,
        },
        _ => None,
    };
    match only {
        Some((port, _, host)) => format!("{host}:{port}{path}"),
        None => format!("{resource}:{port}{path}"),
    }
}

/// The route of a service that no VirtualService speaks for.
pub(super) fn default_route(forward: Forward, operation: String) -> Route {
    Route { decorator: operation, ..Route::plain(DEFAULT_ROUTE, Action::Forward(Box::new(forward))) }
}
