//! TCP rules of VirtualServices.

use meltemi_config::networking::virtual_service::{L4MatchAttributes, RouteDestination, TcpRoute};

use super::View;
use super::scope::Egress;
use crate::model::listener::Tcp;
use crate::names::{MESH_GATEWAY, outbound_cluster};
use crate::registry::Service;
use crate::snapshot::virtual_service::Resolved;

impl View<'_> {
    /// Where connections to a service's port go: by the first TCP rule that holds, else to the service.
    pub(super) fn tcp_route(&self, egress: &Egress, service: &Service, port: u32) -> Tcp {
        let resolved =
            self.virtual_services(egress, &service.host).find(|resolved| !resolved.spec.tcp.is_empty());
        let rule = resolved.and_then(|resolved| {
            let rule = resolved
                .spec
                .tcp
                .iter()
                .find(|rule| self.tcp_rule_holds(resolved, rule, MESH_GATEWAY, port))?;
            Some((resolved, rule))
        });
        match rule {
            Some((resolved, rule)) => self.tcp_to_destinations(resolved, &rule.route, port),
            None => self.tcp_to(&outbound_cluster(port, "", &service.host)),
        }
    }

    /// Whether a rule holds for connections of this proxy at a port; conditions on addresses within the listener's are not
    /// looked at here (SEM-043).
    pub(super) fn tcp_rule_holds(
        &self,
        resolved: &Resolved,
        rule: &TcpRoute,
        gateway: &str,
        port: u32,
    ) -> bool {
        rule.matches.is_empty()
            || rule.matches.iter().any(|condition| self.tcp_holds(resolved, condition, gateway, port))
    }

    fn tcp_holds(
        &self,
        resolved: &Resolved,
        condition: &L4MatchAttributes,
        gateway: &str,
        port: u32,
    ) -> bool {
        let gateways = resolved.gateways_of(&condition.gateways);
        let namespace = condition.source_namespace.as_deref().filter(|namespace| !namespace.is_empty());
        condition.port.is_none_or(|wanted| wanted == 0 || wanted == port)
            && (gateways.is_empty() || gateways.iter().any(|name| &**name == gateway))
            && self.is_source(&condition.source_labels, namespace)
    }

    /// Destinations with shares.
    pub(super) fn tcp_to_destinations(
        &self,
        resolved: &Resolved,
        route: &[RouteDestination],
        port: u32,
    ) -> Tcp {
        let alone = route.len() == 1;
        let shares = route.iter().filter(|to| alone || to.weight > 0);
        let weighted = |to: &RouteDestination| {
            let weight = u32::try_from(to.weight).ok().filter(|weight| *weight > 0).unwrap_or(1);
            (self.destination_cluster(resolved, &to.destination, port), weight)
        };
        let clusters: Vec<_> = shares.map(weighted).collect();
        let stat_prefix = clusters.first().map(|(cluster, _)| cluster.clone()).unwrap_or_default();
        Tcp { clusters, ..self.tcp_to(&stat_prefix) }
    }
}
