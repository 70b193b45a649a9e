//! The Envoy v3 bootstrap of a sidecar or gateway, rendered by [`crate::agent`]; ours and Envoy take the same file.
//!
//! Invariant: a stock Envoy accepts it; everything but the control plane's address and the admin port comes by ADS.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::node::Node;

/// Name of the static cluster that leads to the control plane, as in Istio's bootstrap.
pub const XDS_CLUSTER: &str = "xds-grpc";

/// Name of the static cluster of the proxy's own service, as in Istio's bootstrap.
pub const LOCAL_CLUSTER: &str = "local_cluster";

/// What a bootstrap says.
#[derive(Debug, Clone)]
pub struct Bootstrap<'a> {
    /// Who the proxy is.
    pub node: &'a Node,
    /// The control plane: `host:port`, plaintext gRPC.
    pub discovery: &'a str,
    /// Where the proxy's admin interface listens.
    pub admin: SocketAddr,
}

impl Bootstrap<'_> {
    /// The bootstrap as Envoy's JSON.
    #[must_use]
    pub fn render(&self) -> Value {
        let mut metadata = self.node.metadata();
        // So that the control plane can say where to ask the proxy itself.
        metadata["MELTEMI_ADMIN"] = self.admin.to_string().into();
        let mut bootstrap = json!({
            "node": { "id": self.node.id(), "cluster": self.node.cluster(), "metadata": metadata },
            "admin": { "address": socket_address(&self.admin.ip().to_string(), self.admin.port()) },
            "dynamic_resources": dynamic_resources(),
            "static_resources": { "clusters": [self.xds_cluster()] },
        });
        let [region, zone, sub_zone] = self.node.place();
        if [&region, &zone, &sub_zone].into_iter().any(|part| !part.is_empty()) {
            bootstrap["node"]["locality"] = json!({ "region": region, "zone": zone, "sub_zone": sub_zone });
        }
        if self.node.discovers_itself() {
            bootstrap["cluster_manager"] = json!({ "local_cluster_name": LOCAL_CLUSTER });
            if let Some(clusters) = bootstrap["static_resources"]["clusters"].as_array_mut() {
                clusters.push(local_cluster());
            }
        }
        bootstrap
    }

    fn xds_cluster(&self) -> Value {
        let (host, port) = split(self.discovery);
        let kind = if host.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" };
        let endpoint = json!({ "endpoint": { "address": socket_address(host, port) } });
        json!({
            "name": XDS_CLUSTER,
            "type": kind,
            "dns_lookup_family": "V4_PREFERRED",
            "connect_timeout": "1s",
            "lb_policy": "ROUND_ROBIN",
            "load_assignment": { "cluster_name": XDS_CLUSTER, "endpoints": [{ "lb_endpoints": [endpoint] }] },
            "circuit_breakers": { "thresholds": [
                { "priority": "DEFAULT", "max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000 },
            ] },
            "upstream_connection_options": { "tcp_keepalive": { "keepalive_time": 300 } },
            "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {
                    "connection_keepalive": { "interval": "30s", "timeout": "10s" },
                } },
            } },
        })
    }
}

/// The endpoints of the proxy's own service, which proxies like it run beside: zone-aware routing compares where clients are
/// with where endpoints are. A control plane that knows nothing of it holds nobody up for long.
fn local_cluster() -> Value {
    let source = json!({ "ads": {}, "initial_fetch_timeout": "5s", "resource_api_version": "V3" });
    json!({
        "name": LOCAL_CLUSTER,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": { "service_name": LOCAL_CLUSTER, "eds_config": source },
    })
}

/// Listeners and clusters over one delta ADS stream. The fetch has no timeout: without its configuration a proxy must
/// not call itself ready.
fn dynamic_resources() -> Value {
    let ads = json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" });
    json!({
        "lds_config": ads,
        "cds_config": ads,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{ "envoy_grpc": { "cluster_name": XDS_CLUSTER } }],
        },
    })
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

/// Host and port of `host:port` or `[v6]:port`; Istio's default port where there is none.
fn split(address: &str) -> (&str, u16) {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(15010)),
        None => (address, 15010),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_may_be_an_address_or_a_name() {
        assert_eq!(split("127.0.0.1:15010"), ("127.0.0.1", 15010));
        assert_eq!(split("istiod.istio-system.svc:15012"), ("istiod.istio-system.svc", 15012));
        assert_eq!(split("[::1]:9"), ("::1", 9));
        assert_eq!(split("istiod"), ("istiod", 15010));
    }
}
