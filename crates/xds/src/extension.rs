//! Our own extensions of Envoy's API: their names, and how a proxy says that it knows them.
//!
//! A control plane sends them only to nodes whose metadata lists them; a stock Envoy never sees one.
//! Invariant: an extension without settings travels as `google.protobuf.Empty`, so every client can decode it.

use crate::pb::{
    envoy::config::{
        core::v3::Node,
        route::v3::retry_policy::{RetryHostPredicate, retry_host_predicate::ConfigType},
    },
    google::protobuf::{Any, ListValue, Struct, Value, value::Kind},
};

/// Node metadata key: the list of extensions that the node knows, by name.
pub const METADATA: &str = "MELTEMI_EXTENSIONS";

/// A `retry_host_predicate` of a retry policy: a request whose method is not idempotent (RFC 9110, 9.2.2) is tried again
/// only if the application cannot have seen it.
pub const RETRY_SAFE: &str = "meltemi.retry.safe";

/// All of them.
pub const ALL: &[&str] = &[RETRY_SAFE];

/// The type of extensions that have no settings.
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";

/// [`RETRY_SAFE`] as it stands in a `RetryPolicy`.
pub fn retry_safe() -> RetryHostPredicate {
    let config = Any { type_url: EMPTY.to_owned(), value: Vec::new() };
    RetryHostPredicate { name: RETRY_SAFE.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}

/// Makes a node say that it knows all of them.
pub fn announce(mut node: Node) -> Node {
    let text = |name: &&str| Value { kind: Some(Kind::StringValue((*name).to_owned())) };
    let names = ListValue { values: ALL.iter().map(text).collect() };
    let metadata = node.metadata.get_or_insert_with(Struct::default);
    metadata.fields.insert(METADATA.to_owned(), Value { kind: Some(Kind::ListValue(names)) });
    node
}

/// True when a node says that it knows an extension.
pub fn knows(metadata: &Struct, extension: &str) -> bool {
    let Some(Value { kind: Some(Kind::ListValue(names)) }) = metadata.fields.get(METADATA) else {
        return false;
    };
    names.values.iter().any(|name| matches!(&name.kind, Some(Kind::StringValue(name)) if name == extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_knows_what_it_announces() {
        let node = announce(Node::default());
        assert!(knows(node.metadata.as_ref().unwrap(), RETRY_SAFE));
        assert!(!knows(&Struct::default(), RETRY_SAFE));
        assert_eq!(retry_safe().name, RETRY_SAFE);
    }
}
