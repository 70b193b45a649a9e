//! Builds the `Node` with which a client introduces itself. Called by the agent, tests and tools.

use std::collections::HashMap;

use crate::pb::envoy::config::core::v3::{Locality, Node, node::UserAgentVersionType};
use crate::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};

/// A node with an id, a service cluster and metadata (a JSON object; anything else counts as none).
pub fn node(id: impl Into<String>, cluster: impl Into<String>, metadata: &serde_json::Value) -> Node {
    Node {
        id: id.into(),
        cluster: cluster.into(),
        metadata: metadata.as_object().map(to_struct),
        ..Node::default()
    }
}

/// Adds where the node runs. Empty parts are unknown.
pub fn with_locality(mut node: Node, region: &str, zone: &str, sub_zone: &str) -> Node {
    node.locality = Some(Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() });
    node
}

/// Adds what software the node is, as Envoy does: `user_agent_name` and `user_agent_version`.
pub fn with_user_agent(mut node: Node, name: &str, version: &str) -> Node {
    node.user_agent_name = name.into();
    node.user_agent_version_type = Some(UserAgentVersionType::UserAgentVersion(version.into()));
    node
}

/// A JSON object as protobuf `Struct`.
pub fn to_struct(object: &serde_json::Map<String, serde_json::Value>) -> Struct {
    let fields: HashMap<_, _> = object.iter().map(|(name, value)| (name.clone(), to_proto(value))).collect();
    Struct { fields }
}

/// A protobuf `Struct` as JSON object.
pub fn from_struct(fields: &Struct) -> serde_json::Map<String, serde_json::Value> {
    fields.fields.iter().map(|(name, value)| (name.clone(), from_proto(value))).collect()
}

fn to_proto(value: &serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(value) => Kind::StringValue(value.clone()),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(to_proto).collect() })
        }
        serde_json::Value::Object(object) => Kind::StructValue(to_struct(object)),
    };
    Value { kind: Some(kind) }
}

fn from_proto(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(value)) => number(*value),
        Some(Kind::StringValue(value)) => value.clone().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(from_proto).collect(),
        Some(Kind::StructValue(fields)) => from_struct(fields).into(),
    }
}

/// Whole numbers print as such.
fn number(value: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT { (value as i64).into() } else { value.into() }
}
