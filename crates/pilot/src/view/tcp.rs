//! TCP and TLS rules of VirtualServices as filter chains.

use std::net::IpAddr;

use meltemi_config::networking::virtual_service::{
    L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
};
use meltemi_config::{Host, Labels, Str};

use super::View;
use super::route::names_of;
use crate::model::listener::{Condition, FilterChain, Tcp, Terminal};
use crate::names::{MESH_GATEWAY, outbound_cluster};
use crate::registry::{Port, Resolution, Service};
use crate::snapshot::scope::Egress;
use crate::snapshot::virtual_service::Resolved;

/// What is known of a connection beforehand.
#[derive(Debug, Clone, Copy)]
pub(super) struct L4Place<'a> {
    /// `mesh`, or a gateway in full.
    pub(super) gateway: &'a str,
    /// Port of the listener, as the mesh counts ports.
    pub(super) port: u32,
}

impl View<'_> {
    /// Chains for connections to a service's port: as the rules say, else to the service. `range`: its addresses, where the
    /// listener has them all.
    pub(super) fn byte_chains(
        &self,
        egress: &Egress,
        service: &Service,
        port: &Port,
        range: Option<&Str>,
    ) -> Vec<FilterChain> {
        let place = L4Place { gateway: MESH_GATEWAY, port: port.number };
        let prefixes: Vec<Str> = range.cloned().into_iter().collect();
        let rules: Vec<_> = self.virtual_services(egress, &service.host).collect();
        match port.protocol.is_tls() {
            true => self.tls_chains(service, place, &prefixes, &rules),
            false => self.tcp_chains(service, place, &prefixes, &rules),
        }
    }

    /// TLS is told apart by server name and address. Of two alike the first holds.
    fn tls_chains(
        &self,
        service: &Service,
        place: L4Place<'_>,
        prefixes: &[Str],
        rules: &[&std::sync::Arc<Resolved>],
    ) -> Vec<FilterChain> {
        let mut chains: Vec<FilterChain> = Vec::new();
        for resolved in rules {
            for rule in resolved.spec.tls.iter().filter(|rule| !rule.route.is_empty()) {
                for wanted in rule.matches.iter().filter(|wanted| self.tls_holds(resolved, wanted, place)) {
                    let own = &wanted.destination_subnets;
                    let prefixes = if own.is_empty() { prefixes } else { own };
                    let chain =
                        self.rule_chain(resolved, &rule.route, place, condition(&wanted.sni_hosts, prefixes));
                    if !chains.iter().any(|known| known.condition == chain.condition) {
                        chains.push(chain);
                    }
                }
            }
        }
        if chains.is_empty() {
            // Where the address does not tell the service, its name does.
            let names: Vec<Host> = match self.address_of(service) {
                Some(address) if !address.contains('/') && service.resolution != Resolution::Dynamic => {
                    Vec::new()
                }
                _ => self.names_in_hello(service),
            };
            chains.push(self.service_chain(service, place.port, condition(&names, prefixes)));
        }
        chains
    }

    /// The first rule that holds for every address ends the list; those before it are for their subnets (SEM-043).
    fn tcp_chains(
        &self,
        service: &Service,
        place: L4Place<'_>,
        prefixes: &[Str],
        rules: &[&std::sync::Arc<Resolved>],
    ) -> Vec<FilterChain> {
        let mut chains: Vec<FilterChain> = Vec::new();
        let mut push = |chain: FilterChain| {
            if !chains.iter().any(|known| known.condition == chain.condition) {
                chains.push(chain);
            }
        };
        for resolved in rules {
            for rule in resolved.spec.tcp.iter().filter(|rule| !rule.route.is_empty()) {
                let holding: Vec<&L4MatchAttributes> =
                    rule.matches.iter().filter(|wanted| self.tcp_holds(resolved, wanted, place)).collect();
                let anywhere = rule.matches.is_empty()
                    || holding.iter().any(|wanted| wanted.destination_subnets.is_empty());
                if anywhere {
                    push(self.rule_chain(resolved, &rule.route, place, condition(&[], prefixes)));
                    return chains;
                }
                let subnets: Vec<Str> =
                    holding.iter().flat_map(|wanted| wanted.destination_subnets.iter().cloned()).collect();
                if !subnets.is_empty() {
                    push(self.rule_chain(resolved, &rule.route, place, condition(&[], &subnets)));
                }
            }
        }
        push(self.service_chain(service, place.port, condition(&[], prefixes)));
        chains
    }

    /// Its own name, and those that stand for it in all their forms.
    fn names_in_hello(&self, service: &Service) -> Vec<Host> {
        let of_alias = |alias| names_of(alias, &self.node.namespace, &self.node.domain);
        let aliases = service.aliases.iter().flat_map(of_alias);
        std::iter::once(service.host.clone()).chain(aliases.map(|name| Host::new(&name))).collect()
    }

    /// How a name that clients ask for is looked up, where a service is not more than a pattern.
    fn looks_up_at(&self, service: &Service, port: u32) -> Option<(u32, std::time::Duration)> {
        let port = service.port(port).filter(|_| service.resolution == Resolution::Dynamic)?;
        port.protocol.is_tls().then(|| (port.target, self.dns_refresh()))
    }

    fn rule_chain(
        &self,
        resolved: &Resolved,
        route: &[RouteDestination],
        place: L4Place<'_>,
        condition: Condition,
    ) -> FilterChain {
        FilterChain {
            name: String::new(),
            condition,
            terminal: Terminal::Tcp(self.tcp_to_destinations(resolved, route, place.port)),
            origin: Some(resolved.origin.clone()),
        }
    }

    /// To a service that no rule speaks for; at a port of the Sidecar's own to the only port of the service.
    fn service_chain(&self, service: &Service, port: u32, condition: Condition) -> FilterChain {
        let port = match &service.ports[..] {
            [only] => only.number,
            _ => port,
        };
        let tcp = self.tcp_to(&outbound_cluster(port, "", &service.host));
        FilterChain {
            name: String::new(),
            condition,
            terminal: Terminal::Tcp(Tcp {
                looks_up: self.looks_up_at(service, port),
                ..self.with_policy(tcp, service, "")
            }),
            origin: None,
        }
    }

    /// Whether a rule holds for connections of this proxy, whatever their addresses.
    pub(super) fn tcp_rule_holds(&self, resolved: &Resolved, rule: &TcpRoute, place: L4Place<'_>) -> bool {
        rule.matches.is_empty() || rule.matches.iter().any(|wanted| self.tcp_holds(resolved, wanted, place))
    }

    fn tcp_holds(&self, resolved: &Resolved, wanted: &L4MatchAttributes, place: L4Place<'_>) -> bool {
        self.l4_holds(resolved, (wanted.port, &wanted.gateways), place)
            && self.is_l4_source((&wanted.source_labels, wanted.source_namespace.as_deref()), place)
    }

    /// Whether a TLS condition holds for connections of this proxy, whatever their server name.
    pub(super) fn tls_holds(
        &self,
        resolved: &Resolved,
        wanted: &TlsMatchAttributes,
        place: L4Place<'_>,
    ) -> bool {
        self.l4_holds(resolved, (wanted.port, &wanted.gateways), place)
            && self.is_l4_source((&wanted.source_labels, wanted.source_namespace.as_deref()), place)
    }

    /// Whether this proxy is the client of a condition; gateways are not asked, as in Istio.
    fn is_l4_source(&self, (labels, namespace): (&Labels, Option<&str>), place: L4Place<'_>) -> bool {
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        place.gateway != MESH_GATEWAY || self.is_source(labels, namespace)
    }

    fn l4_holds(&self, resolved: &Resolved, wanted: (Option<u32>, &[Str]), place: L4Place<'_>) -> bool {
        let gateways = resolved.gateways_of(wanted.1);
        wanted.0.is_none_or(|port| port == 0 || port == place.port)
            && (gateways.is_empty() || gateways.iter().any(|name| &**name == place.gateway))
    }

    /// Chains of a gateway for TLS that passes: one for each condition with server names that nobody has yet.
    pub(super) fn tls_rule_chain(
        &self,
        resolved: &Resolved,
        rule: &TlsRoute,
        place: L4Place<'_>,
        names: &[Host],
    ) -> FilterChain {
        self.rule_chain(resolved, &rule.route, place, condition(names, &[]))
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
        let mut clusters: Vec<_> = shares.map(weighted).collect();
        if clusters.is_empty() {
            clusters.extend(route.iter().take(1).map(weighted));
        }
        let stat_prefix = match &clusters[..] {
            [(cluster, _)] => cluster.clone(),
            _ => format!("{}.{}", resolved.name, resolved.namespace),
        };
        let tcp = Tcp { clusters, ..self.tcp_to(&stat_prefix) };
        // Settings of the listener follow the first destination; of a subset only if it is alone.
        let Some(first) = route.first() else { return tcp };
        let subset = first.destination.subset.as_deref().filter(|_| alone).unwrap_or_default();
        let Some(service) = self.service(&resolved.destination_host(&first.destination)) else { return tcp };
        let target = self.destination_port(resolved, &first.destination, port);
        Tcp { looks_up: self.looks_up_at(service, target), ..self.with_policy(tcp, service, subset) }
    }
}

/// Server names, `*` being none, and address ranges, all of them being none; sorted, so that alike ones are equal.
fn condition(names: &[Host], prefixes: &[Str]) -> Condition {
    let mut server_names: Vec<Str> = match names.iter().any(|name| &**name == "*") {
        true => Vec::new(),
        false => names.iter().map(|name| name.as_shared().clone()).collect(),
    };
    let mut prefixes: Vec<Str> =
        prefixes.iter().map(masked).filter(|prefix| !prefix.starts_with("0.0.0.0")).collect();
    server_names.sort();
    server_names.dedup();
    prefixes.sort();
    prefixes.dedup();
    Condition { server_names, prefixes, ..Condition::default() }
}

/// `10.1.2.3/8` as `10.0.0.0/8`; a single address as a range of one. What is neither is left as it is.
fn masked(range: &Str) -> Str {
    let (address, length) = range.split_once('/').unwrap_or((range, ""));
    let length = length.parse::<u32>().ok();
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            let length = length.unwrap_or(32).min(32);
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv4Addr::from(u32::from(address) & mask)).into()
        }
        Ok(IpAddr::V6(address)) => {
            let length = length.unwrap_or(128).min(128);
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv6Addr::from(u128::from(address) & mask)).into()
        }
        Err(_) => range.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_masked() {
        for (range, wanted) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::1/8", "fd00::/8"),
            ("name", "name"),
        ] {
            assert_eq!(&*masked(&range.into()), wanted);
        }
    }
}
