//! What a proxy is sent as a static bootstrap, so that Envoy checks tables and endpoints too.

use serde_json::{Map, Value, json};

/// The bootstrap of a document.
pub(crate) fn of(document: &Value) -> Value {
    let listeners = document["listeners"].as_array().unwrap().iter().map(|listener| {
        let mut listener = listener.clone();
        inline_routes(&mut listener, &document["routes"]);
        listener
    });
    let clusters = document["clusters"].as_array().unwrap().iter();
    let clusters = clusters.map(|cluster| inline_endpoints(cluster.clone(), &document["endpoints"]));
    let clusters = clusters.chain([agent()]);
    json!({
        "node": {"id": "validate", "cluster": "validate"},
        "static_resources": {
            "listeners": listeners.collect::<Vec<_>>(),
            "clusters": clusters.collect::<Vec<_>>(),
        },
    })
}

fn inline_routes(value: &mut Value, routes: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(rds) = fields.remove("rds") {
                fields.insert("route_config".to_owned(), named(routes, "name", &rds["route_config_name"]));
            }
            fields.values_mut().for_each(|value| inline_routes(value, routes));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| inline_routes(value, routes)),
        _ => {}
    }
}

fn inline_endpoints(mut cluster: Value, endpoints: &Value) -> Value {
    let fields: &mut Map<String, Value> = cluster.as_object_mut().unwrap();
    if fields.remove("eds_cluster_config").is_some() {
        fields.insert("type".to_owned(), "STATIC".into());
        let assignment = named(endpoints, "cluster_name", &fields["name"]);
        fields.insert("load_assignment".to_owned(), assignment);
    }
    cluster
}

fn named(list: &Value, key: &str, name: &Value) -> Value {
    let found = list.as_array().unwrap().iter().find(|item| item[key] == *name);
    found.unwrap_or_else(|| panic!("{name} is not there")).clone()
}

/// The cluster of the agent, which every bootstrap has.
fn agent() -> Value {
    json!({
        "name": "sds-grpc", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": "sds-grpc", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"pipe": {"path": "./var/run/secrets/workload-spiffe-uds/socket"}}}}
        ]}]},
    })
}
