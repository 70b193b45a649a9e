//! HTTP rules of a VirtualService as routes of a virtual host.

use meltemi_config::labels::selects;
use meltemi_config::networking::virtual_service::{
    Destination, HttpMatchRequest, HttpRoute, HttpRouteDestination,
};
use meltemi_config::{Labels, Str};

use super::{View, retry};
use crate::model::route::{Action, Forward, HeaderChanges, Route, RouteMatch, WeightedCluster};
use crate::names::{DEFAULT_ROUTE, MESH_GATEWAY, UNKNOWN_SERVICE, outbound_cluster};
use crate::snapshot::virtual_service::Resolved;

mod change;
mod condition;

/// Where routes are asked for: this influences which conditions can hold at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// `mesh`, or the gateways of the server.
    pub(super) gateways: &'a [Str],
    /// Port of the listener, as the mesh counts ports.
    pub(super) port: u32,
}

impl View<'_> {
    /// Routes of a VirtualService, in its order, up to the first that takes every request (SEM-024, SEM-025).
    pub(super) fn http_routes(&self, resolved: &Resolved, place: Place<'_>) -> Vec<Route> {
        let mut routes = Vec::new();
        for rule in &resolved.spec.http {
            if self.rule_routes(resolved, rule, place, &mut routes) {
                break;
            }
        }
        routes
    }

    /// Adds the routes of one rule, one for each of its conditions; whether the last one takes every request.
    fn rule_routes(
        &self,
        resolved: &Resolved,
        rule: &HttpRoute,
        place: Place<'_>,
        into: &mut Vec<Route>,
    ) -> bool {
        if rule.matches.is_empty() {
            into.extend(self.route(resolved, rule, None, place));
            return true;
        }
        for condition in &rule.matches {
            if !self.can_hold(resolved, condition, place) {
                continue;
            }
            let route = self.route(resolved, rule, Some(condition), place);
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
        if !place.gateways.iter().any(|gateway| &**gateway == MESH_GATEWAY) {
            return true;
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
        let mut host_rewrite = change::authority(rule.headers.as_ref()).unwrap_or_default();
        let action = if let Some(redirect) = &rule.redirect {
            Action::Redirect(change::redirect(redirect, place.port)?)
        } else if let Some(response) = &rule.direct_response {
            change::respond(response)
        } else if rule.route.is_empty() {
            return None;
        } else {
            self.forward(resolved, rule, place, &mut headers, &mut host_rewrite)
        };
        let decorator = decorator(&action, rule);
        Some(Route {
            name: route_name(rule.name.as_deref(), condition.and_then(|condition| condition.name.as_deref())),
            condition: condition.map_or_else(RouteMatch::any, condition::route_match),
            action,
            headers,
            origin: Some(resolved.origin.clone()),
            decorator,
            stat_prefix: condition.and_then(|condition| condition.stat_prefix.clone()).unwrap_or_default(),
        })
    }

    fn forward(
        &self,
        resolved: &Resolved,
        rule: &HttpRoute,
        place: Place<'_>,
        headers: &mut HeaderChanges,
        host_rewrite: &mut Str,
    ) -> Action {
        let clusters = self.weighted_clusters(resolved, rule, place);
        let hash = match &rule.route[..] {
            [first, ..] => self.destination_hash(resolved, &first.destination, place.port),
            [] => Vec::new(),
        };
        let rewrite = rule.rewrite.as_ref();
        if let [one] = &clusters[..] {
            change::append(headers, &one.headers);
            if host_rewrite.is_empty() {
                *host_rewrite = one.host_rewrite.clone();
            }
        }
        // An authority in `rewrite` wins over one among the headers (SEM-038).
        if let Some(authority) = rewrite.and_then(|rewrite| rewrite.authority.clone()) {
            *host_rewrite = authority;
        }
        let mesh_retry = self.snapshot.mesh.default_http_retry_policy.as_ref();
        let regex_rewrite = rewrite.and_then(|rewrite| rewrite.uri_regex_rewrite.as_ref());
        Action::Forward(Box::new(Forward {
            clusters,
            timeout: rule.timeout.unwrap_or_default().0,
            retry: retry::retry(rule.retries.as_ref(), mesh_retry, !hash.is_empty()),
            prefix_rewrite: match regex_rewrite {
                Some(_) => Str::default(),
                None => rewrite.and_then(|rewrite| rewrite.uri.clone()).unwrap_or_default(),
            },
            regex_rewrite: regex_rewrite.map(|regex| (regex.pattern.clone(), regex.rewrite.clone())),
            host_rewrite: host_rewrite.clone(),
            hash,
        }))
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
        outbound_cluster(self.destination_port(resolved, to, port), subset, &host)
    }

    fn destination_port(&self, resolved: &Resolved, to: &Destination, port: u32) -> u32 {
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

    fn destination_hash(
        &self,
        resolved: &Resolved,
        to: &Destination,
        port: u32,
    ) -> Vec<crate::model::route::HashKey> {
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

/// The route of a service that no VirtualService speaks for.
pub(super) fn default_route(
    cluster: String,
    operation: String,
    retry: Option<crate::model::route::Retry>,
    hash: Vec<crate::model::route::HashKey>,
) -> Route {
    let to = WeightedCluster {
        cluster,
        weight: 1,
        headers: HeaderChanges::default(),
        host_rewrite: Str::default(),
    };
    Route {
        name: DEFAULT_ROUTE.to_owned(),
        condition: RouteMatch::any(),
        action: Action::Forward(Box::new(Forward {
            clusters: vec![to],
            timeout: std::time::Duration::ZERO,
            retry,
            prefix_rewrite: Str::default(),
            regex_rewrite: None,
            host_rewrite: Str::default(),
            hash,
        })),
        headers: HeaderChanges::default(),
        origin: None,
        decorator: operation,
        stat_prefix: Str::default(),
    }
}

/// Istio names the operation after the first destination.
fn decorator(action: &Action, _rule: &HttpRoute) -> String {
    match action {
        Action::Forward(forward) => {
            match forward.clusters.first().and_then(|to| crate::names::parse_outbound_cluster(&to.cluster)) {
                Some((port, _, host)) => format!("{host}:{port}/*"),
                None => String::new(),
            }
        }
        _ => String::new(),
    }
}
