//! EnvoyFilter: patches of generated Envoy configuration. Read and checked; not in effect yet.

use std::collections::BTreeMap;

use crate::Str;
use crate::decode::macros::{message, oneof, proto_enum};
use crate::labels::WorkloadSelector;
use crate::security::PolicyTargetReference;

message! {
    /// Patches of generated configuration.
    pub struct EnvoyFilter {
        /// Workloads; unset: all of the namespace (EF-081).
        workload_selector: Option<WorkloadSelector> = "workloadSelector";
        /// Resources it is for (EF-082).
        target_refs: Vec<PolicyTargetReference> = "targetRefs";
        /// The patches, in order (EF-083).
        config_patches: Vec<EnvoyConfigObjectPatch> = "configPatches";
        /// Order among filters; lower first (EF-084).
        priority: i32 = "priority";
    }
}

message! {
    /// A patch.
    pub struct EnvoyConfigObjectPatch {
        /// What kind of object (EF-078).
        apply_to: ApplyTo = "applyTo";
        /// Which ones (EF-079).
        matches: Option<EnvoyConfigObjectMatch> = "match";
        /// The change (EF-080).
        patch: Option<Patch> = "patch";
    }
}

message! {
    /// The objects a patch is for.
    pub struct EnvoyConfigObjectMatch {
        /// Direction (EF-072).
        context: PatchContext = "context";
        /// Proxies (EF-073).
        proxy: Option<ProxyMatch> = "proxy";
        /// The object.
        object: Option<ObjectMatch> = oneof;
    }
}

oneof! {
    /// The object.
    pub enum ObjectMatch {
        /// Listener (EF-074).
        Listener(ListenerMatch) = "listener";
        /// Route configuration (EF-075).
        RouteConfiguration(RouteConfigurationMatch) = "routeConfiguration";
        /// Cluster (EF-076).
        Cluster(ClusterMatch) = "cluster";
        /// Waypoint (EF-077).
        Waypoint(WaypointMatch) = "waypoint";
    }
}

message! {
    /// Proxies.
    pub struct ProxyMatch {
        /// Regex over the version (EF-017).
        proxy_version: Option<Str> = "proxyVersion";
        /// Node metadata (EF-018).
        metadata: BTreeMap<Str, Str> = "metadata";
    }
}

message! {
    /// Clusters.
    pub struct ClusterMatch {
        /// Port (EF-019).
        port_number: u32 = "portNumber";
        /// Host (EF-020).
        service: Option<Str> = "service";
        /// Subset (EF-021).
        subset: Option<Str> = "subset";
        /// Name (EF-022).
        name: Option<Str> = "name";
    }
}

message! {
    /// Route configurations.
    pub struct RouteConfigurationMatch {
        /// Port (EF-032).
        port_number: u32 = "portNumber";
        /// Port's name (EF-033).
        port_name: Option<Str> = "portName";
        /// Gateway `ns/name` (EF-034).
        gateway: Option<Str> = "gateway";
        /// Virtual host (EF-035).
        vhost: Option<VirtualHostMatch> = "vhost";
        /// Name (EF-036).
        name: Option<Str> = "name";
    }
}

message! {
    /// Virtual hosts.
    pub struct VirtualHostMatch {
        /// Name (EF-029).
        name: Option<Str> = "name";
        /// One of its domains (EF-030).
        domain_name: Option<Str> = "domainName";
        /// Route (EF-031).
        route: Option<RouteMatch> = "route";
    }
}

message! {
    /// Routes.
    pub struct RouteMatch {
        /// Name (EF-023).
        name: Option<Str> = "name";
        /// What it does (EF-028).
        action: RouteAction = "action";
    }
}

proto_enum! {
    /// What a route does.
    pub enum RouteAction {
        /// Anything (EF-024).
        Any = "ANY";
        /// Sends on (EF-025).
        Route = "ROUTE";
        /// Redirects (EF-026).
        Redirect = "REDIRECT";
        /// Answers (EF-027).
        DirectResponse = "DIRECT_RESPONSE";
    }
}

message! {
    /// Listeners.
    pub struct ListenerMatch {
        /// Port (EF-046).
        port_number: u32 = "portNumber";
        /// Not implemented (EF-047).
        port_name: Option<Str> = "portName";
        /// Filter chain (EF-048).
        filter_chain: Option<FilterChainMatch> = "filterChain";
        /// Listener filter (EF-049).
        listener_filter: Option<Str> = "listenerFilter";
        /// Name (EF-050).
        name: Option<Str> = "name";
    }
}

message! {
    /// Filter chains.
    pub struct FilterChainMatch {
        /// Name (EF-037).
        name: Option<Str> = "name";
        /// Server name (EF-038).
        sni: Option<Str> = "sni";
        /// `raw_buffer` or `tls` (EF-039).
        transport_protocol: Option<Str> = "transportProtocol";
        /// ALPN names with commas (EF-040).
        application_protocols: Option<Str> = "applicationProtocols";
        /// Network filter (EF-041).
        filter: Option<FilterMatch> = "filter";
        /// Original port (EF-042).
        destination_port: u32 = "destinationPort";
        /// Transport socket (EF-085).
        transport_socket: Option<serde_json::Value> = "transportSocket";
    }
}

message! {
    /// Network filters.
    pub struct FilterMatch {
        /// Name (EF-043).
        name: Option<Str> = "name";
        /// HTTP filter inside (EF-044).
        sub_filter: Option<SubFilterMatch> = "subFilter";
    }
}

message! {
    /// HTTP filters.
    pub struct SubFilterMatch {
        /// Name (EF-045).
        name: Option<Str> = "name";
    }
}

message! {
    /// Parts of a waypoint.
    pub struct WaypointMatch {
        /// Port (EF-051).
        port_number: u32 = "portNumber";
        /// Route (EF-053).
        route: Option<RouteMatch> = "route";
        /// Filter (EF-057).
        filter: Option<FilterMatch> = "filter";
    }
}

message! {
    /// The change.
    pub struct Patch {
        /// How (EF-066).
        operation: PatchOperation = "operation";
        /// Envoy configuration (EF-067).
        value: Option<serde_json::Value> = "value";
        /// Where among the filters (EF-071).
        filter_class: FilterClass = "filterClass";
    }
}

proto_enum! {
    /// Kinds of object.
    pub enum ApplyTo {
        /// None.
        Invalid = "INVALID";
        /// Listener (EF-001).
        Listener = "LISTENER";
        /// Filter chain (EF-002).
        FilterChain = "FILTER_CHAIN";
        /// Network filter (EF-003).
        NetworkFilter = "NETWORK_FILTER";
        /// HTTP filter (EF-004).
        HttpFilter = "HTTP_FILTER";
        /// Route configuration (EF-005).
        RouteConfiguration = "ROUTE_CONFIGURATION";
        /// Virtual host (EF-006).
        VirtualHost = "VIRTUAL_HOST";
        /// Route (EF-007).
        HttpRoute = "HTTP_ROUTE";
        /// Cluster (EF-008).
        Cluster = "CLUSTER";
        /// Extension (EF-009).
        ExtensionConfig = "EXTENSION_CONFIG";
        /// Bootstrap (EF-010).
        Bootstrap = "BOOTSTRAP";
        /// Listener filter (EF-011).
        ListenerFilter = "LISTENER_FILTER";
    }
}

proto_enum! {
    /// Direction and role.
    pub enum PatchContext {
        /// All (EF-012).
        Any = "ANY";
        /// Sidecars, inbound (EF-013).
        SidecarInbound = "SIDECAR_INBOUND";
        /// Sidecars, outbound (EF-014).
        SidecarOutbound = "SIDECAR_OUTBOUND";
        /// Gateways (EF-015).
        Gateway = "GATEWAY";
        /// Waypoints (EF-016).
        Waypoint = "WAYPOINT";
    }
}

proto_enum! {
    /// Ways to patch.
    pub enum PatchOperation {
        /// None.
        Invalid = "INVALID";
        /// Merge (EF-058).
        Merge = "MERGE";
        /// Add (EF-059).
        Add = "ADD";
        /// Remove (EF-060).
        Remove = "REMOVE";
        /// Before the match (EF-061).
        InsertBefore = "INSERT_BEFORE";
        /// After the match (EF-062).
        InsertAfter = "INSERT_AFTER";
        /// First (EF-063).
        InsertFirst = "INSERT_FIRST";
        /// Replace (EF-064).
        Replace = "REPLACE";
        /// Merge, lists replaced (EF-065).
        MergeAndReplaceList = "MERGE_AND_REPLACE_LIST";
    }
}

proto_enum! {
    /// Place among the filters.
    pub enum FilterClass {
        /// By position.
        Unspecified = "UNSPECIFIED";
        /// Authentication (EF-068).
        Authn = "AUTHN";
        /// Authorization (EF-069).
        Authz = "AUTHZ";
        /// Statistics (EF-070).
        Stats = "STATS";
    }
}
