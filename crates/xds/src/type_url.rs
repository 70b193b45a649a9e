//! Type URLs of the resources that travel over xDS. Used wherever a subscription or a resource is named.
//!
//! Invariant: Envoy's, letter by letter.

/// `envoy.config.cluster.v3.Cluster`, CDS.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// `envoy.config.endpoint.v3.ClusterLoadAssignment`, EDS.
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// `envoy.config.listener.v3.Listener`, LDS.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// `envoy.config.route.v3.RouteConfiguration`, RDS.
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// `envoy.config.route.v3.VirtualHost`, VHDS.
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
/// `envoy.config.route.v3.ScopedRouteConfiguration`, SRDS.
pub const SCOPED_ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
/// `envoy.extensions.transport_sockets.tls.v3.Secret`, SDS.
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// `envoy.service.runtime.v3.Runtime`, RTDS.
pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// `envoy.config.core.v3.TypedExtensionConfig`, ECDS.
pub const EXTENSION_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// The order in which one change is sent: what is referred to before what refers to it.
pub const PUSH_ORDER: [&str; 8] =
    [SECRET, CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST];

/// Where a type comes in [`PUSH_ORDER`]; unknown ones last.
#[must_use]
pub fn rank(type_url: &str) -> usize {
    PUSH_ORDER.iter().position(|known| *known == type_url).unwrap_or(PUSH_ORDER.len())
}

/// The short name: `CDS`, `LDS`; the URL itself where there is none.
#[must_use]
pub fn short(type_url: &str) -> &str {
    match type_url {
        CLUSTER => "CDS",
        ENDPOINT => "EDS",
        LISTENER => "LDS",
        ROUTE => "RDS",
        VIRTUAL_HOST => "VHDS",
        SCOPED_ROUTE => "SRDS",
        SECRET => "SDS",
        RUNTIME => "RTDS",
        EXTENSION_CONFIG => "ECDS",
        other => other,
    }
}
