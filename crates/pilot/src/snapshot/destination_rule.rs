//! DestinationRules: merged, looked up by client and service, and their policies resolved for a port and a subset.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::labels::{Labels, selects};
use meltemi_config::mesh::MeshConfig;
use meltemi_config::networking::DestinationRule;
use meltemi_config::networking::destination_rule::{
    ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection, Subset, TrafficPolicy,
};
use meltemi_config::networking::tls::ClientTlsSettings;
use meltemi_config::{ExportTo, Host, Object, ResourceId, Str, host};
use rustc_hash::FxHashMap;

use super::change::Changes;
use super::selector::Keys;
use super::{Age, age, export_to};
use crate::names::config_path;

/// A rule, be it merged of several.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The host in full.
    pub host: Host,
    /// Namespace.
    pub namespace: Str,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Clients it is for, in its own namespace.
    pub selector: Option<Labels>,
    /// For all of the host.
    pub policy: Option<TrafficPolicy>,
    /// Subsets; the first of a name holds.
    pub subsets: Vec<Subset>,
    /// Istio's path of the first.
    pub origin: Str,
}

/// The rules of a namespace by host.
type ByHost = BTreeMap<Host, Vec<Arc<Rule>>>;

/// All rules.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    by_namespace: BTreeMap<Str, ByHost>,
    /// Objects of each namespace and host, in the order in which they win.
    objects: FxHashMap<(Str, Host), BTreeMap<Age, Object>>,
    /// Where an object is, by its name.
    places: FxHashMap<(Str, Str), (Host, Age)>,
}

impl Rules {
    /// Sets or removes an object.
    pub(super) fn set(
        &mut self,
        id: &ResourceId,
        object: Option<&Object>,
        mesh: &MeshConfig,
        selectors: &mut Keys,
        changes: &mut Changes,
    ) {
        let name = (id.namespace.clone(), id.name.clone());
        if let Some((host, age)) = self.places.remove(&name) {
            let key = (id.namespace.clone(), host.clone());
            let old = self.objects.get_mut(&key).and_then(|objects| objects.remove(&age));
            old.iter().for_each(|old| selectors.remove_rule(old));
            self.join(key, mesh);
            changes.rules.insert(host);
        }
        if let Some((object, spec)) =
            object.and_then(|object| Some((object, object.spec_as::<DestinationRule>()?)))
        {
            selectors.add_rule(object);
            let host = spec.host.resolve(&id.namespace, mesh.domain());
            let key = (id.namespace.clone(), host.clone());
            self.objects.entry(key.clone()).or_default().insert(age(object), object.clone());
            self.places.insert(name, (host.clone(), age(object)));
            self.join(key, mesh);
            changes.rules.insert(host);
        }
    }

    /// Joins the objects of a namespace and host: those of one visibility merge (SEM-051); rules with a selector stay apart
    /// (SEM-053).
    fn join(&mut self, key: (Str, Host), mesh: &MeshConfig) {
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        for object in self.objects.get(&key).into_iter().flat_map(BTreeMap::values) {
            let Some(spec) = object.spec_as::<DestinationRule>() else { continue };
            let rule = rule(object, spec, mesh);
            let alike =
                |known: &&mut Arc<Rule>| known.export_to == rule.export_to && known.selector == rule.selector;
            match rules.iter_mut().find(alike) {
                Some(known) => merge(Arc::make_mut(known), rule),
                None => rules.push(Arc::new(rule)),
            }
        }
        if !rules.is_empty() {
            self.by_namespace.entry(key.0).or_default().insert(key.1, rules);
            return;
        }
        self.objects.remove(&key);
        if let Some(hosts) = self.by_namespace.get_mut(&key.0) {
            hosts.remove(&key.1);
        }
    }

    /// The rule that holds for a client and a service: of the client's namespace (unless that is the root's), else of the
    /// service's, else of the root's. The first namespace with any match wins wholly (SEM-050).
    pub fn find(&self, client: &Client<'_>, service: &Host, service_namespace: &str) -> Option<&Arc<Rule>> {
        let own = (client.namespace != client.root_namespace).then(|| self.of(client.namespace));
        if let Some(rule) = own.flatten().and_then(|rules| closest(rules, service, client)) {
            return Some(rule);
        }
        let of_service = self.of(service_namespace).and_then(|rules| closest(rules, service, client));
        of_service.or_else(|| closest(self.of(client.root_namespace)?, service, client))
    }

    fn of(&self, namespace: &str) -> Option<&ByHost> {
        self.by_namespace.get(namespace)
    }
}

fn rule(object: &Object, spec: &Arc<DestinationRule>, mesh: &MeshConfig) -> Rule {
    let namespace = object.namespace();
    let selector = spec.workload_selector.as_ref().map(|selector| selector.match_labels.clone());
    Rule {
        host: spec.host.resolve(namespace, mesh.domain()),
        namespace: namespace.clone(),
        export_to: match selector {
            Some(_) => ExportTo::Namespaces(vec![namespace.clone()]),
            None => export_to(&spec.export_to, &mesh.default_destination_rule_export_to, object),
        },
        selector,
        policy: spec.traffic_policy.clone(),
        subsets: spec.subsets.clone(),
        origin: config_path("destination-rule", namespace, object.name()).into(),
    }
}

/// The proxy that a rule is looked up for.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
    /// The mesh's root namespace.
    pub root_namespace: &'a str,
}

/// The most specific host that the client may see; of one host, a rule that selects the client first.
fn closest<'r>(rules: &'r ByHost, service: &Host, client: &Client<'_>) -> Option<&'r Arc<Rule>> {
    let holds = |rule: &Rule| match &rule.selector {
        Some(selector) => &*rule.namespace == client.namespace && selects(selector, client.labels),
        None => rule.export_to.visible_in(client.namespace),
    };
    let pick = |rules: &'r Vec<Arc<Rule>>| {
        let selecting = rules.iter().find(|rule| rule.selector.is_some() && holds(rule));
        selecting.or_else(|| rules.iter().find(|rule| rule.selector.is_none() && holds(rule)))
    };
    if let Some(rule) = rules.get(service).and_then(pick) {
        return Some(rule);
    }
    let wildcards = rules.range(Host::new("*")..).take_while(|(pattern, _)| pattern.is_wildcard());
    let mut covering: Vec<_> = wildcards.filter(|(pattern, _)| host::subset_of(service, pattern)).collect();
    covering.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    covering.into_iter().find_map(|(_, rules)| pick(rules))
}

fn merge(known: &mut Rule, rule: Rule) {
    for subset in rule.subsets {
        if !known.subsets.iter().any(|other| other.name == subset.name) {
            known.subsets.push(subset);
        }
    }
    known.policy = known.policy.take().or(rule.policy);
}

/// The policies that hold for a port.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy<'a> {
    /// Which endpoint.
    pub load_balancer: Option<&'a LoadBalancerSettings>,
    /// How many connections and requests.
    pub connection_pool: Option<&'a ConnectionPoolSettings>,
    /// When an endpoint is put aside.
    pub outlier_detection: Option<&'a OutlierDetection>,
    /// TLS.
    pub tls: Option<&'a ClientTlsSettings>,
}

/// Resolves the policies for a port: port-level settings of the subset, then of the rule, replace everything; else the
/// subset's blocks replace the rule's one by one (SEM-054, SEM-055).
pub fn policy<'a>(
    rule: Option<&'a TrafficPolicy>,
    subset: Option<&'a TrafficPolicy>,
    port: u32,
) -> Policy<'a> {
    let at_port = |policy: Option<&'a TrafficPolicy>| {
        let settings = policy?.port_level_settings.iter();
        let mut matching = settings.filter(|s| s.port.as_ref().is_some_and(|p| p.number == port));
        matching.next()
    };
    if let Some(settings) = at_port(subset).or_else(|| at_port(rule)) {
        return Policy {
            load_balancer: settings.load_balancer.as_ref(),
            connection_pool: settings.connection_pool.as_ref(),
            outlier_detection: settings.outlier_detection.as_ref(),
            tls: settings.tls.as_ref(),
        };
    }
    fn block<'a, T>(
        subset: Option<&'a TrafficPolicy>,
        rule: Option<&'a TrafficPolicy>,
        of: impl Fn(&'a TrafficPolicy) -> Option<&'a T>,
    ) -> Option<&'a T> {
        subset.and_then(&of).or_else(|| rule.and_then(&of))
    }
    Policy {
        load_balancer: block(subset, rule, |policy| policy.load_balancer.as_ref()),
        connection_pool: block(subset, rule, |policy| policy.connection_pool.as_ref()),
        outlier_detection: block(subset, rule, |policy| policy.outlier_detection.as_ref()),
        tls: block(subset, rule, |policy| policy.tls.as_ref()),
    }
}
