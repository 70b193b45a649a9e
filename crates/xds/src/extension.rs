//! Our own extensions of Envoy's API: their names, and how a proxy says that it knows them.
//!
//! A control plane sends them only to nodes whose metadata lists them; a stock Envoy never sees one.
//! Invariant: an extension without settings travels as `google.protobuf.Empty`, so every client can decode it.

use prost::Message;

use crate::pb::{
    envoy::{
        config::{
            core::v3::Node,
            route::v3::retry_policy::{RetryHostPredicate, retry_host_predicate::ConfigType},
        },
        extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter},
    },
    google::protobuf::{Any, ListValue, Struct, Value, value::Kind},
};

/// Node metadata key: the list of extensions that the node knows, by name.
pub const METADATA: &str = "MELTEMI_EXTENSIONS";

/// A `retry_host_predicate` of a retry policy: a request whose method is not idempotent (RFC 9110, 9.2.2) is tried again
/// only if the application cannot have seen it.
pub const RETRY_SAFE: &str = "meltemi.retry.safe";

/// An HTTP filter of connection managers: answers of the proxy's own carry the reason in a response header, whose name is
/// the filter's config, a `google.protobuf.StringValue`. Access logs have it as `%LOCAL_REPLY_REASON%`.
pub const LOCAL_REPLY_REASON: &str = "meltemi.local_reply_reason";

/// All of them.
pub const ALL: &[&str] = &[RETRY_SAFE, LOCAL_REPLY_REASON];

/// The type of extensions that have no settings.
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";

/// [`RETRY_SAFE`] as it stands in a `RetryPolicy`.
pub fn retry_safe() -> RetryHostPredicate {
    let config = Any { type_url: EMPTY.to_owned(), value: Vec::new() };
    RetryHostPredicate { name: RETRY_SAFE.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}

/// [`LOCAL_REPLY_REASON`] as it stands among the filters of a connection manager, before the router.
pub fn local_reply_reason(header: &str) -> HttpFilter {
    let config = Any {
        type_url: "type.googleapis.com/google.protobuf.StringValue".to_owned(),
        value: header.to_owned().encode_to_vec(),
    };
    HttpFilter {
        name: LOCAL_REPLY_REASON.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
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
