//! Who a proxy says it is: Istio's node id and metadata. Written into the bootstrap, read by any Istio-like pilot.
//!
//! Invariant: the keys and forms are Istio's, booleans as strings included; ours are prefixed `MELTEMI_`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// The part a proxy plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Beside a workload.
    Sidecar,
    /// At an edge of the mesh.
    Gateway,
}

impl Role {
    /// Istio's word for it, the first part of a node id.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Gateway => "router",
        }
    }
}

/// The Istio version whose behaviour is asked of pilot.
pub const ISTIO_VERSION: &str = "1.28.0";

/// Identity of one proxy.
#[derive(Debug, Clone)]
pub struct Node {
    /// Sidecar or gateway.
    pub role: Role,
    /// Address of the workload; what endpoints of its services carry.
    pub address: IpAddr,
    /// Name of the workload instance, a pod's name in Kubernetes.
    pub name: String,
    /// Namespace of the workload.
    pub namespace: String,
    /// DNS domain of the mesh, default `cluster.local`.
    pub trust_domain: String,
    /// Labels of the workload.
    pub labels: BTreeMap<String, String>,
    /// Service account of the workload, default `default`.
    pub service_account: String,
    /// What the workload is a replica of (a Deployment's name in Kubernetes).
    pub owner: String,
    /// Where the workload runs, `region/zone/subzone`; empty: what its labels say.
    pub locality: String,
    /// Further metadata; wins over what is computed.
    pub metadata: Map<String, Value>,
}

/// Metadata by which a proxy says that it wants to know the endpoints of its own service, as Istio's proxies do; `false` in
/// [`Node::metadata`] turns that off.
pub const SELF_DISCOVERY: &str = "ENABLE_SELF_DISCOVERY";

impl Node {
    /// `sidecar~10.0.0.1~name.namespace~namespace.svc.cluster.local`
    #[must_use]
    pub fn id(&self) -> String {
        let Self { role, address, name, namespace, trust_domain, .. } = self;
        format!("{}~{address}~{name}.{namespace}~{namespace}.svc.{trust_domain}", role.as_str())
    }

    /// Envoy's `node.cluster`: the service the proxy belongs to, `app.namespace`.
    #[must_use]
    pub fn cluster(&self) -> String {
        format!("{}.{}", self.canonical_service(), self.namespace)
    }

    /// Istio's node metadata. Explicit capture (`INTERCEPTION_MODE: NONE`) unless [`Node::metadata`] says otherwise.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let label = |name: &str| self.labels.get(name).map_or("latest", String::as_str);
        let mut labels = self.labels.clone();
        labels
            .entry("service.istio.io/canonical-name".to_owned())
            .or_insert_with(|| self.canonical_service().to_owned());
        labels
            .entry("service.istio.io/canonical-revision".to_owned())
            .or_insert_with(|| label("version").to_owned());
        let metadata = json!({
            "NAME": self.name,
            "NAMESPACE": self.namespace,
            "CLUSTER_ID": "Kubernetes",
            "MESH_ID": self.trust_domain,
            "INSTANCE_IPS": self.address.to_string(),
            "INTERCEPTION_MODE": "NONE",
            "ISTIO_VERSION": ISTIO_VERSION,
            "LABELS": labels,
            "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{}/deployments/{}", self.namespace, self.owner),
            "SERVICE_ACCOUNT": self.service_account,
            "WORKLOAD_NAME": self.owner,
            "PILOT_SAN": ["istiod.istio-system.svc"],
        });
        let Value::Object(mut metadata) = metadata else { return Value::Null };
        if self.discovers_itself() {
            metadata.insert(SELF_DISCOVERY.to_owned(), "true".into());
        }
        metadata.extend(self.metadata.clone());
        Value::Object(metadata)
    }

    /// Region, zone and subzone: as given, else of the label by which Istio's workloads say so (with dots, as label values have
    /// no slash), else of the labels that Kubernetes copies from the node. All empty if nothing says it.
    #[must_use]
    pub fn place(&self) -> [String; 3] {
        let label = |name: &str| self.labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let said = label("istio-locality").or_else(|| label("topology.istio.io/locality"));
        let text = match (self.locality.as_str(), said) {
            ("", Some(label)) => label.replace('.', "/"),
            ("", None) => {
                let names = [
                    "topology.kubernetes.io/region",
                    "topology.kubernetes.io/zone",
                    "topology.istio.io/subzone",
                ];
                return names.map(|name| label(name).unwrap_or_default().to_owned());
            }
            (given, _) => given.to_owned(),
        };
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        std::array::from_fn(|_| parts.next().unwrap_or_default())
    }

    /// Whether the proxy looks after its own service's endpoints, by which it knows how many clients each zone has: where
    /// it knows its zone, unless its metadata says otherwise.
    #[must_use]
    pub fn discovers_itself(&self) -> bool {
        match self.metadata.get(SELF_DISCOVERY) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text == "true" || text == "1",
            _ => self.place().iter().any(|part| !part.is_empty()),
        }
    }

    fn canonical_service(&self) -> &str {
        let name = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
        name.iter().find_map(|label| self.labels.get(*label)).map_or(&self.owner, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_has_istios_four_parts() {
        let node = sample();
        assert_eq!(node.id(), "sidecar~127.77.1.1~reviews-v1-0.default~default.svc.cluster.local");
        assert_eq!(node.cluster(), "reviews.default");
        assert_eq!(node.metadata()["LABELS"]["service.istio.io/canonical-revision"], "v1");
    }

    #[test]
    fn given_metadata_wins() {
        let mut node = sample();
        node.metadata.insert("INTERCEPTION_MODE".to_owned(), "REDIRECT".into());
        assert_eq!(node.metadata()["INTERCEPTION_MODE"], "REDIRECT");
    }

    #[test]
    fn the_place_is_given_or_a_label() {
        let mut node = sample();
        assert!(!node.discovers_itself() && node.place().concat().is_empty());
        let mut label = |name: &str, value: &str| {
            node.labels.insert(name.to_owned(), value.to_owned());
            node.place().join("/")
        };
        assert_eq!(label("topology.kubernetes.io/zone", "z1"), "/z1/");
        assert_eq!(label("topology.kubernetes.io/region", "r1"), "r1/z1/");
        assert_eq!(label("topology.istio.io/subzone", "s1"), "r1/z1/s1");
        assert_eq!(label("topology.istio.io/locality", "r2.z2"), "r2/z2/");
        assert_eq!(label("istio-locality", "r3.z3.s3"), "r3/z3/s3");
        assert_eq!(node.metadata()[SELF_DISCOVERY], "true");
        node.locality = "r4/z4".to_owned();
        assert_eq!(node.place(), ["r4", "z4", ""]);
        node.metadata.insert(SELF_DISCOVERY.to_owned(), "false".into());
        assert!(!node.discovers_itself());
    }

    fn sample() -> Node {
        let labels = [("app", "reviews"), ("version", "v1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Node {
            role: Role::Sidecar,
            address: "127.77.1.1".parse().expect("address"),
            name: "reviews-v1-0".to_owned(),
            namespace: "default".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            labels: labels.into(),
            service_account: "default".to_owned(),
            owner: "reviews-v1".to_owned(),
            locality: String::new(),
            metadata: Map::new(),
        }
    }
}
