//! What the tables read out of resources: addresses, clusters' names, the mesh resources that they come from.
//!
//! Invariant: what is not there is shown as `-`, never an error: dumps of other versions are read too.

use serde_json::Value;

/// A text field, or nothing.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The elements of a list field.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// `-` for nothing.
pub(super) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// `reviews.default` of Istio's path `/apis/…/namespaces/default/virtual-service/reviews` in a resource's metadata.
pub(super) fn origin(resource: &Value) -> String {
    let path = resource["metadata"]["filter_metadata"]["istio"]["config"].as_str().unwrap_or_default();
    let mut parts = path.rsplit('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(_), Some(namespace)) => format!("{name}.{namespace}"),
        _ => String::new(),
    }
}

/// The parts of a cluster's name: direction, port, subset, host; all but the host empty where it is not one of Istio's.
pub(super) fn cluster_parts(name: &str) -> (&str, &str, &str, &str) {
    let mut parts = name.splitn(4, '|');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(direction), Some(port), Some(subset), Some(host)) => (direction, port, subset, host),
        _ => ("", "", "", name),
    }
}

/// IP and port of an `Address`; the path of a pipe has no port.
pub(super) fn address(value: &Value) -> (String, Option<u64>) {
    if let Some(path) = value["pipe"]["path"].as_str() {
        return (format!("unix://{path}"), None);
    }
    if let Some(name) = value["envoy_internal_address"]["server_listener_name"].as_str() {
        return (format!("envoy://{name}"), None);
    }
    let socket = &value["socket_address"];
    (text(socket, "address").to_owned(), socket["port_value"].as_u64())
}
