//! Who a proxy says it is: Istio's node id and metadata. Called by discovery for each connection and by offline translation.
//!
//! Invariant: parsing never fails on metadata it does not know; only the id must have its four parts.

use std::sync::Arc;

use meltemi_config::mesh::ProxyConfig;
use meltemi_config::{Labels, Str};
use meltemi_xds::extension;
use meltemi_xds::pb::google::protobuf::{Struct, Value as ProtoValue, value};
use serde_json::{Map, Value};

/// The part a proxy plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Beside a workload.
    Sidecar,
    /// A gateway.
    Router,
}

impl Role {
    /// Istio's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Sidecar => "sidecar",
            Role::Router => "router",
        }
    }
}

/// How a proxy gets the traffic of its workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Interception {
    /// Redirected by the kernel; source addresses are lost.
    #[default]
    Redirect,
    /// Redirected by the kernel; source addresses are kept.
    Tproxy,
    /// Not: clients connect to the proxy's ports.
    None,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// The id as sent.
    pub id: Str,
    /// Sidecar or gateway.
    pub role: Role,
    /// Its addresses; the first is the main one.
    pub addresses: Vec<Str>,
    /// Name of the workload instance, `name` of `name.ns` in the id.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// DNS domain below the namespace's, such as `cluster.local`.
    pub domain: Str,
    /// `region/zone/subzone` as the proxy says it; empty if it does not.
    pub locality: Str,
    /// Metadata that matters here.
    pub metadata: Metadata,
}

/// The part of Istio's node metadata that changes what is generated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// `LABELS`.
    pub labels: Labels,
    /// `INTERCEPTION_MODE`.
    pub interception: Interception,
    /// `GENERATOR`; `grpc` for proxyless clients.
    pub generator: Str,
    /// `CLUSTER_ID`.
    pub cluster_id: Str,
    /// `ISTIO_VERSION`; empty: newest.
    pub istio_version: Str,
    /// `UNPRIVILEGED_POD`: cannot bind ports below 1024.
    pub unprivileged: bool,
    /// `HTTP10`: HTTP/1.0 is accepted.
    pub http10: bool,
    /// `HTTP_PROXY_PORT`: where applications find an HTTP proxy, in place of the mesh's.
    pub http_proxy_port: Option<u32>,
    /// `MELTEMI_BIND`: address at which a gateway listens where its servers say none; empty: all. `meltemi up` sets it, as a
    /// gateway on somebody's own machine must not be open to others unasked.
    pub bind: Str,
    /// `DNS_CAPTURE`: the names that its workload asks for are answered by the agent.
    pub dns_capture: bool,
    /// `DNS_AUTO_ALLOCATE`: those without addresses with one that the mesh gave them, whatever the control plane's switch says.
    pub dns_auto_allocate: bool,
    /// `NODE_NAME`: the node that it runs on; empty if it does not say.
    pub node_name: Str,
    /// `NETWORK`: the network that it is in; empty if it does not say.
    pub network: Str,
    /// `REQUESTED_NETWORK_VIEW`: the networks whose endpoints it wants, sorted; empty: all.
    pub network_view: Vec<Str>,
    /// `ENABLE_SELF_DISCOVERY`: it asks for the endpoints of its own service, of which it is one.
    pub self_discovery: bool,
    /// `PROXY_CONFIG`: its settings in place of the mesh's.
    pub proxy_config: Option<Box<OwnConfig>>,
    /// `MELTEMI_EXTENSIONS`: which of our extensions the proxy knows, sorted; empty: it is not ours.
    pub extensions: Vec<Str>,
}

/// Settings that a proxy says itself; equal if their text is.
#[derive(Debug, Clone)]
pub struct OwnConfig {
    text: Str,
    config: Arc<ProxyConfig>,
}

impl std::ops::Deref for OwnConfig {
    type Target = ProxyConfig;

    fn deref(&self) -> &ProxyConfig {
        &self.config
    }
}

impl PartialEq for OwnConfig {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for OwnConfig {}

impl std::hash::Hash for OwnConfig {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// A node id that is not Istio's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node id of the form ROLE~ADDRESS~NAME.NAMESPACE~DOMAIN")]
pub struct NodeError(pub String);

impl Node {
    /// Reads an id such as `sidecar~10.0.0.1~app.ns~ns.svc.cluster.local` and the metadata that came with it.
    pub fn parse(id: &str, metadata: &Value) -> Result<Node, NodeError> {
        let bad = || NodeError(id.to_owned());
        let parts: Vec<&str> = id.split('~').collect();
        let [role, address, full_name, dns] = parts[..] else { return Err(bad()) };
        let role = match role {
            "sidecar" => Role::Sidecar,
            "router" => Role::Router,
            _ => return Err(bad()),
        };
        let (name, id_namespace) = full_name.rsplit_once('.').unwrap_or((full_name, ""));
        let namespace = text(metadata, "NAMESPACE").unwrap_or(id_namespace);
        let domain = dns.split_once(".svc.").map_or("cluster.local", |(_, domain)| domain);
        Ok(Node {
            id: id.into(),
            role,
            addresses: addresses(address, metadata),
            name: name.into(),
            namespace: namespace.into(),
            domain: domain.into(),
            locality: Str::default(),
            metadata: Metadata::read(metadata),
        })
    }

    /// A gRPC client whose id is not Istio's.
    pub fn proxyless(id: &str, metadata: &Value) -> Node {
        Node {
            id: id.into(),
            role: Role::Sidecar,
            addresses: Vec::new(),
            name: id.into(),
            namespace: text(metadata, "NAMESPACE").unwrap_or("default").into(),
            domain: "cluster.local".into(),
            locality: Str::default(),
            metadata: Metadata { generator: "grpc".into(), ..Metadata::read(metadata) },
        }
    }

    /// What of a proxy may influence the resources that it has in common with others, and nothing else: two proxies for which
    /// this is equal are sent the same. Of its labels those that `matters` says; of its addresses those given.
    pub fn in_common(&self, labels: &Labels, matters: impl Fn(&str) -> bool, addresses: Vec<Str>) -> Node {
        let labels = labels.iter().filter(|(name, _)| matters(name));
        let labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
        Node {
            id: Str::default(),
            name: Str::default(),
            addresses,
            metadata: Metadata { labels, self_discovery: false, ..self.metadata.clone() },
            ..self.clone()
        }
    }

    /// Whether it is a sidecar whose ports clients connect to.
    pub fn captures_explicitly(&self) -> bool {
        self.metadata.interception == Interception::None
    }

    /// Whether it is gRPC's own xDS client.
    pub fn is_proxyless(&self) -> bool {
        &*self.metadata.generator == "grpc"
    }
}

impl Metadata {
    /// Whether the proxy is told where rules are written: ours are.
    pub fn tells_places(&self) -> bool {
        !self.extensions.is_empty()
    }

    /// Whether the proxy can say why it answers by itself.
    pub fn knows_reasons(&self) -> bool {
        self.extensions.iter().any(|known| &**known == extension::LOCAL_REPLY_REASON)
    }

    /// Whether the proxy can retry with care.
    pub fn knows_safe_retries(&self) -> bool {
        self.extensions.iter().any(|known| &**known == extension::RETRY_SAFE)
    }

    fn read(metadata: &Value) -> Metadata {
        let word = |key: &str| Str::from(text(metadata, key).unwrap_or_default());
        let interception = match text(metadata, "INTERCEPTION_MODE") {
            Some("NONE") => Interception::None,
            Some("TPROXY") => Interception::Tproxy,
            _ => Interception::Redirect,
        };
        Metadata {
            labels: labels(metadata.get("LABELS")),
            interception,
            generator: word("GENERATOR"),
            cluster_id: word("CLUSTER_ID"),
            istio_version: word("ISTIO_VERSION"),
            unprivileged: flag(metadata, "UNPRIVILEGED_POD"),
            http10: flag(metadata, "HTTP10"),
            http_proxy_port: text(metadata, "HTTP_PROXY_PORT").and_then(|port| port.parse().ok()),
            bind: word("MELTEMI_BIND"),
            dns_capture: flag(metadata, "DNS_CAPTURE"),
            dns_auto_allocate: flag(metadata, "DNS_AUTO_ALLOCATE"),
            node_name: word("NODE_NAME"),
            network: word("NETWORK"),
            network_view: listed(text(metadata, "REQUESTED_NETWORK_VIEW")),
            self_discovery: flag(metadata, "ENABLE_SELF_DISCOVERY"),
            proxy_config: metadata.get("PROXY_CONFIG").and_then(proxy_config),
            extensions: words(metadata.get(extension::METADATA)),
        }
    }
}

fn addresses(main: &str, metadata: &Value) -> Vec<Str> {
    let mut all: Vec<Str> = Vec::new();
    let listed = text(metadata, "INSTANCE_IPS").unwrap_or_default();
    for address in std::iter::once(main).chain(listed.split(',')).map(str::trim).filter(|a| !a.is_empty()) {
        if !all.iter().any(|known| &**known == address) {
            all.push(address.into());
        }
    }
    all
}

/// What cannot be read of the settings is left out.
fn proxy_config(value: &Value) -> Option<Box<OwnConfig>> {
    let wrapped = serde_json::json!({ "defaultConfig": value }).to_string();
    let config = meltemi_config::load::mesh_config("PROXY_CONFIG", &wrapped).0.default_config;
    let config = Arc::new(config?);
    Some(Box::new(OwnConfig { text: value.to_string().into(), config }))
}

/// The texts of a list, sorted.
/// Words with commas between them, sorted.
fn listed(text: Option<&str>) -> Vec<Str> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    let mut words: Vec<Str> = words.map(Str::from).collect();
    words.sort();
    words.dedup();
    words
}

fn words(list: Option<&Value>) -> Vec<Str> {
    let list = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut words: Vec<Str> = list.iter().filter_map(Value::as_str).map(Str::from).collect();
    words.sort();
    words.dedup();
    words
}

fn text<'a>(metadata: &'a Value, key: &str) -> Option<&'a str> {
    metadata.get(key).and_then(Value::as_str)
}

/// Istio writes booleans as strings; plain ones and `1` are taken as well.
fn flag(metadata: &Value, key: &str) -> bool {
    match metadata.get(key) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text == "true" || text == "1",
        _ => false,
    }
}

fn labels(value: Option<&Value>) -> Labels {
    let Some(Value::Object(map)) = value else { return Labels::new() };
    map.iter().filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into()))).collect()
}

/// The JSON form of a protobuf struct.
pub fn json(metadata: &Struct) -> Value {
    let fields = metadata.fields.iter().map(|(key, value)| (key.clone(), json_value(value)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn json_value(value: &ProtoValue) -> Value {
    match &value.kind {
        None | Some(value::Kind::NullValue(_)) => Value::Null,
        Some(value::Kind::BoolValue(flag)) => Value::Bool(*flag),
        Some(value::Kind::NumberValue(number)) => {
            serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number)
        }
        Some(value::Kind::StringValue(text)) => Value::String(text.clone()),
        Some(value::Kind::StructValue(inner)) => json(inner),
        Some(value::Kind::ListValue(list)) => Value::Array(list.values.iter().map(json_value).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_istios_id_and_metadata() {
        let metadata = json!({"INSTANCE_IPS": "1.1.1.1,fe80::1", "LABELS": {"app": "a"}, "INTERCEPTION_MODE": "NONE",
            "UNPRIVILEGED_POD": "true", "NAMESPACE": "ns2"});
        let node = Node::parse("sidecar~1.1.1.1~app.x.ns~ns.svc.example.org", &metadata).unwrap();
        assert_eq!((&*node.name, &*node.namespace, &*node.domain), ("app.x", "ns2", "example.org"));
        assert_eq!(node.addresses, vec![Str::from("1.1.1.1"), Str::from("fe80::1")]);
        assert!(node.captures_explicitly() && node.metadata.unprivileged);
        for bad in ["", "sidecar~1.1.1.1~a.b", "node~1~a.b~c", "sidecar~1~a.b~c~d"] {
            assert!(Node::parse(bad, &Value::Null).is_err(), "{bad}");
        }
    }
}
