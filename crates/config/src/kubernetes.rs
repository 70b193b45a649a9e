//! Kubernetes objects that only analysis reads: Secret, ConfigMap, Node, CustomResourceDefinition and the webhook configurations,
//! as far as a finding may depend on them. The control plane never keeps them.
//!
//! Invariant: what a Secret holds can neither be printed nor be written.

use std::collections::BTreeMap;
use std::fmt;

use crate::Str;
use crate::core::IntOrString;
use crate::decode::macros::message;
use crate::decode::{Decode, Decoder, Shape};
use crate::labels::LabelSelector;
use crate::path::Path;
use crate::tree::{Node as Yaml, Value};

/// A text that is kept to itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(Str);

impl SecretText {
    /// The text, for the one who must look at it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl serde::Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

impl Decode for SecretText {
    fn decode(node: &Yaml<'_>, _: &mut Decoder, _: &Path<'_>) -> Option<Self> {
        // Not interned: the table of strings outlives the document.
        Some(SecretText(node.text().unwrap_or_default().into()))
    }

    fn shape() -> Shape {
        Shape::Text
    }
}

message! {
    /// core/v1 Secret.
    pub struct Secret {
        /// `kubernetes.io/tls` and others.
        secret_type: Option<Str> = "type";
        /// Values in base64.
        data: BTreeMap<Str, SecretText> = "data";
        /// Values as they are.
        string_data: BTreeMap<Str, SecretText> = "stringData";
    }
}

message! {
    /// core/v1 ConfigMap.
    pub struct ConfigMap {
        /// Texts by key.
        data: BTreeMap<Str, Text> = "data";
    }
}

/// Any scalar as text: a ConfigMap's values are mostly whole documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Text(pub Str);

impl Decode for Text {
    fn decode(node: &Yaml<'_>, _: &mut Decoder, _: &Path<'_>) -> Option<Self> {
        Some(Text(node.text().unwrap_or_default().into()))
    }

    fn shape() -> Shape {
        Shape::Text
    }
}

message! {
    /// core/v1 Node. Its labels say region and zone of the Pods on it.
    pub struct Node {
        /// What is.
        status: NodeStatus = "status";
    }
}

message! {
    /// What a Node is.
    pub struct NodeStatus {
        /// Versions.
        node_info: NodeInfo = "nodeInfo";
    }
}

message! {
    /// Versions of a Node.
    pub struct NodeInfo {
        /// `v1.31.2`.
        kubelet_version: Option<Str> = "kubeletVersion";
    }
}

message! {
    /// apiextensions.k8s.io/v1 CustomResourceDefinition.
    pub struct CustomResourceDefinition {
        /// What is wanted.
        spec: CrdSpec = "spec";
    }
}

message! {
    /// What a CustomResourceDefinition is.
    pub struct CrdSpec {
        /// API group.
        group: Option<Str> = "group";
        /// Names of the kind.
        names: CrdNames = "names";
        /// Versions.
        versions: Vec<CrdVersion> = "versions";
    }
}

message! {
    /// Names of a kind.
    pub struct CrdNames {
        /// As documents write it.
        kind: Option<Str> = "kind";
    }
}

message! {
    /// A version of a kind.
    pub struct CrdVersion {
        /// `v1`.
        name: Str = "name";
        /// Whether the API server serves it.
        served: bool = "served";
    }
}

message! {
    /// admissionregistration.k8s.io/v1 MutatingWebhookConfiguration or ValidatingWebhookConfiguration.
    pub struct WebhookConfiguration {
        /// Webhooks.
        webhooks: Vec<Webhook> = "webhooks";
    }
}

message! {
    /// A webhook.
    pub struct Webhook {
        /// Name.
        name: Str = "name";
        /// Where it is.
        client_config: WebhookClientConfig = "clientConfig";
        /// Namespaces; unset: all.
        namespace_selector: Option<LabelSelector> = "namespaceSelector";
        /// Objects; unset: all.
        object_selector: Option<LabelSelector> = "objectSelector";
    }
}

message! {
    /// Where a webhook is.
    pub struct WebhookClientConfig {
        /// Address outside the cluster.
        url: Option<Str> = "url";
        /// A Service.
        service: Option<WebhookService> = "service";
    }
}

message! {
    /// The Service of a webhook.
    pub struct WebhookService {
        /// Namespace.
        namespace: Str = "namespace";
        /// Name.
        name: Str = "name";
        /// Port; unset: 443.
        port: Option<IntOrString> = "port";
    }
}

/// `MutatingWebhookConfiguration`: a type of its own, since kinds are told apart by type.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct MutatingWebhookConfiguration(pub WebhookConfiguration);

/// `ValidatingWebhookConfiguration`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct ValidatingWebhookConfiguration(pub WebhookConfiguration);

impl Decode for MutatingWebhookConfiguration {
    fn decode(node: &Yaml<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        WebhookConfiguration::decode(node, cx, path).map(Self)
    }

    fn shape() -> Shape {
        WebhookConfiguration::shape()
    }
}

impl Decode for ValidatingWebhookConfiguration {
    fn decode(node: &Yaml<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        WebhookConfiguration::decode(node, cx, path).map(Self)
    }

    fn shape() -> Shape {
        WebhookConfiguration::shape()
    }
}

message! {
    /// An entry of `status.conditions`, of any kind.
    pub struct Condition {
        /// What it is about.
        condition: Str = "type";
        /// `True`, `False` or `Unknown`.
        status: Str = "status";
        /// One word.
        reason: Str = "reason";
        /// A sentence.
        message: Str = "message";
    }
}

message! {
    /// An entry of `status.addresses` of a ServiceEntry (SE-024).
    pub struct GivenAddress {
        /// Address (SE-025).
        value: Str = "value";
        /// The host that it is for (SE-026).
        host: Str = "host";
    }
}

/// The conditions of a document.
pub(crate) fn conditions(root: &Yaml<'_>, cx: &mut Decoder) -> Vec<Condition> {
    of_status(root, "conditions", cx)
}

/// The addresses that the mesh has given the hosts of a document.
pub(crate) fn addresses(root: &Yaml<'_>, cx: &mut Decoder) -> Vec<GivenAddress> {
    of_status(root, "addresses", cx)
}

fn of_status<T: Decode>(root: &Yaml<'_>, name: &str, cx: &mut Decoder) -> Vec<T> {
    let list = root.get("status").and_then(|status| status.get(name));
    let Some(Value::List(items)) = list.map(|list| &list.value) else { return Vec::new() };
    // A status is written by controllers: what cannot be read of it is nobody's fault here.
    let faults = cx.faults.len();
    let (strict, dropped) = (std::mem::take(&mut cx.strict), cx.dropped_items);
    let read = items.iter().filter_map(|item| T::decode(item, cx, &Path::ROOT)).collect();
    cx.faults.truncate(faults);
    (cx.strict, cx.dropped_items) = (strict, dropped);
    read
}
