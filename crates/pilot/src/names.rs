//! Istio's names of clusters, listeners, routes and virtual hosts. Every name that pilot makes is made here.

/// Cluster of traffic to no known destination, closed at once.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";
/// Cluster of traffic to where the client meant it to go.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";
/// Cluster of requests to hosts that nobody knows, looked up as they come (`ALLOW_ANY_DYNAMIC_DNS`).
pub const DYNAMIC_DNS_CLUSTER: &str = "AllowAnyDynamicDNSCluster";
/// Cluster of inbound traffic to ports that no service declares.
pub const INBOUND_PASSTHROUGH_CLUSTER: &str = "InboundPassthroughCluster";
/// Cluster of a destination without a host.
pub const UNKNOWN_SERVICE: &str = "UnknownService";
/// Virtual host that lets unknown hosts through.
pub const ALLOW_ANY: &str = "allow_any";
/// Virtual host that refuses unknown hosts.
pub const BLOCK_ALL: &str = "block_all";
/// The gateway name that means all sidecars.
pub const MESH_GATEWAY: &str = "mesh";
/// Listener that takes redirected outbound connections.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// Listener that takes redirected inbound connections.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";
/// Route table of the port at which applications find an HTTP proxy.
pub const HTTP_PROXY_ROUTE: &str = "http_proxy";
/// `server` header of our proxies.
pub const SERVER_NAME: &str = "istio-envoy";
/// Name of a route that no resource named.
pub const DEFAULT_ROUTE: &str = "default";
/// HTTP filter that injects faults.
pub const FAULT_FILTER: &str = "envoy.filters.http.fault";
/// HTTP filter that answers other origins.
pub const CORS_FILTER: &str = "envoy.filters.http.cors";
/// The label of gateways that the Gateway API has made.
pub const MANAGED_LABEL: &str = "gateway.istio.io/managed";
/// All IPv4 addresses.
pub const WILDCARD_ADDRESS: &str = "0.0.0.0";

/// Ports of the proxy's own for health and metrics.
pub const STATIC_PORTS: [u32; 2] = [15021, 15090];

/// A prefix of statistics with the mark at its end by which Istio's tag rules find it.
pub fn stat_prefix(prefix: &str) -> String {
    format!("{prefix};")
}

/// `outbound|9080|v1|reviews.default.svc.cluster.local`
pub fn outbound_cluster(port: u32, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// The parts of an outbound cluster's name: port, subset, host.
pub fn parse_outbound_cluster(name: &str) -> Option<(u32, &str, &str)> {
    let mut parts = name.strip_prefix("outbound|")?.splitn(3, '|');
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

/// `outbound_.9080_.v1_.reviews.default.svc.cluster.local`: the same as a server name.
pub fn sni_cluster(port: u32, subset: &str, host: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// The parts of a cluster's name that is a server name: port, subset, host.
pub fn parse_sni_cluster(name: &str) -> Option<(u32, &str, &str)> {
    let mut parts = name.strip_prefix("outbound_.")?.splitn(3, "_.");
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

/// `inbound|9080||`
pub fn inbound_cluster(port: u32) -> String {
    format!("inbound|{port}||")
}

/// `0.0.0.0_9080`
pub fn listener(address: &str, port: u32) -> String {
    format!("{address}_{port}")
}

/// `reviews.default.svc.cluster.local:9080`
pub fn virtual_host(host: &str, port: u32) -> String {
    format!("{host}:{port}")
}

/// `http.8080`, or with an address to listen at `http.8080.127.0.0.1`.
pub fn gateway_route(port: u32, bind: &str) -> String {
    if bind.is_empty() { format!("http.{port}") } else { format!("http.{port}.{bind}") }
}

/// Where Istio says which resource a piece of configuration comes from.
pub fn config_path(kind: &str, namespace: &str, name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_go_both_ways() {
        let name = outbound_cluster(9080, "v1", "reviews.default.svc.cluster.local");
        assert_eq!(parse_outbound_cluster(&name), Some((9080, "v1", "reviews.default.svc.cluster.local")));
        assert_eq!(parse_outbound_cluster(&inbound_cluster(9080)), None);
        assert_eq!(parse_outbound_cluster("outbound|x||a"), None);
    }
}
