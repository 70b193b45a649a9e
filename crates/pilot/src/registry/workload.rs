//! Workloads: running things, from Pods and WorkloadEntries alike.

use meltemi_config::core::Pod;
use meltemi_config::networking::WorkloadEntry;
use meltemi_config::{Labels, Object, Str};

/// A running thing that services may select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Name of the Pod or WorkloadEntry.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// Addresses; the first is the main one.
    pub addresses: Vec<Str>,
    /// Labels.
    pub labels: Labels,
    /// Its ports by name.
    pub ports: Vec<(Str, u32)>,
    /// `region/zone/subzone`.
    pub locality: Str,
    /// Share.
    pub weight: u32,
    /// Service account.
    pub service_account: Str,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Whether it is a Pod: EndpointSlices speak for it.
    pub pod: bool,
    /// The network that it says it is in; empty if it does not.
    pub network: Str,
    /// Whether it takes the mesh's mutual TLS: a proxy stands before it.
    pub mutual: bool,
    /// Name of the node that it runs on; empty if unknown.
    pub node: Str,
}

impl Workload {
    /// From a Pod that has an address and has not ended.
    pub(super) fn of_pod(object: &Object, pod: &Pod) -> Option<Workload> {
        let addresses: Vec<Str> = pod.addresses().filter(|ip| !ip.is_empty()).cloned().collect();
        let ended = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if addresses.is_empty() || ended || object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let containers = pod.spec.containers.iter().flat_map(|container| &container.ports);
        let named = |port: &meltemi_config::core::ContainerPort| {
            Some((port.name.clone()?, u32::from(port.container_port)))
        };
        let ready = pod.status.conditions.iter().find(|condition| &*condition.condition == "Ready");
        Some(Workload {
            name: object.name().clone(),
            namespace: object.namespace().clone(),
            addresses,
            labels: object.labels().clone(),
            ports: containers.filter_map(named).collect(),
            locality: locality_of(object.labels()),
            weight: 1,
            service_account: pod.spec.service_account_name.clone().unwrap_or_else(|| "default".into()),
            ready: ready.is_none_or(|condition| &*condition.status == "True"),
            pod: true,
            network: network(object.labels()),
            mutual: says_mutual(object.labels()).unwrap_or(false),
            node: pod.spec.node_name.clone().unwrap_or_default(),
        })
    }

    /// From a WorkloadEntry, be it an object of its own or in a ServiceEntry.
    pub(super) fn of_entry(object: &Object, entry: &WorkloadEntry, own: bool) -> Workload {
        let mut labels = entry.labels.clone();
        if own {
            labels.extend(object.labels().clone());
        }
        Workload {
            name: object.name().clone(),
            namespace: object.namespace().clone(),
            addresses: entry.address.iter().filter(|address| !address.is_empty()).cloned().collect(),
            ports: entry.ports.iter().map(|(name, port)| (name.clone(), *port)).collect(),
            locality: entry.locality.clone().unwrap_or_else(|| locality_of(&labels)),
            weight: entry.weight.unwrap_or(1).max(1),
            service_account: entry.service_account.clone().unwrap_or_else(|| "default".into()),
            ready: true,
            pod: false,
            network: entry
                .network
                .clone()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| network(&labels)),
            mutual: says_mutual(&labels)
                .unwrap_or_else(|| entry.service_account.as_ref().is_some_and(|account| !account.is_empty())),
            node: Str::default(),
            labels,
        }
    }

    /// The port of that name.
    pub fn port_named(&self, name: &str) -> Option<u32> {
        self.ports.iter().find(|(known, _)| &**known == name).map(|(_, port)| *port)
    }

    /// What stands for the workloads of a network behind one of its gateways.
    pub(crate) fn gateway(locality: Str, network: Str) -> Workload {
        Workload {
            name: Str::default(),
            namespace: Str::default(),
            addresses: Vec::new(),
            labels: [(Str::from(NETWORK_LABEL), network.clone())].into(),
            ports: Vec::new(),
            locality,
            weight: 1,
            service_account: Str::default(),
            ready: true,
            pod: false,
            network,
            mutual: true,
            node: Str::default(),
        }
    }

    /// Its main address; empty for one that is reached through gateways of its network only.
    pub(super) fn address(&self) -> Option<Str> {
        let behind = || (!self.network.is_empty()).then(Str::default);
        self.addresses.first().cloned().or_else(behind)
    }

    /// `name;namespace;canonical name;revision;cluster`, as Istio's access logs and metrics want it.
    pub fn telemetry_name(&self) -> Str {
        let label = |names: &[&str], default: &str| {
            let found = names.iter().find_map(|name| self.labels.get(*name));
            found.cloned().unwrap_or_else(|| default.into())
        };
        let canonical =
            label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"], &self.name);
        let revision =
            label(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"], "latest");
        format!("{};{};{canonical};{revision};Kubernetes", self.name, self.namespace).into()
    }
}

/// Label that says the network of a workload, or of which one a Service is a gateway.
pub const NETWORK_LABEL: &str = "topology.istio.io/network";
/// Label that says whether a workload takes mutual TLS: `istio` if it does.
const TLS_MODE: &str = "security.istio.io/tlsMode";

fn network(labels: &Labels) -> Str {
    labels.get(NETWORK_LABEL).cloned().unwrap_or_default()
}

fn says_mutual(labels: &Labels) -> Option<bool> {
    labels.get(TLS_MODE).map(|mode| &**mode == "istio")
}

/// What labels say: the workload's own word, else what was copied from its node.
pub(super) fn locality_of(labels: &Labels) -> Str {
    locality_label(labels).unwrap_or_else(|| node_locality(labels))
}

/// The locality that the labels of a Node say; empty if none.
pub(super) fn node_locality(labels: &Labels) -> Str {
    let part = |name: &str| labels.get(name).map_or("", |value| &**value);
    let parts = [
        part("topology.kubernetes.io/region"),
        part("topology.kubernetes.io/zone"),
        part("topology.istio.io/subzone"),
    ];
    parts.join("/").trim_end_matches('/').into()
}

/// The locality that labels say. Label values cannot hold a slash, so Istio takes dots (SEM-156).
pub(crate) fn locality_label(labels: &Labels) -> Option<Str> {
    let label = labels.get("istio-locality").or_else(|| labels.get("topology.istio.io/locality"))?;
    Some(label.replace('.', "/").into())
}
